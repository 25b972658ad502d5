"""Configs through the API and the pages: find, who has one and why, restore, retire, who may, how fast."""

from __future__ import annotations

import asyncio
import html
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from sealwire.clock import utc_now
from sealwire.server.access.keys import digest_sent
from sealwire.server.store import write
from sealwire.wire.codec import ApplyState
from tests.support.console import Console, run
from tests.support.parts import ASM_OFF, ASM_ON, NOTED, denylist, dump, tracing
from tests.support.simulated_agent import tracer

STRANGE = "<script>alert(1)</script> \u202egnihton\u202c ‏מבצע‏ \"'&"


def in_an_hour() -> str:
    return (utc_now() + timedelta(hours=1)).isoformat()


class Pages:
    """The pages as the console's person sees them."""

    def __init__(self, it: Console) -> None:
        self.it = it

    async def get(self, path: str, *, status: int = 200) -> str:
        reply = await self.it.client.get(path, headers={**self.it.headers, "Accept": "text/html"})
        assert reply.status_code == status, (reply.status_code, reply.text[-500:])
        return reply.text

    async def send(self, path: str, **fields: Any) -> httpx.Response:
        return await self.it.client.post(
            path,
            content=urlencode(fields),
            headers={
                **self.it.headers, "Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded",
            },
        )  # fmt: skip


def rows(page: str) -> list[str]:
    """The names in the table."""
    return [html.unescape(name) for name in re.findall(r'class="main"><a [^>]*><bdi>(.*?)</bdi>', page)]


async def retire(it: Console, config: Any) -> Any:
    reply = await it.ask("DELETE", f"/configs/{config['id']}?comment=done")
    assert reply.status_code == 200
    return reply.json()


async def expire(it: Console, config: Any) -> None:
    """Put the end of a config behind us, as time would."""
    tenant = it.plane.tenants[1]
    row = tenant.author.get(config["id"])
    past = int(it.plane.clock().timestamp() * 1000) - 1000
    with it.plane.database.write() as c:
        domain = write.lock_domain(c, 1)
        ended = replace(row, revision=row.revision + 1, expires_ms=past, generation=domain.generation + 1)
        write.put_config(c, ended, expected_revision=row.revision)
        write.set_domain(c, 1, generation=ended.generation)
    await it.published()


# The list -----------------------------------------------------------------------------------------------


