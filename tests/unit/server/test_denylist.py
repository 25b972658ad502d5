"""What somebody wants to block: read, written one way, and what of it may hurt."""

from __future__ import annotations

import ipaddress

import pytest

from sealwire.errors import InvalidChangeError
from sealwire.server.protect import denylist
from sealwire.server.protect.denylist import Entry, Kind, Surroundings, Traffic

NOW_S = 1_795_000_000


def risks_of(typed: str, **more: object) -> str:
    (checked,) = denylist.check(Kind.IP, [typed], Surroundings(**more))  # type: ignore[arg-type]  # by name
    return " ".join(checked.risks)


@pytest.mark.parametrize(
    ("typed", "risk"),
    [
        ("0.0.0.0/0", "every address"),
        ("::/0", "every address"),
        ("10.1.2.3", "private range"),
        ("192.168.0.0/24", "private range"),
        ("127.0.0.1", "private range"),
        ("::1", "private range"),
        ("::ffff:10.0.0.1", "private range"),
        ("100.64.0.0/10", "very wide"),
        ("100.64.0.0/10", "private range"),
        ("8.0.0.0/6", "private range 10.0.0.0/8"),
        ("32.0.0.0/4", "very wide: 268,435,456 addresses"),
        ("11.0.0.0/15", "very wide: 131,072 addresses"),
        ("2a00::/20", "very wide: 2^108 addresses"),
    ],
)
def test_a_range_that_may_hurt_says_so_with_a_number(typed: str, risk: str) -> None:
    assert risk in risks_of(typed)


@pytest.mark.parametrize("typed", ["203.0.113.7", "203.0.113.0/24", "198.18.0.0/16", "2001:db8::/32"])
def test_an_ordinary_range_has_no_risk(typed: str) -> None:
    assert risks_of(typed) == ""


def test_ones_own_address_is_a_risk_however_it_is_written() -> None:
    assert "yourself" in risks_of("203.0.113.0/24", own_address="203.0.113.7")
    assert "yourself" in risks_of("203.0.113.7", own_address="::ffff:203.0.113.7")
    assert risks_of("203.0.113.8", own_address="203.0.113.7") == ""
    assert risks_of("203.0.113.8", own_address="testclient") == ""


def test_the_address_of_an_agent_is_a_risk_that_names_its_host() -> None:
    agents = {"203.0.113.7": "web-1", "203.0.113.9": "web-2", "198.51.100.1": "web-3"}

    assert "An agent asks from there" in risks_of("203.0.113.7", agents=agents)
    found = risks_of("203.0.113.0/24", agents=agents)
    assert "2 agents ask" in found
    assert "web-1, web-2" in found


@pytest.mark.parametrize("typed", ["203.0.113", "203.0.113.7/33", "fe80::1%eth0", "example.org", ""])
def test_what_is_no_address_is_refused_at_its_place(typed: str) -> None:
    with pytest.raises(InvalidChangeError) as refused:
        denylist.check(Kind.IP, ["203.0.113.1", typed])

    assert [problem.path for problem in refused.value.problems] == ["$.values[1]"]


@pytest.mark.parametrize("typed", ["", "  ", "mal\nlory", "x" * 4097])
def test_what_is_no_user_id_is_refused(typed: str) -> None:
    with pytest.raises(InvalidChangeError):
        denylist.check(Kind.USER, [typed])


def test_host_bits_go_and_the_same_network_is_checked_once() -> None:
    found = denylist.check(Kind.IP, ["203.0.113.7/24", "203.0.113.0/24"])

    assert [(one.typed, one.value) for one in found] == [("203.0.113.7/24", "203.0.113.0/24")]


def test_a_wider_prefix_that_outlasts_an_address_is_alone_in_the_file() -> None:
    """Tracers go by the longest prefix: a lapsed /32 would open a hole in the blocked /24."""
    entries = [
        Entry("203.0.113.7", NOW_S + 60),
        Entry("203.0.113.9"),
        Entry("203.0.113.0/24", NOW_S + 3600),
        Entry("203.0.113.0/28", NOW_S + 60),
        Entry("2001:db8::1"),
        Entry("2001:db8::/32"),
    ]

    payload, covered = denylist.rendered({}, {Kind.IP: entries})

    assert [entry.value for entry in denylist.entries(payload, Kind.IP)] == [
        "203.0.113.9", "203.0.113.0/24", "2001:db8::/32",
    ]  # fmt: skip
    assert covered == {
        (Kind.IP, "203.0.113.7"): "203.0.113.0/24",
        (Kind.IP, "203.0.113.0/28"): "203.0.113.0/24",
        (Kind.IP, "2001:db8::1"): "2001:db8::/32",
    }


def test_a_file_names_each_value_once_for_as_long_as_anybody_says() -> None:
    entries = [Entry("mallory", NOW_S + 60), Entry("mallory"), Entry("mallory", NOW_S + 5), Entry("eve")]

    payload, covered = denylist.rendered({"rules_data": [{"id": "others", "data": []}]}, {Kind.USER: entries})

    assert denylist.entries(payload, Kind.USER) == [Entry("mallory"), Entry("eve")]
    assert covered == {}
    assert payload["rules_data"][0] == {"id": "others", "data": []}  # type: ignore[index]  # not ours


def test_lists_without_entries_are_left_out_and_suspicious_addresses_stand_apart() -> None:
    payload, _ = denylist.rendered({}, {Kind.SUSPICIOUS: [Entry("203.0.113.7", NOW_S)], Kind.IP: []})

    assert payload == {
        "exclusion_data": [
            {
                "id": "suspicious_ips_data_id",
                "type": "ip_with_expiration",
                "data": [{"value": "203.0.113.7", "expiration": NOW_S}],
            }
        ]
    }
    assert denylist.is_empty(denylist.rendered(payload, {})[0])


def test_healthy_traffic_is_said_in_numbers_and_is_no_risk() -> None:
    def traffic(value: str) -> Traffic:
        return Traffic(1204, 3, ("shop",)) if "/" in value else Traffic(1, 1, ("shop",))

    (wide,) = denylist.check(Kind.IP, ["203.0.113.0/24"], Surroundings(traffic=traffic))
    (one,) = denylist.check(Kind.IP, ["203.0.113.7"], Surroundings(traffic=traffic))

    words = "1,204 healthy requests from 3 addresses of 203.0.113.0/24 to shop in the last hour."
    assert (wide.risks, wide.cautions) == ((), (words,))
    assert one.cautions == ("1 healthy request from 1 address to shop in the last hour.",)


@pytest.mark.parametrize("typed", ["198.51.100.7", "198.51.100.0/28", "198.0.0.0/8"])
def test_a_network_of_ones_own_is_a_risk(typed: str) -> None:
    networks = (ipaddress.ip_network("198.51.100.0/24"),)

    assert "198.51.100.0/24" in risks_of(typed, networks=networks)
    assert "198.51.100.0/24" not in risks_of("198.51.101.7", networks=networks)


def test_addresses_are_sorted_as_numbers_and_users_as_letters() -> None:
    values = ["203.0.113.10", "203.0.113.9", "203.0.113.0/24", "2001:db8::1"]

    ordered = sorted(values, key=lambda value: denylist.sort_key(Kind.IP, value))

    assert ordered == ["203.0.113.0/24", "203.0.113.9", "203.0.113.10", "2001:db8::1"]
    assert denylist.sort_key(Kind.USER, "Mallory") == "mallory"
