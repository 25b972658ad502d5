"""How much of a core the sources may take, and what is given up first when it is not enough.

Things that are recorded are given up one by one, the dearest of least use first, and taken back one by one
when it has been quiet for a while. Pure: time and what was spent are handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

SHARE: Final = 0.05
WINDOW_S: Final = 1.0
OVER_FOR: Final = 3  # windows in a row above the share, until one thing is given up
FAR_OVER: Final = 4.0  # times the share; then it is given up at once
QUIET_S: Final = 60.0  # below half the share, until one thing is taken back
MAX_QUIET_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Change:
    """What to record from now on less, or again."""

    given_up: tuple[str, ...] = ()
    taken_back: tuple[str, ...] = ()


@dataclass(slots=True)
class Budget:
    """Decides what is given up.

    Attributes:
        order: Names of what may be given up, first to go first.
        times: How often each was given up, ever.
        share: Of one core.
    """

    order: Sequence[str]
    share: float = SHARE
    times: dict[str, int] = field(default_factory=dict)
    used: float = 0.0
    _given_up: list[str] = field(default_factory=list)
    _window_at_s: float | None = None
    _spent_s: float = 0.0
    _over: int = 0
    _quiet_since_s: float | None = None
    _patience_s: float = QUIET_S

    @property
    def given_up(self) -> tuple[str, ...]:
        """What is not recorded now."""
        return tuple(self._given_up)

    def reorder(self, order: Sequence[str]) -> None:
        """Other things are recorded from now on; what is no longer among them is forgotten."""
        self.order = tuple(order)
        self._given_up = [each for each in self._given_up if each in self.order]

    def spend(self, cpu_s: float, *, now_s: float) -> Change:
        """Say what was spent since the last call; what changes by it."""
        if self._window_at_s is None or now_s < self._window_at_s:
            self._window_at_s = now_s
        self._spent_s += max(0.0, cpu_s)
        passed_s = now_s - self._window_at_s
        if passed_s < WINDOW_S:
            return Change()
        self.used = self._spent_s / passed_s
        self._window_at_s, self._spent_s = now_s, 0.0
        if self.used > self.share:
            return self._too_much(now_s)
        self._over = 0
        if self.used > self.share / 2 or not self._given_up:
            self._quiet_since_s = None
            return Change()
        if self._quiet_since_s is None:
            self._quiet_since_s = now_s
        if now_s - self._quiet_since_s < self._patience_s:
            return Change()
        self._quiet_since_s = now_s
        return Change(taken_back=(self._given_up.pop(),))

    def _too_much(self, now_s: float) -> Change:
        self._over += 1
        if self._quiet_since_s is not None and self._given_up:
            self._patience_s = min(self._patience_s * 2, MAX_QUIET_S)  # it does not stay quiet
        self._quiet_since_s = None
        if self._over < OVER_FOR and self.used < self.share * FAR_OVER:
            return Change()
        for name in self.order:
            if name not in self._given_up:
                self._over = 0
                self._given_up.append(name)
                self.times[name] = self.times.get(name, 0) + 1
                return Change(given_up=(name,))
        return Change()
