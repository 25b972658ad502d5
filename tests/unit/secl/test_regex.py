"""Regular expressions: the same answers as a known engine, in time that does not run away."""

from __future__ import annotations

import contextlib
import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.secl.regex import MAX_NODES, Regex, RegexError

ATOMS = (
    "a",
    "b",
    "c",
    ".",
    r"\d",
    r"\w",
    r"\s",
    "[ab]",
    "[^a]",
    "[a-c]",
    r"[\d_]",
    "^",
    r"\b",
    "[[:alpha:]]",
)
REPEATS = ("*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "+?")

patterns = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(REPEATS)).map(lambda two: f"(?:{two[0]}){two[1]}"),
    ),
    max_leaves=8,
)


@settings(max_examples=500)
@given(patterns, st.sampled_from(("", "(?i)", "(?s)", "(?is)")), st.text("abcAB1_ \n", max_size=10))
def test_the_answer_is_that_of_the_standard_engine(pattern: str, flags: str, text: str) -> None:
    known = re.compile(flags + pattern.replace("[[:alpha:]]", "[A-Za-z]"), re.ASCII)

    assert Regex(flags + pattern).search(text) is (known.search(text) is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("", "", True),
        ("a$", "a\n", False),  # as RE2: the end of the text, not before a last newline
        ("(?m)a$", "a\nb", True),
        ("(?m)^b", "a\nb", True),
        (r"\Aa\z", "a", True),
        (r"\B", "", True),
        (r"\Q.*\E", "x.*y", True),
        (r"\x41\x{1F600}", "A\U0001f600", True),
        (r"[^\n]", "\n", False),
        (r"[]a]", "]", True),
        (r"[a\-z]", "-", True),
        (r"[a-]", "-", True),
        ("a{,2}", "a{,2}", True),
        ("(?i)straße", "STRAßE", True),
        (r"(?i)[^a]", "A", False),
        (r"(?P<name>a)b", "ab", True),
        (r"(?i:a)b", "Ab", True),
        (r"(?i:a)b", "AB", False),
        (r"a(?i)b", "aB", True),
        (
            r"OUTPUT.*((25[0-5]|(2[0-4]|1\d|[1-9]|)\d)\.?\b){4}.*ACCEPT",
            "-A OUTPUT -d 10.1.2.3 -j ACCEPT",
            True,
        ),
        (r"OUTPUT.*((25[0-5]|(2[0-4]|1\d|[1-9]|)\d)\.?\b){4}.*ACCEPT", "-A OUTPUT -d ten -j ACCEPT", False),
    ],
)
def test_what_engines_differ_in_is_as_in_re2(pattern: str, text: str, found: bool) -> None:
    assert Regex(pattern).search(text) is found


@pytest.mark.parametrize(
    "pattern",
    [
        "(", ")", "[", "[a", "*", "a**", "a{2}{3}", "(?=a)", "(?!a)", "(?<=a)", r"(a)\1", r"\p{L}", r"\8",
        "\\", "[z-a]", "a{1001}", "a{3,2}", "(?P=x)", "[[:what:]]", r"\x4", r"\x{110000}", "((((" * 20,
        "(a{1000}){1000}", "x" * 10_001,
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused_with_a_sentence(pattern: str) -> None:
    with pytest.raises(RegexError, match=r"[a-z].*\.$"):
        Regex(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a*)*b", "a" * 100_000 + "c"),
        ("(a|a)*b", "a" * 100_000 + "c"),
        ("(a|aa)+$", "a" * 100_000 + "!"),
        ("(x+x+)+y", "x" * 100_000 + " y"),
        (".*.*.*.*=.*=", "x" * 100_000 + "="),
        ("(.*)(.*)(.*)(.*)[0-9]x", "1" * 100_000),
        ("(a|b)*a(a|b){250}c", "ab" * 50_000 + "c"),
        ("^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 100_000),
    ],
)
def test_no_pattern_takes_time_that_grows_out_of_proportion(pattern: str, text: str) -> None:
    regex = Regex(pattern)

    started = time.process_time()
    regex.search(text)

    assert time.process_time() - started < 2.0


def test_a_text_that_is_too_much_work_is_given_up_and_counted() -> None:
    regex = Regex("(a|b)*a(a|b){700}c")
    text = "".join(random.Random(6).choices("ab", k=200_000)) + "c"

    started = time.process_time()
    found = regex.search(text)

    assert time.process_time() - started < 3.0
    assert not found
    assert regex.given_up == 1
    assert regex.search("a" * 701 + "c"), "and it goes on with other texts"


def test_a_pattern_as_large_as_is_allowed_is_read_quickly() -> None:
    started = time.process_time()
    Regex("(?:ab){700}" + "x" * 50)

    assert time.process_time() - started < 0.5
    assert MAX_NODES >= 2_000


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_is_refused(pattern: str) -> None:
    with contextlib.suppress(RegexError):
        Regex(pattern).search(pattern)
