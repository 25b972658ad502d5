"""Sort order and page of a table, from the address and back into it.

A page starts after a row, not at a number: rows that come and go do not make others be shown twice or
never. The place is the sorted value and the id of the row at the edge.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

import orjson

T = TypeVar("T")
Value = str | int | float

PAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column as a table knows it; without ``key`` it cannot be sorted by."""

    label: str
    key: Callable[[T], Value] | None = None
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A column as the page shows it.

    Attributes:
        href: Sorts by it, or the other way round; None when it cannot be sorted by.
        sorted: ``ascending``, ``descending`` or empty, as in ``aria-sort``.
    """

    label: str
    href: str | None
    sorted: str
    numeric: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The rows to show and the ways on."""

    rows: tuple[T, ...]
    headings: tuple[Heading, ...]
    previous_href: str | None
    next_href: str | None


def page(
    rows: Iterable[T],
    columns: Mapping[str, Column[T]],
    *,
    identity: Callable[[T], str],
    path: str,
    query: Mapping[str, str],
    default_sort: str,
    size: int = PAGE_ROWS,
) -> Page[T]:
    """One page of rows.

    Args:
        query: The address' parameters; ``sort`` (``-name`` descends), ``after`` and ``before`` are ours, the
            others are kept in every link.
    """
    asked = query.get("sort", default_sort)
    name, descends = asked.removeprefix("-"), asked.startswith("-")
    chosen = columns.get(name)
    if chosen is None or chosen.key is None:
        name, descends = default_sort.removeprefix("-"), default_sort.startswith("-")
        chosen = columns[name]
    key = chosen.key
    assert key is not None

    def place(row: T) -> tuple[Value, str]:
        return key(row), identity(row)

    ordered = sorted(rows, key=place, reverse=descends)
    start, end = 0, size
    if ordered:
        kind = type(place(ordered[0])[0])
        after, before = read_place(query.get("after", ""), kind), read_place(query.get("before", ""), kind)
        if after is not None:
            start = _first(ordered, lambda row: place(row) < after if descends else place(row) > after)
            end = start + size
        elif before is not None:
            end = _first(ordered, lambda row: place(row) <= before if descends else place(row) >= before)
            start = max(0, end - size)
            end = max(end, min(size, len(ordered)))
    shown = ordered[start:end]
    return _linked(
        shown, columns, path, query, default_sort, asked, name, descends,
        place(shown[0]) if start > 0 and shown else None,
        place(shown[-1]) if end < len(ordered) and shown else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a table that an address asks for, for who sorts and cuts elsewhere.

    Attributes:
        name: The column to sort by.
        after, before: Where the page begins or ends: the sorted value and the id of the row beside it.
    """

    name: str
    descends: bool
    after: tuple[Value, str] | None
    before: tuple[Value, str] | None


def asked_for(query: Mapping[str, str], kinds: Mapping[str, type], *, default_sort: str) -> Slice:
    """What an address asks for; ``kinds`` are the columns that can be sorted by, and what is in them."""
    asked = query.get("sort", default_sort)
    if asked.removeprefix("-") not in kinds:
        asked = default_sort
    name = asked.removeprefix("-")
    after, before = (
        read_place(query.get("after", ""), kinds[name]),
        read_place(query.get("before", ""), kinds[name]),
    )
    return Slice(name, asked.startswith("-"), after, None if after is not None else before)


def of_slice(
    rows: Sequence[T],
    columns: Mapping[str, Column[T]],
    part: Slice,
    *,
    path: str,
    query: Mapping[str, str],
    default_sort: str,
    previous: tuple[Value, str] | None,
    following: tuple[Value, str] | None,
) -> Page[T]:
    """A page of rows that were sorted and cut elsewhere.

    Args:
        previous, following: The places at its edges, None where nothing comes before or after.
    """
    asked = ("-" if part.descends else "") + part.name
    return _linked(
        rows, columns, path, query, default_sort, asked, part.name, part.descends, previous, following
    )


def _linked(
    shown: Sequence[T],
    columns: Mapping[str, Column[T]],
    path: str,
    query: Mapping[str, str],
    default_sort: str,
    asked: str,
    name: str,
    descends: bool,
    previous: tuple[Value, str] | None,
    following: tuple[Value, str] | None,
) -> Page[T]:
    kept = {k: v for k, v in query.items() if k not in ("sort", "after", "before") and v}

    def link(**more: str) -> str:
        parameters = {**kept, **{k: v for k, v in more.items() if v}}
        return f"{path}?{urlencode(parameters)}" if parameters else path

    present = "" if asked == default_sort else ("-" if descends else "") + name
    headings = tuple(
        Heading(
            column.label,
            None if column.key is None else link(sort=_turned(each, name, descends)),
            ("descending" if descends else "ascending") if each == name else "",
            column.numeric,
        )
        for each, column in columns.items()
    )
    return Page(
        tuple(shown),
        headings,
        None if previous is None else link(sort=present, before=write_place(previous)),
        None if following is None else link(sort=present, after=write_place(following)),
    )


def _turned(name: str, sorted_by: str, descends: bool) -> str:
    return f"-{name}" if name == sorted_by and not descends else name


def _first(ordered: Sequence[T], holds: Callable[[T], bool]) -> int:
    """Where the rows begin of which it holds, in an order in which it then holds of all."""
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        if holds(ordered[middle]):
            high = middle
        else:
            low = middle + 1
    return low


def write_place(place: tuple[Value, str]) -> str:
    """A place as an address has it."""
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def read_place(text: str, kind: type) -> tuple[Value, str] | None:
    """A place; None for anything that is not one of this column, which then is the first page."""
    if not text or len(text) > 1000:
        return None
    try:
        value, identity = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, binascii.Error):
        return None
    if isinstance(value, bool) or not isinstance(identity, str) or "\0" in identity:
        return None
    if isinstance(value, int) and abs(value) >= 2**63:
        return None  # no database has such a number
    same = isinstance(value, kind) or (kind in (int, float) and isinstance(value, int | float))
    return (value, identity) if same and not (isinstance(value, str) and "\0" in value) else None
