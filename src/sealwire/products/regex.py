"""Whether the tracers' regular expression engine will take a pattern, found without running it.

The engine in the tracers is RE2: no look-around, no back-references, no possessive repeats, no repeat
over 1000. A pattern it does not take is dropped silently with its whole rule, so authors are told here.
The pattern is read character by character and never compiled: an author's text must not be able to keep
this process busy. What is found is certain; a few exotic patterns that RE2 refuses pass.
"""

from __future__ import annotations

import re

MAX_REGEX_LENGTH = 65_536  # the longest of the bundled ruleset has 14,692 characters
_MAX_REPEAT = 1_000

_COUNT = re.compile(r"\{([0-9]{1,9})(?:,([0-9]{0,9}))?\}", re.ASCII)
_GROUP = re.compile(r"\(\?(?::|P?<[A-Za-z_][A-Za-z0-9_]*>|[imsU]*(?:-[imsU]+)?[:)])", re.ASCII)
_ESCAPE_LETTERS = frozenset("AabBCdDfnpPQrsStvwWxzE")
_REFUSED_GROUPS = {
    "(?=": "look-ahead",
    "(?!": "look-ahead",
    "(?<=": "look-behind",
    "(?<!": "look-behind",
    "(?>": "an atomic group",
    "(?#": "a comment",
    "(?|": "a branch reset",
    "(?P=": "a back-reference",
    "(?P>": "a recursion",
}


def why_refused(pattern: str) -> str | None:
    """Say why the tracers would drop this pattern, or None."""
    if not pattern:
        return "The pattern must not be empty."
    if len(pattern) > MAX_REGEX_LENGTH:
        return f"The pattern has {len(pattern)} characters; at most {MAX_REGEX_LENGTH} are allowed."
    return _Scan(pattern).run()


class _Scan:
    """One pass over a pattern.

    ``repeat`` says what a repetition would apply to: ``nothing``, ``atom``, or ``repeated`` when the last
    thing was itself a repetition.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.position = 0
        self.open_groups: list[int] = []
        self.repeat = "nothing"

    def run(self) -> str | None:
        while self.position < len(self.pattern):
            wrong = self._step()
            if wrong:
                return wrong
        if self.open_groups:
            return f"The group opened at character {self.open_groups[-1] + 1} is never closed."
        return None

    def _step(self) -> str | None:
        match self.pattern[self.position]:
            case "\\":
                return self._escape()
            case "[":
                return self._character_class()
            case "(":
                return self._open_group()
            case ")":
                if not self.open_groups:
                    return f"The ) at character {self.position + 1} closes nothing."
                self.open_groups.pop()
                return self._advance(1, "atom")
            case "|":
                return self._advance(1, "nothing")
            case "*" | "+" | "?":
                return self._repetition(1)
            case "{":
                count = _COUNT.match(self.pattern, self.position)
                return self._count(count) if count else self._advance(1, "atom")
            case _:
                return self._advance(1, "atom")

    def _advance(self, characters: int, repeat: str) -> str | None:
        """Go on behind something that is right: there is nothing to say of it."""
        self.position += characters
        self.repeat = repeat
        return None

    def _escape(self) -> str | None:
        wrong = self._escape_is_wrong()
        if wrong:
            return wrong
        if self.pattern.startswith(r"\Q", self.position):
            end = self.pattern.find(r"\E", self.position)
            self._advance((len(self.pattern) if end < 0 else end + 2) - self.position, "atom")
        elif self.pattern.startswith((r"\p{", r"\P{", r"\x{"), self.position):
            end = self.pattern.find("}", self.position)
            if end < 0:
                return f"The {{ at character {self.position + 3} is never closed."
            self._advance(end + 1 - self.position, "atom")
        else:
            self._advance(2, "atom")
        return None

    def _escape_is_wrong(self) -> str | None:
        following = self.pattern[self.position + 1 : self.position + 2]
        if not following:
            return "The pattern ends in a lone backslash."
        after = self.pattern[self.position + 2 : self.position + 3]
        if following in "89" or (following in "1234567" and (not after or after not in "01234567")):
            return f"\\{following} is a back-reference; the tracers' engine (RE2) has none."
        if following.isascii() and following.isalpha() and following not in _ESCAPE_LETTERS:
            return (
                f"\\{following} at character {self.position + 1} is not known to the tracers' engine (RE2)."
            )
        return None

    def _character_class(self) -> str | None:
        start = self.position
        position = start + 1
        if self.pattern.startswith("^", position):
            position += 1
        first = position
        while position < len(self.pattern):
            if self.pattern[position] == "]" and position > first:
                self.position = position + 1
                self.repeat = "atom"
                return None
            if self.pattern.startswith("[:", position):
                end = self.pattern.find(":]", position + 2)
                position = end + 2 if end >= 0 else position + 1
            elif self.pattern[position] == "\\":
                self.position = position
                wrong = self._escape_is_wrong()
                if wrong:
                    return wrong
                position += 2
            else:
                position += 1
        return f"The [ at character {start + 1} is never closed."

    def _open_group(self) -> str | None:
        if not self.pattern.startswith("(?", self.position):
            self.open_groups.append(self.position)
            return self._advance(1, "nothing")
        for opening, name in _REFUSED_GROUPS.items():
            if self.pattern.startswith(opening, self.position):
                where = f"{opening} at character {self.position + 1}"
                return f"{where} is {name}; the tracers' engine (RE2) has none."
        group = _GROUP.match(self.pattern, self.position)
        if group is None:
            return f"The group at character {self.position + 1} is not known to the tracers' engine (RE2)."
        if not group[0].endswith(")"):
            self.open_groups.append(self.position)
        return self._advance(len(group[0]), "nothing")

    def _count(self, count: re.Match[str]) -> str | None:
        least = int(count[1])
        most = int(count[2]) if count[2] else least
        if max(least, most) > _MAX_REPEAT:
            return (
                f"{count[0]} repeats more than {_MAX_REPEAT} times, the most the tracers' engine (RE2) takes."
            )
        if most < least:
            return f"{count[0]} counts backwards."
        return self._repetition(len(count[0]))

    def _repetition(self, characters: int) -> str | None:
        if self.repeat == "nothing":
            return f"There is nothing to repeat before character {self.position + 1}."
        if self.repeat == "repeated":
            return f"Two repetitions follow each other at character {self.position + 1}; use a group."
        lazy = self.pattern.startswith("?", self.position + characters)
        return self._advance(characters + int(lazy), "repeated")
