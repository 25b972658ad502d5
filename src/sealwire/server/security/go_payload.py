"""Traces as the open-source Agent passes them on: bytes in, what they say of security out.

    POST /api/v0.2/traces   protobuf AgentPayload, packed with zstd, gzip or not at all

Hides the encoding: the few messages are read by hand, and a chunk that names the engine is written again as
the tracer had sent it, so that ``wire.traces`` decides what counts, as it does on our own agent. Invariants:
nothing is read past the end of what holds it, however long it says to be; depth is what the schema has;
chunks, spans and fields are bounded, and so is what unpacking takes; what is hostile raises the
``UntrustedError`` family and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from sealwire.server import packing
from sealwire.server.security.go_indexed import Indexed, Tracer
from sealwire.server.security.go_messages import Place, Reader, array, binary, double, pairs, signed, text
from sealwire.wire import probe_traces
from sealwire.wire.limits import check_count, check_size
from sealwire.wire.probe_batch import MAX_NAME_CHARS, ProbeSpan
from sealwire.wire.security_batch import MAX_SPANS, Seen, VisitCount, Watched
from sealwire.wire.traces import MAX_PROBE_SPANS, MAX_TRACES, MAX_TRACES_BYTES, Selection, select

PATH: Final = "/api/v0.2/traces"
MAX_PACKED_BYTES: Final = 8 * 1024 * 1024  # the Agent sends about 3 MB at most before it packs
MAX_PAYLOADS: Final = 1_000
MAX_CHUNK_BYTES: Final = 16 * 1024 * 1024  # written out
_AT_ONCE_BYTES: Final = 4 * 1024 * 1024
_WORDS: Final = (b"appsec", *probe_traces.MARKS)


_pack = msgspec.msgpack.encode


class Payload(msgspec.Struct):
    """What one upload says of security and of probes.

    Attributes:
        probes: Spans that probes made or put tags on.
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
    probes: list[ProbeSpan] = []


def unpack(body: bytes, *, encoding: str) -> bytes:
    """An upload as it was before it was packed.

    Args:
        body: As received, unverified.
        encoding: Its ``Content-Encoding``.

    Raises:
        OversizeError: It is larger than an upload may be, packed or unpacked.
        MalformedError: It is not packed as it says, or in a way nobody knows.
    """
    check_size("upload of traces", len(body), MAX_PACKED_BYTES)
    return packing.unpack(body, encoding=encoding, limit=MAX_TRACES_BYTES)


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
    reader = Reader(memoryview(document))
    indexed = Indexed(reader)
    payloads = 0
    for field, value in reader.fields(0, len(document)):
        if isinstance(value, int):
            continue
        if field == 1:
            found.hostname = reader.words(value)
        elif field == 7:
            found.version = reader.words(value)
        elif field == 5:
            payloads += 1
            check_count("tracers in an upload", payloads, MAX_PAYLOADS)
            _read_tracer(reader, value, found, now_ms)
        elif field == 11:
            payloads += 1
            check_count("tracers in an upload", payloads, MAX_PAYLOADS)
            _take(found, now_ms, indexed.tracer(value), indexed.chunk)
    return found


def _read_tracer(reader: Reader, where: Place, found: Payload, now_ms: int) -> None:
    """One TracerPayload: what its chunks say."""
    chunks: list[Place] = []
    names = {2: "", 4: "", 5: "", 8: "", 10: ""}
    for field, value in reader.fields(*where):
        if isinstance(value, int):
            continue
        if field in names:
            names[field] = reader.words(value)
        elif field == 6:
            reader.chunks += 1
            check_count("traces in an upload", reader.chunks, MAX_TRACES)
            # Spans that say nothing of security and of probes are not even looked at.
            raw = reader.raw(value)
            if any(word in raw for word in _WORDS):
                chunks.append(value)
    tracer = Tracer(
        language=names[2],
        tracer_version=names[4],
        runtime_id=names[5],
        env=names[8],
        app_version=names[10],
        chunks=chunks,
    )
    _take(found, now_ms, tracer, lambda chunk: _chunk(reader, chunk))


