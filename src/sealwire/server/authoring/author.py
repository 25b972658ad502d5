"""Changes of configs: checked, then committed as a revision with its audit row in one transaction.

Nothing is signed here. A commit raises the generation of the organisation, which is how ``publish`` finds
what is new.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.products import ConfigId, Product
from sealwire.products import get as get_product
from sealwire.server.audiences import Audiences, audience_key
from sealwire.server.debugger.authoring import probe_configs, probe_wire
from sealwire.server.store import configs, read, rows, write
from sealwire.server.store.database import Database
from sealwire.server.targeting import Targeting

MAX_CONFIGS = 50_000  # active ones of an organisation; every publication walks them
MAX_NAME = 200
MAX_COMMENT = 2000

#: What else is written with a revision, in its transaction; whatever it raises undoes both.
Also = Callable[[sa.Connection, rows.ConfigRow], None]

#: How a payload is kept, of products where one thing can be said in more than one way.
_NORMAL: Mapping[str, Callable[[Mapping[str, object]], Mapping[str, object]]] = {
    probe_wire.PRODUCT: probe_configs.normal
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A change that passed every check and is not committed.

    Attributes:
        generation: Of the organisation when it was checked against its other configs.
    """

    product: Product
    name: str
    targeting: Targeting
    payload: bytes
    comment: str
    expires_ms: int | None
    warnings: tuple[Problem, ...]
    generation: int


