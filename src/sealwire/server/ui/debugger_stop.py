"""The kill switch: every probe of a service, an environment or all of them, out of the programs at once.

The page says what would go before it goes. A stop lets no new probe in until somebody lifts it, and what it
paused comes back only if they say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from sealwire.errors import InvalidChangeError, NotPermittedError, Problem
from sealwire.products import wording
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.debugger.authoring.desk import WRITES, ProbeRow, Stop
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.debugger_list import may_make, stop_words
from sealwire.server.ui.debugger_words import KINDS, PATH, kind_words, place_words
from sealwire.server.ui.render import moment, page
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import NEVER, Moment, Status

Asked: TypeAlias = Request[Any, Any, Any]
READ = {"permission": "debugger_read"}
CHANGE = {"permission": WRITES}
STOP: Final = f"{PATH}/stop"
SHOWN: Final = 50
SHOWN_LIFTED: Final = 10
MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Goes:
    """A probe that would go."""

    href: str
    name: str
    kind: Status
    kind_words: str
    place: str
    scope: str
    author: str


@dataclass(frozen=True, slots=True)
class StopLine:
    """A stop; ``lifted`` is when it was, and never while it holds."""

    stop_id: str
    words: str
    reason: str
    by: str
    at: Moment
    count: int
    probes: str
    lifted: Moment
    lifted_by: str


@dataclass(frozen=True, slots=True)
class StopPage:
    """The kill switch.

    Attributes:
        words: What the chosen scope is.
        is_asked: Whether a scope was chosen.
        held: A stop that already holds for just this.
    """

    service: str
    env: str
    words: str
    is_asked: bool
    count: int
    goes: tuple[Goes, ...]
    reason: str
    problems: tuple[Problem, ...]
    wrong: str
    held: bool
    stops: tuple[StopLine, ...]
    lifted: tuple[StopLine, ...]
    services: tuple[str, ...]
    envs: tuple[str, ...]
    may_write: bool


@get(STOP, opt=READ, include_in_schema=False)
async def show_stop(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """What would go, and what is stopped."""
    query = request.query_params
    return await _shown(request, principal, tenant, plane, query.get("service", ""), query.get("env", ""))


@post(STOP, opt=CHANGE, status_code=200, include_in_schema=False)
async def stop_probes(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Stop them."""
    form = await forms.read(request)
    service, env, reason = form.text("service"), form.text("env"), form.text("reason")
    try:
        done = await tenant.probes.stop(principal, service=service, env=env, reason=reason, now=plane.clock())
    except (InvalidChangeError, NotPermittedError) as error:
        problems = error.problems if isinstance(error, InvalidChangeError) else ()
        return await _shown(
            request, principal, tenant, plane, service, env, reason=reason, wrong=error.public,
            problems=problems,
        )  # fmt: skip
    words = wording.counted(done.count, "probe")
    return forms.went(STOP, f"Stopped {stop_words(service, env)}: {words} on the way out of the programs.")


@post(STOP + "/{stop_id:str}/lift", opt=CHANGE, status_code=303, include_in_schema=False)
async def lift_stop(
    request: Asked, stop_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """End a stop, with or without its probes coming back."""
    form = await forms.read(request)
    resume = form.text("do") == "resume"
    try:
        done = await tenant.probes.lift(principal, stop_id, resume=resume, now=plane.clock())
    except InvalidChangeError as error:
        return forms.did_not(STOP, error.public)
    words = wording.counted(done.count, "probe")
    if resume:
        return forms.went(STOP, f"The stop is lifted; {words} active again.")
    return forms.went(STOP, "The stop is lifted. The probes it paused stay paused: resume those you want.")


async def _shown(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    service: str,
    env: str,
    *,
    reason: str = "",
    wrong: str = "",
    problems: tuple[Problem, ...] = (),
) -> Response[str]:
    service, env = service.replace("\0", "").strip()[:200], env.replace("\0", "").strip()[:200]
    is_asked = "service" in request.query_params or request.method == "POST"
    view = await _view(
        tenant, principal, service, env, is_asked=is_asked,
        reason=reason[:MAX_REASON], wrong=wrong, problems=problems,
    )  # fmt: skip
    return page(
        request, "debugger/stop.html", title="Stop probes", view=view, principal=principal, tenant=tenant,
        status_code=422 if wrong else 200,
    )  # fmt: skip


async def _view(
    tenant: Tenant,
    principal: Principal,
    service: str,
    env: str,
    *,
    is_asked: bool,
    reason: str,
    wrong: str,
    problems: tuple[Problem, ...],
) -> StopPage:
    would = await tenant.probes.would_stop(principal, service=service, env=env)
    live = await tenant.probes.list(principal)
    stops = await tenant.probes.stops(principal, over=True)
    holding = [one for one in stops if one.lifted_ms is None]
    return StopPage(
        service=service,
        env=env,
        words=stop_words(service, env),
        is_asked=is_asked,
        count=would.count,
        goes=tuple(
            Goes(
                f"{PATH}/probes/{row.probe_id}",
                visible(row.config.name, 120) or place_words(row.probe),
                KINDS[row.probe.kind],
                kind_words(row.probe),
                place_words(row.probe),
                _scope(row),
                visible(row.config.updated_by, 100),
            )
            for row in would.probes[:SHOWN]
        ),
        reason=reason,
        problems=problems,
        wrong=wrong,
        held=any(one.service == service and one.env == env for one in holding),
        stops=tuple(_line(one) for one in holding),
        lifted=tuple(_line(one) for one in stops if one.lifted_ms is not None)[:SHOWN_LIFTED],
        services=tuple(sorted({row.service for row in live if row.service})),
        envs=tuple(sorted({one for row in live for one in row.envs})),
        may_write=may_make(principal),
    )


def _scope(row: ProbeRow) -> str:
    envs = f" in {', '.join(visible(one, 60) for one in row.envs)}" if row.envs else ""
    return visible(row.service, 80) + envs


def _line(one: Stop) -> StopLine:
    return StopLine(
        stop_id=one.stop_id,
        words=stop_words(one.service, one.env),
        reason=visible(one.reason, MAX_REASON),
        by=visible(one.by, 100),
        at=moment(one.at_ms / 1000),
        count=one.count,
        probes=wording.counted(one.count, "probe"),
        lifted=NEVER if one.lifted_ms is None else moment(one.lifted_ms / 1000),
        lifted_by=visible(one.lifted_by, 100),
    )


def stop_href(service: str, env: str) -> str:
    """The page with a scope chosen."""
    return f"{STOP}?{urlencode({'service': service, 'env': env})}"


HANDLERS = [show_stop, stop_probes, lift_stop]
