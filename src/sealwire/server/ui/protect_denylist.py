"""The denylist: who is refused, by whom, why, how long, how often; found, extended, unblocked, exported."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from litestar import Response, get, post
from litestar.response import Redirect, Stream

from sealwire.errors import NotFoundError
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.protect import state_of
from sealwire.server.authoring.editing import PUBLISH
from sealwire.server.control_plane import ControlPlane
from sealwire.server.fleet.overview import Fleet
from sealwire.server.fleet.uptake import NOBODY, Uptake
from sealwire.server.protect import in_force as protected
from sealwire.server.protect.actions import Protect
from sealwire.server.protect.denylist import KINDS
from sealwire.server.protect.denylists import MAX_ENTRIES
from sealwire.server.protect.targets import in_words
from sealwire.server.store import protect as store
from sealwire.server.store.protect import SORTABLE, STATES, Criteria, EntryRow
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms, tables
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.protect import SEE, Asked, next_of, went
from sealwire.server.ui.render import config_link, macro, moment, page
from sealwire.server.ui.tables import Column, Heading
from sealwire.server.ui.views import NEVER, Link, Moment, Status

BLOCK = {"permission": "appsec_protect_write"}
TO_BLOCK = ("appsec_protect_write", PUBLISH)
PATH = "/protect/denylist"
_FIELDS = ("q", "kind", "source", "target", "state", "sort", "after", "before")
_KIND_WORDS = {"ip": "Addresses and networks", "user": "Users", "suspicious": "Suspicious addresses"}
_STATE_WORDS = {"in_force": "In force", "lapsed": "Lapsed", "unblocked": "Unblocked", "all": "All"}
_SOURCE_WORDS = {
    "hand": "By hand", "trace": "From a trace", "signal": "From a signal", "feed": "A feed",
    "paste": "Pasted", "config": "A config",
}  # fmt: skip
_ICONS = {"user": "user-x", "suspicious": "shield-alert"}
_EXPORT = (
    "value",
    "kind",
    "state",
    "until",
    "reason",
    "source",
    "target",
    "by",
    "created",
    "hits",
    "last hit",
)


@dataclass(frozen=True, slots=True)
class Option:
    """A choice of a filter."""

    value: str
    words: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class EntryView:
    """Somebody who is or was blocked.

    Attributes:
        ends: When; ``NEVER`` is for ever.
        source: Where it comes from, leading there.
        covered_by: A wider network that makes it needless; empty: none.
        ended: When it ended, by whom and how; empty while it is in force.
        extend_href: The form, filled in; None when they may not.
    """

    dom_id: str
    id: int
    kind: str
    value: str
    icon: str
    scope: str
    reason: str
    by: str
    created: Moment
    ends: Moment
    source: Link
    covered_by: str
    status: Status | None
    ended: Moment
    ended_by: str
    delivered: int
    wanted: int
    hits: int
    last_hit: Moment
    extend_href: str | None
    may_unblock: bool


@dataclass(frozen=True, slots=True)
class DraftLine:
    """A list that waits to be mended or blocked."""

    href: str
    words: str
    by: str
    at: Moment


@dataclass(frozen=True, slots=True)
class FileLine:
    """A file that tracers are given."""

    config: Link
    scope: str
    entries: int
    size: str
    share: int


@dataclass(frozen=True, slots=True)
class DenylistPage:
    """The list.

    Attributes:
        total: All that are in force.
        feeds: How many there are.
    """

    headings: tuple[Heading, ...]
    rows: tuple[EntryView, ...]
    shown: int
    total: int
    previous_href: str | None
    next_href: str | None
    query: Mapping[str, str]
    is_filtered: bool
    kinds: tuple[Option, ...]
    sources: tuple[Option, ...]
    targets: tuple[Option, ...]
    states: tuple[Option, ...]
    files: tuple[FileLine, ...]
    drafts: tuple[DraftLine, ...]
    feeds: int
    enforcing: int
    may_block: bool
    most: int
    summary: str
    export_href: str
    live_href: str
    here: str


@get(PATH, opt=SEE, include_in_schema=False)
async def show_denylist(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Who is refused."""
    view = await _view(plane, tenant, principal, await tenant.overview.glance(), dict(request.query_params))
    return page(
        request, "protect/denylist.html", title="Denylist", view=view, principal=principal, tenant=tenant
    )


