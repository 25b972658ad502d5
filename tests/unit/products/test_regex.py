"""Patterns that the tracers' engine drops are named, and none is ever run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.products.regex import MAX_REGEX_LENGTH, why_refused

TAKEN = [
    r"^acme-exporter/0\.",
    r"(?i)a|b",
    r"(?:a(?P<name>b)c)*",
    r"(?i:a)?",
    r"[]a]+[^]b]",
    r"[[:alpha:]\]]",
    r"a{2,1000}?b{",
    r"\Q(((\E\p{Greek}\x{1F600}\x41",
    r"|a(|b)",
    r"\bfoo\b",
    r"^*",
]
REFUSED = [
    ("", "empty"),
    ("(a", "character 1 is never closed"),
    ("a(b(c)", "character 2 is never closed"),
    ("a)", "closes nothing"),
    ("[a", "character 1 is never closed"),
    ("[]", "never closed"),
    ("a\\", "backslash"),
    ("(?=a)", "look-ahead"),
    ("(?!a)", "look-ahead"),
    ("(?<=a)b", "look-behind"),
    ("(?<!a)b", "look-behind"),
    ("(?>a)", "atomic"),
    (r"(a)\1", "back-reference"),
    (r"(?P<n>a)(?P=n)", "back-reference"),
    ("a++", "Two repetitions"),
    ("a**", "Two repetitions"),
    ("*a", "nothing to repeat"),
    ("(+a)", "nothing to repeat"),
    ("a{1001}", "1000"),
    ("a{3,2}", "backwards"),
    (r"\Za", "RE2"),
    (r"\p{Greek", "never closed"),
    ("(?z)", "RE2"),
    ("a" * (MAX_REGEX_LENGTH + 1), str(MAX_REGEX_LENGTH)),
]


@pytest.mark.parametrize("pattern", TAKEN)
def test_what_the_engine_takes_passes(pattern: str) -> None:
    assert why_refused(pattern) is None


@pytest.mark.parametrize(("pattern", "hint"), REFUSED, ids=[pattern[:12] for pattern, _ in REFUSED])
def test_what_the_engine_drops_is_refused_with_the_reason(pattern: str, hint: str) -> None:
    wrong = why_refused(pattern)

    assert wrong is not None
    assert hint in wrong


@given(pattern=st.text(alphabet="ab\\()[]{}|*+?^$:=!<>P0123,-QE", max_size=40))
def test_no_pattern_makes_the_scan_raise_or_hang(pattern: str) -> None:
    why_refused(pattern)
