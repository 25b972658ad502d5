"""Which rows a query means, and what is said of one that makes no sense."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.server.security.facets import FACETS, find
from sealwire.server.security.query import (
    MAX_CHARS,
    MAX_DEPTH,
    MAX_TERMS,
    QueryError,
    activities_of,
    compiled,
    parse,
    pattern,
)
from sealwire.server.security.rows import SecurityTrace

ROW = SecurityTrace(
    trace_id="6b02ff6f000000005bb4b1a0ed70ba48",
    span_id="934233bf9b35e1c8",
    ts=1795358575.0,
    service="shop",
    env="prod",
    route="/login/<u>",
    target="/login/<u>",
    url="http://h/?q=1'%20OR",
    status=403,
    actor_ip="198.51.100.9",
    peer_ip="2001:db8::5",
    user_agent="Arachni/v1",
    user_id="Mallory",
    blocked=True,
    activities=("attack_attempt.sql_injection", "security_response.block_ip"),
    tools=("Arachni",),
)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "*",
        "service:shop",
        "service:SHOP",
        "service:sh*",
        "service:*op",
        "service:*",
        "@usr.id:mallory",
        "@appsec.security_activity:attack_attempt.*",
        "@appsec.security_activity:*block_ip",
        "@appsec.security_activity:security_response.block_ip",
        "@http.status_code:403",
        "@http.status_code:>=403",
        "@http.status_code:>402",
        "@http.status_code:<404",
        "@http.status_code:[400 TO 499]",
        "@http.status_code:[* TO 403]",
        "status:(200 OR 403)",
        "@appsec.blocked:true",
        "-@appsec.blocked:false",
        "NOT service:web",
        "-service:web*",
        "@http.client_ip:198.51.100.9",
        "@http.client_ip:198.51.100.0/24",
        "-@http.client_ip:10.0.0.0/8",
        "@network.client.ip:2001:db8::5",
        "@network.client.ip:2001:db8::/32",
        "-@network.client.ip:fe80::/10",
        "arachni",
        "mallory service:shop",
        "arach*v1",
        '@http.url:"http://h/?q=1\'%20OR"',
        "service:web OR env:prod",
        "(service:web OR env:prod) AND status:403",
        "service:(web OR shop)",
        "service:web env:prod OR status:403",
        "-(service:web OR env:test)",
        "@actor.ip:198.51.100.9",
        "@http.route:/login/<u>",
        "@language:* OR service:shop",
        "-@language:*",
    ],
)
def test_a_query_means_the_row(query: str) -> None:
    assert compiled(parse(query))(ROW)


@pytest.mark.parametrize(
    "query",
    [
        "service:web",
        "service:hop",
        "service:*x*",
        "-service:shop",
        "@appsec.security_activity:attack_attempt",
        "@http.status_code:>403",
        "@http.status_code:<=402",
        "@http.status_code:[404 TO *]",
        "-status:(200 OR 403)",
        "@appsec.blocked:false",
        "@http.client_ip:198.51.101.0/24",
        "@http.client_ip:2001:db8::/32",
        "nobody",
        'service:"sh*"',
        "service:shop env:test",
        "service:shop AND env:test OR status:200",
        "@actor.listed:true",
        "@language:*",
        "@usr.session_id:*",
        "env:prod -mallory",
        "-*",
    ],
)
def test_a_query_does_not_mean_the_row(query: str) -> None:
    assert not compiled(parse(query))(ROW)


@pytest.mark.parametrize(
    ("query", "position", "expected"),
    [
        ("servise:shop", 0, "Did you mean service?"),
        ("service:shop @http.status:200", 13, "@http.status"),
        ("service:", 8, "service:shop"),
        ("service:shop OR", 15, "A term"),
        ("OR service:shop", 0, "before OR"),
        ("(service:shop", 0, "parenthesis"),
        ("service:(shop OR", 16, "A value"),
        ("service:(shop web)", 8, "parenthesis"),
        ("service:shop)", 12, "parenthesis"),
        ("()", 1, "A term"),
        ('service:"shop', 8, "quotation mark"),
        ('a  "b', 3, "quotation mark"),
        ("status:many", 7, "a number"),
        ("status:[1 TO]", 7, "a number"),
        ("@appsec.blocked:maybe", 16, "true or false"),
        ("ip:10.0.0.0/33", 3, "no network"),
        ("service:shop NOT", 16, "A term"),
    ],
)
def test_a_query_that_makes_no_sense_says_where_and_what_was_expected(
    query: str, position: int, expected: str
) -> None:
    with pytest.raises(QueryError) as refused:
        parse(query)

    assert refused.value.position == position
    assert expected in refused.value.expected
    assert refused.value.problems


@pytest.mark.parametrize(
    "query",
    [
        "x" * (MAX_CHARS + 1),
        "(" * (MAX_DEPTH + 2) + "a" + ")" * (MAX_DEPTH + 2),
        "NOT " * (MAX_DEPTH + 2) + "a",
        "-" * (MAX_DEPTH + 2) + "a",
        "a " * (MAX_TERMS + 1),
        "status:(" + " OR ".join(["1"] * (MAX_TERMS + 1)) + ")",
    ],
)
def test_a_query_is_bounded(query: str) -> None:
    with pytest.raises(QueryError):
        parse(query)


def test_every_facet_can_be_asked_for() -> None:
    for name, facet in FACETS.items():
        assert find(name.upper()) is facet
        compiled(parse(f"-{name}:*"))(ROW)
        getattr(ROW, facet.attribute)


@given(st.text(alphabet='ab*():"- @servicOR[]<>=19.\\', max_size=60))
def test_any_text_is_understood_or_refused_with_a_place_in_it(text: str) -> None:
    try:
        node = parse(text)
    except QueryError as refused:
        place = refused.position
    else:
        assert compiled(node)(ROW) in (True, False)
        place = 0

    assert 0 <= place <= len(text)


@given(
    st.lists(st.sampled_from(["service:shop", "status:200", "env:prod", "@appsec.blocked:false"]), min_size=1)
)
def test_terms_in_a_row_are_and_and_turning_all_of_them_around_is_or(terms: list[str]) -> None:
    terms = terms[:20]
    both = compiled(parse(" ".join(terms)))(ROW)

    assert both == all(compiled(parse(term))(ROW) for term in terms)
    assert compiled(parse(f"-({' OR '.join(f'-{term}' for term in terms)})"))(ROW) == both


@settings(max_examples=300)
@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_a_pattern_means_what_the_shell_means(text: str, value: str) -> None:
    from fnmatch import fnmatchcase

    assert pattern(text)(value) == fnmatchcase(value, text)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    """Attack: a pattern over which a matcher goes back and forth."""
    fits = pattern("*a" * 400 + "b")
    started = time.process_time()

    assert not fits("a" * 20_000)

    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("query", "needed"),
    [
        ("@appsec.security_activity:a.b", {"a.b"}),
        ("service:x @appsec.security_activity:a.*", {"a.*"}),
        ("@appsec.security_activity:(a OR b) -status:200", {"a", "b"}),
        ("@appsec.security_activity:a OR status:200", None),
        ("-@appsec.security_activity:a", None),
        ("*", None),
    ],
)
def test_what_a_row_must_have_is_known_before_it_is_asked(query: str, needed: set[str] | None) -> None:
    assert activities_of(parse(query)) == needed
