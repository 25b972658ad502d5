"""Dynamic Instrumentation and the sending of symbols, switched for a service.

Two configs with a name of their own, for exactly the service and the environments: one of APM_TRACING that
says on or off, one of LIVE_DEBUGGING_SYMBOL_DB that is there or not. Other configs may say so too; ``of``
tells what comes of all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from sealwire.errors import ConflictError, InvalidChangeError, Problem
from sealwire.products import ClientFacts
from sealwire.server.access import Principal
from sealwire.server.authoring.editing import Editor
from sealwire.server.store import read, rows
from sealwire.server.store.database import Database
from sealwire.server.targeting import Targeting

if TYPE_CHECKING:
    from sealwire.server.tenant import Tenant

TRACING: Final = "APM_TRACING"
SYMBOLS: Final = "LIVE_DEBUGGING_SYMBOL_DB"
NAME: Final = "Dynamic Instrumentation"
SYMBOLS_NAME: Final = "Symbols for probes"
SETTING: Final = "dynamic_instrumentation_enabled"
_ATTEMPTS: Final = 5
_SEEN_WITHIN_S: Final = 5.0


class Switched(NamedTuple):
    """Whether Dynamic Instrumentation and the sending of symbols are on, as configs have it.

    Attributes:
        dynamic_instrumentation: None: no config says anything, programs go by their own settings.
        config_ids: The configs that say so.
    """

    dynamic_instrumentation: bool | None
    symbols: bool
    config_ids: tuple[str, ...]


class ServiceSwitches:
    """The switches of one organisation's services."""

    def __init__(self, tenant: Tenant, database: Database) -> None:
        self._tenant = tenant
        self._database = database
        self._org_id = tenant.organisation.org_id
        self._turn = asyncio.Lock()

    def of(self, service: str, env: str) -> Switched:
        """What configs say of a service in an environment: the most specific, then the newest."""
        facts = ClientFacts(client_id="", service=service, env=env)
        catalogue = self._tenant.publisher.catalogue
        says: bool | None = None
        by = ""
        for item in catalogue.matching(TRACING, facts):
            told = _says(item.payload)
            if told is not None:
                says, by = told, item.row.config_id
        symbols = [item.row.config_id for item in catalogue.matching(SYMBOLS, facts)]
        return Switched(says, bool(symbols), ((by,) if by else ()) + tuple(symbols))

    async def switch(
        self,
        principal: Principal,
        service: str,
        envs: tuple[str, ...],
        dynamic_instrumentation: bool | None,
        symbols: bool | None,
        *,
        now: datetime,
    ) -> Switched:
        """Say on or off, and have symbols sent or not; None: leave it.

        Raises:
            InvalidChangeError, NotPermittedError: As they say; what came before it is done.
        """
        service = service.strip()
        if not service:
            raise InvalidChangeError(
                "A service is to be named.", problems=(Problem("$.service", "Name the service."),)
            )
        target = Targeting.parse({"service": [service]} | ({"env": sorted(set(envs))} if envs else {}), "$")
        editor = Editor(self._tenant, principal, now=now)
        async with self._turn:
            for left in reversed(range(_ATTEMPTS)):
                try:
                    if dynamic_instrumentation is not None:
                        await self._instrument(editor, target, dynamic_instrumentation)
                    if symbols is not None:
                        await self._send_symbols(editor, target, symbols)
                    break
                except ConflictError:
                    if not left:
                        raise
        await self._tenant.reconciler.settle(timeout_s=_SEEN_WITHIN_S)
        return self.of(service, envs[0] if envs else "")

    async def _instrument(self, editor: Editor, target: Targeting, is_on: bool) -> None:
        row = await self._exactly(TRACING, NAME, target)
        if row is None:
            payload: dict[str, Any] = {"lib_config": {SETTING: is_on}}
            await editor.create(
                {"product": TRACING, "name": NAME, "targeting": target.to_dict(), "payload": payload}
            )
            return
        payload = orjson.loads(row.payload)
        if _says(payload) is is_on:
            return
        payload["lib_config"] = {**payload.get("lib_config", {}), SETTING: is_on}
        await editor.change(row.config_id, {"payload": payload}, expected_revision=row.revision)

    async def _send_symbols(self, editor: Editor, target: Targeting, is_on: bool) -> None:
        row = await self._exactly(SYMBOLS, SYMBOLS_NAME, target)
        if is_on and row is None:
            await editor.create(
                {
                    "product": SYMBOLS,
                    "name": SYMBOLS_NAME,
                    "targeting": target.to_dict(),
                    "payload": {"upload_symbols": True},
                }
            )
        elif not is_on and row is not None:
            await editor.retire(row.config_id, expected_revision=row.revision)

    async def _exactly(self, product: str, name: str, target: Targeting) -> rows.ConfigRow | None:
        """The config of that name for exactly that target; the oldest, should there be several."""

        def load() -> list[rows.ConfigRow]:
            with self._database.read() as c:
                return read.configs(c, self._org_id, product=product, state="active")

        found = _for(await asyncio.to_thread(load), name, target)
        return min(found, key=lambda row: (row.created_ms, row.config_id), default=None)


def _for(listed: Iterable[rows.ConfigRow], name: str, target: Targeting) -> list[rows.ConfigRow]:
    wanted = _normal(target)
    return [row for row in listed if row.name == name and _normal(Targeting.parse(row.targeting)) == wanted]


def _normal(target: Targeting) -> dict[str, object]:
    return {
        field: sorted(one.casefold() for one in value) if isinstance(value, list) else value
        for field, value in target.to_dict().items()
    }


def _says(payload: Mapping[str, Any]) -> bool | None:
    settings = payload.get("lib_config")
    told = settings.get(SETTING) if isinstance(settings, Mapping) else None
    return told if isinstance(told, bool) else None
