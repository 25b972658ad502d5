"""What is wrong with a policy of workload rules, each mistake at its place: what both CWS products ask.

A policy is looked at in three layers: its shape (``MEMBERS``, as any payload), what the rule language says
of it as a file, and what it says of every expression, action, host filter and version constraint. Nothing
stops at the first mistake, and no rule is checked against fewer names because another one is broken.

A policy may name macros and variables that another one on the same host defines. Looked at alone, a rule that
names such is said to rest on them (a caution) and its types are left to whoever knows the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from sealwire.errors import MalformedError, OversizeError, Problem
from sealwire.products.schema import (
    Anything,
    Boolean,
    Integer,
    ListOf,
    MapOf,
    Record,
    Report,
    Scalar,
    Text,
    at,
    nearest,
    quote,
)
from sealwire.secl.check import Language, check_condition, check_rule
from sealwire.secl.constants import CONSTANTS
from sealwire.secl.definitions import MacroDefinition, Origin, Policy, RuleDefinition
from sealwire.secl.lint import lint
from sealwire.secl.merge import Loaded, load
from sealwire.secl.parser import parse
from sealwire.secl.policy import ACTIONS, OVERRIDABLE, read_policy
from sealwire.secl.problems import ExpressionError
from sealwire.secl.syntax import Binary, Chain, Items, Name, Node, Unary, Variable
from sealwire.secl.variables import VariableStore
from sealwire.secl.versions import ConstraintError, satisfies

READS: Final = "security_monitoring_cws_agent_rules_read"
WRITES: Final = "security_monitoring_cws_agent_rules_write"
ACTS: Final = "security_monitoring_cws_agent_rules_actions"
ACTS_ON_A_HOST: Final = frozenset({"kill", "coredump", "network_filter"})

MAX_VARIANTS: Final = 16  # of one rule, for different hosts or agents

_A_VERSION: Final = "7.80.0"  # any one, to see whether a constraint can be read
_FOREIGN: Final = re.compile(r"[A-Z][A-Z0-9_]*\Z", re.ASCII)
# YAML readers refuse these where they are written plainly, as JSON may.
_UNPRINTABLE: Final = re.compile("[\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_ID: Final = re.compile(r"[a-zA-Z0-9_]{1,200}\Z", re.ASCII)


# Shape ------------------------------------------------------------------------------------------------------


def _id_is_wrong(text: str) -> str | None:
    return None if _ID.match(text) else f"An id has letters, digits and _ only, not {quote(text)}."


_EXPRESSION: Final = Text(max_length=65_536, says="A condition in the rule language.")
_NAMED: Final = Text(max_length=200, also=_id_is_wrong)
_LINE: Final = Text(min_length=0, max_length=1_000)
_DURATION: Final = Scalar(says="Such as 10s or 5m; a number counts nanoseconds.")
_FILTERS: Final = ListOf(item=_EXPRESSION, max_items=100, says="Facts of a host; one must hold.")
_CONSTRAINT: Final = Text(max_length=500, says="Versions of the agent it is for, such as >= 7.71.")

_SET: Final = Record(
    required={"name": _NAMED},
    optional={
        "value": Anything(says="A text, number or boolean, or a list of such."),
        "field": Text(max_length=200, says="A field whose value is taken."),
        "expression": _EXPRESSION,
        "default_value": Anything(says="What it is before it is set."),
        "append": Boolean(says="Whether it is added to a list."),
        "scope": Text(one_of=("process", "container", "cgroup"), says="Left out: the whole host."),
        "scope_field": Text(max_length=200),
        "size": Integer(most=1_000_000, says="Values a list keeps."),
        "ttl": _DURATION,
        "private": Boolean(says="Whether it is left out of reports."),
        "inherited": Boolean(says="Whether children of the process have it too."),
    },
    exactly_one=("value", "field", "expression"),
)
_ACTION: Final = Record(
    optional={
        "filter": _EXPRESSION,
        "set": _SET,
        "kill": Record(
            optional={
                "signal": Text(max_length=20),
                "scope": Text(one_of=("process", "container", "cgroup")),
                "disarmer": Anything(),
            },
            says="Ends a process, where the host's own file allows it.",
        ),
        "hash": Record(
            optional={"field": Text(max_length=200), "max_file_size": Integer()}, says="Hashes a file."
        ),
        "coredump": Record(
            optional={key: Boolean() for key in ("process", "mount", "dentry", "no_compression")}
        ),
        "log": Record(
            optional={"level": Text(max_length=20), "message": _LINE}, says="Writes to the agent's log."
        ),
        "network_filter": Record(
            optional={
                "filter": _EXPRESSION,
                "policy": Text(max_length=20),
                "scope": Text(one_of=("process", "cgroup")),
            }
        ),
    },
    exactly_one=ACTIONS,
)
_RULE: Final = Record(
    required={"id": _NAMED},
    optional={
        "expression": _EXPRESSION,
        "description": _LINE,
        "version": Text(max_length=64),
        "tags": MapOf(value=_LINE, max_items=64, says="Go with every match."),
        "product_tags": ListOf(item=Text(max_length=200), max_items=64),
        "agent_version": _CONSTRAINT,
        "filters": _FILTERS,
        "disabled": Boolean(says="Whether it is left out."),
        "combine": Text(one_of=("override",), says="Changes the rule of this id in another policy."),
        "override_options": Record(
            optional={"fields": ListOf(item=Text(one_of=OVERRIDABLE), max_items=len(OVERRIDABLE))}
        ),
        "every": _DURATION,
        "limiter_token": ListOf(item=Text(max_length=200), max_items=16),
        "silent": Boolean(says="Whether nothing is reported, and only actions are done."),
        "group_id": Text(min_length=0, max_length=200),
        "priority": Integer(least=-1_000_000, most=1_000_000),
        "actions": ListOf(item=_ACTION, max_items=32, says="What is done at a match."),
    },
)
_MACRO: Final = Record(
    required={"id": _NAMED},
    optional={
        "expression": _EXPRESSION,
        "values": ListOf(item=Scalar(), max_items=10_000, says="The same as a list."),
        "description": _LINE,
        "agent_version": _CONSTRAINT,
        "filters": _FILTERS,
        "combine": Text(one_of=("merge", "override"), says="Joins or changes the one of this id."),
    },
    at_least_one=("expression", "values"),
)
MEMBERS: Final[Mapping[str, MapOf | Record | ListOf | Text]] = {
    "version": Text(max_length=64, says="As matches and pages name it."),
    "description": _LINE,
    "type": Text(one_of=("policy",)),
    "replace_policy_id": Text(max_length=200),
    "macros": ListOf(item=_MACRO, max_items=10_000, says="Names for parts of expressions."),
    "rules": ListOf(item=_RULE, max_items=20_000, says="What is looked for."),
}

LABELS: Final = {
    "$.replace_policy_id": "Replaces the policy",
    "$.rules[].agent_version": "Versions of the agent",
    "$.rules[].every": "At most one report in",
    "$.rules[].id": "Id",
    "$.macros[].id": "Id",
}
RARE: Final = frozenset(
    {
        "$.type", "$.replace_policy_id", "$.rules[].version", "$.rules[].group_id", "$.rules[].priority",
        "$.rules[].combine", "$.rules[].override_options", "$.rules[].limiter_token", "$.macros[].combine",
        "$.rules[].agent_version", "$.macros[].agent_version", "$.macros[].filters",
    }
)  # fmt: skip


# Looking at a policy ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found in a policy.

    Attributes:
        policy: As the rule language reads it.
        broken: Rules that cannot be used, macros too: what is wrong, at its place, with id and column.
        cautions: What may not be meant, and what rests on other policies.
        usable: Ids of rules that can be used.
    """

    policy: Policy
    broken: tuple[Problem, ...]
    cautions: tuple[Problem, ...]
    usable: frozenset[str]


