"""The fields of a form made of a product's shape, read back: what a browser sends becomes the payload again.

The other half of ``schema_form``. Nothing that was typed is dropped: what is no number stays a text, what is
no JSON stays as it is (``Typed``), two entries of one name are both kept.

Names of fields: ``p`` is the payload, ``p.lib_config.tracing_tags`` a member, ``p.rules_data.0`` the first
element of a list or the first entry of a map. After a tilde stands what a field is besides: ``~is`` a
record that is there, ``~n`` a list that is there, ``~lines`` a list as lines, ``~key`` of a map's entry,
``~type`` of a value that may be of several, ``~was`` the word a union had, ``~json`` a piece of JSON,
``~rest`` what a list has beyond the rows shown, ``~paste`` lines to become rows, ``~x`` unknown keys.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products import Product
from sealwire.products.schema import (
    Anything,
    Boolean,
    Integer,
    ListOf,
    MapOf,
    Number,
    OrNull,
    Record,
    Scalar,
    Shape,
    Text,
    Variant,
    at,
)
from sealwire.server.ui import json_text

MAX_FIELDS = 20_000
ROOT = "p"

Fields = Mapping[str, Sequence[str]]


class Absent:
    """No value at all."""


ABSENT: Final = Absent()
SCALARS = (Text, Integer, Number, Boolean, Scalar)
NUMBER = re.compile(
    r"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?\Z", re.ASCII
)


class Typed(str):
    """What somebody typed where JSON belongs, and which is none: kept as it is."""

    __slots__ = ()


def blank(shape: Shape) -> Any:
    """A value to begin with, to be filled in."""
    match shape:
        case OrNull():
            return blank(shape.shape)
        case Record():
            return {key: blank(member) for key, member in shape.required.items() if not is_scalar(member)}
        case Variant():
            return {}
        case ListOf():
            return [blank(shape.item)] if shape.min_items and not is_scalar(shape.item) else []
        case MapOf():
            return {key: blank(shape.known.get(key, shape.value)) for key in shape.required}
        case Anything():
            return {}
        case _:
            return ""


def start(product: Product) -> dict[str, Any]:
    """A new payload, to be filled in."""
    if product.beginning:
        return copy.deepcopy(dict(product.beginning))
    return cast(dict[str, Any], blank(product.shape))


def is_scalar(shape: Shape) -> bool:
    return isinstance(shape.shape if isinstance(shape, OrNull) else shape, SCALARS)


def unknown_keys(shape: Record, value: Mapping[str, object]) -> list[str]:
    return [key for key in value if key not in shape.members]


def record_for(shape: Variant, word: object) -> Record:
    """The record a word stands for; one without members when it stands for none."""
    return next(
        (record for words, record in shape.cases if word in words), Record(required={shape.by: Anything()})
    )


def pasted_key(shape: Shape) -> str:
    """The member of an element that one line says all of."""
    if not isinstance(shape, Record) or len(shape.required) != 1:
        return ""
    key, member = next(iter(shape.required.items()))
    return key if isinstance(member, Text) and not member.one_of else ""


# Fields to payload --------------------------------------------------------------------------------------


def read(product: Product, fields: Fields) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The payload of what a browser sent, and what could not even be read as one; nothing is dropped."""
    reader = _Reader(fields)
    payload = reader.record(product.shape, ROOT, "$")
    return payload, tuple(reader.problems)


