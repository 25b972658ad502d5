"""CWS_CUSTOM: workload rules of one's own, beside or in place of single default ones.

Each config is one policy. Agents put them behind the default policy, by name; the first definition of a
rule counts unless a later one says ``combine: override``. So an id may stand in one policy only, and every
rule must be right: what an author writes is refused with all its mistakes. Macros, variables and rules of the
default policy may be named here; whether they are there is asked where the policies of a host are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from sealwire.errors import Problem
from sealwire.products.product import ConfigId, Others, Payload, Product, Published
from sealwire.products.schema import Record, Report, Text, quote
from sealwire.server.workload import policy_checks

NAME: Final = "CWS_CUSTOM"
SUFFIX: Final = ".policy"

# No underscore: in the id of a file, what is behind the last one names its delegated role.
_POLICY_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z", re.ASCII)


def _name_is_wrong(text: str) -> str | None:
    if text == "default":
        return "The default policy has that name."
    if _POLICY_NAME.match(text) is None:
        return f"A name has small letters, digits and single dashes, such as web-servers, not {quote(text)}."
    return None


def _every_rule_is_right(value: Mapping[str, object], _path: str, report: Report) -> None:
    found = policy_checks.examined(value, report, beside=None)
    for problem in found.broken if found is not None else ():
        report.add(problem.path, problem.message)


def _repeated(payload: Payload, others: Others) -> Iterator[Problem]:
    for config_id, other in others.items():
        if payload.get("name") and payload.get("name") == other.get("name"):
            yield Problem(
                "$.name", f"Config {config_id} has this name; hosts that match both would mix them up."
            )
    taken: dict[str, ConfigId] = {}
    for config_id, other in others.items():
        for rule_id in policy_checks.rule_ids(other):
            taken.setdefault(rule_id, config_id)
    for rule_id, path in policy_checks.rule_ids(payload).items():
        owner = taken.get(rule_id)
        if owner is not None:
            message = (
                f"{quote(rule_id)} is already a rule of config {owner}; "
                "change it there, or say combine: override."
            )
            yield Problem(f"{path}.id", message)


def _worth_knowing(payload: Payload, _others: Others) -> Iterator[Problem]:
    yield from policy_checks.examine(payload, beside=None).cautions


def file_id(config_id: str, payload: Payload) -> str:
    """The id of its file, by which agents know the name of the policy."""
    return f"{config_id}.{payload.get('name') or config_id}{SUFFIX}"


def _published(config_id: ConfigId, payload: Payload) -> Published:
    kept = {key: value for key, value in payload.items() if key not in ("name", "description")}
    return Published(file_id(config_id, payload), kept if len(kept) != len(payload) else payload)


def _succeed(before: Payload | None, payload: Payload) -> Payload:
    """A version that is a number, or not given, counts changes; any other word is the author's own."""
    given = payload.get("version")
    if isinstance(given, str) and not given.isdecimal():
        return payload
    held = before.get("version") if before is not None else None
    if before is None or not isinstance(held, str) or not held.isdecimal():
        return {**payload, "version": given or "1"}
    same = {**before, "version": ""} == {**payload, "version": ""}
    return {**payload, "version": held if same else str(int(held) + 1)}


PRODUCT = Product(
    name=NAME,
    title="Custom workload rules",
    reads=policy_checks.READS,
    writes=policy_checks.WRITES,
    summary="Rules of one's own, by which agents watch the hosts they are for.",
    shape=Record(
        required={"rules": policy_checks.MEMBERS["rules"]},
        optional={
            "name": Text(max_length=40, also=_name_is_wrong, says="As agents and matches name the policy."),
            **{key: shape for key, shape in policy_checks.MEMBERS.items() if key != "rules"},
        },
        also=_every_rule_is_right,
    ),
    example={
        "name": "web-servers",
        "version": "1",
        "rules": [
            {
                "id": "wget_below_nginx",
                "description": "A download was made below nginx",
                "expression": 'exec.file.name in ["wget", "curl"] && process.ancestors.file.name == "nginx"',
                "tags": {"team": "web"},
            }
        ],
    },
    comparer=_repeated,
    warner=_worth_knowing,
    demander=policy_checks.acting,
    aimer=policy_checks.for_hosts,
    beginning={"rules": [{}]},
    labels=policy_checks.LABELS,
    rare=policy_checks.RARE,
    publisher=_published,
    successor=_succeed,
)
