"""What became of each probe in each process: the last that each said, in memory and stored.

Messages are put in order by ``statuses``; here is where they are kept. Invariants: what is held is bounded,
of a probe and in all; a restart forgets nothing that was written, which is a second old at most; of a
process that went on to a newer version the older one is forgotten. Lives on the event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from sealwire.server.debugger.reports import statuses
from sealwire.server.debugger.snapshots.keep import KnownProbe, Source
from sealwire.server.fleet.connection import Connection
from sealwire.server.fleet.overview import ClientLine, Fleet, Overview
from sealwire.server.security.rows import plain
from sealwire.server.store import debugger as store
from sealwire.server.store.database import Database
from sealwire.server.write_behind import keep_written, whole

MAX_PER_PROBE: Final = 2_000  # processes
MAX_HELD: Final = 100_000
WRITE_EVERY_S: Final = 0.5
RETAIN_MS: Final = 24 * 3_600_000  # tracers say everything again each hour
KNOWN_WITHIN_MS: Final = 120_000  # until then a process may not be in the fleet yet
SWEEP_EVERY_MS: Final = 10_000


class Instance(NamedTuple):
    """A process with a version of a probe.

    Attributes:
        host: As the agent that passed it on calls it.
        env, tracer_version, app_version, language, client_id: Of the client in the fleet; env else as it was
            sent; the others empty while the client is not known.
        is_alive: Whether the process is still in the fleet; one that is not is stale.
    """

    key: statuses.Key
    state: statuses.State
    service: str
    env: str
    host: str
    tracer_version: str = ""
    app_version: str = ""
    language: str = ""
    client_id: str = ""
    is_alive: bool = True

    def is_stale(self, now_ms: int) -> bool:
        return not self.is_alive or self.state.is_stale(now_ms)


class TakenStatuses(NamedTuple):
    """What became of some messages.

    Attributes:
        over: Of more processes than are held.
    """

    taken: int = 0
    unknown: int = 0
    over: int = 0


class _Process(NamedTuple):
    """The last that a process said of a probe."""

    key: statuses.Key
    state: statuses.State
    parent_id: str
    service: str
    env: str
    host: str


class ProbeStatuses:
    """The statuses of one organisation.

    Args:
        known: A probe that programs may speak of, from memory; None: there is none.
        overview: Knows which processes are there.
    """

    def __init__(
        self,
        database: Database,
        org_id: int,
        overview: Overview,
        *,
        known: Callable[[str], KnownProbe | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._org_id = org_id
        self._overview = overview
        self._known = known
        self._clock = clock
        self._probes: dict[str, dict[str, _Process]] = {}  # by runtime
        self._held = 0
        self._generations: Counter[str] = Counter()
        self._unwritten: dict[tuple[str, str], _Process] = {}
        self._gone: set[tuple[str, str]] = set()  # what is stored of these is older than what is held
        self._swept: dict[str, int] = {}
        self._seen: Counter[str] = Counter()
        self._lock = asyncio.Lock()
        self._fleet: Fleet | None = None
        self._clients: dict[str, ClientLine] = {}
        with database.read() as c:
            for row in store.load_statuses(c, org_id):
                process = _process(row)
                held = self._probes.setdefault(row.probe_id, {})
                before = held.get(row.runtime_id)
                if before is None or before.key.version <= process.key.version:
                    held[row.runtime_id] = process
        self._held = sum(map(len, self._probes.values()))

    # What arrives -------------------------------------------------------------------------------------------

    def take(self, diagnostics: Sequence[statuses.Diagnostic], source: Source) -> TakenStatuses:
        """Note what processes said; of probes that nobody knows it is counted only."""
        became: Counter[str] = Counter(self._take(each, source) for each in diagnostics)
        self._seen.update(became)
        return TakenStatuses(**became)

    def _take(self, said: statuses.Diagnostic, source: Source) -> str:
        """What became of a message, as ``TakenStatuses`` calls it."""
        probe_id, version, runtime_id = said.key
        if self._known(probe_id) is None:
            return "unknown"
        if runtime_id != plain(runtime_id):
            return "unknown"
        held = self._probes.setdefault(probe_id, {})
        before = held.get(runtime_id)
        if before is None and not self._has_room(probe_id, runtime_id, source.arrived_ms):
            return "over"
        if before is not None and version < before.key.version:
            return "taken"  # it came late: the process is further
        state = before.state if before is not None and version == before.key.version else None
        if before is not None and state is None:
            self._gone.add((probe_id, runtime_id))  # or each version would leave a row
        # Attack: a clock that is off by thousands of years, which no calendar has.
        at_ms = max(source.arrived_ms - RETAIN_MS, min(said.at_ms - source.ahead_ms, source.arrived_ms))
        news = said._replace(at_ms=at_ms)
        process = _Process(
            said.key,
            statuses.after(state, news, arrived_ms=source.arrived_ms),
            plain(said.parent_id),
            plain(said.service),
            source.env,
            source.host,
        )
        self._held += before is None
        held[runtime_id] = process
        self._unwritten[probe_id, runtime_id] = process
        if before is None or process.state[:2] != before.state[:2] or process.key != before.key:
            self._generations[probe_id] += 1
        return "taken"

    def _has_room(self, probe_id: str, runtime_id: str, now_ms: int) -> bool:
        """Attack: a new process with every message, so that those that are there are not told of."""
        if self._is_room_in(probe_id):
            return True
        for scope in (probe_id, ""):
            if now_ms - self._swept.get(scope, 0) >= SWEEP_EVERY_MS:
                self._swept[scope] = now_ms
                self._sweep([scope] if scope else [*self._probes], now_ms)
                if self._is_room_in(probe_id):
                    return True
        self._alive(now_ms)  # the fleet as it is now
        if runtime_id in self._clients:
            nobody = (key for key, one in self._probes[probe_id].items() if not self._is_in_fleet(one))
            if (gone := next(nobody, None)) is not None:
                self._forget(probe_id, gone)
        return self._is_room_in(probe_id)

    def _is_room_in(self, probe_id: str) -> bool:
        return len(self._probes[probe_id]) < MAX_PER_PROBE and self._held < MAX_HELD

    def _is_in_fleet(self, one: _Process) -> bool:
        return one.key.runtime_id in self._clients or one.parent_id in self._clients

    def _sweep(self, probe_ids: Sequence[str], now_ms: int) -> None:
        """Forget the processes of some probes that are gone."""
        alive = self._alive(now_ms)
        for probe_id in probe_ids:
            held = self._probes[probe_id]
            for key in [key for key, one in held.items() if one.state.is_stale(now_ms) or not alive(one)]:
                self._forget(probe_id, key)

    def _forget(self, probe_id: str, runtime_id: str) -> None:
        del self._probes[probe_id][runtime_id]
        self._held -= 1
        self._unwritten.pop((probe_id, runtime_id), None)
        self._gone.add((probe_id, runtime_id))
        self._generations[probe_id] += 1

    # Asking -------------------------------------------------------------------------------------------------

    def of(self, probe_id: str) -> list[Instance]:
        """The processes that said anything of a probe; failed ones first, then by service."""
        now_ms = self._now_ms()
        alive = self._alive(now_ms)
        found = [self._instance(one, alive(one)) for one in self._probes.get(probe_id, {}).values()]
        return sorted(found, key=lambda one: _order(one, now_ms))

    def summary(self, probe_id: str, version: int) -> statuses.Summary:
        """A probe over all processes; ``version`` is the one that is wanted."""
        return self._summary(probe_id, version, self._now_ms())

    def all_summaries(self, versions: Mapping[str, int]) -> dict[str, statuses.Summary]:
        """Those of several probes, given the wanted version of each."""
        now_ms = self._now_ms()
        return {probe_id: self._summary(probe_id, version, now_ms) for probe_id, version in versions.items()}

    def _summary(self, probe_id: str, version: int, now_ms: int) -> statuses.Summary:
        held = self._probes.get(probe_id, {})
        alive = self._alive(now_ms)
        return statuses.summary(
            ((one.key, one.state) for one in held.values()),
            version=version,
            now_ms=now_ms,
            is_alive=lambda runtime_id: alive(held[runtime_id]),
        )

    def generation(self, probe_id: str) -> int:
        """Grows with every change of what is said of a probe."""
        return self._generations[probe_id]

    def counters(self) -> dict[str, int]:
        """What became of everything that arrived since the start, for metrics."""
        return {**dict.fromkeys(TakenStatuses._fields, 0), **self._seen}

    def _alive(self, now_ms: int) -> Callable[[_Process], bool]:
        """Whether a process is in the fleet, or so new that it need not be.

        A process that was forked is not there by itself: it is asked for by the one it was forked from.
        """
        fleet = self._overview.last
        if fleet is not self._fleet:
            self._fleet = fleet
            self._clients = {} if fleet is None else _by_runtime(fleet.clients)
        clients = self._clients

        def is_alive(one: _Process) -> bool:
            if fleet is None or now_ms - one.state.seen_ms < KNOWN_WITHIN_MS:
                line = clients.get(one.key.runtime_id)
                return line is None or line.state is not Connection.OFFLINE
            line = clients.get(one.key.runtime_id) or clients.get(one.parent_id)
            return line is not None and line.state is not Connection.OFFLINE

        return is_alive

    def _instance(self, one: _Process, is_alive: bool) -> Instance:
        line = self._clients.get(one.key.runtime_id) or self._clients.get(one.parent_id)
        if line is None:
            return Instance(one.key, one.state, one.service, one.env, one.host, is_alive=is_alive)
        facts = line.facts
        return Instance(
            one.key, one.state, one.service or str(facts.get("service", "")),
            str(facts.get("env", "")) or one.env, line.hostname or one.host,
            str(facts.get("tracer_version", "")), str(facts.get("app_version", "")),
            str(facts.get("language", "")), line.client_id, is_alive,
        )  # fmt: skip

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)

    # Keeping ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write behind until cancelled; the rest is written on the way out."""
        await keep_written(self.flush, every_s=WRITE_EVERY_S, what="statuses of probes")

    async def flush(self) -> None:
        """Write what was said since; to its end, also while being cancelled."""
        await whole(self._flush())

    async def _flush(self) -> None:
        async with self._lock:
            lot, self._unwritten = self._unwritten, {}
            gone, self._gone = self._gone, set()
            if not lot and not gone:
                return
            try:
                await asyncio.to_thread(self._write, list(lot.values()), gone)
            except BaseException:
                self._gone |= gone
                there = {key: one for key, one in lot.items() if key[1] in self._probes.get(key[0], {})}
                self._unwritten = {**there, **self._unwritten}
                raise

    def _write(self, lot: Sequence[_Process], gone: Collection[tuple[str, str]]) -> None:
        """In a thread."""
        with self._database.write() as c:
            store.remove_statuses(c, self._org_id, gone)
            store.put_statuses(c, self._org_id, map(_row, lot))

    async def forget_old(self) -> None:
        """Drop processes of which nothing was heard for a day, and everything of probes that are gone."""
        before_ms = self._now_ms() - RETAIN_MS
        for probe_id, held in list(self._probes.items()):
            is_known = self._known(probe_id) is not None
            gone = [key for key, one in held.items() if not is_known or one.state.seen_ms < before_ms]
            for runtime_id in gone:
                del held[runtime_id]
                self._unwritten.pop((probe_id, runtime_id), None)
            if not held:
                del self._probes[probe_id]
            if gone:
                self._generations[probe_id] += 1
        self._held = sum(map(len, self._probes.values()))
        self._swept = {key: at_ms for key, at_ms in self._swept.items() if key in self._probes or not key}

        def drop() -> None:
            with self._database.write() as c:
                store.forget_statuses(c, self._org_id, before_ms=before_ms)

        async with self._lock:
            await asyncio.to_thread(drop)


