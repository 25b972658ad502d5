"""Lists of values: what is written after ``in`` becomes one set, once per macro and kind of field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from sealwire.secl.catalogue import Type
from sealwire.secl.conditions import (
    Among,
    Compared,
    Condition,
    Constant,
    FieldValue,
    Value,
    any_of,
)
from sealwire.secl.networks import NetworkSet, network, networks
from sealwire.secl.patterns import Glob, PatternError, TextSet, check_glob
from sealwire.secl.problems import quoted
from sealwire.secl.regex import Regex, RegexError
from sealwire.secl.syntax import Items, Name, Network, Node, Pattern, Text
from sealwire.secl.syntax import Regex as RegexNode

if TYPE_CHECKING:
    from sealwire.secl.check import Checker

Choice: TypeAlias = TextSet | frozenset[int] | NetworkSet

MAX_REGEXES: Final = 200  # of one list
MAX_MACRO_DEPTH: Final = 30


class _Made(NamedTuple):
    choice: Choice
    with_variables: tuple[Text | Pattern, ...]
    macros: frozenset[str]


class Lists:
    """Makes sets of values, and keeps those of macros."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Type, str, bool], _Made] = {}

    def of_macro(
        self, checker: Checker, value: Value, name: str, items: Items, node: Node, *, every: bool
    ) -> Condition:
        """A value is among those of a macro."""
        key = (name, value.type, _separator(value), _is_folded(value))
        made = self._made.get(key)
        if made is None:
            before, checker.macros = checker.macros, set()
            with checker.within(name):
                choice, with_variables = _choice(checker, value, items.items)
            made = self._made[key] = _Made(choice, with_variables, frozenset(checker.macros))
            checker.macros = before
        checker.macros |= made.macros
        return _condition(checker, value, (made.choice, made.with_variables), node, every=every)


def written(
    checker: Checker, value: Value, items: tuple[Node, ...], node: Node, *, every: bool = False
) -> Condition:
    """A value is among those that are written."""
    return _condition(checker, value, _choice(checker, value, items), node, every=every)


def is_one(value: Value, constant: Constant, node: Node) -> Condition:
    """A value is the one that is written."""
    choice: Choice
    if constant.type is Type.TEXT:
        text = str(constant.value)
        folded = _is_folded(value)
        choice = TextSet(exact=frozenset({text.lower() if folded else text}), folded=folded)
    elif constant.type in (Type.INT, Type.BOOL):
        choice = frozenset({int(constant.value)})
    else:
        choice = networks([str(constant.value)])
    return Among(value, choice, start=node.start, end=node.end)


def _condition(
    checker: Checker,
    value: Value,
    made: tuple[Choice, tuple[Text | Pattern, ...]],
    node: Node,
    *,
    every: bool,
) -> Condition:
    """The condition for what is known beforehand, and for texts with variables in them."""
    choice, with_variables = made
    fixed = Among(value, choice, every=every, start=node.start, end=node.end)
    if not with_variables:
        return fixed
    if every and value.array:
        checker.fail(node, "allin needs values that hold no variables.", hint="Use in.")
    parts: list[Condition] = [fixed]
    for item in with_variables:
        checker.enter(item)
        joined = checker.joined(item, item.value)
        operator = "=~" if isinstance(item, Pattern) else "=="
        parts.append(Compared(operator, value, joined, start=node.start, end=node.end))
    return any_of(parts)


def _choice(
    checker: Checker, value: Value, items: tuple[Node, ...]
) -> tuple[Choice, tuple[Text | Pattern, ...]]:
    flat = _flat(checker, items)
    match value.type:
        case Type.TEXT:
            return _texts(checker, value, flat)
        case Type.INT:
            return _numbers(checker, flat), ()
        case Type.IP:
            return _networks(checker, flat), ()
    raise checker.error(
        flat[0] if flat else checker.root, "A boolean is not looked for in a list.", hint="Use ==."
    )


def _flat(checker: Checker, items: tuple[Node, ...], *, depth: int = 0) -> list[Node]:
    """The items, with those of macros that are named among them."""
    found: list[Node] = []
    for item in items:
        checker.enter(item)
        meant = checker.list_meant(item)
        if isinstance(meant, Items):
            if depth > MAX_MACRO_DEPTH:
                checker.fail(item, "The macros of this list lead to themselves, or through too many others.")
            found += _flat(checker, meant.items, depth=depth + 1)
        else:
            found.append(meant)
    return found


def _texts(checker: Checker, value: Value, items: list[Node]) -> tuple[TextSet, tuple[Text | Pattern, ...]]:
    exact: set[str] = set()
    globs: list[Glob] = []
    regexes: list[str] = []
    with_variables: list[Text | Pattern] = []
    folded, separator = _is_folded(value), _separator(value)
    for item in items:
        match item:
            case Text() | Pattern() if "${" in item.value:
                with_variables.append(item)
            case Text(value=text):
                exact.add(text.lower() if folded else text)
            case Pattern(value=text):
                glob = Glob(text.lower() if folded else text, separator)
                try:
                    check_glob(glob)
                except PatternError as error:
                    checker.fail(item, str(error), hint=error.hint)
                globs.append(glob)
            case RegexNode(value=text):
                try:
                    Regex(text)
                except RegexError as error:
                    checker.fail(item, str(error), hint="Regular expressions are as RE2 has them.")
                regexes.append(text)
            case _:
                checker.fail(item, "Texts are wanted here.", hint='Put it into quotes: "...".')
    if len(regexes) > MAX_REGEXES:
        checker.fail(items[0], f"More than {MAX_REGEXES} regular expressions are in one list.")
    unique = tuple(dict.fromkeys(globs))
    return TextSet(frozenset(exact), unique, tuple(dict.fromkeys(regexes)), folded), tuple(with_variables)


def _numbers(checker: Checker, items: list[Node]) -> frozenset[int]:
    found: set[int] = set()
    for item in items:
        if isinstance(item, Name) and not checker.is_constant(item.value):
            checker.fail(item, f"There is no constant {quoted(item.value)}.")
        if isinstance(item, Text | Pattern | RegexNode | Network):
            checker.fail(item, "Numbers are wanted here.", hint="Write them without quotes.")
        number = checker.value(item)
        if not isinstance(number, Constant) or number.type is not Type.INT:
            checker.fail(item, "Numbers are wanted here.")
        found.add(int(number.value))
    return frozenset(found)


def _networks(checker: Checker, items: list[Node]) -> NetworkSet:
    found: list[str] = []
    for item in items:
        if not isinstance(item, Network):
            checker.fail(item, "Addresses or networks are wanted here.", hint="Write them without quotes.")
        check_network(checker, item)
        found.append(item.value)
    return networks(found)


def check_network(checker: Checker, node: Network) -> None:
    """Refuse what only looks like an address."""
    try:
        network(node.value)
    except ValueError:
        checker.fail(node, f"{node.value} is no address and no network.")


def _field_of(value: Value) -> FieldValue | None:
    return value if isinstance(value, FieldValue) else None


def _separator(value: Value) -> str:
    found = _field_of(value)
    return found.field.separator if found is not None else ""


def _is_folded(value: Value) -> bool:
    found = _field_of(value)
    return found is not None and found.field.folded
