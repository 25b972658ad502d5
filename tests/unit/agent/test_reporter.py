"""Batches get to the control plane, later if not now, and what does not is counted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sealwire.agent import reporter as module
from sealwire.agent import security
from sealwire.agent.exchange import ApiError, Trouble
from sealwire.agent.reporter import STUMBLES, Reporter
from sealwire.agent.security import Collector, kinds_of
from sealwire.agent.spool import Spool
from sealwire.errors import SealwireError
from sealwire.wire.security_batch import Batch, decode
from sealwire.wire.traces import select
from tests.support.spans import recorded_trace, v04

PATIENCE_S = 10.0


def away() -> ApiError:
    return ApiError("away", trouble=Trouble.UNREACHABLE)


def says(status: int, *, retry_after_s: float = 0.0) -> ApiError:
    trouble = Trouble.UNAUTHORIZED if status == 401 else Trouble.REFUSED_BY_SERVER
    return ApiError(f"{status}", trouble=trouble, status=status, retry_after_s=retry_after_s)


@dataclass
class Plane:
    """A control plane that fails as it is told to.

    Attributes:
        fault: What to do instead of taking a batch, if anything.
        taken: Batches, in the order they came.
        asked: Posts so far, whatever came of them.
    """

    fault: Callable[[Batch], SealwireError | None] = lambda _: None
    taken: list[Batch] = field(default_factory=list)
    asked: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None

    async def post_security(self, packed: bytes) -> None:
        if self.gate is not None:
            await self.gate.wait()
        batch = decode(packed, is_gzipped=True)
        self.asked += 1
        error = self.fault(batch)
        if error is None:
            self.taken.append(batch)
        self.news.set()
        if error is not None:
            raise error

    async def until(self, claim: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not claim():
                self.news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):  # what is claimed may change without a post
                        await self.news.wait()

    @property
    def requests(self) -> int:
        return sum(seen.count for batch in self.taken for seen in batch.spans)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "FLUSH_S", 0.005)
    monkeypatch.setattr(module, "RETRY_START_S", 0.01)
    monkeypatch.setattr(module, "RETRY_CAP_S", 0.02)
    monkeypatch.setattr(module, "REFUSED_CAP_S", 0.02)
    monkeypatch.setattr(module, "REPLAY_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "UNKNOWN_START_S", 0.05)
    monkeypatch.setattr(module, "UNKNOWN_CAP_S", 0.05)
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.2)


@dataclass
class Bench:
    folder: Path
    plane: Plane
    limit: int = 1024 * 1024
    started_ms: int = 1
    collector: Collector = field(default_factory=Collector)
    reporter: Reporter = field(init=False)
    sent: int = 0

    def __post_init__(self) -> None:
        self.reporter = Reporter(
            self.collector,
            plane=self.plane,
            open_spool=lambda: Spool.open(self.folder, limit=self.limit, api_key="k", url="u"),
            hostname="web-1",
            agent_uuid="u1",
            started_ms=self.started_ms,
            random=random.Random(1),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reporter.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def attack(self, times: int = 1) -> None:
        """Requests that are not alike."""
        traces = []
        for _ in range(times):
            self.sent += 1
            traces.append(recorded_trace("attack_tool", span_id=self.sent, meta={"usr.id": f"u{self.sent}"}))
        found = select("/v0.4/traces", v04(*traces))
        self.collector.take(found, kinds_of(found), lang="python", tracer_version="4")

    @property
    def kept(self) -> int:
        return self.reporter.spool.requests if self.reporter.spool is not None else 0

    @property
    def files(self) -> int:
        return len(list((self.folder / "security-spool").glob("*.batch")))


def test_what_is_gathered_is_told_soon_in_numbered_batches(tmp_path: Path) -> None:
    async def case() -> None:
        bench = Bench(tmp_path, Plane())
        async with bench.running():
            for number in range(1, 4):
                bench.attack()
                await bench.plane.until(lambda number=number: len(bench.plane.taken) == number)  # type: ignore[misc]
        first = bench.plane.taken[0]
        assert (first.hostname, first.agent_uuid, first.started_ms) == ("web-1", "u1", 1)
        assert [batch.number for batch in bench.plane.taken] == [1, 2, 3]
        assert [seen.lang for seen in first.spans] == ["python"]
        assert first.watched[0].service == "shop"
        assert bench.reporter.told == bench.plane.requests == 3
        assert bench.files == 0

    asyncio.run(case())


@pytest.mark.parametrize("status", [0, 401, 403, 429, 500, 502, 503])
def test_while_it_is_away_batches_are_kept_and_delivered_when_it_returns(
    tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUMBLES", 1000)

    async def case() -> None:
        bench = Bench(tmp_path, Plane())
        bench.plane.fault = lambda _: says(status) if status else away()
        async with bench.running():
            for _ in range(3):
                bench.attack()
                await bench.plane.until(lambda: bench.kept == bench.sent)
            assert bench.files >= 1
            assert bench.reporter.last_error
            bench.plane.fault = lambda _: None
            await bench.plane.until(lambda: bench.plane.requests == 3)
            await bench.plane.until(lambda: bench.files == 0)
            bench.attack()
            await bench.plane.until(lambda: bench.plane.requests == 4)
        assert not bench.reporter.last_error
        assert not bench.collector.dropped

    asyncio.run(case())


def test_what_happens_now_goes_before_what_was_kept(tmp_path: Path) -> None:
    async def case() -> None:
        before = Bench(tmp_path, Plane(fault=lambda _: away()))
        async with before.running():
            for number in range(1, 6):
                before.attack()
                await before.plane.until(lambda number=number: before.kept == number)  # type: ignore[misc]
        after = Bench(tmp_path, Plane())
        after.sent = 100
        after.plane.gate = asyncio.Event()
        async with after.running():
            await after.plane.until(lambda: after.reporter.posts == 1)  # one of those that were kept
            after.attack()
            await after.plane.until(lambda: after.reporter.queued == 1)
            after.plane.gate.set()
            await after.plane.until(lambda: len(after.plane.taken) == 6)
        assert [batch.number for batch in after.plane.taken][2:] == [2, 3, 4, 5]
        assert after.plane.taken[1].spans[0].span.span_id == 101

    asyncio.run(case())


def test_a_batch_it_will_never_take_is_dropped_and_the_others_are_not(tmp_path: Path) -> None:
    async def case() -> None:
        bench = Bench(tmp_path, Plane())
        bench.plane.fault = lambda batch: says(413) if batch.number == 1 else None
        async with bench.running():
            bench.attack(3)
            await bench.plane.until(lambda: bench.collector.dropped["security_refused"] == 3)
            bench.attack()
            await bench.plane.until(lambda: bench.plane.requests == 1)
        assert bench.plane.taken[0].dropped == {"security_refused": 3}
        assert bench.files == 0

    asyncio.run(case())


def test_a_batch_that_makes_it_stumble_each_time_does_not_stand_in_the_way(tmp_path: Path) -> None:
    async def case() -> None:
        bench = Bench(tmp_path, Plane())
        bench.plane.fault = lambda batch: says(500) if batch.number == 1 else None
        async with bench.running():
            bench.attack()
            await bench.plane.until(lambda: bench.reporter.failures == STUMBLES)
            bench.attack()
            await bench.plane.until(lambda: bench.plane.requests == 1)
        assert bench.collector.dropped["security_refused"] == 1

    asyncio.run(case())


def test_an_older_control_plane_is_left_alone_and_asked_again_later(tmp_path: Path) -> None:
    async def case() -> None:
        bench = Bench(tmp_path, Plane(fault=lambda _: says(404)))
        async with bench.running():
            bench.attack()
            await bench.plane.until(lambda: not bench.collector.is_wanted)
            bench.attack()
            assert bench.collector.due_in_s() is None
            assert bench.collector.dropped["security_not_wanted"] >= 1
            asked = bench.plane.asked
            bench.plane.fault = lambda _: None
            await bench.plane.until(lambda: bench.collector.is_wanted)
            assert bench.plane.asked == asked
            bench.attack()
            await bench.plane.until(lambda: bench.plane.requests == 1)
        assert bench.files == 0

    asyncio.run(case())


def test_without_a_disk_what_waits_is_bounded_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED_BYTES", 6_000)

    async def case() -> None:
        bench = Bench(tmp_path, Plane(fault=lambda _: away()), limit=0)
        async with bench.running():
            for _ in range(20):
                bench.attack(10)
                await bench.plane.until(lambda: bench.collector.due_in_s() is None)
            await bench.plane.until(lambda: bench.collector.dropped["security_queue"] > 0)
            assert sum(len(each.packed) for each in bench.reporter._queue) <= 6_000
            bench.plane.fault = lambda _: None
            await bench.plane.until(lambda: bench.reporter.queued == 0)
            await bench.plane.until(
                lambda: bench.plane.requests + bench.collector.dropped["security_queue"] == bench.sent
            )

    asyncio.run(case())


def test_the_last_words_are_delivered_when_it_stops(tmp_path: Path) -> None:
    async def case() -> None:
        bench = Bench(tmp_path, Plane())
        async with bench.running():
            await asyncio.sleep(0)
            bench.attack(7)
        assert bench.plane.requests == 7

    asyncio.run(case())


def test_the_last_words_are_kept_where_they_cannot_be_delivered(tmp_path: Path) -> None:
    async def case() -> None:
        for number, plane in enumerate((Plane(fault=lambda _: away()), Plane(gate=asyncio.Event()))):
            bench = Bench(tmp_path, plane, started_ms=number)
            async with bench.running():
                await asyncio.sleep(0)
                bench.attack(7)
        last = Bench(tmp_path, Plane())
        async with last.running():
            await last.plane.until(lambda: last.plane.requests == 14)

    asyncio.run(case())


def test_a_mistake_of_ours_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        bench = Bench(tmp_path, Plane())
        gather = bench.collector.gather
        failed: list[object] = []

        def fail() -> object:
            if not failed:
                failed.append(gather())
                raise RuntimeError("ours")
            return gather()

        monkeypatch.setattr(bench.collector, "gather", fail)
        async with bench.running():
            bench.attack()
            await bench.plane.until(lambda: bool(failed))
            bench.attack()
            await bench.plane.until(lambda: bench.plane.requests == 1)

    asyncio.run(case())
