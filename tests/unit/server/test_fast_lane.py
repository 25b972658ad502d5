"""The fast lane answers what the ordinary way would answer, and lets everything else go that way.

Each connection is the protocol of the shipped server on a transport that keeps what is written; the
endpoints behind it are the real ones, so an answer can come either way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvicorn
from uvicorn.server import ServerState

from sealwire.clock import utc_now
from sealwire.server.api import fast_lane
from sealwire.server.api.remote_config import MachineApi, Receive, Scope, Send
from sealwire.server.control_plane import ControlPlane
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.limits import MAX_LATEST_CONFIGS_REQUEST_BYTES
from tests.support.parts import denylist, running
from tests.support.simulated_agent import SimulatedAgent, is_steady, tracer

LINE = b"POST /api/v0.1/configurations HTTP/1.1\r\n"


class _Transport(asyncio.Transport):
    """Keeps what is written; awaits whole responses."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.news = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:  # type: ignore[type-arg]  # as in the stubs
        self.written += bytes(data)
        self.news.set()

    def close(self) -> None:
        self.closed = True
        self.news.set()

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Connection:
    """One connection to the server under test."""

    def __init__(self, case: Case) -> None:
        self.transport = _Transport()
        self.protocol: fast_lane.FastLaneProtocol = case.protocol(
            config=case.config, server_state=case.state, app_state={}
        )
        self.protocol.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)

    async def response(self) -> tuple[int, bytes]:
        """The next response: status and body."""
        while True:
            head, end, rest = self.transport.written.partition(b"\r\n\r\n")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
            }
            size = int(headers.get(b"content-length", b"0"))
            if end and len(rest) >= size:
                self.transport.written = rest[size:]
                return int(head.split(b" ")[1]), rest[:size]
            assert not self.transport.closed, f"closed after {self.transport.written!r}"
            self.transport.news.clear()
            await asyncio.wait_for(self.transport.news.wait(), 10)

    def at_once(self) -> tuple[int, bytes] | None:
        """The response that is there without anything else having run, if there is one."""
        if not self.transport.written:
            return None
        head, _, body = self.transport.written.partition(b"\r\n\r\n")
        self.transport.written = b""
        return int(head.split(b" ")[1]), body


class Case:
    """A server at work with one agent that is settled on its config."""

    agent: SimulatedAgent

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        (self.tenant,) = plane.tenants.values()
        machine = self.machine = MachineApi(plane.access, plane.tenants, max_wait_s=1)

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await machine.routes[scope["path"].replace("//", "/")](scope, receive, send)

        self.config = uvicorn.Config(
            application,  # type: ignore[arg-type]  # plain ASGI, in our own words
            http=fast_lane.protocol(self.machine),
            ws="none",
            lifespan="off",
            log_config=None,
        )
        self.config.load()
        self.protocol = self.config.http_protocol_class
        self.lane: fast_lane.Lane = self.protocol.lane  # type: ignore[attr-defined]  # a class made for it
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"Sun, 22 Nov 2026 12:00:00 GMT")]
        self.key_id, self.key = self.new_key()

    def new_key(self, *, remote_config: bool = True) -> tuple[str, str]:
        row, secret = self.plane.access.create_api_key(
            self.tenant.organisation.org_id, name="k", remote_config=remote_config, by="test", now_ms=1
        )
        return row.key_id, secret

    def request(self, body: bytes | None = None, *extra: bytes, key: str | None = None) -> bytes:
        """The bytes of a poll of the settled agent."""
        body = self.agent.request() if body is None else body
        headers = [
            b"Host: localhost",
            b"User-Agent: Go-http-client/1.1",
            b"Content-Length: %d" % len(body),
            b"DD-Api-Key: " + (key or self.key).encode(),
            b"Content-Type: application/x-protobuf",
            *extra,
        ]
        return LINE + b"\r\n".join(headers) + b"\r\n\r\n" + body

    async def settle(self) -> None:
        author, now = self.tenant.author, utc_now()
        draft = author.check(product="ASM_DATA", payload=denylist("203.0.113.7"), now=now)
        author.create(draft, by="test", now=now)
        await self.tenant.reconciler.settle(timeout_s=10)
        roots = self.tenant.publisher.roots
        client = tracer("c1")
        self.agent = SimulatedAgent(
            (roots.director[0], roots.config[0]),
            hostname="host-a",
            agent_uuid="uuid-a",
            org_uuid=self.tenant.organisation.uuid,
            clients={client.id: client},
        )
        for _ in range(3):
            answer = await self.tenant.distributor.poll(self.agent.request())
            self.agent.take(answer, now=utc_now())
        assert is_steady(answer)

    async def learned(self, *extra: bytes) -> Connection:
        """A connection whose headers are known."""
        connection = Connection(self)
        connection.send(self.request(None, *extra))
        assert connection.at_once() is None, "the first request goes the ordinary way"
        status, _ = await connection.response()
        assert status == 200
        return connection


