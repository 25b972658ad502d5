"""How the admin API writes what every answer has."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.clock import written
from sealwire.server.api import shapes


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_392_000_000, "2026-11-23T00:00:00.000Z"),
        (1_795_392_000_007, "2026-11-23T00:00:00.007Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_always_has_milliseconds_and_a_zone(at_ms: int, text: str) -> None:
    assert written(at_ms) == shapes.time(at_ms) == shapes.time_or_none(at_ms) == text


def test_a_time_that_need_not_be_may_be_nothing() -> None:
    assert shapes.time_or_none(None) is None


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_reads_back_as_it_was(at_ms: int) -> None:
    read = datetime.fromisoformat(written(at_ms))
    assert round(read.timestamp() * 1000) == at_ms
    assert len(written(at_ms)) == 24, "so that texts sort as times do"
