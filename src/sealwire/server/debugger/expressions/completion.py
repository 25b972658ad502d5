"""What may stand at a cursor: names in scope, fields, functions, special names, operators.

Hides how the text before the cursor is understood: by its words alone, so that a half-written expression
completes as well as a whole one. Invariants: any text and any cursor give an answer; a special name is
offered only where ``parser.parse`` takes it; the answer is bounded.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sealwire.products.probe_expressions import OF_LAMBDAS, OF_METHODS, OPERATORS, SPECIALS, is_field
from sealwire.server.debugger.expressions.parser import Place
from sealwire.server.debugger.expressions.tokens import MAX_CHARS, ExpressionError, Kind, Token, tokens

MAX_CANDIDATES: Final = 50
_MAX_UNWOUND: Final = 40


@dataclass(frozen=True, slots=True)
class Known:
    """A name somebody may write, and what is known of its value.

    Attributes:
        kind: ``argument``, ``local``, ``field``, ``key``, ``element``; as people call it.
        type: As the program calls it; empty if unknown.
        members: Its fields; of a list, one with the kind ``element``; of a map, its keys.
    """

    name: str
    kind: str = "local"
    type: str = ""
    members: tuple[Known, ...] = ()


CandidateKind = Literal["name", "field", "function", "special", "constant", "operator"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may be put in place of ``Completion.start`` to ``Completion.end``.

    Attributes:
        text: What is put there.
        caret: How many characters of it stand behind the cursor afterwards: ``isEmpty(`` ``)`` has 1.
        detail: A type, or a sentence.
    """

    text: str
    kind: CandidateKind
    detail: str = ""
    caret: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What may stand at the cursor, the likeliest first."""

    start: int
    end: int
    candidates: tuple[Candidate, ...]


def complete(
    text: str, cursor: int, *, names: Sequence[Known] = (), place: Place = Place.ANYWHERE
) -> Completion:
    """Say what may stand at a cursor in an expression."""
    cursor = max(0, min(cursor, len(text), MAX_CHARS))
    words = _words_before(text[:cursor])
    if words is None:  # in a text: it is the author's own
        return Completion(cursor, cursor, ())
    begun = words.pop() if words and _is_begun(words[-1], cursor) else None
    start = begun.start if begun else cursor
    end = cursor
    while end < len(text) and (text[end].isalnum() or text[end] in "_$"):
        end += 1
    typed = begun.text if begun else ""
    lambda_of = _lambdas(words, names)
    before = words[-1] if words else None
    if before is not None and before.text == ".":
        offered = _fields(words[:-1], names, lambda_of)
    elif before is not None and _ends_value(before):
        offered = _operators() if not typed else []
    else:
        offered = _values(names, place, is_in_lambda=bool(lambda_of))
    return Completion(start, end, _ranked(offered, typed))


def complete_template(
    text: str, cursor: int, *, names: Sequence[Known] = (), place: Place = Place.ANYWHERE
) -> Completion:
    """Say what may stand at a cursor in the text of a message; nothing outside of its braces."""
    cursor = max(0, min(cursor, len(text), MAX_CHARS))
    opened = _open_brace(text[:cursor])
    if opened is None:
        return Completion(cursor, cursor, ())
    found = complete(text[opened:], cursor - opened, names=names, place=place)
    return Completion(found.start + opened, found.end + opened, found.candidates)


def _open_brace(text: str) -> int | None:
    """Where the expression begins that the end of the text is in."""
    start = 0
    while start < len(text):
        if text.startswith(("{{", "}}"), start):
            start += 2
        elif text[start] == "{":
            try:
                words = tokens(text, start=start + 1, in_braces=True)
            except ExpressionError:
                return start + 1
            if words[-1].text != "}":
                return start + 1
            start = words[-1].end
        else:
            start += 1
    return None


def _words_before(text: str) -> list[Token] | None:
    """The words before the cursor; None if it is in a text. What means nothing is left out."""
    for _ in range(_MAX_UNWOUND):
        try:
            return list(tokens(text)[:-1])
        except ExpressionError as error:
            if error.token[:1] in ("'", '"'):
                return None
            gone = max(error.length, 1)
            text = text[: error.position] + " " * gone + text[error.position + gone :]
    return []


def _is_begun(token: Token, cursor: int) -> bool:
    return token.end == cursor and token.kind in (Kind.NAME, Kind.SPECIAL)


def _ends_value(token: Token) -> bool:
    if token.kind is Kind.SYMBOL:
        return token.text in (")", "]", "}")
    return True


def _values(names: Sequence[Known], place: Place, *, is_in_lambda: bool) -> list[Candidate]:
    found = [Candidate(each.name, "name", each.type or each.kind) for each in names if each.name[:1] != "@"]
    # In braces, what they ask of is what is wanted first.
    for name, says in sorted(SPECIALS.items(), key=lambda each: each[0] not in OF_LAMBDAS):
        if name in OF_LAMBDAS and not is_in_lambda:
            continue
        if name in OF_METHODS and place in (Place.LINE, Place.ENTRY):
            continue
        found.append(Candidate(name, "special", says))
    found.extend(_functions())
    found.extend(Candidate(word, "constant") for word in ("true", "false", "null"))
    return found


def _functions() -> list[Candidate]:
    found = []
    for name, operator in OPERATORS.items():
        if operator.symbol or name in ("getmember", "index"):
            continue
        text, caret = (f"{name}(, {{}})", 5) if operator.takes_lambda else (f"{name}()", 1)
        found.append(Candidate(text, "function", f"{operator.usage}: {operator.says}", caret))
    return found


def _operators() -> list[Candidate]:
    return [
        Candidate(each.symbol, "operator", f"{each.usage}: {each.says}")
        for each in OPERATORS.values()
        if each.symbol and each.arity == 2
    ]


def _fields(
    words: Sequence[Token], names: Sequence[Known], lambda_of: Sequence[Known | None]
) -> list[Candidate]:
    subject = _subject(words, names, lambda_of)
    found = []
    for each in subject.members if subject else ():
        if each.kind == "field" and is_field(each.name):
            found.append(Candidate(each.name, "field", each.type))
    for name, operator in OPERATORS.items():
        if operator.symbol or name in ("getmember", "index"):
            continue
        text, caret = ("({})", 2) if operator.takes_lambda else (f"({', ' * (operator.arity - 2)})", 1)
        if operator.arity == 1:
            caret = 0
        found.append(Candidate(f"{name}{text}", "function", operator.says, caret))
    return found


def _lambdas(words: Sequence[Token], names: Sequence[Known]) -> list[Known | None]:
    """What ``@it`` stands for in each pair of braces that is open at the end, outermost first."""
    stack: list[Known | None] = []
    for number, word in enumerate(words):
        if word.text == "{" and word.kind is Kind.SYMBOL:
            last = number - 1
            if last >= 0 and words[last].text == ",":
                last -= 1
            elif last >= 0 and words[last].text == "(":  # written as a method: list.any({…})
                last -= 2 if words[last - 2].text != "." else 3
            first = max(0, last + 1 - 4 * _MAX_UNWOUND)  # as far back as it looks
            listed = _subject(words[first : last + 1], names, stack)
            element = (
                next((each for each in listed.members if each.kind == "element"), None) if listed else None
            )
            stack.append(element)
        elif word.text == "}" and word.kind is Kind.SYMBOL and stack:
            stack.pop()
    return stack


def _subject(
    words: Sequence[Token], names: Sequence[Known], lambda_of: Sequence[Known | None]
) -> Known | None:
    """What is known of the value that the words end with, such as ``order.lines[0]``."""
    steps: list[str | None] = []  # the names of fields and keys, last first; None: any element
    place = len(words) - 1
    for _ in range(_MAX_UNWOUND):
        if place < 0:
            return None
        word = words[place]
        if word.text == "]" and word.kind is Kind.SYMBOL:
            if place < 3 or words[place - 2].text != "[":
                return None
            key = words[place - 1]
            steps.append(str(key.value) if key.kind is Kind.TEXT else None)
            place -= 3
        elif word.kind is Kind.NAME and place >= 1 and words[place - 1].text == ".":
            steps.append(word.text)
            place -= 2
        elif word.kind in (Kind.NAME, Kind.SPECIAL):
            break
        else:
            return None
    else:
        return None
    if words[place].text == "@it":
        found = lambda_of[-1] if lambda_of else None
    else:
        found = next((each for each in names if each.name == words[place].text), None)
    for step in reversed(steps):
        if found is None:
            return None
        fits = (
            each
            for each in found.members
            if (each.kind == "element" if step is None else each.name == step and each.kind != "element")
        )
        found = next(fits, None)
    return found


def _ranked(offered: Sequence[Candidate], typed: str) -> tuple[Candidate, ...]:
    """Those that begin so, then those that have it in them, then those that are nearly it."""
    wanted = typed.lower()
    if not wanted:
        return tuple(offered[:MAX_CANDIDATES])
    texts = {id(each): each.text.partition("(")[0].lower() for each in offered}
    begins = [each for each in offered if texts[id(each)].startswith(wanted)]
    within = [each for each in offered if wanted in texts[id(each)][1:] and each not in begins]
    nearly: list[Candidate] = []
    if not begins and not within:
        close = difflib.get_close_matches(wanted[:80], list(texts.values()), n=3, cutoff=0.7)
        nearly = [each for each in offered if texts[id(each)] in close]
    return tuple((*begins, *within, *nearly)[:MAX_CANDIDATES])
