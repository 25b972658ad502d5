"""When a withdrawal is over, and whom it waits for."""

from __future__ import annotations

import pytest

from sealwire.server.views import AgentFacts, Catalogue
from sealwire.server.withdrawal import (
    DROP_PATIENCE_S,
    EMPTY_VIEW,
    EVERYTHING,
    Holder,
    Progress,
    Withdrawn,
    asks,
    is_complete,
    still_holding,
)

NOW = 1_000_000.0


def holder(name: str, **changes: object) -> Holder:
    """An agent that asks, and has not fetched the empty state."""
    values = {
        "agent_id": name, "hostname": name, "key_id": "k", "address": "", "asks": True,
        "holds_nothing": False, "clients": 1, "holding": ("c1",), "seen_s": NOW, "until_s": NOW + 60,
        **changes,
    }  # fmt: skip
    return Holder(**values)  # type: ignore[arg-type]


def emptied(name: str, **changes: object) -> Holder:
    return holder(name, **{"holds_nothing": True, "holding": (), "until_s": None, **changes})


def progress(*holders: Holder) -> Progress:
    return Progress(EVERYTHING, NOW - 10, holders)


def complete(*holders: Holder, all_fetched_s: float | None = NOW) -> bool:
    return is_complete(progress(*holders), now_s=NOW, all_fetched_s=all_fetched_s)


def test_it_waits_for_every_agent_that_asks() -> None:
    assert not complete(emptied("a"), holder("b"))
    assert complete(emptied("a"), emptied("b"))


def test_it_does_not_wait_for_an_agent_that_is_away() -> None:
    away = holder("b", asks=False)

    assert complete(emptied("a"), away)
    assert progress(emptied("a"), away).agents == 1
    assert progress(emptied("a"), away).still_holding(NOW) == (away,)


def test_without_agents_there_is_nothing_to_wait_for() -> None:
    assert complete()


def test_clients_are_given_their_time_to_drop_what_they_have() -> None:
    slow = emptied("a", clients=2, holding=("c1",))

    assert not complete(slow, all_fetched_s=NOW)
    assert not complete(slow, all_fetched_s=NOW - DROP_PATIENCE_S + 0.1)
    assert complete(slow, all_fetched_s=NOW - DROP_PATIENCE_S)
    assert not complete(slow, all_fetched_s=None)
    told = progress(slow, emptied("b", clients=3))
    assert (told.fetched, told.clients, told.dropped) == (2, 5, 4)


def test_what_is_held_for_the_longest_comes_first_and_what_expired_is_not_held() -> None:
    short, long, over = holder("a", until_s=NOW + 1), holder("b", until_s=NOW + 9), holder("c", until_s=NOW)

    assert still_holding((short, emptied("d"), over, long), NOW) == (long, short)


@pytest.mark.parametrize(
    ("seen_s", "since_s", "started_s", "expected"),
    [
        (NOW - 89, None, 0.0, True),
        (NOW - 91, None, 0.0, False),
        (NOW - 91, NOW - 10, 0.0, False),
        # A restart: whoever was there when it began has the same time again from the start on.
        (NOW - 4000, NOW - 4000, NOW - 1, True),
        (NOW - 4000, NOW - 4000, NOW - 91, False),
        # Who was away before it began is not waited for because of a restart.
        (NOW - 9000, NOW - 4000, NOW - 1, False),
        # Nor does a restart make others ask of whom this is not about.
        (NOW - 4000, None, NOW - 1, False),
    ],
)
def test_who_counts_as_asking(seen_s: float, since_s: float | None, started_s: float, expected: bool) -> None:
    found = asks(seen_s=seen_s, now_s=NOW, heard_within_s=90, since_s=since_s, started_s=started_s)

    assert found is expected


def test_a_key_is_concerned_by_its_own_withdrawal_and_by_that_of_all() -> None:
    assert Withdrawn(frozenset({"k"})).concerns("k")
    assert not Withdrawn(frozenset({"k"})).concerns("other")
    assert not Withdrawn(frozenset({"k"})).concerns("")
    assert Withdrawn(frozenset({EVERYTHING})).concerns("k")
    assert not Withdrawn(frozenset({"k"})).hurries("k")
    assert Withdrawn(frozenset({"k"}), frozenset({EVERYTHING})).hurries("k")


def test_the_empty_view_is_the_one_without_files() -> None:
    nobody = AgentFacts(agent_id="", host_tags=frozenset(), clients=())

    assert Catalogue(1).view(nobody, {}, {}, {}).key == EMPTY_VIEW
