"""Indefinite freeze: news is withheld, by repeating the last answer or signing old things as new.

Stops it: timestamps expire. From then on applications are told so and get nothing, instead of old configs for
ever.
Left open: until the timestamp expires news can be withheld; the clock of the host must be sane.
"""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest

from sealwire.clock import utc_now
from tests.attacks.bench import HONEST, Bench, move_clock, repository_of, whose
from tests.support.repository import FAR


def test_an_answer_repeated_for_ever_ends_with_its_timestamp(bench: Bench) -> None:
    bench.simulator.director.expires["timestamp"] = utc_now() + timedelta(hours=1)
    bench.publish()
    bench.attack_with(bench.honest_answer())
    bench.simulator.put("datadog/2/ASM_DATA/withheld/config", b"{}")
    bench.assert_ignored()

    bench.plane.clock_ahead_s = 2 * 3600
    move_clock(2 * 3600)

    told = orjson.loads(bench.poll(bench.tracer))
    assert told.keys() == {"targets", "config_status"}
    assert bench.tracer.files == {}
    assert bench.poll(bench.newcomer()) == orjson.dumps(told)
    complaint = bench.until_poll(lambda poll: poll.has_error)
    assert complaint.error.startswith("tuf: expired: The director's timestamp, version 3, expired at ")
    assert bench.versions() == bench.good.versions
    assert bench.state_file.read_bytes() == bench.good.on_disk
    bench.simulator.director.expires["timestamp"] = FAR
    bench.assert_recovers()
    assert bench.tracer.files.keys() > HONEST.keys()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "ASM_DATA"])
@pytest.mark.parametrize("repository", ["director", "config"])
def test_an_expired_document_is_refused_however_new_its_version(
    bench: Bench, repository: str, role: str
) -> None:
    if repository == "director" and role == "ASM_DATA":
        role = "targets"
    thief = bench.thief()
    repository_of(thief, repository).expires[role] = utc_now() - timedelta(seconds=1)
    thief.publish()

    bench.attack_with(thief)

    version = repository_of(thief, repository).versions[role]
    bench.assert_refused("expired", f"{whose(repository)} {role}, version {version}, ")
    bench.assert_recovers()
