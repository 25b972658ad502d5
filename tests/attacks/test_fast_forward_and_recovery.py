"""Fast-forward: stolen online keys throw versions so far ahead that nothing honest is ever new again.

Stops it: a root that replaces the keys makes agents forget what the old ones signed (`sealwire root
recover`).
Left open: until that root, honest changes are refused; the last good state is served.
"""

from __future__ import annotations

import pytest

from tests.attacks.bench import HONEST, Bench, repository_of, whose
from tests.support.repository import Simulator

FAR_AHEAD = 10**9


@pytest.mark.parametrize(
    ("thrown", "rotated"),
    [
        (["timestamp"], ["timestamp"]),
        (["timestamp", "snapshot"], ["timestamp", "snapshot"]),
        (["timestamp", "snapshot", "targets"], ["timestamp", "snapshot"]),
        (["timestamp", "snapshot", "targets"], ["timestamp", "snapshot", "targets"]),
    ],
    ids=lambda roles: "+".join(roles),
)
@pytest.mark.parametrize("repository", ["director", "config"])
def test_versions_far_ahead_are_forgotten_with_the_keys_that_signed_them(
    bench: Bench, repository: str, thrown: list[str], rotated: list[str]
) -> None:
    thief = bench.thief()
    stolen = repository_of(thief, repository)
    for role in thrown:
        stolen.versions[role] = FAR_AHEAD
    stolen.publish(*thrown)
    bench.take(thief)
    assert bench.tracer.files == HONEST

    # The honest control plane, still with the old keys, is the one that is refused now.
    bench.attack_with(honest_of(bench))

    bench.assert_refused(
        "rollback", f"{whose(repository)} timestamp came as version 3, and version {FAR_AHEAD + 1} is trusted"
    )
    repository_of(bench.simulator, repository).rotate(*rotated)
    bench.assert_recovers()


def test_a_product_role_far_ahead_is_forgotten_with_the_snapshots_key(bench: Bench) -> None:
    thief = bench.thief()
    thief.config.versions["ASM_DATA"] = FAR_AHEAD
    thief.config.publish()
    bench.take(thief)

    bench.attack_with(honest_of(bench, publish=2))

    bench.assert_refused(
        "rollback", "The config repository's snapshot, version 4, lists an older document than"
    )
    bench.simulator.config.rotate("timestamp", "snapshot")
    bench.assert_recovers()


def test_without_new_keys_old_versions_never_count_again(bench: Bench) -> None:
    """Otherwise the recovery would itself be a rollback."""
    thief = bench.thief()
    thief.fast_forward("director", "timestamp", "snapshot", "targets")
    bench.take(thief)
    honest = bench.thief()
    honest.director.rotate("root")
    honest.publish()

    bench.attack_with(honest)

    bench.assert_refused("rollback", "The director's timestamp came as version 3, and version 1000000001 is")
    bench.simulator.director.rotate("timestamp", "snapshot", "targets")
    bench.assert_recovers()


def honest_of(bench: Bench, *, publish: int = 1) -> Simulator:
    """What is honestly published next, with the keys that were stolen."""
    honest = bench.thief()
    for _ in range(publish):
        honest.publish()
    return honest
