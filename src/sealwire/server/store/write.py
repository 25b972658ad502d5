"""Every change. Each takes the connection of a writing transaction; the caller commits all or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sealwire.errors import ConflictError, NotFoundError
from sealwire.server.store import audit, rows
from sealwire.server.store import tables as t


def upsert(c: sa.Connection, table: sa.Table, values: Sequence[Mapping[str, Any]], *keep: str) -> None:
    """Insert rows, or replace those with the same key but for the columns in ``keep``."""
    if not values:
        return
    keys = [column.name for column in table.primary_key.columns]
    insert = (postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert)(table)
    changed = {
        column.name: insert.excluded[column.name]
        for column in table.columns
        if column.name not in keys and column.name not in keep and column.name in values[0]
    }
    c.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed), list(values))


def lock_domain(c: sa.Connection, org_id: int) -> rows.Domain:
    """Take the lock of a trust domain: nobody else publishes or commits there until this transaction ends."""
    row = c.execute(sa.select(t.domains).where(t.domains.c.org_id == org_id).with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no organisation {org_id}.")
    return rows.Domain(
        row.director_version, row.config_version, row.key_epoch, row.generation, row.role_floor
    )


def set_domain(c: sa.Connection, org_id: int, **values: int) -> None:
    """Move sequences of a trust domain; only under ``lock_domain``."""
    c.execute(sa.update(t.domains).where(t.domains.c.org_id == org_id).values(**values))


def add_organisation(c: sa.Connection, organisation: rows.Organisation) -> None:
    """A new organisation with sequences at nought."""
    c.execute(
        sa.insert(t.organisations).values(
            org_id=organisation.org_id,
            uuid=organisation.uuid,
            name=organisation.name,
            remote_config=organisation.remote_config,
            roots_on_server=organisation.roots_on_server,
            created_ms=organisation.created_ms,
        )
    )
    c.execute(
        sa.insert(t.domains).values(
            org_id=organisation.org_id,
            director_version=0,
            config_version=0,
            key_epoch=1,
            generation=0,
            role_floor=0,
        )
    )
    audit.add_head(c, organisation.org_id)


def add_root(
    c: sa.Connection, org_id: int, repository: str, version: int, raw: bytes, *, now_ms: int
) -> None:
    """A new root. The same version twice is an integrity error: roots are for ever."""
    c.execute(
        sa.insert(t.roots).values(
            org_id=org_id, repository=repository, version=version, raw=raw, created_ms=now_ms
        )
    )


def replace_online_key(
    c: sa.Connection, org_id: int, *, key_id: str, purpose: str, wrapped: bytes, now_ms: int
) -> None:
    """A new key for a purpose; the one before stops signing."""
    k = t.online_keys.c
    c.execute(
        sa.update(t.online_keys)
        .where(k.org_id == org_id, k.purpose == purpose, k.retired_ms.is_(None))
        .values(retired_ms=now_ms)
    )
    c.execute(
        sa.insert(t.online_keys).values(
            org_id=org_id, key_id=key_id, purpose=purpose, wrapped=wrapped, created_ms=now_ms
        )
    )


def put_config(c: sa.Connection, config: rows.ConfigRow, *, expected_revision: int | None) -> None:
    """Write a config's new revision, and keep it in the history.

    Args:
        config: The row as it shall be; its ``revision`` is the new one.
        expected_revision: The revision the author saw, None for a new config.

    Raises:
        ConflictError: Somebody else changed it first.
        NotFoundError: It is not there.
    """
    k = t.configs.c
    values = {
        "product": config.product,
        "name": config.name,
        "targeting": json.dumps(config.targeting, sort_keys=True),
        "payload": config.payload,
        "revision": config.revision,
        "state": config.state,
        "updated_ms": config.updated_ms,
        "updated_by": config.updated_by,
        "comment": config.comment,
        "expires_ms": config.expires_ms,
        "generation": config.generation,
    }
    if expected_revision is None:
        c.execute(
            sa.insert(t.configs).values(
                org_id=config.org_id, config_id=config.config_id, created_ms=config.created_ms, **values
            )
        )
    else:
        mine = (k.org_id == config.org_id, k.config_id == config.config_id)
        changed = c.execute(
            sa.update(t.configs).where(*mine, k.revision == expected_revision).values(**values)
        )
        if changed.rowcount != 1:
            actual = c.execute(sa.select(k.revision).where(*mine)).scalar_one_or_none()
            if actual is None:
                raise NotFoundError(f"There is no config {config.config_id}.")
            raise ConflictError(
                f"Config {config.config_id} is at revision {actual}, not {expected_revision}: "
                "look at it again, then repeat the change.",
                expected_revision=expected_revision,
                actual_revision=actual,
            )
    c.execute(
        sa.insert(t.config_revisions).values(
            org_id=config.org_id,
            config_id=config.config_id,
            revision=config.revision,
            name=config.name,
            targeting=values["targeting"],
            payload=config.payload,
            state=config.state,
            at_ms=config.updated_ms,
            by=config.updated_by,
            comment=config.comment,
            expires_ms=config.expires_ms,
        )
    )


def add_audience(c: sa.Connection, org_id: int, product: str, audience: str, number: int) -> None:
    """A new audience; only under ``lock_domain``."""
    c.execute(sa.insert(t.audiences).values(org_id=org_id, product=product, audience=audience, number=number))


def put_files(c: sa.Connection, org_id: int, files: Iterable[rows.FileRow]) -> None:
    """Published files, new or changed."""
    upsert(
        c,
        t.files,
        [
            {
                "org_id": org_id,
                "path": file.path,
                "version": file.version,
                "sha256": file.sha256,
                "raw": file.raw,
                "sources": json.dumps(file.sources),
                "provenance": json.dumps(file.provenance),
                "role": file.role,
            }
            for file in files
        ],
    )


def add_documents(c: sa.Connection, org_id: int, documents: Iterable[rows.DocumentRow]) -> None:
    """Signed documents of the config repository."""
    values = [
        {
            "org_id": org_id,
            "role": document.role,
            "version": document.version,
            "raw": document.raw,
            "signed_ms": document.signed_ms,
        }
        for document in documents
    ]
    if values:
        c.execute(sa.insert(t.config_documents), values)


def add_ledger(c: sa.Connection, org_id: int, entries: Iterable[rows.LedgerRow]) -> None:
    """Bundles that may leave once this transaction is committed."""
    values = [
        {
            "org_id": org_id,
            "version": entry.version,
            "view_key": entry.view_key,
            "config_version": entry.config_version,
            "key_epoch": entry.key_epoch,
            "signed_ms": entry.signed_ms,
            "expires_ms": entry.expires_ms,
            "sha256": entry.sha256,
            "targets": entry.targets,
            "snapshot": entry.snapshot,
            "timestamp": entry.timestamp,
        }
        for entry in entries
    ]
    if values:
        c.execute(sa.insert(t.ledger), values)


def prune_published(c: sa.Connection, org_id: int, *, before_ms: int) -> None:
    """Forget signed bytes that have expired everywhere; the ledger's rows themselves stay."""
    entries = t.ledger.c
    c.execute(
        sa.update(t.ledger)
        .where(entries.org_id == org_id, entries.expires_ms < before_ms, entries.targets.is_not(None))
        .values(targets=None, snapshot=None, timestamp=None)
    )
    d = t.config_documents
    newer = sa.alias(d)
    superseded = sa.exists().where(
        newer.c.org_id == d.c.org_id, newer.c.role == d.c.role, newer.c.version > d.c.version
    )
    c.execute(sa.delete(d).where(d.c.org_id == org_id, d.c.signed_ms < before_ms, superseded))


