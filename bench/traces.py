"""What reading security out of traces costs, next to decoding the same bytes into typed spans.

The floor is one ``msgspec`` decoder of a whole body, every field of a span typed, nothing looked at. A second
floor decodes only the fields that we read. Rows are taken in turn within one process, on its CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import msgspec

from bench.harness import keep, print_table, verdict
from sealwire.wire import traces
from tests.support.spans import entry_span, recorded_trace, trace, v04

GOAL = 0.6


class Span(msgspec.Struct):
    """Every field of a v0.4 span."""

    service: str = ""
    name: str = ""
    resource: str = ""
    type: str = ""
    trace_id: int = 0
    span_id: int = 0
    parent_id: int = 0
    start: int = 0
    duration: int = 0
    error: int = 0
    meta: dict[str, str] = {}
    metrics: dict[str, float] = {}
    meta_struct: dict[str, bytes] = {}


class Few(msgspec.Struct):
    """The fields that are read of most spans, tags left as they are."""

    service: str = ""
    span_id: int = 0
    parent_id: int = 0
    start: int = 0
    duration: int = 0
    meta: msgspec.Raw = msgspec.Raw(b"\x80")
    metrics: msgspec.Raw = msgspec.Raw(b"\x80")
    meta_struct: msgspec.Raw = msgspec.Raw(b"\x80")


FLOOR = msgspec.msgpack.Decoder(list[list[Span]]).decode
BARE = msgspec.msgpack.Decoder(list[list[Few]]).decode


def bodies() -> dict[str, bytes]:
    """Bodies of 200 requests each."""
    plain = entry_span("benign", metrics={"_sampling_priority_v1": 1.0})
    plain["meta"] = {name: value for name, value in plain["meta"].items() if "appsec" not in name}
    off = [trace(plain | {"trace_id": number}) for number in range(200)]
    benign = [recorded_trace("benign", trace_id=number) for number in range(200)]
    attacks = [
        recorded_trace(
            ("attack_tool", "sql_injection", "login_failure", "blocked_ip")[number % 4], trace_id=number
        )
        for number in range(200)
    ]
    mixed = [attacks[number] if number % 20 == 0 else benign[number] for number in range(200)]
    return {
        "the engine is off": v04(*off),
        "benign": v04(*benign),
        "5 % attacks": v04(*mixed),
        "nothing but attacks": v04(*attacks),
    }


def taken(call: Callable[[], object], *, seconds: float) -> float:
    """CPU seconds of one call."""
    calls, started = 0, time.process_time()
    while time.process_time() - started < seconds:
        call()
        calls += 1
    return (time.process_time() - started) / calls


def run(*, rounds: int) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    rows = []
    table = []
    for name, body in bodies().items():
        ours, floor, bare = [], [], []
        for _ in range(rounds):
            floor.append(taken(lambda body=body: FLOOR(body), seconds=0.1))  # type: ignore[misc]
            ours.append(taken(lambda body=body: traces.select("/v0.4/traces", body), seconds=0.1))  # type: ignore[misc]
            bare.append(taken(lambda body=body: BARE(body), seconds=0.1))  # type: ignore[misc]
        ratio = statistics.median(floor) / statistics.median(ours)
        cost = statistics.median(ours)
        rows.append(
            {
                "row": name,
                "ratio": ratio,
                "ratio_to_few_fields": statistics.median(bare) / cost,
                "traces_per_s": 200 / cost,
                "mb_per_s": len(body) / 1e6 / cost,
                "held": ratio >= GOAL,
            }
        )
        table.append(
            [
                name, f"{len(body) / 1e6:.2f}", f"{200 / cost:,.0f}", f"{len(body) / 1e6 / cost:.0f}",
                f"{ratio:.2f}", f"{statistics.median(bare) / cost:.2f}", verdict(ratio >= GOAL),
            ]
        )  # fmt: skip
    print_table(
        f"Select security out of v0.4 traces (goal: {GOAL} of a typed decode)",
        ["200 requests of 9 spans", "MB", "traces/s", "MB/s", "of typed decode", "of few fields", "held"],
        table,
    )
    kept: dict[str, object] = {"goal": GOAL, "rows": rows}
    keep("traces", kept)
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    run(rounds=parser.parse_args().rounds)
