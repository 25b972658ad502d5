"""Rule sets as versions: what one would do before anybody gets it, and which ones can be had back. Pure.

Four questions, each answered from values that are handed in: are all its rules right (``look``); what is
other than before, in words (``compare``); on how many hosts can each rule be evaluated (``coverage``); and
which earlier versions can be restored (``Shelf``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sealwire.errors import NotFoundError, Problem
from sealwire.products.wording import counted, some
from sealwire.secl.definitions import Policy
from sealwire.secl.merge import arrange, load
from sealwire.secl.variables import VariableStore
from sealwire.server.workload.cws_dd import FILE
from sealwire.server.workload.cws_dd import PRODUCT as DEFAULT
from sealwire.server.workload.policy_checks import Examined, examine, policy_of

KEPT: Final = 5  # versions that can be restored, the one in force among them


# What it is -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """What a rule set is, before anybody gets it.

    Attributes:
        refused: Why it cannot be published at all.
        broken: Rules that would be left out on every host, each at its place with its id.
        cautions: What may not be meant.
        usable: Ids of rules that can be used.
    """

    refused: tuple[Problem, ...]
    broken: tuple[Problem, ...]
    cautions: tuple[Problem, ...]
    usable: frozenset[str]

    @property
    def may_be_published(self) -> bool:
        """Whether a person may publish it."""
        return not self.refused

    @property
    def may_go_by_itself(self) -> bool:
        """Whether it may be published without a person: every rule is right."""
        return not self.refused and not self.broken


def look(document: Mapping[str, Any], *, customs: Sequence[Policy] = ()) -> Look:
    """Parse and check every rule of a set.

    Args:
        document: The policy, as a config holds it.
        customs: Policies of one's own that rest on the default one; what this set would break in them is
            among the cautions.
    """
    refused = DEFAULT.check(document)
    if refused:
        return Look(refused, (), (), frozenset())
    found = examine(document, name=FILE)
    return Look((), found.broken, (*found.cautions, *_harm(found, customs)), found.usable)


def _harm(found: Examined, customs: Sequence[Policy]) -> Iterator[Problem]:
    """Custom rules that would not load beside the set."""
    if not customs:
        return
    loaded = load(
        arrange([found.policy, *customs]),
        host={},
        agent_version="",
        store=VariableStore(),
        new_id=lambda: "",
    )
    for report in loaded.reports:
        if report.name == FILE:
            continue
        for problem in report.problems:
            if not problem.harmless:
                yield Problem("$", f"Custom policy {report.name}, {problem.rule_id}: {problem.message}")


# What is other ----------------------------------------------------------------------------------------------

# Members of a rule, and what people call them.
_PARTS: Final[Mapping[str, str]] = {
    "expression": "expression",
    "description": "description",
    "tags": "tags",
    "product_tags": "product tags",
    "actions": "actions",
    "filters": "hosts it is for",
    "agent_version": "versions of the agent",
    "disabled": "whether it is on",
    "silent": "whether it is reported",
    "every": "how often it is reported",
    "limiter_token": "how often it is reported",
    "combine": "which rule it changes",
    "override_options": "what it changes",
}
_REST: Final = "other settings"


@dataclass(frozen=True, slots=True)
class ChangedRule:
    """A rule that is other than before.

    Attributes:
        parts: What of it, in words; ``macro X`` where only a macro it names is other.
        before, after: The rule as a config holds it.
    """

    rule_id: str
    parts: tuple[str, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def words(self) -> str:
        """What changed, as a sentence."""
        switched = self.before.get("disabled", False) != self.after.get("disabled", False)
        if self.parts == (_PARTS["disabled"],) and switched:
            return f"{self.rule_id} is switched {'off' if self.after.get('disabled') else 'on'}."
        return f"{self.rule_id}: {', '.join(self.parts)}."


@dataclass(frozen=True, slots=True)
class Difference:
    """What is other between two rule sets.

    Attributes:
        added, removed: Ids of rules.
        same: How many rules are as they were.
        macros: Names of macros that came, went or changed.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[ChangedRule, ...]
    same: int
    macros: tuple[str, ...]
    versions: tuple[str, str]

    @property
    def is_nothing(self) -> bool:
        """Whether hosts would do the same with either."""
        return not (self.added or self.removed or self.changed or self.macros)

    @property
    def words(self) -> tuple[str, ...]:
        """The difference in sentences."""
        if self.is_nothing:
            return ("Every rule is as it was.",)
        said: list[str] = []
        for ids, verb in ((self.added, "added"), (self.removed, "removed")):
            if ids:
                said.append(f"{counted(len(ids), 'rule')} {verb}: {some(ids)}.")
        by_part: dict[str, list[str]] = {}
        for rule in self.changed:
            for part in rule.parts:
                by_part.setdefault(part, []).append(rule.rule_id)
        if self.changed:
            said.append(f"{counted(len(self.changed), 'rule')} changed.")
        said += [f"Other {part}: {some(ids)}." for part, ids in by_part.items()]
        if self.macros:
            said.append(f"{counted(len(self.macros), 'macro')} changed: {some(self.macros)}.")
        return tuple(said)


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
    """What is other in the second rule set; a rule whose macro changed has changed."""
    old_macros, new_macros = _by_id(before, "macros"), _by_id(after, "macros")
    macros = tuple(
        sorted(
            name
            for name in {key[0] for key in old_macros} | {key[0] for key in new_macros}
            if _of(old_macros, name) != _of(new_macros, name)
        )
    )
    shifted = _shifted(macros, before, after)
    old, new = _by_id(before, "rules"), _by_id(after, "rules")
    changed: list[ChangedRule] = []
    same = 0
    for key, rule in new.items():
        if key not in old:
            continue
        parts = [*_parts(old[key], rule), *(f"macro {name}" for name in _named(rule, shifted))]
        if parts:
            changed.append(ChangedRule(key[0], tuple(dict.fromkeys(parts)), old[key], rule))
        else:
            same += 1
    return Difference(
        added=tuple(dict.fromkeys(key[0] for key in new if key not in old)),
        removed=tuple(dict.fromkeys(key[0] for key in old if key not in new)),
        changed=tuple(changed),
        same=same,
        macros=macros,
        versions=(str(before.get("version", "")), str(after.get("version", ""))),
    )


