"""What is held in memory of each probe that sends something: counts, the rate, the newest messages."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sealwire.server.store.debugger import CountRow, Kept

MAX_NEWEST: Final = 50
RATE_OVER_S: Final = 10
MINUTES: Final = 30


class Said(NamedTuple):
    """The message of a snapshot, and of its probe at the time the template and what it asked for by name."""

    message: str
    template: str
    asked: dict[str, str] | None = None


_NOTHING: Final = CountRow(0, 0, 0, 0)


@dataclass(slots=True)
class Book:
    """Of one probe.

    Attributes:
        generation: Grows with everything that arrives.
        counted: As it is in the database.
        more: What came since.
        newest: The last ones that arrived, oldest first, with their messages.
    """

    generation: int = 0
    counted: CountRow = _NOTHING
    more: CountRow = _NOTHING
    newest: deque[tuple[Kept, Said]] = field(default_factory=lambda: deque(maxlen=MAX_NEWEST))
    _seconds: deque[tuple[int, int]] = field(default_factory=deque)  # a second, and how many were kept in it
    _minutes: deque[tuple[int, int]] = field(default_factory=deque)

    def note(self, now_ms: int, *, kept: int = 0, over_quota: int = 0, refused: int = 0) -> None:
        """Something arrived."""
        self.generation += 1
        self.more = add(self.more, CountRow(kept, over_quota, refused, now_ms))
        _tally(self._seconds, now_ms // 1000, kept, RATE_OVER_S)
        _tally(self._minutes, now_ms // 60_000, kept, MINUTES)

    def written(self, more: CountRow) -> None:
        """That much of ``more`` is in the database now."""
        self.counted = add(self.counted, more)
        left = CountRow(
            self.more.kept - more.kept,
            self.more.over_quota - more.over_quota,
            self.more.refused - more.refused,
            self.more.last_ms,
        )
        self.more = left if any(left[:3]) else _NOTHING

    def per_s(self, now_ms: int) -> float:
        """How many were kept per second, over the last ten."""
        second = now_ms // 1000
        return sum(kept for at, kept in self._seconds if at > second - RATE_OVER_S) / RATE_OVER_S

    def per_minute(self, now_ms: int) -> list[int]:
        """How many were kept in each of the last minutes, the present one last."""
        first = now_ms // 60_000 - MINUTES + 1
        counts = dict(self._minutes)
        return [counts.get(first + number, 0) for number in range(MINUTES)]

    @property
    def is_idle(self) -> bool:
        """Whether nothing came since it was last written."""
        return self.more is _NOTHING and not self._seconds


def add(one: CountRow, more: CountRow) -> CountRow:
    """Both together."""
    return CountRow(
        one.kept + more.kept,
        one.over_quota + more.over_quota,
        one.refused + more.refused,
        max(one.last_ms, more.last_ms),
    )


def _tally(counts: deque[tuple[int, int]], at: int, more: int, span: int) -> None:
    """Add to the count of a second or minute, and drop those that are over."""
    if more:
        if counts and counts[-1][0] >= at:  # or the clock was set back
            at, before = counts.pop()
            more += before
        counts.append((at, more))
    while counts and counts[0][0] <= at - span:
        counts.popleft()
