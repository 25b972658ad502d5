"""Users, roles, who has them, and application keys by the admin API."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, TypedDict

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from sealwire.errors import InvalidChangeError, NotFoundError, Problem
from sealwire.server.access.directory import Entry, Wanted
from sealwire.server.access.permissions import PERMISSIONS, Principal
from sealwire.server.access.roles import ListedRole
from sealwire.server.api.guard import Asker, Plane
from sealwire.server.api.shapes import MAX_REVISION, RevisionNumber, time, time_or_none
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import rows
from sealwire.server.store.roles import BindingRow


class NewBinding(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A role to give; without services and envs: for all of them."""

    role_id: str
    services: list[str] = []
    envs: list[str] = []


class NewUser(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Somebody to invite."""

    email: str
    name: str = ""
    roles: list[NewBinding]


class ChangedUser(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of a user: what is not given stays. ``state``: active or disabled."""

    name: str | None = None
    state: str | None = None


class NewRole(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A role to make."""

    name: str
    permissions: list[str]
    description: str = ""


class ChangedRole(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of a role: what is not given stays."""

    expected_revision: RevisionNumber
    name: str | None = None
    permissions: list[str] | None = None
    description: str | None = None


class NewApplicationKey(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An application key to make; without scopes it may whatever its user may."""

    name: str
    scopes: list[str] | None = None


class Binding(TypedDict):
    """A role that somebody has; without services and envs: for all of them."""

    binding_id: str
    role_id: str
    role: str
    services: list[str]
    envs: list[str]
    given_at: str
    given_by: str


class Person(TypedDict):
    """A user.

    Attributes:
        state: invited, active or disabled.
        second_factor: Whether signing in takes a code too.
        link_expires_at: Of a link that lets them in and was not used yet.
        issuers: Providers that they sign in by.
    """

    id: str
    email: str
    name: str
    state: str
    second_factor: bool
    created_at: str
    created_by: str
    last_sign_in_at: str | None
    link_expires_at: str | None
    issuers: list[str]
    roles: list[Binding]


class People(TypedDict):
    """Everybody of an organisation."""

    users: list[Person]


class Invited(TypedDict):
    """Somebody, and a link that lets them in.

    Attributes:
        link: It works once, and is said once.
    """

    id: str
    email: str
    state: str
    link: str


class PersonSession(TypedDict):
    """A browser that somebody is signed in with.

    Attributes:
        method: How it was signed in.
        is_present: Whether it is the one that asks.
    """

    id: str
    began_at: str
    last_seen_at: str
    address: str
    user_agent: str
    method: str
    is_present: bool


class PersonSessions(TypedDict):
    """Browsers that somebody is signed in with."""

    sessions: list[PersonSession]


class EndedSessions(TypedDict):
    """How many sessions ended."""

    ended: int


class RoleSaid(TypedDict):
    """A role."""

    id: str
    name: str
    description: str
    permissions: list[str]
    built_in: bool
    revision: int


class CountedRole(RoleSaid):
    """A role, and how many have it."""

    users: int


class PermissionSaid(TypedDict):
    """Something that a role may allow."""

    name: str
    group: str
    title: str


class RolesSaid(TypedDict):
    """Every role, and every permission there is."""

    roles: list[CountedRole]
    permissions: list[PermissionSaid]


class RoleHolder(Binding):
    """Somebody who has a role.

    Attributes:
        id: Of the user.
    """

    id: str
    email: str


class OneRole(RoleSaid):
    """A role, and who has it."""

    users: list[RoleHolder]


class ApplicationKey(TypedDict):
    """An application key, without its secret.

    Attributes:
        last4: The end of its secret.
        user_id: Null for one that is nobody's.
        scopes: What it may of what its user may; null for all of it.
    """

    id: str
    name: str
    last4: str
    user: str
    user_id: str | None
    scopes: list[str] | None
    created_at: str
    last_used_at: str | None


class MadeApplicationKey(ApplicationKey):
    """An application key that was made just now.

    Attributes:
        key: Its secret; it is said once.
    """

    key: str


class ApplicationKeys(TypedDict):
    """Application keys."""

    application_keys: list[ApplicationKey]


# Users ------------------------------------------------------------------------------------------------


@get("/users", opt={"permission": "user_access_read"})
async def list_users(principal: Asker, plane: Plane) -> People:
    """Everybody of the organisation, with their roles."""
    found = await asyncio.to_thread(plane.directory.all, principal, now_ms=plane.now_ms())
    there = await asyncio.to_thread(plane.roles.all, principal)
    return {"users": [_user(one, there) for one in found]}


@get("/users/{user_id:str}", opt={"permission": "user_access_read"})
async def get_user(user_id: FromPath[str], principal: Asker, plane: Plane) -> Person:
    """One user."""
    return await _one_user(plane, principal, user_id)


@post("/users", opt={"permission": "user_access_invite"})
async def invite_user(data: JSONBody[NewUser], principal: Asker, plane: Plane) -> Invited:
    """Invite somebody; the link that lets them in is in this answer and nowhere else."""
    wanted = [Wanted(one.role_id, one.services, one.envs) for one in data.roles]
    user, path = await asyncio.to_thread(
        plane.directory.invite, principal, email=data.email, name=data.name, roles=wanted,
        now_ms=plane.now_ms(),
    )  # fmt: skip
    return {"id": user.user_id, "email": user.email, "state": user.state, "link": plane.url + path}


@post("/users/{user_id:str}/invitation", opt={"permission": "user_access_invite"})
async def invite_user_again(user_id: FromPath[str], principal: Asker, plane: Plane) -> Invited:
    """A fresh link for somebody who did not join yet."""
    user, path = await asyncio.to_thread(
        plane.directory.invite_again, principal, user_id, now_ms=plane.now_ms()
    )
    return {"id": user.user_id, "email": user.email, "state": user.state, "link": plane.url + path}


@post("/users/{user_id:str}/reset-link", opt={"permission": "user_access_manage"})
async def make_reset_link(user_id: FromPath[str], principal: Asker, plane: Plane) -> Invited:
    """A link for somebody to set a new password."""
    user, path = await asyncio.to_thread(
        plane.directory.reset_link, principal, user_id, now_ms=plane.now_ms()
    )
    return {"id": user.user_id, "email": user.email, "state": user.state, "link": plane.url + path}


@patch("/users/{user_id:str}", opt={"permission": "user_access_manage"})
async def change_user(
    user_id: FromPath[str], data: JSONBody[ChangedUser], principal: Asker, plane: Plane
) -> Person:
    """Rename somebody, disable them, enable them again."""
    if data.state not in (None, "active", "disabled"):
        raise InvalidChangeError(
            "A user is made active or disabled.", problems=(Problem("$.state", "active or disabled"),)
        )
    directory, now_ms = plane.directory, plane.now_ms()
    if data.name is not None:
        await asyncio.to_thread(directory.rename, principal, user_id, data.name, now_ms=now_ms)
    if data.state is not None:
        change = directory.enable if data.state == "active" else directory.disable
        await asyncio.to_thread(change, principal, user_id, now_ms=now_ms)
    return await _one_user(plane, principal, user_id)


@delete("/users/{user_id:str}/second-factor", status_code=200, opt={"permission": "user_access_manage"})
async def remove_second_factor(user_id: FromPath[str], principal: Asker, plane: Plane) -> Person:
    """Let somebody's password alone be enough again."""
    await asyncio.to_thread(plane.directory.remove_second_factor, principal, user_id, now_ms=plane.now_ms())
    return await _one_user(plane, principal, user_id)


@get("/users/{user_id:str}/sessions", opt={"permission": "user_access_manage"})
async def list_user_sessions(user_id: FromPath[str], principal: Asker, plane: Plane) -> PersonSessions:
    """Browsers somebody is signed in with."""
    now_ms = plane.now_ms()
    await asyncio.to_thread(plane.directory.get, principal, user_id, now_ms=now_ms)
    found = await asyncio.to_thread(
        plane.sessions.of_user, user_id, present_id=principal.session_id, now_ms=now_ms
    )
    return {
        "sessions": [
            {
                "id": one.session.session_id,
                "began_at": time(one.session.began_ms),
                "last_seen_at": time(one.session.last_seen_ms),
                "address": one.session.address,
                "user_agent": one.session.user_agent,
                "method": one.session.method,
                "is_present": one.is_present,
            }
            for one in found
        ]
    }


@delete("/users/{user_id:str}/sessions", status_code=200, opt={"permission": "user_access_manage"})
async def end_user_sessions(user_id: FromPath[str], principal: Asker, plane: Plane) -> EndedSessions:
    """End all sessions of somebody, but the one that asks."""
    ended = await asyncio.to_thread(plane.directory.end_sessions, principal, user_id, now_ms=plane.now_ms())
    return {"ended": ended}


# Who has which role -----------------------------------------------------------------------------------


@post("/users/{user_id:str}/roles", opt={"permission": "user_access_manage"})
async def give_role(
    user_id: FromPath[str], data: JSONBody[NewBinding], principal: Asker, plane: Plane
) -> Binding:
    """Give somebody a role, for all or for some services and environments."""
    row = await asyncio.to_thread(
        plane.roles.give, principal, user_id, data.role_id, services=data.services, envs=data.envs,
        now_ms=plane.now_ms(),
    )  # fmt: skip
    return _binding(row, await asyncio.to_thread(plane.roles.all, principal))


@delete(
    "/users/{user_id:str}/roles/{binding_id:str}", status_code=200, opt={"permission": "user_access_manage"}
)
async def take_role(
    user_id: FromPath[str], binding_id: FromPath[str], principal: Asker, plane: Plane
) -> Binding:
    """Take a role away from somebody."""
    row = await asyncio.to_thread(plane.roles.take, principal, user_id, binding_id, now_ms=plane.now_ms())
    return _binding(row, await asyncio.to_thread(plane.roles.all, principal))


# Roles ------------------------------------------------------------------------------------------------


@get("/roles", opt={"permission": "user_access_read"})
async def list_roles(principal: Asker, plane: Plane) -> RolesSaid:
    """Every role, and every permission there is."""
    there = await asyncio.to_thread(plane.roles.all, principal)
    users = await asyncio.to_thread(plane.directory.all, principal, now_ms=plane.now_ms())
    holders = Counter(role_id for one in users for role_id in {row.role_id for row in one.bindings})
    return {
        "roles": [{**_role(found), "users": holders[found.role.role_id]} for found in there.values()],
        "permissions": [
            {"name": one.name, "group": one.group, "title": one.title} for one in PERMISSIONS.values()
        ],
    }


@get("/roles/{role_id:str}", opt={"permission": "user_access_read"})
async def get_role(role_id: FromPath[str], principal: Asker, plane: Plane) -> OneRole:
    """One role, and who has it."""
    there = await asyncio.to_thread(plane.roles.all, principal)
    if role_id not in there:
        raise NotFoundError("There is no such role here.")
    users = await asyncio.to_thread(plane.directory.all, principal, now_ms=plane.now_ms())
    return {
        **_role(there[role_id]),
        "users": [
            {"id": one.user.user_id, "email": one.user.email, **_binding(row, there)}
            for one in users
            for row in one.bindings
            if row.role_id == role_id
        ],
    }


@post("/roles", opt={"permission": "user_access_manage"})
async def create_role(data: JSONBody[NewRole], principal: Asker, plane: Plane) -> RoleSaid:
    """Make a role."""
    row = await asyncio.to_thread(
        plane.roles.create, principal, name=data.name, permissions=data.permissions,
        description=data.description, now_ms=plane.now_ms(),
    )  # fmt: skip
    return await _one_role(plane, principal, row.role_id)


@patch("/roles/{role_id:str}", opt={"permission": "user_access_manage"})
async def change_role(
    role_id: FromPath[str], data: JSONBody[ChangedRole], principal: Asker, plane: Plane
) -> RoleSaid:
    """Change a role; who has it may what is in it now at once."""
    await asyncio.to_thread(
        plane.roles.change, principal, role_id, expected_revision=data.expected_revision, name=data.name,
        description=data.description, permissions=data.permissions, now_ms=plane.now_ms(),
    )  # fmt: skip
    return await _one_role(plane, principal, role_id)


@delete("/roles/{role_id:str}", status_code=204, opt={"permission": "user_access_manage"})
async def delete_role(
    role_id: FromPath[str],
    expected_revision: Annotated[int, QueryParameter(ge=0, le=MAX_REVISION)],
    principal: Asker,
    plane: Plane,
) -> None:
    """Delete a role that nobody has."""
    await asyncio.to_thread(
        plane.roles.delete, principal, role_id, expected_revision=expected_revision, now_ms=plane.now_ms()
    )


# Application keys -------------------------------------------------------------------------------------


@get("/application-keys", opt={"permission": "user_app_keys"})
async def list_own_keys(principal: Asker, plane: Plane) -> ApplicationKeys:
    """One's own application keys, without their secrets."""
    found = await asyncio.to_thread(plane.application_keys.own, principal)
    return {"application_keys": [_application_key(row) for row in found]}


@post("/application-keys", opt={"permission": "user_app_keys"})
async def create_own_key(
    data: JSONBody[NewApplicationKey], principal: Asker, plane: Plane
) -> MadeApplicationKey:
    """Make an application key of one's own; its secret is in this answer and nowhere else."""
    row, secret = await asyncio.to_thread(
        plane.application_keys.create, principal, name=data.name, scopes=data.scopes, now_ms=plane.now_ms()
    )
    return {**_application_key(row), "key": secret}


@delete("/application-keys/{key_id:str}", status_code=204, opt={"permission": "user_app_keys"})
async def revoke_own_key(key_id: FromPath[str], principal: Asker, plane: Plane) -> None:
    """Revoke an application key of one's own."""
    await asyncio.to_thread(plane.application_keys.revoke_own, principal, key_id, now_ms=plane.now_ms())


@get("/organisation/application-keys", opt={"permission": "org_app_keys_read"})
async def list_everybodys_keys(principal: Asker, plane: Plane) -> ApplicationKeys:
    """Everybody's application keys, without their secrets."""
    found = await asyncio.to_thread(plane.application_keys.everybodys, principal)
    return {"application_keys": [_application_key(row) for row in found]}


@delete(
    "/organisation/application-keys/{key_id:str}", status_code=204, opt={"permission": "org_app_keys_write"}
)
async def revoke_anybodys_key(key_id: FromPath[str], principal: Asker, plane: Plane) -> None:
    """Revoke somebody's application key."""
    await asyncio.to_thread(plane.application_keys.revoke_anybodys, principal, key_id, now_ms=plane.now_ms())


# Shapes -----------------------------------------------------------------------------------------------


async def _one_user(plane: ControlPlane, principal: Principal, user_id: str) -> Person:
    entry = await asyncio.to_thread(plane.directory.get, principal, user_id, now_ms=plane.now_ms())
    return _user(entry, await asyncio.to_thread(plane.roles.all, principal))


async def _one_role(plane: ControlPlane, principal: Principal, role_id: str) -> RoleSaid:
    return _role((await asyncio.to_thread(plane.roles.all, principal))[role_id])


def _user(entry: Entry, there: Mapping[str, ListedRole]) -> Person:
    user = entry.user
    return {
        "id": user.user_id,
        "email": user.email,
        "name": user.name,
        "state": user.state,
        "second_factor": user.has_second_factor,
        "created_at": time(user.created_ms),
        "created_by": user.created_by,
        "last_sign_in_at": time_or_none(user.last_sign_in_ms),
        "link_expires_at": None if entry.link is None else time(entry.link.expires_ms),
        "issuers": sorted({one.issuer for one in entry.identities}),
        "roles": [_binding(row, there) for row in entry.bindings],
    }


def _binding(row: BindingRow, there: Mapping[str, ListedRole]) -> Binding:
    found = there.get(row.role_id)
    return {
        "binding_id": row.binding_id,
        "role_id": row.role_id,
        "role": row.role_id if found is None else found.role.name,
        "services": list(row.services),
        "envs": list(row.envs),
        "given_at": time(row.created_ms),
        "given_by": row.created_by,
    }


def _role(found: ListedRole) -> RoleSaid:
    return {
        "id": found.role.role_id,
        "name": found.role.name,
        "description": found.role.description,
        "permissions": sorted(found.role.permissions),
        "built_in": found.role.built_in,
        "revision": found.revision,
    }


def _application_key(row: rows.ApplicationKeyRow) -> ApplicationKey:
    return {
        "id": row.key_id,
        "name": row.name,
        "last4": row.last4,
        "user": row.user,
        "user_id": row.user_id,
        "scopes": None if row.scopes is None else list(row.scopes),
        "created_at": time(row.created_ms),
        "last_used_at": time_or_none(row.last_used_ms),
    }


HANDLERS = [
    list_users, get_user, invite_user, invite_user_again, make_reset_link, change_user, remove_second_factor,
    list_user_sessions, end_user_sessions, give_role, take_role, list_roles, get_role, create_role,
    change_role, delete_role, list_own_keys, create_own_key, revoke_own_key, list_everybodys_keys,
    revoke_anybodys_key,
]  # fmt: skip
