"""The command line against a stub of the admin API in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sealwire.__main__ import main
from tests.unit.cli.stub import KEY, StubAdmin, running_stub

NOW = datetime(2026, 11, 22, 17, 5, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Ran:
    """What one command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def admin() -> Iterator[StubAdmin]:
    with running_stub() as stub:
        yield stub


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a profile and without settings in the environment."""
    for name in ("SEALWIRE_URL", "SEALWIRE_APPLICATION_KEY", "SEALWIRE_CA_FILE", "SEALWIRE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("sealwire.cli.main.utc_now", lambda: NOW)
    return tmp_path


@pytest.fixture
def run_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command as a user who has no profile."""

    def run(*words: str) -> Ran:
        code = main(list(words))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def run(admin: StubAdmin, run_alone: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as the administrator of the stub."""
    monkeypatch.setenv("SEALWIRE_URL", admin.url)
    monkeypatch.setenv("SEALWIRE_APPLICATION_KEY", KEY)
    return run_alone
