"""Replay across organisations: what was signed for a neighbour on the same control plane is sent to us.

Stops it: each organisation has roots and keys of its own, and its UUID is signed into the config snapshot.
"""

from __future__ import annotations

import pytest

from tests.attacks.bench import HONEST, Bench
from tests.support.repository import Simulator

NEIGHBOUR = "11111111-2222-4333-8444-555555555555"


def test_a_neighbours_answer_with_its_own_keys_is_refused(bench: Bench) -> None:
    neighbour = Simulator(seed="neighbour", org_uuid=NEIGHBOUR)
    for path, raw in HONEST.items():
        neighbour.put(path, raw)
    for _ in range(5):
        neighbour.publish()

    bench.attack_with(neighbour)

    bench.assert_refused(
        "threshold", "The director's timestamp, version 5, does not have enough valid signatures."
    )
    bench.assert_recovers()


@pytest.mark.parametrize("whole", [True, False], ids=["both repositories", "config repository"])
def test_a_neighbours_answer_under_shared_keys_is_refused(bench: Bench, whole: bool) -> None:
    """A control plane that used one trust domain for all would rely on the UUID alone."""
    thief = bench.thief()
    thief.config.custom["snapshot"] = {"org_uuid": NEIGHBOUR}
    if whole:
        thief.publish()
    else:
        thief.config.publish()

    bench.attack_with(thief)

    bench.assert_refused(
        "disagreement",
        "The config repository's snapshot is signed for another organisation than this one, "
        f"{bench.simulator.org_uuid}.",
    )
    bench.assert_recovers()
