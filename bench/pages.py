"""The pages over a large fleet: 2,000 agents and 10,000 tracers that poll, and people who look.

The fleet is `sealwire simulate`; agents hold their questions open, a few tracers change each minute and now
and then somebody publishes. Times are of one kept connection under TLS, to the last byte, as medians; the
floor beside them is the sign-in page, which shows nothing of the fleet, in the same run. A first look comes
after ten seconds in which nobody looked, a next one at once after it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.harness import cpu_seconds, keep, print_table, rss_mib, verdict
from tests.support import payloads
from tests.support.stack import ControlPlane

AGENTS, CLIENTS = 2_000, 5
VIEWERS = 5
GOAL_PAGE_MS = 150.0
GOAL_EVENTS_PER_S = 1.0
GOAL_CORES = 0.5
PAGES = {
    "fleet, tracers": "/fleet",
    "fleet, filtered": "/fleet?q=service:shop+env:prod&sort=-seen",
    "fleet, agents": "/fleet?tab=agents",
    "home": "/",
    "configs": "/configs",
}
FLOOR = "/sign-in"


class Person:
    """Somebody with one kept connection."""

    def __init__(self, plane: ControlPlane) -> None:
        address = urlsplit(plane.url)
        context = ssl.create_default_context(cafile=str(plane.ca_file))
        self._connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, context=context, timeout=60
        )
        self._headers = {"DD-Application-Key": plane.application_key, "Accept": "text/html"}

    def took_ms(self, path: str) -> float:
        """Ask for a page; how long until its last byte."""
        started = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
        took = (time.perf_counter() - started) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}")
        return took

    def watch(self, path: str, times: list[float], stop: threading.Event) -> None:
        """Follow a live screen and note when something came."""
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}")
        while not stop.is_set():
            line = answer.readline()
            if not line:
                return
            if line == b"\n":  # the end of a message
                times.append(time.monotonic())


def run(*, seconds: float, rounds: int) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as name:
        plane = ControlPlane(Path(name) / "plane")
        fleet: subprocess.Popen[bytes] | None = None
        try:
            _some_configs(plane)
            fleet = _start_fleet(plane)
            return _measure(plane, seconds, rounds)
        finally:
            if fleet is not None:
                fleet.terminate()
                fleet.wait()
            plane.stop()


def _some_configs(plane: ControlPlane) -> None:
    plane.api.create("ASM_FEATURES", payloads.ON, name="Protection on")
    plane.api.create("ASM_DATA", payloads.denied_ips(), name="Denylist")
    plane.api.create("APM_TRACING", payloads.tracing(tracing_sampling_rate=0.25), name="Sampling")
    plane.api.create(
        "APM_TRACING", payloads.tracing(tracing_sampling_rate=1.0), name="Shop", service="shop", env="prod"
    )


def _start_fleet(plane: ControlPlane) -> subprocess.Popen[bytes]:
    roots = plane.api.get("/roots")["repositories"]
    plan = {
        "url": plane.url,
        "api_key": plane.api.new_api_key("fleet"),
        "ca_pem": Path(str(plane.ca_file)).read_text(),
        "director_root": roots["director"]["first_root"],
        "config_root": roots["config"]["first_root"],
        "agents": AGENTS,
        "clients": CLIENTS,
        "failing": 0.02,
        "changing": 0.05,
        "seed": 1,
    }
    fleet = subprocess.Popen(
        [sys.executable, "-m", "sealwire.demo.fleet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    if fleet.stdin is None or fleet.stdout is None:
        raise RuntimeError("the fleet has no pipes")
    fleet.stdin.write(json.dumps(plan).encode() + b"\n")
    fleet.stdin.close()
    deadline = time.monotonic() + 300
    for line in fleet.stdout:
        if json.loads(line)["connected"] >= AGENTS:
            break
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all agents connected: {line.decode()}")
    pipe = fleet.stdout
    threading.Thread(target=lambda: [None for _ in pipe], daemon=True).start()
    time.sleep(30)  # every tracer has reported what it applied
    return fleet


def _measure(plane: ControlPlane, seconds: float, rounds: int) -> dict[str, object]:
    pid = plane.program.pid
    person = Person(plane)
    first: dict[str, list[float]] = {name: [] for name in PAGES}
    after: dict[str, list[float]] = {name: [] for name in PAGES}
    floor: list[float] = []
    for _ in range(rounds):
        for name, path in PAGES.items():
            time.sleep(10 / len(PAGES))
            first[name].append(person.took_ms(path))
            after[name].append(person.took_ms(path))
            floor.append(person.took_ms(FLOOR))
    floor_ms = statistics.median(floor)
    idle, _ = _watched(plane, pid, seconds, viewers=0)
    watched, events_per_s = _watched(plane, pid, seconds, viewers=VIEWERS)
    rss = rss_mib(pid)
    rows: list[dict[str, object]] = []
    for name in PAGES:
        for words, samples in ((f"{name}, first look", first[name]), (f"{name}, next look", after[name])):
            value = statistics.median(samples)
            rows.append(
                {
                    "row": words, "measured": round(value, 1), "unit": "ms", "worst": round(max(samples), 1),
                    "floor_ratio": round(value / floor_ms, 2), "goal": GOAL_PAGE_MS,
                    "held": value < GOAL_PAGE_MS,
                }
            )  # fmt: skip
    rows.append(_row("live updates per viewer and second", events_per_s, "1/s", GOAL_EVENTS_PER_S))
    rows.append(_row("server, nobody watching", idle, "cores", GOAL_CORES))
    rows.append(_row(f"server, {VIEWERS} people watching", watched, "cores", GOAL_CORES))
    print_table(
        f"Pages over {AGENTS:,} agents and {AGENTS * CLIENTS:,} tracers (floor: a page without them, "
        f"{floor_ms:.1f} ms; server {rss:.0f} MiB)",
        ["", "median", "worst", "to floor", "goal", "held"],
        [
            [
                str(row["row"]), f"{row['measured']} {row['unit']}", str(row.get("worst", "")),
                str(row.get("floor_ratio", "")), f"< {row['goal']}", verdict(bool(row["held"])),
            ]
            for row in rows
        ],
    )  # fmt: skip
    kept: dict[str, object] = {"rows": rows, "floor_ms": round(floor_ms, 2), "rss_mib": round(rss)}
    keep("pages", kept)
    return kept


def _row(words: str, value: float, unit: str, goal: float) -> dict[str, object]:
    return {"row": words, "measured": round(value, 3), "unit": unit, "goal": goal, "held": value < goal}


def _watched(plane: ControlPlane, pid: int, seconds: float, *, viewers: int) -> tuple[float, float]:
    """Cores the server used, and messages per viewer and second, with a publish now and then."""
    stop = threading.Event()
    times: list[list[float]] = [[] for _ in range(viewers)]
    for place in range(viewers):
        path = "/live/fleet" if place % 2 == 0 else "/live/home"
        threading.Thread(target=Person(plane).watch, args=(path, times[place], stop), daemon=True).start()
    time.sleep(2)
    cpu, started = cpu_seconds(pid), time.monotonic()
    while time.monotonic() - started < seconds:
        time.sleep(min(10.0, seconds))
        plane.api.create("ASM_DATA", payloads.denied_ips(payloads.OTHER), service=["shop"], env=["dev"])
    wall = time.monotonic() - started
    cores = (cpu_seconds(pid) - cpu) / wall
    stop.set()
    counts = [sum(at >= started for at in one) / wall for one in times]
    return cores, max(counts, default=0.0)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    run(seconds=arguments.seconds, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
