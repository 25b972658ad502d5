"""A small admin API in this process: configs with revisions, and canned answers for the rest."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "app-key-of-the-test"
BASE = "/api/admin/v1"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass
class StubAdmin:
    """What the control plane holds, and what it was asked.

    Attributes:
        configs: By id.
        canned: Answers by ``METHOD /path``: a document, or (status, document).
        interfere: Called before each write of a config with how many there were; to be somebody else.
    """

    url: str = ""
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    canned: dict[str, Any] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    interfere: Callable[[int], None] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    _writes: int = 0

    def add(
        self, product: str, name: str, payload: dict[str, Any], targeting: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        number = len(self.configs) + 1
        config = {
            "id": f"{number:016x}",
            "product": product,
            "name": name,
            "targeting": targeting or {},
            "payload": payload,
            "revision": 1,
            "state": "active",
            "created_at": f"2026-11-22T17:00:{number:02d}Z",
            "updated_at": f"2026-11-22T17:00:{number:02d}Z",
            "updated_by": "admin",
            "comment": "",
            "deliveries": {"wanted": 2, "acknowledged": 1, "applying": 1, "failed": 0},
        }
        self.configs[config["id"]] = config
        return config

    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.method != "GET"]

    def only_write(self) -> Request:
        (request,) = self.writes()
        return request

    def answer(self, request: Request) -> tuple[int, Any]:
        self.requests.append(request)
        canned = self.canned.get(f"{request.method} {request.path}")
        if canned is not None:
            return canned if isinstance(canned, tuple) else (200, canned)
        if request.path == "/configs" and request.method == "GET":
            product, state = request.query.get("product"), request.query.get("state", "active")
            listed = [
                config
                for config in self.configs.values()
                if product in (None, config["product"]) and state in ("all", config["state"])
            ]
            return 200, {"configs": listed}
        if request.path == "/configs" and request.method == "POST":
            made = self.add(
                request.body["product"],
                request.body.get("name", ""),
                request.body["payload"],
                request.body.get("targeting"),
            )
            return 201, made
        if found := re.fullmatch(r"/configs/([^/]+)", request.path):
            return self._one_config(unquote(found[1]), request)
        return 404, {
            "status": 404,
            "code": "not_found",
            "title": "Not found",
            "detail": "There is no such thing here.",
        }

    def _one_config(self, config_id: str, request: Request) -> tuple[int, Any]:
        config = self.configs.get(config_id)
        if config is None:
            return 404, {"status": 404, "code": "not_found", "detail": f"There is no config {config_id}."}
        if request.method == "GET":
            return 200, config
        self._writes += 1
        if self.interfere is not None:
            self.interfere(self._writes)
        expected = (
            int(request.query["expected_revision"])
            if request.method == "DELETE"
            else request.body["expected_revision"]
        )
        if expected != config["revision"]:
            return 409, {
                "status": 409,
                "code": "conflict",
                "detail": "Somebody changed it first.",
                "expected_revision": expected,
                "actual_revision": config["revision"],
            }
        config["revision"] += 1
        if request.method == "DELETE":
            config["state"] = "retired"
        else:
            config.update({key: value for key, value in request.body.items() if key != "expected_revision"})
        return 200, config


@contextmanager
def running_stub() -> Iterator[StubAdmin]:
    stub = StubAdmin()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            stub.headers = dict(self.headers.items())
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                status, document = 401, {"status": 401, "detail": "This application key is not known."}
            else:
                path = parts.path.removeprefix(BASE)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                request = Request(self.command, path, query, json.loads(raw) if raw else None)
                status, document = stub.answer(request)
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header(
                "Content-Type", "application/json" if status < 300 else "application/problem+json"
            )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - names of http.server

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
