"""What became of a probe in each process, from messages of real tracers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from sealwire.errors import MalformedError
from sealwire.server.debugger.reports import statuses
from sealwire.server.debugger.reports.statuses import (
    Diagnostic,
    Failure,
    Headline,
    Key,
    State,
    Status,
    after,
    read_all,
    summary,
)

VECTORS = Path(__file__).parents[4] / "vectors" / "debugger"
KEY = Key("p", 1, "r")
HOUR = 3_600_000


def bodies(name: str) -> list[bytes]:
    return [orjson.dumps(each) for each in json.loads((VECTORS / name).read_bytes())]


def states_of(messages: list[Diagnostic], arrived_ms: int = 2 * 10**12) -> dict[Key, State]:
    found: dict[Key, State] = {}
    for each in messages:
        found[each.key] = after(found.get(each.key), each, arrived_ms=arrived_ms)
    return found


def news(status: Status, at_ms: int, *, key: Key = KEY, has_time: bool = True) -> Diagnostic:
    failure = Failure("T", "m") if status is Status.ERROR else None
    return Diagnostic(key, status, at_ms, failure=failure, has_time=has_time)


def test_an_error_while_a_module_is_imported_passes() -> None:
    found = [
        each
        for body in bodies("ddtrace_4.16_diagnostics.json")
        for each in read_all(body, arrived_ms=2 * 10**12).found
    ]
    five = [each for each in found if each.key.probe_id.endswith("5")]

    assert [each.status for each in five] == [
        Status.RECEIVED,
        Status.ERROR,
        Status.INSTALLED,
        Status.EMITTING,
    ]
    assert five[1].failure is not None
    assert five[1].failure.type == "NoFunctionInModule"
    states = states_of(found)
    by_probe = {key.probe_id[-1]: state.status for key, state in states.items()}
    assert by_probe.pop("6") is Status.ERROR
    assert set(by_probe.values()) == {Status.EMITTING}
    assert len(by_probe) == 8


def test_the_order_of_arrival_does_not_matter_where_messages_carry_their_time() -> None:
    life = [
        news(Status.RECEIVED, 10),
        news(Status.ERROR, 10),
        news(Status.INSTALLED, 20),
        news(Status.EMITTING, 20),
    ]

    for order in itertools.permutations(life):
        state = states_of(list(order))[KEY]
        assert (state.status, state.at_ms, state.failure) == (Status.EMITTING, 20, None)


def test_dd_trace_carries_no_time_and_is_taken_in_its_order() -> None:
    first, second = bodies("dd_trace_5.132_diagnostics.json")

    found = [*read_all(first, arrived_ms=1_000).found, *read_all(second, arrived_ms=2_000).found]

    states = {key.probe_id[:2]: state for key, state in states_of(found).items()}
    assert {name: state.status for name, state in states.items()} == {
        "8f": Status.EMITTING,
        "6a": Status.ERROR,
        "4a": Status.ERROR,
        "3a": Status.ERROR,
    }
    assert states["8f"].at_ms == 2_000
    assert states["6a"].failure is not None
    assert "Unsupported probe type" in states["6a"].failure.message
    assert "logs at a line" in statuses.explained(states["6a"].failure)
    assert "lines only" in statuses.explained(states["3a"].failure or Failure("", ""))
    later = news(Status.ERROR, 2_000, key=found[0].key, has_time=False)
    assert after(states["8f"], later, arrived_ms=2_000).status is Status.ERROR


def test_saying_it_again_shows_that_the_process_lives_and_does_not_change_since_when() -> None:
    state = after(None, news(Status.EMITTING, 100), arrived_ms=110)

    again = after(state, news(Status.EMITTING, 100 + HOUR), arrived_ms=110 + HOUR)

    assert (again.since_ms, again.seen_ms) == (100, 110 + HOUR)
    assert not again.is_stale(110 + 2 * HOUR)
    assert state.is_stale(111 + 2 * HOUR)


def test_an_old_message_that_comes_late_changes_nothing_but_when_it_was_seen() -> None:
    state = after(None, news(Status.EMITTING, 100), arrived_ms=110)

    late = after(state, news(Status.RECEIVED, 50), arrived_ms=200)

    assert late == state._replace(seen_ms=200)


def test_a_clock_that_is_ahead_does_not_rule_for_ever() -> None:
    [ahead] = read_all(orjson.dumps([envelope(timestamp=10**15)]), arrived_ms=1_000).found

    assert ahead.at_ms == 1_000


def envelope(timestamp: Any = 5, **more: Any) -> dict[str, Any]:
    said = {"probeId": "p", "probeVersion": 1, "runtimeId": "r", "status": "RECEIVED", **more}
    return {"service": "shop", "timestamp": timestamp, "debugger": {"diagnostics": said}}


@pytest.mark.parametrize(
    "bad",
    [
        5,
        {},
        {"debugger": 1},
        envelope(status="FINE"),
        envelope(status=5),
        envelope(probeId=""),
        envelope(runtimeId=7),
        envelope(probeVersion="1"),
        envelope(probeVersion=-1),
        envelope(probeId="x" * 200),
        envelope(x="y" * 70000),
    ],
)
def test_one_bad_envelope_does_not_spoil_the_others(bad: object) -> None:
    found = read_all(orjson.dumps([envelope(), bad, envelope()]), arrived_ms=10)

    assert len(found.found) == 2
    assert len(found.refused) == 1


def test_messages_of_probes_that_came_here_are_handed_on() -> None:
    snapshot = {"debugger": {"snapshot": {"id": "s"}}}

    found = read_all(orjson.dumps([snapshot, envelope()]), arrived_ms=10)

    assert [orjson.loads(each) for each in found.others] == [snapshot]
    with pytest.raises(MalformedError):
        read_all(b"{}", arrived_ms=10)


def state(status: Status, seen_ms: int = 1_000) -> State:
    return State(status, seen_ms, seen_ms, seen_ms)


@pytest.mark.parametrize(
    ("held", "headline"),
    [
        ([], Headline.WAITING),
        ([Status.RECEIVED], Headline.RECEIVED),
        ([Status.RECEIVED, Status.INSTALLED], Headline.INSTALLED),
        ([Status.RECEIVED, Status.EMITTING, Status.INSTALLED], Headline.EMITTING),
        ([Status.EMITTING, Status.ERROR], Headline.ERROR),
        ([Status.EMITTING, Status.BLOCKED], Headline.BLOCKED),
    ],
)
def test_the_headline_is_the_worst_and_then_the_furthest(held: list[Status], headline: Headline) -> None:
    rows = [(Key("p", 1, f"r{number}"), state(status)) for number, status in enumerate(held)]

    found = summary(rows, version=1, now_ms=1_000)

    assert found.headline is headline
    assert found.live == len(held)


def test_processes_that_are_gone_or_behind_do_not_decide_the_headline() -> None:
    rows = [
        (Key("p", 2, "current"), state(Status.EMITTING)),
        (Key("p", 1, "current"), state(Status.ERROR)),
        (Key("p", 1, "behind"), state(Status.ERROR)),
        (Key("p", 2, "gone"), state(Status.ERROR)),
        (Key("p", 2, "silent"), state(Status.ERROR, seen_ms=1_000 - 3 * HOUR)),
    ]

    found = summary(rows, version=2, now_ms=1_000, is_alive=lambda runtime_id: runtime_id != "gone")

    assert (found.headline, found.counts) == (Headline.EMITTING, {Status.EMITTING: 1})
    assert (found.behind, found.stale, found.live) == (1, 2, 2)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Failure("NoFunctionsAtLine", "…"), "not a def"),
        (Failure("UnresolvedLocation", "…"), "Check the path"),
        (Failure("NoFunctionInModule", "…"), "passes by itself"),
        (Failure("ValueError", "Invalid predicate: {}"), "expression"),
        (Failure("", "No loaded script found for nothing.js (probe: 1, version: 1)"), "Check the path"),
        (Failure("", "Error setting breakpoint for probe 1 (version: 1)"), "no code at this line"),
        (Failure("Strange", "…"), ""),
    ],
)
def test_failures_are_explained_where_something_is_known(failure: Failure, words: str) -> None:
    said = statuses.explained(failure)

    assert words in said
    assert bool(said) is bool(words)
