"""What every request of people carries through the program: an id, and where it came from.

The id is ours and new for each request, whatever the request says; the answer names it, logs and the audit
trail repeat it. Polls of agents do not pass here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import structlog

from sealwire.server import audit
from sealwire.server.audit.refusals import Refusals

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = b"x-request-id"

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")
_NO_HOST = b"The Host header names no host.\n"


def in_context(application: Application, refusals: Refusals) -> Application:
    """The application, each request of it in a context of its own."""

    async def with_context(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        if not all(_is_host(value) for name, value in scope["headers"] if name == b"host"):
            await _refuse_host(send)
            return
        request_id = secrets.token_hex(8)
        client = scope.get("client")
        entered = audit.Context(
            actor_type=audit.NOBODY,
            address=audit.clean_address(client[0]) if client else "",
            user_agent=_user_agent(scope),
            request_id=request_id,
            method=scope["method"][:10],
            path=_first_part(scope["path"]),
            refusals=refusals,
        )

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id.encode())]
            await send(message)

        token = audit.enter(entered)
        try:
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                await application(scope, receive, named)
        finally:
            audit.leave(token)

    return with_context


def _user_agent(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"user-agent":
            return audit.clean(value.decode("latin-1"), audit.MAX_USER_AGENT_CHARS)
    return ""


def _first_part(path: str) -> str:
    """Of a path that may hold a secret: what stands before it."""
    parts = path.split("/", 2)
    return audit.clean(f"/{parts[1]}/…" if len(parts) > 2 else path, audit.MAX_PATH_CHARS)


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    """Whether this names a host; the framework fails over what is none as soon as it makes a URL of it."""
    if len(value) > 300 or not _HOST.fullmatch(value):
        return False
    try:
        return urlsplit(f"//{value.decode('ascii')}").port != -1
    except ValueError:
        return False  # a port or an address in brackets that there cannot be


async def _refuse_host(send: Send) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(_NO_HOST)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": _NO_HOST})
