"""Metrics and spans of probes: added up over agents and restarts, each batch once, bounded, sealed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealwire.errors import TooOftenError, UnavailableError
from sealwire.server.debugger.reports import cells, probe_data, spans
from sealwire.server.debugger.reports import metrics as measuring
from sealwire.server.debugger.reports.cells import MAX_SETS
from sealwire.server.debugger.reports.metrics import RETAIN_MS, Series
from sealwire.server.debugger.reports.probe_data import ProbeData
from sealwire.server.debugger.snapshots.vault import Vault
from sealwire.server.keyring import Keyring
from sealwire.server.store.database import Database
from sealwire.wire.probe_batch import Batch, Measured, ProbeSpan, SpansSeen
from sealwire.wire.sketch import Sketch
from tests.support import debugger_keep

NOW_MS = debugger_keep.NOW_MS // 10_000 * 10_000
ID, OTHER_ID, UNKNOWN = "probe-1", "probe-2", "probe-3"
TRACE = "6b02faea000000005a19a5ecaac67746"
SECRET = "open-sesame-4711"


class Place:
    """A control plane's part below a folder; another one on the same folder is as after a restart."""

    def __init__(self, folder: Path) -> None:
        if not (file := folder / "server.db").exists():
            shutil.copy(debugger_keep.empty_database(), file)
        self.folder = folder
        self.now_ms = NOW_MS
        self.database = Database(f"sqlite:///{file}")
        self.data = ProbeData(
            self.database,
            1,
            vault=Vault(Keyring(folder / "config"), "org-uuid"),
            known=lambda probe_id: True if probe_id in (ID, OTHER_ID) else None,
            decorating=lambda service, env, tag: OTHER_ID if (service, tag) == ("shop", "lost") else "",
            clock=lambda: self.now_ms / 1000,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ProbeData]:
        task = asyncio.create_task(self.data.run())
        try:
            yield self.data
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def take(self, *batches: Batch, ahead_ms: int = 0) -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(*(self.data.take(each, key_id="k", ahead_ms=ahead_ms) for each in batches))

    async def series(self, probe_id: str = ID, **asked: Any) -> Series:
        return await self.data.metrics.series(probe_id, since_ms=self.now_ms - 3_600_000, **asked)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_data, "WRITE_EVERY_S", 0.001)


def measured(
    values: Iterable[float],
    *tags: str,
    probe: str = ID,
    kind: Any = "d",
    metric: str = "m",
    at_ms: int = NOW_MS,
) -> Measured:
    found = list(values)
    sketch = Sketch() if kind in "hd" else None
    for value in found:
        if sketch is not None:
            sketch.add(value)
    return Measured(
        probe, metric, kind, tuple(sorted(tags)), at_ms, len(found), sum(found), min(found), max(found),
        found[-1], sketch,
    )  # fmt: skip


