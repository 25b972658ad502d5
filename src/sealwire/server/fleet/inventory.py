"""What agents tell of themselves, and polls that were refused: in memory to be looked at, written behind.

A post never waits for the database. Rows are immutable and replaced as a whole; settings of runtimes are not
kept in memory, they are read when somebody looks at one. ``token`` is new with each start: what was queued
and not written when a control plane died is told again by the agents, who see that it is another one.

Invariants: who holds an API key can fill neither memory nor disk: posts, new agents and new runtimes have
each a rate, and what an agent tells a size. What is here says nothing about what an agent may do.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from sealwire.errors import OversizeError, SealwireError, UnavailableError
from sealwire.server.observe import storable
from sealwire.server.store import inventory as store
from sealwire.server.store.database import Database
from sealwire.server.store.inventory import InventoryRow, RuntimeRow
from sealwire.server.write_behind import keep_written
from sealwire.wire import inventory as wire
from sealwire.wire import remoteconfig_pb2 as pb

if TYPE_CHECKING:
    from sealwire.server.distribute import Session

FLUSH_EVERY_S = 1.0
POSTS_AT_ONCE = 12
RETAIN_S = 30 * 86400.0
OTHERS_EVERY_S = 15.0
MAX_AGENTS = 100_000
MAX_TOLD_BYTES = 128 * 1024  # of one agent, without its runtimes
MAX_ALL_TOLD_BYTES = 256 * 1024 * 1024
MAX_QUEUED_RUNTIMES = 20_000


@dataclass(slots=True)
class Rate:
    """So many at once, then so many a second."""

    capacity: float
    per_second: float
    level: float = field(init=False)
    at_s: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.capacity

    def take(self, now_s: float, amount: float = 1.0) -> bool:
        """Whether that many more may go now; takes them if so."""
        self.level = min(self.capacity, self.level + max(0.0, now_s - self.at_s) * self.per_second)
        self.at_s = now_s
        if self.level < amount:
            return False
        self.level -= amount
        return True


@dataclass(slots=True)
class _Rates:
    """Of one agent: posts and runtimes. A host with a thousand processes tells of them in half a minute."""

    posts: Rate
    runtimes: Rate = field(default_factory=lambda: Rate(1500, 1.0))


@dataclass(slots=True)
class _KeyRates:
    """Of one API key: agents nobody knew, and refused polls that are read."""

    agents: Rate = field(default_factory=lambda: Rate(5000, 5.0))
    refusals: Rate = field(default_factory=lambda: Rate(500, 50.0))


def agent_id_of(hostname: str, agent_uuid: str) -> str:
    """Who an agent is; the same for its polls and its posts."""
    return storable(f"{hostname}:{agent_uuid}", 200)


class Inventories:
    """The inventories of one organisation. Lives on the event loop.

    Attributes:
        rows: By agent; a row is replaced, never changed.
        every_s: How often agents are asked to tell.
        token: Of this process.
    """

    def __init__(
        self, database: Database, org_id: int, sessions: Mapping[str, Session], *, every_s: float = 60.0
    ) -> None:
        self.every_s = every_s
        self.token = secrets.token_hex(8)
        self.org_id = org_id
        self._database = database
        self._sessions = sessions
        self._is_shared = not database.url.startswith("sqlite")
        self._queued: dict[str, InventoryRow] = {}
        self._queued_runtimes: dict[str, RuntimeRow] = {}
        self._rates: dict[str, _Rates] = {}
        self._key_rates: dict[str, _KeyRates] = {}
        self._sizes: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self._read_at = time.time()
        with database.read() as c:
            self.rows = {row.agent_id: row for row in store.inventories(c, org_id)}
        for row in self.rows.values():
            if row.told is not None:
                self._sizes[row.agent_id] = len(wire.write(row.told))
        self._told_bytes = sum(self._sizes.values())

    # What arrives -------------------------------------------------------------------------------------

    def take(self, post: wire.Inventory, *, key_id: str) -> wire.Taken:
        """Take a post.

        Raises:
            UnavailableError: Too many too soon, or too much from all agents together.
            OversizeError: It tells too much.
        """
        now_s = time.time()
        now_ms = int(now_s * 1000)
        agent_id = agent_id_of(post.hostname, post.agent_uuid)
        before = self.rows.get(agent_id)
        if before is None:
            self._admit(key_id, now_s)
        rates = self._rates.get(agent_id)
        if rates is None:
            rates = self._rates[agent_id] = _Rates(Rate(POSTS_AT_ONCE, 0.25 + 2 / self.every_s))
        if not rates.posts.take(now_s) or not rates.runtimes.take(now_s, len(post.runtimes)):
            raise UnavailableError("This agent posts too often.", retry_after_s=30)
        told = msgspec.structs.replace(post, runtimes=[], token="")
        size = len(wire.write(told))
        if size > MAX_TOLD_BYTES:
            raise OversizeError(f"An agent may tell {MAX_TOLD_BYTES} bytes of itself.")
        all_bytes = self._told_bytes + size - self._sizes.get(agent_id, 0)
        if all_bytes > MAX_ALL_TOLD_BYTES or len(self._queued_runtimes) > MAX_QUEUED_RUNTIMES:
            raise UnavailableError("All agents together tell too much.", retry_after_s=60)
        self._told_bytes, self._sizes[agent_id] = all_bytes, size
        self._put(
            InventoryRow(
                agent_id=agent_id,
                hostname=storable(post.hostname, 300),
                version=storable(post.version, 100),
                api_key_id=key_id,
                first_seen_ms=now_ms if before is None else before.first_seen_ms,
                posted_ms=now_ms,
                refused_ms=None if before is None else before.refused_ms,
                refused_for="" if before is None else before.refused_for,
                told=told,
            )
        )
        for runtime in post.runtimes:
            runtime_id = storable(runtime.runtime_id, 200)
            if runtime_id != runtime.runtime_id:
                continue  # what no database takes no tracer sends
            self._queued_runtimes[runtime_id] = RuntimeRow(agent_id, now_ms, runtime)
        return wire.Taken(self.token, self.every_s)

    def may_note_refusal(self, key_id: str) -> bool:
        """Whether one more refused poll with this key may be read."""
        return self._key_rates.setdefault(key_id, _KeyRates()).refusals.take(time.time())

    def note_refusal(self, request: pb.LatestConfigsRequest, *, key_id: str, why: str) -> None:
        """A poll was refused: who asked, and what it was told."""
        if not request.hostname:
            return
        now_s = time.time()
        now_ms = int(now_s * 1000)
        agent_id = agent_id_of(request.hostname, request.agent_uuid)
        before = self.rows.get(agent_id)
        if before is None:
            try:
                self._admit(key_id, now_s)
            except UnavailableError:
                return
            before = InventoryRow(
                agent_id=agent_id,
                hostname=storable(request.hostname, 300),
                version=storable(request.agentVersion, 100),
                api_key_id=key_id,
                first_seen_ms=now_ms,
            )
        self._put(replace(before, api_key_id=key_id, refused_ms=now_ms, refused_for=why[:300]))

    def _admit(self, key_id: str, now_s: float) -> None:
        """Let one more agent be known.

        Raises:
            UnavailableError: There are too many, or too many new ones with this key.
        """
        rates = self._key_rates.setdefault(key_id, _KeyRates())
        if len(self.rows) >= MAX_AGENTS or not rates.agents.take(now_s):
            raise UnavailableError("Too many new agents; later ones are told of later.", retry_after_s=60)

    def _put(self, row: InventoryRow) -> None:
        self.rows[row.agent_id] = self._queued[row.agent_id] = row

    # What people look at ------------------------------------------------------------------------------

    async def runtime(self, runtime_id: str, *, agent_id: str) -> wire.Runtime | None:
        """The settings of a running tracer behind an agent, or None. Nobody tells of another's tracers."""
        if not runtime_id or len(runtime_id) > 200 or "\0" in runtime_id:
            return None
        row = self._queued_runtimes.get(runtime_id)
        if row is None:

            def load() -> RuntimeRow | None:
                with self._database.read() as c:
                    return store.runtime(c, self.org_id, runtime_id)

            row = await asyncio.to_thread(load)
        return row.runtime if row is not None and row.agent_id == agent_id else None

    async def follow_others(self) -> None:
        """Read what other control planes on the same database were told, now and then."""
        now_s = time.time()
        if not self._is_shared or now_s - self._read_at < OTHERS_EVERY_S:
            return
        self._read_at = now_s

        def load() -> list[InventoryRow]:
            with self._database.read() as c:
                return store.inventories(c, self.org_id)

        for row in await asyncio.to_thread(load):
            mine = self.rows.get(row.agent_id)
            if mine is None or row.heard_ms > mine.heard_ms:
                self.rows[row.agent_id] = row

    # Writing ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write behind until cancelled; the rest is written on the way out."""
        await keep_written(self.flush, every_s=FLUSH_EVERY_S, what="inventories")

    async def flush(self) -> None:
        """Write what is queued."""
        async with self._lock:
            self._clear_refusals()
            queued, self._queued = self._queued, {}
            runtimes, self._queued_runtimes = self._queued_runtimes, {}
            if not queued and not runtimes:
                return
            try:
                await asyncio.to_thread(self._write, list(queued.values()), list(runtimes.values()))
            except SealwireError:
                # What was told since is newer.
                self._queued = queued | self._queued
                self._queued_runtimes = runtimes | self._queued_runtimes
                raise

    def _clear_refusals(self) -> None:
        """A poll that was answered ends what was said of the ones before."""
        for agent_id, row in list(self.rows.items()):
            if row.refused_ms is None:
                continue
            session = self._sessions.get(agent_id)
            if session is not None and session.last_seen * 1000 > row.refused_ms:
                self._put(replace(row, refused_ms=None, refused_for=""))

    def _write(self, queued: list[InventoryRow], runtimes: list[RuntimeRow]) -> None:
        with self._database.write() as c:
            store.put_inventories(c, self.org_id, queued)
            store.put_runtimes(c, self.org_id, runtimes)

    async def forget_old(self) -> None:
        """Drop agents and runtimes that nobody heard of for a month."""
        before_ms = int((time.time() - RETAIN_S) * 1000)

        def drop() -> list[str]:
            with self._database.write() as c:
                return store.forget(c, self.org_id, before_ms=before_ms)

        for agent_id in await asyncio.to_thread(drop):
            if self.rows.pop(agent_id, None) is not None:
                self._told_bytes -= self._sizes.pop(agent_id, 0)
        self._rates = {agent_id: rates for agent_id, rates in self._rates.items() if agent_id in self.rows}