def run(folder: Path, test: Callable[[Case], Awaitable[None]]) -> None:
    async def with_plane() -> None:
        async with running(folder) as plane:
            case = Case(plane)
            await case.settle()
            await test(case)

    asyncio.run(with_plane())


def test_the_second_request_with_the_same_headers_is_answered_where_it_arrives(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        _, ordinary = await _ordinary(case)

        connection.send(case.request())
        assert connection.at_once() == (200, ordinary)

        other = Connection(case)
        other.send(case.request())
        assert other.at_once() == (200, ordinary), "headers known on one connection are known on all"

    run(tmp_path, test)


def test_both_ways_answer_with_the_same_headers(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = Connection(case)
        heads = []
        for _ in range(2):
            connection.send(case.request())
            await connection.transport.news.wait()
            await asyncio.sleep(0)
            heads.append(connection.transport.written.partition(b"\r\n\r\n")[0])
            await connection.response()
        assert heads[0] == heads[1]
        assert b"date: Sun, 22 Nov 2026 12:00:00 GMT" in heads[1]

        case.state.default_headers = [(b"date", b"Sun, 22 Nov 2026 12:00:01 GMT")]
        connection.send(case.request())
        assert b"12:00:01" in connection.transport.written

    run(tmp_path, test)


def test_polls_are_counted_either_way(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        before = _counts(case.machine, case)
        connection.send(case.request())
        assert connection.at_once()
        assert [now - then for now, then in zip(_counts(case.machine, case), before, strict=True)] == [
            1,
            1,
            1,
        ]

        await _ordinary(case)
        assert [now - then for now, then in zip(_counts(case.machine, case), before, strict=True)] == [
            2,
            2,
            2,
        ]

    run(tmp_path, test)


def test_what_is_new_is_thought_about(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        body = case.agent.request(agentVersion="7.81.0")
        assert len(body) == len(case.agent.request())
        connection.send(case.request(body))
        assert connection.at_once() is None
        assert (await connection.response())[0] == 200
        assert case.tenant.distributor.sessions["host-a:uuid-a"].version == "7.81.0"

        connection.send(case.request(body))
        assert connection.at_once(), "said again, it is not new"

    run(tmp_path, test)


def test_a_change_reaches_the_next_poll(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        author, now = case.tenant.author, utc_now()
        draft = author.check(product="ASM_DATA", payload=denylist("203.0.113.8"), now=now)
        author.create(draft, by="test", now=now)
        await case.tenant.reconciler.settle(timeout_s=10)

        connection.send(case.request())
        assert connection.at_once() is None
        status, answer = await connection.response()
        assert status == 200
        assert len(pb.LatestConfigsResponse.FromString(answer).target_files) == 1
        case.agent.take(answer, now=utc_now())

    run(tmp_path, test)


def test_a_revoked_key_and_one_without_its_scope_are_refused_at_the_next_request(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        org_id = case.tenant.organisation.org_id
        connection = await case.learned()
        case.plane.access.change_api_key(
            org_id, case.key_id, name=None, remote_config=False, by="test", now_ms=1
        )
        connection.send(case.request())
        assert (await connection.response())[0] == 401
        case.plane.access.change_api_key(
            org_id, case.key_id, name=None, remote_config=True, by="test", now_ms=1
        )
        connection.send(case.request())
        assert (await connection.response())[0] == 200
        case.plane.access.revoke_api_key(org_id, case.key_id, by="test", now_ms=1)
        connection.send(case.request())
        assert (await connection.response())[0] == 401

    run(tmp_path, test)


def test_headers_with_a_key_that_may_not_poll_are_not_kept(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = Connection(case)
        for key in ("0" * 32, case.new_key(remote_config=False)[1]):
            connection.send(case.request(key=key))
            assert (await connection.response())[0] == 401
        assert not case.lane.heads

    run(tmp_path, test)


@pytest.mark.parametrize(
    "extra",
    [
        b"Sealwire-Wait: 1",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b"Transfer-Encoding: identity",
        b"X-Other: 1\r\nX-Other: 2",
        b"X-Folded: 1\r\n 2",
    ],
)
def test_headers_that_say_more_than_a_plain_poll_are_not_kept(extra: bytes, tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = Connection(case)
        connection.send(case.request(None, extra))
        await connection.transport.news.wait()
        assert not case.lane.heads

    run(tmp_path, test)


@pytest.mark.parametrize(
    "line",
    [
        b"POST /api/v0.1/configurations?a=b HTTP/1.1\r\n",
        b"POST /api/v0.1/configurations HTTP/1.0\r\n",
        b"GET /api/v0.1/configurations HTTP/1.1\r\n",
        b"POST /api/v0.1/org HTTP/1.1\r\n",
        b"POST /api/v0.1//configurations HTTP/1.1\r\n",
        b"\r\nPOST /api/v0.1/configurations HTTP/1.1\r\n",
    ],
)
def test_only_the_one_route_is_kept(line: bytes, tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = Connection(case)
        connection.send(case.request().replace(LINE, line, 1))
        await connection.transport.news.wait()
        assert not case.lane.heads

    run(tmp_path, test)


def test_headers_that_end_elsewhere_than_they_seem_to_are_not_kept() -> None:
    """Were bare line feeds taken for ends of lines, the body would begin before our empty line."""
    lane = fast_lane.Lane(_Nobody())
    good = LINE + b"Host: a\r\nContent-Length: 3\r\nDD-Api-Key: k\r\n\r\n"
    headers = [(b"host", b"a"), (b"content-length", b"3"), (b"dd-api-key", b"k")]
    lane.learn(good, headers)
    assert list(lane.heads) == [good]
    lane.heads.clear()

    lane.learn(good.replace(b"Host: a\r\n", b"Host: a\n"), headers)
    lane.learn(good.replace(b": k", b": k\n\nabc"), headers)
    lane.learn(good, headers[:2])
    lane.learn(good, [*headers[:1], (b"content-length", b"4"), *headers[2:]])
    lane.learn(
        good.replace(b"Length: 3", b"Length: +3"), [headers[0], (b"content-length", b"+3"), headers[2]]
    )
    assert not lane.heads


def test_known_headers_are_bounded() -> None:
    lane = fast_lane.Lane(_Nobody())
    for number in range(fast_lane.MAX_HEADS + 1):
        host = b"%d" % number
        head = LINE + b"Host: %s\r\nContent-Length: 3\r\nDD-Api-Key: k\r\n\r\n" % host
        lane.learn(head, [(b"host", host), (b"content-length", b"3"), (b"dd-api-key", b"k")])
    assert len(lane.heads) == 1


def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        new = case.agent.request(has_error=True, error="disk full")
        connection.send(case.request() + case.request(new) + case.request())
        steady = [is_steady((await connection.response())[1]) for _ in range(3)]
        assert steady == [True, False, True]

    run(tmp_path, test)


def test_a_request_that_arrives_while_another_is_decided_waits_its_turn(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        connection.send(case.request(case.agent.request(has_error=True, error="disk full")))
        connection.send(case.request())
        assert connection.at_once() is None
        steady = [is_steady((await connection.response())[1]) for _ in range(2)]
        assert steady == [False, True]

    run(tmp_path, test)


@pytest.mark.parametrize("cut", [1, 40, 300, -1])
def test_a_request_in_pieces_is_answered_when_it_is_whole(cut: int, tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        request = case.request()
        connection.send(request[:cut])
        connection.send(b"")
        assert connection.at_once() is None
        connection.send(request[cut:])
        if cut in (1, 40):  # the pieces were given to the parser before the headers could be known
            status, answer = await connection.response()
        else:
            status, answer = connection.at_once() or (0, b"")
        assert status == 200
        assert is_steady(answer)
        connection.send(request)
        assert connection.at_once()

    run(tmp_path, test)


def test_a_piece_of_a_request_and_more_than_the_rest_are_two_requests(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        request = case.request()
        connection.send(request[:-1])
        connection.send(request[-1:] + request)
        assert [(await connection.response())[0] for _ in range(2)] == [200, 200]

    run(tmp_path, test)


def test_the_body_of_a_refused_request_is_never_read_as_a_request(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        inside = case.request()
        refused = case.request(inside, key="0" * 32)
        connection.send(refused[: -len(inside)])
        assert (await connection.response())[0] == 401
        connection.send(inside)
        await asyncio.sleep(0.01)
        assert connection.at_once() is None

        connection.send(case.request())
        assert (await connection.response())[0] == 200

    run(tmp_path, test)


def test_garbage_under_known_headers_is_refused(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        connection.send(case.request(b"\xff" * len(case.agent.request())))
        assert (await connection.response())[0] == 400

    run(tmp_path, test)


def test_a_large_body_is_read_by_the_parser_and_its_limit_holds(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = Connection(case)
        body = case.agent.request(error="e" * fast_lane.MAX_BODY_BYTES)
        for _ in range(2):
            connection.send(case.request(body))
            assert connection.at_once() is None
            assert (await connection.response())[0] == 200
        connection.send(case.request(b"x" * (MAX_LATEST_CONFIGS_REQUEST_BYTES + 1)))
        assert (await connection.response())[0] == 413

    run(tmp_path, test)


def test_a_reader_that_does_not_keep_up_is_waited_for(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        connection.protocol.pause_writing()
        connection.send(case.request())
        await asyncio.sleep(0.01)
        assert connection.at_once() is None
        connection.protocol.resume_writing()
        assert (await connection.response())[0] == 200

    run(tmp_path, test)


def test_only_an_idle_connection_is_closed(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        case.config.timeout_keep_alive = 60
        connection = Connection(case)
        case.lane.heads.update((await case.learned()).protocol.lane.heads)
        connection.send(case.request())
        assert connection.at_once()
        timer = connection.protocol.timeout_keep_alive_task
        assert timer is not None

        connection.protocol.timeout_keep_alive_handler()  # the timer of an earlier answer rings
        assert not connection.transport.closed
        assert connection.protocol.timeout_keep_alive_task is not timer

        connection.protocol._active_at -= 60
        connection.protocol.timeout_keep_alive_handler()
        assert connection.transport.closed

    run(tmp_path, test)


def test_a_server_that_stops_closes_connections_of_the_lane(tmp_path: Path) -> None:
    async def test(case: Case) -> None:
        connection = await case.learned()
        connection.send(case.request())
        assert connection.at_once()
        connection.protocol.shutdown()
        assert connection.transport.closed
        connection.send(case.request())
        assert connection.at_once() is None

    run(tmp_path, test)


class _Nobody:
    """Admits everybody and has no answer."""

    def admitted(self, secret: bytes) -> str | None:
        return secret.decode()

    def quick(self, sha256: str, body: bytes) -> bytes | None:
        return None


async def _ordinary(case: Case) -> tuple[int, bytes]:
    """The same poll without the lane."""
    connection = Connection(case)
    connection.send(case.request(None, b"X-Not-Known-Before: %d" % id(connection)))
    assert connection.at_once() is None
    return await connection.response()


def _counts(machine: MachineApi, case: Case) -> list[int]:
    distributor = case.tenant.distributor
    return [machine.answers["configurations", 200], distributor.polls, distributor.steady]
