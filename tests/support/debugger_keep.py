"""Snapshots and statuses of probes of one organisation: a real store, a clock of the test's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any, cast

from sealwire.server.access.permissions import Grant, Principal, Role
from sealwire.server.debugger.reports.instances import ProbeStatuses
from sealwire.server.debugger.snapshots.keep import Snapshots, Source
from sealwire.server.debugger.snapshots.settings import SettingsDesk
from sealwire.server.debugger.snapshots.vault import Vault
from sealwire.server.fleet.overview import Overview
from sealwire.server.keyring import Keyring
from sealwire.server.store import write
from sealwire.server.store.database import Database
from tests.support.messages import PROBE, Probe

NOW_MS = 1_795_357_420_000
ORG = 1


@cache
def empty_database() -> Path:
    """A database with its tables, made once."""
    file = Path(mkdtemp(prefix="sealwire-")) / "empty.db"
    database = Database(f"sqlite:///{file}")
    database.migrate()
    database.checkpoint()
    database.close()
    return file


class Keep:
    """What is kept below a folder; another one on the same folder is as after a restart."""

    def __init__(self, folder: Path, probes: Mapping[str, Probe] | None = None, **bounds: Any) -> None:
        self.file = folder / "server.db"
        if not self.file.exists():
            shutil.copy(empty_database(), self.file)
        self.now_ms = NOW_MS
        self.probes = {PROBE: Probe()} if probes is None else dict(probes)
        self.fleet: Any = SimpleNamespace(last=None)
        self.database = Database(f"sqlite:///{self.file}")
        known: Callable[[str], Probe | None] = self.probes.get
        self.settings = SettingsDesk(self.database, ORG)
        self.snapshots = Snapshots(
            self.database, ORG, Vault(Keyring(folder / "config"), "org-uuid"), self.settings,
            known=known, clock=self.clock, **bounds,
        )  # fmt: skip
        self.statuses = ProbeStatuses(
            self.database, ORG, cast(Overview, self.fleet), known=known, clock=self.clock
        )

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)

    def source(self, **changes: Any) -> Source:
        whole = Source("web-1", "prod", "1.2.3", {}, "key", self.now_ms)
        return whole._replace(**changes)

    def make_organisation(self) -> None:
        """Only what settings need: the row that is locked, and the chain of the audit trail."""
        from sealwire.server.store import tables as t

        with self.database.write() as c:
            c.execute(
                t.domains.insert().values(
                    org_id=ORG, director_version=0, config_version=0, key_epoch=0, generation=0, role_floor=0
                )
            )
            write.add_audit(
                c, ORG, at_ms=0, actor="test", action="test.begun", subject="", summary="", detail={}
            )


def principal(*permissions: str, services: tuple[str, ...] = (), envs: tuple[str, ...] = ()) -> Principal:
    """Somebody with these permissions, be it for some services and environments only."""
    role = Role("r", "Some role", frozenset(permissions))
    return Principal("ada", ORG, (Grant(role, frozenset(services), frozenset(envs)),))
