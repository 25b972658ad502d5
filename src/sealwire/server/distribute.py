"""Answer an agent's poll from what is published.

A poll that says what the last one said is answered from memory with the bytes of last time. Anything
else is read: it may change what the agent needs, and is always told to ``observe``. Only a poll whose view
is not published yet waits for ``reconciler``, and then at most a second; after that it gets what it had.

An answer is a function of the agent's bundle and of what its request says it holds:

    holds the bundle          both repositories' timestamp and snapshot
    holds another, or none    everything: roots above its own, all metadata, the files it lacks
    reports an error          everything, all files
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from sealwire.errors import MalformedError, UnavailableError
from sealwire.products import ClientFacts
from sealwire.server import outline
from sealwire.server.observe import MAX_CLIENT_ID_CHARS, Observer, storable
from sealwire.server.outline import Gist, Identity
from sealwire.server.publish import Bundle, Demand, Publisher
from sealwire.server.reconciler import Reconciler
from sealwire.server.views import AgentFacts, Held, View, keeps
from sealwire.server.withdrawal import NOTHING_WITHDRAWN, Withdrawn
from sealwire.wire import capabilities
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.codec import parse_latest_configs_request

log = structlog.get_logger()

SETTLE_TIMEOUT_S = 1.0
FORGET_SESSION_AFTER_S = 300.0
MAX_SESSIONS = 200_000
JUST_SIGNED_S = 5.0
MAX_READY = 20  # bundles made while an agent does not ask, of which the times are kept
MAX_FULL_ANSWERS_BYTES = 64 * 1024 * 1024  # kept to be sent again


@dataclass(slots=True, eq=False)
class Session:
    """One agent, as its last poll told it, and what it gets."""

    agent_id: str
    hostname: str
    key_id: str = ""  # of the API key it last asked with
    address: str = ""  # it last asked from
    identity: Identity | None = None
    gist: Gist | None = None  # what its last request said
    demand: Demand | None = None
    bundle: Bundle | None = None
    fresh_until: float = 0.0  # when the bundle wants new signatures, time.time()
    view: View | None = None
    answer: bytes = b""  # what answers ``gist`` from now on, empty when that must be thought about
    is_steady: bool = False  # the answer says nothing new
    ready_ms: tuple[int, ...] = ()  # when bundles were ready for it, since it was given the last one
    last_given: tuple[tuple[int, ...], int] = ((), 0)  # of the last bundle: the same, and when it was given
    given: dict[str, tuple[int, tuple[int, ...], int]] = field(default_factory=dict)  # path -> version, same
    given_until: float = 0.0  # when the newest of what it was given here expires, seconds since 1970
    last_seen: float = 0.0  # time.time()
    first_seen: float = 0.0
    tags: tuple[str, ...] = ()
    version: str = ""
    error: str = ""
    has_error: bool = False
    director_version: int = 0
    config_version: int = 0
    director_root: int = 0
    config_root: int = 0
    reported: dict[str, dict[str, tuple[int, int, str]]] = field(default_factory=dict)
    waiters: dict[asyncio.Future[None], str] = field(default_factory=dict)  # held polls -> id of their key


class Distributor:
    """The agents of one organisation and their answers. Lives on the event loop; touches no database."""

    def __init__(self, publisher: Publisher, reconciler: Reconciler, observer: Observer) -> None:
        self.publisher = publisher
        self.sessions: dict[str, Session] = {}
        self.held: dict[str, dict[str, dict[str, object]]] = observer.load_held()
        self.polls = self.steady = 0
        self.withdrawn = NOTHING_WITHDRAWN
        self._reconciler = reconciler
        self._observer = observer
        self._by_identity: dict[Identity, Session] = {}
        self._steady_answers: dict[tuple[int, int], bytes] = {}
        self._full_answers: dict[tuple[object, ...], bytes] = {}
        self._full_answers_size = 0
        self._issued: dict[int, frozenset[tuple[str, str]]] = {}
        self._resign_after_s = publisher.resign_after.total_seconds()
        self._lifetime_s = publisher.timestamp_lifetime.total_seconds()
        reconciler.attach(self._demands, self._settle)

    # Polls ------------------------------------------------------------------------------------------

    async def poll(self, body: bytes, *, wait_s: float = 0.0, key_id: str = "", address: str = "") -> bytes:
        """Answer one request.

        Args:
            body: LatestConfigsRequest, unverified.
            wait_s: Hold a steady answer until something changes for this agent, at most so long. A poll that
                ``end_polls`` ended is answered too: whoever holds polls asks again whether the key may.
            key_id: Of the API key it came with.
            address: It came from.

        Raises:
            MalformedError: Not such a request.
            OversizeError: Too large, or with too many clients.
        """
        identity, gist = outline.read(body)
        session = self._known(identity, gist, key_id)
        if session is not None:
            answer, is_steady = session.answer, session.is_steady
        else:
            self.polls += 1
            request = parse_latest_configs_request(body)  # checks its bounds
            session = self._session(identity, request)
            if session.gist != gist or session.key_id != key_id:
                session.key_id = key_id
                session.gist, session.answer = gist, b""
            answer, is_steady = await self._answer(session, request, gist)
        session.address = address
        if wait_s <= 0 or not is_steady:
            return answer
        if await self._changed(session, wait_s, key_id):
            # The agent may have said more since, on another connection: its newest words count, or the
            # clients it told of meanwhile would be forgotten.
            newest = session.gist or gist
            answer, _ = await self._answer(session, parse_latest_configs_request(newest.request()), newest)
        return answer

    def fast_answer(self, body: bytes, key_id: str = "") -> bytes | None:
        """The answer to a request that says what the last one said; None if it wants ``poll``.

        Raises:
            MalformedError: Not a protobuf message.
        """
        identity, gist = outline.read(body)
        session = self._known(identity, gist, key_id)
        return None if session is None else session.answer

    def _known(self, identity: Identity, gist: Gist, key_id: str) -> Session | None:
        """The session whose answer is the one to a request; counts the poll."""
        session = self._by_identity.get(identity)
        if session is None or not session.answer or session.gist != gist or session.key_id != key_id:
            return None
        now = session.last_seen = time.time()
        bundle = session.bundle
        if bundle is None or bundle.roots is not self.publisher.roots or now >= session.fresh_until:
            return None
        self.polls += 1
        self.steady += 1
        return session

    def _session(self, identity: Identity, request: pb.LatestConfigsRequest) -> Session:
        agent_id = storable(f"{request.hostname}:{request.agent_uuid}", 200)
        session = self.sessions.get(agent_id)
        now = time.time()
        if session is None:
            if len(self.sessions) >= MAX_SESSIONS:
                raise UnavailableError("Too many agents on one control plane; add a replica.")
            session = Session(agent_id, storable(request.hostname, 300), first_seen=now)
            session.first_seen, session.reported = self._observer.known(agent_id, now)
            self.sessions[agent_id] = session
        session.last_seen = now
        if session.identity != identity:
            if session.identity is not None:
                self._by_identity.pop(session.identity, None)
            session.identity = identity
            self._by_identity[identity] = session
        return session

    def _is_current(self, session: Session) -> bool:
        bundle = session.bundle
        return (
            bundle is not None
            and bundle.roots is self.publisher.roots
            and session.last_seen < session.fresh_until
        )

    async def _answer(
        self, session: Session, request: pb.LatestConfigsRequest, gist: Gist
    ) -> tuple[bytes, bool]:
        """The answer, and whether it says nothing new."""
        echo = self.publisher.read_echo(request.backend_client_state)
        self._take_in(session, request, echo)
        demand = self._demand(session, request, echo)
        settled = session.bundle
        if (
            settled is None
            or not self._is_current(session)
            or session.demand is None
            or demand.agent != session.demand.agent
            or demand.held != session.demand.held
            or demand.keeping != session.demand.keeping
            or not demand.can_take(settled)
        ):
            session.demand = demand
            await self._reconciler.settle(timeout_s=SETTLE_TIMEOUT_S)
        else:
            session.demand = demand
        bundle = session.bundle
        if bundle is None:
            raise UnavailableError("The first signatures are being made; ask again.")
        answer, is_steady = self._encode(session, request, bundle, echo)
        session.given_until = max(session.given_until, bundle.signed_at.timestamp() + self._lifetime_s)
        if session.gist == gist:  # the agent may have said something else while this was decided
            session.answer, session.is_steady = answer, is_steady
        return answer, is_steady

    async def _changed(self, session: Session, wait_s: float, key_id: str) -> bool:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        session.waiters[waiter] = key_id
        try:
            await asyncio.wait([waiter], timeout=wait_s)
            return waiter.done() and not waiter.cancelled()
        finally:
            session.waiters.pop(waiter, None)
            session.last_seen = time.time()

    # What a request says ----------------------------------------------------------------------------

    def _take_in(
        self, session: Session, request: pb.LatestConfigsRequest, echo: tuple[int, str, int] | None
    ) -> None:
        session.tags = tuple(request.tags[:200])
        session.version = storable(request.agentVersion, 100)
        session.has_error = request.has_error
        session.error = storable(request.error, 2000)  # without has_error it tells of a clock that is off
        session.config_version = request.current_config_snapshot_version
        session.director_root = request.current_director_root_version
        session.config_root = request.current_config_root_version
        self._observer.record(session, request, director_version=echo[0] if echo else 0)
        self._take_back(session, request)
        self._compare_with_ledger(session, echo)

    def _compare_with_ledger(self, session: Session, echo: tuple[int, str, int] | None) -> None:
        """An agent ahead of the ledger means that history was lost: say so, and overtake it."""
        publisher = self.publisher
        ahead = []
        if echo is not None and echo[0] > publisher.director_version:
            ahead.append(f"director version {echo[0]} (last issued: {publisher.director_version})")
        if session.config_version > publisher.config_version:
            ahead.append(
                f"config repository version {session.config_version} "
                f"(last issued: {publisher.config_version})"
            )
        for name, reported, chain in (
            ("director", session.director_root, publisher.roots.director),
            ("config", session.config_root, publisher.roots.config),
        ):
            if reported > len(chain):
                ahead.append(f"{name} root {reported} (last made: {len(chain)})")
        if not ahead:
            return
        message = (
            f"Agent {session.hostname} holds {', '.join(ahead)}: this database is older than what was "
            "published from it. Restore a newer backup, or rotate the roots."
        )
        self._observer.alarm("ahead-of-ledger", session.agent_id, message)
        if echo is not None and echo[0] > publisher.director_version:
            # The echo carries our own MAC: it was ours before history was lost.
            self._reconciler.jump(director_above=echo[0], config_above=echo[2])

    def _demand(
        self, session: Session, request: pb.LatestConfigsRequest, echo: tuple[int, str, int] | None
    ) -> Demand:
        host_tags = frozenset(session.tags)
        known = (client_facts(client, host_tags) for client in request.active_clients)
        # A Go Agent sends its clients in a new order each time, which is no change.
        clients = tuple(
            sorted((facts for facts in known if facts is not None), key=lambda facts: facts.client_id)
        )
        held: dict[str, Held] = {
            facts.client_id: self.held[facts.client_id] for facts in clients if facts.client_id in self.held
        }
        keeping = {
            facts.client_id: kept
            for facts in clients
            if (kept := keeps(facts.language, session.reported.get(facts.client_id, ())))
        }
        withdrawn = self.withdrawn.concerns(session.key_id)
        if withdrawn and self.withdrawn.hurries(session.key_id):
            held = {}
        agent = AgentFacts(session.agent_id, host_tags, clients, withdrawn)
        if echo is None:
            return Demand(agent, held, keeping, holds_config=session.config_version)
        return Demand(agent, held, keeping, echo[0], echo[1], max(session.config_version, echo[2]))

    # Values that clients keep by themselves (ADR 2) ---------------------------------------------------

    def _take_back(self, session: Session, request: pb.LatestConfigsRequest) -> None:
        """Once a client has taken a file, it holds what that file says and nothing from before."""
        if session.view is None:
            return
        for client in request.active_clients:
            if client.id not in self.held:
                continue
            reported = session.reported.get(client.id, {})
            for path in session.view.wanted.get(client.id, ()):
                content, _ = session.view.entries[path]
                file = self.publisher.files.get(path)
                state = reported.get(path)
                if not content.sticky or file is None or state is None or state[:2] != (file.version, 2):
                    continue
                tracer = client.client_tracer
                self._hold(
                    client.id,
                    content.product,
                    content.sticky_for(tracer.language, tracer.tracer_version),
                )

    def _hold(self, client_id: str, product: str, values: Mapping[str, object]) -> None:
        mine = {**self.held.get(client_id, {})}
        if mine.get(product, {}) == values:
            return
        if values:
            mine[product] = dict(values)
        else:
            mine.pop(product, None)
        if mine:
            self.held[client_id] = mine
        else:
            self.held.pop(client_id, None)
        self._observer.remember_held(client_id, product, values)

    def _note_delivery(self, session: Session, view: View) -> None:
        """What a client is about to be given it may keep: remember it before the bytes leave."""
        if session.demand is None:
            return
        for facts in session.demand.agent.clients:
            for path in view.wanted.get(facts.client_id, ()):
                content, _ = view.entries[path]
                if not content.sticky:
                    continue
                values = content.sticky_for(facts.language, facts.tracer_version)
                if values:
                    before = self.held.get(facts.client_id, {}).get(content.product, {})
                    self._hold(facts.client_id, content.product, {**before, **values})

    # Reconciling --------------------------------------------------------------------------------------

    def _demands(self) -> list[Demand]:
        return [session.demand for session in self.sessions.values() if session.demand is not None]

    def _settle(self, outcomes: Mapping[str, tuple[Bundle, View]]) -> None:
        for agent_id, (bundle, view) in outcomes.items():
            session = self.sessions.get(agent_id)
            if session is None:
                continue
            if session.bundle is bundle and session.view is not None and session.view.wanted == view.wanted:
                continue
            self._note_delivery(session, view)
            if session.bundle is bundle:
                session.view = view  # the same files, for other clients
                continue
            session.bundle, session.view, session.answer, session.is_steady = bundle, view, b"", False
            now, signed = time.time(), bundle.signed_at.timestamp()
            # One that was signed long ago, for others, was ready then.
            ready_s = now if now - signed < JUST_SIGNED_S else signed
            session.ready_ms = (*session.ready_ms[-MAX_READY:], int(ready_s * 1000))
            session.fresh_until = bundle.signed_at.timestamp() + self._resign_after_s
            for waiter in session.waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # Withdrawing --------------------------------------------------------------------------------------

    def withdraw(self, withdrawn: Withdrawn) -> bool:
        """From now on these agents, and no others, are to hold nothing; held polls are answered with it.

        Returns:
            Whether these are others than before.
        """
        if withdrawn == self.withdrawn:
            return False
        self.withdrawn = withdrawn
        for session in self.sessions.values():
            before = session.demand
            if before is None:
                continue
            concerned = withdrawn.concerns(session.key_id)
            if not concerned and not before.agent.withdrawn:
                continue
            held = before.held
            if not before.agent.withdrawn or not concerned:
                held = {
                    facts.client_id: self.held[facts.client_id]
                    for facts in before.agent.clients
                    if facts.client_id in self.held
                }
            if concerned and withdrawn.hurries(session.key_id):
                held = {}
            session.demand = replace(before, agent=replace(before.agent, withdrawn=concerned), held=held)
            session.answer = b""
        self._reconciler.nudge()
        return True

    def end_polls(self, may_poll: Callable[[str], bool]) -> None:
        """Let held polls go whose key may poll no longer."""
        for session in self.sessions.values():
            for waiter, key_id in session.waiters.items():
                if not may_poll(key_id):
                    waiter.cancel()

    def release_waiters(self) -> None:
        """Let every held poll go with what it has: the server stops."""
        for session in self.sessions.values():
            for waiter in session.waiters:
                waiter.cancel()

    def forget_silent(self) -> None:
        """Drop sessions of agents that have not asked for a while; they are made again when they do."""
        horizon = time.time() - FORGET_SESSION_AFTER_S
        silent = [
            agent_id
            for agent_id, session in self.sessions.items()
            if session.last_seen < horizon and not session.waiters
        ]
        for agent_id in silent:
            identity = self.sessions.pop(agent_id).identity
            if identity is not None:
                self._by_identity.pop(identity, None)

    # Encoding -----------------------------------------------------------------------------------------

    def _note_given(self, session: Session, bundle: Bundle, lacks: frozenset[tuple[str, str]] | None) -> None:
        """When an agent was given what: for who asks how long changes take."""
        now_ms = int(time.time() * 1000)
        session.last_given = ready_ms, given_ms = session.ready_ms, now_ms
        session.ready_ms = ready_ms[-1:]  # should it be given the same again
        given = session.given
        for path in bundle.files if lacks is None else [path for path, _ in lacks]:
            version = bundle.files[path].version
            if given.get(path, (0,))[0] != version:
                given[path] = version, ready_ms, given_ms
        if len(given) > 2 * len(bundle.files) + 100:
            session.given = {path: when for path, when in given.items() if path in bundle.files}

    def _encode(
        self,
        session: Session,
        request: pb.LatestConfigsRequest,
        bundle: Bundle,
        echo: tuple[int, str, int] | None,
    ) -> tuple[bytes, bool]:
        """The answer, and whether it says nothing new."""
        config = bundle.config
        roots = bundle.roots
        director_root, config_root = (
            request.current_director_root_version,
            request.current_config_root_version,
        )
        if (
            echo is not None
            and director_root == len(roots.director)
            and config_root == len(roots.config)
            and not request.has_error
            and echo[0] == bundle.version
            and request.current_config_snapshot_version == config.version
        ):
            return self._steady(bundle), True
        lacks = self._lacks(request, bundle, echo)
        self._note_given(session, bundle, lacks)
        key = (bundle.version, config.version, director_root, config_root, lacks)
        known = self._full_answers.get(key)
        if known is not None:
            return known, False
        response = pb.LatestConfigsResponse()
        metas = response.director_metas
        _add_roots(metas.roots, roots.director, director_root)
        _set(metas.timestamp, bundle.version, bundle.timestamp)
        _set(metas.snapshot, bundle.version, bundle.snapshot)
        _set(metas.targets, bundle.version, bundle.targets)
        others = response.config_metas
        _add_roots(others.roots, roots.config, config_root)
        _set(others.timestamp, config.version, config.timestamp)
        _set(others.snapshot, config.version, config.snapshot)
        _set(others.topTargets, config.roles["targets"].version, config.roles["targets"].raw)
        for role in bundle.delegated:
            document = config.roles[role]
            others.delegatedTargets.add(version=document.version, role=role, raw=document.raw)
        for path, file in bundle.files.items():
            if lacks is None or (path, file.sha256) in lacks:
                folder, _, name = path.rpartition("/")
                response.target_files.add(path=f"{folder}/{file.sha256}.{name}", raw=file.raw)
        answer = response.SerializeToString()
        self._full_answers_size += len(answer)
        if self._full_answers_size > MAX_FULL_ANSWERS_BYTES:
            self._full_answers.clear()
            self._full_answers_size = len(answer)
        self._full_answers[key] = answer
        return answer, False

    def _lacks(
        self, request: pb.LatestConfigsRequest, bundle: Bundle, echo: tuple[int, str, int] | None
    ) -> frozenset[tuple[str, str]] | None:
        """The files an agent cannot have, None for all: it never says itself what it holds."""
        mine = frozenset((path, file.sha256) for path, file in bundle.files.items())
        if len(self._issued) > 5_000:
            self._issued.clear()
        self._issued[bundle.version] = mine
        if echo is None or request.has_error or request.current_config_snapshot_version == 0:
            return None
        had = self._issued.get(echo[0])
        return None if had is None else mine - had

    def _steady(self, bundle: Bundle) -> bytes:
        key = (bundle.version, bundle.config.version)
        answer = self._steady_answers.get(key)
        if answer is None:
            if len(self._steady_answers) > 10_000:
                self._steady_answers.clear()
            response = pb.LatestConfigsResponse()
            _set(response.director_metas.timestamp, bundle.version, bundle.timestamp)
            _set(response.director_metas.snapshot, bundle.version, bundle.snapshot)
            _set(response.config_metas.timestamp, bundle.config.version, bundle.config.timestamp)
            _set(response.config_metas.snapshot, bundle.config.version, bundle.config.snapshot)
            answer = self._steady_answers[key] = response.SerializeToString()
        return answer


def client_facts(client: pb.Client, host_tags: frozenset[str]) -> ClientFacts | None:
    """What a decision may rest on, from a client as its agent sent it; None if it is no tracer."""
    if not 0 < len(client.id) <= MAX_CLIENT_ID_CHARS or not client.is_tracer:
        return None
    tracer = client.client_tracer
    try:
        bits = capabilities.decode(client.capabilities)
    except MalformedError:
        bits = frozenset()
    return ClientFacts(
        client_id=client.id,
        runtime_id=tracer.runtime_id,
        service=tracer.service,
        env=tracer.env,
        language=tracer.language,
        tracer_version=tracer.tracer_version,
        app_version=tracer.app_version,
        host_tags=host_tags,
        products=frozenset(client.products),
        capabilities=frozenset(bits),
    )


def _set(meta: pb.TopMeta, version: int, raw: bytes) -> None:
    meta.version = version
    meta.raw = raw


def _add_roots(metas: object, chain: tuple[bytes, ...], known: int) -> None:
    """Every root above the one the agent has; all but the first when it has none."""
    for version in range(max(known, 1) + 1, len(chain) + 1):
        metas.add(version=version, raw=chain[version - 1])  # type: ignore[attr-defined]
