"""Queries over security traces as SQL: ``where`` means what ``security.query.compiled`` means, row by row.

Hides how a row stands in columns (``columns_of``). Values only ever travel as bound parameters. Invariants:
the SQL of a term has a bounded size, so a query of the longest kind stays within what SQLite takes; nothing
that the database compares knows case, so both databases compare bytes.
"""

from __future__ import annotations

import ipaddress
import math
from decimal import Decimal
from functools import reduce
from typing import Any, Final

import sqlalchemy as sa

from sealwire.server.security import query as q
from sealwire.server.security.facets import FACETS, Facet, Kind, values_of
from sealwire.server.security.rows import SecurityTrace, plain
from sealwire.server.store.security_tables import security_traces

BREAK: Final = "\n"  # before and after each of several values; none has it, as rows are plain
MAX_VALUE_CHARS: Final = 2_000
FLAT: Final = 100  # terms beside each other

_ADDRESSES: Final = {"actor_ip": security_traces.c.actor_address, "peer_ip": security_traces.c.peer_address}
_FREE: Final = tuple(values_of(facet) for facet in FACETS.values() if facet.free)
_TEXTS: Final = tuple(facet.attribute for facet in FACETS.values() if facet.kind in (Kind.TEXT, Kind.ADDRESS))
_SEVERAL: Final = tuple(facet.attribute for facet in FACETS.values() if facet.kind is Kind.TEXTS)


def column_of(facet: Facet) -> sa.Column[Any]:
    """Where the values of a facet are."""
    name = "duration_us" if facet.attribute == "duration_ms" else facet.attribute
    return security_traces.c[name]


def columns_of(row: SecurityTrace) -> dict[str, Any]:
    """The columns a row is searched by."""
    return {
        "ts_ms": int(row.ts * 1000),
        "is_attack": any(not each.startswith("business_logic.") for each in row.activities),
        "blocked": row.blocked,
        "listed": row.listed,
        "status": row.status,
        "duration_us": round(row.duration_ms * 1000),
        "actor_address": packed_address(row.actor_ip),
        "peer_address": packed_address(row.peer_ip),
        **{name: _lower(getattr(row, name)) for name in _TEXTS},
        **{name: several(getattr(row, name)) for name in _SEVERAL},
        "words": several([value for get in _FREE for value in get(row)]),
    }


def several(values: tuple[str, ...] | list[str]) -> str:
    """Values as one text."""
    return BREAK + BREAK.join(_lower(value) for value in values) + BREAK if values else ""


def parts(text: str) -> list[str]:
    """The values in such a text."""
    return text[1:-1].split(BREAK) if text else []


def packed_address(text: str) -> bytes:
    """An address so that those of a network stand together; empty for what is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return b""
    return bytes((address.version,)) + address.packed


def _lower(text: str) -> str:
    return plain(text, MAX_VALUE_CHARS).lower()


# Terms ------------------------------------------------------------------------------------------------------


def where(node: q.Node, dialect: str) -> sa.ColumnElement[bool]:
    """A condition on rows of ``security_traces``.

    Args:
        node: From ``query.parse``.
        dialect: Whose SQL, as SQLAlchemy calls it.
    """
    match node:
        case q.Everything():
            return sa.true()
        case q.Not(inner):
            return sa.not_(where(inner, dialect))
        case q.All(nodes):
            return sa.and_(*(where(each, dialect) for each in nodes))
        case q.Any(nodes):
            return _one_of([where(each, dialect) for each in nodes])
        case q.Between():
            return _between(node)
        case q.Within(facet, network):
            version = bytes((network.version,))
            return _ADDRESSES[facet.attribute].between(
                version + network.network_address.packed, version + network.broadcast_address.packed
            )
        case q.Word(text):
            return _word(text, dialect)
        case q.Is():
            return _is(node, dialect)


def _one_of(terms: list[sa.ColumnElement[bool]]) -> sa.ColumnElement[bool]:
    """Any of them. SQLite takes no expression a thousand deep, and reads ``OR`` after ``OR`` as such."""
    while len(terms) > FLAT:
        parts = [sa.or_(*terms[start : start + FLAT]) for start in range(0, len(terms), FLAT)]
        terms = [sa.case((part, sa.true()), else_=sa.false()) for part in parts]
    return sa.or_(*terms)


def _is(node: q.Is, dialect: str) -> sa.ColumnElement[bool]:
    column, wanted = column_of(node.facet), node.value
    if node.facet.kind is Kind.FLAG:
        return sa.true() if wanted == "*" else column.is_(wanted == "true")
    if not _is_storable(wanted):
        return sa.false()
    is_pattern = "*" in wanted and not node.quoted
    if node.facet.kind is Kind.TEXTS:
        if not is_pattern:
            return _has(column, f"{BREAK}{wanted}{BREAK}")
        return _one_like(column, wanted, dialect)
    if not is_pattern:
        return column == wanted
    return sa.and_(column != "", column.like(_like(wanted), escape="\\"))


def _word(text: str, dialect: str) -> sa.ColumnElement[bool]:
    column = security_traces.c.words
    if not _is_storable(text):
        return sa.false()
    if "*" in text:
        return _one_like(column, f"*{text}*", dialect)
    return _has(column, text) if text else column != ""


def _one_like(column: sa.Column[str], wanted: str, dialect: str) -> sa.ColumnElement[bool]:
    """One of several values is like this; stars must not reach from one into the next."""
    inner = [part for part in wanted.split("*") if part]
    if not inner:
        return column != ""
    if len(inner) == 1:
        start = "" if wanted.startswith("*") else BREAK
        end = "" if wanted.endswith("*") else BREAK
        return _has(column, f"{start}{inner[0]}{end}")
    if dialect == "postgresql":
        values = sa.func.string_to_array(sa.func.trim(column, BREAK), BREAK)
        value: sa.ColumnElement[str] = sa.func.unnest(values).column_valued()
    else:
        escaped = reduce(
            lambda text, each: sa.func.replace(text, *each),
            [("\\", "\\\\"), ('"', '\\"'), (BREAK, '","')],
            sa.func.trim(column, BREAK),
        )
        value = sa.func.json_each('["' + escaped + '"]').table_valued("value").c.value
    return sa.and_(
        column != "", sa.exists(sa.select(sa.literal(1)).where(value.like(_like(wanted), escape="\\")))
    )


def _has(column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
    return column.like(f"%{_escaped(text)}%", escape="\\")


def _like(wanted: str) -> str:
    """A pattern of ours as one of SQL."""
    return "%".join(_escaped(part) for part in wanted.split("*"))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _is_storable(text: str) -> bool:
    """Whether any row can have it: what cannot be stored must not reach a database either."""
    return text.isprintable() or (BREAK not in text and plain(text, len(text)) == text and _is_unicode(text))


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _between(node: q.Between) -> sa.ColumnElement[bool]:
    column = column_of(node.facet)
    scale = 1000 if node.facet.attribute == "duration_ms" else 1
    terms: list[sa.ColumnElement[bool]] = []
    if node.low is not None:
        low = Decimal(repr(node.low)) * scale
        terms.append(column >= (math.ceil(low) if node.low_counts else math.floor(low) + 1))
    if node.high is not None:
        high = Decimal(repr(node.high)) * scale
        terms.append(column <= (math.floor(high) if node.high_counts else math.ceil(high) - 1))
    return sa.and_(*terms) if terms else column != 0
