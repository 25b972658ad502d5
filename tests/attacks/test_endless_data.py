"""Endless data: an answer that does not stop, or swells when it is unpacked, to fill memory and disk.

Stops it: a bound on the answer as it is read, after decompression; what is longer is dropped with its
connection.
"""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from aiohttp import web
from aiohttp.web_request import BaseRequest

from tests.attacks.bench import Bench

LIMIT = 1_000_000
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is bounded is 110 MB; a hundredth of it shows the same in less time."""
    monkeypatch.setattr("sealwire.agent.exchange.MAX_ANSWER_BYTES", LIMIT)


async def endless(request: BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    with suppress(ConnectionError, asyncio.CancelledError):
        while True:
            await response.write(bytes(64 * 1024))
            await asyncio.sleep(0)
    return response


async def endless_gzip(request: BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    with suppress(ConnectionError, asyncio.CancelledError):
        await response.write(BOMB)
    return response


async def a_length_that_is_not_to_be_waited_for(request: BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(10**15)})
    await response.prepare(request)
    with suppress(ConnectionError, asyncio.CancelledError):
        await response.write(b"x")
        await asyncio.sleep(60)
    return response


BOMB = gzip.compress(bytes(256 * MIB), 9)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (endless, f"the answer has more than the {LIMIT} bytes that are taken"),
        (endless_gzip, f"the answer has more than the {LIMIT} bytes that are taken"),
        (a_length_that_is_not_to_be_waited_for, f"the answer has {10**15} bytes; at most {LIMIT} are taken"),
    ],
)
def test_an_answer_is_read_no_further_than_its_bound(
    bench: Bench, answer: Callable[[BaseRequest], Awaitable[web.StreamResponse]], sentence: str
) -> None:
    bench.take_over(answer)

    bench.assert_refused("oversize", sentence)
    bench.assert_recovers()


def test_what_swells_when_unpacked_never_fills_memory(bench: Bench) -> None:
    """256 MiB of zeros, sent in a quarter of a MiB."""
    assert len(BOMB) < MIB
    tracemalloc.start()
    try:
        bench.take_over(endless_gzip)
        bench.until_poll(lambda poll: poll.has_error, after=bench.good.polls)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 16 * MIB
    bench.assert_recovers()
