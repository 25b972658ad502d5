"""What signals say, in words and shapes: severities, states, the groups they stand for, ways to their traces.

Everything of a signal may be an attacker's text: it goes through ``visible`` before it is shown, and is
quoted before it becomes part of a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from sealwire.server.security import triage
from sealwire.server.security.rules import Severity
from sealwire.server.security.signals import ELSEWHERE, Signal
from sealwire.server.store.security import SignalRow
from sealwire.server.ui.render import moment
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import Status

LINK_CHARS: Final = 1_500

SEVERITIES: Final[Mapping[Severity, Status]] = MappingProxyType(
    {
        Severity.CRITICAL: Status("Critical", "bad", "circle-alert"),
        Severity.HIGH: Status("High", "bad", "triangle-alert"),
        Severity.MEDIUM: Status("Medium", "wait", "shield-alert"),
        Severity.LOW: Status("Low", "info", "flag"),
        Severity.INFO: Status("Info", "mute", "info"),
    }
)
_TRIAGE: Final[Mapping[str, Status]] = MappingProxyType(
    {
        triage.OPEN: Status("Open", "wait", "inbox"),
        triage.UNDER_REVIEW: Status("Under review", "info", "eye"),
        triage.ARCHIVED: Status("Archived", "mute", "circle-check"),
    }
)
_FACETS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "service": "service",
        "env": "environment",
        "@http.client_ip": "address",
        "@network.client.ip": "peer",
        "@usr.account": "account",
        "@usr.id": "user",
        "@usr.login": "login",
        "@appsec.exploit": "kind",
        "@appsec.type": "kind",
        "@http.route": "route",
        "@http.target": "target",
    }
)


def severity_named(name: str) -> Severity | None:
    """``high`` as a severity; None if it is none."""
    return Severity.__members__.get(name.upper())


def going(signal: Signal) -> Status:
    """Whether it still grows."""
    if signal.closed_at:
        why = visible(signal.closed_because, 100)
        return Status("Ended", "mute", "circle-check", "" if why == "ended" else why)
    return Status("Going on", "wait", "activity")


def triage_status(row: SignalRow) -> Status:
    """How far people are with it."""
    shown = _TRIAGE.get(row.triage, _TRIAGE[triage.OPEN])
    reason = triage.REASONS.get(row.archive_reason, "")
    return Status(shown.word, shown.tone, shown.icon, reason)


def rule_name(signal: Signal) -> str:
    """The name of the rule as it was when the signal opened."""
    parts = ["many" if part == ELSEWHERE else part for part in signal.group.values()]
    return visible(signal.title.removesuffix("".join(f" · {part}" for part in parts)) or signal.rule_id, 200)


def group_words(signal: Signal, *, but: str = "") -> tuple[tuple[str, str], ...]:
    """What it stands for: ``("address", "198.51.100.7")`` each."""
    return tuple(
        (_FACETS.get(name, name.removeprefix("@")), "many" if value == ELSEWHERE else visible(value, 100))
        for name, value in signal.group.items()
        if name != but
    )


def service_of(signal: Signal) -> str:
    """The service it is about; several are counted."""
    service = signal.group.get("service", "")
    if not service or service == ELSEWHERE:
        names = list(signal.services)
        return visible(names[0], 60) if len(names) == 1 else f"{len(names)} services" if names else ""
    return visible(service, 60)


def quoted(value: str) -> str:
    """A value as a query takes it, whatever is in it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def term(facet: str, value: str) -> str:
    """``@http.client_ip:"198.51.100.7"``."""
    return f"{facet}:{quoted(value)}"


def traces_href(query: str, signal: Signal | None = None) -> str:
    """The search for traces, from the first of a signal to its last."""
    found = {"q": query}
    if signal is not None:
        found["from"] = _iso(signal.first_seen - 60)
        found["to"] = _iso(signal.last_seen + 60)
    return f"/security/traces?{urlencode(found)}"[:LINK_CHARS]


def group_query(signal: Signal) -> str:
    """The traces of its group."""
    return " ".join(term(name, value) for name, value in signal.group.items() if value != ELSEWHERE)


def _iso(at_s: float) -> str:
    return moment(max(1.0, at_s)).iso


def percent(part: int, whole: int) -> str:
    """A share, never 0 % for something nor 100 % for less than all."""
    if not whole or not part:
        return "0 %"
    if part == whole:
        return "100 %"
    return f"{min(99, max(1, round(100 * part / whole)))} %"
