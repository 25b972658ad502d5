"""The fleet in the admin API: who is there, how they are, what they have, and what they tell of themselves.

Everything is answered from what is kept in memory to be looked at (``Overview``, ``Inventories``); only the
settings of one tracer are read from the database.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TypedDict

from litestar import get
from litestar.params import FromPath, FromQuery
from litestar.types import ControllerRouterHandler

from sealwire.errors import NotFoundError
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant
from sealwire.server.authoring.editing import as_seen_by, readable_products
from sealwire.server.fleet.connection import REMEDIES, Standing
from sealwire.server.fleet.effective import InForce, sent_values, settings_in_force
from sealwire.server.fleet.explain import Reasons, client_state, reasons
from sealwire.server.fleet.overview import SHOW_FOR_S, AgentLine, ClientLine, Fleet
from sealwire.server.store import rows
from sealwire.server.tenant import Tenant
from sealwire.wire.inventory import Known, Runtime

FRESH_FOR_S = 0.0  # a client that reads what it just caused must see it
SILENT_AFTER_S = 120.0
MAX_REASONS = 200


class Client(TypedDict):
    """A Remote Configuration client: a tracer, or an agent's own.

    Attributes:
        kind: What it is: tracer, agent, updater.
        products: What it asks for.
        agent: The name of its agent's host.
        age_s: Since it was last here.
        state: in_step, behind, applying, failed, silent or refused: the worst of its files.
        error: What it said went wrong.
        targets_version: The one it says it has.
        configs: Its files.
    """

    client_id: str
    runtime_id: str
    service: str
    env: str
    language: str
    tracer_version: str
    app_version: str
    kind: str
    products: list[str]
    agent: str
    agent_id: str
    first_seen: str
    last_seen: str
    age_s: float
    state: str
    error: str
    targets_version: int
    configs: list[shapes.File]


class Clients(TypedDict):
    """Clients of the last day."""

    clients: list[Client]


class Stands(TypedDict):
    """How an agent or a client is connected, and what helps."""

    state: str
    detail: str
    remedy: str


class OtherValue(TypedDict):
    """A value of a setting that another one hides.

    Attributes:
        value: As text; null is "not set".
        seq_id: The larger, the later.
    """

    origin: str
    value: str | None
    seq_id: int
    error: str


class SentValue(TypedDict):
    """What Remote Configuration sent for a setting.

    Attributes:
        key: Below the product, or the name of the setting.
        config_id: Whose value it is, where that is known.
        path: Of the file on the wire.
    """

    product: str
    key: str
    value: str
    config_id: str | None
    path: str


class SettingInForce(TypedDict):
    """A setting of a tracer, by its own telemetry.

    Attributes:
        value: As text; null is "not set".
        seq_id: The larger, the later.
        error: Why the tracer did not take it.
        sent: Null where nothing was sent for it.
        others: The next one in line first.
    """

    name: str
    value: str | None
    origin: str
    seq_id: int
    error: str
    sent: SentValue | None
    others: list[OtherValue]


class Reason(TypedDict):
    """Why a client has a config, or has not.

    Attributes:
        verdict: has, overridden or not_for_it.
        rules: Every condition, met or not.
        wins: JSON paths whose value is this config's, where a product's configs are merged.
        state: Of the file it is in; null where the client is not to have it.
    """

    config_id: str
    name: str
    product: str
    revision: int
    verdict: str
    rules: list[shapes.Rule]
    wins: list[str]
    state: str | None


class OneClient(Client):
    """A client: what it has and why.

    Attributes:
        capabilities: Their bits.
        telemetry_at: When it last told of its settings; null if it never did.
        settings: Those in force in it.
    """

    standing: Stands
    host_tags: list[str]
    capabilities: list[int]
    telemetry_at: str | None
    settings: list[SettingInForce]
    reasons: list[Reason]


class Agent(TypedDict):
    """An agent.

    Attributes:
        age_s: Since it was last here.
        state: in_step, behind, failed, silent or refused.
        director_version: The one it has.
        wanted_version: The one it is to have; null while it is not here.
        clients: How many ask through it.
        waiting: Whether it waits for a change at this moment.
        api_key_id: The key it last came with, where that is known.
    """

    agent_id: str
    hostname: str
    version: str
    tags: list[str]
    first_seen: str
    last_seen: str
    age_s: float
    error: str
    state: str
    director_version: int
    wanted_version: int | None
    clients: int
    waiting: bool
    standing: Stands
    api_key_id: str | None


class Agents(TypedDict):
    """Agents of the last month."""

    agents: list[Agent]


class SeenService(TypedDict):
    """A service that sends traces to an agent.

    Attributes:
        traces: How many were seen of it.
        client_seen: Whether a client of it was here; null where none can be seen.
        switched_off_by: Where its tracer says that its Remote Configuration is off: an origin; else empty.
        runtime_ids: The newest of its runtimes.
        standing: How it stands, where it has no client.
    """

    service: str
    env: str
    language: str
    tracer_version: str
    app_version: str
    first_seen_ms: int
    seen_ms: int
    traces: int
    client_seen: bool | None
    switched_off_by: str
    runtime_ids: list[str]
    standing: Stands | None


class SaidRemoteConfig(TypedDict):
    """How Remote Configuration stands in an agent, as it says.

    Attributes:
        enabled: The operator's switch.
        is_on: Enabled, and nothing keeps it from starting.
        reason: Why it is not on.
        condition: Of the conversation with the control plane, in one word.
        error: Of the last exchange.
    """

    enabled: bool
    is_on: bool
    reason: str
    condition: str
    error: str


class HiddenValue(TypedDict):
    """A value of an agent's setting that another one hides."""

    source: str
    value: str
    origin: str


