"""Making signed metadata.

Builders return the part that is signed as plain dicts; ``sign_document`` lints it, encodes it once and
splices the signatures around those same bytes, so what was linted, what was signed and what travels are
one thing. Pure: keys act through ``Signer``, and ``expires`` is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sealwire.trust.canonical import sha256_hex
from sealwire.trust.keys import PublicKey, Signer
from sealwire.trust.profile import SPEC_VERSION, check_size, checked_bytes


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Who may sign for a role, and how many of them must."""

    keys: tuple[PublicKey, ...]
    threshold: int


@dataclass(frozen=True, slots=True)
class MetaEntry:
    """What a snapshot says of one role's document."""

    version: int
    length: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class TargetEntry:
    """What targets say of one file. ``custom`` holds at least an integer ``v``."""

    length: int
    sha256: str
    custom: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Delegation:
    """A product role: its keys, and the paths it may speak for (``*`` never crosses a slash)."""

    name: str
    keys: RoleKeys
    paths: tuple[str, ...]


def sign_document(
    signed: Mapping[str, object], signers: Sequence[Signer], *, role: str | None = None
) -> bytes:
    """Sign a document and return it as it travels, in canonical form.

    Args:
        signed: From one of the builders below.
        signers: At least one, each with a key of its own. Whether they meet a threshold is the
            delegator's rule, not ours.
        role: What the linter takes it for: ``profile.DIRECTOR_TARGETS`` or a delegated role's name is
            stricter than the ``_type`` it takes by default.

    Raises:
        ProfileError: Some verifier in the field would refuse it.
    """
    name = role if role is not None else str(signed.get("_type"))
    message = checked_bytes(name, signed)
    raw = envelope(message, [(signer.public_key.key_id, signer.sign(message)) for signer in signers])
    check_size(name, raw)
    return raw


def envelope(message: bytes, signatures: Sequence[tuple[str, bytes]]) -> bytes:
    """Put signatures around the canonical bytes they were made over.

    Args:
        message: Canonical bytes of the signed part.
        signatures: Key id and signature; no key id twice, as some verifiers refuse that.
    """
    if not signatures or len({key_id for key_id, _ in signatures}) != len(signatures):
        raise ValueError("a document needs signatures, each by another key")
    listed = ",".join(f'{{"keyid":"{key_id}","sig":"{signature.hex()}"}}' for key_id, signature in signatures)
    return b'{"signatures":[%b],"signed":%b}' % (listed.encode("ascii"), message)


def root_signed(*, version: int, expires: datetime, roles: Mapping[str, RoleKeys]) -> dict[str, object]:
    """A root: which keys speak for root, timestamp, snapshot and targets."""
    keys = {key.key_id: key.to_dict() for entry in roles.values() for key in entry.keys}
    return {
        "_type": "root",
        "consistent_snapshot": True,
        "expires": expires_text(expires),
        "keys": keys,
        "roles": {name: _role_entry(entry) for name, entry in roles.items()},
        "spec_version": SPEC_VERSION,
        "version": version,
    }


def timestamp_signed(
    *, version: int, expires: datetime, snapshot_version: int, snapshot_raw: bytes
) -> dict[str, object]:
    """A timestamp that pins exactly this snapshot, by version, length and hash."""
    return {
        "_type": "timestamp",
        "expires": expires_text(expires),
        "meta": {
            "snapshot.json": {
                "hashes": {"sha256": sha256_hex(snapshot_raw)},
                "length": len(snapshot_raw),
                "version": snapshot_version,
            }
        },
        "spec_version": SPEC_VERSION,
        "version": version,
    }


def snapshot_signed(
    *,
    version: int,
    expires: datetime,
    meta: Mapping[str, MetaEntry],
    custom: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """A snapshot: the versions of ``targets`` and of every delegated role.

    Args:
        version: Its own version.
        expires: UTC.
        meta: By role name, without ``.json``. A role that was ever listed stays listed.
        custom: ``org_uuid`` in a config repository.
    """
    signed: dict[str, object] = {
        "_type": "snapshot",
        "expires": expires_text(expires),
        "meta": {f"{name}.json": _meta_entry(entry) for name, entry in meta.items()},
        "spec_version": SPEC_VERSION,
        "version": version,
    }
    if custom is not None:
        signed["custom"] = dict(custom)
    return signed


def targets_signed(
    *,
    version: int,
    expires: datetime,
    targets: Mapping[str, TargetEntry],
    custom: Mapping[str, object] | None = None,
    delegations: Sequence[Delegation] | None = None,
) -> dict[str, object]:
    """Targets: files by path, and for a config repository's top level the product roles.

    Args:
        version: Its own version.
        expires: UTC.
        targets: By path.
        custom: A director's: ``opaque_backend_state`` (base64 text) and ``agent_refresh_interval`` (seconds).
        delegations: In the order they are searched; all are terminating.
    """
    signed: dict[str, object] = {
        "_type": "targets",
        "expires": expires_text(expires),
        "spec_version": SPEC_VERSION,
        "targets": {
            path: {
                "custom": entry.custom if type(entry.custom) is dict else dict(entry.custom),
                "hashes": {"sha256": entry.sha256},
                "length": entry.length,
            }
            for path, entry in targets.items()
        },
        "version": version,
    }
    if custom is not None:
        signed["custom"] = dict(custom)
    if delegations is not None:
        signed["delegations"] = {
            "keys": {key.key_id: key.to_dict() for entry in delegations for key in entry.keys.keys},
            "roles": [
                {
                    "name": entry.name,
                    "paths": list(entry.paths),
                    "terminating": True,
                    **_role_entry(entry.keys),
                }
                for entry in delegations
            ],
        }
    return signed


def expires_text(expires: datetime) -> str:
    """A moment as metadata writes it: UTC, whole seconds (rounded down), ``Z``."""
    if expires.tzinfo is None:
        raise TypeError("expires needs a time zone")
    return expires.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat() + "Z"


def _role_entry(entry: RoleKeys) -> dict[str, object]:
    return {"keyids": [key.key_id for key in entry.keys], "threshold": entry.threshold}


def _meta_entry(entry: MetaEntry) -> dict[str, object]:
    written: dict[str, object] = {"version": entry.version}
    if entry.length is not None:
        written["length"] = entry.length
    if entry.sha256 is not None:
        written["hashes"] = {"sha256": entry.sha256}
    return written
