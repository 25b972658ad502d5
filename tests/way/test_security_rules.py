"""Detection rules by the admin API and on the pages; through the real application."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from pathlib import Path
from typing import Any

import httpx

from sealwire.server.store import security as store
from sealwire.server.store.security import Stored
from tests.support.console import Console, run
from tests.support.form_fields import fields_of
from tests.support.signals import scan

OWN: dict[str, Any] = {
    "name": "Everything from one address",
    "message": "Look **twice**. <script>alert(1)</script> [here](javascript:alert(1))",
    "queries": [{"name": "a", "query": "@http.client_ip:198.51.100.0/24", "groupByFields": ["service"]}],
    "cases": [{"name": "some", "status": "high", "condition": "a > 5"}],
    "options": {"evaluationWindow": 600},
    "tags": ["category:mine"],
}


def fields(html: str) -> dict[str, str]:
    """What a submit would send."""
    return {name: values[-1] for name, values in fields_of(html).items()}


async def page(it: Console, path: str, form: dict[str, Any] | None = None) -> httpx.Response:
    headers = {**it.headers, "Accept": "text/html"}
    if form is None:
        return await it.client.get(path, headers=headers)
    return await it.client.post(path, data=form, headers=headers)


def put_traces(it: Console) -> None:
    with it.plane.database.write() as c:
        store.put_traces(c, 1, [Stored(row) for row in scan(time.time(), requests=40)])


def test_a_rule_is_made_changed_switched_and_ended(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.post("/security/rules", {"document": OWN, "comment": "new"})
        path = f"/security/rules/{made['id']}"
        assert (made["kind"], made["version"], made["enabled"]) == ("own", 1, True)

        changed = await it.put(
            path, {"document": {**OWN, "name": "Another"}, "expected_version": 1, "comment": "better"}
        )
        assert (changed["name"], changed["version"], changed["comment"]) == ("Another", 2, "better")
        conflict = await it.refused("PUT", path, {"document": OWN, "expected_version": 1}, status=409)
        assert (conflict["expected_revision"], conflict["actual_revision"]) == (1, 2)
        off = (await it.ask("PATCH", path, {"enabled": False})).json()
        assert (off["enabled"], off["version"]) == (False, 3)
        versions = (await it.get(f"{path}/versions"))["versions"]
        assert [one["changes"] for one in versions] == [
            ["Switched off"], ["Name: Everything from one address → Another"],
            ["A new rule: Everything from one address"],
        ]  # fmt: skip
        await it.refused("DELETE", f"{path}?expected_version=1", status=409)
        assert (await it.ask("DELETE", f"{path}?expected_version=3")).status_code == 204
        await it.refused("GET", path, status=404)
        assert len((await it.get(f"{path}/versions"))["versions"]) == 4

        events = (await it.get("/audit?limit=10"))["events"]
        assert [event["action"] for event in events if event["action"].startswith("detection_rule")] == [
            "detection_rule.deleted", "detection_rule.changed", "detection_rule.changed",
            "detection_rule.created",
        ]  # fmt: skip

    run(tmp_path, case)


def test_a_built_in_rule_is_changed_and_restored(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        path = "/security/rules/attack-tool"
        before = await it.get(path)
        await it.put(path, {"document": {**before["document"], "name": "Tools"}, "expected_version": 1})
        assert (await it.get(path))["kind"] == "changed"

        await it.refused("DELETE", f"{path}?expected_version=2", status=422)
        await it.refused("POST", f"{path}/restore", {"expected_version": 1}, status=409)
        back = await it.post(f"{path}/restore", {"expected_version": 2}, status=200)

        assert (back["kind"], back["version"], back["document"]) == ("built_in", 3, before["document"])

    run(tmp_path, case)


def test_a_rule_is_tried_before_it_is_saved(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        put_traces(it)

        found = await it.post(
            "/security/rules:try", {"document": {**OWN, "isEnabled": False}, "hours": 1}, status=200
        )
        assert (found["total"], found["by_severity"]) == (1, {"high": 1})
        assert found["signals"][0]["group"] == {"service": "shop"}
        assert (await it.get("/security/signals"))["signals"] == []
        wrong = {**OWN, "queries": [{"name": "a", "query": "servise:shop"}]}
        refused = await it.refused("POST", "/security/rules:try", {"document": wrong}, status=422)
        assert refused["problems"][0]["path"] == "$.queries[0].query"
        assert "Did you mean service?" in refused["problems"][0]["message"]
        await it.refused("POST", "/security/rules:try", {"document": OWN, "hours": 9000}, status=422)

    run(tmp_path, case)


def test_rules_go_into_a_file_and_come_out_of_it(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await it.post("/security/rules", {"document": OWN})
        file = await it.get("/security/rules/export")

        answer = (await it.post("/security/rules:import", {"rules": file["rules"][-2:]}))["rules"]
        assert [one["kind"] for one in answer] == ["own", "own"]
        assert answer[1]["document"] == OWN
        wrong = {"rules": [OWN, {**OWN, "cases": []}]}
        refused = await it.refused("POST", "/security/rules:import", wrong, status=422)
        assert [one["path"] for one in refused["problems"]] == ["$[1].cases"]

        shown = await page(it, "/security/rules/export")
        assert "attachment" in shown.headers["content-disposition"]
        bad = await page(it, "/security/rules/import", {"json": "[{]"})
        assert (bad.status_code, "This is not JSON" in bad.text) == (422, True)
        good = await page(it, "/security/rules/import", {"json": json.dumps({**OWN, "name": "By a form"})})
        assert good.status_code == 303
        assert "By a form" in (await page(it, good.headers["location"])).text

    run(tmp_path, case)


def test_hostile_documents_are_refused_and_a_message_is_safe_html(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for document in (
            7, [], None, {}, {**OWN, "name": "x\u202ey"}, {**OWN, "name": "x\0"},
            {**OWN, "queries": [{}] * 11},
            {**OWN, "cases": [{"status": "low", "condition": "(" * 400}]},
            {**OWN, "queries": [{"name": "a", "query": "(" * 500}]},
            {**OWN, "options": {"evaluationWindow": 1e309}}, {**OWN, "tags": "x" * 100_000},
        ):  # fmt: skip
            body = json.dumps({"document": document})
            reply = await it.client.post(
                "/api/admin/v1/security/rules", content=body,
                headers={**it.headers, "Content-Type": "application/json"},
            )  # fmt: skip
            assert reply.status_code in (400, 422), (reply.status_code, body[:200])
        made = await it.post("/security/rules", {"document": OWN})

        text = (await page(it, f"/security/rules/{made['id']}")).text

        assert "<strong>twice</strong>" in text
        assert "<script>alert" not in text
        assert 'href="javascript' not in text

    run(tmp_path, case)


def test_the_form_shows_what_is_wrong_where_it_is_wrong_and_keeps_what_was_typed(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        put_traces(it)
        form = fields((await page(it, "/security/rules/new")).text)
        form |= {"name": "Mine", "q-0-query": "servise:shop", "c-0-condition": "b > 1", "do": "save"}

        refused = await page(it, "/security/rules/new", form)
        assert refused.status_code == 200
        assert re.search(r'id="in-q-0-query"[^>]*aria-invalid="true"', refused.text)
        assert "Did you mean service?" in unescape(refused.text)
        assert fields(refused.text)["q-0-query"] == "servise:shop"

        form |= {"q-0-query": "service:shop", "c-0-condition": "a > 1", "do": "try", "hours": "1"}
        tried = await page(it, "/security/rules/new", form)
        assert re.search(r"<b>1</b> signal in 1 hour", tried.text)

        as_json = await page(it, "/security/rules/new", {**form, "do": "json"})
        typed = fields(as_json.text)
        assert json.loads(typed["json"])["name"] == "Mine"
        back = await page(it, "/security/rules/new", {**typed, "do": "form"})
        assert fields(back.text)["q-0-query"] == "service:shop"

        more = await page(it, "/security/rules/new", {**form, "do": "add-query"})
        assert fields(more.text)["q-1-name"] == "b"
        saved = await page(it, "/security/rules/new", {**form, "do": "save"})
        again = await page(it, "/security/rules/new", {**form, "do": "save"})  # pressed twice
        assert saved.headers["location"] == again.headers["location"]

    run(tmp_path, case)


def test_two_people_at_the_same_rule_lose_nothing(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.post("/security/rules", {"document": OWN})
        path = f"/security/rules/{made['id']}"
        mine = fields((await page(it, f"{path}/edit")).text) | {"name": "Mine", "do": "save"}
        theirs = {**OWN, "cases": [{"name": "some", "status": "low", "condition": "a > 50"}]}
        await it.put(path, {"document": theirs, "expected_version": 1, "comment": "calmer"})

        conflict = await page(it, f"{path}/edit", mine)
        assert conflict.status_code == 200
        assert "Case 1: high when a &gt; 5 → low when a &gt; 50" in conflict.text
        carried = fields(conflict.text)
        merged = fields((await page(it, f"{path}/edit", {**carried, "do": "merge"})).text)
        assert (merged["name"], merged["c-0-condition"], merged["version"]) == ("Mine", "a > 50", "2")
        done = await page(it, f"{path}/edit", {**merged, "do": "save"})

        assert done.status_code == 303
        rule = await it.get(path)
        assert (rule["name"], rule["version"]) == ("Mine", 3)
        assert rule["document"]["cases"][0]["status"] == "low"

    run(tmp_path, case)


def test_rules_are_switched_restored_and_deleted_by_forms(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await page(it, "/security/rules/api-scan/switch", {"to": "off", "next": "/security/rules"})
        rule = await it.get("/security/rules/api-scan")
        assert (rule["enabled"], rule["kind"]) == (False, "built_in")
        await it.put(
            "/security/rules/api-scan",
            {"document": {**rule["document"], "name": "Scan"}, "expected_version": 2},
        )
        text = (await page(it, "/security/rules/api-scan/restore")).text
        assert "Name: One address tries many paths → Scan" in text
        await page(it, "/security/rules/api-scan/restore", fields(text))
        assert (await it.get("/security/rules/api-scan"))["name"] == "One address tries many paths"
        made = await it.post("/security/rules", {"document": OWN})
        danger = await page(it, f"/security/rules/{made['id']}/delete")
        await page(it, f"/security/rules/{made['id']}/delete", fields(danger.text))
        await it.refused("GET", f"/security/rules/{made['id']}", status=404)

    run(tmp_path, case)
