"""A snapshot as a tree of variables: its rows, what they weigh, what is found in them, two side by side.

Hides how values nest. A row is named by its path, which is the expression that reads it, behind the moment:
``return/order.owner["name"]``. Invariants: every function is bounded by the snapshot's own bounds and by
``limit``; a row that is the same in two snapshots has the same path in both.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final, NamedTuple

from sealwire.products.probe_expressions import SPECIALS, is_name
from sealwire.server.debugger.expressions.completion import Known
from sealwire.server.debugger.snapshots.captured import Missing, Part, Value, parts, plain_text
from sealwire.server.debugger.snapshots.snapshot import Capture, Snapshot

MAX_FOUND: Final = 500
MAX_CHANGES: Final = 2_000
_SHOWN_CHARS: Final = 200
_KNOWN_DEPTH: Final = 4
_KNOWN_MEMBERS: Final = 60


class Weight(NamedTuple):
    """What is beneath a value, itself counted too."""

    values: int
    bytes: int
    missing: int


class Row(NamedTuple):
    """A value in its place.

    Attributes:
        path: Names it in its snapshot; see the module.
        expression: Reads it in a probe at the same place; empty for what no expression reads.
        group: ``arguments``, ``locals``, ``expressions``, ``static fields``; of the outermost rows too.
        depth: 0 for a variable.
        shown: The value in one line, at most 200 characters; of a list or an object what it holds.
        weight: In all, beneath it.
    """

    path: str
    expression: str
    name: str
    group: str
    depth: int
    value: Value
    shown: str
    weight: Weight


def weigh(value: Value, known: dict[int, Weight] | None = None) -> Weight:
    """Count what is beneath a value; bytes are those of its texts and names.

    Args:
        known: What was counted before, by values that are held; is filled.
    """
    return _weigh(value, {} if known is None else known)


def _weigh(value: Value, known: dict[int, Weight]) -> Weight:
    """Each value once, whoever asks for those around it first; ``known`` is for values that are held."""
    found = known.get(id(value))
    if found is not None:
        return found
    values, gone = 1, int(value.missing is not None)
    size = len(value.type) + len(value.text or "")
    for name, each in value.fields or ():
        size += len(name)
        inner = _weigh(each, known)
        values, size, gone = values + inner.values, size + inner.bytes, gone + inner.missing
    for each in value.elements or ():
        inner = _weigh(each, known)
        values, size, gone = values + inner.values, size + inner.bytes, gone + inner.missing
    for key, each in value.entries or ():
        size += len(key.text or "")
        inner = _weigh(each, known)
        values, size, gone = values + inner.values, size + inner.bytes, gone + inner.missing
    found = known[id(value)] = Weight(values, size, gone)
    return found


def rows(snapshot: Snapshot, *, beneath: str = "", depth: int = 1_000) -> Iterator[Row]:
    """The rows of a snapshot, parents before children.

    Args:
        beneath: The path of a row: only those in it. Empty: all.
        depth: How many levels, counted from there.
    """
    weights: dict[int, Weight] = {}
    for capture in snapshot.captures:
        for top, value in variables(capture):
            if beneath and not beneath.startswith(top.path):
                continue
            start = _find(top, value, beneath) if beneath else (top, value, 0)
            if start is not None:
                yield from _rows(*start, start[2] + depth, weights)


class Place(NamedTuple):
    """Where a value stands; the names are those of ``Row``."""

    path: str
    expression: str
    name: str
    group: str

    def inner(self, part: Part) -> Place:
        reads = self.expression + part.step if self.expression and part.is_readable else ""
        return Place(self.path + part.step, reads, part.name, self.group)


def variables(capture: Capture) -> Iterator[tuple[Place, Value]]:
    """The outermost values of a moment, each in its place."""
    for group, values in capture.groups:
        for name, value in values:
            path = f"{capture.moment}/{_prefix(group)}{name}"
            yield Place(path, _expression(group, name), name, group), value


def leads_to(path: str, wanted: str) -> bool:
    """Whether a row is the wanted one, or around it."""
    return wanted == path or (wanted.startswith(path) and wanted[len(path)] in ".[")


def _prefix(group: str) -> str:
    """Names of different groups may be the same; those of expressions may be anything."""
    return {"expressions": "=", "static fields": "static:"}.get(group, "")


def _expression(group: str, name: str) -> str:
    return name if group != "expressions" and (is_name(name) or name in SPECIALS) else ""


def _find(place: Place, value: Value, path: str, depth: int = 0) -> tuple[Place, Value, int] | None:
    """The parts of the row with that path, which begins as the place does."""
    while place.path != path:
        for part in parts(value):
            inner = place.inner(part)
            if leads_to(inner.path, path):
                place, value, depth = inner, part.value, depth + 1
                break
        else:
            return None
    return place, value, depth


def _rows(place: Place, value: Value, depth: int, most: int, weights: dict[int, Weight]) -> Iterator[Row]:
    yield Row(*place, depth, value, line(value), _weigh(value, weights))
    if depth + 1 < most:
        for part in parts(value):
            yield from _rows(place.inner(part), part.value, depth + 1, most, weights)


def line(value: Value) -> str:
    """A value in one line."""
    if value.text is not None:
        text = value.text[:_SHOWN_CHARS]
        return f"{text}…" if value.truncated or len(value.text) > _SHOWN_CHARS else text
    if value.is_null:
        return "undefined" if value.type == "undefined" else "null"
    if value.missing is not None and value.missing.is_redacted:
        return "{redacted}"
    count = value.size if value.size is not None else value.held
    if value.elements is not None or value.entries is not None:
        one, many = ("element", "elements") if value.elements is not None else ("entry", "entries")
        held = f" ({value.held} captured)" if value.held < count else ""
        return f"{count} {one if count == 1 else many}{held}"
    if value.fields is not None:
        return f"{value.held} field{'' if value.held == 1 else 's'}"
    return f"not captured: {value.reason}" if value.missing is not None else value.type


def flags(value: Value) -> tuple[str, ...]:
    """What people must know of a value before they trust it, as short words."""
    found = []
    if value.truncated:
        of = f" of {value.size}" if value.size is not None else ""
        found.append(f"cut off after {len(value.text or '')}{of} characters")
    match value.missing:
        case None:
            pass
        case Missing.COLLECTION_SIZE | Missing.FIELD_COUNT:
            of = f"{value.held} of {value.size}" if value.size is not None else f"only {value.held}"
            found.append(f"{of} captured")
        case Missing.REDACTED_NAME | Missing.REDACTED_TYPE:
            found.append("redacted")
        case Missing.DEPTH:
            found.append("depth limit")
        case Missing.OTHER:
            found.append(value.reason)
        case _:
            found.append({"timeout": "timeout", "pruned": "pruned"}.get(value.missing, "changed meanwhile"))
    return tuple(found)


# Searching --------------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """Where a text was found.

    Attributes:
        total: All of them, also those that ``rows`` leaves out.
    """

    rows: tuple[Row, ...]
    total: int


def search(snapshot: Snapshot, text: str, *, limit: int = MAX_FOUND) -> Found:
    """Find a text in names, types and values; case does not matter."""
    wanted = text.strip().lower()
    if not wanted:
        return Found((), 0)
    found: list[Row] = []
    total = 0
    for capture in snapshot.captures:
        for top, value in variables(capture):
            for place, each, depth in _flat(top, value, 0):
                if not _has(place.name, each, wanted):
                    continue
                total += 1
                if len(found) < limit:
                    found.append(Row(*place, depth, each, line(each), weigh(each)))
    return Found(tuple(found), total)


def flagged(snapshot: Snapshot, why: Missing | None, *, limit: int = MAX_FOUND) -> Found:
    """Find the values that are not there, or not whole, for a reason; None: texts that were cut off."""
    found: list[Row] = []
    total = 0
    for capture in snapshot.captures:
        for top, value in variables(capture):
            for place, each, depth in _flat(top, value, 0):
                if not (each.truncated if why is None else each.missing is why):
                    continue
                total += 1
                if len(found) < limit:
                    found.append(Row(*place, depth, each, line(each), weigh(each)))
    return Found(tuple(found), total)


def gaps(snapshot: Snapshot) -> dict[Missing | None, int]:
    """How many values ``flagged`` finds, by why."""
    found: dict[Missing | None, int] = {}
    waiting = [value for capture in snapshot.captures for _, value in variables(capture)]
    while waiting:
        value = waiting.pop()
        if value.truncated:
            found[None] = found.get(None, 0) + 1
        if value.missing is not None:
            found[value.missing] = found.get(value.missing, 0) + 1
        waiting.extend(each for _, each in value.fields or ())
        waiting.extend(value.elements or ())
        waiting.extend(each for _, each in value.entries or ())
    return found


def _flat(place: Place, value: Value, depth: int) -> Iterator[tuple[Place, Value, int]]:
    yield place, value, depth
    for part in parts(value):
        yield from _flat(place.inner(part), part.value, depth + 1)


def _has(name: str, value: Value, wanted: str) -> bool:
    if wanted in name.lower() or wanted in value.type.lower():
        return True
    return value.text is not None and wanted in (plain_text(value) or value.text).lower()


# Two snapshots ----------------------------------------------------------------------------------------------


class Difference(enum.StrEnum):
    """How a row differs in the second of two snapshots."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    UNKNOWN = "unknown"  # one of them did not capture it


