"""Messages of probes as real tracers sent them, and as nobody should."""

from __future__ import annotations

import ast
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.server.debugger.expressions.evaluator import Verdict, evaluate
from sealwire.server.debugger.expressions.parser import parse
from sealwire.server.debugger.snapshots import literals, snapshot, tree
from sealwire.server.debugger.snapshots.captured import Missing, Reader, Value, plain_text
from sealwire.server.debugger.snapshots.literals import Language
from sealwire.server.debugger.snapshots.snapshot import EvaluationError, Location, Snapshot

VECTORS = Path(__file__).parents[4] / "vectors" / "debugger"
PYTHON = snapshot.read_all((VECTORS / "ddtrace_4.16_messages.json").read_bytes())
NODE = snapshot.read_all((VECTORS / "dd_trace_5.132_messages.json").read_bytes())
LINE, ASKED, METHOD, FAILED, RAISED = PYTHON.snapshots


def envelope(**captures: Any) -> dict[str, Any]:
    found = {"id": "s", "language": "python", "probe": {"id": "p", "version": 1}, "captures": captures}
    return {"debugger": {"snapshot": found}}


def made(locals_: dict[str, Any]) -> Snapshot:
    return snapshot.read(json.dumps(envelope(lines={"3": {"locals": locals_}})).encode())


def local(found: Snapshot, name: str) -> Value:
    return dict(found.captures[-1].locals)[name]


def test_a_message_of_ddtrace_at_a_line_is_understood() -> None:
    assert not PYTHON.refused
    assert LINE.location == Location(file="/srv/app/shopmod.py", line=13)
    assert (LINE.language, LINE.service, LINE.probe_version) == ("python", "shop", 1)
    assert LINE.timestamp_ms == 1795357418562
    assert len(LINE.trace_id) == 32
    assert LINE.stack[0].function == "helper"
    assert [capture.moment for capture in LINE.captures] == ["13"]
    assert plain_text(local(LINE, "long")) == "x" * 254
    assert snapshot.missing(LINE) == {Missing.REDACTED_NAME: 3, Missing.DEPTH: 2, Missing.COLLECTION_SIZE: 1}
    assert snapshot.redactions(LINE) == 3


def test_a_message_of_a_method_has_entry_and_return_and_how_long_it_took() -> None:
    assert [capture.moment for capture in METHOD.captures] == ["entry", "return"]
    assert METHOD.duration_ns == 2352084
    assert str(METHOD.location) == "shopmod.helper"
    assert "@return" in METHOD.captures[1].names()


def test_what_was_asked_for_by_name_is_there_alone() -> None:
    assert [(name, value.text) for name, value in ASKED.captures[1].expressions] == [("tot", "5")]
    assert ASKED.values == 1


def test_an_error_that_is_listed_twice_is_there_once() -> None:
    assert FAILED.errors == (EvaluationError("zzz", "No such local variable: 'zzz'"),)
    assert not FAILED.has_values


def test_what_was_raised_is_understood() -> None:
    thrown = RAISED.captures[1].thrown

    assert thrown is not None
    assert (thrown.type, thrown.stack[0].line) == ("ValueError", 15)


def test_a_message_of_dd_trace_is_understood_though_less_is_in_it() -> None:
    found = NODE.snapshots[0]

    assert not NODE.refused
    assert (found.language, found.host) == ("javascript", "vm")
    assert found.timestamp_ms > 0
    assert local(found, "msg").is_null
    assert snapshot.missing(found)[Missing.TIMEOUT] == 16


def test_one_bad_envelope_does_not_spoil_the_others() -> None:
    good = orjson.dumps(envelope())
    bad = b'{"debugger": {"snapshot": {"id": 5}}}'

    found = snapshot.read_all(b"[" + good + b"," + bad + b", 7," + good + b"]")

    assert len(found.snapshots) == 2
    assert [type(error) for error in found.refused] == [MalformedError, MalformedError]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[",
        b"[[[",
        b"\xff",
        b"[" * 2000000,
        b"[" + b"1," * 6000 + b"1]",
        b"[" + b'{"a":' * 50000 + b"1" + b"}" * 50000 + b"]",
        b'["' + b"x" * (20 << 20) + b'"]',
    ],
)
def test_a_body_that_is_no_list_of_messages_is_refused(body: bytes) -> None:
    with pytest.raises((MalformedError, OversizeError)):
        snapshot.read_all(body)


