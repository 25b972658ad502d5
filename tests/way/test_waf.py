"""The tracers' real engine in its box: what it says of rules and requests, and that nothing breaks it.

The engine comes with ddtrace, which the extras ``dev`` and ``demo`` of the project install.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sealwire.errors import InvalidChangeError, OversizeError, SettingsError, UnavailableError
from sealwire.products import PRODUCTS
from sealwire.server.waf import engine as waf
from sealwire.server.waf import sample_request
from sealwire.server.waf import worker as waf_worker
from sealwire.server.waf.box import MAX_REQUESTS, MAX_WAITING, Answer, WafBox, findings, waf_verdict
from tests.support.console import Console, run
from tests.support.parts import denylist

needs_engine = pytest.mark.skipif(
    waf.library_file() is None, reason="ddtrace, which brings the engine, is not installed"
)
SQLI = "GET /search?q=1%27%20OR%201%3D1%20--%20- HTTP/1.1\nHost: a\n"
XSS = "GET /search?q=%3Cscript%3Ealert(1)%3C/script%3E HTTP/1.1\nHost: a\n"
SCANNER = "GET / HTTP/1.1\nHost: a\nUser-Agent: Arachni/v1.5.1\n"
BENIGN = "GET /search?q=shoes HTTP/1.1\nHost: a\nUser-Agent: Mozilla/5.0\nAccept: text/html\n"
QUERY = "server.request.query"


def a_rule(rule_id: str = "acme-1", **condition: Any) -> dict[str, Any]:
    parameters = {"inputs": [{"address": QUERY}], "regex": "shoes"}
    return {
        "id": rule_id,
        "name": f"Rule {rule_id}",
        "tags": {"type": "acme", "category": "attack_attempt"},
        "conditions": [{"operator": "match_regex", "parameters": parameters, **condition}],
        "transformers": [],
        "on_match": ["block"],
    }


def with_regex(rule_id: str, regex: str) -> dict[str, Any]:
    return a_rule(rule_id, parameters={"inputs": [{"address": QUERY}], "regex": regex})


def raw(payload: Any) -> bytes:
    return json.dumps(payload).encode()


def addresses(*texts: str) -> list[Mapping[str, Any]]:
    return [sample_request.tell(sample_request.parse(text)).addresses for text in texts]


def in_box(case: Callable[[WafBox], Awaitable[None]], **options: Any) -> None:
    async def with_box() -> None:
        box = WafBox(waf.library_file(), waf.bundled_rules_file(), **options)
        try:
            await case(box)
        finally:
            await box.close()

    asyncio.run(with_box())


async def tried(box: WafBox, *texts: str, bundled: bool = True, **payloads: Any) -> Answer:
    documents = {f"{product}/test": raw(payload) for product, payload in payloads.items()}
    return await box.run(documents, addresses(*texts), bundled=bundled)


def types(verdict: waf.Verdict) -> set[str]:
    return {event.type for event in verdict.events}


# What rules say of requests


@needs_engine
def test_the_rules_of_the_tracers_find_what_they_are_for_and_nothing_else() -> None:
    async def case(box: WafBox) -> None:
        answer = await tried(box, SQLI, XSS, SCANNER, BENIGN)

        sqli, xss, scanner, benign = answer.verdicts
        assert (types(sqli), types(xss), types(scanner)) == ({"sql_injection"}, {"xss"}, {"attack_tool"})
        assert benign.events == benign.actions == ()
        assert not any(one.actions or one.timed_out or one.problem for one in answer.verdicts)
        (event,) = sqli.events
        assert event.rule_id.startswith("crs-942")
        assert event.matches[0].address == QUERY
        assert event.matches[0].key_path == ("q", 0)
        assert event.matches[0].value == "1' OR 1=1 -- -"
        assert scanner.events[0].matches[0].highlight == ("Arachni/v",)
        assert answer.diagnostics[0].rules_version

    in_box(case)


@needs_engine
def test_a_denylist_blocks_its_addresses_until_they_expire() -> None:
    past, future = int(time.time()) - 10, int(time.time()) + 3600
    lists = denylist()
    lists["rules_data"][0]["data"] = [
        {"value": "203.0.113.0/24"},
        {"value": "198.51.100.7", "expiration": past},
        {"value": "198.51.100.8", "expiration": future},
    ]
    lists["rules_data"].append(
        {"id": "blocked_users", "type": "data_with_expiration", "data": [{"value": "mallory"}]}
    )
    told = [
        {"http.client_ip": address}
        for address in ("203.0.113.9", "198.51.100.7", "198.51.100.8", "192.0.2.1")
    ]

    async def case(box: WafBox) -> None:
        answer = await box.run({"ASM_DATA/x": raw(lists)}, [*told, {"usr.id": "mallory"}], bundled=True)

        blocked = [[action.type for action in one.actions] for one in answer.verdicts]
        assert blocked == [["block_request"], [], ["block_request"], [], ["block_request"]]
        assert answer.verdicts[0].actions[0].parameters["status_code"] == 403

    in_box(case)


@needs_engine
def test_a_rule_of_ones_own_an_exclusion_and_a_redirect() -> None:
    asm = {
        "custom_rules": [a_rule() | {"on_match": ["away"]}],
        "actions": [
            {"id": "away", "type": "redirect_request", "parameters": {"location": "/no", "status_code": 302}}
        ],
        "exclusions": [
            {
                "id": "office",
                "conditions": [
                    {
                        "operator": "ip_match",
                        "parameters": {"inputs": [{"address": "http.client_ip"}], "list": ["9.9.9.9"]},
                    }
                ],
            }
        ],
    }
    from_office = BENIGN + "X-Forwarded-For: 9.9.9.9\n"

    async def case(box: WafBox) -> None:
        there, excluded = (await tried(box, BENIGN, from_office, ASM=asm)).verdicts

        assert [event.rule_id for event in there.events] == ["acme-1"]
        assert [(one.type, one.parameters["location"]) for one in there.actions] == [
            ("redirect_request", "/no")
        ]
        assert excluded.events == excluded.actions == ()

    in_box(case)


@needs_engine
def test_every_example_of_a_product_is_taken_by_the_engine() -> None:
    async def case(box: WafBox) -> None:
        for name in ("ASM", "ASM_DATA", "ASM_DD"):
            example = PRODUCTS[name].example
            assert (await waf_verdict(box, name, example, raw=raw(example))).problems == ()
        assert await waf_verdict(box, "APM_TRACING", {}, raw=b"{}") == findings({}, waf.Diagnostics("", True))

    in_box(case)


# What it says of rules


@needs_engine
def test_what_the_engine_refuses_it_says_in_its_own_words_at_the_place() -> None:
    payload = {
        "custom_rules": [
            a_rule("good"),
            a_rule("operator", operator="nope"),
            with_regex("lookahead", "(?=a)"),
            a_rule("good"),
            {"name": "nameless"},
            a_rule("later") | {"min_version": "99.0.0"},
        ],
        "exclusions": [{"id": "empty"}],
        "processors": 5,
    }

    async def case(box: WafBox) -> None:
        found = await waf_verdict(box, "ASM", payload, raw=raw(payload))

        said = {one.path: one.message for one in found.problems}
        assert "unknown operator: 'nope'" in said["$.custom_rules[1]"]
        assert "invalid regular expression: (?=" in said["$.custom_rules[2]"]
        assert "duplicate rule" in said["$.custom_rules[3]"]
        assert "missing key" in said["$.custom_rules[4]"]
        assert "empty exclusion filter" in said["$.exclusions[0]"]
        assert "bad cast" in said["$.processors"]
        assert len(said) == len(found.problems) == 6
        assert [one.path for one in found.warnings] == ["$.custom_rules[5]"]

    in_box(case)


@needs_engine
def test_what_is_no_document_at_all_is_refused_as_a_whole() -> None:
    async def case(box: WafBox) -> None:
        documents = {"ASM/a": b"[1]", "ASM/b": b"{", "ASM/c": raw({"version": "1.0", "custom_rules": []})}
        said = await box.check(documents)

        assert [one.taken for one in said] == [False, False, False]
        assert "invalid configuration type" in said[0].error
        assert said[1].error == "not a JSON document"
        assert "unsupported schema version" in said[2].error
        answer = await box.run(documents, [{QUERY: {"q": ["x"]}}], bundled=False)
        assert answer.verdicts[0].problem == waf.NO_RULES

    in_box(case)


# Hostile rules and requests


@needs_engine
def test_a_catastrophic_pattern_takes_no_time() -> None:
    asm = {
        "custom_rules": [with_regex("slow", "^(a+)+$"), with_regex("nested", "(((a{1,30}){1,30}){1,30})$")]
    }

    async def case(box: WafBox) -> None:
        answer = await box.run({"ASM/x": raw(asm)}, [{QUERY: {"q": ["a" * 4000 + "!"]}}], bundled=False)

        # Going back over what it tried it would never end. The bound is what a busy machine may add.
        assert answer.verdicts[0].took_us < 5_000_000
        assert not answer.verdicts[0].timed_out

    in_box(case)


@needs_engine
def test_a_budget_that_is_spent_is_said() -> None:
    told = [{QUERY: {f"k{n}": ["' OR 1=1 -- <script>" * 100] for n in range(200)}}]

    async def case(box: WafBox) -> None:
        answer = await box.run({}, told, bundled=True, budget_ms=0.1)

        assert answer.verdicts[0].timed_out

    in_box(case)


@needs_engine
def test_a_megabyte_of_rules_is_loaded() -> None:
    asm = {"custom_rules": [with_regex(f"r{n}", f"needle{n}[a-z]+") for n in range(4000)]}
    assert len(raw(asm)) > 1_000_000

    async def case(box: WafBox) -> None:
        answer = await box.run({"ASM/x": raw(asm)}, [{QUERY: {"q": ["needle7abc"]}}], bundled=False)

        assert len(answer.diagnostics[0].sections[0].loaded) == 4000
        assert [event.rule_id for event in answer.verdicts[0].events] == ["r7"]

    in_box(case)


@needs_engine
@pytest.mark.parametrize(
    "text",
    [
        b"GET /\x00?a=\x00%00\xff%ff HTTP/1.1\nX: \xfe\xff\x00",
        b'{"body": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
        b'{"body": {"n": [1e308, -9223372036854775808, 18446744073709551615, 1e999, 123456789012345678901]}}',
        b'{"url": "/\\ud800", "body": "\\ud800", "\\udfff.x": "\\u0000", "http.client_ip": [[]], "a.b": 5}',
        b"POST / HTTP/1.1\nContent-Type: multipart/form-data; boundary=--\n\n----\n\n----",
    ],
    ids=["nul and invalid UTF-8", "deep", "numbers", "lone surrogates and other types", "multipart"],
)
def test_strange_requests_have_a_verdict(text: bytes) -> None:
    async def case(box: WafBox) -> None:
        told = sample_request.tell(sample_request.parse(text)).addresses
        strange, attack = (await box.run({}, [told, *addresses(SQLI)], bundled=True)).verdicts

        assert strange.problem == ""
        assert types(attack) == {"sql_injection"}
        assert box.started == 1

    in_box(case)


@needs_engine
def test_rules_that_end_the_engine_end_nothing_else() -> None:
    """Nested deep enough, a document overflows the engine's own stack."""

    async def case(box: WafBox) -> None:
        with pytest.raises(InvalidChangeError, match="broke off"):
            await box.check({"ASM/x": b"[" * 3_000_000 + b"]" * 3_000_000})

        (verdict,) = (await tried(box, SQLI)).verdicts
        assert types(verdict) == {"sql_injection"}
        assert box.started == 2

    in_box(case)


