"""Detection rules: documents that say which rows to count, for whom, and from how many on it is a signal.

A document has queries (``a``, ``b``...), each a predicate over rows and a way to count them, and cases, each
a condition over those counts (``a > 30 && b > 5``) and a severity. Cases are asked from the top; the first
that holds counts.

Hides the language of conditions. Invariant: a ``Rule`` only exists checked, so the engine has no error paths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.security.facets import FACETS, Facet, find
from sealwire.server.security.query import Predicate, QueryError, activities_of, compiled, parse

WINDOWS_S: Final = (60, 300, 600, 900, 1_800, 3_600, 7_200)
KEEP_ALIVE_S: Final = (60, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600)
MAX_DURATION_S: Final = 86_400
MAX_QUERIES: Final = 10
MAX_CASES: Final = 10
MAX_GROUP_BY: Final = 3
MAX_TAGS: Final = 30
MAX_NAME_CHARS: Final = 200
MAX_MESSAGE_CHARS: Final = 10_000
MAX_CONDITION_CHARS: Final = 500
MAX_CONDITION_DEPTH: Final = 20

Condition = Callable[[Sequence[float]], bool]


class Severity(IntEnum):
    """How bad a signal is; never falls."""

    INFO = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows are counted, and how.

    Attributes:
        distinct: The facet whose different values are counted; None to count rows.
        needed: Patterns of activities of which a row must have one; None where any row may match.
    """

    name: str
    text: str
    matches: Predicate
    distinct: Facet | None
    needed: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Case:
    """From when on it is a signal, and how bad a one."""

    name: str
    severity: Severity
    condition: str
    holds: Condition


@dataclass(frozen=True, slots=True)
class Rule:
    """One checked document.

    Attributes:
        sigmas: The count of the first query must lie this many standard deviations above its mean of the
            last 24 hours as well; None for rules without a memory.
    """

    id: str
    version: int
    name: str
    message: str
    enabled: bool
    queries: tuple[Query, ...]
    group_by: tuple[Facet, ...]
    cases: tuple[Case, ...]
    window_s: int
    keep_alive_s: int
    max_duration_s: int
    sigmas: float | None
    tags: tuple[str, ...]

    def severity(self, counts: Sequence[float]) -> Severity | None:
        """What the counts of the queries, in their order, come to."""
        for case in self.cases:
            if case.holds(counts):
                return case.severity
        return None


def check(document: object, *, rule_id: str, version: int = 1) -> Rule:
    """A rule of a document.

    Args:
        document: Plain values, as an author wrote them.
        rule_id: Ours.
        version: Of the document, for signals to name.

    Raises:
        InvalidChangeError: With a problem at every JSON path that has one.
    """
    checker = _Checker()
    rule = checker.rule(document, rule_id, version)
    if rule is None or checker.problems:
        raise InvalidChangeError("The rule has mistakes.", problems=tuple(checker.problems))
    return rule


