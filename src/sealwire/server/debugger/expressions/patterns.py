"""Regular expressions on captured texts, without the risk that one keeps the server busy.

The program under test may use any pattern; here a pattern is tried only if its cost is known beforehand to be
small: no repeat within a repeat, and few repeats for the length of the text. Others cannot be told.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import Final

MAX_PATTERN: Final = 200
MAX_COST: Final = 5_000_000  # steps of the engine, some 100 ms

_ESCAPE_OR_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.S)
_BOUNDED = re.compile(r"\{(\d{0,9})(?:,(\d{0,9}))?\}")


class CostlyPatternError(Exception):
    """The pattern is not tried; says why, as a sentence."""


class WrongPatternError(Exception):
    """The pattern is none; says why."""


def cost(pattern: str, subject_chars: int, *, anywhere: bool) -> int:
    """At most how many steps it takes to try a pattern on a text of that length.

    Raises:
        CostlyPatternError: Nobody knows, or it is too long, or they are too many.
    """
    if len(pattern) > MAX_PATTERN:
        raise CostlyPatternError(f"A pattern of more than {MAX_PATTERN} characters is not tried here.")
    plain = _ESCAPE_OR_CLASS.sub("x", pattern)
    if re.search(r"\\\d|\(\?P=", pattern):
        raise CostlyPatternError("A pattern that refers back to a group is not tried here.")
    long = max(subject_chars, 1) + 1
    total, wanderers = (long, 1) if anywhere else (1, 0)
    open_groups: list[bool] = []  # whether something in it may match in two ways
    place = 0
    can_differ = False  # whether what stands before is a group that may match in two ways
    while place < len(plain):
        character = plain[place]
        bounded = _BOUNDED.match(plain, place) if character == "{" else None
        if character == "?" and place and plain[place - 1] in "*+?(}":
            place += 1  # not greedy, or the beginning of (?:
            continue
        if character in "*+?" or bounded:
            least, most = _bounds(character, bounded, long)
            if can_differ and most > 1:
                raise CostlyPatternError("A pattern with a repeat in a repeat is not tried here.")
            total *= max(most - least + 1, 1)
            wanderers += most == long
            # What is counted out is done as often as that.
            total *= max(min(least, 1_000), 1) if bounded else 1
            open_groups = [each or most > least for each in open_groups]
            can_differ = False
            place = bounded.end() if bounded else place + 1
        else:
            can_differ = False
            if character == "(":
                open_groups.append(False)
            elif character == "|":
                open_groups = [True] * len(open_groups)
                total *= 2
            elif character == ")" and open_groups:
                can_differ = open_groups.pop()
            place += 1
        # Repeats share the text among them: n·n·n ways are n·n·n/6 at most.
        if total // math.factorial(wanderers) > MAX_COST:
            raise CostlyPatternError("The pattern has too many repeats to be tried on a text of this length.")
    return total // math.factorial(wanderers)


def _bounds(character: str, bounded: re.Match[str] | None, long: int) -> tuple[int, int]:
    """How often at least and at most."""
    if bounded is None:
        return {"?": (0, 1), "*": (0, long), "+": (1, long)}[character]
    least = int(bounded[1] or 0)
    if bounded[2] is None:
        return least, least
    return least, min(int(bounded[2]), long) if bounded[2] else long


def fits(pattern: str, text: str, *, anywhere: bool) -> bool:
    """Whether a pattern fits a text at its beginning, or anywhere in it.

    Raises:
        CostlyPatternError: It is not tried.
        WrongPatternError: It is no pattern.
    """
    cost(pattern, len(text), anywhere=anywhere)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise WrongPatternError(str(error)) from error
    return (compiled.search(text) if anywhere else compiled.match(text)) is not None
