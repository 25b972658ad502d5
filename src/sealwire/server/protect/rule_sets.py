"""Rule sets: a file of rules imported in place of the ones that tracers bring along.

A file is read with limits, tried in the engine, and told in words against what is in force. Published it is
an ASM_DD config, one per target; its earlier versions are the revisions of that config.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sealwire.errors import (
    InvalidChangeError,
    NotFoundError,
    OversizeError,
    Problem,
    SettingsError,
    UnavailableError,
)
from sealwire.products import PRODUCTS
from sealwire.products.product import MAX_PAYLOAD_BYTES
from sealwire.server.protect import catalogue, policy
from sealwire.server.protect.catalogue import Catalogue
from sealwire.server.protect.policy import RULE_SET, RULESET, Done, Plan, Policies
from sealwire.server.store import configs, read, rows
from sealwire.server.targeting import Targeting
from sealwire.server.ui import json_text
from sealwire.server.waf import engine as waf
from sealwire.server.waf.box import NO_TIME, NOT_TRIED, findings

MAX_FILE_BYTES = 4 * 1024 * 1024  # as people have it, with spaces; without them a config's megabyte
MAX_NAMED = 12  # rules that are named; all are counted
KEPT_VERSIONS = 20


def parse(text: str | bytes) -> dict[str, Any]:
    """A file of rules.

    Raises:
        OversizeError: It is too large.
        InvalidChangeError: It is no JSON object; says where.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_FILE_BYTES:
        raise OversizeError(f"A rule file may have {MAX_FILE_BYTES:,} bytes; this one has {len(raw):,}.")
    try:
        document = json_text.parse(raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError as error:
        raise policy.wrong("$", f"This is no text in UTF-8: byte {error.start:,} is none of it.") from error
    if not isinstance(document, dict):
        raise policy.wrong("$", "A rule file is a JSON object with version and rules.")
    size = len(orjson.dumps(document)) if _fits(document) else 0
    if size > MAX_PAYLOAD_BYTES:
        raise OversizeError(
            f"Without spaces these rules have {size:,} bytes; one config may have {MAX_PAYLOAD_BYTES:,}."
        )
    return document


def _fits(document: Mapping[str, Any]) -> bool:
    try:
        orjson.dumps(document)
    except (TypeError, RecursionError):
        return False  # the product's check says why
    return True


# What a file is -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the engine made of one list of a file.

    Attributes:
        failed: What it refused: id or place, its name, and the engine's words.
        skipped: How many are for another version of the engine.
    """

    name: str
    loaded: int
    failed: tuple[tuple[str, str, str], ...]
    skipped: int


@dataclass(frozen=True, slots=True)
class Moved:
    """Rules of one kind that came, went or changed: how many, and the first of them."""

    type: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def words(self) -> str:
        """In words."""
        said = [
            f"{len(ids)} {verb}: {some(ids)}"
            for ids, verb in ((self.added, "more"), (self.removed, "fewer"), (self.changed, "changed"))
            if ids
        ]
        return "; ".join(said)


@dataclass(frozen=True, slots=True)
class Report:
    """What a rule file is, before anybody gets it.

    Attributes:
        problems: Why it cannot be published, each at its place.
        engine: Its version; empty where it was not tried.
        against: What it was compared with: the catalogue of what is in force, or the bundled one.
    """

    document: Mapping[str, Any]
    rules: Catalogue
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    engine: str
    loaded: tuple[Loaded, ...]
    against: Catalogue
    moved: tuple[Moved, ...]
    same: int
    size: int

    @property
    def is_sound(self) -> bool:
        """Whether it can be published."""
        return not self.problems


async def look(work: Policies, document: Mapping[str, Any], target: Targeting) -> Report:
    """Check a file, try it in the engine, and compare it with what is in force for a target."""
    product = PRODUCTS[RULESET]
    problems = await asyncio.to_thread(product.check, document)
    engine = ""
    loaded: tuple[Loaded, ...] = ()
    warnings: tuple[Problem, ...] = ()
    if not problems:
        try:
            answer = await work.plane.waf.run(
                {"ASM_DD/imported": product.render(document)}, (), bundled=False
            )
        except SettingsError:
            warnings = (Problem("$", NOT_TRIED),)
        except UnavailableError:
            warnings = (Problem("$", NO_TIME),)
        except InvalidChangeError as error:
            problems = error.problems
        else:
            said = answer.diagnostics[0]
            found = findings(document, said)
            engine, problems, warnings = answer.version, found.problems, found.warnings
            loaded = tuple(_loaded(document, section) for section in said.sections)
    present = await catalogue.of(work.plane, work.tenant, target)
    before = await asyncio.to_thread(document_of, work, present)
    rules = catalogue.of_ruleset(document, source="imported")
    moved, same = await asyncio.to_thread(compare, before, document)
    return Report(
        document, rules, problems, (*warnings, *(product.warn(document, {}) if not problems else ())),
        engine, loaded, present, moved, same, 0 if problems else len(product.render(document)),
    )  # fmt: skip


def _loaded(document: Mapping[str, Any], section: waf.Section) -> Loaded:
    names = {str(one.get("id")): str(one.get("name", "")) for one in policy.array(document, section.name)}
    why = {element: words for words, elements in section.reasons.items() for element in elements}
    failed = tuple(
        (element, names.get(element, ""), why.get(element, "failed to load")) for element in section.failed
    )
    return Loaded(section.name, len(section.loaded), failed, len(section.skipped))


def document_of(work: Policies, rules: Catalogue) -> Mapping[str, Any]:
    """The document of a catalogue (blocking)."""
    if rules.source == "imported":
        for row in policy.active(work.plane, work.tenant, RULESET):
            if row.config_id == rules.config_id:
                return policy.payload_of(row)
    return catalogue.bundled_document() or {}


def some(ids: Sequence[str]) -> str:
    """The first of many."""
    return ", ".join(ids[:MAX_NAMED]) + (f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else "")


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[tuple[Moved, ...], int]:
    """Which rules come, go and change, by kind; and how many stay as they are."""
    old, new = _rules(before), _rules(after)
    kinds: dict[str, tuple[list[str], list[str], list[str]]] = {}
    same = 0
    for rule_id, rule in new.items():
        found = old.get(rule_id)
        if found == rule:
            same += 1
            continue
        kinds.setdefault(_type(rule), ([], [], []))[0 if found is None else 2].append(rule_id)
    for rule_id, rule in old.items():
        if rule_id not in new:
            kinds.setdefault(_type(rule), ([], [], []))[1].append(rule_id)
    return tuple(
        Moved(kind, *(tuple(sorted(ids)) for ids in moved)) for kind, moved in sorted(kinds.items())
    ), same


def _rules(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {
        str(rule.get("id")): rule
        for name in ("rules", "rules_compat")
        for rule in policy.array(document, name)
    }


def _type(rule: Mapping[str, Any]) -> str:
    tags = rule.get("tags")
    return str(tags.get("type", "")) if isinstance(tags, dict) else ""


# In force -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    """A revision of a rule set.

    Attributes:
        state: active or retired.
        is_present: It is the one in force.
    """

    revision: int
    rules_version: str
    rules: int
    size: int
    by: str
    at_ms: int
    comment: str
    state: str
    is_present: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A rule set that is in force, or was: the newest that was withdrawn can be put back too.

    Attributes:
        versions: Newest first, those that were withdrawals left out.
    """

    row: rows.ConfigRow
    target: Targeting
    rules: Catalogue
    is_active: bool
    versions: tuple[Version, ...]


async def listed(work: Policies) -> list[Listed]:
    """Every rule set, those in force first."""
    return await asyncio.to_thread(_listed, work)


def _listed(work: Policies) -> list[Listed]:
    org_id = work.tenant.organisation.org_id
    with work.plane.database.read() as c:
        all_rows = read.configs(c, org_id, product=RULESET)
        found = []
        for row in all_rows:
            is_active = row.state == configs.ACTIVE and (
                row.expires_ms is None or row.expires_ms > work.plane.now_ms()
            )
            revisions = configs.revisions(c, org_id, row.config_id, limit=KEPT_VERSIONS)
            versions = tuple(
                _version(one, row, is_active) for one in revisions if one.state == configs.ACTIVE
            )
            rules = catalogue.of_ruleset(policy.payload_of(row), source="imported", config_id=row.config_id)
            found.append(Listed(row, Targeting.parse(row.targeting), rules, is_active, versions))
    found.sort(key=lambda one: (not one.is_active, -one.row.updated_ms))
    return found


def _version(one: rows.RevisionRow, row: rows.ConfigRow, is_active: bool) -> Version:
    document = policy.payload_of(one)
    metadata = document.get("metadata")
    name = str(metadata.get("rules_version", "")) if isinstance(metadata, dict) else ""
    return Version(
        one.revision, name, len(policy.array(document, "rules")), len(one.payload), one.by, one.at_ms,
        one.comment, one.state, is_active and one.revision == row.revision,
    )  # fmt: skip


async def publishing(work: Policies, document: Mapping[str, Any], target: Targeting, *, reason: str) -> Plan:
    """The plan to give a target these rules.

    Raises:
        InvalidChangeError: Another rule set reaches some of the same tracers.
    """
    row = await work.own(RULE_SET, target, RULESET)
    for other in await work.active(RULESET):
        theirs = Targeting.parse(other.targeting)
        if (row is None or other.config_id != row.config_id) and theirs.may_overlap(target):
            words = (
                f"There is a rule set for {policy.where(theirs)} (config {other.config_id}); a tracer with "
                "both refuses what is in both. Withdraw that one first, or publish for the same target."
            )
            raise InvalidChangeError(words, problems=(Problem("$.target", words),))
    rules = catalogue.of_ruleset(document, source="imported")
    version = f" {rules.version}" if rules.version else ""
    return Plan(
        product=RULESET, name=RULE_SET, target=target, row=row, payload=dict(document), comment=reason,
        sentence=f"Rule set{version} with {len(rules.rules)} rules is in force for {policy.where(target)}.",
    )  # fmt: skip


async def withdrawing(work: Policies, config_id: str, *, reason: str) -> Plan:
    """The plan to take a rule set away, so that tracers use the ones they bring along.

    Raises:
        NotFoundError: It is not in force.
    """
    row = await work.one(config_id, RULESET)
    target = Targeting.parse(row.targeting)
    return Plan(
        product=RULESET, name=row.name, target=target, row=row, payload=None, comment=reason,
        sentence=f"The rule set for {policy.where(target)} is withdrawn: tracers use their own.",
    )  # fmt: skip


async def restore(
    work: Policies, config_id: str, revision: int, *, expected_revision: int, reason: str = ""
) -> Done:
    """Put an earlier version in force again.

    Raises:
        ConflictError, InvalidChangeError, NotFoundError, NotPermittedError: As ``Editor.restore``.
    """
    if (await work.editor.get(config_id)).product != RULESET:
        raise NotFoundError(f"There is no rule set {config_id[:40]}.")
    row, draft = await work.editor.restore(
        config_id, revision, expected_revision=expected_revision, comment=reason, expires_at=None
    )
    rules = catalogue.of_ruleset(policy.payload_of(row), source="imported")
    where = policy.where(Targeting.parse(row.targeting))
    words = f"Version {revision} with {len(rules.rules)} rules is in force again for {where}."
    return Done(row, words, draft.warnings)
