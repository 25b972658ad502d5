"""How long to wait: after a failure, between reports, for a newcomer. Pure arithmetic; time is handed in."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

# With a control plane that holds polls, or before the first contact: one that returns is noticed in seconds.
QUICK_START_S, QUICK_CAP_S = 0.5, 10.0
# With one that is polled at an interval: on top of the interval.
POLLING_START_S = 1.0


@dataclass(slots=True)
class Backoff:
    """Growing pauses after failures, drawn anew each time so that a fleet does not return at once."""

    random: random.Random = field(default_factory=random.Random)
    failures: int = 0

    def after_failure_s(self, *, start_s: float, cap_s: float, at_least_s: float = 0.0) -> float:
        """Count a failure and say how long to pause, from a tenth of ``start_s`` to the doubled bound."""
        self.failures += 1
        bound_s = min(cap_s, start_s * 2.0 ** min(self.failures - 1, 32))
        return max(at_least_s, self.random.uniform(start_s / 10, bound_s))

    def success(self) -> None:
        """Start over."""
        self.failures = 0


@dataclass(slots=True)
class Bucket:
    """So many at once, then so many a second."""

    capacity: float = 10.0
    per_second: float = 2.0
    _level: float | None = None
    _at_s: float = 0.0

    def delay_s(self, *, now_s: float) -> float:
        """Take one and say how long to wait before using it."""
        level = self.capacity if self._level is None else self._level
        level = min(self.capacity, level + (now_s - self._at_s) * self.per_second) - 1.0
        self._level, self._at_s = level, now_s
        return max(0.0, -level / self.per_second)


@dataclass(slots=True)
class Windows:
    """At most ``limit`` in each window of fixed length, as the open-source Agent allows newcomers."""

    limit: int
    _window: int = -1
    _used: int = 0

    def take(self, *, now_s: float, window_s: float) -> bool:
        """Whether one more may go now; counts it."""
        window = int(now_s // window_s)
        if window != self._window:
            self._window, self._used = window, 0
        self._used += 1
        return self._used <= self.limit


def skew_words(skew_s: float) -> str:
    """How wrong this host's clock is, as people say it: ``1 day 0 h ahead of the control plane``."""
    minutes = round(abs(skew_s) / 60)
    days, rest = divmod(minutes, 24 * 60)
    hours, minutes = divmod(rest, 60)
    if days:
        amount = f"{days} day{'s' if days != 1 else ''} {hours} h"
    elif hours:
        amount = f"{hours} h {minutes} min"
    else:
        amount = f"{minutes} min"
    return f"this host's clock is {amount} {'ahead of' if skew_s > 0 else 'behind'} the control plane"
