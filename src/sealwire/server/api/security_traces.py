"""Security traces by the admin API: searched, counted, read whole, taken away as a file.

Every text in an answer is what a request said, and may be an attacker's.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypedDict, TypeVar

import orjson
import sqlalchemy as sa
from litestar import get
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Schema
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.access import Principal
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.audit.export import harmless
from sealwire.server.control_plane import ControlPlane
from sealwire.server.security import stacks as exploit_stacks
from sealwire.server.security.query import QueryError
from sealwire.server.security.search import (
    HOUR_MS,
    Page,
    Search,
    facet_named,
    load_one,
    page_of,
    read_cursor,
    related,
    search_of,
    write_cursor,
)
from sealwire.server.security.stacks import Stack as ExploitStack
from sealwire.server.store import security as store
from sealwire.server.store import write
from sealwire.server.store.security import Bar, Cursor, Found
from sealwire.server.tenant import Tenant

READ: Final = {"permission": "security_monitoring_signals_read"}

MAX_BARS: Final = 200
MAX_VALUES: Final = 100
MAX_EXPORTED: Final = 10_000
PIECE: Final = 500
JSON_LINES, CSV = "jsonl", "csv"
FORMATS = {JSON_LINES: "application/jsonl; charset=utf-8", CSV: "text/csv; charset=utf-8"}

T = TypeVar("T")


# What is answered -----------------------------------------------------------------------------------------


class Trace(TypedDict):
    """A request that was attacked, blocked, or told of a business event.

    Attributes:
        trace_id: 32 hexadecimal digits; empty for requests that were counted instead of kept.
        count: How many requests this is: more than one where they were counted instead of kept.
        at: When it ended; of counted requests the minute.
        target: The route, or the path where no route took the request.
        client_ip: Whom the engine took it to come from.
        peer_ip: Who opened the connection.
        account: The user, or the name somebody signed in with.
        activities: What happened, such as attack_attempt.sql_injection.
        response_id: Of the answer that blocked it.
        qualification: safe, harmful, or empty where that is not known.
    """

    trace_id: str
    span_id: str
    count: int
    at: str
    service: str
    env: str
    version: str
    host: str
    language: str
    method: str
    route: str
    target: str
    url: str
    status: int
    duration_ms: float
    user_agent: str
    client_ip: str
    peer_ip: str
    user_id: str
    user_login: str
    account: str
    session_id: str
    blocked: bool
    response_id: str
    activities: list[str]
    rule_ids: list[str]
    rule_types: list[str]
    exploits: list[str]
    tools: list[str]
    qualification: str


class Traces(TypedDict):
    """Security traces, newest first.

    Attributes:
        next: Where the next page begins, for ``before``; null on the last.
    """

    traces: list[Trace]
    next: str | None


class Parameter(TypedDict):
    """Where in a request something matched.

    Attributes:
        highlight: The parts of the value that matched.
        name: Which input of an operator that has several.
    """

    address: str
    key_path: list[str]
    value: str
    highlight: list[str]
    name: str


class Match(TypedDict):
    """One condition of a rule that held."""

    operator: str
    operator_value: str
    parameters: list[Parameter]


class Trigger(TypedDict):
    """A rule of the engine that matched.

    Attributes:
        response_id: Of the answer that blocked.
        stack_id: Of the stack trace that belongs to it.
    """

    rule_id: str
    name: str
    type: str
    category: str
    module: str
    tags: dict[str, str]
    on_match: list[str]
    matches: list[Match]
    response_id: str
    stack_id: str


class Event(TypedDict):
    """Something the application said happened."""

    name: str
    tags: dict[str, str]


class Frame(TypedDict):
    """One call.

    Attributes:
        where: File and line.
        what: The function, with its class and module.
    """

    where: str
    what: str


class Stack(TypedDict):
    """How the code came to where a vulnerability was reached; the innermost call first."""

    stack_id: str
    language: str
    message: str
    frames: list[Frame]


class WholeTrace(Trace):
    """A request with everything that is known of it.

    Attributes:
        runtime_id: The process; as in the fleet.
        client_id: Of the tracer in the fleet.
        fp_endpoint, fp_header, fp_network, fp_session: Fingerprints.
        touches: Kinds of spans below, such as sql.
        skewed: Whether the clock of the sender was off, and this is the time of receipt.
        stacks: Stack traces of exploits.
    """

    runtime_id: str
    client_id: str
    tracer_version: str
    waf_version: str
    rules_version: str
    fp_endpoint: str
    fp_header: str
    fp_network: str
    fp_session: str
    touches: list[str]
    skewed: bool
    triggers: list[Trigger]
    events: list[Event]
    stacks: list[Stack]


class OneTrace(TypedDict):
    """The requests of one trace: one of each service that saw something.

    Attributes:
        related: How many other requests of the last day came from the same address.
    """

    trace_id: str
    spans: list[WholeTrace]
    related: int


class Value(TypedDict):
    """A value of a facet, and how many requests have it."""

    value: str
    count: int


class Values(TypedDict):
    """The most frequent values of a facet."""

    facet: str
    values: list[Value]


class TimeBar(TypedDict):
    """What happened from ``at`` to the next bar.

    Attributes:
        attacks: Requests with something besides business events, blocked or not.
        blocked: Requests that were blocked.
        events: Requests with business events only.
    """

    at: str
    attacks: int
    blocked: int
    events: int


class Histogram(TypedDict):
    """How many requests a search finds, over time.

    Attributes:
        traces: How many were kept whole.
        requests: How many there were, those that were counted instead of kept among them.
        blocked: How many of them were blocked.
    """

    traces: int
    requests: int
    blocked: int
    bars: list[TimeBar]


async def reading(plane: ControlPlane, look: Callable[[sa.Connection], T]) -> T:
    """What a look into the database gives, made on another thread; only a few at once."""

    def read() -> T:
        with plane.database.read() as c:
            return look(c)

    async with plane.searching:
        return await asyncio.to_thread(read)


# Routes -----------------------------------------------------------------------------------------------------


@get("/security/traces", opt=READ)
async def list_security_traces(
    tenant: OwnTenant,
    plane: Plane,
    q: FromQuery[str | None] = None,
    begin: Annotated[str | None, QueryParameter(name="from")] = None,
    until: Annotated[str | None, QueryParameter(name="to")] = None,
    before: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50,
) -> Traces:
    """Security traces that a query finds, newest first; of the last hour unless it is said when."""
    search = _asked(q, begin, until, plane)
    place = read_cursor(before)
    org_id = tenant.organisation.org_id
    page = await reading(plane, lambda c: page_of(c, org_id, search, before=place, limit=limit))
    return {
        "traces": [trace(found) for found in page.found],
        "next": None if page.next is None else write_cursor(page.next),
    }


@dataclass
class _Exporting(Operation):
    """The answer of an export is a file, in one of the formats there are."""

    def __post_init__(self) -> None:
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse):
            answer.description = "Security traces, newest first."
            answer.content = {
                media_type.partition(";")[0]: OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
                for media_type in FORMATS.values()
            }


@get("/security/traces/export", opt=READ, operation_class=_Exporting)
async def export_security_traces(
    tenant: OwnTenant,
    plane: Plane,
    principal: Asker,
    form: Annotated[str, QueryParameter(name="format")] = JSON_LINES,
    q: FromQuery[str | None] = None,
    begin: Annotated[str | None, QueryParameter(name="from")] = None,
    until: Annotated[str | None, QueryParameter(name="to")] = None,
) -> Stream:
    """The newest 10,000 traces of a search as a file: JSON lines (``jsonl``) or ``csv``. The trail tells."""
    return await export(plane, tenant, principal, form, _asked(q, begin, until, plane))


@get("/security/traces/{trace_id:str}", opt=READ)
async def get_security_trace(trace_id: FromPath[str], tenant: OwnTenant, plane: Plane) -> OneTrace:
    """Everything that is known of one trace."""
    org_id, now_ms = tenant.organisation.org_id, plane.now_ms()

    def look(c: sa.Connection) -> tuple[list[tuple[Found, tuple[ExploitStack, ...]]], int]:
        found = load_one(c, org_id, trace_id)
        whole = [(one, exploit_stacks.read(store.stacks(c, org_id, one.row_id))) for one in found]
        ip = found[0].row.actor_ip
        since_ms = now_ms - 24 * HOUR_MS
        if not ip:
            return whole, 0
        tally = store.tally(c, org_id, related(ip), since_ms=since_ms, until_ms=now_ms + 1)
        own = sum(one.row.actor_ip == ip and one.row.ts * 1000 >= since_ms for one in found)
        return whole, max(0, tally.requests - own)

    whole, others = await reading(plane, look)
    return {"trace_id": trace_id, "spans": [_whole(*one) for one in whole], "related": others}


@get("/security/facets", opt=READ)
async def list_facet_values(
    tenant: OwnTenant,
    plane: Plane,
    facet: FromQuery[str],
    q: FromQuery[str | None] = None,
    begin: Annotated[str | None, QueryParameter(name="from")] = None,
    until: Annotated[str | None, QueryParameter(name="to")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_VALUES)] = 20,
) -> Values:
    """The most frequent values of a facet, among the traces a query finds."""
    search, named = _asked(q, begin, until, plane), facet_named(facet)
    org_id = tenant.organisation.org_id
    found = await reading(
        plane,
        lambda c: store.facet_values(
            c, org_id, search.node, named, since_ms=search.since_ms, until_ms=search.until_ms, limit=limit
        ),
    )
    return {"facet": named.name, "values": [{"value": value, "count": count} for value, count in found]}


@get("/security/histogram", opt=READ)
async def security_histogram(
    tenant: OwnTenant,
    plane: Plane,
    q: FromQuery[str | None] = None,
    begin: Annotated[str | None, QueryParameter(name="from")] = None,
    until: Annotated[str | None, QueryParameter(name="to")] = None,
    bars: Annotated[int, QueryParameter(ge=1, le=MAX_BARS)] = 60,
) -> Histogram:
    """How many requests a query finds, over time."""
    search = _asked(q, begin, until, plane)
    org_id = tenant.organisation.org_id

    def look(c: sa.Connection) -> tuple[list[Bar], store.Tally]:
        times = {"since_ms": search.since_ms, "until_ms": search.until_ms}
        counted = store.histogram(c, org_id, search.node, bars=bars, **times)
        return counted, store.tally(c, org_id, search.node, **times)

    found, tally = await reading(plane, look)
    return {
        "traces": tally.traces,
        "requests": tally.requests,
        "blocked": tally.blocked,
        "bars": [
            {
                "at": shapes.time(one.at_ms),
                "attacks": one.attacks,
                "blocked": one.blocked,
                "events": one.events,
            }
            for one in found
        ],
    }


def _asked(text: str | None, begin: str | None, until: str | None, plane: ControlPlane) -> Search:
    """What a request asks for; a query that makes no sense is told with its parameter."""
    try:
        return search_of(text, begin, until, now_ms=plane.now_ms())
    except QueryError as error:
        error.problems = (Problem("$.q", error.public),)
        raise


# A file ---------------------------------------------------------------------------------------------------


async def export(
    plane: ControlPlane, tenant: Tenant, principal: Principal, form: str, search: Search
) -> Stream:
    """What a search finds as a file, noted in the audit trail before.

    Raises:
        InvalidChangeError: There is no such format.
    """
    if form not in FORMATS:
        raise InvalidChangeError("format is jsonl or csv.", problems=(Problem("$.format", "jsonl or csv"),))
    org_id = tenant.organisation.org_id

    def note() -> None:
        with plane.database.write() as c:
            write.add_audit(
                c, org_id, at_ms=plane.now_ms(), actor=principal.user, action="security_traces.exported",
                subject="security traces",
                summary=f"Exported security traces as {'CSV' if form == CSV else 'JSON lines'}",
                detail={
                    "format": form, "query": search.text, "from_ms": search.since_ms,
                    "until_ms": search.until_ms, "at_most": MAX_EXPORTED,
                },
            )  # fmt: skip

    await asyncio.to_thread(note)
    name = f"sealwire-traces-{org_id}-{plane.clock():%Y%m%d-%H%M%S}.{form}"
    return Stream(
        _lines(plane, org_id, form, search),
        media_type=FORMATS[form],
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


async def _lines(plane: ControlPlane, org_id: int, form: str, search: Search) -> AsyncIterator[bytes]:
    if form == CSV:
        yield _csv([tuple(Trace.__annotations__)])
    place: Cursor | None = None
    for _ in range(MAX_EXPORTED // PIECE):

        def look(c: sa.Connection, begin: Cursor | None = place) -> Page:
            return page_of(c, org_id, search, before=begin, limit=PIECE)

        found, place = await reading(plane, look)
        if found:
            yield _written(form, [trace(one) for one in found])
        if place is None:
            return


def _written(form: str, traces: Sequence[Trace]) -> bytes:
    if form == JSON_LINES:
        return b"".join(orjson.dumps(one) + b"\n" for one in traces)
    return _csv([tuple(_cell(value) for value in one.values()) for one in traces])


def _cell(value: object) -> str:
    return harmless(" ".join(value) if isinstance(value, list) else str(value))


def _csv(table: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(table)
    return text.getvalue().encode("utf-8", "replace")


# Shapes ---------------------------------------------------------------------------------------------------


def trace(found: Found) -> Trace:
    """A row as the API says it."""
    row = found.row
    return {
        "trace_id": row.trace_id,
        "span_id": row.span_id,
        "count": found.count,
        "at": shapes.time(int(row.ts * 1000)),
        "service": row.service,
        "env": row.env,
        "version": row.version,
        "host": row.host,
        "language": row.lang,
        "method": row.method,
        "route": row.route,
        "target": row.target,
        "url": row.url,
        "status": row.status,
        "duration_ms": row.duration_ms,
        "user_agent": row.user_agent,
        "client_ip": row.actor_ip,
        "peer_ip": row.peer_ip,
        "user_id": row.user_id,
        "user_login": row.user_login,
        "account": row.account,
        "session_id": row.session_id,
        "blocked": row.blocked,
        "response_id": row.security_response_id,
        "activities": list(row.activities),
        "rule_ids": list(row.rule_ids),
        "rule_types": list(row.rule_types),
        "exploits": list(row.exploits),
        "tools": list(row.tools),
        "qualification": row.qualification,
    }


def _whole(found: Found, stacks: Sequence[ExploitStack]) -> WholeTrace:
    row = found.row
    return {
        **trace(found),
        "runtime_id": row.runtime_id,
        "client_id": row.rc_client_id,
        "tracer_version": row.tracer_version,
        "waf_version": row.waf_version,
        "rules_version": row.rules_version,
        "fp_endpoint": row.fp_endpoint,
        "fp_header": row.fp_header,
        "fp_network": row.fp_network,
        "fp_session": row.fp_session,
        "touches": list(row.touches),
        "skewed": row.skewed,
        "triggers": [
            {
                "rule_id": one.rule_id,
                "name": one.name,
                "type": one.type,
                "category": one.category,
                "module": one.module,
                "tags": one.tags,
                "on_match": list(one.on_match),
                "matches": [
                    {
                        "operator": match.operator,
                        "operator_value": match.operator_value,
                        "parameters": [
                            {
                                "address": each.address,
                                "key_path": list(each.key_path),
                                "value": each.value,
                                "highlight": list(each.highlight),
                                "name": each.name,
                            }
                            for each in match.parameters
                        ],
                    }
                    for match in one.matches
                ],
                "response_id": one.response_id,
                "stack_id": one.stack_id,
            }
            for one in row.triggers
        ],
        "events": [{"name": one.name, "tags": one.tags} for one in row.events],
        "stacks": [
            {
                "stack_id": one.stack_id,
                "language": one.language,
                "message": one.message,
                "frames": [{"where": frame.where, "what": frame.what} for frame in one.frames],
            }
            for one in stacks
        ],
    }


HANDLERS: list[ControllerRouterHandler] = [
    list_security_traces, export_security_traces, get_security_trace, list_facet_values, security_histogram,
]  # fmt: skip
