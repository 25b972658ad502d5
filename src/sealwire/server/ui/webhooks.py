"""Webhooks: who is called when something needs attention, and what became of the calls."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypeAlias

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.security.rules import Severity
from sealwire.server.store.webhooks import CallRow, WebhookRow
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import dom_id, macro, moment, page
from sealwire.server.ui.views import NEVER, Moment, Status
from sealwire.server.webhooks import EVENTS, TEST

Asked: TypeAlias = Request[Any, Any, Any]
READ, WRITE = {"permission": "webhooks_read"}, {"permission": "webhooks_write"}

_ON = Status("On", "ok", "circle-check")
_OFF = Status("Off", "mute", "ban", remedy="Nothing is sent while it is off.")


@dataclass(frozen=True, slots=True)
class Call:
    """One call. ``after`` says when the next attempt is, if there is one."""

    dom_id: str
    status: Status
    event: str
    subject: str
    at: Moment
    attempts: int
    after: Moment
    body: str


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook in the table."""

    dom_id: str
    href: str
    name: str
    host: str
    status: Status
    events: tuple[str, ...]
    last: Call | None


@dataclass(frozen=True, slots=True)
class HooksPage:
    """All webhooks."""

    hooks: tuple[Hook, ...]
    may_write: bool
    summary: str
    live_href: str = "/live/webhooks"


