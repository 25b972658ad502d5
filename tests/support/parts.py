"""A control plane's parts in this process: no HTTP, no loops unless asked for, a clock of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from sealwire.clock import utc_now
from sealwire.products import ClientFacts
from sealwire.server import organisation as organisations
from sealwire.server.access import Access
from sealwire.server.authoring.author import Author
from sealwire.server.control_plane import ControlPlane
from sealwire.server.keyring import Keyring
from sealwire.server.publish import Bundle, Demand, Publisher
from sealwire.server.settings import ServerSettings
from sealwire.server.store import rows
from sealwire.server.store.database import Database
from sealwire.server.store.tables import metadata
from sealwire.server.views import AgentFacts
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.simulated_agent import Sightings, SimulatedAgent

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ASM_ON: dict[str, Any] = {"asm": {"enabled": True}}
ASM_OFF: dict[str, Any] = {"asm": {"enabled": False}}


def settings_in(folder: Path, **changes: Any) -> ServerSettings:
    """Settings with everything below a folder, and no TLS."""
    chosen = ServerSettings(
        data_dir=folder / "data",
        config_dir=folder / "config",
        profile=folder / "cli.toml",
        plain_http_sends_api_keys_unencrypted=True,
    )
    return replace(chosen, **changes)


def denylist(*addresses: str) -> dict[str, Any]:
    """An ASM_DATA payload."""
    entries = [{"value": address} for address in addresses]
    return {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": entries}]}


def tracing(**lib_config: Any) -> dict[str, Any]:
    """An APM_TRACING payload."""
    return {"lib_config": lib_config}


class Domain:
    """One organisation: its store, its authors, its publisher. Time stands still unless moved.

    Args:
        folder: Everything of it goes below.
        database_url: Another database than SQLite in the folder.
        changes: Settings.
    """

    def __init__(self, folder: Path, *, database_url: str = "", now: datetime = NOON, **changes: Any) -> None:
        self.settings = settings_in(folder, database_url=database_url, **changes)
        for path in (self.settings.data_dir, self.settings.config_dir):
            path.mkdir(parents=True, exist_ok=True)
        self.now = now
        self.database = Database(self.settings.engine_url)
        self.database.migrate()
        self.keyring = Keyring(self.settings.config_dir)
        self.organisation = organisations.create(self.database, self.keyring, name="main", by="test", now=now)
        self.org_id = self.organisation.org_id
        self.author = Author(self.database, self.org_id)
        self.access = Access(self.database)
        self.publisher = self.new_publisher()
        self.sightings = Sightings()

    def new_publisher(self) -> Publisher:
        """Another one over the same database: a replica, or this one after a restart."""
        return Publisher(self.database, self.keyring, self.settings, self.organisation)

    def later(self, **units: float) -> datetime:
        """Move the clock; returns the new time."""
        self.now += timedelta(**units)
        return self.now

    def put(
        self,
        product: str,
        payload: Any,
        targeting: dict[str, Any] | None = None,
        *,
        expires_at: str | None = None,
        config: rows.ConfigRow | None = None,
    ) -> rows.ConfigRow:
        """Author a config, or a new revision of one."""
        if config is not None:
            row, _ = self.author.change(
                config.config_id,
                expected_revision=config.revision,
                fields={"payload": payload},
                by="test",
                now=self.now,
            )
            return row
        draft = self.author.check(
            product=product, payload=payload, targeting=targeting, expires_at=expires_at, now=self.now
        )
        return self.author.create(draft, by="test", now=self.now)

    def retarget(self, config: rows.ConfigRow, targeting: dict[str, Any]) -> rows.ConfigRow:
        """A new revision of a config, for others."""
        row, _ = self.author.change(
            config.config_id,
            expected_revision=config.revision,
            fields={"targeting": targeting},
            by="test",
            now=self.now,
        )
        return row

    def retire(self, config: rows.ConfigRow) -> rows.ConfigRow:
        return self.author.retire(config.config_id, expected_revision=None, by="test", now=self.now)

    def publish(self, *demands: Demand, publisher: Publisher | None = None) -> list[Bundle]:
        """Reconcile for these agents; their bundles, in order."""
        outcomes = (publisher or self.publisher).reconcile(demands, now=self.now)
        return [outcomes[demand.agent.agent_id][0] for demand in demands]

    def agent(self, name: str = "host-a") -> SimulatedAgent:
        """A fresh agent with the first roots."""
        roots = self.publisher.roots
        return SimulatedAgent(
            (roots.director[0], roots.config[0]),
            hostname=name,
            org_uuid=self.organisation.uuid,
            sightings=self.sightings,
        )

    def ledger(self) -> list[rows.LedgerRow]:
        """Every bundle ever issued, oldest first."""
        table = metadata.tables["ledger"]
        with self.database.read() as c:
            found = [dict(row._mapping) for row in c.execute(sa.select(table).order_by(table.c.version))]
        for row in found:
            row.pop("org_id")
        return [rows.LedgerRow(**row) for row in found]


def facts(client_id: str = "c1", **changes: Any) -> ClientFacts:
    """A tracer of the shop in production."""
    values: dict[str, Any] = {
        "client_id": client_id,
        "runtime_id": f"runtime-{client_id}",
        "service": "shop",
        "env": "prod",
        "language": "python",
        "tracer_version": "4.16.0",
        "app_version": "1.0",
        "products": frozenset({"APM_TRACING", "ASM", "ASM_DATA", "ASM_DD", "ASM_FEATURES"}),
        **changes,
    }
    return ClientFacts(**values)


def demand(name: str = "host-a", *clients: ClientFacts, **changes: Any) -> Demand:
    """What an agent of that name needs."""
    tags = changes.pop("host_tags", frozenset())
    held = changes.pop("held", {})
    return Demand(AgentFacts(name, tags, tuple(clients)), held, **changes)


def holding(bundle: Bundle, wanted: Demand) -> Demand:
    """The same agent, which now has this bundle."""
    return replace(
        wanted,
        holds_version=bundle.version,
        holds_view=bundle.view.key[:16],
        holds_config=bundle.config.version,
    )


def answer_of(bundle: Bundle) -> bytes:
    """The whole of a bundle as an answer."""
    message = pb.LatestConfigsResponse()
    for metas, chain in (
        (message.director_metas.roots, bundle.roots.director),
        (message.config_metas.roots, bundle.roots.config),
    ):
        for version, raw in enumerate(chain, start=1):
            metas.add(version=version, raw=raw)
    message.director_metas.timestamp.raw = bundle.timestamp
    message.director_metas.snapshot.raw = bundle.snapshot
    message.director_metas.targets.raw = bundle.targets
    message.config_metas.timestamp.raw = bundle.config.timestamp
    message.config_metas.snapshot.raw = bundle.config.snapshot
    message.config_metas.topTargets.raw = bundle.config.roles["targets"].raw
    for role in bundle.delegated:
        message.config_metas.delegatedTargets.add(role=role, raw=bundle.config.roles[role].raw)
    for path, file in bundle.files.items():
        message.target_files.add(path=path, raw=file.raw)
    return message.SerializeToString()


def signed(raw: bytes) -> dict[str, Any]:
    """The signed part of a document."""
    part: dict[str, Any] = orjson.loads(raw)["signed"]
    return part


#: Tables that a request which is refused may still add to: who asked, what was refused, when a key was used.
NOTED = ("audit_events", "audit_heads", "application_keys", "alarms", "inventory", "propagation_hours")


def dump(database: Database, *, without: Iterable[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, to compare with."""
    with database.read() as c:
        return {
            table.name: sorted((tuple(row) for row in c.execute(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
            if table.name not in without
        }


@asynccontextmanager
async def running(folder: Path, **changes: Any) -> AsyncIterator[ControlPlane]:
    """A whole control plane below HTTP, with its loops."""
    plane = ControlPlane(settings_in(folder, **changes), utc_now)
    await plane.start()
    try:
        yield plane
    finally:
        await plane.stop()
