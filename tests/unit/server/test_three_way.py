"""What two people did to one config, put together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.server.authoring.three_way import merge


def entries(*values: str, **until: int) -> dict[str, Any]:
    data = [{"value": value, **({"expiration": until[value]} if value in until else {})} for value in values]
    return {"rules_data": [{"id": "blocked_ips", "data": data}]}


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "expected", "clashes"),
    [
        ({"a": 1}, {"a": 2}, {"a": 1, "b": 1}, {"a": 2, "b": 1}, ()),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}, ("$.a",)),
        ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, ()),
        ({"a": 1, "b": 1}, {"b": 1}, {"a": 1, "b": 2}, {"b": 2}, ()),
        ({"a": 1}, {}, {"a": 2}, {}, ("$.a",)),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 1}}, {"a": {"b": 2}}, {"a": {"b": 2, "c": 1}}, ()),
        ({"a": True}, {"a": 1}, {"a": True}, {"a": 1}, ()),
        (entries("x"), entries("x", "y"), entries("z", "x"), entries("z", "x", "y"), ()),
        (entries("x", "y"), entries("y"), entries("x", "y", "z"), entries("y", "z"), ()),
        (entries("x"), entries("x", x=1), entries("x", x=2), entries("x", x=1),
         ("$.rules_data[0].data[0].expiration",)),
        (["a:1"], ["a:1", "b:2"], ["c:3"], ["b:2", "c:3"], ()),
        ([1], [1, 2], [1, 3], [1, 2], ("$",)),
    ],
)  # fmt: skip
def test_both_changes_are_kept_and_what_clashes_is_told(
    base: Any, mine: Any, theirs: Any, expected: Any, clashes: tuple[str, ...]
) -> None:
    assert merge(base, mine, theirs) == (expected, clashes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "a", "b"]), inner),
    max_leaves=8,
)


@given(JSON, JSON)
def test_who_changed_nothing_changes_nothing(base: Any, changed: Any) -> None:
    assert merge(base, changed, base) == (changed, ())
    assert merge(base, base, changed) == (changed, ())
    assert merge(base, changed, changed) == (changed, ())


@given(JSON, JSON, JSON)
def test_any_three_can_be_merged(base: Any, mine: Any, theirs: Any) -> None:
    merge(base, mine, theirs)
