"""The audit trail on SQLite and on a real PostgreSQL: chained, found again, tampered with."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sealwire.clock import utc_now
from sealwire.errors import ConflictError
from sealwire.server import audit
from sealwire.server.audit import chain
from sealwire.server.audit.chain import Verdict, Verifier
from sealwire.server.audit.trail import Trail
from sealwire.server.store import audit as store
from sealwire.server.store import read, rows, write
from sealwire.server.store import tables as t
from sealwire.server.store.audit import Criteria, Sought
from sealwire.server.store.database import Database

ORG, OTHER = 1, 2


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'sealwire.db'}"
    else:
        url = request.getfixturevalue("postgres_dsn")
    made = Database(url)
    made.migrate()
    with made.write() as c:
        for org_id, name in ((ORG, "main"), (OTHER, "other")):
            write.add_organisation(
                c, rows.Organisation(org_id, f"00000000-0000-0000-0000-{org_id:012}", name, True, True, 1)
            )
    yield made
    made.close()


def add(database: Database, org_id: int = ORG, *, count: int = 1, actor: str = "ann", **values: Any) -> None:
    for number in range(count):
        with database.write() as c:
            write.add_audit(
                c, org_id, at_ms=1000 + number, actor=actor, action=values.get("action", "config.changed"),
                subject=values.get("subject", f"config {number}"), summary=values.get("summary", "did"),
                detail=values.get("detail", {"n": number}),
            )  # fmt: skip


def verify(database: Database, org_id: int = ORG, expected_head: str = "") -> Verdict:
    with database.read() as c:
        org = next(one.uuid for one in read.organisations(c) if one.org_id == org_id)
        verifier = Verifier(org, expected_head=expected_head)
        for row in store.oldest(c, org_id, after=0, limit=10_000):
            verifier.take(store.to_chain(row, org))
        return verifier.verdict(store.head(c, org_id) or chain.NO_HEAD)


def change(database: Database, statement: sa.Executable) -> None:
    with database.write() as c:
        c.execute(statement)


def ids(database: Database, org_id: int = ORG) -> list[int]:
    with database.read() as c:
        return [row.id for row in store.oldest(c, org_id, after=0, limit=10_000)]


def test_events_are_chained_each_organisation_by_itself(database: Database) -> None:
    for _ in range(3):
        add(database)
        add(database, OTHER, actor="bob")

    assert verify(database).events == 3
    assert verify(database).holds
    assert verify(database, OTHER).holds
    with database.read() as c:
        first = store.oldest(c, OTHER, after=0, limit=1)[0]
        assert first.prev_sha256 == chain.GENESIS
        assert store.head(c, ORG) == chain.Head(3, verify(database).sha256)


def test_events_of_one_transaction_are_chained_in_order_and_only_if_it_ends_well(database: Database) -> None:
    with database.write() as c:
        for number in range(3):
            write.add_audit(
                c, ORG, at_ms=number, actor="ann", action="a.b", subject=f"s{number}", summary="did"
            )
    with pytest.raises(ConflictError):
        _add_and_fail(database)

    with database.read() as c:
        assert [row.subject for row in store.oldest(c, ORG, after=0, limit=9)] == ["s0", "s1", "s2"]
    assert verify(database).holds


def _add_and_fail(database: Database) -> None:
    with database.write() as c:
        write.add_audit(c, ORG, at_ms=9, actor="ann", action="a.b", subject="undone", summary="did")
        write.add_organisation(c, rows.Organisation(ORG, "x", "y", True, True, 1))


@pytest.mark.parametrize(
    "column", ["actor", "action", "subject", "summary", "detail", "context", "at_ms", "prev_sha256", "sha256"]
)
def test_a_row_that_is_changed_in_the_database_is_found(database: Database, column: str) -> None:
    add(database, count=5)
    values = {"at_ms": 1, "detail": "{not json", "context": '{"address": "1.2.3.4"}'}
    changed = sa.update(t.audit_events).where(t.audit_events.c.id == ids(database)[2])

    change(database, changed.values({column: values.get(column, "other")}))

    found = verify(database).found
    assert found is not None
    assert (found.kind, found.place) == (chain.CHANGED, 3)


def test_a_row_that_is_deleted_is_found_in_the_middle_at_the_start_and_at_the_end(database: Database) -> None:
    for org_id, place, kind in ((ORG, 2, chain.MISSING), (OTHER, 4, chain.TRUNCATED)):
        add(database, org_id, count=5)
        gone = ids(database, org_id)[place]
        change(database, sa.delete(t.audit_events).where(t.audit_events.c.id == gone))
        found = verify(database, org_id).found
        assert found is not None
        assert (found.kind, found.place) == (kind, place + 1)
    change(database, sa.delete(t.audit_events).where(t.audit_events.c.id == ids(database)[0]))
    found = verify(database).found
    assert found is not None
    assert (found.kind, found.place) == (chain.MISSING, 1)


def test_a_row_that_is_put_in_or_moved_is_found(database: Database) -> None:
    add(database, count=4)
    before = ids(database)
    change(
        database,
        sa.insert(t.audit_events).values(
            org_id=ORG,
            at_ms=1,
            actor="x",
            action="a",
            subject="s",
            summary="never",
            detail="{}",
            context="{}",
        ),
    )
    found = verify(database).found
    assert found is not None
    assert (found.kind, found.place) == (chain.UNCHAINED, 5)

    e = t.audit_events.c
    change(database, sa.delete(t.audit_events).where(e.id.not_in(before)))
    assert verify(database).holds
    for old, new in ((before[1], 9_000_001), (before[2], before[1]), (9_000_001, before[2])):
        change(database, sa.update(t.audit_events).where(e.id == old).values(id=new))
    found = verify(database).found
    assert found is not None
    assert (found.kind, found.place) == (chain.CHANGED, 2)  # the id is part of what was written


def test_a_cut_end_stays_visible_when_the_trail_goes_on(database: Database) -> None:
    add(database, count=4)
    change(database, sa.delete(t.audit_events).where(t.audit_events.c.id == ids(database)[-1]))
    add(database)

    found = verify(database).found

    assert found is not None
    assert found.kind == chain.MISSING


def test_a_head_that_is_taken_away_is_made_again_with_an_alarm(database: Database) -> None:
    add(database, count=3)
    noted = verify(database).sha256
    change(database, sa.delete(t.audit_events).where(t.audit_events.c.id == ids(database)[-1]))
    change(database, sa.delete(t.audit_heads).where(t.audit_heads.c.org_id == ORG))
    assert verify(database).found is not None

    add(database)

    assert verify(database).holds  # so only the alarm and a noted head tell
    with database.read() as c:
        assert [alarm.kind for alarm in read.open_alarms(c, ORG)] == ["audit-chain"]
    found = verify(database, expected_head=noted).found
    assert found is not None
    assert found.kind == chain.OTHER_HEAD


def test_events_of_before_the_chain_are_chained_once(database: Database) -> None:
    old = {"actor": "ann", "action": "config.created", "subject": "s", "summary": "old", "detail": "{}"}
    change(database, sa.delete(t.audit_heads))
    change(
        database,
        sa.insert(t.audit_events).values([{"org_id": ORG, "at_ms": number, **old} for number in range(5)]),
    )

    database.migrate()
    first = verify(database)
    database.migrate()

    assert first.holds
    assert first.events == 5
    assert verify(database) == first
    add(database)
    assert verify(database).events == 6


@pytest.mark.parametrize("writers", [8])
def test_writers_at_the_same_time_make_one_unbroken_chain(database: Database, writers: int) -> None:
    """Half of them ask for the trail before, half after a lock that all of them want: no deadlock."""
    errors: list[BaseException] = []
    begin = threading.Barrier(writers)

    def work(number: int) -> None:
        try:
            begin.wait()
            for turn in range(10):
                with database.write() as c:
                    event = {
                        "at_ms": turn, "actor": f"writer {number}", "action": "a.b", "subject": "s",
                        "summary": "did",
                    }  # fmt: skip
                    if number % 2:
                        write.add_audit(c, ORG, **event)
                        write.lock_domain(c, ORG)
                    else:
                        write.lock_domain(c, ORG)
                        write.add_audit(c, ORG, **event)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert errors == []
    verdict = verify(database)
    assert (verdict.holds, verdict.events) == (True, writers * 10)


def test_texts_that_no_database_takes_do_not_keep_a_change_from_being_made(database: Database) -> None:
    add(
        database, actor="a\0b\ud800" + "x" * 500, subject="‮" + "s" * 999, summary="two\nlines" + "y" * 9999,
        detail={"text": "\0 \ud83d"},
    )  # fmt: skip

    assert verify(database).holds
    with database.read() as c:
        row = store.find(c, ORG, limit=1)[0]
    assert row.actor.startswith("a�b�xxx")
    assert len(row.actor) == audit.MAX_ACTOR_CHARS
    assert "‮" not in row.subject
    assert row.summary.startswith("two\nlines")


def test_the_context_of_a_request_is_in_the_event_and_no_other(database: Database) -> None:
    token = audit.enter(audit.Context(actor_type=audit.USER, actor_id="u1", address="::1", request_id="r1"))
    add(database)
    audit.leave(token)
    add(database)

    with database.read() as c:
        newest, before = store.find(c, ORG, limit=2)
    assert newest.context == {"actor_type": "SERVICE"}
    assert before.context == {
        "actor_type": "USER", "actor_id": "u1", "address": "::1", "request_id": "r1",
    }  # fmt: skip


def found(database: Database, **criteria: Any) -> list[str]:
    with database.read() as c:
        return [row.subject for row in store.find(c, ORG, Criteria(**criteria), limit=100)]


def test_events_are_found_by_all_that_is_asked(database: Database) -> None:
    token = audit.enter(audit.Context(address="10.0.0.7", request_id="abc"))
    add(database, actor="Ann@example.org", subject="config 1", action="config.created")
    audit.leave(token)
    add(database, actor="bob", subject="key 100%_\\", action="api_key.revoked", summary="Revoked a key")
    add(database, OTHER, subject="not ours")

    everything = ["key 100%_\\", "config 1"]
    assert found(database) == everything
    assert found(database, sought=(Sought("actor", ("ann@*", "nobody")),)) == ["config 1"]
    assert found(database, sought=(Sought("actor", ("ann@*",), negated=True),)) == ["key 100%_\\"]
    assert found(database, sought=(Sought("action", ("config.*", "api_key.*")),)) == everything
    assert found(database, sought=(Sought("subject", ("config",)),)) == []
    assert found(database, sought=(Sought("subject", ("key 100%_\\",)),)) == ["key 100%_\\"]
    assert found(database, sought=(Sought("subject", ("key%",)),)) == []
    assert found(database, sought=(Sought("address", ("10.0.*",)),)) == ["config 1"]
    assert found(database, sought=(Sought("request", ("abc",)),)) == ["config 1"]
    assert found(database, sought=(Sought("", ("REVOKED",)),)) == ["key 100%_\\"]
    assert found(database, sought=(Sought("actor", ("bob",)), Sought("action", ("config.*",)))) == []
    assert found(database, from_ms=1000, until_ms=1001) == everything
    assert found(database, until_ms=1000) == []


def test_pages_go_on_and_back_by_id(database: Database) -> None:
    add(database, count=7)
    every = list(reversed(ids(database)))
    with database.read() as c:
        first = [row.id for row in store.find(c, ORG, limit=3)]
        second = [row.id for row in store.find(c, ORG, limit=3, before=first[-1])]
        back = [row.id for row in store.find(c, ORG, limit=3, after=second[0])]
    assert first + second == every[:6]
    assert back == first


def test_a_trail_is_verified_whole_by_what_was_added_and_in_parts(database: Database) -> None:
    add(database, count=6)
    trail = Trail(database, utc_now)

    part = trail.verify(ORG, at_most=0)
    assert (part.complete, part.verdict.events) == (False, 0)
    assert trail.verify(ORG).verdict.events == 6
    add(database, count=2)
    assert trail.verify(ORG, anew=False).verdict.events == 8
    change(
        database, sa.update(t.audit_events).where(t.audit_events.c.id == ids(database)[0]).values(actor="x")
    )
    assert trail.verify(ORG, anew=False).verdict.holds  # what was verified before is not read again
    checked = trail.verify(ORG)
    assert checked.verdict.found is not None
    assert trail.checked[ORG] == checked
    assert not trail.verify(ORG, anew=False).verdict.holds  # and a break is not forgotten
    with database.read() as c:
        assert [alarm.kind for alarm in read.open_alarms(c, ORG)] == ["audit-chain"]


def test_size_grows_with_the_trail(database: Database) -> None:
    with database.read() as c:
        assert store.size(c, ORG) == 0
    add(database, count=10)
    with database.read() as c:
        assert 2000 < store.size(c, ORG) < 20_000


def test_adding_an_event_costs_little(database: Database) -> None:
    """A commit of an author waits for the disk for milliseconds; its event must not be seen beside that."""
    add(database, count=20)
    began = time.process_time()  # what others do on this machine is not its cost
    with database.write() as c:
        for number in range(200):
            write.add_audit(c, ORG, at_ms=number, actor="a", action="a.b", subject="s", summary="did")
    assert (time.process_time() - began) / 200 < 0.002
    assert verify(database).holds


def test_no_event_is_added_where_nothing_is_written(database: Database) -> None:
    with pytest.raises(RuntimeError), database.read() as c:
        write.add_audit(c, ORG, at_ms=1, actor="a", action="a.b", subject="s", summary="did")
