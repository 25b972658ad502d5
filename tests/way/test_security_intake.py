"""Security data on its way: posted as agents do it, refused or taken, seen, and there after a restart."""

from __future__ import annotations

import asyncio
import gzip
import os
import sys
import time
from pathlib import Path

import httpx
import msgspec
import pytest

from sealwire.errors import UnavailableError
from sealwire.server.api import intake, security_intake
from sealwire.server.security import detection, go_payload
from sealwire.server.security.query import parse
from sealwire.server.store import security as store
from sealwire.server.store.security import SignalFilter, Tally
from sealwire.wire import security_batch as wire
from tests.support import spans as recorded
from tests.support.console import Console, console, run
from tests.support.security_batches import batch, span
from tests.unit.server.security.test_go_payload import payload

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


async def new_key(it: Console, *, remote_config: bool = True) -> str:
    made = await it.post("/keys", {"name": "agents", "remote_config": remote_config})
    return str(made["key"])


async def send(it: Console, key: str, body: bytes, path: str = wire.PATH, **headers: str) -> httpx.Response:
    given = {"DD-Api-Key": key, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await it.client.post(path, content=body, headers=given)


def attacks(number: int, count: int) -> bytes:
    now = time.time()
    made = [span("sql_injection", number * 1_000 + each, at=now) for each in range(count)]
    return wire.encode(batch(number, made, at=now))


def tally(it: Console, query: str = "") -> Tally:
    with it.plane.database.read() as c:
        return store.tally(c, 1, parse(query), since_ms=0, until_ms=2**50)


def signals(it: Console) -> list[store.SignalRow]:
    with it.plane.database.read() as c:
        return store.signals(c, 1, SignalFilter())


def test_what_is_answered_with_200_is_written(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it, remote_config=False)
        body = attacks(1, 12)
        for _ in range(2):
            reply = await send(it, key, body, content_encoding="gzip")
            assert (reply.status_code, reply.content) == (200, b"{}")
            assert tally(it, "service:shop @appsec.security_activity:attack_attempt.*") == Tally(12, 12, 0)
        assert [row.signal.rule_id for row in signals(it)] == ["sqli-single-ip"]
        metrics = (await it.client.get("/metrics")).text
        assert 'sealwire_security{org="1",what="taken"} 12' in metrics
        assert 'sealwire_answers_total{endpoint="security",status="200"} 2' in metrics

    run(tmp_path, case)


def test_an_agent_tells_what_its_clock_shows(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        ahead = 7_200.0
        then = time.time() + ahead
        body = wire.encode(batch(1, [span("sql_injection", 1, at=then)], at=then))
        for now in (str(int(then * 1000)), "odd", "9" * 30, "-1"):
            assert (await send(it, key, body, sealwire_now=now, content_encoding="gzip")).status_code == 200
        with it.plane.database.read() as c:
            (found,) = store.search(c, 1, parse(""), since_ms=0, until_ms=2**50)
        assert abs(found.row.ts - time.time()) < ahead / 2
        assert found.row.skewed

    run(tmp_path, case)


def test_a_restart_neither_opens_nor_tells_again(tmp_path: Path) -> None:
    async def whole() -> None:
        async with console(tmp_path) as it:
            key = await new_key(it)
            await send(it, key, attacks(1, 12), content_encoding="gzip")
            before = signals(it)
        async with console(tmp_path) as it:
            told: list[object] = []
            it.plane.tenants[1].detection.on_change.append(told.append)
            await send(it, key, attacks(1, 12), content_encoding="gzip")
            assert signals(it) == before
            await send(it, key, attacks(2, 3), content_encoding="gzip")
            assert [row.signal.events for row in signals(it)] == [15]
            assert told == []

    asyncio.run(whole())


HOSTILE: tuple[tuple[bytes, str, int], ...] = (
    (b"", "", 400),
    (b"\xff" * 100, "", 400),
    (b"{}", "gzip", 400),
    (gzip.compress(b"\x80"), "gzip", 400),
    (gzip.compress(b"\x80")[:-4], "gzip", 400),
    (b"\x86", "", 400),
    (b"\xdf\xff\xff\xff\xff", "", 400),  # a map of four thousand million
    (b"\x91" * 100_000, "", 400),
    (gzip.compress(bytes(wire.MAX_UNPACKED_BYTES + 1)), "gzip", 413),
    (bytes(wire.MAX_BATCH_BYTES + 1), "", 413),
    (b"{}", "br", 415),
)


def test_what_is_no_batch_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        for body, encoding, status in HOSTILE:
            reply = await send(it, key, body, content_encoding=encoding)
            assert reply.status_code == status, body[:10]
            assert len(reply.content) < 500
        assert tally(it) == Tally(0, 0, 0)
        assert (await send(it, key, attacks(1, 1), content_encoding="gzip")).status_code == 200

    run(tmp_path, case)


def test_only_who_has_a_live_key_of_this_server_gets_in(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.post("/keys", {"name": "agents", "remote_config": True})
        paths = (wire.PATH, go_payload.PATH, security_intake.STATS_PATH)
        for path in paths:
            assert (await send(it, "0" * 32, attacks(1, 1), path)).status_code == 401
            assert (await send(it, "", b"", path)).status_code == 401
            assert (await it.client.get(path, headers={"DD-Api-Key": made["key"]})).status_code == 405
        assert (await it.ask("DELETE", f"/keys/{made['id']}")).status_code == 200
        for path in paths:
            assert (await send(it, made["key"], attacks(1, 1), path)).status_code == 401
        assert tally(it) == Tally(0, 0, 0)

    run(tmp_path, case)


def test_what_the_open_source_agent_sends_is_taken(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        body = payload(*map(recorded.recorded_trace, recorded.RECORDED))
        for packed, encoding in ((body, ""), (gzip.compress(body), "gzip"), (zstd.compress(body), "zstd")):
            reply = await send(it, key, packed, go_payload.PATH, content_encoding=encoding)
            assert reply.status_code == 202
            assert tally(it).requests == 6
        assert tally(it, "@appsec.blocked:true").requests == 2
        assert it.plane.tenants[1].detection.observed("shop", "prod") is not None
        assert (await send(it, key, b"anything", security_intake.STATS_PATH)).status_code == 202

    run(tmp_path, case)


def test_odd_uploads_of_the_open_source_agent_are_refused(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        for body, encoding, status in (
            (b"\x2a\x7f", "", 400),
            (b"\x2a\x7f", "zstd", 400),
            (b"", "br", 400),
            (zstd.compress(bytes(26 * 1024 * 1024)), "zstd", 413),
            (bytes(go_payload.MAX_PACKED_BYTES + 1), "", 413),
            (b"", "", 202),
            (os.urandom(10_000), "", 400),
        ):
            reply = await send(it, key, body, go_payload.PATH, content_encoding=encoding)
            assert reply.status_code == status, (body[:10], encoding)

    run(tmp_path, case)


def test_a_server_that_is_behind_says_when_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        with monkeypatch.context() as patched:
            patched.setattr(detection, "MAX_QUEUED_SPANS", 0)
            upload = gzip.compress(payload(recorded.recorded_trace("sql_injection")))
            for path, body in ((wire.PATH, attacks(1, 1)), (go_payload.PATH, upload)):
                reply = await send(it, key, body, path, content_encoding="gzip")
                assert reply.status_code == 503
                assert int(reply.headers["retry-after"]) > 0
        assert (await send(it, key, attacks(1, 1), content_encoding="gzip")).status_code == 200

    run(tmp_path, case)


def test_what_is_not_written_in_time_is_not_confirmed_and_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> int:
        raise UnavailableError("away")

    async def case(it: Console) -> None:
        key = await new_key(it)
        body = attacks(1, 3)
        with monkeypatch.context() as patched:
            patched.setattr(detection.Detection, "_put", away)
            patched.setattr(intake, "WRITTEN_WITHIN_S", 0.05)
            for _ in range(2):
                reply = await send(it, key, body, content_encoding="gzip")
                assert reply.status_code == 503
        assert (await send(it, key, body, content_encoding="gzip")).status_code == 200
        assert tally(it) == Tally(3, 3, 0)

    run(tmp_path, case)


def test_an_agent_that_sends_without_end_is_told_so(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        bodies = [wire.encode(batch(number, at=time.time())) for number in range(1, 200)]
        replies = await asyncio.gather(*(send(it, key, body, content_encoding="gzip") for body in bodies))
        assert {reply.status_code for reply in replies} == {200, 429}
        assert all("retry-after" in reply.headers for reply in replies if reply.status_code == 429)

    run(tmp_path, case)


def test_what_attackers_write_stays_text(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        evil = "<script>alert(1)</script>\x00\u202e'; drop table security_traces; --"
        meta = {
            "http.useragent": evil,
            "http.url": f"http://h/{evil}",
            "usr.id": evil,
            "_dd.appsec.usr.login": evil,
        }
        now = time.time()
        made = span("sql_injection", 7, at=now, meta=meta, service=evil)
        reply = await send(it, key, wire.encode(batch(1, [made], at=now)), content_encoding="gzip")
        assert reply.status_code == 200
        with it.plane.database.read() as c:
            (found,) = store.search(c, 1, parse('"drop table"'), since_ms=0, until_ms=2**50)
        assert "\x00" not in found.row.user_agent
        assert "\u202e" not in found.row.user_agent
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(found.row), type=type(found.row)) == found.row

    run(tmp_path, case)
