"""Tampered cache: the state on the agent's disk is changed while the agent is away.

Stops it: nothing on the disk is believed; it is verified from the first roots again, and set aside if it does
not hold.
Left open: who can write there can put back an older state that was good; the next honest answer passes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.attacks.bench import BLOCKED, HONEST, Bench, both_ways

MAGIC_BYTES = len(b"sealwire agent state 1\n")
State = dict[str, Any]


def another_file(state: State) -> None:
    state["dump"][f"files/{BLOCKED}"] = b'{"rules_data":{}}'


def one_more_file(state: State) -> None:
    state["dump"]["files/datadog/2/ASM_DATA/planted/config"] = b"{}"


def no_signatures(state: State) -> None:
    raw = state["dump"]["director/targets"]
    state["dump"]["director/targets"] = b'{"signatures":[],' + raw[raw.index(b'"signed"') :]


def no_file(state: State) -> None:
    del state["dump"][f"files/{BLOCKED}"]


def another_root(state: State) -> None:
    state["dump"]["director/root/2"] = state["dump"]["director/timestamp"]


@both_ways
def test_a_state_with_another_file_is_set_aside(bench: Bench) -> None:
    assert_set_aside(bench, changed(another_file))


@pytest.mark.parametrize("change", [no_signatures, no_file, another_root])
def test_a_state_that_does_not_verify_is_set_aside(bench: Bench, change: Callable[[State], None]) -> None:
    assert_set_aside(bench, changed(change))


@pytest.mark.parametrize(
    "change",
    [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"", lambda raw: bytes(len(raw))],
    ids=["cut", "longer", "empty", "zeros"],
)
def test_a_state_that_is_damaged_is_set_aside(bench: Bench, change: Callable[[bytes], bytes]) -> None:
    assert_set_aside(bench, change)


def test_a_file_planted_in_the_state_is_not_served(bench: Bench) -> None:
    restart_with(bench, changed(one_more_file))

    bench.poll(tracer := bench.newcomer())

    assert tracer.files == HONEST
    bench.assert_recovers()


def test_an_older_good_state_is_passed_by_the_next_honest_answer(bench: Bench) -> None:
    """The limit: as long as no control plane answers, there is nothing to compare an old state with."""
    older = bench.state_file.read_bytes()
    path = bench.next_change()

    restart_with(bench, lambda _: older, plane=False)

    bench.poll(tracer := bench.newcomer())
    assert tracer.files == HONEST
    bench.listen()
    bench.wait_for_versions()
    bench.poll(tracer)
    assert path in tracer.files
    bench.assert_recovers()


def assert_set_aside(bench: Bench, change: Callable[[bytes], bytes]) -> None:
    restart_with(bench, change, plane=False)

    assert bench.poll(bench.newcomer()) == b"{}"
    assert bench.versions()["director"] == 0
    assert bench.state_file.with_name("state.set-aside").exists()
    bench.listen()
    bench.assert_recovers()


def restart_with(bench: Bench, change: Callable[[bytes], bytes], *, plane: bool = True) -> None:
    """Stop the agent, change its state, start it again, with or without a control plane."""
    assert bench.agent is not None
    bench.agent.stop()
    if not plane:
        bench.close_plane()
    bench.state_file.write_bytes(change(bench.state_file.read_bytes()))
    bench.agent.start()


def changed(change: Callable[[State], None]) -> Callable[[bytes], bytes]:
    """A change of what is in the state, as somebody makes it who knows the form of the file."""

    def change_bytes(raw: bytes) -> bytes:
        state: State = msgspec.msgpack.decode(raw[MAGIC_BYTES + 32 :])
        change(state)
        body = msgspec.msgpack.encode(state)
        return raw[:MAGIC_BYTES] + hashlib.sha256(body).digest() + body

    return change_bytes
