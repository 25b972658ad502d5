"""Lines of DogStatsD: those recorded from ddtrace, and all that is no such line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import MalformedError
from sealwire.wire import dogstatsd
from sealwire.wire.dogstatsd import Described

# Recorded from ddtrace 4.16.
RECORDED = (
    b"dynamic.instrumentation.metric.probe.helper_total:5.0|d|#team:shop,"
    b"debugger.probeid:aaaaaaaa-0000-4000-8000-000000000003,env:prod,service:shop,version:1.2.3"
)
NAME = dogstatsd.PREFIX + b"m"


def read(line: bytes) -> tuple[Described, list[float]]:
    rest, values = dogstatsd.split(line)
    return dogstatsd.described(rest), dogstatsd.numbers(values)


def test_a_recorded_line_says_which_probe_measured_what() -> None:
    said, values = read(RECORDED)
    assert values == [5.0]
    assert said == Described(
        "aaaaaaaa-0000-4000-8000-000000000003",
        "helper_total",
        "d",
        ("env:prod", "service:shop", "team:shop", "version:1.2.3"),
        1,
    )


@pytest.mark.parametrize(
    ("line", "kind", "weight", "values"),
    [
        (b":1|c", "c", 1, [1.0]),
        (b":1|c|@0.1|#debugger.probeid:p", "c", 10, [1.0]),
        (b":1:2:3|h|@0.5|c:ci-5|T1656581400", "h", 2, [1.0, 2.0, 3.0]),
        (b":-4.5|g|@0.5", "g", 1, [-4.5]),
        (b":3|ms|#b,a:1,b", "h", 1, [3.0]),
    ],
)
def test_every_part_of_a_line_is_understood(line: bytes, kind: str, weight: int, values: list[float]) -> None:
    said, found = read(NAME + line)
    assert (said.kind, said.weight, found) == (kind, weight, values)


@pytest.mark.parametrize(
    "line",
    [
        b"", b":", b"|", b":|c", b":x|c", b":nan|g", b":inf|g", b":1e999|d", b":1", b":1|s", b":1|",
        b":1|c|@0", b":1|c|@2", b":1|c|@-1", b":1|c|@nan", b":1|c|@0.0000000001", b":1|c|#" + b"a" * 3_000,
        b":1|c|#" + b",".join(b"%d" % n for n in range(31)), b":" + b"1:" * 2_000 + b"1|d",
    ],
)  # fmt: skip
def test_what_is_no_such_line_is_malformed(line: bytes) -> None:
    with pytest.raises(MalformedError):
        read(NAME + line)


@given(st.binary(max_size=100))
def test_random_bytes_come_out_as_printable_text_or_not_at_all(tail: bytes) -> None:
    try:
        said, values = read(NAME + b":1|g|#" + tail)
    except MalformedError:
        return
    assert all(text.isprintable() for text in (said.probe_id, said.metric, *said.tags))
    assert values
