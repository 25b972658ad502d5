"""Key compromise, director: every online key of the director is stolen.

Stops it: the config repository's keys. What the thief can hand out is what is rightly published now, and no
other byte.
Left open: the thief can leave configs out, hand them to the wrong applications, or make an answer useless.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.attacks.bench import BLOCKED, HONEST, Bench
from tests.attacks.forging import signed_of, signed_whatever
from tests.support.repository import Simulator

NO_VERSION = f"The target {BLOCKED} has no whole number that all clients can carry as its version (custom.v)."
NO_EXPIRY = f"The target {BLOCKED} has an expiry that is no whole number all clients can carry."
Crime = Callable[[Simulator], None]


def other_contents(thief: Simulator) -> None:
    thief.director.list(BLOCKED, b'{"evil":1}')
    thief.files[BLOCKED] = b'{"evil":1}'


def contents_of_last_week(thief: Simulator) -> None:
    """Rightly published once, and replaced since."""
    thief.director.list(BLOCKED, HONEST[BLOCKED])
    thief.files[BLOCKED] = HONEST[BLOCKED]


def a_config_that_was_retired(thief: Simulator) -> None:
    retired = "datadog/2/ASM_DATA/retired/config"
    thief.director.list(retired, b"{}")
    thief.files[retired] = b"{}"


@pytest.mark.parametrize("crime", [other_contents, contents_of_last_week, a_config_that_was_retired])
def test_all_the_directors_online_keys_bring_in_no_byte(bench: Bench, crime: Crime) -> None:
    retired = "datadog/2/ASM_DATA/retired/config"
    bench.simulator.put(retired, b"{}")
    bench.publish()
    bench.simulator.retire(retired)
    bench.simulator.put(BLOCKED, b'{"rules_data":["newer"]}')
    bench.publish()
    thief = bench.thief()
    crime(thief)
    thief.director.publish()

    bench.attack_with(thief)

    bench.assert_refused("disagreement", "The director ")
    bench.assert_recovers()


@pytest.mark.parametrize(
    ("custom", "sentence"),
    [
        ({"v": "two"}, NO_VERSION),
        ({"v": None}, NO_VERSION),
        ({"v": -1}, NO_VERSION),
        ({"v": 2**64}, NO_VERSION),
        ({"expires": "soon"}, NO_EXPIRY),
        ({"expires": 10**400}, NO_EXPIRY),
    ],
    ids=["text", "null", "negative", "huge", "expiry in words", "huge expiry"],
)
def test_what_clients_would_fail_on_is_refused_whole(
    bench: Bench, custom: dict[str, object], sentence: str
) -> None:
    thief = bench.thief()
    thief.director.list(BLOCKED, HONEST[BLOCKED], v=1)
    thief.director.publish()
    signed = signed_of(thief.director.documents["targets"])
    signed["targets"][BLOCKED]["custom"].update(custom)
    put_in_place(thief, signed)

    bench.attack_with(thief)

    bench.assert_refused("malformed", sentence)
    bench.assert_recovers()


def test_a_state_that_tracers_could_not_echo_is_refused(bench: Bench) -> None:
    """Their polls would not be read any more, not even by who has the honest change for them."""
    thief = bench.thief()
    thief.director.custom["targets"]["opaque_backend_state"] = base64.b64encode(bytes(16 * 1024 + 1)).decode()
    thief.director.publish()

    bench.attack_with(thief)

    bench.assert_refused(
        "oversize", "The director's targets carry a backend state of 16385 bytes; 16384 are allowed."
    )
    bench.assert_recovers()


def test_the_directors_keys_sign_nothing_of_the_config_repository(bench: Bench) -> None:
    thief = bench.thief()
    thief.config.sign_with["timestamp"] = thief.director.signers["timestamp"]
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused(
        "threshold", "The config repository's timestamp, version 3, does not have enough valid"
    )
    bench.assert_recovers()


def put_in_place(thief: Simulator, signed: dict[str, Any]) -> None:
    """Sign the director's targets as they are, and pin them."""
    thief.director.documents["targets"] = signed_whatever(signed, thief.director.signers["targets"])
    thief.director.publish("snapshot", "timestamp")
