"""Security traces, signals and rules in the store, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.errors import ConflictError
from sealwire.server.security.facets import FACETS
from sealwire.server.security.query import MAX_TERMS, Is, Not, compiled, parse
from sealwire.server.security.query import Any as Any_
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.security.rules import Severity
from sealwire.server.security.signals import Signal
from sealwire.server.store import security as store
from sealwire.server.store.database import Database
from sealwire.server.store.security import Bar, Cursor, RuleRow, SignalFilter, Stored, Tally
from sealwire.server.store.security_tables import security_traces
from sealwire.wire.security import Match, Parameter, Trigger
from tests.support.security_rows import queries, rows

ORG, OTHER = 1, 2
NOW = 1_795_358_575
NOW_MS = NOW * 1000
EVER: dict[str, Any] = {"since_ms": 0, "until_ms": 2**50}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'x.db'}" if request.param == "sqlite" else ""
    made = Database(url or request.getfixturevalue("postgres_dsn"))
    made.migrate()
    yield made
    made.close()


def row(number: int = 1, **changes: Any) -> SecurityTrace:
    values: dict[str, Any] = {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "ts": NOW + number / 1000,
        "service": "Shop",
        "status": 200,
        "actor_ip": "198.51.100.9",
        "activities": ("attack_attempt.xss",),
        "rule_ids": ("crs-941",),
        **changes,
    }
    return SecurityTrace(**values)


def put(database: Database, *stored: Stored, org_id: int = ORG) -> int:
    with database.write() as c:
        return store.put_traces(c, org_id, stored)


def test_a_query_means_the_same_in_sql_as_in_memory(database: Database) -> None:
    at = 0

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def compare(data: st.DataObject) -> None:
        nonlocal at
        org_id = at = at + 1
        made = [data.draw(rows(number)) for number in range(1, 7)]
        put(database, *map(Stored, made), org_id=org_id)
        for text in data.draw(st.lists(queries, min_size=8, max_size=8)):
            node = parse(text)
            means = compiled(node)
            with database.read() as c:
                found = {each.row.trace_id for each in store.search(c, org_id, node, **EVER)}
            assert found == {each.trace_id for each in made if means(each)}, text

    compare()


def test_the_longest_query_is_still_a_statement(database: Database) -> None:
    put(database, Stored(row()))
    for text in (
        " ".join(["-a*b*c"] * MAX_TERMS),
        " OR ".join(["xss"] * MAX_TERMS),
        " OR ".join(["activity:a*b*c"] * (MAX_TERMS - 10)),
    ):
        node = parse(text)
        with database.read() as c:
            assert bool(store.search(c, ORG, node, **EVER)) == compiled(node)(row())


def test_very_many_names_beside_each_other_are_still_a_statement(database: Database) -> None:
    """As the modes of two thousand rules ask for; nobody types that."""
    put(database, Stored(row()))
    for last, expected in (("crs-941", 1), ("crs-942", 0)):
        names = [*(f"r-{number}" for number in range(2_500)), last]
        node = Any_(tuple(Is(FACETS["@appsec.rule_id"], name, quoted=True) for name in names))
        with database.read() as c:
            assert len(store.search(c, ORG, node, **EVER)) == expected
            assert len(store.search(c, ORG, Not(node), **EVER)) == 1 - expected


def test_pages_follow_each_other_newest_first_with_nothing_lost_between(database: Database) -> None:
    put(database, *(Stored(row(number, ts=float(NOW + number // 3))) for number in range(1, 8)))
    seen: list[str] = []
    before = None
    with database.read() as c:
        while page := store.search(c, ORG, parse(""), before=before, limit=2, **EVER):
            seen += [each.row.trace_id for each in page]
            before = Cursor(int(page[-1].row.ts * 1000), page[-1].row_id)
    assert seen == [f"{number:032x}" for number in range(7, 0, -1)]


def test_a_trace_is_there_once_however_often_it_is_put(database: Database) -> None:
    assert put(database, Stored(row()), Stored(row(2))) == 2
    assert put(database, Stored(row()), Stored(row(3)), Stored(row(3))) == 1
    assert put(database, Stored(row()), org_id=OTHER) == 1
    with database.read() as c:
        assert store.count_traces(c, ORG) == 3
        assert [found.row for found in store.trace(c, ORG, f"{1:032X}")] == [row()]
        assert store.trace(c, ORG, "") == store.trace(c, ORG, "\0") == []


def test_counts_replace_each_other_by_their_mark(database: Database) -> None:
    counted = row(trace_id="", span_id="", ts=float(NOW))
    with database.write() as c:
        store.put_counted(c, ORG, [Stored(counted, 5, mark="a:1"), Stored(counted, 7, mark="a:2")])
        store.put_counted(c, ORG, [Stored(counted, 50, mark="a:1")])
    with database.read() as c:
        found = store.search(c, ORG, parse(""), **EVER)
        assert sorted(each.count for each in found) == [7, 50]
        assert store.tally(c, ORG, parse("service:shop"), **EVER) == Tally(0, 57, 0)


def test_what_is_counted_over_time_stands_in_the_bar_of_its_time(database: Database) -> None:
    put(
        database,
        Stored(row(1, ts=float(NOW))),
        Stored(row(2, ts=NOW + 9.999, blocked=True)),
        Stored(row(3, ts=NOW + 10.0, activities=("business_logic.users.login.success",))),
        Stored(row(4, ts=NOW + 30.0)),
    )
    with database.read() as c:
        bars = store.histogram(c, ORG, parse(""), since_ms=NOW_MS, until_ms=NOW_MS + 30_000, bars=3)
        assert bars == [Bar(NOW_MS, 1, 1, 0), Bar(NOW_MS + 10_000, 0, 0, 1), Bar(NOW_MS + 20_000, 0, 0, 0)]
        assert store.tally(c, ORG, parse(""), since_ms=NOW_MS, until_ms=NOW_MS + 30_000) == Tally(3, 3, 1)


def test_values_of_a_facet_are_counted_and_written_as_they_came(database: Database) -> None:
    put(
        database,
        Stored(row(1, service="shop", tools=("Arachni", "b"), blocked=True, duration_ms=4.35)),
        Stored(row(2, service="SHOP", tools=("Arachni",), duration_ms=4.35)),
        Stored(row(3, service="web", status=404)),
    )

    def values(c: sa.Connection, name: str, query: str = "") -> list[tuple[str, int]]:
        return store.facet_values(c, ORG, parse(query), FACETS[name], **EVER)

    with database.read() as c:
        assert values(c, "service") == [("SHOP", 2), ("web", 1)]
        assert values(c, "service", "status:404") == [("web", 1)]
        assert values(c, "@appsec.tool_name") == [("Arachni", 2), ("b", 1)]
        assert values(c, "@http.status_code") == [("200", 2), ("404", 1)]
        assert values(c, "@duration_ms") == [("4.35", 2)]
        assert values(c, "@appsec.blocked") == [("false", 2), ("true", 1)]
        assert values(c, "@usr.id") == []


def test_a_row_that_is_far_too_long_keeps_what_it_is_searched_by(database: Database) -> None:
    parameter = Parameter("server.request.query", "v" * 1000, highlight=("h" * 1000,) * 10)
    trigger = Trigger("crs-941", "n", matches=(Match("is_xss", "", (parameter,) * 20),) * 10)
    long = row(triggers=(trigger,) * 50)
    put(database, Stored(long, stacks=b"\x80" * 100_000))
    with database.read() as c:
        (found,) = store.search(c, ORG, parse("@appsec.rule_id:crs-941"), **EVER)
        assert msgspec.structs.replace(found.row, triggers=()) == row()
        assert len(c.execute(sa.select(security_traces.c.document)).scalar_one()) <= store.MAX_DOCUMENT_BYTES
        assert store.stacks(c, ORG, found.row_id) == {}


def test_stacks_are_read_back_and_nobody_elses(database: Database) -> None:
    stack = {"id": "s1", "language": "python", "frames": []}
    put(database, Stored(row(), stacks=msgspec.msgpack.encode({"exploit": [stack]})))
    with database.read() as c:
        (found,) = store.trace(c, ORG, row().trace_id)
        assert store.stacks(c, ORG, found.row_id) == {"s1": stack}
        assert store.stacks(c, OTHER, found.row_id) == {}


def test_the_oldest_rows_go_first(database: Database) -> None:
    put(database, *(Stored(row(number, ts=float(NOW + number))) for number in range(1, 7)))
    put(database, Stored(row(1, ts=1.0)), org_id=OTHER)
    with database.write() as c:
        assert store.forget_before(c, ORG, before_ms=NOW_MS + 2_000) == 1
        assert store.forget_oldest(c, ORG, count=2) == 2
        assert store.forget_oldest(c, ORG, count=-1) == 0
    with database.read() as c:
        left = list(store.recent(c, ORG, since_ms=0, limit=10))
        assert [each.row.ts for each in left] == [NOW + 4, NOW + 5, NOW + 6]
        assert [each.row.ts for each in store.recent(c, ORG, since_ms=0, limit=2)] == [NOW + 5, NOW + 6]
        assert store.count_traces(c, OTHER) == 1


# Signals --------------------------------------------------------------------------------------------------


def signal(signal_id: str = "00000000000000aa", **changes: Any) -> Signal:
    values: dict[str, Any] = {
        "id": signal_id, "rule_id": "xss", "rule_version": 1, "title": "XSS · shop · 198.51.100.9",
        "group": {"service": "shop", "@http.client_ip": "198.51.100.9"}, "severity": Severity.LOW,
        "first_seen": float(NOW), "last_seen": float(NOW), "last_true": float(NOW), "events": 3,
        "services": {"shop": 3}, "attackers": {"198.51.100.9": 3}, "users": {"Mallory": 1}, **changes,
    }  # fmt: skip
    return Signal(**values)


def test_what_people_make_of_a_signal_outlives_what_detection_writes(database: Database) -> None:
    with database.write() as c:
        store.put_signals(c, ORG, [signal()])
        assert store.set_triage(
            c,
            ORG,
            signal().id,
            triage="archived",
            archive_reason="testing",
            assignee="bob",
            by="ann",
            at_ms=5,
        )
        assert not store.set_triage(
            c, OTHER, signal().id, triage="open", archive_reason="", assignee="", by="eve", at_ms=6
        )
        first = store.add_comment(c, ORG, signal().id, by="ann", at_ms=7, text="ours ✓")
    risen = signal(severity=Severity.HIGH, last_seen=NOW + 5.0)
    with database.write() as c:
        store.put_signals(c, ORG, [risen])
        store.put_signals(c, ORG, [signal(closed_at=9.0)])  # of somebody who knows less
    with database.read() as c:
        assert store.signal(c, ORG, signal().id) == (risen, "archived", "testing", "bob", "ann", 5, 1)
        assert store.signal(c, OTHER, signal().id) is store.signal(c, ORG, "\0") is None
        assert store.comments(c, ORG, signal().id) == [(first, "ann", 7, "ours ✓")]
        assert store.open_signals(c, ORG) == [risen]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (SignalFilter(), "cba"),
        (SignalFilter(state="open"), "ca"),
        (SignalFilter(state="ended"), "b"),
        (SignalFilter(severities=("high", "critical")), "b"),
        (SignalFilter(severities=("odd",)), ""),
        (SignalFilter(service="WEB"), "c"),
        (SignalFilter(service="we"), ""),
        (SignalFilter(rule_id="scan"), "c"),
        (SignalFilter(text="100.9"), "cba"),
        (SignalFilter(text="mallory"), "cba"),
        (SignalFilter(text="100%"), ""),
        (SignalFilter(since_ms=NOW_MS + 2_000), "c"),
        (SignalFilter(triage="archived"), "a"),
    ],
)
def test_signals_are_found_by_what_they_are(tmp_path: Path, wanted: SignalFilter, found: str) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    database.migrate()
    with database.write() as c:
        store.put_signals(c, ORG, [
            signal("a"), signal("b", severity=Severity.HIGH, closed_at=NOW + 9.0, last_seen=NOW + 1.0),
            signal("c", rule_id="scan", services={"Web": 1, "x": 1}, last_seen=NOW + 2.0),
        ])  # fmt: skip
        store.put_signals(c, OTHER, [signal("d")])
        store.set_triage(c, ORG, "a", triage="archived", archive_reason="", assignee="", by="ann", at_ms=5)
    with database.read() as c:
        assert "".join(each.signal.id for each in store.signals(c, ORG, wanted)) == found
        assert store.signal_counts(c, ORG, 0) == {"low": 2}
        by_rule = store.signals_by_rule(c, ORG, since_ms=(NOW + 1) * 1000)
        assert by_rule["scan"] == 1
        assert sum(by_rule.values()) == 2
    database.close()


def test_pages_of_signals_follow_each_other(database: Database) -> None:
    with database.write() as c:
        store.put_signals(c, ORG, [signal(each) for each in "abc"])
    with database.read() as c:
        first = store.signals(c, ORG, SignalFilter(), limit=2)
        last = first[-1].signal
        second = store.signals(c, ORG, SignalFilter(), before=(int(last.last_seen * 1000), last.id))
    assert [each.signal.id for each in (*first, *second)] == ["c", "b", "a"]


def test_signals_that_ended_go_in_time_with_what_was_said_of_them(database: Database) -> None:
    with database.write() as c:
        store.put_signals(
            c,
            ORG,
            [
                signal("old", closed_at=1.0),
                signal("b", closed_at=5.0),
                signal("c", closed_at=6.0),
                signal("d"),
            ],
        )
        store.add_comment(c, ORG, "old", by="ann", at_ms=1, text="gone")
        assert store.forget_signals(c, ORG, before_ms=2_000, most=2) == 2
    with database.read() as c:
        assert {each.signal.id for each in store.signals(c, ORG, SignalFilter())} == {"c", "d"}
        assert store.comments(c, ORG, "old") == []


# Rules and memory -----------------------------------------------------------------------------------------


def test_the_newest_version_of_a_rule_counts_and_the_others_stay(database: Database) -> None:
    first = RuleRow("xss", 2, {"name": "Ä"}, True, "ann", 5, "why")
    second = first._replace(version=3, document={"name": "b"})
    with database.write() as c:
        store.put_rule(c, ORG, first)
        store.put_rule(c, ORG, second)
        store.put_rule(c, OTHER, first)
    with pytest.raises(ConflictError), database.write() as c:
        store.put_rule(c, ORG, second)
    with database.read() as c:
        assert store.rules(c, ORG) == [second]
        assert store.rule_versions(c, ORG, "xss") == [second, first]
        assert store.rules(c, OTHER) == [first]


def test_memory_is_replaced_by_key_and_forgotten_by_age(database: Database) -> None:
    with database.write() as c:
        store.put_memories(c, ORG, "past", {"a": b"1", "b": b"\0\xff"}, now_ms=5)
        store.put_memories(c, ORG, "past", {"b": b"2"}, now_ms=9)
        store.put_memories(c, ORG, "batch", {}, now_ms=9)
        store.forget_memories(c, ORG, before_ms=9)
    with database.read() as c:
        assert store.memories(c, ORG, "past") == {"b": b"2"}
        assert store.memories(c, ORG, "batch") == {}


def test_requests_are_counted_by_service_and_time_in_one_pass(database: Database) -> None:
    put(
        database,
        Stored(row(1, ts=NOW, env="prod")),
        Stored(row(2, ts=NOW + 1, env="prod", blocked=True)),
        Stored(row(3, ts=NOW + 61, env="Prod")),
        Stored(row(4, ts=NOW + 61, env="")),
        Stored(row(5, ts=NOW - 1)),
    )
    put(database, Stored(row(6, ts=NOW)), org_id=OTHER)
    with database.write() as c:
        store.put_counted(c, ORG, [Stored(row(7, ts=NOW + 2, trace_id="", env="prod"), count=40, mark="m")])

    with database.read() as c:
        found = store.by_service(c, ORG, since_ms=NOW_MS, until_ms=NOW_MS + 120_000, step_ms=60_000)

    assert sorted(found) == [
        ("shop", "", 1, 1, 0), ("shop", "prod", 0, 42, 1), ("shop", "prod", 1, 1, 0),
    ]  # fmt: skip
