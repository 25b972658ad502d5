"""Guessing is slowed down, and nobody can lock anybody else out."""

from __future__ import annotations

import pytest

from sealwire.errors import TooOftenError
from sealwire.server.access import throttle as module
from sealwire.server.access.throttle import ACCOUNT_TRIES, ADDRESS_TRIES, MAX_COUNTED, Throttle, networks

ANN, BOB = "ann@example.org", "bob@example.org"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Throttle, Clock]:
    clock = Clock()
    return Throttle(clock, device_key=b"k" * 32), clock


def fail(throttle: Throttle, times: int, address: str, account: str = "", device: str = "") -> None:
    for _ in range(times):
        throttle.try_from(address, account=account, device=device)


def test_an_account_is_guessed_at_five_times_from_one_network_and_then_waits() -> None:
    throttle, clock = made()
    fail(throttle, ACCOUNT_TRIES, "192.0.2.1", ANN)

    with pytest.raises(TooOftenError) as refused:
        throttle.try_from("192.0.2.200", account=ANN)

    assert refused.value.retry_after_s == module.ACCOUNT_WINDOW_S
    assert refused.value.public == "Too many tries failed. Try again in 5 minutes."
    clock.now += module.ACCOUNT_WINDOW_S
    fail(throttle, 1, "192.0.2.200", ANN)


def test_guessing_at_an_account_locks_out_neither_other_networks_nor_other_accounts() -> None:
    throttle, _ = made()
    fail(throttle, ACCOUNT_TRIES, "192.0.2.1", ANN)

    throttle.try_from("198.51.100.1", account=ANN)
    throttle.try_from("192.0.2.1", account=BOB)


def test_a_device_that_signed_in_before_is_not_held_up_even_by_its_own_address() -> None:
    throttle, _ = made()
    device = throttle.new_device(ANN)
    fail(throttle, ACCOUNT_TRIES, "192.0.2.1", ANN)
    fail(throttle, ADDRESS_TRIES - ACCOUNT_TRIES, "192.0.2.1", BOB)
    with pytest.raises(TooOftenError):
        throttle.try_from("192.0.2.1", account="carol@example.org")

    throttle.try_from("192.0.2.1", account=ANN, device=device).succeeded()


def test_a_stolen_device_cookie_guesses_ten_times_and_only_for_its_own_account() -> None:
    throttle, _ = made()
    device = throttle.new_device(ANN)
    fail(throttle, module.DEVICE_TRIES, "192.0.2.1", ANN, device)
    with pytest.raises(TooOftenError):
        throttle.try_from("203.0.113.9", account=ANN, device=device)

    fail(throttle, ACCOUNT_TRIES, "192.0.2.1", BOB, device)
    with pytest.raises(TooOftenError):
        throttle.try_from("192.0.2.1", account=BOB, device=device)
    throttle.try_from("192.0.2.1", account=ANN)  # nor did those tries count for the address


@pytest.mark.parametrize(
    "forged", ["", ".", "0" * 16, "0" * 16 + "." + "0" * 64, "é" * 16 + ".x", "x" * 5000]
)
def test_a_forged_device_cookie_is_nobodys(forged: str) -> None:
    throttle, _ = made()
    fail(throttle, ACCOUNT_TRIES, "192.0.2.1", ANN, forged)
    with pytest.raises(TooOftenError):
        throttle.try_from("192.0.2.1", account=ANN, device=forged)


def test_a_device_keeps_its_id_when_it_signs_in_again() -> None:
    throttle, _ = made()
    device = throttle.new_device(ANN)
    assert throttle.new_device(ANN, device) == device
    assert throttle.new_device(BOB, device) != device


def test_one_address_guesses_ten_times_a_minute_whatever_the_account() -> None:
    throttle, clock = made()
    for number in range(ADDRESS_TRIES):
        throttle.try_from("192.0.2.1", account=f"user{number}@example.org")
        clock.now += 1

    with pytest.raises(TooOftenError) as refused:
        throttle.try_from("192.0.2.1", account="one-more@example.org")
    assert refused.value.retry_after_s == module.ADDRESS_WINDOW_S - ADDRESS_TRIES
    clock.now += refused.value.retry_after_s
    throttle.try_from("192.0.2.1", account="one-more@example.org")


