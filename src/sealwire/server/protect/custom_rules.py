"""Rules of one's own, each a config: written, tried in the engine, in force for a target, off, gone.

The rule is the engine's own document, so whatever its form cannot say is said as JSON. Overrides do not reach
custom rules (seen in libddwaf 2.1): a rule's own ``on_match`` and ``enabled`` are its mode.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sealwire.errors import InvalidChangeError
from sealwire.products import PRODUCTS
from sealwire.server.protect import policy
from sealwire.server.protect.policy import ASM, CUSTOM_RULES, Plan, Policies
from sealwire.server.store import rows
from sealwire.server.targeting import Targeting
from sealwire.server.waf import engine as waf
from sealwire.server.waf import sample_request
from sealwire.server.waf.box import Answer
from sealwire.server.waf.sample_request import Told
from sealwire.wire.security import Parameter, Trigger

HEADERS = "server.request.headers.no_cookies"
_ASKED = "server.request."
MAX_NAME = 120
MAX_PATTERN = 200  # characters of what matched, in a rule that begins with it
#: What the engine can be asked to look at, and what is there; tracers give it as far as they know it.
ADDRESSES: Mapping[str, str] = {
    "server.request.method": "GET, POST and others",
    "server.request.uri.raw": "path and query, as sent",
    "server.request.query": "parameters of the query",
    "server.request.path_params": "parts of the path that the route names",
    "server.request.headers.no_cookies": "headers; their names in lower case as the key path",
    "server.request.cookies": "cookies by name",
    "server.request.body": "the body, read as form, JSON or text",
    "server.request.body.filenames": "names of uploaded files",
    "server.request.jwt": "the token of the Authorization header",
    "server.response.status": "status of the answer, as text",
    "server.response.headers.no_cookies": "headers of the answer",
    "server.response.body": "the answer, where it is JSON",
    "http.client_ip": "address of who asks",
    "usr.id": "the user, as the application tells",
    "usr.session_id": "the session, as the application tells",
    "graphql.server.all_resolvers": "arguments of all GraphQL resolvers",
    "grpc.server.request.message": "the gRPC message",
    "grpc.server.request.metadata": "the gRPC metadata",
    "server.business_logic.users.login.success": "there when somebody signed in",
    "server.business_logic.users.login.failure": "there when somebody failed to sign in",
    "server.business_logic.users.signup": "there when somebody signed up",
    "server.db.statement": "a statement to the database",
    "server.io.net.url": "an address the application asks",
    "server.io.fs.file": "a file the application opens",
    "server.sys.exec.cmd": "a program the application starts",
    "server.sys.shell.cmd": "a command the application gives to a shell",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A custom rule that is in force.

    Attributes:
        is_alone: Its config holds nothing else, so that its form can change it.
    """

    rule: Mapping[str, Any]
    row: rows.ConfigRow
    target: Targeting
    is_alone: bool

    @property
    def mode(self) -> str:
        """What it does: off, monitor or block."""
        return mode_of(self.rule)


def mode_of(rule: Mapping[str, Any]) -> str:
    """What a rule does when it matches."""
    if rule.get("enabled") is False:
        return "off"
    actions = set(rule.get("on_match") or ()) - {"monitor", "stack_trace", "extract_schema"}
    return "block" if actions else "monitor"


def in_words(rule: Mapping[str, Any]) -> str:
    """What a rule looks for."""
    said = []
    for condition in rule.get("conditions", ()):
        if not isinstance(condition, dict):
            continue
        parameters = condition.get("parameters", {})
        inputs = [
            ".".join(
                (str(one.get("address", "")).removeprefix("server."), *map(str, one.get("key_path", ())))
            )
            for one in parameters.get("inputs", ())
            if isinstance(one, dict)
        ]
        value = next((parameters[key] for key in ("regex", "list", "data", "value") if key in parameters), "")
        text = ", ".join(map(str, value[:3])) if isinstance(value, list) else str(value)
        operator = str(condition.get("operator", "")).replace("_", " ")
        said.append(" ".join(filter(None, (" or ".join(inputs[:3]), operator, text[:80]))))
    return "; and ".join(said)


async def listed(work: Policies) -> list[Listed]:
    """Every custom rule that is in force, the newest first."""
    found = []
    for row in await work.active():
        payload = policy.payload_of(row)
        rules = policy.array(payload, "custom_rules")
        is_alone = len(rules) == 1 and policy.with_array(payload, "custom_rules", ()) is None
        target = Targeting.parse(row.targeting)
        found += [Listed(rule, row, target, is_alone) for rule in rules]
    return sorted(found, key=lambda one: (-one.row.created_ms, str(one.rule.get("id"))))


async def one(work: Policies, config_id: str) -> Listed:
    """The rule of a config that holds nothing else.

    Raises:
        NotFoundError: There is no such config in force.
        InvalidChangeError: It holds more: its own form changes it.
    """
    row = await work.one(config_id)
    payload = policy.payload_of(row)
    rules = policy.array(payload, "custom_rules")
    if len(rules) != 1 or policy.with_array(payload, "custom_rules", ()) is not None:
        raise InvalidChangeError(f"Config {config_id} holds more than one rule: change it among the configs.")
    return Listed(rules[0], row, Targeting.parse(row.targeting), is_alone=True)


