"""What the history tells of protection: revisions of a denylist, and which products were ever used."""

from __future__ import annotations

import sqlalchemy as sa

from sealwire.server.store import read, rows
from sealwire.server.store import tables as t


def revisions_after(
    c: sa.Connection, org_id: int, config_id: str, revision: int, *, limit: int
) -> list[rows.RevisionRow]:
    """The revisions of a config after one, oldest first."""
    r = t.config_revisions.c
    query = (
        sa.select(t.config_revisions)
        .where(r.org_id == org_id, r.config_id == config_id, r.revision > revision)
        .order_by(r.revision)
        .limit(limit)
    )
    return [read.revision_row(row) for row in c.execute(query)]


def products_ever(c: sa.Connection, org_id: int) -> frozenset[str]:
    """Products of which there was a config at any time."""
    k = t.configs.c
    return frozenset(c.execute(sa.select(k.product).where(k.org_id == org_id).distinct()).scalars())
