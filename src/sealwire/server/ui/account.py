"""One's own account: name, password, second factor, sessions. Linked from the foot of the navigation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from litestar import Request, Response, get, post
from litestar.params import FromPath
from markupsafe import Markup

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, TooOftenError
from sealwire.server.access import Principal
from sealwire.server.access.passwords import MIN_CHARS
from sealwire.server.access.roles import reach_words
from sealwire.server.access.sessions import Seen
from sealwire.server.access.totp import Enrolment
from sealwire.server.api.account import where_from
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.render import moment, page
from sealwire.server.ui.views import Moment

Asked: TypeAlias = Request[Any, Any, Any]
METHODS = {
    "password": "Password",
    "password+totp": "Password and second factor",
    "oidc": "Provider",
    "application_key": "Application key",
}
HAS_ONE = "You have a second factor. Remove it first, to set up another."


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session: where, how and since when.

    Attributes:
        device: The browser and system it says it is.
        user_agent: Its own words.
        is_present: It is the one that looks at this page.
    """

    session_id: str
    device: str
    user_agent: str
    address: str
    method: str
    began: Moment
    last_seen: Moment
    is_present: bool


@dataclass(frozen=True, slots=True)
class AccountPage:
    """The account.

    Attributes:
        email: Empty for an application key that is nobody's; then there is little else.
        called: How the audit trail calls whoever asks.
        roles: Each with what it is for.
        last_seen: Of the sign-in before.
        wrong: What is wrong, by field of any of the forms.
        open_form: The folded form that was sent and not taken: ``codes`` or ``remove``.
    """

    email: str
    name: str
    called: str
    roles: tuple[str, ...]
    has_password: bool
    has_second_factor: bool
    recovery_codes_left: int
    sessions: tuple[SessionView, ...]
    min_chars: int
    wrong: Mapping[str, str]
    open_form: str = ""
    may_have_keys: bool = False


@dataclass(frozen=True, slots=True)
class ProvePage:
    """Before a second factor is set up.

    Attributes:
        wrong: What was wrong with the password; may be empty.
    """

    email: str
    has_password: bool
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class SetUpPage:
    """A second factor being set up.

    Attributes:
        secret: To be typed where the code cannot be scanned.
        qr: Made here out of nothing but black and white squares.
        wrong: What was wrong with its first code; may be empty.
    """

    secret: str
    qr: Markup
    ticket: str
    wrong: str


@dataclass(frozen=True, slots=True)
class CodesPage:
    """Recovery codes, shown once; ``fresh`` when the second factor came with them."""

    codes: tuple[str, ...]
    fresh: bool


