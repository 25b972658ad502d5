"""Rules ready to be evaluated: their conditions and actions as functions.

An action sets variables here, which is all that is done without the world; every other kind is handed back
with the match, for whoever may act. Problems say to which part of the rule they belong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sealwire.secl.catalogue import FIELDS, Place, Type
from sealwire.secl.check import Checked, Checker, Language, Variant, check_condition, check_rule, check_value
from sealwire.secl.compiler import Compiler, Get, Test
from sealwire.secl.conditions import NEVER, Condition, FieldValue, Leaf, Value, leaves, values_of
from sealwire.secl.constants import GROUPS
from sealwire.secl.definitions import ActionDefinition, RuleDefinition, SetDefinition
from sealwire.secl.event import NOBODY, Event, Process
from sealwire.secl.limiter import Limiter
from sealwire.secl.needs import Needed, Values, cover, fields_of, needed, without
from sealwire.secl.patterns import TextSet
from sealwire.secl.problems import ExpressionError, quoted
from sealwire.secl.variables import Declaration, Scope, VariableStore, empty

ResolvePid = Callable[[int], Process | None]

# Done by nobody here; a rule that asks for them is used without.
UNSUPPORTED_ACTIONS: Final[Mapping[str, str]] = {
    "coredump": "Core dumps are not taken.",
    "network_filter": "Traffic is not filtered.",
}


Unavailable = Callable[[str, str], str]


class OutOfReachError(Exception):
    """A rule can never match, for a source cannot give a field it needs; says which and why."""


class RuleError(Exception):
    """A rule cannot be used.

    Attributes:
        path: Which part of it, as a JSON path that begins with the rule's.
        column: Within the expression at that path; 0 if it is not about a place of it.
    """

    def __init__(self, path: str, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.column = column


@dataclass(frozen=True, slots=True)
class CompiledVariant:
    """What a rule means for one type of event.

    Attributes:
        needed: Values of which each named field must have one for the rule to match.
        cover: Fields and values of which at least one must fit; ``None`` if no such list is known.
    """

    event_type: str
    condition: Condition
    test: Test
    needed: Needed | None
    cover: tuple[tuple[FieldValue, Values], ...] | None


@dataclass(frozen=True, slots=True)
class CompiledAction:
    """Something to be done at a match.

    Attributes:
        holds: Whether it is to be done for an event; ``None`` for always.
        run: Does it, for ``set``; ``None`` for all other kinds.
    """

    definition: ActionDefinition
    holds: Test | None
    run: Callable[[Event], None] | None


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule that can be evaluated.

    Attributes:
        fields: All fields it asks for, those of its actions' filters and values too.
        condition_fields: Those its expression asks for.
        missing: Fields that cannot be had, with the reason; what asks for them does not hold.
    """

    definition: RuleDefinition
    variants: tuple[CompiledVariant, ...]
    actions: tuple[CompiledAction, ...]
    fields: frozenset[str]
    condition_fields: frozenset[str]
    missing: Mapping[str, str]
    variables: frozenset[str]
    macros: frozenset[str]
    limiter: Limiter
    token: Callable[[Event], tuple[Any, ...]]

    @property
    def id(self) -> str:
        return self.definition.id

    @property
    def event_types(self) -> tuple[str, ...]:
        return tuple(variant.event_type for variant in self.variants)


@dataclass(frozen=True, slots=True)
class Held:
    """A part of an expression that held for an event.

    Attributes:
        start, end: Where, as offsets into the expression.
        value: What the field was; of several the first that fits.
    """

    start: int
    end: int
    field: str
    value: Any


