"""Installing agents: the files that anybody may have, and the command, which needs ``agent_enroll``."""

from __future__ import annotations

import asyncio
from typing import TypedDict

import msgspec
from litestar import Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath, JSONBody

from sealwire.server import install
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import rows
from sealwire.server.tenant import Tenant

DEFAULT_KEY_NAME = "first agents"


class NewCommand(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A command to make: the name of its fresh API key."""

    name: str = DEFAULT_KEY_NAME


class MadeCommandKey(TypedDict):
    """The API key of a command."""

    id: str
    name: str
    last4: str


class MadeCommand(TypedDict):
    """A command that installs an agent; it is said once.

    Attributes:
        encrypted: Whether what it fetches and sends travels encrypted.
        this_machine_only: Whether this server can be reached from this machine alone.
    """

    command: str
    encrypted: bool
    this_machine_only: bool
    key: MadeCommandKey


class InstalledFile(TypedDict):
    """A file that an installation fetches."""

    path: str
    sha256: str
    bytes: int


class Installation(TypedDict):
    """What an installation fetches, and what pins it."""

    url: str
    ca_fingerprint: str | None
    files: list[InstalledFile]


async def make_command(
    plane: ControlPlane, tenant: Tenant, *, name: str, by: str
) -> tuple[rows.ApiKeyRow, install.Command]:
    """A fresh API key and the line that installs an agent with it; the line is not kept."""
    await asyncio.to_thread(install.script)  # packs the wheel the first time
    install.command(plane, tenant, "0")  # before there is a key nobody can use
    row, secret = await asyncio.to_thread(
        plane.access.create_api_key, tenant.organisation.org_id, name=name, remote_config=True, by=by,
        now_ms=plane.now_ms(),
    )  # fmt: skip
    return row, install.command(plane, tenant, secret)


@post("/install/commands", opt={"permission": "agent_enroll"})
async def create_command(
    data: JSONBody[NewCommand], tenant: OwnTenant, principal: Asker, plane: Plane
) -> MadeCommand:
    """Make the command that installs an agent, with a fresh API key in it; both are in this answer alone."""
    row, made = await make_command(plane, tenant, name=data.name, by=principal.user)
    return {
        "command": made.line,
        "encrypted": made.encrypted,
        "this_machine_only": made.this_machine_only,
        "key": {"id": row.key_id, "name": row.name, "last4": row.last4},
    }


@get("/install", opt={"permission": "agent_enroll"})
async def describe_install(tenant: OwnTenant, plane: Plane) -> Installation:
    """What an installation fetches, and what pins it."""
    script = await asyncio.to_thread(install.script)
    return {
        "url": plane.url,
        "ca_fingerprint": install.ca_fingerprint(plane.ca_pem),
        "files": [
            {"path": f"{install.PREFIX}/{file.name}", "sha256": file.sha256, "bytes": len(file.content)}
            for file in (script, install.lock(), install.wheel())
        ],
    }


@get("/install/{name:path}", opt={"permission": "anybody"}, include_in_schema=False)
async def installed_file(name: FromPath[str], state: State) -> Response[bytes]:
    """A file that an installation needs."""
    plane: ControlPlane = state.plane
    found = await asyncio.to_thread(install.download, plane, name.removeprefix("/"))
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return Response(found.content, media_type=found.media_type, headers=headers)


HANDLERS = [create_command, describe_install]
OPEN_HANDLERS = [installed_file]
