"""Probes as rows: their configs with what only probes have, and the stops that hold."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple

import sqlalchemy as sa

from sealwire.server.store import probe_tables as p
from sealwire.server.store import rows, write
from sealwire.server.store import tables as t

MAX_LISTED = 2_000
_AT_ONCE = 500  # ids in one statement


class NoteRow(NamedTuple):
    """What a probe has besides its config.

    Attributes:
        minutes: How long it lasts from each change.
        paused_revision: The revision of the config by which it was paused; None: it is not.
        stop_id: The stop that paused it; empty: somebody did.
    """

    config_id: str
    minutes: int
    paused_revision: int | None = None
    paused_ms: int | None = None
    paused_by: str = ""
    stop_id: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop of everything in a scope; without service and env: in the organisation.

    Attributes:
        count: Probes it paused.
        lifted_ms: None while it holds.
    """

    stop_id: str
    service: str
    env: str
    reason: str
    by: str
    at_ms: int
    count: int
    lifted_by: str = ""
    lifted_ms: int | None = None


def _note(row: sa.Row[tuple[object, ...]]) -> NoteRow:
    return NoteRow(*(row._mapping[name] for name in NoteRow._fields))


def notes(
    c: sa.Connection, org_id: int, config_ids: Collection[str] | None = None, *, stop_id: str = ""
) -> dict[str, NoteRow]:
    """Notes by config id: of these, or of all; with ``stop_id`` only those it paused."""
    query = sa.select(p.probes).where(p.probes.c.org_id == org_id)
    if stop_id:
        query = query.where(p.probes.c.stop_id == stop_id, p.probes.c.paused_revision.is_not(None))
    if config_ids is None:
        return {row.config_id: _note(row) for row in c.execute(query)}
    wanted = list(config_ids)
    found = {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = p.probes.c.config_id.in_(wanted[start : start + _AT_ONCE])
        found.update({row.config_id: _note(row) for row in c.execute(query.where(some))})
    return found


def put_note(c: sa.Connection, org_id: int, note: NoteRow) -> None:
    """Write what a probe has besides its config."""
    write.upsert(c, p.probes, [{"org_id": org_id, **note._asdict()}])


def probe_configs(
    c: sa.Connection, org_id: int, product: str, *, live: bool, over: bool, now_ms: int
) -> list[tuple[rows.ConfigRow, NoteRow | None]]:
    """Configs of probes with their notes, last changed first, at most ``MAX_LISTED``.

    Args:
        live: Active and paused ones.
        over: Expired and removed ones.
    """
    k, n = t.configs.c, p.probes.c
    is_active = sa.and_(k.state == "active", sa.or_(k.expires_ms.is_(None), k.expires_ms > now_ms))
    is_paused = sa.and_(k.state == "retired", sa.func.coalesce(n.paused_revision, -1) == k.revision)
    is_live = sa.or_(is_active, is_paused)
    query = (
        sa.select(
            t.configs,
            *(n[name].label(f"note_{name}") for name in NoteRow._fields),
        )
        .select_from(t.configs.outerjoin(p.probes, sa.and_(n.org_id == k.org_id, n.config_id == k.config_id)))
        .where(k.org_id == org_id, k.product == product)
        .order_by(k.generation.desc())
        .limit(MAX_LISTED)
    )
    if live is not over:
        query = query.where(is_live if live else sa.not_(is_live))
    found = []
    for row in c.execute(query):
        values = dict(row._mapping)
        noted = {name: values.pop(f"note_{name}") for name in NoteRow._fields}
        note = NoteRow(**noted) if noted["config_id"] is not None else None
        values["targeting"] = json.loads(values["targeting"])
        found.append((rows.ConfigRow(**values), note))
    return found


def stops(c: sa.Connection, org_id: int, *, over: bool = False) -> list[Stop]:
    """Stops that hold, all of them, newest first; with ``over`` the newest that were lifted too."""
    s = p.probe_stops.c
    query = sa.select(p.probe_stops).where(s.org_id == org_id)
    # Attack: so many stops of somebody's own that one of the whole organisation is no more among them.
    rows_ = [*c.execute(query.where(s.lifted_ms.is_(None)))]
    if over:
        lifted = query.where(s.lifted_ms.is_not(None)).order_by(s.at_ms.desc(), s.stop_id)
        rows_ += c.execute(lifted.limit(MAX_LISTED))
    found = []
    for row in rows_:
        values = dict(row._mapping)
        del values["org_id"]
        found.append(Stop(**values))
    return sorted(found, key=lambda stop: (-stop.at_ms, stop.stop_id))


def add_stop(c: sa.Connection, org_id: int, stop: Stop) -> None:
    """Write a new stop."""
    values = {name: getattr(stop, name) for name in Stop.__slots__}
    c.execute(sa.insert(p.probe_stops).values(org_id=org_id, **values))


def lift_stop(c: sa.Connection, org_id: int, stop_id: str, *, by: str, now_ms: int) -> Stop | None:
    """End a stop that holds; None if there is none such."""
    s = p.probe_stops.c
    mine = (s.org_id == org_id, s.stop_id == stop_id, s.lifted_ms.is_(None))
    found = next((stop for stop in stops(c, org_id) if stop.stop_id == stop_id), None)
    if found is None:
        return None
    done = c.execute(sa.update(p.probe_stops).where(*mine).values(lifted_by=by, lifted_ms=now_ms))
    return replace(found, lifted_by=by, lifted_ms=now_ms) if done.rowcount == 1 else None
