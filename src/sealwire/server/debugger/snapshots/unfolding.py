"""A snapshot's tree as far as it is unfolded: so much that a page is quick, the rest a step away.

A moment (entry, a line, return) is the outermost branch, its variables are in it. Invariants: however many
values there are, at most some ``budget`` of them are given at once, and of one branch at most ``PAGE``; each
value of a snapshot can be reached by its path; a key names one branch only, whatever the names are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sealwire.server.debugger.snapshots import tree
from sealwire.server.debugger.snapshots.captured import Value, parts
from sealwire.server.debugger.snapshots.snapshot import Capture, Snapshot
from sealwire.server.debugger.snapshots.tree import Place, Weight

BUDGET: Final = 120
PAGE: Final = 100
OPEN_LEVELS: Final = 3  # that are unfolded by themselves, where there is room
OPEN_PARTS: Final = 20  # of what has more nothing is unfolded by itself


@dataclass(slots=True)
class Branch:
    """A value in the tree, with those in it that are shown.

    Attributes:
        key: The numbers on the way to it, such as ``0-3-12``.
        value: None of a moment.
        moment: In which it is.
        level: 1 for a moment, 2 for a variable.
        position, of: Its place among those beside it, from 1.
        total: How many are in it.
        first: Which of them ``inner`` begins with, from 0.
        is_open: Whether ``inner`` is given.
    """

    key: str
    place: Place
    value: Value | None
    moment: str
    weight: Weight
    level: int
    position: int
    of: int
    total: int
    first: int = 0
    is_open: bool = False
    inner: list[Branch] = field(default_factory=list)

    @property
    def last(self) -> int:
        """Which of those in it is the first that is not shown."""
        return self.first + len(self.inner)


@dataclass(frozen=True, slots=True)
class Unfolded:
    """What a page begins with.

    Attributes:
        chosen: The branch that was asked for; None where there is none of that path.
    """

    branches: tuple[Branch, ...]
    chosen: Branch | None


def unfold(snapshot: Snapshot, *, show: str = "", first: int = 0, budget: int = BUDGET) -> Unfolded:
    """The outermost branches, unfolded while there is room; all on the way to a path, and that one, are.

    Args:
        show: The path of a row, or a moment.
        first: Of those in the chosen one, which is shown first.
    """
    way = _way(snapshot, show) if show else []
    forest = _Forest(snapshot)
    branches = [forest.moment(number) for number in range(len(snapshot.captures))]
    at = branches[way[0]] if way else None
    for number in way[1:]:
        if at is not None:
            forest.open(at, number // PAGE * PAGE)
            at = at.inner[number - at.first]
    if at is not None and at.total:
        forest.open(at, first if 0 <= first < at.total else 0)
    _fill(forest, branches, budget)
    return Unfolded(tuple(branches), at)


def inside(snapshot: Snapshot, path: str, *, first: int = 0) -> Branch | None:
    """The branch of a path with those in it, from one on; None if there is none."""
    way = _way(snapshot, path)
    if not way:
        return None
    forest = _Forest(snapshot)
    at = forest.moment(way[0])
    for number in way[1:]:
        forest.open(at, number, 1)
        at = at.inner[0]
    forest.open(at, first if 0 <= first < at.total else 0)
    return at


def whole(capture: Capture) -> Value:
    """All of a moment as one value: its variables by their names, a local before an argument."""
    named = tuple({**capture.names(), **dict(capture.expressions)}.items())
    return Value(type="", fields=named)


def _fill(forest: _Forest, branches: Sequence[Branch], budget: int) -> None:
    """Unfold what is outermost first."""
    shown = sum(1 for _ in _shown(branches))
    waiting = deque((branch, True) for branch in branches)
    while waiting:
        branch, may_open = waiting.popleft()
        if may_open and not branch.is_open and branch.total and branch.level <= OPEN_LEVELS:
            comes = min(branch.total, PAGE)
            if branch.level == 1 or (comes <= OPEN_PARTS and shown + comes <= budget):
                forest.open(branch, 0)
                shown += comes
        # Of a long list some would be unfolded and some not, for no reason that anybody sees.
        inner_may = branch.level == 1 or branch.total <= OPEN_PARTS
        waiting.extend((each, inner_may) for each in branch.inner)


def _shown(branches: Sequence[Branch]) -> Iterator[Branch]:
    for branch in branches:
        yield branch
        yield from _shown(branch.inner)


def _way(snapshot: Snapshot, path: str) -> list[int]:
    """The numbers that lead to the row with that path; none if there is none."""
    for number, capture in enumerate(snapshot.captures):
        if path == capture.moment:
            return [number]
        for position, (place, value) in enumerate(tree.variables(capture)):
            if tree.leads_to(place.path, path):
                steps = _steps(place, value, path)
                if steps is not None:
                    return [number, position, *steps]
    return []


def _steps(place: Place, value: Value, path: str) -> list[int] | None:
    """Names may be anything, so that more than one part can look as if it led there: each is tried."""
    if place.path == path:
        return []
    for number, part in enumerate(parts(value)):
        inner = place.inner(part)
        if tree.leads_to(inner.path, path):
            steps = _steps(inner, part.value, path)
            if steps is not None:
                return [number, *steps]
    return None


class _Forest:
    """Makes branches of one snapshot; what is beneath a value is counted once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._weights: dict[int, Weight] = {}

    def moment(self, number: int) -> Branch:
        capture = self._snapshot.captures[number]
        weights = [tree.weigh(value, self._weights) for _, value in tree.variables(capture)]
        return Branch(
            key=str(number),
            place=Place(capture.moment, "", capture.moment, ""),
            value=None,
            moment=capture.moment,
            weight=Weight(
                sum(each.values for each in weights),
                sum(each.bytes for each in weights),
                sum(each.missing for each in weights),
            ),
            level=1,
            position=number + 1,
            of=len(self._snapshot.captures),
            total=len(weights),
        )

    def open(self, branch: Branch, first: int, most: int = PAGE) -> None:
        """Give a branch those in it, from one on."""
        branch.first = first
        branch.is_open = True
        branch.inner = [
            Branch(
                key=f"{branch.key}-{number}",
                place=place,
                value=value,
                moment=branch.moment,
                weight=tree.weigh(value, self._weights),
                level=branch.level + 1,
                position=number + 1,
                of=branch.total,
                total=value.held,
            )
            for number, (place, value) in enumerate(self._in(branch))
            if first <= number < first + most
        ]

    def _in(self, branch: Branch) -> Iterator[tuple[Place, Value]]:
        if branch.value is None:
            yield from tree.variables(self._snapshot.captures[int(branch.key)])
            return
        for part in parts(branch.value):
            yield branch.place.inner(part), part.value
