"""The detection rules of one organisation: those that come with the server, its own changes of them, its own.

A rule is stored as versions that are never changed. A version's document lies over the one that comes with
the server: ``{"isEnabled": false}`` switches a built-in rule off and leaves the rest to the server's next
update, a whole document replaces it, ``{}`` gives it back; of a rule of one's own ``{}`` is its end. So every
version a signal may name can be read for ever.

Invariants: what is stored passed ``rules.check`` and holds no characters that a page or a database cannot
show; a change names the version it was made from, and loses against whoever was first; every change is in
the audit trail with what it means.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import sqlalchemy as sa
import structlog

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.server.security.builtin import BUILTIN
from sealwire.server.security.rule_documents import checked as checked_document
from sealwire.server.security.rule_documents import plain
from sealwire.server.security.rule_words import changes
from sealwire.server.security.rules import Rule, check
from sealwire.server.security.triage import showable
from sealwire.server.store import security as store
from sealwire.server.store import write
from sealwire.server.store.database import Database
from sealwire.server.store.security import RuleRow

log = structlog.get_logger()

MAX_RULES: Final = 200
MAX_COMMENT_CHARS: Final = 500
FIRST_VERSION: Final = 1  # of a built-in rule that nobody changed
_RULE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

Document = Mapping[str, Any]
T = TypeVar("T")


class Kind(StrEnum):
    """Whose a rule is."""

    BUILTIN = "built_in"
    CHANGED = "changed"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule as it is in force.

    Attributes:
        rule: Checked.
        document: What it was made of.
        changed_ms: None for a built-in rule that nobody changed; as then ``changed_by`` is empty.
    """

    rule: Rule
    document: Document
    kind: Kind
    version: int
    changed_by: str = ""
    changed_ms: int | None = None
    comment: str = ""

    @property
    def rule_id(self) -> str:
        """Ours; stays."""
        return self.rule.id


@dataclass(frozen=True, slots=True)
class Version:
    """What a rule was.

    Attributes:
        document: Empty where the rule ended.
        changes: Against the version before, in words.
    """

    version: int
    document: Document
    changed_by: str
    changed_ms: int | None
    comment: str
    changes: tuple[str, ...]


def over(rule_id: str, stored: Document) -> Document:
    """The document a version stands for: itself over the built-in rule; empty for the end of one's own."""
    return {**BUILTIN.get(rule_id, {}), **stored}


def load(c: sa.Connection, org_id: int) -> list[Rule]:
    """Every rule of an organisation, checked; what no longer passes is left out and logged."""
    return [entry.rule for entry in entries(c, org_id)]


def entries(c: sa.Connection, org_id: int) -> list[Entry]:
    """Every rule of an organisation: the built-in ones in their order, then its own by name."""
    rows = {row.rule_id: row for row in store.rules(c, org_id)}
    found = [_entry(rule_id, rows.get(rule_id)) for rule_id in BUILTIN]
    own = [_entry(row.rule_id, row) for row in rows.values() if row.rule_id not in BUILTIN]
    own.sort(key=lambda entry: (entry.rule.name.casefold(), entry.rule_id) if entry else ("", ""))
    return [entry for entry in (*found, *own) if entry is not None]


def _entry(rule_id: str, row: RuleRow | None) -> Entry | None:
    if row is None:
        return Entry(
            check(BUILTIN[rule_id], rule_id=rule_id, version=FIRST_VERSION), BUILTIN[rule_id], Kind.BUILTIN,
            FIRST_VERSION,
        )  # fmt: skip
    document = over(rule_id, row.document)
    if not document:
        return None
    try:
        rule = check(document, rule_id=rule_id, version=row.version)
    except InvalidChangeError as error:
        # It passed an earlier program's check. Without it is better than without any rule.
        log.error("detection rule not understood", rule=rule_id, detail=str(error.problems)[:500])
        return None
    return Entry(
        rule, document, _kind(rule_id, document), row.version, row.changed_by, row.changed_ms, row.comment
    )


def _kind(rule_id: str, document: Document) -> Kind:
    if rule_id not in BUILTIN:
        return Kind.OWN
    return (
        Kind.BUILTIN
        if plain(_without_switch(document)) == plain(_without_switch(BUILTIN[rule_id]))
        else Kind.CHANGED
    )


def _without_switch(document: Document) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "isEnabled"}


