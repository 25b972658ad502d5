"""Rows of recorded requests, and of requests nobody should send."""

from __future__ import annotations

from typing import Any

import pytest

from sealwire.server.security.rows import MAX_BEHIND_S, SecurityTrace, plain, security_trace, visit_row
from sealwire.wire.traces import Visit, select
from tests.support.spans import RECORDED, entry_span, recorded_trace, trace, v04, v05, with_tag

SEEN = RECORDED["attack_tool"]["entry_span"]["start"] / 1e9 + 1


def row_of(span: dict[str, Any], **told: Any) -> SecurityTrace:
    (found,) = select("/v0.4/traces", v04(trace(span))).spans
    row = security_trace(found, **({"seen_at": SEEN} | told))
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("name", "activities", "expected"),
    [
        ("attack_tool", ["attack_attempt.attack_tool"], {"tools": ("Arachni",), "actor_ip": "198.51.100.9"}),
        (
            "sql_injection",
            ["attack_attempt.sql_injection"],
            {"rule_ids": ("crs-942-100",), "qualification": ""},
        ),
        (
            "blocked_ip",
            ["security_response.block_ip"],
            {
                "blocked": True,
                "status": 403,
                "qualification": "safe",
                "actor_ip": "203.0.113.7",
                "security_response_id": "b76e65ab-725e-4209-1b92-abb067f63df8",
            },
        ),
        (
            "blocked_user",
            ["security_response.block_user"],
            {"blocked": True, "user_id": "mallory", "target": "/user/mallory"},
        ),
        (
            "login_failure",
            ["business_logic.users.login.failure"],
            {"account": "alice", "actor_ip": "198.51.100.9", "route": "/login/<u>/<int:ok>"},
        ),
        (
            "login_success",
            ["business_logic.users.login.success"],
            {"user_id": "alice", "user_login": "alice"},
        ),
    ],
)
def test_a_recorded_request_becomes_a_row(name: str, activities: list[str], expected: dict[str, Any]) -> None:
    row = row_of(entry_span(name))

    assert list(row.activities) == activities
    assert {field: getattr(row, field) for field in expected} == expected
    assert (row.service, row.env, row.waf_version, row.lang) == ("shop", "prod", "2.1.0", "python")
    assert row.rc_client_id == "3a59cfa3-8702-4ba0-9734-113773d71f8b"
    assert not row.skewed


def test_a_tracer_that_puts_matches_into_a_tag_gives_the_same_row() -> None:
    recorded = entry_span("sql_injection")
    (tagged,) = select("/v0.5/traces", v05(trace(with_tag(recorded)))).spans

    row = security_trace(tagged, seen_at=SEEN)

    assert row == row_of(recorded)


def test_a_request_that_only_met_the_engine_is_no_row() -> None:
    span = entry_span("benign", meta={"appsec.event": "true"})
    (found,) = select("/v0.4/traces", v04(trace(span))).spans

    assert security_trace(found, seen_at=SEEN) is None


@pytest.mark.parametrize(
    "tag", ["usr.id", "http.route", "http.url", "usr.session_id", "appsec.events.paid.card"]
)
def test_what_a_probe_put_on_a_span_is_not_shown_to_who_looks_at_attacks(tag: str) -> None:
    event = {"appsec.events.paid.track": "true"}
    plain_row = row_of(entry_span("sql_injection", meta={**event, tag: "open-sesame"}))
    assert "open-sesame" in repr(plain_row)

    decorated = {
        **event,
        tag: "open-sesame",
        f"_dd.di.{tag}.probe_id": "8f1c2d34-aaaa-8bbb-8ccc-0123456789ab",
    }
    row = row_of(entry_span("sql_injection", meta=decorated))

    assert "open-sesame" not in repr(row)
    assert row.rule_ids == plain_row.rule_ids


def exploited(**changes: Any) -> dict[str, Any]:
    span = entry_span("sql_injection", **changes)
    rule = span["meta_struct"]["appsec"]["triggers"][0]["rule"]
    rule["tags"] = {"type": "sql_injection", "category": "vulnerability_trigger", "module": "rasp"}
    return span


@pytest.mark.parametrize(
    ("span", "qualification"),
    [
        (entry_span("sql_injection"), ""),
        (entry_span("sql_injection", meta={"http.status_code": "500"}), "harmful"),
        (entry_span("sql_injection", meta={"http.status_code": "404"}), "safe"),
        (entry_span("attack_tool", meta={"http.status_code": "500"}), ""),
        (exploited(), "harmful"),
        (exploited(meta={"appsec.blocked": "true"}), "safe"),
    ],
)
def test_a_row_says_whether_it_did_harm(span: dict[str, Any], qualification: str) -> None:
    assert row_of(span).qualification == qualification


def test_what_was_reached_is_told_from_what_was_tried() -> None:
    row = row_of(exploited())

    assert (row.activities, row.exploits) == (("vulnerability_trigger.sql_injection",), ("sql_injection",))


@pytest.mark.parametrize("off_s", [-MAX_BEHIND_S - 2, 10, 1e6, -1.7e9, 9e9])
def test_a_clock_that_is_off_is_set_right_and_marked(off_s: float) -> None:
    start = max(0, int((SEEN + off_s) * 1e9))

    row = row_of(entry_span("attack_tool", start=start, duration=0))

    assert (row.ts, row.skewed) == (SEEN, True)


@pytest.mark.parametrize("off_s", [-MAX_BEHIND_S + 1, -60, 0, 4])
def test_a_clock_that_is_nearly_right_is_believed_but_for_the_future(off_s: float) -> None:
    row = row_of(entry_span("attack_tool", start=int((SEEN + off_s) * 1e9), duration=0))

    assert not row.skewed
    assert row.ts == pytest.approx(min(SEEN + off_s, SEEN), abs=1e-3)


def test_hostile_text_stays_text_and_short() -> None:
    row = row_of(
        entry_span(
            "attack_tool",
            meta={
                "http.useragent": "<script>alert(1)</script>\r\nSet-Cookie: a\u202egpj",
                "http.url": "http://h/" + "a" * 9_000,
                "usr.id": "x" * 5_000,
                "http.status_code": "9" * 4_000,
                "actor.ip": "'; DROP TABLE--" * 50,
            },
        )
    )

    assert row.user_agent == "<script>alert(1)</script>\ufffd\ufffdSet-Cookie: a\ufffdgpj"
    assert (len(row.url), len(row.user_id), len(row.actor_ip), row.status) == (1_000, 200, 64, 0)


def test_text_of_any_language_is_left_as_it_is() -> None:
    assert plain("Grüße, 世界 🙂") == "Grüße, 世界 🙂"


def test_many_events_of_ones_own_are_bounded() -> None:
    many = {f"appsec.events.own{number:03}.track": "true" for number in range(200)}

    row = row_of(entry_span("benign", meta=many))

    assert len(row.activities) == 20


def test_a_visit_becomes_a_row_that_shows_nothing() -> None:
    row = visit_row(Visit("shop", "prod", "10.0.0.1", "/a", "404"), ts=SEEN)

    assert (row.service, row.actor_ip, row.target, row.status) == ("shop", "10.0.0.1", "/a", 404)
    assert (row.activities, row.trace_id) == ((), "")


def test_a_recorded_trace_is_found_under_its_whole_id() -> None:
    (found,) = select("/v0.4/traces", v04(recorded_trace("attack_tool"))).spans

    row = security_trace(found, seen_at=SEEN)

    assert row is not None
    assert row.trace_id == f"6b02ff6f00000000{14941562952048158649:016x}"
    assert row.span_id == f"{1612672912986589015:016x}"
