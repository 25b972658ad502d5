"""Rollback with stolen online keys: new timestamps and snapshots that go back to older documents.

Stops it: a snapshot may not list any role at a lower version than the one trusted before.
"""

from __future__ import annotations

import pytest

from tests.attacks.bench import Bench, repository_of, whose


@pytest.mark.parametrize(("repository", "role"), [("director", "targets"), ("config", "ASM_DATA")])
def test_a_new_snapshot_of_an_older_document_is_refused(bench: Bench, repository: str, role: str) -> None:
    older = repository_of(bench.simulator, repository).documents[role]
    version = repository_of(bench.simulator, repository).versions[role]
    bench.next_change()
    thief = bench.thief()
    stolen = repository_of(thief, repository)
    stolen.documents[role], stolen.versions[role] = older, version
    stolen.publish("snapshot", "timestamp")

    bench.attack_with(thief)

    bench.assert_refused(
        "rollback", f"{whose(repository)} snapshot, version 4, lists an older document than version 3 does."
    )
    bench.assert_recovers()


@pytest.mark.parametrize("repository", ["director", "config"])
def test_a_new_timestamp_of_an_older_snapshot_is_refused(bench: Bench, repository: str) -> None:
    older = repository_of(bench.simulator, repository).documents["snapshot"]
    bench.next_change()
    thief = bench.thief()
    stolen = repository_of(thief, repository)
    stolen.documents["snapshot"], stolen.versions["snapshot"] = older, 2
    stolen.publish("timestamp")

    bench.attack_with(thief)

    bench.assert_refused(
        "rollback", f"{whose(repository)} timestamp, version 4, lists an older document than version 3 does."
    )
    bench.assert_recovers()
