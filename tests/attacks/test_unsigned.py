"""Unsigned: a document without signatures, or with one that was made over something else.

Stops it: nothing is read of a document before its signatures are verified.
"""

from __future__ import annotations

import pytest

from tests.attacks.bench import Bench, repository_of, whose
from tests.attacks.forging import signatures_of, with_signatures

EVERY_DOCUMENT = [
    (repository, role)
    for repository, roles in {
        "director": ("timestamp", "snapshot", "targets"),
        "config": ("timestamp", "snapshot", "targets", "ASM_DATA"),
    }.items()
    for role in roles
]


@pytest.mark.parametrize(("repository", "role"), EVERY_DOCUMENT)
@pytest.mark.parametrize("signed_with", ["nothing", "a signature over another document"])
def test_a_document_that_is_not_signed_is_refused(
    bench: Bench, repository: str, role: str, signed_with: str
) -> None:
    earlier = repository_of(bench.simulator, repository).documents[role]
    thief = bench.thief()
    thief.publish()
    stolen = repository_of(thief, repository)
    signatures = [] if signed_with == "nothing" else signatures_of(earlier)
    stolen.documents[role] = with_signatures(stolen.documents[role], signatures)
    # Who holds the timestamp's and the snapshot's key can pin it all the same.
    above = {"timestamp": (), "snapshot": ("timestamp",)}.get(role, ("snapshot", "timestamp"))
    if above:
        stolen.publish(*above)

    bench.attack_with(thief)

    version = stolen.versions[role]
    bench.assert_refused(
        "threshold", f"{whose(repository)} {role}, version {version}, does not have enough valid signatures."
    )
    bench.assert_recovers()


@pytest.mark.parametrize("repository", ["director", "config"])
def test_a_root_that_is_not_signed_is_refused(bench: Bench, repository: str) -> None:
    thief = bench.thief()
    stolen = repository_of(thief, repository)
    stolen.rotate("timestamp", "snapshot", "targets")
    stolen.roots[-1] = with_signatures(stolen.roots[-1], [])
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused(
        "threshold", f"{whose(repository)} root, version 2, does not have enough valid signatures."
    )
    bench.assert_recovers()
