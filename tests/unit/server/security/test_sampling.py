"""Which rows of a flood are kept, and that the others are counted."""

from __future__ import annotations

from typing import Any

from sealwire.server.security.rows import SecurityTrace
from sealwire.server.security.sampling import Sampler

NOW = 1_795_358_400.0


def attack(number: int = 0, *, at: float = 0.0, **changes: Any) -> SecurityTrace:
    fields: dict[str, Any] = {
        "trace_id": f"{number:032x}", "span_id": "1", "ts": NOW + at, "service": "shop",
        "actor_ip": "198.51.100.9", "activities": ("attack_attempt.xss",), "rule_ids": ("crs-941-100",),
    }  # fmt: skip
    return SecurityTrace(**(fields | changes))


def test_the_first_of_a_minute_are_kept_and_the_others_counted() -> None:
    sampler = Sampler()

    kept = [sampler.keep(attack(number)) for number in range(1_000)]

    assert kept == [True] * 20 + [False] * 980
    (counted,) = sampler.take(now=NOW + 300)
    assert counted.count == 980
    assert (counted.row.service, counted.row.actor_ip, counted.row.ts) == ("shop", "198.51.100.9", NOW)
    assert (counted.row.trace_id, counted.row.activities) == ("", ("attack_attempt.xss",))


def test_another_address_service_rule_or_minute_has_its_own() -> None:
    sampler = Sampler(kept_each_minute=1)
    changes: list[dict[str, Any]] = [
        {}, {"actor_ip": "10.0.0.1"}, {"service": "web"}, {"rule_ids": ("other",)}, {"at": 60.0},
    ]  # fmt: skip

    assert [sampler.keep(attack(number, **change)) for number, change in enumerate(changes)] == [True] * 5
    assert [sampler.keep(attack(number, **change)) for number, change in enumerate(changes)] == [False] * 5


def test_a_row_that_shows_anything_new_is_kept() -> None:
    sampler = Sampler(kept_each_minute=1)
    sampler.keep(attack())

    assert sampler.keep(attack(rule_ids=("crs-941-100", "crs-942-100")))


def test_failed_logins_are_counted_by_account() -> None:
    sampler = Sampler(kept_each_minute=1)
    event = {"rule_ids": (), "activities": ("business_logic.users.login.failure",)}

    for number in range(31):
        sampler.keep(attack(number, account=f"u{number % 3}", **event))

    counted = sampler.take(now=NOW + 300)
    assert sorted((one.row.account, one.count) for one in counted) == [("u0", 10), ("u1", 10), ("u2", 10)]


def test_a_minute_is_counted_out_once_and_after_late_rows_had_time() -> None:
    sampler = Sampler(kept_each_minute=0)
    sampler.keep(attack())

    assert sampler.take(now=NOW + 119) == []
    assert [one.count for one in sampler.take(now=NOW + 120)] == [1]
    assert sampler.take(now=NOW + 120) == []


def test_addresses_without_end_are_bounded_and_still_counted() -> None:
    sampler = Sampler(max_keys=1_000)

    kept = sum(
        sampler.keep(attack(number, actor_ip=f"10.{number >> 8}.{number & 255}.1"))
        for number in range(50_000)
    )

    assert kept == 1_000
    assert sampler.held <= 3_000
    assert sum(one.count for one in sampler.take(now=NOW + 300)) == 49_000


def test_an_attack_from_everywhere_takes_no_more_room_than_its_service_has() -> None:
    sampler = Sampler(kept_of_service=50)
    quiet = sum(sampler.keep(attack(service="quiet", actor_ip="198.51.100.1")) for _ in range(5))
    kept = sum(sampler.keep(attack(actor_ip=f"10.0.{n >> 8}.{n & 255}"), count=3) for n in range(1_000))
    later = sum(sampler.keep(attack(service="quiet", actor_ip="198.51.100.2")) for _ in range(5))

    counted = sampler.changed()
    assert (quiet, kept, later) == (5, 50, 5)
    assert len(counted) <= 52
    assert sum(each.count for each in counted) == 3 * 1_000 - 50
    assert len({each.mark for each in counted}) == len(counted)
    assert sampler.changed() == []
