"""What the kernel should record, from what the rules in force need: which calls, on which paths.

The language says of each rule which values its fields must have. A rule that names its paths becomes watches
on them; one that does not, on a call that is rare, makes the kernel record that call everywhere; one that
would need every open of the host recorded is left out, and it is said so. Pure but for ``Ground``, which says
what is at a path.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sealwire.agent.workload.audit_control import MAX_PATH_BYTES, PERM_READ, PERM_WRITE, AuditRule
from sealwire.agent.workload.syscalls import CALLS, Machine
from sealwire.secl.needs import AnyBit, Needed, Values
from sealwire.secl.patterns import TextSet
from sealwire.secl.ruleset import RuleSet

MAX_WATCHES: Final = 2_000
MAX_DIRECTORIES: Final = 256  # each is looked at for every call, single files are not
MAX_VALUES: Final = 16
_WRITES: Final = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000  # flags of an open that may change a file

FILE_EVENTS: Final = (
    "open", "chmod", "chown", "unlink", "rmdir", "rename", "link", "utimes", "mkdir", "setxattr",
    "removexattr", "chdir",
)  # fmt: skip
_WITH_DESTINATION: Final = frozenset({"rename", "link"})
# Files the kernel makes up as they are asked for: it cannot watch them.
_NOT_WATCHED: Final = ("/proc", "/sys")
_ELSEWHERE: Final = frozenset({"dns", "imds", "packet", "exit", "network_flow_monitor"})
_BITS: Final = {"mmap": ("mmap.protection", 2), "mprotect": ("mprotect.req_protection", 2)}
_VALUE: Final = {
    "ptrace": ("ptrace.request", {"ptrace": 0}),
    "prctl": ("prctl.option", {"prctl": 0}),
    "bpf": ("bpf.cmd", {"bpf": 0}),
    "signal": ("signal.type", {"kill": 1, "tkill": 1, "tgkill": 2}),
    "setsockopt": ("setsockopt.optname", {"setsockopt": 2}),
}
# How dear recording a call everywhere is; what is not here is 2. The dearest is given up first.
_COST: Final = {
    "exec": 0, "open": 9, "mmap": 8, "mprotect": 8, "splice": 7, "utimes": 5, "unlink": 5, "chdir": 5,
    "rename": 4, "signal": 4, "mkdir": 4, "connect": 3, "chmod": 3,
}  # fmt: skip


class Ground(Protocol):
    """What is at a path now."""

    def is_directory(self, path: str) -> bool: ...

    def real(self, path: str) -> str: ...


class HostGround:
    """The file system of this host."""

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def real(self, path: str) -> str:
        return os.path.realpath(path)


@dataclass(frozen=True, slots=True)
class Watch:
    """Something the kernel records.

    Attributes:
        events: Types of event it is for.
        path: On this file or, if ``below``, everything below this directory; empty for everywhere.
        permissions: For opens, those for writing, for reading, or both.
        values: An argument has one of these, by call and position; empty for any.
        bits: An argument (its position) has one of these bits.
        rules: Ids of the rules it is for.
        cost: 0 to 9; what costs nothing is never given up.
    """

    events: tuple[str, ...]
    path: str = ""
    below: bool = False
    permissions: int = 0
    values: tuple[tuple[str, int, int], ...] = ()
    bits: tuple[int, int] | None = None
    rules: tuple[str, ...] = ()
    cost: int = 0

    @property
    def name(self) -> str:
        """It in words, the same for the same thing."""
        where = f" below {self.path}" if self.below else f" of {self.path}" if self.path else ""
        how = " for writing" if self.permissions == PERM_WRITE else ""
        return f"{', '.join(self.events)}{how}{where}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All the kernel should record.

    Attributes:
        left_out: Rules that cannot be served so, and why, by rule and event.
        absent: Paths that are not there now, so that they could be planned again when they are.
    """

    watches: tuple[Watch, ...] = ()
    left_out: tuple[tuple[str, str, str], ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[str, ...]:
        """Names of what may be given up: the dearest first, of those what serves the fewest rules."""
        ordered = sorted(self.watches, key=lambda watch: (-watch.cost, len(watch.rules), watch.name))
        return tuple(watch.name for watch in ordered if watch.cost)

    def audit_rules(
        self, machines: Sequence[Machine], *, not_by: int = 0, given_up: Collection[str] = ()
    ) -> tuple[AuditRule, ...]:
        """The rules for the kernel, without what is given up now.

        Args:
            not_by: The process whose own calls are not recorded.
        """
        found: dict[AuditRule, None] = {}
        for watch in self.watches:
            if watch.name not in given_up:
                for machine in machines:
                    found.update(dict.fromkeys(_audit_rules(watch, machine, not_by)))
        return tuple(found)

    def covers(self, path: str) -> bool:
        """Whether a path is one that is watched, or everything is."""
        return any(
            not watch.path
            or path == watch.path
            or (watch.below and path.startswith(watch.path.rstrip("/") + "/"))
            for watch in self.watches
            if any(event in FILE_EVENTS for event in watch.events)
        )


def _audit_rules(watch: Watch, machine: Machine, not_by: int) -> Iterable[AuditRule]:
    if watch.values:
        for name, position, value in watch.values:
            if name in machine.numbers:
                yield AuditRule(
                    arch=machine.arch,
                    calls=frozenset({machine.numbers[name]}),
                    argument_is=(position, value),
                    not_by=not_by,
                )
        return
    names = {name for event in watch.events for name in CALLS[event]}
    calls = frozenset(machine.numbers[name] for name in names if name in machine.numbers)
    if calls:
        yield AuditRule(
            arch=machine.arch,
            calls=calls,
            path=watch.path,
            below=watch.below,
            permissions=watch.permissions,
            argument_bits=watch.bits,
            not_by=not_by,
            success=True if watch.events == ("exec",) else None,
        )


def make_plan(rules: RuleSet, *, ground: Ground | None = None) -> Plan:
    """What the kernel should record for a set of rules."""
    return _Planner(rules, ground if ground is not None else HostGround()).plan()


@dataclass(slots=True)
class _Planner:
    rules: RuleSet
    ground: Ground
    # By path, whether below it, and permissions: events, and rules.
    places: dict[tuple[str, bool, int], tuple[dict[str, None], dict[str, None]]] = field(default_factory=dict)
    watches: list[Watch] = field(default_factory=list)
    left_out: dict[tuple[str, str], str] = field(default_factory=dict)
    absent: dict[str, None] = field(default_factory=dict)

    def plan(self) -> Plan:
        self.watches.append(Watch(("exec",), rules=self._ids("exec"), cost=0))
        for event in sorted(self.rules.event_types - {"exec"} - _ELSEWHERE):
            if event not in CALLS:
                for rule in self._ids(event):
                    self.left_out[rule, event] = f"{event} events are not made by a call that is recorded"
            elif event in FILE_EVENTS:
                self._files(event)
            else:
                self._calls(event)
        self._take_places()
        left_out = tuple((rule, event, why) for (rule, event), why in self.left_out.items())
        return Plan(tuple(self.watches), left_out, tuple(self.absent))

    def _ids(self, event: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule.id for rule in self.rules.rules_for(event)))

    # Calls that have nothing to do with paths ---------------------------------------------------------------

    def _calls(self, event: str) -> None:
        needed = self.rules.approvers(event)
        ids, cost = self._ids(event), _COST.get(event, 2)
        if event in _BITS:
            name, position = _BITS[event]
            bits = needed.get(name)
            if not isinstance(bits, AnyBit):
                for each in ids:
                    self.left_out[each, event] = f"every {event} call of the host would have to be recorded"
                return
            self.watches.append(Watch((event,), bits=(position, bits.mask), rules=ids, cost=cost))
            return
        if event in _VALUE:
            name, positions = _VALUE[event]
            values = needed.get(name)
            if isinstance(values, frozenset) and len(values) <= MAX_VALUES:
                found = tuple(
                    (call, position, value & 0xFFFFFFFF)
                    for call, position in positions.items()
                    for value in sorted(values)
                )
                self.watches.append(Watch((event,), values=found, rules=ids, cost=min(cost, 2)))
                return
        self.watches.append(Watch((event,), rules=ids, cost=cost))

    # Calls on files -----------------------------------------------------------------------------------------

    def _files(self, event: str) -> None:
        everywhere: dict[int, dict[str, None]] = {}
        for rule, needed in self.rules.needed_by(event):
            permissions = _permissions(needed) if event == "open" else 0
            targets = self._targets(event, needed)
            if targets is not None:
                for path, below in targets:
                    self._place(event, path, below, permissions, rule.id)
            elif event == "open" and permissions != PERM_WRITE:
                self.left_out[rule.id, event] = "every open of the host would have to be recorded"
            elif targets is None:
                everywhere.setdefault(permissions, {})[rule.id] = None
        for permissions, ids in everywhere.items():
            self.watches.append(
                Watch((event,), permissions=permissions, rules=tuple(ids), cost=_COST.get(event, 2))
            )

    def _targets(self, event: str, needed: Needed) -> list[tuple[str, bool]] | None:
        names = [f"{event}.file.path"]
        if event in _WITH_DESTINATION:
            names.append(f"{event}.file.destination.path")
        for name in names:
            found = targets_of(needed[name]) if name in needed else None
            if found is not None and not any(_is_made_up(path) for path, _ in found):
                return found
        return None

    def _place(self, event: str, path: str, below: bool, permissions: int, rule: str) -> None:
        if below:
            if not self.ground.is_directory(path):
                self.absent[path] = None
                return
        elif not self.ground.is_directory(posixpath.dirname(path)):
            self.absent[path] = None
            return
        real = self.ground.real(path)
        # The file behind a link is watched too: the kernel knows files, not names.
        for each in (real,) if below else dict.fromkeys((path, real)):
            if len(os.fsencode(each)) <= MAX_PATH_BYTES and not _is_made_up(each):
                events, ids = self.places.setdefault((each, below, permissions), ({}, {}))
                events[event] = None
                ids[rule] = None

    def _take_places(self) -> None:
        self._drop_covered()
        directories = 0
        for (path, below, permissions), (events, ids) in self.places.items():
            directories += below
            if len(self.watches) >= MAX_WATCHES or directories > MAX_DIRECTORIES:
                for rule in ids:
                    for event in events:
                        self.left_out[rule, event] = f"{path} is not watched: there are too many watches"
                continue
            depth = path.count("/")
            cost = 1 if not below else 2 if depth > 2 else 3 if depth == 2 else 6
            if permissions & PERM_READ and below:
                cost += 1
            self.watches.append(Watch(tuple(events), path, below, permissions, rules=tuple(ids), cost=cost))

    def _drop_covered(self) -> None:
        """Drop what is recorded by a directory above, or everywhere, anyway."""
        everywhere = {
            (event, watch.permissions) for watch in self.watches if not watch.path for event in watch.events
        }
        for key in list(self.places):
            path, below, permissions = key
            events, ids = self.places[key]
            for event in list(events):
                if (event, permissions) in everywhere or any(
                    event in self.places[above, True, each][0] and (each & permissions) == permissions
                    for above in _above(path, itself=not below)
                    for each in _PERMISSIONS
                    if (above, True, each) in self.places
                ):
                    del events[event]
                    self._join(path, permissions, ids)
            if not events:
                del self.places[key]

    def _join(self, path: str, permissions: int, ids: Iterable[str]) -> None:
        """The rules are served by whatever covers the path."""
        for above in _above(path, itself=False):
            for each in _PERMISSIONS:
                if (above, True, each) in self.places and (each & permissions) == permissions:
                    self.places[above, True, each][1].update(dict.fromkeys(ids))


