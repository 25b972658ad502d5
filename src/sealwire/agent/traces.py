"""Who sends traces: the services in a body of the trace intake.

Hides the encodings (v0.3 and v0.4: maps; v0.5: a table of texts and arrays of numbers; v0.7: a payload with
chunks of v0.4 spans). Pure, and deliberately one function: bytes in, senders out. Of each trace only its
local root is looked at, as the spans below it are named after databases and queues.

Invariants: nothing larger than ``MAX_BODY_BYTES`` is read; lists are refused by their announced length before
room is made for them; what cannot be read is a ``MalformedError`` or an ``OversizeError``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from sealwire.errors import MalformedError, OversizeError
from sealwire.wire.inventory import MAX_NAME_CHARS

MAX_BODY_BYTES = 1024 * 1024
MAX_TRACES = 20_000
MAX_SPANS = 5_000  # of one trace; a longer one is passed over
MAX_TEXTS = 100_000

_Traces = Annotated[list[msgspec.Raw], Meta(max_length=MAX_TRACES)]
_NO_MAP = msgspec.Raw(b"\x80")


class _Span(msgspec.Struct, frozen=True):
    service: str | None = None
    span_id: int = 0
    parent_id: int | None = None
    meta: msgspec.Raw = _NO_MAP


class _Meta(msgspec.Struct, frozen=True):
    """The tags of a span that say whose it is."""

    env: str = ""
    version: str = ""
    runtime_id: str = msgspec.field(default="", name="runtime-id")
    base_service: str = msgspec.field(default="", name="_dd.base_service")


class _Span5(msgspec.Struct, frozen=True, array_like=True):
    service: int
    name: int
    resource: int
    trace_id: int
    span_id: int
    parent_id: int
    start: int
    duration: int
    error: int
    meta: msgspec.Raw


class _Body5(msgspec.Struct, frozen=True, array_like=True):
    texts: Annotated[list[str], Meta(max_length=MAX_TEXTS)]
    traces: _Traces


class _Chunk(msgspec.Struct, frozen=True):
    spans: msgspec.Raw = msgspec.Raw(b"\x90")


class _Payload(msgspec.Struct, frozen=True):
    chunks: _Traces = []
    runtime_id: str = ""
    env: str = ""
    app_version: str = ""


_traces = msgspec.msgpack.Decoder(_Traces)
_spans = msgspec.msgpack.Decoder(Annotated[list[_Span], Meta(max_length=MAX_SPANS)])
_meta = msgspec.msgpack.Decoder(_Meta)
_body5 = msgspec.msgpack.Decoder(_Body5)
_spans5 = msgspec.msgpack.Decoder(Annotated[list[_Span5], Meta(max_length=MAX_SPANS)])
_meta5 = msgspec.msgpack.Decoder(dict[int, int])
_payload = msgspec.msgpack.Decoder(_Payload)
_chunk = msgspec.msgpack.Decoder(_Chunk)

PATHS = frozenset({"/v0.3/traces", "/v0.4/traces", "/v0.5/traces", "/v0.7/traces"})
_S = TypeVar("_S", _Span, _Span5)


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose traces were in a body."""

    service: str
    env: str
    app_version: str
    runtime_id: str


def senders(path: str, body: bytes) -> dict[Sender, int]:
    """Who sent these traces, and how many each.

    Args:
        path: One of ``PATHS``; says the encoding.
        body: As received, unverified.

    Raises:
        OversizeError: It is too large to be looked at.
        MalformedError: It is no such body.
    """
    if len(body) > MAX_BODY_BYTES:
        raise OversizeError(f"At most {MAX_BODY_BYTES} bytes of traces are read.")
    found: dict[Sender, int] = {}
    read = _of_arrays if path == "/v0.5/traces" else _of_payload if path == "/v0.7/traces" else _of_maps
    try:
        for sender in read(body):
            found[sender] = found.get(sender, 0) + 1
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedError(f"These are no traces: {str(error)[:200]}.") from error
    return found


def _of_maps(body: bytes) -> Iterator[Sender]:
    for raw in _traces.decode(body):
        if (sender := _of_spans(raw)) is not None:
            yield sender


def _of_payload(body: bytes) -> Iterator[Sender]:
    payload = _payload.decode(body)
    for raw in payload.chunks:
        sender = _of_spans(_chunk.decode(raw).spans)
        if sender is not None:
            yield Sender(
                sender.service,
                sender.env or payload.env[:MAX_NAME_CHARS],
                sender.app_version or payload.app_version[:MAX_NAME_CHARS],
                sender.runtime_id or payload.runtime_id[:MAX_NAME_CHARS],
            )


def _of_spans(raw: msgspec.Raw) -> Sender | None:
    try:
        spans = _spans.decode(raw)
    except msgspec.ValidationError:
        return None  # too long, or with a span of another shape: the other traces are good
    root = _root(spans)
    if root is None:
        return None
    try:
        meta = _meta.decode(root.meta)
    except msgspec.ValidationError:  # nil, or a tag that is no text
        meta = _Meta()
    return _sender(root.service or "", meta)


def _of_arrays(body: bytes) -> Iterator[Sender]:
    read = _body5.decode(body)
    texts = read.texts

    def text(number: int) -> str:
        return texts[number] if 0 <= number < len(texts) else ""

    for raw in read.traces:
        try:
            spans = _spans5.decode(raw)
        except msgspec.ValidationError:
            continue
        root = _root(spans)
        if root is None:
            continue
        try:
            tags = {text(name): text(value) for name, value in _meta5.decode(root.meta).items()}
        except msgspec.ValidationError:
            tags = {}
        meta = _Meta(
            tags.get("env", ""),
            tags.get("version", ""),
            tags.get("runtime-id", ""),
            tags.get("_dd.base_service", ""),
        )
        if (sender := _sender(text(root.service), meta)) is not None:
            yield sender


def _root(spans: Sequence[_S]) -> _S | None:
    """The span whose parent is not here; the first one, of a trace whose spans go in a circle."""
    if len(spans) > 1:
        here = {span.span_id for span in spans}
        for span in spans:
            if not span.parent_id or span.parent_id not in here:
                return span
    return spans[0] if spans else None


def _sender(service: str, meta: _Meta) -> Sender | None:
    service = meta.base_service or service
    if not service:
        return None
    limit = MAX_NAME_CHARS
    return Sender(service[:limit], meta.env[:limit], meta.version[:limit], meta.runtime_id[:limit])
