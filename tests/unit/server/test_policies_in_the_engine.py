"""Each file that a policy publishes, loaded into the tracers' own engine: it does what its page says.

The engine comes with ddtrace, which the extras ``dev`` and ``demo`` of the project install.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import InvalidChangeError
from sealwire.products import PRODUCTS
from sealwire.server.protect import block_page, catalogue, custom_rules, modes, passlist, rule_sets
from sealwire.server.protect.modes import Mode, Modes
from sealwire.server.waf import engine as waf
from sealwire.server.waf import sample_request

pytestmark = pytest.mark.skipif(
    waf.library_file() is None, reason="ddtrace, which brings the engine, is not installed"
)
QUERY = "q=1%27%20OR%201%3D1%20--%20-"
RASP = {
    "server.db.statement": "SELECT * FROM users WHERE id='1' OR 1=1 --'",
    "server.db.system": "sqlite",
    "server.request.query": {"q": "1' OR 1=1 --"},
}
DENIED = {
    "rules_data": [
        {"id": "blocked_ips", "type": "ip_with_expiration", "data": [{"value": "203.0.113.9"}]},
        {"id": "blocked_users", "type": "data_with_expiration", "data": [{"value": "mallory"}]},
    ]
}
Told = Mapping[str, Any]


@pytest.fixture(scope="module")
def engine() -> waf.Engine:
    return waf.Engine(waf.library_file())


def request(path: str = "/search", query: str = QUERY, ip: str = "", **headers: str) -> Told:
    lines = [
        f"GET {path}?{query} HTTP/1.1",
        "Host: a",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    told = dict(sample_request.tell(sample_request.parse("\n".join(lines) + "\n")).addresses)
    return {**told, **({"http.client_ip": ip} if ip else {})}


SQLI = request()


def said(
    engine: waf.Engine, payloads: Sequence[tuple[str, Mapping[str, Any]]], told: Told, *, bundled: bool = True
) -> waf.Verdict:
    """What the engine says, with every payload checked by its product and loaded whole."""
    documents: dict[str, bytes] = {}
    file = waf.bundled_rules_file()
    if bundled and file is not None:
        documents[waf.BUNDLED] = file.read_bytes()
    for number, (product, payload) in enumerate(payloads):
        assert PRODUCTS[product].check(payload) == ()
        documents[f"{product}/{number}"] = PRODUCTS[product].render(payload)
    with waf.Rules(engine, documents) as rules:
        for one in rules.diagnostics[1 if bundled else 0 :]:
            assert one.taken
            assert not one.error
            assert not any(section.failed or section.error for section in one.sections)
        return rules.run(told, budget_ms=1000)


def outcome(verdict: waf.Verdict) -> str:
    """off, monitor or block."""
    if any(one.type in ("block_request", "redirect_request") for one in verdict.actions):
        return "block"
    return "monitor" if verdict.events else "off"


def overrides(
    types: Mapping[str, Mode] | None = None, rules: Mapping[str, Mode] | None = None
) -> dict[str, Any]:
    return {"rules_override": modes.rendered(Modes(types or {}, rules or {}), catalogue.bundled())}


BLOCK_SQLI = ("ASM", overrides({"sql_injection": Mode.BLOCK}))


# Modes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(Mode))
def test_a_kind_of_rules_does_what_its_mode_says(engine: waf.Engine, mode: Mode) -> None:
    verdict = said(engine, [("ASM", overrides({"sql_injection": mode}))], SQLI)

    assert outcome(verdict) == mode
    assert outcome(said(engine, [], SQLI)) == "monitor"


@pytest.mark.parametrize("kind", list(Mode))
@pytest.mark.parametrize("mode", list(Mode))
def test_a_rules_own_mode_wins_over_its_kinds(engine: waf.Engine, kind: Mode, mode: Mode) -> None:
    payload = overrides({"sql_injection": kind}, {"crs-942-100": mode})

    verdict = said(engine, [("ASM", payload)], SQLI)

    own = [event for event in verdict.events if event.rule_id == "crs-942-100"]
    assert (outcome(verdict) if own else "off") == mode


def test_checks_inside_applications_keep_their_stack_traces(engine: waf.Engine) -> None:
    blocking = said(engine, [BLOCK_SQLI], RASP)
    watching = said(engine, [("ASM", overrides({"sql_injection": Mode.MONITOR}))], RASP)

    assert {one.type for one in blocking.actions} == {"block_request", "generate_stack"}
    assert {one.type for one in watching.actions} == {"generate_stack"}
    assert "rasp-942-100" in {event.rule_id for event in blocking.events}


def test_a_kinds_mode_does_not_switch_on_what_the_rule_set_has_off(engine: waf.Engine) -> None:
    """Strict rules, which find much that is no attack, stay off until somebody names them."""
    rules = catalogue.bundled().rules
    strict = {rule.id for rule in rules.values() if rule.mode == "off"}
    assert strict
    every = overrides(dict.fromkeys(catalogue.bundled().types, Mode.MONITOR))
    odd = request(query="a=%27select+1+from+users%27+--+-%3B+union+all+select+1%2C2")

    found = {event.rule_id for event in said(engine, [("ASM", every)], odd).events}

    assert not found & strict
    chosen = Modes({"sql_injection": Mode.BLOCK}, {"strc-942-190": Mode.MONITOR})
    assert chosen.of(rules["strc-942-151"]) == "off"
    assert chosen.of(rules["strc-942-190"]) == "monitor"


def test_the_denylist_in_monitor_mode_tells_and_lets_pass(engine: waf.Engine) -> None:
    rules = catalogue.bundled()
    chosen = Modes(rules={"blk-001-001": Mode.MONITOR})
    payload = {"rules_override": modes.rendered(chosen, rules)}

    for told, expected in (({"http.client_ip": "203.0.113.9"}, "monitor"), ({"usr.id": "mallory"}, "block")):
        assert outcome(said(engine, [("ASM_DATA", DENIED), ("ASM", payload)], told)) == expected
    (word,) = modes.cautions(chosen, rules, ())
    assert "The denylist of addresses blocks nobody" in word


NAMES = st.sampled_from(["sql_injection", "xss", "lfi", "acme"])
IDS = st.sampled_from(["crs-942-100", "rasp-942-100", "blk-001-001", "none-such"])


@given(st.dictionaries(NAMES, st.sampled_from(list(Mode))), st.dictionaries(IDS, st.sampled_from(list(Mode))))
def test_modes_are_read_back_as_they_were_written(types: dict[str, Mode], rules: dict[str, Mode]) -> None:
    chosen = Modes(types, rules)

    assert modes.read(modes.rendered(chosen, catalogue.bundled())) == chosen


def test_overrides_that_say_something_else_are_kept_and_still_win(engine: waf.Engine) -> None:
    theirs = {"rules_target": [{"tags": {"type": "sql_injection"}}], "on_match": ["teapot"]}
    read = modes.read([theirs])

    changed = modes.merged(read, {"xss": "block"}, {})

    assert changed.others == (theirs,)
    made = modes.rendered(changed, catalogue.bundled())
    assert made[0] == theirs
    verdict = said(engine, [("ASM", {"rules_override": made})], SQLI)
    assert [event.on_match for event in verdict.events] == [("teapot",)]


# Passlist ---------------------------------------------------------------------------------------------


def let_be(**values: Any) -> tuple[str, dict[str, Any]]:
    entry = passlist.checked(**values)
    rendered = passlist.rendered(entry)
    assert passlist.read(rendered) == entry
    return "ASM", {"exclusions": [rendered]}


@pytest.mark.parametrize(("mode", "expected"), [("bypass", "off"), ("monitor", "monitor")])
def test_an_address_is_let_be_and_nobody_else(engine: waf.Engine, mode: str, expected: str) -> None:
    entry = let_be(addresses=["203.0.113.0/24", "2001:db8::1"], mode=mode)

    for ip, wanted in (("203.0.113.7", expected), ("2001:db8::1", expected), ("198.51.100.1", "block")):
        assert outcome(said(engine, [BLOCK_SQLI, entry], request(ip=ip))) == wanted


def test_an_address_that_bypasses_is_let_in_though_it_is_blocked(engine: waf.Engine) -> None:
    entry = let_be(addresses=["203.0.113.0/24"])
    told = {"http.client_ip": "203.0.113.9"}

    assert outcome(said(engine, [("ASM_DATA", DENIED)], told)) == "block"
    assert outcome(said(engine, [("ASM_DATA", DENIED), entry], told)) == "off"
    assert any(
        "let in again" in word for word in passlist.cautions(passlist.checked(addresses=["203.0.113.9"]))
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/search/a", "off"),
        ("/search/a/b", "block"),
        ("/search/", "off"),
        ("/search", "block"),
        ("/static/deep/er.css", "off"),
        ("/x/../search/a", "off"),
        # Attacks: what an application takes for another path is not let be.
        ("/static/../admin", "block"),
        ("/static/%2e%2e/admin", "block"),
        ("/admin?x=/static/a", "block"),
        ("/admin#/static/a", "block"),
        ("/admin//static/a", "block"),
    ],
)
def test_a_path_is_let_be_and_no_other(engine: waf.Engine, path: str, expected: str) -> None:
    entry = let_be(paths=["/search/*", "/static/**"])

    assert outcome(said(engine, [BLOCK_SQLI, entry], request(path))) == expected


def test_a_path_with_signs_of_patterns_is_taken_as_it_is(engine: waf.Engine) -> None:
    entry = let_be(paths=["/a.b/(c)+[d]"])

    for path, expected in (("/a.b/(c)+[d]", "off"), ("/aXb/c", "block"), ("/a.b/(c)+", "block")):
        assert outcome(said(engine, [BLOCK_SQLI, entry], request(path))) == expected


@given(
    st.lists(st.text(st.sampled_from("/ab.*+()[]|$^{}\\-é"), min_size=1).map(lambda t: "/" + t), min_size=1)
)
def test_globs_are_read_back_as_they_were_written(globs: list[str]) -> None:
    kept = [glob for glob in globs if "***" not in glob]

    assert passlist.globs_of(passlist.regex_of(kept)) == kept if kept else True


def test_a_rule_or_a_kind_is_let_be_and_others_are_not(engine: waf.Engine) -> None:
    xss = request(query="q=%3Cscript%3Ealert(1)%3C/script%3E")
    blocking = ("ASM", overrides({"sql_injection": Mode.BLOCK, "xss": Mode.BLOCK}))

    for entry in (let_be(types=["sql_injection"]), let_be(rules=["crs-942-100"])):
        assert outcome(said(engine, [blocking, entry], SQLI)) == "off"
        assert outcome(said(engine, [blocking, entry], xss)) == "block"
    assert outcome(said(engine, [blocking, let_be(types=["xss"], mode="monitor")], xss)) == "monitor"


def test_a_parameter_is_not_looked_at_and_others_are(engine: waf.Engine) -> None:
    entry = let_be(parameters=["query comment"])
    narrow = let_be(parameters=["query comment"], types=["xss"])
    from_office = let_be(parameters=["query comment"], addresses=["198.51.100.1"])
    header = let_be(parameters=["header User-Agent"])
    comment = request(query=QUERY.replace("q=", "comment="))
    scanner = request(query="a=b", User_Agent="Arachni/v1.5.1")

    assert outcome(said(engine, [BLOCK_SQLI, entry], comment)) == "off"
    assert outcome(said(engine, [BLOCK_SQLI, entry], SQLI)) == "block"
    assert outcome(said(engine, [BLOCK_SQLI, narrow], comment)) == "block"
    assert outcome(said(engine, [BLOCK_SQLI, from_office], comment)) == "block"
    assert (
        outcome(said(engine, [BLOCK_SQLI, from_office], {**comment, "http.client_ip": "198.51.100.1"}))
        == "off"
    )
    assert outcome(said(engine, [], scanner)) == "monitor"
    assert outcome(said(engine, [header], scanner)) == "off"


def test_several_entries_stand_in_one_file(engine: waf.Engine) -> None:
    entries = [
        passlist.checked(addresses=["203.0.113.7"]),
        passlist.checked(paths=["/search"], mode="monitor"),
    ]
    payload = {"exclusions": [passlist.rendered(one) for one in entries]}

    assert outcome(said(engine, [BLOCK_SQLI, ("ASM", payload)], request(ip="203.0.113.7"))) == "off"
    assert outcome(said(engine, [BLOCK_SQLI, ("ASM", payload)], SQLI)) == "monitor"
    assert outcome(said(engine, [BLOCK_SQLI, ("ASM", payload)], request("/other"))) == "block"


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({}, "$"),
        ({"addresses": ["203.0.113.7", "nonsense"]}, "$.addresses[1]"),
        ({"addresses": ["0.0.0.0/0"]}, "$.addresses[0]"),
        ({"paths": ["search"]}, "$.paths[0]"),
        ({"paths": ["/a?b=c"]}, "$.paths[0]"),
        ({"paths": ["/a***"]}, "$.paths[0]"),
        ({"parameters": ["nowhere x"]}, "$.parameters[0]"),
        ({"parameters": ["query x"], "mode": "monitor"}, "$.mode"),
        ({"types": ["xss"], "mode": "block"}, "$.mode"),
    ],
)
def test_what_is_no_entry_is_refused_at_its_place(values: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidChangeError) as refused:
        passlist.checked(**values)

    assert [problem.path for problem in refused.value.problems] == [path]


def test_filters_that_block_are_no_entries_of_a_passlist() -> None:
    suspicious = {"id": "s", "on_match": "block_suspicious", "conditions": []}

    assert passlist.read(suspicious) is None


# Custom rules -----------------------------------------------------------------------------------------


def test_a_custom_rule_does_what_its_mode_says(engine: waf.Engine) -> None:
    scanner = request(query="a=b", User_Agent="acme (scan+1.0) [x]")
    rule = custom_rules.blank(user_agent="acme (scan+1.0) [x]")

    for more, expected in (({}, "monitor"), ({"on_match": ["block"]}, "block"), ({"enabled": False}, "off")):
        assert outcome(said(engine, [("ASM", {"custom_rules": [rule | more]})], scanner)) == expected
        assert custom_rules.mode_of(rule | more) == expected
    blocking = ("ASM", {"custom_rules": [rule | {"on_match": ["block"]}]})
    assert outcome(said(engine, [blocking], request(query="a=b", User_Agent="acme scan 1.0"))) == "off"


def test_overrides_do_not_reach_custom_rules(engine: waf.Engine) -> None:
    """Why a custom rule's mode stands in the rule itself."""
    rule = custom_rules.blank(user_agent="acme") | {"on_match": ["block"]}
    payloads = [
        ("ASM", {"custom_rules": [rule]}),
        ("ASM", overrides({"custom": Mode.OFF}, {rule["id"]: Mode.OFF})),
    ]

    assert outcome(said(engine, payloads, request(query="a=b", User_Agent="acme"))) == "block"


