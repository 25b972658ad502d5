"""Links that work once: for the first run, for an invitation, for a lost password.

A link carries its token in its path; only the hash of the token is kept. Looking at the page changes
nothing, so whatever fetches links in advance uses nothing up: the one change that follows takes it, in the
transaction of that change. Setting a password ends every other link of its user; disabling a user ends all.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from sealwire.errors import ConflictError, NotFoundError
from sealwire.server.access import roles, users
from sealwire.server.access.keys import digest
from sealwire.server.access.passwords import Passwords
from sealwire.server.access.permissions import ADMIN
from sealwire.server.store import people, write
from sealwire.server.store import roles as store_roles
from sealwire.server.store.database import Database
from sealwire.server.store.people import DISABLED, LinkRow, UserRow

FIRST_RUN, INVITATION, PASSWORD_RESET = "first_run", "invitation", "password_reset"
_HOUR_MS = 3600 * 1000
LIFETIME_MS = {FIRST_RUN: 24 * _HOUR_MS, INVITATION: 7 * 24 * _HOUR_MS, PASSWORD_RESET: _HOUR_MS}
#: Of a link for a lost password that an administrator hands over, and not the server's own command line.
HANDED_OVER_MS = 24 * _HOUR_MS
_MAX_TOKEN_CHARS = 100
_GONE = (
    "This link was used, is too old, or was replaced by a newer one. Ask whoever gave it to you for another; "
    "if you have set your password already, just sign in."
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A link that works, and whom it is for (None: the first run has nobody yet)."""

    link: LinkRow
    user: UserRow | None


def make(
    c: sa.Connection,
    org_id: int,
    kind: str,
    *,
    user: UserRow | None = None,
    by: str,
    now_ms: int,
    lifetime_ms: int | None = None,
) -> str:
    """A new link in somebody's transaction; returns its token, which is not kept.

    Whoever may hand one out may become whom it is for: see ``roles.require_to_have``.

    Raises:
        ConflictError: The user is disabled.
    """
    if (user is None) != (kind == FIRST_RUN):
        raise RuntimeError("a link is for somebody, unless it is for the first run")
    if user is not None:
        if user.state == DISABLED:
            raise ConflictError(f"{users.title_of(user)} is disabled: enable them first.")
        people.end_links_of(c, org_id, user.user_id, now_ms=now_ms)
    token = secrets.token_urlsafe(32)
    row = LinkRow(
        sha256=digest(token), link_id=secrets.token_hex(8), org_id=org_id, kind=kind,
        user_id=None if user is None else user.user_id, created_ms=now_ms, created_by=by,
        expires_ms=now_ms + (lifetime_ms or LIFETIME_MS[kind]),
    )  # fmt: skip
    people.add_link(c, row)
    what = {
        FIRST_RUN: "the first user",
        INVITATION: "{} to join",
        PASSWORD_RESET: "{} to set a new password",
    }[kind].format("" if user is None else users.title_of(user))
    write.add_audit(
        c, org_id, at_ms=now_ms, actor=by, action="link.made",
        subject="first run" if user is None else f"user {user.user_id}", summary=f"Made a link for {what}",
        detail={"kind": kind, "link_id": row.link_id},
    )  # fmt: skip
    return token


def path_of(token: str) -> str:
    """Where a link leads, on this server."""
    return f"/join/{token}"


class Links:
    """Links, as people use them."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    def first_run(self, org_id: int, *, by: str, now_ms: int) -> str | None:
        """The path of a fresh link for the first user; None when there is a user already."""
        with self._database.write() as c:
            if people.has_users(c):
                return None
            return path_of(make(c, org_id, FIRST_RUN, by=by, now_ms=now_ms))

    def reset(self, user: UserRow, *, by: str, now_ms: int, lifetime_ms: int | None = None) -> str:
        """The path of a link for somebody to set a new password, or their first.

        Raises:
            ConflictError: They are disabled.
        """
        kind = PASSWORD_RESET if user.password_hash else INVITATION
        with self._database.write() as c:
            user = people.user(c, user.org_id, user.user_id)
            lifetime_ms = lifetime_ms if kind == PASSWORD_RESET else None
            token = make(c, user.org_id, kind, user=user, by=by, now_ms=now_ms, lifetime_ms=lifetime_ms)
        return path_of(token)

    def open(self, token: str, *, now_ms: int) -> Opened:
        """What a link is for; nothing is used up.

        Raises:
            NotFoundError: It does not work, or no more.
        """
        with self._database.read() as c:
            link = people.link(c, digest(token)) if len(token) <= _MAX_TOKEN_CHARS else None
            if link is None or link.used_ms is not None or link.expires_ms <= now_ms:
                raise NotFoundError(_GONE)
            user = None if link.user_id is None else people.user(c, link.org_id, link.user_id)
            done = user.state == DISABLED if user is not None else people.has_users(c)
        if done:
            raise NotFoundError(_GONE)
        return Opened(link, user)

    async def join(
        self, token: str, *, password: str, email: str = "", name: str = "", now_ms: int
    ) -> UserRow:
        """Use a link up: set a password, and for the first run become the administrator.

        Raises:
            NotFoundError: The link does not work, or no more.
            InvalidChangeError: Password, email or name cannot be used; the link still works.
            TooOftenError: Too many set passwords at this moment; the link still works.
        """
        opened = await asyncio.to_thread(self.open, token, now_ms=now_ms)
        if opened.user is not None:
            email, name = opened.user.email, opened.user.name
        email, name = users.checked_email(email), users.checked_name(name)
        password_hash = await self._passwords.hash(password, (email, name))
        return await asyncio.to_thread(self._join, opened.link, password_hash, email, name, now_ms)

    def _join(self, link: LinkRow, password_hash: str, email: str, name: str, now_ms: int) -> UserRow:
        with self._database.write() as c:
            store_roles.lock_people(c, link.org_id)
            if not people.take_link(c, link.sha256, now_ms=now_ms):
                raise NotFoundError(_GONE)
            if link.user_id is not None:
                user = people.user(c, link.org_id, link.user_id)
            elif people.has_users(c):
                raise NotFoundError(_GONE)
            else:
                user = users.create(c, link.org_id, email=email, name=name, by="first run", now_ms=now_ms)
                roles.bind(c, link.org_id, user.user_id, ADMIN, by="first run", now_ms=now_ms)
                people.end_links_of(c, link.org_id, None, now_ms=now_ms)
            user = users.activate(c, user, by=user.email, now_ms=now_ms)
            users.set_password_hash(c, user, password_hash, by=user.email, now_ms=now_ms)
            return people.user(c, user.org_id, user.user_id)
