"""The head of a message: what is needed to file it, and nothing that a whole reading would not find."""

from __future__ import annotations

import contextlib
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.server.debugger.snapshots import heads, snapshot
from sealwire.server.debugger.snapshots.snapshot import MAX_ENVELOPE_BYTES
from tests.support.messages import PROBE, message, value

VECTORS = Path(__file__).parents[4] / "vectors" / "debugger"


@pytest.mark.parametrize("file", ["ddtrace_4.16_messages.json", "dd_trace_5.132_messages.json"])
def test_of_what_real_tracers_send_head_and_whole_say_the_same(file: str) -> None:
    found = snapshot.envelopes((VECTORS / file).read_bytes())

    assert found
    for raw in found:
        head, whole = heads.read(raw), snapshot.read(raw)
        assert (head.snapshot_id, head.probe_id, head.probe_version) == (
            whole.snapshot_id, whole.probe_id, whole.probe_version,
        )  # fmt: skip
        assert (head.stamp_ms, head.service, head.language) == (
            whole.timestamp_ms, whole.service, whole.language,
        )  # fmt: skip
        assert (head.trace_id, head.span_id, head.duration_ns) == (
            whole.trace_id, whole.span_id, whole.duration_ns,
        )  # fmt: skip
        assert (head.has_values, head.errors, head.message) == (
            whole.has_values, len(whole.errors), whole.message,
        )  # fmt: skip


REFUSED = (
    b"{}",
    b"[]",
    b"null",
    b"nonsense",
    b'{"debugger":null}',
    b'{"debugger":{"snapshot":{"probe":{"id":"p"}}}}',
    b'{"debugger":{"snapshot":{"id":"s"}}}',
    b'{"debugger":{"snapshot":{"id":7,"probe":{"id":"p"}}}}',
    message("no place/for ../this"),
    message(probe="x" * 65),
    message("bad\ud7ff"),
    b"\xff\xfe",
)


@pytest.mark.parametrize("raw", REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        heads.read(raw)


def test_one_that_is_too_long_is_refused_and_still_counts_for_its_probe() -> None:
    raw = message(captured={"big": value("x" * MAX_ENVELOPE_BYTES)})

    with pytest.raises(OversizeError):
        heads.read(raw)
    assert heads.probe_of(raw) == PROBE
    assert heads.probe_of(b"{}") == ""


def test_odd_numbers_and_texts_do_no_harm() -> None:
    document = orjson.loads(message(timestamp="1795357418562", duration=-1, language=["x"]))
    document |= {"service": "a\nb\u202e", "hostname": 5, "message": "one\x00two", "dd": None}
    head = heads.read(orjson.dumps(document))

    assert (head.stamp_ms, head.duration_ns, head.language) == (1_795_357_418_562, None, "")
    assert (head.host, head.message, head.trace_id) == ("5", "one\ufffdtwo", "")
    assert head.service.isprintable()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: message(said=text)))
def test_anything_is_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(UntrustedError):
        heads.read(raw)
    assert isinstance(heads.probe_of(raw), str)
