"""Trying expressions on snapshots: what is told, what cannot be, and why. The real tracers judge the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from sealwire.products.probe_expressions import Node
from sealwire.server.debugger.expressions import patterns
from sealwire.server.debugger.expressions.evaluator import Outcome, Verdict, evaluate, shown
from sealwire.server.debugger.expressions.parser import parse
from sealwire.server.debugger.snapshots import snapshot
from tests.unit.server.debugger.expressions.test_expression_text import nodes

VECTORS = Path(__file__).parents[4] / "vectors" / "debugger"
LINE, _, METHOD, _, RAISED = snapshot.read_all(
    (VECTORS / "ddtrace_4.16_messages.json").read_bytes()
).snapshots
NODE = snapshot.read_all((VECTORS / "dd_trace_5.132_messages.json").read_bytes()).snapshots[0]


def tried(text: str, found: snapshot.Snapshot = LINE, **more: Any) -> Outcome:
    return evaluate(parse(text), found, **more)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("total == 5 && order.oid > 5", True),
        ('order.owner["name"]', "bob"),
        ("any(nums, {@it == 40})", True),
        ("all(nums, {@it < 40})", False),
        ("len(nums)", 150),
        ("isEmpty(nums)", False),
        ("contains(nums, 7)", True),
        ("len(order.owner['nested']['x']['y'])", 1),
        ("startsWith(long, 'xxx')", True),
        ("long == 'short'", False),
        ("total > 9 && nobody_knows_this", False),
        ("data['k'][-1]", 3),
    ],
)
def test_what_was_captured_is_told(text: str, value: object) -> None:
    outcome = tried(text)

    assert (outcome.verdict, outcome.value, outcome.holds) == (Verdict.VALUE, value, bool(value))


@pytest.mark.parametrize(
    ("text", "words", "at"),
    [
        ("any(nums, {@it == 140})", "Only 100 of 150", "any(nums, {@it == 140})"),
        ("total == 5 && nums[120] == 1", "first 100", "nums[120]"),
        ("nums[-1]", "first 100", "nums[-1]"),
        ("order.owner['nested']['x']['y']['z'] == 1", "depth", "order.owner['nested']['x']['y']['z']"),
        ("totl > 1", 'Did you mean "total"?', "totl"),
        ("len(long)", "cut off after 254", "len(long)"),
        ("endsWith(long, 'x')", "cut off", "endsWith(long, 'x')"),
        ("order.nope", "class", "order.nope"),
        ("@return", "line", "@return"),
        ("matches(long, '(x+)+y')", "repeat in a repeat", "matches(long, '(x+)+y')"),
    ],
)
def test_what_was_not_captured_cannot_be_told_and_says_why(text: str, words: str, at: str) -> None:
    outcome = tried(text)

    assert outcome.verdict is Verdict.UNKNOWN
    assert words in outcome.says
    assert text[slice(*outcome.span)] == at


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("total > 'a'", "cannot be compared"),
        ("data.k", 'Write ["k"]'),
        ("nums[200]", "has 150 elements"),
        ("data['nope']", "no key"),
        ("len(total)", "no length"),
        ("matches(order.owner['name'], '(')", "no regular expression"),
    ],
)
def test_what_fails_in_the_program_fails_here(text: str, words: str) -> None:
    outcome = tried(text)

    assert outcome.verdict is Verdict.ERROR
    assert words in outcome.says


@pytest.mark.parametrize(
    "text", ["order.token == 1", "data['password']", "isDefined(api_key)", "total > 1 && order.Token"]
)
def test_what_the_program_redacts_is_redacted_here(text: str) -> None:
    assert tried(text).verdict is Verdict.REDACTED


def test_a_value_that_was_redacted_is_not_guessed() -> None:
    outcome = tried("order.token", is_redacted=lambda _name: False)

    assert outcome.verdict is Verdict.REDACTED
    assert "never leave the program" in outcome.says


def test_the_end_of_a_method_has_special_names() -> None:
    assert tried("@duration", METHOD).value == 2.352084
    assert tried("isDefined(@return)", METHOD).value is True
    assert tried("a", METHOD).value == 2
    assert tried("a", METHOD, moment="entry").verdict is Verdict.UNKNOWN  # that probe captured the end only
    assert tried("@duration", METHOD, moment="entry").verdict is Verdict.UNKNOWN
    assert tried("@exception.args[0]", RAISED).value == "bad 1"
    assert tried("a", METHOD, moment="7").verdict is Verdict.UNKNOWN


def test_javascript_has_its_own_rules() -> None:
    assert tried("n === 5".replace("===", "=="), NODE).value is True
    assert tried("msg == null", NODE).value is False  # it is undefined
    assert tried("name[0]", NODE).value == "b"
    assert shown(tried("name[9]", NODE).value) == "undefined"
    assert tried("n > '4'", NODE).value is True
    assert tried("n > 1 || null", NODE).verdict is Verdict.ERROR  # dd-trace compiles it to nothing
    assert tried("instanceof(n, 'a.b')", NODE).verdict is Verdict.ERROR


@given(nodes())
@settings(max_examples=60)
def test_any_expression_on_any_snapshot_gives_a_verdict(node: Node) -> None:
    for found in (LINE, METHOD, NODE):
        outcome = evaluate(node, found, is_redacted=lambda _name: False)
        shown(outcome.value)


def test_an_expression_that_would_take_long_is_given_up() -> None:
    numbers = {"type": "list", "elements": [{"type": "int", "value": "1"}] * 400, "size": 400}
    found = snapshot.read(
        orjson.dumps(
            {
                "debugger": {
                    "snapshot": {
                        "id": "s",
                        "language": "python",
                        "probe": {"id": "p", "version": 1},
                        "captures": {"lines": {"1": {"locals": {"l": numbers}}}},
                    }
                }
            }
        )
    )

    outcome = tried("all(l, {all(l, {all(l, {all(l, {@it == 1})})})})", found)

    assert outcome.verdict is Verdict.UNKNOWN
    assert "steps" in outcome.says


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|a)*b", "(?:a?){30}a{30}", "(.*)*x", "(a*)*", ".*.*.*.*=.*", "(a)\\1*", "a" * 300],
)
def test_a_pattern_that_could_run_away_is_not_tried(pattern: str) -> None:
    with pytest.raises(patterns.CostlyPatternError):
        patterns.fits(pattern, "a" * 1_000, anywhere=True)


@pytest.mark.parametrize(
    "pattern", ["^ab+c$", "[a-z]+@[a-z]+", "(foo|bar)", "\\d{3}-\\d{4}", "a.*b", "(?i)x", "colou?r"]
)
def test_a_usual_pattern_is_tried(pattern: str) -> None:
    patterns.fits(pattern, "a" * 255, anywhere=False)
