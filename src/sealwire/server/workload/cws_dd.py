"""CWS_DD: the default rules that agents watch their hosts with, in place of the host's own.

The file is the policy itself, as JSON, which every reader of YAML takes. Agents know its name from its id:
what follows the first point, ``default.policy``. A rule that cannot be used does not hold the others back,
here as on a host: it is said as a warning, and only a file without a single usable rule is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sealwire.errors import Problem
from sealwire.products.product import ConfigId, Others, Payload, Product, Published
from sealwire.products.schema import Record, Report, quote
from sealwire.server.workload import policy_checks

NAME: Final = "CWS_DD"
FILE: Final = "default.policy"


def _has_a_usable_rule(value: Mapping[str, object], _path: str, report: Report) -> None:
    found = policy_checks.examined(value, report, beside=())
    if found is None or found.usable:
        return
    for problem in found.broken:
        report.add(problem.path, problem.message)
    if not found.broken:
        report.add("$.rules", "The policy has no rule.")


def _worth_knowing(payload: Payload, others: Others) -> Iterator[Problem]:
    found = policy_checks.examine(payload, name=FILE)
    for problem in found.broken:
        yield Problem(problem.path, f"{problem.message} This rule is left out; the others are used.")
    yield from found.cautions
    for config_id in others:
        message = (
            f"Config {quote(config_id)} is a default policy too; hosts that match both use what comes first."
        )
        yield Problem("$", message)


def file_id(config_id: str) -> str:
    """The id of its file, by which agents know the name of the policy."""
    return f"{config_id}.{FILE}"


def _published(config_id: ConfigId, payload: Payload) -> Published:
    kept = {key: value for key, value in payload.items() if key != "description"}
    return Published(file_id(config_id), kept if len(kept) != len(payload) else payload)


PRODUCT = Product(
    name=NAME,
    title="Default workload rules",
    reads=policy_checks.READS,
    writes=policy_checks.WRITES,
    summary="The rules agents watch their hosts with: processes, files, connections and the kernel.",
    shape=Record(
        required={key: policy_checks.MEMBERS[key] for key in ("version", "rules")},
        optional={
            key: shape for key, shape in policy_checks.MEMBERS.items() if key not in ("version", "rules")
        },
        also=_has_a_usable_rule,
    ),
    example={
        "version": "1.0.0",
        "macros": [{"id": "LOGIN_SHELLS", "expression": '["bash", "dash", "zsh"]'}],
        "rules": [
            {
                "id": "shell_below_nginx",
                "description": "A shell was started below nginx",
                "expression": 'exec.file.name in LOGIN_SHELLS && process.ancestors.file.name == "nginx"',
                "tags": {"tactic": "initial-access"},
            }
        ],
    },
    warner=_worth_knowing,
    demander=policy_checks.acting,
    aimer=policy_checks.for_hosts,
    beginning={"version": "1.0.0", "rules": [{}]},
    labels=policy_checks.LABELS,
    rare=policy_checks.RARE,
    publisher=_published,
)
