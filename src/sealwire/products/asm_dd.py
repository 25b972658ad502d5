"""ASM_DD: a full ruleset in place of the one bundled with the tracer.

As soon as one is active the bundled rules are unloaded, the denylist rules among them; several stand side
by side, and rule ids must be unique over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sealwire.errors import Problem
from sealwire.products.product import Others, Payload, Product, elements, repeated_ids
from sealwire.products.schema import ListOf, Record, Text
from sealwire.products.waf_rules import (
    ACTION,
    BUILT_IN_ACTIONS,
    PROCESSOR,
    RULE,
    RULESET_VERSION,
    SCANNER,
    action_ids,
    actions_that_are_missing,
)

_DENYLIST_RULES = {"blk-001-001": "addresses (blocked_ips)", "blk-001-002": "users (blocked_users)"}

_SHAPE = Record(
    required={
        "version": RULESET_VERSION,
        "rules": ListOf(item=RULE, min_items=1, unique="id", says="The rules."),
    },
    optional={
        "metadata": Record(optional={"rules_version": Text(max_length=64, says="Shown on traces.")}),
        "rules_compat": ListOf(item=RULE, unique="id", says="Rules that tag traces."),
        "processors": ListOf(item=PROCESSOR, unique="id", says="What is derived from a request."),
        "scanners": ListOf(item=SCANNER, unique="id", says="How sensitive data is recognised."),
        "actions": ListOf(item=ACTION, unique="id", says="What happens on a match."),
    },
)


def _repeated(payload: Payload, others: Others) -> Iterator[Problem]:
    yield from repeated_ids(payload, others, "rules", "rules_compat")
    for array in ("processors", "scanners", "actions"):
        yield from repeated_ids(payload, others, array)


def _worth_knowing(payload: Payload, others: Others) -> Iterator[Problem]:
    rule_ids = {
        element.get("id")
        for source in (payload, *others.values())
        for _, element in elements(source, "rules")
    }
    for rule_id, what in _DENYLIST_RULES.items():
        if rule_id not in rule_ids:
            message = f"There is no rule {rule_id}: the denylist of {what} stops working with this ruleset."
            yield Problem(path="$.rules", message=message)
    known = BUILT_IN_ACTIONS | action_ids(payload)
    for other in others.values():
        known |= action_ids(other)
    yield from actions_that_are_missing(payload, "rules", "rules_compat", known=known)


PRODUCT = Product(
    name="ASM_DD",
    title="Rulesets",
    reads="appsec_event_rule_read",
    writes="appsec_event_rule_write",
    summary="Replaces the ruleset bundled with the tracers; when the last one goes, theirs returns.",
    shape=_SHAPE,
    example={
        "version": "2.2",
        "metadata": {"rules_version": "1.0.0"},
        "rules": [
            {
                "id": "blk-001-001",
                "name": "Block IP addresses",
                "tags": {"type": "block_ip", "category": "security_response"},
                "conditions": [
                    {
                        "operator": "ip_match",
                        "parameters": {"inputs": [{"address": "http.client_ip"}], "data": "blocked_ips"},
                    }
                ],
                "transformers": [],
                "on_match": ["block"],
            },
            {
                "id": "blk-001-002",
                "name": "Block users",
                "tags": {"type": "block_user", "category": "security_response"},
                "conditions": [
                    {
                        "operator": "exact_match",
                        "parameters": {"inputs": [{"address": "usr.id"}], "data": "blocked_users"},
                    }
                ],
                "transformers": [],
                "on_match": ["block"],
            },
        ],
    },
    comparer=_repeated,
    warner=_worth_knowing,
    beginning={"version": "2.2", "rules": [{"tags": {"type": ""}, "conditions": [{}]}]},
    labels={"$.rules_compat": "Rules that tag traces", "$.rules_compat[]": "Rule that tags traces"},
    capability={"$.rules": 3, "$.rules_compat": 43},
)