@get("/live/protect/denylist", opt=SEE, include_in_schema=False)
async def live_denylist(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching
) -> Stream:
    """The list, as it changes."""
    query = dict(request.query_params)
    names = ("nothing", "count", "files", "listing", "not_enforced")
    parts = {name: macro("protect/_denylist.html", name) for name in ("entry", *names)}

    async def screen() -> Fragments:
        view = await _view(plane, tenant, principal, await tenant.overview.look(), query)
        entries = {row.dom_id: parts["entry"](row) for row in view.rows}
        return {
            "entries": Rows('<tbody id="entries" role="rowgroup">', entries, "</tbody>"),
            "announcement": parts["listing"](view),
            "enforcing": parts["not_enforced"](view),
            **{name: parts[name](view) for name in ("nothing", "count", "files")},
        }

    return await viewers.stream(screen)


async def _view(
    plane: ControlPlane, tenant: Tenant, principal: Principal, fleet: Fleet, query: Mapping[str, str]
) -> DenylistPage:
    given = {name: query[name][:1000].replace("\0", "") for name in _FIELDS if query.get(name)}
    wanted = criteria(given)
    part = tables.asked_for(given, SORTABLE, default_sort="-created")
    await tenant.denylists.settle()
    now_ms, org_id = plane.now_ms(), tenant.organisation.org_id

    def find() -> tuple[list[EntryRow], int, int, dict[str, int], list[tuple[str, str]], list[Any], int]:
        with plane.database.read() as c:
            found = store.search(
                c, org_id, wanted, now_ms=now_ms, sort=part.name, descends=part.descends,
                after=_place(part.after), before=_place(part.before), limit=tables.PAGE_ROWS + 1,
            )  # fmt: skip
            return (
                found,
                store.count(c, org_id, wanted, now_ms=now_ms),
                store.count(c, org_id, Criteria(), now_ms=now_ms),
                store.counts_by_source(c, org_id, now_ms=now_ms),
                store.targets(c, org_id, now_ms=now_ms),
                store.drafts(c, org_id, limit=5),
                len(store.feeds(c, org_id)),
            )

    found, shown, total, sources, targets, drafts, feeds = await asyncio.to_thread(find)
    more = len(found) > tables.PAGE_ROWS
    backwards = part.before is not None
    rows = found[1:] if more and backwards else found[: tables.PAGE_ROWS]
    has_previous = more if backwards else part.after is not None
    has_next = True if backwards else more
    table = tables.of_slice(
        rows, _columns(), part, path=PATH, query=given, default_sort="-created",
        previous=_edge(rows[0], part.name) if has_previous and rows else None,
        following=_edge(rows[-1], part.name) if has_next and rows else None,
    )  # fmt: skip
    uptakes = tenant.uptakes.of(fleet)
    kept = {name: value for name, value in given.items() if name not in ("after", "before")}
    here = f"{PATH}?{urlencode(given)}" if given else PATH
    return DenylistPage(
        headings=table.headings,
        rows=tuple(_entry(tenant, principal, row, uptakes, now_ms, here) for row in rows),
        shown=shown,
        total=total,
        previous_href=table.previous_href,
        next_href=table.next_href,
        query={name: given.get(name, "") for name in _FIELDS},
        is_filtered=any(name in given for name in ("q", "kind", "source", "target", "state")),
        kinds=_options({"": "Every kind", **_KIND_WORDS}, wanted.kind),
        sources=_options(
            {"": "Every source"}
            | {name: f"{words} ({sources.get(name, 0):,})" for name, words in _SOURCE_WORDS.items()},
            wanted.source,
        ),
        targets=_options(
            {"": "Every target", **{key: in_words(_target(text)) for key, text in targets[:200]}},
            wanted.target_key,
        ),
        states=_options(_STATE_WORDS, wanted.state),
        files=tuple(_files(tenant)),
        drafts=tuple(
            DraftLine(
                f"/protect/import/{row.draft_id}",
                f"{sum(bool(line.strip()) for line in row.text.splitlines()):,} lines",
                row.created_by,
                moment(row.changed_ms / 1000),
            )
            for row in drafts
        )
        if principal.may("appsec_protect_write")
        else (),
        feeds=feeds,
        enforcing=protected.enforcing(tenant, fleet),
        may_block=all(principal.may(permission) for permission in TO_BLOCK),
        most=MAX_ENTRIES,
        summary=f"{total:,} are blocked; {shown:,} match.",
        export_href=f"/protect/denylist/export?{urlencode(kept)}" if kept else "/protect/denylist/export",
        live_href=f"/live/protect/denylist?{urlencode(given)}" if given else "/live/protect/denylist",
        here=here,
    )


