"""A fleet without applications: thousands of agents and tracers that ask a real control plane.

To see how the pages look and how a server holds up before a real fleet comes. Each agent keeps a connection
of its own, holds its question open as ours does, verifies what it gets against the first roots, and lets its
tracers say what became of it; some do not take what they get. What many agents are sent in the same bytes
is verified once.

Run by ``sealwire simulate``, which says on standard input where to ask, as one JSON object. A line of JSON on
standard output tells now and then how it goes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from sealwire.clock import utc_now
from sealwire.errors import SealwireError
from sealwire.trust.uptane import Answer, RepositoryParts, TrustedState
from sealwire.wire import predicates
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.codec import ApplyState
from sealwire.wire.path import ConfigPath
from sealwire.wire.version import WIRE_VERSION

PATH: Final = "/api/v0.1/configurations"
WAIT_S: Final = 25
TELL_EVERY_S: Final = 1.0
START_OVER_S: Final = 20.0  # not all in the same moment, as no fleet does
AT_ONCE: Final = 64  # handshakes under way
PRODUCTS: Final = ("APM_TRACING", "ASM", "ASM_DATA", "ASM_DD", "ASM_FEATURES")
#: Service, language, tracer version, share of all tracers.
SERVICES: Final = (
    ("shop", "python", "4.16.0", 20),
    ("shop-worker", "python", "4.13.1", 12),
    ("storefront", "node", "5.132.0", 16),
    ("checkout", "java", "1.53.0", 14),
    ("search", "go", "2.11.0", 10),
    ("billing", "dotnet", "3.30.0", 8),
    ("accounts", "java", "1.48.2", 8),
    ("mailer", "python", "3.19.9", 6),
    ("images", "node", "5.120.0", 4),
    ("legacy", "java", "1.3.0", 2),
)
ENVS: Final = (("prod", 70), ("staging", 20), ("dev", 10))
ERRORS: Final = (
    ("ASM", "unknown operator match_regexx in rule acme-003"),
    ("APM_TRACING", "tracing_sampling_rules[0]: provenance is missing"),
    ("ASM_DATA", "blocked_ips: 203.0.113.777 is not an address"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate.

    Attributes:
        clients: Tracers of each agent.
        failing: Share of agents with a tracer that does not take its configs.
        changing: Share of agents that lose a tracer and get another in a minute.
        seed: The same seed makes the same fleet.
    """

    url: str
    api_key: str
    ca_pem: str
    director_root: str
    config_root: str
    agents: int
    clients: int
    failing: float
    changing: float
    seed: int


@dataclass(slots=True)
class Tally:
    """What happened so far."""

    polls: int = 0
    news: int = 0
    connected: set[str] = field(default_factory=set)
    troubles: Counter[str] = field(default_factory=Counter)
    version: int = 0


class Verifier:
    """Verifies an answer once for all agents that are in the same state and are sent the same bytes."""

    def __init__(self, plan: Plan) -> None:
        self.start = TrustedState.bootstrap(
            director_root=plan.director_root.encode(), config_root=plan.config_root.encode()
        )
        self._known: dict[tuple[int, bytes], tuple[TrustedState, TrustedState]] = {}

    def after(self, state: TrustedState, body: bytes) -> TrustedState:
        """The state after an answer.

        Raises:
            UntrustedError: The answer is refused.
        """
        name = (id(state), hashlib.sha256(body).digest())
        known = self._known.get(name)
        if known is not None and known[0] is state:
            return known[1]
        after = state.update(
            to_answer(pb.LatestConfigsResponse.FromString(body)), now=utc_now(), org_uuid=None
        )
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[name] = (state, after)  # keeps ``state`` alive, so its id is its own
        return after


