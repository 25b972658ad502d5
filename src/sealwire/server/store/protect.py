"""The rows of the denylist, of its feeds and drafts; and what the history of configs tells of protection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from sealwire.server.store import protect_tables as p
from sealwire.server.store import read, rows
from sealwire.server.store import tables as t

_FOREVER_MS = 2**53  # sorts after every moment
_AT_ONCE = 500  # ids in one statement

#: Columns of a list people may sort by -> what is in them.
SORTABLE: Mapping[str, type] = {
    "value": str, "scope": str, "source": str, "by": str, "created": int, "ends": int, "hits": int,
}  # fmt: skip
STATES = ("in_force", "lapsed", "unblocked", "all")


class EntryRow(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is or was blocked.

    Attributes:
        value: Canonical.
        until_ms: None is for ever.
        source: ``""`` by hand, ``trace:<id>``, ``signal:<id>``, ``feed:<name>``, ``paste:<id>`` or
            ``config:<id>``.
        feed: On whose list it stands; empty: on nobody's but people's.
        config_id: Of somebody's own config that says it; empty for those rendered to our file.
        covered_by: A wider network in the same file that lasts as long, so that this one is left out.
        ended_as: ``lapsed`` or ``unblocked``; empty: it is in force.
    """

    org_id: int
    id: int
    kind: str
    value: str
    sort_key: str
    target_key: str
    target: str
    until_ms: int | None
    reason: str = ""
    source: str = ""
    feed: str = ""
    config_id: str = ""
    created_ms: int
    created_by: str
    changed_ms: int
    changed_by: str
    hits: int = 0
    last_hit_ms: int | None = None
    covered_by: str = ""
    ended_ms: int | None = None
    ended_by: str = ""
    ended_as: str = ""


class FileRow(NamedTuple):
    """A config that blocks somebody, as it was when its entries were last read or written."""

    config_id: str
    target_key: str
    is_ours: bool
    revision: int
    entries: int
    size: int


class FeedRow(NamedTuple):
    """A list that somebody keeps elsewhere and sends here.

    Attributes:
        span_s: How long an entry lasts unless the list comes again; None is for ever.
        updated_ms, changed_ms: When it last came, and when it last came with other contents.
    """

    org_id: int
    name: str
    kind: str
    target_key: str
    target: str
    span_s: int | None
    reason: str
    sha256: str
    entries: int
    created_ms: int
    created_by: str
    updated_ms: int
    updated_by: str
    changed_ms: int


