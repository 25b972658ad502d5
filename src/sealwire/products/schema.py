"""Shapes: what a JSON value may look like, said once, checked and published from the same words.

A product file describes its payload with the shapes below. A shape can do two things: find every
problem of a value (with its JSON path and a sentence for the author), and print itself as JSON Schema
for the form and the reference page.

Invariants: checking never raises on a JSON value and never changes it; it collects problems instead of
stopping at the first, at most ``MAX_PROBLEMS``; a key that no shape names is a problem, never ignored.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from sealwire.errors import Problem

MAX_PROBLEMS = 50  # more than a person mends in one go, few enough to send back
MAX_SAFE_INTEGER = 2**53 - 1  # every JSON reader on the way keeps integers up to here exact

TextCheck: TypeAlias = Callable[[str], str | None]
RecordCheck: TypeAlias = Callable[[Mapping[str, object], str, "Report"], None]

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_PLAIN_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}", re.ASCII)
_SHOWN_CHARACTERS = 80


class Report:
    """The problems found so far; takes no more once it is full."""

    __slots__ = ("_problems",)

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def add(self, path: str, message: str) -> None:
        """Note one problem, unless the report is full."""
        if not self.full:
            self._problems.append(Problem(path=path, message=message))

    @property
    def full(self) -> bool:
        return len(self._problems) >= MAX_PROBLEMS

    def __len__(self) -> int:
        return len(self._problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._problems)


def at(path: str, key: str | int) -> str:
    """The JSON path of a member: ``$.a``, ``$[0]``, or ``$["odd key"]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return path + (_member(key) if len(key) <= _SHOWN_CHARACTERS else f"[{quote(key)}]")


@lru_cache(maxsize=2000)
def _member(key: str) -> str:
    return f".{key}" if _PLAIN_KEY.match(key) else f"[{quote(key)}]"


def quote(value: object) -> str:
    """A value as it may stand in a message: JSON, shortened."""
    text = json.dumps(value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value, default=repr)
    if isinstance(value, str) and len(value) > _SHOWN_CHARACTERS:
        return text[:-1] + '…"'
    return text if len(text) <= _SHOWN_CHARACTERS + 2 else text[:_SHOWN_CHARACTERS] + "…"


