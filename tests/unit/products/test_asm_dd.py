"""ASM_DD: a ruleset is checked rule by rule, and says what it switches off."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from sealwire.products import ConfigId
from sealwire.products.asm_dd import PRODUCT

RULESET: dict[str, Any] = json.loads("""
{"version":"2.2","metadata":{"rules_version":"9.0.1"},
 "rules":[
  {"id":"blk-001-001","name":"Block IP addresses","tags":{"type":"block_ip","category":"security_response"},
   "conditions":[{"operator":"ip_match","parameters":{"inputs":[{"address":"http.client_ip"}],"data":"blocked_ips"}}],
   "transformers":[],"on_match":["block"]},
  {"id":"acme-ua-1","name":"Arachni",
   "tags":{"type":"attack_tool","category":"attack_attempt","tool_name":"Arachni","confidence":"1"},
   "conditions":[{"operator":"match_regex","parameters":{
     "inputs":[{"address":"server.request.headers.no_cookies","key_path":["user-agent"]}],"regex":"^Arachni/v"}}],
   "transformers":[]}]}""")
RULE = RULESET["rules"][1]
BLOCK_USERS = {**RULE, "id": "blk-001-002"}


def bundled_ruleset() -> dict[str, Any]:
    spec = importlib.util.find_spec("ddtrace")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("ddtrace is not installed")
    ruleset: dict[str, Any] = json.loads(
        (Path(spec.submodule_search_locations[0]) / "appsec" / "rules.json").read_text(encoding="utf-8")
    )
    return ruleset


def test_a_ruleset_passes() -> None:
    assert PRODUCT.check(RULESET) == ()


def test_the_ruleset_bundled_with_ddtrace_passes_without_a_warning() -> None:
    ruleset = bundled_ruleset()

    assert len(ruleset["rules"]) > 150
    assert PRODUCT.check(ruleset) == ()
    assert PRODUCT.warn(ruleset, {}) == ()


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"rules": [RULE]}, "$.version"),
        ({"version": "2.2"}, "$.rules"),
        ({"version": "2.2", "rules": []}, "$.rules"),
        ({"version": "1.0", "rules": [RULE]}, "$.version"),
        ({"version": 2.2, "rules": [RULE]}, "$.version"),
        ({"version": "2.2", "rules": [RULE, RULE]}, "$.rules[1].id"),
        ({"version": "2.2", "rules": [RULE], "metadata": {"version": "1"}}, "$.metadata.version"),
        ({"version": "2.2", "rules": [RULE], "custom_rules": [RULE]}, "$.custom_rules"),
        ({"version": "2.2", "rules": [{**RULE, "tags": {}}]}, "$.rules[0].tags.type"),
        (
            {
                "version": "2.2",
                "rules": [RULE],
                "rules_compat": [{**RULE, "output": {"attributes": {"a": {}}}}],
            },
            "$.rules_compat[0].output.attributes.a",
        ),
        (
            {
                "version": "2.2",
                "rules": [RULE],
                "processors": [{"id": "p", "generator": "g", "parameters": {}}],
            },
            "$.processors[0].parameters.mappings",
        ),
    ],
)
def test_a_bad_ruleset_is_refused_where_it_is_bad(payload: dict[str, Any], path: str) -> None:
    assert [problem.path for problem in PRODUCT.check(payload)] == [path]


def test_a_ruleset_without_the_denylist_rules_warns_that_denylists_stop() -> None:
    problems = PRODUCT.warn({"version": "2.2", "rules": [RULE]}, {})

    assert [problem.path for problem in problems] == ["$.rules", "$.rules"]
    assert "blk-001-001" in problems[0].message
    assert "blk-001-002" in problems[1].message


def test_a_denylist_rule_may_stand_in_another_ruleset() -> None:
    others = {ConfigId("bb"): {"version": "2.2", "rules": [BLOCK_USERS]}}

    assert PRODUCT.warn(RULESET, others) == ()
    assert len(PRODUCT.warn(RULESET, {})) == 1


def test_a_rule_id_of_another_ruleset_is_a_conflict_also_between_rules_and_compat_rules() -> None:
    others = {ConfigId("bb"): {"version": "2.2", "rules": [BLOCK_USERS], "rules_compat": [RULE]}}

    problems = PRODUCT.conflicts(RULESET, others)

    assert [problem.path for problem in problems] == ["$.rules[1].id"]


def test_an_action_that_nobody_defines_is_a_warning() -> None:
    payload = {"version": "2.2", "rules": [{**rule, "on_match": ["teapot"]} for rule in RULESET["rules"]]}

    paths = [problem.path for problem in PRODUCT.warn(payload, {ConfigId("b"): {"rules": [BLOCK_USERS]}})]

    assert paths == ["$.rules[0].on_match[0]", "$.rules[1].on_match[0]"]
