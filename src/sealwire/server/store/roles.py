"""Rows of roles, of who has them, and of identities at a provider of OpenID Connect: reads and writes.

Whoever changes who has which role, or which users are active, first takes ``lock_people``: then two changes
that would each leave one administrator cannot together leave none.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from sealwire.errors import ConflictError, NotFoundError
from sealwire.server.store import tables as t

ADMIN_ROLE = "admin"
ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A role that people made."""

    org_id: int
    role_id: str
    name: str
    description: str
    permissions: tuple[str, ...]
    created_ms: int
    created_by: str
    revision: int


@dataclass(frozen=True, slots=True)
class BindingRow:
    """A user has a role.

    Attributes:
        services, envs: Case folded and sorted; empty means all of them.
    """

    org_id: int
    binding_id: str
    user_id: str
    role_id: str
    services: tuple[str, ...]
    envs: tuple[str, ...]
    created_ms: int
    created_by: str


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """A user as a provider knows them."""

    issuer: str
    subject: str
    user_id: str
    created_ms: int


def lock_people(c: sa.Connection, org_id: int) -> None:
    """Take the lock on who may do what in an organisation, until this transaction ends."""
    k = t.organisations.c
    if c.execute(sa.select(k.org_id).where(k.org_id == org_id).with_for_update()).one_or_none() is None:
        raise NotFoundError(f"There is no organisation {org_id}.")


# Roles ------------------------------------------------------------------------------------------------


def roles(c: sa.Connection, org_id: int | None = None) -> list[RoleRow]:
    """Roles people made, of one organisation or of all, by name."""
    query = sa.select(t.roles).order_by(t.roles.c.name)
    if org_id is not None:
        query = query.where(t.roles.c.org_id == org_id)
    return [_role(row) for row in c.execute(query)]


def role(c: sa.Connection, org_id: int, role_id: str) -> RoleRow | None:
    """One role that people made, or None."""
    k = t.roles.c
    row = c.execute(sa.select(t.roles).where(k.org_id == org_id, k.role_id == role_id)).one_or_none()
    return None if row is None else _role(row)


def add_role(c: sa.Connection, row: RoleRow) -> None:
    """A new role; the same name twice is a conflict."""
    c.execute(sa.insert(t.roles).values(**_role_values(row)))


def change_role(c: sa.Connection, row: RoleRow, *, expected_revision: int) -> None:
    """Write a role as it shall be.

    Raises:
        ConflictError: Somebody changed it since.
        NotFoundError: It is not there.
    """
    k = t.roles.c
    mine = (k.org_id == row.org_id, k.role_id == row.role_id)
    changed = c.execute(
        sa.update(t.roles).where(*mine, k.revision == expected_revision).values(**_role_values(row))
    )
    if changed.rowcount != 1:
        _moved_on(c, row.org_id, row.role_id, expected_revision)


def delete_role(c: sa.Connection, org_id: int, role_id: str, *, expected_revision: int) -> None:
    """Forget a role.

    Raises:
        ConflictError: Somebody changed it since.
        NotFoundError: It is not there.
    """
    k = t.roles.c
    gone = c.execute(
        sa.delete(t.roles).where(k.org_id == org_id, k.role_id == role_id, k.revision == expected_revision)
    )
    if gone.rowcount != 1:
        _moved_on(c, org_id, role_id, expected_revision)


def _moved_on(c: sa.Connection, org_id: int, role_id: str, expected_revision: int) -> None:
    found = role(c, org_id, role_id)
    if found is None:
        raise NotFoundError(f"There is no role {role_id}.")
    raise ConflictError(
        f"The role {found.name} is at revision {found.revision}, not {expected_revision}: "
        "look at it again, then repeat the change.",
        expected_revision=expected_revision,
        actual_revision=found.revision,
    )


def _role(row: sa.Row[Any]) -> RoleRow:
    return RoleRow(**{**row._mapping, "permissions": tuple(json.loads(row.permissions))})


def _role_values(row: RoleRow) -> dict[str, Any]:
    return {
        "org_id": row.org_id,
        "role_id": row.role_id,
        "name": row.name,
        "description": row.description,
        "permissions": json.dumps(sorted(row.permissions)),
        "created_ms": row.created_ms,
        "created_by": row.created_by,
        "revision": row.revision,
    }


# Who has them -----------------------------------------------------------------------------------------


def bindings(
    c: sa.Connection, org_id: int | None = None, *, user_id: str | None = None, role_id: str | None = None
) -> list[BindingRow]:
    """Who has which role, oldest first: in one organisation or all, of one user, of one role."""
    k = t.role_bindings.c
    query = sa.select(t.role_bindings).order_by(k.created_ms, k.binding_id)
    for column, wanted in ((k.org_id, org_id), (k.user_id, user_id), (k.role_id, role_id)):
        if wanted is not None:
            query = query.where(column == wanted)
    return [_binding(row) for row in c.execute(query)]


