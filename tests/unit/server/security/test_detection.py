"""What comes of batches: rows and signals, once each, also when the program or the database goes away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from sealwire.errors import TooOftenError, UnavailableError
from sealwire.server import deliveries
from sealwire.server.security import detection as module
from sealwire.server.security.builtin import BUILTIN
from sealwire.server.security.detection import Detection
from sealwire.server.security.query import parse
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.security.rules import check
from sealwire.server.security.signals import Change, Happening
from sealwire.server.security.traffic import Seen as Healthy
from sealwire.server.store import security as store
from sealwire.server.store.database import Database
from sealwire.server.store.security import Found, SignalFilter, Tally
from sealwire.wire.security_batch import Batch, Seen, VisitCount, Watched
from tests.support.security_batches import batch, span

NOW = 1_795_358_575.0
IP = "198.51.100.9"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'x.db'}")
    made.migrate()
    yield made
    made.close()


class Stage:
    """An organisation's detection, and what it told."""

    def __init__(self, database: Database, clock: Clock, **settings: Any) -> None:
        self.database = database
        self.clock = clock
        self.settings = settings
        self.told: list[Change] = []
        self.heard: list[tuple[SecurityTrace, int]] = []
        self.detection = self.begin()

    def begin(self) -> Detection:
        """Begin, again too: as after a crash, so nothing of before is written any more."""
        self.detection = Detection(self.database, 1, clock=self.clock, **self.settings)
        self.detection.on_change.append(self.told.append)
        self.detection.listeners.append(lambda row, count: self.heard.append((row, count)))
        return self.detection

    async def take(self, *batches: Batch) -> None:
        done = [self.detection.take(each, key_id="k1") for each in batches]
        await self.detection.flush()
        await asyncio.gather(*done)

    def rows(self, query: str = "") -> list[Found]:
        with self.database.read() as c:
            return store.search(c, 1, parse(query), since_ms=0, until_ms=2**50, limit=10_000)

    def tally(self, query: str = "") -> Tally:
        with self.database.read() as c:
            return store.tally(c, 1, parse(query), since_ms=0, until_ms=2**50)

    def signals(self) -> list[store.SignalRow]:
        with self.database.read() as c:
            return store.signals(c, 1, SignalFilter())

    def whats(self) -> list[tuple[str, str]]:
        return [(change.signal.rule_id, change.what.value) for change in self.told]


Case = Callable[[Stage], Awaitable[None]]


def play(database: Database, clock: Clock, case: Case, **settings: Any) -> None:
    async def whole() -> None:
        await case(Stage(database, clock, **settings))

    asyncio.run(whole())


def attacks(first: int, count: int, *, at: float, name: str = "sql_injection", **more: Any) -> list[Any]:
    return [span(name, first + number, at=at, **more) for number in range(count)]


