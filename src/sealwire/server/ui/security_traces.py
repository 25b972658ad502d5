"""Security traces: searched, counted over time and by facet, seen as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import orjson
import sqlalchemy as sa
from litestar import Request, Response, get
from litestar.response import Stream

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.api import security_traces as api
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.security.facets import FACETS, Facet
from sealwire.server.security.query import MAX_CHARS, Everything, QueryError
from sealwire.server.security.search import (
    Page,
    Search,
    cursor_of,
    page_of,
    read_cursor,
    search_of,
    understood,
    write_cursor,
)
from sealwire.server.store import security as store
from sealwire.server.store.security import Bar, Cursor, Found
from sealwire.server.store.security_facets import NEWEST, facet_counts
from sealwire.server.tenant import Tenant
from sealwire.server.ui import security_traces_detail, timeline
from sealwire.server.ui import security_traces_query as clicked
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import macro, page
from sealwire.server.ui.security_traces_words import (
    MAX_BADGES,
    badge,
    badges,
    kind_words,
    qualified,
    status_tone,
    visible,
)
from sealwire.server.ui.timeline import Timeline
from sealwire.server.ui.views import Status, Tab

Asked: TypeAlias = Request[Any, Any, Any]
READ: Final = {"permission": "security_monitoring_signals_read"}
PATH: Final = "/security/traces"

PAGE_ROWS: Final = 50
LIVE_ROWS: Final = 150  # on a page that is left open
FACET_VALUES: Final = 8
SLIDES_EVERY_S: Final = 10.0  # while nothing new comes: the range goes on
COUNT_AT_MOST: Final = 0.1  # of one viewer's time is spent on counting for it

_MINUTE_MS, _HOUR_MS, _DAY_MS = timeline.MINUTE, timeline.HOUR, timeline.DAY
RANGES: Mapping[str, tuple[str, int]] = {
    "15m": ("15 min", 15 * _MINUTE_MS),
    "1h": ("1 h", _HOUR_MS),
    "4h": ("4 h", 4 * _HOUR_MS),
    "1d": ("1 d", _DAY_MS),
    "7d": ("7 d", 7 * _DAY_MS),
}
DEFAULT_RANGE: Final = "1h"
_SHOWN = (
    ("Service", "service"),
    ("Environment", "env"),
    ("What happened", "@appsec.security_activity"),
    ("Type", "@appsec.type"),
    ("Status", "@http.status_code"),
    ("Blocked", "@appsec.blocked"),
    ("Outcome", "@appsec.qualification"),
    ("IP address", "@http.client_ip"),
    ("User", "@usr.account"),
    ("Tool", "@appsec.tool_name"),
)
_FACETS: tuple[Facet, ...] = tuple(FACETS[name] for _, name in _SHOWN)


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One row of the table.

    Attributes:
        href: To all of it; to others like it where it was counted instead of kept.
        more: Badges that have no room.
        count: How many requests it is.
    """

    dom_id: str
    href: str
    iso: str
    day: str
    clock: str
    badges: tuple[Status, ...]
    more: tuple[str, ...]
    outcome: Status | None
    service: str
    env: str
    method: str
    target: str
    url: str
    status: int
    status_tone: str
    ip: str
    ip_href: str | None
    user: str
    user_href: str | None
    blocked: bool
    count: int


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One value: how many requests have it, and what a click does to the query; None where it cannot.

    Attributes:
        raw: As it is typed.
    """

    text: str
    raw: str
    count: int
    share: float
    is_chosen: bool
    is_left_out: bool
    href: str | None
    exclude_href: str | None


@dataclass(frozen=True, slots=True)
class FacetView:
    """One facet beside the table; ``is_open`` from the start."""

    key: str
    label: str
    name: str
    says: str
    values: tuple[FacetValue, ...]
    is_open: bool


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with the query: the text around it, and the character it is about."""

    message: str
    before: str
    at: str
    after: str


@dataclass(frozen=True, slots=True)
class Setup:
    """How far it is to the first trace."""

    activations: int
    agents: int
    clients: int


