"""One agent: what it is, what it was told, what it has, what is behind it and what it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from sealwire.errors import NotFoundError
from sealwire.server.api.guard import Asker, OwnTenant
from sealwire.server.fleet.connection import Connection
from sealwire.server.fleet.effective import origin_words
from sealwire.server.fleet.explain import DeliveryState
from sealwire.server.fleet.overview import AgentLine, ClientLine, Fleet
from sealwire.server.tenant import Tenant
from sealwire.server.ui.client import link_to_config, title_of
from sealwire.server.ui.live import Fragments, Watcher
from sealwire.server.ui.render import client_href, dom_id, has_page, macro, moment, page
from sealwire.server.ui.views import Link, Moment, Status, connection_status, delivery_status
from sealwire.wire.inventory import Inventory

Asked: TypeAlias = Request[Any, Any, Any]
Watching: TypeAlias = NamedDependency[Watcher]

MAX_CLIENTS = 200
MAX_FILES = 200
#: Why something was passed over, in words.
_DROPPED = {
    "not_readable": "uploads that could not be read",
    "runtime_too_large": "tracers that tell of too many settings",
    "runtimes": "tracers, as there were too many",
    "services": "services, as there were too many",
    "security_crowded": "requests of interest, as a single upload had too many",
    "security_not_wanted": "requests of interest, as this control plane was too old for them",
    "security_queue": "requests of interest that waited too long in memory",
    "security_refused": "requests of interest that this control plane refused",
    "security_spans": "requests of interest, as there were too many at once",
    "security_spool_damaged": "requests of interest that came to harm on its disk",
    "security_spool_full": "requests of interest, as there was no more room on its disk",
    "security_spool_of_another_key": "requests of interest that were kept for another API key",
    "security_visits": "requests that were to be counted, as there were too many kinds",
    "security_watched": "requests that were to be counted, as there were too many processes",
    "too_busy": "uploads, to stay light",
    "too_large": "uploads that were too large to look at",
    "traces_not_readable": "uploads of traces that could not be read",
    "traces_too_busy": "uploads of traces, to stay light",
    "traces_too_large": "uploads of traces that were too large to look at",
    "traces_unreadable": "traces that could not be read",
}


@dataclass(frozen=True, slots=True)
class AgentClient:
    """A tracer behind the agent."""

    dom_id: str
    href: str
    status: Status
    service: str
    env: str
    language: str
    library: str
    seen: Moment


@dataclass(frozen=True, slots=True)
class SeenService:
    """A service that sends traces here.

    Attributes:
        status: Of its Remote Configuration: its client's, or why it has none.
        href: The page of its client; None where there is none.
    """

    dom_id: str
    status: Status
    service: str
    env: str
    language: str
    library: str
    traces: int
    seen: Moment
    href: str | None


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file the agent was sent for its clients, and how many of them have it."""

    dom_id: str
    status: Status
    title: str
    product: str
    configs: tuple[Link, ...]
    version: int
    in_step: int
    wanted: int


@dataclass(frozen=True, slots=True)
class AgentSetting:
    """A setting of the agent: its value, the layer that counts, and what that layer hides."""

    name: str
    value: str
    source: str
    origin: str
    is_default: bool
    hidden: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AgentPage:
    """One agent.

    Attributes:
        told: When it last told of itself; never for an agent that is not Sealwire's.
        settings: By name; those that are not defaults first.
        refused: When its last poll was refused, and what it was told; never where that was answered.
        versions: Label, what it has, what it shall have (empty: the same or unknown).
        dropped: What it passed over: how many, and what.
    """

    title: str
    status: Status
    subtitle: str
    identity: tuple[tuple[str, str], ...]
    key: Link | None
    tags: tuple[str, ...]
    first_seen: Moment
    seen: Moment
    told: Moment
    refused: Moment
    refused_for: str
    error: str
    versions: tuple[tuple[str, str, str], ...]
    clients: tuple[AgentClient, ...]
    more_clients: int
    services: tuple[SeenService, ...]
    files: tuple[SentFile, ...]
    more_files: int
    settings: tuple[AgentSetting, ...]
    dropped: tuple[tuple[int, str], ...]
    live_href: str


