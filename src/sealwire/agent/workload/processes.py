"""Who is who: every process seen, by its id and the time it had it, with those that started it.

Hides where facts come from (records, the process connector, ``/proc``) and when they are asked for. Facts
that few rules want (names of users, facts of the program's file, the control group) are found when a rule
asks, and kept. A process that ended is known for ``KEPT_S`` more, as its last events may be on their way.

Invariants: an id used again is another process: what happened before it began is not its doing, and facts are
taken from ``/proc`` only while the start time there is the one known. At most ``MAX_PROCESSES`` are held, and
chains of ancestors no longer than ``MAX_DEPTH``. No call raises for what a process does. Time is handed in.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sealwire.agent.workload.proc import KERNEL_THREAD, Proc, Stat, terminal_name
from sealwire.secl.event import Fields, Process

MAX_PROCESSES: Final = 40_000
MAX_DEPTH: Final = 200
KEPT_S: Final = 30.0
MAX_ENDED: Final = 20_000
SLACK_NS: Final = 20_000_000  # stamps of audit records are those of the last tick
MAX_NAMES: Final = 4_096
NOBODY_LOGGED_IN: Final = 4294967295

UserName = Callable[[int], str]


class Names:
    """Names of users and groups by number, kept for a while; what has no name is empty."""

    def __init__(self, *, kept_s: float = 60.0) -> None:
        self._kept_s = kept_s
        self._known: dict[tuple[bool, int], str] = {}
        self._until_s = 0.0
        self.now_s = 0.0

    def user(self, uid: int) -> str:
        return self._name(False, uid)

    def group(self, gid: int) -> str:
        return self._name(True, gid)

    def _name(self, of_group: bool, number: int) -> str:
        if self.now_s >= self._until_s or len(self._known) > MAX_NAMES:
            self._known.clear()
            self._until_s = self.now_s + self._kept_s
        key = (of_group, number)
        found = self._known.get(key)
        if found is None:
            try:
                found = grp.getgrgid(number).gr_name if of_group else pwd.getpwuid(number).pw_name
            except (KeyError, OverflowError, ValueError):
                found = ""
            self._known[key] = found
        return found


_NAME_OF: Final[Mapping[str, tuple[str, bool]]] = {
    "user": ("uid", False),
    "euser": ("euid", False),
    "fsuser": ("fsuid", False),
    "group": ("gid", True),
    "egroup": ("egid", True),
    "fsgroup": ("fsgid", True),
}
_FILE_FACTS: Final = frozenset(
    {"mode", "uid", "gid", "inode", "change_time", "modification_time", "user", "group"}
)


def facts_of_file(path: str) -> dict[str, Any]:
    """What the file system says of a file now, by names without prefix; empty if it is not there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return {}
    return {
        "mode": found.st_mode,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "inode": found.st_ino,
        "change_time": found.st_ctime_ns,
        "modification_time": found.st_mtime_ns,
    }


class FileFields(Fields):
    """Fields of an event about files: what the source did not know is asked of the file system, once.

    Args:
        files: Keys of the files, such as ``open.file``.
    """

    __slots__ = ("_files", "_names")

    def __init__(self, values: Mapping[str, Any], files: Iterable[str], names: Names) -> None:
        super().__init__(values)
        self._files = tuple(files)
        self._names = names

    def __missing__(self, key: str) -> Any:
        stem, _, last = key.rpartition(".")
        named = _NAME_OF.get(last)
        if named is not None:
            number = self[f"{stem}.{named[0]}"]
            self[key] = value = self._names.group(number) if named[1] else self._names.user(number)
            return value
        if last in _FILE_FACTS and stem in self._files:
            path = self.get(f"{stem}.path")
            for name, value in (facts_of_file(path) if path else {}).items():
                self.setdefault(f"{stem}.{name}", value)
            if key in self:
                return self[key]
        return super().__missing__(key)