@dataclass(frozen=True, slots=True)
class CallsView:
    """The calls of a webhook, newest first."""

    calls: tuple[Call, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Choice:
    """An event that can be asked for."""

    event: str
    title: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class HookPage:
    """One webhook, or the form of a new one.

    Attributes:
        href: Of the webhook; empty for a new one.
        wrong: What is wrong with a field, by its name.
    """

    href: str
    name: str
    url: str
    enabled: bool
    choices: tuple[Choice, ...]
    severities: tuple[tuple[str, bool], ...]
    calls: tuple[Call, ...]
    made: Moment
    made_by: str
    wrong: dict[str, str]
    may_write: bool
    summary: str
    live_href: str


@dataclass(frozen=True, slots=True)
class SecretPage:
    """A secret, shown once."""

    href: str
    name: str
    secret: str


@dataclass(frozen=True, slots=True)
class DeletePage:
    """What is lost with a webhook."""

    href: str
    name: str
    host: str


@get("/webhooks", opt=READ, include_in_schema=False)
async def show_webhooks(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """All webhooks."""
    view = await asyncio.to_thread(_hooks, tenant, principal)
    return page(
        request, "webhooks/webhooks.html", title="Webhooks", view=view, principal=principal, tenant=tenant
    )


@get("/live/webhooks", opt=READ, include_in_schema=False)
async def live_webhooks(tenant: OwnTenant, viewers: Watching, principal: Asker) -> Stream:
    """All webhooks with their last calls, as they change."""
    hooks, announcement = (
        macro("webhooks/_parts.html", "hooks"),
        macro("webhooks/_parts.html", "announcement"),
    )

    async def screen() -> Fragments:
        view = await asyncio.to_thread(_hooks, tenant, principal)
        return {"hooks": hooks(view), "announcement": announcement(view)}

    return await viewers.stream(screen)


@get("/webhooks/new", opt=WRITE, include_in_schema=False)
async def show_new_webhook(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """The form of a new webhook."""
    return _form(request, principal, tenant, None, forms.Form({"events": list(EVENTS)}), {})


@post("/webhooks/new", opt=WRITE, status_code=200, include_in_schema=False)
async def make_webhook(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Make a webhook; its secret is on the page that answers, and nowhere else."""
    form = await forms.read(request)
    try:
        row, secret = await asyncio.to_thread(
            tenant.webhooks.create, name=form.text("name"), url=form.text("url"), events=form.all("events"),
            by=principal.user, now_ms=plane.now_ms(), least_severity=form.text("least_severity"),
        )  # fmt: skip
    except InvalidChangeError as error:
        return _form(request, principal, tenant, None, form, _wrong(error))
    return _secret(request, principal, tenant, row, secret)


@get("/webhooks/{webhook_id:str}", opt=READ, include_in_schema=False)
async def show_webhook(
    request: Asked, webhook_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """One webhook: where it goes, for what, and its calls."""
    row = await asyncio.to_thread(tenant.webhooks.get, webhook_id)
    form = forms.Form(
        {
            "name": [row.name],
            "url": [row.url],
            "events": list(row.events),
            "least_severity": [row.least_severity],
        }
    )
    calls = await asyncio.to_thread(tenant.webhooks.calls, webhook_id)
    return _form(request, principal, tenant, row, form, {}, calls)


@get("/live/webhooks/{webhook_id:str}", opt=READ, include_in_schema=False)
async def live_webhook(webhook_id: FromPath[str], tenant: OwnTenant, viewers: Watching) -> Stream:
    """The calls of a webhook and what became of them, as they come."""
    call = macro("webhooks/_parts.html", "call")
    parts = {name: macro("webhooks/_parts.html", name) for name in ("no_calls", "announcement")}

    def load() -> CallsView:
        tenant.webhooks.get(webhook_id)  # a stream of what is gone ends
        return _calls(tenant.webhooks.calls(webhook_id))

    async def screen() -> Fragments:
        view = await asyncio.to_thread(load)
        rows = {one.dom_id: call(one) for one in view.calls}
        body = Rows('<ul class="lines close" id="calls">', rows, "</ul>")
        return {"calls": body, **{name: part(view) for name, part in parts.items()}}

    return await viewers.stream(screen)


@post("/webhooks/{webhook_id:str}", opt=WRITE, status_code=200, include_in_schema=False)
async def change_webhook(
    request: Asked, webhook_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Change a webhook, or switch it on or off."""
    form = await forms.read(request)
    switch = form.text("switch")
    try:
        row = await asyncio.to_thread(
            tenant.webhooks.change,
            webhook_id,
            **(
                {"enabled": switch == "on"}
                if switch
                else {
                    "name": form.text("name"),
                    "url": form.text("url"),
                    "events": form.all("events"),
                    "least_severity": form.text("least_severity"),
                }
            ),
            by=principal.user,
            now_ms=plane.now_ms(),
        )
    except InvalidChangeError as error:
        row = await asyncio.to_thread(tenant.webhooks.get, webhook_id)
        calls = await asyncio.to_thread(tenant.webhooks.calls, webhook_id)
        return _form(request, principal, tenant, row, form, _wrong(error), calls)
    return forms.went(_href(row), f"{row.name} is {'on' if row.enabled else 'off'}." if switch else "Saved.")


@post("/webhooks/{webhook_id:str}/test", opt=WRITE, status_code=303, include_in_schema=False)
async def test_webhook(webhook_id: FromPath[str], tenant: OwnTenant) -> Redirect:
    """Call a webhook now."""
    call = await tenant.webhooks.test(webhook_id)
    if call.error:
        return forms.did_not(f"/webhooks/{webhook_id}", f"The test was not taken: {call.error}")
    return forms.went(f"/webhooks/{webhook_id}", "The test was taken.")


@post("/webhooks/{webhook_id:str}/secret", opt=WRITE, status_code=200, include_in_schema=False)
async def renew_webhook_secret(
    request: Asked, webhook_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """Another secret; it is on the page that answers, and nowhere else."""
    secret = await asyncio.to_thread(
        tenant.webhooks.renew_secret, webhook_id, by=principal.user, now_ms=plane.now_ms()
    )
    row = await asyncio.to_thread(tenant.webhooks.get, webhook_id)
    return _secret(request, principal, tenant, row, secret)


@get("/webhooks/{webhook_id:str}/delete", opt=WRITE, include_in_schema=False)
async def show_delete_webhook(
    request: Asked, webhook_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """What is lost with it."""
    row = await asyncio.to_thread(tenant.webhooks.get, webhook_id)
    view = DeletePage(_href(row), row.name, _host(row))
    return page(
        request, "webhooks/delete.html", title=f"Delete {row.name}", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@post("/webhooks/{webhook_id:str}/delete", opt=WRITE, status_code=303, include_in_schema=False)
async def delete_webhook(
    webhook_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """Take it away."""
    await asyncio.to_thread(tenant.webhooks.delete, webhook_id, by=principal.user, now_ms=plane.now_ms())
    return forms.went("/webhooks", "The webhook is gone.")


# Views --------------------------------------------------------------------------------------------------


def _form(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    row: WebhookRow | None,
    form: forms.Form,
    wrong: dict[str, str],
    calls: list[CallRow] | None = None,
) -> Response[str]:
    chosen = form.all("events")
    made = _calls(calls or [])
    view = HookPage(
        href="" if row is None else _href(row),
        name=form.text("name"),
        url=form.text("url"),
        enabled=row is None or row.enabled,
        choices=tuple(Choice(event, title, event in chosen) for event, title in EVENTS.items()),
        severities=tuple(
            (name, name == (form.text("least_severity") or "info"))
            for name in (severity.name.lower() for severity in Severity)
        ),
        calls=made.calls,
        made=NEVER if row is None else moment(row.created_ms / 1000),
        made_by="" if row is None else row.created_by,
        wrong=wrong,
        may_write=principal.may("webhooks_write"),
        summary=made.summary,
        live_href="" if row is None else f"/live{_href(row)}",
    )
    return page(
        request, "webhooks/webhook.html", title="New webhook" if row is None else row.name, view=view,
        principal=principal, tenant=tenant, status_code=422 if wrong else 200,
    )  # fmt: skip


def _secret(
    request: Asked, principal: Principal, tenant: Tenant, row: WebhookRow, secret: str
) -> Response[str]:
    answer = page(
        request, "webhooks/secret.html", title=f"Secret of {row.name}",
        view=SecretPage(_href(row), row.name, secret), principal=principal, tenant=tenant,
    )  # fmt: skip
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _wrong(error: InvalidChangeError) -> dict[str, str]:
    problems: tuple[Problem, ...] = error.problems
    return {problem.path.removeprefix("$.") or "name": problem.message for problem in problems}


def _hooks(tenant: Tenant, principal: Principal) -> HooksPage:
    found, last = tenant.webhooks.all(), tenant.webhooks.last_calls()
    hooks = tuple(_hook(row, last.get(row.webhook_id)) for row in found)
    wrong = [hook.name for hook in hooks if hook.last is not None and hook.last.status.tone == "bad"]
    summary = f"Webhooks: {len(hooks)}. " + (f"Not taken: {', '.join(wrong)}." if wrong else "")
    return HooksPage(hooks, principal.may("webhooks_write"), summary)


def _calls(found: list[CallRow]) -> CallsView:
    calls = tuple(_call(call) for call in found)
    last = f"Last call: {calls[0].event}, {calls[0].status.word.lower()}." if calls else "No calls yet."
    return CallsView(calls, last)


def _hook(row: WebhookRow, last: CallRow | None) -> Hook:
    return Hook(
        dom_id("hook", row.webhook_id), _href(row), row.name, _host(row), _ON if row.enabled else _OFF,
        row.events, None if last is None else _call(last),
    )  # fmt: skip


def _call(call: CallRow) -> Call:
    if call.delivered_ms is not None:
        status = Status("Taken", "ok", "circle-check", f"answered {call.status}")
    elif call.next_ms is not None:
        status = Status("Waiting" if not call.attempts else "Trying again", "wait", "clock", call.error)
    else:
        status = Status("Not taken", "bad", "triangle-alert", call.error)
    return Call(
        f"call-{call.id}",
        status,
        "test" if call.event == TEST else call.event,
        call.subject,
        moment(call.created_ms / 1000),
        call.attempts,
        NEVER if call.next_ms is None else moment(call.next_ms / 1000),
        call.body.decode(),
    )


def _href(row: WebhookRow) -> str:
    return f"/webhooks/{row.webhook_id}"


def _host(row: WebhookRow) -> str:
    return row.url.partition("://")[2].partition("/")[0]


HANDLERS = [
    show_webhooks,
    live_webhooks,
    live_webhook,
    show_new_webhook,
    make_webhook,
    show_webhook,
    change_webhook,
    test_webhook,
    renew_webhook_secret,
    show_delete_webhook,
    delete_webhook,
]