def criteria(given: Mapping[str, str]) -> Criteria:
    """What an address asks for; what is none is left out."""
    return Criteria(
        text=given.get("q", "")[:200],
        kind=given.get("kind", "") if given.get("kind") in KINDS else "",
        source=given.get("source", "")[:300],
        target_key=given.get("target", "")[:32],
        state=given.get("state", "") if given.get("state") in STATES else "in_force",
    )


def _place(place: tuple[Any, str] | None) -> tuple[Any, int] | None:
    if place is None or not place[1].isascii() or not place[1].isdigit() or len(place[1]) > 18:
        return None
    return place[0], int(place[1])


def _edge(row: EntryRow, sort: str) -> tuple[str | int, str]:
    value, number = store.place_of(row, sort)
    return value, str(number)


def _options(words: Mapping[str, str], chosen: str) -> tuple[Option, ...]:
    found = tuple(Option(value, text, value == chosen) for value, text in words.items())
    if chosen and not any(option.is_chosen for option in found):
        found = (*found, Option(chosen, chosen, True))
    return found


def _columns() -> Mapping[str, Column[EntryRow]]:
    def column(label: str, name: str, *, numeric: bool = False) -> Column[EntryRow]:
        return Column(label, lambda row: store.place_of(row, name)[0], numeric=numeric)

    return {
        "value": column("Blocked", "value"),
        "scope": column("For", "scope"),
        "reason": Column("Reason"),
        "source": column("Source", "source"),
        "created": column("Since", "created", numeric=True),
        "ends": column("Ends", "ends", numeric=True),
        "delivered": Column("Delivered", numeric=True),
        "hits": column("Hits", "hits", numeric=True),
        "do": Column(""),
    }


def _target(text: str) -> Targeting:
    return Targeting.parse(orjson.loads(text))


