"""The public default policy, where ``SEALWIRE_DEFAULT_POLICY`` names it: all of it can be used.

It is not ours and not kept here. The file may be plain or compressed with gzip.
"""

from __future__ import annotations

import gzip
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealwire.secl.check import Language, check_condition, check_rule
from sealwire.secl.definitions import Origin, Policy
from sealwire.secl.event import Event, Process
from sealwire.secl.lint import lint
from sealwire.secl.merge import load
from sealwire.secl.parser import parse
from sealwire.secl.policy import read_policy
from sealwire.secl.variables import VariableStore

PATH = Path(os.environ.get("SEALWIRE_DEFAULT_POLICY") or "/nonexistent")
HOST = {"os": "linux", "kernel.version.major": 6, "kernel.version.minor": 18}

pytestmark = pytest.mark.skipif(not PATH.is_file(), reason="SEALWIRE_DEFAULT_POLICY names no file")


@pytest.fixture(scope="module")
def public() -> Policy:
    raw = PATH.read_bytes()
    return read_policy(
        gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw, name="default.policy", origin=Origin.REMOTE
    )


def test_the_file_is_read_without_a_problem(public: Policy) -> None:
    assert public.problems == ()
    assert len(public.rules) >= 300
    assert len(public.macros) >= 50


def test_every_expression_is_parsed(public: Policy) -> None:
    count = 0
    for macro in public.macros:
        parse(macro.expression)
        count += 1
    for rule in public.rules:
        texts = [rule.expression, *rule.filters]
        for action in rule.actions:
            texts += [action.filter] if action.filter else []
            texts += [action.set.expression] if action.set and action.set.expression else []
        for text in texts:
            parse(text)
        count += len(texts)

    assert count >= 760


def test_every_rule_is_checked_and_compiled_whatever_it_is_for(public: Policy) -> None:
    everywhere = replace(
        public, rules=tuple(replace(rule, filters=(), agent_version="") for rule in public.rules)
    )

    loaded = load([everywhere], host=HOST, agent_version="7.80.0", store=VariableStore(), new_id=str)

    assert loaded.problems == ()
    assert Counter(each.status for each in loaded.reports[0].rules) == {"loaded": len(public.rules)}
    for rule in public.rules:
        lint(rule.expression, check_rule(rule.expression, loaded.language), loaded.language)


def test_every_filter_is_over_facts_of_the_host(public: Policy) -> None:
    for rule in public.rules:
        for text in rule.filters:
            check_condition(text, Language(of_host=True))


def test_the_rules_for_linux_load_and_most_are_found_by_an_index(public: Policy) -> None:
    loaded = load([public], host=HOST, agent_version="7.80.0", store=VariableStore(), new_id=str)

    assert loaded.problems == ()
    rules = loaded.rule_set.rules
    assert len(rules) >= 250
    indexed = [rule for rule in rules if all(variant.cover is not None for variant in rule.variants)]
    assert len(indexed) / len(rules) > 0.9


SYSTEMD = Process(
    {"pid": 1, "comm": "systemd", "file.path": "/usr/lib/systemd/systemd", "cgroup.id": "/init"}
)
SSHD = Process({"pid": 2, "comm": "sshd", "file.path": "/usr/sbin/sshd", "cgroup.id": "/ssh"}, SYSTEMD)


def started(path: str, *argv: str, parent: Process = SSHD, **more: Any) -> Event:
    name = path.rpartition("/")[2]
    values = {"pid": 50, "comm": name[:15], "file.path": path, "argv": argv, "cgroup.id": "/ssh", **more}
    origin = {"event.origin": "audit", "event.source": "runtime"}
    return Event("exec", timestamp_ns=10**18, values=origin, process=Process(values, parent))


def did(kind: str, values: dict[str, Any], program: str = "/usr/bin/vi") -> Event:
    process = started(program).process
    named = {f"{kind}.{key}": value for key, value in values.items()}
    return Event(kind, timestamp_ns=10**18, values={"event.origin": "audit", **named}, process=process)


