"""A control plane that answers what it is told to, over HTTPS: for verifiers under attack.

It signs nothing and knows nothing. A test puts prepared answers in place one after the other, and looks at
what was asked. Both our agent and the Rust verifier can be pointed at it.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sealwire.server import certificate
from sealwire.trust.uptane import Answer, RepositoryParts
from sealwire.wire import remoteconfig_pb2 as pb

CONFIGURATIONS = "/api/v0.1/configurations"


@dataclass(frozen=True)
class Asked:
    """One request for configurations."""

    headers: Mapping[str, str]
    message: pb.LatestConfigsRequest


class ReplayServer:
    """Serve on a loopback port until closed; also as a context manager.

    Attributes:
        answer: The body of the next answers, or an HTTP status to fail with.
        org_uuid: What ``/api/v0.1/org`` says; None fails with 500.
        asked: Every request for configurations, in order.
        ca_file: What clients must trust.
    """

    def __init__(self, folder: Path, *, org_uuid: str | None) -> None:
        self.answer: bytes | int = 503
        self.org_uuid = org_uuid
        self.asked: list[Asked] = []
        made = certificate.prepare(folder / "replay-tls", (), now=datetime.now(UTC))
        self.ca_file = folder / "replay-ca.pem"
        self.ca_file.write_text(made.ca_pem)
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _reply(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, body = server._reply(self.path, dict(self.headers.items()), raw)
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _reply  # noqa: N815 - names the standard library looks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                return

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.cert_file, made.key_file)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, name="replay", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> ReplayServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reply(self, path: str, headers: Mapping[str, str], raw: bytes) -> tuple[int, bytes]:
        if path == "/api/v0.1/org":
            if self.org_uuid is None:
                return 500, b""
            return 200, pb.OrgDataResponse(uuid=self.org_uuid).SerializeToString()
        if path == "/api/v0.1/status":
            return 200, pb.OrgStatusResponse(enabled=True, authorized=True).SerializeToString()
        if path != CONFIGURATIONS:
            return 404, b""
        self.asked.append(Asked(headers, pb.LatestConfigsRequest.FromString(raw)))
        if isinstance(self.answer, int):
            return self.answer, b""
        return 200, self.answer


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up or refuses our certificate is no fault of the test."""


def to_wire(answer: Answer) -> bytes:
    """An answer as a control plane sends it. An absent part stays absent."""
    message = pb.LatestConfigsResponse()
    for metas, parts in ((message.config_metas, answer.config), (message.director_metas, answer.director)):
        _put_common(metas, parts)
    if answer.config.targets is not None:
        message.config_metas.topTargets.CopyFrom(_meta(answer.config.targets))
    for role, raw in answer.config.delegated.items():
        message.config_metas.delegatedTargets.add(role=role, version=_version(raw), raw=raw)
    if answer.director.targets is not None:
        message.director_metas.targets.CopyFrom(_meta(answer.director.targets))
    for path, raw in answer.files.items():
        message.target_files.add(path=path, raw=raw)
    return message.SerializeToString()


def _put_common(metas: pb.ConfigMetas | pb.DirectorMetas, parts: RepositoryParts) -> None:
    for raw in parts.roots:
        metas.roots.append(_meta(raw))
    if parts.timestamp is not None:
        metas.timestamp.CopyFrom(_meta(parts.timestamp))
    if parts.snapshot is not None:
        metas.snapshot.CopyFrom(_meta(parts.snapshot))


def _meta(raw: bytes) -> pb.TopMeta:
    return pb.TopMeta(version=_version(raw), raw=raw)


def _version(raw: bytes) -> int:
    """What the document claims, if it fits; 0 where an attack left no document."""
    try:
        version = int(json.loads(raw)["signed"]["version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return version if 0 <= version < 2**64 else 0
