"""Who is not meant learns nothing: neither another service behind the same agent, nor another agent.

Two services behind one agent, a third one behind a second agent. Looked at is what really travelled: the
answers each tracer got (a wiretap keeps them), what each tracer reports that it holds, the bytes of the
control plane's answer to each agent, and the folder each agent keeps its state in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.version import WIRE_VERSION
from tests.support.clients import App, start_app
from tests.support.payloads import DENIED, ON, OTHER, denied_ips
from tests.support.stack import Agent, ControlPlane
from tests.support.wiretap import Wiretap

pytestmark = pytest.mark.interop

POLL_S = 0.3
SHOP, CART, MAIL = "shop", "cart", "mail"
TRACERS = {SHOP: "ddtrace4", CART: "dd-trace-js", MAIL: "ddtrace3"}


@dataclass
class Fleet:
    """Two hosts: ``shop`` and ``cart`` on the first, ``mail`` on the second."""

    control_plane: ControlPlane
    first: Agent
    second: Agent
    apps: dict[str, App]
    taps: dict[str, Wiretap]

    def given_to(self, service: str) -> bytes:
        """Everything the tracer of a service was ever answered, files decoded."""
        exchanges = self.taps[service].exchanges
        raw = [
            part for each in exchanges for part in (each.raw_answer, each.raw_targets, *each.files.values())
        ]
        return b"\n".join(raw)

    def paths_for(self, service: str) -> set[str]:
        """Every path the tracer of a service was ever told to apply."""
        return {path for each in self.taps[service].exchanges for path in each.applies}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        control_plane = stack.enter_context(ControlPlane(folder / "control-plane"))
        first = stack.enter_context(Agent(folder / "host-a", control_plane))
        second = stack.enter_context(Agent(folder / "host-b", control_plane, hostname="host-b"))
        apps, taps = {}, {}
        for service, tracer in TRACERS.items():
            agent = second if service == MAIL else first
            taps[service] = stack.enter_context(Wiretap(agent.url))
            apps[service] = stack.enter_context(
                start_app(
                    tracer,
                    agent_url=taps[service].url,
                    log_folder=folder,
                    service=service,
                    poll_s=POLL_S,
                )
            )
        for service in TRACERS:
            control_plane.api.create("ASM_FEATURES", ON, service=service)
        for service in TRACERS:
            control_plane.api.wait_for_client(service, lambda client: "ASM_DATA" in client["products"])
        yield Fleet(control_plane, first, second, apps, taps)


def answer_of_control_plane(fleet: Fleet, agent: Agent) -> tuple[bytes, pb.LatestConfigsResponse]:
    """What the control plane answers to this agent, asked with its own key, when it has nothing yet."""
    status = agent.status()
    clients = [
        pb.Client(
            id=client["client_id"],
            is_tracer=True,
            products=client["products"],
            state=pb.ClientState(root_version=1, targets_version=client["targets_version"]),
            client_tracer=pb.ClientTracer(
                runtime_id=client["runtime_id"],
                language=client["language"],
                tracer_version=client["tracer_version"],
                service=client["service"],
                env=client["env"],
                app_version=client["app_version"],
            ),
        )
        for client in status["clients"]
    ]
    request = pb.LatestConfigsRequest(
        hostname=agent.hostname,
        agentVersion=WIRE_VERSION,
        agent_uuid=status["agent"]["agent_uuid"],
        products=sorted({product for client in status["clients"] for product in client["products"]}),
        active_clients=clients,
        current_config_root_version=1,
        current_director_root_version=1,
    )
    reply = fleet.control_plane.machine(agent.api_key).request(
        "POST",
        "/api/v0.1/configurations",
        request.SerializeToString(),
        {"Content-Type": "application/x-protobuf"},
    )
    assert reply.status == 200, reply.body
    return reply.body, pb.LatestConfigsResponse.FromString(reply.body)


@pytest.fixture(scope="module")
def denied(fleet: Fleet) -> dict[str, Any]:
    """A block for ``shop`` alone, applied there, and seen or not seen by everybody else."""
    api = fleet.control_plane.api
    delivery: dict[str, Any] = api.wait_until_acknowledged(
        SHOP, api.create("ASM_DATA", denied_ips(DENIED), service=SHOP)
    )
    for tap in fleet.taps.values():
        tap.wait_for_polls(3)
    return delivery


def test_each_service_goes_by_its_own_configs(fleet: Fleet, denied: dict[str, Any]) -> None:
    fleet.apps[SHOP].wait_for_status(403, from_ip=DENIED)

    assert fleet.apps[SHOP].status(from_ip=OTHER) == 200
    assert {fleet.apps[service].status(from_ip=DENIED) for service in (CART, MAIL)} == {200}


def test_the_other_service_of_the_host_is_never_told_to_apply_it_nor_sent_it(
    fleet: Fleet, denied: dict[str, Any]
) -> None:
    path = denied["path"]
    assert path in fleet.paths_for(SHOP)
    assert DENIED.encode() in fleet.given_to(SHOP)

    assert path not in fleet.paths_for(CART)
    assert DENIED.encode() not in fleet.given_to(CART)


def test_the_other_service_of_the_host_reports_none_of_it(fleet: Fleet, denied: dict[str, Any]) -> None:
    path = denied["path"]
    name = "ASM_DATA/" + path.split("/")[3]
    shop, cart = (fleet.taps[service].exchanges[-1] for service in (SHOP, CART))

    assert path in shop.caches
    assert shop.states[name] == (denied["version"], 2)
    for exchange in fleet.taps[CART].exchanges:
        assert path not in exchange.caches
        assert name not in exchange.states
    assert {state.split("/")[0] for state in cart.states} == {"ASM_FEATURES"}
    client = fleet.control_plane.api.client_of(CART)
    assert client is not None
    assert [each["product"] for each in client["configs"]] == ["ASM_FEATURES"]


def test_the_last_request_of_a_service_asked_anew_gets_nothing_of_another(
    fleet: Fleet, denied: dict[str, Any]
) -> None:
    """The real request of each tracer, as if it had nothing yet."""
    for service, mine in ((SHOP, True), (CART, False)):
        request = json.loads(fleet.taps[service].exchanges[-1].raw_request)
        request["client"]["state"].update(targets_version=0, config_states=[])
        request["cached_target_files"] = []
        request["client"]["id"] = f"another process of {service}"
        request["client"]["client_tracer"]["runtime_id"] = f"its runtime, {service}"

        answer = fleet.first.poll(request).expect(200)

        assert (denied["path"] in answer["client_configs"]) is mine
        assert (denied["path"] in {each["path"] for each in answer["target_files"]}) is mine


def test_the_second_agents_answer_holds_neither_path_nor_bytes(fleet: Fleet, denied: dict[str, Any]) -> None:
    theirs, _ = answer_of_control_plane(fleet, fleet.second)
    ours, _ = answer_of_control_plane(fleet, fleet.first)

    for word in (denied["path"], denied["config_ids"][0], DENIED):
        assert word.encode() in ours
        assert word.encode() not in theirs


def test_the_second_agents_disk_holds_neither_path_nor_bytes(fleet: Fleet, denied: dict[str, Any]) -> None:
    for word in (denied["path"], denied["config_ids"][0], DENIED):
        # A state that would hide such words would prove nothing: the first agent's has them.
        assert fleet.first.keeps(word.encode()), word
        assert fleet.second.keeps(word.encode()) == [], word


def test_a_change_for_one_agent_is_no_new_version_for_the_other(fleet: Fleet, denied: dict[str, Any]) -> None:
    before = fleet.second.status()["remote_configuration"]["versions"]["director"]
    polls_before = len(fleet.taps[MAIL].exchanges)

    more = fleet.control_plane.api.create("ASM_DATA", denied_ips("203.0.113.99"), service=SHOP)
    fleet.control_plane.api.wait_until_acknowledged(SHOP, more)
    fleet.apps[SHOP].wait_for_status(403, from_ip="203.0.113.99")
    fleet.taps[MAIL].wait_for_polls(2)

    assert fleet.second.status()["remote_configuration"]["versions"]["director"] == before
    assert all(each.says_nothing_new for each in fleet.taps[MAIL].exchanges[polls_before:])


def test_with_a_config_of_the_same_product_the_second_agent_still_learns_nothing_of_the_other(
    fleet: Fleet, denied: dict[str, Any]
) -> None:
    """Both agents hold files of one product; a role of the config repository lists one audience only."""
    api = fleet.control_plane.api
    api.wait_until_acknowledged(MAIL, api.create("ASM_DATA", denied_ips(OTHER), service=MAIL))
    fleet.apps[MAIL].wait_for_status(403, from_ip=OTHER)
    assert fleet.apps[MAIL].status(from_ip=DENIED) == 200
    assert fleet.apps[SHOP].status(from_ip=OTHER) == 200
    path = denied["path"].encode()

    raw, answer = answer_of_control_plane(fleet, fleet.second)

    assert answer.config_metas.delegatedTargets
    assert OTHER.encode() in raw
    assert DENIED.encode() not in raw
    assert path not in raw
    assert fleet.second.keeps(OTHER.encode())
    assert fleet.second.keeps(DENIED.encode()) == []
    assert fleet.second.keeps(path) == []
    assert path not in fleet.given_to(MAIL)
