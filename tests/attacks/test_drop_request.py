"""Drop request: polls are cut off, answered with errors, or answered with nothing.

Stops it: the last good state stays in service until its timestamp expires; the agent keeps asking, and tells
later.
Left open: an agent cannot tell withheld news from no news before the expiry; the control plane watches the
age.
"""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.web_request import BaseRequest

from tests.attacks.bench import Bench


async def cut_off(request: BaseRequest) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def test_connections_that_are_cut_change_nothing(bench: Bench) -> None:
    bench.take_over(cut_off)

    bench.assert_not_reached("cannot be reached: ")
    bench.assert_recovers()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "the control plane answered 400"),
        (401, "the API key is not accepted (401)"),
        (404, "the control plane answered 404"),
        (500, "the control plane answered 500"),
        (503, "the control plane is busy (503)"),
        (204, "the control plane answered 204"),
    ],
)
def test_errors_instead_of_answers_change_nothing(bench: Bench, status: int, words: str) -> None:
    async def answer(request: BaseRequest) -> web.StreamResponse:
        return web.Response(status=status)

    bench.take_over(answer)

    bench.assert_not_reached(words)
    bench.assert_recovers()


def test_empty_answers_change_nothing(bench: Bench) -> None:
    """An empty message says that nothing is new; nobody can tell it from the truth."""
    bench.attack_with(b"")
    bench.assert_ignored()
    bench.assert_recovers()
