"""What a page offers to do about an attack, and that the form it leads to takes what it is handed."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from sealwire.server.protect import custom_rules
from sealwire.wire.security import Match, Parameter, Trigger
from sealwire.wire.security_batch import Seen
from tests.support.attacks import attacked, matched, trace_id
from tests.support.console import Console, run
from tests.support.form_fields import fields_of
from tests.way.test_policies import Browser, hidden, needs_engine
from tests.way.test_security_traces import links, show, tell

SIGNAL = quote("signal:0123456789abcdef")


def test_the_form_says_how_many_it_would_block_and_where_it_goes_back(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        many = "198.51.100.7%0A198.51.100.8"
        back = "&next=/security/signals/0123456789abcdef"
        of_signal = await show(it, f"/protect/block?kind=ip&values={many}&source={SIGNAL}{back}")
        one = await show(it, "/protect/block?kind=ip&values=198.51.100.7")
        users = await show(it, "/protect/block?kind=user&values=ada%0Abob")

        assert "<h1>Block all 2 attackers of a signal</h1>" in of_signal
        assert ("all 2 in one act" in of_signal, "Block all</button>" in of_signal) == (True, True)
        assert 'href="/security/signals/0123456789abcdef"' in of_signal
        assert ("</svg>Signal</a>" in of_signal, "</svg>Denylist</a>" in one) == (True, True)
        assert ("<h1>Block an address or a user</h1>" in one, "Block all" in one) == (True, False)
        assert "<h1>Block all 2 users</h1>" in users

    run(tmp_path, case)


def filled(page: str) -> dict[str, str]:
    """What the form of a page would send."""
    return {name: values[-1].replace("\r\n", "\n") for name, values in fields_of(page).items()}


def of_page(page: str, start: str) -> list[str]:
    return [html.unescape(href) for href in links(page) if href.startswith(start)]


def found_in_query() -> Seen:
    trigger = matched("1' OR 1=1 --", "1' OR 1=1")
    url = "http://shop.example/search%20all?q=1%27"
    return attacked(1, ip="198.51.100.7", triggers=[trigger], http__url=url, http__route="/search <all>")


def test_what_was_found_is_let_be_exactly_there(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        url = "http://shop.example/search?q=1%27"
        await tell(it, attacked(1, triggers=[matched("1' OR 1=1 --", "1' OR")], http__url=url))
        (to_pass,) = of_page(await show(it, f"/security/traces/{trace_id(1)}"), "/protect/passlist/new")

        form = filled(await show(it, to_pass))

        assert {name: value for name, value in form.items() if value.strip()} == {
            "addresses": "198.51.100.7", "paths": "/search", "rules": "crs-942-100",
            "service": "shop", "env": "prod", "mode": "bypass", "period": "never",
        }  # fmt: skip
        reviewed = await Browser(it).send("/protect/passlist/new", {**form, "do": "review"})
        done = await Browser(it).send("/protect/passlist/new", {**hidden(reviewed.text), "do": "publish"})
        assert done.status_code == 303
        (entry,) = (await it.get("/protect/passlist"))["entries"]
        assert entry["words"] == "Does not look for rule crs-942-100, from 198.51.100.7, at /search"
        assert entry["targeting"] == {"service": ["shop"], "env": ["prod"]}

    run(tmp_path, case)


def test_a_path_that_no_entry_can_name_is_left_out(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, found_in_query())

        (to_pass,) = of_page(await show(it, f"/security/traces/{trace_id(1)}"), "/protect/passlist/new")

        assert sorted(parse_qs(urlsplit(to_pass).query)) == ["addresses", "env", "rules", "service"]

    run(tmp_path, case)


def test_who_is_only_on_the_denylist_is_not_offered_to_pass(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, attacked(1, like="blocked_ip"))

        page = await show(it, f"/security/traces/{trace_id(1)}")

        assert of_page(page, "/protect/passlist/new") == []
        assert of_page(page, "/protect/rules/new") != []

    run(tmp_path, case)


@needs_engine
def test_a_rule_made_of_a_trace_finds_what_was_found_there(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, found_in_query())
        to_rule = of_page(await show(it, f"/security/traces/{trace_id(1)}"), "/protect/rules/new")[0]

        form = filled(await show(it, to_rule))

        assert form["p.name"] == "As SQL injection attack"
        assert form["p.conditions.0.parameters.regex"] == "1' OR 1=1"
        assert form["p.conditions.0.parameters.inputs.0.address"] == "server.request.query"
        assert "GET /search%20all?q=1%27" in form["request"]
        form["request"] = "curl 'https://shop.example/other?q=1%27%20OR%201=1'"
        tried = await Browser(it).send("/protect/rules/new", {**form, "do": "try"})
        assert "Matches, and tells" in tried.text
        tried = await Browser(it).send("/protect/rules/new", {**form, "does": "block", "do": "try"})
        assert "Matches, and blocks" in tried.text

    run(tmp_path, case)


def test_who_may_only_look_is_offered_nothing(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await tell(it, found_in_query())
        key = it.plane.access.create_application_key(
            1, user="eve", role="read_only", now_ms=it.plane.now_ms()
        )
        it.headers = {"Authorization": f"Bearer {key}"}

        page = await show(it, f"/security/traces/{trace_id(1)}")

        for form in ("/protect/passlist/new", "/protect/rules/new", "/protect/block"):
            assert of_page(page, form) == []

    run(tmp_path, case)


def test_a_rule_that_looks_for_a_hit_is_made_of_the_first_that_can_be_asked_again() -> None:
    def trigger(address: str, *highlight: str, category: str = "attack_attempt") -> Trigger:
        parameter = Parameter(address, "x", ("q", "0"), highlight)
        return Trigger("r", "R", category=category, matches=(Match("is_sqli", "", (parameter,)),))

    made = custom_rules.of_triggers(
        [
            trigger("server.db.statement", "SELECT"),
            trigger("server.request.query"),
            trigger("server.request.query", "x" * 1_000),
            trigger("server.request.query", "a", category="security_response"),
            trigger("server.request.body", "a.b*"),
        ]
    )
    none = custom_rules.of_triggers([trigger("http.client_ip", "203.0.113.7")], user_agent="curl/8")

    assert made["conditions"] == [
        {
            "operator": "match_regex",
            "parameters": {
                "inputs": [{"address": "server.request.body", "key_path": ["q"]}], "regex": "a\\.b\\*",
            },
        }
    ]  # fmt: skip
    assert none["conditions"][0]["parameters"]["regex"] == "^curl/8$"


@pytest.mark.parametrize(
    ("actions", "does", "words"),
    [
        ([], "monitor", None),
        (["monitor"], "monitor", None),
        (["block"], "block", None),
        (["block", "stack_trace"], "own", "As its JSON says: block, stack_trace"),
    ],
)
def test_the_form_chooses_between_telling_and_blocking_and_keeps_what_only_json_says(
    tmp_path: Path, actions: list[str], does: str, words: str | None
) -> None:
    async def case(it: Console) -> None:
        browser = Browser(it)
        rule = custom_rules.blank(user_agent="acme") | {"on_match": actions}
        as_form = await browser.send(
            "/protect/rules/new", {"mode": "json", "json": json.dumps(rule), "do": "form"}
        )
        assert (f'<option value="{does}" selected>' in as_form.text) is True
        assert words is None or words in as_form.text
        assert "on_match~n" not in as_form.text

        form = filled(as_form.text)
        as_json = await browser.send("/protect/rules/new", {**form, "do": "json"})

        text = filled(as_json.text)["json"]
        assert json.loads(text)["on_match"] == ([] if actions == ["monitor"] else actions)
        assert '<option value="usr.id">' in as_form.text
        assert re.search(r'value="server.request.headers.no_cookies" list="known-addresses"', as_form.text)

    run(tmp_path, case)


@pytest.mark.parametrize(
    "path",
    [
        "/security/signals", "/security/traces", "/security/rules", "/protect/denylist", "/protect/policies",
        "/protect/passlist", "/protect/modes", "/protect/rules", "/protect/block-page", "/protect/rule-sets",
    ],
)  # fmt: skip
def test_a_page_about_attacks_leads_to_the_part_of_the_guide_that_says_how(tmp_path: Path, path: str) -> None:
    async def case(it: Console) -> None:
        found = set(of_page(await show(it, path), "/guide/attacks#"))
        guide = await show(it, "/guide/attacks")

        assert found
        assert all(f'id="{href.partition("#")[2]}"' in guide for href in found)

    run(tmp_path, case)
