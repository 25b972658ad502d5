"""The time of a signal as a picture: how much came when, and what happened to it.

A bar is some minutes. Everything is placed in percent, so that the picture fills its place without its text
being stretched; a sentence and a table say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.products import wording
from sealwire.server.security.rule_words import span
from sealwire.server.ui.render import moment
from sealwire.server.ui.views import Moment

BARS: Final = 60
MAX_MARKS: Final = 12  # on the picture; the list beside it has them all
MAX_LISTED: Final = 60
_SPANS_MIN: Final = (1, 2, 5, 10, 15, 30, 60, 120)
_LEAST_BARS: Final = 10  # an attack of a minute is no wall


@dataclass(frozen=True, slots=True)
class Happened:
    """Something to be marked.

    Attributes:
        kind: ``severity``, ``block``, ``comment``, ``triage`` or ``state``.
        by: Who did it; empty for the rule.
    """

    at_s: float
    kind: str
    icon: str
    words: str
    by: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, in percent of the picture."""

    x: float
    y: float
    width: float
    height: float
    at: Moment
    count: int


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that happened; ``number`` is 0 where it is not on the picture."""

    number: int
    x: float
    kind: str
    icon: str
    words: str
    by: str
    text: str
    at: Moment


@dataclass(frozen=True, slots=True)
class Timeline:
    """The picture, and what it says.

    Attributes:
        top: What the highest bar stands for.
        each: What a bar is, in words.
    """

    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    more_marks: int
    top: int
    each: str
    begins: Moment
    ends: Moment
    caption: str


def timeline(by_minute: Mapping[int, int], happened: Iterable[Happened]) -> Timeline:
    """The picture of requests by minute since 1970, and of what happened meanwhile."""
    events = sorted(happened, key=lambda one: one.at_s)
    minutes = sorted(by_minute) or [int(one.at_s // 60) for one in events[:1]] or [0]
    first, last = minutes[0], minutes[-1]
    wide = next((one for one in _SPANS_MIN if (last - first) // one + 1 <= BARS), _SPANS_MIN[-1])
    start = first // wide * wide
    number = max(_LEAST_BARS, (last - start) // wide + 1)
    counts = [0] * number
    for minute, count in by_minute.items():
        counts[min(number - 1, (minute - start) // wide)] += count
    slot = 100 / number
    top = max(counts, default=0)
    bars = tuple(
        Bar(
            round(place * slot + slot * 0.08, 2),
            round(100 - height, 2),
            round(slot * 0.84, 2),
            round(height, 2),
            moment((start + place * wide) * 60),
            count,
        )
        for place, count in enumerate(counts)
        for height in (max(2.0, 84 * count / top) if count else 0.0,)
    )
    ends = (start + number * wide) * 60
    return Timeline(
        bars=bars,
        marks=_marks(events, start * 60, ends),
        more_marks=max(0, len(events) - MAX_LISTED),
        top=top,
        each=span(wide * 60),
        begins=moment(start * 60),
        ends=moment(ends),
        caption=_caption(by_minute, top, wide, events),
    )


def _marks(events: list[Happened], begins: float, ends: float) -> tuple[Mark, ...]:
    found = []
    shown = 0
    for one in events[-MAX_LISTED:]:
        share = (one.at_s - begins) / max(1.0, ends - begins)
        is_on = 0 <= share <= 1 and shown < MAX_MARKS
        shown += is_on
        found.append(
            Mark(
                shown if is_on else 0,
                round(min(98.5, max(1.5, share * 100)), 2),
                one.kind,
                one.icon,
                one.words,
                one.by,
                one.text,
                moment(one.at_s),
            )
        )
    return tuple(found)


def _caption(by_minute: Mapping[int, int], top: int, wide: int, events: list[Happened]) -> str:
    total = sum(by_minute.values())
    lasted = (max(by_minute) - min(by_minute) + 1) * 60 if by_minute else 0
    rises = sum(one.kind == "severity" for one in events)
    blocks = sum(one.kind == "block" for one in events)
    parts = [
        f"{wording.counted(total, 'request')} in {span(lasted)}, at most {top:,} in {span(wide * 60)}",
        f"severity was set {wording.counted(rises, 'time')}" if rises > 1 else "",
        wording.counted(blocks, "block") if blocks else "",
    ]
    return "; ".join(part for part in parts if part) + "."
