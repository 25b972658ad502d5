"""The syntax of regular expressions, as the engine of the original has it (RE2), read once into parts.

A class of characters is kept as the sorted edges of its ranges; ``\\d``, ``\\w``, ``\\s``, ``\\b`` are ASCII.
Refused with a sentence: look-around, back-references, Unicode properties, and whatever is no pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

MAX_PATTERN_CHARS: Final = 10_000
MAX_NODES: Final = 3_000
_MAX_REPEAT: Final = 1_000
_MAX_NESTED: Final = 50
_LAST: Final = 0x110000

Edges: TypeAlias = tuple[int, ...]


class RegexError(Exception):
    """It is no regular expression that can be used; says why, as a sentence."""


@dataclass(frozen=True, slots=True)
class Characters:
    """One character of a set: those from ``edges[0]`` up to before ``edges[1]``, and so on."""

    edges: Edges

    def only(self) -> str:
        """The one character it can be, or nothing."""
        if len(self.edges) == 2 and self.edges[1] - self.edges[0] == 1:
            return chr(self.edges[0])
        return ""


@dataclass(frozen=True, slots=True)
class Assertion:
    """A place: ``text start`` or ``end``, ``line start`` or ``end``, ``edge`` (of a word) or ``no edge``."""

    name: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One of them."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """So many times; ``most`` is ``None`` for any number."""

    part: Part
    least: int
    most: int | None


Part: TypeAlias = Characters | Assertion | Sequence | Alternatives | Repeat


def parse_regex(pattern: str) -> Part:
    """The parts of a pattern.

    Raises:
        RegexError: It is none, or asks for what this engine does not do.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise RegexError(f"The regular expression has more than {MAX_PATTERN_CHARS} characters.")
    reader = _Reader(pattern)
    part = reader.alternatives()
    if reader.place < len(pattern):
        raise RegexError(f"The ) at character {reader.place + 1} of the regular expression closes nothing.")
    return part


def size(part: Part) -> int:
    """How many steps the part makes once its repeats are written out; at least that many."""
    match part:
        case Sequence(parts=parts) | Alternatives(parts=parts):
            return 1 + sum(size(each) for each in parts)
        case Repeat(part=inner, least=least, most=most):
            return (size(inner) + 1) * (least + 1 if most is None else max(most, 1))
    return 1


def _edges(*ranges: tuple[int, int]) -> Edges:
    """Ranges of codes, both ends in, as sorted edges that touch nowhere."""
    found: list[int] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1]:
            found[-1] = max(found[-1], last + 1)
        else:
            found += [first, last + 1]
    return tuple(found)


def _ranges(edges: Edges) -> list[tuple[int, int]]:
    return [(edges[at], edges[at + 1] - 1) for at in range(0, len(edges), 2)]


def _all_but(edges: Edges) -> Edges:
    if not edges:
        return (0, _LAST)
    inner = edges[1:] if edges[0] == 0 else (0, *edges)
    return inner[:-1] if inner[-1] == _LAST else (*inner, _LAST)


def _folded(edges: Edges) -> Edges:
    """Also the other case of every letter; beyond ASCII only for small sets."""
    ranges = _ranges(edges)
    for first, last in list(ranges):
        for low, high, shift in ((65, 90, 32), (97, 122, -32)):
            if first <= high and last >= low:
                ranges.append((max(first, low) + shift, min(last, high) + shift))
        if first > 127 and last - first < 200:
            for code in range(first, last + 1):
                for other in {chr(code).lower(), chr(code).upper()}:
                    if len(other) == 1:
                        ranges.append((ord(other), ord(other)))
    return _edges(*ranges)


