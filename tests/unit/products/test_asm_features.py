"""ASM_FEATURES: keys are merged one by one, and the most specific one wins."""

from __future__ import annotations

import pytest

from sealwire.products import ClientFacts, ConfigId, Source
from sealwire.products.asm_features import PRODUCT

CLIENT = ClientFacts(client_id="c", service="shop", language="node")

GOOD = [
    {"asm": {"enabled": True}},
    {"asm": {"enabled": False}},
    {"auto_user_instrum": {"mode": "identification"}},
    {"auto_user_instrum": {"mode": "anonymization"}, "asm": {"enabled": True}},
    {"api_security": {"request_sample_rate": 0.1}},
]
BAD = [
    ({"asm": True}, "$.asm"),
    ({"asm": {}}, "$.asm.enabled"),
    ({"asm": {"enabled": 1}}, "$.asm.enabled"),
    ({"asm": {"enabled": "true"}}, "$.asm.enabled"),
    ({"asm": {"enabled": None}}, "$.asm.enabled"),
    ({"asm": {"enabled": True, "enable": True}}, "$.asm.enable"),
    ({"auto_user_instrum": {"mode": "identify"}}, "$.auto_user_instrum.mode"),
    ({"auto_user_instrum": {"mode": ["disabled"]}}, "$.auto_user_instrum.mode"),
    ({"api_security": {"request_sample_rate": 1.5}}, "$.api_security.request_sample_rate"),
    ({"api_security": {"request_sample_rate": float("nan")}}, "$.api_security.request_sample_rate"),
    ({"ASM": {"enabled": True}}, "$.ASM"),
]


def source(config_id: str, priority: int, payload: dict[str, object]) -> Source:
    return Source(config_id=ConfigId(config_id), revision=1, priority=priority, payload=payload)


@pytest.mark.parametrize("payload", GOOD, ids=str)
def test_a_good_payload_passes(payload: dict[str, object]) -> None:
    assert PRODUCT.check(payload) == ()


@pytest.mark.parametrize(("payload", "path"), BAD, ids=[str(payload) for payload, _ in BAD])
def test_a_bad_payload_is_refused_where_it_is_bad(payload: dict[str, object], path: str) -> None:
    assert path in [problem.path for problem in PRODUCT.check(payload)]


def test_the_most_specific_config_wins_key_by_key() -> None:
    merged = PRODUCT.merge(
        [
            source("org", 1, {"asm": {"enabled": True}, "auto_user_instrum": {"mode": "disabled"}}),
            source("shop", 4, {"asm": {"enabled": False}}),
        ],
        CLIENT,
    )

    assert merged.payload == {"asm": {"enabled": False}, "auto_user_instrum": {"mode": "disabled"}}
    assert merged.provenance == {"$.asm.enabled": "shop", "$.auto_user_instrum.mode": "org"}
    assert merged.released == {}


def test_merging_leaves_the_sources_as_they_were() -> None:
    org: dict[str, object] = {"asm": {"enabled": True}}

    PRODUCT.merge([source("org", 1, org), source("shop", 4, {"asm": {"enabled": False}})], CLIENT)

    assert org == {"asm": {"enabled": True}}


def test_nothing_sticks() -> None:
    assert PRODUCT.sticky_values({"asm": {"enabled": True}}, "python") == {}
