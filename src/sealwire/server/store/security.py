"""What the store holds of attacks: traces that were kept or counted, signals, rules that people changed.

All times are milliseconds; a span of time has its start and not its end. ``node`` is a parsed query
(``security.query.parse``). A trace is there once, by its trace and span id, however often it is put.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sealwire.server.security.facets import Facet, Kind
from sealwire.server.security.query import Node
from sealwire.server.security.rows import SecurityTrace, plain
from sealwire.server.security.rules import Severity
from sealwire.server.security.signals import Signal
from sealwire.server.store.security_query import column_of, columns_of, parts, several, where
from sealwire.server.store.security_tables import (
    detection_memory,
    detection_rules,
    security_traces,
    signal_comments,
)  # fmt: skip
from sealwire.server.store.security_tables import (
    signals as signal_table,
)
from sealwire.server.store.write import upsert
from sealwire.wire.security import Trigger, stacks_of
from sealwire.wire.traces import SecuritySpan

MAX_DOCUMENT_BYTES: Final = 16 * 1024
MAX_STACKS_BYTES: Final = 64 * 1024
MAX_VALUES: Final = 5_000  # different texts a facet with several values is counted over
MAX_SPANS_OF_TRACE: Final = 100
MAX_SERVICE_BARS: Final = 250_000  # services are whatever agents name
INSERT_AT_ONCE: Final = 500

_t = security_traces.c
_s = signal_table.c


class Stored(NamedTuple):
    """A row to put.

    Attributes:
        count: Requests it stands for.
        stacks: Packed, as received.
        mark: What tells a count from other counts; empty for a row with a trace id.
    """

    row: SecurityTrace
    count: int = 1  # type: ignore[assignment] # not the method of tuples
    stacks: bytes = b""
    mark: str = ""


class Found(NamedTuple):
    """A row as found.

    Attributes:
        count: More than one: requests that were counted instead of kept; they have no trace id.
    """

    row_id: int
    row: SecurityTrace
    count: int  # type: ignore[assignment] # not the method of tuples


class Cursor(NamedTuple):
    """The last row of a page."""

    ts_ms: int
    row_id: int


class Tally(NamedTuple):
    """How much is meant: rows that can be looked at, requests they and the counts stand for."""

    traces: int
    requests: int
    blocked: int


class Bar(NamedTuple):
    """Requests from a time on, each in one of three: attacked and answered, blocked, business events."""

    at_ms: int
    attacks: int
    blocked: int
    events: int


class ServiceBar(NamedTuple):
    """Requests to a service in one of several times; names in lower case."""

    service: str
    env: str
    number: int
    requests: int
    blocked: int


_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(SecurityTrace).decode
_decode_signal = msgspec.msgpack.Decoder(Signal).decode


# Traces -----------------------------------------------------------------------------------------------------


def search(
    c: sa.Connection,
    org_id: int,
    node: Node,
    *,
    since_ms: int,
    until_ms: int,
    before: Cursor | None = None,
    limit: int = 50,
) -> list[Found]:
    """A page of rows, newest first."""
    asked = (
        sa.select(_t.row_id, _t.document, _t.count)
        .where(*_within(c, org_id, node, since_ms, until_ms))
        .order_by(_t.ts_ms.desc(), _t.row_id.desc())
        .limit(limit)
    )
    if before is not None:
        asked = asked.where(
            sa.or_(_t.ts_ms < before.ts_ms, sa.and_(_t.ts_ms == before.ts_ms, _t.row_id < before.row_id))
        )
    return [_found(row) for row in c.execute(asked)]


def tally(c: sa.Connection, org_id: int, node: Node, *, since_ms: int, until_ms: int) -> Tally:
    """How many rows a query means."""
    none = sa.literal(0)
    asked = sa.select(
        sa.func.coalesce(sa.func.sum(sa.case((_t.trace_id != "", 1), else_=0)), none),
        sa.func.coalesce(sa.func.sum(_t.count), none),
        sa.func.coalesce(sa.func.sum(sa.case((_t.blocked, _t.count), else_=0)), none),
    ).where(*_within(c, org_id, node, since_ms, until_ms))
    return Tally(*map(int, c.execute(asked).one()))


def facet_values(
    c: sa.Connection, org_id: int, node: Node, facet: Facet, *, since_ms: int, until_ms: int, limit: int = 20
) -> list[tuple[str, int]]:
    """The values of a facet that most requests have, most first; written as in their newest row."""
    column = column_of(facet)
    requests = sa.func.sum(_t.count)
    asked = (
        sa.select(column, requests, sa.func.max(_t.row_id))
        .where(*_within(c, org_id, node, since_ms, until_ms))
        .group_by(column)
        .order_by(requests.desc(), column)
    )
    if facet.kind is Kind.FLAG:
        return [("true" if value else "false", int(count)) for value, count, _ in c.execute(asked)]
    if facet.kind is Kind.TEXTS:
        return _values_of_several(c, asked.where(column != "").limit(MAX_VALUES), facet, limit)
    if facet.kind is Kind.NUMBER:
        scale = 1000 if facet.attribute == "duration_ms" else 1
        return [
            (f"{value / scale:g}", int(count))
            for value, count, _ in c.execute(asked.where(column != 0).limit(limit))
        ]
    found = c.execute(asked.where(column != "").limit(limit)).all()
    newest = documents(c, [row_id for _, _, row_id in found])
    return [(getattr(newest[row_id], facet.attribute), int(count)) for _, count, row_id in found]


def _values_of_several(
    c: sa.Connection, asked: sa.Select[Any], facet: Facet, limit: int
) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    newest: dict[str, int] = {}
    for text, count, row_id in c.execute(asked):
        for value in set(parts(text)):
            counts[value] += int(count)
            newest[value] = max(newest.get(value, 0), row_id)
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
    known = documents(c, {newest[value] for value, _ in most})

    def as_written(value: str) -> str:
        written: tuple[str, ...] = getattr(known[newest[value]], facet.attribute)
        return next((each for each in written if each.lower() == value), value)

    return [(as_written(value), count) for value, count in most]


def histogram(
    c: sa.Connection, org_id: int, node: Node, *, since_ms: int, until_ms: int, bars: int
) -> list[Bar]:
    """Requests over time, in that many bars of one length; those with nothing in them too."""
    width = max(1, -(-(until_ms - since_ms) // bars))
    number = ((_t.ts_ms - since_ms) // width).label("number")
    asked = (
        sa.select(number, _t.blocked, _t.is_attack, sa.func.sum(_t.count))
        .where(*_within(c, org_id, node, since_ms, until_ms))
        .group_by(number, _t.blocked, _t.is_attack)
    )
    made = [[since_ms + at * width, 0, 0, 0] for at in range(bars)]
    for at, blocked, is_attack, count in c.execute(asked):
        made[int(at)][2 if blocked else 1 if is_attack else 3] += int(count)
    return [Bar(*bar) for bar in made]


def by_service(
    c: sa.Connection, org_id: int, *, since_ms: int, until_ms: int, step_ms: int
) -> list[ServiceBar]:
    """Requests to each service and environment over time, in one pass; what had none is not there."""
    number = ((_t.ts_ms - since_ms) // step_ms).label("number")
    asked = (
        sa.select(
            _t.service, _t.env, number, sa.func.sum(_t.count),
            sa.func.sum(sa.case((_t.blocked, _t.count), else_=0)),
        )
        .where(_t.org_id == org_id, _t.ts_ms >= since_ms, _t.ts_ms < until_ms)
        .group_by(_t.service, _t.env, number)
        .limit(MAX_SERVICE_BARS)
    )  # fmt: skip
    return [ServiceBar(service, env, *map(int, counts)) for service, env, *counts in c.execute(asked)]


def trace(c: sa.Connection, org_id: int, trace_id: str) -> list[Found]:
    """Every row of a trace, in the order of time."""
    if not trace_id or "\0" in trace_id:
        return []
    asked = (
        sa.select(_t.row_id, _t.document, _t.count)
        .where(_t.org_id == org_id, _t.trace_id == trace_id.lower())
        .limit(MAX_SPANS_OF_TRACE)
    )
    # Put in order here: asked for by time, SQLite goes through all rows in that order instead.
    return sorted(map(_found, c.execute(asked)), key=lambda one: (one.row.ts, one.row_id))


def stacks(c: sa.Connection, org_id: int, row_id: int) -> dict[str, Any]:
    """The stack traces of the exploits in a row, by their ids; plain values, as received."""
    packed = c.execute(sa.select(_t.stacks).where(_t.org_id == org_id, _t.row_id == row_id)).scalar()
    if not packed:
        return {}
    span = SecuritySpan(service="", trace_id="", span_id=0, start_ns=0, duration_ns=0, stacks=bytes(packed))
    return stacks_of(span)


def put_traces(c: sa.Connection, org_id: int, found: Iterable[Stored]) -> int:
    """Put rows; returns how many were not there yet."""
    values = [_values(org_id, one) for one in found]
    insert = (postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert)(security_traces)
    statement = insert.on_conflict_do_nothing(index_elements=[_t.org_id, _t.trace_id, _t.span_id])
    statement = statement.execution_options(preserve_rowcount=True)
    put = 0
    for start in range(0, len(values), INSERT_AT_ONCE):
        put += max(0, c.execute(statement, values[start : start + INSERT_AT_ONCE]).rowcount)
    return put


def put_counted(c: sa.Connection, org_id: int, counted: Iterable[Stored]) -> None:
    """Put counts, each in place of what it was before; its mark says which it is."""
    values = [_values(org_id, one) for one in counted]
    insert = (postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert)(security_traces)
    statement = insert.on_conflict_do_update(
        index_elements=[_t.org_id, _t.trace_id, _t.span_id], set_={"count": insert.excluded.count}
    )
    for start in range(0, len(values), INSERT_AT_ONCE):
        c.execute(statement, values[start : start + INSERT_AT_ONCE])


def recent(c: sa.Connection, org_id: int, *, since_ms: int, limit: int) -> Iterator[Found]:
    """The newest rows since then, oldest first, a thousand in memory at once."""
    of_time = (_t.org_id == org_id, _t.ts_ms >= since_ms)
    first_ms = c.execute(
        sa.select(_t.ts_ms).where(*of_time).order_by(_t.ts_ms.desc()).offset(limit - 1).limit(1)
    ).scalar()
    asked = (
        sa.select(_t.row_id, _t.document, _t.count)
        .where(_t.org_id == org_id, _t.ts_ms >= (since_ms if first_ms is None else first_ms))
        .order_by(_t.ts_ms, _t.row_id)
        .execution_options(yield_per=1000)
    )
    return map(_found, c.execute(asked))


def count_traces(c: sa.Connection, org_id: int) -> int:
    """How many rows are held."""
    return int(c.execute(sa.select(sa.func.count()).where(_t.org_id == org_id)).scalar_one())


def forget_before(c: sa.Connection, org_id: int, *, before_ms: int, most: int = 5_000) -> int:
    """Drop rows that are older, the oldest first, so many at once; returns how many."""
    older = (
        sa.select(_t.row_id)
        .where(_t.org_id == org_id, _t.ts_ms < before_ms)
        .order_by(_t.ts_ms, _t.row_id)
        .limit(most)
    )
    return c.execute(sa.delete(security_traces).where(_t.row_id.in_(older))).rowcount


def forget_oldest(c: sa.Connection, org_id: int, *, count: int) -> int:
    """Drop that many of the oldest rows; returns how many there were."""
    oldest = (
        sa.select(_t.row_id).where(_t.org_id == org_id).order_by(_t.ts_ms, _t.row_id).limit(max(0, count))
    )
    return c.execute(sa.delete(security_traces).where(_t.row_id.in_(oldest))).rowcount


def _within(
    c: sa.Connection, org_id: int, node: Node, since_ms: int, until_ms: int
) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _t.org_id == org_id,
        _t.ts_ms >= since_ms,
        _t.ts_ms < until_ms,
        where(node, c.dialect.name),
    )


def _found(row: Any) -> Found:
    row_id, document, count = row
    return Found(row_id, _decode_row(document), count)


def documents(c: sa.Connection, row_ids: Iterable[int]) -> dict[int, SecurityTrace]:
    """Rows by their numbers."""
    asked = sa.select(_t.row_id, _t.document).where(_t.row_id.in_(list(row_ids)))
    return {row_id: _decode_row(document) for row_id, document in c.execute(asked)}


def _values(org_id: int, one: Stored) -> dict[str, Any]:
    return {
        "org_id": org_id,
        "count": one.count,
        "span_id": one.mark or one.row.span_id,
        **columns_of(one.row),
        "document": _document(one.row),
        "stacks": one.stacks if len(one.stacks) <= MAX_STACKS_BYTES else b"",
    }


def _document(row: SecurityTrace) -> bytes:
    """A row packed. Attack: matches as long as an agent passes on, until the disk is full."""
    packed = _encode(row)
    if len(packed) <= MAX_DOCUMENT_BYTES:
        return packed
    row = msgspec.structs.replace(
        row, triggers=tuple(map(_shorter, row.triggers[:10])), events=row.events[:3]
    )
    packed = _encode(row)
    if len(packed) <= MAX_DOCUMENT_BYTES:
        return packed
    bare = tuple(msgspec.structs.replace(each, matches=(), tags={}) for each in row.triggers)
    return _encode(msgspec.structs.replace(row, triggers=bare, events=()))


def _shorter(trigger: Trigger) -> Trigger:
    matches = tuple(
        msgspec.structs.replace(
            match,
            operator_value=match.operator_value[:200],
            parameters=tuple(
                msgspec.structs.replace(
                    each,
                    value=each.value[:300],
                    key_path=each.key_path[:5],
                    highlight=tuple(text[:100] for text in each.highlight[:3]),
                )
                for each in match.parameters[:3]
            ),
        )
        for match in trigger.matches[:2]
    )
    return msgspec.structs.replace(trigger, matches=matches)


# Signals ----------------------------------------------------------------------------------------------------


class SignalRow(NamedTuple):
    """A signal, and what people made of it.

    Attributes:
        triage: ``open``, ``under_review`` or ``archived``.
        comments: How many there are.
    """

    signal: Signal
    triage: str
    archive_reason: str
    assignee: str
    triaged_by: str
    triaged_ms: int | None
    comments: int


class SignalFilter(msgspec.Struct, frozen=True):
    """Which signals are meant.

    Attributes:
        state: ``open``, ``ended`` or ``all``.
        text: In a title, an attacker or a user.
        since_ms: Seen then or later.
    """

    state: str = "all"
    triage: str = ""
    severities: tuple[str, ...] = ()
    service: str = ""
    rule_id: str = ""
    text: str = ""
    since_ms: int = 0


class Comment(NamedTuple):
    """What somebody wrote about a signal."""

    id: int
    by: str
    at_ms: int
    text: str


def signals(
    c: sa.Connection,
    org_id: int,
    wanted: SignalFilter,
    *,
    before: tuple[int, str] | None = None,
    limit: int = 50,
) -> list[SignalRow]:
    """A page of signals, last seen first.

    Args:
        before: When the last one of the page before was last seen, and its id.
    """
    asked = _signals(org_id).order_by(_s.last_seen_ms.desc(), _s.signal_id.desc()).limit(limit)
    asked = asked.where(_s.last_seen_ms >= wanted.since_ms)
    if wanted.state != "all":
        asked = asked.where(_s.closed_ms.is_(None) if wanted.state == "open" else _s.closed_ms.is_not(None))
    if wanted.triage:
        asked = asked.where(_s.triage == wanted.triage)
    if wanted.severities:
        names = {name.upper() for name in wanted.severities}
        asked = asked.where(_s.severity.in_([int(each) for each in Severity if each.name in names]))
    if wanted.service:
        asked = asked.where(_s.services.contains(several([wanted.service]), autoescape=True))
    if wanted.rule_id:
        asked = asked.where(_s.rule_id == wanted.rule_id.replace("\0", ""))
    if wanted.text:
        asked = asked.where(_s.words.contains(plain(wanted.text).lower(), autoescape=True))
    if before is not None:
        last_ms, last_id = before
        asked = asked.where(
            sa.or_(_s.last_seen_ms < last_ms, sa.and_(_s.last_seen_ms == last_ms, _s.signal_id < last_id))
        )
    return [_signal_row(row) for row in c.execute(asked)]


def signal(c: sa.Connection, org_id: int, signal_id: str) -> SignalRow | None:
    """One signal, or None."""
    row = c.execute(_signals(org_id).where(_s.signal_id == signal_id.replace("\0", ""))).one_or_none()
    return None if row is None else _signal_row(row)


def signal_counts(c: sa.Connection, org_id: int, since_ms: int) -> dict[str, int]:
    """How many signals are open and were seen since then, by severity."""
    asked = (
        sa.select(_s.severity, sa.func.count())
        .where(_s.org_id == org_id, _s.closed_ms.is_(None), _s.last_seen_ms >= since_ms)
        .group_by(_s.severity)
    )
    return {Severity(severity).name.lower(): int(count) for severity, count in c.execute(asked)}


def signals_by_rule(c: sa.Connection, org_id: int, *, since_ms: int) -> dict[str, int]:
    """How many signals of each rule were seen since then, open or not."""
    asked = (
        sa.select(_s.rule_id, sa.func.count())
        .where(_s.org_id == org_id, _s.last_seen_ms >= since_ms)
        .group_by(_s.rule_id)
    )
    return {rule_id: int(count) for rule_id, count in c.execute(asked)}


def put_signals(c: sa.Connection, org_id: int, changed: Iterable[Signal]) -> None:
    """Signals as they are now; what people made of them stays, and what is known of a later time."""
    put_packed_signals(c, [packed_signal(org_id, one) for one in changed if one.id])


def packed_signal(org_id: int, one: Signal) -> dict[str, Any]:
    """A signal as it is now, for ``put_packed_signals``."""
    return {
        "org_id": org_id,
        "signal_id": one.id,
        "rule_id": one.rule_id,
        "severity": int(one.severity),
        "first_seen_ms": int(one.first_seen * 1000),
        "last_seen_ms": int(one.last_seen * 1000),
        "closed_ms": int(one.closed_at * 1000) if one.closed_at else None,
        "services": several(list(one.services)),
        "words": several([one.title, *one.group.values(), *one.attackers, *one.users]),
        "document": _encode(one),
        "triage": "open",
        "archive_reason": "",
        "assignee": "",
        "triaged_by": "",
        "triaged_ms": None,
    }


def put_packed_signals(c: sa.Connection, packed: Sequence[Mapping[str, Any]]) -> None:
    """Put signals as ``packed_signal`` gave them."""
    if not packed:
        return
    insert = (postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert)(signal_table)
    detected = ("severity", "first_seen_ms", "last_seen_ms", "closed_ms", "services", "words", "document")
    statement = insert.on_conflict_do_update(
        index_elements=[_s.org_id, _s.signal_id],
        set_={name: insert.excluded[name] for name in detected},
        where=_s.last_seen_ms <= insert.excluded.last_seen_ms,
    )
    c.execute(statement, list(packed))


def open_signals(c: sa.Connection, org_id: int) -> list[Signal]:
    """Signals that were open when they were last written."""
    asked = sa.select(_s.document).where(_s.org_id == org_id, _s.closed_ms.is_(None))
    return [_decode_signal(document) for (document,) in c.execute(asked)]


def forget_signals(c: sa.Connection, org_id: int, *, before_ms: int, most: int) -> int:
    """Drop signals that ended before then, and the longest ended ones beyond so many; returns how many."""
    held = int(c.execute(sa.select(sa.func.count()).where(_s.org_id == org_id)).scalar_one())
    ended = (_s.org_id == org_id, _s.closed_ms.is_not(None))
    gone = c.execute(sa.delete(signal_table).where(*ended, _s.closed_ms < before_ms)).rowcount
    over = held - gone - most
    if over > 0:
        oldest = sa.select(_s.signal_id).where(*ended).order_by(_s.closed_ms, _s.signal_id).limit(over)
        dropped = c.execute(sa.delete(signal_table).where(_s.org_id == org_id, _s.signal_id.in_(oldest)))
        gone += dropped.rowcount
    if gone:
        kept = sa.select(_s.signal_id).where(_s.org_id == org_id)
        c.execute(
            sa.delete(signal_comments).where(
                signal_comments.c.org_id == org_id, signal_comments.c.signal_id.not_in(kept)
            )
        )
    return gone


def set_triage(
    c: sa.Connection,
    org_id: int,
    signal_id: str,
    *,
    triage: str,
    archive_reason: str,
    assignee: str,
    by: str,
    at_ms: int,
) -> bool:
    """What somebody makes of a signal; whether there is such a signal."""
    changed = c.execute(
        sa.update(signal_table)
        .where(_s.org_id == org_id, _s.signal_id == signal_id)
        .values(
            triage=triage, archive_reason=archive_reason, assignee=assignee, triaged_by=by, triaged_ms=at_ms
        )
    )
    return bool(changed.rowcount)


def comments(c: sa.Connection, org_id: int, signal_id: str) -> list[Comment]:
    """What was written about a signal, oldest first."""
    k = signal_comments.c
    asked = (
        sa.select(k.comment_id, k.by, k.at_ms, k.text)
        .where(k.org_id == org_id, k.signal_id == signal_id)
        .order_by(k.comment_id)
    )
    return [Comment(*row) for row in c.execute(asked)]


def add_comment(c: sa.Connection, org_id: int, signal_id: str, *, by: str, at_ms: int, text: str) -> int:
    """Write about a signal; returns the number of the comment."""
    made = c.execute(
        sa.insert(signal_comments)
        .values(org_id=org_id, signal_id=signal_id, by=by, at_ms=at_ms, text=text)
        .returning(signal_comments.c.comment_id)
    )
    return int(made.scalar_one())


def _signals(org_id: int) -> sa.Select[Any]:
    k = signal_comments.c
    number = (
        sa.select(sa.func.count())
        .where(k.org_id == _s.org_id, k.signal_id == _s.signal_id)
        .correlate(signal_table)
        .scalar_subquery()
    )
    return sa.select(
        _s.document, _s.triage, _s.archive_reason, _s.assignee, _s.triaged_by, _s.triaged_ms,
        number.label("comments"),
    ).where(_s.org_id == org_id)  # fmt: skip


def _signal_row(row: Any) -> SignalRow:
    document, *made_of_it = row
    return SignalRow(_decode_signal(document), *made_of_it)


# Rules ------------------------------------------------------------------------------------------------------


class RuleRow(NamedTuple):
    """A version of a rule that people changed or made.

    Attributes:
        is_builtin: Whether one of this id comes with the server.
    """

    rule_id: str
    version: int
    document: dict[str, Any]
    is_builtin: bool
    changed_by: str
    changed_ms: int
    comment: str


def rules(c: sa.Connection, org_id: int) -> list[RuleRow]:
    """The newest version of each rule; those that nobody changed are not here."""
    r = detection_rules.c
    newest = (
        sa.select(r.rule_id, sa.func.max(r.version).label("version"))
        .where(r.org_id == org_id)
        .group_by(r.rule_id)
        .subquery()
    )
    asked = (
        sa.select(detection_rules)
        .join(newest, sa.and_(r.rule_id == newest.c.rule_id, r.version == newest.c.version))
        .where(r.org_id == org_id)
        .order_by(r.rule_id)
    )
    return [_rule_row(row) for row in c.execute(asked)]


def rule_versions(c: sa.Connection, org_id: int, rule_id: str) -> list[RuleRow]:
    """Every version of a rule that people made, newest first."""
    r = detection_rules.c
    asked = (
        sa.select(detection_rules)
        .where(r.org_id == org_id, r.rule_id == rule_id.replace("\0", ""))
        .order_by(r.version.desc())
    )
    return [_rule_row(row) for row in c.execute(asked)]


def put_rule(c: sa.Connection, org_id: int, rule: RuleRow) -> None:
    """Add a version; one that is there already is a conflict."""
    c.execute(
        sa.insert(detection_rules).values(
            **{**rule._asdict(), "document": json.dumps(rule.document)}, org_id=org_id
        )
    )


def _rule_row(row: sa.Row[Any]) -> RuleRow:
    return RuleRow(
        row.rule_id, row.version, json.loads(row.document), row.is_builtin, row.changed_by, row.changed_ms,
        row.comment,
    )  # fmt: skip


# Memory -----------------------------------------------------------------------------------------------------


def memories(c: sa.Connection, org_id: int, kind: str, *, newest: int = 10_000) -> dict[str, bytes]:
    """What detection wrote down of one kind: the newest of it, those last written last."""
    m = detection_memory.c
    asked = (
        sa.select(m.key, m.document)
        .where(m.org_id == org_id, m.kind == kind)
        .order_by(m.at_ms.desc(), m.key)
        .limit(newest)
    )
    return {key: bytes(document) for key, document in reversed(c.execute(asked).all())}


def put_memories(
    c: sa.Connection, org_id: int, kind: str, documents: Mapping[str, bytes], *, now_ms: int
) -> None:
    """Write down, each in place of what had its key."""
    values: Sequence[Mapping[str, Any]] = [
        {"org_id": org_id, "kind": kind, "key": key, "at_ms": now_ms, "document": document}
        for key, document in documents.items()
    ]
    upsert(c, detection_memory, values)


def forget_memories(c: sa.Connection, org_id: int, *, before_ms: int) -> None:
    """Drop what was last written before then."""
    m = detection_memory.c
    c.execute(sa.delete(detection_memory).where(m.org_id == org_id, m.at_ms < before_ms))
