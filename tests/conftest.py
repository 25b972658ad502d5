"""Rules every test lives under: no network, an order from small to large, logs shown with a failure.

Unit tests reach no network at all: Unix sockets are open to them, and this machine where a test is marked
``loopback``. The other folders run real programs, so loopback is open to them and nothing else.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import pytest_socket

from tests.support import processes
from tests.support.postgres import NoPostgresError, PostgresServer, running_postgres

ORDER = ("unit", "way", "attacks", "interop", "browser", "load")
LOOPBACK = ["127.0.0.1", "::1", "0.0.0.0"]

# A deadline per example measures the neighbours on a busy machine, not the code.
hypothesis.settings.register_profile("sealwire", deadline=None)
hypothesis.settings.load_profile("sealwire")


def pytest_configure() -> None:
    """A run that is told to end ends what it started, as with Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _folder(path: Path) -> str:
    parts = path.relative_to(Path(__file__).parent).parts
    return parts[0] if len(parts) > 1 else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is quick and close to the fault comes first."""
    rank = {name: index for index, name in enumerate(ORDER)}
    items.sort(key=lambda item: rank.get(_folder(item.path), len(ORDER)))


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest) -> Iterator[None]:
    if _folder(request.node.path) == "unit" and request.node.get_closest_marker("loopback") is None:
        pytest_socket.disable_socket(allow_unix_socket=True)
    else:
        pytest_socket.socket_allow_hosts(LOOPBACK, allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()
    pytest_socket._remove_restrictions()


@pytest.fixture(autouse=True)
def _programs_end() -> Iterator[None]:
    """A program that a test started does not outlive it (a session's own, such as PostgreSQL, does)."""
    before = list(processes.of_this_test)
    processes.of_this_test.clear()
    yield
    for program in processes.of_this_test:
        if program.name != "postgres":
            program.stop()
    processes.of_this_test[:] = before
    processes.explanations.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed:  # type: ignore[attr-defined]  # a wrapper is sent the report
        sections = [(f"log of {program.name}", program.tail(200)) for program in processes.of_this_test]
        sections += [(title, _explained(explain)) for title, explain in processes.explanations]
        report.sections.extend(sections)  # type: ignore[attr-defined]  # a wrapper is sent the report
    return report


def _explained(explain: Callable[[], str]) -> str:
    try:
        return explain()
    except Exception as error:  # the program may be the one that died; the report goes on without it
        return f"(nothing to tell: {error!r})"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One real PostgreSQL for the whole run; skips where there is none."""
    try:
        running = running_postgres()
        server = running.__enter__()
    except NoPostgresError as missing:
        pytest.skip(str(missing))
    try:
        yield server
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy address of a fresh, empty database, dropped after the test."""
    name = postgres_server.create_database()
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)
