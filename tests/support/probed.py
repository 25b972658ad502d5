"""What probes bring, as an agent passes it on: statuses, messages with and without values, numbers, spans.

``seed`` makes a few probes of a service that is in no fleet, and lets its instances say something of each.
It is for the one control plane of the page tests.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from sealwire.wire import probe_batch
from sealwire.wire.probe_batch import Batch, Measured, ProbeSpan, SpansSeen
from sealwire.wire.sketch import Sketch
from tests.support.stack import Api, ControlPlane

SERVICE = "till"
TRACE = "6b02faea000000005a19a5ecaac67746"
HOSTILE = "<script>alert(1)</script>\u202eeve"

DOCUMENTS: dict[str, dict[str, Any]] = {
    "log": {
        "kind": "log", "language": "python", "where": {"file": "till/orders.py", "line": 41},
        "when": "order.total > 100", "template": "sold {count} for {order.total}", "snapshot": True,
    },
    "metric": {
        "kind": "metric", "language": "python", "where": {"type": "till.pricing", "method": "total"},
        "metric": {"name": "pricing.duration", "kind": "distribution", "value": "@duration"},
    },
    "tags": {
        "kind": "decoration", "language": "python", "where": {"type": "till.cart", "method": "checkout"},
        "span": "root", "decorations": [{"tags": [{"name": "cart.owner", "template": "{cart.owner}"}]}],
    },
    "error": {
        "kind": "log", "language": "python", "where": {"file": "till/orders.py", "line": 4},
        "template": "here",
    },
}  # fmt: skip

#: Ids of what ``seed`` made, by name: probes, and ``snapshot`` and ``older`` of the log.
SEEDED: dict[str, str] = {}


def address(path: str) -> str:
    """An address of a page, in which ``{log}`` stands for the id of that probe."""
    for name, identity in SEEDED.items():
        path = path.replace(f"{{{name}}}", identity)
    return path


def make(control_plane: ControlPlane, document: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A probe of the service in prod; returns it as the API gives it."""
    known = {"name": "probe", "service": SERVICE, "env": ["prod"], "document": document, **fields}
    made: dict[str, Any] = control_plane.api.post("/debugger/probes", known)
    return made


def said(
    probe_id: str, runtime_id: str, status: str, *, version: int = 1, failure: tuple[str, str] | None = None
) -> dict[str, Any]:
    """A status, as ddtrace sends it."""
    exception = {} if failure is None else {"exception": dict(zip(("type", "message"), failure, strict=True))}
    return {
        "service": SERVICE, "ddsource": "dd_debugger", "type": "diagnostic", "timestamp": _now_ms(),
        "message": "", "debugger": {
            "diagnostics": {
                "probeId": probe_id, "probeVersion": version, "runtimeId": runtime_id, "parentId": None,
                "status": status, **exception,
            }
        },
    }  # fmt: skip


def message(
    probe_id: str,
    text: str,
    *,
    version: int = 1,
    values: Mapping[str, str] | None = None,
    errors: Iterable[tuple[str, str]] = (),
    at_ms: int = 0,
) -> dict[str, Any]:
    """What a log probe at a line sends; ``values`` are its locals."""
    captured = {name: {"type": "str", "value": repr(value)} for name, value in (values or {}).items()}
    at_ms = at_ms or _now_ms()
    return {
        "service": SERVICE, "ddsource": "dd_debugger", "message": text, "timestamp": at_ms,
        "logger": {
            "name": "/srv/till/orders.py", "method": "sell", "thread_name": "main;pid:7", "version": 2,
        },
        "dd": {"trace_id": TRACE, "span_id": "3131050198966581158"},
        "debugger": {
            "snapshot": {
                "id": str(uuid.uuid4()), "timestamp": at_ms, "language": "python", "type": "snapshot",
                "probe": {
                    "id": probe_id, "version": version,
                    "location": {"file": "/srv/till/orders.py", "lines": ["41"]},
                },
                "stack": [{"fileName": "/srv/till/orders.py", "function": "sell", "lineNumber": 41}],
                "evaluationErrors": [{"expr": expression, "message": why} for expression, why in errors],
                "captures": {} if values is None else {
                    "lines": {
                        "41": {"arguments": {}, "locals": captured, "staticFields": {}, "throwable": None}
                    }
                },
            }
        },
    }  # fmt: skip


