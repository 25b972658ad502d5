"""Protect: where attacks are looked for, and who is refused. Forms do what the API's routes do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.response import Redirect, Stream

from sealwire.errors import InvalidChangeError, NotFoundError, NotPermittedError
from sealwire.products import PRODUCTS
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.protect import KINDS, NAMES, own_address, target_of
from sealwire.server.authoring import reach
from sealwire.server.control_plane import ControlPlane
from sealwire.server.fleet.overview import Fleet
from sealwire.server.fleet.support import FEATURES as SUPPORTED
from sealwire.server.fleet.support import LANGUAGES
from sealwire.server.fleet.uptake import NOBODY, Uptake
from sealwire.server.protect import in_force as protected
from sealwire.server.protect.actions import ACTIVATION, DENYLIST, FEATURES, Outcome, Protect, Wanted, in_words
from sealwire.server.protect.denylist import Checked, Kind
from sealwire.server.protect.in_force import Listed, Service
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms, tables
from sealwire.server.ui.forms import Form, local_path
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import config_link, dom_id, macro, moment, page
from sealwire.server.ui.tables import Column, Heading
from sealwire.server.ui.views import NEVER, Link, Moment, Status

Asked: TypeAlias = Request[Any, Any, Any]
SEE, BLOCK = {"permission": "appsec_protect_read"}, {"permission": "appsec_protect_write"}
SWITCH = {"permission": "appsec_activation_write"}

#: Value of the form, seconds (None: for ever), words.
SPANS: tuple[tuple[str, int | None, str], ...] = (
    ("15m", 900, "15 minutes"),
    ("1h", 3600, "1 hour"),
    ("1d", 86400, "1 day"),
    ("1w", 604800, "1 week"),
    ("ever", None, "until unblocked"),
)
#: Since when tracers take the order to look for attacks without a restart; "" where nobody knows.
MINIMUM: tuple[tuple[str, str], ...] = tuple(
    (LANGUAGES[language], minimum.version)
    for feature in SUPPORTED
    if feature.name == "asm_activation"
    for language, minimum in feature.minimum.items()
)
_TO_BLOCK = ("appsec_protect_write", "rc_config_publish")
_MAX_SERVICES = 200


@dataclass(frozen=True, slots=True)
class Switch:
    """What can be done about a service: words, and the page that says what would happen."""

    label: str
    href: str
    is_on: bool


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A service in an environment; the three facts of an activation stand apart.

    Attributes:
        tracers: Language and version each, the most used first.
        acknowledged: Of ``requested`` clients; None when nothing is requested.
        ready: Clients that block what they are told to.
        switch: None where it is not this person's to switch, or nobody's.
    """

    dom_id: str
    service: str
    env: str
    status: Status
    tracers: tuple[str, ...]
    clients: int
    requested: str
    requested_at: Moment
    acknowledged: int | None
    wanted: int
    ready: int
    switch: Switch | None


@dataclass(frozen=True, slots=True)
class EntryRow:
    """Somebody who is blocked.

    Attributes:
        until: When it ends; ``NEVER`` is for ever.
        extend_href: The form, filled in; None when they may not.
    """

    dom_id: str
    kind: str
    value: str
    icon: str
    scope: str
    reason: str
    by: str
    created: Moment
    until: Moment
    delivered: int
    wanted: int
    config: Link
    config_id: str
    extend_href: str | None
    may_unblock: bool


@dataclass(frozen=True, slots=True)
class ProtectPage:
    """Both tables."""

    services: tuple[ServiceRow, ...]
    more_services: int
    may_switch: bool
    headings: tuple[Heading, ...]
    rows: tuple[EntryRow, ...]
    shown: int
    total: int
    previous_href: str | None
    next_href: str | None
    query: str
    enforcing: int
    may_block: bool
    minimum: tuple[tuple[str, str], ...]
    summary: str
    live_href: str


@dataclass(frozen=True, slots=True)
class SwitchPage:
    """What would happen if attack detection were switched for a service.

    Attributes:
        wanted: As the form sends it: on, off or unset.
        groups: Who gets it: language, how many.
        cautions: What to know before.
        name: What must be typed to confirm; empty when nothing.
    """

    service: str
    env: str
    where: str
    wanted: str
    count: int
    groups: tuple[tuple[str, int], ...]
    too_old: int
    cautions: tuple[str, ...]
    minimum: tuple[tuple[str, str], ...]
    name: str
    wrong: str
    reason: str
    next_path: str


