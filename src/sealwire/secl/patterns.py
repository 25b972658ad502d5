"""Sets of texts, globs and regular expressions, each as one test that is fast for many.

In a glob ``*`` stands for any run of characters and nothing else is special. For paths it stops at a
separator; ``**`` alone as the last component stands for everything below, and once before the last for any
number of directories, none included. Globs become regular expressions without a way back (every inner star
takes the first fit, which for globs is as good as any), so a text costs time in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from sealwire.secl.regex import Regex

Test: TypeAlias = Callable[[str], bool]

MAX_STARS: Final = 64


class PatternError(Exception):
    """It is no pattern that can be used; says why, and what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern with stars.

    Attributes:
        separator: What a star stops at; empty for texts that are no paths.
    """

    text: str
    separator: str = ""

    @property
    def prefix(self) -> str:
        """What every text that fits begins with; empty if that can be anything."""
        return self.text.partition("*")[0]

    def fits(self, text: str) -> bool:
        """Whether a text fits; for tests and pages, not for many texts."""
        return TextSet(globs=(self,)).test()(text)


@dataclass(frozen=True, slots=True)
class TextSet:
    """Texts that are one of ``exact``, or fit one of the globs or regular expressions.

    Attributes:
        folded: Without regard to case; ``exact`` and globs are in small letters, and so must the text be.
    """

    exact: frozenset[str] = frozenset()
    globs: tuple[Glob, ...] = ()
    regexes: tuple[str, ...] = ()
    folded: bool = False

    def __or__(self, other: TextSet) -> TextSet:
        return TextSet(
            self.exact | other.exact,
            tuple(dict.fromkeys(self.globs + other.globs)),
            tuple(dict.fromkeys(self.regexes + other.regexes)),
            self.folded or other.folded,
        )

    @property
    def is_exact(self) -> bool:
        return not self.globs and not self.regexes

    def test(self) -> Test:
        """A function that says whether a text is in the set."""
        tests = [*_glob_tests(self.globs, self.exact), *_regex_tests(self.regexes, self.folded)]
        if self.exact and not self.globs:
            tests.insert(0, self.exact.__contains__)
        if not tests:
            return self.exact.__contains__
        if len(tests) == 1:
            return tests[0]
        if len(tests) == 2:
            first, second = tests
            return lambda text: first(text) or second(text)
        together = tuple(tests)

        def any_of_them(text: str) -> bool:
            for each in together:  # noqa: SIM110 - a loop takes two thirds of the time of any()
                if each(text):
                    return True
            return False

        return any_of_them


def check_glob(glob: Glob) -> None:
    """Refuse a glob that does not say anything clear.

    Raises:
        PatternError: Says why.
    """
    if glob.text.count("*") > MAX_STARS:
        raise PatternError(f"The pattern has more than {MAX_STARS} stars.")
    if not glob.separator or "**" not in glob.text:
        return
    parts = glob.text.split(glob.separator)
    if any("**" in part and part != "**" for part in parts):
        raise PatternError(
            "** must be a component of its own in a path.",
            "Write * within a component, /** for everything below.",
        )
    if parts[:-1].count("**") > 1:
        raise PatternError(
            "** may stand only once before the last component.", "Write * for a single component."
        )


def _glob_tests(globs: Iterable[Glob], exact: frozenset[str]) -> list[Test]:
    """Tests for globs: the simple shapes by methods of texts, the rest by one regular expression."""
    starts: list[str] = []
    below: list[str] = []
    ends: list[str] = []
    inside: list[str] = []
    folders: list[str] = []
    rest: list[str] = []
    literal: set[str] = set(exact)
    for glob in globs:
        text, separator = glob.text, glob.separator
        if "*" not in text:
            literal.add(text)
        elif separator:
            head, _, last = text.rpartition(separator)
            if "*" not in head and last == "**":
                below.append(head + separator)
            elif "*" not in head and last == "*" and separator == "/":
                folders.append(head + separator)
            else:
                rest.append(_path_expression(text, separator))
        else:
            core = text.strip("*")
            if "*" in core:
                rest.append(_expression(text))
            elif text.startswith("*"):
                (inside if text.endswith("*") else ends).append(core)
            else:
                starts.append(core)
    found: list[Test] = []
    if literal and globs:
        found.append(frozenset(literal).__contains__)
    if folders:
        found.append(_in_folders(frozenset(folders)))
    if below:
        found.append(_below(tuple(below)))
    if starts:
        found.append(_starts(tuple(starts)))
    if ends:
        found.append(_ends(tuple(ends)))
    found += [_inside(each) for each in inside[:2]]
    if len(inside) > 2:
        rest += [f"(?>.*?{re.escape(each)}).*" for each in inside[2:]]
    if rest:
        found.append(_fits(re.compile("(?:" + "|".join(dict.fromkeys(rest)) + r")\Z", re.S)))
    return found


def _in_folders(folders: frozenset[str]) -> Test:
    return lambda text: text[: text.rfind("/") + 1] in folders


def _below(folders: tuple[str, ...]) -> Test:
    if "/" in folders:
        return lambda text: text.startswith(folders) and text != "/"
    return lambda text: text.startswith(folders)


def _starts(starts: tuple[str, ...]) -> Test:
    return lambda text: text.startswith(starts)


def _ends(ends: tuple[str, ...]) -> Test:
    return lambda text: text.endswith(ends)


def _inside(part: str) -> Test:
    return lambda text: part in text


def _fits(expression: re.Pattern[str]) -> Test:
    match = expression.match
    return lambda text: match(text) is not None


@lru_cache(maxsize=4_096)
def compiled(pattern: str, *, folded: bool) -> Regex:
    """The one engine for a pattern, whichever rules have it."""
    return Regex(f"(?i){pattern}" if folded else pattern)


def _regex_tests(patterns: Iterable[str], folded: bool) -> list[Test]:
    return [compiled(each, folded=folded).search for each in patterns]


def _expression(text: str, *, star: str = ".") -> str:
    """A glob as a regular expression that never goes back: every star but the last takes the first fit."""
    first, *pieces = re.split(r"\*+", text)
    last = pieces.pop()
    inner = "".join(f"(?>{star}*?{re.escape(piece)})" for piece in pieces)
    return f"{re.escape(first)}{inner}{star}*{re.escape(last)}"


def _path_expression(text: str, separator: str) -> str:
    """The same for a path, component by component; the last ``**`` is everything below."""
    mark = re.escape(separator)
    parts = text.split(separator)
    below = parts[-1] == "**"
    if below:
        parts.pop()
    built: list[str] = []
    for at, part in enumerate(parts):
        if part == "**":
            # Zero or more directories, each with its separator.
            built.append(".*" if at == 0 else f"(?:{mark}.*)?")
            continue
        component = _expression(part, star=f"[^{mark}]") if "*" in part else re.escape(part)
        built.append(component if at == 0 else mark + component)
    return "".join(built) + (f"{mark}.+" if below else "")
