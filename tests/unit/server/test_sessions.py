"""Sessions end when they are idle, when they are old, and with the key they were made from."""

from __future__ import annotations

from typing import cast

import pytest

from sealwire.errors import NotPermittedError, UnauthenticatedError
from sealwire.server.access import Access, Principal, digest
from sealwire.server.access.permissions import grants_of
from sealwire.server.sessions import ABSOLUTE_S, FAILURES_S, IDLE_S, MAX_FAILURES, Sessions

SOMEBODY = Principal("admin", 1, grants_of("admin"), key_id="k1")


class Keys:
    """As much of ``Access`` as sessions look at."""

    def __init__(self) -> None:
        self.known = {digest("good"): SOMEBODY}

    def principal_of(self, sha256: str) -> Principal | None:
        return self.known.get(sha256)


def made() -> tuple[Keys, Sessions, str]:
    keys = Keys()
    sessions = Sessions(cast("Access", keys))
    return keys, sessions, sessions.sign_in("good", address="192.0.2.1", now=0.0)


def test_an_idle_session_ends() -> None:
    _, sessions, token = made()

    assert sessions.principal(token, now=IDLE_S) == SOMEBODY
    assert sessions.principal(token, now=2 * IDLE_S) == SOMEBODY
    assert sessions.principal(token, now=3 * IDLE_S + 1) is None
    assert sessions.principal(token, now=3 * IDLE_S + 1) is None


def test_a_busy_session_ends_too() -> None:
    _, sessions, token = made()

    for at in range(0, int(ABSOLUTE_S), 1800):
        assert sessions.principal(token, now=float(at)) == SOMEBODY
    assert sessions.principal(token, now=ABSOLUTE_S + 1) is None


def test_a_session_ends_with_its_key() -> None:
    keys, sessions, token = made()

    keys.known.clear()

    assert sessions.principal(token, now=1.0) is None


def test_wrong_keys_of_one_address_do_not_lock_out_another() -> None:
    _, sessions, _ = made()
    for _ in range(MAX_FAILURES):
        with pytest.raises(UnauthenticatedError):
            sessions.sign_in("bad", address="192.0.2.66", now=1.0)

    with pytest.raises(NotPermittedError):
        sessions.sign_in("good", address="192.0.2.66", now=2.0)
    assert sessions.sign_in("good", address="192.0.2.1", now=2.0)
    assert sessions.sign_in("good", address="192.0.2.66", now=2.0 + FAILURES_S)
