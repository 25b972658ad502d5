"""A DDSketch: how values are distributed, in little room, so that quantiles of many processes can be told.

Hides the bins. A value stands in the bin of its logarithm, so a quantile is off by one percent of itself at
most, and two sketches become one by adding their bins. The library of that name has had no release for years
and brings another package, and this is most of what it does.

Invariants: at most ``MAX_BINS`` bins on each side of zero, beyond which those next to zero become one; what
a sketch counts is whole numbers; neither NaN nor infinity is ever in one.
"""

from __future__ import annotations

import math
from typing import Annotated, Final

import msgspec
from msgspec import Meta

MAX_BINS: Final = 512  # on each side; values from 1 to 25,000 take all of them
_KEPT_BINS: Final = 448  # after some became one, so that this does not happen with each value
MAX_BIN: Final = 40_000  # a float is no larger
MAX_COUNT: Final = 2**53 - 1
GAMMA: Final = 1.02
_LOG_GAMMA: Final = math.log(GAMMA)
_MIDDLE: Final = 2 / (1 + GAMMA)  # from the upper end of a bin to its middle
SMALLEST: Final = 1e-9  # what is nearer to zero is zero
LARGEST: Final = 1e300

_Bins = Annotated[
    dict[Annotated[int, Meta(ge=-MAX_BIN, le=MAX_BIN)], Annotated[int, Meta(ge=1, le=MAX_COUNT)]],
    Meta(max_length=MAX_BINS),
]


class Sketch(msgspec.Struct, array_like=True):
    """The values of one thing.

    Attributes:
        zero: How many were zero.
        above: Of the positive ones, how many in each bin.
        below: Of the negative ones.
    """

    zero: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    above: _Bins = {}
    below: _Bins = {}

    @property
    def count(self) -> int:
        """How many values are in it."""
        return self.zero + sum(self.above.values()) + sum(self.below.values())

    def add(self, value: float, count: int = 1) -> None:
        """One more value.

        Args:
            value: Finite.
            count: How often.
        """
        if value > SMALLEST:
            bins = self.above
        elif value < -SMALLEST:
            bins, value = self.below, -value
        else:
            self.zero += count
            return
        at = math.ceil(math.log(value if value < LARGEST else LARGEST) / _LOG_GAMMA)
        if at in bins:
            bins[at] += count
            return
        bins[at] = count
        if len(bins) > MAX_BINS:
            _make_fewer(bins)

    def merge(self, other: Sketch) -> None:
        """Add all values of another."""
        self.zero = min(MAX_COUNT, self.zero + other.zero)
        for mine, theirs in ((self.above, other.above), (self.below, other.below)):
            for at, count in theirs.items():
                mine[at] = min(MAX_COUNT, mine.get(at, 0) + count)
            if len(mine) > MAX_BINS:
                _make_fewer(mine)

    def copy(self) -> Sketch:
        """Another one with the same values."""
        return Sketch(self.zero, dict(self.above), dict(self.below))

    def quantiles(self, *shares: float) -> list[float]:
        """The values below which these shares of all are; shares in rising order.

        Returns:
            As many as asked for, or none where the sketch is empty.
        """
        total = self.count
        if not total:
            return []
        ordered = [(-_value_of(at), self.below[at]) for at in sorted(self.below, reverse=True)]
        if self.zero:
            ordered.append((0.0, self.zero))
        ordered += [(_value_of(at), self.above[at]) for at in sorted(self.above)]
        found: list[float] = []
        passed = 0
        bins = iter(ordered)
        value = ordered[0][0]
        for share in shares:
            rank = share * (total - 1)
            while passed <= rank:
                value, count = next(bins)
                passed += count
            found.append(value)
        return found


def _value_of(at: int) -> float:
    return math.exp(min(at * _LOG_GAMMA, 700.0)) * _MIDDLE


def _make_fewer(bins: dict[int, int]) -> None:
    lowest = sorted(bins)[: len(bins) - _KEPT_BINS + 1]
    count = sum(bins.pop(at) for at in lowest)
    bins[lowest[-1]] = min(MAX_COUNT, count)
