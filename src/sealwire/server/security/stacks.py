"""Stack traces of exploits: from what a tracer sent, of whatever shape, to frames that can be shown.

Invariant: what comes out is bounded texts and numbers; what cannot be read is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sealwire.server.security.rows import plain

MAX_STACKS: Final = 20
MAX_FRAMES: Final = 64


class Frame(NamedTuple):
    """One call.

    Attributes:
        where: File and line; empty where neither is known.
        what: The function, with its class and module.
    """

    where: str
    what: str


class Stack(NamedTuple):
    """How the code came to where a vulnerability was reached; the innermost call first."""

    stack_id: str
    language: str
    message: str
    frames: tuple[Frame, ...]


def read(stacks: Mapping[str, Any]) -> tuple[Stack, ...]:
    """What of it can be shown.

    Args:
        stacks: By their ids; plain values, as received.
    """
    found = []
    for stack_id, item in list(stacks.items())[:MAX_STACKS]:
        if not isinstance(item, dict):
            continue
        given = item.get("frames")
        frames = [_frame(one) for one in given[:MAX_FRAMES]] if isinstance(given, list) else []
        found.append(
            Stack(
                plain(str(stack_id)),
                _text(item, "language"),
                _text(item, "message"),
                tuple(frame for frame in frames if frame is not None),
            )
        )
    return tuple(found)


def _frame(one: Any) -> Frame | None:
    if not isinstance(one, dict):
        return None
    place = ":".join(part for part in (_text(one, "file"), _text(one, "line"), _text(one, "column")) if part)
    names = (_text(one, "namespace"), _text(one, "class_name"), _text(one, "function"))
    what = ".".join(part for part in names if part) or _text(one, "text")
    return Frame(place, what) if place or what else None


def _text(item: Mapping[Any, Any], name: str) -> str:
    value = item.get(name)
    if isinstance(value, str):
        return plain(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
