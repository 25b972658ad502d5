"""Who a config is for: a pure decision over what clients say of themselves.

Each field lists alternatives; all fields that are given must agree. What this hides: how service and env
compare (as people type them, not as bytes), and what a version range means for versions that tracers
really report, such as ``4.16.0rc2`` or ``v2.1.0-dev.3``.

Invariant: ``why_not`` is empty exactly when ``matches`` is true.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products.product import ClientFacts
from sealwire.products.schema import ListOf, Record, Report, Shape, Text, either, quote

Version: TypeAlias = tuple[int, ...]
Bound: TypeAlias = tuple[Callable[[Version, Version], bool], Version]

_COMPARISONS: Mapping[str, Callable[[Version, Version], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_COMPARATOR = re.compile(r"\s*(>=|<=|==|!=|>|<|=)\s*v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,3})\s*\Z", re.ASCII)
_NUMERIC_START = re.compile(r"v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,3})(?![0-9])", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VERSION_PARTS = 4

# What people write for a language, and what its tracer reports.
_OTHER_NAMES = {"nodejs": "node", "javascript": "node", "js": "node", ".net": "dotnet", "csharp": "dotnet"}
_OTHER_NAMES |= {"golang": "go", "jvm": "java", "py": "python"}

_LIST_FIELDS = ("service", "env", "language", "app_version", "host_tags", "client_id")
_COARSE_FIELDS = frozenset({"service", "env", "language"})


def _version(parts: str) -> Version:
    numbers = tuple(int(part) for part in parts.split("."))
    return numbers + (0,) * (_VERSION_PARTS - len(numbers))


def _bounds(text: str) -> tuple[Bound, ...]:
    bounds: list[Bound] = []
    for comparator in text.split(","):
        match = _COMPARATOR.match(comparator)
        if match is None:
            raise ValueError(comparator)
        bounds.append((_COMPARISONS[match[1]], _version(match[2])))
    return tuple(bounds)


def _range_is_wrong(text: str) -> str | None:
    try:
        _bounds(text)
    except ValueError as error:
        return f"Expected comparisons such as >=2.8.0,<5 joined by commas, not {quote(str(error))}."
    return None


def _language_is_wrong(text: str) -> str | None:
    reported = _OTHER_NAMES.get(text.lower())
    if reported:
        return f'Its tracers report themselves as "{reported}".'
    return None if text == text.lower() else f'Languages are lower case: "{text.lower()}".'


def _tag_is_wrong(text: str) -> str | None:
    if ":" not in text[1:]:
        return f"Expected a tag such as role:web, not {quote(text)}."
    return _name_is_wrong(text)


def _name_is_wrong(text: str) -> str | None:
    # No signed document can hold one, so no client that has one is found by its name.
    return "Control characters are not allowed." if _CONTROL.search(text) else None


def _any_of(item: Text, says: str) -> ListOf:
    return ListOf(item=item, min_items=1, max_items=1_000, says=says)


_NAME = Text(max_length=256, also=_name_is_wrong)
_MEMBERS: Mapping[str, Shape] = {
    "service": _any_of(_NAME, "Services; compared without regard to case."),
    "env": _any_of(_NAME, "Environments; compared without regard to case."),
    "language": _any_of(Text(max_length=32, also=_language_is_wrong), "python, node, go, java, dotnet ..."),
    "app_version": _any_of(_NAME, "Versions of the application, exactly."),
    "host_tags": _any_of(
        Text(max_length=256, also=_tag_is_wrong), "Tags of the host; one of them must be there."
    ),
    "client_id": _any_of(_NAME, "Single clients."),
    "tracer_version": Text(max_length=256, also=_range_is_wrong, says="A range such as >=2.8.0,<5."),
}
SHAPE = Record(optional=_MEMBERS, says="Who gets it: alternatives within a field, all fields together.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Targeting:
    """Who a config is for; with no field given, every client of the organisation.

    Attributes:
        tracer_version: Comparisons joined by commas; only the leading numbers of a version count, so
            ``4.16.0rc2`` compares as 4.16.0.
    """

    service: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    app_version: tuple[str, ...] = ()
    host_tags: tuple[str, ...] = ()
    client_id: tuple[str, ...] = ()
    tracer_version: str | None = None
    # Ready to compare with, made once: a publish asks every config about every client.
    _services: frozenset[str] = field(init=False, repr=False, compare=False)
    _envs: frozenset[str] = field(init=False, repr=False, compare=False)
    _bounds: tuple[Bound, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_services", frozenset(name.casefold() for name in self.service))
        object.__setattr__(self, "_envs", frozenset(name.casefold() for name in self.env))
        object.__setattr__(self, "_bounds", _bounds(self.tracer_version) if self.tracer_version else ())

    @classmethod
    def parse(cls, obj: object, path: str = "$.targeting") -> Targeting:
        """Read what an author wrote; null means every client.

        Raises:
            InvalidChangeError: With every problem, each at its path under ``path``.
        """
        if obj is None:
            return cls()
        report = Report()
        SHAPE.check(obj, path, report)
        if report.problems or not isinstance(obj, Mapping):
            raise InvalidChangeError("The targeting has mistakes.", problems=report.problems)
        lists = {name: tuple(dict.fromkeys(obj[name])) for name in _LIST_FIELDS if name in obj}
        return cls(**lists, tracer_version=obj.get("tracer_version"))

    def to_dict(self) -> dict[str, object]:
        """What ``parse`` reads; fields that say nothing are left out."""
        lists: dict[str, object] = {
            name: list(getattr(self, name)) for name in _LIST_FIELDS if getattr(self, name)
        }
        return {**lists, "tracer_version": self.tracer_version} if self.tracer_version else lists

    def matches(self, facts: ClientFacts) -> bool:
        """Whether a client gets the config."""
        return (
            (not self._services or facts.service.casefold() in self._services)
            and (not self._envs or facts.env.casefold() in self._envs)
            and (not self.language or facts.language in self.language)
            and (not self.app_version or facts.app_version in self.app_version)
            and (not self.client_id or facts.client_id in self.client_id)
            and (not self.host_tags or not facts.host_tags.isdisjoint(self.host_tags))
            and (not self._bounds or self._version_matches(facts.tracer_version))
        )

    def may_overlap(self, other: Targeting) -> bool:
        """Whether some client could match both: false only where a field rules it out for sure."""
        pairs = (
            (self._services, other._services),
            (self._envs, other._envs),
            (set(self.language), set(other.language)),
            (set(self.app_version), set(other.app_version)),
            (set(self.client_id), set(other.client_id)),
        )
        return not any(mine and theirs and not set(mine) & set(theirs) for mine, theirs in pairs)

    def why_not(self, facts: ClientFacts) -> list[str]:
        """One sentence for each field that keeps a client out; empty if it matches."""
        reasons: list[str] = []
        if self._services and facts.service.casefold() not in self._services:
            reasons.append(_differs("service", facts.service, self.service))
        if self._envs and facts.env.casefold() not in self._envs:
            reasons.append(_differs("env", facts.env, self.env))
        if self.language and facts.language not in self.language:
            reasons.append(_differs("language", facts.language, self.language))
        if self.app_version and facts.app_version not in self.app_version:
            reasons.append(_differs("application version", facts.app_version, self.app_version))
        if self.client_id and facts.client_id not in self.client_id:
            reasons.append(_differs("client id", facts.client_id, self.client_id))
        if self.host_tags and facts.host_tags.isdisjoint(self.host_tags):
            reasons.append(f"Its host has no tag {_some(self.host_tags)}.")
        if self._bounds and not self._version_matches(facts.tracer_version):
            reported = facts.tracer_version
            readable = _NUMERIC_START.match(reported) is not None
            reasons.append(
                f"Its tracer version {quote(reported)} is outside {self.tracer_version}."
                if readable
                else f"Its tracer version {quote(reported)} cannot be compared with {self.tracer_version}."
            )
        return reasons

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields that say something."""
        return frozenset(self.to_dict())

    @property
    def specificity(self) -> int:
        """Who wins where configs differ: 5 service and env, 4 service, 3 env, 2 anything else, 1 nothing."""
        if self.service:
            return 5 if self.env else 4
        if self.env:
            return 3
        return 2 if self.fields else 1

    @property
    def is_coarse(self) -> bool:
        """Whether only service, env and language decide, so that many clients share the answer."""
        return self.fields <= _COARSE_FIELDS

    def _version_matches(self, reported: str) -> bool:
        match = _NUMERIC_START.match(reported)
        if match is None:
            return False
        version = _version(match[1])
        return all(compare(version, bound) for compare, bound in self._bounds)


def _some(words: Iterable[str]) -> str:
    listed = list(words)
    if len(listed) <= 4:
        return either(listed)
    return f"{', '.join(quote(word) for word in listed[:3])} or {len(listed) - 3} others"


def _differs(what: str, reported: str, wanted: Iterable[str]) -> str:
    given = f"is {quote(reported)}" if reported else "is not reported"
    return f"Its {what} {given}; this config is for {_some(wanted)}."


def problems_of(obj: object, path: str = "$.targeting") -> tuple[Problem, ...]:
    """Every mistake in a targeting, without raising; for the dry run of a change."""
    try:
        Targeting.parse(obj, path)
    except InvalidChangeError as error:
        return error.problems
    return ()
