"""Trust in the admin API: both repositories, their roles and keys, the next root."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TypedDict

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from sealwire.errors import NotFoundError
from sealwire.server import install, standing
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.shapes import time
from sealwire.server.control_plane import ControlPlane
from sealwire.server.standing import Repository, Role
from sealwire.server.tenant import Tenant


class TrustedRole(TypedDict):
    """A role of a repository.

    Attributes:
        version: Of the newest document; null while there is none.
        documents: How many there are of the kind: one for each audience of a product.
        lifetime_days: From its signature to its expiry.
        threshold: How many of its keys must sign.
        keys_are: Where those keys are.
        renewed: When it is signed again.
    """

    name: str
    version: int | None
    documents: int
    signed_at: str | None
    expires: str | None
    lifetime_days: float
    key_ids: list[str]
    threshold: int
    keys_are: str
    renewed: str


class RepositorySaid(TypedDict):
    """A repository.

    Attributes:
        version: Of its root.
        expires: When its root does.
        roots_on_server: Whether this server can sign the next root by itself.
        root_keys_are: Where, in words.
        keys: How many root keys there are.
        threshold: How many of them must sign.
        first_root: Version 1, as agents are given it.
        latest_root: The newest, with the public keys of every role.
        published_version: The newest that was issued.
    """

    version: int
    expires: str | None
    expires_in_days: int
    roots_on_server: bool
    root_keys_are: str
    keys: int
    key_ids: list[str]
    threshold: int
    first_root: str
    first_root_sha256: str
    latest_root: str
    published_version: int
    roles: list[TrustedRole]


class Roots(TypedDict):
    """Both repositories, and what agents are given to trust.

    Attributes:
        repositories: director and config.
        ca_pem: The CA of this server's own certificate, where it has one.
    """

    repositories: dict[str, RepositorySaid]
    ca_pem: str | None
    ca_fingerprint: str | None
    url: str


class Renewed(TypedDict):
    """A root that was signed.

    Attributes:
        version: Of that root.
    """

    repository: str
    version: int


@get("/roots", opt={"permission": "rc_keys_read"})
async def list_roots(tenant: OwnTenant, plane: Plane) -> Roots:
    """Both repositories: roots, roles, keys and expiries; the version 1 texts for agents, and the CA."""
    return {
        "repositories": {one.name: _repository(one) for one in repositories(tenant, plane)},
        "ca_pem": plane.ca_pem,
        "ca_fingerprint": install.ca_fingerprint(plane.ca_pem),
        "url": plane.url,
    }


@post("/roots/{command:str}", status_code=200, opt={"permission": "rc_keys_manage"})
async def renew_root(command: FromPath[str], tenant: OwnTenant, principal: Asker) -> Renewed:
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


def _repository(one: Repository) -> RepositorySaid:
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
        "latest_root": one.latest_root,
        "published_version": one.version,
        "roles": [_role(role) for role in one.roles],
    }


def _role(role: Role) -> TrustedRole:
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
    return None if at is None else time(round(at.timestamp() * 1000))


HANDLERS: list[ControllerRouterHandler] = [list_roots, renew_root]
