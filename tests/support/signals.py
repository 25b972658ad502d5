"""Signals as the engine makes them: rows of a few attacks put through the detection rules.

What attackers send in them is hostile: markup, texts that turn the direction of writing, quotation marks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from sealwire.server.security.builtin import BUILTIN
from sealwire.server.security.engine import Engine
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.security.rules import Rule, check
from sealwire.server.security.signals import Signal
from sealwire.server.store import security as store
from sealwire.server.store.database import Database
from tests.support.stack import ControlPlane

SCANNER = "198.51.100.23"
STUFFER = "203.0.113.99"
HOSTILE = '<script>alert(1)</script>\u202e"\\'
LOGIN_FAILED = "business_logic.users.login.failure"
LOGIN = "business_logic.users.login.success"


def row(number: int, *, ts: float, **values: object) -> SecurityTrace:
    """One request; ``number`` tells it from others."""
    known = {
        "service": "shop", "env": "prod", "method": "GET", "target": "/search", "status": 200,
        "user_agent": "Mozilla/5.0 (X11; Linux) Probe/1.0", "fp_header": "hdr-0000000010-51fbd9d8-1-4740ae63",
        "fp_network": "net-1-1000000000", **values,
    }  # fmt: skip
    return SecurityTrace(trace_id=f"{number:032x}", span_id=f"{number:016x}", ts=ts, **known)  # type: ignore[arg-type]  # by name


def scan(now: float, *, ip: str = SCANNER, requests: int = 140, first: int = 1) -> list[SecurityTrace]:
    """SQL injections and two tools from one address, for nine minutes; some blocked, one with an error."""
    found = []
    for place in range(requests):
        share = place / requests
        found.append(
            row(
                first + place,
                ts=now - 540 * (1 - share**2) - 5,
                actor_ip=ip,
                activities=("attack_attempt.attack_tool", "attack_attempt.sql_injection"),
                rule_ids=("crs-942-100", "ua0-600-0xx"),
                rule_types=("attack_tool", "sql_injection"),
                tools=("sqlmap",) if place % 3 else ("sqlmap", HOSTILE),
                target="/search" if place % 2 else "/products/{id}",
                user_agent="sqlmap/1.7" if place % 4 else HOSTILE,
                blocked=place > requests * 0.8,
                status=500 if place == requests // 2 else 403 if place > requests * 0.8 else 200,
                touches=("sql",),
            )
        )
    return found


def stuffing(now: float, *, ip: str = STUFFER, first: int = 10_001) -> list[SecurityTrace]:
    """Many accounts tried from one address, one of them with success."""
    names = [f"user-{place}" for place in range(11)] + [HOSTILE]
    found = [
        row(
            first + place, ts=now - 240 + place * 5, actor_ip=ip, method="POST", target="/login", status=401,
            activities=(LOGIN_FAILED,), user_login=names[place % 12], account=names[place % 12],
        )
        for place in range(44)
    ]  # fmt: skip
    found.append(
        row(
            first + 44, ts=now - 15, actor_ip=ip, method="POST", target="/login", activities=(LOGIN,),
            user_id="user-7", account="user-7",
        )
    )  # fmt: skip
    return found


def rules() -> list[Rule]:
    """Those that come with the server."""
    return [check(document, rule_id=rule_id) for rule_id, document in BUILTIN.items()]


def signals_of(
    rows: Iterable[SecurityTrace], *, ended_at: float | None = None, using: Sequence[Rule] | None = None
) -> list[Signal]:
    """The signals that rows open, as they are after the last of them, or after they ended."""
    engine = Engine(rules() if using is None else using)
    for one in sorted(rows, key=lambda one: one.ts):
        engine.insert(one, now=one.ts)
    found = engine.open_signals()
    if ended_at is not None:
        engine.tick(now=ended_at)
    return found


#: Ids of those that ``seed`` puts.
SEEDED = {"attack-tool": "5ea1ed0000000001", "sqli-single-ip": "5ea1ed0000000002",
          "cred-stuffing": "5ea1ed0000000003"}  # fmt: skip


def seed(control_plane: ControlPlane) -> None:
    """Signals of two attacks, and two that ended, straight into the tables of a control plane that runs."""
    now = time.time()
    going = signals_of([*scan(now), *stuffing(now)])
    for signal in going:
        signal.id = SEEDED[signal.rule_id]
    ended = signals_of(scan(now - 7_200, ip="192.0.2.14", requests=40, first=20_001), ended_at=now - 600)
    database = Database(f"sqlite:///{next(control_plane.folder.rglob('*.db'))}")
    with database.write() as c:
        store.put_signals(c, 1, [*going, *ended])
        store.put_traces(c, 1, [store.Stored(row) for row in [*scan(now), *stuffing(now)]])
    database.close()
