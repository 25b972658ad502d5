"""Slow retrieval: an answer that never comes, or comes so slowly that nothing else is ever asked.

Stops it: every call ends by its time limit. Applications are answered from what is held meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from aiohttp import web
from aiohttp.web_request import BaseRequest

from tests.attacks.bench import Bench
from tests.support.replay import to_wire


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """In fractions of what they are: 15 s of silence, 5 min in all, 1.5 s for a newcomer."""
    monkeypatch.setattr("sealwire.agent.exchange.READ_SLACK_S", 0.3)
    monkeypatch.setattr("sealwire.agent.exchange.TOTAL_SLACK_S", 0.3)
    monkeypatch.setattr("sealwire.agent.upstream.PROBE_S", 0)
    monkeypatch.setattr("sealwire.agent.upstream.WAIT_S", 1)
    monkeypatch.setattr("sealwire.agent.upstream.NEWCOMER_PATIENCE_S", 0.1)


async def silence(request: BaseRequest) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


async def headers_and_silence(request: BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await asyncio.sleep(3600)
    return response


def dripping(body: bytes) -> Callable[[BaseRequest], Awaitable[web.StreamResponse]]:
    async def drip(request: BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        with suppress(ConnectionError):
            for at in range(len(body)):
                await response.write(body[at : at + 1])
                await asyncio.sleep(0.05)
        return response

    return drip


@pytest.mark.parametrize("answer", [silence, headers_and_silence])
def test_silence_is_given_up(bench: Bench, answer: Callable[..., Awaitable[web.StreamResponse]]) -> None:
    bench.take_over(answer)

    bench.assert_not_reached("cannot be reached: no answer in time")
    bench.assert_recovers()


def test_an_answer_that_drips_is_given_up(bench: Bench) -> None:
    """A byte at a time, each well before the silence would be noticed: the honest answer, in minutes."""
    honest = bench.thief()
    honest.publish()

    bench.take_over(dripping(to_wire(honest.answer())))

    bench.assert_not_reached("cannot be reached: no answer in time")
    bench.assert_recovers()


def test_applications_do_not_wait_for_a_control_plane_that_hangs(bench: Bench) -> None:
    bench.take_over(silence)

    took = []
    while not took or (min(took) >= 1.0 and len(took) < 5):  # a busy machine makes one slow, not all
        started = time.monotonic()
        assert bench.poll(bench.tracer) == b"{}"
        assert bench.poll(bench.newcomer()) == bench.good.answer
        took.append(time.monotonic() - started)
    assert min(took) < 1.0
    bench.assert_recovers()
