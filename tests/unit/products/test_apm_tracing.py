"""APM_TRACING: one file per client, in both dialects, that gives back what it took."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.products import ClientFacts, ConfigId, Merged, Source
from sealwire.products.apm_tracing import PRODUCT

EXAMPLE: dict[str, Any] = json.loads("""
{"id":"acme-shop-prod","revision":3,"schema_version":"v1.0.0","action":"enable",
 "service_target":{"service":"shop","env":"prod"},
 "lib_config":{"library_language":"all","library_version":"latest",
  "tracing_enabled":true,"tracing_sampling_rate":0.5,"log_injection_enabled":true,
  "tracing_header_tags":[{"header":"X-Tenant","tag_name":"tenant"}],
  "tracing_tags":["team:checkout","rc:yes"],
  "tracing_sampling_rules":[
    {"service":"shop","resource":"GET /hello*","sample_rate":1.0,"provenance":"customer"}]},
 "sdk_config":{"config":{"DD_TRACE_ENABLED":"true","DD_TRACE_SAMPLE_RATE":"0.5","DD_LOGS_INJECTION":"true",
  "DD_TRACE_HEADER_TAGS":"X-Tenant:tenant","DD_TAGS":"team:checkout,rc:yes",
  "DD_TRACE_SAMPLING_RULES":""}}}
