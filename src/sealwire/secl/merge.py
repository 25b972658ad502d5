"""Several policies as one list of rules, and that list as a set in force.

Default policies come before custom ones; within each, bundled ones before remote ones before those of the
host's directory, then by name. The first definition of a rule counts unless a later one says ``combine:
override`` or only switches it. What cannot be used is left out and reported with its place; it never takes
another rule along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sealwire.secl.check import Language, check_condition
from sealwire.secl.compiler import Compiler
from sealwire.secl.definitions import MacroDefinition, Origin, Policy, PolicyProblem, RuleDefinition
from sealwire.secl.event import host_event
from sealwire.secl.problems import ExpressionError
from sealwire.secl.rules import (
    UNSUPPORTED_ACTIONS,
    CompiledRule,
    OutOfReachError,
    ResolvePid,
    RuleCompiler,
    RuleError,
    Unavailable,
    declare,
)
from sealwire.secl.ruleset import RuleSet
from sealwire.secl.variables import VariableStore
from sealwire.secl.versions import ConstraintError, satisfies

DEFAULT_POLICY: Final = "default.policy"
MAX_TOTAL_RULES: Final = 20_000


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What became of a rule.

    Attributes:
        status: ``loaded``, ``filtered``, ``disabled`` or ``error``.
        message: Why it is not loaded; what of it is not done, if it is.
        filter_type: ``agent_version``, ``rule_filter`` or ``source`` where it is filtered.
        path, column: Where an error is.
    """

    definition: RuleDefinition
    status: str
    message: str = ""
    filter_type: str = ""
    path: str = ""
    column: int = 0


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What became of a policy: ``loaded``, ``partially_filtered``, ``partially_loaded``, ``fully_rejected``,
    ``fully_filtered`` or ``error``."""

    name: str
    version: str
    origin: Origin
    status: str
    rules: tuple[RuleReport, ...]
    problems: tuple[PolicyProblem, ...]
    message: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rules that are ready, and what is to be said of every policy."""

    rule_set: RuleSet
    language: Language
    reports: tuple[PolicyReport, ...]

    @property
    def problems(self) -> tuple[PolicyProblem, ...]:
        """Every mistake found, in all policies."""
        return tuple(problem for report in self.reports for problem in report.problems)


@dataclass(slots=True)
class _Merge:
    host: Mapping[str, Any]
    agent_version: str
    macros: dict[str, MacroDefinition] = field(default_factory=dict)
    rules: dict[str, RuleDefinition] = field(default_factory=dict)
    reports: dict[tuple[str, str, str], RuleReport] = field(default_factory=dict)
    problems: list[PolicyProblem] = field(default_factory=list)
    filters: dict[str, bool | ExpressionError] = field(default_factory=dict)


