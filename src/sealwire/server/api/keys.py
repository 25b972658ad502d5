"""API keys by the admin API: what agents ask with, who uses them, and their way off."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, TypedDict

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from sealwire.errors import NotFoundError
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import rows
from sealwire.server.switches import Switches
from sealwire.server.tenant import Tenant
from sealwire.server.withdrawal import EVERYTHING, Holder, Progress, still_holding

MAX_AGENTS_LISTED = 1000


class NewKey(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An API key to make."""

    name: str
    remote_config: bool


class ChangedKey(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of an API key: what is not given stays."""

    name: str | None = None
    remote_config: bool | None = None


class Key(TypedDict):
    """An API key, without its secret.

    Attributes:
        last4: The end of its secret.
        remote_config: Whether it has the Remote Configuration scope.
        withdrawing_at: Since when its agents are to give up what they have.
        revoked_after_withdrawal: Whether it is revoked then.
        used_by: How many agents asked with it of late.
        held_until: Until when an agent of it may still hold configs, though it has no scope any more.
    """

    id: str
    name: str
    last4: str
    remote_config: bool
    created_at: str
    created_by: str
    last_used_at: str | None
    revoked_at: str | None
    withdrawing_at: str | None
    revoked_after_withdrawal: bool
    used_by: int
    held_until: str | None


class MadeKey(Key):
    """An API key that was made just now.

    Attributes:
        key: Its secret; it is said once.
    """

    key: str


class Keys(TypedDict):
    """API keys."""

    keys: list[Key]


class KeyAgent(TypedDict):
    """An agent that asks with a key, or did.

    Attributes:
        asks: Whether it did of late.
        holds_nothing: Whether it is known to hold no configs.
        clients_holding: Of its clients, those that hold something.
        holds_until: Until when it may hold configs without asking.
        from_your_address: Whether it asks from where whoever asks this does.
    """

    agent_id: str
    hostname: str
    last_seen: str
    asks: bool
    holds_nothing: bool
    clients: int
    clients_holding: int
    holds_until: str | None
    from_your_address: bool


class OneKey(Key):
    """An API key, and the agents that use it."""

    agents: list[KeyAgent]


class Withdrawal(TypedDict):
    """How far the agents of a key, or all of them, are in giving up what they have.

    Attributes:
        subject: key or organisation.
        key_id: Null for an organisation.
        name: Of the key or the organisation.
        revokes: Whether the key is revoked at the end.
        agents: How many there are.
        fetched: Agents that fetched the state without configs.
        clients: How many had something.
        dropped: Clients that have nothing any more.
    """

    subject: str
    key_id: str | None
    name: str
    since: str
    revokes: bool
    agents: int
    fetched: int
    clients: int
    dropped: int
    still_holding: list[KeyAgent]


class Withdrawals(TypedDict):
    """What is being withdrawn."""

    withdrawals: list[Withdrawal]


@get("/keys", opt={"permission": "api_keys_read"})
async def list_keys(tenant: OwnTenant, plane: Plane) -> Keys:
    """API keys, without their secrets, and how many agents use each."""
    await tenant.switches.refresh()
    by_key = by_their_key(await tenant.switches.holders())
    now_s = time.time()
    return {
        "keys": [_key(plane, row, by_key.get(row.key_id, ()), now_s=now_s) for row in tenant.switches.keys]
    }


@post("/keys", opt={"permission": "api_keys_write"})
async def create_key(
    data: JSONBody[NewKey], tenant: OwnTenant, principal: Asker, plane: Plane
) -> Response[MadeKey]:
    """Make an API key; its secret is in this answer and nowhere else."""
    row, secret = await tenant.switches.create_key(
        name=data.name, remote_config=data.remote_config, by=principal.user
    )
    body: MadeKey = {**_key(plane, row, (), now_s=time.time()), "key": secret}
    return Response(body, status_code=201, headers={"Cache-Control": "no-store"})


@get("/keys/{key_id:str}", opt={"permission": "api_keys_read"})
async def get_key(
    key_id: FromPath[str], request: Request[Any, Any, Any], tenant: OwnTenant, plane: Plane
) -> OneKey:
    """One API key, and the agents that use it."""
    return await _one(plane, tenant, key_id, request)


@patch("/keys/{key_id:str}", opt={"permission": "api_keys_write"})
async def change_key(
    key_id: FromPath[str],
    data: JSONBody[ChangedKey],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> OneKey:
    """Rename an API key, give it its scope (which also ends a withdrawal), or take that at once."""
    await tenant.switches.change_key(
        key_id, name=data.name, remote_config=data.remote_config, by=principal.user
    )
    return await _one(plane, tenant, key_id, request)


@post("/keys/{key_id:str}", status_code=200, opt={"permission": "api_keys_write"})
async def withdraw_key(
    key_id: FromPath[str],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> OneKey:
    """``{id}:withdraw``: give the agents of a key a state without configs, then take the key's scope."""
    key_id, _, action = key_id.partition(":")
    if action != "withdraw":
        raise NotFoundError("There is withdraw, as in 0123456789ab:withdraw.")
    await tenant.switches.withdraw_key(key_id, then_revoked=False, by=principal.user)
    return await _one(plane, tenant, key_id, request)


@delete("/keys/{key_id:str}", status_code=200, opt={"permission": "api_keys_delete"})
async def revoke_key(
    key_id: FromPath[str],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    withdraw_first: FromQuery[bool] = False,
) -> OneKey:
    """Revoke an API key for good: at once, or when its agents have fetched a state without configs."""
    if withdraw_first:
        await tenant.switches.withdraw_key(key_id, then_revoked=True, by=principal.user)
    else:
        await tenant.switches.revoke_key(key_id, by=principal.user)
    return await _one(plane, tenant, key_id, request)


@get("/withdrawals", opt={"permission": "api_keys_read"})
async def list_withdrawals(tenant: OwnTenant) -> Withdrawals:
    """What is being withdrawn, and how far each is."""
    return {"withdrawals": await withdrawals(tenant)}


# What others say of keys too ------------------------------------------------------------------------------


async def withdrawals(tenant: Tenant) -> list[Withdrawal]:
    """Every withdrawal of an organisation."""
    switches = tenant.switches
    return [_progress(switches, one) for one in await switches.progress()]


def by_their_key(holders: Iterable[Holder]) -> dict[str, list[Holder]]:
    """Agents by the API key they last asked with."""
    found: dict[str, list[Holder]] = {}
    for holder in holders:
        if holder.key_id:
            found.setdefault(holder.key_id, []).append(holder)
    return found


def is_same_host(holder: Holder, address: str) -> bool:
    """Whether an agent asks from an address."""
    return bool(address) and holder.address == address


async def _one(plane: ControlPlane, tenant: Tenant, key_id: str, request: Request[Any, Any, Any]) -> OneKey:
    await tenant.switches.refresh()
    row = tenant.switches.key(key_id)
    if row is None:
        raise NotFoundError(f"There is no API key {key_id[:40]}.")
    holders = await tenant.switches.holders(key_id)
    address = request.client.host if request.client is not None else ""
    return {
        **_key(plane, row, holders, now_s=time.time()),
        "agents": [_agent(holder, address) for holder in holders[:MAX_AGENTS_LISTED]],
    }


def _key(plane: ControlPlane, row: rows.ApiKeyRow, holders: Iterable[Holder], *, now_s: float) -> Key:
    holders = tuple(holders)
    holding = still_holding(holders, now_s)
    return {
        "id": row.key_id,
        "name": row.name,
        "last4": row.last4,
        "remote_config": row.remote_config,
        "created_at": shapes.time(row.created_ms),
        "created_by": row.created_by,
        "last_used_at": shapes.time_or_none(plane.access.last_used_ms(row)),
        "revoked_at": shapes.time_or_none(row.revoked_ms),
        "withdrawing_at": shapes.time_or_none(row.withdrawing_ms),
        "revoked_after_withdrawal": row.then_revoked,
        "used_by": sum(holder.asks for holder in holders),
        "held_until": _until(holding[0]) if holding else None,
    }


def _progress(switches: Switches, one: Progress) -> Withdrawal:
    key = switches.key(one.subject)
    holding = one.still_holding(time.time())
    return {
        "subject": "organisation" if one.subject == EVERYTHING else "key",
        "key_id": None if key is None else key.key_id,
        "name": switches.organisation.name if key is None else key.name,
        "since": shapes.time(round(one.since_s * 1000)),
        "revokes": one.then_revoked,
        "agents": one.agents,
        "fetched": one.fetched,
        "clients": one.clients,
        "dropped": one.dropped,
        "still_holding": [_agent(holder, "") for holder in holding[:MAX_AGENTS_LISTED]],
    }


def _agent(holder: Holder, address: str) -> KeyAgent:
    return {
        "agent_id": holder.agent_id,
        "hostname": holder.hostname,
        "last_seen": shapes.time(round(holder.seen_s * 1000)),
        "asks": holder.asks,
        "holds_nothing": holder.holds_nothing,
        "clients": holder.clients,
        "clients_holding": len(holder.holding),
        "holds_until": _until(holder),
        "from_your_address": is_same_host(holder, address),
    }


def _until(holder: Holder) -> str | None:
    return None if holder.until_s is None else shapes.time(round(holder.until_s * 1000))


HANDLERS = [list_keys, create_key, get_key, change_key, withdraw_key, revoke_key, list_withdrawals]
