"""A form made of a product's shape: a payload becomes fields, the fields become the payload again.

``build`` makes the tree of nodes a template draws, ``read`` makes the payload of what the browser sends,
``act`` adds and removes rows. Whatever the shape has no field for (what is wrong in a way no field can
hold, what is unknown, what is too much to show) travels as a piece of JSON, so nothing is lost on the way.

Names of fields: ``p`` is the payload, ``p.lib_config.tracing_tags`` a member, ``p.rules_data.0`` the first
element of a list or the first entry of a map. After a tilde stands what a field is besides: ``~is`` a
record that is there, ``~n`` a list that is there, ``~lines`` a list as lines, ``~key`` of a map's entry,
``~type`` of a value that may be of several, ``~was`` the word a union had, ``~json`` a piece of JSON,
``~rest`` what a list has beyond the rows shown, ``~paste`` lines to become rows, ``~x`` unknown keys.

Invariant: ``read`` of what a browser sends for ``build(payload)`` is ``payload``, for each that the shape
allows.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

MAX_NODES = 1_200  # drawn; the rest is carried as JSON
MAX_ROWS = 100
OPEN_ROWS = 3  # so many stand open beside each other
MAX_FIELDS = 20_000
ROOT = "p"

Fields = Mapping[str, Sequence[str]]


class _Absent:
    """No value at all."""


ABSENT: Final = _Absent()
_SCALARS = (Text, Integer, Number, Boolean, Scalar)
_NUMBER = re.compile(
    r"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?\Z", re.ASCII
)
_HELD_BY_NO_FIELD = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff\x85\u2028\u2029]")
_LAST_SECOND = 253_402_300_799  # of the year 9999


class Typed(str):
    """What somebody typed where JSON belongs, and which is none: kept as it is."""

    __slots__ = ()


@dataclass(slots=True)
class Node:
    """One thing to draw.

    Attributes:
        kind: ``record``, ``union``, ``list``, ``lines``, ``map``, ``text``, ``area``, ``number``, ``moment``,
            ``choice``, ``switch``, ``scalar`` or ``json``.
        name: Of its field, or of all its fields.
        value: As the field holds it.
        type: Of a scalar: ``text``, ``number``, ``true``, ``false``, ``null`` or empty.
        choices: Value and words; for a union the words its form depends on.
        members: Of a record; rows of a list or map, each labelled by what it is known by.
        rare: Members that are tucked away; ``rare_names``: those of ``addable`` that are, too.
        addable: Name and label of what may be added.
        key: Of a map's entry, or of an unknown member.
        rest: JSON of the elements beyond the rows; ``hidden`` says how many.
        pastes: Many elements can be given as lines.
        is_row: It stands in a list or map.
        folds: It is a row among many, and closed until somebody wants it.
    """

    kind: str
    name: str
    path: str
    label: str
    help: str = ""
    value: str = ""
    type: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    members: list[Node] = field(default_factory=list)
    rare: list[Node] = field(default_factory=list)
    rare_names: list[str] = field(default_factory=list)
    addable: list[tuple[str, str]] = field(default_factory=list)
    key: str | None = None
    rest: str = ""
    hidden: int = 0
    pastes: bool = False
    required: bool = False
    removable: bool = False
    is_row: bool = False
    folds: bool = False
    noun: str = ""
    least: float | None = None
    most: float | None = None
    max_length: int | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"f-{self.name}"

    @property
    def troubled(self) -> bool:
        """Whether it or anything in it has a problem."""
        return bool(self.problems) or any(one.troubled for one in (*self.members, *self.rare))

    @property
    def is_flat(self) -> bool:
        """Whether it is a row of a few fields and nothing else, which fit beside each other."""
        plain = ("text", "number", "moment", "choice")
        return (
            self.is_row and self.kind == "record" and 0 < len(self.members) <= 4
            and not (self.addable or self.rare) and all(one.kind in plain for one in self.members)
        )  # fmt: skip

    @property
    def shows_rare(self) -> bool:
        """Whether something tucked away is set, or wrong."""
        return any(one.value or one.type or one.removable or one.troubled for one in self.rare)


# Payload to fields --------------------------------------------------------------------------------------


def build(product: Product, payload: object, problems: Iterable[Problem] = ()) -> Node:
    """The form of a payload, each problem at the field it belongs to."""
    root = _Builder(product).node(product.shape, payload, ROOT, "$", "$", required=True)
    root.label = product.title
    _attach(root, problems)
    return root


def blank(shape: Shape) -> Any:
    """A value to begin with, to be filled in."""
    match shape:
        case OrNull():
            return blank(shape.shape)
        case Record():
            return {key: blank(member) for key, member in shape.required.items() if not _is_scalar(member)}
        case Variant():
            return {}
        case ListOf():
            return [blank(shape.item)] if shape.min_items and not _is_scalar(shape.item) else []
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


def _is_scalar(shape: Shape) -> bool:
    return isinstance(shape.shape if isinstance(shape, OrNull) else shape, _SCALARS)


class _Builder:
    def __init__(self, product: Product) -> None:
        self._product = product
        self._left = MAX_NODES

    def node(
        self, shape: Shape, value: object, name: str, path: str, place: str, *,
        required: bool = False, row: bool = False,
    ) -> Node:  # fmt: skip
        """One member. ``row``: it is an element or a map's value, there whatever it holds."""
        self._left -= 1
        label = self._product.label(place)
        nullable = isinstance(shape, OrNull)
        inner = shape.shape if isinstance(shape, OrNull) else shape
        node = Node("", name, path, label, help=_says(inner), required=required, is_row=row)
        node.removable = row or not (required or _is_scalar(inner))
        if isinstance(inner, Scalar) and (value is not None or nullable):
            self._scalar(node, inner, value)
        elif isinstance(inner, Text):
            self._text(node, inner, value, row)
        elif isinstance(inner, Boolean) and (isinstance(value, bool | _Absent) or (row and value == "")):
            node.kind, node.value = "switch", str(value).lower() if isinstance(value, bool) else ""
        elif isinstance(inner, Integer | Number):
            self._number(node, inner, ABSENT if row and value == "" else value)
        elif isinstance(inner, Anything) or (self._left < 0 and row):
            pass
        elif isinstance(inner, Record) and isinstance(value, Mapping):
            node.kind = "record"
            self._record(node, inner, value, place)
        elif isinstance(inner, Variant) and isinstance(value, Mapping):
            self._union(node, inner, value, place)
        elif isinstance(inner, ListOf) and isinstance(value, list | tuple):
            self._list(node, inner, list(value), place)
        elif isinstance(inner, MapOf) and _keys_fit(value):
            self._map(node, inner, cast(Mapping[str, object], value), place)
        if not node.kind:
            node.kind, node.removable = "json", not required
            node.value = (
                ""
                if isinstance(value, _Absent)
                else value
                if isinstance(value, Typed)
                else json_text.pretty(value)
            )
        return node

    # Single values ------------------------------------------------------------------------------------

    def _text(self, node: Node, shape: Text, value: object, row: bool) -> None:
        node.max_length = shape.max_length
        if isinstance(value, _Absent):
            node.kind = "choice" if shape.one_of else "text"
        elif isinstance(value, str) and not isinstance(value, Typed) and _fits(value) and (value or row):
            node.kind = "choice" if shape.one_of else "area" if "\n" in value else "text"
            node.value = value
        if node.kind == "choice":
            words = [*shape.one_of, *([node.value] if node.value and node.value not in shape.one_of else [])]
            node.choices = tuple(
                (word, word if word in shape.one_of else f"{word} (not known)") for word in words
            )
            if "\n" in node.value:
                node.kind = ""

    def _number(self, node: Node, shape: Integer | Number, value: object) -> None:
        node.least, node.most = shape.least, shape.most
        is_time = isinstance(shape, Integer) and shape.form == "unix-seconds"
        if isinstance(value, _Absent):
            node.kind = "moment" if is_time else "number"
        elif isinstance(value, int | float) and not isinstance(value, bool):
            node.kind, node.value = "number", json.dumps(value)
            if value != value or value in (float("inf"), float("-inf")):
                node.kind = ""
            elif is_time and isinstance(value, int) and 0 < value <= _LAST_SECOND:
                node.kind, node.value = "moment", _clock(value)
        if node.kind == "moment":
            node.help = ""  # it speaks of seconds
        elif isinstance(value, str) and not isinstance(value, Typed) and _is_mistyped(value):
            node.kind, node.value = "number", value

    def _scalar(self, node: Node, shape: Scalar, value: object) -> None:
        match value:
            case _Absent():
                node.kind = "scalar"
            case None:
                node.kind, node.type = "scalar", "null"
            case bool():
                node.kind, node.type = "scalar", str(value).lower()
            case int() | float() if value == value and value not in (float("inf"), float("-inf")):
                node.kind, node.type, node.value = "scalar", "number", json.dumps(value)
            case str() if _fits(value) and "\n" not in value and not isinstance(value, Typed):
                node.kind, node.type, node.value = "scalar", "text", value

    # What has parts -----------------------------------------------------------------------------------

    def _record(
        self, node: Node, shape: Record, value: Mapping[str, object], place: str, without: str = ""
    ) -> None:
        for key, member in shape.members.items():
            if key == without:
                continue
            name, inner_place = f"{node.name}.{key}", at(place, key)
            given = value.get(key, ABSENT)
            required = key in shape.required
            if isinstance(given, _Absent) and not _is_scalar(member):
                if not required:
                    node.addable.append((name, self._product.label(inner_place)))
                    if inner_place in self._product.rare:
                        node.rare_names.append(name)
                    continue
                given = blank(member)
            made = self.node(member, given, name, at(node.path, key), inner_place, required=required)
            (node.rare if inner_place in self._product.rare else node.members).append(made)
        for index, key in enumerate(_unknown(shape, value)):
            self._left -= 1
            extra = Node("json", f"{node.name}.~x{index}", at(node.path, key), key, key=key, removable=True)
            extra.value = _json_value(value[key])
            node.members.append(extra)

    def _union(self, node: Node, shape: Variant, value: Mapping[str, object], place: str) -> None:
        word = value.get(shape.by, ABSENT)
        if not (
            isinstance(word, _Absent) or (isinstance(word, str) and _fits(word) and word and "\n" not in word)
        ):
            return
        node.kind = "union"
        words = [one for case, _ in shape.cases for one in case]
        if isinstance(word, str):
            node.value = word
            words += [] if word in words else [word]
        node.choices = tuple((one, one) for one in words)
        node.key = shape.by
        record = _case(shape, word)
        self._record(node, record, value, place, without=shape.by)

    def _list(self, node: Node, shape: ListOf, value: list[object], place: str) -> None:
        node.noun = self._product.label(f"{place}[]")
        if isinstance(shape.item, Text) and all(isinstance(one, str) and _is_line(one) for one in value):
            node.kind, node.value = "lines", "\n".join(cast(list[str], value))
            if shape.item.one_of:
                node.help = f"{node.help} One of {', '.join(shape.item.one_of)}.".strip()
            return
        node.kind = "list"
        node.pastes = bool(_pasted_key(shape.item))
        for index, item in enumerate(value):
            if index >= MAX_ROWS or (self._left < 20 and index):
                node.rest, node.hidden = json_text.compact(value[index:]), len(value) - index
                break
            made = self.node(
                shape.item,
                item,
                f"{node.name}.{index}",
                at(node.path, index),
                f"{place}[]",
                required=True,
                row=True,
            )
            made.removable = True
            made.folds = len(value) > OPEN_ROWS and not made.is_flat
            known = _known_by(item)
            made.label = f"{node.noun} {index + 1}" + (f": {known}" if known else "")
            node.members.append(made)

    def _map(self, node: Node, shape: MapOf, value: Mapping[str, object], place: str) -> None:
        node.kind, node.noun = "map", self._product.label(f"{place}[]")
        if self._left < 2 * len(value):
            node.kind = ""
            return
        for index, (key, item) in enumerate(value.items()):
            made = self.node(
                shape.known.get(key, shape.value), item, f"{node.name}.{index}", at(node.path, key),
                at(place, key), required=True, row=True,
            )  # fmt: skip
            made.key, made.removable = key, True
            if made.kind not in ("record", "union", "list", "map"):
                made.label = "Value"
            node.members.append(made)


