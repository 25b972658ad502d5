"""Snapshots from twenty processes at once: how many are kept, what that costs, whether a page stays live.

Real messages of ddtrace, each with an id and a time of its own, sent as tracers send them: a body a second
from each of twenty processes, each with a probe of its own. Once straight to the control plane, once through
a real agent. All the while somebody looks at the live page of a probe.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import ssl
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from bench.flood import cpu_seconds
from bench.harness import keep, percentile, print_table, rss_mib, verdict
from tests.support.messages import body, message
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane

GOAL_CPU_PERCENT = 60.0
GOAL_KEPT_PER_S = 500
GOAL_OPEN_MS = 200.0
PROCESSES = 20
NODES = 5_000
RECORDED = Path(__file__).parents[1] / "tests" / "vectors" / "debugger" / "ddtrace_4.16_messages.json"
LOG = {
    "kind": "log", "language": "python", "template": "data={data} total={total}", "snapshot": True,
    "per_second": 100,
}  # fmt: skip


class Door(NamedTuple):
    """Where a process sends to."""

    url: str
    path: str
    headers: dict[str, str]
    ca_file: str = ""

    def connect(self) -> http.client.HTTPConnection:
        place = urlsplit(self.url)
        host, port = place.hostname or "", place.port
        if place.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca_file)
            return http.client.HTTPSConnection(host, port, timeout=30, context=context)
        return http.client.HTTPConnection(host, port, timeout=30)


def envelope(probe_id: str) -> tuple[bytes, int]:
    """A recorded message of this probe, with places for an id and a time, and how long it is."""
    recorded = orjson.loads(RECORDED.read_bytes())[0]
    found = recorded["debugger"]["snapshot"]
    found["probe"]["id"], found["id"], found["timestamp"] = probe_id, "THE-ID", 1_111_111_111_111
    recorded["timestamp"] = 1_111_111_111_111
    raw = orjson.dumps(recorded)
    return raw, len(raw)


def tracer(door: Door, probe_id: str, turn: int, rate: float, seconds: float, told: Any) -> None:
    """One process: a body each second."""
    raw, _ = envelope(probe_id)
    connection = door.connect()
    started = time.monotonic() + 1.0 + turn / PROCESSES
    sent = refused = 0
    took = []
    for second in range(int(seconds)):
        time.sleep(max(0.0, started + second - time.monotonic()))
        stamp = b"%d" % int(time.time() * 1000)
        lot = [
            raw.replace(b"THE-ID", str(uuid.uuid4()).encode()).replace(b"1111111111111", stamp)
            for _ in range(round(rate))
        ]
        began = time.monotonic()
        try:
            connection.request("POST", door.path, body(*lot), door.headers)
            answer = connection.getresponse()
            answer.read()
            is_taken = answer.status in (200, 202)
        except (OSError, http.client.HTTPException):
            connection, is_taken = door.connect(), False
        took.append((time.monotonic() - began) * 1000)
        sent += len(lot)
        refused += 0 if is_taken else len(lot)
    told.put((sent, refused, took))


class Viewer(threading.Thread):
    """Somebody who looks at the live page of a probe.

    Attributes:
        pieces: How often something new was shown.
        longest_s: The longest time without, after the first.
    """

    def __init__(self, control_plane: ControlPlane, probe_id: str) -> None:
        super().__init__(daemon=True)
        self.pieces = 0
        self.longest_s = 0.0
        self.is_over = threading.Event()
        headers = {"Authorization": f"Bearer {control_plane.application_key}"}
        self._door = Door(control_plane.url, f"/live/debugger/probes/{probe_id}", headers, _ca(control_plane))

    def run(self) -> None:
        connection = self._door.connect()
        connection.request("GET", self._door.path, headers=self._door.headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"the live page answered {answer.status}")
        last = 0.0
        while not self.is_over.is_set():
            if not answer.readline().startswith(b"data:"):
                continue
            now = time.monotonic()
            if last and now - last > 0.05:  # a piece has several lines
                self.longest_s = max(self.longest_s, now - last)
                self.pieces += 1
            last = now


def _ca(control_plane: ControlPlane) -> str:
    return "" if control_plane.ca_file is None else str(control_plane.ca_file)


def make_probes(control_plane: ControlPlane) -> list[str]:
    """One for each process."""
    return [
        str(
            control_plane.api.post(
                "/debugger/probes",
                {
                    "name": f"probe {number}", "service": "shop", "env": ["prod"],
                    "document": LOG | {"where": {"file": "shop/orders.py", "line": number + 1}},
                },
            )["id"]
        )
        for number in range(PROCESSES)
    ]  # fmt: skip


def direct(control_plane: ControlPlane, _: Path) -> tuple[Door, Callable[[], None]]:
    """Straight to the control plane, as an agent does."""
    headers = {
        "DD-API-KEY": control_plane.api.new_api_key("bench"), "Content-Type": "application/json",
    }  # fmt: skip
    path = "/api/v2/debugger?ddtags=host%3Aweb-1%2Cenv%3Aprod%2Cversion%3A1.2.3"
    return Door(control_plane.url, path, headers, _ca(control_plane)), lambda: None


def by_agent(control_plane: ControlPlane, folder: Path) -> tuple[Door, Callable[[], object]]:
    """Through an agent of ours, as tracers do."""
    agent = Agent(folder / "agent", control_plane)
    path = "/debugger/v2/input?ddtags=env%3Aprod%2Cversion%3A1.2.3%2Chost%3Avm"
    return Door(f"http://127.0.0.1:{agent.port}", path, {"Content-Type": "application/json"}), agent.stop


def load(name: str, way: Callable[..., Any], *, rate: int, seconds: float) -> dict[str, Any]:
    """Send for a while to a control plane of its own; says what became of it."""
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        control_plane = ControlPlane(folder / "server")
        probes = make_probes(control_plane)
        door, close = way(control_plane, folder)
        context = multiprocessing.get_context("spawn")
        told = context.Queue()
        processes = [
            context.Process(target=tracer, args=(door, probe, turn, rate / PROCESSES, seconds, told))
            for turn, probe in enumerate(probes)
        ]
        pid = control_plane.program.pid
        for process in processes:
            process.start()
        url = f"/debugger/probes/{probes[0]}/statuses"
        wait_until(
            lambda: control_plane.api.get(url)["snapshots"]["kept"] or None,
            "the first are there",
            timeout_s=60,
        )
        viewer = Viewer(control_plane, probes[0])
        viewer.start()
        cpu, started = cpu_seconds(pid), time.monotonic()
        results = [told.get(timeout=seconds + 120) for _ in processes]
        wall = time.monotonic() - started
        used = 100 * (cpu_seconds(pid) - cpu) / wall
        viewer.is_over.set()
        for process in processes:
            process.join()
        sent = sum(each[0] for each in results)
        refused = sum(each[1] for each in results)

        def counts() -> dict[str, int]:
            said = [
                control_plane.api.get(f"/debugger/probes/{probe}/statuses")["snapshots"] for probe in probes
            ]
            return {key: sum(each[key] for each in said) for key in ("kept", "over_quota", "refused")}

        def is_all_there() -> bool:
            return bool(sum(counts().values()) >= sent - refused)

        wait_until(lambda: is_all_there() or None, "all that was sent is counted", every_s=0.2)
        became = counts()
        took = [each for result in results for each in result[2]]
        memory = rss_mib(pid)
        close()
        control_plane.stop()
    is_lossless = rate <= GOAL_KEPT_PER_S
    held = (
        became["kept"] == sent
        if is_lossless
        else became["kept"] >= GOAL_KEPT_PER_S * seconds and became["kept"] + became["over_quota"] == sent
    )
    return {
        "row": f"{rate:,}/s {name}", "sent": sent, "not_taken": refused, **became,
        "kept_per_s": became["kept"] / seconds, "cpu_percent": used, "rss_mib": memory,
        "answered_p50_ms": statistics.median(took), "answered_p99_ms": percentile(took, 0.99),
        "live_pieces": viewer.pieces, "live_longest_pause_s": viewer.longest_s,
        "envelope_bytes": envelope("p")[1], "all_kept_or_counted": held,
        "held": held and refused == 0 and used < GOAL_CPU_PERCENT and viewer.pieces > seconds / 4,
    }  # fmt: skip


def opening(*, rounds: int) -> dict[str, Any]:
    """How long it takes until a snapshot of 5,000 values is answered, as JSON."""
    leaf = {"type": "Line", "fields": {f"f{n}": {"type": "int", "value": str(n)} for n in range(9)}}
    values = {"lines": {"type": "list", "elements": [leaf] * (NODES // 10), "size": NODES // 10}}
    with tempfile.TemporaryDirectory() as where:
        control_plane = ControlPlane(Path(where) / "server")
        probe_id = make_probes(control_plane)[0]
        door, _ = direct(control_plane, Path(where))
        connection = door.connect()
        raw = message("large", probe=probe_id, captured=values, at_ms=int(time.time() * 1000))
        connection.request("POST", door.path, body(raw), door.headers)
        connection.getresponse().read()
        wait_until(
            lambda: control_plane.api.get("/debugger/snapshots")["snapshots"],
            timeout_s=10,
            what="it is there",
        )
        took = []
        for _ in range(rounds):
            began = time.monotonic()
            control_plane.api.get("/debugger/snapshots/large")
            took.append((time.monotonic() - began) * 1000)
        control_plane.stop()
    median = statistics.median(took)
    return {
        "row": f"open one with {NODES:,} values (API)", "p50_ms": median, "worst_ms": max(took),
        "held": median < GOAL_OPEN_MS,
    }  # fmt: skip


def run(*, seconds: int) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    rows = [
        load(name, way, rate=rate, seconds=seconds)
        for name, way in (("straight", direct), ("through an agent", by_agent))
        for rate in (GOAL_KEPT_PER_S, 2 * GOAL_KEPT_PER_S)
    ]
    print_table(
        f"Snapshots of {PROCESSES} processes for {seconds} s (goal: {GOAL_KEPT_PER_S}/s kept, "
        f"server below {GOAL_CPU_PERCENT:.0f} % of a core)",
        ["", "sent", "kept", "over quota", "not taken", "cpu %", "MiB", "p99 ms", "live", "pause s", "held"],
        [
            [
                row["row"], f"{row['sent']:,}", f"{row['kept']:,}", f"{row['over_quota']:,}",
                row["not_taken"],
                f"{row['cpu_percent']:.0f}", f"{row['rss_mib']:.0f}", f"{row['answered_p99_ms']:.0f}",
                row["live_pieces"], f"{row['live_longest_pause_s']:.1f}", verdict(row["held"]),
            ]
            for row in rows
        ],
    )  # fmt: skip
    opened = opening(rounds=15)
    print_table(
        f"Opening (goal: {GOAL_OPEN_MS:.0f} ms)",
        ["", "p50 ms", "worst ms", "held"],
        [[opened["row"], f"{opened['p50_ms']:.0f}", f"{opened['worst_ms']:.0f}", verdict(opened["held"])]],
    )
    kept: dict[str, object] = {
        "processes": PROCESSES, "seconds": seconds, "goal_kept_per_s": GOAL_KEPT_PER_S,
        "goal_cpu_percent": GOAL_CPU_PERCENT, "rows": [*rows, opened],
    }  # fmt: skip
    keep("snapshots", kept)
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    run(seconds=parser.parse_args().seconds)
