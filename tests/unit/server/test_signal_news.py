"""Which news a signal is to whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sealwire.server.security.rules import Severity
from sealwire.server.security.signals import Signal
from sealwire.server.signal_news import ENDED, MAX_AT_ONCE, OPENED, ROSE, news
from sealwire.server.store.webhooks import WebhookRow

LOW, HIGH, CRITICAL = Severity.LOW, Severity.HIGH, Severity.CRITICAL
HOOK = WebhookRow(1, "hook", "Chat", "https://x.example/", (OPENED, ROSE, ENDED), b"", True, 1_000, "ann")


def signal(severity: Severity = LOW, **values: Any) -> Signal:
    return Signal(
        **{
            "id": "abc", "rule_id": "scan", "rule_version": 1, "title": "Scan · shop", "severity": severity,
            "group": {"service": "shop"}, "first_seen": 5.0, "last_seen": 9.0, "last_true": 9.0,
            "severities": [(5.0, LOW)], "events": 12, "blocked": 3, **values,
        }
    )  # fmt: skip


def told(hook: WebhookRow, one: Signal, before: Severity | None) -> list[str]:
    return [item.event for item in news([hook], [(one, before)])]


@pytest.mark.parametrize(
    ("least", "now", "before", "closed", "said"),
    [
        ("", LOW, None, 0.0, [OPENED]),
        ("", HIGH, LOW, 0.0, [ROSE]),
        ("", HIGH, HIGH, 0.0, []),
        ("", HIGH, HIGH, 10.0, [ENDED]),
        ("", LOW, None, 10.0, []),
        ("high", LOW, None, 0.0, []),
        ("high", HIGH, LOW, 0.0, [OPENED]),
        ("high", CRITICAL, HIGH, 0.0, [ROSE]),
        ("high", LOW, LOW, 10.0, []),
        ("high", CRITICAL, CRITICAL, 10.0, [ENDED]),
    ],
)
def test_a_webhook_hears_of_a_signal_from_its_severity_on(
    least: str, now: Severity, before: Severity | None, closed: float, said: list[str]
) -> None:
    assert told(replace(HOOK, least_severity=least), signal(now, closed_at=closed), before) == said


def test_a_webhook_hears_only_what_it_asked_for() -> None:
    assert told(replace(HOOK, events=(ENDED,)), signal(), None) == []
    assert told(replace(HOOK, events=(ROSE,)), signal(HIGH), LOW) == [ROSE]


def test_what_went_on_before_a_webhook_was_made_is_no_news_to_it_until_it_gets_worse() -> None:
    young = replace(HOOK, created_ms=60_000)

    assert told(young, signal(), None) == []
    assert told(young, signal(closed_at=70.0), LOW) == []
    assert told(young, signal(HIGH), LOW) == [ROSE]


def test_many_at_once_are_told_in_one_call_the_worst_before_it() -> None:
    flood = [(signal(id=f"{n:04}"), None) for n in range(MAX_AT_ONCE + 30)]
    worst = (signal(CRITICAL, id="worst"), None)

    said = list(news([HOOK], [*flood, worst]))

    assert len(said) == MAX_AT_ONCE + 1
    assert said[0].subject == "worst"
    assert (said[-1].title, said[-1].path) == ("31 more signals opened", "/security/signals")


def test_what_an_attacker_wrote_calls_nobody_in_a_chat() -> None:
    one = signal(
        title="Guessing · <!channel> @here [x](https://evil.example)\nmore", group={"service": "@all"}
    )

    (item,) = news([HOOK], [(one, None)])

    assert not set("@<>[]\n") & set(item.title)
    assert item.data["group"] == {"service": "@all"}  # data is data
    assert item.detail == "Severity low: 12 requests so far, 3 of them blocked."
