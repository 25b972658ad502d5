"""Types: a tree becomes conditions over fields, or a sentence says what does not fit.

One ``Language`` serves all expressions of a set of rules: it knows the fields, the macros and the variables.
Macros are parsed once and checked where they are used; what they grow to is counted, so that macros of macros
cannot grow without bound. Every refusal says where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from sealwire.secl import catalogue
from sealwire.secl.catalogue import FIELDS, HOST_FIELDS, Field, Place, Type
from sealwire.secl.conditions import (
    HOLDS,
    NEVER,
    Age,
    AllOf,
    Always,
    AncestorCount,
    AnyOf,
    Calculation,
    Compared,
    Condition,
    Constant,
    Contained,
    FieldValue,
    FreshId,
    Joined,
    Truth,
    Value,
    VariableValue,
    all_of,
    any_of,
    negation,
)
from sealwire.secl.constants import CONSTANTS
from sealwire.secl.membership import MAX_MACRO_DEPTH, Lists, check_network, is_one, written
from sealwire.secl.parser import parse
from sealwire.secl.problems import ExpressionError, quoted
from sealwire.secl.syntax import (
    Binary,
    Boolean,
    Chain,
    Duration,
    Items,
    Name,
    Network,
    Node,
    Number,
    Pattern,
    Regex,
    Text,
    Unary,
    Variable,
    pieces,
)
from sealwire.secl.variables import Declaration

MAX_EXPANDED: Final = 20_000  # parts of one expression once its macros are written out
MAX_REGISTERS: Final = 2

_FLIPPED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPPOSITE: Final = {"!=": "==", "!~": "=~"}


class Language:
    """What expressions may name: fields, macros, variables.

    Args:
        macros: Texts of macros by name; a text that is none only harms who uses it.
        variables: Declarations by whole name.
        of_host: Fields are those of a host, for rule filters.
    """

    def __init__(
        self,
        *,
        macros: Mapping[str, str] | None = None,
        variables: Mapping[str, Declaration] | None = None,
        of_host: bool = False,
    ) -> None:
        self.macros = dict(macros or {})
        self.variables = dict(variables or {})
        self.of_host = of_host
        self.fields: Mapping[str, Field] = HOST_FIELDS if of_host else FIELDS
        self.lists = Lists()
        self._parsed: dict[str, Node] = {}

    def macro(self, name: str) -> Node:
        """The tree of a macro.

        Raises:
            ExpressionError: Its text is no expression.
        """
        found = self._parsed.get(name)
        if found is None:
            try:
                found = self._parsed[name] = parse(self.macros[name])
            except ExpressionError as error:
                raise ExpressionError(
                    error.message,
                    text=self.macros[name],
                    start=error.start,
                    end=error.end,
                    hint=error.hint,
                    macro=name,
                ) from None
        return found


@dataclass(frozen=True, slots=True)
class Variant:
    """What an expression means for one type of event."""

    event_type: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class Checked:
    """An expression that can be compiled.

    Attributes:
        variants: One per type of event it is for: one, but for ``fim.`` and ``network.``.
        fields: Names of all fields it asks for.
        registers: Names in brackets, in the order of their first use, with the field they iterate over.
        variables: Whole names of variables it reads.
        macros: Names of macros it uses, directly or not.
    """

    variants: tuple[Variant, ...]
    fields: frozenset[str]
    registers: tuple[tuple[str, Place], ...]
    variables: frozenset[str]
    macros: frozenset[str]


def check_rule(text: str, language: Language) -> Checked:
    """What the expression of a rule means.

    Raises:
        ExpressionError: It is not one, or is of no type of event, or of two.
    """
    node = parse(text)
    checker = Checker(text, language)
    condition = checker.condition(node)
    if not checker.uses_fim:
        variants = tuple(Variant(event, condition) for event in sorted(checker.event_types(node)))
        return checker.result(variants)
    if checker.events:
        checker.fail(
            node,
            f"fim.write stands for several events and cannot be joined with fields of {checker.events_said}.",
            hint="Name one event, or make two rules.",
        )
    found: list[Variant] = []
    fields: set[str] = set()
    for event, files in catalogue.FIM_FILES.items():
        parts: list[Condition] = []
        for file in files:
            again = Checker(text, language, fim=file)
            parts.append(again.condition(node))
            fields |= again.fields
        condition = any_of(parts)
        if event == "open":
            flags = Checker(_WRITES, language)
            condition = all_of([flags.condition(parse(_WRITES)), condition])
            fields |= flags.fields
        found.append(Variant(event, condition))
    checker.fields = fields
    return checker.result(tuple(found))


_WRITES: Final = "open.flags & (O_CREAT|O_TRUNC|O_APPEND|O_RDWR|O_WRONLY) > 0"


def check_condition(text: str, language: Language) -> tuple[Condition, Checker]:
    """What a condition means that need not be of one event: a host filter, the filter of an action."""
    checker = Checker(text, language)
    return checker.condition(parse(text)), checker


def check_value(text: str, language: Language) -> tuple[Value, Checker]:
    """What an expression means that is to give a value for a variable."""
    checker = Checker(text, language, may_be_fresh=True)
    return checker.value(parse(text)), checker


class Checker:
    """One expression on its way from tree to conditions."""

    def __init__(
        self, text: str, language: Language, *, fim: str = "open.file", may_be_fresh: bool = False
    ) -> None:
        self.language = language
        self.fim = fim
        self.may_be_fresh = may_be_fresh
        self.uses_fim = False
        self.fields: set[str] = set()
        self.variables: set[str] = set()
        self.macros: set[str] = set()
        self.registers: dict[str, Place] = {}
        self.events: dict[str, frozenset[str]] = {}
        self.root: Node = Text("", 0, len(text))
        self._parts = 0
        self._texts: list[tuple[str, str]] = [(text, "")]  # and the macro each is of; the innermost last

    # Results and refusals -----------------------------------------------------------------------------------

    def result(self, variants: tuple[Variant, ...]) -> Checked:
        """What was found."""
        return Checked(
            variants=variants,
            fields=frozenset(self.fields),
            registers=tuple(self.registers.items()),
            variables=frozenset(self.variables),
            macros=frozenset(self.macros),
        )

    def error(self, node: Node, message: str, *, hint: str = "") -> ExpressionError:
        """What is wrong at a place of the expression."""
        text, macro = self._texts[-1]
        return ExpressionError(message, text=text, start=node.start, end=node.end, hint=hint, macro=macro)

    def fail(self, node: Node, message: str, *, hint: str = "") -> NoReturn:
        """Refuse the expression."""
        raise self.error(node, message, hint=hint)

    @property
    def events_said(self) -> str:
        return " and ".join(sorted(self.events))

    def event_types(self, node: Node) -> frozenset[str]:
        """The types of event the fields belong to."""
        if not self.events:
            self.fail(
                node,
                "No field says which event the rule is for.",
                hint='Add a condition on one, such as exec.file.path != "" or open.file.path == "...".',
            )
        left = frozenset.intersection(*self.events.values())
        if not left:
            self.fail(
                node,
                f"The rule is for two events: {self.events_said}.",
                hint="A rule is for one event; fields of the process, container or cgroup go with every one.",
            )
        return left

    @contextmanager
    def within(self, macro: str) -> Iterator[None]:
        """Places are those of a macro's text meanwhile."""
        self._texts.append((self.language.macros[macro], macro))
        yield
        self._texts.pop()

    def is_constant(self, name: str) -> bool:
        """Whether the name stands for a number."""
        return name in CONSTANTS

    def enter(self, node: Node) -> None:
        """Count a part, wherever it is written."""
        self._parts += 1
        if self._parts > MAX_EXPANDED:
            self.fail(
                node, f"The expression grows to more than {MAX_EXPANDED} parts.", hint="Use fewer macros."
            )

    # Conditions ---------------------------------------------------------------------------------------------

    def condition(self, node: Node) -> Condition:
        """The tree as a condition."""
        return self._as_condition(self._either(node), node)

    def _as_condition(self, found: Value | Condition, node: Node) -> Condition:
        if isinstance(found, Value):
            if found.type is Type.BOOL and not found.array:
                if isinstance(found, Constant):
                    return HOLDS if found.value else NEVER
                return Truth(found, start=node.start, end=node.end)
            hint = (
                "Compare it, as in flags & O_CREAT > 0." if found.type is Type.INT else "Compare it with ==."
            )
            self.fail(node, f"This is {_article(found)}, not a condition.", hint=hint)
        return found

    def value(self, node: Node) -> Value:
        """The tree as a value."""
        found = self._either(node)
        if not isinstance(found, Value):
            self.fail(node, "This is a condition; a value is wanted here.", hint="Check the parentheses.")
        return found

    def _either(self, node: Node) -> Value | Condition:
        """The tree as whichever it is."""
        self.enter(node)
        match node:
            case Chain():
                return self._chain(node)
            case Unary():
                return self._unary(node)
            case Binary(operator="+" | "-" | "&" | "|" | "^"):
                return self._calculation(node)
            case Binary(operator="in" | "not in" | "allin"):
                return self._membership(node)
            case Binary():
                return self._comparison(node)
            case Name():
                return self._name(node)
            case Variable(name=name):
                return self.variable(node, name)
            case Text(value=text):
                return self.joined(node, text)
            case Number(value=number):
                return Constant(number, Type.INT)
            case Boolean(value=value):
                return Constant(value, Type.BOOL)
            case Network(value=text):
                check_network(self, node)
                return Constant(text, Type.IP)
            case Pattern() | Regex():
                self.fail(node, "A pattern must be compared with a field.", hint="Write field =~ pattern.")
            case Duration():
                self.fail(node, "A duration is compared with a time.", hint="As in process.created_at < 5s.")
        raise self.error(node, "A list may stand only after in.", hint='Write field in ["a", "b"].')

    def _chain(self, chain: Chain) -> Condition:
        parts = [self.condition(operand) for operand in chain.operands]
        # Read from the right: a && b || c is a && (b || c). Neighbours with the same sign are joined flat.
        joined = [parts.pop()]
        operators = list(chain.operators)
        last = operators[-1]
        while operators:
            operator = operators.pop()
            if operator != last:
                joined = [_joined(last, joined)]
                last = operator
            joined.insert(0, parts.pop())
        return _joined(last, joined)

    def _unary(self, node: Unary) -> Value | Condition:
        operand = self._either(node.operand)
        if node.operator == "!":
            if isinstance(operand, Value) and operand.type is not Type.BOOL:
                self.fail(
                    node,
                    f"! stands before {_article(operand)}.",
                    hint="It binds tighter than a comparison: write !(a == b), or a != b.",
                )
            return negation(self._as_condition(operand, node.operand))
        if not isinstance(operand, Value) or operand.type is not Type.INT or operand.array:
            self.fail(node, f"{node.operator} stands before what is no number.")
        return _calculated(node.operator, None, operand)

    def _calculation(self, node: Binary) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        for side, value in ((node.left, left), (node.right, right)):
            if value.type is not Type.INT or value.array:
                hint = "Check the parentheses; & and | join numbers, && and || join conditions."
                if node.operator == "+" and value.type is Type.TEXT:
                    hint = 'Join texts with "${a}:${b}".'
                self.fail(side, f"{node.operator} joins numbers, and this is {_article(value)}.", hint=hint)
        return _calculated(node.operator, left, right)

    # Comparisons --------------------------------------------------------------------------------------------

    def _comparison(self, node: Binary) -> Condition:
        operator, left, right = node.operator, node.left, node.right
        if self._is_written(left) and not self._is_written(right) and operator in _FLIPPED:
            operator, left, right = _FLIPPED[operator], right, left
        if operator in _OPPOSITE:
            return negation(self._compared(node, _OPPOSITE[operator], left, right))
        return self._compared(node, operator, left, right)

    def _is_written(self, node: Node) -> bool:
        """Whether a value stands there itself, and not where to find it."""
        if isinstance(node, Name):
            return node.value in CONSTANTS and node.value not in self.language.macros
        if isinstance(node, Unary):
            return node.operator != "!" and self._is_written(node.operand)
        return isinstance(node, Text | Pattern | Regex | Number | Duration | Boolean | Network)

    def _compared(self, node: Binary, operator: str, left: Node, right: Node) -> Condition:
        found = self._either(left)
        if not isinstance(found, Value) or (found.type is Type.BOOL and not found.array):
            return self._compared_boolean(node, operator, self._as_condition(found, left), right)
        if isinstance(right, Duration):
            return self._age(node, operator, found, right)
        if isinstance(right, Items):
            self.fail(right, f"{operator} compares with one value.", hint="Write in [...] for several.")
        if isinstance(right, Pattern | Regex) or (operator == "=~" and isinstance(right, Text)):
            return self._matched(node, operator, found, right)
        if operator == "=~":
            self.fail(right, "=~ needs a pattern.", hint='Write =~ "a*", =~ ~"a*" or =~ r"a.*".')
        other = self.value(right)
        if other.type is not found.type:
            self.fail(
                right,
                f"{_said(found)} is {_article(found)}; this is {_article(other)}.",
                hint=_mismatch(found, other),
            )
        if operator != "==" and found.type is not Type.INT:
            self.fail(node, f"{operator} compares numbers; this is {_article(found)}.", hint="Use == or in.")
        if isinstance(found, Constant) and isinstance(other, Constant):
            return HOLDS if _decide(operator, found.value, other.value) else NEVER
        if operator == "==" and isinstance(other, Constant):
            return is_one(found, other, node)
        return Compared(operator, found, other, start=node.start, end=node.end)

    def _compared_boolean(self, node: Binary, operator: str, condition: Condition, right: Node) -> Condition:
        if operator != "==":
            self.fail(node, f"{operator} does not compare booleans.", hint="Use == or !=.")
        other = self._either(right)
        if isinstance(other, Constant) and other.type is Type.BOOL:
            return condition if other.value else negation(condition)
        if isinstance(other, Value) and other.type is not Type.BOOL:
            self.fail(
                right, f"A boolean is compared with {_article(other)}.", hint="Write == true or == false."
            )
        both = self._as_condition(other, right)
        return any_of([all_of([condition, both]), all_of([negation(condition), negation(both)])])

    def _age(self, node: Binary, operator: str, value: Value, duration: Duration) -> Condition:
        if not isinstance(value, FieldValue) or not value.field.is_time or value.length:
            self.fail(
                duration,
                f"A duration is compared with a time, and {_said(value)} is none.",
                hint="Times end in created_at, change_time or modification_time.",
            )
        if operator == "=~":
            self.fail(node, "=~ does not compare times.", hint="Use <, <=, > or >=.")
        return Age(operator, value, duration.nanoseconds, start=node.start, end=node.end)

    def _matched(
        self, node: Binary, operator: str, value: Value, pattern: Text | Pattern | Regex
    ) -> Condition:
        if operator not in ("==", "=~"):
            self.fail(node, f"{operator} does not compare patterns.", hint="Use =~ or !~.")
        if value.type is not Type.TEXT:
            self.fail(pattern, f"A pattern is compared with texts; {_said(value)} is {_article(value)}.")
        if not isinstance(pattern, Regex) and "${" in pattern.value:
            parts = self.joined(pattern, pattern.value)
            if isinstance(parts, Joined):
                return Compared("=~", value, parts, start=node.start, end=node.end)
        wanted = Pattern(pattern.value, pattern.start, pattern.end) if isinstance(pattern, Text) else pattern
        return written(self, value, (wanted,), node)

    # Membership ---------------------------------------------------------------------------------------------

    def _membership(self, node: Binary) -> Condition:
        every = node.operator == "allin"
        found = self._is_among(node, every=every)
        return negation(found) if node.operator == "not in" else found

    def _is_among(self, node: Binary, *, every: bool) -> Condition:
        right = self.list_meant(node.right)
        if isinstance(node.left, Pattern | Regex | Network):
            if isinstance(right, Items | Network):
                self.fail(node.left, "Two values are compared.", hint="Put a field on the left.")
            return self._compared(node, "==", node.right, node.left)
        value = self.value(node.left)
        if isinstance(right, Items):
            if isinstance(value, Constant):
                self.fail(node.left, "Two values are compared.", hint="Put a field on the left.")
            if isinstance(node.right, Name):
                return self.language.lists.of_macro(self, value, node.right.value, right, node, every=every)
            return written(self, value, right.items, node, every=every)
        if isinstance(right, Network):
            return written(self, value, (right,), node, every=every)
        array = self.value(right)
        if not array.array:
            self.fail(right, f"{_said(array)} is one value, not a list.", hint="Compare it with ==.")
        if array.type is not value.type:
            self.fail(right, f"{_said(array)} holds {_plural(array)}; the left side is {_article(value)}.")
        if isinstance(value, Constant) and isinstance(array, FieldValue):
            return is_one(array, value, node)
        return Contained(value, array, every=every, start=node.start, end=node.end)

    def list_meant(self, node: Node) -> Node:
        """What a name after ``in`` stands for: a macro's list, or itself."""
        depth = 0
        while isinstance(node, Name) and node.value in self.language.macros:
            self.macros.add(node.value)
            depth += 1
            if depth > MAX_MACRO_DEPTH:
                self.fail(node, f"The macro {node.value} leads to itself, or through too many others.")
            node = self.language.macro(node.value)
        return node

    # Names --------------------------------------------------------------------------------------------------

    def _name(self, node: Name) -> Value | Condition:
        name = node.value
        if name in self.language.macros:
            return self._macro(node, name)
        if name in CONSTANTS:
            return Constant(CONSTANTS[name], Type.INT)
        return self.field(node, name)

    def _macro(self, node: Name, name: str) -> Value | Condition:
        if len(self._texts) > MAX_MACRO_DEPTH or any(macro == name for _, macro in self._texts):
            self.fail(node, f"The macro {name} leads to itself, or through too many others.")
        self.macros.add(name)
        tree = self.language.macro(name)
        if isinstance(tree, Items):
            self.fail(node, f"The macro {name} is a list.", hint=f"Write field in {name}.")
        with self.within(name):
            found = self._either(tree)
        if not isinstance(found, Value):
            # Report a match at the place in the rule where the macro is named.
            found = _moved(found, node.start, node.end)
        return found

    def field(self, node: Node, name: str) -> Value:
        """The field of that name."""
        whole, register = name, ""
        if "[" in name:
            before, _, rest = name.partition("[")
            register, _, after = rest.partition("]")
            whole = before + after
            if "[" in whole or not (before == "process.ancestors" or before.endswith(".ancestors")):
                self.fail(node, "Only ancestors have elements.", hint="Write process.ancestors[A].comm.")
        if whole == catalogue.FIM_PREFIX or whole.startswith(catalogue.FIM_PREFIX + "."):
            self.uses_fim = True
            whole = self.fim + whole.removeprefix(catalogue.FIM_PREFIX)
            length, found = self._found(node, whole)
        else:
            length, found = self._found(node, whole)
            prefix = whole.partition(".")[0]
            types = frozenset({found.event}) if found and found.event else catalogue.event_types_of(prefix)
            if types and not self.language.of_host:
                self.events[prefix] = types
        if found is None:
            self.fields.add(whole)
            return AncestorCount(of_target=not whole.startswith("process."))
        self.fields.add(found.name)
        if register:
            self._register(node, register, found)
        return FieldValue(found, register, length)

    def _found(self, node: Node, name: str) -> tuple[bool, Field | None]:
        """Whether its length is meant, and the field; none for the number of ancestors."""
        found = self.language.fields.get(name)
        if found is not None:
            return False, found
        stem, _, last = name.rpartition(".")
        if last == "length":
            measured = self.language.fields.get(stem)
            if measured is not None and (measured.array or measured.type is Type.TEXT):
                return True, measured
            if stem.endswith(".ancestors") and self.language.fields.get(f"{stem}.pid") is not None:
                return False, None
        raise self.error(node, f"There is no field {quoted(name)}.", hint=self._nearest(name))

    def _nearest(self, name: str) -> str:
        """What might be meant: looked for among what can follow the longest known beginning."""
        parts = name.split(".")
        known = 0
        while known < len(parts) and parts[known] in self._children(".".join(parts[:known])):
            known += 1
        prefix = ".".join(parts[:known])
        choices = self._children(prefix)
        if known == len(parts) or not choices:
            listed = ", ".join(choices[:8])
            return f"It goes on: {prefix}. with one of {listed}." if choices else "See the list of fields."
        near = difflib.get_close_matches(parts[known][:40], choices, n=1)
        if near:
            return f"Is {'.'.join([*parts[:known], near[0]])[:80]} meant?"
        if known == 0:
            if len(parts) == 1:
                return "It is no macro and no constant either; texts stand in quotes."
            return "Fields begin with an event, or process, container, cgroup, event."
        return f"{prefix} has {', '.join(choices[:8])}{' …' if len(choices) > 8 else ''}."

    def _children(self, prefix: str) -> tuple[str, ...]:
        return catalogue.children(prefix, of_host=self.language.of_host)

    def _register(self, node: Node, register: str, found: Field) -> None:
        place = self.registers.setdefault(register, found.place)
        if place is not found.place:
            self.fail(node, f"[{register}] stands for ancestors of two processes.", hint="Use two names.")
        if len(self.registers) > MAX_REGISTERS:
            self.fail(node, f"At most {MAX_REGISTERS} names may stand in brackets.")

    def variable(self, node: Node, name: str) -> Value:
        """The variable of that name."""
        declared = self.language.variables.get(name)
        if declared is not None:
            self.variables.add(name)
            return VariableValue(declared)
        if name == "process.pid":
            return self.field(node, name)
        if name == "builtins.uuid4" and self.may_be_fresh:
            return FreshId()
        near = difflib.get_close_matches(name[:80], list(self.language.variables)[:200], n=1)
        hint = f"Is ${{{near[0]}}} meant?" if near else "Variables are made by set actions of rules."
        raise self.error(node, f"There is no variable {quoted(name)}.", hint=hint)

    def joined(self, node: Text | Pattern, text: str) -> Value:
        """A text, with the values of variables where they are named in it."""
        if "${" not in text:
            return Constant(text, Type.TEXT)
        parts = tuple((before, self.variable(node, name) if name else None) for before, name in pieces(text))
        return Joined(parts) if any(value is not None for _, value in parts) else Constant(text, Type.TEXT)


