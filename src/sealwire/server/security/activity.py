"""What the last day brought to each service: requests that were attacked, blocked or told of an event.

Hides how rarely the table is read for it: bars of the day that are over are counted once a minute, as agents
deliver late; the newest two every few seconds, and only after something came. However many look, there is one
count at a time, and a count that takes long is made less often. Bars begin where those of the search do, so
that the numbers are the ones behind the links.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.server.store import security as store
from sealwire.server.store.database import Database

STEP_MS: Final = 1_800_000
BARS: Final = 48
RECOUNT_S: Final = 3.0
RECOUNT_ALL_S: Final = 60.0
_NEWEST: Final = 2  # bars that are counted again each time
_REST: Final = 20  # times as long as a count took, before the next

Where = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Day:
    """The last 24 hours of one service in one environment, oldest first.

    Attributes:
        requests: Attacked, blocked, or with an event, in each bar.
        blocked: Those of them that were.
    """

    requests: tuple[int, ...]
    blocked: tuple[int, ...]


QUIET: Final = Day((0,) * BARS, (0,) * BARS)


class Activity:
    """The last day of every service of an organisation."""

    def __init__(
        self,
        database: Database,
        org_id: int,
        *,
        generation: Callable[[], int],
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._org_id = org_id
        self._generation = generation
        self._clock = clock
        self._monotonic = monotonic
        self._counting = asyncio.Lock()
        self._bars: dict[int, dict[Where, tuple[int, int]]] = {}  # by number since 1970
        self._newest = -1
        self._seen = -1
        self._next = self._next_all = float("-inf")
        self._days: Mapping[Where, Day] = {}

    async def days(self) -> Mapping[Where, Day]:
        """Each service and environment, in lower case, that anything happened in; a few seconds old."""
        async with self._counting:
            now = self._monotonic()
            newest = int(self._clock() * 1000) // STEP_MS
            generation = self._generation()
            everything = newest != self._newest or now >= self._next_all
            if everything or (generation != self._seen and now >= self._next):
                await asyncio.to_thread(self._count, newest, BARS if everything else _NEWEST)
                took = self._monotonic() - now
                self._seen, self._newest = generation, newest
                self._next = now + max(RECOUNT_S, _REST * took)
                if everything:
                    self._next_all = now + max(RECOUNT_ALL_S, _REST * took)
            return self._days

    def _count(self, newest: int, bars: int) -> None:
        begin = newest - bars + 1
        with self._database.read() as c:
            found = store.by_service(
                c, self._org_id, since_ms=begin * STEP_MS, until_ms=(newest + 1) * STEP_MS, step_ms=STEP_MS
            )
        kept = {number: bar for number, bar in self._bars.items() if newest - BARS < number < begin}
        for one in found:
            bar = kept.setdefault(begin + one.number, {})
            bar[one.service, one.env] = (one.requests, one.blocked)
        self._bars = kept
        days: dict[Where, tuple[list[int], list[int]]] = {}
        for number, bar in kept.items():
            for where, (requests, blocked) in bar.items():
                day = days.setdefault(where, ([0] * BARS, [0] * BARS))
                day[0][number - newest - 1] = requests
                day[1][number - newest - 1] = blocked
        self._days = {where: Day(tuple(day[0]), tuple(day[1])) for where, day in days.items()}