@dataclass(frozen=True, slots=True)
class TracesPage:
    """What an address asks for.

    Attributes:
        range: Name of a range that ends now; empty for times of one's own.
        begin, until: As the fields for times have them.
        hidden: What the form keeps besides what can be typed.
        problems: With the times.
        of_newest: How many rows the facets are counted over, where there are more; else 0.
        setup: Where nothing has ever come.
        fixed_href: The same search, with the times it has now.
        live_href: None where a page shows times that are over, or a later page.
        known: Names of facets and what they are, for who types.
    """

    query: str
    wrong: Wrong | None
    problems: tuple[Problem, ...]
    ranges: tuple[Tab, ...]
    range: str
    begin: str
    until: str
    begin_words: str
    until_words: str
    chart: Timeline | None
    facets: tuple[FacetView, ...]
    of_newest: int
    rows: tuple[TraceRow, ...]
    setup: Setup | None
    is_filtered: bool
    clear_href: str
    wider: tuple[Tab, ...]
    newest_href: str | None
    next_href: str | None
    fixed_href: str
    export_hrefs: tuple[tuple[str, str], ...]
    live_href: str | None
    known: tuple[tuple[str, str], ...]
    summary: str


@dataclass(frozen=True, slots=True)
class _Times:
    """From when to when; ``name`` of a range that ends now."""

    name: str
    since_ms: int
    until_ms: int

    def parameters(self) -> dict[str, str]:
        """As an address has it."""
        if self.name:
            return {} if self.name == DEFAULT_RANGE else {"range": self.name}
        return _fixed(self.since_ms, self.until_ms)


def _fixed(since_ms: int, until_ms: int) -> dict[str, str]:
    return {"from": _iso(since_ms), "to": _iso(until_ms)}


# Pages ----------------------------------------------------------------------------------------------------


