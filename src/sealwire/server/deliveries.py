"""Which batches of an agent were taken already: they are delivered at least once, and must count once.

Hides how little is remembered of a run of an agent: its numbers as ranges, as they come nearly in order.
Forgetting is safe for what is kept whole, since a trace has an id; for what is only counted it may count
twice what an agent sends again after a hundred gaps.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from sealwire.errors import SealwireError, TooOftenError
from sealwire.server.fleet.inventory import Rate

MAX_RUNS: Final = 5_000  # of agents, whose batches are remembered
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


class Receipt(NamedTuple):
    """Who waits for what: a batch of a run, or nobody's ``number`` 0."""

    run: str
    number: int
    done: asyncio.Future[None]


@dataclass(slots=True)
class HeldRun:
    """A run of an agent that delivers.

    Attributes:
        waiting: Batches that are taken and not written yet.
        batches, things: How many of them, and of what is in them, it may send.
    """

    run: Run = field(default_factory=Run)
    waiting: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    batches: Rate = field(default_factory=lambda: Rate(120, 10.0))
    things: Rate = field(default_factory=lambda: Rate(40_000, 4_000.0))


class Deliveries:
    """The runs of agents that deliver to one organisation: those last heard of, at most ``MAX_RUNS``."""

    def __init__(self) -> None:
        self._runs: dict[str, HeldRun] = {}
        self._new: dict[str, Rate] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def restore(self, written: Mapping[str, bytes]) -> None:
        """Go on with what was written down: by name, as ``taken`` gave it."""
        for key, packed in written.items():
            self._runs[key] = HeldRun(Run(packed))

    def heard(self, run: str, *, key_id: str, now_s: float) -> HeldRun:
        """A run that sends something. Attack: a new name with every batch.

        Args:
            key_id: Of the API key it came with.

        Raises:
            TooOftenError: Too many are new.
        """
        held = self._runs.pop(run, None)
        if held is None:
            if not self._new.setdefault(key_id, Rate(1_000, 1.0)).take(now_s):
                raise TooOftenError("Too many agents are new.", retry_after_s=30)
            while len(self._runs) >= MAX_RUNS:
                del self._runs[next(iter(self._runs))]
            held = HeldRun()
        self._runs[run] = held  # the last one now
        return held

    def taken(self, receipts: Iterable[Receipt]) -> dict[str, bytes]:
        """Note batches as taken; what is to be written of their runs."""
        written: dict[str, bytes] = {}
        for receipt in receipts:
            held = self._runs.get(receipt.run)
            if held is not None:
                held.run.add(receipt.number)
                written[receipt.run] = held.run.packed()
        return written

    def settle(self, receipt: Receipt, error: SealwireError | None) -> None:
        """Tell whoever waits that it is written, or why not."""
        held = self._runs.get(receipt.run)
        if held is not None:
            held.waiting.pop(receipt.number, None)
        if receipt.done.done():
            return
        if error is None:
            receipt.done.set_result(None)
        else:
            receipt.done.set_exception(error)


def promise() -> asyncio.Future[None]:
    """What is done when something is written; nobody needs to wait for it."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.add_done_callback(_retrieve)
    return done


def _retrieve(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()
