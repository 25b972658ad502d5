"""Configs filtered, sorted and paged by the database, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwire.server.store import configs, rows, write
from sealwire.server.store.configs import Condition, Wanted
from sealwire.server.store.database import Database

ORG, OTHER = 1, 2
NOW = 1_000_000
SOON = 2_000_000
ALL = ("ASM", "ASM_DATA", "APM_TRACING")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'sealwire.db'}"
    else:
        url = request.getfixturevalue("postgres_dsn")
    made = Database(url)
    made.migrate()
    with made.write() as c:
        for number, (name, changes) in enumerate(CONFIGS.items()):
            write.put_config(c, config(number, name, **changes), expected_revision=None)
        write.put_config(c, config(50, "theirs", org_id=OTHER), expected_revision=None)
    yield made
    made.close()


def config(number: int, name: str, **changes: Any) -> rows.ConfigRow:
    values: dict[str, Any] = {
        "org_id": ORG,
        "config_id": f"{number:016x}",
        "product": "ASM_DATA",
        "name": name,
        "targeting": {},
        "payload": b"x" * (100 - number),
        "revision": 1,
        "state": "active",
        "created_ms": 1,
        "updated_ms": 2,
        "updated_by": "ann",
        "comment": "",
        "expires_ms": None,
        "generation": number + 1,
        **changes,
    }
    return rows.ConfigRow(**values)


CONFIGS: dict[str, dict[str, Any]] = {
    "Everywhere": {"product": "APM_TRACING"},
    "Магазин 100%": {"targeting": {"service": ["shop", "МАГАЗИН"], "env": ["prod"]}, "updated_by": "Żanna"},
    "for_now": {"expires_ms": SOON - 1, "targeting": {"service": ["Shop-Worker"]}},
    "was once": {"expires_ms": NOW, "targeting": {"env": ["staging"]}},
    "gone": {"state": "retired", "product": "ASM", "revision": 7},
    "later": {"expires_ms": SOON + 1, "product": "ASM", "updated_by": "bob"},
}


def wanted(**changes: Any) -> Wanted:
    return Wanted(**{"products": ALL, "now_ms": NOW, "soon_ms": SOON, **changes})


def found(database: Database, *conditions: Condition, **changes: Any) -> set[str]:
    with database.read() as c:
        asked = wanted(conditions=conditions, **changes)
        lines, before, after = configs.page(c, ORG, asked)
        assert configs.count(c, ORG, asked) == len(lines)
    assert not before
    assert not after
    return {line.row.name for line in lines}


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        (Condition("state", ("active",)), {"Everywhere", "Магазин 100%", "for_now", "later"}),
        (Condition("state", ("expired", "retired")), {"was once", "gone"}),
        (Condition("state", ("expired",), negated=True), set(CONFIGS) - {"was once"}),
        (Condition("product", ("ASM", "APM_TRACING")), {"Everywhere", "gone", "later"}),
        (Condition("service", ("SHOP",)), {"Магазин 100%"}),
        (Condition("service", ("shop*",)), {"Магазин 100%", "for_now"}),
        (Condition("service", ("МАГАЗ*",)), {"Магазин 100%"}),
        (Condition("service", ("*",), negated=True), {"Everywhere", "was once", "gone", "later"}),
        (Condition("env", ("prod", "staging")), {"Магазин 100%", "was once"}),
        (Condition("by", ("BOB",)), {"later"}),
        (Condition("name", ("*%",)), {"Магазин 100%"}),
        (Condition("name", ("for_*",)), {"for_now"}),
        (Condition("name", ("f_r*",)), set()),
        (Condition("name", ("\\*",)), set()),
        (Condition("id", ("*3",)), {"was once"}),
        (Condition("ends", ("soon",)), {"for_now"}),
        (Condition("ends", ("never",)), {"Everywhere", "Магазин 100%", "gone"}),
        (Condition("", ("WORK",)), {"for_now"}),
        (Condition("", ("Маг",)), {"Магазин 100%"}),
        (Condition("", ("' OR 1=1 --",)), set()),
        (Condition("", ("$.service[\"']",)), set()),
    ],
    ids=str,
)
def test_a_condition_finds_what_it_says(database: Database, condition: Condition, names: set[str]) -> None:
    assert found(database, condition) == names


def test_conditions_hold_together_and_within_what_may_be_seen(database: Database) -> None:
    asm = Condition("product", ("ASM",))

    assert found(database, asm, Condition("by", ("bob",))) == {"later"}
    assert found(database, state="retired") == {"gone"}
    assert found(database, asm, products=("ASM_DATA",)) == set()
    assert found(database, only=("0" * 16, f"{5:016x}")) == {"Everywhere", "later"}
    assert found(database, only=()) == set()
    assert found(database, products=()) == set()


def test_configs_are_counted_by_state(database: Database) -> None:
    with database.read() as c:
        all_of_them = configs.counts(c, ORG, wanted())
        some = configs.counts(c, ORG, wanted(products=("APM_TRACING",)))
        none = configs.counts(c, 3, wanted())

    assert all_of_them == configs.Counts(active=4, expired=1, retired=1, ending=1)
    assert all_of_them.total == 6
    assert some == configs.Counts(1, 0, 0, 0)
    assert none.total == 0


@pytest.mark.parametrize("sort", configs.SORTS)
@pytest.mark.parametrize("descends", [False, True])
def test_pages_forward_and_back_show_each_config_once(database: Database, sort: str, descends: bool) -> None:
    def read(**edge: Any) -> tuple[list[configs.ConfigLine], bool, bool]:
        with database.read() as c:
            return configs.page(c, ORG, wanted(), sort=sort, descends=descends, limit=2, **edge)

    pages, before, more = [], False, True
    lines: list[configs.ConfigLine] = []
    while more:
        lines, before, more = read(after=lines[-1].place if lines else None)
        assert before == bool(pages)
        assert all(isinstance(line.place[0], configs.SORTS[sort]) for line in lines)
        pages.append([line.row.config_id for line in lines])
    back = [pages[-1]]
    while before:
        lines, before, after = read(before=lines[0].place)
        assert after
        back.append([line.row.config_id for line in lines])

    assert sorted(one for page in pages for one in page) == [f"{number:016x}" for number in range(6)]
    assert back == pages[::-1]


def test_a_list_comes_without_payloads_unless_asked_for(database: Database) -> None:
    with database.read() as c:
        lines, _, _ = configs.page(c, ORG, wanted(), sort="size", descends=False)
        whole, _, _ = configs.page(c, ORG, wanted(), payloads=True)

    assert [(line.size, line.row.payload) for line in lines] == [(95 + n, b"") for n in range(6)]
    assert {len(line.row.payload) for line in whole} == set(range(95, 101))
    assert {line.row.name: line.state for line in lines}["was once"] == "expired"


def test_the_history_comes_in_pages_newest_first(database: Database) -> None:
    first = config(0, "Everywhere", product="APM_TRACING")
    with database.write() as c:
        for revision in range(2, 6):
            row = config(0, f"r{revision}", revision=revision, generation=100 + revision, expires_ms=revision)
            write.put_config(c, row, expected_revision=revision - 1)

    with database.read() as c:
        newest = configs.revisions(c, ORG, first.config_id, limit=2)
        older = configs.revisions(c, ORG, first.config_id, before=newest[-1].revision, limit=9)
        third = configs.revision(c, ORG, first.config_id, 3)

        assert [row.revision for row in newest] == [5, 4]
        assert [(row.revision, row.expires_ms) for row in older] == [(3, 3), (2, 2), (1, None)]
        assert third == older[0]
        assert configs.revision(c, ORG, first.config_id, 6) is None
        assert configs.revision(c, OTHER, first.config_id, 3) is None