class RuleCompiler:
    """Makes rules of definitions, all over one language and one store of variables."""

    def __init__(
        self,
        language: Language,
        store: VariableStore,
        *,
        new_id: Callable[[], str],
        resolve_pid: ResolvePid = lambda pid: None,
    ) -> None:
        self.language = language
        self.store = store
        self.new_id = new_id
        self.resolve_pid = resolve_pid

    def rule(self, definition: RuleDefinition, unavailable: Unavailable) -> CompiledRule:
        """The rule, ready.

        Args:
            unavailable: Why a field cannot be had for a type of event; empty if it can.

        Raises:
            RuleError: Its expression, or that of an action, does not fit.
            OutOfReachError: All of its events need a field that cannot be had.
        """
        path = f"{definition.path}.expression"
        try:
            checked = check_rule(definition.expression, self.language)
        except ExpressionError as error:
            raise RuleError(path, error.public, error.column) from error
        missing: dict[str, str] = {}
        variants = tuple(
            CompiledVariant(
                event_type=variant.event_type,
                condition=variant.condition,
                test=self._tagged(
                    Compiler(self.store, self.new_id).rule(variant.condition, checked.registers),
                    definition,
                    checked.fields,
                ),
                needed=needed(variant.condition),
                cover=cover(variant.condition),
            )
            for variant in _within_reach(checked, unavailable, missing)
        )
        events = frozenset(variant.event_type for variant in variants)
        fields = set(checked.fields)
        actions = tuple(self._action(action, definition, events, fields) for action in definition.actions)
        return CompiledRule(
            definition=definition,
            variants=variants,
            actions=actions,
            fields=frozenset(fields),
            condition_fields=checked.fields,
            missing=missing,
            variables=checked.variables,
            macros=checked.macros,
            limiter=Limiter(definition.every_ns),
            token=self._token(definition, events),
        )

    def _tagged(self, test: Test, definition: RuleDefinition, fields: frozenset[str]) -> Test:
        """The same with the rule's own tags in the event, where it asks for them."""
        if "event.rule.tags" not in fields:
            return test
        tags = tuple(f"{key}:{value}" for key, value in definition.tags.items())

        def tagged(event: Event) -> bool:
            event.values["event.rule.tags"] = tags
            return test(event)

        return tagged

    def _token(
        self, definition: RuleDefinition, events: frozenset[str]
    ) -> Callable[[Event], tuple[Any, ...]]:
        path = f"{definition.path}.limiter_token"
        gets = tuple(self._field(name, events, path)[0] for name in definition.limiter_token)
        return (lambda event: tuple(_short(get(event)) for get in gets)) if gets else (lambda event: ())

    def _field(self, name: str, events: frozenset[str], path: str) -> tuple[Get, Value]:
        """A field by its name alone, of the event the rule is for."""
        try:
            value, checker = check_value(name, self.language)
        except ExpressionError as error:
            raise RuleError(path, error.public, error.column) from error
        if not isinstance(value, FieldValue):
            raise RuleError(path, f"{quoted(name)} is no field.")
        self._same_event(checker, events, path)
        return Compiler(self.store, self.new_id).value(value), value

    def _same_event(self, checker: Checker, events: frozenset[str], path: str) -> None:
        for types in checker.events.values():
            if not events <= types:
                raise RuleError(path, f"This is of another event than {' and '.join(sorted(events))}.")
        if checker.registers:
            raise RuleError(path, "Names in brackets may stand only in the expression of a rule.")

    # Actions ------------------------------------------------------------------------------------------------

    def _action(
        self, action: ActionDefinition, rule: RuleDefinition, events: frozenset[str], fields: set[str]
    ) -> CompiledAction:
        holds: Test | None = None
        if action.filter:
            path = f"{action.path.rpartition('.')[0]}.filter"
            try:
                condition, checker = check_condition(action.filter, self.language)
            except ExpressionError as error:
                raise RuleError(path, error.public, error.column) from error
            self._same_event(checker, events, path)
            fields |= checker.fields
            holds = Compiler(self.store, self.new_id).condition(condition)
        run: Callable[[Event], None] | None = None
        if action.set is not None:
            run = self._setting(action.set, action.path, events, fields)
        elif action.kind == "kill":
            name = str(action.options.get("signal", ""))
            if name not in GROUPS["signals"]:
                raise RuleError(f"{action.path}.signal", f"{quoted(name)} is no signal; write SIGKILL.")
        elif action.kind == "hash":
            wanted = str(action.options.get("field", ""))
            if wanted and f"{wanted}.path" not in FIELDS:
                raise RuleError(f"{action.path}.field", f"{quoted(wanted)} is no file; write process.file.")
        return CompiledAction(action, holds, run)

    def _setting(
        self, setting: SetDefinition, path: str, events: frozenset[str], fields: set[str]
    ) -> Callable[[Event], None]:
        declaration = self.language.variables.get(setting.whole_name)
        if declaration is None:
            raise RuleError(path, f"The type of ${{{setting.whole_name}}} is not known.")
        get = self._value_of(setting, declaration, path, events, fields)
        store, append, global_ = self.store, setting.append, setting.scope is Scope.GLOBAL
        if not setting.scope_field:
            return lambda event: _put(store, declaration, event.process, get(event), append=append)
        of, value = self._field(setting.scope_field, events, f"{path}.scope_field")
        if value.type is not Type.INT or value.array or global_:
            raise RuleError(f"{path}.scope_field", "A scope_field names the number of a process.")
        fields.add(setting.scope_field)

        def run(event: Event) -> None:
            pid = of(event)
            process = event.process if pid == event.process.values["pid"] else self.resolve_pid(pid)
            if process is not None:
                _put(store, declaration, process, get(event), append=append)

        return run

    def _value_of(
        self,
        setting: SetDefinition,
        declaration: Declaration,
        path: str,
        events: frozenset[str],
        fields: set[str],
    ) -> Get:
        if setting.value is not None:
            constant = setting.value
            if _type_of(constant) is not declaration.type:
                raise RuleError(f"{path}.value", _other_type(declaration))
            return lambda event: constant
        if setting.field:
            where, text = f"{path}.field", setting.field
        else:
            where, text = f"{path}.expression", setting.expression
        try:
            value, checker = check_value(text, self.language)
        except ExpressionError as error:
            raise RuleError(where, error.public, error.column) from error
        if setting.field and not isinstance(value, FieldValue):
            raise RuleError(where, f"{quoted(text)} is no field.")
        self._same_event(checker, events, where)
        fields |= checker.fields
        if value.type is not declaration.type or (value.array and not declaration.array):
            raise RuleError(where, _other_type(declaration))
        return Compiler(self.store, self.new_id).value(value)


