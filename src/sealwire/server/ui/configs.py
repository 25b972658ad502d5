"""Configs: the list of all of them, the page of each, and what can be done to one.

This module holds the addresses and the list. What a config's own page shows is made in ``config_detail``, the
pages that restore and retire in ``config_changes``; the editor is ``config_form``'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from sealwire.errors import ConflictError, InvalidChangeError, Problem
from sealwire.products import PRODUCTS, wording
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.authoring import listing
from sealwire.server.authoring.editing import Editor, readable_products
from sealwire.server.authoring.holders import KeptOut
from sealwire.server.authoring.listing import ALL, DEFAULT_SORT, Found
from sealwire.server.control_plane import ControlPlane
from sealwire.server.fleet.overview import Fleet
from sealwire.server.fleet.uptake import NOBODY, Uptake
from sealwire.server.store import read
from sealwire.server.store.configs import ACTIVE, EXPIRED, RETIRED, ConfigLine
from sealwire.server.tenant import Tenant
from sealwire.server.ui import config_changes, config_detail, forms, tables
from sealwire.server.ui.config_words import (
    STATES,
    Bar,
    bar,
    size_words,
    targeting_words,
    writable_products,
)
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import dom_id, macro, moment, page
from sealwire.server.ui.tables import Column, Heading
from sealwire.server.ui.views import NEVER, Fact, Moment, Status, Tab

Asked: TypeAlias = Request[Any, Any, Any]
READ, WRITE = {"permission": "rc_config_read"}, {"permission": "rc_config_publish"}

OWN_PARAMETERS = ("state", "q", "sort", "after", "before")
FIND_AGAIN_S = 5.0  # while nothing was changed: what time and clients that come and go do
_SHOWN_CHARS = 120


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """One config in the table. ``bar`` is None where nothing is given to anybody."""

    dom_id: str
    href: str
    status: Status
    ends: Moment
    name: str
    product: str
    title: str
    targeting: str
    bar: Bar | None
    revision: int
    size: str
    by: str
    changed: Moment


@dataclass(frozen=True, slots=True)
class ConfigsPage:
    """The list.

    Attributes:
        total: Configs that the visitor may see, whatever their state.
        may_make: There is a product that the visitor may write.
    """

    tabs: tuple[Tab, ...]
    state: str
    query: str
    sort: str
    problems: tuple[Problem, ...]
    facts: tuple[Fact, ...]
    headings: tuple[Heading, ...]
    rows: tuple[ConfigRow, ...]
    shown: int
    total: int
    previous_href: str | None
    next_href: str | None
    fields: tuple[str, ...]
    may_make: bool
    summary: str
    live_href: str


def _sortable(_line: ConfigLine) -> str:
    raise RuntimeError("configs are sorted by the database")


COLUMNS: Mapping[str, Column[ConfigLine]] = {
    "state": Column("State", _sortable),
    "name": Column("Config", _sortable),
    "for": Column("For"),
    "clients": Column("Clients"),
    "revision": Column("Revision", _sortable, numeric=True),
    "size": Column("Size", _sortable, numeric=True),
    "by": Column("By", _sortable),
    "changed": Column("Changed", _sortable, numeric=True),
}


# The list -----------------------------------------------------------------------------------------------


@get("/configs", opt=READ, include_in_schema=False)
async def show_configs(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Every config: who it is for, how far it has come, who changed it last."""
    fleet, query = await tenant.overview.glance(), dict(request.query_params)
    found = await _find(tenant, plane, principal, fleet, query)
    view = list_view(tenant, principal, found, query)
    return page(
        request, "configs/configs.html", title="Configs", view=view, principal=principal, tenant=tenant
    )


@get("/live/configs", opt=READ, include_in_schema=False)
async def live_configs(
    request: Asked, tenant: OwnTenant, plane: Plane, viewers: Watching, principal: Asker
) -> Stream:
    """The rows of the list, as they change."""
    query = dict(request.query_params)
    row = macro("configs/_parts.html", "row")
    parts = {
        name: macro("configs/_parts.html", name)
        for name in ("facts", "tabs", "count", "nothing", "pager", "announcement")
    }
    last: tuple[int, float, Found] | None = None

    async def screen() -> Fragments:
        nonlocal last
        fleet = await tenant.overview.look()
        generation = await asyncio.to_thread(_generation, tenant, plane)
        now_s = time.monotonic()
        # The database is asked again only when somebody changed something, or when time may have.
        if last is None or last[0] != generation or now_s - last[1] > FIND_AGAIN_S or _asks_uptake(last[2]):
            last = generation, now_s, await _find(tenant, plane, principal, fleet, query)
        found = replace(last[2], uptakes=tenant.uptakes.of(fleet))
        view = list_view(tenant, principal, found, query)
        rows = {one.dom_id: row(one) for one in view.rows}
        body = Rows('<tbody id="rows" role="rowgroup">', rows, "</tbody>")
        return {"rows": body, **{name: part(view) for name, part in parts.items()}}

    return await viewers.stream(screen)


