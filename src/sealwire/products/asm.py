"""ASM: what is done about what the rules find: actions, overrides, exclusions, rules of one's own.

Clients take many files, but element ids must be unique over all of them: the later duplicate is dropped,
and Python does not even say so. So the control plane refuses it. An ``on_match`` that names no action
only reports; that is a warning, as the action may come with a later config.
"""

from __future__ import annotations

from collections.abc import Iterator

from sealwire.errors import Problem
from sealwire.products.product import Others, Payload, Product, repeated_ids
from sealwire.products.schema import Boolean, ListOf, Record, Text
from sealwire.products.waf_rules import (
    ACTION,
    BUILT_IN_ACTIONS,
    CONDITIONS,
    INPUTS,
    ON_MATCH,
    PROCESSOR,
    RULE,
    RULES_TARGET,
    RULESET_VERSION,
    SCANNER,
    SCANNER_TARGETS,
    TAGS,
    action_ids,
    actions_that_are_missing,
)

_WITH_IDS = ("exclusions", "custom_rules", "actions", "processors", "scanners")
_ARRAYS = (
    "rules_override",
    "exclusions",
    "custom_rules",
    "actions",
    "processors",
    "processor_overrides",
    "scanners",
)

_OVERRIDE = Record(
    optional={
        "rules_target": RULES_TARGET,
        "id": Text(max_length=256, says="Short form: the id of one rule."),
        "on_match": ON_MATCH,
        "enabled": Boolean(says="Whether the rules run at all."),
        "tags": TAGS,
    },
    exactly_one=("rules_target", "id"),
    at_least_one=("on_match", "enabled", "tags"),
)
_EXCLUSION = Record(
    required={"id": Text(max_length=256)},
    optional={
        "rules_target": RULES_TARGET,
        "conditions": CONDITIONS,
        "inputs": INPUTS,
        "on_match": Text(max_length=256, says="bypass, monitor, or the id of an action."),
    },
    at_least_one=("rules_target", "conditions", "inputs"),
)
_PROCESSOR_OVERRIDE = Record(
    required={
        "target": ListOf(item=Record(required={"id": Text(max_length=256)}), min_items=1, max_items=1_000),
        "scanners": Record(
            optional={"include": SCANNER_TARGETS, "exclude": SCANNER_TARGETS},
            at_least_one=("include", "exclude"),
        ),
    }
)
_SHAPE = Record(
    optional={
        "version": RULESET_VERSION,
        "rules_override": ListOf(item=_OVERRIDE, says="Other actions for rules, or rules off."),
        "exclusions": ListOf(item=_EXCLUSION, unique="id", says="What is let through, or treated otherwise."),
        "custom_rules": ListOf(item=RULE, unique="id", says="Rules of one's own."),
        "actions": ListOf(item=ACTION, unique="id", says="What happens on a match."),
        "processors": ListOf(item=PROCESSOR, unique="id", says="What is derived from a request."),
        "processor_overrides": ListOf(item=_PROCESSOR_OVERRIDE, says="Other scanners for processors."),
        "scanners": ListOf(item=SCANNER, unique="id", says="How sensitive data is recognised."),
    },
    at_least_one=_ARRAYS,
)


def _repeated(payload: Payload, others: Others) -> Iterator[Problem]:
    for array in _WITH_IDS:
        yield from repeated_ids(payload, others, array)


def _missing_actions(payload: Payload, others: Others) -> Iterator[Problem]:
    known = BUILT_IN_ACTIONS | {"bypass"} | action_ids(payload)
    for other in others.values():
        known |= action_ids(other)
    yield from actions_that_are_missing(payload, "rules_override", "exclusions", "custom_rules", known=known)


PRODUCT = Product(
    name="ASM",
    title="Protection rules",
    reads="appsec_event_rule_read",
    writes="appsec_event_rule_write",
    summary="Actions, overrides, exclusions and rules of one's own for App and API Protection.",
    shape=_SHAPE,
    example={
        "actions": [
            {"id": "teapot", "type": "block_request", "parameters": {"status_code": 418, "type": "json"}},
        ],
        "rules_override": [{"rules_target": [{"tags": {"tool_name": "Arachni"}}], "on_match": ["teapot"]}],
    },
    comparer=_repeated,
    warner=_missing_actions,
    labels={"$.rules_override": "Overrides", "$.rules_override[].rules_target": "Rules"},
    capability={
        "$.exclusions": 4,
        "$.rules_override": 5,
        "$.custom_rules": 8,
        "$.actions": 9,
        "$.processor_overrides": 16,
        "$.scanners": 17,
    },
)
