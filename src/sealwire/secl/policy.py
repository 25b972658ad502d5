"""Policy files: a document becomes macros, rules and actions, or problems at their places.

A rule that cannot be read is left out and named; the others stay. What is no policy at all is an error. Only
shape is looked at here; expressions are checked when policies are put together (``merge``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from sealwire.errors import MalformedError, OversizeError
from sealwire.secl.definitions import (
    ActionDefinition,
    MacroDefinition,
    Origin,
    Policy,
    PolicyProblem,
    RuleDefinition,
    SetDefinition,
)
from sealwire.secl.document import Entry, read_document
from sealwire.secl.lexer import Kind, tokens
from sealwire.secl.problems import ExpressionError, quoted
from sealwire.secl.variables import MAX_SIZE, Scope

MAX_RULES: Final = 20_000
MAX_MACROS: Final = 10_000
MAX_ACTIONS: Final = 32
MAX_PROBLEMS: Final = 1_000

ACTIONS: Final = ("set", "kill", "hash", "coredump", "log", "network_filter")
_SCOPES: Final = {each.value: each for each in Scope}
_ID: Final = re.compile(r"[a-zA-Z0-9_]{1,200}\Z")
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,199}\Z")
_TOP: Final = frozenset({"version", "type", "replace_policy_id", "macros", "rules", "name", "description"})
_MACRO: Final = frozenset(
    {"id", "expression", "values", "description", "agent_version", "filters", "combine"}
)
_RULE: Final = frozenset(
    {
        "id", "version", "expression", "description", "tags", "product_tags", "agent_version", "filters",
        "disabled", "combine", "override_options", "every", "limiter_token", "silent", "group_id", "priority",
        "actions",
    }
)  # fmt: skip
_SET: Final = frozenset(
    {
        "name", "value", "field", "expression", "default_value", "append", "scope", "scope_field", "size",
        "ttl", "private", "inherited",
    }
)  # fmt: skip
OVERRIDABLE: Final = ("expression", "actions", "every", "tags", "product_tags", "all")


class _Unreadable(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, path: str, message: str, entry: Entry | None = None) -> None:
        self.path, self.message, self.entry = path, message, entry


def policy_name(config_id: str) -> str:
    """The name of a policy that came as a config: ``1.default.policy`` is ``default.policy``."""
    return config_id.partition(".")[2] or config_id


def read_policy(raw: bytes, *, name: str, origin: Origin) -> Policy:
    """What a policy file says.

    Args:
        raw: YAML or JSON, as it came.
        name: Such as ``default.policy``.

    Raises:
        MalformedError: It is no policy.
        OversizeError: It is too large.
    """
    return _Reader(name, origin).policy(read_document(raw))


class _Reader:
    def __init__(self, name: str, origin: Origin) -> None:
        self.name = name
        self.origin = origin
        self.problems: list[PolicyProblem] = []
        self.within = ""

    # Problems -----------------------------------------------------------------------------------------------

    def note(self, path: str, message: str, entry: Entry | None = None, *, harmless: bool = False) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            line, column = (entry.line, entry.column) if entry is not None else (0, 0)
            self.problems.append(
                PolicyProblem(self.name, self.within, path, message, line, column, harmless=harmless)
            )

    def unknown(self, path: str, entry: Entry, known: frozenset[str]) -> None:
        """Say which keys mean nothing, and which were given twice."""
        for key in entry.mapping or ():
            if key not in known:
                self.note(path, f"{quoted(key)} is not known and is left out.", entry, harmless=True)
        for key in entry.twice:
            self.note(path, f"{quoted(key)} is given twice; the last one counts.", entry, harmless=True)

    # The file -----------------------------------------------------------------------------------------------

    def policy(self, root: Entry) -> Policy:
        if root.mapping is None:
            raise MalformedError("The policy is not a mapping; it begins with version: and rules:.")
        if not {"rules", "macros", "version"} & set(root.mapping):
            raise MalformedError("The file is no policy: it has neither version, macros nor rules.")
        self.unknown("$", root, _TOP)
        return Policy(
            name=self.name,
            origin=self.origin,
            version=self.text(root, "version", "$"),
            type=self.text(root, "type", "$") or "policy",
            replace_policy_id=self.text(root, "replace_policy_id", "$"),
            macros=tuple(self.each(root, "macros", MAX_MACROS, self.macro)),
            rules=tuple(self.each(root, "rules", MAX_RULES, self.rule)),
            problems=tuple(self.problems),
        )

    def each(self, root: Entry, key: str, most: int, read: Callable[[Entry, str], Any]) -> list[Any]:
        entry = (root.mapping or {}).get(key)
        if entry is None or entry.value is None:
            return []
        if entry.items is None:
            raise MalformedError(f"{key} of the policy is no list (line {entry.line}).")
        if len(entry.items) > most:
            raise OversizeError(f"The policy has {len(entry.items)} {key}; at most {most} are read.")
        found: list[Any] = []
        for at, each in enumerate(entry.items):
            path = f"$.{key}[{at}]"
            self.within = ""
            try:
                if each.mapping is None:
                    raise _Unreadable(path, "Expected a mapping with an id.", each)
                self.within = self.identity(each, path)
                found.append(read(each, path))
            except _Unreadable as error:
                self.note(error.path, error.message, error.entry or each)
        self.within = ""
        return found

    def identity(self, entry: Entry, path: str) -> str:
        found = self.text(entry, "id", path)
        if not _ID.match(found):
            raise _Unreadable(f"{path}.id", "An id of letters, digits and _ is needed.", entry)
        return found

    # Parts --------------------------------------------------------------------------------------------------

    def macro(self, entry: Entry, path: str) -> MacroDefinition:
        self.unknown(path, entry, _MACRO)
        expression = self.text(entry, "expression", path)
        values = (entry.mapping or {}).get("values")
        if not expression and values is not None:
            expression = self.list_expression(values, f"{path}.values")
        if not expression:
            raise _Unreadable(path, "A macro needs an expression or values.", entry)
        return MacroDefinition(
            id=self.within,
            expression=expression,
            policy=self.name,
            path=path,
            description=self.text(entry, "description", path),
            agent_version=self.text(entry, "agent_version", path),
            filters=self.texts(entry, "filters", path),
            combine=self.one_of(entry, "combine", path, ("merge", "override")),
            line=entry.line,
        )

    def list_expression(self, values: Entry, path: str) -> str:
        """Values of a macro as the list an expression would write."""
        items = values.items
        if items is None:
            raise _Unreadable(path, "Expected a list of values.", values)
        words: list[str] = []
        for each in items:
            if isinstance(each.value, dict | list) or each.value is None:
                raise _Unreadable(path, "Expected texts or numbers.", each)
            if isinstance(each.value, int) and not isinstance(each.value, bool):
                words.append(str(each.value))
            elif each.text[:2] in ('~"', 'r"') and each.text.endswith('"'):
                words.append(each.text)
            else:
                words.append('"' + each.text.replace("\\", "\\\\").replace('"', '\\"') + '"')
        return f"[{', '.join(words)}]"

    def rule(self, entry: Entry, path: str) -> RuleDefinition:
        self.unknown(path, entry, _RULE)
        mapping = entry.mapping or {}
        disabled = self.truth(entry, "disabled", path)
        combine = self.one_of(entry, "combine", path, ("override",))
        expression = self.text(entry, "expression", path)
        if not expression and not combine and "disabled" not in mapping:
            raise _Unreadable(path, "A rule needs an expression.", entry)
        return RuleDefinition(
            id=self.within,
            policy=self.name,
            path=path,
            expression=expression,
            description=self.text(entry, "description", path),
            version=self.text(entry, "version", path),
            tags=self.tags(entry, path),
            product_tags=self.texts(entry, "product_tags", path),
            agent_version=self.text(entry, "agent_version", path),
            filters=self.texts(entry, "filters", path),
            disabled=disabled,
            combine=combine,
            overrides=self.overrides(entry, path),
            every_ns=self.duration(entry, "every", path),
            limiter_token=self.texts(entry, "limiter_token", path),
            silent=self.truth(entry, "silent", path),
            group_id=self.text(entry, "group_id", path),
            priority=self.number(entry, "priority", path),
            actions=self.actions(entry, path),
            given=frozenset(mapping),
            line=entry.line,
        )

    def overrides(self, entry: Entry, path: str) -> tuple[str, ...]:
        options = (entry.mapping or {}).get("override_options")
        if options is None or options.value is None:
            return ("expression",)
        path = f"{path}.override_options"
        if options.mapping is None:
            raise _Unreadable(path, "Expected fields: [...].", options)
        fields = self.texts(options, "fields", path)
        for name in fields:
            if name not in OVERRIDABLE:
                raise _Unreadable(f"{path}.fields", f"{quoted(name)} is none of {', '.join(OVERRIDABLE)}.")
        return fields or ("expression",)

    def actions(self, entry: Entry, path: str) -> tuple[ActionDefinition, ...]:
        listed = (entry.mapping or {}).get("actions")
        if listed is None or listed.value is None:
            return ()
        path = f"{path}.actions"
        if listed.items is None:
            raise _Unreadable(path, "Expected a list of actions.", listed)
        if len(listed.items) > MAX_ACTIONS:
            raise _Unreadable(path, f"A rule has at most {MAX_ACTIONS} actions.", listed)
        return tuple(self.action(each, f"{path}[{at}]") for at, each in enumerate(listed.items))

    def action(self, entry: Entry, path: str) -> ActionDefinition:
        if entry.mapping is None:
            raise _Unreadable(path, f"Expected one of {', '.join(ACTIONS)}.", entry)
        self.unknown(path, entry, frozenset({*ACTIONS, "filter"}))
        kinds = [kind for kind in ACTIONS if kind in entry.mapping]
        if len(kinds) != 1:
            raise _Unreadable(path, f"An action is exactly one of {', '.join(ACTIONS)}.", entry)
        (kind,) = kinds
        inner = entry.mapping[kind]
        if inner.mapping is None and inner.value is not None:
            raise _Unreadable(f"{path}.{kind}", "Expected a mapping.", inner)
        if inner.mapping is None:
            inner = Entry({}, line=entry.line, column=entry.column)
        where = f"{path}.{kind}"
        wanted = self.text(entry, "filter", path)
        if kind == "set":
            return ActionDefinition(kind, where, wanted, set=self.setting(inner, where))
        options = inner.plain()
        if kind == "kill":
            options["signal"] = self.text(inner, "signal", where) or "SIGTERM"
            options["scope"] = self.one_of(inner, "scope", where, ("process", "container", "cgroup"))
        if kind == "hash":
            options["field"] = self.text(inner, "field", where)
            options["max_file_size"] = self.number(inner, "max_file_size", where)
        if kind == "log":
            options["message"] = self.text(inner, "message", where)
            options["level"] = self.text(inner, "level", where) or "info"
        return ActionDefinition(kind, where, wanted, options=options)

    def setting(self, entry: Entry, path: str) -> SetDefinition:
        self.unknown(path, entry, _SET)
        name = self.text(entry, "name", path)
        if not _NAME.match(name):
            raise _Unreadable(f"{path}.name", "A variable needs a name of letters, digits and _.", entry)
        scope = self.text(entry, "scope", path)
        if scope not in _SCOPES:
            raise _Unreadable(f"{path}.scope", "A scope is process, container or cgroup, or left out.", entry)
        found = SetDefinition(
            name=name,
            scope=_SCOPES[scope],
            value=self.value(entry, "value", path),
            field=self.text(entry, "field", path),
            expression=self.text(entry, "expression", path),
            default=self.value(entry, "default_value", path),
            append=self.truth(entry, "append", path),
            size=self.number(entry, "size", path),
            ttl_ns=self.duration(entry, "ttl", path),
            private=self.truth(entry, "private", path),
            inherited=self.truth(entry, "inherited", path),
            scope_field=self.text(entry, "scope_field", path),
        )
        if (found.value is not None) + bool(found.field) + bool(found.expression) != 1:
            raise _Unreadable(path, "Give exactly one of value, field and expression.", entry)
        if not 0 <= found.size <= MAX_SIZE:
            raise _Unreadable(f"{path}.size", f"A size is at most {MAX_SIZE}.", entry)
        if found.scope_field and found.scope is Scope.GLOBAL:
            raise _Unreadable(f"{path}.scope_field", "A scope_field needs a scope.", entry)
        return found

    # Values -------------------------------------------------------------------------------------------------

    def scalar(self, entry: Entry, key: str, path: str) -> Entry | None:
        found = (entry.mapping or {}).get(key)
        if found is None or found.value is None:
            return None
        if isinstance(found.value, dict | list):
            raise _Unreadable(f"{path}.{key}", "Expected one value.", found)
        return found

    def text(self, entry: Entry, key: str, path: str) -> str:
        found = self.scalar(entry, key, path)
        return found.text if found is not None else ""

    def texts(self, entry: Entry, key: str, path: str) -> tuple[str, ...]:
        found = (entry.mapping or {}).get(key)
        if found is None or found.value is None:
            return ()
        if found.items is None:
            raise _Unreadable(f"{path}.{key}", "Expected a list of texts.", found)
        if any(isinstance(each.value, dict | list) for each in found.items):
            raise _Unreadable(f"{path}.{key}", "Expected a list of texts.", found)
        return tuple(each.text for each in found.items)

    def truth(self, entry: Entry, key: str, path: str) -> bool:
        found = self.scalar(entry, key, path)
        if found is None:
            return False
        if not isinstance(found.value, bool):
            raise _Unreadable(f"{path}.{key}", "Expected true or false.", found)
        return found.value

    def number(self, entry: Entry, key: str, path: str) -> int:
        found = self.scalar(entry, key, path)
        if found is None:
            return 0
        if not isinstance(found.value, int) or isinstance(found.value, bool):
            raise _Unreadable(f"{path}.{key}", "Expected a number.", found)
        return found.value

    def duration(self, entry: Entry, key: str, path: str) -> int:
        """Nanoseconds, or a text such as 10s."""
        found = self.scalar(entry, key, path)
        if found is None:
            return 0
        value = found.value
        if isinstance(value, str):
            try:
                words = tokens(value)
            except ExpressionError:
                words = []
            if len(words) == 2 and words[0].kind is Kind.DURATION:
                value = words[0].value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
            raise _Unreadable(f"{path}.{key}", "Expected a duration such as 10s or 5m.", found)
        return value

    def one_of(self, entry: Entry, key: str, path: str, choices: tuple[str, ...]) -> str:
        found = self.text(entry, key, path)
        if found and found not in choices:
            raise _Unreadable(f"{path}.{key}", f"Expected {' or '.join(choices)}.", entry)
        return found

    def tags(self, entry: Entry, path: str) -> dict[str, str]:
        found = (entry.mapping or {}).get("tags")
        if found is None or found.value is None:
            return {}
        if found.mapping is None:
            raise _Unreadable(f"{path}.tags", "Expected a mapping of texts.", found)
        return {
            key: each.text for key, each in found.mapping.items() if not isinstance(each.value, dict | list)
        }

    def value(self, entry: Entry, key: str, path: str) -> Any:
        """A text, number or boolean, or a list of texts or of numbers."""
        found = (entry.mapping or {}).get(key)
        if found is None or found.value is None:
            return None
        if found.mapping is not None:
            raise _Unreadable(f"{path}.{key}", "Expected a value or a list of values.", found)
        if found.items is None:
            return found.value
        values = [each.value for each in found.items]
        if all(type(each) is str for each in values) or all(type(each) is int for each in values):
            return tuple(values)
        raise _Unreadable(f"{path}.{key}", "Expected texts only, or numbers only.", found)
