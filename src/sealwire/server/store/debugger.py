"""What the store holds of what probes brought: snapshots, counts, statuses, settings.

All times are milliseconds; a span of time has its start and not its end. What a program had in its variables
is in sealed columns only, and nothing in here can open them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sealwire.server.store.debugger_tables import (
    debugger_counts,
    debugger_settings,
    debugger_snapshots,
    debugger_statuses,
)
from sealwire.server.store.write import upsert

INSERT_AT_ONCE: Final = 500
_s = debugger_snapshots.c
_n = debugger_counts.c
_p = debugger_statuses.c


# Snapshots ------------------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """A snapshot as lists have it; nothing of what was in the program's variables.

    Attributes:
        at_ms: When the probe was reached, by our clock as well as can be told.
        version: Of the application.
        has_values: Whether it captured any.
        errors: How many expressions failed.
        bytes: As it came.
    """

    snapshot_id: str
    probe_id: str
    probe_version: int
    at_ms: int
    service: str
    env: str
    version: str
    host: str
    language: str
    trace_id: str
    span_id: str
    has_values: bool
    errors: int
    bytes: int
    duration_ns: int | None


class SealedSnapshot(NamedTuple):
    """A snapshot to put, or as found."""

    kept: Kept
    message: bytes
    document: bytes


class Wanted(NamedTuple):
    """Which snapshots are looked for; what is empty or None does not matter.

    Attributes:
        version: Of the probe.
        before: ``at_ms`` and ``snapshot_id`` of the last one of the page before.
    """

    probe_id: str = ""
    service: str = ""
    env: str = ""
    trace_id: str = ""
    version: int | None = None
    has_values: bool | None = None
    has_errors: bool | None = None
    since_ms: int = 0
    until_ms: int | None = None
    before: tuple[int, str] | None = None


class Held(NamedTuple):
    """How much is held of a probe."""

    snapshots: int
    bytes: int


_KEPT: Final = tuple(_s[name] for name in Kept._fields)


def put_snapshots(c: sa.Connection, org_id: int, made: Sequence[SealedSnapshot]) -> None:
    """Put snapshots; one that is there already stays as it is."""
    insert = (postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert)(debugger_snapshots)
    statement = insert.on_conflict_do_nothing(index_elements=[_s.org_id, _s.snapshot_id])
    values = [
        {
            "org_id": org_id,
            **one.kept._asdict(),
            "stored": len(one.message) + len(one.document),
            "message": one.message,
            "document": one.document,
        }
        for one in made
    ]
    for start in range(0, len(values), INSERT_AT_ONCE):
        c.execute(statement, values[start : start + INSERT_AT_ONCE])


def snapshots(c: sa.Connection, org_id: int, wanted: Wanted, *, limit: int) -> list[Kept]:
    """Snapshots, newest first."""
    asked = sa.select(*_KEPT).where(_s.org_id == org_id, *_conditions(wanted))
    asked = asked.order_by(_s.at_ms.desc(), _s.snapshot_id.desc()).limit(limit)
    return [Kept(*row) for row in c.execute(asked)]


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    for column, value in (
        (_s.probe_id, wanted.probe_id),
        (_s.service, wanted.service),
        (_s.env, wanted.env),
        (_s.trace_id, wanted.trace_id),
    ):
        if value:
            found.append(column == value)
    if wanted.version is not None:
        found.append(_s.probe_version == wanted.version)
    if wanted.has_values is not None:
        found.append(_s.has_values == wanted.has_values)
    if wanted.has_errors is not None:
        found.append(_s.errors > 0 if wanted.has_errors else _s.errors == 0)
    if wanted.since_ms:
        found.append(_s.at_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        found.append(_s.at_ms < wanted.until_ms)
    if wanted.before is not None:
        at_ms, snapshot_id = wanted.before
        found.append(_s.at_ms <= at_ms)
        found.append(sa.or_(_s.at_ms < at_ms, _s.snapshot_id < snapshot_id))
    return found


def sealed_snapshots(c: sa.Connection, org_id: int, ids: Collection[str]) -> list[SealedSnapshot]:
    """Those that are there of some, in no order."""
    asked = sa.select(*_KEPT, _s.message, _s.document).where(
        _s.org_id == org_id, _s.snapshot_id.in_(list(ids))
    )
    return [
        SealedSnapshot(Kept(*row[:-2]), bytes(row.message), bytes(row.document)) for row in c.execute(asked)
    ]


def sealed_messages(c: sa.Connection, org_id: int, ids: Collection[str]) -> dict[str, bytes]:
    """The messages of those that are there, by id."""
    asked = sa.select(_s.snapshot_id, _s.message).where(_s.org_id == org_id, _s.snapshot_id.in_(list(ids)))
    return {snapshot_id: bytes(message) for snapshot_id, message in c.execute(asked)}


def held(c: sa.Connection, org_id: int) -> dict[str, Held]:
    """How much there is, by probe."""
    asked = (
        sa.select(_s.probe_id, sa.func.count(), sa.func.sum(_s.stored))
        .where(_s.org_id == org_id)
        .group_by(_s.probe_id)
    )
    return {probe_id: Held(int(count), int(size)) for probe_id, count, size in c.execute(asked)}


def forget_snapshots(
    c: sa.Connection, org_id: int, *, probe_id: str = "", before_ms: int | None = None, most: int
) -> dict[str, Held]:
    """Drop the oldest, of a probe or older than a moment; says how much of which probe.

    Args:
        most: So many at once.
    """
    asked = sa.select(_s.row_id, _s.probe_id, _s.stored).where(_s.org_id == org_id)
    if probe_id:
        asked = asked.where(_s.probe_id == probe_id)
    if before_ms is not None:
        asked = asked.where(_s.at_ms < before_ms)
    found = c.execute(asked.order_by(_s.at_ms).limit(most)).all()
    gone: dict[str, Held] = {}
    for _, of_probe, stored in found:
        before = gone.get(of_probe, Held(0, 0))
        gone[of_probe] = Held(before.snapshots + 1, before.bytes + stored)
    ids = [row.row_id for row in found]
    for start in range(0, len(ids), INSERT_AT_ONCE):
        c.execute(debugger_snapshots.delete().where(_s.row_id.in_(ids[start : start + INSERT_AT_ONCE])))
    return gone


# Counts ---------------------------------------------------------------------------------------------------


class CountRow(NamedTuple):
    """What came of a probe."""

    kept: int
    over_quota: int
    refused: int
    last_ms: int


def add_counts(c: sa.Connection, org_id: int, more: Mapping[str, CountRow]) -> None:
    """Add to what is counted of each probe."""
    if not more:
        return
    insert = (postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert)(debugger_counts)
    latest = sa.case((insert.excluded.last_ms > _n.last_ms, insert.excluded.last_ms), else_=_n.last_ms)
    statement = insert.on_conflict_do_update(
        index_elements=[_n.org_id, _n.probe_id],
        set_={
            "kept": _n.kept + insert.excluded.kept,
            "over_quota": _n.over_quota + insert.excluded.over_quota,
            "refused": _n.refused + insert.excluded.refused,
            "last_ms": latest,
        },
    )
    values = [{"org_id": org_id, "probe_id": key, **row._asdict()} for key, row in more.items()]
    c.execute(statement, values)


def load_counts(c: sa.Connection, org_id: int) -> dict[str, CountRow]:
    """What is counted, by probe."""
    asked = sa.select(_n.probe_id, _n.kept, _n.over_quota, _n.refused, _n.last_ms).where(_n.org_id == org_id)
    return {row[0]: CountRow(*row[1:]) for row in c.execute(asked)}


def forget_counts(c: sa.Connection, org_id: int, *, before_ms: int) -> None:
    """Drop those of probes of which nothing came for long."""
    c.execute(debugger_counts.delete().where(_n.org_id == org_id, _n.last_ms < before_ms))


# Statuses -------------------------------------------------------------------------------------------------


class StatusRow(NamedTuple):
    """The last that a process said of a version of a probe; ``failure`` is JSON or empty."""

    probe_id: str
    version: int
    runtime_id: str
    parent_id: str
    service: str
    env: str
    host: str
    status: str
    at_ms: int
    since_ms: int
    seen_ms: int
    failure: str


def put_statuses(c: sa.Connection, org_id: int, said: Iterable[StatusRow]) -> None:
    """Put what processes said in place of what they said before."""
    values: list[dict[str, Any]] = [{"org_id": org_id, **row._asdict()} for row in said]
    for start in range(0, len(values), INSERT_AT_ONCE):
        upsert(c, debugger_statuses, values[start : start + INSERT_AT_ONCE])


def remove_statuses(c: sa.Connection, org_id: int, gone: Collection[tuple[str, str]]) -> None:
    """Drop all that some processes, as (probe, runtime), said before."""
    pairs = sorted(gone)
    for start in range(0, len(pairs), INSERT_AT_ONCE):
        some = sa.tuple_(_p.probe_id, _p.runtime_id).in_(pairs[start : start + INSERT_AT_ONCE])
        c.execute(debugger_statuses.delete().where(_p.org_id == org_id, some))


def load_statuses(c: sa.Connection, org_id: int) -> list[StatusRow]:
    """All of them."""
    asked = sa.select(*(_p[name] for name in StatusRow._fields)).where(_p.org_id == org_id)
    return [StatusRow(*row) for row in c.execute(asked.order_by(_p.seen_ms))]


def forget_statuses(c: sa.Connection, org_id: int, *, before_ms: int) -> None:
    """Drop those of processes that said nothing for long."""
    c.execute(debugger_statuses.delete().where(_p.org_id == org_id, _p.seen_ms < before_ms))


# Settings -------------------------------------------------------------------------------------------------


class SettingsRow(NamedTuple):
    """Settings as they are stored; ``document`` is JSON."""

    revision: int
    document: str
    changed_by: str
    changed_ms: int


def load_settings(c: sa.Connection, org_id: int) -> SettingsRow | None:
    """What an organisation chose; None: nothing yet."""
    t = debugger_settings.c
    found = c.execute(
        sa.select(t.revision, t.document, t.changed_by, t.changed_ms).where(t.org_id == org_id)
    ).one_or_none()
    return None if found is None else SettingsRow(*found)


def save_settings(c: sa.Connection, org_id: int, row: SettingsRow) -> None:
    """Replace them."""
    upsert(c, debugger_settings, [{"org_id": org_id, **row._asdict()}])
