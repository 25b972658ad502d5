"""The admin API: everything people and the command line do. JSON, problem details, OpenAPI.

A request carries an application key; the organisation is the key's. A route declares its permission in
``opt``, and the guard reads it before anything of the request's body is.
"""

from __future__ import annotations

import asyncio
from typing import TypedDict

import msgspec
from litestar import Router, get, post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from sealwire.errors import NotPermittedError
from sealwire.server.api import (
    account,
    audit,
    configs,
    debugger_expressions,
    debugger_probes,
    debugger_series,
    debugger_services,
    debugger_snapshots,
    debugger_symbols,
    fleet,
    install,
    keys,
    people,
    propagation,
    protect,
    protect_lists,
    protect_policies,
    protect_policies_rules,
    security_rules,
    security_signals,
    security_traces,
    settings,
    shapes,
    support,
    trust,
    waf,
    webhooks,
)
from sealwire.server.api.guard import Asker, OwnTenant, Plane, guarded
from sealwire.server.store import read, rows


class NewOrganisation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An organisation to make."""

    name: str


class Whoami(TypedDict):
    """Whose an application key is.

    Attributes:
        role: The names of the roles.
    """

    user: str
    role: str
    org_id: int
    org_name: str
    org_uuid: str


class Organisation(TypedDict):
    """An organisation.

    Attributes:
        remote_config: Whether Remote Configuration is on in it.
        roots_on_server: Whether this server can sign the next roots by itself.
    """

    org_id: int
    uuid: str
    name: str
    remote_config: bool
    roots_on_server: bool
    created_at: str


class Organisations(TypedDict):
    """Organisations of this server."""

    orgs: list[Organisation]


class MadeOrganisation(Organisation):
    """An organisation that was made just now.

    Attributes:
        application_key: Of its first administrator; it is said once.
    """

    application_key: str


class Alarm(TypedDict):
    """Something that somebody has to look at."""

    at: str
    kind: str
    subject: str
    message: str


class Status(TypedDict):
    """How a control plane is.

    Attributes:
        version: Of the program.
        director_version, config_version: The newest versions of both repositories.
        configs: How many are active.
        agents: How many asked since the start.
        polls: How many were answered since the start.
        last_publish_took_s: From a change to its being signed.
        alarms: Those that are open.
    """

    version: str
    url: str
    organisation: Organisation
    director_version: int
    config_version: int
    configs: int
    agents: int
    polls: int
    last_publish_took_s: float
    alarms: list[Alarm]


# Who --------------------------------------------------------------------------------------------------


@get("/whoami", opt={"permission": "signed_in"})
async def whoami(principal: Asker, tenant: OwnTenant) -> Whoami:
    """Who the key belongs to."""
    return {
        "user": principal.user,
        "role": principal.role,
        "org_id": tenant.organisation.org_id,
        "org_name": tenant.organisation.name,
        "org_uuid": tenant.organisation.uuid,
    }


# Organisations ------------------------------------------------------------------------------------------


@get("/orgs", opt={"permission": "org_management"})
async def list_organisations(plane: Plane, principal: Asker) -> Organisations:
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
) -> MadeOrganisation:
    """Make an organisation with a trust domain of its own; its first application key is in the answer.

    Raises:
        NotPermittedError: Not an administrator of the first organisation, which runs the server.
    """
    if not plane.is_operator(principal.org_id):
        raise NotPermittedError("Organisations are made by administrators of this server's first one.")
    made, secret = await plane.create_organisation(data.name, by=principal.user)
    return {**_organisation(made), "application_key": secret}


@get("/status", opt={"permission": "signed_in"})
async def status(tenant: OwnTenant, plane: Plane) -> Status:
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


def _organisation(row: rows.Organisation) -> Organisation:
    return {
        "org_id": row.org_id,
        "uuid": row.uuid,
        "name": row.name,
        "remote_config": row.remote_config,
        "roots_on_server": row.roots_on_server,
        "created_at": shapes.time(row.created_ms),
    }


# Each module of the API lists its routes as ``HANDLERS``.
_MODULES = (
    account,
    audit,
    configs,
    debugger_expressions,
    debugger_probes,
    debugger_services,
    debugger_series,
    debugger_snapshots,
    debugger_symbols,
    fleet,
    install,
    keys,
    people,
    propagation,
    protect,
    protect_lists,
    protect_policies,
    protect_policies_rules,
    security_rules,
    security_signals,
    security_traces,
    settings,
    support,
    trust,
    waf,
    webhooks,
)


def router() -> Router:
    """All routes of the admin API."""
    handlers: list[ControllerRouterHandler] = [
        whoami, list_organisations, create_organisation, status,
    ]  # fmt: skip
    for module in _MODULES:
        handlers.extend(module.HANDLERS)
    return guarded("/api/admin/v1", handlers)
