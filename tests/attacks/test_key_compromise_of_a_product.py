"""Key compromise, product: the key of one product's role is stolen, together with the whole director.

Stops it: the role's paths, and the snapshot's key, which it does not have. Dangerous products can ask for two
keys.
Left open: with the snapshot's key as well, that one product is the thief's.
"""

from __future__ import annotations

import time

from sealwire.agent.roster import SETTLES_S
from tests.attacks.bench import BLOCKED, Bench

EVIL = b'{"evil":1}'


def test_a_products_key_alone_publishes_nothing(bench: Bench) -> None:
    thief = bench.thief()
    thief.put(BLOCKED, EVIL)
    thief.director.publish()
    thief.config.publish("ASM_DATA")

    bench.attack_with(thief)

    # The snapshot still vouches for the role as it was.
    bench.assert_refused(
        "disagreement", f"The director gives {BLOCKED} a length of 10, and the config repository one of 17."
    )
    bench.assert_recovers()


def test_a_products_key_and_the_snapshots_do_not_reach_another_product(bench: Bench) -> None:
    feature = "datadog/2/ASM_FEATURES/on/config"
    thief = bench.thief()
    thief.config.list(feature, EVIL, role="ASM_DATA")
    thief.director.list(feature, EVIL)
    thief.files[feature] = EVIL
    thief.director.publish()
    thief.config.publish("ASM_DATA", "snapshot", "timestamp")

    bench.attack_with(thief)

    bench.assert_refused(
        "disagreement", f"The director gives {feature} a length of 10, and the config repository"
    )
    bench.assert_recovers()


def test_one_of_the_two_keys_of_a_dangerous_product_signs_nothing(bench: Bench) -> None:
    dangerous = "datadog/2/ASM_DD/rules/config"
    bench.simulator.config.delegate("ASM_DD", ["datadog/*/ASM_DD/*/*"], threshold=2, keys=2)
    bench.simulator.put(dangerous, b"{}")
    bench.tracer.products.append("ASM_DD")
    bench.poll(bench.tracer)
    time.sleep(SETTLES_S)  # what a new product brings comes a moment later (ADR 6)
    bench.publish()
    thief = bench.thief()
    thief.config.sign_with["ASM_DD"] = thief.config.roles["ASM_DD"].signers[:1]
    thief.put(dangerous, EVIL)
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused("threshold", "The config repository's ASM_DD, version 2, does not have enough valid")
    bench.assert_recovers()


def test_a_products_key_and_all_online_keys_are_that_product(bench: Bench) -> None:
    """The limit: what both repositories say is believed. A new key of the product ends it."""
    thief = bench.thief()
    thief.put(BLOCKED, EVIL)
    thief.publish()

    bench.take(thief)

    assert bench.tracer.files[BLOCKED] == EVIL
    bench.simulator.config.roles["ASM_DATA"].signers = [bench.simulator.config.new_key()]
    bench.simulator.publish()
    bench.assert_recovers()
    assert bench.tracer.files[BLOCKED] != EVIL
