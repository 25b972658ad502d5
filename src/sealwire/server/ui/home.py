"""Home: how the fleet is, what needs attention, what was done last."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from sealwire.server import organisation as organisations
from sealwire.server.connection import Connection, Standing
from sealwire.server.control_plane import ControlPlane
from sealwire.server.explain import DeliveryState
from sealwire.server.overview import ClientLine, Fleet
from sealwire.server.store import read, rows
from sealwire.server.tenant import Tenant
from sealwire.server.ui import charts
from sealwire.server.ui.fleet import AGENTS, client_facts, href
from sealwire.server.ui.render import moment
from sealwire.server.ui.views import Change, Concern, HomePage, Moment, Repository, Status, connection_status

CHANGES = 8
CONCERNS = 8
HISTOGRAM_OVER_S = 86400.0
SIGNATURES_SOON_S = 2 * 86400.0
_EXPIRES = re.compile(rb'"expires":"([^"]{20,30})"')

_ICONS = {
    "config.created": "plus",
    "config.changed": "pencil",
    "config.retired": "trash-2",
    "organisation": "building-2",
    "root": "shield-check",
    "api_key": "key-round",
    "application_key": "key-round",
    "user": "user",
}


async def view(tenant: Tenant, plane: ControlPlane, fleet: Fleet) -> HomePage:
    """The home page as it is."""
    org_id = tenant.organisation.org_id

    def load() -> tuple[list[rows.AuditRow], list[rows.AlarmRow]]:
        with plane.database.read() as c:
            return read.audit(c, org_id, limit=CHANGES), read.open_alarms(c, org_id)

    audit, alarms = await asyncio.to_thread(load)
    concerns = [
        *_alarms(alarms),
        *_failing_configs(tenant, fleet.clients),
        *_agents(fleet),
        *_clients(fleet),
        *_trust(tenant, plane.clock()),
    ]
    publisher = tenant.publisher
    since_ms = (fleet.at_s - HISTOGRAM_OVER_S) * 1000
    histogram = charts.took(
        [
            file.took_s
            for line in fleet.clients
            for file in line.files
            if file.took_s is not None and (file.acknowledged_ms or 0) > since_ms
        ]
    )
    failing = fleet.client_states.get(Connection.DEGRADED, 0)
    return HomePage(
        organisation=tenant.organisation.name,
        facts=client_facts(fleet),
        histogram=histogram,
        concerns=tuple(concerns[:CONCERNS]),
        more_concerns=max(0, len(concerns) - CONCERNS),
        changes=tuple(_change(row) for row in audit),
        repositories=_repositories(tenant, plane.clock()),
        configs=len(publisher.catalogue.active),
        clients=len(fleet.clients),
        agents=len(fleet.agents),
        summary=f"{len(fleet.clients)} clients, {failing} with a config error, "
        f"{len(concerns)} things need attention.",
        live_href="/live/home",
    )


def _change(row: rows.AuditRow) -> Change:
    icon = _ICONS.get(row.action) or _ICONS.get(row.action.partition(".")[0], "activity")
    return Change(row.id, row.summary, row.actor, moment(row.at_ms / 1000), icon)


# What needs attention -----------------------------------------------------------------------------------


def _alarms(alarms: Iterable[rows.AlarmRow]) -> list[Concern]:
    status = Status("Alarm", "bad", "bell")
    return [
        Concern(status, alarm.subject, alarm.message, None, moment(alarm.at_ms / 1000)) for alarm in alarms
    ]


def _failing_configs(tenant: Tenant, clients: Iterable[ClientLine]) -> list[Concern]:
    """One line per set of configs that some client did not take."""
    failing: dict[tuple[str, ...], list[tuple[ClientLine, str, int]]] = {}
    for line in clients:
        if not line.failed or line.state is Connection.OFFLINE:
            continue
        for file in line.files:
            if file.state is DeliveryState.FAILED:
                failing.setdefault(file.config_ids, []).append((line, file.error, file.since_ms or 0))
    active = tenant.publisher.catalogue.active
    status = connection_status(Standing(Connection.DEGRADED))
    found = []
    for config_ids, cases in sorted(failing.items(), key=lambda item: -len(item[1])):
        names = [
            f"{active[one].row.name or one} ({active[one].row.product})"
            for one in config_ids
            if one in active
        ]
        count = f"{len(cases)} client{'s' if len(cases) > 1 else ''}"
        since = min(since for _, _, since in cases)
        found.append(
            Concern(
                status,
                f"{', '.join(names) or 'A config'} failed in {count}",
                next((error for _, error, _ in cases if error), "The tracer gave no reason."),
                href(q=f"state:failing config:{','.join(config_ids)}"),
                moment(since / 1000),
            )
        )
    return found


def _agents(fleet: Fleet) -> list[Concern]:
    found = []
    for line in sorted(fleet.agents, key=lambda agent: -agent.seen_s):
        if line.state is Connection.ERROR:
            found.append(
                Concern(
                    connection_status(line.standing),
                    f"Agent {line.hostname}",
                    line.standing.detail,
                    href(tab=AGENTS, q=f'host:"{line.hostname}"'),
                    moment(line.seen_s),
                )
            )
    return found


def _clients(fleet: Fleet) -> list[Concern]:
    found = []
    late = sum(line.standing.late for line in fleet.clients)
    if late:
        noun = "clients have" if late > 1 else "client has"
        standing = Standing(Connection.PENDING, late=True)
        found.append(
            Concern(
                connection_status(standing),
                f"{late} {noun} not confirmed a change for over five minutes",
                "They are connected and were told.",
                href(q="state:updating"),
            )
        )
    for state, title, detail in (
        (Connection.UNSUPPORTED, "too old for a config aimed at them", "Upgrade their tracers."),
        (Connection.UNAUTHORIZED, "not allowed to use Remote Configuration", "See API keys."),
    ):
        count = fleet.client_states.get(state, 0)
        if count:
            found.append(
                Concern(
                    connection_status(Standing(state)),
                    f"{count} client{'s are' if count > 1 else ' is'} {title}",
                    detail,
                    href(q=f"state:{state.value}"),
                )
            )
    return found


def _trust(tenant: Tenant, now: datetime) -> list[Concern]:
    found = []
    expiring = Status("Expires", "wait", "clock")
    for repository in _repositories(tenant, now):
        if repository.root_days < organisations.RENEW_ROOTS_BEFORE.days:
            who = (
                "It is renewed by itself."
                if tenant.organisation.roots_on_server
                else "Its holders must sign the next one, or every agent stops."
            )
            found.append(
                Concern(
                    expiring,
                    f"The {repository.name} root expires in {repository.root_days} days",
                    who,
                    None,
                )
            )
    config = tenant.publisher.config
    if config is not None:
        for role, raw in (("timestamp", config.timestamp), ("snapshot", config.snapshot)):
            match = _EXPIRES.search(raw)
            if match is None:
                continue
            expires = datetime.fromisoformat(match[1].decode())
            if (expires - now).total_seconds() < SIGNATURES_SOON_S:
                found.append(
                    Concern(
                        expiring,
                        f"The signature of the {role} role expires soon",
                        "It is renewed every day while the control plane runs: look at its log.",
                        None,
                        Moment(expires.astimezone(UTC).isoformat().replace("+00:00", "Z")),
                    )
                )
    return found


def _repositories(tenant: Tenant, now: datetime) -> tuple[Repository, ...]:
    publisher = tenant.publisher
    found = []
    for name, chain, version in (
        ("director", publisher.roots.director, publisher.director_version),
        ("config", publisher.roots.config, publisher.config_version),
    ):
        summary = organisations.root_summary(
            [chain[0], chain[-1]], roots_on_server=tenant.organisation.roots_on_server, now=now
        )
        found.append(
            Repository(
                name,
                version,
                int(str(summary["version"])),
                Moment(str(summary["expires"])),
                int(str(summary["expires_in_days"])),
                f"{summary['threshold']} of {summary['keys']}",
            )
        )
    return tuple(found)
