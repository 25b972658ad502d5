"""Where Dynamic Instrumentation runs, and switching it, by the admin API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.debugger.authoring import services as running
from sealwire.server.debugger.authoring.desk import Switched
from sealwire.server.debugger.authoring.services import Service
from sealwire.server.fleet.overview import Fleet
from sealwire.server.tenant import Tenant

#: Whoever may not set how tracers are configured switches nothing; the products ask for more of their own.
SWITCH: Mapping[str, str] = {"permission": "apm_remote_configuration_write"}


class Switch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to switch; what is not given stays. Without environments: in every one of the service."""

    service: str
    envs: list[str] = msgspec.field(default_factory=list)
    dynamic_instrumentation: bool | None = None
    symbols: bool | None = None


class SwitchedSaid(TypedDict):
    """What configs say now; ``dynamic_instrumentation`` None: nothing."""

    dynamic_instrumentation: bool | None
    symbols: bool
    config_ids: list[str]


class ServiceSaid(TypedDict):
    """A service in an environment.

    Attributes:
        running: Clients that ask for probes.
        switchable: Clients that can be switched from here.
        needs: What must be done at the applications for the others.
        symbols_known: How many functions are known.
    """

    service: str
    env: str
    state: str
    clients: int
    running: int
    switchable: int
    languages: list[str]
    switched: SwitchedSaid
    needs: list[str]
    symbols_known: int


class Services(TypedDict):
    """Every service of the fleet."""

    services: list[ServiceSaid]


@get("/debugger/services", opt={"permission": "debugger_read"})
async def list_services(tenant: OwnTenant) -> Services:
    """Where Dynamic Instrumentation runs."""
    found = services_of(tenant, await tenant.overview.glance())
    known = [await tenant.symbols.summary(one.service, one.env) for one in found]
    return {
        "services": [
            {
                "service": one.service,
                "env": one.env,
                "state": one.state.value,
                "clients": one.clients,
                "running": one.running,
                "switchable": one.switchable,
                "languages": list(one.languages),
                "switched": _said(one.switched),
                "needs": list(running.needs(one)),
                "symbols_known": 0 if summary is None else summary.functions,
            }
            for one, summary in zip(found, known, strict=True)
        ]
    }


@post("/debugger/services", status_code=200, opt=SWITCH)
async def switch_service(
    data: JSONBody[Switch], tenant: OwnTenant, principal: Asker, plane: Plane
) -> SwitchedSaid:
    """Switch Dynamic Instrumentation, or the sending of symbols, on or off for a service."""
    return _said(await switch(plane, tenant, principal, data))


async def switch(plane: ControlPlane, tenant: Tenant, principal: Principal, wanted: Switch) -> Switched:
    """What the route and the page do.

    Raises:
        InvalidChangeError, NotPermittedError: As they say; nothing was changed.
    """
    return await tenant.probes.switch_on(
        principal, service=wanted.service, envs=tuple(wanted.envs),
        dynamic_instrumentation=wanted.dynamic_instrumentation, symbols=wanted.symbols, now=plane.clock(),
    )  # fmt: skip


def services_of(tenant: Tenant, fleet: Fleet) -> list[Service]:
    """Every service of the clients that are here."""
    return running.services(
        tenant.uptakes.here(fleet),
        tenant.probes.switches,
        lambda line: tenant.overview.facts_of(line).capabilities,
    )


def _said(switched: Switched) -> SwitchedSaid:
    return {
        "dynamic_instrumentation": switched.dynamic_instrumentation,
        "symbols": switched.symbols,
        "config_ids": list(switched.config_ids),
    }


HANDLERS = [list_services, switch_service]
