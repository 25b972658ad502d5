"""The values of facets among the traces a query means: all that a page shows beside its table, in one pass.

What is counted are the newest rows only (``NEWEST``), so the answer takes a bounded time however much an
attack has filled the tables with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from sealwire.server.security.facets import Facet, Kind
from sealwire.server.security.query import Node
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.store.security import documents
from sealwire.server.store.security_query import column_of, parts, where
from sealwire.server.store.security_tables import security_traces

NEWEST: Final = 10_000  # rows that are counted
MAX_COMBINATIONS: Final = 500  # of a facet with several values

Counted = dict[str, list[tuple[str, int]]]


def facet_counts(
    c: sa.Connection,
    org_id: int,
    node: Node,
    facets: Sequence[Facet],
    *,
    since_ms: int,
    until_ms: int,
    limit: int,
) -> Counted:
    """The values that most requests have, most first, by the name of their facet; as their newest row has it.

    Args:
        limit: Values of each facet.
    """
    if not facets:
        return {}
    t = security_traces.c
    columns = {column.name: column for column in (column_of(facet) for facet in facets)}
    columns = {name: column for name, column in columns.items() if name not in ("row_id", "count")}
    newest = (
        sa.select(t.row_id, t.count, *columns.values())
        .where(
            t.org_id == org_id, t.ts_ms >= since_ms, t.ts_ms < until_ms, where(node, c.dialect.name),
        )
        .order_by(t.ts_ms.desc(), t.row_id.desc())
        .limit(NEWEST)
        .cte("newest")
        .prefix_with("MATERIALIZED")
    )  # fmt: skip
    counted = [_counted(newest, number, facet, limit) for number, facet in enumerate(facets)]
    found: list[list[tuple[str, int, int]]] = [[] for _ in facets]
    for number, value, count, row_id in c.execute(sa.union_all(*counted)):
        found[number].append((value, int(count), row_id))
    several = {number for number, facet in enumerate(facets) if facet.kind is Kind.TEXTS}
    for number in several:
        found[number] = _taken_apart(found[number], limit)
    as_text = {number for number, facet in enumerate(facets) if facet.kind not in (Kind.NUMBER, Kind.FLAG)}
    known = documents(c, {row_id for number in as_text for _, _, row_id in found[number]})
    return {
        facet.name: [
            (_written(facet, value, known.get(row_id)), count) for value, count, row_id in found[number]
        ]
        for number, facet in enumerate(facets)
    }


def _counted(newest: sa.CTE, number: int, facet: Facet, limit: int) -> sa.Select[Any]:
    column = newest.c[column_of(facet).name]
    requests = sa.func.sum(newest.c.count).label("requests")
    asked = (
        sa.select(
            sa.literal(number).label("facet"), sa.cast(column, sa.Text).label("value"), requests,
            sa.func.max(newest.c.row_id).label("newest_id"),
        )
        .group_by(column)
        .order_by(requests.desc(), column)
        .limit(MAX_COMBINATIONS if facet.kind is Kind.TEXTS else limit)
    )  # fmt: skip
    if facet.kind is not Kind.FLAG:
        asked = asked.where(column != (0 if facet.kind is Kind.NUMBER else ""))
    return sa.select(asked.subquery())


def _taken_apart(found: list[tuple[str, int, int]], limit: int) -> list[tuple[str, int, int]]:
    counts: Counter[str] = Counter()
    newest: dict[str, int] = {}
    for text, count, row_id in found:
        for value in set(parts(text)):
            counts[value] += count
            newest[value] = max(newest.get(value, 0), row_id)
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return [(value, count, newest[value]) for value, count in most]


def _written(facet: Facet, value: str, row: SecurityTrace | None) -> str:
    """A value as people know it."""
    if facet.kind is Kind.FLAG:
        return "true" if value in ("1", "true") else "false"
    if facet.kind is Kind.NUMBER:
        return f"{int(value) / (1000 if facet.attribute == 'duration_ms' else 1):g}"
    if row is None:
        return value
    written = getattr(row, facet.attribute)
    several = written if isinstance(written, tuple) else (written,)
    return next((each for each in several if each.lower() == value), value)