""")
EXAMPLE["sdk_config"]["config"]["DD_TRACE_SAMPLING_RULES"] = (
    '[{"service":"shop","resource":"GET /hello*","sample_rate":1.0,"provenance":"customer"}]'
)
RULE = EXAMPLE["lib_config"]["tracing_sampling_rules"][0]
PYTHON = ClientFacts(client_id="c", service="Shop", env="prod", language="python")


def lib(**settings: object) -> dict[str, Any]:
    return {"lib_config": settings}


def sdk(**variables: object) -> dict[str, Any]:
    return {"sdk_config": {"config": variables}}


def client(language: str) -> ClientFacts:
    return ClientFacts(client_id="c", service="shop", env="prod", language=language)


def source(config_id: str, priority: int, payload: dict[str, Any]) -> Source:
    return Source(config_id=ConfigId(config_id), revision=1, priority=priority, payload=payload)


def settings(merged: Merged) -> dict[str, Any]:
    section: Any = merged.payload["lib_config"]
    return {key: value for key, value in section.items() if not key.startswith("library_")}


def variables(merged: Merged) -> dict[str, Any]:
    section: Any = merged.payload["sdk_config"]
    found: dict[str, Any] = section["config"]
    return found


GOOD = [
    EXAMPLE,
    lib(),
    lib(tracing_sampling_rate=None, tracing_enabled=None),
    lib(tracing_sampling_rate=0),
    lib(tracing_sampling_rules=[]),
    lib(
        tracing_sampling_rules=[
            {"tags": [{"key": "a", "value_glob": "b*"}], "sample_rate": 1, "provenance": "dynamic"}
        ]
    ),
    lib(llmobs={"enabled": True, "ml_app_name": "bot"}),
    lib(tracing_service_mapping=[{"from_key": "a", "to_name": "b"}]),
    sdk(DD_TRACE_SAMPLE_RATE=0.5, DD_TRACE_ENABLED=False, DD_TAGS=None),
    {
        **lib(),
        "k8s_target_v2": {
            "cluster_targets": [{"cluster_name": "a", "enabled": True, "enabled_namespaces": ["b"]}]
        },
    },
]
BAD = [
    (lib(tracing_sampling_rate=1.01), "$.lib_config.tracing_sampling_rate"),
    (lib(tracing_sampling_rate=-0.1), "$.lib_config.tracing_sampling_rate"),
    (lib(tracing_sampling_rate="0.5"), "$.lib_config.tracing_sampling_rate"),
    (lib(tracing_sample_rate=0.5), "$.lib_config.tracing_sample_rate"),
    (lib(tracing_enabled="true"), "$.lib_config.tracing_enabled"),
    (lib(tracing_tags=["team"]), "$.lib_config.tracing_tags[0]"),
    (lib(tracing_tags=["a:b", "url:http://x"]), "$.lib_config.tracing_tags[1]"),
    (lib(tracing_tags=[":b"]), "$.lib_config.tracing_tags[0]"),
    (lib(tracing_tags={"a": "b"}), "$.lib_config.tracing_tags"),
    (lib(tracing_header_tags=[{"header": "X-Tenant"}]), "$.lib_config.tracing_header_tags[0].tag_name"),
    (
        lib(tracing_header_tags=[{"header": "X,Y", "tag_name": "a"}]),
        "$.lib_config.tracing_header_tags[0].header",
    ),
    (
        lib(tracing_sampling_rules=[{**RULE, "provenance": "me"}]),
        "$.lib_config.tracing_sampling_rules[0].provenance",
    ),
    (
        lib(tracing_sampling_rules=[{**RULE, "sample_rate": 2}]),
        "$.lib_config.tracing_sampling_rules[0].sample_rate",
    ),
    (
        lib(tracing_sampling_rules=[RULE, {"service": "shop", "provenance": "customer"}]),
        "$.lib_config.tracing_sampling_rules[1].sample_rate",
    ),
    (
        lib(tracing_sampling_rules=[{"service": "shop", "sample_rate": 1}]),
        "$.lib_config.tracing_sampling_rules[0].provenance",
    ),
    (
        lib(tracing_sampling_rules=[{"sample_rate": 1, "provenance": "customer"}]),
        "$.lib_config.tracing_sampling_rules[0]",
    ),
    (
        lib(tracing_sampling_rules=[{**RULE, "tags": {"a": "b"}}]),
        "$.lib_config.tracing_sampling_rules[0].tags",
    ),
    (lib(llmobs={"ml_app_name": "bot"}), "$.lib_config.llmobs.enabled"),
    (sdk(DD_TRACE_SAMPLING_RULES=[RULE]), "$.sdk_config.config.DD_TRACE_SAMPLING_RULES"),
    (sdk(DD_TRACE_SAMPLING_RULES="[{"), "$.sdk_config.config.DD_TRACE_SAMPLING_RULES"),
    (sdk(DD_TRACE_SAMPLING_RULES="{}"), "$.sdk_config.config.DD_TRACE_SAMPLING_RULES"),
    (sdk(DD_TRACE_SAMPLING_RULES='[{"service":"shop"}]'), "$.sdk_config.config.DD_TRACE_SAMPLING_RULES"),
    (sdk(DD_TRACE_SAMPLE_RATE="1.5"), "$.sdk_config.config.DD_TRACE_SAMPLE_RATE"),
    (sdk(DD_TRACE_SAMPLE_RATE="half"), "$.sdk_config.config.DD_TRACE_SAMPLE_RATE"),
    (sdk(DD_TRACE_SAMPLE_RATE="nan"), "$.sdk_config.config.DD_TRACE_SAMPLE_RATE"),
    (sdk(DD_TRACE_SAMPLE_RATE=True), "$.sdk_config.config.DD_TRACE_SAMPLE_RATE"),
    (sdk(DD_TAGS=["a:b"]), "$.sdk_config.config.DD_TAGS"),
    (sdk(**{"dd tags": "a:b"}), '$.sdk_config.config["dd tags"]'),
    ({"sdk_config": {"DD_TAGS": "a:b"}}, "$.sdk_config.DD_TAGS"),
    ({**lib(), "action": "disable"}, "$.action"),
    ({**lib(), "schema_version": "v2"}, "$.schema_version"),
    ({**lib(), "service_target": {"service": "shop"}}, "$.service_target.env"),
    ({"id": "x"}, "$"),
]


@pytest.mark.parametrize("payload", GOOD, ids=str)
def test_a_good_payload_passes(payload: dict[str, Any]) -> None:
    assert PRODUCT.check(payload) == ()


@pytest.mark.parametrize(
    ("payload", "path"), BAD, ids=[f"{number}-{path}" for number, (_, path) in enumerate(BAD)]
)
def test_a_bad_payload_is_refused_where_it_is_bad(payload: dict[str, Any], path: str) -> None:
    assert path in [problem.path for problem in PRODUCT.check(payload)]


# -- merging


def test_each_setting_comes_from_the_most_specific_config_that_says_something() -> None:
    merged = PRODUCT.merge(
        [
            source(
                "org", 1, lib(tracing_sampling_rate=0.1, tracing_tags=["a:org"], log_injection_enabled=True)
            ),
            source("shop", 4, lib(tracing_sampling_rate=0.5, tracing_tags=["b:shop"])),
            source("prod", 5, lib(tracing_sampling_rate=None, log_injection_enabled=False)),
        ],
        PYTHON,
    )

    assert settings(merged) == {
        "tracing_sampling_rate": 0.5,
        "tracing_tags": ["b:shop"],
        "log_injection_enabled": False,
    }
    assert merged.provenance == {
        "$.lib_config.tracing_sampling_rate": "shop",
        "$.lib_config.tracing_tags": "shop",
        "$.lib_config.log_injection_enabled": "prod",
        "$.sdk_config.config.DD_TRACE_SAMPLE_RATE": "shop",
        "$.sdk_config.config.DD_TAGS": "shop",
        "$.sdk_config.config.DD_LOGS_INJECTION": "prod",
    }


def test_the_target_is_the_client_itself_letter_by_letter() -> None:
    payload = PRODUCT.merge([source("a", 1, EXAMPLE)], PYTHON).payload

    assert payload["service_target"] == {"service": "Shop", "env": "prod"}


def test_a_client_without_service_and_env_gets_stars() -> None:
    payload = PRODUCT.merge([source("a", 1, EXAMPLE)], ClientFacts(client_id="c", language="go")).payload

    assert payload["service_target"] == {"service": "*", "env": "*"}


def test_lib_config_is_translated_for_clients_that_read_sdk_config_only() -> None:
    merged = PRODUCT.merge([source("a", 1, {"lib_config": EXAMPLE["lib_config"]})], client("node"))

    written = variables(merged)
    expected = dict(EXAMPLE["sdk_config"]["config"])
    assert json.loads(written.pop("DD_TRACE_SAMPLING_RULES")) == json.loads(
        expected.pop("DD_TRACE_SAMPLING_RULES")
    )
    assert written == expected


def test_switches_are_translated_and_rule_tags_become_an_object() -> None:
    rule = {"tags": [{"key": "a", "value_glob": "b*"}], "sample_rate": 0.1, "provenance": "customer"}
    payload = lib(
        dynamic_instrumentation_enabled=True, code_origin_enabled=False, tracing_sampling_rules=[rule]
    )

    merged = PRODUCT.merge([source("a", 1, payload)], client("node"))

    written = variables(merged)
    assert written["DD_DYNAMIC_INSTRUMENTATION_ENABLED"] == "true"
    assert written["DD_CODE_ORIGIN_FOR_SPANS_ENABLED"] == "false"
    assert json.loads(written["DD_TRACE_SAMPLING_RULES"]) == [
        {"tags": {"a": "b*"}, "sample_rate": 0.1, "provenance": "customer"}
    ]
    assert rule["tags"] == [{"key": "a", "value_glob": "b*"}]
    assert PRODUCT.check(merged.payload) == ()


def test_an_authors_own_sdk_config_value_stands_above_the_translation() -> None:
    payload = {**lib(tracing_sampling_rate=0.5), **sdk(DD_TRACE_SAMPLE_RATE="0.25", DD_LOGS_INJECTION=None)}

    merged = PRODUCT.merge([source("a", 1, payload)], client("node"))

    assert variables(merged) == {"DD_TRACE_SAMPLE_RATE": "0.25"}


def test_a_less_specific_sdk_config_value_does_not_stand_above_a_more_specific_lib_config() -> None:
    merged = PRODUCT.merge(
        [
            source("org", 1, sdk(DD_TRACE_SAMPLE_RATE="0.1")),
            source("shop", 4, lib(tracing_sampling_rate=0.5)),
        ],
        client("node"),
    )

    assert variables(merged) == {"DD_TRACE_SAMPLE_RATE": "0.5"}
    assert merged.provenance["$.sdk_config.config.DD_TRACE_SAMPLE_RATE"] == "shop"


def test_configs_that_say_nothing_make_no_file() -> None:
    assert PRODUCT.merge([source("a", 1, lib(tracing_enabled=None))], PYTHON).payload == {}


def test_equal_settings_give_equal_bytes_whoever_wrote_them() -> None:
    one = PRODUCT.merge([source("a", 1, {**EXAMPLE, "id": "x", "revision": 9})], PYTHON)
    two = PRODUCT.merge([source("b", 4, EXAMPLE)], PYTHON)

    assert PRODUCT.render(one.payload) == PRODUCT.render(two.payload)


# -- giving values back (docs/adr/0002)


@pytest.mark.parametrize(
    ("language", "key", "given_value", "sent"),
    [
        ("python", "dynamic_instrumentation_enabled", True, False),
        ("python", "exception_replay_enabled", True, False),
        ("python", "code_origin_enabled", True, False),
        ("java", "dynamic_instrumentation_enabled", True, False),
        ("java", "exception_replay_enabled", True, False),
        ("java", "code_origin_enabled", True, False),
        ("go", "tracing_enabled", False, True),
    ],
)
def test_a_value_that_a_tracer_keeps_is_given_back_by_its_opposite(
    language: str, key: str, given_value: bool, sent: bool
) -> None:
    delivered = PRODUCT.merge([source("a", 1, lib(**{key: given_value}))], client(language))
    held = PRODUCT.sticky_values(delivered.payload, language)

    released = PRODUCT.merge([], client(language), held=held)

    assert held == {key: given_value}
    assert settings(released) == {key: sent}
    assert released.released == {f"$.lib_config.{key}": sent}
    assert released.provenance == {}
    assert PRODUCT.check(released.payload) == ()
    # Once it was taken nothing is held any more, and there is no file.
    assert PRODUCT.sticky_values(released.payload, language) == {}
    assert not PRODUCT.merge([], client(language), held={})


@pytest.mark.parametrize(
    ("language", "key", "given_value"),
    [
        ("python", "tracing_enabled", False),
        ("python", "code_origin_enabled", False),
        ("java", "exception_replay_enabled", False),
        ("node", "dynamic_instrumentation_enabled", True),
        ("dotnet", "dynamic_instrumentation_enabled", True),
        ("go", "dynamic_instrumentation_enabled", True),
        ("go", "tracing_enabled", True),
    ],
)
def test_a_value_that_returns_by_itself_or_cannot_be_known_is_not_held(
    language: str, key: str, given_value: bool
) -> None:
    assert PRODUCT.sticky_values(lib(**{key: given_value}), language) == {}


def test_nothing_is_given_back_while_another_config_still_says_something() -> None:
    held = {"dynamic_instrumentation_enabled": True, "code_origin_enabled": True}

    merged = PRODUCT.merge([source("a", 1, lib(dynamic_instrumentation_enabled=True))], PYTHON, held=held)

    assert settings(merged) == {"dynamic_instrumentation_enabled": True, "code_origin_enabled": False}
    assert merged.released == {"$.lib_config.code_origin_enabled": False}


def test_ddtrace_3_is_told_to_have_no_value_before_its_file_goes() -> None:
    """It goes on applying a file that was removed, until the next one comes."""
    delivered = PRODUCT.merge(
        [source("a", 1, lib(tracing_sampling_rate=0.5, dynamic_instrumentation_enabled=True))], PYTHON
    )
    held = PRODUCT.sticky_values(delivered.payload, "python", "3.19.9")

    released = PRODUCT.merge([], PYTHON, held=held)

    assert held == {"tracing_sampling_rate": None, "dynamic_instrumentation_enabled": True}
    assert settings(released) == {"tracing_sampling_rate": None, "dynamic_instrumentation_enabled": False}
    assert released.released.keys() == {
        "$.lib_config.tracing_sampling_rate",
        "$.lib_config.dynamic_instrumentation_enabled",
    }
    assert PRODUCT.check(released.payload) == ()
    assert PRODUCT.sticky_values(released.payload, "python", "3.19.9") == {}
    assert PRODUCT.sticky_values(delivered.payload, "python", "4.16.0").keys() == {
        "dynamic_instrumentation_enabled"
    }


def test_what_is_held_of_no_sticky_setting_is_ignored() -> None:
    assert not PRODUCT.merge([], PYTHON, held={"tracing_enabled": True, "unheard_of": True})


# -- warnings


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({**lib(), "service_target": {"service": "a", "env": "b"}}, "$.service_target"),
        ({**lib(), "k8s_target_v2": {"cluster_targets": []}}, "$.k8s_target_v2"),
        (lib(library_language="python"), "$.lib_config.library_language"),
        (lib(tracing_enabled=False), "$.lib_config.tracing_enabled"),
        (lib(exception_replay_enabled=False), "$.lib_config.exception_replay_enabled"),
        (lib(tracing_tags=["a:b", "c:d,e"]), "$.lib_config.tracing_tags[1]"),
    ],
)
def test_what_will_surprise_an_author_is_a_warning(payload: dict[str, Any], path: str) -> None:
    assert PRODUCT.check(payload) == ()
    assert [problem.path for problem in PRODUCT.warn(payload, {})] == [path]


# -- properties

RATES = st.floats(0, 1, allow_nan=False)
RULES = st.lists(
    st.fixed_dictionaries(
        {"sample_rate": RATES, "provenance": st.just("customer"), "service": st.sampled_from(["a", "b*"])},
        optional={"tags": st.just([{"key": "k", "value_glob": "v"}])},
    ),
    max_size=2,
)
LIB_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "tracing_enabled": st.booleans(),
    "tracing_sampling_rate": RATES,
    "tracing_sampling_rules": RULES,
    "log_injection_enabled": st.booleans(),
    "tracing_tags": st.lists(st.sampled_from(["a:b", "c:d"]), max_size=2),
    "tracing_header_tags": st.just([{"header": "X", "tag_name": "x"}]),
    "dynamic_instrumentation_enabled": st.booleans(),
    "code_origin_enabled": st.booleans(),
}
LIB = st.fixed_dictionaries({}, optional={key: st.none() | value for key, value in LIB_VALUES.items()})
SDK = st.fixed_dictionaries(
    {},
    optional={
        "DD_TRACE_SAMPLE_RATE": st.none() | RATES | st.just("0.5"),
        "DD_TAGS": st.sampled_from(["a:b", None]),
        "DD_OTHER": st.booleans(),
    },
)
PAYLOADS = st.builds(lambda lib_, sdk_: {"lib_config": lib_, "sdk_config": {"config": sdk_}}, LIB, SDK)
LANGUAGES = st.sampled_from(["python", "node", "go", "java", "dotnet"])
HELD = st.fixed_dictionaries(
    {}, optional={"tracing_enabled": st.booleans(), "code_origin_enabled": st.booleans()}
)


def leaves(merged: Merged) -> set[str]:
    if not merged:
        return set()
    return {f"$.lib_config.{key}" for key in settings(merged)} | {
        f"$.sdk_config.config.{name}" for name in variables(merged)
    }


@given(payloads=st.lists(PAYLOADS, max_size=4), language=LANGUAGES, held=HELD)
def test_provenance_covers_every_merged_setting_and_nothing_else(
    payloads: list[dict[str, Any]], language: str, held: dict[str, object]
) -> None:
    sources = [source(f"c{number}", number + 1, payload) for number, payload in enumerate(payloads)]

    merged = PRODUCT.merge(sources, client(language), held=held)

    assert all(PRODUCT.check(payload) == () for payload in payloads)
    assert set(merged.provenance) | set(merged.released) == leaves(merged)
    assert not set(merged.provenance) & set(merged.released)
    assert set(merged.provenance.values()) <= {candidate.config_id for candidate in sources}
    if merged:
        assert PRODUCT.check(merged.payload) == ()


@given(payloads=st.lists(PAYLOADS, min_size=1, max_size=4))
def test_each_merged_setting_is_the_last_that_is_not_null(payloads: list[dict[str, Any]]) -> None:
    sources = [source(f"c{number}", number + 1, payload) for number, payload in enumerate(payloads)]

    merged = PRODUCT.merge(sources, PYTHON)

    for key in LIB_VALUES:
        said = [payload["lib_config"].get(key) for payload in payloads]
        wanted = [value for value in said if value is not None]
        assert (settings(merged).get(key) if merged else None) == (wanted[-1] if wanted else None)


@given(data=st.data(), whole=LIB)
def test_disjoint_configs_of_one_priority_merge_alike_in_any_order(
    data: st.DataObject, whole: dict[str, Any]
) -> None:
    owners = {key: data.draw(st.integers(0, 2)) for key in whole}
    parts = [{key: value for key, value in whole.items() if owners[key] == owner} for owner in range(3)]
    sources = [source(f"c{owner}", 4, {"lib_config": part}) for owner, part in enumerate(parts)]

    one = PRODUCT.merge(sources, PYTHON)
    other = PRODUCT.merge(data.draw(st.permutations(sources)), PYTHON)

    assert PRODUCT.render(one.payload) == PRODUCT.render(other.payload)
    assert one.provenance == other.provenance
