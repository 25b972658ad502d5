"""Child programs under supervision: started in order, watched, stopped in the opposite order.

Hides processes, pipes and signals. Everything that happens (a line, a death, a signal) becomes one
event in one queue, which the caller's thread reads; nothing else runs in signal handlers.
Invariants: a child is only ever signalled by the process object that started it; every line of a
child goes to its log file, the important ones also to the screen.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from sealwire.cli import tether
from sealwire.errors import SealwireError

TAIL_LINES = 15
MAX_LOG_BYTES = 16 * 1024 * 1024
STOP_PATIENCE_S = 10.0
_IMPORTANT = re.compile(r"\b(warn(ing)?|error|critical|fatal|traceback|refused|alarm|ready)\b", re.IGNORECASE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class ChildDiedError(SealwireError):
    """A child program ended although it should not have."""

    code = "child_died"


class StopRequested(Exception):  # noqa: N818 - not an error: somebody pressed Ctrl-C
    """SIGINT or SIGTERM came."""


@dataclass(eq=False)
class Child:
    """One started program."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    ready_line: str | None = None
    reader: threading.Thread | None = None

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None


@dataclass(frozen=True, slots=True)
class _Line:
    child: Child
    text: str


@dataclass(frozen=True, slots=True)
class _Ended:
    child: Child


@dataclass(frozen=True, slots=True)
class _Signalled:
    number: int


def is_important(line: str) -> bool:
    """Whether a line of a log is worth a person's look."""
    return _IMPORTANT.search(line) is not None


class Children:
    """The children of one ``sealwire up``."""

    def __init__(self, logs: Path, show: Callable[[str], None]) -> None:
        """Watch nothing yet.

        Args:
            logs: Directory for one log file per child; made if missing.
            show: Prints one line.
        """
        self._logs = logs
        self._show = show
        self._events: queue.SimpleQueue[_Line | _Ended | _Signalled] = queue.SimpleQueue()
        self._children: list[Child] = []
        self._is_stopping = False
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def signals_as_events(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as wishes to stop, while inside."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            self._events.put(_Signalled(number))  # SimpleQueue.put may be called from a handler

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        ready_line: str | None = None,
        is_shown: Callable[[str], bool] = is_important,
    ) -> Child:
        """Start a program, tied to us.

        Args:
            name: Prefix of its lines and name of its log.
            command: Program and arguments.
            env: Its whole environment.
            ready_line: Text of the line that says it is ready; for ``wait_ready``.
            is_shown: Which of its lines are worth showing.
        """
        log = self._logs / f"{name}.log"
        tied = [sys.executable, "-I", str(Path(tether.__file__)), str(os.getpid()), *command]
        process = subprocess.Popen(
            tied,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone; we stop the children in order
        )
        child = Child(name, process, log, ready_line=ready_line)
        self._children.append(child)
        child.reader = threading.Thread(target=self._read, args=(child, is_shown), daemon=True)
        child.reader.start()
        threading.Thread(target=self._await_end, args=(child,), daemon=True).start()
        return child

    def wait_ready(self, child: Child, *, timeout_s: float) -> str:
        """Wait for the child's ready line, and give that line.

        Raises:
            ChildDiedError: Any child ended first, or the time is over.
            StopRequested: Somebody wants to stop.
        """
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            event = self._next_event(left)
            if isinstance(event, _Line) and event.child is child and child.ready_line in event.text:  # type: ignore[operator]
                return event.text
        raise ChildDiedError(self._told(child, f"was not ready after {timeout_s:.0f} s"))

    def wait_until(self, is_so: Callable[[], bool], *, timeout_s: float, every_s: float = 0.25) -> bool:
        """Wait until something is so; False when the time is over. Watches the children meanwhile."""
        deadline = time.monotonic() + timeout_s
        next_look = 0.0
        while (now := time.monotonic()) < deadline:
            if now >= next_look:
                if is_so():
                    return True
                next_look = time.monotonic() + every_s
            self._next_event(max(0.0, min(next_look, deadline) - time.monotonic()))
        return is_so()

    def watch(self) -> None:
        """Watch for ever.

        Raises:
            ChildDiedError: A child ended.
            StopRequested: Somebody wants to stop.
        """
        while True:
            self._next_event(None)

    def stop_all(self) -> None:
        """Stop the children, last started first; kill one that does not go in time.

        A second Ctrl-C ends the patience.
        """
        self._is_stopping = True
        patience_s = STOP_PATIENCE_S
        for child in reversed(self._children):
            if child.has_ended:
                continue
            child.process.terminate()
            deadline = time.monotonic() + patience_s
            while (left := deadline - time.monotonic()) > 0:
                if child.has_ended:
                    break
                try:
                    event = self._events.get(timeout=min(left, 0.2))
                except queue.Empty:
                    continue
                if isinstance(event, _Signalled):
                    deadline, patience_s = 0.0, 0.5
            if child.has_ended:
                self._show(f"{child.name} stopped.")
            else:
                child.process.kill()
                child.process.wait()
                self._show(f"{child.name} did not stop in time and was killed.")
        for child in self._children:
            if child.reader is not None:
                child.reader.join(timeout=1.0)

    def _next_event(self, timeout_s: float | None) -> _Line | None:
        try:
            event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None
        match event:
            case _Signalled():
                raise StopRequested
            case _Ended(child):
                raise ChildDiedError(
                    self._told(child, f"ended by itself (exit code {child.process.returncode})")
                )
            case _Line():
                return event

    def _told(self, child: Child, what: str) -> str:
        if child.reader is not None:
            child.reader.join(timeout=1.0)
        last = "\n".join(f"  {child.name} | {line}" for line in child.tail) or "  (it said nothing)"
        return f"{child.name} {what}. Its last lines, whole in {child.log}:\n{last}"

    def _read(self, child: Child, is_shown: Callable[[str], bool]) -> None:
        """Carry the child's lines to its log, the screen and the queue; runs in its own thread."""
        pipe = child.process.stdout
        assert pipe is not None
        log = child.log.open("wb")
        with pipe:
            for raw in pipe:
                if log.tell() > MAX_LOG_BYTES:  # kept: this file and the one before it
                    log.close()
                    child.log.replace(child.log.with_suffix(".log.1"))
                    log = child.log.open("wb")
                log.write(raw)
                log.flush()
                text = _COLOURS.sub("", raw.decode("utf-8", "replace").rstrip())
                child.tail.append(text)
                if is_shown(text) and not self._is_stopping:
                    self._show(f"{child.name:<7}| {text}")
                if child.ready_line is not None and child.ready_line in text:
                    self._events.put(_Line(child, text))
        log.close()

    def _await_end(self, child: Child) -> None:
        child.process.wait()
        self._events.put(_Ended(child))
