"""A flood of attacks through one real agent: what it costs there, what arrives, what is dropped.

Recorded requests that were attacks are replayed, each with ids and a time of its own, as tracers send them: a
body a second from each of several processes. Once to an intake that only counts, once to a real control plane
with its storage and its rules.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.harness import keep, percentile, print_table, rss_mib, verdict
from tests.support.processes import Program, clean_environment, wait_until
from tests.support.security_intake import API_KEY, SecurityIntake
from tests.support.spans import recorded_trace
from tests.support.stack import Agent, ControlPlane, free_port

GOAL_CPU_PERCENT = 60.0
GOAL_RSS_MIB = 250.0
CLIENTS = 10
KINDS = ("attack_tool", "sql_injection", "login_failure", "attack_tool", "blocked_ip")
TICKS_S = 100.0
SMALL_SPOOL = 2 * 1024 * 1024
# Of twenty addresses each does one kind of thing, over and over; those that sign in try ten accounts in all.
SIGNALS = {"attack-tool": 8, "sqli-single-ip": 4, "brute-force": 10, "blocked-actor-persists": 4}


@dataclass
class Sent:
    """What was sent, and how that went."""

    requests: int = 0
    bodies: int = 0
    refused: int = 0
    size: int = 0
    took_ms: list[float] = field(default_factory=list)


class Flood:
    """Requests without end.

    Args:
        rotating: Whether each request comes from an address of its own, instead of twenty in all.
    """

    def __init__(self, *, rotating: bool) -> None:
        self._recorded = [recorded_trace(name) for name in KINDS]
        self._rotating = rotating
        self._number = 0

    def body(self, requests: int) -> bytes:
        """A body of ``/v0.4/traces``; everything in it has just ended."""
        now_ns = time.time_ns()
        return msgspec.msgpack.encode([self._request(now_ns) for _ in range(requests)])

    def _request(self, now_ns: int) -> list[dict[str, Any]]:
        self._number += 1
        number = self._number
        spans = self._recorded[number % len(KINDS)]
        root = spans[0]
        address = f"203.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}" if self._rotating else (
            f"203.0.113.{number % 20}"
        )  # fmt: skip
        meta = root["meta"] | {"http.client_ip": address, "usr.id": ""}
        if "actor.ip" in meta:
            meta["actor.ip"] = address
        for tag in ("usr.login", "usr.id"):
            if f"appsec.events.users.login.failure.{tag}" in meta:
                meta[f"appsec.events.users.login.failure.{tag}"] = f"account-{number % 50}"
        changed = {"trace_id": number, "start": now_ns - root["duration"]}
        return [
            root | changed | {"meta": meta, "span_id": number},
            *(span | changed for span in spans[1:]),
        ]


def cpu_seconds(pid: int) -> float:
    """User + sys CPU of a process, ended threads included (100 Hz)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def flood(port: int, pid: int, *, seconds: float, rate: int, rotating: bool) -> tuple[Sent, dict[str, float]]:
    """Send for a while.

    Args:
        port: Of the agent.
        pid: Of the agent.
        rate: Requests a second, of all clients together.

    Returns:
        What was sent; CPU percent, memory in the middle, at its peak and at the end.
    """
    sent, lock, make = Sent(), threading.Lock(), Flood(rotating=rotating)
    ends = time.monotonic() + seconds

    def client(turn: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        at = time.monotonic() + turn / CLIENTS
        while at < ends:
            time.sleep(max(0.0, at - time.monotonic()))
            at += 1.0
            with lock:
                body = make.body(rate // CLIENTS)
            began = time.monotonic()
            connection.request(
                "POST",
                "/v0.4/traces",
                body,
                {"Datadog-Meta-Lang": "python", "Datadog-Meta-Tracer-Version": "4.16.0"},
            )
            answer = connection.getresponse()
            answer.read()
            with lock:
                sent.bodies += 1
                sent.size += len(body)
                sent.took_ms.append((time.monotonic() - began) * 1000)
                if answer.status == 200:
                    sent.requests += rate // CLIENTS
                else:
                    sent.refused += rate // CLIENTS
        connection.close()

    threads = [threading.Thread(target=client, args=(turn,)) for turn in range(CLIENTS)]
    cpu, started, peak, middle = cpu_seconds(pid), time.monotonic(), 0.0, 0.0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.25)
        now_mib = rss_mib(pid)
        peak = max(peak, now_mib)
        if not middle and time.monotonic() - started > seconds / 2:
            middle = now_mib
    for thread in threads:
        thread.join()
    wall = time.monotonic() - started
    return sent, {
        "cpu_percent": (cpu_seconds(pid) - cpu) / wall * 100,
        "rss_middle_mib": middle,
        "rss_peak_mib": peak,
        "rss_end_mib": rss_mib(pid),
        "seconds": wall,
    }


def _status(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/sealwire/v1/status")
    document: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return document


def _until_quiet(port: int) -> dict[str, Any]:
    """The agent's status once it has told all it had."""

    def quiet() -> dict[str, Any] | None:
        security: dict[str, Any] = _status(port)["security"]
        done = security["told"] + sum(security["dropped"].values()) >= security["seen"]
        return security if done and not security["waiting"] and not security["kept"]["requests"] else None

    return wait_until(quiet, "the agent has told everything", timeout_s=60, every_s=0.2)


def _to_nobody(folder: Path, *, seconds: float, rate: int, rotating: bool) -> dict[str, Any]:
    """Through a real agent while the control plane is away, with little room on disk; then it returns."""
    return _to_an_intake(folder, seconds=seconds, rate=rate, rotating=rotating, spool_bytes=SMALL_SPOOL)


def _to_an_intake(
    folder: Path, *, seconds: float, rate: int, rotating: bool, spool_bytes: int = 0
) -> dict[str, Any]:
    """Through a real agent to an intake that only counts.

    Args:
        spool_bytes: Where it is given, the intake is away for as long as the flood lasts.
    """
    port = free_port()
    with SecurityIntake() as intake:
        intake.status = 503 if spool_bytes else 200
        settings = {
            "api_key": API_KEY,
            "run_path": folder / "run",
            "apm_config.receiver_port": port,
            "apm_config.receiver_socket": "",
            "remote_configuration.enabled": "false",
            "remote_configuration.rc_dd_url": intake.url,
            "remote_configuration.no_tls": "true",
            "sealwire.security_spool_bytes": spool_bytes or 64 * 1024 * 1024,
        }
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        agent = Program(
            [sys.executable, "-m", "sealwire", "agent", *words],
            name="agent", log=folder / "log", environment=clean_environment(),
        )  # fmt: skip
        try:
            agent.wait_for_line("sealwire agent ready")
            sent, used = flood(port, agent.pid, seconds=seconds, rate=rate, rotating=rotating)
            kept = _status(port)["security"]["kept"]
            intake.status = 200
            security = _until_quiet(port)
        finally:
            agent.stop()
        late = [at - (seen.span.start_ns + seen.span.duration_ns) / 1e9
                for at, batch in intake.batches for seen in batch.spans]  # fmt: skip
        return {
            **_row(sent, used, security),
            "kept_at_most": kept,
            "arrived": intake.requests,
            "arrived_whole": len(intake.spans),
            "batches": len(intake.batches),
            "late_p50_s": round(percentile(late, 0.5), 2),
            "late_p99_s": round(percentile(late, 0.99), 2),
        }


def _to_a_control_plane(folder: Path, *, seconds: float, rate: int, rotating: bool) -> dict[str, Any]:
    """Through a real agent to a real control plane."""
    with ControlPlane(folder / "plane") as plane, Agent(folder / "agent", plane) as agent:
        plane_cpu, began = cpu_seconds(plane.program.pid), time.monotonic()
        sent, used = flood(agent.port, agent.program.pid, seconds=seconds, rate=rate, rotating=rotating)
        security = _until_quiet(agent.port)
        row = _row(sent, used, security)
        row["plane_cpu_percent"] = round(
            (cpu_seconds(plane.program.pid) - plane_cpu) / (time.monotonic() - began) * 100, 1
        )
        row["plane_rss_mib"] = round(rss_mib(plane.program.pid))
        deadline = time.monotonic() + 30  # what is counted is written behind
        while True:
            stored = _stored(plane.data_dir)
            if stored["requests_stored"] >= row["told"] or time.monotonic() > deadline:
                return row | stored
            time.sleep(1)


def _stored(data_dir: Path) -> dict[str, Any]:
    """What the control plane keeps of it, read from its database."""
    (file,) = data_dir.glob("*.db")
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        whole, counted = connection.execute(
            "select sum(count = 1 and trace_id is not null and trace_id != ''), "
            "sum(case when trace_id is null or trace_id = '' then count else 0 end) from security_traces"
        ).fetchone()
        signals = connection.execute("select rule_id, count(*) from signals group by 1").fetchall()
    finally:
        connection.close()
    return {
        "rows_whole": whole or 0,
        "requests_counted": counted or 0,
        "requests_stored": (whole or 0) + (counted or 0),
        "signals": {str(rule): number for rule, number in signals},
        "database_mib": round(sum(each.stat().st_size for each in data_dir.glob("*.db*")) / 2**20, 1),
    }


def _row(sent: Sent, used: dict[str, float], security: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: round(value, 1) for name, value in used.items()},
        "requests_sent": sent.requests,
        "refused": sent.refused,
        "sent_mib": round(sent.size / 2**20, 1),
        "answer_p99_ms": round(percentile(sent.took_ms, 0.99), 1),
        "seen": security["seen"],
        "counted_instead_of_sent": security["counted_instead_of_sent"],
        "told": security["told"],
        "dropped": security["dropped"],
    }


def run(*, seconds: float, rate: int = 1000, only: Sequence[str] = ()) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    ways: dict[str, tuple[Callable[..., dict[str, Any]], bool]] = {
        "20 addresses, to an intake": (_to_an_intake, False),
        "an address for each, to an intake": (_to_an_intake, True),
        "an address for each, to nobody": (_to_nobody, True),
        "20 addresses, to a control plane": (_to_a_control_plane, False),
        "an address for each, to a control plane": (_to_a_control_plane, True),
    }
    rows, table = [], []
    for name, (way, rotating) in ways.items():
        if only and not any(word in name for word in only):
            continue
        with tempfile.TemporaryDirectory(prefix="sw-bench-") as folder:
            row = way(Path(folder), seconds=seconds, rate=rate, rotating=rotating)
        held = (
            row["cpu_percent"] < GOAL_CPU_PERCENT
            and row["rss_peak_mib"] < GOAL_RSS_MIB
            and row["requests_sent"] == row["told"] + sum(row["dropped"].values())
            and (rotating or row.get("signals", SIGNALS) == SIGNALS)
        )
        rows.append({"row": name, "held": held, **row})
        table.append(
            [name, f"{row['cpu_percent']:.1f}", f"{row['rss_peak_mib']:.0f}", f"{row['requests_sent']:,}",
             f"{row['told']:,}", f"{row['counted_instead_of_sent']:,}", sum(row["dropped"].values()),
             verdict(held)]
        )  # fmt: skip
        print(json.dumps(row, indent=1))
    print_table(
        f"{rate:,} attacks a second through one agent for {seconds:.0f} s "
        f"(goal: < {GOAL_CPU_PERCENT:.0f} % of a core, < {GOAL_RSS_MIB:.0f} MiB)",
        ["", "CPU %", "MiB", "sent", "told", "as a count", "dropped", "held"],
        table,
    )
    kept: dict[str, object] = {"goal_cpu_percent": GOAL_CPU_PERCENT, "rate": rate, "rows": rows}
    keep("flood", kept)
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=())
    chosen = parser.parse_args()
    run(seconds=chosen.seconds, rate=chosen.rate, only=chosen.only)
