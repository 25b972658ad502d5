"""What is offered at a cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.server.debugger.expressions.completion import Completion, Known, complete, complete_template
from sealwire.server.debugger.expressions.parser import Place, parse

LINE = Known("", "element", "Line", (Known("price", "field", "float"), Known("sku", "field", "str")))
NAMES = (
    Known(
        "order", "argument", "Order", (Known("id", "field", "int"), Known("lines", "field", "list", (LINE,)))
    ),
    Known("total", "local", "int"),
    Known("byName", "local", "dict", (Known("bob", "key", "User", (Known("age", "field", "int"),)),)),
)


def texts(completion: Completion) -> list[str]:
    return [each.text for each in completion.candidates]


def at_end(text: str, place: Place = Place.ANYWHERE) -> list[str]:
    return texts(complete(text, len(text), names=NAMES, place=place))


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("", "order"),
        ("tot", "total"),
        ("order.", "id"),
        ("order.li", "lines"),
        ("order.lines[0].", "price"),
        ('byName["bob"].', "age"),
        ("any(order.lines, {@it.", "price"),
        ("order.lines.any({@it.s", "sku"),
        ("any(order.lines, {", "order"),
        ("total > 1 && isem", "isEmpty()"),
        ("total ", "=="),
        ("len(order.lines) ", "=="),
        ("strtsWith", "startsWith()"),
        ("NAM", "byName"),
    ],
)
def test_the_likeliest_comes_first(text: str, first: str) -> None:
    assert at_end(text)[0] == first


def test_special_names_are_offered_where_they_mean_something() -> None:
    assert set(at_end("@", Place.EXIT)) == {"@return", "@exception", "@duration"}
    assert at_end("@", Place.LINE) == []
    assert at_end("any(order.lines, {@", Place.LINE) == ["@it", "@key", "@value"]


def test_nothing_is_offered_in_a_text() -> None:
    assert at_end('total == "or') == []


def test_a_word_is_replaced_as_a_whole() -> None:
    found = complete("tota1l > 2", 3, names=NAMES)

    assert (found.start, found.end) == (0, 6)


def test_a_message_completes_in_its_braces_only() -> None:
    assert texts(complete_template("Order ord", 9, names=NAMES)) == []
    found = complete_template("Order {{x}} {order.i} done", 20, names=NAMES)
    assert (texts(found)[0], found.start, found.end) == ("id", 19, 20)


@given(st.text("ab.@{}()[]\"'\\ &|!=<>0,it$#é", max_size=30), st.integers(-5, 40))
def test_any_text_and_any_cursor_give_an_answer(text: str, cursor: int) -> None:
    for ask in (complete, complete_template):
        found = ask(text, cursor, names=NAMES)
        assert 0 <= found.start <= found.end <= len(text)


def test_what_is_offered_at_the_beginning_is_an_expression() -> None:
    for each in complete("", 0, names=NAMES).candidates:
        if each.kind in ("name", "special", "constant") and each.text not in ("@it", "@key", "@value"):
            parse(each.text)
