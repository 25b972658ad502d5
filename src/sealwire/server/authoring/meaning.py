"""What a change of a config means, in words: "Sampling rate 0.1 → 0.25", "Blocks 3 more addresses: …".

The words come from the product: its shape says what is a list and what an element is known by, its labels
what people call things, its teller what it can say better. Reviewers read these before the text.

Invariants: pure; equal payloads give nothing; every difference is in some change, long lists as a count and
the first few; never raises on what passed the product's check, nor on what was once published and would
not pass today's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from sealwire.products import Product, wording
from sealwire.products.schema import Anything, ListOf, MapOf, OrNull, Record, Shape, Variant, at
from sealwire.server.targeting import Targeting

MAX_CHANGES = 100
MAX_IN_DETAIL = 20  # changed elements of a list; further ones are counted
KEPT_ITEMS = 5  # of a list in ``before`` and ``after``

_NAMES = ("id", "rule_id", "key", "header", "from_key", "cluster_name", "value", "address")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different.

    Attributes:
        path: JSON path of the member; of the list, where several elements came or went.
        words: What it means, without a full stop.
        before, after: The values, None where there was or is none; lists cut to their first few.
    """

    path: str
    words: str
    before: object
    after: object


class _Absent:
    """No value: not the same as null, though a shape may say that it means the same."""


_ABSENT: Final = _Absent()


def changes(
    product: Product, before: Mapping[str, object] | None, after: Mapping[str, object] | None
) -> tuple[Change, ...]:
    """What is different, most important place first: as the product's shape orders its members.

    Args:
        before: None for a new config.
        after: None for one that is retired.
    """
    teller = _Teller(product, is_whole=before is None or after is None)
    found: list[Change] = []
    for change in teller.compare(product.shape, "$", "$", "", before or {}, after or {}):
        if len(found) == MAX_CHANGES:
            found.append(Change("$", "And more: see the text", None, None))
            break
        found.append(change)
    return tuple(found)


_FIELDS = {
    "service": "Services",
    "env": "Environments",
    "language": "Languages",
    "tracer_version": "Tracer versions",
    "app_version": "Application versions",
    "host_tags": "Host tags",
    "client_id": "Clients",
}


def targeting_changes(before: Targeting | None, after: Targeting) -> tuple[Change, ...]:
    """How who it is for is different; nothing when it is not, or when the config is new."""
    if before is None:
        return ()
    old, new = before.to_dict(), after.to_dict()
    found = []
    for field, label in _FIELDS.items():
        was, now = old.get(field), new.get(field)
        if was != now:
            words = f"{label} {_any_of(was)} → {_any_of(now)}"
            found.append(Change(at("$.targeting", field), words, was, now))
    return tuple(found)


def _any_of(value: object) -> str:
    if value is None:
        return "any"
    return wording.some([str(one) for one in value]) if isinstance(value, list) else str(value)


