"""Hash set differs: the repositories name different hashes of a file, so that each is held to another one.

Stops it: the same length and exactly the same set of hashes in both.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from sealwire.trust.sign import TargetEntry, targets_signed
from tests.attacks.bench import BLOCKED, HONEST, Bench
from tests.support.repository import FAR, sign_anything

DIFFERENT = f"The director and the config repository give {BLOCKED} different hashes."


@pytest.mark.parametrize(
    "hashes",
    [
        {"sha256": hashlib.sha256(HONEST[BLOCKED]).hexdigest(), "sha512": "00" * 64},
        {"sha512": hashlib.sha512(HONEST[BLOCKED]).hexdigest()},
        {"sha256": hashlib.sha256(HONEST[BLOCKED]).hexdigest().upper()},
        {"md5": "00" * 16},
    ],
    ids=["one more", "another algorithm", "capitals", "a weak one"],
)
def test_other_hashes_in_the_config_repository_are_refused(bench: Bench, hashes: dict[str, str]) -> None:
    thief = bench.thief()
    role = thief.config.roles["ASM_DATA"]
    signed: dict[str, Any] = targets_signed(version=2, expires=FAR, targets=role.targets)
    signed["targets"][BLOCKED]["hashes"] = hashes
    thief.config.documents["ASM_DATA"] = sign_anything(signed, role.signers)
    thief.config.versions["ASM_DATA"] = 2
    thief.config.publish("snapshot", "timestamp")

    bench.attack_with(thief)

    bench.assert_refused("disagreement", DIFFERENT)
    bench.assert_recovers()


def test_another_hash_in_the_director_is_refused(bench: Bench) -> None:
    evil = b'{"rules_data":{}}'
    thief = bench.thief()
    thief.director.list(BLOCKED, evil)
    thief.files[BLOCKED] = evil
    thief.director.publish()

    bench.attack_with(thief)

    bench.assert_refused("disagreement", DIFFERENT)
    bench.assert_recovers()


def test_another_length_in_the_director_is_refused(bench: Bench) -> None:
    thief = bench.thief()
    listed = thief.director.targets[BLOCKED]
    thief.director.targets[BLOCKED] = TargetEntry(listed.length + 1, listed.sha256, listed.custom)
    thief.director.publish()

    bench.attack_with(thief)

    bench.assert_refused(
        "disagreement",
        f"The director gives {BLOCKED} a length of {listed.length + 1}, and the config repository one of",
    )
    bench.assert_recovers()
