"""The detection loop of one organisation: what agents saw goes in, rows and signals come out.

A batch is queued, read into rows, put through sampling and the detection rules, and written behind: rows,
signals and what detection remembers in one transaction, so a crash leaves all of them as of one moment.
Whoever waits for a batch to be taken waits for that transaction. After a restart the signals that were open
are restored and the rows of the last window counted again, before anything new is taken: nothing opens twice
and nobody is told twice.

Invariants: the queue is bounded in spans and in bytes, and full means no, not slow; a trace that comes again
is not counted again, nor is a batch; the event loop is never held for longer than a few milliseconds. All of
this lives on the event loop, only databases are asked in threads.

Two control planes on one database each have rules run over what was sent to them: a trace is there once, by
its id, whoever took it, but the signals are those of one process: a group whose requests come in over both
may have a signal of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog

from sealwire.errors import TooOftenError, UnavailableError
from sealwire.server import deliveries
from sealwire.server.deliveries import Deliveries, Receipt, promise, run_key
from sealwire.server.security import rule_book
from sealwire.server.security.engine import MAX_PASTS, Counters, Engine, Past
from sealwire.server.security.observed import Observed, Sightings
from sealwire.server.security.rows import MAX_AHEAD_S, SecurityTrace, plain, security_trace, visit_row
from sealwire.server.security.rules import Rule
from sealwire.server.security.sampling import Sampler
from sealwire.server.security.signals import Change, Happening, Signal
from sealwire.server.security.traffic import Traffic
from sealwire.server.store import security as store
from sealwire.server.write_behind import whole
from sealwire.wire.security_batch import Batch, Seen, VisitCount, Watched, size_of
from sealwire.wire.traces import Visit

if TYPE_CHECKING:
    from sealwire.server.store.database import Database

log = structlog.get_logger()

MAX_QUEUED_SPANS: Final = 20_000
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024
MAX_UNWRITTEN: Final = 20_000  # rows, while the database is away
MAX_WAITING: Final = 2_000  # batches
WRITE_EVERY_S: Final = 0.3
TICK_EVERY_S: Final = 10.0
AT_ONCE_S: Final = 0.004  # longest that the event loop is held
RETRY_S: Final = 1.0
# What one span, visit or sighting may stand for. Attack: counts whose sums nothing can write down.
MAX_COUNT: Final = 1_000_000
MAX_REPLAYED: Final = 50_000
MAX_TRIED: Final = 200_000
MAX_TRYING: Final = 4  # rules at once, one at work and the others in line
MAX_SIGNALS: Final = 100_000
SIGNALS_RETAIN_S: Final = 450 * 86_400
DROP_AT_ONCE: Final = 5_000
RECOUNT_EVERY_S: Final = 600.0

_Key = tuple[str, tuple[str, ...]]


class _Item(NamedTuple):
    """What came in at once."""

    host: str
    spans: Sequence[Seen]
    visits: Sequence[VisitCount]
    watched: Sequence[Watched]
    size: int
    receipt: Receipt
    ahead_s: float = 0.0  # of our clock


@dataclass(slots=True)
class _Unwritten:
    """What the next transaction writes."""

    rows: list[store.Stored] = field(default_factory=list)
    counted: dict[str, store.Stored] = field(default_factory=dict)
    signals: dict[str, Signal] = field(default_factory=dict)
    memories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    done: list[Receipt] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.rows or self.counted or self.signals or self.memories or self.done)


class Detection:
    """What one organisation's agents saw of attacks.

    Args:
        database: Where it is kept.
        org_id: Whose.
        retain_s: How long rows are kept.
        max_rows: How many are kept at most; the oldest go first.
        clock: Seconds since 1970.

    Attributes:
        traffic: Healthy requests of the last hour, by address.
        generation: Grows with every change of traces or signals.
        listeners: Called with every row that is taken, and how many requests it stands for.
        on_change: Called when a signal opened, rose or closed, once that is written.
        is_listed: Whether an address stands on a list of bad ones.
    """

    def __init__(
        self,
        database: Database,
        org_id: int,
        *,
        retain_s: float = 15 * 86_400.0,
        max_rows: int = 500_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.traffic = Traffic()
        self.generation = 0
        self.listeners: list[Callable[[SecurityTrace, int], None]] = []
        self.on_change: list[Callable[[Change], None]] = []
        self.is_listed: Callable[[str], bool] = lambda ip: False
        self._database = database
        self._org_id = org_id
        self._retain_s = retain_s
        self._max_rows = max_rows
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._agents_dropped: dict[str, dict[str, int]] = {}
        self._queue: deque[_Item] = deque()
        self._queued_spans = self._queued_bytes = 0
        self._work = asyncio.Event()
        self._lock = asyncio.Lock()
        self._trying = asyncio.Lock()
        self._tried = 0
        self._sampler = Sampler()
        self._unwritten = _Unwritten()
        self._deliveries = Deliveries()
        self._ticked_at = time.monotonic()
        self._rows_held: int | None = None
        self._recounted_at = 0.0
        self._pasts_written: dict[str, int] = {}
        self._engine = self._restored()

    # After a restart ----------------------------------------------------------------------------------------

    def _restored(self) -> Engine:
        """The engine as it was, as far as it was written down."""
        now = self._clock()
        with self._database.read() as c:
            rules = rule_book.load(c, self._org_id)
            signals = store.open_signals(c, self._org_id)
            pasts = store.memories(c, self._org_id, "past", newest=MAX_PASTS)
            self._sightings = Sightings(list(store.memories(c, self._org_id, "observed").values()))
            self._deliveries.restore(store.memories(c, self._org_id, "batch", newest=deliveries.MAX_RUNS))
            window = max((rule.window_s for rule in rules if rule.enabled), default=0)
            self._rules = _versions(rules)
            engine = Engine(rules)
            engine.restore(signals, dict(each for packed in pasts.values() for each in _past(packed)))
            known = {signal.id for signal in engine.open_signals()}
            opened: list[Signal] = []
            since_ms = int((now - window) * 1000)
            for found in store.recent(c, self._org_id, since_ms=since_ms, limit=MAX_REPLAYED):
                changes = engine.insert(found.row, now=max(now, found.row.ts), count=found.count)
                opened += [change.signal for change in changes if change.what is Happening.OPENED]
        # Rows were written with the signals they made. What opens here only opens as its last row comes live.
        for signal in opened:
            engine.withdraw(signal)
        for signal in engine.open_signals():
            signal.restored_to = 0.0  # what comes from now on is in none, however old it is
        for signal in signals:
            if signal.id not in known:
                signal.closed_at, signal.closed_because = signal.last_seen, "its rule is switched off"
                self._unwritten.signals[signal.id] = signal
        engine.take_changed()
        engine.counters = Counters()
        return engine

    # What arrives -------------------------------------------------------------------------------------------

    def take(self, batch: Batch, *, key_id: str, ahead_s: float = 0.0) -> asyncio.Future[None]:
        """Queue a batch.

        Args:
            key_id: Of the API key it came with.
            ahead_s: How far the clock of the agent's host is ahead of ours.

        Returns:
            Done when it is written; to wait for it is not needed for it to be.

        Raises:
            UnavailableError: Too much is queued.
            TooOftenError: This agent sends too often, or too many agents are new.
        """
        key = run_key(batch.hostname, batch.agent_uuid, batch.started_ms)
        now = self._clock()
        try:
            held = self._deliveries.heard(key, key_id=key_id, now_s=now)
        except TooOftenError:
            self._counts["refused"] += 1
            raise
        if batch.number in held.waiting:
            return held.waiting[batch.number]
        done = promise()
        if batch.number in held.run:
            self._counts["batches_again"] += 1
            done.set_result(None)
            return done
        if not held.batches.take(now) or not held.things.take(now, len(batch.spans)):
            self._counts["refused"] += len(batch.spans)
            raise TooOftenError("This agent sends too much.", retry_after_s=5)
        host = plain(batch.hostname)
        self._enqueue(
            _Item(
                host, batch.spans, batch.visits, batch.watched,
                sum(size_of(seen.span) for seen in batch.spans), Receipt(key, batch.number, done), ahead_s,
            )
        )  # fmt: skip
        held.waiting[batch.number] = done
        self._agents_dropped.pop(key, None)
        if batch.dropped:
            self._agents_dropped[key] = batch.dropped
            if len(self._agents_dropped) > deliveries.MAX_RUNS:
                del self._agents_dropped[next(iter(self._agents_dropped))]
        return done

    def take_spans(
        self,
        spans: Sequence[Seen],
        *,
        host: str,
        watched: Sequence[Watched] = (),
        visits: Sequence[VisitCount] = (),
        lost: int = 0,
    ) -> asyncio.Future[None]:
        """Queue what another kind of agent sent, which numbers nothing.

        Args:
            lost: What could not be read of it.

        Raises:
            UnavailableError: Too much is queued.
        """
        done = promise()
        self._counts["unreadable"] += lost
        size = sum(size_of(seen.span) for seen in spans)
        self._enqueue(_Item(plain(host), spans, visits, watched, size, Receipt("", 0, done)))
        return done

    def _enqueue(self, item: _Item) -> None:
        if (
            self._queued_spans + len(item.spans) > MAX_QUEUED_SPANS
            or self._queued_bytes + item.size > MAX_QUEUED_BYTES
            or len(self._unwritten.rows) > MAX_UNWRITTEN
            or len(self._queue) + len(self._unwritten.done) > MAX_WAITING
        ):
            self._counts["refused"] += len(item.spans)
            raise UnavailableError("More comes than can be read just now.", retry_after_s=5)
        self._queue.append(item)
        self._queued_spans += len(item.spans)
        self._queued_bytes += item.size
        self._work.set()

    # The loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and write until cancelled; the rest is written on the way out."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._work.wait(), self._idle_s())
                await asyncio.sleep(await whole(self._round()))
        finally:
            async with self._lock:
                await self._read_queue()
                self._note_counted()
                await self._write()

    def _idle_s(self) -> float:
        if not self._unwritten.is_empty:
            return RETRY_S
        return max(0.0, self._ticked_at + TICK_EVERY_S - time.monotonic())

    async def _round(self) -> float:
        """Do what is to be done; says for how long to rest."""
        try:
            if time.monotonic() - self._ticked_at >= TICK_EVERY_S:
                await self.tick()
            else:
                await self.flush()
        except UnavailableError as error:
            log.warning("security data not written yet", code=error.code, detail=error.detail)
            return RETRY_S
        except Exception:
            log.exception("detection failed")
            return RETRY_S
        return WRITE_EVERY_S

    async def flush(self) -> None:
        """Read all that is queued, and write."""
        async with self._lock:
            await self._read_queue()
            await self._write()

    async def tick(self) -> None:
        """The same, and what the passing of time alone brings about."""
        await self._follow_rules()
        async with self._lock:
            await self._read_queue()
            self._tick()
            await self._write()

    async def _follow_rules(self) -> None:
        """Go by what another control plane on this database made of the rules."""

        def load() -> list[Rule]:
            with self._database.read() as c:
                return rule_book.load(c, self._org_id)

        before = self._rules
        found = await asyncio.to_thread(load)
        if self._rules is before and _versions(found) != before:  # nor were they changed here meanwhile
            self.set_rules(found)

    async def _read_queue(self) -> None:
        self._work.clear()
        while self._queue:
            item = self._queue.popleft()
            self._queued_spans -= len(item.spans)
            self._queued_bytes -= item.size
            try:
                await self._read(item)
            except Exception:  # of one batch: the next one is another
                log.exception("security data dropped")
                self._counts["failed"] += len(item.spans)
            self._unwritten.done.append(item.receipt)
            if len(self._unwritten.rows) > MAX_UNWRITTEN // 4:
                await self._write()

    async def _read(self, item: _Item) -> None:
        """Put what came in through everything; lets others run in between."""
        began = time.perf_counter()
        now = self._clock()
        found: Counter[Visit] = Counter()
        for seen in item.spans:
            self._take_span(seen, item, now, found)
            if time.perf_counter() - began > AT_ONCE_S:
                await asyncio.sleep(0)
                began = time.perf_counter()
        for visit in item.visits:
            self._take_visit(visit, item, now, found)
            if time.perf_counter() - began > AT_ONCE_S:
                await asyncio.sleep(0)
                began = time.perf_counter()
        for watched in item.watched:
            at_ms = max(0, watched.at_ms - int(item.ahead_s * 1000))
            watched = msgspec.structs.replace(watched, at_ms=at_ms, count=min(watched.count, MAX_COUNT))
            self._sightings.note(watched, now_ms=int(now * 1000))

    def _take_span(self, seen: Seen, item: _Item, now: float, found: Counter[Visit]) -> None:
        seen_at = seen.seen_ms / 1000
        count = min(seen.count, MAX_COUNT)
        row = security_trace(
            seen.span, seen_at=seen_at, host=item.host, lang=seen.lang, tracer_version=seen.tracer_version
        )
        if row is None:
            self._counts["without_meaning"] += 1
            return
        is_off = not now - self._retain_s / 2 < seen_at - item.ahead_s <= now + MAX_AHEAD_S
        ts = now if is_off else min(row.ts - item.ahead_s, now)
        if ts != row.ts:
            row = msgspec.structs.replace(row, ts=ts, skewed=row.skewed or is_off or item.ahead_s != 0)
        if self.is_listed(row.actor_ip):
            row = msgspec.structs.replace(row, listed=True)
        found[Visit(row.service, row.env, row.actor_ip, row.target, str(row.status))] += count
        duplicates = self._engine.counters.duplicates
        changes = self._engine.insert(row, now=now, count=count)
        if self._engine.counters.duplicates > duplicates:
            self._counts["duplicates"] += count
            return
        self._counts["taken"] += count
        self._counts["skewed"] += row.skewed
        self._unwritten.changes += changes
        if _is_healthy(row):
            self.traffic.note(row.actor_ip, row.service, at_ms=int(row.ts * 1000), count=count)
        if self._sampler.keep(row, count):
            self._unwritten.rows.append(store.Stored(row, stacks=seen.span.stacks))
        for listener in self.listeners:
            try:
                listener(row, count)
            except Exception:
                self._note_failure("listener of rows")

    def _take_visit(self, visit: VisitCount, item: _Item, now: float, found: Counter[Visit]) -> None:
        """Requests that are only counted; those that were found to be more are in there too."""
        at = min(visit.at_ms / 1000 - item.ahead_s, now)
        asked = Visit(visit.service, visit.env, visit.ip, visit.target, visit.status)
        row = visit_row(asked, ts=at, host=item.host)
        count = min(visit.count, MAX_COUNT) - found.pop(
            Visit(row.service, row.env, row.actor_ip, row.target, str(row.status)), 0
        )
        if count <= 0:
            return
        self._counts["requests"] += count
        self._unwritten.changes += self._engine.insert(row, now=now, count=count)
        self.traffic.note(row.actor_ip, row.service, at_ms=int(at * 1000), count=count)

    def _tick(self) -> None:
        now = self._clock()
        self._ticked_at = time.monotonic()
        self._unwritten.changes += self._engine.tick(now=now)
        self._note_counted()
        self._sampler.take(now=now)
        self.traffic.tick(now_ms=int(now * 1000))
        memories = self._unwritten.memories
        memories.setdefault("observed", {}).update(self._sightings.take_changed())
        written, self._pasts_written = self._pasts_written, {}
        for (rule_id, key), past in self._engine.pasts().items():
            packed = msgspec.msgpack.encode((rule_id, key, past))
            name = hashlib.sha256("\0".join((rule_id, *key)).encode(errors="replace")).hexdigest()[:32]
            self._pasts_written[name] = hash(packed)  # of those that are held, and no others
            if written.get(name) != hash(packed):
                memories.setdefault("past", {})[name] = packed
        for kind in [kind for kind, documents in memories.items() if not documents]:
            del memories[kind]

    def _note_counted(self) -> None:
        for counted in self._sampler.changed():
            self._unwritten.counted[counted.mark] = store.Stored(
                counted.row, counted.count, mark=counted.mark
            )

    # Writing ------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        for signal in self._engine.take_changed():
            self._unwritten.signals[signal.id] = signal
        work, self._unwritten = self._unwritten, _Unwritten()
        if work.is_empty:
            return
        if runs := self._deliveries.taken(work.done):
            work.memories.setdefault("batch", {}).update(runs)
        signals = await self._packed(work.signals.values())
        try:
            try:
                put = await asyncio.to_thread(self._put, work, signals)
            except UnavailableError:
                raise
            except Exception:
                # Attack: a row that no database takes, so that the others of its time are lost with it.
                log.exception("security data is written one by one")
                put = await asyncio.to_thread(self._put_each, work, signals)
        except UnavailableError:
            self._unwritten = work  # nobody else writes here: this holds the lock
            raise
        except Exception:
            self._counts["failed"] += len(work.rows)
            self._settle(work, is_written=False)
            raise
        self._counts["written"] += put
        self._counts["duplicates"] += len(work.rows) - put
        if self._rows_held is not None:
            self._rows_held += put
        if work.rows or work.counted or signals:
            self.generation += 1
        self._settle(work, is_written=True)
        for change in work.changes:
            self._tell(change)

    def _put(self, work: _Unwritten, signals: Sequence[dict[str, object]]) -> int:
        now_ms = int(self._clock() * 1000)
        with self._database.write() as c:
            put = store.put_traces(c, self._org_id, work.rows)
            store.put_counted(c, self._org_id, work.counted.values())
            store.put_packed_signals(c, signals)
            for kind, documents in work.memories.items():
                store.put_memories(c, self._org_id, kind, documents, now_ms=now_ms)
        return put

    def _put_each(self, work: _Unwritten, signals: Sequence[dict[str, object]]) -> int:
        """The same, without what cannot be written."""
        now_ms = int(self._clock() * 1000)
        written = 0
        with self._database.write() as c:

            def tried(put: Callable[[], int | None]) -> int:
                try:
                    with c.begin_nested():
                        return put() or 0
                except UnavailableError:
                    raise
                except Exception:
                    self._counts["failed"] += 1
                    return 0

            for row in work.rows:
                written += tried(functools.partial(store.put_traces, c, self._org_id, [row]))
            for counted in work.counted.values():
                tried(functools.partial(store.put_counted, c, self._org_id, [counted]))
            for signal in signals:
                tried(functools.partial(store.put_packed_signals, c, [signal]))
            for kind, documents in work.memories.items():
                tried(functools.partial(store.put_memories, c, self._org_id, kind, documents, now_ms=now_ms))
        return written

    async def _packed(self, signals: Iterable[Signal]) -> list[dict[str, object]]:
        """Signals as they are now: they go on to grow while a thread writes."""
        packed = []
        began = time.perf_counter()
        for signal in signals:
            try:
                packed.append(store.packed_signal(self._org_id, signal))
            except Exception:  # of one: the others are written
                self._counts["failed"] += 1
                log.exception("signal not written", signal=signal.id)
            if time.perf_counter() - began > AT_ONCE_S:
                await asyncio.sleep(0)
                began = time.perf_counter()
        return packed

    def _settle(self, work: _Unwritten, *, is_written: bool) -> None:
        error = None if is_written else UnavailableError("This could not be kept.", retry_after_s=5)
        for receipt in work.done:
            self._deliveries.settle(receipt, error)

    def _tell(self, change: Change) -> None:
        self._counts[f"signals_{change.what.value}"] += 1
        for listener in self.on_change:
            try:
                listener(change)
            except Exception:
                self._note_failure("listener of signals")

    def _note_failure(self, whose: str) -> None:
        """Tell of the first one: what fails for one row fails for a thousand a second."""
        if not self._counts["listener_failures"]:
            log.exception("security data not passed on", to=whose)
        self._counts["listener_failures"] += 1

    async def forget_old(self) -> None:
        """Drop what is too old or too much, a part at a time."""
        now = self._clock()
        if self._rows_held is None or now - self._recounted_at > RECOUNT_EVERY_S:
            self._rows_held = await asyncio.to_thread(self._count_rows)
            self._recounted_at = now
        gone = dropped = await asyncio.to_thread(self._forget, now)
        while dropped == DROP_AT_ONCE:
            dropped = await asyncio.to_thread(self._forget, now)
            gone += dropped
        self._counts["forgotten"] += gone
        self._rows_held -= gone
        while (over := self._rows_held - self._max_rows) > 0:
            dropped = await asyncio.to_thread(self._forget_oldest, min(over, DROP_AT_ONCE))
            self._counts["displaced"] += dropped
            self._rows_held -= dropped
            gone += dropped
            if not dropped:
                break
        if gone:
            self.generation += 1
        self._sightings.forget_before(int((now - self._retain_s) * 1000))

    def _count_rows(self) -> int:
        with self._database.read() as c:
            return store.count_traces(c, self._org_id)

    def _forget(self, now: float) -> int:
        before_ms = int((now - self._retain_s) * 1000)
        with self._database.write() as c:
            gone = store.forget_before(c, self._org_id, before_ms=before_ms, most=DROP_AT_ONCE)
            store.forget_memories(c, self._org_id, before_ms=before_ms)
            store.forget_signals(
                c, self._org_id, before_ms=int((now - SIGNALS_RETAIN_S) * 1000), most=MAX_SIGNALS
            )
        return gone

    def _forget_oldest(self, count: int) -> int:
        with self._database.write() as c:
            return store.forget_oldest(c, self._org_id, count=count)

    # What people look at ------------------------------------------------------------------------------------

    def observed(self, service: str, env: str) -> Observed | None:
        """What the engine in a service was last seen to do; None where it never was seen."""
        return self._sightings.of(service, env, now_ms=int(self._clock() * 1000))

    def counters(self) -> dict[str, int]:
        """What was done since this program began, for people to see; requests, unless they are rows."""
        engine = self._engine.counters
        names = (
            "taken", "duplicates", "refused", "failed", "written", "requests", "skewed", "forgotten",
            "displaced", "signals_opened", "signals_closed", "batches_again", "unreadable",
            "listener_failures",
        )  # fmt: skip
        return {
            **{name: self._counts[name] for name in names},
            "sampled": self._sampler.counted,
            "late": engine.late,
            "evicted": engine.evicted,
            "folded": engine.folded,
            "queue": self._queued_spans,
            "unwritten": len(self._unwritten.rows),
            "groups": self._engine.groups,
            "open_signals": len(self._engine.open_signals()),
            "uncounted_addresses": self.traffic.uncounted,
        }

    def agents_dropped(self) -> dict[str, int]:
        """What agents did not pass on since they began, by reason, over all of them."""
        total: Counter[str] = Counter()
        for dropped in self._agents_dropped.values():
            total.update(dropped)
        return dict(total)

    def set_rules(self, rules: Iterable[Rule]) -> None:
        """Detect by these from now on; what is counted for those that did not change stays."""
        listed = list(rules)
        self._rules = _versions(listed)
        self._engine.set_rules(listed)
        self._work.set()

    async def try_rule(self, rule: Rule, *, hours: float) -> list[Signal]:
        """What a rule would have found in the rows that are kept; nothing is written, nobody told.

        Requests that were only counted are not kept, so a rule over all requests sees attacks only.

        Raises:
            TooOftenError: Too many are being tried.
        """
        # Attack: rules tried side by side until no thread is left to answer agents.
        if self._tried >= MAX_TRYING:
            raise TooOftenError("Other rules are being tried just now.", retry_after_s=10)
        self._tried += 1
        try:
            async with self._trying:
                return await asyncio.to_thread(self._try, rule, hours)
        finally:
            self._tried -= 1

    def _try(self, rule: Rule, hours: float) -> list[Signal]:
        engine = Engine([dataclasses.replace(rule, enabled=True)])
        now = self._clock()
        since_ms = int((now - hours * 3600) * 1000)
        opened: dict[str, Signal] = {}
        ticked = 0.0
        with self._database.read() as c:
            for found in store.recent(c, self._org_id, since_ms=since_ms, limit=MAX_TRIED):
                at = found.row.ts
                if at - ticked >= 60:
                    engine.tick(now=at)
                    ticked = at
                for change in engine.insert(found.row, now=at, count=found.count):
                    if change.what is Happening.OPENED:
                        opened[change.signal.id] = change.signal
        engine.tick(now=now)
        return list(opened.values())


def _is_healthy(row: SecurityTrace) -> bool:
    """Whether nothing was found in a request but what its code told of it."""
    return not row.blocked and all(
        each.startswith("business_logic.") and not each.endswith(".failure") for each in row.activities
    )


def _versions(rules: Iterable[Rule]) -> list[tuple[str, int, bool]]:
    return [(rule.id, rule.version, rule.enabled) for rule in rules]


def _past(packed: bytes) -> list[tuple[_Key, Past]]:
    try:
        rule_id, key, past = msgspec.msgpack.decode(packed, type=tuple[str, tuple[str, ...], Past])
    except msgspec.MsgspecError:  # of another version of this program
        return []
    return [((rule_id, key), past)]
