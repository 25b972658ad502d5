"""The denylist, from a request to the file tracers get: rows, time, lists of many, the hands of others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest

from sealwire.clock import utc_now
from sealwire.errors import InvalidChangeError, NotPermittedError
from sealwire.server.access.permissions import BUILT_IN_ROLES, STANDARD, Grant, Principal, Role
from sealwire.server.protect.actions import Protect
from sealwire.server.protect.denylist import Kind
from sealwire.server.protect.denylists import Denylists
from sealwire.server.protect.drafts import Drafts
from sealwire.server.protect.feeds import Feeds
from sealwire.server.protect.lines import parse
from sealwire.server.protect.targets import key_of
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.store import protect as store
from sealwire.server.store import protect_tables, read
from sealwire.server.targeting import Targeting
from sealwire.server.waf import engine as waf
from tests.support import payloads
from tests.support.console import Console, run

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://sealwire"}
SQLI = {"q": ["1' OR 1=1 -- -"]}
needs_engine = pytest.mark.skipif(
    waf.library_file() is None, reason="ddtrace, which brings the engine, is not installed"
)


async def block(console: Console, *values: str, **more: Any) -> Any:
    body = {"kind": "ip", "values": list(values), **more}
    return await console.post("/protect/denylist", body, status=200)


async def file_of(console: Console, list_id: str = "blocked_ips", **target: Any) -> dict[str, int | None]:
    """What the tracers are told: value -> expiration."""
    for config in (await console.get("/configs?product=ASM_DATA"))["configs"]:
        if config["targeting"] != target:
            continue
        document = (await console.get(f"/configs/{config['id']}"))["payload"]
        for section in ("rules_data", "exclusion_data"):
            for element in document.get(section, []):
                if element["id"] == list_id:
                    return {one["value"]: one.get("expiration") for one in element["data"]}
    return {}


async def listed(console: Console, query: str = "") -> list[Any]:
    found: list[Any] = (await console.get(f"/protect/denylist{query}"))["entries"]
    return found


def denylists(console: Console) -> Denylists:
    return console.plane.tenants[1].denylists


def later(console: Console, **delta: float) -> None:
    """Let time pass for the control plane."""
    moment = utc_now() + timedelta(**delta)
    console.plane.clock = lambda: moment
    denylists(console)._clock = lambda: moment


async def actions(console: Console) -> list[tuple[str, str]]:
    events = (await console.get("/audit?limit=50"))["events"]
    return [(event["actor"], event["action"]) for event in events if event["action"].startswith("denylist.")]


# Time -------------------------------------------------------------------------------------------------


def test_what_lapses_is_ended_by_the_schedule_in_one_change_that_is_told_once(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, *(f"203.0.113.{number}" for number in range(1, 31)), for_s=60)
        await block(console, "203.0.113.99")
        (config,) = (await console.get("/configs?product=ASM_DATA"))["configs"]
        later(console, minutes=2)

        assert await denylists(console).lapse() == 30

        assert await file_of(console) == {"203.0.113.99": None}
        after = await console.get(f"/configs/{config['id']}")
        assert (after["revision"], after["updated_by"]) == (config["revision"] + 1, "schedule")
        assert (await actions(console)).count(("schedule", "denylist.lapsed")) == 1
        lapsed = await listed(console, "?state=lapsed")
        assert {(one["ended_by"], one["state"]) for one in lapsed} == {("schedule", "lapsed")}
        assert lapsed[0]["ended_at"] == lapsed[0]["until"]
        assert await denylists(console).lapse() == 0

    run(tmp_path, case)


def test_the_last_to_lapse_takes_the_config_with_it(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7", for_s=60)
        await block(console, "203.0.113.8", for_s=60, kind="suspicious")
        later(console, minutes=2)

        await denylists(console).lapse()

        for product in ("ASM_DATA", "ASM"):
            assert (await console.get(f"/configs?product={product}"))["configs"] == []

    run(tmp_path, case)


# Written by others ------------------------------------------------------------------------------------


def test_what_somebody_writes_into_the_config_becomes_rows_and_what_they_take_out_is_unblocked(
    tmp_path: Path,
) -> None:
    async def case(console: Console) -> None:
        made = await block(console, "203.0.113.7", "203.0.113.8", reason="stuffing")
        config = await console.get(f"/configs/{made['config']['id']}")
        data = [{"value": "203.0.113.8"}, {"value": "203.0.113.0/28"}, {"value": "198.51.100.1"}]
        payload = {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": data}]}
        await console.put(
            f"/configs/{config['id']}",
            {"expected_revision": config["revision"], "payload": payload, "comment": "by hand"},
        )

        found = {one["value"]: one for one in await listed(console)}
        assert set(found) == {"203.0.113.8", "203.0.113.0/28", "198.51.100.1"}
        assert found["203.0.113.8"]["reason"] == "stuffing"
        assert (found["198.51.100.1"]["reason"], found["198.51.100.1"]["source"]) == (
            "by hand", f"config:{config['id']}",
        )  # fmt: skip
        (gone,) = await listed(console, "?state=unblocked")
        assert (gone["value"], gone["ended_by"]) == ("203.0.113.7", "admin")
        await denylists(console).lapse()
        assert await file_of(console) == {"203.0.113.0/28": None, "198.51.100.1": None}

    run(tmp_path, case)


def test_a_config_of_another_name_is_only_looked_at_and_unblocking_takes_one_out_of_it(
    tmp_path: Path,
) -> None:
    async def case(console: Console) -> None:
        made = await console.put_config(
            "ASM_DATA", payloads.denied_ips("203.0.113.7", "203.0.113.8"), name="of the edge team"
        )
        await block(console, "203.0.113.9")

        found = {one["value"]: one for one in await listed(console)}
        assert found["203.0.113.7"]["config_id"] == made["id"]
        outcome = await console.post(
            "/protect/denylist:unblock", {"ids": [found["203.0.113.7"]["id"]]}, status=200
        )

        assert outcome["config"]["id"] == made["id"]
        assert {one["value"] for one in await listed(console)} == {"203.0.113.8", "203.0.113.9"}
        kept = await console.get(f"/configs/{made['id']}")
        assert [one["value"] for one in kept["payload"]["rules_data"][0]["data"]] == ["203.0.113.8"]

    run(tmp_path, case)


def test_the_list_of_an_older_database_is_rows_with_who_and_why_at_the_first_look(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7", reason="first")
        await block(console, "mallory", kind="user", reason="second")
        with console.plane.database.write() as c:  # as it was before there were rows
            for table in (
                protect_tables.denylist_entries, protect_tables.denylist_files, protect_tables.denylist_heads,
            ):  # fmt: skip
                c.execute(table.delete())
        fresh = Denylists(console.plane.tenants[1], console.plane.database, console.plane.clock)
        console.plane.tenants[1].denylists = fresh

        found = {one["value"]: one for one in await listed(console)}

        assert {value: (one["reason"], one["by"], one["source"]) for value, one in found.items()} == {
            "203.0.113.7": ("first", "admin", ""),
            "mallory": ("second", "admin", ""),
        }
        assert await file_of(console) == {"203.0.113.7": None}

    run(tmp_path, case)


def test_rows_and_their_file_are_written_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7")

        def broken(*_: Any, **__: Any) -> None:
            raise RuntimeError("the power went")

        monkeypatch.setattr(store, "set_head", broken)
        body = {"kind": "ip", "values": ["203.0.113.8"]}
        assert (await console.client.post(
            "/api/admin/v1/protect/denylist", json=body, headers=console.headers
        )).status_code == 500  # fmt: skip

        monkeypatch.undo()
        assert await file_of(console) == {"203.0.113.7": None}
        assert [one["value"] for one in await listed(console)] == ["203.0.113.7"]

    run(tmp_path, case)


# Lists of many ----------------------------------------------------------------------------------------


def test_a_pasted_list_names_its_bad_lines_and_keeps_them_to_be_mended(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        lines = [f"198.{number // 250}.{number % 250}.7" for number in range(10_000)]
        lines[4710] = "203.0.113.0/33"
        text = "\n".join(lines)

        draft = await console.post("/protect/drafts", {"text": text, "for_s": 3600, "reason": "scan"})

        assert (draft["good"], draft["bad"], draft["new"]) == (9_999, 1, 9_999)
        (problem,) = draft["problems"]
        assert (problem["line"], problem["text"]) == (4711, "203.0.113.0/33")
        assert await listed(console) == []
        done = await console.post(f"/protect/drafts/{draft['id']}/block", {}, status=200)
        assert done["left"] == draft["id"]
        left = await console.get(f"/protect/drafts/{draft['id']}")
        assert (left["good"], left["problems"][0]["line"]) == (0, 4711)
        mended = await console.put(f"/protect/drafts/{draft['id']}", {"mended": {"4711": "203.0.113.0/24"}})
        assert (mended["good"], mended["bad"], mended["file_entries"]) == (1, 0, 10_000)
        done = await console.post(f"/protect/drafts/{draft['id']}/block", {}, status=200)
        assert done["left"] is None
        assert await console.get("/protect/drafts") == {"drafts": []}
        document = await console.get("/protect/denylist?limit=10")
        assert (document["total"], document["files"][0]["entries"]) == (10_000, 10_000)
        assert document["entries"][0]["source"] == f"paste:{draft['id']}"
        await console.refused(
            "POST", "/protect/denylist", {"kind": "ip", "values": ["192.0.2.1"]}, status=422
        )

    run(tmp_path, case)


def test_a_dry_run_tells_new_from_known_covered_and_dangerous(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.0/24", "198.51.100.1")
        text = "203.0.113.7, 1h, beneath\n198.51.100.1\n8.8.8.8\n8.8.8.8\n10.0.0.1\n# said nothing\n"

        draft = await console.post("/protect/drafts", {"text": text})

        counted = ("good", "repeated", "new", "already", "covered", "dangerous")
        assert [draft[name] for name in counted] == [4, 1, 3, 1, 1, 1]
        assert draft["risks"][0]["line"] == 5
        refused = await console.refused("POST", f"/protect/drafts/{draft['id']}/block", {}, status=422)
        assert refused["problems"][0]["path"] == "$.lines[5]"
        await console.post(f"/protect/drafts/{draft['id']}/block", {"confirm": True}, status=200)
        reasons = {one["value"]: one["reason"] for one in await listed(console)}
        assert reasons["203.0.113.7"] == "beneath"

    run(tmp_path, case)


async def feed(console: Console, name: str, text: str, query: str = "", **headers: str) -> httpx.Response:
    return await console.ask(
        "PUT", f"/protect/feeds/{name}{query}", content=text,
        headers={**console.headers, "Content-Type": "text/plain", **headers},
    )  # fmt: skip


def test_a_feed_replaces_what_it_blocked_before_and_nothing_of_others(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7", reason="by hand")
        first = await feed(console, "bad-hosts", "203.0.113.7\n203.0.113.8\n", "?for_s=86400&reason=listed")
        assert (first.status_code, first.json()["added"]) == (200, 2)

        same = await feed(console, "bad-hosts", "203.0.113.8\n203.0.113.7 ; as before\n")
        assert (same.json()["changed"], same.headers["etag"]) == (False, first.headers["etag"])
        second = await feed(console, "bad-hosts", "203.0.113.9\n")

        assert (second.json()["added"], second.json()["removed"]) == (1, 2)
        assert set(await file_of(console)) == {"203.0.113.7", "203.0.113.9"}
        (told,) = (await console.get("/protect/feeds"))["feeds"]
        assert (told["in_force"], told["for_s"], told["reason"]) == (1, 86400, "listed")
        assert (await console.get("/protect/feeds/bad-hosts"))["values"] == ["203.0.113.9"]
        stale = await feed(console, "bad-hosts", "8.8.8.8\n", **{"If-Match": first.headers["etag"]})
        assert stale.status_code == 409
        ended = await console.ask("DELETE", "/protect/feeds/bad-hosts")
        assert ended.json() == {"name": "bad-hosts", "removed": 1}
        assert set(await file_of(console)) == {"203.0.113.7"}

    run(tmp_path, case)


def test_a_feed_with_a_bad_or_dangerous_line_changes_nothing(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await feed(console, "bad-hosts", "203.0.113.7\n")

        for text, line in (("203.0.113.8\nexample.org\n", 2), ("10.0.0.0/8\n", 1)):
            refused = await feed(console, "bad-hosts", text)
            assert refused.status_code == 422
            assert refused.json()["problems"][0]["path"] == f"$.lines[{line}]"
        assert (await feed(console, "Bad Hosts", "203.0.113.7")).status_code == 422
        assert (await feed(console, "bad-hosts", "")).status_code == 422
        assert set(await file_of(console)) == {"203.0.113.7"}
        body = {"entries": ["203.0.113.9", {"value": "198.51.100.1", "until": "1h", "reason": 'a, "b"'}]}
        taken = await console.ask("PUT", "/protect/feeds/bad-hosts", body)
        assert (taken.status_code, taken.json()["entries"]) == (200, 2)
        reasons = {one["value"]: one["reason"] for one in await listed(console)}
        assert reasons["198.51.100.1"] == 'a, "b"'

    run(tmp_path, case)


def test_a_feed_that_stops_coming_lets_its_entries_lapse(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await feed(console, "bad-hosts", "203.0.113.7\n", "?for_s=3600")
        (before,) = await listed(console)
        later(console, minutes=40)

        again = await feed(console, "bad-hosts", "203.0.113.7\n")

        (after,) = await listed(console)
        assert again.json()["changed"]
        assert after["until"] > before["until"]
        later(console, hours=3)
        assert await denylists(console).lapse() == 1
        assert await file_of(console) == {}

    run(tmp_path, case)


# Found ------------------------------------------------------------------------------------------------


def test_entries_are_found_sorted_and_given_page_by_page(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, *(f"203.0.113.{number}" for number in range(1, 11)), reason="Stuffing")
        await block(console, "198.51.100.9", for_s=60, source="trace:00ab", service=["shop"])
        await block(console, "mallory", kind="user", source="signal:77")

        assert len(await listed(console, "?q=stuffing")) == 10
        assert [one["value"] for one in await listed(console, "?source=trace")] == ["198.51.100.9"]
        assert [one["value"] for one in await listed(console, "?source=signal:77&kind=user")] == ["mallory"]
        assert [one["value"] for one in await listed(console, "?q=shop")] == ["198.51.100.9"]
        seen: list[str] = []
        path = "/protect/denylist?kind=ip&sort=value&limit=4"
        cursor = ""
        while True:
            document = await console.get(path + cursor)
            seen += [one["value"] for one in document["entries"]]
            if document["next"] is None:
                break
            cursor = f"&after={quote(document['next'])}"
        assert seen == ["198.51.100.9", *(f"203.0.113.{number}" for number in range(1, 11))]
        assert document["total"] == 11
        for wrong in ("?sort=shoe", "?after=nonsense", "?limit=0"):
            assert (await console.ask("GET", f"/protect/denylist{wrong}")).status_code in (400, 422)

    run(tmp_path, case)


def test_hits_count_where_the_request_was_refused(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.0/24", "198.51.100.1")
        await block(console, "203.0.113.7", for_s=86400, service=["shop"])
        await block(console, "mallory", kind="user")
        await block(console, "192.0.2.1", kind="suspicious")
        hits = denylists(console).hits
        refused: dict[str, Any] = {"blocked": True, "activities": ("security_response.block_ip",)}
        by_user = {"blocked": True, "activities": ("security_response.block_user",)}
        attacked = {"blocked": True, "activities": ("attack_attempt.xss",)}

        def seen(count: int, **more: Any) -> None:
            hits.note(SecurityTrace("0" * 32, "0" * 16, 1_795_000_000.0, **more), count)

        seen(1, service="shop", actor_ip="203.0.113.7", **refused)
        seen(3, service="mail", actor_ip="203.0.113.7", **refused)
        seen(1, service="shop", user_id="mallory", **by_user)
        seen(5, service="shop", actor_ip="192.0.2.1", **attacked)
        seen(7, service="shop", actor_ip="8.8.8.8", **refused)
        hits.keep()

        counted = {(one["value"]): one["hits"] for one in await listed(console)}
        assert counted == {
            "203.0.113.0/24": 3, "203.0.113.7": 1, "198.51.100.1": 0, "mallory": 1, "192.0.2.1": 5,
        }  # fmt: skip
        assert (await listed(console, "?sort=-hits"))[0]["last_hit_at"].startswith("2026-")

    run(tmp_path, case)


# Pages ------------------------------------------------------------------------------------------------


async def visit(console: Console, path: str) -> str:
    reply = await console.client.get(path, headers=console.headers)
    assert reply.status_code == 200, (path, reply.status_code, reply.text[-2000:])
    return reply.text


async def send(console: Console, path: str, **fields: Any) -> httpx.Response:
    return await console.client.post(path, data=fields, headers={**console.headers, **FORM})


def test_the_pages_block_find_mend_and_unblock(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        went = await send(console, "/protect/block", kind="suspicious", values="203.0.113.7", span="6h")
        assert (went.status_code, went.headers["location"]) == (303, "/protect/denylist")
        went = await send(console, "/protect/import", kind="ip", text="8.8.8.8\n<b>bad</b>\n", span="ever")
        draft = went.headers["location"]
        page = await visit(console, draft)
        assert "&lt;b&gt;bad&lt;/b&gt;" in page
        assert "Line 2:" in page
        assert (await send(console, draft, numbers="2", mended="9.9.9.9\n")).status_code == 303
        assert "Block 2" in await visit(console, draft)
        went = await send(console, f"{draft}/block")
        assert went.headers["location"] == "/protect/denylist"
        page = await visit(console, "/protect/denylist?sort=value")
        assert page.index("8.8.8.8") < page.index("9.9.9.9") < page.index("203.0.113.7")
        assert "9.9.9.9" not in await visit(console, "/protect/denylist?kind=suspicious")
        ids = [str(one["id"]) for one in await listed(console, "?kind=ip")]
        assert (await send(console, "/protect/unblock", id=ids)).status_code == 303
        assert [one["value"] for one in await listed(console)] == ["203.0.113.7"]
        exported = await visit(console, "/protect/denylist/export?state=all")
        assert exported.splitlines()[0].startswith("value,kind,state")
        assert len(exported.splitlines()) == 4
        assert "1 on the denylist" in await visit(console, "/protect")

    run(tmp_path, case)


def test_a_long_list_is_shown_in_pages_that_lead_there_and_back(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        text = "\n".join(f"198.51.100.{number}" for number in range(120))
        draft = await console.post("/protect/drafts", {"text": text})
        await console.post(f"/protect/drafts/{draft['id']}/block", {}, status=200)

        def link(page: str, word: str) -> str:
            before = page[: page.index(word, page.index('id="pager"'))]
            start = '<a class="button" href="'
            return before.rpartition(start)[2].partition('"')[0].replace("&amp;", "&")

        first = await visit(console, "/protect/denylist?sort=value")
        second = await visit(console, link(first, "Next"))
        back = await visit(console, link(second, "Previous"))

        assert first.count('<tr id="entry-') == second.count('<tr id="entry-') == 50
        assert "198.51.100.49<" in first
        assert "198.51.100.50<" in second
        assert "198.51.100.0<" in back
        assert "Previous" not in back[back.index('id="pager"') :][:400]

    run(tmp_path, case)


def test_healthy_traffic_is_told_before_an_address_is_blocked(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        now_ms = console.plane.now_ms()
        traffic = console.plane.tenants[1].detection.traffic
        for number in (7, 8):
            traffic.note(f"203.0.113.{number}", "shop", at_ms=now_ms, count=602)
        traffic.tick(now_ms=now_ms)
        words = "1,204 healthy requests from 2 addresses of 203.0.113.0/24 to shop in the last hour."

        checked = await console.post(
            "/protect/denylist:check", {"kind": "ip", "values": ["203.0.113.0/24"]}, status=200
        )
        assert checked["values"][0]["cautions"] == [words]
        asked = await send(console, "/protect/block", kind="ip", values="203.0.113.0/24", span="1h")
        assert (asked.status_code, words in asked.text) == (200, True)
        assert await listed(console) == []
        form = await visit(console, "/protect/block?kind=ip&values=203.0.113.0/24&source=trace:0a")
        assert words in form
        seen = form.partition('name="seen" value="')[2].partition('"')[0]
        went = await send(
            console, "/protect/block", kind="ip", values="203.0.113.0/24", span="1h", seen=seen,
            source="trace:0a",
        )  # fmt: skip
        assert went.status_code == 303
        assert [one["source"] for one in await listed(console)] == ["trace:0a"]

    run(tmp_path, case)


# The tracers' own engine ------------------------------------------------------------------------------


async def files_of(console: Console) -> dict[str, bytes]:
    """Everything that is published of App and API Protection, as tracers get it."""
    found = {}
    for product in ("ASM_DATA", "ASM"):
        with console.plane.database.read() as c:
            for config in read.configs(c, 1, product=product, state="active"):
                found[f"{product}/{config.config_id}"] = config.payload
    return found


@needs_engine
def test_the_engine_does_with_every_file_what_the_list_says(tmp_path: Path) -> None:
    """Overlapping networks, duplicates, what lapsed, users, IPv6, and suspicious addresses."""

    async def case(console: Console) -> None:
        await block(console, "203.0.113.0/24")
        await block(console, "203.0.113.7", for_s=1)  # beneath: it must not open a hole
        await block(console, "198.51.100.7", "198.51.100.0/28", for_s=3600)
        await block(console, "198.51.100.9")  # outlasts its network
        await block(console, "2001:db8::/32")
        await block(console, "192.0.2.1", for_s=1)  # over before it is asked
        await feed(console, "again", "203.0.113.0/24\n", "?for_s=5")  # the same, but shorter
        await block(console, "mallory", kind="user", for_s=3600)
        await block(console, "8.8.8.8", "8.8.4.0/24", kind="suspicious")
        await block(console, "9.9.9.9", kind="suspicious", service=["shop"])
        later(console, seconds=3)
        await denylists(console).lapse()
        documents = await files_of(console)
        assert "192.0.2.1" not in (await file_of(console))

        def request(ip: str, **more: Any) -> dict[str, Any]:
            return {"http.client_ip": ip, "server.request.query": {"q": ["shoes"]}, **more}

        cases: list[tuple[dict[str, Any], bool]] = [
            (request("203.0.113.7"), True),
            (request("203.0.113.200"), True),
            (request("198.51.100.7"), True),
            (request("198.51.100.9"), True),
            (request("198.51.100.15"), True),
            (request("198.51.100.16"), False),
            (request("2001:db8:1::5"), True),
            (request("192.0.2.1"), False),
            (request("192.0.2.2", **{"usr.id": "mallory"}), True),
            (request("192.0.2.2", **{"usr.id": "Mallory"}), False),
            (request("8.8.8.8"), False),
            (request("8.8.8.8", **{"server.request.query": SQLI}), True),
            (request("8.8.4.4", **{"server.request.query": SQLI}), True),
            (request("9.9.9.9", **{"server.request.query": SQLI}), True),
            (request("9.9.9.9"), False),
            (request("192.0.2.2", **{"server.request.query": SQLI}), False),
        ]
        answer = await console.plane.waf.run(documents, [one for one, _ in cases], bundled=True)
        for (asked, refused), verdict in zip(cases, answer.verdicts, strict=True):
            blocks = [one for one in verdict.actions if one.type == "block_request"]
            assert bool(blocks) is refused, (asked, verdict)
        for said in answer.diagnostics[1:]:
            assert (said.taken, said.error) == (True, "")
            assert all(not section.failed and not section.error for section in said.sections), said

    run(tmp_path, case)


def test_files_for_several_targets_have_ids_of_their_own(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        for target in ({}, {"service": ["shop"]}, {"service": ["SHOP"], "env": ["prod"]}):
            await block(console, "8.8.8.8", kind="suspicious", **target)

        documents = [orjson.loads(raw) for path, raw in (await files_of(console)).items() if "ASM/" in path]

        assert len(documents) == 3
        ids = [element["id"] for one in documents for element in (*one["exclusions"], *one["actions"])]
        assert len(set(ids)) == 6
        assert {one["exclusions"][0]["conditions"][0]["parameters"]["data"] for one in documents} == {
            Kind.SUSPICIOUS.list_id
        }
        for one in await listed(console):
            await console.post("/protect/denylist:unblock", {"ids": [one["id"]]}, status=200)
        assert await files_of(console) == {}

    run(tmp_path, case)


def test_who_may_not_write_rules_may_not_block_suspicious_addresses(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        key = console.headers["Authorization"].removeprefix("Bearer ")
        everything = console.plane.access.principal(key)
        scopes = frozenset({"appsec_protect_read", "appsec_protect_write", "rc_config_publish"})
        doing = Protect(console.plane, console.plane.tenants[1], replace(everything, scopes=scopes))
        (value,) = doing.check(Kind.IP, ["203.0.113.7"])
        await doing.block(Kind.IP, [value], until_s=None, target=Targeting())

        with pytest.raises(NotPermittedError):
            await doing.block(Kind.SUSPICIOUS, [value], until_s=None, target=Targeting())

        assert [one["kind"] for one in await listed(console)] == ["ip"]

    run(tmp_path, case)


# People who get in each other's way -------------------------------------------------------------------


def restricted(console: Console) -> Principal:
    """Somebody who may block for the service cart only."""
    return Principal("ann", 1, (Grant(BUILT_IN_ROLES[STANDARD], services=frozenset({"cart"})),))


def test_who_may_block_for_one_service_has_no_hand_in_lists_for_others(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        everywhere = await console.post("/protect/drafts", {"text": "203.0.113.7"})
        tenant = console.plane.tenants[1]
        drafts = Drafts(console.plane, tenant, restricted(console))
        with pytest.raises(NotPermittedError):
            await drafts.discard(everywhere["id"])
        with pytest.raises(NotPermittedError):
            await drafts.change(
                everywhere["id"], {"target": Targeting(service=("cart",)), "text": "203.0.113.8"}
            )
        assert (await console.get(f"/protect/drafts/{everywhere['id']}"))["good"] == 1

        await feed(console, "bad", "203.0.113.1\n")
        parsed = parse("203.0.113.2", Kind.IP, now_s=0)
        with pytest.raises(NotPermittedError):
            await Feeds(console.plane, tenant, restricted(console)).put(
                "bad", parsed, target=Targeting(service=("cart",))
            )
        assert await file_of(console) == {"203.0.113.1": None}

        await block(console, "203.0.113.9", service=["cart"])
        ids = [one["id"] for one in await listed(console)]
        with pytest.raises(NotPermittedError):
            await Protect(console.plane, tenant, restricted(console)).unblock_rows(ids)
        assert await file_of(console, service=["cart"]) == {"203.0.113.9": None}

    run(tmp_path, case)


def test_a_draft_that_somebody_exchanged_is_not_blocked_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(console: Console) -> None:
        draft = await console.post("/protect/drafts", {"text": "203.0.113.7\nnonsense"})
        path = f"/protect/drafts/{draft['id']}"
        parsing = Drafts._parse

        def exchanged(self: Drafts, row: Any) -> Any:
            """Somebody else mends a line while this one is blocked."""
            found = parsing(self, row)
            with console.plane.database.write() as c:
                store.put_draft(
                    c, row._replace(text="203.0.113.7\n203.0.113.8", changed_ms=row.changed_ms + 1)
                )
            return found

        with monkeypatch.context() as patched:
            patched.setattr(Drafts, "_parse", exchanged)
            assert (await console.ask("POST", f"{path}/block", {})).status_code == 409
        assert await file_of(console) == {}
        assert (await console.get(path))["good"] == 2
        await console.post(f"{path}/block", {}, status=200)
        assert await file_of(console) == {"203.0.113.7": None, "203.0.113.8": None}

    run(tmp_path, case)


def test_many_at_once_cut_nobodys_block_short(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7")

        done = await block(console, "203.0.113.7", "203.0.113.8", for_s=900, source="signal:ab12")

        assert "stays_longer" in [note["kind"] for note in done["notes"]]
        file = await file_of(console)
        assert file["203.0.113.7"] is None
        assert file["203.0.113.8"] is not None
        draft = await console.post("/protect/drafts", {"text": "203.0.113.7", "for_s": 900})
        assert (draft["extended"], draft["already"]) == (0, 1)
        await console.post(f"/protect/drafts/{draft['id']}/block", {}, status=200)
        assert (await file_of(console))["203.0.113.7"] is None
        await block(console, "203.0.113.7", for_s=900)  # by hand, and this one alone
        assert (await file_of(console))["203.0.113.7"] is not None

    run(tmp_path, case)


def test_a_feed_whose_move_fails_blocks_as_before(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await feed(console, "bad", "203.0.113.1\n203.0.113.2\n")
        many = [f"198.{number // 250}.{number % 250}.7" for number in range(10_000)]
        draft = await console.post("/protect/drafts", {"text": "\n".join(many), "service": ["cart"]})
        await console.post(f"/protect/drafts/{draft['id']}/block", {}, status=200)

        moved = await feed(console, "bad", "203.0.113.1\n", "?service=cart")
        assert moved.status_code == 422

        assert await file_of(console) == {"203.0.113.1": None, "203.0.113.2": None}

    run(tmp_path, case)


def test_what_a_cut_short_move_of_a_feed_left_behind_ends_with_the_next_list(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await feed(console, "bad", "203.0.113.1\n")
        with console.plane.database.write() as c:  # as after a crash between the two targets
            (row,) = store.feeds(c, 1)
            cart = Targeting(service=("cart",))
            store.put_feed(c, row._replace(target_key=key_of(cart), target=store.target_json(cart.to_dict())))

        await feed(console, "bad", "203.0.113.1\n")

        assert await file_of(console) == {}
        assert await file_of(console, service=["cart"]) == {"203.0.113.1": None}

    run(tmp_path, case)


def test_a_list_retired_by_hand_leaves_nobody_behind_who_is_blocked_again_later(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.0/24", "203.0.113.7")
        (config,) = (await console.get("/configs?product=ASM_DATA"))["configs"]
        await console.ask("DELETE", f"/configs/{config['id']}?expected_revision={config['revision']}")

        assert await listed(console) == []
        await block(console, "198.51.100.1")
        assert await file_of(console) == {"198.51.100.1": None}

    run(tmp_path, case)


def test_one_list_that_cannot_be_written_does_not_keep_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7", for_s=60)
        await block(console, "203.0.113.8", for_s=60, service=["cart"])
        await block(console, "203.0.113.9", for_s=60, service=["shop"])
        apply = Denylists.apply

        async def refused(self: Denylists, principal: Any, target: Targeting, decide: Any) -> Any:
            if target.service != ("shop",):
                return await apply(self, principal, target, decide)
            raise InvalidChangeError("this one cannot be written")

        monkeypatch.setattr(Denylists, "apply", refused)
        later(console, seconds=61)

        assert await denylists(console).lapse() == 2

    run(tmp_path, case)


def test_the_page_of_a_draft_blocks_what_it_showed_and_nothing_else(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        draft = await console.post("/protect/drafts", {"text": "203.0.113.7"})
        address, headers = f"/protect/import/{draft['id']}", {**console.headers, "Accept": "text/html"}
        shown = (await console.client.get(address, headers=headers)).text
        seen = shown.partition('name="seen" value="')[2].partition('"')[0]
        await console.put(f"/protect/drafts/{draft['id']}", {"text": "203.0.113.7\n198.51.100.1"})

        late = await console.client.post(f"{address}/block", data={"seen": seen}, headers=headers)
        assert (late.status_code, "look again" in late.text) == (422, True)
        assert await file_of(console) == {}
        again = late.text.partition('name="seen" value="')[2].partition('"')[0]
        await console.client.post(f"{address}/block", data={"seen": again}, headers=headers)
        assert len(await file_of(console)) == 2

    run(tmp_path, case)


def test_the_last_suspicious_address_is_let_in_by_who_may_not_write_rules(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7", kind="suspicious")
        blocking = Role("r", "Blocking", BUILT_IN_ROLES[STANDARD].permissions - {"appsec_event_rule_write"})
        ann = Principal("ann", 1, (Grant(blocking),))
        doing = Protect(console.plane, console.plane.tenants[1], ann)

        done = await doing.unblock(Kind.SUSPICIOUS, ["203.0.113.7"])

        assert done.changed
        assert await listed(console) == []
        assert await file_of(console, "suspicious_ips_data_id") == {}
        again = await doing.block(
            Kind.SUSPICIOUS, doing.check(Kind.SUSPICIOUS, ["203.0.113.8"]), until_s=None, target=Targeting()
        )
        assert again.changed  # what looks at the list is there still

    run(tmp_path, case)


def test_detection_rules_know_who_is_on_a_list(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        is_listed = it.plane.tenants[1].detection.is_listed
        await block(it, "203.0.113.7")
        assert not is_listed("203.0.113.7"), "blocked by hand for whatever reason is no list"

        feed = {"entries": ["203.0.113.0/24", "2001:db8::/32"]}
        assert (await it.ask("PUT", "/protect/feeds/threats", feed)).status_code == 200
        await it.post("/protect/denylist", {"kind": "suspicious", "values": ["198.51.100.9"]}, status=200)

        assert [
            is_listed(address)
            for address in ("203.0.113.7", "::ffff:203.0.113.7", "2001:db8::1", "198.51.100.9", "x", "")
        ] == [True, True, True, True, False, False]
        assert not is_listed("203.0.114.1")
        assert (await it.ask("DELETE", "/protect/feeds/threats")).status_code == 200
        assert not is_listed("203.0.113.9")

    run(tmp_path, case)
