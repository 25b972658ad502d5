"""A payload becomes fields of a page and the fields become the payload again; nothing is lost on the way."""

from __future__ import annotations

import copy
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products import PRODUCTS, Product
from sealwire.products.schema import (
    Anything,
    Boolean,
    Integer,
    ListOf,
    MapOf,
    Number,
    OrNull,
    Record,
    Scalar,
    Shape,
    Text,
    Variant,
)
from sealwire.server.ui import json_text, render
from sealwire.server.ui.schema_fields import act, blank, read, start
from sealwire.server.ui.schema_form import MAX_NODES, MAX_ROWS, Node, build, field_of
from tests.support.form_fields import fields_of

_drawn = render.macro("configs_form/_fields.html", "node")


def sent(product: Product, payload: Any) -> dict[str, list[str]]:
    """What a browser would send for the form of a payload."""
    return fields_of(_drawn(build(product, payload), ""))


def through_the_form(product: Product, payload: Any) -> Any:
    return read(product, sent(product, payload))[0]


# Values a shape allows, or nearly (the checks beyond the shape do not matter here) ----------------------

TEXTS = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    [
        " spaced ",
        "two\nlines",
        "\nleads",
        "a\rb",
        "a\r\nb",
        "tab\t",
        "<b>&amp;</b>",
        "5",
        "true",
        "",
        "\x00",
        "~",
    ]
)
KEYS = st.text(alphabet=string.ascii_letters + " .~[]<\"'", min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def of(shape: Shape, depth: int = 0) -> st.SearchStrategy[Any]:
    match shape:
        case OrNull():
            return st.none() | of(shape.shape, depth)
        case Scalar():
            return (
                TEXTS
                | st.integers(-(2**53), 2**53)
                | st.booleans()
                | st.floats(allow_nan=False, allow_infinity=False)
            )
        case Text():
            if shape.one_of:
                return st.sampled_from(shape.one_of)
            return TEXTS.filter(lambda text: len(text) >= shape.min_length)
        case Integer():
            return st.integers(shape.least, shape.most)
        case Number():
            return st.floats(shape.least, shape.most) | st.integers(0, 1)
        case Boolean():
            return st.booleans()
        case ListOf():
            return st.lists(
                of(shape.item, depth + 1), min_size=shape.min_items, max_size=3 if depth < 4 else 1
            )
        case MapOf():
            known = {key: of(inner, depth + 1) for key, inner in shape.known.items()}
            required = {key: of(shape.known.get(key, shape.value), depth + 1) for key in shape.required}
            free = st.dictionaries(KEYS, of(shape.value, depth + 1), max_size=2)
            return st.builds(
                lambda a, b, c: {**{k: v for k, v in a.items() if k not in known}, **b, **c},
                free, st.fixed_dictionaries({}, optional=known), st.fixed_dictionaries(required),
            )  # fmt: skip
        case Record():
            return st.fixed_dictionaries(
                {key: of(inner, depth + 1) for key, inner in shape.required.items()},
                optional={key: of(inner, depth + 1) for key, inner in shape.optional.items()},
            )
        case Variant():
            return st.sampled_from(shape.cases).flatmap(lambda case: of(case[1], depth))
        case Anything():
            return JSON
        case _:
            raise AssertionError(shape)


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_example_goes_through_the_form_unchanged(name: str) -> None:
    product = PRODUCTS[name]

    assert through_the_form(product, product.example) == product.example


@pytest.mark.parametrize("name", PRODUCTS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_the_shape_allows_goes_through_the_form_unchanged(name: str, data: st.DataObject) -> None:
    product = PRODUCTS[name]
    payload = data.draw(of(product.shape))

    found, problems = read(product, sent(product, payload))

    assert _same(found, payload)
    assert problems == ()


def _same(one: Any, other: Any) -> bool:
    """Equal, and of the same types: 1 is not True and not 1.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("name", PRODUCTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_no_shape_allows_goes_through_as_json(name: str, data: st.DataObject) -> None:
    """But for an empty text where one is needed, which comes back as nothing."""
    product = PRODUCTS[name]
    payload = data.draw(st.dictionaries(st.sampled_from([*product.shape.members, "other"]), JSON, max_size=3))

    found = through_the_form(product, payload)

    for key, value in payload.items():
        if not (isinstance(value, dict | list) or value == ""):
            assert found.get(key) == value


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_new_payload_goes_through_the_form_unchanged(name: str) -> None:
    product = PRODUCTS[name]

    assert through_the_form(product, start(product)) == start(product)


def test_thirty_thousand_entries_are_kept_though_a_hundred_are_shown() -> None:
    product = PRODUCTS["ASM_DATA"]
    data = [{"value": f"10.{n // 65536}.{n // 256 % 256}.{n % 256}"} for n in range(30_000)]
    payload = {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": data}]}

    fields = sent(product, payload)

    assert read(product, fields)[0] == payload
    assert f"p.rules_data.0.data.{MAX_ROWS - 1}.value" in fields
    assert f"p.rules_data.0.data.{MAX_ROWS}.value" not in fields
    assert len(fields) < MAX_NODES


def test_a_ruleset_of_a_megabyte_is_kept_though_a_part_is_shown() -> None:
    product = PRODUCTS["ASM_DD"]
    (rule, *_) = product.example["rules"]  # type: ignore[misc]
    rules = [{**copy.deepcopy(rule), "id": f"acme-{n}"} for n in range(3000)]
    payload = {**product.example, "rules": rules}

    fields = sent(product, payload)

    assert read(product, fields)[0] == payload
    assert len(fields) < 4 * MAX_NODES


# What people do with it ---------------------------------------------------------------------------------

DATA, TRACING, ASM = PRODUCTS["ASM_DATA"], PRODUCTS["APM_TRACING"], PRODUCTS["ASM"]


def test_what_is_typed_into_a_new_form_becomes_the_payload() -> None:
    fields = sent(DATA, start(DATA))
    fields |= {
        "p.rules_data.0.id": ["blocked_ips"],
        "p.rules_data.0.type": ["ip_with_expiration"],
        "p.rules_data.0.data.0.value": ["203.0.113.7"],
        "p.rules_data.0.data.0.expiration": ["2099-12-31T23:59:00"],
    }

    payload, _ = read(DATA, fields)

    assert payload == {
        "rules_data": [
            {
                "id": "blocked_ips",
                "type": "ip_with_expiration",
                "data": [{"value": "203.0.113.7", "expiration": 4_102_444_740}],
            }
        ]
    }
    assert DATA.check(payload) == ()


def test_rows_are_added_moved_and_removed() -> None:
    payload: dict[str, Any] = {"rules_data": [{"id": "a"}]}

    assert act(DATA, payload, "add", "p.rules_data") == "p.rules_data.1"
    payload["rules_data"][1]["id"] = "b"
    assert act(DATA, payload, "up", "p.rules_data.1") == "p.rules_data.0"
    assert [row["id"] for row in payload["rules_data"]] == ["b", "a"]
    act(DATA, payload, "add", "p.rules_data.0.data")
    assert payload["rules_data"][0]["data"] == [{}, {}]  # one is there from the start: there must be one
    act(DATA, payload, "remove", "p.rules_data.0")
    assert [row["id"] for row in payload["rules_data"]] == ["a"]
    act(DATA, payload, "remove", "p.rules_data")
    assert payload == {}


def test_members_and_entries_are_added_and_unknown_ones_removed() -> None:
    payload: dict[str, Any] = {"lib_config": {"wrong": 1}}

    act(TRACING, payload, "set", "p.lib_config.tracing_sampling_rules")
    act(TRACING, payload, "remove", "p.lib_config.~x0")
    act(TRACING, payload, "set", "p.sdk_config")
    assert act(TRACING, payload, "add", "p.sdk_config.config") == "p.sdk_config.config.0"

    assert payload == {
        "lib_config": {"tracing_sampling_rules": [{}]}, "sdk_config": {"config": {"": ""}},
    }  # fmt: skip
    assert through_the_form(TRACING, payload) == payload


@pytest.mark.parametrize(
    "name",
    ["", "p", "p.", "q.x", "p.rules_data.99", "p.rules_data.-1", "p.rules_data.0.nothing", "p.rules_data.²",
     "p.~x5", "p.rules_data.0.data.0.value.x", "p.rules_data.99999999999"],
)  # fmt: skip
@pytest.mark.parametrize("action", ["add", "remove", "set", "up", "explode"])
def test_a_button_that_does_not_exist_does_nothing(action: str, name: str) -> None:
    payload = copy.deepcopy(dict(DATA.example))

    act(DATA, payload, action, name)

    assert payload == DATA.example


def test_lines_that_are_pasted_become_entries() -> None:
    fields = sent(DATA, start(DATA))
    fields["p.rules_data.0.data~paste"] = ["203.0.113.1\r\n\r\n 203.0.113.2 \r\n"]

    (element,) = read(DATA, fields)[0]["rules_data"]

    assert element["data"] == [{"value": "203.0.113.1"}, {"value": "203.0.113.2"}]


def test_what_is_no_number_stays_as_typed_and_is_a_problem_at_its_field() -> None:
    fields = sent(TRACING, {"lib_config": {"tracing_sampling_rate": 0.5}})
    fields["p.lib_config.tracing_sampling_rate"] = ["half"]

    payload, _ = read(TRACING, fields)
    root = build(TRACING, payload, TRACING.check(payload))

    node = node_at(root, "$.lib_config.tracing_sampling_rate")
    assert (node.kind, node.value) == ("number", "half")
    assert node.problems == ["Expected a number, not a text."]


def test_json_that_is_none_stays_as_typed_with_the_place_of_the_mistake() -> None:
    product = PRODUCTS["APM_TRACING"]
    fields = sent(product, {"lib_config": {"data_streams_transaction_extractors": [1]}})
    fields["p.lib_config.data_streams_transaction_extractors~json"] = ["[1,\r\n2"]

    payload, problems = read(product, fields)
    root = build(product, payload, problems)

    node = node_at(root, "$.lib_config.data_streams_transaction_extractors")
    assert node.value == "[1,\n2"
    assert node.problems == ["This is not JSON: a comma is missing at line 2, column 2."]


def test_two_entries_of_one_name_are_both_kept_and_told() -> None:
    payload = {"sdk_config": {"config": {"DD_A": "1", "DD_B": "2"}}}
    fields = sent(TRACING, payload)
    fields["p.sdk_config.config.1~key"] = ["DD_A"]

    found, problems = read(TRACING, fields)

    assert found == {"sdk_config": {"config": {"DD_A": "1", "DD_A (2)": "2"}}}
    assert [problem.path for problem in problems] == ["$.sdk_config.config"]


def test_a_union_shows_other_fields_for_another_word_and_keeps_what_was_typed() -> None:
    action = {"id": "a", "type": "block_request", "parameters": {"status_code": 418}}
    fields = sent(ASM, {"actions": [action]})
    fields["p.actions.0"] = ["redirect_request"]

    payload, _ = read(ASM, fields)

    assert payload == {"actions": [{**action, "type": "redirect_request"}]}
    parameters = node_at(build(ASM, payload), "$.actions[0].parameters")
    assert [one.path.rpartition(".")[2] for one in parameters.members] == ["location", "status_code"]


def test_a_problem_stands_at_its_field_or_at_the_nearest_there_is() -> None:
    payload = {"rules_data": [{"id": "x", "type": "ip_with_expiration", "data": [{"value": "no"}], "odd": 1}]}
    problems = [
        *DATA.check(payload),
        Problem("$.rules_data[0].data[700].value", "far away"),
        Problem("$.x", "y"),
    ]

    root = build(DATA, payload, problems)

    assert node_at(root, "$.rules_data[0].odd").problems[0].startswith('Unknown key "odd".')
    assert node_at(root, "$.rules_data[0].data").problems == ["Element 701: far away"]
    assert root.problems == ["x: y"]
    assert field_of(root, "$.rules_data[0].data[0].value") == "f-p.rules_data.0.data.0.value"


def test_a_problem_of_a_line_says_which() -> None:
    payload = {"lib_config": {"tracing_tags": ["a:b", "c"]}}

    node = node_at(build(TRACING, payload, TRACING.check(payload)), "$.lib_config.tracing_tags")

    assert (node.kind, node.value) == ("lines", "a:b\nc")
    assert node.problems[0].startswith("Line 2: Expected key:value")


@given(
    st.dictionaries(st.text(max_size=30), st.lists(st.text(max_size=10), min_size=1, max_size=2), max_size=8)
)
def test_fields_that_nobody_drew_do_no_harm(fields: dict[str, list[str]]) -> None:
    for product in PRODUCTS.values():
        payload, _ = read(product, {f"p{name}": values for name, values in fields.items()})
        assert isinstance(payload, dict)


def test_every_blank_is_small() -> None:
    assert all(len(str(blank(product.shape))) < 200 for product in PRODUCTS.values())


def node_at(root: Node, path: str) -> Node:
    for one in (*root.members, *root.rare):
        if path == one.path:
            return one
        if path.startswith(one.path):
            return node_at(one, path)
    raise AssertionError(path)


# JSON as text -------------------------------------------------------------------------------------------


@given(JSON)
def test_what_is_printed_is_read_as_the_same(value: Any) -> None:
    assert json_text.parse(json_text.pretty(value)) == value
    assert json_text.parse(json_text.compact(value)) == value


def test_a_list_of_small_objects_is_one_line_each() -> None:
    printed = json_text.pretty(
        {"data": [{"value": f"203.0.113.{n}", "expiration": 4102444800} for n in range(9)]}
    )

    assert len(printed.split("\n")) == 13
    assert '    {"value": "203.0.113.0", "expiration": 4102444800},' in printed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1,\n "b" 2}', "a colon is missing at line 2, column 6"),
        ('{"a": 1, "a": 2}', 'The key "a" stands twice in one object.'),
        ("[NaN]", "NaN is no JSON number."),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 10_000, "a number that is too long"),
        ("", "a value is missing at line 1, column 1"),
        ('{"a": 1} x', "there is more after its end"),
    ],
)
def test_a_mistake_in_json_is_told_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(InvalidChangeError) as caught:
        json_text.parse(text)

    assert expected in caught.value.problems[0].message