class AgentSetting(TypedDict):
    """A setting of an agent.

    Attributes:
        source: default, file, env_var or command_line.
        origin: The file, the variable or the option; empty for a default.
        hidden: What lower layers said, nearest first.
    """

    name: str
    value: str
    source: str
    origin: str
    hidden: list[HiddenValue]


class Told(TypedDict):
    """What an agent tells of itself.

    Attributes:
        wire_version: The version it speaks as.
        dropped: What it did not tell or could not read, counted by kind.
    """

    version: str
    wire_version: str
    os: str
    kernel: str
    architecture: str
    python: str
    uptime_s: int
    remote_config: SaidRemoteConfig
    settings: list[AgentSetting]
    dropped: dict[str, int]


class Inventory(TypedDict):
    """What is known of an agent by its own words; empty of one that is not ours.

    Attributes:
        api_key: The name of the key it last came with.
        posted_at: When it last told of itself.
        refused_at, refused_for: When it was last refused, and why.
    """

    api_key: str | None
    posted_at: str | None
    refused_at: str | None
    refused_for: str
    inventory: Told | None
    services: list[SeenService]


class ListedAgent(Agent, Inventory):
    """An agent, and what it tells of itself."""


class Inventories(TypedDict):
    """Agents of the last month, and what they tell of themselves."""

    agents: list[ListedAgent]


class RootVersions(TypedDict):
    """The roots that an agent trusts."""

    director: int
    config: int


class OneAgent(Agent, Inventory):
    """An agent: what it is, what it has, what it sees.

    Attributes:
        root_versions: Null where it did not say.
        files: Paths on the wire of what its clients have.
    """

    root_versions: RootVersions | None
    client_ids: list[str]
    files: list[str]


# Clients ----------------------------------------------------------------------------------------------


@get("/clients", opt={"permission": "fleet_read"})
async def list_clients(tenant: OwnTenant, principal: Asker, service: FromQuery[str | None] = None) -> Clients:
    """Clients of the last day: who has what, and how far."""
    fleet = await tenant.overview.look(fresh_for_s=FRESH_FOR_S)
    agents = {line.agent_id: line for line in fleet.agents}
    tracers = {line.client_id: as_seen_by(principal, line) for line in fleet.clients}
    now_s = time.time()
    listed = []
    for client_id, row in sorted(tenant.overview.known.items()):
        line = tracers.get(client_id)
        if service is not None and row.facts.get("service") != service:
            continue
        if line is None and (
            row.facts.get("kind") == "tracer" or now_s - row.last_seen_ms / 1000 > SHOW_FOR_S
        ):
            continue
        listed.append(_client(row, line, agents.get(row.agent_id), now_s))
    return {"clients": listed}


@get("/clients/{client_id:path}", opt={"permission": "fleet_read"})
async def get_client(client_id: FromPath[str], tenant: OwnTenant, principal: Asker) -> OneClient:
    """One client: what it has and why, and the settings in force in it by its own telemetry."""
    fleet = await tenant.overview.look(fresh_for_s=FRESH_FOR_S)
    client_id = client_id.removeprefix("/")
    line = next((line for line in fleet.clients if line.client_id == client_id), None)
    row = tenant.overview.row_of(client_id)
    if line is None or row is None:
        raise NotFoundError("No such client was here within a day.")
    line = as_seen_by(principal, line)
    facts = tenant.overview.facts_of(line)
    readable = readable_products(principal)
    found = [
        reasons(item.row, item.targeting, facts, line.files)
        for item in list(tenant.publisher.catalogue.active.values())
        if item.row.product in readable
    ]
    runtime, settings = await in_force(tenant, line, readable)
    agent = next((one for one in fleet.agents if one.agent_id == line.agent_id), None)
    return {
        **_client(row, line, agent, time.time()),
        "standing": _standing(line.standing),
        "host_tags": sorted(facts.host_tags),
        "capabilities": sorted(facts.capabilities),
        "telemetry_at": None if runtime is None else shapes.time(runtime.seen_ms),
        "settings": [_setting(one) for one in settings],
        "reasons": [_reason(one) for one in found[:MAX_REASONS]],
    }