def _joined(operator: str, parts: list[Condition]) -> Condition:
    return all_of(parts) if operator == "&&" else any_of(parts)


def _moved(condition: Condition, start: int, end: int) -> Condition:
    """The same with every leaf at one place."""
    if isinstance(condition, AllOf | AnyOf):
        return replace(condition, parts=tuple(_moved(part, start, end) for part in condition.parts))
    return condition if isinstance(condition, Always) else replace(condition, start=start, end=end)


def _calculated(operator: str, left: Value | None, right: Value) -> Value:
    """A calculation, done at once if it can be."""
    if isinstance(right, Constant) and (left is None or isinstance(left, Constant)):
        first = int(left.value) if isinstance(left, Constant) else None
        return Constant(calculate(operator, first, int(right.value)), Type.INT)
    return Calculation(operator, left, right)


def calculate(operator: str, left: int | None, right: int) -> int:
    """What numbers make."""
    if left is None:
        return -right if operator == "-" else ~right
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "&":
            return left & right
        case "|":
            return left | right
    return left ^ right


def _decide(operator: str, left: str | int, right: str | int) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        return left == right
    return {"==": left == right, "<": left < right, "<=": left <= right, ">": left > right}.get(
        operator, left >= right
    )


# Words for messages -----------------------------------------------------------------------------------------

_NOUNS: Final = {
    Type.TEXT: ("a text", "texts"),
    Type.INT: ("a number", "numbers"),
    Type.BOOL: ("a boolean", "booleans"),
    Type.IP: ("an address", "addresses"),
}


def _article(value: Value) -> str:
    return f"a list of {_NOUNS[value.type][1]}" if value.array else _NOUNS[value.type][0]


def _plural(value: Value) -> str:
    return _NOUNS[value.type][1]


def _said(value: Value) -> str:
    match value:
        case FieldValue(field=field, length=length):
            return f"{field.name}.length" if length else field.name
        case VariableValue(declaration=declaration):
            return f"${{{declaration.whole_name}}}"
    return "the left side"


def _mismatch(left: Value, right: Value) -> str:
    match left.type, right.type:
        case Type.IP, Type.TEXT:
            return "Write addresses without quotes."
        case Type.INT, Type.TEXT:
            return "Write numbers without quotes, or the name of a constant."
        case Type.TEXT, _:
            return 'Put it into quotes: "...".'
    return ""
