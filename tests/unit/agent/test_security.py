"""What is gathered of security: soon, bounded, and with counts that stay right in a flood."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from sealwire.agent import security as module
from sealwire.agent.security import (
    COUNTS_S,
    FLUSH_S,
    MAX_SEALED,
    WHOLE_OF_A_KIND,
    Collector,
    Gathered,
    kinds_of,
)
from sealwire.wire.security_batch import MAX_VISITS, MAX_WATCHED
from sealwire.wire.traces import select
from tests.support.spans import pack, packed, recorded_trace, v04


@dataclass
class Bench:
    now_s: float = 100.0
    stirs: int = 0
    collector: Collector = field(init=False)

    def __post_init__(self) -> None:
        self.collector = Collector(
            on_stir=self._stir, monotonic=lambda: self.now_s, wall_ms=lambda: int(self.now_s * 1000)
        )

    def _stir(self) -> None:
        self.stirs += 1

    def send(self, name: str = "attack_tool", times: int = 1, **changes: Any) -> None:
        self.pass_by(*[recorded_trace(name, **changes)] * times)

    def pass_by(self, *traces: list[dict[str, Any]]) -> None:
        found = select("/v0.4/traces", v04(*traces))
        self.collector.take(found, kinds_of(found), lang="python", tracer_version="4.16.0")

    def gather(self) -> Gathered:
        gathered = self.collector.gather()
        assert gathered is not None
        return gathered


@pytest.fixture
def bench() -> Bench:
    return Bench()


def known(bench: Bench) -> None:
    """The service was seen before."""
    bench.send("benign")
    bench.gather()
    bench.stirs = 0


def test_a_span_is_due_within_a_second_and_counts_are_not(bench: Bench) -> None:
    assert bench.collector.due_in_s() is None
    known(bench)
    bench.send("benign")
    assert bench.collector.due_in_s() == COUNTS_S
    bench.send("attack_tool")
    assert bench.collector.due_in_s() == FLUSH_S
    assert bench.stirs == 2
    bench.now_s += 0.4
    bench.send("attack_tool")
    assert bench.collector.due_in_s() == pytest.approx(FLUSH_S - 0.4)
    assert bench.stirs == 2, "nothing is due earlier"

    assert [seen.seen_ms for seen in bench.gather().spans] == [100_000, 100_400]
    assert bench.collector.due_in_s() is None
    assert bench.collector.gather() is None


def test_the_first_request_of_a_service_is_told_at_once(bench: Bench) -> None:
    """Somebody waits to see that an activation works."""
    bench.send("benign")
    assert bench.collector.due_in_s() == FLUSH_S
    (watched,) = bench.gather().watched
    assert (watched.service, watched.env, watched.count) == ("shop", "prod", 1)
    assert (watched.waf_version, watched.rules_version) == ("2.1.0", "1.18.2")
    bench.send("benign", service="mail")
    assert bench.collector.due_in_s() == FLUSH_S


def test_visits_are_counted_whether_benign_or_not(bench: Bench) -> None:
    bench.send("benign", times=3)
    bench.now_s += 1
    bench.send("benign", times=2)
    bench.send("attack_tool")

    gathered = bench.gather()

    benign, attack = gathered.visits
    assert (benign.service, benign.ip, benign.target, benign.status) == ("shop", "127.0.0.1", "/", "200")
    assert (benign.count, benign.at_ms) == (5, 101_000)
    assert attack.count == 1
    assert sum(each.count for each in gathered.watched) == 6


# Floods -------------------------------------------------------------------------------------------------


def test_of_requests_that_are_alike_the_first_are_whole_and_all_are_counted(bench: Bench) -> None:
    bench.send("sql_injection", times=800)
    bench.send("attack_tool", times=200)

    gathered = bench.gather()

    assert len(gathered.spans) == 2 * WHOLE_OF_A_KIND
    assert gathered.requests == 1000
    assert sorted(seen.count for seen in gathered.spans)[-2:] == [200 - 4, 800 - 4]
    assert (bench.collector.seen, bench.collector.sampled) == (1000, 1000 - 2 * WHOLE_OF_A_KIND)
    bench.send("sql_injection")
    assert bench.gather().requests == 1, "the next batch counts anew"


@pytest.mark.parametrize(
    "tag",
    [
        "http.client_ip", "http.status_code", "http.useragent", "usr.id", "http.route", "http.method",
        "appsec.events.users.login.failure.usr.login", "appsec.events.users.login.failure.usr.id",
    ],
)  # fmt: skip
def test_requests_that_a_rule_tells_apart_are_not_alike(bench: Bench, tag: str) -> None:
    """Thirty accounts tried from one address are what a rule is after."""
    traces = [recorded_trace("login_failure", meta={tag: f"{number}"}) for number in range(30)]
    if tag == "http.client_ip":
        traces = [
            recorded_trace("login_failure", meta={tag: f"203.0.113.{n}", "actor.ip": None}) for n in range(30)
        ]
    bench.pass_by(*traces)

    gathered = bench.gather()

    assert [seen.count for seen in gathered.spans] == [1] * 30


def test_rules_in_a_tag_tell_requests_apart_as_well(bench: Bench) -> None:
    def with_rule(number: int) -> list[dict[str, Any]]:
        text = f'{{"triggers":[{{"rule":{{"id":"r{number}"}}}}]}}'
        return recorded_trace("attack_tool", meta={"_dd.appsec.json": text}, meta_struct={})

    bench.pass_by(*[with_rule(number % 2) for number in range(100)])

    assert len(bench.gather().spans) == 2 * WHOLE_OF_A_KIND


def test_what_cannot_be_read_is_not_taken_for_like_another(bench: Bench) -> None:
    odd = recorded_trace("attack_tool")
    odd[0]["meta_struct"] = {"appsec": pack({"triggers": "none"})}
    bench.pass_by(*[odd] * 20)

    assert len(bench.gather().spans) == 20


def test_a_flood_of_different_requests_makes_more_batches_and_then_is_dropped(bench: Bench) -> None:
    total = (MAX_SEALED + 3) * module.MAX_SPANS
    for start in range(0, total, 500):
        bench.pass_by(
            *[
                [packed(recorded_trace("login_failure", meta={"usr.id": f"u{start + number}"})[0])]
                for number in range(500)
            ]
        )
    assert bench.collector.due_in_s() == 0.0

    told, batches = 0, 0
    while (gathered := bench.collector.gather()) is not None:
        assert len(gathered.spans) <= module.MAX_SPANS
        told += gathered.requests
        batches += 1

    assert batches == MAX_SEALED + 1
    assert told == total - bench.collector.dropped["security_spans"]
    assert bench.collector.dropped["security_spans"] > 0


def test_large_spans_are_bounded_in_bytes(bench: Bench) -> None:
    for number in range(100):
        bench.send("sql_injection", meta={"usr.id": f"u{number}", "long": "x" * 200_000})

    batches = []
    while (gathered := bench.collector.gather()) is not None:
        batches.append(sum(len(seen.span.tags) for seen in gathered.spans))

    assert max(batches) <= module.MAX_BYTES
    assert len(batches) == MAX_SEALED + 1
    assert bench.collector.dropped["security_spans"] > 30


def test_addresses_without_end_are_bounded(bench: Bench) -> None:
    for start in range(0, 3 * MAX_VISITS, 1000):
        bench.pass_by(
            *[
                [recorded_trace("benign", meta={"http.client_ip": f"10.0.{start // 1000}.{n}"})[0]]
                for n in range(1000)
            ]
        )
    visits = 0
    while (gathered := bench.collector.gather()) is not None:
        assert len(gathered.visits) <= MAX_VISITS
        visits += sum(each.count for each in gathered.visits)

    assert visits == 3 * MAX_VISITS


def test_processes_without_end_are_bounded(bench: Bench) -> None:
    for start in range(0, (MAX_SEALED + 2) * MAX_WATCHED, 100):
        bench.pass_by(
            *[[recorded_trace("benign", meta={"runtime-id": f"r{start + n}"})[0]] for n in range(100)]
        )
    while (gathered := bench.collector.gather()) is not None:
        assert len(gathered.watched) <= MAX_WATCHED
    assert bench.collector.dropped["security_watched"] > 0


def test_what_nobody_wants_is_only_counted(bench: Bench) -> None:
    bench.collector.is_wanted = False
    bench.send("attack_tool", times=3)

    assert bench.collector.gather() is None
    assert bench.collector.dropped == {"security_not_wanted": 3}


def test_what_was_passed_over_within_a_body_is_counted(bench: Bench) -> None:
    bench.pass_by([{"service": 5}], recorded_trace("attack_tool"))

    assert bench.collector.dropped == {"traces_unreadable": 1}
    assert bench.gather().requests == 1
