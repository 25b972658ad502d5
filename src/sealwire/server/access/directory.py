"""What people do to the users of others: invite, rename, disable, let in again.

A link lets whoever holds it in as its user, and who has a hand in somebody's second factor may become them;
so both are only for users who may nothing that the asker may not (``roles.require_to_have``). An invitation
is a user, their roles and a link in one transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.server.access import links, users
from sealwire.server.access.permissions import Grant, Principal
from sealwire.server.access.roles import (
    MANAGE,
    bind,
    check_id,
    checked_names,
    grants_of_user,
    require_to_have,
    roles_of,
)
from sealwire.server.access.totp import SecondFactors
from sealwire.server.store import people, read, write
from sealwire.server.store import roles as store
from sealwire.server.store.database import Database
from sealwire.server.store.people import INVITED, LinkRow, UserRow
from sealwire.server.store.roles import BindingRow, IdentityRow

INVITE, READ = "user_access_invite", "user_access_read"
MISSING = "There is no such user here."


@dataclass(frozen=True, slots=True)
class Wanted:
    """A role to give with an invitation; no services or envs named: for all."""

    role_id: str
    services: Sequence[str] = ()
    envs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A user with all that people are shown of them.

    Attributes:
        link: The newest link of theirs that still works, if any.
        keys: How many live application keys they have.
        is_last_admin: Nobody else is an administrator without restriction.
    """

    user: UserRow
    bindings: tuple[BindingRow, ...]
    identities: tuple[IdentityRow, ...]
    link: LinkRow | None
    keys: int
    is_last_admin: bool


class Directory:
    """The users of an organisation, as others of it see and change them."""

    def __init__(
        self, database: Database, second_factors: SecondFactors, changed: Callable[[], None]
    ) -> None:
        self._database = database
        self._second_factors = second_factors
        self._changed = changed

    def all(self, by: Principal, *, now_ms: int) -> list[Entry]:
        """Everybody, by email."""
        by.require(READ)
        with self._database.read() as c:
            found = people.users(c, by.org_id)
            return _entries(c, by.org_id, found, now_ms)

    def get(self, by: Principal, user_id: str, *, now_ms: int) -> Entry:
        """One user.

        Raises:
            NotFoundError: There is none with this id.
        """
        by.require(READ)
        with self._database.read() as c:
            found = people.user(c, by.org_id, check_id(user_id, MISSING))
            return _entries(c, by.org_id, [found], now_ms)[0]

    def invite(
        self, by: Principal, *, email: str, name: str = "", roles: Sequence[Wanted], now_ms: int
    ) -> tuple[UserRow, str]:
        """A new user with these roles, and the path of the link that lets them in, which is not kept.

        Raises:
            NotPermittedError: A role has more in it than ``by`` has.
            InvalidChangeError, ConflictError, NotFoundError: As they say; nothing was made.
        """
        by.require(INVITE)
        if not roles:
            raise InvalidChangeError(
                "Somebody without a role could do nothing.",
                problems=(Problem("$.roles", "at least one role"),),
            )
        with self._database.write() as c:
            store.lock_people(c, by.org_id)
            require_to_have(by, _grants(c, by.org_id, roles))
            user = users.create(c, by.org_id, email=email, name=name, by=by.user, now_ms=now_ms)
            for one in roles:
                bind(
                    c, by.org_id, user.user_id, one.role_id, services=one.services, envs=one.envs,
                    by=by.user, now_ms=now_ms,
                )  # fmt: skip
            token = links.make(c, by.org_id, links.INVITATION, user=user, by=by.user, now_ms=now_ms)
        return user, links.path_of(token)

    def invite_again(self, by: Principal, user_id: str, *, now_ms: int) -> tuple[UserRow, str]:
        """A fresh link for somebody who did not join yet; the one before works no more.

        Raises:
            ConflictError: They joined, or are disabled.
            NotFoundError, NotPermittedError: As they say.
        """
        by.require(INVITE)
        with self._database.write() as c:
            user = _may_become(c, by, user_id)
            if user.state != INVITED:
                raise ConflictError(f"{users.title_of(user)} is {user.state} and needs no invitation.")
            token = links.make(c, by.org_id, links.INVITATION, user=user, by=by.user, now_ms=now_ms)
        return user, links.path_of(token)

    def reset_link(self, by: Principal, user_id: str, *, now_ms: int) -> tuple[UserRow, str]:
        """A link for somebody to set a new password; the old one works until they did.

        Raises:
            ConflictError: They did not join yet, or are disabled.
            NotFoundError, NotPermittedError: As they say.
        """
        by.require(MANAGE)
        with self._database.write() as c:
            user = _may_become(c, by, user_id)
            if user.state == INVITED:
                raise ConflictError(f"{users.title_of(user)} did not join yet: make a new invitation.")
            token = links.make(
                c, by.org_id, links.PASSWORD_RESET, user=user, by=by.user, now_ms=now_ms,
                lifetime_ms=links.HANDED_OVER_MS,
            )  # fmt: skip
        return user, links.path_of(token)

    def remove_second_factor(self, by: Principal, user_id: str, *, now_ms: int) -> UserRow:
        """Let their password alone be enough again; their sessions end.

        Raises:
            NotFoundError, NotPermittedError: As they say.
        """
        by.require(MANAGE)
        with self._database.read() as c:
            _may_become(c, by, user_id)
        return self._second_factors.remove(by.org_id, user_id, by=by.user, now_ms=now_ms)

    def end_sessions(self, by: Principal, user_id: str, *, now_ms: int) -> int:
        """End all sessions of somebody, but not the one that asks; returns how many."""
        by.require(MANAGE)
        with self._database.write() as c:
            user = people.user(c, by.org_id, check_id(user_id, MISSING))
            but = (by.session_id,) if by.session_id else ()
            ended = people.end_sessions_of(c, user_id, now_ms=now_ms, but=but)
            write.add_audit(
                c, by.org_id, at_ms=now_ms, actor=by.user, action="user.sessions_ended",
                subject=f"user {user_id}",
                summary=f"Ended {ended} session{'' if ended == 1 else 's'} of {users.title_of(user)}",
            )  # fmt: skip
        return ended

    def rename(self, by: Principal, user_id: str, name: str, *, now_ms: int) -> UserRow:
        """Give somebody another name."""
        by.require(MANAGE)
        with self._database.write() as c:
            return users.rename(c, by.org_id, check_id(user_id, MISSING), name, by=by.user, now_ms=now_ms)

    def disable(self, by: Principal, user_id: str, *, now_ms: int) -> UserRow:
        """Let somebody in no more: sessions, links and application keys end now.

        Raises:
            InvalidChangeError: They are the last administrator.
        """
        by.require(MANAGE)
        with self._database.write() as c:
            user = users.disable(c, by.org_id, check_id(user_id, MISSING), by=by.user, now_ms=now_ms)
        self._changed()
        return user

    def enable(self, by: Principal, user_id: str, *, now_ms: int) -> UserRow:
        """Let somebody in again, with password and roles as they were."""
        by.require(MANAGE)
        with self._database.write() as c:
            user = users.enable(c, by.org_id, check_id(user_id, MISSING), by=by.user, now_ms=now_ms)
        self._changed()
        return user