class DraftRow(NamedTuple):
    """A list that was pasted and is not yet blocked.

    Attributes:
        until_ms, span_s: How long, where a line does not say; both None: for ever.
    """

    org_id: int
    draft_id: str
    text: str
    kind: str
    target: str
    until_ms: int | None
    span_s: int | None
    reason: str
    created_ms: int
    created_by: str
    changed_ms: int

    @property
    def digest(self) -> str:
        """The same for a draft that nobody changed."""
        return hashlib.sha256(repr(tuple(self)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


class ConfigHead(NamedTuple):
    """A config without its payload."""

    config_id: str
    name: str
    target: str
    revision: int
    created_ms: int
    expires_ms: int | None


class Criteria(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries somebody wants to see.

    Attributes:
        text: In the value, the reason, the people, the target or the source, whatever the case.
        source: ``hand``, ``trace``, ``signal``, ``feed``, ``paste``, ``config``, or all of one such as
            ``feed:name``.
        state: Of ``STATES``.
    """

    text: str = ""
    kind: str = ""
    source: str = ""
    target_key: str = ""
    state: str = "in_force"


# Entries ------------------------------------------------------------------------------------------------


def head(c: sa.Connection, org_id: int) -> tuple[int, int]:
    """Version of the entries, and the newest number; noughts before the first."""
    h = p.denylist_heads.c
    row = c.execute(sa.select(h.version, h.last_id).where(h.org_id == org_id)).one_or_none()
    return (0, 0) if row is None else (row.version, row.last_id)


def set_head(c: sa.Connection, org_id: int, *, version: int, last_id: int) -> None:
    """Move both on; only under the lock of the domain."""
    h = p.denylist_heads
    changed = c.execute(sa.update(h).where(h.c.org_id == org_id).values(version=version, last_id=last_id))
    if not changed.rowcount:
        c.execute(sa.insert(h).values(org_id=org_id, version=version, last_id=last_id))


def alive(c: sa.Connection, org_id: int) -> list[EntryRow]:
    """Every entry that was not ended, oldest first, those that lapsed since among them."""
    e = p.denylist_entries.c
    found = c.execute(
        sa.select(p.denylist_entries).where(e.org_id == org_id, e.ended_ms.is_(None)).order_by(e.id)
    )
    return [_entry(row) for row in found]


def entries(c: sa.Connection, org_id: int, ids: Iterable[int]) -> list[EntryRow]:
    """Entries by their numbers, ended ones too."""
    e = p.denylist_entries.c
    found: list[EntryRow] = []
    for part in _parts(ids):
        query = sa.select(p.denylist_entries).where(e.org_id == org_id, e.id.in_(part)).order_by(e.id)
        found += [_entry(row) for row in c.execute(query)]
    return found


def add_entries(c: sa.Connection, added: Sequence[EntryRow]) -> None:
    """New entries, under the numbers they bring."""
    if not added:
        return
    # Ten thousand at once: the statement as the driver has it, and the rows as they are.
    statement = sa.insert(p.denylist_entries).compile(
        dialect=c.dialect, column_keys=[column.name for column in p.denylist_entries.columns]
    )
    names = statement.positiontup
    if names is None:
        c.exec_driver_sql(str(statement), [msgspec.structs.asdict(row) for row in added])
    else:
        read_all = attrgetter(*names)
        c.exec_driver_sql(str(statement), [read_all(row) for row in added])


def change_entries(c: sa.Connection, org_id: int, changed: Sequence[EntryRow]) -> None:
    """Entries that last otherwise now, have another reason, are covered, or ended. Hits are left alone."""
    if not changed:
        return
    e = p.denylist_entries
    names = (
        "until_ms", "reason", "source", "changed_ms", "changed_by", "covered_by", "ended_ms", "ended_by",
        "ended_as", "target", "target_key",
    )  # fmt: skip
    c.execute(
        sa.update(e)
        .where(e.c.org_id == org_id, e.c.id == sa.bindparam("_id"))
        .values({name: sa.bindparam(f"_{name}") for name in names}),
        [{"_id": row.id, **{f"_{name}": getattr(row, name) for name in names}} for row in changed],
    )


def add_hits(c: sa.Connection, org_id: int, hits: Mapping[int, tuple[int, int]]) -> None:
    """Count requests that were refused: number of the entry -> how many, and when the last was."""
    if not hits:
        return
    e = p.denylist_entries
    last = sa.bindparam("_last", type_=sa.BigInteger)
    later = sa.case((e.c.last_hit_ms > last, e.c.last_hit_ms), else_=last)
    c.execute(
        sa.update(e)
        .where(e.c.org_id == org_id, e.c.id == sa.bindparam("_id"))
        .values(hits=e.c.hits + sa.bindparam("_more", type_=sa.BigInteger), last_hit_ms=later),
        [{"_id": number, "_more": more, "_last": at_ms} for number, (more, at_ms) in hits.items()],
    )


def forget_ended(c: sa.Connection, org_id: int, *, before_ms: int, of_feeds: bool) -> int:
    """Drop entries that ended long ago, of feeds or of people; returns how many."""
    e = p.denylist_entries.c
    gone = c.execute(
        sa.delete(p.denylist_entries).where(
            e.org_id == org_id, e.ended_ms < before_ms, e.feed != "" if of_feeds else e.feed == ""
        )
    )
    return int(gone.rowcount)


def search(
    c: sa.Connection,
    org_id: int,
    wanted: Criteria,
    *,
    now_ms: int,
    sort: str = "created",
    descends: bool = True,
    after: tuple[Any, int] | None = None,
    before: tuple[Any, int] | None = None,
    limit: int = 50,
) -> list[EntryRow]:
    """Entries that somebody wants to see, sorted.

    Args:
        sort: One of ``SORTABLE``.
        after, before: The sorted value and the number of the row the page begins behind, or ends before.
    """
    e = p.denylist_entries.c
    column = _sorted_by(sort)
    query = sa.select(p.denylist_entries).where(*_where(org_id, wanted, now_ms))
    up = not descends
    if before is not None:
        up = not up
    place = after if after is not None else before
    if place is not None:
        value, number = place
        further = column > value if up else column < value
        next_to = e.id > number if up else e.id < number
        query = query.where(sa.or_(further, sa.and_(column == value, next_to)))
    order = (column.asc(), e.id.asc()) if up else (column.desc(), e.id.desc())
    found = [_entry(row) for row in c.execute(query.order_by(*order).limit(limit))]
    return found[::-1] if before is not None else found


def place_of(row: EntryRow, sort: str) -> tuple[str | int, int]:
    """Where a row stands in a sorted list."""
    values: dict[str, str | int] = {
        "value": row.sort_key, "scope": row.target, "source": row.source, "by": row.changed_by,
        "created": row.created_ms, "ends": _FOREVER_MS if row.until_ms is None else row.until_ms,
        "hits": row.hits,
    }  # fmt: skip
    return values[sort], row.id


def count(c: sa.Connection, org_id: int, wanted: Criteria, *, now_ms: int) -> int:
    """How many entries there are of these."""
    query = sa.select(sa.func.count()).select_from(p.denylist_entries)
    return int(c.execute(query.where(*_where(org_id, wanted, now_ms))).scalar_one())


def counts_by_source(c: sa.Connection, org_id: int, *, now_ms: int) -> dict[str, int]:
    """How many are in force of each source: the part of it before the colon, ``hand`` for none."""
    e = p.denylist_entries.c
    query = sa.select(e.source, sa.func.count()).where(*_where(org_id, Criteria(), now_ms)).group_by(e.source)
    found: dict[str, int] = {}
    for source, number in c.execute(query):
        kind = source.partition(":")[0] or "hand"
        found[kind] = found.get(kind, 0) + number
    return found


def targets(c: sa.Connection, org_id: int, *, now_ms: int) -> list[tuple[str, str]]:
    """Key and targeting of each target that somebody is blocked for."""
    e = p.denylist_entries.c
    query = sa.select(e.target_key, sa.func.max(e.target)).where(*_where(org_id, Criteria(), now_ms))
    return [(key, target) for key, target in c.execute(query.group_by(e.target_key).order_by(e.target_key))]


def _where(org_id: int, wanted: Criteria, now_ms: int) -> list[sa.ColumnElement[bool]]:
    e = p.denylist_entries.c
    found: list[sa.ColumnElement[bool]] = [e.org_id == org_id]
    over = sa.and_(e.ended_ms.is_(None), e.until_ms.is_not(None), e.until_ms <= now_ms)
    if wanted.state == "in_force":
        found += [e.ended_ms.is_(None), sa.or_(e.until_ms.is_(None), e.until_ms > now_ms)]
    elif wanted.state == "lapsed":
        found.append(sa.or_(e.ended_as == "lapsed", over))
    elif wanted.state == "unblocked":
        found.append(e.ended_as == "unblocked")
    if wanted.kind:
        found.append(e.kind == wanted.kind)
    if wanted.target_key:
        found.append(e.target_key == wanted.target_key)
    if wanted.source == "hand":
        found.append(e.source == "")
    elif ":" in wanted.source:
        found.append(e.source == wanted.source)
    elif wanted.source:
        found.append(e.source.startswith(wanted.source + ":", autoescape=True))
    for word in wanted.text.lower().split()[:10]:
        found.append(
            sa.or_(
                *(
                    sa.func.lower(column).contains(word, autoescape=True)
                    for column in (e.value, e.reason, e.changed_by, e.created_by, e.source, e.target)
                )
            )
        )
    return found


def _sorted_by(sort: str) -> Any:
    e = p.denylist_entries.c
    return {
        "value": e.sort_key, "scope": e.target, "source": e.source, "by": e.changed_by,
        "created": e.created_ms, "ends": sa.func.coalesce(e.until_ms, _FOREVER_MS), "hits": e.hits,
    }[sort]  # fmt: skip


def _entry(row: Any) -> EntryRow:
    return EntryRow(**row._mapping)


def _parts(ids: Iterable[int]) -> Iterable[list[int]]:
    listed = list(ids)
    return (listed[at : at + _AT_ONCE] for at in range(0, len(listed), _AT_ONCE))


# Files --------------------------------------------------------------------------------------------------


def files(c: sa.Connection, org_id: int) -> list[FileRow]:
    """Every config that blocks somebody, as far as it was read."""
    f = p.denylist_files.c
    query = sa.select(f.config_id, f.target_key, f.is_ours, f.revision, f.entries, f.size)
    return [FileRow(*row) for row in c.execute(query.where(f.org_id == org_id).order_by(f.config_id))]


def put_file(c: sa.Connection, org_id: int, file: FileRow) -> None:
    """Note that a config was read or written."""
    delete_file(c, org_id, file.config_id)
    c.execute(sa.insert(p.denylist_files).values(org_id=org_id, **file._asdict()))


def delete_file(c: sa.Connection, org_id: int, config_id: str) -> None:
    """Forget a config that blocks nobody any more."""
    f = p.denylist_files.c
    c.execute(sa.delete(p.denylist_files).where(f.org_id == org_id, f.config_id == config_id))


def active_configs(c: sa.Connection, org_id: int, product: str) -> list[ConfigHead]:
    """The active configs of a product without their payloads, oldest first."""
    k = t.configs.c
    query = (
        sa.select(k.config_id, k.name, k.targeting, k.revision, k.created_ms, k.expires_ms)
        .where(k.org_id == org_id, k.product == product, k.state == "active")
        .order_by(k.created_ms, k.config_id)
    )
    return [ConfigHead(*row) for row in c.execute(query)]


# Feeds --------------------------------------------------------------------------------------------------


def feeds(c: sa.Connection, org_id: int) -> list[FeedRow]:
    """Every feed, by name."""
    f = p.denylist_feeds
    return [FeedRow(*row) for row in c.execute(sa.select(f).where(f.c.org_id == org_id).order_by(f.c.name))]


def put_feed(c: sa.Connection, feed: FeedRow) -> None:
    """Make a feed, or replace it."""
    delete_feed(c, feed.org_id, feed.name)
    c.execute(sa.insert(p.denylist_feeds).values(**feed._asdict()))


def delete_feed(c: sa.Connection, org_id: int, name: str) -> None:
    """Forget a feed; what it blocked is its caller's."""
    f = p.denylist_feeds.c
    c.execute(sa.delete(p.denylist_feeds).where(f.org_id == org_id, f.name == name))


# Drafts -------------------------------------------------------------------------------------------------


def drafts(c: sa.Connection, org_id: int, *, limit: int = 100) -> list[DraftRow]:
    """Drafts, those last changed first."""
    d = p.denylist_drafts
    query = sa.select(d).where(d.c.org_id == org_id).order_by(d.c.changed_ms.desc(), d.c.draft_id)
    return [DraftRow(*row) for row in c.execute(query.limit(limit))]


def draft(c: sa.Connection, org_id: int, draft_id: str) -> DraftRow | None:
    """One draft."""
    d = p.denylist_drafts
    row = c.execute(sa.select(d).where(d.c.org_id == org_id, d.c.draft_id == draft_id)).one_or_none()
    return None if row is None else DraftRow(*row)


def put_draft(c: sa.Connection, row: DraftRow) -> None:
    """Keep a draft, or replace it."""
    delete_draft(c, row.org_id, row.draft_id)
    c.execute(sa.insert(p.denylist_drafts).values(**row._asdict()))


def delete_draft(c: sa.Connection, org_id: int, draft_id: str) -> bool:
    """Drop a draft; whether it was there."""
    d = p.denylist_drafts.c
    gone = c.execute(sa.delete(p.denylist_drafts).where(d.org_id == org_id, d.draft_id == draft_id))
    return bool(gone.rowcount)


def forget_drafts(c: sa.Connection, org_id: int, *, before_ms: int, keep: int) -> None:
    """Drop drafts nobody touched for long, and of each author those beyond the newest ``keep``."""
    d = p.denylist_drafts.c
    place = sa.func.row_number().over(partition_by=d.created_by, order_by=(d.changed_ms.desc(), d.draft_id))
    placed = sa.select(d.draft_id, place.label("place")).where(d.org_id == org_id).subquery()
    beyond = sa.select(placed.c.draft_id).where(placed.c.place > keep)
    c.execute(
        sa.delete(p.denylist_drafts).where(
            d.org_id == org_id, sa.or_(d.changed_ms < before_ms, d.draft_id.in_(beyond))
        )
    )


# History ------------------------------------------------------------------------------------------------


def revisions_after(
    c: sa.Connection, org_id: int, config_id: str, revision: int, *, limit: int
) -> list[rows.RevisionRow]:
    """The revisions of a config after one, oldest first."""
    r = t.config_revisions.c
    query = (
        sa.select(t.config_revisions)
        .where(r.org_id == org_id, r.config_id == config_id, r.revision > revision)
        .order_by(r.revision)
        .limit(limit)
    )
    return [read.revision_row(row) for row in c.execute(query)]


def products_ever(c: sa.Connection, org_id: int) -> frozenset[str]:
    """Products of which there was a config at any time."""
    k = t.configs.c
    return frozenset(c.execute(sa.select(k.product).where(k.org_id == org_id).distinct()).scalars())


def target_json(target: Mapping[str, object]) -> str:
    """A targeting as these tables keep it: one text for equal ones."""
    return json.dumps(target, sort_keys=True)
