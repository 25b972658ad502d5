"""Mix-and-match: documents of different times, each rightly signed, put together into a state that never was.

Stops it: the timestamp pins the snapshot by hash, the snapshot every role; both repositories must agree on
each file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sealwire.trust.uptane import Answer
from tests.attacks.bench import Bench, whose
from tests.support.repository import edited


@pytest.mark.parametrize("part", ["snapshot", "targets"])
@pytest.mark.parametrize("repository", ["director", "config"])
def test_an_older_document_below_a_newer_timestamp_is_refused(
    bench: Bench, repository: str, part: str
) -> None:
    yesterday, today = two_days(bench)
    mixed: dict[str, Any] = {repository: {part: getattr(getattr(yesterday, repository), part)}}

    bench.attack_with(edited(today, **mixed))

    bench.assert_refused(
        "digest",
        f"{whose(repository)} {part}, version 3, is not the document of version 4 whose length and hash are",
    )
    bench.assert_recovers()


def test_an_older_product_role_below_a_newer_snapshot_is_refused(bench: Bench) -> None:
    yesterday, today = two_days(bench)

    bench.attack_with(edited(today, config={"delegated": yesterday.config.delegated}))

    bench.assert_refused(
        "digest", "The config repository's ASM_DATA, version 2, is not the document of version 3"
    )
    bench.assert_recovers()


def test_a_director_of_today_beside_a_config_repository_of_yesterday_is_refused(bench: Bench) -> None:
    yesterday, today = two_days(bench)

    bench.attack_with(replace(today, config=yesterday.config))

    bench.assert_refused("disagreement", "The director lists datadog/2/ASM_DATA/today/config, and the config")
    bench.assert_recovers()


def two_days(bench: Bench) -> tuple[Answer, Answer]:
    """Two honest answers, both newer than what the agent has: nothing in them is a rollback."""
    thief = bench.thief()
    answers = []
    for day in ("yesterday", "today"):
        thief.put(f"datadog/2/ASM_DATA/{day}/config", day.encode())
        thief.publish()
        answers.append(thief.answer())
    return answers[0], answers[1]
