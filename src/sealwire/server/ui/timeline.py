"""Requests over time as bars that a template draws: seen, read and followed without any script.

Hides where bars stand and how times are worded. Times are UTC. Invariant: a bar is as wide as its time, the
bars touch the clock's own marks, and each says in words what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sealwire.server.store.security import Bar

WIDTH, HEIGHT = 960, 72
MAX_BARS: Final = 60
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
_STEPS: Final = (
    *(n * SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * MINUTE for n in (1, 2, 4, 5, 10, 15, 30)),
    *(n * HOUR for n in (1, 2, 3, 6, 12)),
    *(n * DAY for n in (1, 2, 7, 14, 28, 91, 182, 364)),
)
_KINDS: Final = (("attacks", "attacked"), ("blocked", "blocked"), ("events", "events"))
_GAP = 2.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a bar: ``kind`` is ``attacks``, ``blocked`` or ``events``."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class TimeBar:
    """One bar.

    Attributes:
        label: What it shows, in words.
        href: To these times alone; empty where there is nothing.
    """

    x: float
    width: float
    pieces: tuple[Piece, ...]
    label: str
    begins: str
    href: str
    attacks: int
    blocked: int
    events: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole chart.

    Attributes:
        caption: It in one sentence.
        ticks: Words of the axis, evenly apart.
        current: Which bar the keyboard comes to first.
    """

    caption: str
    bars: tuple[TimeBar, ...]
    ticks: tuple[str, ...]
    current: int
    total: int
    attacks: int
    blocked: int
    events: int
    width: int = WIDTH
    height: int = HEIGHT


def step_of(since_ms: int, until_ms: int) -> int:
    """How long a bar is: as the marks of a clock, and no more than ``MAX_BARS``."""
    span = max(1, until_ms - since_ms)
    return next((step for step in _STEPS if span <= MAX_BARS * step), -(-span // MAX_BARS))


def aligned(since_ms: int, until_ms: int) -> tuple[int, int, int]:
    """From where to where the bars go, and how many there are."""
    step = step_of(since_ms, until_ms)
    begin, end = since_ms // step * step, -(-until_ms // step) * step
    return begin, end, max(1, (end - begin) // step)


def timeline(found: Sequence[Bar], *, step_ms: int, href: Callable[[int, int], str]) -> Timeline:
    """The chart.

    Args:
        step_ms: How long each bar is.
        href: The address of a time range.
    """
    slot = WIDTH / max(1, len(found))
    highest = max((bar.attacks + bar.blocked + bar.events for bar in found), default=0) or 1
    bars = tuple(_bar(bar, index * slot, slot, highest, step_ms, href) for index, bar in enumerate(found))
    begin = found[0].at_ms if found else 0
    end = begin + len(found) * step_ms
    totals = [sum(getattr(bar, kind) for bar in found) for kind, _ in _KINDS]
    shown = [index for index, bar in enumerate(bars) if bar.href]
    return Timeline(
        _caption(totals, begin, end),
        bars,
        tuple(clock(begin + (end - begin) * part // 4, end - begin, step_ms) for part in range(5)),
        shown[-1] if shown else -1,
        sum(totals),
        *totals,
    )


def _bar(
    bar: Bar, x: float, slot: float, highest: int, step_ms: int, href: Callable[[int, int], str]
) -> TimeBar:
    pieces = []
    y = float(HEIGHT)
    for kind, _ in _KINDS:
        count = getattr(bar, kind)
        if count:
            height = max(1.5, count / highest * (HEIGHT - 6))
            y = max(0.0, y - height)
            pieces.append(Piece(kind, round(y, 1), round(height, 1)))
    end = bar.at_ms + step_ms
    begins = clock(bar.at_ms, DAY + 1 if step_ms >= HOUR else HOUR, step_ms)
    return TimeBar(
        round(x + _GAP / 2, 2),
        round(max(1.0, slot - _GAP), 2),
        tuple(pieces),
        f"{begins} to {clock(end, DAY + 1 if step_ms >= HOUR else HOUR, step_ms)} UTC: {_counts(bar)}",
        begins,
        href(bar.at_ms, end) if pieces else "",
        bar.attacks,
        bar.blocked,
        bar.events,
    )


def _counts(bar: Bar) -> str:
    words = [f"{getattr(bar, kind):,} {word}" for kind, word in _KINDS if getattr(bar, kind)]
    return ", ".join(words) or "nothing"


def _caption(totals: Sequence[int], begin: int, end: int) -> str:
    attacks, blocked, events = totals
    total = attacks + blocked + events
    said = "1 request" if total == 1 else f"{total:,} requests"
    span = f"from {full(begin)} to {full(end)} UTC"
    if not total:
        return f"No request {span}."
    return f"{said} {span}: {attacks:,} attacked, {blocked:,} blocked, {events:,} with business events only."


def clock(at_ms: int, span_ms: int, step_ms: int) -> str:
    """A time as an axis says it: the day too where several are shown, seconds where steps are short."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    words = f"{at:%H:%M:%S}" if step_ms < MINUTE else f"{at:%H:%M}"
    if step_ms >= DAY:
        return f"{at:%b} {at.day}"
    return f"{at:%b} {at.day}, {words}" if span_ms > DAY else words


def full(at_ms: int) -> str:
    """A time as a sentence says it."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at:%b} {at.day}, {at:%H:%M:%S}" if at_ms % MINUTE else f"{at:%b} {at.day}, {at:%H:%M}"
