"""Configs as people look for them: filtered, sorted and cut in the database, and their history in pages.

A config is active, expired or retired. Only the first and the last are stored: time expires a config, and
here the moment of asking is an argument. What is looked for inside a targeting is read from its JSON by the
database itself. Letters are compared without regard to case, as far as the database knows their cases (a
PostgreSQL of the C locale knows those of English).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from sealwire.server.store import read, rows
from sealwire.server.store import tables as t

ACTIVE, EXPIRED, RETIRED = "active", "expired", "retired"
STATES = (ACTIVE, EXPIRED, RETIRED)

Place = tuple[str | int | float, str]
_NEVER_MS = 2**62

#: What configs can be sorted by, and the kind of its values.
SORTS: Mapping[str, type] = {
    "changed": int,
    "name": str,
    "product": str,
    "state": int,
    "revision": int,
    "size": int,
    "ends": int,
    "by": str,
}


def state_of(stored: str, expires_ms: int | None, now_ms: int) -> str:
    """Active, expired or retired, at a moment."""
    if stored == ACTIVE and expires_ms is not None and expires_ms <= now_ms:
        return EXPIRED
    return stored


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold of a config.

    Attributes:
        field: id, product, state, name, service, env, by, ends; or empty for a word that may stand in
            the id, the name, the services or, whole, the product.
        values: Alternatives; ``*`` stands for anything where the field is text.
    """

    field: Literal["", "id", "product", "state", "name", "service", "env", "by", "ends"]
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which configs, in which order.

    Attributes:
        products: Those that may be seen at all.
        only, without: Config ids; None, and none, for any.
        soon_ms: Until when something ends "soon".
    """

    products: Collection[str]
    now_ms: int
    state: str | None = None
    conditions: tuple[Condition, ...] = ()
    only: Collection[str] | None = None
    without: Collection[str] = ()
    soon_ms: int = 0


@dataclass(frozen=True, slots=True)
class ConfigLine:
    """A config in a list.

    Attributes:
        row: Its payload is empty unless it was asked for.
        state: At the moment of asking.
        size: Of its payload, bytes.
        place: Where it stands in the order asked for.
    """

    row: rows.ConfigRow
    state: str
    size: int
    place: Place


@dataclass(frozen=True, slots=True)
class Counts:
    """How many configs there are, of the products that may be seen."""

    active: int
    expired: int
    retired: int
    ending: int

    @property
    def total(self) -> int:
        return self.active + self.expired + self.retired


def counts(c: sa.Connection, org_id: int, wanted: Wanted) -> Counts:
    """Configs by state; nothing but products and moments of ``wanted`` counts."""
    k = t.configs.c
    is_active, is_expired = _is_active(wanted.now_ms), _is_expired(wanted.now_ms)

    def count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)

    row = c.execute(
        sa.select(
            count(is_active),
            count(is_expired),
            count(k.state == RETIRED),
            count(sa.and_(is_active, k.expires_ms.is_not(None), k.expires_ms <= wanted.soon_ms)),
        ).where(k.org_id == org_id, k.product.in_(list(wanted.products)))
    ).one()
    return Counts(*(int(value) for value in row))


def count(c: sa.Connection, org_id: int, wanted: Wanted) -> int:
    """How many configs are wanted."""
    query = sa.select(sa.func.count()).select_from(t.configs).where(*_where(c, org_id, wanted))
    return int(c.execute(query).scalar_one())


def page(
    c: sa.Connection,
    org_id: int,
    wanted: Wanted,
    *,
    sort: str = "changed",
    descends: bool = True,
    after: Place | None = None,
    before: Place | None = None,
    limit: int | None = None,
    payloads: bool = False,
) -> tuple[list[ConfigLine], bool, bool]:
    """Part of the configs that are wanted.

    Args:
        sort: One of ``SORTS``.
        after: Begin behind this place; ``before`` instead: end in front of it.
        limit: None for all.

    Returns:
        The lines in order, whether there are some before them, and whether there are some behind them.
    """
    k = t.configs.c
    key = _key(sort, wanted.now_ms)
    backwards = before is not None and after is None
    upwards = descends == backwards  # the order in which they are read
    query = (
        sa.select(
            *(column for column in t.configs.c if payloads or column.name != "payload"),
            sa.func.length(k.payload).label("size"),
            key.label("key"),
        )
        .where(*_where(c, org_id, wanted))
        .order_by(*(part.asc() if upwards else part.desc() for part in (key, k.config_id)))
    )
    edge = after if after is not None else before
    if edge is not None:
        here = sa.tuple_(key, k.config_id)
        there = sa.tuple_(sa.literal(edge[0]), sa.literal(edge[1]))
        query = query.where(here > there if upwards else here < there)
    if limit is not None:
        query = query.limit(limit + 1)
    found = [_line(row, wanted.now_ms) for row in c.execute(query)]
    more = limit is not None and len(found) > limit
    found = found[:limit]
    if backwards:
        if not more and limit is not None and len(found) < limit:  # the first page, and it is full
            return page(c, org_id, wanted, sort=sort, descends=descends, limit=limit, payloads=payloads)
        return found[::-1], more, True
    return found, after is not None and bool(found), more


def _line(row: sa.Row[*tuple[Any, ...]], now_ms: int) -> ConfigLine:
    values = dict(row._mapping)
    size, key = int(values.pop("size")), values.pop("key")
    values["targeting"] = json.loads(values["targeting"])
    values.setdefault("payload", b"")
    config = rows.ConfigRow(**values)
    state = state_of(config.state, config.expires_ms, now_ms)
    return ConfigLine(config, state, size, (key, config.config_id))


# History ------------------------------------------------------------------------------------------------


def revision(c: sa.Connection, org_id: int, config_id: str, number: int) -> rows.RevisionRow | None:
    """One revision of a config, or None."""
    found = revisions(c, org_id, config_id, before=number + 1, limit=1)
    return found[0] if found and found[0].revision == number else None


def revisions(
    c: sa.Connection, org_id: int, config_id: str, *, before: int | None = None, limit: int
) -> list[rows.RevisionRow]:
    """Revisions of a config, newest first, of those before one."""
    r = t.config_revisions.c
    query = sa.select(t.config_revisions).where(r.org_id == org_id, r.config_id == config_id)
    if before is not None:
        query = query.where(r.revision < before)
    return [read.revision_row(row) for row in c.execute(query.order_by(r.revision.desc()).limit(limit))]


# Conditions ---------------------------------------------------------------------------------------------


def _is_active(now_ms: int) -> sa.ColumnElement[bool]:
    k = t.configs.c
    return sa.and_(k.state == ACTIVE, sa.or_(k.expires_ms.is_(None), k.expires_ms > now_ms))


def _is_expired(now_ms: int) -> sa.ColumnElement[bool]:
    k = t.configs.c
    return sa.and_(k.state == ACTIVE, k.expires_ms.is_not(None), k.expires_ms <= now_ms)


def _in_state(state: str, now_ms: int) -> sa.ColumnElement[bool]:
    if state == ACTIVE:
        return _is_active(now_ms)
    return _is_expired(now_ms) if state == EXPIRED else t.configs.c.state == state


def _key(sort: str, now_ms: int) -> sa.ColumnElement[Any]:
    k = t.configs.c
    keys: Mapping[str, sa.ColumnElement[Any]] = {
        "changed": k.generation,
        "name": sa.func.lower(k.name),
        "product": k.product,
        "state": sa.case((_is_active(now_ms), 0), (_is_expired(now_ms), 1), else_=2),
        "revision": k.revision,
        "size": sa.func.length(k.payload),
        "ends": sa.func.coalesce(k.expires_ms, sa.literal(_NEVER_MS, sa.BigInteger)),
        "by": sa.func.lower(k.updated_by),
    }
    return keys[sort]


def _where(c: sa.Connection, org_id: int, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    k = t.configs.c
    where: list[sa.ColumnElement[bool]] = [k.org_id == org_id, k.product.in_(list(wanted.products))]
    if wanted.state is not None:
        where.append(_in_state(wanted.state, wanted.now_ms))
    if wanted.only is not None:
        where.append(k.config_id.in_(list(wanted.only)))
    if wanted.without:
        where.append(k.config_id.not_in(list(wanted.without)))
    for condition in wanted.conditions:
        holds = sa.or_(*(_holds(c, condition.field, value, wanted) for value in condition.values))
        where.append(sa.not_(holds) if condition.negated else holds)
    return where


def _holds(c: sa.Connection, field: str, value: str, wanted: Wanted) -> sa.ColumnElement[bool]:
    k = t.configs.c
    if field == "state":
        return _in_state(value, wanted.now_ms)
    if field == "ends":
        if value == "never":
            return k.expires_ms.is_(None)
        return sa.and_(_is_active(wanted.now_ms), k.expires_ms.is_not(None), k.expires_ms <= wanted.soon_ms)
    if field == "product":
        return k.product == value
    if field == "id":
        return _like(k.config_id, value)
    if field == "name":
        return _like(k.name, value)
    if field == "by":
        return _like(k.updated_by, value)
    if field in ("service", "env"):
        return _named(c, field, value)
    anywhere = f"*{value}*"
    return sa.or_(
        _like(k.name, anywhere), _like(k.config_id, anywhere), _named(c, "service", anywhere),
        k.product == value,
    )  # fmt: skip


def _like(text: sa.ColumnElement[Any], value: str) -> sa.ColumnElement[bool]:
    folded, small = sa.func.lower(text), value.lower()
    if "*" not in value:
        return sa.or_(folded == small, text == value)
    pairs = ((folded, small), (text, value))
    return sa.or_(*(one.like(_pattern(typed), escape="\\") for one, typed in pairs))


def _pattern(value: str) -> str:
    return "".join(
        "%" if character == "*" else f"\\{character}" if character in "\\%_" else character
        for character in value
    )


def _named(c: sa.Connection, field: str, value: str) -> sa.ColumnElement[bool]:
    """Whether a targeting names something."""
    targeting = t.configs.c.targeting
    if c.dialect.name == "sqlite":
        listed = sa.func.json_each(targeting, f"$.{field}").table_valued("value")
    else:
        listed = sa.func.jsonb_array_elements_text(sa.cast(targeting, JSONB)[field]).table_valued("value")
    return sa.exists(sa.select(sa.literal(1)).select_from(listed).where(_like(listed.c.value, value)))
