"""A set of rules that events are evaluated against.

Rules lie in one bucket per type of event. Within it each rule that needs one of some literal values is found
through an index by those values; what the index says of a value is kept, so that a path seen before costs one
look. Only the rules that are left are evaluated, in the order of their definition, so that a later rule reads
what an earlier one has set. A set is never changed; a new one takes its place, with the same variables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sealwire.secl.catalogue import FIELDS, Place
from sealwire.secl.compiler import Compiler, Test
from sealwire.secl.conditions import NEVER, Among, FieldValue, leaves
from sealwire.secl.definitions import ActionDefinition
from sealwire.secl.event import Event, Process
from sealwire.secl.needs import Needed, Values, about, union
from sealwire.secl.patterns import Glob, TextSet, compiled
from sealwire.secl.rules import CompiledRule, CompiledVariant, Held, explain
from sealwire.secl.variables import VariableStore

MAX_REMEMBERED: Final = 16_384  # values per field of which it is kept which rules they may match
MAX_REMEMBERED_CHARS: Final = 512  # longer ones are looked up anew, so that nobody fills the memory with them


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that holds for an event.

    Attributes:
        actions: What is to be done besides setting variables, filters already asked.
        limited: It may not be reported: too many were.
    """

    rule: CompiledRule
    event: Event
    actions: tuple[ActionDefinition, ...]
    limited: bool

    @property
    def reported(self) -> bool:
        """Whether it is to be reported."""
        return not self.limited and not self.rule.definition.silent


class _Indexed:
    """The rules of one bucket that need a value of one field."""

    __slots__ = ("_below", "_exact", "_get", "_is_path", "_remembered", "_several", "_tests")

    def __init__(self, value: FieldValue, compiler: Compiler) -> None:
        self._get = compiler.value(value)
        self._several = value.array
        self._is_path = value.field.separator == "/"
        self._exact: dict[Any, list[int]] = {}
        self._tests: list[tuple[int, Callable[[Any], bool]]] = []
        # For paths: tests of patterns that fit only below one directory at the top.
        self._below: dict[str, list[tuple[int, Callable[[Any], bool]]]] = {}
        self._remembered: dict[Any, tuple[int, ...]] = {}

    def add(self, position: int, values: Values) -> None:
        if isinstance(values, frozenset):
            for each in values:
                self._exact.setdefault(each, []).append(position)
            return
        if not isinstance(values, TextSet):
            raise TypeError(f"{type(values).__name__} is not indexed")
        if values.folded:
            test = values.test()
            self._tests.append((position, lambda text: test(text.lower())))
            return
        for text in values.exact:
            self._exact.setdefault(text, []).append(position)
        rest: list[Glob] = []
        tops: dict[str, list[Glob]] = {}
        for glob in values.globs:
            parts = glob.prefix.split("/", 2)
            if self._is_path and len(parts) == 3 and not parts[0]:
                tops.setdefault(parts[1], []).append(glob)
            else:
                rest.append(glob)
        for top, globs in tops.items():
            self._below.setdefault(top, []).append((position, TextSet(globs=tuple(globs)).test()))
        if rest or values.regexes:
            self._tests.append((position, TextSet(globs=tuple(rest), regexes=values.regexes).test()))

    def find(self, event: Event) -> tuple[int, ...]:
        value = self._get(event)
        found = self._remembered.get(value)
        if found is None:
            found = self._look(value)
        return found

    def _look(self, value: Any) -> tuple[int, ...]:
        hits: set[int] = set()
        for each in value if self._several else (value,):
            hits.update(self._exact.get(each, ()))
            hits.update(position for position, test in self._tests if position not in hits and test(each))
            if self._below:
                parts = each.split("/", 2)
                below = self._below.get(parts[1], ()) if len(parts) == 3 and not parts[0] else ()
                hits.update(position for position, test in below if position not in hits and test(each))
        found = tuple(hits)
        if _size(value) <= MAX_REMEMBERED_CHARS:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[value] = found
        return found


def _size(value: Any) -> int:
    if isinstance(value, tuple):
        return sum(len(each) if isinstance(each, str) else 8 for each in value)
    return len(value) if isinstance(value, str) else 8


class _Bucket:
    """The rules of one type of event."""

    __slots__ = ("always", "indexed", "rules", "tests", "variants")

    def __init__(self, pairs: Sequence[tuple[CompiledRule, CompiledVariant]], compiler: Compiler) -> None:
        self.rules = tuple(rule for rule, _ in pairs)
        self.variants = tuple(variant for _, variant in pairs)
        self.tests: tuple[Test, ...] = tuple(variant.test for variant in self.variants)
        always: list[int] = []
        indexed: dict[tuple[Place, str], _Indexed] = {}  # exec.comm and process.comm are one
        for position, variant in enumerate(self.variants):
            if variant.condition == NEVER:
                continue
            if variant.cover is None:
                always.append(position)
                continue
            for value, values in variant.cover:
                where = (value.field.place, value.field.key)
                if where not in indexed:
                    indexed[where] = _Indexed(value, compiler)
                indexed[where].add(position, values)
        self.always = tuple(always)
        self.indexed = tuple(each.find for each in indexed.values())

    def candidates(self, event: Event) -> Sequence[int]:
        """Positions of rules that may hold, in order."""
        found: list[int] = []
        for find in self.indexed:
            hits = find(event)
            if hits:
                found += hits
        if not found:
            return self.always
        found += self.always
        return sorted(set(found)) if len(found) > 1 else found


