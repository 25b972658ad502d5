"""How many and which, in words: what products and pages say of long lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

FIRST = 3  # of a list are named, the others counted
_SHOWN_CHARACTERS = 80


def shown(value: str) -> str:
    """A text as it may stand in a sentence."""
    if len(value) > _SHOWN_CHARACTERS:
        value = value[:_SHOWN_CHARACTERS] + "…"
    return value if value.strip() else '""'


def some(words: Sequence[str]) -> str:
    """``a, b, c and 9 more``."""
    first = ", ".join(shown(word) for word in words[:FIRST])
    return f"{first} and {len(words) - FIRST} more" if len(words) > FIRST else first


def counted(number: int, one: str, many: str = "") -> str:
    """``1 address``, ``2 addresses``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(seconds: int) -> str:
    """A time, seconds since 1970, as ``2026-11-30 12:00 UTC``."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"second {seconds}"