def blank(name: str = "", *, user_agent: str = "") -> dict[str, Any]:
    """A rule to begin with; on a user agent where one is named."""
    inputs: list[dict[str, Any]] = [{"address": "server.request.query"}]
    parameters: dict[str, Any] = {"inputs": inputs, "regex": ""}
    if user_agent:
        name = name or f"User agent {user_agent}"
        inputs = [{"address": HEADERS, "key_path": ["user-agent"]}]
        parameters = {
            "inputs": inputs, "regex": f"^{escaped(user_agent)}$", "options": {"case_sensitive": True},
        }  # fmt: skip
    return {
        "id": f"custom-{secrets.token_hex(4)}",
        "name": name[:MAX_NAME],
        "tags": {"type": "custom", "category": "attack_attempt"},
        "conditions": [{"operator": "match_regex", "parameters": parameters}],
        "transformers": [],
        "on_match": [],
    }


def of_triggers(triggers: Sequence[Trigger], *, user_agent: str = "") -> dict[str, Any]:
    """A rule to begin with, that looks for what one of these found where it found it.

    Args:
        user_agent: To look for where none of them found anything in what was asked.
    """
    for trigger in triggers:
        for match in trigger.matches:
            for parameter in match.parameters:
                hit = next((text for text in parameter.highlight if 0 < len(text) <= MAX_PATTERN), "")
                if trigger.category != "security_response" and hit and parameter.address.startswith(_ASKED):
                    return _looking_for(trigger.name or trigger.rule_id, parameter, hit)
    return blank(user_agent=user_agent)


def _looking_for(name: str, parameter: Parameter, hit: str) -> dict[str, Any]:
    key_path = list(parameter.key_path)
    while key_path and key_path[-1].isdecimal():
        key_path.pop()  # the how-manieth of several values: any of them
    looked_at = {"address": parameter.address, **({"key_path": key_path} if key_path else {})}
    rule = blank(f"As {name}")
    rule["conditions"] = [
        {"operator": "match_regex", "parameters": {"inputs": [looked_at], "regex": escaped(hit)}}
    ]
    return rule


def escaped(text: str) -> str:
    """A text as a pattern of the engine that matches it and nothing else."""
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)


def saving(rule: Mapping[str, Any], target: Targeting, row: rows.ConfigRow | None, *, reason: str) -> Plan:
    """The plan to have this rule for this target."""
    name = str(rule.get("name", ""))[:MAX_NAME] or str(rule.get("id", ""))[:MAX_NAME]
    what = {
        "off": "is kept, and off",
        "monitor": "tells of what it matches",
        "block": "blocks what it matches",
    }
    return Plan(
        product=ASM, name=f"{CUSTOM_RULES}: {name}"[:200], target=target, row=row,
        payload={"custom_rules": [dict(rule)]}, comment=reason,
        sentence=f"Rule {name} {what[mode_of(rule)]}, for {policy.where(target)}.",
    )  # fmt: skip


def deleting(found: Listed, *, reason: str) -> Plan:
    """The plan to take a rule away."""
    payload = policy.payload_of(found.row)
    kept = [one for one in policy.array(payload, "custom_rules") if one.get("id") != found.rule.get("id")]
    return Plan(
        product=ASM, name=found.row.name, target=found.target, row=found.row,
        payload=policy.with_array(payload, "custom_rules", kept), comment=reason,
        sentence=f"Rule {found.rule.get('name', '')} is no longer in force for {policy.where(found.target)}.",
    )  # fmt: skip


# Trying -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tried:
    """What a rule says of a request.

    Attributes:
        event: Of the rule; None: it did not match.
        others: Of rules that are there besides.
    """

    told: Told
    verdict: waf.Verdict
    event: waf.Event | None
    others: tuple[waf.Event, ...]
    blocked: bool
    built_ms: float
    refused: str


async def attempt(work: Policies, rule: Mapping[str, Any], text: str) -> Tried:
    """Run a pasted request through the real engine with a rule, and nothing else.

    Raises:
        InvalidChangeError: The request is none, or the engine did not get through it.
        SettingsError, UnavailableError: The engine is not installed, or busy.
    """
    sample = sample_request.parse(text, path="$.request")
    told = sample_request.tell(sample)
    return await run(work, rule, told)


async def run(work: Policies, rule: Mapping[str, Any], told: Told) -> Tried:
    """As ``attempt``, of a request that is read already."""
    raw = policy_bytes({"custom_rules": [dict(rule)]})
    answer: Answer = await work.plane.waf.run({"ASM/tried": raw}, [told.addresses], bundled=False)
    verdict = answer.verdicts[0]
    said = answer.diagnostics[0]
    refused = said.error or next(
        (words for section in said.sections for words in (section.error, *section.reasons) if words), ""
    )
    own = [event for event in verdict.events if event.rule_id == str(rule.get("id"))]
    return Tried(
        told,
        verdict,
        own[0] if own else None,
        tuple(event for event in verdict.events if event not in own),
        any(action.type in ("block_request", "redirect_request") for action in verdict.actions),
        answer.built_us / 1000,
        refused,
    )


def policy_bytes(payload: Mapping[str, Any]) -> bytes:
    """A payload as it would be published."""
    return PRODUCTS[ASM].render(payload)


def request_of(method: str, url: str, headers: Sequence[tuple[str, str]], client_ip: str) -> str:
    """A stored request as text that can be tried: what is known of it, which is not all that was sent."""
    path = re.sub(r"^https?://[^/?#]*", "", url) or "/"
    lines = [f"{method or 'GET'} {path if path.startswith('/') else '/' + path} HTTP/1.1"]
    known = {name.lower() for name, _ in headers}
    lines += [f"{name}: {_one_line(value)}" for name, value in headers if value]
    if client_ip and "x-forwarded-for" not in known:
        lines.append(f"x-forwarded-for: {_one_line(client_ip)}")
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", " ", text)
