"""Answers to polls: as little as an agent needs, everything when it is in doubt, never a step back.

A whole organisation runs in this process, loops and all; agents are ``SimulatedAgent``, which verifies each
answer from the two version 1 roots on.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from sealwire.clock import utc_now
from sealwire.errors import MalformedError, OversizeError, RollbackError
from sealwire.server.control_plane import ControlPlane
from sealwire.server.fleet.explain import FileState
from sealwire.server.store import read, rows
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.codec import ApplyState
from tests.support.parts import ASM_OFF, ASM_ON, denylist, running, tracing
from tests.support.simulated_agent import Sightings, SimulatedAgent, files_in, is_steady, tracer


class Running:
    """A control plane at work, and what tests do with it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        (self.tenant,) = plane.tenants.values()
        self.distributor = self.tenant.distributor
        self.publisher = self.tenant.publisher
        self.sightings = Sightings()

    def agent(self, name: str = "host-a", *clients: pb.Client, tags: tuple[str, ...] = ()) -> SimulatedAgent:
        roots = self.publisher.roots
        return SimulatedAgent(
            (roots.director[0], roots.config[0]),
            hostname=name,
            agent_uuid=f"uuid-of-{name}",
            org_uuid=self.tenant.organisation.uuid,
            tags=tags,
            sightings=self.sightings,
            clients={client.id: client for client in clients},
        )

    async def poll(self, agent: SimulatedAgent, *, wait_s: float = 0, **changes: Any) -> bytes:
        """One poll, believed; the bytes of the answer."""
        body = await self.distributor.poll(agent.request(**changes), wait_s=wait_s)
        agent.take(body, now=utc_now())
        return body

    async def settled(self, agent: SimulatedAgent) -> bytes:
        """Poll and report until nothing is new; the last answer."""
        for _ in range(10):
            body = await self.poll(agent)
            agent.apply(now=utc_now())
            if is_steady(body) and is_steady(await self.poll(agent)):
                return body
        raise AssertionError("the agent never came to rest")

    async def states(self) -> dict[str, tuple[FileState, ...]]:
        """What became of each file, by client, as people see it."""
        found = await self.tenant.overview.look(fresh_for_s=-1)
        return {line.client_id: line.files for line in found.clients}

    async def put(self, product: str, payload: Any, **targeting: Any) -> rows.ConfigRow:
        author, now = self.tenant.author, self.plane.clock()
        draft = author.check(product=product, payload=payload, targeting=targeting, now=now)
        row = author.create(draft, by="test", now=now)
        await self.published()
        return row

    async def change(self, row: rows.ConfigRow, payload: Any) -> rows.ConfigRow:
        changed, _ = self.tenant.author.change(
            row.config_id,
            expected_revision=row.revision,
            fields={"payload": payload},
            by="test",
            now=self.plane.clock(),
        )
        await self.published()
        return changed

    async def retire(self, row: rows.ConfigRow) -> None:
        self.tenant.author.retire(row.config_id, expected_revision=None, by="test", now=self.plane.clock())
        await self.published()

    async def published(self) -> None:
        await self.tenant.reconciler.settle(timeout_s=10)

    async def alarms(self) -> list[rows.AlarmRow]:
        await self.tenant.observer.flush()
        with self.plane.database.read() as c:
            return read.open_alarms(c)

    async def held(self) -> dict[str, Any]:
        """What clients hold by themselves, as the database has it."""
        await self.tenant.observer.flush()
        with self.plane.database.read() as c:
            return read.held_values(c, self.tenant.organisation.org_id)