@needs_engine
def test_requests_whose_turn_comes_after_the_time_is_over_are_not_tried() -> None:
    worker = waf_worker.Worker(waf.library_file(), None)
    job = {
        "documents": {"ASM/x": raw({"custom_rules": [a_rule()]}).decode()},
        "bundled": False,
        "budget_ms": 10,
    }
    told = {QUERY: {"q": ["shoes"]}}

    in_time = worker.do(job | {"requests": [told], "seconds": 10})
    late = worker.do(job | {"requests": [told], "seconds": -1})

    assert [one["problem"] for one in in_time["verdicts"]] == [""]
    assert [one["problem"][:10] for one in late["verdicts"]] == ["Not tried:"]


@needs_engine
def test_a_worker_keeps_few_sets_of_rules() -> None:
    worker = waf_worker.Worker(waf.library_file(), None)
    for number in range(10):
        text = raw({"custom_rules": [a_rule(f"r{number}")]}).decode()
        worker.do({"documents": {"ASM/x": text}, "bundled": False, "requests": [], "seconds": 1})

    assert len(worker._kept) == waf_worker.KEPT_RULES


@needs_engine
@pytest.mark.skipif(sys.platform != "linux", reason="limits are read from /proc, which Linux has")
def test_a_worker_may_hold_little() -> None:
    async def case(box: WafBox) -> None:
        await tried(box, BENIGN)
        (worker,) = box._idle
        limits = {
            line[:26].strip(): line[26:].split()
            for line in Path(f"/proc/{worker.process.pid}/limits").read_text().splitlines()
        }

        assert limits["Max address space"][0] == str(waf_worker.MAX_MEMORY_BYTES)
        assert limits["Max core file size"][:2] == ["0", "0"]
        assert limits["Max file size"][:2] == ["0", "0"]
        assert int(limits["Max cpu time"][0]) <= waf_worker.MAX_JOB_CPU_S + 1
        environment = Path(f"/proc/{worker.process.pid}/environ").read_text()
        assert {one.partition("=")[0] for one in environment.split("\0") if one} == {"PYTHONPATH", "LC_ALL"}

    in_box(case)