def put_held(
    c: sa.Connection, org_id: int, client_id: str, product: str, held: Mapping[str, Any], *, now_ms: int
) -> None:
    """Remember, or forget when empty, what a client would keep by itself."""
    if held:
        row = {
            "org_id": org_id,
            "client_id": client_id,
            "product": product,
            "held": json.dumps(held, sort_keys=True),
            "at_ms": now_ms,
        }
        upsert(c, t.held_values, [row])
    else:
        k = t.held_values.c
        c.execute(
            sa.delete(t.held_values).where(k.org_id == org_id, k.client_id == client_id, k.product == product)
        )


def add_api_key(c: sa.Connection, key: rows.ApiKeyRow) -> None:
    """A new API key (its hash)."""
    c.execute(
        sa.insert(t.api_keys).values(
            key_id=key.key_id,
            org_id=key.org_id,
            name=key.name,
            sha256=key.sha256,
            last4=key.last4,
            remote_config=key.remote_config,
            created_ms=key.created_ms,
            created_by=key.created_by,
        )
    )


def change_api_key(c: sa.Connection, org_id: int, key_id: str, **values: Any) -> None:
    """Rename, give or take the scope, revoke.

    Raises:
        NotFoundError: The organisation has no such key.
    """
    k = t.api_keys.c
    changed = c.execute(sa.update(t.api_keys).where(k.org_id == org_id, k.key_id == key_id).values(**values))
    if changed.rowcount != 1:
        raise NotFoundError(f"There is no API key {key_id}.")


def note_api_key_use(c: sa.Connection, last_used_ms: Mapping[str, int]) -> None:
    """When keys were last used."""
    for key_id, at_ms in last_used_ms.items():
        c.execute(sa.update(t.api_keys).where(t.api_keys.c.key_id == key_id).values(last_used_ms=at_ms))


