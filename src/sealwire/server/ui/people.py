"""Users: who they are, what they may, how they are invited, and their way out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from sealwire.errors import ConflictError, InvalidChangeError, NotPermittedError, SealwireError
from sealwire.server.access import Principal, links
from sealwire.server.access.directory import INVITE, Entry, Wanted
from sealwire.server.access.roles import MANAGE, ListedRole, reach_words
from sealwire.server.access.users import title_of
from sealwire.server.api import problems as api_problems
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store.people import ACTIVE, DISABLED, INVITED, UserRow
from sealwire.server.store.roles import BindingRow
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms, tables
from sealwire.server.ui.account import METHODS, device_words
from sealwire.server.ui.filters import Field, Grammar
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.people_views import (
    DangerPage,
    Held,
    InvitePage,
    LinkPage,
    RoleChoice,
    RoleForm,
    SessionLine,
    UserLine,
    UserPage,
    UsersPage,
)
from sealwire.server.ui.render import dom_id, macro, moment, page
from sealwire.server.ui.tables import Column
from sealwire.server.ui.views import NEVER, Moment, Status, Tab

Asked: TypeAlias = Request[Any, Any, Any]
READING = {"permission": "user_access_read"}
INVITING = {"permission": INVITE}
MANAGING = {"permission": MANAGE}

_STATES: Mapping[str, Status] = {
    ACTIVE: Status("Active", "ok", "circle-check"),
    INVITED: Status("Invited", "wait", "clock"),
    DISABLED: Status("Disabled", "mute", "ban"),
}
_NOT_DONE = (InvalidChangeError, ConflictError, NotPermittedError)


# All of them ------------------------------------------------------------------------------------------

_Line: TypeAlias = tuple[Entry, tuple[Held, ...]]
USERS: Grammar[_Line] = Grammar(
    email=Field(lambda line: (line[0].user.email,), is_name=True),
    name=Field(lambda line: (line[0].user.name,), is_name=True),
    state=Field(lambda line: (line[0].user.state,), values={one: one for one in _STATES}),
    role=Field(lambda line: (one.role for one in line[1])),
    factor=Field(lambda line: (_factor_words(line[0]),)),
)
COLUMNS: Mapping[str, Column[_Line]] = {
    "state": Column("State", lambda line: list(_STATES).index(line[0].user.state)),
    "user": Column("User", lambda line: (line[0].user.name or line[0].user.email).casefold()),
    "roles": Column("Roles"),
    "factor": Column("Second factor", lambda line: _factor_words(line[0])),
    "seen": Column("Last sign-in", lambda line: -(line[0].user.last_sign_in_ms or 0), numeric=True),
}


def tabs(principal: Principal, current: str, counts: Mapping[str, int]) -> tuple[Tab, ...]:
    """Users, roles, and application keys for those who may see everybody's."""
    shown = [("Users", "/people", "user_access_read"), ("Roles", "/people/roles", "user_access_read"),
             ("Application keys", "/people/keys", "org_app_keys_read")]  # fmt: skip
    return tuple(
        Tab(label, href, href == current, counts[href])
        for label, href, permission in shown
        if principal.may(permission) and href in counts
    )


async def counts_of(plane: ControlPlane, principal: Principal) -> dict[str, int]:
    """How many there are on each tab."""
    users = await asyncio.to_thread(plane.directory.all, principal, now_ms=plane.now_ms())
    counts = {"/people": len(users), "/people/roles": len(await there(plane, principal))}
    if principal.may("org_app_keys_read"):
        keys = await asyncio.to_thread(plane.application_keys.everybodys, principal)
        counts["/people/keys"] = len(keys)
    return counts


async def there(plane: ControlPlane, principal: Principal) -> Mapping[str, ListedRole]:
    """Every role by its id."""
    return await asyncio.to_thread(plane.roles.all, principal)


