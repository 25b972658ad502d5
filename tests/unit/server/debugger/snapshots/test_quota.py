"""How many snapshots are kept per second, and whose."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.server.debugger.snapshots.quota import BURST_S, Quota


def kept(quota: Quota, asked: dict[str, int]) -> dict[str, int]:
    """One after the other, so many of each."""
    found = dict.fromkeys(asked, 0)
    for number in range(max(asked.values())):
        for probe, count in asked.items():
            found[probe] += number < count and quota.take(probe)
    return found


def test_as_many_as_the_rate_allows_are_all_kept_however_they_bunch() -> None:
    quota = Quota(500)
    lost = 0
    for second in range(60):
        quota.refill(second + (0.4 if second % 2 else 0.0))  # late, then early
        lost += sum(not quota.take(f"probe {number % 20}") for number in range(500))

    assert lost == 0


def test_of_twice_as_many_the_rate_is_kept() -> None:
    quota = Quota(500)
    total = 0
    for second in range(60):
        quota.refill(float(second))
        total += sum(kept(quota, {f"probe {number}": 50 for number in range(20)}).values())

    assert 60 * 500 <= total <= 60 * 500 + BURST_S * 500


def test_a_probe_in_a_loop_does_not_starve_the_others() -> None:
    quota = Quota(100)
    quiet = 0
    for second in range(30):
        quota.refill(float(second))
        quiet += kept(quota, {"loop": 5_000})["loop"] * 0 + kept(quota, {"quiet": 10})["quiet"]

    assert quiet >= 29 * 10  # all but what came while the loop had everything to itself


def test_a_probe_that_is_alone_has_everything() -> None:
    quota = Quota(100)
    quota.refill(0.0)
    assert kept(quota, {"one": 1_000})["one"] == 200
    quota.refill(1.0)
    assert kept(quota, {"one": 1_000})["one"] == 100


def test_what_a_probe_leaves_others_may_take() -> None:
    quota = Quota(100)
    quota.refill(0.0)
    kept(quota, {"one": 1_000, "two": 1_000})
    total = 0
    for second in range(1, 9):
        quota.refill(float(second))
        found = kept(quota, {"two": 5})["two"] + kept(quota, {"one": 1_000})["one"]
        total += found

    assert total >= 8 * 100 - 100  # one share may lie unused


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 5), st.integers(0, 200)), min_size=1, max_size=40))
def test_never_more_than_the_rate_over_time(steps: list[tuple[float, int, int]]) -> None:
    quota = Quota(50)
    now, total = 0.0, 0
    for pause, probe, count in steps:
        now += pause
        quota.refill(now)
        total += sum(quota.take(str(probe)) for _ in range(count))

        assert total <= 50 * (now + BURST_S) + 1e-6


def test_a_clock_that_goes_back_gives_nothing() -> None:
    quota = Quota(10)
    quota.refill(1_000.0)
    kept(quota, {"one": 100})
    quota.refill(10.0)
    assert not quota.take("one")
    quota.refill(11.0)
    assert quota.take("one")
