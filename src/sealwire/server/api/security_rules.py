"""Detection rules by the admin API: read, written, tried, switched, taken along and brought in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, TypedDict

import msgspec
from litestar import delete, get, patch, post, put
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.shapes import MAX_REVISION, RevisionNumber
from sealwire.server.control_plane import ControlPlane
from sealwire.server.security.rule_book import Entry, Version, exported
from sealwire.server.security.rule_documents import checked, imported
from sealwire.server.security.signals import Signal
from sealwire.server.store import security as store
from sealwire.server.tenant import Tenant

READ: Final = {"permission": "security_monitoring_rules_read"}
WRITE: Final = {"permission": "security_monitoring_rules_write"}
MAX_HOURS: Final = 168
MAX_TOLD: Final = 100
OVER_MS: Final = 7 * 86_400_000


class DetectionRule(TypedDict):
    """A detection rule as it is in force.

    Attributes:
        kind: built_in, changed (a built-in one that people changed) or own.
        signals: Seen in the last seven days.
        changed_by: Empty for a rule that nobody changed.
        document: name, message, isEnabled, queries, cases, options and tags.
    """

    id: str
    name: str
    kind: str
    enabled: bool
    version: int
    signals: int
    changed_at: str | None
    changed_by: str
    comment: str
    document: dict[str, Any]


class DetectionRules(TypedDict):
    """Detection rules: the built-in ones, then those of the organisation's own."""

    rules: list[DetectionRule]


class RuleVersion(TypedDict):
    """What a rule was.

    Attributes:
        document: Empty where the rule ended.
        changed_at: Null for the one that came with the server.
        changes: Against the version before, in words.
    """

    version: int
    document: dict[str, Any]
    changed_at: str | None
    changed_by: str
    comment: str
    changes: list[str]


class RuleVersions(TypedDict):
    """Versions of a rule, newest first."""

    versions: list[RuleVersion]


class RuleFile(TypedDict):
    """Documents of rules, as a file has them."""

    rules: list[dict[str, Any]]


class TriedSignal(TypedDict):
    """A signal that a rule would have opened."""

    title: str
    severity: str
    group: dict[str, str]
    first_seen: str
    last_seen: str
    requests: int


class TriedRule(TypedDict):
    """What a rule would have found.

    Attributes:
        total: Signals it would have opened.
        by_severity: How many, by severity.
        signals: The worst of them, at most 100.
    """

    total: int
    by_severity: dict[str, int]
    signals: list[TriedSignal]


class NewRule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule to make."""

    document: Any
    comment: str = ""


class ChangedRule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Another version of a rule."""

    document: Any
    expected_version: RevisionNumber
    comment: str = ""


class SwitchedRule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whether a rule is on."""

    enabled: bool
    expected_version: RevisionNumber | None = None


class RestoredRule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule to be as it came, if it still is the version that is named."""

    expected_version: RevisionNumber


class RuleToTry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule to try, and over how many hours."""

    document: Any
    hours: Annotated[int, msgspec.Meta(ge=1, le=MAX_HOURS)] = 24


class RulesToImport(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Documents to make rules of; fields that only mean something elsewhere are left out."""

    rules: list[Any]
    comment: str = "Imported"


@get("/security/rules", opt=READ)
async def list_detection_rules(tenant: OwnTenant, plane: Plane) -> DetectionRules:
    """Every detection rule."""
    entries = await asyncio.to_thread(tenant.rule_book.all)
    found = await _signals(tenant, plane)
    return {"rules": [_rule(entry, found.get(entry.rule_id, 0)) for entry in entries]}


@post("/security/rules", opt=WRITE)
async def create_detection_rule(
    data: JSONBody[NewRule], tenant: OwnTenant, principal: Asker, plane: Plane
) -> DetectionRule:
    """Make a detection rule."""
    entry = await tenant.rule_book.create(
        data.document, by=principal.user, now_ms=plane.now_ms(), comment=data.comment
    )
    return _rule(entry, 0)


@get("/security/rules/export", opt=READ)
async def export_detection_rules(tenant: OwnTenant) -> RuleFile:
    """The documents of every rule, for a file."""
    return {"rules": [exported(entry) for entry in await asyncio.to_thread(tenant.rule_book.all)]}


@post("/security/rules:import", opt=WRITE)
async def import_detection_rules(
    data: JSONBody[RulesToImport], tenant: OwnTenant, principal: Asker, plane: Plane
) -> DetectionRules:
    """Make rules of documents from elsewhere: of all of them, or of none."""
    made = await tenant.rule_book.create_all(
        imported(data.rules), by=principal.user, now_ms=plane.now_ms(), comment=data.comment
    )
    return {"rules": [_rule(entry, 0) for entry in made]}


@post("/security/rules:try", status_code=200, opt=WRITE)
async def try_detection_rule(data: JSONBody[RuleToTry], tenant: OwnTenant) -> TriedRule:
    """Which signals a rule would have opened over the traces of the last hours; nothing is saved."""
    _, rule = checked(data.document)
    found = await tenant.detection.try_rule(replace(rule, enabled=True), hours=data.hours)
    return _tried(found)


