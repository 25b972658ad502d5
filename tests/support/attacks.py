"""What an agent would tell of attacks, made of recorded spans: for tests of what people then see.

Times are near to now, as the control plane wants them. Trace ids are numbers, so that a test can name them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from sealwire.wire import security_batch as wire
from sealwire.wire.security_batch import Batch, Seen
from sealwire.wire.traces import SecuritySpan
from tests.support.spans import entry_span, pack
from tests.support.stack import Api

RULE = {
    "id": "crs-942-100",
    "name": "SQL injection attack",
    "tags": {"type": "sql_injection", "category": "attack_attempt", "cwe": "89", "confidence": "1"},
}
EXPLOIT = {
    "id": "rasp-942-100",
    "name": "SQL injection exploit",
    "tags": {"type": "sql_injection", "category": "vulnerability_trigger", "module": "rasp"},
}
FRAMES = [
    {"id": 0, "file": "/srv/shop/db.py", "line": 42, "function": "search", "namespace": "shop.db"},
    {"id": 1, "file": "/srv/shop/app.py", "line": 7, "function": "index", "namespace": "shop.app"},
]
_numbers = count(1)


def trace_id(number: int) -> str:
    """As it stands in addresses."""
    return f"{number:032x}"


def matched(value: str, *highlight: str, rule: Mapping[str, Any] = RULE, **more: Any) -> dict[str, Any]:
    """A trigger: a value of the query that a rule found."""
    parameter = {
        "address": "server.request.query", "key_path": ["q"], "value": value, "highlight": list(highlight),
    }  # fmt: skip
    return {
        "rule": dict(rule),
        "rule_matches": [{"operator": "is_sqli", "operator_value": "", "parameters": [parameter]}],
        **more,
    }


def attacked(
    number: int,
    *,
    ago_s: float = 1.0,
    service: str = "shop",
    env: str = "prod",
    ip: str = "198.51.100.7",
    like: str = "sql_injection",
    triggers: Iterable[Mapping[str, Any]] | None = None,
    stacks: Iterable[Mapping[str, Any]] = (),
    **meta: str | None,
) -> Seen:
    """A request.

    Args:
        number: Of its trace.
        ago_s: When it ended.
        like: Which recorded span it is made of.
        triggers: Instead of the recorded ones.
        meta: Tags; dots are written as ``__``.
    """
    named = {name.replace("__", "."): value for name, value in meta.items()}
    recorded = entry_span(like, meta={"actor.ip": ip, "http.client_ip": ip, "env": env, **named})
    now_ns = time.time_ns()
    own = recorded.get("meta_struct", {}).get("appsec", {"triggers": []})
    appsec = own if triggers is None else {"triggers": list(triggers)}
    span = SecuritySpan(
        service=service,
        trace_id=trace_id(number),
        span_id=number,
        start_ns=now_ns - int(ago_s * 1e9) - 12_300_000,
        duration_ns=12_300_000,
        name="flask.request",
        env=env,
        version="1.4.0",
        runtime_id=recorded["meta"].get("runtime-id", ""),
        tags=pack(recorded["meta"]),
        triggers=pack(appsec),
        stacks=pack({"exploit": list(stacks)}) if stacks else b"",
        touches=("sql",),
    )
    return Seen(span, now_ns // 1_000_000, "python", "4.16.0")


def batch(spans: Iterable[Seen]) -> Batch:
    """As an agent sends it; never the same twice."""
    now_ms = time.time_ns() // 1_000_000
    return Batch(
        hostname="ip-10-2-7-9", agent_uuid="11111111-2222-3333-4444-000000000077", number=next(_numbers),
        started_ms=now_ms - 60_000, sent_ms=now_ms, spans=list(spans),
    )  # fmt: skip


def tell(machine: Api, *spans: Seen) -> None:
    """Send it as an agent does; what was answered is written."""
    headers = {"Content-Type": wire.CONTENT_TYPE, "Content-Encoding": "gzip"}
    machine.request("POST", wire.PATH, wire.encode(batch(spans)), headers).expect(200)
