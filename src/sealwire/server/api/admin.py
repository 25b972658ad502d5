"""The admin API: everything people and the command line do. JSON, problem details, OpenAPI.

A request carries an application key; the organisation is the key's. A route declares its permission in
``opt``, and the guard reads it before anything of the request's body is.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from litestar import Router, get, post
from litestar.params import FromQuery, JSONBody
from litestar.types import ControllerRouterHandler

from sealwire.errors import NotPermittedError
from sealwire.server.api import (
    audit,
    configs,
    install,
    keys,
    people,
    protect,
    settings,
    shapes,
    trust,
    webhooks,
)
from sealwire.server.api.guard import Asker, OwnTenant, Plane, guarded
from sealwire.server.explain import client_state
from sealwire.server.store import read, rows


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
                "first_seen": shapes.time(client.first_seen_ms),
                "last_seen": shapes.time(int(seen * 1000)),
                "age_s": round(max(0.0, now - seen), 1),
                "state": state.value,
                "error": client.error,
                "targets_version": client.targets_version,
                "configs": [shapes.file(file) for file in files],
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
                "first_seen": shapes.time(agent.first_seen_ms),
                "last_seen": shapes.time(int(seen * 1000)),
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


# Organisations ------------------------------------------------------------------------------------------


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
            {"at": shapes.time(row.at_ms), "kind": row.kind, "subject": row.subject, "message": row.message}
            for row in await asyncio.to_thread(load)
        ],
    }


# Shapes -----------------------------------------------------------------------------------------------


def _organisation(row: rows.Organisation) -> dict[str, Any]:
    return {
        "org_id": row.org_id,
        "uuid": row.uuid,
        "name": row.name,
        "remote_config": row.remote_config,
        "roots_on_server": row.roots_on_server,
        "created_at": shapes.time(row.created_ms),
    }


# Each module of the API lists its routes as ``HANDLERS``.
_MODULES = (audit, configs, install, keys, people, protect, settings, trust, webhooks)


def router() -> Router:
    """All routes of the admin API."""
    handlers: list[ControllerRouterHandler] = [
        whoami, list_clients, list_agents, list_organisations, create_organisation, status,
    ]  # fmt: skip
    for module in _MODULES:
        handlers.extend(module.HANDLERS)
    return guarded("/api/admin/v1", handlers)