def arrange(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """Policies in the order of their precedence.

    A remote default policy takes the place of the host's own of that name.
    """
    found = list(policies)
    if any(each.name == DEFAULT_POLICY and each.origin is Origin.REMOTE for each in found):
        found = [
            each for each in found if not (each.name == DEFAULT_POLICY and each.origin is Origin.DIRECTORY)
        ]
    rank = {Origin.BUNDLED: 0, Origin.REMOTE: 1, Origin.DIRECTORY: 2}

    def order(policy: Policy) -> tuple[bool, int, str]:
        return (
            policy.name != DEFAULT_POLICY and policy.origin is not Origin.BUNDLED,
            rank[policy.origin],
            policy.name,
        )

    return tuple(sorted(found, key=order))


def load(
    policies: Sequence[Policy],
    *,
    host: Mapping[str, Any],
    agent_version: str,
    store: VariableStore,
    new_id: Callable[[], str],
    resolve_pid: ResolvePid = lambda pid: None,
    unavailable: Unavailable = lambda event_type, name: "",
) -> Loaded:
    """Put policies together and make their rules ready.

    Args:
        policies: In the order of their precedence (``arrange``).
        host: Facts of the host by the names of the catalogue's host fields, for rule filters.
        agent_version: Who we are on the wire.
        store: Variables; those of an earlier set are kept.
        new_id: Makes a text that never was before, for ``${builtins.uuid4}``.
        resolve_pid: The process of that number, for actions on another process than the event's.
        unavailable: Why a source of events cannot give a field for a type of event (first the type, then the
            name); empty if it can. Rules that cannot match without are left out, others used in part.
    """
    merge = _Merge(host, agent_version)
    for policy in policies:
        merge.problems += policy.problems
        for macro in policy.macros:
            _take_macro(merge, macro)
    for policy in policies:
        for rule in policy.rules:
            _take_rule(merge, rule)
    macros = {name: macro.expression for name, macro in merge.macros.items()}
    active = [rule for rule in merge.rules.values() if not rule.disabled]
    language = Language(macros=macros, variables=declare(active, macros))
    compiler = RuleCompiler(language, store, new_id=new_id, resolve_pid=resolve_pid)
    ready: list[CompiledRule] = []
    for at, rule in enumerate(active):
        if at >= MAX_TOTAL_RULES:
            _say(merge, rule, "error", f"More than {MAX_TOTAL_RULES} rules are not loaded.")
            continue
        try:
            compiled = compiler.rule(rule, unavailable)
        except RuleError as error:
            _refuse(merge, rule, error.path, error.message, error.column)
            continue
        except OutOfReachError as error:
            _say(merge, rule, "filtered", str(error), filter_type="source")
            continue
        ready.append(compiled)
        _say(merge, rule, "loaded", _not_done(compiled))
    for macro in merge.macros.values():
        _check_macro(merge, macro, language)
    return Loaded(RuleSet(ready, store), language, _reports(merge, policies))


# Putting together -------------------------------------------------------------------------------------------


def _take_macro(merge: _Merge, macro: MacroDefinition) -> None:
    reason, why = _filtered(merge, macro.agent_version, macro.filters)
    if reason == "error":
        merge.problems.append(PolicyProblem(macro.policy, macro.id, macro.path, why, macro.line))
    if reason:
        return
    known = merge.macros.get(macro.id)
    if known is None or macro.combine == "override":
        merge.macros[macro.id] = macro
    elif macro.combine == "merge":
        lists = [text.strip() for text in (known.expression, macro.expression)]
        if not all(text.startswith("[") and text.endswith("]") for text in lists):
            message = "Only lists can be merged; say combine: override."
            merge.problems.append(PolicyProblem(macro.policy, macro.id, macro.path, message, macro.line))
            return
        inner = [text[1:-1].strip() for text in lists if text[1:-1].strip()]
        merge.macros[macro.id] = replace(known, expression=f"[{', '.join(inner)}]")
    elif known.expression != macro.expression:
        message = f"The macro is in policy {known.policy} already; say combine: override or merge."
        merge.problems.append(PolicyProblem(macro.policy, macro.id, macro.path, message, macro.line))


def _take_rule(merge: _Merge, rule: RuleDefinition) -> None:
    reason, why = _filtered(merge, rule.agent_version, rule.filters)
    if reason == "error":
        _refuse(merge, rule, f"{rule.path}.filters", why)
        return
    if reason:
        _say(merge, rule, "filtered", why, filter_type=reason)
        return
    known = merge.rules.get(rule.id)
    if known is None:
        if rule.combine == "override" or not rule.expression:
            _refuse(merge, rule, rule.path, "There is no rule of this id before that it could change.")
            return
        merge.rules[rule.id] = rule
        _say(merge, rule, "disabled" if rule.disabled else "loaded")
        return
    only_switches = "disabled" in rule.given and (not rule.expression or rule.expression == known.expression)
    if rule.combine != "override" and not only_switches:
        message = f"The rule is in policy {known.policy} already; say combine: override."
        _refuse(merge, rule, rule.path, message)
        return
    changed = _overridden(known, rule) if rule.combine == "override" else known
    if "disabled" in rule.given:
        changed = replace(changed, disabled=rule.disabled)
    modified_by = tuple(dict.fromkeys((*known.modified_by, rule.policy)))
    merge.rules[rule.id] = changed = replace(changed, modified_by=modified_by)
    _say(merge, changed, "disabled" if changed.disabled else "loaded")
    if (rule.policy, rule.id) != (known.policy, known.id):
        merge.reports[(rule.policy, rule.id, rule.path)] = RuleReport(
            rule, "loaded", f"Changes the rule of policy {known.policy}."
        )


def _overridden(known: RuleDefinition, rule: RuleDefinition) -> RuleDefinition:
    fields = set(rule.overrides)
    if "all" in fields:
        return replace(rule, policy=known.policy, path=known.path, line=known.line, combine="")
    changes: dict[str, Any] = {}
    if "expression" in fields and rule.expression:
        changes["expression"] = rule.expression
    if "actions" in fields:
        changes["actions"] = rule.actions
    if "every" in fields:
        changes["every_ns"] = rule.every_ns
    if "tags" in fields:
        changes["tags"] = rule.tags
    if "product_tags" in fields:
        changes["product_tags"] = rule.product_tags
    return replace(known, **changes)


def _filtered(merge: _Merge, constraint: str, filters: tuple[str, ...]) -> tuple[str, str]:
    """Why something is not for this host: the kind of reason (``error`` if unclear) and a sentence."""
    if constraint:
        try:
            if not satisfies(merge.agent_version, constraint):
                return "agent_version", f"Version {merge.agent_version} is not {constraint}."
        except ConstraintError as error:
            return "error", f"agent_version: {error}"
    if not filters:
        return "", ""
    for text in filters:
        if text not in merge.filters:
            merge.filters[text] = _holds_here(text, merge.host)
        found = merge.filters[text]
        if isinstance(found, ExpressionError):
            return "error", f"Filter {text[:100]!r}: {found.public}"
        if found:
            return "", ""
    return "rule_filter", f"None of its filters holds here: {'; '.join(filters)[:300]}"


def _holds_here(text: str, host: Mapping[str, Any]) -> bool | ExpressionError:
    try:
        condition, _ = check_condition(text, Language(of_host=True))
    except ExpressionError as error:
        return error
    return Compiler(VariableStore(), str).rule(condition)(host_event(host))


def _not_done(rule: CompiledRule) -> str:
    """What of a loaded rule does not work here."""
    kinds = dict.fromkeys(action.kind for action in rule.definition.actions)
    said = [UNSUPPORTED_ACTIONS[kind] for kind in kinds if kind in UNSUPPORTED_ACTIONS]
    if rule.missing:
        said += ["Only in part:", *dict.fromkeys(rule.missing.values())]
    return " ".join(said)


def _check_macro(merge: _Merge, macro: MacroDefinition, language: Language) -> None:
    """Say of a macro nobody uses rightly that it cannot be parsed."""
    try:
        language.macro(macro.id)
    except ExpressionError as error:
        path = f"{macro.path}.expression"
        merge.problems.append(
            PolicyProblem(macro.policy, macro.id, path, error.public, macro.line, error.column)
        )


# Saying what became of it -----------------------------------------------------------------------------------


def _say(
    merge: _Merge, rule: RuleDefinition, status: str, message: str = "", *, filter_type: str = ""
) -> None:
    key = (rule.policy, rule.id, rule.path)
    merge.reports[key] = RuleReport(rule, status, message, filter_type)


def _refuse(merge: _Merge, rule: RuleDefinition, path: str, message: str, column: int = 0) -> None:
    key = (rule.policy, rule.id, rule.path)
    merge.reports[key] = RuleReport(rule, "error", message, path=path, column=column)
    merge.problems.append(PolicyProblem(rule.policy, rule.id, path, message, rule.line, column))


def _reports(merge: _Merge, policies: Sequence[Policy]) -> tuple[PolicyReport, ...]:
    found: list[PolicyReport] = []
    for policy in policies:
        reports = tuple(
            merge.reports[key]
            for rule in policy.rules
            if (key := (policy.name, rule.id, rule.path)) in merge.reports
        )
        problems = tuple(each for each in merge.problems if each.policy == policy.name)
        found.append(
            PolicyReport(
                policy.name, policy.version, policy.origin, _status(reports, problems), reports, problems
            )
        )
    return tuple(found)


def _status(reports: Sequence[RuleReport], problems: Sequence[PolicyProblem]) -> str:
    statuses = {report.status for report in reports}
    broken = "error" in statuses or any(not problem.harmless for problem in problems)
    usable = statuses & {"loaded", "disabled"}
    if broken:
        return "partially_loaded" if usable else "fully_rejected"
    if "filtered" in statuses:
        return "partially_filtered" if usable else "fully_filtered"
    return "loaded"
