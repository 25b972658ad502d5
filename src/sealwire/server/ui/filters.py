"""``service:shop env:prod,staging state:failing -host:web* checkout``: what people type to see fewer rows.

Terms are joined by *and*, the commas of one term by *or*; a minus turns a term around; ``*`` stands for
anything; a word without a field is looked for in the fields that are names. Case does not matter. A text
that makes no sense gives problems and matches nothing, so that nobody takes a typo for an empty fleet.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Generic, TypeVar

from sealwire.errors import Problem

T = TypeVar("T")

MAX_CHARS = 500
_TERM = re.compile(r'(?P<minus>-?)(?:(?P<field>[A-Za-z_]+):)?(?P<value>(?:"[^"]*"|[^\s"])*)')


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """Something that can be asked for.

    Attributes:
        get: The values a row has of it.
        values: What may be typed -> the value it means; None when anything may be.
        is_name: Whether a word without a field is looked for here.
    """

    get: Callable[[T], Iterable[str]]
    values: Mapping[str, str] | None = None
    is_name: bool = False


@dataclass(frozen=True, slots=True)
class Term(Generic[T]):
    """One thing that must hold.

    Attributes:
        name: Of the field; empty for a word without one.
        values: What may be, as typed or, where a field lists its values, as meant: for who asks a database.
    """

    name: str
    values: tuple[str, ...]
    negated: bool
    fields: tuple[Field[T], ...]
    exact: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]

    def holds(self, row: T) -> bool:
        for one in self.fields:
            for value in one.get(row):
                folded = value.casefold()
                if folded in self.exact or any(pattern.search(folded) for pattern in self.patterns):
                    return not self.negated
        return self.negated


@dataclass(frozen=True, slots=True)
class Filter(Generic[T]):
    """What was typed, understood."""

    text: str
    terms: tuple[Term[T], ...] = ()
    problems: tuple[Problem, ...] = field(default=())

    def matches(self, row: T) -> bool:
        """Whether a row shall be shown."""
        return not self.problems and all(term.holds(row) for term in self.terms)


class Grammar(Generic[T]):
    """The fields one kind of row can be asked for."""

    def __init__(self, **fields: Field[T]) -> None:
        self.fields = fields
        self._names = tuple(one for one in fields.values() if one.is_name)

    def parse(self, text: str) -> Filter[T]:
        """Understand what was typed, or say what is wrong with it."""
        text = " ".join(text.split())
        if len(text) > MAX_CHARS:
            return Filter(text[:MAX_CHARS], (), (Problem("filter", f"at most {MAX_CHARS} characters"),))
        if text.count('"') % 2:
            return Filter(text, (), (Problem("filter", "a quotation mark is not closed"),))
        terms: list[Term[T]] = []
        problems: list[Problem] = []
        for match in _TERM.finditer(text):
            if not match[0]:
                continue
            name, value = match["field"], match["value"].replace('"', "")
            if name is None:
                if not value:
                    problems.append(Problem("-", "a minus needs something after it"))
                    continue
                pattern = _anywhere(value.casefold())
                terms.append(Term("", (value,), bool(match["minus"]), self._names, frozenset(), (pattern,)))
                continue
            problem = self._term(name.lower(), value, bool(match["minus"]), terms)
            if problem:
                problems.append(Problem(f"{name}:", problem))
        return Filter(text, tuple(terms), tuple(problems))

    def _term(self, name: str, value: str, negated: bool, terms: list[Term[T]]) -> str | None:
        asked = self.fields.get(name)
        if asked is None:
            near = difflib.get_close_matches(name, self.fields, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            return f"There is no field {name}. {hint}There are {', '.join(self.fields)}."
        typed = [part.strip() for part in value.split(",") if part.strip()]
        if not typed:
            return f"{name} needs a value, as in {name}:{_example(asked)}."
        exact, patterns = set(), []
        for one in map(str.casefold, typed):
            if asked.values is not None:
                meant = asked.values.get(one)
                if meant is None:
                    near = difflib.get_close_matches(one, asked.values, n=1, cutoff=0.7)
                    hint = f"Did you mean {near[0]}? " if near else ""
                    return f"{one} is no {name}. {hint}There are {', '.join(asked.values)}."
                exact.add(meant)
            elif "*" in one:
                patterns.append(re.compile(translate(one.replace("?", "[?]"))))
            else:
                exact.add(one)
        values = tuple(typed) if asked.values is None else tuple(sorted(exact))
        terms.append(Term(name, values, negated, (asked,), frozenset(exact), tuple(patterns)))
        return None


def _anywhere(text: str) -> re.Pattern[str]:
    """Text with stars, wherever it stands.

    Attack: a pattern of many stars that takes minutes of everybody's time. What ``translate`` makes of stars
    never goes back over what it has matched.
    """
    return re.compile(translate("*" + text.replace("[", "[[]").replace("?", "[?]") + "*"))


def _example(asked: Field[T]) -> str:
    return next(iter(asked.values)) if asked.values else "something"
