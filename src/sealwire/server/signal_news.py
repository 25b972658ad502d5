"""What webhooks are told of signals: which news a signal is to whom, and in which words. Pure.

A webhook hears of signals from a severity on. To it a signal opens when it first gets that far, rises when it
gets worse from there, and ends if it was told of it at all; so what is told follows from what was told last,
and telling it again after a restart tells nothing.

Texts of a signal are attackers' texts. In the sentence that chats show as it is, what would call people or
make a link there is written with other signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sealwire.clock import written
from sealwire.server.security.rules import Severity
from sealwire.server.security.signals import ELSEWHERE, Signal
from sealwire.server.store.webhooks import WebhookRow

OPENED, ROSE, ENDED = "signal.opened", "signal.rose", "signal.ended"
TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        OPENED: "A signal opened: a detection rule found an attack",
        ROSE: "A signal became worse",
        ENDED: "A signal ended",
    }
)
STATES: Final[Mapping[str, str]] = MappingProxyType({OPENED: "began", ROSE: "rose", ENDED: "ended"})
#: Under this name the database keeps of which signals was told, and how bad they were then.
TOLD: Final = "signal"
LEAST: Final = Severity.INFO
MAX_AT_ONCE: Final = 20  # calls for one webhook; more that open at once are told in one
_CALLS_NOBODY = str.maketrans({"@": "\uff20", "<": "\u2039", ">": "\u203a", "\n": " ", "[": "(", "]": ")"})


@dataclass(frozen=True, slots=True)
class News:
    """One call: whom, of what, in which words, with what besides."""

    webhook: WebhookRow
    event: str
    subject: str
    title: str
    detail: str
    path: str
    data: Mapping[str, Any]


def severity_of(name: str) -> Severity | None:
    """``high`` as a severity; None if it is none."""
    return Severity.__members__.get(name.upper())


def wants(webhook: WebhookRow) -> bool:
    """Whether a webhook hears of signals at all."""
    return webhook.enabled and any(event in webhook.events for event in TITLES)


def news(hooks: Iterable[WebhookRow], changed: Sequence[tuple[Signal, Severity | None]]) -> Iterator[News]:
    """What is to be told of signals.

    Args:
        hooks: Those that are on.
        changed: Signals as they are now, each with how bad it was when it was last told of; None for one
            that nobody was told of.
    """
    for webhook in hooks:
        least = severity_of(webhook.least_severity) or LEAST
        opened = 0
        more: list[Signal] = []
        for signal, told in sorted(changed, key=lambda pair: -pair[0].severity):
            event = _event(webhook, signal, told, least)
            if event not in webhook.events:
                continue
            if event == OPENED:
                opened += 1
                if opened > MAX_AT_ONCE:
                    more.append(signal)
                    continue
            yield _news(webhook, event, signal)
        if more:
            worst = more[0].severity.name.lower()
            yield News(
                webhook, OPENED, "many", f"{len(more)} more signals opened",
                f"The worst of them is {worst}.", "/security/signals",
                {"severity": worst, "signals": len(more)},
            )  # fmt: skip


def _event(webhook: WebhookRow, signal: Signal, told: Severity | None, least: Severity) -> str:
    """Which news a signal is to a webhook; empty for none."""
    knows = told is not None and told >= least
    # One that went on before there was this webhook is no news to it, until it becomes worse.
    began_s = signal.severities[0][0] if signal.severities else signal.first_seen
    is_older = began_s * 1000 < webhook.created_ms
    if signal.closed_at:
        return ENDED if knows and not is_older else ""
    if signal.severity < least:
        return ""
    if not knows:
        return "" if told is None and is_older else OPENED
    return ROSE if told is not None and signal.severity > told else ""


def _news(webhook: WebhookRow, event: str, signal: Signal) -> News:
    title = signal.title.translate(_CALLS_NOBODY)
    severity = signal.severity.name.lower()
    requests = f"{signal.events:,} request{'' if signal.events == 1 else 's'}"
    share = f"{signal.blocked:,} of them blocked"
    detail = {
        OPENED: f"Severity {severity}: {requests} so far, {share}.",
        ROSE: f"It is {severity} now: {requests} so far, {share}.",
        ENDED: f"Severity {severity}: {requests} in all, {share}.",
    }[event]
    return News(webhook, event, signal.id, title, detail, f"/security/signals/{signal.id}", _data(signal))


def _data(signal: Signal) -> dict[str, Any]:
    service = signal.group.get("service", "")
    return {
        "signal": signal.id,
        "rule": signal.rule_id,
        "severity": signal.severity.name.lower(),
        "service": "" if service == ELSEWHERE else service,
        "group": dict(signal.group),
        "requests": signal.events,
        "blocked": signal.blocked,
        "attackers": len(signal.top_attackers()),
        "users": len(signal.users),
        "counts": dict(signal.counts),
        "first_seen": _time(signal.first_seen),
        "last_seen": _time(signal.last_seen),
    }


def _time(at_s: float) -> str:
    return written(round(at_s * 1000))
