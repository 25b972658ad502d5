"""Refusals in the audit trail: the first at once, then one row a minute, and a bound on all of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from sealwire.server import audit
from sealwire.server.audit.refusals import ROWS_AN_HOUR, Refusals, Refused


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written() -> list[Refused]:
    return []


@pytest.fixture
def refusals(clock: Clock, written: list[Refused]) -> Refusals:
    return Refusals(written.extend, clock)


def refuse(refusals: Refusals, actor: str = "ann", subject: str = "permission x", org_id: int = 1) -> None:
    refusals.note(org_id, actor=actor, action="access.refused", subject=subject, summary="Refused")


def test_the_first_is_written_at_once_and_equal_ones_a_minute_later_with_their_count(
    refusals: Refusals, clock: Clock, written: list[Refused]
) -> None:
    refuse(refusals)
    refusals.flush()
    assert [one.count for one in written] == [1]

    for _ in range(500):
        refuse(refusals)
    clock.now += 59
    refusals.flush()
    assert len(written) == 1
    clock.now += 1
    refusals.flush()
    assert [one.count for one in written] == [1, 500]
    assert (written[1].first_ms, written[1].at_ms) == (1_000_000, 1_000_000)


def test_other_people_things_and_organisations_are_counted_apart(
    refusals: Refusals, written: list[Refused]
) -> None:
    refuse(refusals)
    refuse(refusals, actor="bob")
    refuse(refusals, subject="permission y")
    refuse(refusals, org_id=2)
    refusals.flush()

    assert len(written) == 4


def test_a_flood_of_different_refusals_gains_no_more_rows_than_the_bound(
    refusals: Refusals, clock: Clock, written: list[Refused]
) -> None:
    sent = 0
    for _minute in range(59):
        for number in range(300):
            refuse(refusals, actor=f"robot {sent if number % 2 else number}")
            sent += 1
        refusals.flush()
        clock.now += 60
    refusals.flush(everything=True)

    assert len(written) <= ROWS_AN_HOUR + 60
    assert sum(one.count for one in written) == sent
    assert {one.actor for one in written} >= {"(many)", "robot 0"}
    for _ in range(3):
        clock.now += 60
        refusals.flush()
    assert not refusals.is_waiting  # nothing is kept of what is over


def test_what_could_not_be_written_is_written_later(clock: Clock) -> None:
    taken: list[Refused] = []
    broken = [True]

    def write(refused: Sequence[Refused]) -> None:
        if broken[0]:
            raise OSError("no disk")
        taken.extend(refused)

    refusals = Refusals(write, clock)
    refuse(refusals)
    with pytest.raises(OSError, match="no disk"):
        refusals.flush()
    refuse(refusals)
    broken[0] = False
    refusals.flush()

    assert [one.count for one in taken] == [2]


def test_addresses_are_kept_and_bounded(refusals: Refusals, written: list[Refused]) -> None:
    for number in range(20):
        token = audit.enter(audit.Context(address=f"10.0.0.{number % 7}"))
        refuse(refusals)
        audit.leave(token)
    refusals.flush()

    assert written[0].addresses == tuple(f"10.0.0.{number}" for number in range(5))


def test_every_refusal_of_many_threads_is_counted(refusals: Refusals, written: list[Refused]) -> None:
    def work() -> None:
        for _ in range(200):
            refuse(refusals)
            refusals.flush()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refusals.flush(everything=True)

    assert sum(one.count for one in written) == 1200
