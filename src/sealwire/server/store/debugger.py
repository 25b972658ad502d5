"""What the store holds of what probes brought. All times are milliseconds."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from sealwire.server.store.debugger_tables import debugger_settings
from sealwire.server.store.write import upsert


class SettingsRow(NamedTuple):
    """Settings as they are stored; ``document`` is JSON."""

    revision: int
    document: str
    changed_by: str
    changed_ms: int


def load_settings(c: sa.Connection, org_id: int) -> SettingsRow | None:
    """What an organisation chose; None: nothing yet."""
    t = debugger_settings.c
    found = c.execute(
        sa.select(t.revision, t.document, t.changed_by, t.changed_ms).where(t.org_id == org_id)
    ).one_or_none()
    return None if found is None else SettingsRow(*found)


def save_settings(c: sa.Connection, org_id: int, row: SettingsRow) -> None:
    """Replace them."""
    upsert(c, debugger_settings, [{"org_id": org_id, **row._asdict()}])
