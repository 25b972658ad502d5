"""What an agent keeps of what passes: bounded, without secrets, and never in the way."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import msgspec
import orjson
import pytest
from multidict import CIMultiDict

from sealwire.agent import sights as module
from sealwire.agent.relay import MAX_UPLOAD_BYTES, Relay
from sealwire.agent.security import Collector
from sealwire.agent.sights import (
    BURST_S,
    MAX_HELD_BYTES,
    MAX_KEPT_BYTES,
    MAX_RUNTIMES,
    READ_ASIDE_BYTES,
    RUNTIME_TTL_S,
    SERVICE_TTL_S,
    SHARE,
    TELEMETRY_PATH,
    TELL_AGAIN_S,
    TRACES_BURST_S,
    TRACES_SHARE,
    Sights,
)
from sealwire.agent.telemetry import MAX_BODY_BYTES, REDACTED
from sealwire.wire.inventory import MAX_RUNTIME_IDS, MAX_SERVICES, Runtime, Service
from sealwire.wire.traces import Selection
from tests.support.spans import recorded_trace, v04


@dataclass
class Bench:
    """Sights with a clock of the test's own."""

    now_s: float = 1000.0
    security: Collector | None = None
    sights: Sights = field(init=False)

    def __post_init__(self) -> None:
        self.sights = Sights(
            security=self.security,
            monotonic=lambda: self.now_s,
            wall_ms=lambda: int(self.now_s * 1000),
            cpu_s=lambda: self.now_s,
            secrets=("0123456789abcdef",),
        )

    def upload(self, path: str, body: bytes, **headers: str) -> bool:
        """Whether it was looked at."""
        named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        sight = self.sights.at(path, named, length=len(body))
        if sight is not None:
            sight.add(body)
            sight.done()
        return sight is not None

    def tell(
        self, runtime_id: str = "r1", *, kind: str = "app-started", service: str = "shop", **values: Any
    ) -> None:
        configuration = [
            {"name": name, "value": value, "origin": "env_var", "seq_id": number}
            for number, (name, value) in enumerate(values.items(), start=1)
        ]
        body = {
            "request_type": kind, "runtime_id": runtime_id, "payload": {"configuration": configuration},
            "application": {"service_name": service, "language_name": "python", "tracer_version": "4.16.0"},
        }  # fmt: skip
        assert self.upload(TELEMETRY_PATH, orjson.dumps(body))

    def send(self, service: str = "shop", *, env: str = "prod", runtime_id: str = "r1") -> None:
        meta = {"env": env, "runtime-id": runtime_id}
        body = msgspec.msgpack.encode([[{"service": service, "span_id": 1, "meta": meta}]])
        headers = {"datadog_meta_lang": "python", "Datadog_Meta_Tracer_Version": "4.16.0"}
        assert self.upload("/v0.4/traces", body, **headers)

    def news(self) -> dict[str, Runtime]:
        return {runtime.runtime_id: runtime for runtime, _ in self.sights.news()}

    def take_news(self) -> dict[str, Runtime]:
        told = {}
        for runtime, mark in list(self.sights.news()):
            told[runtime.runtime_id] = runtime
            self.sights.told(runtime.runtime_id, mark)
        return told

    def services(self) -> dict[str, Service]:
        return {one.service: one for one in self.sights.services(None)}


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def guard() -> Bench:
    """One with somebody who takes what traces say of attacks."""
    return Bench(security=Collector(wall_ms=lambda: 77))


def test_a_runtime_is_news_until_it_is_told_and_again_when_it_changes(bench: Bench) -> None:
    bench.tell(DD_TAGS="a:b")
    assert bench.take_news()["r1"].settings["DD_TAGS"][0].value == "a:b"
    assert bench.take_news() == {}

    bench.tell(kind="app-heartbeat")
    bench.tell(DD_TAGS="a:b")
    assert bench.news() == {}, "it said the same again"
    bench.tell(DD_TAGS="c:d")
    assert bench.take_news()["r1"].settings["DD_TAGS"][0].value == "c:d"


def test_a_change_while_it_is_being_told_is_told_next(bench: Bench) -> None:
    bench.tell(DD_TAGS="a:b")
    ((_, mark),) = list(bench.sights.news())
    bench.tell(DD_TAGS="c:d")
    bench.sights.told("r1", mark)

    assert bench.news()["r1"].settings["DD_TAGS"][0].value == "c:d"


def test_everything_is_told_again_when_asked_and_once_a_day(bench: Bench) -> None:
    bench.tell(DD_TAGS="a:b")
    bench.take_news()
    bench.sights.tell_all()
    assert set(bench.take_news()) == {"r1"}

    for _ in range(30):
        bench.now_s += TELL_AGAIN_S / 24
        bench.tell(kind="app-heartbeat")
    assert set(bench.take_news()) == {"r1"}


def test_a_runtime_goes_with_its_end_and_with_its_silence(bench: Bench) -> None:
    bench.tell("r1", A=1)
    bench.tell("r2", A=1)
    bench.tell("r1", kind="app-closing")
    assert set(bench.news()) == {"r2"}

    bench.now_s += RUNTIME_TTL_S + 1
    assert bench.news() == {}
    assert (bench.sights.runtimes, bench.sights.kept_bytes) == (0, 0)


