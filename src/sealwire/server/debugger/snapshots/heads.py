"""The head of a message of a probe: all that is needed to file it, without reading what was captured.

Reading a snapshot whole takes a millisecond, its head some microseconds; whole ones are read when somebody
opens them (``snapshot.read``). Invariants: raises nothing but ``UntrustedError``; what the head refuses the
whole reading would refuse too; texts are one line each and bounded, whatever a program calls its threads.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from sealwire.errors import MalformedError, OversizeError
from sealwire.server.debugger.snapshots.snapshot import MAX_ENVELOPE_BYTES, MAX_ERRORS, MAX_MESSAGE
from sealwire.server.security.rows import plain

MAX_NAME: Final = 200
_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,63}")
_HIDDEN: Final = re.compile(r"[\ud800-\udfff\x00]")


class _Probe(msgspec.Struct):
    id: str
    version: object = None


class _Body(msgspec.Struct):
    id: str
    probe: _Probe
    timestamp: object = None
    language: object = None
    duration: object = None
    evaluationErrors: list[msgspec.Raw] | None = None  # noqa: N815 - as tracers write it
    captures: msgspec.Raw = msgspec.Raw(b"")


class _Debugger(msgspec.Struct):
    snapshot: _Body


class _Trace(msgspec.Struct):
    trace_id: object = None
    span_id: object = None


class _Envelope(msgspec.Struct):
    debugger: _Debugger
    service: object = None
    hostname: object = None
    message: object = None
    timestamp: object = None
    dd: _Trace | None = None


_decode = msgspec.json.Decoder(_Envelope).decode


class Head(NamedTuple):
    """A message of a probe, but for what was captured.

    Attributes:
        stamp_ms: When the probe was reached, as the program says; 0 if it does not.
        message: What the log says; has values of the program.
    """

    snapshot_id: str
    probe_id: str
    probe_version: int
    stamp_ms: int
    service: str
    host: str
    language: str
    trace_id: str
    span_id: str
    has_values: bool
    errors: int
    duration_ns: int | None
    message: str
    bytes: int


def probe_of(raw: bytes) -> str:
    """Whose message this is, as far as that can be told of something that is refused; else empty."""
    try:
        return _id(_decode(raw).debugger.snapshot.probe.id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MalformedError):
        return ""


def read(raw: bytes) -> Head:
    """Read the head of an envelope.

    Raises:
        MalformedError: It is no message of a probe.
        OversizeError: It is too long.
    """
    if len(raw) > MAX_ENVELOPE_BYTES:
        raise OversizeError(f"A message has at most {MAX_ENVELOPE_BYTES} bytes.")
    try:
        envelope = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # What the library says names places and types, no values.
        raise MalformedError("This is no message of a probe.", detail=str(error)[:200]) from error
    body = envelope.debugger.snapshot
    trace = envelope.dd or _Trace()
    stamp = _whole(body.timestamp)
    return Head(
        snapshot_id=_id(body.id),
        probe_id=_id(body.probe.id),
        probe_version=_whole(body.probe.version) or 0,
        stamp_ms=stamp if stamp is not None else _whole(envelope.timestamp) or 0,
        service=_word(envelope.service),
        host=_word(envelope.hostname),
        language=_word(body.language),
        trace_id=_word(trace.trace_id)[:64],
        span_id=_word(trace.span_id)[:64],
        has_values=b'"type"' in memoryview(body.captures).tobytes(),
        errors=len(set(map(bytes, body.evaluationErrors[:MAX_ERRORS]))) if body.evaluationErrors else 0,
        duration_ns=_whole(body.duration),
        message=_HIDDEN.sub("\ufffd", _text(envelope.message)[:MAX_MESSAGE]),
        bytes=len(raw),
    )


def _id(text: str) -> str:
    if _ID.fullmatch(text) is None:
        raise MalformedError("The id of a snapshot or a probe has 1 to 64 letters, digits and _.:-")
    return text


def _text(raw: object) -> str:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    return raw if isinstance(raw, str) else ""


def _word(raw: object) -> str:
    return plain(_text(raw), MAX_NAME)


def _whole(raw: object) -> int | None:
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 16:
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw < 2**53:
        return None
    return raw
