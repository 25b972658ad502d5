"""Rollback: a complete older answer, validly signed when it was new, is sent again.

Stops it: versions never fall, in memory or over a restart; each repository is held to its own.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.attacks.bench import Bench, both_ways, whose


@both_ways
def test_an_older_complete_answer_is_refused(bench: Bench) -> None:
    yesterday = bench.honest_answer()
    bench.next_change()

    bench.attack_with(yesterday)

    bench.assert_refused(
        "rollback", "The director's timestamp came as version 2, and version 3 is trusted already."
    )
    bench.assert_recovers()


@pytest.mark.parametrize("repository", ["director", "config"])
def test_one_repository_of_yesterday_beside_the_other_of_today_is_refused(
    bench: Bench, repository: str
) -> None:
    yesterday = getattr(bench.honest_answer(), repository)
    bench.next_change()

    bench.attack_with(replace(bench.honest_answer(), **{repository: yesterday}))

    bench.assert_refused("rollback", f"{whose(repository)} timestamp came as version 2, and version 3 is")
    bench.assert_recovers()
