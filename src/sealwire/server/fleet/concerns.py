"""What needs attention in an organisation, from one look at its fleet and its trust. Pure.

The home page shows these, and webhooks tell of them when they begin and when they end. A concern keeps its
``key`` as long as it is the same one, whatever its numbers do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from sealwire.server import organisation as organisations
from sealwire.server.fleet.connection import Connection
from sealwire.server.fleet.explain import DeliveryState
from sealwire.server.fleet.overview import ClientLine, Fleet
from sealwire.server.store import rows

if TYPE_CHECKING:
    from sealwire.server.publish import Publisher

SIGNATURES_SOON_S = 2 * 86400.0
_EXPIRES = re.compile(rb'"expires":"([^"]{20,30})"')


class Kind(StrEnum):
    """The kinds of concern; the value is the event a webhook subscribes to."""

    ALARM = "alarm.raised"
    CONFIG_FAILING = "config.failing"
    AGENT_ERROR = "agent.error"
    CLIENTS_LATE = "clients.late"
    CLIENTS_UNSUPPORTED = "clients.unsupported"
    CLIENTS_UNAUTHORIZED = "clients.unauthorized"
    ROLE_EXPIRING = "role.expiring"


#: What each kind means, for whoever subscribes to it.
TITLES: Mapping[Kind, str] = {
    Kind.ALARM: "Something happened that must never happen, such as metadata from the future",
    Kind.CONFIG_FAILING: "A client could not apply a config",
    Kind.AGENT_ERROR: "An agent stopped asking, or refuses what it gets",
    Kind.CLIENTS_LATE: "Clients were told of a change and did not confirm it for five minutes",
    Kind.CLIENTS_UNSUPPORTED: "Clients are too old for a config aimed at them",
    Kind.CLIENTS_UNAUTHORIZED: "Clients are behind an agent whose key may not use Remote Configuration",
    Kind.ROLE_EXPIRING: "A signature or a root is about to expire",
}


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that needs attention.

    Attributes:
        key: Which one of its kind; stays while it lasts.
        subject: What a page can look it up by: config ids joined by commas, a host name, a state.
        since_s: Since when, seconds since 1970; None when nobody knows.
        until: When it becomes worse; ISO 8601, may be empty.
    """

    kind: Kind
    key: str
    title: str
    detail: str
    subject: str = ""
    since_s: float | None = None
    until: str = ""


def concerns(
    fleet: Fleet,
    *,
    publisher: Publisher,
    organisation: rows.Organisation,
    alarms: Iterable[rows.AlarmRow],
    now: datetime,
) -> tuple[Concern, ...]:
    """Everything that needs attention, the worst first."""
    return (
        *_alarms(alarms),
        *_failing_configs(publisher, fleet.clients),
        *_agents(fleet),
        *_clients(fleet, organisation),
        *_roots(publisher, organisation, now),
        *_signatures(publisher, now),
    )


def _alarms(alarms: Iterable[rows.AlarmRow]) -> Iterator[Concern]:
    for alarm in alarms:
        yield Concern(Kind.ALARM, str(alarm.id), alarm.subject, alarm.message, alarm.kind, alarm.at_ms / 1000)


def _failing_configs(publisher: Publisher, clients: Iterable[ClientLine]) -> Iterator[Concern]:
    """One for each set of configs that some client did not take."""
    failing: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for line in clients:
        if not line.failed or line.state is Connection.OFFLINE:
            continue
        for file in line.files:
            if file.state is DeliveryState.FAILED:
                failing.setdefault(file.config_ids, []).append((file.error, file.since_ms or 0))
    active = publisher.catalogue.active
    for config_ids, cases in sorted(failing.items(), key=lambda item: -len(item[1])):
        names = [
            f"{active[one].row.name or one} ({active[one].row.product})"
            for one in config_ids
            if one in active
        ]
        ids = ",".join(config_ids)
        yield Concern(
            Kind.CONFIG_FAILING,
            ids,
            f"{', '.join(names) or 'A config'} failed in {len(cases)} client{'s' if len(cases) > 1 else ''}",
            next((error for error, _ in cases if error), "The tracer gave no reason."),
            ids,
            min(since for _, since in cases) / 1000,
        )


def _agents(fleet: Fleet) -> Iterator[Concern]:
    for line in sorted(fleet.agents, key=lambda agent: -agent.seen_s):
        if line.state is Connection.ERROR:
            yield Concern(
                Kind.AGENT_ERROR, line.agent_id, f"Agent {line.hostname}", line.standing.detail,
                line.hostname, line.seen_s,
            )  # fmt: skip


def _clients(fleet: Fleet, organisation: rows.Organisation) -> Iterator[Concern]:
    late = sum(line.standing.late for line in fleet.clients)
    if late:
        yield Concern(
            Kind.CLIENTS_LATE,
            "late",
            f"{late} {'clients have' if late > 1 else 'client has'} not confirmed a change "
            "for over five minutes",
            "They are connected and were told.",
        )
    for kind, state, title, detail in (
        (Kind.CLIENTS_UNSUPPORTED, Connection.UNSUPPORTED, "too old for a config aimed at them",
         "Upgrade their tracers."),
        (Kind.CLIENTS_UNAUTHORIZED, Connection.UNAUTHORIZED, "not allowed to use Remote Configuration",
         "Give the API key of their agents the Remote Configuration scope." if organisation.remote_config
         else "It is off for the whole organisation: switch it on in Settings."),
    ):  # fmt: skip
        count = fleet.client_states.get(state, 0)
        if count:
            yield Concern(
                kind, state.value, f"{count} client{'s are' if count > 1 else ' is'} {title}", detail,
                state.value,
            )  # fmt: skip


def _roots(publisher: Publisher, organisation: rows.Organisation, now: datetime) -> Iterator[Concern]:
    for name, chain in (("director", publisher.roots.director), ("config", publisher.roots.config)):
        summary = organisations.root_summary(
            [chain[0], chain[-1]], roots_on_server=organisation.roots_on_server, now=now
        )
        days = int(str(summary["expires_in_days"]))
        if days < organisations.RENEW_ROOTS_BEFORE.days:
            yield Concern(
                Kind.ROLE_EXPIRING,
                f"{name} root",
                f"The {name} root expires in {days} day{'' if days == 1 else 's'}",
                "It is renewed by itself."
                if organisation.roots_on_server
                else "Its holders must sign the next one, or every agent stops.",
                name,
                until=str(summary["expires"]),
            )


def _signatures(publisher: Publisher, now: datetime) -> Iterator[Concern]:
    config = publisher.config
    if config is None:
        return
    for role, raw in (("timestamp", config.timestamp), ("snapshot", config.snapshot)):
        match = _EXPIRES.search(raw)
        if match is None:
            continue
        expires = match[1].decode()
        if (datetime.fromisoformat(expires) - now).total_seconds() < SIGNATURES_SOON_S:
            yield Concern(
                Kind.ROLE_EXPIRING,
                f"{role} signature",
                f"The signature of the {role} role expires soon",
                "It is renewed every day while the control plane runs: look at its log.",
                role,
                until=expires,
            )
