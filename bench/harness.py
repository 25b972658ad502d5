"""What every benchmark shares: pinned processes, their CPU time, a load generator, a table, a result file.

The server under test runs on cpu 0, the generator on cpu 1 where there is one. The figure to compare is
requests per CPU second of the server's process (user + sys), because the generator may be the slower of
the two and neighbours steal wall time. Rows are taken in interleaved slices and reported as medians; a
difference below 15 % between two runs means nothing, a ratio within one run means more.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "bench" / "results"
SERVER_CPU = 0
MAX_FOREIGN = 0.1  # share of the server's cpu that others may use during a slice
GENERATOR_CPU = 1 if (os.cpu_count() or 1) > 1 else 0

_SUMMARY = re.compile(r"^SUMMARY (\{.*\})$", re.M)


# Processes --------------------------------------------------------------------------------------------------


def pin(pid: int, cpu: int) -> None:
    """Keep every thread of a process, and those it starts later, on one cpu."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {cpu})


def cpu_seconds(pid: int) -> float:
    """User + sys CPU of all threads of a process that live now, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e9


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(found[1]) / 1024 if found else 0.0


def busy_seconds(cpu: int) -> float:
    """How long a cpu has not been idle, whoever used it (100 Hz)."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{cpu}":
            values = [int(tick) for tick in ticks[:8]]
            return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def wait_for_quiet(cpus: Sequence[int] = (SERVER_CPU, GENERATOR_CPU), *, at_most_s: float = 2.0) -> None:
    """Let neighbours finish, for a bounded time: others should use less than a tenth of our cpus."""
    deadline = time.monotonic() + at_most_s
    while time.monotonic() < deadline:
        before = [busy_seconds(cpu) for cpu in cpus]
        time.sleep(0.1)
        if all(busy_seconds(cpu) - start <= 0.02 for cpu, start in zip(cpus, before, strict=True)):
            return


# Load -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slice:
    """What one burst of load did to a server.

    Attributes:
        foreign: Share of the server's cpu that others used meanwhile.
    """

    requests: int
    wall_s: float
    cpu_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    foreign: float

    @property
    def per_cpu_s(self) -> float:
        return self.requests / self.cpu_s if self.cpu_s else 0.0


def require_wrk() -> str:
    """The load generator; ends the program with a sentence where it is missing."""
    found = shutil.which("wrk")
    if found is None:
        sys.exit("This benchmark drives its load with wrk: apt-get install wrk")
    return found


def load(url: str, script: Path, *arguments: str, pid: int, seconds: float, connections: int = 64) -> Slice:
    """Run wrk for a while against a server whose process is ``pid``."""
    busy, started = busy_seconds(SERVER_CPU), time.monotonic()
    cpu = cpu_seconds(pid)
    command = [
        *("taskset", "-c", str(GENERATOR_CPU)),
        *(require_wrk(), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"),
        *("-s", str(script), url, "--", *arguments),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    cpu = cpu_seconds(pid) - cpu
    wall = time.monotonic() - started
    busy = busy_seconds(SERVER_CPU) - busy
    found = _SUMMARY.search(ended.stdout)
    if found is None:
        raise RuntimeError(f"wrk failed: {ended.stdout}\n{ended.stderr}")
    told = json.loads(found[1])
    return Slice(
        requests=told["requests"],
        wall_s=told["duration_us"] / 1e6,
        cpu_s=cpu,
        p50_ms=told["p50_us"] / 1e3,
        p99_ms=told["p99_us"] / 1e3,
        errors=told["errors"],
        foreign=max(0.0, (busy - cpu) / wall),
    )


@dataclass
class Row:
    """One line of a table of loads: how to take a slice, and the slices taken."""

    name: str
    take: Callable[[], Slice]
    goal: float | None = None  # ratio to the floor
    slices: list[Slice] = field(default_factory=list)

    @property
    def per_cpu_s(self) -> float:
        return statistics.median(each.per_cpu_s for each in self.slices)

    @property
    def best_per_cpu_s(self) -> float:
        return max(each.per_cpu_s for each in self.slices)


def interleave(rows: Sequence[Row], *, rounds: int) -> None:
    """Take one slice of every row in turn, forwards and backwards, ``rounds`` times.

    A slice during which others used the server's cpu is taken again, once.
    """
    for turn in range(rounds):
        for row in rows if turn % 2 == 0 else reversed(rows):
            wait_for_quiet(at_most_s=1.0)
            taken = row.take()
            if taken.foreign > MAX_FOREIGN:
                wait_for_quiet(at_most_s=1.0)
                taken = min(taken, row.take(), key=lambda each: each.foreign)
            row.slices.append(taken)


# Results ----------------------------------------------------------------------------------------------------


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people."""
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    print(f"\n{title}")
    for number, line in enumerate(lines):
        cells = [cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width)
                 in enumerate(zip(line, widths, strict=True))]  # fmt: skip
        print("  " + "  ".join(cells))
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))
    sys.stdout.flush()


def keep(name: str, figures: Mapping[str, Any]) -> None:
    """Write ``bench/results/<name>.json``."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "src"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    document = {
        "benchmark": name,
        "commit": commit + ("+changes" if changed else ""),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        **figures,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def verdict(held: bool) -> str:
    """How a goal is marked in a table."""
    return "yes" if held else "NO"
