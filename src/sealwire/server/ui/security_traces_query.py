"""A query as it is clicked together: one value of a facet added, taken away, or left out.

Several values of one facet are alternatives, so a second click widens and does not empty: ``service:shop``
becomes ``service:(shop OR web)``. What somebody typed by hand stays as it was typed. Invariant: what comes
out can be parsed, or nothing comes out; values are whatever attackers sent, and become text of the query
only inside of quotation marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sealwire.server.security.facets import Facet, Kind, find
from sealwire.server.security.query import MAX_CHARS, QueryError, Token, parse, tokens

# Stands for itself after a name: no space, no quotation mark, nothing that compares or stands for others.
_PLAIN = re.compile(r"[\w.:@+/=~$%&!?;,-]+")


@dataclass(frozen=True, slots=True)
class Part:
    """One term of the outermost level.

    Attributes:
        text: As typed, without what turns it around.
        facet: Whose values are named, where nothing but values is; None for everything else.
        values: Those, in lower case.
    """

    text: str
    negated: bool = False
    facet: Facet | None = None
    values: tuple[str, ...] = ()

    def written(self) -> str:
        """As text of a query."""
        return ("-" if self.negated else "") + self.text


def included(text: str, facet: Facet) -> frozenset[str]:
    """Values of the facet that the query asks for."""
    return frozenset(_values(text, facet, negated=False))


def excluded(text: str, facet: Facet) -> frozenset[str]:
    """Values of the facet that the query leaves out."""
    return frozenset(_values(text, facet, negated=True))


def toggled(text: str, facet: Facet, value: str, *, exclude: bool = False) -> str | None:
    """The query with a value asked for (or left out), or no longer if it was; None where that is none."""
    wanted = value.lower()
    parts = _parts(text)
    placed = wanted in (excluded if exclude else included)(text, facet)
    kept: list[Part] = []
    for part in parts:
        if part.facet is not facet:
            kept.append(part)
        elif not placed and not exclude and not part.negated:
            kept.append(_named(facet, (*part.values, wanted)))
            placed = True
        elif wanted not in part.values:
            kept.append(part)
        elif len(part.values) > 1:
            rest = tuple(one for one in part.values if one != wanted)
            kept.append(_named(facet, rest, negated=part.negated))
    if not placed:
        kept.append(_named(facet, (wanted,), negated=exclude))
    return _valid(kept)


def without(text: str, facet: Facet) -> str:
    """The query without the values asked of this facet: for counting its other values."""
    parts = [part for part in _parts(text) if part.facet is not facet or part.negated]
    return _valid(parts) or ""


def only(facet: Facet, value: str) -> str | None:
    """The query for one value of a facet; None where there is none."""
    return _valid([_named(facet, (value.lower(),))])


def written(facet: Facet, value: str) -> str:
    """A value as it stands in a query."""
    if facet.kind in (Kind.NUMBER, Kind.FLAG) or (_PLAIN.fullmatch(value) and value.isascii()):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _values(text: str, facet: Facet, *, negated: bool) -> Iterator[str]:
    for part in _parts(text):
        if part.facet is facet and part.negated is negated:
            yield from part.values


def _named(facet: Facet, values: Sequence[str], *, negated: bool = False) -> Part:
    texts = [written(facet, value) for value in values]
    text = f"{facet.name}:{texts[0]}" if len(texts) == 1 else f"{facet.name}:({' OR '.join(texts)})"
    return Part(text, negated, facet, tuple(values))


def _valid(parts: Sequence[Part]) -> str | None:
    text = " ".join(part.written() for part in parts)
    try:
        parse(text)
    except QueryError:
        return None
    return text if len(text) <= MAX_CHARS else None


def _parts(text: str) -> list[Part]:
    """The terms that must hold, each by itself; a query with *or* between its terms is one."""
    text = text.strip()
    found: list[Part] = []
    known = tokens(text)
    at, negated = 0, False
    while at < len(known):
        token = known[at]
        if token.kind == "minus" or (token.kind == "word" and token.text in ("NOT", "!")):
            negated = not negated
            at += 1
            continue
        if token.kind == "word" and token.text in ("AND", "&&"):
            at += 1
            continue
        if token.kind == "word" and token.text in ("OR", "||"):
            return [Part(f"({text})")]
        end = _end(known, at)
        last = known[end - 1]
        part = _read(known[at:end], text[token.at : last.at + len(last.text)])
        found.append(replace(part, negated=negated))
        at, negated = end, False
    return found


def _end(known: Sequence[Token], at: int) -> int:
    """Where the term that begins here is over."""
    if known[at].kind == "name":
        at += 1
    if at < len(known) and known[at].kind == "open":
        depth = 0
        while at < len(known):
            depth += (known[at].kind == "open") - (known[at].kind == "close")
            at += 1
            if depth == 0:
                break
        return at
    return min(at + 1, len(known))


def _read(term: Sequence[Token], text: str) -> Part:
    facet = find(term[0].text) if term[0].kind == "name" else None
    if facet is None:
        return Part(text)
    given = [token for token in term[1:] if token.kind not in ("open", "close")]
    values = []
    for number, token in enumerate(given):
        if number % 2 and token.kind == "word" and token.text in ("OR", "||"):
            continue
        value = _value(facet, token)
        if value is None:
            return Part(text)
        values.append(value)
    return Part(text, False, facet, tuple(values))


def _value(facet: Facet, token: Token) -> str | None:
    """A value that stands for itself; None for one that compares, or that stands for others."""
    if token.kind == "quoted":
        return re.sub(r"\\(.)", r"\1", token.text[1:-1]).lower()
    if token.kind != "word" or "*" in token.text:
        return None
    if facet.kind is Kind.NUMBER and token.text[0] in "<>":
        return None
    return token.text.lower()