class _Teller:
    """Compares member by member, as the shapes have them."""

    def __init__(self, product: Product, *, is_whole: bool) -> None:
        self._product = product
        self._is_whole = is_whole  # a whole config comes or goes: what is not set is not worth a word

    def compare(
        self, shape: Shape, path: str, place: str, about: str, before: object, after: object
    ) -> Iterator[Change]:
        """Differences at one member; ``about`` is the element it is part of, in words with a colon."""
        while isinstance(shape, OrNull):
            shape = shape.shape
            before, after = (_ABSENT if one is None else one for one in (before, after))
        if before is after or (type(before) is type(after) and before == after):
            return
        said = self._product.teller(place, _json(before), _json(after))
        if said:
            for words in said:
                yield Change(path, about + words, _kept(before), _kept(after))
            return
        inner = _inner(shape, before, after)
        if isinstance(shape, ListOf) and _are(before, after, list | tuple):
            yield from self._list(shape, path, place, about, _items(before), _items(after))
        elif isinstance(inner, Record | MapOf) and _are(before, after, Mapping):
            yield from self._object(inner, path, place, about, _members(before), _members(after))
        else:
            label = self._product.label(place)
            yield Change(path, about + self._value(label, before, after), _kept(before), _kept(after))

    def _value(self, label: str, before: object, after: object) -> str:
        if self._is_whole and isinstance(before, _Absent):
            return f"{label} {_shown(after)}"
        return f"{label} {_shown(before)} → {_shown(after)}"

    def _object(
        self,
        shape: Record | MapOf,
        path: str,
        place: str,
        about: str,
        before: Mapping[str, object],
        after: Mapping[str, object],
    ) -> Iterator[Change]:
        known = shape.members if isinstance(shape, Record) else shape.known
        order = [*known, *(key for key in {**before, **after} if key not in known)]
        other: Shape = Anything() if isinstance(shape, Record) else shape.value
        for key in order:
            was, now = before.get(key, _ABSENT), after.get(key, _ABSENT)
            yield from self.compare(known.get(key, other), at(path, key), at(place, key), about, was, now)

    def _list(
        self,
        shape: ListOf,
        path: str,
        place: str,
        about: str,
        before: Sequence[object],
        after: Sequence[object],
    ) -> Iterator[Change]:
        label, noun = self._product.label(place), self._product.label(f"{place}[]")
        if not all(isinstance(item, Mapping) for item in (*before, *after)):
            yield from self._plain_list(label, path, about, before, after)
            return
        key = _identity(shape, before, after)
        old = {_known_as(item, key): (index, item) for index, item in enumerate(before)}
        new = {_known_as(item, key): (index, item) for index, item in enumerate(after)}
        added = [entry for known, entry in new.items() if known not in old]
        removed = [entry for known, entry in old.items() if known not in new]
        if not key and len(added) == len(removed) <= MAX_IN_DETAIL and len(before) == len(after):
            # Nothing to know elements by: the ones in the same place are the same ones.
            same = {index for index, _ in added} & {index for index, _ in removed}
        else:
            same = set()
        pairs = [(index, before[index], after[index]) for index in sorted(same)]
        pairs += [(new[k][0], old[k][1], new[k][1]) for k in new if k in old and old[k][1] != new[k][1]]
        told = False
        for verb, entries, is_new in (("Adds", added, True), ("Removes", removed, False)):
            entries = [entry for entry in entries if entry[0] not in same]
            rest = []
            for index, item in entries:
                sides = (None, item) if is_new else (item, None)
                said = self._product.teller(f"{place}[]", *sides)
                for words in said or ():
                    yield Change(at(path, index), about + words, *(_kept(side) for side in sides))
                if said is None:
                    rest.append((index, item))
            told = told or bool(entries)
            yield from self._came_or_went(verb, rest, is_new, noun, path, about)
        for index, was, now in pairs[:MAX_IN_DETAIL]:
            called = wording.shown(str(_known_as(now, key))) if key else str(index + 1)
            inside = f"{about}{noun} {called}: "
            said = self._product.teller(f"{place}[]", was, now)
            if said:
                for words in said:
                    yield Change(at(path, index), about + words, _kept(was), _kept(now))
                continue
            yield from self.compare(shape.item, at(path, index), f"{place}[]", inside, was, now)
        if len(pairs) > MAX_IN_DETAIL:
            number = wording.counted(len(pairs) - MAX_IN_DETAIL, f"more of {label.lower()}", "")
            yield Change(path, f"{about}Changes {number.removesuffix('s')}", _kept(before), _kept(after))
        if not told and not pairs:
            if not before or not after:
                yield Change(path, about + self._value(label, _none(before), _none(after)), before, after)
            else:
                yield Change(path, f"{about}{label} in another order", _kept(before), _kept(after))

    def _came_or_went(
        self,
        verb: str,
        entries: Sequence[tuple[int, object]],
        is_new: bool,
        noun: str,
        path: str,
        about: str,
    ) -> Iterator[Change]:
        if not entries:
            return
        titles = [_title(item) for _, item in entries]
        kept = _kept([item for _, item in entries])
        values = (None, kept) if is_new else (kept, None)
        if len(entries) == 1:
            yield Change(at(path, entries[0][0]), f"{about}{verb} {_lower(noun)} {titles[0]}", *values)
            return
        number = wording.counted(len(entries), _lower(noun), _plural(_lower(noun)))
        yield Change(path, f"{about}{verb} {number}: {wording.some(titles)}", *values)

    def _plain_list(
        self, label: str, path: str, about: str, before: Sequence[object], after: Sequence[object]
    ) -> Iterator[Change]:
        old, new = ({_shown(item): None for item in side} for side in (before, after))
        added, removed = [one for one in new if one not in old], [one for one in old if one not in new]
        parts = []
        if self._is_whole and not before and added:
            parts.append(_how_many(added))
        else:
            parts += [f"adds {_how_many(added)}"] if added else []
            parts += [f"removes {_how_many(removed)}"] if removed else []
        if not parts:
            parts.append("in another order" if before and after else "an empty list")
        yield Change(path, f"{about}{label}: {'; '.join(parts)}", _kept(before), _kept(after))