def _short(value: Any) -> Any:
    """A value, or what stands for it if it is long: tokens are remembered."""
    return value if not isinstance(value, str | tuple) or len(value) <= 256 else hash(value)


def _within_reach(checked: Checked, unavailable: Unavailable, missing: dict[str, str]) -> list[Variant]:
    """What is left of a rule without the fields that cannot be had, which are noted."""
    kept: list[Variant] = []
    for variant in checked.variants:
        reasons = {
            name: reason
            for name in sorted(fields_of(variant.condition))
            if (reason := unavailable(variant.event_type, name))
        }
        missing.update(reasons)
        condition = without(variant.condition, reasons) if reasons else variant.condition
        if condition != NEVER or not reasons:
            kept.append(Variant(variant.event_type, condition))
    if not kept:
        raise OutOfReachError(" ".join(dict.fromkeys(missing.values())))
    return kept


def _put(
    store: VariableStore, declaration: Declaration, process: Process, value: Any, *, append: bool
) -> None:
    if process is not NOBODY:
        store.put(declaration, process, value, append=append)


def _type_of(value: object) -> Type:
    if isinstance(value, tuple):
        return _type_of(value[0]) if value else Type.TEXT
    if isinstance(value, bool):
        return Type.BOOL
    return Type.INT if isinstance(value, int) else Type.TEXT


def _other_type(declaration: Declaration) -> str:
    kind = f"a list of {declaration.type.value}s" if declaration.array else f"a {declaration.type.value}"
    return f"${{{declaration.whole_name}}} is {kind} elsewhere; every rule must set the same kind."


# Declarations -----------------------------------------------------------------------------------------------


def declare(rules: list[RuleDefinition], macros: Mapping[str, str]) -> dict[str, Declaration]:
    """The variables that rules set, with the types that follow from how they do; the first one decides."""
    declared: dict[str, Declaration] = {}
    waiting = [action.set for rule in rules for action in rule.actions if action.set is not None]
    for _ in range(4):  # an expression may read variables that are declared further on
        language = Language(macros=macros, variables=declared)
        left: list[SetDefinition] = []
        for setting in waiting:
            if setting.whole_name in declared:
                continue
            found = _declaration(setting, language)
            if found is None:
                left.append(setting)
            else:
                declared[found.whole_name] = found
        if len(left) == len(waiting) or not left:
            break
        waiting = left
    return declared


def _declaration(setting: SetDefinition, language: Language) -> Declaration | None:
    array = setting.append
    if setting.value is not None:
        type_, array = _type_of(setting.value), array or isinstance(setting.value, tuple)
    elif setting.field and setting.field in FIELDS:
        field = FIELDS[setting.field]
        type_, array = field.type, array or field.array or field.place is Place.ANCESTORS
    elif setting.default is not None:
        type_, array = _type_of(setting.default), array or isinstance(setting.default, tuple)
    else:
        try:
            value, _ = check_value(setting.field or setting.expression, language)
        except ExpressionError:
            return None
        type_, array = value.type, array or value.array
    default = setting.default
    if default is None or _type_of(default) is not type_ or (isinstance(default, tuple) and not array):
        default = empty(type_, array=array)
    if array and not isinstance(default, tuple):
        default = (default,) if default != empty(type_, array=False) else ()  # type: ignore[assignment]
    return Declaration(
        name=setting.name,
        scope=setting.scope,
        type=type_,
        array=array,
        default=default,
        ttl_ns=setting.ttl_ns,
        **({"size": setting.size} if setting.size else {}),
        private=setting.private,
        inherited=setting.inherited,
    )


# What held --------------------------------------------------------------------------------------------------


def explain(rule: CompiledRule, event: Event, store: VariableStore) -> tuple[Held, ...]:
    """The parts of a rule's expression that hold for an event, and with what values; for reports."""
    found: list[Held] = []
    compiler = Compiler(store, str)
    for variant in rule.variants:
        if variant.event_type != event.type:
            continue
        for leaf in leaves(variant.condition):
            held = _held(leaf, event, compiler)
            if held is not None:
                found.append(held)
    return tuple(sorted(found, key=lambda held: (held.start, held.end)))


def _held(leaf: Leaf, event: Event, compiler: Compiler) -> Held | None:
    named = [value for value in values_of(leaf) if isinstance(value, FieldValue)]
    if not named or any(value.register for value in named) or not compiler.condition(leaf)(event):
        return None
    first = named[-1]
    several = tuple(compiler.values(first)(event))[:1_000]
    value = several[0] if several else ""
    choice = getattr(leaf, "choice", None)
    if len(several) > 1 and not leaf.negated and choice is not None and not first.length:
        folded = isinstance(choice, TextSet) and choice.folded
        fits = choice.__contains__ if isinstance(choice, frozenset) else choice.test()
        value = next((each for each in several if fits(each.lower() if folded else each)), value)
    return Held(leaf.start, leaf.end, first.field.name, value)
