"""From an upload of Dynamic Instrumentation to the control plane, by the agent as the program it is."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sealwire.agent.relay import MAX_UPLOAD_BYTES
from sealwire.wire.multipart import read
from tests.support.processes import wait_until
from tests.support.stack import free_port
from tests.support.upload_intake import UploadIntake
from tests.way.test_agent_program import run
from tests.way.test_security_reports import Agent, running

STATUSES, SNAPSHOTS = "/debugger/v1/diagnostics", "/debugger/v2/input"
LOGS, SYMBOLS = "/debugger/v1/input", "/symdb/v1/input"


@pytest.fixture
def intake() -> Iterator[UploadIntake]:
    with UploadIntake() as intake:
        yield intake


def told(agent: Agent) -> dict[str, Any]:
    document: dict[str, Any] = agent.status["debugger"]
    return document


def send(agent: Agent, path: str, body: bytes) -> None:
    assert agent.send(body, path=path, headers={"Content-Type": "application/json"})[0] == 200


def test_each_kind_reaches_its_endpoint_with_tags_of_agent_and_tracer(
    tmp_path: Path, intake: UploadIntake
) -> None:
    boundary = "===============6275786591107023340=="
    parts = (
        f"--{boundary}\r\nContent-Type: application/json\r\n"
        'Content-Disposition: form-data; name="event"; filename="event.json"\r\n\r\n{}\r\n'
        f"--{boundary}--\r\n"
    ).encode()
    quoted = {
        "Content-Type": f'multipart/form-data; boundary="{boundary}"',
        "X-Datadog-Additional-Tags": "env:prod",
    }
    query = "?ddtags=" + quote("debugger_version:4.16.0,env:prod,host:vm,version:1.2.3")
    with running(tmp_path, intake.url, **{"apm_config.env": "staging"}) as agent:
        # As ddtrace does: in pieces, without a length.
        connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=10)
        pieces = iter([b'[{"a":', b"1}]"])
        json = {"Content-Type": "application/json"}
        connection.request("POST", SNAPSHOTS + query, pieces, json, encode_chunked=True)
        assert connection.getresponse().read() == b"{}"
        connection.close()
        assert agent.send(parts, path=SYMBOLS, headers=quoted) == (200, b"{}")
        assert agent.send(b"[]", path=LOGS, headers=json) == (200, b"{}")
        wait_until(lambda: len(intake.took) == 3, "all of it is taken")
        wait_until(lambda: told(agent)["sent"] == {"logs": 1, "snapshots": 1, "symbols": 1}, "it is known")
        asked = run(tmp_path, "status", "--url", f"http://127.0.0.1:{agent.port}", name="status")
        assert asked.wait_for_end() == 0
        assert "sent: logs 1, snapshots 1, symbols 1; waiting: 0 (0 bytes)" in asked.said()

    own = ("host:web-1", "default_env:staging", "agent_version:7.80.0")
    by_body = {each.body: each for each in intake.took}
    snapshot, symbols = by_body[b'[{"a":1}]'], by_body[parts]
    assert (snapshot.path, by_body[b"[]"].path) == ("/api/v2/debugger", "/api/v2/logs")
    assert snapshot.tags == (*own, "debugger_version:4.16.0", "env:prod", "host:vm", "version:1.2.3")
    assert symbols.tags == (*own, "env:prod")
    assert [part.name for part in read(symbols.headers["Content-Type"], symbols.body)] == ["event"]
    assert snapshot.headers["DD-Api-Key"] == "0123456789abcdef0123456789abcdef"
    assert abs(int(snapshot.headers["Sealwire-Now"]) / 1000 - snapshot.at_s) < 60


def test_while_the_control_plane_is_away_uploads_wait_and_come_in_order(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, f"http://127.0.0.1:{port}") as agent:
        for number in range(20):
            send(agent, STATUSES, b"status %d" % number)
            send(agent, SNAPSHOTS, b"snapshot %d" % number)
        wait_until(lambda: told(agent)["failures"] > 0, "it was tried")
        assert told(agent)["waiting"] == 40
        assert "cannot be reached" in told(agent)["last_error"]
        with UploadIntake(port=port) as intake:
            intake.says = lambda _: 503 if len(intake.asked) == 1 else 202
            intake.headers = {"Retry-After": "1"}
            wait_until(lambda: len(intake.took) == 40, "all of it comes")
            first, second = intake.asked[:2]
            assert second.at_s - first.at_s >= 0.9, "it was asked for a second"
            statuses = [body for body in intake.bodies if body.startswith(b"status")]
            assert statuses == [b"status %d" % number for number in range(20)]
            wait_until(
                lambda: told(agent)["waiting"] == 0 and told(agent)["last_error"] is None, "it is known"
            )
            assert told(agent)["dropped"] == {}


def test_a_slow_control_plane_keeps_no_tracer_waiting(tmp_path: Path, intake: UploadIntake) -> None:
    intake.gate.clear()
    with running(tmp_path, intake.url) as agent:
        for number in range(30):
            send(agent, SNAPSHOTS, b"%d" % number)
        send(agent, STATUSES, b"status")
        # Two snapshots are on their way; the status goes next, whatever else is there.
        wait_until(lambda: len(intake.asked) == 2, "two are on their way")
        assert told(agent)["waiting"] == 31
        intake.gate.set()
        wait_until(lambda: len(intake.took) == 31, "all of it comes")
        assert intake.bodies.index(b"status") < 10


def test_one_that_is_too_large_is_told_so_and_others_are_dropped_as_refused(
    tmp_path: Path, intake: UploadIntake
) -> None:
    intake.says = lambda took: 413 if len(took.body) > 1_000_000 else 202
    with running(tmp_path, intake.url) as agent:
        large = os.urandom(1 << 20)
        send(agent, SNAPSHOTS, large * 2)
        send(agent, SNAPSHOTS, b"small")
        wait_until(lambda: intake.bodies == [b"small"], "the rest goes on")
        wait_until(lambda: told(agent)["dropped"] == {"snapshots refused": 1}, "it is counted")

        connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=30)
        try:
            connection.request("POST", SNAPSHOTS, (large for _ in range(100)), encode_chunked=True)
            assert connection.getresponse().status == 413
        except (BrokenPipeError, ConnectionResetError):
            pass  # the answer came before the rest was sent
        finally:
            connection.close()
        assert agent.send(b"x" * (MAX_UPLOAD_BYTES + 1), path=STATUSES)[0] == 413
        wait_until(lambda: told(agent)["dropped"].get("statuses cut_off") == 1, "it is counted")
        assert told(agent)["dropped"]["snapshots cut_off"] == 1
        assert (told(agent)["waiting"], told(agent)["waiting_bytes"]) == (0, 0)


def test_what_cannot_be_delivered_does_not_fill_the_memory(tmp_path: Path) -> None:
    with running(tmp_path, f"http://127.0.0.1:{free_port()}") as agent:
        send(agent, STATUSES, b"status")
        before = _resident_bytes(agent)
        for _ in range(20):
            send(agent, SNAPSHOTS, os.urandom(10 << 20))
        now = told(agent)
        assert now["waiting_bytes"] <= 32 << 20
        assert now["dropped"]["snapshots queue_full"] >= 16
        assert "statuses queue_full" not in now["dropped"]
        assert _resident_bytes(agent) - before < 150 << 20


def test_an_older_control_plane_is_not_asked_again(tmp_path: Path, intake: UploadIntake) -> None:
    intake.says = lambda _: 404
    with running(tmp_path, intake.url) as agent:
        send(agent, STATUSES, b"1")
        wait_until(lambda: not told(agent)["is_wanted"], "it says that it does not know these")
        for _ in range(5):
            send(agent, SNAPSHOTS, b"2")
        assert told(agent)["dropped"] == {"snapshots not_wanted": 5, "statuses not_wanted": 1}
    assert len(intake.asked) == 1


def test_an_agent_that_was_killed_comes_back_without_what_waited(
    tmp_path: Path, intake: UploadIntake
) -> None:
    intake.says = lambda _: 503
    with running(tmp_path, intake.url) as agent:
        send(agent, STATUSES, b"lost")
        wait_until(lambda: told(agent)["failures"] > 0, "it was tried")
        agent.program.kill9()
        intake.says = lambda _: 202
        agent.start()
        send(agent, STATUSES, b"next")
        wait_until(lambda: intake.bodies == [b"next"], "uploads go on")


def test_an_agent_that_is_stopped_delivers_first(tmp_path: Path, intake: UploadIntake) -> None:
    intake.gate.clear()
    with running(tmp_path, intake.url) as agent:
        for number in range(3):
            send(agent, STATUSES, b"%d" % number)
        wait_until(lambda: len(intake.asked) == 1, "the first is on its way")
        agent.program.signal(15)
        intake.gate.set()
        assert agent.program.wait_for_end() == 0
    assert intake.bodies == [b"%d" % number for number in range(3)]


def _resident_bytes(agent: Agent) -> int:
    pages = Path(f"/proc/{agent.program.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
