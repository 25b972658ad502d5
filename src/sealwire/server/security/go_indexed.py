"""Traces with a table of texts, as the open-source Agent sends them of late: spans name texts by number.

Hides that format: an ``idx.TracerPayload`` in, chunks as a tracer writes them out. Only chunks with a tag of
the engine are written. Invariants: what is written is bounded for all of an upload, since a number of two
bytes may stand for a megabyte of text; a number that is none of the table's is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from sealwire.errors import MalformedError, OversizeError
from sealwire.server.security.go_messages import (
    Place,
    Reader,
    array,
    binary,
    double,
    fixed,
    pairs,
    signed,
    text,
)
from sealwire.wire.limits import check_count
from sealwire.wire.probe_traces import MARKS
from sealwire.wire.traces import MAX_TEXTS, MAX_TRACES, MAX_TRACES_BYTES

MAX_WRITTEN_BYTES: Final = 8 * MAX_TRACES_BYTES  # of one upload; a large one is about 30 MB written out
_MAX_NAMES: Final = 200  # tags of the engine to look for; with more, every chunk is written

_pack = msgspec.msgpack.encode
_TRUE, _FALSE = text(b"true"), text(b"false")
_NO_ID: Final = bytes(8)

# What a span has as fields of its own and tracers send as tags.
_PROMOTED: Final = {13: text(b"env"), 14: text(b"version"), 15: text(b"component")}
_UPPER_HALF: Final = text(b"_dd.p.tid")


class Tracer(msgspec.Struct):
    """Who sent an ``idx.TracerPayload``, and those of its chunks that name the engine, one by one."""

    language: str
    tracer_version: str
    runtime_id: str
    env: str
    app_version: str
    chunks: list[Place]


class Indexed:
    """Reads payloads of one upload: what is written of all of them together is bounded."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._room = MAX_WRITTEN_BYTES
        self._texts: list[Place] = []
        self._packed: dict[int, bytes] = {}

    def tracer(self, where: Place) -> Tracer:
        """A payload; its chunks are written by ``chunk``, before the next payload is read."""
        reader = self._reader
        self._texts, self._packed = [], {}
        chunks: list[Place] = []
        names = dict.fromkeys((3, 5, 6, 7, 9), 0)
        for field, value in reader.fields(*where):
            if isinstance(value, int):
                if field in names:
                    names[field] = value
            elif field == 1:
                check_count("texts of a tracer", len(self._texts) + 1, MAX_TEXTS)
                self._texts.append(value)
            elif field == 11:
                reader.chunks += 1
                check_count("traces in an upload", reader.chunks, MAX_TRACES)
                chunks.append(value)
        is_wanted = self._says_something()
        said = {field: reader.words(self._place(number)) for field, number in names.items()}
        return Tracer(
            language=said[3],
            tracer_version=said[5],
            runtime_id=said[6],
            env=said[7],
            app_version=said[9],
            chunks=[chunk for chunk in chunks if is_wanted(chunk)],
        )

    def chunk(self, where: Place) -> bytes:
        """A chunk as msgpack: a map with its spans."""
        reader = self._reader
        upper, lower = _NO_ID, _NO_ID
        spans: list[Place] = []
        for field, value in reader.fields(*where):
            if isinstance(value, int):
                continue
            if field == 4:
                spans.append(value)
            elif field == 6 and value[1] - value[0] == 16:
                trace_id = reader.raw(value)
                upper, lower = trace_id[:8], trace_id[8:]
        whole = text(upper.hex().encode()) if upper != _NO_ID else b""
        written = [self._span(span, lower, whole) for span in spans]
        return b"\x81\xa5spans" + array(written)

    # What a chunk is made of

    def _span(self, where: Place, trace_id: bytes, upper: bytes) -> bytes:
        reader = self._reader
        parts = [b"\xa8trace_id\xcf" + trace_id]
        tags: dict[bytes, bytes] = {_UPPER_HALF: upper} if upper else {}
        metrics: dict[bytes, bytes] = {}
        structs: dict[bytes, bytes] = {}
        for field, value in reader.fields(*where):
            if isinstance(value, int):
                if field in _TEXTS:
                    parts.append(_TEXTS[field] + self._text(value))
                elif field in _NUMBERS:
                    parts.append(_NUMBERS[field] + _pack(signed(value) if field == 7 else value))
                elif field in _PROMOTED and value:
                    tags.setdefault(_PROMOTED[field], self._text(value))
            elif field in _FIXED:
                parts.append(_FIXED[field] + fixed(reader.raw(value)))
            elif field == 9:
                self._attribute(value, tags, metrics, structs)
        for name, kind in ((b"\xa4meta", tags), (b"\xa7metrics", metrics), (b"\xabmeta_struct", structs)):
            if kind:
                parts.append(name + pairs([key + found for key, found in kind.items()]))
        return self._written(pairs(parts))

    def _attribute(
        self,
        where: Place,
        tags: dict[bytes, bytes],
        metrics: dict[bytes, bytes],
        structs: dict[bytes, bytes],
    ) -> None:
        """A tag, a number or packed bytes, by what the value is; lists are passed over."""
        reader = self._reader
        name, inside = 0, (0, 0)
        for part, value in reader.fields(*where):
            if part == 1 and isinstance(value, int):
                name = value
            elif part == 2 and not isinstance(value, int):
                inside = value
        key = self._text(name)
        for kind, value in reader.fields(*inside):
            if isinstance(value, int):
                if kind == 1:
                    tags[key] = self._text(value)
                elif kind == 2:
                    tags[key] = _TRUE if value else _FALSE
                elif kind == 4:
                    metrics[key] = _pack(float(signed(value)))
            elif kind == 3:
                metrics[key] = double(reader.raw(value))
            elif kind == 5:
                structs[key] = self._written(binary(reader.raw(value)))

    # The table

    def _place(self, number: int) -> Place:
        if number < len(self._texts):
            return self._texts[number]
        if number == 0:
            return (0, 0)  # no text, where there is no table
        raise MalformedError("These are no traces: they name a text that they do not have.")

    def _text(self, number: int) -> bytes:
        packed = self._packed.get(number)
        if packed is None:
            packed = self._packed[number] = text(self._reader.raw(self._place(number)))
        return self._written(packed)

    def _written(self, packed: bytes) -> bytes:
        self._room -= len(packed)
        if self._room < 0:
            raise OversizeError(f"At most {MAX_WRITTEN_BYTES} bytes are taken, written out.")
        return packed

    def _says_something(self) -> Callable[[Place], bool]:
        """Whether a chunk has a tag of the engine or of a probe: its number in the table, then a value."""
        view = self._reader.view
        numbers = [
            number
            for number, (begin, end) in enumerate(self._texts)
            if end - begin < 200 and _IS_WANTED(view[begin:end])
        ]
        if not numbers:
            return lambda _: False
        if len(numbers) > _MAX_NAMES:
            return lambda _: True
        found = re.compile(b"|".join(re.escape(b"\x08" + _varint(number) + b"\x12") for number in numbers))
        return lambda chunk: found.search(view, *chunk) is not None


_TEXTS: Final = {1: b"\xa7service", 2: b"\xa4name", 3: b"\xa8resource", 10: b"\xa4type"}
_NUMBERS: Final = {5: b"\xa9parent_id", 7: b"\xa8duration", 8: b"\xa5error"}
_FIXED: Final = {4: b"\xa7span_id", 6: b"\xa5start"}
_IS_WANTED: Final = re.compile(rb"(?:_dd\.)?appsec|" + b"|".join(map(re.escape, MARKS))).match


def _varint(value: int) -> bytes:
    made = b""
    while value >= 0x80:
        made += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return made + bytes((value,))
