"""The switch of an organisation, the scopes of its API keys, and what is being withdrawn for them.

The end of a withdrawal names its beginning: it changes nothing when somebody ended or began it anew
meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from sealwire.errors import ConflictError, NotFoundError
from sealwire.server.store import read, rows
from sealwire.server.store import tables as t


@dataclass(frozen=True, slots=True)
class Holding:
    """An agent as last seen, and the view of the version it then said it has (None: of none we know)."""

    agent: rows.AgentRow
    view_key: str | None


def organisation(c: sa.Connection, org_id: int) -> rows.Organisation:
    """One organisation.

    Raises:
        NotFoundError: There is none with this id.
    """
    row = c.execute(sa.select(t.organisations).where(t.organisations.c.org_id == org_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no organisation {org_id}.")
    return rows.Organisation(**{**row._mapping, "production_envs": tuple(json.loads(row.production_envs))})


def require_switched_on(c: sa.Connection, org_id: int) -> None:
    """Go on only where an API key may be given the Remote Configuration scope.

    Raises:
        ConflictError: Remote Configuration is off, or on its way off, for the organisation.
    """
    found = organisation(c, org_id)
    if not found.remote_config or found.withdrawing_ms is not None:
        raise ConflictError(
            "Remote Configuration is off for this organisation: an API key can lose its scope now, and not "
            "be given it. Switch it on in the settings first."
        )


def change_organisation(
    c: sa.Connection,
    org_id: int,
    *,
    name: str | None = None,
    production_envs: Sequence[str] | None = None,
) -> None:
    """Rename an organisation, say which environments are production.

    Raises:
        ConflictError: Another organisation has that name.
    """
    o = t.organisations.c
    values: dict[str, object] = {}
    if name is not None:
        taken = c.execute(sa.select(o.org_id).where(o.name == name, o.org_id != org_id)).first()
        if taken is not None:
            raise ConflictError(f"There is an organisation named {name} already.")
        values["name"] = name
    if production_envs is not None:
        values["production_envs"] = json.dumps(list(production_envs))
    if values:
        c.execute(sa.update(t.organisations).where(o.org_id == org_id).values(**values))


def switch_on(c: sa.Connection, org_id: int) -> bool:
    """Switch Remote Configuration on, and end a withdrawal; False when it was on and nothing withdrawn."""
    o = t.organisations.c
    changed = c.execute(
        sa.update(t.organisations)
        .where(o.org_id == org_id, sa.or_(o.remote_config.is_(False), o.withdrawing_ms.is_not(None)))
        .values(remote_config=True, withdrawing_ms=None)
    )
    return bool(changed.rowcount)


def begin_for_all(c: sa.Connection, org_id: int, *, now_ms: int) -> bool:
    """Begin to withdraw everything; False when that began before, or all is off."""
    o = t.organisations.c
    changed = c.execute(
        sa.update(t.organisations)
        .where(o.org_id == org_id, o.remote_config.is_(True), o.withdrawing_ms.is_(None))
        .values(withdrawing_ms=now_ms)
    )
    return bool(changed.rowcount)


def switch_off(c: sa.Connection, org_id: int, *, since_ms: int | None = None) -> bool:
    """Switch Remote Configuration off; False when it was off.

    Args:
        since_ms: Only as the end of the withdrawal that began then.
    """
    o = t.organisations.c
    query = sa.update(t.organisations).where(o.org_id == org_id, o.remote_config.is_(True))
    if since_ms is not None:
        query = query.where(o.withdrawing_ms == since_ms)
    return bool(c.execute(query.values(remote_config=False, withdrawing_ms=None)).rowcount)


def api_key(c: sa.Connection, org_id: int, key_id: str) -> rows.ApiKeyRow:
    """One API key, live or revoked.

    Raises:
        NotFoundError: The organisation has no such key.
    """
    k = t.api_keys.c
    row = c.execute(sa.select(t.api_keys).where(k.org_id == org_id, k.key_id == key_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no API key {key_id}.")
    return rows.ApiKeyRow(**row._mapping)


def live_api_key(c: sa.Connection, org_id: int, key_id: str) -> rows.ApiKeyRow:
    """One API key that is not revoked.

    Raises:
        NotFoundError: The organisation has no such key.
        ConflictError: It is revoked, which is for good.
    """
    found = api_key(c, org_id, key_id)
    if found.revoked_ms is not None:
        raise ConflictError(f"The API key {found.name} is revoked: nothing of it can be changed any more.")
    return found


def begin_for_key(c: sa.Connection, org_id: int, key_id: str, *, then_revoked: bool, now_ms: int) -> bool:
    """Begin to withdraw what the agents of a key hold; False when there is nothing to begin or to change."""
    k = t.api_keys.c
    mine = (k.org_id == org_id, k.key_id == key_id, k.revoked_ms.is_(None), k.remote_config.is_(True))
    begun = c.execute(
        sa.update(t.api_keys)
        .where(*mine, k.withdrawing_ms.is_(None))
        .values(withdrawing_ms=now_ms, then_revoked=then_revoked)
    )
    if begun.rowcount or not then_revoked:
        return bool(begun.rowcount)
    more = c.execute(sa.update(t.api_keys).where(*mine, k.then_revoked.is_(False)).values(then_revoked=True))
    return bool(more.rowcount)


def take_scope(c: sa.Connection, org_id: int, key_id: str, *, since_ms: int, now_ms: int) -> bool:
    """End the withdrawal that began at ``since_ms``: the scope goes, or the key; False when it is not on."""
    k = t.api_keys.c
    changed = c.execute(
        sa.update(t.api_keys)
        .where(k.org_id == org_id, k.key_id == key_id, k.withdrawing_ms == since_ms, k.revoked_ms.is_(None))
        .values(
            remote_config=False,
            withdrawing_ms=None,
            revoked_ms=sa.case((k.then_revoked, now_ms), else_=None),
            then_revoked=False,
        )
    )
    return bool(changed.rowcount)


def holdings(c: sa.Connection, org_id: int) -> list[Holding]:
    """Every agent of an organisation as last seen, and what it then had."""
    a, entries = t.agents.c, t.ledger.c
    issued = sa.and_(entries.org_id == a.org_id, entries.version == a.director_version)
    query = (
        sa.select(t.agents, entries.view_key)
        .select_from(t.agents.outerjoin(t.ledger, issued))
        .where(a.org_id == org_id)
        .order_by(a.hostname)
    )
    return [Holding(read.agent(row), row.view_key) for row in c.execute(query)]
