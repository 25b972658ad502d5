"""The Go Agent's remote-config service as a real process, with one tracer of its own.

``tests/interop/go`` runs the Agent's published modules, unmodified; here it is built, started, and read. It
prints a JSON line whenever what it sees changes, so every wait here ends with the picture that was wanted.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.go_programs import go_program
from tests.support.processes import Program, clean_environment, wait_until
from tests.support.stack import ControlPlane


def go_agent_program() -> Path:
    """The built program; skips where it is not built and cannot be."""
    return go_program("go")


@dataclass(frozen=True)
class Picture:
    """What one line of the program says: the Agent's and its tracer's state after a poll.

    Attributes:
        client: The tracer's client id.
        targets, root: Versions of the director that the tracer itself verified.
        files: What the tracer verified and holds, by path.
        client_configs: The paths of its last answer.
        answer_error: The Agent refused the tracer's poll.
        client_error: The tracer refused the Agent's answer.
        director, config: Versions in the Agent's database, by role.
        stored: Paths of the target files in the Agent's database.
        agent_error: The Agent's last error, as `agent status` would show it.
    """

    client: str
    targets: int
    root: int
    files: dict[str, str]
    client_configs: list[str]
    status: str
    answer_error: str
    client_error: str
    director: dict[str, int]
    config: dict[str, int]
    stored: list[str]
    agent_error: str
    org_enabled: str
    key_scoped: str

    def payload(self, product: str) -> Any:
        """The one file of a product; None while there is none."""
        found = [json.loads(text) for path, text in self.files.items() if f"/{product}/" in path]
        assert len(found) < 2, self.files
        return found[0] if found else None


class GoAgent:
    """One host's Go Agent and the application on it, running once constructed.

    Args:
        folder: Everything of it goes below; its database survives ``kill9`` and ``start``.
        service: The application's.
        refresh: The Agent's own interval, e.g. ``"5s"``; empty leaves it to the control plane.
        roots_of: Whose first roots it trusts, when not this control plane's.
    """

    def __init__(
        self,
        folder: Path,
        control_plane: ControlPlane,
        *,
        hostname: str = "host-go",
        service: str = "shop",
        env: str = "prod",
        products: tuple[str, ...] = ("ASM_FEATURES", "ASM_DATA"),
        api_key: str | None = None,
        refresh: str = "",
        roots_of: ControlPlane | None = None,
    ) -> None:
        self._program_file = go_agent_program()
        self.hostname, self.service = hostname, service
        self.database = folder / "run"
        self.database.mkdir(parents=True)
        self._log = folder / "log"
        roots = (roots_of or control_plane).api.get("/roots")["repositories"]
        for name in ("config", "director"):
            (folder / f"{name}.json").write_text(roots[name]["first_root"])
        self._arguments = [
            *("--url", control_plane.url),
            *("--api-key", api_key or control_plane.api.new_api_key(f"Go Agent on {hostname}")),
            *("--config-root-file", str(folder / "config.json")),
            *("--director-root-file", str(folder / "director.json")),
            *("--db", str(self.database)),
            *("--ca", str(control_plane.ca_file)),
            *("--hostname", hostname),
            *("--service", service),
            *("--env", env),
            *("--products", ",".join(products)),
        ]
        if refresh:
            self._arguments += ["--refresh", refresh]
        self.start()

    def start(self) -> None:
        self.program = Program(
            [self._program_file, *self._arguments],
            name=f"Go Agent on {self.hostname}",
            log=self._log,
            environment=clean_environment(),
        )

    def kill9(self) -> None:
        self.program.kill9()

    def new_application(self) -> None:
        """The application starts anew: a client that is not known and holds nothing.

        The Agent then asks the control plane at once, which also cuts a back-off short.
        """
        self.program.signal(signal.SIGHUP)

    def pictures(self) -> list[Picture]:
        """All it showed since it was started."""
        said = self.program.said()
        whole = said[: said.rfind("\n") + 1]
        return [Picture(**json.loads(line)) for line in whole.splitlines() if line.startswith("{")]

    def wait_for(self, wanted: Callable[[Picture], object], what: str, *, timeout_s: float = 20) -> Picture:
        """The picture once it is ``wanted``: the newest one, never one that has passed."""

        def newest() -> Picture | None:
            shown = self.pictures()
            return shown[-1] if shown and wanted(shown[-1]) else None

        return wait_until(
            newest, f"the Go Agent: {what}", timeout_s=timeout_s, every_s=0.05, program=self.program
        )

    def polls(self) -> int:
        """How many times it asked the control plane for configs since it was started."""
        return self.program.said().count("fetching configurations at ")

    def wait_for_polls(self, more: int, *, timeout_s: float = 30) -> None:
        """Wait until it has asked that many times more."""
        wanted = self.polls() + more
        wait_until(lambda: self.polls() >= wanted, f"{more} more polls", timeout_s=timeout_s, every_s=0.05)

    def complaints(self) -> list[str]:
        """Warnings and errors, of the Agent and between it and its tracer, since it was started."""
        logged = re.findall(r"^agent (?:warn|error|critical): .*", self.program.said(), re.M)
        refused = [p.answer_error or p.client_error for p in self.pictures()]
        return logged + [why for why in refused if why]

    def keeps(self, wanted: bytes) -> bool:
        """Whether ``wanted`` is anywhere in its database."""
        return any(wanted in file.read_bytes() for file in self.database.rglob("*") if file.is_file())

    def __enter__(self) -> GoAgent:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.stop()
