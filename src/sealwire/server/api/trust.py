"""Trust in the admin API: both repositories, their roles and keys, the next root."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from sealwire.errors import NotFoundError
from sealwire.server import install, standing
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.standing import Repository, Role
from sealwire.server.tenant import Tenant


@get("/roots", opt={"permission": "rc_keys_read"})
async def list_roots(tenant: OwnTenant, plane: Plane) -> dict[str, Any]:
    """Both repositories: roots, roles, keys and expiries; the version 1 texts for agents, and the CA."""
    return {
        "repositories": {one.name: _repository(one) for one in repositories(tenant, plane)},
        "ca_pem": plane.ca_pem,
        "ca_fingerprint": install.ca_fingerprint(plane.ca_pem),
        "url": plane.url,
    }


@post("/roots/{command:str}", status_code=200, opt={"permission": "rc_keys_manage"})
async def renew_root(command: FromPath[str], tenant: OwnTenant, principal: Asker) -> dict[str, Any]:
    """``director:rotate``, ``config:rotate``, ``director:recover``, ``config:recover``."""
    repository, _, action = command.partition(":")
    if action not in ("rotate", "recover"):
        raise NotFoundError("There are rotate and recover, as in director:rotate.")
    version = await renew(tenant, principal, repository, recover=action == "recover")
    return {"repository": repository, "version": version}


def repositories(tenant: Tenant, plane: ControlPlane) -> tuple[Repository, ...]:
    """Where both repositories stand."""
    folder = str(plane.keyring.root_folder(tenant.organisation.uuid))
    return standing.repositories(tenant.publisher, plane.settings, root_folder=folder, now=plane.clock())


async def renew(tenant: Tenant, principal: Principal, repository: str, *, recover: bool) -> int:
    """Sign the next root of a repository, and everything below it; the root's version.

    Raises:
        InvalidChangeError, SettingsError: As they say.
    """
    version = await asyncio.to_thread(tenant.rotate, repository, recover=recover, by=principal.user)
    tenant.reconciler.reload()
    await tenant.reconciler.settle(timeout_s=5)
    return version


def _repository(one: Repository) -> dict[str, Any]:
    return {
        "version": one.root_version,
        "expires": _time(one.root_expires),
        "expires_in_days": one.root_days,
        "roots_on_server": one.roots_on_server,
        "root_keys_are": one.root_keys_are,
        "keys": len(one.root_key_ids),
        "key_ids": list(one.root_key_ids),
        "threshold": one.root_threshold,
        "first_root": one.first_root,
        "first_root_sha256": one.first_root_sha256,
        "published_version": one.version,
        "roles": [_role(role) for role in one.roles],
    }


def _role(role: Role) -> dict[str, Any]:
    return {
        "name": role.name,
        "version": role.version,
        "documents": role.documents,
        "signed_at": _time(role.signed),
        "expires": _time(role.expires),
        "lifetime_days": role.lifetime_days,
        "key_ids": list(role.key_ids),
        "threshold": role.threshold,
        "keys_are": role.keys_are,
        "renewed": role.renewed,
    }


def _time(at: datetime | None) -> str | None:
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


HANDLERS: list[ControllerRouterHandler] = [list_roots, renew_root]
