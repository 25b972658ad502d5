"""What 20,000 datagrams of DogStatsD a second cost our agent: every fourth of them is of a probe."""

from __future__ import annotations

import argparse
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.harness import cpu_seconds, keep, print_table, verdict
from sealwire.wire.dogstatsd import PREFIX
from tests.support.processes import wait_until
from tests.support.stack import Agent, Api, ControlPlane

RATE = 20_000
OF_PROBES = 4  # one in so many
GOAL_CPU_PERCENT = 50.0  # what reading may take at all
ROUND_S = 0.005


def run(*, seconds: float) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as name:
        folder = Path(name)
        plane = ControlPlane(folder / "plane")
        try:
            probe_id = _probe(plane)
            agent = Agent(folder / "agent", plane)
            try:
                cpu, wall, sent, values = _measure(agent, probe_id, seconds)
                arrived = _arrived(plane, probe_id, values)
                dropped = _status(agent)["dropped"]
            finally:
                agent.stop()
                agent.socket_folder.cleanup()
        finally:
            plane.stop()
    percent = cpu / wall * 100
    rows = [
        ("datagrams sent a second", sent / wall, ">", RATE * 0.95),
        ("CPU of the agent, % of a core", percent, "<", GOAL_CPU_PERCENT),
        ("values of probes that arrived, %", arrived / values * 100, ">", 99.0),
    ]
    held = [value > goal if sign == ">" else value < goal for _, value, sign, goal in rows]
    print_table(
        f"Our agent under {RATE} datagrams a second, one in {OF_PROBES} of a probe, for {wall:.0f} s",
        ["", "measured", "goal", "held"],
        [
            [what, f"{value:.2f}", f"{sign} {goal:g}", verdict(is_held)]
            for (what, value, sign, goal), is_held in zip(rows, held, strict=True)
        ],
    )
    kept: dict[str, object] = {
        "rows": [
            {"row": what, "measured": round(value, 3), "goal": goal, "held": is_held}
            for (what, value, _, goal), is_held in zip(rows, held, strict=True)
        ],
        "dropped": dropped,
        "seconds": round(wall, 1),
    }
    keep("dogstatsd", kept)
    return kept


def _probe(plane: ControlPlane) -> str:
    document = {
        "kind": "metric", "language": "python", "where": {"type": "shop", "method": "sell"},
        "metric": {"name": "shop.duration", "kind": "distribution", "value": "@duration"},
    }  # fmt: skip
    fields = {"name": "bench", "service": "shop", "env": ["prod"], "document": document}
    return str(plane.api.post("/debugger/probes", fields)["id"])


def _measure(agent: Agent, probe_id: str, seconds: float) -> tuple[float, float, int, int]:
    mine = [
        PREFIX + f"shop.duration:{n % 97}.5|d|#debugger.probeid:{probe_id},env:prod,pod:{n % 50}".encode()
        for n in range(1_000)
    ]
    others = [f"page.views:{n}|c|#env:prod,page:{n % 70}".encode() for n in range(1_000)]
    pid = agent.program.pid
    sent = values = 0
    with socket.socket(type=socket.SOCK_DGRAM) as app:
        app.connect(("127.0.0.1", agent.dogstatsd_port))
        cpu, started = cpu_seconds(pid), time.monotonic()
        while (passed := time.monotonic() - started) < seconds:
            while sent < passed * RATE:
                is_mine = sent % OF_PROBES == 0
                app.send((mine if is_mine else others)[sent % 1_000])
                sent += 1
                values += is_mine
            time.sleep(ROUND_S)
        return cpu_seconds(pid) - cpu, time.monotonic() - started, sent, values


def _arrived(plane: ControlPlane, probe_id: str, values: int) -> int:
    """How many values are there, once no more come."""

    def count() -> int:
        found = plane.api.get(f"/debugger/probes/{probe_id}/metrics")
        return sum(point["count"] for line in found["lines"] for point in line["points"])

    before = [-1]

    def settled() -> Any:
        now = count()
        is_settled = now >= values or now == before[0]
        before[0] = now
        return [now] if is_settled else None

    return int(wait_until(settled, "every value arrived", every_s=5)[0])


def _status(agent: Agent) -> Any:
    return Api(f"http://127.0.0.1:{agent.port}").request("GET", "/sealwire/v1/status").document["probes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    run(seconds=parser.parse_args().seconds)


if __name__ == "__main__":
    main()
