"""What our agent costs on a host where nothing happens: 20 local clients, each asking every 5 seconds."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bench.fleet import denylist
from bench.harness import cpu_seconds, keep, print_table, rss_mib, verdict
from bench.latency import Asker
from tests.support.stack import Agent, ControlPlane
from tests.support.tracers import FakeTracer

CLIENTS = 20
POLLS_EVERY_S = 5.0
GOAL_CPU_PERCENT = 1.0
GOAL_RSS_MIB = 70.0


def run(*, seconds: float) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as name:
        folder = Path(name)
        plane = ControlPlane(folder / "plane")
        try:
            for number in range(CLIENTS):
                plane.api.create("ASM_DATA", denylist(number * 10, 3), service=[f"service-{number}"])
            agent = Agent(folder / "agent", plane)
            try:
                cpu, wall, rss = _measure(agent, seconds)
            finally:
                agent.stop()
                agent.socket_folder.cleanup()
        finally:
            plane.stop()
    percent = cpu / wall * 100
    rows = [
        ("CPU, % of a core", percent, GOAL_CPU_PERCENT),
        ("resident memory, MiB", rss, GOAL_RSS_MIB),
    ]
    print_table(
        f"Our agent with {CLIENTS} clients, one poll each {POLLS_EVERY_S:g} s, for {wall:.0f} s",
        ["", "measured", "goal", "held"],
        [[what, f"{value:.2f}", f"< {goal:g}", verdict(value < goal)] for what, value, goal in rows],
    )
    kept: dict[str, object] = {
        "rows": [
            {"row": what, "measured": round(value, 3), "goal": goal, "held": value < goal}
            for what, value, goal in rows
        ],
        "clients": CLIENTS,
        "seconds": round(wall, 1),
    }
    keep("agent_idle", kept)
    return kept


def _measure(agent: Agent, seconds: float) -> tuple[float, float, float]:
    askers = [
        Asker(agent, FakeTracer(client_id=f"client-{number}", service=f"service-{number}"))
        for number in range(CLIENTS)
    ]
    for asker in askers:
        asker.until(lambda tracer: len(tracer.files) == 1)
    for asker in askers:
        asker.ask()  # reports what it applied
    time.sleep(2)  # the agent passes those reports on
    pid = agent.program.pid
    cpu, started = cpu_seconds(pid), time.monotonic()
    turn = 0
    while time.monotonic() - started < seconds:
        asker = askers[turn % CLIENTS]
        turn += 1
        time.sleep(max(0.0, started + turn * POLLS_EVERY_S / CLIENTS - time.monotonic()))
        if asker.ask():
            raise RuntimeError("nothing was to change while the idle agent is measured")
    cpu, wall = cpu_seconds(pid) - cpu, time.monotonic() - started
    rss = rss_mib(pid)
    for asker in askers:
        asker.close()
    return cpu, wall, rss


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=61)
    run(seconds=parser.parse_args().seconds)


if __name__ == "__main__":
    main()
