"""What the store holds of machines as they tell of themselves: agents, and settings of running tracers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from sealwire.errors import MalformedError
from sealwire.server.store import tables as t
from sealwire.server.store.write import upsert
from sealwire.wire import inventory as wire


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """An agent, by what it posts and by its polls that were refused.

    Attributes:
        api_key_id: Of the key it last came with.
        posted_ms: When it last posted; None: it never did.
        refused_ms: When its last poll was refused; None: the last one was not.
        refused_for: What it was told then.
        told: What it last posted, without runtimes; None as long as it never did.
    """

    agent_id: str
    hostname: str
    version: str
    api_key_id: str
    first_seen_ms: int
    posted_ms: int | None = None
    refused_ms: int | None = None
    refused_for: str = ""
    told: wire.Inventory | None = None

    @property
    def heard_ms(self) -> int:
        """When anything was last heard of it this way."""
        return max(self.posted_ms or 0, self.refused_ms or 0)


@dataclass(frozen=True, slots=True)
class RuntimeRow:
    """A running tracer's settings, by its own telemetry."""

    agent_id: str
    at_ms: int
    runtime: wire.Runtime


_runtime = msgspec.json.Decoder(wire.Runtime)
_encoder = msgspec.json.Encoder()


def inventories(c: sa.Connection, org_id: int) -> list[InventoryRow]:
    """Every agent of an organisation that told of itself or was refused."""
    found = []
    for row in c.execute(sa.select(t.inventory).where(t.inventory.c.org_id == org_id)):
        try:
            told = wire.read(row.facts) if row.facts else None
        except MalformedError:  # written by another version of this program
            told = None
        found.append(
            InventoryRow(
                row.agent_id, row.hostname, row.version, row.api_key_id, row.first_seen_ms, row.posted_ms,
                row.refused_ms, row.refused_for, told,
            )
        )  # fmt: skip
    return found


def put_inventories(c: sa.Connection, org_id: int, found: Iterable[InventoryRow]) -> None:
    """Agents as last heard; the first time stays."""
    values = [
        {
            "org_id": org_id,
            "agent_id": row.agent_id,
            "hostname": row.hostname,
            "version": row.version,
            "api_key_id": row.api_key_id,
            "first_seen_ms": row.first_seen_ms,
            "posted_ms": row.posted_ms,
            "refused_ms": row.refused_ms,
            "refused_for": row.refused_for,
            "facts": "" if row.told is None else wire.write(row.told),
        }
        for row in found
    ]
    upsert(c, t.inventory, values, "first_seen_ms")


def put_runtimes(c: sa.Connection, org_id: int, found: Iterable[RuntimeRow]) -> None:
    """Runtimes as last told, each replaced as a whole."""
    values = [
        {
            "org_id": org_id,
            "runtime_id": row.runtime.runtime_id,
            "agent_id": row.agent_id,
            "at_ms": row.at_ms,
            "facts": _encoder.encode(msgspec.structs.replace(row.runtime, settings={})).decode(),
            "settings": _encoder.encode(row.runtime.settings).decode(),
        }
        for row in found
    ]
    upsert(c, t.client_settings, values)


def runtime(c: sa.Connection, org_id: int, runtime_id: str) -> RuntimeRow | None:
    """What is known of a running tracer, or None."""
    s = t.client_settings.c
    row = c.execute(
        sa.select(t.client_settings).where(s.org_id == org_id, s.runtime_id == runtime_id)
    ).one_or_none()
    if row is None:
        return None
    try:
        facts = msgspec.json.decode(row.facts)
        facts["settings"] = msgspec.json.decode(row.settings)
        found = msgspec.convert(facts, wire.Runtime)
    except (msgspec.MsgspecError, TypeError):
        return None
    return RuntimeRow(row.agent_id, row.at_ms, found)


def forget(c: sa.Connection, org_id: int, *, before_ms: int) -> list[str]:
    """Drop agents and runtimes nobody has heard of since; returns the ids of the agents."""
    i, s = t.inventory.c, t.client_settings.c
    c.execute(sa.delete(t.client_settings).where(s.org_id == org_id, s.at_ms < before_ms))
    gone = c.execute(
        sa.delete(t.inventory)
        .where(
            i.org_id == org_id,
            i.first_seen_ms < before_ms,
            sa.func.coalesce(i.posted_ms, 0) < before_ms,
            sa.func.coalesce(i.refused_ms, 0) < before_ms,
        )
        .returning(i.agent_id)
    )
    return [row.agent_id for row in gone]