@asynccontextmanager
async def at_work(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    async with running(folder, **settings) as plane:
        yield Running(plane)


Case = Callable[[Running], Awaitable[None]]


def run(folder: Path, case: Case, **settings: Any) -> None:
    async def with_plane() -> None:
        async with at_work(folder, **settings) as it:
            await case(it)

    asyncio.run(with_plane())


# What an answer holds -------------------------------------------------------------------------------------


def test_first_everything_then_timestamps_and_snapshots_then_only_what_is_new(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        await it.put("ASM_DATA", denylist("203.0.113.7"))
        agent = it.agent("host-a", tracer("c1"))

        first = await it.poll(agent)
        assert len(files_in(first)) == 1
        assert (
            len(pb.LatestConfigsResponse.FromString(first).director_metas.roots) == 1
        )  # v2; v1 it was given
        assert is_steady(await it.poll(agent))

        new = await it.put("ASM_DATA", denylist("203.0.113.8"))
        delta = await it.poll(agent)
        assert [path.split("/")[3] for path in files_in(delta)] == [new.config_id]
        assert not pb.LatestConfigsResponse.FromString(delta).director_metas.roots
        assert len(agent.state.targets) == 2
        assert is_steady(await it.poll(agent))

    run(tmp_path, case)


def test_an_agent_without_clients_is_given_nothing_but_is_answered(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        await it.put("ASM_DATA", denylist("203.0.113.7"))
        agent = it.agent()

        assert files_in(await it.poll(agent)) == {}
        assert agent.state.targets == {}
        assert agent.state.director_version > 0
        assert is_steady(await it.poll(agent))

    run(tmp_path, case)


def test_the_bytes_of_a_steady_answer_stay_the_same_whatever_others_get(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        cart = it.agent("host-b", tracer("c2", service="cart"))
        await it.poll(cart)
        before = await it.poll(cart)
        for n in range(5):
            await it.put("ASM_DATA", denylist(f"203.0.113.{n}"), service=["shop"])
            assert await it.poll(cart) == before
        assert all("ASM_DATA" not in path for path in cart.state.targets)

    run(tmp_path, case)


def test_who_reports_an_error_gets_everything_and_all_files(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        await it.put("ASM_DATA", denylist("203.0.113.7"))
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)

        for _ in range(2):  # as long as it complains
            agent.error = "tuf: digest: something was wrong"
            body = await it.poll(agent)
            assert len(files_in(body)) == 1
            assert pb.LatestConfigsResponse.FromString(body).director_metas.targets.raw
        assert is_steady(await it.poll(agent))

    run(tmp_path, case)


def test_an_agent_that_asks_for_everything_gets_it(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        await it.put("ASM_DATA", denylist("203.0.113.7"))
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)

        nothing_held = await it.distributor.poll(
            agent.request(current_config_snapshot_version=0, backend_client_state=b"")
        )

        assert len(files_in(nothing_held)) == 1
        fresh = it.agent("host-a", tracer("c1"))
        missing_roots = pb.LatestConfigsResponse.FromString(nothing_held)
        assert not missing_roots.director_metas.roots  # it said that it has them
        fresh.take(await it.distributor.poll(fresh.request()), now=utc_now())
        assert fresh.state.director_version == agent.state.director_version

    run(tmp_path, case)


def test_an_agent_whose_echo_is_lost_is_given_everything_and_no_step_back(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        await it.put("ASM_DATA", denylist("203.0.113.7"))
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)

        body = await it.poll(agent, backend_client_state=b"")

        assert len(files_in(body)) == 1
        assert is_steady(await it.poll(agent))

    run(tmp_path, case)


@pytest.mark.parametrize(
    "forge",
    [
        lambda body: {**body, "v": body["v"] + 1000},
        lambda body: {**body, "c": body["c"] + 1000},
        lambda body: {**body, "w": "0" * 16},
        lambda body: {**body, "m": "0" * 32},
        lambda body: {key: value for key, value in body.items() if key != "m"},
        lambda _: [],
        lambda _: {"v": "x", "w": None, "c": {}, "m": 5},
    ],
)
def test_a_forged_echo_is_no_echo(tmp_path: Path, forge: Callable[[Any], Any]) -> None:
    async def case(it: Running) -> None:
        await it.put("ASM_DATA", denylist("203.0.113.7"))
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)
        before = it.publisher.director_version
        forged = orjson.dumps(forge(orjson.loads(agent.state.opaque_backend_state)))

        body = await it.poll(agent, backend_client_state=forged)

        assert len(files_in(body)) == 1
        assert it.publisher.director_version == before
        assert await it.alarms() == []

    run(tmp_path, case)


def test_the_echo_of_another_organisation_is_no_echo(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        _, _ = await it.plane.create_organisation("other", by="test")
        other = it.plane.tenants[2]
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)

        assert it.publisher.read_echo(agent.state.opaque_backend_state) is not None
        assert other.publisher.read_echo(agent.state.opaque_backend_state) is None

    run(tmp_path, case)


# History that was lost ------------------------------------------------------------------------------------


def echo_of(it: Running, version: int, config_version: int) -> bytes:
    """An echo that this control plane made, in a history it no longer remembers."""
    return base64.b64decode(it.publisher.echo(version, "ab" * 32, config_version))


def test_an_echo_above_the_ledger_raises_an_alarm_and_is_overtaken(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        await it.put("ASM_DATA", denylist("203.0.113.7"))
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)

        ahead = it.publisher.director_version + 500
        request = agent.request(
            backend_client_state=echo_of(it, ahead, 700), current_config_snapshot_version=700
        )
        agent.take(await it.distributor.poll(request), now=utc_now())

        assert agent.state.director_version > ahead
        assert agent.state.config_snapshot_version > 700
        (alarm,) = await it.alarms()
        assert alarm.kind == "ahead-of-ledger"
        assert str(ahead) in alarm.message
        await it.settled(agent)
        assert len(await it.alarms()) == 1

    run(tmp_path, case)


def test_an_agent_that_claims_a_config_version_of_nobody_raises_an_alarm_and_moves_nothing(
    tmp_path: Path,
) -> None:
    async def case(it: Running) -> None:
        honest = it.agent("host-a", tracer("c1"))
        await it.settled(honest)
        before = it.publisher.director_version, it.publisher.config_version
        liar = it.agent("host-x", tracer("c2"))
        await it.poll(liar)
        issued = it.publisher.director_version, it.publisher.config_version
        for _ in range(3):
            await it.distributor.poll(liar.request(current_config_snapshot_version=2**64 - 1))

        assert issued == before  # the same view: one bundle serves both
        assert (it.publisher.director_version, it.publisher.config_version) == issued
        assert [alarm.kind for alarm in await it.alarms()] == ["ahead-of-ledger"]
        assert is_steady(await it.poll(honest))

    run(tmp_path, case)


def test_roots_that_were_lost_heal_once_the_chain_has_grown_past_them(tmp_path: Path) -> None:
    """The agent holds a root 3 that this database never heard of; its keys signed nothing that is served."""

    async def case(it: Running) -> None:
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)
        body = await it.distributor.poll(agent.request(current_director_root_version=3))

        assert not is_steady(body)
        (alarm,) = await it.alarms()
        assert "director root 3" in alarm.message

    run(tmp_path, case)


# Waiting --------------------------------------------------------------------------------------------------


def test_a_held_poll_is_answered_as_soon_as_something_changes_for_its_agent(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        shop = it.agent("host-a", tracer("c1", service="shop"))
        cart = it.agent("host-b", tracer("c2", service="cart"))
        await it.settled(shop)
        await it.settled(cart)
        at_shop = asyncio.create_task(it.poll(shop, wait_s=30))
        at_cart = asyncio.create_task(it.poll(cart, wait_s=30))
        await asyncio.sleep(0)

        await it.put("ASM_DATA", denylist("203.0.113.7"), service=["shop"])
        body = await asyncio.wait_for(at_shop, 5)

        assert len(files_in(body)) == 1
        assert not at_cart.done()
        it.distributor.release_waiters()
        assert is_steady(await asyncio.wait_for(at_cart, 5))

    run(tmp_path, case)


def test_a_held_poll_ends_with_its_time(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)

        assert is_steady(await asyncio.wait_for(it.poll(agent, wait_s=0.05), 5))
        assert not any(session.waiters for session in it.distributor.sessions.values())

    run(tmp_path, case)


def test_an_answer_that_brings_something_is_not_held(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        await it.put("ASM_DATA", denylist("203.0.113.7"))
        agent = it.agent("host-a", tracer("c1"))

        assert len(files_in(await asyncio.wait_for(it.poll(agent, wait_s=30), 5))) == 1

    run(tmp_path, case)


def test_what_an_agent_says_while_its_poll_is_held_is_not_forgotten_when_that_poll_ends(
    tmp_path: Path,
) -> None:
    """The held poll was sent before the client appeared; its words are old."""

    async def case(it: Running) -> None:
        agent = it.agent("host-a")
        await it.settled(agent)
        held = asyncio.create_task(it.distributor.poll(agent.request(), wait_s=30))
        await asyncio.sleep(0)
        agent.clients["c1"] = tracer("c1")
        await it.settled(agent)

        await it.put("ASM_DATA", denylist("203.0.113.7"))
        await asyncio.wait_for(held, 5)
        await it.settled(agent)

        assert len(agent.files_of("c1", now=utc_now())) == 1
        states = await it.states()
        assert list(states) == ["c1"]
        assert [file.state.value for file in states["c1"]] == ["in_step"]

    run(tmp_path, case)


# Clients that come and go -----------------------------------------------------------------------------------


def test_a_new_client_is_served_with_the_answer_to_the_poll_that_names_it(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        await it.put("ASM_FEATURES", ASM_ON, service=["shop"])
        agent = it.agent("host-a", tracer("c2", service="cart"))
        await it.settled(agent)

        agent.clients["c1"] = tracer("c1", service="shop")
        body = await it.poll(agent)

        assert len(files_in(body)) == 1
        assert agent.payload("c1", "ASM_FEATURES", now=utc_now()) == ASM_ON
        assert agent.payload("c2", "ASM_FEATURES", now=utc_now()) is None

    run(tmp_path, case)


def test_a_second_process_of_a_service_is_known_with_what_it_shall_have(tmp_path: Path) -> None:
    """Its agent's view does not change, as the first process has the same; what is wanted does."""

    async def case(it: Running) -> None:
        await it.put("ASM_FEATURES", ASM_ON, service=["shop"])
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)
        version = agent.state.director_version

        agent.clients["c2"] = tracer("c2")
        await it.settled(agent)

        assert agent.state.director_version == version
        states = await it.states()
        assert [file.state.value for file in states["c2"]] == ["in_step"]
        assert [file.state.value for file in states["c1"]] == ["in_step"]

    run(tmp_path, case)


def test_apply_states_are_told_as_they_are(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        row = await it.put("ASM_FEATURES", ASM_ON)
        agent = it.agent("host-a", tracer("c1"))
        await it.poll(agent)
        seen = []
        for state, error in (
            (ApplyState.UNACKNOWLEDGED, ""),
            (ApplyState.ERROR, "no such feature"),
            (ApplyState.ACKNOWLEDGED, ""),
        ):
            agent.apply(now=utc_now(), states={"ASM_FEATURES": state}, errors={"ASM_FEATURES": error})
            await it.poll(agent)
            states = await it.states()
            (file,) = states["c1"]
            seen.append((file.state.value, file.error))
        await it.change(row, ASM_OFF)
        states = await it.states()

        assert seen == [("applying", ""), ("failed", "no such feature"), ("in_step", "")]
        assert states["c1"][0].state.value == "behind"
        assert states["c1"][0].reported_version == 1
        assert states["c1"][0].version == 2

    run(tmp_path, case)


def test_when_a_client_acknowledged_is_not_told_anew_by_silence_or_a_restart(tmp_path: Path) -> None:
    async def since(it: Running) -> int:
        await it.tenant.observer.flush()
        with it.plane.database.read() as c:
            (row,) = read.deliveries(c, it.tenant.organisation.org_id)
        return row.since_ms

    acknowledged: list[int] = []
    agents: list[SimulatedAgent] = []

    async def case(it: Running) -> None:
        await it.put("ASM_FEATURES", ASM_ON)
        agent = it.agent("host-a", tracer("c1"))
        agents.append(agent)
        await it.settled(agent)
        acknowledged.append(await since(it))
        await asyncio.sleep(0.01)

        # It is not there for a poll, as when its agent restarts.
        gone = agent.clients.pop("c1")
        await it.poll(agent)
        agent.clients["c1"] = gone
        await it.poll(agent)
        assert await since(it) == acknowledged[0]

        # The agent is silent for so long that its session is dropped.
        it.distributor.sessions["host-a:uuid-of-host-a"].last_seen = 0
        it.distributor.forget_silent()
        assert it.distributor.sessions == {}
        await it.poll(agent)
        assert await since(it) == acknowledged[0]

    async def after_restart(it: Running) -> None:
        agents[0].error = ""
        await it.poll(agents[0])
        assert await since(it) == acknowledged[0]

    run(tmp_path, case)
    run(tmp_path, after_restart)


# Values that clients keep by themselves (ADR 2) -------------------------------------------------------------

DI_ON = tracing(dynamic_instrumentation_enabled=True)


def lib(agent: SimulatedAgent, client_id: str = "c1") -> dict[str, Any] | None:
    payload = agent.payload(client_id, "APM_TRACING", now=utc_now())
    if payload is None:
        return None
    assert isinstance(payload, dict)
    return {key: value for key, value in payload["lib_config"].items() if not key.startswith("library_")}


def test_a_retired_value_is_given_back_and_then_the_file_goes(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        row = await it.put("APM_TRACING", DI_ON, service=["shop"])
        agent = it.agent("host-a", tracer("c1"), tracer("c2", service="cart"))
        await it.settled(agent)
        assert lib(agent) == {"dynamic_instrumentation_enabled": True}
        assert await it.held() == {"c1": {"APM_TRACING": {"dynamic_instrumentation_enabled": True}}}

        await it.retire(row)
        await it.poll(agent)
        assert lib(agent) == {"dynamic_instrumentation_enabled": False}
        assert lib(agent, "c2") is None
        # Until the client says that it took it, nothing is taken back.
        await it.poll(agent)
        assert lib(agent) == {"dynamic_instrumentation_enabled": False}

        agent.apply(now=utc_now())
        await it.poll(agent)
        assert lib(agent) is None
        assert await it.held() == {}
        assert is_steady(await it.poll(agent))

    run(tmp_path, case)


def test_a_value_is_given_back_by_a_client_that_never_said_it_has_it(tmp_path: Path) -> None:
    """It was sent, so it may have been taken."""

    async def case(it: Running) -> None:
        row = await it.put("APM_TRACING", DI_ON)
        agent = it.agent("host-a", tracer("c1"))
        await it.poll(agent)
        await it.retire(row)

        await it.poll(agent)

        assert lib(agent) == {"dynamic_instrumentation_enabled": False}

    run(tmp_path, case)


def test_a_value_is_given_back_after_the_control_plane_was_restarted(tmp_path: Path) -> None:
    agents: list[SimulatedAgent] = []
    made: list[rows.ConfigRow] = []

    async def before(it: Running) -> None:
        made.append(await it.put("APM_TRACING", DI_ON))
        agents.append(it.agent("host-a", tracer("c1")))
        await it.settled(agents[0])

    async def after(it: Running) -> None:
        await it.retire(made[0])
        await it.poll(agents[0])
        assert lib(agents[0]) == {"dynamic_instrumentation_enabled": False}
        agents[0].apply(now=utc_now())
        await it.settled(agents[0])
        assert lib(agents[0]) is None

    run(tmp_path, before)
    run(tmp_path, after)


def test_every_process_of_a_service_gives_its_value_back(tmp_path: Path) -> None:
    """The second one came when the view already was what it is, and was served from the same bytes."""

    async def case(it: Running) -> None:
        row = await it.put("APM_TRACING", DI_ON)
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)
        agent.clients["c2"] = tracer("c2")
        await it.settled(agent)

        await it.retire(row)
        await it.poll(agent)

        assert lib(agent, "c1") == {"dynamic_instrumentation_enabled": False}
        assert lib(agent, "c2") == {"dynamic_instrumentation_enabled": False}
        agent.apply(now=utc_now())
        await it.settled(agent)
        assert await it.held() == {}
        assert agent.state.targets == {}

    run(tmp_path, case)


def test_a_value_that_is_asked_for_again_before_it_was_given_back_stays(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        row = await it.put("APM_TRACING", DI_ON)
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)
        await it.retire(row)
        await it.put("APM_TRACING", DI_ON)

        await it.settled(agent)

        assert lib(agent) == {"dynamic_instrumentation_enabled": True}

    run(tmp_path, case)


def test_other_values_stay_while_one_is_given_back(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        await it.put("APM_TRACING", tracing(tracing_sampling_rate=0.5))
        row = await it.put("APM_TRACING", DI_ON, service=["shop"])
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)

        await it.retire(row)
        await it.poll(agent)
        assert lib(agent) == {"dynamic_instrumentation_enabled": False, "tracing_sampling_rate": 0.5}
        agent.apply(now=utc_now())
        await it.settled(agent)
        assert lib(agent) == {"tracing_sampling_rate": 0.5}

    run(tmp_path, case)


def test_a_client_that_falls_out_of_a_targeting_gives_back_too(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        await it.put("APM_TRACING", DI_ON, env=["prod"])
        agent = it.agent("host-a", tracer("c1", env="prod"))
        await it.settled(agent)

        agent.clients["c1"].client_tracer.env = "staging"
        await it.poll(agent)

        assert lib(agent) == {"dynamic_instrumentation_enabled": False}

    run(tmp_path, case)


# Hostile requests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"\xff\xff\xff", MalformedError),
        (b"\x0a\xff\x01", MalformedError),
        (pb.LatestConfigsRequest(hostname="h").SerializeToString() + b"\x08", MalformedError),
        (b"\x0a\x02\xff\xfe", MalformedError),  # a hostname that is no text
        (b"\x32\x00" * 10_001, OversizeError),
        (pb.LatestConfigsRequest(tags=["x" * (8 * 1024 * 1024)]).SerializeToString(), OversizeError),
    ],
    ids=["noise", "cut", "cut field", "no text", "too many clients", "too large"],
)
def test_a_request_that_is_none_leaves_no_trace(tmp_path: Path, body: bytes, error: type[Exception]) -> None:
    async def case(it: Running) -> None:
        with pytest.raises(error):
            await it.distributor.poll(body)
        assert it.distributor.sessions == {}

    run(tmp_path, case)


def test_four_million_empty_clients_are_refused_before_they_are_looked_at(tmp_path: Path) -> None:
    async def case(it: Running) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(OversizeError):
            await it.distributor.poll(b"\x32\x00" * (4 * 1024 * 1024 - 10))
        assert loop.time() - started < 2

    run(tmp_path, case)


def test_numbers_and_texts_no_database_takes_do_not_stop_the_reports_of_others(tmp_path: Path) -> None:
    """Attack: one poll, and nothing would ever be written again."""

    async def case(it: Running) -> None:
        odd = tracer("c\x009")
        odd.state.targets_version = 2**64 - 1
        odd.state.has_error = True
        odd.state.error = "\x00"
        odd.client_tracer.service = "\x00"
        odd.state.config_states.add(
            id="\x00", version=2**64 - 1, product="ASM\x00", apply_state=2**64 - 1, apply_error="\x00"
        )
        await it.distributor.poll(
            it.agent("host\x00x", odd, tags=("a\x00:b",)).request(
                has_error=True, error="\x00", agentVersion="\x00", current_config_snapshot_version=2**64 - 1
            )
        )
        await asyncio.sleep(0.7)  # the writer's own turn

        await it.put("ASM_FEATURES", ASM_ON)
        agent = it.agent("host-a", tracer("c1"))
        await it.settled(agent)

        async with asyncio.timeout(20):
            found: set[str] = set()
            while "c1" not in found:
                await asyncio.sleep(0.05)
                with it.plane.database.read() as c:
                    found = {client.client_id for client in read.clients(c, it.tenant.organisation.org_id)}

    run(tmp_path, case)


def test_an_answer_that_was_made_for_an_older_state_is_refused_by_the_agent(tmp_path: Path) -> None:
    """What the control plane never does, shown to be noticed: the judge of this file is awake."""

    async def case(it: Running) -> None:
        agent = it.agent("host-a", tracer("c1"))
        old = await it.distributor.poll(agent.request())
        agent.take(old, now=utc_now())
        await it.put("ASM_DATA", denylist("203.0.113.7"))
        await it.poll(agent)

        with pytest.raises(RollbackError):
            agent.take(old, now=utc_now())

    run(tmp_path, case)
