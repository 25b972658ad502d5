"""The spans that probes made or put tags on, of one organisation.

Hides that only some of them arrive: an agent passes on a few a second and counts the others. What a
decoration put on are values of the program: who shows a span asks ``discretion`` first, and all but where and
when it was is sealed at rest.

Invariants: what is of no probe that is known is counted and no more; of a probe at most ``NEWEST_OF_EACH``
are kept, of an organisation ``NEWEST``, for a day.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from sealwire.server.debugger.snapshots.vault import Vault
from sealwire.server.security.rows import plain
from sealwire.server.store import debugger_series as store
from sealwire.server.store.debugger_series import SpanCountRow, SpanRow
from sealwire.wire import probe_batch
from sealwire.wire.probe_batch import MAX_NAME_CHARS, MAX_TAG_CHARS, MAX_TEXT_CHARS, SpanKind, SpansSeen
from sealwire.wire.probe_traces import VALUE_TAGS

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sealwire.server.store.database import Database

RETAIN_MS: Final = 86_400_000
NEWEST: Final = 100_000
NEWEST_OF_EACH: Final = 5_000
MAX_LISTED: Final = 200
MAX_ASKED: Final = 50  # tags of a batch whose probe is looked for
RATE_OVER_S: Final = 10
CHARS_OF_SPAN: Final = 2_000  # of its tags, as much as one usually has
MAX_DURATION_US: Final = 2**53 - 1
_HOUR_MS: Final = 3_600_000
_PART: Final = "span"


class ProbeSpan(NamedTuple):
    """A span that was kept.

    Attributes:
        at_ms: When it began.
        tags: Of a decoration: what was put on, values of the program. Of a span: where its code is.
        errors: By the tag that could not be made, why; may hold values of the program too.
    """

    row_id: int
    probe_id: str
    kind: SpanKind
    at_ms: int
    service: str
    env: str
    version: str
    host: str
    runtime_id: str
    language: str
    trace_id: str
    span_id: int
    name: str
    resource: str
    duration_us: int
    is_error: bool
    tags: Mapping[str, str]
    errors: Mapping[str, str]

    def without_values(self) -> ProbeSpan:
        """As somebody sees it who may not see values: names of tags stay."""
        if self.kind == "span":
            tags = {tag: "" if tag in VALUE_TAGS else text for tag, text in self.tags.items()}
            return self._replace(tags=tags)
        return self._replace(tags=dict.fromkeys(self.tags, ""), errors=dict.fromkeys(self.errors, ""))


class SpanCounts(NamedTuple):
    """Of one probe, over the last day.

    Attributes:
        seen: By agents.
        kept: Of these, here.
        per_s: Seen a second, over the last ten.
        last_ms: When the newest arrived; 0 for none.
    """

    seen: int = 0
    kept: int = 0
    per_s: float = 0.0
    last_ms: int = 0


class Work(NamedTuple):
    """What is to be added to the database."""

    spans: list[ProbeSpan]
    counts: dict[tuple[str, int], SpanCountRow]


class _Document(msgspec.Struct, array_like=True):
    """What is sealed of a span."""

    kind: SpanKind
    version: str
    host: str
    runtime_id: str
    language: str
    span_id: int
    name: str
    resource: str
    duration_us: int
    is_error: bool
    tags: dict[str, str]
    errors: dict[str, str]


@dataclass(slots=True)
class _Held:
    """A probe, in memory; ``hours`` are the day's."""

    generation: int = 0
    hours: dict[int, SpanCountRow] = field(default_factory=dict)
    seconds: deque[tuple[int, int]] = field(default_factory=deque)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Document).decode


