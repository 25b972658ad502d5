"""A form made of a product's shape: a payload becomes fields, the fields become the payload again.

``build`` makes the tree of nodes a template draws; ``schema_fields`` reads what the browser sends, and adds
and removes rows. Whatever the shape has no field for (what is wrong in a way no field can hold, what is
unknown, what is too much to show) travels as a piece of JSON, so nothing is lost on the way.

Invariant: ``read`` of what a browser sends for ``build(payload)`` is ``payload``, for each that the shape
allows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from sealwire.errors import Problem
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
from sealwire.server.ui.schema_fields import (
    ABSENT,
    NUMBER,
    ROOT,
    Absent,
    Typed,
    blank,
    is_scalar,
    pasted_key,
    record_for,
    seconds,
    unknown_keys,
)

MAX_NODES = 1_200  # drawn; the rest is carried as JSON
MAX_ROWS = 100
OPEN_ROWS = 3  # so many stand open beside each other


_HELD_BY_NO_FIELD = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff\x85\u2028\u2029]")
_LAST_SECOND = 253_402_300_799  # of the year 9999


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
        suggestions: Id of the page's list of values for it; they are not all.
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
    suggestions: str = ""

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
        node.removable = row or not (required or is_scalar(inner))
        if isinstance(inner, Scalar) and (value is not None or nullable):
            self._scalar(node, inner, value)
        elif isinstance(inner, Text):
            self._text(node, inner, value, row)
        elif isinstance(inner, Boolean) and (isinstance(value, bool | Absent) or (row and value == "")):
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
                if isinstance(value, Absent)
                else value
                if isinstance(value, Typed)
                else json_text.pretty(value)
            )
        return node

    # Single values ------------------------------------------------------------------------------------

    def _text(self, node: Node, shape: Text, value: object, row: bool) -> None:
        node.max_length = shape.max_length
        if isinstance(value, Absent):
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
        if isinstance(value, Absent):
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
            case Absent():
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
            if isinstance(given, Absent) and not is_scalar(member):
                if not required:
                    node.addable.append((name, self._product.label(inner_place)))
                    if inner_place in self._product.rare:
                        node.rare_names.append(name)
                    continue
                given = blank(member)
            made = self.node(member, given, name, at(node.path, key), inner_place, required=required)
            (node.rare if inner_place in self._product.rare else node.members).append(made)
        for index, key in enumerate(unknown_keys(shape, value)):
            self._left -= 1
            extra = Node("json", f"{node.name}.~x{index}", at(node.path, key), key, key=key, removable=True)
            extra.value = _json_value(value[key])
            node.members.append(extra)

    def _union(self, node: Node, shape: Variant, value: Mapping[str, object], place: str) -> None:
        word = value.get(shape.by, ABSENT)
        if not (
            isinstance(word, Absent) or (isinstance(word, str) and _fits(word) and word and "\n" not in word)
        ):
            return
        node.kind = "union"
        words = [one for case, _ in shape.cases for one in case]
        if isinstance(word, str):
            node.value = word
            words += [] if word in words else [word]
        node.choices = tuple((one, one) for one in words)
        node.key = shape.by
        record = record_for(shape, word)
        self._record(node, record, value, place, without=shape.by)

    def _list(self, node: Node, shape: ListOf, value: list[object], place: str) -> None:
        node.noun = self._product.label(f"{place}[]")
        if isinstance(shape.item, Text) and all(isinstance(one, str) and _is_line(one) for one in value):
            node.kind, node.value = "lines", "\n".join(cast(list[str], value))
            if shape.item.one_of:
                node.help = f"{node.help} One of {', '.join(shape.item.one_of)}.".strip()
            return
        node.kind = "list"
        node.pastes = bool(pasted_key(shape.item))
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


def _fits(text: str) -> bool:
    """Whether a field of a page holds it and a browser sends it as it is."""
    return not _HELD_BY_NO_FIELD.search(text)


def _is_line(text: str) -> bool:
    return bool(text) and text == text.strip() and "\n" not in text and _fits(text)


def _is_mistyped(text: str) -> bool:
    """Text in the place of a number that was surely typed into its field."""
    return _is_line(text) and not NUMBER.match(text) and seconds(text) is None


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


# Problems to their fields -------------------------------------------------------------------------------

_STEP = re.compile(r"\.[^.\[\]]+|\[[0-9]+\]|\[\"(?:[^\"\\]|\\.)*\"…?\]")


def _attach(root: Node, problems: Iterable[Problem]) -> None:
    by_path: dict[str, Node] = {}
    for node in walk(root):
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


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for inner in (*node.members, *node.rare):
        yield from walk(inner)


def field_of(root: Node, path: str) -> str:
    """The id of the element at, or nearest to, a path; to lead somebody to a problem."""
    by_path: dict[str, str] = {}
    for node in walk(root):
        by_path.setdefault(node.path, node.id)
    steps = _STEP.findall(path[1:])
    for length in range(len(steps), -1, -1):
        found = by_path.get("$" + "".join(steps[:length]))
        if found is not None:
            return found
    return root.id
