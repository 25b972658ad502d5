"""LIVE_DEBUGGING and its symbols: ids, versions, permissions, files."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

import pytest

from sealwire.products import PRODUCTS, ConfigId
from sealwire.products.live_debugging import MAX_TOGETHER, PRODUCT, config_id_of, probe_id

SYMBOLS = PRODUCTS["LIVE_DEBUGGING_SYMBOL_DB"]
PLAIN = dict(PRODUCT.example)
ID = ConfigId("3fa1b2c3d4e5f607")
VALUE = {"dsl": "a", "json": {"ref": "a"}}
DECORATION = {
    "type": "SPAN_DECORATION_PROBE", "language": "python", "where": {"typeName": "m", "methodName": "f"},
    "decorations": [{"tags": [{"name": "a", "value": {"segments": [{"str": "fixed"}]}}]}],
}  # fmt: skip


def paths(payload: dict[str, Any]) -> list[str]:
    return [problem.path for problem in PRODUCT.check(payload)]


def test_a_config_id_and_a_uuid_are_two_spellings_of_one_thing() -> None:
    for config_id in (secrets.token_hex(8) for _ in range(200)):
        found = uuid.UUID(probe_id(config_id))
        assert (found.version, found.variant) == (8, uuid.RFC_4122)
        assert config_id_of(str(found)) == config_id
        assert str(found).startswith(config_id[:2])


@pytest.mark.parametrize(
    "change", [lambda one: one[:-1] + ("0" if one[-1] != "0" else "1"), str.upper, str.strip]
)
def test_a_uuid_that_no_config_has_is_of_none(change: Any) -> None:
    asked = change(probe_id(ID)) if change is not str.strip else "not a uuid"
    assert config_id_of(asked) is None


def test_the_file_has_the_word_java_looks_for_and_the_id_it_is_known_by() -> None:
    published = PRODUCT.publish(ID, {**PLAIN, "version": 1})
    assert (published.file_id, published.name) == (f"logProbe_{probe_id(ID)}", "config")
    assert published.payload["id"] == probe_id(ID)
    assert published.file_id.startswith(PRODUCT.file_prefixes)
    assert PRODUCT.publish(ID, {**DECORATION, "version": 1}).file_id.startswith("spanDecorationProbe_")
    assert SYMBOLS.publish(ID, {"upload_symbols": True}) == (
        f"symDb_{ID}",
        {"upload_symbols": True},
        "config",
    )


def test_a_python_probe_that_changes_goes_and_comes_others_change_in_place() -> None:
    assert PRODUCT.publish(ID, {**PLAIN, "version": 2}).name == "v2"
    assert PRODUCT.publish(ID, {**PLAIN, "version": 2, "language": "javascript"}).name == "config"


def test_the_version_is_one_and_grows_with_what_a_tracer_reads() -> None:
    first = PRODUCT.succeed(None, {**PLAIN, "version": 77})
    same = PRODUCT.succeed(first, {**PLAIN, "version": 5})
    second = PRODUCT.succeed(first, {**PLAIN, "template": "else"})
    assert [one["version"] for one in (first, same, second)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("more", "demands", "minutes"),
    [
        ({}, (), 43_200),
        ({"captureSnapshot": True}, ("debugger_capture_variables",), 60),
        ({"captureExpressions": [{"name": "a", "expr": VALUE}]}, ("debugger_capture_variables",), 60),
        ({"segments": [VALUE]}, ("debugger_capture_variables",), 43_200),
        ({"when": VALUE}, (), 43_200),
    ],
)
def test_what_brings_values_out_takes_a_permission_and_captures_are_over_soon(
    more: dict[str, Any], demands: tuple[str, ...], minutes: int
) -> None:
    payload = {**PLAIN, **more}
    assert PRODUCT.check(payload) == ()
    assert (PRODUCT.demands(payload), PRODUCT.lasts(payload)) == (demands, minutes)


def test_tags_with_values_take_the_permission_a_metric_does_not() -> None:
    assert PRODUCT.demands(DECORATION) == ()
    valued = {**DECORATION, "decorations": [{"tags": [{"name": "a", "value": {"segments": [VALUE]}}]}]}
    metric = {
        "type": "METRIC_PROBE", "language": "python", "where": DECORATION["where"], "metricName": "a",
        "kind": "GAUGE", "value": VALUE,
    }  # fmt: skip
    assert PRODUCT.check(valued) == PRODUCT.check(metric) == ()
    assert (PRODUCT.demands(valued), PRODUCT.demands(metric)) == (("debugger_capture_variables",), ())


def test_what_no_tracer_reads_is_refused_where_it_stands() -> None:
    assert paths({**PLAIN, "when": {"json": {"grater": [1, 2]}}}) == ["$.when.json"]
    assert paths({**PLAIN, "segments": [{"json": 1, "str": "a"}]}) == ["$.segments[0]"]
    assert paths({**PLAIN, "segments": [{"json": None}]}) == []
    assert paths({**PLAIN, "where": {"sourceFile": "a.py", "lines": ["one"]}}) == ["$.where.lines[0]"]
    assert paths({**PLAIN, "where": {"sourceFile": "a.py", "methodName": "f"}}) == ["$.where"]
    assert paths({**PLAIN, "kind": "COUNT"}) == ["$.kind"]
    assert paths({**PLAIN, "type": "METRIC_PROBE"})[:2] == ["$.metricName", "$.kind"]


def test_a_probe_is_for_one_service_and_a_program_takes_a_hundred() -> None:
    assert not PRODUCT.misaimed({"service": ["shop"]})
    assert [problem.path for problem in PRODUCT.misaimed({})] == ["$.service"]
    assert PRODUCT.misaimed({"service": ["shop", "cart"]})
    others = {ConfigId(str(number)): PLAIN for number in range(MAX_TOGETHER)}
    assert PRODUCT.conflicts(PLAIN, others)
    others.popitem()
    assert not PRODUCT.conflicts(PLAIN, others)


def test_symbols_are_asked_for_or_not_there() -> None:
    assert [problem.path for problem in SYMBOLS.check({"upload_symbols": False})] == ["$.upload_symbols"]
