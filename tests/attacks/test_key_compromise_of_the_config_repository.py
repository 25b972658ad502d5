"""Key compromise, config repository: its online keys and every product's are stolen.

Stops it: the director's keys. Nothing that is published reaches an agent unless the director lists it.
"""

from __future__ import annotations

from tests.attacks.bench import BLOCKED, HONEST, Bench


def test_a_config_that_only_the_config_repository_lists_reaches_nobody(bench: Bench) -> None:
    planted = "datadog/2/ASM_DATA/planted/config"
    thief = bench.thief()
    thief.config.list(planted, b"{}", role="ASM_DATA")
    thief.files[planted] = b"{}"
    thief.config.publish()

    bench.take(thief)

    assert bench.tracer.files == HONEST
    assert b"planted" not in bench.poll(bench.newcomer())
    bench.simulator.publish()
    bench.assert_recovers()


def test_other_contents_of_a_config_in_force_are_refused(bench: Bench) -> None:
    thief = bench.thief()
    thief.config.list(BLOCKED, b'{"evil":1}', role="ASM_DATA")
    thief.files[BLOCKED] = b'{"evil":1}'
    thief.config.publish()

    bench.attack_with(thief)

    bench.assert_refused("disagreement", f"The director gives {BLOCKED} a length of 17, and the config")
    bench.assert_recovers()
