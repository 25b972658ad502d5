"""Roles: what each lets people do, who has it, and the editor of those that people made.

A role is written in two steps: the form, then what it means (permissions that come and go, how many people
have it). Between the two everything typed travels with the page; nothing is kept here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from sealwire.errors import (
    ConflictError,
    InvalidChangeError,
    NotFoundError,
    NotPermittedError,
    Problem,
    SealwireError,
)
from sealwire.server.access import Principal
from sealwire.server.access.permissions import BUILT_IN_ROLES, PERMISSIONS, READ_ONLY, known_permission
from sealwire.server.access.roles import MANAGE, ListedRole
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.live import Fragments
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.people import (
    at,
    counts_of,
    held,
    rows_of,
    status_of,
    tabs,
    tabs_of,
    there,
    told,
)
from sealwire.server.ui.render import dom_id, macro, page
from sealwire.server.ui.views import Moment, Tab

Asked: TypeAlias = Request[Any, Any, Any]
READING = {"permission": "user_access_read"}
MANAGING = {"permission": MANAGE}
_NOT_DONE = (InvalidChangeError, ConflictError, NotPermittedError)


@dataclass(frozen=True, slots=True)
class RoleLine:
    """A role in the table."""

    dom_id: str
    href: str
    name: str
    description: str
    built_in: bool
    permissions: int
    users: int


@dataclass(frozen=True, slots=True)
class RolesPage:
    """All roles; ``total`` is how many permissions there are."""

    tabs: tuple[Tab, ...]
    rows: tuple[RoleLine, ...]
    total: int
    may_manage: bool
    summary: str
    live_href: str = "/live/people/roles"


@dataclass(frozen=True, slots=True)
class PermissionLine:
    """A permission of the catalogue.

    Attributes:
        is_in: In the role.
        lacking: Who edits does not have it themselves, so they cannot put it in.
    """

    name: str
    title: str
    is_in: bool
    lacking: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Permissions under one heading."""

    title: str
    permissions: tuple[PermissionLine, ...]

    @property
    def chosen(self) -> int:
        """How many are in."""
        return sum(one.is_in for one in self.permissions)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a role; ``reach`` says for what, empty: for everything."""

    href: str
    called: str
    reach: str


@dataclass(frozen=True, slots=True)
class RolePage:
    """One role."""

    role_id: str
    href: str
    name: str
    description: str
    built_in: bool
    groups: tuple[Group, ...]
    permissions: int
    total: int
    holders: tuple[Holder, ...]
    made: Moment
    made_by: str
    may_manage: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """A role a new one may start from."""

    href: str
    name: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class FormPage:
    """The editor. ``href`` takes the form; ``revision`` is 0 for a new role."""

    href: str
    back_href: str
    title: str
    name: str
    description: str
    revision: int
    start: str
    origins: tuple[Origin, ...]
    groups: tuple[Group, ...]
    wrong: Mapping[str, str]
    problem: str


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """What saving means.

    Attributes:
        against: What it is compared with, in words.
        added, removed: Permissions by title.
        users: How many have the role.
        permissions: All that are in it, for the form that travels along.
    """

    href: str
    back_href: str
    title: str
    name: str
    old_name: str
    description: str
    revision: int
    start: str
    against: str
    added: tuple[PermissionLine, ...]
    removed: tuple[PermissionLine, ...]
    kept: int
    users: int
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeletePage:
    """The end of a role; ``holders`` are in its way."""

    href: str
    name: str
    revision: int
    holders: tuple[Holder, ...]
    typed: str
    wrong: str
    problem: str


def groups(chosen: Collection[str], *, lacking: Collection[str] = ()) -> tuple[Group, ...]:
    """The catalogue under its headings."""
    found: dict[str, list[PermissionLine]] = {}
    for one in PERMISSIONS.values():
        line = PermissionLine(one.name, one.title, one.name in chosen, one.name in lacking)
        found.setdefault(one.group, []).append(line)
    return tuple(Group(title, tuple(lines)) for title, lines in found.items())


# Looking ----------------------------------------------------------------------------------------------


@get("/people/roles", opt=READING, include_in_schema=False)
async def show_roles(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """All roles."""
    view = await _roles_view(plane, principal)
    return page(request, "people/roles.html", title="Roles", view=view, principal=principal, tenant=tenant)


@get("/live/people/roles", opt=READING, include_in_schema=False)
async def live_roles(principal: Asker, plane: Plane, viewers: Watching) -> Stream:
    """All roles, as they change."""
    row, announcement = macro("people/_parts.html", "role_row"), macro("people/_parts.html", "announcement")

    async def screen() -> Fragments:
        view = await _roles_view(plane, principal)
        body = rows_of({one.dom_id: row(one, view.total) for one in view.rows})
        return {"rows": body, **tabs_of(view.tabs), "announcement": announcement(view)}

    return await viewers.stream(screen)


async def _roles_view(plane: ControlPlane, principal: Principal) -> RolesPage:
    users = await asyncio.to_thread(plane.directory.all, principal, now_ms=plane.now_ms())
    having = Counter(role_id for one in users for role_id in {row.role_id for row in one.bindings})
    rows = tuple(
        RoleLine(
            dom_id("role", role_id), f"/people/roles/{role_id}", one.role.name, one.role.description,
            one.role.built_in, len(one.role.permissions), having[role_id],
        )
        for role_id, one in (await there(plane, principal)).items()
    )  # fmt: skip
    shown = tabs(principal, "/people/roles", await counts_of(plane, principal))
    return RolesPage(shown, rows, len(PERMISSIONS), principal.may(MANAGE), f"There are {len(rows)} roles.")


@get("/people/roles/{role_id:str}", opt=READING, include_in_schema=False)
async def show_role(
    request: Asked, role_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """One role: what it lets people do, and who has it."""
    found = await _get(plane, principal, role_id)
    role = found.role
    view = RolePage(
        role.role_id, f"/people/roles/{role.role_id}", role.name, role.description, role.built_in,
        groups(role.permissions), len(role.permissions), len(PERMISSIONS),
        await _holders(plane, principal, role_id), at(found.created_ms or None), found.created_by,
        principal.may(MANAGE),
    )  # fmt: skip
    return page(request, "people/role.html", title=role.name, view=view, principal=principal, tenant=tenant)


async def _get(plane: ControlPlane, principal: Principal, role_id: str) -> ListedRole:
    found = (await there(plane, principal)).get(role_id)
    if found is None:
        raise NotFoundError("There is no such role here.")
    return found


async def _holders(plane: ControlPlane, principal: Principal, role_id: str) -> tuple[Holder, ...]:
    users = await asyncio.to_thread(plane.directory.all, principal, now_ms=plane.now_ms())
    roles = await there(plane, principal)
    return tuple(
        Holder(f"/people/{one.user.user_id}", one.user.name or one.user.email, given.reach)
        for one in users
        for given in held([row for row in one.bindings if row.role_id == role_id], roles)
    )


# Writing ----------------------------------------------------------------------------------------------


@get("/people/roles/new", opt=MANAGING, include_in_schema=False)
async def show_new_role(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """The form of a new role, starting from another."""
    start = request.query_params.get("from", READ_ONLY)
    found = (await there(plane, principal)).get(start)
    role = found.role if found is not None else BUILT_IN_ROLES[READ_ONLY]
    form = forms.Form({"start": [role.role_id], "permissions": sorted(role.permissions)})
    return await _form(request, principal, tenant, plane, None, form)


@post("/people/roles/new", opt=MANAGING, status_code=200, include_in_schema=False)
async def make_role(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Say what a new role means, then make it."""
    form = await forms.read(request)
    step = form.text("do")
    if step == "edit":
        return await _form(request, principal, tenant, plane, None, form)
    if step != "save":
        return await _review(request, principal, tenant, plane, None, form)
    try:
        row = await asyncio.to_thread(
            plane.roles.create, principal, name=form.text("name"), permissions=form.all("permissions"),
            description=form.text("description"), now_ms=plane.now_ms(),
        )  # fmt: skip
    except _NOT_DONE as error:
        return await _form(request, principal, tenant, plane, None, form, error)
    return forms.went(f"/people/roles/{row.role_id}", f"Made the role {row.name}.")


