"""Lexer, parser and types: what is read as what, and that nothing an author writes can do harm."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.secl.catalogue import EVENTS, FIELDS, HOST_FIELDS, Place, Type, children
from sealwire.secl.check import Language, check_condition, check_rule
from sealwire.secl.compiler import Compiler
from sealwire.secl.constants import CONSTANTS, GROUPS
from sealwire.secl.event import Event, host_event
from sealwire.secl.lexer import MAX_EXPRESSION_CHARS, Kind, tokens
from sealwire.secl.lint import lint
from sealwire.secl.parser import MAX_DEPTH, parse
from sealwire.secl.problems import ExpressionError
from sealwire.secl.syntax import Binary, Chain, Name
from sealwire.secl.variables import VariableStore

VECTORS = Path(__file__).parents[2] / "vectors" / "secl"
EVENTS_OF_VECTORS: dict[str, Any] = json.loads((VECTORS / "events.json").read_text())

# Words, strung together at random, reach further into the grammar than random letters do.
WORDS = (
    "open.file.path", "exec.comm", "exec.argv", "process.ancestors.comm", "process.ancestors[A].pid",
    "open.flags", "process.is_thread", "connect.addr.ip", "process.created_at", "fim.write.file.path",
    "bpf.prog.helpers", "O_CREAT", "M", "LOOP", "==", "!=", "<", ">=", "=~", "!~", "in", "not", "not in",
    "allin", "&&", "||", "&", "|", "^", "!", "+", "-", "(", ")", "(", ")", "[", "]", ",", '"a"',
    '~"a*"', 'r"(a|b)*"', "1", "0x1f", "5s", "10.0.0.0/8", "::1", "true", "${process.pid}", "${x}",
    '"${process.pid}"', "#", "exec.argv.length",
)  # fmt: skip
MACROS = {"M": '["a", ~"b*"]', "LOOP": "LOOP && LOOP"}


def use(text: str) -> None:
    """Check, compile and evaluate an expression on every event of the table."""
    language = Language(macros=MACROS)
    checked = check_rule(text, language)
    lint(text, checked, language)
    for variant in checked.variants:
        test = Compiler(VariableStore(), str).rule(variant.condition, checked.registers)
        for document in EVENTS_OF_VECTORS.values():
            if document["type"] == variant.event_type:
                assert test(Event.from_document(document)) in (True, False)


@settings(max_examples=1500)
@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
def test_any_row_of_words_is_an_expression_or_is_refused(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        use(text)


@settings(max_examples=500)
@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_is_refused(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        use(text)


VALUES = (
    '"a"', '~"a*b"', 'r"a+"', "1", "-1", "5s", "10.0.0.0/8", "::1", "true", "[1, 2]", '["a", ~"b*"]', "[]",
    "M", "${process.pid}", "O_CREAT", '"x${process.pid}"', "[10.0.0.1]", "exec.comm", "exec.argv",
    "open.flags", "process.ancestors.pid", "process.ancestors[A].comm", '["${process.pid}"]',
    "exec.argv.length", "exec.user",
)  # fmt: skip
OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "=~", "!~", "in", "not in", "allin")


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    """Some field and some value, often ones that do not go together."""
    field = draw(st.sampled_from(sorted(FIELDS)))
    if draw(st.booleans()):
        field = field.replace(".ancestors.", ".ancestors[A].")
    sides = [field + draw(st.sampled_from(("", "", "", ".length", " & 1"))), draw(st.sampled_from(VALUES))]
    if draw(st.booleans()):
        sides.reverse()
    text = f"({sides[0]} {draw(st.sampled_from(OPERATORS))} {sides[1]})"
    return f"!{text}" if draw(st.booleans()) else text


@settings(max_examples=2000)
@given(comparisons(), st.sampled_from(("", " == true", " && process.pid >= 0", " != false")))
def test_any_field_compared_with_any_value_is_evaluated_or_refused(text: str, more: str) -> None:
    with contextlib.suppress(ExpressionError):
        use(text + more)


LEAVES = (
    'exec.comm == "bash"', 'exec.comm in ["sh", ~"ba*"]', "exec.uid > 999", 'exec.argv in ["-i"]',
    'process.ancestors.comm == "sshd"', 'process.ancestors[A].comm != "sshd"', "exec.file.in_upper_layer",
    "exec.file.mode & S_ISUID > 0", "process.created_at < 10s", 'exec.file.path =~ "/usr/**"',
)  # fmt: skip
SIGNS = (" && ", " || ", " and ", " or ")
conditions = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, st.sampled_from(SIGNS), inner).map(lambda parts: f"({''.join(parts)})"),
        st.tuples(inner, st.sampled_from(SIGNS), inner, st.sampled_from(SIGNS), inner).map("".join),
    ),
    max_leaves=12,
)


@settings(max_examples=400)
@given(conditions)
def test_every_condition_is_read_and_evaluated(text: str) -> None:
    use(f'exec.comm != "x" && ({text})')


def by_the_grammar(parts: list[bool], signs: list[str]) -> bool:
    if not signs:
        return parts[0]
    rest = by_the_grammar(parts[1:], signs[1:])
    return parts[0] and rest if signs[0] == "&&" else parts[0] or rest


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(("&&", "||"))), min_size=1, max_size=9))
def test_a_chain_is_read_from_the_right(chain: list[tuple[bool, str]]) -> None:
    words = " ".join(f'exec.comm {"!=" if holds else "=="} "zzz" {sign}' for holds, sign in chain)
    expression = words.rsplit(" ", 1)[0]
    event = Event.from_document(EVENTS_OF_VECTORS["shell"])

    checked = check_rule(expression, Language())
    found = Compiler(VariableStore(), str).rule(checked.variants[0].condition)(event)

    assert found is by_the_grammar([holds for holds, _ in chain], [sign for _, sign in chain[:-1]])


# Bounds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "!" * 100_000,
        "- " * 90_000 + "1",
        "(" * 61 + "open.flags > 0" + ")" * 61,
        "open.flags > 0 && " * 9_000 + "open.flags > 0",
        "open.flags" + " + 1" * 20_000 + " > 0",
        "open.flags" + " | 1" * 20_000 + " > 0",
        "open.flags" + " == 1" * 20_000,
        "open.file.path in [" + '"a", ' * 20_000 + '"b"]',
        '"' + "a" * 190_000,
        "a." * 90_000 + "b == 1",
        "open.file.path == " + '"' + "${process.pid}" * 10_000 + '"',
        "1" * 100_000 + " == open.flags",
        "x" * (MAX_EXPRESSION_CHARS + 1),
        "process.ancestors" + "[A]" * 10_000 + ".pid == 1",
        '"' + "\\" * 150_000,
    ],
    ids=lambda text: f"{text[:20]}… ({len(text)})",
)
def test_large_expressions_end_soon(text: str) -> None:
    started = time.process_time()
    with contextlib.suppress(ExpressionError):
        use(text)

    assert time.process_time() - started < 5.0


def test_parentheses_may_nest_as_deep_as_is_said() -> None:
    deep = MAX_DEPTH - 1

    use("(" * deep + 'exec.comm == "a"' + ")" * deep)
    with pytest.raises(ExpressionError, match="nests more than"):
        use("(" * (MAX_DEPTH + 1) + 'exec.comm == "a"' + ")" * (MAX_DEPTH + 1))


def test_nested_comparisons_of_conditions_take_no_more_than_their_length() -> None:
    text = "exec.uid == 1"
    for _ in range(25):
        text = f"({text}) == true"

    started = time.process_time()
    use(text)

    assert time.process_time() - started < 1.0


def test_a_macro_that_leads_to_itself_is_refused() -> None:
    language = Language(macros={"A": "B", "B": "A", "L": "[L]", "C": "C || C"})

    for text in ("A", "exec.uid in A", "exec.comm in L", "C", "exec.uid == 0 && C", 'exec.comm in ["a", L]'):
        with pytest.raises(ExpressionError):
            check_rule(text, language)


def test_macros_that_double_with_each_step_are_refused_soon() -> None:
    macros = {f"M{at}": f"M{at + 1} && M{at + 1}" for at in range(28)} | {"M28": "exec.uid == 0"}
    lists = {f"L{at}": f"[L{at + 1}, L{at + 1}]" for at in range(28)} | {"L28": '["a"]'}

    started = time.process_time()
    with pytest.raises(ExpressionError, match="grows to more"):
        check_rule("M0", Language(macros=macros))
    with pytest.raises(ExpressionError, match="grows to more"):
        check_rule("exec.comm in L0", Language(macros=lists))

    assert time.process_time() - started < 5.0


# Words and trees --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("12", Kind.INT, 12),
        ("0755", Kind.INT, 0o755),
        ("0xfF", Kind.INT, 255),
        ("0", Kind.INT, 0),
        ("5s", Kind.DURATION, 5_000_000_000),
        ("1h30m", Kind.DURATION, 5_400_000_000_000),
        ("10ms", Kind.DURATION, 10_000_000),
        ("2d", Kind.DURATION, 172_800_000_000_000),
        (r'"a\"b"', Kind.TEXT, 'a"b'),
        (r'"a\\b"', Kind.TEXT, "a\\b"),
        (r'"a\nb\tc"', Kind.TEXT, "a\nb\tc"),
        (r'"\d\Windows"', Kind.TEXT, "\\d\\Windows"),
        (r'~"\Device\*\n"', Kind.PATTERN, r"\Device\*\n"),
        (r'~"a\"b*"', Kind.PATTERN, 'a"b*'),
        (r'r"\d+\"\\"', Kind.REGEX, r'\d+"\\'),
        ("10.0.0.1", Kind.NETWORK, "10.0.0.1"),
        ("10.0.0.0/8", Kind.NETWORK, "10.0.0.0/8"),
        ("::1", Kind.NETWORK, "::1"),
        ("2001:db8::/32", Kind.NETWORK, "2001:db8::/32"),
        ("::ffff:10.0.0.1", Kind.NETWORK, "::ffff:10.0.0.1"),
        ("${process.x}", Kind.VARIABLE, "process.x"),
        ("process.ancestors[A].comm", Kind.NAME, "process.ancestors[A].comm"),
        ("%x.y", Kind.NAME, "%x.y"),
    ],
)
def test_a_word_is_what_it_stands_for(text: str, kind: Kind, value: str | int) -> None:
    first, last = tokens(text)

    assert (first.kind, first.value) == (kind, value)
    assert last.kind is Kind.END


def test_comments_and_lines_are_passed_over() -> None:
    tree = parse("a # && b\n && // c ||\n\tb")

    assert isinstance(tree, Chain)
    assert [name.value for name in tree.operands if isinstance(name, Name)] == ["a", "b"]


def test_calculation_binds_tighter_than_comparison_and_bits_tighter_than_sums() -> None:
    tree = parse("a & b + c > d | e")

    assert isinstance(tree, Binary)
    assert tree.operator == ">"
    assert isinstance(tree.left, Binary)
    assert tree.left.operator == "+"
    assert isinstance(tree.left.left, Binary)
    assert tree.left.left.operator == "&"


def test_a_mistake_in_a_macro_is_said_to_be_there() -> None:
    with pytest.raises(ExpressionError) as caught:
        check_rule("BROKEN && exec.uid == 0", Language(macros={"BROKEN": "exec.uid ==\n  == 1"}))

    assert caught.value.macro == "BROKEN"
    assert (caught.value.line, caught.value.column) == (2, 3)
    assert caught.value.public.startswith("Macro BROKEN, line 2, column 3:")


def test_a_mistake_in_a_list_of_a_macro_is_said_to_be_there() -> None:
    with pytest.raises(ExpressionError) as caught:
        check_rule("exec.uid in NAMES", Language(macros={"NAMES": '["a", "b"]'}))

    assert caught.value.macro == "NAMES"
    assert caught.value.column == 2


def test_one_macro_fits_fields_of_different_kinds() -> None:
    language = Language(macros={"M": '[~"*/x", "y"]'})

    for name, kind in (("exec.file.path", "/"), ("exec.comm", "")):
        checked = check_rule(f"{name} in M", language)
        (variant,) = checked.variants
        assert variant.condition.choice.globs[0].separator == kind  # type: ignore[union-attr]


def test_every_macro_a_rule_uses_is_named_however_often_it_was_used_before() -> None:
    language = Language(
        macros={"OUTER": '["a", INNER]', "INNER": '["b"]', "OTHER": "OUTER", "TEST": "exec.uid == 0"}
    )

    for _ in range(2):
        checked = check_rule("exec.comm in OTHER && TEST", language)
        assert checked.macros == {"OTHER", "OUTER", "INNER", "TEST"}


def test_control_characters_never_reach_a_message() -> None:
    for text in (
        '"\x1b[31m',
        "\x00",
        "a\x07b == 1",
        '"a\x1b" == exec.argv0 && exec.fil\x1b == 1',
        "exec.\u202ex == 1",
    ):
        with pytest.raises(ExpressionError) as caught:
            check_rule(text, Language())
        assert caught.value.public.isprintable()


# Warnings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ('exec.comm == "a" && exec.uid == 0 || exec.gid == 0', {"precedence"}),
        ('exec.comm == "a" && (exec.uid == 0 || exec.gid == 0)', set()),
        ('(exec.comm == "a" && exec.uid == 0) || exec.gid == 0', set()),
        ('exec.comm == "a" || exec.comm == "b" && exec.gid == 0', set()),
        ('exec.comm == "a" && (exec.comm == "b" && exec.uid == 0 || exec.gid == 0)', {"precedence"}),
        ('exec.comm == "a" && exec.file.mode & S_ISUID | S_ISGID > 0', {"precedence"}),
        ('exec.comm == "a" && exec.file.mode & (S_ISUID | S_ISGID) > 0', set()),
        ('open.file.path == "/tmp/*"', {"literal star"}),
        ('open.file.path in ["/tmp/**", "/x"]', {"literal star"}),
        ('open.file.path =~ "/tmp/*"', set()),
        ('open.file.path =~ "tmp/*"', {"relative path"}),
        ('open.file.path in [~"*.ssh"]', {"relative path"}),
        ('open.file.name in [~"*.ssh"]', set()),
        ('open.file.name =~ "x"', {"no star"}),
        ('open.file.path =~ r"x"', {"regex on path"}),
        ("open.retval < 0", {"unfiltered"}),
        ('open.file.path != "/x"', {"unfiltered"}),
        ('open.file.path == "/x" && true', set()),
        ("open.retval == 0 && false", {"constant"}),
        ("open.retval == 0 || true", {"constant"}),
    ],
)
def test_what_is_seldom_meant_is_warned_of(text: str, codes: set[str]) -> None:
    language = Language()

    assert {each.code for each in lint(text, check_rule(text, language), language)} == codes


def test_the_warning_of_the_precedence_trap_says_how_it_is_read() -> None:
    text = 'exec.comm == "a" && exec.uid == 0 || exec.gid == 0'
    language = Language()

    (found,) = lint(text, check_rule(text, language), language)

    assert 'exec.comm == "a" && (exec.uid == 0 || …)' in found.message


# Data -------------------------------------------------------------------------------------------------------


def test_every_event_type_has_fields_and_every_field_says_what_it_is() -> None:
    assert {field.event for field in FIELDS.values()} - {""} == set(EVENTS)
    for table in (FIELDS, HOST_FIELDS):
        for name, field in table.items():
            assert field.says, name
            assert field.key, name
            assert not field.constants or field.constants in GROUPS, name
            assert not field.is_path or field.type is Type.TEXT, name
            assert not field.is_time or field.type is Type.INT, name


def test_completion_goes_from_the_first_component_to_the_last() -> None:
    assert "open" in children("")
    assert "path" in children("open.file")
    assert children("open.file.path") == ()
    assert "version" in children("kernel", of_host=True)


def test_a_process_is_the_same_wherever_it_is_asked_for() -> None:
    assert FIELDS["process.file.path"].key == FIELDS["exec.file.path"].key == "file.path"
    assert FIELDS["process.ancestors.file.path"].place is Place.ANCESTORS
    assert FIELDS["ptrace.tracee.parent.comm"].place is Place.TARGET_PARENT


def test_no_constant_has_two_meanings_and_none_is_hidden_by_a_field() -> None:
    assert sum(map(len, GROUPS.values())) == len(CONSTANTS)
    assert not set(CONSTANTS) & set(FIELDS)


def test_filters_ask_for_facts_of_the_host() -> None:
    language = Language(of_host=True)
    facts = host_event({"os": "linux", "kernel.version.major": 6, "os.is_debian": True, "envs": ["A", "B"]})
    verdicts = {
        'os == "linux" && kernel.version.major >= 5': True,
        'os == "windows"': False,
        "os.is_debian": True,
        "kernel.version.minor == 0": True,
        '"A" in envs': True,
    }

    for text, holds in verdicts.items():
        condition, _ = check_condition(text, language)
        assert Compiler(VariableStore(), str).condition(condition)(facts) is holds

    with pytest.raises(ExpressionError, match="no field"):
        check_condition("open.retval == 0", language)
