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
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from sealwire.errors import SealwireError
from sealwire.products import ClientFacts
from sealwire.server.fleet.connection import (
    CONNECTED,
    GONE,
    HEARD_WITHIN_S,
    OFFLINE_AFTER_S,
    Connection,
    Standing,
    agent_standing,
    bar,
    client_standing,
    service_standing,
)
from sealwire.server.fleet.explain import DeliveryState, FileState, file_state
from sealwire.server.store import read, rows
from sealwire.server.store.database import Database
from sealwire.server.store.inventory import InventoryRow

if TYPE_CHECKING:
    from sealwire.server.distribute import Session
    from sealwire.server.tenant import Tenant
    from sealwire.server.views import View

log = structlog.get_logger()

FRESH_FOR_S = 0.8
WARM_EVERY_S = 5.0
GLANCE_S = 6.0
GONE_AFTER_S = 35.0  # an agent that just started has 30 s to hear from its tracers again
WATCHED_FOR_S = 600.0
AGENTS_EVERY_S = 15.0
OTHERS_EVERY_S = 15.0
SERVICES_EVERY_S = 2.0
SHOW_FOR_S = 86400.0
SHOW_AGENTS_FOR_S = 30 * 86400.0
SERVICE = "service"  # the kind of a row that stands for a service without a client
ROWS_AT_ONCE = 500  # between two chances for polls to be answered


@dataclass(frozen=True, slots=True)
class ClientLine:
    """One tracer.

    Attributes:
        facts: As last reported; host tags and capabilities only while it is live here.
        files: What it shall have, and what became of each.
        seen_s: When its agent last asked, seconds since 1970; a poll held open counts when it came.
        waiting: Its agent holds a poll open right now, so it hears of a change at once.

    A service that sends traces and has no client is such a line too, in ``Fleet.services``: its
    ``facts["kind"]`` is ``SERVICE``, and it was seen when its last trace was.
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
        seen_s: When it was last answered, seconds since 1970; 0 when it never was.
        heard_s: When anything was last heard of it, refused polls and inventories too.
        key_id: Of the API key it last came with; empty when that is not known.
        inventory: What it tells of itself, if anything.
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
    heard_s: float = 0.0
    key_id: str = ""
    inventory: InventoryRow | None = None

    @property
    def state(self) -> Connection:
        return self.standing.state


@dataclass(frozen=True, slots=True)
class Fleet:
    """One look at everything.

    Attributes:
        services: Those that send traces and have no client.
    """

    clients: tuple[ClientLine, ...]
    agents: tuple[AgentLine, ...]
    client_states: Mapping[Connection, int]
    agent_states: Mapping[Connection, int]
    at_s: float
    services: tuple[ClientLine, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where all clients of one agent stand; the same object as long as that does not change."""

    session: Session | None
    view: View | None
    hostname: str
    error: str
    tags: tuple[str, ...]
    seen_s: float
    waiting: bool
    heard: bool  # within the time in which a connected one is heard
    well: bool  # heard, and no error, and nothing bars it
    barred: Standing | None = None  # what keeps it from asking


@dataclass(slots=True)
class _Kept:
    """What was worked out for a client, and what it rests on."""

    row: rows.ClientRow
    said: Mapping[str, rows.DeliveryRow] | None
    place: _Place
    publication: tuple[int, int, bool]
    files: tuple[FileState, ...]
    in_step: int
    failed: int
    line: ClientLine | None = None
    line_lasts: bool = False  # nothing in the line changes with time alone


