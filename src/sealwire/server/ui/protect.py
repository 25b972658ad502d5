"""Protect: in which services attacks are looked for; on and off. Forms do what the API's routes do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.response import Redirect, Stream

from sealwire.errors import NotFoundError
from sealwire.products import PRODUCTS
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.protect import target_of
from sealwire.server.authoring import reach
from sealwire.server.fleet.overview import Fleet
from sealwire.server.fleet.support import FEATURES as SUPPORTED
from sealwire.server.fleet.support import LANGUAGES
from sealwire.server.protect import in_force as protected
from sealwire.server.protect.actions import ACTIVATION, FEATURES, Outcome, Protect, Wanted
from sealwire.server.protect.in_force import Service
from sealwire.server.protect.targets import in_words
from sealwire.server.security.activity import BARS, QUIET, STEP_MS, Day
from sealwire.server.security.facets import FACETS
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui import security_traces_query as clicked
from sealwire.server.ui.forms import Form, local_path
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import dom_id, has_page, macro, moment, page
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import NEVER, Link, Moment, Status

if TYPE_CHECKING:
    from sealwire.server.security.observed import Observed

Asked: TypeAlias = Request[Any, Any, Any]
SEE, SWITCH = {"permission": "appsec_protect_read"}, {"permission": "appsec_activation_write"}

#: Since when tracers take the order to look for attacks without a restart; "" where nobody knows.
MINIMUM: tuple[tuple[str, str], ...] = tuple(
    (LANGUAGES[language], minimum.version)
    for feature in SUPPORTED
    if feature.name == "asm_activation"
    for language, minimum in feature.minimum.items()
)
SPARK_WIDTH, SPARK_HEIGHT = 2 * BARS, 18
_MAX_SERVICES = 200


@dataclass(frozen=True, slots=True)
class Switch:
    """What can be done about a service: words, and the page that says what would happen."""

    label: str
    href: str
    is_on: bool


@dataclass(frozen=True, slots=True)
class SparkBar:
    """One bar of a small chart of ``SPARK_WIDTH`` by ``SPARK_HEIGHT``."""

    x: float
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A service in an environment; the three facts of an activation stand apart.

    Attributes:
        tracers: Language and version each, the most used first.
        acknowledged: Of ``requested`` clients; None when nothing is requested.
        ready: Clients that block what they are told to.
        observed: When a trace last said that App and API Protection runs there; ``seen`` says more.
        engine: Version of the engine and of its rules, as last observed; empty: it never was.
        events, blocked: Requests of the last 24 hours; their addresses are None for who may not search.
        spark: Those events over time; empty without any. ``spark_words`` says it.
        next_step: What to do now; None where nothing is to be done.
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
    observed: Moment
    seen: str
    engine: tuple[str, ...]
    events: int
    events_href: str | None
    blocked: int
    blocked_href: str | None
    spark: tuple[SparkBar, ...]
    spark_words: str
    next_step: Link | None
    switch: Switch | None


@dataclass(frozen=True, slots=True)
class ProtectPage:
    """The services.

    Attributes:
        blocked: How many are on the denylist.
    """

    services: tuple[ServiceRow, ...]
    more_services: int
    may_switch: bool
    may_block: bool
    blocked: int
    enforcing: int
    minimum: tuple[tuple[str, str], ...]
    summary: str
    live_href: str


@dataclass(frozen=True, slots=True)
class SwitchPage:
    """What would happen if App and API Protection were switched for a service.

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


# Looking ----------------------------------------------------------------------------------------------


@get("/protect", opt=SEE, include_in_schema=False)
async def show_protect(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """Where attacks are looked for."""
    view = await _view(tenant, principal, await tenant.overview.glance())
    return page(
        request, "protect/protect.html", title="Protect", view=view, principal=principal, tenant=tenant
    )


@get("/live/protect", opt=SEE, include_in_schema=False)
async def live_protect(principal: Asker, tenant: OwnTenant, viewers: Watching) -> Stream:
    """The services, as they change."""
    parts = {
        name: macro("protect/_parts.html", name)
        for name in ("service", "nobody", "announcement", "enforcing", "blocked")
    }

    async def screen() -> Fragments:
        view = await _view(tenant, principal, await tenant.overview.look())
        services = {row.dom_id: parts["service"](row) for row in view.services}
        return {
            "services": Rows('<tbody id="services" role="rowgroup">', services, "</tbody>"),
            **{name: parts[name](view) for name in ("nobody", "announcement", "enforcing", "blocked")},
        }

    return await viewers.stream(screen)


async def _view(tenant: Tenant, principal: Principal, fleet: Fleet) -> ProtectPage:
    await tenant.denylists.settle()
    days = await tenant.activity.days()
    services = [
        service_row(
            one, principal, seen=tenant.detection.observed(one.service, one.env),
            day=days.get((one.service.lower(), one.env.lower()), QUIET),
        )
        for one in protected.services(tenant, tenant.uptakes.here(fleet))
    ]  # fmt: skip
    on = sum(row.wanted > 0 for row in services)
    blocked = len(tenant.denylists.in_force())
    return ProtectPage(
        services=tuple(services[:_MAX_SERVICES]),
        more_services=max(0, len(services) - _MAX_SERVICES),
        may_switch=principal.may("appsec_activation_write"),
        may_block=principal.may("appsec_protect_write"),
        blocked=blocked,
        enforcing=protected.enforcing(tenant, fleet),
        minimum=MINIMUM,
        summary=f"Protection is requested for {on} of {len(services)} services; {blocked} blocked.",
        live_href="/live/protect",
    )


def service_row(
    one: Service,
    principal: Principal,
    *,
    next_path: str = "",
    seen: Observed | None = None,
    day: Day = QUIET,
) -> ServiceRow:
    """A service as the tables show it.

    Args:
        seen: What traces say of it.
        day: What the last 24 hours brought to it.
    """
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
        observed=NEVER if seen is None else moment(seen.last_ms / 1000),
        seen=_seen_in_words(seen),
        engine=_engine(seen),
        events=sum(day.requests),
        events_href=_traces(one, principal),
        blocked=sum(day.blocked),
        blocked_href=_traces(one, principal, "@appsec.blocked:true"),
        spark=_spark(day),
        spark_words=_spark_in_words(day),
        next_step=_next_step(one, is_seen=seen is not None or any(day.requests)),
        switch=switch,
    )


