"""Two people changed the same thing: what both did, on top of what both began with. Pure.

Members and elements are taken from whoever changed them; where both changed the same one differently, mine
stands and its path is told, so that somebody looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sealwire.products.schema import at

MAX_CLASHES = 100
_KEYS = ("id", "rule_id", "key", "header", "from_key", "cluster_name", "value")


class _Absent:
    """Not there on that side."""


_ABSENT: Final = _Absent()


def merge(base: object, mine: object, theirs: object, path: str = "$") -> tuple[Any, tuple[str, ...]]:
    """Both changes together, and the JSON paths at which they say different things."""
    clashes: list[str] = []
    merged = _merge(base, mine, theirs, path, clashes)
    return merged, tuple(clashes[:MAX_CLASHES])


def _merge(base: object, mine: object, theirs: object, path: str, clashes: list[str]) -> Any:
    if _same(mine, theirs) or _same(theirs, base):
        return mine
    if _same(mine, base):
        return theirs
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        before = base if isinstance(base, Mapping) else {}
        return _objects(before, mine, theirs, path, clashes)
    if isinstance(mine, list) and isinstance(theirs, list):
        before_list = base if isinstance(base, list) else []
        key = _identity(before_list, mine, theirs)
        if key is not None:
            return _lists(before_list, mine, theirs, key, path, clashes)
    clashes.append(path)
    return mine


def _same(one: object, other: object) -> bool:
    return one is other or (type(one) is type(other) and one == other)


def _objects(
    base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any], path: str, clashes: list[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in {**theirs, **mine}:
        old, my, their = (side.get(key, _ABSENT) for side in (base, mine, theirs))
        value = _merge(old, my, their, at(path, key), clashes)
        if not isinstance(value, _Absent):
            found[key] = value
    return found


def _identity(*sides: list[Any]) -> str | None:
    """What elements are known by on all sides: a key of theirs, empty for themselves; None for nothing."""
    if all(isinstance(item, str) for side in sides for item in side):
        return "" if all(len(set(side)) == len(side) for side in sides) else None
    for key in _KEYS:
        names = [[item.get(key) if isinstance(item, Mapping) else None for item in side] for side in sides]
        if all(all(isinstance(one, str) for one in side) and len(set(side)) == len(side) for side in names):
            return key
    return None


def _lists(
    base: list[Any], mine: list[Any], theirs: list[Any], key: str, path: str, clashes: list[str]
) -> list[Any]:
    def named(side: list[Any]) -> dict[str, Any]:
        return {item[key] if key else item: item for item in side}

    old, my, their = named(base), named(mine), named(theirs)
    found: list[Any] = []
    # Their order, and what is mine alone behind what it stood behind.
    order = list(their)
    behind: str | None = None
    for name in my:
        if name not in their:
            place = 0 if behind is None else order.index(behind) + 1 if behind in order else len(order)
            order.insert(place, name)
        behind = name
    for name in order:
        was, one, other = (side.get(name, _ABSENT) for side in (old, my, their))
        value = _merge(was, one, other, at(path, len(found)), clashes)
        if not isinstance(value, _Absent):
            found.append(value)
    return found