class _Checker:
    """Collects problems, so that an author sees them all at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def rule(self, document: object, rule_id: str, version: int) -> Rule | None:
        if not isinstance(document, Mapping):
            self.wrong("$", "A rule is an object.")
            return None
        for key in document:
            if key not in ("name", "message", "isEnabled", "type", "queries", "cases", "options", "tags"):
                self.wrong(f"$.{key}", "There is no such field.")
        if document.get("type", "application_security") != "application_security":
            self.wrong("$.type", "Only application_security is understood.")
        name = self.text(document, "name", "$", MAX_NAME_CHARS)
        message = self.text(document, "message", "$", MAX_MESSAGE_CHARS) if "message" in document else ""
        enabled = document.get("isEnabled", True)
        if not isinstance(enabled, bool):
            self.wrong("$.isEnabled", "True or false.")
        queries, group_by = self.queries(document.get("queries"))
        cases = self.cases(document.get("cases"), [query.name for query in queries])
        window, keep_alive, longest, sigmas = self.options(document.get("options", {}))
        return Rule(
            rule_id, version, name, message, enabled is True, queries, group_by, cases,
            window, keep_alive, longest, sigmas, self.tags(document.get("tags", [])),
        )  # fmt: skip

    def text(self, owner: Mapping[str, Any], key: str, path: str, limit: int) -> str:
        value = owner.get(key)
        if not isinstance(value, str) or not value.strip() or len(value) > limit:
            self.wrong(f"{path}.{key}", f"A text of 1 to {limit} characters.")
            return ""
        return value

    def items(self, value: object, path: str, limit: int) -> list[Mapping[str, Any]]:
        if not isinstance(value, list) or not 1 <= len(value) <= limit:
            self.wrong(path, f"A list of 1 to {limit}.")
            return []
        found = []
        for at, item in enumerate(value):
            if isinstance(item, Mapping):
                found.append(item)
            else:
                self.wrong(f"{path}[{at}]", "An object.")
        return found

    def queries(self, value: object) -> tuple[tuple[Query, ...], tuple[Facet, ...]]:
        found: list[Query] = []
        grouped: tuple[Facet, ...] | None = None
        for at, item in enumerate(self.items(value, "$.queries", MAX_QUERIES)):
            path = f"$.queries[{at}]"
            name = item.get("name", chr(ord("a") + at))
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                self.wrong(f"{path}.name", "A name of letters, digits and _, as conditions use it.")
                name = ""
            elif any(query.name == name for query in found):
                self.wrong(f"{path}.name", "Another query has this name.")
            text = item.get("query", "")
            try:
                if not isinstance(text, str):
                    raise QueryError(0, "A text was expected.")
                node = parse(text)
            except QueryError as error:
                self.wrong(f"{path}.query", error.public)
                continue
            group_by = self.facets(item.get("groupByFields", []), f"{path}.groupByFields", MAX_GROUP_BY)
            if grouped is None:
                grouped = group_by
            elif group_by != grouped:
                self.wrong(f"{path}.groupByFields", "All queries of a rule have the same.")
            found.append(Query(name, text, compiled(node), self.distinct(item, path), activities_of(node)))
        return tuple(found), grouped or ()

    def distinct(self, item: Mapping[str, Any], path: str) -> Facet | None:
        way = item.get("aggregation", "count")
        if way == "count":
            return None
        if way != "cardinality":
            self.wrong(f"{path}.aggregation", "count or cardinality.")
            return None
        facets = self.facets(item.get("distinctFields"), f"{path}.distinctFields", 1)
        if not facets and not any(each.path.startswith(f"{path}.distinctFields") for each in self.problems):
            self.wrong(f"{path}.distinctFields", "The one facet whose values are counted.")
        return facets[0] if facets else None

    def facets(self, value: object, path: str, limit: int) -> tuple[Facet, ...]:
        if not isinstance(value, list) or len(value) > limit:
            self.wrong(path, f"A list of at most {limit} facets.")
            return ()
        found = []
        for at, name in enumerate(value):
            facet = find(name) if isinstance(name, str) else None
            if facet is None:
                self.wrong(f"{path}[{at}]", f"There is no such facet. There are {', '.join(FACETS)}.")
            else:
                found.append(facet)
        return tuple(found)

    def cases(self, value: object, names: Sequence[str]) -> tuple[Case, ...]:
        found = []
        for at, item in enumerate(self.items(value, "$.cases", MAX_CASES)):
            path = f"$.cases[{at}]"
            status = item.get("status")
            if not isinstance(status, str) or status.upper() not in Severity.__members__:
                self.wrong(f"{path}.status", "info, low, medium, high or critical.")
                continue
            text = item.get("condition")
            if not isinstance(text, str) or not text.strip():
                self.wrong(f"{path}.condition", "A condition such as a > 10.")
                continue
            try:
                holds = condition(text, names)
            except QueryError as error:
                self.wrong(f"{path}.condition", error.public)
                continue
            name = item.get("name", "")
            if not isinstance(name, str) or len(name) > MAX_NAME_CHARS:
                self.wrong(f"{path}.name", f"A text of at most {MAX_NAME_CHARS} characters.")
            found.append(Case(str(name), Severity[status.upper()], text, holds))
        return tuple(found)

    def options(self, value: object) -> tuple[int, int, int, float | None]:
        if not isinstance(value, Mapping):
            self.wrong("$.options", "An object.")
            value = {}
        window = value.get("evaluationWindow", 300)
        if type(window) is not int or window not in WINDOWS_S:
            self.wrong("$.options.evaluationWindow", f"One of {', '.join(map(str, WINDOWS_S))} seconds.")
            window = WINDOWS_S[0]
        keep_alive = value.get("keepAlive", 3_600)
        if type(keep_alive) is not int or keep_alive not in KEEP_ALIVE_S or keep_alive < window:
            self.wrong(
                "$.options.keepAlive",
                f"One of {', '.join(map(str, KEEP_ALIVE_S))} seconds, and no less than the window.",
            )
            keep_alive = KEEP_ALIVE_S[-1]
        longest = value.get("maxSignalDuration", MAX_DURATION_S)
        if type(longest) is not int or not keep_alive <= longest <= MAX_DURATION_S:
            self.wrong("$.options.maxSignalDuration", f"Seconds, from keepAlive to {MAX_DURATION_S}.")
            longest = MAX_DURATION_S
        method = value.get("detectionMethod", "threshold")
        if method not in ("threshold", "history"):
            self.wrong("$.options.detectionMethod", "threshold or history.")
        sigmas = value.get("sigmas", 4)
        if isinstance(sigmas, bool) or not isinstance(sigmas, (int, float)) or not 1 <= sigmas <= 10:
            self.wrong("$.options.sigmas", "A number from 1 to 10.")
            sigmas = 4
        return window, keep_alive, longest, float(sigmas) if method == "history" else None

    def tags(self, value: object) -> tuple[str, ...]:
        if (
            not isinstance(value, list)
            or len(value) > MAX_TAGS
            or not all(isinstance(tag, str) and 0 < len(tag) <= MAX_NAME_CHARS for tag in value)
        ):
            self.wrong("$.tags", f"A list of at most {MAX_TAGS} texts.")
            return ()
        return tuple(value)


# Conditions -------------------------------------------------------------------------------------------------

_NAME = re.compile(r"[A-Za-z_]\w{0,30}")
_PART = re.compile(
    r"\s*(?:(?P<sign>&&|\|\||!(?!=)|[()])|(?P<compare>>=|<=|==|!=|>|<)|(?P<number>\d{1,9}(?:\.\d{1,3})?)"
    r"|(?P<name>[A-Za-z_]\w{0,30}))"
)
_COMPARES: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": lambda count, bound: count > bound,
    ">=": lambda count, bound: count >= bound,
    "<": lambda count, bound: count < bound,
    "<=": lambda count, bound: count <= bound,
    "==": lambda count, bound: count == bound,
    "!=": lambda count, bound: count != bound,
}


def condition(text: str, names: Sequence[str]) -> Condition:
    """Understand ``a > 30 && (b > 5 || c > 0)``.

    Args:
        text: An author's.
        names: Of the queries whose counts it may name, in their order.

    Raises:
        QueryError: It makes no sense; says where, and what was expected there.
    """
    if len(text) > MAX_CONDITION_CHARS:
        raise QueryError(MAX_CONDITION_CHARS, f"A condition has at most {MAX_CONDITION_CHARS} characters.")
    parts: list[tuple[str, str, int]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _PART.match(text, at)
        if match is None or match.lastgroup is None:
            raise QueryError(at, "A query's name, a number, a comparison, &&, || or ! was expected.")
        parts.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        at = match.end()
    reader = _Condition(parts, names, end)
    holds = reader.either(0)
    if reader.at < len(parts):
        raise QueryError(parts[reader.at][2], "&& or || was expected.")
    return holds


class _Condition:
    def __init__(self, parts: Sequence[tuple[str, str, int]], names: Sequence[str], end: int) -> None:
        self.parts = parts
        self.names = list(names)
        self.end = end
        self.at = 0

    def either(self, depth: int) -> Condition:
        found = [self.both(depth)]
        while self.takes("||"):
            found.append(self.both(depth))
        if len(found) == 1:
            return found[0]
        return lambda counts: any(holds(counts) for holds in found)

    def both(self, depth: int) -> Condition:
        found = [self.one(depth)]
        while self.takes("&&"):
            found.append(self.one(depth))
        if len(found) == 1:
            return found[0]
        if len(found) == 2:
            first, second = found
            return lambda counts: first(counts) and second(counts)
        return lambda counts: all(holds(counts) for holds in found)

    def one(self, depth: int) -> Condition:
        start = self.parts[self.at][2] if self.at < len(self.parts) else self.end
        if depth > MAX_CONDITION_DEPTH:
            raise QueryError(start, f"At most {MAX_CONDITION_DEPTH} levels are understood.")
        if self.takes("!"):
            inner = self.one(depth + 1)
            return lambda counts: not inner(counts)
        if self.takes("("):
            inner = self.either(depth + 1)
            if not self.takes(")"):
                raise QueryError(start, "The parenthesis that closes this one is missing.")
            return inner
        name = self.take("name", f"The name of a query was expected: {', '.join(self.names)}.")
        if name not in self.names:
            raise QueryError(start, f"There is no query {name}. There are {', '.join(self.names)}.")
        compare = _COMPARES[self.take("compare", "A comparison such as > was expected.")]
        bound = float(self.take("number", "A number was expected."))
        index = self.names.index(name)
        return lambda counts: compare(counts[index], bound)

    def takes(self, sign: str) -> bool:
        if self.at < len(self.parts) and self.parts[self.at][:2] == ("sign", sign):
            self.at += 1
            return True
        return False

    def take(self, kind: str, expected: str) -> str:
        if self.at >= len(self.parts):
            raise QueryError(self.end, expected)
        found, text, start = self.parts[self.at]
        if found != kind:
            raise QueryError(start, expected)
        self.at += 1
        return text
