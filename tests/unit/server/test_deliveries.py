"""Which batches were taken, and who asked without harm: small memories with a bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealwire.server.deliveries import MAX_RANGES, Run, run_key
from sealwire.server.security.traffic import MAX_SERVICES, Seen, Traffic

NOW_MS = 1_795_358_575_000


@given(st.lists(st.integers(1, 60), max_size=80))
def test_a_run_remembers_what_was_taken_and_nothing_else(numbers: list[int]) -> None:
    run = Run()
    for number in numbers:
        run.add(number)
    again = Run(run.packed())
    assert [number for number in range(70) if number in again] == sorted(set(numbers))


def test_numbers_in_a_row_take_no_room_and_gaps_a_bounded_one() -> None:
    run = Run()
    for number in range(1, 10_001):
        run.add(number)
    assert len(run.packed()) < 10
    for number in range(20_000, 21_000, 2):
        run.add(number)
    assert len(run.packed()) < 10 * MAX_RANGES
    assert 20_998 in run


def test_runs_have_names_of_their_own() -> None:
    assert (
        len({run_key("a", "b", 1), run_key("a", "b", 2), run_key("ab", "", 1), run_key("\ud800", "b", 1)})
        == 4
    )


def test_traffic_holds_so_many_addresses_and_counts_the_others() -> None:
    traffic = Traffic(max_addresses=3)
    for number in range(5):
        traffic.note(f"198.51.100.{number}", "shop", at_ms=NOW_MS)
    traffic.note("198.51.100.0", "shop", at_ms=NOW_MS, count=9)
    traffic.note("odd", "shop", at_ms=NOW_MS)
    traffic.tick(now_ms=NOW_MS)
    assert traffic.within("198.51.100.0/24") == Seen(12, 3, ("shop",), NOW_MS)
    assert traffic.uncounted == 3


def test_an_hour_slides_by_the_minute() -> None:
    traffic = Traffic()
    for minute in range(90):
        traffic.note("198.51.100.7", f"s{minute % 15}", at_ms=NOW_MS + minute * 60_000)
    last_ms = NOW_MS + 89 * 60_000
    seen = traffic.within("198.51.100.7", now_ms=last_ms)
    assert (seen.requests, seen.last_ms, len(seen.services)) == (60, last_ms, MAX_SERVICES)
    assert traffic.within("198.51.100.7", now_ms=last_ms + 30 * 60_000).requests == 30
    traffic.tick(now_ms=last_ms + 3_600_000)
    assert len(traffic) == 0


def test_an_address_is_the_same_however_it_is_written() -> None:
    traffic = Traffic()
    traffic.note("::ffff:198.51.100.7", "shop", at_ms=NOW_MS)
    traffic.note("198.51.100.7", "shop", at_ms=NOW_MS, count=2)
    traffic.note("2001:DB8:0::1", "shop", at_ms=NOW_MS)
    traffic.tick(now_ms=NOW_MS)

    assert traffic.within("198.51.100.7") == Seen(3, 1, ("shop",), NOW_MS)
    assert traffic.within("2001:db8::1") == Seen(1, 1, ("shop",), NOW_MS)
    assert traffic.within("198.51.100.8") == Seen(0, 0, (), None)
    assert traffic.addresses() == {"198.51.100.7", "2001:db8::1"}
