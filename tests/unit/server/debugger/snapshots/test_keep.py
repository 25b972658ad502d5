"""Snapshots: taken, counted, sealed, found again, dropped."""

from __future__ import annotations

import asyncio
import base64
import random
from pathlib import Path
from typing import Any

import pytest

from sealwire.errors import NotFoundError, UnavailableError
from sealwire.server.debugger.snapshots import keep as keeping
from sealwire.server.debugger.snapshots.keep import Kept, Taken
from sealwire.server.store import debugger as store
from tests.support.debugger_keep import NOW_MS, Keep
from tests.support.messages import PROBE, Probe, message, value

OTHER = "6a1c2d34-aaaa-8bbb-8ccc-0123456789ab"
SECRET = "open-sesame-4711"


def everybody(_kept: Kept) -> bool:
    return True


def test_what_is_taken_is_listed_opened_and_has_its_message(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        raw = message("one", captured={"n": value("5", "int")}, duration=7)
        assert keep.snapshots.take([raw], keep.source()) == Taken(kept=1)
        at_once = await keep.snapshots.open("one")
        await keep.snapshots.flush()

        (kept,) = await keep.snapshots.list(probe_id=PROBE)
        assert kept == at_once.kept
        assert (kept.snapshot_id, kept.service, kept.env, kept.host) == ("one", "shop", "prod", "web-1")
        assert (kept.has_values, kept.errors, kept.bytes, kept.duration_ns) == (True, 0, len(raw), 7)
        assert await keep.snapshots.messages([kept]) == {"one": "total is 5"}
        opened = await keep.snapshots.open("one")
        assert opened == at_once
        assert dict(opened.snapshot.captures[0].locals)["n"].text == "5"
        with pytest.raises(NotFoundError):
            await keep.snapshots.open("two")

    asyncio.run(case())


def test_nothing_of_a_program_is_readable_in_the_database(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        made = [
            message(said=f"pass {SECRET}", captured={SECRET: value(SECRET)}),
            message(evaluationErrors=[{"expr": "x", "message": SECRET}]),
        ]
        assert keep.snapshots.take(made, keep.source()).kept == 2
        await keep.snapshots.flush()
        keep.database.checkpoint()

        assert all(SECRET.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        kept = await keep.snapshots.list()
        assert SECRET not in repr(kept)
        assert any(SECRET in said for said in (await keep.snapshots.messages(kept)).values())

    asyncio.run(case())


def test_a_list_is_filtered_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path, {PROBE: Probe(), OTHER: Probe()})
        made = [message(f"n{number}", at_ms=NOW_MS - 10_000 + number // 2) for number in range(9)]
        keep.snapshots.take(made, keep.source())
        keep.snapshots.take(
            [message("other", probe=OTHER, service="cart", captured={}, dd=None)], keep.source(env="dev")
        )
        keep.snapshots.take(
            [message("failed", evaluationErrors=[{"expr": "x", "message": "no"}] * 2)], keep.source()
        )
        await keep.snapshots.flush()

        async def ids(**wanted: Any) -> list[str]:
            return [kept.snapshot_id for kept in await keep.snapshots.list(**wanted)]

        every = await ids(probe_id=PROBE)
        paged: list[str] = []
        before = None
        while lot := await keep.snapshots.list(probe_id=PROBE, before=before, limit=2):
            paged += [kept.snapshot_id for kept in lot]
            before = (lot[-1].at_ms, lot[-1].snapshot_id)
        assert paged == every == ["failed", "n8", "n7", "n6", "n5", "n4", "n3", "n2", "n1", "n0"]
        assert await ids(service="cart") == await ids(env="dev") == await ids(probe_id=OTHER) == ["other"]
        assert await ids(has_errors=True) == ["failed"]
        assert len(await ids(trace_id="6b02faea000000005a19a5ecaac67746", has_errors=False)) == 10
        assert await ids(version=2) == await ids(has_values=True) == []
        assert await ids(since_ms=NOW_MS - 9_998, until_ms=NOW_MS - 9_997) == ["n5", "n4"]

    asyncio.run(case())


def test_what_makes_no_sense_is_counted_and_spoils_nothing(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        lot = [
            b"{}", message("one"), b"[", message("one"), message(probe=OTHER),
            message(captured={"big": value("x" * 1_100_000)}),
        ]  # fmt: skip
        assert keep.snapshots.take(lot, keep.source()) == Taken(kept=1, refused=3, unknown=1, again=1)
        assert keep.snapshots.counts(PROBE)[:3] == (1, 0, 1)
        assert keep.snapshots.counts(OTHER) == keeping.Counts()
        await keep.snapshots.flush()
        assert len(await keep.snapshots.list()) == 1

    asyncio.run(case())


def test_values_that_make_no_sense_are_told_when_they_are_opened(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        keep.snapshots.take(
            [message("odd", captures={"lines": {"13": {"locals": {"n": [1]}}}})], keep.source()
        )
        opened = await keep.snapshots.open("odd")

        assert "$.debugger.snapshot.captures" in opened.problem
        assert opened.snapshot.message == "total is 5"
        assert opened.snapshot.captures == ()

    asyncio.run(case())


def test_over_the_quota_is_counted_and_survives_a_restart(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path, {PROBE: Probe(), OTHER: Probe()})
        for probe in (PROBE, OTHER):
            keep.snapshots.take([message(probe=probe) for _ in range(700)], keep.source())
        counts = keep.snapshots.counts(PROBE)
        assert counts.kept + counts.over_quota == 700
        assert keep.snapshots.counts(OTHER).kept + counts.kept <= 1_000
        assert counts.per_s == counts.kept / 10
        assert sum(keep.snapshots.per_minute(PROBE)) == keep.snapshots.per_minute(PROBE)[-1] == counts.kept
        await keep.snapshots.flush()

        again = Keep(tmp_path, keep.probes)
        assert again.snapshots.counts(PROBE)[:3] == counts[:3]
        again.snapshots.take([message()], again.source())
        await again.snapshots.flush()
        assert again.snapshots.counts(PROBE).kept == counts.kept + 1
        await again.snapshots.forget_old()
        assert again.snapshots.counts(PROBE).kept == counts.kept + 1

    asyncio.run(case())


def test_the_newest_messages_are_in_memory_also_after_a_restart(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        keep.snapshots.take(
            [message(f"n{n:02}", said=f"said {n}", at_ms=NOW_MS - 90 + n) for n in range(60)], keep.source()
        )
        newest = keep.snapshots.newest(PROBE, 3)
        assert [said for _, said in newest] == ["said 59", "said 58", "said 57"]
        assert len(keep.snapshots.newest(PROBE)) == 50
        assert keep.snapshots.generation(PROBE) == 60
        await keep.snapshots.flush()

        again = Keep(tmp_path)
        running = asyncio.create_task(again.snapshots.run())
        while not again.snapshots.generation(PROBE):
            await asyncio.sleep(0.01)
        assert again.snapshots.newest(PROBE) == keep.snapshots.newest(PROBE)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(case())


def test_what_is_queued_is_written_on_the_way_out(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        running = asyncio.create_task(keep.snapshots.run())
        await asyncio.sleep(0)
        keep.snapshots.take([message("last")], keep.source())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        assert [kept.snapshot_id for kept in await Keep(tmp_path).snapshots.list()] == ["last"]

    asyncio.run(case())


def test_a_database_that_is_away_loses_nothing_and_full_means_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        monkeypatch.setattr(keeping, "MAX_QUEUED", 3)

        def away() -> Any:
            raise UnavailableError("The database does not answer.")

        with monkeypatch.context() as patch:
            patch.setattr(keep.database, "write", away)
            keep.snapshots.take([message(), message(), message()], keep.source())
            with pytest.raises(UnavailableError):
                await keep.snapshots.flush()
            with pytest.raises(UnavailableError):
                keep.snapshots.take([message()], keep.source())
        await keep.snapshots.flush()
        assert keep.snapshots.take([message()], keep.source()).kept == 1
        await keep.snapshots.flush()
        assert len(await keep.snapshots.list()) == keep.snapshots.counts(PROBE).kept == 4

    asyncio.run(case())


def test_what_cannot_be_written_stands_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)

        def broken(*_given: Any, **_named: Any) -> Any:
            raise ValueError("something nobody thought of")

        with monkeypatch.context() as patch:
            patch.setattr(store, "put_snapshots", broken)
            keep.snapshots.take([message("bad")], keep.source())
            with pytest.raises(ValueError, match="nobody"):
                await keep.snapshots.flush()
        keep.snapshots.take([message("good")], keep.source())
        await keep.snapshots.flush()
        assert [kept.snapshot_id for kept in await keep.snapshots.list()] == ["good"]
        assert keep.snapshots.counters()["lost"] == 1

    asyncio.run(case())


def test_stamps_that_cannot_be_are_when_it_arrived(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        day = 86_400_000
        stamps = {
            "future": NOW_MS + day, "ancient": NOW_MS - 2 * day, "none": 0, "hour": NOW_MS - 3_600_000,
        }  # fmt: skip
        keep.snapshots.take([message(key, at_ms=at_ms) for key, at_ms in stamps.items()], keep.source())
        keep.snapshots.take([message("ahead", at_ms=NOW_MS + 7_000)], keep.source(ahead_ms=8_000))
        await keep.snapshots.flush()
        found = {kept.snapshot_id: kept.at_ms - NOW_MS for kept in await keep.snapshots.list()}

        assert found == {"future": 0, "ancient": 0, "none": 0, "hour": -3_600_000, "ahead": -1_000}

    asyncio.run(case())


def test_a_search_finds_values_and_messages_where_it_may_look(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        made = [
            message(
                "value", captured={"user": {"type": "User", "fields": {"mail": value("Ada@example.com")}}}
            ),
            message("message", said="mail of ada@example.com"),
            message("neither", captured={"user": value("bob")}),
            message("escaped", captured={"user": value("J\u00fcrgen \\u00e4")}),
        ]
        keep.snapshots.take(made, keep.source())
        await keep.snapshots.flush()
        search = keep.snapshots.search

        found = await search(PROBE, "ada@Example", may_see=everybody)
        assert {hit.kept.snapshot_id for hit in found.hits} == {"value", "message"}
        assert (found.scanned, found.is_all) == (4, True)
        (hit,) = [hit for hit in found.hits if hit.kept.snapshot_id == "value"]
        assert (hit.paths, hit.total, hit.in_message) == ((("13/user.mail", "'Ada@example.com'"),), 1, False)
        assert [h.kept.snapshot_id for h in (await search(PROBE, "j\u00fcrgen", may_see=everybody)).hits] == [
            "escaped"
        ]
        assert (await search(PROBE, "ada", may_see=lambda kept: kept.snapshot_id == "neither")).hits == ()
        assert (await search(PROBE, "  ", may_see=everybody)).hits == ()
        one = await search(PROBE, "ada", may_see=everybody, limit=1)
        assert (len(one.hits), one.is_all) == (1, False)
        assert not (await search(PROBE, "ada", may_see=everybody, scan=3)).is_all

    asyncio.run(case())


def test_masked_names_are_masked_wherever_it_is_opened(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path, {PROBE: Probe("iban {user.IBAN}")})
        user = {"type": "User", "fields": {"i_ban": value(SECRET), "name": value("ada")}}
        entries = {"type": "dict", "entries": [[value("Iban"), value(SECRET)]]}
        made = message(
            "one", said=f"iban {SECRET}", captured={"user": user, "map": entries, "IBAN": value(SECRET)}
        )
        keep.snapshots.take([made], keep.source())
        await keep.snapshots.flush()
        assert SECRET in keep.snapshots.newest(PROBE)[0][1]
        keep.make_organisation()
        keep.settings.change(redacted_names=["iban"], by="ada", now_ms=NOW_MS)
        keep.probes.clear()  # it is over by now

        opened = await keep.snapshots.open("one")
        exported = [one async for one in keep.snapshots.export()]
        assert exported == [opened]
        said = await keep.snapshots.messages([opened.kept])
        found = await keep.snapshots.search(PROBE, SECRET, may_see=everybody)
        shown = repr((opened, said, found.hits, keep.snapshots.newest(PROBE)))
        assert SECRET not in shown
        assert "ada" in shown
        assert opened.snapshot.message == said["one"] == "iban {user.IBAN}"
        missing = dict(opened.snapshot.captures[0].locals)["IBAN"].missing
        assert missing is not None
        assert missing.is_redacted

    asyncio.run(case())


def test_the_oldest_go_when_there_are_too_many_or_they_are_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        monkeypatch.setattr(keeping, "MAX_PER_PROBE", 20)
        monkeypatch.setattr(keeping, "SLACK", 2)
        keep = Keep(tmp_path, {PROBE: Probe(), OTHER: Probe()}, max_snapshots=30)
        made = [message(f"n{n:02}", at_ms=NOW_MS - 1_000 + n) for n in range(25)]
        keep.snapshots.take(made, keep.source())
        await keep.snapshots.flush()
        left = await keep.snapshots.list(probe_id=PROBE)
        assert [left[0].snapshot_id, left[-1].snapshot_id, len(left)] == ["n24", "n05", 20]
        keep.snapshots.take([message(probe=OTHER) for _ in range(15)], keep.source())
        await keep.snapshots.flush()
        assert len(await keep.snapshots.list()) <= 30
        assert (await keep.snapshots.list(probe_id=PROBE))[0].snapshot_id == "n24"

        keep.now_ms += 24 * 3_600_000
        keep.snapshots.take([message("late")], keep.source())
        await keep.snapshots.flush()
        await keep.snapshots.forget_old()
        assert [kept.snapshot_id for kept in await keep.snapshots.list()] == ["late"]
        assert [kept.snapshot_id for kept, _ in keep.snapshots.newest(PROBE)] == ["late"]

    asyncio.run(case())


def test_bytes_are_bounded_too(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path, max_bytes=20_000)
        for number in range(10):
            noise = base64.b64encode(random.Random(number).randbytes(6_000)).decode()
            keep.snapshots.take(
                [message(f"n{number}", said=noise, at_ms=NOW_MS - 100 + number)], keep.source()
            )
            await keep.snapshots.flush()
        left = await keep.snapshots.list(limit=100)
        assert 0 < len(left) < 10
        assert left[0].snapshot_id == "n9"

    asyncio.run(case())
