"""What may be a password, and what comparing one costs."""

from __future__ import annotations

import asyncio
import threading
import time
import unicodedata

import argon2
import pytest

from sealwire.errors import InvalidChangeError, TooOftenError
from sealwire.server.access import passwords
from sealwire.server.access.passwords import MAX_CHARS, MAX_WAITING, Passwords, check

GOOD = "purple walrus misses Tuesday"
LIGHT = {"time_cost": 1, "memory_kib": 64}


@pytest.mark.parametrize(
    "good", [GOOD, "kf83mzpq0wxt", "Ünïcödé wörld of öwls", "пять зелёных баклажанов",
     "x9" * 3 + "plum-tractor", "🙈🦉🍇🚲🎻🌋🧲🪁🥨🐙🧭🛶"],
)  # fmt: skip
def test_long_and_unguessable_is_enough_whatever_it_is_made_of(good: str) -> None:
    check(good, ("ann@example.org", "Ann Smith"))


@pytest.mark.parametrize("length", [0, 1, passwords.MIN_CHARS - 1])
def test_a_short_one_is_refused(length: int) -> None:
    with pytest.raises(InvalidChangeError, match="at least 12 characters") as refused:
        check("x7!kQ9z@Lm2p"[:length])
    assert refused.value.problems[0].path == "$.password"


def test_200_characters_are_taken_and_one_more_is_not() -> None:
    long = "".join(chr(97 + (n * n * 7 + n) % 26) for n in range(MAX_CHARS))
    check(long)
    with pytest.raises(InvalidChangeError, match="at most 200"):
        check(long + "x")


def test_characters_are_counted_as_they_are_compared() -> None:
    composed = "é" * 5 + "gruß79"  # 11; decomposed it has 16
    with pytest.raises(InvalidChangeError, match="at least 12"):
        check(unicodedata.normalize("NFD", composed))


@pytest.mark.parametrize(
    "guessable",
    [
        "password1234", "PASSWORD1234", "Passw0rd!2024", "123456789012", "qwertyuiop12", "iloveyou1234",
        "passwordpassword", "aaaaaaaaaaaaaaaaaaaa", "abcdefghijklmnop", "sealwire1234", "SealWire-2026!",
        "monkeydragon", "1234567890" * 9, "x7!kQ9z" * 4,
    ],
)  # fmt: skip
def test_what_others_use_too_is_refused(guessable: str) -> None:
    with pytest.raises(InvalidChangeError, match=r"first that are tried|little more than"):
        check(guessable)


@pytest.mark.parametrize(
    "own",
    ["ann.smithson@example.org", "AnnSmithson1", "smithson-ann", "Example.Ann.Smithson", "Zoë-Smithson"],
)
def test_ones_own_name_or_email_is_refused(own: str) -> None:
    with pytest.raises(InvalidChangeError, match=r"little more than|first that are tried"):
        check(own, ("ann.smithson@example.org", "Zoë Ann Smithson"))


def test_a_hash_matches_its_password_from_any_keyboard_and_no_other() -> None:
    async def run() -> None:
        kept = await Passwords(**LIGHT).hash("Gäste kommen später 7")
        again = Passwords(**LIGHT)
        decomposed = unicodedata.normalize("NFD", "Gäste kommen später 7")
        assert (await again.compare(kept, decomposed)).matches
        assert not (await again.compare(kept, "gäste kommen später 7")).matches
        assert not (await again.compare(kept, "")).matches
        assert not (await again.compare("no hash at all", "x")).matches

    asyncio.run(run())


def test_what_is_kept_names_its_parameters_and_they_are_the_stated_ones() -> None:
    kept = asyncio.run(Passwords().hash(GOOD))
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert GOOD not in kept


def test_a_hash_of_other_parameters_is_made_anew() -> None:
    async def run() -> None:
        old = await Passwords(time_cost=1, memory_kib=32).hash(GOOD)
        new = (await Passwords(**LIGHT).compare(old, GOOD)).new_hash
        assert new is not None
        assert argon2.extract_parameters(new).memory_cost == LIGHT["memory_kib"]
        assert (await Passwords(**LIGHT).compare(new, GOOD)) == passwords.Compared(True, None)
        assert (await Passwords(**LIGHT).compare(old, "wrong")).new_hash is None

    asyncio.run(run())


def test_comparing_without_a_hash_costs_as_much_as_with_one() -> None:
    """In time of the processor, which a busy machine does not stretch; twice the work would show."""

    async def run() -> None:
        made = Passwords(time_cost=2, memory_kib=19456)
        kept = await made.hash(GOOD)
        await made.compare(None, "the hash of nobody is made once")
        took: dict[str, list[float]] = {"somebody": [], "nobody": [], "too long": []}
        for _ in range(8):
            for who, stored, password in (
                ("somebody", kept, "wrong password"),
                ("nobody", None, "wrong password"),
                ("too long", kept, "x" * 100_000),
            ):
                started = time.process_time()
                assert not (await made.compare(stored, password)).matches
                took[who].append(time.process_time() - started)
        best = {who: min(times) for who, times in took.items()}
        assert max(best.values()) < 1.7 * min(best.values()), best

    asyncio.run(run())


def test_a_flood_waits_in_a_short_queue_and_the_rest_is_sent_away() -> None:
    async def run() -> None:
        made = Passwords(**LIGHT)
        gate = threading.Event()
        made._thread.submit(gate.wait)
        waiting = [asyncio.create_task(made.compare(None, "x")) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(TooOftenError) as refused:
            await made.compare(None, "x")
        assert refused.value.retry_after_s >= 1
        gate.set()
        assert not any(one.matches for one in await asyncio.gather(*waiting))
        assert not (await made.compare(None, "x")).matches
        made.close()

    asyncio.run(run())
