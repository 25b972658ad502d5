"""Staged roll-outs: who gets a change now, when it goes on, and when it goes back. Pure; for any product.

A roll-out is a value: a plan of waves, where it stands, and why. ``step`` looks at what hosts report and
gives the next value; people pause, resume, hurry and take back by the other functions. Time is handed in, and
a stored roll-out goes on where it stood. Whether a host has the change is asked of the value alone
(``includes``).

Invariants: while a roll-out runs, no host that had the change loses it; a paused one never goes on; one that
went back or is done never changes again; bad health takes it back in the very step that sees it, paused or
not; every pause and every way back has its reason in words.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sealwire.errors import ConflictError, InvalidChangeError, MalformedError, Problem

MAX_WAVES: Final = 20
MAX_NAMED: Final = 1_000  # hosts or tags that one wave names
MAX_HISTORY: Final = 100
MAX_SECONDS: Final = 30 * 86_400
BY_ITSELF: Final = ""  # who did it, when nobody did

_FIRST: Final = 3  # of many hosts are named


class Phase(enum.Enum):
    """Where a roll-out stands."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    BACK = "back"


class Uptake(enum.Enum):
    """What became of the change on a host."""

    WAITING = "waiting"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Hosts that get the change together, besides those of the waves before.

    Attributes:
        share: Of all hosts, 0 to 1; which ones follows from the roll-out's seed.
        hosts, tags: Hosts by name, and those that have one of these tags.
        least: How many hosts at least, should share, names and tags give fewer.
        soak_s: How long they must be well, all acknowledged, before it goes on.
    """

    share: float = 0.0
    hosts: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    least: int = 0
    soak_s: int = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What takes a roll-out back, and what it needs to go on.

    Attributes:
        failed: Hosts that may fail to take the change.
        failed_share: Of the hosts heard of, how many may fail, 0 to 1, should that be more.
        errors: Hosts that may report errors while they use it.
        lost_rise: How many more events may be lost, in a minute on an average host, than before.
        acknowledged_share: Of the hosts heard of, how many must have acknowledged it.
        patience_s: When so few have acknowledged it for so long, the roll-out pauses.
    """

    failed: int = 0
    failed_share: float = 0.0
    errors: int = 0
    lost_rise: float = 10.0
    acknowledged_share: float = 1.0
    patience_s: int = 1_800


@dataclass(frozen=True, slots=True)
class Plan:
    """Waves, one after another, and what they are judged by. The last wave is everybody."""

    waves: tuple[Wave, ...]
    health: Health = field(default_factory=Health)


