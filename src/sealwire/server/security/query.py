"""``@appsec.security_activity:attack_attempt.* -@http.status_code:>=500``: which rows somebody means.

Terms stand for *and* unless ``OR`` is between them; ``-`` and ``NOT`` turn a term around; parentheses group,
also the values of one name (``service:(shop OR web)``). ``*`` stands for anything, a network such as
``198.51.100.0/24`` for the addresses in it, ``>=500`` and ``[400 TO 499]`` compare numbers, quotation marks
take a value as it is. A word without a name is looked for in the facets that are names. Case does not matter.

Hides the grammar. ``parse`` gives a small tree of frozen nodes, which ``compiled`` turns into a function of a
row; whoever searches a database walks the same tree. Invariants: text, depth and number of terms are bounded,
and matching a pattern takes time in proportion to the value, whatever the pattern.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.security.facets import FACETS, Facet, Kind, find, values_of
from sealwire.server.security.rows import SecurityTrace

MAX_CHARS: Final = 2_000
MAX_DEPTH: Final = 20
MAX_TERMS: Final = 100

Predicate = Callable[[SecurityTrace], bool]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class QueryError(InvalidChangeError):
    """A query that makes no sense, and where.

    Args:
        position: Of the character, from 0.
        expected: What should have stood there, as a sentence.
    """

    code = "query"

    def __init__(self, position: int, expected: str) -> None:
        super().__init__(
            f"At character {position + 1}: {expected}",
            problems=(Problem("$", f"{expected} ({position + 1})"),),
        )
        self.position = position
        self.expected = expected


# The tree ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Everything:
    """Any row."""


@dataclass(frozen=True, slots=True)
class Is:
    """A facet has this value; ``*`` in it stands for anything unless it was quoted."""

    facet: Facet
    value: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Within:
    """An address lies in this network."""

    facet: Facet
    network: Network


@dataclass(frozen=True, slots=True)
class Between:
    """A number lies here.

    Attributes:
        low: None for no bound; as is ``high``.
        low_counts: Whether the bound itself is meant; as ``high_counts`` says of the other.
    """

    facet: Facet
    low: float | None
    high: float | None
    low_counts: bool = True
    high_counts: bool = True


@dataclass(frozen=True, slots=True)
class Word:
    """A facet that is a name has this in it."""

    text: str


@dataclass(frozen=True, slots=True)
class Not:
    """The other does not hold."""

    node: Node


@dataclass(frozen=True, slots=True)
class All:
    """Each of them holds."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """One of them holds, or several."""

    nodes: tuple[Node, ...]


Node = Everything | Is | Within | Between | Word | Not | All | Any


# Reading ----------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<open>\() | (?P<close>\))
      | (?P<quoted>"(?:[^"\\]|\\.)*")
      | (?P<range>\[[^\]\[]*\])
      | (?P<name>@?[A-Za-z_][\w.@-]*):
      | (?P<minus>-(?=\S))
      | (?P<word>[^\s()"]+)
    )""",
    re.X,
)
_VALUE = re.compile(r'(?P<open>\()|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<range>\[[^\]\[]*\])|(?P<word>[^\s()"]+)')
_COMPARE = re.compile(r"(>=|<=|>|<)(-?\d{1,15}(?:\.\d{1,6})?)")
_RANGE = re.compile(r"\[\s*(\*|-?\d{1,15}(?:\.\d{1,6})?)\s+TO\s+(\*|-?\d{1,15}(?:\.\d{1,6})?)\s*\]")
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,6})?")


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Node:
    """Understand a query.

    Raises:
        QueryError: It makes no sense; says where, and what was expected there.
    """
    if len(text) > MAX_CHARS:
        raise QueryError(MAX_CHARS, f"A query has at most {MAX_CHARS} characters.")
    parser = _Parser(tokens(text), len(text))
    if not parser.tokens:
        return Everything()
    node = parser.either(0)
    if parser.next is not None:
        raise QueryError(parser.next.at, "A term was expected, not a closing parenthesis.")
    return node


