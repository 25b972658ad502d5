"""ASM: rules, actions and exclusions that clients would drop in silence are refused here."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from sealwire.products import ConfigId
from sealwire.products.asm import PRODUCT

ACTIONS: dict[str, Any] = json.loads("""
{"actions":[
  {"id":"block","type":"block_request","parameters":{"status_code":403,"type":"auto"}},
  {"id":"teapot","type":"block_request","parameters":{"status_code":418,"type":"json"}},
  {"id":"to_help","type":"redirect_request",
   "parameters":{"status_code":302,"location":"/blocked?ref=[security_response_id]"}}]}""")
OVERRIDES: dict[str, Any] = json.loads("""
{"rules_override":[
  {"rules_target":[{"tags":{"tool_name":"Arachni"}}],"on_match":["teapot"]},
  {"rules_target":[{"rule_id":"crs-913-110"}],"enabled":false}]}""")
EXCLUSIONS: dict[str, Any] = json.loads("""
{"exclusions":[
  {"id":"trusted-office","conditions":[{"operator":"ip_match",
    "parameters":{"inputs":[{"address":"http.client_ip"}],"list":["198.51.100.200"]}}]},
  {"id":"suspicious-strict","on_match":"teapot","conditions":[{"operator":"ip_match",
    "parameters":{"inputs":[{"address":"http.client_ip"}],"data":"suspicious_ips"}}]},
  {"id":"free-text-field","rules_target":[{"tags":{"type":"sql_injection"}}],
   "inputs":[{"address":"server.request.query","key_path":["comment"]}]}]}""")
CUSTOM_RULES: dict[str, Any] = json.loads(r"""
{"custom_rules":[
  {"id":"acme-001","name":"Block old exporter","tags":{"type":"acme_policy","category":"attack_attempt"},
   "conditions":[{"operator":"match_regex","parameters":{
     "inputs":[{"address":"server.request.headers.no_cookies","key_path":["user-agent"]}],
     "regex":"^acme-exporter/0\\.","options":{"case_sensitive":false}}}],
   "transformers":[],"on_match":["to_help"]},
  {"id":"acme-002","name":"Blocked sessions","tags":{"type":"block_session","category":"security_response"},
   "conditions":[{"operator":"exact_match",
     "parameters":{"inputs":[{"address":"usr.session_id"}],"data":"blocked_sessions"}}],
   "transformers":[],"on_match":["block"]}]}""")
GOOD = [
    ACTIONS,
    OVERRIDES,
    EXCLUSIONS,
    CUSTOM_RULES,
    {**ACTIONS, **OVERRIDES, **EXCLUSIONS, **CUSTOM_RULES, "version": "2.2"},
    {"rules_override": [{"id": "crs-913-110", "enabled": False}]},
    {"actions": [{"id": "stack", "type": "generate_stack"}]},
    {
        "actions": [
            {"id": "more", "type": "extended_data_collection", "parameters": {"max_collected_headers": 50}}
        ]
    },
    {
        "processor_overrides": [
            {"target": [{"id": "extract-content"}], "scanners": {"include": [{"id": "s"}]}}
        ]
    },
    {
        "scanners": [
            {
                "id": "s",
                "name": "Badge",
                "value": {"operator": "match_regex", "parameters": {"regex": "^B[0-9]{6}$"}},
                "tags": {"type": "badge", "category": "pii"},
            }
        ]
    },
]
DELETE = object()


def changed(payload: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """A copy of ``payload`` with one value set, or taken out."""
    copied = copy.deepcopy(payload)
    place: Any = copied
    for step in path[:-1]:
        place = place[step]
    if value is DELETE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copied


RULE = ("custom_rules", 0)
CONDITION = (*RULE, "conditions", 0)
PARAMETERS = (*CONDITION, "parameters")
BAD = [
    (changed(CUSTOM_RULES, (*RULE, "id"), DELETE), "$.custom_rules[0].id"),
    (changed(CUSTOM_RULES, (*RULE, "id"), "acme-002"), "$.custom_rules[1].id"),
    (changed(CUSTOM_RULES, (*RULE, "tags", "type"), DELETE), "$.custom_rules[0].tags.type"),
    (changed(CUSTOM_RULES, (*RULE, "tags", "type"), 4), "$.custom_rules[0].tags.type"),
    (changed(CUSTOM_RULES, (*RULE, "conditions"), []), "$.custom_rules[0].conditions"),
    (changed(CUSTOM_RULES, (*RULE, "transformers"), ["lower"]), "$.custom_rules[0].transformers[0]"),
    (changed(CUSTOM_RULES, (*RULE, "on_match"), "block"), "$.custom_rules[0].on_match"),
    (changed(CUSTOM_RULES, (*RULE, "min_version"), "1.25"), "$.custom_rules[0].min_version"),
    (
        changed(
            CUSTOM_RULES,
            RULE,
            {**CUSTOM_RULES["custom_rules"][0], "min_version": "1.10.0", "max_version": "1.9.9"},
        ),
        "$.custom_rules[0].max_version",
    ),
    (changed(CUSTOM_RULES, (*RULE, "onmatch"), []), "$.custom_rules[0].onmatch"),
    (
        changed(CUSTOM_RULES, (*CONDITION, "operator"), "regex_match"),
        "$.custom_rules[0].conditions[0].operator",
    ),
    (changed(CUSTOM_RULES, (*CONDITION, "operator"), DELETE), "$.custom_rules[0].conditions[0].operator"),
    (changed(CUSTOM_RULES, (*CONDITION, "operator"), 1), "$.custom_rules[0].conditions[0].operator"),
    (changed(CUSTOM_RULES, (*PARAMETERS, "regex"), "(a"), "$.custom_rules[0].conditions[0].parameters.regex"),
    (
        changed(CUSTOM_RULES, (*PARAMETERS, "regex"), "(?=a)"),
        "$.custom_rules[0].conditions[0].parameters.regex",
    ),
    (
        changed(CUSTOM_RULES, (*PARAMETERS, "regex"), DELETE),
        "$.custom_rules[0].conditions[0].parameters.regex",
    ),
    (changed(CUSTOM_RULES, (*PARAMETERS, "list"), ["a"]), "$.custom_rules[0].conditions[0].parameters.list"),
    (changed(CUSTOM_RULES, (*PARAMETERS, "inputs"), []), "$.custom_rules[0].conditions[0].parameters.inputs"),
    (
        changed(CUSTOM_RULES, (*PARAMETERS, "inputs", 0, "key_path"), "user-agent"),
        "$.custom_rules[0].conditions[0].parameters.inputs[0].key_path",
    ),
    (
        changed(CUSTOM_RULES, (*PARAMETERS, "options", "case_sensitive"), "no"),
        "$.custom_rules[0].conditions[0].parameters.options.case_sensitive",
    ),
    (
        changed(EXCLUSIONS, ("exclusions", 0, "conditions", 0, "parameters", "list", 0), "198.51.100.200/24"),
        "$.exclusions[0].conditions[0].parameters.list[0]",
    ),
    (
        changed(EXCLUSIONS, ("exclusions", 0, "conditions", 0, "parameters", "data"), "x"),
        "$.exclusions[0].conditions[0].parameters",
    ),
    (changed(EXCLUSIONS, ("exclusions", 0, "conditions"), DELETE), "$.exclusions[0]"),
    (changed(EXCLUSIONS, ("exclusions", 2, "id"), "trusted-office"), "$.exclusions[2].id"),
    (changed(EXCLUSIONS, ("exclusions", 1, "on_match"), ["teapot"]), "$.exclusions[1].on_match"),
    (changed(OVERRIDES, ("rules_override", 0, "id"), "x"), "$.rules_override[0]"),
    (changed(OVERRIDES, ("rules_override", 0, "on_match"), DELETE), "$.rules_override[0]"),
    (
        changed(OVERRIDES, ("rules_override", 1, "rules_target", 0, "tags"), {"a": "b"}),
        "$.rules_override[1].rules_target[0]",
    ),
    (changed(OVERRIDES, ("rules_override", 1, "enabled"), "false"), "$.rules_override[1].enabled"),
    (changed(ACTIONS, ("actions", 0, "type"), "block"), "$.actions[0].type"),
    (changed(ACTIONS, ("actions", 0, "parameters"), DELETE), "$.actions[0].parameters"),
    (
        changed(ACTIONS, ("actions", 1, "parameters", "status_code"), "418"),
        "$.actions[1].parameters.status_code",
    ),
    (
        changed(ACTIONS, ("actions", 1, "parameters", "status_code"), 42),
        "$.actions[1].parameters.status_code",
    ),
    (changed(ACTIONS, ("actions", 1, "parameters", "type"), "xml"), "$.actions[1].parameters.type"),
    (
        changed(ACTIONS, ("actions", 2, "parameters", "status_code"), 304),
        "$.actions[2].parameters.status_code",
    ),
    (changed(ACTIONS, ("actions", 2, "parameters", "location"), ""), "$.actions[2].parameters.location"),
    (
        changed(ACTIONS, ("actions", 2, "parameters", "location"), "ftp://x"),
        "$.actions[2].parameters.location",
    ),
    (
        changed(ACTIONS, ("actions", 2, "parameters", "location"), "//x.test"),
        "$.actions[2].parameters.location",
    ),
    (changed(ACTIONS, ("actions", 2, "id"), "block"), "$.actions[2].id"),
    (
        {"actions": [{"id": "s", "type": "generate_stack", "parameters": {"stack_id": "x"}}]},
        "$.actions[0].parameters.stack_id",
    ),
    ({**ACTIONS, "version": "1.0"}, "$.version"),
    ({"version": "2.2"}, "$"),
    ({"custom_rule": []}, "$.custom_rule"),
    (
        {
            "scanners": [
                {
                    "id": "s",
                    "tags": {"type": "t"},
                    "key": {"operator": "match_regex", "parameters": {"regex": "["}},
                }
            ]
        },
        "$.scanners[0].tags.category",
    ),
]


@pytest.mark.parametrize("payload", GOOD, ids=[str(list(payload)) for payload in GOOD])
def test_a_good_payload_passes(payload: dict[str, Any]) -> None:
    assert PRODUCT.check(payload) == ()


@pytest.mark.parametrize(
    ("payload", "path"), BAD, ids=[f"{number}-{path}" for number, (_, path) in enumerate(BAD)]
)
def test_a_bad_payload_is_refused_where_it_is_bad(payload: dict[str, Any], path: str) -> None:
    assert path in [problem.path for problem in PRODUCT.check(payload)]


def test_an_operator_that_is_nearly_right_is_suggested() -> None:
    (problem,) = PRODUCT.check(changed(CUSTOM_RULES, (*CONDITION, "operator"), "match_regx"))

    assert 'Did you mean "match_regex"?' in problem.message


@pytest.mark.parametrize(
    "payload", [ACTIONS, EXCLUSIONS, CUSTOM_RULES], ids=["actions", "exclusions", "rules"]
)
def test_an_element_id_that_another_config_uses_is_a_conflict(payload: dict[str, Any]) -> None:
    (array,) = payload
    other = {array: [payload[array][1]]}

    problems = PRODUCT.conflicts(payload, {ConfigId("aa"): {}, ConfigId("bb"): other})

    assert [problem.path for problem in problems] == [f"$.{array}[1].id"]
    assert "config bb" in problems[0].message


def test_the_same_id_on_different_kinds_of_elements_is_no_conflict() -> None:
    other = {"exclusions": [{"id": "block", "inputs": [{"address": "usr.id"}]}]}

    assert PRODUCT.conflicts(ACTIONS, {ConfigId("bb"): other}) == ()


def test_an_action_that_nobody_defines_is_a_warning_and_no_error() -> None:
    payload = {**OVERRIDES, **EXCLUSIONS, **CUSTOM_RULES}

    problems = PRODUCT.warn(payload, {})

    assert PRODUCT.check(payload) == ()
    assert [problem.path for problem in problems] == [
        "$.rules_override[0].on_match[0]",
        "$.exclusions[1].on_match",
        "$.custom_rules[0].on_match[0]",
    ]
    assert '"teapot"' in problems[0].message


@pytest.mark.parametrize("on_match", ["bypass", "monitor", "block"])
def test_a_built_in_action_needs_no_definition(on_match: str) -> None:
    assert PRODUCT.warn(changed(EXCLUSIONS, ("exclusions", 1, "on_match"), on_match), {}) == ()


def test_an_action_may_be_defined_in_the_same_or_in_another_config() -> None:
    assert PRODUCT.warn({**OVERRIDES, **ACTIONS}, {}) == ()
    assert PRODUCT.warn(OVERRIDES, {ConfigId("bb"): ACTIONS}) == ()
