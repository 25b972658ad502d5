"""Browsers that are signed in.

A session is made from an application key and can do what that key can, as long as the key lives. Sessions
are kept in memory by the hash of their token: a restart signs everybody out, and nothing that is stored
signs anybody in. Wrong keys are counted by address, so that guessing ends long before it could work.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass

from sealwire.errors import NotPermittedError, UnauthenticatedError
from sealwire.server.access import Access, Principal, digest, digest_sent

IDLE_S = 3600.0
ABSOLUTE_S = 12 * 3600.0
MAX_SESSIONS = 10_000
MAX_FAILURES = 10  # by one address, in a minute
FAILURES_S = 60.0
MAX_ADDRESSES = 10_000


@dataclass(slots=True)
class _Session:
    key_sha256: str
    began: float
    last_seen: float


class Sessions:
    """All sessions of this process. ``now`` is seconds of any clock that only goes forward."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._sessions: OrderedDict[str, _Session] = OrderedDict()  # least recently used first
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def sign_in(self, application_key: str, *, address: str, now: float) -> str:
        """Begin a session; returns its token, which is not kept.

        Raises:
            UnauthenticatedError: The key is not known here.
            NotPermittedError: Too many wrong keys from this address; wait a minute.
        """
        failures = [at for at in self._failures.get(address, []) if now - at < FAILURES_S]
        if len(failures) >= MAX_FAILURES:
            raise NotPermittedError("Too many keys from your address were wrong. Wait a minute.")
        sha256 = digest_sent(application_key)
        if self._access.principal_of(sha256) is None:
            self._failures[address] = [*failures, now]
            self._failures.move_to_end(address)
            if len(self._failures) > MAX_ADDRESSES:
                self._failures.popitem(last=False)
            raise UnauthenticatedError("This application key is not known here.")
        token = secrets.token_urlsafe(32)
        self._sessions[digest(token)] = _Session(sha256, now, now)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return token

    def principal(self, token: str, *, now: float) -> Principal | None:
        """Who is signed in with this token; None when nobody is any more."""
        name = digest(token)
        session = self._sessions.get(name)
        if session is None:
            return None
        principal = self._access.principal_of(session.key_sha256)
        if principal is None or now - session.last_seen > IDLE_S or now - session.began > ABSOLUTE_S:
            del self._sessions[name]
            return None
        session.last_seen = now
        self._sessions.move_to_end(name)
        return principal

    def sign_out(self, token: str) -> None:
        """End a session."""
        self._sessions.pop(digest(token), None)
