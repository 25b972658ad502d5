"""What becomes a signal, what just does not, and that nobody makes the engine grow without end."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from sealwire.server.security.builtin import BUILTIN
from sealwire.server.security.engine import Engine, Past
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.security.rules import Rule, Severity, check
from sealwire.server.security.signals import Change, Happening, Signal

NOW = 1_795_358_400.0
RULES = {name: check(document, rule_id=name) for name, document in BUILTIN.items()}
_numbers = iter(range(10**9))

FAILURE = "business_logic.users.login.failure"
SUCCESS = "business_logic.users.login.success"


def row(activity: str = "", *, at: float = 0.0, **changes: Any) -> SecurityTrace:
    number = next(_numbers)
    fields: dict[str, Any] = {
        "trace_id": f"{number:032x}", "span_id": f"{number:016x}", "ts": NOW + at, "service": "shop",
        "actor_ip": "198.51.100.9", "status": 200, "method": "GET", "target": "/", "account": "alice",
        "activities": tuple(sorted(filter(None, activity.split()))),
    }  # fmt: skip
    return SecurityTrace(**(fields | changes))


def engine(*names: str, **limits: Any) -> Engine:
    return Engine([enabled(RULES[name]) for name in names or RULES], **limits)


def enabled(rule: Rule) -> Rule:
    return rule if rule.enabled else check({**BUILTIN[rule.id], "isEnabled": True}, rule_id=rule.id)


def feed(target: Engine, rows: Iterable[SecurityTrace]) -> list[Change]:
    return [change for one in rows for change in target.insert(one, now=max(NOW, one.ts))]


def worst(target: Engine, rows: Iterable[SecurityTrace]) -> dict[str, str]:
    """The severity each rule came to."""
    feed(target, rows)
    return {signal.rule_id: signal.severity.name.lower() for signal in target.open_signals()}


def failures(count: int, *, users: int = 1, ips: int = 1, **changes: Any) -> list[SecurityTrace]:
    return [
        row(
            FAILURE,
            at=number / 10,
            account=f"u{number % users}",
            actor_ip=f"10.0.0.{number % ips}",
            **changes,
        )
        for number in range(count)
    ]


def several(activity: str, count: int, **changes: Any) -> list[SecurityTrace]:
    return [row(activity, at=number / 100, **changes) for number in range(count)]


TOOL, SQLI = "attack_attempt.attack_tool", "attack_attempt.sql_injection"
REACHED = "vulnerability_trigger.sql_injection"
RESET, DELETE = "business_logic.users.password_reset", "business_logic.users.delete"
HIT = {"status": 500, "touches": ("sql", "web")}


@pytest.mark.parametrize(
    ("name", "rows", "severity"),
    [
        ("attack-tool", [row(TOOL, tools=("Arachni",))], "low"),
        ("attack-tool", [row(SQLI)], None),
        ("attack-tool", [row(TOOL, tools=("Arachni",)), row(TOOL, tools=("sqlmap",))], "medium"),
        ("attack-tool", [row(TOOL, tools=("a",)), row(TOOL, tools=("b",), actor_ip="10.9.9.9")], "low"),
        ("attack-tool", [row("attack_attempt.security_scanner"), row(REACHED)], "high"),
        ("attack-tool", [row(REACHED)], None),
        ("commercial-scanner", [row("attack_attempt.commercial_scanner")], "info"),
        ("commercial-scanner", [row("attack_attempt.security_scanner")], None),
        ("cred-stuffing", failures(31, users=6), "low"),
        ("cred-stuffing", failures(30, users=6), None),
        ("cred-stuffing", failures(31, users=5), None),
        ("cred-stuffing", [*failures(31, users=6), row(SUCCESS, at=5, actor_ip="10.0.0.0")], "critical"),
        ("cred-stuffing", [*failures(31, users=6), row(SUCCESS, at=5, actor_ip="10.0.0.1")], "low"),
        ("cred-stuffing", failures(16, users=6, listed=True), "low"),
        ("cred-stuffing", failures(15, users=6, listed=True), None),
        ("brute-force", failures(40, ips=40), "low"),
        ("brute-force", failures(39, ips=39), None),
        ("brute-force", failures(20, listed=True), "low"),
        ("brute-force", [*failures(40, ips=9), row(SUCCESS, at=5, account="u0")], "critical"),
        ("brute-force", [*failures(40, ips=9), row(SUCCESS, at=5, account="u1")], "low"),
        ("brute-force", failures(60, users=2), None),
        ("cred-stuffing-distributed", failures(100, users=90, ips=20), "low"),
        ("cred-stuffing-distributed", failures(99, users=90, ips=20), None),
        ("cred-stuffing-distributed", failures(200, users=90, ips=19), None),
        ("password-reset-abuse", several(RESET, 11), "medium"),
        ("password-reset-abuse", several(RESET, 10), None),
        ("account-deletion", several(DELETE, 6), "medium"),
        ("account-deletion", several(DELETE, 5), None),
        ("signup-abuse", several("business_logic.users.signup", 11), "medium"),
        ("signup-abuse", several("business_logic.users.signup", 10), None),
        ("payment-failures", several("business_logic.payment.failure", 21), "medium"),
        ("payment-failures", several("business_logic.payment.failure", 20), None),
        ("sensitive-activity", several("activity.sensitive", 101), "medium"),
        ("sensitive-activity", several("activity.sensitive", 100), None),
        ("sqli-single-ip", several(SQLI, 10), "low"),
        ("sqli-single-ip", several(SQLI, 9), None),
        ("sqli-single-ip", several(SQLI, 100), "medium"),
        ("sqli-single-ip", several(SQLI, 99), "low"),
        ("sqli-single-ip", several(SQLI, 1, **HIT), "high"),
        ("sqli-single-ip", several(SQLI, 1, status=500), None),
        ("sqli-single-ip", several(SQLI, 1, status=499, touches=("sql",)), None),
        ("xss-single-ip", several("attack_attempt.xss", 10), "low"),
        ("xss-single-ip", several("attack_attempt.xss", 9, status=500), None),
        (
            "nosqli-single-ip",
            several("attack_attempt.nosql_injection", 1, status=500, touches=("mongodb",)),
            "high",
        ),
        ("nosqli-single-ip", several("attack_attempt.nosql_injection", 9, status=500), None),
        ("cmdi-single-ip", several("attack_attempt.command_injection", 100), "medium"),
        ("cmdi-single-ip", several("attack_attempt.command_injection", 9), None),
        ("lfi-single-ip", several("attack_attempt.lfi", 5) + several("attack_attempt.rfi", 5), "low"),
        ("lfi-single-ip", several("attack_attempt.lfi", 5) + several("attack_attempt.rfi", 4), None),
        ("ssrf-single-ip", several("attack_attempt.ssrf", 1, status=502), "high"),
        ("ssrf-single-ip", several("attack_attempt.ssrf", 9), None),
        ("code-injection-single-ip", several("attack_attempt.js_code_injection", 10), "low"),
        ("code-injection-single-ip", several("attack_attempt.js_code_injection", 9), None),
        ("ldap-single-ip", several("attack_attempt.ldap_injection", 10), "low"),
        ("ldap-single-ip", several("attack_attempt.ldap_injection", 9), None),
        ("rasp-exploit", [row(REACHED, exploits=("sql_injection",), blocked=True)], "high"),
        ("rasp-exploit", [row(REACHED, exploits=("sql_injection",))], "critical"),
        ("rasp-exploit", several(SQLI, 50), None),
        ("api-scan", [row(at=n / 10, target=f"/{n}") for n in range(50)], "low"),
        ("api-scan", [row(at=n / 10, target=f"/{n % 49}") for n in range(200)], None),
        ("api-scan", [row(at=n / 10, target=f"/{n}") for n in range(200)], "medium"),
        ("rate-limit", [row(at=n / 100) for n in range(1001)], "low"),
        ("rate-limit", [row(at=n / 100) for n in range(1000)], None),
        ("blocked-actor-persists", several("security_response.block_ip", 100), "info"),
        ("blocked-actor-persists", several("security_response.block_ip", 99), None),
    ],
)
def test_a_rule_finds_what_it_is_for_and_no_less(
    name: str, rows: list[SecurityTrace], severity: str | None
) -> None:
    assert worst(engine(name), rows).get(name) == severity


def test_each_rule_is_tested() -> None:
    (mark,) = test_a_rule_finds_what_it_is_for_and_no_less.pytestmark  # type: ignore[attr-defined]
    found: dict[str, set[bool]] = {}
    for name, _, severity in mark.args[1]:
        found.setdefault(name, set()).add(severity is None)

    assert found == {name: {True, False} for name in BUILTIN}


# Windows ------------------------------------------------------------------------------------------------


def test_what_lies_further_apart_than_the_window_does_not_add_up() -> None:
    rows = [row(SQLI, at=number * 90) for number in range(30)]

    assert worst(engine("sqli-single-ip"), rows) == {}


def test_values_leave_the_window_too() -> None:
    rows = [row(at=number * 8, target=f"/{number}") for number in range(300)]  # 37 in any five minutes

    assert worst(engine("api-scan"), rows) == {}


def test_values_beyond_those_held_exactly_count_as_many() -> None:
    target = engine("api-scan")

    feed(target, [row(at=number / 1000, target=f"/{number}") for number in range(5_000)])

    (signal,) = target.open_signals()
    assert signal.severity is Severity.MEDIUM
    assert signal.events == 5_000


def test_rows_out_of_order_count_as_those_in_order() -> None:
    rows = [row(SQLI, at=-number * 50) for number in range(10)]

    assert worst(engine("sqli-single-ip"), rows) == {"sqli-single-ip": "low"}


def test_a_row_older_than_the_window_is_dropped_and_counted() -> None:
    target = engine("sqli-single-ip")

    feed(target, several(SQLI, 9))
    feed(target, [row(SQLI, at=-601)])

    assert target.open_signals() == []
    assert target.counters.late == 1


def test_a_row_from_the_future_counts_as_now() -> None:
    target = engine("sqli-single-ip")

    for one in several(SQLI, 5):
        target.insert(msgspec.structs.replace(one, ts=NOW + 10**6), now=NOW)
    feed(target, several(SQLI, 5))

    assert len(target.open_signals()) == 1


def test_a_row_that_comes_twice_counts_once() -> None:
    target = engine("sqli-single-ip")
    rows = several(SQLI, 9)

    feed(target, rows * 3)

    assert target.open_signals() == []
    assert target.counters.duplicates == 18


def test_rows_that_were_counted_elsewhere_weigh_as_many() -> None:
    target = engine("sqli-single-ip")

    target.insert(row(SQLI, trace_id=""), now=NOW, count=100)

    (signal,) = target.open_signals()
    assert (signal.severity, signal.events, signal.attackers) == (Severity.MEDIUM, 100, {"198.51.100.9": 100})


def test_a_row_without_a_value_to_group_by_is_counted_as_such() -> None:
    target = engine("sqli-single-ip")

    feed(target, several(SQLI, 20, actor_ip=""))

    assert (target.open_signals(), target.counters.ungrouped) == ([], 20)


def test_a_busy_service_needs_more_failures_than_a_quiet_one() -> None:
    busy = [row(FAILURE, at=window * 600 + n, account=f"u{n}", actor_ip=f"10.0.0.{n % 30}")
            for window in range(20) for n in range(90 + window % 3)]  # fmt: skip
    more = failures(100, users=90, ips=20)
    usual = [msgspec.structs.replace(one, ts=NOW + 20 * 600 + at) for at, one in enumerate(more)]
    worse = [row(FAILURE, at=21 * 600 + n, account=f"u{n}", actor_ip=f"10.0.0.{n % 30}") for n in range(400)]
    target = engine("cred-stuffing-distributed")

    feed(target, busy)
    before = len(target.open_signals())
    feed(target, usual)
    feed(target, worse)

    assert before == 0
    assert len(target.open_signals()) == 1


def test_what_is_usual_is_known_only_after_a_while() -> None:
    past = Past()
    for window in range(6):
        past.add(window, 100, 144)

    assert past.usual(4) == 0.0
    past.add(6, 1, 144)
    assert past.usual(4) == 100.0


# Signals ------------------------------------------------------------------------------------------------


def test_a_signal_opens_once_and_tells_its_rises() -> None:
    target = engine("sqli-single-ip")

    changes = feed(target, several(SQLI, 150) + several(SQLI, 3, **HIT))

    assert [change.what for change in changes] == [Happening.OPENED, Happening.RAISED, Happening.RAISED]
    (signal,) = target.open_signals()
    assert [severity.name for _, severity in signal.severities] == ["LOW", "MEDIUM", "HIGH"]


def test_a_signal_tells_of_the_rows_before_it_opened() -> None:
    target = engine("cred-stuffing")

    feed(target, failures(40, users=8))

    (signal,) = target.open_signals()
    assert signal.title == "Credential stuffing from one address · shop · 10.0.0.0"
    assert signal.group == {"service": "shop", "@http.client_ip": "10.0.0.0"}
    assert (signal.events, signal.counts) == (40, {"a": 40, "b": 40})
    assert (signal.first_seen, signal.last_seen) == (NOW, NOW + 3.9)
    assert sorted(signal.users) == [f"u{number}" for number in range(8)]
    assert len(signal.samples) == 20
    assert sum(signal.by_minute.values()) == 40


def test_severity_does_not_fall() -> None:
    target = engine("attack-tool")

    feed(target, [row(TOOL, tools=("a",)), row(TOOL, tools=("b",)), row(TOOL, at=3000, tools=("a",))])

    assert [signal.severity for signal in target.open_signals()] == [Severity.MEDIUM]


def test_a_signal_ends_when_nothing_more_comes_and_may_open_again() -> None:
    target = engine("attack-tool")
    feed(target, [row(TOOL)])

    assert target.tick(now=NOW + 3_600) == []
    (closed,) = target.tick(now=NOW + 3_601)
    (opened,) = feed(target, [row(TOOL, at=3_700)])

    assert (closed.what, closed.signal.closed_because) == (Happening.CLOSED, "ended")
    assert opened.what is Happening.OPENED
    assert opened.signal.id != closed.signal.id


def test_a_signal_that_goes_on_for_a_day_is_closed_and_a_new_one_opens() -> None:
    target = engine("attack-tool")

    changes = feed(target, [row(TOOL, at=number * 1_800) for number in range(60)])

    assert [change.what for change in changes] == [Happening.OPENED, Happening.CLOSED, Happening.OPENED]


def test_askers_that_look_alike_stand_together() -> None:
    rows = several(SQLI, 60, fp_header="hdr-1", user_agent="a", fp_network="n")
    rows += several(SQLI, 38, fp_header="hdr-2", user_agent="b", fp_network="n") + several(
        SQLI, 2, user_agent="c"
    )
    target = engine("sqli-single-ip")

    feed(target, rows)

    (signal,) = target.open_signals()
    assert [(one.user_agent, one.rows) for one in signal.shown_clusters()] == [("a", 60), ("b", 38)]


def test_only_signals_that_changed_are_written_down() -> None:
    target = engine("attack-tool")
    feed(target, [row(TOOL), row(TOOL, actor_ip="10.0.0.1")])

    assert len(target.take_changed()) == 2
    feed(target, [row(TOOL)])
    assert [signal.events for signal in target.take_changed()] == [2]
    assert target.take_changed() == []


def test_a_rule_that_changes_starts_to_count_anew_and_keeps_its_signals() -> None:
    target = engine("sqli-single-ip", "attack-tool")
    feed(target, [*several(SQLI, 12), row(TOOL)])

    target.set_rules([check(BUILTIN["sqli-single-ip"], rule_id="sqli-single-ip", version=2)])

    assert [signal.rule_id for signal in target.open_signals()] == ["sqli-single-ip"]
    closed = [signal for signal in target.take_changed() if signal.closed_at]
    assert [signal.rule_id for signal in closed] == ["attack-tool"]
    assert feed(target, several(SQLI, 5)) == []


# Restart ------------------------------------------------------------------------------------------------


def mixed() -> list[SecurityTrace]:
    rows = [*several(SQLI, 30), *failures(50, users=9), row(TOOL, tools=("a",)), row(TOOL, tools=("b",))]
    rows.sort(key=lambda one: one.ts)
    return [msgspec.structs.replace(one, ts=NOW + at / 20) for at, one in enumerate(rows)]


def read_back(signals: Iterable[Signal]) -> list[Signal]:
    packed = msgspec.json.encode(list(signals))
    return msgspec.json.decode(packed, type=list[Signal])


def shown(target: Engine) -> list[dict[str, Any]]:
    signals = [msgspec.to_builtins(signal) | {"restored_to": 0} for signal in target.open_signals()]
    return sorted(signals, key=lambda signal: signal["id"])


def test_rows_replayed_give_the_same_signals() -> None:
    rows, live, later = mixed(), engine(), engine()
    feed(live, rows)

    later.replay(reversed(rows))

    assert shown(later) == shown(live)


def test_a_restart_says_nothing_twice_and_counts_nothing_twice() -> None:
    rows, live, later = mixed(), engine(), engine()
    feed(live, rows)

    later.restore(read_back(live.open_signals()))

    assert later.replay(rows) == []
    assert shown(later) == shown(live)


def test_after_a_restart_a_signal_goes_on_where_it_was() -> None:
    rows, live, later = several(SQLI, 95), engine("sqli-single-ip"), engine("sqli-single-ip")
    feed(live, rows)
    later.restore(read_back(live.open_signals()))
    later.replay(rows)

    changes = feed(later, several(SQLI, 5, ts=NOW + 2))

    assert [(change.what, change.signal.severity) for change in changes] == [
        (Happening.RAISED, Severity.MEDIUM)
    ]
    assert [signal.events for signal in later.open_signals()] == [100]


def test_a_signal_nobody_heard_of_before_the_restart_is_told_after_it() -> None:
    (change,) = engine("sqli-single-ip").replay(several(SQLI, 20))

    assert (change.what, change.signal.events) == (Happening.OPENED, 20)


# Floods -------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)  # 15 s of CPU, on whatever is left of one
def test_two_hundred_thousand_addresses_cost_bounded_memory() -> None:
    """Attack: an address for each request, under rules that open a signal at once."""
    target = Engine(RULES.values())
    kinds = (TOOL, SQLI, FAILURE, "")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(200_000):
        one = row(
            kinds[number % 4],
            at=number / 1_000,
            actor_ip=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            account=f"u{number}",
            target=f"/{number}",
            user_agent=f"agent {number}",
            tools=(f"tool {number}",),
        )
        target.insert(one, now=one.ts)
        if number % 10_000 == 0:
            target.tick(now=one.ts)
            target.take_changed()
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert target.groups <= 50_000
    assert target.counters.evicted > 100_000
    assert len(target.open_signals()) <= 2 * 552
    assert target.counters.folded > 40_000
    assert grown_kib < 200 * 1024


def test_a_flood_under_one_rule_does_not_blind_another() -> None:
    target = engine("sqli-single-ip", "brute-force", max_groups=1_000)

    feed(target, failures(39))
    feed(target, [row(SQLI, at=5 + n / 1000, actor_ip=f"10.{n >> 8}.{n & 255}.1") for n in range(20_000)])
    feed(target, [row(FAILURE, at=26, account="u0")])

    assert [signal.rule_id for signal in target.open_signals()] == ["brute-force"]


def test_addresses_beyond_those_told_apart_share_a_signal() -> None:
    target = engine("attack-tool", max_open=3)

    changes = feed(target, [row(TOOL, at=n / 10, actor_ip=f"10.0.0.{n % 10}") for n in range(50)])

    signals = target.open_signals()
    assert [change.what for change in changes if change.what is Happening.OPENED] == [Happening.OPENED] * 4
    assert [signal.group["@http.client_ip"] for signal in signals] == [
        "10.0.0.0",
        "10.0.0.1",
        "10.0.0.2",
        "*",
    ]
    assert signals[3].title == "Attack tool · shop · many"
    assert (signals[3].events, len(signals[3].attackers)) == (35, 7)


def test_those_who_attack_most_are_kept_of_many() -> None:
    target = engine("cred-stuffing-distributed")
    rows = [
        row(FAILURE, at=n / 1000, account=f"u{n}", actor_ip=f"10.{n >> 8}.{n & 255}.1") for n in range(5_000)
    ]
    rows += [row(FAILURE, at=5 + n / 1000, actor_ip="198.51.100.66") for n in range(50)]

    feed(target, rows)

    (signal,) = target.open_signals()
    assert signal.top_attackers()[0] == ("198.51.100.66", 50)
    assert len(signal.attackers) <= 200
    assert len(signal.users) <= 100