def test_a_success_is_not_counted() -> None:
    throttle, _ = made()
    for _ in range(100):
        throttle.try_from("192.0.2.1", account=ANN).succeeded()


def test_a_success_clears_its_own_account_and_not_the_address() -> None:
    throttle, _ = made()
    fail(throttle, ACCOUNT_TRIES - 1, "192.0.2.1", ANN)
    throttle.try_from("192.0.2.1", account=ANN).succeeded()
    fail(throttle, ACCOUNT_TRIES - 1, "192.0.2.1", ANN)
    fail(throttle, ADDRESS_TRIES - 2 * (ACCOUNT_TRIES - 1), "192.0.2.1", BOB)
    with pytest.raises(TooOftenError):
        throttle.try_from("192.0.2.1", account="carol@example.org")


def test_what_was_not_looked_at_is_not_counted_and_clears_nothing() -> None:
    throttle, _ = made()
    fail(throttle, ACCOUNT_TRIES - 1, "192.0.2.1", ANN)
    for _ in range(20):
        throttle.try_from("192.0.2.1", account=ANN).does_not_count()
    fail(throttle, 1, "192.0.2.1", ANN)
    with pytest.raises(TooOftenError):
        throttle.try_from("192.0.2.1", account=ANN)


def test_codes_are_counted_by_account_from_wherever_but_apart_for_a_known_device() -> None:
    throttle, _ = made()
    device = throttle.new_device(ANN)
    for number in range(module.CODE_TRIES):
        throttle.try_code(f"192.0.{number}.1", account=ANN)
    with pytest.raises(TooOftenError):
        throttle.try_code("203.0.113.1", account=ANN)

    throttle.try_code("192.0.2.1", account=ANN, device=device).succeeded()
    throttle.try_code("203.0.113.1", account=BOB)
    throttle.try_from("203.0.113.1", account=ANN)  # to type the password again is not to guess at it


def test_many_at_once_gain_nothing() -> None:
    throttle, _ = made()
    begun = [throttle.try_from("192.0.2.1", account=ANN) for _ in range(ACCOUNT_TRIES)]
    with pytest.raises(TooOftenError):
        throttle.try_from("192.0.2.1", account=ANN)
    begun[0].succeeded()
    throttle.try_from("192.0.2.1", account=ANN)


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.77", ("192.0.2.77", "192.0.2.0/24", "")),
        ("::ffff:192.0.2.77", ("192.0.2.77", "192.0.2.0/24", "")),
        ("2001:db8:1:2:3::4", ("2001:db8:1:2::/64", "2001:db8:1::/56", "2001:db8:1::/48")),
        ("fe80::1%eth0", ("fe80::/64", "fe80::/56", "fe80::/48")),
        ("", ("", "", "")),
        ("no address" * 20, (("no address" * 20)[:64], ("no address" * 20)[:64], "")),
    ],
)
def test_what_an_address_counts_as(address: str, counts_as: tuple[str, str, str]) -> None:
    assert networks(address) == counts_as


def test_the_many_addresses_of_one_ipv6_customer_are_one() -> None:
    throttle, _ = made()
    fail(throttle, ADDRESS_TRIES, "2001:db8:1:2::1")
    with pytest.raises(TooOftenError):
        throttle.try_from("2001:db8:1:2:ffff::9")
    for subnet in range(module.SITE_TRIES - ADDRESS_TRIES):
        throttle.try_from(f"2001:db8:1:{subnet + 16:x}::1")
    with pytest.raises(TooOftenError):
        throttle.try_from("2001:db8:1:ffff::1")
    throttle.try_from("2001:db8:2:2::1")


def test_what_is_counted_is_bounded() -> None:
    throttle, _ = made()
    for number in range(MAX_COUNTED + 100):
        throttle.try_from(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", account=f"{number}@x")
    assert len(throttle._addresses) == len(throttle._accounts) == MAX_COUNTED
