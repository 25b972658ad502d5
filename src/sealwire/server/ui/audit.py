"""The audit trail: found, unfolded, verified, exported."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlencode

import orjson
from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from sealwire.errors import InvalidChangeError, Problem, UnavailableError
from sealwire.products import PRODUCTS
from sealwire.server import audit
from sealwire.server.access import Principal
from sealwire.server.api import audit as api
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.audit.trail import Checked
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import audit as store
from sealwire.server.store import configs, rows
from sealwire.server.store.audit import Criteria, Sought
from sealwire.server.tenant import Tenant
from sealwire.server.ui import config_history, forms
from sealwire.server.ui.config_history import DiffLine
from sealwire.server.ui.filters import Field, Grammar
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import has_page, macro, moment, page
from sealwire.server.ui.views import Link, Moment, Status

Asked: TypeAlias = Request[Any, Any, Any]
READ, WRITE = {"permission": "audit_logs_read"}, {"permission": "audit_logs_write"}

PAGE_ROWS = 50
OWN_PARAMETERS = ("q", "from", "until", "before", "after", "since")
LIVE_ROWS = 200  # on a page that is left open
MAX_DETAIL_CHARS = 8000
SHOWN_FILES = 10

FIELDS: Grammar[rows.AuditRow] = Grammar(
    actor=Field(lambda row: (row.actor,), is_name=True),
    action=Field(lambda row: (row.action,)),
    asset=Field(lambda row: (row.subject,), is_name=True),
    address=Field(lambda row: (row.context.get("address", ""),)),
    request=Field(lambda row: (row.context.get("request_id", ""),)),
)
_COLUMNS = {"asset": "subject"}
_TONES: Mapping[str, tuple[str, str]] = {
    "created": ("ok", "plus"),
    "modified": ("info", "pencil"),
    "deleted": ("mute", "trash-2"),
    "refused": ("bad", "shield-off"),
    "signed": ("info", "shield-check"),
    "exported": ("wait", "download"),
    "restored": ("wait", "rotate-ccw"),
}
_ACTORS: Mapping[str, tuple[str, str]] = {
    audit.USER: ("user", "Signed in"),
    audit.APPLICATION_KEY: ("key-round", "Application key"),
    audit.API_KEY: ("key-round", "API key"),
    audit.SERVICE: ("server", "This server"),
    audit.COMMAND_LINE: ("terminal", "Command line on the server"),
    audit.NOBODY: ("circle-help", "Not signed in"),
}


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event.

    Attributes:
        asset: What it was done to; leads there where there is a page.
        times: How often it happened, when equal ones were counted together.
        facts: Everything else that is known of it: words and value.
        detail: As it was stored, JSON.
        change_href: What it changed, to be looked up when somebody unfolds it; empty when there is nothing.
    """

    id: int
    dom_id: str
    href: str
    status: Status
    actor: str
    actor_icon: str
    actor_kind: str
    summary: str
    action: str
    asset: Link
    address: str
    at: Moment
    times: int
    facts: tuple[tuple[str, str], ...]
    detail: str
    change_href: str


@dataclass(frozen=True, slots=True)
class ChangeView:
    """What an event changed of a config.

    Attributes:
        words: What it means, a line each.
        missing: Why it is not shown; empty when it is.
    """

    words: tuple[str, ...]
    diff: tuple[DiffLine, ...]
    too_long: bool
    missing: str


@dataclass(frozen=True, slots=True)
class ChainView:
    """Whether the trail is what was written.

    Attributes:
        at: When it was verified last.
        text: What came of it.
        head: The hash of the last event now.
        size: Of all events, in words.
    """

    status: Status
    at: Moment
    text: str
    events: int
    head: str
    size: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """The trail as far as an address asks for it.

    Attributes:
        live_href: The stream of this page: what it shows stays, what is new comes on top.
    """

    chain: ChainView
    query: str
    begin: str
    until: str
    problems: tuple[Problem, ...]
    fields: tuple[str, ...]
    events: tuple[EventRow, ...]
    is_filtered: bool
    previous_href: str | None
    next_href: str | None
    export_hrefs: tuple[tuple[str, str], ...]
    summary: str
    live_href: str


