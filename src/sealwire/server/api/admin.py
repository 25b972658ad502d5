"""The admin API: everything people and the command line do. JSON, problem details, OpenAPI.

A request carries an application key; the organisation is the key's. A route declares its permission in
``opt``, and the guard reads it before anything of the request's body is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import orjson
from litestar import Router, delete, get, patch, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from sealwire.errors import InvalidChangeError, NotFoundError, NotPermittedError, Problem
from sealwire.products import PRODUCTS
from sealwire.products import get as get_product
from sealwire.server import organisation as organisations
from sealwire.server.api import install, webhooks
from sealwire.server.api.guard import Asker, OwnTenant, Plane, guarded
from sealwire.server.control_plane import ControlPlane
from sealwire.server.editing import Editor, readable_products
from sealwire.server.explain import FileState, client_state, count_states
from sealwire.server.store import read, rows
from sealwire.server.tenant import Tenant

_MISSING = msgspec.UNSET


class NewConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A config to make, or to try."""

    product: str
    payload: Any
    name: str = ""
    targeting: dict[str, Any] = msgspec.field(default_factory=dict)
    comment: str = ""
    expires_at: str | None = None


class ChangedConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of a config: what is not given stays."""

    expected_revision: int
    payload: Any = _MISSING
    name: str | msgspec.UnsetType = _MISSING
    targeting: dict[str, Any] | msgspec.UnsetType = _MISSING
    comment: str | msgspec.UnsetType = _MISSING
    expires_at: str | msgspec.UnsetType | None = _MISSING


class NewKey(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An API key to make."""

    name: str
    remote_config: bool


