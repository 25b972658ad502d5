"""A signed change reaches an unmodified application, is applied there, and is reported back.

Everything is real: control plane, agent, application, tracer. A wiretap between tracer and agent keeps what
the tracer asked and was given. One control plane and one agent serve the whole file, one application serves
all tests of its tracer, and each test takes back what it made.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.clients import TRACERS, App, start_app
from tests.support.payloads import (
    DENIED,
    DENIED_USER,
    ON,
    OTHER,
    OTHER_USER,
    custom_rule,
    denied_ips,
    denied_users,
    exclusion,
    own_rules,
    tracing,
)
from tests.support.processes import NotReadyError, wait_until
from tests.support.stack import AdminApi, Agent, ControlPlane
from tests.support.wiretap import Exchange, Wiretap

pytestmark = pytest.mark.interop

POLL_S = 0.3
LOCAL_RATE = 0.9
LOCAL_TAG = "local"


@dataclass
class Shop:
    """One application under a tracer, and whoever authors configs for it."""

    tracer: str
    app: App
    tap: Wiretap
    api: AdminApi
    made: list[dict[str, Any]] = field(default_factory=list)

    @property
    def service(self) -> str:
        return self.app.service

    def give(self, product: str, payload: object) -> dict[str, Any]:
        """Author a config for this service alone."""
        config = self.api.create(product, payload, service=self.service)
        self.made.append(config)
        return config

    def give_everyone(self, product: str, payload: object) -> dict[str, Any]:
        config = self.api.create(product, payload)
        self.made.append(config)
        return config

    def take_back(self, config: dict[str, Any]) -> None:
        self.api.retire(config)
        self.made.remove(config)

    def acknowledges(self, config: dict[str, Any]) -> dict[str, Any]:
        delivery: dict[str, Any] = self.api.wait_until_acknowledged(self.service, config)
        return delivery

    def switch_on(self) -> None:
        """Application Security by one click, until the tracer asks for what it blocks with."""
        self.acknowledges(self.give("ASM_FEATURES", ON))
        self.tap.wait_for(
            lambda exchange: {"ASM", "ASM_DATA", "ASM_DD"} <= exchange.products,
            "the tracer asks for the products of blocking",
            since=max(0, len(self.tap.exchanges) - 1),
        )

    def effective(self) -> dict[str, Any]:
        """What the tracer goes by now, told by the application."""
        told: dict[str, Any] = json.loads(self.app.get("/effective").body)
        return told

    def wait_for_effective(self, *, rate: float | None, team: str) -> None:
        def so() -> bool:
            told = self.effective()
            seen = (told["rate"], told["tags"]["team"])
            assert seen == (rate, team), seen
            return True

        wait_until(so, f"{self.service} samples {rate} and is tagged {team}")

    def is_instrumented(self) -> bool:
        if self.app.language == "node":
            return "LIVE_DEBUGGING" in self.tap.exchanges[-1].products
        return bool(self.effective()["dynamic_instrumentation"])

    def status_for_agent(self, user_agent: str, *, from_ip: str = OTHER) -> int:
        return self.app.request("/", {"User-Agent": user_agent, "X-Forwarded-For": from_ip}).status

    def wait_until_agent_gets(self, status: int, user_agent: str) -> None:
        wait_until(
            lambda: self.status_for_agent(user_agent) == status,
            f"{user_agent} gets {status} from {self.service}",
        )

    def clean_up(self) -> None:
        """Take back what is left, until the tracer says that it holds nothing."""
        for config in self.made:
            self.api.retire(config)
        self.made.clear()
        since = len(self.tap.exchanges)
        self.tap.wait_for(
            lambda exchange: not exchange.states and not exchange.caches, "all is taken back", since=since
        )


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("first-light") / "control-plane") as running:
        yield running


@pytest.fixture(scope="module")
def agent(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with Agent(tmp_path_factory.mktemp("host-a"), control_plane) as running:
        yield running


@pytest.fixture(scope="module", params=TRACERS)
def shared_shop(
    request: pytest.FixtureRequest,
    control_plane: ControlPlane,
    agent: Agent,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shop]:
    tracer: str = request.param
    with (
        Wiretap(agent.url) as tap,
        start_app(
            tracer,
            agent_url=tap.url,
            log_folder=tmp_path_factory.mktemp(tracer),
            service=f"shop-{tracer}",
            poll_s=POLL_S,
            extra={"DD_TAGS": f"team:{LOCAL_TAG}", "DD_TRACE_SAMPLING_RULES": ""},
        ) as app,
    ):
        control_plane.api.wait_for_client(
            app.service, lambda client: {"ASM_FEATURES", "APM_TRACING"} <= set(client["products"])
        )
        yield Shop(tracer, app, tap, control_plane.api)


@pytest.fixture
def shop(shared_shop: Shop) -> Iterator[Shop]:
    yield shared_shop
    shared_shop.clean_up()


def test_switching_on_is_acknowledged_and_timed(shop: Shop) -> None:
    on = shop.give("ASM_FEATURES", ON)

    delivery = shop.acknowledges(on)
    assert delivery["config_ids"] == [on["id"]]
    assert delivery["state"] == "in_step"
    # Its own interval, and what a busy machine needs.
    assert 0 < delivery["took_s"] < 30 * POLL_S, delivery
    client = shop.api.client_of(shop.service)
    assert client is not None
    assert client["state"] == "in_step"


def test_a_blocked_address_is_refused_and_no_other_until_it_is_unblocked(shop: Shop) -> None:
    shop.switch_on()
    assert shop.app.status(from_ip=DENIED) == 200

    denied = shop.give("ASM_DATA", denied_ips(DENIED))

    shop.app.wait_for_status(403, from_ip=DENIED)
    shop.acknowledges(denied)
    assert shop.app.status(from_ip=OTHER) == 200
    assert shop.app.status() == 200

    shop.take_back(denied)

    shop.app.wait_for_status(200, from_ip=DENIED)
    assert shop.app.status(from_ip=OTHER) == 200


def test_a_block_lapses_by_itself(shop: Shop) -> None:
    """Its end is in the file the tracer holds: nobody changes anything when it comes."""
    shop.switch_on()
    for lasts_s in (6, 12, 24, 48):  # on a busy machine a short one may lapse before it is there
        until_s = int(time.time()) + lasts_s
        denied = shop.give("ASM_DATA", denied_ips(DENIED, until_s=until_s))
        try:
            shop.app.wait_for_status(403, from_ip=DENIED, timeout_s=lasts_s - 0.5)
        except NotReadyError:
            assert lasts_s < 48
            shop.take_back(denied)
        else:
            break
    shop.acknowledges(denied)
    published = shop.api.get("/status")["director_version"]

    shop.app.wait_for_status(200, from_ip=DENIED)

    assert time.time() >= until_s
    assert shop.api.get("/status")["director_version"] == published


def test_a_blocked_user_is_refused_and_no_other(shop: Shop) -> None:
    shop.switch_on()
    assert shop.app.status(f"/user/{DENIED_USER}") == 200

    denied = shop.give("ASM_DATA", denied_users(DENIED_USER))

    shop.app.wait_for_status(403, f"/user/{DENIED_USER}")
    assert shop.app.status(f"/user/{OTHER_USER}") == 200
    shop.take_back(denied)
    shop.app.wait_for_status(200, f"/user/{DENIED_USER}")


def test_a_rule_of_ones_own_and_an_exclusion_from_it(shop: Shop) -> None:
    shop.switch_on()
    prefix = shop.tracer.replace("-", "")
    bad = f"{prefix}-exporter/0.9"
    assert shop.status_for_agent(bad) == 200

    rule = shop.give("ASM", custom_rule(prefix))

    shop.wait_until_agent_gets(418, bad)
    assert shop.status_for_agent(f"{prefix}-exporter/1.0") == 200

    shop.acknowledges(shop.give("ASM", exclusion(prefix, "198.51.100.200")))

    wait_until(
        lambda: shop.status_for_agent(bad, from_ip="198.51.100.200") == 200, "the office is let through"
    )
    assert shop.status_for_agent(bad) == 418
    shop.take_back(rule)
    shop.wait_until_agent_gets(200, bad)


def test_rules_of_ones_own_replace_the_bundled_ones_while_they_are_there(shop: Shop) -> None:
    shop.switch_on()
    shop.give("ASM_DATA", denied_users(DENIED_USER))
    shop.give("ASM_DATA", denied_ips(DENIED))
    shop.app.wait_for_status(403, f"/user/{DENIED_USER}")
    assert shop.status_for_agent("acme-scanner/1") == 200

    own = shop.give("ASM_DD", own_rules("9.7.1"))

    shop.wait_until_agent_gets(403, "acme-scanner/1")
    shop.acknowledges(own)
    shop.app.wait_for_status(403, from_ip=DENIED)  # the rule for the denylist is among ours
    assert shop.app.status(f"/user/{DENIED_USER}") == 200  # the one for users is not
    wait_until(
        lambda: shop.tap.traces_with("_dd.appsec.event_rules.version", "9.7.1"),
        "traces name the version of our rules",
    )

    shop.take_back(own)

    shop.app.wait_for_status(403, f"/user/{DENIED_USER}")
    assert shop.status_for_agent("acme-scanner/1") == 200


def test_overlapping_configs_are_merged_and_each_value_tells_its_origin(shop: Shop) -> None:
    local = shop.effective()
    assert local["tags"]["team"] == LOCAL_TAG

    everyone = shop.give_everyone(
        "APM_TRACING", tracing(tracing_sampling_rate=0.25, tracing_tags=["team:org"])
    )
    shop.wait_for_effective(rate=0.25, team="org")
    mine = shop.give("APM_TRACING", tracing(tracing_sampling_rate=0.5))

    shop.wait_for_effective(rate=0.5, team="org")
    delivery = shop.acknowledges(mine)
    assert set(delivery["config_ids"]) == {everyone["id"], mine["id"]}
    assert delivery["provenance"]["$.lib_config.tracing_sampling_rate"] == mine["id"]
    assert delivery["provenance"]["$.lib_config.tracing_tags"] == everyone["id"]
    last = shop.tap.exchanges[-1]
    assert [path for path in last.caches if "/APM_TRACING/" in path] == [delivery["path"]]

    shop.take_back(mine)
    shop.wait_for_effective(rate=0.25, team="org")

    shop.take_back(everyone)
    shop.wait_for_effective(rate=local["rate"], team=LOCAL_TAG)


def test_instrumentation_is_told_off_before_its_config_goes(shop: Shop) -> None:
    """Python would keep it on: it is given ``false`` first, and the file goes when it said that it has it."""
    config = shop.give("APM_TRACING", tracing(dynamic_instrumentation_enabled=True))
    shop.acknowledges(config)
    wait_until(shop.is_instrumented, "instrumentation is on")
    since = len(shop.tap.exchanges)

    shop.take_back(config)

    wait_until(lambda: not shop.is_instrumented(), "instrumentation is off")
    gone = shop.tap.wait_for(
        lambda exchange: not any("/APM_TRACING/" in path for path in exchange.caches),
        "the file is gone",
        since=since,
    )
    if shop.app.language == "node":
        return  # it gives the value back by itself
    told = _told_of_instrumentation(shop.tap.exchanges[since:])
    assert set(told) == {False}
    released = next(
        exchange for exchange in shop.tap.exchanges[since:] if exchange.at < gone.at and _says_false(exchange)
    )
    path = next(path for path in released.files if "/APM_TRACING/" in path)
    name = "APM_TRACING/" + path.split("/")[3]
    shop.tap.wait_for(
        lambda exchange: exchange.at < gone.at and exchange.states.get(name, (0, 0))[1] == 2,
        "the client acknowledged that it is off while the file was still there",
        since=since,
    )


def _told_of_instrumentation(exchanges: list[Exchange]) -> list[object]:
    return [
        json.loads(raw)["lib_config"].get("dynamic_instrumentation_enabled")
        for exchange in exchanges
        for path, raw in exchange.files.items()
        if "/APM_TRACING/" in path
    ]


def _says_false(exchange: Exchange) -> bool:
    return False in _told_of_instrumentation([exchange])
