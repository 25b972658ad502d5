"""What a probe would have done with snapshots that are kept: how many match, and what it would have said.

Pure. Invariants: bounded in time whatever the probe and the snapshots, and says so where it stopped; nothing
is guessed: what a snapshot does not hold makes "cannot be told", not yes or no.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sealwire.products.probe_expressions import Node
from sealwire.server.debugger.authoring.probes import Probe
from sealwire.server.debugger.expressions import evaluator
from sealwire.server.debugger.expressions.evaluator import Outcome, Verdict
from sealwire.server.debugger.expressions.parser import Place
from sealwire.server.debugger.expressions.templates import Template
from sealwire.server.debugger.snapshots import redaction
from sealwire.server.debugger.snapshots.snapshot import Snapshot

MAX_SNAPSHOTS: Final = 20
MAX_SECONDS: Final = 0.5
MAX_SHOWN: Final = 300
MOMENTS: Final = {Place.ENTRY: "entry", Place.EXIT: "return", Place.LINE: "", Place.ANYWHERE: ""}


class Match(enum.StrEnum):
    """What the condition says of one snapshot."""

    YES = "yes"
    NO = "no"
    FAILS = "fails"
    UNKNOWN = "unknown"


class TriedSnapshot(NamedTuple):
    """One snapshot.

    Attributes:
        says: Why the condition fails or cannot be told.
        message: What a log would have said; empty where the condition says no.
        troubles: What of the message was not there, a sentence each.
        value: Of a metric.
    """

    snapshot_id: str
    at_ms: int
    probe_version: int
    match: Match
    says: str = ""
    message: str = ""
    troubles: tuple[str, ...] = ()
    value: str = ""


class Tried(NamedTuple):
    """All of them.

    Attributes:
        is_whole: False where the time was over before the last one.
    """

    rows: tuple[TriedSnapshot, ...]
    is_whole: bool = True

    def count(self, match: Match) -> int:
        return sum(each.match is match for each in self.rows)


def try_probe(
    probe: Probe,
    snapshots: Sequence[Snapshot],
    *,
    is_redacted: Callable[[str], bool] = redaction.is_redacted,
    clock: Callable[[], float] = time.monotonic,
) -> Tried:
    """Try a probe on snapshots, in their order."""
    trial = _Trial(MOMENTS[probe.place], is_redacted, clock)
    rows: list[TriedSnapshot] = []
    for snapshot in snapshots[:MAX_SNAPSHOTS]:
        row = trial.one(probe, snapshot)
        if row is None:
            return Tried(tuple(rows), is_whole=False)
        rows.append(row)
    return Tried(tuple(rows), is_whole=len(snapshots) <= MAX_SNAPSHOTS)


def try_template(
    template: Template,
    snapshot: Snapshot,
    *,
    moment: str = "",
    is_redacted: Callable[[str], bool] = redaction.is_redacted,
) -> tuple[str, tuple[str, ...]]:
    """The message of one snapshot, and what of it was not there."""
    found = _Trial(moment, is_redacted, time.monotonic).message(template, snapshot)
    return found if found is not None else ("", ("It takes too long to be tried here.",))


def shown(outcome: Outcome) -> str:
    """What stands in a message for an expression; texts without quotation marks."""
    match outcome.verdict:
        case Verdict.ERROR:
            return "ERROR"
        case Verdict.REDACTED:
            return redaction.SHOWN
        case Verdict.UNKNOWN:
            return "?"
        case Verdict.VALUE:
            value = outcome.value
            return (value if isinstance(value, str) else evaluator.shown(value))[:MAX_SHOWN]


class _Trial:
    def __init__(self, moment: str, is_redacted: Callable[[str], bool], clock: Callable[[], float]) -> None:
        self._moment = moment
        self._is_redacted = is_redacted
        self._clock = clock
        self._until = clock() + MAX_SECONDS

    def one(self, probe: Probe, snapshot: Snapshot) -> TriedSnapshot | None:
        """One snapshot; None when the time is over."""
        match, says = Match.YES, ""
        if probe.when is not None:
            outcome = self._outcome(probe.when, snapshot)
            if outcome is None:
                return None
            match, says = _matched(outcome)
        message, value = "", ""
        troubles: tuple[str, ...] = ()
        if match is not Match.NO and probe.template is not None:
            found = self.message(probe.template, snapshot)
            if found is None:
                return None
            message, troubles = found
        if match is not Match.NO and probe.metric is not None and probe.metric.value is not None:
            outcome = self._outcome(probe.metric.value, snapshot)
            if outcome is None:
                return None
            value, troubles = shown(outcome), (outcome.says,) if outcome.says else ()
        return TriedSnapshot(
            snapshot.snapshot_id, snapshot.timestamp_ms, snapshot.probe_version,
            match, says, message, troubles, value,
        )  # fmt: skip

    def message(self, template: Template, snapshot: Snapshot) -> tuple[str, tuple[str, ...]] | None:
        said: list[str] = []
        troubles: list[str] = []
        for part in template.parts:
            if isinstance(part, str):
                said.append(part)
                continue
            outcome = self._outcome(part, snapshot)
            if outcome is None:
                return None
            said.append(shown(outcome))
            if outcome.says:
                troubles.append(outcome.says)
        return "".join(said), tuple(dict.fromkeys(troubles))

    def _outcome(self, node: Node, snapshot: Snapshot) -> Outcome | None:
        if self._clock() > self._until:
            return None
        return evaluator.evaluate(node, snapshot, moment=self._moment, is_redacted=self._is_redacted)


def _matched(outcome: Outcome) -> tuple[Match, str]:
    if outcome.verdict is Verdict.VALUE:
        if outcome.holds is None:
            return Match.UNKNOWN, "Whether its value counts as true cannot be told."
        return (Match.YES if outcome.holds else Match.NO), ""
    if outcome.verdict is Verdict.ERROR:
        return Match.FAILS, outcome.says
    return Match.UNKNOWN, outcome.says
