"""The smallest agent every tracer accepts: proves the harness of real tracers, and measures what they do.

It signs nothing and checks nothing. What is served changes in one step (``publish``), every poll is kept with
its moment, and a poll can be awaited. Our own agent is tested elsewhere; this one has no opinion.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_ENDPOINTS = ["/v0.3/traces", "/v0.4/traces", "/v0.5/traces", "/v0.7/config", "/telemetry/proxy/", "/info"]


@dataclass(frozen=True)
class Poll:
    """One request to /v0.7/config and what it got.

    Attributes:
        at: ``time.monotonic()`` at its arrival.
        client: The ``client`` object of the request.
        cached: The paths it says it holds.
        answered: The paths of the files it was sent.
    """

    at: float
    client: dict[str, Any]
    cached: tuple[str, ...]
    answered: tuple[str, ...]

    @property
    def products(self) -> frozenset[str]:
        return frozenset(self.client.get("products") or ())

    @property
    def targets_version(self) -> int:
        return int(self.client["state"].get("targets_version") or 0)

    @property
    def states(self) -> dict[str, int]:
        """Apply state by ``PRODUCT/config id``."""
        listed = self.client["state"].get("config_states") or ()
        return {f"{state['product']}/{state['id']}": int(state.get("apply_state") or 0) for state in listed}


class FakeAgent:
    """Serve configs on a loopback port until closed; also as a context manager."""

    def __init__(self) -> None:
        self.version = 0
        self.polls: list[Poll] = []
        self.other_requests: list[str] = []
        self._configs: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        self._changed = threading.Condition()
        agent = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self._body()
                if self.path == "/info":
                    answer = json.dumps({"version": "7.80.0", "endpoints": _ENDPOINTS}).encode()
                elif self.path == "/v0.7/config":
                    answer = agent._poll(json.loads(body))
                else:
                    agent.other_requests.append(self.path)
                    answer = b"{}"
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815 - names the standard library looks for

            def _body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="fake agent", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, configs: Mapping[str, object]) -> int:
        """Serve exactly these from now on, path to payload; returns the new version."""
        with self._changed:
            self.version += 1
            fresh = {path: json.dumps(payload).encode() for path, payload in configs.items()}
            for path, content in fresh.items():
                if self._configs.get(path) != content:
                    self._versions[path] = self._versions.get(path, 0) + 1
            self._configs = fresh
            return self.version

    def wait_for_poll(
        self, wanted: Callable[[Poll], bool], what: str, *, since: int = 0, timeout_s: float = 20
    ) -> Poll:
        """The first poll from index ``since`` on of which ``wanted`` is true."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for poll in self.polls[since:]:
                    if wanted(poll):
                        return poll
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    last = self.polls[-1] if self.polls else None
                    raise AssertionError(f"no poll within {timeout_s:g} s: {what}; the last was {last}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> FakeAgent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _poll(self, request: dict[str, Any]) -> bytes:
        with self._changed:
            client = request["client"]
            held = {
                cached["path"]: cached["hashes"][0]["hash"]
                for cached in request.get("cached_target_files") or ()
            }
            products = set(client.get("products") or ())
            wanted = {
                path: content for path, content in self._configs.items() if path.split("/")[-3] in products
            }
            hashes = {path: hashlib.sha256(content).hexdigest() for path, content in wanted.items()}
            current = int(client["state"].get("targets_version") or 0) == self.version
            sent: tuple[str, ...] = ()
            if current and hashes == held:
                answer = b"{}"
            else:
                sent = tuple(path for path in wanted if held.get(path) != hashes[path])
                answer = self._answer(wanted, hashes, sent)
            self.polls.append(Poll(time.monotonic(), client, tuple(held), sent))
            self._changed.notify_all()
            return answer

    def _answer(self, wanted: Mapping[str, bytes], hashes: Mapping[str, str], sent: tuple[str, ...]) -> bytes:
        targets = {
            "signatures": [{"keyid": "00", "sig": "00"}],
            "signed": {
                "_type": "targets",
                "spec_version": "1.0.0",
                "version": self.version,
                "expires": "2040-01-01T00:00:00Z",
                "custom": {"opaque_backend_state": "eyJ4IjoxfQ=="},
                "targets": {
                    path: {
                        "custom": {"v": self._versions[path]},
                        "hashes": {"sha256": hashes[path]},
                        "length": len(content),
                    }
                    for path, content in wanted.items()
                },
            },
        }
        answer: dict[str, object] = {"targets": base64.b64encode(json.dumps(targets).encode()).decode()}
        if sent:
            answer["target_files"] = [
                {"path": path, "raw": base64.b64encode(wanted[path]).decode()} for path in sent
            ]
        if wanted:
            answer["client_configs"] = list(wanted)
        return json.dumps(answer).encode()
