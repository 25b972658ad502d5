"""The expressions of probes as tracers read them: a small tree, its operators, its JSON.

Hides the JSON form: ``{"gt": [{"ref": "a"}, 1]}`` is ``Call("gt", (Ref("a"), Literal(1)))``. Whoever writes
the text of an expression, evaluates one or checks a payload walks the same tree.

Invariants: a tree is bounded in depth, size and text, whatever it came from. ``and`` and ``or`` hold two or
more operands and never one of their own kind; their JSON has two operands each time, as ddtrace takes no
more and no fewer. Only what both ddtrace and dd-trace accept is written: ``ne``, never ``neq``; ``any``,
never ``hasAny``; these are understood when read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sealwire.errors import MalformedError
from sealwire.products.schema import MAX_SAFE_INTEGER, at, kind, nearest, quote

MAX_DEPTH: Final = 40  # levels of a tree; a tracer compiles it by recursion in the customer's process
MAX_NODES: Final = 400
MAX_TEXT: Final = 1_000  # characters of one string in an expression
MAX_CHARS: Final = 4_000  # characters of all names and texts together
MAX_NAME: Final = 255
MAX_JSON_DEPTH: Final = 120  # of the JSON before it is a tree: a chain of ``and`` is as deep as it is long

SPECIALS: Final[Mapping[str, str]] = {
    "@return": "What the function gives back; in method probes at its end.",
    "@exception": "What the function raised; in method probes at its end.",
    "@duration": "Milliseconds the call took; in method probes at its end.",
    "@it": "The element of a list that is looked at; in { } of any, all and filter. Of a map: its key.",
    "@key": "The key that is looked at; in { } of any, all and filter over a map.",
    "@value": "The value that is looked at; in { } of any, all and filter over a map.",
}
OF_LAMBDAS: Final = frozenset({"@it", "@key", "@value"})
OF_METHODS: Final = frozenset({"@return", "@exception", "@duration"})

# No word of its own: what is a constant or means nothing as a variable in every language there is.
RESERVED: Final = frozenset({"true", "false", "null", "True", "False", "None"})
_NAME = re.compile(r"(?:[^\W\d]|\$)[\w$]*")
_FIELD = re.compile(r"#?(?:[^\W\d]|\$)[\w$]*")


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        name: As in JSON, and as a function of the text where it has no symbol.
        arity: Operands it takes; ``and`` and ``or`` take more than two.
        symbol: As in the text, such as ``>=``; empty for a function.
        takes_lambda: Whether the last operand is asked of each element.
        usage, says: For people who write one.
    """

    name: str
    arity: int
    symbol: str = ""
    takes_lambda: bool = False
    usage: str = ""
    says: str = ""


OPERATORS: Final[Mapping[str, Operator]] = {
    each.name: each
    for each in (
        Operator("eq", 2, "==", usage="a == b", says="Whether both are the same."),
        Operator("ne", 2, "!=", usage="a != b", says="Whether they differ."),
        Operator("gt", 2, ">", usage="a > b", says="Whether the first is greater."),
        Operator("ge", 2, ">=", usage="a >= b", says="Whether the first is greater or the same."),
        Operator("lt", 2, "<", usage="a < b", says="Whether the first is less."),
        Operator("le", 2, "<=", usage="a <= b", says="Whether the first is less or the same."),
        Operator(
            "and", 2, "&&", usage="a && b", says="Whether both hold; the second is not looked at if not."
        ),
        Operator("or", 2, "||", usage="a || b", says="Whether one holds; the second is not looked at if so."),
        Operator("not", 1, "!", usage="!a", says="Turns around."),
        Operator("isEmpty", 1, usage="isEmpty(x)", says="Whether a text, list or map has nothing in it."),
        Operator("isDefined", 1, usage="isDefined(x)", says="Whether it can be read; never fails."),
        Operator("len", 1, usage="len(x)", says="How many characters, elements or entries it has."),
        Operator("contains", 2, usage="contains(x, y)", says="Whether a text, list or map has y in it."),
        Operator("startsWith", 2, usage='startsWith(x, "a")', says="Whether a text begins so."),
        Operator("endsWith", 2, usage='endsWith(x, "a")', says="Whether a text ends so."),
        Operator("matches", 2, usage='matches(x, "a.*")', says="Whether a regular expression fits a text."),
        Operator("substring", 3, usage="substring(x, 0, 3)", says="A part of a text, from and to."),
        Operator("getmember", 2, usage="x.name", says="A field of an object."),
        Operator("index", 2, usage='x["key"]', says="An element of a list or map."),
        Operator("instanceof", 2, usage='instanceof(x, "pkg.Type")', says="Whether it has this type."),
        Operator("any", 2, "", True, "any(x, {@it > 1})", "Whether one element fits."),
        Operator("all", 2, "", True, "all(x, {@it > 1})", "Whether every element fits."),
        Operator("filter", 2, "", True, "filter(x, {@it > 1})", "The elements that fit."),
    )
}

