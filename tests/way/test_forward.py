"""Uploads go on to another agent unchanged, and to nobody's harm when it is away."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.web_request import BaseRequest
from yarl import URL

from sealwire.agent import forward as module
from sealwire.agent.forward import Forwarder
from sealwire.agent.local import LocalServer
from sealwire.agent.relay import ENDPOINTS, MAX_UPLOAD_BYTES, Relay
from sealwire.agent.security import Collector
from sealwire.agent.settings import load_settings
from sealwire.agent.sights import Sights
from tests.support.spans import recorded_trace, v04
from tests.support.stack import free_port


@dataclass
class Took:
    """One upload as the other agent got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Other:
    """The other agent; ``answers`` what it says to what."""

    took: list[Took] = field(default_factory=list)
    answer: Callable[[BaseRequest], Awaitable[web.StreamResponse]] | None = None
    url: str = ""

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        if self.answer is not None:
            return await self.answer(request)
        body = b"".join([chunk async for chunk in request.content.iter_any()])
        self.took.append(Took(request.method, request.raw_path, dict(request.headers), body))
        return web.Response(
            status=202,
            body=b'{"theirs":1}',
            headers={"X-Theirs": "yes", "Content-Type": "text/x", "Datadog-Agent-State": "theirs"},
        )


@dataclass
class Bench:
    other: Other
    relay: Relay
    forwarder: Forwarder
    sights: Sights
    url: str
    session: aiohttp.ClientSession

    async def post(self, path: str, data: Any = b"", **headers: str) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(data, bytes) and len(data) > 100_000:
            data = io.BytesIO(data)
        async with self.session.post(URL(self.url + path, encoded=True), data=data, headers=named) as answer:
            return answer.status, await answer.read()


