"""The trace part of the Go Agent as a real process: takes what tracers send, passes it to a control plane."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.go_programs import go_program
from tests.support.processes import Program, clean_environment
from tests.support.stack import ControlPlane


class GoTraceAgent:
    """One host's trace agent, running once constructed.

    Args:
        compression: ``zstd``, which is the Agent's default, or ``gzip``.
        features: What its ``apm_config.features`` would say.
    """

    def __init__(
        self,
        folder: Path,
        control_plane: ControlPlane,
        *,
        hostname: str = "host-go",
        api_key: str | None = None,
        compression: str = "zstd",
        features: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.program = Program(
            [
                go_program("go_trace"),
                *("--url", control_plane.url),
                *("--api-key", api_key or control_plane.api.new_api_key(f"Go Agent on {hostname}")),
                *("--ca", str(control_plane.ca_file)),
                *("--hostname", hostname),
                *("--compression", compression),
                *("--features", ",".join(features)),
            ],
            name=f"Go trace agent on {hostname}",
            log=folder / "log",
            environment=clean_environment(),
        )
        self.url = "http://" + self.program.wait_for_line(r"^listening on (\S+)")[1]

    def complaints(self) -> list[str]:
        """Warnings and errors since it was started."""
        return re.findall(r"^agent (?:warn|error|critical): .*", self.program.said(), re.M)

    def stop(self) -> None:
        """End it as an operator would: it sends all it still has, statistics as well."""
        assert self.program.stop() == 0, self.program.tail()

    def __enter__(self) -> GoTraceAgent:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.stop()
