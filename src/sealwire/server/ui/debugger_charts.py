"""What probes bring as pictures: a metric over time, and how many messages came each minute.

Drawn by the template as SVG, without a script. Each slot of time says its numbers to who points at it; a
sentence and a table say the same to who does not see the picture. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from sealwire.products import wording
from sealwire.server.debugger.authoring.probes import MetricKind
from sealwire.server.debugger.reports.metrics import Point
from sealwire.server.ui.render import moment
from sealwire.server.ui.views import Moment

WIDTH: Final = 1_000.0
HEIGHT: Final = 200.0
ALONE: Final = 8.0
MAX_LINES: Final = 6
SPARK_WIDTH: Final = 90
SPARK_HEIGHT: Final = 18
SPARK_MINUTES: Final = 30
#: Seconds of the whole picture and of a slot, by the word of an address.
RANGES: Final[Mapping[str, tuple[int, int, str]]] = {
    "15m": (900, 10, "15 minutes"),
    "1h": (3_600, 60, "hour"),
    "24h": (86_400, 900, "24 hours"),
}
_TICKS: Final = 4
_LARGEST: Final = 1e300  # so that the distance of two is a number too


Value = Callable[[Point], float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the picture; a path for each stretch without a gap.

    Attributes:
        look: Which of the looks, by number: colour and dashes together.
        newest: Its last value, in words.
    """

    name: str
    look: int
    path: str
    newest: str


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of time that somebody may point at."""

    x: float
    width: float
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: when, of which tags, and the numbers in the order of the headings."""

    at: Moment
    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetricChart:
    """A metric over time.

    Attributes:
        caption: The whole picture in one sentence.
        band: A path that is filled, from the least to the most; empty for none.
        ticks: Height in percent from above, and the number there.
        more: Series that are in the table only.
    """

    caption: str
    lines: tuple[Line, ...]
    bars: tuple[Bar, ...]
    band: str
    slots: tuple[Slot, ...]
    ticks: tuple[tuple[float, str], ...]
    begins: Moment
    ends: Moment
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    more: int
    is_empty: bool
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True, slots=True)
class Spark:
    """So many each minute, of the last half hour."""

    bars: tuple[Bar, ...]
    words: str
    width: int = SPARK_WIDTH
    height: int = SPARK_HEIGHT


