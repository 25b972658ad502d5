"""Roles: those people make, who has which, and what may not happen to them.

Three rules hold whoever asks, and however many ask at once. Nobody gives a permission they do not have
themselves, nor for more services and environments than they have it for. There is always an administrator:
an active user who has the role Admin without restriction; an organisation that never had one (its keys do
the work) need not get one. Roles that are always there are not changed.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import sqlalchemy as sa

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, NotPermittedError, Problem
from sealwire.server.access.permissions import BUILT_IN_ROLES, Grant, Principal, Role, known_permission
from sealwire.server.store import roles as store
from sealwire.server.store import write
from sealwire.server.store.database import Database
from sealwire.server.store.roles import BindingRow, RoleRow

MANAGE = "user_access_manage"
MAX_ROLES = 200
MAX_NAMES = 100  # services, and environments, of one binding
MAX_BINDINGS = 50  # of one user
_ID = re.compile(r"[0-9a-z_]{1,16}", re.ASCII)
_MISSING_ROLE = "There is no such role here."
_MISSING_BINDING = "They do not have this role, or no more."
_MISSING_USER = "There is no such user here."


def check_id(text: str, otherwise: str) -> str:
    """An id as it may reach the database; anything else is of nothing that is here.

    Raises:
        NotFoundError: With the sentence ``otherwise``.
    """
    if not _ID.fullmatch(text):
        raise NotFoundError(otherwise)
    return text


@contextmanager
def an_administrator_stays(c: sa.Connection, org_id: int) -> Iterator[None]:
    """Let a change of bindings or of users' states happen, unless it takes the last administrator away.

    Raises:
        InvalidChangeError: It does; the transaction must not be committed.
    """
    store.lock_people(c, org_id)
    before = store.active_admin_ids(c, org_id)
    yield
    if before and not store.active_admin_ids(c, org_id):
        raise InvalidChangeError(
            "This is the last administrator. Make somebody else one first: give an active user the role "
            "Admin without restriction.",
            problems=(Problem("$", "an organisation keeps at least one active administrator"),),
        )


def grants_of_user(c: sa.Connection, org_id: int, user_id: str) -> tuple[Grant, ...]:
    """What somebody may, by all their roles; nothing for a user nobody knows."""
    return all_grants(c, org_id, user_id=user_id).get(user_id, ())


def all_grants(
    c: sa.Connection, org_id: int | None = None, *, user_id: str | None = None
) -> Mapping[str, tuple[Grant, ...]]:
    """User id -> what they may: in one organisation or in all, of one user or of all."""
    bound = store.bindings(c, org_id, user_id=user_id)
    made = {
        (row.org_id, row.role_id): as_role(row)
        for row in (store.roles(c, org_id) if any(b.role_id not in BUILT_IN_ROLES for b in bound) else ())
    }
    found: dict[str, tuple[Grant, ...]] = {}
    for row in bound:
        role = BUILT_IN_ROLES.get(row.role_id) or made.get((row.org_id, row.role_id))
        if role is not None:
            grant = Grant(role, frozenset(row.services), frozenset(row.envs))
            found[row.user_id] = (*found.get(row.user_id, ()), grant)
    return found


def as_role(row: RoleRow) -> Role:
    """A role people made, as it counts: a permission that is no more gives nothing."""
    return Role(
        row.role_id,
        row.name,
        frozenset(known for name in row.permissions if (known := known_permission(name)) is not None),
        row.description,
    )


def roles_of(c: sa.Connection, org_id: int) -> Mapping[str, Role]:
    """Every role of an organisation by its id: the ones always there, then those people made, by name."""
    return {**BUILT_IN_ROLES, **{row.role_id: as_role(row) for row in store.roles(c, org_id)}}


def require_to_have(by: Principal, grants: Iterable[Grant]) -> None:
    """Go on only when somebody may all of this themselves.

    Attack: privilege escalation, be it by giving a role, or by a link that lets one in as its owner.

    Raises:
        NotPermittedError: There is more in it than they have.
    """
    for grant in grants:
        lacking = [
            name
            for name in sorted(grant.role.permissions)
            if not by.may_change(name, services=grant.services, envs=grant.envs)
        ]
        if lacking:
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            raise NotPermittedError(
                f"The role {grant.role.name} gives more than you have yourself there: "
                f"{', '.join(lacking[:3])}{more}."
            )


def bind(
    c: sa.Connection,
    org_id: int,
    user_id: str,
    role_id: str,
    *,
    by: str,
    now_ms: int,
    services: Sequence[str] = (),
    envs: Sequence[str] = (),
) -> BindingRow:
    """Give a role in somebody's transaction, whoever asks: for the first run, invitations, first sign-ins.

    Raises:
        NotFoundError: No such role here.
        InvalidChangeError, ConflictError: As they say.
    """
    role = roles_of(c, org_id).get(role_id)
    if role is None:
        raise NotFoundError(_MISSING_ROLE)
    row = BindingRow(
        org_id, secrets.token_hex(8), user_id, role_id, checked_names("services", services),
        checked_names("envs", envs), now_ms, by,
    )  # fmt: skip
    has = store.bindings(c, org_id, user_id=user_id)
    if any((one.role_id, one.services, one.envs) == (role_id, row.services, row.envs) for one in has):
        raise ConflictError(f"They have the role {role.name} for this already.")
    if len(has) >= MAX_BINDINGS:
        raise InvalidChangeError(
            f"Somebody may have {MAX_BINDINGS} roles.",
            problems=(Problem("$.role_id", "take one away first"),),
        )
    store.add_binding(c, row)
    what = f"the role {role.name}{reach_words(row.services, row.envs)}"
    write.add_audit(
        c, org_id, at_ms=now_ms, actor=by, action="role.given", subject=f"user {user_id}",
        summary=f"Gave {_email(c, org_id, user_id)} {what}",
        detail={"role_id": role_id, "services": list(row.services), "envs": list(row.envs)},
    )  # fmt: skip
    return row


def reach_words(services: Iterable[str], envs: Iterable[str]) -> str:
    """For what a role is, as the end of a sentence: `` for shop, cart in staging``; empty: for everything."""
    of_services, of_envs = ", ".join(sorted(services)), ", ".join(sorted(envs))
    return (f" for {of_services}" if of_services else "") + (f" in {of_envs}" if of_envs else "")


@dataclass(frozen=True, slots=True)
class ListedRole:
    """A role as people are shown it; ``revision`` is 0 for those that are always there."""

    role: Role
    revision: int
    created_ms: int = 0
    created_by: str = ""


class Roles:
    """Roles and who has them, as people change them. ``changed`` is called after every change."""

    def __init__(self, database: Database, changed: Callable[[], None]) -> None:
        self._database = database
        self._changed = changed

    def all(self, by: Principal) -> Mapping[str, ListedRole]:
        """Every role by its id: the ones always there, then those people made, by name."""
        by.require("user_access_read")
        with self._database.read() as c:
            made = store.roles(c, by.org_id)
        found = {role.role_id: ListedRole(role, 0) for role in BUILT_IN_ROLES.values()}
        for row in made:
            found[row.role_id] = ListedRole(as_role(row), row.revision, row.created_ms, row.created_by)
        return found

    def create(
        self, by: Principal, *, name: str, permissions: Iterable[str], description: str = "", now_ms: int
    ) -> RoleRow:
        """A new role.

        Raises:
            InvalidChangeError, ConflictError, NotPermittedError: As they say; nothing was made.
        """
        by.require(MANAGE)
        row = RoleRow(
            by.org_id, secrets.token_hex(8), _checked_name(name), _checked_description(description),
            _checked_permissions(permissions), now_ms, by.user, 1,
        )  # fmt: skip
        require_to_have(by, (Grant(as_role(row)),))
        with self._database.write() as c:
            store.lock_people(c, by.org_id)
            self._require_free(c, row)
            if len(store.roles(c, by.org_id)) >= MAX_ROLES:
                raise InvalidChangeError(f"An organisation may have {MAX_ROLES} roles of its own.")
            store.add_role(c, row)
            write.add_audit(
                c, by.org_id, at_ms=now_ms, actor=by.user, action="role.created",
                subject=f"role {row.role_id}",
                summary=f"Made the role {row.name} with {_count(row.permissions)}",
                detail={"permissions": list(row.permissions)},
            )  # fmt: skip
        return row

    def change(
        self,
        by: Principal,
        role_id: str,
        *,
        expected_revision: int,
        now_ms: int,
        name: str | None = None,
        description: str | None = None,
        permissions: Iterable[str] | None = None,
    ) -> RoleRow:
        """Change a role that people made; what is not given stays. Who has it may the new things at once.

        Raises:
            InvalidChangeError, ConflictError, NotFoundError, NotPermittedError: As they say; nothing changed.
        """
        by.require(MANAGE)
        with self._database.write() as c:
            store.lock_people(c, by.org_id)
            old = self._made_here(c, by.org_id, role_id)
            row = replace(
                old,
                name=old.name if name is None else _checked_name(name),
                description=old.description if description is None else _checked_description(description),
                permissions=old.permissions if permissions is None else _checked_permissions(permissions),
                revision=expected_revision + 1,
            )
            added = sorted(set(row.permissions) - set(old.permissions))
            removed = sorted(set(old.permissions) - set(row.permissions))
            require_to_have(by, (Grant(replace(as_role(row), permissions=frozenset(added))),))
            self._require_free(c, row)
            store.change_role(c, row, expected_revision=expected_revision)
            if added:  # as with a role that is given
                holders = {one.user_id for one in store.bindings(c, by.org_id, role_id=role_id)}
                store.end_links_of_others(c, by.org_id, holders, by=by.user, now_ms=now_ms)
            write.add_audit(
                c, by.org_id, at_ms=now_ms, actor=by.user, action="role.changed", subject=f"role {role_id}",
                summary=f"Changed the role {row.name}: {len(added)} permissions more, {len(removed)} less",
                detail={"added": added, "removed": removed, "name": [old.name, row.name],
                        "description": [old.description, row.description]},
            )  # fmt: skip
        self._changed()
        return row

    def delete(self, by: Principal, role_id: str, *, expected_revision: int, now_ms: int) -> None:
        """Forget a role that people made, when nobody has it.

        Raises:
            InvalidChangeError: Somebody has it.
            ConflictError, NotFoundError, NotPermittedError: As they say; nothing changed.
        """
        by.require(MANAGE)
        with self._database.write() as c:
            store.lock_people(c, by.org_id)
            row = self._made_here(c, by.org_id, role_id)
            holders = {one.user_id for one in store.bindings(c, by.org_id, role_id=role_id)}
            if holders:
                raise InvalidChangeError(
                    f"{len(holders)} {'user has' if len(holders) == 1 else 'users have'} the role "
                    f"{row.name}: take it away from them first.",
                    problems=(Problem("$", "only a role that nobody has can be deleted"),),
                )
            store.delete_role(c, by.org_id, role_id, expected_revision=expected_revision)
            write.add_audit(
                c, by.org_id, at_ms=now_ms, actor=by.user, action="role.deleted", subject=f"role {role_id}",
                summary=f"Deleted the role {row.name}", detail={"permissions": list(row.permissions)},
            )  # fmt: skip
        self._changed()

    def give(
        self,
        by: Principal,
        user_id: str,
        role_id: str,
        *,
        services: Sequence[str] = (),
        envs: Sequence[str] = (),
        now_ms: int,
    ) -> BindingRow:
        """Give a user a role, for all or for some services and environments.

        Raises:
            NotPermittedError: The role has more in it than ``by`` has.
            InvalidChangeError, ConflictError, NotFoundError: As they say; nothing changed.
        """
        by.require(MANAGE)
        with self._database.write() as c:
            store.lock_people(c, by.org_id)
            if store.user_email(c, by.org_id, check_id(user_id, _MISSING_USER)) is None:
                raise NotFoundError(_MISSING_USER)
            role = roles_of(c, by.org_id).get(role_id)
            if role is None:
                raise NotFoundError(_MISSING_ROLE)
            grant = Grant(
                role, frozenset(checked_names("services", services)), frozenset(checked_names("envs", envs))
            )
            require_to_have(by, (grant,))
            row = bind(
                c, by.org_id, user_id, role_id, services=services, envs=envs, by=by.user, now_ms=now_ms
            )
            # Attack: a link made while its user had less lets somebody in who may not have more.
            store.end_links_of_others(c, by.org_id, (user_id,), by=by.user, now_ms=now_ms)
        self._changed()
        return row

    def take(self, by: Principal, user_id: str, binding_id: str, *, now_ms: int) -> BindingRow:
        """Take a role away from a user.

        Raises:
            InvalidChangeError: They are the last administrator.
            NotFoundError, NotPermittedError: As they say; nothing changed.
        """
        by.require(MANAGE)
        with self._database.write() as c, an_administrator_stays(c, by.org_id):
            row = store.binding(c, by.org_id, check_id(binding_id, _MISSING_BINDING))
            if row is None or row.user_id != user_id:
                raise NotFoundError(_MISSING_BINDING)
            role = roles_of(c, by.org_id).get(row.role_id)
            store.delete_binding(c, by.org_id, binding_id)
            write.add_audit(
                c, by.org_id, at_ms=now_ms, actor=by.user, action="role.taken", subject=f"user {user_id}",
                summary=f"Took the role {role.name if role else row.role_id}"
                f"{reach_words(row.services, row.envs)} from {_email(c, by.org_id, user_id)}",
                detail={"role_id": row.role_id, "services": list(row.services), "envs": list(row.envs)},
            )  # fmt: skip
        self._changed()
        return row

    @staticmethod
    def _made_here(c: sa.Connection, org_id: int, role_id: str) -> RoleRow:
        if role_id in BUILT_IN_ROLES:
            raise InvalidChangeError(
                f"The role {BUILT_IN_ROLES[role_id].name} is always there and stays as it is. Make one of "
                "your own that starts from it."
            )
        row = store.role(c, org_id, check_id(role_id, _MISSING_ROLE))
        if row is None:
            raise NotFoundError(_MISSING_ROLE)
        return row

    @staticmethod
    def _require_free(c: sa.Connection, row: RoleRow) -> None:
        for other in roles_of(c, row.org_id).values():
            if other.role_id != row.role_id and other.name.casefold() == row.name.casefold():
                raise InvalidChangeError(
                    f"There is a role named {other.name} already.",
                    problems=(Problem("$.name", "another name"),),
                )


def _email(c: sa.Connection, org_id: int, user_id: str) -> str:
    return store.user_email(c, org_id, user_id) or f"user {user_id}"


def _count(permissions: Sequence[str]) -> str:
    return f"{len(permissions)} permission{'' if len(permissions) == 1 else 's'}"


def _is_plain(text: str) -> bool:
    return all(character.isprintable() for character in text)


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 100 or not _is_plain(name):
        raise InvalidChangeError(
            "A role needs a name.", problems=(Problem("$.name", "1 to 100 printable characters"),)
        )
    return name


def _checked_description(description: str) -> str:
    description = " ".join(description.split())
    if len(description) > 500 or not _is_plain(description):
        raise InvalidChangeError(
            "The description is too long.",
            problems=(Problem("$.description", "at most 500 printable characters"),),
        )
    return description


def _checked_permissions(names: Iterable[str]) -> tuple[str, ...]:
    names = list(names)
    known = [known_permission(name) for name in names]
    problems = tuple(
        Problem(f"$.permissions[{number}]", "no such permission")
        for number, found in enumerate(known)
        if found is None
    )
    if problems:
        raise InvalidChangeError("There is no such permission.", problems=problems)
    chosen = tuple(sorted({name for name in known if name is not None}))
    if not chosen:
        raise InvalidChangeError(
            "A role lets people do something.", problems=(Problem("$.permissions", "at least one"),)
        )
    return chosen


def checked_names(field: str, names: Iterable[str]) -> tuple[str, ...]:
    """Services or environments of a restriction as they are kept: case folded, sorted, each once.

    Raises:
        InvalidChangeError: Too many, or names that cannot be any.
    """
    chosen = sorted({name.strip().casefold() for name in names} - {""})
    if len(chosen) > MAX_NAMES or any(len(name) > 200 or not _is_plain(name) for name in chosen):
        raise InvalidChangeError(
            "The restriction of this role cannot be used.",
            problems=(
                Problem(f"$.{field}", f"at most {MAX_NAMES} names of at most 200 printable characters"),
            ),
        )
    return tuple(chosen)
