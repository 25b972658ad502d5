"""Clock skew: the clock of the host is wrong, or the control plane lies about the time: old looks new.

Stops it: the agent's own clock decides, never a header; a difference is named to people as what it is.
Left open: a host whose clock stands in the past believes what has expired since; the difference is reported.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealwire.clock import utc_now
from tests.attacks.bench import Bench, move_clock

HOUR_S = 3600
DAY_S = 24 * HOUR_S


@pytest.mark.parametrize("lie_s", [-2 * DAY_S, 2 * DAY_S], ids=["into the past", "into the future"])
def test_a_lie_about_the_time_changes_nothing_and_is_named(bench: Bench, lie_s: int) -> None:
    """Neither does it revive what has expired, nor does it make anything expire."""
    thief = bench.thief()
    thief.director.expires["timestamp"] = utc_now() - timedelta(hours=1)
    thief.publish()
    bench.plane.clock_ahead_s = lie_s

    bench.attack_with(thief)

    bench.assert_refused("expired", "The director's timestamp, version 3, ")
    bench.until_poll(lambda poll: "clock skew: this host's clock is 2 days 0 h " in poll.error)
    bench.plane.clock_ahead_s = 0
    bench.assert_recovers()


def test_a_host_a_day_ahead_refuses_what_is_short_lived_and_says_why(bench: Bench) -> None:
    soon = bench.thief()
    soon.director.expires["timestamp"] = utc_now() + timedelta(hours=6)
    soon.publish()
    move_clock(DAY_S)

    bench.attack_with(soon)

    bench.assert_refused("expired", "The director's timestamp, version 3, ")
    assert bench.status()["clock_skew"] == "this host's clock is 1 day 0 h ahead of the control plane"
    # Honest first: to a right clock, that answer is as good as any.
    bench.run(bench.plane.turn())
    bench.wait_for_condition("connected")
    move_clock(0)
    bench.assert_recovers()
    assert bench.status()["clock_skew"] is None


def test_a_host_a_day_behind_believes_what_has_expired_and_reports_its_clock(bench: Bench) -> None:
    """The limit: nothing but its clock tells a host that time has passed."""
    late = bench.thief()
    late.director.expires["timestamp"] = utc_now() - timedelta(hours=6)
    late.publish()
    move_clock(-DAY_S)

    bench.take(late)

    report = bench.until_poll(lambda poll: "clock skew" in poll.error)
    assert report.error == "clock skew: this host's clock is 1 day 0 h behind the control plane"
    move_clock(0)
    bench.simulator.publish()
    bench.assert_recovers()
