"""Policies of the in-app firewall: all of them at a glance, the passlist, and what blocked visitors get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from litestar import Response, get, post
from litestar.response import Stream

from sealwire.errors import InvalidChangeError, NotPermittedError
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.fleet.uptake import Uptake
from sealwire.server.protect import block_page, passlist, policies, policy
from sealwire.server.protect.block_page import Seen
from sealwire.server.protect.policy import Plan, Policies
from sealwire.server.ui import forms
from sealwire.server.ui.config_draft import clock
from sealwire.server.ui.forms import Form
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.protect_policies_review import (
    SEE,
    WRITE,
    Asked,
    Delivered,
    decide,
    delivered,
    deliveries,
    known_targets,
    live,
    may_write,
    query,
    target_of,
    wrong_of,
)
from sealwire.server.ui.render import dom_id, macro, moment, page
from sealwire.server.ui.views import NEVER, Moment

#: Kind, heading, page, what it says where nothing is in force.
SECTIONS: tuple[tuple[str, str, str, str], ...] = (
    (policies.PASSLIST, "Passlist", "/protect/passlist", "nothing is let be"),
    (policies.MODES, "Modes", "/protect/modes", "rules do what the rule set says"),
    (policies.RULES, "Custom rules", "/protect/rules", "no rules of your own"),
    (policies.PAGE, "Block page", "/protect/block-page", "403, as the Accept header asks"),
    (policies.RULE_SET, "Rule set", "/protect/rule-sets", "the one the tracers bring along"),
)
PERIODS: Mapping[str, tuple[str, timedelta | None]] = {
    "never": ("until removed", None),
    "1h": ("for 1 hour", timedelta(hours=1)),
    "1d": ("for 1 day", timedelta(days=1)),
    "1w": ("for 1 week", timedelta(weeks=1)),
    "30d": ("for 30 days", timedelta(days=30)),
}
_LISTS = ("addresses", "paths", "rules", "types", "parameters")


# All of them ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyCell:
    """One kind of policy of a target."""

    heading: str
    href: str
    words: str
    delivered: Delivered | None


@dataclass(frozen=True, slots=True)
class TargetRow:
    """Everything that is in force for one target; ``delivered`` is None where nothing is."""

    where: str
    cells: tuple[PolicyCell, ...]


@dataclass(frozen=True, slots=True)
class PoliciesPage:
    """What is in force, by target."""

    rows: tuple[TargetRow, ...]
    sections: tuple[tuple[str, str, str, str], ...]


@get("/protect/policies", opt=SEE, include_in_schema=False)
async def show_policies(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """What the in-app firewall does besides the denylist, by target."""
    work = Policies(plane, tenant, principal)
    view = _policies(await policies.by_target(work), await deliveries(work))
    return page(
        request, "protect_policies/policies.html", title="Policies", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@get("/live/protect/policies", opt=SEE, include_in_schema=False)
async def live_policies(principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching) -> Stream:
    """What is in force by target, as it changes and arrives."""
    work = Policies(plane, tenant, principal)
    targets = macro("protect_policies/_lists.html", "targets")
    return await live(
        viewers, work, lambda: policies.by_target(work),
        lambda found, uptakes: {"targets": targets(_policies(found, uptakes))},
    )  # fmt: skip


def _policies(found_targets: Sequence[policies.OfTarget], uptakes: Mapping[str, Uptake]) -> PoliciesPage:
    rows = []
    for one in found_targets:
        found = {each.kind: each for each in one.policies}
        cells = [
            PolicyCell(heading, href, found[kind].words, delivered(uptakes, *found[kind].config_ids))
            for kind, heading, href, _ in SECTIONS
            if kind in found
        ]
        rows.append(TargetRow(policy.where(one.target), tuple(cells)))
    return PoliciesPage(tuple(rows), SECTIONS)


# Passlist ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EntryRow:
    """Something that is let be."""

    dom_id: str
    id: str
    words: str
    mode: str
    where: str
    reason: str
    by: str
    at: Moment
    until: Moment
    delivered: Delivered
    config_href: str


@dataclass(frozen=True, slots=True)
class PasslistPage:
    """What is let be."""

    rows: tuple[EntryRow, ...]
    may_write: bool


@dataclass(frozen=True, slots=True)
class EntryForm:
    """The form for something to let be."""

    fields: Mapping[str, str]
    wrong: Mapping[str, str]
    services: tuple[str, ...]
    envs: tuple[str, ...]
    periods: tuple[tuple[str, str], ...]


@get("/protect/passlist", opt=SEE, include_in_schema=False)
async def show_passlist(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """What is let be, by whom and until when."""
    work = Policies(plane, tenant, principal)
    view = PasslistPage(_entries(await passlist.listed(work), await deliveries(work)), may_write(work))
    return page(
        request, "protect_policies/passlist.html", title="Passlist", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@get("/live/protect/passlist", opt=SEE, include_in_schema=False)
async def live_passlist(principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching) -> Stream:
    """What is let be, as it changes and arrives."""
    work = Policies(plane, tenant, principal)
    entry, nothing = (macro("protect_policies/_lists.html", name) for name in ("entry", "no_entry"))

    def shown(found: Sequence[passlist.Listed], uptakes: Mapping[str, Uptake]) -> Fragments:
        view = PasslistPage(_entries(found, uptakes), may_write(work))
        rows = {row.dom_id: entry(row, view.may_write) for row in view.rows}
        return {
            "entries": Rows('<tbody id="entries" role="rowgroup">', rows, "</tbody>"),
            "nothing": nothing(view),
        }

    return await live(viewers, work, lambda: passlist.listed(work), shown)


def _entries(found: Sequence[passlist.Listed], uptakes: Mapping[str, Uptake]) -> tuple[EntryRow, ...]:
    return tuple(
        EntryRow(
            dom_id=dom_id("entry", f"{one.row.config_id} {one.entry.id}"),
            id=one.entry.id,
            words=one.entry.words,
            mode=str(one.entry.mode),
            where=policy.where(one.target),
            reason=one.origin.reason if one.origin else "",
            by=one.origin.by if one.origin else one.row.updated_by,
            at=moment(one.origin.at_ms / 1000) if one.origin else NEVER,
            until=NEVER if one.until_ms is None else moment(one.until_ms / 1000),
            delivered=delivered(uptakes, one.row.config_id),
            config_href=f"/configs/{one.row.config_id}",
        )
        for one in found
    )


@get("/protect/passlist/new", opt=WRITE, include_in_schema=False)
async def show_new_entry(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """The form; whatever the address names is filled in."""
    return await _entry_form(request, Policies(plane, tenant, principal), query(request))


@post("/protect/passlist/new", opt=WRITE, status_code=200, include_in_schema=False)
async def add_entry(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Show what an entry would do, then put it in force."""
    work = Policies(plane, tenant, principal)
    form = await forms.read(request)
    if form.text("do") == "edit":
        return await _entry_form(request, work, form)
    period = form.text("period", "never")
    try:
        entry = passlist.checked(
            **{name: _lines(form, name) for name in _LISTS}, mode=form.text("mode", "bypass"),
            entry_id=form.text("entry_id") if _is_entry_id(form.text("entry_id")) else "",
        )  # fmt: skip
        target = target_of(form)
        until = _until(form, work.now, period)

        async def make() -> Plan:
            return await passlist.adding(work, entry, target, until=until, reason=form.text("reason"))

        kept = [(name, form.raw(name)) for name in (*_LISTS, "service", "env", "reason")]
        return await decide(
            request, work, form, make, title="Let this be", path="/protect/passlist/new",
            back="/protect/passlist", crumb="Passlist", cautions=passlist.cautions(entry),
            carried=[
                *kept, ("mode", str(entry.mode)), ("period", period), ("entry_id", entry.id),
                ("until", "" if until is None else clock(int(until.timestamp() * 1000))),
            ],
        )  # fmt: skip
    except InvalidChangeError as error:
        return await _entry_form(
            request, work, form, wrong=wrong_of(error, (*_LISTS, "mode", "service", "env"), "all")
        )
    except NotPermittedError as error:
        return await _entry_form(request, work, form, wrong={"service": error.public})


