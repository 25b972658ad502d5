"""How many security traces a second go through the detection engine, and all the way into the database.

Every rule that comes with the server is in force.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from bench.harness import keep, print_table, verdict
from sealwire.server.security.builtin import BUILTIN
from sealwire.server.security.detection import Detection
from sealwire.server.security.engine import Engine
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.security.rules import check
from sealwire.server.store.database import Database
from sealwire.server.store.security import count_traces
from sealwire.wire.security_batch import Batch, Seen
from tests.support.security_batches import span

GOAL = 20_000
GOAL_WRITTEN = 2_000  # of a flood of 1,000 requests a second, twice over
BATCH = 1_000
NOW = 1_795_358_575.0
ATTACKS = ("attack_tool", "sql_injection", "xss", "lfi", "command_injection")


def _one_address(number: int) -> SecurityTrace:
    return _attack(number, "198.51.100.9")


def _rotating(number: int) -> SecurityTrace:
    return _attack(number, f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")


def _attack(number: int, ip: str) -> SecurityTrace:
    kind = ATTACKS[number % len(ATTACKS)]
    return SecurityTrace(
        trace_id=f"{number:032x}", span_id=f"{number:016x}", ts=NOW + number / 1000, service="shop",
        actor_ip=ip, activities=(f"attack_attempt.{kind}",), rule_ids=(f"crs-{kind}",), rule_types=(kind,),
        tools=("Arachni",) if kind == "attack_tool" else (), method="GET", target=f"/{number % 100}",
        user_agent=f"agent {number % 7}", status=200, fp_header="hdr-1", fp_network="net-1",
    )  # fmt: skip


def _logins(number: int) -> SecurityTrace:
    return SecurityTrace(
        trace_id=f"{number:032x}", span_id=f"{number:016x}", ts=NOW + number / 1000, service="shop",
        actor_ip=f"10.0.{number % 200}.1", activities=("business_logic.users.login.failure",), status=401,
        user_id=f"user{number % 5000}", account=f"user{number % 5000}", method="POST", target="/login",
    )  # fmt: skip


def _visits(number: int) -> SecurityTrace:
    return SecurityTrace(
        trace_id="", span_id="", ts=NOW + number / 1000, service="shop",
        actor_ip=f"10.0.{number % 200}.1", target=f"/{number % 300}", status=200,
    )  # fmt: skip


def rows_per_s(make: Callable[[int], SecurityTrace], count: int) -> tuple[float, Engine]:
    """Rows per CPU second, with a tick each ten seconds of the rows' time."""
    engine = Engine([check(document, rule_id=name) for name, document in BUILTIN.items()])
    rows: Iterator[SecurityTrace] = iter([make(number) for number in range(count)])
    started = time.process_time()
    for number, row in enumerate(rows):
        engine.insert(row, now=row.ts)
        if number % 10_000 == 0:
            engine.tick(now=row.ts)
            engine.take_changed()
    return count / (time.process_time() - started), engine


def written_per_s(count: int, *, addresses: int) -> tuple[float, float, int]:
    """Spans per second and per CPU second from the queue into the database, and the rows this made.

    Args:
        addresses: That the attacks come from, so that sampling finds less that is alike.
    """
    now = time.time()
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'x.db'}")
        database.migrate()
        kinds = [span("sql_injection", 1, at=now, ip=f"10.0.{at >> 8}.{at & 255}") for at in range(addresses)]
        batches = [
            Batch(
                hostname="h", agent_uuid=f"a{first // 20_000}", number=first // BATCH + 1, started_ms=1,
                sent_ms=int(now * 1000),
                spans=[
                    Seen(
                        replace(kinds[number % addresses], trace_id=f"{number:032x}", span_id=number),
                        int(now * 1000), "python", "4.16.0",
                    )
                    for number in range(first + 1, first + BATCH + 1)
                ],
            )
            for first in range(0, count, BATCH)
        ]  # fmt: skip

        async def all_of_them() -> int:
            detection = Detection(database, 1)
            for each in batches:
                detection.take(each, key_id="k")
                await detection.flush()
            await detection.tick()
            with database.read() as c:
                return count_traces(c, 1)

        wall, cpu = time.perf_counter(), time.process_time()
        kept = asyncio.run(all_of_them())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        database.close()
    return count / wall, count / cpu, kept


def run_to_disk(count: int) -> list[dict[str, object]]:
    """The second table."""
    rows: list[dict[str, object]] = []
    table = []
    for name, addresses in (("one address", 1), ("a hundred", 100), ("twenty thousand", 20_000)):
        wall, cpu, kept = written_per_s(count, addresses=addresses)
        held = cpu >= GOAL_WRITTEN
        rows.append({"row": name, "spans_per_s": wall, "spans_per_cpu_s": cpu, "kept": kept, "held": held})
        table.append([name, f"{wall:,.0f}", f"{cpu:,.0f}", f"{kept:,}", verdict(held)])
    print_table(
        f"Spans of SQL injections from a batch into SQLite (goal: {GOAL_WRITTEN:,} a CPU second)",
        [f"{count:,} spans from", "spans/s", "per CPU s", "rows", "held"],
        table,
    )
    return rows


def run(*, rounds: int, count: int) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    kinds = {
        "attacks of one address": _one_address,
        "attacks, each from another address": _rotating,
        "failed logins": _logins,
        "requests that are only counted": _visits,
    }
    rows, table = [], []
    for name, make in kinds.items():
        found = [rows_per_s(make, count) for _ in range(rounds)]
        rate = statistics.median(rate for rate, _ in found)
        engine = found[-1][1]
        rows.append({"row": name, "rows_per_s": rate, "held": rate >= GOAL, "groups": engine.groups})
        table.append(
            [name, f"{rate:,.0f}", f"{engine.groups:,}", len(engine.open_signals()), verdict(rate >= GOAL)]
        )
    print_table(
        f"Rows through {len(BUILTIN)} rules (goal: {GOAL:,} a second on one core)",
        [f"{count:,} rows", "rows/s", "groups", "signals", "held"],
        table,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  peak of the whole process, its rows included: {peak:.0f} MiB")
    to_disk = run_to_disk(20_000)
    kept: dict[str, object] = {"goal": GOAL, "rows": rows, "to_disk": to_disk, "peak_mib": peak}
    keep("signals", kept)
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000)
    chosen = parser.parse_args()
    run(rounds=chosen.rounds, count=chosen.rows)
