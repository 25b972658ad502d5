"""From a saved change to an unmodified tracer: when it acts, and when its acknowledgement is known.

The shipped server and agent, and a Flask application under the newest ddtrace. A tracer takes a change with
its next poll and says so with the one after, so its own interval counts once until it acts and once more
until that is known: the second goal is out of reach of any agent for as long as tracers report like that, and
is measured all the same.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

from bench.harness import keep, print_table, verdict
from tests.support.clients import FlaskApp
from tests.support.stack import Agent, ControlPlane

INTERVAL_S = 1.0
OURS_S = 0.5


def run(*, changes: int) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as name:
        folder = Path(name)
        with ControlPlane(folder / "plane") as plane, Agent(folder / "agent", plane) as agent:
            app = FlaskApp(agent_url=agent.url, log_folder=folder, poll_s=INTERVAL_S)
            try:
                acts, known = _measure(plane, app, changes)
            finally:
                app.stop()
    rows = [
        ("saved -> the application blocks", acts, INTERVAL_S + OURS_S),
        ("saved -> acknowledged, as the control plane knows it", known, INTERVAL_S + OURS_S),
    ]
    print_table(
        f"An unmodified ddtrace that polls each {INTERVAL_S:g} s (ms)",
        ["", "times", "p50", "max", "goal", "held"],
        [
            [
                what,
                len(taken),
                f"{statistics.median(taken) * 1000:.0f}",
                f"{max(taken) * 1000:.0f}",
                f"max < {goal * 1000:.0f}",
                verdict(max(taken) < goal),
            ]
            for what, taken, goal in rows
        ],
    )
    kept: dict[str, object] = {
        "interval_s": INTERVAL_S,
        "rows": [
            {
                "row": what,
                "times": len(taken),
                "p50_ms": round(statistics.median(taken) * 1000, 1),
                "max_ms": round(max(taken) * 1000, 1),
                "goal_ms": goal * 1000,
                "held": max(taken) < goal,
            }
            for what, taken, goal in rows
        ],
    }
    keep("acknowledged", kept)
    return kept


def _measure(plane: ControlPlane, app: FlaskApp, changes: int) -> tuple[list[float], list[float]]:
    chance = random.Random(1)
    plane.api.wait_until_acknowledged(
        "shop", plane.api.create("ASM_FEATURES", {"asm": {"enabled": True}}, service="shop")
    )
    acts, known = [], []
    config = plane.api.create("ASM_DATA", _denied("203.0.113.250"), service="shop")
    plane.api.wait_until_acknowledged("shop", config)
    for number in range(changes):
        time.sleep(chance.uniform(0.5, 1.5))  # any moment between two polls
        address = f"203.0.113.{number}"
        began = time.monotonic()
        config = plane.api.change(config, _denied(address))
        while app.status(from_ip=address) != 403:
            time.sleep(0.01)
        acts.append(time.monotonic() - began)
        known.append(_took(plane, config))
    return acts, known


def _took(plane: ControlPlane, config: dict[str, object]) -> float:
    while True:
        for client in plane.api.clients():
            for delivery in client["configs"]:
                if (
                    config["id"] in delivery["config_ids"]
                    and delivery["version"] == config["revision"]
                    and delivery["acknowledged_at"]
                ):
                    took: float = delivery["took_s"]
                    return took
        time.sleep(0.05)


def _denied(address: str) -> dict[str, object]:
    data = [{"value": address}]
    return {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": data}]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=30)
    run(changes=parser.parse_args().changes)
