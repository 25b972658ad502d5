"""Everything a control plane is made of, put together: store, keys, organisations, their loops."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import datetime

import structlog

from sealwire import __version__
from sealwire.clock import utc_now
from sealwire.errors import SealwireError
from sealwire.server import audit, backup, certificate, organisation
from sealwire.server.access import Access, oidc
from sealwire.server.access.account import Accounts
from sealwire.server.access.application_keys import ApplicationKeys
from sealwire.server.access.directory import Directory
from sealwire.server.access.links import Links
from sealwire.server.access.passwords import Passwords
from sealwire.server.access.roles import Roles
from sealwire.server.access.sessions import Sessions
from sealwire.server.access.throttle import Throttle
from sealwire.server.access.totp import SecondFactors
from sealwire.server.access.users import Users
from sealwire.server.audit.trail import Trail
from sealwire.server.keyring import Keyring
from sealwire.server.settings import ServerSettings
from sealwire.server.store import read, rows
from sealwire.server.store.database import Database
from sealwire.server.tenant import Tenant
from sealwire.server.waf.box import WafBox

log = structlog.get_logger()

KEYS_EVERY_S = 10.0
SEARCHES_AT_ONCE = 4  # of security traces; threads are left for everything else


class ControlPlane:
    """The composition root below HTTP."""

    version = __version__

    def __init__(self, settings: ServerSettings, clock: Callable[[], datetime] = utc_now) -> None:
        self.settings = settings
        self.clock = clock
        for folder in (settings.data_dir, settings.config_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = backup.share_use(settings.data_dir)
        self.database = Database(settings.engine_url)
        self.database.migrate()
        self.keyring = Keyring(settings.config_dir)
        with self.database.read() as c:
            known = read.organisations(c)
        if not known:
            known = [
                organisation.create(
                    self.database, self.keyring, name=settings.organisation, by="first start", now=clock()
                )
            ]
        self.trail = Trail(self.database, clock)
        self.access = Access(self.database)
        self.roles = Roles(self.database, self.access.reload)
        self.oidc = oidc.Provider(settings, self.keyring, clock) if settings.oidc_issuer else None
        self.users = Users(self.database, self.access.reload)
        self.passwords = Passwords()
        self.links = Links(self.database, self.passwords)
        self.second_factors = SecondFactors(self.database, self.keyring)
        self.sessions = Sessions(self.database, self.access)
        self.directory = Directory(self.database, self.second_factors, self.access.reload)
        self.application_keys = ApplicationKeys(self.database, self.access)
        self.throttle = Throttle(time.monotonic, device_key=self.keyring.derived("known devices"))
        self.accounts = Accounts(
            self.database, self.passwords, self.sessions, self.second_factors, self.throttle
        )
        self.waf = WafBox.installed(settings.ddwaf_library)
        self.tenants: dict[int, Tenant] = {}
        for row in known:
            self._add(row)
        self.tls: certificate.Certificate | None = None
        self.ca_pem = ""
        if not settings.plain_http_sends_api_keys_unencrypted and not settings.tls_cert_file:
            self.tls = certificate.prepare(
                settings.config_dir / "tls", settings.certificate_names, now=clock()
            )
            self.ca_pem = self.tls.ca_pem
        self.url = settings.url(settings.port)
        self.searching = asyncio.Semaphore(SEARCHES_AT_ONCE)
        self.stopping = asyncio.Event()  # what lasts, such as a live page, ends when this is set
        self._tasks: list[asyncio.Task[None]] = []

    def _add(self, row: rows.Organisation) -> Tenant:
        tenant = Tenant(self.database, self.keyring, self.settings, row, self.clock, self.access)
        tenant.waf = self.waf
        tenant.publish_first()
        self.tenants[row.org_id] = tenant
        return tenant

    def now_ms(self) -> int:
        """The present moment as the tables write it."""
        return int(self.clock().timestamp() * 1000)

    def first_run_url(self) -> str | None:
        """A fresh link for whoever becomes the first user; None when there is a user."""
        path = self.links.first_run(min(self.tenants), by="server start", now_ms=self.now_ms())
        return None if path is None else self.url + path

    async def start(self) -> None:
        """Run every loop."""
        for tenant in self.tenants.values():
            tenant.start()
        self._tasks.append(asyncio.create_task(self._keys(), name="keys"))
        self._tasks.append(asyncio.create_task(self.trail.write_refusals(), name="refusals"))
        verifying = self.trail.keep_verifying(lambda: tuple(self.tenants))
        self._tasks.append(asyncio.create_task(verifying, name="audit chains"))

    async def stop(self) -> None:
        """End every loop; what is queued is written."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for tenant in self.tenants.values():
            await tenant.stop()
        await self.waf.close()
        self.access.flush_use()
        self.sessions.flush(now_ms=self.now_ms())
        self.passwords.close()
        self.trail.close()
        self.database.close()
        os.close(self._lock)

    async def _keys(self) -> None:
        """Write when keys and sessions were used, and read what other replicas changed."""
        while True:
            await asyncio.sleep(KEYS_EVERY_S)
            try:
                await asyncio.to_thread(self.access.flush_use)
                await asyncio.to_thread(self.sessions.flush, now_ms=self.now_ms())
                await asyncio.to_thread(self.access.reload)
            except SealwireError as error:
                log.warning("keys not read again yet", code=error.code, detail=error.detail)

    def is_operator(self, org_id: int) -> bool:
        """Whether this is the organisation of those who run the server: the first that was made."""
        return org_id == min(self.tenants)

    async def create_organisation(self, name: str, *, by: str) -> tuple[rows.Organisation, str]:
        """A new organisation, at work, and an administrator's application key for it."""

        def make() -> tuple[Tenant, str]:
            row = organisation.create(self.database, self.keyring, name=name, by=by, now=self.clock())
            secret = self.access.create_application_key(
                row.org_id, user=by, role="admin", now_ms=self.now_ms()
            )
            return self._add(row), secret

        tenant, secret = await asyncio.to_thread(make)
        audit.outside_requests(tenant.start)
        log.info("organisation made", org=tenant.organisation.org_id)
        return tenant.organisation, secret