def number_words(value: float | None) -> str:
    """A number as people read it: three digits that matter."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    for least, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= least:
            divisor = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}[unit]
            return (
                f"{value / divisor:.3g} {unit}"
                if size / divisor < 1_000
                else f"{value / divisor:,.0f} {unit}"
            )
    if size >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def metric_chart(
    kind: MetricKind,
    series: Sequence[tuple[str, Sequence[Point]]],
    *,
    since_ms: int,
    until_ms: int,
    step_s: int,
) -> MetricChart:
    """Draw a metric.

    Args:
        series: The name of each tag set (empty: all together) and its values in the order of time.
    """
    found = [(name, [one for one in buckets if one.count]) for name, buckets in series]
    found = sorted((one for one in found if one[1]), key=lambda one: -sum(each.count for each in one[1]))
    drawn = found[:MAX_LINES]
    is_one = len(drawn) == 1
    columns = _columns(kind)
    lines = _lines(kind, is_one=is_one)
    top, bottom = _scale([value(one) for _, buckets in drawn for one in buckets for _, value in lines])
    slot = WIDTH * step_s * 1000 / max(1, until_ms - since_ms)

    def x(at_ms: int) -> float:
        return round((at_ms - since_ms) / max(1, until_ms - since_ms) * WIDTH + slot / 2, 1)

    def y(value: float) -> float:
        return round(HEIGHT - (_within(value) - bottom) / (top - bottom) * HEIGHT, 1)

    as_bars = kind is MetricKind.COUNT and is_one
    return MetricChart(
        caption=_caption(kind, found, step_s),
        lines=()
        if as_bars
        else tuple(
            Line(
                (name if not is_one else "") or label,
                place if not is_one else number,
                _path([(one.at_ms, value(one)) for one in buckets], x, y, step_s),
                number_words(value(buckets[-1])),
            )
            for place, (name, buckets) in enumerate(drawn)
            for number, (label, value) in enumerate(lines)
        ),
        bars=tuple(
            Bar(
                round(x(one.at_ms) - slot * 0.42, 1),
                y(one.sum),
                round(slot * 0.84, 1),
                round(y(0) - y(one.sum), 1),
            )
            for one in (drawn[0][1] if as_bars else ())
        ),
        band=_band(drawn[0][1], x, y) if is_one and kind is MetricKind.GAUGE else "",
        slots=_slots(drawn, columns, x, slot),
        ticks=tuple(
            (round(100 * place / _TICKS, 1), number_words(top - (top - bottom) * place / _TICKS))
            for place in range(_TICKS + 1)
        ),
        begins=moment(since_ms / 1000),
        ends=moment(until_ms / 1000),
        headings=tuple(label for label, _ in columns),
        rows=tuple(
            sorted(
                (
                    Row(
                        moment(one.at_ms / 1000),
                        name,
                        tuple(number_words(value(one)) for _, value in columns),
                    )
                    for name, buckets in found
                    for one in buckets
                ),
                key=lambda row: row.at.iso,
                reverse=True,
            )[:200]
        ),
        more=len(found) - len(drawn),
        is_empty=not found,
    )


def _average(one: Point) -> float | None:
    return one.sum / one.count if one.count else None


def _columns(kind: MetricKind) -> tuple[tuple[str, Value], ...]:
    """What the table and the words of a slot have of each piece of time."""
    if kind is MetricKind.COUNT:
        return (("Sum", lambda one: one.sum), ("Values", lambda one: one.count))
    if kind is MetricKind.GAUGE:
        return (
            ("Last", lambda one: one.last), ("Mean", _average), ("Least", lambda one: one.min),
            ("Most", lambda one: one.max), ("Values", lambda one: one.count),
        )  # fmt: skip
    return (
        ("p50", lambda one: one.p50), ("p95", lambda one: one.p95), ("p99", lambda one: one.p99),
        ("Most", lambda one: one.max), ("Values", lambda one: one.count),
    )  # fmt: skip


def _lines(kind: MetricKind, *, is_one: bool) -> tuple[tuple[str, Value], ...]:
    """What is drawn of a tag set: of many only one line each."""
    if kind is MetricKind.COUNT:
        return (("sum", lambda one: one.sum),)
    if kind is MetricKind.GAUGE:
        return (("mean", _average),)
    if not is_one:
        return (("p95", lambda one: one.p95),)
    return (("p50", lambda one: one.p50), ("p95", lambda one: one.p95), ("p99", lambda one: one.p99))


def _scale(values: Sequence[float | None]) -> tuple[float, float]:
    """The upper and the lower end of the axis; nought is always there."""
    known = [_within(value) for value in values if value is not None and math.isfinite(value)]
    top, bottom = _round_up(max(known, default=0.0)), -_round_up(-min(known, default=0.0))
    return (top, bottom) if top > bottom else (bottom + 1, bottom)


def _within(value: float) -> float:
    return max(-_LARGEST, min(_LARGEST, value))


def _round_up(value: float) -> float:
    """The next number that is good to divide by four."""
    if value <= 0:
        return 0.0
    power: float = 10.0 ** math.floor(math.log10(value))
    steps = (1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)
    # The smallest numbers have few digits: there no step may be enough.
    return next((step * power for step in steps if value <= step * power * 1.000001), 16 * power)


def _path(
    values: Sequence[tuple[int, float | None]],
    x: Callable[[int], float],
    y: Callable[[float], float],
    step_s: int,
) -> str:
    """Through all values; where two slots are missing it is taken up anew."""
    stretches: list[list[tuple[int, float]]] = []
    for at_ms, value in values:
        if value is None or not math.isfinite(value):
            continue
        if not stretches or at_ms - stretches[-1][-1][0] > step_s * 2_500:
            stretches.append([])
        stretches[-1].append((at_ms, value))
    return "".join(
        # A point that stands alone is a short line, so that it is seen.
        f"M{round(x(each[0][0]) - ALONE / 2, 1)} {y(each[0][1])}h{ALONE}"
        if len(each) == 1
        else "M" + "L".join(f"{x(at_ms)} {y(value)}" for at_ms, value in each)
        for each in stretches
    )


def _band(buckets: Sequence[Point], x: Callable[[int], float], y: Callable[[float], float]) -> str:
    known = [(one.at_ms, one.min, one.max) for one in buckets]
    if len(known) < 2:
        return ""

    # Not beyond the picture: the axis is that of the means.
    def within(value: float) -> float:
        return min(HEIGHT, max(0.0, y(value)))

    above = [f"{x(at)} {within(most)}" for at, _, most in known]
    below = [f"{x(at)} {within(least)}" for at, least, _ in reversed(known)]
    return f"M{'L'.join(above + below)}Z"


def _slots(
    drawn: Sequence[tuple[str, Sequence[Point]]],
    columns: Sequence[tuple[str, Value]],
    x: Callable[[int], float],
    slot: float,
) -> tuple[Slot, ...]:
    everything = sorted(
        ((one.at_ms, name, one) for name, buckets in drawn for one in buckets), key=lambda one: one[:2]
    )
    found = []
    for at_ms, ones in groupby(everything, key=lambda one: one[0]):
        clock = moment(at_ms / 1000).iso[11:19]
        said = []
        for _, name, one in ones:
            numbers = ", ".join(f"{label.lower()} {number_words(value(one))}" for label, value in columns)
            said.append(f"{name}: {numbers}" if name and len(drawn) > 1 else numbers)
        found.append(Slot(round(x(at_ms) - slot / 2, 1), round(slot, 1), "\n".join([f"{clock} UTC", *said])))
    return tuple(found)


def _caption(kind: MetricKind, found: Sequence[tuple[str, Sequence[Point]]], step_s: int) -> str:
    if not found:
        return "No value came in this time."
    buckets = [one for _, each in found for one in each]
    values = int(sum(one.count for one in buckets))
    each = f"{step_s} s" if step_s < 60 else f"{step_s // 60} min"
    sets = f" in {len(found)} sets of tags" if len(found) > 1 else ""
    if kind is MetricKind.COUNT:
        total, highest = sum(one.sum for one in buckets), max(one.sum for one in buckets)
        return f"{number_words(total)} in all{sets}, at most {number_words(highest)} in {each}."
    most = max(one.max for one in buckets)
    least = min(one.min for one in buckets)
    said = f"{wording.counted(values, 'value')}{sets}, from {number_words(least)} to {number_words(most)}"
    if len(found) > 1:
        said += f"; drawn is the {'mean' if kind is MetricKind.GAUGE else 'p95'} of each"
    elif kind is not MetricKind.GAUGE:
        newest = buckets[-1]
        said += f"; lately half up to {number_words(newest.p50)}, 95 % up to {number_words(newest.p95)}"
    return f"{said}. Each point is {each}."


def spark(per_minute: Sequence[int], *, of: str = "message") -> Spark:
    """Draw how many came each minute, the newest last."""
    counts = list(per_minute)[-SPARK_MINUTES:]
    counts = [0] * (SPARK_MINUTES - len(counts)) + counts
    most = max(counts)
    if not most:
        return Spark((), "")
    slot = SPARK_WIDTH / SPARK_MINUTES
    bars = tuple(
        Bar(round(place * slot, 1), round(SPARK_HEIGHT - height, 1), round(slot - 1, 1), height)
        for place, count in enumerate(counts)
        if count
        for height in (round(max(1.5, count / most * SPARK_HEIGHT), 1),)
    )
    total = sum(counts)
    return Spark(
        bars, f"{wording.counted(total, of)} in {SPARK_MINUTES} minutes, at most {most:,} in one of them"
    )
