"""What a change means, in the words a reviewer reads."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.products import PRODUCTS, Product
from sealwire.server.authoring.meaning import MAX_CHANGES, changes, targeting_changes
from sealwire.server.targeting import Targeting

TRACING, DATA, FEATURES, RULES = (
    PRODUCTS[name] for name in ("APM_TRACING", "ASM_DATA", "ASM_FEATURES", "ASM")
)


def words(product: Product, before: Any, after: Any) -> list[str]:
    return [change.words for change in changes(product, before, after)]


def tracing(**settings: Any) -> dict[str, Any]:
    return {"lib_config": settings}


def denied(*addresses: str, until: int | None = None, list_id: str = "blocked_ips") -> dict[str, Any]:
    more = {} if until is None else {"expiration": until}
    data = [{"value": address, **more} for address in addresses]
    return {"rules_data": [{"id": list_id, "type": "ip_with_expiration", "data": data}]}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (tracing(tracing_sampling_rate=0.1), tracing(tracing_sampling_rate=0.25), "Sampling rate 0.1 → 0.25"),
        (tracing(), tracing(log_injection_enabled=True), "Log injection not set → on"),
        (tracing(log_injection_enabled=True), tracing(), "Log injection on → not set"),
        (tracing(tracing_tags=["a:b"]), tracing(tracing_tags=["c:d"]), "Tags: adds c:d; removes a:b"),
        (tracing(tracing_tags=["a:b", "c"]), tracing(tracing_tags=["c", "a:b"]), "Tags: in another order"),
        (None, tracing(tracing_sampling_rate=0.5), "Sampling rate 0.5"),
    ],
)  # fmt: skip
def test_a_tracing_setting_is_told_by_its_name(before: Any, after: Any, expected: str) -> None:
    assert words(TRACING, before, after) == [expected]


def test_null_says_the_same_as_nothing() -> None:
    assert words(TRACING, tracing(), tracing(tracing_sampling_rate=None)) == []


def test_a_sampling_rule_without_a_name_is_the_one_in_its_place() -> None:
    rule = {"service": "shop", "sample_rate": 1, "provenance": "customer"}

    found = words(
        TRACING, tracing(tracing_sampling_rules=[rule]),
        tracing(tracing_sampling_rules=[{**rule, "sample_rate": 0.5}]),
    )  # fmt: skip

    assert found == ["Sampling rule 1: Sample rate 1 → 0.5"]


def test_addresses_are_counted_and_the_first_are_named() -> None:
    found = changes(DATA, denied("203.0.113.1"), denied(*(f"203.0.113.{n}" for n in range(1, 6))))

    assert [one.words for one in found] == [
        "Blocks 4 more addresses: 203.0.113.2, 203.0.113.3, 203.0.113.4 and 1 more"
    ]
    assert found[0].path == "$.rules_data[0]"


def test_who_is_let_go_and_until_when_others_stay_is_told() -> None:
    before, after = denied("203.0.113.1", "203.0.113.2"), denied("203.0.113.2", until=1_900_000_000)

    assert words(DATA, before, after) == [
        "No longer blocks 1 address: 203.0.113.1",
        "Changes until when 1 address count: 203.0.113.2 until 2030-03-17 17:46 UTC",
    ]
    assert words(DATA, before, None) == ["No longer blocks 2 addresses: 203.0.113.1, 203.0.113.2"]


def test_a_list_of_ones_own_is_called_by_its_name() -> None:
    assert words(DATA, None, denied("203.0.113.1", list_id="office")) == [
        "Adds 1 address to the list office: 203.0.113.1"
    ]


def test_a_rule_that_changes_is_named_before_what_changes_in_it() -> None:
    rule: dict[str, Any] = {
        "id": "acme-001",
        "name": "Block old exporters",
        "tags": {"type": "acme"},
        "conditions": [
            {"operator": "exists", "parameters": {"inputs": [{"address": "server.request.query"}]}},
        ],
    }
    changed = copy.deepcopy(rule)
    changed["conditions"][0]["operator"] = "is_xss"
    other = {**rule, "id": "acme-002"}

    found = words(RULES, {"custom_rules": [rule]}, {"custom_rules": [changed, other]})

    assert found == [
        "Adds custom rule acme-002 (Block old exporters)",
        "Custom rule acme-001: Condition 1: Operator exists → is_xss",
    ]


def test_the_switch_of_protection_is_told_when_it_is_new_and_when_it_goes() -> None:
    on = {"asm": {"enabled": True}}

    assert words(FEATURES, None, on) == ["App and API Protection on"]
    assert words(FEATURES, on, None) == ["App and API Protection on → not set"]


def test_a_long_list_of_values_is_cut_in_the_change_too() -> None:
    (found,) = changes(DATA, None, denied(*(f"203.0.113.{n}" for n in range(200))))

    assert "200 addresses" in found.words
    assert len(orjson.dumps(found.after)) < 1000


def test_there_is_an_end_to_what_is_told() -> None:
    variables = {f"DD_X_{number}": "1" for number in range(500)}

    found = changes(TRACING, {"sdk_config": {"config": {}}}, {"sdk_config": {"config": variables}})

    assert len(found) == MAX_CHANGES + 1
    assert found[-1].words == "And more: see the text"


def test_who_it_is_for_is_told_field_by_field() -> None:
    before, after = Targeting.parse({"service": ["shop"]}), Targeting.parse({"env": ["prod", "stage"]})

    assert [one.words for one in targeting_changes(before, after)] == [
        "Services shop → any", "Environments any → prod, stage",
    ]  # fmt: skip
    assert targeting_changes(before, before) == ()
    assert targeting_changes(None, after) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


def strange(product: Product) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from([*product.shape.members, "other"]), JSON, max_size=4)


@pytest.mark.parametrize("name", PRODUCTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_was_once_published_can_be_told(name: str, data: st.DataObject) -> None:
    product = PRODUCTS[name]
    before, after = data.draw(strange(product)), data.draw(strange(product))

    found = changes(product, before, after)

    assert all(change.words for change in found)
    assert changes(product, before, before) == ()


@pytest.mark.parametrize("name", PRODUCTS)
def test_each_products_example_is_told_coming_and_going(name: str) -> None:
    product = PRODUCTS[name]

    assert changes(product, None, product.example)
    assert changes(product, product.example, None)
    assert changes(product, product.example, copy.deepcopy(dict(product.example))) == ()
