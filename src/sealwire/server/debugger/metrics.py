"""What metric probes measured in one organisation: counts, sums and quantiles in blocks of ten seconds.

Hides that several agents measure the same thing, and how series are told apart. What arrives are differences;
they are added up in memory and, every second or two, in the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from sealwire.wire.probe_batch import Measured, MetricKind

if TYPE_CHECKING:
    from sealwire.server.store.database import Database

MAX_POINTS: Final = 1_000  # of one line
MAX_LINES: Final = 20


class Point(NamedTuple):
    """One block of a series.

    Attributes:
        at_ms: When it begins.
        count: How many values there were.
        sum: Of the values; of a count, how much it counted.
        last: The newest value, which is what a gauge shows.
        p50: None for counts and gauges; as are the next.
    """

    at_ms: int
    count: int
    sum: float
    min: float
    max: float
    last: float
    p50: float | None
    p95: float | None
    p99: float | None


class Line(NamedTuple):
    """The points that have one value of the tag asked for; ``label`` is that value."""

    label: str
    points: list[Point]


class Series(NamedTuple):
    """What a probe measured.

    Attributes:
        kind: ``c``, ``g``, ``h`` or ``d``; empty where nothing was measured.
        step_s: Between two points; those without a value are left out.
        lines: Most values first.
        is_cut: There are more lines than are given.
    """

    metric: str
    kind: MetricKind | str
    step_s: int
    lines: list[Line]
    is_cut: bool


class Latest(NamedTuple):
    """The newest block of a probe; ``per_s`` are the values a second over the last full blocks."""

    metric: str
    kind: MetricKind
    point: Point
    per_s: float
    heard_ms: int  # when the newest of it arrived


class ProbeMetrics:
    """What metric probes measured.

    Args:
        database: Where it is kept.
        org_id: Whose.
    """

    def __init__(self, database: Database, org_id: int) -> None:
        self._database = database
        self._org_id = org_id

    def take(self, measured: Sequence[Measured], *, ahead_ms: int = 0) -> int:
        """Add what an agent measured; returns how many of these are of no probe that is known."""
        return len(measured) if ahead_ms else 0

    async def series(
        self, probe_id: str, *, since_ms: int, until_ms: int | None = None, step_s: int = 10, by: str = ""
    ) -> Series:
        """The points of a probe.

        Args:
            until_ms: Until now where None.
            step_s: A multiple of ten; it is made longer where more than ``MAX_POINTS`` would come out.
            by: A tag, whose values become a line each; empty for one line of all.
        """
        return Series("", "", step_s, [], False)

    def latest(self, probe_id: str) -> Latest | None:
        """The newest block of a probe, from memory; None where nothing was measured for a day."""
        return None

    def tag_keys(self, probe_id: str) -> list[str]:
        """The tags by which its series may be told apart."""
        return []

    def generation(self, probe_id: str) -> int:
        """Grows whenever something was measured."""
        return 0

    async def run(self) -> None:
        """Write behind until cancelled; the rest is written on the way out."""