# Block page -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "location"),
    [(403, "auto", ""), (404, "json", ""), (410, "html", ""), (418, "none", ""), (302, "redirect", "/no?r=1"),
     (303, "redirect", "https://help.example/?id=[security_response_id]")],
)  # fmt: skip
def test_a_blocked_visitor_gets_what_the_page_says(
    engine: waf.Engine, status: int, kind: str, location: str
) -> None:
    page = block_page.checked(status=status, kind=kind, location=location)
    action = block_page.rendered(page)

    verdict = said(
        engine, [("ASM_DATA", DENIED), ("ASM", {"actions": [action]})], {"http.client_ip": "203.0.113.9"}
    )

    assert block_page.read(action) == page
    (done,) = verdict.actions
    assert done.type == ("redirect_request" if kind == "redirect" else "block_request")
    assert int(done.parameters["status_code"]) == status
    assert done.parameters.get("location", "") == location
    assert kind in ("redirect", done.parameters.get("type"))


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"status": 100, "kind": "auto"}, "$.status"),
        ({"status": 403, "kind": "xml"}, "$.type"),
        ({"status": 403, "kind": "redirect", "location": "/"}, "$.status"),
        ({"status": 302, "kind": "redirect", "location": "//evil.example"}, "$.location"),
        ({"status": 302, "kind": "redirect", "location": "javascript:alert(1)"}, "$.location"),
        ({"status": 302, "kind": "redirect", "location": ""}, "$.location"),
        ({"status": 302, "kind": "redirect", "location": "/a b"}, "$.location"),
        # What the engine takes for no address: it would block, and nobody would be sent anywhere.
        ({"status": 302, "kind": "redirect", "location": "/[security_response_id]"}, "$.location"),
        ({"status": 302, "kind": "redirect", "location": "https://h.example/a|b"}, "$.location"),
    ],
)
def test_what_is_no_block_page_is_refused(values: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidChangeError) as refused:
        block_page.checked(**values)

    assert path in [problem.path for problem in refused.value.problems]


