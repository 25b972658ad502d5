"""Does a version satisfy a constraint, as the Agent's core service would say?

What the module hides: the dialect of Masterminds/semver v1.5, which the Agent uses for ``tracerVersion``. The
control plane signs a constraint once and agents of two makes evaluate it, so this answers as that library
does, also where its answer surprises:

- ``2`` is ``2.x``, but ``2.1`` is exactly ``2.1.0``: only a missing *minor* part is a wildcard.
- ``<5`` takes 5.3.0, and ``<3.1.x`` refuses 2.4.0: with a wildcard, ``<`` and ``<=`` compare part by part.
- ``^0.3.1`` takes 0.9.0: a caret pins the major part only, also when it is 0.
- ``~0.0.0`` and ``*`` take every version that is not a pre-release.
- A pre-release is taken only by a constraint that has one itself; ``!=`` without a wildcard takes it always.

Invariants: parsing raises `MalformedError` or `OversizeError` and nothing else; a parsed constraint answers
for every parsed version. Who writes constraints should write all three parts: then no surprise is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final, assert_never

from sealwire.errors import MalformedError
from sealwire.wire.limits import MAX_CONSTRAINT_CHARS, MAX_VERSION_CHARS, check_size

_MAX_PART: Final = 2**63 - 1
_MAX_PRERELEASE_NUMBER: Final = 2**64 - 1

# The tail of a version: a pre-release after a hyphen, metadata after a plus.
_TAIL: Final = r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_VERSION: Final = re.compile(rf"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?{_TAIL}", re.ASCII)

# A part of a constraint's version may hold a wildcard; that a bar may stand in it is how the library has it.
_LOOSE: Final = rf"v?([0-9|xX*]+)(?:\.([0-9|xX*]+))?(?:\.([0-9|xX*]+))?{_TAIL}"
_SPACE: Final = r"[\t\n\f\r ]"
_OPERATOR: Final = r"!=|>=|=>|<=|=<|~>|=|>|<|~|\^|"
_CONSTRAINT: Final = re.compile(rf"{_SPACE}*({_OPERATOR}){_SPACE}*{_LOOSE}{_SPACE}*", re.ASCII)
_HYPHEN_RANGE: Final = re.compile(
    rf"{_SPACE}*(?P<low>{_LOOSE}){_SPACE}+-{_SPACE}+(?P<high>{_LOOSE}){_SPACE}*", re.ASCII
)
_SPACED_HYPHEN: Final = re.compile(rf"{_SPACE}-{_SPACE}", re.ASCII)
_WILDCARDS: Final = frozenset("xX*")


@dataclass(frozen=True, slots=True)
class Version:
    """A version that was parsed; metadata after a plus takes no part in anything.

    Attributes:
        core: Major, minor and patch; what was missing is 0.
        prerelease: What followed the hyphen, or empty.
    """

    core: tuple[int, int, int]
    prerelease: str

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read ``1.2.3-pre.1+meta``; a leading ``v`` is taken, minor and patch may be missing.

        Raises:
            MalformedError: It is not of that form (``2.9.0rc1`` is not).
            OversizeError: It is longer than `MAX_VERSION_CHARS`.
        """
        return _parse_version(text)

    def compare(self, other: Version) -> int:
        """Below 0, 0 or above 0, as this version is older than, as new as, or newer than ``other``."""
        if self.core != other.core:
            return 1 if self.core > other.core else -1
        if self.prerelease == other.prerelease:
            return 0
        # A release is newer than its pre-releases.
        if not self.prerelease:
            return 1
        if not other.prerelease:
            return -1
        return _compare_prereleases(self.prerelease, other.prerelease)


class _Operator(Enum):
    EQUAL = "="
    NOT_EQUAL = "!="
    GREATER = ">"
    GREATER_EQUAL = ">="
    LESS = "<"
    LESS_EQUAL = "<="
    TILDE = "~"
    CARET = "^"


_OPERATORS: Final = {
    "": _Operator.EQUAL,
    "=>": _Operator.GREATER_EQUAL,
    "=<": _Operator.LESS_EQUAL,
    "~>": _Operator.TILDE,
} | {operator.value: operator for operator in _Operator}


