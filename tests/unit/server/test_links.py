"""Links work once, for as long as they say, for whom they say, and looking at one uses nothing up."""

from __future__ import annotations

import asyncio

import pytest

from sealwire.errors import InvalidChangeError, NotFoundError
from sealwire.server.access import links, roles, users
from sealwire.server.access.links import LIFETIME_MS, Links
from sealwire.server.access.passwords import Passwords
from sealwire.server.access.users import Users
from sealwire.server.store import people, read
from sealwire.server.store.people import UserRow
from tests.support.parts import Domain

NOW = 1_000_000
GOOD, OTHER = "purple walrus misses Tuesday", "nine lazy lanterns hum"


@pytest.fixture
def made(domain: Domain) -> Links:
    return Links(domain.database, Passwords(time_cost=1, memory_kib=64))


def first_run(domain: Domain, made: Links) -> str:
    path = made.first_run(domain.org_id, by="start", now_ms=NOW)
    assert path is not None
    return path.removeprefix("/join/")


def become_first(domain: Domain, made: Links) -> UserRow:
    return asyncio.run(
        made.join(first_run(domain, made), password=GOOD, email="Root@example.org", name="Root", now_ms=NOW)
    )


def invited(domain: Domain, kind: str = links.INVITATION) -> tuple[UserRow, str]:
    with domain.database.write() as c:
        user = users.create(c, domain.org_id, email="ann@example.org", name="Ann", by="root", now_ms=NOW)
        roles.bind(c, domain.org_id, user.user_id, "standard", by="root", now_ms=NOW)
        return user, links.make(c, domain.org_id, kind, user=user, by="root", now_ms=NOW)


def test_the_first_user_becomes_the_administrator(domain: Domain, made: Links) -> None:
    user = become_first(domain, made)

    assert (user.email, user.name, user.state) == ("Root@example.org", "Root", "active")
    with domain.database.read() as c:
        assert [grant.role.name for grant in roles.grants_of_user(c, domain.org_id, user.user_id)] == [
            "Admin"
        ]
        actions = {event.action for event in read.audit(c, domain.org_id, limit=20)}
    assert {"link.made", "user.invited", "user.activated", "user.password_set", "role.given"} <= actions


def test_once_there_is_a_user_there_is_no_first_run(domain: Domain, made: Links) -> None:
    again = first_run(domain, made)
    become_first(domain, made)

    assert made.first_run(domain.org_id, by="start", now_ms=NOW) is None
    with pytest.raises(NotFoundError):
        made.open(again, now_ms=NOW)
    with pytest.raises(NotFoundError):
        asyncio.run(made.join(again, password=OTHER, email="mallory@example.org", now_ms=NOW))


def test_of_two_who_open_first_runs_at_once_one_becomes_the_administrator(
    domain: Domain, made: Links
) -> None:
    tokens = [first_run(domain, made) for _ in range(3)]

    async def race() -> list[object]:
        tries = [
            made.join(token, password=GOOD, email=f"user{n}@example.org", now_ms=NOW)
            for n, token in enumerate([*tokens, *tokens])
        ]
        return list(await asyncio.gather(*tries, return_exceptions=True))

    came = asyncio.run(race())
    assert sum(isinstance(one, UserRow) for one in came) == 1
    assert sum(isinstance(one, NotFoundError) for one in came) == 5
    assert len(Users(domain.database, lambda: None).all(domain.org_id)) == 1


def test_looking_uses_nothing_up_and_a_link_works_once(domain: Domain, made: Links) -> None:
    user, token = invited(domain)
    for _ in range(3):
        assert made.open(token, now_ms=NOW).user == user

    came = asyncio.run(made.join(token, password=GOOD, email="mallory@example.org", now_ms=NOW))

    assert (came.user_id, came.email, came.state) == (user.user_id, "ann@example.org", "active")
    for attempt in (token, "x", "", "x" * 5000, "../../etc/passwd"):
        with pytest.raises(NotFoundError, match="used, is too old"):
            made.open(attempt, now_ms=NOW)
    with pytest.raises(NotFoundError):
        asyncio.run(made.join(token, password=OTHER, now_ms=NOW))


@pytest.mark.parametrize("kind", [links.INVITATION, links.PASSWORD_RESET])
def test_a_link_ends_at_its_time(domain: Domain, made: Links, kind: str) -> None:
    _, token = invited(domain, kind)
    made.open(token, now_ms=NOW + LIFETIME_MS[kind] - 1)
    with pytest.raises(NotFoundError):
        made.open(token, now_ms=NOW + LIFETIME_MS[kind])
    with pytest.raises(NotFoundError):
        asyncio.run(made.join(token, password=GOOD, now_ms=NOW + LIFETIME_MS[kind]))


def test_a_password_that_cannot_be_used_does_not_use_the_link_up(domain: Domain, made: Links) -> None:
    _, token = invited(domain)
    for bad in ("short", "password1234", "ann@example.org", "x" * 300):
        with pytest.raises(InvalidChangeError):
            asyncio.run(made.join(token, password=bad, now_ms=NOW))
    asyncio.run(made.join(token, password=GOOD, now_ms=NOW))


def test_an_email_that_is_none_does_not_use_the_first_run_up(domain: Domain, made: Links) -> None:
    token = first_run(domain, made)
    with pytest.raises(InvalidChangeError) as refused:
        asyncio.run(made.join(token, password=GOOD, email="nonsense", now_ms=NOW))
    assert refused.value.problems[0].path == "$.email"
    made.open(token, now_ms=NOW)


def test_a_newer_link_replaces_the_one_before(domain: Domain, made: Links) -> None:
    user, token = invited(domain)
    newer = made.reset(user, by="root", now_ms=NOW)

    with pytest.raises(NotFoundError):
        made.open(token, now_ms=NOW)
    opened = made.open(newer.removeprefix("/join/"), now_ms=NOW)
    assert opened.link.kind == links.INVITATION  # they never had a password


def test_a_lost_password_is_set_anew_and_ends_every_session_and_link(domain: Domain, made: Links) -> None:
    root = become_first(domain, made)
    with domain.database.write() as c:
        people.add_session(
            c,
            people.SessionRow("1" * 64, "s", domain.org_id, root.user_id, None, NOW, NOW, "", "", "password"),
        )
    token = made.reset(root, by="command line", now_ms=NOW).removeprefix("/join/")
    assert made.open(token, now_ms=NOW).link.kind == links.PASSWORD_RESET

    changed = asyncio.run(made.join(token, password=OTHER, now_ms=NOW))

    assert changed.password_hash != root.password_hash
    with domain.database.read() as c:
        assert people.sessions_of(c, root.user_id) == []


def test_a_link_is_not_in_the_database_and_a_disabled_user_has_none(domain: Domain, made: Links) -> None:
    become_first(domain, made)
    user, token = invited(domain)
    with domain.database.read() as c:
        assert token not in str(people.links(c, domain.org_id, now_ms=NOW))

    Users(domain.database, lambda: None).disable(domain.org_id, user.user_id, by="root", now_ms=NOW)

    with pytest.raises(NotFoundError):
        asyncio.run(made.join(token, password=GOOD, now_ms=NOW))
