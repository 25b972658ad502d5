"""Regular expressions on captured texts, without the risk that one keeps the server busy.

The program under test may use any pattern; here a pattern is tried only if its cost is known beforehand to be
small: no repeat within a repeat, and few repeats for the length of the text. Others cannot be told.
"""

from __future__ import annotations

import re
import warnings
from typing import Final

MAX_PATTERN: Final = 200
MAX_COST: Final = 2_000_000  # steps of the engine, some 50 ms

_ESCAPE_OR_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.S)
_BOUNDED = re.compile(r"\{(\d{0,9})(?:,(\d{0,9}))?\}")


class CostlyPatternError(Exception):
    """The pattern is not tried; says why, as a sentence."""


class WrongPatternError(Exception):
    """The pattern is none; says why."""


def cost(pattern: str, subject_chars: int) -> int:
    """At most how many steps it takes to try a pattern on a text of that length.

    Raises:
        CostlyPatternError: Nobody knows, or it is too long.
    """
    if len(pattern) > MAX_PATTERN:
        raise CostlyPatternError(f"A pattern of more than {MAX_PATTERN} characters is not tried here.")
    plain = _ESCAPE_OR_CLASS.sub("x", pattern)
    if re.search(r"\\\d|\(\?P=", pattern):
        raise CostlyPatternError("A pattern that refers back to a group is not tried here.")
    open_groups: list[bool] = []  # whether something in it may match in two ways
    total = max(subject_chars, 1) + 1
    place = 0
    closed_choice = False  # whether what stands before is a group that may match in two ways
    while place < len(plain):
        character = plain[place]
        bounded = _BOUNDED.match(plain, place) if character == "{" else None
        if character in "*+?" or bounded:
            if character == "?" and place and plain[place - 1] in "*+?(}":
                place += 1  # not greedy, or the beginning of (?:
                continue
            if closed_choice and not _is_once(character):
                raise CostlyPatternError("A pattern with a repeat in a repeat is not tried here.")
            total *= 2 if _is_once(character) else max(subject_chars, 1) + 1
            if bounded:
                total *= max(int(bounded[1] or 0), int(bounded[2] or 0), 1)
                place = bounded.end()
            else:
                place += 1
            open_groups = [True] * len(open_groups)
            closed_choice = False
        else:
            closed_choice = False
            if character == "(":
                open_groups.append(False)
            elif character == "|":
                open_groups = [True] * len(open_groups)
                total *= 2
            elif character == ")" and open_groups:
                closed_choice = open_groups.pop()
            place += 1
        if total > MAX_COST:
            raise CostlyPatternError("The pattern has too many repeats to be tried on a text of this length.")
    return total


def _is_once(character: str) -> bool:
    return character == "?"


def fits(pattern: str, text: str, *, anywhere: bool) -> bool:
    """Whether a pattern fits a text at its beginning, or anywhere in it.

    Raises:
        CostlyPatternError: It is not tried.
        WrongPatternError: It is no pattern.
    """
    cost(pattern, len(text))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise WrongPatternError(str(error)) from error
    return (compiled.search(text) if anywhere else compiled.match(text)) is not None
