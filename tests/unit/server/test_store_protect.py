"""The rows of the denylist, its files, feeds and drafts, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealwire.server.store import protect as store
from sealwire.server.store import write
from sealwire.server.store.database import Database
from sealwire.server.store.protect import Criteria, DraftRow, EntryRow, FeedRow, FileRow
from tests.unit.server.test_store import config, organisation

ORG, OTHER = 1, 2
NOW_MS = 1_795_000_000_000


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'x.db'}" if request.param == "sqlite" else ""
    made = Database(url or request.getfixturevalue("postgres_dsn"))
    made.migrate()
    yield made
    made.close()


def entry(number: int, value: str = "", **changes: Any) -> EntryRow:
    made = EntryRow(
        org_id=ORG, id=number, kind="ip", value=value or f"203.0.113.{number}", sort_key=f"{number:04d}",
        target_key="everywhere", target="{}", until_ms=None, created_ms=NOW_MS + number, created_by="ann",
        changed_ms=NOW_MS, changed_by="ann",
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def found(database: Database, wanted: Criteria | None = None, **more: Any) -> list[int]:
    with database.read() as c:
        rows = store.search(c, ORG, wanted or Criteria(), **{"now_ms": NOW_MS, **more})
        return [row.id for row in rows]


def test_entries_come_back_as_they_were_put_and_change_in_all_but_their_hits(database: Database) -> None:
    rows = [entry(1), entry(2, "Gäste ✓", kind="user", until_ms=2**53, reason="why\nnot")]
    with database.write() as c:
        store.add_entries(c, rows)
        store.set_head(c, ORG, version=1, last_id=2)
        store.add_hits(c, ORG, {1: (3, 50), 2: (1, 10)})
        store.add_hits(c, ORG, {1: (2, 40)})
        store.change_entries(
            c, ORG, [msgspec.structs.replace(rows[0], until_ms=9, hits=0, covered_by="203.0.113.0/24")]
        )
        store.set_head(c, ORG, version=2, last_id=2)

    with database.read() as c:
        assert store.alive(c, ORG) == [
            msgspec.structs.replace(rows[0], until_ms=9, covered_by="203.0.113.0/24", hits=5, last_hit_ms=50),
            msgspec.structs.replace(rows[1], hits=1, last_hit_ms=10),
        ]
        assert store.entries(c, ORG, [2, 77]) == store.alive(c, ORG)[1:]
        assert (store.head(c, ORG), store.head(c, OTHER)) == ((2, 2), (0, 0))
        assert store.alive(c, OTHER) == []


def test_entries_are_found_by_what_stands_in_them_their_kind_source_and_state(database: Database) -> None:
    ended = {"ended_ms": NOW_MS, "ended_by": "bob"}
    with database.write() as c:
        store.add_entries(
            c,
            [
                entry(1, reason="100% Stuffing_x", source="trace:1"),
                entry(2, until_ms=NOW_MS - 1, source="trace:2"),
                entry(3, ended_as="lapsed", **ended),
                entry(4, ended_as="unblocked", **ended),
                entry(5, "mallory", kind="user", target='{"service": ["shop"]}', target_key="t"),
                entry(6, source="feed:a", feed="a", until_ms=NOW_MS + 1),
                entry(7, org_id=OTHER),
            ],
        )

    assert found(database) == [6, 5, 1]
    for wanted, ids in (
        (Criteria(state="lapsed"), [3, 2]),
        (Criteria(state="unblocked"), [4]),
        (Criteria(state="all"), [6, 5, 4, 3, 2, 1]),
        (Criteria(text="stuffing_ 100%"), [1]),
        (Criteria(text="stuffing%x"), []),
        (Criteria(text="SHOP"), [5]),
        (Criteria(kind="user"), [5]),
        (Criteria(source="trace"), [1]),
        (Criteria(source="feed:a"), [6]),
        (Criteria(source="hand"), [5]),
        (Criteria(target_key="t"), [5]),
    ):
        assert found(database, wanted) == ids, wanted
        with database.read() as c:
            assert store.count(c, ORG, wanted, now_ms=NOW_MS) == len(ids)
    with database.read() as c:
        assert store.counts_by_source(c, ORG, now_ms=NOW_MS) == {"trace": 1, "hand": 1, "feed": 1}
        targets = store.targets(c, ORG, now_ms=NOW_MS)
    assert targets == [("everywhere", "{}"), ("t", '{"service": ["shop"]}')]


@pytest.mark.parametrize("sort", list(store.SORTABLE))
@pytest.mark.parametrize("descends", [False, True])
def test_pages_there_and_back_have_each_row_once(database: Database, sort: str, descends: bool) -> None:
    with database.write() as c:
        store.add_entries(
            c,
            [
                entry(number, hits=number % 2, until_ms=None if number % 3 else NOW_MS + number,
                      sort_key=f"{number % 4}", source=f"trace:{number % 2}", created_ms=number // 2)
                for number in range(1, 12)
            ],
        )  # fmt: skip
    options = {"now_ms": NOW_MS, "sort": sort, "descends": descends, "limit": 3}
    pages: list[list[EntryRow]] = []
    with database.read() as c:
        place = None
        while page := store.search(c, ORG, Criteria(), after=place, **options):  # type: ignore[arg-type]
            pages.append(page)
            place = store.place_of(page[-1], sort)
        place = store.place_of(pages[-1][0], sort)
        before = store.search(c, ORG, Criteria(), before=place, **options)  # type: ignore[arg-type]

    ids = [row.id for page in pages for row in page]
    assert sorted(ids) == list(range(1, 12))
    assert before == pages[-2]


def test_what_ended_long_ago_is_forgotten_apart_for_feeds_and_people(database: Database) -> None:
    over = {"ended_as": "unblocked"}
    with database.write() as c:
        store.add_entries(c, [entry(1), entry(2, ended_ms=5, **over), entry(3, ended_ms=5, feed="a", **over)])
        assert store.forget_ended(c, ORG, before_ms=5, of_feeds=True) == 0
        assert store.forget_ended(c, ORG, before_ms=6, of_feeds=True) == 1
        assert store.forget_ended(c, ORG, before_ms=6, of_feeds=False) == 1
        assert store.forget_ended(c, OTHER, before_ms=6, of_feeds=False) == 0
    assert found(database, Criteria(state="all")) == [1]


def test_files_feeds_and_drafts_are_put_replaced_and_gone(database: Database) -> None:
    file = FileRow("0123456789abcdef", "everywhere", True, 3, 10_000, 450_000)
    feed = FeedRow(ORG, "bad-hosts", "ip", "everywhere", "{}", 3600, "why", "00", 2, 1, "ann", 2, "bob", 2)
    draft = DraftRow(ORG, "00ab", "203.0.113.7\n", "ip", "{}", None, 3600, "", 1, "ann", 1)
    with database.write() as c:
        store.put_file(c, ORG, file._replace(revision=1))
        store.put_file(c, ORG, file)
        store.put_feed(c, feed._replace(entries=1))
        store.put_feed(c, feed)
        store.put_draft(c, draft)
        store.put_draft(c, draft._replace(draft_id="00cd", changed_ms=9, until_ms=2**53))
        store.put_draft(c, draft._replace(org_id=OTHER))

    with database.read() as c:
        assert (store.files(c, ORG), store.feeds(c, ORG)) == ([file], [feed])
        assert [row.draft_id for row in store.drafts(c, ORG)] == ["00cd", "00ab"]
        assert store.draft(c, ORG, "00ab") == draft
        assert store.draft(c, ORG, "nobody") is None
    with database.write() as c:
        store.delete_file(c, ORG, file.config_id)
        store.delete_feed(c, ORG, feed.name)
        assert (store.delete_draft(c, ORG, "00ab"), store.delete_draft(c, ORG, "00ab")) == (True, False)
        store.forget_drafts(c, ORG, before_ms=0, keep=5)
        assert len(store.drafts(c, ORG)) == 1
        for number in range(4):
            store.put_draft(c, draft._replace(draft_id=f"a{number}", created_by="ada", changed_ms=number))
        store.forget_drafts(c, ORG, before_ms=0, keep=2)
        assert [row.draft_id for row in store.drafts(c, ORG)] == ["00cd", "a3", "a2"]
        store.forget_drafts(c, ORG, before_ms=10, keep=5)
        assert (store.files(c, ORG), store.feeds(c, ORG), store.drafts(c, ORG)) == ([], [], [])
        assert len(store.drafts(c, OTHER)) == 1


def test_configs_are_told_without_their_payloads_and_their_history_in_order(database: Database) -> None:
    with database.write() as c:
        write.add_organisation(c, organisation(ORG, "main"))
        write.put_config(c, config(), expected_revision=None)
        write.put_config(c, config(revision=2, comment="again"), expected_revision=1)
        write.put_config(c, config("fedcba9876543210", state="retired"), expected_revision=None)

    with database.read() as c:
        (head,) = store.active_configs(c, ORG, "ASM_DATA")
        assert (head.config_id, head.revision, head.name) == ("0123456789abcdef", 2, "Gäste ✓")
        assert [one.comment for one in store.revisions_after(c, ORG, head.config_id, 1, limit=5)] == ["again"]
        assert store.products_ever(c, ORG) == {"ASM_DATA"}


def test_every_query_is_asked_here() -> None:
    source = Path(__file__).read_text()
    for name, function in inspect.getmembers(store, inspect.isfunction):
        takes = list(inspect.signature(function).parameters)
        if function.__module__ == store.__name__ and not name.startswith("_") and takes[:1] == ["c"]:
            assert f"store.{name}(" in source, name
