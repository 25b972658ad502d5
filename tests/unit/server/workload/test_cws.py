"""CWS_DD and CWS_CUSTOM: what is said of rules, where, and what file agents get."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from sealwire.errors import Problem
from sealwire.products import ConfigId
from sealwire.secl.definitions import Origin
from sealwire.secl.policy import policy_name, read_policy
from sealwire.server.audiences import role_of
from sealwire.server.workload import cws_custom, cws_dd
from sealwire.server.workload.policy_checks import ACTS, MAX_VARIANTS, examine, policy_of
from sealwire.wire.path import ConfigPath

DEFAULT, CUSTOM = cws_dd.PRODUCT, cws_custom.PRODUCT
PUBLIC = Path(os.environ.get("SEALWIRE_DEFAULT_POLICY") or "/nonexistent")


def rule(id_: str = "r", expression: str = 'open.file.path == "/a"', **more: Any) -> dict[str, Any]:
    return {"id": id_, "expression": expression, **more}


def policy(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": "1", "rules": list(rules), **more}


def paths(problems: tuple[Problem, ...]) -> list[str]:
    return [problem.path for problem in problems]


# Every mistake at its place ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "path", "says"),
    [
        (rule(expression='open.file.pth == "/a"'), "$.rules[1].expression", "Column 1: There is no field"),
        (
            rule(expression='open.file.path == "/a" && dns.id == 1'),
            "$.rules[1].expression",
            "two events",
        ),
        (rule(expression="open.file.path == 3"), "$.rules[1].expression", "Column 19"),
        (rule(expression="open.file.path =="), "$.rules[1].expression", "Column"),
        (rule(expression="process.pid == 1"), "$.rules[1].expression", "which event"),
        (rule(filters=["os == 3"]), "$.rules[1].filters[0]", "os"),
        (rule(agent_version="newest"), "$.rules[1].agent_version", "no constraint"),
        (rule(every="often"), "$.rules[1].every", "duration"),
        (rule(limiter_token=["dns.id"]), "$.rules[1].limiter_token", "another event"),
        (
            rule(actions=[{"set": {"name": "v", "field": "open.flags"}, "filter": "open.flag == 1"}]),
            "$.rules[1].actions[0].filter",
            "There is no field",
        ),
        (
            rule(actions=[{"set": {"name": "v", "field": "dns.id"}}]),
            "$.rules[1].actions[0].set.field",
            "another event",
        ),
        (rule(actions=[{"hash": {"field": "dns.id"}}]), "$.rules[1].actions[0].hash", ""),
        (rule(id_="first"), "$.rules[1].id", "already the id of $.rules[0]"),
    ],
)
def test_a_mistake_in_one_rule_is_told_at_its_place_with_the_id_of_the_rule(
    wrong: dict[str, Any], path: str, says: str
) -> None:
    (problem,) = CUSTOM.check(policy(rule("first"), wrong, rule("last")))

    assert problem.path.startswith(path)
    assert says in problem.message
    assert problem.message.startswith(f"{wrong['id']}: ")


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"id": "a-b", "expression": "x"}, "$.rules[0].id"),
        ({"expression": "x"}, "$.rules[0].id"),
        (rule(tags={"a": 3}), "$.rules[0].tags.a"),
        (rule(silent="yes"), "$.rules[0].silent"),
        (rule(actions=[{}]), "$.rules[0].actions[0]"),
        (rule(actions=[{"kill": {}, "hash": {}}]), "$.rules[0].actions[0]"),
        (rule(actions=[{"set": {"name": "v"}}]), "$.rules[0].actions[0].set"),
        (rule(expresion="x"), "$.rules[0].expresion"),
    ],
)
@pytest.mark.parametrize("product", [DEFAULT, CUSTOM], ids=lambda product: product.name)
def test_a_mistake_in_the_shape_is_told_at_its_place(product: Any, wrong: dict[str, Any], path: str) -> None:
    assert paths(product.check(policy(wrong))) == [path]


def test_every_mistake_is_told_and_not_only_the_first() -> None:
    wrong = [rule(f"r{number}", f"open.nothing == {number}") for number in range(30)]

    problems = CUSTOM.check(policy(*wrong, rule("good")))

    assert paths(problems) == [f"$.rules[{number}].expression" for number in range(30)]


def test_a_mistake_in_a_macro_is_told_there_and_in_the_rules_that_use_it() -> None:
    macros = [{"id": "BAD", "expression": '["/a",'}, {"id": "GOOD", "values": ["/a"]}]

    problems = CUSTOM.check(
        policy(rule("a", "open.file.path in BAD"), rule("b", "open.file.path in GOOD"), macros=macros)
    )

    assert paths(problems) == ["$.macros[0].expression", "$.rules[0].expression"]


def test_rules_of_one_id_for_different_agents_may_stand_side_by_side_and_both_are_checked() -> None:
    old, new = rule(agent_version="< 7.71"), rule(agent_version=">= 7.71")

    assert CUSTOM.check(policy(old, new)) == ()
    assert paths(CUSTOM.check(policy(old, {**new, "expression": "open.nothing == 1"}))) == [
        "$.rules[1].expression"
    ]


def test_there_are_not_more_variants_of_a_rule_than_can_be_looked_at() -> None:
    rules = [rule(agent_version=f">= 7.{number}") for number in range(MAX_VARIANTS + 1)]

    assert CUSTOM.check(policy(*rules[:-1])) == ()
    assert paths(CUSTOM.check(policy(*rules))) == [f"$.rules[{MAX_VARIANTS}].id"]


def test_a_character_that_readers_of_yaml_refuse_is_refused() -> None:
    assert paths(CUSTOM.check(policy(rule(description="a\x7fb")))) == ["$"]


# One bad rule is reported, not hidden -----------------------------------------------------------------------


def test_a_broken_default_rule_is_told_as_a_warning_and_does_not_hold_back_the_others() -> None:
    payload = policy(rule("good"), rule("bad", "open.nothing == 1"))

    assert DEFAULT.check(payload) == ()
    (warning,) = DEFAULT.warn(payload, {})
    assert warning.path == "$.rules[1].expression"
    assert warning.message.startswith("bad: Column 1: There is no field")
    assert "left out; the others are used" in warning.message


def test_a_default_policy_without_a_usable_rule_is_refused_with_the_reasons() -> None:
    assert paths(DEFAULT.check(policy(rule("bad", "open.nothing == 1")))) == ["$.rules[0].expression"]
    assert paths(DEFAULT.check(policy())) == ["$.rules"]


def test_what_may_not_be_meant_is_a_warning() -> None:
    trap = 'open.file.path == "/a" && open.flags == 1 || open.flags == 2'

    (warning,) = CUSTOM.warn(policy(rule(expression=trap)), {})

    assert (warning.path, warning.message[:12]) == ("$.rules[0].expression", "r: Column 1:")
    assert "read from the right" in warning.message


# What other policies define ---------------------------------------------------------------------------------


def test_macros_and_variables_of_the_default_policy_may_be_named_with_a_caution() -> None:
    payload = policy(
        rule("a", "open.file.path in SHELL_FILES"),
        rule("b", 'open.file.path == "/a" && ${process.key} == ""'),
    )

    assert CUSTOM.check(payload) == ()
    assert [warning.message for warning in CUSTOM.warn(payload, {})] == [
        "a: The rule rests on the macro SHELL_FILES, which another policy must define.",
        "b: The rule rests on the variable process.key, which another policy must define.",
    ]


def test_a_slip_in_a_constant_is_no_macro_of_others() -> None:
    assert paths(CUSTOM.check(policy(rule(expression="open.flags & O_WRONLYY > 0")))) == [
        "$.rules[0].expression"
    ]


def test_with_the_other_policies_known_names_are_checked_against_them() -> None:
    default = policy_of(
        policy(
            rule("base", actions=[{"set": {"name": "key", "scope": "process", "value": "x"}}]),
            macros=[{"id": "FILES", "values": ["/a"]}],
        ),
        name="default.policy",
    )
    payload = policy(
        rule("a", "open.file.path in FILES"),
        rule("b", 'open.file.path == "/a" && ${process.key} == ""'),
        rule("c", "open.file.path in OTHERS"),
        rule("base", 'open.file.path == "/b"', combine="override"),
        {"id": "missing", "disabled": True},
        rule("d", "open.file.path in FILES && open.flags in FILES"),
    )

    found = examine(payload, beside=[default])

    assert paths(found.broken) == ["$.rules[2].expression", "$.rules[4]", "$.rules[5].expression"]
    assert found.usable == {"a", "b", "base"}


def test_a_rule_the_default_policy_has_may_be_changed_but_not_defined_again() -> None:
    default = policy_of(policy(rule("base")), name="default.policy")

    again = examine(policy(rule("base", 'open.file.path == "/b"')), beside=[default])
    off = examine(policy({"id": "base", "disabled": True}), beside=[default])

    assert "combine: override" in again.broken[0].message
    assert off.broken == ()


def test_a_change_of_a_rule_that_is_not_here_is_a_caution_when_checked_alone() -> None:
    payload = policy({"id": "base", "disabled": True}, rule("other", combine="override"))

    assert CUSTOM.check(payload) == ()
    assert paths(CUSTOM.warn(payload, {})) == ["$.rules[0]", "$.rules[1]"]


def test_an_id_or_a_name_that_another_config_has_is_refused() -> None:
    other = policy(rule("taken"), name="mine")
    payload = policy(rule("free"), rule("taken"), name="mine")

    problems = CUSTOM.conflicts(payload, {ConfigId("0a"): other})

    assert paths(problems) == ["$.name", "$.rules[1].id"]
    assert "config 0a" in problems[1].message
    assert CUSTOM.conflicts(policy(rule("taken", combine="override")), {ConfigId("0a"): other}) == ()


# Who may, and for whom --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "needed"),
    [({"kill": {}}, (ACTS,)), ({"network_filter": {"policy": "drop"}}, (ACTS,)), ({"hash": {}}, ())],
)
@pytest.mark.parametrize("product", [DEFAULT, CUSTOM], ids=lambda product: product.name)
def test_rules_that_act_on_a_host_need_a_permission_of_their_own(
    product: Any, action: dict[str, Any], needed: tuple[str, ...]
) -> None:
    assert product.demands(policy(rule(actions=[action]))) == needed


@pytest.mark.parametrize("product", [DEFAULT, CUSTOM], ids=lambda product: product.name)
def test_they_are_for_hosts_by_tags_and_for_nothing_else(product: Any) -> None:
    assert product.misaimed({"host_tags": ["role:web"]}) == ()
    assert paths(product.misaimed({"service": ["shop"], "env": ["prod"]})) == ["$.service", "$.env"]


# The file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("product", "payload", "name"),
    [
        (DEFAULT, policy(rule()), "default.policy"),
        (CUSTOM, policy(rule(), name="web-servers"), "web-servers.policy"),
        (CUSTOM, policy(rule()), "0a12345678901234.policy"),
    ],
)
def test_agents_find_the_policy_in_the_file_and_its_name_in_the_path(
    product: Any, payload: dict[str, Any], name: str
) -> None:
    file = product.publish(ConfigId("0a12345678901234"), payload)
    path = ConfigPath.for_org(2, product.name, file.file_id, file.name)

    assert policy_name(path.config_id) == name
    assert role_of(str(path)) == f"{product.name}-0A"
    raw = product.render(file.payload)
    assert yaml.safe_load(raw) == orjson.loads(raw)
    read = read_policy(raw, name=name, origin=Origin.REMOTE)
    assert read.problems == ()
    assert [each.id for each in read.rules] == ["r"]
    assert "name" not in file.payload


@pytest.mark.parametrize("name", ["default", "a_b", "a.b", "A", "-a", "a--b", "a/b", "x" * 41])
def test_a_name_that_does_not_fit_a_path_is_refused(name: str) -> None:
    assert paths(CUSTOM.check(policy(rule(), name=name))) == ["$.name"]


def test_the_version_of_a_custom_policy_counts_its_changes() -> None:
    first = CUSTOM.succeed(None, {"rules": [rule()]})
    same = CUSTOM.succeed(first, {"rules": [rule()]})
    changed = CUSTOM.succeed(first, {"rules": [rule("other")], "version": "1"})
    own = CUSTOM.succeed(first, {"rules": [rule("other")], "version": "2026-11"})

    assert [each["version"] for each in (first, same, changed, own)] == ["1", "1", "2", "2026-11"]
    assert same == first


@pytest.mark.skipif(not PUBLIC.is_file(), reason="SEALWIRE_DEFAULT_POLICY names no file")
def test_every_rule_of_the_public_default_policy_is_usable() -> None:
    raw = PUBLIC.read_bytes()
    text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    payload = yaml.load(text, Loader=yaml.CSafeLoader)

    found = examine(payload)

    assert found.broken == ()
    assert len(found.usable) >= 290
