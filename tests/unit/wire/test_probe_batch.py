"""Batches of what probes gave: there and back, and nothing hostile gets through."""

from __future__ import annotations

import math
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.wire import probe_batch
from sealwire.wire.probe_batch import Batch, Measured, ProbeSpan, SpansSeen, decode, encode
from sealwire.wire.sketch import Sketch

TRACE = "6b02faea000000005a19a5ecaac67746"


def measured(**changes: Any) -> Measured:
    made = Measured("p1", "shop.total", "d", ("env:prod",), 1_000, 2, 3.0, 1.0, 2.0, 2.0, Sketch(0, {1: 2}))
    return msgspec.structs.replace(made, **changes)


def span(**changes: Any) -> ProbeSpan:
    made = ProbeSpan(
        "p1", "span", "shop", "prod", "1", "r", "python", TRACE, 7, 1, 2, "n", "f", False, {"a": "b"}
    )
    return msgspec.structs.replace(made, **changes)


def batch(**parts: Any) -> Batch:
    return Batch(hostname="web-1", agent_uuid="u", number=1, started_ms=1, sent_ms=2, **parts)


def test_what_is_sent_is_what_arrives() -> None:
    sent = batch(
        metrics=[measured(), measured(kind="c", sketch=None)],
        spans=[span(span_id=2**64 - 1)],
        seen=[SpansSeen("p1", "span", "shop", "prod", 90, 5)],
        dropped={"metrics_tag_sets": 4},
    )
    assert decode(encode(sent), is_gzipped=True) == sent


@pytest.mark.parametrize(
    "lie",
    [
        {"sum": math.nan},
        {"max": math.inf},
        {"min": 5.0},  # above the greatest
        {"count": 1},  # fewer than its sketch has
        {"sketch": Sketch(0, {10**9: 1})},
        {"sketch": Sketch(0, dict.fromkeys(range(600), 1))},
        {"count": 0, "sketch": None},
        {"count": 2**60, "sketch": None},
        {"kind": "x"},
        {"tags": ("x" * 201,)},
        {"tags": tuple(map(str, range(31)))},
        {"metric": "m" * 301},
        {"probe_id": ""},
        {"at_ms": -1},
    ],
)
def test_a_measurement_that_makes_no_sense_is_refused(lie: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        decode(encode(batch(metrics=[measured(**lie)])), is_gzipped=True)


@pytest.mark.parametrize(
    "lie",
    [{"trace_id": "z" * 32}, {"span_id": -1}, {"tags": {"a": "x" * 2_001}}, {"errors": {"t" * 201: ""}}],
)
def test_a_span_that_makes_no_sense_is_refused(lie: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        decode(encode(batch(spans=[span(**lie)])), is_gzipped=True)


def test_a_batch_that_unpacks_to_more_than_it_may_is_refused() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    packed = bomb.compress(b"\0" * (probe_batch.MAX_UNPACKED_BYTES + 1)) + bomb.flush()
    with pytest.raises(OversizeError):
        decode(packed, is_gzipped=True)
    with pytest.raises(OversizeError):
        decode(b"\0" * (probe_batch.MAX_BATCH_BYTES + 1), is_gzipped=False)


@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_no_batch(body: bytes, is_gzipped: bool) -> None:
    with pytest.raises(UntrustedError):
        decode(body, is_gzipped=is_gzipped)
