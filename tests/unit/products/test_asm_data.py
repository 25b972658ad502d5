"""ASM_DATA: addresses are canonical, expirations are seconds, types agree over configs."""

from __future__ import annotations

from typing import Any

import pytest

from sealwire.products import ConfigId
from sealwire.products.asm_data import PRODUCT

IP = "ip_with_expiration"
TEXT = "data_with_expiration"


def denylist(*values: object, kind: str = IP, list_id: str = "blocked_ips") -> dict[str, Any]:
    entries = [value if isinstance(value, dict) else {"value": value} for value in values]
    return {"rules_data": [{"id": list_id, "type": kind, "data": entries}]}


GOOD: list[dict[str, Any]] = [
    {
        "rules_data": [
            {
                "id": "blocked_ips",
                "type": IP,
                "data": [
                    {"value": "203.0.113.7"},
                    {"value": "2001:db8::/32", "expiration": 4102444800},
                    {"value": "198.51.100.0/24", "expiration": 0},
                ],
            }
        ]
    },
    {
        "rules_data": [
            {"id": "blocked_users", "type": TEXT, "data": [{"value": "mallory"}]},
            {"id": "blocked_sessions", "type": TEXT, "data": [{"value": "sess-42"}]},
        ]
    },
    {"exclusion_data": [{"id": "suspicious_ips", "type": IP, "data": [{"value": "192.0.2.66"}]}]},
    {"rules_data": [{"id": "blocked_ips", "type": IP, "data": [{"value": "::1"}]}], "exclusion_data": []},
]
BAD = [
    ({"rules_data": [{"id": "blocked_ips", "type": IP, "data": []}]}, "$.rules_data[0].data"),
    ({"exclusion_data": [{"id": "suspicious_ips", "type": IP, "data": []}]}, "$.exclusion_data[0].data"),
    (denylist("1.2.3.4/8"), "$.rules_data[0].data[0].value"),
    (denylist("1.2.3.4", "nonsense"), "$.rules_data[0].data[1].value"),
    (denylist({"value": 7}), "$.rules_data[0].data[0].value"),
    (denylist({}), "$.rules_data[0].data[0].value"),
    (denylist({"value": "1.2.3.4", "expires": 1}), "$.rules_data[0].data[0].expires"),
    (denylist({"value": "1.2.3.4", "expiration": 1700000000000}), "$.rules_data[0].data[0].expiration"),
    (denylist({"value": "1.2.3.4", "expiration": 10**11}), "$.rules_data[0].data[0].expiration"),
    (denylist({"value": "1.2.3.4", "expiration": -1}), "$.rules_data[0].data[0].expiration"),
    (denylist({"value": "1.2.3.4", "expiration": 1.5}), "$.rules_data[0].data[0].expiration"),
    (denylist({"value": "1.2.3.4", "expiration": True}), "$.rules_data[0].data[0].expiration"),
    (denylist("mallory", kind="users"), "$.rules_data[0].type"),
    (denylist("1.2.3.4", list_id=""), "$.rules_data[0].id"),
    ({"rules_data": [*denylist("::1")["rules_data"], *denylist("::1")["rules_data"]]}, "$.rules_data[1].id"),
    ({"rules_data": {"id": "blocked_ips"}}, "$.rules_data"),
    ({"rules_data": [["blocked_ips"]]}, "$.rules_data[0]"),
    ({"rules_data": [{"id": "a", "type": IP}]}, "$.rules_data[0].data"),
    ({"rule_data": []}, "$.rule_data"),
    (
        {"exclusion_data": [{"id": "a", "type": IP, "data": [{"value": "x"}]}]},
        "$.exclusion_data[0].data[0].value",
    ),
]


@pytest.mark.parametrize("payload", GOOD, ids=str)
def test_a_good_payload_passes(payload: dict[str, Any]) -> None:
    assert PRODUCT.check(payload) == ()


@pytest.mark.parametrize(("payload", "path"), BAD, ids=[str(payload) for payload, _ in BAD])
def test_a_bad_payload_is_refused_where_it_is_bad(payload: dict[str, Any], path: str) -> None:
    assert [problem.path for problem in PRODUCT.check(payload)][:1] == [path]


def test_the_last_second_that_is_not_milliseconds_is_taken() -> None:
    assert PRODUCT.check(denylist({"value": "1.2.3.4", "expiration": 10**11 - 1})) == ()


def test_milliseconds_are_called_so_with_the_seconds_they_are() -> None:
    (problem,) = PRODUCT.check(denylist({"value": "1.2.3.4", "expiration": 1700000000123}))

    assert "milliseconds" in problem.message
    assert "1700000000" in problem.message


def test_fifteen_thousand_entries_in_one_go_pass() -> None:
    addresses = [f"10.{number // 65536}.{number // 256 % 256}.{number % 256}" for number in range(12_500)]
    payload = denylist(*addresses)
    payload["rules_data"] += denylist(*map(str, range(2_500)), kind=TEXT, list_id="blocked_users")[
        "rules_data"
    ]

    assert PRODUCT.check(payload) == ()
    assert len(PRODUCT.render(payload)) > 300_000


def test_the_same_list_in_two_configs_is_joined_and_no_conflict() -> None:
    assert PRODUCT.conflicts(denylist("1.2.3.4"), {ConfigId("other"): denylist("1.2.3.4")}) == ()


def test_the_same_list_with_another_type_in_another_config_is_a_conflict() -> None:
    (problem,) = PRODUCT.conflicts(denylist("x", kind=TEXT), {ConfigId("other"): denylist("1.2.3.4")})

    assert problem.path == "$.rules_data[0].type"
    assert "other" in problem.message


def test_rules_data_and_exclusion_data_are_separate_names() -> None:
    exclusion = {"exclusion_data": denylist("x", kind=TEXT)["rules_data"]}

    assert PRODUCT.conflicts(exclusion, {ConfigId("other"): denylist("1.2.3.4")}) == ()


def test_a_value_that_stands_twice_is_a_warning() -> None:
    (problem,) = PRODUCT.warn(denylist("1.2.3.4", {"value": "1.2.3.4", "expiration": 5}), {})

    assert problem.path == "$.rules_data[0].data[1].value"
    assert "$.rules_data[0].data[0].value" in problem.message


def test_denying_everybody_is_a_warning() -> None:
    assert [problem.path for problem in PRODUCT.warn(denylist("0.0.0.0/0"), {})] == [
        "$.rules_data[0].data[0].value"
    ]


def test_a_standard_list_of_the_wrong_type_is_a_warning() -> None:
    assert [problem.path for problem in PRODUCT.warn(denylist("x", kind=TEXT), {})] == [
        "$.rules_data[0].type"
    ]
