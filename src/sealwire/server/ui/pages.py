"""The pages and their live screens: what an address gives. What is on them is made in a module each."""

from __future__ import annotations

from typing import Any, TypeAlias

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from sealwire.errors import NotFoundError
from sealwire.server.access.permissions import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.ui import client, fleet, home
from sealwire.server.ui.assets import FOREVER, assets
from sealwire.server.ui.live import Fragments, Rows, Viewers, Watcher
from sealwire.server.ui.render import macro, page

Asked: TypeAlias = Request[Any, Any, Any]
Watching: TypeAlias = NamedDependency[Watcher]


@get("/", opt={"permission": "fleet_read"}, include_in_schema=False)
async def show_home(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """How the fleet is, what needs attention, what was done last."""
    view = await home.view(tenant, plane, await tenant.overview.glance(), principal)
    return page(
        request, "home/home.html", title="Home", view=view, principal=principal, tenant=tenant,
    )  # fmt: skip


@get("/live/home", opt={"permission": "fleet_read"}, include_in_schema=False)
async def live_home(tenant: OwnTenant, plane: Plane, viewers: Watching, principal: Asker) -> Stream:
    """Home, as it changes."""
    parts = {
        name: macro("home/_parts.html", name)
        for name in (
            "first_steps", "facts", "signals", "attention", "probes", "propagation", "changes", "trust",
            "announcement",
        )
    }  # fmt: skip

    async def screen() -> Fragments:
        view = await home.view(tenant, plane, await tenant.overview.look(), principal)
        return {name: part(view) for name, part in parts.items()}

    return await viewers.stream(screen)


@get("/fleet", opt={"permission": "fleet_read"}, include_in_schema=False)
async def show_fleet(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """What runs where, what it was sent, and what it said."""
    view = fleet.view(await tenant.overview.glance(), dict(request.query_params))
    return page(
        request, "fleet/fleet.html", title="Fleet", view=view, principal=principal, tenant=tenant,
    )  # fmt: skip


@get("/live/fleet", opt={"permission": "fleet_read"}, include_in_schema=False)
async def live_fleet(request: Asked, tenant: OwnTenant, viewers: Watching, principal: Asker) -> Stream:
    """The rows of the fleet, as they change."""
    query = dict(request.query_params)
    row = macro("fleet/_parts.html", "row")
    parts = {
        name: macro("fleet/_parts.html", name)
        for name in ("facts", "tabs", "count", "nothing", "pager", "legend", "announcement")
    }

    async def screen() -> Fragments:
        view = fleet.view(await tenant.overview.look(), query)
        rows = {one.dom_id: row(one, view.tab) for one in view.rows}
        body = Rows('<tbody id="rows" role="rowgroup">', rows, "</tbody>")
        return {"rows": body, **{name: part(view) for name, part in parts.items()}}

    return await viewers.stream(screen)


@get("/fleet/clients/{client_id:path}", opt={"permission": "fleet_read"}, include_in_schema=False)
async def show_client(
    request: Asked, client_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """One tracer."""
    view = await client.view(tenant, await tenant.overview.glance(), client_id.removeprefix("/"), principal)
    return page(
        request, "fleet/client.html", title=view.title, view=view, principal=principal, tenant=tenant,
    )  # fmt: skip


@get("/live/client/{client_id:path}", opt={"permission": "fleet_read"}, include_in_schema=False)
async def live_client(
    client_id: FromPath[str], tenant: OwnTenant, viewers: Watching, principal: Asker
) -> Stream:
    """One tracer, as it changes."""
    parts = {
        name: macro("fleet/_client_parts.html", name)
        for name in ("standing", "seen", "files", "effective", "settings", "reasons")
    }

    async def screen() -> Fragments:
        view = await client.view(tenant, await tenant.overview.look(), client_id.removeprefix("/"), principal)
        return {name: part(view) for name, part in parts.items()}

    return await viewers.stream(screen)


@get("/static/{digest:str}/{path:path}", opt={"permission": "anybody"}, include_in_schema=False)
async def static_file(request: Asked, digest: FromPath[str], path: FromPath[str]) -> Response[bytes]:
    """A stylesheet, a script, a font."""
    known = assets()
    asset = known.files.get(path.removeprefix("/"))
    if asset is None:
        raise NotFoundError("There is no such file.")
    headers = {"Cache-Control": FOREVER if digest == known.digest else "no-cache", "Vary": "Accept-Encoding"}
    content = asset.content
    if asset.zipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        content = asset.zipped
    return Response(content, media_type=asset.media_type, headers=headers)


async def provide_viewers(state: State, principal: NamedDependency[Principal]) -> Watcher:
    """Who is watching, on this server."""
    viewers: Viewers = state.viewers
    return viewers.of(f"{principal.org_id} {principal.user_id or principal.user}")


HANDLERS = [show_home, live_home, show_fleet, live_fleet, show_client, live_client]
OPEN_HANDLERS = [static_file]
