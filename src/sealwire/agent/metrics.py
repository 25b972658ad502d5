"""What metric probes measure on this host, added up until it is told.

Hides how many values become little: of each series (probe, metric, kind and set of tags) a count, a sum, the
extremes and, of histograms and distributions, a sketch, in blocks of ten seconds. What is gathered is the
difference since the last time, so that a value is told seconds after it was measured.

Invariants: a line costs microseconds and never raises; of a probe at most ``MAX_SETS`` sets of tags are told
apart, the others are one; all that is held is bounded, and what finds no room is counted. Time is handed in.
No I/O.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sealwire.errors import MalformedError
from sealwire.wire import dogstatsd
from sealwire.wire.probe_batch import BUCKET_S, MAX_COUNT, MAX_METRICS, OTHER, Measured, MetricKind
from sealwire.wire.sketch import Sketch

MAX_PROBES: Final = 1_000
MAX_SETS: Final = 200  # of tags, of one probe
MAX_SERIES: Final = 20_000
MAX_KNOWN: Final = 8_192  # lines that differ in more than their values
MAX_KNOWN_BYTES: Final = 1024  # of such a line
MAX_READY: Final = 20_000
MAX_BINS: Final = 500_000  # of all sketches, each of a hundred bytes
MAX_BINS_TOLD: Final = 250_000  # at once: a batch has a length
IDLE_BLOCKS: Final = 2  # after which a series makes room for another

_BUCKET_MS: Final = BUCKET_S * 1000


@dataclass(slots=True)
class _Series:
    """What one series measured since it was last told, all within one block."""

    probe_id: str
    metric: str
    kind: MetricKind
    tags: tuple[str, ...]
    block_ms: int
    count: int = 0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0
    last: float = 0.0
    sketch: Sketch | None = None

    def told(self) -> Measured:
        """What is told of it; it begins anew."""
        measured = Measured(
            self.probe_id, self.metric, self.kind, self.tags, self.block_ms,
            self.count, self.sum, self.min, self.max, self.last, self.sketch,
        )  # fmt: skip
        self.count, self.sum, self.sketch = 0, 0.0, None
        return measured


def _bins(sketch: Sketch | None) -> int:
    return 0 if sketch is None else len(sketch.above) + len(sketch.below)


@dataclass(slots=True)
class _Probe:
    """The series of a probe; ``others`` are those of sets of tags that are not told apart."""

    series: dict[tuple[str, MetricKind, tuple[str, ...]], _Series] = field(default_factory=dict)
    others: dict[tuple[str, MetricKind], _Series] = field(default_factory=dict)
    swept_ms: int = 0


class Metrics:
    """Adds up.

    Args:
        dropped: Where what finds no room is counted.
        wall_ms: Unix milliseconds.

    Attributes:
        taken: Values so far.
    """

    def __init__(
        self, dropped: Counter[str], *, wall_ms: Callable[[], int] = lambda: int(time.time() * 1000)
    ) -> None:
        self.taken = 0
        self._dropped = dropped
        self._wall_ms = wall_ms
        self._probes: dict[str, _Probe] = {}
        self._count = 0
        self._known: dict[bytes, tuple[_Series | None, int]] = {}
        self._changed: dict[int, _Series] = {}
        self._ready: deque[Measured] = deque()
        self._bins = 0
        self._forgot_ms = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not self._changed and not self._ready

    @property
    def series(self) -> int:
        """How many are held."""
        return self._count

    def take(self, line: bytes) -> bool:
        """One line; false where it is of no probe."""
        try:
            rest, values = dogstatsd.split(line)
            known = self._known.get(rest)
            if known is None:
                known = self._know(rest)
            series, weight = known
            if series is None:
                return weight > 0
            found = dogstatsd.numbers(values)
        except MalformedError:
            self._dropped["metrics_unreadable"] += 1
            return True
        block_ms = self._wall_ms() // _BUCKET_MS * _BUCKET_MS
        if series.block_ms != block_ms:
            if series.count:
                self._seal(series)
            series.block_ms = block_ms
        # Attack: values that claim to stand for a million each, until no control plane takes the number.
        if series.count + weight * len(found) > MAX_COUNT:
            self._dropped["metrics_too_many"] += len(found)
            return True
        if not series.count:
            series.min = series.max = found[0]
            self._changed[id(series)] = series
        for value in found:
            series.count += weight
            # Of a count, what counts is how much; of the others, what the average is made from.
            series.sum += value * weight
            if value < series.min:
                series.min = value
            if value > series.max:
                series.max = value
        if series.kind in "hd":
            self._sketch(series, found, weight)
        series.last = found[-1]
        self.taken += len(found)
        return True

    def _sketch(self, series: _Series, values: list[float], weight: int) -> None:
        # Attack: values all over, in as many series as there can be.
        if self._bins >= MAX_BINS:
            self._dropped["metrics_sketches"] += 1
            return
        if series.sketch is None:
            series.sketch = Sketch()
        before = _bins(series.sketch)
        for value in values:
            series.sketch.add(value, weight)
        self._bins += _bins(series.sketch) - before

    def gather(self, most: int = MAX_METRICS) -> list[Measured]:
        """What was measured since the last time, as much as fits one batch."""
        told: list[Measured] = []
        bins = 0
        while (self._ready or self._changed) and len(told) < most and bins < MAX_BINS_TOLD:
            one = (
                self._ready.popleft() if self._ready else self._changed.pop(next(iter(self._changed))).told()
            )
            told.append(one)
            bins += _bins(one.sketch)
        self._bins -= bins
        return told

    def _seal(self, series: _Series) -> None:
        """Its block is over."""
        if len(self._ready) >= MAX_READY:
            self._dropped["metrics_blocks"] += 1
            self._bins -= _bins(series.told().sketch)
        else:
            self._ready.append(series.told())
        self._changed.pop(id(series), None)

    def _know(self, rest: bytes) -> tuple[_Series | None, int]:
        """What a line that differs in more than its values is about.

        Returns:
            No series and 0: it is of no probe. No series and 1: there is no room.
        """
        said = dogstatsd.described(rest)
        known = (self._series(said) if said.probe_id else None, said.weight if said.probe_id else 0)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        if len(rest) <= MAX_KNOWN_BYTES and (known[0] is not None or not said.probe_id):
            self._known[rest] = known
        return known

    def _series(self, said: dogstatsd.Described) -> _Series | None:
        block_ms = self._wall_ms() // _BUCKET_MS * _BUCKET_MS
        probe = self._probes.get(said.probe_id)
        if probe is None:
            if len(self._probes) >= MAX_PROBES and not self._forget_idle(block_ms):
                self._dropped["metrics_probes"] += 1
                return None
            probe = self._probes[said.probe_id] = _Probe()
        key = (said.metric, said.kind, said.tags)
        series = probe.series.get(key)
        if series is not None:
            return series
        if len(probe.series) >= MAX_SETS or self._count >= MAX_SERIES:
            self._sweep(probe, block_ms)
        if len(probe.series) >= MAX_SETS or self._count >= MAX_SERIES:
            self._dropped["metrics_tag_sets"] += 1
            return self._other(probe, said, block_ms)
        series = probe.series[key] = _Series(said.probe_id, *key, block_ms)
        self._count += 1
        return series

    def _other(self, probe: _Probe, said: dogstatsd.Described, block_ms: int) -> _Series | None:
        key = (said.metric, said.kind)
        series = probe.others.get(key)
        if series is None and len(probe.others) < 8:
            series = probe.others[key] = _Series(said.probe_id, *key, OTHER, block_ms)
        return series

    def _sweep(self, probe: _Probe, block_ms: int) -> None:
        """Forget the series of a probe that nothing came for, once in a block."""
        if probe.swept_ms == block_ms:
            return
        probe.swept_ms = block_ms
        idle = [
            key
            for key, series in probe.series.items()
            if not series.count and series.block_ms < block_ms - IDLE_BLOCKS * _BUCKET_MS
        ]
        for key in idle:
            del probe.series[key]
        if idle:
            self._count -= len(idle)
            self._known.clear()

    def _forget_idle(self, block_ms: int) -> bool:
        """Forget probes that nothing came for, once in a block; whether there is room now."""
        if self._forgot_ms == block_ms:
            return False
        self._forgot_ms = block_ms
        for probe_id, probe in list(self._probes.items()):
            self._sweep(probe, block_ms)
            if not probe.series and not any(other.count for other in probe.others.values()):
                del self._probes[probe_id]
                self._known.clear()
        return len(self._probes) < MAX_PROBES
