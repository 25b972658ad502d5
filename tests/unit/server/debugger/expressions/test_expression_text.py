"""The text of expressions and of messages: what is meant, how it is written, where it is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.errors import MalformedError, UntrustedError
from sealwire.products.probe_expressions import (
    OPERATORS,
    SPECIALS,
    Call,
    Literal,
    Node,
    Ref,
    from_json,
    is_name,
    joined,
    to_json,
    too_much,
    wrong_operand,
)
from sealwire.server.debugger.expressions import templates
from sealwire.server.debugger.expressions.parser import ExpressionError, Place, parse
from sealwire.server.debugger.expressions.printer import text_of

EXAMPLE = "a > 1 && !isEmpty(order.items) && any(order.items, {@it.price > 10})"


def test_an_expression_becomes_the_json_that_tracers_read() -> None:
    items = {"getmember": [{"ref": "order"}, "items"]}
    dear = {"gt": [{"getmember": [{"ref": "@it"}, "price"]}, 10]}

    assert to_json(parse(EXAMPLE)) == {
        "and": [{"gt": [{"ref": "a"}, 1]}, {"and": [{"not": {"isEmpty": items}}, {"any": [items, dear]}]}]
    }


@pytest.mark.parametrize(
    ("text", "json"),
    [
        ("a.b['k'][0]", {"index": [{"index": [{"getmember": [{"ref": "a"}, "b"]}, "k"]}, 0]}),
        ("-1.5e2 <= x", {"le": [-150.0, {"ref": "x"}]}),
        ("!(a || b) && c", {"and": [{"not": {"or": [{"ref": "a"}, {"ref": "b"}]}}, {"ref": "c"}]}),
        ("a || b && c", {"or": [{"ref": "a"}, {"and": [{"ref": "b"}, {"ref": "c"}]}]}),
        ("s.startsWith('x')", {"startsWith": [{"ref": "s"}, "x"]}),
        ("l.any({@it == null})", {"any": [{"ref": "l"}, {"eq": [{"ref": "@it"}, None]}]}),
        ("count(x) != hasAny(l, {true})", {"ne": [{"len": {"ref": "x"}}, {"any": [{"ref": "l"}, True]}]}),
        (r"'\u00e4\n\'' == " + '"\\""', {"eq": ["ä\n'", '"']}),
        ("this.#price", {"getmember": [{"ref": "this"}, "#price"]}),
        ('getmember(x, "odd name")', {"getmember": [{"ref": "x"}, "odd name"]}),
    ],
)
def test_what_is_written_means_this(text: str, json: object) -> None:
    assert to_json(parse(text)) == json


@pytest.mark.parametrize(
    ("text", "position", "token", "words"),
    [
        ("", 0, "", "An expression was expected"),
        ("a = 1", 2, "=", "Write =="),
        ("a and b", 2, "and", "Write &&"),
        ("not a", 0, "not", "Write !"),
        ("a === b", 2, "===", "Write =="),
        ("a + 1", 2, "+", "not added"),
        ("a < b < c", 6, "<", "b && b <"),
        ("foo(1)", 0, "foo", "cannot be called"),
        ("startswith(a, 'x')", 0, "startswith", "Did you mean startsWith?"),
        ("isNull(x)", 0, "isNull", "x == null"),
        ("@retrun", 0, "@retrun", "Did you mean @return?"),
        ("@it > 1", 0, "@it", "any(list, {@it > 1})"),
        ("any(l, @it > 1)", 7, "@it", "A condition in { }"),
        ("x == None", 5, "None", "Write null"),
        ("(a", 0, "(", "missing"),
        ("a)", 1, ")", "Nothing is open"),
        ("a[1", 1, "[", "missing"),
        ("'abc", 0, "'abc", "missing"),
        ("a.", 2, "", "name of a field"),
        ("len(a, b)", 7, "b", "takes 1 value"),
        ("len(a > 1)", 4, "a > 1", "not a condition"),
        ("instanceof(x, int)", 14, "int", "quotation marks"),
        ("1x", 0, "1x", "ends with a digit"),
        (r"'\d'", 1, r"\d", "backslash"),
        ("9007199254740993", 0, "9007199254740993", "between"),
    ],
)
def test_an_error_says_where_it_is_and_what_to_write(
    text: str, position: int, token: str, words: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)

    assert (caught.value.position, caught.value.token) == (position, token)
    assert words in caught.value.public


@pytest.mark.parametrize("name", ["@return", "@exception", "@duration"])
@pytest.mark.parametrize(("place", "where"), [(Place.LINE, "at a line"), (Place.ENTRY, "begins")])
def test_what_only_the_end_of_a_method_has_is_refused_elsewhere(name: str, place: Place, where: str) -> None:
    assert parse(name, place=Place.EXIT) == Ref(name)
    with pytest.raises(ExpressionError, match=where):
        parse(f"a && {name} > 1", place=place)


# Everything there is --------------------------------------------------------------------------------------

_NAMES = st.from_regex(r"[A-Za-z_$][A-Za-z0-9_$]{0,8}", fullmatch=True).filter(is_name)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_LITERALS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    _TEXTS,
).map(Literal)


@st.composite
def nodes(draw: st.DrawFn, depth: int = 4, in_braces: bool = False) -> Node:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        specials = [name for name in SPECIALS if in_braces or name not in ("@it", "@key", "@value")]
        return draw(st.one_of(_LITERALS, _NAMES.map(Ref), st.sampled_from(specials).map(Ref)))
    op = draw(st.sampled_from(sorted(OPERATORS)))
    inner = nodes(depth=depth - 1, in_braces=in_braces)
    if op in ("and", "or"):
        return joined(op, tuple(draw(st.lists(inner, min_size=2, max_size=4))))
    if op in ("getmember", "instanceof"):
        return Call(op, (draw(inner), Literal(draw(_TEXTS.filter(bool)))))
    if OPERATORS[op].takes_lambda:
        return Call(op, (draw(inner), draw(nodes(depth=depth - 1, in_braces=True))))
    args = tuple(draw(inner) for _ in range(OPERATORS[op].arity))
    return args[0] if wrong_operand(op, args) else Call(op, args)


@given(nodes())
@settings(max_examples=60)
def test_any_expression_is_the_same_after_its_text_and_after_its_json(node: Node) -> None:
    if too_much(node):
        return

    assert from_json(to_json(node)) == node
    assert parse(text_of(node)) == node
    assert text_of(parse(text_of(node))) == text_of(node)


@given(
    st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), nodes(2)), max_size=5)
)
@settings(max_examples=40)
def test_any_message_is_the_same_after_its_text_and_after_its_segments(parts: list[str | Node]) -> None:
    text = templates.text_of(templates.Template(tuple(parts)))
    template = templates.parse(text)

    assert templates.text_of(template) == text
    assert templates.from_wire(templates.to_wire(template)[1]) == template


_PIECES = st.sampled_from(
    [
        "a",
        ".",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "&&",
        "||",
        "!",
        "==",
        "<",
        '"',
        "'",
        "\\",
        "@it",
        "@return",
        "any",
        ",",
        "1",
        "-",
        " ",
        "len",
        "null",
        "é",
        "\x00",
        "#",
        "𝒳",
        "filter",
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(_PIECES, max_size=40).map("".join)))
def test_any_text_gives_a_tree_or_an_error_within_it(text: str) -> None:
    for read in (parse, templates.parse):
        try:
            read(text)
            wrong = None
        except ExpressionError as error:
            wrong = error
        if wrong is not None:
            assert 0 <= wrong.position <= len(text)
            assert text[wrong.position :].startswith(wrong.token)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000,
        "!" * 30000,
        "a" + ".b" * 10000,
        "a" + "[0" * 5000,
        "a" + " && a" * 5000,
        "any(l, {" * 3000,
        "len(" * 5000,
        "x" * 40000,
        "'" + "\\n" * 15000,
        "-" * 30000,
        "1 == " * 6000,
    ],
)
def test_a_text_that_is_too_much_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text)


# JSON -----------------------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from([*OPERATORS, "ref", "neq", "hasAny", "x"]), inner, max_size=2),
    ),
    max_leaves=12,
)


@given(_JSON)
@settings(max_examples=60)
def test_any_json_is_understood_or_refused(value: object) -> None:
    try:
        node = from_json(value)
    except UntrustedError:
        return
    assert from_json(to_json(node)) == node


def test_json_that_is_too_much_is_refused() -> None:
    deep: object = 1
    for _ in range(100_000):
        deep = {"not": deep}

    for value in (deep, {"and": [1] * 5_000}, {"eq": ["x" * 1_001, 1]}, {"ref": "a" * 300}, 2**60):
        with pytest.raises(MalformedError):
            from_json(value)
    while isinstance(deep, dict):  # taken apart by hand: to let it go at once would go as deep
        deep = deep.popitem()[1]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"nosuch": 1}, "no operator"),
        ({"isempty": {"ref": "a"}}, 'Did you mean "isEmpty"?'),
        ({"eq": [1]}, "$.eq: eq takes 2"),
        ({"and": [True, {"any": [{"ref": "l"}, {"gt": [{"ref": "it"}]}]}]}, "$.and[1].any[1].gt"),
        ({"ref": "@it"}, "second operand of any"),
        ({"ref": "a b"}, "no name"),
        ({"len": {"not": {"ref": "a"}}}, "not a condition"),
        ({"eq": [1, 2], "gt": [1, 2]}, "one operator"),
        ([1], "not a list"),
    ],
)
def test_json_that_no_tracer_would_take_is_refused_at_its_path(value: object, words: str) -> None:
    with pytest.raises(MalformedError) as caught:
        from_json(value)

    assert words in caught.value.public


def test_what_other_tools_write_is_read_and_written_as_every_tracer_takes_it() -> None:
    theirs = {"&&": [{"neq": [1, 2]}, {"hasAll": [{"ref": "l"}, {"ref": "@it"}]}, {"count": {"ref": "s"}}]}

    rest = {"and": [{"all": [{"ref": "l"}, {"ref": "@it"}]}, {"len": {"ref": "s"}}]}
    assert to_json(from_json(theirs)) == {"and": [{"ne": [1, 2]}, rest]}


# Messages -------------------------------------------------------------------------------------------------


def test_a_message_becomes_segments() -> None:
    text, segments = templates.to_wire(templates.parse("Order {order.id} took {@duration} ms"))

    assert text == "Order {order.id} took {@duration} ms"
    assert segments == [
        {"str": "Order "},
        {"dsl": "order.id", "json": {"getmember": [{"ref": "order"}, "id"]}},
        {"str": " took "},
        {"dsl": "@duration", "json": {"ref": "@duration"}},
        {"str": " ms"},
    ]


def test_braces_of_conditions_and_texts_do_not_end_an_expression() -> None:
    template = templates.parse("{any(l, {@it == '}'})}, {{ and }}")

    assert template.parts == (parse("any(l, {@it == '}'})"), ", { and }")


def test_a_message_without_expressions_is_sent_as_it_is_printed() -> None:
    assert templates.to_wire(templates.parse("{{}}")) == ("{}", [{"str": "{}"}])


@pytest.mark.parametrize(
    ("text", "position"), [("ab {x", 3), ("a } b", 2), ("{}", 1), ("x {a b}", 5), ("{a} {b ==}", 9)]
)
def test_an_error_in_a_message_is_where_it_is_in_the_whole(text: str, position: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        templates.parse(text)

    assert caught.value.position == position