def _by_runtime(lines: Iterable[ClientLine]) -> dict[str, ClientLine]:
    """Clients by the process they are in; one that is there before one that was."""
    found: dict[str, ClientLine] = {}
    for line in lines:
        runtime_id = str(line.facts.get("runtime_id", ""))
        if runtime_id and (runtime_id not in found or line.state is not Connection.OFFLINE):
            found[runtime_id] = line
    return found


_TROUBLE_FIRST: Final = {
    statuses.Status.ERROR: 0,
    statuses.Status.BLOCKED: 1,
    statuses.Status.WARNING: 2,
    statuses.Status.RECEIVED: 3,
    statuses.Status.INSTALLED: 4,
    statuses.Status.EMITTING: 5,
}


def _order(one: Instance, now_ms: int) -> tuple[bool, int, str, str, str, str]:
    trouble = _TROUBLE_FIRST[one.state.status]
    return one.is_stale(now_ms), trouble, one.service, one.env, one.host, one.key.runtime_id


def _row(one: _Process) -> store.StatusRow:
    state = one.state
    failure = "" if state.failure is None else msgspec.json.encode(state.failure).decode()
    return store.StatusRow(
        one.key.probe_id, one.key.version, one.key.runtime_id, one.parent_id, one.service, one.env, one.host,
        state.status.value, state.at_ms, state.since_ms, state.seen_ms, failure,
    )  # fmt: skip


def _process(row: store.StatusRow) -> _Process:
    failure = msgspec.json.decode(row.failure, type=statuses.Failure) if row.failure else None
    state = statuses.State(statuses.Status(row.status), row.at_ms, row.since_ms, row.seen_ms, failure)
    key = statuses.Key(row.probe_id, row.version, row.runtime_id)
    return _Process(key, state, row.parent_id, row.service, row.env, row.host)
