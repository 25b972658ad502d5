"""Webhooks by the admin API."""

from __future__ import annotations

import asyncio
from typing import TypedDict

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody

from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.shapes import time, time_or_none
from sealwire.server.store.webhooks import CallRow, WebhookRow
from sealwire.server.webhooks import EVENTS


class NewWebhook(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A webhook to make."""

    name: str
    url: str
    events: list[str]
    least_severity: str = "info"


class ChangedWebhook(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of a webhook: what is not given stays."""

    name: str | None = None
    url: str | None = None
    events: list[str] | None = None
    enabled: bool | None = None
    least_severity: str | None = None


class Call(TypedDict):
    """A call of a webhook.

    Attributes:
        event: What it tells of.
        next_at: When it is tried next; null when it was taken or given up.
        delivered_at: When it was taken.
        status: Of the last attempt; null when there was no answer.
        error: What went wrong in the last attempt.
        body: What is sent.
    """

    id: int
    event: str
    subject: str
    created_at: str
    attempts: int
    next_at: str | None
    delivered_at: str | None
    status: int | None
    error: str
    body: str


class Webhook(TypedDict):
    """A webhook, without its secret.

    Attributes:
        events: What it is told of.
        least_severity: Of signals, from which on it is told of them.
        last_call: The newest; null before the first, and in answers to a change.
    """

    id: str
    name: str
    url: str
    events: list[str]
    least_severity: str
    enabled: bool
    created_at: str
    created_by: str
    last_call: Call | None


class Webhooks(TypedDict):
    """Webhooks.

    Attributes:
        events: Those there are, and what each says.
    """

    webhooks: list[Webhook]
    events: dict[str, str]


class MadeWebhook(Webhook):
    """A webhook that was made just now.

    Attributes:
        secret: What its calls are signed with; it is said once.
    """

    secret: str


class FreshSecret(TypedDict):
    """What the calls of a webhook are signed with from now on; it is said once."""

    secret: str


class Calls(TypedDict):
    """Calls of a webhook, newest first."""

    calls: list[Call]


@get("/webhooks", opt={"permission": "webhooks_read"})
async def list_webhooks(tenant: OwnTenant) -> Webhooks:
    """Webhooks with the newest call of each, and the events there are."""
    found = await asyncio.to_thread(tenant.webhooks.all)
    last = await asyncio.to_thread(tenant.webhooks.last_calls)
    return {"webhooks": [_webhook(row, last.get(row.webhook_id)) for row in found], "events": dict(EVENTS)}


@post("/webhooks", opt={"permission": "webhooks_write"})
async def create_webhook(
    data: JSONBody[NewWebhook], tenant: OwnTenant, principal: Asker, plane: Plane
) -> MadeWebhook:
    """Make a webhook; the secret its calls are signed with is in this answer and nowhere else."""
    row, secret = await asyncio.to_thread(
        tenant.webhooks.create, name=data.name, url=data.url, events=data.events, by=principal.user,
        now_ms=plane.now_ms(), least_severity=data.least_severity,
    )  # fmt: skip
    return {**_webhook(row, None), "secret": secret}


@patch("/webhooks/{webhook_id:str}", opt={"permission": "webhooks_write"})
async def change_webhook(
    webhook_id: FromPath[str],
    data: JSONBody[ChangedWebhook],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> Webhook:
    """Change a webhook, switch it on or off."""
    row = await asyncio.to_thread(
        tenant.webhooks.change, webhook_id, name=data.name, url=data.url, events=data.events,
        enabled=data.enabled, least_severity=data.least_severity, by=principal.user, now_ms=plane.now_ms(),
    )  # fmt: skip
    return _webhook(row, None)


@delete("/webhooks/{webhook_id:str}", status_code=204, opt={"permission": "webhooks_write"})
async def delete_webhook(
    webhook_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane
) -> None:
    """Take a webhook away."""
    await asyncio.to_thread(tenant.webhooks.delete, webhook_id, by=principal.user, now_ms=plane.now_ms())


@post("/webhooks/{webhook_id:str}/secret", opt={"permission": "webhooks_write"})
async def renew_webhook_secret(
    webhook_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane
) -> FreshSecret:
    """Give a webhook another secret; it is in this answer and nowhere else."""
    secret = await asyncio.to_thread(
        tenant.webhooks.renew_secret, webhook_id, by=principal.user, now_ms=plane.now_ms()
    )
    return {"secret": secret}


@post("/webhooks/{webhook_id:str}/test", status_code=200, opt={"permission": "webhooks_write"})
async def test_webhook(webhook_id: FromPath[str], tenant: OwnTenant) -> Call:
    """Call a webhook now; the answer says what came of it."""
    return _call(await tenant.webhooks.test(webhook_id))


@get("/webhooks/{webhook_id:str}/calls", opt={"permission": "webhooks_read"})
async def list_webhook_calls(webhook_id: FromPath[str], tenant: OwnTenant) -> Calls:
    """The newest calls of a webhook, and what became of them."""
    await asyncio.to_thread(tenant.webhooks.get, webhook_id)
    return {"calls": [_call(call) for call in await asyncio.to_thread(tenant.webhooks.calls, webhook_id)]}


def _webhook(row: WebhookRow, last: CallRow | None) -> Webhook:
    return {
        "id": row.webhook_id,
        "name": row.name,
        "url": row.url,
        "events": list(row.events),
        "least_severity": row.least_severity or "info",
        "enabled": row.enabled,
        "created_at": time(row.created_ms),
        "created_by": row.created_by,
        "last_call": None if last is None else _call(last),
    }


def _call(call: CallRow) -> Call:
    return {
        "id": call.id,
        "event": call.event,
        "subject": call.subject,
        "created_at": time(call.created_ms),
        "attempts": call.attempts,
        "next_at": time_or_none(call.next_ms),
        "delivered_at": time_or_none(call.delivered_ms),
        "status": call.status,
        "error": call.error,
        "body": call.body.decode(),
    }


HANDLERS = [
    list_webhooks,
    create_webhook,
    change_webhook,
    delete_webhook,
    renew_webhook_secret,
    test_webhook,
    list_webhook_calls,
]
