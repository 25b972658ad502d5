"""The audit trail in the database: events appended to their chain, the chain's head, pages of events.

A transaction that writes collects its events and appends them as the last thing it does
(``at_the_end``): the row of the head is a lock that every writer of the organisation takes, and a lock that
is always taken last cannot be part of a deadlock. Events of before there was a chain are chained once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sealwire.server import audit
from sealwire.server.audit.chain import GENESIS, Head, event_sha256
from sealwire.server.store import rows
from sealwire.server.store import tables as t

_PENDING = "sealwire_audit"
BATCH = 2000
SIZED = 500


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event on its way into the chain; ``detail`` and ``context`` are JSON."""

    org_id: int
    at_ms: int
    actor: str
    action: str
    subject: str
    summary: str
    detail: str
    context: str


def new_event(
    org_id: int,
    *,
    at_ms: int,
    actor: str,
    action: str,
    subject: str,
    summary: str,
    detail: Mapping[str, Any] | None,
    context: Mapping[str, str] | None = None,
) -> NewEvent:
    """An event of what runs now, unless another context is given; texts are made to fit."""
    return NewEvent(
        org_id, at_ms, audit.clean(actor, audit.MAX_ACTOR_CHARS),
        audit.clean(action, audit.MAX_ACTION_CHARS), audit.clean(subject, audit.MAX_SUBJECT_CHARS),
        audit.clean(summary, audit.MAX_SUMMARY_CHARS), json.dumps(detail or {}, sort_keys=True),
        json.dumps(audit.context().to_dict() if context is None else context, sort_keys=True),
    )  # fmt: skip


# Writing ----------------------------------------------------------------------------------------------


@contextmanager
def at_the_end(c: sa.Connection) -> Iterator[None]:
    """Events that are added within are appended when all else was done, in the same transaction."""
    pending: list[NewEvent] = []
    c.info[_PENDING] = pending
    try:
        yield
        for org_id in sorted({event.org_id for event in pending}):
            _append(c, org_id, [event for event in pending if event.org_id == org_id])
    finally:
        c.info.pop(_PENDING, None)


def add(c: sa.Connection, event: NewEvent) -> None:
    """One more event of this transaction."""
    pending = c.info.get(_PENDING)
    if pending is None:
        raise RuntimeError("an audit event belongs into a writing transaction of Database.write")
    pending.append(event)


def add_head(c: sa.Connection, org_id: int) -> bool:
    """The head of a chain without events; False when there is one already."""
    insert = (postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert)(t.audit_heads)
    made = insert.values(org_id=org_id, events=0, sha256=GENESIS).on_conflict_do_nothing()
    return c.execute(made.returning(t.audit_heads.c.org_id)).one_or_none() is not None


def _append(c: sa.Connection, org_id: int, events: list[NewEvent]) -> None:
    found = _lock(c, org_id)
    if found is None:
        _make_head_again(c, org_id, events[-1].at_ms)
        found = _lock(c, org_id)
        if found is None:
            raise RuntimeError("the head of the audit chain was made and is not there")
    org, count, previous = found
    values = []
    for event_id, event in zip(_next_ids(c, len(events)), events, strict=True):
        sha256 = event_sha256(_hashed(event_id, org, event, previous))
        values.append(
            {
                "id": event_id,
                "org_id": org_id,
                "at_ms": event.at_ms,
                "actor": event.actor,
                "action": event.action,
                "subject": event.subject,
                "summary": event.summary,
                "detail": event.detail,
                "context": event.context,
                "prev_sha256": previous,
                "sha256": sha256,
            }
        )
        previous = sha256
    c.execute(sa.insert(t.audit_events), values)
    _set_head(c, org_id, Head(count + len(values), previous))


def _lock(c: sa.Connection, org_id: int) -> tuple[str, int, str] | None:
    """The organisation's UUID and the head of its chain, which nobody else moves until this ends."""
    h, o = t.audit_heads, t.organisations
    row = c.execute(
        sa.select(o.c.uuid, h.c.events, h.c.sha256)
        .select_from(h.outerjoin(o, o.c.org_id == h.c.org_id))
        .where(h.c.org_id == org_id)
        .with_for_update(of=h)
    ).one_or_none()
    return None if row is None else (row.uuid or "", row.events, row.sha256)


