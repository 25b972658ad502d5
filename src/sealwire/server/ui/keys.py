"""API keys: which there are, which agents use each, and their way off."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError
from sealwire.products import wording
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.keys import by_their_key
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import rows
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.holders import (
    LISTED,
    NAMED,
    AgentRow,
    ProgressView,
    address_of,
    agent_rows,
    own_sentences,
    own_words,
    progress_view,
    until_words,
)
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import dom_id, macro, moment, page
from sealwire.server.ui.views import NEVER, Moment, Status
from sealwire.server.withdrawal import Holder, Progress, still_holding

Asked: TypeAlias = Request[Any, Any, Any]
READ = {"permission": "api_keys_read"}
WRITE = {"permission": "api_keys_write"}
DELETE = {"permission": "api_keys_delete"}

_ON = Status("On", "ok", "circle-check")
_OFF = Status("Off", "mute", "ban", remedy="Its agents are refused.")
_REVOKED = Status("Revoked", "bad", "key-round")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One API key in the table.

    Attributes:
        scope: Whether it may use Remote Configuration; how far its withdrawal is while there is one.
        agents: How many use it now.
        agents_href: The fleet, cut to them.
    """

    dom_id: str
    href: str
    name: str
    last4: str
    scope: Status
    made: Moment
    made_by: str
    used: Moment
    agents: int
    agents_href: str


@dataclass(frozen=True, slots=True)
class KeysPage:
    """All API keys, live ones first."""

    rows: tuple[KeyRow, ...]
    live: int
    revoked: int
    may_write: bool
    summary: str
    live_href: str = "/live/keys"


@dataclass(frozen=True, slots=True)
class NewKeyPage:
    """The form of a new key. ``problem`` is about the whole of it."""

    name: str
    remote_config: bool
    wrong: str
    problem: str
    switched_on: bool


@dataclass(frozen=True, slots=True)
class SecretPage:
    """A new key, shown once."""

    name: str
    href: str
    secret: str
    remote_config: bool


@dataclass(frozen=True, slots=True)
class KeyPage:
    """One API key."""

    key_id: str
    href: str
    name: str
    last4: str
    scope: Status
    remote_config: bool
    revoked: Moment
    made: Moment
    made_by: str
    used: Moment
    agents: tuple[AgentRow, ...]
    more_agents: int
    asking: int
    agents_href: str
    progress: ProgressView | None
    may_write: bool
    may_delete: bool
    switched_on: bool
    new_name: str
    wrong: str
    summary: str
    live_href: str


@dataclass(frozen=True, slots=True)
class DangerPage:
    """What happens when a key loses its scope, or is revoked.

    Attributes:
        own: Sentences about agents of one's own that use it; said before all else.
        names: Of the agents that use it now, the first ten.
        until: Until when an agent of it may hold what it has, in words; empty when none holds anything.
        can_withdraw: Its agents can still be given a state without configs.
        problem: Why what was sent was not done.
    """

    href: str
    name: str
    last4: str
    action: str
    own: tuple[str, ...]
    names: tuple[str, ...]
    more: int
    agents: int
    clients: int
    away: int
    until: str
    can_withdraw: bool
    progress: ProgressView | None
    typed: str
    wrong: str
    problem: str


# What is shown --------------------------------------------------------------------------------------------


def scope_status(row: rows.ApiKeyRow, progress: Progress | None) -> Status:
    """What an API key may, with how far its withdrawal is."""
    if row.revoked_ms is not None:
        return _REVOKED
    if progress is not None:
        return Status("Withdrawing", "wait", "refresh-cw", f"{progress.fetched} of {progress.agents} agents")
    return _ON if row.remote_config else _OFF


def _agents_href(key: rows.ApiKeyRow) -> str:
    return f"/fleet?{urlencode({'tab': 'agents', 'q': f'key:{key.key_id}'})}"


