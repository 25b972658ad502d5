"""What a probe has besides its config, and stops, in the store: on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.server.store import probes as store
from sealwire.server.store import rows, write
from sealwire.server.store.database import Database
from sealwire.server.store.probes import NoteRow, Stop

ORG, OTHER = 1, 2
NOW = 1_795_357_420_000
PRODUCT = "LIVE_DEBUGGING"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'x.db'}" if request.param == "sqlite" else ""
    made = Database(url or request.getfixturevalue("postgres_dsn"))
    made.migrate()
    yield made
    made.close()


def config(number: int, state: str = "active", *, org_id: int = ORG, **changes: object) -> rows.ConfigRow:
    values: dict[str, object] = {
        "org_id": org_id, "config_id": f"{number:016x}", "product": PRODUCT, "name": "n",
        "targeting": {"service": ["shop"]}, "payload": b"{}", "revision": 1, "state": state,
        "created_ms": 1, "updated_ms": 2, "updated_by": "ann", "comment": "", "expires_ms": None,
        "generation": number,
    }  # fmt: skip
    return rows.ConfigRow(**{**values, **changes})  # type: ignore[arg-type]  # by name


def test_probes_are_told_apart_by_what_became_of_them(database: Database) -> None:
    made = [
        config(1),
        config(2, expires_ms=NOW - 1),
        config(3, "retired"),
        config(4, "retired"),
        config(5, "retired", revision=7),
        config(6, product="ASM"),
        config(7, org_id=OTHER),
    ]
    with database.write() as c:
        for row in made:
            write.put_config(c, row, expected_revision=None)
        store.put_note(c, ORG, NoteRow("0000000000000001", 60))
        store.put_note(c, ORG, NoteRow("0000000000000004", 5, 1, NOW, "ann", "s1"))
        store.put_note(c, ORG, NoteRow("0000000000000005", 5, 6, NOW, "ann", ""))  # paused, then resumed
        store.put_note(c, OTHER, NoteRow("0000000000000003", 5, 1, NOW, "ann", ""))
    with database.read() as c:

        def found(live: bool, over: bool) -> list[int]:
            listed = store.probe_configs(c, ORG, PRODUCT, live=live, over=over, now_ms=NOW)
            return [int(row.config_id, 16) for row, _ in listed]

        assert (found(True, False), found(False, True)) == ([4, 1], [5, 3, 2])
        assert found(True, True) == [5, 4, 3, 2, 1]
        listed = store.probe_configs(c, ORG, PRODUCT, live=True, over=False, now_ms=NOW)
        assert listed[0] == (made[3], NoteRow("0000000000000004", 5, 1, NOW, "ann", "s1"))
        assert store.notes(c, ORG, ["0000000000000001", "none"]).keys() == {"0000000000000001"}
        assert len(store.notes(c, ORG)) == 3
        assert store.notes(c, ORG, stop_id="s1").keys() == {"0000000000000004"}


def test_a_stop_holds_until_it_is_lifted_once(database: Database) -> None:
    first, second = Stop("s1", "shop", "", "why", "ann", NOW, 3), Stop("s2", "", "", "", "bob", NOW + 1, 0)
    with database.write() as c:
        store.add_stop(c, ORG, first)
        store.add_stop(c, ORG, second)
        store.add_stop(c, OTHER, first)
    with database.write() as c:
        assert store.stops(c, ORG) == [second, first]
        lifted = store.lift_stop(c, ORG, "s1", by="eve", now_ms=NOW + 5)
        assert lifted == Stop("s1", "shop", "", "why", "ann", NOW, 3, "eve", NOW + 5)
        assert store.lift_stop(c, ORG, "s1", by="eve", now_ms=NOW + 6) is None
        assert store.lift_stop(c, ORG, "none", by="eve", now_ms=NOW) is None
    with database.read() as c:
        assert store.stops(c, ORG) == [second]
        assert store.stops(c, ORG, over=True) == [second, lifted]
        assert store.stops(c, OTHER) == [first]


def test_however_many_stops_somebody_makes_the_first_one_still_holds(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_LISTED", 3)
    with database.write() as c:
        store.add_stop(c, ORG, Stop("first", "", "", "all of it", "ada", NOW, 0))
        for number in range(5):
            store.add_stop(c, ORG, Stop(f"s{number}", "", "dev", "", "eve", NOW + 1 + number, 0))
        assert store.lift_stop(c, ORG, "s4", by="eve", now_ms=NOW + 9) is not None
    with database.read() as c:
        assert [stop.stop_id for stop in store.stops(c, ORG)] == ["s3", "s2", "s1", "s0", "first"]
        assert [stop.stop_id for stop in store.stops(c, ORG, over=True)][:2] == ["s4", "s3"]


def test_every_query_is_asked_here() -> None:
    source = Path(__file__).read_text()
    for name, function in inspect.getmembers(store, inspect.isfunction):
        takes = list(inspect.signature(function).parameters)
        if function.__module__ == store.__name__ and not name.startswith("_") and takes[:1] == ["c"]:
            assert f"store.{name}(" in source, name