async def in_force(
    tenant: Tenant, line: ClientLine, readable: Collection[str]
) -> tuple[Runtime | None, list[InForce]]:
    """The settings of a client by its own telemetry, beside what it was sent; None where it told of none.

    Args:
        readable: Products of which it is told what was sent.
    """
    runtime_id = str(line.facts.get("runtime_id", ""))
    runtime = await tenant.inventory.runtime(runtime_id, agent_id=line.agent_id)
    if runtime is None:
        return None, []
    files = tenant.publisher.files
    sent = sent_values(
        (file, files[file.path].raw) for file in line.files if file.path in files and file.product in readable
    )
    return runtime, settings_in_force(runtime.settings, sent)


def _client(row: rows.ClientRow, line: ClientLine | None, agent: AgentLine | None, now_s: float) -> Client:
    """A client; ``line`` is None for those that are no tracers."""
    if line is None:
        seen_s = row.last_seen_ms / 1000
    else:
        seen_s = now_s if line.waiting else line.seen_s
    files = () if line is None else line.files
    age_s = max(0.0, now_s - seen_s)
    return {
        "client_id": row.client_id,
        "runtime_id": row.facts.get("runtime_id", ""),
        "service": row.facts.get("service", ""),
        "env": row.facts.get("env", ""),
        "language": row.facts.get("language", ""),
        "tracer_version": row.facts.get("tracer_version", ""),
        "app_version": row.facts.get("app_version", ""),
        "kind": row.facts.get("kind", ""),
        "products": row.facts.get("products", []),
        "agent": agent.hostname if agent is not None else "",
        "agent_id": row.agent_id,
        "first_seen": shapes.time(row.first_seen_ms),
        "last_seen": shapes.time(int(seen_s * 1000)),
        "age_s": round(age_s, 1),
        "state": client_state(files, age_s=age_s, agent_error=agent.error if agent is not None else "").value,
        "error": row.error,
        "targets_version": row.targets_version,
        "configs": [shapes.file(file) for file in files],
    }


def _standing(standing: Standing) -> Stands:
    return {"state": standing.state.value, "detail": standing.detail, "remedy": REMEDIES[standing.state]}


def _known(one: Known) -> OtherValue:
    return {"origin": one.origin, "value": one.value, "seq_id": one.seq_id, "error": one.error}


def _setting(one: InForce) -> SettingInForce:
    return {
        "name": one.name,
        "value": one.value,
        "origin": one.origin,
        "seq_id": one.seq_id,
        "error": one.error,
        "sent": None
        if one.sent is None
        else {
            "product": one.sent.product,
            "key": one.sent.key,
            "value": one.sent.value,
            "config_id": one.sent.config_id or None,
            "path": one.sent.path,
        },
        "others": [_known(other) for other in one.others],
    }


def _reason(one: Reasons) -> Reason:
    return {
        "config_id": one.row.config_id,
        "name": one.row.name,
        "product": one.row.product,
        "revision": one.row.revision,
        "verdict": one.verdict.value,
        "rules": [{"holds": rule.holds, "text": rule.text} for rule in one.rules],
        "wins": list(one.wins),
        "state": None if one.file is None else one.file.state.value,
    }


# Agents -----------------------------------------------------------------------------------------------


@get("/agents", opt={"permission": "fleet_read"})
async def list_agents(tenant: OwnTenant) -> Agents:
    """Agents that asked, were refused or told of themselves, and how they are."""
    fleet = await tenant.overview.look(fresh_for_s=FRESH_FOR_S)
    now_s = time.time()
    return {"agents": [_agent(line, now_s) for line in sorted(fleet.agents, key=lambda one: one.hostname)]}


@get("/agents/{agent_id:path}", opt={"permission": "fleet_read"})
async def get_agent(agent_id: FromPath[str], tenant: OwnTenant) -> OneAgent:
    """One agent: what it is, what it has, what it sees."""
    fleet = await tenant.overview.look(fresh_for_s=FRESH_FOR_S)
    agent_id = agent_id.removeprefix("/")
    line = next((line for line in fleet.agents if line.agent_id == agent_id), None)
    if line is None:
        raise NotFoundError("No such agent was heard within a month.")
    return {
        **_agent(line, time.time()),
        "root_versions": None
        if line.root_versions is None
        else {"director": line.root_versions[0], "config": line.root_versions[1]},
        "client_ids": [one.client_id for one in fleet.clients if one.agent_id == agent_id],
        "files": sorted(
            {file.path for one in fleet.clients if one.agent_id == agent_id for file in one.files}
        ),
        **_inventory(tenant, fleet, line),
    }


