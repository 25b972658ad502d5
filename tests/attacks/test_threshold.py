"""Threshold: fewer signatures than a role asks for, made to look like enough.

Stops it: only valid signatures of distinct keys of the role are counted.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sealwire.trust.keys import Ed25519Signer
from tests.attacks.bench import Bench, repository_of, whose
from tests.attacks.forging import signatures_of, with_signatures
from tests.support.repository import Simulator

Signatures = list[dict[str, str]]


def one_twice(good: Signatures) -> Signatures:
    return [good[0], good[0]]


def one_under_two_names(good: Signatures) -> Signatures:
    return [good[0], {**good[0], "keyid": good[1]["keyid"]}]


def one_in_capitals_too(good: Signatures) -> Signatures:
    return [good[0], {**good[0], "keyid": good[0]["keyid"].upper()}]


def one_and_a_stranger(good: Signatures) -> Signatures:
    stranger = Ed25519Signer.generate()
    return [good[0], {"keyid": stranger.public_key.key_id, "sig": stranger.sign(b"x").hex()}]


def one_alone(good: Signatures) -> Signatures:
    return good[:1]


@pytest.mark.parametrize("role", ["timestamp", "ASM_DATA"])
@pytest.mark.parametrize(
    "pretence", [one_alone, one_twice, one_under_two_names, one_in_capitals_too, one_and_a_stranger]
)
def test_one_signature_of_two_is_refused_whatever_it_looks_like(
    bench: Bench, pretence: Callable[[Signatures], Signatures], role: str
) -> None:
    name = asks_for_two(bench.simulator, role)
    bench.publish()
    thief = bench.thief()
    thief.publish()
    stolen = repository_of(thief, name)
    raw = stolen.documents[role]
    stolen.documents[role] = with_signatures(raw, pretence(signatures_of(raw)))
    if role != "timestamp":
        stolen.publish("snapshot", "timestamp")

    bench.attack_with(thief)

    refused = "malformed" if pretence is one_twice else "threshold"
    bench.assert_refused(refused, f"{whose(name)} {role}, version {stolen.versions[role]}, ")
    bench.assert_recovers()


def asks_for_two(simulator: Simulator, role: str) -> str:
    """Raise the threshold of a role to two of three; the repository it belongs to."""
    if role == "ASM_DATA":
        product = simulator.config.roles[role]
        product.signers, product.threshold = [simulator.config.new_key() for _ in range(3)], 2
        return "config"
    director = simulator.director
    director.signers[role] = [director.new_key() for _ in range(3)]
    director.thresholds[role] = 2
    director.rotate(role)
    return "director"
