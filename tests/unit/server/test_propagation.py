"""How long deliveries take: what is measured, how it is counted, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.server.fleet.pace import why_slow
from sealwire.server.fleet.propagation import EDGES_S, HOUR_MS, Delivery, Propagation, Step, Tally, Window
from sealwire.server.store import propagation as stored
from sealwire.server.store import rows, write
from sealwire.server.store.database import Database
from sealwire.wire.codec import ApplyState
from tests.support.parts import ASM_OFF, ASM_ON, Domain, running
from tests.support.simulated_agent import SimulatedAgent, tracer

NOON_MS = 1_795_348_800_000
DELIVERY = Delivery(
    config_id="a" * 16,
    path="datadog/1/ASM_DATA/a/config",
    product="ASM_DATA",
    service="shop",
    env="prod",
    client_id="c1",
    hostname="host-a",
    began_ms=NOON_MS,
    is_start=False,
    signed_ms=NOON_MS + 100,
    fetched_ms=NOON_MS + 300,
    ended_ms=NOON_MS + 2300,
    failed=False,
    is_waiting_agent=True,
)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'sealwire.db'}"
    else:
        url = request.getfixturevalue("postgres_dsn")
    made = Database(url)
    made.migrate()
    with made.write() as c:
        uuid = "00000000-0000-0000-0000-000000000001"
        write.add_organisation(c, rows.Organisation(1, uuid, "main", True, True, 1))
    yield made
    made.close()


# Steps and counts ---------------------------------------------------------------------------------------


def test_a_delivery_is_measured_step_by_step() -> None:
    assert dict(DELIVERY.steps()) == {
        Step.WHOLE: 2.3,
        Step.SIGNED: 0.1,
        Step.FETCHED: 0.2,
        Step.APPLIED: 2.0,
    }


@pytest.mark.parametrize(
    ("delivery", "steps"),
    [
        (replace(DELIVERY, is_start=True), {Step.STARTED: 2.3}),
        (replace(DELIVERY, failed=True), {Step.FAILED: 2.3}),
        (replace(DELIVERY, fetched_ms=None), {Step.WHOLE: 2.3}),
    ],
    ids=["a client that starts", "one that failed", "after a restart"],
)
def test_what_is_no_change_on_its_way_is_counted_apart(delivery: Delivery, steps: dict[Step, float]) -> None:
    assert dict(delivery.steps()) == steps


def test_quantiles_are_exact_to_their_bucket() -> None:
    tally = Tally()
    for number in range(100):
        tally.add(Step.WHOLE, 0.5 + number / 20)  # up to 5.45 s

    half, most = tally.quantile(Step.WHOLE, 0.5), tally.quantile(Step.WHOLE, 0.99)

    assert half == pytest.approx(3.0, abs=0.3)
    assert most == pytest.approx(5.4, abs=0.3)
    assert tally.within(Step.WHOLE, 1) == 10
    assert tally.within(Step.WHOLE, 10) == tally.total(Step.WHOLE) == 100
    assert tally.quantile(Step.SIGNED, 0.5) is None


def test_tallies_add_up() -> None:
    one, other = Tally(), Tally()
    one.add(Step.WHOLE, 0.01)
    other.add(Step.WHOLE, 1_000_000)
    other.add(Step.FAILED, 3)

    one.merge(other.counts)

    assert one.counts == {"whole": {0: 1, len(EDGES_S): 1}, "failed": {EDGES_S.index(3) + 1: 1}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signed_ms": NOON_MS + 2000, "fetched_ms": NOON_MS + 2100}, "signed 2.0 s after the save"),
        ({"fetched_ms": NOON_MS + 2200}, "was not connected"),
        ({"fetched_ms": NOON_MS + 2200, "is_waiting_agent": False}, "holds no poll"),
        ({}, "confirmed it 2.0 s after its agent had it"),
        ({"signed_ms": None}, "steps are not known"),
        ({"failed": True}, "did not take it"),
    ],
)
def test_a_slow_delivery_says_what_took_the_time(changes: dict[str, object], words: str) -> None:
    assert words in why_slow(replace(DELIVERY, **changes))  # type: ignore[arg-type]


# Keeping ------------------------------------------------------------------------------------------------


def test_hours_are_written_once_and_read_by_the_next_start_and_by_others(database: Database) -> None:
    counts = {"whole": {3: 2, 48: 1}, "signed": {0: 3}}
    hour = stored.HourRow(NOON_MS, "ASM", "мага'зин", counts)
    with database.write() as c:
        stored.put(c, 1, "one", [hour])
        stored.put(c, 1, "one", [replace(hour, counts={"whole": {3: 5}})])
        stored.put(c, 1, "two", [hour, replace(hour, hour_ms=NOON_MS - HOUR_MS)])
        stored.put(c, 2, "two", [hour])

    with database.read() as c:
        everybody = stored.load(c, 1, since_ms=NOON_MS)
        others = stored.load(c, 1, since_ms=0, without="two")
    assert [row.counts for row in others] == [{"whole": {3: 5}}]
    assert sorted(len(row.counts) for row in everybody) == [1, 2]
    assert everybody[0].service == "мага'зин"

    with database.write() as c:
        stored.forget(c, 1, before_ms=NOON_MS)
    with database.read() as c:
        assert {row.hour_ms for row in stored.load(c, 1, since_ms=0)} == {NOON_MS}
        assert len(stored.load(c, 2, since_ms=0)) == 1


def propagation(domain: Domain, now: list[int]) -> Propagation:
    return Propagation(domain.publisher, domain.database, domain.org_id, clock_ms=lambda: now[0])


def test_a_restart_loses_no_counts(domain: Domain) -> None:
    now = [NOON_MS + 5000]
    first = propagation(domain, now)
    first._take(DELIVERY)
    asyncio.run(first.keep())
    first._take(replace(DELIVERY, service="cart"))
    asyncio.run(first.keep())

    again = propagation(domain, now)

    for window in Window:
        assert again.tallies(window).keys() == {("ASM_DATA", "shop"), ("ASM_DATA", "cart")}
        assert first.tallies(window)["ASM_DATA", "shop"].counts == (
            again.tallies(window)["ASM_DATA", "shop"].counts
        )
    assert list(again.deliveries(Window.WEEK)) == []


def test_a_window_ends(domain: Domain) -> None:
    now = [NOON_MS + 5000]
    measured = propagation(domain, now)
    measured._take(DELIVERY)
    now[0] += 2 * HOUR_MS
    measured._take(replace(DELIVERY, service="cart", began_ms=now[0] - 100, ended_ms=now[0]))

    assert measured.tallies(Window.HOUR).keys() == {("ASM_DATA", "cart")}
    assert len(measured.tallies(Window.DAY)) == 2
    assert [one.service for one in measured.deliveries(Window.HOUR)] == ["cart"]
    now[0] += 9 * 24 * HOUR_MS
    assert measured.tallies(Window.WEEK) == {}


def test_services_beyond_counting_count_together(domain: Domain) -> None:
    measured = propagation(domain, [NOON_MS])
    for number in range(600):
        measured._take(replace(DELIVERY, service=f"s{number}"))

    found = measured.tallies(Window.WEEK)

    assert len(found) == 501
    assert found["ASM_DATA", ""].total(Step.WHOLE) == 100


# From a save to its effect ------------------------------------------------------------------------------


def test_a_change_is_measured_once_by_client_and_a_start_is_none(tmp_path: Path) -> None:
    async def case() -> None:
        async with running(tmp_path) as plane:
            tenant = plane.tenants[1]
            roots = tenant.publisher.roots

            def create(payload: object) -> rows.ConfigRow:
                draft = tenant.author.check(product="ASM_FEATURES", payload=payload, now=plane.clock())
                return tenant.author.create(draft, by="ann", now=plane.clock())

            agent = SimulatedAgent(
                (roots.director[0], roots.config[0]),
                org_uuid=tenant.organisation.uuid,
                clients={"c1": tracer("c1")},
            )

            async def poll() -> None:
                agent.take(await tenant.distributor.poll(agent.request()), now=plane.clock())
                agent.apply(now=plane.clock())

            row = create(ASM_ON)
            for _ in range(3):
                await poll()
            started = tenant.propagation.tallies(Window.HOUR)["ASM_FEATURES", "shop"]
            assert (started.total(Step.STARTED), started.total(Step.WHOLE)) == (1, 0)

            tenant.author.change(
                row.config_id, expected_revision=1, fields={"payload": ASM_OFF}, by="ann", now=plane.clock()
            )
            await tenant.reconciler.settle(timeout_s=10)
            for _ in range(4):
                await poll()

            found = tenant.propagation.tallies(Window.HOUR)["ASM_FEATURES", "shop"]
            assert {step: found.total(step) for step in Step} == {
                Step.WHOLE: 1,
                Step.SIGNED: 1,
                Step.FETCHED: 1,
                Step.APPLIED: 1,
                Step.STARTED: 1,
                Step.FAILED: 0,
            }
            last = next(tenant.propagation.deliveries(Window.HOUR))
            assert last.signed_ms is not None
            assert last.fetched_ms is not None
            assert last.began_ms <= last.signed_ms <= last.fetched_ms <= last.ended_ms
            assert (last.config_id, last.client_id) == (row.config_id, "c1")

            # Nothing of what it says changed: nobody is given anything.
            tenant.author.change(
                row.config_id, expected_revision=2, fields={"name": "Off"}, by="ann", now=plane.clock()
            )
            await tenant.reconciler.settle(timeout_s=10)
            tenant.author.change(
                row.config_id, expected_revision=3, fields={"payload": ASM_ON}, by="ann", now=plane.clock()
            )
            await tenant.reconciler.settle(timeout_s=10)
            agent.apply(now=plane.clock())
            await poll()
            agent.apply(now=plane.clock(), states={"ASM_FEATURES": ApplyState.ERROR})
            await tenant.distributor.poll(agent.request())

            assert tenant.propagation.tallies(Window.HOUR)["ASM_FEATURES", "shop"].total(Step.FAILED) == 1

    asyncio.run(case())


def test_a_product_asked_for_later_is_measured_from_then(tmp_path: Path) -> None:
    async def case() -> None:
        async with running(tmp_path) as plane:
            tenant = plane.tenants[1]
            roots = tenant.publisher.roots
            draft = tenant.author.check(product="ASM_FEATURES", payload=ASM_ON, now=plane.clock())
            tenant.author.create(draft, by="ann", now=plane.clock())
            agent = SimulatedAgent(
                (roots.director[0], roots.config[0]),
                org_uuid=tenant.organisation.uuid,
                clients={"c1": tracer("c1", products=("APM_TRACING",))},
            )
            agent.take(await tenant.distributor.poll(agent.request()), now=plane.clock())
            client = tenant.observer.clients["c1"]
            long_ago = replace(client, first_seen_ms=client.first_seen_ms - HOUR_MS)
            tenant.observer.clients["c1"] = long_ago
            tenant.observer._first_seen["c1"] = long_ago.first_seen_ms

            agent.clients["c1"] = tracer("c1")
            for _ in range(3):
                agent.take(await tenant.distributor.poll(agent.request()), now=plane.clock())
                agent.apply(now=plane.clock())

            (one,) = tenant.propagation.deliveries(Window.HOUR)
            assert one.is_start
            assert one.took_s < 60

    asyncio.run(case())
