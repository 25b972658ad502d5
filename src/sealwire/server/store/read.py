"""Every query. Each takes a connection and returns rows of ``rows.py``; none changes anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from sealwire.server.store import audit as audit_store
from sealwire.server.store import rows
from sealwire.server.store import tables as t


def organisations(c: sa.Connection) -> list[rows.Organisation]:
    """All organisations, oldest first."""
    result = c.execute(sa.select(t.organisations).order_by(t.organisations.c.org_id))
    return [
        rows.Organisation(**{**row._mapping, "production_envs": tuple(json.loads(row.production_envs))})
        for row in result
    ]


def domain(c: sa.Connection, org_id: int) -> rows.Domain:
    """The sequences of a trust domain, without locking them (see ``write.lock_domain``)."""
    row = c.execute(sa.select(t.domains).where(t.domains.c.org_id == org_id)).one()
    return rows.Domain(
        row.director_version, row.config_version, row.key_epoch, row.generation, row.role_floor
    )


def roots(c: sa.Connection, org_id: int, repository: str) -> list[bytes]:
    """Every root of a repository, version 1 first."""
    result = c.execute(
        sa.select(t.roots.c.raw)
        .where(t.roots.c.org_id == org_id, t.roots.c.repository == repository)
        .order_by(t.roots.c.version)
    )
    return [row.raw for row in result]


def online_keys(c: sa.Connection, org_id: int) -> list[tuple[str, str, bytes]]:
    """Key id, purpose and wrapped seed of the keys that sign today."""
    result = c.execute(
        sa.select(t.online_keys).where(t.online_keys.c.org_id == org_id, t.online_keys.c.retired_ms.is_(None))
    )
    return [(row.key_id, row.purpose, row.wrapped) for row in result]


def _config(row: sa.Row[Any]) -> rows.ConfigRow:
    values = dict(row._mapping)
    values["targeting"] = json.loads(values["targeting"])
    return rows.ConfigRow(**values)


def configs_since(c: sa.Connection, org_id: int, generation: int) -> list[rows.ConfigRow]:
    """Configs changed after ``generation``, retired ones too."""
    result = c.execute(
        sa.select(t.configs).where(t.configs.c.org_id == org_id, t.configs.c.generation > generation)
    )
    return [_config(row) for row in result]


def configs(
    c: sa.Connection, org_id: int, *, product: str | None = None, state: str | None = None
) -> list[rows.ConfigRow]:
    """Configs by product and state, last changed first."""
    query = sa.select(t.configs).where(t.configs.c.org_id == org_id)
    if product is not None:
        query = query.where(t.configs.c.product == product)
    if state is not None:
        query = query.where(t.configs.c.state == state)
    return [_config(row) for row in c.execute(query.order_by(t.configs.c.generation.desc()))]


def active_of(c: sa.Connection, org_id: int, product: str) -> Iterator[tuple[str, str, bytes, int | None]]:
    """Config id, targeting (as stored), payload and expiry of the active configs of a product.

    Every change is checked against these, so they come without the rest, and nothing is read in them yet.
    """
    k = t.configs.c
    result = c.execute(
        sa.select(k.config_id, k.targeting, k.payload, k.expires_ms).where(
            k.org_id == org_id, k.product == product, k.state == "active"
        )
    )
    for row in result.all():
        yield row[0], row[1], row[2], row[3]


def count_active(c: sa.Connection, org_id: int) -> int:
    """How many configs are active."""
    k = t.configs.c
    counted = sa.select(sa.func.count()).select_from(t.configs).where(k.org_id == org_id, k.state == "active")
    return int(c.execute(counted).scalar_one())


def config(c: sa.Connection, org_id: int, config_id: str) -> rows.ConfigRow | None:
    """One config, or None."""
    row = c.execute(
        sa.select(t.configs).where(t.configs.c.org_id == org_id, t.configs.c.config_id == config_id)
    ).one_or_none()
    return None if row is None else _config(row)


def revisions(c: sa.Connection, org_id: int, config_id: str) -> list[rows.RevisionRow]:
    """Every revision of a config, newest first."""
    r = t.config_revisions.c
    result = c.execute(
        sa.select(t.config_revisions)
        .where(r.org_id == org_id, r.config_id == config_id)
        .order_by(r.revision.desc())
    )
    return [revision_row(row) for row in result]


def revision_row(row: sa.Row[Any]) -> rows.RevisionRow:
    """A row of ``config_revisions``."""
    return rows.RevisionRow(
        revision=row.revision,
        name=row.name,
        targeting=json.loads(row.targeting),
        payload=row.payload,
        state=row.state,
        at_ms=row.at_ms,
        by=row.by,
        comment=row.comment,
        expires_ms=row.expires_ms,
    )


def audiences(c: sa.Connection, org_id: int, product: str | None = None) -> list[tuple[str, str, int]]:
    """(product, audience, number) of every audience, or of one product's."""
    a = t.audiences.c
    query = sa.select(a.product, a.audience, a.number).where(a.org_id == org_id)
    if product is not None:
        query = query.where(a.product == product)
    return [(row.product, row.audience, row.number) for row in c.execute(query.order_by(a.number))]


