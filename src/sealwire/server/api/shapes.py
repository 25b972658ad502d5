"""How the admin API writes things down: times, problems, configs and what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson

from sealwire.errors import Problem
from sealwire.server.explain import FileState
from sealwire.server.store import rows
from sealwire.server.store.configs import state_of
from sealwire.server.uptake import NOBODY, Uptake


def time(at_ms: int) -> str:
    """ISO 8601 in UTC, milliseconds."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds") + "Z"


def time_or_none(at_ms: int | None) -> str | None:
    """A time that need not be."""
    return None if at_ms is None else time(at_ms)


def problems(found: Iterable[Problem]) -> list[dict[str, str]]:
    """Mistakes, or things worth knowing, at their JSON paths."""
    return [{"path": problem.path, "message": problem.message} for problem in found]


def config(row: rows.ConfigRow, *, now_ms: int, uptake: Uptake = NOBODY) -> dict[str, Any]:
    """A config, and how far it has come."""
    return {
        "id": row.config_id,
        "product": row.product,
        "name": row.name,
        "targeting": row.targeting,
        "payload": orjson.loads(row.payload),
        "revision": row.revision,
        "state": state_of(row.state, row.expires_ms, now_ms),
        "created_at": time(row.created_ms),
        "updated_at": time(row.updated_ms),
        "updated_by": row.updated_by,
        "comment": row.comment,
        "expires_at": time_or_none(row.expires_ms),
        "size": len(row.payload),
        "deliveries": {
            "wanted": uptake.wanted,
            "acknowledged": uptake.acknowledged,
            "applying": uptake.applying,
            "failed": uptake.failed,
        },
    }


def file(state: FileState) -> dict[str, Any]:
    """A file in a client."""
    return {
        "product": state.product,
        "config_ids": list(state.config_ids),
        "path": state.path,
        "version": state.version,
        "reported_version": state.reported_version,
        "state": state.state.value,
        "error": state.error,
        "since": time_or_none(state.since_ms),
        "saved_at": time(state.saved_ms),
        "acknowledged_at": time_or_none(state.acknowledged_ms),
        "took_s": state.took_s,
        "provenance": dict(state.provenance),
    }