class _Wildcard(Enum):
    """From which part on a constraint does not care."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    ALL = 3


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One comparison, such as ``>= 2.1.x``."""

    operator: _Operator
    version: Version
    wildcard: _Wildcard

    def admits(self, version: Version) -> bool:
        wild = self.wildcard is not _Wildcard.NONE
        if version.prerelease and not self.version.prerelease:
            # Somebody who says 2.1 does not mean 2.1.0-rc1; who names one version to avoid means no other.
            return self.operator is _Operator.NOT_EQUAL and not wild
        match self.operator:
            case _Operator.EQUAL:
                return self._is_about(version) if wild else version.compare(self.version) == 0
            case _Operator.NOT_EQUAL:
                return not self._has_same_parts(version) if wild else version.compare(self.version) != 0
            case _Operator.GREATER:
                return version.compare(self.version) > 0
            case _Operator.GREATER_EQUAL:
                return version.compare(self.version) >= 0
            case _Operator.LESS:
                return self._has_no_larger_part(version) if wild else version.compare(self.version) < 0
            case _Operator.LESS_EQUAL:
                return self._has_no_larger_part(version) if wild else version.compare(self.version) <= 0
            case _Operator.TILDE:
                return self._is_about(version)
            case _Operator.CARET:
                return version.compare(self.version) >= 0 and version.core[0] == self.version.core[0]
            case _ as never:
                assert_never(never)

    def _is_about(self, version: Version) -> bool:
        """At least this version, and the same in the parts before the wildcard or the patch."""
        if version.compare(self.version) < 0:
            return False
        if self.version.core == (0, 0, 0) and self.wildcard in (_Wildcard.NONE, _Wildcard.ALL):
            return True
        return self._has_same_parts(version)

    def _has_same_parts(self, version: Version) -> bool:
        if version.core[0] != self.version.core[0]:
            return False
        return self.wildcard is _Wildcard.MINOR or version.core[1] == self.version.core[1]

    def _has_no_larger_part(self, version: Version) -> bool:
        if version.core[0] > self.version.core[0]:
            return False
        return self.wildcard is _Wildcard.MINOR or version.core[1] <= self.version.core[1]


@dataclass(frozen=True, slots=True)
class Constraint:
    """Alternatives, of which one must hold; each is a list of comparisons that must all hold."""

    alternatives: tuple[tuple[_Comparison, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read alternatives separated by ``||``, each of comparisons separated by commas, or ``a - b``.

        Raises:
            MalformedError: A comparison is not of a known form. A space does not stand for "and".
            OversizeError: It is longer than `MAX_CONSTRAINT_CHARS`.
        """
        return _parse_constraint(text)

    def admits(self, version: Version) -> bool:
        """Whether the version satisfies the constraint."""
        return any(all(each.admits(version) for each in every) for every in self.alternatives)


# A handful of constraints and versions are asked again at every poll of every client.
@lru_cache(maxsize=512)
def _parse_version(text: str) -> Version:
    check_size("version", len(text), MAX_VERSION_CHARS)
    match = _VERSION.fullmatch(text)
    if match is None:
        raise MalformedError("A version is major.minor.patch-prerelease+metadata.", detail=repr(text))
    major, minor, patch, prerelease = match.groups()
    return Version((_part(major), _part(minor), _part(patch)), prerelease or "")


@lru_cache(maxsize=512)
def _parse_constraint(text: str) -> Constraint:
    check_size("version constraint", len(text), MAX_CONSTRAINT_CHARS)
    if _SPACED_HYPHEN.search(text):
        text = _HYPHEN_RANGE.sub(lambda match: f">= {match['low']}, <= {match['high']}", text)
    return Constraint(
        tuple(tuple(_parse_comparison(each) for each in every.split(",")) for every in text.split("||"))
    )


def _parse_comparison(text: str) -> _Comparison:
    match = _CONSTRAINT.fullmatch(text)
    if match is None:
        raise MalformedError("A version constraint has a comparison of no known form.", detail=repr(text))
    operator, major, minor, patch, prerelease = match.groups()
    if major in _WILDCARDS:
        return _Comparison(_OPERATORS[operator], Version((0, 0, 0), ""), _Wildcard.ALL)
    if minor is None or minor in _WILDCARDS:
        core, wildcard = (_part(major), 0, 0), _Wildcard.MINOR
    elif patch is not None and patch in _WILDCARDS:
        core, wildcard = (_part(major), _part(minor), 0), _Wildcard.PATCH
    else:
        core, wildcard = (_part(major), _part(minor), _part(patch)), _Wildcard.NONE
    return _Comparison(_OPERATORS[operator], Version(core, prerelease or ""), wildcard)


def _part(digits: str | None) -> int:
    if digits is None:
        return 0
    # A wildcard beside a digit, such as `1x`, comes this far.
    value = int(digits) if digits.isdecimal() else _MAX_PART + 1
    if value > _MAX_PART:
        raise MalformedError("A part of a version is not a number of 63 bits.", detail=repr(digits))
    return value


def _compare_prereleases(one: str, other: str) -> int:
    """Compare part by part: numbers by value and before words, a list that ends before one that goes on."""
    ours, theirs = one.split("."), other.split(".")
    for our, their in zip(ours, theirs, strict=False):
        if our == their:
            continue
        our_number, their_number = _number(our), _number(their)
        if our_number is None and their_number is None:
            return 1 if our > their else -1
        if our_number is None:
            return 1
        if their_number is None:
            return -1
        return 1 if our_number > their_number else -1
    return len(ours) - len(theirs)


def _number(text: str) -> int | None:
    # A number beyond 64 bits is compared as a word.
    value = int(text) if text.isdecimal() else None
    return value if value is not None and value <= _MAX_PRERELEASE_NUMBER else None
