"""What probes gave in numbers and in traces, in the store: on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.server.store import debugger_series as store
from sealwire.server.store.database import Database
from sealwire.server.store.debugger_series import BlockKey, BlockRow, ProbeStored, SpanCountRow, SpanRow

ORG, OTHER = 1, 2
NOW = 1_795_357_420_000


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'x.db'}" if request.param == "sqlite" else ""
    made = Database(url or request.getfixturevalue("postgres_dsn"))
    made.migrate()
    yield made
    made.close()


def block(number: int, probe: str = "p", metric: str = "m", total: bytes = b"tt") -> BlockRow:
    return BlockRow(BlockKey(probe, NOW + number * 10_000, metric, "d"), total, b"sets\x00")


def span(number: int, probe: str = "p", env: str = "prod") -> SpanRow:
    return SpanRow(0, probe, NOW + number, "shop", env, f"{number:032x}", b"sealed\x00")


def test_blocks_are_replaced_found_and_dropped(database: Database) -> None:
    rows = [block(number) for number in range(300)]
    with database.write() as c:
        store.lock_series(c, ORG)
        store.put_blocks(c, ORG, rows)
        store.put_blocks(c, ORG, [block(7, total=b"another"), block(1, "q"), block(1, metric="'; --")])
        store.put_blocks(c, OTHER, [block(1)])
        store.put_blocks(c, ORG, [])
    with database.read() as c:
        keys = {row.key for row in rows} | {block(999).key}
        found = store.blocks(c, ORG, keys)
        assert set(found) == {row.key for row in rows}
        assert found[block(7).key].total == b"another"
        some = list(store.series(c, ORG, "p", since_ms=NOW + 60_000, until_ms=NOW + 80_000, with_sets=True))
        assert some == [block(6), block(7, total=b"another")]
        bare = list(store.series(c, ORG, "q", since_ms=0, until_ms=2**53, with_sets=False))
        assert bare == [block(1, "q")._replace(sets=b"")]
        assert store.newest_blocks(c, ORG, limit=2) == [block(298), block(299)]
        assert sorted(store.probes_stored(c, ORG)) == [
            ProbeStored("p", 301, 301 * 7 + 5, NOW + 299 * 10_000),
            ProbeStored("q", 1, 7, NOW + 10_000),
        ]
        assert store.oldest_blocks_until(c, ORG, count=1) == NOW + 10_000
        assert store.oldest_blocks_until(c, ORG, count=1_000) is None
    with database.write() as c:
        assert store.forget_blocks(c, ORG, before_ms=NOW + 299 * 10_000) == 301
    with database.read() as c:
        assert [each.blocks for each in store.probes_stored(c, ORG)] == [1]
        assert [each.blocks for each in store.probes_stored(c, OTHER)] == [1]


def test_spans_are_found_and_the_newest_stay(database: Database) -> None:
    with database.write() as c:
        store.put_spans(c, ORG, [span(number) for number in range(6)])
        store.put_spans(c, ORG, [span(9, "q"), span(7, env="stage")])
        store.put_spans(c, OTHER, [span(1)])
        store.put_spans(c, OTHER, [])
    with database.read() as c:
        found = store.spans(c, ORG, "p")
        assert [row.at_ms - NOW for row in found] == [7, 5, 4, 3, 2, 1, 0]
        assert found[0]._replace(row_id=0) == span(7, env="stage")
        assert store.spans(c, ORG, "p", before=found[4].row_id) == found[5:]
        assert store.spans(c, ORG, "p", env="stage", service="shop") == found[:1]
        assert store.spans(c, ORG, "p", trace_id=f"{3:032x}\0") == [found[3]]
        assert store.spans(c, ORG, "p", since_ms=NOW + 5, limit=1) == found[:1]
        assert store.spans(c, ORG, "p' or 1=1 --") == []
    with database.write() as c:
        assert store.forget_spans(c, ORG, before_ms=NOW + 1, newest=4, newest_of_each=5) == 4
    with database.read() as c:
        assert [row.at_ms - NOW for row in store.spans(c, ORG, "p")] == [7, 5, 4]
        assert len(store.spans(c, ORG, "q")) == 1
        assert len(store.spans(c, OTHER, "p")) == 1


def test_counts_of_spans_add_up(database: Database) -> None:
    with database.write() as c:
        store.add_span_counts(c, ORG, [SpanCountRow("p", 3_600_000, 5, 2, 90), SpanCountRow("q", 0, 1, 1, 7)])
        store.add_span_counts(c, ORG, [SpanCountRow("p", 3_600_000, 4, 1, 80)])
        store.add_span_counts(c, ORG, [])
        store.add_span_counts(c, OTHER, [SpanCountRow("p", 3_600_000, 1, 1, 99)])
    with database.read() as c:
        assert store.span_counts(c, ORG, since_ms=1) == [SpanCountRow("p", 3_600_000, 9, 3, 90)]
    with database.write() as c:
        assert store.forget_span_counts(c, ORG, before_ms=1) == 1
    with database.read() as c:
        assert len(store.span_counts(c, ORG, since_ms=0)) == 1


def test_every_query_is_asked_here() -> None:
    source = Path(__file__).read_text()
    for name, function in inspect.getmembers(store, inspect.isfunction):
        takes = list(inspect.signature(function).parameters)
        if function.__module__ == store.__name__ and not name.startswith("_") and takes[:1] == ["c"]:
            assert f"store.{name}(" in source, name