def files(c: sa.Connection, org_id: int) -> list[rows.FileRow]:
    """Every path that ever was published, with its present bytes."""
    result = c.execute(sa.select(t.files).where(t.files.c.org_id == org_id))
    return [
        rows.FileRow(
            path=row.path,
            version=row.version,
            sha256=row.sha256,
            raw=row.raw,
            sources=json.loads(row.sources),
            provenance=json.loads(row.provenance),
            role=row.role,
        )
        for row in result
    ]


def current_documents(c: sa.Connection, org_id: int) -> list[rows.DocumentRow]:
    """The newest document of each role of the config repository."""
    d = t.config_documents
    newest = (
        sa.select(d.c.role, sa.func.max(d.c.version).label("version"))
        .where(d.c.org_id == org_id)
        .group_by(d.c.role)
        .subquery()
    )
    result = c.execute(
        sa.select(d)
        .join(newest, sa.and_(newest.c.role == d.c.role, newest.c.version == d.c.version))
        .where(d.c.org_id == org_id)
    )
    return [rows.DocumentRow(row.role, row.version, row.raw, row.signed_ms) for row in result]


def documents(c: sa.Connection, org_id: int, versions: Mapping[str, int]) -> dict[str, rows.DocumentRow]:
    """Documents of the config repository at these versions, by role; what is kept no more is missing."""
    d = t.config_documents.c
    result = c.execute(
        sa.select(t.config_documents).where(
            d.org_id == org_id, sa.tuple_(d.role, d.version).in_(list(versions.items()))
        )
    )
    return {row.role: rows.DocumentRow(row.role, row.version, row.raw, row.signed_ms) for row in result}


def ledger_newest(c: sa.Connection, org_id: int, view_key: str) -> rows.LedgerRow | None:
    """The newest bundle issued for a view whose bytes are kept, or None."""
    query = (
        sa.select(t.ledger)
        .where(t.ledger.c.org_id == org_id, t.ledger.c.view_key == view_key)
        .order_by(t.ledger.c.version.desc())
        .limit(1)
    )
    row = c.execute(query).one_or_none()
    if row is None:
        return None
    values = dict(row._mapping)
    values.pop("org_id")
    return rows.LedgerRow(**values)


def ledger_view(c: sa.Connection, org_id: int, version: int) -> str | None:
    """The view a version was issued for, or None."""
    return c.execute(
        sa.select(t.ledger.c.view_key).where(t.ledger.c.org_id == org_id, t.ledger.c.version == version)
    ).scalar_one_or_none()


def api_keys(c: sa.Connection, org_id: int | None = None) -> list[rows.ApiKeyRow]:
    """API keys of one organisation, or of all."""
    query = sa.select(t.api_keys).order_by(t.api_keys.c.created_ms)
    if org_id is not None:
        query = query.where(t.api_keys.c.org_id == org_id)
    return [rows.ApiKeyRow(**row._mapping) for row in c.execute(query)]