class RuleSet:
    """Rules that are in force together.

    Args:
        rules: In the order of their definition; higher priorities are moved to the front.
        store: The variables, which outlive the set.
    """

    def __init__(self, rules: Sequence[CompiledRule], store: VariableStore) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: -rule.definition.priority))
        self.store = store
        compiler = Compiler(store, str)
        pairs: dict[str, list[tuple[CompiledRule, CompiledVariant]]] = {}
        for rule in self.rules:
            for variant in rule.variants:
                pairs.setdefault(variant.event_type, []).append((rule, variant))
        self._buckets = {name: _Bucket(found, compiler) for name, found in pairs.items()}

    # Evaluation ---------------------------------------------------------------------------------------------

    def evaluate(self, event: Event, *, now_ns: int) -> Sequence[Match]:
        """The rules that hold for an event; their variables are set.

        Args:
            now_ns: A clock that never goes back, for limits and for what is kept for a time.
        """
        bucket = self._buckets.get(event.type)
        if bucket is None:
            return ()
        self.store.now_ns = now_ns
        matches: list[Match] = []
        tests = bucket.tests
        for position in bucket.candidates(event):
            if tests[position](event):
                matches.append(self._matched(bucket.rules[position], event, now_ns))
        return matches

    def _matched(self, rule: CompiledRule, event: Event, now_ns: int) -> Match:
        due: list[ActionDefinition] = []
        for action in rule.actions:
            if action.holds is not None and not action.holds(event):
                continue
            if action.run is not None:
                action.run(event)
            else:
                due.append(action.definition)
        silent = rule.definition.silent
        limited = not silent and not rule.limiter.allows(rule.token(event), now_ns)
        return Match(rule, event, tuple(due), limited)

    @property
    def given_up(self) -> int:
        """How often a regular expression of these rules gave a text up as too much work, ever."""
        patterns = {
            (pattern, leaf.choice.folded)
            for rule in self.rules
            for variant in rule.variants
            for leaf in leaves(variant.condition)
            if isinstance(leaf, Among) and isinstance(leaf.choice, TextSet)
            for pattern in leaf.choice.regexes
        }
        return sum(compiled(pattern, folded=folded).given_up for pattern, folded in patterns)

    def explain(self, match: Match) -> tuple[Held, ...]:
        """Which parts of a rule's expression held, and with what values."""
        return explain(match.rule, match.event, self.store)

    # For filters in the kernel ------------------------------------------------------------------------------

    @property
    def event_types(self) -> frozenset[str]:
        """The types of event any rule is for."""
        return frozenset(self._buckets)

    def rules_for(self, event_type: str) -> tuple[CompiledRule, ...]:
        """The rules for one type of event."""
        bucket = self._buckets.get(event_type)
        return bucket.rules if bucket is not None else ()

    def needed_by(self, event_type: str) -> tuple[tuple[CompiledRule, Needed], ...]:
        """Each rule for a type of event that can hold at all, with the values its fields must have."""
        bucket = self._buckets.get(event_type)
        if bucket is None:
            return ()
        return tuple(
            (rule, variant.needed)
            for rule, variant in zip(bucket.rules, bucket.variants, strict=True)
            if variant.needed is not None
        )

    def approvers(self, event_type: str) -> Needed:
        """Fields for which every rule needs one of some values: events without can be left out unseen."""
        return union([found for _, found in self.needed_by(event_type)])

    def can_match(self, event_type: str, values: Mapping[str, Any]) -> bool:
        """Whether any rule could hold for an event of which only these fields are known.

        Args:
            values: By whole field names, of the event, its process, that one's parent, or the target. Fields
                of ancestors are not known by this.
        """
        known = frozenset(name for name in values if name in FIELDS and not FIELDS[name].iterates)
        return any(test(values) for test in self._possible(event_type, known))

    def _possible(self, event_type: str, names: frozenset[str]) -> list[Callable[[Mapping[str, Any]], bool]]:
        bucket = self._buckets.get(event_type)
        if bucket is None:
            return []
        compiler = Compiler(self.store, str)
        return [
            _of_values(compiler.condition(about(variant.condition, names)), event_type)
            for variant in bucket.variants
        ]

    def discarder(self, event_type: str, field: str) -> Callable[[Any], bool]:
        """A function that says of a value of one field that no rule can hold with it, whatever else is so."""
        tests = self._possible(event_type, frozenset({field}))
        return lambda value: not any(test({field: value}) for test in tests)

    def fields_of(self, event_type: str) -> frozenset[str]:
        """Every field that rules for a type of event ask for."""
        return frozenset().union(*(rule.fields for rule in self.rules_for(event_type)))


def _of_values(test: Test, event_type: str) -> Callable[[Mapping[str, Any]], bool]:
    def holds(values: Mapping[str, Any]) -> bool:
        event = Event(event_type, process=Process(parent=Process()), target=Process())
        for name, value in values.items():
            field = FIELDS.get(name)
            if field is None:
                continue
            match field.place:
                case Place.PROCESS:
                    event.process.values[field.key] = value
                case Place.PARENT if event.process.parent is not None:
                    event.process.parent.values[field.key] = value
                case Place.TARGET:
                    event.target.values[field.key] = value
                case Place.EVENT:
                    event.values[field.key] = value
        return test(event)

    return holds
