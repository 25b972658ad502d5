"""What an agent would tell of attacks, made of recorded spans: for tests of what people then see.

Times are near to now, as the control plane wants them. Trace ids are numbers, so that a test can name them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from sealwire.server.security.rows import security_trace
from sealwire.server.store import security as store
from sealwire.server.store.database import Database
from sealwire.wire import security_batch as wire
from sealwire.wire.security_batch import Batch, Seen
from sealwire.wire.traces import SecuritySpan
from tests.support.spans import entry_span, pack
from tests.support.stack import Api, ControlPlane

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
MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
HOSTILE = MARKUP + "\u202e\u2066\0\r\n\x1b[31m\\"
SEEDED, SEEDED_HOSTILE = 0x5EED01, 0x5EED02  # numbers of the traces that ``seed`` puts
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


def hostile(number: int, *, ago_s: float = 1.0) -> Seen:
    """A request with hostile texts wherever it can have some."""
    parameter = {"address": HOSTILE, "key_path": [HOSTILE], "value": HOSTILE, "highlight": [HOSTILE]}
    tags = {"type": HOSTILE, "category": HOSTILE, HOSTILE: HOSTILE}
    trigger = {
        "rule": {"id": HOSTILE, "name": HOSTILE, "tags": tags},
        "rule_matches": [{"operator": HOSTILE, "operator_value": HOSTILE, "parameters": [parameter]}],
        "security_response_id": HOSTILE,
        "stack_id": HOSTILE,
    }
    frames = [{"file": HOSTILE, "function": HOSTILE, "line": HOSTILE, "text": HOSTILE}]
    fields = (
        "http__useragent", "http__url", "http__route", "http__method", "usr__id", "usr__session_id",
        "actor__ip", "network__client__ip", "_dd__appsec__fp__http__header", "_dd__rc__client_id",
    )  # fmt: skip
    event = {"appsec__events__x__track": "true", f"appsec__events__x__{HOSTILE}": HOSTILE}
    return attacked(
        number, ago_s=ago_s, service=HOSTILE, env=HOSTILE, triggers=[trigger],
        stacks=[{"id": HOSTILE, "frames": frames}], **dict.fromkeys(fields, HOSTILE), **event,
    )  # fmt: skip


def seed(control_plane: ControlPlane) -> None:
    """Two traces with all a trace can have, past detection, so that no signal comes of them."""
    exploit = matched("x", rule=EXPLOIT, stack_id="s1", security_response_id="0d1f6d2c-8f0e-4b0e-a0f5")
    told = [
        attacked(
            SEEDED, ago_s=90, usr__id="ann", usr__session_id="sess-12345678", appsec__blocked="true",
            http__status_code="403",
            triggers=[matched("1' OR '1'='1' UNION SELECT name FROM users--", "' OR '1'", "s&1UE"), exploit],
            stacks=[{"id": "s1", "language": "python", "frames": FRAMES}],
        ),
        hostile(SEEDED_HOSTILE, ago_s=60),
    ]  # fmt: skip
    found = []
    for one in told:
        row = security_trace(one.span, seen_at=one.seen_ms / 1000, host="ip-10-2-7-9", lang="python")
        assert row is not None
        found.append(store.Stored(row, stacks=one.span.stacks))
    database = Database(f"sqlite:///{next(control_plane.folder.rglob('*.db'))}")
    with database.write() as c:
        store.put_traces(c, 1, found)
    database.close()
