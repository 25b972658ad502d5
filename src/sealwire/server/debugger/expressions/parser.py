"""``a > 1 && !isEmpty(order.items)``: what somebody means by the text of an expression.

``||`` binds least, then ``&&``, comparisons, ``!``, and what stands behind a value: ``.name``, ``[key]``,
``.startsWith("a")``, which is ``startsWith(x, "a")``. Comparisons do not follow one another. The condition of
``any``, ``all`` and ``filter`` stands in braces.

Hides the grammar, a Pratt parser. Invariants: what it returns is bounded as every tree of expressions is;
any text gives a tree or an ``ExpressionError`` that says where, what was expected, and what to write instead.
"""

from __future__ import annotations

import difflib
import enum
from typing import Final, NoReturn

from sealwire.products.probe_expressions import (
    MAX_DEPTH,
    MAX_NODES,
    OF_LAMBDAS,
    OF_METHODS,
    OPERATORS,
    SPECIALS,
    Call,
    Literal,
    Node,
    Operator,
    Ref,
    joined,
    too_much,
    walk,
    wrong_literal,
    wrong_operand,
)
from sealwire.server.debugger.expressions.tokens import ExpressionError, Kind, Token, tokens

__all__ = ["FUNCTIONS", "ExpressionError", "Place", "check_place", "parse", "parse_within"]


class Place(enum.Enum):
    """Where an expression is evaluated; some special names mean something in one place only."""

    ANYWHERE = "anywhere"
    LINE = "line"
    ENTRY = "entry"
    EXIT = "exit"


FUNCTIONS: Final[dict[str, Operator]] = {
    **{name: each for name, each in OPERATORS.items() if not each.symbol},
    "count": OPERATORS["len"],
    "hasAny": OPERATORS["any"],
    "hasAll": OPERATORS["all"],
}
_SYMBOLS: Final = {each.symbol: name for name, each in OPERATORS.items() if each.symbol}
_BINDS: Final = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3}
_NOT_BINDS: Final = 4
_CONSTANTS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
_FOREIGN: Final = {"True": "true", "False": "false", "None": "null"}
_WORDS: Final = {
    "and": "Write &&.",
    "or": "Write ||.",
    "not": "Write !.",
    "is": "Write ==.",
    "in": "Write contains(list, value).",
    "instanceof": 'Write instanceof(x, "pkg.Type").',
}
_OPERATOR_EXPECTED = "An operator such as == or && was expected, or the end."


def parse(text: str, *, place: Place = Place.ANYWHERE) -> Node:
    """Understand an expression.

    Args:
        place: Where it will be evaluated.

    Raises:
        ExpressionError: It makes no sense, or means nothing in that place.
    """
    return _Parser(text, tokens(text), place).whole()


def parse_within(text: str, start: int, *, place: Place = Place.ANYWHERE) -> tuple[Node, int]:
    """Understand an expression in the braces of a template.

    Args:
        start: Behind the ``{``.

    Returns:
        The tree, and the place behind the ``}``.
    """
    words = tokens(text, start=start, in_braces=True)
    if words[-1].text != "}":
        raise ExpressionError(start - 1, "{", "The } that closes this expression is missing.")
    return _Parser(text, words, place).whole(), words[-1].end


def check_place(node: Node, place: Place) -> None:
    """Refuse special names that mean nothing in that place.

    Raises:
        ExpressionError: There is one.
    """
    for each in walk(node):
        if isinstance(each, Ref):
            _check_place(each.name, place, each.span[0])


def _check_place(name: str, place: Place, position: int) -> None:
    if name in OF_METHODS and place in (Place.LINE, Place.ENTRY):
        where = "at a line" if place is Place.LINE else "when the function begins"
        hint = "Put the probe on the function, and have it evaluated at its end."
        raise ExpressionError(position, name, f"There is no {name} {where}.", suggestion=hint)