def policy_of(payload: Mapping[str, object], *, name: str) -> Policy:
    """The payload as the rule language reads it.

    Raises:
        MalformedError, OversizeError: It is no policy; cannot be where the shape is right.
    """
    return read_policy(orjson.dumps(payload), name=name, origin=Origin.REMOTE)


def examine(
    payload: Mapping[str, object], *, name: str = "this policy", beside: Sequence[Policy] | None = ()
) -> Examined:
    """Look at every rule of a policy.

    Args:
        payload: Of the right shape.
        beside: The other policies of the host, in the order of their precedence; None if they are not known,
            so that a name nobody here defines may be one of theirs.
    """
    policy = policy_of(payload, name=name)
    return _Examination(policy, () if beside is None else tuple(beside), alone=beside is None).examined()


class _Examination:
    def __init__(self, policy: Policy, beside: tuple[Policy, ...], *, alone: bool) -> None:
        self.policy = policy
        self.beside = beside
        self.alone = alone
        self.broken: dict[Problem, None] = {}  # in order, each once
        self.cautions: list[Problem] = []
        self.usable: set[str] = set()
        self.elsewhere = {rule.id: rule for other in beside for rule in other.rules}
        self.macros = {macro.id for each in (*beside, policy) for macro in each.macros}
        self.variables = {
            action.set.whole_name
            for each in (*beside, policy)
            for rule in each.rules
            for action in rule.actions
            if action.set is not None
        }

    def examined(self) -> Examined:
        for problem in self.policy.problems:
            found = Problem(problem.path, _about(problem.rule_id, problem.message))
            if problem.harmless:
                self.cautions.append(found)
            else:
                self.broken[found] = None
        refused = set(self._constraints((*self.policy.rules, *self.policy.macros)))
        rounds = self._rounds(refused)
        for at_, rules in enumerate(rounds):
            self._load(rules, first=at_ == 0)
        return Examined(
            self.policy,
            tuple(sorted(self.broken, key=_place)),
            tuple(sorted(dict.fromkeys(self.cautions), key=_place)),
            frozenset(self.usable),
        )

    def _constraints(self, parts: Iterable[RuleDefinition | MacroDefinition]) -> Iterator[str]:
        """Paths of rules and macros whose constraints cannot be read; each is noted."""
        for part in parts:
            if part.agent_version:
                try:
                    satisfies(_A_VERSION, part.agent_version)
                except ConstraintError as error:
                    self._break(part.id, f"{part.path}.agent_version", str(error))
                    yield part.path
            for index, text in enumerate(part.filters):
                try:
                    check_condition(text, Language(of_host=True))
                except ExpressionError as error:
                    self._break(part.id, f"{part.path}.filters[{index}]", error.public)
                    yield part.path

    def _rounds(self, refused: set[str]) -> list[list[RuleDefinition]]:
        """Rules as they can be checked together: those of one id, for different hosts, one after another."""
        rounds: list[list[RuleDefinition]] = [[]]
        seen: dict[str, list[RuleDefinition]] = {}
        for rule in self.policy.rules:
            if rule.path in refused:
                continue
            before = seen.setdefault(rule.id, [])
            if len(before) >= MAX_VARIANTS:
                message = f"There are {MAX_VARIANTS} rules of the id {quote(rule.id)} already."
                self._break(rule.id, f"{rule.path}.id", message)
                continue
            same = next((each for each in before if _for_the_same(each, rule)), None)
            if same is not None and rule.combine != "override" and not _only_switches(rule):
                self._break(rule.id, f"{rule.path}.id", f"{quote(rule.id)} is already the id of {same.path}.")
                continue
            other = self.elsewhere.get(rule.id)
            whole = self._whole(rule, [other, *before] if other is not None else before)
            before.append(rule)
            if whole is None:
                continue
            depth = len(before) - 1
            while len(rounds) <= depth:
                rounds.append([])
            rounds[depth].append(whole)
        return rounds

    def _whole(self, rule: RuleDefinition, before: Sequence[RuleDefinition]) -> RuleDefinition | None:
        """The rule to be checked: itself, or the one it changes with its changes; None: not here."""
        changes = rule.combine == "override" or not rule.expression
        if not changes:
            other = self.elsewhere.get(rule.id)
            if other is not None:
                message = f"The rule is in policy {other.policy} already; say combine: override."
                self._break(rule.id, rule.path, message)
                return None
            return rule
        if not before:
            if self.alone:
                message = "The rule changes one of another policy; without that one it is left out."
                self.cautions.append(Problem(rule.path, _about(rule.id, message)))
                self.usable.add(rule.id)
                return rule if rule.expression else None
            self._break(rule.id, rule.path, "There is no rule of this id before that it could change.")
            return None
        base = before[-1]
        return replace(
            rule,
            expression=rule.expression or base.expression,
            actions=rule.actions if "actions" in rule.given else base.actions,
        )

    def _load(self, rules: Sequence[RuleDefinition], *, first: bool) -> None:
        """Have rules made ready; whatever hinders that is noted at its place."""
        checked: list[RuleDefinition] = []
        for rule in rules:
            foreign = self._foreign(rule) if self.alone else ""
            if foreign:
                message = f"The rule rests on {foreign}, which another policy must define."
                self.cautions.append(Problem(f"{rule.path}.expression", _about(rule.id, message)))
                self.usable.add(rule.id)
            else:
                checked.append(replace(rule, agent_version="", filters=(), disabled=False, combine=""))
        others = [
            replace(each, rules=_context(each.rules, checked), macros=_plain_macros(each.macros), problems=())
            for each in self.beside
        ]
        mine = replace(
            self.policy, rules=tuple(checked), macros=_plain_macros(self.policy.macros), problems=()
        )
        loaded = load(
            [*others, mine], host={}, agent_version=_A_VERSION, store=VariableStore(), new_id=lambda: ""
        )
        report = loaded.reports[-1]
        for problem in report.problems:
            of_macro = problem.path.startswith("$.macros")
            if (of_macro and not first) or problem.harmless:
                continue
            if of_macro and self.alone and self._unknown_names(problem.rule_id):
                continue
            self._break(problem.rule_id, problem.path, problem.message)
        for one in report.rules:
            if one.status in ("loaded", "disabled"):
                self.usable.add(one.definition.id)
                if one.message:
                    self.cautions.append(
                        Problem(f"{one.definition.path}.actions", _about(one.definition.id, one.message))
                    )
                self._lint(one.definition, loaded)

    def _lint(self, rule: RuleDefinition, loaded: Loaded) -> None:
        try:
            checked = check_rule(rule.expression, loaded.language)
        except ExpressionError:
            return
        for caution in lint(rule.expression, checked, loaded.language):
            if caution.code == "unfiltered":
                continue  # what a rule costs is said where rules are listed, not at every change
            before = rule.expression[: caution.start]
            column = caution.start - (before.rfind("\n") + 1) + 1
            words = f"Column {column}: {caution.message} {caution.hint}".rstrip()
            self.cautions.append(Problem(f"{rule.path}.expression", _about(rule.id, words)))

    def _foreign(self, rule: RuleDefinition) -> str:
        """A name in the rule that is neither known nor a slip, in words; empty if there is none."""
        texts = [rule.expression]
        for action in rule.actions:
            texts += [action.filter] if action.filter else []
            if action.set is not None and action.set.expression:
                texts.append(action.set.expression)
        for text in texts:
            found = self._foreign_in(text)
            if found:
                return found
        return ""

    def _foreign_in(self, text: str) -> str:
        try:
            tree = parse(text)
        except ExpressionError:
            return ""
        for node in _nodes(tree):
            if isinstance(node, Name) and self._may_be_macro(node.value):
                return f"the macro {node.value}"
            if isinstance(node, Variable) and self._may_be_variable(node.name):
                return f"the variable {node.name}"
        return ""

    def _unknown_names(self, macro: str) -> bool:
        return any(each.id == macro and self._foreign_in(each.expression) for each in self.policy.macros)

    def _may_be_macro(self, name: str) -> bool:
        known = name in self.macros or name in CONSTANTS
        return not known and bool(_FOREIGN.match(name)) and not nearest(name, CONSTANTS)

    def _may_be_variable(self, name: str) -> bool:
        built_in = name.startswith("builtins.") or name in ("process.pid",)
        return not built_in and name not in self.variables

    def _break(self, rule_id: str, path: str, message: str) -> None:
        self.broken[Problem(path, _about(rule_id, message))] = None


