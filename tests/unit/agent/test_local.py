"""The face to applications: HTTP over a Unix socket, answers, refusals, uploads."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
import pytest

from sealwire.agent.cache import Belonging, Cache
from sealwire.agent.local import LocalServer, Polls, info_document
from sealwire.agent.relay import MAX_UPLOAD_BYTES, Relay
from sealwire.agent.roster import Roster
from sealwire.agent.settings import AgentSettings, load_settings
from sealwire.agent.trusted import Trusted
from sealwire.errors import SettingsError
from sealwire.wire.limits import MAX_CLIENT_REQUEST_BYTES
from tests.support.fake_control_plane import full_answer
from tests.support.repository import Simulator
from tests.support.tracers import FakeTracer

B = "datadog/2/ASM_FEATURES/base/config"


@dataclass
class FakeNews:
    """Stands in for the conversation with the control plane."""

    changes: int = 0
    newcomers: int = 0
    on_newcomer: Callable[[], Awaitable[None]] | None = None

    def note_change(self) -> None:
        self.changes += 1

    async def refresh_for_newcomer(self) -> None:
        self.newcomers += 1
        if self.on_newcomer is not None:
            await self.on_newcomer()


@dataclass
class Bench:
    """Local polls over a simulated control plane's state."""

    folder: Path
    simulator: Simulator = field(default_factory=Simulator)
    news: FakeNews = field(default_factory=FakeNews)
    roster: Roster = field(default_factory=Roster)
    now_s: float = 0.0

    def __post_init__(self) -> None:
        anchors = {
            "director_root": self.simulator.director.roots[0],
            "config_root": self.simulator.config.roots[0],
        }
        self.cache = Cache.open(self.folder / "run")
        self.trusted = Trusted(
            cache=self.cache, belonging=Belonging.of(api_key="k", url="u", **anchors), **anchors
        )
        self.polls = Polls(
            trusted=self.trusted, roster=self.roster, news=self.news, monotonic=lambda: self.now_s
        )

    async def publish(self, *, size: int = 0) -> None:
        self.simulator.publish()
        await self.trusted.accept(full_answer(self.simulator), size=size, now=self.simulator.now)

    async def poll(self, tracer: FakeTracer) -> bool:
        status, body = await self.polls.poll(tracer.request())
        assert status == 200, body
        return tracer.take(body)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def settings_of(folder: Path, *overrides: str, rc: bool = True) -> AgentSettings:
    root = '{"signatures":[],"signed":{"_type":"root","version":1}}'
    lines = [
        "api_key=k",
        "remote_configuration.rc_dd_url=https://rc.example",
        f"remote_configuration.config_root={root}",
        f"remote_configuration.director_root={root}",
        f"remote_configuration.enabled={rc}",
        f"run_path={folder / 'run'}",
        f"apm_config.receiver_socket={folder / 'a.sock'}",
        "apm_config.receiver_port=0",
    ]
    return load_settings(environ={}, search=(), overrides=[*lines, *overrides])


@asynccontextmanager
async def served(
    bench: Bench, *, rc: bool = True
) -> AsyncIterator[tuple[aiohttp.ClientSession, LocalServer]]:
    settings = settings_of(bench.folder, rc=rc)
    server = LocalServer(
        settings,
        polls=bench.polls if rc else None,
        relay=Relay(),
        status=lambda: b'{"status":1}',
        metrics=lambda: "metric 1\n",
        ready=lambda: bench.trusted.state.director_version > 0,
    )
    await server.start()
    try:
        connector = aiohttp.UnixConnector(str(bench.folder / "a.sock"))
        async with aiohttp.ClientSession("http://agent", connector=connector) as session:
            yield session, server
    finally:
        await server.stop()


# --- polls ----------------------------------------------------------------------------------------


def test_a_newcomer_waits_for_news_and_is_answered_with_it(bench: Bench) -> None:
    async def scene() -> None:
        bench.simulator.put(B, b"{}")
        bench.news.on_newcomer = bench.publish
        tracer = FakeTracer()

        assert await bench.poll(tracer)

        assert list(tracer.files) == [B]
        assert (bench.news.newcomers, bench.news.changes) == (1, 0)

    asyncio.run(scene())


def test_a_new_product_waits_and_a_new_state_is_only_told(bench: Bench) -> None:
    async def scene() -> None:
        bench.simulator.put(B, b"{}")
        await bench.publish()
        tracer = FakeTracer(products=["ASM_FEATURES"])
        await bench.poll(tracer)
        await bench.poll(tracer)
        assert (bench.news.newcomers, bench.news.changes) == (1, 1)

        tracer.products = ["ASM", "ASM_FEATURES"]
        await bench.poll(tracer)

        assert (bench.news.newcomers, bench.news.changes) == (2, 1)

    asyncio.run(scene())


