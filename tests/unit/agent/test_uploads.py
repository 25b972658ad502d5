"""Uploads of Dynamic Instrumentation get to the control plane, statuses first; what does not is counted."""

from __future__ import annotations

import asyncio
import gzip
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from sealwire.agent import uploads as module
from sealwire.agent.exchange import ApiError, Trouble
from sealwire.agent.pace import Backoff
from sealwire.agent.reporter import STUMBLES
from sealwire.agent.uploads import (
    LOGS,
    MAX_TAGS_CHARS,
    SNAPSHOTS,
    STATUSES,
    SYMBOLS,
    Target,
    Uploads,
    own_tags,
    status_lines,
)
from sealwire.errors import OversizeError, SealwireError

PATH_OF = {
    STATUSES: "/debugger/v1/diagnostics",
    SNAPSHOTS: "/debugger/v2/input",
    LOGS: "/debugger/v1/input",
    SYMBOLS: "/symdb/v1/input",
}


class Post(NamedTuple):
    path: str
    body: bytes
    headers: Mapping[str, str]
    tags: str


@dataclass
class Plane:
    """Takes uploads, or fails as it is told to; with a ``gate`` it waits for it first."""

    fault: Callable[[Post], SealwireError | None] = lambda _: None
    taken: list[Post] = field(default_factory=list)
    asked: list[Post] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    gate: asyncio.Event | None = None

    async def post_upload(self, path_and_query: str, body: bytes, headers: Mapping[str, str]) -> None:
        parts = urlsplit(path_and_query)
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        post = Post(parts.path, body, headers, parse_qs(parts.query)["ddtags"][0])
        self.asked.append(post)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await (self.gate.wait() if self.gate is not None else asyncio.sleep(0))
        finally:
            self.at_once -= 1
        if (error := self.fault(post)) is not None:
            raise error
        self.taken.append(post)

    @property
    def bodies(self) -> list[bytes]:
        return [post.body for post in self.taken]