def test_an_expired_config_is_no_active_one(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        kept = await it.put_config("ASM_FEATURES", ASM_ON, name="kept")
        over = await it.put_config("ASM_DATA", denylist("203.0.113.7"), name="over", expires_at=in_an_hour())
        gone = await it.put_config("APM_TRACING", tracing(tracing_sampling_rate=0.5), name="gone")
        await expire(it, over)
        await retire(it, gone)

        async def ids(query: str) -> list[str]:
            return [one["id"] for one in (await it.get(f"/configs{query}"))["configs"]]

        assert await ids("") == await ids("?state=active") == [kept["id"]]
        assert await ids("?state=expired") == [over["id"]]
        assert await ids("?state=retired") == [gone["id"]]
        assert len(await ids("?state=all")) == 3
        assert (await it.get(f"/configs/{over['id']}"))["state"] == "expired"
        pages = Pages(it)
        assert rows(await pages.get("/configs")) == ["kept"]
        assert rows(await pages.get("/configs?state=expired")) == ["over"]
        assert rows(await pages.get("/configs?q=state:expired,retired&sort=name")) == ["gone", "over"]
        assert "its time is over" in await pages.get(f"/configs/{over['id']}")

    run(tmp_path, case)


def test_the_api_filters_sorts_and_pages_as_the_page_does(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for number in range(7):
            await it.put_config(
                "ASM_DATA", denylist(f"203.0.113.{number}"), name=f"list {number}",
                targeting={"service": ["shop" if number % 2 else "cart"]},
            )  # fmt: skip
        await it.put_config("ASM_FEATURES", ASM_ON, name="on")
        await it.published()

        first = await it.get("/configs?q=product:asm_data+-service:cart&sort=name&limit=2")
        rest = await it.get(
            f"/configs?q=product:asm_data+-service:cart&sort=name&limit=2&after={first['next']}"
        )

        assert [one["name"] for one in first["configs"] + rest["configs"]] == ["list 1", "list 3", "list 5"]
        assert (first["total"], rest["next"]) == (3, None)
        assert first["configs"][0]["payload"] == denylist("203.0.113.1")
        page = await Pages(it).get("/configs?q=product:asm_data+-service:cart&sort=name")
        assert rows(page) == ["list 1", "list 3", "list 5"]
        assert "3 of 8" in page
        for query, path in (
            ("q=sevice:x", "$.q sevice:"),
            ("sort=colour", "$.sort"),
            ("after=!!!", "$.after"),
            ("limit=0", "$.limit"),
        ):
            told = await it.refused("GET", f"/configs?{query}", status=422)
            assert told["problems"][0]["path"] == path, told
        assert "Did you mean service?" in await Pages(it).get("/configs?q=sevice:x")

    run(tmp_path, case)


@pytest.mark.parametrize(
    "query",
    [
        "q=%00", "q=name:%00", "after=WyIAIiwgImEiXQ", "sort=name&after=WyJcdTAwMDAiLCJhIl0",
        "after=WzFlOTk5LCJhIl0", "after=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5LCJhIl0", "state=x", "sort=-",
        "q=%F0%9F%9B%92", "q=%ff%fe", "q=name:" + "*" * 400, "q=%25%27%22--",
        "before=WzEsImEiXQ&after=WzEsImEiXQ",
    ],
)  # fmt: skip
def test_no_address_of_the_list_breaks_it(tmp_path: Path, query: str) -> None:
    async def case(it: Console) -> None:
        await it.put_config("ASM_FEATURES", ASM_ON)
        await Pages(it).get(f"/configs?{query}")

    run(tmp_path, case)


def test_how_far_a_config_has_come_is_counted_and_can_be_asked_for(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        well = await it.put_config("ASM_FEATURES", ASM_ON, name="well")
        await it.put_config("ASM_DATA", denylist("203.0.113.7"), name="failing")
        await it.put_config("ASM_DATA", denylist("203.0.113.8"), name="nobody", targeting={"env": ["x"]})
        agent = it.agent(tracer("c1"), tracer("c2", service="cart"))
        for _ in range(3):
            await it.poll(agent)
            agent.apply(now=utc_now(), states={"ASM_DATA": ApplyState.ERROR}, errors={"ASM_DATA": "too long"})
        await it.poll(agent)

        found = {one["name"]: one["deliveries"] for one in (await it.get("/configs"))["configs"]}

        assert found["well"] == {"wanted": 2, "acknowledged": 2, "applying": 0, "failed": 0}
        assert found["failing"] == {"wanted": 2, "acknowledged": 0, "applying": 0, "failed": 2}
        assert found["nobody"] == {"wanted": 0, "acknowledged": 0, "applying": 0, "failed": 0}
        pages = Pages(it)
        assert rows(await pages.get("/configs?q=delivery:failing")) == ["failing"]
        assert rows(await pages.get("/configs?q=-delivery:failing&sort=name")) == ["nobody", "well"]
        assert rows(await pages.get("/configs?q=delivery:taken")) == ["well"]
        page = await pages.get(f"/configs/{well['id']}")
        assert "all 2 clients have confirmed it" in page

    run(tmp_path, case)


def test_who_has_it_and_who_not_is_told_with_every_reason(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        config = await it.put_config(
            "ASM_DATA", denylist("203.0.113.7"), targeting={"service": ["shop"], "env": ["prod"]}
        )
        agent = it.agent(
            tracer("has"), tracer("cart", service="cart"), tracer("asks-not", products=("APM_TRACING",))
        )
        for _ in range(2):
            await it.poll(agent)
            agent.apply(now=utc_now())

        having = await it.get(f"/configs/{config['id']}/clients")
        lacking = await it.get(f"/configs/{config['id']}/clients?has=false&limit=1")
        more = await it.get(f"/configs/{config['id']}/clients?has=false&limit=1&after={lacking['next']}")

        assert [(one["client_id"], one["verdict"]) for one in having["clients"]] == [("has", "has")]
        assert having["files"][0]["path"].startswith("datadog/1/ASM_DATA/")
        assert len(having["files"][0]["sha256"]) == 64
        assert (lacking["total"], more["next"]) == (2, None)
        reasons = {
            one["client_id"]: [rule["text"] for rule in one["rules"] if not rule["holds"]]
            for one in lacking["clients"] + more["clients"]
        }
        assert reasons == {
            "asks-not": ["It does not ask for ASM_DATA."],
            "cart": ['Its service is "cart"; this config is for "shop".'],
        }
        page = await Pages(it).get(f"/configs/{config['id']}")
        assert "It does not ask for ASM_DATA." in page
        assert having["files"][0]["sha256"] in page

    run(tmp_path, case)


# Restoring ----------------------------------------------------------------------------------------------


def test_a_revision_is_restored_with_all_it_said(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        ends = in_an_hour()
        made = await it.put_config(
            "ASM_FEATURES", ASM_ON, name="On", targeting={"service": ["shop"]}, expires_at=ends
        )
        path = f"/configs/{made['id']}"
        await it.put(
            path,
            {"expected_revision": 1, "payload": ASM_OFF, "name": "Off", "targeting": {}, "expires_at": None},
        )

        back = await it.post(f"{path}/restore", {"revision": 1, "expected_revision": 2}, status=200)

        assert (back["revision"], back["payload"], back["name"]) == (3, ASM_ON, "On")
        assert (back["targeting"], back["expires_at"]) == ({"service": ["shop"]}, made["expires_at"])
        assert back["comment"] == "Restored revision 1"
        history = (await it.get(f"{path}/history?changes=true"))["revisions"]
        assert [one["expires_at"] for one in history] == [made["expires_at"], None, made["expires_at"]]
        assert [one["words"] for one in history[0]["changes"]] == [
            "Services any → shop", "App and API Protection off → on",
        ]  # fmt: skip
        events = (await it.get("/audit?limit=1"))["events"]
        assert events[0]["action"] == "config.restored"

    run(tmp_path, case)


def test_a_retired_config_is_restored_and_an_expired_one_with_a_new_time(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON, expires_at=in_an_hour())
        path = f"/configs/{made['id']}"
        await retire(it, made)
        await it.published()

        told = await it.refused(
            "POST", f"{path}/restore", {"revision": 2, "expected_revision": 2}, status=422
        )
        assert "retired the config" in told["problems"][0]["message"]
        back = await it.post(f"{path}/restore", {"revision": 1, "expected_revision": 2}, status=200)
        assert (back["state"], back["expires_at"]) == ("active", made["expires_at"])
        await it.published()
        told = await it.refused(
            "POST", f"{path}/restore", {"revision": 3, "expected_revision": 3}, status=422
        )
        assert "in force already" in told["problems"][0]["message"]

        await expire(it, back)
        told = await it.refused(
            "POST", f"{path}/restore", {"revision": 4, "expected_revision": 4}, status=422
        )
        assert told["problems"][0]["path"] == "$.expires_at"
        again = await it.post(
            f"{path}/restore", {"revision": 4, "expected_revision": 4, "expires_at": None}, status=200
        )
        assert (again["state"], again["expires_at"]) == ("active", None)

    run(tmp_path, case)


def test_a_restore_over_somebody_elses_change_is_a_conflict_that_shows_it(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON)
        path = f"/configs/{made['id']}"
        await it.put(path, {"expected_revision": 1, "payload": ASM_OFF})
        await it.put(path, {"expected_revision": 2, "name": "Theirs"})
        await it.published()
        before = dump(it.plane.database, without=NOTED)

        told = await it.refused(
            "POST", f"{path}/restore", {"revision": 1, "expected_revision": 2}, status=409
        )
        page = await Pages(it).send(f"{path}/restore", revision=1, expected_revision=2, comment="mine <b>")

        assert (told["expected_revision"], told["actual_revision"]) == (2, 3)
        assert page.status_code == 409
        assert "admin made revision 3 of it meanwhile." in page.text
        assert "mine &lt;b&gt;" in page.text
        assert 'name="expected_revision" value="3"' in page.text
        assert dump(it.plane.database, without=NOTED) == before
        for number in ("9", "0", "x", "", "99999999999999999999"):
            await Pages(it).get(f"{path}/restore?revision={number}", status=404)
        await it.refused("POST", f"{path}/restore", {"revision": 9, "expected_revision": 3}, status=404)

    run(tmp_path, case)


def test_the_page_restores_and_undoes_with_one_button(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("APM_TRACING", tracing(tracing_sampling_rate=0.5), name="Rate")
        path = f"/configs/{made['id']}"
        await it.put(path, {"expected_revision": 1, "payload": tracing(tracing_sampling_rate=0.1)})
        pages = Pages(it)

        page = await pages.get(path)
        assert "Undo the last change" in page
        assert "Sampling rate 0.5 → 0.1" in page
        asked = await pages.get(f"{path}/restore?revision=1")
        assert "Sampling rate 0.1 → 0.5" in asked
        done = await pages.send(f"{path}/restore", revision=1, expected_revision=2)

        assert (done.status_code, done.headers["location"]) == (303, path)
        assert (await it.get(path))["payload"] == tracing(tracing_sampling_rate=0.5)

    run(tmp_path, case)


# Retiring -----------------------------------------------------------------------------------------------


def test_what_more_than_one_client_has_is_retired_by_typing_its_name(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON, name="Protection  für alle")
        path = f"/configs/{made['id']}"
        agent = it.agent(tracer("c1"), tracer("c2", service="cart"))
        for _ in range(2):
            await it.poll(agent)
            agent.apply(now=utc_now())
        await asyncio.sleep(1)  # a look at the fleet is shared for so long
        pages = Pages(it)

        page = await pages.get(f"{path}/retire")
        assert "2 clients" in page
        assert "Type its name to confirm" in page
        wrong = await pages.send(f"{path}/retire", expected_revision=1, confirm="Protection")
        assert wrong.status_code == 422
        assert (await it.get(path))["state"] == "active"
        stale = await pages.send(f"{path}/retire", expected_revision=7, confirm="Protection für alle")
        assert stale.status_code == 409
        done = await pages.send(
            f"{path}/retire",
            expected_revision=1,
            confirm=" Protection fu\u0308r alle ",
            comment="Trial is over",
        )

        assert done.status_code == 303
        retired = await it.get(path)
        assert (retired["state"], retired["comment"]) == ("retired", "Trial is over")
        assert "Undo the retirement" in await pages.get(path)

    run(tmp_path, case)


def test_what_nobody_has_is_retired_with_one_button(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON)

        done = await Pages(it).send(f"/configs/{made['id']}/retire", expected_revision=1)

        assert done.status_code == 303
        assert (await it.get(f"/configs/{made['id']}"))["state"] == "retired"

    run(tmp_path, case)


# Who may ------------------------------------------------------------------------------------------------


def somebody(it: Console, *permissions: str, services: frozenset[str] = frozenset()) -> Console:
    """Who has these permissions and no others, be it for some services only."""
    key = it.plane.access.create_application_key(1, user="eve", role="admin", now_ms=0)
    admin = it.plane.access.principal(key)
    grants = tuple(replace(grant, services=services) for grant in admin.grants)
    it.plane.access._application[digest_sent(key)] = replace(
        admin, grants=grants, scopes=frozenset(permissions)
    )
    return Console(it.plane, it.client, key)


def test_configs_of_a_product_one_may_not_read_are_not_there(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        hidden = await it.put_config("APM_TRACING", tracing(tracing_sampling_rate=0.5), name="Hidden")
        shown = await it.put_config("ASM_FEATURES", ASM_ON, name="Shown")
        agent = it.agent(tracer("c1"))
        for _ in range(3):
            await it.poll(agent)
            agent.apply(now=utc_now())
        eve = somebody(it, "rc_config_read", "fleet_read", "appsec_activation_read", "rc_config_publish")

        assert [one["name"] for one in (await eve.get("/configs?state=all"))["configs"]] == ["Shown"]
        assert (await eve.get("/configs?q=delivery:taken"))["total"] == 1
        page = await Pages(eve).get("/configs?state=all")
        assert rows(page) == ["Shown"]
        assert "1 of 1" in page
        for path in ("", "/history", "/clients"):
            await eve.refused("GET", f"/configs/{hidden['id']}{path}", status=404)
        for path in ("", "/restore?revision=1", "/retire"):
            await Pages(eve).get(f"/configs/{hidden['id']}{path}", status=404)
        assert "Hidden" not in await Pages(eve).get("/propagation")
        body = {"revision": 1, "expected_revision": 1}
        await eve.refused("POST", f"/configs/{hidden['id']}/restore", body, status=404)
        # What it may read it may not write.
        await eve.refused("POST", f"/configs/{shown['id']}/restore", body, status=403)
        assert (
            await Pages(eve).send(f"/configs/{shown['id']}/retire", expected_revision=1)
        ).status_code == 403
        page = await Pages(eve).get(f"/configs/{shown['id']}")
        assert "Retire" not in page
        assert "Undo" not in page

    run(tmp_path, case)


def test_who_is_limited_to_a_service_restores_nothing_that_reaches_further(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON)
        path = f"/configs/{made['id']}"
        await it.put(path, {"expected_revision": 1, "targeting": {"service": ["Shop"]}})
        await it.put(path, {"expected_revision": 2, "payload": ASM_OFF})
        await it.published()
        eve = somebody(
            it, "rc_config_read", "rc_config_publish", "appsec_activation_read", "appsec_activation_write",
            services=frozenset({"shop"}),
        )  # fmt: skip

        await eve.refused("POST", f"{path}/restore", {"revision": 1, "expected_revision": 3}, status=403)
        assert "does not let you" in await Pages(eve).get(f"{path}/restore?revision=1")
        back = await eve.post(f"{path}/restore", {"revision": 2, "expected_revision": 3}, status=200)

        assert back["payload"] == ASM_ON

    run(tmp_path, case)


def test_who_may_not_see_the_fleet_sees_counts_and_no_clients(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON)
        agent = it.agent(tracer("secret-client", service="secret-service"))
        for _ in range(3):
            await it.poll(agent)
            agent.apply(now=utc_now())
        eve = somebody(
            it, "rc_config_read", "appsec_activation_read", "appsec_activation_write", "rc_config_publish"
        )
        await asyncio.sleep(1)

        pages = Pages(eve)
        for path in ("", "/retire", "/restore?revision=1"):
            assert "secret" not in await pages.get(f"/configs/{made['id']}{path}"), path
        await eve.refused("GET", f"/configs/{made['id']}/clients", status=403)
        assert (await eve.get(f"/configs/{made['id']}"))["deliveries"]["wanted"] == 1

    run(tmp_path, case)


def test_another_organisation_finds_nothing(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON, name="Mine")
        key = (await it.post("/orgs", {"name": "other"}))["application_key"]
        await it.published()
        other = Console(it.plane, it.client, key)
        body = {"revision": 1, "expected_revision": 1}

        await other.refused("POST", f"/configs/{made['id']}/restore", body, status=404)
        await other.refused("GET", f"/configs/{made['id']}/clients", status=404)
        for path in ("", "/restore?revision=1", "/retire"):
            await Pages(other).get(f"/configs/{made['id']}{path}", status=404)
        for path in ("restore", "retire"):
            sent = await Pages(other).send(f"/configs/{made['id']}/{path}", **body)
            assert sent.status_code == 404
        assert "Mine" not in await Pages(other).get("/configs?state=all")
        assert (await other.get("/propagation?window=week"))["products"] == []

    run(tmp_path, case)


# Names, and how long it takes -----------------------------------------------------------------------------


def test_names_do_nothing(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config(
            "ASM_FEATURES", ASM_ON, name=STRANGE, comment=STRANGE, targeting={"service": [STRANGE]}
        )
        pages = Pages(it)
        for path in ("/configs", *(f"/configs/{made['id']}{end}" for end in ("", "/retire"))):
            page = await pages.get(path)
            assert "<script>alert" not in page
            assert "&lt;script&gt;" in page

    run(tmp_path, case)


def test_propagation_tells_steps_products_and_the_slowest(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON, name="On")
        agent = it.agent(tracer("c1"))
        for _ in range(3):
            await it.poll(agent)
            agent.apply(now=utc_now())
        await it.put(f"/configs/{made['id']}", {"expected_revision": 1, "payload": ASM_OFF})
        await it.published()
        for _ in range(3):
            await it.poll(agent)
            agent.apply(now=utc_now())

        told = await it.get("/propagation")

        assert {name: step["count"] for name, step in told["steps"].items()} == {
            "whole": 1, "signed": 1, "fetched": 1, "applied": 1, "started": 1, "failed": 0,
        }  # fmt: skip
        assert [one["product"] for one in told["products"]] == ["ASM_FEATURES"]
        assert [(one["config_id"], one["client_id"]) for one in told["slowest"]] == [(made["id"], "c1")]
        assert told["waiting"] == []
        nobody = await it.get("/propagation?window=week&service=nobody&product=ASM")
        assert nobody["steps"]["whole"]["count"] == 0
        await it.refused("GET", "/propagation?window=year", status=422)
        await it.refused("GET", "/propagation?product=NOTHING", status=422)
        page = await Pages(it).get("/propagation?window=day&service=SHOP")
        assert "1 of 1 delivery was confirmed within 10 seconds" in page
        assert "Save to signed" in page
        assert "Nothing was delivered" in await Pages(it).get("/propagation?service=%00&window=x")

    run(tmp_path, case)