def _files(tenant: Tenant) -> list[FileLine]:
    return [
        FileLine(
            config_link(file.config_id, file.config_id),
            in_words(tenant.denylists.target_of(file.config_id)),
            file.entries,
            size_in_words(file.size),
            min(100, file.entries * 100 // MAX_ENTRIES),
        )
        for file in tenant.denylists.files()
    ]


def size_in_words(size: int) -> str:
    """Bytes, as people read them."""
    return f"{size:,} bytes" if size < 10_000 else f"{size:,} bytes ({size / 1000:,.0f} kB)"


def _entry(
    tenant: Tenant,
    principal: Principal,
    row: EntryRow,
    uptakes: Mapping[str, Uptake],
    now_ms: int,
    here: str,
) -> EntryView:
    target = _target(row.target)
    config_id, name = tenant.denylists.config_of(row)
    uptake, state = uptakes.get(config_id, NOBODY), state_of(row, now_ms)
    may = all(
        principal.may_change(permission, services=target.service, envs=target.env) for permission in TO_BLOCK
    )
    is_live = state == "in_force"
    is_ours = not row.config_id and not row.feed and set(target.to_dict()) <= {"service", "env"}
    fields: list[tuple[str, str]] = [("kind", row.kind), ("values", row.value)]
    fields += [("service", one) for one in target.service] + [("env", one) for one in target.env]
    fields += [("extend", "1"), ("next", here)]
    status = None
    if not is_live:
        status = Status("Lapsed" if state == "lapsed" else "Unblocked", "mute", "circle-dashed")
    return EntryView(
        dom_id=f"entry-{row.id}",
        id=row.id,
        kind=row.kind,
        value=row.value,
        icon=_ICONS.get(row.kind, "network" if "/" in row.value else "ban"),
        scope=in_words(target),
        reason=row.reason,
        by=row.changed_by,
        created=moment(row.created_ms / 1000),
        ends=NEVER if row.until_ms is None else moment(row.until_ms / 1000),
        source=source_link(row.source, name),
        covered_by=row.covered_by,
        status=status,
        ended=NEVER if is_live else moment((row.ended_ms or row.until_ms or 0) / 1000),
        ended_by=row.ended_by,
        delivered=uptake.acknowledged,
        wanted=uptake.wanted,
        hits=row.hits,
        last_hit=NEVER if row.last_hit_ms is None else moment(row.last_hit_ms / 1000),
        extend_href=f"/protect/block?{urlencode(fields)}" if may and (is_ours or not is_live) else None,
        may_unblock=may and is_live,
    )


def source_link(source: str, config_name: str = "") -> Link:
    """Where an entry comes from, leading there."""
    word, _, name = source.partition(":")
    match word:
        case "trace":
            return Link("a trace", f"/security/traces/{name}")
        case "signal":
            return Link("a signal", f"/security/signals/{name}")
        case "feed":
            return Link(f"feed {name}", f"{PATH}?{urlencode({'source': source})}")
        case "paste":
            return Link("a pasted list", f"{PATH}?{urlencode({'source': source})}")
        case "config":
            return config_link(name, f"config {config_name or name}")
    return Link("by hand")


@post("/protect/unblock", opt=BLOCK, status_code=303, include_in_schema=False)
async def unblock(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Redirect:
    """Let somebody in again, or all that are ticked."""
    form = await forms.read(request)
    ids = [int(one) for one in form.all("id") if one.isascii() and one.isdigit() and len(one) < 18]
    back = next_of(form, PATH)
    if not ids:
        return forms.did_not(back, "Nobody was ticked, so nothing was changed.")
    try:
        outcome = await Protect(plane, tenant, principal).unblock_rows(ids)
    except NotFoundError:
        return forms.went(back, "It was unblocked already, or its time was over.")
    return went(form, outcome, PATH)


@get("/protect/denylist/export", opt=SEE, include_in_schema=False)
async def export_denylist(request: Asked, tenant: OwnTenant, plane: Plane) -> Response[bytes]:
    """All that match, as comma-separated values that can be pasted again."""
    wanted = criteria({name: value.replace("\0", "") for name, value in request.query_params.items()})
    await tenant.denylists.settle()
    now_ms = plane.now_ms()

    def write() -> bytes:
        with plane.database.read() as c:
            found = store.search(c, tenant.organisation.org_id, wanted, now_ms=now_ms, limit=100_000)
        out = io.StringIO()
        lines = csv.writer(out)
        lines.writerow(_EXPORT)
        for row in found:
            lines.writerow(
                _safe(one)
                for one in (
                    row.value,
                    row.kind,
                    state_of(row, now_ms),
                    _iso(row.until_ms),
                    row.reason,
                    row.source,
                    in_words(_target(row.target)),
                    row.changed_by,
                    _iso(row.created_ms),
                    str(row.hits),
                    _iso(row.last_hit_ms),
                )
            )
        return out.getvalue().encode()

    return Response(
        await asyncio.to_thread(write), media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="denylist.csv"'},
    )  # fmt: skip


def _iso(at_ms: int | None) -> str:
    return "" if at_ms is None else moment(at_ms / 1000).iso


def _safe(text: str) -> str:
    # Attack: a user id that a spreadsheet takes for a formula.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text


HANDLERS = [show_denylist, live_denylist, unblock, export_denylist]
