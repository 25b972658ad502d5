"""The agent as the program it is: starts, refuses to start, tells how it is, stops, survives being killed."""

from __future__ import annotations

import http.client
import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.agent.cache import Belonging, Cache
from tests.support.processes import Program, clean_environment, wait_until
from tests.support.repository import Simulator
from tests.support.stack import free_port

AGENT = (sys.executable, "-m", "sealwire", "agent")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Program]]:
    programs: list[Program] = []
    yield programs
    for program in programs:
        program.stop()


def write_settings(folder: Path, port: int, *, upstream: str | None) -> Path:
    """A datadog.yaml; the upstream, if any, is a port nobody listens on."""
    simulator = Simulator()
    file = folder / "datadog.yaml"
    lines = [
        "api_key: '0123456789abcdef'",
        f"run_path: {folder / 'run'}",
        f"apm_config: {{receiver_port: {port}}}",
        "logs_enabled: true",
        "remote_configuration:",
        "  no_tls: true",
        f"  config_root: '{simulator.config.roots[0].decode()}'",
        f"  director_root: '{simulator.director.roots[0].decode()}'",
    ]
    if upstream is not None:
        lines.append(f"  rc_dd_url: {upstream}")
    file.write_text("\n".join(lines) + "\n")
    return file


def run(folder: Path, *words: str, name: str = "agent") -> Program:
    return Program([*AGENT, *words], name=name, log=folder / f"{name}.log", environment=clean_environment())


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_it_starts_serves_tells_how_it_is_and_stops_when_asked(
    tmp_path: Path, port: int, started: list[Program]
) -> None:
    file = write_settings(tmp_path, port, upstream=f"http://127.0.0.1:{free_port()}")
    agent = run(tmp_path, "--config", str(file))
    started.append(agent)
    agent.wait_for_line(r"sealwire agent ready .*upstream=http://127\.0\.0\.1")
    agent.wait_for_line("control plane not reached")

    asked = run(tmp_path, "status", "--config", str(file), name="status")
    as_json = run(tmp_path, "status", "--json", "--url", f"http://127.0.0.1:{port}", name="status-json")

    assert asked.wait_for_end() == 0
    assert "Condition: unreachable" in asked.said()
    assert "Connection refused" in asked.said()
    assert as_json.wait_for_end() == 0
    document = json.loads(as_json.said())
    assert document["remote_configuration"]["on"] is True
    assert document["agent"]["wire_version"] == "7.80.0"
    assert get(port, "/healthz") == (200, b"ok\n")
    assert get(port, "/readyz")[0] == 503
    assert b"sealwire_agent_request_failures_total" in get(port, "/metrics")[1]
    assert (tmp_path / "run" / "apm.socket").is_socket()

    agent.signal(signal.SIGTERM)
    assert agent.wait_for_end() == 0
    assert agent.said().splitlines()[-1].endswith("sealwire agent stopped")
    assert agent.said().count("control plane not reached") == 1
    assert "Traceback" not in agent.said()


def test_without_an_upstream_it_serves_and_says_which_line_to_add(
    tmp_path: Path, port: int, started: list[Program]
) -> None:
    file = write_settings(tmp_path, port, upstream=None)
    agent = run(tmp_path, "run", "--config", str(file))
    started.append(agent)
    agent.wait_for_line("sealwire agent ready")

    info = json.loads(get(port, "/info")[1])

    assert agent.wait_for_line("Remote Configuration does not start .*remote_configuration.rc_dd_url")
    assert "/v0.7/config" not in info["endpoints"]
    assert get(port, "/v0.7/config")[0] == 404
    assert get(port, "/readyz")[0] == 200
    status = run(tmp_path, "status", "--config", str(file), name="status")
    assert status.wait_for_end() == 0
    assert "Off: no control plane is named: add `remote_configuration.rc_dd_url" in status.said()


def test_switched_off_is_off_with_no_warning(tmp_path: Path, port: int, started: list[Program]) -> None:
    file = write_settings(tmp_path, port, upstream="http://127.0.0.1:1")
    agent = run(tmp_path, "--config", str(file), "--set", "remote_configuration.enabled=false")
    started.append(agent)
    agent.wait_for_line("sealwire agent ready")

    assert get(port, "/v0.7/config")[0] == 404
    assert " warning " not in agent.said()
    assert " error " not in agent.said()