async def _keys_view(tenant: Tenant, plane: ControlPlane, principal: Principal) -> KeysPage:
    switches = tenant.switches
    by_key = by_their_key(await switches.holders())
    going = {one.subject: one for one in await switches.progress()}
    found = []
    for row in sorted(switches.keys, key=lambda key: (key.revoked_ms is not None, -key.created_ms)):
        used_ms = plane.access.last_used_ms(row)
        found.append(
            KeyRow(
                dom_id("key", row.key_id),
                f"/keys/{row.key_id}",
                row.name,
                row.last4,
                scope_status(row, going.get(row.key_id)),
                moment(row.created_ms / 1000),
                row.created_by,
                moment(None if used_ms is None else used_ms / 1000),
                sum(holder.asks for holder in by_key.get(row.key_id, ())),
                _agents_href(row),
            )
        )
    revoked = sum(row.revoked_ms is not None for row in switches.keys)
    live = len(found) - revoked
    agents = wording.counted(sum(row.agents for row in found), "agent")
    summary = f"API keys that are live: {live}; used by {agents}."
    return KeysPage(tuple(found), live, revoked, principal.may("api_keys_write"), summary)


async def _key_view(
    tenant: Tenant, plane: ControlPlane, principal: Principal, row: rows.ApiKeyRow, address: str,
    *, new_name: str | None = None, wrong: str = "",
) -> KeyPage:  # fmt: skip
    now_s = time.time()
    holders, progress = await _standing(tenant, row)
    asking = sum(holder.asks for holder in holders)
    used_ms = plane.access.last_used_ms(row)
    organisation = tenant.switches.organisation
    return KeyPage(
        key_id=row.key_id,
        href=f"/keys/{row.key_id}",
        name=row.name,
        last4=row.last4,
        scope=scope_status(row, progress),
        remote_config=row.remote_config,
        revoked=NEVER if row.revoked_ms is None else moment(row.revoked_ms / 1000),
        made=moment(row.created_ms / 1000),
        made_by=row.created_by,
        used=moment(None if used_ms is None else used_ms / 1000),
        agents=agent_rows(
            holders,
            now_s=now_s,
            address=address,
            refused=not (row.remote_config and organisation.remote_config),
        ),
        more_agents=max(0, len(holders) - LISTED),
        asking=asking,
        agents_href=_agents_href(row),
        progress=None if progress is None else _progress_of_key(progress, now_s, address),
        may_write=principal.may("api_keys_write"),
        may_delete=principal.may("api_keys_delete"),
        switched_on=organisation.remote_config and organisation.withdrawing_ms is None,
        new_name=row.name if new_name is None else new_name,
        wrong=wrong,
        summary=f"Used by {wording.counted(asking, 'agent')}."
        if progress is None
        else f"{progress.fetched} of {progress.agents} agents hold nothing any more.",
        live_href=f"/live/keys/{row.key_id}",
    )


def _progress_of_key(progress: Progress, now_s: float, address: str) -> ProgressView:
    then = "the key is revoked" if progress.then_revoked else "the key loses its scope"
    return progress_view(progress, then=then, now_s=now_s, address=address)


async def _standing(tenant: Tenant, row: rows.ApiKeyRow) -> tuple[list[Holder], Progress | None]:
    """The agents of a key, and how far its withdrawal is."""
    going = next((one for one in await tenant.switches.progress() if one.subject == row.key_id), None)
    if going is not None:
        return list(going.holders), going
    return await tenant.switches.holders(row.key_id), None


def _get(tenant: Tenant, key_id: str) -> rows.ApiKeyRow:
    row = tenant.switches.key(key_id)
    if row is None:
        raise NotFoundError("There is no such API key.")
    return row


# All of them ----------------------------------------------------------------------------------------------


