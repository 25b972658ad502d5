"""Root gap: a later root is offered without the one between, to skip the keys that would have vouched for it.

Stops it: roots are taken one version at a time, each signed by the one before it and by itself.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.bench import Bench, repository_of, whose
from tests.support.repository import edited


@pytest.mark.parametrize("repository", ["director", "config"])
def test_a_root_two_versions_ahead_is_not_followed(bench: Bench, repository: str) -> None:
    """What the skipped roots' keys signed is then refused like any stranger's."""
    thief = bench.thief()
    stolen = repository_of(thief, repository)
    stolen.rotate("root")
    stolen.rotate("root", "timestamp", "snapshot", "targets")
    thief.publish()
    first, _, third = stolen.roots
    gap: dict[str, Any] = {repository: {"roots": (first, third)}}

    bench.attack_with(edited(thief.answer(), **gap))

    bench.assert_refused(
        "threshold", f"{whose(repository)} timestamp, version 3, does not have enough valid signatures."
    )
    bench.assert_recovers()


def test_a_gap_with_the_present_keys_stays_at_the_present_root(bench: Bench) -> None:
    """Nothing to refuse: all else is rightly signed, and the root is the one trusted before."""
    thief = bench.thief()
    thief.director.rotate("root")
    thief.director.rotate("root")
    thief.publish()
    first, _, third = thief.director.roots

    bench.take(edited(thief.answer(), director={"roots": (first, third)}))

    assert bench.versions()["director_root"] == 1
    bench.simulator.director.rotate("root")
    bench.simulator.publish()
    bench.assert_recovers()
    assert bench.versions()["director_root"] == 2
