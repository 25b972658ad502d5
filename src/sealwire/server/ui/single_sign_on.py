"""Signing in by the provider of the settings: to it, and back.

The way there begins with a link, because the policy of the pages lets forms lead to this server only. What
the browser carries meanwhile is in a cookie that goes with it; where it goes on after is in there too, and
is a path of this server.

Coming back does not count as a try to sign in: there is nothing to guess, and any site can make a browser
ask for an address of ours, so that others could use up the tries of whoever sits there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from litestar import Request, Response, get
from litestar.datastructures import Cookie
from litestar.response import Redirect

from sealwire.errors import NotFoundError, NotPermittedError, SealwireError, UnavailableError
from sealwire.server import audit
from sealwire.server.access import oidc, sessions
from sealwire.server.access.oidc import JOURNEY_S, Provider, Vouched
from sealwire.server.api import problems
from sealwire.server.api.guard import own_cookie
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store.people import UserRow
from sealwire.server.ui import render, sign_in
from sealwire.server.ui.forms import local_path

BEGIN_PATH, BACK_PATH = "/sign-in/oidc", "/sign-in/oidc/callback"
_COOKIE = "journey"


@dataclass(frozen=True, slots=True)
class RefusedPage:
    """Why somebody did not come in by the provider; ``again_href`` begins anew."""

    provider: str
    text: str
    again_href: str


@get(BEGIN_PATH, opt={"permission": "anybody"}, include_in_schema=False)
async def begin(request: Request[Any, Any, Any]) -> Response[Any]:
    """Send the browser to the provider."""
    plane, provider = _provider(request)
    next_path = local_path(request.query_params.get("next", "/"))
    try:
        url, carried = await provider.begin(redirect_uri=plane.url + BACK_PATH, next_path=next_path)
    except UnavailableError as error:
        return _refused(request, provider, error)
    return Redirect(url, status_code=303, cookies=[_cookie(request, carried, JOURNEY_S)])


@get(BACK_PATH, opt={"permission": "anybody"}, include_in_schema=False)
async def come_back(request: Request[Any, Any, Any]) -> Response[Any]:
    """Let in whom the provider vouches for, when they are somebody here."""
    plane, provider = _provider(request)
    carried = request.cookies.get(own_cookie(request, _COOKIE), "")
    try:
        vouched, next_path = await provider.finish(
            carried, dict(request.query_params), redirect_uri=plane.url + BACK_PATH
        )
        user = await asyncio.to_thread(_admit, plane, vouched)
    except NotPermittedError as error:
        audit.refused(
            min(plane.tenants), actor=f"(by {provider.name})", action="sign_in.refused",
            subject=f"provider {provider.issuer}", summary=f"Refused a sign-in: {error.public}",
        )  # fmt: skip
        return _refused(request, provider, error)
    except UnavailableError as error:
        return _refused(request, provider, error)
    answer = await sign_in.enter(request, user, method=sessions.OPENID, next_path=next_path)
    answer.set_cookie(_cookie(request, "", 0))
    return answer


def _admit(plane: ControlPlane, vouched: Vouched) -> UserRow:
    with plane.database.write() as c:
        user = oidc.admit(c, vouched, plane.settings, org_id=min(plane.tenants), now_ms=plane.now_ms())
    plane.access.reload()
    return user


def _provider(request: Request[Any, Any, Any]) -> tuple[ControlPlane, Provider]:
    plane: ControlPlane = request.app.state.plane
    if plane.oidc is None:
        raise NotFoundError("No provider of OpenID Connect is set on this server.")
    return plane, plane.oidc


def _cookie(request: Request[Any, Any, Any], value: str, max_age: int) -> Cookie:
    return sign_in.cookie(request, _COOKIE, value, max_age=max_age)


def _refused(request: Request[Any, Any, Any], provider: Provider, error: SealwireError) -> Response[str]:
    status, _, _ = problems.status_of(error)
    answer = render.page(
        request, "people/not_let_in.html", title="Not signed in",
        view=RefusedPage(provider.name, error.public, BEGIN_PATH), principal=None, tenant=None,
        status_code=status,
    )  # fmt: skip
    answer.set_cookie(_cookie(request, "", 0))
    return answer


OPEN_HANDLERS = [begin, come_back]
