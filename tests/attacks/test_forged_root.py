"""Forged root: a root that is not vouched for by a threshold of the old root keys and of its own.

Stops it: both are counted, and no other key, however trusted for something else, counts for a root.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sealwire.trust.keys import Ed25519Signer
from tests.attacks.bench import Bench, repository_of, whose
from tests.support.repository import SimulatedRepository

Forge = Callable[[SimulatedRepository], None]


def only_the_new_keys(stolen: SimulatedRepository) -> None:
    replace_root_keys(stolen)
    stolen.publish_root()


def only_the_old_keys(stolen: SimulatedRepository) -> None:
    stolen.sign_with["root"] = replace_root_keys(stolen)
    stolen.publish_root()


def one_old_key_of_the_two_it_takes(stolen: SimulatedRepository) -> None:
    old = replace_root_keys(stolen)
    stolen.publish_root(also_signed_by=old[:1])


def one_root_key_that_lowers_the_threshold(stolen: SimulatedRepository) -> None:
    stolen.thresholds["root"] = 1
    stolen.sign_with["root"] = stolen.signers["root"][:1]
    stolen.publish_root()


def the_online_keys(stolen: SimulatedRepository) -> None:
    online = [stolen.signers[role][0] for role in ("timestamp", "snapshot", "targets")]
    replace_root_keys(stolen)
    stolen.publish_root(also_signed_by=online)


def test_a_root_by_its_own_new_keys_alone_is_refused(bench: Bench) -> None:
    assert_refused(bench, "director", only_the_new_keys)


@pytest.mark.parametrize("repository", ["director", "config"])
@pytest.mark.parametrize(
    "forge",
    [
        only_the_old_keys,
        one_old_key_of_the_two_it_takes,
        one_root_key_that_lowers_the_threshold,
        the_online_keys,
    ],
)
def test_a_root_without_both_thresholds_is_refused(bench: Bench, repository: str, forge: Forge) -> None:
    assert_refused(bench, repository, forge)


@pytest.mark.parametrize("repository", ["director", "config"])
def test_the_root_of_the_other_repository_is_refused(bench: Bench, repository: str) -> None:
    other = {"director": "config", "config": "director"}[repository]
    thief = bench.thief()
    for each in (thief.director, thief.config):
        each.rotate("timestamp")
    repository_of(thief, repository).roots[1] = repository_of(thief, other).roots[1]
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused("threshold", f"{whose(repository)} root, version 2, does not have enough valid")
    bench.assert_recovers()


def assert_refused(bench: Bench, repository: str, forge: Forge) -> None:
    thief = bench.thief()
    stolen = repository_of(thief, repository)
    forge(stolen)
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused(
        "threshold", f"{whose(repository)} root, version 2, does not have enough valid signatures."
    )
    # The honest root of that version is still taken.
    repository_of(bench.simulator, repository).rotate("root", "timestamp")
    bench.assert_recovers()


def replace_root_keys(stolen: SimulatedRepository) -> list[Ed25519Signer]:
    """Put the thief's own keys in the place of the root keys; the old ones."""
    old = stolen.signers["root"]
    stolen.signers["root"] = [stolen.new_key() for _ in old]
    return old
