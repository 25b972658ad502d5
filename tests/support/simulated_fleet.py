"""A fleet without applications: many agents, each with clients, that poll a real control plane.

Each agent verifies what it gets (``SimulatedAgent``) and its clients report it, so what the pages show is
what a real fleet of that size would have made them show. ``poll`` is one round; between rounds a test
changes what clients say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sealwire.clock import utc_now
from sealwire.wire import inventory
from sealwire.wire.codec import ApplyState
from tests.support import attacks, payloads
from tests.support.simulated_agent import Sightings, SimulatedAgent, tracer
from tests.support.stack import Api, ControlPlane

FAILING = "client-shop-failing"
FAILING_AGENT = "ip-10-2-7-9%3A11111111-2222-3333-4444-000000000012"  # as in an address
LANGUAGES = {
    "shop": ("python", "4.16.0"),
    "shop-worker": ("python", "4.13.1"),
    "checkout": ("java", "1.53.0"),
    "search": ("go", "2.11.0"),
    "storefront": ("node", "5.132.0"),
    "billing": ("dotnet", "3.30.0"),
}


@dataclass(frozen=True)
class Reply:
    """What the clients of an agent say of a product when it is not "acknowledged"."""

    states: Mapping[str, int]
    errors: Mapping[str, str]


WELL = Reply({}, {})
REFUSES_RULES = Reply({"ASM": ApplyState.ERROR}, {"ASM": "unknown operator match_regexx in rule acme-003"})
APPLIES = Reply({"ASM_DATA": ApplyState.UNACKNOWLEDGED}, {})


AGENT_SETTINGS = [
    inventory.Setting(
        name="apm_config.receiver_port", value="8126", source="env_var", origin="DD_APM_RECEIVER_PORT",
        hidden=[inventory.Layer("file", "8130", "/etc/datadog-agent/datadog.yaml")],
    ),
    inventory.Setting(
        name="api_key", value="(redacted)", source="file", origin="/etc/datadog-agent/datadog.yaml"
    ),
    inventory.Setting(
        name="remote_configuration.rc_dd_url", value="https://control-plane.example:8443", source="file",
        origin="/etc/datadog-agent/datadog.yaml",
    ),
    inventory.Setting(name="remote_configuration.enabled", value="true", source="default"),
    inventory.Setting(name="log_level", value="info", source="default"),
]  # fmt: skip


def service(name: str, **more: object) -> inventory.Service:
    """A service that sent a trace just now."""
    now_ms = int(time.time() * 1000)
    values = {"env": "prod", "language": "python", "tracer_version": "4.16.0", "traces": 1200, **more}
    return inventory.Service(service=name, first_seen_ms=now_ms - 60_000, seen_ms=now_ms, **values)  # type: ignore[arg-type]  # by name


class SimulatedFleet:
    """Agents of one organisation.

    Attributes:
        replies: Hostname -> what its clients say; everything is well where nothing stands.
        refusing: Hostname -> the error an agent reports, as it believes no answer any more.
    """

    def __init__(self, control_plane: ControlPlane, *, api_key: str | None = None) -> None:
        self._machine: Api = control_plane.machine(api_key or control_plane.api.new_api_key("fleet"))
        roots = control_plane.api.get("/roots")["repositories"]
        self._roots = (roots["director"]["first_root"].encode(), roots["config"]["first_root"].encode())
        self._sightings = Sightings()
        self.agents: dict[str, SimulatedAgent] = {}
        self.replies: dict[str, Reply] = {}
        self.refusing: dict[str, str] = {}

    def add(self, hostname: str, *, env: str = "prod", services: Iterable[str] = ("shop",)) -> SimulatedAgent:
        """An agent with one client per service."""
        number = len(self.agents)
        agent = SimulatedAgent(
            self._roots,
            hostname=hostname,
            agent_uuid=f"11111111-2222-3333-4444-{number:012d}",
            tags=(f"env:{env}", f"role:{'web' if number % 2 else 'batch'}", "sealwire_version:0.1.0"),
            sightings=self._sightings,
        )
        for service in services:
            language, version = LANGUAGES.get(service, ("python", "4.16.0"))
            client_id = f"client-{service}-{number:05d}"
            agent.clients[client_id] = tracer(
                client_id, service=service, env=env, language=language, tracer_version=version
            )
        self.agents[hostname] = agent
        return agent

    def poll(self, *hostnames: str) -> None:
        """One round: ask, believe, let the clients say what became of it."""
        for hostname in hostnames or tuple(self.agents):
            agent = self.agents[hostname]
            reply = self.replies.get(hostname, WELL)
            agent.error = self.refusing.get(hostname, "")
            answer = self._machine.request(
                "POST",
                "/api/v0.1/configurations",
                agent.request(),
                {"Content-Type": "application/x-protobuf"},
            )
            answer.expect(200)
            if agent.error:
                continue
            now = utc_now()
            agent.take(answer.body, now=now)
            agent.apply(now=now, states=reply.states, errors=reply.errors)

    def tell(self, hostname: str, *, machine: Api | None = None, **told: object) -> None:
        """Let an agent post what it is and sees; of a host without an agent there is nothing but that."""
        agent = self.agents.get(hostname)
        post = inventory.Inventory(
            **{
                "hostname": hostname,
                "agent_uuid": agent.agent_uuid if agent is not None else f"uuid of {hostname}",
                "version": "0.1.0",
                "wire_version": "7.80.0",
                "os": "Debian GNU/Linux 12 (bookworm)",
                "kernel": "Linux 6.1.0-28-amd64",
                "architecture": "x86_64",
                "python": "3.11.7",
                "uptime_s": 7 * 86400 + 5 * 3600,
                "settings": AGENT_SETTINGS,
                **told,
            }  # type: ignore[arg-type]  # each as its field says
        )
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        (machine or self._machine).request("POST", inventory.PATH, inventory.encode(post), headers).expect(
            200
        )

    def report(self, hostname: str) -> None:
        """Let an agent's clients make up their minds, and tell."""
        self.poll(hostname)
        self.poll(hostname)

    def settle(self) -> None:
        """Enough rounds that everybody has and has said everything."""
        for _ in range(3):
            self.poll()


