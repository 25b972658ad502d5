"""Steady polls of the shipped server, as a ratio to F taken in the same run.

Rows: three and ten clients behind an agent, three over kept TLS connections, and answers of some 50 kB (the
agents report an error, so they are given everything each time). Authenticated, logging and metrics on, 500
distinct agents on 64 connections.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from pathlib import Path

from bench.fleet import Agent, Connection, enrol, make_configs, write_requests
from bench.floor import Floor
from bench.harness import (
    REPOSITORY,
    SERVER_CPU,
    Row,
    Slice,
    interleave,
    keep,
    load,
    pin,
    print_table,
    require_wrk,
    rss_mib,
    verdict,
)
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.stack import Api, ControlPlane

AGENTS = 500


def run(*, rounds: int, seconds: float) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    require_wrk()
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as name:
        folder = Path(name)
        plain = ControlPlane(
            folder / "plain", settings={"plain_http_sends_api_keys_unencrypted": "true"}, name="plain"
        )
        tls = ControlPlane(folder / "tls", name="tls")
        floor = Floor(folder)
        try:
            return _measure(folder, floor, plain, tls, rounds=rounds, seconds=seconds)
        finally:
            floor.close()
            plain.stop()
            tls.stop()


def _measure(
    folder: Path, floor: Floor, plain: ControlPlane, tls: ControlPlane, *, rounds: int, seconds: float
) -> dict[str, object]:
    rows = [Row("F (echo)", functools.partial(floor.take, seconds))]
    sizes: dict[str, tuple[int, int]] = {}

    def add(name: str, plane: ControlPlane, key: str, fleet: list[Agent], goal: float) -> None:
        file = folder / f"{len(rows)}.requests"
        size = write_requests(file, fleet, key)
        sizes[name] = size, len(fleet[0].answer)
        rows.append(Row(name, functools.partial(_take, plane, file, seconds), goal))

    for plane in (plain, tls):
        make_configs(plane.api)
    key, tls_key = plain.api.new_api_key("bench"), tls.api.new_api_key("bench")
    three = enrol(plain, key, agents=AGENTS, clients=3, label="three")
    add("steady, 3 clients", plain, key, three, 0.20)
    add("steady, 10 clients", plain, key, enrol(plain, key, agents=AGENTS, clients=10, label="ten"), 0.15)
    secure = enrol(tls, tls_key, agents=AGENTS, clients=3, label="secure")
    add("steady, 3 clients, TLS", tls, tls_key, secure, 0.13)
    bulk = enrol(plain, key, agents=AGENTS, clients=3, label="bulk", services=["bulk"])
    _report_an_error(plain, key, bulk)
    add("50 kB answer, 3 clients", plain, key, bulk, 0.15)
    for fleet in (three, secure):
        assert not pb.LatestConfigsResponse.FromString(fleet[0].answer).target_files
    for plane in (plain, tls):
        pin(plane.program.pid, SERVER_CPU)

    before = _counters(plain)
    interleave(rows, rounds=rounds)
    after = _counters(plain)

    lines, figures = [], []
    base = rows[0]
    for row in rows:
        ratio = row.per_cpu_s / base.per_cpu_s
        held = row.goal is None or ratio >= row.goal
        request, answer = sizes.get(row.name, (200, 32))
        middle = sorted(row.slices, key=lambda each: each.per_cpu_s)[len(row.slices) // 2]
        lines.append(
            [
                row.name, request, answer, f"{row.per_cpu_s:,.0f}", f"{row.best_per_cpu_s:,.0f}",
                f"{1e6 / row.per_cpu_s:.1f}", f"{middle.p50_ms:.2f}", f"{middle.p99_ms:.1f}", f"{ratio:.3f}",
                "" if row.goal is None else f"{row.goal:.2f}", "" if row.goal is None else verdict(held),
            ]
        )  # fmt: skip
        figures.append(
            {
                "row": row.name,
                "request_bytes": request,
                "answer_bytes": answer,
                "per_cpu_s": round(row.per_cpu_s),
                "best_per_cpu_s": round(row.best_per_cpu_s),
                "ratio_to_floor": round(ratio, 4),
                "goal": row.goal,
                "held": held,
                "errors": sum(each.errors for each in row.slices),
                "slices_per_cpu_s": [round(each.per_cpu_s) for each in row.slices],
                "foreign_share": [round(each.foreign, 2) for each in row.slices],
            }
        )
    print_table(
        f"Polls per CPU second of the server, medians of {rounds} interleaved slices of {seconds:g} s",
        ["", "request B", "answer B", "per cpu-s", "best", "us", "p50 ms", "p99 ms", "of F", "goal", "held"],
        lines,
    )
    counted = {name: after[name] - before[name] for name in after}
    memory = {
        "plain_rss_mib": round(rss_mib(plain.program.pid)),
        "tls_rss_mib": round(rss_mib(tls.program.pid)),
    }
    print(f"  server's own count, plain: {counted}; {memory}")
    figures_kept = {"rows": figures, "counted": counted, **memory, "slice_s": seconds}
    keep("polls", figures_kept)
    return figures_kept


def _take(plane: ControlPlane, file: Path, seconds: float) -> Slice:
    script = REPOSITORY / "bench" / "load.lua"
    return load(plane.url, script, str(file), pid=plane.program.pid, seconds=seconds)


def _report_an_error(plane: ControlPlane, key: str, fleet: list[Agent]) -> None:
    """Agents that failed to take their last answer are given everything again."""
    connection = Connection(plane, key)
    for agent in fleet:
        agent.request.has_error = True
        agent.request.error = "could not store the last update: no space left on device"
        agent.answer = connection.poll(agent.request.SerializeToString())
    connection.close()


def _counters(plane: ControlPlane) -> dict[str, int]:
    wanted = {"sealwire_polls_total": "polls", "sealwire_steady_polls_total": "steady polls"}
    found = {}
    for line in Api(plane.url).request("GET", "/metrics").body.decode().splitlines():
        name, _, value = line.partition("{")[0], None, line.rpartition(" ")[2]
        if name in wanted:
            found[wanted[name]] = found.get(wanted[name], 0) + int(float(value))
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2, help="length of a slice")
    arguments = parser.parse_args()
    run(rounds=arguments.rounds, seconds=arguments.seconds)


if __name__ == "__main__":
    main()
