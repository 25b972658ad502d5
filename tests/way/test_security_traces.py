"""Security traces as people search them: by the API and by the pages, what attackers sent being hostile."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx

from sealwire.server.app import build
from sealwire.wire.security_batch import Seen
from tests.support.attacks import EXPLOIT, FRAMES, MARKUP, attacked, batch, hostile, matched, trace_id
from tests.support.console import Console, run
from tests.support.live import watching
from tests.way.test_route_walk import ask

PAGE = "/security/traces"


async def tell(it: Console, *spans: Seen) -> None:
    """What an agent sends, written."""
    await it.plane.tenants[1].detection.take(batch(spans), key_id="key")


async def show(it: Console, path: str, status: int = 200) -> str:
    reply = await it.client.get(path, headers=it.headers)
    assert reply.status_code == status, reply.text[:1000]
    return reply.text


class _Tags(HTMLParser):
    """The elements of a page, as a browser would make them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(html)
    return parser.found


def links(html: str) -> list[str]:
    return [str(attributes.get("href")) for tag, attributes in tags(html) if tag == "a"]


def rows_of(html: str) -> list[str]:
    return re.findall(r'<tr id="(row-\d+)"', html)


def some_attacks() -> Iterable[Seen]:
    yield attacked(1, ago_s=50, ip="198.51.100.7")
    yield attacked(2, ago_s=40, ip="198.51.100.8", service="web", env="staging")
    yield attacked(3, ago_s=30, ip="198.51.100.8", like="login_failure")
    yield attacked(4, ago_s=20, ip="203.0.113.9", like="blocked_ip")
    yield attacked(5, ago_s=10, ip="203.0.113.9", like="attack_tool")


# The API ----------------------------------------------------------------------------------------------------


def test_traces_are_found_by_query_and_time_newest_first_page_by_page(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, *some_attacks())

        first = await it.get("/security/traces?limit=2")
        second = await it.get(f"/security/traces?limit=2&before={first['next']}")
        third = await it.get(f"/security/traces?limit=2&before={second['next']}")

        seen = [one["trace_id"] for page in (first, second, third) for one in page["traces"]]
        assert seen == [trace_id(number) for number in (5, 4, 3, 2, 1)]
        assert third["next"] is None

        async def found(**asked: str) -> list[str]:
            answer = await it.get(f"/security/traces?{urlencode(asked)}")
            return [one["trace_id"][-1] for one in answer["traces"]]

        assert await found(q="ip:198.51.100.0/24 -service:web") == ["3", "1"]
        assert await found(q="@appsec.blocked:true") == ["4"]
        assert await found(q="activity:business_logic.*") == ["3"]
        newest = (await it.get("/security/traces"))["traces"][0]
        assert await found(to=newest["at"]) == ["4", "3", "2", "1"]
        assert await found(**{"from": newest["at"]}) == ["5"]
        assert await found(to="2020-01-01") == []

    run(tmp_path, case)


