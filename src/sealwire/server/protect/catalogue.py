"""The rules that a target's tracers have: an imported set in force there, or the one they bring along."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from sealwire.server.control_plane import ControlPlane
from sealwire.server.protect import policy
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.waf import engine as waf

BLOCKING_LISTS = frozenset({"blk-001-001", "blk-001-002"})


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """A rule, as far as people choose by it.

    Attributes:
        mode: What it does unless something else is said: ``off``, ``monitor`` or ``block``.
        is_rasp: It looks at what the application does, and not at the request.
    """

    id: str
    name: str
    type: str
    category: str
    mode: str
    is_rasp: bool


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The rules of a target.

    Attributes:
        source: ``imported``, ``bundled``, or ``none`` where this server has no rules at all.
        config_id: Of an imported one.
    """

    rules: Mapping[str, RuleInfo]
    version: str
    source: str
    config_id: str = ""

    @property
    def types(self) -> Mapping[str, tuple[RuleInfo, ...]]:
        """Kinds of rules, those with the most rules first."""
        found: dict[str, list[RuleInfo]] = {}
        for rule in self.rules.values():
            found.setdefault(rule.type, []).append(rule)
        ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
        return {kind: tuple(rules) for kind, rules in ordered}


EMPTY = Catalogue({}, "", "none")


def of_ruleset(document: Mapping[str, Any], *, source: str, config_id: str = "") -> Catalogue:
    """The rules of a ruleset."""
    found = {}
    for rule in policy.array(document, "rules"):
        tags = rule.get("tags")
        tags = tags if isinstance(tags, dict) else {}
        on_match = rule.get("on_match") or ()
        mode = "off" if rule.get("enabled") is False else "block" if "block" in on_match else "monitor"
        rule_id = str(rule.get("id", ""))
        found[rule_id] = RuleInfo(
            rule_id, str(rule.get("name", "")), str(tags.get("type", "")), str(tags.get("category", "")),
            mode, tags.get("module") == "rasp",
        )  # fmt: skip
    metadata = document.get("metadata")
    version = str(metadata.get("rules_version", "")) if isinstance(metadata, dict) else ""
    return Catalogue(found, version, source, config_id)


def bundled_document() -> dict[str, Any] | None:
    """The rules that tracers bring along; None where they are not on this server (blocking)."""
    file = waf.bundled_rules_file()
    return None if file is None else _read(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read(file: Path, _changed: int) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(file.read_bytes())
    return document


def bundled() -> Catalogue:
    """The rules that tracers bring along (blocking)."""
    document = bundled_document()
    return EMPTY if document is None else of_ruleset(document, source="bundled")


async def of(plane: ControlPlane, tenant: Tenant, target: Targeting) -> Catalogue:
    """The rules of a target: of the most precise rule set that reaches all of it, else the bundled ones."""

    def look() -> Catalogue:
        rows = policy.active(plane, tenant, policy.RULESET)
        reaching = [(Targeting.parse(row.targeting), row) for row in rows]
        best = [(one, row) for one, row in reaching if covers(one, target)]
        if not best:
            return bundled()
        _, row = max(best, key=lambda pair: (pair[0].specificity, pair[1].updated_ms))
        return of_ruleset(policy.payload_of(row), source="imported", config_id=row.config_id)

    return await asyncio.to_thread(look)


def covers(wider: Targeting, target: Targeting) -> bool:
    """Whether whoever the target is for, the wider one is for too."""
    inner = target.to_dict()
    for name, value in wider.to_dict().items():
        theirs = inner.get(name)
        if isinstance(value, list) and isinstance(theirs, list):
            if not {str(one).casefold() for one in theirs} <= {str(one).casefold() for one in value}:
                return False
        elif value != theirs:
            return False
    return True