@post("/protect/passlist/remove", opt=WRITE, status_code=200, include_in_schema=False)
async def remove_entry(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Show what goes, then take it away."""
    work = Policies(plane, tenant, principal)
    form = await forms.read(request)

    async def make() -> Plan:
        return await passlist.removing(work, form.text("id"), reason=form.text("reason"))

    return await decide(
        request, work, form, make, title="No longer let this be", path="/protect/passlist/remove",
        back="/protect/passlist", crumb="Passlist", carried=[("id", form.text("id"))], can_edit=False,
    )  # fmt: skip


async def _entry_form(
    request: Asked, work: Policies, form: Form, *, wrong: Mapping[str, str] | None = None
) -> Response[Any]:
    services, envs = await known_targets(work)
    names = (*_LISTS, "service", "env", "reason")
    fields = {name: "\n".join(form.fields.get(name, [])).strip("\n") for name in names} | {
        "mode": form.text("mode", "bypass"), "period": form.text("period", "never"),
    }  # fmt: skip
    view = EntryForm(
        fields, wrong or {}, services, envs, tuple((key, words) for key, (words, _) in PERIODS.items())
    )
    return page(
        request, "protect_policies/passlist_new.html", title="Let something be", view=view,
        principal=work.principal, tenant=work.tenant, status_code=422 if wrong else 200,
    )  # fmt: skip


def _lines(form: Form, name: str) -> list[str]:
    text = form.raw(name).replace("\r", "")
    if name != "parameters":
        text = text.replace(",", "\n")
    return [line.strip() for line in text.split("\n") if line.strip()]


def _is_entry_id(text: str) -> bool:
    return text.startswith("pass-") and len(text) == 17 and text[5:].isalnum() and text.isascii()


def _until(form: Form, now: datetime, period: str) -> datetime | None:
    span = PERIODS.get(period, ("", None))[1]
    if span is None:
        return None
    try:
        kept = datetime.fromisoformat(f"{form.text('until')}+00:00")
    except ValueError:
        kept = None
    return kept if kept is not None and now < kept <= now + span else (now + span).replace(microsecond=0)


# Block page -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BlockPageRow:
    """A block page that is in force."""

    where: str
    words: str
    service: str
    env: str
    by: str
    at: Moment
    delivered: Delivered
    config_href: str
    is_ours: bool


@dataclass(frozen=True, slots=True)
class BlockPagePage:
    """What blocked visitors get, and the form for it.

    Attributes:
        seen: What they would see with what the form says now.
    """

    rows: tuple[BlockPageRow, ...]
    fields: Mapping[str, str]
    wrong: Mapping[str, str]
    services: tuple[str, ...]
    envs: tuple[str, ...]
    statuses: tuple[tuple[str, str], ...]
    seen: tuple[Seen, ...]
    words: str
    may_write: bool


@get("/protect/block-page", opt=SEE, include_in_schema=False)
async def show_block_page(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """What blocked visitors get, by target, and what that looks like."""
    work = Policies(plane, tenant, principal)
    form = query(request)
    if "status" not in form.fields:
        try:
            present = await block_page.of_target(work, target_of(form)) or block_page.DEFAULT
        except InvalidChangeError:
            present = block_page.DEFAULT
        fields = {"status": [str(present.status)], "type": [present.type], "location": [present.location]}
        form = Form({**fields, **form.fields})
    return await _block_page(request, work, form)


@get("/live/protect/block-page", opt=SEE, include_in_schema=False)
async def live_block_page(principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching) -> Stream:
    """The block pages in force, as they change and arrive."""
    work = Policies(plane, tenant, principal)
    pages = macro("protect_policies/_lists.html", "pages")
    return await live(
        viewers, work, lambda: block_page.listed(work),
        lambda found, uptakes: {"pages": pages(_pages(found, uptakes), may_write(work))},
    )  # fmt: skip


def _pages(found: Sequence[block_page.Listed], uptakes: Mapping[str, Uptake]) -> tuple[BlockPageRow, ...]:
    return tuple(
        BlockPageRow(
            policy.where(one.target), one.page.words, ", ".join(one.target.service),
            ", ".join(one.target.env), one.row.updated_by, moment(one.row.updated_ms / 1000),
            delivered(uptakes, one.row.config_id), f"/configs/{one.row.config_id}", one.is_ours,
        )
        for one in found
    )  # fmt: skip


@post("/protect/block-page", opt=WRITE, status_code=200, include_in_schema=False)
async def set_block_page(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Show what a page would be, then put it in force; or leave it to the tracers again."""
    work = Policies(plane, tenant, principal)
    form = await forms.read(request)
    if form.text("do") in ("edit", "preview"):
        return await _block_page(request, work, form)
    is_reset = form.flag("reset")
    try:
        wanted = None if is_reset else _page_of(form)
        target = target_of(form)

        async def make() -> Plan:
            return await block_page.setting(work, wanted, target, reason=form.text("reason"))

        names = ("status", "type", "location", "service", "env", "reason", "reset")
        return await decide(
            request, work, form, make, title="What blocked visitors get", path="/protect/block-page",
            back="/protect/block-page", crumb="Block page", can_edit=not is_reset,
            carried=[(name, form.raw(name)) for name in names],
        )  # fmt: skip
    except InvalidChangeError as error:
        fields = ("status", "type", "location", "service", "env", "target")
        return await _block_page(request, work, form, wrong=wrong_of(error, fields, "all"))
    except NotPermittedError as error:
        return await _block_page(request, work, form, wrong={"service": error.public})


def _page_of(form: Form) -> block_page.Page:
    text = form.text("status")
    status = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    return block_page.checked(status=status, kind=form.text("type"), location=form.text("location"))


async def _block_page(
    request: Asked, work: Policies, form: Form, *, wrong: Mapping[str, str] | None = None
) -> Response[Any]:
    services, envs = await known_targets(work)
    try:
        shown: block_page.Page | None = _page_of(form)
    except InvalidChangeError as error:
        shown = None
        wrong = wrong or wrong_of(error, ("status", "type", "location"), "all")
    names = ("status", "type", "location", "service", "env", "reason")
    view = BlockPagePage(
        rows=_pages(await block_page.listed(work), await deliveries(work)),
        fields={name: ", ".join(form.all(name)) for name in names},
        wrong=wrong or {},
        services=services,
        envs=envs,
        statuses=tuple((str(code), f"{code} {words}") for code, words in block_page.STATUSES.items()),
        seen=() if shown is None else block_page.seen(shown),
        words="" if shown is None else shown.words,
        may_write=may_write(work),
    )
    return page(
        request, "protect_policies/block_page.html", title="Block page", view=view,
        principal=work.principal, tenant=work.tenant, status_code=422 if wrong else 200,
    )  # fmt: skip


HANDLERS = [
    show_policies, live_policies, show_passlist, live_passlist, show_new_entry, add_entry, remove_entry,
    show_block_page, live_block_page, set_block_page,
]  # fmt: skip
