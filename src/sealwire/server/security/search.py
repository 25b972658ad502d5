"""A search for security traces: a query, a time range, and a place to go on from. Pages and API ask the same.

Invariant: whatever was asked with, what reaches the database is bounded: times that exist, a query that was
understood, a place that was given out before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from sealwire.errors import InvalidChangeError, NotFoundError, Problem
from sealwire.server.security import query
from sealwire.server.security.facets import FACETS, Facet, find
from sealwire.server.security.query import Node, QueryError
from sealwire.server.store import security as store
from sealwire.server.store.security import Cursor, Found

HOUR_MS: Final = 3_600_000

_MAX_MS = 2**43  # in the year 2248
_CURSOR = re.compile(r"([0-9]{1,13})-([0-9]{1,15})", re.ASCII)
_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MS = re.compile(r"[0-9]{12,13}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, and when.

    Attributes:
        text: The query as it was written.
        until_ms: The first moment that is not meant.
    """

    text: str
    node: Node
    since_ms: int
    until_ms: int


class Page(NamedTuple):
    """Rows, and where the next page begins: None after the last."""

    found: list[Found]
    next: Cursor | None


def search_of(text: str | None, begin: str | None, until: str | None, *, now_ms: int) -> Search:
    """What somebody asks for: the last hour where they do not say when.

    Raises:
        QueryError: The query makes no sense; says where.
        InvalidChangeError: A time is none, or the end is before the beginning.
    """
    problems: list[Problem] = []
    end = time_of(until, "$.until", problems)
    start = time_of(begin, "$.from", problems)
    end = now_ms + 1 if end is None else end
    start = end - HOUR_MS if start is None else start
    if not problems and start >= end:
        problems.append(Problem("$.until", "This is not after the beginning."))
    if problems:
        raise InvalidChangeError("This is no time range.", problems=tuple(problems))
    return Search(text or "", understood(text or ""), max(0, start), end)


def understood(text: str) -> Node:
    """The query as a tree.

    Raises:
        QueryError: It makes no sense.
    """
    at = text[: query.MAX_CHARS].find("\0")
    if at >= 0:
        raise QueryError(at, "A NUL is in nothing that is stored.")
    return query.parse(text)


def time_of(text: str | None, path: str, problems: list[Problem]) -> int | None:
    """A time in milliseconds; what is none adds a problem."""
    if not text:
        return None
    if _MS.fullmatch(text):
        return int(text)
    try:
        found = datetime.fromisoformat(text[:40])
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
        at_ms = int(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        at_ms = -1
    if 0 <= at_ms < _MAX_MS:
        return at_ms
    problems.append(Problem(path, "Expected a time such as 2026-11-30T12:00:00Z, or a date, in UTC."))
    return None


def facet_named(name: str) -> Facet:
    """A facet that people may name.

    Raises:
        InvalidChangeError: There is none of that name.
    """
    facet = find(name[:100])
    if facet is None:
        words = f"There is no facet of that name; there are {', '.join(FACETS)}."
        raise InvalidChangeError("There is no such facet.", problems=(Problem("$.facet", words),))
    return facet


def read_cursor(text: str | None) -> Cursor | None:
    """Where a page begins.

    Raises:
        InvalidChangeError: It was not given out by this API.
    """
    if not text:
        return None
    match = _CURSOR.fullmatch(text)
    if match is None:
        words = "Expected the next of the page before."
        raise InvalidChangeError("This is no place to go on from.", problems=(Problem("$.before", words),))
    return Cursor(int(match[1]), int(match[2]))


def write_cursor(cursor: Cursor) -> str:
    """A place as an address has it."""
    return f"{cursor.ts_ms}-{cursor.row_id}"


def cursor_of(found: Found) -> Cursor:
    """The place of a row."""
    return Cursor(int(found.row.ts * 1000), found.row_id)


def page_of(
    c: sa.Connection, org_id: int, search: Search, *, before: Cursor | None = None, limit: int
) -> Page:
    """Rows of a search, newest first."""
    found = store.search(
        c, org_id, search.node, since_ms=search.since_ms, until_ms=search.until_ms, before=before,
        limit=limit + 1,
    )  # fmt: skip
    more = len(found) > limit
    found = found[:limit]
    return Page(found, cursor_of(found[-1]) if more else None)


def load_one(c: sa.Connection, org_id: int, trace_id: str) -> list[Found]:
    """The rows of one trace, in the order of time.

    Raises:
        NotFoundError: There is none with this id, or it is no longer kept.
    """
    found = store.trace(c, org_id, trace_id) if _TRACE_ID.fullmatch(trace_id) else []
    if not found:
        raise NotFoundError("There is no security trace with this id here; it may be too old to be kept.")
    return found


def related(ip: str) -> Node:
    """A query for everything from one address."""
    return query.Is(FACETS["@http.client_ip"], ip.lower(), quoted=True)
