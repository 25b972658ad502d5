"""The support matrix: one table, and what it says of the clients a config is aimed at."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from sealwire.products import PRODUCTS, ClientFacts
from sealwire.server.fleet import support
from sealwire.server.fleet.support import DOCUMENTED, FEATURES, LANGUAGES, SEEN, SOURCE, Minimum, too_old

BY_NAME = {feature.name: feature for feature in FEATURES}


def client(language: str = "node", version: str = "5.132.0", number: int = 0) -> ClientFacts:
    return ClientFacts(client_id=f"c{number}", language=language, tracer_version=version)


def documented(name: str) -> dict[str, str]:
    return {
        language: minimum.version
        for language, minimum in BY_NAME[name].minimum.items()
        if minimum.source == DOCUMENTED
    }


def test_the_versions_that_are_documented_are_those_of_the_documentation() -> None:
    assert support.LEAST_AGENT == "7.41.1"
    assert documented("asm_blocking") == {
        "go": "1.45.1", "java": "1.4.0", "dotnet": "2.16.0", "node": "3.11.0",
    }  # fmt: skip
    assert documented("asm_activation") == {"java": "1.4.0", "dotnet": "2.17.0", "node": "3.9.0"}
    assert documented("debugger") == {"java": "1.5.0", "dotnet": "2.22.0"}


def test_every_cell_says_how_it_is_known() -> None:
    for feature in FEATURES:
        assert feature.minimum, feature.name
        assert set(feature.minimum) <= set(LANGUAGES), feature.name
        for minimum in feature.minimum.values():
            assert minimum.source in (DOCUMENTED, SEEN, SOURCE)
            assert bool(minimum.version) == (minimum.source != SOURCE)
            assert not minimum.version or re.fullmatch(r"\d+\.\d+\.\d+", minimum.version)
    assert len(BY_NAME) == len(FEATURES)


def test_every_product_has_features_and_its_example_needs_one() -> None:
    for product in PRODUCTS.values():
        assert support.needed_by(product.name, product.example), product.name


@pytest.mark.parametrize(
    ("version", "older"),
    [("3.10.9", True), ("v3.10.0", True), ("3.11.0", False), ("3.11.0-beta1", False), ("12.0.0", False)],
)
def test_versions_compare_by_their_numbers(version: str, older: bool) -> None:
    found = too_old("ASM_DATA", {"rules_data": []}, [client(version=version)])

    assert bool(found) == older


def test_the_sentence_of_who_is_too_old() -> None:
    clients = [client(version="3.1.0", number=n) for n in range(12)]
    clients += [client(number=n) for n in range(12, 40)]

    (finding,) = too_old("ASM_DATA", {"rules_data": []}, clients)

    assert finding.words == (
        "12 of 40 clients it is aimed at are older than Node.js 3.11.0 and will ignore it "
        "(Blocking of addresses and users)."
    )
    assert [one.client_id for one in finding.clients] == [f"c{n}" for n in range(12)]
    assert finding.minimum == "3.11.0"


def test_what_a_config_does_not_use_is_nobodys_trouble() -> None:
    old = [client("python", "2.21.11"), client("go", "v2.1.0", 1)]

    assert too_old("APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.5}}, old) == ()
    replay = too_old("APM_TRACING", {"lib_config": {"exception_replay_enabled": True}}, old)
    assert [(one.language, one.minimum) for one in replay] == [("python", "3.19.5"), ("go", "")]
    assert "where this does not exist (Exception replay)" in replay[1].words
    assert too_old("APM_TRACING", {"lib_config": {"exception_replay_enabled": None}}, old) == ()


def test_without_a_payload_only_what_all_of_the_product_needs_counts() -> None:
    assert too_old("APM_TRACING", None, [client("go", "v1.0.0")]) == ()
    assert [one.feature.name for one in too_old("APM_TRACING", None, [client("python", "1.0.0")])] == [
        "apm_settings"
    ]


def test_nobody_is_called_too_old_where_nobody_knows_since_when() -> None:
    assert too_old("ASM", {"rules_override": []}, [client("java", "0.1.0")]) == ()
    assert support.takes(Minimum("", SOURCE), "0.1")
    assert not support.takes(None, "99.0.0")


@pytest.mark.parametrize("odd", [client("cobol", "1"), client(""), replace(client(), tracer_version="?")])
def test_languages_and_versions_nobody_knows_are_left_alone(odd: ClientFacts) -> None:
    assert too_old("ASM_DATA", {"rules_data": []}, [odd]) == ()


def test_the_least_version_of_a_product_is_that_of_its_oldest_feature() -> None:
    assert support.least("APM_TRACING", "python") == "2.21.11"
    assert support.least("ASM_FEATURES", "node") == "3.9.0"
    assert support.least("ASM_DATA", "go") == "1.45.1"
    assert support.least("APM_TRACING", "java") == ""
    assert support.least("NOTHING", "python") == ""
