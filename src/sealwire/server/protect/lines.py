"""Lists as people paste them and as feeds send them: one value a line, perhaps until when and why.

    203.0.113.7
    203.0.113.0/24, 7d, credential stuffing     # a note
    2001:db8::/32, 2026-12-24T00:00:00Z

A line that is empty or begins with ``#`` or ``;`` says nothing. Every mistake is told with its line number.
Pure: text in, lines out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sealwire.server.protect.denylist import Checked, Kind, Surroundings, check_one

MAX_LINES = 20_000
MAX_TEXT = 2 * 1024 * 1024
MAX_REASON = 500
MAX_SPAN_S = 10 * 365 * 86400
FOREVER = ("", "forever", "for ever", "ever", "never", "-", "0")
_SPAN = re.compile(r"([0-9]{1,6})\s*(m|min|h|d|w)", re.ASCII)
_UNIT_S: Mapping[str, int] = {"m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604_800}
_NOTE = re.compile(r"(^|\s)[#;].*$")


@dataclass(frozen=True, slots=True)
class Line:
    """Somebody to block.

    Attributes:
        until: As the line says it.
        until_s: None: the line does not say; 0 is for ever.
    """

    number: int
    checked: Checked
    until: str = ""
    until_s: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A line that is none."""

    number: int
    text: str
    message: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a text comes to.

    Attributes:
        good: Each value once, as the last line has it.
        repeated: How many lines named a value again.
    """

    good: tuple[Line, ...]
    bad: tuple[Mistake, ...]
    repeated: int


def parse(text: str, kind: Kind, *, now_s: int, around: Surroundings | None = None) -> Parsed:
    """Read a list."""
    return parse_lines(text.splitlines(), kind, now_s=now_s, around=around)


def parse_lines(
    texts: Iterable[str], kind: Kind, *, now_s: int, around: Surroundings | None = None
) -> Parsed:
    """Read the lines of a list."""
    good: dict[str, Line] = {}
    bad: list[Mistake] = []
    count = 0
    for number, text in enumerate(texts, 1):
        if number > MAX_LINES:
            bad.append(Mistake(number, text[:200], f"A list has at most {MAX_LINES:,} lines."))
            break
        try:
            line = _line(number, text, kind, now_s, around)
        except ValueError as error:
            bad.append(Mistake(number, text[:500], str(error)))
            continue
        if line is not None:
            count += 1
            good[line.checked.value] = line
    return Parsed(tuple(good.values()), tuple(bad), count - len(good))


def _line(number: int, text: str, kind: Kind, now_s: int, around: Surroundings | None) -> Line | None:
    text = text.strip().lstrip("\ufeff")
    if not text or text[0] in "#;":
        return None
    if kind is not Kind.USER:
        text = _NOTE.sub("", text)
    if "," not in text and '"' not in text:
        return Line(number, check_one(kind, text.strip(), around))
    value, until, reason = _columns(text)
    if len(reason) > MAX_REASON or not reason.isprintable():
        raise ValueError(f"A reason here has at most {MAX_REASON} characters, all of them visible.")
    return Line(number, check_one(kind, value, around), until, until_of(until, now_s), reason)


def _columns(text: str) -> tuple[str, str, str]:
    try:
        cells = [cell.strip() for cell in next(csv.reader([text], skipinitialspace=True, strict=True))]
    except (csv.Error, StopIteration):
        raise ValueError("A quotation mark is never closed.") from None
    # A reason may have commas of its own.
    return cells[0], cells[1] if len(cells) > 1 else "", ", ".join(cells[2:])


def until_of(text: str, now_s: int) -> int | None:
    """Until when, in seconds since 1970; None: nothing was said, 0: for ever.

    Raises:
        ValueError: It is none, or over already.
    """
    said = text.casefold()
    if not said:
        return None
    if said in FOREVER:
        return 0
    if found := _SPAN.fullmatch(said):
        until_s = now_s + int(found[1]) * _UNIT_S[found[2]]
    elif said.isascii() and said.isdigit() and len(said) <= 11:
        until_s = int(said)
    else:
        until_s = _moment_s(text)
    if until_s <= now_s:
        raise ValueError(f"{text!r} is over already.")
    if until_s > now_s + MAX_SPAN_S:
        raise ValueError("A block lasts ten years at most, or for ever.")
    return until_s


def _moment_s(text: str) -> int:
    wrong = f"{text[:60]!r} is no time: write 7d, 12h, 2026-12-24T00:00:00Z or forever."
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(wrong) from None
    if moment.tzinfo is None:
        raise ValueError(f"{text[:60]!r} has no time zone: end it with Z for UTC.")
    return int(moment.timestamp())
