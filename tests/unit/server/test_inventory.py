"""What agents tell of themselves: kept, bounded, written behind, and what the fleet page makes of it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealwire.clock import utc_now
from sealwire.errors import OversizeError, UnavailableError
from sealwire.server.control_plane import ControlPlane
from sealwire.server.fleet.connection import (
    OFFLINE_AFTER_S,
    Connection,
    Standing,
    agent_standing,
    bar,
    client_standing,
    service_standing,
)
from sealwire.server.fleet.inventory import MAX_TOLD_BYTES, POSTS_AT_ONCE, RETAIN_S, Inventories, agent_id_of
from sealwire.server.fleet.overview import SERVICE, Fleet
from sealwire.server.store import inventory as store
from sealwire.server.store import rows
from sealwire.server.store.database import Database
from sealwire.server.store.inventory import InventoryRow, RuntimeRow
from sealwire.wire import inventory as wire
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.parts import ASM_ON, running
from tests.support.simulated_agent import SimulatedAgent, tracer

ORG = 1
MINUTE_S = 60.0


def post(hostname: str = "web-1", **changes: Any) -> wire.Inventory:
    return wire.Inventory(hostname=hostname, agent_uuid="u1", version="0.1.0", **changes)


def runtime(runtime_id: str = "r1", value: str = "x", **more: Any) -> wire.Runtime:
    return wire.Runtime(runtime_id=runtime_id, settings={"DD_TAGS": [wire.Known("code", value, 3)]}, **more)


# The store ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'sealwire.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_dsn")
    made = Database(url)
    made.migrate()
    yield made
    made.close()


def row(agent_id: str = "web-1:u1", **changes: Any) -> InventoryRow:
    values: dict[str, Any] = {
        "agent_id": agent_id, "hostname": "web-1", "version": "0.1.0", "api_key_id": "k1", "first_seen_ms": 5,
        "posted_ms": 10, "told": post(services=[wire.Service(service="shop")]),
    }  # fmt: skip
    return InventoryRow(**{**values, **changes})


def test_what_is_put_is_read_and_the_first_time_stays(database: Database) -> None:
    refused = row("web-2:u2", posted_ms=None, told=None, refused_ms=7, refused_for="no scope")
    with database.write() as c:
        store.put_inventories(c, ORG, [row(), refused])
        store.put_inventories(c, ORG, [row(posted_ms=20, first_seen_ms=19)])
        store.put_inventories(c, ORG + 1, [row(hostname="elsewhere")])

    with database.read() as c:
        found = {one.agent_id: one for one in store.inventories(c, ORG)}

    assert found == {"web-1:u1": row(posted_ms=20), "web-2:u2": refused}


def test_a_runtime_is_replaced_as_a_whole(database: Database) -> None:
    with database.write() as c:
        store.put_runtimes(c, ORG, [RuntimeRow("a1", 1, runtime(service="shop", value="old"))])
        store.put_runtimes(c, ORG, [RuntimeRow("a1", 2, runtime(service="shop", value="new"))])

    with database.read() as c:
        assert store.runtime(c, ORG, "r1") == RuntimeRow("a1", 2, runtime(service="shop", value="new"))
        assert store.runtime(c, ORG, "r2") is None
        assert store.runtime(c, ORG + 1, "r1") is None


def test_what_nobody_heard_of_for_long_is_forgotten(database: Database) -> None:
    with database.write() as c:
        rows_ = [
            row("old", posted_ms=50), row("refused lately", posted_ms=50, refused_ms=150),
            row("posts", posted_ms=150), row("new", first_seen_ms=150, posted_ms=None),
        ]  # fmt: skip
        store.put_inventories(c, ORG, rows_)
        store.put_runtimes(
            c, ORG, [RuntimeRow("a", 50, runtime("old")), RuntimeRow("a", 150, runtime("new"))]
        )

        assert store.forget(c, ORG, before_ms=100) == ["old"]
        assert {one.agent_id for one in store.inventories(c, ORG)} == {"refused lately", "posts", "new"}
        assert store.runtime(c, ORG, "old") is None
        assert store.runtime(c, ORG, "new") is not None


def test_facts_of_another_version_of_this_program_are_left_out(database: Database) -> None:
    with database.write() as c:
        store.put_inventories(c, ORG, [row()])
        c.exec_driver_sql("UPDATE inventory SET facts = '{\"hostname\": 5}'")
        c.exec_driver_sql("INSERT INTO client_settings VALUES (1, 'r9', 'a', 1, '[]', '{}')")

        (found,) = store.inventories(c, ORG)
        assert (found.told, found.hostname) == (None, "web-1")
        assert store.runtime(c, ORG, "r9") is None


# In memory ----------------------------------------------------------------------------------------------


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'quick.db'}")
    made.migrate()
    yield made
    made.close()


def inventories(database: Database, **more: Any) -> Inventories:
    return Inventories(database, ORG, **{"sessions": {}, **more})


def test_a_post_is_there_at_once_and_after_a_restart(quick: Database) -> None:
    one = inventories(quick)
    taken = one.take(post(runtimes=[runtime()], tags=["a"]), key_id="k1")

    assert (taken.token, taken.next_s) == (one.token, 60)
    kept = one.rows["web-1:u1"]
    assert (kept.api_key_id, kept.version) == ("k1", "0.1.0")
    assert kept.told == post(tags=["a"]), "runtimes are not kept in memory"
    found = asyncio.run(one.runtime("r1", agent_id="web-1:u1"))
    assert found == runtime(), "before it is written"

    asyncio.run(one.flush())
    again = inventories(quick)
    assert again.rows == one.rows
    assert again.token != one.token, "agents see that it is another process"
    assert asyncio.run(again.runtime("r1", agent_id="web-1:u1")) == runtime()


def test_nobody_tells_of_the_tracers_of_another_agent(quick: Database) -> None:
    one = inventories(quick)
    one.take(post("web-1", runtimes=[runtime()]), key_id="k1")
    one.take(post("web-2", runtimes=[runtime(value="forged")]), key_id="k1")

    assert asyncio.run(one.runtime("r1", agent_id="web-1:u1")) is None, "it shows nothing rather than a lie"
    for odd in ("", "\0", "x" * 500):
        assert asyncio.run(one.runtime(odd, agent_id="web-1:u1")) is None


def test_an_agent_that_posts_too_often_is_put_off(quick: Database) -> None:
    one = inventories(quick)
    for _ in range(POSTS_AT_ONCE):
        one.take(post(), key_id="k1")

    with pytest.raises(UnavailableError) as error:
        one.take(post(), key_id="k1")
    assert error.value.retry_after_s >= 10
    one.take(post("web-2"), key_id="k1")


def test_runtimes_have_a_rate(quick: Database) -> None:
    one = inventories(quick)
    many = [runtime(f"r{number}") for number in range(200)]
    for number in range(7):
        one.take(post(runtimes=[runtime(f"r{number}-{n}") for n in range(200)]), key_id="k1")

    with pytest.raises(UnavailableError):
        one.take(post(runtimes=many), key_id="k1")
    assert len(one._queued_runtimes) == 1400


def test_new_agents_have_a_rate_for_each_key(quick: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: who holds one API key makes up agents."""
    one = inventories(quick)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    for number in range(5000):
        one.take(post(f"made-up-{number}"), key_id="k1")
    with pytest.raises(UnavailableError):
        one.take(post("made-up-5000"), key_id="k1")
    for number in range(50):
        one.note_refusal(pb.LatestConfigsRequest(hostname=f"more-{number}"), key_id="k1", why="no")
    assert len(one.rows) == 5000
    one.take(post("honest"), key_id="k2")
    one.take(post("made-up-0"), key_id="k1")


