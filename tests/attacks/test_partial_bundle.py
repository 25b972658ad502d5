"""Partial bundle: who took over the director leaves a config out.

Stops it: nothing; accepted by design. The director decides what an agent gets, and the agent cannot know what
is missing.
Left open: people see it, because applications no longer report the config as applied.
"""

from __future__ import annotations

from tests.attacks.bench import BLOCKED, FEATURES, HONEST, Bench


def test_a_config_that_the_director_leaves_out_is_gone_and_shows_in_the_reports(bench: Bench) -> None:
    thief = bench.thief()
    thief.director.targets.pop(BLOCKED)
    thief.director.publish()

    bench.take(thief)

    bench.poll(bench.tracer)
    assert bench.tracer.files == {FEATURES: HONEST[FEATURES]}
    told = len(bench.plane.polls)
    bench.poll(bench.tracer)
    report = bench.until_poll(lambda poll: True, after=told)
    reported = next(client for client in report.active_clients if client.id == bench.tracer.client_id)
    assert [state.product for state in reported.state.config_states] == ["ASM_FEATURES"]
    bench.simulator.publish()
    bench.assert_recovers()
    assert BLOCKED in bench.tracer.files
