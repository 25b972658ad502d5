"""What real tracers tell of themselves, as people see it: effective values, services without a client.

Control plane and agent are the shipped programs, the tracers unmodified.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.clients import start_app
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane

pytestmark = pytest.mark.interop

TELLS = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "true", "DD_TELEMETRY_HEARTBEAT_INTERVAL": "1"}


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "control-plane", settings={"inventory_every_s": 1}) as running:
        yield running


@pytest.fixture
def agent(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Agent]:
    with Agent(tmp_path / "host-a", control_plane) as running:
        yield running


def client(control_plane: ControlPlane, service: str) -> dict[str, Any]:
    """All that is told of the client of a service."""
    client_id = control_plane.api.wait_for_client(service)["client_id"]
    told: dict[str, Any] = control_plane.api.get(f"/clients/{quote(client_id, safe='')}")
    return told


def setting(control_plane: ControlPlane, service: str, *names: str) -> dict[str, Any] | None:
    """The first of these settings that its telemetry told of."""
    told = {one["name"]: one for one in client(control_plane, service)["settings"]}
    return next((told[name] for name in names if name in told), None)


def wait_for_origin(control_plane: ControlPlane, origin: str, *names: str) -> dict[str, Any]:
    def seen() -> dict[str, Any] | None:
        found = setting(control_plane, "shop", *names)
        return found if found is not None and found["origin"] == origin else None

    return wait_until(seen, f"{names} is told to come from {origin}", timeout_s=60, every_s=0.3)


def inventory(control_plane: ControlPlane, hostname: str = "host-a") -> dict[str, Any] | None:
    agents = control_plane.api.get("/inventory")["agents"]
    return next((one for one in agents if one["hostname"] == hostname), None)


def wait_for_standing(control_plane: ControlPlane, state: str, hostname: str = "host-a") -> dict[str, Any]:
    def stands() -> dict[str, Any] | None:
        found = inventory(control_plane, hostname)
        return found if found is not None and found["standing"]["state"] == state else None

    return wait_until(stands, f"{hostname} is {state}", timeout_s=40, every_s=0.2)


@pytest.mark.parametrize(
    ("tracer", "names"),
    [
        ("ddtrace4", ("DD_TRACE_SAMPLING_RULES",)),
        ("ddtrace3", ("DD_TRACE_SAMPLING_RULES", "trace_sample_rate", "DD_TRACE_SAMPLE_RATE")),
        ("dd-trace-js", ("DD_TRACE_SAMPLE_RATE",)),
    ],
)
def test_a_value_sent_from_here_is_told_to_come_from_remote_configuration(
    tracer: str, names: tuple[str, ...], control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    with start_app(tracer, agent_url=agent.url, log_folder=tmp_path, extra={**TELLS, "DD_TAGS": "team:core"}):
        before = wait_for_origin(control_plane, "default", *names)
        tags = wait_for_origin(control_plane, "env_var", "DD_TAGS")
        assert tags["value"] == "team:core"
        assert before["sent"] is None
        config = control_plane.api.create(
            "APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.42}}, service="shop"
        )
        control_plane.api.wait_until_acknowledged("shop", config)

        after = wait_for_origin(control_plane, "remote_config", *names)

        assert "0.42" in after["value"]
        assert after["sent"]["key"] == "tracing_sampling_rate"
        assert (after["sent"]["value"], after["sent"]["config_id"]) == ("0.42", config["id"])
        assert after["seq_id"] >= before["seq_id"]
        control_plane.api.retire(config)
        given_back = wait_for_origin(control_plane, "default", *names)
        assert given_back["value"] == before["value"]


@pytest.mark.parametrize("tracer", ["ddtrace4", "dd-trace-js"])
def test_a_service_whose_tracer_asks_for_nothing_is_not_detected(
    tracer: str, control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    silent = {**TELLS, "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
    with (
        start_app(tracer, agent_url=agent.url, log_folder=tmp_path, service="mail", extra=silent) as mail,
        start_app(tracer, agent_url=agent.url, log_folder=tmp_path, service="shop", extra=TELLS) as shop,
    ):
        control_plane.api.wait_for_client("shop")

        def seen() -> dict[str, dict[str, Any]] | None:
            for app in (mail, shop):
                assert app.status() == 200
            services = {one["service"]: one for one in (inventory(control_plane) or {}).get("services", ())}
            found = {"mail", "shop"} <= services.keys() and services["mail"]["switched_off_by"]
            return services if found and services["mail"]["standing"] else None

        services = wait_until(seen, "both services are seen", timeout_s=60, every_s=0.3)

        standing = services["mail"]["standing"]
        assert standing["state"] == "not_detected"
        assert "DD_REMOTE_CONFIGURATION_ENABLED" in standing["remedy"]
        assert standing["detail"] == "Remote Configuration is off in its tracer (environment)"
        assert services["shop"]["standing"] is None
        assert services["shop"]["client_seen"] is True
        assert services["mail"]["language"] == services["shop"]["language"] in ("python", "nodejs")
        assert control_plane.api.client_of("mail") is None


def test_an_agent_whose_key_lacks_the_scope_is_seen_and_why(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    key = control_plane.api.new_api_key("no scope", remote_config=False)
    with Agent(tmp_path / "host-b", control_plane, hostname="host-b", api_key=key):
        found = wait_for_standing(control_plane, "unauthorized", "host-b")

        assert found["standing"]["detail"].startswith("Its API key no scope does not carry")
        assert found["api_key"] == "no scope"
        listed = control_plane.api.get("/keys")["keys"]
        (mine,) = (one for one in listed if one["name"] == "no scope")
        control_plane.api.patch(f"/keys/{mine['id']}", {"remote_config": True})
        wait_for_standing(control_plane, "connected", "host-b")
        assert inventory(control_plane, "host-b")["refused_at"] is None  # type: ignore[index]


def test_an_agent_with_remote_configuration_off_is_seen_as_disabled(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    off = {"remote_configuration.enabled": False}
    with Agent(tmp_path / "host-c", control_plane, hostname="host-c", settings=off) as agent:
        found = wait_for_standing(control_plane, "disabled", "host-c")

        told = {one["name"]: one for one in found["inventory"]["settings"]}
        switch = told["remote_configuration.enabled"]
        assert (switch["value"], switch["source"]) == ("false", "file")
        assert switch["origin"] == str(agent.config_file)
        assert told["api_key"]["value"] == "(redacted)"
        assert agent.api_key not in str(found)
        assert found["clients"] == 0


def test_an_agent_whose_key_is_revoked_is_shown_as_such(control_plane: ControlPlane, agent: Agent) -> None:
    wait_for_standing(control_plane, "connected")
    (key,) = control_plane.api.get("/keys")["keys"]
    control_plane.api.delete(f"/keys/{key['id']}")

    found = wait_for_standing(control_plane, "revoked")

    assert key["name"] in found["standing"]["detail"]