def test_a_service_tells_of_itself_and_whether_a_client_of_it_is_here(bench: Bench) -> None:
    bench.send("shop", runtime_id="r1")
    bench.now_s += 5
    bench.send("shop", runtime_id="r2")

    (unknown,) = bench.sights.services(None)
    (seen,) = bench.sights.services(lambda service, env, runtimes: (service, env) == ("shop", "prod"))

    assert (unknown.service, unknown.env, unknown.language, unknown.tracer_version) == (
        "shop", "prod", "python", "4.16.0",
    )  # fmt: skip
    assert (unknown.traces, unknown.runtime_ids, unknown.client_seen) == (2, ["r1", "r2"], None)
    assert unknown.seen_ms - unknown.first_seen_ms == 5000
    assert seen.client_seen is True
    bench.now_s += SERVICE_TTL_S + 1
    assert bench.services() == {}


def test_a_tracer_that_was_switched_off_says_so_for_its_service(bench: Bench) -> None:
    bench.send("shop", runtime_id="r1")
    bench.send("mail", runtime_id="r2")
    bench.tell("r1", service="shop", DD_REMOTE_CONFIGURATION_ENABLED=False)
    bench.tell("r2", service="mail", DD_REMOTE_CONFIGURATION_ENABLED="true")

    services = bench.services()

    assert (services["shop"].switched_off_by, services["mail"].switched_off_by) == ("env_var", "")


def test_the_key_of_this_agent_leaves_in_no_value(bench: Bench) -> None:
    bench.tell(HARMLESS="prefix 0123456789abcdef suffix", OTHER="x")

    settings = bench.news()["r1"].settings

    assert settings["HARMLESS"][0].value == REDACTED
    assert settings["OTHER"][0].value == "x"


# Bounds -------------------------------------------------------------------------------------------------


def test_runtimes_are_bounded_in_number(bench: Bench) -> None:
    for number in range(MAX_RUNTIMES + 50):
        bench.tell(f"r{number}", A=number)
        bench.now_s += 1

    news = bench.news()

    assert len(news) == MAX_RUNTIMES
    assert "r0" not in news
    assert f"r{MAX_RUNTIMES + 49}" in news
    assert bench.sights.dropped["runtimes"] == 50


def test_runtimes_are_bounded_in_bytes_even_where_nothing_can_be_packed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", 1_000_000)
    noise = random.Random(1)
    for number in range(40):
        values = {f"N{n}": "".join(noise.choices(string.printable, k=400)) for n in range(150)}
        bench.tell(f"r{number}", **values)
        bench.now_s += 1
        assert bench.sights.kept_bytes <= 1_000_000 < MAX_KEPT_BYTES

    kept = sum(len(seen.packed) for seen in bench.sights._runtimes.values())
    assert kept == bench.sights.kept_bytes
    assert bench.sights.dropped["runtimes"] > 5


def test_a_runtime_that_tells_too_much_keeps_what_it_told_before(bench: Bench) -> None:
    bench.tell(A="small")
    bench.take_news()
    for start in range(0, 1500, 500):
        many = {f"N{n}": "x" * 499 for n in range(start, start + 500)}
        bench.tell(kind="app-client-configuration-change", **many)

    (runtime,) = bench.news().values()

    assert bench.sights.dropped["runtime_too_large"] >= 1
    assert runtime.settings["A"][0].value == "small"


def test_services_are_bounded_and_so_are_their_runtimes(bench: Bench) -> None:
    for number in range(MAX_SERVICES + 10):
        bench.send(f"s{number}", runtime_id="")
        bench.now_s += 1
    for number in range(MAX_RUNTIME_IDS + 5):
        bench.send("busy", runtime_id=f"r{number}")

    services = bench.services()

    assert len(services) == MAX_SERVICES
    assert bench.sights.dropped["services"] == 11
    assert services["busy"].runtime_ids == [f"r{number}" for number in range(5, MAX_RUNTIME_IDS + 5)]


def test_what_cannot_be_read_is_counted_and_nothing_else(bench: Bench) -> None:
    for body in (b"", b"{", b"\xff" * 1000, b"[" * 100_000):
        bench.upload(TELEMETRY_PATH, body)
        bench.upload("/v0.4/traces", body)
        bench.upload(TELEMETRY_PATH, body, Content_Encoding="gzip")

    assert (bench.sights.dropped["not_readable"], bench.sights.dropped["traces_not_readable"]) == (8, 4)
    assert bench.news() == {}


def test_a_mistake_of_ours_stays_ours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("sealwire.agent.telemetry.read", fail)

    assert bench.upload(TELEMETRY_PATH, b"{}")
    assert bench.sights.dropped["failed"] == 1


def test_what_is_too_large_is_passed_over_unread(bench: Bench) -> None:
    assert bench.sights.at(TELEMETRY_PATH, {}, length=MAX_BODY_BYTES + 1) is None
    assert bench.sights.dropped["too_large"] == 1


