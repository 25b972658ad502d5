"""A query that is clicked together means what was clicked, whatever values attackers sent."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.server.security.facets import FACETS, Facet, Kind
from sealwire.server.security.query import compiled, parse
from sealwire.server.security.rows import SecurityTrace, plain
from sealwire.server.ui import security_traces_query as clicked

SERVICE, ENV, STATUS, IP = (
    FACETS["service"], FACETS["env"], FACETS["@http.status_code"], FACETS["@http.client_ip"],
)  # fmt: skip
ACTIVITY = FACETS["@appsec.security_activity"]
_texts = st.text(min_size=1, max_size=20).map(plain) | st.sampled_from(
    ("shop", "a b", 'say "hi"', "x\\", "*", "sh*p", "(", "OR", "-x", "[1 TO 2]", ">=3", "a:b", "\\\\", "İ")
)


def row(**values: object) -> SecurityTrace:
    return SecurityTrace(trace_id="0" * 32, span_id="0" * 16, ts=1.0, **{"service": "shop", **values})  # type: ignore[arg-type]  # by name


def means(text: str, **values: object) -> bool:
    return compiled(parse(text))(row(**values))


def test_a_click_asks_for_a_value_and_another_click_no_longer() -> None:
    once = clicked.toggled("sqlmap", SERVICE, "shop")

    assert once == "sqlmap service:shop"
    assert clicked.toggled(once, SERVICE, "shop") == "sqlmap"


def test_a_second_value_of_a_facet_is_an_alternative() -> None:
    both = clicked.toggled("service:shop env:prod", SERVICE, "web")

    assert both == "service:(shop OR web) env:prod"
    assert clicked.toggled(both, SERVICE, "shop") == "service:web env:prod"


def test_what_is_left_out_is_asked_for_by_a_click_on_it() -> None:
    without = clicked.toggled("", ENV, "staging", exclude=True)

    assert without == "-env:staging"
    assert clicked.toggled(without, ENV, "staging") == "env:staging"
    assert clicked.toggled(without, ENV, "staging", exclude=True) == ""


def test_a_query_with_or_between_its_terms_stays_together() -> None:
    assert clicked.toggled("service:a OR service:b", ENV, "prod") == "(service:a OR service:b) env:prod"


def test_what_was_typed_by_hand_stays_as_it_was_typed() -> None:
    typed = 'NOT (a OR b) service:sh* @http.status_code:>=400 "two words"'

    assert (
        clicked.toggled(typed, IP, "198.51.100.7")
        == '-(a OR b) service:sh* @http.status_code:>=400 "two words" @http.client_ip:198.51.100.7'
    )


def test_other_names_of_a_facet_are_the_same_facet() -> None:
    assert clicked.toggled("ip:198.51.100.7", IP, "198.51.100.7") == ""


def test_the_other_values_of_a_facet_are_counted_without_the_chosen_ones() -> None:
    assert clicked.without("service:(a OR b) x -service:c", SERVICE) == "x -service:c"


def test_a_value_that_no_query_can_have_is_not_offered() -> None:
    assert clicked.toggled("", IP, "1.2.3.4/99") is None
    assert clicked.toggled("x " * 90, SERVICE, "y" * 2_000) is None


@settings(deadline=None, max_examples=200)
@given(value=_texts, other=_texts, typed=st.sampled_from(("", "shop", "env:prod", "a OR b", "-service:zzz")))
def test_whatever_the_value_is_the_query_means_it(value: str, other: str, typed: str) -> None:
    asked = clicked.toggled(typed, SERVICE, value)
    left_out = clicked.toggled(typed, SERVICE, value, exclude=True)
    assert asked is not None
    assert left_out is not None
    for service in {value, other}:
        same = service.lower() == value.lower()
        holds = compiled(parse(typed))(row(service=service))
        assert compiled(parse(asked))(row(service=service)) == (holds and same)
        assert compiled(parse(left_out))(row(service=service)) == (holds and not same)
    assert value.lower() in clicked.included(asked, SERVICE)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_clicks_one_after_the_other_give_what_they_say(data: st.DataObject) -> None:
    facets: list[Facet] = [SERVICE, ENV, ACTIVITY, STATUS]
    text = ""
    chosen: dict[str, set[str]] = {facet.name: set() for facet in facets}
    for _ in range(data.draw(st.integers(1, 8))):
        facet = data.draw(st.sampled_from(facets))
        values = ("200", "404") if facet.kind is Kind.NUMBER else ("a", "b c", "*")
        value = data.draw(st.sampled_from(values))
        changed = clicked.toggled(text, facet, value)
        assert changed is not None
        text = changed
        chosen[facet.name] ^= {value}
    assert {facet.name: set(clicked.included(text, facet)) for facet in facets} == chosen
