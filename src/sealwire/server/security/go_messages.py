"""The messages of the open-source Agent as bytes: protobuf is read, msgpack is written.

Hides both encodings from what knows the fields. Invariants: nothing is read past the end of what holds it,
however long it says to be, and the fields of one upload are bounded in number; what is hostile raises the
``UntrustedError`` family and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from sealwire.errors import MalformedError, OversizeError

MAX_FIELDS: Final = 3_000_000  # the Agent's largest upload, 7 MB, has about 2.6 million

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_U64: Final = 0xFFFFFFFFFFFFFFFF

Place = tuple[int, int]  # from, to


class Reader:
    """Fields of messages in one piece of bytes; counts how many were read."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.chunks = 0
        self._left = MAX_FIELDS

    def fields(self, at: int, end: int) -> Iterator[tuple[int, int | Place]]:
        """The fields of the message between two places: their numbers; a number, or where their bytes are."""
        view = self.view
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise OversizeError(f"An upload of traces may have {MAX_FIELDS} fields.")
            tag = view[at]
            at += 1
            if tag >= 0x80:
                tag, at = self._varint(at - 1, end)
            field, kind = tag >> 3, tag & 7
            if field == 0:
                raise MalformedError("These are no traces: a field has no number.")
            if kind == _BYTES:
                if at < end and view[at] < 0x80:
                    length = view[at]
                    at += 1
                else:
                    length, at = self._varint(at, end)
                if length > end - at:
                    raise MalformedError("These are no traces: a field is longer than what holds it.")
                yield field, (at, at + length)
                at += length
            elif kind == _VARINT:
                value, at = self._varint(at, end)
                yield field, value
            elif kind in (_FIXED64, _FIXED32):
                size = 8 if kind == _FIXED64 else 4
                if size > end - at:
                    raise MalformedError("These are no traces: they stop in the middle.")
                yield field, (at, at + size)
                at += size
            else:
                raise MalformedError("These are no traces: a field of an unknown kind.")

    def raw(self, where: Place) -> bytes:
        """The bytes of a field."""
        return bytes(self.view[where[0] : where[1]])

    def words(self, where: Place, limit: int = 200) -> str:
        """The beginning of a text, whatever its bytes."""
        return self.raw((where[0], min(where[1], where[0] + 4 * limit))).decode(errors="replace")[:limit]

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self.view[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & _U64, at
            shift += 7
        raise MalformedError("These are no traces: a number does not end.")


# msgpack ----------------------------------------------------------------------------------------------------


def text(raw: bytes) -> bytes:
    """As a text, whatever its bytes: who reads it copes."""
    size = len(raw)
    if size < 32:
        return bytes((0xA0 | size,)) + raw
    if size < 0x100:
        return bytes((0xD9, size)) + raw
    return (b"\xda" + struct.pack(">H", size) if size < 0x10000 else b"\xdb" + struct.pack(">I", size)) + raw


def binary(raw: bytes) -> bytes:
    """As bytes."""
    return b"\xc6" + struct.pack(">I", len(raw)) + raw


def double(raw: bytes) -> bytes:
    """A number of eight bytes, the last first, as protobuf has it; 0 if it has not."""
    return b"\xcb" + raw[::-1] if len(raw) == 8 else b"\x00"


def array(items: list[bytes]) -> bytes:
    """Packed items, one after the other."""
    return b"\xdd" + struct.pack(">I", len(items)) + b"".join(items)


def pairs(items: list[bytes]) -> bytes:
    """A map of packed pairs, each in one piece."""
    return b"\xdf" + struct.pack(">I", len(items)) + b"".join(items)


def fixed(raw: bytes) -> bytes:
    """An unsigned number of eight bytes, the last first, as protobuf has it; 0 if it has not."""
    return b"\xcf" + raw[::-1] if len(raw) == 8 else b"\x00"


def signed(value: int) -> int:
    """A number of 64 bits as one that may be below zero."""
    return value - (1 << 64) if value >> 63 else value
