"""What an expression means, once its types are known: conditions over values.

``not`` stands only at leaves here, so that a condition can be evaluated, reordered and asked what it needs
without looking at signs. A leaf over several values (an array, all ancestors) holds if it holds for any of
them; its negation holds if it does for none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from sealwire.secl.catalogue import Field, Type
from sealwire.secl.networks import NetworkSet
from sealwire.secl.patterns import TextSet
from sealwire.secl.variables import Declaration

# Values -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldValue:
    """A field of the event.

    Attributes:
        register: Name of the element it is bound to (``process.ancestors[A].comm``); empty if to none.
        length: It is asked for how long it is, or how many it has.
    """

    field: Field
    register: str = ""
    length: bool = False

    @property
    def type(self) -> Type:
        return Type.INT if self.length else self.field.type

    @property
    def array(self) -> bool:
        return (self.field.array and not self.length) or (self.field.iterates and not self.register)


@dataclass(frozen=True, slots=True)
class VariableValue:
    """What a variable holds now."""

    declaration: Declaration

    @property
    def type(self) -> Type:
        return self.declaration.type

    @property
    def array(self) -> bool:
        return self.declaration.array


@dataclass(frozen=True, slots=True)
class AncestorCount:
    """How many ancestors there are."""

    of_target: bool = False
    type: Type = Type.INT
    array: bool = False


@dataclass(frozen=True, slots=True)
class FreshId:
    """A text that never was before; only where a variable is set."""

    type: Type = Type.TEXT
    array: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is written in the expression."""

    value: str | int | bool
    type: Type
    array: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """A text with values in it: ``"/proc/${process.pid}/maps"``."""

    parts: tuple[tuple[str, Value | None], ...]
    type: Type = Type.TEXT
    array: bool = False


@dataclass(frozen=True, slots=True)
class Calculation:
    """Two numbers and ``+ - & | ^`` between; with no left one, ``-`` or ``^`` (all bits turned) before."""

    operator: str
    left: Value | None
    right: Value
    type: Type = Type.INT
    array: bool = False


Value: TypeAlias = (
    FieldValue | VariableValue | AncestorCount | FreshId | Constant | Joined | Calculation
)  # fmt: skip

# Conditions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds if every part does."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds if a part does."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Always:
    """Holds, or does not, whatever happens."""

    holds: bool


@dataclass(frozen=True, slots=True)
class Among:
    """A value is one of a set that is known beforehand.

    Attributes:
        every: All values of an array are, not just one.
    """

    value: Value
    choice: TextSet | frozenset[int] | NetworkSet
    every: bool = False
    negated: bool = False
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """Two values and ``== < <= > >=`` between; ``=~`` with a pattern that has values in it."""

    operator: str
    left: Value
    right: Value
    negated: bool = False
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Contained:
    """A value is among those of an array that is known only then: a field's or a variable's."""

    value: Value
    array: Value
    every: bool = False
    negated: bool = False
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Truth:
    """A boolean is true."""

    value: Value
    negated: bool = False
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Age:
    """How long ago a time was, compared with a duration."""

    operator: str
    value: FieldValue
    nanoseconds: int
    negated: bool = False
    start: int = 0
    end: int = 0


Leaf: TypeAlias = Among | Compared | Contained | Truth | Age
Condition: TypeAlias = AllOf | AnyOf | Always | Among | Compared | Contained | Truth | Age

HOLDS: Final = Always(True)
NEVER: Final = Always(False)


def negation(condition: Condition) -> Condition:
    """The condition that holds exactly where this one does not."""
    match condition:
        case AllOf(parts=parts):
            return AnyOf(tuple(negation(part) for part in parts))
        case AnyOf(parts=parts):
            return AllOf(tuple(negation(part) for part in parts))
        case Always(holds=holds):
            return Always(not holds)
    return replace(condition, negated=not condition.negated)


def all_of(parts: list[Condition]) -> Condition:
    """The conditions joined with ``and``, flat."""
    flat: list[Condition] = []
    for part in parts:
        flat += part.parts if isinstance(part, AllOf) else [part]
    flat = [part for part in flat if part != HOLDS]
    if NEVER in flat:
        return NEVER
    return flat[0] if len(flat) == 1 else AllOf(tuple(flat)) if flat else HOLDS


def any_of(parts: list[Condition]) -> Condition:
    """The conditions joined with ``or``, flat."""
    flat: list[Condition] = []
    for part in parts:
        flat += part.parts if isinstance(part, AnyOf) else [part]
    flat = [part for part in flat if part != NEVER]
    if HOLDS in flat:
        return HOLDS
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat)) if flat else NEVER


def leaves(condition: Condition) -> list[Leaf]:
    """Every leaf, in the order of writing."""
    found: list[Leaf] = []
    waiting: list[Condition] = [condition]
    while waiting:
        each = waiting.pop()
        if isinstance(each, AllOf | AnyOf):
            waiting += reversed(each.parts)
        elif not isinstance(each, Always):
            found.append(each)
    return found


def values_of(leaf: Leaf) -> list[Value]:
    """Every value a leaf looks at, those within others too."""
    waiting: list[Value] = []
    match leaf:
        case Among(value=value) | Truth(value=value) | Age(value=value):
            waiting = [value]
        case Compared(left=left, right=right):
            waiting = [left, right]
        case Contained(value=value, array=array):
            waiting = [value, array]
    return values_within(waiting)


def values_within(waiting: list[Value]) -> list[Value]:
    """The values, and those they are made of."""
    found: list[Value] = []
    while waiting:
        each = waiting.pop()
        found.append(each)
        if isinstance(each, Joined):
            waiting += [value for _, value in each.parts if value is not None]
        elif isinstance(each, Calculation):
            waiting += [value for value in (each.left, each.right) if value is not None]
    return found
