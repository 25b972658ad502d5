"""Tokens to a tree, by recursive descent, with the grammar's own precedence kept exactly.

From loose to tight: ``and``/``or`` (one level, read from the right), comparison, ``+ -``, ``& | ^`` (one
level, read from the right), ``! not - ^`` before a value. Parentheses may nest ``MAX_DEPTH`` deep.
"""

from __future__ import annotations

from typing import Final, NoReturn

from sealwire.secl.lexer import Kind, Token, tokens
from sealwire.secl.problems import ExpressionError, quoted
from sealwire.secl.syntax import (
    Binary,
    Boolean,
    Chain,
    Duration,
    Items,
    Name,
    Network,
    Node,
    Number,
    Pattern,
    Regex,
    Text,
    Unary,
    Variable,
)

MAX_DEPTH: Final = 60  # of parentheses, and of operators before a value
MAX_OPERANDS: Final = 100  # of one sum, or one run of & | ^

_LOGIC: Final = {"&&": "&&", "and": "&&", "||": "||", "or": "||"}
_COMPARISONS: Final = frozenset({"==", "!=", "=~", "!~", "<", "<=", ">", ">="})
_RESERVED: Final = frozenset({"and", "or", "not", "in", "allin", "notin"})


def parse(text: str) -> Node:
    """The tree of an expression.

    Raises:
        ExpressionError: It is none; says where and what was expected there.
    """
    reader = _Reader(text)
    node = reader.chain()
    reader.expect_end()
    return node


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.place = 0
        self.depth = 0

    # The words ----------------------------------------------------------------------------------------------

    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        token = self.tokens[self.place]
        self.place += 1
        return token

    def is_sign(self, *signs: str) -> bool:
        return self.next.kind is Kind.SIGN and self.next.value in signs

    def is_word(self, *words: str) -> bool:
        return self.next.kind is Kind.NAME and self.next.value in words

    def said(self, token: Token) -> str:
        """What stands there, for a message."""
        if token.kind is Kind.END:
            return "the end of the expression"
        written = self.text[token.start : token.end]
        return quoted(written if token.kind in (Kind.NAME, Kind.SIGN) else written.strip('~r"'))

    def fail(self, message: str, *, hint: str = "", token: Token | None = None) -> NoReturn:
        at = token or self.next
        raise ExpressionError(message, text=self.text, start=at.start, end=at.end, hint=hint)

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"The expression nests more than {MAX_DEPTH} deep.", hint="Put a part into a macro.")

    def expect_end(self) -> None:
        if self.next.kind is Kind.END:
            return
        if self.is_sign(")"):
            self.fail("This ) closes nothing.", hint="Take it out, or open a ( before.")
        if self.is_sign("]"):
            self.fail("This ] closes nothing.")
        hint = "Join two conditions with && or ||."
        if self.next.kind is Kind.NAME and str(self.next.value).lower() in _RESERVED:
            hint = f"Write {str(self.next.value).lower()} in small letters."
        self.fail(f"Expected an operator before {self.said(self.next)}.", hint=hint)

    # The grammar --------------------------------------------------------------------------------------------

    def chain(self) -> Node:
        start = self.next.start
        operands = [self.comparison()]
        operators: list[str] = []
        while True:
            word = self.next.value if self.next.kind in (Kind.SIGN, Kind.NAME) else ""
            if word not in _LOGIC:
                break
            operators.append(_LOGIC[str(self.take().value)])
            operands.append(self.comparison())
        if not operators:
            return operands[0]
        return Chain(tuple(operands), tuple(operators), start, operands[-1].end)

    def comparison(self) -> Node:
        left = self.sum()
        if self.next.kind is Kind.SIGN and self.next.value in _COMPARISONS:
            operator = str(self.take().value)
            self.deeper()
            right = self.comparison()
            self.depth -= 1
            return Binary(operator, left, right, left.start, right.end)
        operator = self.membership()
        if operator:
            right = self.array()
            return Binary(operator, left, right, left.start, right.end)
        return left

    def membership(self) -> str:
        """``in``, ``not in`` or ``allin``, if one stands here."""
        if self.is_word("in", "allin"):
            return str(self.take().value)
        if self.is_word("notin"):
            self.take()
            return "not in"
        if self.is_word("not"):
            after = self.tokens[self.place + 1]
            if after.kind is Kind.NAME and after.value == "in":
                self.place += 2
                return "not in"
            self.fail("Expected in after not.", hint='Write field not in ["a", "b"], or !(...) before.')
        return ""

    def sum(self) -> Node:
        left = self.bits()
        count = 1
        while self.is_sign("+", "-"):
            count += 1
            if count > MAX_OPERANDS:
                self.fail(f"At most {MAX_OPERANDS} numbers may be added.")
            operator = str(self.take().value)
            right = self.bits()
            left = Binary(operator, left, right, left.start, right.end)
        return left

    def bits(self) -> Node:
        operands = [self.unary()]
        operators: list[str] = []
        while self.is_sign("&", "|", "^"):
            operators.append(str(self.take().value))
            operands.append(self.unary())
            if len(operands) > MAX_OPERANDS:
                self.fail(f"At most {MAX_OPERANDS} values may be joined with & | ^.")
        right = operands.pop()
        while operators:
            left = operands.pop()
            right = Binary(operators.pop(), left, right, left.start, right.end)
        return right

    def unary(self) -> Node:
        if self.is_sign("!", "-", "^") or self.is_word("not"):
            token = self.take()
            self.deeper()
            operand = self.unary()
            self.depth -= 1
            operator = "!" if token.value == "not" else str(token.value)
            return Unary(operator, operand, token.start, operand.end)
        return self.primary()

    def primary(self) -> Node:
        token = self.next
        if self.is_sign("("):
            self.deeper()
            self.take()
            inner = self.chain()
            if not self.is_sign(")"):
                if self.next.kind is Kind.END:
                    self.fail("This ( is never closed.", token=token, hint="Add a ).")
                self.fail(f"Expected ) or an operator before {self.said(self.next)}.")
            self.take()
            self.depth -= 1
            return inner
        if self.is_sign("["):
            return self.items()
        return self.literal()

    def literal(self) -> Node:
        token = self.next
        where = (token.start, token.end)
        match token.kind, token.value:
            case Kind.NAME, "true" | "false":
                node: Node = Boolean(token.value == "true", *where)
            case Kind.NAME, str(word) if word not in _RESERVED:
                node = Name(word, *where)
            case Kind.TEXT, str(word):
                node = Text(word, *where)
            case Kind.PATTERN, str(word):
                node = Pattern(word, *where)
            case Kind.REGEX, str(word):
                node = Regex(word, *where)
            case Kind.NETWORK, str(word):
                node = Network(word, *where)
            case Kind.VARIABLE, str(word):
                if not word:
                    self.fail("The variable has no name.", hint="Write ${scope.name}.")
                node = Variable(word, *where)
            case Kind.INT, int(number):
                node = Number(number, *where)
            case Kind.DURATION, int(number):
                node = Duration(number, *where)
            case _:
                self.fail(f"Expected a field or a value, not {self.said(token)}.")
        self.take()
        return node

    def array(self) -> Node:
        """What may stand after ``in``."""
        if self.is_sign("["):
            return self.items()
        if self.is_sign("("):
            self.fail("A list stands in square brackets.", hint='Write ["a", "b"], or the name of a macro.')
        node = self.unary_literal()
        if isinstance(node, Name | Variable | Network):
            return node
        raise ExpressionError(
            "Expected a list after in.",
            text=self.text,
            start=node.start,
            end=node.end,
            hint="Put [ ] around it, or compare with ==.",
        )

    def items(self) -> Items:
        start = self.take().start
        found: list[Node] = []
        while not self.is_sign("]"):
            found.append(self.unary_literal())
            if self.is_sign(","):
                self.take()
                if self.is_sign("]"):
                    self.fail("Expected a value after the comma.", hint="Take the last comma out.")
            elif self.next.kind is Kind.END:
                self.fail("The list is never closed.", hint="Add a ].")
            elif not self.is_sign("]"):
                self.fail(f"Expected , or ] before {self.said(self.next)}.")
        end = self.take().end
        return Items(tuple(found), start, end)

    def unary_literal(self) -> Node:
        if self.is_sign("-"):
            token = self.take()
            operand = self.literal()
            return Unary("-", operand, token.start, operand.end)
        return self.literal()