def test_a_query_that_makes_no_sense_is_told_with_its_position(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for path in ("traces", "histogram", "facets?facet=service&", "traces/export"):
            joint = "&" if "?" in path else "?"
            document = await it.refused("GET", f"/security/{path}{joint}q=service:shop+@odd:4", status=422)
            assert document["position"] == 13
            assert document["problems"][0]["path"] == "$.q"
            assert "@odd" in document["detail"]
        await it.refused("GET", f"/security/traces?q={'x' * 2_001}", status=422)
        await it.refused("GET", "/security/traces?q=a%00b", status=422)
        await it.refused("GET", "/security/traces?from=soon", status=422)
        await it.refused("GET", "/security/traces?from=2026-01-02&to=2026-01-01", status=422)
        await it.refused("GET", "/security/traces?before=1", status=422)
        await it.refused("GET", "/security/facets?facet=odd", status=422)

    run(tmp_path, case)


def test_facets_and_the_histogram_count_what_a_query_finds(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, *some_attacks())

        services = await it.get("/security/facets?facet=service")
        of_web = await it.get("/security/facets?facet=ip&q=service:web")
        chart = await it.get("/security/histogram?bars=10")

        assert services["values"] == [{"value": "shop", "count": 4}, {"value": "web", "count": 1}]
        assert of_web == {"facet": "@http.client_ip", "values": [{"value": "198.51.100.8", "count": 1}]}
        assert (chart["traces"], chart["requests"], chart["blocked"]) == (5, 5, 1)
        assert len(chart["bars"]) == 10
        counted = [sum(bar[kind] for bar in chart["bars"]) for kind in ("attacks", "blocked", "events")]
        assert counted == [3, 1, 1]

    run(tmp_path, case)


def test_one_trace_has_everything(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        exploit = matched("1' OR '1", "' OR '", rule=EXPLOIT, stack_id="s1", security_response_id="r-1")
        stacks = [{"id": "s1", "language": "python", "frames": FRAMES}]
        await tell(it, attacked(1, triggers=[exploit], stacks=stacks, usr__id="ann"), attacked(2))

        one = await it.get(f"/security/traces/{trace_id(1)}")

        (span,) = one["spans"]
        assert one["related"] == 1
        assert span["user_id"] == "ann"
        assert span["blocked"] is True
        assert span["exploits"] == ["sql_injection"]
        (trigger,) = span["triggers"]
        assert (trigger["rule_id"], trigger["response_id"]) == ("rasp-942-100", "r-1")
        assert trigger["matches"][0]["parameters"][0]["highlight"] == ["' OR '"]
        assert span["stacks"][0]["frames"][0] == {
            "where": "/srv/shop/db.py:42", "what": "shop.db.search",
        }  # fmt: skip
        await it.refused("GET", f"/security/traces/{trace_id(9)}", status=404)
        await it.refused("GET", "/security/traces/nothing", status=404)

    run(tmp_path, case)


def test_an_export_is_noted_and_holds_what_was_found(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, *some_attacks(), attacked(6, http__useragent="=HYPERLINK(1)"))

        lines = (await it.ask("GET", "/security/traces/export?q=service:shop")).text.splitlines()
        table = list(csv.DictReader(io.StringIO(await show(it, f"{PAGE}/export?format=csv&q=service:shop"))))

        assert [json.loads(line)["trace_id"] for line in lines] == [one["trace_id"] for one in table]
        assert len(lines) == 5
        assert table[0]["user_agent"] == "'=HYPERLINK(1)"
        events = (await it.get("/audit?action=security_traces.exported"))["events"]
        assert [event["detail"]["format"] for event in events] == ["csv", "jsonl"]
        assert events[0]["detail"]["query"] == "service:shop"
        await it.refused("GET", "/security/traces/export?format=xml", status=422)

    run(tmp_path, case)


# Pages ------------------------------------------------------------------------------------------------------


def test_before_anything_came_the_page_says_what_is_missing(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        html = await show(it, PAGE)

        assert "No security trace has come yet" in html
        assert "App and API Protection is not on for any service" in html
        assert "No agent has asked here yet" in html

    run(tmp_path, case)


def test_a_search_shows_rows_a_chart_and_facets_that_lead_on(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, *some_attacks())

        html = await show(it, f"{PAGE}?q=ip:203.0.113.9&range=15m")

        assert len(rows_of(html)) == 2
        assert "2 requests" in html
        asked = links(html)
        assert f"{PAGE}/{trace_id(5)}" in asked
        with_service = "q=ip:203.0.113.9+service:shop&range=15m"
        assert f"{PAGE}?{with_service}" in asked
        assert any("-service:shop" in href for href in asked)
        assert len(rows_of(await show(it, f"{PAGE}?{with_service}"))) == 2
        # Of a facet that is chosen from, the other values stay to be chosen.
        assert any("@http.client_ip:(203.0.113.9+OR+198.51.100.8)" in href for href in asked)
        # Every way on is one that works.
        for href in {href for href in asked if href.startswith(PAGE)}:
            assert 'role="alert"' not in await show(it, href), href

    run(tmp_path, case)


def test_a_bar_leads_to_its_own_times(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, attacked(1, ago_s=600), attacked(2, ago_s=1))

        html = await show(it, PAGE)
        bars = [
            attributes
            for tag, attributes in tags(html)
            if tag == "a" and "UTC" in (attributes.get("aria-label") or "")
        ]
        narrowed = await show(it, str(bars[0]["href"]))

        assert len(bars) == 2
        assert [bar["tabindex"] for bar in bars] == ["-1", "0"]
        assert len(rows_of(narrowed)) == 1
        assert "<live-status" not in narrowed  # its times are over

    run(tmp_path, case)


def test_a_wrong_query_is_shown_where_it_is_wrong_however_strange_or_long_it_is(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, *some_attacks())
        html = await show(it, f"{PAGE}?q=service:shop+@odd:4")
        assert "<bdi>service:shop </bdi><mark>@</mark><bdi>odd:4</bdi>" in html
        assert "At character 14: There is no facet @odd." in html
        assert 'aria-invalid="true"' in html
        application, _ = build(it.plane)
        long = await ask(application, "GET", f"{PAGE}?q={'(' * 10_000_000}", it.headers, b"")
        assert long.status == 200
        assert len(long.body) < 60_000
        assert b"at most 2000 characters" in long.body
        for text in (
            "%00",
            "(" * 1_900,
            "-" * 1_900,
            '"',
            "service:",
            "@appsec.blocked:maybe",
            "%F0%9F%A6%AD",
            quote(MARKUP),
            "ip:1.2.3.4/99",
            "*",
            "%FF%FE",
        ):
            html = await show(it, f"{PAGE}?q={text}")
            assert "<script>alert" not in html
        for more in (
            "from=%00",
            "from=now&to=then",
            "before=x",
            "before=1-1",
            "since=9999999999999-1",
            "range=odd",
            "from=9999999999999999",
        ):
            await show(it, f"{PAGE}?{more}")

    run(tmp_path, case)


def test_what_attackers_wrote_stays_text_on_every_page(tmp_path: Path) -> None:
    """Attack: markup, scripts, texts that turn the direction of writing, wherever a request can put some."""

    async def case(it: Console) -> None:
        await tell(it, hostile(1))

        search = await show(it, PAGE)
        detail = await show(it, f"{PAGE}/{trace_id(1)}")

        for html in (search, detail):
            assert "\u202e" not in html
            assert "\0" not in html
            assert "\x1b" not in html
            found = tags(html)
            assert not [tag for tag, _ in found if tag == "img"]
            assert all(attributes.get("src") for tag, attributes in found if tag == "script")
            assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
            assert not [href for href in links(html) if not href.startswith(("/", "#"))]
        assert "⟨U+202E⟩" in detail
        for href in {href for href in links(search) + links(detail) if href.startswith(PAGE)}:
            await show(it, href)

    run(tmp_path, case)


def test_a_trace_offers_to_block_who_sent_it_to_those_who_may(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, attacked(1, ip="198.51.100.7", usr__id="ann b"))
        path = f"{PAGE}/{trace_id(1)}"
        reader = it.plane.access.create_application_key(
            1, user="eve", role="read_only", now_ms=it.plane.now_ms()
        )

        html = await show(it, path)
        read_only = (await it.client.get(path, headers={"Authorization": f"Bearer {reader}"})).text

        blocks = [httpx.URL(href).params for href in links(html) if href.startswith("/protect/block?")]
        asked = {(one["kind"], one["values"], one["source"], one["next"]) for one in blocks}
        source = f"trace:{trace_id(1)}"
        assert asked == {
            ("ip", "198.51.100.7", source, path),
            ("suspicious", "198.51.100.7", source, path),
            ("user", "ann b", source, path),
        }
        assert "/protect/block?" not in read_only
        rule = f"/protect/rules/new?trace={trace_id(1)}"
        assert rule in links(html)
        assert rule not in links(read_only)
        assert "198.51.100.7" in await show(it, rule)
        assert any(href.startswith("/fleet?q=service") for href in links(html))
        assert "curl -g --path-as-is" in html

    run(tmp_path, case)


def test_a_page_that_is_open_gets_new_rows_on_top_and_keeps_the_others(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, attacked(1, ago_s=20))
        html = await show(it, PAGE)
        (stream,) = re.findall(r'<live-status src="([^"]+)"', html)
        shown = rows_of(html)

        async with watching(it, stream.replace("&amp;", "&")) as seen:
            await seen.until("rows", trace_id(1))
            await tell(it, attacked(2, ago_s=1))
            more = await seen.until("rows", trace_id(2), how="afterbegin")

        assert shown[0] not in rows_of(more)

    run(tmp_path, case)


def test_traces_of_one_organisation_are_not_anothers(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, attacked(1))
        other = await it.post("/orgs", {"name": "other"})
        headers = {"Authorization": f"Bearer {other['application_key']}"}

        for path in (f"/api/admin/v1/security/traces/{trace_id(1)}", f"{PAGE}/{trace_id(1)}"):
            reply = await it.client.get(path, headers=headers)
            assert reply.status_code == 404, path
        listed = await it.client.get("/api/admin/v1/security/traces", headers=headers)
        assert listed.json()["traces"] == []

    run(tmp_path, case)