def test_an_agent_that_tells_too_much_is_refused(quick: Database) -> None:
    one = inventories(quick)
    much = [wire.Service(service=f"{number}" + "s" * 290, language="l" * 290) for number in range(400)]

    with pytest.raises(OversizeError, match=str(MAX_TOLD_BYTES)):
        one.take(post(services=much), key_id="k1")
    assert one.rows == {}


def test_names_no_database_takes_are_made_to_fit(quick: Database) -> None:
    one = inventories(quick)
    one.take(post("web\0-1", runtimes=[runtime("r\0")]), key_id="k1")
    asyncio.run(one.flush())

    (kept,) = inventories(quick).rows.values()
    assert kept.hostname == "web\ufffd-1"


def test_a_refused_poll_leaves_its_host_name_and_version(quick: Database) -> None:
    one = inventories(quick)
    request = pb.LatestConfigsRequest(hostname="web-9", agentVersion="7.60.0", agent_uuid="u9")

    one.note_refusal(request, key_id="k1", why="no scope")
    one.note_refusal(pb.LatestConfigsRequest(), key_id="k1", why="no scope")

    (kept,) = one.rows.values()
    assert (kept.hostname, kept.version, kept.refused_for, kept.told) == ("web-9", "7.60.0", "no scope", None)
    assert kept.agent_id == agent_id_of("web-9", "u9")
    assert kept.refused_ms is not None