def _how_many(words: Sequence[str]) -> str:
    return wording.some(words) if len(words) <= wording.FIRST else f"{len(words):,} ({wording.some(words)})"


def _inner(shape: Shape, before: object, after: object) -> Shape:
    """The record that a union stands for, when it is the same one on both sides."""
    if not isinstance(shape, Variant):
        return shape
    records = [
        next((record for words, record in shape.cases if side.get(shape.by) in words), None)
        for side in (before, after)
        if isinstance(side, Mapping)
    ]
    first = records[0] if records else None
    return first if first is not None and all(record is first for record in records) else shape


def _identity(shape: ListOf, before: Sequence[object], after: Sequence[object]) -> str:
    """The key that tells elements apart on both sides; empty when none does."""
    for key in (shape.unique, *_NAMES):
        if key and all(
            all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
            for names in ([item.get(key) if isinstance(item, Mapping) else None for item in side]
                          for side in (before, after))
        ):  # fmt: skip
            return key
    return ""


def _known_as(item: object, key: str) -> object:
    if key and isinstance(item, Mapping):
        return item.get(key)
    return orjson.dumps(item, option=orjson.OPT_SORT_KEYS)


def _title(item: object) -> str:
    """An element in a few words: its id and name, or the first of what it says."""
    if not isinstance(item, Mapping):
        return _shown(item)
    name, words = (
        item.get("name"),
        next((item[key] for key in _NAMES if isinstance(item.get(key), str)), None),
    )
    if isinstance(words, str):
        return wording.shown(f"{words} ({name})" if isinstance(name, str) and name != words else words)
    said = [f"{key.replace('_', ' ')} {_shown(value)}" for key, value in item.items()]
    return wording.shown(", ".join(said[:4])) if said else "{}"


def _shown(value: object) -> str:
    match value:
        case _Absent():
            return "not set"
        case bool():
            return "on" if value else "off"
        case str():
            return wording.shown(value)
        case list() | tuple():
            return "nothing" if not value else wording.some([_title(item) for item in value])
        case Mapping() if value:
            return _title(value)
        case _:
            return wording.shown(orjson.dumps(value, default=str).decode())


def _are(before: object, after: object, kind: type | object) -> bool:
    """Both sides are of a kind, or one is and the other is not there."""
    present = [side for side in (before, after) if not isinstance(side, _Absent)]
    return bool(present) and all(isinstance(side, kind) for side in present)  # type: ignore[arg-type]


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _members(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _none(value: Sequence[object]) -> object:
    return value or _ABSENT


def _json(value: object) -> object:
    return None if isinstance(value, _Absent) else value


def _kept(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_kept(item) for item in value[:KEPT_ITEMS]]
    if isinstance(value, Mapping):
        return {key: _kept(item) for key, item in value.items()}
    return _json(value)


def _lower(words: str) -> str:
    return words if words[1:2].isupper() else words[:1].lower() + words[1:]


def _plural(words: str) -> str:
    return (
        words.removesuffix("y") + "ies"
        if words.endswith("y") and words[-2:-1] not in "aeiou"
        else words + "s"
    )
