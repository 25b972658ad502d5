"""Users: emails that are one, names anybody has, and nobody left behind when somebody is disabled."""

from __future__ import annotations

import pytest

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError
from sealwire.server.access import links, roles, users
from sealwire.server.access.users import Users, checked_email, checked_name, email_key
from sealwire.server.store import people, read
from sealwire.server.store.people import UserRow
from tests.support.parts import Domain

BY, NOW = "test", 1_000_000


@pytest.fixture
def directory(domain: Domain) -> Users:
    return Users(domain.database, domain.access.reload)


def joined(domain: Domain, email: str, role: str = "admin") -> UserRow:
    """Somebody active, with a role."""
    with domain.database.write() as c:
        user = users.create(c, domain.org_id, email=email, by=BY, now_ms=NOW)
        roles.bind(c, domain.org_id, user.user_id, role, by=BY, now_ms=NOW)
        return users.activate(c, user, by=BY, now_ms=NOW)


def audited(domain: Domain) -> list[str]:
    with domain.database.read() as c:
        return [event.action for event in read.audit(c, domain.org_id, limit=50)]


@pytest.mark.parametrize(
    "email",
    [
        "ann@example.org",
        "Ann.O'Neil+x@sub.example.org",
        "jörg@exämple.de",
        "用户@例子.公司",
        "root@localhost",
    ],
)
def test_an_email_of_any_script_is_one(email: str) -> None:
    assert checked_email(f" {email} ") == email


@pytest.mark.parametrize(
    "email",
    ["", "ann", "@example.org", "ann@", "a b@example.org", "ann@@example.org", "ann@example..org", "ann@.org",
     "ann\r\nBcc: all@example.org", "ann\x00@example.org", "ann\u202e@example.org", "a" * 65 + "@example.org",
     "ann@" + "x" * 200],
)  # fmt: skip
def test_what_is_no_email_is_refused(email: str) -> None:
    with pytest.raises(InvalidChangeError) as refused:
        checked_email(email)
    assert refused.value.problems[0].path == "$.email"


def test_emails_are_compared_by_what_people_see() -> None:
    assert email_key("JÖRG@Example.ORG") == email_key("jo\u0308rg@example.org")
    assert email_key("straße@example.org") == email_key("STRASSE@example.org")


@pytest.mark.parametrize("name", ["", "Ann", "李小龍", "Müller-Lüdenscheidt", "می‌خواهم", "O'Brien 🙈"])
def test_a_name_of_any_script_is_kept(name: str) -> None:
    assert checked_name(f"  {name}  ") == name


@pytest.mark.parametrize("name", ["a\x00b", "a\u202eb", "a\x1b[31mb", "x" * 201])
def test_a_name_that_does_not_show_is_refused(name: str) -> None:
    with pytest.raises(InvalidChangeError):
        checked_name(name)


def test_whoever_is_invited_has_no_password_and_is_told_of_in_the_audit_trail(
    domain: Domain, directory: Users
) -> None:
    user = directory.create(domain.org_id, email="Ann@example.org", name="Ann", by=BY, now_ms=NOW)

    assert (user.state, user.password_hash, user.created_by) == ("invited", None, BY)
    assert directory.by_email("ann@EXAMPLE.org") == user
    assert directory.get(domain.org_id, user.user_id) == user
    assert "user.invited" in audited(domain)


def test_the_same_email_is_one_user_however_it_is_typed(domain: Domain, directory: Users) -> None:
    directory.create(domain.org_id, email="jörg@example.org", by=BY, now_ms=NOW)
    with pytest.raises(ConflictError, match="already"):
        directory.create(domain.org_id, email="JO\u0308RG@example.org", by=BY, now_ms=NOW)
    assert len(directory.all(domain.org_id)) == 1


def test_whoever_is_disabled_loses_sessions_and_links_at_once(domain: Domain, directory: Users) -> None:
    joined(domain, "admin@example.org")
    user = joined(domain, "ann@example.org")
    with domain.database.write() as c:
        links.make(c, domain.org_id, links.PASSWORD_RESET, user=user, by=BY, now_ms=NOW)
        session = people.SessionRow(
            "1" * 64, "s1", domain.org_id, user.user_id, None, NOW, NOW, "", "", "oidc"
        )
        people.add_session(c, session)

    directory.disable(domain.org_id, user.user_id, by=BY, now_ms=NOW + 1)

    with domain.database.read() as c:
        assert people.sessions_of(c, user.user_id) == []
        assert people.links(c, domain.org_id, now_ms=NOW + 1) == []
        assert people.user(c, domain.org_id, user.user_id).disabled_ms == NOW + 1
    with domain.database.write() as c, pytest.raises(ConflictError, match="disabled"):
        links.make(c, domain.org_id, links.PASSWORD_RESET, user=directory.named("ann@example.org"), by=BY,
                   now_ms=NOW)  # fmt: skip


def test_the_last_administrator_cannot_be_disabled(domain: Domain, directory: Users) -> None:
    admin = joined(domain, "admin@example.org")
    joined(domain, "ann@example.org", "standard")

    with pytest.raises(InvalidChangeError, match="last administrator"):
        directory.disable(domain.org_id, admin.user_id, by=BY, now_ms=NOW)

    assert directory.named("admin@example.org").is_active
    joined(domain, "second@example.org")
    directory.disable(domain.org_id, admin.user_id, by=BY, now_ms=NOW)
    assert not directory.named("admin@example.org").is_active


def test_enabling_gives_back_what_there_was(domain: Domain, directory: Users) -> None:
    joined(domain, "admin@example.org")
    invited = directory.create(domain.org_id, email="new@example.org", by=BY, now_ms=NOW)
    active = joined(domain, "ann@example.org")
    with domain.database.write() as c:
        users.set_password_hash(c, active, "$argon2id$x", by=BY, now_ms=NOW)
    for user, state in ((invited, "invited"), (active, "active")):
        directory.disable(domain.org_id, user.user_id, by=BY, now_ms=NOW)
        again = directory.enable(domain.org_id, user.user_id, by=BY, now_ms=NOW)
        assert (again.state, again.disabled_ms) == (state, None)
        assert directory.get(domain.org_id, user.user_id).state == state


def test_doing_it_twice_writes_no_second_event(domain: Domain, directory: Users) -> None:
    joined(domain, "admin@example.org")
    user = joined(domain, "ann@example.org")
    for _ in range(2):
        directory.disable(domain.org_id, user.user_id, by=BY, now_ms=NOW)
        directory.rename(domain.org_id, user.user_id, "Ann", by=BY, now_ms=NOW)
    found = audited(domain)
    assert found.count("user.disabled") == 1
    assert found.count("user.renamed") == 1


def test_users_of_others_are_not_there(domain: Domain, directory: Users) -> None:
    user = joined(domain, "ann@example.org")
    for attempt in (
        lambda: directory.get(99, user.user_id),
        lambda: directory.rename(99, user.user_id, "x", by=BY, now_ms=NOW),
        lambda: directory.disable(99, user.user_id, by=BY, now_ms=NOW),
        lambda: directory.named("nobody@example.org"),
    ):
        with pytest.raises(NotFoundError):
            attempt()