class FakeSession:
    """As much of a session as is asked here."""

    def __init__(self, last_seen: float) -> None:
        self.last_seen = last_seen


def test_an_answered_poll_ends_the_refusal(quick: Database) -> None:
    sessions: dict[str, Any] = {}
    one = inventories(quick, sessions=sessions)
    one.note_refusal(pb.LatestConfigsRequest(hostname="h", agent_uuid="u"), key_id="k1", why="no")
    asyncio.run(one.flush())
    assert one.rows["h:u"].refused_for == "no"

    sessions["h:u"] = FakeSession(time.time() + 1)
    asyncio.run(one.flush())

    assert (one.rows["h:u"].refused_ms, one.rows["h:u"].refused_for) == (None, "")
    assert inventories(quick).rows["h:u"].refused_ms is None


def test_what_could_not_be_written_is_kept_for_the_next_time(
    quick: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = inventories(quick)
    one.take(post(runtimes=[runtime()]), key_id="k1")

    def fail(*_: object) -> None:
        raise UnavailableError("The database is away.")

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_inventories", fail)
        with pytest.raises(UnavailableError):
            asyncio.run(one.flush())
    one.take(post(tags=["newer"]), key_id="k1")
    asyncio.run(one.flush())

    again = inventories(quick)
    assert again.rows["web-1:u1"].told == post(tags=["newer"])
    assert asyncio.run(again.runtime("r1", agent_id="web-1:u1")) == runtime()


def test_a_month_later_it_is_forgotten(quick: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    one = inventories(quick)
    one.take(post(), key_id="k1")
    asyncio.run(one.flush())
    later = time.time() + RETAIN_S + 60
    monkeypatch.setattr(time, "time", lambda: later)

    asyncio.run(one.forget_old())

    assert one.rows == {}
    assert one._told_bytes == 0
    assert inventories(quick).rows == {}


# States -------------------------------------------------------------------------------------------------

KEY = rows.ApiKeyRow(
    key_id="k1", org_id=1, name="web agents", sha256="", last4="", remote_config=True, created_ms=0,
    created_by="", last_used_ms=None, revoked_ms=None,
)  # fmt: skip
NO_SCOPE = replace(KEY, remote_config=False)
REVOKED = replace(KEY, revoked_ms=1)
ON, OFF = wire.RemoteConfig(), wire.RemoteConfig(enabled=False, is_on=False, reason="switched off")
SAID = "This API key does not carry the Remote Configuration scope."


def barred(**given: Any) -> Standing | None:
    values = {"key": KEY, "told": None, "told_age_s": math.inf, "refused_for": "", "refused_age_s": math.inf}
    return bar(**{**values, **given})


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({}, None),
        ({"key": None}, None),
        ({"told": ON, "told_age_s": 5}, None),
        ({"key": REVOKED}, Connection.REVOKED),
        ({"key": REVOKED, "told": OFF, "told_age_s": 5}, Connection.REVOKED),
        ({"told": OFF, "told_age_s": 5}, Connection.DISABLED),
        ({"told": OFF, "told_age_s": 5, "key": NO_SCOPE}, Connection.DISABLED),
        ({"told": OFF, "told_age_s": 700}, None),
        ({"refused_for": SAID, "refused_age_s": 5}, Connection.UNAUTHORIZED),
        ({"refused_for": SAID, "refused_age_s": 700}, None),
        ({"key": NO_SCOPE, "told": ON, "told_age_s": 5}, Connection.UNAUTHORIZED),
        ({"key": NO_SCOPE}, None),
    ],
)
def test_what_keeps_an_agent_from_asking(given: dict[str, Any], state: Connection | None) -> None:
    found = barred(**given)

    assert (None if found is None else found.state) == state


def test_the_key_is_named_where_it_is_the_reason() -> None:
    found = barred(refused_for=SAID, refused_age_s=1)

    assert found is not None
    assert found.detail == "Its API key web agents does not carry the Remote Configuration scope."


