"""``Order {order.id} took {@duration} ms``: the text of a log message with expressions in it.

A brace that is meant as such is doubled. Hides the difference between the text people write and the segments
that tracers read. Invariants: what ``parse`` gives, ``text_of`` writes, and ``parse`` reads to the same;
neighbouring texts are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.errors import MalformedError
from sealwire.products.probe_expressions import Node, from_json, to_json
from sealwire.products.schema import at, kind
from sealwire.server.debugger.expressions import printer
from sealwire.server.debugger.expressions.parser import ExpressionError, Place, parse_within

MAX_CHARS: Final = 8_192  # a message is cut off there by Node and Java
MAX_EXPRESSIONS: Final = 50


@dataclass(frozen=True, slots=True)
class Template:
    """The parts in their order: texts as they are printed, and expressions."""

    parts: tuple[str | Node, ...]

    @property
    def expressions(self) -> tuple[Node, ...]:
        return tuple(each for each in self.parts if not isinstance(each, str))


def parse(text: str, *, place: Place = Place.ANYWHERE) -> Template:
    """Understand the text of a message.

    Raises:
        ExpressionError: An expression makes no sense; positions are those of the whole text.
    """
    if len(text) > MAX_CHARS:
        raise ExpressionError(MAX_CHARS, "", f"A message has at most {MAX_CHARS} characters.")
    parts: list[str | Node] = []
    said: list[str] = []
    start = 0
    expressions = 0
    while start < len(text):
        character = text[start]
        if character not in "{}":
            end = min((found for mark in "{}" if (found := text.find(mark, start)) >= 0), default=len(text))
            said.append(text[start:end])
            start = end
        elif text.startswith(character * 2, start):
            said.append(character)
            start += 2
        elif character == "}":
            hint = "Write }} for a brace that is meant as such."
            raise ExpressionError(start, "}", "Nothing is open that } could close.", suggestion=hint)
        else:
            expressions += 1
            if expressions > MAX_EXPRESSIONS:
                raise ExpressionError(start, "{", f"A message has at most {MAX_EXPRESSIONS} expressions.")
            node, start = parse_within(text, start + 1, place=place)
            if said:
                parts.append("".join(said))
                said = []
            parts.append(node)
    if said:
        parts.append("".join(said))
    if any("\ud800" <= each <= "\udfff" for part in parts if isinstance(part, str) for each in part):
        raise ExpressionError(0, "", "The text has half of a character that takes two (a surrogate).")
    return Template(tuple(parts))


def text_of(template: Template) -> str:
    """The text as people write it."""
    return "".join(
        each.replace("{", "{{").replace("}", "}}")
        if isinstance(each, str)
        else f"{{{printer.text_of(each)}}}"  # never begins with a brace, so {{ is always a printed one
        for each in template.parts
    )


def to_wire(template: Template) -> tuple[str, list[dict[str, object]]]:
    """``template`` and ``segments`` of a probe.

    dd-trace prints ``template`` as it is where no segment has an expression, so braces are not doubled then.
    """
    segments: list[dict[str, object]] = []
    for each in template.parts:
        if isinstance(each, str):
            segments.append({"str": each})
        else:
            segments.append(expression_to_wire(each))
    text = text_of(template) if template.expressions else "".join(map(str, template.parts))
    return text, segments


def expression_to_wire(node: Node) -> dict[str, object]:
    """``{"dsl": …, "json": …}``: for people, and for the tracer."""
    return {"dsl": printer.text_of(node), "json": to_json(node)}


def from_wire(segments: object, *, path: str = "$") -> Template:
    """The message that segments mean.

    Raises:
        MalformedError: They are not segments.
    """
    if not isinstance(segments, list | tuple):
        raise MalformedError(f"{path}: Expected a list, not {kind(segments)}.")
    if len(segments) > 2 * MAX_EXPRESSIONS + 1:
        raise MalformedError(f"{path}: A message has at most {MAX_EXPRESSIONS} expressions.")
    parts: list[str | Node] = []
    for number, each in enumerate(segments):
        here = at(path, number)
        if not isinstance(each, Mapping):
            raise MalformedError(f"{here}: Expected an object, not {kind(each)}.")
        said = each.get("str")
        if "json" in each:
            parts.append(from_json(each["json"], path=at(here, "json")))
        elif not isinstance(said, str):
            raise MalformedError(f"{here}: Expected str or json.")
        elif parts and isinstance(parts[-1], str):
            parts[-1] += said
        elif said:
            parts.append(said)
    template = Template(tuple(parts))
    if len(text_of(template)) > MAX_CHARS:
        raise MalformedError(f"{path}: A message has at most {MAX_CHARS} characters.")
    return template
