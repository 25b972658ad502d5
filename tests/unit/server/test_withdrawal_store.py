"""The switch, the scopes and their withdrawals as stored, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwire.errors import ConflictError, NotFoundError
from sealwire.server.store import read, rows, withdrawals, write
from sealwire.server.store.database import Database
from tests.support.parts import dump

ORG, OTHER = 1, 2
KEY, THEIRS = "0123456789ab", "ba9876543210"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'sealwire.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_dsn")
    made = Database(url)
    made.migrate()
    with made.write() as c:
        for org_id, name in ((ORG, "main"), (OTHER, "other")):
            uuid = f"00000000-0000-0000-0000-{org_id:012}"
            write.add_organisation(c, rows.Organisation(org_id, uuid, name, True, True, 1))
        for key_id, org_id in ((KEY, ORG), (THEIRS, OTHER)):
            write.add_api_key(c, key(key_id, org_id))
    yield made
    made.close()


def key(key_id: str, org_id: int, **changes: Any) -> rows.ApiKeyRow:
    values: dict[str, Any] = {
        "key_id": key_id, "org_id": org_id, "name": "hosts", "sha256": key_id * 5, "last4": "abcd",
        "remote_config": True, "created_ms": 1, "created_by": "ann", "last_used_ms": None, "revoked_ms": None,
        **changes,
    }  # fmt: skip
    return rows.ApiKeyRow(**values)


def organisation(database: Database, org_id: int = ORG) -> rows.Organisation:
    with database.read() as c:
        return withdrawals.organisation(c, org_id)


def api_key(database: Database, key_id: str = KEY, org_id: int = ORG) -> rows.ApiKeyRow:
    with database.read() as c:
        return withdrawals.api_key(c, org_id, key_id)


def test_an_organisation_goes_off_and_on_and_no_other_does(database: Database) -> None:
    theirs = organisation(database, OTHER)
    with database.write() as c:
        assert withdrawals.begin_for_all(c, ORG, now_ms=5)
        assert not withdrawals.begin_for_all(c, ORG, now_ms=6)
    assert organisation(database).withdrawing_ms == 5
    with database.write() as c:
        assert not withdrawals.switch_off(c, ORG, since_ms=4)
        assert withdrawals.switch_off(c, ORG, since_ms=5)
        assert not withdrawals.switch_off(c, ORG)
        assert not withdrawals.begin_for_all(c, ORG, now_ms=7)
    assert (organisation(database).remote_config, organisation(database).withdrawing_ms) == (False, None)
    with database.write() as c:
        assert withdrawals.switch_on(c, ORG)
        assert not withdrawals.switch_on(c, ORG)
    assert organisation(database).remote_config
    assert organisation(database, OTHER) == theirs


def test_a_withdrawal_that_was_called_off_and_begun_anew_is_not_ended_for_the_one_before(
    database: Database,
) -> None:
    with database.write() as c:
        withdrawals.begin_for_all(c, ORG, now_ms=5)
        assert withdrawals.switch_on(c, ORG)
        withdrawals.begin_for_all(c, ORG, now_ms=9)
        assert not withdrawals.switch_off(c, ORG, since_ms=5)
        withdrawals.begin_for_key(c, ORG, KEY, then_revoked=True, now_ms=5)
        write.change_api_key(c, ORG, KEY, withdrawing_ms=None, then_revoked=False)
        withdrawals.begin_for_key(c, ORG, KEY, then_revoked=False, now_ms=9)
        assert not withdrawals.take_scope(c, ORG, KEY, since_ms=5, now_ms=10)

    assert organisation(database).withdrawing_ms == 9
    assert api_key(database) == key(KEY, ORG, withdrawing_ms=9)


@pytest.mark.parametrize("then_revoked", [False, True])
def test_a_key_loses_its_scope_or_is_revoked(database: Database, then_revoked: bool) -> None:
    with database.write() as c:
        assert withdrawals.begin_for_key(c, ORG, KEY, then_revoked=then_revoked, now_ms=5)
        assert not withdrawals.begin_for_key(c, ORG, KEY, then_revoked=False, now_ms=6)
        assert withdrawals.take_scope(c, ORG, KEY, since_ms=5, now_ms=8)
        assert not withdrawals.take_scope(c, ORG, KEY, since_ms=5, now_ms=9)
        assert not withdrawals.begin_for_key(c, ORG, KEY, then_revoked=then_revoked, now_ms=10)

    assert api_key(database) == key(KEY, ORG, remote_config=False, revoked_ms=8 if then_revoked else None)
    assert api_key(database, THEIRS, OTHER) == key(THEIRS, OTHER)


def test_a_key_whose_scope_goes_may_be_made_to_be_revoked(database: Database) -> None:
    with database.write() as c:
        withdrawals.begin_for_key(c, ORG, KEY, then_revoked=False, now_ms=5)
        assert withdrawals.begin_for_key(c, ORG, KEY, then_revoked=True, now_ms=6)

    assert api_key(database) == key(KEY, ORG, withdrawing_ms=5, then_revoked=True)


def test_nobody_reaches_the_key_of_another_organisation(database: Database) -> None:
    before = dump(database)
    with database.write() as c:
        assert not withdrawals.begin_for_key(c, ORG, THEIRS, then_revoked=True, now_ms=5)
        assert not withdrawals.take_scope(c, ORG, THEIRS, since_ms=5, now_ms=6)
        with pytest.raises(NotFoundError):
            withdrawals.api_key(c, ORG, THEIRS)
        with pytest.raises(NotFoundError):
            withdrawals.live_api_key(c, ORG, THEIRS)
        with pytest.raises(NotFoundError):
            withdrawals.organisation(c, 3)
    assert dump(database) == before


def test_what_is_revoked_or_off_is_refused(database: Database) -> None:
    with database.write() as c:
        withdrawals.require_switched_on(c, ORG)
        assert withdrawals.live_api_key(c, ORG, KEY).name == "hosts"
        write.change_api_key(c, ORG, KEY, revoked_ms=5)
        with pytest.raises(ConflictError):
            withdrawals.live_api_key(c, ORG, KEY)
        withdrawals.begin_for_all(c, ORG, now_ms=5)
        with pytest.raises(ConflictError):
            withdrawals.require_switched_on(c, ORG)
        withdrawals.switch_off(c, ORG)
        with pytest.raises(ConflictError):
            withdrawals.require_switched_on(c, ORG)


def test_name_and_production_environments_change_by_themselves(database: Database) -> None:
    with database.write() as c:
        withdrawals.change_organisation(c, ORG)
        withdrawals.change_organisation(c, ORG, name="Akmé ✓")
        withdrawals.change_organisation(c, ORG, production_envs=["live", "größe"])
        withdrawals.change_organisation(c, ORG, name="Akmé ✓")
        with pytest.raises(ConflictError):
            withdrawals.change_organisation(c, ORG, name="other")

    found = organisation(database)
    assert (found.name, found.production_envs) == ("Akmé ✓", ("live", "größe"))
    assert organisation(database, OTHER).production_envs == ("prod", "production")


def test_agents_come_with_the_view_of_the_version_they_have(database: Database) -> None:
    def agent(name: str, version: int) -> rows.AgentRow:
        return rows.AgentRow(name, name, "1", ("a:b",), 1, 2, "", version, KEY)

    def entry(version: int, view_key: str) -> rows.LedgerRow:
        return rows.LedgerRow(version, view_key, 1, 1, 1, 2, "0" * 64, None, None, None)

    agents = [agent("has-3", 3), agent("has-none", 0), agent("lost", 9)]
    with database.write() as c:
        write.put_agents(c, ORG, agents)
        write.put_agents(c, OTHER, [agent("theirs", 3)])
        write.add_ledger(c, ORG, [entry(3, "three")])
        write.add_ledger(c, OTHER, [entry(9, "theirs")])
    with database.read() as c:
        assert withdrawals.holdings(c, ORG) == [
            withdrawals.Holding(agents[0], "three"),
            withdrawals.Holding(agents[1], None),
            withdrawals.Holding(agents[2], None),
        ]
        assert read.agents(c, ORG) == agents


def test_every_query_is_asked_here() -> None:
    source = Path(__file__).read_text()
    for name, function in inspect.getmembers(withdrawals, inspect.isfunction):
        if function.__module__ == withdrawals.__name__ and not name.startswith("_"):
            assert f"withdrawals.{name}(" in source, name