class Author:
    """Checks and commits changes of one organisation's configs.

    Attributes:
        gates: Product -> asked, in the transaction, before a config of it is in force; raises if it may not.
    """

    def __init__(self, database: Database, org_id: int) -> None:
        self.gates: dict[str, Also] = {}
        self._database = database
        self._org_id = org_id

    def check(
        self,
        *,
        product: str,
        payload: object,
        targeting: object = None,
        name: str = "",
        comment: str = "",
        expires_at: object = None,
        now: datetime,
        config_id: str | None = None,
    ) -> Draft:
        """Find everything that is wrong with a change.

        Args:
            config_id: The config it changes, None for a new one.

        Raises:
            InvalidChangeError: With every problem at its JSON path. ``$.payload``, ``$.targeting`` and the
                other fields of the request are the roots.
        """
        kind = get_product(product)
        problems = [Problem(_below("$.payload", p.path), p.message) for p in kind.check(payload)]
        if not problems and isinstance(payload, Mapping) and product in _NORMAL:
            try:
                payload = _NORMAL[product](payload)
            except InvalidChangeError as error:
                problems.extend(Problem(_below("$.payload", p.path), p.message) for p in error.problems)
        try:
            target = Targeting.parse(targeting if targeting is not None else {})
            found = kind.misaimed(target.to_dict())
            problems.extend(Problem(_below("$.targeting", p.path), p.message) for p in found)
        except InvalidChangeError as error:
            problems.extend(error.problems)
            target = Targeting()
        problems.extend(_text_problems("$.name", name, MAX_NAME))
        problems.extend(_text_problems("$.comment", comment, MAX_COMMENT, newlines=True))
        expires_ms = _expires_ms(expires_at, now, problems)
        warnings: tuple[Problem, ...] = ()
        generation = -1
        if not problems and isinstance(payload, Mapping):
            with self._database.read() as c:
                generation = read.domain(c, self._org_id).generation
                others = self._others(c, product, target, config_id, now)
            problems.extend(_conflicts(kind, payload, others))
            warnings = kind.warn(payload, others)
        if problems or not isinstance(payload, Mapping):
            raise _invalid(product, problems)
        minutes = kind.lasts(payload) if expires_ms is None else None
        if minutes is not None:
            expires_ms = int(now.timestamp() * 1000) + minutes * 60_000
        rendered = kind.render(payload)
        return Draft(kind, name, target, rendered, comment, expires_ms, warnings, generation)

    def _others(
        self, c: sa.Connection, product: str, targeting: Targeting, config_id: str | None, now: datetime
    ) -> dict[ConfigId, Mapping[str, Any]]:
        """Other active configs of the product that may meet this one in a client."""
        now_ms = int(now.timestamp() * 1000)
        overlaps: dict[str, bool] = {}
        found = {}
        for other_id, stored, payload, expires_ms in read.active_of(c, self._org_id, product):
            if other_id == config_id or (expires_ms is not None and expires_ms <= now_ms):
                continue
            meets = overlaps.get(stored)
            if meets is None:
                meets = overlaps[stored] = _stored_targeting(stored).may_overlap(targeting)
            if meets:
                found[ConfigId(other_id)] = orjson.loads(payload)
        return found

    def _check_again(
        self, c: sa.Connection, draft: Draft, domain: rows.Domain, config_id: str | None, now: datetime
    ) -> None:
        """Under the lock: what was committed since the check may not go with the draft."""
        if domain.generation == draft.generation:
            return
        others = self._others(c, draft.product.name, draft.targeting, config_id, now)
        problems = _conflicts(draft.product, orjson.loads(draft.payload), others)
        if problems:
            raise _invalid(draft.product.name, problems)

    def create(self, draft: Draft, *, by: str, now: datetime, also: Also | None = None) -> rows.ConfigRow:
        """Commit a new config.

        Args:
            also: What else is written in the same transaction.

        Raises:
            InvalidChangeError: It does not go with what was committed since it was checked, or there are
                as many configs as there may be.
        """
        now_ms = int(now.timestamp() * 1000)
        with self._database.write() as c:
            domain = write.lock_domain(c, self._org_id)
            self._check_again(c, draft, domain, None, now)
            if read.count_active(c, self._org_id) >= MAX_CONFIGS:
                raise InvalidChangeError(
                    f"There are {MAX_CONFIGS} active configs already; retire some first.",
                    problems=(Problem("$", f"at most {MAX_CONFIGS} active configs"),),
                )
            row = rows.ConfigRow(
                org_id=self._org_id,
                config_id=self._prefix(c, draft) + secrets.token_hex(7),
                product=draft.product.name,
                name=draft.name,
                targeting=draft.targeting.to_dict(),
                payload=_kept(draft.product, None, draft.payload),
                revision=1,
                state="active",
                created_ms=now_ms,
                updated_ms=now_ms,
                updated_by=by,
                comment=draft.comment,
                expires_ms=draft.expires_ms,
                generation=domain.generation + 1,
            )
            self._pass(c, row)
            write.put_config(c, row, expected_revision=None)
            write.set_domain(c, self._org_id, generation=row.generation)
            write.add_audit(
                c, self._org_id, at_ms=now_ms, actor=by, action="config.created",
                subject=f"config {row.config_id}",
                summary=f"Made {row.product} {row.name or row.config_id} for {describe(draft.targeting)}",
                detail=_audit_detail(row, None),
            )  # fmt: skip
            if also is not None:
                also(c, row)
        return row

    def _pass(self, c: sa.Connection, row: rows.ConfigRow) -> None:
        """Ask whoever may refuse that a config is in force (under the lock)."""
        gate = self.gates.get(row.product)
        if gate is not None and row.state == "active":
            gate(c, row)

    def _prefix(self, c: sa.Connection, draft: Draft) -> str:
        """The first characters of a new config's id, which are its audience's (under the lock)."""
        product, audience = draft.product.name, audience_key(draft.targeting.to_dict())
        audiences = Audiences(read.audiences(c, self._org_id, product))
        prefix = audiences.prefix(product, audience)
        for _, _, number in audiences.fresh:
            write.add_audience(c, self._org_id, product, audience, number)
        return prefix

    def change(
        self,
        config_id: str,
        *,
        expected_revision: int,
        fields: Mapping[str, Any],
        by: str,
        now: datetime,
        allow: Callable[[Draft], None] | None = None,
        action: str = "config.changed",
        also: Also | None = None,
        in_force: bool = True,
    ) -> tuple[rows.ConfigRow, Draft]:
        """Commit a new revision of a config; fields that are not given stay.

        Args:
            fields: Any of payload, targeting, name, comment, expires_at. A retired config that is changed
                is active again.
            action: What the audit trail calls it.
            allow: Asked with what it would become; whatever it raises ends the change.
            also: What else is written in the same transaction.
            in_force: Whether it is active then; else it is kept retired.

        Raises:
            ConflictError: ``expected_revision`` is not the present one.
            InvalidChangeError, NotFoundError: As they say.
        """
        before = self.get(config_id)
        if before.revision != expected_revision:
            # Before anything else: the author has looked at another revision than the one to be changed.
            raise moved_on(before, expected_revision)
        draft = self.check(
            product=before.product,
            payload=fields["payload"] if "payload" in fields else orjson.loads(before.payload),
            targeting=fields.get("targeting", before.targeting),
            name=fields.get("name", before.name),
            comment=fields.get("comment", ""),
            expires_at=fields.get("expires_at", before.expires_ms),
            now=now,
            config_id=config_id,
        )
        _stays(before, draft)
        if allow is not None:
            allow(draft)
        payload = _kept(draft.product, before.payload, draft.payload)
        row = self._revise(
            before, draft.name, draft.targeting.to_dict(), payload, "active" if in_force else "retired",
            draft.expires_ms if in_force else None, draft.comment, action, by, now, draft, also,
        )  # fmt: skip
        return row, draft

    def retire(
        self,
        config_id: str,
        *,
        expected_revision: int | None,
        by: str,
        now: datetime,
        comment: str = "",
        also: Also | None = None,
        again: bool = False,
    ) -> rows.ConfigRow:
        """Take a config away; its values go back everywhere. The history stays.

        Args:
            again: Write a revision though it is retired.

        Raises:
            ConflictError, NotFoundError: As they say.
            InvalidChangeError: The comment is none.
        """
        before = self.get(config_id)
        problems = _text_problems("$.comment", comment, MAX_COMMENT, newlines=True)
        if problems:
            raise _invalid(before.product, problems)
        if expected_revision is not None and expected_revision != before.revision:
            raise moved_on(before, expected_revision)
        if before.state == "retired" and not again:
            return before
        return self._revise(
            before, before.name, before.targeting, before.payload, "retired", None, comment,
            "config.retired", by, now, None, also,
        )  # fmt: skip

    def _revise(
        self,
        before: rows.ConfigRow,
        name: str,
        targeting: Mapping[str, Any],
        payload: bytes,
        state: str,
        expires_ms: int | None,
        comment: str,
        action: str,
        by: str,
        now: datetime,
        draft: Draft | None,
        also: Also | None,
    ) -> rows.ConfigRow:
        now_ms = int(now.timestamp() * 1000)
        with self._database.write() as c:
            domain = write.lock_domain(c, self._org_id)
            if draft is not None:
                self._check_again(c, draft, domain, before.config_id, now)
            row = rows.ConfigRow(
                org_id=self._org_id,
                config_id=before.config_id,
                product=before.product,
                name=name,
                targeting=dict(targeting),
                payload=payload,
                revision=before.revision + 1,
                state=state,
                created_ms=before.created_ms,
                updated_ms=now_ms,
                updated_by=by,
                comment=comment,
                expires_ms=expires_ms,
                generation=domain.generation + 1,
            )
            self._write(c, row, before, action, also)
        return row

    def _write(
        self,
        c: sa.Connection,
        row: rows.ConfigRow,
        before: rows.ConfigRow,
        action: str,
        also: Also | None,
    ) -> None:
        """Put the next revision where ``before`` is (under the lock)."""
        self._pass(c, row)
        write.put_config(c, row, expected_revision=before.revision)
        write.set_domain(c, self._org_id, generation=row.generation)
        write.add_audit(
            c, self._org_id, at_ms=row.updated_ms, actor=row.updated_by, action=action,
            subject=f"config {row.config_id}",
            summary=f"{action.partition('.')[2].capitalize()} {row.product} "
            f"{row.name or row.config_id} (revision {row.revision})",
            detail=_audit_detail(row, before),
        )  # fmt: skip
        if also is not None:
            also(c, row)

    def get(self, config_id: str) -> rows.ConfigRow:
        """One config.

        Raises:
            NotFoundError: There is none in this organisation.
        """
        row = None
        if _ID.fullmatch(config_id):  # nothing else reaches the database
            with self._database.read() as c:
                row = read.config(c, self._org_id, config_id)
        if row is None:
            raise NotFoundError(f"There is no config {config_id[:40]}.")
        return row

    def revision(self, config_id: str, number: int) -> rows.RevisionRow:
        """One revision of a config.

        Raises:
            NotFoundError: There is none of that number, or no such config.
        """
        self.get(config_id)
        with self._database.read() as c:
            row = configs.revision(c, self._org_id, config_id, number)
        if row is None:
            raise NotFoundError(f"Config {config_id} has no revision {number}.")
        return row

    def retire_all(
        self,
        product: str,
        which: Callable[[rows.ConfigRow], bool],
        *,
        by: str,
        now: datetime,
        comment: str,
        also: Also | None = None,
        finally_also: Callable[[sa.Connection, Sequence[rows.ConfigRow]], None] | None = None,
    ) -> list[rows.ConfigRow]:
        """Take every active config of a product away that is chosen, all of them or none.

        Args:
            which: Says of an active config whether it goes.
            also: What else is written with each.
            finally_also: What else is written with all, in the same transaction.
        """
        now_ms = int(now.timestamp() * 1000)
        with self._database.write() as c:
            generation = write.lock_domain(c, self._org_id).generation
            retired = []
            for before in read.configs(c, self._org_id, product=product, state="active"):
                if not which(before):
                    continue
                generation += 1
                row = replace(
                    before, revision=before.revision + 1, state="retired", expires_ms=None, comment=comment,
                    updated_ms=now_ms, updated_by=by, generation=generation,
                )  # fmt: skip
                self._write(c, row, before, "config.retired", also)
                retired.append(row)
            if finally_also is not None:
                finally_also(c, retired)
        return retired


