"""HTTP for what agents saw of attacks: plain ASGI beside the other endpoints of machines.

    POST /api/sealwire/v1/security   gzipped msgpack (wire/security_batch.py) -> JSON {}
    POST /api/v0.2/traces            the open-source Agent's AgentPayload -> JSON {}
    POST /api/v0.2/stats             its counts of requests, which nobody here needs -> JSON {}

Any live API key will do. What arrives is hostile until it is read: it is bounded before. A batch that is
answered with 200 is written: an agent forgets it then.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping

import structlog

from sealwire.clock import utc_now
from sealwire.errors import OversizeError, SealwireError, TooOftenError, UnavailableError, UntrustedError
from sealwire.server.access import Access, AgentKey
from sealwire.server.api.remote_config import Receive, Scope, Send, header, read_body
from sealwire.server.fleet.inventory import Rate
from sealwire.server.security import go_payload
from sealwire.server.tenant import Tenant
from sealwire.wire import security_batch as wire

log = structlog.get_logger()

STATS_PATH = "/api/v0.2/stats"
MAX_STATS_BYTES = 8 * 1024 * 1024
MAX_UNPACKED = 4  # bodies at once, of all organisations: each may be 25 MiB
MAX_ARRIVING = 32  # bodies at once with one key, each of a few MiB
ARRIVES_WITHIN_S = 20.0
# Above this the loop would stand still for milliseconds.
READ_IN_THREAD_BYTES = 16 * 1024
WRITTEN_WITHIN_S = 10.0
CLOCKS_AGREE_S = 5.0  # or what is between them may as well be the way here


class SecurityApi:
    """The endpoints. One instance serves every organisation: the key says which."""

    def __init__(
        self, access: Access, tenants: Mapping[int, Tenant], answers: Counter[tuple[str, int]]
    ) -> None:
        self.routes = {
            wire.PATH: self._post_batch,
            go_payload.PATH: self._post_traces,
            STATS_PATH: self._post_stats,
        }
        self._access = access
        self._tenants = tenants
        self._answers = answers
        self._unpacking = asyncio.Semaphore(MAX_UNPACKED)
        self._arriving: Counter[str] = Counter()
        self._go_rates: dict[str, Rate] = {}

    async def _post_batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer("security", send, self._answers)
        key = await self._key(scope, answer)
        if key is None:
            return
        encoding = header(scope, b"content-encoding").lower()
        if encoding not in ("", "identity", "gzip"):
            await answer.refuse(415, "Content-Encoding is gzip or nothing.")
            return

        async def take() -> None:
            body = await self._body(key, scope, receive, limit=wire.MAX_BATCH_BYTES)
            async with self._unpacking:
                if len(body) > READ_IN_THREAD_BYTES:
                    batch = await asyncio.to_thread(wire.decode, body, is_gzipped=encoding == "gzip")
                else:
                    batch = wire.decode(body, is_gzipped=encoding == "gzip")
            detection = self._tenants[key.org_id].detection
            await _written(detection.take(batch, key_id=key.key_id, ahead_s=_ahead_s(scope)))

        await answer.after(take, 200)

    async def _post_traces(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer("traces", send, self._answers)
        key = await self._key(scope, answer)
        if key is None:
            return
        encoding = header(scope, b"content-encoding").lower()
        rate = self._go_rates.setdefault(key.key_id, Rate(200, 50.0))

        def read(body: bytes) -> go_payload.Payload:
            now = utc_now().timestamp()
            return go_payload.read(go_payload.unpack(body, encoding=encoding), now_ms=int(now * 1000))

        async def take() -> None:
            if not rate.take(asyncio.get_running_loop().time()):
                raise TooOftenError("Agents with this key send too often.", retry_after_s=5)
            body = await self._body(key, scope, receive, limit=go_payload.MAX_PACKED_BYTES)
            async with self._unpacking:
                payload = await asyncio.to_thread(read, body)
            detection = self._tenants[key.org_id].detection
            await _written(
                detection.take_spans(
                    payload.spans,
                    host=payload.hostname,
                    watched=payload.watched,
                    visits=payload.visits,
                    lost=payload.unreadable + payload.crowded,
                )
            )

        await answer.after(take, 202)

    async def _post_stats(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer("stats", send, self._answers)
        if await self._key(scope, answer) is None:
            return

        async def take() -> None:
            size = 0
            more = True
            while more:  # so that the connection can be used again
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False) and message["type"] == "http.request"
                if size > MAX_STATS_BYTES:
                    raise OversizeError(f"At most {MAX_STATS_BYTES} bytes are taken.")

        await answer.after(take, 202)

    async def _body(self, key: AgentKey, scope: Scope, receive: Receive, *, limit: int) -> bytes:
        """A body within a length and a time. Attack: many that come a byte at a time."""
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

    async def _key(self, scope: Scope, answer: _Answer) -> AgentKey | None:
        """Whose request it is; None: it is answered already."""
        if scope["method"] not in ("POST", "PUT"):
            await answer.refuse(405, "POST it.")
            return None
        key = self._access.agent_key(header(scope, b"dd-api-key"))
        if key is None or key.org_id not in self._tenants:
            await answer.refuse(401, "This API key is not known here.")
            return None
        return key


def _ahead_s(scope: Scope) -> float:
    """How far the clock of who sends this is ahead of ours; 0 where they agree or nothing is said."""
    said = header(scope, wire.NOW_HEADER.lower().encode())
    if not said.isascii() or not said.isdigit() or len(said) > 15:
        return 0.0
    ahead_s = int(said) / 1000 - utc_now().timestamp()
    return ahead_s if abs(ahead_s) > CLOCKS_AGREE_S else 0.0


async def _written(done: asyncio.Future[None]) -> None:
    try:
        await asyncio.wait_for(asyncio.shield(done), WRITTEN_WITHIN_S)
    except TimeoutError:
        raise UnavailableError("This is not written yet; send it again.", retry_after_s=10) from None


class _Answer:
    """One request's answer, counted."""

    def __init__(self, route: str, send: Send, answers: Counter[tuple[str, int]]) -> None:
        self._route = route
        self._send_it = send
        self._answers = answers

    async def after(self, take: Callable[[], Coroutine[None, None, None]], status: int) -> None:
        """Answer once something is taken, or say why it is not."""
        try:
            await take()
        except UntrustedError as error:
            await self.refuse(413 if isinstance(error, OversizeError) else 400, error.public)
        except UnavailableError as error:
            retry = (b"retry-after", b"%d" % max(1, error.retry_after_s))
            await self.refuse(429 if isinstance(error, TooOftenError) else 503, error.public, retry)
        except SealwireError as error:
            log.error("security data failed", code=error.code, reason=error.public, detail=error.detail)
            await self.refuse(500, error.public)
        else:
            await self._send(status, wire.ANSWER, (b"content-type", b"application/json"))

    async def refuse(self, status: int, why: str, *more: tuple[bytes, bytes]) -> None:
        """Say no."""
        log.debug("security data refused", route=self._route, status=status, reason=why)
        if status == 413:
            more = (*more, (b"connection", b"close"))
        body = f"{why}\n".encode("utf-8", "replace")
        await self._send(status, body, (b"content-type", b"text/plain; charset=utf-8"), *more)

    async def _send(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self._answers[self._route, status] += 1
        all_headers = [*headers, (b"content-length", b"%d" % len(body))]
        await self._send_it({"type": "http.response.start", "status": status, "headers": all_headers})
        await self._send_it({"type": "http.response.body", "body": body})