def test_what_an_agent_saw_is_found_and_told(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        await it.take(batch(1, attacks(1, 10, at=NOW), at=NOW))

        assert len(it.rows("@appsec.security_activity:attack_attempt.sql_injection service:shop")) == 10
        assert it.whats() == [("sqli-single-ip", "opened")]
        (signal,) = it.signals()
        assert signal.signal.events == 10
        assert signal.signal.attackers == {IP: 10}
        assert [(row.host, row.lang, count) for row, count in it.heard] == [("host-a", "python", 1)] * 10
        assert it.detection.generation == 1

    play(database, clock, case)


def test_a_batch_and_a_trace_that_come_again_are_not_counted_again(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        same = batch(1, attacks(1, 9, at=NOW), at=NOW)
        await it.take(same)
        await it.take(same)
        await it.take(
            batch(2, attacks(1, 9, at=NOW), at=NOW), batch(1, attacks(1, 9, at=NOW), at=NOW, agent="b")
        )
        it.begin()
        await it.take(same, batch(3, attacks(1, 9, at=NOW), at=NOW))

        assert it.tally() == Tally(9, 9, 0)
        assert it.signals() == []
        assert len(it.heard) == 9

    play(database, clock, case)


def test_a_restart_goes_on_where_it_was_and_tells_nobody(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        await it.take(batch(1, attacks(1, 12, at=NOW), at=NOW))
        before = it.signals()
        for _ in range(3):
            it.begin()
            await it.detection.tick()
            assert it.signals() == before
        clock.now += 60
        await it.take(batch(2, attacks(100, 3, at=clock.now), at=clock.now))

        (after,) = it.signals()
        assert after.signal.id == before[0].signal.id
        assert after.signal.events == 15
        assert it.whats() == [("sqli-single-ip", "opened")]

    play(database, clock, case)


def test_rows_of_before_a_restart_count_towards_a_signal_of_after_it(
    database: Database, clock: Clock
) -> None:
    async def case(it: Stage) -> None:
        await it.take(batch(1, attacks(1, 9, at=NOW), at=NOW))
        it.begin()
        assert it.told == []
        clock.now += 1
        await it.take(batch(2, attacks(100, 1, at=clock.now), at=clock.now))
        assert it.whats() == [("sqli-single-ip", "opened")]

    play(database, clock, case)


def test_a_restart_after_a_long_time_ends_what_is_over(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        await it.take(batch(1, attacks(1, 12, at=NOW), at=NOW))
        clock.now += 4_000
        it.begin()
        await it.detection.tick()
        assert it.whats() == [("sqli-single-ip", "opened"), ("sqli-single-ip", "closed")]
        it.begin()
        await it.detection.tick()
        assert len(it.told) == 2
        (signal,) = it.signals()
        assert signal.signal.closed_because == "ended"

    play(database, clock, case)


def test_a_signal_of_a_rule_that_is_gone_does_not_stay_open(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        await it.take(batch(1, attacks(1, 12, at=NOW), at=NOW))
        with database.write() as c:
            off = {**BUILTIN["sqli-single-ip"], "isEnabled": False}
            store.put_rule(c, 1, store.RuleRow("sqli-single-ip", 2, off, True, "ann", 5, ""))
        it.begin()
        await it.detection.flush()
        assert it.signals()[0].signal.closed_because == "its rule is switched off"

    play(database, clock, case)


def test_a_flood_is_kept_in_part_and_counted_in_whole(database: Database, clock: Clock) -> None:
    spans, each = 20_000, 2_000
    made = attacks(1, 1, at=NOW)[0]

    def copies(first: int) -> list[Seen]:
        return [
            Seen(replace(made, trace_id=f"{number:032x}", span_id=number), int(NOW * 1000))
            for number in range(first, first + each)
        ]

    async def case(it: Stage) -> None:
        for number in range(spans // each):
            await it.take(batch(number + 1, copies(1 + number * each), at=NOW))
        await it.detection.tick()

        assert it.tally() == Tally(20, spans, 0)
        (counted,) = (found for found in it.rows() if found.count > 1)
        assert counted.count == spans - 20
        assert counted.row.trace_id == ""
        assert counted.row.actor_ip == IP
        (signal,) = it.signals()
        assert signal.signal.events == spans
        assert it.whats() == [("sqli-single-ip", "opened"), ("sqli-single-ip", "raised")]
        assert it.detection.counters()["sampled"] == spans - 20

        it.begin()  # counts are counted again too
        await it.take(batch(1, attacks(50_001, 1, at=NOW), at=NOW, agent="b"))
        assert it.signals()[0].signal.events == spans + 1
        assert len(it.told) == 2

    play(database, clock, case)


def test_a_span_that_stands_for_many_counts_for_many(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        (one,) = attacks(1, 1, at=NOW)
        await it.take(batch(1, [Seen(one, int(NOW * 1000), count=500)], at=NOW))
        await it.detection.tick()
        assert it.tally() == Tally(1, 500, 0)
        assert it.signals()[0].signal.events == 500
        assert it.heard[0][1] == 500

    play(database, clock, case)


def test_counts_that_grow_are_written_in_one_place(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        (one,) = attacks(1, 1, at=NOW)
        for number in range(1, 4):
            again = Seen(span("sql_injection", number, at=NOW), int(NOW * 1000), count=10)
            await it.take(batch(number, [again], at=NOW))
            await it.detection.tick()
        assert one.service == "shop"
        assert it.tally() == Tally(3, 30, 0)
        assert len(it.rows()) == 4

    play(database, clock, case)


@pytest.mark.parametrize("off", [-3_600.0 * 24 * 30, -8.0 * 86_400, 3_600.0, 86_400.0 * 400])
def test_a_clock_that_is_off_puts_nothing_outside_the_time_it_came(
    database: Database, clock: Clock, off: float
) -> None:
    async def case(it: Stage) -> None:
        await it.take(batch(1, attacks(1, 10, at=NOW + off), at=NOW + off))
        assert {found.row.ts for found in it.rows()} == {NOW}
        assert all(found.row.skewed for found in it.rows())
        assert it.whats() == [("sqli-single-ip", "opened")]

    play(database, clock, case)


@pytest.mark.parametrize("ahead", [-3_600.0, 3_600.0, 40 * 86_400.0])
def test_a_host_whose_clock_is_off_is_watched_as_well(database: Database, clock: Clock, ahead: float) -> None:
    async def case(it: Stage) -> None:
        then = NOW + ahead
        seen = Watched("shop", "prod", "1.2", "r", "1.30.0", "1.18.2", 7, int(then * 1000))
        sent = batch(1, attacks(1, 10, at=then - 20), at=then, watched=[seen])
        done = it.detection.take(sent, key_id="k1", ahead_s=ahead)
        await it.detection.flush()
        await done
        assert [found.row.ts for found in it.rows()] == pytest.approx([NOW - 20] * 10, abs=0.01)
        assert all(found.row.skewed for found in it.rows())
        assert it.whats() == [("sqli-single-ip", "opened")]
        assert it.detection.observed("shop", "prod") == (int(NOW * 1000), 7, "1.30.0", "1.18.2")

    play(database, clock, case)


def test_what_waited_for_hours_is_kept_where_it_belongs_and_fires_nothing(
    database: Database, clock: Clock
) -> None:
    async def case(it: Stage) -> None:
        then = NOW - 7_200
        await it.take(batch(1, attacks(1, 12, at=then), at=then))
        assert [found.row.ts for found in it.rows()] == pytest.approx([then] * 12, abs=0.01)
        assert it.told == []
        assert it.detection.counters()["late"] >= 12

    play(database, clock, case)


def visit(ip: str, target: str = "/", status: str = "200", count: int = 1, at: float = NOW) -> VisitCount:
    return VisitCount("shop", "prod", ip, target, status, count, int(at * 1000))


def test_requests_without_harm_are_counted_by_who_asked(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        await it.take(batch(1, visits=[visit("198.51.100.7", count=5), visit("198.51.101.7")], at=NOW))
        await it.detection.tick()
        traffic = it.detection.traffic
        assert traffic.within("198.51.100.0/24") == Healthy(5, 1, ("shop",), int(NOW * 1000))
        assert traffic.within("198.51.100.7").requests == 5
        assert traffic.within("0.0.0.0/0").addresses == 2
        assert traffic.within("::/0") == traffic.within("odd") == Healthy(0, 0, (), None)
        clock.now += 3_700
        await it.detection.tick()
        assert traffic.within("0.0.0.0/0") == Healthy(0, 0, (), None)
        assert it.rows() == []

    play(database, clock, case)


def test_an_attack_is_no_healthy_request_though_it_is_counted_among_all(
    database: Database, clock: Clock
) -> None:
    async def case(it: Stage) -> None:
        await it.take(batch(1, attacks(1, 3, at=NOW), at=NOW))
        row, _ = it.heard[0]
        asked = visit(IP, row.target, str(row.status), 4)
        await it.take(batch(2, attacks(10, 3, at=NOW), visits=[asked], at=NOW))
        await it.detection.tick()
        assert it.detection.traffic.within(IP).requests == 1

    play(database, clock, case)


def test_rules_over_all_requests_see_those_that_are_only_counted(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        rate = check({**BUILTIN["rate-limit"], "isEnabled": True}, rule_id="rate-limit")
        scan = check(BUILTIN["api-scan"], rule_id="api-scan")
        it.detection.set_rules([rate, scan])
        await it.take(batch(1, visits=[visit("198.51.100.7", count=1_001)], at=NOW))
        assert it.whats() == [("rate-limit", "opened")]
        await it.take(batch(2, visits=[visit("198.51.100.8", f"/{n}", "404") for n in range(50)], at=NOW))
        assert it.whats()[1:] == [("api-scan", "opened")]

    play(database, clock, case)


def test_what_engines_were_seen_to_do_outlives_a_restart(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        seen = Watched("shop", "prod", "1.2", "r", "1.30.0", "1.18.2", 7, int(NOW * 1000))
        await it.take(batch(1, watched=[seen], at=NOW))
        await it.detection.tick()
        assert it.detection.observed("shop", "prod") == (int(NOW * 1000), 7, "1.30.0", "1.18.2")
        assert it.detection.observed("shop", "") is None
        it.begin()
        assert it.detection.observed("shop", "prod") == (int(NOW * 1000), 0, "1.30.0", "1.18.2")

    play(database, clock, case)


def test_rows_go_when_they_are_too_old_or_too_many(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        for number in range(6):
            clock.now = NOW + number * 86_400
            await it.take(batch(number + 1, attacks(10 * number + 1, 2, at=clock.now), at=clock.now))
        clock.now += 1
        await it.detection.forget_old()
        assert it.detection.counters()["forgotten"] == 2
        assert it.detection.counters()["displaced"] == 7
        newest = NOW + 5 * 86_400
        assert sorted(found.row.ts for found in it.rows()) == pytest.approx(
            [newest - 86_400, newest, newest], abs=0.1
        )

    play(database, clock, case, retain_s=5 * 86_400.0, max_rows=3)


def test_while_the_database_is_away_nothing_is_lost_and_nothing_confirmed(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(it: Stage) -> None:
        put = Detection._put

        def away(*_: Any) -> int:
            raise UnavailableError("away")

        monkeypatch.setattr(Detection, "_put", away)
        one = batch(1, attacks(1, 10, at=NOW), at=NOW)
        done = it.detection.take(one, key_id="k1")
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await it.detection.flush()
        assert not done.done()
        assert it.told == []
        assert it.detection.take(one, key_id="k1") is done  # it asks again
        monkeypatch.setattr(Detection, "_put", put)
        await it.detection.flush()
        await done
        assert it.tally() == Tally(10, 10, 0)
        assert it.whats() == [("sqli-single-ip", "opened")]

    play(database, clock, case)


def test_what_the_database_will_never_take_does_not_come_again_and_again(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(it: Stage) -> None:
        with monkeypatch.context() as patched:

            def refuses(*_: Any) -> int:
                raise ValueError("no such number")

            patched.setattr(Detection, "_put", refuses)
            patched.setattr(Detection, "_put_each", refuses)
            done = it.detection.take(batch(1, attacks(1, 1, at=NOW), at=NOW), key_id="k1")
            with pytest.raises(ValueError, match="no such number"):
                await it.detection.flush()
            with pytest.raises(UnavailableError):
                await done
        await it.take(batch(2, attacks(2, 1, at=NOW), at=NOW))
        assert it.tally() == Tally(1, 1, 0)

    play(database, clock, case)


def test_a_full_queue_says_no(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED_SPANS", 10)

    async def case(it: Stage) -> None:
        it.detection.take(batch(1, attacks(1, 6, at=NOW), at=NOW), key_id="k1")
        with pytest.raises(UnavailableError) as refused:
            it.detection.take(batch(2, attacks(10, 6, at=NOW), at=NOW), key_id="k1")
        assert refused.value.retry_after_s == 5
        assert it.detection.counters()["refused"] == 6
        assert it.detection.counters()["queue"] == 6
        await it.detection.flush()
        await it.take(batch(2, attacks(10, 6, at=NOW), at=NOW))
        assert it.tally() == Tally(12, 12, 0)

    play(database, clock, case)


def test_nobody_may_send_without_end(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        def send(*batches: Batch) -> None:
            for each in batches:
                it.detection.take(each, key_id="k1")

        with pytest.raises(TooOftenError):
            send(*(batch(number, at=NOW) for number in range(1, 1_000)))
        with pytest.raises(TooOftenError):
            send(*(batch(1, at=NOW, agent=f"new-{number}") for number in range(1_100)))
        await it.detection.flush()
        clock.now += 60
        await it.take(batch(500, at=NOW))

    play(database, clock, case)


def test_a_listener_that_fails_harms_nobody(database: Database, clock: Clock) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError

    async def case(it: Stage) -> None:
        it.detection.listeners.insert(0, fails)
        it.detection.on_change.insert(0, fails)
        await it.take(batch(1, attacks(1, 10, at=NOW), at=NOW))
        assert len(it.heard) == 10
        assert len(it.told) == 1

    play(database, clock, case)


def test_a_rule_is_tried_on_what_is_kept_and_changes_nothing(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        await it.take(batch(1, attacks(1, 3, at=NOW), at=NOW))
        strict = check(
            {
                **BUILTIN["sqli-single-ip"],
                "cases": [{"status": "high", "condition": "a > 2"}],
                "isEnabled": False,
            },
            rule_id="strict",
        )
        clock.now += 60
        found = await it.detection.try_rule(strict, hours=1)
        assert [(signal.rule_id, signal.events) for signal in found] == [("strict", 3)]
        assert await it.detection.try_rule(strict, hours=0.01) == []
        assert it.signals() == []
        assert it.told == []

    play(database, clock, case)


def test_the_loop_writes_by_itself_and_at_the_end(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        loop = asyncio.create_task(it.detection.run())
        await it.detection.take(batch(1, attacks(1, 3, at=NOW), at=NOW), key_id="k1")
        assert it.tally() == Tally(3, 3, 0)
        many = Seen(span("sql_injection", 9, at=NOW), int(NOW * 1000), count=7)
        last = it.detection.take(batch(2, [many], at=NOW), key_id="k1")
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await last
        assert it.tally() == Tally(4, 10, 0)

    play(database, clock, case)


def test_what_an_agent_dropped_is_told_by_reason(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        await it.take(
            batch(1, at=NOW, dropped={"spool_full": 3}),
            batch(1, at=NOW, agent="b", dropped={"spool_full": 1}),
        )
        await it.take(batch(2, at=NOW, dropped={"spool_full": 5}))
        assert it.detection.agents_dropped() == {"spool_full": 6}

    play(database, clock, case)


def test_a_listed_address_is_marked(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        it.detection.is_listed = lambda ip: ip == IP
        await it.take(batch(1, [*attacks(1, 1, at=NOW), *attacks(2, 1, at=NOW, ip="198.51.100.10")], at=NOW))
        assert [found.row.actor_ip for found in it.rows("@actor.listed:true")] == [IP]

    play(database, clock, case)


def test_closing_is_told_once(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        await it.take(batch(1, attacks(1, 10, at=NOW), at=NOW))
        clock.now += 3_601
        await it.detection.tick()
        await it.detection.tick()
        assert [change.what for change in it.told] == [Happening.OPENED, Happening.CLOSED]

    play(database, clock, case)


@pytest.mark.loopback
def test_two_control_planes_on_one_database_keep_each_trace_once(postgres_dsn: str, clock: Clock) -> None:
    shared = Database(postgres_dsn)
    shared.migrate()

    async def whole() -> None:
        one, two = Stage(shared, clock), Stage(shared, clock)
        for number in range(1, 6):
            spans = attacks(100 * number, 12, at=NOW, ip=f"198.51.100.{number}")
            await asyncio.gather(
                one.take(batch(number, spans, at=NOW)), two.take(batch(number, spans[2:], at=NOW, agent="b"))
            )
            await asyncio.gather(one.detection.tick(), two.detection.tick())
        assert one.tally() == Tally(60, 60, 0)
        assert {row.signal.rule_id for row in one.signals()} == {"sqli-single-ip"}
        third = Stage(shared, clock)
        await third.detection.tick()
        assert third.told == []

    try:
        asyncio.run(whole())
    finally:
        shared.close()


def test_counts_beyond_all_measure_blind_nobody(database: Database, clock: Clock) -> None:
    """One batch whose counts add up to more than a database holds used to end detection for good."""

    async def case(it: Stage) -> None:
        for number in (1, 2):
            many = [
                Seen(each, int(NOW * 1000), count=2**53 - 1)
                for each in attacks(number * 2_000, 1_500, at=NOW)
            ]
            seen = Watched("shop", "prod", "1", "r1", "1", "1", 2**53 - 1, int(NOW * 1000))
            done = it.detection.take(batch(number, many, at=NOW, watched=[seen] * 500), key_id="k1")
            await it.detection.tick()
            await done

        await it.take(batch(3, attacks(1, 1, at=NOW, ip="203.0.113.5"), at=NOW))

        assert len(it.rows("@http.client_ip:203.0.113.5")) == 1
        assert it.tally().requests == 3_000 * module.MAX_COUNT + 1
        assert it.signals()

    play(database, clock, case)


def test_a_row_that_no_database_takes_costs_no_other_row(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_traces = store.put_traces

    def put(c: Any, org_id: int, found: Any) -> int:
        rows = list(found)
        if any(one.row.actor_ip == "203.0.113.66" for one in rows):
            raise ValueError("no database takes this")
        return put_traces(c, org_id, rows)

    monkeypatch.setattr(store, "put_traces", put)

    async def case(it: Stage) -> None:
        await it.take(
            batch(1, attacks(1, 10, at=NOW), at=NOW),
            batch(2, attacks(50, 1, at=NOW, ip="203.0.113.66"), at=NOW, agent="a2"),
        )

        assert len(it.rows()) == 10
        assert it.detection.counters()["failed"] == 1
        assert it.signals()

    play(database, clock, case)


def test_rules_that_are_tried_wait_for_each_other_and_not_without_end(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(it: Stage) -> None:
        at_work = most = 0
        go = threading.Event()

        def slow(rule: Any, hours: float) -> list[Any]:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            go.wait(30)
            at_work -= 1
            return []

        monkeypatch.setattr(it.detection, "_try", slow)
        rule: Any = None  # nothing looks at it
        tries = [asyncio.create_task(it.detection.try_rule(rule, hours=1)) for _ in range(6)]
        await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
        go.set()
        found = await asyncio.gather(*tries, return_exceptions=True)

        assert most == 1
        assert sum(isinstance(one, TooOftenError) for one in found) == 6 - module.MAX_TRYING

    play(database, clock, case)


def test_a_rule_that_was_changed_elsewhere_is_gone_by(database: Database, clock: Clock) -> None:
    async def case(it: Stage) -> None:
        with database.write() as c:
            for rule_id in BUILTIN:
                off = {**BUILTIN[rule_id], "isEnabled": False}
                store.put_rule(c, 1, store.RuleRow(rule_id, 1, off, True, "eve", 1, ""))
        await it.detection.tick()

        await it.take(batch(1, attacks(1, 50, at=NOW), at=NOW))
        assert not it.signals()

    play(database, clock, case)


def test_what_is_remembered_after_a_restart_is_bounded_and_the_newest(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MAX_RUNS", 3)

    async def case(it: Stage) -> None:
        for number in range(6):
            clock.now += 1
            await it.take(batch(1, attacks(1 + number, 1, at=clock.now), at=clock.now, agent=f"a{number}"))

        again = it.begin()

        assert len(again._deliveries) == 3
        done = again.take(batch(1, at=clock.now, agent="a5"), key_id="k1")
        assert done.done()  # it is known
        assert again.counters()["batches_again"] == 1

    play(database, clock, case)