def _generation(tenant: Tenant, plane: ControlPlane) -> int:
    with plane.database.read() as c:
        return read.domain(c, tenant.organisation.org_id).generation


def _asks_uptake(found: Found) -> bool:
    return any(term.name == "delivery" for term in found.filter.terms)


async def _find(
    tenant: Tenant, plane: ControlPlane, principal: Principal, fleet: Fleet, query: Mapping[str, str]
) -> Found:
    given = {name: query[name] for name in OWN_PARAMETERS if query.get(name)}
    return await listing.find(tenant, plane.database, principal, fleet, given, now_ms=plane.now_ms())


def list_view(tenant: Tenant, principal: Principal, found: Found, query: Mapping[str, str]) -> ConfigsPage:
    """The page for an address; ``query`` is what stands in it."""
    given = {name: query[name] for name in OWN_PARAMETERS if query.get(name)}
    shown = tables.of_slice(
        found.lines, COLUMNS, found.part, path="/configs", query=given, default_sort=DEFAULT_SORT,
        previous=found.previous, following=found.following,
    )  # fmt: skip
    failing, waiting = _in_trouble(tenant, principal, found.uptakes)
    return ConfigsPage(
        tabs=_tabs(found, given),
        state=found.state,
        query=found.filter.text,
        sort=given.get("sort", ""),
        problems=found.problems,
        facts=_facts(found, failing, waiting),
        headings=shown.headings,
        rows=tuple(config_row(line, found.uptakes) for line in shown.rows),
        shown=found.matching,
        total=found.counts.total,
        previous_href=shown.previous_href,
        next_href=shown.next_href,
        fields=tuple(listing.GRAMMAR.fields),
        may_make=bool(writable_products(principal)),
        summary=f"{found.matching} of {wording.counted(found.counts.total, 'config')}; {failing} failing, "
        f"{waiting} on the way.",
        live_href=_href("/live/configs", given),
    )


def config_row(line: ConfigLine, uptakes: Mapping[str, Uptake]) -> ConfigRow:
    """A config as the table shows it."""
    row = line.row
    product = PRODUCTS[row.product]
    words = targeting_words(row.targeting)
    return ConfigRow(
        dom_id=dom_id("config", row.config_id),
        href=f"/configs/{row.config_id}",
        status=STATES[line.state],
        ends=NEVER if row.expires_ms is None else moment(row.expires_ms / 1000),
        name=row.name or row.config_id,
        product=row.product,
        title=product.title,
        targeting=words[:_SHOWN_CHARS] + ("…" if len(words) > _SHOWN_CHARS else ""),
        bar=bar(uptakes.get(row.config_id, NOBODY)) if line.state == ACTIVE else None,
        revision=row.revision,
        size=size_words(line.size),
        by=row.updated_by,
        changed=moment(row.updated_ms / 1000),
    )


def _href(path: str, parameters: Mapping[str, str]) -> str:
    given = {name: value for name, value in parameters.items() if value}
    return f"{path}?{urlencode(given, safe=':,')}" if given else path


def _tabs(found: Found, given: Mapping[str, str]) -> tuple[Tab, ...]:
    kept = {name: given.get(name, "") for name in ("q", "sort")}
    if any(term.name == "state" for term in found.filter.terms):
        kept["q"] = ""
    counts = found.counts
    return tuple(
        Tab(label, _href("/configs", {"state": "" if state == ACTIVE else state, **kept}),
            found.state == state, number)
        for label, state, number in (
            ("Active", ACTIVE, counts.active),
            ("Expired", EXPIRED, counts.expired),
            ("Retired", RETIRED, counts.retired),
            ("All", ALL, counts.total),
        )
    )  # fmt: skip


def _in_trouble(tenant: Tenant, principal: Principal, uptakes: Mapping[str, Uptake]) -> tuple[int, int]:
    """How many configs some client did not take, and how many some client has not confirmed."""
    readable = readable_products(principal)
    active = tenant.publisher.catalogue.active
    failing = waiting = 0
    for config_id, uptake in uptakes.items():
        if uptake.wanted == uptake.acknowledged:
            continue
        item = active.get(config_id)
        if item is not None and item.row.product in readable:
            failing += uptake.failed > 0
            waiting += uptake.waiting > 0
    return failing, waiting


def _facts(found: Found, failing: int, waiting: int) -> tuple[Fact, ...]:
    counts = found.counts
    shown: tuple[tuple[str, int, str, str, dict[str, str]], ...] = (
        ("Active", counts.active, "", f"of {wording.counted(counts.total, 'config')}", {}),
        ("On the way", waiting, "wait", "not confirmed by all", {"q": "delivery:waiting"}),
        ("Failing", failing, "bad", "some client did not take it", {"q": "delivery:failing"}),
        ("Ends soon", counts.ending, "wait", "within a day", {"q": "ends:soon", "sort": "ends"}),
        ("Expired", counts.expired, "mute", "not given out any more", {"state": EXPIRED}),
    )
    return tuple(
        Fact(label, number, tone if number else "", note, _href("/configs", parameters))
        for label, number, tone, note, parameters in shown
    )


