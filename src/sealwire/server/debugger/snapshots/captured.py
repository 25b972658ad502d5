"""Values as a tracer captured them: typed, frozen, bounded; walked, weighed, searched.

Hides the JSON of a captured value and its flags. Invariants: a value is at most ``MAX_DEPTH`` deep and has
at most ``MAX_NODES`` beneath it; what a tracer did not capture is never mistaken for something empty:
``missing`` says why it is not there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from sealwire.errors import MalformedError, OversizeError
from sealwire.products.probe_expressions import is_field
from sealwire.products.schema import at, kind

MAX_DEPTH: Final = 64  # a probe captures at most 5 levels, each of two of ours at most
MAX_NODES: Final = 60_000  # more than fit into an envelope of 1 MiB
MAX_TYPE_CHARS: Final = 512
MAX_NAME_CHARS: Final = 512
_MAX_KEY_CHARS: Final = 240


class Missing(enum.StrEnum):
    """Why a value, or a part of it, was not captured: the words of the wire, and two of ours."""

    DEPTH = "depth"
    COLLECTION_SIZE = "collectionSize"
    FIELD_COUNT = "fieldCount"
    REDACTED_NAME = "redactedIdent"
    REDACTED_TYPE = "redactedType"
    TIMEOUT = "timeout"
    CONCURRENT_CHANGE = "concurrentModification"
    PRUNED = "pruned"
    OTHER = "other"

    @property
    def is_redacted(self) -> bool:
        return self in (Missing.REDACTED_NAME, Missing.REDACTED_TYPE)

    @property
    def says(self) -> str:
        """A sentence for people."""
        return _SAYS[self]


_SAYS: Final = {
    Missing.DEPTH: "It lies deeper than the probe captures.",
    Missing.COLLECTION_SIZE: "The collection has more elements than the probe captures.",
    Missing.FIELD_COUNT: "The object has more fields than the probe captures.",
    Missing.REDACTED_NAME: "Its name is on the list of names whose values never leave the program.",
    Missing.REDACTED_TYPE: "Its type is on the list of types whose values never leave the program.",
    Missing.TIMEOUT: "The time for capturing was over.",
    Missing.CONCURRENT_CHANGE: "It changed while it was captured.",
    Missing.PRUNED: "It was taken out so that the message is not too large.",
    Missing.OTHER: "The tracer did not capture it.",
}


class Value(msgspec.Struct, frozen=True, gc=False):
    """A captured value.

    Attributes:
        type: As the program calls it.
        text: Of a scalar: in Python its ``repr``, so that a text has its quotation marks; None of others.
        fields, elements, entries: Of an object, a list, a map; None of others.
        size: How many elements, entries or characters there were; None where the tracer does not say.
        truncated: Whether ``text`` is cut off.
        missing: Why it, or what is not in it, is not there; None if it is whole.
        reason: ``missing`` in the words of the tracer.
    """

    type: str
    text: str | None = None
    is_null: bool = False
    fields: tuple[tuple[str, Value], ...] | None = None
    elements: tuple[Value, ...] | None = None
    entries: tuple[tuple[Value, Value], ...] | None = None
    size: int | None = None
    truncated: bool = False
    missing: Missing | None = None
    reason: str = ""

    @property
    def is_captured(self) -> bool:
        """Whether there is anything at all: text, null, or parts."""
        return (
            self.text is not None
            or self.is_null
            or self.fields is not None
            or self.elements is not None
            or self.entries is not None
        )

    @property
    def held(self) -> int:
        """How many parts there are here, at most as many as ``size`` says there were."""
        return len(self.fields or self.elements or self.entries or ())

    def field(self, name: str) -> Value | None:
        return next((each for key, each in self.fields or () if key == name), None)


class Part(NamedTuple):
    """A part of a value.

    Attributes:
        step: Names it among the parts: ``.name``, ``[0]``, ``["key"]``; at most some 250 characters.
        is_readable: Whether the step in an expression reads it.
    """

    step: str
    name: str
    value: Value
    is_readable: bool = True


def parts(value: Value) -> Iterator[Part]:
    """What is directly in it, in the order of the program."""
    for name, each in value.fields or ():
        if is_field(name):
            yield Part(f".{name}", name, each)
        else:
            yield Part(f"[{quote_key(name)}]", name, each, is_readable=False)
    for number, each in enumerate(value.elements or ()):
        yield Part(f"[{number}]", str(number), each)
    seen: dict[str, int] = {}
    for key, each in value.entries or ():
        name = shown_key(key)
        is_readable = len(name) <= _MAX_KEY_CHARS and not key.truncated and _is_literal(key)
        name = name if len(name) <= _MAX_KEY_CHARS else f"{name[:_MAX_KEY_CHARS]}…"
        again = seen.get(name, 0)
        seen[name] = again + 1
        # Keys that were not captured, or were cut off, look the same: they are told apart by a number.
        step = f"[{name}]#{again + 1}" if again else f"[{name}]"
        yield Part(step, name, each, is_readable and not again)


def _is_literal(key: Value) -> bool:
    return plain_text(key) is not None or (key.type in ("int", "number") and (key.text or "").isdecimal())


def shown_key(key: Value) -> str:
    """A key of a map as it is shown: texts in double quotation marks, others as they were captured."""
    if key.text is None:
        return "null" if key.is_null else f"<{key.type}>"
    plain = plain_text(key)
    return quote_key(plain) if plain is not None else key.text


def quote_key(name: str) -> str:
    return msgspec.json.encode(name).decode() if is_encodable(name) else repr(name)


def is_encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


_TEXT_TYPES: Final = frozenset({"str", "string", "String", "java.lang.String", "System.String"})
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
_HEX: Final = {"x": 2, "u": 4, "U": 8}


def plain_text(value: Value) -> str | None:
    """The text that a value is, without quotation marks and escapes; None if it is no text.

    Of a text that was cut off, what is there.
    """
    if value.text is None or value.type not in _TEXT_TYPES:
        return None
    if value.type != "str":
        return value.text
    return _unquoted(value.text)


def _unquoted(text: str) -> str:
    """A text from Python's ``repr``, whole or cut off at its end."""
    mark = text[:1]
    if mark not in ("'", '"'):
        return text
    inner = text[1:-1] if len(text) > 1 and text.endswith(mark) else text[1:]
    if "\\" not in inner:
        return inner
    said: list[str] = []
    place = 0
    while place < len(inner):
        character = inner[place]
        if character != "\\":
            said.append(character)
            place += 1
            continue
        escaped = inner[place + 1 : place + 2]
        digits = inner[place + 2 : place + 2 + _HEX.get(escaped, 0)]
        if escaped in _ESCAPES and escaped:
            said.append(_ESCAPES[escaped])
            place += 2
        elif escaped in _HEX and len(digits) == _HEX[escaped] and _code(digits) is not None:
            said.append(chr(_code(digits) or 0))
            place += 2 + len(digits)
        else:
            said.append("\\")
            place += 1
    return "".join(said)