class ProcessFields(Fields):
    """Fields of a process: names, facts of its program and its control group are found when asked for."""

    __slots__ = ("_of",)

    def __init__(self, values: Mapping[str, Any], of: Processes) -> None:
        super().__init__(values)
        self._of = of

    def __missing__(self, key: str) -> Any:
        named = _NAME_OF.get(key)
        if named is not None:
            number = self[named[0]]
            value: Any = self._of.names.group(number) if named[1] else self._of.names.user(number)
            self[key] = value
            return value
        stem, _, last = key.rpartition(".")
        if stem in ("file", "interpreter.file") and last in _FILE_FACTS:
            if last in ("user", "group"):
                owner = self[f"{stem}.{'uid' if last == 'user' else 'gid'}"]
                self[key] = value = (
                    self._of.names.user(owner) if last == "user" else self._of.names.group(owner)
                )
                return value
            path = self[f"{stem}.path"]
            for name, fact in (facts_of_file(path) if path else {}).items():
                self.setdefault(f"{stem}.{name}", fact)
            if key in self:
                return self[key]
        elif stem in ("container", "cgroup") or key in _FROM_PROC:
            self._of.look_closer(self)
            if key in self:
                return self[key]
        return super().__missing__(key)


_FROM_PROC: Final = frozenset(
    {"cap_effective", "cap_permitted", "envp", "tty_name", "created_at", "is_kworker", "ppid", "comm", "auid"}
)


@dataclass(slots=True)
class _Known:
    """One process under one id; ``ended_ns`` is 0 while it lives, ``before`` had the id before it."""

    process: Process
    began_ns: int
    depth: int = 0
    ended_ns: int = 0
    before: _Known | None = None


