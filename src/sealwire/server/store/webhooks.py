"""What the store holds of webhooks: where they go, what is on its way, and what they were told of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from sealwire.server.store import tables as t


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A webhook.

    Attributes:
        events: Kinds of event it is called for.
        secret_sealed: What its calls are signed with, sealed by the keyring.
        least_severity: Of signals, from which on it is called; empty for all.
    """

    org_id: int
    webhook_id: str
    name: str
    url: str
    events: tuple[str, ...]
    secret_sealed: bytes
    enabled: bool
    created_ms: int
    created_by: str
    least_severity: str = ""


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call of a webhook: due, made, or given up.

    Attributes:
        next_ms: When it is tried next; None when it was taken or given up.
        status: HTTP status of the last attempt; None when there was no answer.
    """

    id: int
    org_id: int
    webhook_id: str
    event: str
    subject: str
    body: bytes
    created_ms: int
    attempts: int
    next_ms: int | None
    delivered_ms: int | None
    status: int | None
    error: str


def webhooks(c: sa.Connection, org_id: int) -> list[WebhookRow]:
    """The webhooks of an organisation, oldest first."""
    w = t.webhooks.c
    found = c.execute(sa.select(t.webhooks).where(w.org_id == org_id).order_by(w.created_ms, w.webhook_id))
    return [
        WebhookRow(
            row.org_id, row.webhook_id, row.name, row.url, events, row.secret_wrapped, row.enabled,
            row.created_ms, row.created_by, least_severity,
        )
        for row in found
        for events, least_severity in (_asked_for(row.events),)
    ]  # fmt: skip


def _asked_for(text: str) -> tuple[tuple[str, ...], str]:
    """Events, and the least severity of signals: an object; a list alone where that is not said."""
    asked = json.loads(text)
    if isinstance(asked, list):
        return tuple(asked), ""
    return tuple(asked["events"]), str(asked["least_severity"])


def put_webhook(c: sa.Connection, webhook: WebhookRow) -> None:
    """Make a webhook, or replace it."""
    delete_webhook(c, webhook.org_id, webhook.webhook_id)
    c.execute(
        sa.insert(t.webhooks).values(
            org_id=webhook.org_id,
            webhook_id=webhook.webhook_id,
            name=webhook.name,
            url=webhook.url,
            events=json.dumps(
                {"events": webhook.events, "least_severity": webhook.least_severity}
                if webhook.least_severity
                else webhook.events
            ),
            secret_wrapped=webhook.secret_sealed,
            enabled=webhook.enabled,
            created_ms=webhook.created_ms,
            created_by=webhook.created_by,
        )
    )


def delete_webhook(c: sa.Connection, org_id: int, webhook_id: str) -> None:
    """Take a webhook away; its calls stay to be read until they are forgotten."""
    w = t.webhooks.c
    c.execute(sa.delete(t.webhooks).where(w.org_id == org_id, w.webhook_id == webhook_id))


def add_call(
    c: sa.Connection, org_id: int, webhook_id: str, *, event: str, subject: str, body: bytes, now_ms: int
) -> int:
    """Queue a call; returns its number."""
    made = c.execute(
        sa.insert(t.webhook_deliveries)
        .values(
            org_id=org_id, webhook_id=webhook_id, event=event, subject=subject[:300], body=body,
            created_ms=now_ms, attempts=0, next_ms=now_ms, error="",
        )
        .returning(t.webhook_deliveries.c.id)
    )  # fmt: skip
    return int(made.scalar_one())


def calls(c: sa.Connection, org_id: int, webhook_id: str, *, limit: int) -> list[CallRow]:
    """The newest calls of a webhook."""
    d = t.webhook_deliveries.c
    found = c.execute(
        sa.select(t.webhook_deliveries)
        .where(d.org_id == org_id, d.webhook_id == webhook_id)
        .order_by(d.id.desc())
        .limit(limit)
    )
    return [CallRow(**row._mapping) for row in found]


def last_calls(c: sa.Connection, org_id: int) -> dict[str, CallRow]:
    """The newest call of each webhook."""
    d = t.webhook_deliveries.c
    newest = sa.select(sa.func.max(d.id)).where(d.org_id == org_id).group_by(d.webhook_id)
    found = c.execute(sa.select(t.webhook_deliveries).where(d.id.in_(newest)))
    return {row.webhook_id: CallRow(**row._mapping) for row in found}


def has_due(c: sa.Connection, org_id: int, *, now_ms: int) -> bool:
    """Whether any call is due."""
    d = t.webhook_deliveries.c
    return (
        c.execute(sa.select(d.id).where(d.org_id == org_id, d.next_ms <= now_ms).limit(1)).first() is not None
    )


def take_due(c: sa.Connection, org_id: int, *, now_ms: int, lease_ms: int, limit: int) -> list[CallRow]:
    """Calls that are due, put off by the lease so that nobody else makes them meanwhile."""
    d = t.webhook_deliveries.c
    found = c.execute(
        sa.select(t.webhook_deliveries)
        .where(d.org_id == org_id, d.next_ms <= now_ms)
        .order_by(d.next_ms)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    taken = [CallRow(**row._mapping) for row in found]
    if taken:
        c.execute(
            sa.update(t.webhook_deliveries)
            .where(d.id.in_([call.id for call in taken]))
            .values(next_ms=now_ms + lease_ms)
        )
    return taken


def settle_call(
    c: sa.Connection,
    call_id: int,
    *,
    attempts: int,
    next_ms: int | None,
    delivered_ms: int | None,
    status: int | None,
    error: str,
) -> None:
    """What became of an attempt."""
    c.execute(
        sa.update(t.webhook_deliveries)
        .where(t.webhook_deliveries.c.id == call_id)
        .values(
            attempts=attempts, next_ms=next_ms, delivered_ms=delivered_ms, status=status, error=error[:500]
        )
    )


def forget_calls(c: sa.Connection, org_id: int, *, before_ms: int) -> None:
    """Drop old calls that are settled."""
    d = t.webhook_deliveries.c
    c.execute(
        sa.delete(t.webhook_deliveries).where(
            d.org_id == org_id, d.created_ms < before_ms, d.next_ms.is_(None)
        )
    )


def told(c: sa.Connection, org_id: int) -> dict[tuple[str, str], tuple[str, int]]:
    """Concerns that were told of and have not ended: (kind, key) -> title, since when."""
    found = c.execute(sa.select(t.told_concerns).where(t.told_concerns.c.org_id == org_id))
    return {(row.kind, row.key): (row.title, row.began_ms) for row in found}


def add_told(c: sa.Connection, org_id: int, concerns: Mapping[tuple[str, str], str], *, now_ms: int) -> None:
    """Note concerns that are told of now; somebody who did so already is a conflict."""
    for (kind, key), title in concerns.items():
        c.execute(
            sa.insert(t.told_concerns).values(org_id=org_id, kind=kind, key=key, title=title, began_ms=now_ms)
        )


def end_told(c: sa.Connection, org_id: int, concerns: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Forget concerns that ended; returns those that were there."""
    k = t.told_concerns.c
    ended = []
    for kind, key in concerns:
        gone = c.execute(sa.delete(t.told_concerns).where(k.org_id == org_id, k.kind == kind, k.key == key))
        if gone.rowcount:
            ended.append((kind, key))
    return ended
