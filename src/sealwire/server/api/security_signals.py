"""Signals by the admin API: found, read whole, decided on, talked about.

Much of an answer is what requests said, and may be an attacker's.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Final, TypedDict

import msgspec
from litestar import get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.security import triage
from sealwire.server.security.rules import Severity
from sealwire.server.security.signals import top
from sealwire.server.store import security as store
from sealwire.server.store.security import Comment, SignalFilter, SignalRow

READ: Final = {"permission": "security_monitoring_signals_read"}
WRITE: Final = {"permission": triage.WRITE}
MAX_PAGE: Final = 200
MAX_LISTED: Final = 100
STATES: Final = ("open", "ended", "all")


class Signal(TypedDict):
    """What a detection rule found for one group.

    Attributes:
        severity: info, low, medium, high or critical; it only rises.
        group: Values of the facets the rule groups by; * stands for many.
        state: open while it may grow, else ended.
        ended_because: Empty while it is open.
        requests: How many were found, and of these how many were blocked.
        attackers: How many addresses; at most 100 are told apart.
        triage: open, under_review or archived.
        archive_reason: Why it is archived; empty if it is not.
        assignee: Whose it is; empty for nobody's.
    """

    id: str
    rule_id: str
    rule_version: int
    title: str
    severity: str
    group: dict[str, str]
    state: str
    first_seen: str
    last_seen: str
    ended_at: str | None
    ended_because: str
    requests: int
    blocked: int
    attackers: int
    triage: str
    archive_reason: str
    assignee: str
    triaged_by: str
    triaged_at: str | None
    comments: int


class SignalPage(TypedDict):
    """A page of signals, last seen first.

    Attributes:
        open: How many are open, by severity.
        next: For the parameter before, to get the page behind; null on the last.
    """

    signals: list[Signal]
    open: dict[str, int]
    next: str | None


class SeenOften(TypedDict):
    """Something that was seen, and in how many requests."""

    value: str
    requests: int


class SeverityRise(TypedDict):
    """When a signal opened or rose, and as what."""

    at: str
    severity: str


class Minute(TypedDict):
    """Requests of one minute."""

    at: str
    requests: int


class SignalCluster(TypedDict):
    """Requests that look as if one program had sent them."""

    user_agent: str
    header_fingerprint: str
    network_fingerprint: str
    requests: int


class WholeSignal(Signal):
    """A signal with all that is known of it.

    Attributes:
        counts: Requests of each query of the rule.
        traces: Ids of some of its traces.
    """

    counts: dict[str, int]
    severities: list[SeverityRise]
    by_minute: list[Minute]
    top_attackers: list[SeenOften]
    users: list[SeenOften]
    services: list[SeenOften]
    endpoints: list[SeenOften]
    tools: list[SeenOften]
    engine_rules: list[SeenOften]
    clusters: list[SignalCluster]
    traces: list[str]


class SignalComment(TypedDict):
    """What somebody said of a signal."""

    id: int
    at: str
    by: str
    text: str


class SignalComments(TypedDict):
    """What was said of a signal, oldest first."""

    comments: list[SignalComment]


class TriagedSignals(TypedDict):
    """Signals that were decided on."""

    signals: list[Signal]


class SignalChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is to become of a signal; what is not given stays."""

    triage: str | None = None
    archive_reason: str | None = None
    assignee: str | None = None


class SignalChanges(SignalChange, forbid_unknown_fields=True, kw_only=True):
    """What is to become of several."""

    ids: list[str]


