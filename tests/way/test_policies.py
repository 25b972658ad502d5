"""Policies of the in-app firewall, through the API and the pages as one person uses them.

What each file does to a request is shown in ``tests/unit/server/test_policies_in_the_engine.py``.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from sealwire.server.protect import catalogue, custom_rules
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.store import security
from sealwire.server.waf import engine as waf
from tests.support.console import Console, run
from tests.support.live import watching
from tests.support.simulated_agent import tracer

needs_engine = pytest.mark.skipif(
    waf.library_file() is None, reason="ddtrace, which brings the engine, is not installed"
)
CURL = "curl 'https://shop.example/search?q=shoes' -A 'acme-scanner/1.0'"


async def active(it: Console, product: str = "ASM") -> list[Any]:
    found: list[Any] = (await it.get(f"/configs?product={product}"))["configs"]
    return found


def a_trace(number: int, *, status: int, rule: str = "crs-942-100", blocked: bool = False) -> security.Stored:
    row = SecurityTrace(
        trace_id=f"{number:032x}", span_id=f"{number:016x}", ts=time.time() - 60, service="shop", env="prod",
        method="GET", url="http://shop.example/search?q=1", status=status, user_agent="acme-scanner/1.0",
        actor_ip="203.0.113.7", rule_ids=(rule,), rule_types=("sql_injection",), blocked=blocked,
        activities=("attack_attempt.sql_injection",),
    )  # fmt: skip
    return security.Stored(row)


def put(it: Console, *traces: security.Stored) -> None:
    with it.plane.database.write() as c:
        security.put_traces(c, 1, traces)


# Passlist ---------------------------------------------------------------------------------------------


def test_the_passlist_is_one_config_of_a_target_and_an_entry_with_an_end_is_its_own(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        office = {"addresses": ["198.51.100.0/24"], "reason": "our scanner", "service": ["shop"]}
        tried = await it.post("/protect/passlist", {**office, "check": True}, status=200)
        assert (tried["saved"], tried["config"]) == (False, None)
        assert tried["reach"]["population"] == 0
        assert any("X-Forwarded-For" in words for words in tried["cautions"])
        assert await active(it) == []

        first = await it.post("/protect/passlist", office, status=200)
        second = await it.post("/protect/passlist", {"paths": ["/health"], "service": ["shop"]}, status=200)
        ending = {"types": ["xss"], "until": "2126-11-30T12:00:00Z", "mode": "monitor"}
        await it.post("/protect/passlist", ending, status=200)

        assert first["config"]["id"] == second["config"]["id"]
        assert second["config"]["revision"] == 2
        entries = {one["words"]: one for one in (await it.get("/protect/passlist"))["entries"]}
        assert set(entries) == {
            "Does not look for anything, from 198.51.100.0/24",
            "Does not look for anything, at /health",
            "Tells of and does not block xss",
        }
        own = entries["Does not look for anything, from 198.51.100.0/24"]
        assert (own["reason"], own["by"], own["targeting"]) == ("our scanner", "admin", {"service": ["shop"]})
        assert entries["Tells of and does not block xss"]["until"] == "2126-11-30T12:00:00.000Z"

        gone = await it.ask("DELETE", f"/protect/passlist/{own['id']}")
        assert gone.json()["config"]["revision"] == 3
        await it.published()
        await it.refused("DELETE", f"/protect/passlist/{own['id']}", status=404)
        # What was taken away comes back with the history of the config, as everywhere.
        restore = {"revision": 2, "expected_revision": 3}
        await it.post(f"/configs/{first['config']['id']}/restore", restore, status=200)
        assert len((await it.get("/protect/passlist"))["entries"]) == 3

    run(tmp_path, case)


def test_what_is_no_entry_or_page_or_mode_is_refused_at_its_place(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for path, body, where in (
            ("/protect/passlist", {"addresses": ["1.2.3.4", "0.0.0.0/0"]}, "$.addresses[1]"),
            ("/protect/passlist", {"types": ["xss"], "until": "tomorrow"}, "$.until"),
            (
                "/protect/block-page",
                {"type": "redirect", "status": 302, "location": "javascript:a"},
                "$.location",
            ),
            ("/protect/modes", {"types": {"": "block"}}, "$.types['']"),
        ):
            wrong = await it.refused("POST", path, body, status=422)
            assert [one["path"] for one in wrong["problems"]] == [where]

    run(tmp_path, case)


# Modes ------------------------------------------------------------------------------------------------


@needs_engine
def test_modes_say_what_of_the_last_day_they_would_have_blocked(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        put(it, *(a_trace(n, status=200) for n in range(1, 4)), a_trace(4, status=500))
        put(it, a_trace(5, status=403, blocked=True), a_trace(6, status=200, rule="crs-942-500"))
        block = {"types": {"sql_injection": "block"}, "service": ["shop"]}

        tried = await it.post("/protect/modes", {**block, "check": True}, status=200)
        but_one = {**block, "rules": {"crs-942-100": "monitor"}, "check": True}
        elsewhere = {**block, "service": ["other"], "check": True}

        assert tried["dry_run"] == {"would_block": 5, "answered_2xx": 4, "let_pass": 0}
        assert (await it.post("/protect/modes", but_one, status=200))["dry_run"]["would_block"] == 1
        assert (await it.post("/protect/modes", elsewhere, status=200))["dry_run"]["would_block"] == 0
        saved = await it.post("/protect/modes", block, status=200)
        again = await it.post("/protect/modes", block, status=200)
        assert (saved["saved"], again["saved"]) == (True, False)

        said = await it.get("/protect/modes?service=shop")
        (kind,) = [one for one in said["types"] if one["type"] == "sql_injection"]
        assert (kind["chosen"], kind["matched"]) == ("block", 6)
        (rule,) = [one for one in said["rules"] if one["id"] == "crs-942-100"]
        assert (rule["default"], rule["mode"], rule["matched"]) == ("monitor", "block", 5)
        back = await it.post(
            "/protect/modes", {"types": {"sql_injection": "default"}, "service": ["shop"]}, status=200
        )
        assert back["config"]["state"] == "retired"
        assert back["dry_run"]["let_pass"] == 1

    run(tmp_path, case)


@needs_engine
def test_modes_that_meet_others_and_a_denylist_that_blocks_nobody_are_cautioned(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await it.post("/protect/modes", {"types": {"xss": "block"}}, status=200)
        body = {"types": {"xss": "off"}, "rules": {"blk-001-001": "off"}, "service": ["shop"], "check": True}

        cautions = " ".join((await it.post("/protect/modes", body, status=200))["cautions"])

        assert "The denylist of addresses blocks nobody" in cautions
        assert "The modes for the whole organisation say something else of xss" in cautions

    run(tmp_path, case)


# Custom rules -----------------------------------------------------------------------------------------


@needs_engine
def test_a_rule_is_tried_then_in_force_then_gone(tmp_path: Path) -> None:
    rule = custom_rules.blank(user_agent="acme-scanner/1.0") | {"on_match": ["block"]}

    async def case(it: Console) -> None:
        put(it, a_trace(7, status=200))
        hit = await it.post("/protect/rules:try", {"rule": rule, "request": CURL}, status=200)
        miss = await it.post("/protect/rules:try", {"rule": rule, "request": "GET / HTTP/1.1\n"}, status=200)
        stored = await it.post("/protect/rules:try", {"rule": rule, "trace_id": f"{7:032x}"}, status=200)
        assert (hit["matched"], hit["blocked"], miss["matched"], stored["matched"]) == (
            True,
            True,
            False,
            True,
        )
        (match,) = hit["event"]["matches"]
        assert (match["key_path"], match["value"]) == (["user-agent"], "acme-scanner/1.0")
        await it.refused("POST", "/protect/rules:try", {"rule": rule, "trace_id": "0" * 32}, status=404)

        saved = await it.post("/protect/rules", {"rule": rule}, status=200)
        config_id = saved["config"]["id"]
        (listed,) = (await it.get("/protect/rules"))["rules"]
        assert (listed["mode"], listed["config_id"], listed["alone"]) == ("block", config_id, True)
        change = {"rule": rule | {"enabled": False}, "config_id": config_id, "expected_revision": 1}
        await it.post("/protect/rules", change, status=200)
        await it.published()
        await it.refused("POST", "/protect/rules", change, status=409)
        assert (await it.get("/protect/rules"))["rules"][0]["mode"] == "off"
        assert (await it.ask("DELETE", f"/protect/rules/{config_id}")).json()["config"]["state"] == "retired"
        assert (await it.get("/protect/rules"))["rules"] == []

    run(tmp_path, case)


@needs_engine
def test_a_rule_that_the_engine_refuses_is_refused_in_its_words_at_the_place(tmp_path: Path) -> None:
    rule = custom_rules.blank(user_agent="x")
    (condition,) = rule["conditions"]
    catastrophic = {**condition, "parameters": {**condition["parameters"], "regex": "(a{1,100}){1,100}"}}
    operator = {**condition, "operator": "sounds_like"}

    async def case(it: Console) -> None:
        for wrong, words in (
            (rule | {"conditions": [catastrophic]}, "invalid regular expression: {1,100}"),
            (rule | {"conditions": [operator]}, "unknown operator: 'sounds_like'"),
            (rule | {"transformers": ["shout"]}, "unknown transformer: 'shout'"),
        ):
            problem = await it.refused("POST", "/protect/rules", {"rule": wrong}, status=422)
            said = {one["path"]: one["message"] for one in problem["problems"]}
            assert words in said["$.payload.custom_rules[0]"]
            tried = await it.post("/protect/rules:try", {"rule": wrong, "request": CURL}, status=200)
            assert words in tried["refused"]

    run(tmp_path, case)


# Block page -------------------------------------------------------------------------------------------


def test_a_second_block_page_for_the_same_tracers_is_refused(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.post("/protect/block-page", {"status": 404, "type": "json"}, status=200)
        await it.post("/protect/block-page", {"status": 410, "type": "html"}, status=200)
        await it.published()
        refused = await it.refused(
            "POST", "/protect/block-page", {"status": 418, "service": ["shop"]}, status=422
        )
        assert made["config"]["id"] in refused["detail"]

        (page,) = (await it.get("/protect/block-page"))["pages"]
        assert (page["status"], page["type"], page["targeting"]) == (410, "html", {})
        assert (await it.ask("DELETE", "/protect/block-page")).json()["saved"]
        assert (await it.get("/protect/block-page"))["pages"] == []

    run(tmp_path, case)


# Rule sets --------------------------------------------------------------------------------------------


def a_ruleset(version: str, *more: Any) -> dict[str, Any]:
    bundled = catalogue.bundled_document()
    assert bundled is not None
    kept = [rule for rule in bundled["rules"] if rule["id"] in ("crs-942-100", "blk-001-001", "blk-001-002")]
    return {"version": "2.2", "metadata": {"rules_version": version}, "rules": [*kept, *more]}


@needs_engine
def test_rule_sets_are_looked_at_published_restored_and_withdrawn(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        mine = custom_rules.blank("mine") | {"id": "mine-1"}
        mine["conditions"][0]["parameters"]["regex"] = "shoes"
        report = await it.post("/protect/rule-sets:check", {"document": a_ruleset("9.0", mine)}, status=200)
        moved = {one["type"]: one["words"] for one in report["moved"]}
        assert (report["sound"], report["against"], report["same"]) == (True, "bundled", 3)
        assert moved["custom"] == "1 more: mine-1"
        assert moved["xss"].startswith("27 fewer: crs-941-")
        assert {one["name"]: one["loaded"] for one in report["loaded"]} == {"rules": 4}

        first = await it.post("/protect/rule-sets", {"document": a_ruleset("9.0", mine)}, status=200)
        config_id = first["config"]["id"]
        for version in ("9.1", "9.2", "9.3", "9.4", "9.5"):
            await it.post("/protect/rule-sets", {"document": a_ruleset(version)}, status=200)
        (found,) = (await it.get("/protect/rule-sets"))["rule_sets"]
        assert [one["rules_version"] for one in found["versions"]] == [
            "9.5",
            "9.4",
            "9.3",
            "9.2",
            "9.1",
            "9.0",
        ]
        restore = {"revision": 1, "expected_revision": 6}
        back = await it.post(f"/protect/rule-sets/{config_id}/restore", restore, status=200)
        assert back["config"]["payload"] == a_ruleset("9.0", mine)
        assert (await it.get("/protect/modes"))["rules_version"] == "9.0"
        assert (await it.ask("DELETE", f"/protect/rule-sets/{config_id}")).json()["config"][
            "state"
        ] == "retired"
        assert (await it.get("/protect/modes"))["rule_set"] == "bundled"
        restore = {"revision": 5, "expected_revision": 8}
        await it.post(f"/protect/rule-sets/{config_id}/restore", restore, status=200)
        assert (await active(it, "ASM_DD"))[0]["payload"]["metadata"] == {"rules_version": "9.4"}
        made = await it.put_config("APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.5}})
        await it.published()
        restore = {"revision": 1, "expected_revision": 1}
        await it.refused("POST", f"/protect/rule-sets/{made['id']}/restore", restore, status=404)  # fmt: skip

    run(tmp_path, case)


@needs_engine
def test_hostile_rule_files_are_refused(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    twice = a_ruleset("1.0")
    twice["rules"].append(twice["rules"][0])
    lying = a_ruleset("1.0") | {"rules": {"0": "rule"}, "scanners": 5}
    huge = a_ruleset("1.0") | {"metadata": {"rules_version": "x" * 1_100_000}}

    async def case(it: Console) -> None:
        for document in (twice, lying, huge, a_ruleset("1.0") | {"rules": [deep]}, {}):
            report = await it.post("/protect/rule-sets:check", {"document": document}, status=200)
            assert not report["sound"]
            assert report["problems"]
            await it.refused("POST", "/protect/rule-sets", {"document": document}, status=422)
        too_long = b'{"document": {"version": "' + b"x" * 9_000_000 + b'"}}'
        reply = await it.ask(
            "POST", "/protect/rule-sets:check", content=too_long,
            headers={**it.headers, "content-type": "application/json"},
        )  # fmt: skip
        assert reply.status_code == 413

    run(tmp_path, case)


# Pages ------------------------------------------------------------------------------------------------


class Browser:
    """The pages as a browser without scripts uses them."""

    def __init__(self, it: Console) -> None:
        self._client, self._headers = it.client, {**it.headers, "accept": "text/html"}

    async def get(self, path: str, *, status: int = 200) -> str:
        reply = await self._client.get(path, headers=self._headers)
        assert reply.status_code == status, reply.text[:500]
        return reply.text

    async def send(self, path: str, fields: dict[str, str], **more: Any) -> httpx.Response:
        return await self._client.post(path, data=fields, headers=self._headers, **more)


def hidden(html: str) -> dict[str, str]:
    """The fields that a page carries."""
    import html as entities

    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', html)
    return {name: entities.unescape(value) for name, value in found}


@needs_engine
def test_nothing_is_saved_before_it_was_shown(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        browser = Browser(it)
        for path, fields, words in (
            (
                "/protect/passlist/new",
                {"addresses": "198.51.100.7", "period": "1d"},
                "Does not look for anything",
            ),
            ("/protect/modes", {"type:xss": "block"}, "Of the last 24 hours"),
            ("/protect/block-page", {"type": "json", "status": "404"}, "404 with JSON"),
        ):
            before = len(await active(it))
            shown = await browser.send(path, {**fields, "do": "review"})
            assert shown.status_code == 200
            assert words in shown.text
            assert len(await active(it)) == before
            not_shown = await browser.send(path, {**fields, "do": "publish"})
            assert not_shown.status_code == 200
            assert len(await active(it)) == before

            done = await browser.send(path, {**hidden(shown.text), "do": "publish"})

            assert done.status_code == 303
            assert len(await active(it)) == before + 1
        html = await browser.get("/protect/policies")
        assert "block: xss" in html
        assert "404 with JSON" in html
        listed = await browser.get("/protect/passlist")
        assert "198.51.100.7" in listed
        shown = await browser.send("/protect/passlist/remove", {"id": hidden(listed)["id"]})
        assert "No longer" in shown.text
        assert (
            await browser.send("/protect/passlist/remove", {**hidden(shown.text), "do": "publish"})
        ).status_code == 303
        assert "Nothing is let be" in await browser.get("/protect/passlist")

    run(tmp_path, case)


@needs_engine
def test_a_rule_file_is_uploaded_looked_at_and_published(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        browser = Browser(it)
        file = {"file": ("rules.json", orjson.dumps(a_ruleset("9.0")), "application/json")}

        shown = await browser.send("/protect/rule-sets/import", {"service": "shop"}, files=file)
        done = await browser.send("/protect/rule-sets/import", {**hidden(shown.text), "do": "publish"})

        assert "27 fewer: crs-941-" in shown.text
        assert done.status_code == 303
        assert "version 9.0, 3 rules" in await browser.get("/protect/rule-sets")
        for raw, words in (
            (b"\xff\xfe\x00", "no text in UTF-8"),
            (b"[1]", "A rule file is a JSON object"),
            (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
            (b'{"rules": 1, "rules": 2}', "stands twice"),
            (b"{" + b" " * 5_000_000 + b"}", "may have 4,194,304 bytes"),
            (b"", "Choose a file"),
        ):
            refused = await browser.send("/protect/rule-sets/import", {}, files={"file": ("r.json", raw)})
            assert refused.status_code == 422
            assert words in refused.text
        html = (
            await browser.send("/protect/rule-sets/import", {"document": '{"version": "2.2", "rules": 5}'})
        ).text
        assert "This file cannot be published" in html

    run(tmp_path, case)


@needs_engine
def test_a_hostile_name_is_text_on_every_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"

    async def case(it: Console) -> None:
        rule = custom_rules.blank(user_agent=evil) | {"name": evil}
        made = await it.post("/protect/rules", {"rule": rule, "reason": evil}, status=200)
        put(it, a_trace(8, status=200))
        browser = Browser(it)
        for path in (
            "/protect/rules", f"/protect/rules/{made['config']['id']}", "/protect/policies",
            f"/protect/rules/new?user_agent={evil}&trace={8:032x}", f"/protect/modes?q={evil}",
            f"/protect/passlist/new?addresses={evil}", f"/protect/block-page?service={evil}",
        ):  # fmt: skip
            assert evil not in await browser.get(path)

    run(tmp_path, case)


def test_lists_are_live_as_they_change_and_arrive(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        agent = it.agent(tracer("a"))
        await it.poll(agent)
        async with (
            watching(it, "/live/protect/policies") as overview,
            watching(it, "/live/protect/passlist") as passlist,
            watching(it, "/live/protect/rules") as rules,
            watching(it, "/live/protect/block-page") as pages,
            watching(it, "/live/protect/rule-sets") as sets,
            watching(it, "/live/protect/modes?service=shop") as modes,
        ):
            await overview.until("targets", "No policy is in force")
            await passlist.until("nothing", "Nothing is let be")
            await sets.until("sets", "Tracers use the rules they bring along")
            await it.post("/protect/passlist", {"paths": ["/health"]}, status=200)
            await it.post("/protect/modes", {"types": {"xss": "block"}, "service": ["shop"]}, status=200)
            await it.put_config("ASM", {"custom_rules": [custom_rules.blank(user_agent="acme")]})

            assert "at /health" in await overview.until("targets", "block: xss")
            assert "0 of 1" in await passlist.until("entries", "at /health")
            assert "0 of 1" in await rules.until("rules", "User agent acme")
            assert "0 of 1" in await modes.until("arrived", "its config")
            await it.poll(it.agent(tracer("b"), name="host-b"))
            await overview.until("targets", "0 of 2")

            await it.post("/protect/block-page", {"status": 404, "type": "json"}, status=200)
            await pages.until("pages", "404 with JSON")

    run(tmp_path, case)


def test_the_passlist_says_that_its_hits_cannot_be_known(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        assert "How often an entry was used cannot be known" in await Browser(it).get("/protect/passlist")

    run(tmp_path, case)