def test_what_a_new_product_brings_comes_when_the_tracer_had_time_to_get_ready(bench: Bench) -> None:
    """A tracer that is being switched on asks before it can take: what comes at once it may lose."""

    async def scene() -> None:
        denied = "datadog/2/ASM_DATA/denied/config"
        bench.simulator.put(denied, b"{}")
        await bench.publish()
        tracer = FakeTracer(products=["ASM_FEATURES"])
        await bench.poll(tracer)
        tracer.products = ["ASM_FEATURES", "ASM_DATA"]
        body = tracer.request()

        assert await bench.polls.poll(body) == (200, b"{}")
        assert await bench.polls.poll(body) == (200, b"{}")
        bench.now_s += bench.roster.settles_s
        status, answered = await bench.polls.poll(body)

        assert status == 200
        assert denied.encode() in answered

    asyncio.run(scene())


def test_an_unchanged_request_is_answered_without_reading_it_until_the_state_changes(bench: Bench) -> None:
    async def scene() -> None:
        await bench.publish()
        tracer = FakeTracer()
        await bench.poll(tracer)
        await bench.poll(tracer)
        first = await bench.polls.poll(tracer.request())
        seen = bench.roster.get(tracer.client_id)
        assert seen is not None
        seen.answer = b'{"marked":1}'

        again = await bench.polls.poll(tracer.request())
        bench.simulator.put(B, b"{}")
        await bench.publish()
        after = await bench.polls.poll(tracer.request())

        assert first == (200, b"{}")
        assert again == (200, b'{"marked":1}')
        assert tracer.take(after[1])
        assert list(tracer.files) == [B]

    asyncio.run(scene())


def test_a_remembered_answer_does_not_outlive_the_configs_expiry(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        now = bench.simulator.now
        monkeypatch.setattr("sealwire.agent.local.utc_now", lambda: now)
        bench.simulator.put(B, b"{}", expires=int(now.timestamp()) + 10)
        await bench.publish()
        tracer = FakeTracer()
        await bench.poll(tracer)
        await bench.poll(tracer)
        assert await bench.polls.poll(tracer.request()) == (200, b"{}")

        now = now.fromtimestamp(now.timestamp() + 11, now.tzinfo)
        assert await bench.poll(tracer)

        assert tracer.files == {}

    asyncio.run(scene())


def test_a_large_answer_is_verified_in_a_thread_with_the_same_outcome(bench: Bench) -> None:
    async def scene() -> None:
        bench.simulator.put(B, b"{}")
        await bench.publish(size=1024 * 1024)
        tracer = FakeTracer()

        assert await bench.poll(tracer)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[1]", 400),
        (b"{}", 500),
        (b'{"client":{"id":"x"}}', 500),
        (FakeTracer(root_version=0).request(), 500),
        (FakeTracer(language="").request(), 500),
        (FakeTracer(extra={"is_agent": True}).request(), 500),
    ],
)
def test_bad_requests_are_told_so_and_nobody_is_noted(bench: Bench, body: bytes, status: int) -> None:
    async def scene() -> None:
        answered, sentence = await bench.polls.poll(body)

        assert answered == status
        assert sentence
        assert len(bench.roster) == 0
        assert bench.news.newcomers == 0

    asyncio.run(scene())


def test_a_client_that_cannot_be_answered_keeps_what_it_has_and_its_problem_is_shown(bench: Bench) -> None:
    async def scene() -> None:
        predicate = {"tracer_predicates_v1": [{"tracerVersion": ">=2.0"}]}
        bench.simulator.put(B, b"{}", **{"tracer-predicates": predicate})
        await bench.publish()
        tracer = FakeTracer(tracer_version="2.9.0rc1")

        status, _ = await bench.polls.poll(tracer.request())

        seen = bench.roster.get(tracer.client_id)
        assert status == 500
        assert seen is not None
        assert seen.problem

    asyncio.run(scene())


# --- HTTP -----------------------------------------------------------------------------------------


def test_config_is_answered_to_post_and_to_get_with_a_body_and_to_chunks(bench: Bench) -> None:
    async def chunked(body: bytes) -> AsyncIterator[bytes]:
        yield body[:100]
        yield body[100:]

    async def scene() -> None:
        async with served(bench) as (session, _):
            body = FakeTracer().request()
            for method, data in (("POST", body), ("GET", body), ("PUT", chunked(body))):
                async with session.request(method, "/v0.7/config", data=data) as response:
                    assert response.status == 200, method
                    assert await response.read() == b"{}"
                    assert response.headers["Content-Type"] == "application/json"
                    assert response.headers["Datadog-Agent-State"]

    asyncio.run(scene())


def test_info_lists_config_only_while_remote_configuration_is_on(bench: Bench) -> None:
    on = orjson.loads(info_document(settings_of(bench.folder)))
    off = orjson.loads(info_document(settings_of(bench.folder, rc=False)))

    assert "/v0.7/config" in on["endpoints"]
    assert "/v0.7/config" not in off["endpoints"]
    assert on["version"] == "7.80.0"
    assert {"/v0.4/traces", "/telemetry/proxy/", "/debugger/v1/input", "/v0.6/stats"} <= set(off["endpoints"])


