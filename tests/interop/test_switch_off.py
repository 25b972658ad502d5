"""Off is off, end to end: our control plane, our agent, an application under an unmodified tracer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import App, start_app
from tests.support.payloads import DENIED, ON, denied_ips
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane
from tests.support.wiretap import Wiretap

pytestmark = pytest.mark.interop


@dataclass
class Shop:
    """An application that is protected and blocks one address from here."""

    control_plane: ControlPlane
    agent: Agent
    tap: Wiretap
    app: App
    denied: dict[str, Any]

    def settings(self) -> dict[str, Any]:
        told: dict[str, Any] = self.control_plane.api.get("/settings")
        return told

    def condition(self) -> str:
        told: str = self.agent.status()["remote_configuration"]["condition"]
        return told

    def key_id(self) -> str:
        found: str = next(
            key["id"]
            for key in self.control_plane.api.get("/keys")["keys"]
            if self.agent.api_key.endswith(key["last4"])
        )
        return found

    def applies(self) -> list[str]:
        """The paths the tracer was last told to apply."""
        told = [exchange.applies for exchange in self.tap.exchanges if exchange.raw_targets]
        return sorted(told[-1])


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with (
        ControlPlane(tmp_path / "control-plane") as control_plane,
        Agent(
            tmp_path / "host-a", control_plane,
            settings={"remote_configuration.org_status_refresh_interval": "5s"},
        ) as agent,
        Wiretap(agent.url) as tap,
        start_app("ddtrace4", agent_url=tap.url, log_folder=tmp_path, poll_s=0.3) as app,
    ):  # fmt: skip
        api = control_plane.api
        api.create("ASM_FEATURES", ON, service="shop")
        denied = api.create("ASM_DATA", denied_ips(), service="shop")
        api.wait_until_acknowledged("shop", denied)
        app.wait_for_status(403, from_ip=DENIED)
        yield Shop(control_plane, agent, tap, app, denied)


def test_switched_off_the_application_lets_in_again_before_the_agent_is_refused_and_on_again_blocks(
    shop: Shop,
) -> None:
    api = shop.control_plane.api
    api.put("/settings", {"remote_config": False})

    # Withdrawn: the tracer is told that there is nothing, and drops what it had.
    shop.app.wait_for_status(200, from_ip=DENIED, timeout_s=30)
    assert shop.applies() == []
    wait_until(lambda: not shop.settings()["remote_config"], "it is off", timeout_s=40)
    # Refused, and the agent says why; what it has stays nothing.
    shop.agent.wait_for_status(
        lambda status: status["remote_configuration"]["organization_enabled"] is False,
        "the agent knows that the organisation is off",
    )
    shop.agent.wait_for_status(
        lambda status: status["remote_configuration"]["condition"] in ("disabled", "unauthorized"),
        "the agent is refused",
    )
    assert shop.applies() == []
    assert shop.app.status(from_ip=DENIED) == 200
    wait_until(
        lambda: all(exchange.says_nothing_new for exchange in shop.tap.exchanges[-3:]),
        "the agent answers its tracer as ever, with nothing new",
    )
    assert shop.applies() == []
    assert api.get("/keys")["keys"][-1]["held_until"] is None

    api.put("/settings", {"remote_config": True})

    shop.app.wait_for_status(403, from_ip=DENIED, timeout_s=60)
    api.wait_until_acknowledged("shop", shop.denied)
    assert len(shop.applies()) == 2
    assert shop.agent.status()["remote_configuration"]["refusals"] == {}


def test_a_key_that_is_revoked_with_its_agents_emptied_first(shop: Shop) -> None:
    api = shop.control_plane.api
    key_id = shop.key_id()

    api.delete(f"/keys/{key_id}?withdraw_first=true")

    shop.app.wait_for_status(200, from_ip=DENIED, timeout_s=30)
    wait_until(lambda: api.get(f"/keys/{key_id}")["revoked_at"], "the key is revoked", timeout_s=40)
    shop.agent.wait_for_status(
        lambda status: status["remote_configuration"]["condition"] == "unauthorized", "the agent is refused"
    )
    assert shop.applies() == []


def test_a_key_that_is_revoked_at_once_leaves_the_application_as_it_is(shop: Shop) -> None:
    api = shop.control_plane.api
    key_id = shop.key_id()

    told = api.delete(f"/keys/{key_id}")

    shop.agent.wait_for_status(
        lambda status: status["remote_configuration"]["condition"] == "unauthorized", "the agent is refused",
        timeout_s=10,
    )  # fmt: skip
    assert told["held_until"] is not None
    assert shop.app.status(from_ip=DENIED) == 403
    assert len(shop.applies()) == 2
