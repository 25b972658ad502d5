"""Expired root: an agent is led to a root that nobody should rely on any more.

Stops it: the last root of the chain must be live; those on the way may have expired.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealwire.clock import utc_now
from tests.attacks.bench import Bench, repository_of, whose


@pytest.mark.parametrize("repository", ["director", "config"])
def test_a_last_root_that_has_expired_is_refused(bench: Bench, repository: str) -> None:
    late = bench.thief()
    stolen = repository_of(late, repository)
    stolen.expires["root"] = utc_now() - timedelta(days=1)
    stolen.rotate("timestamp", "snapshot", "targets")
    late.publish()

    bench.attack_with(late)

    bench.assert_refused("expired", f"{whose(repository)} root, version 2, expired at ")
    # The way out: one more root. The expired one is passed on the way.
    del stolen.expires["root"]
    stolen.rotate("root")
    bench.go_on_from(late)
    bench.assert_recovers()
    assert bench.versions()[f"{repository}_root"] == 3
