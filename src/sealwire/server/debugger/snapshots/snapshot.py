"""A message of a probe: what a tracer sends when a log or snapshot probe was reached.

Hides the envelopes of ``/debugger/v2/input`` and its elders. Invariants: reading is bounded (bytes, values,
depth, frames), raises nothing but ``UntrustedError``, and one bad envelope does not spoil the others (JSON
that is too deep to be read at all spoils its body). Values of the program are in ``captures``, ``message``,
``errors`` and the messages of what was thrown, nowhere else: who may not see values may see the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import orjson

from sealwire.errors import MalformedError, OversizeError
from sealwire.products.schema import at, kind
from sealwire.server.debugger.snapshots.captured import Missing, Reader, Value

MAX_BODY_BYTES: Final = 8 * 1024 * 1024  # dd-trace sends up to 5 MiB at once, ddtrace up to 4
MAX_ENVELOPES: Final = 5_000
COUNTED_FROM_BYTES: Final = 256 * 1024  # before anything is made of them
MAX_ENVELOPE_BYTES: Final = 1_100_000  # tracers prune to 1 MiB; what the agent adds comes on top
MAX_MESSAGE: Final = 8_192
MAX_FRAMES: Final = 500
MAX_ERRORS: Final = 100
MAX_WORD: Final = 2_048  # names of files, functions, threads


class Location(msgspec.Struct, frozen=True):
    """Where the probe sits: a line of a file, or a method of a type."""

    file: str = ""
    line: int = 0
    type: str = ""
    method: str = ""

    def __str__(self) -> str:
        if self.method:
            return f"{self.type}.{self.method}" if self.type else self.method
        return f"{self.file}:{self.line}"


class Frame(msgspec.Struct, frozen=True):
    """One call of the stack."""

    file: str
    function: str
    line: int


class EvaluationError(msgspec.Struct, frozen=True):
    """An expression that failed in the program, and what its tracer says of it."""

    expression: str
    message: str


class Thrown(msgspec.Struct, frozen=True):
    """What was raised."""

    type: str
    message: str
    stack: tuple[Frame, ...] = ()


class Capture(msgspec.Struct, frozen=True):
    """What was seen at one moment.

    Attributes:
        moment: ``entry``, ``return``, or the number of the line.
        expressions: What the probe was asked for by name.
    """

    moment: str
    arguments: tuple[tuple[str, Value], ...] = ()
    locals: tuple[tuple[str, Value], ...] = ()
    static_fields: tuple[tuple[str, Value], ...] = ()
    expressions: tuple[tuple[str, Value], ...] = ()
    thrown: Thrown | None = None

    @property
    def groups(self) -> Iterator[tuple[str, tuple[tuple[str, Value], ...]]]:
        """Its values by where they come from; none is empty."""
        for name, values in (
            ("expressions", self.expressions),
            ("arguments", self.arguments),
            ("locals", self.locals),
            ("static fields", self.static_fields),
        ):
            if values:
                yield name, values

    def names(self) -> dict[str, Value]:
        """What expressions see; a local hides an argument of the same name."""
        return {**dict(self.static_fields), **dict(self.arguments), **dict(self.locals)}


class Snapshot(msgspec.Struct, frozen=True):
    """A message of a probe.

    Attributes:
        timestamp_ms: When the probe was reached; 0 if the tracer does not say.
        captures: In the order of time; none of a log without snapshot.
        duration_ns: Of a method; None of a line.
        trace_id: As the tracer writes it: 32 hexadecimal digits, or a decimal number; empty without a trace.
        exception_id, frame: Of exception replay.
        values: How many values it holds.
    """

    snapshot_id: str
    probe_id: str
    probe_version: int
    timestamp_ms: int
    language: str
    service: str
    host: str
    message: str
    location: Location
    captures: tuple[Capture, ...] = ()
    stack: tuple[Frame, ...] = ()
    errors: tuple[EvaluationError, ...] = ()
    duration_ns: int | None = None
    trace_id: str = ""
    span_id: str = ""
    thread: str = ""
    process_tags: tuple[tuple[str, str], ...] = ()
    exception_id: str = ""
    frame: int | None = None
    values: int = 0

    @property
    def has_values(self) -> bool:
        return self.values > 0

    def capture(self, moment: str = "") -> Capture | None:
        """What was seen at that moment; the last one if none is named."""
        if not moment:
            return self.captures[-1] if self.captures else None
        return next((each for each in self.captures if each.moment == moment), None)


class Read(msgspec.Struct, frozen=True):
    """What became of a body.

    Attributes:
        refused: Of the envelopes that are no messages, why; in their order.
    """

    snapshots: tuple[Snapshot, ...]
    refused: tuple[MalformedError | OversizeError, ...] = ()


class _Counted(msgspec.Struct, gc=False):
    """An envelope, counted. Attack: millions of them, two bytes each, of which each becomes an object."""

    def __post_init__(self) -> None:
        _counter.left -= 1
        if _counter.left < 0:
            raise OversizeError(f"A body has at most {MAX_ENVELOPES} messages.")


_counter = threading.local()
_decode_counted = msgspec.json.Decoder(list[_Counted]).decode


def envelopes(body: bytes) -> list[bytes]:
    """The envelopes of a body, each as it came.

    Raises:
        MalformedError: It is no list of envelopes.
        OversizeError: It is too long, or there are too many.
    """
    if len(body) > MAX_BODY_BYTES:
        raise OversizeError(f"A body of messages has at most {MAX_BODY_BYTES} bytes.")
    try:
        if len(body) > COUNTED_FROM_BYTES:
            _counter.left = MAX_ENVELOPES
            _decode_counted(body)
        found = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedError("Messages of probes are a JSON list.", detail=str(error)[:200]) from error
    if len(found) > MAX_ENVELOPES:
        raise OversizeError(f"A body has at most {MAX_ENVELOPES} messages.")
    return [bytes(each) for each in found]


def read_all(body: bytes) -> Read:
    """Understand a body of messages; one that makes no sense does not spoil the others.

    Raises:
        MalformedError, OversizeError: As ``envelopes``.
    """
    snapshots: list[Snapshot] = []
    refused: list[MalformedError | OversizeError] = []
    for raw in envelopes(body):
        try:
            snapshots.append(read(raw))
        except (MalformedError, OversizeError) as error:
            refused.append(error)
    return Read(tuple(snapshots), tuple(refused))


def read(raw: bytes) -> Snapshot:
    """Understand one envelope.

    Raises:
        MalformedError: It is no message of a probe; says at which JSON path.
        OversizeError: It is too long, too deep, or has too many values.
    """
    if len(raw) > MAX_ENVELOPE_BYTES:
        raise OversizeError(f"A message has at most {MAX_ENVELOPE_BYTES} bytes.")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedError("A message of a probe is a JSON object.", detail=str(error)[:200]) from error
    envelope = _object(document, "$")
    snapshot = _object(_object(envelope.get("debugger"), "$.debugger").get("snapshot"), "$.debugger.snapshot")
    probe = _object(snapshot.get("probe"), "$.debugger.snapshot.probe")
    trace = _object(envelope.get("dd") or {}, "$.dd")
    logger = _object(envelope.get("logger") or {}, "$.logger")
    reader = Reader()
    captures = _captures(snapshot.get("captures"), "$.debugger.snapshot.captures", reader)
    stamp = _whole(snapshot.get("timestamp"))
    return Snapshot(
        snapshot_id=_required(snapshot, "id", "$.debugger.snapshot"),
        probe_id=_required(probe, "id", "$.debugger.snapshot.probe"),
        probe_version=_whole(probe.get("version")) or 0,
        timestamp_ms=stamp if stamp is not None else _whole(envelope.get("timestamp")) or 0,
        language=_word(snapshot.get("language")),
        service=_word(envelope.get("service")),
        host=_word(envelope.get("hostname")),
        message=_word(envelope.get("message"), MAX_MESSAGE),
        location=_location(probe.get("location")),
        captures=captures,
        stack=_frames(snapshot.get("stack"), "$.debugger.snapshot.stack"),
        errors=_errors(snapshot.get("evaluationErrors"), "$.debugger.snapshot.evaluationErrors"),
        duration_ns=_whole(snapshot.get("duration")),
        trace_id=_word(trace.get("trace_id"), 64),
        span_id=_word(trace.get("span_id"), 64),
        thread=_word(logger.get("thread_name")),
        process_tags=_tags(envelope.get("process_tags")),
        exception_id=_word(snapshot.get("exceptionId"), 128),
        frame=_whole(snapshot.get("frameIndex")),
        values=reader.nodes,
    )


def _object(raw: object, path: str) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise MalformedError(f"{path}: Expected an object, not {kind(raw)}.")
    return raw


def _required(raw: Mapping[str, object], key: str, path: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 128:
        raise MalformedError(f"{at(path, key)}: Expected a text of 1 to 128 characters.")
    return value


def _word(raw: object, most: int = MAX_WORD) -> str:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    return raw[:most] if isinstance(raw, str) else ""


def _whole(raw: object) -> int | None:
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 16:
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw < 2**53:
        return None
    return raw


def _location(raw: object) -> Location:
    if not isinstance(raw, Mapping):
        return Location()
    lines = raw.get("lines")
    first = lines[0] if isinstance(lines, list) and lines else None
    return Location(
        file=_word(raw.get("file")),
        line=_whole(first) or 0,
        type=_word(raw.get("type")),
        method=_word(raw.get("method")),
    )


def _captures(raw: object, path: str, reader: Reader) -> tuple[Capture, ...]:
    """Entry before lines before return: the order of time."""
    if raw is None:
        return ()
    moments = _object(raw, path)
    found: list[Capture] = []
    if moments.get("entry") is not None:
        found.append(_capture("entry", moments["entry"], at(path, "entry"), reader))
    if moments.get("lines") is not None:
        lines = _object(moments["lines"], at(path, "lines"))
        found.extend(
            _capture(line[:20], each, at(at(path, "lines"), line), reader) for line, each in lines.items()
        )
    if moments.get("return") is not None:
        found.append(_capture("return", moments["return"], at(path, "return"), reader))
    return tuple(found)


def _capture(moment: str, raw: object, path: str, reader: Reader) -> Capture:
    context = _object(raw, path)
    return Capture(
        moment=moment,
        arguments=reader.named(context.get("arguments"), at(path, "arguments")),
        locals=reader.named(context.get("locals"), at(path, "locals")),
        static_fields=reader.named(context.get("staticFields"), at(path, "staticFields")),
        expressions=reader.named(context.get("captureExpressions"), at(path, "captureExpressions")),
        thrown=_thrown(context.get("throwable"), at(path, "throwable")),
    )


def _thrown(raw: object, path: str) -> Thrown | None:
    if raw is None:
        return None
    thrown = _object(raw, path)
    return Thrown(
        type=_word(thrown.get("type")),
        message=_word(thrown.get("message"), MAX_MESSAGE),
        stack=_frames(thrown.get("stacktrace"), at(path, "stacktrace")),
    )


def _frames(raw: object, path: str) -> tuple[Frame, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise MalformedError(f"{path}: Expected a list, not {kind(raw)}.")
    return tuple(
        Frame(_word(each.get("fileName")), _word(each.get("function")), _whole(each.get("lineNumber")) or 0)
        for each in raw[:MAX_FRAMES]
        if isinstance(each, Mapping)
    )


def _errors(raw: object, path: str) -> tuple[EvaluationError, ...]:
    """Each once: ddtrace lists some twice."""
    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise MalformedError(f"{path}: Expected a list, not {kind(raw)}.")
    found = (
        EvaluationError(_word(each.get("expr")), _word(each.get("message")))
        for each in raw[:MAX_ERRORS]
        if isinstance(each, Mapping)
    )
    return tuple(dict.fromkeys(found))


def _tags(raw: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(raw, str):
        return ()
    pairs = (each.partition(":") for each in raw[:8_192].split(",") if each)
    return tuple((key, value) for key, _, value in pairs)


def redactions(snapshot: Snapshot) -> int:
    """How many values in it were redacted in the program."""
    return sum(1 for each in _all(snapshot) if each.missing is not None and each.missing.is_redacted)


def missing(snapshot: Snapshot) -> dict[Missing, int]:
    """How many values are not there, or not whole, by why."""
    found: dict[Missing, int] = {}
    for each in _all(snapshot):
        if each.missing is not None:
            found[each.missing] = found.get(each.missing, 0) + 1
    return found


def _all(snapshot: Snapshot) -> Iterator[Value]:
    for capture in snapshot.captures:
        for _, values in capture.groups:
            yield from _beneath([each for _, each in values])


def _beneath(values: Sequence[Value]) -> Iterator[Value]:
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        yield value
        waiting.extend(each for _, each in value.fields or ())
        waiting.extend(value.elements or ())
        for key, each in value.entries or ():
            waiting.extend((key, each))
