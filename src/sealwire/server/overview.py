"""The fleet as people look at it, kept in memory: a page or a live row never reads whole tables.

What is dear about a client (its files and what became of them) is worked out once and kept until what it
rests on is replaced: its row, its reports, its view, the publication. Rows and reports are immutable and
replaced as a whole, so "is it still the same object" is all that must be asked. What time alone changes
(age, and the state that follows from it) is worked out at every look, and a look is shared by all viewers
for as long as it is fresh.

With a database that several control planes share, clients of the others are read every ``OTHERS_EVERY_S``,
and only while somebody looks.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sealwire.products import ClientFacts
from sealwire.server.connection import (
    HEARD_WITHIN_S,
    Connection,
    Standing,
    agent_standing,
    client_standing,
)
from sealwire.server.explain import DeliveryState, FileState, file_state
from sealwire.server.store import read, rows
from sealwire.server.store.database import Database

if TYPE_CHECKING:
    from sealwire.server.distribute import Session
    from sealwire.server.tenant import Tenant

FRESH_FOR_S = 0.8
AGENTS_EVERY_S = 15.0
OTHERS_EVERY_S = 15.0
SHOW_FOR_S = 86400.0
ROWS_AT_ONCE = 500  # between two chances for polls to be answered


@dataclass(frozen=True, slots=True)
class ClientLine:
    """One tracer.

    Attributes:
        facts: As last reported; host tags and capabilities only while it is live here.
        files: What it shall have, and what became of each.
        seen_s: When its agent last asked, seconds since 1970.
        waiting: Its agent holds a poll open right now, so it hears of a change at once.
    """

    client_id: str
    agent_id: str
    hostname: str
    facts: Mapping[str, Any]
    files: tuple[FileState, ...]
    in_step: int
    failed: int
    standing: Standing
    error: str
    first_seen_s: float
    seen_s: float
    waiting: bool

    @property
    def state(self) -> Connection:
        return self.standing.state


@dataclass(frozen=True, slots=True)
class AgentLine:
    """One agent.

    Attributes:
        wanted_version: Director version it shall have; None when it is not live here.
    """

    agent_id: str
    hostname: str
    version: str
    tags: tuple[str, ...]
    standing: Standing
    error: str
    clients: int
    director_version: int
    wanted_version: int | None
    root_versions: tuple[int, int] | None
    first_seen_s: float
    seen_s: float
    waiting: bool

    @property
    def state(self) -> Connection:
        return self.standing.state


@dataclass(frozen=True, slots=True)
class Fleet:
    """One look at everything."""

    clients: tuple[ClientLine, ...]
    agents: tuple[AgentLine, ...]
    client_states: Mapping[Connection, int]
    agent_states: Mapping[Connection, int]
    at_s: float


@dataclass(slots=True)
class _Kept:
    """What was worked out for a client, and what it rests on."""

    row: rows.ClientRow
    said: Mapping[str, rows.DeliveryRow] | None
    wanted: tuple[str, ...] | None
    publication: tuple[int, int]
    tags: tuple[str, ...]
    files: tuple[FileState, ...]
    in_step: int
    failed: int


class Overview:
    """The fleet of one organisation. Lives on the event loop."""

    def __init__(self, tenant: Tenant, database: Database) -> None:
        self._tenant = tenant
        self._database = database
        self._is_shared = not database.url.startswith("sqlite")
        self._kept: dict[str, _Kept] = {}
        self._agents: dict[str, rows.AgentRow] = {}
        self._others: dict[str, tuple[rows.ClientRow, dict[str, rows.DeliveryRow]]] = {}
        self._agents_read_at = self._others_read_at = 0.0
        self._last: Fleet | None = None
        self._lock = asyncio.Lock()

    async def look(self) -> Fleet:
        """The fleet as it is, at most a second old."""
        async with self._lock:
            now_s = time.time()
            if self._last is None or now_s - self._last.at_s > FRESH_FOR_S:
                await self._read_tables(now_s)
                self._last = await self._look(now_s)
            return self._last

    def facts_of(self, line: ClientLine) -> ClientFacts:
        """All that targeting may ask about a client."""
        session = self._tenant.distributor.sessions.get(line.agent_id)
        if session is not None and session.demand is not None:
            for facts in session.demand.agent.clients:
                if facts.client_id == line.client_id:
                    return facts
        return _facts(line.client_id, line.facts, self._agents.get(line.agent_id))

    # Reading ------------------------------------------------------------------------------------------

    async def _read_tables(self, now_s: float) -> None:
        org_id = self._tenant.organisation.org_id
        if now_s - self._agents_read_at > AGENTS_EVERY_S:
            self._agents_read_at = now_s

            def load_agents() -> list[rows.AgentRow]:
                with self._database.read() as c:
                    return read.agents(c, org_id)

            self._agents = {row.agent_id: row for row in await asyncio.to_thread(load_agents)}
        if self._is_shared and now_s - self._others_read_at > OTHERS_EVERY_S:
            self._others_read_at = now_s

            def load_others() -> tuple[list[rows.ClientRow], list[rows.DeliveryRow]]:
                with self._database.read() as c:
                    since_ms = int((now_s - SHOW_FOR_S) * 1000)
                    return read.clients(c, org_id, since_ms=since_ms), read.deliveries(c, org_id)

            clients, deliveries = await asyncio.to_thread(load_others)
            said: dict[str, dict[str, rows.DeliveryRow]] = {}
            for delivery in deliveries:
                said.setdefault(delivery.client_id, {})[delivery.path] = delivery
            self._others = {row.client_id: (row, said.get(row.client_id, {})) for row in clients}

    # Looking ------------------------------------------------------------------------------------------

    async def _look(self, now_s: float) -> Fleet:
        tenant = self._tenant
        observer = tenant.observer
        sessions = tenant.distributor.sessions
        publisher = tenant.publisher
        publication = (publisher.director_version, publisher.config_version)
        heard_within_s = max(HEARD_WITHIN_S, 3 * tenant.refresh_interval_s)
        remote_config = tenant.organisation.remote_config
        known: dict[str, rows.ClientRow] = dict(observer.clients)
        for client_id, (row, _) in self._others.items():
            mine = known.get(client_id)
            if mine is None or (
                row.last_seen_ms > mine.last_seen_ms and not _is_live(sessions, mine, client_id)
            ):
                known[client_id] = row
        lines: list[ClientLine] = []
        worked = 0
        for client_id, row in known.items():
            if row.facts.get("kind") != "tracer":
                continue
            session = sessions.get(row.agent_id)
            live = session is not None and client_id in session.reported
            waiting = live and session is not None and bool(session.waiters)
            if waiting:
                seen_s = now_s
            elif live and session is not None:
                seen_s = session.last_seen
            else:
                seen_s = max(row.last_seen_ms, observer.seen_ms.get(client_id, 0)) / 1000
            age_s = now_s - seen_s
            if age_s > SHOW_FOR_S:
                continue
            agent = self._agents.get(row.agent_id)
            said = observer.said.get(client_id)
            if row is not observer.clients.get(client_id):
                said = self._others[client_id][1]
            wanted = session.view.wanted.get(client_id) if session is not None and session.view else None
            kept = self._kept.get(client_id)
            if (
                kept is None
                or kept.row is not row
                or kept.said is not said
                or kept.wanted != wanted
                or kept.publication != publication
                or (wanted is None and agent is not None and kept.tags != agent.tags)
            ):
                kept = self._kept[client_id] = self._work_out(row, said, wanted, publication, agent)
                worked += 1
                if worked % ROWS_AT_ONCE == 0:
                    await asyncio.sleep(0)
            facts = row.facts
            error = session.error if session is not None else agent.error if agent is not None else ""
            lines.append(
                ClientLine(
                    client_id, row.agent_id, agent.hostname if agent is not None
                    else session.hostname if session is not None else row.agent_id.partition(":")[0],
                    facts, kept.files, kept.in_step, kept.failed,
                    client_standing(
                        kept.files, now_s=now_s, age_s=age_s, heard_within_s=heard_within_s,
                        language=str(facts.get("language", "")),
                        tracer_version=str(facts.get("tracer_version", "")),
                        agent_error=error, client_error=row.error, remote_config=remote_config,
                    ),
                    row.error, row.first_seen_ms / 1000, seen_s, waiting,
                )
            )  # fmt: skip
            if len(lines) % (4 * ROWS_AT_ONCE) == 0:
                await asyncio.sleep(0)
        for client_id in [client_id for client_id in self._kept if client_id not in known]:
            del self._kept[client_id]
        agents = self._agent_lines(lines, now_s, heard_within_s)
        return Fleet(
            tuple(lines),
            tuple(agents),
            Counter(line.state for line in lines),
            Counter(line.state for line in agents),
            now_s,
        )

    def _work_out(
        self,
        row: rows.ClientRow,
        said: Mapping[str, rows.DeliveryRow] | None,
        wanted: tuple[str, ...] | None,
        publication: tuple[int, int],
        agent: rows.AgentRow | None,
    ) -> _Kept:
        publisher = self._tenant.publisher
        active = publisher.catalogue.active
        paths = wanted if wanted is not None else self._would_get(row, agent)
        files: list[FileState] = []
        for path in paths:
            file = publisher.files.get(path)
            if file is None:
                continue
            saved_ms = max(
                (active[source].row.updated_ms for source in file.sources if source in active), default=0
            )
            files.append(
                file_state(
                    file,
                    None if said is None else said.get(path),
                    saved_ms=saved_ms,
                    first_seen_ms=row.first_seen_ms,
                )
            )
        in_step = sum(file.state is DeliveryState.IN_STEP for file in files)
        failed = sum(file.state is DeliveryState.FAILED for file in files)
        tags = agent.tags if agent is not None else ()
        return _Kept(row, said, wanted, publication, tags, tuple(files), in_step, failed)

    def _would_get(self, row: rows.ClientRow, agent: rows.AgentRow | None) -> Iterable[str]:
        """The paths a client that is not here would get if it came back as it was."""
        facts = _facts(row.client_id, row.facts, agent)
        held = self._tenant.distributor.held.get(row.client_id, {})
        return sorted(
            content.path
            for product in facts.products
            for content in self._tenant.publisher.catalogue.outcome(product, facts, held.get(product, {}))
        )

    def _agent_lines(
        self, clients: Iterable[ClientLine], now_s: float, heard_within_s: float
    ) -> list[AgentLine]:
        behind: Counter[str] = Counter()
        failing: Counter[str] = Counter()
        for line in clients:
            if line.state is not Connection.OFFLINE:
                behind[line.agent_id] += 1
                if line.failed:
                    failing[line.agent_id] += 1
        sessions = self._tenant.distributor.sessions
        remote_config = self._tenant.organisation.remote_config
        lines: list[AgentLine] = []
        for agent_id in self._agents.keys() | sessions.keys():
            row, session = self._agents.get(agent_id), sessions.get(agent_id)
            if session is not None:
                seen_s = now_s if session.waiters else session.last_seen
                error, has = session.error, session.director_version
                wanted = session.bundle.version if session.bundle is not None else None
                hostname, version, tags = session.hostname, session.version, session.tags
                first_s, roots = session.first_seen, (session.director_root, session.config_root)
            elif row is not None:
                seen_s, error, has, wanted = row.last_seen_ms / 1000, row.error, row.director_version, None
                hostname, version, tags = row.hostname, row.version, row.tags
                first_s, roots = row.first_seen_ms / 1000, None
            else:
                continue
            if now_s - seen_s > 7 * SHOW_FOR_S:
                continue
            standing = agent_standing(
                age_s=now_s - seen_s, heard_within_s=heard_within_s, error=error,
                failing_clients=failing[agent_id], has_version=has, wanted_version=wanted,
                remote_config=remote_config,
            )  # fmt: skip
            lines.append(
                AgentLine(
                    agent_id, hostname, version, tags, standing, error, behind[agent_id], has, wanted, roots,
                    first_s, seen_s, bool(session is not None and session.waiters),
                )
            )  # fmt: skip
        return lines


def _is_live(sessions: Mapping[str, Session], row: rows.ClientRow, client_id: str) -> bool:
    session = sessions.get(row.agent_id)
    return session is not None and client_id in session.reported


def _facts(client_id: str, facts: Mapping[str, Any], agent: rows.AgentRow | None) -> ClientFacts:
    return ClientFacts(
        client_id=client_id,
        runtime_id=str(facts.get("runtime_id", "")),
        service=str(facts.get("service", "")),
        env=str(facts.get("env", "")),
        language=str(facts.get("language", "")),
        tracer_version=str(facts.get("tracer_version", "")),
        app_version=str(facts.get("app_version", "")),
        host_tags=frozenset(agent.tags if agent is not None else ()),
        products=frozenset(facts.get("products", ())),
    )
