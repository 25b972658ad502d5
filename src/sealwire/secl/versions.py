"""Constraints on the version of an agent: ``>= 7.71``, ``>=7.65 <7.70``, ``~7.60 || ^8``."""

from __future__ import annotations

import re
from typing import Final

MAX_CHARS: Final = 500

_CLAUSE: Final = re.compile(
    r"\s*,?\s*(>=|<=|!=|==|=|>|<|~|\^)?\s*v?([0-9]{1,9}(?:\.(?:[0-9]{1,9}|[xX*])){0,2})[^\s,|<>=!~^]*"
)
_VERSION: Final = re.compile(r"v?([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\.([0-9]{1,9}))?")


class ConstraintError(Exception):
    """It is no constraint on versions; says why."""


def satisfies(version: str, constraint: str) -> bool:
    """Whether a version meets a constraint: one of the parts between ``||``, of which every clause holds.

    Raises:
        ConstraintError: The constraint or the version is none.
    """
    if len(constraint) > MAX_CHARS:
        raise ConstraintError("The constraint is too long.")
    found = _VERSION.match(version)
    if found is None:
        raise ConstraintError(f"{version!r} is no version.")
    numbers = (int(found[1]), int(found[2] or 0), int(found[3] or 0))
    # Every part is looked at, so that a mistake in the second is found where the first holds.
    parts = [_holds_all(numbers, part) for part in constraint.split("||")]
    return any(parts)


def _holds_all(version: tuple[int, int, int], text: str) -> bool:
    place, holds, clauses = 0, True, 0
    text = text.strip()
    while place < len(text):
        clause = _CLAUSE.match(text, place)
        if clause is None or clause.end() == place:
            raise ConstraintError(f"{text!r} is no constraint; write >= 7.71, or >= 7.65 < 7.70.")
        holds = _holds(version, clause[1] or "=", clause[2]) and holds
        clauses += 1
        place = clause.end()
    if not clauses:
        raise ConstraintError("The constraint is empty; write >= 7.71.")
    return holds


def _holds(version: tuple[int, int, int], operator: str, text: str) -> bool:
    given = [int(part) for part in text.split(".") if part.isdigit()]
    wanted = (*given, 0, 0)[:3]
    below = (*given[:-1], given[-1] + 1)  # the first version beyond what was written: 7.71 is 7.71.*
    match operator:
        case ">=":
            return version >= wanted
        case "<":
            return version < wanted
        case ">":
            return version >= below
        case "<=":
            return version < below
        case "~":
            return wanted <= version < ((given[0], given[1] + 1) if len(given) > 1 else (given[0] + 1,))
        case "^":
            return wanted <= version < (given[0] + 1,)
        case "!=":
            return not wanted <= version < below
    return wanted <= version < below
