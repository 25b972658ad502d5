"""A chart over time: bars of the clock's own lengths, that say in words what they show."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealwire.server.store.security import Bar
from sealwire.server.ui import timeline

NOON = 1_795_348_800_000  # of a day in 2026


@given(st.integers(0, 2**42), st.integers(1, 2**40))
def test_bars_cover_the_times_and_are_few(since_ms: int, span_ms: int) -> None:
    begin, end, number = timeline.aligned(since_ms, since_ms + span_ms)
    step = (end - begin) // number

    assert begin <= since_ms
    assert end >= since_ms + span_ms
    assert (end - begin) % number == 0
    assert 1 <= number <= timeline.MAX_BARS + 1
    assert begin % step == 0


def test_an_hour_is_sixty_bars_of_a_minute() -> None:
    assert timeline.aligned(NOON, NOON + timeline.HOUR) == (NOON, NOON + timeline.HOUR, 60)


def test_a_bar_says_when_and_what_and_leads_there() -> None:
    bars = [Bar(NOON, 3, 1, 0), Bar(NOON + timeline.MINUTE, 0, 0, 0)]

    chart = timeline.timeline(bars, step_ms=timeline.MINUTE, href=lambda a, b: f"/{a}-{b}")

    first, second = chart.bars
    assert first.label == "12:00 to 12:01 UTC: 3 attacked, 1 blocked"
    assert first.href == f"/{NOON}-{NOON + timeline.MINUTE}"
    assert second.href == ""
    assert chart.caption.startswith("4 requests from Nov ")
    assert [piece.kind for piece in first.pieces] == ["attacks", "blocked"]
    assert all(0 <= piece.y <= chart.height for piece in first.pieces)


def test_a_chart_of_nothing_says_so() -> None:
    chart = timeline.timeline([Bar(NOON, 0, 0, 0)], step_ms=timeline.DAY, href=lambda a, b: "/x")

    assert chart.caption == "No request from Nov 22, 12:00 to Nov 23, 12:00 UTC."
    assert chart.current == -1
