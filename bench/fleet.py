"""A fleet of Go Agents as the control plane sees it: many distinct agents with distinct clients behind them.

Each agent is enrolled by a real first poll, then holds what it was given: its echo, versions and its clients'
apply states. The requests written for the load generator are those of a Go Agent in a steady state: from one
poll to the next every client's ``last_seen`` moves on, and clients and products come in another order (they
come out of Go maps).
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sealwire.wire import capabilities
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.stack import AdminApi, ControlPlane

PRODUCTS = ("ASM", "ASM_DATA", "ASM_DD", "ASM_FEATURES", "APM_TRACING", "AGENT_CONFIG", "AGENT_TASK")
TRACER_PRODUCTS = ("ASM_FEATURES", "ASM_DATA", "ASM", "APM_TRACING")
VARIANTS = 8  # requests of each agent, taken in turn


@dataclass
class Agent:
    """One agent: the request it sends when nothing is new, and the answer it last got."""

    request: pb.LatestConfigsRequest
    config_ids: Sequence[tuple[str, str, int]] = ()  # product, id, version of each file its clients hold
    answer: bytes = b""
    last_seen_ms: int = field(default_factory=lambda: int(time.time() * 1000))

    def next_request(self, shuffle: random.Random) -> bytes:
        """The next poll of the same agent with nothing new to say."""
        self.last_seen_ms += 5_000
        request = pb.LatestConfigsRequest()
        request.CopyFrom(self.request)
        clients = list(self.request.active_clients)
        products = list(self.request.products)
        shuffle.shuffle(clients)
        shuffle.shuffle(products)
        del request.active_clients[:]
        del request.products[:]
        request.products.extend(products)
        for number, client in enumerate(clients):
            added = request.active_clients.add()
            added.CopyFrom(client)
            added.last_seen = self.last_seen_ms + 7 * number
        return request.SerializeToString()


def make_configs(api: AdminApi, *, services: int = 20, bulk_files: int = 12) -> None:
    """A hundred configs over some services, and a service whose files come to some 50 kB."""
    for number in range(services):
        service = [f"service-{number:02d}"]
        api.create("ASM_FEATURES", {"asm": {"enabled": True}}, service=service)
        for part in range(4):
            api.create("ASM_DATA", denylist(number * 100 + part * 10, 3), service=service)
    for number in range(bulk_files):
        api.create("ASM_DATA", denylist(10_000 + number * 1000, 110), service=["bulk"])


def denylist(first: int, size: int) -> dict[str, object]:
    """A payload of ``size`` addresses."""
    entries = [{"value": f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"} for n in range(first, first + size)]
    return {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": entries}]}


def enrol(
    plane: ControlPlane,
    api_key: str,
    *,
    agents: int,
    clients: int,
    label: str,
    services: Sequence[str] = tuple(f"service-{number:02d}" for number in range(20)),
) -> list[Agent]:
    """Let agents make their first two polls; returned as they are once settled."""
    fleet = [Agent(_first_request(number, clients, label, services)) for number in range(agents)]
    connection = Connection(plane, api_key)
    for agent in fleet:
        agent.answer = connection.poll(agent.request.SerializeToString())
    for agent in fleet:  # now that every agent's view is published
        agent.answer = connection.poll(agent.request.SerializeToString())
        _take_in(agent)
    for agent in fleet:
        agent.answer = connection.poll(agent.request.SerializeToString())
    connection.close()
    return fleet


class Connection:
    """A kept connection that polls."""

    def __init__(self, plane: ControlPlane, api_key: str) -> None:
        parts = urlsplit(plane.url)
        host, port = parts.hostname or "", parts.port
        self._connection: http.client.HTTPConnection
        if plane.ca_file is None:
            self._connection = http.client.HTTPConnection(host, port, timeout=30)
        else:
            context = ssl.create_default_context(cafile=str(plane.ca_file))
            self._connection = http.client.HTTPSConnection(host, port, timeout=30, context=context)
        self._headers = {"DD-Api-Key": api_key, "Content-Type": "application/x-protobuf"}

    def poll(self, body: bytes) -> bytes:
        """The answer, which must be 200."""
        self._connection.request("POST", "/api/v0.1/configurations", body, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {answer[:300]!r}")
        return answer

    def close(self) -> None:
        self._connection.close()


def write_requests(file: Path, fleet: Sequence[Agent], api_key: str, *, seed: int = 1) -> int:
    """Write some polls of each agent for the load generator; returns the median size of a body."""
    shuffle = random.Random(seed)
    sizes = []
    with file.open("wb") as stream:
        for _ in range(VARIANTS):
            for agent in fleet:
                body = agent.next_request(shuffle)
                sizes.append(len(body))
                request = (
                    b"POST /api/v0.1/configurations HTTP/1.1\r\nHost: localhost\r\n"
                    b"User-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\nDD-Api-Key: %s\r\n"
                    b"Content-Type: application/x-protobuf\r\nAccept-Encoding: gzip\r\n\r\n%s"
                    % (len(body), api_key.encode(), body)
                )
                stream.write(b"%010d%s" % (len(request), request))
    return sorted(sizes)[len(sizes) // 2]


def _first_request(number: int, clients: int, label: str, services: Sequence[str]) -> pb.LatestConfigsRequest:
    request = pb.LatestConfigsRequest(
        hostname=f"{label}-{number:05d}.hosts.example",
        agentVersion="7.80.0",
        products=PRODUCTS,
        current_director_root_version=1,
        current_config_root_version=1,
        trace_agent_env="prod",
        tags=[f"region:eu-{number % 3}", "team:payments", f"availability-zone:eu-{number % 3}-b"],
        agent_uuid=f"{number:08x}-0000-4000-8000-{abs(hash(label)) & 0xFFFFFFFFFFFF:012x}",
    )
    for at in range(clients):
        service = services[(number + at) % len(services)]
        client = request.active_clients.add(
            id=f"{label}{number:05d}c{at:02d}x0123456789"[:21],
            products=TRACER_PRODUCTS,
            is_tracer=True,
            capabilities=capabilities.encode([1, 2, 3, 4, 5, 12, 13, 14, 19, 45]),
        )
        client.state.root_version = 1
        tracer = client.client_tracer
        tracer.runtime_id = f"{number:08x}-{at:04x}-4000-9000-0123456789ab"
        tracer.language = ("python", "node", "java", "go")[at % 4]
        tracer.tracer_version = "4.16.0"
        tracer.service, tracer.env, tracer.app_version = service, "prod", "1.2.3"
        tracer.tags.extend([f"host:{label}-{number:05d}", "version:1.2.3"])
    return request


def _take_in(agent: Agent) -> None:
    """Hold what the answer gave, as a real agent and its clients would."""
    answer = pb.LatestConfigsResponse.FromString(agent.answer)
    signed = json.loads(answer.director_metas.targets.raw)["signed"]
    echo = base64.b64decode(signed["custom"]["opaque_backend_state"])
    request = agent.request
    request.backend_client_state = echo
    request.current_config_snapshot_version = answer.config_metas.snapshot.version
    request.current_director_root_version = max([1, *(root.version for root in answer.director_metas.roots)])
    request.current_config_root_version = max([1, *(root.version for root in answer.config_metas.roots)])
    files = []
    for path, target in signed["targets"].items():
        _, _, product, config_id, _ = path.split("/")
        predicates = target["custom"].get("tracer-predicates", {}).get("tracer_predicates_v1", [])
        files.append((product, config_id, target["custom"]["v"], predicates))
    for client in request.active_clients:
        client.state.targets_version = signed["version"]
        client.state.backend_client_state = echo
        for product, config_id, version, predicates in files:
            if predicates and not any(_selects(predicate, client) for predicate in predicates):
                continue
            client.state.config_states.add(id=config_id, version=version, product=product, apply_state=2)


def _selects(predicate: dict[str, str], client: pb.Client) -> bool:
    tracer = client.client_tracer
    said = {"clientID": client.id, "service": tracer.service, "environment": tracer.env}
    said |= {"language": tracer.language, "appVersion": tracer.app_version}
    return all(said[name] == value for name, value in predicate.items() if value)