def test_with_remote_configuration_off_config_answers_404_and_all_else_works(bench: Bench) -> None:
    async def scene() -> None:
        async with served(bench, rc=False) as (session, _):
            async with session.post("/v0.7/config", data=FakeTracer().request()) as response:
                assert response.status == 404
            async with session.put("/v0.4/traces", data=b"\x90") as response:
                assert response.status == 200

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("path", "answered"),
    [
        ("/v0.3/traces", b'{"rate_by_service":{"service:,env:":1.0}}'),
        ("/v0.4/traces", b'{"rate_by_service":{"service:,env:":1.0}}'),
        ("/v0.5/traces", b'{"rate_by_service":{"service:,env:":1.0}}'),
        ("/v0.7/traces", b'{"rate_by_service":{"service:,env:":1.0}}'),
        ("/v0.6/stats", b"{}"),
        ("/v0.1/pipeline_stats", b"{}"),
        ("/telemetry/proxy/api/v2/apmtelemetry", b"{}"),
        ("/evp_proxy/v2/api/v2/x", b"{}"),
        ("/evp_proxy/v4/api/v2/x", b"{}"),
        ("/debugger/v1/input?ddtags=a", b"{}"),
        ("/debugger/v2/input", b"{}"),
        ("/debugger/v1/diagnostics", b"{}"),
        ("/symdb/v1/input", b"{}"),
        ("/dogstatsd/v2/proxy", b"{}"),
        ("/profiling/v1/input", b"{}"),
        ("/tracer_flare/v1", b"{}"),
        ("/config/set?log_level=debug", b"{}"),
    ],
)
def test_what_tracers_upload_is_taken_and_answered(bench: Bench, path: str, answered: bytes) -> None:
    async def scene() -> None:
        async with served(bench) as (session, server):
            async with session.post(path, data=b"x" * 1000) as response:
                assert (response.status, await response.read()) == (200, answered)
            assert sum(server._relay.requests.values()) == 1
            assert sum(server._relay.size.values()) == 1000

    asyncio.run(scene())


def test_what_is_too_large_is_refused_while_reading(bench: Bench) -> None:
    async def endless(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 65536 + 2):
            yield b" " * 65536

    async def scene() -> None:
        async with served(bench) as (session, server):
            for path, size in (
                ("/v0.7/config", MAX_CLIENT_REQUEST_BYTES),
                ("/v0.4/traces", MAX_UPLOAD_BYTES),
            ):
                try:
                    async with session.post(path, data=endless(size)) as response:
                        assert response.status == 413
                except aiohttp.ClientError:
                    pass  # The connection was closed while we were still writing: refused as well.
            assert server._relay.refused["traces"] == 1
            assert bench.polls.answered[200] == 0

    asyncio.run(scene())


def test_pages_in_a_browser_get_nothing(bench: Bench) -> None:
    async def scene() -> None:
        headers = {"Origin": "https://evil.example"}
        async with served(bench) as (session, _):
            async with session.post("/v0.7/config", data=FakeTracer().request(), headers=headers) as response:
                assert response.status == 403
            async with session.get("/sealwire/v1/status", headers=headers) as response:
                assert response.status == 403
            assert len(bench.roster) == 0

    asyncio.run(scene())


def test_health_readiness_metrics_and_status(bench: Bench) -> None:
    async def scene() -> None:
        async with served(bench) as (session, _):
            before = {}
            for path in ("/healthz", "/readyz", "/metrics", "/sealwire/v1/status", "/nothing"):
                async with session.get(path) as response:
                    before[path] = response.status
            await bench.publish()
            async with session.get("/readyz") as response:
                after = response.status

        assert before == {
            "/healthz": 200, "/readyz": 503, "/metrics": 200, "/sealwire/v1/status": 200, "/nothing": 404
        }  # fmt: skip
        assert after == 200

    asyncio.run(scene())


def test_a_socket_somebody_listens_on_is_left_alone_and_a_forgotten_one_is_replaced(bench: Bench) -> None:
    async def scene() -> None:
        path = bench.folder / "a.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as holder:
            holder.bind(str(path))
            holder.listen()
            with pytest.raises(SettingsError, match=r"another program listens.*receiver_socket"):
                async with served(bench):
                    pass
        assert path.exists()
        async with served(bench) as (session, server):
            async with session.get("/info") as response:
                assert response.status == 200
            assert server.listening == (f"unix://{path}",)
            assert os.stat(path).st_mode & 0o777 == 0o722

    asyncio.run(scene())


@pytest.mark.loopback
def test_a_port_that_is_taken_stops_the_start_and_says_who_holds_it(bench: Bench) -> None:
    async def scene() -> None:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = holder.getsockname()[1]
            server = LocalServer(
                settings_of(bench.folder, f"apm_config.receiver_port={port}"),
                polls=bench.polls,
                relay=Relay(),
                status=lambda: b"",
                metrics=lambda: "",
                ready=lambda: True,
            )
            with pytest.raises(SettingsError) as caught:
                await server.start()

        assert f"pid {os.getpid()}" in caught.value.public
        assert "apm_config.receiver_port" in caught.value.public
        assert not (bench.folder / "a.sock").exists()

    asyncio.run(scene())
