"""Director-only target: who took over the director lists a file that nobody published.

Stops it: every file of the director must be in the config repository, which other keys sign.
"""

from __future__ import annotations

from tests.attacks.bench import Bench, both_ways

PLANTED = "datadog/2/ASM_DATA/planted/config"


@both_ways
def test_a_file_only_the_director_lists_is_refused(bench: Bench) -> None:
    thief = bench.thief()
    thief.director.list(PLANTED, b"{}")
    thief.files[PLANTED] = b"{}"
    thief.director.publish()

    bench.attack_with(thief)

    bench.assert_refused("disagreement", f"The director lists {PLANTED}, and the config repository does not.")
    bench.assert_recovers()


def test_a_file_of_a_product_nobody_delegated_is_refused(bench: Bench) -> None:
    planted = "datadog/2/AGENT_TASK/planted/config"
    thief = bench.thief()
    thief.director.list(planted, b"{}")
    thief.files[planted] = b"{}"
    thief.director.publish()

    bench.attack_with(thief)

    bench.assert_refused("disagreement", f"The director lists {planted}, and the config repository does not.")
    bench.assert_recovers()