def send(machine: Api, *envelopes: Mapping[str, Any], host: str = "ip-10-9-0-1") -> None:
    """Post them as an agent passes them on."""
    path = f"/api/v2/debugger?ddtags=host:{host},env:prod,version:1.2.3"
    machine.request("POST", path, orjson.dumps(list(envelopes))).expect(202)


class Numbers:
    """An agent that tells of metrics and spans."""

    def __init__(self, machine: Api, hostname: str = "ip-10-9-0-1") -> None:
        self._machine = machine
        self._hostname = hostname
        self._uuid = str(uuid.uuid4())
        self._number = 0

    def measured(self, probe_id: str, values: Iterable[float], *, tags: tuple[str, ...] = ()) -> None:
        """Some values of a distribution, each ten seconds after the one before; the last is of now."""
        found = list(values)
        now_ms = _now_ms()
        metrics = []
        for place, value in enumerate(found):
            sketch = Sketch()
            sketch.add(value)
            sketch.add(value * 2)
            at_ms = (now_ms - (len(found) - 1 - place) * 10_000) // 10_000 * 10_000
            metrics.append(
                Measured(
                    probe_id, "pricing.duration", "d", tuple(sorted(tags)), at_ms, 2, value * 3, value,
                    value * 2, value, sketch,
                )
            )  # fmt: skip
        self._send(metrics=metrics)

    def decorated(self, probe_id: str, tags: Mapping[str, str], errors: Mapping[str, str]) -> None:
        """A span that a probe put tags on."""
        span = ProbeSpan(
            probe_id, "decoration", SERVICE, "prod", "1.2.3", "runtime-till-1", "python", TRACE, 7,
            time.time_ns(), 12_345_000, "web.request", "POST /checkout", False, dict(tags), dict(errors),
        )  # fmt: skip
        self._send(spans=[span], seen=[SpansSeen(probe_id, "decoration", SERVICE, "prod", 3, _now_ms())])

    def _send(self, **parts: Any) -> None:
        self._number += 1
        batch = Batch(
            hostname=self._hostname, agent_uuid=self._uuid, number=self._number, started_ms=1,
            sent_ms=_now_ms(), **parts,
        )  # fmt: skip
        headers = {"Content-Encoding": "gzip", "Content-Type": probe_batch.CONTENT_TYPE}
        self._machine.request("POST", probe_batch.PATH, probe_batch.encode(batch), headers).expect(200, 202)


def seed(control_plane: ControlPlane) -> None:
    """Probes of which something came, one of each sort; their ids are in ``SEEDED``."""
    machine = control_plane.machine(control_plane.api.new_api_key("probed"))
    for name, document in DOCUMENTS.items():
        SEEDED[name] = make(control_plane, document, name=f"Till, {name}", comment="for a look")["id"]
    log, metric, tags, error = (SEEDED[name] for name in ("log", "metric", "tags", "error"))
    statuses = [said(probe_id, "runtime-till-1", "EMITTING") for probe_id in (log, metric, tags)]
    missing = ("NoFunctionsAtLine", "No function has code at line 4 of till/orders.py")
    statuses += [said(error, f"runtime-till-{n}", "ERROR", failure=missing) for n in (1, 2)]
    statuses.append(said(log, "runtime-till-2", "INSTALLED"))
    send(machine, *statuses)
    messages = [
        message(
            log, f"sold {n} for {100 + n} to {HOSTILE if n == 7 else f'user-{n}'}",
            values={"user": HOSTILE, "total": str(n)}, at_ms=_now_ms() - (20 - n) * 40_000,
            errors=[("order.discount", "No such member: discount")] if n == 19 else (),
        )
        for n in range(20)
    ]  # fmt: skip
    send(machine, *messages)
    newest = [one["debugger"]["snapshot"]["id"] for one in messages]
    SEEDED["snapshot"], SEEDED["older"] = newest[7], newest[6]
    numbers = Numbers(machine)
    numbers.measured(metric, [10 + n % 7 for n in range(60)], tags=("env:prod", "version:1.2.3"))
    numbers.measured(metric, [20 + n % 5 for n in range(60)], tags=("env:prod", "version:1.2.4"))
    numbers.decorated(tags, {"cart.owner": HOSTILE}, {"cart.size": "No such local variable: 'cart'"})


def _now_ms() -> int:
    return int(time.time() * 1000)