def _says(shape: Shape) -> str:
    return str(getattr(shape, "says", ""))


def _unknown(shape: Record, value: Mapping[str, object]) -> list[str]:
    return [key for key in value if key not in shape.members]


def _case(shape: Variant, word: object) -> Record:
    """The record a word stands for; one without members when it stands for none."""
    return next(
        (record for words, record in shape.cases if word in words), Record(required={shape.by: Anything()})
    )


def _fits(text: str) -> bool:
    """Whether a field of a page holds it and a browser sends it as it is."""
    return not _HELD_BY_NO_FIELD.search(text)


def _is_line(text: str) -> bool:
    return bool(text) and text == text.strip() and "\n" not in text and _fits(text)


def _is_mistyped(text: str) -> bool:
    """Text in the place of a number that was surely typed into its field."""
    return _is_line(text) and not _NUMBER.match(text) and _seconds(text) is None


def _keys_fit(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and _fits(key) and "\n" not in key for key in value
    )


def _json_value(value: object) -> str:
    return value if isinstance(value, Typed) else json_text.pretty(value)


def _clock(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


def _known_by(item: object) -> str:
    if not isinstance(item, Mapping):
        return ""
    names = (
        item.get(key) for key in ("id", "name", "value", "key", "rule_id", "header", "from_key", "service")
    )
    return next((one[:60] for one in names if isinstance(one, str) and one), "")


def _pasted_key(shape: Shape) -> str:
    """The member of an element that one line says all of."""
    if not isinstance(shape, Record) or len(shape.required) != 1:
        return ""
    key, member = next(iter(shape.required.items()))
    return key if isinstance(member, Text) and not member.one_of else ""


# Problems to their fields -------------------------------------------------------------------------------

_STEP = re.compile(r"\.[^.\[\]]+|\[[0-9]+\]|\[\"(?:[^\"\\]|\\.)*\"…?\]")


def _attach(root: Node, problems: Iterable[Problem]) -> None:
    by_path: dict[str, Node] = {}
    for node in _all(root):
        by_path.setdefault(node.path, node)
    for problem in problems:
        steps = _STEP.findall(problem.path[1:])
        for length in range(len(steps), -1, -1):
            found = by_path.get("$" + "".join(steps[:length]))
            if found is None:
                continue
            node = found
            beyond = steps[length:]
            place = ""
            if beyond and node.kind in ("lines", "list") and beyond[0][1:-1].isdigit():
                place = f"{'Line' if node.kind == 'lines' else 'Element'} {int(beyond[0][1:-1]) + 1}: "
            elif beyond:
                place = f"{''.join(beyond).removeprefix('.')}: "
            node.problems.append(place + problem.message)
            break


def _all(node: Node) -> Iterator[Node]:
    yield node
    for inner in (*node.members, *node.rare):
        yield from _all(inner)


def field_of(root: Node, path: str) -> str:
    """The id of the element at, or nearest to, a path; to lead somebody to a problem."""
    by_path: dict[str, str] = {}
    for node in _all(root):
        by_path.setdefault(node.path, node.id)
    steps = _STEP.findall(path[1:])
    for length in range(len(steps), -1, -1):
        found = by_path.get("$" + "".join(steps[:length]))
        if found is not None:
            return found
    return root.id


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
        return "" if row and isinstance(found, _Absent) else found

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
                if not isinstance(value, _Absent):
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
        record = _case(shape, self._raw(f"{name}~was") or word)
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
        key = _pasted_key(shape.item)
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
    if is_time and (seconds := _seconds(typed)) is not None:
        return seconds
    if not _NUMBER.match(typed):
        return typed
    try:
        return int(typed)
    except ValueError:
        found = float(typed)
        return found if found not in (float("inf"), float("-inf")) else typed


def _seconds(typed: str) -> int | None:
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
            inner = _case(inner, holder.get(inner.by))
        if isinstance(inner, Record) and isinstance(holder, dict):
            if step.startswith("~x"):
                unknown = _unknown(inner, holder)
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
