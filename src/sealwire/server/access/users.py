"""Users: made by invitation, active once they set a password, disabled and enabled again.

Every change is made with its audit row in one transaction, and takes the lock on who may do what, so that
an organisation that had an administrator keeps one. A user who is disabled is out at once: their sessions
and links end in the same transaction. What only signing in needs (hashes, sessions) is not here.

The functions take the connection of somebody's transaction, for what belongs together with more: an
invitation is a user, a role and a link. ``Users`` makes a transaction of each.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.server.access.roles import an_administrator_stays
from sealwire.server.store import people, write
from sealwire.server.store import roles as store_roles
from sealwire.server.store.database import Database
from sealwire.server.store.people import ACTIVE, DISABLED, INVITED, UserRow

MAX_EMAIL_CHARS = 200  # as long as an actor of the audit trail may be
MAX_NAME_CHARS = 200
MAX_USERS = 10_000  # of one organisation

_SHAPE = re.compile(r"[^\s@]{1,64}@[^\s@.]+(\.[^\s@.]+)*")


def email_key(email: str) -> str:
    """An email as it is compared: NFC, case folded, without space around it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email.strip()).casefold())


def checked_email(email: str) -> str:
    """An email as it is kept: NFC, of the shape of one.

    Raises:
        InvalidChangeError: It is no email.
    """
    email = unicodedata.normalize("NFC", email.strip())
    long = max(len(email), len(email_key(email))) > MAX_EMAIL_CHARS
    if long or not email.isprintable() or not _SHAPE.fullmatch(email):
        raise InvalidChangeError(
            "This is not an email address.", problems=(Problem("$.email", "such as ann@example.org"),)
        )
    return email


def checked_name(name: str) -> str:
    """A name as it is kept: NFC, runs of space as one; may be empty.

    Raises:
        InvalidChangeError: It is too long, or has characters that do not show.
    """
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    # Joiners and marks of direction do not print, and names in many scripts need the former.
    shown = name.replace("\u200c", "").replace("\u200d", "")
    if len(name) > MAX_NAME_CHARS or not shown.isprintable():
        raise InvalidChangeError(
            "This name cannot be used.",
            problems=(Problem("$.name", f"at most {MAX_NAME_CHARS} printable characters"),),
        )
    return name


def title_of(user: UserRow) -> str:
    """How sentences call a user."""
    return f"{user.name} ({user.email})" if user.name else user.email


# In somebody's transaction ----------------------------------------------------------------------------


def create(c: sa.Connection, org_id: int, *, email: str, name: str = "", by: str, now_ms: int) -> UserRow:
    """A new user, invited: without a password, so far nobody can sign in as them.

    Raises:
        InvalidChangeError: Email or name cannot be used.
        ConflictError: There is a user with this email, here or in another organisation.
    """
    email, name = checked_email(email), checked_name(name)
    store_roles.lock_people(c, org_id)
    row = UserRow(
        user_id=secrets.token_hex(8), org_id=org_id, email=email, email_key=email_key(email), name=name,
        state=INVITED, password_hash=None, totp_wrapped=None, totp_last_step=None, created_ms=now_ms,
        created_by=by, last_sign_in_ms=None, disabled_ms=None,
    )  # fmt: skip
    other = people.user_of_email(c, row.email_key)
    if other is not None:
        here = "already" if other.org_id == org_id else "in another organisation of this server"
        raise ConflictError(f"There is a user with the email {email} {here}.")
    if len(people.users(c, org_id)) >= MAX_USERS:
        raise InvalidChangeError(f"An organisation may have {MAX_USERS} users.")
    people.add_user(c, row)
    _audit(c, row, "user.invited", f"Invited {title_of(row)}", by=by, now_ms=now_ms)
    return row


def activate(c: sa.Connection, user: UserRow, *, by: str, now_ms: int) -> UserRow:
    """Let an invited user sign in; nothing happens to one who is active.

    Raises:
        ConflictError: They are disabled.
    """
    if user.state == DISABLED:
        raise ConflictError(f"{title_of(user)} is disabled: an administrator can enable them.")
    if user.state == INVITED:
        people.change_user(c, user.org_id, user.user_id, state=ACTIVE)
        _audit(c, user, "user.activated", f"{title_of(user)} joined", by=by, now_ms=now_ms)
    return replace(user, state=ACTIVE)


def set_password_hash(
    c: sa.Connection, user: UserRow, password_hash: str, *, by: str, now_ms: int, but_session_id: str = ""
) -> None:
    """A new password: every other way in by the one before ends, links and sessions.

    Args:
        but_session_id: The session that goes on: the one in which it was changed.
    """
    people.change_user(c, user.org_id, user.user_id, password_hash=password_hash)
    people.end_links_of(c, user.org_id, user.user_id, now_ms=now_ms)
    ended = people.end_sessions_of(
        c, user.user_id, now_ms=now_ms, but=(but_session_id,) if but_session_id else ()
    )
    first = user.password_hash is None
    summary = f"{title_of(user)} has a password" if first else f"Changed the password of {title_of(user)}"
    _audit(c, user, "user.password_set", summary, by=by, now_ms=now_ms, detail={"sessions_ended": ended})


