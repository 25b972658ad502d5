"""The snapshots of one organisation: taken within a quota, written behind, kept for a while, opened again.

What arrives is read as far as its head; values are packed and sealed as they came. Lists know nothing of what
was in a program's variables: ``Kept`` has neither values nor the message. Invariants: what is queued is
bounded, and full means no, not slow; a snapshot that comes again is not kept again; counts survive a restart;
nothing in here writes what a program said to a log. Lives on the event loop; databases and reading whole
snapshots are in threads.

Two control planes on one database each have a quota and live messages of what was sent to them; lists and
counts are of both.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
import structlog

from sealwire.errors import (
    MalformedError,
    NotFoundError,
    OversizeError,
    SettingsError,
    UnavailableError,
    UntrustedError,
)
from sealwire.server.debugger.snapshots import finding, heads, masking
from sealwire.server.debugger.snapshots.books import MAX_NEWEST, MINUTES, Book, Said, add
from sealwire.server.debugger.snapshots.kept import Counts as Counts
from sealwire.server.debugger.snapshots.kept import Found as Found
from sealwire.server.debugger.snapshots.kept import Hit as Hit
from sealwire.server.debugger.snapshots.kept import KnownProbe as KnownProbe
from sealwire.server.debugger.snapshots.kept import Opened as Opened
from sealwire.server.debugger.snapshots.kept import Source as Source
from sealwire.server.debugger.snapshots.kept import Taken as Taken
from sealwire.server.debugger.snapshots.quota import Quota
from sealwire.server.debugger.snapshots.settings import SettingsDesk
from sealwire.server.debugger.snapshots.snapshot import Location, Snapshot
from sealwire.server.debugger.snapshots.snapshot import read as read_whole
from sealwire.server.debugger.snapshots.vault import DOCUMENT, MESSAGE, Vault
from sealwire.server.store import debugger as store
from sealwire.server.store.database import Database
from sealwire.server.store.debugger import Kept as Kept
from sealwire.server.write_behind import keep_written, whole

log = structlog.get_logger()

MAX_NEWEST_CHARS: Final = 2_000
MAX_PER_PROBE: Final = 5_000
MAX_QUEUED: Final = 20_000
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024
MAX_REMEMBERED: Final = 20_000  # ids, so that what comes again is known
MAX_RESTORED: Final = 200  # probes whose newest messages are read at the start
WRITE_EVERY_S: Final = 0.3
WRITE_AT_ONCE: Final = 2_000
LATE_MS: Final = 24 * 3_600_000  # what is older, its clock is off
SLACK: Final = 250  # so many above a bound before something is dropped
DROP_AT_ONCE: Final = 5_000
COUNTS_RETAIN_MS: Final = 60 * 86_400_000
SCAN_AT_ONCE: Final = 50
SEARCHES_AT_ONCE: Final = 2  # threads are left for everything else


class _Queued(NamedTuple):
    kept: Kept
    said: Said
    raw: bytes


class Snapshots:
    """The snapshots of one organisation.

    Args:
        known: A probe that programs may speak of, from memory; None: there is none.
        max_snapshots, max_bytes: Beyond, the oldest go first.
    """

    def __init__(
        self,
        database: Database,
        org_id: int,
        vault: Vault,
        settings: SettingsDesk,
        *,
        known: Callable[[str], KnownProbe | None],
        clock: Callable[[], datetime],
        max_snapshots: int = 200_000,
        max_bytes: int = 2 * 1024**3,
    ) -> None:
        self._database = database
        self._org_id = org_id
        self._vault = vault
        self._settings = settings
        self._known = known
        self._clock = clock
        self._max_snapshots = max_snapshots
        self._max_bytes = max_bytes
        self._quota = Quota(settings.current.snapshots_per_s)
        self._books: dict[str, Book] = {}
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._unwritten: dict[str, _Queued] = {}  # by id, until they are in the database
        self._remembered: dict[str, None] = {}
        self._seen: Counter[str] = Counter()
        self._lock = asyncio.Lock()
        self._searching = asyncio.Semaphore(SEARCHES_AT_ONCE)
        with database.read() as c:
            self._held = store.held(c, org_id)
            for probe_id, counted in store.load_counts(c, org_id).items():
                self._books[probe_id] = Book(counted=counted)

    # What arrives -------------------------------------------------------------------------------------------

    def take(self, envelopes: Sequence[bytes], source: Source, *, is_whole: bool = True) -> Taken:
        """Take what arrived, as far as the quota allows; refused are those that make no sense.

        Args:
            is_whole: False: a part of this was taken already, so the rest is too.

        Raises:
            UnavailableError: Too much is queued; send it again.
        """
        is_full = len(self._queue) >= MAX_QUEUED or self._queued_bytes >= MAX_QUEUED_BYTES
        if is_full and is_whole:
            raise UnavailableError("More snapshots come than can be written just now.", retry_after_s=5)
        self._quota.per_s = self._settings.current.snapshots_per_s
        self._quota.refill(source.arrived_ms / 1000)
        became: Counter[str] = Counter(self._take(raw, source) for raw in envelopes)
        self._seen.update(became)
        return Taken(**became)

    def _take(self, raw: bytes, source: Source) -> str:
        """What became of an envelope, as ``Taken`` calls it."""
        now_ms = source.arrived_ms
        try:
            head = heads.read(raw)
        except (MalformedError, OversizeError):
            probe_id = heads.probe_of(raw)
            if probe_id and self._known(probe_id) is not None:
                self._book(probe_id).note(now_ms, refused=1)
            return "refused"
        probe = self._known(head.probe_id)
        if probe is None:
            return "unknown"
        if head.snapshot_id in self._remembered:
            return "again"
        book = self._book(head.probe_id)
        if not self._quota.take(head.probe_id):
            book.note(now_ms, over_quota=1)
            return "over_quota"
        self._remembered[head.snapshot_id] = None
        if len(self._remembered) > MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        kept = _kept(head, source)
        said = Said(head.message, probe.template, dict(probe.asked) or None)
        queued = _Queued(kept, said, raw)
        self._queue.append(queued)
        self._queued_bytes += len(raw)
        self._unwritten[kept.snapshot_id] = queued
        book.newest.append((kept, said._replace(message=said.message[:MAX_NEWEST_CHARS])))
        book.note(now_ms, kept=1)
        return "kept"

    def _book(self, probe_id: str) -> Book:
        book = self._books.get(probe_id)
        if book is None:
            book = self._books[probe_id] = Book()
        return book

    # From memory --------------------------------------------------------------------------------------------

    def newest(self, probe_id: str, limit: int = MAX_NEWEST) -> Sequence[tuple[Kept, str]]:
        """The last ones that arrived, newest first, with their messages; from memory.

        Whoever shows the messages asks ``discretion`` first.
        """
        book = self._books.get(probe_id)
        if book is None:
            return ()
        names = self._settings.current.redacted_names
        found = list(book.newest)[: -limit - 1 : -1]
        return [(kept, masking.message(*said[:2], names)) for kept, said in found]

    def counts(self, probe_id: str) -> Counts:
        """What came of a probe; from memory."""
        book = self._books.get(probe_id)
        if book is None:
            return Counts()
        both = add(book.counted, book.more)
        return Counts(both.kept, both.over_quota, both.refused, book.per_s(self._now_ms()), both.last_ms)

    def per_minute(self, probe_id: str) -> Sequence[int]:
        """How many were kept in each of the last 30 minutes, the present one last; from memory."""
        book = self._books.get(probe_id)
        return [0] * MINUTES if book is None else book.per_minute(self._now_ms())

    def generation(self, probe_id: str) -> int:
        """Grows with everything that arrives of a probe."""
        book = self._books.get(probe_id)
        return 0 if book is None else book.generation

    def template(self, probe_id: str) -> str:
        """What is shown instead of a message to those who may not see values; empty where none is known."""
        found = self._known(probe_id)
        return "" if found is None else found.template

    def counters(self) -> dict[str, int]:
        """What became of everything that arrived since the start, for metrics."""
        return {**dict.fromkeys(Taken._fields, 0), **self._seen, "queued": len(self._queue)}

    # From the store -----------------------------------------------------------------------------------------

    async def list(
        self,
        *,
        probe_id: str = "",
        service: str = "",
        env: str = "",
        trace_id: str = "",
        version: int | None = None,
        has_values: bool | None = None,
        has_errors: bool | None = None,
        since_ms: int = 0,
        until_ms: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> list[Kept]:
        """Snapshots, newest first.

        Args:
            version: Of the probe.
            before: ``at_ms`` and ``snapshot_id`` of the last one of the page before.
        """
        wanted = store.Wanted(
            probe_id, service, env, trace_id, version, has_values, has_errors, since_ms, until_ms, before
        )
        return [*await self._page(wanted, limit)]

    async def _page(self, wanted: store.Wanted, limit: int) -> Sequence[Kept]:
        def load() -> Sequence[Kept]:
            with self._database.read() as c:
                return store.snapshots(c, self._org_id, wanted, limit=limit)

        return await asyncio.to_thread(load)

    async def open(self, snapshot_id: str) -> Opened:
        """One with its values. Whoever shows it asks ``discretion`` first.

        Raises:
            NotFoundError: There is none, or no more.
        """
        queued = self._unwritten.get(snapshot_id)
        if queued is not None:
            return await asyncio.to_thread(self._opened, queued)

        def load() -> Opened:
            with self._database.read() as c:
                found = store.sealed_snapshots(c, self._org_id, [snapshot_id])
            if not found:
                raise NotFoundError("There is no such snapshot, or no more: they are kept for a while only.")
            return self._opened(self._unsealed(found[0]))

        return await asyncio.to_thread(load)

    def _unsealed(self, sealed: store.SealedSnapshot) -> _Queued:
        snapshot_id = sealed.kept.snapshot_id
        raw = self._vault.open(sealed.document, snapshot_id=snapshot_id, part=DOCUMENT)
        return _Queued(sealed.kept, self._open_said(snapshot_id, sealed.message), raw)

    def _open_said(self, snapshot_id: str, sealed: bytes) -> Said:
        return _read_said(self._vault.open(sealed, snapshot_id=snapshot_id, part=MESSAGE))

    def _opened(self, one: _Queued) -> Opened:
        """In a thread."""
        kept, said, raw = one
        problem = ""
        try:
            snapshot = read_whole(raw)
        except UntrustedError as error:
            snapshot, problem = _head_only(kept, said.message), error.public
        names = self._settings.current.redacted_names
        snapshot = masking.masked(snapshot, names, said.template, said.asked or {})
        return Opened(kept, msgspec.structs.replace(snapshot, host=kept.host), problem, said.template)

    async def messages(self, kepts: Collection[Kept]) -> dict[str, str]:
        """The messages of snapshots by id; whoever shows them asks ``discretion`` first."""
        if not kepts:
            return {}
        ids = [kept.snapshot_id for kept in kepts]
        names = self._settings.current.redacted_names

        def load() -> dict[str, str]:
            with self._database.read() as c:
                found = store.sealed_messages(c, self._org_id, ids)
            return {
                key: masking.message(*self._open_said(key, sealed)[:2], names)
                for key, sealed in found.items()
            }

        return await asyncio.to_thread(load)

    async def search(
        self,
        probe_id: str,
        text: str,
        *,
        may_see: Callable[[Kept], bool],
        limit: int = 50,
        scan: int = 2_000,
    ) -> Found:
        """Find a text in values and messages of the newest snapshots of a probe.

        Args:
            may_see: Only in these is looked: what is found tells what is there. Mostly
                ``functools.partial(discretion.may_see, principal)``.
        """
        needle = finding.Needle(text)
        hits: list[Hit] = []
        scanned = 0
        before: tuple[int, str] | None = None
        if not needle.text:
            return Found((), 0, is_all=True)
        while True:
            lot = await self._page(
                store.Wanted(probe_id=probe_id, before=before), min(SCAN_AT_ONCE, scan - scanned)
            )
            wanted = {kept.snapshot_id for kept in lot if may_see(kept)}
            async with self._searching:
                hits += await asyncio.to_thread(self._find, wanted, needle)
            scanned += len(lot)
            is_end = len(lot) < SCAN_AT_ONCE and scanned < scan
            if is_end or len(hits) >= limit or scanned >= scan:
                return Found(tuple(hits[:limit]), scanned, is_all=is_end and len(hits) <= limit)
            before = (lot[-1].at_ms, lot[-1].snapshot_id)

    def _find(self, ids: Collection[str], needle: finding.Needle) -> Sequence[Hit]:
        """In a thread."""
        if not ids:
            return []
        with self._database.read() as c:
            found = store.sealed_snapshots(c, self._org_id, ids)
        found.sort(key=lambda one: (one.kept.at_ms, one.kept.snapshot_id), reverse=True)
        hits = []
        for sealed in found:
            one = self._unsealed(sealed)
            if not needle.may_be_in(one.raw):
                continue
            place = needle.look(self._opened(one).snapshot)
            if place is not None:
                hits.append(Hit(sealed.kept, place.message, place.paths, place.total, place.in_message))
        return hits

    async def export(
        self,
        *,
        probe_id: str = "",
        service: str = "",
        env: str = "",
        since_ms: int = 0,
        until_ms: int | None = None,
        limit: int = 10_000,
    ) -> AsyncIterator[Opened]:
        """Snapshots with their values, newest first. Whoever passes them on asks ``discretion`` first."""
        wanted = store.Wanted(
            probe_id=probe_id, service=service, env=env, since_ms=since_ms, until_ms=until_ms
        )
        left = limit
        while left > 0:
            lot = await self._page(wanted, min(SCAN_AT_ONCE, left))
            for opened in await asyncio.to_thread(self._open_lot, lot):
                yield opened
            if len(lot) < SCAN_AT_ONCE:
                return
            left -= len(lot)
            wanted = wanted._replace(before=(lot[-1].at_ms, lot[-1].snapshot_id))

    def _open_lot(self, lot: Sequence[Kept]) -> Sequence[Opened]:
        """In a thread."""
        with self._database.read() as c:
            found = {
                one.kept.snapshot_id: one
                for one in store.sealed_snapshots(c, self._org_id, [kept.snapshot_id for kept in lot])
            }
        there = (found[kept.snapshot_id] for kept in lot if kept.snapshot_id in found)
        return [self._opened(self._unsealed(one)) for one in there]

    # Writing ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write behind until cancelled; the rest is written on the way out."""
        restoring = asyncio.create_task(self._restore_newest(), name="newest messages")
        try:
            await keep_written(self.flush, every_s=WRITE_EVERY_S, what="snapshots")
        finally:
            restoring.cancel()

    async def _restore_newest(self) -> None:
        """Messages that live pages begin with, as they were before the start."""
        by_last = sorted(self._books, key=lambda one: self._books[one].counted.last_ms, reverse=True)
        known = [probe_id for probe_id in by_last if self._known(probe_id) is not None]
        try:
            for probe_id in known[:MAX_RESTORED]:
                lot = await asyncio.to_thread(self._newest_stored, probe_id)
                book = self._books[probe_id]
                arrived = {kept.snapshot_id for kept, _ in book.newest}
                for kept, said in lot:
                    if kept.snapshot_id not in arrived and len(book.newest) < MAX_NEWEST:
                        book.newest.appendleft((kept, said))
                book.generation += 1
        except (UnavailableError, SettingsError) as error:
            log.warning("newest messages of probes not read", code=error.code, reason=error.public)

    def _newest_stored(self, probe_id: str) -> Sequence[tuple[Kept, Said]]:
        """In a thread."""
        with self._database.read() as c:
            lot = store.snapshots(c, self._org_id, store.Wanted(probe_id=probe_id), limit=MAX_NEWEST)
            sealed = store.sealed_messages(c, self._org_id, [kept.snapshot_id for kept in lot])
        said = ((kept, self._open_said(kept.snapshot_id, sealed[kept.snapshot_id])) for kept in lot)
        return [(kept, each._replace(message=each.message[:MAX_NEWEST_CHARS])) for kept, each in said]

    async def flush(self) -> None:
        """Write what is queued, and what was counted; to its end, also while being cancelled."""
        await whole(self._flush())

    async def _flush(self) -> None:
        async with self._lock:
            while True:
                lot = [self._queue.popleft() for _ in range(min(len(self._queue), WRITE_AT_ONCE))]
                self._queued_bytes -= sum(len(one.raw) for one in lot)
                more = {probe_id: book.more for probe_id, book in self._books.items() if any(book.more)}
                if not lot and not more:
                    return
                try:
                    stored = await asyncio.to_thread(self._write, lot, more)
                except UnavailableError:
                    self._queue.extendleft(reversed(lot))
                    self._queued_bytes += sum(len(one.raw) for one in lot)
                    raise
                except Exception:  # they would stand in the way of all others
                    for one in lot:
                        self._unwritten.pop(one.kept.snapshot_id, None)
                    self._seen["lost"] += len(lot)
                    raise
                self._note_written(lot, stored, more)
                await self._forget_above({one.kept.probe_id for one in lot})

    def _write(self, lot: Sequence[_Queued], more: Mapping[str, store.CountRow]) -> Sequence[int]:
        """Seal and put, in a thread; says how large each became."""
        sealed = []
        for kept, said, raw in lot:
            parts = [
                self._vault.seal(content, snapshot_id=kept.snapshot_id, part=part, at_ms=kept.at_ms)
                for part, content in ((MESSAGE, msgspec.json.encode(said)), (DOCUMENT, raw))
            ]
            sealed.append(store.SealedSnapshot(kept, *parts))
        with self._database.write() as c:
            store.put_snapshots(c, self._org_id, sealed)
            store.add_counts(c, self._org_id, more)
        return [len(one.message) + len(one.document) for one in sealed]

    def _note_written(
        self, lot: Sequence[_Queued], stored: Sequence[int], more: Mapping[str, store.CountRow]
    ) -> None:
        for one, size in zip(lot, stored, strict=True):
            self._unwritten.pop(one.kept.snapshot_id, None)
            self._hold(one.kept.probe_id, 1, size)
        for probe_id, row in more.items():
            self._books[probe_id].written(row)

    def _hold(self, probe_id: str, snapshots: int, size: int) -> None:
        """So many more, or fewer, are in the database."""
        held = self._held.get(probe_id, store.Held(0, 0))
        held = store.Held(held.snapshots + snapshots, held.bytes + size)
        if held.snapshots > 0:
            self._held[probe_id] = held
        else:
            self._held.pop(probe_id, None)

    # Forgetting ---------------------------------------------------------------------------------------------

    async def _forget_above(self, probe_ids: Collection[str]) -> None:
        """Keep to the bounds on how much there is."""
        for probe_id in probe_ids:
            over = self._held.get(probe_id, store.Held(0, 0)).snapshots - MAX_PER_PROBE
            if over > SLACK:
                await self._forget(probe_id=probe_id, most=over)
        while self._held:
            count = sum(held.snapshots for held in self._held.values())
            size = sum(held.bytes for held in self._held.values())
            over = count - self._max_snapshots
            if size > self._max_bytes:
                over = max(over, min(DROP_AT_ONCE, 1 + count * (size - self._max_bytes) // size))
            if over <= 0 or not await self._forget(most=min(over + min(SLACK, count // 50), DROP_AT_ONCE)):
                return

    async def _forget(self, *, probe_id: str = "", before_ms: int | None = None, most: int) -> int:
        def drop() -> dict[str, store.Held]:
            with self._database.write() as c:
                return store.forget_snapshots(
                    c, self._org_id, probe_id=probe_id, before_ms=before_ms, most=most
                )

        gone = await asyncio.to_thread(drop)
        for of_probe, held in gone.items():
            self._hold(of_probe, -held.snapshots, -held.bytes)
        return sum(held.snapshots for held in gone.values())

    async def forget_old(self) -> None:
        """Drop what is older than the organisation keeps it; follow what others changed meanwhile."""
        await whole(self._forget_old(self._now_ms()))

    async def _forget_old(self, now_ms: int) -> None:
        await asyncio.to_thread(self._settings.reload)
        before_ms = now_ms - self._settings.current.retention_hours * 3_600_000
        while await self._forget(before_ms=before_ms, most=DROP_AT_ONCE) == DROP_AT_ONCE:
            pass
        for book in self._books.values():
            while book.newest and book.newest[0][0].at_ms < before_ms:
                book.newest.popleft()
        async with self._lock:
            self._held, counted = await asyncio.to_thread(self._recounted, now_ms)
            for probe_id, row in counted.items():
                self._book(probe_id).counted = row
            for probe_id in [one for one, book in self._books.items() if one not in counted and book.is_idle]:
                del self._books[probe_id]
        await self._forget_above([*self._held])

    def _recounted(self, now_ms: int) -> tuple[dict[str, store.Held], dict[str, store.CountRow]]:
        """In a thread, while nothing is written."""
        with self._database.write() as c:
            store.forget_counts(c, self._org_id, before_ms=now_ms - COUNTS_RETAIN_MS)
        with self._database.read() as c:
            return store.held(c, self._org_id), store.load_counts(c, self._org_id)

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)


def _kept(head: heads.Head, source: Source) -> Kept:
    at_ms = head.stamp_ms - source.ahead_ms
    if not source.arrived_ms - LATE_MS <= at_ms <= source.arrived_ms:
        at_ms = source.arrived_ms
    return Kept(
        head.snapshot_id, head.probe_id, head.probe_version, at_ms, head.service, source.env, source.version,
        source.host or head.host, head.language, head.trace_id, head.span_id, head.has_values, head.errors,
        head.bytes, head.duration_ns,
    )  # fmt: skip


_read_said = msgspec.json.Decoder(Said).decode


def _head_only(kept: Kept, message: str) -> Snapshot:
    """Of a snapshot whose values make no sense, the rest."""
    return Snapshot(
        snapshot_id=kept.snapshot_id,
        probe_id=kept.probe_id,
        probe_version=kept.probe_version,
        timestamp_ms=kept.at_ms,
        language=kept.language,
        service=kept.service,
        host=kept.host,
        message=message,
        location=Location(),
        trace_id=kept.trace_id,
        span_id=kept.span_id,
        duration_ns=kept.duration_ns,
    )