@get("/account", opt={"permission": "signed_in"}, include_in_schema=False)
async def show_account(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Everything of one's own."""
    return await _page(request, principal, tenant, plane)


@post("/account/name", opt={"permission": "signed_in"}, status_code=303, include_in_schema=False)
async def rename(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Take another name."""
    form = await forms.read(request)
    try:
        await plane.accounts.rename(principal, form.text("name"), now_ms=plane.now_ms())
    except InvalidChangeError as error:
        return await _page(request, principal, tenant, plane, error, name=form.text("name"))
    return forms.went("/account", "Saved your name.")


@post("/account/password", opt={"permission": "signed_in"}, status_code=303, include_in_schema=False)
async def change_password(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Take another password."""
    form = await forms.read(request)
    if form.raw("new_password") != form.raw("again"):
        return await _page(request, principal, tenant, plane, wrong={"again": "These two differ."})
    try:
        await plane.accounts.change_password(
            principal, current=form.raw("current_password"), new=form.raw("new_password"),
            where=where_from(request), now_ms=plane.now_ms(),
        )  # fmt: skip
    except (InvalidChangeError, TooOftenError) as error:
        return await _page(request, principal, tenant, plane, error, field="current_password")
    return forms.went("/account", "Changed your password. Every other session of yours has ended.")


@get("/account/second-factor", opt={"permission": "signed_in"}, include_in_schema=False)
async def show_second_factor(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """The password first: with a browser left open nobody locks its owner out."""
    user = await plane.accounts.user(principal)
    if user.has_second_factor:
        return forms.did_not("/account", HAS_ONE)
    return _prove_page(request, principal, tenant, ProvePage(user.email, user.password_hash is not None))


@post("/account/second-factor/begin", opt={"permission": "signed_in"}, status_code=200,
      include_in_schema=False)  # fmt: skip
async def begin_second_factor(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Set a second factor up; nothing is stored yet."""
    form = await forms.read(request)
    try:
        enrolment = await plane.accounts.begin_second_factor(
            principal, password=form.raw("password"), where=where_from(request), now_ms=plane.now_ms()
        )
    except ConflictError:
        return forms.did_not("/account", HAS_ONE)
    except (InvalidChangeError, TooOftenError) as error:
        user = await plane.accounts.user(principal)
        view = ProvePage(user.email, user.password_hash is not None, error.public)
        return _prove_page(
            request, principal, tenant, view, status_code=429 if isinstance(error, TooOftenError) else 422
        )
    return _set_up_page(request, principal, tenant, enrolment)


@post("/account/second-factor", opt={"permission": "signed_in"}, status_code=200, include_in_schema=False)
async def confirm_second_factor(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Switch it on with its first code; shows the recovery codes once."""
    form = await forms.read(request)
    ticket, now_ms = form.raw("ticket"), plane.now_ms()
    try:
        codes = await plane.accounts.confirm_second_factor(principal, ticket, form.raw("code"), now_ms=now_ms)
    except InvalidChangeError as error:
        enrolment = await plane.accounts.same_second_factor(principal, ticket, now_ms=now_ms)
        return _set_up_page(request, principal, tenant, enrolment, error.public)
    except ConflictError as error:
        return forms.did_not("/account", error.public)
    return _codes_page(request, principal, tenant, CodesPage(codes, fresh=True))


@post("/account/second-factor/remove", opt={"permission": "signed_in"}, status_code=303,
      include_in_schema=False)  # fmt: skip
async def remove_second_factor(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Sign in with the password alone again."""
    form = await forms.read(request)
    try:
        await plane.accounts.remove_second_factor(
            principal, password=form.raw("remove_password"), where=where_from(request), now_ms=plane.now_ms()
        )
    except (InvalidChangeError, TooOftenError) as error:
        return await _page(
            request, principal, tenant, plane, wrong={"remove_password": error.public}, open_form="remove"
        )
    except NotFoundError as error:
        return forms.did_not("/account", error.public)
    return forms.went("/account", "Removed the second factor. Your password alone signs you in.")


@post("/account/recovery-codes", opt={"permission": "signed_in"}, status_code=200, include_in_schema=False)
async def new_recovery_codes(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Fresh recovery codes, shown once."""
    form = await forms.read(request)
    try:
        codes = await plane.accounts.new_recovery_codes(
            principal, password=form.raw("codes_password"), where=where_from(request), now_ms=plane.now_ms()
        )
    except (InvalidChangeError, TooOftenError) as error:
        return await _page(
            request, principal, tenant, plane, wrong={"codes_password": error.public}, open_form="codes"
        )
    except ConflictError as error:
        return forms.did_not("/account", error.public)
    return _codes_page(request, principal, tenant, CodesPage(codes, fresh=False))


@post("/account/sessions/{session_id:str}/end", opt={"permission": "signed_in"}, status_code=303,
      include_in_schema=False)  # fmt: skip
async def end_session(session_id: FromPath[str], principal: Asker, plane: Plane) -> Response[Any]:
    """Sign out somewhere."""
    try:
        await asyncio.to_thread(plane.sessions.end_one, principal, session_id, now_ms=plane.now_ms())
    except NotFoundError as error:
        return forms.did_not("/account", error.public)
    if session_id == principal.session_id:
        return forms.went("/sign-in")
    return forms.went("/account", "Signed out there.")


@post("/account/sessions/end-others", opt={"permission": "signed_in"}, status_code=303,
      include_in_schema=False)  # fmt: skip
async def end_others(principal: Asker, plane: Plane) -> Response[Any]:
    """Sign out everywhere else."""
    ended = await asyncio.to_thread(plane.sessions.end_others, principal, now_ms=plane.now_ms())
    return forms.went("/account", f"Ended {ended} other session{'' if ended == 1 else 's'}.")


async def _page(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    error: InvalidChangeError | TooOftenError | None = None,
    *,
    wrong: Mapping[str, str] | None = None,
    field: str = "",
    name: str | None = None,
    open_form: str = "",
) -> Response[str]:
    user = await plane.accounts.user(principal) if principal.user_id else None
    found = dict(wrong or {})
    if isinstance(error, InvalidChangeError):
        found.update({one.path.removeprefix("$."): one.message for one in error.problems})
    elif error is not None:
        found[field] = error.public
    seen = await plane.accounts.sessions(principal, now_ms=plane.now_ms())
    view = AccountPage(
        email=user.email if user else "",
        name=name if name is not None else user.name if user else "",
        called=principal.user,
        roles=tuple(
            f"{grant.role.name}{reach_words(grant.services, grant.envs)}" for grant in principal.grants
        ),
        has_password=user is not None and user.password_hash is not None,
        has_second_factor=user is not None and user.has_second_factor,
        recovery_codes_left=await plane.accounts.recovery_codes_left(user) if user else 0,
        sessions=tuple(_session(one) for one in seen),
        min_chars=MIN_CHARS,
        wrong=found,
        open_form=open_form,
        may_have_keys=principal.may("user_app_keys"),
    )
    status = 429 if isinstance(error, TooOftenError) else 422 if found else 200
    return page(
        request, "account/account.html", title="Your account", view=view, principal=principal,
        tenant=tenant, status_code=status,
    )  # fmt: skip


def _prove_page(
    request: Asked, principal: Principal, tenant: Tenant, view: ProvePage, *, status_code: int = 200
) -> Response[str]:
    return page(
        request, "account/second_factor_password.html", title="Set up a second factor", view=view,
        principal=principal, tenant=tenant, status_code=status_code,
    )  # fmt: skip


def _set_up_page(
    request: Asked, principal: Principal, tenant: Tenant, begun: Enrolment, wrong: str = ""
) -> Response[str]:
    view = SetUpPage(begun.secret, Markup(begun.qr), begun.ticket, wrong)
    return page(
        request, "account/second_factor.html", title="Set up a second factor", view=view,
        principal=principal, tenant=tenant, status_code=422 if view.wrong else 200,
    )  # fmt: skip


def _codes_page(request: Asked, principal: Principal, tenant: Tenant, view: CodesPage) -> Response[str]:
    return page(
        request, "account/recovery_codes.html", title="Recovery codes", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


def _session(seen: Seen) -> SessionView:
    row = seen.session
    return SessionView(
        row.session_id, device_words(row.user_agent), row.user_agent, row.address,
        METHODS.get(row.method, row.method), moment(row.began_ms / 1000), moment(row.last_seen_ms / 1000),
        seen.is_present,
    )  # fmt: skip


_BROWSERS = (
    (re.compile(r"Edg(?:e|A|iOS)?/(\d+)"), "Edge"),
    (re.compile(r"OPR/(\d+)"), "Opera"),
    (re.compile(r"Firefox/(\d+)"), "Firefox"),
    (re.compile(r"(?:Headless)?Chrome/(\d+)"), "Chrome"),
    (re.compile(r"Version/(\d+)[\d.]* (?:Mobile/\S+ )?Safari"), "Safari"),
)
_SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "CrOS", "Linux")


def device_words(user_agent: str) -> str:
    """A browser and its system, as people call them; what it says of itself when it is neither."""
    browser = next(
        (f"{name} {found[1]}" for pattern, name in _BROWSERS if (found := pattern.search(user_agent))), ""
    )
    system = next((name for name in _SYSTEMS if name in user_agent), "").replace("Mac OS X", "macOS")
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or user_agent[:60] or "Unknown device"


HANDLERS = [
    show_account,
    rename,
    change_password,
    show_second_factor,
    begin_second_factor,
    confirm_second_factor,
    remove_second_factor,
    new_recovery_codes,
    end_session,
    end_others,
]