def test_what_says_nothing_is_not_looked_at(bench: Bench) -> None:
    quiet = {"DD-Telemetry-Request-Type": "generate-metrics"}
    for path, headers in (
        ("/v0.6/stats", {}),
        ("/debugger/v1/input", {}),
        ("/telemetry/proxy/api/v2/other", {}),
        (TELEMETRY_PATH, quiet),
        ("/v0.4/traces", {"X-Datadog-Trace-Count": "0"}),
    ):
        assert bench.sights.at(path, headers, length=10) is None
    assert not bench.sights.dropped


@pytest.mark.parametrize(
    ("security", "share", "burst_s"), [(None, SHARE, BURST_S), (Collector(), TRACES_SHARE, TRACES_BURST_S)]
)
def test_looking_takes_a_bounded_share_of_the_time(
    security: Collector | None, share: float, burst_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(security=security)

    def slow(*_: object, **__: object) -> Selection:
        bench.now_s += 0.05
        return Selection([], {}, {}, {}, {})

    monkeypatch.setattr("sealwire.wire.traces.select", slow)
    started, looked = bench.now_s, 0
    for _ in range(2000):
        looked += bench.upload("/v0.4/traces", b"\x90")
        bench.now_s += 0.005

    assert looked * 0.05 <= (bench.now_s - started) * share + burst_s + 0.05
    assert looked * 0.05 >= (bench.now_s - started) * share * 0.9
    assert bench.sights.dropped["traces_too_busy"] == 2000 - looked


def test_one_body_of_many_seconds_blinds_nobody_for_long(
    guard: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object, **__: object) -> Selection:
        guard.now_s += 60
        return Selection([], {}, {}, {}, {})

    monkeypatch.setattr("sealwire.wire.traces.select", slow)
    assert guard.upload("/v0.4/traces", b"\x90")
    guard.now_s += TRACES_BURST_S / TRACES_SHARE + 0.1
    assert guard.upload("/v0.4/traces", b"\x90")


def test_bodies_that_arrive_are_bounded_together(bench: Bench) -> None:
    """Attack: many uploads that begin, and never end."""
    chunk = b"x" * (1024 * 1024)
    begun = [bench.sights.at("/v0.4/traces", {}, length=None) for _ in range(100)]
    for sight in begun:
        assert sight is not None
        sight.add(chunk)

    assert bench.sights.dropped["traces_too_busy"] == 100 - MAX_HELD_BYTES // len(chunk)
    for sight in begun:
        assert sight is not None
        sight.lost()
        sight.lost()
    assert bench.sights.hold(MAX_HELD_BYTES)


def test_what_traces_say_of_security_goes_on(guard: Bench) -> None:
    headers = {"datadog_meta_lang": "python", "Datadog_Meta_Tracer_Version": "4.16.0"}
    assert guard.upload(
        "/v0.4/traces", v04(recorded_trace("attack_tool"), recorded_trace("benign")), **headers
    )

    assert guard.security is not None
    gathered = guard.security.gather()

    assert gathered is not None
    (seen,) = gathered.spans
    assert (seen.seen_ms, seen.lang, seen.tracer_version) == (77, "python", "4.16.0")
    assert sum(each.count for each in gathered.watched) == 2
    assert guard.services()["shop"].traces == 2


def test_a_large_body_is_read_aside_after_its_upload_was_answered(guard: Bench) -> None:
    async def case() -> None:
        security = guard.security
        assert security is not None
        large = v04(*[recorded_trace("attack_tool", span_id=number + 1) for number in range(500)])
        assert len(large) > READ_ASIDE_BYTES
        assert guard.upload("/v0.4/traces", large)
        assert security.gather() is None
        await asyncio.gather(*guard.sights._reading)
        gathered = security.gather()
        assert gathered is not None
        assert gathered.requests == 500
        assert guard.upload("/v0.4/traces", b"\xff" * len(large))
        await asyncio.gather(*guard.sights._reading)
        assert guard.sights.dropped["traces_not_readable"] == 1
        assert guard.sights.hold(MAX_HELD_BYTES)
        await guard.sights.close()

    asyncio.run(case())


# On the way ---------------------------------------------------------------------------------------------


class Chunks:
    """A body that arrives in pieces, as much of a stream as the relay uses."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    async def iter_any(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


def stream(*chunks: bytes) -> aiohttp.StreamReader:
    return cast("aiohttp.StreamReader", Chunks(*chunks))


def test_an_upload_is_answered_alike_whether_it_is_looked_at_or_not(bench: Bench) -> None:
    async def case() -> None:
        relay = Relay()
        plain = await relay.take("traces", stream(b"\x90"))
        for body in (b"\x90", b"\xff\xff", b"", b"x" * (MAX_UPLOAD_BYTES - 1)):
            halves = (body[: len(body) // 2], body[len(body) // 2 :])
            sight = bench.sights.at("/v0.4/traces", {}, length=None)
            assert sight is not None
            assert await relay.take("traces", stream(*halves), sight=sight) == plain
        assert relay.requests["traces"] == 5
        await asyncio.gather(*bench.sights._reading)
        assert bench.sights.dropped == {"traces_not_readable": 3}

    asyncio.run(case())
