"""Keys: made once, stored hashed, found without a database, gone when revoked."""

from __future__ import annotations

import pytest

from sealwire.errors import InvalidChangeError, NotFoundError, UnauthenticatedError
from sealwire.server.access import Access, digest
from sealwire.server.store import read
from tests.support.parts import Domain, dump

NOW_MS = 1_700_000_000_000


def made(domain: Domain, *, remote_config: bool = True, name: str = "agents") -> tuple[str, str]:
    """Id and secret of a new API key."""
    row, secret = domain.access.create_api_key(
        domain.org_id, name=name, remote_config=remote_config, by="ann", now_ms=NOW_MS
    )
    return row.key_id, secret


def test_a_new_api_key_is_known_and_its_secret_is_stored_nowhere(domain: Domain) -> None:
    key_id, secret = made(domain)

    key = domain.access.agent_key(secret)

    assert key is not None
    assert (key.key_id, key.org_id, key.remote_config) == (key_id, domain.org_id, True)
    assert len(secret) == 32
    everything = repr(dump(domain.database))
    assert secret not in everything
    assert digest(secret) in everything


def test_a_key_without_the_scope_is_known_as_such(domain: Domain) -> None:
    _, secret = made(domain, remote_config=False)

    key = domain.access.agent_key(secret)

    assert key is not None
    assert not key.remote_config


@pytest.mark.parametrize("wrong", ["", " ", "0" * 32, "\x00", "é", "\udcff", "x" * 1_000_000])
def test_what_is_no_key_is_nobody(domain: Domain, wrong: str) -> None:
    made(domain)

    assert domain.access.agent_key(wrong) is None
    with pytest.raises(UnauthenticatedError):
        domain.access.principal(wrong)


def test_spaces_around_a_key_are_not_part_of_it(domain: Domain) -> None:
    _, secret = made(domain)

    assert domain.access.agent_key(f" {secret}\t") is not None
    assert domain.access.agent_key(secret.upper()) is None


def test_a_revoked_key_is_nobody_at_once_and_stays_so(domain: Domain) -> None:
    key_id, secret = made(domain)

    domain.access.revoke_api_key(domain.org_id, key_id, by="ann", now_ms=NOW_MS)

    assert domain.access.agent_key(secret) is None
    assert Access(domain.database).agent_key(secret) is None
    with domain.database.read() as c:
        (row,) = read.api_keys(c, domain.org_id)
        actions = [event.action for event in read.audit(c, domain.org_id)]
    assert row.revoked_ms == NOW_MS
    assert actions[:2] == ["api_key.revoked", "api_key.created"]


def test_the_scope_can_be_taken_and_given(domain: Domain) -> None:
    key_id, secret = made(domain)

    for wanted in (False, True):
        domain.access.change_api_key(
            domain.org_id, key_id, name="renamed", remote_config=wanted, by="ann", now_ms=NOW_MS
        )
        key = domain.access.agent_key(secret)
        assert key is not None
        assert key.remote_config is wanted


def test_a_change_of_nothing_is_a_mistake(domain: Domain) -> None:
    key_id, _ = made(domain)

    with pytest.raises(InvalidChangeError):
        domain.access.change_api_key(
            domain.org_id, key_id, name=None, remote_config=None, by="ann", now_ms=NOW_MS
        )


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\nb", "\x00"])
def test_a_key_needs_a_name_that_can_be_shown(domain: Domain, name: str) -> None:
    before = dump(domain.database)
    with pytest.raises(InvalidChangeError) as caught:
        made(domain, name=name)
    assert caught.value.problems[0].path == "$.name"
    assert dump(domain.database) == before


@pytest.mark.parametrize("key_id", ["nobody", "", "\x00", "x" * 100_000])
def test_a_key_of_nobody_cannot_be_changed_or_revoked(domain: Domain, key_id: str) -> None:
    before = dump(domain.database)
    with pytest.raises(NotFoundError) as caught:
        domain.access.change_api_key(
            domain.org_id, key_id, name="n", remote_config=None, by="ann", now_ms=NOW_MS
        )
    with pytest.raises(NotFoundError):
        domain.access.revoke_api_key(domain.org_id, key_id, by="ann", now_ms=NOW_MS)
    assert len(caught.value.public) < 100
    assert dump(domain.database) == before


def test_another_organisations_key_is_nobodys(domain: Domain) -> None:
    key_id, secret = made(domain)

    with pytest.raises(NotFoundError):
        domain.access.revoke_api_key(domain.org_id + 1, key_id, by="eve", now_ms=NOW_MS)

    assert domain.access.agent_key(secret) is not None


def test_when_a_key_was_used_is_written_later(domain: Domain) -> None:
    key_id, secret = made(domain)
    domain.access.agent_key(secret)
    domain.access.flush_use()
    domain.access.flush_use()

    with domain.database.read() as c:
        (row,) = read.api_keys(c, domain.org_id)
    assert row.key_id == key_id
    assert row.last_used_ms is not None


def test_an_application_key_is_its_users(domain: Domain) -> None:
    assert not domain.access.has_application_keys
    secret = domain.access.create_application_key(domain.org_id, user="ann", role="admin", now_ms=NOW_MS)

    principal = domain.access.principal(secret)

    assert (principal.user, principal.role, principal.org_id) == ("ann", "Admin", domain.org_id)
    assert domain.access.has_application_keys
    assert secret not in repr(dump(domain.database))
    # An application key is no API key, and the other way round.
    assert domain.access.agent_key(secret) is None
    with pytest.raises(UnauthenticatedError):
        domain.access.principal(made(domain)[1])
