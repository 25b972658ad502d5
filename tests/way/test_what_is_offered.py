"""What a page offers somebody is what they may open, and what it tells them is theirs to know."""

from __future__ import annotations

import re
from pathlib import Path

from sealwire.server.access.permissions import Grant, Principal, Role
from sealwire.server.ui import home
from tests.support.console import Console, run
from tests.support.parts import ASM_ON, tracing
from tests.way.test_config_form import NEW, writer
from tests.way.test_configs import Pages, somebody


async def become(it: Console, role: str) -> None:
    key = it.plane.access.create_application_key(1, user=f"{role}@x.org", role=role, now_ms=it.plane.now_ms())
    it.headers = {"Authorization": f"Bearer {key}"}


def links(page: str) -> set[str]:
    return set(re.findall(r'href="(/[^"#?]*)', page))


def test_home_tells_of_configs_one_may_see_and_of_no_people_where_the_trail_is_not_open(
    tmp_path: Path,
) -> None:
    async def case(it: Console) -> None:
        await it.put_config("ASM_FEATURES", ASM_ON, name="seen by all")
        await it.put_config("APM_TRACING", tracing(tracing_sampling_rate=0.5), name="not theirs")
        assert (await it.ask("POST", "/keys", {"name": "web", "remote_config": True})).status_code == 201

        everything = await Pages(it).get("/")
        await become(it, "read_only")
        page = await Pages(it).get("/")

        assert all(words in everything for words in ("seen by all", "not theirs", "Made the API key"))
        assert "seen by all" in page
        assert [words for words in ("not theirs", "Made the API key") if words in page] == []

    run(tmp_path, case)


def test_home_tells_of_probes_whom_they_concern_and_of_each_once(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        assert "Probes in programs" not in await Pages(it).get("/")
        document = {
            "kind": "log", "language": "python", "where": {"file": "shop.py", "line": 4}, "template": "hello",
        }  # fmt: skip
        body = {"service": "shop", "env": ["prod"], "document": document}
        await it.post("/debugger/probes", {**body, "name": "for a month"})
        document["expires_in_minutes"] = 30
        await it.post("/debugger/probes", {**body, "name": "for a moment"})

        page = await Pages(it).get("/")

        for state, count in (("active", 2), ("ending", 1)):
            assert re.search(rf'href="/debugger\?state={state}">.*?<b>{count}</b>', page), state
        assert "state=trouble" not in page
        assert page.count("for a moment") == 1
        ending = await Pages(it).get("/debugger?state=ending")
        assert "for a moment" in ending
        assert "for a month" not in ending

        tenant = it.plane.tenants[1]
        fleet = await tenant.overview.glance()
        somebody = Principal("ann", 1, (Grant(Role("r", "fleet only", frozenset({"fleet_read"}))),))
        assert (await home.view(tenant, it.plane, fleet, somebody)).probes == ()

    run(tmp_path, case)


def test_the_guide_leads_only_to_pages_one_may_open(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        assert {"/people", "/audit", "/settings"} <= links(await Pages(it).get("/guide/security"))

        await become(it, "read_only")

        pages = links(await Pages(it).get("/guide/how-it-works"))
        for path in {one for one in pages if one.startswith("/guide/")}:
            for link in links(await Pages(it).get(path)):
                if not link.startswith("/static"):
                    await Pages(it).get(link, status=302 if link == "/guide" else 200)

    run(tmp_path, case)


def test_who_may_not_switch_remote_configuration_is_told_that_it_is_off_and_not_led_there(
    tmp_path: Path,
) -> None:
    async def case(it: Console) -> None:
        await Pages(it).send("/settings/remote-configuration", confirm="main", do="at_once")
        organisation = it.plane.tenants[1].organisation
        assert not organisation.remote_config or organisation.withdrawing_ms is not None
        assert "/settings" in links(await Pages(it).get("/fleet"))

        await become(it, "standard")
        page = await Pages(it).get("/fleet")

        assert 'class="caution"' in page
        assert "/settings" not in links(page)

    run(tmp_path, case)


def test_a_new_config_without_a_name_is_named_after_what_it_is_and_whom_it_is_for(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        form = await writer(it, NEW + "ASM_FEATURES&service=shop")
        await form.press("review", p__asm__enabled="true")

        assert "Review: App and API Protection for service shop" in form.text

    run(tmp_path, case)


def test_who_may_block_for_one_service_is_offered_no_more_and_loses_nothing_typed(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await Pages(it).send("/protect/block", kind="ip", values="203.0.113.7", span="1h")
        await Pages(it).send("/protect/block", kind="ip", values="203.0.113.8", span="1h", service="cart")
        may = ("appsec_protect_read", "appsec_protect_write", "rc_config_read", "rc_config_publish")
        pages = Pages(somebody(it, *may, services=frozenset({"cart"})))

        page = await pages.get("/protect/denylist")
        form = await pages.get("/protect/block")
        beyond = await pages.send("/protect/block", kind="ip", values="203.0.113.9", span="1h")

        assert len(re.findall(r"<button type=\"submit\"[^>]*>Unblock<", page)) == 1
        assert len(re.findall(r'href="/protect/block\?kind', page)) == 1
        assert re.search(r'name="service"[^>]* value="cart"', form)
        assert beyond.status_code == 422
        assert "203.0.113.9</textarea>" in beyond.text
        assert "for service cart only" in beyond.text

    run(tmp_path, case)


def test_a_word_on_what_was_not_done_does_not_look_like_success(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        hook = {"name": "chat", "url": "http://127.0.0.1:9/", "events": ["config.failing"]}
        made = (await it.ask("POST", "/webhooks", hook)).json()
        hook_id = made["id"]
        await Pages(it).send(f"/webhooks/{hook_id}/test")

        page = await Pages(it).get(f"/webhooks/{hook_id}")

        assert '<p class="done wrong" role="alert">' in page
        assert "The test was not taken" in page

    run(tmp_path, case)
