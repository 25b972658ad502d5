"""The inspector: how long a page of a snapshot takes, with few values and with 5,000, and what is fetched.

Snapshots are sent through the intake of a control plane of its own. Times are of one kept connection under
TLS, to the last byte, as medians; the floor beside them is the sign-in page in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from urllib.parse import quote

from bench.harness import keep, print_table, verdict
from bench.pages import Person
from tests.support import snapshots
from tests.support.snapshots import LATER, LINE, NODE, WIDE
from tests.support.stack import ControlPlane

GOAL_MS = 200.0
FLOOR = "/sign-in"
PAGES = {
    "5,412 values": f"/debugger/snapshots/{WIDE}",
    "5,412 values, the last one shown": f"/debugger/snapshots/{WIDE}?show={quote('13/group_11[224].n')}",
    "5,412 values, searched": f"/debugger/snapshots/{WIDE}?q=204",
    "5,412 values, one list unfolded": f"/debugger/snapshots/{WIDE}/branch?path=13/group_3",
    "5,412 values, all as JSON": f"/debugger/snapshots/{WIDE}/literal?language=json",
    "138 values (ddtrace)": f"/debugger/snapshots/{LINE}",
    "138 values, compared": f"/debugger/snapshots/{LATER}?compare={LINE}",
    "173 values (dd-trace)": f"/debugger/snapshots/{NODE}",
    "list": "/debugger/snapshots",
}


def run(*, rounds: int) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as name:
        plane = ControlPlane(Path(name) / "plane")
        try:
            snapshots.send(plane, snapshots.probe(plane))
            return _measure(plane, rounds)
        finally:
            plane.stop()


def _measure(plane: ControlPlane, rounds: int) -> dict[str, object]:
    person = Person(plane)
    rows = []
    floor_ms = 0.0
    for words, path in {"floor": FLOOR, **PAGES}.items():
        person.took_ms(path)  # the first one reads the template
        samples = [person.took_ms(path) for _ in range(rounds)]
        value = statistics.median(samples)
        if words == "floor":
            floor_ms = value
            continue
        rows.append(
            {
                "row": words, "measured": round(value, 1), "unit": "ms", "worst": round(max(samples), 1),
                "goal": GOAL_MS, "held": value < GOAL_MS,
            }
        )  # fmt: skip
    print_table(
        f"The inspector, {rounds} times each (floor: a page without snapshots, {floor_ms:.1f} ms)",
        ["", "median", "worst", "goal", "held"],
        [
            [
                str(row["row"]), f"{row['measured']} ms", f"{row['worst']} ms", f"< {row['goal']}",
                verdict(bool(row["held"])),
            ]
            for row in rows
        ],
    )  # fmt: skip
    kept: dict[str, object] = {"rows": rows, "floor_ms": round(floor_ms, 2), "rounds": rounds}
    keep("inspector", kept)
    return kept


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    run(rounds=parser.parse_args().rounds)


if __name__ == "__main__":
    main()
