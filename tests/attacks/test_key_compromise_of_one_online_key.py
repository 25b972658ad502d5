"""Key compromise, one online key: the key of one top-level role is stolen, the others are not.

Stops it: each document is pinned by the one above it, down from a timestamp that the thief cannot make.
Left open: the timestamp's key can withhold news while it lasts; a new root ends it.
"""

from __future__ import annotations

import pytest

from tests.attacks.bench import BLOCKED, Bench, repository_of, whose
from tests.support.repository import edited


@pytest.mark.parametrize("stolen", ["targets", "snapshot"])
@pytest.mark.parametrize("repository", ["director", "config"])
def test_what_no_timestamp_pins_is_not_looked_at(bench: Bench, repository: str, stolen: str) -> None:
    thief = bench.thief()
    if repository == "director":
        thief.director.targets.pop(BLOCKED)
    repository_of(thief, repository).publish(stolen)

    bench.attack_with(thief)

    bench.assert_ignored()
    bench.assert_recovers()


@pytest.mark.parametrize("repository", ["director", "config"])
def test_the_timestamps_key_pins_no_snapshot_that_others_would_have_to_sign(
    bench: Bench, repository: str
) -> None:
    thief = bench.thief()
    stolen = repository_of(thief, repository)
    stolen.sign_with["snapshot"] = stolen.signers["timestamp"]
    stolen.publish("snapshot", "timestamp")

    bench.attack_with(thief)

    bench.assert_refused(
        "threshold", f"{whose(repository)} snapshot, version 3, does not have enough valid signatures."
    )
    bench.assert_recovers()


def test_a_new_timestamp_over_the_old_snapshot_brings_nothing(bench: Bench) -> None:
    thief = bench.thief()
    thief.director.publish("timestamp")

    bench.take(edited(thief.answer(), director={"targets": None}))

    assert bench.poll(bench.newcomer()) == bench.good.answer
    bench.simulator.publish()
    bench.assert_recovers()