class RuleBook:
    """What people do with the rules of one organisation.

    Args:
        use: Called with every rule after a change, in the event loop: the engine goes on with these.
    """

    def __init__(self, database: Database, org_id: int, use: Callable[[list[Rule]], None]) -> None:
        self._database = database
        self._org_id = org_id
        self._use = use

    # Reading ------------------------------------------------------------------------------------------

    def all(self) -> list[Entry]:
        """Every rule (blocking)."""
        with self._database.read() as c:
            return entries(c, self._org_id)

    def get(self, rule_id: str) -> Entry:
        """One rule (blocking).

        Raises:
            NotFoundError: There is none.
        """
        with self._database.read() as c:
            return self._get(c, rule_id)

    def _get(self, c: sa.Connection, rule_id: str) -> Entry:
        row = self._row(c, rule_id)
        entry = _entry(rule_id, row) if row is not None or rule_id in BUILTIN else None
        if entry is None:
            raise NotFoundError(f"There is no detection rule {rule_id[:40]}.")
        return entry

    def _row(self, c: sa.Connection, rule_id: str) -> RuleRow | None:
        versions = store.rule_versions(c, self._org_id, rule_id) if _RULE_ID.fullmatch(rule_id) else []
        return max(versions, key=lambda row: row.version, default=None)

    def versions(self, rule_id: str) -> list[Version]:
        """What a rule was, newest first (blocking).

        Raises:
            NotFoundError: There never was one.
        """
        with self._database.read() as c:
            rows = store.rule_versions(c, self._org_id, rule_id) if _RULE_ID.fullmatch(rule_id) else []
        builtin = BUILTIN.get(rule_id, {})
        if not rows and not builtin:
            raise NotFoundError(f"There is no detection rule {rule_id[:40]}.")
        found = [Version(FIRST_VERSION, builtin, "", None, "", ())] if builtin else []
        before: Document = builtin
        for row in sorted(rows, key=lambda row: row.version):
            document = over(rule_id, row.document)
            found.append(
                Version(
                    row.version, document, row.changed_by, row.changed_ms, row.comment,
                    changes(before, document),
                )
            )  # fmt: skip
            before = document
        return found[::-1]

    # Writing ------------------------------------------------------------------------------------------

    async def create(self, document: object, *, by: str, now_ms: int, comment: str = "") -> Entry:
        """A rule of one's own.

        Raises:
            InvalidChangeError: The document has mistakes, or there are too many rules.
        """
        (made,) = await self.create_all([document], by=by, now_ms=now_ms, comment=comment)
        return made

    async def create_all(
        self, documents: Sequence[object], *, by: str, now_ms: int, comment: str = ""
    ) -> list[Entry]:
        """Several rules of one's own: all of them, or none.

        Raises:
            InvalidChangeError: One has mistakes: problems of several name its place.
        """
        checked: list[Document] = []
        problems: list[Problem] = []
        for place, document in enumerate(documents):
            try:
                checked.append(checked_document(document)[0])
            except InvalidChangeError as error:
                at = "$" if len(documents) == 1 else f"$[{place}]"
                problems += [
                    Problem(at + each.path.removeprefix("$"), each.message) for each in error.problems
                ]
        if problems:
            raise InvalidChangeError("The rule has mistakes; nothing was saved.", problems=tuple(problems))

        def save() -> list[Entry]:
            with self._database.write() as c:
                write.lock_domain(c, self._org_id)
                present = sum(entry.kind is Kind.OWN for entry in entries(c, self._org_id))
                if present + len(checked) > MAX_RULES:
                    raise InvalidChangeError(
                        f"There can be {MAX_RULES} rules of one's own; there are {present}.",
                        problems=(Problem("$", f"at most {MAX_RULES} rules"),),
                    )
                return [
                    self._put(
                        c, secrets.token_hex(8), FIRST_VERSION, document, {}, by=by, now_ms=now_ms,
                        comment=comment, action="created",
                    )
                    for document in checked
                ]  # fmt: skip

        return await self._changed(save)

    async def save(
        self,
        rule_id: str,
        document: object,
        *,
        expected_version: int,
        by: str,
        now_ms: int,
        comment: str = "",
    ) -> Entry:
        """Another version of a rule.

        Raises:
            InvalidChangeError: The document has mistakes.
            ConflictError: Somebody else was first.
            NotFoundError: There is none.
        """
        whole, _ = checked_document(document)

        def save() -> Entry:
            with self._database.write() as c:
                before = self._expected(c, rule_id, expected_version)
                if plain(before.document) == plain(whole):
                    return before
                stored = _lean(rule_id, whole)
                return self._put(
                    c, rule_id, before.version + 1, stored, before.document, by=by, now_ms=now_ms,
                    comment=comment, action="changed",
                )  # fmt: skip

        return await self._changed(save)

    async def switch(
        self, rule_id: str, *, is_on: bool, by: str, now_ms: int, expected_version: int | None = None
    ) -> Entry:
        """Switch a rule on or off; nothing if it is that already.

        Raises:
            ConflictError, NotFoundError: As ``save``.
        """

        def save() -> Entry:
            with self._database.write() as c:
                before = self._expected(c, rule_id, expected_version)
                if before.rule.enabled == is_on:
                    return before
                stored = _lean(rule_id, {**before.document, "isEnabled": is_on})
                return self._put(
                    c, rule_id, before.version + 1, stored, before.document, by=by, now_ms=now_ms,
                    comment="", action="changed",
                )  # fmt: skip

        return await self._changed(save)

    async def restore(self, rule_id: str, *, expected_version: int, by: str, now_ms: int) -> Entry:
        """Give a built-in rule back what it came with.

        Raises:
            InvalidChangeError: It is one's own, and came with nothing.
            ConflictError, NotFoundError: As ``save``.
        """

        def save() -> Entry:
            with self._database.write() as c:
                before = self._expected(c, rule_id, expected_version)
                if rule_id not in BUILTIN:
                    raise InvalidChangeError(
                        "A rule of one's own has nothing to be restored to.",
                        problems=(Problem("$", "not a built-in rule"),),
                    )
                if plain(before.document) == plain(BUILTIN[rule_id]):
                    return before
                return self._put(
                    c, rule_id, before.version + 1, {}, before.document, by=by, now_ms=now_ms, comment="",
                    action="restored",
                )  # fmt: skip

        return await self._changed(save)

    async def delete(self, rule_id: str, *, expected_version: int, by: str, now_ms: int) -> None:
        """End a rule of one's own; its versions stay to be read.

        Raises:
            InvalidChangeError: It came with the server: it can be switched off.
            ConflictError, NotFoundError: As ``save``.
        """

        def save() -> None:
            with self._database.write() as c:
                before = self._expected(c, rule_id, expected_version)
                if rule_id in BUILTIN:
                    raise InvalidChangeError(
                        "This rule came with the server: switch it off instead.",
                        problems=(Problem("$", "a built-in rule"),),
                    )
                self._write(
                    c, rule_id, before.version + 1, {}, before.document, by=by, now_ms=now_ms, comment="",
                    action="deleted",
                )  # fmt: skip

        await self._changed(save)

    # Inside -------------------------------------------------------------------------------------------

    async def _changed(self, save: Callable[[], T]) -> T:
        found = await asyncio.to_thread(save)
        self._use([entry.rule for entry in await asyncio.to_thread(self.all)])
        return found

    def _expected(self, c: sa.Connection, rule_id: str, expected_version: int | None) -> Entry:
        write.lock_domain(c, self._org_id)
        before = self._get(c, rule_id)
        if expected_version is not None and before.version != expected_version:
            raise ConflictError(
                f"Somebody else changed this rule: it is version {before.version} now.",
                expected_revision=expected_version, actual_revision=before.version,
            )  # fmt: skip
        return before

    def _put(
        self, c: sa.Connection, rule_id: str, version: int, stored: Document, before: Document, *, by: str,
        now_ms: int, comment: str, action: str,
    ) -> Entry:  # fmt: skip
        self._write(c, rule_id, version, stored, before, by=by, now_ms=now_ms, comment=comment, action=action)
        return self._get(c, rule_id)

    def _write(
        self, c: sa.Connection, rule_id: str, version: int, stored: Document, before: Document, *, by: str,
        now_ms: int, comment: str, action: str,
    ) -> None:  # fmt: skip
        said = showable(comment).strip()[:MAX_COMMENT_CHARS]
        store.put_rule(
            c, self._org_id, RuleRow(rule_id, version, dict(stored), rule_id in BUILTIN, by, now_ms, said)
        )
        after = over(rule_id, stored) if action != "deleted" else {}
        name = str((after or before).get("name", rule_id))
        words = changes(before, after)
        done = {
            "created": "Made", "changed": "Changed", "restored": "Restored", "deleted": "Deleted",
        }[action]  # fmt: skip
        shown = f": {'; '.join(words[:3])}" if action == "changed" and words else ""
        write.add_audit(
            c, self._org_id, at_ms=now_ms, actor=by, action=f"detection_rule.{action}",
            subject=f"detection rule {rule_id}", summary=f"{done} the detection rule {name}{shown}",
            detail={
                "rule": rule_id, "version": version, "comment": said, "changes": list(words),
                "before": before, "after": after,
            },
        )  # fmt: skip


def exported(entry: Entry) -> dict[str, Any]:
    """A rule as a file has it."""
    return dict(entry.document)


def _lean(rule_id: str, document: Document) -> Document:
    """What has to be stored: of a built-in rule that is only switched, the switch."""
    builtin = BUILTIN.get(rule_id)
    if builtin is None or plain(_without_switch(document)) != plain(_without_switch(builtin)):
        return document
    is_on = document.get("isEnabled", True)
    return {} if is_on == builtin.get("isEnabled", True) else {"isEnabled": is_on}