def _next_ids(c: sa.Connection, count: int) -> list[int]:
    """Ids for the next events, greater than all there are of this chain: the head is locked already."""
    if c.dialect.name == "postgresql":
        sequence = sa.func.pg_get_serial_sequence("audit_events", "id")
        numbers = sa.select(sa.func.nextval(sequence)).select_from(sa.func.generate_series(1, count).alias())
        return sorted(int(number) for number in c.execute(numbers).scalars())
    # The lock of SQLite is of the whole database.
    last = c.execute(sa.select(sa.func.max(t.audit_events.c.id))).scalar_one_or_none() or 0
    return list(range(last + 1, last + 1 + count))


def _set_head(c: sa.Connection, org_id: int, head: Head) -> None:
    h = t.audit_heads
    c.execute(sa.update(h).where(h.c.org_id == org_id).values(events=head.events, sha256=head.sha256))


def _make_head_again(c: sa.Connection, org_id: int, at_ms: int) -> None:
    """Attack: the head was taken away, to hide a cut end. The chain goes on, and the alarm says so."""
    if not add_head(c, org_id):
        return
    a = t.audit_events.c
    chained = sa.select(sa.func.count()).select_from(t.audit_events)
    count = c.execute(chained.where(a.org_id == org_id, a.sha256.is_not(None))).scalar_one()
    if not count:
        return
    newest = sa.select(a.sha256).where(a.org_id == org_id, a.sha256.is_not(None)).order_by(a.id.desc())
    _set_head(c, org_id, Head(count, str(c.execute(newest.limit(1)).scalar_one())))
    c.execute(
        sa.insert(t.alarms).values(
            org_id=org_id, at_ms=at_ms, kind="audit-chain", subject="audit trail",
            message="The head of the audit trail's chain was missing and was made again from the last event: "
            "compare it with a head that was noted elsewhere (sealwire audit verify --expect-head).",
        )
    )  # fmt: skip


def chain_old_events(c: sa.Connection) -> int:
    """Give every organisation that has none its head, and chain its events in order; returns how many.

    What is written past the chain later is not taken in: verification tells of it.
    """
    chained = 0
    for org_id, org in c.execute(sa.select(t.organisations.c.org_id, t.organisations.c.uuid)).all():
        if not add_head(c, org_id):
            continue
        _lock(c, org_id)
        a = t.audit_events.c
        last_id, previous, count = 0, GENESIS, 0
        while True:
            found = c.execute(
                sa.select(t.audit_events)
                .where(a.org_id == org_id, a.id > last_id, a.sha256.is_(None))
                .order_by(a.id)
                .limit(BATCH)
            ).all()
            if not found:
                break
            changes = []
            for row in found:
                event = NewEvent(
                    org_id,
                    row.at_ms,
                    row.actor,
                    row.action,
                    row.subject,
                    row.summary,
                    row.detail,
                    row.context,
                )
                sha256 = event_sha256(_hashed(row.id, org, event, previous))
                changes.append({"the_id": row.id, "before": previous, "own": sha256})
                last_id, previous, count = row.id, sha256, count + 1
            update = sa.update(t.audit_events).where(a.id == sa.bindparam("the_id"))
            c.execute(update.values(prev_sha256=sa.bindparam("before"), sha256=sa.bindparam("own")), changes)
        _set_head(c, org_id, Head(count, previous))
        chained += count
    return chained


def _hashed(event_id: int, org: str, event: NewEvent, previous: str) -> dict[str, Any]:
    return {
        "id": event_id,
        "org": org,
        "at_ms": event.at_ms,
        "actor": event.actor,
        "action": event.action,
        "subject": event.subject,
        "summary": event.summary,
        "detail": json.loads(event.detail),
        "context": json.loads(event.context),
        "prev_sha256": previous,
    }


