"""The services page: what an engine was seen to be, and what the last day brought, counted once for all."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec

from sealwire.server.access.permissions import BUILT_IN_ROLES, Grant, Principal
from sealwire.server.protect.in_force import Service
from sealwire.server.security.activity import BARS, QUIET, Day
from sealwire.server.ui.protect import service_row
from sealwire.wire.security_batch import Watched
from tests.support.attacks import attacked, batch
from tests.support.console import Console, run
from tests.support.live import watching
from tests.support.simulated_agent import tracer
from tests.way.test_security_traces import links, rows_of, show, tell

PAGE = "/protect"


async def two_services(it: Console) -> None:
    """The shop was attacked twice and blocked once, the mail of another environment saw a login."""
    await it.poll(it.agent(tracer("a"), tracer("b", service="Mail", env="Staging"), tracer("c", service="x")))
    watched = Watched("shop", "prod", "1.4.0", "r-1", "2.1.0", "1.18.0", 7, time.time_ns() // 1_000_000)
    spans = [
        attacked(1, ip="198.51.100.7"),
        attacked(2, ip="198.51.100.8", ago_s=3600),
        attacked(3, ip="203.0.113.9", like="blocked_ip"),
        attacked(4, service="Mail", env="Staging", like="login_failure"),
        attacked(5, service="shop", env="staging"),
    ]
    told = msgspec.structs.replace(batch(spans), watched=[watched])
    await it.plane.tenants[1].detection.take(told, key_id="key")


def row(html: str, service: str) -> str:
    return next(one for one in html.split("<tr ")[1:] if f">{service}</a>" in one)


def test_a_service_shows_its_engine_its_events_and_its_blocked(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await two_services(it)

        shop, mail, quiet = [row(await show(it, PAGE), name) for name in ("shop", "Mail", "x")]

        assert ("engine 2.1.0" in shop, "rules 1.18.0" in shop) == (True, True)
        assert "7 requests in the last hour" in shop
        assert shop.count("<rect") in (1, 2)  # an hour ago may be the same half hour or not
        assert (">3<" in shop, ">1<" in shop) == (True, True)
        assert ("engine" in mail, ">1<" in mail) == (False, True)
        assert ('<svg class="spark"' in quiet, "/security/traces?q" in quiet) == (False, False)
        by_api = {
            one["service"]: (one["events_24h"], one["blocked_24h"])
            for one in (await it.get("/protect/activation"))["services"]
        }
        assert by_api == {"shop": (3, 1), "Mail": (1, 0), "x": (0, 0)}

    run(tmp_path, case)


def test_a_number_leads_to_the_traces_that_it_counts(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await two_services(it)

        found = [href for href in links(await show(it, PAGE)) if href.startswith("/security/traces?q")]

        counts = {}
        for href in found:
            (text,) = parse_qs(urlsplit(href).query)["q"]
            counts[text] = len(rows_of(await show(it, href)))
        assert counts == {
            "service:shop env:prod": 3,
            "service:shop env:prod @appsec.blocked:true": 1,
            "service:mail env:staging": 1,
        }

    run(tmp_path, case)


def test_what_comes_while_the_page_is_open_is_counted_and_shown(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await two_services(it)
        async with watching(it, "/live/protect") as page:
            assert ">3<" in row(await page.until("services", ">shop</a>"), "shop")
            await tell(it, attacked(9, ip="198.51.100.99"))
            changed = await page.until(row_id(await show(it, PAGE), "shop"), ">4<")
        assert "engine 2.1.0" in changed

    run(tmp_path, case)


def row_id(html: str, service: str) -> str:
    found = re.match(r'id="([^"]+)"', row(html, service))
    assert found is not None
    return found[1]


def test_two_hundred_services_take_one_count_however_many_look(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        tenant = it.plane.tenants[1]
        await it.poll(it.agent(*(tracer(f"t{n}", service=f"s{n:03}") for n in range(200))))
        await tell(it, *(attacked(n + 1, service=f"s{n:03}", ip=f"198.51.100.{n}") for n in range(200)))
        counts = 0
        count = tenant.activity._count

        def counted(newest: int, bars: int) -> None:
            nonlocal counts
            counts += 1
            count(newest, bars)

        tenant.activity._count = counted  # type: ignore[method-assign]

        shown = [await show(it, PAGE) for _ in range(3)]

        assert counts == 1
        assert len(re.findall(r'class="spark"', shown[-1])) == 200
        assert all(len(day.requests) == BARS for day in (await tenant.activity.days()).values())

    run(tmp_path, case)


def test_who_may_not_search_traces_sees_numbers_that_lead_nowhere() -> None:
    eve = Principal("eve", 1, (Grant(BUILT_IN_ROLES["admin"]),), scopes=frozenset({"appsec_protect_read"}))
    day = Day((*QUIET.requests[1:], 3), (*QUIET.blocked[1:], 1))

    shown = service_row(Service("shop", "prod", clients=1), eve, day=day)

    assert (shown.events, shown.events_href, shown.blocked, shown.blocked_href) == (3, None, 1, None)
    assert shown.spark_words == "Most in half an hour: 3, now"
