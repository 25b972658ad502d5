"""From a committed change to an answer that carries it, signed: with 1,000 and 10,000 configs.

Two ways: ``Publisher.reconcile`` alone, in this process; and through the shipped server, from the moment a
change is sent to the admin API to the moment a held poll of an agent it concerns is answered. 100 agents
with three clients each are there all the time.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import os
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from bench.fleet import Agent, denylist, enrol
from bench.harness import SERVER_CPU, keep, percentile, pin, print_table, verdict
from sealwire.clock import utc_now
from sealwire.server.control_plane import ControlPlane as ServerParts
from sealwire.server.distribute import client_facts
from sealwire.server.publish import Demand
from sealwire.server.settings import load as load_settings
from sealwire.server.store import read, rows, write
from sealwire.server.views import AgentFacts
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.stack import ControlPlane

AGENTS = 100
SERVICES = 200
GOALS_MS = {1_000: 50, 10_000: 250}


@dataclass
class Timing:
    """Milliseconds, one a change."""

    what: str
    configs: int
    ms: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.ms)


def run(*, changes: int) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    timings: list[Timing] = []
    server_cpus = os.sched_getaffinity(0)
    for size in GOALS_MS:
        with tempfile.TemporaryDirectory(prefix="sw-bench-") as name:
            folder = Path(name)
            plane = ControlPlane(folder, settings={"plain_http_sends_api_keys_unencrypted": "true"})
            try:
                plane.stop()
                chosen = _fill(plane, size)
                timings.append(_alone(plane, size, chosen, changes))
                plane.start()
                timings += _through_the_server(plane, size, chosen, changes)
            finally:
                plane.stop()
    os.sched_setaffinity(0, server_cpus)
    lines, figures = [], []
    for timing in timings:
        goal = GOALS_MS[timing.configs]
        judged = not timing.what.startswith("answer to the author")
        held = timing.median < goal
        lines.append(
            [
                timing.what,
                f"{timing.configs:,}",
                *(f"{ms:.1f}" for ms in (timing.median, percentile(timing.ms, 0.9), max(timing.ms))),
                f"{goal}" if judged else "",
                verdict(held) if judged else "",
            ]
        )
        figures.append(
            {
                "row": timing.what,
                "configs": timing.configs,
                "median_ms": round(timing.median, 2),
                "p90_ms": round(percentile(timing.ms, 0.9), 2),
                "max_ms": round(max(timing.ms), 2),
                "goal_ms": goal if judged else None,
                "held": held if judged else None,
            }
        )
    print_table(
        f"One change published, {changes} times, {AGENTS} agents with 3 clients each (ms)",
        ["", "configs", "median", "p90", "max", "goal", "held"],
        lines,
    )
    kept = {"rows": figures, "agents": AGENTS, "changes": changes}
    keep("publish", kept)
    return kept


def _parts(plane: ControlPlane) -> ServerParts:
    overrides = {
        "data_dir": plane.data_dir,
        "config_dir": plane.config_dir,
        "plain_http_sends_api_keys_unencrypted": "true",
    }
    return ServerParts(load_settings(overrides, {}))


def _fill(plane: ControlPlane, size: int) -> list[str]:
    """Put configs into the stopped control plane's database; returns those that will be changed."""
    parts = _parts(plane)
    (tenant,) = parts.tenants.values()
    org_id = tenant.organisation.org_id
    now_ms = int(time.time() * 1000)
    chosen = []
    with parts.database.write() as c:
        domain = write.lock_domain(c, org_id)
        for number in range(size):
            kind = number // SERVICES % 10
            product, payload = "ASM_DATA", denylist(number * 10, 3)
            if kind == 8:
                product, payload = "ASM_FEATURES", {"asm": {"enabled": True}}
            elif kind == 9:
                product, payload = "APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.5}}
            config_id = secrets.token_hex(8)
            if number < 50:
                chosen.append(config_id)
            row = rows.ConfigRow(
                org_id=org_id,
                config_id=config_id,
                product=product,
                name=f"config {number}",
                targeting={"service": [f"service-{number % SERVICES:02d}"]},
                payload=orjson.dumps(payload, option=orjson.OPT_SORT_KEYS),
                revision=1,
                state="active",
                created_ms=now_ms,
                updated_ms=now_ms,
                updated_by="bench",
                comment="",
                expires_ms=None,
                generation=domain.generation + 1,
            )
            write.put_config(c, row, expected_revision=None)
        write.set_domain(c, org_id, generation=domain.generation + 1)
    parts.database.close()
    return chosen


