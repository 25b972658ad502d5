"""The rows of webhooks and of their calls, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.errors import ConflictError
from sealwire.server.store import webhooks as store
from sealwire.server.store.database import Database

ORG, OTHER = 1, 2
HOOK = store.WebhookRow(
    ORG, "0123456789abcdef", "Plauderei ✓", "https://chat.example.org/", ("agent.error",), b"\x00\xff", True,
    1, "ann",
)  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'x.db'}" if request.param == "sqlite" else ""
    made = Database(url or request.getfixturevalue("postgres_dsn"))
    made.migrate()
    yield made
    made.close()


def queued(database: Database, *, now_ms: int, subject: str = "s") -> int:
    with database.write() as c:
        return store.add_call(
            c, ORG, HOOK.webhook_id, event="agent.error", subject=subject, body=b"{}", now_ms=now_ms
        )


def test_a_webhook_is_read_as_it_was_put(database: Database) -> None:
    with database.write() as c:
        store.put_webhook(c, HOOK)
        store.put_webhook(c, replace(HOOK, org_id=OTHER, name="theirs"))
        store.put_webhook(c, replace(HOOK, enabled=False))

    with database.read() as c:
        assert store.webhooks(c, ORG) == [replace(HOOK, enabled=False)]
    with database.write() as c:
        store.delete_webhook(c, ORG, HOOK.webhook_id)
    with database.read() as c:
        assert store.webhooks(c, ORG) == []
        assert [row.name for row in store.webhooks(c, OTHER)] == ["theirs"]


def test_a_call_that_is_due_is_taken_by_one_only(database: Database) -> None:
    first, second = queued(database, now_ms=10), queued(database, now_ms=30)

    with database.read() as c:
        assert not store.has_due(c, ORG, now_ms=9)
        assert store.has_due(c, ORG, now_ms=10)
        assert not store.has_due(c, OTHER, now_ms=10)
    with database.write() as c:
        taken = store.take_due(c, ORG, now_ms=20, lease_ms=100, limit=5)
    with database.write() as c:
        again = store.take_due(c, ORG, now_ms=40, lease_ms=100, limit=5)

    assert [call.id for call in taken] == [first]
    assert [call.id for call in again] == [second]
    with database.write() as c:  # the lease of the first is over: whoever took it is gone
        assert [call.id for call in store.take_due(c, ORG, now_ms=125, lease_ms=100, limit=5)] == [first]


def test_two_who_look_at_once_take_different_calls(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    first, second = queued(database, now_ms=1), queued(database, now_ms=2)

    with database.write() as one:
        mine = store.take_due(one, ORG, now_ms=9, lease_ms=100, limit=1)
        with database.write() as two:
            theirs = store.take_due(two, ORG, now_ms=9, lease_ms=100, limit=1)

    assert ([call.id for call in mine], [call.id for call in theirs]) == ([first], [second])


def test_a_settled_call_is_not_due_and_is_forgotten_in_time(database: Database) -> None:
    number = queued(database, now_ms=10)
    with database.write() as c:
        store.settle_call(c, number, attempts=2, next_ms=None, delivered_ms=50, status=204, error="x" * 1000)
        assert store.take_due(c, ORG, now_ms=99, lease_ms=1, limit=5) == []

    with database.read() as c:
        (call,) = store.calls(c, ORG, HOOK.webhook_id, limit=5)
        assert (call.attempts, call.status, len(call.error)) == (2, 204, 500)
        assert store.last_calls(c, ORG) == {HOOK.webhook_id: call}
    waiting = queued(database, now_ms=10)
    with database.write() as c:
        store.forget_calls(c, ORG, before_ms=11)
        assert [left.id for left in store.calls(c, ORG, HOOK.webhook_id, limit=5)] == [waiting]


def test_a_concern_is_told_of_once(database: Database) -> None:
    name = ("agent.error", "host-a:1")
    with database.write() as c:
        store.add_told(c, ORG, {name: "Agent host-a"}, now_ms=7)

    with pytest.raises(ConflictError), database.write() as c:
        store.add_told(c, ORG, {name: "Agent host-a"}, now_ms=8)
    with database.read() as c:
        assert store.told(c, ORG) == {name: ("Agent host-a", 7)}
        assert store.told(c, OTHER) == {}
    with database.write() as c:
        assert store.end_told(c, ORG, [name, ("agent.error", "gone")]) == [name]
    with database.read() as c:
        assert store.told(c, ORG) == {}
