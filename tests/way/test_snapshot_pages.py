"""Pages of snapshots, services and settings, as a browser without script uses them, and who sees what."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import urlencode

import httpx
import orjson

from sealwire.server.debugger.snapshots import tree
from tests.support import snapshots
from tests.support.console import Console, run
from tests.support.simulated_agent import ALL_PRODUCTS, tracer
from tests.support.snapshots import HOSTILE, LATER, LINE, NASTY, NODE, THROWN, WIDE

DOCUMENT = {
    "kind": "log", "language": "python", "where": {"file": "shopmod.py", "line": 13},
    "template": "total={total} of {order.oid}", "snapshot": True,
}  # fmt: skip
SECRETS = ("alice", "bob", "No such local", "kaboom")


async def seeded(it: Console) -> str:
    """A probe, and the snapshots that tracers were recorded with."""
    made = await it.post(
        "/debugger/probes", {"name": "Totals", "service": "shop", "env": ["prod"], "document": DOCUMENT}
    )
    line = snapshots.recorded("ddtrace_4.16", 0)
    found = (
        (WIDE, snapshots.wide(8, 450)), (NASTY, snapshots.nasty()),
        (NODE, snapshots.recorded("dd_trace_5.132", 0)), (THROWN, snapshots.recorded("ddtrace_4.16", 4)),
        (LINE, line), (LATER, snapshots.later(line)),
    )  # fmt: skip
    key = (await it.post("/keys", {"name": "agent", "remote_config": True}))["key"]
    body = [
        snapshots.given(envelope, known, made["id"], ago_s=9.0 - n)
        for n, (known, envelope) in enumerate(found)
    ]
    for envelope in body:
        envelope["service"] = "shop"
    reply = await it.client.post(
        "/api/v2/debugger?ddtags=host:h,env:prod,version:1", content=orjson.dumps(body),
        headers={"DD-API-KEY": key, "Content-Type": "application/json"},
    )  # fmt: skip
    assert reply.status_code == 202
    await it.plane.tenants[1].snapshots.flush()
    return str(made["id"])


def reader(it: Console) -> str:
    """The key of somebody who sees probes, and no values."""
    return it.plane.access.create_application_key(
        1, user="reader", role="read_only", now_ms=it.plane.now_ms()
    )


async def ask(it: Console, path: str, *, key: str = "", form: dict[str, str] | None = None) -> httpx.Response:
    headers = {"Accept": "text/html", **it.headers}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    if form is None:
        return await it.client.get(path, headers=headers)
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    return await it.client.post(path, content=urlencode(form), headers=headers)


async def shown(it: Console, path: str) -> str:
    reply = await ask(it, path)
    assert reply.status_code == 200, reply.text[:500]
    return reply.text


def paths(page: str) -> set[str]:
    """Of the rows of the tree."""
    return {html.unescape(each) for each in re.findall(r'role="treeitem" [^>]*data-path="([^"]*)"', page)}


def words(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


def test_snapshots_are_read_without_script_and_only_by_those_who_may(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        probe_id = await seeded(it)
        await every_value_is_reached_by_links_alone(it)
        await a_page_has_a_part_of_a_large_tree_and_the_rest_comes_as_fragments(it)
        await two_snapshots_are_laid_side_by_side_the_earlier_one_first(it)
        await literals_come_as_files_in_the_language_of_the_program(it)
        await who_may_not_see_values_sees_none_by_any_way_and_why(it, probe_id)
        await hostile_text_is_text_wherever_it_comes(it)
        await names_that_are_masked_are_masked_in_what_is_kept_already(it)

    run(tmp_path, case)


async def every_value_is_reached_by_links_alone(it: Console) -> None:
    """Rows that are folded, and lists that are longer than a page of rows, are a link away."""
    opened = await it.plane.tenants[1].snapshots.open(NODE)
    wanted = {row.path for row in tree.rows(opened.snapshot)}
    seen, asked, waiting = set(), set(), [f"/debugger/snapshots/{NODE}"]
    while waiting:
        path = waiting.pop()
        if path in asked:
            continue
        asked.add(path)
        page = await shown(it, path)
        seen |= paths(page)
        closed = re.findall(r'aria-expanded="false".*?href="([^"]*)"', page, re.S)
        waiting += [html.unescape(each).split("#")[0] for each in closed]
    assert wanted <= seen

    waiting, reached = [f"/debugger/snapshots/{WIDE}?{urlencode({'show': '13/group_7'})}"], set()
    while waiting:
        page = await shown(it, waiting.pop())
        reached |= {each for each in paths(page) if re.fullmatch(r"13/group_7\[\d+\]", each)}
        following = re.findall(
            r'class="leafline more"[^>]*><a href="([^"]*)"(?:(?!</a>).)*The next', page, re.S
        )
        waiting += [html.unescape(each).split("#")[0] for each in following]
    assert len(reached) == 450


async def a_page_has_a_part_of_a_large_tree_and_the_rest_comes_as_fragments(it: Console) -> None:
    opened = await it.plane.tenants[1].snapshots.open(WIDE)
    page = await shown(it, f"/debugger/snapshots/{WIDE}")
    assert opened.snapshot.values > 5_000
    assert 8 < len(paths(page)) < 150
    rows = await shown(it, f"/debugger/snapshots/{WIDE}/branch?{urlencode({'path': '13/group_2'})}")
    assert len(paths(rows)) == 100
    assert "The next 100 of 450" in rows
    value = await shown(it, f"/debugger/snapshots/{WIDE}/value?{urlencode({'path': '13/group_2[3].n'})}")
    assert "group_2[3].n == 3" in html.unescape(value)
    gone = await ask(it, f"/debugger/snapshots/{WIDE}/value?path=13/nothing")
    assert gone.status_code == 404


async def two_snapshots_are_laid_side_by_side_the_earlier_one_first(it: Console) -> None:
    for this, other in ((LATER, LINE), (LINE, LATER)):
        page = await shown(it, f"/debugger/snapshots/{this}?compare={other}")
        found = re.findall(r'<tr role="row" id="change-\w+">(.*?)</tr>', page, re.S)
        rows = {said[0]: said[1:] for said in (words(row).split() for row in found)}
        assert rows["total"] == ["Changed", "5", "int", "6", "int"]
        assert rows['order.owner["name"]'] == ["Changed", "'bob'", "str", "'alice'", "str"]
        assert rows["b"][0] == "Removed"
        assert rows["c"][0] == "Added"
    same = await shown(it, f"/debugger/snapshots/{LINE}?compare={LINE}")
    assert "the same as itself" in same
    none = await shown(it, f"/debugger/snapshots/{LINE}?compare=nobody")
    assert "no longer kept" in none


async def literals_come_as_files_in_the_language_of_the_program(it: Console) -> None:
    own = f"/debugger/snapshots/{LINE}/literal?"
    whole = await ask(it, own + urlencode({"path": "13", "language": "python"}))
    scope: dict[str, object] = {}
    exec(whole.text, scope)
    assert (scope["total"], scope["a"]) == (5, 2)
    one = await ask(it, own + urlencode({"path": "13/order.owner", "language": "json"}))
    assert orjson.loads(one.text)["name"] == "bob"
    everything = await ask(it, own + urlencode({"language": "json"}))
    assert orjson.loads(everything.text)["13"]["total"] == 5
    assert "attachment" in everything.headers["content-disposition"]
    assert (await ask(it, own + "language=cobol")).status_code == 404


async def who_may_not_see_values_sees_none_by_any_way_and_why(it: Console, probe_id: str) -> None:
    key = reader(it)
    for known in (LINE, NASTY, THROWN):
        for query in ("", "?show=13/order.owner", f"?compare={LATER}", "?q=bob", "?flag=depth"):
            page = await ask(it, f"/debugger/snapshots/{known}{query}", key=key)
            assert page.status_code == 200
            assert "debugger_capture_variables" in page.text
            assert not [each for each in SECRETS if each in page.text]
            assert not paths(page.text)
    for part in (
        "branch?path=13/order",
        "value?path=13/total",
        "literal?path=13/total",
        "literal?language=json",
    ):
        reply = await ask(it, f"/debugger/snapshots/{LINE}/{part}", key=key)
        assert reply.status_code == 404
        assert not [each for each in SECRETS if each in reply.text]
    for query in ("", f"?probe={probe_id}&q=owner"):
        listed = await ask(it, f"/debugger/snapshots{query}", key=key)
        assert "debugger_capture_variables" in listed.text
        assert "total={total}" in listed.text
        assert 'class="hits"' not in listed.text
        assert not [each for each in SECRETS if each in listed.text]


async def hostile_text_is_text_wherever_it_comes(it: Console) -> None:
    opened = await it.plane.tenants[1].snapshots.open(NASTY)
    for row in [None, *tree.rows(opened.snapshot)]:
        query = "" if row is None else "?" + urlencode({"show": row.path})
        page = await shown(it, f"/debugger/snapshots/{NASTY}{query}")
        assert "<img src=x" not in page
        assert "\u202e" not in page
        assert "\x00" not in page
    searched = await shown(it, f"/debugger/snapshots/{NASTY}?{urlencode({'q': HOSTILE})}")
    assert "<img src=x" not in searched


async def names_that_are_masked_are_masked_in_what_is_kept_already(it: Console) -> None:
    page = await shown(it, "/debugger/settings")
    assert "DD_DYNAMIC_INSTRUMENTATION_REDACTED_IDENTIFIERS" in page
    form = {"seen": "0", "retention_hours": "12", "snapshots_per_s": "250", "redacted_names": "Owner\n"}
    saved = await ask(it, "/debugger/settings", form=form)
    assert saved.status_code == 303
    assert (await it.get("/debugger/settings"))["retention_hours"] == 12
    page = await shown(it, f"/debugger/snapshots/{LINE}?show=13/order.owner")
    assert "bob" not in page[page.index("<variable-tree") :]

    again = await ask(it, "/debugger/settings", form=form)
    assert (again.status_code, "Somebody changed" in again.text) == (409, True)
    wrong = await ask(it, "/debugger/settings", form={**form, "seen": "1", "retention_hours": "0"})
    assert wrong.status_code == 400
    assert 'value="0"' in wrong.text
    key = reader(it)
    read = await ask(it, "/debugger/settings", key=key)
    assert "org_management" in read.text
    assert "<form" not in read.text[read.text.index("<main") :]
    assert (await ask(it, "/debugger/settings", key=key, form=form)).status_code == 403


def test_a_service_is_switched_on_from_its_row_and_off_again(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        products = [*ALL_PRODUCTS, "LIVE_DEBUGGING_SYMBOL_DB"]
        takes_orders = (1 << 38).to_bytes(8, "big")
        able = tracer(
            "able", service="able", products=[each for each in products if each != "LIVE_DEBUGGING"]
        )
        able.capabilities = takes_orders
        on = tracer("on", service="running", products=[*products, "LIVE_DEBUGGING"])
        on.capabilities = takes_orders
        old = tracer("old", service="old", tracer_version="2.21.11", products=["APM_TRACING"])
        await it.poll(it.agent(able, on, old))
        before = {one["service"]: one for one in (await it.get("/debugger/services"))["services"]}
        assert {name: one["state"] for name, one in before.items()} == {
            "able": "off", "running": "on", "old": "unable",
        }  # fmt: skip
        assert "DD_DYNAMIC_INSTRUMENTATION_ENABLED=true" in before["old"]["needs"][0]

        form = {"service": "able", "env": "prod", "what": "di", "wanted": "on"}
        assert (await ask(it, "/debugger/services", form=form)).status_code == 303
        assert (await ask(it, "/debugger/services", form={**form, "what": "symbols"})).status_code == 303
        page = words(await shown(it, "/debugger/services"))
        assert "Switching on" in page
        assert "Switched on here" in page
        assert "Stop symbols" in page
        await ask(it, "/debugger/services", form={**form, "wanted": "off"})
        after = {one["service"]: one for one in (await it.get("/debugger/services"))["services"]}
        assert after["able"]["switched"]["dynamic_instrumentation"] is not True
        key = reader(it)
        assert (await ask(it, "/debugger/services", key=key, form=form)).status_code == 403
        assert "Switch on" not in (await ask(it, "/debugger/services", key=key)).text

    run(tmp_path, case)
