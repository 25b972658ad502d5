"""Keys that come in: API keys of agents, application keys of people and the command line.

Both are random, shown once and stored as SHA-256 (they have 128 bits and more of their own, so a slow hash
would buy nothing). A lookup is a dictionary read: no database on the path of a poll.

An application key of a user may what the user may at that moment, cut down to its scopes when it has any;
the key of a user who is disabled is dead. ``reload`` is called after every change of users, roles and keys.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sealwire.errors import InvalidChangeError, NotFoundError, Problem, UnauthenticatedError
from sealwire.server.access.permissions import Principal, grants_of
from sealwire.server.access.roles import all_grants
from sealwire.server.store import read, roles, rows, withdrawals, write
from sealwire.server.store.database import Database

MAX_KEY_CHARS = 200


@dataclass(frozen=True, slots=True)
class AgentKey:
    """The key an agent asks with."""

    key_id: str
    org_id: int
    remote_config: bool
    revoked: bool = False


def digest(secret: str) -> str:
    """How a key is stored and looked up."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def digest_sent(secret: str) -> str:
    """The digest of a key as somebody sent it: spaces around it are not meant, and nothing is that long."""
    return digest(secret.strip()[:MAX_KEY_CHARS])


class Access:
    """All live keys, in memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._api: Mapping[str, AgentKey] = {}
        self._revoked: Mapping[str, AgentKey] = {}
        self._may_poll: frozenset[str] = frozenset()
        self._api_rows: tuple[rows.ApiKeyRow, ...] = ()
        self._reloading = threading.Lock()
        self._application: Mapping[str, Principal] = {}
        self._used: dict[str, int] = {}
        self._application_used: dict[str, int] = {}
        self.reload()

    def reload(self) -> None:
        """Read the keys again: after a change, and now and then for changes of other replicas."""
        with self._reloading:  # or what was read first could be what counts
            self._reload()

    def _reload(self) -> None:
        with self._database.read() as c:
            api = read.api_keys(c)
            application = read.application_keys(c)
            users = roles.active_users(c)
            grants = all_grants(c) if any(key.user_id for key in application) else {}
        self._api = {
            key.sha256: AgentKey(key.key_id, key.org_id, key.remote_config)
            for key in api
            if key.revoked_ms is None
        }
        self._revoked = {
            key.sha256: AgentKey(key.key_id, key.org_id, False, revoked=True)
            for key in api
            if key.revoked_ms is not None
        }
        self._may_poll = frozenset(key.key_id for key in self._api.values() if key.remote_config)
        self._api_rows = tuple(api)
        found: dict[str, Principal] = {}
        for key in application:
            scopes = None if key.scopes is None else frozenset(key.scopes)
            if key.user_id is None:
                found[key.sha256] = Principal(
                    key.user, key.org_id, grants_of(key.role), key_id=key.key_id, scopes=scopes
                )
            elif key.user_id in users:
                org_id, email = users[key.user_id]
                found[key.sha256] = Principal(
                    email, org_id, grants.get(key.user_id, ()), user_id=key.user_id, key_id=key.key_id,
                    scopes=scopes,
                )  # fmt: skip
        self._application = found

    def agent_key(self, secret: str) -> AgentKey | None:
        """The live API key with this secret, or None."""
        return self.agent_key_of(digest_sent(secret))

    def agent_key_of(self, sha256: str) -> AgentKey | None:
        """The live API key with this digest, or None; notes that it was used."""
        key = self._api.get(sha256)
        if key is not None:
            self._used[key.key_id] = int(time.time() * 1000)
        return key

    def revoked_key_of(self, sha256: str) -> AgentKey | None:
        """The revoked API key with this digest, or None; to say why somebody is refused."""
        return self._revoked.get(sha256)

    def may_poll(self, key_id: str) -> bool:
        """Whether this API key is live and has the Remote Configuration scope."""
        return key_id in self._may_poll

    @property
    def api_key_rows(self) -> tuple[rows.ApiKeyRow, ...]:
        """API keys of every organisation, oldest first; the same object until they were read again."""
        return self._api_rows

    def last_used_ms(self, key: rows.ApiKeyRow) -> int | None:
        """When an API key was last used, what is not written yet included."""
        return max(filter(None, (key.last_used_ms, self._used.get(key.key_id))), default=None)

    def principal(self, secret: str) -> Principal:
        """Who holds this application key.

        Raises:
            UnauthenticatedError: Nobody.
        """
        principal = self.principal_of(digest_sent(secret))
        if principal is None:
            raise UnauthenticatedError("The application key is not known here. Run `sealwire login`.")
        return principal

    def principal_of(self, sha256: str) -> Principal | None:
        """Who holds the application key with this digest, or None; notes that it was used."""
        principal = self._application.get(sha256)
        if principal is not None:
            self._application_used[principal.key_id] = int(time.time() * 1000)
        return principal

    def principal_of_key(self, key_id: str) -> Principal | None:
        """Who holds the application key with this id, or None: it was revoked, or its user is disabled."""
        return next((one for one in self._application.values() if one.key_id == key_id), None)

    def flush_use(self) -> None:
        """Write when keys were last used."""
        used, self._used = self._used, {}
        application_used, self._application_used = self._application_used, {}
        if used or application_used:
            with self._database.write() as c:
                write.note_api_key_use(c, used)
                write.note_application_key_use(c, application_used)

    # Changes ----------------------------------------------------------------------------------------

    def create_api_key(
        self, org_id: int, *, name: str, remote_config: bool, by: str, now_ms: int
    ) -> tuple[rows.ApiKeyRow, str]:
        """A new API key: its row, and its secret, which is not kept."""
        name = checked_name(name)
        secret = secrets.token_hex(16)
        row = rows.ApiKeyRow(
            key_id=secrets.token_hex(6),
            org_id=org_id,
            name=name,
            sha256=digest(secret),
            last4=secret[-4:],
            remote_config=remote_config,
            created_ms=now_ms,
            created_by=by,
            last_used_ms=None,
            revoked_ms=None,
        )
        scope = "with" if remote_config else "without"
        with self._database.write() as c:
            if remote_config:
                withdrawals.require_switched_on(c, org_id)
            write.add_api_key(c, row)
            write.add_audit(
                c, org_id, at_ms=now_ms, actor=by, action="api_key.created", subject=f"key {row.key_id}",
                summary=f"Made the API key {name} {scope} the Remote Configuration scope",
            )  # fmt: skip
        self.reload()
        return row, secret

    def change_api_key(
        self, org_id: int, key_id: str, *, name: str | None, remote_config: bool | None, by: str, now_ms: int
    ) -> None:
        """Rename a key, give or take its scope."""
        values: dict[str, object] = {}
        if name is not None:
            values["name"] = checked_name(name)
        if remote_config is not None:
            # Whichever it shall be: a withdrawal on the way there ends with it.
            values |= {"remote_config": remote_config, "withdrawing_ms": None, "then_revoked": False}
        if not values:
            raise InvalidChangeError(
                "Nothing to change.", problems=(Problem("$", "give name or remote_config"),)
            )
        _check_id(key_id)
        with self._database.write() as c:
            before = withdrawals.live_api_key(c, org_id, key_id)
            if remote_config:
                withdrawals.require_switched_on(c, org_id)
            write.change_api_key(c, org_id, key_id, **values)
            write.add_audit(
                c, org_id, at_ms=now_ms, actor=by, action="api_key.changed", subject=f"key {key_id}",
                summary=_what_changed(before, name=name, remote_config=remote_config),
                detail={
                    field: {"from": getattr(before, field), "to": values[field]}
                    for field in ("name", "remote_config")
                    if field in values
                },
            )  # fmt: skip
        self.reload()

    def revoke_api_key(self, org_id: int, key_id: str, *, by: str, now_ms: int) -> None:
        """Revoke a key for good; one that is revoked stays as it is."""
        _check_id(key_id)
        with self._database.write() as c:
            key = withdrawals.api_key(c, org_id, key_id)
            if key.revoked_ms is not None:
                return
            write.change_api_key(
                c, org_id, key_id, revoked_ms=now_ms, withdrawing_ms=None, then_revoked=False
            )
            write.add_audit(
                c, org_id, at_ms=now_ms, actor=by, action="api_key.revoked", subject=f"key {key_id}",
                summary=f"Revoked the API key {key.name}",
            )  # fmt: skip
        self.reload()

    @property
    def has_application_keys(self) -> bool:
        """Whether anybody can sign in."""
        return bool(self._application)

    def create_application_key(self, org_id: int, *, user: str, role: str, now_ms: int) -> str:
        """A new application key; returns its secret, which is not kept."""
        secret = new_application_key()
        self.add_application_key(secret, org_id, user=user, role=role, now_ms=now_ms)
        return secret

    def add_application_key(self, secret: str, org_id: int, *, user: str, role: str, now_ms: int) -> None:
        """Let a key that was made before count; it is stored hashed."""
        with self._database.write() as c:
            write.add_application_key(
                c, key_id=secrets.token_hex(6), org_id=org_id, user=user, role=role,
                sha256=digest(secret), last4=secret[-4:], now_ms=now_ms,
            )  # fmt: skip
            write.add_audit(
                c, org_id, at_ms=now_ms, actor=user, action="application_key.created",
                subject=f"user {user}", summary=f"Made an application key for {user}",
            )  # fmt: skip
        self.reload()


def new_application_key() -> str:
    """A secret that nobody can guess."""
    return secrets.token_hex(20)


_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)


def _what_changed(key: rows.ApiKeyRow, *, name: str | None, remote_config: bool | None) -> str:
    done = []
    if name is not None and name != key.name:
        done.append(f"renamed it {name.strip()}")
    if remote_config is True and key.withdrawing_ms is not None:
        done.append("let its agents keep their configs")
    elif remote_config is not None and remote_config != key.remote_config:
        done.append(f"{'gave it' if remote_config else 'took'} the Remote Configuration scope")
    return f"API key {key.name}: {' and '.join(done) or 'nothing new'}"


def _check_id(key_id: str) -> None:
    if not _ID.fullmatch(key_id):  # nothing else reaches the database
        raise NotFoundError(f"There is no API key {key_id[:40]}.")


def checked_name(name: str) -> str:
    """The name of a key as it is kept.

    Raises:
        InvalidChangeError: It cannot be used.
    """
    name = name.strip()
    if not 1 <= len(name) <= 100 or any(ord(character) < 32 for character in name):
        raise InvalidChangeError(
            "A key needs a name.", problems=(Problem("$.name", "1 to 100 printable characters"),)
        )
    return name
