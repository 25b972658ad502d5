"""What a condition needs to hold: literal values of fields, so that few events must be looked at closely.

Three answers, each safe: an event they turn away could not have matched.

* ``needed``: fields of which one of some values must be there, whatever else is (for filters in the kernel:
  watch these paths, record opens with these flags).
* ``cover``: the cheapest list of fields and values of which at least one must fit (for the index of rules).
* ``about``: what is left of a condition when only some fields are known (for leaving out what cannot match).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from sealwire.secl.catalogue import Field, Place
from sealwire.secl.conditions import (
    HOLDS,
    NEVER,
    AllOf,
    Always,
    Among,
    AnyOf,
    Calculation,
    Compared,
    Condition,
    Constant,
    FieldValue,
    Leaf,
    all_of,
    any_of,
    leaves,
    values_of,
)
from sealwire.secl.networks import NetworkSet, networks
from sealwire.secl.patterns import TextSet


@dataclass(frozen=True, slots=True)
class AnyBit:
    """A number that has at least one bit of the mask."""

    mask: int


Values: TypeAlias = TextSet | frozenset[int] | NetworkSet | AnyBit
Needed: TypeAlias = Mapping[str, Values]

_INDEXED: Final = frozenset({Place.EVENT, Place.PROCESS, Place.PARENT, Place.TARGET})
_MAX_COVER: Final = 12  # fields and sets of one rule in the index


def needed(condition: Condition) -> Needed | None:
    """For each field, the values of which one must be there; ``None`` if the condition never holds."""
    match condition:
        case Always(holds=holds):
            return {} if holds else None
        case AllOf(parts=parts):
            both: dict[str, Values] = {}
            for part in parts:
                found = needed(part)
                if found is None:
                    return None
                for name, values in found.items():
                    if name not in both or _breadth(values) < _breadth(both[name]):
                        both[name] = values
            return both
        case AnyOf(parts=parts):
            options = [found for found in map(needed, parts) if found is not None]
            if not options:
                return None
            common = dict(options[0])
            for other in options[1:]:
                for name in list(common):
                    joined = _union(common[name], other[name]) if name in other else None
                    if joined is None:
                        del common[name]
                    else:
                        common[name] = joined
            return common
    said = _said(condition)
    return {said[0].field.name: said[1]} if said is not None else {}


def cover(condition: Condition) -> tuple[tuple[FieldValue, Values], ...] | None:
    """Fields and values of which at least one fits if the condition holds; ``None`` if none is known."""
    found = _cover(condition)
    if found is None:
        return None
    merged: dict[FieldValue, Values] = {}
    for value, values in found:
        joined = _union(merged[value], values) if value in merged else values
        if joined is None:
            return None
        merged[value] = joined
    return tuple(merged.items())


def _cover(condition: Condition) -> list[tuple[FieldValue, Values]] | None:
    match condition:
        case Always(holds=holds):
            return None if holds else []
        case AllOf(parts=parts):
            covers = [found for found in map(_cover, parts) if found is not None]
            return min(covers, key=_price) if covers else None
        case AnyOf(parts=parts):
            joined: list[tuple[FieldValue, Values]] = []
            for part in parts:
                found = _cover(part)
                if found is None:
                    return None
                joined += found
            return joined if len(joined) <= _MAX_COVER else None
    said = _said(condition)
    if said is None or isinstance(said[1], AnyBit | NetworkSet) or said[0].field.place not in _INDEXED:
        return None
    return [said]


def about(condition: Condition, names: Collection[str]) -> Condition:
    """The condition as far as fields of these names decide it; the rest is taken to hold."""
    match condition:
        case Always():
            return condition
        case AllOf(parts=parts):
            return all_of([about(part, names) for part in parts])
        case AnyOf(parts=parts):
            return any_of([about(part, names) for part in parts])
    return condition if _is_about(condition, names) else HOLDS


def without(condition: Condition, names: Collection[str]) -> Condition:
    """The condition where these fields cannot be had: what asks for them does not hold, negated or not."""
    match condition:
        case Always():
            return condition
        case AllOf(parts=parts):
            return all_of([without(part, names) for part in parts])
        case AnyOf(parts=parts):
            return any_of([without(part, names) for part in parts])
    return NEVER if fields_of(condition) & set(names) else condition


def fields_of(condition: Condition) -> frozenset[str]:
    """Names of all fields a condition asks for."""
    return frozenset(
        value.field.name
        for leaf in leaves(condition)
        for value in values_of(leaf)
        if isinstance(value, FieldValue)
    )


def union(conditions: Collection[Needed | None]) -> Needed:
    """What at least one of several conditions needs: the fields all of them name, with the values of all."""
    common: dict[str, Values] | None = None
    for found in conditions:
        if found is None:
            continue
        if common is None:
            common = dict(found)
            continue
        for name in list(common):
            joined = _union(common[name], found[name]) if name in found else None
            if joined is None:
                del common[name]
            else:
                common[name] = joined
    return common or {}


def _is_about(leaf: Leaf, names: Collection[str]) -> bool:
    for value in values_of(leaf):
        if isinstance(value, FieldValue):
            if value.register or value.field.name not in names:
                return False
        elif not isinstance(value, Constant | Calculation):
            return False
    return True


def _said(leaf: Leaf) -> tuple[FieldValue, Values] | None:
    """The field a leaf is about and the values it must have, if it is that simple."""
    match leaf:
        case Among(value=FieldValue() as value, negated=False, every=False):
            return (value, leaf.choice) if _is_plain(value) else None
        case Among(value=Calculation() as sum_, negated=True) if leaf.choice == frozenset({0}):
            return _bits(sum_)
        case Compared(operator=">", left=Calculation() as sum_, right=Constant(value=0), negated=False):
            return _bits(sum_)
    return None


def _bits(calculation: Calculation) -> tuple[FieldValue, AnyBit] | None:
    left, right = calculation.left, calculation.right
    if isinstance(left, Constant):
        left, right = right, left
    if calculation.operator != "&" or not isinstance(left, FieldValue) or not isinstance(right, Constant):
        return None
    return (left, AnyBit(int(right.value))) if _is_plain(left) else None


def _is_plain(value: FieldValue) -> bool:
    return not value.length and not value.register and not value.field.iterates


def _breadth(values: Values) -> int:
    """How many events such values let through, by rule of thumb."""
    match values:
        case TextSet(exact=exact, globs=globs, regexes=regexes):
            wide = sum(10 if glob.prefix else 50 for glob in globs)
            return len(exact) + wide + 100 * len(regexes)
        case AnyBit():
            return 500
        case NetworkSet(texts=texts):
            return 300 + len(texts)
    return 200 + len(values)


def _price(found: list[tuple[FieldValue, Values]]) -> tuple[int, int]:
    """Fields of the event are told apart better than those of its process."""
    return (sum(_weight(value.field) * (5 + _breadth(values)) for value, values in found), len(found))


def _weight(field: Field) -> int:
    return 1 if field.event else 3


def _union(first: Values, second: Values) -> Values | None:
    if isinstance(first, TextSet) and isinstance(second, TextSet):
        return first | second
    if isinstance(first, frozenset) and isinstance(second, frozenset):
        return first | second
    if isinstance(first, NetworkSet) and isinstance(second, NetworkSet):
        return networks(first.texts + second.texts)
    if isinstance(first, AnyBit) and isinstance(second, AnyBit):
        return AnyBit(first.mask | second.mask)
    return None
