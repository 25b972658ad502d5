"""Every policy that is in force, put together by the target it is for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from sealwire.server.protect import block_page, catalogue, custom_rules, modes, passlist, policy
from sealwire.server.protect.policy import RULESET, Policies
from sealwire.server.targeting import Targeting

PASSLIST, MODES, RULES, PAGE, RULE_SET = "passlist", "modes", "rules", "block-page", "rule-set"
KINDS = (PASSLIST, MODES, RULES, PAGE, RULE_SET)


@dataclass(frozen=True, slots=True)
class Policy:
    """One kind of policy for one target: what it comes to, and the configs that say it."""

    kind: str
    words: str
    config_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfTarget:
    """Everything for exactly one target, in the order of ``KINDS``."""

    target: Targeting
    policies: tuple[Policy, ...]


@dataclass(slots=True)
class _Found:
    target: Targeting
    words: dict[str, list[str]] = field(default_factory=dict)
    config_ids: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, words: str, config_id: str) -> None:
        self.words.setdefault(kind, []).append(words)
        known = self.config_ids.setdefault(kind, [])
        if config_id not in known:
            known.append(config_id)


async def by_target(work: Policies) -> list[OfTarget]:
    """What is in force, the whole organisation first."""
    found: dict[bytes, _Found] = {}

    def of(target: Targeting) -> _Found:
        key = orjson.dumps(target.to_dict(), option=orjson.OPT_SORT_KEYS)
        return found.setdefault(key, _Found(target))

    for entry in await passlist.listed(work):
        of(entry.target).add(PASSLIST, entry.entry.words, entry.row.config_id)
    for row in await work.active():
        payload = policy.payload_of(row)
        said = modes.read(policy.array(payload, "rules_override"))
        for words in _modes_in_words(said):
            of(Targeting.parse(row.targeting)).add(MODES, words, row.config_id)
    for rule in await custom_rules.listed(work):
        of(rule.target).add(RULES, f"{rule.rule.get('name', '')} ({rule.mode})", rule.row.config_id)
    for page in await block_page.listed(work):
        of(page.target).add(PAGE, page.page.words, page.row.config_id)
    for row in await work.active(RULESET):
        rules = catalogue.of_ruleset(policy.payload_of(row), source="imported")
        words = f"version {rules.version or 'unnamed'}, {len(rules.rules)} rules"
        of(Targeting.parse(row.targeting)).add(RULE_SET, words, row.config_id)
    return sorted(
        map(_told, found.values()), key=lambda one: (one.target.specificity, policy.where(one.target))
    )


def _told(found: _Found) -> OfTarget:
    return OfTarget(
        found.target,
        tuple(
            Policy(kind, _some(found.words[kind]), tuple(found.config_ids[kind]))
            for kind in KINDS
            if kind in found.words
        ),
    )


def _modes_in_words(said: modes.Modes) -> Iterable[str]:
    for mode in modes.Mode:
        names = sorted(
            name for chosen in (said.types, said.rules) for name, one in chosen.items() if one is mode
        )
        if names:
            yield f"{mode}: {_some([name.replace('_', ' ') for name in names])}"
    if said.others:
        yield f"{len(said.others)} other override{'' if len(said.others) == 1 else 's'}"


def _some(words: list[str]) -> str:
    return "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")
