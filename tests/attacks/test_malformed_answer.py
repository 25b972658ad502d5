"""Malformed answer: bytes that are no answer, or documents that are none, to crash or to confuse.

Stops it: whatever cannot be read is a refusal like any other; no bytes lead anywhere else.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from sealwire.trust.sign import timestamp_signed
from sealwire.wire import remoteconfig_pb2 as pb
from tests.attacks.bench import Bench
from tests.attacks.forging import signed_of, signed_whatever
from tests.support.replay import to_wire
from tests.support.repository import FAR, edited

RANDOM = random.Random(4711)
NO_MESSAGES = {
    "random bytes": RANDOM.randbytes(4096),
    "text": b"<html>please sign in</html>",
    "a length that is not there": b"\x0a\xff\xff\xff\xff\x0f",
    "an endless number": b"\x08" + b"\xff" * 40,
    "groups in groups": b"\x0b" * 100_000,
}


def test_half_an_answer_is_refused(bench: Bench) -> None:
    thief = bench.thief()
    thief.publish()
    whole = to_wire(thief.answer())

    bench.attack_with(whole[: len(whole) // 2])

    bench.assert_refused("malformed", "")
    bench.assert_recovers()


@pytest.mark.parametrize("body", NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_bytes_that_are_no_message_are_refused(bench: Bench, body: bytes) -> None:
    bench.attack_with(body)

    bench.assert_refused("malformed", "")
    bench.assert_recovers()


def twice_a_role(message: pb.LatestConfigsResponse) -> None:
    message.config_metas.delegatedTargets.add(role="ASM_DATA", version=1, raw=b"another")


def twice_a_file(message: pb.LatestConfigsResponse) -> None:
    message.target_files.add(path=message.target_files[0].path, raw=b"another")


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (twice_a_role, "The answer has the role ASM_DATA twice."),
        (twice_a_file, "The answer has the file "),
    ],
)
def test_two_contents_under_one_name_are_refused(
    bench: Bench, edit: Callable[[pb.LatestConfigsResponse], None], sentence: str
) -> None:
    thief = bench.thief()
    thief.publish()
    message = pb.LatestConfigsResponse.FromString(to_wire(thief.answer()))
    edit(message)

    bench.attack_with(message.SerializeToString())

    bench.assert_refused("malformed", sentence)
    bench.assert_recovers()


NO_DOCUMENTS = {
    "empty object": b"{}",
    "a list": b"[]",
    "not JSON": b"\xff\xfe\x00",
    "deep": b'{"signed":' + b"[" * 20_000 + b"]" * 20_000 + b',"signatures":[]}',
    "huge number": b'{"signatures":[],"signed":{"_type":"timestamp","version":' + b"9" * 10_000 + b"}}",
    "no number": b'{"signatures":[],"signed":{"_type":"timestamp","version":NaN}}',
    "signatures of another kind": b'{"signatures":{"a":1},"signed":{"_type":"timestamp"}}',
}


@pytest.mark.parametrize("raw", NO_DOCUMENTS.values(), ids=NO_DOCUMENTS)
def test_documents_that_are_none_are_refused(bench: Bench, raw: bytes) -> None:
    bench.attack_with(edited(bench.honest_answer(), director={"timestamp": raw}))

    bench.assert_refused("oversize" if len(raw) > 16_384 else "malformed", "The director's timestamp")
    bench.assert_recovers()


@pytest.mark.parametrize(
    "change",
    [
        {"version": "4"},
        {"version": -1},
        {"version": 0},
        {"version": 2**53},
        {"version": 2**70},
        {"expires": "tomorrow"},
        {"expires": 4102444800},
        {"spec_version": "2.0.0"},
        {"meta": {}},
        {"meta": {"snapshot.json": {"version": 1, "hashes": {}, "length": -5}}},
        {"meta": []},
        {"_type": "Timestamp"},
        {"_type": ["timestamp"]},
    ],
    ids=json.dumps,
)
def test_rightly_signed_nonsense_is_refused(bench: Bench, change: dict[str, object]) -> None:
    """What a thief of the timestamp's key may try."""
    thief = bench.thief()
    thief.publish()
    timestamp = signed_of(thief.director.documents["timestamp"])
    raw = signed_whatever({**timestamp, **change}, thief.director.signers["timestamp"])

    bench.attack_with(edited(thief.answer(), director={"timestamp": raw}))

    bench.assert_refused("malformed", "The director's timestamp")
    bench.assert_recovers()


def test_a_version_that_is_null_is_refused(bench: Bench) -> None:
    """Some readers take it for version 1, and then it is not what was signed."""
    thief = bench.thief()
    thief.publish()
    timestamp = signed_of(thief.director.documents["timestamp"])
    raw = signed_whatever({**timestamp, "version": None}, thief.director.signers["timestamp"])

    bench.attack_with(edited(thief.answer(), director={"timestamp": raw}))

    bench.assert_refused("threshold", "The director's timestamp does not have enough valid signatures.")
    bench.assert_recovers()


@pytest.mark.parametrize("version", [2**53, 2**64])
def test_a_version_that_cannot_be_told_is_refused(bench: Bench, version: int) -> None:
    """Once believed, it would keep the agent from ever asking again: no message holds it."""
    thief = bench.thief()
    thief.config.publish()
    snapshot = signed_of(thief.config.documents["snapshot"])
    thief.config.documents["snapshot"] = signed_whatever(
        {**snapshot, "version": version}, thief.config.signers["snapshot"]
    )
    thief.config.versions["snapshot"] = version
    pinned = timestamp_signed(
        version=4, expires=FAR, snapshot_version=version, snapshot_raw=thief.config.documents["snapshot"]
    )
    thief.config.documents["timestamp"] = signed_whatever(pinned, thief.config.signers["timestamp"])

    bench.attack_with(thief)

    bench.assert_refused("malformed", "The config repository's snapshot has a version above 9007199254740991")
    bench.assert_recovers()
