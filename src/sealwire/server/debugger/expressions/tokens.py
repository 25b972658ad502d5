"""The words of an expression, each with its place in the text.

Hides the lexical grammar: names, special names, numbers, texts in single or double quotation marks with the
escapes of JSON, symbols. Invariants: reading is linear in the text and never goes beyond ``MAX_CHARS``.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from sealwire.errors import InvalidChangeError, Problem

MAX_CHARS: Final = 32_000  # the text of the largest tree, all of it escaped, fits


class ExpressionError(InvalidChangeError):
    """An expression that makes no sense, and where.

    Attributes:
        position: Of the first character that is wrong, from 0.
        length: How many characters are; 0 at the end of the text.
        token: Those characters.
        expected: What should have stood there, as a sentence.
        suggestion: What to write instead, as a sentence; or empty.
    """

    code = "expression"

    def __init__(self, position: int, token: str, expected: str, *, suggestion: str = "") -> None:
        self.position = position
        self.length = len(token)
        self.token = token
        self.expected = expected
        self.suggestion = suggestion
        said = f"{expected} {suggestion}".strip()
        super().__init__(
            f"At character {position + 1}: {said}",
            problems=(Problem(path="$", message=f"{said} (character {position + 1})"),),
        )

    def within(self, offset: int) -> ExpressionError:
        """The same error in a longer text that this one is part of."""
        return type(self)(self.position + offset, self.token, self.expected, suggestion=self.suggestion)


class Kind(enum.Enum):
    """What sort of word it is."""

    NAME = "name"
    SPECIAL = "special"
    NUMBER = "number"
    TEXT = "text"
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One word.

    Attributes:
        text: As it stands there.
        start, end: Its characters in the text, from 0; the end is the first that is not its own.
        value: Of a text and a number.
    """

    kind: Kind
    text: str
    start: int
    end: int
    value: str | int | float = ""


_WORD = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<special>@[A-Za-z_]*)
      | (?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>(?:[^\W\d]|\$)[\w$]*|\#(?:[^\W\d]|\$)[\w$]*)
      | (?P<symbol>===|!==|==|!=|>=|<=|&&|\|\||[><!()\[\]{},.\-])
      | (?P<text>["'])""",
    re.X,
)
_ESCAPES: Final = {
    '"': '"',
    "'": "'",
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_INSTEAD: Final = {
    "=": "Write == to compare.",
    "&": "Write && for and.",
    "|": "Write || for or.",
    "+": "Values can be compared, not added.",
    "*": "Values can be compared, not multiplied.",
    "/": 'Values can be compared, not divided; a regular expression is a text: matches(x, "a.*").',
    "%": "Values can be compared, not divided.",
    "?": "There is no ?: and no ?. here; isDefined(x) && … asks first.",
    ";": "One expression is enough.",
    "`": "Texts stand in \" or '.",
    "→": "Write the condition in { } alone, with @it.",
}


def tokens(text: str, *, start: int = 0, in_braces: bool = False) -> tuple[Token, ...]:
    """The words of a text, in order; the last is the end.

    Args:
        start: Where to begin.
        in_braces: Stop before the ``}`` that closes no ``{`` of the expression; it is where the end is then.

    Raises:
        ExpressionError: A character means nothing, or a text is not closed.
    """
    if len(text) > MAX_CHARS:
        raise ExpressionError(MAX_CHARS, "", f"An expression has at most {MAX_CHARS} characters.")
    found: list[Token] = []
    place, braces = start, 0
    while place < len(text):
        match = _WORD.match(text, place)
        if match is None or match.lastgroup is None:
            character = text[place]
            hint = _INSTEAD.get(character, "")
            raise ExpressionError(place, character, "This character means nothing here.", suggestion=hint)
        if match.lastgroup == "text":
            token = _quoted(text, place)
        elif match.lastgroup == "number":
            token = _number(text, match)
        elif match.lastgroup == "space":
            place = match.end()
            continue
        else:
            token = Token(Kind(match.lastgroup), match[0], place, match.end())
        if in_braces and token.kind is Kind.SYMBOL and token.text in "{}":
            if token.text == "}" and braces == 0:
                return (*found, Token(Kind.END, "}", place, place + 1))
            braces += 1 if token.text == "{" else -1
        found.append(token)
        place = token.end
    return (*found, Token(Kind.END, "", len(text), len(text)))


def _number(text: str, match: re.Match[str]) -> Token:
    digits, end = match[0], match.end()
    if end < len(text) and (text[end].isalnum() or text[end] in "_$"):
        raise ExpressionError(match.start(), text[match.start() : end + 1], "A number ends with a digit.")
    if len(digits) > 32:
        raise ExpressionError(match.start(), digits, "A number has at most 32 characters.")
    value = float(digits) if any(character in ".eE" for character in digits) else int(digits)
    return Token(Kind.NUMBER, digits, match.start(), end, value)


def _quoted(text: str, start: int) -> Token:
    mark, place = text[start], start + 1
    parts: list[str] = []
    while place < len(text):
        character = text[place]
        if character == mark:
            return Token(Kind.TEXT, text[start : place + 1], start, place + 1, "".join(parts))
        if character != "\\":
            parts.append(character)
            place += 1
            continue
        escaped = text[place + 1 : place + 2]
        if escaped == "u" and (digits := _HEX.match(text, place + 2)):
            parts.append(chr(int(digits[0], 16)))
            place += 6
        elif escaped in _ESCAPES and escaped:
            parts.append(_ESCAPES[escaped])
            place += 2
        else:
            raise ExpressionError(
                place,
                text[place : place + 2],
                "This escape means nothing.",
                suggestion="A backslash itself is written \\\\, also in a regular expression.",
            )
    raise ExpressionError(start, text[start : start + 20], f"The {mark} that closes this text is missing.")
