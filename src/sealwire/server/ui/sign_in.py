"""Signing in and out of the pages: with a password and a second factor, or with an application key.

However somebody proved who they are (a password, a link, a provider), ``enter`` is the one way on: it asks
for the second factor where there is one, begins a session with a new token, ends the one this browser had,
and makes the browser a known device. Answers are the same, and as slow, whether there is such a user or not.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.response import Redirect

from sealwire.errors import NotPermittedError, SealwireError, TooOftenError, UnauthenticatedError
from sealwire.server import audit
from sealwire.server.access import sessions, users
from sealwire.server.access.sessions import Browser
from sealwire.server.access.throttle import Try
from sealwire.server.api.guard import from_own_page, own_cookie, session_cookie
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store.people import UserRow
from sealwire.server.ui import forms, render
from sealwire.server.ui.forms import local_path

MAX_FORM_BYTES = 8192
DEVICE_S = 400 * 86400  # as long as browsers keep one
WRONG_PASSWORD = "Email or password is not right."
WRONG_CODE = (
    "This code is not right. It changes every 30 seconds and works once; wait for the next, or use a "
    "recovery code."
)


@dataclass(frozen=True, slots=True)
class SignInPage:
    """The form.

    Attributes:
        next_path: Where to go on, a path of this server.
        email: As typed before.
        wrong: Why it did not work with a password; may be empty.
        key_wrong: Why it did not work with an application key; may be empty.
        kept: What became of a form that was sent after the session had ended; may be empty.
        provider: Name of the provider one may sign in with; empty without.
        provider_href: Where that begins.
    """

    next_path: str
    email: str = ""
    wrong: str = ""
    key_wrong: str = ""
    kept: str = ""
    provider: str = ""
    provider_href: str = ""


@dataclass(frozen=True, slots=True)
class CodePage:
    """The second step; ``email`` is whose code is asked for."""

    next_path: str
    email: str
    wrong: str = ""


# The pages --------------------------------------------------------------------------------------------


@get("/sign-in", opt={"permission": "anybody"}, include_in_schema=False)
async def show_sign_in(request: Request[Any, Any, Any]) -> Response[str]:
    """The form."""
    return page(request, local_path(request.query_params.get("next", "/")))


@post("/sign-in", opt={"permission": "anybody"}, status_code=303, include_in_schema=False)
async def sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """Begin a session, or say why not."""
    from_own_page(request)
    form = await forms.read(request, max_bytes=MAX_FORM_BYTES)
    next_path = local_path(form.raw("next"))
    if "application_key" in form.fields:
        return await _with_key(request, form.raw("application_key"), next_path)
    email = form.text("email")
    plane = _plane(request)
    account = users.email_key(email)
    try:
        begun = plane.throttle.try_from(address_of(request), account=account, device=device_of(request))
        user = await _by_password(plane, email, form.raw("password"), begun)
    except (UnauthenticatedError, TooOftenError) as error:
        return page(request, next_path, email=email, wrong=error)
    return await enter(request, user, method=sessions.PASSWORD, next_path=next_path, begun=begun)


async def _with_key(request: Request[Any, Any, Any], key: str, next_path: str) -> Response[Any]:
    plane = _plane(request)
    try:
        begun = plane.throttle.try_from(address_of(request))
        token = await asyncio.to_thread(
            plane.sessions.begin_with_key, key, browser_of(request), now_ms=plane.now_ms()
        )
    except (UnauthenticatedError, TooOftenError) as error:
        return page(request, next_path, key_wrong=error)
    begun.does_not_count()
    await _end_present(request)
    return Redirect(next_path, status_code=303, cookies=[cookie(request, "session", token)])


async def _by_password(plane: ControlPlane, email: str, password: str, begun: Try) -> UserRow:
    """Who has this email and this password.

    Raises:
        UnauthenticatedError: Nobody, or somebody who may not come in; which of it nobody is told.
        TooOftenError: Too many sign in at this moment.
    """
    user = await asyncio.to_thread(plane.users.by_email, email)
    known = user if user is not None and user.is_active else None
    try:
        compared = await plane.passwords.compare(known.password_hash if known else None, password)
    except TooOftenError:
        begun.does_not_count()
        raise
    if known is None or not compared.matches:
        if user is not None:
            audit.refused(
                user.org_id, actor=user.email, action="sign_in.refused", subject=f"user {user.user_id}",
                summary=f"Refused a sign-in as {users.title_of(user)}: wrong password, or not active",
            )  # fmt: skip
        raise UnauthenticatedError(WRONG_PASSWORD)
    if compared.new_hash is not None:
        await asyncio.to_thread(plane.users.renew_hash, known, compared.new_hash)
    return known


@get("/sign-in/code", opt={"permission": "anybody"}, include_in_schema=False)
async def show_code(request: Request[Any, Any, Any]) -> Response[Any]:
    """The second step."""
    next_path = local_path(request.query_params.get("next", "/"))
    user = await _half(request)
    if user is None:
        return Redirect(sign_in_href(next_path), status_code=303)
    return _code_page(request, CodePage(next_path, user.email))


@post("/sign-in/code", opt={"permission": "anybody"}, status_code=303, include_in_schema=False)
async def take_code(request: Request[Any, Any, Any]) -> Response[Any]:
    """Begin the session when the code is right."""
    from_own_page(request)
    form = await forms.read(request, max_bytes=MAX_FORM_BYTES)
    next_path = local_path(form.raw("next"))
    user = await _half(request)
    if user is None:
        return page(request, next_path, wrong=UnauthenticatedError("This took too long: sign in again."))
    plane = _plane(request)
    try:
        begun = plane.throttle.try_code(
            address_of(request), account=user.email_key, device=device_of(request)
        )
    except TooOftenError as error:
        return _code_page(request, CodePage(next_path, user.email, error.public), error)
    if not await asyncio.to_thread(plane.second_factors.check, user, form.raw("code"), now_ms=plane.now_ms()):
        audit.refused(
            user.org_id, actor=user.email, action="sign_in.refused", subject=f"user {user.user_id}",
            summary=f"Refused a sign-in as {users.title_of(user)}: right password, wrong second factor",
        )  # fmt: skip
        refused = UnauthenticatedError(WRONG_CODE)
        return _code_page(request, CodePage(next_path, user.email, refused.public), refused)
    await asyncio.to_thread(
        plane.sessions.end, request.cookies.get(own_cookie(request, "half"), ""), now_ms=plane.now_ms()
    )
    return await enter(request, user, method=sessions.PASSWORD_AND_CODE, next_path=next_path, begun=begun)


@post("/sign-out", opt={"permission": "anybody"}, status_code=303, include_in_schema=False)
async def sign_out(request: Request[Any, Any, Any]) -> Redirect:
    """End the session."""
    from_own_page(request)
    await _end_present(request)
    gone = [_gone(request, name) for name in ("session", "half")]
    # Drafts that this browser kept belong to whoever leaves.
    return Redirect("/sign-in", status_code=303, cookies=gone, headers={"Clear-Site-Data": '"storage"'})


# What others use --------------------------------------------------------------------------------------


async def enter(
    request: Request[Any, Any, Any],
    user: UserRow,
    *,
    method: str,
    next_path: str,
    begun: Try | None = None,
) -> Response[Any]:
    """Let somebody in who proved who they are: a session, or first the second step.

    Args:
        method: One of ``sessions``: what they proved it with. After ``OPENID`` no code is asked for.
        next_path: Where to go on; anything but a path of this server is the first page.
        begun: The try that this was.
    """
    plane, browser, now_ms = _plane(request), browser_of(request), _plane(request).now_ms()
    next_path = local_path(next_path)
    if method == sessions.PASSWORD and user.has_second_factor:
        if begun is not None:
            begun.does_not_count()
        token = await asyncio.to_thread(plane.sessions.begin_half, user, browser, now_ms=now_ms)
        half = cookie(request, "half", token, max_age=sessions.HALF_MS // 1000)
        where = f"/sign-in/code?next={quote(next_path, safe='/')}"
        return Redirect(where, status_code=303, cookies=[half])
    try:
        # Attack: session fixation. The token is always a new one, whatever cookie came.
        token = await asyncio.to_thread(plane.sessions.begin, user, browser, method=method, now_ms=now_ms)
    except UnauthenticatedError as error:
        return page(request, next_path, email=user.email, wrong=error)
    if begun is not None:
        begun.succeeded()
    await _end_present(request)
    device = plane.throttle.new_device(user.email_key, device_of(request))
    cookies = [
        cookie(request, "session", token),
        cookie(request, "device", device, max_age=DEVICE_S),
        _gone(request, "half"),
    ]
    return Redirect(next_path, status_code=303, cookies=cookies)


def page(
    request: Request[Any, Any, Any],
    next_path: str,
    *,
    email: str = "",
    wrong: SealwireError | None = None,
    key_wrong: SealwireError | None = None,
    kept: str = "",
    status_code: int = 200,
) -> Response[str]:
    """The sign-in form; an error sets the status."""
    provider = _plane(request).oidc
    view = SignInPage(
        local_path(next_path), email[: users.MAX_EMAIL_CHARS], wrong.public if wrong else "",
        key_wrong.public if key_wrong else "", kept, provider.name if provider else "",
        f"/sign-in/oidc?next={quote(local_path(next_path), safe='/')}" if provider else "",
    )  # fmt: skip
    answer = render.page(
        request,
        "sign_in/sign_in.html",
        title="Sign in",
        view=view,
        principal=None,
        tenant=None,
        status_code=status_code,
    )
    return _with_error(answer, wrong or key_wrong)


def sign_in_href(next_path: str) -> str:
    """The form, and where to go on after it."""
    return f"/sign-in?next={quote(local_path(next_path), safe='/')}"


def cookie(request: Request[Any, Any, Any], name: str, value: str, *, max_age: int | None = None) -> Cookie:
    """A cookie that neither scripts, nor other hosts, nor plain HTTP get to."""
    return Cookie(
        key=own_cookie(request, name),
        value=value,
        path="/",
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="lax",
        max_age=max_age,
    )


def browser_of(request: Request[Any, Any, Any]) -> Browser:
    """Where somebody sits."""
    return Browser(address_of(request), request.headers.get("user-agent", ""))


def address_of(request: Request[Any, Any, Any]) -> str:
    """The address a request came from."""
    return request.client.host if request.client is not None else ""


def device_of(request: Request[Any, Any, Any]) -> str:
    """The cookie of a known device, untrusted; empty when there is none."""
    return request.cookies.get(own_cookie(request, "device"), "")[:200]


# Small ones -------------------------------------------------------------------------------------------


def _plane(request: Request[Any, Any, Any]) -> ControlPlane:
    plane: ControlPlane = request.app.state.plane
    return plane


async def _half(request: Request[Any, Any, Any]) -> UserRow | None:
    plane = _plane(request)
    token = request.cookies.get(own_cookie(request, "half"), "")
    return await asyncio.to_thread(plane.sessions.of_half, token, now_ms=plane.now_ms()) if token else None


async def _end_present(request: Request[Any, Any, Any]) -> None:
    """End the session this browser has, if it has one."""
    token = request.cookies.get(session_cookie(request), "")
    if token:
        plane = _plane(request)
        await asyncio.to_thread(plane.sessions.end, token, now_ms=plane.now_ms())


def _gone(request: Request[Any, Any, Any], name: str) -> Cookie:
    return cookie(request, name, "", max_age=0)


def _code_page(
    request: Request[Any, Any, Any], view: CodePage, error: SealwireError | None = None
) -> Response[str]:
    answer = render.page(
        request, "sign_in/code.html", title="Second factor", view=view, principal=None, tenant=None
    )
    return _with_error(answer, error)


def _with_error(answer: Response[str], error: SealwireError | None) -> Response[str]:
    match error:
        case TooOftenError():
            answer.status_code = 429
            answer.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
        case UnauthenticatedError():
            answer.status_code = 401
        case NotPermittedError():
            answer.status_code = 403
    return answer


OPEN_HANDLERS = [show_sign_in, sign_in, show_code, take_code, sign_out]
