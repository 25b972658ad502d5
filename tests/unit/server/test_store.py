"""Every query and every change, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sealwire.errors import ConflictError, NotFoundError, SettingsError, UnavailableError
from sealwire.server.store import read, rows, write
from sealwire.server.store import tables as t
from sealwire.server.store.database import Database
from tests.support.parts import ASM_ON, Domain, demand, denylist, dump, facts

ORG, OTHER = 1, 2
LARGE = 2**53 - 1


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'sealwire.db'}"
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url)
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def two_organisations(database: Database) -> Database:
    with database.write() as c:
        for org_id, name in ((ORG, "main"), (OTHER, "other")):
            write.add_organisation(c, organisation(org_id, name))
    return database


def organisation(org_id: int, name: str) -> rows.Organisation:
    return rows.Organisation(
        org_id, f"00000000-0000-0000-0000-{org_id:012}", name, True, True, 1_700_000_000_000
    )


def config(config_id: str = "0123456789abcdef", **changes: Any) -> rows.ConfigRow:
    values: dict[str, Any] = {
        "org_id": ORG,
        "config_id": config_id,
        "product": "ASM_DATA",
        "name": "Gäste ✓",
        "targeting": {"service": ["shop"]},
        "payload": b'{"rules_data":[]}\x00\xff',
        "revision": 1,
        "state": "active",
        "created_ms": 1,
        "updated_ms": 2,
        "updated_by": "ann",
        "comment": "why\nnot",
        "expires_ms": LARGE,
        "generation": 1,
        **changes,
    }
    return rows.ConfigRow(**values)


# The database itself --------------------------------------------------------------------------------------


def test_migrations_make_the_tables_that_the_program_knows(database: Database) -> None:
    with database.read() as c:
        found = sa.inspect(c)
        for table in t.metadata.sorted_tables:
            columns = {column["name"]: column for column in found.get_columns(table.name)}
            assert set(columns) == {column.name for column in table.columns}, table.name
            for column in table.columns:
                assert columns[column.name]["nullable"] == column.nullable, column
                assert type(columns[column.name]["type"]).__name__.upper() in _same_type(column), column
            key = found.get_pk_constraint(table.name)["constrained_columns"]
            assert key == [column.name for column in table.primary_key.columns]
            indexes = {index["name"]: index["column_names"] for index in found.get_indexes(table.name)}
            for index in table.indexes:
                assert indexes[index.name] == [column.name for column in index.columns]


def _same_type(column: sa.Column[Any]) -> set[str]:
    if type(column.type) is sa.BigInteger and column.autoincrement is True:
        return {"BIGINT", "INTEGER"}  # SQLite numbers rows under one type only
    return {
        "Integer": {"INTEGER"},
        "BigInteger": {"BIGINT"},
        "String": {"VARCHAR"},
        "Text": {"TEXT"},
        "Boolean": {"BOOLEAN"},
        "LargeBinary": {"BLOB", "BYTEA"},
    }[type(column.type).__name__]


def test_migrating_twice_changes_nothing(two_organisations: Database) -> None:
    before = dump(two_organisations)
    two_organisations.migrate()
    assert dump(two_organisations) == before


def test_replicas_that_start_at_once_migrate_once(url: str) -> None:
    program = (
        "import sys; from sealwire.server.store.database import Database; Database(sys.argv[1]).migrate()"
    )
    replicas = [
        subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    assert [(replica.communicate(timeout=60)[1], replica.returncode) for replica in replicas] == [("", 0)] * 3


def test_a_writing_transaction_is_all_or_nothing(two_organisations: Database) -> None:
    before = dump(two_organisations)

    def half_way() -> None:
        with two_organisations.write() as c:
            write.put_config(c, config(), expected_revision=None)
            write.set_domain(c, ORG, generation=1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_way()

    assert dump(two_organisations) == before


def test_a_reading_transaction_sees_one_state_while_others_write(two_organisations: Database) -> None:
    with two_organisations.read() as reading:
        first = read.domain(reading, ORG)
        with two_organisations.write() as writing:
            write.set_domain(writing, ORG, director_version=7)
            write.add_root(writing, ORG, "director", 1, b"root", now_ms=1)

        assert read.domain(reading, ORG) == first
        assert read.roots(reading, ORG, "director") == []

    with two_organisations.read() as c:
        assert read.domain(c, ORG).director_version == 7


def test_the_lock_of_a_domain_serialises_its_writers(two_organisations: Database) -> None:
    """Each reads, then writes one more; without the lock some would read the same number."""

    def take_next() -> None:
        for _ in range(10):
            with two_organisations.write() as c:
                domain = write.lock_domain(c, ORG)
                write.set_domain(c, ORG, director_version=domain.director_version + 1)

    threads = [threading.Thread(target=take_next) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    with two_organisations.read() as c:
        assert read.domain(c, ORG).director_version == 40
        assert read.domain(c, OTHER).director_version == 0


def test_a_database_that_does_not_answer_is_a_reason_to_try_again(tmp_path: Path) -> None:
    nowhere = Database(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'x.db'}")
    with pytest.raises(UnavailableError), nowhere.read() as c:
        read.organisations(c)


@pytest.mark.parametrize("address", ["nonsense", "oracle+nothing://x", "mysql://x"])
def test_an_address_of_no_database_is_a_wrong_setting(address: str) -> None:
    with pytest.raises(SettingsError):
        Database(address)


def test_two_rows_that_cannot_both_be_are_a_conflict(two_organisations: Database) -> None:
    with pytest.raises(ConflictError), two_organisations.write() as c:
        write.add_organisation(c, organisation(3, "main"))


def test_a_backup_is_a_database_as_of_one_moment(two_organisations: Database, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    if not two_organisations.is_sqlite:
        with pytest.raises(SettingsError, match="pg_dump"):
            two_organisations.backup_to(copy)
        return
    two_organisations.backup_to(copy)
    with two_organisations.write() as c:
        write.set_domain(c, ORG, director_version=7)

    opened = Database(f"sqlite:///{copy}")
    opened.migrate()
    with opened.read() as c:
        assert read.domain(c, ORG).director_version == 0
    opened.close()


# Organisations, roots, keys -------------------------------------------------------------------------------


def test_organisations_begin_with_sequences_at_nought(two_organisations: Database) -> None:
    with two_organisations.read() as c:
        assert read.organisations(c) == [organisation(ORG, "main"), organisation(OTHER, "other")]
        assert read.domain(c, ORG) == rows.Domain(0, 0, 1, 0, 0)


def test_sequences_move_by_themselves_and_hold_large_numbers(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        assert write.lock_domain(c, ORG) == rows.Domain(0, 0, 1, 0, 0)
        write.set_domain(c, ORG, director_version=LARGE, config_version=5)

    with two_organisations.read() as c:
        assert read.domain(c, ORG) == rows.Domain(LARGE, 5, 1, 0, 0)
        assert read.domain(c, OTHER) == rows.Domain(0, 0, 1, 0, 0)


def test_the_domain_of_nobody_cannot_be_locked(two_organisations: Database) -> None:
    with pytest.raises(NotFoundError), two_organisations.write() as c:
        write.lock_domain(c, 99)


def test_roots_come_in_order_and_are_for_ever(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        for version in (2, 1, 10):
            write.add_root(c, ORG, "director", version, b"%d" % version, now_ms=1)
        write.add_root(c, ORG, "config", 1, b"c", now_ms=1)

    with two_organisations.read() as c:
        assert read.roots(c, ORG, "director") == [b"1", b"2", b"10"]
        assert read.roots(c, ORG, "config") == [b"c"]
        assert read.roots(c, OTHER, "director") == []
    with pytest.raises(ConflictError), two_organisations.write() as c:
        write.add_root(c, ORG, "director", 2, b"another", now_ms=2)


def test_a_new_online_key_retires_the_one_before(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        for key_id in ("a" * 64, "b" * 64):
            write.replace_online_key(c, ORG, key_id=key_id, purpose="publisher", wrapped=b"\x00w", now_ms=1)
        write.replace_online_key(c, ORG, key_id="c" * 64, purpose="echo", wrapped=b"e", now_ms=1)

    with two_organisations.read() as c:
        assert sorted(read.online_keys(c, ORG)) == [
            ("b" * 64, "publisher", b"\x00w"),
            ("c" * 64, "echo", b"e"),
        ]
        assert read.online_keys(c, OTHER) == []


# Configs --------------------------------------------------------------------------------------------------


def test_a_config_comes_back_as_it_was_put(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.put_config(c, config(), expected_revision=None)

    with two_organisations.read() as c:
        assert read.config(c, ORG, "0123456789abcdef") == config()
        assert read.config(c, OTHER, "0123456789abcdef") is None
        assert read.config(c, ORG, "f" * 16) is None


def test_a_new_revision_replaces_the_config_and_joins_its_history(two_organisations: Database) -> None:
    second = config(revision=2, payload=b"{}", state="retired", expires_ms=None, updated_ms=3, generation=2)
    with two_organisations.write() as c:
        write.put_config(c, config(), expected_revision=None)
        write.put_config(c, second, expected_revision=1)

    with two_organisations.read() as c:
        assert read.config(c, ORG, "0123456789abcdef") == second
        newest, first = read.revisions(c, ORG, "0123456789abcdef")
    assert (newest.revision, newest.state, newest.payload) == (2, "retired", b"{}")
    assert first == rows.RevisionRow(
        1, "Gäste ✓", {"service": ["shop"]}, config().payload, "active", 2, "ann", "why\nnot", LARGE
    )


def test_a_wrong_expected_revision_changes_nothing_and_tells_both(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.put_config(c, config(), expected_revision=None)
    before = dump(two_organisations)

    with pytest.raises(ConflictError) as caught, two_organisations.write() as c:
        write.put_config(c, config(revision=6), expected_revision=5)
    with pytest.raises(NotFoundError), two_organisations.write() as c:
        write.put_config(c, config("f" * 16, revision=2), expected_revision=1)

    assert (caught.value.expected_revision, caught.value.actual_revision) == (5, 1)
    assert dump(two_organisations) == before


def test_configs_are_found_by_product_state_and_generation(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.put_config(c, config("a" * 16, generation=1), expected_revision=None)
        write.put_config(c, config("b" * 16, product="ASM", generation=2), expected_revision=None)
        write.put_config(c, config("c" * 16, state="retired", generation=3), expected_revision=None)
        write.put_config(c, config("d" * 16, org_id=OTHER, generation=4), expected_revision=None)

    def ids(found: list[rows.ConfigRow]) -> str:
        return "".join(row.config_id[0] for row in found)

    with two_organisations.read() as c:
        assert ids(read.configs(c, ORG)) == "cba"  # last changed first
        assert ids(read.configs(c, ORG, product="ASM_DATA")) == "ca"
        assert ids(read.configs(c, ORG, product="ASM_DATA", state="active")) == "a"
        assert ids(read.configs(c, ORG, state="retired")) == "c"
        assert sorted(ids(read.configs_since(c, ORG, 1))) == ["b", "c"]
        assert read.configs_since(c, ORG, 3) == []
        assert len(read.configs_since(c, ORG, -1)) == 3
        assert read.count_active(c, ORG) == 2
        ((config_id, targeting, payload, expires_ms),) = read.active_of(c, ORG, "ASM_DATA")
        same = read.config(c, ORG, config_id)
        assert same is not None
        assert (json.loads(targeting), payload, expires_ms) == (same.targeting, same.payload, same.expires_ms)


# What is published ----------------------------------------------------------------------------------------


def file(path: str = "datadog/1/ASM/x/config", **changes: Any) -> rows.FileRow:
    values: dict[str, Any] = {
        "path": path,
        "version": 1,
        "sha256": "0" * 64,
        "raw": b"\x00\xff{}",
        "sources": {"a" * 16: 3},
        "provenance": {"$.asm.enabled": "a" * 16},
        "role": "ASM",
        **changes,
    }
    return rows.FileRow(**values)


def test_files_are_put_and_put_again(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.put_files(c, ORG, [file(), file("datadog/1/ASM/y/config")])
        write.put_files(c, ORG, [])
        write.put_files(c, ORG, [file(version=2, raw=b"new", role="")])
        write.put_files(c, OTHER, [file("datadog/2/ASM/x/config")])

    with two_organisations.read() as c:
        found = {row.path[-8]: row for row in read.files(c, ORG)}
    assert found == {"x": file(version=2, raw=b"new", role=""), "y": file("datadog/1/ASM/y/config")}


def test_audiences_keep_their_numbers(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.add_audience(c, ORG, "ASM", "a" * 64, 0)
        write.add_audience(c, ORG, "ASM", "b" * 64, 1)
        write.add_audience(c, ORG, "ASM_DATA", "a" * 64, 0)
        write.add_audience(c, OTHER, "ASM", "a" * 64, 5)

    with two_organisations.read() as c:
        assert read.audiences(c, ORG, "ASM") == [("ASM", "a" * 64, 0), ("ASM", "b" * 64, 1)]
        assert len(read.audiences(c, ORG)) == 3
        assert read.audiences(c, OTHER) == [("ASM", "a" * 64, 5)]


def test_the_newest_document_of_each_role(two_organisations: Database) -> None:
    documents = [rows.DocumentRow("ASM", 1, b"1", 10), rows.DocumentRow("ASM", 12, b"12", 20)]
    with two_organisations.write() as c:
        write.add_documents(c, ORG, [*documents, rows.DocumentRow("snapshot", 2, b"s", 10)])
        write.add_documents(c, ORG, [])
        write.add_documents(c, OTHER, [rows.DocumentRow("ASM", 99, b"o", 10)])

    with two_organisations.read() as c:
        found = {row.role: row for row in read.current_documents(c, ORG)}
    assert found == {"ASM": documents[1], "snapshot": rows.DocumentRow("snapshot", 2, b"s", 10)}


def test_a_document_is_never_signed_twice_under_one_version(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.add_documents(c, ORG, [rows.DocumentRow("ASM", 1, b"1", 10)])
    with pytest.raises(ConflictError), two_organisations.write() as c:
        write.add_documents(c, ORG, [rows.DocumentRow("ASM", 1, b"2", 10)])


def test_documents_at_certain_versions(two_organisations: Database) -> None:
    documents = [rows.DocumentRow("ASM", n, b"%d" % n, 10) for n in (1, 2, LARGE)]
    with two_organisations.write() as c:
        write.add_documents(c, ORG, [*documents, rows.DocumentRow("snapshot", 2, b"s", 10)])
        write.add_documents(c, OTHER, [rows.DocumentRow("ASM", 3, b"o", 10)])

    with two_organisations.read() as c:
        assert read.documents(c, ORG, {"ASM": 2, "snapshot": 9}) == {"ASM": documents[1]}
        assert read.documents(c, ORG, {"ASM": LARGE}) == {"ASM": documents[2]}
        assert read.documents(c, ORG, {"ASM": 3}) == {}
        assert read.documents(c, ORG, {}) == {}


def bundle(version: int, view_key: str = "v", **changes: Any) -> rows.LedgerRow:
    values: dict[str, Any] = {
        "version": version,
        "view_key": view_key,
        "config_version": 4,
        "key_epoch": 1,
        "signed_ms": 10,
        "expires_ms": 100,
        "sha256": "0" * 64,
        "targets": b"t\x00",
        "snapshot": b"s",
        "timestamp": b"ts",
        **changes,
    }
    return rows.LedgerRow(**values)


def test_the_ledger_knows_the_newest_bundle_of_a_view(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.add_ledger(c, ORG, [bundle(1), bundle(3), bundle(2), bundle(LARGE, "w")])
        write.add_ledger(c, ORG, [])
        write.add_ledger(c, OTHER, [bundle(9)])

    with two_organisations.read() as c:
        assert read.ledger_newest(c, ORG, "v") == bundle(3)
        assert read.ledger_newest(c, ORG, "w") == bundle(LARGE, "w")
        assert read.ledger_newest(c, ORG, "x") is None
        assert read.ledger_view(c, ORG, 2) == "v"
        assert read.ledger_view(c, ORG, 4) is None


def test_a_version_is_in_the_ledger_once(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.add_ledger(c, ORG, [bundle(1)])
    with pytest.raises(ConflictError), two_organisations.write() as c:
        write.add_ledger(c, ORG, [bundle(2), bundle(1, "other")])
    with two_organisations.read() as c:
        assert read.ledger_view(c, ORG, 2) is None


def test_pruning_drops_bytes_that_have_expired_and_keeps_the_versions(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.add_ledger(c, ORG, [bundle(1, expires_ms=99), bundle(2, expires_ms=100)])
        write.add_documents(
            c, ORG,
            [
                rows.DocumentRow("ASM", 1, b"superseded, old", 50),
                rows.DocumentRow("ASM", 2, b"current, old", 60),
                rows.DocumentRow("snapshot", 1, b"superseded, young", 200),
                rows.DocumentRow("snapshot", 2, b"current", 300),
            ],
        )  # fmt: skip
        write.add_documents(c, OTHER, [rows.DocumentRow("ASM", 9, b"of others", 1)])
        write.prune_published(c, ORG, before_ms=100)

    with two_organisations.read() as c:
        left = {(row.org_id, row.role, row.version) for row in c.execute(sa.select(t.config_documents))}
        ledger = {row.version: row.targets for row in c.execute(sa.select(t.ledger))}
    assert left == {(ORG, "ASM", 2), (ORG, "snapshot", 1), (ORG, "snapshot", 2), (OTHER, "ASM", 9)}
    assert ledger == {1: None, 2: b"t\x00"}


# Keys -----------------------------------------------------------------------------------------------------


def api_key(key_id: str = "k1", org_id: int = ORG, **changes: Any) -> rows.ApiKeyRow:
    values: dict[str, Any] = {
        "key_id": key_id,
        "org_id": org_id,
        "name": "agents",
        "sha256": key_id * 8,
        "last4": "abcd",
        "remote_config": True,
        "created_ms": 5,
        "created_by": "ann",
        "last_used_ms": None,
        "revoked_ms": None,
        **changes,
    }
    return rows.ApiKeyRow(**values)


def test_api_keys_of_one_organisation_and_of_all(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.add_api_key(c, api_key())
        write.add_api_key(c, api_key("k2", OTHER, remote_config=False, created_ms=6))

    with two_organisations.read() as c:
        assert read.api_keys(c, ORG) == [api_key()]
        assert [key.key_id for key in read.api_keys(c)] == ["k1", "k2"]


def test_an_api_key_is_changed_only_by_its_organisation(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.add_api_key(c, api_key())
        write.change_api_key(c, ORG, "k1", name="renamed", remote_config=False)
    with pytest.raises(NotFoundError), two_organisations.write() as c:
        write.change_api_key(c, OTHER, "k1", revoked_ms=9)
    with two_organisations.write() as c:
        write.note_api_key_use(c, {"k1": LARGE, "gone": 1})

    with two_organisations.read() as c:
        assert read.api_keys(c, ORG) == [api_key(name="renamed", remote_config=False, last_used_ms=LARGE)]


def test_an_application_key_notes_its_use_and_is_revoked_by_its_own_organisation_alone(
    two_organisations: Database,
) -> None:
    with two_organisations.write() as c:
        write.add_application_key(
            c, key_id="a1", org_id=ORG, user="ann", role="admin", sha256="a1", last4="abcd", now_ms=1
        )
        write.note_application_key_use(c, {"a1": LARGE, "gone": 1})

    with two_organisations.read() as c:
        assert [key.last_used_ms for key in read.application_keys(c, ORG)] == [LARGE]
    with pytest.raises(NotFoundError), two_organisations.write() as c:
        write.revoke_application_key(c, OTHER, "a1", now_ms=3)
    with two_organisations.write() as c:
        write.revoke_application_key(c, ORG, "a1", now_ms=3)
    with two_organisations.read() as c:
        assert read.application_keys(c, ORG) == []


def test_a_row_is_put_or_replaced(two_organisations: Database) -> None:
    values = {
        "org_id": ORG, "webhook_id": "w", "name": "a", "url": "u", "events": "[]", "secret_wrapped": b"",
        "enabled": True, "created_ms": 1, "created_by": "ann",
    }  # fmt: skip
    with two_organisations.write() as c:
        write.upsert(c, t.webhooks, [values], "created_by")
        write.upsert(c, t.webhooks, [{**values, "name": "b", "created_by": "eve"}], "created_by")

    with two_organisations.read() as c:
        assert [(row.name, row.created_by) for row in c.execute(sa.select(t.webhooks))] == [("b", "ann")]


def test_application_keys_that_are_revoked_are_not_read(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        for key_id in ("a1", "a2"):
            write.add_application_key(
                c, key_id=key_id, org_id=ORG, user="ann", role="admin", sha256=key_id, last4="abcd", now_ms=1
            )
        c.execute(
            sa.update(t.application_keys).where(t.application_keys.c.key_id == "a2").values(revoked_ms=2)
        )

    with two_organisations.read() as c:
        assert read.application_keys(c) == [
            rows.ApplicationKeyRow("a1", ORG, "ann", "admin", "a1", None, "abcd", created_ms=1)
        ]


# Reports --------------------------------------------------------------------------------------------------


def agent(agent_id: str = "host:uuid", **changes: Any) -> rows.AgentRow:
    values: dict[str, Any] = {
        "agent_id": agent_id,
        "hostname": "host",
        "version": "7.80.0",
        "tags": ("env:prod", "ä:ö"),
        "first_seen_ms": 10,
        "last_seen_ms": 20,
        "error": "",
        "director_version": LARGE,
        **changes,
    }
    return rows.AgentRow(**values)


def client(client_id: str = "c1", **changes: Any) -> rows.ClientRow:
    values: dict[str, Any] = {
        "client_id": client_id,
        "agent_id": "host:uuid",
        "facts": {"service": "shop", "odd": "\x00\u2028"},
        "first_seen_ms": 10,
        "last_seen_ms": 20,
        "error": "",
        "targets_version": LARGE,
        **changes,
    }
    return rows.ClientRow(**values)


def test_agents_and_clients_keep_when_they_were_first_seen(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.put_agents(c, ORG, [agent(), agent("b:u", hostname="a-host")])
        write.put_agents(c, ORG, [agent(first_seen_ms=99, last_seen_ms=30, error="tuf: x")])
        write.put_clients(c, ORG, [client(), client("c0", last_seen_ms=5)])
        write.put_clients(c, ORG, [client(first_seen_ms=99, last_seen_ms=30)])
        write.put_agents(c, OTHER, [])
        write.put_clients(c, OTHER, [])

    with two_organisations.read() as c:
        assert read.agents(c, ORG) == [
            agent("b:u", hostname="a-host"),
            agent(last_seen_ms=30, error="tuf: x"),
        ]
        assert read.clients(c, ORG) == [client("c0", last_seen_ms=5), client(last_seen_ms=30)]
        assert read.clients(c, ORG, since_ms=6) == [client(last_seen_ms=30)]
        assert read.agents(c, OTHER) == []


def test_deliveries_change_and_go(two_organisations: Database) -> None:
    first, second = rows.DeliveryRow("c1", "p1", 1, 2, "", 10), rows.DeliveryRow("c1", "p2", 1, 3, "no", 10)
    with two_organisations.write() as c:
        write.put_deliveries(c, ORG, [first, second])
        write.put_deliveries(
            c, ORG, [rows.DeliveryRow("c1", "p1", 2, 1, "", 20)], [("c1", "p2"), ("c9", "p9")]
        )

    with two_organisations.read() as c:
        assert read.deliveries(c, ORG) == [rows.DeliveryRow("c1", "p1", 2, 1, "", 20)]
        assert read.deliveries(c, OTHER) == []


def test_held_values_are_remembered_and_forgotten(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.put_held(c, ORG, "c1", "APM_TRACING", {"a": True}, now_ms=1)
        write.put_held(c, ORG, "c1", "APM_TRACING", {"b": False}, now_ms=2)
        write.put_held(c, ORG, "c2", "APM_TRACING", {"a": True}, now_ms=1)
        write.put_held(c, ORG, "c2", "APM_TRACING", {}, now_ms=2)

    with two_organisations.read() as c:
        assert read.held_values(c, ORG) == {"c1": {"APM_TRACING": {"b": False}}}
        assert read.held_values(c, OTHER) == {}


def test_a_forgotten_client_leaves_nothing(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        write.put_clients(c, ORG, [client("old", last_seen_ms=5), client("new", last_seen_ms=50)])
        write.put_clients(c, OTHER, [client("old", last_seen_ms=5)])
        for client_id in ("old", "new"):
            write.put_deliveries(c, ORG, [rows.DeliveryRow(client_id, "p", 1, 2, "", 1)])
            write.put_held(c, ORG, client_id, "APM_TRACING", {"a": True}, now_ms=1)

        assert write.forget_clients(c, ORG, before_ms=50) == ["old"]

    with two_organisations.read() as c:
        assert [row.client_id for row in read.clients(c, ORG)] == ["new"]
        assert [row.client_id for row in read.deliveries(c, ORG)] == ["new"]
        assert list(read.held_values(c, ORG)) == ["new"]
        assert [row.client_id for row in read.clients(c, OTHER)] == ["old"]


# Audit and alarms -----------------------------------------------------------------------------------------


def test_audit_comes_newest_first_and_in_pages(two_organisations: Database) -> None:
    with two_organisations.write() as c:
        for n in range(5):
            write.add_audit(
                c, ORG if n != 2 else OTHER, at_ms=n, actor="ann", action="config.created",
                subject=f"config {n}", summary="Made", detail={"n": n},
            )  # fmt: skip
        write.add_audit(c, ORG, at_ms=9, actor="ann", action="a", subject="s", summary="no detail")

    with two_organisations.read() as c:
        page = read.audit(c, ORG, limit=2)
        rest = read.audit(c, ORG, limit=100, before=page[-1].id)
        assert read.audit(c, ORG, before=rest[-1].id) == []
        assert [row.detail for row in read.audit(c, OTHER)] == [{"n": 2}]
    assert [row.detail for row in page] == [{}, {"n": 4}]
    assert [row.detail for row in rest] == [{"n": 3}, {"n": 1}, {"n": 0}]


def test_an_alarm_is_raised_once_while_it_is_open(two_organisations: Database) -> None:
    def raise_it(c: sa.Connection, org_id: int = ORG) -> bool:
        return write.raise_alarm(c, org_id, at_ms=1, kind="k", subject="s", message="m")

    with two_organisations.write() as c:
        assert raise_it(c)
        assert not raise_it(c)
        assert raise_it(c, OTHER)
        c.execute(sa.update(t.alarms).where(t.alarms.c.org_id == ORG).values(resolved_ms=5))
        assert read.open_alarms(c, ORG) == []
        assert raise_it(c)

    with two_organisations.read() as c:
        assert [(row.org_id, row.kind, row.message) for row in read.open_alarms(c)] == [
            (ORG, "k", "m"),
            (OTHER, "k", "m"),
        ]
        assert len(read.open_alarms(c, OTHER)) == 1


def test_every_query_and_every_change_is_asked_here() -> None:
    """So that nothing is added that was never run on PostgreSQL; other modules have their own tests."""
    source = Path(__file__).read_text()
    for module in (read, write):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            takes = list(inspect.signature(function).parameters)
            if function.__module__ == module.__name__ and not name.startswith("_") and takes[0] == "c":
                assert f"{module.__name__.rpartition('.')[2]}.{name}(" in source, name


# The whole of publishing ------------------------------------------------------------------------------------


def test_publishing_on_either_database(url: str, tmp_path: Path) -> None:
    domain = Domain(tmp_path, database_url=url)
    replica = domain.new_publisher()
    wanted = demand("host-a", facts())
    for n in range(6):
        domain.put("ASM_DATA", denylist(f"203.0.113.{n}"))
        domain.put("ASM_FEATURES", ASM_ON, {"service": ["shop"]})
        (bundle_,) = domain.publish(wanted, publisher=replica if n % 2 else domain.publisher)
    (revived,) = domain.publish(wanted, publisher=domain.new_publisher())

    assert revived.version == bundle_.version
    assert revived.targets == bundle_.targets
    entries = domain.ledger()
    assert len({entry.version for entry in entries}) == len(entries)
    domain.database.close()


def test_two_replicas_at_full_tilt_never_issue_a_version_twice(url: str, tmp_path: Path) -> None:
    """Threads with a publisher each over one database; the ledger's key would fail one of them."""
    domain = Domain(tmp_path, database_url=url)
    publishers = [domain.new_publisher() for _ in range(3)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for n in range(8):
                domain.put("ASM_DATA", denylist(f"10.{number}.0.{n}"), {"service": [f"s{number}"]})
                domain.publish(
                    demand(f"host-{number}", facts(f"c{number}", service=f"s{number}")),
                    publisher=publishers[number],
                )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(110)

    assert failures == []
    entries = domain.ledger()
    assert len({entry.version for entry in entries}) == len(entries)
    for number, publisher in enumerate(publishers):
        (last,) = domain.publish(
            demand(f"host-{number}", facts(f"c{number}", service=f"s{number}")), publisher=publisher
        )
        assert len(last.files) == 8
    domain.database.close()
