"""Uploads passed on to another agent, so that this one can stand in front of what people already run.

Hides the other side: connections, time limits, and that it may be away. Method, path, query, headers (but
those between two neighbours) and body go on as they came, a large body while it still arrives; the answer
comes back as it was given.

Invariants: only uploads are passed on, never ``/v0.7/config`` nor a path that could be read as something
else; of one upload at most a megabyte is held; an other that is away, silent or slow costs its uploads a
bounded time, and the sender gets the answer it would get without it. Nothing here raises over it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

import aiohttp
import structlog
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from sealwire.agent.exchange import words_of

log = structlog.get_logger("sealwire.agent.forward")

CONNECT_TIMEOUT_S: Final = 1.0  # tracers wait two seconds for an answer
ANSWER_TIMEOUT_S: Final = 10.0
STALL_TIMEOUT_S: Final = 5.0  # while it takes nothing of a body
TOTAL_TIMEOUT_S: Final = 120.0
SILENT_PAUSE_S: Final = 2.0  # nothing is tried so long after a time-out
WHOLE_BYTES: Final = 128 * 1024  # up to this a body is sent at once, and again where a connection was stale
MAX_WAITING_PIECES: Final = 6  # of a body that goes on while it arrives; at most 128 KiB each
# Shorter than agents keep an idle connection.
KEEP_ALIVE_S: Final = 2.0
MAX_CONNECTIONS: Final = 100

# Between neighbours only. The body's length is told anew.
_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect",
    }
)  # fmt: skip
# A path with more than one reading: dots and slashes that somebody may take away.
_AMBIGUOUS: Final = re.compile(r"/\.|//|\\|%2e|%2f|%5c", re.IGNORECASE)


class Forwarder:
    """Passes uploads on.

    Args:
        url: Of the other agent, without a slash at the end.
        monotonic: A clock that only counts up.

    Attributes:
        passed: Uploads it answered, by kind.
        failed: Uploads it did not take, by kind.
        last_error: Why the last of these failed; empty once it answers again.
    """

    def __init__(self, url: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self.passed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.last_error = ""
        self._monotonic = monotonic
        self._silent_until_s = 0.0
        self._session: aiohttp.ClientSession | None = None

    def passing(self, kind: str, request: BaseRequest) -> Passing | None:
        """Begin to pass an upload on; None where it is not to be tried."""
        path = request.raw_path
        if not path.startswith("/") or _AMBIGUOUS.search(path.partition("?")[0]) is not None:
            self.fail(kind, "a path with two readings is not passed on")
            return None
        if self._monotonic() < self._silent_until_s:
            self.failed[kind] += 1
            return None
        return Passing(self, kind, request)

    def session(self) -> aiohttp.ClientSession:
        """Of all connections."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=TOTAL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, sock_read=ANSWER_TIMEOUT_S
                ),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._session

    def succeed(self, kind: str) -> None:
        """It answered."""
        self.passed[kind] += 1
        self.last_error = ""

    def fail(self, kind: str, reason: str, *, is_silent: bool = False) -> None:
        """It did not take an upload."""
        self.failed[kind] += 1
        if not self.last_error:
            log.warning("uploads are not passed on", to=self.url, reason=reason)
        self.last_error = reason
        if is_silent:
            self._silent_until_s = self._monotonic() + SILENT_PAUSE_S

    async def close(self) -> None:
        """Let all connections go."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class Passing:
    """One upload on its way; ``Forwarder.passing`` makes them."""

    def __init__(self, forwarder: Forwarder, kind: str, request: BaseRequest) -> None:
        self._forwarder = forwarder
        self._kind = kind
        self._method = request.method
        self._url = URL(forwarder.url + request.raw_path, encoded=True)
        self._headers = end_to_end(request.headers)
        self._length = request.headers.get("Content-Length")
        self._start: list[bytes] = []
        self._size = 0
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING_PIECES)
        self._sending: asyncio.Task[aiohttp.ClientResponse | None] | None = None
        self._is_over = False

    @property
    def is_alive(self) -> bool:
        """Whether the other may still take it."""
        return not self._is_over and (self._sending is None or not self._sending.done())

    async def feed(self, chunk: bytes) -> None:
        """One more piece of the body; waits while too much of it waits."""
        if self._sending is None:
            self._start.append(chunk)
            self._size += len(chunk)
            if self._size > WHOLE_BYTES:
                self._sending = asyncio.create_task(self._send_stream())
            return
        await self._put(chunk)

    async def answer(self) -> aiohttp.ClientResponse | None:
        """What the other says, its body yet to be read; None where it says nothing."""
        if self._is_over:
            return None
        if self._sending is None:
            self._is_over = True
            return await self._send_whole(b"".join(self._start))
        await self._put(None)
        if self._sending.cancelled():
            return None
        self._is_over = True
        return await self._sending

    async def cancel(self) -> None:
        """The rest will not come; nothing after ``answer``."""
        if self._is_over:
            return
        self._is_over = True
        if self._sending is not None:
            self._sending.cancel()
            with suppress(asyncio.CancelledError):
                response = await self._sending
                if response is not None:
                    response.close()

    async def _put(self, piece: bytes | None) -> None:
        if self._sending is None or self._sending.done():
            return  # it answered early, or failed: the rest is for nobody
        try:
            self._pieces.put_nowait(piece)
        except asyncio.QueueFull:
            put = asyncio.create_task(self._pieces.put(piece))
            done, _ = await asyncio.wait(
                {put, self._sending}, timeout=STALL_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
            put.cancel()
            if not done:
                await self.cancel()
                self._forwarder.fail(self._kind, "it takes nothing", is_silent=True)

    async def _send_whole(self, body: bytes) -> aiohttp.ClientResponse | None:
        data = body if body or self._length is not None else None
        return await self._tried(lambda: self._request(data, self._headers), again=True)

    async def _send_stream(self) -> aiohttp.ClientResponse | None:
        headers = self._headers
        if self._length is not None:
            headers = headers.copy()
            headers["Content-Length"] = self._length
        return await self._tried(lambda: self._request(self._stream(), headers), again=False)

    async def _stream(self) -> AsyncIterator[bytes]:
        start, self._start = self._start, []
        while start:
            yield start.pop(0)
        while (piece := await self._pieces.get()) is not None:
            yield piece

    def _request(
        self, data: bytes | AsyncIterator[bytes] | None, headers: CIMultiDict[str]
    ) -> aiohttp.client._RequestContextManager:
        return self._forwarder.session().request(
            self._method, self._url, data=data, headers=headers, allow_redirects=False
        )

    async def _tried(
        self, ask: Callable[[], aiohttp.client._RequestContextManager], *, again: bool
    ) -> aiohttp.ClientResponse | None:
        forwarder = self._forwarder
        try:
            try:
                response = await ask()
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                # It may have closed a kept connection just now.
                if not again or isinstance(error, aiohttp.ClientConnectorError):
                    raise
                response = await ask()
        except TimeoutError:
            forwarder.fail(self._kind, "no answer in time", is_silent=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            forwarder.fail(self._kind, words_of(error)[:200])
        else:
            forwarder.succeed(self._kind)
            return response
        return None


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Headers without those that are between two neighbours."""
    named = {name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(",")}
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in _HOP and name.lower() not in named
    )
