"""No upstream configured: no request leaves. The vendor's site named, but not allowed: none either.

The agent is the shipped program under a watch that sees every attempt to connect or to look up a name, two
kinds of it: ``strace``, which sees what the kernel is asked, where it may be used; and an audit hook of the
interpreter, everywhere. Each is first shown to see an attempt.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.support.clients import start_app
from tests.support.processes import Program, clean_environment, wait_until
from tests.support.repository import Simulator
from tests.support.stack import Api, free_port

pytestmark = pytest.mark.interop

# Names are looked up and connections made by libuv in the shipped program, where the interpreter has no say;
# under the hook the loop is asyncio's own, and everything goes through the interpreter.
HOOK = """
import asyncio, os, sys, types
sys.modules["uvloop"] = types.SimpleNamespace(new_event_loop=asyncio.new_event_loop)
_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr",
           "socket.getnameinfo", "socket.sendto", "socket.sendmsg")
_seen = os.open(os.environ["WATCH_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
def _hook(event, arguments):
    if event in _EVENTS:
        os.write(_seen, f"{event} {arguments[-1] if event == 'socket.connect' else arguments!r}\\n".encode())
sys.addaudithook(_hook)
"""
# What strace writes of a call that has an address of the Internet in it.
_OUTWARD = re.compile(r"^.*\b(?:connect|sendto|sendmsg|sendmmsg)\(.*sa_family=AF_INET6?\b.*$", re.M)


@cache
def strace_works() -> bool:
    """Whether strace is here and may be used; containers often forbid it."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


class Watched:
    """``sealwire agent`` with these settings, under a watch.

    Args:
        watch: ``strace`` or ``audit hook``.
        settings: Of ``datadog.yaml``, nested.
        more: Environment variables.
    """

    def __init__(
        self, folder: Path, watch: str, settings: Mapping[str, object], more: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self._file = folder / "watched"
        config = folder / "datadog.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "hostname": "host-q",
                    "run_path": str(folder / "run"),
                    "apm_config": {"receiver_port": self.port, "receiver_socket": ""},
                    **settings,
                }
            )
        )
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(HOOK)
        environment = {"HOME": str(folder), "WATCH_FILE": str(self._file), **(more or {})}
        prefix: list[str | Path] = []
        if watch == "strace":
            if not strace_works():
                pytest.skip("strace is not here, or not allowed; the audit hook watches instead")
            calls = "trace=connect,sendto,sendmsg,sendmmsg"
            # Interruptible, so that it goes when it is told to; the group it leads goes with it.
            prefix = ["strace", "-f", "-qq", "-I", "1", "-e", calls, "-o", self._file, "--"]
        else:
            environment["PYTHONPATH"] = str(folder / "hook")
        self.program = Program(
            [*prefix, sys.executable, "-m", "sealwire", "agent", "run", "--config", config],
            name="agent",
            log=folder / "agent.log",
            environment=clean_environment(environment),
        )
        self.program.wait_for_line("sealwire agent ready", timeout_s=60)
        self.watch = watch

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def outward(self) -> list[str]:
        """Every attempt to reach anything, this machine included, and every look-up of a name."""
        seen = self._file.read_text() if self._file.exists() else ""
        if self.watch == "strace":
            return _OUTWARD.findall(seen)
        return [line for line in seen.splitlines() if line]


@pytest.fixture(params=["strace", "audit hook"])
def watch(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def roots() -> dict[str, str]:
    """First roots, so that these are not what is missing."""
    simulator = Simulator()
    return {
        "config_root": simulator.config.roots[0].decode(),
        "director_root": simulator.director.roots[0].decode(),
    }


SETTINGS: dict[str, tuple[dict[str, object], dict[str, str]]] = {
    "nothing but a key": ({"remote_configuration": {"enabled": True}}, {}),
    "a key and roots": ({"remote_configuration": {"enabled": True, **roots()}}, {}),
    "the vendor's site": (
        {"site": "datadoghq.com", "remote_configuration": {"enabled": True, **roots()}},
        {},
    ),
    "the vendor's site in the environment": (
        {"remote_configuration": {"enabled": True, **roots()}},
        {"DD_SITE": "datadoghq.eu", "DD_REMOTE_CONFIGURATION_ENABLED": "true"},
    ),
    "the vendor's address": (
        {"remote_configuration": {"rc_dd_url": "https://config.us5.datadoghq.com:443", **roots()}},
        {},
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_is_reached_out_to(name: str, watch: str, tmp_path: Path) -> None:
    settings, environment = SETTINGS[name]
    agent = Watched(tmp_path, watch, {"api_key": "0" * 32, **settings}, environment)
    api = Api(agent.url)

    # A tracer's life: it finds no Remote Configuration, and sends what it always sends.
    assert "/v0.7/config" not in api.request("GET", "/info").document["endpoints"]
    for _ in range(20):
        assert api.request("POST", "/v0.7/config", {"client": {}}).status == 404
        for upload in ("/v0.4/traces", "/telemetry/proxy/api/v2/apmtelemetry", "/debugger/v1/input"):
            assert api.request("POST", upload, b"\x90").status == 200
    with start_app(
        "ddtrace4",
        agent_url=agent.url,
        log_folder=tmp_path,
        poll_s=0.2,
        extra={"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "true", "DD_TELEMETRY_HEARTBEAT_INTERVAL": "0.5"},
    ) as app:
        assert app.status() == 200
        wait_until(
            lambda: (
                api.request("GET", "/sealwire/v1/status").document["uploads"]["telemetry"]["requests"] > 21
            ),
            "the tracer sends of its own",
        )

    assert agent.outward() == []
    told = api.request("GET", "/sealwire/v1/status").document["remote_configuration"]
    assert told["on"] is False
    wanted = "allow_datadog_upstream" if "vendor" in name else "rc_dd_url"
    assert wanted in told["reason"]
    assert agent.program.said().count("Remote Configuration does not start") == 1


def test_the_watch_sees_an_attempt(watch: str, tmp_path: Path) -> None:
    """Where there is an upstream it is contacted: here a port nobody listens on."""
    port = free_port()
    agent = Watched(
        tmp_path,
        watch,
        {
            "api_key": "0" * 32,
            "remote_configuration": {
                "enabled": True,
                "rc_dd_url": f"http://127.0.0.1:{port}",
                "no_tls": True,
                **roots(),
            },
        },
    )

    wait_until(
        lambda: any(str(port) in attempt for attempt in agent.outward()), "the attempt is seen", timeout_s=20
    )
