"""Telemetry of tracers, recorded and hostile: what is in force, where it comes from, what stays secret."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.agent import telemetry
from sealwire.agent.telemetry import MAX_BODY_BYTES, REDACTED, in_force, is_secret, merged, read
from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.wire.inventory import MAX_KNOWN, MAX_SETTINGS, MAX_VALUE_CHARS, Known

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded" / "telemetry.json").read_bytes())


def recorded(name: str) -> bytes:
    return orjson.dumps(RECORDED[name]["body"])


def settings_after(*names: str) -> telemetry.Settings:
    known: telemetry.Settings = {}
    for name in names:
        known = merged(known, read(recorded(name)))
    return known


def message(*configuration: Any, kind: str = "app-client-configuration-change", **more: Any) -> bytes:
    body = {"request_type": kind, "runtime_id": "r1", "payload": {"configuration": list(configuration)}}
    return orjson.dumps({**body, **more})


def item(name: str, value: Any, origin: str = "env_var", **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "origin": origin, **more}


# As tracers tell it -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_request_is_read(name: str) -> None:
    said = read(recorded(name))

    assert (said.service, said.env, said.app_version) == ("shop", "prod", "1.2.3")
    assert said.language in ("nodejs", "python")
    assert said.tracer_version in ("5.132.0", "4.16.0")
    assert said.settings
    assert said.is_whole is name.endswith("started")
    assert not said.is_closing
    assert telemetry.is_worth_reading(RECORDED[name]["type"])


def test_the_environment_is_in_force_over_the_default() -> None:
    for name in ("node_started", "python_started"):
        known = settings_after(name)

        assert [(one.origin, one.value) for one in known["DD_TAGS"]] == [
            ("env_var", "team:core"),
            ("default", ""),
        ]
        assert known["DD_LOGS_INJECTION"][0].origin == "default"


def test_what_was_sent_and_withdrawn_is_told_by_its_number_and_gone() -> None:
    """Node repeats the remote value for ever; that it is not in force is told by ``seq_id`` alone."""
    repeated = [one["name"] for one in RECORDED["node_changed"]["body"]["payload"]["configuration"]]
    assert repeated.count("DD_TRACE_SAMPLE_RATE") == 2

    known = settings_after("node_started", "node_changed")

    assert [one.origin for one in known["DD_TRACE_SAMPLE_RATE"]] == ["default"]
    assert [(one.origin, one.value) for one in known["DD_TAGS"]] == [
        ("env_var", "team:core"),
        ("default", ""),
    ]


def test_a_batch_that_tells_a_setting_many_times_leaves_the_last_one() -> None:
    known = settings_after("python_batch")

    assert [(one.origin, one.value) for one in known["DD_TRACE_ENABLED"]] == [
        ("remote_config", "false"),
        ("code", "true"),
    ]
    assert [one.origin for one in known["DD_TRACE_SAMPLING_RULES"]] == ["default"]
    assert known["DD_APPSEC_ENABLED"][0] == Known("remote_config", "1", 256)


def test_a_tracer_that_does_not_count_is_taken_in_the_order_it_tells() -> None:
    started = read(message(item("trace_sample_rate", 1.0, "default"), kind="app-started"))
    sent = read(message(item("trace_sample_rate", 0.5, "remote_config")))
    given_back = read(message(item("trace_sample_rate", 1.0, "default")))

    known = merged(merged({}, started), sent)
    assert [(one.origin, one.value) for one in known["trace_sample_rate"]] == [
        ("remote_config", "0.5"),
        ("default", "1.0"),
    ]
    assert merged(known, given_back)["trace_sample_rate"] == [Known("default", "1.0")]


def test_a_start_ends_what_was_known_before() -> None:
    known = merged({}, read(message(item("A", 1), kind="app-started")))

    assert set(merged(known, read(message(item("B", 1), kind="app-started")))) == {"B"}
    assert set(merged(known, read(message(item("B", 1))))) == {"A", "B"}
    assert set(merged(known, read(message(kind="app-started")))) == {"A"}, "a start that tells nothing"


def test_what_is_repeated_late_does_not_win() -> None:
    known = merged({}, read(message(item("A", "new", "code", seq_id=7))))

    assert merged(known, read(message(item("A", "old", "code", seq_id=3)))) == known


def test_the_end_of_a_runtime_is_noticed_alone_and_in_a_batch() -> None:
    alone = orjson.dumps({"request_type": "app-closing", "runtime_id": "r1", "payload": {}})
    batch = {
        "request_type": "message-batch",
        "runtime_id": "r1",
        "payload": [{"request_type": "app-closing"}],
    }

    assert read(alone).is_closing
    assert read(orjson.dumps(batch)).is_closing


def test_values_of_every_kind_become_text() -> None:
    values = (True, 5, 0.25, ["a", "b"], {"k": 1}, "text", None)

    known = merged({}, read(message(*(item(f"N{number}", value) for number, value in enumerate(values)))))

    texts = [known[f"N{number}"][0].value for number in range(len(values))]
    assert texts == ["true", "5", "0.25", '["a","b"]', '{"k":1}', "text", None]


def test_an_error_of_a_tracer_is_kept_in_either_shape() -> None:
    known = merged(
        {}, read(message(item("A", 1, error={"code": 3, "message": "no number"}), item("B", 1, error="bad")))
    )

    assert (known["A"][0].error, known["B"][0].error) == ("no number", "bad")


def test_gzip_is_read() -> None:
    assert read(gzip.compress(recorded("node_started")), is_gzipped=True).service == "shop"


def test_messages_without_settings_need_not_be_read() -> None:
    assert not telemetry.is_worth_reading("generate-metrics")
    for kind in ("", "message-batch", "app-heartbeat", "app-closing", "something-new"):
        assert telemetry.is_worth_reading(kind)


# Secrets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "DD_API_KEY", "DD_APP_KEY", "apiKey", "dd.api.key", "DD_APPLICATION_KEY", "some_token",
        "ACCESS_TOKENS", "DB_PASSWORD", "password", "clientSecret", "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "AWS_ACCESS_KEY_ID", "API_KEYS", "credentials", "BASIC_AUTH",
        "dsn", "PRIVATE_KEY_PEM",
    ],
)  # fmt: skip
def test_a_name_that_looks_like_a_secret_hides_its_value(name: str) -> None:
    assert is_secret(name)
    assert merged({}, read(message(item(name, "hunter2"))))[name][0].value == REDACTED


@pytest.mark.parametrize(
    "name",
    [
        "DD_TRACE_BAGGAGE_TAG_KEYS", "DD_TRACE_HEADER_TAGS", "DD_APPSEC_OBFUSCATION_PARAMETER_KEY_REGEXP",
        "DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS", "DD_TRACE_PASSPORT_ENABLED", "DD_SERVICE", "monkey_patch",
        "DD_TRACE_KEYSTONE", "",
    ],
)  # fmt: skip
def test_a_name_that_only_sounds_like_one_does_not(name: str) -> None:
    assert not is_secret(name)


def test_a_switch_is_no_secret_whatever_its_name() -> None:
    known = merged({}, read(message(item("USE_TOKEN", True), item("API_KEY", None), item("KEY", ""))))

    assert [known[name][0].value for name in ("USE_TOKEN", "API_KEY", "KEY")] == ["true", None, ""]


def test_a_url_loses_who_signs_in_to_it() -> None:
    known = merged({}, read(message(item("DD_TRACE_AGENT_URL", "http://user:pass@host:8126/x?a=b@c"))))

    assert known["DD_TRACE_AGENT_URL"][0].value == "http://…@host:8126/x?a=b@c"


# Hostile ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000,
        b"{}", b'{"runtime_id":""}', b'{"runtime_id":5}',
        b'{"runtime_id":"r","request_type":"message-batch"}',
        b'{"runtime_id":"r","request_type":"message-batch","payload":{}}',
        b'{"runtime_id":"r","request_type":"message-batch","payload":[5]}',
        b'{"runtime_id":"r","request_type":"app-started","payload":[]}',
        b'{"runtime_id":"\\ud800","request_type":"app-started"}',
    ],
)  # fmt: skip
def test_what_is_no_telemetry_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        read(body)


def test_items_that_are_none_are_passed_over() -> None:
    said = read(
        message(
            None, 5, [], {}, {"name": 5}, {"name": ""}, {"name": "ok"}, item("A", 1, seq_id="x"),
            item("B", 1, seq_id=-1), item("C", 1, seq_id=2**60), item("D", 1, origin=7),
            item("E", 1, seq_id=True),
        )
    )  # fmt: skip

    assert [name for name, _ in said.settings] == ["ok", "A", "B", "C", "D", "E"]
    assert dict(said.settings)["D"].origin == "unknown"
    assert {one.seq_id for name, one in said.settings if name != "E"} == {0}


def test_more_than_is_read_is_refused_packed_and_unpacked() -> None:
    with pytest.raises(OversizeError):
        read(b" " * (MAX_BODY_BYTES + 1))
    bomb = gzip.compress(b" " * (50 * 1024 * 1024))
    assert len(bomb) < MAX_BODY_BYTES
    with pytest.raises(OversizeError):
        read(bomb, is_gzipped=True)


@pytest.mark.parametrize("packed", [b"", b"x", gzip.compress(b"{}" * 1000)[:-12], b"\x1f\x8b\x08"])
def test_broken_gzip_is_malformed(packed: bytes) -> None:
    with pytest.raises(MalformedError):
        read(packed, is_gzipped=True)


def test_names_values_and_their_number_are_bounded() -> None:
    known: telemetry.Settings = {}
    for start in (0, 1500, 3000):
        many = [item(f"N{number}", "x" * 10) for number in range(start, start + 1500)]
        known = merged(known, read(message(*many)))
    assert len(known) == MAX_SETTINGS

    said = read(message(item("n" * 9999, "v" * 9999, "o" * 9999, error="e" * 9999)))
    ((name, value),) = said.settings
    assert (len(name), len(value.origin)) == (300, 300)
    assert len(value.value or "") == len(value.error) == MAX_VALUE_CHARS + 1

    origins = [item("A", 1, f"origin {number}", seq_id=number) for number in range(100)]
    (kept,) = merged({}, read(message(*origins))).values()
    assert [one.seq_id for one in kept] == list(range(99, 99 - MAX_KNOWN, -1))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
likely = st.fixed_dictionaries(
    {
        "runtime_id": st.just("r") | anything,
        "request_type": st.sampled_from(["app-started", "message-batch", "app-closing"]) | anything,
        "payload": anything
        | st.fixed_dictionaries({"configuration": st.lists(anything)})
        | st.lists(st.fixed_dictionaries({"request_type": st.just("app-started"), "payload": anything})),
        "application": anything,
    }
)


@given(likely)
def test_nothing_but_a_refusal_comes_of_a_strange_document(document: Any) -> None:
    try:
        said = read(json.dumps(document).encode())
    except UntrustedError:
        return
    merged({}, said)


def test_in_force_is_the_first_name_that_is_known() -> None:
    known = merged({}, read(message(item("B", 1), item("C", 2))))

    assert in_force(known, "A", "C", "B") == Known("env_var", "2")
    assert in_force(known, "A") is None