# Reading ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sought:
    """One thing that must hold of an event, or must not; any of the values will do.

    Attributes:
        field: ``actor``, ``action``, ``subject``, ``address``, ``request``; empty for any text of it.
        values: ``*`` stands for anything; without a field, anything may stand around them too.
    """

    field: str
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which events are looked for: all of it must hold; the times are included and excluded."""

    sought: tuple[Sought, ...] = ()
    from_ms: int | None = None
    until_ms: int | None = None


EVERYTHING = Criteria()


def find(
    c: sa.Connection,
    org_id: int,
    criteria: Criteria = EVERYTHING,
    *,
    limit: int,
    before: int | None = None,
    after: int | None = None,
) -> list[rows.AuditRow]:
    """Events, newest first; ``before`` and ``after`` are ids that a page ends and begins at.

    With ``after`` the page is the one next to it, so the oldest of what is newer.
    """
    a = t.audit_events.c
    query = sa.select(t.audit_events).where(a.org_id == org_id, *_conditions(criteria)).limit(limit)
    if after is not None:
        newer = c.execute(query.where(a.id > after).order_by(a.id)).all()
        return [row_of(row) for row in reversed(newer)]
    if before is not None:
        query = query.where(a.id < before)
    return [row_of(row) for row in c.execute(query.order_by(a.id.desc()))]


def _conditions(criteria: Criteria) -> Iterator[sa.ColumnElement[bool]]:
    a = t.audit_events.c
    if criteria.from_ms is not None:
        yield a.at_ms >= criteria.from_ms
    if criteria.until_ms is not None:
        yield a.at_ms < criteria.until_ms
    for one in criteria.sought:
        found: list[sa.ColumnElement[bool]] = []
        for value in one.values:
            if one.field in ("actor", "action", "subject"):
                found.append(_like(a[one.field], _pattern(value)))
            elif one.field in ("address", "request"):
                name = {"address": "address", "request": "request_id"}[one.field]
                found.append(_like(a.context, f'%"{name}": "{_pattern(value)}"%'))
            else:
                words = f"%{_pattern(value)}%"
                found += [
                    _like(a[name], words) for name in ("actor", "action", "subject", "summary", "detail")
                ]
        either = sa.or_(*found)
        yield sa.not_(either) if one.negated else either


def _pattern(value: str) -> str:
    value = value.encode("utf-8", "replace").decode().replace("\0", "�")  # no database has either
    for special in ("\\", "%", "_"):
        value = value.replace(special, "\\" + special)
    return value.replace("*", "%")


def _like(column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
    return column.ilike(pattern, escape="\\")


def row_of(row: sa.Row[Any]) -> rows.AuditRow:
    """An event as the rest of the control plane sees it."""
    return rows.AuditRow(
        id=row.id,
        at_ms=row.at_ms,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        summary=row.summary,
        detail=_read(row.detail),
        context=_read(row.context),
        prev_sha256=row.prev_sha256,
        sha256=row.sha256,
    )


def _read(text: str) -> Any:
    """Stored JSON; what somebody made of it by hand stays visible, and is found by verification."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"damaged": text}


def to_chain(row: rows.AuditRow, org: str) -> dict[str, Any]:
    """An event as it is hashed and exported: the members that the chain is about, and its hash."""
    return {
        "id": row.id,
        "org": org,
        "at_ms": row.at_ms,
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "summary": row.summary,
        "detail": row.detail,
        "context": row.context,
        "prev_sha256": row.prev_sha256,
        "sha256": row.sha256,
    }


def oldest(
    c: sa.Connection, org_id: int, *, after: int, limit: int, criteria: Criteria = EVERYTHING
) -> list[rows.AuditRow]:
    """Events in the order they were written, from the one after an id on."""
    a = t.audit_events.c
    query = (
        sa.select(t.audit_events)
        .where(a.org_id == org_id, a.id > after, *_conditions(criteria))
        .order_by(a.id)
        .limit(limit)
    )
    return [row_of(row) for row in c.execute(query)]


def head(c: sa.Connection, org_id: int) -> Head | None:
    """Where the chain of an organisation ends; None when its head is missing."""
    h = t.audit_heads
    row = c.execute(sa.select(h).where(h.c.org_id == org_id)).one_or_none()
    return None if row is None else Head(row.events, row.sha256)


def size(c: sa.Connection, org_id: int) -> int:
    """About how many bytes the events of an organisation take, by the newest of them."""
    e = t.audit_events.c
    length = sa.func.length
    each = (length(e.summary) + length(e.detail) + length(e.context) + 250).label("bytes")
    newest = sa.select(each).where(e.org_id == org_id).order_by(e.id.desc()).limit(SIZED).subquery()
    average = c.execute(sa.select(sa.func.avg(newest.c.bytes))).scalar_one_or_none()
    end = head(c, org_id)
    return int(float(average or 0) * (0 if end is None else max(0, end.events)))