_ALSO_READ: Final[Mapping[str, str]] = {
    "neq": "ne",
    "count": "len",
    "hasAny": "any",
    "hasAll": "all",
    "&&": "and",
    "||": "or",
    "==": "eq",
    "!=": "ne",
    ">": "gt",
    ">=": "ge",
    "<": "lt",
    "<=": "le",
    "!": "not",
}


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, number, truth value or null.

    Attributes:
        span: Where it stands in the text it was read from; no part of what it is.
    """

    value: str | int | float | bool | None
    span: tuple[int, int] = field(default=(0, 0), compare=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Literal):
            return NotImplemented
        return type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class Ref:
    """A variable by its name, or a special one such as ``@return``."""

    name: str
    span: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """An operator and its operands."""

    op: str
    args: tuple[Node, ...]
    span: tuple[int, int] = field(default=(0, 0), compare=False)


Node = Literal | Ref | Call


CONDITIONS: Final = frozenset(
    {"eq", "ne", "gt", "ge", "lt", "le", "and", "or", "not", "isEmpty", "isDefined"}
) | {
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "any",
    "all",
}


def wrong_operand(op: str, args: tuple[Node, ...]) -> str:
    """Why an operator cannot have these operands, as a sentence; empty if it can."""
    if op == "len" and isinstance(args[0], Call) and args[0].op in CONDITIONS:
        return "len takes a text, a list or a map, not a condition."  # ddtrace does not compile it
    for name, what in (("getmember", "field"), ("instanceof", "type")):
        second = args[-1]
        if op == name and not (
            isinstance(second, Literal) and isinstance(second.value, str) and second.value
        ):
            return f"The name of a {what} is a text."
    return ""


def is_name(text: str) -> bool:
    """Whether a variable can be called this."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None and text not in RESERVED


def is_field(text: str) -> bool:
    """Whether ``.name`` says it in the text; JavaScript's private fields begin with ``#``."""
    return _FIELD.fullmatch(text) is not None


def joined(op: str, args: tuple[Node, ...], span: tuple[int, int] = (0, 0)) -> Node:
    """``and`` or ``or`` of these; operands that are the same are taken apart."""
    flat: list[Node] = []
    for each in args:
        flat.extend(each.args if isinstance(each, Call) and each.op == op else (each,))
    return flat[0] if len(flat) == 1 else Call(op, tuple(flat), span)


def walk(node: Node) -> Iterator[Node]:
    """The node and all beneath it."""
    yield node
    if isinstance(node, Call):
        for each in node.args:
            yield from walk(each)


def names(node: Node) -> frozenset[str]:
    """Every variable it reads, special ones too."""
    return frozenset(each.name for each in walk(node) if isinstance(each, Ref))


def names_of_element(node: Node) -> frozenset[str]:
    """Of ``@it``, ``@key`` and ``@value`` those that mean an element outside of the node."""
    if isinstance(node, Ref):
        return OF_LAMBDAS & {node.name}
    if not isinstance(node, Call):
        return frozenset()
    outside = node.args[:1] if OPERATORS[node.op].takes_lambda else node.args
    return frozenset().union(*(names_of_element(each) for each in outside))


def members(node: Node) -> frozenset[str]:
    """Every name it reads that could be redacted: variables, fields and keys."""
    found = set(names(node))
    for each in walk(node):
        if isinstance(each, Call) and each.op in ("getmember", "index"):
            key = each.args[1]
            if isinstance(key, Literal) and isinstance(key.value, str):
                found.add(key.value)
    return frozenset(found)


# To JSON ----------------------------------------------------------------------------------------------------


def to_json(node: Node) -> object:
    """The JSON a tracer reads."""
    match node:
        case Literal(value):
            return value
        case Ref(name):
            return {"ref": name}
        case Call(("and" | "or") as op, args):
            return _in_twos(op, [to_json(each) for each in args])
        case Call(op, (one,)):
            return {op: to_json(one)}
        case Call(op, args):
            return {op: [to_json(each) for each in args]}


def _in_twos(op: str, operands: list[object]) -> object:
    """Halves of halves: the order and what is skipped stay, the depth is the logarithm of the number."""
    if len(operands) == 1:
        return operands[0]
    middle = len(operands) // 2
    return {op: [_in_twos(op, operands[:middle]), _in_twos(op, operands[middle:])]}


# From JSON --------------------------------------------------------------------------------------------------


def from_json(value: object, *, path: str = "$") -> Node:
    """Understand what a tracer would read.

    Args:
        path: JSON path of the value, for the error.

    Raises:
        MalformedError: A tracer would not take it; says where.
    """
    node = _Reader().read(value, path, 0, in_lambda=False)
    if wrong := too_much(node):
        raise MalformedError(f"{path}: {wrong}")
    return node