@needs_engine
def test_a_worker_that_hangs_is_killed_and_another_one_comes() -> None:
    async def case(box: WafBox) -> None:
        assert await box.version()
        (worker,) = box._idle
        os.kill(worker.process.pid, signal.SIGSTOP)

        with pytest.raises(InvalidChangeError, match=r"did not get through this within 0\.5 s"):
            await tried(box, SQLI)

        assert worker.process.returncode == -signal.SIGKILL
        box._job_s = 10.0
        assert types((await tried(box, SQLI)).verdicts[0]) == {"sql_injection"}

    in_box(case, job_s=0.5)


@needs_engine
def test_a_worker_that_died_while_nobody_looked_is_replaced() -> None:
    async def case(box: WafBox) -> None:
        assert await box.version()
        (worker,) = box._idle
        worker.process.kill()
        await worker.process.wait()

        assert types((await tried(box, SQLI)).verdicts[0]) == {"sql_injection"}
        assert box.started == 2

    in_box(case)


@needs_engine
def test_a_worker_whose_asker_went_away_is_not_used_again() -> None:
    async def case(box: WafBox) -> None:
        assert await box.version()
        (worker,) = box._idle
        os.kill(worker.process.pid, signal.SIGSTOP)
        asking = asyncio.create_task(tried(box, SQLI))
        while box._idle:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

        assert types((await tried(box, XSS)).verdicts[0]) == {"xss"}
        assert box.started == 2

    in_box(case)


