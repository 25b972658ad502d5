"""Expressions as tokens, in one pass over the text.

A token's value is what it stands for: an integer, nanoseconds, a text without its quotes. In texts ``\\"``,
``\\\\``, ``\\n``, ``\\r`` and ``\\t`` are escapes and any other backslash stands for itself; in patterns and
regular expressions only ``\\"`` is one, so that Windows paths and classes such as ``\\d`` need no doubling.
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple

from sealwire.secl.problems import ExpressionError, quoted

MAX_EXPRESSION_CHARS: Final = 200_000  # the longest macro of the public default policy has some 3,000
MAX_INT: Final = 2**64 - 1

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


class Kind(enum.Enum):
    """What a token is."""

    INT = "a number"
    DURATION = "a duration"
    TEXT = "a text"
    PATTERN = "a pattern"
    REGEX = "a regular expression"
    NETWORK = "an address"
    VARIABLE = "a variable"
    NAME = "a name"
    SIGN = "a sign"
    END = "the end"


class Token(NamedTuple):
    """One word of an expression."""

    kind: Kind
    value: str | int
    start: int
    end: int


_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_TOKEN: Final = re.compile(
    rf"""
      (?P<blank> (?: \s+ | \#[^\n]* | //[^\n]* )+ )
    | (?P<variable> \$\{{ [^{{}}"\s]* \}} )
    | (?P<pattern> ~{_QUOTED} )
    | (?P<regex> r{_QUOTED} )
    | (?P<text> {_QUOTED} )
    | (?P<v4> [0-9]{{1,3}} (?: \.[0-9]{{1,3}} ){{3}} (?: /[0-9]{{1,3}} )? (?![\w.]) )
    | (?P<v6> (?: [0-9a-fA-F]{{0,4}} : ){{2,8}} [0-9a-fA-F.]* (?: /[0-9]{{1,3}} )? (?![\w:]) )
    | (?P<duration> (?: [0-9]+ (?: ns | us | ms | s | m | h | d ) )+ (?!\w) )
    | (?P<int> 0[xX][0-9a-fA-F]+ (?!\w) | [0-9]+ (?!\w) )
    | (?P<name> %?[A-Za-z_]\w* (?: \[[A-Za-z_]\w*\] )? (?: \.%?[A-Za-z_]\w* (?: \[[A-Za-z_]\w*\] )? )* )
    | (?P<sign> && | \|\| | == | != | =~ | !~ | >= | <= | [<>!&|^+\-()\[\],] )
    """,
    re.X | re.S | re.A,
)
_PART: Final = re.compile(r"([0-9]+)(ns|us|ms|s|m|h|d)")
_ESCAPE: Final = re.compile(r'\\(["\\nrt])', re.S)


def tokens(text: str) -> list[Token]:
    """The words of an expression, the last of which is the end.

    Raises:
        ExpressionError: It is too long, or holds something that is no word of the language.
    """
    if len(text) > MAX_EXPRESSION_CHARS:
        raise ExpressionError(
            f"The expression has {len(text)} characters; at most {MAX_EXPRESSION_CHARS} are taken.",
            text=text[:MAX_EXPRESSION_CHARS],
            start=MAX_EXPRESSION_CHARS,
            hint="Put long lists into macros.",
        )
    found: list[Token] = []
    place = 0
    while place < len(text):
        word = _TOKEN.match(text, place)
        if word is None:
            raise _no_word(text, place)
        if word.lastgroup != "blank":
            found.append(_token(text, str(word.lastgroup), word[0], place))
        place = word.end()
    found.append(Token(Kind.END, "", len(text), len(text)))
    return found


def unescape(text: str) -> str:
    """What stands between the quotes of a text, as the characters meant."""
    return _ESCAPE.sub(lambda found: _ESCAPES[found[1]], text) if "\\" in text else text


def _token(text: str, group: str, word: str, start: int) -> Token:
    end = start + len(word)
    match group:
        case "name":
            return Token(Kind.NAME, word, start, end)
        case "sign":
            return Token(Kind.SIGN, word, start, end)
        case "text":
            return Token(Kind.TEXT, unescape(word[1:-1]), start, end)
        case "pattern":
            return Token(Kind.PATTERN, word[2:-1].replace('\\"', '"'), start, end)
        case "regex":
            return Token(Kind.REGEX, word[2:-1].replace('\\"', '"'), start, end)
        case "variable":
            return Token(Kind.VARIABLE, word[2:-1], start, end)
        case "v4" | "v6":
            return Token(Kind.NETWORK, word, start, end)
        case "duration":
            value = sum(
                _number(text, count, start, end) * _UNITS[unit] for count, unit in _PART.findall(word)
            )
            return Token(Kind.DURATION, _bounded(value, text, start, end), start, end)
        case _:
            return Token(Kind.INT, _number(text, word, start, end), start, end)


def _number(text: str, word: str, start: int, end: int) -> int:
    if len(word) > 40:
        raise ExpressionError("The number is too large.", text=text, start=start, end=end)
    if word[:2] in ("0x", "0X"):
        value = int(word, 16)
    elif len(word) > 1 and word[0] == "0":
        if not set(word) <= set("01234567"):
            raise ExpressionError(
                f"{word} is no octal number.",
                text=text,
                start=start,
                end=end,
                hint="A number that begins with 0 is octal, as in 0755; leave the 0 out for a decimal one.",
            )
        value = int(word, 8)
    else:
        value = int(word)
    return _bounded(value, text, start, end)


def _bounded(value: int, text: str, start: int, end: int) -> int:
    if value > MAX_INT:
        raise ExpressionError("The number is larger than 64 bits hold.", text=text, start=start, end=end)
    return value


def _no_word(text: str, place: int) -> ExpressionError:
    character = text[place]
    rest = text[place : place + 3]
    if character == '"' or rest.startswith(('~"', 'r"')):
        message, hint = "The text that begins here is never closed.", 'Close it with ".'
    elif character == "'":
        message, hint = "A text stands in double quotes.", 'Write "..." instead.'
    elif character == "~":
        message, hint = "~ must stand before a text.", 'Write ~"..." for a pattern.'
    elif character == "=":
        message, hint = "A single = is no operator.", "Write == to compare."
    elif rest.startswith("$"):
        message, hint = "This is no variable.", "Write ${scope.name}, without blanks."
    elif character.isdigit():
        message, hint = (
            "This is no number, duration or address.",
            "Durations end in ns, us, ms, s, m, h or d.",
        )
    else:
        message, hint = f"{quoted(character)} has no meaning here.", ""
    return ExpressionError(message, text=text, start=place, end=place + 1, hint=hint)