def view(tenant: Tenant, fleet: Fleet, agent_id: str) -> AgentPage:
    """The page of an agent.

    Raises:
        NotFoundError: None of that id was heard within a month.
    """
    line = next((line for line in fleet.agents if line.agent_id == agent_id), None)
    if line is None:
        raise NotFoundError("No such agent was heard within a month.")
    row = line.inventory
    told = None if row is None else row.told
    behind = [one for one in fleet.clients if one.agent_id == agent_id]
    without = [one for one in fleet.services if one.agent_id == agent_id]
    key = tenant.switches.key(line.key_id) if line.key_id else None
    files = _files(tenant, behind)
    return AgentPage(
        title=line.hostname or line.agent_id,
        status=connection_status(line.standing),
        subtitle=_subtitle(line, told),
        identity=_identity(line, told),
        key=None if key is None else Link(key.name, f"/keys/{key.key_id}" if has_page("/keys") else None),
        tags=tuple(sorted(line.tags)),
        first_seen=moment(line.first_seen_s),
        seen=moment(line.seen_s, now=line.waiting),
        told=moment(None if row is None or row.posted_ms is None else row.posted_ms / 1000),
        refused=moment(None if row is None or row.refused_ms is None else row.refused_ms / 1000),
        refused_for="" if row is None else row.refused_for,
        error=line.error or ("" if told is None else told.remote_config.error),
        versions=_versions(line, tenant),
        clients=tuple(_client(one) for one in behind[:MAX_CLIENTS]),
        more_clients=max(0, len(behind) - MAX_CLIENTS),
        services=_services(told, behind, without),
        files=files[:MAX_FILES],
        more_files=max(0, len(files) - MAX_FILES),
        settings=_settings(told),
        dropped=_dropped(told),
        live_href=f"/live/agent/{quote(agent_id, safe='')}",
    )


def _dropped(told: Inventory | None) -> tuple[tuple[int, str], ...]:
    if told is None:
        return ()
    kinds = sorted(told.dropped.items())
    return tuple((count, _DROPPED.get(kind, kind.replace("_", " "))) for kind, count in kinds if count)


def _subtitle(line: AgentLine, told: Inventory | None) -> str:
    clients = f"{line.clients} client{'' if line.clients == 1 else 's'} behind it"
    if told is None:
        return f"Agent {line.version} · {clients}" if line.version else clients
    return f"Sealwire agent {told.version} · {told.os} · {clients}"


def _identity(line: AgentLine, told: Inventory | None) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = [("Host", line.hostname)]
    if told is not None:
        pairs += [
            ("Agent", f"Sealwire {told.version}"),
            ("Speaks as", line.version),
            ("System", told.os),
            ("Kernel", told.kernel),
            ("Architecture", told.architecture),
            ("Python", told.python),
            ("Running for", _long(told.uptime_s)),
        ]
    else:
        pairs.append(("Agent", line.version))
    pairs.append(("Agent id", line.agent_id))
    return tuple((label, value) for label, value in pairs if value)


