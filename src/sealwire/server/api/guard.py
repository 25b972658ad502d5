"""Who may come in: every route of people passes ``permitted`` and declares its permission in ``opt``.

Several permissions, as a tuple, are alternatives: what they reach is decided inside.

A request carries an application key, or the cookie of a browser's session; the organisation is theirs. The
guard decides before anything of the request's body is read. Every route it guards is given ``principal``,
``tenant`` and ``plane``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from litestar import Request, Router
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.types import ControllerRouterHandler

from sealwire.errors import NotFoundError, NotPermittedError, UnauthenticatedError
from sealwire.server import audit
from sealwire.server.access import Principal
from sealwire.server.access.permissions import SIGNED_IN
from sealwire.server.control_plane import ControlPlane
from sealwire.server.tenant import Tenant


def permitted(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let nobody in without a key, nor beyond what its role may do.

    Raises:
        UnauthenticatedError: No key, or one that is not known.
        NotPermittedError: The route wants more than the role has.
    """
    secret = connection.headers.get("dd-application-key", "")
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        secret = token
    plane: ControlPlane = connection.app.state.plane
    session = connection.cookies.get(session_cookie(connection), "")
    principal = None
    if session and not secret:
        principal = plane.sessions.principal(
            session, now_ms=plane.now_ms(), by_itself=connection.scope["path"].startswith("/live/")
        )
        if principal is not None and connection.scope.get("method", "GET") not in ("GET", "HEAD", "OPTIONS"):
            audit.context().identify(principal, path=connection.scope["path"])
            from_own_page(connection)
    if principal is None:
        principal = _by_key(plane, secret)
    audit.context().identify(principal, path=connection.scope["path"])
    # The framework's own answer to OPTIONS declares none, and gives nothing.
    wanted = handler.opt.get("permission", SIGNED_IN)
    principal.require_any(*(wanted if isinstance(wanted, tuple) else (wanted,)))
    connection.state.principal = principal


def _by_key(plane: ControlPlane, secret: str) -> Principal:
    try:
        return plane.access.principal(secret)
    except UnauthenticatedError:
        if secret:  # Attack: guessing. Whose organisation it was meant for nobody knows.
            audit.refused(
                min(plane.tenants), actor="(unknown key)", action="access.refused",
                subject="application key", summary="Refused an application key that is not known here",
            )  # fmt: skip
        raise


def session_cookie(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The cookie of a session."""
    return own_cookie(connection, "session")


def own_cookie(connection: ASGIConnection[Any, Any, Any, Any], name: str) -> str:
    """A cookie of ours: under TLS one that no other host and no plain HTTP can set."""
    return f"__Host-sealwire_{name}" if connection.url.scheme == "https" else f"sealwire_{name}"


def from_own_page(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Attack: cross-site request forgery. A change by a browser comes from a page of this server.

    Raises:
        NotPermittedError: It comes from elsewhere, or does not say.
    """
    own = f"{connection.url.scheme}://{connection.headers.get('host', '')}"
    if connection.headers.get("origin", "") != own:
        raise NotPermittedError("This was not sent from a page of this control plane.")


async def provide_principal(request: Request[Any, Any, Any]) -> Principal:
    """Who asks."""
    principal: Principal = request.state.principal
    return principal


async def provide_tenant(state: State, principal: NamedDependency[Principal]) -> Tenant:
    """The organisation of whoever asks."""
    plane: ControlPlane = state.plane
    tenant = plane.tenants.get(principal.org_id)
    if tenant is None:
        raise NotFoundError("The organisation of this key is gone.")
    return tenant


async def provide_plane(state: State) -> ControlPlane:
    """The control plane itself."""
    plane: ControlPlane = state.plane
    return plane


Asker: TypeAlias = NamedDependency[Principal]
OwnTenant: TypeAlias = NamedDependency[Tenant]
Plane: TypeAlias = NamedDependency[ControlPlane]


def guarded(path: str, handlers: list[ControllerRouterHandler], **provided: Provide) -> Router:
    """Routes that only those get to who may, each given who asks and for which organisation."""
    return Router(
        path=path,
        route_handlers=handlers,
        guards=[permitted],
        dependencies={
            "principal": Provide(provide_principal),
            "tenant": Provide(provide_tenant),
            "plane": Provide(provide_plane),
            **provided,
        },
    )
