"""Pauses: they grow, they differ between hosts, and they end."""

from __future__ import annotations

import random

import pytest

from sealwire.agent.pace import Backoff, Bucket, Windows, skew_words


def test_pauses_grow_to_their_cap_and_start_over_after_a_success() -> None:
    backoff = Backoff(random.Random(1))
    longest = [0.0] * 8
    for _ in range(300):
        backoff.success()
        for index in range(8):
            pause_s = backoff.after_failure_s(start_s=0.5, cap_s=10.0)
            longest[index] = max(longest[index], pause_s)

    assert longest[0] <= 0.5
    assert all(longest[index] < longest[index + 1] for index in range(4))
    assert 9.0 < longest[7] <= 10.0


def test_pauses_are_drawn_over_the_whole_range_and_never_none() -> None:
    drawn = [Backoff(random.Random(seed)).after_failure_s(start_s=1.0, cap_s=10.0) for seed in range(200)]

    assert min(drawn) >= 0.1
    assert min(drawn) < 0.2
    assert max(drawn) > 0.9


def test_a_pause_the_control_plane_asks_for_is_kept() -> None:
    assert Backoff().after_failure_s(start_s=0.5, cap_s=10.0, at_least_s=7.0) == 7.0


def test_ten_thousand_failures_do_not_overflow() -> None:
    backoff = Backoff(failures=10_000)

    assert backoff.after_failure_s(start_s=0.5, cap_s=10.0) <= 10.0


def test_a_bucket_lets_a_burst_through_and_then_spreads() -> None:
    bucket = Bucket(capacity=3, per_second=2)

    waits = [bucket.delay_s(now_s=100.0) for _ in range(5)]

    assert waits == [0, 0, 0, 0.5, 1.0]
    assert bucket.delay_s(now_s=200.0) == 0


def test_windows_let_so_many_through_and_then_none_until_the_next() -> None:
    windows = Windows(limit=2)

    taken = [windows.take(now_s=now_s, window_s=60) for now_s in (1, 2, 3, 59, 60, 61, 62)]

    assert taken == [True, True, False, False, True, True, False]


@pytest.mark.parametrize(
    ("skew_s", "words"),
    [
        (86_400, "this host's clock is 1 day 0 h ahead of the control plane"),
        (-2 * 86_400 - 7200, "this host's clock is 2 days 2 h behind the control plane"),
        (3661, "this host's clock is 1 h 1 min ahead of the control plane"),
        (-400, "this host's clock is 7 min behind the control plane"),
    ],
)
def test_a_wrong_clock_is_named_in_words(skew_s: float, words: str) -> None:
    assert skew_words(skew_s) == words
