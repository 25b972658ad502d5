"""The list of processes, looked at again and again: the last source, for hosts that allow no other.

What begins and ends between two looks is not seen, and it says so. No file or network event is seen at all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from sealwire.agent.workload.proc import Proc
from sealwire.agent.workload.processes import Processes
from sealwire.agent.workload.sources import Offer, SourceError
from sealwire.secl.event import Event

INTERVAL_S: Final = 0.25
_MISSED: Final = "the list of processes is read four times a second; what is shorter is not seen"

OFFER: Final = Offer(
    source="the list of processes",
    events=frozenset({"exec", "exit"}),
    partly={"exec": _MISSED, "exit": _MISSED},
    missing={
        "exec.syscall.": "the path as given is not known",
        "exit.cause": "how a process ended is not known",
        "exit.code": "how a process ended is not known",
        "process.interpreter.": "the interpreter of a script is not known",
        "process.user_session.": "sessions are not known",
        "process.caps_attempted": "use of capabilities is not recorded",
        "process.caps_used": "use of capabilities is not recorded",
        "file.hashes": "files are not hashed for conditions",
        "file.package.": "packages are not looked up",
        "file.in_upper_layer": "layers of containers are not known",
    },
)


class PollSource:
    """Looks at ``/proc``.

    Args:
        interval_s: Between two looks.
    """

    def __init__(
        self, processes: Processes, proc: Proc, *, common: Mapping[str, Any], interval_s: float = INTERVAL_S
    ) -> None:
        self._processes = processes
        self._proc = proc
        self._common = {**common, "event.origin": "poll"}
        self._interval_s = interval_s
        self._seen: dict[int, tuple[int, str]] = {}  # when it began and what it ran
        self._next_s = 0.0
        self._started = False
        self.lost = 0

    @property
    def offer(self) -> Offer:
        return OFFER

    @property
    def due_s(self) -> float:
        return self._interval_s

    def start(self) -> None:
        self._seen = dict(self._now())
        if not self._seen:
            raise SourceError("The list of processes cannot be read: /proc is not there.")
        self._started = True

    def stop(self) -> None:
        self._started = False

    def filenos(self) -> tuple[int, ...]:
        return ()

    def _now(self) -> dict[int, tuple[int, str]]:
        found = {}
        for pid in self._proc.pids():
            stat = self._proc.stat(pid)
            if stat is not None:
                found[pid] = (stat.started_ticks, self._proc.program(pid) or stat.comm)
        return found

    def read(self, *, limit: int) -> list[Event]:
        now_s = time.monotonic()
        if not self._started or now_s < self._next_s:
            return []
        self._next_s = now_s + self._interval_s
        at_ns = time.time_ns()
        now = self._now()
        found: list[Event] = []
        for pid, (began, _) in self._seen.items():
            if (pid not in now or now[pid][0] != began) and len(found) < limit:
                process = self._processes.exited(pid, at_ns=at_ns)
                found.append(Event("exit", timestamp_ns=at_ns, values=self._common, process=process))
        for pid, identity in now.items():
            if self._seen.get(pid) == identity or len(found) >= limit:
                continue
            facts = self._processes.from_proc(pid, at_ns=at_ns)
            if facts:
                process = self._processes.executed(pid, facts, at_ns=at_ns, parent=facts["ppid"])
                found.append(Event("exec", timestamp_ns=at_ns, values=self._common, process=process))
        self._seen = now
        return found
