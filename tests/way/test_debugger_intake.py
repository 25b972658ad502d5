"""Data of probes on its way: sent as agents do, taken or refused, shown to whom it may be shown."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from sealwire.server.access import digest_sent
from sealwire.server.api import debugger_intake, intake
from sealwire.server.debugger.reports.arrivals import MAX_UPLOAD_BYTES
from tests.support.console import Console, console, run
from tests.support.messages import body, event, message, status, value

SECRET = "open-sesame-4711"
TAGS = "?ddtags=host%3Aweb-1%2Cdefault_env%3Anone%2Cenv%3Aprod%2Cversion%3A1.2.3"
LOG = {
    "kind": "log", "language": "python", "where": {"file": "shop/orders.py", "line": 41},
    "template": "total is {total}", "snapshot": True,
}  # fmt: skip


async def probe(it: Console, **fields: Any) -> str:
    made = await it.post(
        "/debugger/probes", {"name": "log", "service": "shop", "env": ["prod"], "document": LOG, **fields}
    )
    return str(made["id"])


async def new_key(it: Console) -> str:
    made = await it.post("/keys", {"name": "agents", "remote_config": False})
    return str(made["key"])


async def send(
    it: Console, key: str, content: Any, path: str = debugger_intake.PATH, **headers: str
) -> httpx.Response:
    given = {"content-type": "application/json", "dd-api-key": key}
    given |= {name.replace("_", "-"): said for name, said in headers.items()}
    return await it.client.post(path + TAGS, content=content, headers=given)


async def written(it: Console) -> None:
    tenant = it.plane.tenants[1]
    await tenant.snapshots.flush()
    await tenant.statuses.flush()


def people(
    it: Console, *permissions: str, services: frozenset[str] = frozenset()
) -> Iterator[dict[str, str]]:
    """Headers of people, each with the permissions of one text; the last one's are for the services only."""
    keys = [
        it.plane.access.create_application_key(1, user="eve", role="admin", now_ms=0) for _ in permissions
    ]
    for key, words in zip(keys, permissions, strict=True):
        admin = it.plane.access.principal(key)
        of = services if key == keys[-1] else frozenset()
        it.plane.access._application[digest_sent(key)] = replace(  # type: ignore[index]
            admin,
            grants=tuple(replace(grant, services=of) for grant in admin.grants),
            scopes=frozenset(words.split()),
        )
        yield {"Authorization": f"Bearer {key}"}


