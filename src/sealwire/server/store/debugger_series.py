"""What the store holds of metrics and spans of probes. All times are milliseconds.

A block is read, added to and put back in one transaction; ``lock_series`` keeps two control planes on one
database from doing so at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sealwire.server.store.debugger_series_tables import (
    debugger_blocks,
    debugger_span_counts,
    debugger_spans,
)
from sealwire.server.store.write import upsert

_LOCK: Final = 0x5EA15  # with the number of the organisation, on PostgreSQL
_AT_ONCE: Final = 200

_b = debugger_blocks.c
_s = debugger_spans.c
_n = debugger_span_counts.c


class BlockKey(NamedTuple):
    """Which block."""

    probe_id: str
    at_ms: int
    metric: str
    kind: str


class BlockRow(NamedTuple):
    """A block, packed."""

    key: BlockKey
    total: bytes
    sets: bytes


class ProbeStored(NamedTuple):
    """What is stored of the metrics of a probe."""

    probe_id: str
    blocks: int
    stored: int  # bytes
    newest_ms: int


class SpanRow(NamedTuple):
    """A span that is stored; ``row_id`` is 0 until it is."""

    row_id: int
    probe_id: str
    at_ms: int
    service: str
    env: str
    trace_id: str
    document: bytes


class SpanCountRow(NamedTuple):
    """How many spans of a probe there were in an hour."""

    probe_id: str
    hour_ms: int
    seen: int
    kept: int
    last_ms: int


def lock_series(c: sa.Connection, org_id: int) -> None:
    """Nobody else adds to blocks of this organisation until this transaction ends."""
    if c.dialect.name == "postgresql":  # SQLite has one writer anyway
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, org_id)))


# Blocks -----------------------------------------------------------------------------------------------------


def blocks(c: sa.Connection, org_id: int, keys: Collection[BlockKey]) -> dict[BlockKey, BlockRow]:
    """Those of these that are there."""
    found: dict[BlockKey, BlockRow] = {}
    wanted = sorted(keys)
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        asked = sa.select(debugger_blocks).where(
            _b.org_id == org_id,
            _b.probe_id.in_({key.probe_id for key in some}),
            _b.at_ms.in_({key.at_ms for key in some}),
        )
        for row in c.execute(asked):
            block = _block(row)
            if block.key in keys:
                found[block.key] = block
    return found


def put_blocks(c: sa.Connection, org_id: int, rows: Iterable[BlockRow]) -> None:
    """Write blocks, each in place of what had its key."""
    upsert(
        c,
        debugger_blocks,
        [
            {
                "org_id": org_id, **row.key._asdict(),
                "stored": len(row.total) + len(row.sets), "total": row.total, "sets": row.sets,
            }
            for row in rows
        ],
    )  # fmt: skip


def series(
    c: sa.Connection, org_id: int, probe_id: str, *, since_ms: int, until_ms: int, with_sets: bool
) -> Iterator[BlockRow]:
    """The blocks of a probe, oldest first."""
    sets = _b.sets if with_sets else sa.literal(b"", sa.LargeBinary).label("sets")
    asked = (
        sa.select(_b.probe_id, _b.at_ms, _b.metric, _b.kind, _b.total, sets)
        .where(_b.org_id == org_id, _b.probe_id == probe_id, _b.at_ms >= since_ms, _b.at_ms < until_ms)
        .order_by(_b.at_ms)
    )
    for row in c.execute(asked):
        yield _block(row)


def newest_blocks(c: sa.Connection, org_id: int, *, limit: int) -> list[BlockRow]:
    """The newest blocks of all probes, oldest first."""
    asked = sa.select(debugger_blocks).where(_b.org_id == org_id).order_by(_b.at_ms.desc()).limit(limit)
    return [_block(row) for row in reversed(c.execute(asked).all())]


def probes_stored(c: sa.Connection, org_id: int) -> list[ProbeStored]:
    """Which probes have blocks."""
    asked = (
        sa.select(_b.probe_id, sa.func.count(), sa.func.sum(_b.stored), sa.func.max(_b.at_ms))
        .where(_b.org_id == org_id)
        .group_by(_b.probe_id)
    )
    return [
        ProbeStored(probe_id, int(count), int(stored), int(newest))
        for probe_id, count, stored, newest in c.execute(asked)
    ]


def forget_blocks(c: sa.Connection, org_id: int, *, before_ms: int) -> int:
    """Drop older ones; returns how many."""
    return c.execute(sa.delete(debugger_blocks).where(_b.org_id == org_id, _b.at_ms < before_ms)).rowcount


def oldest_blocks_until(c: sa.Connection, org_id: int, *, count: int) -> int | None:
    """When so many of the oldest blocks are over: what is before then may be dropped."""
    asked = sa.select(_b.at_ms).where(_b.org_id == org_id).order_by(_b.at_ms).offset(count).limit(1)
    found = c.execute(asked).scalar_one_or_none()
    return None if found is None else int(found)


def _block(row: Any) -> BlockRow:
    return BlockRow(
        BlockKey(row.probe_id, int(row.at_ms), row.metric, row.kind), bytes(row.total), bytes(row.sets)
    )


# Spans ------------------------------------------------------------------------------------------------------


def put_spans(c: sa.Connection, org_id: int, rows: Sequence[SpanRow]) -> None:
    """Add spans."""
    if rows:
        values = [{"org_id": org_id, **row._asdict()} for row in rows]
        for value in values:
            del value["row_id"]
        c.execute(sa.insert(debugger_spans), values)


def spans(
    c: sa.Connection,
    org_id: int,
    probe_id: str,
    *,
    service: str = "",
    env: str = "",
    trace_id: str = "",
    since_ms: int = 0,
    before: int | None = None,
    limit: int = 50,
) -> list[SpanRow]:
    """Spans of a probe, those that came last first.

    Args:
        before: The row id of the last one before these.
    """
    asked = sa.select(debugger_spans).where(
        _s.org_id == org_id, _s.probe_id == probe_id, _s.at_ms >= since_ms
    )
    for column, text in ((_s.service, service), (_s.env, env), (_s.trace_id, trace_id)):
        if text:
            asked = asked.where(column == text.replace("\0", ""))
    if before is not None:
        asked = asked.where(_s.row_id < before)
    return [
        SpanRow(
            int(row.row_id), row.probe_id, int(row.at_ms), row.service, row.env, row.trace_id,
            bytes(row.document),
        )
        for row in c.execute(asked.order_by(_s.row_id.desc()).limit(limit))
    ]  # fmt: skip


def forget_spans(c: sa.Connection, org_id: int, *, before_ms: int, newest: int, newest_of_each: int) -> int:
    """Drop older ones, and those beyond so many of the newest, of each probe and of all; returns how many."""
    gone = c.execute(sa.delete(debugger_spans).where(_s.org_id == org_id, _s.at_ms < before_ms)).rowcount
    counted = c.execute(
        sa.select(_s.probe_id, sa.func.count()).where(_s.org_id == org_id).group_by(_s.probe_id)
    ).all()
    for probe_id, count in counted:
        if count > newest_of_each:
            gone += _forget_beyond(c, newest_of_each, _s.org_id == org_id, _s.probe_id == probe_id)
    if sum(min(count, newest_of_each) for _, count in counted) > newest:
        gone += _forget_beyond(c, newest, _s.org_id == org_id)
    return gone


def _forget_beyond(c: sa.Connection, newest: int, *which: sa.ColumnElement[bool]) -> int:
    last = c.execute(
        sa.select(_s.row_id).where(*which).order_by(_s.row_id.desc()).offset(newest).limit(1)
    ).scalar_one_or_none()
    if last is None:
        return 0
    return c.execute(sa.delete(debugger_spans).where(*which, _s.row_id <= last)).rowcount


def add_span_counts(c: sa.Connection, org_id: int, rows: Sequence[SpanCountRow]) -> None:
    """Add to what was counted."""
    if not rows:
        return
    insert = (postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert)(debugger_span_counts)
    c.execute(
        insert.on_conflict_do_update(
            index_elements=["org_id", "probe_id", "hour_ms"],
            set_={
                "seen": _n.seen + insert.excluded.seen,
                "kept": _n.kept + insert.excluded.kept,
                "last_ms": sa.case(
                    (_n.last_ms > insert.excluded.last_ms, _n.last_ms), else_=insert.excluded.last_ms
                ),
            },
        ),
        [{"org_id": org_id, **row._asdict()} for row in rows],
    )


def span_counts(c: sa.Connection, org_id: int, *, since_ms: int) -> list[SpanCountRow]:
    """What was counted since then."""
    asked = sa.select(debugger_span_counts).where(_n.org_id == org_id, _n.hour_ms >= since_ms)
    return [
        SpanCountRow(row.probe_id, int(row.hour_ms), int(row.seen), int(row.kept), int(row.last_ms))
        for row in c.execute(asked.order_by(_n.hour_ms))
    ]


def forget_span_counts(c: sa.Connection, org_id: int, *, before_ms: int) -> int:
    """Drop older ones; returns how many."""
    return c.execute(
        sa.delete(debugger_span_counts).where(_n.org_id == org_id, _n.hour_ms < before_ms)
    ).rowcount
