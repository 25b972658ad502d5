"""Snapshots to look at: those recorded of real tracers, hostile ones, and one of 5,000 values.

``seed`` sends them for a probe of ``probed``, each under an id that is always the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.support import probed
from tests.support.stack import Api, ControlPlane

_RECORDED = Path(__file__).parent.parent / "vectors" / "debugger"
HOSTILE = "</script><img src=x onerror=alert(1)>\u202e"

LINE, LATER, METHOD, THROWN, NODE, NASTY, WIDE = (
    f"5eed0000-0000-4000-8000-{number:012d}" for number in range(1, 8)
)


def recorded(name: str, number: int) -> dict[str, Any]:
    """A message as a tracer sent it: ``ddtrace_4.16`` or ``dd_trace_5.132``, and which of them."""
    found: dict[str, Any] = orjson.loads((_RECORDED / f"{name}_messages.json").read_bytes())[number]
    return found


def given(
    envelope: Mapping[str, Any], snapshot_id: str, probe_id: str, *, ago_s: float = 0.0
) -> dict[str, Any]:
    """The same message of another probe, under another id, at another time."""
    copy: dict[str, Any] = orjson.loads(orjson.dumps(envelope))
    at_ms = int((time.time() - ago_s) * 1000)
    snapshot = copy["debugger"]["snapshot"]
    snapshot["id"], snapshot["timestamp"], copy["timestamp"] = snapshot_id, at_ms, at_ms
    snapshot["probe"]["id"], snapshot["probe"]["version"] = probe_id, 1
    return copy


def later(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded one of a line, with a total that is another, a name that is gone and one that is new."""
    copy: dict[str, Any] = orjson.loads(orjson.dumps(envelope))
    seen = copy["debugger"]["snapshot"]["captures"]["lines"]["13"]
    seen["locals"]["total"]["value"] = "6"
    seen["locals"]["order"]["fields"]["owner"]["entries"][0][1]["value"] = "'alice'"
    del seen["arguments"]["b"]
    seen["arguments"]["c"] = {"type": "bool", "value": "True"}
    return copy


def wide(groups: int = 12, orders: int = 225) -> dict[str, Any]:
    """5,412 values, as an application with long lists has them."""
    elements = [{"type": "Order", "fields": {"n": {"type": "int", "value": str(n)}}} for n in range(orders)]
    many = {"type": "list", "size": 450, "elements": elements, "notCapturedReason": "collectionSize"}
    envelope = recorded("ddtrace_4.16", 0)
    envelope["message"] = "many orders"
    envelope["debugger"]["snapshot"]["captures"] = {
        "lines": {"13": {"arguments": {}, "locals": {f"group_{number}": many for number in range(groups)}}}
    }
    return envelope


def nasty() -> dict[str, Any]:
    """Hostile text wherever there can be some; keys that are long, alike, or not there."""

    def text(value: str) -> dict[str, Any]:
        return {"type": "str", "value": repr(value)}

    entries = [
        [text("K" * 900), text("long")],
        [text("a\"]['b"), {"type": "int", "value": "1"}],
        [{"type": "str", "notCapturedReason": "redactedIdent"}, text("q")],
        [{"type": "str", "notCapturedReason": "redactedIdent"}, text("r")],
    ]
    frames = [{"fileName": HOSTILE, "function": HOSTILE, "lineNumber": 3}] * 20
    return {
        "service": probed.SERVICE,
        "message": f"{HOSTILE} {'long ' * 80}",
        "logger": {"thread_name": HOSTILE},
        "process_tags": f"entry:{HOSTILE}",
        "debugger": {
            "snapshot": {
                "id": "", "timestamp": 0, "language": "python", "stack": frames,
                "probe": {"id": "", "version": 1, "location": {"type": HOSTILE, "method": HOSTILE}},
                "evaluationErrors": [{"expr": HOSTILE, "message": HOSTILE}],
                "captures": {
                    "return": {
                        "locals": {
                            HOSTILE: text(HOSTILE), "k" * 500: text("y" * 255),
                            "hebrew": text("שלום עולם"), "nul": text("a\x00b\u2028c"), "": text("no name"),
                            "map": {"type": HOSTILE, "entries": entries, "size": 4},
                        },
                        "throwable": {"type": HOSTILE, "message": HOSTILE, "stacktrace": frames},
                    }
                },
            }
        },
    }  # fmt: skip


def probe(control_plane: ControlPlane, name: str = "Recorded") -> str:
    """A probe that they are of."""
    return str(probed.make(control_plane, probed.DOCUMENTS["log"], name=name)["id"])


def send(control_plane: ControlPlane, probe_id: str, *, salt: str = "") -> None:
    """Send all of them for a probe, each a little later than the one before.

    Args:
        salt: Makes their ids others, of as many digits: one id is of one snapshot.
    """
    machine: Api = control_plane.machine(control_plane.api.new_api_key(f"snapshots{salt}"))
    line = recorded("ddtrace_4.16", 0)
    found = (
        (WIDE, wide()), (NASTY, nasty()), (NODE, recorded("dd_trace_5.132", 0)),
        (THROWN, recorded("ddtrace_4.16", 4)), (METHOD, recorded("ddtrace_4.16", 2)), (LINE, line),
        (LATER, later(line)),
    )  # fmt: skip
    sent = [
        given(
            {**envelope, "service": probed.SERVICE}, salted(known, salt), probe_id, ago_s=3.0 - 0.3 * number
        )
        for number, (known, envelope) in enumerate(found)
    ]
    probed.send(machine, *sent)


def salted(snapshot_id: str, salt: str) -> str:
    """The same id for another probe."""
    return salt + snapshot_id[len(salt) :]
