"""How far configs have come, counted over looks at the fleet that share what did not change."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.server.fleet.connection import CONNECTED, Connection, Standing
from sealwire.server.fleet.explain import DeliveryState, FileState
from sealwire.server.fleet.overview import ClientLine, Fleet
from sealwire.server.fleet.uptake import Uptake, Uptakes

OFFLINE = Standing(Connection.OFFLINE)


def file(state: DeliveryState, *config_ids: str) -> FileState:
    return FileState("datadog/1/ASM/x/config", "ASM", config_ids, 1, 1, state, "", 1, 1, None, None, {})


def line(client_id: str, *files: FileState, standing: Standing = CONNECTED) -> ClientLine:
    return ClientLine(client_id, "agent", "host", {}, files, 0, 0, standing, "", 0, 0, False)


def fleet(*lines: ClientLine) -> Fleet:
    return Fleet(lines, (), {}, {}, 0.0)


def uptakes(*known: str) -> tuple[Uptakes, Any]:
    """And the one session, whose agent knows these clients."""
    session = SimpleNamespace(reported=dict.fromkeys(known, ()))
    distributor: Any = SimpleNamespace(sessions={"agent": session})
    return Uptakes(distributor), session


def test_clients_are_counted_by_what_became_of_it() -> None:
    counted, _ = uptakes("a", "b", "c", "d")

    found = counted.of(
        fleet(
            line("a", file(DeliveryState.IN_STEP, "one", "two")),
            line("b", file(DeliveryState.FAILED, "one")),
            line("c", file(DeliveryState.APPLYING, "one")),
            line("d", file(DeliveryState.BEHIND, "one")),
        )
    )

    assert found == {"one": Uptake(4, 1, 1, 1), "two": Uptake(1, 1, 0, 0)}
    assert found["one"].waiting == 2


def test_who_is_offline_or_gone_from_its_agent_is_not_counted() -> None:
    counted, session = uptakes("a", "b")
    have = file(DeliveryState.IN_STEP, "one")

    assert counted.of(fleet(line("a", have), line("b", have, standing=OFFLINE)))["one"].wanted == 1
    del session.reported["a"]
    assert counted.of(fleet(line("a", have))) == {}


def test_the_same_look_is_counted_once_and_an_answer_never_changes() -> None:
    counted, _ = uptakes("a", "b")
    seen = fleet(line("a", file(DeliveryState.IN_STEP, "one")))
    first = counted.of(seen)

    assert counted.of(seen) is first
    counted.of(fleet(line("b", file(DeliveryState.FAILED, "one"))))

    assert first == {"one": Uptake(1, 1, 0, 0)}


STATES = st.sampled_from([*DeliveryState])
LOOKS = st.lists(
    st.dictionaries(
        st.sampled_from("abcd"), st.lists(st.tuples(STATES, st.sets(st.sampled_from("123"))), max_size=3)
    ),
    min_size=1,
    max_size=6,
)


@given(LOOKS)
def test_counting_what_changes_comes_to_the_same_as_counting_all(looks: list[dict[str, Any]]) -> None:
    counted, _ = uptakes(*"abcd")
    for look in looks:
        lines = [
            line(client_id, *(file(state, *sorted(ids)) for state, ids in files))
            for client_id, files in look.items()
        ]
        afresh, _ = uptakes(*"abcd")

        assert counted.of(fleet(*lines)) == afresh.of(fleet(*lines))


@pytest.mark.parametrize("state", [DeliveryState.SILENT, DeliveryState.REFUSED, DeliveryState.BEHIND])
def test_whatever_is_no_answer_is_waited_for(state: DeliveryState) -> None:
    counted, _ = uptakes("a")

    (found,) = counted.of(fleet(replace(line("a"), files=(file(state, "one"),)))).values()

    assert found == Uptake(wanted=1)
    assert found.waiting == 1
