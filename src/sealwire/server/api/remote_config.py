"""HTTP for agents: plain ASGI, matched before the framework.

    POST /api/v0.1/configurations   LatestConfigsRequest -> LatestConfigsResponse
    GET  /api/v0.1/org              -> OrgDataResponse
    GET  /api/v0.1/status           -> OrgStatusResponse

``Sealwire-Wait: seconds`` on a poll asks to hold an answer that would say nothing new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from sealwire.errors import OversizeError, SealwireError, UnavailableError, UntrustedError
from sealwire.server.access import Access, AgentKey, digest_sent
from sealwire.server.fleet.connection import Connection
from sealwire.server.tenant import Tenant
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.codec import parse_latest_configs_request
from sealwire.wire.limits import MAX_LATEST_CONFIGS_REQUEST_BYTES

log = structlog.get_logger()

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PROTOBUF = (b"content-type", b"application/x-protobuf")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
MAX_REFUSED_BYTES = 1024 * 1024  # of a poll that is refused: larger ones leave nothing
_ANSWERED = ("configurations", 200)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an agent is refused.

    Attributes:
        key: Its API key; None when nobody knows it, so that it belongs to no organisation.
        state: How the agent stands then.
        text: Said to the agent, and to people.
    """

    key: AgentKey | None
    state: Connection
    text: str


