"""Oversize: one document or file larger than anything honest, to use up memory and time.

Stops it: a table of sizes, asked before anything is parsed.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.bench import Bench, repository_of, whose
from tests.support.repository import edited, prefixed_path

LIMITS = [
    ("director", "root", 512_000),
    ("director", "timestamp", 16_384),
    ("director", "snapshot", 2_000_000),
    ("director", "targets", 1_000_000),
    ("config", "root", 512_000),
    ("config", "timestamp", 16_384),
    ("config", "snapshot", 2_000_000),
    ("config", "targets", 5_000_000),
    ("config", "ASM_DATA", 5_000_000),
]


@pytest.mark.parametrize(("repository", "role", "limit"), LIMITS)
def test_a_document_above_its_limit_is_refused(bench: Bench, repository: str, role: str, limit: int) -> None:
    """The padding is white space, so that nothing but the size is wrong with it."""
    thief = bench.thief()
    stolen = repository_of(thief, repository)
    if role == "root":
        stolen.rotate("timestamp")
    thief.publish()
    raw = stolen.roots[-1] if role == "root" else stolen.documents[role]
    padded = raw + b" " * (limit + 1 - len(raw))
    part: dict[str, Any] = {"root": {"roots": (padded,)}, "ASM_DATA": {"delegated": {"ASM_DATA": padded}}}
    answer = edited(thief.answer(), **{repository: part.get(role, {role: padded})})

    bench.attack_with(answer)

    bench.assert_refused(
        "oversize", f"{whose(repository)} {role} has {limit + 1} bytes; {limit} are allowed."
    )
    bench.assert_recovers()


def test_a_file_above_its_limit_is_refused_even_if_both_repositories_sign_it(bench: Bench) -> None:
    path, raw = "datadog/2/ASM_DATA/huge/config", b" " * 10_000_001
    thief = bench.thief()
    thief.put(path, raw)
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused(
        "oversize", f"The file {prefixed_path(path, raw)} has 10000001 bytes; 10000000 are allowed."
    )
    bench.assert_recovers()