# Rule sets --------------------------------------------------------------------------------------------


def test_a_rule_set_takes_the_place_of_the_bundled_one(engine: waf.Engine) -> None:
    document = rule_sets.parse(orjson.dumps(_with_one_rule()))
    scanner = request(query="a=b", User_Agent="Arachni/v1.5.1")

    # As in a tracer, the bundled rules go when a set of one's own comes, and are back when it goes.
    assert outcome(said(engine, [("ASM_DD", document)], scanner, bundled=False)) == "off"
    assert outcome(said(engine, [("ASM_DD", document)], SQLI, bundled=False)) == "monitor"
    assert outcome(said(engine, [], scanner)) == "monitor"


def test_the_bundled_rules_can_be_imported_as_they_are(engine: waf.Engine) -> None:
    bundled = catalogue.bundled_document()
    assert bundled is not None
    document = rule_sets.parse(orjson.dumps(bundled, option=orjson.OPT_INDENT_2))

    assert outcome(said(engine, [("ASM_DD", document), BLOCK_SQLI], SQLI, bundled=False)) == "block"
    assert rule_sets.compare(bundled, document) == ((), len(bundled["rules"]) + len(bundled["rules_compat"]))


def _with_one_rule() -> dict[str, Any]:
    bundled = catalogue.bundled_document()
    assert bundled is not None
    kept = [rule for rule in bundled["rules"] if rule["id"] in ("crs-942-100", "blk-001-001", "blk-001-002")]
    return {"version": "2.2", "metadata": {"rules_version": "9.0.1"}, "rules": kept}


def test_what_comes_goes_and_changes_is_told_by_kind() -> None:
    before = _with_one_rule()
    rules = {rule["id"]: rule for rule in before["rules"]}
    after = {
        "version": "2.2",
        "rules": [
            rules["blk-001-001"],
            rules["crs-942-100"] | {"on_match": ["block"]},
            custom_rules.blank("mine") | {"id": "mine-1"},
        ],
    }

    moved, same = rule_sets.compare(before, after)

    assert {one.type: one.words for one in moved} == {
        "block_user": "1 fewer: blk-001-002",
        "custom": "1 more: mine-1",
        "sql_injection": "1 changed: crs-942-100",
    }
    assert same == 1