class _Handler(Protocol):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class MachineApi:
    """The three endpoints. One instance serves every organisation: the key says which."""

    def __init__(self, access: Access, tenants: Mapping[int, Tenant], *, max_wait_s: int) -> None:
        self._access = access
        self._tenants = tenants
        self._max_wait_s = max_wait_s
        self._waits = b"%d" % max_wait_s
        self.answers: Counter[tuple[str, int]] = Counter()
        self.routes: Mapping[str, _Handler] = {
            "/api/v0.1/configurations": self._configurations,
            "/api/v0.1/org": self._org,
            "/api/v0.1/status": self._status,
        }

    async def _configurations(self, scope: Scope, receive: Receive, send: Send) -> None:
        secret, wait = b"", b""
        length = 0
        for name, value in scope["headers"]:
            if name == b"dd-api-key":
                secret = value
            elif name == b"sealwire-wait":
                wait = value
            elif name == b"content-length":
                length = int(value) if value.isdigit() else 0
        if scope["method"] != "POST":
            await self._refuse(send, "configurations", 405, "POST a LatestConfigsRequest.")
            return
        sha256 = digest_sent(secret.decode("latin-1"))
        key = self._access.agent_key_of(sha256)
        tenant = self._admitted(key)
        if key is None or tenant is None:
            refusal = self._refusal(sha256)
            await self._note_refused(refusal, receive, length)
            await self._refuse(send, "configurations", 401, refusal.text)
            return
        try:
            if length > MAX_LATEST_CONFIGS_REQUEST_BYTES:
                raise OversizeError(f"The request may have {MAX_LATEST_CONFIGS_REQUEST_BYTES} bytes.")
            body = await read_body(receive)
            wait_s = min(int(wait), self._max_wait_s) if wait.isdigit() and len(wait) < 4 else 0
            client = scope.get("client")
            answer = await tenant.distributor.poll(
                body, wait_s=float(wait_s), key_id=key.key_id, address=client[0] if client else ""
            )
        except UnavailableError as error:
            await self._refuse(
                send,
                "configurations",
                503,
                error.public,
                (b"retry-after", b"%d" % max(1, error.retry_after_s)),
            )
            return
        except UntrustedError as error:
            status = 413 if isinstance(error, OversizeError) else 400
            await self._refuse(send, "configurations", status, error.public)
            return
        except SealwireError as error:
            log.error("poll failed", code=error.code, reason=error.public, detail=error.detail)
            await self._refuse(send, "configurations", 500, error.public)
            return
        if self._admitted(self._access.agent_key_of(sha256)) is not tenant:
            # While it was held the key was revoked or lost its scope, or the organisation was switched off.
            await self._refuse(send, "configurations", 401, self._refusal(sha256).text)
            return
        self.answers[_ANSWERED] += 1
        headers = [_PROTOBUF, (b"content-length", b"%d" % len(answer))]
        if wait:
            headers.append((b"sealwire-wait", self._waits))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    # The same endpoint for polls that need no thought (fast_lane) ----------------------------------------

    def admitted(self, secret: bytes) -> str | None:
        """The digest of an API key that may poll, else None."""
        sha256 = digest_sent(secret.decode("latin-1"))
        return None if self._admitted(self._access.agent_key_of(sha256)) is None else sha256

    def quick(self, sha256: str, body: bytes) -> bytes | None:
        """The answer to a poll that says what the last one said, else None; nothing is refused here."""
        key = self._access.agent_key_of(sha256)
        tenant = self._admitted(key)
        if key is None or tenant is None:
            return None
        try:
            answer = tenant.distributor.fast_answer(body, key.key_id)
        except UntrustedError:
            return None
        if answer is not None:
            self.answers[_ANSWERED] += 1
        return answer

    async def _org(self, scope: Scope, receive: Receive, send: Send) -> None:
        sha256 = digest_sent(header(scope, b"dd-api-key"))
        tenant = self._admitted(self._access.agent_key_of(sha256))
        if tenant is None:
            await self._refuse(send, "org", 401, self._refusal(sha256).text)
            return
        message = pb.OrgDataResponse(uuid=tenant.organisation.uuid)
        await self._say(send, "org", message.SerializeToString())

    async def _status(self, scope: Scope, receive: Receive, send: Send) -> None:
        sha256 = digest_sent(header(scope, b"dd-api-key"))
        key = self._access.agent_key_of(sha256)
        tenant = None if key is None else self._tenants.get(key.org_id)
        if key is None or tenant is None:
            await self._refuse(send, "status", 401, self._refusal(sha256).text)
            return
        message = pb.OrgStatusResponse(
            enabled=tenant.organisation.remote_config, authorized=key.remote_config
        )
        await self._say(send, "status", message.SerializeToString())

    def _admitted(self, key: AgentKey | None) -> Tenant | None:
        if key is None or not key.remote_config:
            return None
        tenant = self._tenants.get(key.org_id)
        return tenant if tenant is not None and tenant.organisation.remote_config else None

    def _refusal(self, sha256: str) -> Refusal:
        """Why a key may not poll; only asked when it may not."""
        key = self._access.agent_key_of(sha256)
        if key is None:
            revoked = self._access.revoked_key_of(sha256)
            if revoked is not None:
                return Refusal(revoked, Connection.REVOKED, "This API key was revoked.")
            return Refusal(None, Connection.UNAUTHORIZED, "This API key is not known here.")
        tenant = self._tenants.get(key.org_id)
        if tenant is not None and not tenant.organisation.remote_config:
            return Refusal(key, Connection.UNAUTHORIZED, "Remote Configuration is off for this organisation.")
        return Refusal(
            key, Connection.UNAUTHORIZED, "This API key does not carry the Remote Configuration scope."
        )

    async def _note_refused(self, refusal: Refusal, receive: Receive, length: int) -> None:
        """Who is refused shows in the fleet, if its key belongs to anybody; bounded in size and rate."""
        tenant = None if refusal.key is None else self._tenants.get(refusal.key.org_id)
        if refusal.key is None or tenant is None or length > MAX_REFUSED_BYTES:
            return
        if not tenant.inventory.may_note_refusal(refusal.key.key_id):
            return
        try:
            request = parse_latest_configs_request(await read_body(receive, limit=MAX_REFUSED_BYTES))
        except UntrustedError:
            return
        tenant.inventory.note_refusal(request, key_id=refusal.key.key_id, why=refusal.text)

    async def _say(self, send: Send, route: str, body: bytes) -> None:
        self.answers[route, 200] += 1
        headers = [_PROTOBUF, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _refuse(
        self, send: Send, route: str, status: int, why: str, *headers: tuple[bytes, bytes]
    ) -> None:
        self.answers[route, status] += 1
        log.debug("agent refused", route=route, status=status, reason=why)
        body = f"{why}\n".encode()
        all_headers = [_TEXT, (b"content-length", b"%d" % len(body)), *headers]
        if status == 413:
            all_headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": all_headers})
        await send({"type": "http.response.body", "body": body})


def header(scope: Scope, wanted: bytes) -> str:
    """A header of a request, "" where it is not there."""
    for name, value in scope["headers"]:
        if name == wanted:
            return str(value.decode("latin-1"))
    return ""


async def read_body(receive: Receive, *, limit: int = MAX_LATEST_CONFIGS_REQUEST_BYTES) -> bytes:
    """The body of a request.

    Raises:
        OversizeError: It is larger than ``limit``; the rest is not read.
        UntrustedError: It broke off.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise UntrustedError("The request broke off.")
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UntrustedError("The request broke off.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise OversizeError(f"The request may have {limit} bytes.")
    return b"".join(parts)
