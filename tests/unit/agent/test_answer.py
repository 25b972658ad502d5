"""Answers to tracers: exactly what is meant for one client, and nothing when there is nothing new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from sealwire.agent.answer import Served, answer, normalise
from sealwire.errors import MalformedError
from sealwire.trust.uptane import TrustedState
from sealwire.wire import codec
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.repository import FAR, NOW, Simulator
from tests.support.tracers import FakeTracer

B = "datadog/2/ASM_FEATURES/base/config"
S = "datadog/2/ASM_FEATURES/second/config"
T = "datadog/2/ASM_FEATURES/third/testname"
ROGUE = "datadog/2/ROGUE_PRODUCT/rogue/config"


@dataclass
class Agent:
    """What an agent holds of a simulated control plane, answering one request at a time."""

    simulator: Simulator
    state: TrustedState
    served: Served | None = None

    @classmethod
    def of(cls, simulator: Simulator) -> Agent:
        return cls(simulator, simulator.bootstrap())

    def publish(self) -> None:
        self.simulator.publish()
        self.state = self.simulator.update(self.state)
        self.served = Served.of(self.state, before=self.served)

    def answer(self, body: bytes) -> bytes:
        request = codec.decode_client_request(body)
        codec.validate_client_request(request)
        return codec.encode_client_response(answer(self.served, request, now=self.simulator.now))

    def poll(self, tracer: FakeTracer) -> bool:
        return tracer.take(self.answer(tracer.request()))


@pytest.fixture
def agent() -> Agent:
    return Agent.of(Simulator())


def test_before_anything_was_verified_there_is_nothing_to_say(agent: Agent) -> None:
    assert agent.answer(FakeTracer().request()) == b"{}"


@pytest.mark.parametrize("keeps_files", [True, False])
def test_the_update_sequence_of_the_conformance_tests(agent: Agent, keeps_files: bool) -> None:
    """After each publication the tracer's next request shows it, and the poll after that is ``{}``."""
    tracer = FakeTracer(keeps_files=keeps_files)
    steps: list[tuple[dict[str, tuple[bytes, int]], set[str]]] = [
        ({}, set()),
        ({B: (b'{"b":1}', 1)}, set()),
        ({B: (b'{"b":2}', 2)}, set()),
        ({}, {B}),
        ({B: (b'{"b":1}', 1), S: (b'{"s":1}', 1)}, set()),
        ({T: (b'{"t":1}', 1)}, {S}),
        ({B: (b'{"b":2}', 2), S: (b'{"s":1}', 1)}, set()),
        ({B: (b'{"b":1}', 1)}, {T}),
        ({}, set()),
        ({ROGUE: (b'{"r":1}', 1)}, set()),
        ({B: (b'{"b":2}', 2)}, set()),
        ({T: (b'{"t":1}', 1)}, set()),
    ]
    expected: dict[str, tuple[bytes, int]] = {}

    for version, (put, retired) in enumerate(steps, start=1):
        for path in retired:
            agent.simulator.retire(path)
            expected.pop(path)
        for path, (raw, number) in put.items():
            agent.simulator.put(path, raw, v=number)
            expected[path] = (raw, number)
        agent.publish()

        assert agent.poll(tracer)

        assert tracer.targets_version == version
        wanted = {path: raw for path, (raw, _) in expected.items() if path != ROGUE}
        assert tracer.files == wanted
        assert {path: tracer.versions[path] for path in wanted} == {
            path: expected[path][1] for path in wanted
        }
        assert agent.answer(tracer.request()) == b"{}"


def test_only_files_that_changed_are_sent_again(agent: Agent) -> None:
    agent.simulator.put(B, b'{"b":1}')
    agent.simulator.put(S, b'{"s":1}')
    agent.publish()
    tracer = FakeTracer()
    agent.poll(tracer)
    agent.simulator.put(S, b'{"s":2}', v=2)
    agent.publish()

    response = codec.decode_client_response(agent.answer(tracer.request()))

    assert [file.path for file in response.target_files] == [S]
    assert list(response.client_configs) == [B, S]


def test_a_product_added_at_an_unchanged_version_gets_its_files(agent: Agent) -> None:
    agent.simulator.put(B, b"{}")
    agent.simulator.put("datadog/2/ASM/rules/config", b'{"a":1}')
    agent.publish()
    tracer = FakeTracer(products=["ASM_FEATURES"])
    agent.poll(tracer)

    tracer.products = ["ASM", "ASM_FEATURES"]

    assert agent.poll(tracer)
    assert sorted(tracer.files) == ["datadog/2/ASM/rules/config", B]


def test_a_product_given_up_at_an_unchanged_version_loses_its_files(agent: Agent) -> None:
    agent.simulator.put(B, b"{}")
    agent.simulator.put("datadog/2/ASM/rules/config", b'{"a":1}')
    agent.publish()
    tracer = FakeTracer(products=["ASM", "ASM_FEATURES"])
    agent.poll(tracer)

    tracer.products = ["ASM_FEATURES"]

    assert agent.poll(tracer)
    assert list(tracer.files) == [B]


def test_predicates_decide_per_client_and_other_clients_are_not_even_told_the_path(agent: Agent) -> None:
    one_of = {"tracer_predicates_v1": [{"clientID": "client-1"}]}
    agent.simulator.put(B, b"{}", **{"tracer-predicates": one_of})
    agent.publish()
    mine, other = FakeTracer("client-1"), FakeTracer("client-2")

    agent.poll(mine)
    told = codec.decode_client_response(agent.answer(other.request()))

    assert list(mine.files) == [B]
    assert (list(told.client_configs), list(told.target_files)) == ([], [])


