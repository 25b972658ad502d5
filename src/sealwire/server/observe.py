"""What agents and clients report, kept in memory and written behind in batches.

A poll never waits for the database. What changed is queued, and one task writes the queue about twice a
second; what only says "still here" is written every quarter of a minute. A crash may lose the last half
second of reports: agents repeat their reports with every poll, so nothing is lost for good. What could not
be written is kept and tried again. Texts and numbers are made to fit any database here, at the door.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from sealwire.errors import SealwireError
from sealwire.server.store import read, rows, write
from sealwire.server.store.database import Database
from sealwire.server.write_behind import keep_written
from sealwire.wire import remoteconfig_pb2 as pb

if TYPE_CHECKING:
    from sealwire.server.distribute import Session
    from sealwire.server.fleet.propagation import Propagation

log = structlog.get_logger()

FLUSH_EVERY_S = 0.5
LAST_SEEN_EVERY_S = 15.0
FORGET_CLIENTS_AFTER_S = 7 * 86400
MAX_ERROR_CHARS = 2000
MAX_FACT_CHARS = 300
MAX_CLIENT_ID_CHARS = 200
MAX_NUMBER = 2**53
MAX_APPLY_STATE = 2**15

Reported = dict[str, tuple[int, int, str]]  # path -> version, apply state, error


class Observer:
    """The reports of one organisation on their way to the database."""

    def __init__(self, database: Database, org_id: int) -> None:
        self.org_id = org_id
        self.propagation: Propagation | None = None  # who measures, once there is a publisher
        self._database = database
        self._agents: dict[str, Session] = {}
        self._clients: dict[str, rows.ClientRow] = {}
        self._client_seen: dict[str, tuple[rows.ClientRow, float]] = {}
        self._deliveries: dict[tuple[str, str], rows.DeliveryRow | None] = {}
        self._held: dict[tuple[str, str], Mapping[str, object]] = {}
        self._alarms: dict[tuple[str, str], str] = {}
        self._raised: set[tuple[str, str]] = set()
        self._seen_sessions: dict[str, Session] = {}
        self._last_seen_at = 0.0
        self._first_seen: dict[str, int] = {}
        self._lock = asyncio.Lock()
        # What people look at, so that no page reads whole tables. A value is replaced, never changed.
        self.clients: dict[str, rows.ClientRow] = {}
        self.said: dict[str, dict[str, rows.DeliveryRow]] = {}
        self.seen_ms: dict[str, int] = {}  # of clients that were here lately, a quarter of a minute fresh
        with database.read() as c:
            self._known_agents = {row.agent_id: row for row in read.agents(c, org_id)}
            for client in read.clients(c, org_id):
                self._first_seen[client.client_id] = client.first_seen_ms
                self.clients[client.client_id] = client
            # Outlives sessions: a client that was away for a while did not acknowledge anew.
            self._reported: dict[str, Reported] = {}
            for delivery in read.deliveries(c, org_id):
                self._reported.setdefault(delivery.client_id, {})[delivery.path] = (
                    delivery.version,
                    delivery.apply_state,
                    delivery.apply_error,
                )
                self.said.setdefault(delivery.client_id, {})[delivery.path] = delivery

    def known(self, agent_id: str, now: float) -> tuple[float, dict[str, Reported]]:
        """When an agent was first seen, and what its clients last reported (filled as they appear)."""
        row = self._known_agents.get(agent_id)
        return (row.first_seen_ms / 1000 if row is not None else now), {}

    def load_held(self) -> dict[str, dict[str, dict[str, object]]]:
        """What clients hold by themselves, as of the last run."""
        with self._database.read() as c:
            return read.held_values(c, self.org_id)

    # Queueing (event loop) ----------------------------------------------------------------------------

    def record(self, session: Session, request: pb.LatestConfigsRequest, *, director_version: int) -> None:
        """Queue what is new in a request."""
        session.director_version = director_version
        self._agents[session.agent_id] = session
        self._seen_sessions[session.agent_id] = session
        now_ms = int(session.last_seen * 1000)
        live = set()
        for client in request.active_clients:
            if not client.id:
                continue
            client_id = storable(client.id, MAX_CLIENT_ID_CHARS)
            live.add(client_id)
            self._record_client(session, client, client_id, now_ms)
        for client_id in [known for known in session.reported if known not in live]:
            del session.reported[client_id]

    def _record_client(self, session: Session, client: pb.Client, client_id: str, now_ms: int) -> None:
        tracer = client.client_tracer
        first_seen_ms = self._first_seen.setdefault(client_id, now_ms)
        row = rows.ClientRow(
            client_id=client_id,
            agent_id=session.agent_id,
            facts={
                "runtime_id": storable(tracer.runtime_id),
                "service": storable(tracer.service),
                "env": storable(tracer.env),
                "language": storable(tracer.language),
                "tracer_version": storable(tracer.tracer_version),
                "app_version": storable(tracer.app_version),
                "tags": [storable(tag) for tag in tracer.tags[:50]],
                "extra_services": [storable(name) for name in tracer.extra_services[:50]],
                "products": sorted(storable(product) for product in client.products[:200]),
                "kind": "tracer" if client.is_tracer else "agent" if client.is_agent else "updater",
            },
            first_seen_ms=first_seen_ms,
            last_seen_ms=now_ms,
            error=storable(client.state.error, MAX_ERROR_CHARS) if client.state.has_error else "",
            targets_version=min(client.state.targets_version, MAX_NUMBER),
        )
        if self.propagation is not None:
            self.propagation.asks(row, self.clients.get(client_id))
        self._clients[client_id] = self.clients[client_id] = row
        self._client_seen[client_id] = (row, session.last_seen)
        before = self._reported.get(client_id, {})
        after: Reported = {}
        for state in client.state.config_states:
            path = storable(f"datadog/{self.org_id}/{state.product}/{state.id}/config")
            after[path] = (
                min(state.version, MAX_NUMBER),
                min(state.apply_state, MAX_APPLY_STATE),
                storable(state.apply_error, MAX_ERROR_CHARS),
            )
        if before != after:
            said = {path: row for path, row in self.said.get(client_id, {}).items() if path in after}
            for path, value in after.items():
                if before.get(path) != value:
                    said[path] = rows.DeliveryRow(client_id, path, *value, now_ms)
                    self._deliveries[client_id, path] = said[path]
                    if self.propagation is not None:
                        self.propagation.said(session, row, said[path], before.get(path))
            for path in before:
                if path not in after:
                    self._deliveries[client_id, path] = None
            self.said[client_id] = said
        session.reported[client_id] = self._reported[client_id] = after

    def remember_held(self, client_id: str, product: str, values: Mapping[str, object]) -> None:
        """Queue what a client holds by itself; empty forgets it."""
        self._held[storable(client_id, MAX_CLIENT_ID_CHARS), product] = dict(values)

    def alarm(self, kind: str, subject: str, message: str) -> None:
        """Queue an alarm, once until it is resolved."""
        if (kind, subject) not in self._raised:
            self._raised.add((kind, subject))
            self._alarms[kind, subject] = message
            log.error("alarm raised", org=self.org_id, kind=kind, subject=subject, reason=message)

    # Writing ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write behind until cancelled; the rest is written on the way out."""
        await keep_written(self.flush, every_s=FLUSH_EVERY_S, what="reports")

    async def flush(self) -> None:
        """Write what is queued; who reads the tables calls this first."""
        async with self._lock:
            await self._flush()

    async def _flush(self) -> None:
        now = time.time()
        agents, self._agents = self._agents, {}
        clients, self._clients = self._clients, {}
        if now - self._last_seen_at > LAST_SEEN_EVERY_S:
            self._last_seen_at = now
            agents.update(self._seen_sessions)
            clients.update(self._still_here(now))
        deliveries, self._deliveries = self._deliveries, {}
        held, self._held = self._held, {}
        alarms, self._alarms = self._alarms, {}
        if not (agents or clients or deliveries or held or alarms):
            return
        agent_rows = [_agent_row(session) for session in agents.values()]
        try:
            await asyncio.to_thread(self._write, agent_rows, list(clients.values()), deliveries, held, alarms)
        except SealwireError:
            # What was said since is newer.
            self._agents = agents | self._agents
            self._clients = clients | self._clients
            self._deliveries = deliveries | self._deliveries
            self._held = held | self._held
            self._alarms = alarms | self._alarms
            raise

    def _still_here(self, now: float) -> dict[str, rows.ClientRow]:
        """Clients of agents that asked lately, with a fresh time; who has gone is forgotten here."""
        fresh = {}
        for client_id, (row, _) in list(self._client_seen.items()):
            session = self._seen_sessions.get(row.agent_id)
            if session is None or client_id not in session.reported:
                del self._client_seen[client_id]
                continue
            seen_ms = int((now if session.waiters else session.last_seen) * 1000)
            self.seen_ms[client_id] = seen_ms
            fresh[client_id] = rows.ClientRow(
                row.client_id, row.agent_id, row.facts, row.first_seen_ms, seen_ms, row.error,
                row.targets_version,
            )  # fmt: skip
        horizon = now - 600
        self._seen_sessions = {
            agent_id: session
            for agent_id, session in self._seen_sessions.items()
            if session.last_seen > horizon or session.waiters
        }
        return fresh

    def _write(
        self,
        agents: list[rows.AgentRow],
        clients: list[rows.ClientRow],
        deliveries: Mapping[tuple[str, str], rows.DeliveryRow | None],
        held: Mapping[tuple[str, str], Mapping[str, object]],
        alarms: Mapping[tuple[str, str], str],
    ) -> None:
        now_ms = int(time.time() * 1000)
        with self._database.write() as c:
            write.put_agents(c, self.org_id, agents)
            write.put_clients(c, self.org_id, clients)
            write.put_deliveries(
                c,
                self.org_id,
                [row for row in deliveries.values() if row is not None],
                [key for key, row in deliveries.items() if row is None],
            )
            for (client_id, product), values in held.items():
                write.put_held(c, self.org_id, client_id, product, values, now_ms=now_ms)
            for (kind, subject), message in alarms.items():
                write.raise_alarm(c, self.org_id, at_ms=now_ms, kind=kind, subject=subject, message=message)

    async def forget_old(self) -> list[str]:
        """Drop clients not seen for a week; returns who they were."""
        before_ms = int((time.time() - FORGET_CLIENTS_AFTER_S) * 1000)

        def drop() -> list[str]:
            with self._database.write() as c:
                return write.forget_clients(c, self.org_id, before_ms=before_ms)

        forgotten = await asyncio.to_thread(drop)
        for client_id in forgotten:
            self._reported.pop(client_id, None)
            self._first_seen.pop(client_id, None)
            self.clients.pop(client_id, None)
            self.said.pop(client_id, None)
            self.seen_ms.pop(client_id, None)
        return forgotten


def storable(text: str, limit: int = MAX_FACT_CHARS) -> str:
    """A text as every database takes it: bounded, and without the one character PostgreSQL refuses."""
    return text[:limit].replace("\0", "\ufffd")


def _agent_row(session: Session) -> rows.AgentRow:
    return rows.AgentRow(
        agent_id=session.agent_id,
        hostname=session.hostname,
        version=session.version,
        tags=session.tags,
        first_seen_ms=int(session.first_seen * 1000),
        last_seen_ms=int((time.time() if session.waiters else session.last_seen) * 1000),
        error=session.error,
        director_version=session.director_version,
        api_key_id=session.key_id,
    )
