"""The chain of audit events: whatever is done to a trail afterwards is found, and told for what it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from sealwire.server.audit.chain import (
    CHANGED,
    FIELDS,
    GENESIS,
    HEAD,
    INSERTED,
    MISSING,
    NO_HEAD,
    OTHER_HEAD,
    REORDERED,
    TRUNCATED,
    UNCHAINED,
    Head,
    Verdict,
    Verifier,
    event_sha256,
)

ORG = "00000000-0000-0000-0000-000000000001"
Event = dict[str, Any]


def chained(count: int, *, org: str = ORG, words: str = "did") -> list[Event]:
    events, previous = [], GENESIS
    for number in range(1, count + 1):
        event: Event = {
            "id": number * 3, "org": org, "at_ms": 1_700_000_000_000 + number, "actor": "ann ✓",
            "action": "config.changed", "subject": f"config {number}", "summary": f"{words} {number}",
            "detail": {"revision": number, "share": 0.25}, "context": {"address": "::1"},
            "prev_sha256": previous,
        }  # fmt: skip
        event["sha256"] = previous = event_sha256(event)
        events.append(event)
    return events


def head_of(events: list[Event]) -> Head:
    return Head(len(events), events[-1]["sha256"])


def verified(events: Iterable[Mapping[str, Any]], head: Head | None, expected_head: str = "") -> Verdict:
    verifier = Verifier(ORG, expected_head=expected_head)
    for event in events:
        verifier.take(event)
    return verifier.verdict(head)


def test_a_trail_as_it_was_written_holds() -> None:
    events = chained(5)

    verdict = verified(events, head_of(events))

    assert verdict == Verdict(5, events[-1]["sha256"], None)
    assert verified([], Head(0, GENESIS)).holds


def test_ten_lines_without_this_program_come_to_the_same_hash() -> None:
    for event in chained(3):
        rest = {name: value for name, value in event.items() if name != "sha256"}
        assert set(rest) == set(FIELDS)
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == event["sha256"]


@pytest.mark.parametrize("name", FIELDS)
def test_a_change_of_any_member_is_found(name: str) -> None:
    events = chained(5)
    head = head_of(events)
    value = events[2][name]
    events[2][name] = (
        value + 1 if isinstance(value, int) else {"x": 1} if isinstance(value, dict) else "other"
    )

    found = verified(events, head).found

    assert found is not None
    assert (found.kind, found.place) == (CHANGED, 3)


def test_a_changed_event_with_its_hash_made_anew_breaks_the_link_after_it() -> None:
    events = chained(5)
    events[2]["summary"] = "nothing"
    events[2]["sha256"] = event_sha256(events[2])

    found = verified(events, head_of(events)).found

    assert found is not None
    assert (found.kind, found.place) == (MISSING, 4)


def _without(events: list[Event]) -> list[Event]:
    return [*events[:2], *events[3:]]


def _swapped(events: list[Event]) -> list[Event]:
    return [*events[:2], events[3], events[2], *events[4:]]


def _with_one_more(events: list[Event]) -> list[Event]:
    forged = {**events[1], "id": 7, "summary": "forged", "prev_sha256": events[1]["sha256"]}
    forged["sha256"] = event_sha256(forged)
    return [*events[:2], forged, *events[2:]]


def _with_one_past_the_chain(events: list[Event]) -> list[Event]:
    return [*events[:2], {**events[1], "id": 7, "sha256": None, "prev_sha256": None}, *events[2:]]


def _from_the_second_on(events: list[Event]) -> list[Event]:
    return events[1:]


def _cut(events: list[Event]) -> list[Event]:
    return events[:-2]


def _twice(events: list[Event]) -> list[Event]:
    return [*events[:3], events[2], *events[3:]]


@pytest.mark.parametrize(
    ("tamper", "kind", "place"),
    [
        (_without, MISSING, 3),
        (_swapped, REORDERED, 3),
        (_with_one_more, INSERTED, 4),
        (_with_one_past_the_chain, UNCHAINED, 3),
        (_from_the_second_on, MISSING, 1),
        (_cut, TRUNCATED, 4),
        (_twice, INSERTED, 4),
    ],
)
def test_what_was_taken_put_in_or_moved_is_found(
    tamper: Callable[[list[Event]], list[Event]], kind: str, place: int
) -> None:
    events = chained(5)

    verdict = verified(tamper(events), head_of(events))

    assert verdict.found is not None
    assert (verdict.found.kind, verdict.found.place) == (kind, place)
    assert verdict.events == place - 1


def test_a_missing_head_and_one_of_something_else_are_found() -> None:
    events = chained(3)

    for head in (NO_HEAD, Head(2, events[1]["sha256"]), Head(3, "f" * 64)):
        found = verified(events, head).found
        assert found is not None
        assert found.kind == HEAD


def test_a_chain_written_anew_is_given_away_by_a_head_that_was_noted() -> None:
    noted = chained(3)[-1]["sha256"]
    grown = chained(5)
    anew = chained(5, words="never did")

    assert verified(grown, head_of(grown), noted).expected_at == 3
    found = verified(anew, head_of(anew), noted).found
    assert found is not None
    assert found.kind == OTHER_HEAD
    assert verified(anew, head_of(anew)).holds  # nothing else could tell


def test_the_chain_of_another_organisation_is_not_taken_for_ours() -> None:
    events = chained(3, org="00000000-0000-0000-0000-000000000002")

    found = verified(events, head_of(events)).found

    assert found is not None
    assert found.kind == CHANGED


def test_a_verification_goes_on_where_the_last_one_ended() -> None:
    events = chained(6)
    verifier = Verifier(ORG, start=Head(4, events[3]["sha256"]))
    for event in events[4:]:
        verifier.take(event)

    assert verifier.verdict(head_of(events)) == Verdict(6, events[5]["sha256"], None)


@pytest.mark.parametrize(
    "rubbish", [{}, {"sha256": "x"}, {"id": "1", "sha256": None}, {"sha256": 5, "org": ORG}]
)
def test_rubbish_in_an_export_is_a_break_and_no_crash(rubbish: Event) -> None:
    assert not verified([*chained(1), rubbish], None).holds