def disable(c: sa.Connection, org_id: int, user_id: str, *, by: str, now_ms: int) -> UserRow:
    """Let somebody in no more: their sessions and links end now.

    Raises:
        NotFoundError: No such user.
        InvalidChangeError: They are the last administrator.
    """
    with an_administrator_stays(c, org_id):
        user = people.user(c, org_id, user_id)
        if user.state == DISABLED:
            return user
        people.change_user(c, org_id, user_id, state=DISABLED, disabled_ms=now_ms)
        people.end_links_of(c, org_id, user_id, now_ms=now_ms)
        ended = people.end_sessions_of(c, user_id, now_ms=now_ms)
        _audit(c, user, "user.disabled", f"Disabled {title_of(user)}", by=by, now_ms=now_ms,
               detail={"sessions_ended": ended})  # fmt: skip
    return replace(user, state=DISABLED, disabled_ms=now_ms)


def enable(c: sa.Connection, org_id: int, user_id: str, *, by: str, now_ms: int) -> UserRow:
    """Let somebody in again, with password and roles as they were.

    Raises:
        NotFoundError: No such user.
    """
    store_roles.lock_people(c, org_id)
    user = people.user(c, org_id, user_id)
    if user.state != DISABLED:
        return user
    # Whoever never set a password was invited, and is again; who came by a provider has signed in before.
    state = ACTIVE if user.password_hash or user.last_sign_in_ms else INVITED
    people.change_user(c, org_id, user_id, state=state, disabled_ms=None)
    _audit(c, user, "user.enabled", f"Enabled {title_of(user)}", by=by, now_ms=now_ms)
    return replace(user, state=state, disabled_ms=None)


def rename(c: sa.Connection, org_id: int, user_id: str, name: str, *, by: str, now_ms: int) -> UserRow:
    """Give a user another name.

    Raises:
        InvalidChangeError: It cannot be used.
        NotFoundError: No such user.
    """
    name = checked_name(name)
    user = people.user(c, org_id, user_id)
    if name != user.name:
        people.change_user(c, org_id, user_id, name=name)
        _audit(c, user, "user.renamed", f"Renamed {title_of(user)} to {name or 'no name'}", by=by,
               now_ms=now_ms, detail={"name": [user.name, name]})  # fmt: skip
    return replace(user, name=name)


def note_sign_in(c: sa.Connection, user: UserRow, *, method: str, address: str, now_ms: int) -> None:
    """They signed in."""
    people.change_user(c, user.org_id, user.user_id, last_sign_in_ms=now_ms)
    _audit(c, user, "user.signed_in", f"{title_of(user)} signed in", by=user.email, now_ms=now_ms,
           detail={"method": method, "address": address})  # fmt: skip


def _audit(
    c: sa.Connection,
    user: UserRow,
    action: str,
    summary: str,
    *,
    by: str,
    now_ms: int,
    detail: dict[str, object] | None = None,
) -> None:
    write.add_audit(
        c, user.org_id, at_ms=now_ms, actor=by, action=action, subject=f"user {user.user_id}",
        summary=summary, detail=detail,
    )  # fmt: skip


# A transaction each -----------------------------------------------------------------------------------


class Users:
    """The users of all organisations. ``changed`` is called after a change of who may come in."""

    def __init__(self, database: Database, changed: Callable[[], None]) -> None:
        self._database = database
        self._changed = changed

    def all(self, org_id: int) -> list[UserRow]:
        """Everybody of an organisation, by email."""
        with self._database.read() as c:
            return people.users(c, org_id)

    def get(self, org_id: int, user_id: str) -> UserRow:
        """One user of an organisation.

        Raises:
            NotFoundError: The organisation has no such user.
        """
        with self._database.read() as c:
            return people.user(c, org_id, user_id)

    def by_email(self, email: str) -> UserRow | None:
        """The user with this email, of whichever organisation, or None."""
        with self._database.read() as c:
            return people.user_of_email(c, email_key(email))

    def named(self, email: str) -> UserRow:
        """The user with this email, as somebody at a terminal means it.

        Raises:
            NotFoundError: There is nobody.
        """
        found = self.by_email(email)
        if found is None:
            raise NotFoundError(f"There is no user with the email {email.strip()[:MAX_EMAIL_CHARS]}.")
        return found

    @property
    def is_empty(self) -> bool:
        """Whether nobody is there yet, invited or not."""
        with self._database.read() as c:
            return not people.has_users(c)

    def renew_hash(self, user: UserRow, password_hash: str) -> None:
        """Keep the same password by another hash, unless it was changed in the meantime."""
        with self._database.write() as c:
            if people.user(c, user.org_id, user.user_id).password_hash == user.password_hash:
                people.change_user(c, user.org_id, user.user_id, password_hash=password_hash)

    def create(self, org_id: int, *, email: str, name: str = "", by: str, now_ms: int) -> UserRow:
        """See the function."""
        with self._database.write() as c:
            return create(c, org_id, email=email, name=name, by=by, now_ms=now_ms)

    def disable(self, org_id: int, user_id: str, *, by: str, now_ms: int) -> UserRow:
        """See the function."""
        with self._database.write() as c:
            user = disable(c, org_id, user_id, by=by, now_ms=now_ms)
        self._changed()
        return user

    def enable(self, org_id: int, user_id: str, *, by: str, now_ms: int) -> UserRow:
        """See the function."""
        with self._database.write() as c:
            user = enable(c, org_id, user_id, by=by, now_ms=now_ms)
        self._changed()
        return user

    def rename(self, org_id: int, user_id: str, name: str, *, by: str, now_ms: int) -> UserRow:
        """See the function."""
        with self._database.write() as c:
            return rename(c, org_id, user_id, name, by=by, now_ms=now_ms)
