"""Policy files: what is read, what is said of mistakes, and how several become one."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError
from sealwire.secl.definitions import Origin, Policy
from sealwire.secl.document import MAX_ALIASES, MAX_POLICY_BYTES, read_document
from sealwire.secl.event import Event, Process
from sealwire.secl.merge import Loaded, arrange, load
from sealwire.secl.policy import MAX_RULES, policy_name, read_policy
from sealwire.secl.variables import Scope, VariableStore
from sealwire.secl.versions import ConstraintError, satisfies

HOST = {"os": "linux", "kernel.version.major": 6}

FULL = """\
version: 1.10
type: policy
macros:
  - id: SHELLS
    description: shells
    expression: '["/bin/sh"]'
  - id: NUMBERS
    values: [1, 2, "a\\"b", '~"x*"']
rules:
  - id: everything
    version: "7"
    description: Everything a rule can say
    expression: |-
      open.file.path == "/a" &&
      process.file.path in SHELLS
    tags: {team: a, level: 3}
    product_tags: ["policy:threat-detection"]
    agent_version: ">= 7.71"
    filters:
      - os == "windows"
      - os == "linux"
    every: 10s
    limiter_token: [process.file.path]
    silent: true
    group_id: g
    priority: 3
    actions:
      - filter: process.uid == 0
        set: {name: n, scope: process, field: process.comm, append: true, ttl: 5m, size: 7, private: true, inherited: true}
      - hash: {}
"""  # noqa: E501 - as files are written


def read(text: str | dict[str, Any], name: str = "a.policy", origin: Origin = Origin.DIRECTORY) -> Policy:
    raw = text.encode() if isinstance(text, str) else orjson.dumps(text)
    return read_policy(raw, name=name, origin=origin)


def put_together(*policies: Policy, version: str = "7.80.0", **more: Any) -> Loaded:
    return load(policies, host=HOST, agent_version=version, store=VariableStore(), new_id=str, **more)


def rule(id_: str, path: str = "/a", **more: Any) -> dict[str, Any]:
    return {"id": id_, "expression": f'open.file.path == "{path}"', **more}


def policy(
    *rules: dict[str, Any], name: str = "a.policy", origin: Origin = Origin.DIRECTORY, **more: Any
) -> Policy:
    return read({"version": "1", "rules": list(rules), **more}, name, origin)


def statuses(loaded: Loaded) -> dict[str, list[str]]:
    return {report.name: [each.status for each in report.rules] for report in loaded.reports}


def matching(loaded: Loaded, path: str = "/a") -> list[str]:
    event = Event("open", values={"open.file.path": path}, process=Process({"file.path": "/bin/sh"}))
    return [match.rule.id for match in loaded.rule_set.evaluate(event, now_ns=0)]


# Reading ----------------------------------------------------------------------------------------------------


def test_everything_a_rule_can_say_is_read() -> None:
    found = read(FULL)

    assert found.problems == ()
    assert (found.version, found.type) == ("1.10", "policy")
    assert found.macros[1].expression == '[1, 2, "a\\"b", ~"x*"]'
    (only,) = found.rules
    assert only.expression == 'open.file.path == "/a" &&\nprocess.file.path in SHELLS'
    assert dict(only.tags) == {"team": "a", "level": "3"}
    assert only.product_tags == ("policy:threat-detection",)
    assert only.filters == ('os == "windows"', 'os == "linux"')
    assert (only.every_ns, only.limiter_token, only.silent) == (10_000_000_000, ("process.file.path",), True)
    assert (only.version, only.group_id, only.priority, only.line) == ("7", "g", 3, 10)
    setting = only.actions[0].set
    assert setting is not None
    assert (setting.name, setting.scope, setting.field) == ("n", Scope.PROCESS, "process.comm")
    assert (setting.append, setting.ttl_ns, setting.size) == (True, 300_000_000_000, 7)
    assert (setting.private, setting.inherited) == (True, True)
    assert only.actions[0].filter == "process.uid == 0"
    assert only.actions[1].kind == "hash"
    assert statuses(put_together(found)) == {"a.policy": ["loaded"]}


def test_json_is_read_like_yaml() -> None:
    written = {"version": "1", "rules": [rule("r", every="10s", tags={"a": 1.5})]}

    found = read(written)

    assert found.problems == ()
    assert found.rules[0].every_ns == 10_000_000_000
    assert dict(found.rules[0].tags) == {"a": "1.5"}


def test_the_name_of_a_policy_is_what_follows_the_first_point_of_its_config() -> None:
    assert policy_name("1.default.policy") == "default.policy"
    assert policy_name("17.my.own.policy") == "my.own.policy"
    assert policy_name("plain") == "plain"


@pytest.mark.parametrize(
    ("line", "path", "says"),
    [
        ("- 3", "$.rules[0]", "mapping"),
        ("- {expression: x}", "$.rules[0].id", "id of letters"),
        ("- {id: a-b, expression: x}", "$.rules[0].id", "id of letters"),
        ("- {id: a}", "$.rules[0]", "needs an expression"),
        ("- {id: a, expression: [x]}", "$.rules[0].expression", "one value"),
        ("- {id: a, expression: x, every: often}", "$.rules[0].every", "duration"),
        ("- {id: a, expression: x, every: -5}", "$.rules[0].every", "duration"),
        ("- {id: a, expression: x, silent: perhaps}", "$.rules[0].silent", "true or false"),
        ("- {id: a, expression: x, tags: [b]}", "$.rules[0].tags", "mapping"),
        ("- {id: a, expression: x, filters: os}", "$.rules[0].filters", "list"),
        ("- {id: a, expression: x, priority: high}", "$.rules[0].priority", "number"),
        ("- {id: a, expression: x, combine: merge}", "$.rules[0].combine", "override"),
        (
            "- {id: a, expression: x, override_options: {fields: [id]}}",
            "$.rules[0].override_options.fields",
            "none",
        ),
        ("- {id: a, expression: x, actions: {}}", "$.rules[0].actions", "list"),
        ("- {id: a, expression: x, actions: [{}]}", "$.rules[0].actions[0]", "exactly one"),
        ("- {id: a, expression: x, actions: [{hash: {}, log: {}}]}", "$.rules[0].actions[0]", "exactly one"),
        ("- {id: a, expression: x, actions: [{set: {}}]}", "$.rules[0].actions[0].set.name", "name"),
        ("- {id: a, expression: x, actions: [{set: {name: n}}]}", "$.rules[0].actions[0].set", "exactly one"),
        (
            "- {id: a, expression: x, actions: [{set: {name: n, value: 1, field: y}}]}",
            "$.rules[0].actions[0].set",
            "exactly one",
        ),
        (
            "- {id: a, expression: x, actions: [{set: {name: n, value: 1, scope: host}}]}",
            "$.rules[0].actions[0].set.scope",
            "process, container or cgroup",
        ),
        (
            "- {id: a, expression: x, actions: [{set: {name: n, value: [1, b]}}]}",
            "$.rules[0].actions[0].set.value",
            "texts only",
        ),
    ],
)
def test_a_rule_that_cannot_be_read_is_named_and_the_others_stay(line: str, path: str, says: str) -> None:
    found = read(f"version: 1\nrules:\n {line}\n - {{id: good, expression: 'open.file.path == \"/a\"'}}\n")

    (problem,) = found.problems
    assert (problem.policy, problem.path, problem.line) == ("a.policy", path, 3)
    assert says in problem.message
    assert [each.id for each in found.rules] == ["good"]
    assert matching(put_together(found)) == ["good"]


def test_what_is_not_known_is_said_and_does_no_harm() -> None:
    found = read("version: 1\nrules:\n - {id: a, id: b, expresion: x, expression: y}\n")

    assert [(problem.harmless, problem.rule_id) for problem in found.problems] == [(True, "b"), (True, "b")]
    assert [each.id for each in found.rules] == ["b"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"3",
        b"a: b",
        b"rules: x",
        b"version: 1\n---\nversion: 2",
        b"\xff\xfe",
        b"rules: [",
        b"a: b: c",
        b"rules: *nothing",
        b"rules: &a [*a]",
        b"[" * 10_000,
        b"{a: " * 10_000,
        b"- " * 10_000,
        b"? [a]: b",
        b"rules:\n\t- id: a",
        b"%YAML 9",
        b'{"rules": ' + b"[" * 10_000,
        b"!!python/object/apply:os.getcwd []",
        b"\x00",
        b"version: 1\nrules: {}",
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_what_is_no_policy_is_refused_with_a_sentence(raw: bytes) -> None:
    with pytest.raises((MalformedError, OversizeError)) as caught:
        read_policy(raw, name="a.policy", origin=Origin.REMOTE)

    assert caught.value.public.startswith(("The policy", "The file", "A key", "rules of the policy"))


def test_tags_of_yaml_make_no_objects() -> None:
    found = read(
        "version: 1\nrules:\n - !!python/object/apply:os.system {id: a, expression: !!binary aGk=}\n"
    )

    assert [each.expression for each in found.rules] == ["aGk="]


@pytest.mark.parametrize(
    "raw",
    [
        b"x" * 20_000_000,
        b"version: 1\nrules:\n" + b" - {id: a, expression: x}\n" * (MAX_RULES + 1),
        b"a: [" + b"1, " * 1_100_000 + b"1]",
    ],
    ids=["20 MB", "rules", "values"],
)
def test_a_policy_that_is_too_large_is_refused_soon(raw: bytes) -> None:
    started = time.process_time()
    with pytest.raises(OversizeError):
        read_policy(raw, name="a.policy", origin=Origin.REMOTE)

    assert time.process_time() - started < 20
    assert MAX_POLICY_BYTES < 20_000_000


def test_aliases_stand_for_their_values_and_cannot_multiply() -> None:
    found = read("version: 1\nx: &f ['os == \"linux\"']\nrules:\n - {id: a, expression: y, filters: *f}\n")
    laughs = "version: 1\na: &a [1]\nrules: [" + "*a, " * (MAX_ALIASES + 1) + "*a]"
    nested = "a0: &a0 [x]\n" + "".join(
        f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]\n" for at in range(1, 15)
    )

    assert found.rules[0].filters == ('os == "linux"',)
    with pytest.raises(MalformedError, match="too many aliases"):
        read(laughs)
    started = time.process_time()
    used = "version: 1\nrules:\n - {id: a, expression: x, tags: {t: *a14}, actions: [{log: {x: *a14}}]}\n"
    read(nested + used)
    read_document((nested + "version: 1").encode())
    assert time.process_time() - started < 2


@settings(max_examples=300)
@given(st.binary(max_size=200))
@example(b"version: 1\nrules: [{id: a, expression: 'x', actions: [{set: {name: n, value: 1}}]}]")
def test_any_bytes_are_a_policy_or_are_refused(raw: bytes) -> None:
    with contextlib.suppress(MalformedError, OversizeError):
        put_together(read_policy(raw, name="a.policy", origin=Origin.REMOTE))


WORDS = (
    "version: 1\n",
    "rules:\n",
    " - id: a\n",
    "   expression: open.retval == 0\n",
    "   actions:\n",
    "    - set:\n",
    "        name: n\n",
    "        value: 1\n",
    "   disabled: true\n",
    "   combine: override\n",
    "macros:\n",
    " - id: M\n",
    "   values: [a]\n",
    "   filters: [os]\n",
    "&a ",
    "*a",
    "   tags: {}\n",
    "   every: 1s\n",
    "   agent_version: '>1'\n",
)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(WORDS), max_size=16).map("".join))
def test_any_row_of_lines_is_a_policy_or_is_refused(text: str) -> None:
    with contextlib.suppress(MalformedError, OversizeError):
        put_together(read(text))


# Putting together -------------------------------------------------------------------------------------------


def test_one_bad_rule_never_disables_the_good_ones() -> None:
    bad = [
        {"id": "b0", "expression": "open.file.pth == 1"},
        {"id": "b1", "expression": "process.comm == 1"},
        {"id": "b2", "expression": "open.flags > 0 && UNKNOWN"},
        {"id": "b3", "expression": "open.flags == ${process.unknown}"},
        rule("b4", actions=[{"filter": "exec.comm == 1", "log": {}}]),
        rule("b5", actions=[{"set": {"name": "n", "field": "exec.comm"}}]),
        rule("b6", actions=[{"kill": {"signal": "SIGNONE"}}]),
        rule("b7", actions=[{"hash": {"field": "open.flags"}}]),
        rule("b8", limiter_token=["exec.comm"]),
        rule("b9", filters=["os =="]),
        rule("b10", agent_version="new"),
    ]

    loaded = put_together(policy(rule("g0"), *bad, rule("g1")))

    assert matching(loaded) == ["g0", "g1"]
    (report,) = loaded.reports
    assert report.status == "partially_loaded"
    assert [each.status for each in report.rules] == ["loaded"] + ["error"] * len(bad) + ["loaded"]
    assert {problem.rule_id for problem in loaded.problems} == {each["id"] for each in bad}
    places = {problem.rule_id: (problem.path, problem.column) for problem in loaded.problems}
    assert places["b0"] == ("$.rules[1].expression", 1)
    assert places["b2"] == ("$.rules[3].expression", 19)
    assert places["b4"] == ("$.rules[5].actions[0].filter", 14)
    assert places["b5"][0] == "$.rules[6].actions[0].set.field"
    assert places["b7"][0] == "$.rules[8].actions[0].hash.field"
    assert places["b9"][0] == "$.rules[10].filters"
    for problem in loaded.problems:
        assert str(problem).startswith(f"Policy a.policy, rule {problem.rule_id}, $.rules[")


def test_a_broken_macro_harms_only_those_who_use_it() -> None:
    macros = [{"id": "BAD", "expression": "exec.comm =="}, {"id": "GOOD", "expression": '["/a"]'}]
    loaded = put_together(
        policy(
            {"id": "a", "expression": "open.file.path in GOOD"},
            {"id": "b", "expression": "open.flags > 0 && BAD"},
            macros=macros,
        )
    )

    assert matching(loaded) == ["a"]
    assert {(problem.rule_id, problem.path) for problem in loaded.problems} == {
        ("b", "$.rules[1].expression"),
        ("BAD", "$.macros[0].expression"),
    }


def test_the_first_definition_counts_unless_the_later_one_overrides() -> None:
    first = policy(rule("r", "/a", tags={"a": "b"}, actions=[{"log": {}}]), name="default.policy")

    again = put_together(first, policy(rule("r", "/b"), name="z.policy"))
    override = put_together(first, policy(rule("r", "/b", combine="override"), name="z.policy"))

    assert matching(again, "/a") == ["r"]
    assert statuses(again) == {"default.policy": ["loaded"], "z.policy": ["error"]}
    assert "already" in again.problems[0].message
    assert (matching(override, "/a"), matching(override, "/b")) == ([], ["r"])
    assert override.rule_set.rules[0].definition.modified_by == ("z.policy",)
    assert dict(override.rule_set.rules[0].definition.tags) == {"a": "b"}
    assert len(override.rule_set.rules[0].actions) == 1


def test_an_override_changes_the_fields_it_lists() -> None:
    first = policy(rule("r", "/a", tags={"a": "b"}, every="1s", actions=[{"log": {}}]), name="default.policy")

    def changed(*fields: str) -> Any:
        later = rule(
            "r", "/b", combine="override", override_options={"fields": list(fields)}, tags={"c": "d"}
        )
        return put_together(first, policy(later, name="z.policy")).rule_set.rules[0].definition

    assert dict(changed("tags").tags) == {"c": "d"}
    assert '"/a"' in changed("tags").expression
    assert changed("actions").actions == ()
    assert changed("every").every_ns == 0
    everything = changed("all")
    assert '"/b"' in everything.expression
    assert (dict(everything.tags), everything.actions, everything.policy) == (
        {"c": "d"},
        (),
        "default.policy",
    )


def test_a_rule_can_be_switched_off_and_on_by_later_policies() -> None:
    first = policy(rule("a"), rule("b", disabled=True), name="default.policy")
    later = policy({"id": "a", "disabled": True}, {"id": "b", "disabled": False}, name="z.policy")

    loaded = put_together(first, later)

    assert matching(loaded) == ["b"]
    assert loaded.problems == ()
    assert statuses(loaded)["default.policy"] == ["disabled", "loaded"]


def test_an_override_of_nothing_is_a_mistake() -> None:
    loaded = put_together(policy(rule("r", combine="override"), {"id": "s", "disabled": True}))

    assert [problem.rule_id for problem in loaded.problems] == ["r", "s"]
    assert loaded.reports[0].status == "fully_rejected"


def test_macros_are_merged_or_overridden() -> None:
    first = policy({"id": "r", "expression": "open.file.path in M"}, macros=[{"id": "M", "values": ["/a"]}])

    def later(**more: Any) -> Loaded:
        return put_together(first, policy(name="z.policy", macros=[{"id": "M", "values": ["/b"], **more}]))

    merged, overridden, neither = later(combine="merge"), later(combine="override"), later()
    assert (matching(merged, "/a"), matching(merged, "/b")) == (["r"], ["r"])
    assert (matching(overridden, "/a"), matching(overridden, "/b")) == ([], ["r"])
    assert (matching(neither, "/a"), matching(neither, "/b")) == (["r"], [])
    assert [problem.rule_id for problem in neither.problems] == ["M"]


def test_rules_for_other_hosts_and_versions_are_filtered() -> None:
    found = policy(
        rule("here", filters=['os == "windows"', 'os == "linux"']),
        rule("there", filters=['os == "windows"', "kernel.version.major < 5"]),
        rule("now", agent_version=">= 7.71"),
        rule("before", agent_version="< 7.71"),
        rule("two", agent_version="< 7.71"),
        rule("two", agent_version=">= 7.71"),
    )

    loaded = put_together(found)

    assert matching(loaded) == ["here", "now", "two"]
    assert loaded.problems == ()
    assert [(each.status, each.filter_type) for each in loaded.reports[0].rules] == [
        ("loaded", ""),
        ("filtered", "rule_filter"),
        ("loaded", ""),
        ("filtered", "agent_version"),
        ("filtered", "agent_version"),
        ("loaded", ""),
    ]
    assert loaded.reports[0].status == "partially_filtered"


def test_a_rule_whose_field_the_source_cannot_give_is_filtered_with_the_reason() -> None:
    def unavailable(event_type: str, field: str) -> str:
        return f"{field} is not seen by polling." if field == "open.flags" else ""

    loaded = put_together(
        policy(
            rule("a"),
            {"id": "b", "expression": "open.flags > 0"},
            {"id": "c", "expression": 'fim.write.file.path == "/a"'},
            {"id": "d", "expression": 'open.file.path == "/a" && (open.flags == 0 || open.file.uid == 0)'},
            {"id": "e", "expression": 'open.file.path == "/a" && !(open.flags == 1 || open.file.uid == 0)'},
        ),
        unavailable=unavailable,
    )

    found = {each.definition.id: (each.status, each.message) for each in loaded.reports[0].rules}
    assert found["a"] == ("loaded", "")
    assert found["b"] == ("filtered", "open.flags is not seen by polling.")
    assert found["c"] == ("loaded", "Only in part: open.flags is not seen by polling.")
    assert found["d"] == found["c"]
    assert found["e"][0] == "filtered", "what is not known is not taken for anything, negated or not"
    by_id = {rule.id: rule for rule in loaded.rule_set.rules}
    assert "open" not in by_id["c"].event_types
    assert "unlink" in by_id["c"].event_types
    assert dict(by_id["d"].missing) == {"open.flags": "open.flags is not seen by polling."}


def test_policies_are_arranged_by_where_they_came_from() -> None:
    several = [
        policy(name="b.policy", origin=Origin.DIRECTORY),
        policy(name="a.policy", origin=Origin.DIRECTORY),
        policy(name="c.policy", origin=Origin.REMOTE),
        policy(name="default.policy", origin=Origin.DIRECTORY),
        policy(name="own.policy", origin=Origin.BUNDLED),
    ]
    remote = policy(name="default.policy", origin=Origin.REMOTE)

    assert [(each.name, each.origin.value) for each in arrange(several)] == [
        ("own.policy", "bundled"),
        ("default.policy", "file"),
        ("c.policy", "remote-config"),
        ("a.policy", "file"),
        ("b.policy", "file"),
    ]
    assert [(each.name, each.origin.value) for each in arrange([*several, remote])][:2] == [
        ("own.policy", "bundled"),
        ("default.policy", "remote-config"),
    ]


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        (">= 7.71", True),
        (">=7.71", True),
        ("> 7.79", True),
        ("> 7.80", False),
        ("< 7.80", False),
        ("<= 7.80", True),
        ("< 7.81", True),
        (">=7.65 <7.70", False),
        (">=7.65 <7.90", True),
        (">= 7.65, < 7.90", True),
        ("7.80", True),
        ("= 7.80.1", True),
        ("== 7.80.2", False),
        ("!= 7.80.1", False),
        ("!= 7.80.2", True),
        ("~7.80", True),
        ("~7.79", False),
        ("^7.1", True),
        ("^8", False),
        ("< 7 || > 7.50", True),
        ("< 7 || > 8", False),
        ("7.x", True),
        ("v7.80.1", True),
        (">= 7.80.1-rc.1", True),
    ],
)
def test_constraints_on_versions(constraint: str, holds: bool) -> None:
    assert satisfies("7.80.1", constraint) is holds


@pytest.mark.parametrize("constraint", ["", "new", ">", ">= a", "7.80 ||", "x" * 1000, ">= 7.71; rm"])
def test_what_is_no_constraint_is_refused(constraint: str) -> None:
    with pytest.raises(ConstraintError):
        satisfies("7.80.1", constraint)


# Variables --------------------------------------------------------------------------------------------------


def test_every_rule_must_set_the_same_kind_of_value() -> None:
    loaded = put_together(
        policy(
            rule("a", actions=[{"set": {"name": "n", "value": 1}}]),
            rule("b", actions=[{"set": {"name": "n", "value": "x"}}]),
            rule("c", actions=[{"set": {"name": "n", "field": "open.file.path"}}]),
            rule("d", actions=[{"set": {"name": "n", "expression": "${n} + 1"}}]),
        )
    )

    assert [problem.rule_id for problem in loaded.problems] == ["b", "c"]
    assert all("a number elsewhere" in problem.message for problem in loaded.problems)


def test_variables_outlive_a_change_of_rules() -> None:
    store = VariableStore()
    mark = policy(
        rule("mark", actions=[{"set": {"name": "n", "value": 1, "scope": "process"}}]),
        {"id": "read", "expression": 'open.file.path == "/b" && ${process.n} == 1'},
    )
    process = Process({"pid": 1})

    def matched(found: Policy, path: str) -> list[str]:
        loaded = load([found], host=HOST, agent_version="7.80.0", store=store, new_id=str)
        event = Event("open", values={"open.file.path": path}, process=process)
        return [match.rule.id for match in loaded.rule_set.evaluate(event, now_ns=0)]

    assert matched(mark, "/a") == ["mark"]
    assert matched(mark, "/b") == ["read"]
    listed = policy(
        rule("mark", actions=[{"set": {"name": "n", "value": "x", "append": True, "scope": "process"}}]),
        {"id": "read", "expression": 'open.file.path == "/b" && "x" in ${process.n}'},
    )
    assert matched(listed, "/b") == [], "a variable of another type is another variable"
    assert matched(listed, "/a") == ["mark"]
    assert matched(listed, "/b") == ["read"]


def test_an_id_that_never_was_before_can_be_set() -> None:
    made = iter(["one", "two"])
    found = policy(
        rule(
            "mark",
            actions=[{"set": {"name": "n", "expression": '"id_${builtins.uuid4}"', "scope": "process"}}],
        ),
        {"id": "read", "expression": 'open.file.path == "/b" && ${process.n} == "id_one"'},
    )
    loaded = load(
        [found], host=HOST, agent_version="7.80.0", store=VariableStore(), new_id=lambda: next(made)
    )
    process = Process()

    for path, expected in (("/a", ["mark"]), ("/b", ["read"]), ("/a", ["mark"]), ("/b", [])):
        event = Event("open", values={"open.file.path": path}, process=process)
        assert [match.rule.id for match in loaded.rule_set.evaluate(event, now_ns=0)] == expected


def test_what_is_kept_of_variables_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.secl.variables.MAX_SCOPES", 3)
    store = VariableStore()
    found = policy(
        rule(
            "mark",
            actions=[{"set": {"name": "n", "field": "process.comm", "scope": "cgroup", "append": True}}],
        ),
        {"id": "read", "expression": 'open.file.path == "/b" && process.comm in ${cgroup.n}'},
    )
    loaded = load([found], host=HOST, agent_version="7.80.0", store=store, new_id=str)

    def step(path: str, cgroup: str, comm: str) -> list[str]:
        event = Event(
            "open", values={"open.file.path": path}, process=Process({"cgroup.id": cgroup, "comm": comm})
        )
        return [match.rule.id for match in loaded.rule_set.evaluate(event, now_ns=0)]

    for at in range(4):
        step("/a", f"/{at}", "x")
    assert step("/b", "/0", "x") == [], "the one not set for longest is forgotten"
    assert step("/b", "/3", "x") == ["read"]
    store.forget(Scope.CGROUP, "/3")
    assert step("/b", "/3", "x") == []
    step("/a", "/3", "y" * 10_000)
    assert step("/b", "/3", "y" * 10_000) == [], "a text that is too long is not kept"
    for at in range(500):
        step("/a", "/2", f"c{at}")
    assert step("/b", "/2", "c399") == []
    assert step("/b", "/2", "c400") == ["read"]


def test_reports_show_variables_that_are_set_and_not_private() -> None:
    store = VariableStore()
    found = policy(
        rule(
            "mark",
            actions=[
                {"set": {"name": "shown", "value": "x", "scope": "process"}},
                {"set": {"name": "hidden", "value": "y", "scope": "process", "private": True}},
            ],
        ),
        rule("other", "/b", actions=[{"set": {"name": "unset", "value": 3}}]),
    )
    loaded = load([found], host=HOST, agent_version="7.80.0", store=store, new_id=str)
    (match,) = loaded.rule_set.evaluate(Event("open", values={"open.file.path": "/a"}), now_ns=0)

    assert dict(store.shown(list(loaded.language.variables.values()), match.event)) == {"process.shown": "x"}
