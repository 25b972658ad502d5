"""Browsers that are signed in.

Sessions are rows of the database, by the hash of their token: they survive a restart, count on every
replica, and nothing that is stored signs anybody in. A session ends when it is idle or old, when somebody
ends it, with the application key it was made from, and with its user's right to be here. What its user may
is read anew with every request, one small transaction, so that a role that is taken away is gone with the
next click, whichever replica took it. Only when it was last seen is kept in memory, for a minute.

A new token is made at every step that gives more: with the password, and again with the second factor.
A session that waits for its second factor (``half``) is nobody's until then.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

import sqlalchemy as sa

from sealwire.errors import NotFoundError, NotPermittedError, UnauthenticatedError
from sealwire.server.access import users
from sealwire.server.access.keys import Access, digest, digest_sent
from sealwire.server.access.permissions import Principal
from sealwire.server.access.roles import grants_of_user
from sealwire.server.store import people, write
from sealwire.server.store.database import Database
from sealwire.server.store.people import SessionRow, UserRow

IDLE_MS = 3600 * 1000
ABSOLUTE_MS = 12 * IDLE_MS
HALF_MS = 600 * 1000  # to type the code of the second factor
SEEN_EVERY_MS = 60 * 1000
KEPT_MS = 2 * 24 * IDLE_MS  # rows of sessions that ended tell a while whose they were
FORGET_EVERY_MS = 600 * 1000
MAX_OF_A_USER = 50
MAX_TOKEN_CHARS = 200

PASSWORD, PASSWORD_AND_CODE, OPENID = "password", "password+totp", "oidc"
LINK, APPLICATION_KEY, HALF = "link", "application_key", "half"


@dataclass(frozen=True, slots=True)
class Browser:
    """Where somebody sits, as they say: untrusted, for people to recognise it."""

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A session as its user sees it."""

    session: SessionRow
    is_present: bool


