"""Signals by the admin API, on the pages, and by webhook; through the real application."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwire.server.api.security_signals import _filter
from sealwire.server.security.rules import Severity
from sealwire.server.security.signals import Change, Happening, Signal
from sealwire.server.store import security as store
from tests.support.console import Console, run
from tests.support.signals import HOSTILE, SCANNER, scan, signals_of, stuffing
from tests.way.test_webhooks import LOOPBACK, made, receiver


def put(it: Console, *signals: Signal) -> None:
    with it.plane.database.write() as c:
        store.put_signals(c, 1, signals)


def attacks() -> list[Signal]:
    now = time.time()
    return signals_of([*scan(now), *stuffing(now)])


async def page(it: Console, path: str, form: dict[str, Any] | None = None) -> httpx.Response:
    headers = {**it.headers, "Accept": "text/html"}
    if form is None:
        return await it.client.get(path, headers=headers)
    return await it.client.post(path, data=form, headers=headers)


def test_signals_are_found_read_decided_on_and_talked_about(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        found = attacks()
        put(it, *found)

        listed = await it.get("/security/signals")
        assert listed["open"] == {"medium": 1, "high": 1, "critical": 1}
        assert len(listed["signals"]) == 3
        assert listed["next"] is None
        (sqli,) = (await it.get("/security/signals?severity=high&service=shop&rule=sqli-single-ip"))[
            "signals"
        ]
        assert (sqli["requests"], sqli["triage"], sqli["group"]["@http.client_ip"]) == (140, "open", SCANNER)

        one = await it.get(f"/security/signals/{sqli['id']}")
        assert one["counts"] == {"a": 140, "b": 1}
        assert [each["severity"] for each in one["severities"]] == ["low", "high"]
        assert one["top_attackers"] == [{"value": SCANNER, "requests": 140}]
        assert sum(each["requests"] for each in one["by_minute"]) == 140

        path = f"/security/signals/{sqli['id']}"
        changed = await it.ask(
            "PATCH", path, {"triage": "archived", "archive_reason": "remediated", "assignee": "admin"}
        )
        assert changed.json()["assignee"] == "admin"
        said = await it.post(f"{path}/comments", {"text": f"mine {HOSTILE}"})
        assert said["text"].startswith("mine <script>")
        assert (await it.get(f"{path}/comments"))["comments"] == [said]
        both = await it.post(
            "/security/signals:triage", {"ids": [one.id for one in found], "triage": "under_review"},
            status=200,
        )  # fmt: skip
        assert {each["triage"] for each in both["signals"]} == {"under_review"}
        assert len((await it.get("/security/signals?triage=under_review"))["signals"]) == 3
        actions = [event["action"] for event in (await it.get("/audit?limit=20"))["events"]]
        assert actions.count("signal.changed") == 4
        assert actions.count("signal.commented") == 1

    run(tmp_path, case)


def test_what_cannot_be_asked_of_signals_is_refused_with_its_place(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        (one, *_) = attacks()
        put(it, one)
        path = f"/security/signals/{one.id}"

        for query, where in (
            ("state=closed", "$.state"), ("severity=awful", "$.severity"), ("triage=x", "$.triage"),
            ("since=soon", "$.since"), ("before=here", "$.before"),
        ):  # fmt: skip
            answer = await it.refused("GET", f"/security/signals?{query}", status=422)
            assert [problem["path"] for problem in answer["problems"]] == [where]
        await it.refused("GET", "/security/signals/0000000000000000", status=404)
        await it.refused("PATCH", path, {"triage": "archived"}, status=422)
        await it.refused("PATCH", path, {"assignee": "nobody@example.org"}, status=422)
        await it.refused("PATCH", path, {"severity": "low"}, status=422)
        await it.refused("POST", f"{path}/comments", {"text": " "}, status=422)
        await it.refused(
            "POST", "/security/signals:triage", {"ids": ["0" * 16], "triage": "open"}, status=404
        )

    run(tmp_path, case)


def test_pages_follow_each_other_and_end(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        put(it, *attacks())

        seen = []
        path = "/security/signals?limit=2"
        while path:
            listed = await it.get(path)
            seen += [one["id"] for one in listed["signals"]]
            path = f"/security/signals?limit=2&before={listed['next']}" if listed["next"] else ""

        assert len(seen) == len(set(seen)) == 3

    run(tmp_path, case)


def test_what_attackers_wrote_is_text_on_every_page(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        found = attacks()
        put(it, *found)
        for one in found:
            shown = await page(it, f"/security/signals/{one.id}")
            assert shown.status_code == 200
            assert "<script>alert" not in shown.text
            assert "\u202e" not in shown.text
        told = await page(it, f"/security/signals?q={'%3Cscript%3E'}&service=%00&rule=%22")
        assert told.status_code == 200
        assert "<script>" not in told.text.replace("<script src", "")
        (attack_tool,) = [one for one in found if one.rule_id == "attack-tool"]
        text = (await page(it, f"/security/signals/{attack_tool.id}")).text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert f"/protect/block?kind=ip&amp;values={SCANNER}&amp;source=signal%3A{attack_tool.id}" in text
        assert f"/protect/block?signal={attack_tool.id}&amp;next=" in text
        assert "/protect/rules/new?user_agent=sqlmap%2F1.7" in text

    run(tmp_path, case)


def test_signals_are_triaged_and_commented_on_by_forms(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        found = attacks()
        put(it, *found)
        path = f"/security/signals/{found[0].id}"

        refused = await page(it, path, {"triage": "archived", "archive_reason": "", "assignee": "-"})
        assert refused.status_code == 303
        assert (await it.get(path))["triage"] == "open"
        await page(it, path, {"triage": "archived", "archive_reason": "testing", "assignee": "admin"})
        assert (await it.get(path))["archive_reason"] == "testing"
        empty = await page(it, f"{path}/comments", {"text": "  "})
        assert (empty.status_code, "A comment has 1 to 4000 characters." in empty.text) == (422, True)
        await page(it, f"{path}/comments", {"text": "our own scanner"})
        assert "our own scanner" in (await page(it, path)).text
        bulk = await page(
            it, "/security/signals",
            {"ids": [one.id for one in found], "triage": "under_review", "assignee": "-",
             "next": "//evil.example/"},
        )  # fmt: skip
        assert bulk.headers["location"] == "/"
        assert len((await it.get("/security/signals?triage=under_review"))["signals"]) == 3

    run(tmp_path, case)


def test_a_webhook_is_called_once_for_what_becomes_of_a_signal(tmp_path: Path) -> None:
    (one,) = signals_of(scan(time.time(), requests=30), using=None)[:1]

    with receiver() as chat:

        async def opens(it: Console) -> None:
            await made(it, chat.url, ["signal.opened", "signal.rose", "signal.ended"])
            one.severities = [(time.time() + 1, one.severity)]
            put(it, one)
            tenant = it.plane.tenants[1]
            tenant.webhooks.note(Change(Happening.OPENED, one, time.time()))
            await chat.called(1)
            tenant.webhooks.note(Change(Happening.OPENED, one, time.time()))
            one.severity = Severity.CRITICAL
            tenant.webhooks.note(Change(Happening.RAISED, one, time.time()))
            await chat.called(2)
            put(it, one)

        async def ends(it: Console) -> None:
            # After a restart everything that is open is looked at again, and nothing of it is news.
            tenant = it.plane.tenants[1]
            one.closed_at, one.closed_because = time.time(), "ended"
            tenant.webhooks.note(Change(Happening.CLOSED, one, time.time()))
            await chat.called(3)
            put(it, one)

        run(tmp_path, opens, **LOOPBACK)
        run(tmp_path, ends, **LOOPBACK)

        opened, rose, ended = chat.bodies()
        assert [body["type"] for body in (opened, rose, ended)] == [
            "signal.opened", "signal.rose", "signal.ended",
        ]  # fmt: skip
        assert [body["state"] for body in (opened, rose, ended)] == ["began", "rose", "ended"]
        assert opened["data"]["service"] == "shop"
        assert opened["data"]["subject"] == one.id
        assert rose["data"]["severity"] == "critical"
        assert rose["text"].startswith("Worse: ")


def test_what_happened_while_the_program_was_away_is_told_after_it(tmp_path: Path) -> None:
    (one, *_) = signals_of(scan(time.time(), requests=30))

    with receiver() as chat:

        async def before(it: Console) -> None:
            await made(it, chat.url, ["signal.opened"])
            one.severities = [(time.time() + 1, one.severity)]
            put(it, one)  # written, and nobody was told

        async def after(it: Console) -> None:
            await chat.called(1)

        run(tmp_path, before, **LOOPBACK)
        run(tmp_path, after, **LOOPBACK)

        assert [body["data"]["subject"] for body in chat.bodies()] == [one.id]


def test_who_is_blocked_for_another_service_only_is_not_blocked(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        (signal, *_) = [one for one in attacks() if one.group.get("@http.client_ip") == SCANNER]
        put(it, signal)
        offer = f"/protect/block?kind=ip&amp;values={SCANNER}&amp;source=signal%3A{signal.id}"

        async def is_offered() -> bool:
            return offer in (await page(it, f"/security/signals/{signal.id}")).text

        body = {"kind": "ip", "values": [SCANNER]}
        await it.post("/protect/denylist", {**body, "service": ["cart"]}, status=200)
        assert await is_offered()
        await it.post("/protect/denylist", {**body, "service": ["cart", "Shop"]}, status=200)
        assert not await is_offered()

    run(tmp_path, case)


def test_a_time_without_a_zone_is_utc_wherever_this_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        wanted = _filter("all", "", [], "", "", "", "2026-11-22T12:00:00")
        assert wanted == _filter("all", "", [], "", "", "", "2026-11-22T12:00:00Z")
    finally:
        monkeypatch.undo()
        time.tzset()