def agent(**given: Any) -> Standing:
    values: dict[str, Any] = {
        "age_s": math.inf, "error": "", "failing_clients": 0, "has_version": 0, "wanted_version": None,
    }  # fmt: skip
    return agent_standing(**{**values, **given})


NOT_YET = "it has told of itself and not asked for configs yet"
NEVER = "it tells of itself and does not ask for configs"


@pytest.mark.parametrize(
    ("given", "state", "detail"),
    [
        ({}, Connection.OFFLINE, ""),
        ({"age_s": 1}, Connection.CONNECTED, ""),
        ({"age_s": 1, "version": "7.41.0"}, Connection.UNSUPPORTED, "7.41.1 is needed, this is 7.41.0"),
        ({"age_s": 1, "version": "0.1.0"}, Connection.CONNECTED, ""),
        ({"age_s": 1, "version": "nonsense"}, Connection.CONNECTED, ""),
        ({"told": ON, "told_age_s": 5, "known_for_s": 10}, Connection.UNKNOWN, NOT_YET),
        ({"told": ON, "told_age_s": 5, "known_for_s": 100}, Connection.ERROR, NEVER),
        ({"told": ON, "told_age_s": 5, "age_s": 1}, Connection.CONNECTED, ""),
        ({"told": ON, "told_age_s": 5, "age_s": 3000}, Connection.ERROR, NEVER),
        ({"told": ON, "told_age_s": 700, "age_s": 3000}, Connection.OFFLINE, ""),
        (
            {"told": wire.RemoteConfig(error="api: no route"), "told_age_s": 5, "known_for_s": 10},
            Connection.ERROR,
            "api: no route",
        ),
        (
            {
                "told": wire.RemoteConfig(is_on=False, reason="a root is missing"),
                "told_age_s": 5,
                "known_for_s": 1,
            },
            Connection.ERROR,
            "a root is missing",
        ),
        ({"barred": Standing(Connection.DISABLED, "off"), "age_s": 1}, Connection.DISABLED, "off"),
        (
            {"told": ON, "told_age_s": 5, "remote_config": False},
            Connection.UNAUTHORIZED,
            "Remote Configuration is off for this organisation",
        ),
    ],
)
def test_the_state_of_an_agent(given: dict[str, Any], state: Connection, detail: str) -> None:
    found = agent(**given)

    assert (found.state, found.detail) == (state, detail)


def test_a_client_stands_as_its_agent_where_that_may_not_ask() -> None:
    standing = Standing(Connection.REVOKED, "its key")

    found = client_standing(
        [], now_s=0, age_s=5000, language="python", tracer_version="4.16.0", agent_error="", barred=standing
    )

    assert found is standing


@pytest.mark.parametrize(
    ("service", "given", "state"),
    [
        ({}, {}, Connection.NOT_DETECTED),
        ({"switched_off_by": "env_var"}, {}, Connection.NOT_DETECTED),
        ({"client_seen": True}, {}, Connection.UNKNOWN),
        ({}, {"age_s": OFFLINE_AFTER_S + 1}, Connection.OFFLINE),
        ({}, {"barred": Standing(Connection.DISABLED)}, Connection.DISABLED),
        ({}, {"told": wire.RemoteConfig(is_on=False, reason="no root")}, Connection.ERROR),
        ({}, {"remote_config": False}, Connection.UNAUTHORIZED),
    ],
)
def test_the_state_of_a_service_without_a_client(
    service: dict[str, Any], given: dict[str, Any], state: Connection
) -> None:
    values: dict[str, Any] = {"age_s": 5, "barred": None, "told": ON, **given}

    assert service_standing(wire.Service(service="shop", **service), **values).state is state


# The whole fleet ------------------------------------------------------------------------------------------


async def look(plane: ControlPlane) -> Fleet:
    overview = plane.tenants[1].overview
    overview._services_at = overview._agents_read_at = 0
    return await overview.look(fresh_for_s=-1)


def simulated(plane: ControlPlane, **clients: pb.Client) -> SimulatedAgent:
    roots = plane.tenants[1].publisher.roots
    return SimulatedAgent(
        (roots.director[0], roots.config[0]), hostname="web-1", agent_uuid="u1", clients=clients
    )


def seen(service: str, **more: Any) -> wire.Service:
    now_ms = int(time.time() * 1000)
    return wire.Service(service=service, env="prod", first_seen_ms=now_ms, seen_ms=now_ms, **more)


