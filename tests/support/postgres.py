"""A real PostgreSQL for the store's tests: one server per run, one fresh database per test.

It listens on a Unix socket and on a loopback port, lives in a folder of its own and is stopped by its pid.
PostgreSQL refuses to run as root, so root's tests run it as ``postgres`` or ``nobody``.
"""

from __future__ import annotations

import glob
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

from tests.support.processes import NotReadyError, Program, clean_environment

_numbers = count(1)


class NoPostgresError(Exception):
    """There is no PostgreSQL to start here; the sentence says why, for the reason of a skip."""


def find_binaries() -> Path:
    """The folder of the newest ``initdb`` and ``postgres`` on this machine."""
    newest_first = sorted(
        glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]), reverse=True
    )
    on_path = shutil.which("initdb")
    for folder in [*newest_first, *([os.path.dirname(os.path.realpath(on_path))] if on_path else [])]:
        if os.path.exists(f"{folder}/initdb") and os.path.exists(f"{folder}/postgres"):
            return Path(folder)
    raise NoPostgresError("no PostgreSQL here: neither initdb on PATH nor in /usr/lib/postgresql/*/bin")


def _unprivileged() -> tuple[int | None, int | None]:
    """User and group to run it as; None for the user we are."""
    if os.geteuid() != 0:
        return None, None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise NoPostgresError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


@dataclass
class PostgresServer:
    """A running server.

    Attributes:
        port: On 127.0.0.1.
        socket_folder: Where its Unix socket is.
    """

    port: int
    socket_folder: Path
    password: str = field(repr=False)
    program: Program

    def dsn(self, database: str) -> str:
        """The address of a database, as SQLAlchemy takes it."""
        return f"postgresql+psycopg://sealwire:{self.password}@127.0.0.1:{self.port}/{database}"

    def _admin(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.socket_folder), port=self.port, user="sealwire", dbname="postgres", autocommit=True
        )

    def create_database(self) -> str:
        """A fresh, empty database; returns its name."""
        name = f"test_{next(_numbers)}"
        with self._admin() as connection:
            connection.execute(f'create database "{name}"')  # a name cannot be a parameter; this one is ours
        return name

    def drop_database(self, name: str) -> None:
        with self._admin() as connection:
            connection.execute(f'drop database if exists "{name}" with (force)')


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server, and stop it at the end.

    Raises:
        NoPostgresError: There is none to start on this machine.
    """
    binaries = find_binaries()
    user, group = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="sw-pg-", dir="/tmp"))  # the path of a socket is short: 107 bytes
    try:
        password = secrets.token_urlsafe(16)
        password_file = folder / "password"
        password_file.write_text(password)
        if user is not None and group is not None:
            os.chown(folder, user, group)
            os.chown(password_file, user, group)
        environment = clean_environment({"LC_ALL": "C", "TZ": "UTC"})
        made = subprocess.run(
            [
                *(binaries / "initdb", "-D", folder / "data", "-U", "sealwire", "--pwfile", password_file),
                *("--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if made.returncode != 0:
            raise NoPostgresError(f"initdb failed: {(made.stderr or made.stdout).strip()[-400:]}")
        server = _start(binaries, folder, password, environment, user, group)
        try:
            yield server
        finally:
            server.program.signal(signal.SIGINT)  # "fast": open transactions are rolled back
            try:
                server.program.wait_for_end(timeout_s=20)
            except NotReadyError:
                server.program.kill9()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    binaries: Path,
    folder: Path,
    password: str,
    environment: dict[str, str],
    user: int | None,
    group: int | None,
) -> PostgresServer:
    for attempt in range(5):  # somebody may take the port between asking for a free one and listening on it
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_connections": "60",
            "shared_buffers": "32MB",
        }
        program = Program(
            [
                *(binaries / "postgres", "-D", folder / "data", "-p", str(port)),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            name="postgres",
            log=folder / f"log-{attempt}",
            environment=environment,
            cwd=folder,
            user=user,
            group=group,
        )
        try:
            program.wait_for_line("database system is ready to accept connections", timeout_s=60)
        except NotReadyError:
            if "Address already in use" in program.said() and attempt < 4:
                program.kill9()
                continue
            raise
        return PostgresServer(port=port, socket_folder=folder, password=password, program=program)
    raise AssertionError("unreachable")
