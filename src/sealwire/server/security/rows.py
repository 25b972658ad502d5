"""``SecurityTrace``: a request that was attacked, blocked, or told of a business event, as people search it.

Hides how a span spells all that. Every text in a row may be an attacker's: it is cut to a length, freed of
control characters, and stays text. A clock that is off is set right and marked, so that no row lies outside
the time it was received in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from sealwire.wire.security import Event, Trigger, events_of, tags_of, triggers_of
from sealwire.wire.traces import SecuritySpan, Visit, path_of

MAX_AHEAD_S: Final = 5.0  # of a clock, before it counts as wrong
MAX_BEHIND_S: Final = 900.0  # tracers send each second; what is older by the agent's own clock was mistimed
TEXT_CHARS: Final = 200
URL_CHARS: Final = 1_000
MAX_ACTIVITIES: Final = 20
MAX_AGENT_CHARS: Final = 300

# What a rule finds by reaching it, rather than by being asked for it.
_INJECTIONS: Final = frozenset(
    {
        "sql_injection",
        "nosql_injection",
        "command_injection",
        "php_code_injection",
        "js_code_injection",
        "java_code_injection",
        "ldap_injection",
        "lfi",
        "rfi",
        "ssrf",
    }
)
_EXPLOIT: Final = "vulnerability_trigger."
_CONTROLS = re.compile("[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class SecurityTrace(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row.

    Attributes:
        trace_id: 32 hexadecimal digits.
        ts: When the request ended, in seconds since 1970; within what was received when.
        skewed: Whether ``ts`` is the time of receipt because the clock of the sender was off.
        target: The route, or the path where no route took the request.
        actor_ip: Whom the engine took the request to come from.
        peer_ip: Who opened the connection.
        user_id: Of the person who was signed in, or tried to.
        account: ``user_id``, or the name somebody signed in with.
        activities: What happened, such as ``attack_attempt.sql_injection``; lower case, sorted, each
            once.
        rule_types: Of the rules that matched; sorted, each once.
        exploits: Types of the vulnerabilities that were reached.
        tools: Names of the programs that gave themselves away.
        touches: Kinds of spans below, such as ``sql``.
        qualification: ``safe`` (blocked or refused), ``harmful`` (reached what it was for), or empty.
        listed: Whether the address stands on a list of bad ones.
    """

    trace_id: str
    span_id: str
    ts: float
    service: str
    env: str = ""
    version: str = ""
    host: str = ""
    runtime_id: str = ""
    rc_client_id: str = ""
    lang: str = ""
    tracer_version: str = ""
    waf_version: str = ""
    rules_version: str = ""
    method: str = ""
    route: str = ""
    target: str = ""
    url: str = ""
    status: int = 0
    duration_ms: float = 0.0
    user_agent: str = ""
    actor_ip: str = ""
    peer_ip: str = ""
    user_id: str = ""
    user_login: str = ""
    account: str = ""
    session_id: str = ""
    blocked: bool = False
    security_response_id: str = ""
    fp_endpoint: str = ""
    fp_header: str = ""
    fp_network: str = ""
    fp_session: str = ""
    activities: tuple[str, ...] = ()
    rule_ids: tuple[str, ...] = ()
    rule_types: tuple[str, ...] = ()
    exploits: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    qualification: str = ""
    skewed: bool = False
    listed: bool = False
    triggers: tuple[Trigger, ...] = ()
    events: tuple[Event, ...] = ()


