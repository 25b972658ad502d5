"""Expressions of probes by the admin API and in the form: compiled, completed, tried; hostile ones too."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import httpx

from sealwire.server.debugger.snapshots.keep import Source
from tests.support.console import Console, run
from tests.support.form_fields import fields_of
from tests.support.messages import message, value
from tests.support.simulated_agent import ALL_PRODUCTS, tracer

LOG: dict[str, Any] = {
    "kind": "log", "language": "python", "where": {"file": "shop.py", "line": 13},
    "template": "total is {total}", "snapshot": True,
}  # fmt: skip
SECRET = "kept-in-a-variable"
ORDER = {
    "type": "Order",
    "fields": {
        "total": value("7", "int"), "owner": value(SECRET),
        "password": {"type": "str", "notCapturedReason": "redactedIdent"},
    },
}  # fmt: skip

MANY = {"type": "list", "size": 100, "elements": [value(str(n), "int") for n in range(100)]}


async def compiled(it: Console, text: str, **more: Any) -> Any:
    return await it.post("/debugger/expressions:compile", {"text": text, **more}, status=200)


async def completed(it: Console, text: str, **more: Any) -> list[str]:
    body = {"text": text, "cursor": len(text), **more}
    found = await it.post("/debugger/expressions:complete", body, status=200)
    return [each["text"] for each in found["candidates"]]


async def probe_with_snapshots(it: Console, totals: range = range(4)) -> str:
    """A probe, and what it brought: a snapshot for each total."""
    made = await it.post(
        "/debugger/probes", {"name": "p", "service": "shop", "env": ["prod"], "document": LOG}
    )
    probe_id = str(made["id"])
    now_ms = it.plane.now_ms()
    envelopes = [
        message(
            f"{total:08x}-0000-4000-8000-000000000000", probe=probe_id, said=f"total is {total}",
            captured={"total": value(str(total), "int"), "order": ORDER, "many": MANY},
            at_ms=now_ms - 1_000 * total,
        )
        for total in totals
    ]  # fmt: skip
    snapshots = it.plane.tenants[1].snapshots
    taken = snapshots.take(envelopes, Source("web-1", "prod", "1.0", {}, "key", now_ms))
    assert taken.kept == len(totals)
    await snapshots.flush()
    return probe_id


def snapshot_id(total: int) -> str:
    return f"{total:08x}-0000-4000-8000-000000000000"


def as_role(it: Console, role: str) -> dict[str, str]:
    key = it.plane.access.create_application_key(1, user=role, role=role, now_ms=it.plane.now_ms())
    return {"Authorization": f"Bearer {key}"}


async def page(it: Console, path: str, form: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    asked = {**it.headers, "Accept": "text/html", **headers}
    if form is None:
        return await it.client.get(path, headers=asked)
    return await it.client.post(path, data=form, headers=asked)


def words(answer: httpx.Response) -> str:
    """What stands on a page, without its marks."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def test_an_expression_is_compiled_a_mistake_is_at_its_character_a_hostile_one_is_answered(
    tmp_path: Path,
) -> None:
    async def case(it: Console) -> None:
        await hostile(it)
        good = await compiled(it, "a>1&&!isEmpty( order.items )", place="line", language="python")
        assert good["text"] == "a > 1 && !isEmpty(order.items)"
        assert good["json"] == {
            "and": [
                {"gt": [{"ref": "a"}, 1]},
                {"not": {"isEmpty": {"getmember": [{"ref": "order"}, "items"]}}},
            ]
        }
        assert good["problems"] == good["refusals"] == []

        bad = await compiled(it, "a = 1")
        (problem,) = bad["problems"]
        assert (problem["position"], problem["length"], problem["token"]) == (2, 1, "=")
        assert "==" in problem["suggestion"]
        assert bad["json"] is None

        message_ = await compiled(it, "took {@duration} ms", is_template=True, place="exit")
        assert message_["segments"][1]["json"] == {"ref": "@duration"}
        assert (await compiled(it, "took {@duration} ms", is_template=True, place="line"))["problems"]

        refused = await compiled(it, 'instanceof(a, "shop.Order")', language="javascript")
        assert "dd-trace" in refused["refusals"][0]["expected"]
        warned = await compiled(it, 'matches(a, "x")', language="python")
        assert "beginning" in warned["warnings"][0]

        tidy = await it.post("/debugger/expressions:format", {"text": "  a==1"}, status=200)
        assert tidy == {"text": "a == 1", "problems": []}

    run(tmp_path, case)


HOSTILE = (
    "(" * 10_000,
    "!" * 10_000,
    "a" * 10_000,
    "a." * 4_000 + "b",
    "a && " * 1_900 + "a",
    "any(a, {" * 1_200,
    "{a " * 3_300,
    '"' + "\\u0041" * 1_600,
    "{" * 9_999,
    "\x00\u202e" * 100,
    "9" * 10_000,
)


