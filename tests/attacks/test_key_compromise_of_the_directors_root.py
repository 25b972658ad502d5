"""Key compromise, a threshold of root keys: two of the director's three root keys are stolen.

Stops it: for contents, the other repository's keys. For the director itself nothing; accepted by design.
Left open: only new first roots on every host take the director back; root keys belong offline, with people.
"""

from __future__ import annotations

from tests.attacks.bench import BLOCKED, HONEST, Bench

EVIL = b'{"evil":1}'


def test_who_holds_the_directors_root_is_the_director_and_still_brings_in_no_byte(bench: Bench) -> None:
    thief = bench.thief()
    old = thief.director.signers["root"]
    thief.director.signers = {
        role: [thief.director.new_key() for _ in keys] for role, keys in thief.director.signers.items()
    }
    thief.director.publish_root(also_signed_by=old[:2])
    thief.publish()
    bench.take(thief)
    assert bench.tracer.files == HONEST

    thief.director.list(BLOCKED, EVIL)
    thief.files[BLOCKED] = EVIL
    thief.director.publish()
    bench.attack_with(thief)

    bench.assert_refused(
        "disagreement", f"The director gives {BLOCKED} a length of 10, and the config repository"
    )
    # The honest director is the stranger now.
    honest = bench.thief()
    honest.publish()
    honest.publish()
    bench.attack_with(honest)
    complaint = bench.until_poll(lambda poll: "threshold" in poll.error)
    assert complaint.error.startswith(
        "tuf: threshold: The director's timestamp, version 4, does not have enough"
    )
    bench.assert_still_good()
