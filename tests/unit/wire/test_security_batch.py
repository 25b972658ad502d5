"""Batches of security on the wire: what is written is read, what is hostile is refused."""

from __future__ import annotations

import gzip
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.wire import security_batch as wire
from sealwire.wire.traces import MAX_TOUCHES, MAX_TRIGGER_BYTES, SecuritySpan, select
from tests.support.spans import RECORDED, pack, recorded_trace, v04

SPAN: dict[str, Any] = {
    "service": "shop", "trace_id": "0" * 31 + "a", "span_id": 2**64 - 1, "start_ns": 1, "duration_ns": 2,
}  # fmt: skip


def batch(**changes: Any) -> wire.Batch:
    given: dict[str, Any] = {
        "hostname": "web-1",
        "agent_uuid": "u1",
        "number": 3,
        "started_ms": 1,
        "sent_ms": 2,
    }
    return wire.Batch(**given | changes)


def document(**changes: Any) -> bytes:
    given = {"hostname": "h", "agent_uuid": "u", "number": 1, "started_ms": 1, "sent_ms": 1}
    return pack(given | changes)


def test_what_is_written_is_read() -> None:
    spans = select("/v0.4/traces", v04(*map(recorded_trace, RECORDED))).spans
    full = batch(
        spans=[wire.Seen(span, 5, "python", "4.16.0", count=number + 1) for number, span in enumerate(spans)],
        visits=[wire.VisitCount("shop", "prod", "203.0.113.7", "/", "200", 4, 9)],
        watched=[wire.Watched("shop", "prod", "1", "r1", "2.1.0", "1.18.2", 4, 9)],
        dropped={"queue": 3},
    )

    assert len(spans) == 6
    assert wire.decode(wire.encode(full), is_gzipped=True) == full
    assert wire.decode(msgspec.msgpack.encode(full), is_gzipped=False) == full


def test_what_is_not_known_is_left_out_and_what_is_missing_has_a_default() -> None:
    newer = document(mood="good", spans=[[SPAN | {"mood": "good"}, 5, "python", "4", 2, "something new"]])

    (seen,) = wire.decode(newer, is_gzipped=False).spans
    (older,) = wire.decode(document(spans=[[SPAN, 5]]), is_gzipped=False).spans

    assert (seen.span.service, seen.count) == ("shop", 2)
    assert (older.lang, older.count) == ("", 1)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"\xc1", b"\x91" * 100_000, b"\xdf\xff\xff\xff\xff", b"\x80", pack([]), pack(None),
        document(hostname="h" * 301), document(agent_uuid=""), document(number=0), document(number="1"),
        document(started_ms=-1), document(sent_ms=2**53), document(spans={}), document(spans=[[]]),
        document(spans=[[SPAN, 5]] * (wire.MAX_SPANS + 1)), document(spans=[[SPAN, -5]]),
        document(spans=[[SPAN, 5, "", "", 0]]), document(spans=[[SPAN, 5, "", "", 2**60]]),
        document(spans=[[SPAN | {"trace_id": "x" * 32}, 5]]), document(spans=[[SPAN | {"trace_id": ""}, 5]]),
        document(spans=[[SPAN | {"span_id": -1}, 5]]), document(spans=[[SPAN | {"start_ns": 1.5}, 5]]),
        document(spans=[[SPAN | {"service": "s" * 301}, 5]]),
        document(spans=[[SPAN | {"touches": ["x"] * (MAX_TOUCHES + 1)}, 5]]),
        document(spans=[[SPAN | {"touches": ["x" * 301]}, 5]]),
        document(spans=[[SPAN | {"triggers": b"x" * (MAX_TRIGGER_BYTES + 1)}, 5]]),
        document(visits=[["s"] * 5 + [1, 1]] * (wire.MAX_VISITS + 1)), document(visits=[["s"] * 5 + [0, 1]]),
        document(watched=[["s"] * 6 + [1, 1]] * (wire.MAX_WATCHED + 1)), document(watched=[["s"] * 6]),
        document(dropped={str(number): 1 for number in range(wire.MAX_DROPPED + 1)}),
        document(dropped={"queue": -1}),
    ],
)  # fmt: skip
def test_what_is_hostile_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        wire.decode(body, is_gzipped=False)


def test_what_is_too_large_is_refused_packed_or_unpacked() -> None:
    with pytest.raises(OversizeError):
        wire.decode(b"\x80" * (wire.MAX_BATCH_BYTES + 1), is_gzipped=False)
    with pytest.raises(OversizeError):
        wire.decode(gzip.compress(b"\x00" * (wire.MAX_UNPACKED_BYTES + 1)), is_gzipped=True)


def test_a_cut_gzip_is_malformed() -> None:
    body = wire.encode(batch())
    for cut in (body[:-1], body[:10], b"no gzip", document()):
        with pytest.raises(MalformedError):
            wire.decode(cut, is_gzipped=True)


def test_spans_of_a_size_that_is_told_fit_three_times_over() -> None:
    long = "x" * 200
    spans = [
        *select("/v0.4/traces", v04(*map(recorded_trace, RECORDED))).spans,
        SecuritySpan(**SPAN | {"tags": b"x" * 1000, "triggers": b"y" * 500}),
        SecuritySpan(**SPAN | dict.fromkeys(("service", "name", "resource", "env", "version"), long)),
    ]
    for span in spans:
        assert wire.size_of(span) * 3 > len(msgspec.msgpack.encode(wire.Seen(span, 2**50)))


@given(st.binary(max_size=300), st.booleans())
def test_nothing_but_a_refusal_comes_of_noise(body: bytes, is_gzipped: bool) -> None:
    try:
        wire.decode(body, is_gzipped=is_gzipped)
    except UntrustedError:
        return
