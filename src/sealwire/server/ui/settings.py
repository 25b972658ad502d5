"""An organisation's settings: its name, what counts as production, and the switch that ends everything."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, TypeAlias

from litestar import Request, Response, get, post
from litestar.response import Redirect, Stream

from sealwire.errors import ConflictError, InvalidChangeError
from sealwire.products import PRODUCTS
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.holders import (
    NAMED,
    AgentRow,
    ProgressView,
    address_of,
    agent_rows,
    own_sentences,
    progress_view,
    until_words,
)
from sealwire.server.ui.live import Fragments
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import macro, page
from sealwire.server.ui.views import Status
from sealwire.server.withdrawal import EVERYTHING, Progress, still_holding

Asked: TypeAlias = Request[Any, Any, Any]
MANAGE = {"permission": "org_management"}

_ON = Status("On", "ok", "circle-check")
_OFF = Status("Off", "mute", "ban")


@dataclass(frozen=True, slots=True)
class SettingsPage:
    """The organisation.

    Attributes:
        products: What agents get while the switch is on, in words.
        asking: Agents that were heard lately.
        refused: Of them, those that are refused now.
        holding: Agents that may hold configs although it is off, those for the longest first.
        seen_name, seen_envs: As the form was made from, to tell whether somebody else changed them.
        wrong: What is wrong with a field, by its name.
    """

    name: str
    envs: str
    seen_name: str
    seen_envs: str
    uuid: str
    org_id: int
    switch: Status
    is_on: bool
    products: tuple[str, ...]
    asking: int
    progress: ProgressView | None
    holding: tuple[AgentRow, ...]
    more_holding: int
    wrong: dict[str, str]
    problem: str
    summary: str
    live_href: str = "/live/settings"


@dataclass(frozen=True, slots=True)
class SwitchOffPage:
    """What happens when Remote Configuration is switched off; as ``keys.DangerPage``."""

    name: str
    own: tuple[str, ...]
    names: tuple[str, ...]
    more: int
    agents: int
    clients: int
    configs: int
    away: int
    until: str
    can_withdraw: bool
    progress: ProgressView | None
    typed: str
    wrong: str
    problem: str


async def _going(tenant: Tenant) -> Progress | None:
    return next((one for one in await tenant.switches.progress() if one.subject == EVERYTHING), None)


def _progress(progress: Progress, now_s: float, address: str) -> ProgressView:
    return progress_view(
        progress, then="Remote Configuration goes off and polls are refused", now_s=now_s, address=address
    )


async def _view(
    tenant: Tenant, address: str, *, form: forms.Form | None = None, wrong: dict[str, str] | None = None,
    problem: str = "",
) -> SettingsPage:  # fmt: skip
    now_s = time.time()
    switches = tenant.switches
    row = switches.organisation
    progress = await _going(tenant)
    holders = await switches.holders()
    holding = () if row.remote_config else still_holding(holders, now_s)
    envs = "\n".join(row.production_envs)
    if progress is not None:
        status = Status("Going off", "wait", "refresh-cw", f"{progress.fetched} of {progress.agents} agents")
    else:
        status = _ON if row.remote_config else _OFF
    asking = sum(holder.asks for holder in holders)
    return SettingsPage(
        name=row.name if form is None else form.text("name"),
        envs=envs if form is None else form.text("production_envs"),
        seen_name=row.name if form is None else form.text("seen_name"),
        seen_envs=envs if form is None else form.text("seen_envs"),
        uuid=row.uuid,
        org_id=row.org_id,
        switch=status,
        is_on=row.remote_config,
        products=tuple(product.title for product in PRODUCTS.values()),
        asking=asking,
        progress=None if progress is None else _progress(progress, now_s, address),
        holding=agent_rows(holding, now_s=now_s, address=address, refused=True, most=NAMED),
        more_holding=max(0, len(holding) - NAMED),
        wrong=wrong or {},
        problem=problem,
        summary=f"Remote Configuration: {status.word}. {status.detail or f'Agents that ask: {asking}.'}",
    )


@get("/settings", opt=MANAGE, include_in_schema=False)
async def show_settings(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """The organisation's settings."""
    await tenant.switches.refresh()
    return _page(request, principal, tenant, await _view(tenant, address_of(request)))


@get("/live/settings", opt=MANAGE, include_in_schema=False)
async def live_settings(request: Asked, tenant: OwnTenant, viewers: Watching, principal: Asker) -> Stream:
    """The switch, as it changes."""
    address = address_of(request)
    parts = {name: macro("settings/_parts.html", name) for name in ("switch", "announcement")}

    async def screen() -> Fragments:
        view = await _view(tenant, address)
        return {name: part(view) for name, part in parts.items()}

    return await viewers.stream(screen)


