"""Rows of users, their sessions, links that work once, and recovery codes: reads and writes.

Secrets are here as SHA-256 only (tokens of sessions and links, recovery codes), as argon2id (passwords) or
wrapped (second factors). What works once is taken by one conditional update, so that of two who use it at
the same moment one gets it. A session that ended keeps its row for a while: it tells whose it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from sealwire.errors import NotFoundError
from sealwire.server.store import tables as t

INVITED, ACTIVE, DISABLED = "invited", "active", "disabled"
_MISSING_USER = "There is no such user here."


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user.

    Attributes:
        email: As typed.
        email_key: As compared: NFC, case folded; unique over all organisations.
        state: ``invited``, ``active`` or ``disabled``.
        password_hash: argon2id; None until one is set.
        totp_wrapped: The second factor's secret, sealed; None without one.
        totp_last_step: The time step of the code that was used last: none is taken twice.
    """

    user_id: str
    org_id: int
    email: str
    email_key: str
    name: str
    state: str
    password_hash: str | None
    totp_wrapped: bytes | None
    totp_last_step: int | None
    created_ms: int
    created_by: str
    last_sign_in_ms: int | None
    disabled_ms: int | None

    @property
    def is_active(self) -> bool:
        """Whether they may sign in."""
        return self.state == ACTIVE

    @property
    def has_second_factor(self) -> bool:
        """Whether a password alone is not enough."""
        return self.totp_wrapped is not None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A browser that is signed in.

    Attributes:
        sha256: Of its token.
        session_id: Safe to show.
        user_id: None: signed in with the application key ``application_key_id``.
        method: ``password``, ``password+totp``, ``oidc``, ``application_key``; ``half`` waits for its
            second factor and lets nobody in.
        ended_ms: When it was ended; None while nobody did, be it too old or not.
    """

    sha256: str
    session_id: str
    org_id: int
    user_id: str | None
    application_key_id: str | None
    began_ms: int
    last_seen_ms: int
    address: str
    user_agent: str
    method: str
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A link that works once.

    Attributes:
        kind: ``first_run``, ``invitation`` or ``password_reset``.
        user_id: Whom it lets in; None: the first run has nobody yet.
    """

    sha256: str
    link_id: str
    org_id: int
    kind: str
    user_id: str | None
    created_ms: int
    created_by: str
    expires_ms: int
    used_ms: int | None = None


# Users ------------------------------------------------------------------------------------------------


def users(c: sa.Connection, org_id: int) -> list[UserRow]:
    """The users of an organisation, by email."""
    k = t.users.c
    found = c.execute(sa.select(t.users).where(k.org_id == org_id).order_by(k.email_key))
    return [UserRow(**row._mapping) for row in found]


def user(c: sa.Connection, org_id: int, user_id: str) -> UserRow:
    """One user of an organisation.

    Raises:
        NotFoundError: The organisation has no such user.
    """
    k = t.users.c
    row = c.execute(sa.select(t.users).where(k.org_id == org_id, k.user_id == user_id)).one_or_none()
    if row is None:
        raise NotFoundError(_MISSING_USER)
    return UserRow(**row._mapping)


def user_of_email(c: sa.Connection, email_key: str) -> UserRow | None:
    """The user with this email, whichever organisation they are of, or None."""
    row = c.execute(sa.select(t.users).where(t.users.c.email_key == email_key)).one_or_none()
    return None if row is None else UserRow(**row._mapping)


def has_users(c: sa.Connection) -> bool:
    """Whether there is anybody at all."""
    return c.execute(sa.select(t.users.c.user_id).limit(1)).first() is not None


def add_user(c: sa.Connection, row: UserRow) -> None:
    """A new user; the same email twice is a conflict."""
    c.execute(sa.insert(t.users).values(**_values(row)))


def change_user(c: sa.Connection, org_id: int, user_id: str, **values: Any) -> None:
    """Change columns of a user.

    Raises:
        NotFoundError: The organisation has no such user.
    """
    k = t.users.c
    changed = c.execute(sa.update(t.users).where(k.org_id == org_id, k.user_id == user_id).values(**values))
    if changed.rowcount != 1:
        raise NotFoundError(_MISSING_USER)


def take_totp_step(c: sa.Connection, user_id: str, step: int) -> bool:
    """Use up the code of a time step; False when it or a later one was used before."""
    k = t.users.c
    fresh = sa.or_(k.totp_last_step.is_(None), k.totp_last_step < step)
    taken = c.execute(sa.update(t.users).where(k.user_id == user_id, fresh).values(totp_last_step=step))
    return taken.rowcount == 1


# Sessions ---------------------------------------------------------------------------------------------


def add_session(c: sa.Connection, row: SessionRow) -> None:
    """A new session."""
    c.execute(sa.insert(t.sessions).values(**_values(row)))


def session(c: sa.Connection, sha256: str) -> SessionRow | None:
    """The session of a token, ended or not, or None."""
    row = c.execute(sa.select(t.sessions).where(t.sessions.c.sha256 == sha256)).one_or_none()
    return None if row is None else SessionRow(**row._mapping)


def session_and_user(c: sa.Connection, sha256: str) -> tuple[SessionRow, UserRow | None] | None:
    """The session of a token and whose it is, in one query; None when there is no such session."""
    s, u = t.sessions, t.users
    query = (
        sa.select(*(column.label(f"s_{column.name}") for column in s.c), u)
        .outerjoin(u, sa.and_(u.c.user_id == s.c.user_id, u.c.org_id == s.c.org_id))
        .where(s.c.sha256 == sha256)
    )
    row = c.execute(query).one_or_none()
    if row is None:
        return None
    values = row._mapping
    found = SessionRow(**{column.name: values[f"s_{column.name}"] for column in s.c})
    whose = None
    if values["user_id"] is not None:
        whose = UserRow(**{column.name: values[column.name] for column in u.c})
    return found, whose


