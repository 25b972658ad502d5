"""Writing a config through the pages, as a browser without scripts does it."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from sealwire.server.access.keys import digest_sent
from sealwire.server.access.permissions import PERMISSIONS
from tests.support.console import Console, run
from tests.support.form_fields import fields_of
from tests.support.parts import ASM_OFF, ASM_ON, NOTED, denylist, dump
from tests.support.payloads import tracing
from tests.support.simulated_agent import tracer

NEW = "/configs/new?product="
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Writer:
    """Somebody at the form; ``fields`` is what it holds, ``page`` what is shown."""

    def __init__(self, it: Console, path: str) -> None:
        self._it = it
        self.path = path
        self.page = ""
        self.fields: dict[str, list[str]] = {}

    async def open(self) -> Writer:
        self._take(await self._it.client.get(self.path, headers=self._headers))
        return self

    async def press(self, button: str, **typed: str) -> httpx.Response:
        """Type into fields (a double underscore is a dot), and press a button."""
        for name, value in typed.items():
            self.fields[name.replace("__", ".")] = [value]
        return await self.send({**self.fields, "do": [button]})

    async def send(self, fields: dict[str, list[str]]) -> httpx.Response:
        body = urlencode([(name, value) for name, values in fields.items() for value in values])
        headers = {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}
        reply = await self._it.client.post(self.path, content=body, headers=headers)
        if reply.status_code == 200:
            self._take(reply)
        return reply

    @property
    def _headers(self) -> dict[str, str]:
        return {**self._it.headers, "Accept": "text/html"}

    def _take(self, reply: httpx.Response) -> None:
        assert reply.status_code == 200, (reply.status_code, reply.text[:1000])
        self.page = reply.text
        self.fields = fields_of(reply.text)

    @property
    def problems(self) -> list[tuple[str, str]]:
        """Where each one of the list leads, and what it says."""
        listed = re.search(r'<div class="problems".*?</div>', self.page, re.DOTALL)
        found = re.findall(r'<li><a href="#([^"]*)">[^<]*</a> (.*?)</li>', listed[0] if listed else "")
        return [(html.unescape(where), html.unescape(words)) for where, words in found]

    @property
    def meanings(self) -> list[str]:
        """What the review says."""
        found = re.findall(r"<div>(.*?)<(?:small|/div)", self.page.partition('<ul class="meanings">')[2])
        return [html.unescape(one) for one in found]

    @property
    def text(self) -> str:
        return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", self.page)))


def somebody(it: Console, *, services: frozenset[str] = frozenset(), without: str = "") -> Console:
    """An administrator who is limited to some services, or has not one of the permissions."""
    key = it.plane.access.create_application_key(1, user="eve", role="admin", now_ms=0)
    admin = it.plane.access.principal(key)
    it.plane.access._application[digest_sent(key)] = replace(
        admin,
        grants=tuple(replace(grant, services=services) for grant in admin.grants),
        scopes=frozenset(PERMISSIONS) - {without},
    )
    return Console(it.plane, it.client, key)


async def writer(it: Console, path: str) -> Writer:
    return await Writer(it, path).open()


def test_a_config_is_written_reviewed_and_published_without_a_script(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        agent = it.agent(tracer("c1"), tracer("c2", service="cart"))
        await it.poll(agent)
        form = await writer(it, NEW + "ASM_DATA")

        await form.press("add:p.rules_data.0.data", p__rules_data__0__data__0__value="203.0.113.7")
        await form.press(
            "review", p__rules_data__0__data__1__value="203.0.113.8", t__service="shop", name="Denied",
            comment="ticket 7",
        )  # fmt: skip
        assert form.meanings == ["Blocks 2 addresses: 203.0.113.7, 203.0.113.8"]
        assert "1 client now" in form.text
        reply = await form.press("publish")

        assert reply.status_code == 303
        made = await it.get(reply.headers["location"])
        (config,) = (await it.get("/configs"))["configs"]
        assert (config["name"], config["comment"], config["targeting"]) == (
            "Denied", "ticket 7", {"service": ["shop"]},
        )  # fmt: skip
        assert config["payload"] == denylist("203.0.113.7", "203.0.113.8")
        assert made["id"] == config["id"]

    run(tmp_path, case)


def test_nothing_is_published_but_by_the_button_of_the_review_and_as_reviewed(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        form = await writer(it, NEW + "ASM_FEATURES")
        before = dump(it.plane.database, without=NOTED)
        await form.press("publish", p__asm__enabled="true")
        assert "What will be different" in form.page
        reviewed = dict(form.fields)

        await form.send({**reviewed, "payload": [json.dumps(ASM_OFF)], "do": ["publish"]})
        assert form.meanings == ["App and API Protection off"]
        await form.send({**reviewed, "reviewed": ["x"], "do": ["publish"]})

        assert dump(it.plane.database, without=NOTED) == before
        reply = await form.press("publish")
        assert reply.status_code == 303

    run(tmp_path, case)


def test_a_button_pressed_twice_publishes_once(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        form = await writer(it, NEW + "ASM_FEATURES")
        await form.press("review", p__asm__enabled="true")

        first, second = await form.press("publish"), await form.press("publish")

        assert first.headers["location"] == second.headers["location"]
        assert len((await it.get("/configs"))["configs"]) == 1

    run(tmp_path, case)


def test_the_draft_goes_to_json_and_back_and_nothing_is_lost(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        form = await writer(it, NEW + "APM_TRACING")
        await form.press(
            "json", p__lib_config__tracing_sampling_rate="0.25", name="  Mine ", t__env="prod",
            expiry="1d", comment="why",
        )  # fmt: skip
        assert json.loads(form.fields["json"][0]) == tracing(tracing_sampling_rate=0.25)

        await form.press(
            "form", json='{"lib_config": {"tracing_sampling_rate": 0.5,\n "log_injection_enabled" true}}'
        )
        assert form.problems == [("json", "This is not JSON: a colon is missing at line 2, column 26.")]
        assert '"log_injection_enabled" true' in form.fields["json"][0]
        await form.press(
            "form", json='{"lib_config": {"tracing_sampling_rate": 0.5, "log_injection_enabled": true}}'
        )

        assert form.fields["p.lib_config.tracing_sampling_rate"] == ["0.5"]
        assert form.fields["p.lib_config.log_injection_enabled"] == ["true"]
        assert (form.fields["name"], form.fields["expiry"], form.fields["comment"]) == (
            ["Mine"],
            ["1d"],
            ["why"],
        )
        assert form.fields["t.env"] == ["prod", ""]

    run(tmp_path, case)


MISTAKES = (
    ({"p__lib_config__tracing_sampling_rate": "7"}, "f-p.lib_config.tracing_sampling_rate"),
    ({"p__lib_config__tracing_sampling_rate": "half"}, "f-p.lib_config.tracing_sampling_rate"),
    ({"t__least": "x"}, "row-tracer_version"),
    ({"t__language": "nodejs"}, "row-language"),
    ({"t__host_tags": "web"}, "row-host_tags"),
    ({"name": "x" * 201}, "in-name"),
    ({"expiry": "at", "expires_at": "2001-01-01T00:00"}, "in-expires"),
    ({"expiry": "at", "expires_at": ""}, "in-expires"),
    ({"comment": "x" * 2001}, "in-comment"),
)


def test_a_mistake_is_told_at_its_field_and_all_stays_as_typed(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for typed, expected in MISTAKES:
            form = await writer(it, NEW + "APM_TRACING")
            typed_all = {"p__lib_config__tracing_sampling_rate": "0.5", "name": "Mine", **typed}

            await form.press("review", **typed_all)

            assert [where for where, _ in form.problems] == [expected]
            assert f'id="{expected}"' in form.page
            for name, value in typed_all.items():
                if name != "expires_at":
                    assert form.fields[name.replace("__", ".")][0] == value

    run(tmp_path, case)


def test_two_people_edit_one_config_and_nothing_is_lost(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("APM_TRACING", tracing(tracing_sampling_rate=0.1), name="Rate")
        path = f"/configs/{made['id']}/edit"
        mine, theirs = await writer(it, path), await writer(it, path)
        await theirs.press("review", p__lib_config__log_injection_enabled="true", comment="theirs")
        await mine.press(
            "review", p__lib_config__tracing_sampling_rate="0.5", t__service="shop", comment="mine"
        )
        assert (await theirs.press("publish")).status_code == 303

        await mine.press("publish")

        assert "Log injection not set → on" in mine.text
        assert "Sampling rate 0.1 → 0.5" in mine.text
        assert "Services any → shop" in mine.text
        assert "revision 2" in mine.text
        await mine.press("merge")
        assert mine.fields["revision"] == ["2"]
        await mine.press("review")
        assert mine.meanings == ["Sampling rate 0.1 → 0.5", "Services any → shop"]
        assert (await mine.press("publish")).status_code == 303
        config = await it.get(f"/configs/{made['id']}")
        assert config["payload"] == tracing(tracing_sampling_rate=0.5, log_injection_enabled=True)
        assert (config["revision"], config["comment"]) == (3, "mine")

    run(tmp_path, case)


def test_where_both_changed_the_same_mine_stands_and_is_marked(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("APM_TRACING", tracing(tracing_sampling_rate=0.1))
        path = f"/configs/{made['id']}/edit"
        mine = await writer(it, path)
        await it.put(
            f"/configs/{made['id']}", {"expected_revision": 1, "payload": tracing(tracing_sampling_rate=0.2)}
        )

        await mine.press("review", p__lib_config__tracing_sampling_rate="0.5")

        assert "both of you changed this" in mine.text
        await mine.press("merge")
        assert "yours stands: $.lib_config.tracing_sampling_rate" in mine.text
        assert mine.fields["p.lib_config.tracing_sampling_rate"] == ["0.5"]
        await mine.press("mine")
        assert mine.fields["revision"] == ["2"]

    run(tmp_path, case)


def test_what_is_in_force_already_has_no_button_to_publish(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON)
        form = await writer(it, f"/configs/{made['id']}/edit")

        await form.press("review")

        assert "This is what is in force already." in form.text
        assert 'value="publish"' not in form.page

    run(tmp_path, case)


def test_the_time_of_a_config_stays_to_the_millisecond_when_nobody_touches_it(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        until = "2099-01-02T03:04:05.678+00:00"
        made = await it.put_config("ASM_FEATURES", ASM_ON, expires_at=until)
        form = await writer(it, f"/configs/{made['id']}/edit")
        assert form.fields["expires_at"] == ["2099-01-02T03:04:05"]

        await form.press("review", p__asm__enabled="false")
        assert "Ends" not in " ".join(form.meanings)
        await form.press("publish")

        changed = await it.get(f"/configs/{made['id']}")
        assert changed["payload"] == ASM_OFF
        assert changed["expires_at"] == made["expires_at"]

    run(tmp_path, case)


def test_clients_that_gain_lose_and_are_too_old_are_told_before(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        agent = it.agent(
            tracer("c1"), tracer("c2", service="cart"), tracer("c3", service="old", tracer_version="1.0.0")
        )
        await it.poll(agent)
        made = await it.put_config(
            "APM_TRACING", tracing(tracing_sampling_rate=0.1), targeting={"service": ["shop"]}
        )
        await it.published()
        form = await writer(it, f"/configs/{made['id']}/edit")

        fields = {"product": "APM_TRACING", "config": made["id"], "t.service": ["cart", "old"]}
        fragment = await it.client.post(
            "/configs/reach", content=urlencode(fields, doseq=True),
            headers={**it.headers, "Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        await form.send({**form.fields, "t.service": ["cart", "old"], "do": ["review"]})

        for page in (fragment.text, form.page):
            text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
            assert "2 clients gain it" in text
            assert "1 client loses it" in text
        assert 'class="notice bad tight"' in form.page
        assert form.meanings == ["Services shop → cart, old"]

    run(tmp_path, case)


def test_scripts_in_every_field_are_shown_as_text(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await it.poll(it.agent(tracer(SCRIPT[:60], service=SCRIPT, env=SCRIPT[:50])))
        form = await writer(it, NEW + "ASM")
        await form.press("example")
        for name in form.fields:
            typed = name.startswith(("t.", "p.actions")) and name.endswith((".id", "~key"))
            if typed or name.startswith("t.") or name in ("name", "comment"):
                form.fields[name] = [SCRIPT]
        form.fields["p.~x0~key"], form.fields["p.~x0~json"] = [SCRIPT], [json.dumps(SCRIPT)]

        for button in ("review", "json", f"add:{SCRIPT}", "form"):
            await form.press(button)
            assert "<script>alert" not in form.page
            assert "<img src=x" not in form.page
            assert SCRIPT in form.fields["name"]

        await form.press("remove:p.~x0")
        for field in ("language", "least", "below", "host_tags", "tracer_version"):
            form.fields.pop(f"t.{field}", None)
        await form.press("review")
        assert "<script>alert" not in form.page
        assert "Adds action" in form.text, form.problems

    run(tmp_path, case)


def test_five_megabytes_of_json_come_back_with_a_word_on_their_size(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        form = await writer(it, NEW + "ASM_DATA")
        await form.press("json", name="Big")
        addresses = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(150_000)]
        big = json.dumps(denylist(*addresses), indent=1)
        assert len(big) > 5_000_000

        await form.press("review", json=big)

        assert form.fields["json"][0].replace("\r\n", "\n") == big
        assert form.fields["name"] == ["Big"]
        assert "one config may have 1000000 (1 MB)" in form.problems[0][1]

    run(tmp_path, case)


def test_what_is_larger_than_any_form_is_refused_as_a_page(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        form = await writer(it, NEW + "ASM_DATA")
        await form.press("json")

        reply = await form.press("review", json="x" * 17_000_000)

        assert reply.status_code == 413
        assert reply.headers["content-type"].startswith("text/html")
        assert "too large" in reply.text.lower()

    run(tmp_path, case)


def test_who_is_limited_to_services_is_told_before_and_publishes_nothing_beyond(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        everywhere = await it.put_config("ASM_FEATURES", ASM_ON)
        eve = somebody(it, services=frozenset({"shop"}))
        form = await writer(eve, NEW + "ASM_FEATURES")
        assert "You may aim at service shop only." in form.text

        await form.press("review", p__asm__enabled="true", name="Mine")
        assert form.problems == [("targeting", "This reaches further than you may: service shop.")]
        assert form.fields["name"] == ["Mine"]
        await form.press("review", t__service="Shop")
        assert (await form.press("publish")).status_code == 303

        form = await writer(eve, f"/configs/{everywhere['id']}/edit")
        assert "you can look, and not publish" in form.text
        await form.press("review", p__asm__enabled="false", t__service="shop")
        assert "This config reaches further than you may" in form.problems[0][1]

    run(tmp_path, case)


def test_who_may_not_see_the_fleet_is_told_numbers_and_no_names(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await it.poll(it.agent(tracer("secret-client", service="secret-service")))
        eve = somebody(it, without="fleet_read")

        form = await writer(eve, NEW + "ASM_FEATURES")
        assert "1 of 1 client would get it now" in form.text
        await form.press("review", p__asm__enabled="true")

        assert "1 client now" in form.text
        assert "secret" not in form.page

    run(tmp_path, case)


def test_who_may_not_write_a_product_gets_no_form_for_it(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = it.plane.access.create_application_key(
            1, user="eve", role="read_only", now_ms=it.plane.now_ms()
        )
        made = await it.put_config("ASM_FEATURES", ASM_ON)
        headers = {"Authorization": f"Bearer {key}", "Accept": "text/html"}

        for path in ("/configs/new", NEW + "ASM_FEATURES", f"/configs/{made['id']}/edit"):
            assert (await it.client.get(path, headers=headers)).status_code == 403
            assert (await it.client.post(path, headers=headers)).status_code == 403

    run(tmp_path, case)


@pytest.mark.parametrize("path", [NEW + "NOTHING", "/configs/0123456789abcdef/edit", "/configs/x/edit"])
def test_a_form_of_nothing_is_not_there(tmp_path: Path, path: str) -> None:
    async def case(it: Console) -> None:
        headers = {**it.headers, "Accept": "text/html"}
        assert (await it.client.get(path, headers=headers)).status_code in (404, 422)
        assert (await it.client.post(path, headers=headers)).status_code in (404, 422)

    run(tmp_path, case)


ODD_FIELDS: tuple[dict[str, str], ...] = (
    {"payload": "[1]", "do": "review"},
    {"payload": "{", "do": "review"},
    {"targeting": "[]", "do": "review"},
    {"targeting": '{"service": "x"}', "do": "edit"},
    {"targeting": '{"service": [5, null], "client_id": {}}', "do": "mine"},
    {"targeting": '{"tracer_version": 5}', "do": "edit"},
    {"mode": "json", "json": "[]", "do": "form"},
    {"mode": "json", "json": "null", "do": "add:p.x"},
    {"payload": "null", "mode": "form", "do": "add:p.x"},
    {"p~is": "1", "p.rules_data~rest": "[", "p.rules_data~n": "1", "do": "edit"},
    {"revision": "-1", "kept_expiry": "x", "expiry": "at", "expires_at": "x", "do": "review"},
    {"revision": "999999999999999", "kept_expiry": "999999999999999", "do": "review"},
    {"revision": "77", "payload": '{"rules_data": 5}', "name": "\x01", "do": "merge"},
    {"revision": "77", "payload": "5", "targeting": '{"x": 1}', "do": "review"},
    {"do": "merge"},
    {"do": ":::"},
    {"do": "publish", "reviewed": "x"},
    {"draft": "x" * 5000, "do": "review"},
    {},
)


@pytest.mark.parametrize("changes", [False, True])
def test_fields_that_no_page_sends_are_answered_with_a_page(tmp_path: Path, changes: bool) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_DATA", denylist("203.0.113.7"))
        path = f"/configs/{made['id']}/edit" if changes else NEW + "ASM_DATA"
        headers = {
            **it.headers, "Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded",
        }  # fmt: skip
        for fields in ODD_FIELDS:
            reply = await it.client.post(path, content=urlencode(fields), headers=headers)
            assert reply.status_code in (200, 422), (fields, reply.text[-1500:])
        (config,) = (await it.get("/configs?state=all"))["configs"]
        assert config["revision"] == 1

    run(tmp_path, case)


def test_the_api_says_all_that_the_review_says(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await it.poll(it.agent(tracer("c1"), tracer("c2", service="cart")))
        made = await it.put_config(
            "APM_TRACING", tracing(tracing_sampling_rate=0.1), targeting={"service": ["shop"]}
        )
        await it.published()

        said = await it.post(
            "/configs:check",
            {"product": "APM_TRACING", "payload": tracing(tracing_sampling_rate=0.5), "config_id": made["id"],
             "targeting": {"service": ["cart"]}},
            status=200,
        )  # fmt: skip

        assert [one["words"] for one in said["meanings"]] == [
            "Services shop → cart",
            "Sampling rate 0.1 → 0.5",
        ]
        reach = said["reach"]
        assert [reach[key]["count"] for key in ("now", "gains", "losses")] == [1, 1, 1]
        assert reach["losses"]["clients"][0]["client_id"] == "c1"
        assert said["permitted"] is True

    run(tmp_path, case)