@post("/settings", opt=MANAGE, status_code=200, include_in_schema=False)
async def change_settings(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str] | Redirect:
    """Change name and production environments."""
    form = await forms.read(request)
    wrong: dict[str, str] = {}
    try:
        await tenant.switches.change_settings(
            name=form.text("name"),
            production_envs=_lines(form.text("production_envs")),
            seen={"name": form.text("seen_name"), "production_envs": _lines(form.text("seen_envs"))},
            by=principal.user,
        )
    except InvalidChangeError as error:
        for problem in error.problems:
            field = "name" if problem.path == "$.name" else "production_envs"
            wrong.setdefault(field, problem.message)
        view = await _view(tenant, address_of(request), form=form, wrong=wrong)
        return _page(request, principal, tenant, view, status_code=422)
    except ConflictError as error:
        present = tenant.switches.organisation
        text = (
            f"{error.public} They say now: {present.name}; production: "
            f"{', '.join(present.production_envs) or 'none'}. Yours are still below; save again to "
            "replace these."
        )
        seen = {"seen_name": [present.name], "seen_envs": ["\n".join(present.production_envs)]}
        again = forms.Form({**form.fields, **seen})
        view = await _view(tenant, address_of(request), form=again, problem=text)
        return _page(request, principal, tenant, view, status_code=409)
    return forms.went("/settings", "The settings are saved.")


@get("/settings/remote-configuration", opt=MANAGE, include_in_schema=False)
async def show_switch_off(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """What happens when Remote Configuration is switched off."""
    await tenant.switches.refresh()
    return await _danger(request, principal, tenant)


@post("/settings/remote-configuration", opt=MANAGE, status_code=200, include_in_schema=False)
async def switch(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str] | Redirect:
    """Switch Remote Configuration on, or off: everything is withdrawn first, or at once."""
    form = await forms.read(request)
    switches = tenant.switches
    do = form.text("do")
    if do == "on":
        await switches.switch_on(by=principal.user)
        return forms.went("/settings", "Remote Configuration is on: every agent gets its configs.")
    typed = form.text("confirm")
    if typed != switches.organisation.name:
        wrong = f"Type {switches.organisation.name} to go on."
        return await _danger(request, principal, tenant, typed=typed, wrong=wrong)
    since = form.text("since")
    since_ms = int(since) if since.isascii() and since.isdigit() and len(since) < 16 else None
    try:
        await switches.switch_off(by=principal.user, at_once=do == "at_once", since_ms=since_ms)
    except ConflictError as error:
        return await _danger(request, principal, tenant, problem=error.public)
    if do == "at_once":
        return forms.went("/settings", "Remote Configuration is off.")
    return forms.went("/settings", "Every agent is given a state without configs; then it goes off.")


async def _danger(
    request: Asked, principal: Principal, tenant: Tenant, *, typed: str = "", wrong: str = "",
    problem: str = "",
) -> Response[str]:  # fmt: skip
    now_s, address = time.time(), address_of(request)
    row = tenant.switches.organisation
    progress = await _going(tenant)
    holders = list(progress.holders) if progress is not None else await tenant.switches.holders()
    asking = [holder for holder in holders if holder.asks]
    holding = still_holding(holders, now_s)
    if not row.remote_config:
        problem = problem or "Remote Configuration is off already."
    view = SwitchOffPage(
        name=row.name,
        own=own_sentences(asking, address, "is among them", "are among them"),
        names=tuple(holder.hostname for holder in asking[:NAMED]),
        more=max(0, len(asking) - NAMED),
        agents=len(asking),
        clients=sum(holder.clients for holder in asking),
        configs=len(tenant.publisher.catalogue.active),
        away=sum(not holder.asks for holder in holding),
        until=until_words(holding[0].until_s or now_s, now_s) if holding else "",
        can_withdraw=row.remote_config and bool(asking),
        progress=None if progress is None else _progress(progress, now_s, address),
        typed=typed,
        wrong=wrong,
        problem=problem,
    )
    return page(
        request, "settings/switch.html", title="Switch Remote Configuration off", view=view,
        principal=principal, tenant=tenant, status_code=409 if problem else 422 if wrong else 200,
    )  # fmt: skip


def _page(
    request: Asked, principal: Principal, tenant: Tenant, view: SettingsPage, status_code: int = 200
) -> Response[str]:
    return page(
        request, "settings/settings.html", title="Settings", view=view, principal=principal, tenant=tenant,
        status_code=status_code,
    )  # fmt: skip


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.replace("\r", "").split("\n") if line.strip()]


HANDLERS = [show_settings, live_settings, change_settings, show_switch_off, switch]
