"""What a body of the trace intake says of security and of probes: bytes in, the few spans that matter out.

Hides the encodings (v0.3 and v0.4: arrays of maps; v0.5: a table of texts and arrays of numbers; v0.7: a
payload with chunks of v0.4 spans) and what may be left out of them. Most spans are never looked into: tags
stay bytes until the bytes of their trace name a security tag.

Invariants: nothing above ``MAX_TRACES_BYTES`` is read; a list is refused by its announced length before room
is made for it, and one trace is held at a time, so memory stays near the size of the body; what comes out is
bounded in number and in length. A trace that cannot be read is counted and leaves the others; a body that
cannot be read is a ``MalformedError`` or, by its size alone, an ``OversizeError``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw

from sealwire.errors import MalformedError
from sealwire.wire import probe_traces
from sealwire.wire.limits import check_size
from sealwire.wire.probe_batch import ProbeSpan

MAX_TRACES_BYTES: Final = 25 * 1024 * 1024  # as the open-source Agent takes
MAX_TRACES: Final = 50_000  # of one body
MAX_TRACE_SPANS: Final = 20_000  # a longer one is passed over
MAX_SPANS: Final = 500_000  # of one body: its other traces are passed over
MAX_TEXTS: Final = 200_000  # of the table of v0.5
MAX_SELECTED: Final = 2_000  # of one body, which holds a second or two of one process
MAX_VISITS: Final = 2_000
MAX_SENDERS: Final = 200
MAX_PROBE_SPANS: Final = 2_000  # of one body
MAX_METRICS_BYTES: Final = 16 * 1024  # of one span, packed
MAX_TRIGGER_BYTES: Final = 256 * 1024  # of one span, packed; its tags as well
NAME_CHARS: Final = 200
MAX_TOUCHES: Final = 8

PATHS: Final = frozenset({"/v0.3/traces", "/v0.4/traces", "/v0.5/traces", "/v0.7/traces"})

_NO_MAP = Raw(b"\x80")
_NO_TEXT = Raw(b"\xa0")
_Traces = Annotated[list[Raw], Meta(max_length=MAX_TRACES)]

# Bytes that a trace of interest has: the name of a tag that says more than "the engine ran" (group 1), or
# that the engine ran at all. They may stand in anybody's text too, so they only say where to look.
_NAMED = re.compile(
    rb"appsec(?:(\.event(?!_rules)|\.blocked|\.json|[\xc4-\xc6\xd9-\xdb\x80-\xbf\xde])|\.enabled)"
)
_PROBED = re.compile(b"|".join(map(re.escape, probe_traces.MARKS)))


class SecuritySpan(msgspec.Struct, frozen=True, omit_defaults=True):
    """A span that carries a match, a block or a business event; unverified texts, bounded in length.

    Its tags travel as they came, since most of what they cost is their decoding: ``security`` reads them.

    Attributes:
        trace_id: 32 hexadecimal digits.
        tags: Packed texts, as received.
        metrics: Packed numbers, as received.
        triggers: Packed, as received; those in a tag are among the tags.
        stacks: Packed stack traces of exploits.
        touches: Kinds of the spans in the same chunk, such as ``sql``.
    """

    service: str
    trace_id: str
    span_id: int
    start_ns: int
    duration_ns: int
    error: int = 0
    name: str = ""
    resource: str = ""
    env: str = ""
    version: str = ""
    runtime_id: str = ""
    tags: bytes = b"\x80"
    metrics: bytes = b"\x80"
    triggers: bytes = b""
    stacks: bytes = b""
    touches: Annotated[tuple[str, ...], Meta(max_length=MAX_TOUCHES)] = ()


class Sender(NamedTuple):
    """Whose traces were in a body."""

    service: str
    env: str
    version: str
    runtime_id: str


class Engine(NamedTuple):
    """Which engine ran, with which rules."""

    version: str
    rules_version: str


class Visit(NamedTuple):
    """One kind of request that the engine looked at: who asked for what, and what came of it."""

    service: str
    env: str
    ip: str
    target: str  # the route, or the path where no route took it
    status: str


class Selection(msgspec.Struct):
    """What one body says.

    Attributes:
        spans: Those to pass on.
        senders: How many traces each sent.
        watched: How many traces of each the engine ran in.
        engines: Which engine that was, of those that say so.
        visits: How often each kind of request came, for rules that count requests.
        seen_ns: The latest end of a root.
        unreadable: Traces passed over for their shape or their length.
        crowded: Spans, visits and senders beyond what is kept of one body.
        probes: Spans that probes made or put tags on.
        probes_crowded: Such spans beyond what is kept of one body.
    """

    spans: list[SecuritySpan]
    senders: dict[Sender, int]
    watched: dict[Sender, int]
    visits: dict[Visit, int]
    engines: dict[Sender, Engine]
    seen_ns: int = 0
    unreadable: int = 0
    crowded: int = 0
    probes: list[ProbeSpan] = []
    probes_crowded: int = 0


class _Brief(msgspec.Struct, gc=False):
    """What is read of a span in a trace that says nothing of interest."""

    service: str | None = None
    span_id: int = 0
    parent_id: int | None = None
    start: int = 0
    duration: int = 0
    meta: Raw = _NO_MAP


class _Span(msgspec.Struct, gc=False):
    service: str | None = None
    name: str | None = None
    resource: Raw = _NO_TEXT  # a part of a URL, so of any bytes
    type: str | None = None
    trace_id: int = 0
    span_id: int = 0
    parent_id: int | None = None
    start: int = 0
    duration: int = 0
    error: int = 0
    meta: Raw = _NO_MAP
    metrics: Raw = _NO_MAP
    meta_struct: Raw = _NO_MAP


class _Tags(msgspec.Struct, gc=False):
    """The tags that are read of every root, and of spans of interest."""

    env: str = ""
    version: str = ""
    runtime_id: str = msgspec.field(default="", name="runtime-id")
    base_service: str = msgspec.field(default="", name="_dd.base_service")
    ip: str = msgspec.field(default="", name="http.client_ip")
    route: str = msgspec.field(default="", name="http.route")
    status: str = msgspec.field(default="", name="http.status_code")
    url: str = msgspec.field(default="", name="http.url")
    upper: str = msgspec.field(default="", name="_dd.p.tid")
    event: str = msgspec.field(default="", name="appsec.event")
    blocked: str = msgspec.field(default="", name="appsec.blocked")
    json: str = msgspec.field(default="", name="_dd.appsec.json")
    engine: str = msgspec.field(default="", name="_dd.appsec.waf.version")
    rules: str = msgspec.field(default="", name="_dd.appsec.event_rules.version")


class _Span5(msgspec.Struct, array_like=True, gc=False):
    service: int
    name: int
    resource: int
    trace_id: int
    span_id: int
    parent_id: int
    start: int
    duration: int
    error: int
    meta: Raw
    metrics: Raw
    type: int = -1


class _Body5(msgspec.Struct, array_like=True, gc=False):
    texts: Annotated[list[Raw], Meta(max_length=MAX_TEXTS)]
    traces: _Traces


class _Chunk(msgspec.Struct, gc=False):
    spans: Raw = Raw(b"\x90")


class _Payload(msgspec.Struct):
    chunks: _Traces = []
    runtime_id: str = ""
    env: str = ""
    app_version: str = ""


class _Struct(msgspec.Struct, gc=False):
    appsec: Raw = Raw(b"")
    stack: Raw = msgspec.field(default=Raw(b""), name="_dd.stack")


_decode_traces = msgspec.msgpack.Decoder(_Traces).decode
_decode_brief = msgspec.msgpack.Decoder(Annotated[list[_Brief], Meta(max_length=MAX_TRACE_SPANS)]).decode
_decode_spans = msgspec.msgpack.Decoder(Annotated[list[_Span], Meta(max_length=MAX_TRACE_SPANS)]).decode
_decode_tags = msgspec.msgpack.Decoder(_Tags).decode
_decode_texts = msgspec.msgpack.Decoder(Annotated[dict[str, str], Meta(max_length=10_000)]).decode
_decode_raw_map = msgspec.msgpack.Decoder(Annotated[dict[str, Raw], Meta(max_length=10_000)]).decode
_decode_text = msgspec.msgpack.Decoder(str).decode
_decode_struct = msgspec.msgpack.Decoder(_Struct).decode
_decode_bytes = msgspec.msgpack.Decoder(bytes).decode
_decode_body5 = msgspec.msgpack.Decoder(_Body5).decode
_decode_spans5 = msgspec.msgpack.Decoder(Annotated[list[_Span5], Meta(max_length=MAX_TRACE_SPANS)]).decode
_decode_meta5 = msgspec.msgpack.Decoder(Annotated[dict[int, int], Meta(max_length=10_000)]).decode
_decode_metrics5 = msgspec.msgpack.Decoder(Annotated[dict[int, float], Meta(max_length=10_000)]).decode
_decode_payload = msgspec.msgpack.Decoder(_Payload).decode
_decode_chunk = msgspec.msgpack.Decoder(_Chunk).decode

# What a decoder may raise over bytes of someone else's.
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, OverflowError)
_AnySpan = TypeVar("_AnySpan", _Brief, _Span, _Span5)


def select(path: str, body: bytes) -> Selection:
    """What a body says of security, and who sent it.

    Args:
        path: One of ``PATHS``; says the encoding.
        body: As received, unverified.

    Raises:
        OversizeError: It is larger than ``MAX_TRACES_BYTES``.
        MalformedError: It is no such body.
    """
    check_size("body of traces", len(body), MAX_TRACES_BYTES)
    reader = _Reader()
    try:
        if path == "/v0.5/traces":
            _read_arrays(reader, body)
        elif path == "/v0.7/traces":
            _read_payload(reader, body)
        else:
            _read_maps(reader, body)
    except _UNREADABLE as error:
        raise MalformedError(f"These are no traces: {str(error)[:200]}.") from error
    return reader.found


class _Reader:
    """Goes through the traces of one body."""

    def __init__(self) -> None:
        self.found = Selection([], {}, {}, {}, {})
        self.fallback = _Tags()  # what a payload says for all its spans
        self._spans = 0
        self._known: dict[tuple[str, ...], Sender] = {}

    def trace(self, raw: Raw, *, ran: bool, telling: bool, probed: bool) -> None:
        """One trace of v0.4 spans.

        Args:
            ran: Whether its bytes say that the engine ran.
            telling: Whether its bytes say more than that.
            probed: Whether they say something of probes.
        """
        found = self.found
        if self._spans > MAX_SPANS:
            found.unreadable += 1
            return
        full: Sequence[_Span] = ()
        brief: Sequence[_Brief] = ()
        try:
            if telling or probed:
                full = _decode_spans(raw)
            else:
                brief = _decode_brief(raw)
        except _UNREADABLE:
            found.unreadable += 1
            return
        root: _Span | _Brief
        if full:
            root = local_root(full)
        elif brief:
            root = local_root(brief)
        else:
            return
        self._spans += len(full) + len(brief)
        tags = _tags_of(root.meta)
        sender = self.sender(root.service or "", tags)
        self.count(found.senders, sender)
        if ran or telling:
            self.watch(sender, root.start, root.duration, tags)
        if telling:
            is_small = memoryview(raw).nbytes <= _WINDOW
            self._pick(sender, full, root, tags, _NAMED.search if is_small else _search_large)
        if probed:
            self._pick_probed(sender, full, tags.upper)

    def sender(self, service: str, tags: _Tags) -> Sender:
        """Whose a trace is; the same object each time."""
        key = (service, tags.base_service, tags.env, tags.version, tags.runtime_id)
        sender = self._known.get(key)
        if sender is None:
            fallback = self.fallback
            sender = Sender(
                (tags.base_service or service)[:NAME_CHARS],
                (tags.env or fallback.env)[:NAME_CHARS],
                (tags.version or fallback.version)[:NAME_CHARS],
                (tags.runtime_id or fallback.runtime_id)[:NAME_CHARS],
            )
            if len(self._known) < MAX_SENDERS:
                self._known[key] = sender
        return sender

    def count(self, counts: dict[Sender, int], sender: Sender) -> None:
        """One more trace of a sender."""
        if sender in counts:
            counts[sender] += 1
        elif not sender.service:
            return
        elif len(counts) < MAX_SENDERS:
            counts[sender] = 1
        else:
            self.found.crowded += 1

    def watch(self, sender: Sender, start_ns: int, duration_ns: int, tags: _Tags) -> None:
        """One more request that the engine looked at."""
        found = self.found
        self.count(found.watched, sender)
        if tags.engine and sender not in found.engines and sender in found.watched:
            found.engines[sender] = Engine(tags.engine[:40], tags.rules[:40])
        if start_ns > 0 and duration_ns >= 0 and start_ns + duration_ns > found.seen_ns:
            found.seen_ns = start_ns + duration_ns
        if not tags.ip or not tags.status:
            return
        target = tags.route if tags.route and tags.status != "404" else path_of(tags.url)
        visit = Visit(sender.service, sender.env, tags.ip[:64], target[:NAME_CHARS], tags.status[:3])
        if visit in found.visits:
            found.visits[visit] += 1
        elif len(found.visits) < MAX_VISITS:
            found.visits[visit] = 1
        else:
            found.crowded += 1

    def _pick(
        self,
        sender: Sender,
        spans: Sequence[_Span],
        root: _Span | _Brief,
        root_tags: _Tags,
        search: Callable[[Raw], re.Match[bytes] | None],
    ) -> None:
        """Keep the spans of a trace that say more than that the engine ran."""
        touches: tuple[str, ...] | None = None
        upper = root_tags.upper
        for span in spans:
            if span.meta_struct is _NO_MAP and search(span.meta) is None:
                continue
            packed = _NOTHING if span.meta_struct is _NO_MAP else _packed(span.meta_struct)
            raw_tags = bytes(span.meta)
            tags = root_tags if span is root else _tags_of(span.meta)
            triggers = _unwrapped(packed.appsec) if packed is not _NOTHING else b""
            if not (triggers or tags.event or tags.blocked or tags.json or b"appsec.events." in raw_tags):
                continue  # the words stood in somebody's text
            if touches is None:
                touches = _few_kinds(spans)
                if not _is_upper_half(upper):
                    upper = _upper_half(spans)
            self.keep(
                SecuritySpan(
                    service=sender.service,
                    trace_id=f"{upper}{span.trace_id & _U64:016x}",
                    span_id=span.span_id & _U64,
                    start_ns=span.start,
                    duration_ns=span.duration,
                    error=1 if span.error else 0,
                    name=span.name[:NAME_CHARS] if span.name else "",
                    resource=_text_of(span.resource)[:NAME_CHARS],
                    env=sender.env,
                    version=sender.version,
                    runtime_id=sender.runtime_id,
                    tags=raw_tags if len(raw_tags) <= MAX_TRIGGER_BYTES else _smaller(span.meta),
                    metrics=_few_bytes(span.metrics),
                    triggers=triggers,
                    stacks=_unwrapped(packed.stack) if packed is not _NOTHING else b"",
                    touches=touches,
                )
            )

    def _pick_probed(self, sender: Sender, spans: Sequence[_Span], upper: str) -> None:
        """Keep what the spans of a trace say of probes."""
        for span in spans:
            if not _says_of_probes(packed := bytes(span.meta)):
                continue
            tags = texts_of(packed)
            if not probe_traces.is_marked(tags):
                continue  # the words stood in somebody's text
            if not _is_upper_half(upper):
                upper = _upper_half(spans)
            self.keep_probed(
                sender, tags, f"{upper}{span.trace_id & _U64:016x}", span.span_id, span.start, span.duration,
                span.name or "", _text_of(span.resource), span.error,
            )  # fmt: skip

    def keep_probed(
        self,
        sender: Sender,
        tags: Mapping[str, str],
        trace_id: str,
        span_id: int,
        start_ns: int,
        duration_ns: int,
        name: str,
        resource: str,
        error: int,
    ) -> None:
        """What one span says of probes."""
        found = self.found
        if len(found.probes) >= MAX_PROBE_SPANS:
            found.probes_crowded += 1
            return
        found.probes += probe_traces.of_span(
            tags,
            **sender._asdict(),
            trace_id=trace_id,
            span_id=span_id & _U64,
            start_ns=start_ns,
            duration_ns=duration_ns,
            name=name,
            resource=resource,
            error=error != 0,
        )

    def keep(self, span: SecuritySpan) -> None:
        """One span to pass on."""
        if len(self.found.spans) >= MAX_SELECTED:
            self.found.crowded += 1
        else:
            self.found.spans.append(span)


def is_telling(names: Iterable[str]) -> bool:
    """Whether names of tags say more than that the engine ran."""
    return any(
        name in ("appsec.event", "appsec.blocked", "_dd.appsec.json")
        or (name.startswith("appsec.events.") and name.endswith(".track"))
        for name in names
    )


def path_of(url: str) -> str:
    """The path of a URL, however odd, without what it asks for."""
    start = url.find("://")
    start = url.find("/", start + 3) if start >= 0 else 0
    if start < 0:
        return "/"
    return url[start:].split("?", 1)[0].split("#", 1)[0] or "/"


def local_root(spans: Sequence[_AnySpan]) -> _AnySpan:
    """The span whose parent is not here; the first one, of a trace whose spans go in a circle."""
    if not spans[0].parent_id:
        return spans[0]
    here = {span.span_id for span in spans}
    for span in spans:
        if not span.parent_id or span.parent_id not in here:
            return span
    return spans[0]


# Parts of a span --------------------------------------------------------------------------------------------

_U64 = 0xFFFFFFFFFFFFFFFF
_NOTHING = _Struct()


def _packed(raw: Raw) -> _Struct:
    try:
        read: _Struct = _decode_struct(raw)
    except _UNREADABLE:
        return _NOTHING
    return read


def _unwrapped(raw: Raw) -> bytes:
    """What is in a value of ``meta_struct``: bytes that are msgpack, or (from some) the object itself."""
    packed = bytes(raw)
    if len(packed) > MAX_TRIGGER_BYTES or not packed:
        return b""
    try:
        inner: bytes = _decode_bytes(packed)
    except _UNREADABLE:
        return packed
    return inner


def _few_bytes(raw: Raw) -> bytes:
    packed = bytes(raw)
    return packed if len(packed) <= MAX_METRICS_BYTES else b"\x80"


def _smaller(raw: Raw) -> bytes:
    """Tags that fit: each one cut, which is at most four bytes for each character."""
    texts = sorted(texts_of(bytes(raw)).items(), key=lambda item: not item[0].startswith(_FOREMOST))
    return msgspec.msgpack.encode({name[:100]: text[:300] for name, text in texts[:150]})


_FOREMOST: Final = ("appsec.", "_dd.appsec.", "actor.", "http.", "network.", "usr.", "_dd.rc.")


def _tags_of(raw: Raw) -> _Tags:
    try:
        tags: _Tags = _decode_tags(raw)
    except _UNREADABLE:  # nil, a tag that is no text, bytes that are no UTF-8
        texts = texts_of(bytes(raw))
        return _Tags(**{field: texts.get(name, "") for field, name in _TAG_NAMES.items()})
    return tags


_TAG_NAMES = {field.name: field.encode_name for field in msgspec.structs.fields(_Tags)}


def texts_of(packed: bytes) -> dict[str, str]:
    """Those entries of a packed map that are texts; nothing where it is no map.

    Attack: a request with odd bytes, in the hope that its trace is thrown away for them.
    """
    try:
        texts: dict[str, str] = _decode_texts(packed)
    except _UNREADABLE:
        pass
    else:
        return texts
    try:
        values: dict[str, Raw] = _decode_raw_map(packed)
    except _UNREADABLE:
        return {}
    return {name: text for name, value in values.items() if (text := _text_of(value))}


def _text_of(raw: Raw) -> str:
    """A packed text, with a mark for each byte that is no UTF-8; empty for anything else."""
    packed = bytes(raw)
    try:
        return _decode_text(packed)
    except UnicodeDecodeError:
        lead = packed[0]
        header = 1 if lead < 0xC0 else {0xD9: 2, 0xDA: 3, 0xDB: 5}[lead]
        return packed[header:].decode(errors="replace")
    except _UNREADABLE:
        return ""


def _upper_half(spans: Sequence[_Span]) -> str:
    """The upper 64 bits of a trace id: a tag of (usually) the first span of a chunk."""
    for span in spans[:50]:
        value = _tags_of(span.meta).upper
        if _is_upper_half(value):
            return value
    return "0" * 16


def _is_upper_half(value: str) -> bool:
    return len(value) == 16 and _HEX.fullmatch(value) is not None


_HEX = re.compile("[0-9a-f]+")


def _few_kinds(spans: Iterable[_Span]) -> tuple[str, ...]:
    found = {span.type for span in spans}
    return tuple(sorted(kind[:40] for kind in found if kind)[:MAX_TOUCHES])


# The encodings ----------------------------------------------------------------------------------------------


_WINDOW: Final = 256 * 1024
_OVERLAP: Final = 32  # longer than anything that is looked for


def _named_in(body: bytes, named: re.Pattern[bytes] = _NAMED) -> Iterator[re.Match[bytes]]:
    """Where security is named, looked for in pieces. Attack: 25 MB of nothing but beginnings of names, over
    which a single search would keep every other thread waiting for most of a second.
    """
    for start in range(0, len(body), _WINDOW):
        for match in named.finditer(body, start, start + _WINDOW + _OVERLAP):
            if match.start() < start + _WINDOW:
                yield match


def _search_large(raw: Raw) -> re.Match[bytes] | None:
    return next(_named_in(bytes(raw)), None)


def _says_of_probes(body: bytes) -> bool:
    return any(mark in body for mark in probe_traces.MARKS)


def _read_maps(reader: _Reader, body: bytes) -> None:
    """v0.3 and v0.4: one pass over the bytes says in which traces to look, as they stand in a row."""
    traces = _decode_traces(body)
    named = _named_in(body)
    match = next(named, None)
    # Hardly any traces are of probes, and to look for one word is much quicker than for one of two.
    marks = _named_in(body, _PROBED) if _says_of_probes(body) else iter(())
    mark = next(marks, None)
    end = len(body) - sum(memoryview(raw).nbytes for raw in traces)
    for raw in traces:
        end += memoryview(raw).nbytes
        ran = telling = False
        while match is not None and match.start() < end:
            if match.lastindex:
                telling = True
            else:
                ran = True
            match = next(named, None)
        probed = False
        while mark is not None and mark.start() < end:
            probed = True
            mark = next(marks, None)
        reader.trace(raw, ran=ran, telling=telling, probed=probed)


def _read_payload(reader: _Reader, body: bytes) -> None:
    """v0.7."""
    payload = _decode_payload(body)
    silent = b"appsec" not in body
    has_probes = _says_of_probes(body)
    reader.fallback = _Tags(payload.env, payload.app_version, payload.runtime_id)
    for raw in payload.chunks:
        try:
            spans = _decode_chunk(raw).spans
        except _UNREADABLE:
            reader.found.unreadable += 1
            continue
        groups = set() if silent else {match.lastindex for match in _named_in(bytes(spans))}
        probed = has_probes and _says_of_probes(bytes(spans))
        reader.trace(spans, ran=None in groups, telling=1 in groups, probed=probed)


def _read_arrays(reader: _Reader, body: bytes) -> None:
    """v0.5."""
    read = _decode_body5(body)
    texts = [_text_of(raw) for raw in read.texts]
    telling = {at for at, text in enumerate(texts) if "appsec" in text and is_telling((text,))}
    ran = {at for at, text in enumerate(texts) if text == "_dd.appsec.enabled"}
    probed = {at for at, text in enumerate(texts) if probe_traces.is_marked((text,))}

    def text(at: int) -> str:
        return texts[at] if 0 <= at < len(texts) else ""

    count = 0
    for raw in read.traces:
        if count > MAX_SPANS:
            reader.found.unreadable += 1
            continue
        try:
            spans = _decode_spans5(raw)
        except _UNREADABLE:
            reader.found.unreadable += 1
            continue
        count += len(spans)
        if spans:
            _read_array(reader, spans, text, telling, ran, probed)


def _read_array(
    reader: _Reader,
    spans: Sequence[_Span5],
    text: Callable[[int], str],
    telling: set[int],
    ran: set[int],
    probed: set[int],
) -> None:
    found = reader.found
    root = local_root(spans)
    own = _numbers(root.meta)
    meta = {text(name): text(value) for name, value in own.items()}
    tags = _Tags(**{field: meta.get(name, "") for field, name in _TAG_NAMES.items()})
    sender = reader.sender(text(root.service), tags)
    reader.count(found.senders, sender)
    if not telling and not ran and not probed:
        return
    seen = False
    touches: tuple[str, ...] | None = None
    upper = tags.upper if _is_upper_half(tags.upper) else "0" * 16
    for span in spans:
        numbers = own if span is root else _numbers(span.meta)
        metrics = _floats(span.metrics) if ran else {}
        seen = seen or not ran.isdisjoint(metrics)
        if not probed.isdisjoint(numbers):
            reader.keep_probed(
                sender, {text(tag): text(value) for tag, value in numbers.items()},
                f"{upper}{span.trace_id & _U64:016x}", span.span_id, span.start, span.duration,
                text(span.name), text(span.resource), span.error,
            )  # fmt: skip
        if telling.isdisjoint(numbers):
            continue
        seen = True
        if touches is None:
            touches = tuple(sorted({kind[:40] for each in spans if (kind := text(each.type))})[:MAX_TOUCHES])
        packed = msgspec.msgpack.encode({text(name): text(value) for name, value in numbers.items()})
        reader.keep(
            SecuritySpan(
                service=sender.service,
                trace_id=f"{upper}{span.trace_id & _U64:016x}",
                span_id=span.span_id & _U64,
                start_ns=span.start,
                duration_ns=span.duration,
                error=1 if span.error else 0,
                name=text(span.name)[:NAME_CHARS],
                resource=text(span.resource)[:NAME_CHARS],
                env=sender.env,
                version=sender.version,
                runtime_id=sender.runtime_id,
                tags=packed if len(packed) <= MAX_TRIGGER_BYTES else _smaller(Raw(packed)),
                metrics=msgspec.msgpack.encode({text(name): each for name, each in metrics.items()}),
                touches=touches,
            )
        )
    if seen:
        reader.watch(sender, root.start, root.duration, tags)


def _numbers(raw: Raw) -> dict[int, int]:
    try:
        numbers: dict[int, int] = _decode_meta5(raw)
        return numbers
    except _UNREADABLE:
        return {}


def _floats(raw: Raw) -> dict[int, float]:
    try:
        floats: dict[int, float] = _decode_metrics5(raw)
        return floats
    except _UNREADABLE:
        return {}