async def hostile(it: Console) -> None:
    for text in HOSTILE:
        for is_template in (False, True):
            for path, more in (("compile", {}), ("format", {}), ("complete", {"cursor": len(text)})):
                body = {"text": text, "is_template": is_template, **more}
                reply = await it.post(f"/debugger/expressions:{path}", body, status=200)
                if path == "compile" and reply["problems"]:
                    (problem,) = reply["problems"]
                    assert 0 <= problem["position"] <= len(text)
                    assert reply["text"] == text
    for path, more in (("compile", {}), ("complete", {"cursor": 0}), ("evaluate", {"snapshot_id": "x"})):
        body = {"text": "a" * 10_001, **more}
        await it.refused("POST", f"/debugger/expressions:{path}", body, status=422)


def test_what_is_kept_completes_and_tries_expressions_for_who_may_see_values(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        probe_id = await probe_with_snapshots(it)
        await completes(it, probe_id)
        await evaluates(it)
        await tries(it, probe_id)
        await says_what_is_not_theirs(it, probe_id)

    run(tmp_path, case)


async def completes(it: Console, probe_id: str) -> None:
    admin = it.headers
    here = {
        "service": "shop",
        "envs": ["prod"],
        "where": {"file": "shop.py", "line": 13},
        "place": "line",
    }

    assert (await completed(it, "to", **here))[0] == "total"
    assert (await completed(it, "order.", **here))[:2] == ["total", "owner"]
    assert "total" in await completed(it, "", probe_id=probe_id)
    assert "@return" not in await completed(it, "@", **here)
    assert "order" in await completed(it, "id {ord", is_template=True, **here)
    elsewhere = {**here, "where": {"file": "shop.py", "line": 14}}
    assert await completed(it, "to", **elsewhere) == []

    it.headers = as_role(it, "standard")
    assert await completed(it, "to", **here) == []
    assert await completed(it, "isE", **here) == ["isEmpty()"]
    it.headers = admin


async def evaluates(it: Console) -> None:
    admin = it.headers

    async def tried(text: str, **more: Any) -> Any:
        body = {"text": text, "snapshot_id": snapshot_id(3), **more}
        return await it.post("/debugger/expressions:evaluate", body, status=200)

    held = await tried("total > 2")
    assert (held["verdict"], held["shown"], held["holds"]) == ("value", "true", True)
    assert (await tried("order.total"))["shown"] == "7"
    assert (await tried("order.password"))["verdict"] == "redacted"
    unknown = await tried("total > nothing")
    assert (unknown["verdict"], unknown["start"], unknown["end"]) == ("unknown", 8, 15)
    assert (await tried("total >"))["problems"][0]["position"] == 7
    assert (await tried("total {total} of {order.owner}", is_template=True))[
        "shown"
    ] == f"total 3 of {SECRET}"
    await it.refused(
        "POST", "/debugger/expressions:evaluate", {"text": "a", "snapshot_id": "nothing"}, status=404
    )

    it.headers = as_role(it, "standard")
    body = {"text": "order.owner", "snapshot_id": snapshot_id(3)}
    refusal = await it.refused("POST", "/debugger/expressions:evaluate", body, status=403)
    assert "debugger_capture_variables" in refusal["detail"]
    assert SECRET not in str(refusal)
    it.headers = admin


async def tries(it: Console, probe_id: str) -> None:
    admin = it.headers
    document = {**LOG, "when": "total >= 2", "template": "{total} of {order.owner} {order.nothing}"}
    body = {"document": document, "service": "shop", "envs": ["prod"]}

    tried = await it.post("/debugger/expressions:try", body, status=200)
    assert (tried["tried"], tried["matched"], tried["failed"], tried["unknown"]) == (4, 2, 0, 0)
    assert [each["match"] for each in tried["snapshots"]] == ["no", "no", "yes", "yes"]
    assert tried["snapshots"][2]["message"].startswith(f"2 of {SECRET} ")
    assert tried["snapshots"][2]["troubles"]

    other = {**document, "where": {"file": "other.py", "line": 1}}
    assert (await it.post("/debugger/expressions:try", {**body, "document": other}, status=200))["why_not"]
    moved = {"document": other, "service": "shop", "probe_id": probe_id}
    assert (await it.post("/debugger/expressions:try", moved, status=200))["matched"] == 2

    # 50 expressions that walk all they can, on every snapshot: it stops, and says so.
    heavy = '{all(many, {!any(many, {@it == "none"})})}' * 50
    slow = await it.post(
        "/debugger/expressions:try", {**body, "document": {**document, "template": heavy}}, status=200
    )
    assert slow["is_whole"] is (slow["tried"] == 4)

    it.headers = as_role(it, "standard")
    refused = await it.post("/debugger/expressions:try", body, status=200)
    assert (refused["tried"], refused["snapshots"]) == (0, [])
    assert "debugger_capture_variables" in refused["why_not"]
    it.headers = admin


def test_a_probe_is_written_in_the_form_without_script(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await it.poll(it.agent(
            tracer("c1", products=[*ALL_PRODUCTS, "LIVE_DEBUGGING"]), tracer("c2"),
            tracer("n1", service="web", language="node"),
        ))  # fmt: skip
        empty = await page(it, "/debugger/new?service=shop&env=prod&file=shop.py:13&snapshot=1")
        form = {name: values[-1] for name, values in fields_of(empty.text).items()}
        assert (form["file"], form["line"], form["captures"]) == ("shop.py", "13", "everything")
        assert "1 instance would get it now" in words(empty)
        assert "1 would not: Dynamic Instrumentation is off in it." in words(empty)
        assert "/debugger/services?service=shop&amp;env=prod" in empty.text

        wrong = await page(it, "/debugger/new", {**form, "template": "a {b", "when": "x >> 1", "do": "save"})
        assert "<mark>&gt;</mark>" in wrong.text
        assert "Character 4: A value was expected" in words(wrong)
        assert (await it.get("/debugger/probes"))["probes"] == []

        tidied = await page(it, "/debugger/new", {**form, "template": "a {b  }", "when": "x>1", "do": "tidy"})
        again = {name: values[-1] for name, values in fields_of(tidied.text).items()}
        assert (again["template"].strip(), again["when"].strip()) == ("a {b}", "x > 1")

        saved = await page(it, "/debugger/new", {**again, "do": "save"})
        assert saved.status_code == 303
        twice = await page(it, "/debugger/new", {**again, "do": "save"})
        assert twice.headers["location"] == saved.headers["location"]
        (made,) = (await it.get("/debugger/probes"))["probes"]
        assert made["document"]["when"] == "x > 1"
        assert made["document"]["language"] == "python"

        node = await page(it, "/debugger/new?service=web&kind=metric&file=a.js:1")
        assert "dd-trace takes no metric at a line." in words(node)

    run(tmp_path, case)


def test_two_people_at_one_probe_are_both_shown(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        probe_id = await probe_with_snapshots(it)
        path = f"/debugger/probes/{probe_id}/edit"
        mine = {name: values[-1] for name, values in fields_of((await page(it, path)).text).items()}
        look = await page(it, "/debugger/look", {**mine, "when": "total > 2"})
        assert "Condition added: total > 2" in words(look)
        assert "1 of 4 snapshots would have matched" in words(look)

        present = await it.get(f"/debugger/probes/{probe_id}")
        theirs = {"document": {**LOG, "template": "theirs {total}"}, "expected_revision": present["revision"]}
        await it.put(f"/debugger/probes/{probe_id}", theirs)
        conflict = await page(it, path, {**mine, "when": "total > 2", "do": "save"})
        assert conflict.status_code == 200
        assert "somebody else was first" in words(conflict)
        assert "Message: total is {total} → theirs {total}" in words(conflict)
        assert "Condition added: total > 2" in words(conflict)

        carried = {name: values[-1] for name, values in fields_of(conflict.text).items()}
        merged = await page(it, path, {**carried, "do": "merge"})
        both = {name: values[-1] for name, values in fields_of(merged.text).items()}
        assert (both["template"].strip(), both["when"].strip()) == ("theirs {total}", "total > 2")
        saved = await page(it, path, {**both, "do": "save"})
        assert saved.status_code == 303, words(saved)
        assert (await it.get(f"/debugger/probes/{probe_id}"))["version"] == 3

        clone = await page(it, f"/debugger/probes/{probe_id}/clone?env=staging")
        form = {name: values[-1] for name, values in fields_of(clone.text).items()}
        copied = await page(it, f"/debugger/probes/{probe_id}/clone", {**form, "do": "save"})
        assert copied.status_code == 303, words(copied)
        envs = sorted(one["env"] for one in (await it.get("/debugger/probes"))["probes"])
        assert envs == [["prod"], ["staging"]]

    run(tmp_path, case)


async def says_what_is_not_theirs(it: Console, probe_id: str) -> None:
    standard = as_role(it, "standard")
    form = await page(it, "/debugger/new", **standard)
    assert "You may set probes outside production only." in words(form)
    assert "You may not read values of variables." in words(form)

    edit = await page(it, f"/debugger/probes/{probe_id}/edit?when=total>1", **standard)
    assert SECRET not in edit.text
    assert "prod is production" in words(edit)
    assert "the snapshot" in words(edit)
    assert "would have matched" not in edit.text
    fields = {name: values[-1] for name, values in fields_of(edit.text).items()}
    refused = await page(it, f"/debugger/probes/{probe_id}/edit", {**fields, "do": "save"}, **standard)
    assert refused.status_code == 200
    assert (await it.get(f"/debugger/probes/{probe_id}"))["version"] == 1

    read_only = as_role(it, "read_only")
    assert "You may look and try, and not save." in words(await page(it, "/debugger/new", **read_only))
