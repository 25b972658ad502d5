"""What probes gave on this host in numbers and in traces, gathered and delivered.

Hides sampling: of a probe's spans ``SPANS_PER_S`` a second are passed on, and all are counted. What cannot be
delivered waits in memory: these are numbers of the last minutes, which nobody looks for later.

Invariants: what is held is bounded in number and in bytes; what finds no room is counted in ``dropped``; a
number is delivered once, as its batch has a number of its own. Time is handed in.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sealwire.agent.metrics import Metrics
from sealwire.agent.reporter import PACK_IN_THREAD, Deliverer, Packed
from sealwire.agent.spool import Entry
from sealwire.wire import probe_batch
from sealwire.wire.probe_batch import MAX_DROPPED, MAX_NAME_CHARS, Batch, ProbeSpan, SpanKind, SpansSeen

FLUSH_S: Final = 1.5  # a value is to be seen within five seconds, of which tracers wait one or two
SPANS_PER_S: Final = 50  # of one probe
MAX_SPANS: Final = 1_000  # of one batch
MAX_SPAN_BYTES: Final = 2 * 1024 * 1024  # of one batch, before it is packed
MAX_SEEN: Final = probe_batch.MAX_SEEN
COUNTED: Final = ("dogstatsd_", "metrics_", "probe_", "traces_")

_SeenKey = tuple[str, SpanKind, str, str]


class Gatherer:
    """Gathers.

    Args:
        on_stir: Called when something is due earlier than before.
        monotonic: A clock that only counts up.
        wall_ms: Unix milliseconds.
        dropped: Shared with others who count there; a new one where None.

    Attributes:
        is_wanted: Whether anybody takes it; while not, it is only counted.
        patience: How much longer than usual things may wait.
        metrics: What metric probes measured.
        seen: Spans that came so far.
        sampled: Of these, those that were only counted.
        dropped: What found no room, by kind; others add to it.
    """

    def __init__(
        self,
        *,
        on_stir: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        dropped: Counter[str] | None = None,
    ) -> None:
        self.is_wanted = True
        self.patience = 1.0
        self.seen = self.sampled = 0
        self.on_stir = on_stir
        self.dropped: Counter[str] = Counter() if dropped is None else dropped
        self.metrics = Metrics(self.dropped, wall_ms=wall_ms)
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._spans: list[ProbeSpan] = []
        self._size = 0
        self._counts: dict[_SeenKey, int] = {}
        self._second = 0
        self._in_second: Counter[str] = Counter()
        self._due_s: float | None = None

    def take_line(self, line: bytes) -> bool:
        """One line of DogStatsD; false where it is of no probe."""
        if not self.is_wanted:
            self.dropped["metrics_not_wanted"] += 1
            return True
        is_ours = self.metrics.take(line)
        if self._due_s is None and not self.metrics.is_empty:
            self._stir()
        return is_ours

    def take_spans(self, spans: Sequence[ProbeSpan], *, crowded: int, lang: str) -> None:
        """What a body of traces said of probes.

        Args:
            crowded: How many spans more there were.
            lang: As the headers of the upload said.
        """
        if crowded:
            self.dropped["probe_spans_crowded"] += crowded
        if not spans:
            return
        self.seen += len(spans)
        if not self.is_wanted:
            self.dropped["probe_spans_not_wanted"] += len(spans)
            return
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._in_second = second, Counter()
        for span in spans:
            self._take(span, lang)
        if self._due_s is None:
            self._stir()

    def due_in_s(self) -> float | None:
        """How long until something is to be told; None while there is nothing."""
        return None if self._due_s is None else max(0.0, self._due_s - self._monotonic())

    def gather(self, number: int, *, hostname: str, agent_uuid: str, started_ms: int) -> Batch | None:
        """The next batch, whether it is due or not; it is forgotten here."""
        now_ms = self._wall_ms()
        measured = self.metrics.gather()
        spans, self._spans, self._size = self._spans, [], 0
        counts, self._counts = self._counts, {}
        self._due_s = None if self.metrics.is_empty else self._monotonic()
        if not measured and not spans and not counts:
            return None
        dropped = [(name, count) for name, count in sorted(self.dropped.items()) if name.startswith(COUNTED)]
        return Batch(
            hostname=hostname,
            agent_uuid=agent_uuid,
            number=number,
            started_ms=started_ms,
            sent_ms=now_ms,
            metrics=measured,
            spans=spans,
            seen=[SpansSeen(*key, count, now_ms) for key, count in counts.items()],
            dropped=dict(dropped[:MAX_DROPPED]),
        )

    def _stir(self) -> None:
        self._due_s = self._monotonic() + FLUSH_S * self.patience
        self.on_stir()

    def _take(self, span: ProbeSpan, lang: str) -> None:
        key = (span.probe_id, span.kind, span.service, span.env)
        if key in self._counts:
            self._counts[key] += 1
        elif len(self._counts) < MAX_SEEN:
            self._counts[key] = 1
        else:
            self.dropped["probe_spans"] += 1
            return
        self._in_second[span.probe_id] += 1
        if self._in_second[span.probe_id] > SPANS_PER_S:
            self.sampled += 1
            return
        size = 500 + sum(len(text) for texts in (span.tags, span.errors) for text in texts.values())
        if len(self._spans) >= MAX_SPANS or self._size + size > MAX_SPAN_BYTES:
            self.sampled += 1
            return
        span.lang = lang[:MAX_NAME_CHARS]
        self._spans.append(span)
        self._size += size


class ProbeReporter(Deliverer):
    """Delivers what probes gave until cancelled.

    Args:
        gatherer: What is told.
        post: Delivers one batch, packed.
        hostname: Where this agent is.
        agent_uuid: Who it is.
        started_ms: When this run began.

    Attributes:
        gatherer: What is told.
    """

    what = "probe"

    def __init__(
        self,
        gatherer: Gatherer,
        *,
        post: Callable[[bytes], Awaitable[None]],
        hostname: str,
        agent_uuid: str,
        started_ms: int,
    ) -> None:
        super().__init__(gatherer, post=post)
        self.gatherer = gatherer
        self._hostname = hostname[:MAX_NAME_CHARS]
        self._agent_uuid = agent_uuid
        self._started_ms = started_ms

    async def _pack(self) -> Packed | None:
        batch = self.gatherer.gather(
            self._number + 1,
            hostname=self._hostname,
            agent_uuid=self._agent_uuid,
            started_ms=self._started_ms,
        )
        if batch is None:
            return None
        self._number += 1
        count = len(batch.metrics) + len(batch.spans)
        if count > PACK_IN_THREAD:
            packed = await asyncio.to_thread(probe_batch.encode, batch)
        else:
            packed = probe_batch.encode(batch)
        return Packed(Entry(self._started_ms, batch.number, count), packed)