@get("/people/roles/{role_id:str}/edit", opt=MANAGING, include_in_schema=False)
async def show_edit_role(
    request: Asked, role_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """The form of a role that people made."""
    found = await _made_here(plane, principal, role_id)
    form = forms.Form(
        {
            "name": [found.role.name], "description": [found.role.description],
            "permissions": sorted(found.role.permissions), "revision": [str(found.revision)],
        }
    )  # fmt: skip
    return await _form(request, principal, tenant, plane, found, form)


@post("/people/roles/{role_id:str}/edit", opt=MANAGING, status_code=200, include_in_schema=False)
async def change_role(
    request: Asked, role_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Say what a change means, then make it."""
    form = await forms.read(request)
    found = await _made_here(plane, principal, role_id)
    step = form.text("do")
    if step == "edit":
        return await _form(request, principal, tenant, plane, found, form)
    if step != "save":
        return await _review(request, principal, tenant, plane, found, form)
    try:
        row = await asyncio.to_thread(
            plane.roles.change, principal, role_id, expected_revision=_revision(form), name=form.text("name"),
            description=form.text("description"), permissions=form.all("permissions"),
            now_ms=plane.now_ms(),
        )  # fmt: skip
    except _NOT_DONE as error:
        return await _form(request, principal, tenant, plane, found, form, error)
    return forms.went(f"/people/roles/{role_id}", f"Saved the role {row.name}.")


async def _made_here(plane: ControlPlane, principal: Principal, role_id: str) -> ListedRole:
    found = await _get(plane, principal, role_id)
    if found.role.built_in:
        raise NotPermittedError(f"The role {found.role.name} is always there and stays as it is.")
    return found


def _revision(form: forms.Form) -> int:
    text = form.text("revision")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


async def _form(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    found: ListedRole | None,
    form: forms.Form,
    error: SealwireError | None = None,
) -> Response[str]:
    chosen = _chosen(form)
    present = found.role.permissions if found is not None else frozenset[str]()
    # What is in the role already may stay in it, whoever edits.
    lacking = {
        name for name in PERMISSIONS
        if name not in present and not principal.may_change(name, services=(), envs=())
    }  # fmt: skip
    wrong, problem = told(error, ("name", "description", "permissions"))
    roles = await there(plane, principal)
    if isinstance(error, ConflictError):
        problem = (
            "Somebody saved this role since you opened it. Below is what you chose; the next page shows how "
            "it differs from theirs."
        )
    view = FormPage(
        href=f"/people/roles/{found.role.role_id}/edit" if found is not None else "/people/roles/new",
        back_href=f"/people/roles/{found.role.role_id}" if found is not None else "/people/roles",
        title=found.role.name if found is not None else "New role",
        name=form.text("name"),
        description=form.text("description"),
        revision=found.revision if found is not None else 0,
        start=form.text("start"),
        origins=()
        if found is not None
        else tuple(
            Origin(f"/people/roles/new?from={role_id}", one.role.name, role_id == form.text("start"))
            for role_id, one in roles.items()
        ),
        groups=groups(chosen, lacking=lacking),
        wrong=wrong,
        problem=problem,
    )
    return page(
        request, "people/role_form.html", title=view.title, view=view, principal=principal, tenant=tenant,
        status_code=status_of(error),
    )  # fmt: skip


async def _review(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    found: ListedRole | None,
    form: forms.Form,
) -> Response[str]:
    chosen = _chosen(form)
    roles = await there(plane, principal)
    base = found or roles.get(form.text("start"))
    before = base.role.permissions if base is not None else frozenset[str]()
    missing = _missing(form, chosen)
    if missing is not None:  # said at once, and not on the page after
        return await _form(request, principal, tenant, plane, found, form, missing)
    view = ReviewPage(
        href=f"/people/roles/{found.role.role_id}/edit" if found is not None else "/people/roles/new",
        back_href=f"/people/roles/{found.role.role_id}" if found is not None else "/people/roles",
        title=f"Save {found.role.name}?" if found is not None else f"Make {form.text('name')}?",
        name=form.text("name"),
        old_name=found.role.name if found is not None else form.text("name"),
        description=form.text("description"),
        revision=found.revision if found is not None else 0,
        start=form.text("start"),
        against="" if base is None else "as it is now" if found is not None else f"the role {base.role.name}",
        added=_lines(chosen - before),
        removed=_lines(before - chosen),
        kept=len(chosen & before),
        users=len(await _holders(plane, principal, found.role.role_id)) if found is not None else 0,
        permissions=tuple(sorted(chosen)),
    )
    return page(
        request, "people/role_review.html", title=view.title, view=view, principal=principal, tenant=tenant
    )


def _missing(form: forms.Form, chosen: Collection[str]) -> InvalidChangeError | None:
    if not form.text("name"):
        return InvalidChangeError("A role needs a name.", problems=(Problem("$.name", "type one"),))
    if not chosen:
        return InvalidChangeError(
            "A role lets people do something.", problems=(Problem("$.permissions", "tick at least one"),)
        )
    return None


def _chosen(form: forms.Form) -> frozenset[str]:
    known = (known_permission(name) for name in form.all("permissions"))
    return frozenset(name for name in known if name is not None)


def _lines(names: Collection[str]) -> tuple[PermissionLine, ...]:
    return tuple(
        PermissionLine(one.name, f"{one.group}: {one.title}", True)
        for one in PERMISSIONS.values()
        if one.name in names
    )


# Deleting ---------------------------------------------------------------------------------------------


@get("/people/roles/{role_id:str}/delete", opt=MANAGING, include_in_schema=False)
async def show_delete_role(
    request: Asked, role_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """What is in the way of its end, or nothing."""
    return await _delete_page(request, principal, tenant, plane, role_id, forms.Form({}))


@post("/people/roles/{role_id:str}/delete", opt=MANAGING, status_code=303, include_in_schema=False)
async def delete_role(
    request: Asked, role_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Delete a role that nobody has."""
    form = await forms.read(request)
    found = await _made_here(plane, principal, role_id)
    if form.text("confirm") != found.role.name:
        return await _delete_page(request, principal, tenant, plane, role_id, form, wrong="This differs.")
    try:
        await asyncio.to_thread(
            plane.roles.delete, principal, role_id, expected_revision=_revision(form), now_ms=plane.now_ms()
        )
    except _NOT_DONE as error:
        return await _delete_page(request, principal, tenant, plane, role_id, form, error=error)
    return forms.went("/people/roles", f"Deleted the role {found.role.name}.")


async def _delete_page(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    role_id: str,
    form: forms.Form,
    *,
    wrong: str = "",
    error: SealwireError | None = None,
) -> Response[str]:
    found = await _made_here(plane, principal, role_id)
    view = DeletePage(
        f"/people/roles/{role_id}", found.role.name, found.revision,
        await _holders(plane, principal, role_id), form.text("confirm"), wrong,
        "" if error is None else error.public,
    )  # fmt: skip
    return page(
        request, "people/role_delete.html", title=f"Delete {view.name}", view=view, principal=principal,
        tenant=tenant, status_code=422 if wrong else status_of(error),
    )  # fmt: skip


HANDLERS = [
    show_roles, live_roles, show_role, show_new_role, make_role, show_edit_role, change_role,
    show_delete_role, delete_role,
]  # fmt: skip