#: To a few hosts, to a quarter, to all.
CAREFUL: Final = Plan((Wave(share=0.02, least=2), Wave(share=0.25), Wave(share=1.0, soak_s=300)))
AT_ONCE: Final = Plan((Wave(share=1.0, soak_s=0),))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """What is known of a host at this moment.

    Attributes:
        silent: It has not been heard of lately; it neither holds a roll-out up nor speaks for it.
        uptake: What became of the change there.
        error: What it said of that, or of an error in use.
        errors: How many errors it reports of the change while using it.
        lost_before, lost_now: Events lost in a minute, before it had the change and since.
    """

    host: str
    tags: frozenset[str] = frozenset()
    silent: bool = False
    uptake: Uptake = Uptake.WAITING
    error: str = ""
    errors: int = 0
    lost_before: float = 0.0
    lost_now: float = 0.0


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to a roll-out.

    Attributes:
        by: Who did it; empty if it happened by itself.
    """

    at_ms: int
    words: str
    by: str = BY_ITSELF


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A roll-out, wherever it stands.

    Attributes:
        seed: Makes the choice of hosts by share; the id of the roll-out.
        wave: Index of the wave that has the change last.
        pinned: Hosts that have it so that a wave is as large as it must be at least.
        wave_ms: Since when the wave has it; since it was resumed, if it was.
        well_ms: Since when enough of its hosts have acknowledged it; None if they have not.
        reason: Why it is paused or went back, in words.
    """

    plan: Plan
    seed: str
    phase: Phase = Phase.RUNNING
    wave: int = 0
    pinned: frozenset[str] = frozenset()
    wave_ms: int = 0
    well_ms: int | None = None
    reason: str = ""
    history: tuple[Happening, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.phase in (Phase.DONE, Phase.BACK)

    @property
    def is_last_wave(self) -> bool:
        return self.wave == len(self.plan.waves) - 1

    def includes(self, host: str, tags: Collection[str] = ()) -> bool:
        """Whether a host has the change now."""
        if self.is_over:
            return self.phase is Phase.DONE
        return host in self.pinned or any(
            _in_wave(wave, self.seed, host, tags) for wave in self.plan.waves[: self.wave + 1]
        )

    def wave_of(self, host: str, tags: Collection[str] = ()) -> int:
        """The wave by which a host gets the change, counted from 0."""
        if host in self.pinned:
            return self.wave
        for index, wave in enumerate(self.plan.waves):
            if _in_wave(wave, self.seed, host, tags):
                return index
        return len(self.plan.waves) - 1

    def why_not(self, host: str, tags: Collection[str] = ()) -> str:
        """Why a host does not have the change now, as a sentence; empty if it has."""
        if self.includes(host, tags):
            return ""
        if self.phase is Phase.BACK:
            return f"The roll-out went back. {self.reason}"
        turn = f"It gets it with wave {self.wave_of(host, tags) + 1}; this is wave {self.wave + 1}."
        return f"{turn} The roll-out is paused. {self.reason}" if self.phase is Phase.PAUSED else turn


def _in_wave(wave: Wave, seed: str, host: str, tags: Collection[str]) -> bool:
    if wave.share >= 1 or host in wave.hosts or not wave.tags.isdisjoint(tags):
        return True
    return wave.share > 0 and _lot(seed, host) < wave.share


def _lot(seed: str, host: str) -> float:
    """A number from 0 to 1 that is a host's own within a roll-out."""
    digest = hashlib.sha256(f"{seed}\0{host}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


# Plans ------------------------------------------------------------------------------------------------------


def problems_of(plan: Plan, path: str = "$.plan") -> tuple[Problem, ...]:
    """What is wrong with a plan."""
    found: list[Problem] = []

    def check(holds: bool, where: str, message: str) -> None:
        if not holds:
            found.append(Problem(f"{path}.{where}", message))

    check(0 < len(plan.waves) <= MAX_WAVES, "waves", f"A plan has 1 to {MAX_WAVES} waves.")
    share = 0.0
    for index, wave in enumerate(plan.waves):
        where = f"waves[{index}]"
        check(0 <= wave.share <= 1, f"{where}.share", "A share is a number from 0 to 1.")
        check(
            wave.share == 0 or wave.share >= share,
            f"{where}.share",
            "A wave is no smaller than the one before.",
        )
        share = max(share, wave.share)
        named = bool(wave.share or wave.hosts or wave.tags or wave.least)
        check(named, where, "A wave needs a share, hosts, tags or a least number.")
        many = max(len(wave.hosts), len(wave.tags))
        check(many <= MAX_NAMED, where, f"A wave names at most {MAX_NAMED} hosts and tags.")
        check(0 <= wave.least <= MAX_NAMED, f"{where}.least", f"Expected a number from 0 to {MAX_NAMED}.")
        check(0 <= wave.soak_s <= MAX_SECONDS, f"{where}.soak_s", "Expected seconds, at most 30 days.")
    if plan.waves:
        last = len(plan.waves) - 1
        check(
            plan.waves[-1].share == 1, f"waves[{last}].share", "The last wave is everybody: its share is 1."
        )
    health = plan.health
    check(health.failed >= 0, "health.failed", "Expected 0 or more hosts.")
    check(health.errors >= 0, "health.errors", "Expected 0 or more hosts.")
    check(0 <= health.failed_share < 1, "health.failed_share", "Expected a number from 0 to below 1.")
    check(0 <= health.lost_rise < 1e9, "health.lost_rise", "Expected 0 or more events in a minute.")
    check(
        0 < health.acknowledged_share <= 1,
        "health.acknowledged_share",
        "Expected a number above 0, at most 1.",
    )
    check(0 < health.patience_s <= MAX_SECONDS, "health.patience_s", "Expected seconds, at most 30 days.")
    return tuple(found)


# Beginning and going on -------------------------------------------------------------------------------------


def begin(plan: Plan, *, seed: str, hosts: Sequence[HostReport], now_ms: int, by: str = BY_ITSELF) -> Rollout:
    """A new roll-out, with its first wave.

    Raises:
        InvalidChangeError: The plan has mistakes; each at its path.
    """
    problems = problems_of(plan)
    if problems:
        raise InvalidChangeError("The plan of the roll-out has mistakes.", problems=problems)
    rollout = Rollout(plan=plan, seed=seed, wave_ms=now_ms)
    rollout = _said(rollout, now_ms, f"Begun with {_waves(plan)}.", by)
    return _entered(rollout, 0, hosts, now_ms)


def step(rollout: Rollout, hosts: Sequence[HostReport], *, now_ms: int) -> Rollout:
    """Where a roll-out stands, given what is known of all hosts now.

    Safe to call at any time and twice; a clock that went back delays, and never hastens.
    """
    if rollout.is_over:
        return rollout
    rollout = _with_sane_times(rollout, now_ms)
    while True:
        members = [report for report in hosts if rollout.includes(report.host, report.tags)]
        sick = _sickness(members, rollout.plan.health)
        if sick:
            return _gone_back(rollout, sick, now_ms, BY_ITSELF)
        if rollout.phase is Phase.PAUSED:
            return rollout
        following = _next(rollout, members, hosts, now_ms)
        # A wave without hosts is passed at once, so several may begin in one step.
        if following is rollout or following.phase is not Phase.RUNNING or following.wave == rollout.wave:
            return following
        rollout = following


def _next(
    rollout: Rollout, members: Sequence[HostReport], hosts: Sequence[HostReport], now_ms: int
) -> Rollout:
    if not members:
        words = f"No host is in wave {rollout.wave + 1}."
        return _forward(_said(rollout, now_ms, words), hosts, now_ms)
    health = rollout.plan.health
    heard = [report for report in members if not report.silent]
    taken = sum(report.uptake is Uptake.ACKNOWLEDGED for report in heard)
    if heard and taken >= health.acknowledged_share * len(heard):
        if rollout.well_ms is None:
            rollout = replace(rollout, well_ms=now_ms)
        soaked_ms = now_ms - (rollout.well_ms if rollout.well_ms is not None else now_ms)
        if soaked_ms < rollout.plan.waves[rollout.wave].soak_s * 1000:
            return rollout
        return _forward(rollout, hosts, now_ms)
    if rollout.well_ms is not None:
        rollout = replace(rollout, well_ms=None, wave_ms=now_ms)
    if now_ms - rollout.wave_ms < health.patience_s * 1000:
        return rollout
    waited = _duration((now_ms - rollout.wave_ms) // 1000)
    if not heard:
        words = f"None of the {_hosts(len(members))} of wave {rollout.wave + 1} was heard of for {waited}."
    else:
        late = _names(r.host for r in heard if r.uptake is not Uptake.ACKNOWLEDGED)
        words = f"After {waited} only {taken} of {_hosts(len(heard))} have taken it; waiting for {late}."
    return _paused(rollout, words, now_ms, BY_ITSELF)


def _forward(rollout: Rollout, hosts: Sequence[HostReport], now_ms: int, by: str = BY_ITSELF) -> Rollout:
    if rollout.is_last_wave:
        done = replace(rollout, phase=Phase.DONE, well_ms=None, reason="")
        return _said(done, now_ms, "Done: every host has it.", by)
    return _entered(rollout, rollout.wave + 1, hosts, now_ms, by)


def _entered(
    rollout: Rollout, wave: int, hosts: Sequence[HostReport], now_ms: int, by: str = BY_ITSELF
) -> Rollout:
    """The roll-out as a wave begins; chooses hosts should it be too small."""
    rollout = replace(rollout, wave=wave, wave_ms=now_ms, well_ms=None)
    inside = sum(rollout.includes(report.host, report.tags) for report in hosts)
    short = rollout.plan.waves[wave].least - inside
    if short > 0:
        others = [report for report in hosts if not rollout.includes(report.host, report.tags)]
        # Hosts that are there first: a choice of silent ones would teach nothing.
        others.sort(key=lambda report: (report.silent, _lot(rollout.seed, report.host), report.host))
        chosen = [report.host for report in others[:short]]
        rollout = replace(rollout, pinned=rollout.pinned | frozenset(chosen))
        inside += len(chosen)
    return _said(rollout, now_ms, f"Wave {wave + 1} of {len(rollout.plan.waves)}: {_hosts(inside)}.", by)


def _with_sane_times(rollout: Rollout, now_ms: int) -> Rollout:
    """Times that lie ahead begin anew: the clock went back."""
    well_ms = rollout.well_ms
    if rollout.wave_ms > now_ms or (well_ms is not None and well_ms > now_ms):
        return replace(
            rollout,
            wave_ms=min(rollout.wave_ms, now_ms),
            well_ms=None if well_ms is None else min(well_ms, now_ms),
        )
    return rollout


# Health -----------------------------------------------------------------------------------------------------


def _sickness(members: Sequence[HostReport], health: Health) -> str:
    """Why the change must go back, in words; empty if hosts are well with it."""
    heard = [report for report in members if not report.silent]
    failed = [report for report in heard if report.uptake is Uptake.FAILED]
    if len(failed) > max(health.failed, health.failed_share * len(heard)):
        return f"{len(failed)} of {_hosts(len(heard))} could not take it: {_complaints(failed)}"
    ailing = [report for report in heard if report.errors > 0]
    if len(ailing) > health.errors:
        return f"{len(ailing)} of {_hosts(len(heard))} report errors with it: {_complaints(ailing)}"
    using = [report for report in heard if report.uptake is Uptake.ACKNOWLEDGED]
    if using:
        before = sum(report.lost_before for report in using) / len(using)
        now = sum(report.lost_now for report in using) / len(using)
        if now - before > health.lost_rise:
            worst = sorted(using, key=lambda report: report.lost_before - report.lost_now)
            return (
                f"Lost events rose from {before:.1f} to {now:.1f} in a minute on an average of "
                f"{_hosts(len(using))}, most on {_names(report.host for report in worst)}."
            )
    return ""


def _complaints(reports: Sequence[HostReport]) -> str:
    said = next((report for report in reports if report.error), None)
    names = _names(report.host for report in reports)
    if said is None:
        return f"{names}."
    words = " ".join(said.error.split())
    cut = words if len(words) <= 300 else words[:299] + "…"
    return f"{names}. {said.host} says: {cut}{'' if cut.endswith(('.', '…', '!', '?')) else '.'}"


# What people do ---------------------------------------------------------------------------------------------


def pause(rollout: Rollout, *, by: str, now_ms: int, reason: str = "") -> Rollout:
    """Stop it where it stands; hosts that have the change keep it.

    Raises:
        ConflictError: It is not running.
    """
    _require(rollout, (Phase.RUNNING,))
    return _paused(rollout, reason or f"{by} paused it.", now_ms, by)


def resume(rollout: Rollout, *, by: str, now_ms: int) -> Rollout:
    """Let it go on; the wave it stands at begins to be watched anew.

    Raises:
        ConflictError: It is not paused.
    """
    _require(rollout, (Phase.PAUSED,))
    again = replace(rollout, phase=Phase.RUNNING, reason="", wave_ms=now_ms, well_ms=None)
    return _said(again, now_ms, "Resumed.", by)


def hurry(rollout: Rollout, hosts: Sequence[HostReport], *, by: str, now_ms: int) -> Rollout:
    """Go on to the next wave without waiting any longer; after the last one it is done.

    Raises:
        ConflictError: It is not running, or its hosts are not well.
    """
    _require(rollout, (Phase.RUNNING,))
    members = [report for report in hosts if rollout.includes(report.host, report.tags)]
    sick = _sickness(members, rollout.plan.health)
    if sick:
        raise ConflictError(f"It cannot go on. {sick}")
    return _forward(_said(rollout, now_ms, "Sent on without waiting.", by), hosts, now_ms, by)


def take_back(rollout: Rollout, *, by: str, now_ms: int, reason: str = "") -> Rollout:
    """Take the change back from every host that has it.

    Raises:
        ConflictError: It is over; what is done is taken back by publishing what was before.
    """
    _require(rollout, (Phase.RUNNING, Phase.PAUSED))
    return _gone_back(rollout, reason or f"{by} took it back.", now_ms, by)


def _require(rollout: Rollout, phases: tuple[Phase, ...]) -> None:
    if rollout.phase not in phases:
        words = {
            Phase.RUNNING: "The roll-out is running.",
            Phase.PAUSED: "The roll-out is paused.",
            Phase.DONE: "The roll-out is done.",
            Phase.BACK: f"The roll-out went back. {rollout.reason}",
        }
        raise ConflictError(words[rollout.phase])


def _paused(rollout: Rollout, reason: str, now_ms: int, by: str) -> Rollout:
    return _said(replace(rollout, phase=Phase.PAUSED, reason=reason), now_ms, f"Paused. {reason}", by)


def _gone_back(rollout: Rollout, reason: str, now_ms: int, by: str) -> Rollout:
    back = replace(rollout, phase=Phase.BACK, reason=reason, well_ms=None)
    return _said(back, now_ms, f"Went back at wave {rollout.wave + 1}. {reason}", by)


# Telling ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a roll-out is, counted in hosts."""

    hosts: int
    included: int
    acknowledged: int
    failed: int
    silent: int
    words: str


def progress(rollout: Rollout, hosts: Sequence[HostReport], *, now_ms: int) -> Progress:
    """How far it is, and what it waits for, in words."""
    members = [report for report in hosts if rollout.includes(report.host, report.tags)]
    heard = [report for report in members if not report.silent]
    taken = sum(report.uptake is Uptake.ACKNOWLEDGED for report in heard)
    failed = sum(report.uptake is Uptake.FAILED for report in heard)
    waves = len(rollout.plan.waves)
    match rollout.phase:
        case Phase.DONE:
            words = "Done: every host has it."
        case Phase.BACK:
            words = f"Went back. {rollout.reason}"
        case Phase.PAUSED:
            words = f"Paused at wave {rollout.wave + 1} of {waves}. {rollout.reason}"
        case Phase.RUNNING if rollout.well_ms is not None:
            left = rollout.plan.waves[rollout.wave].soak_s - max(0, now_ms - rollout.well_ms) // 1000
            then = "it is done" if rollout.is_last_wave else f"wave {rollout.wave + 2} begins"
            words = f"Wave {rollout.wave + 1} of {waves} is well; {then} in {_duration(max(0, left))}."
        case _:
            words = f"Wave {rollout.wave + 1} of {waves}: {taken} of {_hosts(len(heard))} have taken it."
    return Progress(len(hosts), len(members), taken, failed, len(members) - len(heard), words)


def _said(rollout: Rollout, now_ms: int, words: str, by: str = BY_ITSELF) -> Rollout:
    happening = Happening(now_ms, words, by)
    return replace(rollout, history=(*rollout.history, happening)[-MAX_HISTORY:])


def _hosts(number: int) -> str:
    return "1 host" if number == 1 else f"{number:,} hosts"


def _waves(plan: Plan) -> str:
    return "1 wave" if len(plan.waves) == 1 else f"{len(plan.waves)} waves"


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    first = ", ".join(name[:80] for name in listed[:_FIRST])
    return f"{first} and {len(listed) - _FIRST} more" if len(listed) > _FIRST else first


def _duration(seconds: int) -> str:
    if seconds < 120:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if seconds < 7_200:
        return f"{seconds // 60} minutes"
    return f"{seconds // 3600} hours"


# Stored -----------------------------------------------------------------------------------------------------


def to_document(rollout: Rollout) -> dict[str, Any]:
    """The roll-out as JSON values, to be stored."""
    return {
        "plan": plan_to_document(rollout.plan),
        "seed": rollout.seed,
        "phase": rollout.phase.value,
        "wave": rollout.wave,
        "pinned": sorted(rollout.pinned),
        "wave_ms": rollout.wave_ms,
        "well_ms": rollout.well_ms,
        "reason": rollout.reason,
        "history": [[each.at_ms, each.words, each.by] for each in rollout.history],
    }


def plan_to_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values."""
    health = plan.health
    return {
        "waves": [
            {
                "share": wave.share,
                "hosts": sorted(wave.hosts),
                "tags": sorted(wave.tags),
                "least": wave.least,
                "soak_s": wave.soak_s,
            }
            for wave in plan.waves
        ],
        "health": {name: getattr(health, name) for name in _HEALTH},
    }


_HEALTH: Final[Mapping[str, Callable[[Any], Any]]] = {
    "failed": int,
    "failed_share": float,
    "errors": int,
    "lost_rise": float,
    "acknowledged_share": float,
    "patience_s": int,
}


def plan_of_document(document: Mapping[str, Any]) -> Plan:
    """A plan that ``plan_to_document`` wrote, or somebody did.

    Raises:
        MalformedError: It is none.
    """
    try:
        waves = tuple(
            Wave(
                share=float(wave.get("share", 0)),
                hosts=frozenset(map(str, wave.get("hosts", ()))),
                tags=frozenset(map(str, wave.get("tags", ()))),
                least=int(wave.get("least", 0)),
                soak_s=int(wave.get("soak_s", 600)),
            )
            for wave in document["waves"]
        )
        given = document.get("health", {})
        health = Health(**{name: kind(given[name]) for name, kind in _HEALTH.items() if name in given})
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise MalformedError("This is no plan of a roll-out.", detail=repr(error)) from error
    return Plan(waves, health)


def of_document(document: Mapping[str, Any]) -> Rollout:
    """A roll-out that ``to_document`` wrote.

    Raises:
        MalformedError: It is none, or none that can stand where it says.
    """
    try:
        rollout = Rollout(
            plan=plan_of_document(document["plan"]),
            seed=str(document["seed"]),
            phase=Phase(document["phase"]),
            wave=int(document["wave"]),
            pinned=frozenset(map(str, document["pinned"])),
            wave_ms=int(document["wave_ms"]),
            well_ms=None if document["well_ms"] is None else int(document["well_ms"]),
            reason=str(document["reason"]),
            history=tuple(Happening(int(at), str(words), str(by)) for at, words, by in document["history"]),
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise MalformedError("This is no roll-out.", detail=repr(error)) from error
    if problems_of(rollout.plan) or not 0 <= rollout.wave < len(rollout.plan.waves):
        raise MalformedError("This is no roll-out that can go on.")
    return rollout
