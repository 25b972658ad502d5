"""What the history of a denylist tells: its revisions from one on, oldest first."""

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
