"""Takes uploads of tracers from agents as a control plane does, and fails when told to: HTTP, in threads."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

API_KEY = "0123456789abcdef0123456789abcdef"


class Took(NamedTuple):
    """One upload as it came, its body unpacked."""

    path: str
    body: bytes
    headers: Mapping[str, str]
    tags: tuple[str, ...]
    at_s: float


class UploadIntake:
    """Listens once constructed.

    Attributes:
        says: The HTTP status for an upload; 202 takes it.
        headers: Sent with every answer.
        took: What was taken.
        asked: Everything that came, taken or not.
        gate: Not set: answers wait for it.
    """

    def __init__(self, *, port: int = 0) -> None:
        self.says: Callable[[Took], int] = lambda _: 202
        self.headers: dict[str, str] = {}
        self.took: list[Took] = []
        self.asked: list[Took] = []
        self.gate = threading.Event()
        self.gate.set()
        intake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                intake._take(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[bytes]:
        """Of all that was taken, in order."""
        return [each.body for each in list(self.took)]

    def close(self) -> None:
        """Let the port go."""
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = dict(handler.headers.items())
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        parts = urlsplit(handler.path)
        tags = tuple(",".join(parse_qs(parts.query).get("ddtags", ())).split(","))
        took = Took(parts.path, body, headers, tags, time.time())
        status = 404  # what else agents post is for others
        if parts.path.startswith("/api/v2/"):
            self.asked.append(took)
            self.gate.wait(60)
            status = self.says(took)
        if status == 202:
            self.took.append(took)
        handler.send_response(status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    def __enter__(self) -> UploadIntake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