@dataclass(frozen=True, slots=True)
class EventPage:
    """One event, and what it changed.

    Attributes:
        files: Path, version and SHA-256 of what is published as this event made it.
    """

    event: EventRow
    change: ChangeView | None
    files: tuple[tuple[str, int, str], ...]


# Pages --------------------------------------------------------------------------------------------------


@get("/audit", opt=READ, include_in_schema=False)
async def show_audit(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Who did what, newest first."""
    view = await _view(plane, tenant, principal, dict(request.query_params))
    return page(
        request, "audit/audit.html", title="Audit trail", view=view, principal=principal, tenant=tenant
    )


@get("/live/audit", opt=READ, include_in_schema=False)
async def live_audit(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching
) -> Stream:
    """The trail as it grows. Its head is looked at each time; events only when that moved."""
    query = dict(request.query_params)
    row = macro("audit/_parts.html", "row")
    parts = {name: macro("audit/_parts.html", name) for name in ("chain", "nothing", "announcement")}
    org_id = tenant.organisation.org_id
    seen: tuple[object, ...] = ()
    fragments: Fragments = {}

    def stands() -> tuple[object, ...]:
        plane.trail.refusals.flush()
        return plane.trail.head(org_id), plane.trail.checked.get(org_id)

    async def screen() -> Fragments:
        nonlocal seen, fragments
        now = await asyncio.to_thread(stands)
        if now != seen or not fragments:
            view = await _view(plane, tenant, principal, query)
            rows = {event.dom_id: row(event) for event in view.events}
            body = Rows('<tbody id="events" role="rowgroup">', rows, "</tbody>")
            pager = macro("_macros.html", "pager")(view.previous_href, view.next_href, "")
            fragments = {"events": body, "pager": pager, **{name: part(view) for name, part in parts.items()}}
            seen = now
        return fragments

    return await viewers.stream(screen)


@post("/audit/verify", opt=READ, include_in_schema=False)
async def verify(tenant: OwnTenant, plane: Plane) -> Redirect:
    """Verify the chain now."""
    try:
        checked = await asyncio.to_thread(plane.trail.verify, tenant.organisation.org_id)
    except UnavailableError as error:
        return forms.did_not("/audit", error.public)
    if checked.verdict.found is not None:
        return forms.went("/audit")
    return forms.went("/audit", f"{checked.verdict.events} events are as they were written.")


@get("/audit/export", opt=WRITE, include_in_schema=False)
async def export(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Stream:
    """The trail as a file, as far as the filter goes."""
    query = dict(request.query_params)
    criteria, problems = _criteria(query)
    if problems:
        raise InvalidChangeError("This filter cannot be used.", problems=problems)
    return await api.export(plane, tenant, principal, query.get("format", ""), criteria)


@get("/audit/{event_id:str}", opt=READ, include_in_schema=False)
async def show_event(
    request: Asked, event_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """One event."""
    row = await api.load_one(plane, tenant, event_id)
    files = tuple((file.path, file.version, file.sha256) for file in api.published(tenant, row)[:SHOWN_FILES])
    view = EventPage(_event(row), await _change(plane, tenant, principal, row), files)
    return page(
        request, "audit/event.html", title=f"Event {row.id}", view=view, principal=principal, tenant=tenant
    )


@get("/audit/{event_id:str}/change", opt=READ, include_in_schema=False)
async def show_change(
    event_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """What an event changed, for the row that was unfolded."""
    row = await api.load_one(plane, tenant, event_id)
    change = await _change(plane, tenant, principal, row)
    html = "" if change is None else macro("audit/_parts.html", "change")(change)
    return Response(html, media_type=MediaType.HTML)


HANDLERS = [show_audit, live_audit, verify, export, show_event, show_change]


# Views --------------------------------------------------------------------------------------------------


def _criteria(query: Mapping[str, str]) -> tuple[Criteria, tuple[Problem, ...]]:
    asked = FIELDS.parse(query.get("q", ""))
    problems = list(asked.problems)
    try:
        times = api.criteria_of({}, query.get("from"), query.get("until"))
    except InvalidChangeError as error:
        times = Criteria()
        problems += error.problems
    sought = tuple(
        Sought(_COLUMNS.get(term.name, term.name), term.values, term.negated) for term in asked.terms
    )
    return Criteria(sought, times.from_ms, times.until_ms), tuple(problems)


async def _view(
    plane: ControlPlane, tenant: Tenant, principal: Principal, query: Mapping[str, str]
) -> AuditPage:
    given = {name: query[name] for name in OWN_PARAMETERS if query.get(name)}
    criteria, problems = _criteria(given)
    before, after = _place(given.get("before")), _place(given.get("after"))
    # A page that is open keeps the rows it has, while new ones come on top of them.
    since = None if before is not None or after is not None else _place(given.get("since"))
    size = PAGE_ROWS if since is None else LIVE_ROWS
    found: list[rows.AuditRow] = []
    if not problems:
        found = await api.load(plane, tenant, criteria, limit=size + 1, before=before, after=after)
    more = len(found) > size
    if since is not None:
        more = more or (bool(found) and found[-1].id < since)
        found = [row for row in found if row.id >= since][:size]
    elif after is not None:
        found = found[-size:]
    else:
        found = found[:size]
    newer = more if after is not None else before is not None
    older = True if after is not None else more
    kept: dict[str, str] = {name: given[name] for name in ("q", "from", "until") if name in given}
    stays: dict[str, str] = {name: given[name] for name in ("before", "after") if name in given}
    if not stays and found:
        stays = {"since": str(found[-1].id)}
    return AuditPage(
        chain=await _chain(plane, tenant),
        query=given.get("q", ""),
        begin=_day(given.get("from", "")),
        until=_day(given.get("until", "")),
        problems=problems,
        fields=tuple(FIELDS.fields),
        events=tuple(_event(row) for row in found),
        is_filtered=criteria != store.EVERYTHING,
        previous_href=_href(kept, after=str(found[0].id)) if newer and found else None,
        next_href=_href(kept, before=str(found[-1].id)) if older and found else None,
        export_hrefs=tuple(
            (words, "/audit/export?" + urlencode({**kept, "format": form}))
            for form, words in (("jsonl", "JSON lines"), ("csv", "CSV"))
        )
        if principal.may("audit_logs_write")
        else (),
        summary=f"Newest event: {found[0].summary}" if found else "No event is shown.",
        live_href=_href({**kept, **stays}, path="/live/audit"),
    )


def _day(text: str) -> str:
    """What the field for a date can hold."""
    return text if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII) else ""


def _place(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


def _href(kept: Mapping[str, str], *, path: str = "/audit", **more: str) -> str:
    return f"{path}?{urlencode({**kept, **more}, safe=':,')}"


async def _chain(plane: ControlPlane, tenant: Tenant) -> ChainView:
    org_id = tenant.organisation.org_id

    def load() -> tuple[int, str, int]:
        with plane.database.read() as c:
            head = store.head(c, org_id)
            return (0, "", 0) if head is None else (head.events, head.sha256, store.size(c, org_id))

    events, head, size = await asyncio.to_thread(load)
    checked = plane.trail.checked.get(org_id)
    status, text = _verdict(checked, events)
    at = moment(None if checked is None else checked.at_ms / 1000)
    return ChainView(status, at, text, events, head, _bytes(size))


def _verdict(checked: Checked | None, events: int) -> tuple[Status, str]:
    if checked is None:
        return Status("Not verified yet", "mute", "clock"), "The first verification is soon after the start."
    verdict = checked.verdict
    if verdict.found is not None:
        return Status("Broken", "bad", "triangle-alert"), verdict.found.text
    since = events - verdict.events
    text = f"Every event up to number {verdict.events} is as it was written"
    if not checked.complete:
        text += "; the rest is for `sealwire audit verify` on the server"
    elif since:
        text += f"; {since} {'is' if since == 1 else 'are'} newer"
    return Status("Holds", "ok", "shield-check"), text + "."


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"about {count / size:.1f} {unit}"
    return f"about {count} bytes"


def _event(row: rows.AuditRow) -> EventRow:
    known = audit.described(row.action, row.detail)
    tone, icon = _TONES.get(known.action, ("info", "activity"))
    said = row.context
    actor_icon, actor_kind = _ACTORS.get(said.get("actor_type", ""), ("circle-help", ""))
    addresses = row.detail.get("addresses")
    listed = [str(one) for one in addresses] if isinstance(addresses, list) else []
    times = row.detail.get("count", 1)
    facts = (
        ("Event", str(row.id)),
        ("Action", row.action),
        ("In Datadog's words", f"{known.name}: {known.asset_type} {known.action}"),
        ("By", " ".join(part for part in (actor_kind, said.get("actor_id", "")) if part)),
        ("From", ", ".join(listed) or said.get("address", "")),
        ("With", said.get("user_agent", "")),
        ("Request", " ".join(part for part in (said.get("method", ""), said.get("path", "")) if part)),
        ("Request id", said.get("request_id", "")),
        ("Reason", str(row.detail.get("comment", ""))),
        ("Hash", row.sha256 or "none: it was written past the chain"),
        ("Hash before", row.prev_sha256 or ""),
    )
    detail = orjson.dumps(row.detail, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    if len(detail) > MAX_DETAIL_CHARS:
        detail = detail[:MAX_DETAIL_CHARS] + f"\n… {len(detail) - MAX_DETAIL_CHARS} characters more"
    href = f"/audit/{row.id}"
    return EventRow(
        id=row.id,
        dom_id=f"event-{row.id}",
        href=href,
        status=Status(known.action.replace("_", " "), tone, icon),
        actor=row.actor,
        actor_icon=actor_icon,
        actor_kind=actor_kind,
        summary=row.summary,
        action=row.action,
        asset=_asset(row.subject),
        address=listed[0] if listed else said.get("address", ""),
        at=moment(row.at_ms / 1000),
        times=times if isinstance(times, int) else 1,
        facts=tuple((words, value) for words, value in facts if value),
        detail="" if detail == "{}" else detail,
        change_href=f"{href}/change" if _revisions(row) is not None else "",
    )


def _asset(subject: str) -> Link:
    kind, _, name = subject.partition(" ")
    if kind in ("director", "config") and name == "repository" and has_page("/trust"):
        return Link(subject, "/trust")
    if kind == "config" and name and has_page("/configs"):
        return Link(subject, f"/configs/{name}")
    if kind in ("key",) and has_page("/keys"):
        return Link(subject, f"/keys/{name}")
    return Link(subject)


def _revisions(row: rows.AuditRow) -> tuple[str, int, int | None] | None:
    """Config, revision after and revision before, of an event that is of a config."""
    kind, _, config_id = row.subject.partition(" ")
    after, before = row.detail.get("after"), row.detail.get("before")
    if kind != "config" or not row.action.startswith("config.") or not isinstance(after, dict):
        return None
    number = after.get("revision")
    earlier = before.get("revision") if isinstance(before, dict) else None
    if not isinstance(number, int) or not (earlier is None or isinstance(earlier, int)):
        return None
    return config_id, number, earlier


async def _change(
    plane: ControlPlane, tenant: Tenant, principal: Principal, row: rows.AuditRow
) -> ChangeView | None:
    found = _revisions(row)
    if found is None:
        return None
    config_id, number, earlier = found
    product = str(row.detail.get("product", ""))
    if product in PRODUCTS and not principal.may(PRODUCTS[product].reads):
        return ChangeView((), (), False, f"Your role does not show configs of {product}.")

    def compare() -> ChangeView:
        with plane.database.read() as c:
            org_id = tenant.organisation.org_id
            new = configs.revision(c, org_id, config_id, number)
            old = None if earlier is None else configs.revision(c, org_id, config_id, earlier)
        if new is None or (earlier is not None and old is None):
            return ChangeView((), (), False, "The revision is not in the history of the config.")
        after = config_history.of_revision(new)
        before = None if old is None else config_history.of_revision(old)
        if new.state == "retired":
            return ChangeView(("It was retired: its values went back everywhere",), (), False, "")
        words = config_history.words(product, before, after)
        lines, too_long = ((), False) if before is None else config_history.diff(before, after)
        return ChangeView(words, lines, too_long, "")

    return await asyncio.to_thread(compare)
