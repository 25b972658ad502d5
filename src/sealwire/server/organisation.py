"""Organisations and their trust domains: made, and their roots renewed.

A trust domain has two repositories. Root version 1 of each gives every role to its three root keys at
threshold two and expired in 1970: it can lead to version 2 and to nothing else, and it is what agents are
given, for ever. Version 2 hands the online roles to keys of this server.

    director  timestamp, snapshot, targets: one online key
    config    timestamp, snapshot: one online key; targets: three keys of their own, threshold two;
              the product roles: the publisher's key (in the delegations)
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import orjson
import sqlalchemy as sa

from sealwire.errors import ConflictError, InvalidChangeError, Problem, SettingsError
from sealwire.server.keyring import ROOT_THRESHOLD, Keyring
from sealwire.server.store import read, rows, write
from sealwire.server.store.database import Database
from sealwire.trust.keys import PublicKey
from sealwire.trust.sign import RoleKeys, root_signed, sign_document

ROOT_LIFETIME = timedelta(days=365)
RENEW_ROOTS_BEFORE = timedelta(days=60)
REPOSITORIES = ("director", "config")
DIRECTOR_ONLINE = "director-online"
CONFIG_ONLINE = "config-online"
PUBLISHER = "publisher"
ECHO = "echo"  # its seed keys the MAC of what agents send back; it signs nothing
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def create(database: Database, keyring: Keyring, *, name: str, by: str, now: datetime) -> rows.Organisation:
    """A new organisation with keys and roots; its repositories are signed by the next reconciliation.

    Raises:
        InvalidChangeError: The name is empty or too long.
        ConflictError: The name is taken.
    """
    name = name.strip()
    if not 1 <= len(name) <= 100 or any(ord(character) < 32 for character in name):
        raise InvalidChangeError(
            "An organisation needs a name.", problems=(Problem("$.name", "1 to 100 printable characters"),)
        )
    org_uuid = str(uuid.uuid4())
    now_ms = int(now.timestamp() * 1000)
    with database.write() as c:
        existing = read.organisations(c)
        if any(organisation.name == name for organisation in existing):
            raise ConflictError(f"There is an organisation named {name} already.")
        organisation = rows.Organisation(
            org_id=max((o.org_id for o in existing), default=0) + 1,
            uuid=org_uuid,
            name=name,
            remote_config=True,
            roots_on_server=True,
            created_ms=now_ms,
        )
        write.add_organisation(c, organisation)
        _, echo = keyring.make(org_uuid, ECHO)
        write.replace_online_key(
            c, organisation.org_id, key_id=echo.key_id, purpose=ECHO, wrapped=echo.wrapped, now_ms=now_ms
        )
        for repository in REPOSITORIES:
            _first_roots(c, keyring, organisation, repository, now)
        write.add_audit(
            c,
            organisation.org_id,
            at_ms=now_ms,
            actor=by,
            action="organisation.created",
            subject=f"organisation {organisation.org_id}",
            summary=f"Made the organisation {name} with roots on this server",
            detail={"uuid": org_uuid},
        )
    return organisation


def _first_roots(
    c: sa.Connection, keyring: Keyring, organisation: rows.Organisation, repository: str, now: datetime
) -> None:
    now_ms = int(now.timestamp() * 1000)
    holders = keyring.make_root_keys(organisation.uuid, f"{repository}-root")
    keys = RoleKeys(tuple(holder.public_key for holder in holders), ROOT_THRESHOLD)
    everything = dict.fromkeys(("root", "timestamp", "snapshot", "targets"), keys)
    signers = holders[:ROOT_THRESHOLD]
    first = root_signed(version=1, expires=_LONG_AGO, roles=everything)
    write.add_root(c, organisation.org_id, repository, 1, sign_document(first, signers), now_ms=now_ms)
    roles = {"root": keys, **_new_online_roles(c, keyring, organisation, repository, 2, now_ms)}
    second = root_signed(version=2, expires=now + ROOT_LIFETIME, roles=roles)
    write.add_root(c, organisation.org_id, repository, 2, sign_document(second, signers), now_ms=now_ms)


def _new_online_roles(
    c: sa.Connection,
    keyring: Keyring,
    organisation: rows.Organisation,
    repository: str,
    root_version: int,
    now_ms: int,
) -> dict[str, RoleKeys]:
    """Fresh keys for every role but root, all at once: nothing less recovers from a fast-forward."""

    def online(purpose: str) -> RoleKeys:
        signer, key = keyring.make(organisation.uuid, purpose)
        write.replace_online_key(
            c,
            organisation.org_id,
            key_id=key.key_id,
            purpose=purpose,
            wrapped=key.wrapped,
            now_ms=now_ms,
        )
        return RoleKeys((signer.public_key,), 1)

    if repository == "director":
        keys = online(DIRECTOR_ONLINE)
        return dict.fromkeys(("timestamp", "snapshot", "targets"), keys)
    keys = online(CONFIG_ONLINE)
    online(PUBLISHER)
    holders = keyring.make_root_keys(organisation.uuid, f"config-targets-r{root_version}")
    targets = RoleKeys(tuple(holder.public_key for holder in holders), ROOT_THRESHOLD)
    return {"timestamp": keys, "snapshot": keys, "targets": targets}


def rotate(
    database: Database,
    keyring: Keyring,
    organisation: rows.Organisation,
    *,
    repository: str,
    recover: bool,
    by: str,
    now: datetime,
) -> int:
    """Sign the next root of a repository: fresh keys for timestamp, snapshot and targets, a new year.

    Args:
        database: The store.
        keyring: Must still find a threshold of the root keys.
        organisation: Whose.
        repository: ``director`` or ``config``.
        recover: Told apart only in the audit: the same root heals a fast-forward, because it replaces the
            keys of all three online roles together, and agents forget what those had signed.
        by: The actor.
        now: Reference time.

    Returns:
        The version of the new root. Nothing signed with the old keys is served once it is published.

    Raises:
        SettingsError: The root keys are not on this server.
        InvalidChangeError: No such repository.
    """
    if repository not in REPOSITORIES:
        raise InvalidChangeError(
            f"There is no repository {repository}.",
            problems=(Problem("$.repository", "director or config"),),
        )
    now_ms = int(now.timestamp() * 1000)
    with database.write() as c:
        domain = write.lock_domain(c, organisation.org_id)
        chain = read.roots(c, organisation.org_id, repository)
        last = orjson.loads(chain[-1])["signed"]
        holder_ids = last["roles"]["root"]["keyids"]
        signers = keyring.open_root_keys(organisation.uuid, holder_ids)
        version = int(last["version"]) + 1
        holders = tuple(PublicKey.from_dict(last["keys"][key_id]) for key_id in holder_ids)
        roles = {
            "root": RoleKeys(holders, int(last["roles"]["root"]["threshold"])),
            **_new_online_roles(c, keyring, organisation, repository, version, now_ms),
        }
        signed = root_signed(version=version, expires=now + ROOT_LIFETIME, roles=roles)
        raw = sign_document(signed, signers)
        write.add_root(c, organisation.org_id, repository, version, raw, now_ms=now_ms)
        write.set_domain(c, organisation.org_id, key_epoch=domain.key_epoch + 1)
        write.add_audit(
            c,
            organisation.org_id,
            at_ms=now_ms,
            actor=by,
            action="root.recovered" if recover else "root.rotated",
            subject=f"{repository} repository",
            summary=f"Signed root {version} of the {repository} repository with fresh online keys",
            detail={"version": version},
        )
    return version


def root_summary(raw_chain: list[bytes], *, roots_on_server: bool, now: datetime) -> dict[str, object]:
    """What people want to know of a repository's roots."""
    last = orjson.loads(raw_chain[-1])["signed"]
    expires = datetime.fromisoformat(last["expires"])
    root = last["roles"]["root"]
    return {
        "version": last["version"],
        "expires": last["expires"],
        "expires_in_days": (expires - now).days,
        "roots_on_server": roots_on_server,
        "keys": len(root["keyids"]),
        "threshold": root["threshold"],
        "first_root": raw_chain[0].decode(),
    }


def by_id(organisations: list[rows.Organisation], org_id: int) -> rows.Organisation:
    """The organisation with this id."""
    for organisation in organisations:
        if organisation.org_id == org_id:
            return organisation
    raise SettingsError(f"There is no organisation {org_id} in this database.")
