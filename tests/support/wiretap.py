"""Between an application and its agent: forwards everything, keeps what was said about configuration.

The tracer does not know of it, so what it kept is what a real tracer asked and was given, byte for byte.
While the agent is down a request finds no answer, as it would without us.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

CONFIG_PATH = "/v0.7/config"
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclass(frozen=True)
class Exchange:
    """One poll and its answer.

    Attributes:
        at: ``time.monotonic()`` when the request was complete.
        answered_at: The same when the answer was.
    """

    at: float
    answered_at: float
    raw_request: bytes
    status: int
    raw_answer: bytes

    @cached_property
    def client(self) -> dict[str, Any]:
        client: dict[str, Any] = json.loads(self.raw_request)["client"]
        return client

    @property
    def service(self) -> str:
        return str(self.client["client_tracer"]["service"])

    @property
    def products(self) -> frozenset[str]:
        return frozenset(self.client.get("products") or ())

    @property
    def holds_version(self) -> int:
        """The targets version the client says it has."""
        return int(self.client["state"].get("targets_version") or 0)

    @property
    def states(self) -> dict[str, tuple[int, int]]:
        """What the client reports: ``PRODUCT/config id`` -> version, apply state."""
        listed = self.client["state"].get("config_states") or ()
        return {
            f"{state['product']}/{state['id']}": (
                int(state.get("version") or 0),
                int(state.get("apply_state") or 0),
            )
            for state in listed
        }

    @property
    def caches(self) -> frozenset[str]:
        """The paths the client says it holds."""
        listed = json.loads(self.raw_request).get("cached_target_files") or ()
        return frozenset(each["path"] for each in listed)

    @cached_property
    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.raw_answer) if self.status == 200 else {}
        return answer

    @property
    def says_nothing_new(self) -> bool:
        return self.raw_answer == b"{}"

    @cached_property
    def raw_targets(self) -> bytes:
        return base64.b64decode(self.answer.get("targets", ""))

    @property
    def gives_version(self) -> int:
        """The version of the targets in the answer; 0 for ``{}``."""
        return int(json.loads(self.raw_targets)["signed"]["version"]) if self.raw_targets else 0

    @property
    def applies(self) -> list[str]:
        """The paths the answer says are for this client."""
        return list(self.answer.get("client_configs", ()))

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The files in the answer, by path."""
        return {each["path"]: base64.b64decode(each["raw"]) for each in self.answer.get("target_files", ())}

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.raw_targets).hexdigest()


class Wiretap:
    """Listens on a loopback port of its own until closed; also as a context manager.

    Args:
        agent_url: Where everything goes, ``http://host:port``.
    """

    def __init__(self, agent_url: str) -> None:
        parts = urlsplit(agent_url)
        self._agent = (parts.hostname or "127.0.0.1", parts.port or 8126)
        self._exchanges: list[Exchange] = []
        self._traces: list[bytes] = []
        self._debugger: list[bytes] = []
        self._changed = threading.Condition()
        tap = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 120

            def _forward(self) -> None:
                tap._forward(self)

            do_GET = do_POST = do_PUT = do_HEAD = _forward  # noqa: N815 - names the standard library looks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                return

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, name="wiretap", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def exchanges(self) -> list[Exchange]:
        """Every poll so far, oldest first."""
        with self._changed:
            return list(self._exchanges)

    def traces_with(self, *wanted: str) -> bool:
        """Whether a single upload of traces held all of these texts."""
        with self._changed:
            return any(all(text.encode() in body for text in wanted) for body in self._traces)

    def probes_said(self, *wanted: str) -> bool:
        """Whether a single upload of what probes gave, or of their state, held all of these texts."""
        with self._changed:
            return any(all(text.encode() in body for text in wanted) for body in self._debugger)

    def wait_for(
        self, wanted: Callable[[Exchange], object], what: str, *, since: int = 0, timeout_s: float = 30
    ) -> Exchange:
        """The first exchange from index ``since`` on that is ``wanted``."""
        deadline = time.monotonic() + timeout_s
        looked_at = since
        with self._changed:
            while True:
                for exchange in self._exchanges[looked_at:]:
                    if wanted(exchange):
                        return exchange
                looked_at = max(since, len(self._exchanges))
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise AssertionError(
                        f"no poll within {timeout_s:g} s: {what}; {len(self._exchanges)} polls, the last "
                        f"{self._exchanges[-1] if self._exchanges else None}"
                    )

    def wait_for_polls(self, count: int, *, timeout_s: float = 30) -> None:
        """Wait until so many more polls were answered."""
        since = len(self.exchanges)
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while len(self._exchanges) < since + count:
                assert self._changed.wait(deadline - time.monotonic()), f"no {count} polls in {timeout_s:g} s"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Wiretap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forward(self, handler: BaseHTTPRequestHandler) -> None:
        body = _body_of(handler)
        at = time.monotonic()
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in _HOP_BY_HOP}
        connection = http.client.HTTPConnection(*self._agent, timeout=30)
        try:
            connection.request(handler.command, handler.path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            handler.close_connection = True  # nobody there
            return
        finally:
            connection.close()
        if handler.path == CONFIG_PATH:
            with self._changed:
                self._exchanges.append(Exchange(at, time.monotonic(), body, response.status, answer))
                self._changed.notify_all()
        elif handler.path.endswith("/traces"):
            with self._changed:
                self._traces.append(body)
        elif handler.path.startswith(("/debugger/", "/symdb/")):
            with self._changed:
                self._debugger.append(body)
        handler.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """An application that goes away in the middle of a request is no news."""


def _body_of(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body
