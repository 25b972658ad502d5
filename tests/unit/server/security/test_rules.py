"""Documents of detection rules: which are taken, and what is said of the others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import InvalidChangeError
from sealwire.server.security.builtin import BUILTIN
from sealwire.server.security.query import QueryError
from sealwire.server.security.rules import MAX_CONDITION_CHARS, Severity, check, condition

FAILURE = "@appsec.security_activity:business_logic.users.login.failure"


def document(**changes: Any) -> dict[str, Any]:
    return {
        "name": "Mine",
        "message": "Look.",
        "type": "application_security",
        "queries": [{"name": "a", "query": FAILURE, "groupByFields": ["service"]}],
        "cases": [{"name": "many", "status": "low", "condition": "a > 3"}],
        "options": {"evaluationWindow": 300, "keepAlive": 600, "maxSignalDuration": 3600},
        "tags": [],
    } | changes


@pytest.mark.parametrize("rule_id", BUILTIN)
def test_a_rule_that_comes_with_the_server_is_valid_and_is_plain_data(rule_id: str) -> None:
    read = msgspec.json.decode(msgspec.json.encode(BUILTIN[rule_id]))

    rule = check(read, rule_id=rule_id)

    assert read == BUILTIN[rule_id]
    assert rule.message
    assert sorted((case.severity for case in rule.cases), reverse=True) == [
        case.severity for case in rule.cases
    ]


def test_a_rule_is_what_its_document_says() -> None:
    rule = check(document(isEnabled=False), rule_id="mine", version=3)

    assert (rule.id, rule.version, rule.enabled, rule.window_s, rule.keep_alive_s) == (
        "mine",
        3,
        False,
        300,
        600,
    )
    assert [facet.name for facet in rule.group_by] == ["service"]
    assert rule.severity([4]) is Severity.LOW
    assert rule.severity([3]) is None


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"name": ""}, ["$.name"]),
        ({"name": 5}, ["$.name"]),
        ({"colour": 1}, ["$.colour"]),
        ({"type": "log_detection"}, ["$.type"]),
        ({"isEnabled": "yes"}, ["$.isEnabled"]),
        ({"queries": []}, ["$.queries", "$.cases[0].condition"]),
        ({"queries": ["x"]}, ["$.queries[0]", "$.cases[0].condition"]),
        ({"queries": [{"name": "a", "query": "servise:x"}]}, ["$.queries[0].query", "$.cases[0].condition"]),
        ({"queries": [{"name": "a", "query": 5}]}, ["$.queries[0].query", "$.cases[0].condition"]),
        ({"queries": [{"name": "a b"}]}, ["$.queries[0].name", "$.cases[0].condition"]),
        ({"queries": [{"name": "a"}, {"name": "a"}]}, ["$.queries[1].name"]),
        ({"queries": [{"name": "a", "groupByFields": ["nope"]}]}, ["$.queries[0].groupByFields[0]"]),
        ({"queries": [{"name": "a", "groupByFields": ["service"] * 4}]}, ["$.queries[0].groupByFields"]),
        (
            {"queries": [{"name": "a", "groupByFields": ["env"]}, {"name": "b"}]},
            ["$.queries[1].groupByFields"],
        ),
        ({"queries": [{"name": "a", "aggregation": "sum"}]}, ["$.queries[0].aggregation"]),
        ({"queries": [{"name": "a", "aggregation": "cardinality"}]}, ["$.queries[0].distinctFields"]),
        (
            {"queries": [{"name": "a", "aggregation": "cardinality", "distinctFields": []}]},
            ["$.queries[0].distinctFields"],
        ),
        ({"cases": None}, ["$.cases"]),
        ({"cases": [{"status": "awful", "condition": "a > 1"}]}, ["$.cases[0].status"]),
        ({"cases": [{"status": "low"}]}, ["$.cases[0].condition"]),
        ({"cases": [{"status": "low", "condition": "a >"}]}, ["$.cases[0].condition"]),
        ({"cases": [{"status": "low", "condition": "z > 1"}]}, ["$.cases[0].condition"]),
        ({"options": {"evaluationWindow": 301}}, ["$.options.evaluationWindow"]),
        ({"options": {"evaluationWindow": True}}, ["$.options.evaluationWindow"]),
        ({"options": {"evaluationWindow": 7200, "keepAlive": 60}}, ["$.options.keepAlive"]),
        ({"options": {"maxSignalDuration": 99999}}, ["$.options.maxSignalDuration"]),
        ({"options": {"detectionMethod": "magic"}}, ["$.options.detectionMethod"]),
        ({"options": {"sigmas": 0}}, ["$.options.sigmas"]),
        ({"options": []}, ["$.options"]),
        ({"tags": [5]}, ["$.tags"]),
    ],
)
def test_every_mistake_is_named_at_its_path(changes: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(InvalidChangeError) as refused:
        check(document(**changes), rule_id="mine")

    assert [problem.path for problem in refused.value.problems] == paths


@pytest.mark.parametrize("odd", [None, 5, "x", [], {}])
def test_what_is_no_document_is_refused(odd: object) -> None:
    with pytest.raises(InvalidChangeError):
        check(odd, rule_id="mine")


@pytest.mark.parametrize(
    ("text", "counts", "holds"),
    [
        ("a > 30 && b > 5", [31, 6], True),
        ("a > 30 && b > 5", [31, 5], False),
        ("a > 30 || b > 5 && a == 0", [0, 6], True),
        ("(a > 30 || b > 5) && a == 0", [31, 0], False),
        ("!(a >= 1)", [0, 0], True),
        ("a != 0 && b <= 2 && a < 9", [1, 2], True),
        ("a>1.5", [2, 0], True),
    ],
)
def test_a_condition_holds_as_it_reads(text: str, counts: list[float], holds: bool) -> None:
    assert condition(text, ["a", "b"])(counts) is holds


@pytest.mark.parametrize(
    ("text", "position"),
    [("a", 1), ("a >", 3), ("a > b", 4), ("> 5", 0), ("a > 5 b > 6", 6), ("(a > 5", 0), ("c > 5", 0),
     ("a > 5 &&", 8), ("a > 5 & b > 1", 5), ("(" * 30 + "a > 1", 21), ("a > 1 " * 100, MAX_CONDITION_CHARS)],
)  # fmt: skip
def test_a_condition_that_makes_no_sense_says_where(text: str, position: int) -> None:
    with pytest.raises(QueryError) as refused:
        condition(text, ["a", "b"])

    assert refused.value.position == position


@given(st.text("ab<>=!&|() 10.", max_size=30))
def test_any_condition_is_understood_or_refused(text: str) -> None:
    try:
        holds = condition(text, ["a", "b"])
    except QueryError:
        return
    assert holds([1, 2]) in (True, False)