class _Parser:
    """Goes through the words once. ``lambdas`` counts the braces it is in."""

    def __init__(self, text: str, words: tuple[Token, ...], place: Place) -> None:
        self._text = text
        self._words = words
        self._place = place
        self._at = 0
        self._lambdas = 0
        self._nodes = 0

    @property
    def _next(self) -> Token:
        return self._words[self._at]

    def _is(self, symbol: str) -> bool:
        return self._next.kind is Kind.SYMBOL and self._next.text == symbol

    def _step(self) -> Token:
        token = self._next
        self._at += 1
        return token

    def _fail(self, token: Token, expected: str, suggestion: str = "") -> NoReturn:
        raise self._error(token, expected, suggestion)

    def _error(self, token: Token, expected: str, suggestion: str = "") -> ExpressionError:
        text = "" if token.kind is Kind.END else token.text
        return ExpressionError(token.start, text, expected, suggestion=suggestion)

    def _made(self, node: Node) -> Node:
        self._nodes += 1
        if self._nodes > 2 * MAX_NODES:  # each && makes a tree that the next one takes apart
            raise ExpressionError(node.span[0], "", f"An expression has at most {MAX_NODES} parts.")
        return node

    def whole(self) -> Node:
        if self._next.kind is Kind.END:
            self._fail(self._next, "An expression was expected.", "For instance a > 1.")
        node = self._expression(0, 0)
        token = self._next
        if token.kind is not Kind.END:
            if token.text in (")", "]", "}"):
                self._fail(token, f"Nothing is open that {token.text} could close.")
            self._fail(token, _OPERATOR_EXPECTED, self._hint_after_value(token))
        if wrong := too_much(node):
            raise ExpressionError(node.span[0], "", wrong)
        return node

    def _hint_after_value(self, token: Token) -> str:
        if token.kind is Kind.NAME and token.text in _WORDS:
            return _WORDS[token.text]
        if token.kind is Kind.SYMBOL and token.text in ("===", "!=="):
            return f"Write {token.text[:2]}."
        if token.kind is Kind.SYMBOL and token.text == "-":
            return "Values can be compared, not subtracted."
        if token.kind is Kind.SYMBOL and token.text == "!":
            return "Write != to say that they differ."
        if token.kind is Kind.SYMBOL and token.text == "(":
            return f"Functions of the program cannot be called; there are {', '.join(sorted(FUNCTIONS))}."
        return ""

    # Operators ------------------------------------------------------------------------------------------

    def _expression(self, least: int, level: int) -> Node:
        if level > MAX_DEPTH:
            self._fail(self._next, f"An expression has at most {MAX_DEPTH} levels.")
        left = self._turned(level)
        while self._next.kind is Kind.SYMBOL and (binds := _BINDS.get(self._next.text, -1)) > least:
            token = self._step()
            right = self._expression(binds, level + 1)
            op = _SYMBOLS[token.text]
            span = (left.span[0], right.span[1])
            if op in ("and", "or"):
                left = self._made(joined(op, (left, right), span))
            else:
                left = self._made(Call(op, (left, right), span))
                following = self._next
                if following.kind is Kind.SYMBOL and _BINDS.get(following.text) == binds:
                    hint = f"Write a {token.text} b && b {following.text} c."
                    self._fail(following, "Comparisons do not follow one another.", hint)
        return left

    def _turned(self, level: int) -> Node:
        if not self._is("!"):
            return self._behind(self._value(level), level)
        token = self._step()
        if level > MAX_DEPTH:
            self._fail(token, f"An expression has at most {MAX_DEPTH} levels.")
        inner = self._turned(level + 1)
        return self._made(Call("not", (inner,), (token.start, inner.span[1])))

    def _behind(self, node: Node, level: int) -> Node:
        """What stands behind a value: fields, keys, functions written as methods."""
        start = level
        while self._is(".") or self._is("["):
            level += 1
            if level > start + MAX_DEPTH:
                self._fail(self._next, f"An expression has at most {MAX_DEPTH} levels.")
            opened = self._step()
            if opened.text == "[":
                key = self._expression(0, start + 1)
                closed = self._close("]", opened)
                node = self._made(Call("index", (node, key), (node.span[0], closed.end)))
                continue
            name = self._next
            if name.kind is not Kind.NAME:
                self._fail(name, "The name of a field was expected behind the dot.")
            self._step()
            if self._is("("):
                node = self._method(node, name, start)
            else:
                field = Literal(name.text, (name.start, name.end))
                node = self._made(Call("getmember", (node, field), (node.span[0], name.end)))
        return node

    def _method(self, subject: Node, name: Token, level: int) -> Node:
        operator = self._function(name)
        opened = self._step()
        rest = self._operands(operator, name, opened, given=1, level=level)
        closed = self._close(")", opened)
        return self._called(operator, (subject, *rest), (subject.span[0], closed.end))

    # Values ---------------------------------------------------------------------------------------------

    def _value(self, level: int) -> Node:
        token = self._step() if self._next.kind is not Kind.END else self._next
        span = (token.start, token.end)
        match token.kind:
            case Kind.NUMBER:
                return self._literal(token.value, span, token)
            case Kind.TEXT:
                return self._literal(token.value, span, token)
            case Kind.SPECIAL:
                return self._special(token)
            case Kind.NAME:
                return self._named(token, level)
            case Kind.END:
                self._fail(token, "A value was expected: a name, a number, a text, or a function.")
            case Kind.SYMBOL:
                pass
        if token.text == "(":
            node = self._expression(0, level + 1)
            self._close(")", token)
            return node
        if token.text == "-" and self._next.kind is Kind.NUMBER:
            number = self._step()
            if isinstance(number.value, str):  # never of a number
                raise TypeError("a number has a number as its value")
            return self._literal(-number.value, (token.start, number.end), token)
        hint = ""
        if token.text == "{":
            hint = "Conditions in braces are for any, all and filter: any(list, {@it > 1})."
        elif token.text in _BINDS:
            hint = f"Write a {token.text} b."
        raise self._error(token, "A value was expected: a name, a number, a text, or a function.", hint)

    def _literal(self, value: str | int | float, span: tuple[int, int], token: Token) -> Node:
        if wrong := wrong_literal(value):
            self._fail(token, wrong)
        return self._made(Literal(value, span))

    def _special(self, token: Token) -> Node:
        if token.text not in SPECIALS:
            here = [name for name in SPECIALS if self._lambdas or name not in OF_LAMBDAS]
            known = f"Special names are {', '.join(here)}."
            self._fail(token, f"There is no {token.text}.", _nearest(token.text, SPECIALS) or known)
        if token.text in OF_LAMBDAS and not self._lambdas:
            hint = "It stands for an element, in { } of any, all and filter: any(list, {@it > 1})."
            self._fail(token, f"{token.text} means nothing here.", hint)
        _check_place(token.text, self._place, token.start)
        return self._made(Ref(token.text, (token.start, token.end)))

    def _named(self, token: Token, level: int) -> Node:
        span = (token.start, token.end)
        if self._is("("):
            operator = self._function(token)
            opened = self._step()
            args = self._operands(operator, token, opened, given=0, level=level)
            closed = self._close(")", opened)
            return self._called(operator, args, (token.start, closed.end))
        if token.text in _CONSTANTS:
            return self._made(Literal(_CONSTANTS[token.text], span))
        if token.text in _FOREIGN:
            self._fail(token, f"{token.text} is no value here.", f"Write {_FOREIGN[token.text]}.")
        if token.text == "not" and self._next.kind not in (Kind.END, Kind.SYMBOL):
            self._fail(token, "An operator was expected.", "Write ! before what is turned around.")
        if token.text.startswith("#"):
            self._fail(token, "A private field needs its object.", "Write this.#name.")
        if len(token.text) > 255:
            self._fail(token, "A name has at most 255 characters.")
        return self._made(Ref(token.text, span))

    # Functions ------------------------------------------------------------------------------------------

    def _function(self, name: Token) -> Operator:
        operator = FUNCTIONS.get(name.text)
        if operator is None:
            if name.text in ("isUndefined", "isNull", "isNotEmpty"):
                hint = {"isUndefined": "Write !isDefined(x).", "isNull": "Write x == null."}
                self._fail(name, f"There is no {name.text}.", hint.get(name.text, "Write !isEmpty(x)."))
            if name.text in _WORDS:
                self._fail(name, f"There is no function {name.text}.", _WORDS[name.text])
            known = f"Functions of the program cannot be called; there are {', '.join(sorted(FUNCTIONS))}."
            hint_text = _nearest(name.text, FUNCTIONS) or known
            self._fail(name, f"There is no function {name.text}.", hint_text)
        return operator

    def _operands(
        self, operator: Operator, name: Token, opened: Token, *, given: int, level: int
    ) -> tuple[Node, ...]:
        args: list[Node] = []
        while not self._is(")"):
            if self._next.kind is Kind.END:
                self._fail(opened, "The ) that closes this one is missing.", f"As in {operator.usage}.")
            if args or self._is(","):
                if not (args and self._is(",")):
                    self._fail(self._next, "A comma or ) was expected.", f"As in {operator.usage}.")
                self._step()
            if given + len(args) == operator.arity:
                self._fail(self._next, self._says_arity(operator, name), f"As in {operator.usage}.")
            wants_lambda = operator.takes_lambda and given + len(args) == operator.arity - 1
            args.append(self._lambda(operator, level) if wants_lambda else self._expression(0, level + 1))
        if given + len(args) != operator.arity:
            self._fail(self._next, self._says_arity(operator, name), f"As in {operator.usage}.")
        return tuple(args)

    def _says_arity(self, operator: Operator, name: Token) -> str:
        return f"{name.text} takes {operator.arity} value{'s' if operator.arity > 1 else ''}."

    def _lambda(self, operator: Operator, level: int) -> Node:
        if not self._is("{"):
            self._fail(self._next, "A condition in { } was expected.", f"As in {operator.usage}.")
        opened = self._step()
        self._lambdas += 1
        node = self._expression(0, level + 1)
        self._lambdas -= 1
        self._close("}", opened)
        return node

    def _called(self, operator: Operator, args: tuple[Node, ...], span: tuple[int, int]) -> Node:
        if wrong := wrong_operand(operator.name, args):
            second = args[-1]
            text = self._text[second.span[0] : second.span[1]]
            hint = "" if operator.name == "len" else "Write it in quotation marks."
            raise ExpressionError(second.span[0], text, wrong, suggestion=hint)
        return self._made(Call(operator.name, args, span))

    def _close(self, symbol: str, opened: Token) -> Token:
        if self._is(symbol):
            return self._step()
        token = self._next
        if token.kind is Kind.END:
            self._fail(opened, f"The {symbol} that closes this one is missing.")
        raise self._error(token, f"An operator or {symbol} was expected.", self._hint_after_value(token))


def _nearest(word: str, known: object) -> str:
    words = list(known) if isinstance(known, dict) else list(SPECIALS)
    lower = {each.lower(): each for each in words}
    close = difflib.get_close_matches(word[:80].lower(), list(lower), n=1, cutoff=0.6)
    return f"Did you mean {lower[close[0]]}?" if close else ""
