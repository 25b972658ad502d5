"""Real tracers on several hosts: a config reaches whom it is for, stays in force, and no other host has it.

Control plane and agents are the shipped programs. See ``test_first_light.py`` for what each tracer does with
its configs, and ``test_life.py`` for restarts and outages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import App, start_app
from tests.support.stack import Agent, ControlPlane

pytestmark = pytest.mark.interop

DENIED = "203.0.113.7"
OTHER = "198.51.100.9"
ON = {"asm": {"enabled": True}}


def denylist(address: str = DENIED) -> dict[str, object]:
    entry = {"value": address}
    return {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": [entry]}]}


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "control-plane") as running:
        yield running


@pytest.fixture
def agent(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Agent]:
    with Agent(tmp_path / "host-a", control_plane) as running:
        yield running


def switch_on(control_plane: ControlPlane, service: str = "shop") -> tuple[dict[str, Any], dict[str, Any]]:
    """Activation and denylist for one service, as ``sealwire asm`` makes them."""
    on = control_plane.api.create("ASM_FEATURES", ON, service=service)
    denied = control_plane.api.create("ASM_DATA", denylist(), service=service)
    return on, denied


def assert_blocks(app: App) -> None:
    app.wait_for_status(403, from_ip=DENIED)
    assert app.status(from_ip=OTHER) == 200


@pytest.mark.parametrize(
    ("tracer", "finer"),
    [
        ("ddtrace4", {"app_version": "1.2.3"}),
        ("ddtrace3", {"app_version": "1.2.3"}),
        ("dd-trace-js", {}),
        ("dd-trace-js", {"app_version": "1.2.3"}),
        ("dd-trace-js", {"tracer_version": ">=1"}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value) or "service",
)
def test_blocking_survives_more_configs_for_its_service(
    tracer: str, finer: dict[str, str], control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    """dd-trace-js loses its denylist for good if one ASM_FEATURES path is swapped for another."""
    with start_app(tracer, agent_url=agent.url, log_folder=tmp_path) as app:
        on, _ = switch_on(control_plane)
        assert_blocks(app)

        mode = control_plane.api.create(
            "ASM_FEATURES", {"auto_user_instrum": {"mode": "identification"}}, service="shop", **finer
        )
        wait_for_sources(control_plane, {on["id"], mode["id"]})
        assert_stays_blocked(app)
        control_plane.api.retire(mode)
        wait_for_sources(control_plane, {on["id"]})

        assert_stays_blocked(app)


def wait_for_sources(control_plane: ControlPlane, config_ids: set[str]) -> None:
    """Wait until the shop acknowledges an ASM_FEATURES file made of exactly these configs."""
    control_plane.api.wait_for_client(
        "shop",
        lambda client: any(
            set(each["config_ids"]) == config_ids and each["acknowledged_at"] for each in client["configs"]
        ),
        "the merged file is applied",
    )


def assert_stays_blocked(app: App) -> None:
    app.wait_for_status(403, from_ip=DENIED)
    assert {app.status(from_ip=DENIED) for _ in range(50)} == {403}


def test_a_config_reaches_its_service_and_no_other(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    """Two services on one host, a third on another: that host learns neither path nor bytes."""
    with (
        Agent(tmp_path / "host-b", control_plane, hostname="host-b") as elsewhere,
        start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path) as shop,
        start_app("dd-trace-js", agent_url=agent.url, log_folder=tmp_path, service="cart") as cart,
        start_app("ddtrace3", agent_url=elsewhere.url, log_folder=tmp_path, service="mail") as mail,
    ):
        for service in ("shop", "cart", "mail"):
            control_plane.api.create("ASM_FEATURES", ON, service=service)
            control_plane.api.wait_for_client(service, lambda client: "ASM_DATA" in client["products"])

        denied = control_plane.api.create("ASM_DATA", denylist(), service="shop")

        path = control_plane.api.wait_until_acknowledged("shop", denied)["path"]
        shop.wait_for_status(403, from_ip=DENIED)
        later = control_plane.api.create(
            "APM_TRACING", {"lib_config": {"tracing_tags": ["a:b"]}}, service="mail"
        )
        control_plane.api.wait_until_acknowledged("mail", later)
        assert cart.status(from_ip=DENIED) == 200
        assert mail.status(from_ip=DENIED) == 200
        assert agent.keeps(path.encode()), "a state that hides its paths would prove nothing below"
        assert agent.keeps(DENIED.encode())
        for secret in (path, denied["id"], DENIED):
            assert elsewhere.keeps(secret.encode()) == []


def test_two_hosts_with_configs_of_one_product_learn_nothing_of_each_other(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    """Each audience has a signed role of its own, so not even paths of the same product are shared."""
    with (
        Agent(tmp_path / "host-b", control_plane, hostname="host-b") as elsewhere,
        start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path) as shop,
        start_app("ddtrace4", agent_url=elsewhere.url, log_folder=tmp_path, service="mail") as mail,
    ):
        ids = {}
        for service, address in (("shop", DENIED), ("mail", OTHER)):
            control_plane.api.create("ASM_FEATURES", ON, service=service)
            made = control_plane.api.create("ASM_DATA", denylist(address), service=service)
            ids[service] = made["id"].encode()

        for app in (shop, mail):
            # The engine starts with a request; one that comes with the denylist would start it twice (ADR 6).
            asks = f"{app.service} asks for denylists"
            control_plane.api.wait_for_client(app.service, lambda it: "ASM_DATA" in it["products"], asks)
            assert app.status() == 200
        shop.wait_for_status(403, from_ip=DENIED)
        mail.wait_for_status(403, from_ip=OTHER)

        assert (shop.status(from_ip=OTHER), mail.status(from_ip=DENIED)) == (200, 200)
        for ours, mine, its in ((agent, "shop", DENIED), (elsewhere, "mail", OTHER)):
            assert ours.keeps(ids[mine])
            assert ours.keeps(its.encode())
        for ours, theirs, its in ((agent, "mail", OTHER), (elsewhere, "shop", DENIED)):
            assert ours.keeps(ids[theirs]) == []
            assert ours.keeps(its.encode()) == []


def test_a_tracer_may_ask_over_a_unix_socket(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    with start_app("ddtrace4", agent_url=agent.socket_url, log_folder=tmp_path) as app:
        switch_on(control_plane)

        assert_blocks(app)
