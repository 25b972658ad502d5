"""Pages that change by themselves: what is done elsewhere comes with the stream of a page that is open."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwire.server.ui import live
from sealwire.server.ui.render import dom_id
from tests.support.console import Console, run
from tests.support.live import watching
from tests.support.parts import ASM_ON
from tests.support.simulated_agent import tracer


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.05)


def test_new_events_of_the_audit_trail_come_on_top_and_nothing_else_is_touched(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for number in range(60):  # more than a page
            await it.post("/keys", {"name": f"key {number}", "remote_config": True})
        page = (await it.client.get("/audit", headers=it.headers)).text
        (href,) = {part.split('"')[0] for part in page.split('<live-status src="')[1:]}
        async with watching(it, href.replace("&amp;", "&")) as stream:
            first = await stream.until("events", "key 59")
            shown = first.count("<tr ")
            assert shown == 50

            await it.post("/keys", {"name": "one more", "remote_config": True})
            added = await stream.until("events", "one more", how="afterbegin")
            assert added.count("<tr ") == 1

            await it.post("/keys", {"name": "and another", "remote_config": True})
            await stream.until("chain", "63 events")
            assert not [part for part in stream.parts if part[1] == "delete"]
        # Who comes back to the same page has all of it: the rows of before, and what is new.
        async with watching(it, href.replace("&amp;", "&")) as stream:
            again = await stream.until("events", "and another")
            assert again.count("<tr ") == shown + 2

    run(tmp_path, case)


def test_a_page_of_the_past_gets_no_new_events(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await it.post("/keys", {"name": "early", "remote_config": True})
        newest = (await it.get("/audit?limit=1"))["events"][0]["id"]
        async with watching(it, f"/live/audit?before={newest}") as stream:
            await stream.until("events", "<tr ")

            await it.post("/keys", {"name": "late", "remote_config": True})
            await stream.until("chain", f"{(await it.get('/audit/head'))['events']} events")
            assert not [part for part in stream.parts if part[0] == "events"]

    run(tmp_path, case)


def test_a_filtered_trail_gets_what_the_filter_lets_through(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        async with watching(it, "/live/audit?q=action:webhook.*") as stream:
            await stream.until("nothing", "No event matches")

            await it.post("/keys", {"name": "not this", "remote_config": True})
            hook = {"name": "chat", "url": "https://hooks.example.org/", "events": ["agent.error"]}
            await it.post("/webhooks", hook)
            assert "not this" not in await stream.until("events", "Made the webhook chat")

    run(tmp_path, case)


def test_a_new_root_and_new_versions_come_to_the_page_of_trust(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        async with watching(it, "/live/trust") as stream:
            before = (await it.get("/roots"))["repositories"]["director"]["version"]
            await stream.until("director-root", f"version {before} ")

            await it.post("/roots/director:rotate", status=200)
            await stream.until("director-root", f"version {before + 1} ")

            await it.put_config("ASM_FEATURES", ASM_ON)
            await it.poll(it.agent(tracer("c1")))
            await stream.until("config-roles", "ASM_FEATURES")

    run(tmp_path, case)


def test_people_roles_and_keys_come_and_change(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        async with (
            watching(it, "/live/people") as users,
            watching(it, "/live/people?q=state:disabled") as nobody,
            watching(it, "/live/people/roles") as roles,
            watching(it, "/live/people/keys") as keys,
        ):
            await users.until("nothing", "No user yet")
            await roles.until("rows", "Standard")
            await keys.until("rows", "belongs to no user")

            role = await it.post("/roles", {"name": "watchers", "permissions": ["fleet_read"]})
            await roles.until("rows", "watchers")
            given = {"email": "ann@example.org", "roles": [{"role_id": role["id"]}]}
            user = await it.post("/users", given)
            await users.until("rows", "ann@example.org")
            await users.until("count", "1 of 1")
            await nobody.until("count", "0 of 1")

            await it.ask("PATCH", f"/users/{user['id']}", {"name": "Ann"})
            await users.until(dom_id("user", user["id"]), "Ann")
            it.plane.access.create_application_key(1, user="robot", role="admin", now_ms=it.plane.now_ms())
            await keys.until("rows", "robot")

    run(tmp_path, case)


def test_a_call_of_a_webhook_comes_with_what_became_of_it(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        body = {"name": "chat", "url": "https://127.0.0.1:9/", "events": ["agent.error"]}  # nobody listens
        hook = await it.post("/webhooks", body)
        async with (
            watching(it, f"/live/webhooks/{hook['id']}") as calls,
            watching(it, "/live/webhooks") as hooks,
        ):
            await calls.until("no_calls", "No calls yet")
            await hooks.until("hooks", "none yet")

            await it.post(f"/webhooks/{hook['id']}/test", status=200)
            await calls.until("calls", "Not taken")
            await hooks.until("hooks", "Not taken")

    run(tmp_path, case)


def test_the_support_matrix_counts_a_client_that_comes(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        async with watching(it, "/live/support?language=python") as stream:
            await stream.until("head", "0 clients")

            await it.poll(it.agent(tracer("c1", language="python", tracer_version="4.16.0")))
            await stream.until("head", "1 client<")

    run(tmp_path, case)
