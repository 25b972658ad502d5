"""What became of a probe in each process, kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sealwire.clock import written
from sealwire.errors import UnavailableError
from sealwire.server.debugger.reports import instances, statuses
from sealwire.server.debugger.reports.instances import TakenStatuses
from sealwire.server.debugger.reports.statuses import Headline, Status
from sealwire.server.fleet.connection import Connection
from sealwire.server.store import debugger as store
from tests.support.debugger_keep import NOW_MS, ORG, Keep
from tests.support.messages import PROBE, Probe, body, status

LONG_MS = instances.KNOWN_WITHIN_MS + 1_000


def say(keep: Keep, *envelopes: bytes, ahead_ms: int = 0) -> TakenStatuses:
    read = statuses.read_all(body(*envelopes), arrived_ms=keep.now_ms + ahead_ms)
    return keep.statuses.take(read.found, keep.source(ahead_ms=ahead_ms))


def client(runtime_id: str, state: Connection = Connection.CONNECTED, **facts: Any) -> Any:
    return SimpleNamespace(
        facts={"runtime_id": runtime_id, **facts}, state=state, hostname="web-9", client_id=f"c-{runtime_id}"
    )


def test_each_process_is_told_with_what_the_fleet_knows_of_it(tmp_path: Path) -> None:
    keep = Keep(tmp_path)
    keep.fleet.last = SimpleNamespace(clients=[client("run-1", env="stage", tracer_version="4.16.0")])
    say(keep, status("INSTALLED"), status("ERROR", runtime="run-2", error=("NoFunctionInModule", "gone")))

    failed, well = keep.statuses.of(PROBE)
    assert (failed.key.runtime_id, failed.env, failed.host, failed.client_id) == (
        "run-2",
        "prod",
        "web-1",
        "",
    )
    assert failed.state.failure == statuses.Failure("NoFunctionInModule", "gone")
    assert (well.env, well.host, well.tracer_version, well.client_id) == (
        "stage",
        "web-9",
        "4.16.0",
        "c-run-1",
    )
    summary = keep.statuses.summary(PROBE, 1)
    assert (summary.headline, summary.live) == (Headline.ERROR, 2)
    assert keep.statuses.all_summaries({PROBE: 1, "none": 1})["none"].headline is Headline.WAITING


def test_what_changed_is_told_by_the_generation(tmp_path: Path) -> None:
    keep = Keep(tmp_path)
    seen = [keep.statuses.generation(PROBE)]
    for envelope in (
        status("RECEIVED"), status("RECEIVED"), status("EMITTING"), status("EMITTING", version=2),
        status("INSTALLED", version=1),
    ):  # fmt: skip
        say(keep, envelope)
        seen.append(keep.statuses.generation(PROBE))

    assert seen == [0, 1, 1, 2, 3, 3]
    assert [one.key.version for one in keep.statuses.of(PROBE)] == [2]


def test_a_process_that_left_the_fleet_is_stale_and_a_forked_one_lives_with_its_parent(
    tmp_path: Path,
) -> None:
    keep = Keep(tmp_path)
    say(keep, status("EMITTING"), status("EMITTING", runtime="run-2"))
    say(keep, status("EMITTING", runtime="fork", parent="run-1"))
    assert keep.statuses.summary(PROBE, 1).counts == {Status.EMITTING: 3}  # nobody looked at the fleet yet

    keep.now_ms += LONG_MS
    keep.fleet.last = SimpleNamespace(clients=[client("run-1"), client("run-2", Connection.OFFLINE)])
    assert {one.key.runtime_id: one.is_alive for one in keep.statuses.of(PROBE)} == {
        "run-1": True, "fork": True, "run-2": False,
    }  # fmt: skip
    assert keep.statuses.summary(PROBE, 1)[1:] == ({Status.EMITTING: 2}, 0, 1)
    keep.now_ms += statuses.STALE_AFTER_MS
    assert keep.statuses.summary(PROBE, 1).headline is Headline.WAITING


def test_statuses_survive_a_restart(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        say(keep, status("ERROR", error=("NoSourceFile", "Where?")), status("EMITTING", runtime="run-2"))
        await keep.statuses.flush()
        before = keep.statuses.of(PROBE)
        say(keep, status("EMITTING", version=2))
        await keep.statuses.flush()

        again = Keep(tmp_path)
        assert again.statuses.of(PROBE) == keep.statuses.of(PROBE) != before
        again.now_ms += instances.RETAIN_MS + 1
        await again.statuses.forget_old()
        assert again.statuses.of(PROBE) == []
        assert Keep(tmp_path).statuses.of(PROBE) == []

    asyncio.run(case())


def test_of_unknown_probes_nothing_is_kept(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        assert say(keep, status("EMITTING", probe="nobody's"), status("RECEIVED")) == TakenStatuses(1, 1)
        assert keep.statuses.of("nobody's") == []
        keep.probes.clear()
        await keep.statuses.forget_old()
        assert keep.statuses.of(PROBE) == []

    asyncio.run(case())


def test_a_new_process_with_every_message_fills_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "MAX_PER_PROBE", 10)
    keep = Keep(tmp_path)
    taken = say(keep, *(status("EMITTING", runtime=f"run-{number}") for number in range(15)))
    assert taken == TakenStatuses(taken=10, over=5)
    assert say(keep, status("ERROR", runtime="run-3")).taken == 1
    keep.now_ms += statuses.STALE_AFTER_MS + 1
    assert say(keep, status("EMITTING", runtime="later")).taken == 1
    assert [one.key.runtime_id for one in keep.statuses.of(PROBE)] == ["later"]


def test_processes_that_nobody_knows_do_not_hide_those_of_the_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "MAX_PER_PROBE", 10)
    monkeypatch.setattr(instances, "MAX_HELD", 12)
    other = "aaaaaaaa-0000-4000-8000-000000000002"
    third = "aaaaaaaa-0000-4000-8000-000000000003"
    probes = dict.fromkeys((PROBE, other, third), Probe())
    keep = Keep(tmp_path, probes)
    keep.fleet.last = SimpleNamespace(clients=[client("real")])
    say(keep, *(status("EMITTING", runtime=f"forged-{number}") for number in range(15)))
    assert say(keep, status("ERROR", runtime="real")).taken == 1
    assert len(keep.statuses.of(PROBE)) == 10
    asyncio.run(keep.statuses.flush())

    say(keep, *(status("EMITTING", probe=other, runtime=f"forged-{number}") for number in range(5)))
    keep.now_ms += LONG_MS
    assert say(keep, status("EMITTING", probe=third, runtime="new")).taken == 1  # those are gone by now
    assert not keep.statuses.of(other)
    assert [one.key.runtime_id for one in keep.statuses.of(PROBE)] == ["real"]
    asyncio.run(keep.statuses.flush())
    again = Keep(tmp_path, probes)
    assert [one.key.runtime_id for one in again.statuses.of(PROBE)] == ["real"]


def test_of_many_versions_of_a_process_the_last_is_stored(tmp_path: Path) -> None:
    keep = Keep(tmp_path)
    for version in (1, 7, 2**53 - 1):
        say(keep, status("EMITTING", version=version))
        asyncio.run(keep.statuses.flush())
    with keep.database.read() as c:
        assert [row.version for row in store.load_statuses(c, ORG)] == [2**53 - 1]


@pytest.mark.parametrize("ahead_ms", [10**15, -(10**15)])
def test_a_clock_of_another_millennium_is_no_date_that_cannot_be_shown(tmp_path: Path, ahead_ms: int) -> None:
    keep = Keep(tmp_path)
    say(keep, status("EMITTING", at_ms=None), ahead_ms=ahead_ms)
    keep.statuses.take(
        statuses.read_all(body(status("RECEIVED", at_ms=1, runtime="r2")), arrived_ms=keep.now_ms).found,
        keep.source(ahead_ms=ahead_ms),
    )
    for one in keep.statuses.of(PROBE):
        assert written(one.state.at_ms)
        assert written(one.state.since_ms)
        assert NOW_MS - instances.RETAIN_MS <= one.state.at_ms <= NOW_MS


def test_a_clock_that_is_ahead_is_set_right(tmp_path: Path) -> None:
    keep = Keep(tmp_path)
    ahead = 7_200_000
    say(keep, status("RECEIVED", at_ms=NOW_MS + ahead - 100), ahead_ms=ahead)
    say(keep, status("EMITTING", at_ms=None), ahead_ms=ahead)

    (one,) = keep.statuses.of(PROBE)
    assert (one.state.status, one.state.at_ms) == (Status.EMITTING, NOW_MS)


def test_what_could_not_be_written_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        say(keep, status("RECEIVED"))

        def away() -> Any:
            raise UnavailableError("The database does not answer.")

        with monkeypatch.context() as patch:
            patch.setattr(keep.database, "write", away)
            with pytest.raises(UnavailableError):
                await keep.statuses.flush()
        await keep.statuses.flush()
        assert len(Keep(tmp_path).statuses.of(PROBE)) == 1

    asyncio.run(case())
