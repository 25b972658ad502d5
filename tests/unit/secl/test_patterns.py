"""Globs and sets of texts: the same answers as the definition, in time that does not run away."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.secl.patterns import Glob, PatternError, TextSet, check_glob

LETTERS = "ab/*."


def by_definition(pattern: str, text: str, separator: str) -> bool:
    """What a glob means, as slowly as it is said."""
    if not separator:
        return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.S) is not None
    return _components(tuple(pattern.split(separator)), tuple(text.split(separator)))


def _components(pattern: tuple[str, ...], text: tuple[str, ...]) -> bool:
    if not pattern:
        return not text
    if pattern == ("**",):
        return bool(text) and text != ("",)  # everything below, and not the directory itself
    if pattern[0] == "**":
        return any(_components(pattern[1:], text[at:]) for at in range(len(text) + 1))
    if not text:
        return False
    one = re.fullmatch("[^/]*".join(map(re.escape, re.split(r"\*+", pattern[0]))), text[0], re.S)
    return one is not None and _components(pattern[1:], text[1:])


@settings(max_examples=500)
@given(st.text("ab*.", max_size=8), st.text("ab.\n", max_size=8))
def test_a_pattern_of_texts_fits_as_defined(pattern: str, text: str) -> None:
    assert Glob(pattern).fits(text) is by_definition(pattern, text, "")


path_parts = st.lists(
    st.text("ab*", min_size=1, max_size=3).filter(lambda part: "**" not in part), max_size=4
)


@settings(max_examples=500)
@given(
    path_parts,
    st.sampled_from(("", "/**", "/**/a", "/**/a*/b")),
    st.lists(st.text("ab", min_size=1), max_size=5),
)
def test_a_pattern_of_paths_fits_as_defined(parts: list[str], tail: str, text: list[str]) -> None:
    pattern = "/" + "/".join(parts) + tail if parts else tail or "/"
    path = "/" + "/".join(text)

    assert Glob(pattern, "/").fits(path) is by_definition(pattern, path, "/")


@settings(max_examples=300)
@given(
    st.frozensets(st.text("ab", max_size=3), max_size=3),
    st.lists(st.text("ab*", min_size=1, max_size=5), max_size=6),
    st.text("ab", max_size=6),
)
def test_a_set_holds_what_any_of_its_parts_does(exact: frozenset[str], globs: list[str], text: str) -> None:
    whole = TextSet(exact=exact, globs=tuple(map(Glob, globs)), regexes=("^abba$",))

    wanted = text in exact or any(by_definition(each, text, "") for each in globs) or text == "abba"
    assert whole.test()(text) is wanted


def test_windows_paths_are_separated_by_backslashes() -> None:
    glob = Glob(r"\Device\*\windows\system32\**", "\\")

    assert glob.fits(r"\Device\HarddiskVolume1\windows\system32\drivers\x.sys")
    assert not glob.fits(r"\Device\a\b\windows\system32\x")


@pytest.mark.parametrize("text", ["/a**/b", "/**a", "/a/**/b/**/c", "/**/**/**/x"])
def test_a_path_pattern_that_says_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        check_glob(Glob(text, "/"))


@pytest.mark.parametrize("text", ["/a/**", "/**", "/a/**/b", "/**/a/**", "*", "/a*b*c"])
def test_other_path_patterns_are_taken(text: str) -> None:
    check_glob(Glob(text, "/"))


@pytest.mark.parametrize(
    ("pattern", "separator"),
    [
        ("*a" * 60 + "*b", ""),
        ("/" + "*a" * 60 + "*b", "/"),
        ("/**/" + "a*" * 20 + "/x", "/"),
        ("*" * 60 + "b", ""),
    ],
)
def test_no_pattern_takes_time_that_grows_out_of_proportion(pattern: str, separator: str) -> None:
    fits = TextSet(globs=(Glob(pattern, separator),)).test()

    started = time.process_time()
    for text in ("a" * 200_000, "/" + "a" * 200_000, "/a" * 50_000, "/" * 100_000):
        fits(text)

    assert time.process_time() - started < 2.0