_PERMISSIONS: Final = (0, PERM_WRITE, PERM_READ | PERM_WRITE)


def _above(path: str, *, itself: bool) -> Iterable[str]:
    """The directories above a path, nearest first."""
    if itself:
        yield path
    while path not in ("", "/"):
        path = posixpath.dirname(path)
        yield path


def _is_made_up(path: str) -> bool:
    return any(path == each or path.startswith(each + "/") for each in _NOT_WATCHED)


def _permissions(needed: Needed) -> int:
    flags = needed.get("open.flags")
    if isinstance(flags, AnyBit) and flags.mask and not flags.mask & ~_WRITES:
        return PERM_WRITE
    return PERM_READ | PERM_WRITE


def targets_of(values: Values) -> list[tuple[str, bool]] | None:
    """Paths, and whether all below them is meant, that hold all values; ``None`` for everything."""
    if not isinstance(values, TextSet) or values.regexes or values.folded:
        return None
    found: dict[tuple[str, bool], None] = {}
    for text in sorted(values.exact):
        if not text.startswith("/") or len(text) < 2:
            continue  # no event has such a path
        found[posixpath.normpath(text), False] = None
    for glob in values.globs:
        folder = posixpath.dirname(glob.prefix)
        if not folder.startswith("/") or folder.strip("/") == "":
            return None
        found[posixpath.normpath(folder), True] = None
    return list(found)