@get(PATH, opt=READ, include_in_schema=False)
async def show_traces(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Requests that were attacked, blocked, or told of a business event."""
    view = await _Screen(plane, tenant, dict(request.query_params)).view()
    return page(
        request, "security_traces/traces.html", title="Security traces", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@get("/live/security/traces", opt=READ, include_in_schema=False)
async def live_traces(request: Asked, tenant: OwnTenant, plane: Plane, viewers: Watching) -> Stream:
    """The same, as it grows. Nothing is asked of the database while nothing came."""
    row = macro("security_traces/_parts.html", "row")
    parts = {
        name: macro("security_traces/_parts.html", name)
        for name in ("chart", "facets", "nothing", "announcement")
    }
    screen = _Screen(plane, tenant, dict(request.query_params))
    seen = -1
    count_at = slide_at = 0.0
    fragments: Fragments = {}

    async def look() -> Fragments:
        nonlocal seen, count_at, slide_at, fragments
        now, generation = time.monotonic(), tenant.detection.generation
        if fragments and generation == seen and now < slide_at:
            return fragments
        is_due = now >= count_at
        view = await screen.view(count=is_due)
        if is_due:
            count_at = now + (time.monotonic() - now) / COUNT_AT_MOST
            slide_at = now + SLIDES_EVERY_S
        else:
            slide_at = count_at
        body = Rows(
            '<tbody id="rows" role="rowgroup">', {one.dom_id: row(one) for one in view.rows}, "</tbody>"
        )
        fragments = {"rows": body, **{name: part(view) for name, part in parts.items()}}
        seen = generation
        return fragments

    return await viewers.stream(look)


@get(f"{PATH}/export", opt=READ, include_in_schema=False)
async def export(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Stream:
    """What a search finds as a file."""
    query = dict(request.query_params)
    search = search_of(query.get("q"), query.get("from"), query.get("to"), now_ms=plane.now_ms())
    return await api.export(plane, tenant, principal, query.get("format", ""), search)


HANDLERS = [show_traces, live_traces, export, *security_traces_detail.HANDLERS]


# What is on them ------------------------------------------------------------------------------------------


class _Screen:
    """One address, looked at once or again and again: what was counted is kept while it need not be new."""

    def __init__(self, plane: ControlPlane, tenant: Tenant, query: Mapping[str, str]) -> None:
        self._plane = plane
        self._tenant = tenant
        self._query = query
        self._counted: tuple[Timeline, tuple[FacetView, ...]] | None = None

    async def view(self, *, count: bool = True) -> TracesPage:
        """The page now.

        Args:
            count: Whether what stands beside the rows is counted anew.
        """
        text = self._query.get("q", "").strip()
        times, problems = _times(self._query, self._plane.now_ms())
        wrong = None
        search = None
        before = since = None
        try:
            search = Search(text, understood(text), times.since_ms, times.until_ms)
            before, since = read_cursor(self._query.get("before")), read_cursor(self._query.get("since"))
        except QueryError as error:
            wrong = _wrong(text, error)
        except InvalidChangeError as error:
            problems += error.problems
        if search is None or problems or wrong is not None:
            return self._page(text, times, wrong, problems, Page([], None), None, None)
        rows = self._rows(search, before, since)
        if count or self._counted is None:
            found, self._counted = await asyncio.gather(rows, self._count(search, times))
        else:
            found = await rows
        setup = None
        if not found.found and not await self._anything():
            setup = await _setup(self._tenant)
        return self._page(text, times, None, (), found, setup, before)

    async def _rows(self, search: Search, before: Cursor | None, since: Cursor | None) -> Page:
        org_id = self._tenant.organisation.org_id
        if before is not None or since is None:
            return await api.reading(
                self._plane, lambda c: page_of(c, org_id, search, before=before, limit=PAGE_ROWS)
            )
        # A page that is open keeps the rows it has, while new ones come on top of them.
        kept = Search(search.text, search.node, min(search.since_ms, since.ts_ms), search.until_ms)
        found = await api.reading(self._plane, lambda c: page_of(c, org_id, kept, limit=LIVE_ROWS))
        own = [one for one in found.found if cursor_of(one) >= since]
        return Page(own, cursor_of(own[-1]) if own else None)

    async def _count(self, search: Search, times: _Times) -> tuple[Timeline, tuple[FacetView, ...]]:
        org_id = self._tenant.organisation.org_id
        begin, end, number = timeline.aligned(search.since_ms, search.until_ms)
        within: dict[str, int] = {"since_ms": search.since_ms, "until_ms": search.until_ms}

        def bars(c: sa.Connection) -> list[Bar]:
            return store.histogram(c, org_id, search.node, since_ms=begin, until_ms=end, bars=number)

        def facets(c: sa.Connection) -> dict[str, list[tuple[str, int]]]:
            # A facet that is chosen from shows its other values too: each such one is counted by itself.
            chosen = [facet for facet in _FACETS if clicked.included(search.text, facet)]
            others = [facet for facet in _FACETS if facet not in chosen]
            found = facet_counts(c, org_id, search.node, others, limit=FACET_VALUES, **within)
            for facet in chosen:
                node = understood(clicked.without(search.text, facet))
                found |= facet_counts(c, org_id, node, [facet], limit=FACET_VALUES, **within)
            return found

        counted, values = await asyncio.gather(
            api.reading(self._plane, bars), api.reading(self._plane, facets)
        )

        def href(since_ms: int, until_ms: int) -> str:
            return _href({"q": search.text, **_fixed(since_ms, until_ms)})

        chart = timeline.timeline(counted, step_ms=(end - begin) // number, href=href)
        return chart, _facets(search.text, times, values)

    async def _anything(self) -> bool:
        """Whether a trace has ever come."""
        org_id, now_ms = self._tenant.organisation.org_id, self._plane.now_ms()
        found = await api.reading(
            self._plane,
            lambda c: store.search(c, org_id, Everything(), since_ms=0, until_ms=now_ms + _DAY_MS, limit=1),
        )
        return bool(found)

    def _page(
        self,
        text: str,
        times: _Times,
        wrong: Wrong | None,
        problems: tuple[Problem, ...],
        found: Page,
        setup: Setup | None,
        before: Cursor | None,
    ) -> TracesPage:
        given = {"q": text[:MAX_CHARS], **times.parameters()}
        fixed = {"q": given["q"], **_fixed(times.since_ms, times.until_ms)}
        chart, facets = self._counted if self._counted is not None and wrong is None else (None, ())
        is_live = bool(times.name) and before is None and wrong is None and not problems
        since = {"since": write_cursor(cursor_of(found.found[-1]))} if found.found else {}
        if "since" in self._query and found.found:
            since = {"since": self._query["since"]}
        rows = tuple(_row(one, given) for one in found.found)
        return TracesPage(
            query=given["q"],
            wrong=wrong,
            problems=problems,
            ranges=tuple(
                Tab(label, _href({"q": given["q"], **_range(name)}), name == times.name, -1)
                for name, (label, _) in RANGES.items()
            ),
            range="" if times.name == DEFAULT_RANGE else times.name,
            begin=_field(times.since_ms),
            until=_field(times.until_ms),
            begin_words=timeline.full(times.since_ms),
            until_words=timeline.full(times.until_ms),
            chart=chart,
            facets=facets,
            of_newest=NEWEST if chart is not None and chart.total > NEWEST else 0,
            rows=rows,
            setup=setup,
            is_filtered=bool(text),
            clear_href=_href(times.parameters()),
            wider=_wider(given["q"], times),
            newest_href=_href(given) if before is not None else None,
            next_href=None if found.next is None else _href({**given, "before": write_cursor(found.next)}),
            fixed_href=_href(fixed),
            export_hrefs=tuple(
                (words, _href({**fixed, "format": form}, f"{PATH}/export"))
                for form, words in ((api.JSON_LINES, "JSON lines"), (api.CSV, "CSV"))
            )
            if rows
            else (),
            live_href=_href({**given, **since}, f"/live{PATH}") if is_live else None,
            known=tuple((facet.name, facet.says) for facet in FACETS.values()),
            summary=_summary(rows, chart),
        )


def _times(query: Mapping[str, str], now_ms: int) -> tuple[_Times, tuple[Problem, ...]]:
    """From when to when an address means: a range that ends now, or times of one's own."""
    name = query.get("range", "") or DEFAULT_RANGE
    if query.get("from") or query.get("to"):
        try:
            found = search_of("", query.get("from"), query.get("to"), now_ms=now_ms)
            return _Times("", found.since_ms, found.until_ms), ()
        except InvalidChangeError as error:
            return _of_range(DEFAULT_RANGE, now_ms), error.problems
    return _of_range(name if name in RANGES else DEFAULT_RANGE, now_ms), ()


def _of_range(name: str, now_ms: int) -> _Times:
    """A range that ends with the bar that is now: what is shown moves by whole bars."""
    length = RANGES[name][1]
    step = timeline.step_of(0, length)
    end = -(-(now_ms + 1) // step) * step
    return _Times(name, end - length, end)


def _range(name: str) -> dict[str, str]:
    return {} if name == DEFAULT_RANGE else {"range": name}


def _wider(text: str, times: _Times) -> tuple[Tab, ...]:
    """Longer ranges than this one, for who found nothing."""
    length = times.until_ms - times.since_ms
    return tuple(
        Tab(label, _href({"q": text, **_range(name)}), False, -1)
        for name, (label, ms) in RANGES.items()
        if ms > length
    )[-2:]


def _href(parameters: Mapping[str, str], path: str = PATH) -> str:
    given = {name: value for name, value in parameters.items() if value}
    return f"{path}?{urlencode(given, safe=':,@*()/')}" if given else path


def _iso(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC).replace(tzinfo=None)
    return at.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds") + "Z"


def _field(at_ms: int) -> str:
    """A time as a field for times has it, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).replace(tzinfo=None).isoformat(timespec="seconds")


def _wrong(text: str, error: QueryError) -> Wrong:
    at = min(error.position, len(text))
    return Wrong(
        error.public,
        ("…" if at > 60 else "") + visible(text[max(0, at - 60) : at]),
        visible(text[at : at + 1]),
        visible(text[at + 1 : at + 61]) + ("…" if len(text) > at + 61 else ""),
    )


def _summary(rows: tuple[TraceRow, ...], chart: Timeline | None) -> str:
    if not rows or chart is None:
        return "No request is shown."
    newest = rows[0]
    what = newest.badges[0].word if newest.badges else "a request"
    return f"{chart.total:,} requests; the newest: {what} on {newest.service or 'a service'}."


def _row(found: Found, given: Mapping[str, str]) -> TraceRow:
    row = found.row
    at = datetime.fromtimestamp(row.ts, UTC)
    shown = badges(row)
    one_ip = clicked.toggled(given["q"], FACETS["@http.client_ip"], row.actor_ip) if row.actor_ip else None
    one_user = clicked.toggled(given["q"], FACETS["@usr.account"], row.account) if row.account else None

    def to(text: str | None) -> str | None:
        return None if text is None else _href({**given, "q": text})

    return TraceRow(
        dom_id=f"row-{found.row_id}",
        href=f"{PATH}/{row.trace_id}" if row.trace_id else "",
        iso=_iso(int(row.ts * 1000)),
        day=f"{at:%b} {at.day}",
        clock=f"{at:%H:%M:%S}" if row.trace_id else f"{at:%H:%M}",
        badges=shown[:MAX_BADGES],
        more=tuple(each.word for each in shown[MAX_BADGES:]),
        outcome=qualified(row.qualification) if row.qualification == "harmful" else None,
        service=visible(row.service, 100),
        env=visible(row.env, 100),
        method=visible(row.method, 16),
        target=visible(row.target, 200),
        url=visible(row.url, 300),
        status=row.status,
        status_tone=status_tone(row.status),
        ip=visible(row.actor_ip, 64),
        ip_href=to(one_ip),
        user=visible(row.account, 100),
        user_href=to(one_user),
        blocked=row.blocked,
        count=found.count,
    )


def _facets(text: str, times: _Times, values: Mapping[str, list[tuple[str, int]]]) -> tuple[FacetView, ...]:
    found = []
    for label, name in _SHOWN:
        facet = FACETS[name]
        chosen, left_out = clicked.included(text, facet), clicked.excluded(text, facet)
        given = values.get(name, [])
        # What was asked for or left out stays there to be clicked again, though nothing has it now.
        missing = (chosen | left_out) - {value.lower() for value, _ in given}
        given = [*given, *((value, 0) for value in sorted(missing))]
        most = max((count for _, count in given), default=0) or 1
        shown = []
        for value, count in given:
            with_it = clicked.toggled(text, facet, value)
            without_it = clicked.toggled(text, facet, value, exclude=True)
            shown.append(
                FacetValue(
                    _words(facet, value),
                    visible(value, 200),
                    count,
                    round(100 * count / most, 1),
                    value.lower() in chosen,
                    value.lower() in left_out,
                    None if with_it is None else _href({"q": with_it, **times.parameters()}),
                    None if without_it is None else _href({"q": without_it, **times.parameters()}),
                )
            )
        if shown:
            key = f"facet-{facet.attribute.replace('_', '-')}"
            found.append(FacetView(key, label, name, facet.says, tuple(shown), True))
    return tuple(found)


def _words(facet: Facet, value: str) -> str:
    """A value as people read it; what can be typed is its own text otherwise."""
    if facet.attribute == "blocked":
        return "Blocked" if value == "true" else "Not blocked"
    if facet.attribute == "activities":
        return badge(value).word
    if facet.attribute in ("rule_types", "qualification"):
        return kind_words(value)
    return visible(value, 100)


async def _setup(tenant: Tenant) -> Setup:
    activations = 0
    for item in tenant.publisher.catalogue.active.values():
        if item.row.product == "ASM_FEATURES":
            payload = orjson.loads(item.row.payload)
            asm = payload.get("asm") if isinstance(payload, dict) else None
            activations += isinstance(asm, dict) and asm.get("enabled") is True
    fleet = await tenant.overview.glance()
    return Setup(activations, len(fleet.agents), len(fleet.clients))
