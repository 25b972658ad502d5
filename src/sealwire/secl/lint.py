"""What is allowed but seldom meant: warnings for whoever writes a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sealwire.secl.check import Checked, Language
from sealwire.secl.conditions import Always, Among, FieldValue, Leaf, leaves
from sealwire.secl.needs import cover
from sealwire.secl.parser import parse
from sealwire.secl.patterns import TextSet
from sealwire.secl.problems import quoted
from sealwire.secl.syntax import Binary, Chain, Items, Node, Text, Unary

_BITS: Final = frozenset({"&", "|", "^"})
_MAX_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that may not be meant.

    Attributes:
        start, end: Where, as offsets into the expression.
        hint: What to write instead.
    """

    code: str
    start: int
    end: int
    message: str
    hint: str = ""


def lint(text: str, checked: Checked, language: Language) -> tuple[Caution, ...]:
    """Warnings for the expression of a rule that was checked before."""
    found = [*_precedence(text, parse(text))]
    for name in checked.macros:
        tree = language.macro(name)
        if any(True for _ in _precedence(language.macros[name], tree)):
            found.append(
                Caution(
                    "precedence",
                    0,
                    0,
                    f"The macro {name} mixes operators without parentheses.",
                    "See it there.",
                )
            )
    for variant in checked.variants:
        if isinstance(variant.condition, Always):
            holds = "always" if variant.condition.holds else "never"
            found.append(
                Caution("constant", 0, len(text), f"The rule {holds} matches {variant.event_type} events.")
            )
            continue
        for leaf in leaves(variant.condition):
            found += _of_leaf(leaf)
        if cover(variant.condition) is None:
            message = f"The rule is evaluated for every {variant.event_type} event."
            found.append(
                Caution(
                    "unfiltered",
                    0,
                    len(text),
                    message,
                    f"Name a path, name or other value of {variant.event_type} it must have.",
                )
            )
    return tuple(dict.fromkeys(found))


def _of_leaf(leaf: Leaf) -> list[Caution]:
    if not isinstance(leaf, Among) or not isinstance(leaf.choice, TextSet):
        return []
    found: list[Caution] = []
    for text in sorted(leaf.choice.exact):
        if "*" in text and text.strip("*"):
            message = f"The star in {quoted(text, at_most=_MAX_SHOWN)} stands for itself."
            found.append(
                Caution("literal star", leaf.start, leaf.end, message, f'Write ~"{text[:_MAX_SHOWN]}".')
            )
    for glob in leaf.choice.globs:
        shown = quoted(glob.text, at_most=_MAX_SHOWN)
        if glob.separator == "/" and not glob.text.startswith(("/", "**")):
            message = f"A star stops at / in a path, so {shown} fits no path below a directory."
            found.append(Caution("relative path", leaf.start, leaf.end, message, "Begin it with /."))
        elif "*" not in glob.text:
            message = f"The pattern {shown} has no star."
            found.append(Caution("no star", leaf.start, leaf.end, message, "Compare with == or add a star."))
    if isinstance(leaf.value, FieldValue) and leaf.value.field.is_path and leaf.choice.regexes:
        message = "Regular expressions on paths are slower than patterns."
        found.append(Caution("regex on path", leaf.start, leaf.end, message, 'Write ~"..." if it does.'))
    return found


def _precedence(text: str, root: Node) -> list[Caution]:
    """Places where reading from the right differs from what most languages do."""
    found: list[Caution] = []
    waiting: list[Node] = [root]
    while waiting:
        node = waiting.pop()
        match node:
            case Chain(operands=operands, operators=operators):
                waiting += operands
                if "&&" in operators and "||" in operators[operators.index("&&") :]:
                    found.append(_chain_warning(text, node))
            case Binary(operator=operator, left=left, right=right):
                waiting += (left, right)
                inner = right.operator if isinstance(right, Binary) else ""
                if operator == "&" and inner in _BITS - {"&"} and not _in_parentheses(text, left, right):
                    message = f"This is read as a & (b {inner} c): of & | ^ none binds tighter."
                    found.append(
                        Caution(
                            "precedence",
                            node.start,
                            node.end,
                            message,
                            "Use parentheses to say what is meant.",
                        )
                    )
            case Unary(operand=operand):
                waiting.append(operand)
            case Items() | Text():
                pass
    return found


def _chain_warning(text: str, chain: Chain) -> Caution:
    first = chain.operators.index("&&")
    rest = chain.operands[first + 1]
    left, right = _shown(text, chain.operands[first]), _shown(text, rest)
    message = (
        f"This is read from the right: {left} && ({right} || …). "
        "Neither of && and || binds tighter, unlike in most languages."
    )
    hint = "Use parentheses: (a && b) || c, or a && (b || c)."
    return Caution("precedence", chain.start, chain.end, message, hint)


def _shown(text: str, node: Node) -> str:
    part = " ".join(text[node.start : node.end].split())
    return part if len(part) <= _MAX_SHOWN else part[: _MAX_SHOWN - 1] + "…"


def _in_parentheses(text: str, left: Node, right: Node) -> bool:
    return "(" in text[left.end : right.start]
