"""Who sends traces: bodies as tracers send them, and bodies nobody would."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.agent.traces import MAX_BODY_BYTES, MAX_SPANS, MAX_TRACES, PATHS, Sender, senders
from sealwire.errors import MalformedError, OversizeError, UntrustedError

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded" / "traces.json").read_bytes())
pack = msgspec.msgpack.encode


def recorded(name: str) -> bytes:
    body = RECORDED[name]["body"]
    if name == "python_v05":  # JSON has no numbers as keys
        texts, traces = body
        body = [
            texts,
            [
                [[numbered(field) if isinstance(field, dict) else field for field in span] for span in trace]
                for trace in traces
            ],
        ]
    return pack(body)


def numbered(tags: dict[str, Any]) -> dict[int, Any]:
    return {int(name): value for name, value in tags.items()}


def span(service: str, span_id: int, parent_id: int = 0, **meta: str) -> dict[str, Any]:
    return {"service": service, "span_id": span_id, "parent_id": parent_id, "meta": meta}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_body_tells_its_service(name: str) -> None:
    (sender,) = senders(RECORDED[name]["path"], recorded(name))

    assert (sender.service, sender.env, sender.app_version) == ("shop", "prod", "1.2.3")
    assert len(sender.runtime_id) in (32, 36)


def test_only_the_root_of_a_trace_counts() -> None:
    """Spans below are named after what they talk to."""
    trace = [span("postgres", 2, 1), span("shop", 1, 77, env="prod"), span("redis", 3, 2)]

    assert senders("/v0.4/traces", pack([trace, trace])) == {Sender("shop", "prod", "", ""): 2}


def test_a_root_that_is_named_after_what_it_talks_to_says_whose_it_is() -> None:
    trace = [span("redis", 1, **{"_dd.base_service": "worker", "runtime-id": "r1", "version": "3"})]

    assert set(senders("/v0.4/traces", pack([trace]))) == {Sender("worker", "", "3", "r1")}


def test_a_payload_fills_in_what_its_spans_leave_out() -> None:
    payload = {
        "runtime_id": "r1", "env": "prod", "app_version": "3", "language_name": "go",
        "chunks": [{"priority": 1, "spans": [span("shop", 1)]}, {"spans": [span("shop", 2, env="test")]}],
    }  # fmt: skip

    assert set(senders("/v0.7/traces", pack(payload))) == {
        Sender("shop", "prod", "3", "r1"),
        Sender("shop", "test", "3", "r1"),
    }


def test_missing_keys_and_nothing_at_all_are_legal() -> None:
    bodies = (
        [],
        [[]],
        [[{}]],
        [[{"service": None, "meta": None}]],
        [[{"meta": {"env": 5}, "service": "shop"}]],
    )

    found = [set(senders("/v0.4/traces", pack(body))) for body in bodies]

    assert found == [set(), set(), set(), set(), {Sender("shop", "", "", "")}]


def test_spans_in_a_circle_have_the_first_as_root() -> None:
    trace = [span("a", 1, 2), span("b", 2, 1)]

    assert set(senders("/v0.4/traces", pack([trace]))) == {Sender("a", "", "", "")}


def test_a_trace_that_cannot_be_read_leaves_the_others() -> None:
    long = [{}] * (MAX_SPANS + 1)

    for odd in (long, [5], ["x"], {"a": 1}, [span("x", 1) | {"span_id": "text"}]):
        assert set(senders("/v0.4/traces", pack([odd, [span("shop", 1)]]))) == {Sender("shop", "", "", "")}


# Hostile ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(PATHS))
@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x91", b"\xdd\xff\xff\xff\xff", b"\xa5shop", b"\x91" * 200_000, b"\xff" * 1000, b"{}"],
)
def test_what_is_no_trace_is_malformed(path: str, body: bytes) -> None:
    with pytest.raises(MalformedError):
        senders(path, body)


def test_too_large_a_body_is_not_read() -> None:
    with pytest.raises(OversizeError):
        senders("/v0.4/traces", b"\x90" * (MAX_BODY_BYTES + 1))


def test_more_traces_than_anybody_sends_are_refused_before_room_is_made() -> None:
    with pytest.raises(MalformedError, match="length"):
        senders("/v0.4/traces", b"\xdd" + (MAX_TRACES + 1).to_bytes(4, "big") + b"\x90" * (MAX_TRACES + 1))


def test_a_body_of_nothing_but_empty_spans_takes_little_room() -> None:
    """Attack: one byte each on the wire, a hundred in memory."""
    spans = b"\xdd" + (MAX_SPANS).to_bytes(4, "big") + b"\x80" * MAX_SPANS
    count = MAX_BODY_BYTES // len(spans) - 1
    body = b"\xdd" + count.to_bytes(4, "big") + spans * count
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    senders("/v0.4/traces", body)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 16 * 1024


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=10)
    | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=60)
@given(st.sampled_from(sorted(PATHS)), anything | st.lists(st.lists(anything, max_size=3), max_size=3))
def test_nothing_but_a_refusal_comes_of_a_strange_body(path: str, body: Any) -> None:
    try:
        senders(path, pack(body))
    except UntrustedError:
        return


@given(st.sampled_from(sorted(PATHS)), st.binary(max_size=200))
def test_nothing_but_a_refusal_comes_of_noise(path: str, body: bytes) -> None:
    try:
        senders(path, body)
    except UntrustedError:
        return