_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)


def _kept(product: Product, before: bytes | None, payload: bytes) -> bytes:
    """The payload as it is kept, given the one before it."""
    wanted = orjson.loads(payload)
    kept = product.succeed(None if before is None else orjson.loads(before), wanted)
    return payload if kept is wanted else product.render(kept)


def _stays(before: rows.ConfigRow, draft: Draft) -> None:
    if draft.product.moves or draft.targeting == Targeting.parse(before.targeting):
        return
    words = (
        "This stays with the service and the environments it was made for: make a new one, or clone it, "
        "for others."
    )
    raise InvalidChangeError(words, problems=(Problem("$.targeting", words),))


def _conflicts(
    product: Product, payload: Mapping[str, Any], others: Mapping[ConfigId, Mapping[str, Any]]
) -> list[Problem]:
    return [Problem(_below("$.payload", p.path), p.message) for p in product.conflicts(payload, others)]


def _invalid(product: str, problems: Sequence[Problem]) -> InvalidChangeError:
    return InvalidChangeError(
        f"The {product} config has {len(problems)} problem{'s' if len(problems) != 1 else ''}; "
        "nothing was changed.",
        problems=tuple(problems),
    )


def moved_on(row: rows.ConfigRow, expected_revision: int) -> ConflictError:
    return ConflictError(
        f"Config {row.config_id} is at revision {row.revision}, not {expected_revision}: "
        "look at it again, then repeat the change.",
        expected_revision=expected_revision,
        actual_revision=row.revision,
    )


