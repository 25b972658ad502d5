"""What agents tell of probes in numbers and in traces: batches in, each counted once.

Hides writing behind: what several batches brought is written in one transaction, together with the numbers
of these batches, so that after a crash a batch was either counted or comes again. Whoever waits for a batch
to be taken waits for that transaction.

Invariants: what waits is bounded, and full means no, not slow; a batch that comes again is not counted again.
All of this lives on the event loop, only databases are asked in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from sealwire.errors import SealwireError, TooOftenError, UnavailableError
from sealwire.server.debugger.reports import metrics, spans
from sealwire.server.debugger.reports.cells import Block
from sealwire.server.debugger.reports.metrics import ProbeMetrics
from sealwire.server.debugger.reports.spans import ProbeSpans
from sealwire.server.debugger.snapshots.vault import Vault
from sealwire.server.deliveries import MAX_RUNS, Deliveries, Receipt, promise, run_key
from sealwire.server.security.rows import plain
from sealwire.server.store import debugger_series as store
from sealwire.server.store import security as memory_store
from sealwire.server.write_behind import whole
from sealwire.wire.probe_batch import MAX_NAME_CHARS, Batch, ProbeSpan, SpansSeen

if TYPE_CHECKING:
    from sealwire.server.store.database import Database

log = structlog.get_logger()

WRITE_EVERY_S: Final = 0.5
FORGET_EVERY_S: Final = 60.0
MAX_CELLS: Final = 50_000
MAX_SPANS: Final = 20_000
MAX_REASONS: Final = 50
MEMORY: Final = "probe_batch"


class _Work(NamedTuple):
    """What one transaction writes."""

    metrics: metrics.Work
    spans: spans.Work
    receipts: list[Receipt]
    runs: dict[str, bytes]


class ProbeData:
    """Metrics and spans of one organisation's probes.

    Args:
        database: Where they are kept.
        org_id: Whose.
        vault: Seals values of programs.
        known: What is known of a probe; None for one that is not.
        decorating: The probe that puts a tag on spans of a service in an env; empty for none or several.
        clock: Seconds since 1970.

    Attributes:
        metrics: What metric probes measured.
        spans: What traces said.
        agents_dropped: What agents could not pass on, by run and reason.
    """

    def __init__(
        self,
        database: Database,
        org_id: int,
        *,
        vault: Vault,
        known: Callable[[str], object | None],
        decorating: Callable[[str, str, str], str],
        clock: Callable[[], float],
    ) -> None:
        def now_ms() -> int:
            return int(clock() * 1000)

        self.metrics = ProbeMetrics(database, org_id, known=known, now_ms=now_ms)
        self.spans = ProbeSpans(
            database, org_id, vault=vault, known=known, decorating=decorating, now_ms=now_ms
        )
        self.agents_dropped: dict[str, dict[str, int]] = {}
        self._database = database
        self._org_id = org_id
        self._clock = clock
        self._receipts: list[Receipt] = []
        self._unwritten: _Work | None = None
        self._deliveries = Deliveries()
        self._work = asyncio.Event()
        self._forgot_s = 0.0
        with database.read() as c:
            self._deliveries.restore(memory_store.memories(c, org_id, MEMORY, newest=MAX_RUNS))

    def take(self, batch: Batch, *, key_id: str, ahead_ms: int = 0) -> asyncio.Future[None]:
        """Queue a batch.

        Args:
            key_id: Of the API key it came with.
            ahead_ms: How far the clock of the agent's host is ahead of ours.

        Returns:
            Done when it is written; to wait for it is not needed for it to be.

        Raises:
            UnavailableError: Too much is queued.
            TooOftenError: This agent sends too often, or too many agents are new.
        """
        key = run_key(batch.hostname, batch.agent_uuid, batch.started_ms)
        now = self._clock()
        held = self._deliveries.heard(key, key_id=key_id, now_s=now)
        if batch.number in held.waiting:
            return held.waiting[batch.number]
        done = promise()
        if batch.number in held.run:
            done.set_result(None)
            return done
        if not held.batches.take(now):
            raise TooOftenError("This agent sends too often.", retry_after_s=5)
        self._make_room()
        self.metrics.add(batch.metrics, ahead_ms=ahead_ms)
        self.spans.add(batch.spans, batch.seen, host=plain(batch.hostname, MAX_NAME_CHARS), ahead_ms=ahead_ms)
        self._receipts.append(Receipt(key, batch.number, done))
        held.waiting[batch.number] = done
        self.agents_dropped.pop(key, None)
        if batch.dropped:
            self.agents_dropped[key] = batch.dropped
            if len(self.agents_dropped) > MAX_RUNS:
                del self.agents_dropped[next(iter(self.agents_dropped))]
        self._work.set()
        return done

    def take_spans(self, found: list[ProbeSpan], *, host: str) -> None:
        """Queue what another kind of agent sent, which numbers nothing.

        Raises:
            UnavailableError: Too much is queued.
        """
        self._make_room()
        now_ms = int(self._clock() * 1000)
        counts = Counter((span.probe_id, span.kind) for span in found)
        seen = [SpansSeen(*each, "", "", count, now_ms) for each, count in counts.items()]
        self.spans.add(found, seen, host=plain(host, MAX_NAME_CHARS))
        self._work.set()

    def counters(self) -> dict[str, int]:
        """What was not kept, and what agents could not pass on, by reason."""
        by_agents: Counter[str] = Counter()
        for dropped in self.agents_dropped.values():
            by_agents.update({_label(reason): count for reason, count in dropped.items()})
        return {
            **{f"metrics_{reason}": count for reason, count in sorted(self.metrics.counts.items())},
            **{f"spans_{reason}": count for reason, count in sorted(self.spans.dropped.items())},
            **{f"agents_{reason}": count for reason, count in sorted(by_agents.items())[:MAX_REASONS]},
        }

    def _make_room(self) -> None:
        if self.metrics.pending > MAX_CELLS or self.spans.pending > MAX_SPANS:
            raise UnavailableError("More comes than can be written just now.", retry_after_s=5)

    # The loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write behind until cancelled; the rest is written on the way out."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._work.wait(), FORGET_EVERY_S)
                self._work.clear()
                await whole(self._round())
                await asyncio.sleep(WRITE_EVERY_S)
        finally:
            await self._write()

    async def _round(self) -> None:
        try:
            await self._write()
            if self._clock() - self._forgot_s >= FORGET_EVERY_S:
                self._forgot_s = self._clock()
                await self._forget_old()
        except SealwireError as error:
            self._work.set()
            log.warning("data of probes not written yet", code=error.code, detail=error.detail)
        except Exception:
            log.exception("data of probes dropped")

    async def _write(self) -> None:
        work, self._unwritten = self._unwritten, None
        if work is None:
            work = self._gathered()
        if work is None:
            return
        try:
            after = await asyncio.to_thread(self._put, work)
        except UnavailableError:
            self._unwritten = work
            raise
        except Exception:
            for receipt in work.receipts:
                self._deliveries.settle(receipt, SealwireError("This could not be written."))
            raise
        self.metrics.written(after)
        self.spans.written(work.spans)
        for receipt in work.receipts:
            self._deliveries.settle(receipt, None)

    def _gathered(self) -> _Work | None:
        receipts, self._receipts = self._receipts, []
        runs = self._deliveries.taken(receipts)
        work = _Work(self.metrics.take_work(), self.spans.take_work(), receipts, runs)
        return work if work.metrics.blocks or work.spans.spans or work.spans.counts or runs else None

    def _put(self, work: _Work) -> dict[store.BlockKey, tuple[Block, int]]:
        with self._database.write() as c:
            store.lock_series(c, self._org_id)
            after = self.metrics.write(c, work.metrics)
            self.spans.write(c, work.spans)
            memory_store.put_memories(c, self._org_id, MEMORY, work.runs, now_ms=int(self._clock() * 1000))
        return after

    async def _forget_old(self) -> None:
        def forget() -> list[store.ProbeStored]:
            with self._database.write() as c:
                self.spans.forget_old(c)
                return self.metrics.forget_old(c)

        self.metrics.forgotten(await asyncio.to_thread(forget))
        self.spans.forgotten()


def _label(reason: str) -> str:
    return "".join(each for each in reason if each.isascii() and (each.isalnum() or each == "_"))
