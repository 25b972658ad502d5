"""What rules do when they match, by kind and by rule: nothing (off), tell (monitor), or block.

Rendered as the engine's overrides of one ASM config per target. Of two overrides of one rule the engine
takes those by id before those by tag, and of equals the first (seen in libddwaf 2.1): so the rule's own
stand first, then those of the checks inside applications, which keep collecting stack traces, then kinds.
Overrides do not reach custom rules, whose form has a mode of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.protect import policy
from sealwire.server.protect.catalogue import BLOCKING_LISTS, Catalogue, RuleInfo
from sealwire.server.protect.policy import ASM, MODES, Plan, Policies
from sealwire.server.security import query
from sealwire.server.security.facets import FACETS
from sealwire.server.store import security
from sealwire.server.targeting import Targeting

DAY_MS = 24 * 3600 * 1000
MAX_NAMED = 2_000  # rules and kinds in one config
#: Kinds that have checks inside applications in every rule set so far.
RASP_TYPES = frozenset({"lfi", "ssrf", "sql_injection", "command_injection"})
_RASP = {"module": "rasp"}
_NOT_BLOCKING = frozenset({"monitor", "stack_trace", "extract_schema"})


class Mode(StrEnum):
    """What a rule does when it matches."""

    OFF = "off"
    MONITOR = "monitor"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Modes:
    """What was chosen for a target; whatever is not here does what the rule set says.

    Attributes:
        others: Overrides that say something else; kept, and before all of these.
    """

    types: Mapping[str, Mode] = field(default_factory=dict)
    rules: Mapping[str, Mode] = field(default_factory=dict)
    others: tuple[Mapping[str, Any], ...] = ()

    def of(self, rule: RuleInfo) -> str:
        """What a rule does."""
        chosen = self.rules.get(rule.id) or self.types.get(rule.type)
        if rule.id not in self.rules and chosen is not None and rule.mode == "off":
            return "off"  # a kind's mode does not switch on what the rule set has off
        return chosen or rule.mode


def rendered(modes: Modes, catalogue: Catalogue) -> list[dict[str, Any]]:
    """The overrides, in the order in which they are to win."""
    made: list[dict[str, Any]] = [dict(one) for one in modes.others]
    rasp = {rule.id for rule in catalogue.rules.values() if rule.is_rasp} | {
        rule_id for rule_id in modes.rules if rule_id.startswith("rasp-")
    }
    for mode in Mode:
        ids = sorted(rule_id for rule_id, one in modes.rules.items() if one is mode)
        for inside in (False, True):
            targets = [{"rule_id": one} for one in ids if (one in rasp) is inside]
            made += _override(targets, mode, inside=inside, is_rule=True)
    with_rasp = RASP_TYPES | {rule.type for rule in catalogue.rules.values() if rule.is_rasp}
    for inside in (True, False):
        for mode in Mode:
            kinds = sorted(kind for kind, one in modes.types.items() if one is mode)
            if inside:
                kinds = [kind for kind in kinds if kind in with_rasp and mode is not Mode.OFF]
            extra = _RASP if inside else {}
            made += _override([{"tags": {"type": kind, **extra}} for kind in kinds], mode, inside=inside)
    return made


def _override(
    targets: Sequence[Mapping[str, Any]], mode: Mode, *, inside: bool, is_rule: bool = False
) -> list[dict[str, Any]]:
    if not targets:
        return []
    made: dict[str, Any] = {"rules_target": [dict(one) for one in targets]}
    if mode is Mode.OFF:
        return [{**made, "enabled": False}]
    action = "block" if mode is Mode.BLOCK else "monitor"
    made["on_match"] = ["stack_trace", action] if inside and mode is Mode.BLOCK else (
        ["stack_trace"] if inside else [action]
    )  # fmt: skip
    if is_rule:
        made["enabled"] = True
    return [made]


def read(overrides: Iterable[Mapping[str, Any]]) -> Modes:
    """The modes that overrides say; the first of a rule or kind counts, as it does to the engine."""
    types: dict[str, Mode] = {}
    rules: dict[str, Mode] = {}
    others = []
    for override in overrides:
        mode = _mode(override)
        targets = override.get("rules_target")
        if mode is None or not isinstance(targets, list) or not all(map(_is_plain, targets)):
            others.append(override)
            continue
        for target in targets:
            tags = target.get("tags", {})
            if "rule_id" in target:
                rules.setdefault(str(target["rule_id"]), mode)
            elif set(tags) == {"type"}:
                types.setdefault(str(tags["type"]), mode)
    return Modes(types, rules, tuple(others))


def _is_plain(target: Any) -> bool:
    tags = target.get("tags", {})
    return (
        "rule_id" in target
        or set(tags) == {"type"}
        or (set(tags) == {"type", "module"} and tags["module"] == "rasp")
    )


def _mode(override: Mapping[str, Any]) -> Mode | None:
    if set(override) - {"rules_target", "on_match", "enabled"}:
        return None
    on_match = override.get("on_match")
    if override.get("enabled") is False:
        return Mode.OFF if on_match is None else None
    if on_match is None or not isinstance(on_match, list):
        return None
    actions = set(on_match) - _NOT_BLOCKING
    return Mode.MONITOR if not actions else Mode.BLOCK if actions == {"block"} else None


def chosen(typed: Mapping[str, str], *, path: str) -> dict[str, Mode]:
    """Modes by name, of what somebody typed; ``default`` for none.

    Raises:
        InvalidChangeError: A mode is none, or there are too many.
    """
    problems = [
        Problem(f"{path}[{name!r}]", "off, monitor, block or default")
        for name, mode in typed.items()
        if mode not in (*Mode, "default") or not 0 < len(name) <= 256
    ]
    if len(typed) > MAX_NAMED:
        problems = [Problem(path, f"At most {MAX_NAMED}, not {len(typed)}.")]
    if problems:
        raise InvalidChangeError("A mode is off, monitor, block or default.", problems=tuple(problems[:50]))
    return {name: Mode(mode) for name, mode in typed.items() if mode != "default"}


# A target ---------------------------------------------------------------------------------------------


async def of_target(work: Policies, target: Targeting) -> Modes:
    """What was chosen for exactly this target."""
    row = await work.own(MODES, target)
    return Modes() if row is None else read(policy.array(policy.payload_of(row), "rules_override"))


def merged(present: Modes, types: Mapping[str, str], rules: Mapping[str, str]) -> Modes:
    """What is there with some of it chosen anew.

    Raises:
        InvalidChangeError: A mode is none.
    """
    new_types, new_rules = chosen(types, path="$.types"), chosen(rules, path="$.rules")
    return Modes(
        {**{name: mode for name, mode in present.types.items() if name not in types}, **new_types},
        {**{name: mode for name, mode in present.rules.items() if name not in rules}, **new_rules},
        present.others,
    )


async def setting(
    work: Policies, modes: Modes, catalogue: Catalogue, target: Targeting, *, reason: str
) -> Plan:
    """The plan to have these modes for exactly this target."""
    row = await work.own(MODES, target)
    present = {} if row is None else policy.payload_of(row)
    payload = policy.with_array(present, "rules_override", rendered(modes, catalogue))
    words = f"The modes for {policy.where(target)} are set."
    if payload is None:
        words = f"Rules do what the rule set says again for {policy.where(target)}."
    return Plan(
        product=ASM, name=MODES, target=target, row=row, payload=payload, comment=reason, sentence=words
    )


@dataclass(frozen=True, slots=True)
class Clash:
    """Modes of another target that meets this one, and say something else of the same."""

    config_id: str
    name: str
    where: str
    names: tuple[str, ...]


async def clashes(work: Policies, modes: Modes, target: Targeting) -> tuple[Clash, ...]:
    """What other configs say differently to some of the same clients: which one wins is up to the tracer."""
    own = await work.own(MODES, target)
    found = []
    for row in await work.active():
        theirs = Targeting.parse(row.targeting)
        if (own is not None and own.config_id == row.config_id) or not theirs.may_overlap(target):
            continue
        said = read(policy.array(policy.payload_of(row), "rules_override"))
        names = [
            name
            for mine, other in ((modes.types, said.types), (modes.rules, said.rules))
            for name in mine
            if name in other and other[name] != mine[name]
        ]
        if names:
            found.append(Clash(row.config_id, row.name, policy.where(theirs), tuple(sorted(names))))
    return tuple(found)


def cautions(modes: Modes, catalogue: Catalogue, clashing: Sequence[Clash]) -> tuple[str, ...]:
    """What to know before these are in force."""
    said = []
    lists = {
        rule.id: modes.of(rule)
        for rule_id in sorted(BLOCKING_LISTS)
        if (rule := catalogue.rules.get(rule_id)) is not None
    }
    names = {"blk-001-001": "addresses", "blk-001-002": "users"}
    for rule_id, mode in lists.items():
        if mode != Mode.BLOCK:
            said.append(
                f"The denylist of {names[rule_id]} blocks nobody: its rule {rule_id} is set to {mode}."
            )
    unknown = [name for name in modes.rules if catalogue.rules and name not in catalogue.rules]
    if unknown:
        said.append(f"No rule set here has {', '.join(unknown[:5])}: nothing comes of what is said of it.")
    for clash in clashing:
        said.append(
            f"The {clash.name or clash.config_id} for {clash.where} say something else of "
            f"{', '.join(clash.names[:5])} to some of the same tracers; which one they take is not settled."
        )
    return tuple(said)


# What it would have done ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DryRun:
    """What of the last 24 hours modes would have blocked.

    Attributes:
        would_block: Requests that were let pass and would not have been.
        answered_2xx: Those of them that the application answered with success: as likely customers as
            attackers.
        let_pass: Requests that were blocked and would not have been, for these rules.
        traces: How many traces these numbers are of.
    """

    would_block: int
    answered_2xx: int
    let_pass: int
    traces: int


def names_that(modes: Modes, catalogue: Catalogue, mode: str) -> tuple[list[str], list[str]]:
    """Kinds all of whose rules have this mode, and further rules that do."""
    types, rules = [], []
    for kind, listed in catalogue.types.items():
        having = [rule.id for rule in listed if modes.of(rule) == mode]
        if having and len(having) == sum(rule.mode != "off" or rule.id in modes.rules for rule in listed):
            types.append(kind)
        else:
            rules += having
    known = catalogue.types
    types += [name for name, one in modes.types.items() if one == mode and name not in known]
    rules += [name for name, one in modes.rules.items() if one == mode and name not in catalogue.rules]
    return types, rules


def node_of(types: Iterable[str], rules: Iterable[str]) -> query.Node | None:
    """Rows in which one of these matched."""
    terms: list[query.Node] = [query.Is(FACETS["@appsec.type"], one, quoted=True) for one in types]
    terms += [query.Is(FACETS["@appsec.rule_id"], one, quoted=True) for one in rules]
    return query.Any(tuple(terms)) if terms else None


def within(target: Targeting) -> tuple[query.Node, ...]:
    """Rows of the services and environments of a target."""
    found: list[query.Node] = []
    for name, values in (("service", target.service), ("env", target.env)):
        if values:
            found.append(query.Any(tuple(query.Is(FACETS[name], one, quoted=True) for one in values)))
    return tuple(found)


async def dry_run(
    work: Policies, before: Modes, after: Modes, catalogue: Catalogue, target: Targeting
) -> DryRun:
    """What of the last 24 hours ``after`` would have blocked that ``before`` does not."""
    org_id = work.tenant.organisation.org_id
    until_ms = work.plane.now_ms()
    scope = within(target)
    blocking = node_of(*names_that(after, catalogue, Mode.BLOCK))
    was_types, was_rules = names_that(before, catalogue, Mode.BLOCK)
    is_types, is_rules = names_that(after, catalogue, Mode.BLOCK)
    freed = node_of(
        [one for one in was_types if one not in is_types], [one for one in was_rules if one not in is_rules]
    )
    status, blocked = FACETS["@http.status_code"], query.Is(FACETS["@appsec.blocked"], "true")
    passed = query.Not(blocked)

    def look() -> DryRun:
        with work.plane.database.read() as c:

            def count(*nodes: query.Node) -> Any:
                node = query.All((*nodes, *scope))
                return security.tally(c, org_id, node, since_ms=until_ms - DAY_MS, until_ms=until_ms)

            would = success = let = None
            if blocking is not None:
                would = count(blocking, passed)
                success = count(blocking, passed, query.Between(status, 200, 299))
            if freed is not None:
                let = count(freed, blocked)
        return DryRun(
            would.requests if would is not None else 0,
            success.requests if success is not None else 0,
            let.requests if let is not None else 0,
            would.traces if would is not None else 0,
        )

    return await asyncio.to_thread(look)


async def matched(work: Policies, target: Targeting) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """How often each kind and each rule matched in the last 24 hours, by name."""
    org_id, until_ms = work.tenant.organisation.org_id, work.plane.now_ms()
    scope = within(target)
    node: query.Node = query.All(scope) if scope else query.Everything()

    def look() -> tuple[Mapping[str, int], Mapping[str, int]]:
        with work.plane.database.read() as c:
            found = [
                dict(
                    security.facet_values(
                        c,
                        org_id,
                        node,
                        FACETS[name],
                        since_ms=until_ms - DAY_MS,
                        until_ms=until_ms,
                        limit=limit,
                    )
                )
                for name, limit in (("@appsec.type", 100), ("@appsec.rule_id", 500))
            ]
        return found[0], found[1]

    return await asyncio.to_thread(look)