def _may_become(c: sa.Connection, by: Principal, user_id: str) -> UserRow:
    """The user, when ``by`` could be let in as them without getting more."""
    user = people.user(c, by.org_id, check_id(user_id, MISSING))
    require_to_have(by, grants_of_user(c, by.org_id, user_id))
    return user


def _grants(c: sa.Connection, org_id: int, wanted: Sequence[Wanted]) -> list[Grant]:
    there = roles_of(c, org_id)
    found = []
    for number, one in enumerate(wanted):
        if one.role_id not in there:
            raise NotFoundError(f"There is no such role here (number {number + 1}).")
        services, envs = checked_names("services", one.services), checked_names("envs", one.envs)
        found.append(Grant(there[one.role_id], frozenset(services), frozenset(envs)))
    return found


def _entries(c: sa.Connection, org_id: int, found: Sequence[UserRow], now_ms: int) -> list[Entry]:
    one = found[0].user_id if len(found) == 1 else None
    bindings: dict[str, list[BindingRow]] = {}
    for row in store.bindings(c, org_id, user_id=one):
        bindings.setdefault(row.user_id, []).append(row)
    identities: dict[str, list[IdentityRow]] = {}
    for identity in store.identities(c, org_id):
        identities.setdefault(identity.user_id, []).append(identity)
    keys = Counter(key.user_id for key in read.application_keys(c, org_id))
    admins = store.active_admin_ids(c, org_id)
    newest = {row.user_id: row for row in reversed(people.links(c, org_id, now_ms=now_ms))}
    return [
        Entry(
            user,
            tuple(bindings.get(user.user_id, ())),
            tuple(identities.get(user.user_id, ())),
            newest.get(user.user_id),
            keys[user.user_id],
            admins == (user.user_id,),
        )
        for user in found
    ]
