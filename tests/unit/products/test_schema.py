"""Shapes find every problem, at its path, and never raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.products import PRODUCTS
from sealwire.products.schema import MAX_PROBLEMS, ListOf, Record, Report, Text, at, ip_or_network

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KNOWN_KEYS = sorted(
    {"id", "type", "data", "value", "operator", "parameters", "inputs", "on_match", "config", "tags", "rules"}
    | {key for product in PRODUCTS.values() for key in product.shape.members}
)
NEAR_MISSES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**12)
    | st.text(max_size=5)
    | st.sampled_from(["block_request"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KNOWN_KEYS), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(payload=JSON | NEAR_MISSES)
def test_no_json_value_makes_a_check_raise(payload: object) -> None:
    for product in PRODUCTS.values():
        problems = product.check(payload)

        assert len(problems) <= MAX_PROBLEMS
        assert all(problem.path.startswith("$") and problem.message for problem in problems)
        if isinstance(payload, dict) and not problems:
            product.warn(payload, {})
            product.conflicts(payload, {})


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a", "$.a"),
        ("path-inspection", "$.path-inspection"),
        (3, "$[3]"),
        ("a b", '$["a b"]'),
        ("", '$[""]'),
        ('"', '$["\\""]'),
        ("é", '$["\\u00e9"]'),
    ],
)
def test_a_path_reads_like_the_document(key: str | int, path: str) -> None:
    assert at("$", key) == path


def test_all_problems_of_a_document_are_collected() -> None:
    shape = Record(
        required={"name": Text(max_length=3), "list": ListOf(item=Text(), unique="id")},
        optional={"word": Text(one_of=("on", "off"))},
    )
    report = Report()

    shape.check({"nam": 1, "list": ["", 5, None], "word": "of"}, "$", report)

    assert [(problem.path, problem.message) for problem in report.problems] == [
        ("$.nam", 'Unknown key "nam". Did you mean "name"?'),
        ("$.list[0]", "The text must not be empty."),
        ("$.list[1]", "Expected a text, not a whole number."),
        ("$.list[2]", "Expected a text, not null. Leave the key out instead."),
        ("$.word", 'Expected "on" or "off", not "of". Did you mean "off"?'),
        ("$.name", "This key is required."),
    ]


@pytest.mark.parametrize(
    "text",
    ["203.0.113.7", "198.51.100.0/24", "2001:db8::/32", "2001:db8::1", "0.0.0.0/0", "::/0", "1.2.3.4/32"],
)
def test_a_canonical_address_or_network_is_taken(text: str) -> None:
    assert ip_or_network(text) is None


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("198.51.100.7/24", "198.51.100.0/24"),
        ("2001:DB8::1", "2001:db8::1"),
        ("2001:0db8:0:0::/32", "2001:db8::/32"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.0/120", "1.2.3.0/24"),
        ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("fe80::1%eth0", "zone"),
        ("01.2.3.4", "Expected"),
        ("1.2.3", "Expected"),
        ("1.2.3.4/33", "Expected"),
        ("example.com", "Expected"),
        (" 1.2.3.4", "Expected"),
        ("1.2.3.4/", "Expected"),
    ],
)
def test_another_spelling_is_refused_with_the_canonical_one(text: str, hint: str) -> None:
    wrong = ip_or_network(text)

    assert wrong is not None
    assert hint in wrong