def nearest(word: str, known: Iterable[str]) -> str:
    """`` Did you mean "x"?`` for the known word nearest to ``word``, or nothing."""
    close = difflib.get_close_matches(word[:_SHOWN_CHARACTERS], list(known), n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else ""


def either(words: Iterable[str]) -> str:
    """``"a", "b" or "c"``."""
    quoted = [f'"{word}"' for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def kind(value: object) -> str:
    """What a JSON value is called in a message."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


class Shape(ABC):
    """What a JSON value may look like."""

    @abstractmethod
    def check(self, value: object, path: str, report: Report) -> None:
        """Add every problem of ``value``, which stands at ``path``, to ``report``."""

    @abstractmethod
    def json_schema(self) -> dict[str, object]:
        """The same as a JSON Schema (draft 2020-12) fragment."""


def _described(schema: dict[str, object], says: str) -> dict[str, object]:
    return {**schema, "description": says} if says else schema


def _expected(report: Report, path: str, what: str, value: object) -> None:
    if value is None:
        report.add(path, f"Expected {what}, not null. Leave the key out instead.")
    else:
        report.add(path, f"Expected {what}, not {kind(value)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Shape):
    """A string.

    Attributes:
        one_of: The only words allowed; empty allows any.
        also: Says what is wrong with a text, or None.
        form: The JSON Schema ``format`` it has, for the form.
    """

    says: str = ""
    min_length: int = 1
    max_length: int = 1024
    one_of: tuple[str, ...] = ()
    also: TextCheck | None = None
    form: str = ""

    def check(self, value: object, path: str, report: Report) -> None:
        if not isinstance(value, str):
            _expected(report, path, "a text", value)
        elif self.one_of:
            if value not in self.one_of:
                hint = nearest(value, self.one_of)
                report.add(path, f"Expected {either(self.one_of)}, not {quote(value)}.{hint}")
        elif len(value) < self.min_length:
            least = "must not be empty" if self.min_length == 1 else f"needs {self.min_length} characters"
            report.add(path, f"The text {least}.")
        elif len(value) > self.max_length:
            report.add(path, f"The text has {len(value)} characters; at most {self.max_length} are allowed.")
        elif self.also and (wrong := self.also(value)):
            report.add(path, wrong)

    def json_schema(self) -> dict[str, object]:
        schema: dict[str, object] = {"type": "string"}
        if self.one_of:
            schema["enum"] = list(self.one_of)
        else:
            schema |= {"minLength": self.min_length, "maxLength": self.max_length}
        if self.form:
            schema["format"] = self.form
        return _described(schema, self.says)


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer(Shape):
    """A whole number; ``true`` and ``1.0`` are not one.

    Attributes:
        form: ``unix-seconds`` for a time, which the form asks for as one.
    """

    says: str = ""
    least: int = 0
    most: int = MAX_SAFE_INTEGER
    also: Callable[[int], str | None] | None = None
    form: str = ""

    def check(self, value: object, path: str, report: Report) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            _expected(report, path, "a whole number", value)
        elif self.also and (wrong := self.also(value)):
            report.add(path, wrong)
        elif not self.least <= value <= self.most:
            report.add(path, f"Expected a whole number from {self.least} to {self.most}, not {value}.")

    def json_schema(self) -> dict[str, object]:
        schema: dict[str, object] = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return _described({**schema, "format": self.form} if self.form else schema, self.says)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Shape):
    """A finite number within bounds."""

    says: str = ""
    least: float = -1e15
    most: float = 1e15

    def check(self, value: object, path: str, report: Report) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            _expected(report, path, "a number", value)
        elif not math.isfinite(value) or not self.least <= value <= self.most:
            report.add(path, f"Expected a number from {self.least:g} to {self.most:g}, not {value}.")

    def json_schema(self) -> dict[str, object]:
        return _described({"type": "number", "minimum": self.least, "maximum": self.most}, self.says)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boolean(Shape):
    """``true`` or ``false``."""

    says: str = ""

    def check(self, value: object, path: str, report: Report) -> None:
        if not isinstance(value, bool):
            _expected(report, path, "true or false", value)

    def json_schema(self) -> dict[str, object]:
        return _described({"type": "boolean"}, self.says)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar(Shape):
    """A text, a number or a boolean, whatever the reader makes of it."""

    says: str = ""
    text: Text = field(default_factory=lambda: Text(min_length=0, max_length=65_536))

    def check(self, value: object, path: str, report: Report) -> None:
        if isinstance(value, bool):
            return
        if isinstance(value, int | float):
            Number().check(value, path, report)
        elif isinstance(value, str):
            self.text.check(value, path, report)
        else:
            _expected(report, path, "a text, a number, true or false", value)

    def json_schema(self) -> dict[str, object]:
        return _described({"type": ["string", "number", "boolean"]}, self.says)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anything(Shape):
    """Any JSON value: for the few places whose form the reader alone knows."""

    says: str = ""

    def check(self, value: object, path: str, report: Report) -> None:
        """Find nothing; that it is JSON at all is seen when the payload is rendered."""

    def json_schema(self) -> dict[str, object]:
        return _described({}, self.says)


@dataclass(frozen=True, slots=True)
class OrNull(Shape):
    """Another shape, or null for "nothing said here"."""

    shape: Shape

    def check(self, value: object, path: str, report: Report) -> None:
        if value is not None:
            self.shape.check(value, path, report)

    def json_schema(self) -> dict[str, object]:
        return {"anyOf": [self.shape.json_schema(), {"type": "null"}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf(Shape):
    """A list whose items all have one shape.

    Attributes:
        unique: Key that must not repeat among the items, such as ``id``.
    """

    item: Shape
    says: str = ""
    min_items: int = 0
    max_items: int = 100_000
    unique: str = ""

    def check(self, value: object, path: str, report: Report) -> None:
        if not isinstance(value, list | tuple):
            _expected(report, path, "a list", value)
            return
        if len(value) < self.min_items:
            report.add(
                path, "The list must not be empty." if self.min_items == 1 else "The list is too short."
            )
        if len(value) > self.max_items:
            report.add(path, f"The list has {len(value)} items; at most {self.max_items} are allowed.")
            return
        seen: dict[str, int] = {}
        for index, item in enumerate(value):
            if report.full:
                return
            self.item.check(item, at(path, index), report)
            if self.unique and isinstance(item, Mapping) and isinstance(key := item.get(self.unique), str):
                first = seen.setdefault(key, index)
                if first != index:
                    message = f"{quote(key)} is already the {self.unique} of {at(path, first)}."
                    report.add(at(at(path, index), self.unique), message)

    def json_schema(self) -> dict[str, object]:
        schema: dict[str, object] = {"type": "array", "items": self.item.json_schema()}
        if self.min_items:
            schema["minItems"] = self.min_items
        return _described({**schema, "maxItems": self.max_items}, self.says)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOf(Shape):
    """An object with free keys.

    Attributes:
        value: What every value looks like, but for the keys in ``known``.
        known: Keys whose values have a shape of their own.
        required: Keys that must be there.
        key: Says what is wrong with a key, or None.
    """

    value: Shape
    says: str = ""
    known: Mapping[str, Shape] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    key: TextCheck | None = None
    min_items: int = 0
    max_items: int = 1_000

    def check(self, value: object, path: str, report: Report) -> None:
        if not isinstance(value, Mapping):
            _expected(report, path, "an object", value)
            return
        if len(value) < self.min_items:
            report.add(path, "The object must not be empty.")
        if len(value) > self.max_items:
            report.add(path, f"The object has {len(value)} keys; at most {self.max_items} are allowed.")
            return
        for key, item in value.items():
            if report.full:
                return
            if not isinstance(key, str):
                report.add(path, f"Keys must be texts, not {kind(key)}.")
                continue
            if not key or len(key) > 512:
                report.add(at(path, key), "A key must have 1 to 512 characters.")
            elif self.key and (wrong := self.key(key)):
                report.add(at(path, key), wrong)
            self.known.get(key, self.value).check(item, at(path, key), report)
        for key in self.required:
            if key not in value:
                report.add(at(path, key), "This key is required.")

    def json_schema(self) -> dict[str, object]:
        schema: dict[str, object] = {"type": "object", "additionalProperties": self.value.json_schema()}
        if self.known:
            schema["properties"] = {key: shape.json_schema() for key, shape in self.known.items()}
        if self.required:
            schema["required"] = list(self.required)
        return _described({**schema, "maxProperties": self.max_items}, self.says)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Shape):
    """An object with known keys; any other key is a problem.

    Attributes:
        at_least_one: One of these keys or more must be there.
        exactly_one: One of these keys must be there, and not two.
        also: Looks at the whole object; called only when its members had no problem.
    """

    required: Mapping[str, Shape] = field(default_factory=dict)
    optional: Mapping[str, Shape] = field(default_factory=dict)
    says: str = ""
    at_least_one: tuple[str, ...] = ()
    exactly_one: tuple[str, ...] = ()
    also: RecordCheck | None = None

    @property
    def members(self) -> dict[str, Shape]:
        return {**self.required, **self.optional}

    def check(self, value: object, path: str, report: Report) -> None:
        if not isinstance(value, Mapping):
            _expected(report, path, "an object", value)
            return
        before = len(report)
        for key, item in value.items():
            if report.full:
                return
            if not isinstance(key, str):
                report.add(path, f"Keys must be texts, not {kind(key)}.")
            elif (shape := self.required.get(key) or self.optional.get(key)) is not None:
                shape.check(item, at(path, key), report)
            else:
                members = self.members
                hint = nearest(key, members) or f" Known here: {', '.join(members)}."
                report.add(at(path, key), f"Unknown key {quote(key)}.{hint}")
        for key in self.required:
            if key not in value:
                report.add(at(path, key), "This key is required.")
        given = [key for key in self.exactly_one if value.get(key) is not None]
        if self.exactly_one and len(given) != 1:
            report.add(path, f"Expected exactly one of {either(self.exactly_one)}.")
        if self.at_least_one and not any(value.get(key) is not None for key in self.at_least_one):
            report.add(path, f"Expected at least one of {either(self.at_least_one)}.")
        if self.also and len(report) == before:
            self.also(value, path, report)

    def json_schema(self) -> dict[str, object]:
        schema: dict[str, object] = {
            "type": "object",
            "properties": {key: shape.json_schema() for key, shape in self.members.items()},
            "additionalProperties": False,
        }
        if self.required:
            schema["required"] = list(self.required)
        if self.at_least_one:
            schema["anyOf"] = [{"required": [key]} for key in self.at_least_one]
        if self.exactly_one:
            schema["oneOf"] = [{"required": [key]} for key in self.exactly_one]
        return _described(schema, self.says)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(Shape):
    """An object whose form depends on the word under one of its keys.

    Attributes:
        by: The key that decides; the records name it too.
        cases: The words, and the record they stand for.
    """

    by: str
    cases: tuple[tuple[tuple[str, ...], Record], ...]
    says: str = ""
    _records: dict[str, Record] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        records = {word: record for words, record in self.cases for word in words}
        object.__setattr__(self, "_records", records)

    def check(self, value: object, path: str, report: Report) -> None:
        if not isinstance(value, Mapping):
            _expected(report, path, "an object", value)
            return
        word = value.get(self.by)
        if self.by not in value:
            report.add(at(path, self.by), "This key is required.")
        elif not isinstance(word, str):
            _expected(report, at(path, self.by), "a text", word)
        elif word not in self._records:
            hint = nearest(word, self._records) or f" Known: {', '.join(self._records)}."
            report.add(at(path, self.by), f"Unknown {self.by} {quote(word)}.{hint}")
        else:
            self._records[word].check(value, path, report)

    def json_schema(self) -> dict[str, object]:
        return _described({"oneOf": [record.json_schema() for _, record in self.cases]}, self.says)


def ip_or_network(text: str) -> str | None:
    """Say what is wrong with an address or a CIDR network, or None.

    Only the canonical spelling is taken, so that the same network is never written in two ways and a
    duplicate is seen as one.
    """
    # A list of ten thousand changes by one; what is as long as this is no address.
    return _ip_or_network(text) if len(text) <= 60 else _not_an_address(text)


def _not_an_address(text: str) -> str:
    return f"Expected an IPv4 or IPv6 address or a network such as 198.51.100.0/24, not {quote(text)}."


@lru_cache(maxsize=30_000)
def _ip_or_network(text: str) -> str | None:
    if _PLAIN_IPV4.fullmatch(text):
        return None
    try:
        if "%" in text:
            return "An address with a zone (%) never matches a client."
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return _not_an_address(text)
    canonical = str(network if "/" in text else network.network_address)
    mapped = network.network_address.ipv4_mapped if network.version == 6 else None
    if mapped is not None and network.prefixlen >= 96:
        plain = f"{mapped}/{network.prefixlen - 96}" if "/" in text else str(mapped)
        return f"Write an IPv4 address plainly: {plain}."
    if "/" in text and str(ipaddress.ip_address(text.partition("/")[0])) != str(network.network_address):
        return f"The network has bits set beyond its prefix; write {canonical}."
    return None if text == canonical else f"Write it in its canonical form: {canonical}."
