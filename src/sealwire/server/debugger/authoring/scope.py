"""The names somebody may write in an expression at a place, from what was seen there before.

Pure; names come from kept snapshots and from the symbols of a program. Invariants: bounded in depth and
number whatever a snapshot holds; a value of the program is never part of it, but keys of maps are, so names
are only for those who may see values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sealwire.server.debugger.expressions.completion import Known
from sealwire.server.debugger.snapshots.captured import Value, plain_text
from sealwire.server.debugger.snapshots.snapshot import Snapshot

MAX_DEPTH: Final = 4
MAX_MEMBERS: Final = 60
MAX_NAMES: Final = 300
_MAX_CHARS: Final = 100


def seen(snapshots: Iterable[Snapshot], *, moment: str = "") -> tuple[Known, ...]:
    """What was captured at a moment, newest first; what is known of one name from several is put together."""
    found: dict[str, Known] = {}
    for snapshot in snapshots:
        capture = snapshot.capture(moment) or snapshot.capture()
        if capture is None:
            continue
        for kind, values in (
            ("static field", capture.static_fields),
            ("argument", capture.arguments),
            ("local", capture.locals),
        ):
            for name, value in values:
                if len(name) > _MAX_CHARS or (name not in found and len(found) >= MAX_NAMES):
                    continue
                known = _known(name, kind, value, 1)
                found[name] = joined(found[name], known) if name in found else known
    return tuple(found.values())


def merged(*groups: Sequence[Known]) -> tuple[Known, ...]:
    """Names of several sources, the first source first."""
    found: dict[str, Known] = {}
    for group in groups:
        for each in group:
            if each.name in found:
                found[each.name] = joined(found[each.name], each)
            elif len(found) < MAX_NAMES:
                found[each.name] = each
    return tuple(found.values())


def joined(one: Known, other: Known) -> Known:
    """All that is known of a name, with the kind of the first."""
    if not other.members or one.members == other.members:
        members = one.members
    else:
        members = tuple(_joined_members(one.members, other.members))
    return Known(one.name, one.kind, one.type or other.type, members)


def _joined_members(some: Sequence[Known], more: Sequence[Known]) -> Iterable[Known]:
    found = {(each.kind, each.name): each for each in some}
    for each in more:
        place = (each.kind, each.name)
        found[place] = joined(found[place], each) if place in found else each
    return list(found.values())[:MAX_MEMBERS]


def _known(name: str, kind: str, value: Value, depth: int) -> Known:
    return Known(name, kind, value.type[:_MAX_CHARS], tuple(_members(value, depth)))


def _members(value: Value, depth: int) -> Iterable[Known]:
    if depth >= MAX_DEPTH:
        return
    for name, each in (value.fields or ())[:MAX_MEMBERS]:
        if len(name) <= _MAX_CHARS:
            yield _known(name, "field", each, depth + 1)
    if value.elements:
        yield _known("", "element", value.elements[0], depth + 1)
    for key, each in (value.entries or ())[:MAX_MEMBERS]:
        text = plain_text(key)
        if text is not None and not key.truncated and len(text) <= _MAX_CHARS:
            yield _known(text, "key", each, depth + 1)
