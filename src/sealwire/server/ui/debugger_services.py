"""Services of the fleet: where Dynamic Instrumentation is on and by what, what is known of code; switches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.response import Redirect, Stream

from sealwire.errors import ConflictError, InvalidChangeError, NotPermittedError
from sealwire.products import wording
from sealwire.server.access import Principal
from sealwire.server.api import debugger_services as api
from sealwire.server.api.fleet import in_force
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.debugger.authoring import services as running
from sealwire.server.debugger.authoring.services import SENDS_SYMBOLS, Running, Service
from sealwire.server.debugger.code.symbols import SymbolsSummary
from sealwire.server.fleet.effective import InForce
from sealwire.server.fleet.overview import Fleet
from sealwire.server.fleet.support import FEATURES, LANGUAGES
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import config_link, dom_id, macro, moment, page
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import Link, Moment, Status

Asked: TypeAlias = Request[Any, Any, Any]
READ: Final = {"permission": "debugger_read"}
PATH: Final = "/debugger/services"
_TO_SWITCH: Final = ("apm_remote_configuration_write", "rc_config_publish")
_MAX_SERVICES: Final = 200
_MAX_SAMPLES: Final = 60  # clients that are asked for their settings
_SAMPLED_FOR_S: Final = 15.0

_STATES: Final[Mapping[Running, Status]] = {
    Running.ON: Status("On", "ok", "circle-check"),
    Running.PARTLY: Status("In part", "wait", "triangle-alert"),
    Running.COMING: Status("Switching on", "wait", "refresh-cw"),
    Running.OFF: Status("Off", "mute", "circle-dashed"),
    Running.UNABLE: Status("Not from here", "mute", "ban"),
}


@dataclass(frozen=True, slots=True)
class SwitchView:
    """A button: what it says, and what its form sends."""

    label: str
    what: str
    is_on: bool


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A service in an environment.

    Attributes:
        by: What decides whether it is on.
        needs: What must be done at applications; empty where nothing must.
        symbols: What is known of it in words.
        config: The one that says so; ``symbols_config`` the one that asks for symbols.
    """

    dom_id: str
    service: str
    env: str
    status: Status
    counts: str
    tracers: tuple[str, ...]
    by: str
    config: Link | None
    needs: tuple[str, ...]
    symbols: str
    symbols_more: str
    symbols_at: Moment
    symbols_config: Link | None
    fleet_href: str
    new_href: str | None
    switches: tuple[SwitchView, ...]


@dataclass(frozen=True, slots=True)
class ServicesPage:
    """The services.

    Attributes:
        minimum: Since when a tracer takes the order: language, version or empty.
        variable: What switches it on where it cannot be done from here.
    """

    services: tuple[ServiceRow, ...]
    more: int
    may_switch: bool
    minimum: tuple[tuple[str, str], ...]
    variable: str
    symbols_variable: str
    summary: str
    live_href: str


