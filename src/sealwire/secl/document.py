"""A policy file as a tree of values that know their place in it; YAML or JSON, with bounds on everything.

The YAML library only finds the words; the tree is built here, without its constructors and without recursion.
So nothing in a file can make objects, nest deeply, or grow by aliases. A value read as text where a text is
wanted is as it was written: ``version: 1.10`` is ``1.10``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import orjson
import yaml

from sealwire.errors import MalformedError, OversizeError

MAX_POLICY_BYTES: Final = 10_000_000  # as any config file
MAX_VALUES: Final = 1_000_000
MAX_ALIASES: Final = 1_000
MAX_DEPTH: Final = 20

Scalar: TypeAlias = str | int | bool | None

_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})\Z")
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Entry:
    """One value of a file.

    Attributes:
        text: A scalar as it was written.
        line: Counted from 1; 0 if not known (JSON).
        column: Of its first character, counted from 1.
        twice: Keys of a mapping that were given more than once.
    """

    value: Scalar | list[Entry] | dict[str, Entry]
    text: str = ""
    line: int = 0
    column: int = 0
    twice: list[str] = field(default_factory=list)

    @property
    def mapping(self) -> dict[str, Entry] | None:
        return self.value if isinstance(self.value, dict) else None

    @property
    def items(self) -> list[Entry] | None:
        return self.value if isinstance(self.value, list) else None

    def plain(self, *, depth: int = 0) -> Any:
        """The value without places; what is nested deeper than a few levels is left out."""
        if depth > 6:
            return None
        if isinstance(self.value, dict):
            return {key: each.plain(depth=depth + 1) for key, each in list(self.value.items())[:1_000]}
        if isinstance(self.value, list):
            return [each.plain(depth=depth + 1) for each in self.value[:10_000]]
        return self.value


def read_document(raw: bytes) -> Entry:
    """The values of a file.

    Raises:
        OversizeError: It is too large, or holds too many values.
        MalformedError: It is neither YAML nor JSON, or nests too deep; says where.
    """
    if len(raw) > MAX_POLICY_BYTES:
        raise OversizeError(f"The policy has {len(raw)} bytes; at most {MAX_POLICY_BYTES} are read.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedError(f"The policy is not UTF-8: byte {error.start + 1}.") from error
    if text.lstrip()[:1] == "{":
        try:
            return _of_json(orjson.loads(text))
        except orjson.JSONDecodeError:
            pass  # YAML may begin so too
    try:
        return _build(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        said = getattr(error, "problem", None) or "it cannot be read"
        raise MalformedError(f"The policy is not YAML{where}: {said}.") from error


def _build(text: str) -> Entry:
    root = Entry(None)
    open_: list[tuple[Entry, Entry | None, str]] = []  # collections, and the key that waits in a mapping
    anchors: dict[str, Entry] = {}
    counted = aliases = documents = 0
    for event in _words(text):
        mark = event.start_mark
        place = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise MalformedError(f"The policy holds a second document at line {place[0]}.")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            done, _, anchor = open_.pop()
            if anchor:
                anchors[anchor] = done
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        counted += 1
        if counted > MAX_VALUES:
            raise OversizeError(f"The policy holds more than {MAX_VALUES} values.")
        if isinstance(event, yaml.AliasEvent):
            aliases += 1
            known = anchors.get(event.anchor or "")
            if known is None or aliases > MAX_ALIASES:
                why = f"*{event.anchor} stands for nothing" if known is None else "there are too many aliases"
                raise MalformedError(f"The policy cannot be read at line {place[0]}: {why}.")
            entry = known
        elif isinstance(event, yaml.ScalarEvent):
            value = event.value if event.style is not None and event.style != "" else _plain(event.value)
            entry = Entry(value, event.value, *place)
            if event.anchor:
                anchors[event.anchor] = entry
        else:
            entry = Entry({} if isinstance(event, yaml.MappingStartEvent) else [], "", *place)
        if not open_:
            root = entry
        else:
            _put(open_, entry)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_) >= MAX_DEPTH:
                raise MalformedError(f"The policy nests more than {MAX_DEPTH} deep at line {place[0]}.")
            open_.append((entry, None, event.anchor or ""))
    return root


def _words(text: str) -> Iterator[yaml.Event]:
    yield from yaml.parse(text, Loader=_Loader)


def _put(open_: list[tuple[Entry, Entry | None, str]], entry: Entry) -> None:
    """Add a value to the innermost collection; in a mapping the first of two is the key."""
    inner, key, anchor = open_[-1]
    if isinstance(inner.value, list):
        inner.value.append(entry)
    elif isinstance(inner.value, dict):
        if key is None:
            if isinstance(entry.value, dict | list):
                raise MalformedError(f"A key of the policy is no text at line {entry.line}.")
            open_[-1] = (inner, entry, anchor)
        else:
            if key.text in inner.value:
                inner.twice.append(key.text)
            inner.value[key.text] = entry
            open_[-1] = (inner, None, anchor)


def _plain(text: str) -> Scalar:
    """A scalar without quotes. A number with a point stays a text: it is a version."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    return int(text) if _INT.match(text) else text


def _of_json(value: Any, *, depth: int = 0) -> Entry:
    if depth > MAX_DEPTH:
        raise MalformedError(f"The policy nests more than {MAX_DEPTH} deep.")
    if isinstance(value, dict):
        return Entry({key: _of_json(each, depth=depth + 1) for key, each in value.items()})
    if isinstance(value, list):
        return Entry([_of_json(each, depth=depth + 1) for each in value])
    if isinstance(value, float):
        return Entry(str(value), str(value))
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return Entry(value, text)
