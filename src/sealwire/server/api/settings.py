"""An organisation's settings by the admin API: its name, its production, its Remote Configuration switch."""

from __future__ import annotations

from typing import TypedDict

import msgspec
from litestar import get, put
from litestar.params import JSONBody

from sealwire.server.api import keys, shapes
from sealwire.server.api.guard import Asker, OwnTenant
from sealwire.server.store import rows
from sealwire.server.tenant import Tenant


class Seen(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Settings as their author saw them: when one is another now, nothing is changed."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    production_envs: list[str] | msgspec.UnsetType = msgspec.UNSET


class ChangedSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of settings: what is not given stays.

    ``remote_config`` switches Remote Configuration on, or withdraws every config and then switches it off;
    with ``at_once`` agents are refused from now on, whatever they hold.
    """

    name: str | None = None
    production_envs: list[str] | None = None
    remote_config: bool | None = None
    at_once: bool = False
    seen: Seen | None = None


class Settings(TypedDict):
    """An organisation's settings.

    Attributes:
        production_envs: Environments that count as production.
        withdrawing_at: Since when Remote Configuration is going off.
        withdrawal: How far that is.
    """

    org_id: int
    uuid: str
    name: str
    production_envs: list[str]
    remote_config: bool
    withdrawing_at: str | None
    withdrawal: keys.Withdrawal | None


@get("/settings", opt={"permission": "signed_in"})
async def get_settings(tenant: OwnTenant) -> Settings:
    """The organisation's settings."""
    await tenant.switches.refresh()
    return await _settings(tenant)


@put("/settings", opt={"permission": "org_management"})
async def change_settings(data: JSONBody[ChangedSettings], tenant: OwnTenant, principal: Asker) -> Settings:
    """Change the organisation's settings."""
    switches = tenant.switches
    if data.name is not None or data.production_envs is not None:
        seen = {} if data.seen is None else msgspec.to_builtins(data.seen)
        await switches.change_settings(
            name=data.name, production_envs=data.production_envs, seen=seen, by=principal.user
        )
    if data.remote_config is True:
        await switches.switch_on(by=principal.user)
    elif data.remote_config is False:
        await switches.switch_off(by=principal.user, at_once=data.at_once)
    return await _settings(tenant)


async def _settings(tenant: Tenant) -> Settings:
    row: rows.Organisation = tenant.switches.organisation
    going = [one for one in await keys.withdrawals(tenant) if one["subject"] == "organisation"]
    return {
        "org_id": row.org_id,
        "uuid": row.uuid,
        "name": row.name,
        "production_envs": list(row.production_envs),
        "remote_config": row.remote_config,
        "withdrawing_at": shapes.time_or_none(row.withdrawing_ms),
        "withdrawal": going[0] if going else None,
    }


HANDLERS = [get_settings, change_settings]
