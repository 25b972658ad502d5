"""Regular expressions in time proportional to the text, whatever pattern and text are.

The standard library's engine goes back and tries again, which takes exponential time for some patterns.
This one walks all ways at once: the pattern becomes a graph of a few thousand nodes, and sets of nodes become
states as texts need them, which are kept. A step that was taken before is one look into a dictionary.
What the syntax allows is what the engine of the original allows: no look-around, no back-references.

``Regex.search`` says whether the pattern is found anywhere in a text. A text that needs more new states than
``MAX_WORK`` pays for is given up and counted in ``given_up``; only a pattern written for it does so.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, Literal, TypeAlias

from sealwire.secl.regex_syntax import (
    MAX_NODES,
    Alternatives,
    Assertion,
    Characters,
    Part,
    RegexError,
    Repeat,
    Sequence,
    parse_regex,
    size,
)

__all__ = ["MAX_NODES", "MAX_WORK", "Regex", "RegexError"]

MAX_WORK: Final = 2_000_000  # visits of nodes for one text, some 0.3 s
_MAX_KEPT: Final = 4_000  # states, after which all are forgotten

_START, _WORD, _NEWLINE, _OTHER = 0, 1, 2, 3

_WORD_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


class _State(dict[str, "_State | None"]):
    """Where the walk is: next states by character; ``None`` is a match."""

    __slots__ = ("before", "nodes")

    def __init__(self, nodes: tuple[int, ...], before: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.before = before


class Regex:
    """A compiled pattern.

    Raises:
        RegexError: The pattern is none, or too large.
    """

    __slots__ = ("_anchored", "_begin", "_kept", "_literal", "_nodes", "_plain", "given_up", "pattern")

    def __init__(self, pattern: str) -> None:
        part = parse_regex(pattern)
        if size(part) > MAX_NODES:
            raise RegexError(f"The regular expression is too large: it makes more than {MAX_NODES} steps.")
        part = _without_ends(part)
        self.pattern = pattern
        self.given_up = 0
        self._plain = _plain(part)
        self._literal = "" if self._plain else _required(part)
        self._nodes = _Graph()
        end = self._nodes.add(("match",))
        self._begin = self._nodes.build(part, end)
        self._anchored = _is_anchored(part)
        self._kept: dict[tuple[tuple[int, ...], int], _State] = {}

    def search(self, text: str) -> bool:
        """Whether the pattern is found in a text."""
        if self._plain is not None:
            how, literal = self._plain
            if how == "in":
                return literal in text
            if how == "starts":
                return text.startswith(literal)
            return text.endswith(literal) if how == "ends" else text == literal
        if self._literal and self._literal not in text:
            return False
        return self._walk(text)

    def _walk(self, text: str) -> bool:
        work = 0
        state = self._state((self._begin,), _START)
        for character in text:
            try:
                after = state[character]
            except KeyError:
                work += 8 + 4 * len(state.nodes)
                if work > MAX_WORK:
                    self.given_up += 1
                    return False
                after, visits = self._step(state, character)
                work += visits
            if after is None:
                return True
            state = after
            if not state.nodes:
                return False
        return self._reach(state, None)[0]

    def _state(self, nodes: tuple[int, ...], before: int) -> _State:
        found = self._kept.get((nodes, before))
        if found is None:
            if len(self._kept) >= _MAX_KEPT:
                for each in self._kept.values():
                    each.clear()  # states refer to one another; let them go
                self._kept.clear()
            found = self._kept[(nodes, before)] = _State(nodes, before)
        return found

    def _step(self, state: _State, character: str) -> tuple[_State | None, int]:
        matched, reached = self._reach(state, character)
        after: _State | None = None
        if not matched:
            code = ord(character)
            following = {self._nodes.after[node] for node in reached if self._nodes.takes(node, code)}
            if not self._anchored:
                following.add(self._begin)
            if character in _WORD_CHARACTERS:
                before = _WORD
            else:
                before = _NEWLINE if character == "\n" else _OTHER
            after = self._state(tuple(sorted(following)), before)
        if len(state) < 512:  # characters beyond are rare enough to be worked out again
            state[character] = after
        return after, len(reached)

    def _reach(self, state: _State, character: str | None) -> tuple[bool, list[int]]:
        """What can be reached without taking a character: whether the match, and the nodes that take one."""
        seen: set[int] = set()
        waiting = list(state.nodes)
        takers: list[int] = []
        matched = False
        nodes = self._nodes
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            kind = nodes.kinds[node]
            if kind[0] == "take":
                takers.append(node)
            elif kind[0] == "split":
                waiting += nodes.ways[node]
            elif kind[0] == "match":
                matched = True
            elif _holds(kind[1], state.before, character):
                waiting.append(nodes.after[node])
        return matched, takers


def _holds(assertion: str, before: int, character: str | None) -> bool:
    match assertion:
        case "text start":
            return before == _START
        case "text end":
            return character is None
        case "line start":
            return before in (_START, _NEWLINE)
        case "line end":
            return character is None or character == "\n"
    at_edge = (before == _WORD) != (character is not None and character in _WORD_CHARACTERS)
    return at_edge if assertion == "edge" else not at_edge


_Kind: TypeAlias = tuple[Literal["match", "split", "take"]] | tuple[Literal["assert"], str]


class _Graph:
    """The pattern as nodes: those that take a character, those that fork, those that hold only somewhere."""

    def __init__(self) -> None:
        self.kinds: list[_Kind] = []
        self.after: list[int] = []
        self.ways: list[tuple[int, ...]] = []
        self.ranges: list[tuple[int, ...]] = []

    def add(
        self, kind: _Kind, *, after: int = -1, ways: tuple[int, ...] = (), ranges: tuple[int, ...] = ()
    ) -> int:
        self.kinds.append(kind)
        self.after.append(after)
        self.ways.append(ways)
        self.ranges.append(ranges)
        return len(self.kinds) - 1

    def takes(self, node: int, code: int) -> bool:
        # Edges alternate: the first code of a range, the first after it.
        return bool(bisect_right(self.ranges[node], code) & 1)

    def build(self, part: Part, after: int) -> int:
        """Add what walks the part and goes on to ``after``; where to begin."""
        match part:
            case Characters(edges=edges):
                return self.add(("take",), after=after, ranges=edges)
            case Assertion(name=name):
                return self.add(("assert", name), after=after)
            case Sequence(parts=parts):
                for each in reversed(parts):
                    after = self.build(each, after)
                return after
            case Alternatives(parts=parts):
                return self.add(("split",), ways=tuple(self.build(each, after) for each in parts))
            case Repeat(part=inner, least=least, most=most):
                if most is None:
                    again = self.add(("split",))
                    self.ways[again] = (self.build(inner, again), after)
                    after = again
                else:
                    out = after
                    for _ in range(most - least):
                        after = self.add(("split",), ways=(self.build(inner, after), out))
                for _ in range(least):
                    after = self.build(inner, after)
                return after


def _without_ends(part: Part) -> Part:
    """The same without a leading or trailing part that can be nothing: it is searched anywhere anyway."""
    if not isinstance(part, Sequence):
        return part
    parts = list(part.parts)
    while parts and isinstance(parts[0], Repeat) and parts[0].least == 0:
        parts.pop(0)
    while parts and isinstance(parts[-1], Repeat) and parts[-1].least == 0:
        parts.pop()
    return Sequence(tuple(parts))


def _plain(part: Part) -> tuple[str, str] | None:
    """How a pattern that is but a text, perhaps held to an end, is found without walking."""
    parts = list(part.parts) if isinstance(part, Sequence) else [part]
    starts = bool(parts) and parts[0] == Assertion("text start")
    if starts:
        parts.pop(0)
    ends = bool(parts) and parts[-1] == Assertion("text end")
    if ends:
        parts.pop()
    text = ""
    for each in parts:
        character = each.only() if isinstance(each, Characters) else ""
        if not character:
            return None
        text += character
    return {(0, 0): "in", (1, 0): "starts", (0, 1): "ends", (1, 1): "is"}[(int(starts), int(ends))], text


def _required(part: Part) -> str:
    """The longest text that is in whatever the pattern matches; empty if none is known."""
    best = run = ""
    for each in part.parts if isinstance(part, Sequence) else (part,):
        character = each.only() if isinstance(each, Characters) else ""
        run = run + character if character else run if isinstance(each, Assertion) else ""
        inner = ""
        if isinstance(each, Sequence) or (isinstance(each, Repeat) and each.least):
            inner = _required(each if isinstance(each, Sequence) else each.part)
        best = max(best, run, inner, key=len)
    return best


def _is_anchored(part: Part) -> bool:
    first = part
    while isinstance(first, Sequence) and first.parts:
        first = first.parts[0]
    return first == Assertion("text start")
