"""Probes: the list, one of them, and what people do about it. Forms do what the API's routes do."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from sealwire.errors import ConflictError, InvalidChangeError
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.debugger.authoring.desk import WRITES
from sealwire.server.ui import debugger_detail, debugger_list, forms
from sealwire.server.ui.debugger_detail_lines import Memo
from sealwire.server.ui.debugger_words import PATH
from sealwire.server.ui.forms import local_path
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import macro, page

Asked: TypeAlias = Request[Any, Any, Any]
READ = {"permission": "debugger_read"}
CHANGE = {"permission": WRITES}
_MESSAGES = '<ol class="messages" id="messages" tabindex="0" aria-label="Messages">'
_SPANS = '<ol class="messages spans" id="spans" tabindex="0" aria-label="Spans">'
_DONE = {"pause": "paused", "resume": "resumed", "remove": "removed"}


@get(PATH, opt=READ, include_in_schema=False)
async def show_probes(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """All probes that an address asks for."""
    fleet = await tenant.overview.glance()
    view = await debugger_list.view(
        tenant, principal, fleet, dict(request.query_params), now_ms=plane.now_ms()
    )
    return page(
        request, "debugger/probes.html", title="Probes", view=view, principal=principal, tenant=tenant
    )


@get(f"/live{PATH}", opt=READ, include_in_schema=False)
async def live_probes(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching
) -> Stream:
    """The rows of the list, as they change."""
    query = dict(request.query_params)
    template = "debugger/_list_parts.html"
    row = macro(template, "row")
    parts = {name: macro(template, name) for name in ("facts", "stops", "nothing", "count", "announcement")}

    async def screen() -> Fragments:
        fleet = await tenant.overview.look()
        view = await debugger_list.view(tenant, principal, fleet, query, now_ms=plane.now_ms())
        rows = {one.dom_id: row(one, view.here) for one in view.rows}
        body = Rows('<tbody id="rows" role="rowgroup">', rows, "</tbody>")
        return {"rows": body, **{name: part(view) for name, part in parts.items()}}

    return await viewers.stream(screen)


@get(PATH + "/probes/{probe_id:str}", opt=READ, include_in_schema=False)
async def show_probe(
    request: Asked, probe_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """One probe."""
    view = await debugger_detail.view(
        tenant, plane.database, principal, await tenant.overview.glance(), probe_id,
        dict(request.query_params), now_ms=plane.now_ms(), memo=Memo(),
    )  # fmt: skip
    return page(
        request, "debugger/probe.html", title=view.name, view=view, principal=principal, tenant=tenant
    )


@get(f"/live{PATH}/probes/{{probe_id:str}}", opt=READ, include_in_schema=False)
async def live_probe(
    request: Asked,
    probe_id: FromPath[str],
    principal: Asker,
    tenant: OwnTenant,
    plane: Plane,
    viewers: Watching,
) -> Stream:
    """One probe, as things come."""
    query, memo = dict(request.query_params), Memo()
    template = "debugger/_parts.html"
    message, span = macro(template, "message"), macro(template, "span")
    parts = {
        name: macro(template, name)
        for name in (
            "standing", "facts", "instances", "none_yet", "failing", "chart", "no_spans", "counters",
            "history", "announcement",
        )
    }  # fmt: skip

    async def screen() -> Fragments:
        fleet = await tenant.overview.look()
        view = await debugger_detail.view(
            tenant, plane.database, principal, fleet, probe_id, query, now_ms=plane.now_ms(), memo=memo
        )
        found: dict[str, str | Rows] = {name: part(view) for name, part in parts.items()}
        if view.is_log:
            rows = {one.dom_id: message(one) for one in view.messages}
            found["messages"] = Rows(_MESSAGES, rows, "</ol>")
        if view.has_spans:
            rows = {one.dom_id: span(one) for one in view.spans}
            found["spans"] = Rows(_SPANS, rows, "</ol>")
        return found

    return await viewers.stream(screen)


@post(PATH + "/probes/{probe_id:str}/pause", opt=CHANGE, status_code=303, include_in_schema=False)
async def pause_probe(
    request: Asked, probe_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """Take a probe out of the programs, and keep it."""
    form = await forms.read(request)
    act = tenant.probes.pause(principal, probe_id, expected_revision=_revision(form), now=plane.clock())
    return await _done(act, form, probe_id, "pause")


@post(PATH + "/probes/{probe_id:str}/resume", opt=CHANGE, status_code=303, include_in_schema=False)
async def resume_probe(
    request: Asked, probe_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """Put a paused, expired or removed probe back."""
    form = await forms.read(request)
    act = tenant.probes.resume(principal, probe_id, expected_revision=_revision(form), now=plane.clock())
    return await _done(act, form, probe_id, "resume")


@post(PATH + "/probes/{probe_id:str}/renew", opt=CHANGE, status_code=303, include_in_schema=False)
async def renew_probe(
    request: Asked, probe_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """Begin the time of a probe anew."""
    form = await forms.read(request)
    row = await tenant.probes.get(principal, probe_id)
    seen = _revision(form)
    try:
        await tenant.probes.change(
            principal, probe_id, {}, expected_revision=row.config.revision if seen is None else seen,
            now=plane.clock(),
        )  # fmt: skip
    except (ConflictError, InvalidChangeError) as error:
        return forms.did_not(_back(form, probe_id), error.public)
    return forms.went(_back(form, probe_id), "Its time begins anew.")


@post(PATH + "/probes/{probe_id:str}/remove", opt=CHANGE, status_code=303, include_in_schema=False)
async def remove_probe(
    request: Asked, probe_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """Take a probe away; the list says so, and offers to take it back."""
    form = await forms.read(request)
    act = tenant.probes.remove(principal, probe_id, expected_revision=_revision(form), now=plane.clock())
    return await _done(act, form, probe_id, "remove")


async def _done(act: Awaitable[object], form: forms.Form, probe_id: str, did: str) -> Redirect:
    """Do it, and go back to where the button was."""
    try:
        await act
    except (ConflictError, InvalidChangeError) as error:
        return forms.did_not(_back(form, probe_id), error.public)
    return _went(form, probe_id, did)


def _revision(form: forms.Form) -> int | None:
    text = form.text("expected_revision")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _back(form: forms.Form, probe_id: str) -> str:
    return local_path(form.text("next", f"{PATH}/probes/{probe_id}"))


def _went(form: forms.Form, probe_id: str, did: str) -> Redirect:
    """To where it came from; a list says what was done, and how to take it back."""
    parts = urlsplit(_back(form, probe_id))
    if parts.path != PATH and did == "remove":
        parts = urlsplit(PATH)
    if parts.path != PATH:
        return forms.went(parts.geturl())
    kept: Mapping[str, str] = debugger_list.asked(dict(parse_qsl(parts.query))).kept
    return forms.went(f"{PATH}?{urlencode({**kept, 'did': _DONE[did], 'probe': probe_id})}")


HANDLERS = [
    show_probes,
    live_probes,
    show_probe,
    live_probe,
    pause_probe,
    resume_probe,
    renew_probe,
    remove_probe,
]
