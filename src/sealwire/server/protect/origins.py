"""Who put an entry into a config, when and why, read from the revisions of the config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from sealwire.server.protect import denylist
from sealwire.server.protect.denylist import Kind
from sealwire.server.store import protect as store

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sealwire.server.store import rows

HISTORY = 2000  # revisions of a list that are looked through
_BATCH = 100

Origins = Mapping[tuple[Kind, str], "Origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who put an entry on a list, and why.

    Attributes:
        created_ms: Since when it stands there, without a break.
        by, reason: Of the revision that last set how long it lasts.
    """

    created_ms: int
    by: str
    reason: str
    until_s: int | None


def origins_of(
    c: sa.Connection, org_id: int, config_id: str, since: int, newest: int, start: Origins
) -> Origins:
    """Who is responsible for each entry of a config.

    Args:
        since: The revision that ``start`` is true of; the oldest are left out where there are very many.
    """
    found = start
    revision = max(since, newest - HISTORY)
    while batch := store.revisions_after(c, org_id, config_id, revision, limit=_BATCH):
        for one in batch:
            found = follow(found, one)
            revision = one.revision
    return found


def follow(before: Origins, revision: rows.RevisionRow) -> dict[tuple[Kind, str], Origin]:
    """Who is responsible for each entry after one more revision."""
    if revision.state != "active":
        return {}
    payload = orjson.loads(revision.payload)
    after = {}
    for kind in Kind:
        for entry in denylist.entries(payload, kind):
            known = before.get((kind, entry.value))
            if known is None:
                known = Origin(revision.at_ms, revision.by, revision.comment, entry.until_s)
            elif known.until_s != entry.until_s:
                reason = revision.comment or known.reason
                known = Origin(known.created_ms, revision.by, reason, entry.until_s)
            after[kind, entry.value] = known
    return after
