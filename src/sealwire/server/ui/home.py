"""Home: how the fleet is, what needs attention, what was done last."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from typing import assert_never

import sqlalchemy as sa

from sealwire.products import wording
from sealwire.server import first_steps
from sealwire.server import organisation as organisations
from sealwire.server.access import Principal
from sealwire.server.authoring.editing import readable_products
from sealwire.server.control_plane import ControlPlane
from sealwire.server.debugger.authoring.desk import ProbeRow
from sealwire.server.debugger.reports.statuses import Summary
from sealwire.server.fleet import concerns
from sealwire.server.fleet.concerns import Kind
from sealwire.server.fleet.connection import Connection, Standing
from sealwire.server.fleet.overview import Fleet
from sealwire.server.store import audit as audit_store
from sealwire.server.store import read, rows, security
from sealwire.server.store.audit import Criteria, Sought
from sealwire.server.tenant import Tenant
from sealwire.server.ui import charts
from sealwire.server.ui.debugger_list import standings, status_of
from sealwire.server.ui.debugger_words import PATH as PROBES
from sealwire.server.ui.debugger_words import counts_words, place_words
from sealwire.server.ui.fleet import AGENTS, client_facts, href
from sealwire.server.ui.render import moment
from sealwire.server.ui.security_signal_words import SEVERITIES
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import (
    Change,
    Concern,
    Fact,
    HomePage,
    Moment,
    Repository,
    Status,
    connection_status,
)

CHANGES = 8
CONCERNS = 8
HISTOGRAM_OVER_S = 86400.0

_ICONS = {
    "config.created": "plus",
    "config.changed": "pencil",
    "config.retired": "trash-2",
    "config.restored": "rotate-ccw",
    "organisation": "building-2",
    "probe": "crosshair",
    "root": "shield-check",
    "api_key": "key-round",
    "application_key": "key-round",
    "user": "user",
}


# What the server signs by itself, what it refused and who came in are in the trail, and no changes.
_NO_CHANGES = ("targets.signed", "*.refused", "*.signed_in", "*.signed_out", "*.password_set", "*.exported")
_CHANGES = Criteria(sought=(Sought("action", _NO_CHANGES, negated=True),))
_CONFIG_CHANGES = Criteria(sought=(Sought("action", ("config.*",)),))
_LOOKED_THROUGH = 10 * CHANGES


async def view(tenant: Tenant, plane: ControlPlane, fleet: Fleet, principal: Principal) -> HomePage:
    """The home page as it is, with what this visitor may go on to."""
    org_id = tenant.organisation.org_id

    def load() -> tuple[list[rows.AuditRow], list[rows.AlarmRow], dict[str, int]]:
        with plane.database.read() as c:
            return (
                _last_changes(c, org_id, principal),
                read.open_alarms(c, org_id),
                security.signal_counts(c, org_id, 0),
            )

    audit, alarms, signals = await asyncio.to_thread(load)
    now = plane.clock()
    found = concerns.concerns(
        fleet, publisher=tenant.publisher, organisation=tenant.organisation, alarms=alarms, now=now
    )
    probes = await _active_probes(tenant, principal)
    attention = [_shown(concern, principal) for concern in found] + _in_trouble(probes)
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
        signals=_signals(signals) if principal.may("security_monitoring_signals_read") else (),
        facts=client_facts(fleet),
        histogram=histogram,
        probes=_probe_facts(probes, plane.now_ms()),
        concerns=tuple(attention[:CONCERNS]),
        more_concerns=max(0, len(attention) - CONCERNS),
        changes=tuple(_change(row) for row in audit),
        repositories=_repositories(tenant, now),
        configs=len(publisher.catalogue.active),
        clients=len(fleet.clients),
        agents=len(fleet.agents),
        summary=f"{wording.counted(len(fleet.clients), 'client')}, {failing} with a config error, "
        f"{wording.counted(len(attention), 'thing')} to look at.",
        live_href="/live/home",
        first_steps=await first_steps.progress(plane, tenant, fleet)
        if principal.may("agent_enroll")
        else None,
        audit_href="/audit" if principal.may("audit_logs_read") else "",
        trust_href="/trust" if principal.may("rc_keys_read") else "",
    )


def _signals(counts: dict[str, int]) -> tuple[Fact, ...]:
    """Signals that go on, by severity; nothing where there is none."""
    return tuple(
        Fact(status.word, counts[name], status.tone, status.icon, f"/security/signals?severity={name}")
        for severity, status in SEVERITIES.items()
        if counts.get(name := severity.name.lower(), 0)
    )


async def _active_probes(tenant: Tenant, principal: Principal) -> list[tuple[ProbeRow, Summary]]:
    """Those in programs, with how they are; none for who may not see them."""
    if not principal.may("debugger_read"):
        return []
    found = await tenant.probes.list(principal, state="active")
    states = tenant.statuses.all_summaries({row.probe_id: row.version for row in found})
    return [(row, states[row.probe_id]) for row in found]


def _probe_facts(probes: list[tuple[ProbeRow, Summary]], now_ms: int) -> tuple[Fact, ...]:
    """How many are in programs, in trouble, and over within the hour; nothing where there is none."""
    counts = Counter(name for row, summary in probes for name in standings(row, summary, now_ms))
    found = [
        Fact("Active", len(probes), "info", "crosshair", f"{PROBES}?state=active"),
        Fact("Emitting", counts["emitting"], "ok", "activity", f"{PROBES}?state=emitting"),
        Fact("In trouble", counts["trouble"], "bad", "triangle-alert", f"{PROBES}?state=trouble"),
        Fact("Ending within the hour", counts["ending"], "wait", "clock", f"{PROBES}?state=ending"),
    ]
    return tuple(one for one in found if one.number)


def _in_trouble(probes: list[tuple[ProbeRow, Summary]]) -> list[Concern]:
    """A line for each probe with an error."""
    return [
        Concern(
            status_of(row, summary),
            f"Probe {visible(row.config.name, 80) or place_words(row.probe)}",
            f"{visible(row.service, 60)}: {counts_words(summary)}",
            f"{PROBES}/probes/{row.probe_id}",
        )
        for row, summary in probes
        if "trouble" in standings(row, summary, 0)
    ]


def _last_changes(c: sa.Connection, org_id: int, principal: Principal) -> list[rows.AuditRow]:
    """What was changed last; of configs only, and of those one may see, to whom the trail is not open."""
    if principal.may("audit_logs_read"):
        return _told_once(audit_store.find(c, org_id, _CHANGES, limit=_LOOKED_THROUGH))[:CHANGES]
    readable = readable_products(principal) if principal.may("rc_config_read") else ()
    found = audit_store.find(c, org_id, _CONFIG_CHANGES, limit=_LOOKED_THROUGH)
    return [row for row in found if row.detail.get("product") in readable][:CHANGES]


def _told_once(found: list[rows.AuditRow]) -> list[rows.AuditRow]:
    """Without the configs that were changed by what is told of a probe."""
    told = {(row.at_ms, row.actor) for row in found if row.action.startswith("probe.")}
    return [row for row in found if not (row.action.startswith("config.") and (row.at_ms, row.actor) in told)]


def _change(row: rows.AuditRow) -> Change:
    icon = _ICONS.get(row.action) or _ICONS.get(row.action.partition(".")[0], "activity")
    return Change(row.id, row.summary, row.actor, moment(row.at_ms / 1000), icon)


_STATES = {
    Kind.CONFIG_FAILING: Connection.DEGRADED,
    Kind.AGENT_ERROR: Connection.ERROR,
    Kind.CLIENTS_UNSUPPORTED: Connection.UNSUPPORTED,
    Kind.CLIENTS_UNAUTHORIZED: Connection.UNAUTHORIZED,
}
_OTHERS = {
    Kind.ALARM: Status("Alarm", "bad", "bell"),
    Kind.ROLE_EXPIRING: Status("Expires", "wait", "clock"),
    Kind.CLIENTS_LATE: connection_status(Standing(Connection.PENDING, late=True)),
}


def _shown(concern: concerns.Concern, principal: Principal) -> Concern:
    state = _STATES.get(concern.kind)
    status = _OTHERS[concern.kind] if state is None else connection_status(Standing(state))
    since = Moment(concern.until) if concern.until else moment(concern.since_s)
    return Concern(status, concern.title, concern.detail, _leads_to(concern, principal), since)


def _leads_to(concern: concerns.Concern, principal: Principal) -> str | None:
    """The page where something can be done about it, if it is open to them."""
    trust = "/trust" if principal.may("rc_keys_read") else None
    match concern.kind:
        case Kind.CONFIG_FAILING:
            return href(q=f"state:failing config:{concern.subject}")
        case Kind.AGENT_ERROR:
            return href(tab=AGENTS, q=f'host:"{concern.subject}"')
        case Kind.CLIENTS_LATE:
            return href(q="state:updating")
        case Kind.CLIENTS_UNSUPPORTED | Kind.CLIENTS_UNAUTHORIZED:
            return href(q=f"state:{concern.subject}")
        case Kind.ROLE_EXPIRING:
            return trust
        case Kind.ALARM if concern.subject == "audit-chain":
            return "/audit" if principal.may("audit_logs_read") else None
        case Kind.ALARM:
            return trust
        case _:
            assert_never(concern.kind)


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