class Agent:
    """One agent and its tracers."""

    def __init__(
        self, number: int, plan: Plan, verifier: Verifier, tally: Tally, dice: random.Random
    ) -> None:
        self.hostname = f"sim-{number // 256:03d}-{number % 256:03d}"
        self._plan, self._verifier, self._tally, self._dice = plan, verifier, tally, dice
        self._state = verifier.start
        self._env = dice.choices([env for env, _ in ENVS], [share for _, share in ENVS])[0]
        self._uuid = f"{dice.getrandbits(32):08x}-0000-4000-8000-{number:012d}"
        self._tags = [f"env:{self._env}", f"region:{dice.choice(('eu-1', 'us-1'))}", f"rack:{number % 40}"]
        self._error = ""
        self._unsaid = False  # a tracer reported something that the control plane has not been told
        self._failing = dice.random() < plan.failing
        self._clients: list[pb.Client] = []
        for place in range(plan.clients):
            self._clients.append(self._tracer(f"{number:05d}-{place}"))

    def _tracer(self, name: str) -> pb.Client:
        service, language, version, _ = self._dice.choices(SERVICES, [share for *_, share in SERVICES])[0]
        return pb.Client(
            id=f"sim-{name}",
            is_tracer=True,
            products=PRODUCTS,
            client_tracer=pb.ClientTracer(
                runtime_id=f"{self._dice.getrandbits(64):016x}",
                service=service,
                env=self._env,
                language=language,
                tracer_version=version,
                app_version=f"1.{self._dice.randrange(4)}.0",
            ),
            state=pb.ClientState(root_version=1),
            capabilities=b"\x02",
        )

    async def run(self, gate: asyncio.Semaphore, context: ssl.SSLContext | None) -> None:
        """Ask until cancelled; trouble is counted, and asked again after."""
        await asyncio.sleep(self._dice.random() * min(START_OVER_S, self._plan.agents / 100))
        connector = aiohttp.TCPConnector(limit=1, ssl=context if context is not None else False)
        timeout = aiohttp.ClientTimeout(total=WAIT_S + 35)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            first = True
            while True:
                try:
                    if first:
                        async with gate:
                            told = await self._poll(session, wait=False)
                        first = False
                    else:
                        told = await self._poll(session, wait=not self._unsaid)
                    if told:
                        self._apply()
                    elif self._dice.random() < self._plan.changing * WAIT_S / 60:
                        self._change_a_tracer()
                except (SealwireError, aiohttp.ClientError, OSError, TimeoutError) as error:
                    self._tally.connected.discard(self.hostname)
                    self._tally.troubles[_words(error)] += 1
                    self._error = f"tuf: {error}" if isinstance(error, SealwireError) else ""
                    await asyncio.sleep(2 + 8 * self._dice.random())

    async def _poll(self, session: aiohttp.ClientSession, *, wait: bool) -> bool:
        headers = {"DD-Api-Key": self._plan.api_key, "Content-Type": "application/x-protobuf"}
        if wait:
            headers["Sealwire-Wait"] = str(WAIT_S)
        self._unsaid = False
        body = self._request()
        async with session.post(self._plan.url + PATH, data=body, headers=headers) as reply:
            answer = await reply.read()
            if reply.status != 200:
                raise OSError(f"answered {reply.status}: {answer[:120].decode('utf-8', 'replace')}")
        self._tally.polls += 1
        self._tally.connected.add(self.hostname)
        before = self._state
        self._state = self._verifier.after(before, answer)
        self._error = ""
        self._tally.version = max(self._tally.version, self._state.director_version)
        return self._state is not before and self._state.director_version != before.director_version

    def _request(self) -> bytes:
        state = self._state
        return pb.LatestConfigsRequest(
            hostname=self.hostname,
            agentVersion=WIRE_VERSION,
            agent_uuid=self._uuid,
            tags=[*self._tags, "sealwire_version:simulated"],
            products=PRODUCTS,
            active_clients=self._clients,
            current_config_snapshot_version=state.config_snapshot_version,
            current_director_root_version=state.director_root_version,
            current_config_root_version=state.config_root_version,
            backend_client_state=state.opaque_backend_state,
            has_error=bool(self._error),
            error=self._error,
        ).SerializeToString()

    def _apply(self) -> None:
        """Let the tracers take what is theirs, each in its own way, and say so with the next request."""
        self._tally.news += 1
        self._unsaid = True
        now_s = int(time.time())
        targets = [(ConfigPath.parse(path), target) for path, target in self._state.targets.items()]
        for place, client in enumerate(self._clients):
            product, error = ERRORS[(place + len(self.hostname)) % len(ERRORS)]
            del client.state.config_states[:]
            for path, target in targets:
                if not predicates.matches(target.custom, client, now_s=now_s):
                    continue
                fails = self._failing and not place and path.product == product
                client.state.config_states.add(
                    id=path.config_id,
                    product=path.product,
                    version=int(str(target.custom["v"])),
                    apply_state=ApplyState.ERROR if fails else ApplyState.ACKNOWLEDGED,
                    apply_error=error if fails else "",
                )
            client.state.targets_version = self._state.director_version

    def _change_a_tracer(self) -> None:
        """A deploy: one tracer goes, another comes."""
        if self._clients:
            place = self._dice.randrange(len(self._clients))
            self._clients[place] = self._tracer(f"{self._dice.getrandbits(40):010x}")
            self._unsaid = True


async def simulate(plan: Plan) -> None:
    """Run the fleet until cancelled, and tell how it goes."""
    dice = random.Random(plan.seed)
    verifier, tally = Verifier(plan), Tally()
    gate = asyncio.Semaphore(AT_ONCE)
    context = None
    if plan.url.startswith("https:"):
        context = ssl.create_default_context(cadata=plan.ca_pem or None)
    agents = [Agent(number, plan, verifier, tally, dice) for number in range(plan.agents)]
    running = [asyncio.create_task(agent.run(gate, context)) for agent in agents]
    try:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            failed = next((task for task in running if task.done() and not task.cancelled()), None)
            if failed is not None:
                failed.result()  # a fault of ours: end with it
            _tell(plan, tally)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _tell(plan: Plan, tally: Tally) -> None:
    line = {
        "agents": plan.agents,
        "tracers": plan.agents * plan.clients,
        "connected": len(tally.connected),
        "polls": tally.polls,
        "news": tally.news,
        "version": tally.version,
        "troubles": dict(tally.troubles.most_common(3)),
    }
    print(json.dumps(line), flush=True)  # noqa: T201 - the line its starter reads


def to_answer(message: pb.LatestConfigsResponse) -> Answer:
    """An answer of a control plane as the verifier takes it."""
    director, config = message.director_metas, message.config_metas
    return Answer(
        director=RepositoryParts(
            roots=tuple(root.raw for root in director.roots),
            timestamp=director.timestamp.raw or None,
            snapshot=director.snapshot.raw or None,
            targets=director.targets.raw or None,
        ),
        config=RepositoryParts(
            roots=tuple(root.raw for root in config.roots),
            timestamp=config.timestamp.raw or None,
            snapshot=config.snapshot.raw or None,
            targets=config.topTargets.raw or None,
            delegated={role.role: role.raw for role in config.delegatedTargets},
        ),
        files={file.path: file.raw for file in message.target_files},
    )


def _words(error: Exception) -> str:
    return error.public if isinstance(error, SealwireError) else str(error)[:160] or type(error).__name__


def main() -> None:
    """Read the plan from standard input and run it."""
    plan = Plan(**json.loads(sys.stdin.readline()))
    try:
        asyncio.run(simulate(plan))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
