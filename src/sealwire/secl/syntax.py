"""The tree of an expression as it was written; nothing is known of types yet.

Every node says where it stands in its text. A run of ``and`` and ``or`` is one ``Chain``, however long, so
that the depth of a tree is the depth of its parentheses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Text:
    """A text in quotes; ``raw`` says it as written where a variable stands in it."""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """``~"..."``"""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Regex:
    """``r"..."``"""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Number:
    """An integer."""

    value: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time."""

    nanoseconds: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Boolean:
    """``true`` or ``false``."""

    value: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Network:
    """An IP address, or a network with its prefix length."""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Name:
    """A field, a constant or a macro."""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Variable:
    """``${name}``"""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Items:
    """``[a, b, c]``"""

    items: tuple[Node, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unary:
    """``!``, ``-`` or ``^`` before something."""

    operator: str
    operand: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Binary:
    """A comparison or a calculation; ``operator`` in one spelling (``not in``, never ``notin``)."""

    operator: str
    left: Node
    right: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chain:
    """``a && b || c``: read from the right, ``a && (b || c)``, for neither operator binds tighter."""

    operands: tuple[Node, ...]
    operators: tuple[str, ...]
    start: int
    end: int


Node: TypeAlias = (
    Text | Pattern | Regex | Number | Duration | Boolean | Network | Name | Variable
    | Items | Unary | Binary | Chain
)  # fmt: skip

_PLACE: Final = re.compile(r"\$\{([^{}\"\s]*)\}")


def pieces(text: str) -> list[tuple[str, str]]:
    """A text with ``${name}`` in it, as pairs of a plain text and the name after it (empty at the end)."""
    found: list[tuple[str, str]] = []
    place = 0
    for each in _PLACE.finditer(text):
        found.append((text[place : each.start()], each[1]))
        place = each.end()
    found.append((text[place:], ""))
    return found
