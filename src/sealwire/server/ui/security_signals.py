"""Signals: the list, one of them, and what people decide on. Forms do what the API's routes do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, TypeAlias

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from sealwire.errors import InvalidChangeError, NotFoundError
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.security import triage
from sealwire.server.security.rule_book import Version
from sealwire.server.security.triage import Change
from sealwire.server.store import security as store
from sealwire.server.store.security import SignalRow
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms, security_signals_list
from sealwire.server.ui.forms import Form, local_path
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import macro, page
from sealwire.server.ui.security_signal_blocks import blocks
from sealwire.server.ui.security_signal_detail import SignalPage, page_of
from sealwire.server.ui.security_signals_list import PATH, SignalsPage

Asked: TypeAlias = Request[Any, Any, Any]
READ = {"permission": "security_monitoring_signals_read"}
WRITE = {"permission": triage.WRITE}
_KEEP = "-"  # whose a signal is stays


@get(PATH, opt=READ, include_in_schema=False)
async def show_signals(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """All signals that an address asks for."""
    view = await asyncio.to_thread(_list, request, principal, tenant, plane)
    if view.may_write:
        people = await asyncio.to_thread(tenant.triage.people, principal)
        view = replace(view, people=tuple(people))
    return page(
        request, "security_signals/signals.html", title="Signals", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@get(f"/live{PATH}", opt=READ, include_in_schema=False)
async def live_signals(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching
) -> Stream:
    """The rows of the list, as they change."""
    template = "security_signals/_list_parts.html"
    row = macro(template, "row")
    parts = {name: macro(template, name) for name in ("facts", "nothing", "pager", "announcement")}

    async def screen() -> Fragments:
        view = await asyncio.to_thread(_list, request, principal, tenant, plane)
        rows = {one.dom_id: row(one) for one in view.rows}
        body = Rows('<tbody id="rows" role="rowgroup">', rows, "</tbody>")
        return {"rows": body, **{name: part(view) for name, part in parts.items()}}

    return await viewers.stream(screen)


@post(PATH, opt=WRITE, status_code=303, include_in_schema=False)
async def triage_signals(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Redirect:
    """Do the same to every chosen signal."""
    form = await forms.read(request)
    back = local_path(form.text("next", PATH))
    try:
        found = await asyncio.to_thread(
            tenant.triage.change, form.all("ids"), _change(form), by=principal, now_ms=plane.now_ms()
        )
    except InvalidChangeError as error:
        return forms.did_not(back, _said(error))
    number = len(found)
    return forms.went(back, f"{number} signal{'' if number == 1 else 's'} changed.")


@get(PATH + "/{signal_id:str}", opt=READ, include_in_schema=False)
async def show_signal(
    request: Asked, signal_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """One signal."""
    return await _shown(request, signal_id, principal, tenant, plane)


@get(f"/live{PATH}/{{signal_id:str}}", opt=READ, include_in_schema=False)
async def live_signal(
    signal_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching
) -> Stream:
    """One signal, as it grows."""
    template = "security_signals/_parts.html"
    parts = {
        name: macro(template, name)
        for name in (
            "standing", "facts", "timeline", "attackers", "clusters", "listings", "counted", "samples",
            "actions", "comments", "announcement",
        )
    }  # fmt: skip

    async def screen() -> Fragments:
        view = await asyncio.to_thread(_view, signal_id, principal, tenant, plane)
        return {name: part(view) for name, part in parts.items()}

    return await viewers.stream(screen)


@post(PATH + "/{signal_id:str}", opt=WRITE, status_code=303, include_in_schema=False)
async def triage_signal(
    request: Asked, signal_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """Decide on one signal."""
    form = await forms.read(request)
    href = await _href(signal_id, tenant)
    try:
        await asyncio.to_thread(
            tenant.triage.change, [signal_id], _change(form), by=principal, now_ms=plane.now_ms()
        )
    except InvalidChangeError as error:
        return forms.did_not(href, _said(error))
    return forms.went(href, "Saved.")


@post(PATH + "/{signal_id:str}/comments", opt=WRITE, status_code=200, include_in_schema=False)
async def comment_on_signal(
    request: Asked, signal_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Say something of a signal."""
    form = await forms.read(request)
    text = form.raw("text")
    try:
        await asyncio.to_thread(tenant.triage.comment, signal_id, text, by=principal, now_ms=plane.now_ms())
    except InvalidChangeError as error:
        return await _shown(
            request, signal_id, principal, tenant, plane, typed=text[: triage.MAX_COMMENT_CHARS],
            wrong=error.public,
        )  # fmt: skip
    return forms.went(f"{await _href(signal_id, tenant)}#comments", "The comment stands below.")


# Making them --------------------------------------------------------------------------------------------


def _list(request: Asked, principal: Principal, tenant: Tenant, plane: ControlPlane) -> SignalsPage:
    return security_signals_list.view(
        plane.database,
        tenant.organisation.org_id,
        dict(request.query_params),
        principal,
        now_ms=plane.now_ms(),
    )


async def _shown(
    request: Asked,
    signal_id: str,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    *,
    typed: str = "",
    wrong: str = "",
) -> Response[str]:
    view = await asyncio.to_thread(_view, signal_id, principal, tenant, plane, typed=typed, wrong=wrong)
    return page(
        request, "security_signals/signal.html", title=view.title, view=view, principal=principal,
        tenant=tenant, status_code=422 if wrong else 200,
    )  # fmt: skip


def _view(
    signal_id: str,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    *,
    typed: str = "",
    wrong: str = "",
) -> SignalPage:
    org_id = tenant.organisation.org_id
    row = tenant.triage.get(signal_id)
    with plane.database.read() as c:
        said = store.comments(c, org_id, row.signal.id)
        signal = row.signal
        standing = blocks(
            c, tenant, signal.id, signal.attackers, now_ms=plane.now_ms(), services=signal.services
        )  # fmt: skip
    version, has_rule = _rule(tenant, row)
    people = tenant.triage.people(principal) if triage.may_change(principal, row) else ()
    return page_of(
        row, version, said, standing, people, principal, typed=typed, wrong=wrong, has_rule=has_rule
    )


def _rule(tenant: Tenant, row: SignalRow) -> tuple[Version | None, bool]:
    """The rule as it was for this signal, and whether it is still there."""
    try:
        versions = tenant.rule_book.versions(row.signal.rule_id)
    except NotFoundError:
        return None, False
    then = next((one for one in versions if one.version == row.signal.rule_version), None)
    return then, bool(versions[0].document)


async def _href(signal_id: str, tenant: Tenant) -> str:
    row = await asyncio.to_thread(tenant.triage.get, signal_id)
    return f"{PATH}/{row.signal.id}"


def _change(form: Form) -> Change:
    """What a form says is to become of signals."""
    wanted = form.text("triage") or None
    assignee = form.text("assignee", _KEEP)
    return Change(
        triage=wanted,
        archive_reason=(form.text("archive_reason") or None) if wanted == triage.ARCHIVED else None,
        assignee=None if assignee == _KEEP else assignee,
    )


def _said(error: InvalidChangeError) -> str:
    if any(problem.path == "$.archive_reason" for problem in error.problems):
        return "To archive it, say why: choose a reason."
    return error.public


HANDLERS = [
    show_signals,
    live_signals,
    triage_signals,
    show_signal,
    live_signal,
    triage_signal,
    comment_on_signal,
]