class _Reader:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self.problems: list[Problem] = []
        self._prefixes: set[str] = set()  # every name something is said of
        for name in fields:
            plain = name.partition("~")[0].rstrip(".")
            while plain and plain not in self._prefixes:
                self._prefixes.add(plain)
                plain = plain.rpartition(".")[0]

    def _raw(self, name: str) -> str | None:
        values = self._fields.get(name)
        return None if values is None else values[0].replace("\r\n", "\n").replace("\r", "\n")

    def value(self, shape: Shape, name: str, path: str, *, row: bool = False) -> Any:
        """What the fields of a member say; ``ABSENT`` when nothing. A row is there whatever they say."""
        text = self._raw(f"{name}~json")
        if text is not None:
            return self._json(text, path, row)
        inner = shape.shape if isinstance(shape, OrNull) else shape
        found: Any = ABSENT
        match inner:
            case Scalar():
                found = self._scalar(name)
            case Text():
                found = self._raw(name)
                found = ABSENT if found is None or (found == "" and not row) else found
            case Integer() | Number():
                typed = (self._raw(name) or "").strip()
                is_time = isinstance(inner, Integer) and inner.form == "unix-seconds"
                found = ABSENT if not typed else number(typed, is_time=is_time)
            case Boolean():
                typed = self._raw(name) or ""
                found = {"true": True, "false": False, "": ABSENT}.get(typed, typed)
            case Record() if f"{name}~is" in self._fields:
                return self.record(inner, name, path)
            case Variant() if f"{name}~is" in self._fields:
                return self._union(inner, name, path)
            case ListOf():
                return self._list(inner, name, path)
            case MapOf() if f"{name}~n" in self._fields:
                return self._map(inner, name, path)
            case _:
                pass
        return "" if row and isinstance(found, Absent) else found

    def _json(self, text: str, path: str, row: bool) -> Any:
        if not text.strip():
            return None if row else ABSENT
        try:
            return json_text.parse(text)
        except InvalidChangeError as error:
            self.problems.append(Problem(path, error.problems[0].message))
            return Typed(text)

    def _scalar(self, name: str) -> Any:
        kind, typed = self._raw(f"{name}~type") or "", self._raw(name) or ""
        match kind:
            case "true" | "false":
                return kind == "true"
            case "null":
                return None
            case "number":
                return number(typed.strip()) if typed.strip() else ""
            case "text":
                return typed
            case _:
                return typed or ABSENT

    def record(self, shape: Record, name: str, path: str, without: str = "") -> dict[str, Any]:
        """The members of an object, unknown ones among them."""
        found: dict[str, Any] = {}
        for key, member in shape.members.items():
            if key != without:
                value = self.value(member, f"{name}.{key}", at(path, key))
                if not isinstance(value, Absent):
                    found[key] = value
        index = 0
        while (key_typed := self._raw(f"{name}.~x{index}~key")) is not None:
            value = self._json(self._raw(f"{name}.~x{index}~json") or "", at(path, key_typed), row=True)
            found.setdefault(key_typed, value)
            index += 1
        return found

    def _union(self, shape: Variant, name: str, path: str) -> dict[str, Any]:
        word = self._raw(name) or ""
        # What is sent was drawn for the word it had.
        record = record_for(shape, self._raw(f"{name}~was") or word)
        found = self.record(record, name, path, without=shape.by)
        return {shape.by: word, **found} if word else found

    def _list(self, shape: ListOf, name: str, path: str) -> Any:
        lines = self._raw(f"{name}~lines")
        if lines is not None:
            return _lines(lines)
        if f"{name}~n" not in self._fields:
            return ABSENT
        found: list[Any] = []
        while f"{name}.{len(found)}" in self._prefixes:
            index = len(found)
            found.append(self.value(shape.item, f"{name}.{index}", at(path, index), row=True))
        rest = self._raw(f"{name}~rest")
        if rest:
            more = json_text.parse(rest)
            found.extend(more if isinstance(more, list) else [])
        key = pasted_key(shape.item)
        pasted = _lines(self._raw(f"{name}~paste") or "") if key else []
        if pasted:
            found = [item for item in found if item != {}]  # a row that was there to be filled in
            found.extend({key: line} for line in pasted)
        return found

    def _map(self, shape: MapOf, name: str, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        index = 0
        while (key := self._raw(f"{name}.{index}~key")) is not None:
            known = self._raw(f"{name}.{index}~was") or ""
            value = self.value(
                shape.known.get(known, shape.value), f"{name}.{index}", at(path, key), row=True
            )
            if key in found:
                self.problems.append(
                    Problem(path, f"Two entries are called {key[:80]!r}; give one another name.")
                )
                number_of = 2
                while f"{key} ({number_of})" in found:
                    number_of += 1
                key = f"{key} ({number_of})"
            found[key] = value
            index += 1
        return found


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def number(typed: str, *, is_time: bool = False) -> Any:
    """What was typed as a number, or as a time for seconds; else as it was typed."""
    if is_time and (found_s := seconds(typed)) is not None:
        return found_s
    if not NUMBER.match(typed):
        return typed
    try:
        return int(typed)
    except ValueError:
        found = float(typed)
        return found if found not in (float("inf"), float("-inf")) else typed


def seconds(typed: str) -> int | None:
    if "-" not in typed or "T" not in typed:
        return None
    try:
        return int(datetime.fromisoformat(typed).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


# Rows that come and go ----------------------------------------------------------------------------------


def act(product: Product, payload: dict[str, Any], action: str, name: str) -> str:
    """Do what a button of the form says, to the payload; returns the name of the field to go on at.

    Args:
        action: ``add`` an element, ``set`` a member, ``remove`` either, move one ``up``.
    """
    steps = name.removeprefix(ROOT).strip(".").split(".")
    shape: Shape = product.shape
    holder: Any = payload
    for position, step in enumerate(steps):
        inner = shape.shape if isinstance(shape, OrNull) else shape
        key: Any = None
        after: Shape = Anything()
        if isinstance(inner, Variant) and isinstance(holder, dict):
            inner = record_for(inner, holder.get(inner.by))
        if isinstance(inner, Record) and isinstance(holder, dict):
            if step.startswith("~x"):
                unknown = unknown_keys(inner, holder)
                key = _nth(unknown, step[2:])
            elif step in inner.members:
                key, after = step, inner.members[step]
        elif isinstance(inner, ListOf) and isinstance(holder, list):
            number_of = _nth(range(len(holder)), step)
            key, after = number_of, inner.item
        elif isinstance(inner, MapOf) and isinstance(holder, dict):
            key = _nth(list(holder), step)
            after = inner.known.get(key, inner.value) if key is not None else after
        if key is None:
            return name
        if position == len(steps) - 1:
            return _do(action, holder, key, after, name)
        if isinstance(holder, dict) and key not in holder:
            holder[key] = blank(after)  # required, and not there: the form shows it empty
        holder, shape = holder[key], after
    return name


def _nth(items: Sequence[Any], step: str) -> Any:
    return items[int(step)] if step.isdecimal() and len(step) < 7 and int(step) < len(items) else None


def _do(action: str, holder: Any, key: Any, shape: Shape, name: str) -> str:
    inner = shape.shape if isinstance(shape, OrNull) else shape
    is_there = isinstance(holder, list) or key in holder
    if action == "set" and not is_there:
        made = blank(inner)
        if isinstance(inner, ListOf) and not made and not isinstance(inner.item, Text):
            made = [blank(inner.item)]
        holder[key] = made
    elif action == "remove" and is_there:
        del holder[key]
        return name.rpartition(".")[0]
    elif action == "up" and isinstance(holder, list) and key > 0:
        holder[key - 1], holder[key] = holder[key], holder[key - 1]
        return f"{name.rpartition('.')[0]}.{key - 1}"
    elif action == "add":
        if not is_there:
            holder[key] = blank(inner)
        target = holder[key]
        if isinstance(inner, ListOf) and isinstance(target, list):
            target.append(blank(inner.item))
            return f"{name}.{len(target) - 1}"
        if isinstance(inner, MapOf) and isinstance(target, dict):
            target.setdefault("", blank(inner.value))
            return f"{name}.{list(target).index('')}"
    return name