class ProbeSpans:
    """What traces said of probes.

    Args:
        database: Where it is kept.
        org_id: Whose.
        vault: Seals.
        known: What is known of a probe; None for one that is not.
        decorating: The probe that puts a tag on spans of a service in an env; empty for none or several.
        now_ms: Unix milliseconds.

    Attributes:
        dropped: What was not kept, by reason.
    """

    def __init__(
        self,
        database: Database,
        org_id: int,
        *,
        vault: Vault,
        known: Callable[[str], object | None],
        decorating: Callable[[str, str, str], str],
        now_ms: Callable[[], int],
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._database = database
        self._org_id = org_id
        self._vault = vault
        self._known = known
        self._decorating = decorating
        self._now_ms = now_ms
        self._pending = Work([], {})
        self._weight = 0
        self._probes: dict[str, _Held] = {}
        with database.read() as c:
            for row in store.span_counts(c, org_id, since_ms=now_ms() - RETAIN_MS):
                self._probes.setdefault(row.probe_id, _Held()).hours[row.hour_ms] = row

    # What arrives -------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many spans wait to be written; one with long texts counts as several."""
        return self._weight

    def add(
        self,
        spans: Iterable[probe_batch.ProbeSpan],
        seen: Iterable[SpansSeen],
        *,
        host: str,
        ahead_ms: int = 0,
    ) -> None:
        """Take what an agent saw.

        Args:
            spans: Those it passed on.
            seen: How many there were, of each probe.
            ahead_ms: How far its clock is ahead of ours.
        """
        now_ms = self._now_ms()
        asked: dict[tuple[str, str, str], str] = {}
        for span in spans:
            for probe_id in self._probes_of(span, asked):
                kept = _kept(span, probe_id, host, ahead_ms, now_ms)
                self._pending.spans.append(kept)
                texts = (*kept.tags.values(), *kept.errors.values())
                self._weight += 1 + sum(map(len, texts)) // CHARS_OF_SPAN
                self._count(probe_id, now_ms, kept=1)
        for each in seen:
            # Those that failed say no probe id; they are seen as far as they are kept.
            if each.probe_id and self._known(each.probe_id) is not None:
                self._count(each.probe_id, now_ms, seen=each.count)
            elif each.probe_id:
                self.dropped["unknown"] += each.count

    def _probes_of(
        self, span: probe_batch.ProbeSpan, asked: dict[tuple[str, str, str], str]
    ) -> Iterable[str]:
        """Whose a span is, as far as they are known; ``asked`` is what was looked for already."""
        if span.probe_id:
            return (span.probe_id,) if self._known(span.probe_id) is not None else ()
        found: set[str] = set()
        for tag in span.errors:
            key = (span.service, span.env, tag)
            if key not in asked and len(asked) < MAX_ASKED:
                asked[key] = self._decorating(*key)
            if probe_id := asked.get(key):
                found.add(probe_id)
        for probe_id in found:
            self._count(probe_id, self._now_ms(), seen=1)
        if not found:
            self.dropped["unknown"] += 1
        return found

    def _count(self, probe_id: str, now_ms: int, *, seen: int = 0, kept: int = 0) -> None:
        hour_ms = now_ms // _HOUR_MS * _HOUR_MS
        more = SpanCountRow(probe_id, hour_ms, seen, kept, now_ms)
        before = self._pending.counts.get((probe_id, hour_ms))
        self._pending.counts[probe_id, hour_ms] = more if before is None else _sum(before, more)

    def take_work(self) -> Work:
        """What is to be written; it is forgotten here."""
        work, self._pending = self._pending, Work([], {})
        self._weight = 0
        return work

    def write(self, c: sa.Connection, work: Work) -> None:
        """Add to the database, in a thread."""
        store.put_spans(c, self._org_id, [self._sealed(span) for span in work.spans])
        store.add_span_counts(c, self._org_id, list(work.counts.values()))

    def written(self, work: Work) -> None:
        """Note what is in the database now."""
        now_s = self._now_ms() // 1000
        for (probe_id, hour_ms), more in work.counts.items():
            held = self._probes.setdefault(probe_id, _Held())
            held.generation += 1
            before = held.hours.get(hour_ms)
            held.hours[hour_ms] = more if before is None else _sum(before, more)
            held.seconds.append((now_s, more.seen))
            while held.seconds and held.seconds[0][0] <= now_s - RATE_OVER_S:
                held.seconds.popleft()

    def _sealed(self, span: ProbeSpan) -> SpanRow:
        document = _Document(
            span.kind, span.version, span.host, span.runtime_id, span.language, span.span_id, span.name,
            span.resource, span.duration_us, span.is_error, dict(span.tags), dict(span.errors),
        )  # fmt: skip
        sealed = self._vault.seal(
            _encode(document), snapshot_id=_place(span.probe_id, span.trace_id), part=_PART, at_ms=span.at_ms
        )
        return SpanRow(0, span.probe_id, span.at_ms, span.service, span.env, span.trace_id, sealed)

    # What is asked ------------------------------------------------------------------------------------------

    async def list(
        self,
        probe_id: str,
        *,
        service: str = "",
        env: str = "",
        trace_id: str = "",
        since_ms: int = 0,
        before: int | None = None,
        limit: int = 50,
    ) -> list[ProbeSpan]:
        """Spans of a probe, those that came last first.

        Args:
            before: The row id of the last one on the page before.
        """

        def ask() -> list[ProbeSpan]:
            with self._database.read() as c:
                rows = store.spans(
                    c, self._org_id, probe_id, service=service, env=env, trace_id=trace_id,
                    since_ms=max(since_ms, self._now_ms() - RETAIN_MS), before=before,
                    limit=max(1, min(limit, MAX_LISTED)),
                )  # fmt: skip
            return [self._opened(row) for row in rows]

        return await asyncio.to_thread(ask)

    def _opened(self, row: SpanRow) -> ProbeSpan:
        document = _decode(
            self._vault.open(row.document, snapshot_id=_place(row.probe_id, row.trace_id), part=_PART)
        )
        return ProbeSpan(
            row.row_id, row.probe_id, document.kind, row.at_ms, row.service, row.env, document.version,
            document.host, document.runtime_id, document.language, row.trace_id, document.span_id,
            document.name, document.resource, document.duration_us, document.is_error, document.tags,
            document.errors,
        )  # fmt: skip

    def counts(self, probe_id: str) -> SpanCounts:
        """How many there were, from memory."""
        held = self._probes.get(probe_id)
        if held is None:
            return SpanCounts()
        now_ms = self._now_ms()
        hours = [row for hour_ms, row in held.hours.items() if hour_ms > now_ms - RETAIN_MS]
        lately = sum(seen for at_s, seen in held.seconds if at_s > now_ms // 1000 - RATE_OVER_S)
        return SpanCounts(
            sum(row.seen for row in hours),
            sum(row.kept for row in hours),
            lately / RATE_OVER_S,
            max((row.last_ms for row in hours), default=0),
        )

    def generation(self, probe_id: str) -> int:
        """Grows whenever one arrives."""
        held = self._probes.get(probe_id)
        return 0 if held is None else held.generation

    # What goes ----------------------------------------------------------------------------------------------

    def forget_old(self, c: sa.Connection) -> None:
        """Drop what is older than a day or beyond what is kept, in a thread."""
        before_ms = self._now_ms() - RETAIN_MS
        store.forget_spans(c, self._org_id, before_ms=before_ms, newest=NEWEST, newest_of_each=NEWEST_OF_EACH)
        store.forget_span_counts(c, self._org_id, before_ms=before_ms - _HOUR_MS)

    def forgotten(self) -> None:
        """Forget counts that are older than a day."""
        before_ms = self._now_ms() - RETAIN_MS
        for probe_id, held in list(self._probes.items()):
            held.hours = {hour_ms: row for hour_ms, row in held.hours.items() if hour_ms > before_ms}
            if not held.hours:
                del self._probes[probe_id]


def _kept(span: probe_batch.ProbeSpan, probe_id: str, host: str, ahead_ms: int, now_ms: int) -> ProbeSpan:
    def name(text: str) -> str:
        return plain(text, MAX_NAME_CHARS)

    def texts(found: Mapping[str, str]) -> dict[str, str]:
        return {plain(tag, MAX_TAG_CHARS): _printable(text) for tag, text in found.items()}

    at_ms = span.start_ns // 1_000_000 - ahead_ms
    if not now_ms - RETAIN_MS < at_ms <= now_ms:
        at_ms = now_ms
    return ProbeSpan(
        0, probe_id, span.kind, at_ms, name(span.service), name(span.env), name(span.version), host,
        name(span.runtime_id), name(span.lang), span.trace_id, span.span_id, name(span.name),
        name(span.resource), max(0, min(MAX_DURATION_US, span.duration_ns // 1000)), span.error,
        texts(span.tags), texts(span.errors),
    )  # fmt: skip


def _printable(text: str) -> str:
    """A value of a program as it is, without what no database takes."""
    return text[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode()


def _place(probe_id: str, trace_id: str) -> str:
    return f"{probe_id}/{trace_id}"


def _sum(one: SpanCountRow, more: SpanCountRow) -> SpanCountRow:
    return SpanCountRow(
        one.probe_id,
        one.hour_ms,
        one.seen + more.seen,
        one.kept + more.kept,
        max(one.last_ms, more.last_ms),
    )