@get("/security/rules/{rule_id:str}", opt=READ)
async def get_detection_rule(rule_id: FromPath[str], tenant: OwnTenant, plane: Plane) -> DetectionRule:
    """One detection rule."""
    entry = await asyncio.to_thread(tenant.rule_book.get, rule_id)
    found = await _signals(tenant, plane)
    return _rule(entry, found.get(entry.rule_id, 0))


@put("/security/rules/{rule_id:str}", opt=WRITE)
async def change_detection_rule(
    rule_id: FromPath[str], data: JSONBody[ChangedRule], tenant: OwnTenant, principal: Asker, plane: Plane
) -> DetectionRule:
    """Another version of a rule."""
    entry = await tenant.rule_book.save(
        rule_id, data.document, expected_version=data.expected_version, by=principal.user,
        now_ms=plane.now_ms(), comment=data.comment,
    )  # fmt: skip
    return _rule(entry, (await _signals(tenant, plane)).get(rule_id, 0))


@patch("/security/rules/{rule_id:str}", opt=WRITE)
async def switch_detection_rule(
    rule_id: FromPath[str], data: JSONBody[SwitchedRule], tenant: OwnTenant, principal: Asker, plane: Plane
) -> DetectionRule:
    """Switch a rule on or off."""
    entry = await tenant.rule_book.switch(
        rule_id, is_on=data.enabled, expected_version=data.expected_version, by=principal.user,
        now_ms=plane.now_ms(),
    )  # fmt: skip
    return _rule(entry, (await _signals(tenant, plane)).get(rule_id, 0))


@delete("/security/rules/{rule_id:str}", status_code=204, opt=WRITE)
async def delete_detection_rule(
    rule_id: FromPath[str],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    expected_version: Annotated[int, QueryParameter(ge=0, le=MAX_REVISION)],
) -> None:
    """End a rule of one's own; its versions stay to be read."""
    await tenant.rule_book.delete(
        rule_id, expected_version=expected_version, by=principal.user, now_ms=plane.now_ms()
    )


@get("/security/rules/{rule_id:str}/versions", opt=READ)
async def list_detection_rule_versions(rule_id: FromPath[str], tenant: OwnTenant) -> RuleVersions:
    """What a rule was, newest first; of one that ended as well."""
    return {"versions": list(map(_version, await asyncio.to_thread(tenant.rule_book.versions, rule_id)))}


@post("/security/rules/{rule_id:str}/restore", status_code=200, opt=WRITE)
async def restore_detection_rule(
    rule_id: FromPath[str], data: JSONBody[RestoredRule], tenant: OwnTenant, principal: Asker, plane: Plane
) -> DetectionRule:
    """Give a built-in rule back what it came with."""
    entry = await tenant.rule_book.restore(
        rule_id, expected_version=data.expected_version, by=principal.user, now_ms=plane.now_ms()
    )
    return _rule(entry, (await _signals(tenant, plane)).get(rule_id, 0))


# Shapes -----------------------------------------------------------------------------------------------


async def _signals(tenant: Tenant, plane: ControlPlane) -> dict[str, int]:
    def load() -> dict[str, int]:
        with plane.database.read() as c:
            return store.signals_by_rule(c, tenant.organisation.org_id, since_ms=plane.now_ms() - OVER_MS)

    return await asyncio.to_thread(load)


def _rule(entry: Entry, signals: int) -> DetectionRule:
    return {
        "id": entry.rule_id,
        "name": entry.rule.name,
        "kind": entry.kind.value,
        "enabled": entry.rule.enabled,
        "version": entry.version,
        "signals": signals,
        "changed_at": shapes.time_or_none(entry.changed_ms),
        "changed_by": entry.changed_by,
        "comment": entry.comment,
        "document": dict(entry.document),
    }


def _version(one: Version) -> RuleVersion:
    return {
        "version": one.version,
        "document": dict(one.document),
        "changed_at": shapes.time_or_none(one.changed_ms),
        "changed_by": one.changed_by,
        "comment": one.comment,
        "changes": list(one.changes),
    }


def _tried(found: Sequence[Signal]) -> TriedRule:
    ordered = sorted(found, key=lambda one: (-one.severity, -one.last_seen))
    by_severity: dict[str, int] = {}
    for one in ordered:
        name = one.severity.name.lower()
        by_severity[name] = by_severity.get(name, 0) + 1
    return {
        "total": len(found),
        "by_severity": by_severity,
        "signals": [
            {
                "title": one.title,
                "severity": one.severity.name.lower(),
                "group": dict(one.group),
                "first_seen": shapes.time(int(one.first_seen * 1000)),
                "last_seen": shapes.time(int(one.last_seen * 1000)),
                "requests": one.events,
            }
            for one in ordered[:MAX_TOLD]
        ],
    }


HANDLERS: list[ControllerRouterHandler] = [
    list_detection_rules,
    create_detection_rule,
    export_detection_rules,
    import_detection_rules,
    try_detection_rule,
    get_detection_rule,
    change_detection_rule,
    switch_detection_rule,
    delete_detection_rule,
    list_detection_rule_versions,
    restore_detection_rule,
]
