"""Variables: what actions remember and expressions read, each within its scope and for its time.

A variable of scope ``process`` lives with the process (an inherited one is seen by its descendants), one
of ``container`` or ``cgroup`` with whatever has that id, a global one for ever. A list keeps each element for
its own time and forgets the oldest beyond its size. All are bounded: at most ``MAX_SCOPES`` containers and
control groups are remembered, and no text longer than ``MAX_TEXT_CHARS`` is.

Time is the ``now_ns`` of the store, which whoever evaluates sets before; it must not go back.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sealwire.secl.catalogue import Type
from sealwire.secl.event import Event, Process, Value

MAX_SCOPES: Final = 10_000
MAX_TEXT_CHARS: Final = 8_192
DEFAULT_SIZE: Final = 100  # elements of a list whose action does not say
MAX_SIZE: Final = 100_000

_FOREVER: Final = 1 << 63
_EMPTY: Final[dict[Type, Value]] = {Type.TEXT: "", Type.INT: 0, Type.BOOL: False, Type.IP: ""}


class Scope(enum.Enum):
    """To what a variable belongs."""

    GLOBAL = ""
    PROCESS = "process"
    CONTAINER = "container"
    CGROUP = "cgroup"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A variable as the actions that set it say it is.

    Attributes:
        default: What it holds before it is set, and once its time is over.
        ttl_ns: How long a value is kept; 0 is for ever.
        size: At most how many elements a list has.
        private: It is not shown in reports.
        inherited: Descendants of a process see its value until they are given their own.
    """

    name: str
    scope: Scope
    type: Type
    array: bool
    default: Value
    ttl_ns: int = 0
    size: int = DEFAULT_SIZE
    private: bool = False
    inherited: bool = False

    @property
    def whole_name(self) -> str:
        """As it is written between ``${`` and ``}``."""
        return f"{self.scope.value}.{self.name}" if self.scope is not Scope.GLOBAL else self.name

    @property
    def slot(self) -> str:
        """Under which name values are kept: another type is another variable, so rules can change it."""
        return f"{self.name} {self.type.value}{'[]' if self.array else ''}"


def empty(type_: Type, *, array: bool) -> Value:
    """What a variable of a type holds that was never set."""
    return () if array else _EMPTY[type_]


@dataclass(slots=True)
class _Kept:
    """A value and when its time is over; for a list, its elements with their ends."""

    value: Any
    ends_ns: int


class VariableStore:
    """The values of all variables. Survives a change of rules; belongs to one thread.

    Attributes:
        now_ns: The time that counts for what is still kept.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        self._global: dict[str, _Kept] = {}
        self._scoped: OrderedDict[tuple[Scope, str], dict[str, _Kept]] = OrderedDict()

    # Reading ------------------------------------------------------------------------------------------------

    def reader(self, declaration: Declaration) -> Callable[[Event], Any]:
        """A function that says what the variable holds for an event; a tuple if it is a list."""
        find, default, is_list = self._finder(declaration), declaration.default, declaration.array

        def read(event: Event) -> Any:
            kept = find(event)
            if kept is None:
                return default
            if is_list:
                now_ns = self.now_ns
                return tuple(each for each, ends_ns in kept.value.items() if ends_ns > now_ns)
            return kept.value if kept.ends_ns > self.now_ns else default

        return read

    def contains(self, declaration: Declaration) -> Callable[[Event, Any], bool]:
        """A function that says whether a list holds a value; faster than to read it all."""
        find, default = self._finder(declaration), declaration.default
        defaults = default if isinstance(default, tuple) else (default,)

        def holds(event: Event, value: Any) -> bool:
            kept = find(event)
            if kept is None:
                return value in defaults
            ends_ns = kept.value.get(value)
            return ends_ns is not None and ends_ns > self.now_ns

        return holds

    def _finder(self, declaration: Declaration) -> Callable[[Event], _Kept | None]:
        name = declaration.slot
        match declaration.scope:
            case Scope.GLOBAL:
                return lambda event: self._global.get(name)
            case Scope.PROCESS:
                return _inherited(name) if declaration.inherited else _own(name)
        scope, key = declaration.scope, f"{declaration.scope.value}.id"

        def find(event: Event) -> _Kept | None:
            table = self._scoped.get((scope, event.process.values[key]))
            return table.get(name) if table is not None else None

        return find

    # Writing ------------------------------------------------------------------------------------------------

    def put(self, declaration: Declaration, process: Process, value: Any, *, append: bool) -> bool:
        """Set a variable for a process, or add to its list; whether there was something to set it on.

        Args:
            process: Whose process, container or control group is meant; of no matter for a global one.
            value: Of the declared type, or a tuple of such for a list.
        """
        table = self._table(declaration, process)
        if table is None:
            return False
        values = value if isinstance(value, tuple) else (value,)
        if any(isinstance(each, str) and len(each) > MAX_TEXT_CHARS for each in values):
            return False
        ends_ns = self.now_ns + declaration.ttl_ns if declaration.ttl_ns else _FOREVER
        if not declaration.array:
            table[declaration.slot] = _Kept(value, ends_ns)
            return True
        kept = table.get(declaration.slot)
        if kept is None or not append:
            kept = table[declaration.slot] = _Kept({}, _FOREVER)
        elements: dict[Any, int] = kept.value
        for each in values:
            elements.pop(each, None)  # to the end of the row: the oldest go first
            elements[each] = ends_ns
        self._shorten(elements, declaration.size)
        return True

    def _shorten(self, elements: dict[Any, int], size: int) -> None:
        while elements:
            oldest = next(iter(elements))
            if len(elements) <= size and elements[oldest] > self.now_ns:
                return
            del elements[oldest]

    def _table(self, declaration: Declaration, process: Process) -> dict[str, _Kept] | None:
        match declaration.scope:
            case Scope.GLOBAL:
                return self._global
            case Scope.PROCESS:
                if process.variables is None:
                    process.variables = {}
                return process.variables
        identity = process.values[f"{declaration.scope.value}.id"]
        if not identity:
            return None
        key = (declaration.scope, identity)
        table = self._scoped.get(key)
        if table is None:
            table = self._scoped[key] = {}
            if len(self._scoped) > MAX_SCOPES:
                self._scoped.popitem(last=False)
        else:
            self._scoped.move_to_end(key)
        return table

    # Housekeeping -------------------------------------------------------------------------------------------

    def forget(self, scope: Scope, identity: str) -> None:
        """Let go of what a container or control group had that is gone."""
        self._scoped.pop((scope, identity), None)

    def shown(self, declarations: list[Declaration], event: Event) -> Iterator[tuple[str, Value]]:
        """What reports may show of variables for an event: those that are set and not private."""
        for declaration in declarations:
            if declaration.private or self._finder(declaration)(event) is None:
                continue
            value = self.reader(declaration)(event)
            if value != declaration.default:
                yield declaration.whole_name, value


def _own(name: str) -> Callable[[Event], _Kept | None]:
    def find(event: Event) -> _Kept | None:
        variables = event.process.variables
        return variables.get(name) if variables is not None else None

    return find


def _inherited(name: str) -> Callable[[Event], _Kept | None]:
    def find(event: Event) -> _Kept | None:
        process: Process | None = event.process
        left = 1_000
        while process is not None and left:
            variables = process.variables
            if variables is not None and name in variables:
                return variables[name]  # type: ignore[no-any-return]
            process, left = process.parent, left - 1
        return None

    return find