@lru_cache(maxsize=MAX_CONFIGS)
def _stored_targeting(text: str) -> Targeting:
    return Targeting.parse(orjson.loads(text))


def describe(targeting: Targeting) -> str:
    """Who a targeting is for, in words."""
    parts = [
        f"{name.replace('_', ' ')} {' or '.join(value) if isinstance(value, list) else value}"
        for name, value in targeting.to_dict().items()
    ]
    return ", ".join(parts) or "every client"


def _audit_detail(row: rows.ConfigRow, before: rows.ConfigRow | None) -> dict[str, Any]:
    """What the audit trail keeps: hashes stand for payloads, which the history has, revision by revision."""
    detail: dict[str, Any] = {
        "product": row.product,
        "name": row.name,
        "comment": row.comment,
        "after": _audited(row),
    }
    if before is not None:
        detail["before"] = _audited(before)
    return detail


def _audited(row: rows.ConfigRow) -> dict[str, Any]:
    return {
        "revision": row.revision,
        "state": row.state,
        "name": row.name,
        "targeting": row.targeting,
        "expires_ms": row.expires_ms,
        "payload_sha256": hashlib.sha256(row.payload).hexdigest(),
        "generation": row.generation,
    }


def _below(root: str, path: str) -> str:
    return root + path[1:] if path.startswith("$") else path


def _text_problems(path: str, text: object, limit: int, *, newlines: bool = False) -> list[Problem]:
    if not isinstance(text, str):
        return [Problem(path, "Expected text.")]
    if len(text) > limit:
        return [Problem(path, f"At most {limit} characters, not {len(text)}.")]
    allowed = "\n\t" if newlines else ""
    if any(ord(character) < 32 and character not in allowed for character in text):
        return [Problem(path, "Control characters are not allowed.")]
    return []


def _expires_ms(value: object, now: datetime, problems: list[Problem]) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if value <= now.timestamp() * 1000:
            problems.append(
                Problem("$.expires_at", "The time of this config is over: give a new one, or null for none.")
            )
        return value  # as stored
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        problems.append(Problem("$.expires_at", "Expected a time with zone, such as 2026-11-30T12:00:00Z."))
        return None
    if moment <= now:
        problems.append(Problem("$.expires_at", "This time is over."))
    return int(moment.timestamp() * 1000)
