"""What the last day brought to each service: right after every count, and counted rarely."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.server.security.activity import BARS, STEP_MS, Activity
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.store import security as store
from sealwire.server.store.database import Database

NOW_MS = 1_795_358_575_000 // STEP_MS * STEP_MS + 60_000


class Told:
    """A service to which requests come while time goes on."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now_ms, self.generation, self.monotonic = NOW_MS, 0, 0.0
        self.counts: list[int] = []
        self.activity = Activity(
            database, 1, generation=lambda: self.generation, clock=lambda: self.now_ms / 1000,
            monotonic=lambda: self.monotonic,
        )  # fmt: skip
        count = self.activity._count

        def counted(newest: int, bars: int) -> None:
            self.counts.append(bars)
            count(newest, bars)

        self.activity._count = counted  # type: ignore[method-assign]

    def come(self, number: int, *, at_ms: int, blocked: bool = False) -> None:
        row = SecurityTrace(
            trace_id=f"{number:032x}",
            span_id=f"{number:016x}",
            ts=at_ms / 1000,
            service="Shop",
            blocked=blocked,
        )
        with self.database.write() as c:
            store.put_traces(c, 1, [store.Stored(row)])
        self.generation += 1

    def day(self) -> tuple[int, int]:
        found = asyncio.run(self.activity.days()).get(("shop", ""))
        return (0, 0) if found is None else (sum(found.requests), sum(found.blocked))

    def go_on(self, seconds: float) -> None:
        self.monotonic += seconds
        self.now_ms += int(seconds * 1000)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    database.migrate()
    yield Told(database)
    database.close()


def test_nothing_new_is_not_counted_again(told: Told) -> None:
    told.come(1, at_ms=NOW_MS)

    for _ in range(3):
        assert told.day() == (1, 0)
        told.go_on(10)

    assert told.counts == [BARS]


def test_what_comes_is_there_seconds_later_and_only_its_half_hour_is_counted(told: Told) -> None:
    told.come(1, at_ms=NOW_MS - 5 * STEP_MS)
    assert told.day() == (1, 0)
    told.come(2, at_ms=NOW_MS, blocked=True)
    assert told.day() == (1, 0)  # a moment ago it was counted

    told.go_on(5)

    assert told.day() == (2, 1)
    assert told.counts == [BARS, 2]


def test_what_an_agent_delivers_late_is_there_within_a_minute(told: Told) -> None:
    assert told.day() == (0, 0)
    told.come(1, at_ms=NOW_MS - 10 * STEP_MS)

    told.go_on(61)

    assert told.day() == (1, 0)
    assert told.counts == [BARS, BARS]


def test_a_day_later_it_is_over(told: Told) -> None:
    told.come(1, at_ms=NOW_MS)
    assert told.day() == (1, 0)

    told.go_on(86_400 - 600)
    almost = told.day()
    told.go_on(1_800)

    assert (almost, told.day()) == ((1, 0), (0, 0))
