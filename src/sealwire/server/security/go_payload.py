"""Traces as the open-source Agent passes them on: bytes in, what they say of security out.

    POST /api/v0.2/traces   protobuf AgentPayload, packed with zstd, gzip or not at all

Hides the encoding: the few messages are read by hand, and a chunk that names the engine is written again as
the tracer had sent it, so that ``wire.traces`` decides what counts, as it does on our own agent. Invariants:
nothing is read past the end of what holds it, however long it says to be; depth is what the schema has;
chunks, spans and fields are bounded, and so is what unpacking takes; what is hostile raises the
``UntrustedError`` family and nothing else.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from typing import Final

import msgspec

from sealwire.errors import MalformedError, OversizeError
from sealwire.wire.inventory import gunzip
from sealwire.wire.limits import check_count, check_size
from sealwire.wire.security_batch import MAX_SPANS, Seen, VisitCount, Watched
from sealwire.wire.traces import MAX_TRACES, MAX_TRACES_BYTES, Selection, select

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PATH: Final = "/api/v0.2/traces"
MAX_PACKED_BYTES: Final = 8 * 1024 * 1024  # the Agent sends about 3 MB at most before it packs
MAX_FIELDS: Final = 2_000_000
MAX_PAYLOADS: Final = 1_000
_WINDOW_LOG: Final = 23  # 8 MiB, what every encoder keeps to unless told otherwise

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_U64 = 0xFFFFFFFFFFFFFFFF


class Payload(msgspec.Struct):
    """What one upload says of security.

    Attributes:
        unreadable: Chunks passed over for their shape.
        crowded: Spans, requests and senders beyond what is kept of one upload.
    """

    hostname: str
    version: str
    spans: list[Seen]
    visits: list[VisitCount]
    watched: list[Watched]
    unreadable: int = 0
    crowded: int = 0


def unpack(body: bytes, *, encoding: str) -> bytes:
    """A body as it was before it was packed.

    Args:
        body: As received, unverified.
        encoding: Its ``Content-Encoding``: ``zstd``, ``gzip``, ``identity`` or nothing.

    Raises:
        OversizeError: It is larger than an upload may be, packed or unpacked.
        MalformedError: It is not packed as it says, or in a way nobody knows.
    """
    check_size("upload of traces", len(body), MAX_PACKED_BYTES)
    match encoding:
        case "" | "identity":
            return body
        case "gzip":
            return gunzip(body, limit=MAX_TRACES_BYTES)
        case "zstd":
            return _unzstd(body)
        case _:
            raise MalformedError("Content-Encoding is zstd, gzip or nothing.")


def _unzstd(body: bytes) -> bytes:
    """Attack: a few bytes that unpack to gigabytes, or that ask for a window of gigabytes."""
    unpacker = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
    try:
        document = unpacker.decompress(body, max_length=MAX_TRACES_BYTES + 1)
    except zstd.ZstdError as error:
        raise MalformedError("This is not zstd, or wants too much memory.") from error
    if len(document) > MAX_TRACES_BYTES:
        raise OversizeError(f"At most {MAX_TRACES_BYTES} bytes are taken, unpacked.")
    if not unpacker.eof:
        raise MalformedError("This zstd stops in the middle.")
    return bytes(document)


def read(document: bytes, *, now_ms: int) -> Payload:
    """Read an AgentPayload.

    Args:
        document: Unpacked, unverified.
        now_ms: When it came, in milliseconds since 1970.

    Raises:
        OversizeError: It has more parts than an upload may have.
        MalformedError: It is no such message.
    """
    found = Payload("", "", [], [], [])
    reader = _Reader(memoryview(document))
    payloads = 0
    for field, value in reader.fields(0, len(document)):
        if isinstance(value, int):
            continue
        if field == 1:
            found.hostname = _words(reader.view, value)
        elif field == 7:
            found.version = _words(reader.view, value)
        elif field == 5:
            payloads += 1
            check_count("tracers in an upload", payloads, MAX_PAYLOADS)
            _read_tracer(reader, value, found, now_ms)
    return found


_Span = tuple[int, int]  # from, to


class _Reader:
    """Fields of messages in one piece of bytes; counts how many were read."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.chunks = 0
        self._left = MAX_FIELDS

    def fields(self, at: int, end: int) -> Iterator[tuple[int, int | _Span]]:
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


