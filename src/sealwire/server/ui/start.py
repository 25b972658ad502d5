"""First steps: from nothing to an address that is refused, asking for nothing the server can know.

How far somebody has come is read from what is: agents that connected, tracers that ask, App and API
Protection that was acknowledged, somebody who is blocked. So it is right after a reload, for two people at
once, and where everything was there before the page was first seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.response import Stream

from sealwire.errors import InvalidChangeError
from sealwire.server import install
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.install import DEFAULT_KEY_NAME, make_command
from sealwire.server.control_plane import ControlPlane
from sealwire.server.first_steps import HERE
from sealwire.server.fleet.connection import Connection
from sealwire.server.fleet.overview import AgentLine, Fleet
from sealwire.server.protect import in_force as protected
from sealwire.server.store import rows
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.live import Fragments
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.protect import ServiceRow, service_row
from sealwire.server.ui.render import client_href, macro, moment, page
from sealwire.server.ui.views import Moment, Status, connection_status

Asked: TypeAlias = Request[Any, Any, Any]
ENROLL = {"permission": "agent_enroll"}

#: An address nobody has: reserved for examples, and among the visitors of the sample shop.
EXAMPLE = "203.0.113.7"
SHOWN = 3
_KEY_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)

#: Language, what brings the tracer, how an application is started with it.
TRACERS: tuple[tuple[str, str, str], ...] = (
    ("Python", "pip install ddtrace", "ddtrace-run python app.py"),
    ("Node.js", "npm install dd-trace", 'NODE_OPTIONS="--require dd-trace/init" node server.js'),
    (
        "Java",
        "curl -Lo dd-java-agent.jar https://dtdg.co/latest-java-tracer",
        "java -javaagent:dd-java-agent.jar -jar app.jar",
    ),
    ("Go", "go install github.com/DataDog/orchestrion@latest && orchestrion go build -o app .", "./app"),
    (".NET", "", "CORECLR_ENABLE_PROFILING=1 dotnet App.dll"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """An agent or a tracer that is there."""

    status: Status
    name: str
    detail: str
    href: str
    since: Moment


@dataclass(frozen=True, slots=True)
class Made:
    """A command that was just made; shown on this page and nowhere else.

    Attributes:
        line: Holds the API key.
        fingerprint: Of the CA's certificate, as browsers show it; empty without a private CA.
    """

    line: str
    encrypted: bool
    this_machine_only: bool
    key_name: str
    last4: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Step:
    """One of the four; ``is_next`` is the first that is not done."""

    number: int
    title: str
    done: bool
    is_next: bool


@dataclass(frozen=True, slots=True)
class StartPage:
    """All steps.

    Attributes:
        waits_for: Last four characters of the key whose agent is awaited; empty when no command was made.
        arrived: Agents that asked with that key.
        troubled: Agents that ask and are in error.
        services: Those that App and API Protection can be switched for first.
        blocked: The last one who was blocked.
        delivered: Tracers that have the newest denylist, of ``wanted``.
        commands: Language, install, run: with the address of the agent where it is not the usual one.
    """

    steps: tuple[Step, ...]
    made: Made | None
    name: str
    wrong: str
    remote_config: bool
    waits_for: str
    arrived: tuple[Seen, ...]
    agents: tuple[Seen, ...]
    more_agents: int
    troubled: tuple[Seen, ...]
    tracers: tuple[Seen, ...]
    more_tracers: int
    services: tuple[ServiceRow, ...]
    may_switch: bool
    may_block: bool
    blocked: str
    delivered: int
    wanted: int
    block_href: str
    example: str
    commands: tuple[tuple[str, str, str], ...]
    summary: str
    live_href: str

    @property
    def done(self) -> int:
        """How many steps are done."""
        return sum(step.done for step in self.steps)


@get("/start", opt=ENROLL, include_in_schema=False)
async def show_start(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """First steps, as far as somebody has come."""
    view = await _view(plane, tenant, principal, await tenant.overview.look())
    return _page(request, principal, tenant, view)


@post("/start", opt=ENROLL, status_code=200, include_in_schema=False)
async def make(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Make the command; the answer shows it, once."""
    form = await forms.read(request)
    name = form.text("name", DEFAULT_KEY_NAME)
    fleet = await tenant.overview.look()
    try:
        row, command = await make_command(plane, tenant, name=name, by=principal.user)
    except InvalidChangeError as error:
        problem = error.problems[0].message if error.problems else error.public
        view = await _view(plane, tenant, principal, fleet, name=name, wrong=problem)
        return _page(request, principal, tenant, view, status_code=422)
    made = Made(
        command.line, command.encrypted, command.this_machine_only, row.name, row.last4,
        install.ca_fingerprint(plane.ca_pem),
    )  # fmt: skip
    view = await _view(plane, tenant, principal, fleet, made=made, key=row, name=name)
    return _page(request, principal, tenant, view)


