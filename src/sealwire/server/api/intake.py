"""What every endpoint has that takes data from machines: whose it is, how much at once, what is answered.

Plain ASGI. What arrives is hostile until it is read: whose key it is, its length and its pace are checked
before. Any live API key will do.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import TypeVar

import structlog

from sealwire.clock import utc_now
from sealwire.errors import OversizeError, SealwireError, TooOftenError, UnavailableError, UntrustedError
from sealwire.server.access import Access, AgentKey
from sealwire.server.api.remote_config import Receive, Scope, Send, header, read_body
from sealwire.server.tenant import Tenant
from sealwire.wire.security_batch import NOW_HEADER

log = structlog.get_logger()

T = TypeVar("T")

# Above this the loop would stand still for milliseconds.
READ_IN_THREAD_BYTES = 16 * 1024
MAX_UNPACKED = 4  # bodies at once, of all organisations: each may be 25 MiB
MAX_ARRIVING = 32  # bodies at once with one key, each of a few MiB
ARRIVES_WITHIN_S = 20.0
WRITTEN_WITHIN_S = 10.0
CLOCKS_AGREE_S = 5.0  # or what is between them may as well be the way here


class Intake:
    """What is shared by endpoints of one kind. One instance serves every organisation: the key says which.

    Args:
        what: Arrives here, as the log calls it: ``security data``.
        answers: Counts answers by route and status.
    """

    def __init__(
        self,
        what: str,
        access: Access,
        tenants: Mapping[int, Tenant],
        answers: Counter[tuple[str, int]],
    ) -> None:
        self.tenants = tenants
        self.unpacking = asyncio.Semaphore(MAX_UNPACKED)
        self._what = what
        self._access = access
        self._answers = answers
        self._arriving: Counter[str] = Counter()

    def answer(self, route: str, send: Send) -> Answer:
        """The answer of one request."""
        return Answer(self._what, route, send, self._answers)

    async def batch(
        self,
        route: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        limit: int,
        decode: Callable[[bytes, bool], T],
        take: Callable[[AgentKey, T], asyncio.Future[None]],
    ) -> None:
        """Answer a batch of our agents: read, taken, and written before it is answered with 200.

        Args:
            limit: Bytes it may have, as it travels.
            decode: Reads a body; told whether it is gzipped.
            take: Queues what was read; what it gives is done when that is written.
        """
        answer = self.answer(route, send)
        key = await self.key(scope, answer)
        if key is None:
            return
        encoding = header(scope, b"content-encoding").lower()
        if encoding not in ("", "identity", "gzip"):
            await answer.refuse(415, "Content-Encoding is gzip or nothing.")
            return

        async def taken() -> None:
            body = await self.body(key, scope, receive, limit=limit)
            async with self.unpacking:
                if len(body) > READ_IN_THREAD_BYTES:
                    batch = await asyncio.to_thread(decode, body, encoding == "gzip")
                else:
                    batch = decode(body, encoding == "gzip")
            await written(take(key, batch))

        await answer.after(taken, 200)

    async def body(self, key: AgentKey, scope: Scope, receive: Receive, *, limit: int) -> bytes:
        """A body within a length and a time. Attack: many that come a byte at a time.

        Raises:
            OversizeError: It is longer.
            UnavailableError: Too much comes with this key, or too slowly.
            UntrustedError: It broke off.
        """
        length = header(scope, b"content-length")
        if length.isdigit() and int(length[:20]) > limit:
            raise OversizeError(f"At most {limit} bytes are taken.")
        if self._arriving[key.key_id] >= MAX_ARRIVING:
            raise TooOftenError("Too much comes at once with this key.", retry_after_s=5)
        self._arriving[key.key_id] += 1
        try:
            async with asyncio.timeout(ARRIVES_WITHIN_S):
                return await read_body(receive, limit=limit)
        except TimeoutError:
            raise UnavailableError("This comes too slowly.", retry_after_s=5) from None
        finally:
            self._arriving[key.key_id] -= 1

    async def key(self, scope: Scope, answer: Answer) -> AgentKey | None:
        """Whose request it is; None: it is answered already."""
        if scope["method"] not in ("POST", "PUT"):
            await answer.refuse(405, "POST it.")
            return None
        key = self._access.agent_key(header(scope, b"dd-api-key"))
        if key is None or key.org_id not in self.tenants:
            await answer.refuse(401, "This API key is not known here.")
            return None
        return key


def ahead_s(scope: Scope) -> float:
    """How far the clock of who sends this is ahead of ours; 0 where they agree or nothing is said."""
    said = header(scope, NOW_HEADER.lower().encode())
    if not said.isascii() or not said.isdigit() or len(said) > 15:
        return 0.0
    found = int(said) / 1000 - utc_now().timestamp()
    return found if abs(found) > CLOCKS_AGREE_S else 0.0


class Answer:
    """One request's answer, counted."""

    def __init__(self, what: str, route: str, send: Send, answers: Counter[tuple[str, int]]) -> None:
        self._what = what
        self._route = route
        self._send_it = send
        self._answers = answers

    async def after(
        self, take: Callable[[], Coroutine[None, None, None]], status: int, body: bytes = b"{}"
    ) -> None:
        """Answer once something is taken, or say why it is not."""
        try:
            await take()
        except UntrustedError as error:
            await self.refuse(413 if isinstance(error, OversizeError) else 400, error.public)
        except UnavailableError as error:
            retry = (b"retry-after", b"%d" % max(1, error.retry_after_s))
            await self.refuse(429 if isinstance(error, TooOftenError) else 503, error.public, retry)
        except SealwireError as error:
            log.error(f"{self._what} failed", code=error.code, reason=error.public, detail=error.detail)
            await self.refuse(500, error.public)
        else:
            await self._send(status, body, (b"content-type", b"application/json"))

    async def refuse(self, status: int, why: str, *more: tuple[bytes, bytes]) -> None:
        """Say no."""
        log.debug(f"{self._what} refused", route=self._route, status=status, reason=why)
        if status == 413:
            more = (*more, (b"connection", b"close"))
        body = f"{why}\n".encode("utf-8", "replace")
        await self._send(status, body, (b"content-type", b"text/plain; charset=utf-8"), *more)

    async def _send(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self._answers[self._route, status] += 1
        all_headers = [*headers, (b"content-length", b"%d" % len(body))]
        await self._send_it({"type": "http.response.start", "status": status, "headers": all_headers})
        await self._send_it({"type": "http.response.body", "body": body})


async def written(done: asyncio.Future[None]) -> None:
    """Wait until something that was taken is in the database.

    Raises:
        UnavailableError: It is not, after ``WRITTEN_WITHIN_S``; it may be later.
    """
    try:
        await asyncio.wait_for(asyncio.shield(done), WRITTEN_WITHIN_S)
    except TimeoutError:
        raise UnavailableError("This is not written yet; send it again.", retry_after_s=10) from None
