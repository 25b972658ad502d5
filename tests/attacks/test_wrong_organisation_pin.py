"""Wrong pin: at first contact an agent is told a wrong organisation, to make it refuse its own for ever.

Stops it: a UUID counts for good only once an answer was verified with it; after a refusal it is asked for
again.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.attacks.bench import HONEST, Bench, both_ways

NEIGHBOUR = "11111111-2222-4333-8444-555555555555"


@both_ways
def test_a_wrong_uuid_at_first_contact_is_not_kept(new_bench: Callable[[], Bench]) -> None:
    bench = new_bench()
    for path, raw in HONEST.items():
        bench.simulator.put(path, raw)
    right, bench.simulator.org_uuid = bench.simulator.org_uuid, NEIGHBOUR
    bench.plane.publish_quietly()
    bench.listen()
    bench.start_agent()

    complaint = bench.until_poll(lambda poll: poll.has_error)

    assert complaint.error.startswith(
        "tuf: disagreement: The config repository's snapshot is signed for another"
    )
    assert bench.versions()["director"] == 0
    assert bench.poll(bench.newcomer()) == b"{}"
    bench.simulator.org_uuid = right
    bench.assert_recovers()


def test_a_uuid_that_was_verified_is_not_asked_for_again(bench: Bench) -> None:
    right, bench.simulator.org_uuid = bench.simulator.org_uuid, NEIGHBOUR
    thief = bench.thief()
    thief.config.custom["snapshot"] = {"org_uuid": NEIGHBOUR}
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused(
        "disagreement", "The config repository's snapshot is signed for another organisation"
    )
    assert bench.status()["org_uuid"] == right
    bench.assert_recovers()