async def new_key(plane: ControlPlane, **more: Any) -> str:
    made, _ = await plane.tenants[1].switches.create_key(
        **{"name": "web agents", "remote_config": True, "by": "test", **more}
    )
    return made.key_id


def test_services_without_a_client_are_rows_of_their_own(tmp_path: Path) -> None:
    async def case() -> None:
        async with running(tmp_path) as plane:
            tenant = plane.tenants[1]
            asking = simulated(plane, c1=tracer("c1", service="Shop"))
            for _ in range(2):
                asking.take(await tenant.distributor.poll(asking.request()), now=utc_now())
            services = [
                seen("shop"), seen("mail"), seen("by-runtime", runtime_ids=["runtime-c1"]),
                seen("new", client_seen=True),
            ]  # fmt: skip
            tenant.inventory.take(post(services=services), key_id=await new_key(plane))

            fleet = await look(plane)

            assert {one.facts["service"]: one.state for one in fleet.services} == {
                "mail": Connection.NOT_DETECTED, "new": Connection.UNKNOWN,
            }  # fmt: skip
            assert {one.facts["kind"] for one in fleet.services} == {SERVICE}
            assert [one.client_id for one in fleet.clients] == ["c1"], "nobody else counts them as clients"
            (line,) = fleet.agents
            assert (line.state, line.clients) == (Connection.CONNECTED, 1)
            assert line.inventory is not None

    asyncio.run(case())


def test_an_agent_that_only_tells_or_is_refused_is_in_the_fleet(tmp_path: Path) -> None:
    async def case() -> None:
        async with running(tmp_path) as plane:
            tenant = plane.tenants[1]
            good, bad = await new_key(plane), await new_key(plane, name="no scope", remote_config=False)
            tenant.inventory.take(post("off", remote_config=OFF), key_id=good)
            tenant.inventory.take(post("tells", remote_config=ON), key_id=good)
            tenant.inventory.take(post("no-scope", remote_config=ON), key_id=bad)
            refused = pb.LatestConfigsRequest(hostname="go-agent", agentVersion="7.60.0", agent_uuid="u")
            tenant.inventory.note_refusal(refused, key_id=bad, why=SAID)

            fleet = await look(plane)

            found = {one.hostname: (one.state, one.version) for one in fleet.agents}
            assert found == {
                "off": (Connection.DISABLED, "0.1.0"), "tells": (Connection.UNKNOWN, "0.1.0"),
                "no-scope": (Connection.UNAUTHORIZED, "0.1.0"),
                "go-agent": (Connection.UNAUTHORIZED, "7.60.0"),
            }  # fmt: skip
            assert {one.seen_s for one in fleet.agents} == {0.0}, "none of them was ever answered"

    asyncio.run(case())


def test_a_refused_agent_takes_its_clients_with_it_and_comes_back(tmp_path: Path) -> None:
    async def case() -> None:
        async with running(tmp_path) as plane:
            tenant = plane.tenants[1]
            draft = tenant.author.check(product="ASM_FEATURES", payload=ASM_ON, now=utc_now())
            tenant.author.create(draft, by="x", now=utc_now())
            key_id = await new_key(plane)
            asking = simulated(plane, c1=tracer("c1"))
            for _ in range(3):
                asking.take(await tenant.distributor.poll(asking.request(), key_id=key_id), now=utc_now())
                asking.apply(now=utc_now())
            fleet = await look(plane)
            assert (fleet.clients[0].state, fleet.agents[0].state) == (Connection.CONNECTED,) * 2

            await asyncio.sleep(0.01)
            tenant.inventory.note_refusal(
                pb.LatestConfigsRequest.FromString(asking.request()), key_id=key_id, why=SAID
            )
            fleet = await look(plane)
            assert (fleet.clients[0].state, fleet.agents[0].state) == (Connection.UNAUTHORIZED,) * 2
            assert "web agents" in fleet.clients[0].standing.detail

            await asyncio.sleep(0.01)
            await tenant.distributor.poll(asking.request(), key_id=key_id)
            fleet = await look(plane)
            assert (fleet.clients[0].state, fleet.agents[0].state) == (Connection.CONNECTED,) * 2
            assert len(fleet.agents) == 1

            await tenant.switches.revoke_key(key_id, by="test")
            fleet = await look(plane)
            assert (fleet.clients[0].state, fleet.agents[0].state) == (Connection.REVOKED,) * 2

    asyncio.run(case())