class Clock:
    """It can be set ahead."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_START_S", 0.004)
    monkeypatch.setattr(module, "RETRY_CAP_S", 0.008)
    monkeypatch.setattr(module, "REFUSED_CAP_S", 0.008)
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.2)


def says(status: int, *, retry_after_s: float = 0.0) -> ApiError:
    trouble = Trouble.UNAUTHORIZED if status == 401 else Trouble.REFUSED_BY_SERVER
    return ApiError(f"{status}", trouble=trouble, status=status, retry_after_s=retry_after_s)


def made(plane: Plane, clock: Clock | None = None) -> Uploads:
    debugger = Target(plane, "/api/v2/debugger")
    targets = {
        STATUSES: debugger,
        SNAPSHOTS: debugger,
        SYMBOLS: debugger,
        LOGS: Target(plane, "/api/v2/logs"),
    }
    return Uploads(
        targets,
        own_tags=own_tags(hostname="web-1", default_env=""),
        monotonic=clock or Clock(),
        backoff=Backoff(random.Random(1)),
    )


def put(
    uploads: Uploads, kind: str, body: bytes, *, query: str = "", headers: Mapping[str, str] | None = None
) -> bool:
    """Upload something; False where it was not even read."""
    sight = uploads.taking("POST", PATH_OF[kind], query, headers or {}, length=len(body))
    if sight is None:
        return False
    for start in range(0, len(body), 1 << 20):
        sight.add(body[start : start + (1 << 20)])
    sight.done()
    sight.lost()
    return True


def played(
    plane: Plane, play: Callable[[Uploads], Awaitable[None]], *, clock: Clock | None = None
) -> Uploads:
    """Run a sender while somebody plays, and for its last words."""

    async def both() -> Uploads:
        uploads = made(plane, clock)
        sending = asyncio.create_task(uploads.run())
        try:
            async with asyncio.timeout(20):
                await play(uploads)
        finally:
            if plane.gate is not None:
                plane.gate.set()
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
        return uploads

    return asyncio.run(both())


async def until(claim: Callable[[], bool]) -> None:
    while not claim():
        await asyncio.sleep(0.001)


def test_an_upload_goes_on_as_the_open_source_agent_sends_it() -> None:
    plane = Plane()

    async def play(uploads: Uploads) -> None:
        put(
            uploads,
            SNAPSHOTS,
            b"[1]",
            query="ddtags=env%3Aprod%2Cversion%3A1&x=y",
            headers={
                "Content-Type": 'multipart/form-data; boundary="=="',
                "X-Datadog-Additional-Tags": "a:b",
                "Authorization": "secret",
                "Cookie": "secret",
            },
        )
        put(uploads, LOGS, b"[2]")
        await until(lambda: len(plane.taken) == 2)

    uploads = played(plane, play)

    first, second = sorted(plane.taken, key=lambda post: post.body)
    assert (first.path, second.path) == ("/api/v2/debugger", "/api/v2/logs")
    assert first.tags == "host:web-1,default_env:none,agent_version:7.80.0,a:b,env:prod,version:1"
    assert first.headers["Content-Type"] == 'multipart/form-data; boundary="=="'
    assert first.headers["DD-EVP-ORIGIN"] == "agent-debugger"
    assert first.headers["Via"] == "trace-agent 7.80.0"
    assert len(first.headers["DD-REQUEST-ID"]) == 36
    assert int(first.headers["Sealwire-Now"]) > 1_700_000_000_000
    assert not {"Authorization", "Cookie"} & set(first.headers)
    assert second.headers["Content-Type"] == "application/json"
    assert uploads.sent == {SNAPSHOTS: 1, LOGS: 1}
    assert (uploads.waiting, uploads.waiting_bytes) == (0, 0)


def test_statuses_go_first_and_one_after_the_other() -> None:
    plane = Plane()

    async def play(uploads: Uploads) -> None:
        plane.gate = asyncio.Event()
        for number in range(6):
            put(uploads, SNAPSHOTS, b"snapshot %d" % number)
            put(uploads, STATUSES, b"status %d" % number)
        await until(lambda: plane.at_once == 2)
        assert [post.body for post in plane.asked] == [b"status 0", b"snapshot 0"]
        plane.gate.set()
        await until(lambda: len(plane.taken) == 12)

    played(plane, play)

    assert [body for body in plane.bodies if body.startswith(b"status")] == [
        b"status %d" % n for n in range(6)
    ]
    assert plane.bodies[-1] == b"snapshot 5"
    assert plane.most_at_once == 2


def test_what_is_not_taken_is_sent_again_in_order_by_one_that_asks_for_all() -> None:
    plane = Plane(fault=lambda _: ApiError("away", trouble=Trouble.UNREACHABLE))

    async def play(uploads: Uploads) -> None:
        for number in range(5):
            put(uploads, STATUSES, b"status %d" % number)
            put(uploads, SNAPSHOTS, b"snapshot %d" % number)
        await until(lambda: uploads.failures > 6)
        plane.most_at_once = 0
        await until(lambda: uploads.failures > 10)
        assert plane.most_at_once == 1
        assert uploads.last_error == "away"
        assert uploads.waiting == 10
        plane.fault = lambda _: None
        await until(lambda: len(plane.taken) == 10)

    uploads = played(plane, play)

    for kind in (b"status", b"snapshot"):
        assert [body for body in plane.bodies if body.startswith(kind)] == [
            kind + b" %d" % n for n in range(5)
        ]
    assert (uploads.dropped, uploads.last_error) == ({}, "")


@pytest.mark.parametrize("status", [401, 403, 429, 502, 503, 504])
def test_a_control_plane_that_cannot_now_gets_it_later(status: int) -> None:
    plane = Plane()
    faults = iter([says(status), says(status)])
    plane.fault = lambda _: next(faults, None)

    async def play(uploads: Uploads) -> None:
        put(uploads, SNAPSHOTS, b"1")
        await until(lambda: plane.bodies == [b"1"])

    assert played(plane, play).dropped == {}


def test_a_pause_that_is_asked_for_is_kept_whatever_arrives() -> None:
    plane, clock = Plane(), Clock()
    faults = iter([says(503, retry_after_s=60.0)])
    plane.fault = lambda _: next(faults, None)

    async def play(uploads: Uploads) -> None:
        put(uploads, SNAPSHOTS, b"1")
        await until(lambda: uploads.failures == 1)
        for _ in range(20):
            put(uploads, STATUSES, b"2")
            await asyncio.sleep(0.001)
        assert len(plane.asked) == 1
        assert uploads._not_before_s - clock() > 55

    uploads = played(plane, play, clock=clock)

    assert len(plane.asked) == 1, "nor are there last words to who asked for silence"
    assert uploads.dropped == {(SNAPSHOTS, "stopped"): 1, (STATUSES, "stopped"): 20}


@pytest.mark.parametrize("status", [429, 503])
def test_symbols_that_must_wait_keep_nothing_else_waiting(status: int) -> None:
    plane, clock = Plane(), Clock()
    plane.fault = lambda post: says(status, retry_after_s=30.0) if post.body == b"symbols" else None

    async def play(uploads: Uploads) -> None:
        put(uploads, SYMBOLS, b"symbols")
        await until(lambda: uploads.failures == 1)
        for number in range(5):
            put(uploads, SNAPSHOTS, b"%d" % number)
            put(uploads, STATUSES, b"status %d" % number)
        await until(lambda: len(plane.taken) == 10)
        assert (uploads.failures, uploads.waiting) == (1, 1)
        plane.fault = lambda _: None
        clock.ahead_s = 31.0
        put(uploads, STATUSES, b"last")
        await until(lambda: b"symbols" in plane.bodies)

    assert played(plane, play, clock=clock).dropped == {}


def test_symbols_that_waited_are_sent_though_nothing_else_comes() -> None:
    plane = Plane()
    faults = iter([says(503), says(503)])
    plane.fault = lambda _: next(faults, None)

    async def play(uploads: Uploads) -> None:
        put(uploads, SYMBOLS, b"symbols")
        await until(lambda: plane.bodies == [b"symbols"])

    played(plane, play)


@pytest.mark.parametrize("status", [400, 411, 413, 415, 422])
def test_what_is_refused_is_dropped_and_the_rest_goes_on(status: int) -> None:
    plane = Plane(fault=lambda post: says(status) if post.body == b"bad" else None)

    async def play(uploads: Uploads) -> None:
        put(uploads, SNAPSHOTS, b"bad")
        put(uploads, SNAPSHOTS, b"good")
        await until(lambda: uploads.dropped == {(SNAPSHOTS, "refused"): 1} and plane.bodies == [b"good"])

    played(plane, play)


def test_what_makes_the_control_plane_stumble_each_time_is_given_up() -> None:
    plane = Plane(fault=lambda post: says(500) if post.body == b"bad" else None)

    async def play(uploads: Uploads) -> None:
        put(uploads, STATUSES, b"bad")
        put(uploads, STATUSES, b"good")
        await until(lambda: plane.bodies == [b"good"])
        assert uploads.dropped == {(STATUSES, "refused"): 1}

    played(plane, play)
    assert [post.body for post in plane.asked].count(b"bad") == STUMBLES


def test_an_older_control_plane_is_left_alone_for_long_and_asked_again_then() -> None:
    plane, clock = Plane(), Clock()
    plane.fault = lambda post: says(404) if post.path == "/api/v2/debugger" else None

    async def play(uploads: Uploads) -> None:
        plane.gate = asyncio.Event()
        put(uploads, STATUSES, b"1")
        put(uploads, STATUSES, b"2")
        plane.gate.set()
        await until(lambda: not uploads.is_wanted)
        assert not put(uploads, SNAPSHOTS, b"3")
        assert uploads.dropped == {(STATUSES, "not_wanted"): 2, (SNAPSHOTS, "not_wanted"): 1}
        assert "too old" in "\n".join(status_lines(uploads.status()))
        put(uploads, LOGS, b"4")
        await until(lambda: plane.bodies == [b"4"])
        assert len(plane.asked) == 2

        plane.fault = lambda _: None
        clock.ahead_s = module.UNKNOWN_START_S + 1
        assert uploads.is_wanted
        put(uploads, SNAPSHOTS, b"5")
        await until(lambda: plane.bodies == [b"4", b"5"])

    played(plane, play, clock=clock)


def test_what_waits_is_bounded_and_statuses_are_dropped_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UPLOADS", 6)

    async def play() -> None:
        uploads = made(Plane())
        put(uploads, STATUSES, b"first")
        for number in range(3):
            put(uploads, LOGS if number % 2 else SNAPSHOTS, b"%d" % number)
        put(uploads, SYMBOLS, b"symbols")
        for number in range(4):
            put(uploads, STATUSES, b"%d" % number)
        assert uploads.waiting == 6
        assert uploads.dropped == {(SNAPSHOTS, "queue_full"): 2, (LOGS, "queue_full"): 1}
        assert not uploads._queues[SNAPSHOTS]
        put(uploads, SNAPSHOTS, b"late")
        assert uploads.dropped[SNAPSHOTS, "queue_full"] == 3, "there is only what is worth more"
        for number in range(3):
            put(uploads, STATUSES, b"more %d" % number)
        assert uploads.dropped[SYMBOLS, "queue_full"] == 1
        assert uploads.dropped[STATUSES, "queue_full"] == 2
        assert uploads._queues[STATUSES][0].body == b"1"

    asyncio.run(play())


def test_bytes_are_bounded_also_those_that_are_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)

    async def play() -> None:
        uploads = made(Plane())
        assert not put(uploads, SNAPSHOTS, b"x" * 1001)
        assert uploads.dropped == {(SNAPSHOTS, "too_large"): 1}
        for _ in range(3):
            put(uploads, SNAPSHOTS, b"x" * 300)
        arriving = [uploads.taking("POST", PATH_OF[LOGS], "", {}, length=None) for _ in range(3)]
        for sight in arriving:
            assert sight is not None
            sight.add(b"x" * 400)
            assert uploads.waiting_bytes + uploads._reading_bytes <= 1000
        assert uploads.waiting_bytes == 0
        assert uploads.dropped[LOGS, "queue_full"] == 1, "no room for the third"
        for sight in arriving:
            assert sight is not None
            sight.lost()
            sight.done()
        assert uploads.dropped[LOGS, "cut_off"] == 2
        assert (uploads.waiting, uploads.waiting_bytes, uploads._reading_bytes) == (0, 0, 0)
        put(uploads, STATUSES, b"x" * 900)
        put(uploads, SNAPSHOTS, b"x" * 200)
        assert [len(each) for each in uploads._queues.values()] == [0, 0, 0, 1]

    asyncio.run(play())


def test_what_is_not_an_upload_or_for_nobody_is_let_pass() -> None:
    uploads = made(Plane())
    nobody = Uploads({})
    assert uploads.taking("GET", PATH_OF[LOGS], "", {}, length=0) is None
    assert uploads.taking("POST", "/v0.4/traces", "", {}, length=10) is None
    assert nobody.taking("POST", PATH_OF[LOGS], "", {}, length=10) is None
    assert (uploads.dropped, nobody.dropped) == ({}, {})
    assert put(uploads, SNAPSHOTS, b"")
    assert uploads.taken == {}, "there is nothing to send"


def test_tags_are_cut_at_a_comma_and_hostile_headers_do_no_harm() -> None:
    plane = Plane()
    long = ",".join(f"tag{number}:{'v' * 90}" for number in range(60))
    hostile = {
        "Content-Type": "text/\udcff\u2028",
        "Content-Encoding": "\udcff",
        "X-Datadog-Additional-Tags": "\udcff",
    }

    async def play(uploads: Uploads) -> None:
        put(uploads, SNAPSHOTS, b"1", query=f"ddtags={long}")
        put(uploads, SNAPSHOTS, b"2", query="ddtags=%ff%00&ddtags=a:b&&&=", headers=hostile)
        await until(lambda: len(plane.taken) == 2)

    uploads = played(plane, play)

    first, second = sorted(plane.taken, key=lambda post: post.body)
    assert MAX_TAGS_CHARS - 100 < len(first.tags) <= MAX_TAGS_CHARS
    assert first.tags.rpartition(",")[2].endswith("v" * 90)
    assert second.headers["Content-Type"] == "application/json"
    assert "Content-Encoding" not in second.headers
    assert second.tags.startswith("host:web-1,")
    assert second.tags.endswith("a:b")
    assert uploads.dropped == {}


def test_bodies_are_packed_unless_they_are() -> None:
    plane = Plane()
    large, packed = b"snapshot" * 40_000, gzip.compress(b"y" * 9000)

    async def play(uploads: Uploads) -> None:
        put(uploads, SNAPSHOTS, large)
        put(uploads, LOGS, packed, headers={"Content-Encoding": "gzip"})
        put(uploads, SYMBOLS, b"z" * 5000)
        put(uploads, STATUSES, b"small")
        await until(lambda: len(plane.taken) == 4)

    played(plane, play)

    (of_symbols,) = (post for post in plane.taken if len(post.body) == 5000)
    assert of_symbols.headers["DD-EVP-ORIGIN"] == "agent-symdb"
    assert of_symbols.headers["X-Datadog-Additional-Tags"] == of_symbols.tags
    by_size = {len(post.body): post.headers.get("Content-Encoding") for post in plane.taken}
    assert by_size == {len(large): "gzip", 9000: "gzip", 5000: None, 5: None}


def test_what_waits_in_the_end_is_sent_if_that_works_at_once() -> None:
    plane = Plane()

    async def play(uploads: Uploads) -> None:
        plane.gate = asyncio.Event()
        for number in range(5):
            put(uploads, SNAPSHOTS, b"%d" % number)
        await until(lambda: plane.at_once == 2)

    uploads = played(plane, play)
    assert sorted(plane.bodies) == [b"0", b"1", b"2", b"3", b"4"]
    assert uploads.dropped == {}


def test_an_answer_that_is_not_to_be_read_is_a_failure_like_others() -> None:
    plane = Plane()
    faults = iter([OversizeError("the answer is too large")])
    plane.fault = lambda _: next(faults, None)

    async def play(uploads: Uploads) -> None:
        put(uploads, STATUSES, b"1")
        await until(lambda: plane.bodies == [b"1"])
        assert uploads.failures == 1

    played(plane, play)
