"""Conditions as functions of an event.

What rules ask most (one field, one set) becomes one function with nothing in between. The parts of an ``and``
or ``or`` are asked in the order of what they cost, which changes no answer since none has an effect. Names in
brackets (``ancestors[A]``) are bound by trying every ancestor; a leaf whose name is not bound does not hold.
"""

from __future__ import annotations

import operator as operators
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from sealwire.secl.catalogue import Place, Type
from sealwire.secl.check import calculate
from sealwire.secl.conditions import (
    Age,
    AllOf,
    Always,
    Among,
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
    Leaf,
    Truth,
    Value,
    VariableValue,
    all_of,
    leaves,
    values_of,
)
from sealwire.secl.event import NOBODY, Event, Process
from sealwire.secl.networks import NetworkSet, address
from sealwire.secl.patterns import MAX_STARS, Glob, TextSet
from sealwire.secl.variables import VariableStore

Test: TypeAlias = Callable[[Event], bool]
Get: TypeAlias = Callable[[Event], Any]

MAX_PAIRED: Final = 100  # ancestors tried for each of two names in brackets

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operators.eq,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


class Compiler:
    """Makes functions of conditions.

    Args:
        store: Where variables are.
        new_id: Makes a text that never was before.
    """

    def __init__(self, store: VariableStore, new_id: Callable[[], str]) -> None:
        self.store = store
        self.new_id = new_id
        self._bound: dict[str, list[Process | None]] = {}

    # Rules --------------------------------------------------------------------------------------------------

    def rule(self, condition: Condition, registers: Iterable[tuple[str, Place]] = ()) -> Test:
        """The condition, with every way of binding the names in brackets tried."""
        names = tuple(registers)
        if not names:
            return self.condition(condition)
        for name, _ in names:
            self._bound[name] = [None]
        parts = condition.parts if isinstance(condition, AllOf) else (condition,)
        first = self.condition(all_of([part for part in parts if not _uses_register(part)]))
        rest = self.condition(all_of([part for part in parts if _uses_register(part)]))
        bound = tuple((self._bound[name], place) for name, place in names)
        limit = MAX_PAIRED if len(bound) > 1 else 1_000

        def bind(event: Event, at: int) -> bool:
            cell, place = bound[at]
            last = at + 1 == len(bound)
            cell[0] = None
            if rest(event) if last else bind(event, at + 1):
                return True
            process = (event.process if place is Place.ANCESTORS else event.target).parent
            left = limit
            while process is not None and left:
                cell[0] = process
                if rest(event) if last else bind(event, at + 1):
                    return True
                process = process.parent
                left -= 1
            cell[0] = None
            return False

        def test(event: Event) -> bool:
            return first(event) and bind(event, 0)

        return test

    # Conditions ---------------------------------------------------------------------------------------------

    def condition(self, condition: Condition) -> Test:
        """The condition as a function."""
        match condition:
            case Always(holds=holds):
                return (lambda event: True) if holds else (lambda event: False)
            case AllOf(parts=parts):
                return _all([self.condition(part) for part in sorted(parts, key=cost)])
            case AnyOf(parts=parts):
                return _any([self.condition(part) for part in sorted(parts, key=cost)])
            case Among():
                return self._among(condition)
            case Contained():
                return self._contained(condition)
            case Age():
                return self._age(condition)
            case Compared():
                return self._compared(condition)
            case Truth(value=value, negated=negated):
                get = self.value(value)
                unbound = self._unbound(condition)
                if unbound is not None:
                    return lambda event: not unbound(event) and bool(get(event)) is not negated
                return (lambda event: not get(event)) if negated else (lambda event: bool(get(event)))

    def _among(self, leaf: Among) -> Test:
        test = _test(leaf.choice)
        folded = isinstance(leaf.choice, TextSet) and leaf.choice.folded
        if folded:
            plain = test

            def test(text: str) -> bool:
                return plain(text.lower())

        value = leaf.value
        if leaf.every and value.array:
            values = self.values(value)
            if leaf.negated:
                return self._guarded(leaf, lambda event: not all(test(each) for each in values(event)))
            return self._guarded(leaf, lambda event: all(test(each) for each in values(event)))
        if isinstance(value, FieldValue) and not value.length and not folded:
            if not value.array and not value.register:
                quick = _quick(value, leaf.choice, test, negated=leaf.negated)
                if quick is not None:
                    return quick
            if value.register and not value.field.array:
                return _of_bound(self._cell(value.register), value.field.key, test, negated=leaf.negated)
            if value.field.iterates and not value.register and not value.field.array:
                found = _any_ancestor(value, test)
                return _not(found) if leaf.negated else found
        return self._tested(leaf, value, test, negated=leaf.negated)

    def _tested(self, leaf: Leaf, value: Value, test: Callable[[Any], bool], *, negated: bool) -> Test:
        """Whether a value, or any of several, passes a test."""
        if value.array:
            values = self.values(value)

            def any_passes(event: Event) -> bool:
                for each in values(event):
                    if test(each):
                        return not negated
                return negated

            return self._guarded(leaf, any_passes)
        get = self.value(value)
        if negated:
            return self._guarded(leaf, lambda event: not test(get(event)))
        return self._guarded(leaf, lambda event: test(get(event)))

    def _contained(self, leaf: Contained) -> Test:
        negated, get = leaf.negated, self.value(leaf.value)
        if isinstance(leaf.array, VariableValue):
            contains = self.store.contains(leaf.array.declaration)
        else:
            inner = self.values(leaf.array)

            def contains(event: Event, value: Any) -> bool:
                return value in inner(event)

        if not leaf.value.array:
            return self._guarded(leaf, lambda event: contains(event, get(event)) is not negated)
        values, every = self.values(leaf.value), leaf.every

        def several(event: Event) -> bool:
            found = (contains(event, each) for each in values(event))
            return (all(found) if every else any(found)) is not negated

        return self._guarded(leaf, several)

    def _age(self, leaf: Age) -> Test:
        compare, limit = _COMPARE[leaf.operator], leaf.nanoseconds
        values, negated = self.values(leaf.value), leaf.negated
        if leaf.value.array:

            def several(event: Event) -> bool:
                now_ns = event.timestamp_ns
                return any(compare(now_ns - each, limit) for each in values(event)) is not negated

            return self._guarded(leaf, several)
        get = self.value(leaf.value)
        return self._guarded(
            leaf, lambda event: compare(event.timestamp_ns - get(event), limit) is not negated
        )

    def _compared(self, leaf: Compared) -> Test:
        left, right, negated = leaf.left, leaf.right, leaf.negated
        compare: Callable[[Any, Any], bool]
        folded = _folded(left) or _folded(right)
        if leaf.operator == "=~":
            compare = _pattern(left, folded=folded)
        elif left.type is Type.IP:
            compare = _same_address
        elif folded:
            compare = _same_but_case
        else:
            compare = _COMPARE[leaf.operator]
        if not left.array and not right.array:
            first = self.value(left)
            if isinstance(right, Constant):
                constant = right.value
                if negated:
                    return self._guarded(leaf, lambda event: not compare(first(event), constant))
                return self._guarded(leaf, lambda event: compare(first(event), constant))
            second = self.value(right)
            if negated:
                return self._guarded(leaf, lambda event: not compare(first(event), second(event)))
            return self._guarded(leaf, lambda event: compare(first(event), second(event)))
        lefts, rights = self.values(left), self.values(right)

        def several(event: Event) -> bool:
            others = tuple(rights(event))
            found = any(compare(each, other) for each in lefts(event) for other in others)
            return found is not negated

        return self._guarded(leaf, several)

    def _guarded(self, leaf: Leaf, test: Test) -> Test:
        """The same, not holding while an element it asks of is not bound."""
        unbound = self._unbound(leaf)
        if unbound is None:
            return test
        return lambda event: not unbound(event) and test(event)

    def _unbound(self, leaf: Leaf) -> Test | None:
        """Whether a name in brackets is not bound yet; none if the leaf has no such name."""
        cells = tuple(
            self._cell(value.register)
            for value in values_of(leaf)
            if isinstance(value, FieldValue) and value.register
        )
        if len(cells) == 1:
            (only,) = cells
            return lambda event: only[0] is None
        return (lambda event: any(cell[0] is None for cell in cells)) if cells else None

    def _cell(self, register: str) -> list[Process | None]:
        return self._bound.setdefault(register, [None])

    # Values -------------------------------------------------------------------------------------------------

    def value(self, value: Value) -> Get:
        """The value as a function; a tuple if there are several."""
        match value:
            case Constant(value=constant):
                return lambda event: constant
            case FieldValue(length=True):
                whole = self.value(FieldValue(value.field, value.register))
                return lambda event: len(whole(event))
            case FieldValue():
                return self._field(value)
            case VariableValue(declaration=declaration):
                return self.store.reader(declaration)
            case AncestorCount(of_target=of_target):
                if of_target:
                    return lambda event: sum(1 for _ in event.target.ancestors())
                return lambda event: sum(1 for _ in event.process.ancestors())
            case FreshId():
                return lambda event: self.new_id()
            case Joined(parts=parts):
                pairs = tuple((text, self.value(each) if each is not None else None) for text, each in parts)
                return lambda event: "".join(
                    text + (_text_of(get(event)) if get is not None else "") for text, get in pairs
                )
            case Calculation(operator=operator, left=left, right=right):
                return self._calculation(operator, left, right)

    def _calculation(self, operator: str, left: Value | None, right: Value) -> Get:
        second = self.value(right)
        if left is None:
            return lambda event: calculate(operator, None, second(event))
        first = self.value(left)
        if operator == "&":
            if isinstance(right, Constant):
                mask = int(right.value)
                return lambda event: first(event) & mask
            return lambda event: first(event) & second(event)
        return lambda event: calculate(operator, first(event), second(event))

    def _field(self, value: FieldValue) -> Get:
        key = value.field.key
        if value.register:
            cell = self._cell(value.register)
            return lambda event: (cell[0] or NOBODY).values[key]
        if value.field.iterates:
            several = self.values(value)
            return lambda event: tuple(several(event))
        match value.field.place:
            case Place.PROCESS:
                return lambda event: event.process.values[key]
            case Place.PARENT:
                return lambda event: (event.process.parent or NOBODY).values[key]
            case Place.TARGET:
                return lambda event: event.target.values[key]
            case Place.TARGET_PARENT:
                return lambda event: (event.target.parent or NOBODY).values[key]
        return lambda event: event.values[key]

    def values(self, value: Value) -> Callable[[Event], Iterable[Any]]:
        """The values as a function: of an array all, of every ancestor, or the only one."""
        if isinstance(value, FieldValue) and value.field.iterates and not value.register:
            return _of_ancestors(value)
        get = self.value(value)
        if value.array:
            return get
        return lambda event: (get(event),)


