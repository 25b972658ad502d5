"""Real applications under real, unmodified tracers.

Which tracers: two lines of ddtrace and one of dd-trace-js, installed by ``make interop``, each in a place
of its own under ``.cache/interop``. Nothing of the test's own environment reaches an application.
"""

from __future__ import annotations

import http.client
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.support.processes import REPOSITORY, Program, clean_environment, wait_until

INTEROP = REPOSITORY / ".cache" / "interop"
APPS = REPOSITORY / "tests" / "interop" / "apps"

_numbers = count(1)

#: Kept quiet because nothing here looks at it; what a test wants to see it switches on again.
_QUIET = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_TRACE_STARTUP_LOGS": "false",
    "DD_CRASHTRACKING_ENABLED": "false",
    "DD_RUNTIME_METRICS_ENABLED": "false",
    "DD_TRACE_STATS_COMPUTATION_ENABLED": "false",
}


@dataclass(frozen=True)
class Answer:
    """What an application said to a request."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class App:
    """One application under a tracer.

    Args:
        service: ``DD_SERVICE``.
        env: ``DD_ENV``.
        agent_url: ``http://host:port`` or ``unix:///path``.
        log_folder: Where its log goes.
        poll_s: The tracer's poll interval.
        extra: Further environment variables; they win.
    """

    language: str
    ready_line = r"listening on 127\.0\.0\.1:(\d+)"

    def __init__(
        self,
        command: list[str | Path],
        *,
        service: str,
        env: str,
        agent_url: str,
        log_folder: Path,
        poll_s: float,
        version: str,
        extra: Mapping[str, str],
    ) -> None:
        self.service = service
        environment = clean_environment(
            {
                **_QUIET,
                "DD_SERVICE": service,
                "DD_ENV": env,
                "DD_VERSION": version,
                "DD_TRACE_AGENT_URL": agent_url,
                "DD_REMOTE_CONFIG_POLL_INTERVAL_SECONDS": str(poll_s),
                **extra,
            }
        )
        name = f"{type(self).__name__}-{service}-{next(_numbers)}"
        self.program = Program(command, name=name, log=log_folder / f"{name}.log", environment=environment)
        try:
            listening = self.program.wait_for_line(self.ready_line, timeout_s=60)
            self.port = int(listening[1])
            wait_until(
                lambda: self.get("/").status, "the application answers", timeout_s=20, program=self.program
            )
        except BaseException:
            self.program.kill9()
            raise

    def request(
        self, path: str = "/", headers: Mapping[str, str] | None = None, *, timeout_s: float = 10
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.read(), dict(response.getheaders()))
        finally:
            connection.close()

    def get(
        self, path: str = "/", headers: Mapping[str, str] | None = None, *, from_ip: str | None = None
    ) -> Answer:
        """Ask for ``path``, as if the visitor's address were ``from_ip``."""
        forwarded = {} if from_ip is None else {"X-Forwarded-For": from_ip}
        return self.request(path, {**forwarded, **(headers or {})})

    def status(self, path: str = "/", *, from_ip: str | None = None) -> int:
        return self.get(path, from_ip=from_ip).status

    def wait_for_status(
        self, status: int, path: str = "/", *, from_ip: str | None = None, timeout_s: float = 20
    ) -> None:
        """Wait until ``path`` answers ``status``."""
        wait_until(
            lambda: self.status(path, from_ip=from_ip) == status or None,
            f"{self.service} answers {status} for {path} from {from_ip}",
            timeout_s=timeout_s,
            program=self.program,
        )

    def stop(self) -> None:
        self.program.stop(timeout_s=5)

    def kill9(self) -> None:
        self.program.kill9()

    def __enter__(self) -> App:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class FlaskApp(App):
    """The Flask shop under ``ddtrace-run`` of the line ``ddtrace`` (``ddtrace4`` or ``ddtrace3``)."""

    language = "python"

    def __init__(
        self,
        ddtrace: str = "ddtrace4",
        *,
        service: str = "shop",
        env: str = "prod",
        agent_url: str,
        log_folder: Path,
        poll_s: float = 0.5,
        version: str = "1.2.3",
        program: str = "flask_app.py",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        bin_folder = require_ddtrace(ddtrace)
        super().__init__(
            [bin_folder / "python", bin_folder / "ddtrace-run", bin_folder / "python", APPS / program],
            service=service,
            env=env,
            agent_url=agent_url,
            log_folder=log_folder,
            poll_s=poll_s,
            version=version,
            extra={"PATH": f"{bin_folder}:/usr/bin:/bin", **(extra or {})},
        )


class DemoShop(App):
    """The sample shop of ``make run`` under ``ddtrace-run``: a database, accounts with a password."""

    language = "python"
    ready_line = r"open on http://127\.0\.0\.1:(\d+)"

    def __init__(
        self,
        *,
        service: str = "shop",
        agent_url: str,
        log_folder: Path,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        bin_folder = require_ddtrace("ddtrace4")
        python = bin_folder / "python"
        super().__init__(
            [python, bin_folder / "ddtrace-run", python, "-m", "sealwire.demo", "--port", "0"],
            service=service,
            env="prod",
            agent_url=agent_url,
            log_folder=log_folder,
            poll_s=0.5,
            version="1.2.3",
            extra={
                "PATH": f"{bin_folder}:/usr/bin:/bin",
                "PYTHONPATH": str(REPOSITORY / "src"),
                **(extra or {}),
            },
        )


class ExpressApp(App):
    """The Express shop under ``dd-trace``."""

    language = "node"

    def __init__(
        self,
        *,
        service: str = "shop",
        env: str = "prod",
        agent_url: str,
        log_folder: Path,
        poll_s: float = 0.5,
        version: str = "1.2.3",
        program: str = "express_app.js",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        node, modules = require_node()
        super().__init__(
            [node, APPS / program],
            service=service,
            env=env,
            agent_url=agent_url,
            log_folder=log_folder,
            poll_s=poll_s,
            version=version,
            extra={"MODULES": str(modules), **(extra or {})},
        )


#: Dynamic Instrumentation is on from the start.
INSTRUMENTED = {"DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true"}


def line_of(program: str, text: str) -> int:
    """The line of an application's file that has ``text`` in it, and no other has."""
    lines = (APPS / program).read_text().splitlines()
    found = [number for number, line in enumerate(lines, 1) if text in line]
    assert len(found) == 1, (program, text, found)
    return found[0]


#: Every tracer the tests run, by the name a test's parameter shows.
TRACERS = ("ddtrace4", "ddtrace3", "dd-trace-js")


def start_app(tracer: str, *, agent_url: str, log_folder: Path, **more: object) -> App:
    """Start the application for a name of ``TRACERS``; skips, saying so, where it is not installed."""
    if tracer == "dd-trace-js":
        return ExpressApp(agent_url=agent_url, log_folder=log_folder, **more)  # type: ignore[arg-type]  # by name
    return FlaskApp(tracer, agent_url=agent_url, log_folder=log_folder, **more)  # type: ignore[arg-type]  # by name


def require_ddtrace(line: str) -> Path:
    """The ``bin`` folder of a ddtrace line; skips where ``make interop`` has not been run."""
    folder = INTEROP / line / "bin"
    if not (folder / "ddtrace-run").exists():
        pytest.skip(f"{line} is not installed: run make interop")
    return folder


def ddtrace_version(line: str) -> str:
    """The exact version of a ddtrace line, from its lock."""
    lock = (REPOSITORY / "requirements" / f"interop-{line}.lock").read_text()
    found = re.search(r"^ddtrace==(\S+)", lock, re.M)
    assert found is not None, line
    return found[1]


def require_node() -> tuple[str, Path]:
    """Node, and where dd-trace and express are installed; skips where one is missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, so dd-trace-js cannot run")
    modules = INTEROP / "node"
    if not (modules / "node_modules" / "dd-trace").exists():
        pytest.skip("dd-trace-js is not installed: run make interop (it needs npm)")
    return node, modules