@get("/live/start", opt=ENROLL, include_in_schema=False)
async def live_start(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching
) -> Stream:
    """First steps, as they are taken."""
    key_id = request.query_params.get("key", "")
    key = None
    if _KEY_ID.fullmatch(key_id):
        mine = (row for row in plane.access.api_key_rows if row.org_id == tenant.organisation.org_id)
        key = next((row for row in mine if row.key_id == key_id), None)
    parts = {
        name: macro("start/_parts.html", name)
        for name in ("progress", "agent", "tracer", "detection", "block", "announcement")
    }

    async def screen() -> Fragments:
        view = await _view(plane, tenant, principal, await tenant.overview.look(), key=key)
        return {name: part(view) for name, part in parts.items()}

    return await viewers.stream(screen)


def _page(
    request: Asked, principal: Principal, tenant: Tenant, view: StartPage, *, status_code: int = 200
) -> Response[str]:
    return page(
        request, "start/start.html", title="First steps", view=view, principal=principal, tenant=tenant,
        status_code=status_code,
    )  # fmt: skip


async def _view(
    plane: ControlPlane,
    tenant: Tenant,
    principal: Principal,
    fleet: Fleet,
    *,
    made: Made | None = None,
    key: rows.ApiKeyRow | None = None,
    name: str = DEFAULT_KEY_NAME,
    wrong: str = "",
) -> StartPage:
    here = sorted(tenant.uptakes.here(fleet), key=lambda line: -line.first_seen_s)
    services = protected.services(tenant, here)
    # Those that can be switched, and among them what is on already, first.
    services.sort(key=lambda one: (one.switchable == 0 and one.ready == 0, -one.on, -one.ready, -one.clients))
    newest = await protected.newest_block(tenant)
    config_id = tenant.denylists.config_of(newest)[0] if newest is not None else ""
    uptake = tenant.uptakes.of(fleet).get(config_id)
    agents = sorted(fleet.agents, key=lambda line: -line.first_seen_s)
    connected = [line for line in agents if line.state in HERE]
    steps = _steps(
        ("Connect an agent", bool(connected)),
        ("Start an application with a tracer", bool(here)),
        ("Switch on App and API Protection", any(one.acknowledged or one.ready for one in services)),
        ("Block an address", newest is not None),
    )
    asked = {"kind": "ip", "values": EXAMPLE, "span": "1h", "reason": "Trying it out", "next": "/start"}
    awaiting = key.last4 if key is not None else ""
    return StartPage(
        steps=steps,
        made=made,
        name=name,
        wrong=wrong,
        remote_config=tenant.organisation.remote_config,
        waits_for=awaiting,
        arrived=tuple(_with_key(tenant, connected, key))[:SHOWN] if key is not None else (),
        agents=tuple(_agent(line) for line in connected[:SHOWN]),
        more_agents=max(0, len(connected) - SHOWN),
        troubled=tuple(
            _agent(line) for line in agents if line.state in (Connection.ERROR, Connection.UNAUTHORIZED)
        )[:SHOWN],
        tracers=tuple(
            Seen(
                connection_status(line.standing),
                str(line.facts.get("service", "")) or "(no service)",
                f"{line.facts.get('env') or 'no env'} · {line.facts.get('language', '')} "
                f"{line.facts.get('tracer_version', '')} · {line.hostname}",
                client_href(line.client_id),
                moment(line.first_seen_s),
            )
            for line in here[:SHOWN]
        ),
        more_tracers=max(0, len(here) - SHOWN),
        services=tuple(service_row(one, principal, next_path="/start") for one in services[:SHOWN]),
        may_switch=principal.may("appsec_activation_write"),
        may_block=principal.may("appsec_protect_write"),
        blocked=newest.value if newest is not None else "",
        delivered=uptake.acknowledged if uptake is not None else 0,
        wanted=uptake.wanted if uptake is not None else 0,
        block_href=f"/protect/block?{urlencode(asked)}",
        example=EXAMPLE,
        commands=TRACERS,
        summary=f"{sum(step.done for step in steps)} of {len(steps)} steps are done.",
        live_href=f"/live/start?key={key.key_id}" if key is not None else "/live/start",
    )


def _steps(*titled: tuple[str, bool]) -> tuple[Step, ...]:
    upcoming = next((number for number, (_, done) in enumerate(titled, 1) if not done), 0)
    return tuple(
        Step(number, title, done, number == upcoming) for number, (title, done) in enumerate(titled, 1)
    )


def _agent(line: AgentLine) -> Seen:
    ours = next((tag.partition(":")[2] for tag in line.tags if tag.startswith("sealwire_version:")), "")
    detail = line.standing.detail or (f"Sealwire agent {ours}" if ours else f"agent {line.version}")
    query = {"tab": "agents", "q": f'host:"{line.hostname}"'}
    href = f"/fleet?{urlencode(query)}"
    return Seen(connection_status(line.standing), line.hostname, detail, href, moment(line.first_seen_s))


def _with_key(tenant: Tenant, lines: Iterable[AgentLine], key: rows.ApiKeyRow) -> Iterable[Seen]:
    sessions = tenant.distributor.sessions
    for line in lines:
        session = sessions.get(line.agent_id)
        if session is not None and session.key_id == key.key_id:
            yield _agent(line)


HANDLERS = [show_start, make, live_start]