def _read_tracer(reader: _Reader, where: _Span, found: Payload, now_ms: int) -> None:
    """One TracerPayload: what its chunks say, by the reader of what tracers send."""
    chunks: list[bytes] = []
    names = {2: "", 4: "", 5: "", 8: "", 10: ""}
    for field, value in reader.fields(*where):
        if isinstance(value, int):
            continue
        if field in names:
            names[field] = _words(reader.view, value)
        elif field == 6:
            reader.chunks += 1
            check_count("traces in an upload", reader.chunks, MAX_TRACES)
            # Spans that say nothing of security are not even looked at.
            if b"appsec" in bytes(reader.view[value[0] : value[1]]):
                chunks.append(_chunk(reader, value))
    if not chunks:
        return
    head = {"runtime_id": names[5], "env": names[8], "app_version": names[10]}
    body = b"".join(
        [
            b"\x84",
            *(msgspec.msgpack.encode(name) + msgspec.msgpack.encode(text) for name, text in head.items()),
            _text(b"chunks"), b"\xdd", struct.pack(">I", len(chunks)), *chunks,
        ]
    )  # fmt: skip
    selected = select("/v0.7/traces", body)
    _add(selected, found, now_ms, lang=names[2], tracer_version=names[4])


def _add(selected: Selection, found: Payload, now_ms: int, *, lang: str, tracer_version: str) -> None:
    found.unreadable += selected.unreadable
    found.crowded += selected.crowded
    room = MAX_SPANS - len(found.spans)
    found.crowded += max(0, len(selected.spans) - room)
    found.spans += [Seen(span, now_ms, lang[:200], tracer_version[:200]) for span in selected.spans[:room]]
    found.visits += [VisitCount(*visit, count, now_ms) for visit, count in selected.visits.items()]
    for sender, count in selected.watched.items():
        engine = selected.engines.get(sender)
        waf, rules = ("", "") if engine is None else engine
        found.watched.append(Watched(*sender, waf, rules, count, now_ms))
    del found.visits[MAX_SPANS:]
    del found.watched[MAX_SPANS:]


def _words(view: memoryview, where: _Span, limit: int = 200) -> str:
    return bytes(view[where[0] : min(where[1], where[0] + 4 * limit)]).decode(errors="replace")[:limit]


# A chunk, as a tracer writes it -----------------------------------------------------------------------------

_TEXTS: Final = {1: b"\xa7service", 2: b"\xa4name", 3: b"\xa8resource", 12: b"\xa4type"}
_NUMBERS: Final = {
    4: b"\xa8trace_id", 5: b"\xa7span_id", 6: b"\xa9parent_id", 7: b"\xa5start", 8: b"\xa8duration",
    9: b"\xa5error",
}  # fmt: skip
_SIGNED: Final = frozenset({7, 8, 9})
_MAPS: Final = {10: b"\xa4meta", 11: b"\xa7metrics", 13: b"\xabmeta_struct"}


def _chunk(reader: _Reader, where: _Span) -> bytes:
    """A TraceChunk as msgpack: a map with its spans."""
    spans = [
        _span(reader, value)
        for field, value in reader.fields(*where)
        if field == 3 and not isinstance(value, int)
    ]
    return b"\x81\xa5spans\xdd" + struct.pack(">I", len(spans)) + b"".join(spans)


def _span(reader: _Reader, where: _Span) -> bytes:
    parts: list[bytes] = []
    maps: dict[int, list[bytes]] = {}
    count = 0
    view = reader.view
    for field, value in reader.fields(*where):
        if isinstance(value, int):
            name = _NUMBERS.get(field)
            if name is not None:
                signed = value - (1 << 64) if field in _SIGNED and value >> 63 else value
                parts += (name, msgspec.msgpack.encode(signed))
                count += 1
        elif field in _TEXTS:
            parts += (_TEXTS[field], _text(bytes(view[value[0] : value[1]])))
            count += 1
        elif field in _MAPS:
            maps.setdefault(field, []).append(_entry(reader, value, field))
    for field, entries in maps.items():
        parts += (_MAPS[field], b"\xdf", struct.pack(">I", len(entries)), *entries)
        count += 1
    return b"\xdf" + struct.pack(">I", count) + b"".join(parts)


def _entry(reader: _Reader, where: _Span, field: int) -> bytes:
    """A pair of a map: its name and what it stands for."""
    view = reader.view
    name, found = b"", b""
    for part, value in reader.fields(*where):
        if isinstance(value, int):
            continue
        if part == 1:
            name = bytes(view[value[0] : value[1]])
        elif part == 2:
            found = bytes(view[value[0] : value[1]])
    if field == 11:
        number = b"\xcb" + found[::-1] if len(found) == 8 else b"\x00"
        return _text(name) + number
    return _text(name) + (_text(found) if field == 10 else _binary(found))


def _text(raw: bytes) -> bytes:
    """As a text, whatever its bytes: who reads it copes."""
    size = len(raw)
    if size < 32:
        return bytes((0xA0 | size,)) + raw
    if size < 0x100:
        return bytes((0xD9, size)) + raw
    return (b"\xda" + struct.pack(">H", size) if size < 0x10000 else b"\xdb" + struct.pack(">I", size)) + raw


def _binary(raw: bytes) -> bytes:
    return b"\xc6" + struct.pack(">I", len(raw)) + raw