def span(**changes: Any) -> ProbeSpan:
    made = ProbeSpan(
        ID, "decoration", "shop", "prod", "1.2.3", "r1", "python", TRACE, 2**64 - 1, NOW_MS * 1_000_000,
        5_000_000, "web.request", "GET /", False, {"who": SECRET}, {},
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def batch(number: int = 1, agent: str = "u1", **parts: Any) -> Batch:
    return Batch(hostname="web-1", agent_uuid=agent, number=number, started_ms=1, sent_ms=2, **parts)


# Numbers --------------------------------------------------------------------------------------------------


def test_what_two_agents_measured_is_added_up_and_is_there_after_a_restart(tmp_path: Path) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        async with place.running() as data:
            await place.take(
                batch(metrics=[measured(range(1, 51), "env:prod", "pod:a")]),
                batch(agent="u2", metrics=[measured(range(51, 101), "env:prod", "pod:b")]),
            )
            await place.take(batch(2, metrics=[measured([7.0], "pod:a", at_ms=NOW_MS - 60_000)]))
            assert data.metrics.generation(ID) >= 2
        again = Place(tmp_path)
        found = await again.series()
        assert (found.metric, found.kind, found.step_s, found.is_cut) == ("m", "d", 10, False)
        old, new = found.lines[0].points
        assert (old.at_ms, old.count, old.p50) == (NOW_MS - 60_000, 1, 7.0)
        assert (new.at_ms, new.count, new.sum, new.min, new.max) == (NOW_MS, 100, 5050, 1, 100)
        assert new.p50 == pytest.approx(50, rel=0.03)
        assert new.p99 == pytest.approx(99, rel=0.03)
        by_pod = await again.series(by="pod")
        assert [(line.label, sum(p.count for p in line.points)) for line in by_pod.lines] == [
            ("a", 51),
            ("b", 50),
        ]
        assert again.data.metrics.tag_keys(ID) == ["env", "pod"]
        latest = again.data.metrics.latest(ID)
        assert latest is not None
        assert latest.point == new
        wide = await again.series(step_s=3_600)
        assert wide.step_s == 3_600
        assert sum(point.count for point in wide.lines[0].points) == 101

    asyncio.run(case())


def test_the_rate_is_right_at_once_and_falls_when_nothing_comes(tmp_path: Path) -> None:
    def rate(place: Place) -> float:
        latest = place.data.metrics.latest(ID)
        assert latest is not None
        return latest.per_s

    async def case() -> None:
        place = Place(tmp_path)
        async with place.running():
            place.now_ms = NOW_MS + 8_000
            await place.take(batch(metrics=[measured(range(20))]))
            assert rate(place) == 10.0  # of the two seconds before it was heard
            place.now_ms = NOW_MS + 12_000
            await place.take(batch(2, metrics=[measured(range(40), at_ms=NOW_MS + 10_000)]))
            assert rate(place) == 10.0
            place.now_ms = NOW_MS + 38_000
            assert rate(place) == pytest.approx(40 / 28)
            place.now_ms = NOW_MS + 40_000
            assert rate(place) == 0.0
        place = Place(tmp_path)
        place.now_ms = NOW_MS + 24_000
        assert rate(place) == pytest.approx(60 / 24)  # after a restart: by whole blocks

    asyncio.run(case())


def test_what_an_agent_held_back_while_it_was_away_makes_no_flood(tmp_path: Path) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        async with place.running():
            place.now_ms = NOW_MS + 25_000
            kept = [measured(range(100), at_ms=NOW_MS + at) for at in (0, 10_000, 20_000)]
            await place.take(batch(metrics=kept))
            latest = place.data.metrics.latest(ID)
            assert latest is not None
            assert latest.per_s == pytest.approx(300 / 25)

    asyncio.run(case())


def test_a_batch_that_comes_again_counts_once_even_after_a_restart(tmp_path: Path) -> None:
    async def case() -> None:
        sent = batch(
            metrics=[measured([1, 2])], spans=[span()], seen=[SpansSeen(ID, "decoration", "", "", 9, 1)]
        )
        place = Place(tmp_path)
        async with place.running():
            await place.take(sent, sent)
            await place.take(sent)
        again = Place(tmp_path)
        async with again.running():
            await again.take(sent)
            await again.take(batch(2, metrics=[measured([4])]))
        assert [(p.count, p.sum) for p in (await again.series()).lines[0].points] == [(3, 7)]
        assert again.data.spans.counts(ID)[:2] == (9, 1)
        assert len(await again.data.spans.list(ID)) == 1

    asyncio.run(case())


def test_a_database_that_is_away_for_a_while_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        put, fails = place.data._put, [2]

        def failing(work: Any) -> Any:
            if fails[0]:
                fails[0] -= 1
                raise UnavailableError("away")
            return put(work)

        monkeypatch.setattr(place.data, "_put", failing)
        async with place.running():
            await place.take(batch(metrics=[measured([1])]), batch(2, metrics=[measured([2])]))
            await place.take(batch(3, metrics=[measured([4])]))
        assert fails == [0]
        assert [(p.count, p.sum) for p in (await place.series()).lines[0].points] == [(3, 7)]

    asyncio.run(case())


def test_what_is_of_no_known_probe_or_too_old_is_counted_and_not_kept(tmp_path: Path) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        async with place.running() as data:
            await place.take(
                batch(
                    metrics=[measured([1], probe=UNKNOWN), measured([1], at_ms=NOW_MS - RETAIN_MS - 20_000)],
                    spans=[span(probe_id=UNKNOWN)],
                    seen=[SpansSeen(UNKNOWN, "span", "shop", "prod", 5, 1)],
                )
            )
            assert data.metrics.counts == {"unknown": 1, "late": 1}
            assert data.spans.dropped == {"unknown": 5}
            assert (await place.series(UNKNOWN)).lines == []
            assert await data.spans.list(UNKNOWN) == []

    asyncio.run(case())


def test_a_clock_that_is_wrong_puts_nothing_into_the_future(tmp_path: Path) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        async with place.running():
            hour = 3_600_000
            await place.take(batch(metrics=[measured([1], at_ms=NOW_MS + hour)]), ahead_ms=hour)
            await place.take(batch(2, metrics=[measured([2], at_ms=NOW_MS + hour)]))
        assert [(p.at_ms, p.sum) for p in (await place.series()).lines[0].points] == [(NOW_MS, 3)]

    asyncio.run(case())


def test_of_many_sets_of_tags_from_many_agents_no_value_is_lost(tmp_path: Path) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        async with place.running():
            for agent in range(4):
                await place.take(
                    batch(
                        agent=f"u{agent}",
                        metrics=[measured([1], f"order:{agent}-{n}", kind="c") for n in range(150)],
                    )
                )
        by_order = await place.series(by="order")
        assert by_order.is_cut
        assert by_order.lines[0].label == "other"
        assert sum(p.count for p in by_order.lines[0].points) == 600 - MAX_SETS
        assert [p.sum for p in (await place.series()).lines[0].points] == [600]

    asyncio.run(case())


def test_a_probe_that_fills_its_room_is_not_told_apart_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        monkeypatch.setattr(measuring, "MAX_SETS_BYTES", 100)
        place = Place(tmp_path)
        async with place.running():
            await place.take(batch(metrics=[measured([n], f"a:{n}") for n in range(9)]))
            await place.take(batch(2, metrics=[measured([n], f"a:{n}") for n in range(9)]))
        assert [line.label for line in (await place.series(by="a")).lines] == ["other"]

    asyncio.run(case())


def test_metrics_of_a_probe_are_few_and_the_last_one_is_shown(tmp_path: Path) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        async with place.running() as data:
            for n in range(8):
                await place.take(
                    batch(
                        n + 1, metrics=[measured([n], metric=f"m{n}\x1b", at_ms=NOW_MS - 80_000 + n * 10_000)]
                    )
                )
            assert data.metrics.counts == {"metrics": 3}
        assert (await place.series()).metric == "m4\ufffd"

    asyncio.run(case())


def test_what_is_a_day_old_goes_and_so_do_the_oldest_beyond_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        async with place.running() as data:
            blocks = [measured([n], at_ms=NOW_MS - n * 10_000) for n in range(20)]
            await place.take(batch(metrics=blocks, spans=[span()]))
            monkeypatch.setattr(measuring, "MAX_BLOCKS", 5)
            await data._forget_old()
            assert len((await place.series()).lines[0].points) == 5
            place.now_ms += RETAIN_MS + 10_000
            await data._forget_old()
            assert (await place.series()).lines == []
            assert data.metrics.latest(ID) is None
            assert await data.spans.list(ID) == []
            assert data.spans.counts(ID) == spans.SpanCounts()

    asyncio.run(case())


def test_an_agent_that_sends_too_often_or_too_much_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        place = Place(tmp_path)  # nothing is written: it does not run
        monkeypatch.setattr(probe_data, "MAX_CELLS", 10)
        place.data.take(batch(metrics=[measured([n], f"a:{n}") for n in range(11)]), key_id="k")
        with pytest.raises(UnavailableError):
            place.data.take(batch(2), key_id="k")
        monkeypatch.setattr(probe_data, "MAX_CELLS", 1_000)
        with pytest.raises(TooOftenError):  # noqa: PT012 - which of them is too many is not said
            for number in range(3, 200):
                place.data.take(batch(number), key_id="k")
        with pytest.raises(TooOftenError):  # noqa: PT012
            for number in range(2_000):
                place.data.take(batch(agent=f"new-{number}"), key_id="k")

    asyncio.run(case())


def test_what_waits_is_bounded_by_its_memory_not_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        monkeypatch.setattr(probe_data, "MAX_CELLS", 100)
        everywhere = [1.03**power for power in range(400)]
        place.data.take(batch(metrics=[measured(everywhere, f"a:{n}") for n in range(5)]), key_id="k")
        with pytest.raises(UnavailableError):
            place.data.take(batch(2), key_id="k")
        monkeypatch.setattr(probe_data, "MAX_CELLS", 1_000)
        monkeypatch.setattr(probe_data, "MAX_SPANS", 50)
        long = {f"tag-{number}": "x" * 2_000 for number in range(20)}
        place.data.take(batch(2, spans=[span(tags=long) for _ in range(3)]), key_id="k")
        with pytest.raises(UnavailableError):
            place.data.take(batch(3), key_id="k")

    asyncio.run(case())


# Spans ----------------------------------------------------------------------------------------------------


def test_a_span_is_kept_whole_and_found_by_where_it_was(tmp_path: Path) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        async with place.running() as data:
            made = span(
                kind="span", tags={"_dd.code_origin.frames.0.file": "/srv/a.py", "error.message": SECRET}
            )
            await place.take(
                batch(
                    spans=[made, span(env="stage", trace_id="0" * 32)],
                    seen=[SpansSeen(ID, "span", "shop", "prod", 70, 1)],
                )
            )
            (found,) = await data.spans.list(ID, env="prod")
            assert (found.service, found.env, found.host, found.span_id) == (
                "shop",
                "prod",
                "web-1",
                2**64 - 1,
            )
            assert (found.at_ms, found.duration_us, found.tags) == (NOW_MS, 5_000, made.tags)
            assert found.without_values().tags == {**made.tags, "error.message": ""}
            (other,) = await data.spans.list(ID, trace_id="0" * 32)
            assert other.without_values().tags == {"who": ""}
            newest, oldest = await data.spans.list(ID)
            assert await data.spans.list(ID, before=newest.row_id) == [oldest]
            counts = data.spans.counts(ID)
            assert (counts.seen, counts.kept, counts.per_s, counts.last_ms) == (70, 2, 7.0, NOW_MS)

    asyncio.run(case())


def test_a_decoration_that_failed_finds_its_probe_by_its_tag(tmp_path: Path) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        async with place.running() as data:
            failed = span(probe_id="", tags={}, errors={"lost": SECRET})
            await place.take(batch(spans=[failed, span(probe_id="", service="till", errors={"lost": "x"})]))
            (found,) = await data.spans.list(OTHER_ID)
            assert found.errors == {"lost": SECRET}
            assert found.without_values().errors == {"lost": ""}
            assert data.spans.counts(OTHER_ID)[:2] == (1, 1)
            assert data.spans.dropped == {"unknown": 1}

    asyncio.run(case())


def test_nothing_of_a_program_is_readable_in_the_database(tmp_path: Path) -> None:
    async def case() -> None:
        place = Place(tmp_path)
        async with place.running():
            await place.take(batch(spans=[span(), span(errors={"a": SECRET})]))
        place.database.checkpoint()
        assert all(SECRET.encode() not in each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())

    asyncio.run(case())


def test_of_the_spans_of_a_probe_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        monkeypatch.setattr(spans, "NEWEST_OF_EACH", 6)
        place = Place(tmp_path)
        async with place.running() as data:
            await place.take(batch(spans=[span(span_id=n) for n in range(10)]))
            await place.take(batch(2, spans=[span(span_id=n, probe_id=OTHER_ID) for n in range(4)]))
            await data._forget_old()
            assert [each.span_id for each in await data.spans.list(ID)] == [9, 8, 7, 6, 5, 4]
            monkeypatch.setattr(spans, "NEWEST", 5)
            await data._forget_old()
            assert len(await data.spans.list(ID)) == 1
            assert len(await data.spans.list(OTHER_ID)) == 4

    asyncio.run(case())


def test_cells_stay_finite_whatever_is_added() -> None:
    cell = cells.Cell()
    for value in (1e200, 1e300, -1e300):
        cell.add(measured([value]))
    assert abs(cell.sum) <= cells.MAX_SUM
    assert all(value is not None for value in cell.quantiles())
