"""One database, SQLite or PostgreSQL, with two kinds of transaction: reading and writing.

SQLite runs in WAL with ``synchronous=FULL``: a version that was issued must survive a power cut, or it
would be issued twice. A writing transaction takes SQLite's lock at its start (``BEGIN IMMEDIATE``);
on PostgreSQL the row of the organisation in ``domains`` is locked instead (``write.lock_domain``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import sqlalchemy as sa
from sqlalchemy import event

from sealwire.errors import ConflictError, SettingsError, UnavailableError
from sealwire.server.store import (  # noqa: F401 - their tables are tables too
    audit,
    debugger_series_tables,
    debugger_tables,
    probe_tables,
    security_tables,
    symbol_tables,
)


class Database:
    """Opens connections; holds no state of its own besides the pool."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        options: dict[str, Any] = {} if self.is_sqlite else {"pool_size": 5, "pool_pre_ping": True}
        try:
            self._engine = sa.create_engine(url, **options)
        except (sa.exc.ArgumentError, ImportError) as error:
            raise SettingsError(f"database_url is not usable: {error}.") from error
        if self.is_sqlite:
            event.listen(self._engine, "connect", _set_up_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        self._writing = self._engine.execution_options(sealwire_write=True)
        self._reading = (
            self._engine
            if self.is_sqlite  # whose every transaction sees one state
            else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads; sees one state of the database.

        Raises:
            UnavailableError: The database does not answer.
        """
        with _unavailable(), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes: all of it, or nothing.

        Raises:
            UnavailableError: The database does not answer.
            ConflictError: There is a row with the same key already.
        """
        with _unavailable(), self._writing.begin() as connection, audit.at_the_end(connection):
            yield connection

    def migrate(self) -> None:
        """Bring the tables to the version this program needs; safe to run at each start."""
        config = alembic.config.Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["engine"] = self._writing
        alembic.command.upgrade(config, "head")
        with self.write() as connection:
            audit.chain_old_events(connection)

    def backup_to(self, file: Path) -> None:
        """Copy the whole of a SQLite database, as of one moment, while it is in use.

        Raises:
            SettingsError: On PostgreSQL, whose own tools do this better.
        """
        if not self.is_sqlite:
            raise SettingsError("This database is PostgreSQL: back it up with pg_dump.")
        with self._engine.connect() as connection:
            source = connection.connection.driver_connection
            if not isinstance(source, sqlite3.Connection):
                raise RuntimeError("a SQLite engine gave another connection")
            with sqlite3.connect(file) as target:
                source.backup(target)
            target.close()

    def checkpoint(self) -> None:
        """Move all of a SQLite database into its one file, so that the file may be moved."""
        if self.is_sqlite:
            with self._engine.connect() as connection:
                driver = connection.connection.driver_connection
                if isinstance(driver, sqlite3.Connection):
                    driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._engine.dispose()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except sa.exc.OperationalError as error:
        raise UnavailableError(
            "The database does not answer; nothing was changed. Try again.", detail=str(error)
        ) from error
    except sa.exc.IntegrityError as error:
        # The statement's values, secrets among them, stay out of logs.
        raise ConflictError("Somebody else made the same thing first; look again.") from error.orig


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the begin event speaks for itself
    # Its own knows no letters but those of English.
    connection.create_function(
        "lower", 1, lambda text: text.lower() if isinstance(text, str) else text, deterministic=True
    )
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("sealwire_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
