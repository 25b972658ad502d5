"""What was measured in one block of ten seconds, added up: of all, and of each set of tags. Pure.

Hides how cells are packed for the database. Invariants: a block tells at most ``MAX_SETS`` sets of tags
apart, the others are one; numbers stay finite and within what can be written down.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sealwire.wire.probe_batch import OTHER, Measured
from sealwire.wire.sketch import Sketch

MAX_SETS: Final = 200
MAX_COUNT: Final = 2**53 - 1
MAX_SUM: Final = 1e300
_PACK_FROM: Final = 400  # bytes, below which packing gains nothing


class Cell(msgspec.Struct, array_like=True):
    """Values of one kind; ``last`` is the newest of them. One without values has a count of 0."""

    count: int = 0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0
    last: float = 0.0
    sketch: Sketch | None = None

    def add(self, other: Cell | Measured) -> None:
        """Add what was measured later, or elsewhere."""
        if not other.count:
            return
        is_first = not self.count
        self.count = min(MAX_COUNT, self.count + other.count)
        self.sum = max(-MAX_SUM, min(MAX_SUM, self.sum + other.sum))
        self.min = other.min if is_first else min(self.min, other.min)
        self.max = other.max if is_first else max(self.max, other.max)
        self.last = other.last
        if other.sketch is not None:
            if self.sketch is None:
                self.sketch = other.sketch.copy()
            else:
                self.sketch.merge(other.sketch)

    def quantiles(self) -> tuple[float | None, float | None, float | None]:
        """The median, the 95th and the 99th percentile; nothing for counts and gauges."""
        found = self.sketch.quantiles(0.5, 0.95, 0.99) if self.sketch is not None else []
        if not found:
            return None, None, None
        # The sketch is off by a percent, and nothing is beyond what was measured.
        p50, p95, p99 = (max(self.min, min(self.max, each)) for each in found)
        return p50, p95, p99


@dataclass(slots=True)
class Block:
    """A block of one metric of a probe; each set of tags has its cell."""

    total: Cell = field(default_factory=Cell)
    sets: dict[tuple[str, ...], Cell] = field(default_factory=dict)

    def add(self, tags: tuple[str, ...], more: Cell | Measured) -> None:
        """Add what one set of tags measured."""
        self.total.add(more)
        self._add_to_set(tags, more)

    def merge(self, other: Block) -> None:
        """Add another block of the same ten seconds."""
        self.total.add(other.total)
        for tags, cell in other.sets.items():
            self._add_to_set(tags, cell)

    def fold(self) -> None:
        """Tell no sets of tags apart any more."""
        cells, self.sets = self.sets.values(), {}
        for cell in cells:
            self._add_to_set(OTHER, cell)

    def _add_to_set(self, tags: tuple[str, ...], more: Cell | Measured) -> None:
        cell = self.sets.get(tags)
        if cell is None:
            if len(self.sets) >= MAX_SETS:
                tags = OTHER
            cell = self.sets.setdefault(tags, Cell())
        cell.add(more)


_encode = msgspec.msgpack.Encoder().encode
_cell = msgspec.msgpack.Decoder(Cell).decode
_sets = msgspec.msgpack.Decoder(list[tuple[tuple[str, ...], Cell]]).decode


def packed(block: Block) -> tuple[bytes, bytes]:
    """A block for the database: all of it, and its sets of tags."""
    sets = _encode(list(block.sets.items()))
    return _encode(block.total), zlib.compress(sets, 1) if len(sets) >= _PACK_FROM else sets


def total_of(stored: bytes) -> Cell:
    """What ``packed`` made of all."""
    return _cell(stored)


def sets_of(stored: bytes) -> dict[tuple[str, ...], Cell]:
    """What ``packed`` made of the sets of tags."""
    # A list in msgpack begins otherwise than zlib does.
    return dict(_sets(zlib.decompress(stored) if stored[:1] == b"\x78" else stored))


def rounded(value: float) -> float:
    """A number as people read it: sums of a million fractions have no more digits than that."""
    return float(f"{value:.12g}") if math.isfinite(value) else 0.0
