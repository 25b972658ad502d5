"""One security trace: what was asked, by whom, what the engine saw in it, and what can be done about it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlencode, urlsplit

import sqlalchemy as sa
from litestar import Request, Response, get
from litestar.params import FromPath

from sealwire.server.access import Principal
from sealwire.server.api import security_traces as api
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.protect import passlist
from sealwire.server.security import stacks as exploit_stacks
from sealwire.server.security.facets import FACETS
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.security.search import HOUR_MS, load_one, related
from sealwire.server.security.stacks import Stack
from sealwire.server.store import security as store
from sealwire.server.store.security import Bar, Found, SignalFilter, SignalRow
from sealwire.server.tenant import Tenant
from sealwire.server.ui import security_traces_query as clicked
from sealwire.server.ui import timeline
from sealwire.server.ui.protect_policies_review import TO_WRITE
from sealwire.server.ui.render import client_href, has_page, moment, page
from sealwire.server.ui.security_signal_words import SEVERITIES
from sealwire.server.ui.security_traces_words import (
    badges,
    curl,
    elsewhere,
    kind_words,
    pieces,
    qualified,
    status_tone,
    visible,
)
from sealwire.server.ui.timeline import Timeline
from sealwire.server.ui.views import Link, Moment, Status
from sealwire.wire.security import Event, Match, Parameter, Trigger

Asked: TypeAlias = Request[Any, Any, Any]
READ: Final = {"permission": "security_monitoring_signals_read"}
PATH: Final = "/security/traces"
RULE_PATH: Final = "/protect/rules/new"
PASS_PATH: Final = "/protect/passlist/new"
MAX_PASSED: Final = 10  # rules that are named to be let be
MAX_SIGNALS: Final = 200  # that are looked through for this trace
SHOWN_SPANS: Final = 20


@dataclass(frozen=True, slots=True)
class Known:
    """Something that is known of who asked, and where it leads."""

    label: str
    value: str
    search_href: str | None
    block_href: str | None
    block_words: str


@dataclass(frozen=True, slots=True)
class MatchView:
    """Where in the request a condition held.

    Attributes:
        pieces: The value, each piece with whether it matched.
        elsewhere: What matched and does not stand in the value as it is.
    """

    operator: str
    wanted: str
    address: str
    path: str
    name: str
    pieces: tuple[tuple[str, bool], ...]
    elsewhere: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TriggerView:
    """A rule of the engine that matched."""

    rule_id: str
    name: str
    kind: str
    status: Status
    search_href: str | None
    tags: tuple[tuple[str, str], ...]
    did: str
    response_id: str
    matches: tuple[MatchView, ...]
    stack: Stack | None


@dataclass(frozen=True, slots=True)
class EventView:
    """A business event, and what the application said about it."""

    status: Status
    name: str
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SpanView:
    """One request of the trace: in one service."""

    key: str
    title: str
    service: str
    env: str
    at: Moment
    badges: tuple[Status, ...]
    outcome: Status | None
    method: str
    target: str
    status: int
    status_tone: str
    blocked: bool
    request: tuple[tuple[str, str], ...]
    known: tuple[Known, ...]
    triggers: tuple[TriggerView, ...]
    events: tuple[EventView, ...]
    stacks: tuple[Stack, ...]
    versions: tuple[tuple[str, str], ...]
    clients: tuple[Link, ...]
    curl: str


@dataclass(frozen=True, slots=True)
class SignalLink:
    """A signal that has this trace among its samples."""

    status: Status
    title: str
    href: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class TracePage:
    """The page.

    Attributes:
        blocks: What can be blocked: words and address; nothing for who may not.
        others: Requests of the last day from the same address, besides this one.
        pass_href: Where what was found can be let be; None for who may not, and where nothing was.
        rule_href: Where a rule is made of it, and tried on it; None for who may not write any.
    """

    trace_id: str
    title: str
    spans: tuple[SpanView, ...]
    more_spans: int
    blocks: tuple[tuple[str, str], ...]
    ip: str
    chart: Timeline | None
    others: int
    others_href: str | None
    signals: tuple[SignalLink, ...]
    pass_href: str | None
    rule_href: str | None


@get(f"{PATH}/{{trace_id:str}}", opt=READ, include_in_schema=False)
async def show_trace(
    request: Asked, trace_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """One trace."""
    view = await _view(plane, tenant, principal, trace_id)
    return page(
        request, "security_traces/trace.html", title=f"Trace {view.trace_id[:8]}", view=view,
        principal=principal, tenant=tenant,
    )  # fmt: skip


HANDLERS = [show_trace]


async def _view(plane: ControlPlane, tenant: Tenant, principal: Principal, trace_id: str) -> TracePage:
    org_id, now_ms = tenant.organisation.org_id, plane.now_ms()
    begin, end, number = timeline.aligned(now_ms - 24 * HOUR_MS, now_ms + 1)

    def look(c: sa.Connection) -> tuple[list[Found], dict[int, tuple[Stack, ...]], list[SignalRow]]:
        found = load_one(c, org_id, trace_id)
        stacks = {
            one.row_id: exploit_stacks.read(store.stacks(c, org_id, one.row_id))
            for one in found[:SHOWN_SPANS]
        }
        since = SignalFilter(since_ms=int(min(one.row.ts for one in found) * 1000))
        near = store.signals(c, org_id, since, limit=MAX_SIGNALS)
        return found, stacks, [each for each in near if trace_id in each.signal.samples]

    found, stacks, signals = await api.reading(plane, look)
    ip = next((one.row.actor_ip for one in found if one.row.actor_ip), "")
    bars: list[Bar] = []
    if ip:
        node = related(ip)
        bars = await asyncio.to_thread(_bars, plane, org_id, node, begin, end, number)
    searched = clicked.only(FACETS["@http.client_ip"], ip) if ip else None
    chart = None
    if bars:
        chart = timeline.timeline(
            bars, step_ms=(end - begin) // number, href=lambda since, until: _range(searched, since, until)
        )
    own = sum(one.row.actor_ip == ip and one.row.ts * 1000 >= begin for one in found)
    first = found[0].row
    may_write = all(principal.may(permission) for permission in TO_WRITE)
    return TracePage(
        trace_id=trace_id,
        title=" ".join(part for part in (visible(first.method, 16), visible(first.target, 200)) if part),
        spans=tuple(_span(one, stacks[one.row_id], trace_id, principal) for one in found[:SHOWN_SPANS]),
        more_spans=max(0, len(found) - SHOWN_SPANS),
        blocks=_blocks(found, trace_id) if principal.may("appsec_protect_write") else (),
        ip=visible(ip, 64),
        chart=chart,
        others=0 if chart is None else max(0, chart.total - own),
        others_href=None if searched is None else _search(searched, range="1d"),
        signals=tuple(_signal(row) for row in signals) if has_page("/security/signals") else (),
        pass_href=_pass(found) if may_write else None,
        rule_href=f"{RULE_PATH}?{urlencode({'trace': trace_id})}" if may_write else None,
    )


def _bars(plane: ControlPlane, org_id: int, node: Any, begin: int, end: int, number: int) -> list[Bar]:
    with plane.database.read() as c:
        return store.histogram(c, org_id, node, since_ms=begin, until_ms=end, bars=number)


def _search(text: str, **more: str) -> str:
    return f"{PATH}?{urlencode({'q': text, **more}, safe=':,@*()/')}"


def _range(text: str | None, since_ms: int, until_ms: int) -> str:
    return "" if text is None else _search(text, **{"from": str(since_ms), "to": str(until_ms)})


def _for(facet: str, value: str) -> str | None:
    """The search for a value of a facet, over a week."""
    text = clicked.only(FACETS[facet], value) if value else None
    return None if text is None else _search(text, range="7d")


# Blocking -----------------------------------------------------------------------------------------------


def _blocks(found: list[Found], trace_id: str) -> tuple[tuple[str, str], ...]:
    """What somebody may want to block after looking at this."""
    ips = dict.fromkeys(one.row.actor_ip for one in found if _is_address(one.row.actor_ip))
    users = dict.fromkeys(one.row.user_id for one in found if one.row.user_id)
    return (
        *((f"Block {visible(ip, 64)}", _block("ip", ip, trace_id)) for ip in ips),
        *(
            ("Block suspicious requests from this IP", _block("suspicious", ip, trace_id))
            for ip in list(ips)[:1]
        ),
        *((f"Block user {visible(user, 40)}", _block("user", user, trace_id)) for user in users),
    )


def _block(kind: str, value: str, trace_id: str) -> str:
    asked = {"kind": kind, "values": value, "source": f"trace:{trace_id}", "next": f"{PATH}/{trace_id}"}
    return f"/protect/block?{urlencode(asked)}"


def _pass(found: list[Found]) -> str | None:
    """The form to let be what was found here: from this address, at this path, by these rules, here only."""
    row = next((one.row for one in found if one.row.triggers), None)
    rules = [] if row is None else _rules(row)
    if row is None or not rules:
        return None  # nothing but the denylist had a say
    asked = [("rules", rule) for rule in rules[:MAX_PASSED]]
    if _is_address(row.actor_ip):
        asked.append(("addresses", row.actor_ip))
    path = _path(row)
    if path:
        asked.append(("paths", path))
    asked += [(name, value) for name, value in (("service", row.service), ("env", row.env)) if value]
    return f"{PASS_PATH}?{urlencode(asked)}"


def _rules(row: SecurityTrace) -> list[str]:
    named = (one.rule_id for one in row.triggers if one.category != "security_response")
    return list(dict.fromkeys(filter(None, named)))


def _path(row: SecurityTrace) -> str:
    """The path of a request as the passlist takes it; empty where it takes none such."""
    try:
        path = unquote(urlsplit(row.url).path)
    except ValueError:
        return ""
    return "" if "*" in path or passlist.path_is_wrong(path) else path


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# One request ----------------------------------------------------------------------------------------------


def _span(found: Found, stacks: tuple[Stack, ...], trace_id: str, principal: Principal) -> SpanView:
    row = found.row
    by_id = {stack.stack_id: stack for stack in stacks}
    triggers = tuple(_trigger(one, by_id) for one in row.triggers)
    linked = {view.stack.stack_id for view in triggers if view.stack is not None}
    return SpanView(
        key=f"span-{found.row_id}",
        title=" · ".join(visible(part, 100) for part in (row.service, row.env) if part) or "(no service)",
        service=visible(row.service, 100),
        env=visible(row.env, 100),
        at=moment(row.ts),
        badges=badges(row),
        outcome=qualified(row.qualification),
        method=visible(row.method, 16),
        target=visible(row.target, 200),
        status=row.status,
        status_tone=status_tone(row.status),
        blocked=row.blocked,
        request=_request(row),
        known=_known(row, trace_id, principal),
        triggers=triggers,
        events=tuple(_event(one) for one in row.events),
        stacks=tuple(stack for stack in stacks if stack.stack_id not in linked),
        versions=_pairs(
            ("Language", row.lang),
            ("Tracer", row.tracer_version),
            ("Engine", f"libddwaf {row.waf_version}" if row.waf_version else ""),
            ("Rules", row.rules_version),
            ("Application", row.version),
            ("Host", row.host),
            ("Process", row.runtime_id),
        ),
        clients=_clients(row),
        curl="\n".join(visible(line, 4_000) for line in curl(row).split("\n")),
    )


def _pairs(*given: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((label, visible(value)) for label, value in given if value)


def _request(row: SecurityTrace) -> tuple[tuple[str, str], ...]:
    skewed = "; the sender's clock was off, this is the time of receipt" if row.skewed else ""
    return _pairs(
        ("URL", row.url),
        ("Route", row.route),
        ("Status", str(row.status or "")),
        ("Blocked", "yes" if row.blocked else ""),
        ("Response id", row.security_response_id),
        ("Took", f"{row.duration_ms:,.1f} ms" if row.duration_ms else ""),
        ("Ended", timeline.full(int(row.ts * 1000)) + " UTC" + skewed),
        ("Spans below", ", ".join(row.touches)),
        ("Tools", ", ".join(row.tools)),
    )


def _known(row: SecurityTrace, trace_id: str, principal: Principal) -> tuple[Known, ...]:
    may_block = principal.may("appsec_protect_write")
    found = []
    for label, facet, value, kind, words in (
        ("IP address", "@http.client_ip", row.actor_ip, "ip" if _is_address(row.actor_ip) else "", "Block"),
        ("Connected from", "@network.client.ip", row.peer_ip, "", ""),
        ("User", "@usr.id", row.user_id, "user", "Block"),
        ("Signed in as", "@usr.login", row.user_login, "", ""),
        ("Session", "@usr.session_id", row.session_id, "", ""),
        ("User agent", "@http.useragent", row.user_agent, "", ""),
        ("Endpoint fingerprint", "@appsec.fp.endpoint", row.fp_endpoint, "", ""),
        ("Header fingerprint", "@appsec.fp.header", row.fp_header, "", ""),
        ("Network fingerprint", "@appsec.fp.network", row.fp_network, "", ""),
        ("Session fingerprint", "@appsec.fp.session", row.fp_session, "", ""),
    ):
        if value:
            href = _block(kind, value, trace_id) if kind and may_block else None
            found.append(Known(label, visible(value, 300), _for(facet, value), href, words))
    return tuple(found)


def _clients(row: SecurityTrace) -> tuple[Link, ...]:
    found = []
    if row.rc_client_id:
        found.append(Link("This tracer", client_href(row.rc_client_id)))
    if row.service and '"' not in row.service:
        asked = f'service:"{row.service}"' + (f' env:"{row.env}"' if row.env and '"' not in row.env else "")
        found.append(Link(f"Tracers of {visible(row.service, 60)}", f"/fleet?{urlencode({'q': asked})}"))
    return tuple(found)


def _trigger(trigger: Trigger, stacks: Mapping[str, Stack]) -> TriggerView:
    blocks = trigger.category == "security_response" or bool(trigger.response_id)
    exploit = trigger.module == "rasp" or trigger.category == "vulnerability_trigger"
    words = kind_words(trigger.type or "unknown")
    if exploit:
        status = Status(f"Exploit: {words}", "bad", "zap")
    elif trigger.category == "security_response":
        status = Status(words, "ok", "ban")
    else:
        status = Status(words, "bad", "shield-alert")
    tags = sorted((name, value) for name, value in trigger.tags.items() if name not in ("type",))
    return TriggerView(
        rule_id=visible(trigger.rule_id, 200),
        name=visible(trigger.name or trigger.rule_id, 200),
        kind=words,
        status=status,
        search_href=_for("@appsec.rule_id", trigger.rule_id),
        tags=tuple((visible(name, 100), visible(value, 200)) for name, value in tags),
        did="Blocked" if blocks else "Seen",
        response_id=visible(trigger.response_id, 64),
        matches=tuple(
            _match(match, parameter) for match in trigger.matches for parameter in match.parameters
        ),
        stack=stacks.get(trigger.stack_id) if trigger.stack_id else None,
    )


def _match(match: Match, parameter: Parameter) -> MatchView:
    return MatchView(
        visible(match.operator, 60),
        visible(match.operator_value, 300),
        visible(parameter.address, 200),
        " › ".join(visible(part, 100) for part in parameter.key_path),
        visible(parameter.name, 60),
        pieces(parameter.value, parameter.highlight),
        elsewhere(parameter.value, parameter.highlight),
    )


def _event(event: Event) -> EventView:
    from_words = kind_words(event.name)
    tone = "wait" if "failure" in event.name else "info"
    icon = "user-x" if "login.failure" in event.name else "activity"
    return EventView(
        Status(from_words, tone, icon),
        visible(event.name, 200),
        tuple((visible(name, 200), visible(value)) for name, value in sorted(event.tags.items())),
    )


def _signal(row: SignalRow) -> SignalLink:
    signal = row.signal
    severity = SEVERITIES[signal.severity]
    href = f"/security/signals/{signal.id}"
    return SignalLink(severity, visible(signal.title, 200), href, not signal.closed_at)