def security_trace(
    span: SecuritySpan,
    *,
    seen_at: float,
    host: str = "",
    lang: str = "",
    tracer_version: str = "",
    listed: bool = False,
) -> SecurityTrace | None:
    """The row of a span, or None where nothing in it is worth one.

    Args:
        span: As the agent passed it on, unverified.
        seen_at: When the agent received it, in seconds since 1970.
        host: Where that agent is.
        lang: What the headers of the upload said; as are the next.
        listed: Whether the address stands on a list of bad ones.
    """
    tags = tags_of(span)
    triggers = triggers_of(span, tags)
    events = events_of(tags)
    blocked = tags.get("appsec.blocked") == "true" or any(each.response_id for each in triggers)
    activities = _activities(triggers, events)
    if not activities and not blocked:
        return None
    ts, skewed = _time((span.start_ns + span.duration_ns) / 1e9, seen_at)
    status = _status(tags.get("http.status_code", ""))
    user_id, login = _who(tags, events)
    route = plain(tags.get("http.route") or tags.get("_dd.appsec.normalized_route", ""))
    url = plain(tags.get("http.url", ""), URL_CHARS)
    agent = tags.get("http.useragent") or tags.get("http.request.headers.user-agent", "")
    return SecurityTrace(
        trace_id=plain(span.trace_id, 32),
        span_id=f"{span.span_id & 0xFFFFFFFFFFFFFFFF:016x}",
        ts=ts,
        skewed=skewed,
        service=plain(span.service),
        env=plain(span.env),
        version=plain(span.version),
        host=plain(host),
        runtime_id=plain(span.runtime_id),
        rc_client_id=plain(tags.get("_dd.rc.client_id", ""), 64),
        lang=plain(lang or tags.get("language", ""), 40),
        tracer_version=plain(tracer_version, 40),
        waf_version=plain(tags.get("_dd.appsec.waf.version", ""), 40),
        rules_version=plain(tags.get("_dd.appsec.event_rules.version", ""), 40),
        method=plain(tags.get("http.method", ""), 16),
        route=route,
        target=route if route and status != 404 else plain(path_of(url)),
        url=url,
        status=status,
        duration_ms=round(min(max(span.duration_ns, 0), 10**14) / 1e6, 3),
        user_agent=plain(agent, MAX_AGENT_CHARS),
        actor_ip=plain(tags.get("actor.ip") or tags.get("http.client_ip", ""), 64),
        peer_ip=plain(tags.get("network.client.ip", ""), 64),
        user_id=user_id,
        user_login=login,
        account=user_id or login,
        session_id=plain(tags.get("usr.session_id", "")),
        blocked=blocked,
        security_response_id=next((plain(each.response_id, 64) for each in triggers if each.response_id), ""),
        fp_endpoint=plain(tags.get("_dd.appsec.fp.http.endpoint", "")),
        fp_header=plain(tags.get("_dd.appsec.fp.http.header", "")),
        fp_network=plain(tags.get("_dd.appsec.fp.http.network", "")),
        fp_session=plain(tags.get("_dd.appsec.fp.session", "")),
        activities=activities,
        rule_ids=_each_once(plain(each.rule_id) for each in triggers),
        rule_types=_each_once(plain(each.type) for each in triggers),
        exploits=tuple(each.removeprefix(_EXPLOIT) for each in activities if each.startswith(_EXPLOIT)),
        tools=_each_once(plain(each.tags.get("tool_name", ""), 60) for each in triggers),
        touches=tuple(plain(each, 40) for each in span.touches[:8]),
        qualification=_qualification(triggers, blocked=blocked, status=status),
        listed=listed,
        triggers=triggers,
        events=events,
    )


def visit_row(visit: Visit, *, ts: float, host: str = "") -> SecurityTrace:
    """A row for rules that count requests; of no interest for itself, and not to be kept."""
    return SecurityTrace(
        trace_id="",
        span_id="",
        ts=ts,
        service=plain(visit.service),
        env=plain(visit.env),
        host=plain(host),
        target=plain(visit.target),
        status=_status(visit.status),
        actor_ip=plain(visit.ip, 64),
    )


def plain(text: str, limit: int = TEXT_CHARS) -> str:
    """Text in one line, cut: control characters and those that turn the direction of writing are marked."""
    text = text[:limit]
    return _CONTROLS.sub("\ufffd", text) if not text.isprintable() else text


def _time(ended: float, seen_at: float) -> tuple[float, bool]:
    if seen_at - MAX_BEHIND_S <= ended <= seen_at + MAX_AHEAD_S:
        return min(ended, seen_at), False
    return seen_at, True


def _status(text: str) -> int:
    return int(text) if len(text) == 3 and text.isascii() and text.isdigit() else 0


def _who(tags: Mapping[str, str], events: Iterable[Event]) -> tuple[str, str]:
    """Who was signed in, else who an event says it was about."""
    user_id = tags.get("usr.id") or tags.get("_dd.appsec.usr.id", "")
    login = tags.get("_dd.appsec.usr.login", "")
    for event in events:
        user_id = user_id or event.tags.get("usr.id", "")
        login = login or event.tags.get("usr.login", "")
    return plain(user_id), plain(login)


def _activities(triggers: Iterable[Trigger], events: Iterable[Event]) -> tuple[str, ...]:
    found = {plain(f"{each.category or _usual_category(each)}.{each.type or 'unknown'}") for each in triggers}
    found |= {plain(f"business_logic.{event.name}") for event in events}
    return tuple(sorted(activity.lower() for activity in found)[:MAX_ACTIVITIES])


def _usual_category(trigger: Trigger) -> str:
    return "vulnerability_trigger" if trigger.module == "rasp" else "attack_attempt"


def _qualification(triggers: Iterable[Trigger], *, blocked: bool, status: int) -> str:
    kinds = [each for each in triggers if each.category != "security_response"]
    if blocked or 400 <= status < 500:
        return "safe"
    if any(each.module == "rasp" or each.category == "vulnerability_trigger" for each in kinds):
        return "harmful"
    if status >= 500 and any(each.type in _INJECTIONS for each in kinds):
        return "harmful"
    return ""


def _each_once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if text})[:MAX_ACTIVITIES])