@asynccontextmanager
async def listening(handle: Callable[[BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handle, auto_decompress=False), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def in_front(folder: Path, *, url: str | None = None) -> AsyncIterator[Bench]:
    """Our agent's face in front of another agent, or of an address where nobody is."""
    other = Other()
    async with listening(other.handle) as theirs:
        relay, forwarder = Relay(), Forwarder(url or theirs)
        sights = Sights(security=Collector())
        port = free_port()
        settings = load_settings(
            environ={},
            search=(),
            overrides=[
                f"apm_config.receiver_port={port}",
                "apm_config.receiver_socket=",
                f"run_path={folder}",
            ],
        )
        server = LocalServer(
            settings, polls=None, relay=relay, status=lambda: b"{}", metrics=str, ready=lambda: True,
            sights=sights, forwarder=forwarder,
        )  # fmt: skip
        await server.start()
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            try:
                yield Bench(other, relay, forwarder, sights, f"http://127.0.0.1:{port}", session)
            finally:
                await server.stop()
                await forwarder.close()
                await sights.close()


def run(case: Callable[[Bench], Awaitable[None]], folder: Path, *, url: str | None = None) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30), in_front(folder, url=url) as bench:
            await case(bench)

    asyncio.run(whole())


def test_every_kind_of_upload_goes_on_as_it_came_and_their_answer_comes_back(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        for path in ENDPOINTS:
            whole = f"{path}api/v2/x?ddtags=a%3Ab%2Cc" if path.endswith("/") else f"{path}?x=%20y"
            status, said = await bench.post(
                whole, b"\x00body", DD_Api_Key="k", X_Odd="a, b", User_Agent="tracer/1",
                Content_Type="application/x-odd", Content_Encoding="gzip",
            )  # fmt: skip
            assert (status, said) == (202, b'{"theirs":1}')
            took = bench.other.took[-1]
            assert (took.method, took.path, took.body) == ("POST", whole, b"\x00body")
            theirs = {name.lower(): value for name, value in took.headers.items()}
            for name, value in (
                ("dd-api-key", "k"), ("x-odd", "a, b"), ("user-agent", "tracer/1"),
                ("content-encoding", "gzip"), ("content-type", "application/x-odd"), ("content-length", "5"),
            ):  # fmt: skip
                assert theirs[name] == value
        assert sum(bench.forwarder.passed.values()) == len(ENDPOINTS)
        assert sum(bench.relay.requests.values()) == len(ENDPOINTS)
        async with bench.session.put(bench.url + "/v0.4/traces", data=b"\x90") as answer:
            assert answer.headers["X-Theirs"] == "yes"
            assert answer.headers["Content-Type"] == "text/x"
            assert answer.headers["Datadog-Agent-State"] != "theirs", "what /info says is ours"
        assert bench.other.took[-1].method == "PUT"

    run(case, tmp_path)


def test_polls_and_what_is_no_upload_never_go_on(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        for path in ("/v0.7/config", "/info", "/healthz", "/nothing", "/sealwire/v1/status"):
            await bench.post(path, b"{}")
        for path in (
            "/evp_proxy/v2/../../v0.7/config", "/evp_proxy/v2/%2e%2e/%2E%2e/v0.7/config",
            "/telemetry/proxy//v0.7/config", "/evp_proxy/v2/..%2f..%2fv0.7/config",
        ):  # fmt: skip
            reader, writer = await asyncio.open_connection("127.0.0.1", int(bench.url.rpartition(":")[2]))
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            assert b"HTTP/1.1" in await reader.readline()
            writer.close()
        assert bench.other.took == []

    run(case, tmp_path)


def test_what_is_between_neighbours_stays_between_them(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        await bench.post("/v0.4/traces", b"\x90", Connection="keep-alive, X-Hop", X_Hop="1", TE="trailers")
        names = {name.lower() for name in bench.other.took[0].headers}
        assert not names & {"x-hop", "te", "transfer-encoding"}

    run(case, tmp_path)


async def _pieces(total: int) -> AsyncIterator[bytes]:
    sent = 0
    while sent < total:
        piece = bytes([sent % 251]) * min(60_000, total - sent)
        sent += len(piece)
        yield piece


def test_a_large_body_goes_on_while_it_arrives_whatever_its_size(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        total = MAX_UPLOAD_BYTES + 3_000_000
        expected = b"".join([piece async for piece in _pieces(total)])
        assert (await bench.post("/profiling/v1/input", _pieces(total)))[0] == 202
        assert bench.other.took[-1].body == expected
        assert (await bench.post("/profiling/v1/input", expected))[0] == 202
        assert bench.other.took[-1].body == expected
        assert bench.other.took[-1].headers["Content-Length"] == str(total)

    run(case, tmp_path)


def test_what_is_passed_on_is_looked_at_as_well(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        body = v04(recorded_trace("attack_tool"))
        await bench.post("/v0.4/traces", body)
        assert bench.other.took[0].body == body
        assert bench.sights.security is not None
        gathered = bench.sights.security.gather()
        assert gathered is not None
        assert gathered.requests == 1

    run(case, tmp_path)


@pytest.mark.parametrize("status", [400, 404, 413, 429, 500, 503])
def test_their_refusal_is_theirs_to_give(tmp_path: Path, status: int) -> None:
    async def case(bench: Bench) -> None:
        async def refuse(request: BaseRequest) -> web.StreamResponse:
            await request.read()
            return web.Response(status=status, text="no", headers={"Retry-After": "3"})

        bench.other.answer = refuse
        assert await bench.post("/v0.4/traces", b"\x90") == (status, b"no")

    run(case, tmp_path)


def test_an_answer_is_passed_back_in_pieces(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        async def much(request: BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(200):
                await response.write(b"x" * 50_000)
            return response

        bench.other.answer = much
        assert await bench.post("/evp_proxy/v2/api", b"") == (200, b"x" * 10_000_000)

    run(case, tmp_path)


# While it is away ---------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(module, "STALL_TIMEOUT_S", 0.2)


def _own(answer: tuple[int, bytes]) -> bool:
    return answer[0] == 200 and orjson.loads(answer[1]) == {"rate_by_service": {"service:,env:": 1.0}}


def test_while_it_is_away_the_sender_gets_our_answer_and_it_is_counted(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        for body in (b"\x90", b"x" * 3_000_000):
            assert _own(await bench.post("/v0.4/traces", body))
        assert bench.forwarder.failed == {"traces": 2}
        assert bench.forwarder.last_error == "Connection refused"
        status, _ = await bench.post("/v0.4/traces", _pieces(MAX_UPLOAD_BYTES + 100_000))
        assert status == 413, "our limit holds where nobody else takes it"

    run(case, tmp_path, url=f"http://127.0.0.1:{free_port()}")


def test_one_that_never_answers_costs_a_bounded_time(tmp_path: Path, impatient: None) -> None:
    async def case(bench: Bench) -> None:
        async def never(request: BaseRequest) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        bench.other.answer = never
        assert _own(await bench.post("/v0.4/traces", b"\x90"))
        assert _own(await bench.post("/v0.4/traces", b"\x90"))
        assert bench.forwarder.failed == {"traces": 2}
        bench.forwarder._silent_until_s = 0.0
        assert _own(await bench.post("/v0.4/traces", b"x" * 20_000_000)), "it takes nothing of a large one"
        assert bench.forwarder.failed == {"traces": 3}
        bench.other.answer = None
        bench.forwarder._silent_until_s = 0.0
        assert (await bench.post("/v0.4/traces", b"\x90"))[0] == 202
        assert bench.forwarder.last_error == ""

    run(case, tmp_path)


def test_one_that_hangs_up_in_the_middle_is_a_failure_like_any_other(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        async def hang_up(request: BaseRequest) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        bench.other.answer = hang_up
        for body in (b"\x90", b"x" * 3_000_000):
            assert _own(await bench.post("/v0.4/traces", body))
        assert bench.forwarder.failed == {"traces": 2}

    run(case, tmp_path)


def test_a_sender_that_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(bench.url.rpartition(":")[2]))
        writer.write(
            b"POST /v0.4/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 400_000
        )
        await writer.drain()
        while bench.sights._held_bytes == 0:
            await asyncio.sleep(0.005)
        writer.transport.abort()
        while bench.sights._held_bytes or any("_send_stream" in repr(task) for task in asyncio.all_tasks()):
            await asyncio.sleep(0.005)
        assert (await bench.post("/v0.4/traces", b"\x90"))[0] == 202

    run(case, tmp_path)
