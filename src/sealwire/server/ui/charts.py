"""Charts as numbers a template draws: no script, a sentence for who cannot see it, and a table."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

EDGES_S = (1, 2, 3, 4, 5, 6, 8, 10, 15, 30, 60)
TARGET_S = 10
WIDTH, HEIGHT = 240, 44
_GAP = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: where it stands, and what it says."""

    x: float
    y: float
    width: float
    height: float
    label: str
    count: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """How long something took.

    Attributes:
        caption: The whole chart in one sentence.
        target_x: Where ten seconds are.
        p50, p99: In words; empty without data.
    """

    caption: str
    bars: tuple[Bar, ...]
    total: int
    p50: str
    p99: str
    target_x: float
    width: int = WIDTH
    height: int = HEIGHT


def took(seconds: Sequence[float]) -> Histogram:
    """The distribution of durations from save to applied."""
    ordered = sorted(seconds)
    below = [0, *(bisect_left(ordered, edge) for edge in EDGES_S), len(ordered)]
    counts = [after - before for before, after in pairwise(below)]
    return of_counts(
        counts,
        p50=_quantile(ordered, 0.5) if ordered else None,
        p99=_quantile(ordered, 0.99) if ordered else None,
        in_time=bisect_right(ordered, TARGET_S),
    )


def of_counts(
    counts: Sequence[int],
    *,
    p50: float | None,
    p99: float | None,
    in_time: int,
    nothing: str = "No change was confirmed by a client yet.",
) -> Histogram:
    """A distribution that was counted already.

    Args:
        counts: By ``EDGES_S``, and one more for what took longer.
        p50, p99: Seconds; None without data.
        in_time: How many took at most ``TARGET_S``.
        nothing: The caption without data.
    """
    slot = WIDTH / len(counts)
    target_x = round(slot * (EDGES_S.index(TARGET_S) + 1) - _GAP / 2, 1)
    highest, total = max(counts) or 1, sum(counts)
    bars = []
    for index, count in enumerate(counts):
        height = 0.0 if not count else round(max(1.5, count / highest * (HEIGHT - 2)), 1)
        low = EDGES_S[index - 1] if index else 0
        label = f"{low} to {EDGES_S[index]} s" if index < len(EDGES_S) else f"over {low} s"
        x = round(index * slot, 1)
        bars.append(Bar(x, round(HEIGHT - height, 1), round(slot - _GAP, 1), height, label, count))
    if p50 is None or p99 is None:
        return Histogram(nothing, tuple(bars), 0, "", "", target_x)
    caption = (
        f"{in_time:,} of {total:,} {'delivery was' if total == 1 else 'deliveries were'} confirmed within "
        f"{TARGET_S} seconds; half within {seconds_words(p50)}, 99 % within {seconds_words(p99)}."
    )
    return Histogram(caption, tuple(bars), total, seconds_words(p50), seconds_words(p99), target_x)


def _quantile(ordered: Sequence[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def seconds_words(seconds: float) -> str:
    """A duration as people read it."""
    if seconds < 0.1:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
