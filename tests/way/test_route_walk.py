"""Every route, walked by everybody: nobody, three roles, and the administrator of another organisation.

The table of ``routes`` says who gets in, and this test goes and looks, with the ids of things that are really
there. Whoever may not get in learns nothing and changes nothing but the audit trail.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from litestar import Litestar

from sealwire.clock import utc_now
from sealwire.server.access.permissions import BUILT_IN_ROLES, PERMISSIONS
from sealwire.server.api import admin
from sealwire.server.app import build
from sealwire.server.store import security
from sealwire.server.ui.router import router as pages
from tests.support.console import Console, console
from tests.support.parts import ASM_ON, NOTED, dump
from tests.support.signals import scan, signals_of
from tests.support.simulated_agent import tracer
from tests.way.routes import API, OF_BROWSERS, PAGES, SAME, WHO

LADDER = {"r": ("read_only", "standard", "admin"), "s": ("standard", "admin"), "a": ("admin",)}
RULE = {
    "queries": [{"name": "a", "query": "*"}], "cases": [{"status": "low", "condition": "a > 1000"}],
}  # fmt: skip
PROBE = {"kind": "log", "language": "python", "where": {"file": "a.py", "line": 1}, "template": "at"}
MARK = "walk-mark"  # in every name of the first organisation: what of it another one must never see


@dataclass(slots=True)
class Answer:
    """What came back: the status, and as much of the body as came at once."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def ask(application: Any, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """One request straight to the application; what would last for ever is left when it has begun."""
    answer = Answer()
    begun = asyncio.Event()
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {
                name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]
            }
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")
            begun.set()

    raw_path, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": raw_path, "raw_path": raw_path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("192.0.2.7", 4711), "server": ("sealwire", 80), "state": {}, "extensions": {},
    }  # fmt: skip
    task = asyncio.create_task(application(scope, receive, send))
    done, _ = await asyncio.wait({task}, timeout=3)
    if not done:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    elif task.exception() is not None and not answer.status:
        raise AssertionError(f"{method} {path} failed") from task.exception()
    assert answer.status, f"{method} {path} did not answer"
    return answer


def routes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and options of every route of people, as the framework knows them."""
    for route in Litestar(route_handlers=[admin.router(), pages()], openapi_config=None).routes:
        for handler, _ in getattr(route, "route_handler_map", {}).values():
            for method in sorted(handler.http_methods):
                if method not in ("OPTIONS", "HEAD"):
                    yield method, route.path, handler.opt


def table() -> dict[str, str]:
    """Whom each route lets in, by the permission it declares."""
    found = {}
    for method, path, options in routes():
        declared = options.get("permission", "")
        letters = ""
        for permission in declared if isinstance(declared, tuple) else (declared,):
            if permission in ("anybody", "signed_in"):
                letters += "-" if permission == "anybody" else "S"
            else:
                assert permission in PERMISSIONS, f"{method} {path} declares {permission!r}"
                letters += {"read_only": "r", "standard": "s", "admin": "a"}[PERMISSIONS[permission].since]
        # Of several it takes one only: whoever has the least of them gets in.
        found[f"{method} {path}"] = min(letters, key="-Srsa".index)
    return found


async def furnish(it: Console) -> dict[str, str]:
    """Things of the first organisation that are really there: parameter name -> id."""
    config = await it.put_config("ASM_FEATURES", ASM_ON, name=MARK, comment=MARK)
    key = await it.post("/keys", {"name": MARK, "remote_config": True})
    webhook = await it.post(
        "/webhooks", {"name": MARK, "url": f"https://{MARK}.example.org/", "events": ["agent.error"]}
    )
    role = await it.post("/roles", {"name": MARK, "permissions": ["fleet_read"], "description": MARK})
    role_given = {"role_id": role["id"], "services": [MARK], "envs": []}
    user = await it.post("/users", {"email": f"{MARK}@example.org", "name": MARK, "roles": [role_given]})
    there = await it.get(f"/users/{user['id']}")
    rule = await it.post("/security/rules", {"document": {**RULE, "name": MARK}})
    probe = await it.post("/debugger/probes", {"name": MARK, "service": MARK, "document": PROBE})
    stop = await it.post("/debugger/stops", {"service": f"{MARK}-stopped", "reason": MARK})
    (signal, *_) = signals_of(scan(time.time(), requests=20))
    signal.title = MARK
    with it.plane.database.write() as c:
        security.put_signals(c, 1, [signal])
    await it.published()
    agent = it.agent(tracer(MARK, service=MARK), name=MARK)
    await it.poll(agent)
    agent.apply(now=utc_now())
    await it.poll(agent)
    await it.plane.tenants[1].observer.flush()
    agents = (await it.get("/agents"))["agents"]
    return {
        "config_id": config["id"],
        "rule_id": rule["id"],
        "probe_id": probe["id"],
        "stop_id": stop["stop_id"],
        "signal_id": signal.id,
        "key_id": key["id"],
        "webhook_id": webhook["id"],
        "role_id": role["id"],
        "user_id": user["id"],
        "client_id": MARK,
        "agent_id": agents[0]["agent_id"],
        "binding_id": there["roles"][0]["binding_id"],
        "event_id": str((await it.get("/audit?limit=1"))["events"][0]["id"]),
    }


