"""What is in force in a tracer, beside what it was sent."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sealwire.server.fleet.effective import REMOTE, InForce, origin_words, sent_values, settings_in_force
from sealwire.server.fleet.explain import DeliveryState, FileState
from sealwire.wire.inventory import Known

A, B = "a" * 16, "b" * 16


def file(payload: Any, *, product: str = "APM_TRACING", **provenance: str) -> tuple[FileState, bytes]:
    state = FileState(
        path=f"datadog/1/{product}/x/config", product=product, config_ids=(A,) if not provenance else (A, B),
        version=1, reported_version=1, state=DeliveryState.IN_STEP, error="", since_ms=None, saved_ms=0,
        acknowledged_ms=None, took_s=None,
        provenance={f"$.lib_config.{name}": config_id for name, config_id in provenance.items()},
    )  # fmt: skip
    return state, orjson.dumps(payload)


def lib(**values: Any) -> dict[str, Any]:
    return {"lib_config": values, "service_target": {"service": "shop", "env": "prod"}, "action": "enable"}


def in_force(settings: dict[str, list[Known]], *files: tuple[FileState, bytes]) -> dict[str, InForce]:
    return {one.name: one for one in settings_in_force(settings, sent_values(files))}


@pytest.mark.parametrize(
    ("key", "value", "names"),
    [
        ("tracing_sampling_rate", 0.5, ["DD_TRACE_SAMPLE_RATE", "trace_sample_rate", "sampleRate"]),
        ("log_injection_enabled", True, ["DD_LOGS_INJECTION", "logs_injection_enabled", "logInjection"]),
        ("tracing_tags", ["a:b"], ["DD_TAGS", "trace_tags", "dd.trace.global.tags"]),
        ("tracing_enabled", False, ["DD_TRACE_ENABLED", "trace.enabled"]),
        ("dynamic_instrumentation_enabled", True, ["DD_DYNAMIC_INSTRUMENTATION_ENABLED"]),
    ],
)
def test_a_key_finds_its_setting_by_the_name_each_tracer_gives_it(
    key: str, value: Any, names: list[str]
) -> None:
    for name in names:
        found = in_force({name: [Known(REMOTE, "x", 3)]}, file(lib(**{key: value})))[name]

        assert found.sent is not None, name
        assert (found.sent.product, found.sent.key, found.sent.config_id) == ("APM_TRACING", key, A)
        assert found.may_be_sent


def test_python_tells_a_sampling_rate_as_a_rule() -> None:
    settings = {
        "DD_TRACE_SAMPLING_RULES": [Known(REMOTE, '[{"sample_rate": 0.5}]', 9), Known("default", "")],
        "DD_TRACE_SAMPLE_RATE": [Known("default")],
    }

    found = in_force(settings, file(lib(tracing_sampling_rate=0.5)))

    assert found["DD_TRACE_SAMPLE_RATE"].sent is None
    assert found["DD_TRACE_SAMPLING_RULES"].sent is not None


def test_each_value_names_the_config_it_comes_from() -> None:
    sent = file(lib(tracing_sampling_rate=0.5, tracing_tags=["a:b"]), tracing_sampling_rate=A, tracing_tags=B)

    found = in_force(
        {"DD_TAGS": [Known(REMOTE, "a:b")], "DD_TRACE_SAMPLE_RATE": [Known(REMOTE, "0.5")]}, sent
    )

    assert found["DD_TAGS"].sent is not None
    assert found["DD_TRACE_SAMPLE_RATE"].sent is not None
    assert (found["DD_TAGS"].sent.config_id, found["DD_TRACE_SAMPLE_RATE"].sent.config_id) == (B, A)
    assert found["DD_TAGS"].sent.value == '["a:b"]'


def test_a_key_of_sdk_config_is_a_setting_by_its_own_name() -> None:
    payload = {
        "sdk_config": {"config": {"DD_TRACE_DEBUG": "true", "DD_NEW_THING": "x"}},
        **lib(tracing_debug=None),
    }

    found = in_force(
        {"DD_NEW_THING": [Known("default")], "DD_TRACE_DEBUG": [Known(REMOTE, "true")]}, file(payload)
    )

    assert found["DD_NEW_THING"].sent is not None
    assert found["DD_TRACE_DEBUG"].sent is not None


def test_activation_is_a_setting_too() -> None:
    sent = file({"asm": {"enabled": True}, "auto_user_instrum": {"mode": "off"}}, product="ASM_FEATURES")

    found = in_force({"DD_APPSEC_ENABLED": [Known("env_var", "false"), Known("default")]}, sent)

    asm = found["DD_APPSEC_ENABLED"]
    assert asm.sent is not None
    assert (asm.origin, asm.sent.key, asm.sent.value) == ("env_var", "asm.enabled", "true")


def test_what_is_sent_comes_first_then_what_somebody_chose() -> None:
    settings = {
        "A_DEFAULT": [Known("default", "1")],
        "CALCULATED": [Known("calculated", "1")],
        "CODED": [Known("code", "1")],
        "DD_TAGS": [Known(REMOTE, "a:b"), Known("env_var", "c:d"), Known("default", "")],
        "DD_ENV": [Known("env_var", "prod")],
    }

    found = settings_in_force(settings, sent_values([file(lib(tracing_tags=["a:b"]))]))

    assert [one.name for one in found] == ["DD_TAGS", "CODED", "DD_ENV", "A_DEFAULT", "CALCULATED"]
    assert [one.is_chosen for one in found] == [True, True, True, False, False]
    assert [(other.origin, other.value) for other in found[0].others] == [("env_var", "c:d"), ("default", "")]


def test_files_without_settings_of_their_own_are_left_alone() -> None:
    odd, _ = file({}, product="ASM_FEATURES")

    assert sent_values([file({"rules_data": []}, product="ASM_DATA")]) == []
    assert sent_values([(odd, b"{not json")]) == []
    assert sent_values([file(lib(tracing_tags=None))]) == []


def test_every_origin_has_a_word() -> None:
    assert origin_words("fleet_stable_config") == "fleet file"
    assert origin_words("something_new") == "something new"