def too_much(node: Node) -> str:
    """Which bound a tree exceeds, as a sentence; empty if none."""
    if depth(node) > MAX_DEPTH:
        return f"An expression has at most {MAX_DEPTH} levels."
    parts = chars = 0
    for each in walk(node):
        parts += 1
        chars += len(each.name) if isinstance(each, Ref) else 0
        chars += len(each.value) if isinstance(each, Literal) and isinstance(each.value, str) else 0
    if parts > MAX_NODES:
        return f"An expression has at most {MAX_NODES} parts."
    if chars > MAX_CHARS:
        return f"The names and texts of an expression have at most {MAX_CHARS} characters together."
    return ""


def depth(node: Node) -> int:
    """Levels of a tree; a literal has one."""
    return 1 + max((depth(each) for each in node.args), default=0) if isinstance(node, Call) else 1


class _Reader:
    def __init__(self) -> None:
        self._nodes = 0

    def read(self, value: object, path: str, depth: int, *, in_lambda: bool) -> Node:
        self._nodes += 1
        if depth > MAX_JSON_DEPTH:
            raise MalformedError(f"An expression has at most {MAX_DEPTH} levels.")
        if self._nodes > 2 * MAX_NODES:
            raise MalformedError(f"An expression has at most {MAX_NODES} parts.")
        if value is None or isinstance(value, bool | int | float | str):
            return Literal(_literal(value, path))
        if not isinstance(value, Mapping):
            raise MalformedError(f"{path}: Expected a value or an operator, not {kind(value)}.")
        if len(value) != 1:
            raise MalformedError(f"{path}: Expected one operator, not {len(value)} keys.")
        key, operand = next(iter(value.items()))
        if not isinstance(key, str):
            raise MalformedError(f"{path}: An operator is a text.")
        if key == "ref":
            return _ref(operand, at(path, key), in_lambda=in_lambda)
        return self._call(key, operand, path, depth, in_lambda=in_lambda)

    def _call(self, key: str, operand: object, path: str, depth: int, *, in_lambda: bool) -> Node:
        op = _ALSO_READ.get(key, key)
        operator = OPERATORS.get(op)
        here = at(path, key)
        if operator is None:
            raise MalformedError(f"{path}: There is no operator {quote(key)}.{nearest(key, OPERATORS)}")
        if operator.arity == 1:
            only = self.read(operand, here, depth + 1, in_lambda=in_lambda)
            if wrong := wrong_operand(op, (only,)):
                raise MalformedError(f"{here}: {wrong}")
            return Call(op, (only,))
        if not isinstance(operand, list | tuple):
            raise MalformedError(f"{here}: Expected a list of operands, not {kind(operand)}.")
        is_chain = op in ("and", "or")
        if len(operand) < 2 if is_chain else len(operand) != operator.arity:
            least = "at least two" if is_chain else str(operator.arity)
            raise MalformedError(f"{here}: {op} takes {least} operands, not {len(operand)}.")
        args = tuple(
            self.read(
                each,
                at(here, number),
                depth + 1,
                in_lambda=in_lambda or (operator.takes_lambda and number == 1),
            )
            for number, each in enumerate(operand)
        )
        if wrong := wrong_operand(op, args):
            raise MalformedError(f"{at(here, 1)}: {wrong}")
        return joined(op, args) if is_chain else Call(op, args)


def _ref(name: object, path: str, *, in_lambda: bool) -> Ref:
    if not isinstance(name, str):
        raise MalformedError(f"{path}: Expected a name, not {kind(name)}.")
    if name.startswith("@"):
        if name not in SPECIALS:
            raise MalformedError(f"{path}: There is no {quote(name)}.{nearest(name, SPECIALS)}")
        if name in OF_LAMBDAS and not in_lambda:
            raise MalformedError(f"{path}: {name} means something in the second operand of any, all, filter.")
    elif not is_name(name):
        raise MalformedError(f"{path}: {quote(name)} is no name of a variable.")
    return Ref(name)


def _literal(value: bool | int | float | str | None, path: str) -> bool | int | float | str | None:
    wrong = wrong_literal(value)
    if wrong:
        raise MalformedError(f"{path}: {wrong}")
    return value


def wrong_literal(value: bool | int | float | str | None) -> str:
    """Why a value cannot stand in an expression, as a sentence; empty if it can."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            return f"A text has at most {MAX_TEXT} characters."
        if any("\ud800" <= character <= "\udfff" for character in value):
            return "The text has half of a character that takes two (a surrogate)."
    elif isinstance(value, float):
        if not math.isfinite(value):
            return "A number is finite."
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_SAFE_INTEGER:
        return f"A whole number lies between -{MAX_SAFE_INTEGER} and {MAX_SAFE_INTEGER}."
    return ""