_DIGIT: Final = _edges((48, 57))
_WORD: Final = _edges((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final = _edges((9, 10), (12, 13), (32, 32))
_CLASSES: Final = {
    "d": _DIGIT, "D": _all_but(_DIGIT), "w": _WORD, "W": _all_but(_WORD), "s": _SPACE, "S": _all_but(_SPACE),
}  # fmt: skip
_NAMED: Final = {
    "alnum": _edges((48, 57), (65, 90), (97, 122)),
    "alpha": _edges((65, 90), (97, 122)),
    "ascii": _edges((0, 127)),
    "blank": _edges((9, 9), (32, 32)),
    "cntrl": _edges((0, 31), (127, 127)),
    "digit": _DIGIT,
    "graph": _edges((33, 126)),
    "lower": _edges((97, 122)),
    "print": _edges((32, 126)),
    "punct": _edges((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": _edges((9, 13), (32, 32)),
    "upper": _edges((65, 90)),
    "word": _WORD,
    "xdigit": _edges((48, 57), (65, 70), (97, 102)),
}
_ASSERTIONS: Final = {"b": "edge", "B": "no edge", "A": "text start", "z": "text end"}
_CONTROLS: Final = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "a": 7}
_HEX: Final = re.compile(r"\\x(?:([0-9a-fA-F]{2})|\{([0-9a-fA-F]{1,6})\})")
_COUNT: Final = re.compile(r"\{([0-9]{1,9})(,([0-9]{0,9}))?\}")
_FLAGS: Final = re.compile(r"\(\?([imsU]*)(?:-([imsU]+))?([:)])")
_GROUP_NAME: Final = re.compile(r"\(\?P?<[A-Za-z_][A-Za-z0-9_]*>")


class _Reader:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.place = 0
        self.depth = 0
        self.flags: frozenset[str] = frozenset()

    def at(self, text: str) -> bool:
        return self.pattern.startswith(text, self.place)

    def fail(self, message: str) -> RegexError:
        return RegexError(f"At character {self.place + 1} of the regular expression: {message}")

    def alternatives(self) -> Part:
        self.depth += 1
        if self.depth > _MAX_NESTED:
            raise self.fail(f"groups nest more than {_MAX_NESTED} deep.")
        flags = self.flags
        found = [self.sequence()]
        while self.at("|"):
            self.place += 1
            found.append(self.sequence())
        self.flags = flags
        self.depth -= 1
        return found[0] if len(found) == 1 else Alternatives(tuple(found))

    def sequence(self) -> Part:
        found: list[Part] = []
        while self.place < len(self.pattern) and self.pattern[self.place] not in "|)":
            part = self.atom()
            if part is not None:
                found.append(self.repeated(part))
        return found[0] if len(found) == 1 else Sequence(tuple(found))

    def repeated(self, part: Part) -> Part:
        bounds = self.bounds()
        if bounds is None:
            return part
        least, most = bounds
        if self.at("?"):
            self.place += 1  # lazy or greedy makes no difference to whether something matches
        if self.bounds_ahead():
            raise self.fail("two repeats follow each other; put a group around the first.")
        if isinstance(part, Assertion):
            return Sequence(()) if least == 0 else part
        return Repeat(part, least, most)

    def bounds(self) -> tuple[int, int | None] | None:
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self.pattern[self.place : self.place + 1])
        if simple is not None:
            self.place += 1
            return simple
        count = _COUNT.match(self.pattern, self.place)
        if count is None:
            return None
        least = int(count[1])
        most = least if count[2] is None else int(count[3]) if count[3] else None
        if max(least, most or 0) > _MAX_REPEAT:
            raise self.fail(f"{count[0]} repeats more than {_MAX_REPEAT} times.")
        if most is not None and most < least:
            raise self.fail(f"{count[0]} counts backwards.")
        self.place = count.end()
        return least, most

    def bounds_ahead(self) -> bool:
        return self.at("*") or self.at("+") or self.at("?") or bool(_COUNT.match(self.pattern, self.place))

    def atom(self) -> Part | None:
        character = self.pattern[self.place]
        match character:
            case "(":
                return self.group()
            case "[":
                return Characters(self.in_case(self.character_class()))
            case "\\":
                return self.escape()
            case "*" | "+" | "?":
                raise self.fail("there is nothing to repeat.")
        self.place += 1
        match character:
            case ".":
                return Characters((0, _LAST) if "s" in self.flags else _all_but((10, 11)))
            case "^":
                return Assertion("line start" if "m" in self.flags else "text start")
            case "$":
                return Assertion("line end" if "m" in self.flags else "text end")
        return self.character(ord(character))

    def in_case(self, edges: Edges) -> Edges:
        return _folded(edges) if "i" in self.flags else edges

    def character(self, code: int) -> Part:
        return Characters(self.in_case((code, code + 1)))

    def group(self) -> Part | None:
        flags = self.flags
        if self.at("(?"):
            named = _GROUP_NAME.match(self.pattern, self.place)
            found = _FLAGS.match(self.pattern, self.place)
            if named is not None:
                self.place = named.end()
            elif found is not None:
                self.flags = (self.flags | set(found[1])) - set(found[2] or "")
                self.place = found.end()
                if found[3] == ")":
                    return None
            else:
                raise self.fail("look-around, back-references and the like are not known.")
        else:
            self.place += 1
        part = self.alternatives()
        self.flags = flags
        if not self.at(")"):
            raise RegexError("A ( of the regular expression is never closed.")
        self.place += 1
        return part

    def escape(self) -> Part:
        letter = self.pattern[self.place + 1 : self.place + 2]
        if letter in _ASSERTIONS and letter:
            self.place += 2
            return Assertion(_ASSERTIONS[letter])
        if letter in _CLASSES and letter:
            self.place += 2
            return Characters(_CLASSES[letter])
        if letter == "Q":
            end = self.pattern.find("\\E", self.place)
            text = self.pattern[self.place + 2 : end if end >= 0 else len(self.pattern)]
            self.place = end + 2 if end >= 0 else len(self.pattern)
            return Sequence(tuple(self.character(ord(each)) for each in text))
        return self.character(self.escaped_code())

    def escaped_code(self) -> int:
        """The code of ``\\x``, which stands here."""
        letter = self.pattern[self.place + 1 : self.place + 2]
        if not letter:
            raise self.fail("a backslash ends it.")
        if letter in _CONTROLS:
            self.place += 2
            return _CONTROLS[letter]
        if letter == "x":
            found = _HEX.match(self.pattern, self.place)
            if found is None or int(found[1] or found[2], 16) >= _LAST:
                raise self.fail("\\x needs two hexadecimal digits, or {...}.")
            self.place = found.end()
            return int(found[1] or found[2], 16)
        if letter in "pP":
            raise self.fail("classes by Unicode property are not known.")
        if letter.isascii() and letter.isalnum():
            raise self.fail(f"\\{letter} is not known.")
        self.place += 2
        return ord(letter)

    def character_class(self) -> Edges:
        begin = self.place
        self.place += 1
        negated = self.at("^")
        self.place += int(negated)
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self.at("]"):
            if self.place >= len(self.pattern):
                raise RegexError(f"The [ at character {begin + 1} of the regular expression is never closed.")
            first = False
            whole = self.class_within()
            if whole is not None:
                ranges += _ranges(whole)
                continue
            low = self.class_code()
            high = low
            if self.at("-") and not self.at("-]") and self.place + 1 < len(self.pattern):
                self.place += 1
                high = self.class_code()
                if high < low:
                    raise self.fail("a range of characters goes backwards.")
            ranges.append((low, high))
        self.place += 1
        # Case first, then the complement: [^a] without case takes neither a nor A.
        edges = self.in_case(_edges(*ranges))
        return _all_but(edges) if negated else edges

    def class_within(self) -> Edges | None:
        """``[:name:]`` or ``\\d`` and the like, if one stands here."""
        if self.at("[:"):
            end = self.pattern.find(":]", self.place)
            name = self.pattern[self.place + 2 : end] if end >= 0 else ""
            edges = _NAMED.get(name.removeprefix("^"))
            if edges is None:
                raise self.fail("this is no named class of characters.")
            self.place = end + 2
            return _all_but(edges) if name.startswith("^") else edges
        letter = self.pattern[self.place + 1 : self.place + 2]
        if self.at("\\") and letter in _CLASSES and letter:
            self.place += 2
            return _CLASSES[letter]
        return None

    def class_code(self) -> int:
        if self.at("\\"):
            return self.escaped_code()
        code = ord(self.pattern[self.place])
        self.place += 1
        return code
