"""Programs started by a test: a log each, readiness awaited rather than slept for, ended by their own id.

Every program gets a session of its own, so ending it ends what it started, and nothing else.
When a test fails, the end of each log is shown with it (``tests/conftest.py``).
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[2]

#: Programs of the running test, for the report of a failure; emptied between tests.
of_this_test: list[Program] = []

#: What else to tell when the running test fails: a title, and a function that writes it.
explanations: list[tuple[str, Callable[[], str]]] = []


class NotReadyError(AssertionError):
    """A program, or a fact about one, did not come in time."""


def wait_until(
    happened: Callable[[], T | None],
    what: str,
    *,
    timeout_s: float = 30,
    every_s: float = 0.02,
    program: Program | None = None,
) -> T:
    """Return the first true value of ``happened()``.

    ``happened`` may fail with ``OSError`` or ``AssertionError`` while it is not so yet.

    Raises:
        NotReadyError: Not within ``timeout_s``, or ``program`` ended before; says ``what`` was awaited.
    """
    deadline = time.monotonic() + timeout_s
    last: BaseException | T | None = None
    while True:
        try:
            last = happened()
            if last:
                return last
        except (OSError, AssertionError) as failed:
            last = failed
        if program is not None and program.returncode is not None:
            raise NotReadyError(
                f"{program.name} ended with {program.returncode} while waiting for: {what}\n{program.tail()}"
            )
        if time.monotonic() > deadline:
            log = f"\n{program.tail()}" if program is not None else ""
            raise NotReadyError(f"not within {timeout_s:g} s: {what} (last: {last!r}){log}")
        time.sleep(every_s)


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that configures a tracer, an agent or us."""
    dropped = re.compile(
        r"^(DD_|_DD_|OTEL_|SEALWIRE_|DATADOG_|PYTEST_|COV_|PYTHON|NODE_OPTIONS)|_PROXY$", re.I
    )
    environment = {name: value for name, value in os.environ.items() if not dropped.search(name)}
    environment["PYTHONUNBUFFERED"] = "1"
    environment["NO_PROXY"] = "*"
    environment.update(extra or {})
    return environment


class Program:
    """One running program and its log.

    Args:
        command: What to run.
        name: How reports of failures call it.
        log: Where standard output and error go, appended.
        environment: The whole environment; see ``clean_environment``.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        name: str,
        log: Path,
        environment: Mapping[str, str],
        cwd: Path | None = None,
        user: int | None = None,
        group: int | None = None,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=cwd or REPOSITORY,
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            )
        of_this_test.append(self)
        _running.add(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def said(self) -> str:
        """What it wrote since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._from)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 60) -> str:
        said = self.said().splitlines()[-lines:]
        return "\n".join(
            [f"--- log of {self.name} (pid {self.pid}, ended with {self.returncode}) ---", *said]
        )

    def wait_for_line(self, pattern: str, *, timeout_s: float = 30) -> re.Match[str]:
        """The first match of ``pattern`` in what it says."""
        return wait_until(
            lambda: re.search(pattern, self.said(), re.M),
            f"{self.name} says {pattern!r}",
            timeout_s=timeout_s,
            program=self,
        )

    def wait_for_end(self, *, timeout_s: float = 20) -> int:
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise NotReadyError(f"{self.name} did not end within {timeout_s:g} s\n{self.tail()}") from None
        _running.discard(self)
        return code

    def stop(self, *, timeout_s: float = 15) -> int:
        """Ask it to end, and make it after ``timeout_s``; fine when it has ended already."""
        if self.returncode is None:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill9()
        self._end_group()
        return self._process.wait()

    def kill9(self) -> None:
        """End it and all it started, as a power cut would."""
        self._end_group()
        self._process.wait()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def _end_group(self) -> None:
        # Our child leads a session of its own: the group holds it and what it started, never anybody else.
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:
            self._process.kill()
        _running.discard(self)


_running: set[Program] = set()
_lock = threading.Lock()


@atexit.register
def _end_what_is_left() -> None:
    with _lock:
        for program in list(_running):
            program.kill9()