class Overview:
    """The fleet of one organisation. Lives on the event loop."""

    def __init__(self, tenant: Tenant, database: Database) -> None:
        self._tenant = tenant
        self._database = database
        self._is_shared = not database.url.startswith("sqlite")
        self._kept: dict[str, _Kept] = {}
        self._places: dict[str, _Place] = {}
        self._publication = (0, 0, False)
        self._agents: dict[str, rows.AgentRow] = {}
        self._others: dict[str, tuple[rows.ClientRow, dict[str, rows.DeliveryRow]]] = {}
        self._agents_read_at = self._others_read_at = 0.0
        self._last: Fleet | None = None
        self._glanced_at = 0.0
        self._saved_ms: dict[str, int] = {}  # by path, of the present publication
        self._known: dict[str, rows.ClientRow] = {}
        self._services: tuple[ClientLine, ...] = ()
        self._services_at = 0.0
        self._unasked: dict[str, _Unasked] = {}  # by agent
        self._lock = asyncio.Lock()

    async def glance(self) -> Fleet:
        """The fleet as of seconds ago if somebody looked then, else as it is; for pages that become live."""
        self._glanced_at = time.time()
        last = self._last
        if last is None or time.time() - last.at_s > GLANCE_S:
            return await self.look()
        return last  # no look on the side: it would compete with whoever asks next

    async def keep_warm(self) -> None:
        """Look now and then, so that whoever comes to a page of a large fleet does not wait for it.

        What changed in a few seconds is quickly worked out; after a night it is not. The rows of other
        control planes are read only while somebody watches.
        """
        while True:
            await asyncio.sleep(WARM_EVERY_S)
            if self._is_shared and time.time() - self._glanced_at > WATCHED_FOR_S:
                continue
            try:
                await self.look()
            except SealwireError as error:
                log.warning("fleet not looked at yet", code=error.code, detail=error.detail)
            except Exception:
                log.exception("fleet not looked at")

    async def look(self, *, fresh_for_s: float = FRESH_FOR_S) -> Fleet:
        """The fleet as it is, at most a second old."""
        async with self._lock:
            now_s = time.time()
            if self._last is None or now_s - self._last.at_s > fresh_for_s:
                await self._read_tables(now_s)
                self._last = await self._look(now_s)
            return self._last

    @property
    def last(self) -> Fleet | None:
        """The fleet as of the last look, seconds ago; None: nobody looked yet."""
        return self._last

    def row_of(self, client_id: str) -> rows.ClientRow | None:
        """A client as it last reported, of any kind, as of the last look."""
        return self._known.get(client_id)

    @property
    def known(self) -> Mapping[str, rows.ClientRow]:
        """Every client that is kept, by id, as of the last look; agents' own clients are among them."""
        return self._known

    def facts_of(self, line: ClientLine) -> ClientFacts:
        """All that targeting may ask about a client."""
        session = self._tenant.distributor.sessions.get(line.agent_id)
        if session is not None and session.demand is not None:
            for facts in session.demand.agent.clients:
                if facts.client_id == line.client_id:
                    return facts
        agent = self._agents.get(line.agent_id)
        return _facts(line.client_id, line.facts, agent.tags if agent is not None else ())

    # Reading ------------------------------------------------------------------------------------------

    async def _read_tables(self, now_s: float) -> None:
        await self._tenant.inventory.follow_others()
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
        observer = self._tenant.observer
        publisher = self._tenant.publisher
        switched_on = self._tenant.organisation.remote_config
        publication = (publisher.director_version, publisher.config_version, switched_on)
        if publication != self._publication:
            self._publication = publication
            self._saved_ms = {}
        publication = self._publication
        heard_within_s = max(HEARD_WITHIN_S, 3 * self._tenant.refresh_interval_s)
        self._places = places = self._find_places(now_s, heard_within_s)
        known = self._known = self._known_clients()
        lines: list[ClientLine] = []
        states: Counter[Connection] = Counter()
        worked = 0
        for client_id, row in known.items():
            place = places.get(row.agent_id)
            kept = self._kept.get(client_id)
            if (
                kept is not None
                and kept.line_lasts
                and kept.row is row
                and kept.place is place
                and kept.publication is publication
                and kept.line is not None
            ):
                lines.append(kept.line)
                continue
            if row.facts.get("kind") != "tracer":
                continue
            if place is None:
                place = _Place(None, None, row.agent_id.partition(":")[0], "", (), 0.0, False, False, False)
            other = self._others.get(client_id)
            # Not "is it still ours": a report that came while we looked replaced our own row, too.
            said = other[1] if other is not None and other[0] is row else observer.said.get(client_id)
            if (
                kept is None
                or kept.row is not row
                or kept.said is not said
                or kept.publication is not publication
                or kept.place.view is not place.view
                or kept.place.tags != place.tags
            ):
                kept = self._kept[client_id] = self._work_out(row, said, place, publication)
                worked += 1
            kept.place = place
            line = self._line(kept, now_s, heard_within_s)
            if line is not None:
                lines.append(line)
            if (worked + len(lines)) % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        if len(self._kept) > len(known):
            for client_id in [client_id for client_id in self._kept if client_id not in known]:
                del self._kept[client_id]
        for line in lines:
            states[line.standing.state] += 1
        agents = self._agent_lines(lines, now_s, heard_within_s)
        agent_states = Counter(line.state for line in agents)
        if now_s - self._services_at > SERVICES_EVERY_S:
            self._services_at = now_s
            self._services = tuple(self._service_lines(lines, now_s))
        return Fleet(tuple(lines), tuple(agents), states, agent_states, now_s, self._services)

    def _known_clients(self) -> dict[str, rows.ClientRow]:
        """Everybody, of this control plane and of the others."""
        known = dict(self._tenant.observer.clients)
        sessions = self._tenant.distributor.sessions
        for client_id, (row, _) in self._others.items():
            mine = known.get(client_id)
            if mine is None or (
                row.last_seen_ms > mine.last_seen_ms and not _is_live(sessions, mine, client_id)
            ):
                known[client_id] = row
        return known

    def _find_places(self, now_s: float, heard_within_s: float) -> dict[str, _Place]:
        sessions = self._tenant.distributor.sessions
        before = self._places
        places: dict[str, _Place] = {}
        inventories = self._tenant.inventory.rows
        keys = {key.key_id: key for key in self._tenant.switches.keys}
        for agent_id in self._agents.keys() | sessions.keys() | inventories.keys():
            session, row, told = sessions.get(agent_id), self._agents.get(agent_id), inventories.get(agent_id)
            barred = _barred(session, row, told, keys, now_s)
            if session is not None:
                waiting, seen_s, error = bool(session.waiters), session.last_seen, session.error
                heard = waiting or now_s - seen_s <= heard_within_s
                place = _Place(
                    session, session.view, session.hostname, error, session.tags, seen_s, waiting, heard,
                    heard and not error.startswith(("tuf:", "api:")) and barred is None, barred,
                )  # fmt: skip
            elif row is not None:
                place = _Place(
                    None, None, row.hostname, row.error, row.tags, row.last_seen_ms / 1000, False, False,
                    False, barred,
                )  # fmt: skip
            else:
                hostname = "" if told is None else told.hostname
                place = _Place(None, None, hostname, "", (), 0.0, False, False, False, barred)
            known = before.get(agent_id)
            places[agent_id] = known if known is not None and known == place else place
        return places

    def _line(self, kept: _Kept, now_s: float, heard_within_s: float) -> ClientLine | None:
        """A client as it is now; None when it has been away too long to be shown."""
        row, place = kept.row, kept.place
        live = place.session is not None and row.client_id in place.session.reported
        waiting = live and place.waiting
        if live:
            seen_s = place.seen_s
        else:
            seen_s = max(row.last_seen_ms, self._tenant.observer.seen_ms.get(row.client_id, 0)) / 1000
        age_s = 0.0 if waiting else now_s - seen_s
        if age_s > SHOW_FOR_S:
            kept.line, kept.line_lasts = None, False
            return None
        remote_config = self._tenant.organisation.remote_config
        gone = not live and place.session is not None and place.well and age_s > GONE_AFTER_S
        if gone and remote_config:
            standing, lasts = GONE, False
        elif live and place.well and remote_config and not row.error and kept.in_step == len(kept.files):
            standing, lasts = CONNECTED, True
        else:
            lasts = False
            standing = client_standing(
                kept.files,
                now_s=now_s,
                age_s=age_s,
                heard_within_s=heard_within_s,
                language=str(row.facts.get("language", "")),
                tracer_version=str(row.facts.get("tracer_version", "")),
                agent_error=place.error,
                client_error=row.error,
                remote_config=remote_config,
                barred=place.barred,
                known_for_s=now_s - row.first_seen_ms / 1000,
            )
        kept.line_lasts = lasts
        kept.line = ClientLine(
            row.client_id, row.agent_id, place.hostname, row.facts, kept.files, kept.in_step, kept.failed,
            standing, row.error, row.first_seen_ms / 1000, seen_s, waiting,
        )  # fmt: skip
        return kept.line

    def _work_out(
        self,
        row: rows.ClientRow,
        said: Mapping[str, rows.DeliveryRow] | None,
        place: _Place,
        publication: tuple[int, int, bool],
    ) -> _Kept:
        publisher = self._tenant.publisher
        active = publisher.catalogue.active
        wanted = place.view.wanted.get(row.client_id) if place.view is not None else None
        files: list[FileState] = []
        for path in wanted if wanted is not None else self._would_get(row, place.tags):
            file = publisher.files.get(path)
            if file is None:
                continue
            saved_ms = self._saved_ms.get(path)
            if saved_ms is None:
                times = (active[source].row.updated_ms for source in file.sources if source in active)
                saved_ms = self._saved_ms[path] = max(times, default=0)
            delivery = None if said is None else said.get(path)
            files.append(file_state(file, delivery, saved_ms=saved_ms, first_seen_ms=row.first_seen_ms))
        in_step = sum(file.state is DeliveryState.IN_STEP for file in files)
        failed = sum(file.state is DeliveryState.FAILED for file in files)
        return _Kept(row, said, place, publication, tuple(files), in_step, failed)

    def _would_get(self, row: rows.ClientRow, tags: Iterable[str]) -> Iterable[str]:
        """The paths a client that is not here would get if it came back as it was."""
        facts = _facts(row.client_id, row.facts, tags)
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
        remote_config = self._tenant.organisation.remote_config
        inventories = self._tenant.inventory.rows
        lines: list[AgentLine] = []
        for agent_id, place in self._places.items():
            row, session, told = self._agents.get(agent_id), place.session, inventories.get(agent_id)
            wanted: int | None = None
            roots: tuple[int, int] | None = None
            key_id = ""
            if session is not None:
                seen_s = now_s if place.waiting else session.last_seen
                has, version, first_s = session.director_version, session.version, session.first_seen
                wanted = session.bundle.version if session.bundle is not None else None
                roots, key_id = (session.director_root, session.config_root), session.key_id
            elif row is not None:
                seen_s, has, version = row.last_seen_ms / 1000, row.director_version, row.version
                first_s, key_id = row.first_seen_ms / 1000, row.api_key_id
            else:
                seen_s, has, version, first_s = 0.0, 0, "", math.inf
            tags, heard_s, told_s = place.tags, seen_s, 0.0
            document = None
            if told is not None:
                heard_s, told_s = max(seen_s, told.heard_ms / 1000), (told.posted_ms or 0) / 1000
                first_s = min(first_s, told.first_seen_ms / 1000)
                key_id = told.api_key_id if told.heard_ms / 1000 >= seen_s else key_id
                document = told.told
                if document is not None:
                    version, tags = version or document.wire_version, tags or tuple(document.tags)
                version = version or told.version
            if now_s - heard_s > SHOW_AGENTS_FOR_S:
                continue
            standing = agent_standing(
                age_s=now_s - seen_s if seen_s else math.inf, heard_within_s=heard_within_s,
                error=place.error, failing_clients=failing[agent_id], has_version=has, wanted_version=wanted,
                remote_config=remote_config, version=version, barred=place.barred,
                told=None if document is None else document.remote_config,
                told_age_s=now_s - told_s, known_for_s=now_s - first_s,
            )  # fmt: skip
            lines.append(
                AgentLine(
                    agent_id, place.hostname, version, tags, standing, place.error, behind[agent_id], has,
                    wanted, roots, first_s, seen_s, place.waiting, heard_s, key_id, told,
                )
            )  # fmt: skip
        return lines

    def _service_lines(self, clients: Iterable[ClientLine], now_s: float) -> list[ClientLine]:
        """Services that send traces, and of whose tracers none asks for configs."""
        inventories = self._tenant.inventory.rows
        behind: dict[str, list[ClientLine]] = {}
        for line in clients:
            if line.agent_id in inventories and line.standing.state is not Connection.OFFLINE:
                behind.setdefault(line.agent_id, []).append(line)
        remote_config = self._tenant.organisation.remote_config
        before, self._unasked = self._unasked, {}
        lines: list[ClientLine] = []
        for agent_id, row in inventories.items():
            place = self._places.get(agent_id)
            if row.told is None or row.posted_ms is None or place is None:
                continue
            if now_s - row.posted_ms / 1000 > SHOW_FOR_S:
                continue
            here = behind.get(agent_id, [])
            kept = before.get(agent_id)
            if kept is None or not kept.holds(row, place, here, remote_config, now_s):
                kept = _unasked(agent_id, row, place, here, remote_config, now_s)
            self._unasked[agent_id] = kept
            lines.extend(kept.lines)
        return lines


