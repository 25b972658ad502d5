"""Answers repeated polls where their bytes arrive, beside the ASGI application.

Nearly every request to a control plane is one agent saying what it said before, on a connection it keeps,
under the very same headers. Here such a request costs no HTTP parsing, no task and no ASGI messages.

Nothing is decided that the ordinary way would decide otherwise:

* A block of headers is known only after the HTTP parser has read those very bytes on some connection, and
  found a POST to the one route, with a valid key, one plain Content-Length, and nothing that changes how a
  request is framed or answered. Known blocks are compared as a whole.
* A connection takes this lane only between two requests: every earlier answer is written, so order is kept.
* The key is looked up for every request, so one that is revoked stops here too.
* Everything else, and all that is not answered at once, goes to the parser byte for byte.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, NamedTuple, Protocol

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

MAX_HEAD_BYTES = 1024
MAX_HEADS = 16_384  # known blocks of headers; they differ in key, length of the body and version of the agent
MAX_BODY_BYTES = 256 * 1024
MAX_RESPONSES_BYTES = 16 * 1024 * 1024
_REQUEST_LINE = b"POST /api/v0.1/configurations HTTP/1.1"
_END = b"\r\n\r\n"
# Headers that say how a request is framed, or that it wants more than a plain answer.
_UNUSUAL = frozenset(
    [b"connection", b"expect", b"sealwire-wait", b"te", b"trailer", b"transfer-encoding", b"upgrade"]
)


class Answers(Protocol):
    """Where the answers come from."""

    def admitted(self, secret: bytes) -> str | None:
        """The digest of an API key that may poll, else None."""
        ...

    def quick(self, sha256: str, body: bytes) -> bytes | None:
        """The answer to a poll with this key if it needs no thought, else None."""
        ...


class _Head(NamedTuple):
    sha256: str  # of the API key
    length: int  # of the body


class Lane:
    """What all connections of a server share."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.heads: dict[bytes, _Head] = {}
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._responses: dict[bytes, bytes] = {}
        self._responses_size = 0

    def response(self, answer: bytes, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """An answer with its headers; kept until the server's own headers (the date) change."""
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            self._responses.clear()
            self._responses_size = 0
        response = self._responses.get(answer)
        if response is None:
            own = b"".join(b"%s: %s\r\n" % header for header in default_headers)
            response = (
                b"HTTP/1.1 200 OK\r\n%scontent-type: application/x-protobuf\r\ncontent-length: %d\r\n\r\n%s"
                % (own, len(answer), answer)
            )
            self._responses_size += len(response)
            if self._responses_size > MAX_RESPONSES_BYTES:
                self._responses.clear()
                self._responses_size = len(response)
            self._responses[answer] = response
        return response

    def learn(self, head: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Know a block of headers from now on, if the parser read in it just what it seems to say."""
        lines = head[: -len(_END)].split(b"\r\n")
        if lines[0] != _REQUEST_LINE or len(lines) != len(headers) + 1 or head.count(b"\n") != len(lines) + 1:
            return
        found: dict[bytes, bytes] = {}
        for line, (name, value) in zip(lines[1:], headers, strict=True):
            said, colon, rest = line.partition(b":")
            if not colon or said.lower() != name or rest.strip(b" \t") != value or name in found:
                return
            found[name] = value
        length = found.get(b"content-length", b"")
        if not _UNUSUAL.isdisjoint(found) or not length.isdigit() or len(length) > 9:
            return
        sha256 = self.answers.admitted(found.get(b"dd-api-key", b""))
        if sha256 is None or int(length) > MAX_BODY_BYTES:
            return
        if len(self.heads) >= MAX_HEADS:
            self.heads.clear()
        self.heads[head] = _Head(sha256, int(length))


class FastLaneProtocol(HttpToolsProtocol):
    """One connection: uvicorn's protocol with the lane in front."""

    lane: ClassVar[Lane]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._between = True  # the parser stands between two messages
        self._unread = b""  # the start of a request with known headers, not given to the parser yet
        self._head = b""  # what may be the headers of the request the parser reads now
        self._active_at = 0.0

    # Bytes ------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._between and (self.cycle is None or self.cycle.response_complete):  # type: ignore[redundant-expr]  # None at first
            if self._unread:
                data = self._unread + data
                self._unread = b""
            end = data.find(_END, 0, MAX_HEAD_BYTES) + len(_END)
            if end > len(_END):
                head = data[:end]
                known = self.lane.heads.get(head)
                if known is None:
                    self._head = head
                elif len(data) < end + known.length:
                    self._unread = data
                    return
                elif len(data) == end + known.length and self._answer(known.sha256, data[end:]):
                    return
        super().data_received(data)

    def _answer(self, sha256: str, body: bytes) -> bool:
        """Answer at once, if that can be done."""
        if self.flow.write_paused or self.transport.is_closing():
            return False
        answer = self.lane.answers.quick(sha256, body)
        if answer is None:
            return False
        self.transport.write(self.lane.response(answer, self.server_state.default_headers))
        self.server_state.total_requests += 1
        self._active_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        return True

    # What the parser says -----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        head, self._head = self._head, b""
        if head:
            self.lane.learn(head, self.headers)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._between = not self.parser.should_upgrade()  # after which the parser would read no more
        super().on_message_complete()

    # Time ---------------------------------------------------------------------------------------------

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection. Answers given here do not move the timer; it asks when it rings."""
        if self.transport.is_closing():
            return
        left = self._active_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()


def protocol(answers: Answers) -> type[asyncio.Protocol]:
    """The protocol of a server's connections, for ``uvicorn.Config(http=...)``."""
    return type("FastLaneProtocol", (FastLaneProtocol,), {"lane": Lane(answers)})