@pytest.mark.parametrize("one", [b"1", b"{}", b'{"a":{}}'])
def test_millions_of_envelopes_are_refused_before_they_take_memory(one: bytes) -> None:
    body = b"[" + b",".join([one] * (1024 * 1024 // (len(one) + 1))) + b"]"
    tracemalloc.start()
    try:
        with pytest.raises((MalformedError, OversizeError)):
            snapshot.envelopes(body)
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_message_of_20_mb_is_refused_before_it_is_read() -> None:
    with pytest.raises(OversizeError):
        snapshot.read(
            orjson.dumps(envelope(lines={"1": {"locals": {"a": {"type": "str", "value": "x" * (20 << 20)}}}}))
        )


def test_values_that_are_too_deep_or_too_many_are_refused() -> None:
    deep: dict[str, Any] = {"type": "int", "value": "1"}
    for _ in range(200):
        deep = {"type": "list", "elements": [deep]}
    wide = {"type": "list", "elements": [{}] * 70_000}

    for value in (deep, wide):
        with pytest.raises(OversizeError):
            made({"a": value})


@pytest.mark.parametrize(
    "lie",
    [
        5,
        [],
        {"type": "list", "elements": {"0": {}}},
        {"type": "dict", "entries": [[{}]]},
        {"type": "dict", "entries": {"a": {}}},
        {"type": "Order", "fields": [1]},
        {"type": "int", "value": {"a": 1}},
        {"type": "Order", "fields": {"a": "text"}},
    ],
)
def test_values_of_another_form_are_refused_at_their_path(lie: object) -> None:
    with pytest.raises(MalformedError, match=r"captures\.lines"):
        made({"a": lie})


def test_harmless_lies_are_borne() -> None:
    value = local(
        made({"a": {"type": 7, "value": 5, "size": -1, "truncated": "yes", "notCapturedReason": 3}}), "a"
    )

    assert value == Value("", "5", missing=Missing.OTHER, reason="3")


_ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "value",
                    "fields",
                    "elements",
                    "entries",
                    "size",
                    "isNull",
                    "notCapturedReason",
                    "locals",
                    "lines",
                    "entry",
                    "return",
                    "captureExpressions",
                    "throwable",
                    "stacktrace",
                    "probe",
                    "id",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=20,
)


@given(_ANY, _ANY)
@settings(max_examples=60)
def test_any_captures_are_understood_or_refused(captures: Any, other: Any) -> None:
    document = envelope()
    document["debugger"]["snapshot"] |= {"captures": captures, "stack": other, "evaluationErrors": other}
    try:
        found = snapshot.read(orjson.dumps(document))
    except UntrustedError:
        return
    list(tree.rows(found))
    tree.search(found, "a")
    assert all(change.difference is tree.Difference.UNKNOWN for change in tree.compare(found, found).changes)
    for row in tree.rows(found):
        for language in Language:
            literals.copy(row.value, language)


# The tree -------------------------------------------------------------------------------------------------


def test_each_row_has_a_path_of_its_own_and_the_expression_that_reads_it() -> None:
    rows = {row.path: row for row in tree.rows(LINE)}

    assert len(rows) == len(list(tree.rows(LINE)))
    name = rows['13/order.owner["name"]']
    assert (name.shown, name.depth, name.group) == ("'bob'", 2, "locals")
    outcome = evaluate(parse(name.expression), LINE)
    assert (outcome.verdict, outcome.value) == (Verdict.VALUE, "bob")
    assert rows["13/order"].weight.values == 8
    assert rows["13/order"].weight.missing == 2


@pytest.mark.parametrize("found", [LINE, METHOD, *NODE.snapshots], ids=["line", "method", "node"])
def test_the_expression_of_every_row_reads_that_row(found: Snapshot) -> None:
    read = 0
    for row in tree.rows(found):
        if not row.expression or row.path.startswith("entry/"):
            continue
        outcome = evaluate(parse(row.expression), found)
        if outcome.verdict is Verdict.VALUE and isinstance(outcome.value, Value):
            assert outcome.value == row.value
        if outcome.verdict is Verdict.VALUE:
            read += 1
        else:
            assert row.value.missing is not None, (row.path, outcome)
    assert read > 30


def test_rows_beneath_a_row_are_asked_for_by_its_path() -> None:
    found = [row.path for row in tree.rows(LINE, beneath='13/order.owner["nested"]', depth=2)]

    assert found == ['13/order.owner["nested"]', '13/order.owner["nested"]["x"]']
    assert not list(tree.rows(LINE, beneath="13/order.nothing"))


def test_flags_say_what_to_know_before_a_value_is_trusted() -> None:
    rows = {row.path: row for row in tree.rows(LINE)}

    assert tree.flags(rows["13/long"].value) == ("cut off after 255 of 259 characters",)
    assert tree.flags(rows["13/nums"].value) == ("100 of 150 captured",)
    assert tree.flags(rows["13/order.token"].value) == ("redacted",)
    assert rows["13/order.token"].shown == "{redacted}"
    assert tree.flags(rows["13/total"].value) == ()


def test_names_types_and_values_are_searched() -> None:
    assert [row.path for row in tree.search(LINE, "BOB").rows] == [
        '13/order.owner["name"]',
        '13/data["order"].owner["name"]',
    ]
    assert tree.search(LINE, "nums", limit=0).total == 1
    assert tree.search(LINE, "  ").total == 0


def test_two_snapshots_are_compared() -> None:
    one = made({"a": {"type": "int", "value": "1"}, "b": {"type": "int", "value": "2"}, "s": {"type": "x"}})
    cut = {"type": "list", "notCapturedReason": "collectionSize", "elements": [], "size": 9}
    two = made({"a": {"type": "int", "value": "3"}, "c": {"type": "int", "value": "2"}, "s": cut})

    found = tree.compare(one, two)

    assert [(change.path, change.difference) for change in found.changes] == [
        ("line/a", tree.Difference.CHANGED),
        ("line/b", tree.Difference.REMOVED),
        ("line/s", tree.Difference.UNKNOWN),
        ("line/c", tree.Difference.ADDED),
    ]
    assert not tree.compare(one, two, limit=1).is_whole
    assert tree.compare(one, one).same == 3


def test_five_thousand_values_are_walked_quickly_enough_to_be_shown() -> None:
    inner = {"type": "Line", "fields": {f"f{n}": {"type": "int", "value": str(n)} for n in range(9)}}
    found = made({"rows": {"type": "list", "elements": [inner] * 500, "size": 500}})

    assert len(list(tree.rows(found))) == 1 + 500 * 10


# Literals -------------------------------------------------------------------------------------------------


def test_a_value_is_copied_as_a_literal_and_says_what_is_not_in_it() -> None:
    copied = literals.copy(local(LINE, "data"), Language.PYTHON)

    assert "'k': [1, 2, 3]" in copied.text
    assert copied.needs == ("from types import SimpleNamespace",)
    assert copied.gaps[0] == '["password"]: redactedIdent'
    ast.parse(copied.text, mode="eval")
    assert json.loads(literals.copy(local(LINE, "data"), Language.JSON).text)["k"] == [1, 2, 3]
    assert "undefined" in literals.copy(local(LINE, "data"), Language.JAVASCRIPT).text


@pytest.mark.parametrize(
    ("value", "python", "javascript", "in_json"),
    [
        (
            {"type": "str", "value": "'it\\'s \\x00 \\u00e4'"},
            repr("it's \0 ä"),
            '"it\'s \\u0000 ä"',
            '"it\'s \\u0000 ä"',
        ),
        ({"type": "bool", "value": "True"}, "True", "true", "true"),
        ({"type": "float", "value": "nan"}, 'float("nan")', "NaN", '"nan"'),
        (
            {"type": "int", "value": "12345678901234567890"},
            "12345678901234567890",
            "12345678901234567890n",
            "1234567890",
        ),
        ({"type": "NoneType", "isNull": True}, "None", "null", "null"),
        ({"type": "tuple", "elements": [{"type": "int", "value": "1"}]}, "(1,)", "[1]", "[1]"),
        ({"type": "set", "elements": []}, "set([])", "[]", "[]"),
        (
            {"type": "Decimal", "value": "__import__('os')"},
            repr("__import__('os')"),
            '"__import__',
            '"__import__',
        ),
        (
            {"type": "int", "value": "1); import os"},
            repr("1); import os"),
            '"1); import os"',
            '"1); import os"',
        ),
    ],
)
def test_scalars_are_written_as_each_language_has_them(
    value: dict[str, Any], python: str, javascript: str, in_json: str
) -> None:
    found = Reader().value(value, "$")

    assert literals.copy(found, Language.PYTHON).text == python
    assert literals.copy(found, Language.JAVASCRIPT).text.startswith(javascript)
    assert literals.copy(found, Language.JSON).text.startswith(in_json)


def made_up(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    dice = rng.randrange(5) if depth < 4 else 0
    words = ["a", "__proto__", "class", "it's", '"', "\\", "\n", "</script>", "ä", "x y", "\ud800"]
    text = {"type": "str", "value": repr(rng.choice(words))}
    if dice == 0:
        return rng.choice([text, {"type": "int", "value": "5"}, {"type": "X", "notCapturedReason": "depth"}])
    if dice == 1:
        return {
            "type": rng.choice(["list", "tuple", "set"]),
            "elements": [made_up(rng, depth + 1) for _ in range(3)],
        }
    if dice == 2:
        pairs = [[made_up(rng, 3 if rng.random() < 0.2 else 4), made_up(rng, depth + 1)] for _ in range(3)]
        return {"type": "dict", "entries": pairs}
    return {"type": "Order", "fields": {rng.choice(words): made_up(rng, depth + 1) for _ in range(3)}}


def test_a_literal_is_valid_in_its_language_whatever_was_captured() -> None:
    rng = random.Random(3)
    for _ in range(400):
        value = Reader().value(made_up(rng), "$")

        ast.parse(literals.copy(value, Language.PYTHON).text, mode="eval")
        json.loads(literals.copy(value, Language.JSON).text)
        assert "\ud800" not in literals.copy(value, Language.JAVASCRIPT).text