def _about(rule_id: str, message: str) -> str:
    return f"{rule_id}: {message}" if rule_id else message


_INDEX: Final = re.compile(r"\[([0-9]+)\]")


def _place(problem: Problem) -> tuple[str, int, str]:
    index = _INDEX.search(problem.path)
    return (problem.path.partition("[")[0], int(index[1]) if index else -1, problem.path)


def _nodes(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        match node:
            case Chain(operands=operands):
                waiting += operands
            case Binary(left=left, right=right):
                waiting += (left, right)
            case Unary(operand=operand):
                waiting.append(operand)
            case Items(items=items):
                waiting += items


def _only_switches(rule: RuleDefinition) -> bool:
    return "disabled" in rule.given and not rule.expression


def _for_the_same(first: RuleDefinition, second: RuleDefinition) -> bool:
    """Whether two rules of one id would meet on a host, as far as their constraints tell."""
    return first.agent_version == second.agent_version and first.filters == second.filters


def _context(
    rules: Iterable[RuleDefinition], checked: Sequence[RuleDefinition]
) -> tuple[RuleDefinition, ...]:
    """Rules of another policy, for their variables, but for those that are checked here in their place."""
    here = {rule.id for rule in checked}
    kept: dict[str, RuleDefinition] = {}
    for rule in rules:
        if rule.id not in here and rule.expression and not rule.combine:
            kept.setdefault(rule.id, replace(rule, agent_version="", filters=()))
    return tuple(kept.values())


def _plain_macros(macros: Iterable[MacroDefinition]) -> tuple[MacroDefinition, ...]:
    """Macros for whatever host; of several with one id and different hosts the first."""
    kept: dict[str, MacroDefinition] = {}
    for macro in macros:
        kept.setdefault(macro.id, replace(macro, agent_version="", filters=()))
    return tuple(kept.values())


# What both products ask -------------------------------------------------------------------------------------


def unprintable(payload: Mapping[str, object], report: Report) -> None:
    """Note characters that readers of YAML refuse, though JSON may hold them."""
    found = _UNPRINTABLE.search(orjson.dumps(payload).decode())
    if found is not None:
        report.add("$", f"A text holds the character {ord(found[0]):#06x}, which policy files may not.")


def examined(
    payload: Mapping[str, object], report: Report, *, beside: Sequence[Policy] | None
) -> Examined | None:
    """Look at a payload of the right shape; what makes it no policy at all is noted in the report."""
    unprintable(payload, report)
    try:
        return examine(payload, beside=beside)
    except (MalformedError, OversizeError) as error:
        report.add("$", error.public)
        return None


def acting(payload: Mapping[str, object]) -> tuple[str, ...]:
    """The permission a writer needs besides, where a rule acts on a host."""
    rules = payload.get("rules")
    for rule in rules if isinstance(rules, list | tuple) else ():
        actions = rule.get("actions") if isinstance(rule, Mapping) else None
        for action in actions if isinstance(actions, list | tuple) else ():
            if isinstance(action, Mapping) and not ACTS_ON_A_HOST.isdisjoint(action):
                return (ACTS,)
    return ()


def for_hosts(targeting: Mapping[str, object]) -> Iterator[Problem]:
    """What is wrong with a targeting of rules for hosts."""
    for key in targeting:
        if key != "host_tags":
            yield Problem(at("$", key), "Rules of hosts go to hosts by their tags; use host_tags only.")


def rule_ids(payload: Mapping[str, object]) -> dict[str, str]:
    """Path of the first rule of each id that defines one, rather than changing one of another policy."""
    found: dict[str, str] = {}
    rules = payload.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list | tuple) else ()):
        if not isinstance(rule, Mapping) or rule.get("combine") or "expression" not in rule:
            continue
        found.setdefault(str(rule.get("id")), f"$.rules[{index}]")
    return found
