"""A tracer as the agent sees it: polls, keeps files, reports states. Bytes in, bytes out."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass
class FakeTracer:
    """One Remote Configuration client of an application.

    Attributes:
        files: What it holds, by path.
        apply_state: What it reports of every config.
    """

    client_id: str = "client-1"
    service: str = "shop"
    env: str = "prod"
    language: str = "python"
    tracer_version: str = "4.16.0"
    products: list[str] = field(default_factory=lambda: ["ASM_DATA", "ASM_FEATURES"])
    apply_state: int = 2
    targets_version: int = 0
    root_version: int = 1
    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    keeps_files: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    def request(self) -> bytes:
        """Its next poll."""
        states = [
            {
                "id": path.split("/")[-2],
                "version": self.versions[path],
                "product": path.split("/")[-3],
                "apply_state": self.apply_state,
                "apply_error": "",
            }
            for path in sorted(self.files)
        ]
        cached = [
            {
                "path": path,
                "length": len(raw),
                "hashes": [{"algorithm": "sha256", "hash": hashlib.sha256(raw).hexdigest()}],
            }
            for path, raw in sorted(self.files.items())
        ]
        return orjson.dumps(
            {
                "client": {
                    "state": {
                        "root_version": self.root_version,
                        "targets_version": self.targets_version,
                        "config_states": states,
                        "has_error": False,
                        "error": "",
                        "backend_client_state": "",
                    },
                    "id": self.client_id,
                    "products": self.products,
                    "is_tracer": True,
                    "client_tracer": {
                        "runtime_id": f"runtime of {self.client_id}",
                        "language": self.language,
                        "tracer_version": self.tracer_version,
                        "service": self.service,
                        "env": self.env,
                        "app_version": "1.0",
                        "tags": [],
                    },
                    "capabilities": "AA==",
                    **self.extra,
                },
                "cached_target_files": cached if self.keeps_files else [],
            }
        )

    def take(self, body: bytes) -> bool:
        """Apply an answer as a tracer that checks hashes does; whether it was anything new."""
        if body == b"{}":
            return False
        answer = orjson.loads(body)
        assert None not in answer.values()
        if answer.get("config_status") == 1:
            self.files.clear()
            return True
        signed = orjson.loads(base64.b64decode(answer["targets"]))["signed"]
        sent = {each["path"]: base64.b64decode(each["raw"]) for each in answer.get("target_files", ())}
        held = {}
        for path in answer.get("client_configs", ()):
            raw = sent.get(path, self.files.get(path))
            assert raw is not None, f"{path} was neither sent nor held"
            assert signed["targets"][path]["hashes"]["sha256"] == hashlib.sha256(raw).hexdigest()
            held[path] = raw
            self.versions[path] = signed["targets"][path]["custom"]["v"]
        self.files = held
        self.targets_version = signed["version"]
        for root in answer.get("roots", ()):
            self.root_version = orjson.loads(base64.b64decode(root))["signed"]["version"]
        return True
