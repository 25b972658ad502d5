"""Sessions end when they are idle, old, revoked, and with their user's or their key's right to be here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sealwire.errors import NotFoundError, UnauthenticatedError
from sealwire.server.access import roles, users
from sealwire.server.access.sessions import (
    ABSOLUTE_MS,
    FORGET_EVERY_MS,
    HALF_MS,
    IDLE_MS,
    KEPT_MS,
    MAX_OF_A_USER,
    PASSWORD,
    SEEN_EVERY_MS,
    Browser,
    Sessions,
)
from sealwire.server.access.users import Users
from sealwire.server.store import people
from sealwire.server.store import roles as store_roles
from sealwire.server.store.people import UserRow
from tests.support.parts import Domain

NOW = 10_000_000_000
HERE = Browser("192.0.2.1", "Mozilla/5.0 \x00 Firefox/140")


@pytest.fixture
def sessions(domain: Domain) -> Sessions:
    return Sessions(domain.database, domain.access)


@pytest.fixture
def ann(domain: Domain) -> UserRow:
    with domain.database.write() as c:
        for email in ("root@example.org", "ann@example.org"):
            user = users.create(c, domain.org_id, email=email, by="test", now_ms=1)
            roles.bind(c, domain.org_id, user.user_id, "admin", by="test", now_ms=1)
            user = users.activate(c, user, by="test", now_ms=1)
        return user


def begin(sessions: Sessions, user: UserRow, now_ms: int = NOW) -> str:
    return sessions.begin(user, HERE, method=PASSWORD, now_ms=now_ms)


def test_whoever_is_signed_in_may_what_their_roles_say(sessions: Sessions, ann: UserRow) -> None:
    principal = sessions.principal(begin(sessions, ann), now_ms=NOW)

    assert principal is not None
    assert (principal.user, principal.user_id, principal.key_id) == ("ann@example.org", ann.user_id, "")
    assert principal.role == "Admin"
    assert len(principal.session_id) == 16
    assert sessions.principal("x" * 43, now_ms=NOW) is None
    assert sessions.principal("", now_ms=NOW) is None


def test_a_token_is_not_in_the_database(domain: Domain, sessions: Sessions, ann: UserRow) -> None:
    token = begin(sessions, ann)
    with domain.database.read() as c:
        row = people.sessions_of(c, ann.user_id)[0]
    assert token not in str(row)
    assert row.user_agent == "Mozilla/5.0 ? Firefox/140"


def test_a_session_outlives_the_process(domain: Domain, sessions: Sessions, ann: UserRow) -> None:
    token = begin(sessions, ann)
    assert Sessions(domain.database, domain.access).principal(token, now_ms=NOW) is not None


def test_an_idle_session_ends_and_what_the_page_asks_by_itself_does_not_keep_it(
    sessions: Sessions, ann: UserRow
) -> None:
    token = begin(sessions, ann)

    assert sessions.principal(token, now_ms=NOW + IDLE_MS) is not None
    assert sessions.principal(token, now_ms=NOW + 2 * IDLE_MS, by_itself=True) is not None
    assert sessions.principal(token, now_ms=NOW + 2 * IDLE_MS + 1) is None


def test_a_busy_session_ends_too(sessions: Sessions, ann: UserRow) -> None:
    token = begin(sessions, ann)
    for at in range(NOW, NOW + ABSOLUTE_MS, IDLE_MS // 2):
        assert sessions.principal(token, now_ms=at) is not None
    assert sessions.principal(token, now_ms=NOW + ABSOLUTE_MS + 1) is None


def test_last_use_is_written_at_most_once_a_minute(domain: Domain, sessions: Sessions, ann: UserRow) -> None:
    token = begin(sessions, ann)

    def seen_ms() -> int:
        sessions.flush(now_ms=NOW)
        with domain.database.read() as c:
            return people.sessions_of(c, ann.user_id)[0].last_seen_ms

    sessions.principal(token, now_ms=NOW + SEEN_EVERY_MS - 1)
    assert seen_ms() == NOW
    sessions.principal(token, now_ms=NOW + SEEN_EVERY_MS)
    assert seen_ms() == NOW + SEEN_EVERY_MS


def test_a_role_that_is_taken_away_is_gone_with_the_next_request(
    domain: Domain, sessions: Sessions, ann: UserRow
) -> None:
    token = begin(sessions, ann)
    with domain.database.write() as c:
        binding = store_roles.bindings(c, domain.org_id, user_id=ann.user_id)[0]
        store_roles.delete_binding(c, domain.org_id, binding.binding_id)

    principal = sessions.principal(token, now_ms=NOW)

    assert principal is not None
    assert not principal.may("fleet_read")


def test_whoever_is_disabled_is_out_at_once_and_comes_in_no_more(
    domain: Domain, sessions: Sessions, ann: UserRow
) -> None:
    token = begin(sessions, ann)
    Users(domain.database, domain.access.reload).disable(domain.org_id, ann.user_id, by="test", now_ms=NOW)

    assert sessions.principal(token, now_ms=NOW) is None
    with pytest.raises(UnauthenticatedError):
        begin(sessions, ann)


def test_another_password_ends_every_session_but_the_present_one(
    domain: Domain, sessions: Sessions, ann: UserRow
) -> None:
    here, there = begin(sessions, ann), begin(sessions, ann)
    present = sessions.principal(here, now_ms=NOW)
    assert present is not None
    with domain.database.write() as c:
        users.set_password_hash(c, ann, "x", by="test", now_ms=NOW, but_session_id=present.session_id)

    assert sessions.principal(here, now_ms=NOW) is not None
    assert sessions.principal(there, now_ms=NOW) is None


def test_sessions_are_listed_and_ended_by_their_user_and_nobody_else(
    domain: Domain, sessions: Sessions, ann: UserRow
) -> None:
    root = Users(domain.database, domain.access.reload).named("root@example.org")
    here, there, elsewhere = begin(sessions, ann), begin(sessions, ann, NOW + 1), begin(sessions, root)
    principal = sessions.principal(here, now_ms=NOW + 2)
    of_root = sessions.principal(elsewhere, now_ms=NOW + 2)
    assert principal is not None
    assert of_root is not None

    listed = sessions.of_user(ann.user_id, present_id=principal.session_id, now_ms=NOW + 2)
    assert [one.is_present for one in listed] == [True, False]
    with pytest.raises(NotFoundError):
        sessions.end_one(of_root, listed[1].session.session_id, now_ms=NOW + 2)
    sessions.end_one(principal, listed[1].session.session_id, now_ms=NOW + 2)

    assert sessions.principal(there, now_ms=NOW + 2) is None
    begin(sessions, ann)
    assert sessions.end_others(principal, now_ms=NOW + 2) == 1
    assert sessions.principal(here, now_ms=NOW + 2) is not None
    assert sessions.principal(elsewhere, now_ms=NOW + 2) is not None


def test_the_oldest_session_of_a_user_makes_room(sessions: Sessions, ann: UserRow) -> None:
    first = begin(sessions, ann)
    for number in range(MAX_OF_A_USER):
        begin(sessions, ann, NOW + 1 + number)
    assert sessions.principal(first, now_ms=NOW + MAX_OF_A_USER) is None
    assert len(sessions.of_user(ann.user_id, present_id="", now_ms=NOW + MAX_OF_A_USER)) == MAX_OF_A_USER


def test_a_session_of_an_application_key_ends_with_the_key(domain: Domain, sessions: Sessions) -> None:
    secret = domain.access.create_application_key(domain.org_id, user="robot", role="standard", now_ms=1)
    token = sessions.begin_with_key(f" {secret} ", HERE, now_ms=NOW)
    principal = sessions.principal(token, now_ms=NOW)
    assert principal is not None
    assert (principal.user, principal.role, principal.key_id) == ("robot", "Standard", "")
    with pytest.raises(UnauthenticatedError):
        sessions.begin_with_key("wrong", HERE, now_ms=NOW)

    domain.access._application = {}

    assert sessions.principal(token, now_ms=NOW) is None


def test_half_a_session_is_nobodys_and_does_not_last(sessions: Sessions, ann: UserRow) -> None:
    token = sessions.begin_half(ann, HERE, now_ms=NOW)

    assert sessions.principal(token, now_ms=NOW) is None
    assert sessions.of_user(ann.user_id, present_id="", now_ms=NOW) == []
    assert sessions.whose(token) is None
    assert sessions.of_half(token, now_ms=NOW + HALF_MS) == ann
    assert sessions.of_half(token, now_ms=NOW + HALF_MS + 1) is None
    assert sessions.of_half(begin(sessions, ann), now_ms=NOW) is None
    sessions.end(token, now_ms=NOW)
    assert sessions.of_half(token, now_ms=NOW) is None


def test_a_session_that_ended_still_tells_whose_it_was_for_two_days(sessions: Sessions, ann: UserRow) -> None:
    token = begin(sessions, ann)
    sessions.end(token, now_ms=NOW + 5)

    sessions.flush(now_ms=NOW + KEPT_MS - FORGET_EVERY_MS)
    row = sessions.whose(token)
    assert row is not None
    assert (row.user_id, row.ended_ms) == (ann.user_id, NOW + 5)
    sessions.flush(now_ms=NOW + KEPT_MS + 1)
    assert sessions.whose(token) is None


def test_a_sign_in_is_told_in_the_audit_trail_and_at_the_user(
    domain: Domain, sessions: Sessions, ann: UserRow
) -> None:
    begin(sessions, ann)
    with domain.database.read() as c:
        found = people.user(c, domain.org_id, ann.user_id)
    assert found == replace(ann, last_sign_in_ms=NOW)
