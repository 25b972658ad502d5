"""Every benchmark, or those named: ``python -m bench [polls publish verify latency acknowledged ...]``.

Takes about twenty-two minutes. Tables go to the terminal, figures to ``bench/results``. Says at the end which
goals were not reached; that is no failure of the program, since a busy machine can do it too.
"""

from __future__ import annotations

import argparse
import functools
import json

from bench import (
    acknowledged,
    agent_idle,
    denylist,
    dogstatsd,
    flood,
    inspector,
    latency,
    pages,
    polls,
    publish,
    secl,
    signals,
    snapshots,
    traces,
    verify,
)
from bench.harness import RESULTS

BENCHMARKS = {
    "polls": functools.partial(polls.run, rounds=9, seconds=2),
    "publish": functools.partial(publish.run, changes=20),
    "verify": functools.partial(verify.run, rounds=15),
    "latency": functools.partial(latency.run, changes=120, new_clients=20, go_changes=10),
    "acknowledged": functools.partial(acknowledged.run, changes=25),
    "agent_idle": functools.partial(agent_idle.run, seconds=61),
    "dogstatsd": functools.partial(dogstatsd.run, seconds=20),
    "traces": functools.partial(traces.run, rounds=7),
    "flood": functools.partial(flood.run, seconds=60),
    "signals": functools.partial(signals.run, rounds=3, count=100_000),
    "denylist": functools.partial(denylist.run, rounds=5),
    "inspector": functools.partial(inspector.run, rounds=30),
    "snapshots": functools.partial(snapshots.run, seconds=60),
    "secl": functools.partial(secl.run, rounds=9),
    "pages": functools.partial(pages.run, seconds=60, rounds=7),
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", default=[])
    chosen = parser.parse_args().names or list(BENCHMARKS)
    missed = []
    for name in chosen:
        BENCHMARKS[name]()
        kept = json.loads((RESULTS / f"{name}.json").read_text())
        missed += [f"{name}: {row['row']}" for row in kept["rows"] if row.get("held") is False]
    print("\nNot reached: " + "; ".join(missed) if missed else "\nEvery goal was reached.")


if __name__ == "__main__":
    main()