def test_predicates_in_normal_form_match_clients_that_write_their_names_otherwise(agent: Agent) -> None:
    predicate = {"tracer_predicates_v1": [{"service": "my_shop", "environment": "prod"}]}
    agent.simulator.put(B, b"{}", **{"tracer-predicates": predicate})
    agent.publish()
    written_otherwise, another = FakeTracer(service="My Shop", env="PROD"), FakeTracer(service="other")

    agent.poll(written_otherwise)
    agent.poll(another)

    assert (list(written_otherwise.files), list(another.files)) == ([B], [])


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("Shop", "shop"),
        ("my shop!", "my_shop"),
        ("__a__b", "a_b"),
        ("1shop", "shop"),
        ("", ""),
        ("ä:b/c.d-e", "ä:b/c.d-e"),
    ],
)
def test_names_are_normalised_as_the_trace_agent_does(name: str, normal: str) -> None:
    assert normalise(name) == normal


def test_a_config_past_its_expiry_is_taken_back_at_an_unchanged_version(agent: Agent) -> None:
    agent.simulator.put(B, b"{}", expires=int(NOW.timestamp()) + 60)
    agent.publish()
    tracer = FakeTracer()
    agent.poll(tracer)
    assert agent.served is not None
    turn_s = agent.served.next_turn_s(agent.simulator.now)

    before = agent.answer(tracer.request())
    agent.simulator.now = NOW + timedelta(seconds=61)

    assert turn_s == NOW.timestamp() + 61
    assert before == b"{}"
    assert agent.poll(tracer)
    assert tracer.files == {}
    assert agent.answer(tracer.request()) == b"{}"


def test_an_expired_timestamp_tells_clients_to_drop_all_and_a_fresh_one_gives_all_back(agent: Agent) -> None:
    agent.simulator.put(B, b"{}")
    agent.simulator.director.expires["timestamp"] = NOW + timedelta(hours=1)
    agent.publish()
    tracer = FakeTracer()
    agent.poll(tracer)

    agent.simulator.now = NOW + timedelta(hours=1)
    response = codec.decode_client_response(agent.answer(tracer.request()))
    agent.poll(tracer)
    dropped = dict(tracer.files)
    agent.simulator.director.expires["timestamp"] = FAR
    agent.publish()
    agent.poll(tracer)

    assert response.config_status == pb.ConfigStatus.CONFIG_STATUS_EXPIRED
    assert (response.targets != b"", list(response.roots), list(response.client_configs)) == (True, [], [])
    assert dropped == {}
    assert list(tracer.files) == [B]


def test_roots_are_sent_in_order_to_a_client_that_is_behind_and_never_otherwise(agent: Agent) -> None:
    agent.simulator.put(B, b"{}")
    agent.publish()
    tracer = FakeTracer()
    first = codec.decode_client_response(agent.answer(tracer.request()))
    agent.poll(tracer)
    agent.simulator.director.rotate("targets")
    agent.simulator.director.rotate("snapshot")
    agent.publish()

    second = codec.decode_client_response(agent.answer(tracer.request()))
    agent.poll(tracer)

    assert list(first.roots) == []
    assert list(second.roots) == agent.simulator.director.roots[1:]
    assert tracer.root_version == 3


def test_a_predicate_that_cannot_be_decided_fails_that_clients_poll_and_no_other(agent: Agent) -> None:
    predicate = {"tracer_predicates_v1": [{"service": "shop", "tracerVersion": ">=2.0"}]}
    agent.simulator.put(B, b"{}", **{"tracer-predicates": predicate})
    agent.publish()

    with pytest.raises(MalformedError):
        agent.poll(FakeTracer(tracer_version="2.9.0rc1"))

    other = FakeTracer("client-2", service="other", tracer_version="2.9.0rc1")
    agent.poll(other)
    assert other.files == {}


@pytest.mark.parametrize(
    ("path", "custom", "said"),
    [
        ("datadog/2/ASM/x/y/config", {}, "config path"),
        (B, {"v": "1"}, "custom.v"),
        (B, {"v": 1, "expires": "soon"}, "expiry"),
    ],
)
def test_a_state_that_would_fail_every_client_is_not_served(
    agent: Agent, path: str, custom: dict[str, object], said: str
) -> None:
    agent.simulator.config.list(path, b"{}", **custom)
    agent.simulator.director.list(path, b"{}", **custom)
    agent.simulator.files[path] = b"{}"

    with pytest.raises(MalformedError, match=said):
        agent.publish()


def test_a_client_of_the_agent_kind_is_answered_by_product_alone(agent: Agent) -> None:
    agent.simulator.put(B, b"{}", **{"tracer-predicates": {"tracer_predicates_v1": [{"service": "nobody"}]}})
    agent.publish()
    request = pb.ClientGetConfigsRequest(
        client=pb.Client(
            id="core",
            products=["ASM_FEATURES"],
            is_agent=True,
            client_agent=pb.ClientAgent(name="core-agent"),
            state=pb.ClientState(root_version=1),
        )
    )

    assert list(answer(agent.served, request, now=NOW).client_configs) == [B]
