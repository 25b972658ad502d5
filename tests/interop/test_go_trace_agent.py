"""What the Go Agent's own trace part passes on is read: an attack is seen, whoever's agent the host has.

Real ddtrace with App and API Protection on, the Agent's published receiver, sampler and writer with their own
defaults, real HTTPS, the control plane as it is shipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import App, start_app
from tests.support.go_programs import go_program
from tests.support.go_trace_agent import GoTraceAgent
from tests.support.processes import wait_until
from tests.support.stack import ControlPlane

# The first test may have to fetch and build.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

ATTACKER, VISITOR = "203.0.113.7", "198.51.100.9"
INJECTION = "/?id=1%27%20OR%201%3D1%20UNION%20SELECT%20name%20FROM%20users--"
PROTECTED = {"DD_APPSEC_ENABLED": "true", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    go_program("go_trace")


@pytest.fixture
def control_plane(tmp_path: Path, _built: None) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "control-plane") as running:
        yield running


def shop(agent: GoTraceAgent, folder: Path, tracer: str = "ddtrace4", **more: str) -> App:
    return start_app(tracer, agent_url=agent.url, log_folder=folder, extra={**PROTECTED, **more})


def traces(control_plane: ControlPlane) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = control_plane.api.get("/security/traces")["traces"]
    return found


def wait_for_trace(control_plane: ControlPlane) -> dict[str, Any]:
    """The one security trace there is: the Agent sends every five seconds."""
    (found,) = wait_until(lambda: traces(control_plane), "a security trace", timeout_s=40, every_s=0.2)
    return found


def answers(control_plane: ControlPlane, endpoint: str) -> dict[str, int]:
    """How often an endpoint gave each status."""
    metrics = control_plane.api.request("GET", "/metrics").body.decode()
    found = re.findall(rf'sealwire_answers_total{{endpoint="{endpoint}",status="(\d+)"}} (\d+)', metrics)
    return {status: int(count) for status, count in found}


@pytest.mark.parametrize(
    ("tracer", "compression", "features"),
    [
        ("ddtrace4", "zstd", ()),
        ("ddtrace4", "gzip", ("disable-convert-traces",)),
        ("ddtrace3", "zstd", ()),
        ("dd-trace-js", "gzip", ()),
    ],
    ids=["as it comes", "as it was", "an older ddtrace", "dd-trace-js"],
)
def test_an_attack_reaches_the_control_plane_and_a_healthy_request_does_not(
    tracer: str, compression: str, features: tuple[str, ...], control_plane: ControlPlane, tmp_path: Path
) -> None:
    with GoTraceAgent(tmp_path / "go", control_plane, compression=compression, features=features) as agent:
        with shop(agent, tmp_path, tracer) as app:
            assert app.get("/", from_ip=VISITOR).status == 200
            assert app.get(INJECTION, from_ip=ATTACKER).status == 200
            found = wait_for_trace(control_plane)
            assert app.get("/", from_ip=VISITOR).status == 200
        agent.stop()

        assert (found["service"], found["env"], found["version"]) == ("shop", "prod", "1.2.3")
        assert (found["host"], found["language"]) == ("host-go", app.language.replace("node", "nodejs"))
        assert (found["client_ip"], found["status"], found["blocked"]) == (ATTACKER, 200, False)
        assert found["activities"] == ["attack_attempt.sql_injection"]
        assert found["rule_ids"]
        assert all(rule_id.startswith("crs-942-") for rule_id in found["rule_ids"])
        detail = control_plane.api.get(f"/security/traces/{found['trace_id']}")
        assert "UNION SELECT" in str(detail["spans"])
        # What is answered is written, and by now all is answered.
        assert [trace["trace_id"] for trace in traces(control_plane)] == [found["trace_id"]]
        assert agent.complaints() == []
        assert "Retrying" not in agent.program.said()
        for endpoint in ("traces", "stats"):
            assert list(answers(control_plane, endpoint)) == ["202"], endpoint


def test_it_goes_on_when_the_control_plane_is_back(control_plane: ControlPlane, tmp_path: Path) -> None:
    """The Agent gives up on an upload after four tries within seconds; that one is lost, and no other."""
    with GoTraceAgent(tmp_path / "go", control_plane) as agent, shop(agent, tmp_path) as app:
        control_plane.kill9()
        assert app.get(INJECTION, from_ip=VISITOR).status == 200
        agent.program.wait_for_line("^agent warn: Trace Payload dropped")
        control_plane.start()

        assert app.get(INJECTION, from_ip=ATTACKER).status == 200
        assert wait_for_trace(control_plane)["client_ip"] == ATTACKER


def test_an_agent_whose_key_was_revoked_is_told_so(control_plane: ControlPlane, tmp_path: Path) -> None:
    key = control_plane.api.post("/keys", {"name": "to be revoked", "remote_config": False})
    with (
        GoTraceAgent(tmp_path / "go", control_plane, api_key=key["key"]) as agent,
        shop(agent, tmp_path) as app,
    ):
        control_plane.api.delete(f"/keys/{key['id']}")
        assert app.get(INJECTION, from_ip=ATTACKER).status == 200
        agent.program.wait_for_line("^agent warn: Trace writer payload rejected by edge: 401")
        assert traces(control_plane) == []