def _long(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min"


def _versions(line: AgentLine, tenant: Tenant) -> tuple[tuple[str, str, str], ...]:
    if not line.seen_s:
        return ()
    wanted = "" if line.wanted_version in (None, line.director_version) else str(line.wanted_version)
    found = [("Director", str(line.director_version or "none yet"), wanted)]
    if line.root_versions is not None:
        roots = tenant.publisher.roots
        for label, has, newest in (
            ("Director root", line.root_versions[0], len(roots.director)),
            ("Config root", line.root_versions[1], len(roots.config)),
        ):
            found.append((label, str(has), "" if has == newest else str(newest)))
    return tuple(found)


def _client(line: ClientLine) -> AgentClient:
    facts = line.facts
    return AgentClient(
        dom_id("client", line.client_id), client_href(line.client_id), connection_status(line.standing),
        str(facts.get("service", "")), str(facts.get("env", "")), str(facts.get("language", "")),
        str(facts.get("tracer_version", "")), moment(line.seen_s, now=line.waiting),
    )  # fmt: skip


def _services(
    told: Inventory | None, behind: list[ClientLine], without: list[ClientLine]
) -> tuple[SeenService, ...]:
    if told is None:
        return ()
    alone = {(one.facts["service"], one.facts["env"]): one for one in without}
    by_runtime = {str(one.facts.get("runtime_id", "")): one for one in behind}
    by_name: dict[tuple[str, str], ClientLine] = {}
    for one in behind:
        if one.state is not Connection.OFFLINE:
            key = (str(one.facts.get("service", "")).lower(), str(one.facts.get("env", "")).lower())
            by_name.setdefault(key, one)
    found = []
    for service in told.services:
        line = alone.get((service.service, service.env))
        href = None
        if line is None:
            name = (service.service.lower(), service.env.lower())
            line = next(
                (by_runtime[one] for one in service.runtime_ids if one in by_runtime), by_name.get(name)
            )
            href = None if line is None else client_href(line.client_id)
        status = _SEEN if line is None else connection_status(line.standing)
        found.append(
            SeenService(
                dom_id("service", f"{service.env}:{service.service}"), status, service.service, service.env,
                service.language, service.tracer_version, service.traces, moment(service.seen_ms / 1000),
                href,
            )
        )  # fmt: skip
    return tuple(found)


_SEEN = Status("Seen", "mute", "eye")


def _files(tenant: Tenant, behind: list[ClientLine]) -> tuple[SentFile, ...]:
    """The files of all its clients; the worst state of each."""
    paths: dict[str, list[tuple[DeliveryState, str, tuple[str, ...], int]]] = {}
    for line in behind:
        for file in line.files:
            paths.setdefault(file.path, []).append((file.state, file.product, file.config_ids, file.version))
    order = {state: number for number, state in enumerate(_WORST)}
    found = []
    for path, states in sorted(paths.items()):
        worst = min((state for state, *_ in states), key=lambda state: order[state])
        _, product, config_ids, version = states[0]
        found.append(
            (
                order[worst],
                SentFile(
                    dom_id("sent", path), delivery_status(worst), title_of(product), product,
                    tuple(link_to_config(tenant, config_id) for config_id in config_ids), version,
                    sum(state is DeliveryState.IN_STEP for state, *_ in states), len(states),
                ),
            )
        )  # fmt: skip
    return tuple(file for _, file in sorted(found, key=lambda one: one[0]))


_WORST = (
    DeliveryState.FAILED, DeliveryState.REFUSED, DeliveryState.SILENT, DeliveryState.BEHIND,
    DeliveryState.APPLYING, DeliveryState.IN_STEP,
)  # fmt: skip


def _settings(told: Inventory | None) -> tuple[AgentSetting, ...]:
    if told is None:
        return ()
    rows = [
        AgentSetting(
            one.name,
            one.value,
            _SOURCES.get(one.source, one.source),
            one.origin,
            one.source == "default",
            tuple((_SOURCES.get(layer.source, layer.source), layer.value) for layer in one.hidden),
        )
        for one in told.settings
    ]
    return tuple(sorted(rows, key=lambda one: (one.is_default, one.name)))


_SOURCES = {
    "file": "file",
    "env_var": origin_words("env_var"),
    "command_line": "command line",
    "default": origin_words("default"),
}

_LIVE = ("standing", "seen", "versions", "clients", "services", "files", "refusal")


@get("/fleet/agents/{agent_id:path}", opt={"permission": "fleet_read"}, include_in_schema=False)
async def show_agent(
    request: Asked, agent_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """One agent."""
    shown = view(tenant, await tenant.overview.glance(), agent_id.removeprefix("/"))
    return page(
        request, "agent/agent.html", title=shown.title, view=shown, principal=principal, tenant=tenant,
    )  # fmt: skip


@get("/live/agent/{agent_id:path}", opt={"permission": "fleet_read"}, include_in_schema=False)
async def live_agent(
    agent_id: FromPath[str], tenant: OwnTenant, viewers: Watching, principal: Asker
) -> Stream:
    """One agent, as it changes."""
    parts = {name: macro("agent/_parts.html", name) for name in _LIVE}

    async def screen() -> Fragments:
        shown = view(tenant, await tenant.overview.look(), agent_id.removeprefix("/"))
        return {name: part(shown) for name, part in parts.items()}

    return await viewers.stream(screen)


HANDLERS: list[ControllerRouterHandler] = [show_agent, live_agent]
