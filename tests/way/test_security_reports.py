"""From an upload of a tracer to the control plane, by the agent as the program it is."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealwire.agent.relay import MAX_UPLOAD_BYTES
from sealwire.wire.security import tags_of, triggers_of
from tests.support.processes import Program, wait_until
from tests.support.security_intake import API_KEY, SecurityIntake
from tests.support.spans import recorded_trace, v04
from tests.support.stack import free_port
from tests.way.test_agent_program import run

HEADERS = {"Datadog-Meta-Lang": "python", "Datadog-Meta-Tracer-Version": "4.16.0"}


class Agent:
    """``sealwire agent`` without Remote Configuration."""

    def __init__(self, folder: Path, url: str, **settings: object) -> None:
        self.folder, self.port = folder, free_port()
        given = {
            "api_key": API_KEY,
            "hostname": "web-1",
            "run_path": folder / "run",
            "apm_config.receiver_port": self.port,
            "apm_config.receiver_socket": "",
            "remote_configuration.enabled": "false",
            "remote_configuration.rc_dd_url": url,
            "remote_configuration.no_tls": "true",
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        self._words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
        self.start()

    def start(self) -> None:
        self.program: Program = run(self.folder, *self._words)
        self.program.wait_for_line("sealwire agent ready")

    def send(
        self, body: bytes, *, path: str = "/v0.4/traces", headers: Mapping[str, str] = HEADERS
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def attack(self, span_id: int, name: str = "attack_tool") -> None:
        body = v04(
            recorded_trace(name, span_id=span_id, start=time.time_ns(), meta={"usr.id": f"u{span_id}"})
        )
        assert self.send(body)[0] == 200

    @property
    def status(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/sealwire/v1/status")
            document: dict[str, Any] = json.loads(connection.getresponse().read())
            return document
        finally:
            connection.close()

    @property
    def security(self) -> dict[str, Any]:
        told: dict[str, Any] = self.status["security"]
        return told


@contextmanager
def running(folder: Path, url: str, **settings: object) -> Iterator[Agent]:
    agent = Agent(folder, url, **settings)
    try:
        yield agent
    finally:
        agent.program.stop()


@pytest.fixture
def intake() -> Iterator[SecurityIntake]:
    with SecurityIntake() as intake:
        yield intake


def span_ids(intake: SecurityIntake) -> list[int]:
    return [seen.span.span_id for seen in intake.spans]


def test_an_attack_is_told_soon_with_who_sent_it(tmp_path: Path, intake: SecurityIntake) -> None:
    with running(tmp_path, intake.url) as agent:
        agent.send(v04(recorded_trace("benign")))
        agent.attack(7, "sql_injection")
        wait_until(lambda: span_ids(intake) == [7], "the attack is told")
        arrived, batch = next((at, batch) for at, batch in intake.batches if batch.spans)
        (seen,) = batch.spans
        assert arrived - seen.seen_ms / 1000 < 3
        assert (seen.lang, seen.tracer_version, seen.count) == ("python", "4.16.0", 1)
        assert triggers_of(seen.span, tags_of(seen.span))[0].type == "sql_injection"
        assert batch.hostname == "web-1"
        assert intake.posts[0]["DD-Api-Key"] == API_KEY
        assert sum(watched.count for _, each in intake.batches for watched in each.watched) == 2

        wait_until(lambda: agent.security["told"] == 1, "it was taken")
        asked = run(tmp_path, "status", "--url", f"http://127.0.0.1:{agent.port}", name="status")
        assert asked.wait_for_end() == 0
        assert "Requests of interest: 1, told: 1, waiting: 0" in asked.said()


def test_what_was_not_taken_survives_a_kill_and_is_told_by_the_next_run(
    tmp_path: Path, intake: SecurityIntake
) -> None:
    intake.status = 503
    with running(tmp_path, intake.url) as agent:
        for number in range(1, 4):
            agent.attack(number)
        wait_until(lambda: agent.security["kept"]["requests"] == 3, "it is kept")
        agent.program.kill9()
        assert intake.spans == []

        intake.status = 200
        agent.start()
        agent.attack(4)
        wait_until(lambda: sorted(span_ids(intake)) == [1, 2, 3, 4], "all of it is told, once")
        wait_until(lambda: agent.security["kept"]["requests"] == 0, "nothing is kept any more")

    assert set(intake.delivered.values()) == {1}
    assert len({started for _, started, _ in intake.delivered}) == 2
    assert list((tmp_path / "run" / "security-spool").glob("*.batch")) == []


def test_when_the_answer_is_lost_the_same_batch_comes_again(tmp_path: Path, intake: SecurityIntake) -> None:
    intake.lost_answers = 3  # a post is tried twice
    with running(tmp_path, intake.url) as agent:
        agent.attack(1)
        wait_until(lambda: len(intake.batches) >= 4, "it comes again")
        wait_until(lambda: agent.security["told"] == 1, "and is taken")
    assert set(span_ids(intake)) == {1}
    ((_, times),) = [item for item in intake.delivered.items() if item[1] > 1]
    assert times >= 4


def test_a_control_plane_that_does_not_know_of_it_is_left_alone(
    tmp_path: Path, intake: SecurityIntake
) -> None:
    intake.status = 404
    with running(tmp_path, intake.url) as agent:
        agent.attack(1)
        wait_until(lambda: not agent.security["is_wanted"], "it is left alone")
        agent.attack(2)
        assert agent.security["dropped"]["security_not_wanted"] == 2
        assert agent.security["kept"]["requests"] == 0
        assert len(intake.posts) == 1
        assert " warning " not in agent.program.said()


def test_switched_off_nothing_is_told(tmp_path: Path, intake: SecurityIntake) -> None:
    with running(tmp_path, intake.url, sealwire__security_reports="false") as agent:
        agent.attack(1)
        assert agent.status["security"] == {"on": False}
    assert intake.posts == []
    assert not (tmp_path / "run" / "security-spool").exists()


def test_without_a_control_plane_it_serves_and_tells_nobody(tmp_path: Path) -> None:
    with running(tmp_path, "") as agent:
        agent.attack(1)
        assert agent.status["security"] == {"on": False}


# Hostile ------------------------------------------------------------------------------------------------


def test_hostile_bodies_are_answered_counted_and_leave_no_trace(
    tmp_path: Path, intake: SecurityIntake
) -> None:
    with running(tmp_path, intake.url) as agent:
        agent.attack(1)
        wait_until(lambda: span_ids(intake) == [1], "it works")
        before = rss_mib(agent.program.pid)
        deep = b"\x91" * 1_000_000
        wide = b"\xdd\xff\xff\xff\xff" + b"\x90" * 1000
        empty_spans = b"\x91\xdd" + (4_000_000).to_bytes(4, "big") + b"\x80" * 4_000_000
        named = b"\x91\x91\x81\xa4meta" + b"\xdf\xff\xff\xff\xff" + b"appsec.event" * 10_000
        huge_text = b"\x91\x91\x81\xa7service\xdb\xff\xff\xff\xff" + b"x" * 1000
        for path in ("/v0.3/traces", "/v0.4/traces", "/v0.5/traces", "/v0.7/traces"):
            for body in (b"", b"\xc1", b"{}", deep, wide, empty_spans, named, huge_text):
                assert agent.send(body, path=path)[0] == 200
        largest = b"\xc4" * (MAX_UPLOAD_BYTES - 10)
        assert agent.send(largest)[0] == 200
        assert _oversize(agent.port, 100 * 1024 * 1024) == 413
        for announced in ("99999999999999999999", "-5", "x", "1000000"):
            _lying(agent.port, announced)

        agent.attack(2)
        wait_until(lambda: span_ids(intake) == [1, 2], "it still works")
        wait_until(lambda: rss_mib(agent.program.pid) - before < 100, "nothing of it stays", timeout_s=10)
        dropped = agent.security["dropped"]
        assert dropped["traces_not_readable"] + dropped.get("traces_unreadable", 0) >= 20
        assert "Traceback" not in agent.program.said()


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) / 1024


def _oversize(port: int, size: int) -> int:
    """Send as much as it takes, with a length nobody announced; its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"POST /v0.4/traces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n" % 1_000_000 + b"\x90" * 1_000_000 + b"\r\n"
        try:
            for _ in range(size // 1_000_000):
                connection.sendall(piece)
        except OSError:
            pass  # it said no, and listens no further
        answer = connection.recv(4096)
    return int(answer.split()[1])


def _lying(port: int, announced: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = f"POST /v0.4/traces HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n"
        connection.sendall(head.encode() + msgspec.msgpack.encode([[{"service": "shop"}]]))


# Passing on ---------------------------------------------------------------------------------------------


def test_an_agent_in_front_of_another_passes_uploads_on_and_tells_of_attacks(
    tmp_path: Path, intake: SecurityIntake
) -> None:
    for name in ("behind", "front"):
        (tmp_path / name).mkdir()
    with (
        running(tmp_path / "behind", "", hostname="behind") as behind,
        running(
            tmp_path / "front", intake.url, sealwire__forward_to=f"http://127.0.0.1:{behind.port}"
        ) as front,
    ):
        front.attack(1)
        front.send(b"[]", path="/debugger/v1/input")
        assert behind.status["uploads"].keys() == {"traces", "debugger"}
        forwarding = front.status["forwarding"]
        assert (forwarding["passed_on"], forwarding["failed"]) == ({"traces": 1, "debugger": 1}, {})
        behind.program.kill9()
        front.attack(2)
        assert front.status["forwarding"]["failed"] == {"traces": 1}
        asked = run(tmp_path, "status", "--url", f"http://127.0.0.1:{front.port}", name="status")
        assert asked.wait_for_end() == 0
        wait_until(lambda: span_ids(intake) == [1, 2], "the attacks are told")
        assert f"Uploads passed on to http://127.0.0.1:{behind.port}: 2, failed: 1" in asked.said()


def test_an_agent_is_not_passed_on_to_itself(tmp_path: Path) -> None:
    refused = run(
        tmp_path, "check", "--set", "sealwire.forward_to=http://localhost:8126", "--set", "api_key=x",
    )  # fmt: skip

    assert refused.wait_for_end() == 1
    assert "is this agent itself" in refused.said()