@dataclass(frozen=True, slots=True)
class _Unasked:
    """The services of one agent without a client, and what that rests on."""

    row: InventoryRow
    place: _Place
    here: list[ClientLine]
    remote_config: bool
    until_s: float  # when the first of them goes silent
    lines: tuple[ClientLine, ...]

    def holds(
        self, row: InventoryRow, place: _Place, here: list[ClientLine], remote_config: bool, now_s: float
    ) -> bool:
        return (
            self.row is row
            and self.place is place
            and self.remote_config is remote_config
            and now_s < self.until_s
            and self.here == here
        )


def _unasked(
    agent_id: str,
    row: InventoryRow,
    place: _Place,
    here: list[ClientLine],
    remote_config: bool,
    now_s: float,
) -> _Unasked:
    assert row.told is not None
    names: set[tuple[str, str]] = set()
    runtimes: set[str] = set()
    for client in here:
        facts = client.facts
        runtimes.add(facts.get("runtime_id", ""))
        env = facts.get("env", "").lower()
        names.add((facts.get("service", "").lower(), env))
        names.update((name.lower(), env) for name in facts.get("extra_services", ()))
    until_s = math.inf
    lines = []
    for service in row.told.services:
        if (service.service.lower(), service.env.lower()) in names:
            continue
        if not runtimes.isdisjoint(service.runtime_ids):
            continue
        # A host's clock may be off; what it posted it saw before.
        seen_s = min(service.seen_ms, row.posted_ms or 0) / 1000
        if now_s - seen_s <= OFFLINE_AFTER_S:
            until_s = min(until_s, seen_s + OFFLINE_AFTER_S)
        standing = service_standing(
            service, age_s=now_s - seen_s, barred=place.barred, told=row.told.remote_config,
            remote_config=remote_config,
        )  # fmt: skip
        lines.append(
            ClientLine(
                f"{SERVICE}:{agent_id}:{service.env}:{service.service}", agent_id, place.hostname,
                {
                    "kind": SERVICE,
                    "service": service.service,
                    "env": service.env,
                    "language": service.language,
                    "tracer_version": service.tracer_version,
                    "app_version": service.app_version,
                },
                (), 0, 0, standing, "", service.first_seen_ms / 1000, seen_s, False,
            )
        )  # fmt: skip
    return _Unasked(row, place, here, remote_config, until_s, tuple(lines))