@get("/keys", opt=READ, include_in_schema=False)
async def show_keys(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """All API keys."""
    await tenant.switches.refresh()
    view = await _keys_view(tenant, plane, principal)
    return page(request, "keys/keys.html", title="API keys", view=view, principal=principal, tenant=tenant)


@get("/live/keys", opt=READ, include_in_schema=False)
async def live_keys(tenant: OwnTenant, plane: Plane, viewers: Watching, principal: Asker) -> Stream:
    """The rows of the keys, as they change."""
    row = macro("keys/_parts.html", "row")
    parts = {name: macro("keys/_parts.html", name) for name in ("count", "announcement")}

    async def screen() -> Fragments:
        view = await _keys_view(tenant, plane, principal)
        body = Rows(
            '<tbody id="rows" role="rowgroup">', {one.dom_id: row(one) for one in view.rows}, "</tbody>"
        )
        return {"rows": body, **{name: part(view) for name, part in parts.items()}}

    return await viewers.stream(screen)


@get("/keys/new", opt=WRITE, include_in_schema=False)
async def show_new_key(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """The form of a new key."""
    return _new_form(request, principal, tenant, name="", remote_config=True)


@post("/keys/new", opt=WRITE, status_code=200, include_in_schema=False)
async def make_key(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """Make a key; it is on the page that answers, and nowhere else."""
    form = await forms.read(request)
    name, remote_config = form.text("name"), form.flag("remote_config")
    try:
        row, secret = await tenant.switches.create_key(
            name=name, remote_config=remote_config, by=principal.user
        )
    except InvalidChangeError as error:
        wrong = error.problems[0].message if error.problems else error.public
        return _new_form(request, principal, tenant, name=name, remote_config=remote_config, wrong=wrong)
    except ConflictError as error:
        return _new_form(
            request, principal, tenant, name=name, remote_config=remote_config, problem=error.public
        )
    answer = page(
        request, "keys/secret.html", title="A new API key", principal=principal, tenant=tenant,
        view=SecretPage(row.name, f"/keys/{row.key_id}", secret, row.remote_config),
    )  # fmt: skip
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _new_form(
    request: Asked, principal: Principal, tenant: Tenant, *, name: str, remote_config: bool, wrong: str = "",
    problem: str = "",
) -> Response[str]:  # fmt: skip
    organisation = tenant.switches.organisation
    switched_on = organisation.remote_config and organisation.withdrawing_ms is None
    view = NewKeyPage(name, remote_config and switched_on, wrong, problem, switched_on)
    return page(
        request, "keys/new.html", title="New API key", view=view, principal=principal, tenant=tenant,
        status_code=422 if wrong or problem else 200,
    )  # fmt: skip


# One of them ----------------------------------------------------------------------------------------------


@get("/keys/{key_id:str}", opt=READ, include_in_schema=False)
async def show_key(
    request: Asked, key_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """One API key, and the agents that use it."""
    await tenant.switches.refresh()
    view = await _key_view(tenant, plane, principal, _get(tenant, key_id), address_of(request))
    return page(request, "keys/key.html", title=view.name, view=view, principal=principal, tenant=tenant)


@get("/live/keys/{key_id:str}", opt=READ, include_in_schema=False)
async def live_key(
    request: Asked,
    key_id: FromPath[str],
    tenant: OwnTenant,
    plane: Plane,
    viewers: Watching,
    principal: Asker,
) -> Stream:
    """One API key, as it changes."""
    address = address_of(request)
    parts = {name: macro("keys/_parts.html", name) for name in ("standing", "agents", "announcement")}

    async def screen() -> Fragments:
        view = await _key_view(tenant, plane, principal, _get(tenant, key_id), address)
        return {name: part(view) for name, part in parts.items()}

    return await viewers.stream(screen)


@post("/keys/{key_id:str}", opt=WRITE, status_code=200, include_in_schema=False)
async def rename_key(
    request: Asked, key_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Give a key another name."""
    form = await forms.read(request)
    try:
        row = await tenant.switches.change_key(key_id, name=form.text("name"), by=principal.user)
    except (InvalidChangeError, ConflictError) as error:
        problems = error.problems if isinstance(error, InvalidChangeError) else ()
        view = await _key_view(
            tenant, plane, principal, _get(tenant, key_id), address_of(request), new_name=form.text("name"),
            wrong=problems[0].message if problems else error.public,
        )  # fmt: skip
        return page(
            request, "keys/key.html", title=view.name, view=view, principal=principal, tenant=tenant,
            status_code=422,
        )  # fmt: skip
    return forms.went(f"/keys/{key_id}", f"The key is called {row.name} now.")


# Their way off --------------------------------------------------------------------------------------------


@get("/keys/{key_id:str}/scope", opt=WRITE, include_in_schema=False)
async def show_take_scope(
    request: Asked, key_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """What happens when a key loses the Remote Configuration scope."""
    return await _danger(request, principal, tenant, key_id, "scope")


@post("/keys/{key_id:str}/scope", opt=WRITE, status_code=200, include_in_schema=False)
async def change_scope(
    request: Asked, key_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str] | Redirect:
    """Give the scope, take it, or withdraw first."""
    form = await forms.read(request)
    if form.text("do") != "give":
        return await _go(request, principal, tenant, key_id, "scope", form)
    try:
        row = await tenant.switches.change_key(key_id, remote_config=True, by=principal.user)
    except ConflictError as error:
        return await _danger(request, principal, tenant, key_id, "scope", problem=error.public)
    return forms.went(f"/keys/{key_id}", f"Agents with the key {row.name} get their configs.")


@get("/keys/{key_id:str}/revoke", opt=DELETE, include_in_schema=False)
async def show_revoke(
    request: Asked, key_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """What happens when a key is revoked."""
    return await _danger(request, principal, tenant, key_id, "revoke")


@post("/keys/{key_id:str}/revoke", opt=DELETE, status_code=200, include_in_schema=False)
async def revoke_key(
    request: Asked, key_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str] | Redirect:
    """Revoke a key, or withdraw first."""
    return await _go(request, principal, tenant, key_id, "revoke", await forms.read(request))


async def _go(
    request: Asked, principal: Principal, tenant: Tenant, key_id: str, action: str, form: forms.Form
) -> Response[str] | Redirect:
    """Take a scope or a key away, if its name was typed."""
    switches, row = tenant.switches, _get(tenant, key_id)
    typed = form.text("confirm")
    if typed != row.name:
        wrong = f"Type {row.name} to go on."
        return await _danger(request, principal, tenant, key_id, action, typed=typed, wrong=wrong)
    since = form.text("since")
    since_ms = int(since) if since.isascii() and since.isdigit() and len(since) < 16 else None
    revokes = action == "revoke"
    try:
        if form.text("do") == "withdraw":
            await switches.withdraw_key(key_id, then_revoked=revokes, by=principal.user)
            return forms.went(f"/keys/{key_id}", "Its agents are given a state without configs.")
        if revokes:
            await switches.revoke_key(key_id, since_ms=since_ms, by=principal.user)
            return forms.went(f"/keys/{key_id}", f"The key {row.name} is revoked.")
        await switches.change_key(key_id, remote_config=False, since_ms=since_ms, by=principal.user)
    except ConflictError as error:
        return await _danger(request, principal, tenant, key_id, action, problem=error.public)
    return forms.went(f"/keys/{key_id}", f"The key {row.name} has lost its scope.")


async def _danger(
    request: Asked, principal: Principal, tenant: Tenant, key_id: str, action: str, *, typed: str = "",
    wrong: str = "", problem: str = "",
) -> Response[str]:  # fmt: skip
    await tenant.switches.refresh()
    row = _get(tenant, key_id)
    now_s, address = time.time(), address_of(request)
    holders, progress = await _standing(tenant, row)
    asking = sorted(
        (one for one in holders if one.asks), key=lambda one: (not own_words(one, address), one.hostname)
    )
    holding = still_holding(holders, now_s)
    if row.revoked_ms is not None:
        problem = problem or "This key is revoked already."
    elif action == "scope" and not row.remote_config:
        problem = problem or "This key has no scope that could be taken."
    view = DangerPage(
        href=f"/keys/{key_id}",
        name=row.name,
        last4=row.last4,
        action=action,
        own=own_sentences(asking, address, "uses this key", "use this key"),
        names=tuple(holder.hostname for holder in asking[:NAMED]),
        more=max(0, len(asking) - NAMED),
        agents=len(asking),
        clients=sum(holder.clients for holder in asking),
        away=sum(not holder.asks for holder in holding),
        until=until_words(holding[0].until_s or now_s, now_s) if holding else "",
        can_withdraw=row.remote_config
        and row.revoked_ms is None
        and tenant.organisation.remote_config
        and bool(asking),
        progress=None if progress is None else _progress_of_key(progress, now_s, address),
        typed=typed,
        wrong=wrong,
        problem=problem,
    )
    title = f"Revoke {row.name}" if action == "revoke" else f"Take the scope of {row.name}"
    return page(
        request, "keys/danger.html", title=title, view=view, principal=principal, tenant=tenant,
        status_code=409 if problem else 422 if wrong else 200,
    )  # fmt: skip


HANDLERS = [
    show_keys, live_keys, show_new_key, make_key, show_key, live_key, rename_key, show_take_scope,
    change_scope, show_revoke, revoke_key,
]  # fmt: skip