def _take(found: Payload, now_ms: int, tracer: Tracer, write: Callable[[Place], bytes]) -> None:
    """What chunks say, by the reader of what tracers send; a few MiB of them at a time."""
    head = b"".join(
        _pack(name) + _pack(value)
        for name, value in (
            ("runtime_id", tracer.runtime_id), ("env", tracer.env), ("app_version", tracer.app_version),
        )
    )  # fmt: skip
    written: list[bytes] = []
    size = 0
    for number, place in enumerate(tracer.chunks, 1):
        chunk = write(place)
        if len(chunk) > MAX_CHUNK_BYTES:
            found.unreadable += 1
        else:
            written.append(chunk)
            size += len(chunk)
        if written and (size >= _AT_ONCE_BYTES or number == len(tracer.chunks)):
            body = b"\x84" + head + _pack("chunks") + array(written)
            _add(select("/v0.7/traces", body), found, now_ms, tracer)
            written, size = [], 0


def _add(selected: Selection, found: Payload, now_ms: int, tracer: Tracer) -> None:
    found.unreadable += selected.unreadable
    found.crowded += selected.crowded
    room = MAX_SPANS - len(found.spans)
    found.crowded += max(0, len(selected.spans) - room)
    by = (tracer.language, tracer.tracer_version)
    found.spans += [Seen(span, now_ms, *by) for span in selected.spans[:room]]
    found.visits += [VisitCount(*visit, count, now_ms) for visit, count in selected.visits.items()]
    for sender, count in selected.watched.items():
        engine = selected.engines.get(sender)
        waf, rules = ("", "") if engine is None else engine
        found.watched.append(Watched(*sender, waf, rules, count, now_ms))
    for span in selected.probes[: MAX_PROBE_SPANS - len(found.probes)]:
        span.lang = tracer.language[:MAX_NAME_CHARS]
        found.probes.append(span)
    del found.visits[MAX_SPANS:]
    del found.watched[MAX_SPANS:]


# A chunk, as a tracer writes it -----------------------------------------------------------------------------

_TEXTS: Final = {1: b"\xa7service", 2: b"\xa4name", 3: b"\xa8resource", 12: b"\xa4type"}
_NUMBERS: Final = {
    4: b"\xa8trace_id", 5: b"\xa7span_id", 6: b"\xa9parent_id", 7: b"\xa5start", 8: b"\xa8duration",
    9: b"\xa5error",
}  # fmt: skip
_SIGNED: Final = frozenset({7, 8, 9})
_MAPS: Final = {10: b"\xa4meta", 11: b"\xa7metrics", 13: b"\xabmeta_struct"}
_VALUES: Final = {10: text, 11: double, 13: binary}


def _chunk(reader: Reader, where: Place) -> bytes:
    """A TraceChunk as msgpack: a map with its spans."""
    spans = [
        _span(reader, value)
        for field, value in reader.fields(*where)
        if field == 3 and not isinstance(value, int)
    ]
    return b"\x81\xa5spans" + array(spans)


def _span(reader: Reader, where: Place) -> bytes:
    parts: list[bytes] = []
    maps: dict[int, list[bytes]] = {}
    for field, value in reader.fields(*where):
        if isinstance(value, int):
            if field in _NUMBERS:
                parts.append(_NUMBERS[field] + _pack(signed(value) if field in _SIGNED else value))
        elif field in _TEXTS:
            parts.append(_TEXTS[field] + text(reader.raw(value)))
        elif field in _MAPS:
            maps.setdefault(field, []).append(_entry(reader, value, field))
    return pairs(parts + [_MAPS[field] + pairs(entries) for field, entries in maps.items()])


def _entry(reader: Reader, where: Place, field: int) -> bytes:
    """A pair of a map: its name and what it stands for."""
    name, found = b"", b""
    for part, value in reader.fields(*where):
        if isinstance(value, int):
            continue
        if part == 1:
            name = reader.raw(value)
        elif part == 2:
            found = reader.raw(value)
    return text(name) + _VALUES[field](found)
