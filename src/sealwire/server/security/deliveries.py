"""Which batches of an agent were taken already: they are delivered at least once, and must count once.

Hides how little is remembered of a run of an agent: its numbers as ranges, as they come nearly in order.
Forgetting is safe for what is kept whole, since a trace has an id; for what is only counted it may count
twice what an agent sends again after a hundred gaps.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import Final

import msgspec

MAX_RANGES: Final = 100

_decode = msgspec.msgpack.Decoder(list[tuple[int, int]]).decode


class Run:
    """The numbers of one run of an agent."""

    __slots__ = ("_ranges",)

    def __init__(self, packed: bytes = b"\x90") -> None:
        self._ranges = _decode(packed)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._ranges, (number, number))
        return any(first <= number <= last for first, last in self._ranges[max(0, at - 1) : at + 1])

    def add(self, number: int) -> None:
        """One more that was taken."""
        if number in self:
            return
        at = bisect_right(self._ranges, (number, number))
        first = last = number
        if at < len(self._ranges) and self._ranges[at][0] == number + 1:
            last = self._ranges.pop(at)[1]
        if at > 0 and self._ranges[at - 1][1] == number - 1:
            at -= 1
            first = self._ranges.pop(at)[0]
        self._ranges.insert(at, (first, last))
        del self._ranges[:-MAX_RANGES]

    def packed(self) -> bytes:
        """To be written down."""
        return msgspec.msgpack.encode(self._ranges)


def run_key(hostname: str, agent_uuid: str, started_ms: int) -> str:
    """A short name for one run of an agent."""
    text = "\0".join((hostname, agent_uuid, str(started_ms)))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]