def _alone(plane: ControlPlane, size: int, chosen: Sequence[str], changes: int) -> Timing:
    """Commit a change with the author, then time the reconciliation that publishes it."""
    parts = _parts(plane)
    (tenant,) = parts.tenants.values()
    publisher = tenant.publisher
    demands = [_demand(number) for number in range(AGENTS)]
    publisher.reconcile(demands, now=utc_now())
    took = []
    for number in range(changes):
        config_id = chosen[number % len(chosen)]
        with parts.database.read() as c:
            row = read.config(c, tenant.organisation.org_id, config_id)
        assert row is not None
        tenant.author.change(
            config_id,
            expected_revision=row.revision,
            fields={"payload": denylist(5_000_000 + number * 10, 3)},
            by="bench",
            now=utc_now(),
        )
        before = publisher.config_version
        started = time.perf_counter()
        publisher.reconcile(demands, now=utc_now())
        took.append((time.perf_counter() - started) * 1000)
        assert publisher.config_version == before + 1
    parts.database.close()
    return Timing("reconcile alone", size, took)


def _demand(number: int) -> Demand:
    services = [f"service-{at:02d}" for at in range(SERVICES)]
    clients = []
    tags = frozenset({"team:payments"})
    for at in range(3):
        client = pb.Client(
            id=f"client-{number:05d}-{at}",
            is_tracer=True,
            products=["ASM_FEATURES", "ASM_DATA", "ASM", "APM_TRACING"],
        )
        client.client_tracer.service = services[(number + at) % SERVICES]
        client.client_tracer.env, client.client_tracer.language = "prod", "python"
        facts = client_facts(client, tags)
        assert facts is not None
        clients.append(facts)
    return Demand(AgentFacts(f"host-{number}", tags, tuple(clients)), {})


def _through_the_server(plane: ControlPlane, size: int, chosen: Sequence[str], changes: int) -> list[Timing]:
    services = tuple(f"service-{at:02d}" for at in range(SERVICES))
    key = plane.api.new_api_key("bench")
    fleet = enrol(plane, key, agents=AGENTS, clients=3, label="publish", services=services)
    pin(plane.program.pid, SERVER_CPU)
    watcher = Watcher(plane, key, fleet[0])
    answered, seen = [], []
    for number in range(changes):
        config = plane.api.get(f"/configs/{chosen[0]}")
        watcher.hold()
        started = time.perf_counter()
        plane.api.change(config, denylist(6_000_000 + number * 10, 3))
        answered.append((time.perf_counter() - started) * 1000)
        seen.append((watcher.woken() - started) * 1000)
    watcher.close()
    return [
        Timing("answer to the author, server", size, answered),
        Timing("sent to a held poll answered, server", size, seen),
    ]


class Watcher:
    """An agent with a held poll, on a thread."""

    def __init__(self, plane: ControlPlane, api_key: str, agent: Agent) -> None:
        parts = urlsplit(plane.url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        self._headers = {"DD-Api-Key": api_key, "Sealwire-Wait": "20"}
        self._agent = agent
        self._thread: threading.Thread | None = None
        self._answer = b""
        self._at = 0.0

    def hold(self) -> None:
        """Poll and wait; returns once the control plane holds the poll."""
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()
        time.sleep(0.15)  # there is no sign that a poll is held; this is not part of the figure

    def _poll(self) -> None:
        body = self._agent.request.SerializeToString()
        self._connection.request("POST", "/api/v0.1/configurations", body, self._headers)
        response = self._connection.getresponse()
        self._answer = response.read()
        self._at = time.perf_counter()

    def woken(self) -> float:
        """When the answer was there; the agent takes it in."""
        assert self._thread is not None
        self._thread.join(timeout=30)
        answer = pb.LatestConfigsResponse.FromString(self._answer)
        assert answer.target_files, "the held poll was answered with nothing new"
        request = self._agent.request
        signed = orjson.loads(answer.director_metas.targets.raw)["signed"]
        request.backend_client_state = base64.b64decode(signed["custom"]["opaque_backend_state"])
        request.current_config_snapshot_version = answer.config_metas.snapshot.version
        return self._at

    def close(self) -> None:
        self._connection.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=20)
    run(changes=parser.parse_args().changes)


if __name__ == "__main__":
    main()