class Processes:
    """All processes that are known.

    Attributes:
        names: Names of users and groups.
        forgotten: Processes that were dropped because there were too many, ever.
    """

    def __init__(self, proc: Proc, *, names: Names | None = None) -> None:
        self._proc = proc
        self.names = names if names is not None else Names()
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._ended: deque[tuple[int, int, _Known]] = deque()  # when, whose id, what
        self._boot_ns = proc.boot_ns()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._known)

    # What is there already ----------------------------------------------------------------------------------

    def snapshot(self) -> int:
        """Read every process there is; how many."""
        stats = {}
        for pid in self._proc.pids():
            found = self._proc.stat(pid)
            if found is not None:
                stats[pid] = found
        for found in sorted(stats.values(), key=lambda each: each.started_ticks):
            if found.pid not in self._known:
                self._from_proc(found)
        return len(stats)

    def _from_proc(self, found: Stat, *, tries: int = 32) -> _Known:
        """A process as ``/proc`` has it now; its parents too, if they are not known."""
        parent = self._known.get(found.parent)
        if (parent is None or parent.ended_ns) and found.parent and tries:
            above = self._proc.stat(found.parent)
            if above is not None and above.started_ticks <= found.started_ticks:
                parent = self._from_proc(above, tries=tries - 1)
        pid = found.pid
        who = self._proc.credentials(pid)
        words = self._proc.arguments(pid)
        is_kernel = bool(found.flags & KERNEL_THREAD)
        values = {
            "pid": pid,
            "tid": pid,
            "ppid": found.parent,
            "comm": found.comm,
            "argv0": words[0] if words else "",
            "argv": words[1:],
            "file.path": "" if is_kernel else self._proc.program(pid),
            "uid": who.uid,
            "euid": who.euid,
            "fsuid": who.fsuid,
            "gid": who.gid,
            "egid": who.egid,
            "fsgid": who.fsgid,
            "auid": self._proc.login(pid),
            "cap_effective": who.cap_effective,
            "cap_permitted": who.cap_permitted,
            "tty_name": terminal_name(found.terminal),
            "is_kworker": is_kernel,
            "is_exec": True,
            "created_at": self._began_ns(found),
        }
        process = Process(ProcessFields(values, self), parent.process if parent is not None else None)
        return self._put(pid, process, self._began_ns(found), parent)

    def clock_moved(self, by_ns: int) -> None:
        """The clock of the host was put forward or back: what began and ended moves with it."""
        self._boot_ns += by_ns
        seen: set[int] = set()
        for known in [*self._known.values(), *(each[2] for each in self._ended)]:
            each: _Known | None = known
            while each is not None and id(each) not in seen:
                seen.add(id(each))
                each.began_ns += by_ns
                if each.ended_ns:
                    each.ended_ns += by_ns
                if "created_at" in each.process.values:
                    each.process.values["created_at"] += by_ns
                each = each.before
        self._ended = deque((at + by_ns, pid, known) for at, pid, known in self._ended)

    def _began_ns(self, found: Stat) -> int:
        return self._boot_ns + found.started_ticks * 1_000_000_000 // self._proc.ticks_per_s

    def _put(self, pid: int, process: Process, began_ns: int, parent: _Known | None) -> _Known:
        before = self._known.pop(pid, None)
        if before is not None:
            if not before.ended_ns:
                before.ended_ns = began_ns  # its end was missed
            before.before = None
        depth = parent.depth + 1 if parent is not None else 0
        if depth > MAX_DEPTH:
            self._cut(process)
            depth = MAX_DEPTH // 2
        known = _Known(process, began_ns, depth, before=before)
        self._known[pid] = known
        if len(self._known) > MAX_PROCESSES:
            self._make_room(pid)
        return known

    def _make_room(self, keep: int) -> None:
        """Drop what ended first; else what is known longest, but never the first process."""
        self.forgotten += 1
        while self._ended:
            _, pid, known = self._ended.popleft()
            if self._known.get(pid) is known:
                del self._known[pid]
                return
        for pid in self._known:
            if pid not in (1, keep):
                del self._known[pid]
                return

    @staticmethod
    def _cut(process: Process) -> None:
        """End a chain of ancestors in its middle: programs that start their successors grow it for ever."""
        each: Process | None = process
        for _ in range(MAX_DEPTH // 2):
            each = each.parent if each is not None else None
        if each is not None:
            each.parent = None

    # What happens -------------------------------------------------------------------------------------------

    def forked(self, parent: int, child: int, *, at_ns: int) -> Process:
        """A process was started by another; it is a copy of it until it runs a program."""
        above = self._at(parent, at_ns)
        if above is None:
            above = self._read(parent, at_ns)
        if above is None:
            process = Process(
                ProcessFields({"pid": child, "tid": child, "ppid": parent, "created_at": at_ns}, self)
            )
            return self._put(child, process, at_ns, None).process
        values = dict(above.process.values)
        values.update(pid=child, tid=child, ppid=parent, created_at=at_ns, is_exec=False)
        process = Process(ProcessFields(values, self), above.process)
        return self._put(child, process, at_ns, above).process

    def executed(self, pid: int, values: Mapping[str, Any], *, at_ns: int, parent: int = 0) -> Process:
        """A process runs another program from now on.

        Args:
            values: What is known of it now; all else but its place among the others is forgotten.
            parent: Who started it, if it is said.
        """
        known = self._at(pid, at_ns)
        if known is not None and known.ended_ns and at_ns > known.ended_ns + SLACK_NS:
            known = None
        kept: dict[str, Any] = {"pid": pid, "tid": pid, "is_exec": True}
        if known is None:
            above = (self._at(parent, at_ns) or self._read(parent, at_ns)) if parent else None
            kept.update(ppid=parent)
            kept.update(values)
            process = Process(ProcessFields(kept, self), above.process if above is not None else None)
            return self._put(pid, process, at_ns, above).process
        old = known.process
        for key in _STAYS:
            value = old.values.get(key)
            if value is not None:
                kept[key] = value
        kept.update(values)
        process = Process(ProcessFields(kept, self), old.parent)
        process.variables = old.variables
        known.process = process
        return process

    def exited(self, pid: int, *, at_ns: int) -> Process | None:
        """A process ended; ``None`` if it was never known."""
        known = self._known.get(pid)
        if known is None or known.ended_ns:
            return None
        known.ended_ns = max(at_ns, 1)
        self._ended.append((at_ns, pid, known))
        self.forget(now_ns=at_ns)
        return known.process

    def forget(self, *, now_ns: int) -> None:
        """Drop what ended long ago."""
        oldest = now_ns - int(KEPT_S * 1e9)
        while self._ended and (self._ended[0][0] < oldest or len(self._ended) > MAX_ENDED):
            _, pid, known = self._ended.popleft()
            current = self._known.get(pid)
            if current is known:
                del self._known[pid]
            elif current is not None and current.before is known:
                current.before = None

    # Who it was ---------------------------------------------------------------------------------------------

    def of(self, pid: int, *, at_ns: int) -> Process:
        """The process that had an id at a time; one of which only the id is known if nobody knows it."""
        known = self._at(pid, at_ns) or self._read(pid, at_ns)
        if known is not None:
            return known.process
        return Process(ProcessFields({"pid": pid, "tid": pid}, self))

    def peek(self, pid: int) -> Process | None:
        """The process that has an id now, if it is known already."""
        known = self._known.get(pid)
        return known.process if known is not None and not known.ended_ns else None

    def _at(self, pid: int, at_ns: int) -> _Known | None:
        known = self._known.get(pid)
        if known is None:
            return None
        if at_ns + SLACK_NS < known.began_ns:
            before = known.before
            return before if before is not None and before.began_ns <= at_ns + SLACK_NS else None
        if known.ended_ns and at_ns > known.ended_ns + SLACK_NS:
            return None
        return known

    def _read(self, pid: int, at_ns: int) -> _Known | None:
        """A process that is not known, from ``/proc``, unless it began after what is asked about."""
        found = self._proc.stat(pid)
        if found is None or self._began_ns(found) > at_ns + 1_000_000_000:
            return None
        return self._from_proc(found)

    def look_closer(self, values: Fields) -> None:
        """Fill in what ``/proc`` says of a process now, if it still is that process."""
        pid = values.get("pid", 0)
        found = self._proc.stat(pid) if pid else None
        created = values.get("created_at", 0)
        if found is None or (created and abs(self._began_ns(found) - created) > 2_000_000_000):
            # Gone. It was most probably kept where the one that started it is.
            known = self._known.get(pid)
            above = known.process.parent if known is not None and known.process.values is values else None
            if above is not None:
                for key in _OF_GROUP:
                    values.setdefault(key, above.values[key])
            return
        group = self._proc.control_group(pid)
        made_ns = self._proc.made_ns(group)
        who = self._proc.credentials(pid)
        for key, value in {
            "cgroup.id": group.path,
            "cgroup.version": group.version,
            "cgroup.created_at": made_ns,
            "container.id": group.container,
            "container.created_at": made_ns if group.container else 0,
            "cap_effective": who.cap_effective,
            "cap_permitted": who.cap_permitted,
            "tty_name": terminal_name(found.terminal),
            "created_at": self._began_ns(found),
            "is_kworker": bool(found.flags & KERNEL_THREAD),
            "ppid": found.parent,
            "comm": found.comm,
            "auid": self._proc.login(pid),
        }.items():
            values.setdefault(key, value)
        if "envp" not in values:
            values["envp"] = self._proc.environment(pid)

    def from_proc(self, pid: int, *, at_ns: int) -> dict[str, Any]:
        """What ``/proc`` says of the program a process runs now; empty if the process is gone."""
        found = self._proc.stat(pid)
        if found is None:
            return {}
        who = self._proc.credentials(pid)
        words = self._proc.arguments(pid)
        return {
            "comm": found.comm,
            "ppid": found.parent,
            "argv0": words[0] if words else "",
            "argv": words[1:],
            "file.path": self._proc.program(pid),
            "uid": who.uid,
            "euid": who.euid,
            "fsuid": who.fsuid,
            "gid": who.gid,
            "egid": who.egid,
            "fsgid": who.fsgid,
            "cap_effective": who.cap_effective,
            "cap_permitted": who.cap_permitted,
            "created_at": self._began_ns(found),
        }


_OF_GROUP: Final = (
    "cgroup.id", "cgroup.version", "cgroup.created_at", "container.id", "container.created_at",
)  # fmt: skip

# What a process keeps when it runs another program.
_STAYS: Final = (
    "ppid", "created_at", "uid", "gid", "euid", "egid", "fsuid", "fsgid", "auid", "tty_name",
    "cgroup.id", "cgroup.version", "cgroup.created_at", "container.id", "container.created_at",
)  # fmt: skip