def _barred(
    session: Session | None,
    row: rows.AgentRow | None,
    told: InventoryRow | None,
    keys: Mapping[str, rows.ApiKeyRow],
    now_s: float,
) -> Standing | None:
    """What keeps an agent from asking, by the newest that is known of it."""
    if session is not None:
        seen_s, key_id = session.last_seen, session.key_id
    elif row is not None:
        seen_s, key_id = row.last_seen_ms / 1000, row.api_key_id
    else:
        seen_s, key_id = 0.0, ""
    if told is None:
        return bar(
            key=keys.get(key_id), told=None, told_age_s=math.inf, refused_for="", refused_age_s=math.inf
        )
    if told.heard_ms / 1000 >= seen_s or not key_id:
        key_id = told.api_key_id
    refused_s = (told.refused_ms or 0) / 1000
    return bar(
        key=keys.get(key_id),
        told=None if told.told is None else told.told.remote_config,
        told_age_s=now_s - (told.posted_ms or 0) / 1000,
        refused_for=told.refused_for if refused_s > seen_s else "",
        refused_age_s=now_s - refused_s,
    )


def _is_live(sessions: Mapping[str, Session], row: rows.ClientRow, client_id: str) -> bool:
    session = sessions.get(row.agent_id)
    return session is not None and client_id in session.reported


def _facts(client_id: str, facts: Mapping[str, Any], tags: Iterable[str]) -> ClientFacts:
    return ClientFacts(
        client_id=client_id,
        runtime_id=str(facts.get("runtime_id", "")),
        service=str(facts.get("service", "")),
        env=str(facts.get("env", "")),
        language=str(facts.get("language", "")),
        tracer_version=str(facts.get("tracer_version", "")),
        app_version=str(facts.get("app_version", "")),
        host_tags=frozenset(tags),
        products=frozenset(facts.get("products", ())),
    )
