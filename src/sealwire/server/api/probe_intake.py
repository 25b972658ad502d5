"""HTTP for what our agents tell of probes in numbers and in traces: plain ASGI.

    POST /api/sealwire/v1/debugger   gzipped msgpack (wire/probe_batch.py) -> JSON {}

Any live API key will do. A batch that is answered with 200 is written: an agent forgets it then.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from sealwire.server.access import Access
from sealwire.server.api.intake import Intake, ahead_s, written
from sealwire.server.api.remote_config import Receive, Scope, Send, header
from sealwire.server.tenant import Tenant
from sealwire.wire import probe_batch as wire

# Above this the loop would stand still for milliseconds.
READ_IN_THREAD_BYTES = 16 * 1024


class ProbeDataApi:
    """The endpoint. One instance serves every organisation: the key says which."""

    def __init__(
        self, access: Access, tenants: Mapping[int, Tenant], answers: Counter[tuple[str, int]]
    ) -> None:
        self.routes = {wire.PATH: self._post}
        self._intake = Intake("metrics and spans of probes", access, tenants, answers)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._intake.answer("probes", send)
        key = await self._intake.key(scope, answer)
        if key is None:
            return
        encoding = header(scope, b"content-encoding").lower()
        if encoding not in ("", "identity", "gzip"):
            await answer.refuse(415, "Content-Encoding is gzip or nothing.")
            return

        async def take() -> None:
            body = await self._intake.body(key, scope, receive, limit=wire.MAX_BATCH_BYTES)
            async with self._intake.unpacking:
                if len(body) > READ_IN_THREAD_BYTES:
                    batch = await asyncio.to_thread(wire.decode, body, is_gzipped=encoding == "gzip")
                else:
                    batch = wire.decode(body, is_gzipped=encoding == "gzip")
            data = self._intake.tenants[key.org_id].probe_data
            await written(data.take(batch, key_id=key.key_id, ahead_ms=int(ahead_s(scope) * 1000)))

        await answer.after(take, 200)