def _code(digits: str) -> int | None:
    try:
        code = int(digits, 16)
    except ValueError:
        return None
    return code if code < 0x110000 else None


# Reading ----------------------------------------------------------------------------------------------------


class Reader:
    """Reads the values of one message and counts them.

    Raises (``value``):
        MalformedError: It is no captured value.
        OversizeError: There are too many, or they are too deep.
    """

    def __init__(self) -> None:
        self.nodes = 0

    def value(self, raw: object, path: str, depth: int = 0) -> Value:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise OversizeError(f"A snapshot has at most {MAX_NODES} values.")
        if depth > MAX_DEPTH:
            raise OversizeError(f"The values of a snapshot are at most {MAX_DEPTH} levels deep.")
        if not isinstance(raw, Mapping):
            raise MalformedError(f"{path}: Expected a captured value, not {kind(raw)}.")
        reason = raw.get("notCapturedReason")
        missing = _missing(reason) if reason is not None else None
        if missing is None and raw.get("pruned") is True:
            missing, reason = Missing.PRUNED, "pruned"
        return Value(
            type=_type(raw.get("type")),
            text=_text(raw.get("value"), path),
            is_null=raw.get("isNull") is True or raw.get("type") == "undefined",
            fields=self._fields(raw.get("fields"), path, depth),
            elements=self._elements(raw.get("elements"), path, depth),
            entries=self._entries(raw.get("entries"), path, depth),
            size=_size(raw.get("size")),
            truncated=raw.get("truncated") is True,
            missing=missing,
            reason=str(reason)[:100] if reason is not None else "",
        )

    def named(self, raw: object, path: str, depth: int = 0) -> tuple[tuple[str, Value], ...]:
        """The values of an object by their names."""
        if raw is None:
            return ()
        if not isinstance(raw, Mapping):
            raise MalformedError(f"{path}: Expected an object, not {kind(raw)}.")
        found = []
        for name, each in raw.items():
            if len(name) > MAX_NAME_CHARS:
                raise OversizeError(f"{path}: A name has at most {MAX_NAME_CHARS} characters.")
            found.append((name, self.value(each, path, depth + 1)))
        return tuple(found)

    def _fields(self, raw: object, path: str, depth: int) -> tuple[tuple[str, Value], ...] | None:
        return None if raw is None else self.named(raw, at(path, "fields"), depth)

    def _elements(self, raw: object, path: str, depth: int) -> tuple[Value, ...] | None:
        if raw is None:
            return None
        if not isinstance(raw, list):
            raise MalformedError(f"{path}: Expected a list, not {kind(raw)}.")
        return tuple(self.value(each, path, depth + 1) for each in raw)

    def _entries(self, raw: object, path: str, depth: int) -> tuple[tuple[Value, Value], ...] | None:
        if raw is None:
            return None
        if not isinstance(raw, list):
            raise MalformedError(f"{path}: Expected a list, not {kind(raw)}.")
        found = []
        for number, pair in enumerate(raw):
            if not isinstance(pair, list) or len(pair) != 2:
                raise MalformedError(f"{at(path, number)}: Expected a key and a value.")
            found.append((self.value(pair[0], path, depth + 1), self.value(pair[1], path, depth + 1)))
        return tuple(found)


def _missing(reason: object) -> Missing:
    try:
        return Missing(reason) if isinstance(reason, str) else Missing.OTHER
    except ValueError:
        return Missing.OTHER


def _type(raw: object) -> str:
    return raw[:MAX_TYPE_CHARS] if isinstance(raw, str) else ""


def _text(raw: object, path: str) -> str | None:
    """A tracer sends texts; one that sends a plain number or truth value is understood."""
    match raw:
        case None:
            return None
        case str():
            return raw
        case bool():
            return "true" if raw else "false"
        case int() | float():
            return str(raw)
        case _:
            raise MalformedError(f"{path}: Expected a text, not {kind(raw)}.")


def _size(raw: object) -> int | None:
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 16:
        return int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw < 2**53:
        return None
    return raw