@needs_engine
def test_a_worker_nobody_needs_ends() -> None:
    async def case(box: WafBox) -> None:
        assert await box.version()
        (worker,) = box._idle

        assert await asyncio.wait_for(worker.process.wait(), 10) == 0
        assert box._idle == []

    in_box(case, idle_s=0.01)


@needs_engine
def test_more_than_may_wait_are_turned_away() -> None:
    async def case(box: WafBox) -> None:
        asked = [tried(box, BENIGN) for _ in range(MAX_WAITING + 4)]
        answers = await asyncio.gather(*asked, return_exceptions=True)

        turned_away = [one for one in answers if isinstance(one, UnavailableError)]
        assert len(turned_away) == 3
        assert sum(isinstance(one, Answer) for one in answers) == MAX_WAITING + 1
        assert box.started == 1

    in_box(case)


@needs_engine
def test_more_than_the_box_takes_is_refused() -> None:
    async def case(box: WafBox) -> None:
        with pytest.raises(OversizeError):
            await box.run({}, [{}] * (MAX_REQUESTS + 1), bundled=True)
        with pytest.raises(OversizeError):
            await box.check({"ASM/x": b" " * (16 * 1024 * 1024 + 1)})
        assert box.started == 0

    in_box(case)


@needs_engine
def test_memory_stays_bounded() -> None:
    """Two thousand requests, and rules that are loaded anew a hundred times."""
    engine = waf.Engine(waf.library_file())
    bundled = waf.bundled_rules_file()
    assert bundled is not None
    told = [*addresses(SQLI, XSS, SCANNER, BENIGN), {"a": float("nan")}, {"b": "\ud800"}]
    asm = raw({"custom_rules": [a_rule(), a_rule("bad", operator="nope")]})

    def work(runs: int, loads: int) -> int:
        with waf.Rules(engine, {waf.BUNDLED: bundled.read_bytes()}) as rules:
            for number in range(runs):
                rules.run(told[number % len(told)], budget_ms=50)
        for _ in range(loads):
            with waf.Rules(engine, {"ASM/a": asm, "ASM/b": b"[1,", "ASM/c": b"[[[]]]"}) as rules:
                rules.run(told[0], budget_ms=50)
        return waf_worker.memory_bytes()

    before = work(200, 20)
    after = work(2000, 100)

    assert after - before < 8 * 1024 * 1024


