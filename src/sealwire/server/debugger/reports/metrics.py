"""What metric probes measured in one organisation: counts, sums and quantiles in blocks of ten seconds.

Hides that several agents measure the same thing, and how series are told apart. What arrives are differences;
``probe_data`` has them added to what is stored, in one transaction with what tells that they were. The last
blocks of each probe are in memory.

Invariants: what is of no probe that is known is counted and no more; of a probe at most ``MAX_METRICS``
metrics are kept and ``MAX_SETS_BYTES`` of sets of tags; of an organisation ``MAX_BLOCKS`` blocks; for a day.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from sealwire.server.debugger.reports.cells import Block, Cell, packed, rounded, sets_of, total_of
from sealwire.server.security.rows import plain
from sealwire.server.store import debugger_series as store
from sealwire.server.store.debugger_series import BlockKey, BlockRow
from sealwire.wire.probe_batch import BUCKET_S, MAX_NAME_CHARS, MAX_TAG_CHARS, OTHER, Measured

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sealwire.server.store.database import Database

RETAIN_MS: Final = 86_400_000
MAX_BLOCKS: Final = 300_000
MAX_SETS_BYTES: Final = 32 * 1024 * 1024  # of one probe, packed
MAX_METRICS: Final = 5  # of one probe: another version may measure something else
MAX_POINTS: Final = 1_000  # of one line
MAX_LINES: Final = 20
MAX_TAG_KEYS: Final = 50
BINS_OF_CELL: Final = 32  # take as much memory as a cell may
RECENT: Final = 31  # blocks of a probe in memory
RATE_BLOCKS: Final = 3  # with the one that is not full yet
_ON_THE_WAY_MS: Final = 2_000  # so long agents hold what they measured
MAX_RESTORED: Final = 5_000
OTHER_LABEL: Final = "other"

_BLOCK_MS: Final = BUCKET_S * 1000


class Point(NamedTuple):
    """One block of a series.

    Attributes:
        at_ms: When it begins.
        count: How many values there were.
        sum: Of the values; of a count, how much it counted.
        last: The newest value, which is what a gauge shows.
        p50: None for counts and gauges; as are the next.
    """

    at_ms: int
    count: int  # type: ignore[assignment] # not the method of tuples
    sum: float
    min: float
    max: float
    last: float
    p50: float | None
    p95: float | None
    p99: float | None


class Line(NamedTuple):
    """The points that have one value of the tag asked for; ``label`` is that value."""

    label: str
    points: list[Point]


class Series(NamedTuple):
    """What a probe measured.

    Attributes:
        kind: ``c``, ``g``, ``h`` or ``d``; empty where nothing was measured.
        step_s: Between two points; those without a value are left out.
        lines: Most values first.
        is_cut: There are more lines than are given.
    """

    metric: str
    kind: str
    step_s: int
    lines: list[Line]
    is_cut: bool


class Latest(NamedTuple):
    """The newest block of a probe.

    Attributes:
        per_s: Values a second, over the last blocks, or since the first came where that is less.
        heard_ms: When the newest of it arrived, or the block began where that is not known any more.
    """

    metric: str
    kind: str
    point: Point
    per_s: float
    heard_ms: int


@dataclass(slots=True)
class _Held:
    """A probe, in memory."""

    generation: int = 0
    heard_ms: int = 0
    since_ms: int = 0  # since when it is heard without a long pause
    stored: int = 0  # bytes
    metrics: dict[tuple[str, str], int] = field(default_factory=dict)  # and when each was last heard
    recent: dict[BlockKey, Cell] = field(default_factory=dict)
    tag_keys: dict[str, None] = field(default_factory=dict)


class Work(NamedTuple):
    """What is to be added to the database."""

    blocks: dict[BlockKey, Block]


class ProbeMetrics:
    """What metric probes measured.

    Args:
        database: Where it is kept.
        org_id: Whose.
        known: What is known of a probe; None for one that is not.
        now_ms: Unix milliseconds.

    Attributes:
        counts: What was not kept, by reason.
    """

    def __init__(
        self,
        database: Database,
        org_id: int,
        *,
        known: Callable[[str], object | None],
        now_ms: Callable[[], int],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._database = database
        self._org_id = org_id
        self._known = known
        self._now_ms = now_ms
        self._pending: dict[BlockKey, Block] = {}
        self._cells = 0
        self._probes: dict[str, _Held] = {}
        self._stored_blocks = 0
        self._restore()

    def _restore(self) -> None:
        since_ms = self._now_ms() - RETAIN_MS
        with self._database.read() as c:
            for stored in store.probes_stored(c, self._org_id):
                self._probes[stored.probe_id] = _Held(stored=stored.stored, heard_ms=stored.newest_ms)
                self._stored_blocks += stored.blocks
            for row in store.newest_blocks(c, self._org_id, limit=MAX_RESTORED):
                if row.key.at_ms >= since_ms and (held := self._probes.get(row.key.probe_id)):
                    self._note(held, row.key, total_of(row.total), row.key.at_ms)
                    _note_tags(held, sets_of(row.sets))

    # What arrives -------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many cells wait to be written; one with many bins counts as several."""
        return self._cells

    def add(self, measured: Iterable[Measured], *, ahead_ms: int = 0) -> None:
        """Take what an agent measured.

        Args:
            ahead_ms: How far its clock is ahead of ours.
        """
        now_ms = self._now_ms()
        for one in measured:
            if self._known(one.probe_id) is None:
                self.counts["unknown"] += 1
                continue
            at_ms = min(one.at_ms - ahead_ms, now_ms) // _BLOCK_MS * _BLOCK_MS
            if at_ms < now_ms - RETAIN_MS:
                self.counts["late"] += 1
                continue
            metric = plain(one.metric, MAX_NAME_CHARS).replace("\0", "\ufffd")
            if not self._has_room_for(one.probe_id, metric, one.kind, now_ms):
                self.counts["metrics"] += 1
                continue
            tags = tuple(sorted({plain(tag, MAX_TAG_CHARS) for tag in one.tags}))
            block = self._pending.setdefault(BlockKey(one.probe_id, at_ms, metric, one.kind), Block())
            self._cells -= len(block.sets)
            block.add(tags, one)
            self._cells += len(block.sets)
            if one.sketch is not None:
                # Attack: values all over, each with a bin of its own. It stands in its set and in the total.
                self._cells += 2 * (len(one.sketch.above) + len(one.sketch.below)) // BINS_OF_CELL

    def take_work(self) -> Work:
        """What is to be written; it is forgotten here."""
        work = Work(self._pending)
        self._pending, self._cells = {}, 0
        return work

    def write(self, c: sa.Connection, work: Work) -> dict[BlockKey, tuple[Block, int]]:
        """Add to the database, in a thread; returns what the blocks are now, and their bytes."""
        there = store.blocks(c, self._org_id, work.blocks.keys())
        after: dict[BlockKey, tuple[Block, int]] = {}
        rows: list[BlockRow] = []
        for key, more in work.blocks.items():
            block, before = more, 0
            if (row := there.get(key)) is not None:
                block = Block(total_of(row.total), sets_of(row.sets))
                block.merge(more)
                before = len(row.total) + len(row.sets)
            held = self._probes.get(key.probe_id)
            if held is not None and held.stored > MAX_SETS_BYTES:
                block.fold()
            rows.append(BlockRow(key, *packed(block)))
            after[key] = block, len(rows[-1].total) + len(rows[-1].sets) - before
        store.put_blocks(c, self._org_id, rows)
        return after

    def written(self, after: Mapping[BlockKey, tuple[Block, int]]) -> None:
        """Note what is in the database now."""
        now_ms = self._now_ms()
        for key, (block, more) in after.items():
            held = self._probes.setdefault(key.probe_id, _Held())
            held.stored += more
            held.generation += 1
            self._stored_blocks += more > 0 and key not in held.recent
            self._note(held, key, block.total, now_ms)
            _note_tags(held, block.sets)

    def _has_room_for(self, probe_id: str, metric: str, kind: str, now_ms: int) -> bool:
        held = self._probes.setdefault(probe_id, _Held())
        if (metric, kind) not in held.metrics and len(held.metrics) >= MAX_METRICS:
            old = [each for each, at_ms in held.metrics.items() if at_ms < now_ms - RETAIN_MS]
            for each in old:
                del held.metrics[each]
            if not old:
                return False
        held.metrics[metric, kind] = now_ms
        return True

    def _note(self, held: _Held, key: BlockKey, total: Cell, heard_ms: int) -> None:
        if heard_ms - held.heard_ms > RATE_BLOCKS * _BLOCK_MS:
            held.since_ms = heard_ms
        held.heard_ms = max(held.heard_ms, heard_ms)
        held.metrics[key.metric, key.kind] = max(held.metrics.get((key.metric, key.kind), 0), heard_ms)
        held.recent[key] = total
        if len(held.recent) > RECENT:
            del held.recent[min(held.recent, key=lambda each: each.at_ms)]

    # What is asked ------------------------------------------------------------------------------------------

    async def series(
        self, probe_id: str, *, since_ms: int, until_ms: int | None = None, step_s: int = 10, by: str = ""
    ) -> Series:
        """The points of a probe: of the metric it measured last.

        Args:
            until_ms: Until now where None.
            step_s: A multiple of ten; it is made longer where more than ``MAX_POINTS`` would come out.
            by: A tag, whose values become a line each; empty for one line of all.
        """
        now_ms = self._now_ms()
        since_ms = max(since_ms, now_ms - RETAIN_MS) // _BLOCK_MS * _BLOCK_MS
        until_ms = now_ms + _BLOCK_MS if until_ms is None else min(until_ms, now_ms + _BLOCK_MS)
        step_ms = max(1, round(step_s / BUCKET_S)) * _BLOCK_MS
        while (until_ms - since_ms) / step_ms > MAX_POINTS:
            step_ms *= 2
        return await asyncio.to_thread(self._series, probe_id, since_ms, until_ms, step_ms, by)

    def _series(self, probe_id: str, since_ms: int, until_ms: int, step_ms: int, by: str) -> Series:
        with self._database.read() as c:
            rows = list(
                store.series(
                    c, self._org_id, probe_id, since_ms=since_ms, until_ms=until_ms, with_sets=by != ""
                )
            )
        if not rows:
            return Series("", "", step_ms // 1000, [], False)
        metric, kind = rows[-1].key.metric, rows[-1].key.kind
        lines: dict[str, dict[int, Cell]] = {}
        for row in rows:
            if (row.key.metric, row.key.kind) != (metric, kind):
                continue
            at_ms = row.key.at_ms // step_ms * step_ms
            cells = [("", total_of(row.total))]
            if by:
                cells = [(_label(tags, by), cell) for tags, cell in sets_of(row.sets).items()]
            for label, cell in cells:
                lines.setdefault(label, {}).setdefault(at_ms, Cell()).add(cell)
        ordered = sorted(
            lines.items(), key=lambda line: (-sum(cell.count for cell in line[1].values()), line[0])
        )
        return Series(
            metric,
            kind,
            step_ms // 1000,
            [
                Line(label, [_point(at_ms, cell) for at_ms, cell in sorted(cells.items())])
                for label, cells in ordered[:MAX_LINES]
            ],
            len(ordered) > MAX_LINES,
        )

    def latest(self, probe_id: str) -> Latest | None:
        """The newest block of a probe, from memory; None where nothing was measured for a day."""
        held = self._probes.get(probe_id)
        if held is None or not held.recent:
            return None
        newest = max(held.recent, key=lambda key: key.at_ms)
        now_ms = self._now_ms()
        if newest.at_ms < now_ms - RETAIN_MS:
            return None
        return Latest(
            newest.metric,
            newest.kind,
            _point(newest.at_ms, held.recent[newest]),
            _per_s(held, newest, now_ms),
            held.heard_ms,
        )

    def tag_keys(self, probe_id: str) -> list[str]:
        """The tags by which its series may be told apart."""
        held = self._probes.get(probe_id)
        return [] if held is None else sorted(held.tag_keys)

    def generation(self, probe_id: str) -> int:
        """Grows whenever something was measured."""
        held = self._probes.get(probe_id)
        return 0 if held is None else held.generation

    # What goes ----------------------------------------------------------------------------------------------

    def forget_old(self, c: sa.Connection) -> list[store.ProbeStored]:
        """Drop what is older than a day or beyond what is kept, in a thread; returns what is left."""
        gone = store.forget_blocks(c, self._org_id, before_ms=self._now_ms() - RETAIN_MS)
        over = self._stored_blocks - gone - MAX_BLOCKS
        if over > 0 and (until_ms := store.oldest_blocks_until(c, self._org_id, count=over)) is not None:
            store.forget_blocks(c, self._org_id, before_ms=until_ms)
        return store.probes_stored(c, self._org_id)

    def forgotten(self, left: Sequence[store.ProbeStored]) -> None:
        """Note what is left in the database."""
        stored = {each.probe_id: each for each in left}
        waiting = {key.probe_id for key in self._pending}
        self._stored_blocks = sum(each.blocks for each in left)
        for probe_id, held in list(self._probes.items()):
            if (found := stored.get(probe_id)) is not None:
                held.stored = found.stored
            elif probe_id not in waiting:
                del self._probes[probe_id]


def _point(at_ms: int, cell: Cell) -> Point:
    return Point(
        at_ms, cell.count, rounded(cell.sum), cell.min, cell.max, cell.last,
        *(None if each is None else rounded(each) for each in cell.quantiles()),
    )  # fmt: skip


def _per_s(held: _Held, newest: BlockKey, now_ms: int) -> float:
    """Values a second of a metric: what agents hold back for a moment is not missed."""
    first_ms = now_ms // _BLOCK_MS * _BLOCK_MS - (RATE_BLOCKS - 1) * _BLOCK_MS
    counted = [
        (key.at_ms, cell.count)
        for key, cell in held.recent.items()
        if (key.metric, key.kind) == (newest.metric, newest.kind) and key.at_ms >= first_ms
    ]
    since_ms = held.since_ms - _ON_THE_WAY_MS
    for at_ms, _ in counted:
        if at_ms + _BLOCK_MS <= since_ms:
            since_ms = at_ms  # measured before anything was heard: an agent was away
    lasts_ms = now_ms - max(first_ms, since_ms)
    return sum(count for _, count in counted) / (max(lasts_ms, 1_000) / 1000)


def _label(tags: tuple[str, ...], by: str) -> str:
    """The values of a tag, which may be several."""
    if tags == OTHER:
        return OTHER_LABEL
    return ", ".join(tag[len(by) + 1 :] for tag in tags if tag.startswith(f"{by}:"))


def _note_tags(held: _Held, sets: Iterable[tuple[str, ...]]) -> None:
    for tags in sets:
        for tag in tags:
            key, colon, _ = tag.partition(":")
            if colon and key not in held.tag_keys and len(held.tag_keys) < MAX_TAG_KEYS:
                held.tag_keys[key] = None