def application_keys(c: sa.Connection, org_id: int | None = None) -> list[rows.ApplicationKeyRow]:
    """Application keys that are not revoked, of one organisation or of all, oldest first."""
    k = t.application_keys.c
    query = sa.select(t.application_keys).where(k.revoked_ms.is_(None)).order_by(k.created_ms)
    if org_id is not None:
        query = query.where(k.org_id == org_id)
    return [
        rows.ApplicationKeyRow(
            **{
                **row._mapping,
                "scopes": None if row.scopes is None else tuple(json.loads(row.scopes)),
            }
        )
        for row in c.execute(query)
    ]


def agents(c: sa.Connection, org_id: int) -> list[rows.AgentRow]:
    """Agents of an organisation."""
    result = c.execute(sa.select(t.agents).where(t.agents.c.org_id == org_id).order_by(t.agents.c.hostname))
    return [agent(row) for row in result]


def agent(row: sa.Row[Any]) -> rows.AgentRow:
    """An agent out of a row that has the columns of the table of agents, and perhaps more."""
    return rows.AgentRow(
        agent_id=row.agent_id,
        hostname=row.hostname,
        version=row.version,
        tags=tuple(json.loads(row.tags)),
        first_seen_ms=row.first_seen_ms,
        last_seen_ms=row.last_seen_ms,
        error=row.error,
        director_version=row.director_version,
        api_key_id=row.api_key_id,
    )


def clients(c: sa.Connection, org_id: int, *, since_ms: int = 0) -> list[rows.ClientRow]:
    """Clients seen since ``since_ms``."""
    k = t.clients.c
    result = c.execute(
        sa.select(t.clients).where(k.org_id == org_id, k.last_seen_ms >= since_ms).order_by(k.client_id)
    )
    return [
        rows.ClientRow(
            client_id=row.client_id,
            agent_id=row.agent_id,
            facts=json.loads(row.facts),
            first_seen_ms=row.first_seen_ms,
            last_seen_ms=row.last_seen_ms,
            error=row.error,
            targets_version=row.targets_version,
        )
        for row in result
    ]


def deliveries(c: sa.Connection, org_id: int) -> list[rows.DeliveryRow]:
    """What every client last said of its files."""
    result = c.execute(sa.select(t.deliveries).where(t.deliveries.c.org_id == org_id))
    return [
        rows.DeliveryRow(row.client_id, row.path, row.version, row.apply_state, row.apply_error, row.since_ms)
        for row in result
    ]


def held_values(c: sa.Connection, org_id: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Client id -> product -> values that client would keep by itself."""
    held: dict[str, dict[str, dict[str, Any]]] = {}
    for row in c.execute(sa.select(t.held_values).where(t.held_values.c.org_id == org_id)):
        held.setdefault(row.client_id, {})[row.product] = json.loads(row.held)
    return held


def audit(
    c: sa.Connection, org_id: int, *, limit: int = 100, before: int | None = None
) -> list[rows.AuditRow]:
    """Audit rows, newest first; ``before`` continues a page."""
    a = t.audit_events.c
    query = sa.select(t.audit_events).where(a.org_id == org_id).order_by(a.id.desc()).limit(limit)
    if before is not None:
        query = query.where(a.id < before)
    return [audit_store.row_of(row) for row in c.execute(query)]


def open_alarms(c: sa.Connection, org_id: int | None = None) -> list[rows.AlarmRow]:
    """Alarms nobody has resolved."""
    query = sa.select(t.alarms).where(t.alarms.c.resolved_ms.is_(None)).order_by(t.alarms.c.id.desc())
    if org_id is not None:
        query = query.where(t.alarms.c.org_id == org_id)
    return [
        rows.AlarmRow(row.id, row.org_id, row.at_ms, row.kind, row.subject, row.message)
        for row in c.execute(query)
    ]
