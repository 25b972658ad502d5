"""What a policy file says, once read: macros, rules and actions as plain values, and what is wrong there."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sealwire.secl.variables import Scope


class Origin(enum.Enum):
    """Where a policy came from."""

    BUNDLED = "bundled"
    REMOTE = "remote-config"
    DIRECTORY = "file"


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """One mistake in a policy.

    Attributes:
        policy: Its name.
        rule_id: The rule or macro it is in; empty if in none.
        path: JSON path within the file, such as ``$.rules[3].expression``.
        line: Of the file; 0 if not known.
        column: Within the expression if there is one at that path, else of the file; 0 if not known.
        message: What is wrong and what to do, as sentences.
        harmless: The rule is used all the same.
    """

    policy: str
    rule_id: str
    path: str
    message: str
    line: int = 0
    column: int = 0
    harmless: bool = False

    def __str__(self) -> str:
        where = f", rule {self.rule_id}" if self.rule_id else ""
        line = f", line {self.line}" if self.line else ""
        column = f", column {self.column}" if self.column else ""
        return f"Policy {self.policy}{where}, {self.path}{line}{column}: {self.message}"


@dataclass(frozen=True, slots=True)
class SetDefinition:
    """What a ``set`` action sets, and to what: exactly one of value, field and expression is given."""

    name: str
    scope: Scope
    value: str | int | bool | tuple[str, ...] | tuple[int, ...] | None = None
    field: str = ""
    expression: str = ""
    default: str | int | bool | tuple[str, ...] | tuple[int, ...] | None = None
    append: bool = False
    size: int = 0
    ttl_ns: int = 0
    private: bool = False
    inherited: bool = False
    scope_field: str = ""

    @property
    def whole_name(self) -> str:
        return f"{self.scope.value}.{self.name}" if self.scope is not Scope.GLOBAL else self.name


@dataclass(frozen=True, slots=True)
class ActionDefinition:
    """What is to be done at a match.

    Attributes:
        kind: ``set``, ``hash``, ``log``, ``kill``, ``coredump`` or ``network_filter``.
        filter: A condition without which it is not done; empty for always.
        options: What it says besides, for all kinds but ``set``.
        path: Where it is in the file.
    """

    kind: str
    path: str
    filter: str = ""
    set: SetDefinition | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MacroDefinition:
    """A name for a part of expressions.

    Attributes:
        expression: Also where the file lists values.
        combine: ``merge``, ``override`` or empty.
    """

    id: str
    expression: str
    policy: str
    path: str
    description: str = ""
    agent_version: str = ""
    filters: tuple[str, ...] = ()
    combine: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class RuleDefinition:
    """A rule as it is written.

    Attributes:
        combine: ``override`` or empty.
        overrides: With it, the fields that replace those of the rule before.
        every_ns: One report per so long; 0 for the usual limit.
        limiter_token: Fields whose values are limited each on their own.
        silent: Its actions are run and nothing is reported.
        given: Names of the fields the file gives.
        modified_by: Names of policies that changed it.
    """

    id: str
    policy: str
    path: str
    expression: str = ""
    description: str = ""
    version: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    product_tags: tuple[str, ...] = ()
    agent_version: str = ""
    filters: tuple[str, ...] = ()
    disabled: bool = False
    combine: str = ""
    overrides: tuple[str, ...] = ()
    every_ns: int = 0
    limiter_token: tuple[str, ...] = ()
    silent: bool = False
    group_id: str = ""
    priority: int = 0
    actions: tuple[ActionDefinition, ...] = ()
    given: frozenset[str] = frozenset()
    modified_by: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """What one file says.

    Attributes:
        problems: What is wrong with it; rules that cannot be read are among them and not in ``rules``.
    """

    name: str
    origin: Origin
    version: str = ""
    type: str = "policy"
    replace_policy_id: str = ""
    macros: tuple[MacroDefinition, ...] = ()
    rules: tuple[RuleDefinition, ...] = ()
    problems: tuple[PolicyProblem, ...] = ()
