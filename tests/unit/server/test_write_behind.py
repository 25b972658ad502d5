"""What is kept in memory is written behind, whatever the database says meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from sealwire.errors import UnavailableError
from sealwire.server.write_behind import keep_written


class Written:
    """A flush that is told what to raise, and says when it was called."""

    def __init__(self, *raises: Exception | None) -> None:
        self.raises = list(raises)
        self.times = 0
        self.called = asyncio.Event()

    async def flush(self) -> None:
        self.times += 1
        if not self.raises or len(self.raises) == 1:
            self.called.set()
        error = self.raises.pop(0) if self.raises else None
        if error is not None:
            raise error


def test_a_database_that_is_away_and_a_mistake_end_nothing() -> None:
    async def case() -> Written:
        it = Written(UnavailableError("away"), ValueError("a mistake"), None)
        task = asyncio.create_task(keep_written(it.flush, every_s=0.001, what="reports"))
        await asyncio.wait_for(it.called.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return it

    with capture_logs() as said:
        it = asyncio.run(case())
    assert it.times >= 4
    assert [one["event"] for one in said] == ["reports not written yet", "reports dropped"]


def test_what_is_left_is_written_on_the_way_out() -> None:
    async def case() -> int:
        it = Written()
        task = asyncio.create_task(keep_written(it.flush, every_s=3600, what="reports"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return it.times

    assert asyncio.run(case()) == 1
