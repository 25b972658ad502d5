"""HTTP for what agents tell of themselves: plain ASGI beside the other endpoints of machines.

    POST /api/sealwire/v1/inventory   gzipped JSON (wire/inventory.py) -> JSON

Any live API key will do, with the Remote Configuration scope or without: an agent that may not have configs
is still seen. What arrives is hostile until it is read: it is bounded before, and counted after.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import structlog

from sealwire.errors import OversizeError, SealwireError, UnavailableError, UntrustedError
from sealwire.server.access import Access
from sealwire.server.api.remote_config import Receive, Scope, Send, header, read_body
from sealwire.server.tenant import Tenant
from sealwire.wire import inventory as wire

log = structlog.get_logger()

ROUTE = "inventory"
# Above this the loop would stand still for milliseconds.
READ_IN_THREAD_BYTES = 16 * 1024


class InventoryApi:
    """The endpoint. One instance serves every organisation: the key says which."""

    def __init__(
        self, access: Access, tenants: Mapping[int, Tenant], answers: Counter[tuple[str, int]]
    ) -> None:
        self.routes = {wire.PATH: self._post}
        self._access = access
        self._tenants = tenants
        self._answers = answers

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._refuse(send, 405, "POST an inventory.")
            return
        key = self._access.agent_key(header(scope, b"dd-api-key"))
        tenant = None if key is None else self._tenants.get(key.org_id)
        if key is None or tenant is None:
            await self._refuse(send, 401, "This API key is not known here.")
            return
        encoding = header(scope, b"content-encoding").lower()
        if encoding not in ("", "identity", "gzip"):
            await self._refuse(send, 415, "Content-Encoding is gzip or nothing.")
            return
        try:
            length = header(scope, b"content-length")
            if length.isdigit() and int(length) > wire.MAX_POST_BYTES:
                raise OversizeError(f"An inventory may have {wire.MAX_POST_BYTES} bytes.")
            body = await read_body(receive, limit=wire.MAX_POST_BYTES)
            is_gzipped = encoding == "gzip"
            if len(body) > READ_IN_THREAD_BYTES:
                post = await asyncio.to_thread(wire.decode, body, is_gzipped=is_gzipped)
            else:
                post = wire.decode(body, is_gzipped=is_gzipped)
            taken = tenant.inventory.take(post, key_id=key.key_id)
        except UntrustedError as error:
            await self._refuse(send, 413 if isinstance(error, OversizeError) else 400, error.public)
            return
        except UnavailableError as error:
            retry = (b"retry-after", b"%d" % max(1, error.retry_after_s))
            await self._refuse(send, 429, error.public, retry)
            return
        except SealwireError as error:
            log.error("inventory failed", code=error.code, reason=error.public, detail=error.detail)
            await self._refuse(send, 500, error.public)
            return
        self._answers[ROUTE, 200] += 1
        answer = wire.encode_taken(taken)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _refuse(self, send: Send, status: int, why: str, *more: tuple[bytes, bytes]) -> None:
        self._answers[ROUTE, status] += 1
        log.debug("inventory refused", status=status, reason=why)
        body = f"{why}\n".encode("utf-8", "replace")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            *more,
        ]
        if status == 413:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
