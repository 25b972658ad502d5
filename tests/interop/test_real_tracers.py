"""The main job with real tracers: a signed change reaches an unmodified application, and nobody else.

Control plane and agents are the shipped programs; the applications run the tracers of ``TRACERS``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import TRACERS, App, start_app
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane

pytestmark = pytest.mark.interop

DENIED = "203.0.113.7"
OTHER = "198.51.100.9"
ON = {"asm": {"enabled": True}}


def denylist(address: str = DENIED, **more: object) -> dict[str, object]:
    entry = {"value": address, **more}
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


@pytest.mark.parametrize("tracer", TRACERS)
def test_a_change_is_applied_acknowledged_and_taken_back(
    tracer: str, control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    with start_app(tracer, agent_url=agent.url, log_folder=tmp_path) as app:
        control_plane.api.wait_for_client("shop")
        assert app.status(from_ip=DENIED) == 200

        _, denied = switch_on(control_plane)

        assert_blocks(app)
        delivery = control_plane.api.wait_until_acknowledged("shop", denied)
        # Two polls of 0.5 s: the second product can only be asked for once the first is applied.
        assert 0 < delivery["took_s"] < 5, delivery

        control_plane.api.retire(denied)

        app.wait_for_status(200, from_ip=DENIED)


@pytest.mark.parametrize("tracer", TRACERS)
def test_a_block_ends_at_its_time_without_a_new_change(
    tracer: str, control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    with start_app(tracer, agent_url=agent.url, log_folder=tmp_path) as app:
        control_plane.api.create("ASM_FEATURES", ON, service="shop")
        control_plane.api.wait_for_client("shop", lambda client: "ASM_DATA" in client["products"])

        ends = int(time.time()) + 6
        control_plane.api.create("ASM_DATA", denylist(expiration=ends), service="shop")

        app.wait_for_status(403, from_ip=DENIED, timeout_s=5)
        app.wait_for_status(200, from_ip=DENIED, timeout_s=10)
        assert datetime.now(UTC).timestamp() >= ends


@pytest.mark.parametrize("tracer", TRACERS)
def test_a_config_written_first_waits_for_its_product(
    tracer: str, control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    """Late subscription: a tracer asks for ASM_DATA only once it is switched on."""
    denied = control_plane.api.create("ASM_DATA", denylist(), service="shop")
    with start_app(tracer, agent_url=agent.url, log_folder=tmp_path) as app:
        client = control_plane.api.wait_for_client("shop")
        assert "ASM_DATA" not in client["products"]

        control_plane.api.create("ASM_FEATURES", ON, service="shop")

        assert_blocks(app)
        control_plane.api.wait_until_acknowledged("shop", denied)


@pytest.mark.parametrize(
    "finer", [{}, {"app_version": "1.2.3"}, {"tracer_version": ">=1"}], ids=["service", "version", "tracer"]
)
@pytest.mark.parametrize("tracer", TRACERS)
def test_blocking_survives_more_configs_for_its_service(
    tracer: str, finer: dict[str, str], control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    """A tracer that is told to swap one ASM_FEATURES path for another may switch off for good."""
    with start_app(tracer, agent_url=agent.url, log_folder=tmp_path) as app:
        switch_on(control_plane)
        assert_blocks(app)

        mode = control_plane.api.create(
            "ASM_FEATURES", {"auto_user_instrum": {"mode": "identification"}}, service="shop", **finer
        )
        wait_until(
            lambda: (
                control_plane.api.wait_until_acknowledged("shop", mode) and app.status(from_ip=DENIED) == 403
            ),
            "the second config is applied and the first still holds",
        )
        assert {app.status(from_ip=DENIED) for _ in range(50)} == {403}
        control_plane.api.retire(mode)
        control_plane.api.wait_for_client(
            "shop", lambda client: not any(mode["id"] in each["config_ids"] for each in client["configs"])
        )
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


def test_two_hosts_with_configs_of_one_product_hold_their_own_bytes_alone(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    """They share the product's signed role, which lists opaque ids and hashes, and no content."""
    with (
        Agent(tmp_path / "host-b", control_plane, hostname="host-b") as elsewhere,
        start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path) as shop,
        start_app("ddtrace4", agent_url=elsewhere.url, log_folder=tmp_path, service="mail") as mail,
    ):
        for service, address in (("shop", DENIED), ("mail", OTHER)):
            control_plane.api.create("ASM_FEATURES", ON, service=service)
            control_plane.api.create("ASM_DATA", denylist(address), service=service)

        shop.wait_for_status(403, from_ip=DENIED)
        mail.wait_for_status(403, from_ip=OTHER)

        assert (shop.status(from_ip=OTHER), mail.status(from_ip=DENIED)) == (200, 200)
        assert (agent.keeps(OTHER.encode()), elsewhere.keeps(DENIED.encode())) == ([], [])
        assert agent.keeps(DENIED.encode())
        assert elsewhere.keeps(OTHER.encode())


@pytest.mark.parametrize("tracer", TRACERS)
def test_an_agent_that_restarts_without_its_control_plane_serves_what_it_had(
    tracer: str, control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    switch_on(control_plane)
    with start_app(tracer, agent_url=agent.url, log_folder=tmp_path) as before:
        assert_blocks(before)
        control_plane.stop()
        agent.kill9()
        agent.start()

        assert {before.status(from_ip=DENIED) for _ in range(50)} == {403}
    with start_app(tracer, agent_url=agent.url, log_folder=tmp_path) as fresh:
        assert_blocks(fresh)


def test_an_application_that_starts_while_the_control_plane_is_away_is_served_when_it_is_back(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    _, denied = switch_on(control_plane)
    control_plane.stop()
    with start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path) as app:
        assert app.status(from_ip=DENIED) == 200

        control_plane.start()

        app.wait_for_status(403, from_ip=DENIED, timeout_s=90)
        control_plane.api.wait_until_acknowledged("shop", denied)


def test_a_control_plane_that_was_killed_goes_on_where_it_was(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    with start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path) as app:
        _, denied = switch_on(control_plane)
        assert_blocks(app)
        control_plane.kill9()
        assert app.status(from_ip=DENIED) == 403

        control_plane.start()
        control_plane.api.retire(control_plane.api.get(f"/configs/{denied['id']}"))

        app.wait_for_status(200, from_ip=DENIED, timeout_s=60)


def test_a_tracer_may_ask_over_a_unix_socket(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    with start_app("ddtrace4", agent_url=agent.socket_url, log_folder=tmp_path) as app:
        switch_on(control_plane)

        assert_blocks(app)