# Parts joined -----------------------------------------------------------------------------------------------


def _all(tests: list[Test]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda event: first(event) and second(event)
    if len(tests) == 3:
        first, second, third = tests
        return lambda event: first(event) and second(event) and third(event)
    if len(tests) == 4:
        first, second, third, fourth = tests
        return lambda event: first(event) and second(event) and third(event) and fourth(event)
    parts = tuple(tests)

    def every(event: Event) -> bool:
        for part in parts:  # noqa: SIM110 - a loop takes two thirds of the time of all()
            if not part(event):
                return False
        return True

    return every


def _any(tests: list[Test]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda event: first(event) or second(event)
    if len(tests) == 3:
        first, second, third = tests
        return lambda event: first(event) or second(event) or third(event)
    parts = tuple(tests)

    def some(event: Event) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(event):
                return True
        return False

    return some


def _not(test: Test) -> Test:
    return lambda event: not test(event)


def cost(condition: Condition) -> int:
    """Roughly what it takes to evaluate, in looks into a dictionary."""
    if isinstance(condition, AllOf | AnyOf):
        return 1 + sum(cost(part) for part in condition.parts)
    if isinstance(condition, Always):
        return 0
    total = 1
    if isinstance(condition, Among) and isinstance(condition.choice, TextSet):
        total += len(condition.choice.globs) + 40 * len(condition.choice.regexes)
    for value in values_of(condition):
        match value:
            case FieldValue(field=field, register=register):
                total += 30 if field.iterates or register else 3 if field.array else 1
            case VariableValue():
                total += 8
            case AncestorCount():
                total += 20
    return total


def _uses_register(condition: Condition) -> bool:
    return any(
        isinstance(value, FieldValue) and value.register
        for leaf in leaves(condition)
        for value in values_of(leaf)
    )


# Shapes that are asked often --------------------------------------------------------------------------------


@lru_cache(maxsize=4_096)
def _text_test(choice: TextSet) -> Callable[[str], bool]:
    return choice.test()


def _test(choice: TextSet | frozenset[int] | NetworkSet) -> Callable[[Any], bool]:
    if isinstance(choice, TextSet):
        return _text_test(choice)
    return choice.test() if isinstance(choice, NetworkSet) else choice.__contains__


def _quick(value: FieldValue, choice: object, test: Callable[[Any], bool], *, negated: bool) -> Test | None:
    """One field of the event or its process, and one set: nothing in between."""
    key = value.field.key
    members: frozenset[Any] | None = None
    if isinstance(choice, frozenset):
        members = choice
    elif isinstance(choice, TextSet) and choice.is_exact:
        members = choice.exact
    only = next(iter(members)) if members is not None and len(members) == 1 else None
    if value.field.place is Place.PROCESS:
        if only is not None:
            if negated:
                return lambda event: event.process.values[key] != only
            return lambda event: event.process.values[key] == only
        if members is not None:
            if negated:
                return lambda event: event.process.values[key] not in members
            return lambda event: event.process.values[key] in members
        if negated:
            return lambda event: not test(event.process.values[key])
        return lambda event: test(event.process.values[key])
    if value.field.place in (Place.EVENT, Place.HOST):
        if only is not None:
            if negated:
                return lambda event: event.values[key] != only
            return lambda event: event.values[key] == only
        if members is not None:
            if negated:
                return lambda event: event.values[key] not in members
            return lambda event: event.values[key] in members
        if negated:
            return lambda event: not test(event.values[key])
        return lambda event: test(event.values[key])
    return None


def _of_bound(cell: list[Process | None], key: str, test: Callable[[Any], bool], *, negated: bool) -> Test:
    def holds(event: Event) -> bool:
        process = cell[0]
        return process is not None and test(process.values[key]) is not negated

    return holds


def _any_ancestor(value: FieldValue, test: Callable[[Any], bool]) -> Test:
    key, of_target = value.field.key, value.field.place is Place.TARGET_ANCESTORS

    def found(event: Event) -> bool:
        process = (event.target if of_target else event.process).parent
        left = 1_000
        while process is not None and left:
            if test(process.values[key]):
                return True
            process = process.parent
            left -= 1
        return False

    return found


def _of_ancestors(value: FieldValue) -> Callable[[Event], Iterable[Any]]:
    field, length = value.field, value.length
    key, of_target, array = field.key, field.place is Place.TARGET_ANCESTORS, field.array

    def each(event: Event) -> Iterable[Any]:
        for process in (event.target if of_target else event.process).ancestors():
            found = process.values[key]
            if length:
                yield len(found)
            elif array:
                yield from found
            else:
                yield found

    return each


# Comparisons ------------------------------------------------------------------------------------------------


def _folded(value: Value) -> bool:
    return isinstance(value, FieldValue) and value.field.folded and not value.length


def _same_but_case(left: Any, right: Any) -> bool:
    return bool(left.lower() == right.lower())


def _same_address(left: Any, right: Any) -> bool:
    first = address(left)
    return first.version != 0 and first == address(right)


@lru_cache(maxsize=1_024)
def _kept_glob_test(text: str, separator: str) -> Callable[[str], bool]:
    return TextSet(globs=(Glob(text, separator),)).test()


def _glob_test(text: str, separator: str) -> Callable[[str], bool]:
    if text.count("*") > MAX_STARS:
        return lambda text: False
    if len(text) > 512:
        return TextSet(globs=(Glob(text, separator),)).test()
    return _kept_glob_test(text, separator)


def _pattern(value: Value, *, folded: bool) -> Callable[[Any, Any], bool]:
    """A text against a pattern that is known only then."""
    separator = value.field.separator if isinstance(value, FieldValue) else ""
    if folded:
        return lambda text, pattern: _glob_test(pattern.lower(), separator)(text.lower())
    return lambda text, pattern: _glob_test(pattern, separator)(text)


def _text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(_text_of(each) for each in value)
    return str(value)