def binding(c: sa.Connection, org_id: int, binding_id: str) -> BindingRow | None:
    """One binding, or None."""
    k = t.role_bindings.c
    row = c.execute(
        sa.select(t.role_bindings).where(k.org_id == org_id, k.binding_id == binding_id)
    ).one_or_none()
    return None if row is None else _binding(row)


def add_binding(c: sa.Connection, row: BindingRow) -> None:
    """Give somebody a role."""
    c.execute(
        sa.insert(t.role_bindings).values(
            org_id=row.org_id,
            binding_id=row.binding_id,
            user_id=row.user_id,
            role_id=row.role_id,
            services=json.dumps(row.services),
            envs=json.dumps(row.envs),
            created_ms=row.created_ms,
            created_by=row.created_by,
        )
    )


def delete_binding(c: sa.Connection, org_id: int, binding_id: str) -> None:
    """Take a role away.

    Raises:
        NotFoundError: It is not there.
    """
    k = t.role_bindings.c
    gone = c.execute(sa.delete(t.role_bindings).where(k.org_id == org_id, k.binding_id == binding_id))
    if gone.rowcount != 1:
        raise NotFoundError("This role was taken away already.")


def user_email(c: sa.Connection, org_id: int, user_id: str) -> str | None:
    """The email of a user of this organisation, or None: there is no such user."""
    k = t.users.c
    return c.execute(sa.select(k.email).where(k.org_id == org_id, k.user_id == user_id)).scalar_one_or_none()


def organisation_of_user(c: sa.Connection, user_id: str) -> int | None:
    """The organisation a user is of, or None: there is no such user."""
    k = t.users.c
    return c.execute(sa.select(k.org_id).where(k.user_id == user_id)).scalar_one_or_none()


def active_users(c: sa.Connection) -> dict[str, tuple[int, str]]:
    """User id -> organisation and email, of every user who may come in."""
    k = t.users.c
    return {
        row.user_id: (row.org_id, row.email)
        for row in c.execute(sa.select(k.user_id, k.org_id, k.email).where(k.state == ACTIVE))
    }


def end_links_of_others(
    c: sa.Connection, org_id: int, user_ids: Collection[str], *, by: str, now_ms: int
) -> None:
    """Let no link of these users work any more that somebody else than ``by`` made."""
    k = t.links.c
    c.execute(
        sa.update(t.links)
        .where(k.org_id == org_id, k.user_id.in_(list(user_ids)), k.used_ms.is_(None), k.created_by != by)
        .values(used_ms=now_ms)
    )


def active_admin_ids(c: sa.Connection, org_id: int) -> tuple[str, ...]:
    """Ids of active users who are administrators without restriction."""
    k, u = t.role_bindings.c, t.users.c
    query = (
        sa.select(k.user_id)
        .join(t.users, sa.and_(u.user_id == k.user_id, u.org_id == k.org_id))
        .where(
            k.org_id == org_id,
            k.role_id == ADMIN_ROLE,
            k.services == "[]",
            k.envs == "[]",
            u.state == ACTIVE,
        )
        .distinct()
        .order_by(k.user_id)
    )
    return tuple(c.execute(query).scalars())


def _binding(row: sa.Row[Any]) -> BindingRow:
    return BindingRow(
        **{
            **row._mapping,
            "services": tuple(json.loads(row.services)),
            "envs": tuple(json.loads(row.envs)),
        }
    )


# Identities -------------------------------------------------------------------------------------------


def identity(c: sa.Connection, issuer: str, subject: str) -> IdentityRow | None:
    """Who this is here, or None."""
    k = t.identities.c
    row = c.execute(sa.select(t.identities).where(k.issuer == issuer, k.subject == subject)).one_or_none()
    return None if row is None else IdentityRow(**row._mapping)


def identities(c: sa.Connection, org_id: int, *, user_id: str | None = None) -> list[IdentityRow]:
    """Identities of the users of an organisation, or of one of them, oldest first."""
    k, u = t.identities.c, t.users.c
    query = sa.select(t.identities).join(t.users, u.user_id == k.user_id).where(u.org_id == org_id)
    if user_id is not None:
        query = query.where(k.user_id == user_id)
    return [IdentityRow(**row._mapping) for row in c.execute(query.order_by(k.created_ms, k.subject))]


def add_identity(c: sa.Connection, row: IdentityRow) -> None:
    """Link a provider's subject to a user, for ever; the same subject twice is a conflict."""
    c.execute(
        sa.insert(t.identities).values(
            issuer=row.issuer, subject=row.subject, user_id=row.user_id, created_ms=row.created_ms
        )
    )