ACTS: dict[str, tuple[str, Event]] = {
    "a log configuration is written": (
        "auditd_config_modified",
        did("open", {"file.path": "/etc/audit/auditd.conf", "flags": 1}),
    ),
    "a program asks who it is": ("exec_whoami_v2", started("/usr/bin/whoami")),
    "something is decoded": ("base64_decode_v2", started("/usr/bin/base64", "-d", "x")),
    "a name of a chat is asked for": ("chatroom_request_v2", did("dns", {"question.name": "DISCORD.com"})),
    "an account is put into a group": (
        "usermod_privileged_group",
        started("/usr/sbin/usermod", "-aG", "sudo", "bob"),
    ),
    "a crontab is written": (
        "cron_at_job_creation_open",
        did("open", {"file.path": "/etc/cron.d/x", "flags": 0o101}),
    ),
    "a library is put before all others": (
        "dynamic_linker_config_write",
        did("open", {"file.path": "/etc/ld.so.preload", "flags": 1}),
    ),
    "rights to be root are changed": (
        "sudoers_policy_modified_open",
        did("open", {"file.path": "/etc/sudoers.d/x", "flags": 1}),
    ),
    "a clone runs a shell": (
        "git_cve_2025_48384",
        started(
            "/usr/bin/bash",
            parent=Process(
                {"comm": "git", "file.path": "/usr/bin/git", "argv": ("clone", "--recursive")}, SSHD
            ),
        ),
    ),
    "a program is traced by itself": ("ptrace_antidebug", did("ptrace", {"request": 0})),
    "a process takes a name of the system": (
        "prctl_masquerading",
        did("prctl", {"option": 15, "new_name": "[kworker/0:1]"}),
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_rules_find_what_they_are_for(public: Policy, act: str) -> None:
    rule_id, event = ACTS[act]
    loaded = load([public], host=HOST, agent_version="7.80.0", store=VariableStore(), new_id=str)
    if rule_id not in {rule.id for rule in public.rules}:
        pytest.skip("the policy is of another version")

    found = loaded.rule_set.evaluate(event, now_ns=0)

    assert rule_id in {match.rule.id for match in found}
    (match,) = (match for match in found if match.rule.id == rule_id)
    assert loaded.rule_set.explain(match) or "[A]" in match.rule.definition.expression


def test_what_hosts_do_all_day_is_not_reported(public: Policy) -> None:
    loaded = load([public], host=HOST, agent_version="7.80.0", store=VariableStore(), new_id=str)
    ordinary = [
        *(
            started(f"/usr/bin/{name}", "-l", parent=SYSTEMD)
            for name in ("ls", "cat", "grep", "make", "sleep")
        ),
        *(did("open", {"file.path": f"/usr/lib/x/{at}.so", "flags": 0}) for at in range(100)),
        *(did("open", {"file.path": f"/var/lib/app/{at}", "flags": 0o101}) for at in range(100)),
        *(did("unlink", {"file.path": f"/tmp/build/{at}.o"}) for at in range(100)),
        *(did("dns", {"question.name": f"host{at}.internal", "question.type": 1}) for at in range(100)),
        *(did("connect", {"addr.ip": "10.0.0.1", "addr.port": 5432, "addr.family": 2}) for _ in range(100)),
    ]

    found = [match for event in ordinary for match in loaded.rule_set.evaluate(event, now_ns=0)]

    assert [match.rule.id for match in found if match.reported] == []


def test_the_context_a_session_began_with_is_inherited(public: Policy) -> None:
    made = iter(f"id{at}" for at in range(100))
    loaded = load(
        [public], host=HOST, agent_version="7.80.0", store=VariableStore(), new_id=lambda: next(made)
    )
    if "process.correlation_key" not in loaded.language.variables:
        pytest.skip("the policy is of another version")
    shell = started("/usr/bin/bash", tty_name="pts/0", auid=1000)

    loaded.rule_set.evaluate(shell, now_ns=0)
    child = started("/usr/bin/ls", parent=shell.process, auid=1000)
    loaded.rule_set.evaluate(child, now_ns=0)

    shown = dict(loaded.rule_set.store.shown(list(loaded.language.variables.values()), child))
    assert str(shown["process.correlation_key"]).startswith("interactive_shell_id")
    assert shown["process.correlation_entity"] == "/usr/bin/bash"
