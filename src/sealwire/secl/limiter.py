"""How often a rule may report: so many at once, then one per interval; for every set of values of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

BURST: Final = 40
REFILL_NS: Final = 100_000_000
MAX_TOKENS: Final = 500  # sets of values that are told apart; those not seen longest are forgotten


class Limiter:
    """A bucket of permissions that fills with time, one per key.

    Args:
        every_ns: With it, one report per so long; without, ``BURST`` at once and one per ``REFILL_NS`` after.
    """

    __slots__ = ("_buckets", "_burst", "_refill_ns")

    def __init__(self, every_ns: int = 0) -> None:
        self._burst = 1 if every_ns else BURST
        self._refill_ns = every_ns or REFILL_NS
        self._buckets: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()  # left, and since when

    def allows(self, key: Hashable, now_ns: int) -> bool:
        """Whether one more may be reported now; takes the permission."""
        left, since_ns = self._buckets.pop(key, (self._burst, now_ns))
        gained = max(0, now_ns - since_ns) // self._refill_ns
        if gained:
            left = min(self._burst, left + gained)
            since_ns += gained * self._refill_ns
        if left == self._burst:
            since_ns = now_ns
        self._buckets[key] = (max(left - 1, 0), since_ns)
        if len(self._buckets) > MAX_TOKENS:
            self._buckets.popitem(last=False)
        return left > 0
