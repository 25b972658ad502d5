"""The PostgreSQL the store's tests run on."""

from __future__ import annotations

import psycopg
import pytest

pytestmark = pytest.mark.interop


def _connect(dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(dsn.replace("postgresql+psycopg://", "postgresql://"), autocommit=True)


def test_a_database_is_there_and_is_utf8(postgres_dsn: str) -> None:
    with _connect(postgres_dsn) as connection:
        encoding = connection.execute("show server_encoding").fetchone()

    assert encoding == ("UTF8",)


@pytest.mark.parametrize("time", ["first", "second"])
def test_every_test_gets_an_empty_one(postgres_dsn: str, time: str) -> None:
    with _connect(postgres_dsn) as connection:
        connection.execute("create table left_behind (time text)")  # fails if the other run's table were here
        connection.execute("insert into left_behind values (%s)", (time,))