_Key = tuple[str, int]  # an id, and which of those that share it: a set may hold one rule in two variants


def _by_id(document: Mapping[str, Any], member: str) -> dict[_Key, Mapping[str, Any]]:
    found: dict[_Key, Mapping[str, Any]] = {}
    seen: dict[str, int] = {}
    for item in document.get(member) or ():
        name = str(item.get("id"))
        seen[name] = seen.get(name, -1) + 1
        found[name, seen[name]] = item
    return found


def _of(items: Mapping[_Key, Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [
        {member: value for member, value in item.items() if member != "description"}
        for key, item in items.items()
        if key[0] == name
    ]


def _parts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for member in dict.fromkeys((*before, *after)):
        if member in ("id", "version"):
            continue
        old, new = before.get(member), after.get(member)
        if member == "expression":
            old, new = _without_layout(old), _without_layout(new)
        if old != new and (old or new):
            yield _PARTS.get(member, _REST)


def _without_layout(text: object) -> str:
    return " ".join(str(text or "").split())


def _shifted(names: Iterable[str], *documents: Mapping[str, Any]) -> frozenset[str]:
    """Macros that mean something else: those that changed, and those that name one that did."""
    found = set(names)
    texts: dict[str, str] = {}
    for document in documents:
        for (name, _), macro in _by_id(document, "macros").items():
            texts[name] = f"{texts.get(name, '')} {macro.get('expression', '')}"
    while True:
        more = {name for name, text in texts.items() if name not in found and found & set(_words(text))}
        if not more:
            return frozenset(found)
        found |= more


def _named(rule: Mapping[str, Any], macros: frozenset[str]) -> list[str]:
    if not macros:
        return []
    texts = [str(rule.get("expression", ""))]
    for action in rule.get("actions") or ():
        texts += [str(action.get("filter", "")), str((action.get("set") or {}).get("expression", ""))]
    return sorted(macros & set(_words(" ".join(texts))))


def _words(text: str) -> list[str]:
    return "".join(each if each.isalnum() or each == "_" else " " for each in text).split()


# Where it works ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hosts:
    """Hosts that see events in the same way.

    Attributes:
        source: What sees events there, in words.
        count: How many hosts.
        agent_version: Who they are on the wire, for constraints in rules.
        facts: Of the host, for rule filters, such as ``os``.
        missing: Why the source cannot give something: by the name of a field, of all fields of one beginning
            (``process.file.hashes``), or of a type of event.
    """

    source: str
    count: int
    agent_version: str
    facts: Mapping[str, Any] = field(default_factory=lambda: {"os": "linux"})
    missing: Mapping[str, str] = field(default_factory=dict)

    def unavailable(self, event_type: str, name: str) -> str:
        """Why a field cannot be had for a type of event; empty if it can."""
        why = self.missing.get(event_type, "")
        while name and not why:
            why = self.missing.get(name, "")
            name = name.rpartition(".")[0]
        return why


@dataclass(frozen=True, slots=True)
class RuleCoverage:
    """On how many hosts a rule is evaluated.

    Attributes:
        hosts: On how many it is evaluated, wholly or for some of its events.
        partly: On how many of those only for some.
        for_others: On how many it is not meant to be.
        reasons: Why not elsewhere: each reason and how many hosts.
    """

    rule_id: str
    hosts: int
    partly: int
    for_others: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a rule set can do in a fleet, as an estimate from what sources of events give."""

    hosts: int
    rules: tuple[RuleCoverage, ...]

    @property
    def nowhere(self) -> tuple[RuleCoverage, ...]:
        """Rules that are meant for hosts here and evaluated on none."""
        return tuple(rule for rule in self.rules if not rule.hosts and rule.for_others < self.hosts)

    @property
    def share(self) -> float:
        """Of all pairs of a host and a rule meant for it, how many are evaluated; 1 where there are none."""
        meant = sum(self.hosts - rule.for_others for rule in self.rules)
        return sum(rule.hosts for rule in self.rules) / meant if meant else 1.0

    @property
    def words(self) -> tuple[str, ...]:
        """The coverage in sentences."""
        if not self.hosts:
            return ("No host has said yet what it can see.",)
        everywhere = [
            rule for rule in self.rules if rule.hosts and rule.hosts + rule.for_others == self.hosts
        ]
        first = (
            f"{len(everywhere)} of {counted(len(self.rules), 'rule')} can be evaluated on every host they "
            f"are for, {self.share:.0%} of all rules over {counted(self.hosts, 'host')}."
        )
        said = [first]
        if self.nowhere:
            ids = some([rule.rule_id for rule in self.nowhere])
            said.append(f"{counted(len(self.nowhere), 'rule')} nowhere: {ids}.")
        reasons: dict[str, int] = {}
        for rule in self.rules:
            for why in rule.reasons:
                reasons[why] = reasons.get(why, 0) + 1
        for why, number in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:3]:
            said.append(f"{counted(number, 'rule')}: {why}")
        return tuple(said)


@dataclass(slots=True)
class _Tally:
    hosts: int = 0
    partly: int = 0
    for_others: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def coverage(document: Mapping[str, Any], fleet: Sequence[Hosts]) -> Coverage:
    """Estimate on how many hosts each rule can be evaluated.

    Args:
        fleet: Hosts that see events alike, together; each kind is asked once.
    """
    policy = policy_of(document, name=FILE)
    tallies: dict[str, _Tally] = {rule.id: _Tally() for rule in policy.rules}
    for hosts in fleet:
        statuses = _statuses(policy, hosts)
        for rule_id, tally in tallies.items():
            status, why, partly = statuses.get(rule_id, ("error", "It cannot be used.", False))
            if status == "loaded":
                tally.hosts += hosts.count
                tally.partly += hosts.count if partly else 0
            elif status == "elsewhere":
                tally.for_others += hosts.count
            else:
                tally.reasons[why] = tally.reasons.get(why, 0) + hosts.count
    return Coverage(
        sum(hosts.count for hosts in fleet),
        tuple(
            RuleCoverage(rule_id, tally.hosts, tally.partly, tally.for_others, tally.reasons)
            for rule_id, tally in tallies.items()
        ),
    )


def _statuses(policy: Policy, hosts: Hosts) -> dict[str, tuple[str, str, bool]]:
    """What becomes of each rule on such hosts: a word, why, and whether only some of its events are seen."""
    loaded = load(
        [policy],
        host=hosts.facts,
        agent_version=hosts.agent_version,
        store=VariableStore(),
        new_id=lambda: "",
        unavailable=hosts.unavailable,
    )
    whole = {rule.id: rule for rule in loaded.rule_set.rules}
    found: dict[str, tuple[str, str, bool]] = {}
    for report in loaded.reports[0].rules:
        rule_id = report.definition.id
        if found.get(rule_id, ("", "", False))[0] == "loaded":
            continue  # one of its variants is for these hosts
        if report.status == "loaded" and rule_id in whole:
            found[rule_id] = ("loaded", "", bool(whole[rule_id].missing))
        elif report.status == "disabled":
            found.setdefault(rule_id, ("elsewhere", "It is switched off.", False))
        elif report.status == "filtered" and report.filter_type != "source":
            found.setdefault(rule_id, ("elsewhere", report.message, False))
        else:
            found[rule_id] = (report.status, report.message, False)
    return found


# Which can be had back --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Edition:
    """One rule set that was taken in.

    Attributes:
        number: Counts what was taken in, from 1; never given twice.
        sha256: Of its document.
        published_ms: When it was published; None if it never was.
    """

    number: int
    version: str
    sha256: str
    taken_in_ms: int
    published_ms: int | None = None
    signed_by: str = ""
    came_as: str = ""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The rule sets of an organisation that can be had back: the last published ones, and a new one.

    Attributes:
        editions: The newest first.
        in_force: Number of the published one; 0 before the first.
    """

    editions: tuple[Edition, ...] = ()
    in_force: int = 0
    _last: int = 0

    def get(self, number: int) -> Edition:
        """The edition of that number.

        Raises:
            NotFoundError: It was never taken in, or is not kept any more.
        """
        for edition in self.editions:
            if edition.number == number:
                return edition
        raise NotFoundError(f"Rule set {number} is not kept; the last {KEPT} published ones are.")

    def take_in(
        self, *, version: str, sha256: str, now_ms: int, signed_by: str = "", came_as: str = ""
    ) -> tuple[Shelf, Edition]:
        """Add a rule set; the same rules as the newest or the one in force are no new one."""
        for known in self.editions:
            if known.sha256 == sha256 and known.number in (self.editions[0].number, self.in_force):
                return self, known
        number = max([self._last, *(each.number for each in self.editions)]) + 1
        edition = Edition(number, version, sha256, now_ms, signed_by=signed_by, came_as=came_as)
        # One that was never published makes room for the next.
        kept = tuple(each for each in self.editions if each.published_ms is not None)
        return replace(self, editions=(edition, *kept), _last=number), edition

    def publish(self, number: int, *, now_ms: int) -> Shelf:
        """Make an edition the one in force, be it new or an earlier one.

        Raises:
            NotFoundError: It is not kept.
        """
        self.get(number)
        editions = tuple(
            replace(each, published_ms=now_ms) if each.number == number else each for each in self.editions
        )
        published = sorted(
            (each for each in editions if each.published_ms is not None),
            key=lambda each: (each.number == number, each.published_ms or 0, each.number),
            reverse=True,
        )
        kept = {each.number for each in published[:KEPT]}
        return replace(
            self,
            editions=tuple(each for each in editions if each.published_ms is None or each.number in kept),
            in_force=number,
        )

    @property
    def restorable(self) -> tuple[Edition, ...]:
        """Published editions that are not in force, the last published first."""
        found = [
            each for each in self.editions if each.published_ms is not None and each.number != self.in_force
        ]
        return tuple(sorted(found, key=lambda each: (-(each.published_ms or 0), -each.number)))