def test_a_second_agent_in_the_same_folder_or_on_the_same_port_refuses_to_start(
    tmp_path: Path, port: int, started: list[Program]
) -> None:
    file = write_settings(tmp_path, port, upstream=f"http://127.0.0.1:{free_port()}")
    first = run(tmp_path, "--config", str(file))
    started.append(first)
    first.wait_for_line("sealwire agent ready")

    same_folder = run(
        tmp_path, "--config", str(file), "--set", f"apm_config.receiver_port={free_port()}", name="folder"
    )
    same_port = run(tmp_path, "--config", str(file), "--set", f"run_path={tmp_path / 'other'}", name="port")

    assert same_folder.wait_for_end() == 1
    assert f"another agent (pid {first.pid}) works in" in same_folder.said()
    assert same_port.wait_for_end() == 1
    assert f"pid {first.pid}" in same_port.said()
    assert get(port, "/healthz")[0] == 200


def test_wrong_settings_and_wrong_words_are_told_apart(tmp_path: Path, port: int) -> None:
    file = write_settings(tmp_path, port, upstream="http://127.0.0.1:1")
    wrong_value = run(tmp_path, "--config", str(file), "--set", "apm_config.receiver_port=x", name="value")
    wrong_word = run(tmp_path, "dance", name="word")
    nobody = run(tmp_path, "status", "--url", f"http://127.0.0.1:{port}", name="nobody")
    helped = run(tmp_path, "--help", name="help")

    assert wrong_value.wait_for_end() == 1
    assert "apm_config.receiver_port (--set apm_config.receiver_port): expected a port" in wrong_value.said()
    assert wrong_word.wait_for_end() == 2
    assert nobody.wait_for_end() == 1
    assert "no agent answers at" in nobody.said()
    assert helped.wait_for_end() == 0
    assert "sealwire root export --agent" in helped.said()


def test_check_reads_the_settings_and_tries_the_control_plane(tmp_path: Path, port: int) -> None:
    file = write_settings(tmp_path, port, upstream=f"http://127.0.0.1:{free_port()}")
    checked = run(tmp_path, "check", "--config", str(file), name="check")
    refused = run(
        tmp_path, "check", "--config", str(file), "--set", "remote_configuration.no_tls=no", name="refused"
    )

    assert checked.wait_for_end() == 1
    assert "cannot be reached: Connection refused" in checked.said()
    assert "0123456789abcdef" not in checked.said()
    assert refused.wait_for_end() == 1
    assert "remote_configuration.no_tls: true" in refused.said()


def test_a_read_only_disk_is_memory_only_and_visible(
    tmp_path: Path, port: int, started: list[Program]
) -> None:
    file = write_settings(tmp_path, port, upstream=f"http://127.0.0.1:{free_port()}")
    (tmp_path / "plain").write_text("")
    agent = run(tmp_path, "--config", str(file), "--set", f"run_path={tmp_path / 'plain' / 'run'}")
    started.append(agent)
    agent.wait_for_line("sealwire agent ready")

    document = json.loads(get(port, "/sealwire/v1/status")[1])

    assert document["remote_configuration"]["cache"]["mode"] == "memory"
    assert "plain" in document["remote_configuration"]["cache"]["reason"]
    assert agent.said().count("state is kept in memory only") == 1


def test_killed_at_any_moment_a_whole_state_is_on_the_disk(tmp_path: Path) -> None:
    """Old or new, never a mixture; and the lock of the dead is not held."""
    script = (
        "import sys; from pathlib import Path\n"
        "from sealwire.agent.cache import Belonging, Cache, Held\n"
        "cache = Cache.open(Path(sys.argv[1]))\n"
        "who = Belonging('k', 'u', 'a')\n"
        "number = 0\n"
        "print('begins', flush=True)\n"
        "while True:\n"
        "    number += 1\n"
        "    text = str(number).encode()\n"
        "    cache.save(who, Held({'files/x': text * 100_000, 'number': text}))\n"
    )
    chance = random.Random(7)
    seen = []

    for attempt in range(8):
        writer = Program(
            [sys.executable, "-c", script, tmp_path / "run"],
            name=f"writer-{attempt}",
            log=tmp_path / f"writer-{attempt}.log",
            environment=clean_environment(),
        )
        writer.wait_for_line("begins")
        state = tmp_path / "run" / "remote-config" / "state"
        wait_until(state.exists, "something is written", program=writer)
        time.sleep(chance.uniform(0.0, 0.05))
        writer.kill9()

        cache = Cache.open(tmp_path / "run")
        held = cache.load(Belonging("k", "u", "a"))
        cache.close()

        assert held is not None
        number = held.dump["number"]
        assert held.dump["files/x"] == number * 100_000
        seen.append(number)
        assert not (tmp_path / "run" / "remote-config" / "state.set-aside").exists()

    assert len(set(seen)) > 1
