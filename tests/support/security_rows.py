"""Security traces made up: rows and queries at random, for whoever compares two ways to search."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sealwire.server.security.facets import FACETS, Kind
from sealwire.server.security.query import Node, QueryError, parse
from sealwire.server.security.rows import SecurityTrace

# Few and alike, so that queries meet rows; with what means something to SQL, to patterns or to no database.
_TEXTS = (
    "shop", "Shop", "shop-2", "a%b", "a_b", "axb", "ÄRGER", "ärger", "İ", "x\\y", 'say "hi"', "ab", "b", "ß",
)  # fmt: skip
_ADDRESSES = (
    "198.51.100.7", "198.51.100.200", "198.51.101.7", "2001:DB8::5", "::ffff:198.51.100.7", "odd", "",
)  # fmt: skip
_ACTIVITIES = (
    "attack_attempt.sql_injection", "attack_attempt.xss", "business_logic.users.login.failure",
    "security_response.block_ip", "ab", "b",
)  # fmt: skip
_text = st.sampled_from(("", *_TEXTS))
_several = st.lists(st.sampled_from(_TEXTS), unique=True, max_size=3).map(lambda each: tuple(sorted(each)))


def rows(number: int) -> st.SearchStrategy[SecurityTrace]:
    """One row; its trace id is of that number."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        facet.attribute: {
            Kind.TEXT: _text,
            Kind.ADDRESS: st.sampled_from(_ADDRESSES),
            Kind.FLAG: st.booleans(),
            Kind.TEXTS: _several,
            Kind.NUMBER: st.sampled_from((0, 200, 404, 500)),
        }[facet.kind]
        for facet in FACETS.values()
    }
    fields["trace_id"] = st.just(f"{number:032x}")
    fields["activities"] = st.lists(st.sampled_from(_ACTIVITIES), unique=True, max_size=3).map(
        lambda each: tuple(sorted(each))
    )
    fields["duration_ms"] = st.sampled_from((0.0, 0.001, 1.001, 4.35, 12.5, 200.0))
    fields["ts"] = st.integers(1_795_358_000, 1_795_358_600).map(float)
    return st.builds(SecurityTrace, span_id=st.just(f"{number:016x}"), **fields)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_pieces = st.sampled_from(
    (*_TEXTS, *_ACTIVITIES, *_ADDRESSES, "*", "**", "a", "sh", "o", "%", "_", "\n", "\0", "198")
)
_patterns = st.lists(_pieces | st.just("*"), min_size=1, max_size=4).map("".join)
_values = _pieces.map(_quoted) | _patterns.map(lambda text: "".join(text.split()) or "*")
_NUMBERS = (
    "0", "200", ">=404", "<404", ">200", "<=500", "[200 TO 404]", "[* TO 4.35]", ">1.001", ">=0.0015", "*",
    "<0.5",
)  # fmt: skip
_NETWORKS = (
    "198.51.100.0/24", "198.51.100.128/25", "0.0.0.0/0", "2001:db8::/32", "::/0", "10.0.0.0/8",
)  # fmt: skip


def _term_of(facet: Any) -> st.SearchStrategy[str]:
    values: st.SearchStrategy[str] = {
        Kind.NUMBER: st.sampled_from(_NUMBERS),
        Kind.FLAG: st.sampled_from(("true", "false", "*")),
        Kind.ADDRESS: _values | st.sampled_from(_NETWORKS),
        Kind.TEXT: _values,
        Kind.TEXTS: _values,
    }[facet.kind]
    return values.map(lambda value: f"{facet.name}:{value}")


_terms = st.sampled_from(sorted(FACETS)).flatmap(lambda name: _term_of(FACETS[name])) | _values


def _meaning(text: str) -> Node | None:
    try:
        return parse(text)
    except QueryError:
        return None


queries: st.SearchStrategy[str] = st.recursive(
    _terms,
    lambda inner: (
        inner.map(lambda one: f"-({one})")
        | st.tuples(inner, inner).map(lambda two: f"({two[0]} OR {two[1]})")
        | st.tuples(inner, inner).map(lambda two: f"{two[0]} {two[1]}")
    ),
    max_leaves=4,
).filter(lambda text: _meaning(text) is not None)
