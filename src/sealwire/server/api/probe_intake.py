"""HTTP for what our agents tell of probes in numbers and in traces: plain ASGI.

    POST /api/sealwire/v1/debugger   gzipped msgpack (wire/probe_batch.py) -> JSON {}

Any live API key will do. A batch that is answered with 200 is written: an agent forgets it then.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from sealwire.server.access import Access, AgentKey
from sealwire.server.api.intake import Intake, ahead_s
from sealwire.server.api.remote_config import Receive, Scope, Send
from sealwire.server.tenant import Tenant
from sealwire.wire import probe_batch as wire


class ProbeDataApi:
    """The endpoint. One instance serves every organisation: the key says which."""

    def __init__(
        self, access: Access, tenants: Mapping[int, Tenant], answers: Counter[tuple[str, int]]
    ) -> None:
        self.routes = {wire.PATH: self._post}
        self._intake = Intake("metrics and spans of probes", access, tenants, answers)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        def take(key: AgentKey, batch: wire.Batch) -> asyncio.Future[None]:
            data = self._intake.tenants[key.org_id].probe_data
            return data.take(batch, key_id=key.key_id, ahead_ms=int(ahead_s(scope) * 1000))

        await self._intake.batch(
            "probes", scope, receive, send, limit=wire.MAX_BATCH_BYTES, take=take,
            decode=lambda body, is_gzipped: wire.decode(body, is_gzipped=is_gzipped),
        )  # fmt: skip
