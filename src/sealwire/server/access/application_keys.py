"""Application keys of users, as people make and revoke them.

A key may what its user may at that moment, cut down to its scopes when it has any: see ``keys``, which knows
the live ones. Nobody makes a key that may more than they may themselves at that moment, be they a key too.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from sealwire.errors import InvalidChangeError, NotFoundError, NotPermittedError, Problem
from sealwire.server.access.keys import Access, checked_name, digest, new_application_key
from sealwire.server.access.permissions import Principal, known_permission
from sealwire.server.store import read, rows, write
from sealwire.server.store.database import Database

OWN, SEE_ALL, REVOKE_ALL = "user_app_keys", "org_app_keys_read", "org_app_keys_write"
MAX_OF_A_USER = 50
_MISSING = "There is no such application key, or it was revoked already."


class ApplicationKeys:
    """Application keys of all organisations; ``access`` learns of every change."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def own(self, by: Principal) -> list[rows.ApplicationKeyRow]:
        """One's own live keys, oldest first."""
        by.require(OWN)
        return [key for key in self._live(by) if by.user_id and key.user_id == by.user_id]

    def everybodys(self, by: Principal) -> list[rows.ApplicationKeyRow]:
        """Every live key of the organisation, oldest first."""
        by.require(SEE_ALL)
        return self._live(by)

    def _live(self, by: Principal) -> list[rows.ApplicationKeyRow]:
        self._access.flush_use()
        with self._database.read() as c:
            return read.application_keys(c, by.org_id)

    def create(
        self, by: Principal, *, name: str, scopes: Iterable[str] | None, now_ms: int
    ) -> tuple[rows.ApplicationKeyRow, str]:
        """A new key of whoever asks: its row, and its secret, which is not kept.

        Args:
            scopes: Permissions it is cut down to; None: it may whatever its user may.

        Raises:
            InvalidChangeError, NotPermittedError: As they say; nothing was made.
        """
        by.require(OWN)
        if not by.user_id:
            raise InvalidChangeError("An application key belongs to a user: sign in as one to make it.")
        chosen = _checked_scopes(by, scopes)
        name = checked_name(name)
        secret = new_application_key()
        row = rows.ApplicationKeyRow(
            secrets.token_hex(6), by.org_id, by.user, "", digest(secret), None, secret[-4:], name,
            by.user_id, chosen, now_ms, None,
        )  # fmt: skip
        with self._database.write() as c:
            has = [key for key in read.application_keys(c, by.org_id) if key.user_id == by.user_id]
            if len(has) >= MAX_OF_A_USER:
                raise InvalidChangeError(
                    f"A user may have {MAX_OF_A_USER} application keys: revoke one that is not used."
                )
            write.add_application_key(
                c, key_id=row.key_id, org_id=row.org_id, user=row.user, role=row.role, sha256=row.sha256,
                last4=row.last4, now_ms=now_ms, name=name, user_id=row.user_id, scopes=chosen,
            )  # fmt: skip
            cut = "" if chosen is None else f", cut to {len(chosen)} scope{'' if len(chosen) == 1 else 's'}"
            write.add_audit(
                c, by.org_id, at_ms=now_ms, actor=by.user, action="application_key.created",
                subject=f"application key {row.key_id}",
                summary=f"Made the application key {name} of {by.user}{cut}",
                detail={"user_id": by.user_id, "scopes": None if chosen is None else list(chosen)},
            )  # fmt: skip
        self._access.reload()
        return row, secret

    def revoke_own(self, by: Principal, key_id: str, *, now_ms: int) -> rows.ApplicationKeyRow:
        """End a key of one's own.

        Raises:
            NotFoundError: They have no such key.
        """
        by.require(OWN)
        return self._revoke(by, key_id, whose=by.user_id or "nobody", now_ms=now_ms)

    def revoke_anybodys(self, by: Principal, key_id: str, *, now_ms: int) -> rows.ApplicationKeyRow:
        """End a key of anybody in the organisation, and those that are nobody's.

        Raises:
            NotFoundError: There is no such key.
        """
        by.require(REVOKE_ALL)
        return self._revoke(by, key_id, whose=None, now_ms=now_ms)

    def _revoke(
        self, by: Principal, key_id: str, *, whose: str | None, now_ms: int
    ) -> rows.ApplicationKeyRow:
        with self._database.write() as c:
            key = next((one for one in read.application_keys(c, by.org_id) if one.key_id == key_id), None)
            if key is None or (whose is not None and key.user_id != whose):
                raise NotFoundError(_MISSING)
            write.revoke_application_key(c, by.org_id, key_id, now_ms=now_ms)
            write.add_audit(
                c, by.org_id, at_ms=now_ms, actor=by.user, action="application_key.revoked",
                subject=f"application key {key_id}",
                summary=f"Revoked the application key {key.name or key.last4} of {key.user}",
            )  # fmt: skip
        self._access.reload()
        return key


def _checked_scopes(by: Principal, scopes: Iterable[str] | None) -> tuple[str, ...] | None:
    if scopes is None:
        if by.scopes is not None:  # Attack: a key with few scopes makes one with all.
            raise NotPermittedError("This key has scopes, so a key it makes needs some of them too.")
        return None
    chosen: set[str] = set()
    for number, name in enumerate(scopes):
        known = known_permission(name)
        if known is None:
            raise InvalidChangeError(
                "There is no such permission.", problems=(Problem(f"$.scopes[{number}]", "a permission"),)
            )
        by.require(known)
        chosen.add(known)
    if not chosen:
        raise InvalidChangeError(
            "A key without a scope opens nothing.",
            problems=(Problem("$.scopes", "at least one, or none named"),),
        )
    return tuple(sorted(chosen))
