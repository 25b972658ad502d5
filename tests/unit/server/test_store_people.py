"""Rows of users, sessions, links and recovery codes, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.errors import ConflictError, NotFoundError
from sealwire.server.store import people, rows, write
from sealwire.server.store.database import Database
from sealwire.server.store.people import LinkRow, SessionRow, UserRow

ORG, OTHER = 1, 2
ANN = UserRow(
    "a" * 16, ORG, "Ann@Example.org", "ann@example.org", "Ann ✓", "active", None, None, None, 5, "cli",
    None, None,
)  # fmt: skip
BOB = replace(ANN, user_id="b" * 16, org_id=OTHER, email="bob@example.org", email_key="bob@example.org")
SESSION = SessionRow("1" * 64, "s1", ORG, ANN.user_id, None, 100, 100, "192.0.2.1", "Browser", "password")
LINK = LinkRow("2" * 64, "l1", ORG, "invitation", ANN.user_id, 100, "cli", 1000)


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
            uuid = f"00000000-0000-0000-0000-{org_id:012}"
            write.add_organisation(c, rows.Organisation(org_id, uuid, name, True, True, 1))
        people.add_user(c, ANN)
        people.add_user(c, BOB)
    yield made
    made.close()


def only_one_gets_it(database: Database, take: Callable[..., bool]) -> None:
    """Eight at once try to use up what works once."""
    got: list[bool] = []
    barrier = threading.Barrier(8)

    def attempt() -> None:
        barrier.wait()
        with database.write() as c:
            got.append(take(c))

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


def test_a_user_is_kept_as_given_and_found_by_email_in_any_organisation(database: Database) -> None:
    with database.read() as c:
        assert people.users(c, ORG) == [ANN]
        assert people.user(c, ORG, ANN.user_id) == ANN
        assert people.user_of_email(c, BOB.email_key) == BOB
        assert people.user_of_email(c, "nobody@example.org") is None
        assert people.has_users(c)


def test_a_user_of_another_organisation_is_neither_read_nor_changed(database: Database) -> None:
    with database.read() as c, pytest.raises(NotFoundError):
        people.user(c, OTHER, ANN.user_id)
    with database.write() as c, pytest.raises(NotFoundError):
        people.change_user(c, OTHER, ANN.user_id, name="x")


def test_the_same_email_twice_is_a_conflict_in_whichever_organisation(database: Database) -> None:
    with pytest.raises(ConflictError), database.write() as c:
        people.add_user(c, replace(BOB, user_id="c" * 16, email_key=ANN.email_key))


def test_a_code_of_a_time_step_is_taken_once_and_none_before_it(database: Database) -> None:
    with database.write() as c:
        assert people.take_totp_step(c, ANN.user_id, 50)
        assert not people.take_totp_step(c, ANN.user_id, 50)
        assert not people.take_totp_step(c, ANN.user_id, 49)
    only_one_gets_it(database, lambda c: people.take_totp_step(c, ANN.user_id, 51))


def test_a_session_is_read_with_whose_it_is(database: Database) -> None:
    of_a_key = replace(SESSION, sha256="3" * 64, session_id="s3", user_id=None, application_key_id="k1")
    with database.write() as c:
        people.add_session(c, SESSION)
        people.add_session(c, of_a_key)
    with database.read() as c:
        assert people.session_and_user(c, SESSION.sha256) == (SESSION, ANN)
        assert people.session_and_user(c, of_a_key.sha256) == (of_a_key, None)
        assert people.session_and_user(c, "0" * 64) is None
        assert people.session(c, SESSION.sha256) == SESSION
        assert people.sessions_of(c, ANN.user_id) == [SESSION]


def test_a_session_ends_once_and_keeps_its_row(database: Database) -> None:
    with database.write() as c:
        people.add_session(c, SESSION)
        assert people.end_session(c, "s1", now_ms=200)
        assert not people.end_session(c, "s1", now_ms=300)
    with database.read() as c:
        assert people.session(c, SESSION.sha256) == replace(SESSION, ended_ms=200)
        assert people.sessions_of(c, ANN.user_id) == []


def test_all_sessions_of_a_user_end_but_the_present_one(database: Database) -> None:
    of_bob = replace(SESSION, sha256="4" * 64, session_id="s4", user_id=BOB.user_id)
    with database.write() as c:
        for number in "123":
            people.add_session(c, replace(SESSION, sha256=number * 64, session_id=f"s{number}"))
        people.add_session(c, of_bob)
        assert people.end_sessions_of(c, ANN.user_id, now_ms=200, but=("s2",)) == 2
    with database.read() as c:
        assert [one.session_id for one in people.sessions_of(c, ANN.user_id)] == ["s2"]
        assert people.sessions_of(c, BOB.user_id) == [of_bob]


def test_last_use_of_a_session_never_goes_back(database: Database) -> None:
    with database.write() as c:
        people.add_session(c, SESSION)
        people.note_sessions(c, {SESSION.sha256: 500, "0" * 64: 500})
        people.note_sessions(c, {SESSION.sha256: 400})
        found = people.session(c, SESSION.sha256)
        assert found is not None
        assert found.last_seen_ms == 500
        assert people.forget_sessions(c, before_ms=500) == 0
        assert people.forget_sessions(c, before_ms=501) == 1


def test_a_link_is_taken_once_and_not_after_its_time(database: Database) -> None:
    with database.write() as c:
        people.add_link(c, LINK)
        people.add_link(c, replace(LINK, sha256="5" * 64, link_id="l2"))
        assert people.link(c, LINK.sha256) == LINK
        assert people.links(c, ORG, now_ms=999)[0] == LINK
        assert not people.take_link(c, LINK.sha256, now_ms=1000)
    only_one_gets_it(database, lambda c: people.take_link(c, LINK.sha256, now_ms=999))
    with database.write() as c:
        assert [one.link_id for one in people.links(c, ORG, now_ms=999)] == ["l2"]
        assert people.links(c, OTHER, now_ms=999) == []


def test_links_of_a_user_end_and_those_of_nobody_stay(database: Database) -> None:
    first_run = replace(LINK, sha256="6" * 64, link_id="l6", kind="first_run", user_id=None)
    with database.write() as c:
        people.add_link(c, LINK)
        people.add_link(c, first_run)
        assert people.end_links_of(c, ORG, ANN.user_id, now_ms=200) == 1
        assert people.links(c, ORG, now_ms=200) == [first_run]
        assert people.end_links_of(c, ORG, None, now_ms=200) == 1
        assert people.forget_links(c, before_ms=1001) == 2


def test_recovery_codes_are_taken_once_and_replaced_as_a_whole(database: Database) -> None:
    with database.write() as c:
        people.put_recovery_codes(c, ANN.user_id, ["a", "b"], now_ms=100)
        people.put_recovery_codes(c, ANN.user_id, ["c", "d"], now_ms=200)
        assert not people.take_recovery_code(c, ANN.user_id, "a", now_ms=300)
        assert not people.take_recovery_code(c, BOB.user_id, "c", now_ms=300)
    only_one_gets_it(database, lambda c: people.take_recovery_code(c, ANN.user_id, "c", now_ms=300))
    with database.read() as c:
        assert people.recovery_codes_left(c, ANN.user_id) == 1