@get(PATH, opt=READ, include_in_schema=False)
async def show_services(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """Where Dynamic Instrumentation runs."""
    view = await _Screen(tenant, principal).view(await tenant.overview.glance())
    return page(
        request, "debugger_services/services.html", title="Dynamic Instrumentation: services", view=view,
        principal=principal, tenant=tenant,
    )  # fmt: skip


@get("/live/debugger/services", opt=READ, include_in_schema=False)
async def live_services(principal: Asker, tenant: OwnTenant, viewers: Watching) -> Stream:
    """The same, as it changes."""
    screen = _Screen(tenant, principal)
    row = macro("debugger_services/_parts.html", "row")
    parts = {name: macro("debugger_services/_parts.html", name) for name in ("nobody", "announcement")}

    async def look() -> Fragments:
        view = await screen.view(await tenant.overview.look())
        rows = {one.dom_id: row(one) for one in view.services}
        return {
            "services": Rows('<tbody id="services" role="rowgroup">', rows, "</tbody>"),
            **{name: part(view) for name, part in parts.items()},
        }

    return await viewers.stream(look)


@post(PATH, opt=api.SWITCH, include_in_schema=False)
async def switch_service(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Redirect:
    """Switch it, or the sending of symbols, for a service in an environment."""
    form = await forms.read(request)
    service, env, is_on = form.text("service"), form.text("env"), form.text("wanted") == "on"
    is_symbols = form.text("what") == "symbols"
    wanted = api.Switch(
        service=service,
        envs=[env] if env else [],
        dynamic_instrumentation=None if is_symbols else is_on,
        symbols=is_on if is_symbols else None,
    )
    try:
        await api.switch(plane, tenant, principal, wanted)
    except (InvalidChangeError, NotPermittedError, ConflictError) as error:
        return forms.did_not(PATH, str(error))
    what = "The sending of symbols" if is_symbols else "Dynamic Instrumentation"
    where = f"{visible(service, 60)}{f' in {visible(env, 40)}' if env else ', every environment'}"
    return forms.went(PATH, f"{what} is told to be {'on' if is_on else 'off'} for {where}.")


HANDLERS = [show_services, live_services, switch_service]


class _Screen:
    """Looked at once or again and again: what tracers tell of their settings is asked for now and then."""

    def __init__(self, tenant: Tenant, principal: Principal) -> None:
        self._tenant = tenant
        self._principal = principal
        self._settings: dict[str, list[InForce] | None] = {}
        self._symbols: dict[tuple[str, str], SymbolsSummary | None] = {}
        self._asked_at = 0.0

    async def view(self, fleet: Fleet) -> ServicesPage:
        """The page now."""
        found = api.services_of(self._tenant, fleet)
        shown = found[:_MAX_SERVICES]
        await self._ask(shown)
        rows = tuple(self._row(one) for one in shown)
        on = sum(one.state is Running.ON for one in found)
        minimum = next(one.minimum for one in FEATURES if one.name == "apm_probes")
        return ServicesPage(
            services=rows,
            more=max(0, len(found) - _MAX_SERVICES),
            may_switch=all(self._principal.may(each) for each in _TO_SWITCH),
            minimum=tuple((LANGUAGES[name], each.version) for name, each in minimum.items()),
            variable=running.VARIABLE,
            symbols_variable=running.SYMBOLS_VARIABLE,
            summary=f"Dynamic Instrumentation is on in {on} of {wording.counted(len(found), 'service')}.",
            live_href="/live/debugger/services",
        )

    async def _ask(self, services: list[Service]) -> None:
        if self._asked_at and time.monotonic() - self._asked_at < _SAMPLED_FOR_S:
            return
        self._asked_at = time.monotonic()
        lines = [one.sample for one in services[:_MAX_SAMPLES] if one.sample is not None]
        told = await asyncio.gather(*(in_force(self._tenant, line, ()) for line in lines))
        self._settings = {
            line.client_id: settings if runtime is not None else None
            for line, (runtime, settings) in zip(lines, told, strict=True)
        }
        known = await asyncio.gather(
            *(self._tenant.symbols.summary(one.service, one.env) for one in services)
        )
        self._symbols = {
            (one.service, one.env): summary for one, summary in zip(services, known, strict=True)
        }

    def _row(self, one: Service) -> ServiceRow:
        settings = self._settings.get(one.sample.client_id) if one.sample is not None else None
        symbols = self._symbols.get((one.service, one.env))
        words, more = _symbols_words(one, symbols)
        has_order = one.switched.dynamic_instrumentation is not None
        switching, asking = one.switched.config_ids[:has_order], one.switched.config_ids[has_order:]
        asked = {"service": one.service, **({"env": one.env} if one.env else {})}
        terms = " ".join(f'{name}:"{value}"' for name, value in asked.items() if '"' not in value)
        may_set = any(
            self._principal.may_change(each, services=[one.service], envs=[one.env] if one.env else [])
            for each in ("debugger_write", "debugger_write_pre_prod")
        )
        return ServiceRow(
            dom_id=dom_id("service", f"{one.service}\0{one.env}"),
            service=one.service,
            env=one.env,
            status=_STATES[one.state],
            counts=f"{one.running} of {one.clients}",
            tracers=tuple(
                f"{LANGUAGES.get(language, visible(language, 20) or '?')} {visible(version, 30)}"
                + (f" × {count}" if count > 1 else "")
                for (language, version), count in one.tracers.most_common(3)
            ),
            by=running.by_what(one, settings),
            config=config_link(switching[0], "Config for instrumentation") if switching else None,
            needs=running.needs(one),
            symbols=words,
            symbols_more=more,
            symbols_at=moment(None if symbols is None else symbols.uploaded_ms / 1000),
            symbols_config=config_link(asking[0], "Config for symbols") if asking else None,
            fleet_href=f"/fleet?{urlencode({'q': terms})}",
            new_href=f"/debugger/new?{urlencode({**asked, 'language': one.languages[0]})}"
            if may_set and one.service and one.languages
            else None,
            switches=self._switches(one),
        )

    def _switches(self, one: Service) -> tuple[SwitchView, ...]:
        envs = [one.env] if one.env else []
        if not one.service or not all(
            self._principal.may_change(each, services=[one.service], envs=envs) for each in _TO_SWITCH
        ):
            return ()
        found = []
        told = one.switched.dynamic_instrumentation
        if told:
            found.append(SwitchView("Switch off", "di", True))
        elif one.switchable:
            is_running = one.running == one.clients and told is None
            found.append(SwitchView("Switch off" if is_running else "Switch on", "di", is_running))
        if one.switched.symbols:
            found.append(SwitchView("Stop symbols", "symbols", True))
        elif one.symbols:
            found.append(SwitchView("Ask for symbols", "symbols", False))
        return tuple(found)


def _symbols_words(one: Service, known: SymbolsSummary | None) -> tuple[str, str]:
    """What is known of the code, and what else is to be said."""
    if known is not None and known.functions:
        what = f"{wording.counted(known.functions, 'function')} in {wording.counted(known.modules, 'file')}"
        of = f"version {visible(known.version, 40)}" if known.version else ""
        elsewhere = f"of {visible(known.env, 40) or 'no env'}" if known.env != one.env else ""
        return what, ", ".join(filter(None, (of, elsewhere)))
    if one.symbols:
        return "none yet", "on the way" if one.switched.symbols else ""
    if not SENDS_SYMBOLS.intersection(one.languages):
        return "–", "this tracer sends none: type files and lines"
    return "none", "it does not offer them"
