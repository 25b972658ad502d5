"""Same version, other content: a version that is trusted already comes again with something else in it.

Stops it: what is held is looked at first, and a difference is refused rather than passed over.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.attacks.bench import Bench, repository_of, whose
from tests.support.repository import FAR


@pytest.mark.parametrize(
    ("repository", "role"),
    [
        ("director", "timestamp"),
        ("director", "snapshot"),
        ("director", "targets"),
        ("config", "timestamp"),
        ("config", "snapshot"),
        ("config", "targets"),
        ("config", "ASM_DATA"),
    ],
)
def test_other_content_under_a_trusted_version_is_refused(bench: Bench, repository: str, role: str) -> None:
    thief = bench.thief()
    stolen = repository_of(thief, repository)
    version = stolen.versions[role]
    stolen.expires[role] = FAR + timedelta(days=1)
    stolen.versions[role] = version - 1
    stolen.publish(role)
    above = {"timestamp": (), "snapshot": ("timestamp",)}.get(role, ("snapshot", "timestamp"))
    if above:
        stolen.publish(*above)

    bench.attack_with(thief)

    bench.assert_refused(
        "rollback", f"{whose(repository)} {role} came again as version {version} with other contents."
    )
    bench.assert_recovers()


def test_another_file_under_the_trusted_versions_of_everything_is_refused(bench: Bench) -> None:
    """What a control plane does that lost its ledger."""
    thief = bench.thief()
    thief.put("datadog/2/ASM_DATA/blocked/config", b'{"rules_data":["other"]}')
    for repository in (thief.director, thief.config):
        for role in repository.versions:
            if role != "root":
                repository.versions[role] -= 1
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused("rollback", "The director's timestamp came again as version 2 with other contents.")
    bench.assert_recovers()
