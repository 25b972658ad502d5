"""Replay to another agent: what was signed for one agent of an organisation is sent to its neighbour.

Stops it: TLS alone. Accepted by design: nothing on the wire names the agent an answer is for.
Left open: who can break TLS, or holds the control plane, can hand an agent its neighbour's current view.
"""

from __future__ import annotations

from tests.attacks.bench import HONEST, Bench

OTHERS = "datadog/2/ASM_DATA/for-the-neighbour/config"


def test_a_neighbours_view_verifies_until_the_next_honest_one(bench: Bench) -> None:
    neighbour = bench.thief()
    neighbour.put(OTHERS, b"{}")
    neighbour.publish()

    bench.take(neighbour)

    assert bench.tracer.files == {**HONEST, OTHERS: b"{}"}
    # What is honestly published next has passed the versions of both views.
    bench.simulator.put(OTHERS, b"{}")
    bench.simulator.director.targets.pop(OTHERS)
    bench.simulator.files.pop(OTHERS)
    bench.simulator.publish()
    bench.assert_recovers()
    assert OTHERS not in bench.tracer.files
