"""Type confusion: one role's document in the place of another's, signed with a key that both share.

Stops it: each document names its type, and is read as nothing else.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.bench import Bench, repository_of, whose
from tests.attacks.forging import signed_of
from tests.support.repository import sign_anything

PLACES = ["timestamp", "snapshot", "targets"]


@pytest.mark.parametrize("repository", ["director", "config"])
@pytest.mark.parametrize(
    ("place", "other"), [(place, other) for place in PLACES for other in (*PLACES, "root") if other != place]
)
def test_another_roles_document_is_refused_though_its_key_is_the_right_one(
    bench: Bench, repository: str, place: str, other: str
) -> None:
    thief = bench.thief()
    stolen = repository_of(thief, repository)
    stolen.publish()
    source = stolen.roots[-1] if other == "root" else stolen.documents[other]
    signed: dict[str, Any] = {**signed_of(source), "version": stolen.versions[place]}
    stolen.documents[place] = sign_anything(signed, stolen.signers[place])
    above = {"timestamp": (), "snapshot": ("timestamp",)}.get(place, ("snapshot", "timestamp"))
    if above:
        stolen.publish(*above)

    bench.attack_with(thief)

    version = stolen.versions[place]
    bench.assert_refused(
        "malformed",
        f"{whose(repository)} {place}, version {version}, cannot be read as the {place} document.",
    )
    bench.assert_recovers()
