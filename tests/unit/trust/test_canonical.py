"""The bytes that are signed are the reference library's, for everything that may be signed at all."""

from __future__ import annotations

import math

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical

from sealwire.errors import MalformedError
from sealwire.trust.canonical import MAX_INTEGER, canonical_bytes, sha256_hex

text = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-MAX_INTEGER, MAX_INTEGER)
documents = st.recursive(
    st.none() | st.booleans() | integers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=25,
)


@given(documents)
@example({'quote " and \\ backslash': '\\\\" \\n is not a line feed'})
@example({"\U0001f600": 1, "\uffff": 2, "é": "\u2028<&>\x7f"})
def test_the_bytes_are_those_of_the_reference_library(document: object) -> None:
    assert canonical_bytes(document) == encode_canonical(document).encode()


@given(documents)
def test_what_is_encoded_reads_back_as_the_same_value(document: object) -> None:
    assert orjson.loads(canonical_bytes(document)) == document


@pytest.mark.parametrize(
    "value",
    [1.5, 1.0, 1e3, math.nan, math.inf, MAX_INTEGER + 1, -MAX_INTEGER - 1, 2**70],
    ids=str,
)
def test_numbers_on_which_verifiers_disagree_are_refused(value: object) -> None:
    with pytest.raises(MalformedError):
        canonical_bytes({"custom": [{"n": value}]})


@pytest.mark.parametrize("character", [chr(code) for code in range(0x20)], ids=lambda c: f"U+{ord(c):04X}")
def test_control_characters_are_refused_in_values_and_in_keys(character: str) -> None:
    for document in (
        {"k": f"a{character}b"},
        {f"a{character}": 1},
        [f"\\{character}"],
        [f'"\\\\{character}'],
    ):
        with pytest.raises(MalformedError, match="control character"):
            canonical_bytes(document)


@pytest.mark.parametrize(
    "value",
    [b"bytes", {1: "key"}, {1, 2}, "\ud800", object()],
    ids=["bytes", "key", "set", "surrogate", "object"],
)
def test_values_without_a_json_form_are_refused(value: object) -> None:
    with pytest.raises(MalformedError):
        canonical_bytes({"k": value})


def test_a_document_nested_beyond_any_use_is_refused() -> None:
    document: list[object] = []
    for _ in range(300):
        document = [document]

    with pytest.raises(MalformedError, match="nested too deeply"):
        canonical_bytes(document)


def test_a_digest_is_written_in_lower_case_hexadecimal() -> None:
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
