"""The bytes that are signed.

One encoding of a JSON value: UTF-8, keys in code point order, no white space, only the quote and the
backslash escaped. It is what the reference library calls canonical JSON, for every value this module
accepts; a property test holds the two together. It refuses the values on which the verifiers in the
field do not agree: numbers with a fraction, integers of 2^53 and more, control characters.
"""

from __future__ import annotations

import hashlib
from typing import Final, NewType

import orjson

from sealwire.errors import MalformedError

Sha256 = NewType("Sha256", str)
"""A digest as 64 lower-case hexadecimal digits."""

MAX_INTEGER: Final = 2**53 - 1
"""Some verifiers read every number as a 64-bit float; above this they would see another number."""

_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_CONTAINERS: Final = frozenset({dict, list, tuple})
_ALLOWED: Final = frozenset({dict, list, tuple, str, int, bool, type(None)})


def canonical_bytes(value: object) -> bytes:
    """Encode a value as the bytes that are hashed and signed.

    Args:
        value: Plain ``dict``, ``list``, ``tuple``, ``str``, ``int``, ``bool`` and ``None``, nested at most
            254 deep, with string keys.

    Raises:
        MalformedError: It holds something that has no agreed form: a fraction, an integer outside
            ±(2^53 - 1), a control character, a lone surrogate, or another type.

    Source: trust.md 1.2 and 2; agent-backend.md 4.2.
    """
    check_types(value)
    return encode_checked(value)


def encode_checked(value: object) -> bytes:
    """The same, for a value of which every part is known to pass ``check_types``."""
    try:
        raw = orjson.dumps(value, option=_OPTIONS)
    except TypeError as error:
        raise MalformedError(
            "This document cannot be signed: " + _reason(str(error)), detail=str(error)
        ) from error
    # A backslash in the output is an escaped quote, an escaped backslash or an escaped control character.
    # Runs of backslashes begin at an escape, so taking the pairs away first cannot join two halves.
    if b"\\" in raw and b"\\" in raw.replace(b"\\\\", b"").replace(b'\\"', b""):
        raise MalformedError("This document cannot be signed: a string in it has a control character.")
    return raw


def sha256_hex(raw: bytes) -> Sha256:
    """The SHA-256 of some bytes, as metadata writes it."""
    return Sha256(hashlib.sha256(raw).hexdigest())


def check_types(value: object) -> None:
    """Refuse what the encoder would silently turn into something else (a NaN into null, a date into text).

    Raises:
        MalformedError: A part is of another type than ``canonical_bytes`` takes.
    """
    level: list[object] = [value]
    while level:
        types = set(map(type, level))
        if not types <= _ALLOWED:
            names = ", ".join(sorted(t.__name__ for t in types - _ALLOWED))
            raise MalformedError(f"This document cannot be signed: it holds a value of type {names}.")
        if types.isdisjoint(_CONTAINERS):
            return
        # One level at a time keeps the loop inside the interpreter's fast paths.
        deeper: list[object] = []
        for item in level:
            if type(item) is dict:
                deeper += item.values()
            elif type(item) is list or type(item) is tuple:
                deeper += item
        level = deeper


def _reason(message: str) -> str:
    if "53-bit" in message:
        return "a number in it is 2^53 or more."
    if "UTF-8" in message or "surrogate" in message:
        return "a string in it is not valid Unicode."
    if "key must be str" in message.lower():
        return "a key in it is not a string."
    return "it is nested too deeply or holds a value without a JSON form."
