"""The Uptane client that ships inside the ddtrace wheel, as a judge of what we sign.

Datadog's own Rust code, unmodified, in a process of its own: it is given our first roots, talks to a server
of ours and says what it accepted. It insists on ``https://config.<site>``; a site of the form
``x@127.0.0.1:PORT`` makes that a URL with a user name in it, so no name resolution needs to be faked.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.clients import APPS, require_ddtrace
from tests.support.processes import clean_environment

LINE = "ddtrace4"


@dataclass(frozen=True)
class Verdict:
    """What became of one poll.

    Attributes:
        ok: Everything was verified (or there was nothing new).
        error: Its words when it was not.
        changes: Contents by path; None for a config that is gone.
        interval_s: When it would ask next.
    """

    ok: bool
    error: str
    changes: dict[str, str | None] = field(default_factory=dict)
    interval_s: float = 0.0


class RustVerifier:
    """One such client, from its first roots on; also as a context manager.

    Attributes:
        held: Contents by path of all it accepted so far.
    """

    def __init__(
        self,
        *,
        port: int,
        ca_file: Path,
        director_root: bytes,
        config_root: bytes,
        log_folder: Path,
        api_key: str = "0" * 32,
        hostname: str = "host-rust",
    ) -> None:
        python = require_ddtrace(LINE) / "python"
        self.held: dict[str, str] = {}
        self._log = (log_folder / "rust-verifier.log").open("ab")
        self._process = subprocess.Popen(
            [str(python), str(APPS / "rust_verifier.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=clean_environment(
                {"SSL_CERT_FILE": str(ca_file), "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}
            ),
        )
        self._who = {"site": f"x@127.0.0.1:{port}", "api_key": api_key, "hostname": hostname}
        self.begin(director_root=director_root, config_root=config_root)

    def begin(self, *, director_root: bytes, config_root: bytes) -> None:
        """Start over with a fresh client that trusts these roots and has asked for nothing yet."""
        self.held.clear()
        self._order(
            {**self._who, "config_root": config_root.decode(), "director_root": director_root.decode()}
        )

    def poll(self, *products: str) -> Verdict:
        """Ask once, for configs of these products."""
        told = self._order({"products": list(products)})
        changes = {str(path): content for path, content in told["changes"]}
        for path, content in changes.items():
            if content is None:
                self.held.pop(path, None)
            else:
                self.held[path] = content
        return Verdict(told["ok"], told["error"], changes, told["interval_s"])

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> RustVerifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _order(self, order: Mapping[str, object]) -> dict[str, object]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the verifier ended with {self._process.wait(5)}; see {self._log.name}"
        told: dict[str, object] = json.loads(line)
        return told