class ChangedKey(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of an API key."""

    name: str | None = None
    remote_config: bool | None = None


class NewOrganisation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An organisation to make."""

    name: str


# Who --------------------------------------------------------------------------------------------------


@get("/whoami", opt={"permission": "signed_in"})
async def whoami(principal: Asker, tenant: OwnTenant) -> dict[str, Any]:
    """Who the key belongs to."""
    return {
        "user": principal.user,
        "role": principal.role,
        "org_id": tenant.organisation.org_id,
        "org_name": tenant.organisation.name,
        "org_uuid": tenant.organisation.uuid,
    }


# Configs ----------------------------------------------------------------------------------------------


@get("/configs", opt={"permission": "rc_config_read"})
async def list_configs(
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    product: FromQuery[str | None] = None,
    config_state: Annotated[str, QueryParameter(name="state")] = "active",
) -> dict[str, Any]:
    """Configs, last changed first."""
    if config_state not in ("active", "retired", "all"):
        raise InvalidChangeError(
            "state is one of active, retired, all.", problems=(Problem("$.state", "active, retired or all"),)
        )
    wanted = None if config_state == "all" else config_state
    if product is not None:
        get_product(product)

    def load() -> list[rows.ConfigRow]:
        with plane.database.read() as c:
            return read.configs(c, tenant.organisation.org_id, product=product, state=wanted)

    found = await asyncio.to_thread(load)
    deliveries = await _deliveries(tenant)
    readable = readable_products(principal)
    return {"configs": [_config(row, deliveries) for row in found if row.product in readable]}


@post("/configs", opt={"permission": "rc_config_publish"})
async def create_config(
    data: JSONBody[NewConfig], tenant: OwnTenant, principal: Asker, plane: Plane
) -> dict[str, Any]:
    """Make a config; it is published at once."""
    row, draft = await Editor(tenant, principal, now=plane.clock()).create(msgspec.structs.asdict(data))
    return {**_config(row, {}), "warnings": _problems(draft.warnings)}


@post("/configs:check", status_code=200, opt={"permission": "rc_config_read"})
async def check_config(
    data: JSONBody[NewConfig], tenant: OwnTenant, principal: Asker, plane: Plane
) -> dict[str, Any]:
    """Try a config without making it: its problems, and how many live clients it is for."""
    try:
        draft = await Editor(tenant, principal, now=plane.clock()).check(msgspec.structs.asdict(data))
    except InvalidChangeError as error:
        return {"problems": _problems(error.problems), "warnings": [], "matches": 0}
    matching = [
        facts.client_id
        for session in tenant.distributor.sessions.values()
        if session.demand is not None
        for facts in session.demand.agent.clients
        if draft.targeting.matches(facts)
    ]
    return {"problems": [], "warnings": _problems(draft.warnings), "matches": len(matching)}


@get("/configs/{config_id:str}", opt={"permission": "rc_config_read"})
async def get_config(
    config_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane
) -> dict[str, Any]:
    """One config."""
    row = await Editor(tenant, principal, now=plane.clock()).get(config_id)
    return _config(row, await _deliveries(tenant))


@put("/configs/{config_id:str}", opt={"permission": "rc_config_publish"})
async def change_config(
    config_id: FromPath[str], data: JSONBody[ChangedConfig], tenant: OwnTenant, principal: Asker, plane: Plane
) -> dict[str, Any]:
    """Change a config; ``expected_revision`` is the one its author saw."""
    fields = {
        name: value
        for name in ("payload", "name", "targeting", "comment", "expires_at")
        if (value := getattr(data, name)) is not _MISSING
    }
    row, draft = await Editor(tenant, principal, now=plane.clock()).change(
        config_id, fields, expected_revision=data.expected_revision
    )
    # Nothing has become of it yet; to look would compete with its publication.
    return {**_config(row, {}), "warnings": _problems(draft.warnings)}


@delete("/configs/{config_id:str}", status_code=200, opt={"permission": "rc_config_publish"})
async def retire_config(
    config_id: FromPath[str],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    expected_revision: FromQuery[int | None] = None,
) -> dict[str, Any]:
    """Retire a config: its values go back everywhere; its history stays."""
    row = await Editor(tenant, principal, now=plane.clock()).retire(
        config_id, expected_revision=expected_revision
    )
    return _config(row, {})


@get("/configs/{config_id:str}/history", opt={"permission": "rc_config_read"})
async def config_history(
    config_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane
) -> dict[str, Any]:
    """Every revision, newest first."""
    await Editor(tenant, principal, now=plane.clock()).get(config_id)

    def load() -> list[rows.RevisionRow]:
        with plane.database.read() as c:
            return read.revisions(c, tenant.organisation.org_id, config_id)

    return {
        "revisions": [
            {
                "revision": row.revision,
                "name": row.name,
                "targeting": row.targeting,
                "payload": orjson.loads(row.payload),
                "state": row.state,
                "at": _time(row.at_ms),
                "by": row.by,
                "comment": row.comment,
            }
            for row in await asyncio.to_thread(load)
        ]
    }


@get("/products", opt={"permission": "rc_config_read"})
async def list_products() -> dict[str, Any]:
    """What can be configured, with the JSON schema of each."""
    return {
        "products": [
            {
                "name": product.name,
                "title": product.title,
                "summary": product.summary,
                "merged": product.single_file,
                "schema": product.json_schema(),
            }
            for product in PRODUCTS.values()
        ]
    }


# Fleet ------------------------------------------------------------------------------------------------


@get("/clients", opt={"permission": "fleet_read"})
async def list_clients(tenant: OwnTenant, service: FromQuery[str | None] = None) -> dict[str, Any]:
    """Clients of the last day: who has what, and how far."""
    clients, states, agents = await tenant.fleet()
    by_agent = {agent.agent_id: agent for agent in agents}
    now = time.time()
    listed = []
    for client in clients:
        if service is not None and client.facts.get("service") != service:
            continue
        agent = by_agent.get(client.agent_id)
        session = tenant.distributor.sessions.get(client.agent_id)
        live = session is not None and client.client_id in session.reported
        seen = tenant.last_seen(agent) if live and agent is not None else client.last_seen_ms / 1000
        files = states[client.client_id]
        state = client_state(files, age_s=now - seen, agent_error=agent.error if agent is not None else "")
        listed.append(
            {
                "client_id": client.client_id,
                **{
                    name: client.facts.get(name, "")
                    for name in (
                        "runtime_id",
                        "service",
                        "env",
                        "language",
                        "tracer_version",
                        "app_version",
                        "kind",
                    )
                },
                "products": client.facts.get("products", []),
                "agent": agent.hostname if agent is not None else "",
                "agent_id": client.agent_id,
                "first_seen": _time(client.first_seen_ms),
                "last_seen": _time(int(seen * 1000)),
                "age_s": round(max(0.0, now - seen), 1),
                "state": state.value,
                "error": client.error,
                "targets_version": client.targets_version,
                "configs": [_file(file) for file in files],
            }
        )
    return {"clients": listed}


@get("/agents", opt={"permission": "fleet_read"})
async def list_agents(tenant: OwnTenant) -> dict[str, Any]:
    """Agents that asked, and how they are."""
    clients, _, agents = await tenant.fleet()
    behind: dict[str, int] = {}
    for client in clients:
        behind[client.agent_id] = behind.get(client.agent_id, 0) + 1
    listed = []
    now = time.time()
    for agent in agents:
        session = tenant.distributor.sessions.get(agent.agent_id)
        seen = tenant.last_seen(agent)
        current = session.bundle.version if session is not None and session.bundle is not None else None
        if now - seen > 120:
            state = "silent"
        elif agent.error.startswith("tuf:"):
            state = "refused"
        elif agent.error.startswith("api:"):
            state = "failed"
        elif current is not None and agent.director_version < current:
            state = "behind"
        else:
            state = "in_step"
        listed.append(
            {
                "agent_id": agent.agent_id,
                "hostname": agent.hostname,
                "version": agent.version,
                "tags": list(agent.tags),
                "first_seen": _time(agent.first_seen_ms),
                "last_seen": _time(int(seen * 1000)),
                "age_s": round(max(0.0, now - seen), 1),
                "error": agent.error,
                "state": state,
                "director_version": agent.director_version,
                "wanted_version": current,
                "clients": behind.get(agent.agent_id, 0),
                "waiting": bool(session is not None and session.waiters),
            }
        )
    return {"agents": listed}


# Keys -------------------------------------------------------------------------------------------------


@get("/keys", opt={"permission": "api_keys_read"})
async def list_keys(tenant: OwnTenant, plane: Plane) -> dict[str, Any]:
    """API keys, without their secrets."""

    def load() -> list[rows.ApiKeyRow]:
        plane.access.flush_use()
        with plane.database.read() as c:
            return read.api_keys(c, tenant.organisation.org_id)

    return {"keys": [_key(row) for row in await asyncio.to_thread(load)]}


@post("/keys", opt={"permission": "api_keys_write"})
async def create_key(
    data: JSONBody[NewKey], tenant: OwnTenant, principal: Asker, plane: Plane
) -> dict[str, Any]:
    """Make an API key; its secret is in this answer and nowhere else."""
    row, secret = await asyncio.to_thread(
        plane.access.create_api_key, tenant.organisation.org_id, name=data.name,
        remote_config=data.remote_config, by=principal.user, now_ms=plane.now_ms(),
    )  # fmt: skip
    return {**_key(row), "key": secret}


@patch("/keys/{key_id:str}", opt={"permission": "api_keys_write"})
async def change_key(
    key_id: FromPath[str], data: JSONBody[ChangedKey], tenant: OwnTenant, principal: Asker, plane: Plane
) -> dict[str, Any]:
    """Rename an API key, give or take its scope."""
    await asyncio.to_thread(
        plane.access.change_api_key, tenant.organisation.org_id, key_id, name=data.name,
        remote_config=data.remote_config, by=principal.user, now_ms=plane.now_ms(),
    )  # fmt: skip
    return await _one_key(plane, tenant, key_id)


@delete("/keys/{key_id:str}", status_code=200, opt={"permission": "api_keys_delete"})
async def revoke_key(
    key_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane
) -> dict[str, Any]:
    """Revoke an API key for good."""
    await asyncio.to_thread(
        plane.access.revoke_api_key, tenant.organisation.org_id, key_id, by=principal.user,
        now_ms=plane.now_ms(),
    )  # fmt: skip
    return await _one_key(plane, tenant, key_id)


async def _one_key(plane: ControlPlane, tenant: Tenant, key_id: str) -> dict[str, Any]:
    def load() -> list[rows.ApiKeyRow]:
        with plane.database.read() as c:
            return read.api_keys(c, tenant.organisation.org_id)

    return next(_key(row) for row in await asyncio.to_thread(load) if row.key_id == key_id)


# Trust, organisations, audit --------------------------------------------------------------------------


@get("/roots", opt={"permission": "rc_keys_read"})
async def list_roots(tenant: OwnTenant, plane: Plane) -> dict[str, Any]:
    """Both repositories' roots, the version 1 texts for agents, and the CA."""
    roots = tenant.publisher.roots
    return {
        "repositories": {
            name: organisations.root_summary(
                list(chain), roots_on_server=tenant.organisation.roots_on_server, now=plane.clock()
            )
            for name, chain in (("director", roots.director), ("config", roots.config))
        },
        "ca_pem": plane.ca_pem,
        "url": plane.url,
    }


@post("/roots/{command:str}", status_code=200, opt={"permission": "rc_keys_manage"})
async def renew_root(command: FromPath[str], tenant: OwnTenant, principal: Asker) -> dict[str, Any]:
    """``director:rotate``, ``config:rotate``, ``director:recover``, ``config:recover``."""
    repository, _, action = command.partition(":")
    if action not in ("rotate", "recover"):
        raise NotFoundError("There are rotate and recover, as in director:rotate.")
    version = await asyncio.to_thread(
        tenant.rotate, repository, recover=action == "recover", by=principal.user
    )
    tenant.reconciler.reload()
    await tenant.reconciler.settle(timeout_s=5)
    return {"repository": repository, "version": version}


@get("/orgs", opt={"permission": "org_management"})
async def list_organisations(plane: Plane, principal: Asker) -> dict[str, Any]:
    """One's own organisation; to administrators of the first, every organisation on this server."""
    return {
        "orgs": [
            _organisation(tenant.organisation)
            for org_id, tenant in plane.tenants.items()
            if org_id == principal.org_id or plane.is_operator(principal.org_id)
        ]
    }


@post("/orgs", opt={"permission": "org_management"})
async def create_organisation(
    data: JSONBody[NewOrganisation], plane: Plane, principal: Asker
) -> dict[str, Any]:
    """Make an organisation with a trust domain of its own; its first application key is in the answer.

    Raises:
        NotPermittedError: Not an administrator of the first organisation, which runs the server.
    """
    if not plane.is_operator(principal.org_id):
        raise NotPermittedError("Organisations are made by administrators of this server's first one.")
    made, secret = await plane.create_organisation(data.name, by=principal.user)
    return {**_organisation(made), "application_key": secret}


@get("/audit", opt={"permission": "audit_logs_read"})
async def list_audit(
    tenant: OwnTenant,
    plane: Plane,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    before: Annotated[int | None, QueryParameter(ge=1, le=2**53)] = None,
) -> dict[str, Any]:
    """What was done, newest first."""

    def load() -> list[rows.AuditRow]:
        with plane.database.read() as c:
            return read.audit(c, tenant.organisation.org_id, limit=limit, before=before)

    return {
        "events": [
            {
                "id": row.id,
                "at": _time(row.at_ms),
                "actor": row.actor,
                "action": row.action,
                "subject": row.subject,
                "summary": row.summary,
                "detail": row.detail,
            }
            for row in await asyncio.to_thread(load)
        ]
    }


@get("/status", opt={"permission": "signed_in"})
async def status(tenant: OwnTenant, plane: Plane) -> dict[str, Any]:
    """How this control plane is."""
    await tenant.observer.flush()

    def load() -> list[rows.AlarmRow]:
        with plane.database.read() as c:
            return read.open_alarms(c, tenant.organisation.org_id)

    publisher = tenant.publisher
    return {
        "version": plane.version,
        "url": plane.url,
        "organisation": _organisation(tenant.organisation),
        "director_version": publisher.director_version,
        "config_version": publisher.config_version,
        "configs": len(publisher.catalogue.active),
        "agents": len(tenant.distributor.sessions),
        "polls": tenant.distributor.polls,
        "last_publish_took_s": round(tenant.reconciler.last_took_s, 4),
        "alarms": [
            {"at": _time(row.at_ms), "kind": row.kind, "subject": row.subject, "message": row.message}
            for row in await asyncio.to_thread(load)
        ],
    }


# Shapes -----------------------------------------------------------------------------------------------


async def _deliveries(tenant: Tenant) -> Mapping[str, list[FileState]]:
    """Config id -> what became of it in each client that shall have it."""
    _, states, _ = await tenant.fleet()
    found: dict[str, list[FileState]] = {}
    for files in states.values():
        for file in files:
            for config_id in file.config_ids:
                found.setdefault(config_id, []).append(file)
    return found


def _config(row: rows.ConfigRow, deliveries: Mapping[str, list[FileState]]) -> dict[str, Any]:
    return {
        "id": row.config_id,
        "product": row.product,
        "name": row.name,
        "targeting": row.targeting,
        "payload": orjson.loads(row.payload),
        "revision": row.revision,
        "state": row.state,
        "created_at": _time(row.created_ms),
        "updated_at": _time(row.updated_ms),
        "updated_by": row.updated_by,
        "comment": row.comment,
        "expires_at": None if row.expires_ms is None else _time(row.expires_ms),
        "deliveries": count_states(deliveries.get(row.config_id, [])),
    }


def _file(file: FileState) -> dict[str, Any]:
    return {
        "product": file.product,
        "config_ids": list(file.config_ids),
        "path": file.path,
        "version": file.version,
        "reported_version": file.reported_version,
        "state": file.state.value,
        "error": file.error,
        "since": None if file.since_ms is None else _time(file.since_ms),
        "saved_at": _time(file.saved_ms),
        "acknowledged_at": None if file.acknowledged_ms is None else _time(file.acknowledged_ms),
        "took_s": file.took_s,
        "provenance": dict(file.provenance),
    }


def _key(row: rows.ApiKeyRow) -> dict[str, Any]:
    return {
        "id": row.key_id,
        "name": row.name,
        "last4": row.last4,
        "remote_config": row.remote_config,
        "created_at": _time(row.created_ms),
        "created_by": row.created_by,
        "last_used_at": None if row.last_used_ms is None else _time(row.last_used_ms),
        "revoked_at": None if row.revoked_ms is None else _time(row.revoked_ms),
    }


def _organisation(row: rows.Organisation) -> dict[str, Any]:
    return {
        "org_id": row.org_id,
        "uuid": row.uuid,
        "name": row.name,
        "remote_config": row.remote_config,
        "roots_on_server": row.roots_on_server,
        "created_at": _time(row.created_ms),
    }


def _problems(problems: tuple[Problem, ...]) -> list[dict[str, str]]:
    return [{"path": problem.path, "message": problem.message} for problem in problems]


def _time(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds") + "Z"


# Each module of the API lists its routes as ``HANDLERS``.
_MODULES = (install, webhooks)


def router() -> Router:
    """All routes of the admin API."""
    handlers: list[ControllerRouterHandler] = [
        whoami, list_configs, create_config, check_config, get_config, change_config, retire_config,
        config_history, list_products, list_clients, list_agents, list_keys, create_key, change_key,
        revoke_key, list_roots, renew_root, list_organisations, create_organisation, list_audit, status,
    ]  # fmt: skip
    for module in _MODULES:
        handlers.extend(module.HANDLERS)
    return guarded("/api/admin/v1", handlers)
