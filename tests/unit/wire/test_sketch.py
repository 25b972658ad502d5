"""Sketches: quantiles within a percent, few bins, nothing that is no number."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from sealwire.wire.sketch import MAX_BINS, Sketch


def sketch_of(values: list[float]) -> Sketch:
    made = Sketch()
    for value in values:
        made.add(value)
    return made


def test_a_quantile_is_off_by_a_percent_at_most() -> None:
    draw = random.Random(4)
    values = sorted(draw.lognormvariate(3, 1) for _ in range(5_000))
    found = sketch_of(values).quantiles(0.5, 0.95, 0.99)
    for share, value in zip((0.5, 0.95, 0.99), found, strict=True):
        exact = values[int(share * (len(values) - 1))]
        assert abs(value - exact) <= 0.0101 * exact


def test_two_sketches_become_one_that_is_as_if_it_had_all_values() -> None:
    draw = random.Random(5)
    values = [draw.uniform(-50, 50) for _ in range(2_000)]
    one, other = sketch_of(values[:700]), sketch_of(values[700:])
    one.merge(other)
    assert one == sketch_of(values)


def test_values_below_zero_and_at_zero_have_their_place() -> None:
    low, middle, high = sketch_of([-8.0, 0.0, 0.0, 0.0, 8.0]).quantiles(0.0, 0.5, 1.0)
    assert (round(low, 0), middle, round(high, 0)) == (-8, 0, 8)
    assert Sketch().quantiles(0.5) == []


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=200))
def test_any_numbers_give_finite_quantiles_in_their_order(values: list[float]) -> None:
    found = sketch_of(values).quantiles(0.5, 0.95, 0.99)
    assert all(map(math.isfinite, found))
    assert found == sorted(found)


def test_however_far_apart_values_are_the_bins_stay_few_and_none_is_lost() -> None:
    """Attack: numbers of every size there is."""
    values = [math.exp(at / 20) for at in range(-400, 14_000)]
    made = sketch_of(values)
    assert len(made.above) <= MAX_BINS
    assert made.count == len(values)
    assert made.quantiles(1.0)[0] / min(values[-1], 1e300) < 1.011