def shop_fleet(control_plane: ControlPlane) -> SimulatedFleet:
    """A small fleet in which something of everything happens: the one all page tests look at."""
    fleet = SimulatedFleet(control_plane)
    api = control_plane.api
    everywhere = api.create("ASM_FEATURES", payloads.ON, name="App and API Protection on")
    api.create("APM_TRACING", payloads.tracing(tracing_sampling_rate=0.25), name="Sampling, everywhere")
    api.create(
        "APM_TRACING", payloads.tracing(tracing_sampling_rate=1.0, log_injection_enabled=True),
        name="Sampling, shop in prod", service="shop", env="prod",
    )  # fmt: skip
    api.create(
        "APM_TRACING", payloads.tracing(tracing_sampling_rate=0.1), name="Sampling, checkout",
        service="checkout", tracer_version=">=2.0",
    )  # fmt: skip
    denylist = api.create("ASM_DATA", payloads.denied_ips(), name="Denylist")
    for number in range(12):
        services = ("shop", "shop-worker") if number % 3 else ("checkout", "search", "storefront")
        fleet.add(f"ip-10-2-7-{number + 10}", env="staging" if number % 5 == 4 else "prod", services=services)
    failing = fleet.add("ip-10-2-7-9", services=())
    failing.clients[FAILING] = tracer(FAILING)
    fleet.replies["ip-10-2-7-9"] = REFUSES_RULES
    fleet.replies["ip-10-2-7-11"] = APPLIES
    fleet.settle()
    api.create("ASM", payloads.custom_rule("acme"), name="Custom rules", service="shop", env="prod")
    fleet.settle()
    api.change(denylist, payloads.denied_ips(payloads.DENIED, payloads.OTHER))
    fleet.settle()
    fleet.refusing["ip-10-2-7-18"] = "tuf: timestamp of the director repository expired"
    fleet.poll("ip-10-2-7-18")
    assert everywhere["state"] == "active"
    tell_inventories(fleet, control_plane)
    attacks.seed(control_plane)
    return fleet


def tell_inventories(fleet: SimulatedFleet, control_plane: ControlPlane) -> None:
    """What some agents tell: tracers' settings, services nobody configures, an agent that is switched off."""
    known = inventory.Known
    settings = {
        "DD_TRACE_SAMPLING_RULES": [
            known("remote_config", '[{"sample_rate": 1.0}]', 310), known("default", "", 28),
        ],
        "DD_LOGS_INJECTION": [
            known("remote_config", "true", 311), known("env_var", "false", 29), known("default", "true", 3),
        ],
        "DD_APPSEC_ENABLED": [known("remote_config", "1", 312), known("default", None, 30)],
        "DD_TAGS": [known("env_var", "team:core,region:eu", 32), known("default", "", 31)],
        "DD_TRACE_ENABLED": [known("default", "true", 33)],
        "DD_SERVICE": [known("env_var", "shop", 67), known("default", None, 66)],
        "DD_ENV": [known("local_stable_config", "prod", 69), known("default", None, 68)],
        "DD_TRACE_HEADER_TAGS": [known("code", "X-Request-Id:request", 70), known("default", "", 40)],
        "DD_DYNAMIC_INSTRUMENTATION_ENABLED": [known("default", "false", 71)],
        "DD_TRACE_FLASK_ENABLED": [known("default", "true", 100)],
        "DD_TRACE_REDIS_ENABLED": [known("default", "true", 101)],
    }  # fmt: skip
    runtime_id = f"runtime-{FAILING}"
    fleet.tell(
        "ip-10-2-7-9",
        services=[
            service("shop", client_seen=True, runtime_ids=[runtime_id]),
            service("mail", language="java", tracer_version="0.99.0", client_seen=False, traces=31),
            service("reports", client_seen=False, switched_off_by="env_var", traces=4),
        ],
        runtimes=[
            inventory.Runtime(
                runtime_id=runtime_id, service="shop", env="prod", language="python",
                tracer_version="4.16.0", seen_ms=int(time.time() * 1000), settings=settings,
            )
        ],
        dropped={"too_busy": 12},
    )  # fmt: skip
    off = inventory.RemoteConfig(
        enabled=False, is_on=False, reason="switched off: remote_configuration.enabled is false"
    )
    fleet.tell("ip-10-2-7-40", remote_config=off, services=[service("batch")])
    without = control_plane.api.new_api_key("collectors", remote_config=False)
    fleet.tell("ip-10-2-7-41", machine=control_plane.machine(without), services=[service("collector")])