def _seen_in_words(seen: Observed | None) -> str:
    if seen is None:
        return ""
    return f"{seen.requests_1h:,} request{'' if seen.requests_1h == 1 else 's'} in the last hour"


def _engine(seen: Observed | None) -> tuple[str, ...]:
    if seen is None:
        return ()
    named = (("engine", seen.waf_version), ("rules", seen.rules_version))
    return tuple(f"{words} {visible(version, 40)}" for words, version in named if version)


def _traces(one: Service, principal: Principal, *more: str) -> str | None:
    """The search for what the last 24 hours brought to a service; None for who may not."""
    if not one.service or not principal.may("security_monitoring_signals_read"):
        return None
    asked = [("service", one.service), *([("env", one.env)] if one.env else [])]
    terms = [clicked.only(FACETS[name], value) for name, value in asked]
    if None in terms:
        return None
    text = " ".join([*filter(None, terms), *([] if one.env else ["-env:*"]), *more])
    return f"/security/traces?{urlencode({'q': text, 'range': '1d'}, safe=':,@*()/')}"


def _spark(day: Day) -> tuple[SparkBar, ...]:
    highest = max(day.requests)
    found = []
    for number, count in enumerate(day.requests):
        if count:
            height = round(max(1.5, count / highest * SPARK_HEIGHT), 1)
            found.append(SparkBar(2.0 * number, round(SPARK_HEIGHT - height, 1), height))
    return tuple(found)


def _spark_in_words(day: Day) -> str:
    highest = max(day.requests)
    if not highest:
        return ""
    hours = (BARS - 1 - day.requests.index(highest)) * STEP_MS / 3_600_000
    when = "now" if not hours else f"about {hours:g} hour{'' if hours == 1 else 's'} ago"
    return f"Most in half an hour: {highest:,}, {when}"


def _next_step(one: Service, *, is_seen: bool) -> Link | None:
    """What to do about a service now; None where nothing is to be done."""
    clients = "/fleet?" + urlencode({"q": f'service:"{one.service}"'})
    if one.failed:
        return Link("See why", clients)
    if not one.switchable and one.rule is None and not one.ready:
        return Link("Which can?", "/support")
    if one.on and one.acknowledged < one.on:
        return Link("Who has not?", clients)
    if one.on and not is_seen:
        return Link("Send a request", "/security/traces" if has_page("/security/traces") else None)
    if is_seen and one.service and has_page("/security/signals"):
        return Link("Signals", f"/security/signals?{urlencode({'service': one.service})}")
    return None


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


# On and off -------------------------------------------------------------------------------------------


@get("/protect/activation", opt=SWITCH, include_in_schema=False)
async def show_switch(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """What would happen if App and API Protection were switched on or off for a service."""
    return await _switch_page(request, principal, tenant, Form(asked(request)))


@post("/protect/activation", opt=SWITCH, status_code=200, include_in_schema=False)
async def switch(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Switch App and API Protection on or off for a service."""
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
    return went(form, outcome, "/protect")


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
        request, "protect/switch.html", title=f"App and API Protection for {view.service}", view=view,
        principal=principal, tenant=tenant, status_code=status_code,
    )  # fmt: skip


async def _switch(tenant: Tenant, form: Form, *, wrong: str = "") -> SwitchPage:
    service, env, wanted = form.text("service"), form.text("env"), form.text("wanted")
    if not service or wanted not in ("on", "off", "unset"):
        raise NotFoundError("Name a service, and whether App and API Protection shall be on or off there.")
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
        next_path=next_of(form, "/protect"),
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


# Both -------------------------------------------------------------------------------------------------


def asked(request: Asked) -> dict[str, list[str]]:
    """The fields of an address, as a form has them."""
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(str(value))
    return found


def next_of(form: Form, default: str) -> str:
    """Where a form goes on to: a page of this server."""
    path = local_path(form.text("next", default))
    return default if path == "/" else path


def went(form: Form, outcome: Outcome, default: str) -> Redirect:
    """Go on, and say what was done."""
    return forms.went(
        next_of(form, default), " ".join([outcome.sentence, *(note.words for note in outcome.notes)])
    )


HANDLERS = [show_protect, live_protect, show_switch, switch]