@get("/people", opt=READING, include_in_schema=False)
async def show_users(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Everybody of the organisation."""
    view = await _users_view(principal, plane, dict(request.query_params))
    return page(request, "people/users.html", title="People", view=view, principal=principal, tenant=tenant)


@get("/live/people", opt=READING, include_in_schema=False)
async def live_users(request: Asked, principal: Asker, plane: Plane, viewers: Watching) -> Stream:
    """Everybody of the organisation, as they change."""
    query = dict(request.query_params)
    row = macro("people/_parts.html", "user")
    parts = {
        name: macro("people/_parts.html", name) for name in ("count", "nothing", "pager", "announcement")
    }

    async def screen() -> Fragments:
        view = await _users_view(principal, plane, query)
        body = rows_of({one.dom_id: row(one) for one in view.rows})
        return {"rows": body, **tabs_of(view.tabs), **{name: part(view) for name, part in parts.items()}}

    return await viewers.stream(screen)


def rows_of(rows: Mapping[str, str]) -> Rows:
    """The rows of a live table of people, roles or keys."""
    return Rows('<tbody id="rows" role="rowgroup">', rows, "</tbody>")


def tabs_of(shown: tuple[Tab, ...]) -> dict[str, str]:
    """The tabs, for who has more than one."""
    return {"tabs": macro("people/_parts.html", "tabs")(shown)} if len(shown) > 1 else {}


async def _users_view(principal: Principal, plane: ControlPlane, given: Mapping[str, str]) -> UsersPage:
    query = {name: given[name] for name in _OWN_PARAMETERS if given.get(name)}
    found = await asyncio.to_thread(plane.directory.all, principal, now_ms=plane.now_ms())
    roles = await there(plane, principal)
    asked = USERS.parse(query.get("q", ""))
    lines = [(one, held(one.bindings, roles)) for one in found]
    matching = [line for line in lines if asked.matches(line)]
    shown = tables.page(
        matching, COLUMNS, identity=lambda line: line[0].user.user_id, path="/people", query=query,
        default_sort="user",
    )  # fmt: skip
    return UsersPage(
        tabs=tabs(principal, "/people", await counts_of(plane, principal)),
        headings=shown.headings,
        rows=tuple(_line(*line) for line in shown.rows),
        shown=len(matching),
        total=len(found),
        query=asked.text,
        sort=query.get("sort", ""),
        problems=asked.problems,
        fields=tuple(USERS.fields),
        previous_href=shown.previous_href,
        next_href=shown.next_href,
        may_invite=principal.may(INVITE),
        summary=f"{len(matching)} of {len(found)} users are shown.",
        live_href="/live/people" + (f"?{urlencode(query)}" if query else ""),
    )


_OWN_PARAMETERS = ("q", "sort", "after", "before")


def _line(entry: Entry, roles: tuple[Held, ...]) -> UserLine:
    user = entry.user
    return UserLine(
        dom_id("user", user.user_id), f"/people/{user.user_id}", user.email, user.name, _STATES[user.state],
        roles, _factor_words(entry),
        at(user.last_sign_in_ms),
    )  # fmt: skip


def held(bindings: Sequence[BindingRow], roles: Mapping[str, ListedRole]) -> tuple[Held, ...]:
    """Roles somebody has, for a page."""
    return tuple(
        Held(
            row.binding_id,
            roles[row.role_id].role.name if row.role_id in roles else row.role_id,
            f"/people/roles/{row.role_id}",
            reach_words(row.services, row.envs).strip(),
            at(row.created_ms),
            row.created_by,
        )
        for row in bindings
    )


def _factor_words(entry: Entry) -> str:
    if entry.user.has_second_factor:
        return "On"
    return "Off" if entry.user.password_hash else "At the provider" if entry.identities else "–"


def at(ms: int | None) -> Moment:
    """A time of the tables for a page."""
    return NEVER if ms is None else moment(ms / 1000)


# Inviting ---------------------------------------------------------------------------------------------


@get("/people/invite", opt=INVITING, include_in_schema=False)
async def show_invite(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """The form of an invitation."""
    return await _invite_form(request, principal, tenant, plane, forms.Form({"role": ["read_only"]}), None)


@post("/people/invite", opt=INVITING, status_code=200, include_in_schema=False)
async def invite(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Invite somebody; the link is on the page that answers, and nowhere else."""
    form = await forms.read(request)
    wanted = Wanted(form.text("role"), names(form.text("services")), names(form.text("envs")))
    try:
        user, path = await asyncio.to_thread(
            plane.directory.invite, principal, email=form.text("email"), name=form.text("name"),
            roles=[wanted] if wanted.role_id else [], now_ms=plane.now_ms(),
        )  # fmt: skip
    except _NOT_DONE as error:
        return await _invite_form(request, principal, tenant, plane, form, error)
    return _link(request, principal, tenant, plane, user, path)


async def _invite_form(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    form: forms.Form,
    error: SealwireError | None,
) -> Response[str]:
    wrong, problem = told(error, ("email", "name", "roles", "services", "envs"))
    view = InvitePage(
        form.text("email"), form.text("name"), await _role_form(plane, principal, form), wrong, problem
    )
    return page(
        request, "people/invite.html", title="Invite somebody", view=view, principal=principal, tenant=tenant,
        status_code=status_of(error),
    )  # fmt: skip


async def _role_form(plane: ControlPlane, principal: Principal, form: forms.Form) -> RoleForm:
    if principal.may("user_access_read"):
        roles = [one.role for one in (await there(plane, principal)).values()]
    else:  # they know their own
        roles = [grant.role for grant in principal.grants]
    choices = tuple(RoleChoice(role.role_id, role.name, role.description) for role in roles)
    return RoleForm(choices, form.text("role"), form.text("services"), form.text("envs"))


def _link(
    request: Asked, principal: Principal, tenant: Tenant, plane: ControlPlane, user: UserRow, path: str
) -> Response[str]:
    invited = user.state == INVITED
    lasts_ms = links.LIFETIME_MS[links.INVITATION] if invited else links.HANDED_OVER_MS
    view = LinkPage(
        "invitation" if invited else "password", user.email, f"/people/{user.user_id}", plane.url + path,
        lasts_ms // 3_600_000,
    )  # fmt: skip
    answer = page(
        request, "people/link.html", title="A link that works once", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip
    answer.headers["Cache-Control"] = "no-store"
    return answer


@post("/people/{user_id:str}/invitation", opt=INVITING, status_code=200, include_in_schema=False)
async def invite_again(
    request: Asked, user_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """A fresh link for somebody who did not join yet."""
    try:
        user, path = await asyncio.to_thread(
            plane.directory.invite_again, principal, user_id, now_ms=plane.now_ms()
        )
    except _NOT_DONE as error:
        return await _user_page(request, principal, tenant, plane, user_id, error=error)
    return _link(request, principal, tenant, plane, user, path)


@post("/people/{user_id:str}/reset-link", opt=MANAGING, status_code=200, include_in_schema=False)
async def make_reset_link(
    request: Asked, user_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """A link for somebody to set a new password."""
    try:
        user, path = await asyncio.to_thread(
            plane.directory.reset_link, principal, user_id, now_ms=plane.now_ms()
        )
    except _NOT_DONE as error:
        return await _user_page(request, principal, tenant, plane, user_id, error=error)
    return _link(request, principal, tenant, plane, user, path)


# One of them ------------------------------------------------------------------------------------------


@get("/people/{user_id:str}", opt=READING, include_in_schema=False)
async def show_user(
    request: Asked, user_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """One user."""
    return await _user_page(request, principal, tenant, plane, user_id)


@post("/people/{user_id:str}/roles", opt=MANAGING, status_code=303, include_in_schema=False)
async def give_role(
    request: Asked, user_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Give them a role."""
    form = await forms.read(request)
    try:
        row = await asyncio.to_thread(
            plane.roles.give, principal, user_id, form.text("role"), services=names(form.text("services")),
            envs=names(form.text("envs")), now_ms=plane.now_ms(),
        )  # fmt: skip
    except _NOT_DONE as error:
        return await _user_page(request, principal, tenant, plane, user_id, form=form, error=error)
    given = held((row,), await there(plane, principal))[0]
    return forms.went(
        f"/people/{user_id}", f"They have the role {given.role} {given.reach}".strip() + " now."
    )


@post(
    "/people/{user_id:str}/roles/{binding_id:str}/take", opt=MANAGING, status_code=303,
    include_in_schema=False,
)  # fmt: skip
async def take_role(
    request: Asked,
    user_id: FromPath[str],
    binding_id: FromPath[str],
    principal: Asker,
    tenant: OwnTenant,
    plane: Plane,
) -> Response[str] | Redirect:
    """Take a role away from them."""
    try:
        row = await asyncio.to_thread(plane.roles.take, principal, user_id, binding_id, now_ms=plane.now_ms())
    except _NOT_DONE as error:
        return await _user_page(request, principal, tenant, plane, user_id, error=error)
    taken = held((row,), await there(plane, principal))[0]
    said = f"They do not have the role {taken.role} {taken.reach}".strip() + " any more."
    # Whoever took it from themselves may not see the page they were on.
    mine = row.user_id == principal.user_id
    return forms.went("/" if mine else f"/people/{user_id}", said.replace("They", "You") if mine else said)


@post("/people/{user_id:str}/name", opt=MANAGING, status_code=303, include_in_schema=False)
async def rename_user(
    request: Asked, user_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Give them another name."""
    form = await forms.read(request)
    try:
        user = await asyncio.to_thread(
            plane.directory.rename, principal, user_id, form.text("name"), now_ms=plane.now_ms()
        )
    except _NOT_DONE as error:
        return await _user_page(request, principal, tenant, plane, user_id, form=form, error=error)
    return forms.went(f"/people/{user_id}", f"They are called {title_of(user)} now.")


@post("/people/{user_id:str}/sessions/end", opt=MANAGING, status_code=303, include_in_schema=False)
async def end_user_sessions(user_id: FromPath[str], principal: Asker, plane: Plane) -> Redirect:
    """End their sessions."""
    ended = await asyncio.to_thread(plane.directory.end_sessions, principal, user_id, now_ms=plane.now_ms())
    return forms.went(f"/people/{user_id}", f"Ended {ended} session{'' if ended == 1 else 's'}.")


@post("/people/{user_id:str}/enable", opt=MANAGING, status_code=303, include_in_schema=False)
async def enable_user(user_id: FromPath[str], principal: Asker, plane: Plane) -> Redirect:
    """Let them in again."""
    user = await asyncio.to_thread(plane.directory.enable, principal, user_id, now_ms=plane.now_ms())
    return forms.went(f"/people/{user_id}", f"{title_of(user)} is {user.state} again.")


async def _user_page(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    user_id: str,
    *,
    form: forms.Form | None = None,
    error: SealwireError | None = None,
) -> Response[str]:
    entry = await asyncio.to_thread(plane.directory.get, principal, user_id, now_ms=plane.now_ms())
    user, may_manage = entry.user, principal.may(MANAGE)
    wrong, problem = told(error, ("name", "services", "envs"))
    typed = form or forms.Form({})
    view = UserPage(
        href=f"/people/{user.user_id}",
        title=user.name or user.email,
        email=user.email,
        status=_STATES[user.state],
        state=user.state,
        is_self=user.user_id == principal.user_id,
        is_last_admin=entry.is_last_admin,
        roles=held(entry.bindings, await there(plane, principal)),
        second_factor=_factor_words(entry),
        has_second_factor=user.has_second_factor,
        last_sign_in=at(user.last_sign_in_ms),
        made=at(user.created_ms),
        made_by=user.created_by,
        link_until=NEVER if entry.link is None else at(entry.link.expires_ms),
        issuers=tuple(sorted({one.issuer for one in entry.identities})),
        keys=entry.keys,
        sessions=await _sessions(plane, principal, user_id) if may_manage else (),
        may_manage=may_manage,
        may_invite=principal.may(INVITE),
        role=await _role_form(plane, principal, typed),
        new_name=typed.text("name") if "name" in typed.fields else user.name,
        wrong=wrong,
        problem=problem,
    )
    return page(
        request, "people/user.html", title=view.title, view=view, principal=principal, tenant=tenant,
        status_code=status_of(error),
    )  # fmt: skip


async def _sessions(plane: ControlPlane, principal: Principal, user_id: str) -> tuple[SessionLine, ...]:
    found = await asyncio.to_thread(
        plane.sessions.of_user, user_id, present_id=principal.session_id, now_ms=plane.now_ms()
    )
    return tuple(
        SessionLine(
            device_words(one.session.user_agent), one.session.user_agent, one.session.address,
            METHODS.get(one.session.method, one.session.method), at(one.session.last_seen_ms), one.is_present,
        )
        for one in found
    )  # fmt: skip


_TITLES = {"disable": "Disable", "second-factor": "Remove the second factor of"}

# Their way out ----------------------------------------------------------------------------------------


@get("/people/{user_id:str}/disable", opt=MANAGING, include_in_schema=False)
async def show_disable(
    request: Asked, user_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """What happens when they are let in no more."""
    return await _danger(request, principal, tenant, plane, user_id, "disable", forms.Form({}))


@get("/people/{user_id:str}/second-factor", opt=MANAGING, include_in_schema=False)
async def show_remove_second_factor(
    request: Asked, user_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """What happens when their password alone is enough."""
    return await _danger(request, principal, tenant, plane, user_id, "second-factor", forms.Form({}))


@post("/people/{user_id:str}/disable", opt=MANAGING, status_code=303, include_in_schema=False)
async def disable_user(
    request: Asked, user_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Let them in no more."""
    form = await forms.read(request)
    return await _confirmed(request, principal, tenant, plane, user_id, "disable", form)


@post("/people/{user_id:str}/second-factor", opt=MANAGING, status_code=303, include_in_schema=False)
async def remove_second_factor(
    request: Asked, user_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Let their password alone be enough."""
    form = await forms.read(request)
    return await _confirmed(request, principal, tenant, plane, user_id, "second-factor", form)


async def _confirmed(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    user_id: str,
    action: str,
    form: forms.Form,
) -> Response[str] | Redirect:
    entry = await asyncio.to_thread(plane.directory.get, principal, user_id, now_ms=plane.now_ms())
    if form.text("confirm").casefold() != entry.user.email.casefold():
        return await _danger(request, principal, tenant, plane, user_id, action, form, wrong="This differs.")
    do, said = (
        (plane.directory.disable, "is disabled: nobody comes in as them any more.")
        if action == "disable"
        else (plane.directory.remove_second_factor, "signs in with the password alone now.")
    )
    try:
        await asyncio.to_thread(do, principal, user_id, now_ms=plane.now_ms())
    except _NOT_DONE as error:
        return await _danger(request, principal, tenant, plane, user_id, action, form, error=error)
    return forms.went(f"/people/{user_id}", f"{title_of(entry.user)} {said}")


async def _danger(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    user_id: str,
    action: str,
    form: forms.Form,
    *,
    wrong: str = "",
    error: SealwireError | None = None,
) -> Response[str]:
    entry = await asyncio.to_thread(plane.directory.get, principal, user_id, now_ms=plane.now_ms())
    user = entry.user
    view = DangerPage(
        action, f"/people/{user.user_id}", user.name or user.email, user.email,
        user.user_id == principal.user_id, entry.is_last_admin,
        len(await _sessions(plane, principal, user_id)), entry.keys,
        held(entry.bindings, await there(plane, principal)), form.text("confirm"), wrong,
        "" if error is None else error.public,
    )  # fmt: skip
    return page(
        request, "people/danger.html", title=f"{_TITLES[action]} {view.title}", view=view,
        principal=principal, tenant=tenant, status_code=422 if wrong else status_of(error),
    )  # fmt: skip


# Small ones -------------------------------------------------------------------------------------------


def names(text: str) -> tuple[str, ...]:
    """Services or environments as typed: with commas, spaces or both between."""
    return tuple(filter(None, re.split(r"[\s,]+", text)))


def told(error: SealwireError | None, fields: Sequence[str]) -> tuple[dict[str, str], str]:
    """What is wrong with each field, and what is wrong besides."""
    if error is None:
        return {}, ""
    found = error.problems if isinstance(error, InvalidChangeError) else ()
    by_field = {one.path.removeprefix("$."): one.message for one in found}
    wrong = {
        field: f"{error.public} {by_field[field][:1].upper()}{by_field[field][1:].removesuffix('.')}."
        for field in fields
        if field in by_field
    }
    return wrong, "" if wrong else error.public


def status_of(error: SealwireError | None) -> int:
    """The status of a page that shows an error, or none."""
    return 200 if error is None else api_problems.status_of(error)[0]


HANDLERS = [
    show_users, live_users, show_invite, invite, invite_again, make_reset_link, show_user, give_role,
    take_role, rename_user, end_user_sessions, enable_user, show_disable, disable_user,
    show_remove_second_factor, remove_second_factor,
]  # fmt: skip
