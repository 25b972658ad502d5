"""The public default policy, where ``SEALWIRE_DEFAULT_POLICY`` names it: all of it can be used.

It is not ours and not kept here. The file may be plain or compressed with gzip.
"""

from __future__ import annotations

import gzip
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.secl.check import Language, check_condition, check_rule
from sealwire.secl.definitions import Origin, Policy
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
