"""HTTP for what tracers' debuggers send, as agents pass it on: plain ASGI.

    POST /api/v2/debugger   messages of probes, statuses, symbols -> 202 {}
    POST /api/v2/logs       messages of probes from elder tracers -> 202 {}

These are the addresses where the open-source Agent passes on ``/debugger`` and ``/symdb``, so both it and our
own reach the same. Any live API key will do. A body is taken, or refused whole only if it cannot be read at
all: what makes no sense in it is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from urllib.parse import parse_qs

from sealwire.clock import utc_now
from sealwire.server.access import Access
from sealwire.server.api.intake import Intake, ahead_s
from sealwire.server.api.remote_config import Receive, Scope, Send, header
from sealwire.server.debugger.reports.arrivals import MAX_UPLOAD_BYTES, Upload
from sealwire.server.tenant import Tenant

PATH = "/api/v2/debugger"
LOGS_PATH = "/api/v2/logs"
MAX_QUERY_BYTES = 16 * 1024
MAX_TYPE_CHARS = 1_000


class DebuggerApi:
    """The endpoints."""

    def __init__(
        self, access: Access, tenants: Mapping[int, Tenant], answers: Counter[tuple[str, int]]
    ) -> None:
        self.routes = {PATH: self._post, LOGS_PATH: self._post}
        self._intake = Intake("data of probes", access, tenants, answers)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._intake.answer("debugger" if scope["path"] == PATH else "logs", send)
        key = await self._intake.key(scope, answer)
        if key is None:
            return
        encoding = header(scope, b"content-encoding").lower()
        if encoding not in ("", "identity", "gzip", "zstd"):
            await answer.refuse(415, "Content-Encoding is gzip, zstd or nothing.")
            return

        async def take() -> None:
            body = await self._intake.body(key, scope, receive, limit=MAX_UPLOAD_BYTES)
            upload = Upload(
                body,
                content_type=header(scope, b"content-type")[:MAX_TYPE_CHARS],
                encoding=encoding,
                tags=_tags(scope),
                key_id=key.key_id,
                arrived_ms=int(utc_now().timestamp() * 1000),
                ahead_ms=int(ahead_s(scope) * 1000),
            )
            await self._intake.tenants[key.org_id].arrivals.take(upload)

        await answer.after(take, 202)


def _tags(scope: Scope) -> str:
    """Of the query; the open-source Agent puts those of symbols into a header."""
    query = bytes(scope.get("query_string", b""))[:MAX_QUERY_BYTES].decode("ascii", "replace")
    try:
        told = ",".join(parse_qs(query, max_num_fields=20).get("ddtags", ()))
    except ValueError:
        told = ""
    return told or header(scope, b"x-datadog-additional-tags")[:MAX_QUERY_BYTES]