def concrete(path: str, ids: Mapping[str, str]) -> str:
    """A path with the ids of things that are there; what has no thing gets a name nobody has."""
    return re.sub(r"/?\{(\w+):\w+\}", lambda found: "/" + ids.get(found[1], "0" * 16), path)


def test_every_route_has_its_row() -> None:
    found = table()
    assert found == WHO, (
        f"without a row: {sorted(set(found) - set(WHO))}; gone: {sorted(set(WHO) - set(found))}; "
        f"different: {sorted(name for name in set(found) & set(WHO) if found[name] != WHO[name])}"
    )


def test_the_pages_change_nothing_that_the_api_cannot() -> None:
    changing = {name for name in PAGES if not name.startswith("GET ")}

    assert changing == SAME.keys() | OF_BROWSERS
    for page, route in SAME.items():
        assert route in API, f"{page}: there is no {route}"
        assert API[route] == PAGES[page], f"{page} lets in others than {route}"


def _body(path: str) -> tuple[bytes, dict[str, str]]:
    if path.startswith("/api/"):
        return b"{}", {"Content-Type": "application/json"}
    return b"", {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("who", ["nobody", "read_only", "standard", "admin"])
def test_a_route_lets_in_whom_the_table_says(tmp_path: Path, who: str) -> None:
    async def case() -> list[str]:
        async with console(tmp_path) as it:
            ids = await furnish(it)
            application, _ = build(it.plane)
            headers = {"Host": "sealwire"}
            if who != "nobody":
                assert who in BUILT_IN_ROLES
                headers["DD-Application-Key"] = it.plane.access.create_application_key(
                    1, user=who, role=who, now_ms=it.plane.now_ms()
                )
            wrong = []
            for name, letter in WHO.items():
                method, path = name.split(" ", 1)
                if letter in "-S" and who != "nobody":
                    continue
                let_in = letter == "-" or who in LADDER.get(letter, ())
                if let_in and method != "GET":
                    continue  # what changes something is tried by the tests of its own area
                body, more = _body(path)
                before = None if method == "GET" else without(dump(it.plane.database))
                answer = await ask(application, method, concrete(path, ids), {**headers, **more}, body)
                if answer.status >= 500:
                    wrong.append(f"{name}: {answer.status} {answer.body[:200]!r}")
                elif let_in and answer.status in (401, 403):
                    wrong.append(f"{name}: {answer.status}, but {who} is let in")
                elif not let_in:
                    expected = (403,) if who != "nobody" else (401, 303)
                    if answer.status not in expected:
                        wrong.append(f"{name}: {answer.status}, but {who} is not let in")
                    if MARK in answer.body.decode("utf-8", "replace").replace(concrete(path, ids), ""):
                        wrong.append(f"{name}: tells {who} of what it may not see")
                    if before is not None and without(dump(it.plane.database)) != before:
                        wrong.append(f"{name}: changed something for {who}")
            return wrong

    assert asyncio.run(case()) == []


def test_another_organisation_s_administrator_finds_nothing_of_ours(tmp_path: Path) -> None:
    async def case() -> list[str]:
        async with console(tmp_path) as it:
            ids = await furnish(it)
            made = await it.post("/orgs", {"name": "other"})
            application, _ = build(it.plane)
            headers = {"Host": "sealwire", "DD-Application-Key": made["application_key"]}
            wrong = []
            for name, letter in WHO.items():
                method, path = name.split(" ", 1)
                if letter == "-":
                    continue
                names_ours = any(f"{{{parameter}:" in path for parameter in ids)
                if method != "GET" and not names_ours:
                    continue
                target = concrete(path, ids)
                body, more = _body(path)
                before = of_the_first(dump(it.plane.database))
                answer = await ask(application, method, target, {**headers, **more}, body)
                text = answer.body.decode("utf-8", "replace").replace(target, "")
                if answer.status >= 500:
                    wrong.append(f"{name}: {answer.status}")
                if names_ours and answer.status not in (404, 400, 422):
                    wrong.append(f"{name}: {answer.status} for a thing of another organisation")
                if MARK in text and not names_ours:
                    wrong.append(f"{name}: tells of another organisation")
                if of_the_first(dump(it.plane.database)) != before:
                    wrong.append(f"{name}: changed something of another organisation")
            return wrong

    assert asyncio.run(case()) == []


def without(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables without those that any request may add to."""
    return {name: rows for name, rows in tables.items() if name not in NOTED}


def of_the_first(tables: Mapping[str, Any]) -> list[bytes]:
    """All rows of the first organisation, without what its own agents and keys note."""
    return sorted(
        orjson.dumps([name, row], default=repr, option=orjson.OPT_NON_STR_KEYS)
        for name, rows in without(tables).items()
        for row in rows
        if MARK in repr(row)
    )
