"""Links that work once: ``/join/<token>`` sets a password and signs in, for whatever the link was made.

Looking at the page uses nothing up. The first run asks for an email and a name besides; who comes by an
invitation or after a lost password is shown who they are.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from sealwire.errors import InvalidChangeError, NotFoundError, Problem, TooOftenError
from sealwire.server.access import links, sessions
from sealwire.server.access.links import Opened
from sealwire.server.access.passwords import MIN_CHARS
from sealwire.server.api.guard import from_own_page
from sealwire.server.control_plane import ControlPlane
from sealwire.server.ui import forms, render, sign_in
from sealwire.server.ui.views import Moment

START_PATH = "/start"
_TITLES = {
    links.FIRST_RUN: "Welcome to Sealwire",
    links.INVITATION: "Join Sealwire",
    links.PASSWORD_RESET: "Set a new password",
}


@dataclass(frozen=True, slots=True)
class JoinPage:
    """The form of a link.

    Attributes:
        kind: Of the link: ``first_run``, ``invitation``, ``password_reset``.
        email, name: Of the user; of the first run as typed.
        wrong: What is wrong, by field: ``email``, ``name``, ``password``, ``again``.
        second_factor: A code is asked for after this.
    """

    path: str
    kind: str
    title: str
    organisation: str
    email: str
    name: str
    expires: Moment
    min_chars: int
    wrong: dict[str, str]
    second_factor: bool


@dataclass(frozen=True, slots=True)
class GonePage:
    """A link that does not work, or no more; ``text`` says what to do."""

    text: str


@get("/join/{token:str}", opt={"permission": "anybody"}, include_in_schema=False)
async def show_join(request: Request[Any, Any, Any], token: FromPath[str]) -> Response[str]:
    """What the link is for."""
    plane: ControlPlane = request.app.state.plane
    try:
        opened = await asyncio.to_thread(plane.links.open, token, now_ms=plane.now_ms())
    except NotFoundError as error:
        return _gone(request, error)
    return _page(request, opened, token)


@post("/join/{token:str}", opt={"permission": "anybody"}, status_code=303, include_in_schema=False)
async def join(request: Request[Any, Any, Any], token: FromPath[str]) -> Response[Any]:
    """Use the link up: set the password, and sign in."""
    from_own_page(request)
    form = await forms.read(request, max_bytes=sign_in.MAX_FORM_BYTES)
    plane: ControlPlane = request.app.state.plane
    email, name, password = form.text("email"), form.text("name"), form.raw("password")
    try:
        opened = await asyncio.to_thread(plane.links.open, token, now_ms=plane.now_ms())
        if password != form.raw("again"):
            return _page(request, opened, token, email, name, (Problem("$.again", "These two differ."),))
        user = await plane.links.join(token, password=password, email=email, name=name, now_ms=plane.now_ms())
    except NotFoundError as error:
        return _gone(request, error)
    except InvalidChangeError as error:
        return _page(request, opened, token, email, name, error.problems)
    except TooOftenError as error:
        return _page(request, opened, token, email, name, (Problem("$.password", error.public),), status=429)
    first = opened.link.kind == links.FIRST_RUN and _has(request, START_PATH)
    return await sign_in.enter(
        request, user, method=sessions.PASSWORD, next_path=START_PATH if first else "/"
    )


def _has(request: Request[Any, Any, Any], path: str) -> bool:
    return any(route.path == path for route in request.app.routes)


def _page(
    request: Request[Any, Any, Any],
    opened: Opened,
    token: str,
    email: str = "",
    name: str = "",
    problems: tuple[Problem, ...] = (),
    *,
    status: int = 422,
) -> Response[str]:
    plane: ControlPlane = request.app.state.plane
    user = opened.user
    tenant = plane.tenants.get(opened.link.org_id)
    view = JoinPage(
        path=links.path_of(token),
        kind=opened.link.kind,
        title=_TITLES[opened.link.kind],
        organisation=tenant.organisation.name if tenant is not None else "",
        email=email if user is None else user.email,
        name=name if user is None else user.name,
        expires=render.moment(opened.link.expires_ms / 1000),
        min_chars=MIN_CHARS,
        wrong={problem.path.removeprefix("$."): problem.message for problem in problems},
        second_factor=user is not None and user.has_second_factor,
    )
    return render.page(
        request, "sign_in/join.html", title=view.title, view=view, principal=None, tenant=None,
        status_code=status if problems else 200,
    )  # fmt: skip


def _gone(request: Request[Any, Any, Any], error: NotFoundError) -> Response[str]:
    return render.page(
        request, "sign_in/gone.html", title="This link does not work", view=GonePage(error.public),
        principal=None, tenant=None, status_code=404,
    )  # fmt: skip


OPEN_HANDLERS = [show_join, join]
