"""Planted file: an honest answer carries one file more, which nobody signed.

Stops it: only files that the director lists are looked at; the others are neither kept nor served.
"""

from __future__ import annotations

import base64

from sealwire.wire import remoteconfig_pb2 as pb
from tests.attacks.bench import Bench

PLANTED = b'{"planted":"by somebody"}'


def test_a_file_that_nobody_signed_is_neither_kept_nor_served(bench: Bench) -> None:
    def plant(message: pb.LatestConfigsResponse) -> None:
        message.target_files.add(path="datadog/2/ASM_DATA/planted/config", raw=PLANTED)
        message.target_files.add(path="../../../../etc/cron.d/planted", raw=PLANTED)

    bench.attack_each(plant)
    bench.wait_for_versions()

    bench.poll(bench.tracer)
    assert bench.tracer.files == bench.simulator.files
    assert base64.b64encode(PLANTED) not in bench.poll(bench.newcomer())
    kept = [path for path in bench.folder.rglob("*") if path.is_file() and PLANTED in path.read_bytes()]
    assert kept == []
    assert not any(poll.has_error for poll in bench.plane.polls)
    bench.assert_recovers()