def tokens(text: str) -> list[Token]:
    """The words of a query, in order; what stands after a name is its value.

    Raises:
        QueryError: A quotation mark is missing.
    """
    tokens: list[Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        after_name = tokens and tokens[-1].kind == "name"
        match = (_VALUE.match(text, at) if after_name else None) or _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            raise QueryError(start, "The quotation mark that closes this one is missing.")
        tokens.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        at = match.end()
    return tokens


class _Parser:
    """Descends through the tokens; ``depth`` counts parentheses and what turns terms around."""

    def __init__(self, tokens: list[Token], end: int) -> None:
        self.tokens = tokens
        self.end = end
        self._at = 0
        self._terms = 0

    @property
    def next(self) -> Token | None:
        return self.tokens[self._at] if self._at < len(self.tokens) else None

    def _is_word(self, *words: str) -> bool:
        token = self.next
        return token is not None and token.kind == "word" and token.text in words

    def either(self, depth: int) -> Node:
        """Terms with ``OR`` between them."""
        nodes = [self._both(depth)]
        while self._is_word("OR", "||"):
            self._at += 1
            nodes.append(self._both(depth))
        return nodes[0] if len(nodes) == 1 else Any(tuple(nodes))

    def _both(self, depth: int) -> Node:
        nodes = [self._turned(depth)]
        while (token := self.next) is not None and token.kind != "close" and not self._is_word("OR", "||"):
            if self._is_word("AND", "&&"):
                self._at += 1
            nodes.append(self._turned(depth))
        return nodes[0] if len(nodes) == 1 else All(tuple(nodes))

    def _turned(self, depth: int) -> Node:
        token = self.next
        if depth > MAX_DEPTH:
            raise QueryError(token.at if token else self.end, f"At most {MAX_DEPTH} levels are understood.")
        if token is not None and (token.kind == "minus" or self._is_word("NOT", "!")):
            self._at += 1
            return Not(self._turned(depth + 1))
        return self._term(depth)

    def _term(self, depth: int) -> Node:
        token = self._take("A term such as service:shop was expected here.")
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise QueryError(token.at, f"At most {MAX_TERMS} terms are understood.")
        if token.kind == "open":
            node = self.either(depth + 1)
            self._close(token)
            return node
        if token.kind == "name":
            return self._named(token, depth)
        if token.kind == "close":
            raise QueryError(token.at, "A term was expected, not a closing parenthesis.")
        if token.kind == "word" and token.text in ("AND", "OR", "&&", "||"):
            raise QueryError(token.at, f"A term was expected before {token.text}.")
        if token.kind == "word" and token.text == "*":
            return Everything()
        return Word(_unquoted(token.text).lower())

    def _named(self, name: Token, depth: int) -> Node:
        facet = find(name.text)
        if facet is None:
            near = difflib.get_close_matches(name.text.lower(), FACETS, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise QueryError(name.at, f"There is no facet {name.text}.{hint}")
        example = _EXAMPLES[facet.kind]
        value = self._take(f"{facet.name} needs a value, as in {facet.name}:{example}.")
        if value.kind == "open":
            return self._values(facet, value, depth + 1)
        return self._value(facet, value)

    def _values(self, facet: Facet, opened: Token, depth: int) -> Node:
        """``(a OR b)``: several values of one facet."""
        nodes = [self._value(facet, self._take("A value was expected here."))]
        while self._is_word("OR", "||"):
            self._at += 1
            nodes.append(self._value(facet, self._take("A value was expected here.")))
            self._terms += 1
        if self._terms > MAX_TERMS:
            raise QueryError(opened.at, f"At most {MAX_TERMS} terms are understood.")
        self._close(opened)
        return nodes[0] if len(nodes) == 1 else Any(tuple(nodes))

    def _value(self, facet: Facet, token: Token) -> Node:
        if token.kind not in ("word", "quoted", "range"):
            raise QueryError(token.at, f"A value of {facet.name} was expected here.")
        if facet.kind is Kind.NUMBER:
            return _number(facet, token)
        text = _unquoted(token.text)
        if facet.kind is Kind.FLAG:
            if text.lower() not in ("true", "false", "*"):
                raise QueryError(token.at, f"{facet.name} is true or false.")
            return Is(facet, text.lower())
        if facet.kind is Kind.ADDRESS and "/" in text:
            try:
                return Within(facet, ipaddress.ip_network(text, strict=False))
            except ValueError:
                raise QueryError(token.at, f"{text} is no network, as 198.51.100.0/24 is one.") from None
        return Is(facet, text.lower(), token.kind == "quoted")

    def _take(self, expected: str) -> Token:
        token = self.next
        if token is None:
            raise QueryError(self.end, expected)
        self._at += 1
        return token

    def _close(self, opened: Token) -> None:
        token = self.next
        if token is None or token.kind != "close":
            raise QueryError(opened.at, "The parenthesis that closes this one is missing.")
        self._at += 1


_EXAMPLES = {
    Kind.TEXT: "shop",
    Kind.TEXTS: "sql*",
    Kind.ADDRESS: "198.51.100.7",
    Kind.NUMBER: ">=500",
    Kind.FLAG: "true",
}


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _number(facet: Facet, token: Token) -> Node:
    text = _unquoted(token.text)
    if text == "*":
        return Between(facet, None, None)
    if match := _RANGE.fullmatch(text):
        low, high = (None if bound == "*" else float(bound) for bound in match.groups())
        return Between(facet, low, high)
    if match := _COMPARE.fullmatch(text):
        bound, counts = float(match[2]), "=" in match[1]
        if match[1][0] == ">":
            return Between(facet, bound, None, low_counts=counts)
        return Between(facet, None, bound, high_counts=counts)
    if _NUMBER.fullmatch(text):
        return Between(facet, float(text), float(text))
    raise QueryError(token.at, f"{facet.name} is a number, as in 404, >=500 or [400 TO 499].")


# Asking -----------------------------------------------------------------------------------------------------


def compiled(node: Node) -> Predicate:
    """A function that says whether a row is meant."""
    match node:
        case Everything():
            return lambda row: True
        case Not(inner):
            holds = compiled(inner)
            return lambda row: not holds(row)
        case All(nodes):
            parts = tuple(compiled(each) for each in nodes)
            if len(parts) == 2:
                first, second = parts
                return lambda row: first(row) and second(row)
            return lambda row: all(part(row) for part in parts)
        case Any(nodes):
            parts = tuple(compiled(each) for each in nodes)
            return lambda row: any(part(row) for part in parts)
        case Between():
            return _between(node)
        case Within(facet, network):
            return _within(facet.attribute, network)
        case Word(text):
            return _word(text)
        case Is():
            return _is(node)


def _between(node: Between) -> Predicate:
    attribute, low, high = node.facet.attribute, node.low, node.high
    low_counts, high_counts = node.low_counts, node.high_counts

    def holds(row: SecurityTrace) -> bool:
        value = getattr(row, attribute)
        if low is not None and (value < low or (value == low and not low_counts)):
            return False
        if high is not None and (value > high or (value == high and not high_counts)):
            return False
        return bool(value) or low is not None or high is not None

    return holds


def _within(attribute: str, network: Network) -> Predicate:
    def holds(row: SecurityTrace) -> bool:
        try:
            address = ipaddress.ip_address(getattr(row, attribute))
        except ValueError:
            return False
        return address.version == network.version and address in network

    return holds


def _word(text: str) -> Predicate:
    getters = tuple(values_of(facet) for facet in FACETS.values() if facet.free)
    fits = pattern(f"*{text}*") if "*" in text else None

    def holds(row: SecurityTrace) -> bool:
        for get in getters:
            for value in get(row):
                low = value.lower()
                if text in low if fits is None else fits(low):
                    return True
        return False

    return holds


def _is(node: Is) -> Predicate:
    attribute, wanted = node.facet.attribute, node.value
    if node.facet.kind is Kind.FLAG:
        if wanted == "*":
            return lambda row: True
        flag = wanted == "true"
        return lambda row: getattr(row, attribute) is flag
    fits = None if node.quoted or "*" not in wanted else pattern(wanted)
    if node.facet.kind is Kind.TEXTS:
        if attribute == "activities":  # asked of every row by nearly every rule, and in lower case already
            if fits is None:
                return lambda row: wanted in row.activities
            if wanted.endswith(".*") and wanted.count("*") == 1:
                return lambda row: _one_starts_with(row.activities, wanted[:-1])
        if fits is None:
            return lambda row: any(value.lower() == wanted for value in getattr(row, attribute))
        return lambda row: any(fits(value.lower()) for value in getattr(row, attribute))
    if fits is None:
        return lambda row: getattr(row, attribute).lower() == wanted
    return lambda row: (value := getattr(row, attribute)) != "" and fits(value.lower())


def _one_starts_with(values: tuple[str, ...], start: str) -> bool:
    for value in values:  # noqa: SIM110 - a generator costs three times as much
        if value.startswith(start):
            return True
    return False


def pattern(text: str) -> Callable[[str], bool]:
    """Whether a value is like this, ``*`` standing for anything; takes one walk over the value."""
    first, *rest = text.split("*")
    if not rest:
        return lambda value: value == first
    *middle, last = rest
    middle = [part for part in middle if part]
    if not middle and not last:
        return lambda value: value.startswith(first)

    def fits(value: str) -> bool:
        end = len(value) - len(last)
        if not value.startswith(first) or not value.endswith(last):
            return False
        at = len(first)
        for part in middle:
            at = value.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return at <= end

    return fits


def activities_of(node: Node) -> frozenset[str] | None:
    """Patterns of which a row must have one for the query to hold; None where it may hold without any."""
    match node:
        case Is(facet, value, quoted) if facet.attribute == "activities":
            return frozenset({value}) if not quoted or "*" not in value else None
        case All(nodes):
            return next((found for each in nodes if (found := activities_of(each)) is not None), None)
        case Any(nodes):
            each = [activities_of(one) for one in nodes]
            needed = [one for one in each if one is not None]
            return frozenset().union(*needed) if len(needed) == len(each) else None
        case _:
            return None
