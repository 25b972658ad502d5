"""Signing in and out of the pages, with an application key."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.response import Redirect

from sealwire.errors import NotPermittedError, UnauthenticatedError
from sealwire.server.api.guard import from_own_page, session_cookie
from sealwire.server.control_plane import ControlPlane
from sealwire.server.ui import render
from sealwire.server.ui.answers import local_path
from sealwire.server.ui.views import SignInPage

MAX_FORM_BYTES = 8192


@get("/sign-in", opt={"permission": "anybody"}, include_in_schema=False)
async def show_sign_in(request: Request[Any, Any, Any]) -> Response[str]:
    """The form."""
    return _page(request, local_path(request.query_params.get("next", "/")), "", 200)


@post("/sign-in", opt={"permission": "anybody"}, status_code=303, include_in_schema=False)
async def sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """Begin a session, or say why not."""
    from_own_page(request)
    form = parse_qs((await request.body())[:MAX_FORM_BYTES].decode("utf-8", "replace"), max_num_fields=10)
    next_path = local_path(form.get("next", ["/"])[0])
    plane: ControlPlane = request.app.state.plane
    address = request.client.host if request.client is not None else ""
    try:
        token = plane.sessions.sign_in(
            form.get("application_key", [""])[0], address=address, now=time.monotonic()
        )
    except UnauthenticatedError as error:
        return _page(request, next_path, error.public, 401)
    except NotPermittedError as error:
        return _page(request, next_path, error.public, 429)
    # Attack: session fixation. The token is always a new one, whatever cookie came.
    return Redirect(next_path, status_code=303, cookies=[_cookie(request, token)])


@post("/sign-out", opt={"permission": "anybody"}, status_code=303, include_in_schema=False)
async def sign_out(request: Request[Any, Any, Any]) -> Redirect:
    """End the session."""
    from_own_page(request)
    plane: ControlPlane = request.app.state.plane
    plane.sessions.sign_out(request.cookies.get(session_cookie(request), ""))
    gone = _cookie(request, "")
    gone.max_age = 0
    return Redirect("/sign-in", status_code=303, cookies=[gone])


def _cookie(request: Request[Any, Any, Any], token: str) -> Cookie:
    return Cookie(
        key=session_cookie(request),
        value=token,
        path="/",
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="lax",
    )


def _page(request: Request[Any, Any, Any], next_path: str, wrong: str, status_code: int) -> Response[str]:
    return render.page(
        request,
        "sign_in.html",
        title="Sign in",
        view=SignInPage(next_path, wrong),
        principal=None,
        tenant=None,
        status_code=status_code,
    )


OPEN_HANDLERS = [show_sign_in, sign_in, sign_out]