@dataclass(frozen=True, slots=True)
class BlockPage:
    """The form to block somebody, or the page that asks again.

    Attributes:
        fields: What was typed, by field.
        wrong: What is wrong with a field, by its name.
        risks: Why it may hurt; with any, this is the page that asks again.
        name: What must be typed to confirm.
        affected: Tracers that would refuse: those in the scope that have attack detection on.
        here: All tracers that are here in the scope.
    """

    fields: Mapping[str, str]
    wrong: Mapping[str, str]
    spans: tuple[tuple[str, str], ...]
    services: tuple[str, ...]
    envs: tuple[str, ...]
    risks: tuple[str, ...]
    name: str
    affected: int
    here: int
    is_extending: bool
    next_path: str


# Looking ----------------------------------------------------------------------------------------------


@get("/protect", opt=SEE, include_in_schema=False)
async def show_protect(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Where attacks are looked for, and who is refused."""
    view = await _view(plane, tenant, principal, await tenant.overview.glance(), dict(request.query_params))
    return page(
        request, "protect/protect.html", title="Protect", view=view, principal=principal, tenant=tenant
    )


@get("/live/protect", opt=SEE, include_in_schema=False)
async def live_protect(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching
) -> Stream:
    """Both tables, as they change."""
    query = dict(request.query_params)
    parts = {
        name: macro("protect/_parts.html", name)
        for name in ("service", "entry", "nobody", "nothing", "count", "announcement", "enforcing")
    }

    async def screen() -> Fragments:
        view = await _view(plane, tenant, principal, await tenant.overview.look(), query)
        services = {row.dom_id: parts["service"](row) for row in view.services}
        entries = {row.dom_id: parts["entry"](row) for row in view.rows}
        return {
            "services": Rows('<tbody id="services" role="rowgroup">', services, "</tbody>"),
            "entries": Rows('<tbody id="entries" role="rowgroup">', entries, "</tbody>"),
            **{
                name: parts[name](view)
                for name in ("nobody", "nothing", "count", "announcement", "enforcing")
            },
        }

    return await viewers.stream(screen)


async def _view(
    plane: ControlPlane, tenant: Tenant, principal: Principal, fleet: Fleet, query: Mapping[str, str]
) -> ProtectPage:
    given = {name: query[name] for name in ("q", "sort", "after", "before") if query.get(name)}
    services = [service_row(one, principal) for one in protected.services(tenant, tenant.uptakes.here(fleet))]
    listed = await protected.blocked(plane, tenant)
    text = given.get("q", "").strip().casefold()
    found = [one for one in listed if not text or text in _searched(one)]
    shown = tables.page(
        found, _columns(), identity=_identity, path="/protect", query=given, default_sort="-created"
    )
    uptakes = tenant.uptakes.of(fleet)
    may_block = all(principal.may(permission) for permission in _TO_BLOCK)
    on = sum(row.wanted > 0 for row in services)
    return ProtectPage(
        services=tuple(services[:_MAX_SERVICES]),
        more_services=max(0, len(services) - _MAX_SERVICES),
        may_switch=principal.may("appsec_activation_write"),
        headings=shown.headings,
        rows=tuple(
            _entry_row(
                one,
                uptakes.get(one.config.config_id, NOBODY),
                may_block and _reaches(principal, one.targeting),
            )
            for one in shown.rows
        ),
        shown=len(found),
        total=len(listed),
        previous_href=shown.previous_href,
        next_href=shown.next_href,
        query=given.get("q", ""),
        enforcing=protected.enforcing(tenant, fleet),
        may_block=may_block,
        minimum=MINIMUM,
        summary=f"Attack detection is requested for {on} of {len(services)} services; {len(listed)} blocked.",
        live_href=f"/live/protect?{urlencode(given)}" if given else "/live/protect",
    )


def _searched(one: Listed) -> str:
    origin = one.origin
    return " ".join(
        (
            one.entry.value,
            origin.reason if origin else "",
            origin.by if origin else "",
            in_words(one.targeting),
        )
    ).casefold()


def _identity(one: Listed) -> str:
    return f"{one.config.config_id} {one.kind.name} {one.entry.value}"


def _columns() -> Mapping[str, Column[Listed]]:
    return {
        "value": Column("Blocked", lambda one: one.entry.value),
        "scope": Column("For", lambda one: in_words(one.targeting)),
        "reason": Column("Reason"),
        "by": Column("By", lambda one: one.origin.by if one.origin else ""),
        "created": Column("Since", lambda one: one.origin.created_ms if one.origin else 0, numeric=True),
        "ends": Column("Ends", lambda one: one.entry.until_s or 2**40, numeric=True),
        "delivered": Column("Delivered", numeric=True),
        "do": Column(""),
    }


def service_row(one: Service, principal: Principal, *, next_path: str = "") -> ServiceRow:
    """A service as the tables show it."""
    tracers = tuple(
        f"{language or '?'} {version}{f' × {count}' if count > 1 else ''}"
        for (language, version), count in one.tracers.most_common(4)
    )
    target = {"service": one.service, **({"env": one.env} if one.env else {})}
    services, envs = [one.service], [one.env] if one.env else []
    may = bool(one.service) and all(
        principal.may_change(permission, services=services, envs=envs)
        for permission in ("appsec_activation_write", "rc_config_publish")
    )
    is_on = one.on > one.off
    switch = None
    if may and (one.switchable or one.rule):
        wanted = "off" if is_on else "on"
        asked = {**target, "wanted": wanted, **({"next": next_path} if next_path else {})}
        href = f"/protect/activation?{urlencode(asked)}"
        switch = Switch("Switch off" if is_on else "Switch on", href, is_on)
    rule = one.rule
    return ServiceRow(
        dom_id=dom_id("service", f"{one.service}\0{one.env}"),
        service=one.service,
        env=one.env,
        status=_status(one),
        tracers=tracers,
        clients=one.clients,
        requested="" if rule is None else "on" if is_on else "off",
        requested_at=NEVER if rule is None else moment(rule.at_ms / 1000),
        acknowledged=one.acknowledged if one.on else None,
        wanted=one.on,
        ready=one.ready,
        switch=switch,
    )


def _status(one: Service) -> Status:
    if one.failed:
        return Status("Failed", "bad", "triangle-alert", remedy="Open the service's clients to see why.")
    if one.on and one.acknowledged == one.on == one.clients:
        return Status("On", "ok", "shield-check")
    if one.on:
        return Status("Switching on", "wait", "refresh-cw")
    if one.ready:
        return Status("On by itself", "info", "shield-check", "The application sets DD_APPSEC_ENABLED=true.")
    if one.rule is not None:
        return Status("Told to be off", "mute", "shield-off")
    if not one.switchable:
        return Status(
            "Not from here", "mute", "ban", "It sets DD_APPSEC_ENABLED, or its tracer is too old to ask."
        )
    return Status("Off", "mute", "shield-off")


def _reaches(principal: Principal, target: Targeting) -> bool:
    """Whether they may block and unblock for everything that is aimed at."""
    return all(
        principal.may_change(permission, services=target.service, envs=target.env) for permission in _TO_BLOCK
    )


def _entry_row(one: Listed, uptake: Uptake, may_block: bool) -> EntryRow:
    target = one.targeting.to_dict()
    fields: list[tuple[str, str]] = [("kind", NAMES[one.kind]), ("values", one.entry.value)]
    for name in ("service", "env"):
        values = target.get(name)
        fields += [(name, str(value)) for value in values] if isinstance(values, list) else []
    fields.append(("extend", "1"))
    is_ours = one.config.name == DENYLIST and set(target) <= {"service", "env"}
    origin = one.origin
    is_network = one.kind is Kind.IP and "/" in one.entry.value
    return EntryRow(
        dom_id=dom_id("entry", _identity(one)),
        kind=NAMES[one.kind],
        value=one.entry.value,
        icon="user-x" if one.kind is Kind.USER else "network" if is_network else "ban",
        scope=in_words(one.targeting),
        reason=origin.reason if origin else "",
        by=origin.by if origin else one.config.updated_by,
        created=moment(origin.created_ms / 1000) if origin else NEVER,
        until=NEVER if one.entry.until_s is None else moment(one.entry.until_s),
        delivered=uptake.acknowledged,
        wanted=uptake.wanted,
        config=config_link(one.config.config_id, one.config.name),
        config_id=one.config.config_id,
        extend_href=f"/protect/block?{urlencode(fields)}" if may_block and is_ours else None,
        may_unblock=may_block,
    )


# On and off -------------------------------------------------------------------------------------------


@get("/protect/activation", opt=SWITCH, include_in_schema=False)
async def show_switch(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """What would happen if attack detection were switched on or off for a service."""
    return await _switch_page(request, principal, tenant, Form(_query(request)))


@post("/protect/activation", opt=SWITCH, status_code=200, include_in_schema=False)
async def switch(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Switch attack detection on or off for a service."""
    form = await forms.read(request)
    view = await _switch(tenant, form)
    if view.name and form.text("confirm") != view.name:
        return await _switch_page(
            request, principal, tenant, form, wrong=f"Type {view.name} to confirm.", status_code=422
        )
    target = target_of([view.service], [view.env] if view.env else [])
    outcome = await Protect(plane, tenant, principal).activate(
        target, Wanted(view.wanted), reason=form.text("reason")
    )
    return _went(form, outcome)


async def _switch_page(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    form: Form,
    *,
    wrong: str = "",
    status_code: int = 200,
) -> Response[str]:
    view = await _switch(tenant, form, wrong=wrong)
    return page(
        request, "protect/switch.html", title=f"Attack detection for {view.service}", view=view,
        principal=principal, tenant=tenant, status_code=status_code,
    )  # fmt: skip


async def _switch(tenant: Tenant, form: Form, *, wrong: str = "") -> SwitchPage:
    service, env, wanted = form.text("service"), form.text("env"), form.text("wanted")
    if not service or wanted not in ("on", "off", "unset"):
        raise NotFoundError("Name a service, and whether attack detection shall be on or off there.")
    target = target_of([service], [env] if env else [])
    if wanted == "off" and _is_alone(tenant, target):
        wanted = "unset"  # nothing else says on: taking back what was said is enough
    payload = {"asm": {"enabled": wanted == "on"}}
    found = await reach.live_reach(tenant, PRODUCTS[FEATURES], target, payload=payload)
    return SwitchPage(
        service=service,
        env=env,
        where=in_words(target),
        wanted=wanted,
        count=found.now.count,
        groups=tuple((group.language or "?", group.count) for group in found.now.groups),
        too_old=found.too_old.count,
        cautions=tuple(caution.words for caution in found.cautions if caution.kind != "too_old"),
        minimum=MINIMUM,
        name="" if wanted == "on" else service,
        wrong=wrong,
        reason=form.text("reason"),
        next_path=_next(form),
    )


def _is_alone(tenant: Tenant, target: Targeting) -> bool:
    """Whether the activation for exactly this target is the only one that says on to its clients."""
    saying_on = [
        rule
        for rule in protected.rules(tenant)
        if rule.is_on
        and rule.targeting.may_overlap(target)
        and (rule.targeting != target or rule.name != ACTIVATION)
    ]
    return not saying_on


# Blocking ---------------------------------------------------------------------------------------------


@get("/protect/block", opt=BLOCK, include_in_schema=False)
async def show_block(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """The form to block addresses or users."""
    form = Form(_query(request))
    if not form.all("service") and not form.all("env") and not _reaches(principal, Targeting()):
        form = Form({**form.fields, **_own(principal)})
    return await _block_page(request, principal, tenant, form)


def _own(principal: Principal) -> dict[str, list[str]]:
    """What somebody may block for who may not for everything: the services and environments of a role."""
    grant = next((one for one in principal.grants if set(_TO_BLOCK) <= one.role.permissions), None)
    return {} if grant is None else {"service": sorted(grant.services), "env": sorted(grant.envs)}


@post("/protect/block", opt=BLOCK, status_code=200, include_in_schema=False)
async def block(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Block addresses or users; what may hurt is asked about first."""
    form = await forms.read(request)
    doing = Protect(plane, tenant, principal)
    kind = KINDS.get(form.text("kind"), Kind.IP)
    spans = {name: span_s for name, span_s, _ in SPANS}
    span = form.text("span")
    if span not in spans:
        return await _block_page(request, principal, tenant, form, wrong={"span": "Choose how long."})
    try:
        target = _target(form)
        checked = doing.check(kind, _values(form, kind), own_address=own_address(request))
        risky = [one for one in checked if one.risks]
        if risky and form.text("confirm") != _to_type(risky):
            asked = form.fields.get("confirm") is not None
            return await _block_page(
                request, principal, tenant, form, risky=risky,
                wrong={"confirm": f"Type {_to_type(risky)} to confirm."} if asked else {},
            )  # fmt: skip
        span_s = spans[span]
        outcome = await doing.block(
            kind, checked, until_s=None if span_s is None else doing.now_s + span_s, target=target,
            reason=form.text("reason"),
        )  # fmt: skip
    except InvalidChangeError as error:
        wrong: dict[str, str] = {}
        for problem in error.problems:
            name = next(
                (one for one in ("service", "env", "comment") if f"$.{one}" in problem.path), "values"
            )
            wrong.setdefault("reason" if name == "comment" else name, problem.message)
        return await _block_page(request, principal, tenant, form, wrong=wrong or {"values": error.public})
    except NotPermittedError as error:
        return await _block_page(request, principal, tenant, form, wrong={"service": error.public})
    return _went(form, outcome)


@post("/protect/unblock", opt=BLOCK, status_code=303, include_in_schema=False)
async def unblock(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Redirect:
    """Let somebody in again."""
    form = await forms.read(request)
    kind = KINDS.get(form.text("kind"), Kind.IP)
    try:
        outcome = await Protect(plane, tenant, principal).unblock(
            kind, [form.raw("value")], config_id=form.text("config_id")
        )
    except NotFoundError:
        return forms.went("/protect", "It was unblocked already, or its time was over.")
    return _went(form, outcome)


async def _block_page(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    form: Form,
    *,
    wrong: Mapping[str, str] | None = None,
    risky: Iterable[Checked] = (),
) -> Response[str]:
    fleet = await tenant.overview.glance()
    here = list(tenant.uptakes.here(fleet))
    try:
        target = _target(form)
    except InvalidChangeError:
        target = Targeting()
    within = (
        [line for line in here if target.matches(tenant.overview.facts_of(line))] if target.fields else here
    )
    risks = tuple(risk for one in risky for risk in one.risks)
    fields = {name: form.raw(name) for name in ("values", "reason", "confirm")} | {
        name: ", ".join(form.all(name)) for name in ("service", "env")
    }
    fields |= {"kind": form.text("kind", "ip"), "span": form.text("span", "1h")}
    view = BlockPage(
        fields=fields,
        wrong=wrong or {},
        spans=tuple((name, words) for name, _, words in SPANS),
        services=_names(here, "service"),
        envs=_names(here, "env"),
        risks=risks,
        name=_to_type(risky) if risks else "",
        affected=sum("ASM_DATA" in line.facts.get("products", ()) for line in within),
        here=len(within),
        is_extending=form.flag("extend"),
        next_path=_next(form),
    )
    template = "protect/sure.html" if risks else "protect/block.html"
    status_code = 422 if wrong else 200
    return page(
        request, template, title="Block", view=view, principal=principal, tenant=tenant,
        status_code=status_code,
    )  # fmt: skip


def _names(lines: Iterable[Any], field: str) -> tuple[str, ...]:
    return tuple(sorted({str(line.facts.get(field, "")) for line in lines} - {""}))[:500]


def _to_type(risky: Iterable[Checked]) -> str:
    """What must be typed so that nobody confirms without reading."""
    return next((one.value for one in risky), "")


def _values(form: Form, kind: Kind) -> list[str]:
    text = form.raw("values").replace("\r", "")
    if kind is Kind.USER:
        return [line for line in text.split("\n") if line.strip()]
    return text.replace(",", " ").split()


def _target(form: Form) -> Targeting:
    def listed(name: str) -> list[str]:
        return [one.strip() for text in form.all(name) for one in text.split(",") if one.strip()]

    return target_of(listed("service"), listed("env"))


# Both -------------------------------------------------------------------------------------------------


def _query(request: Asked) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(str(value))
    return found


def _next(form: Form) -> str:
    path = local_path(form.text("next", "/protect"))
    return path if path == "/start" else "/protect"


def _went(form: Form, outcome: Outcome) -> Redirect:
    return forms.went(_next(form), " ".join([outcome.sentence, *(note.words for note in outcome.notes)]))


HANDLERS = [show_protect, live_protect, show_switch, switch, show_block, block, unblock]
