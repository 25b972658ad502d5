"""Tampered file: the metadata is right, the contents of a config are not.

Stops it: length and SHA-256 of every file, as signed by both repositories.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sealwire.wire import remoteconfig_pb2 as pb
from tests.attacks.bench import Bench, both_ways

CHANGED = "datadog/2/ASM_DATA/change-1/config"
WRONG = f"The file {CHANGED} is not the one both repositories sign."
Edit = Callable[[bytes], bytes]


@both_ways
def test_a_file_with_other_contents_is_refused(bench: Bench) -> None:
    bench.attack_each(of_the_change(lambda raw: raw.replace(b"attack", b"defeat")))

    bench.assert_refused("digest", WRONG)
    bench.assert_recovers()


@pytest.mark.parametrize(
    "edit",
    [lambda raw: raw[:-1], lambda raw: raw + b" ", lambda _: b"", lambda raw: bytes([raw[0] ^ 1]) + raw[1:]],
    ids=["cut", "longer", "empty", "one bit"],
)
def test_not_a_byte_may_differ(bench: Bench, edit: Edit) -> None:
    bench.attack_each(of_the_change(edit))

    bench.assert_refused("digest", WRONG)
    bench.assert_recovers()


def test_two_files_under_each_others_names_are_refused(bench: Bench) -> None:
    def swap(message: pb.LatestConfigsResponse) -> None:
        files = message.target_files
        if len(files) > 1:
            files[0].raw, files[-1].raw = files[-1].raw, files[0].raw

    bench.attack_each(swap)

    bench.assert_refused("digest", WRONG)
    bench.assert_recovers()


def test_a_file_that_is_withheld_is_missed(bench: Bench) -> None:
    bench.attack_each(lambda message: message.ClearField("target_files"))

    bench.assert_refused("missing", f"The file {CHANGED} did not come and is not held.")
    bench.assert_recovers()


def of_the_change(edit: Edit) -> Callable[[pb.LatestConfigsResponse], None]:
    def edit_it(message: pb.LatestConfigsResponse) -> None:
        for file in message.target_files:
            if b"attack" in file.raw:
                file.raw = edit(file.raw)

    return edit_it
