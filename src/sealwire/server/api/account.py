"""One's own account by the admin API: who one is, password, second factor, sessions."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import msgspec
from litestar import Request, delete, get, patch, post, put
from litestar.params import FromPath, JSONBody

from sealwire.server.access import Principal
from sealwire.server.access.account import From
from sealwire.server.access.sessions import ABSOLUTE_MS, IDLE_MS, Seen
from sealwire.server.access.totp import Enrolment
from sealwire.server.api.guard import Asker, OwnTenant, Plane, own_cookie
from sealwire.server.api.shapes import time, time_or_none
from sealwire.server.store.people import UserRow


class ChangedAccount(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of one's own account."""

    name: str


class ChangedPassword(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Another password."""

    current_password: str
    new_password: str


class FirstCode(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The first code of a second factor, with the ticket of setting it up."""

    ticket: str
    code: str


class Proof(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One's own password, to show that it is really oneself."""

    password: str


class User(TypedDict):
    """Oneself.

    Attributes:
        has_password: Whether one signs in with one, and not by another provider alone.
        second_factor: Whether signing in takes a code too.
    """

    id: str
    email: str
    name: str
    has_password: bool
    second_factor: bool
    recovery_codes_left: int
    created_at: str
    last_sign_in_at: str | None


class OwnOrganisation(TypedDict):
    """Where one is."""

    id: int
    name: str


class Granted(TypedDict):
    """A role that one has; without services and envs: for all of them."""

    role_id: str
    role: str
    services: list[str]
    envs: list[str]


class Account(TypedDict):
    """Who one is, and what one may.

    Attributes:
        user: Null for an application key that is nobody's.
        called: As the audit trail names whoever asks.
        permissions: What an application key's scopes leave of the roles.
    """

    user: User | None
    called: str
    organisation: OwnOrganisation
    roles: list[Granted]
    permissions: list[str]


class Session(TypedDict):
    """Where one is signed in.

    Attributes:
        present: Whether it is the one that asks.
        method: How it was signed in.
        ends_at: When it ends if nothing more is asked with it.
    """

    id: str
    present: bool
    method: str
    address: str
    user_agent: str
    began_at: str
    last_seen_at: str
    ends_at: str


class Sessions(TypedDict):
    """Where one is signed in."""

    sessions: list[Session]


class Ended(TypedDict):
    """How many sessions ended."""

    ended: int


class Enrolling(TypedDict):
    """A second factor to be set up.

    Attributes:
        secret: For the authenticator.
        uri: The same as what a QR code holds.
        ticket: To be sent with the first code.
    """

    secret: str
    uri: str
    ticket: str


class RecoveryCodes(TypedDict):
    """Codes that each stand once for the second factor; they are said once."""

    recovery_codes: list[str]


def where_from(request: Request[Any, Any, Any]) -> From:
    """Where a request came from, as tries are counted."""
    address = request.client.host if request.client is not None else ""
    return From(address, request.cookies.get(own_cookie(request, "device"), "")[:200])


@get("/account", opt={"permission": "signed_in"})
async def get_account(principal: Asker, tenant: OwnTenant, plane: Plane) -> Account:
    """Who one is, and what one may; ``user`` is null for an application key that is nobody's."""
    user = await plane.accounts.user(principal) if principal.user_id else None
    left = await plane.accounts.recovery_codes_left(user) if user is not None else 0
    return {
        "user": None if user is None else _user(user, left),
        "called": principal.user,
        "organisation": {"id": tenant.organisation.org_id, "name": tenant.organisation.name},
        "roles": _grants(principal),
        "permissions": sorted(
            {
                permission
                for grant in principal.grants
                for permission in grant.role.permissions
                if principal.may(permission)
            }
        ),
    }


@patch("/account", opt={"permission": "signed_in"})
async def change_account(data: JSONBody[ChangedAccount], principal: Asker, plane: Plane) -> User:
    """Take another name."""
    user = await plane.accounts.rename(principal, data.name, now_ms=plane.now_ms())
    return _user(user, await plane.accounts.recovery_codes_left(user))


@put("/account/password", status_code=204, opt={"permission": "signed_in"})
async def change_password(
    request: Request[Any, Any, Any], data: JSONBody[ChangedPassword], principal: Asker, plane: Plane
) -> None:
    """Take another password; every other session ends."""
    await plane.accounts.change_password(
        principal, current=data.current_password, new=data.new_password, where=where_from(request),
        now_ms=plane.now_ms(),
    )  # fmt: skip


@get("/account/sessions", opt={"permission": "signed_in"})
async def list_sessions(principal: Asker, plane: Plane) -> Sessions:
    """Where one is signed in."""
    found = await plane.accounts.sessions(principal, now_ms=plane.now_ms())
    return {"sessions": [_session(one) for one in found]}


@delete("/account/sessions/{session_id:str}", status_code=204, opt={"permission": "signed_in"})
async def end_session(session_id: FromPath[str], principal: Asker, plane: Plane) -> None:
    """Sign out somewhere."""
    await asyncio.to_thread(plane.sessions.end_one, principal, session_id, now_ms=plane.now_ms())


@post("/account/sessions:end-others", status_code=200, opt={"permission": "signed_in"})
async def end_other_sessions(principal: Asker, plane: Plane) -> Ended:
    """Sign out everywhere else."""
    ended = await asyncio.to_thread(plane.sessions.end_others, principal, now_ms=plane.now_ms())
    return {"ended": ended}


@post("/account/second-factor", status_code=200, opt={"permission": "signed_in"})
async def begin_second_factor(
    request: Request[Any, Any, Any], data: JSONBody[Proof], principal: Asker, plane: Plane
) -> Enrolling:
    """A second factor to be set up: put the secret into an authenticator, then confirm with its code."""
    begun = await plane.accounts.begin_second_factor(
        principal, password=data.password, where=where_from(request), now_ms=plane.now_ms()
    )
    return _enrolment(begun)


@post("/account/second-factor:confirm", status_code=200, opt={"permission": "signed_in"})
async def confirm_second_factor(data: JSONBody[FirstCode], principal: Asker, plane: Plane) -> RecoveryCodes:
    """Switch the second factor on; the recovery codes are in this answer and nowhere else."""
    codes = await plane.accounts.confirm_second_factor(
        principal, data.ticket, data.code, now_ms=plane.now_ms()
    )
    return {"recovery_codes": list(codes)}


@post(
    "/account/second-factor:remove", status_code=204, opt={"permission": "signed_in"},
    operation_id="remove_own_second_factor",
)  # fmt: skip
async def remove_second_factor(
    request: Request[Any, Any, Any], data: JSONBody[Proof], principal: Asker, plane: Plane
) -> None:
    """Sign in with the password alone again."""
    await plane.accounts.remove_second_factor(
        principal, password=data.password, where=where_from(request), now_ms=plane.now_ms()
    )


@post("/account/recovery-codes", status_code=200, opt={"permission": "signed_in"})
async def new_recovery_codes(
    request: Request[Any, Any, Any], data: JSONBody[Proof], principal: Asker, plane: Plane
) -> RecoveryCodes:
    """Fresh recovery codes; those before are gone."""
    codes = await plane.accounts.new_recovery_codes(
        principal, password=data.password, where=where_from(request), now_ms=plane.now_ms()
    )
    return {"recovery_codes": list(codes)}


def _user(user: UserRow, recovery_codes_left: int) -> User:
    return {
        "id": user.user_id,
        "email": user.email,
        "name": user.name,
        "has_password": user.password_hash is not None,
        "second_factor": user.has_second_factor,
        "recovery_codes_left": recovery_codes_left,
        "created_at": time(user.created_ms),
        "last_sign_in_at": time_or_none(user.last_sign_in_ms),
    }


def _grants(principal: Principal) -> list[Granted]:
    return [
        {
            "role_id": grant.role.role_id,
            "role": grant.role.name,
            "services": sorted(grant.services),
            "envs": sorted(grant.envs),
        }
        for grant in principal.grants
    ]


def _session(seen: Seen) -> Session:
    row = seen.session
    return {
        "id": row.session_id,
        "present": seen.is_present,
        "method": row.method,
        "address": row.address,
        "user_agent": row.user_agent,
        "began_at": time(row.began_ms),
        "last_seen_at": time(row.last_seen_ms),
        "ends_at": time(min(row.began_ms + ABSOLUTE_MS, row.last_seen_ms + IDLE_MS)),
    }


def _enrolment(enrolment: Enrolment) -> Enrolling:
    return {"secret": enrolment.secret, "uri": enrolment.uri, "ticket": enrolment.ticket}


HANDLERS = [
    get_account,
    change_account,
    change_password,
    list_sessions,
    end_session,
    end_other_sessions,
    begin_second_factor,
    confirm_second_factor,
    remove_second_factor,
    new_recovery_codes,
]
