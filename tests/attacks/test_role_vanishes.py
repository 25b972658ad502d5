"""Vanishing role: a snapshot that no longer lists a role, so that its version may start anew later.

Stops it: every role that was ever listed stays listed.
"""

from __future__ import annotations

import pytest

from tests.attacks.bench import Bench


@pytest.mark.parametrize("needed", [True, False], ids=["still needed", "not needed any more"])
def test_a_role_that_vanishes_from_the_snapshot_is_refused(bench: Bench, needed: bool) -> None:
    thief = bench.thief()
    if not needed:
        thief.retire("datadog/2/ASM_DATA/blocked/config")
    thief.config.hidden_roles.add("ASM_DATA")
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused(
        "rollback",
        "The config repository's snapshot, version 3, no longer lists a role that version 2 lists.",
    )
    bench.assert_recovers()


def test_a_role_that_was_emptied_instead_is_fine(bench: Bench) -> None:
    """The honest way to retire the last config of a product."""
    bench.simulator.retire("datadog/2/ASM_DATA/blocked/config")
    bench.publish()
    assert "datadog/2/ASM_DATA/blocked/config" not in bench.tracer.files
    bench.assert_recovers()
