"""Unasked product: who took over the director lists configs of products that an application never asked for.

Stops it: an application is told of the products it names in its poll, and of nothing else.
"""

from __future__ import annotations

from tests.attacks.bench import HONEST, Bench

UNASKED = "datadog/2/LIVE_DEBUGGING/probe/config"


def test_a_config_of_a_product_nobody_asked_for_reaches_nobody(bench: Bench) -> None:
    bench.simulator.put(UNASKED, b'{"probe":1}')
    bench.simulator.director.targets.pop(UNASKED)
    bench.simulator.files.pop(UNASKED)
    bench.publish()
    thief = bench.thief()
    thief.director.list(UNASKED, b'{"probe":1}')
    thief.files[UNASKED] = b'{"probe":1}'
    thief.director.publish()

    bench.take(thief)

    assert bench.tracer.files == HONEST
    bench.poll(newcomer := bench.newcomer())
    assert newcomer.files == HONEST
    bench.simulator.publish()
    bench.assert_recovers()
