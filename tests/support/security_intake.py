"""A control plane that takes security batches and nothing else, and fails when told to: HTTP, in threads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sealwire.wire.security_batch import MAX_BATCH_BYTES, PATH, Batch, Seen, decode

API_KEY = "0123456789abcdef0123456789abcdef"


class SecurityIntake:
    """Listens once constructed.

    Attributes:
        status: HTTP status of every answer.
        headers: Sent with every answer.
        batches: Those taken, with when each came.
        posts: How often a batch came, taken or not.
        delivered: How often each batch (agent, start, number) was taken.
        lost_answers: How many of the next batches are taken without an answer.
    """

    def __init__(self, *, port: int = 0) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.batches: list[tuple[float, Batch]] = []
        self.posts: list[dict[str, str]] = []
        self.delivered: Counter[tuple[str, int, int]] = Counter()
        self.lost_answers = 0
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
    def spans(self) -> list[Seen]:
        """All that were taken."""
        return [seen for _, batch in list(self.batches) for seen in batch.spans]

    @property
    def requests(self) -> int:
        """How many requests these stand for."""
        return sum(seen.count for seen in self.spans)

    def close(self) -> None:
        """Let the port go."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(min(int(handler.headers.get("Content-Length", 0)), MAX_BATCH_BYTES + 1))
        status = self.status if handler.path == PATH else 404
        if handler.path == PATH:
            self.posts.append(dict(handler.headers.items()))
        if status == 200:
            batch = decode(body, is_gzipped=handler.headers.get("Content-Encoding") == "gzip")
            self.batches.append((time.time(), batch))
            self.delivered[batch.agent_uuid, batch.started_ms, batch.number] += 1
            if self.lost_answers > 0:
                self.lost_answers -= 1
                handler.close_connection = True
                return
        handler.send_response(status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    def __enter__(self) -> SecurityIntake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