# Where it is not


def test_without_the_engine_every_question_is_answered_clearly(tmp_path: Path) -> None:
    async def case() -> None:
        box = WafBox(None, None)
        assert await box.version() is None
        with pytest.raises(SettingsError, match="not installed"):
            await box.check({"ASM/x": b"{}"})
        assert (await waf_verdict(box, "ASM", {}, raw=b"{}")).problems == ()
        broken = tmp_path / "libddwaf.so"
        broken.write_bytes(b"\x7fELF nonsense")
        for file in (broken, tmp_path / "nothing.so"):
            box = WafBox(file, None)
            with pytest.raises(SettingsError, match="cannot be loaded as libddwaf"):
                await box.check({"ASM/x": b"{}"})
            assert await box.version() is None
            await box.close()

    asyncio.run(case())


def test_a_library_that_is_named_is_the_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(waf.ENVIRONMENT, str(tmp_path / "mine.so"))

    assert waf.library_file() == tmp_path / "mine.so"
    assert waf.library_file("/other.so") == Path("/other.so")
    assert waf.available() is None


@needs_engine
def test_the_tracer_is_never_imported(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from sealwire.server import app\n"
        "from sealwire.server.waf.box import WafBox\n"
        "async def ask():\n"
        "    box = WafBox.installed()\n"
        "    print(await box.version())\n"
        "    await box.close()\n"
        "asyncio.run(ask())\n"
        "maps = open('/proc/self/maps').read()\n"
        "print('ddtrace' in sys.modules, 'libddwaf' in maps)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    version, imported = ran.stdout.splitlines()[-2:]
    assert version.startswith("2.")
    assert imported == "False False"


# Over the API


@needs_engine
def test_requests_are_tried_on_configs_and_drafts(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        stored = await it.put_config("ASM_DATA", denylist("8.8.4.4"))
        body = {
            "config_ids": [stored["id"]],
            "drafts": [{"product": "ASM", "payload": {"custom_rules": [a_rule()]}}],
            "requests": [BENIGN, "curl 'http://a/' -H 'X-Forwarded-For: 8.8.4.4'", '{"url": "/?q=1"}'],
            "client_ip": "9.9.9.9",
        }

        found = await it.post("/waf:try", body, status=200)

        assert found["bundled"] is True
        assert [one["product"] for one in found["documents"]] == ["ASM_DD", "ASM_DATA", "ASM"]
        assert found["documents"][1]["config_id"] == stored["id"]
        assert found["documents"][2]["draft"] == 0
        results = found["results"]
        assert [one["blocked"] for one in results] == [True, True, False]
        assert [one["form"] for one in results] == ["http", "curl", "json"]
        assert results[0]["events"][0]["rule_id"] == "acme-1"
        assert results[1]["events"][0]["type"] == "block_ip"
        assert results[2]["addresses"]["http.client_ip"] == "9.9.9.9"

    run(tmp_path, case)


@needs_engine
def test_a_ruleset_of_ones_own_takes_the_place_of_the_bundled_one(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        ruleset = {"version": "2.2", "rules": [a_rule()]}
        body = {"drafts": [{"product": "ASM_DD", "payload": ruleset}], "requests": [SQLI, BENIGN]}

        found = await it.post("/waf:try", body, status=200)

        assert found["bundled"] is False
        assert [len(one["events"]) for one in found["results"]] == [0, 1]

    run(tmp_path, case)


@needs_engine
def test_rules_are_checked_with_the_engines_words(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        drafts = [
            {"product": "ASM", "payload": {"custom_rules": [a_rule(), a_rule("bad", operator="nope")]}},
            {"product": "ASM", "payload": {"custom_rules": [a_rule()]}},
        ]

        found = await it.post("/waf:check", {"drafts": drafts}, status=200)

        first, second = found["documents"]
        assert found["engine"].startswith("2.")
        assert (first["taken"], second["taken"]) == (True, False)
        assert [one["path"] for one in first["problems"]] == ["$.custom_rules[1]"]
        assert "unknown operator: 'nope'" in first["problems"][0]["message"]
        assert "duplicate rule" in second["problems"][0]["message"]

    run(tmp_path, case)


@needs_engine
def test_the_check_of_a_config_has_the_engines_words_too(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        payload = {"custom_rules": [with_regex("large", "(a{1,100}){1,100}")]}

        found = await it.post("/configs:check", {"product": "ASM", "payload": payload}, status=200)

        (problem,) = found["problems"]
        assert problem["path"] == "$.payload.custom_rules[0]"
        assert "The tracers' engine says: invalid regular expression: {1,100}" in problem["message"]

    run(tmp_path, case)


@needs_engine
def test_what_the_engine_refuses_is_not_saved(tmp_path: Path) -> None:
    good = {"custom_rules": [with_regex("r", "shoes")]}
    bad = {"custom_rules": [with_regex("r", "(a{1,100}){1,100}")]}
    nothing_in_it = {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": []}]}

    async def case(it: Console) -> None:
        refused = await it.refused("POST", "/configs", {"product": "ASM", "payload": bad}, status=422)
        assert [one["path"] for one in refused["problems"]] == ["$.payload.custom_rules[0]"]
        assert "invalid regular expression: {1,100}" in refused["detail"]

        made = await it.put_config("ASM", good)
        await it.published()
        change = {"expected_revision": 1, "payload": bad}
        refused = await it.refused("PUT", f"/configs/{made['id']}", change, status=422)
        assert "invalid regular expression: {1,100}" in refused["detail"]
        assert made["warnings"] == []
        # What ends the engine never gets to it: it would end the applications too.
        await it.refused("POST", "/configs", {"product": "ASM_DATA", "payload": nothing_in_it}, status=422)
        assert (await it.put_config("ASM_DATA", denylist("203.0.113.7")))["warnings"] == []

    run(tmp_path, case)


def test_without_the_engine_what_is_saved_says_that_it_was_not_tried(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        it.plane.tenants[1].waf = WafBox(None, None)

        made = await it.put_config("ASM", {"custom_rules": [with_regex("r", "shoes")]})
        elsewhere = await it.put_config("APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.5}})

        (warning,) = made["warnings"]
        assert "not installed on this server: whether it takes this was not checked" in warning["message"]
        assert elsewhere["warnings"] == []

    run(tmp_path, case)


@needs_engine
def test_what_cannot_be_tried_is_a_problem_at_its_place(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        other = await it.put_config("APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.5}})
        wrong = await it.refused("POST", "/waf:try", {"requests": [BENIGN, "GET\nb"]}, status=422)
        assert [one["path"] for one in wrong["problems"]] == ["$.requests[1]"]
        assert wrong["problems"][0]["message"].startswith("Line 1: ")
        wrong = await it.refused(
            "POST", "/waf:try", {"requests": [BENIGN], "config_ids": [other["id"]]}, status=422
        )
        assert [one["path"] for one in wrong["problems"]] == ["$.config_ids[0]"]
        await it.refused("POST", "/waf:try", {"requests": [BENIGN], "config_ids": ["0" * 16]}, status=404)
        await it.refused("POST", "/waf:try", {"requests": []}, status=422)
        await it.refused("POST", "/waf:check", {"drafts": [{"product": "X", "payload": {}}]}, status=422)

    run(tmp_path, case)


def test_a_server_without_the_engine_says_so(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        it.plane.waf = WafBox(None, None)

        for path, body in (("/waf:check", {"drafts": []}), ("/waf:try", {"requests": [BENIGN]})):
            problem = await it.refused("POST", path, body, status=409)
            assert (problem["code"], "not installed" in problem["detail"]) == ("settings", True)

    run(tmp_path, case)
