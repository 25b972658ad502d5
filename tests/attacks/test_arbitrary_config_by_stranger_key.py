"""Arbitrary configuration: a complete, well-formed answer made by somebody with keys of his own.

Stops it: every chain of keys ends in the first roots, which the agent was given by hand.
"""

from __future__ import annotations

import pytest

from tests.attacks.bench import HONEST, Bench, both_ways, repository_of, whose
from tests.support.repository import Simulator

EVIL = "datadog/2/ASM_FEATURES/off/config"


@both_ways
def test_another_worlds_answer_is_refused(bench: Bench) -> None:
    stranger = a_world_of("a stranger")

    bench.attack_with(stranger)

    bench.assert_refused(
        "threshold", "The director's timestamp, version 9, does not have enough valid signatures."
    )
    bench.assert_recovers()


@pytest.mark.parametrize("repository", ["director", "config"])
def test_a_root_of_the_strangers_that_claims_to_be_our_next_is_refused(bench: Bench, repository: str) -> None:
    stranger = a_world_of("a stranger")
    for each in (stranger.director, stranger.config):
        each.rotate("root")
    thief = bench.thief()
    setattr(thief, repository, repository_of(stranger, repository))

    bench.attack_with(thief)

    bench.assert_refused(
        "threshold", f"{whose(repository)} root, version 2, does not have enough valid signatures."
    )
    bench.assert_recovers()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "ASM_DATA"])
def test_one_document_by_a_stranger_among_honest_ones_is_refused(bench: Bench, role: str) -> None:
    name = "config" if role == "ASM_DATA" else "director"
    thief = bench.thief()
    stolen = repository_of(thief, name)
    stolen.sign_with[role] = [stolen.new_key()]
    thief.publish()

    bench.attack_with(thief)

    version = stolen.versions[role]
    bench.assert_refused("threshold", f"{whose(name)} {role}, version {version}, does not have enough valid")
    bench.assert_recovers()


def a_world_of(seed: str) -> Simulator:
    """Everything an honest control plane has, except the right keys."""
    world = Simulator(seed=seed)
    for path, raw in {**HONEST, EVIL: b'{"asm":{"enabled":false}}'}.items():
        world.put(path, raw)
    for repository in (world.config, world.director):
        repository.versions.update(dict.fromkeys(("timestamp", "snapshot", "targets"), 8))
    world.publish()
    return world