class Sessions:
    """All sessions."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access
        self._forgot_ms = 0
        self._seen: dict[str, int] = {}  # hash of token -> when it was last used, not written yet

    # Beginning --------------------------------------------------------------------------------------

    def begin(self, user: UserRow, browser: Browser, *, method: str, now_ms: int) -> str:
        """Begin a session of somebody who proved who they are; returns its token, which is not kept.

        Raises:
            UnauthenticatedError: They were disabled in the meantime.
        """
        token = secrets.token_urlsafe(32)
        with self._database.write() as c:
            present = people.user(c, user.org_id, user.user_id)
            if not present.is_active:
                raise UnauthenticatedError("This account is disabled; an administrator can enable it.")
            self._add(c, token, present, browser, method=method, now_ms=now_ms)
            users.note_sign_in(c, present, method=method, address=browser.address[:64], now_ms=now_ms)
            self._end_oldest(c, user.user_id, now_ms)
        return token

    def begin_with_key(self, application_key: str, browser: Browser, *, now_ms: int) -> str:
        """Begin a session that may what an application key may, as long as the key lives.

        Raises:
            UnauthenticatedError: The key is not known here.
        """
        principal = self._access.principal_of(digest_sent(application_key))
        if principal is None:
            raise UnauthenticatedError("This application key is not known here.")
        token = secrets.token_urlsafe(32)
        row = replace(
            _row(token, principal.org_id, browser, method=APPLICATION_KEY, now_ms=now_ms),
            user_id=principal.user_id or None,
            application_key_id=principal.key_id,
        )
        with self._database.write() as c:
            people.add_session(c, row)
            write.add_audit(
                c, principal.org_id, at_ms=now_ms, actor=principal.user, action="application_key.signed_in",
                subject=f"key {principal.key_id}",
                summary=f"{principal.user} signed in with an application key",
                detail={"address": row.address},
            )  # fmt: skip
        return token

    def begin_half(self, user: UserRow, browser: Browser, *, now_ms: int) -> str:
        """Remember that somebody gave the right password and owes a code; returns a token for that alone."""
        token = secrets.token_urlsafe(32)
        with self._database.write() as c:
            self._add(c, token, user, browser, method=HALF, now_ms=now_ms)
        return token

    def of_half(self, token: str, *, now_ms: int) -> UserRow | None:
        """Who owes a code, or None: nobody, or not in time."""
        with self._database.read() as c:
            found = people.session_and_user(c, _digest(token))
        if found is None:
            return None
        row, user = found
        late = row.ended_ms is not None or not 0 <= now_ms - row.began_ms <= HALF_MS
        return None if row.method != HALF or late or user is None or not user.is_active else user

    # Using ------------------------------------------------------------------------------------------

    def principal(self, token: str, *, now_ms: int, by_itself: bool = False) -> Principal | None:
        """Who is signed in with this token; None when nobody is any more.

        Args:
            by_itself: The page asked, and not a person: a session is not kept alive by that.
        """
        sha256 = _digest(token)
        with self._database.read() as c:
            found = people.session_and_user(c, sha256)
            if found is None or not self._is_alive(found[0], now_ms):
                return None
            row, user = found
            principal = None
            if row.application_key_id is not None:
                principal = self._access.principal_of_key(row.application_key_id)
            elif user is not None and user.is_active:
                grants = grants_of_user(c, user.org_id, user.user_id)
                principal = Principal(user.email, user.org_id, grants, user_id=user.user_id)
        if principal is None:
            return None
        if not by_itself and now_ms - row.last_seen_ms >= SEEN_EVERY_MS:
            self._seen[sha256] = now_ms
        return replace(principal, key_id="", session_id=row.session_id)

    def whose(self, token: str) -> SessionRow | None:
        """The session this token was of, alive or not; None when there never was one, or long ago."""
        with self._database.read() as c:
            row = people.session(c, _digest(token))
        return None if row is None or row.method == HALF else row

    def _is_alive(self, row: SessionRow, now_ms: int) -> bool:
        seen_ms = max(row.last_seen_ms, self._seen.get(row.sha256, 0))
        return (
            row.ended_ms is None
            and row.method != HALF
            and now_ms - seen_ms <= IDLE_MS
            and now_ms - row.began_ms <= ABSOLUTE_MS
        )

    # Ending -----------------------------------------------------------------------------------------

    def end(self, token: str, *, now_ms: int) -> None:
        """End the session with this token, half or whole; nothing happens when there is none."""
        with self._database.write() as c:
            row = people.session(c, _digest(token))
            if row is not None:
                people.end_session(c, row.session_id, now_ms=now_ms)

    def of_user(self, user_id: str, *, present_id: str, now_ms: int) -> list[Seen]:
        """The sessions of a user that are alive, the present one first, then the last seen."""
        with self._database.read() as c:
            found = people.sessions_of(c, user_id)
        alive = [
            replace(row, last_seen_ms=max(row.last_seen_ms, self._seen.get(row.sha256, 0)))
            for row in found
            if self._is_alive(row, now_ms)
        ]
        seen = [Seen(row, row.session_id == present_id) for row in alive]
        return sorted(seen, key=lambda one: (not one.is_present, -one.session.last_seen_ms))

    def end_one(self, by: Principal, session_id: str, *, now_ms: int) -> None:
        """End a session of one's own.

        Raises:
            NotFoundError: They have no such session.
        """
        _require_whole(by)
        with self._database.write() as c:
            own = {row.session_id: row for row in people.sessions_of(c, by.user_id)} if by.user_id else {}
            row = own.get(session_id)
            if row is None:
                raise NotFoundError("This session has ended already.")
            people.end_session(c, session_id, now_ms=now_ms)
            self._audit_end(c, by, 1, now_ms, {"address": row.address})

    def end_others(self, by: Principal, *, now_ms: int) -> int:
        """End all sessions of one's own but the one that asks; returns how many."""
        if not by.user_id:
            raise NotFoundError("This key belongs to no user: there are no sessions.")
        _require_whole(by)
        with self._database.write() as c:
            but = (by.session_id,) if by.session_id else ()
            ended = people.end_sessions_of(c, by.user_id, now_ms=now_ms, but=but)
            if ended:
                self._audit_end(c, by, ended, now_ms, {})
        return ended

    @staticmethod
    def _audit_end(
        c: sa.Connection, by: Principal, count: int, now_ms: int, detail: dict[str, object]
    ) -> None:
        write.add_audit(
            c, by.org_id, at_ms=now_ms, actor=by.user, action="user.sessions_ended",
            subject=f"user {by.user_id}",
            summary=f"{by.user} ended {count} session{'' if count == 1 else 's'} of their own", detail=detail,
        )  # fmt: skip

    # Keeping ----------------------------------------------------------------------------------------

    def flush(self, *, now_ms: int) -> None:
        """Write when sessions were last seen, and forget what is long over; now and then, and at the end."""
        seen, self._seen = self._seen, {}
        forgets = now_ms - self._forgot_ms >= FORGET_EVERY_MS
        if not seen and not forgets:
            return
        with self._database.write() as c:
            people.note_sessions(c, seen)
            if forgets:
                people.forget_sessions(c, before_ms=now_ms - KEPT_MS)
                people.forget_links(c, before_ms=now_ms - KEPT_MS)
                self._forgot_ms = now_ms

    @staticmethod
    def _add(
        c: sa.Connection, token: str, user: UserRow, browser: Browser, *, method: str, now_ms: int
    ) -> None:
        row = _row(token, user.org_id, browser, method=method, now_ms=now_ms)
        people.add_session(c, replace(row, user_id=user.user_id))

    @staticmethod
    def _end_oldest(c: sa.Connection, user_id: str, now_ms: int) -> None:
        for row in people.sessions_of(c, user_id)[MAX_OF_A_USER:]:
            people.end_session(c, row.session_id, now_ms=now_ms)


def _require_whole(by: Principal) -> None:
    """Attack: a key that is cut down to looking signs its user out everywhere."""
    if by.scopes is not None:
        raise NotPermittedError("An application key that is cut down to scopes cannot end sessions.")


def _digest(token: str) -> str:
    return digest(token[:MAX_TOKEN_CHARS])


def _row(token: str, org_id: int, browser: Browser, *, method: str, now_ms: int) -> SessionRow:
    return SessionRow(
        sha256=_digest(token), session_id=secrets.token_hex(8), org_id=org_id, user_id=None,
        application_key_id=None, began_ms=now_ms, last_seen_ms=now_ms, address=browser.address[:64],
        user_agent=_plain(browser.user_agent)[:300], method=method,
    )  # fmt: skip


def _plain(text: str) -> str:
    """What a browser says of itself, as PostgreSQL can keep it and people can read it."""
    return "".join(one if one.isprintable() else "?" for one in text[:1000])
