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
from collections.abc import Mapping

from sealwire.clock import utc_now
from sealwire.errors import OversizeError, TooOftenError
from sealwire.server.access import Access, AgentKey
from sealwire.server.api.intake import Intake, ahead_s, written
from sealwire.server.api.remote_config import Receive, Scope, Send, header
from sealwire.server.fleet.inventory import Rate
from sealwire.server.security import go_payload
from sealwire.server.tenant import Tenant
from sealwire.wire import security_batch as wire

STATS_PATH = "/api/v0.2/stats"
MAX_STATS_BYTES = 8 * 1024 * 1024


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
        self._intake = Intake("security data", access, tenants, answers)
        self._go_rates: dict[str, Rate] = {}

    async def _post_batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        def take(key: AgentKey, batch: wire.Batch) -> asyncio.Future[None]:
            detection = self._intake.tenants[key.org_id].detection
            return detection.take(batch, key_id=key.key_id, ahead_s=ahead_s(scope))

        await self._intake.batch(
            "security", scope, receive, send, limit=wire.MAX_BATCH_BYTES, take=take,
            decode=lambda body, is_gzipped: wire.decode(body, is_gzipped=is_gzipped),
        )  # fmt: skip

    async def _post_traces(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._intake.answer("traces", send)
        key = await self._intake.key(scope, answer)
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
            body = await self._intake.body(key, scope, receive, limit=go_payload.MAX_PACKED_BYTES)
            async with self._intake.unpacking:
                payload = await asyncio.to_thread(read, body)
            tenant = self._intake.tenants[key.org_id]
            if payload.probes:
                tenant.probe_data.take_spans(payload.probes, host=payload.hostname)
            await written(
                tenant.detection.take_spans(
                    payload.spans,
                    host=payload.hostname,
                    watched=payload.watched,
                    visits=payload.visits,
                    lost=payload.unreadable + payload.crowded,
                )
            )

        await answer.after(take, 202, wire.ANSWER)

    async def _post_stats(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._intake.answer("stats", send)
        if await self._intake.key(scope, answer) is None:
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

        await answer.after(take, 202, wire.ANSWER)
