"""The one text of an expression: as people should read it, and ``parser.parse`` reads it back to the same.

Invariants: parentheses only where they change what is meant; one space around operators; texts in double
quotation marks with the escapes of JSON.
"""

from __future__ import annotations

import json
import math
from typing import Final

from sealwire.products.probe_expressions import OPERATORS, Call, Literal, Node, Ref, is_field

_BINDS: Final = {"or": 1, "and": 2, "eq": 3, "ne": 3, "lt": 3, "le": 3, "gt": 3, "ge": 3, "not": 4}
_VALUE: Final = 5


def text_of(node: Node) -> str:
    """The text of an expression."""
    return _printed(node)[0]


def text_of_literal(value: str | int | float | bool | None) -> str:
    """A value as it stands in an expression."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case float():
            if not math.isfinite(value):
                raise TypeError("a number of an expression is finite")
            return repr(value)
        case int():
            return str(value)


def _printed(node: Node) -> tuple[str, int]:
    """The text, and how strongly what is outermost in it binds."""
    match node:
        case Literal(value):
            negative = isinstance(value, int | float) and not isinstance(value, bool) and str(value)[0] == "-"
            return text_of_literal(value), _VALUE if not negative else _BINDS["not"]
        case Ref(name):
            return name, _VALUE
        case Call("not", (inner,)):
            return f"!{_held(inner, _BINDS['not'])}", _BINDS["not"]
        case Call(("and" | "or") as op, args):
            symbol = OPERATORS[op].symbol
            return f" {symbol} ".join(_held(each, _BINDS[op] + 1) for each in args), _BINDS[op]
        case Call(op, (left, right)) if op in _BINDS:
            least = _BINDS[op] + 1
            return f"{_held(left, least)} {OPERATORS[op].symbol} {_held(right, least)}", _BINDS[op]
        case Call("getmember", (subject, Literal(str(name)))) if is_field(name):
            return f"{_held(subject, _VALUE)}.{name}", _VALUE
        case Call("index", (subject, key)):
            return f"{_held(subject, _VALUE)}[{text_of(key)}]", _VALUE
        case Call(op, args) if OPERATORS[op].takes_lambda:
            return f"{op}({text_of(args[0])}, {{{text_of(args[1])}}})", _VALUE
        case Call(op, args):
            return f"{op}({', '.join(text_of(each) for each in args)})", _VALUE


def _held(node: Node, least: int) -> str:
    text, binds = _printed(node)
    return text if binds >= least else f"({text})"
