"""What probes brought, in the store: on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwire.server.store import debugger as store
from sealwire.server.store.database import Database
from sealwire.server.store.debugger import (
    CountRow,
    Held,
    Kept,
    SealedSnapshot,
    SettingsRow,
    StatusRow,
    Wanted,
)

ORG, OTHER = 1, 2
NOW = 1_795_357_420_000


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'x.db'}" if request.param == "sqlite" else ""
    made = Database(url or request.getfixturevalue("postgres_dsn"))
    made.migrate()
    yield made
    made.close()


def sealed(number: int, **changes: Any) -> SealedSnapshot:
    kept = Kept(
        f"s{number}", "p", 1, NOW + number, "shop", "prod", "1", "web-1", "python", "t", "1", True, 0, 900,
        None,
    )  # fmt: skip
    return SealedSnapshot(kept._replace(**changes), b"m" * 10, b"d" * 90)


def test_snapshots_are_put_once_found_and_dropped(database: Database) -> None:
    with database.write() as c:
        store.put_snapshots(c, ORG, [sealed(number) for number in range(6)])
        store.put_snapshots(c, ORG, [sealed(3, service="again"), sealed(6, probe_id="q", errors=2**31 - 1)])
        store.put_snapshots(c, OTHER, [sealed(1)])
    with database.read() as c:
        found = store.snapshots(c, ORG, Wanted(), limit=50)
        assert [one.snapshot_id for one in found] == ["s6", "s5", "s4", "s3", "s2", "s1", "s0"]
        assert found[3] == sealed(3).kept
        assert store.snapshots(c, ORG, Wanted(has_errors=True), limit=1) == [found[0]]
        assert store.snapshots(c, ORG, Wanted(before=(NOW + 1, "s1")), limit=9) == [found[-1]]
        assert store.snapshots(c, ORG, Wanted(probe_id="p' or 1=1 --"), limit=9) == []
        assert sorted(store.sealed_snapshots(c, ORG, ["s1", "s2", "no"])) == [sealed(1), sealed(2)]
        assert store.sealed_messages(c, ORG, ["s1", "no"]) == {"s1": b"m" * 10}
        assert store.held(c, ORG) == {"p": Held(6, 600), "q": Held(1, 100)}
    with database.write() as c:
        assert store.forget_snapshots(c, ORG, probe_id="p", most=2) == {"p": Held(2, 200)}
        assert store.forget_snapshots(c, ORG, before_ms=NOW + 3, most=9) == {"p": Held(1, 100)}
        assert store.forget_snapshots(c, ORG, most=9)["q"] == Held(1, 100)
        assert store.held(c, ORG) == {}
        assert store.held(c, OTHER) == {"p": Held(1, 100)}


def test_counts_add_up_whoever_counted(database: Database) -> None:
    with database.write() as c:
        store.add_counts(c, ORG, {})
        store.add_counts(c, ORG, {"p": CountRow(5, 1, 2, NOW), "q": CountRow(0, 1, 0, 7)})
        store.add_counts(c, ORG, {"p": CountRow(2**40, 0, 0, NOW - 5)})
    with database.write() as c:
        assert store.load_counts(c, ORG)["p"] == CountRow(5 + 2**40, 1, 2, NOW)
        store.forget_counts(c, ORG, before_ms=8)
        assert set(store.load_counts(c, ORG)) == {"p"}
        assert store.load_counts(c, OTHER) == {}


def test_the_last_that_a_process_said_is_what_is_there(database: Database) -> None:
    first = StatusRow("p", 1, "run", "", "shop", "prod", "web-1", "RECEIVED", NOW, NOW, NOW, "")
    last = first._replace(status="ERROR", at_ms=NOW + 1, seen_ms=NOW + 2, failure='["T","ä✓",""]')
    with database.write() as c:
        store.put_statuses(c, ORG, [first, first._replace(version=2)])
        store.put_statuses(c, ORG, [last])
    with database.write() as c:
        assert store.load_statuses(c, ORG) == [first._replace(version=2), last]
        store.forget_statuses(c, ORG, before_ms=NOW + 1)
        assert store.load_statuses(c, ORG) == [last]
        another = first._replace(runtime_id="other")
        store.put_statuses(c, ORG, [another, first._replace(version=2)])
        store.put_statuses(c, OTHER, [first])
        store.remove_statuses(c, ORG, [])
        store.remove_statuses(c, ORG, [("p", "run"), ("q", "other")])
        assert store.load_statuses(c, ORG) == [another]
        assert store.load_statuses(c, OTHER) == [first]


def test_settings_are_replaced(database: Database) -> None:
    with database.write() as c:
        assert store.load_settings(c, ORG) is None
        store.save_settings(c, ORG, SettingsRow(1, "{}", "ada", NOW))
        store.save_settings(c, ORG, SettingsRow(2, "{}", "bob", NOW))
    with database.read() as c:
        assert store.load_settings(c, ORG) == SettingsRow(2, "{}", "bob", NOW)
        assert store.load_settings(c, OTHER) is None


def test_every_query_is_asked_here() -> None:
    source = Path(__file__).read_text()
    for name, function in inspect.getmembers(store, inspect.isfunction):
        takes = list(inspect.signature(function).parameters)
        if function.__module__ == store.__name__ and not name.startswith("_") and takes[:1] == ["c"]:
            assert f"store.{name}(" in source, name