def test_messages_and_statuses_come_in_and_are_there(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key, probe_id = await new_key(it), await probe(it)
        lot = body(
            message("one", probe=probe_id, captured={"total": value("5", "int")}), b"{}",
            message(probe="nobody"), status("EMITTING", probe=probe_id),
        )  # fmt: skip
        reply = await send(it, key, lot)
        assert (reply.status_code, reply.content) == (202, b"{}")
        content_type, form = event(
            status("ERROR", probe=probe_id, runtime="run-2", error=("NoSourceFile", ""))
        )
        assert (await send(it, key, form, content_type=content_type)).status_code == 202
        elder = await send(it, key, body(message("two", probe=probe_id)), debugger_intake.LOGS_PATH)
        assert elder.status_code == 202
        await written(it)

        page = await it.get(f"/debugger/snapshots?probe_id={probe_id}&limit=1")
        assert page["next"]
        rest = await it.get(f"/debugger/snapshots?probe_id={probe_id}&before={page['next']}")
        found = {one["id"]: one for one in page["snapshots"] + rest["snapshots"]}
        assert set(found) == {"one", "two"}
        assert (found["one"]["host"], found["one"]["env"], found["one"]["version"]) == (
            "web-1",
            "prod",
            "1.2.3",
        )
        whole = await it.get("/debugger/snapshots/one")
        assert whole["captures"][0]["locals"] == {"total": {"type": "int", "value": "5"}}
        assert whole["message"] == found["one"]["message"] == "total is 5"
        said = await it.get(f"/debugger/probes/{probe_id}/statuses")
        assert (said["headline"], said["counts"]) == ("error", {"ERROR": 1, "EMITTING": 1})
        assert said["instances"][0]["failure"]["explained"]
        assert said["snapshots"]["kept"] == 2
        metrics = (await it.client.get("/metrics")).text
        assert 'sealwire_debugger{org="1",what="snapshots"} 2' in metrics
        assert 'sealwire_debugger{org="1",what="refused"} 1' in metrics
        assert 'sealwire_answers_total{endpoint="debugger",status="202"} 2' in metrics

    run(tmp_path, case)


def test_what_came_is_there_after_a_restart(tmp_path: Path) -> None:
    async def whole() -> None:
        async with console(tmp_path) as it:
            key, probe_id = await new_key(it), await probe(it)
            lot = body(message("one", probe=probe_id), status("EMITTING", probe=probe_id))
            assert (await send(it, key, lot)).status_code == 202
        async with console(tmp_path) as it:
            assert (await send(it, key, body(message("one", probe=probe_id)))).status_code == 202
            await written(it)
            page = await it.get("/debugger/snapshots")
            assert [one["id"] for one in page["snapshots"]] == ["one"]
            said = await it.get(f"/debugger/probes/{probe_id}/statuses")
            assert said["headline"] == "emitting"
            assert (await it.get("/debugger/snapshots/one"))["message"] == "total is 5"

    asyncio.run(whole())


HOSTILE: tuple[tuple[bytes, str, int], ...] = (
    (b"", "", 400),
    (b"nonsense", "", 400),
    (b"[" * 100_000, "", 400),
    (b"{}", "gzip", 400),
    (b"{}", "zstd", 400),
    (gzip.compress(b"[]")[:-4], "gzip", 400),
    (gzip.compress(bytes(MAX_UPLOAD_BYTES + 1)), "gzip", 413),
    (b"[" + bytes(20 * 1024 * 1024) + b"]", "", 413),
    (b"[]", "br", 415),
)


def test_what_cannot_be_read_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key, probe_id = await new_key(it), await probe(it)
        for content, encoding, code in HOSTILE:
            reply = await send(it, key, content, content_encoding=encoding)
            assert reply.status_code == code, content[:10]
            assert len(reply.content) < 500
        for odd in (
            "multipart/form-data",
            "multipart/form-data; boundary=x",
            "multipart/form-data; boundary=",
        ):
            assert (await send(it, key, b"--x\r\n", content_type=odd)).status_code == 400
        # A snapshot of 20 MB: its body is refused; one that is merely too large for a tracer is counted.
        large = message(probe=probe_id, captured={"big": value("x" * 2_000_000)})
        assert (await send(it, key, body(large, message("small", probe=probe_id)))).status_code == 202
        await written(it)
        assert [one["id"] for one in (await it.get("/debugger/snapshots"))["snapshots"]] == ["small"]
        counts = (await it.get(f"/debugger/probes/{probe_id}/statuses"))["snapshots"]
        assert (counts["kept"], counts["refused"]) == (1, 1)

    run(tmp_path, case)


def test_only_who_has_a_live_key_gets_in(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.post("/keys", {"name": "agents", "remote_config": True})
        for path in (debugger_intake.PATH, debugger_intake.LOGS_PATH):
            assert (await send(it, "0" * 32, b"[]", path)).status_code == 401
            assert (await it.client.get(path, headers={"DD-Api-Key": made["key"]})).status_code == 405
        assert (await it.ask("DELETE", f"/keys/{made['id']}")).status_code == 200
        assert (await send(it, made["key"], b"[]")).status_code == 401

    run(tmp_path, case)


def test_slow_and_broken_bodies_hold_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "ARRIVES_WITHIN_S", 0.05)
    monkeypatch.setattr(intake, "MAX_ARRIVING", 2)

    async def case(it: Console) -> None:
        key, probe_id = await new_key(it), await probe(it)
        waiting = asyncio.Event()

        async def slow() -> Any:
            yield b"["
            await waiting.wait()

        async def broken() -> Any:
            yield b'[{"service":'
            raise ConnectionResetError

        slowly = [asyncio.create_task(send(it, key, slow())) for _ in range(3)]
        assert sorted([(await one).status_code for one in slowly]) == [429, 503, 503]
        with pytest.raises(ConnectionResetError):
            await send(it, key, broken())
        assert (await send(it, key, body(message(probe=probe_id)))).status_code == 202

    run(tmp_path, case)


def test_values_are_seen_by_no_route_of_who_may_not_see_them(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key, probe_id = await new_key(it), await probe(it)
        raw = message(
            "one", probe=probe_id, said=f"total is {SECRET}", captured={SECRET: value(SECRET)},
            evaluationErrors=[{"expr": "x", "message": SECRET}],
        )  # fmt: skip
        assert (await send(it, key, body(raw, status("EMITTING", probe=probe_id)))).status_code == 202
        await written(it)
        paths = (
            "/debugger/snapshots",
            "/debugger/snapshots/one",
            f"/debugger/snapshots/search?probe_id={probe_id}&text={SECRET}",
            "/debugger/snapshots/export",
            f"/debugger/probes/{probe_id}/statuses",
            f"/debugger/probes/{probe_id}",
            f"/debugger/probes/{probe_id}/history",
        )
        reader, nobody, elsewhere = people(
            it,
            "debugger_read debugger_capture_variables",
            "debugger_read debugger_write debugger_export rc_config_read org_management",
            "debugger_read debugger_capture_variables debugger_export",
            services=frozenset({"cart"}),
        )
        seen = {}
        for path in paths:
            allowed = await it.ask("GET", path)
            seen[path] = SECRET in allowed.text
            for headers in (nobody, elsewhere):
                reply = await it.ask("GET", path, headers=headers)
                assert reply.status_code == 200, path
                assert SECRET not in reply.text, path
        assert [path for path, sees in seen.items() if sees] == list(paths[:4])
        hidden = (await it.ask("GET", "/debugger/snapshots/one", headers=nobody)).json()
        assert (hidden["message"], hidden["shows_values"]) == ("total is {total}", False)
        found = (await it.ask("GET", paths[2], headers=nobody)).json()
        assert found["snapshots"] == []
        # To export is a permission of its own.
        assert (await it.ask("GET", "/debugger/snapshots/export", headers=reader)).status_code == 403
        assert SECRET in (await it.ask("GET", "/debugger/snapshots/one", headers=reader)).text

    run(tmp_path, case)


def test_values_are_in_no_log_audit_or_database_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def case(it: Console) -> None:
        key, probe_id = await new_key(it), await probe(it)
        raw = message("one", probe=probe_id, said=SECRET, captured={SECRET: value(SECRET)})
        odd = message("odd", probe=probe_id, captures={"lines": {"1": {"locals": {SECRET: [SECRET]}}}})
        spoilt = b'{"debugger":{"snapshot":{"id":"' + SECRET.encode() + b"/"
        assert (await send(it, key, body(raw, odd))).status_code == 202
        assert (await send(it, key, b"[%b]" % spoilt)).status_code == 400
        assert SECRET not in (await send(it, key, b'{"debugger":"%b"}' % SECRET.encode())).text
        await written(it)
        for path in ("/debugger/snapshots/one", "/debugger/snapshots/odd", "/debugger/snapshots/export"):
            assert (await it.ask("GET", path)).status_code == 200
        assert SECRET not in json.dumps(await it.get("/audit?limit=100"))
        assert "snapshots.exported" in json.dumps(await it.get("/audit?limit=100"))
        it.plane.database.checkpoint()
        found = [
            file for file in tmp_path.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()
        ]
        assert found == []

    run(tmp_path, case)
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err


def test_settings_are_changed_by_those_who_may_and_noted(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        before = await it.get("/debugger/settings")
        assert (before["retention_hours"], before["snapshots_per_s"], before["revision"]) == (24, 500, 0)
        assert "password" in before["redacted_by_tracers"]
        changed = await it.put(
            "/debugger/settings",
            {"snapshots_per_s": 2, "redacted_names": ["IBAN", "i_ban"], "expected_revision": 0},
        )
        assert (changed["snapshots_per_s"], changed["redacted_names"], changed["revision"]) == (
            2,
            ["IBAN"],
            1,
        )
        await it.refused(
            "PUT", "/debugger/settings", {"snapshots_per_s": 3, "expected_revision": 0}, status=409
        )
        for wrong in ({"snapshots_per_s": 0}, {"retention_hours": 10**6}, {"redacted_names": ["_"]}):
            await it.refused("PUT", "/debugger/settings", wrong, status=422)
        key, probe_id = await new_key(it), await probe(it)
        lot = body(*(message(probe=probe_id) for _ in range(10)))
        assert (await send(it, key, lot)).status_code == 202
        counts = (await it.get(f"/debugger/probes/{probe_id}/statuses"))["snapshots"]
        assert counts["kept"] + counts["over_quota"] == 10
        assert counts["over_quota"] >= 5
        (event_,) = [
            one for one in (await it.get("/audit?limit=100"))["events"]
            if one["action"] == "debugger_settings.changed"
        ]  # fmt: skip
        assert event_["detail"]["snapshots_per_s"] == {"from": 500, "to": 2}

    run(tmp_path, case)


def test_the_export_is_lines_of_json(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key, probe_id = await new_key(it), await probe(it)
        lot = body(*(message(f"n{n}", probe=probe_id, captured={"n": value(str(n))}) for n in range(120)))
        assert (await send(it, key, lot)).status_code == 202
        await written(it)
        reply = await it.ask("GET", f"/debugger/snapshots/export?probe_id={probe_id}")
        lines = [orjson.loads(line) for line in reply.text.splitlines()]
        assert len({line["id"] for line in lines}) == 120
        assert reply.headers["content-type"].startswith("application/jsonl")
        assert (await it.ask("GET", "/debugger/snapshots/export?service=other")).text == ""

    run(tmp_path, case)
