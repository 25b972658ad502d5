"""How the admin API writes things down: times, problems, configs and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict

import msgspec
import orjson

from sealwire.clock import written
from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.fleet.explain import FileState
from sealwire.server.fleet.uptake import NOBODY, Uptake
from sealwire.server.store import rows
from sealwire.server.store.configs import state_of

#: A revision as somebody says it: no number that a database cannot hold.
RevisionNumber = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
MAX_REVISION = 2**53


class ProblemAt(TypedDict):
    """A mistake, or something worth knowing, at a JSON path."""

    path: str
    message: str


class Deliveries(TypedDict):
    """How many clients a config is meant for, and what became of it there."""

    wanted: int
    acknowledged: int
    applying: int
    failed: int


class Config(TypedDict):
    """A config.

    Attributes:
        targeting: Whom it is for; a field that is not there stands for everybody.
        payload: What its product takes.
        state: active, expired or retired.
        size: Of the payload, bytes.
    """

    id: str
    product: str
    name: str
    targeting: Mapping[str, Any]
    payload: Any
    revision: int
    state: str
    created_at: str
    updated_at: str
    updated_by: str
    comment: str
    expires_at: str | None
    size: int
    deliveries: Deliveries


class File(TypedDict):
    """A file in a client.

    Attributes:
        config_ids: Configs that are in it.
        path: Its path on the wire.
        version: The one that is published.
        reported_version: The one that the client says it has.
        state: in_step, behind, applying, failed, silent or refused.
        since: Since when it is in this state.
        took_s: From save, or from the client's appearing if that was later, to acknowledged.
        provenance: JSON path of a value, and the config it came from; empty for a file made of one config.
    """

    product: str
    config_ids: list[str]
    path: str
    version: int
    reported_version: int | None
    state: str
    error: str
    since: str | None
    saved_at: str
    acknowledged_at: str | None
    took_s: float | None
    provenance: dict[str, str]


class Rule(TypedDict):
    """One condition between a config and a client: whether it is met, and what was found."""

    holds: bool
    text: str


def time(at_ms: int) -> str:
    """ISO 8601 in UTC, milliseconds."""
    return written(at_ms)


def time_or_none(at_ms: int | None) -> str | None:
    """A time that need not be."""
    return None if at_ms is None else time(at_ms)


def problems(found: Iterable[Problem]) -> list[ProblemAt]:
    """Mistakes, or things worth knowing, at their JSON paths."""
    return [{"path": problem.path, "message": problem.message} for problem in found]


def config(row: rows.ConfigRow, *, now_ms: int, uptake: Uptake = NOBODY) -> Config:
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


def file(state: FileState) -> File:
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


def moment(name: str, text: str) -> int | None:
    """Milliseconds of a time that a parameter gives as ISO 8601; one without a zone is UTC. None for none.

    Raises:
        InvalidChangeError: It is no time.
    """
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found  # wherever this runs
        return max(0, int(found.timestamp() * 1000))
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidChangeError(
            "This is no time.", problems=(Problem(f"$.{name}", "a time such as 2026-11-22T12:00:00Z"),)
        ) from error