def sessions_of(c: sa.Connection, user_id: str) -> list[SessionRow]:
    """The sessions of a user that nobody ended, last seen first."""
    k = t.sessions.c
    query = sa.select(t.sessions).where(k.user_id == user_id, k.ended_ms.is_(None))
    return [SessionRow(**row._mapping) for row in c.execute(query.order_by(k.last_seen_ms.desc()))]


def end_session(c: sa.Connection, session_id: str, *, now_ms: int) -> bool:
    """End a session; False when there is none, or it ended before."""
    k = t.sessions.c
    ended = c.execute(
        sa.update(t.sessions).where(k.session_id == session_id, k.ended_ms.is_(None)).values(ended_ms=now_ms)
    )
    return ended.rowcount == 1


def end_sessions_of(c: sa.Connection, user_id: str, *, now_ms: int, but: Collection[str] = ()) -> int:
    """End all sessions of a user but those with the ids ``but``; returns how many there were."""
    k = t.sessions.c
    ended = c.execute(
        sa.update(t.sessions)
        .where(k.user_id == user_id, k.ended_ms.is_(None), k.session_id.not_in(list(but)))
        .values(ended_ms=now_ms)
    )
    return ended.rowcount


def note_sessions(c: sa.Connection, last_seen_ms: Mapping[str, int]) -> None:
    """When sessions, by the hash of their token, were last used; never back in time."""
    k = t.sessions.c
    for sha256, at_ms in last_seen_ms.items():
        c.execute(
            sa.update(t.sessions).where(k.sha256 == sha256, k.last_seen_ms < at_ms).values(last_seen_ms=at_ms)
        )


def forget_sessions(c: sa.Connection, *, before_ms: int) -> int:
    """Drop sessions that nobody used since, ended or not; returns how many."""
    return c.execute(sa.delete(t.sessions).where(t.sessions.c.last_seen_ms < before_ms)).rowcount


# Links ------------------------------------------------------------------------------------------------


def add_link(c: sa.Connection, row: LinkRow) -> None:
    """A new link."""
    c.execute(sa.insert(t.links).values(**_values(row)))


def link(c: sa.Connection, sha256: str) -> LinkRow | None:
    """The link of a token, used or not, or None."""
    row = c.execute(sa.select(t.links).where(t.links.c.sha256 == sha256)).one_or_none()
    return None if row is None else LinkRow(**row._mapping)


def links(c: sa.Connection, org_id: int, *, now_ms: int) -> list[LinkRow]:
    """The links of an organisation that still work, newest first."""
    k = t.links.c
    query = sa.select(t.links).where(k.org_id == org_id, k.used_ms.is_(None), k.expires_ms > now_ms)
    return [LinkRow(**row._mapping) for row in c.execute(query.order_by(k.created_ms.desc(), k.link_id))]


def take_link(c: sa.Connection, sha256: str, *, now_ms: int) -> bool:
    """Use a link up; False when it was used, or its time is over."""
    k = t.links.c
    taken = c.execute(
        sa.update(t.links)
        .where(k.sha256 == sha256, k.used_ms.is_(None), k.expires_ms > now_ms)
        .values(used_ms=now_ms)
    )
    return taken.rowcount == 1


def end_links_of(c: sa.Connection, org_id: int, user_id: str | None, *, now_ms: int) -> int:
    """Let no link of a user work any more (None: no link of the first run); returns how many did."""
    k = t.links.c
    whose = k.user_id.is_(None) if user_id is None else k.user_id == user_id
    ended = c.execute(
        sa.update(t.links).where(k.org_id == org_id, whose, k.used_ms.is_(None)).values(used_ms=now_ms)
    )
    return ended.rowcount


def forget_links(c: sa.Connection, *, before_ms: int) -> int:
    """Drop links whose time was over before; returns how many."""
    return c.execute(sa.delete(t.links).where(t.links.c.expires_ms < before_ms)).rowcount


# Recovery codes ---------------------------------------------------------------------------------------


def put_recovery_codes(c: sa.Connection, user_id: str, sha256: Collection[str], *, now_ms: int) -> None:
    """The recovery codes of a user from now on; those before are gone."""
    k = t.recovery_codes.c
    c.execute(sa.delete(t.recovery_codes).where(k.user_id == user_id))
    values = [{"user_id": user_id, "sha256": one, "created_ms": now_ms} for one in sha256]
    if values:
        c.execute(sa.insert(t.recovery_codes), values)


def take_recovery_code(c: sa.Connection, user_id: str, sha256: str, *, now_ms: int) -> bool:
    """Use a recovery code up; False when there is no such code, or it was used."""
    k = t.recovery_codes.c
    taken = c.execute(
        sa.update(t.recovery_codes)
        .where(k.user_id == user_id, k.sha256 == sha256, k.used_ms.is_(None))
        .values(used_ms=now_ms)
    )
    return taken.rowcount == 1


def recovery_codes_left(c: sa.Connection, user_id: str) -> int:
    """How many recovery codes of a user were not used."""
    k = t.recovery_codes.c
    query = sa.select(sa.func.count()).where(k.user_id == user_id, k.used_ms.is_(None))
    return int(c.execute(query).scalar_one())


def _values(row: UserRow | SessionRow | LinkRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
