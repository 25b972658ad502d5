"""What passes and says of attacks, gathered until it is told: spans, requests counted, engines that ran.

Hides how a flood is kept small. Of requests that are alike within one batch (same service, rules, address,
account, status and what else a detection rule can ask for) the first ``WHOLE_OF_A_KIND`` are passed on whole,
and the others as a count on the last of these, so that what is counted stays right whatever the flood.

Invariants: what is held is bounded in number and in bytes; what finds no room is counted in ``dropped``; a
span that cannot be read is never taken for one like another. Time is handed in. No I/O.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from sealwire.wire.security_batch import MAX_VISITS, MAX_WATCHED, Seen, VisitCount, Watched, size_of
from sealwire.wire.traces import Engine, SecuritySpan, Selection, Sender, Visit, texts_of

FLUSH_S: Final = 0.5  # a trace is to be seen within three seconds, of which dd-trace-js waits two
COUNTS_S: Final = 10.0  # and requests that are only counted can wait
WHOLE_OF_A_KIND: Final = 5  # of one batch
MAX_SPANS: Final = 1_000  # of one batch
MAX_BYTES: Final = 2 * 1024 * 1024  # of one batch, before it is packed; one span more may come on top
MAX_SEALED: Final = 4  # batches that wait to be packed
MAX_SERVICES: Final = 1_000  # whose first request was told at once


_NO_ENGINE: Final = Engine("", "")


@dataclass(slots=True)
class _Held:
    span: SecuritySpan
    seen_ms: int
    lang: str
    tracer_version: str
    count: int = 1


@dataclass(slots=True)
class _Kind:
    """Requests that are alike."""

    last: _Held
    whole: int = 1


@dataclass(slots=True)
class _Counted:
    count: int
    at_ms: int
    engine: Engine | None = None


@dataclass(slots=True)
class _Pending:
    """One batch to be."""

    spans: list[_Held] = field(default_factory=list)
    size: int = 0
    kinds: dict[tuple[str, ...], _Kind] = field(default_factory=dict)
    visits: dict[Visit, _Counted] = field(default_factory=dict)
    watched: dict[Sender, _Counted] = field(default_factory=dict)
    due_s: float = float("inf")

    @property
    def is_empty(self) -> bool:
        return not self.spans and not self.visits and not self.watched


class Gathered(NamedTuple):
    """What goes into a batch."""

    spans: list[Seen]
    visits: list[VisitCount]
    watched: list[Watched]

    @property
    def requests(self) -> int:
        """How many the spans stand for."""
        return sum(seen.count for seen in self.spans)


class Collector:
    """Gathers.

    Args:
        on_stir: Called when something is due earlier than before.
        monotonic: A clock that only counts up.
        wall_ms: Unix milliseconds.

    Attributes:
        is_wanted: Whether anybody takes it; while not, it is only counted.
        patience: How much longer than usual things may wait.
        seen: Spans that came so far.
        sampled: Of these, those that became a count.
        dropped: What found no room, by kind; others add to it.
    """

    def __init__(
        self,
        *,
        on_stir: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self.is_wanted = True
        self.patience = 1.0
        self.seen = self.sampled = 0
        self.on_stir = on_stir
        self.dropped: Counter[str] = Counter()
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._pending = _Pending()
        self._sealed: deque[_Pending] = deque()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def take(self, found: Selection, kinds: Sequence[Kind], *, lang: str, tracer_version: str) -> None:
        """What a body of traces said of security.

        Args:
            found: In the body.
            kinds: Of its spans, from ``kinds_of``, which is what takes time here.
            lang: As the headers of the upload said; as is the next.
        """
        if found.unreadable:
            self.dropped["traces_unreadable"] += found.unreadable
        if found.crowded:
            self.dropped["security_crowded"] += found.crowded
        if not found.watched and not found.spans:
            return
        self.seen += len(found.spans)
        if not self.is_wanted:
            self.dropped["security_not_wanted"] += len(found.spans)
            return
        now_s, now_ms = self._monotonic(), self._wall_ms()
        before_s, sealed = self._pending.due_s, len(self._sealed)
        for sender, count in found.watched.items():
            self._watch(sender, count, found.engines.get(sender), now_s, now_ms)
        for visit, count in found.visits.items():
            self._visit(visit, count, now_s, now_ms)
        for span, kind in zip(found.spans, kinds, strict=True):
            self._keep(_Held(span, now_ms, lang, tracer_version), kind, now_s)
        if self._pending.due_s < before_s or len(self._sealed) > sealed:
            self.on_stir()

    def due_in_s(self) -> float | None:
        """How long until something is to be told; None while there is nothing."""
        if self._sealed:
            return 0.0
        if self._pending.is_empty:
            return None
        return max(0.0, self._pending.due_s - self._monotonic())

    def gather(self) -> Gathered | None:
        """The next batch, whether it is due or not; it is forgotten here."""
        if self._sealed:
            pending = self._sealed.popleft()
        elif self._pending.is_empty:
            return None
        else:
            pending, self._pending = self._pending, _Pending()
        return Gathered(
            [Seen(each.span, each.seen_ms, each.lang, each.tracer_version, each.count)
             for each in pending.spans],
            [VisitCount(*visit, each.count, each.at_ms) for visit, each in pending.visits.items()],
            [Watched(*sender, *(each.engine or _NO_ENGINE), each.count, each.at_ms)
             for sender, each in pending.watched.items()],
        )  # fmt: skip

    def _keep(self, held: _Held, kind: Kind, now_s: float) -> None:
        pending = self._pending
        alike = pending.kinds.get(kind) if kind is not None else None
        if alike is not None and alike.whole >= WHOLE_OF_A_KIND:
            alike.last.count += 1
            self.sampled += 1
            return
        size = size_of(held.span)
        if pending.spans and (len(pending.spans) >= MAX_SPANS or pending.size + size > MAX_BYTES):
            if not self._seal():
                self.dropped["security_spans"] += 1
                return
            pending, alike = self._pending, None
        pending.spans.append(held)
        pending.size += size
        pending.due_s = min(pending.due_s, now_s + FLUSH_S * self.patience)
        if alike is not None:
            alike.last = held
            alike.whole += 1
        elif kind is not None:
            pending.kinds[kind] = _Kind(held)

    def _visit(self, visit: Visit, count: int, now_s: float, now_ms: int) -> None:
        counted = self._pending.visits.get(visit)
        if counted is not None:
            counted.count += count
            counted.at_ms = now_ms
            return
        if len(self._pending.visits) >= MAX_VISITS and not self._seal():
            self.dropped["security_visits"] += count
            return
        self._pending.visits[visit] = _Counted(count, now_ms)
        self._pending.due_s = min(self._pending.due_s, now_s + COUNTS_S * self.patience)

    def _watch(self, sender: Sender, count: int, engine: Engine | None, now_s: float, now_ms: int) -> None:
        counted = self._pending.watched.get(sender)
        if counted is None:
            if len(self._pending.watched) >= MAX_WATCHED and not self._seal():
                self.dropped["security_watched"] += count
                return
            counted = self._pending.watched[sender] = _Counted(0, now_ms)
        counted.count += count
        counted.at_ms = now_ms
        counted.engine = engine or counted.engine
        service = (sender.service, sender.env)
        # Somebody may be waiting to see that an activation works.
        is_new = service not in self._known
        wait_s = FLUSH_S if is_new else COUNTS_S * self.patience
        self._pending.due_s = min(self._pending.due_s, now_s + wait_s)
        self._known[service] = None
        if is_new and len(self._known) > MAX_SERVICES:
            self._known.popitem(last=False)

    def _seal(self) -> bool:
        """Begin another batch, if there may be one more."""
        if len(self._sealed) >= MAX_SEALED:
            return False
        self._sealed.append(self._pending)
        self._pending = _Pending()
        return True


# What makes requests alike ----------------------------------------------------------------------------------

# What detection rules ask for. Not the whole URL, the fingerprints and what is new each time.
_TAGS: Final = (
    "actor.ip", "http.client_ip", "network.client.ip", "http.status_code", "http.method", "http.route",
    "http.useragent", "usr.id", "usr.session_id", "_dd.appsec.usr.id", "_dd.appsec.usr.login",
    "appsec.blocked",
)  # fmt: skip
_EVENTS: Final = "appsec.events."
_OF_EVENTS: Final = (".track", ".usr.id", ".usr.login")


class _Rule(msgspec.Struct, gc=False):
    id: str = ""


class _Trigger(msgspec.Struct, gc=False):
    rule: _Rule


class _Triggers(msgspec.Struct, gc=False):
    triggers: list[_Trigger] = []


_packed = msgspec.msgpack.Decoder(_Triggers).decode
_plain = msgspec.json.Decoder(_Triggers).decode


Kind = tuple[str, ...] | None


def kinds_of(found: Selection) -> list[Kind]:
    """What each span has in common with those it is like; None where that cannot be told."""
    return [_kind_of(span) for span in found.spans]


def _kind_of(span: SecuritySpan) -> Kind:
    tags = texts_of(span.tags)
    found: list[_Trigger] = []
    try:
        if span.triggers:
            found = _packed(span.triggers).triggers
        text = tags.get("_dd.appsec.json")
        if text:
            found = found + _plain(text).triggers
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError):
        return None
    events = sorted(
        f"{name}={text[:200]}"
        for name, text in tags.items()
        if name.startswith(_EVENTS) and name.endswith(_OF_EVENTS)
    )
    if not found and not events and "appsec.blocked" not in tags:
        return None
    return (
        span.service, span.env, span.version, span.resource, *span.touches, "",
        *(tags.get(name, "") for name in _TAGS),
        *sorted({trigger.rule.id for trigger in found}), "",
        *events,
    )  # fmt: skip