# One config ---------------------------------------------------------------------------------------------


@get("/configs/{config_id:str}", opt=READ, include_in_schema=False)
async def show_config(
    request: Asked, config_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """One config: what it says, who has it and who not, and its history."""
    fleet = await tenant.overview.glance()
    scene = await config_detail.load(tenant, plane, principal, config_id, before=_before(request))
    lacking = await config_detail.kept_out(tenant, plane, principal, fleet, scene)
    view = await config_detail.view(tenant, plane, principal, fleet, scene, lacking)
    return page(
        request, "configs/config.html", title=view.title, view=view, principal=principal, tenant=tenant
    )


@get("/live/configs/{config_id:str}", opt=READ, include_in_schema=False)
async def live_config(
    request: Asked,
    config_id: FromPath[str],
    tenant: OwnTenant,
    plane: Plane,
    viewers: Watching,
    principal: Asker,
) -> Stream:
    """One config, as it changes."""
    parts = {name: macro("configs/_config_parts.html", name) for name in config_detail.LIVE_PARTS}
    before = _before(request)
    last: tuple[int, config_detail.Scene] | None = None
    kept_out: tuple[float, tuple[KeptOut, ...]] | None = None

    async def screen() -> Fragments:
        nonlocal last, kept_out
        fleet = await tenant.overview.look()
        generation = await asyncio.to_thread(_generation, tenant, plane)
        now_s = time.monotonic()
        if last is None or last[0] != generation:
            kept_out = None
            scene = await config_detail.load(tenant, plane, principal, config_id, before=before)
            last = generation, scene
        if kept_out is None or now_s - kept_out[0] > FIND_AGAIN_S:
            kept_out = now_s, await config_detail.kept_out(tenant, plane, principal, fleet, last[1])
        view = await config_detail.view(tenant, plane, principal, fleet, last[1], kept_out[1])
        return {name: part(view) for name, part in parts.items()}

    return await viewers.stream(screen)


def _before(request: Asked) -> int | None:
    """The revision that a page of the history begins before."""
    text = request.query_params.get("before", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


@get("/configs/{config_id:str}/restore", opt=WRITE, include_in_schema=False)
async def show_restore(
    request: Asked, config_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """What restoring a revision would change, and for whom."""
    number = request.query_params.get("revision", "")
    typed = forms.Form({"revision": [number]})
    return await _restore_page(request, config_id, principal, tenant, plane, typed, None)


@post("/configs/{config_id:str}/restore", status_code=200, opt=WRITE, include_in_schema=False)
async def restore(
    request: Asked, config_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Put an earlier revision in force again."""
    form = await forms.read(request)
    try:
        row, _ = await config_changes.restore(Editor(tenant, principal, now=plane.clock()), config_id, form)
    except (InvalidChangeError, ConflictError) as error:
        return await _restore_page(request, config_id, principal, tenant, plane, form, error)
    return forms.went(
        f"/configs/{config_id}",
        f"Revision {form.text('revision')} is in force again, as revision {row.revision}.",
    )


async def _restore_page(
    request: Asked,
    config_id: str,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    form: forms.Form,
    error: InvalidChangeError | ConflictError | None,
) -> Response[str]:
    view = await config_changes.restore_view(tenant, plane, principal, config_id, form, error)
    status = 200 if error is None else 409 if isinstance(error, ConflictError) else 422
    return page(
        request, "configs/restore.html", title="Restore a revision", view=view, principal=principal,
        tenant=tenant, status_code=status,
    )  # fmt: skip


@get("/configs/{config_id:str}/retire", opt=WRITE, include_in_schema=False)
async def show_retire(
    request: Asked, config_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """What retiring a config would take away, and from whom."""
    view = await config_changes.retire_view(tenant, plane, principal, config_id, forms.Form({}), None)
    return page(
        request, "configs/retire.html", title="Retire a config", view=view, principal=principal, tenant=tenant
    )


@post("/configs/{config_id:str}/retire", status_code=200, opt=WRITE, include_in_schema=False)
async def retire(
    request: Asked, config_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Take a config away, if its name was typed."""
    form = await forms.read(request)
    try:
        row = await config_changes.retire(tenant, plane, principal, config_id, form)
    except (InvalidChangeError, ConflictError) as error:
        view = await config_changes.retire_view(tenant, plane, principal, config_id, form, error)
        return page(
            request, "configs/retire.html", title="Retire a config", view=view, principal=principal,
            tenant=tenant, status_code=409 if isinstance(error, ConflictError) else 422,
        )  # fmt: skip
    return forms.went(f"/configs/{config_id}", f"{row.name or row.config_id} is retired.")


HANDLERS = [
    show_configs, live_configs, show_config, live_config, show_restore, restore, show_retire,
    retire,
]  # fmt: skip