def add_application_key(
    c: sa.Connection,
    *,
    key_id: str,
    org_id: int,
    user: str,
    role: str,
    sha256: str,
    last4: str,
    now_ms: int,
    name: str = "",
    user_id: str | None = None,
    scopes: Iterable[str] | None = None,
) -> None:
    """A new application key (its hash)."""
    c.execute(
        sa.insert(t.application_keys).values(
            key_id=key_id,
            org_id=org_id,
            user=user,
            role=role,
            sha256=sha256,
            last4=last4,
            created_ms=now_ms,
            name=name,
            user_id=user_id,
            scopes=None if scopes is None else json.dumps(sorted(scopes)),
        )
    )


def revoke_application_key(c: sa.Connection, org_id: int, key_id: str, *, now_ms: int) -> None:
    """End an application key for good.

    Raises:
        NotFoundError: The organisation has no such key, or no more.
    """
    k = t.application_keys.c
    changed = c.execute(
        sa.update(t.application_keys)
        .where(k.org_id == org_id, k.key_id == key_id, k.revoked_ms.is_(None))
        .values(revoked_ms=now_ms)
    )
    if changed.rowcount != 1:
        raise NotFoundError("There is no such application key, or it was revoked already.")


def note_application_key_use(c: sa.Connection, last_used_ms: Mapping[str, int]) -> None:
    """When application keys were last used."""
    k = t.application_keys.c
    for key_id, at_ms in last_used_ms.items():
        c.execute(sa.update(t.application_keys).where(k.key_id == key_id).values(last_used_ms=at_ms))


def put_agents(c: sa.Connection, org_id: int, agents: Iterable[rows.AgentRow]) -> None:
    """Agents as last seen; the first time stays."""
    values = [
        {
            "org_id": org_id,
            "agent_id": agent.agent_id,
            "hostname": agent.hostname,
            "version": agent.version,
            "tags": json.dumps(agent.tags),
            "first_seen_ms": agent.first_seen_ms,
            "last_seen_ms": agent.last_seen_ms,
            "error": agent.error,
            "director_version": agent.director_version,
            "api_key_id": agent.api_key_id,
        }
        for agent in agents
    ]
    upsert(c, t.agents, values, "first_seen_ms")


def put_clients(c: sa.Connection, org_id: int, clients: Iterable[rows.ClientRow]) -> None:
    """Clients as last seen; the first time stays."""
    values = [
        {
            "org_id": org_id,
            "client_id": client.client_id,
            "agent_id": client.agent_id,
            "facts": json.dumps(client.facts, sort_keys=True),
            "first_seen_ms": client.first_seen_ms,
            "last_seen_ms": client.last_seen_ms,
            "error": client.error,
            "targets_version": client.targets_version,
        }
        for client in clients
    ]
    upsert(c, t.clients, values, "first_seen_ms")


def put_deliveries(
    c: sa.Connection,
    org_id: int,
    changed: Iterable[rows.DeliveryRow],
    gone: Iterable[tuple[str, str]] = (),
) -> None:
    """What clients say of their files; ``gone`` are (client id, path) they hold no longer."""
    values = [
        {
            "org_id": org_id,
            "client_id": row.client_id,
            "path": row.path,
            "version": row.version,
            "apply_state": row.apply_state,
            "apply_error": row.apply_error,
            "since_ms": row.since_ms,
        }
        for row in changed
    ]
    upsert(c, t.deliveries, values)
    k = t.deliveries.c
    for client_id, path in gone:
        c.execute(sa.delete(t.deliveries).where(k.org_id == org_id, k.client_id == client_id, k.path == path))


def forget_clients(c: sa.Connection, org_id: int, *, before_ms: int) -> list[str]:
    """Drop clients nobody has seen since, with all that is kept of them; returns their ids."""
    k = t.clients.c
    old = sa.select(k.client_id).where(k.org_id == org_id, k.last_seen_ms < before_ms)
    for table in (t.deliveries, t.held_values):
        c.execute(sa.delete(table).where(table.c.org_id == org_id, table.c.client_id.in_(old)))
    gone = c.execute(
        sa.delete(t.clients).where(k.org_id == org_id, k.last_seen_ms < before_ms).returning(k.client_id)
    )
    return [row.client_id for row in gone]


def add_audit(
    c: sa.Connection,
    org_id: int,
    *,
    at_ms: int,
    actor: str,
    action: str,
    subject: str,
    summary: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """One event of the audit trail, chained at the end of this transaction (see ``audit.at_the_end``)."""
    audit.add(
        c,
        audit.new_event(
            org_id, at_ms=at_ms, actor=actor, action=action, subject=subject, summary=summary, detail=detail
        ),
    )


def raise_alarm(c: sa.Connection, org_id: int, *, at_ms: int, kind: str, subject: str, message: str) -> bool:
    """Raise an alarm unless the same one is open; True when it is new."""
    a = t.alarms.c
    already = c.execute(
        sa.select(a.id).where(
            a.org_id == org_id, a.kind == kind, a.subject == subject, a.resolved_ms.is_(None)
        )
    ).first()
    if already is not None:
        return False
    c.execute(
        sa.insert(t.alarms).values(org_id=org_id, at_ms=at_ms, kind=kind, subject=subject, message=message)
    )
    return True
