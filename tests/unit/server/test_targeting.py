"""Who a config is for, and the sentences for those it is not for."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import InvalidChangeError
from sealwire.products import ClientFacts
from sealwire.server.targeting import Targeting

SHOP = ClientFacts(
    client_id="c1",
    service="Shop",
    env="prod",
    language="python",
    tracer_version="4.16.0",
    app_version="1.2",
    host_tags=frozenset({"role:web", "zone:a"}),
)


@pytest.mark.parametrize(
    ("targeting", "expected"),
    [
        ({}, True),
        ({"service": ["shop"]}, True),
        ({"service": ["SHOP"], "env": ["PROD"]}, True),
        ({"service": ["cart", "shop"]}, True),
        ({"service": ["cart"]}, False),
        ({"service": ["shop"], "env": ["staging"]}, False),
        ({"language": ["node", "python"]}, True),
        ({"language": ["node"]}, False),
        ({"app_version": ["1.2"]}, True),
        ({"app_version": ["1.2.0"]}, False),
        ({"host_tags": ["role:db", "zone:a"]}, True),
        ({"host_tags": ["role:db"]}, False),
        ({"client_id": ["c1"]}, True),
        ({"client_id": ["C1"]}, False),
        ({"tracer_version": ">=4"}, True),
        ({"tracer_version": ">=2.8.0,<5"}, True),
        ({"tracer_version": ">4.16"}, False),
    ],
    ids=str,
)
def test_alternatives_within_a_field_and_all_fields_together(
    targeting: dict[str, Any], expected: bool
) -> None:
    assert Targeting.parse(targeting).matches(SHOP) is expected


@pytest.mark.parametrize(
    ("bounds", "reported", "expected"),
    [
        (">=2.8.0,<5", "2.8", True),
        (">=2.8.0,<5", "5.0.0", False),
        (">=2.8.0,<5", "4.99.1rc2", True),
        (">=2.8.0,<5", "10.0", False),
        ("< 5.0.0", "v4.9.0-dev.3", True),
        ("=4.16", "4.16.0", True),
        ("==4.16", "4.16.1", False),
        ("!=4.16.1", "4.16.1", False),
        (">=1.2.3.4", "1.2.3.5", True),
        (">=0", "", False),
        (">=0", "unknown", False),
        ("<5", "99999999999999999999", False),
    ],
)
def test_a_version_range_compares_the_leading_numbers(bounds: str, reported: str, expected: bool) -> None:
    facts = dataclasses.replace(SHOP, tracer_version=reported)

    assert Targeting.parse({"tracer_version": bounds}).matches(facts) is expected


@pytest.mark.parametrize(
    ("targeting", "path", "hint"),
    [
        ([], "$.targeting", "object"),
        ("shop", "$.targeting", "object"),
        ({"servce": ["shop"]}, "$.targeting.servce", 'Did you mean "service"?'),
        ({"service": "shop"}, "$.targeting.service", "list"),
        ({"service": []}, "$.targeting.service", "empty"),
        ({"service": ["shop", 3]}, "$.targeting.service[1]", "text"),
        ({"service": [""]}, "$.targeting.service[0]", "empty"),
        ({"language": ["nodejs"]}, "$.targeting.language[0]", '"node"'),
        ({"language": ["Python"]}, "$.targeting.language[0]", '"python"'),
        ({"host_tags": ["web"]}, "$.targeting.host_tags[0]", "role:web"),
        ({"tracer_version": "2.*"}, "$.targeting.tracer_version", ">=2.8.0,<5"),
        ({"tracer_version": "2.8.0"}, "$.targeting.tracer_version", ">=2.8.0,<5"),
        ({"tracer_version": ">=2,"}, "$.targeting.tracer_version", ">=2.8.0,<5"),
        ({"tracer_version": ">=1.2.3.4.5"}, "$.targeting.tracer_version", ">=2.8.0,<5"),
        ({"tracer_version": ">=²"}, "$.targeting.tracer_version", ">=2.8.0,<5"),
        ({"tracer_version": [">=2"]}, "$.targeting.tracer_version", "text"),
    ],
    ids=str,
)
def test_a_mistake_is_refused_at_its_path(targeting: object, path: str, hint: str) -> None:
    with pytest.raises(InvalidChangeError) as caught:
        Targeting.parse(targeting)

    assert [problem.path for problem in caught.value.problems] == [path]
    assert hint in caught.value.problems[0].message


def test_all_mistakes_are_told_at_once_under_the_path_given() -> None:
    with pytest.raises(InvalidChangeError) as caught:
        Targeting.parse({"service": [], "env": [1], "tracer_version": "new"}, "$.body.targeting")

    assert [problem.path for problem in caught.value.problems] == [
        "$.body.targeting.service",
        "$.body.targeting.env[0]",
        "$.body.targeting.tracer_version",
    ]


def test_no_targeting_is_everybody() -> None:
    assert Targeting.parse(None) == Targeting() == Targeting.parse({})
    assert Targeting().matches(ClientFacts(client_id="anyone"))


@pytest.mark.parametrize(
    ("targeting", "specificity", "is_coarse"),
    [
        ({}, 1, True),
        ({"language": ["go"]}, 2, True),
        ({"host_tags": ["a:b"]}, 2, False),
        ({"tracer_version": ">1"}, 2, False),
        ({"env": ["prod"]}, 3, True),
        ({"env": ["prod"], "client_id": ["c"]}, 3, False),
        ({"service": ["shop"]}, 4, True),
        ({"service": ["shop"], "app_version": ["1"]}, 4, False),
        ({"service": ["shop"], "env": ["prod"], "language": ["go"]}, 5, True),
    ],
    ids=str,
)
def test_specificity_and_coarseness(targeting: dict[str, Any], specificity: int, is_coarse: bool) -> None:
    parsed = Targeting.parse(targeting)

    assert (parsed.specificity, parsed.is_coarse) == (specificity, is_coarse)


def test_each_field_that_keeps_a_client_out_has_a_sentence() -> None:
    targeting = Targeting.parse(
        {
            "service": ["cart", "mail"],
            "env": ["prod"],
            "app_version": ["2"],
            "host_tags": ["role:db"],
            "client_id": [f"x{number}" for number in range(9)],
            "tracer_version": ">=5",
        }
    )

    assert targeting.why_not(dataclasses.replace(SHOP, app_version="")) == [
        'Its service is "Shop"; this config is for "cart" or "mail".',
        'Its application version is not reported; this config is for "2".',
        'Its client id is "c1"; this config is for "x0", "x1", "x2" or 6 others.',
        'Its host has no tag "role:db".',
        'Its tracer version "4.16.0" is outside >=5.',
    ]
    assert targeting.why_not(dataclasses.replace(SHOP, tracer_version="dev"))[-1] == (
        'Its tracer version "dev" cannot be compared with >=5.'
    )


NAMES = st.sampled_from(["shop", "Shop", "ß", "SS", "prod", "", "x"])
FACTS = st.builds(
    ClientFacts,
    client_id=NAMES,
    service=NAMES,
    env=NAMES,
    language=st.sampled_from(["python", "node", ""]),
    tracer_version=st.sampled_from(["", "1.0", "2.8.0rc1", "v5.1", "dev"]) | st.text(max_size=6),
    app_version=NAMES,
    host_tags=st.frozensets(st.sampled_from(["a:b", "c:d", "e:f"])),
)
WORDS = st.lists(NAMES.filter(bool), min_size=1, max_size=2)
TARGETINGS = st.fixed_dictionaries(
    {},
    optional={
        "service": WORDS,
        "env": WORDS,
        "language": st.lists(st.sampled_from(["python", "node"]), min_size=1),
        "app_version": WORDS,
        "client_id": WORDS,
        "host_tags": st.lists(st.sampled_from(["a:b", "c:d"]), min_size=1),
        "tracer_version": st.sampled_from([">=2", ">=1,<5", "!=2.8", "<2.8.0"]),
    },
)


@given(targeting=TARGETINGS, facts=FACTS)
def test_there_is_a_reason_exactly_when_it_does_not_match(
    targeting: dict[str, Any], facts: ClientFacts
) -> None:
    parsed = Targeting.parse(targeting)

    assert parsed.matches(facts) is (parsed.why_not(facts) == [])


@given(targeting=TARGETINGS)
def test_a_targeting_survives_being_written_and_read(targeting: dict[str, Any]) -> None:
    parsed = Targeting.parse(targeting)

    assert Targeting.parse(json.loads(json.dumps(parsed.to_dict()))) == parsed