class NewSignalComment(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Something to say of a signal."""

    text: str


@get("/security/signals", opt=READ)
async def list_signals(
    tenant: OwnTenant,
    plane: Plane,
    going: Annotated[str, QueryParameter(name="state")] = "open",
    triage_state: Annotated[str, QueryParameter(name="triage")] = "",
    severity: FromQuery[list[str] | None] = None,
    service: FromQuery[str] = "",
    rule: FromQuery[str] = "",
    text: FromQuery[str] = "",
    since: FromQuery[str] = "",
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 50,
) -> SignalPage:
    """Signals, last seen first; open ones unless state says ended or all.

    Args:
        since: ISO 8601: last seen then or later.
        before: What a page called next.
    """
    wanted = _filter(going, triage_state, severity or [], service, rule, text, since)
    place = _place(before)

    def load() -> tuple[list[SignalRow], dict[str, int]]:
        with plane.database.read() as c:
            org_id = tenant.organisation.org_id
            found = store.signals(c, org_id, wanted, before=place, limit=limit + 1)
            return found, store.signal_counts(c, org_id, 0)

    found, counts = await asyncio.to_thread(load)
    last = found[limit - 1].signal if len(found) > limit else None
    return {
        "signals": [_signal(row) for row in found[:limit]],
        "open": counts,
        "next": None if last is None else f"{int(last.last_seen * 1000)}.{last.id}",
    }


@post("/security/signals:triage", status_code=200, opt=WRITE)
async def triage_signals(
    data: JSONBody[SignalChanges], tenant: OwnTenant, principal: Asker, plane: Plane
) -> TriagedSignals:
    """Decide the same on several signals: on all of them, or on none."""
    found = await asyncio.to_thread(
        tenant.triage.change, data.ids, _change(data), by=principal, now_ms=plane.now_ms()
    )
    return {"signals": [_signal(row) for row in found]}


@get("/security/signals/{signal_id:str}", opt=READ)
async def get_signal(signal_id: FromPath[str], tenant: OwnTenant) -> WholeSignal:
    """One signal with all that is known of it."""
    row = await asyncio.to_thread(tenant.triage.get, signal_id)
    signal = row.signal
    return {
        **_signal(row),
        "counts": dict(signal.counts),
        "severities": [
            {"at": _time(at_s), "severity": severity.name.lower()} for at_s, severity in signal.severities
        ],
        "by_minute": [
            {"at": _time(minute * 60), "requests": count}
            for minute, count in sorted(signal.by_minute.items())
        ],
        "top_attackers": _most(dict(signal.top_attackers())),
        "users": _most(signal.users),
        "services": _most(signal.services),
        "endpoints": _most(signal.endpoints),
        "tools": _most(signal.tools),
        "engine_rules": _most(signal.rules),
        "clusters": [
            {
                "user_agent": one.user_agent,
                "header_fingerprint": one.fp_header,
                "network_fingerprint": one.fp_network,
                "requests": one.rows,
            }
            for one in signal.shown_clusters()
        ],
        "traces": list(signal.samples),
    }


@patch("/security/signals/{signal_id:str}", opt=WRITE)
async def triage_signal(
    signal_id: FromPath[str], data: JSONBody[SignalChange], tenant: OwnTenant, principal: Asker, plane: Plane
) -> Signal:
    """Decide on a signal: how far it is, why it is archived, whose it is."""
    (row,) = await asyncio.to_thread(
        tenant.triage.change, [signal_id], _change(data), by=principal, now_ms=plane.now_ms()
    )
    return _signal(row)


@get("/security/signals/{signal_id:str}/comments", opt=READ)
async def list_signal_comments(signal_id: FromPath[str], tenant: OwnTenant) -> SignalComments:
    """What was said of a signal."""
    await asyncio.to_thread(tenant.triage.get, signal_id)
    return {"comments": list(map(_comment, await asyncio.to_thread(tenant.triage.comments, signal_id)))}


@post("/security/signals/{signal_id:str}/comments", opt=WRITE)
async def add_signal_comment(
    signal_id: FromPath[str],
    data: JSONBody[NewSignalComment],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> SignalComment:
    """Say something of a signal."""
    made = await asyncio.to_thread(
        tenant.triage.comment, signal_id, data.text, by=principal, now_ms=plane.now_ms()
    )
    return _comment(made)


# Shapes -----------------------------------------------------------------------------------------------


def _filter(
    state: str, triage_state: str, severities: list[str], service: str, rule: str, text: str, since: str
) -> SignalFilter:
    problems = []
    known = [severity.name.lower() for severity in Severity]
    if state not in STATES:
        problems.append(Problem("$.state", f"one of {', '.join(STATES)}"))
    if triage_state and triage_state not in triage.STATES:
        problems.append(Problem("$.triage", f"one of {', '.join(triage.STATES)}"))
    if any(name not in known for name in severities):
        problems.append(Problem("$.severity", f"of {', '.join(known)}"))
    since_ms = 0
    if since:
        try:
            moment = datetime.fromisoformat(since)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment  # wherever this runs
            since_ms = int(moment.timestamp() * 1000)
        except (ValueError, OverflowError, OSError):
            problems.append(Problem("$.since", "a time such as 2026-11-22T12:00:00Z"))
    if problems:
        raise InvalidChangeError("This cannot be asked for.", problems=tuple(problems))
    return SignalFilter(
        state=state, triage=triage_state, severities=tuple(severities), service=service[:200],
        rule_id=rule[:200], text=text[:200], since_ms=max(0, since_ms),
    )  # fmt: skip


def _place(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    number, _, signal_id = text.partition(".")
    if not (number.isascii() and number.isdigit() and len(number) <= 15 and 0 < len(signal_id) <= 16):
        raise InvalidChangeError(
            "This is no place to go on from.", problems=(Problem("$.before", "what a page called next"),)
        )
    return int(number), signal_id.replace("\0", "")


def _change(data: SignalChange) -> triage.Change:
    return triage.Change(
        triage=data.triage, archive_reason=data.archive_reason or None, assignee=data.assignee
    )


def _time(at_s: float) -> str:
    return shapes.time(int(at_s * 1000))


def _most(counted: dict[str, int]) -> list[SeenOften]:
    return [{"value": value, "requests": count} for value, count in top(counted, MAX_LISTED)]


def _comment(said: Comment) -> SignalComment:
    return {"id": said.id, "at": shapes.time(said.at_ms), "by": said.by, "text": said.text}


def _signal(row: SignalRow) -> Signal:
    signal = row.signal
    return {
        "id": signal.id,
        "rule_id": signal.rule_id,
        "rule_version": signal.rule_version,
        "title": signal.title,
        "severity": signal.severity.name.lower(),
        "group": dict(signal.group),
        "state": "ended" if signal.closed_at else "open",
        "first_seen": _time(signal.first_seen),
        "last_seen": _time(signal.last_seen),
        "ended_at": _time(signal.closed_at) if signal.closed_at else None,
        "ended_because": signal.closed_because,
        "requests": signal.events,
        "blocked": signal.blocked,
        "attackers": len(signal.top_attackers()),
        "triage": row.triage,
        "archive_reason": row.archive_reason,
        "assignee": row.assignee,
        "triaged_by": row.triaged_by,
        "triaged_at": shapes.time_or_none(row.triaged_ms),
        "comments": row.comments,
    }


HANDLERS: list[ControllerRouterHandler] = [
    list_signals,
    triage_signals,
    get_signal,
    triage_signal,
    list_signal_comments,
    add_signal_comment,
]
