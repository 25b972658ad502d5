"""One organisation at work: its publisher, its agents, its reports and its authors, wired together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from sealwire.errors import SealwireError
from sealwire.server import organisation as organisations
from sealwire.server.access import Access
from sealwire.server.authoring.author import Author
from sealwire.server.debugger.authoring.desk import ProbeDesk
from sealwire.server.debugger.code.symbols import Symbols
from sealwire.server.debugger.reports.arrivals import Arrivals
from sealwire.server.debugger.reports.instances import ProbeStatuses
from sealwire.server.debugger.reports.probe_data import ProbeData
from sealwire.server.debugger.snapshots.keep import Snapshots
from sealwire.server.debugger.snapshots.settings import SettingsDesk
from sealwire.server.debugger.snapshots.vault import Vault
from sealwire.server.distribute import Distributor
from sealwire.server.fleet.inventory import Inventories
from sealwire.server.fleet.overview import Overview
from sealwire.server.fleet.propagation import Propagation
from sealwire.server.fleet.uptake import Uptakes
from sealwire.server.keyring import Keyring
from sealwire.server.observe import Observer
from sealwire.server.protect.denylists import Denylists
from sealwire.server.protect.listed import Listed
from sealwire.server.publish import Publisher
from sealwire.server.reconciler import Reconciler
from sealwire.server.security.activity import Activity
from sealwire.server.security.detection import Detection
from sealwire.server.security.rule_book import RuleBook
from sealwire.server.security.triage import Triage
from sealwire.server.settings import ServerSettings
from sealwire.server.store import rows
from sealwire.server.store.database import Database
from sealwire.server.switches import Switches
from sealwire.server.waf.box import WafBox
from sealwire.server.webhooks import Webhooks

log = structlog.get_logger()

UPKEEP_S = 60.0


class Tenant:
    """Everything the control plane runs for one organisation."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        settings: ServerSettings,
        organisation: rows.Organisation,
        clock: Callable[[], datetime],
        access: Access,
    ) -> None:
        self.organisation = organisation  # another one when ``switches`` changed it
        self.waf: WafBox | None = None  # the control plane's, where it has the engine
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self.publisher = Publisher(database, keyring, settings, organisation)
        self.reconciler = Reconciler(self.publisher)
        self.observer = Observer(database, organisation.org_id)
        self.propagation = self.observer.propagation = Propagation(
            self.publisher, database, organisation.org_id, clock_ms=lambda: int(clock().timestamp() * 1000)
        )
        self.distributor = Distributor(self.publisher, self.reconciler, self.observer)
        self.author = Author(database, organisation.org_id)
        self.refresh_interval_s = settings.refresh_interval_s
        self.inventory = Inventories(
            database,
            organisation.org_id,
            self.distributor.sessions,
            every_s=settings.inventory_every_s,
        )
        self.overview = Overview(self, database)
        self.probes = ProbeDesk(self, database)
        self.debugger_settings = SettingsDesk(database, organisation.org_id)
        self.snapshots = Snapshots(
            database,
            organisation.org_id,
            Vault(keyring, organisation.uuid),
            self.debugger_settings,
            known=self.probes.known,
            clock=clock,
            max_snapshots=settings.debugger_max_snapshots,
            max_bytes=settings.debugger_max_bytes,
        )
        self.statuses = ProbeStatuses(
            database, organisation.org_id, self.overview, known=self.probes.known, clock=clock
        )
        self.switches = Switches(self, database, access, settings, clock)
        self.detection = Detection(
            database,
            organisation.org_id,
            retain_s=settings.security_retention_days * 86_400.0,
            max_rows=settings.security_max_traces,
            clock=lambda: clock().timestamp(),
        )
        self.activity = Activity(
            database,
            organisation.org_id,
            generation=lambda: self.detection.generation,
            clock=lambda: clock().timestamp(),
        )
        self.uptakes = Uptakes(self.distributor)
        self.triage = Triage(database, organisation.org_id)
        self.rule_book = RuleBook(database, organisation.org_id, self.detection.set_rules)
        self.webhooks = Webhooks(self, database, keyring, settings)
        self.detection.on_change.append(self.webhooks.note)
        self.denylists = Denylists(self, database, clock, settings.networks_of_ours)
        self.detection.listeners.append(self.denylists.hits.note)
        self.detection.is_listed = Listed(self.denylists)
        self.symbols = Symbols(database, organisation.org_id)
        self.arrivals = Arrivals(self.snapshots, self.statuses, self.symbols)
        self.probe_data = ProbeData(
            database,
            organisation.org_id,
            vault=Vault(keyring, organisation.uuid),
            known=self.probes.known,
            decorating=self.probes.decorating,
            clock=lambda: clock().timestamp(),
        )
        self.probe_metrics, self.probe_spans = self.probe_data.metrics, self.probe_data.spans
        self._tasks: list[asyncio.Task[None]] = []

    def publish_first(self) -> None:
        """Sign both repositories, even empty ones, before anybody asks."""
        self.publisher.reconcile([], now=self._clock())

    def start(self) -> None:
        """Run the loops."""
        self._tasks = [
            asyncio.create_task(self.reconciler.run(), name="reconciler"),
            asyncio.create_task(self.observer.run(), name="observer"),
            asyncio.create_task(self.inventory.run(), name="inventory"),
            asyncio.create_task(self.detection.run(), name="detection"),
            asyncio.create_task(self._upkeep(), name="upkeep"),
            asyncio.create_task(self.switches.run(), name="switches"),
            asyncio.create_task(self.webhooks.run(), name="webhooks"),
            asyncio.create_task(self.denylists.run(), name="denylists"),
            asyncio.create_task(self.overview.keep_warm(), name="overview"),
            asyncio.create_task(self.snapshots.run(), name="snapshots"),
            asyncio.create_task(self.statuses.run(), name="statuses of probes"),
            asyncio.create_task(self.probe_data.run(), name="metrics and spans of probes"),
        ]

    async def stop(self) -> None:
        """End the loops; what is queued is written."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._keep_counts()
        await self.denylists.stop()

    async def _keep_counts(self) -> None:
        try:
            await self.propagation.keep()
        except SealwireError as error:
            log.warning("counts of deliveries not written yet", code=error.code, detail=error.detail)

    async def _upkeep(self) -> None:
        steps = (
            self._forget_clients, self._keep_counts, self.inventory.forget_old, self.detection.forget_old,
            self.symbols.forget_old, self.snapshots.forget_old, self.statuses.forget_old, self._follow_roots,
        )  # fmt: skip
        while True:
            for step in steps:
                try:
                    await step()  # one that fails keeps no other from its work
                except SealwireError as error:
                    log.warning(
                        "upkeep not done yet", code=error.code, reason=error.public, detail=error.detail
                    )
                except Exception:
                    log.exception("upkeep failed")
            await asyncio.sleep(UPKEEP_S)

    async def _forget_clients(self) -> None:
        self.distributor.forget_silent()
        forgotten = await self.observer.forget_old()
        for client_id in forgotten:
            self.distributor.held.pop(client_id, None)
        self.propagation.forget(forgotten)

    async def _follow_roots(self) -> None:
        if await asyncio.to_thread(self._renew_roots):
            self.reconciler.reload()

    def _renew_roots(self) -> bool:
        """Roots whose keys are on this server are renewed in time: a dead root stops every agent."""
        now = self._clock()
        renewed = False
        for repository in organisations.REPOSITORIES:
            chain = getattr(self.publisher.roots, repository)
            summary = organisations.root_summary(
                chain, roots_on_server=self.organisation.roots_on_server, now=now
            )
            if int(str(summary["expires_in_days"])) >= organisations.RENEW_ROOTS_BEFORE.days:
                continue
            if self.organisation.roots_on_server:
                self.rotate(repository, recover=False, by="root renewal")
                renewed = True
            else:
                self.observer.alarm(
                    "root-expires",
                    repository,
                    f"Root {summary['version']} of the {repository} repository expires on "
                    f"{summary['expires']}: its holders must sign the next one, or every agent stops.",
                )
        return renewed

    def rotate(self, repository: str, *, recover: bool, by: str) -> int:
        """Sign the next root of a repository (blocking); ``reconciler.reload`` makes everything follow it."""
        return organisations.rotate(
            self._database,
            self._keyring,
            self.organisation,
            repository=repository,
            recover=recover,
            by=by,
            now=self._clock(),
        )
