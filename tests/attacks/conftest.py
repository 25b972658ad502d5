"""What attacks need: one certificate for the run, and a bench for each test."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import sealwire.agent.upstream as upstream_module
import sealwire.clock
from sealwire.server import certificate
from tests.attacks.bench import Bench


@pytest.fixture(scope="session")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority of the honest control plane; its certificate lies beside it."""
    folder = tmp_path_factory.mktemp("attacked")
    made = certificate.prepare(folder, (), now=datetime.now(UTC))
    ca_file = folder / "agents-ca.pem"
    ca_file.write_text(made.ca_pem)
    return ca_file


@pytest.fixture(scope="session")
def tls(ca_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca_file.parent / "server.pem", ca_file.parent / "server.key")
    return context


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses in hundredths of what they are; that they happen is tested elsewhere."""
    monkeypatch.setattr(upstream_module, "QUICK_START_S", 0.01)
    monkeypatch.setattr(upstream_module, "QUICK_CAP_S", 0.05)
    monkeypatch.setattr(upstream_module, "COALESCE_S", 0.01)
    monkeypatch.setattr(upstream_module, "GATHER_S", 0.001)
    monkeypatch.setattr(sealwire.clock, "_OFFSET", timedelta())


@pytest.fixture
def new_bench(
    tmp_path: Path, tls: ssl.SSLContext, ca_file: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[], Bench]]:
    """Benches that are not started yet, for tests that arrange more than the usual before."""
    benches: list[Bench] = []
    # A socket's path has at most 107 bytes, which a test's own folder may use up alone.
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as short:

        def make() -> Bench:
            number = len(benches)
            bench = Bench(
                tmp_path / str(number),
                tls=tls,
                ca_file=ca_file,
                socket=Path(short) / f"{number}.socket",
                real_process=getattr(request, "param", "") == "real process",
            )
            bench.folder.mkdir()
            benches.append(bench)
            return bench

        yield make
        for bench in benches:
            bench.close()


@pytest.fixture
def bench(new_bench: Callable[[], Bench]) -> Bench:
    """The honest state every attack begins with."""
    return new_bench().start()