@get("/inventory", opt={"permission": "fleet_read"})
async def list_inventory(tenant: OwnTenant) -> Inventories:
    """What every agent tells of itself: its version and system, its settings, the services it sees."""
    fleet = await tenant.overview.look(fresh_for_s=FRESH_FOR_S)
    now_s = time.time()
    without: dict[str, list[ClientLine]] = {}
    for one in fleet.services:
        without.setdefault(one.agent_id, []).append(one)
    return {
        "agents": [
            {**_agent(line, now_s), **_inventory(tenant, fleet, line, without.get(line.agent_id, ()))}
            for line in sorted(fleet.agents, key=lambda one: one.hostname)
        ]
    }


def _agent(line: AgentLine, now_s: float) -> Agent:
    seen_s = now_s if line.waiting else line.seen_s or line.heard_s
    age_s = max(0.0, now_s - seen_s)
    if age_s > SILENT_AFTER_S or not line.seen_s:
        state = "silent"
    elif line.error.startswith("tuf:"):
        state = "refused"
    elif line.error.startswith("api:"):
        state = "failed"
    elif line.wanted_version is not None and line.director_version < line.wanted_version:
        state = "behind"
    else:
        state = "in_step"
    return {
        "agent_id": line.agent_id,
        "hostname": line.hostname,
        "version": line.version,
        "tags": list(line.tags),
        "first_seen": shapes.time(int(line.first_seen_s * 1000)),
        "last_seen": shapes.time(int(seen_s * 1000)),
        "age_s": round(age_s, 1),
        "error": line.error,
        "state": state,
        "director_version": line.director_version,
        "wanted_version": line.wanted_version,
        "clients": line.clients,
        "waiting": line.waiting,
        "standing": _standing(line.standing),
        "api_key_id": line.key_id or None,
    }


def _inventory(
    tenant: Tenant,
    fleet: Fleet,
    line: AgentLine,
    without: tuple[ClientLine, ...] | list[ClientLine] | None = None,
) -> Inventory:
    """What an agent tells of itself; empty where it never did, as an Agent that is not ours."""
    row = line.inventory
    key = tenant.switches.key(line.key_id) if line.key_id else None
    found: Inventory = {
        "api_key": None if key is None else key.name,
        "posted_at": None,
        "refused_at": None,
        "refused_for": "",
        "inventory": None,
        "services": [],
    }
    if row is None:
        return found
    found["posted_at"] = shapes.time_or_none(row.posted_ms)
    found["refused_at"] = shapes.time_or_none(row.refused_ms)
    found["refused_for"] = row.refused_for
    if row.told is None:
        return found
    if without is None:
        without = [one for one in fleet.services if one.agent_id == line.agent_id]
    standings = {(one.facts["service"], one.facts["env"]): _standing(one.standing) for one in without}
    told = row.told
    found["services"] = [
        {
            "service": one.service,
            "env": one.env,
            "language": one.language,
            "tracer_version": one.tracer_version,
            "app_version": one.app_version,
            "first_seen_ms": one.first_seen_ms,
            "seen_ms": one.seen_ms,
            "traces": one.traces,
            "client_seen": one.client_seen,
            "switched_off_by": one.switched_off_by,
            "runtime_ids": one.runtime_ids,
            "standing": standings.get((one.service, one.env)),
        }
        for one in told.services
    ]
    found["inventory"] = {
        "version": told.version,
        "wire_version": told.wire_version,
        "os": told.os,
        "kernel": told.kernel,
        "architecture": told.architecture,
        "python": told.python,
        "uptime_s": told.uptime_s,
        "remote_config": {
            "enabled": told.remote_config.enabled,
            "is_on": told.remote_config.is_on,
            "reason": told.remote_config.reason,
            "condition": told.remote_config.condition,
            "error": told.remote_config.error,
        },
        "settings": [
            {
                "name": one.name,
                "value": one.value,
                "source": one.source,
                "origin": one.origin,
                "hidden": [
                    {"source": layer.source, "value": layer.value, "origin": layer.origin}
                    for layer in one.hidden
                ],
            }
            for one in told.settings
        ],
        "dropped": dict(told.dropped),
    }
    return found


HANDLERS: list[ControllerRouterHandler] = [
    list_clients, get_client, list_agents, get_agent, list_inventory,
]  # fmt: skip