class Change(NamedTuple):
    """A row that differs; ``before`` or ``after`` is None where it is not there."""

    path: str
    difference: Difference
    before: Value | None
    after: Value | None


class Compared(NamedTuple):
    """Two snapshots of a probe.

    Attributes:
        same: How many rows are.
        is_whole: Whether ``changes`` has them all.
    """

    changes: tuple[Change, ...]
    same: int
    is_whole: bool


def compare(before: Snapshot, after: Snapshot, *, limit: int = MAX_CHANGES) -> Compared:
    """Say how the second differs from the first; what only one captured is unknown, not a change."""
    comparison = _Comparison(limit)
    comparison.members(dict(_variables(before)), dict(_variables(after)))
    return Compared(tuple(comparison.changes), comparison.same, comparison.left == 0)


def _variables(snapshot: Snapshot) -> Iterator[tuple[str, Value]]:
    # At a line of another number the same variables are compared: the probe may have moved a little.
    for capture in snapshot.captures:
        moment = capture.moment if capture.moment in ("entry", "return") else "line"
        for group, values in capture.groups:
            for name, value in values:
                yield f"{moment}/{_prefix(group)}{name}", value


class _Comparison:
    def __init__(self, limit: int) -> None:
        self.changes: list[Change] = []
        self.same = 0
        self.left = 0
        self._limit = limit

    def _note(self, path: str, difference: Difference, before: Value | None, after: Value | None) -> None:
        if len(self.changes) < self._limit:
            self.changes.append(Change(path, difference, before, after))
        else:
            self.left += 1

    def members(self, before: dict[str, Value], after: dict[str, Value], *, is_whole: bool = True) -> None:
        for path, old in before.items():
            new = after.get(path)
            if new is None:
                self._note(path, Difference.REMOVED if is_whole else Difference.UNKNOWN, old, None)
            else:
                self._pair(path, old, new)
        for path, new in after.items():
            if path not in before:
                self._note(path, Difference.ADDED if is_whole else Difference.UNKNOWN, None, new)

    def _pair(self, path: str, old: Value, new: Value) -> None:
        if old.is_captured != new.is_captured or (old.missing and not old.is_captured):
            self._note(path, Difference.UNKNOWN, old, new)
            return
        before, after = ((each.type, each.text, each.is_null, each.size) for each in (old, new))
        if before != after:
            self._note(path, Difference.CHANGED, old, new)
        elif old.truncated or new.truncated:
            self._note(path, Difference.UNKNOWN, old, new)
        else:
            self.same += 1
        is_whole = old.missing is None and new.missing is None
        self.members(
            {path + each.step: each.value for each in parts(old)},
            {path + each.step: each.value for each in parts(new)},
            is_whole=is_whole,
        )


# Completion -------------------------------------------------------------------------------------------------


def known(capture: Capture) -> tuple[Known, ...]:
    """What completion may offer because a snapshot had it."""
    arguments = {name for name, _ in capture.arguments}
    return tuple(
        _known(name, "argument" if name in arguments else "local", value, 0)
        for name, value in capture.names().items()
    )


def _known(name: str, kind: str, value: Value, depth: int) -> Known:
    members: list[Known] = []
    if depth < _KNOWN_DEPTH:
        for key, each in (value.fields or ())[:_KNOWN_MEMBERS]:
            members.append(_known(key, "field", each, depth + 1))
        if value.elements:
            members.append(_known("", "element", value.elements[0], depth + 1))
        for key_value, each in (value.entries or ())[:_KNOWN_MEMBERS]:
            text = plain_text(key_value)
            if text is not None:
                members.append(_known(text, "key", each, depth + 1))
    return Known(name, kind, value.type, tuple(members))
