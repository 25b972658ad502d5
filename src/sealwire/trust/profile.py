"""The linter of what we emit.

Verifiers in the field differ: one refuses a spec version, one recomputes key ids, one reads numbers as
floats, one cannot unescape a path. This module holds the one strict profile that all of them accept, and
nothing is signed that does not pass it. It says nothing of what we accept from others; ``verify`` does.

Source: trust.md 1.3, with the reasons in 1.2; agent-backend.md 4.4-4.8.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from sealwire.errors import MalformedError, SealwireError
from sealwire.trust.canonical import MAX_INTEGER, check_types, encode_checked
from sealwire.trust.keys import PublicKey

SPEC_VERSION: Final = "1.0.0"  # The reference library's own default is refused by one verifier.
TOP_LEVEL_ROLES: Final = ("root", "timestamp", "snapshot", "targets")
DIRECTOR_TARGETS: Final = "director_targets"
"""Pass as role for the director's targets: they must also carry ``opaque_backend_state``."""

MAX_BYTES: Final[Mapping[str, int]] = {
    "root": 512_000,
    "timestamp": 16_384,
    "snapshot": 2_000_000,
    "targets": 5_000_000,
    DIRECTOR_TARGETS: 1_000_000,
}
MAX_DELEGATED_BYTES: Final = 5_000_000
MAX_TARGET_LENGTH: Final = 2**32 - 1

# Three steps over all paths at once, each line ended by a line feed, because a call for each path costs more
# than the match itself. The name has no dot: agents cut everything up to its first one.
_PATHS: Final = re.compile(
    r"(?:(?:datadog/[1-9][0-9]{0,17}|employee)/[A-Z0-9_-]++/[A-Za-z0-9._-]++/[A-Za-z0-9_-]++\n)*+"
).fullmatch
_BAD_PART: Final = re.compile(
    r"/(?=[.cCpPaAnNlL])(?:\.{1,2}/|(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])[./\n])"
).search
_GLOB: Final = re.compile(r"[A-Za-z0-9._*-]+(?:/[A-Za-z0-9._*-]+)*").fullmatch
_ROLE_NAME: Final = re.compile(r"[A-Z0-9_-]+").fullmatch
_SHA256: Final = re.compile(r"[0-9a-f]{64}").fullmatch
_EXPIRES: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z").fullmatch

_COMMON: Final = frozenset({"_type", "expires", "spec_version", "version"})
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "root": _COMMON | {"consistent_snapshot", "keys", "roles"},
    "timestamp": _COMMON | {"meta"},
    "snapshot": _COMMON | {"meta"},
    "targets": _COMMON | {"targets"},
}


class ProfileError(SealwireError):
    """A document we were about to sign is outside the profile; signing it would break some verifier."""

    code = "profile"


def check_signed(role: str, signed: Mapping[str, object]) -> None:
    """Refuse a document that some verifier in the field would not accept.

    Args:
        role: ``root``, ``timestamp``, ``snapshot``, ``targets``, ``DIRECTOR_TARGETS``, or the name of a
            delegated role.
        signed: The part that is signed, as plain dicts and lists.

    Raises:
        ProfileError: It is outside the profile; the sentence names role and place.
    """
    checked_bytes(role, signed)


def checked_bytes(role: str, signed: Mapping[str, object]) -> bytes:
    """The canonical bytes of a document that passes the profile.

    Raises:
        ProfileError: It does not pass.
    """
    kind = role if role in TOP_LEVEL_ROLES else "targets"
    if signed.get("_type") != kind:
        raise _problem(role, f"_type must be {kind}")
    fields = _FIELDS[kind]
    extra = signed.keys() - fields - ({"custom", "delegations"} if kind == "targets" else {"custom"})
    if extra or not fields <= signed.keys():
        raise _problem(role, f"fields must be {', '.join(sorted(fields))}; custom is optional")
    if signed["spec_version"] != SPEC_VERSION:
        raise _problem(role, f"spec_version must be {SPEC_VERSION}")
    if not _is_count(signed["version"]) or signed["version"] == 0:
        raise _problem(role, "version must be an integer from 1 to 2^53 - 1")
    if not _is_moment(signed["expires"]):
        raise _problem(role, "expires must read like 2030-01-31T00:00:00Z")
    custom = signed.get("custom", {})
    if type(custom) is not dict:
        raise _problem(role, "custom must be an object")
    unchecked: list[object] = [signed]
    if kind == "root":
        _check_root(role, signed)
    elif kind == "timestamp":
        _check_timestamp(role, signed["meta"])
    elif kind == "snapshot":
        _check_snapshot(role, signed["meta"], custom)
    else:
        unchecked = _check_targets(role, signed, custom)
        unchecked.append({name: value for name, value in signed.items() if name != "targets"})
    try:
        check_types(unchecked)
        return encode_checked(signed)
    except MalformedError as error:
        raise _problem(role, error.public) from error


def check_size(role: str, raw: bytes) -> None:
    """Refuse a signed document that is larger than some verifier reads.

    Raises:
        ProfileError: It is.
    """
    limit = MAX_BYTES.get(role, MAX_DELEGATED_BYTES)
    if len(raw) > limit:
        raise _problem(role, f"it has {len(raw)} bytes, and the limit is {limit}")


def order_warnings(signed: Mapping[str, object]) -> tuple[str, ...]:
    """Keys that one optional verifier, which ignores case when it sorts, would put in another order.

    Such a document is accepted everywhere else; the warning is for whoever switches that verifier on.
    """
    return tuple(_misordered("$", signed))


def _misordered(path: str, value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if sorted(value) != sorted(value, key=str.lower):
            yield f"{path}: keys sort differently when case is ignored"
        for key, inner in value.items():
            yield from _misordered(f"{path}.{key}", inner)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _misordered(f"{path}[{position}]", inner)


def _check_root(role: str, signed: Mapping[str, object]) -> None:
    if signed["consistent_snapshot"] is not True:
        raise _problem(role, "consistent_snapshot must be true")
    keys, roles = signed["keys"], signed["roles"]
    known = _check_keys(role, keys)
    if type(roles) is not dict or roles.keys() != set(TOP_LEVEL_ROLES):
        raise _problem(role, "roles must be root, timestamp, snapshot and targets")
    for name, entry in roles.items():
        if type(entry) is not dict or entry.keys() != {"keyids", "threshold"}:
            raise _problem(role, f"roles.{name} must have keyids and threshold")
        _check_threshold(role, f"roles.{name}", entry, known)


def _check_timestamp(role: str, meta: object) -> None:
    if type(meta) is not dict or meta.keys() != {"snapshot.json"}:
        raise _problem(role, "meta must list snapshot.json and nothing else")
    entry = meta["snapshot.json"]
    _check_meta_entry(role, "snapshot.json", entry)
    if entry.keys() != {"version", "length", "hashes"}:
        raise _problem(role, "meta of snapshot.json must have version, length and hashes")


def _check_snapshot(role: str, meta: object, custom: Mapping[str, object]) -> None:
    if type(meta) is not dict or "targets.json" not in meta:
        raise _problem(role, "meta must list targets.json")
    for filename, entry in meta.items():
        name = filename.removesuffix(".json") if type(filename) is str else ""
        if name == filename or not (name == "targets" or _ROLE_NAME(name)):
            raise _problem(role, f"meta names {filename!r}; a role's name has only A-Z, 0-9, _ and -")
        _check_meta_entry(role, filename, entry)
    org_uuid = custom.get("org_uuid", "-")
    if type(org_uuid) is not str or not org_uuid:
        raise _problem(role, "custom.org_uuid must be a string that is not empty")


def _check_meta_entry(role: str, filename: str, entry: object) -> None:
    if type(entry) is not dict or "version" not in entry or entry.keys() - {"version", "length", "hashes"}:
        raise _problem(role, f"meta of {filename} must have version, and at most length and hashes")
    if not _is_count(entry["version"]) or entry["version"] == 0:
        raise _problem(role, f"meta of {filename}: version must be an integer from 1 to 2^53 - 1")
    if not _is_count(entry.get("length", 1)) or entry.get("length", 1) == 0:
        raise _problem(role, f"meta of {filename}: length must be an integer from 1")
    if "hashes" in entry and not _is_sha256_only(entry["hashes"]):
        raise _problem(role, f"meta of {filename}: hashes must be one lower-case sha256")


def _check_targets(role: str, signed: Mapping[str, object], custom: Mapping[str, object]) -> list[object]:
    """Check targets down to each entry's ``custom``; those are returned, unchecked but for ``v``."""
    if role not in ("targets", DIRECTOR_TARGETS):
        if not _ROLE_NAME(role):
            raise _problem(role, "a role's name has only A-Z, 0-9, _ and -")
        if "delegations" in signed:
            raise _problem(role, "a delegated role must not delegate further")
    if role == DIRECTOR_TARGETS and "opaque_backend_state" not in custom:
        raise _problem(
            role, "custom.opaque_backend_state must be there: some tracers refuse targets without it"
        )
    if "opaque_backend_state" in custom and not _is_base64(custom["opaque_backend_state"]):
        raise _problem(role, "custom.opaque_backend_state must be base64 text")
    if not _is_count(custom.get("agent_refresh_interval", 0)):
        raise _problem(role, "custom.agent_refresh_interval must be an integer of seconds")
    targets = signed["targets"]
    if type(targets) is not dict:
        raise _problem(role, "targets must be an object")
    customs: list[object] = []
    digests: list[str] = []
    for path, entry in targets.items():
        # The hot loop: 10,000 targets must pass in well under 30 ms. One test if all is well, words if not.
        if not (
            type(entry) is dict
            and len(entry) == 3
            and type(length := entry.get("length")) is int
            and 0 < length <= MAX_TARGET_LENGTH
            and type(hashes := entry.get("hashes")) is dict
            and len(hashes) == 1
            and type(digest := hashes.get("sha256")) is str
            and len(digest) == 64
            and type(about := entry.get("custom")) is dict
            and type(v := about.get("v")) is int
            and 0 <= v <= MAX_INTEGER
            and ("expires" not in about or _is_count(about["expires"]))
        ):
            raise _problem(role, _what_is_wrong(path, entry))
        customs.append(about)
        digests.append(digest)
    if not (_are_paths(targets) and _is_lower_hex("".join(digests))):
        wrong = next(item for item in targets.items() if not (_are_paths(item[:1]) and _is_digest(item[1])))
        raise _problem(role, _what_is_wrong(*wrong))
    if "delegations" in signed:
        _check_delegations(role, signed["delegations"])
    return customs


def _are_paths(paths: Iterable[object]) -> bool:
    try:
        lines = "\n".join([*paths, ""])  # type: ignore[list-item] # what is not a string is caught here
    except TypeError:
        return False
    return _PATHS(lines) is not None and _BAD_PART(lines) is None


def _is_digest(entry: Mapping[str, Mapping[str, str]]) -> bool:
    return _is_lower_hex(entry["hashes"]["sha256"])


def _is_lower_hex(text: str) -> bool:
    try:
        return bytes.fromhex(text).hex() == text
    except ValueError:
        return False


def _what_is_wrong(path: object, entry: object) -> str:
    """Words for a target that failed the hot test."""
    if not _are_paths([path]):
        return (
            f"path {path!r} must read datadog/<org>/<PRODUCT>/<id>/<name> or employee/<PRODUCT>/<id>/<name>, "
            "a name without a dot, and no device name of another system"
        )
    if type(entry) is not dict or entry.keys() != {"length", "hashes", "custom"}:
        return f"target {path} must have length, hashes and custom"
    length, about = entry["length"], entry["custom"]
    if type(length) is not int or not 0 < length <= MAX_TARGET_LENGTH:
        return f"target {path}: length must be from 1 to 2^32 - 1; an empty file cannot be served"
    if not _is_sha256_only(entry["hashes"]):
        return f"target {path}: hashes must be one lower-case sha256"
    if type(about) is not dict or not _is_count(about.get("v")):
        return f"target {path}: custom.v must be an integer from 0 to 2^53 - 1"
    return f"target {path}: custom.expires must be an integer of seconds"


def _check_delegations(role: str, delegations: object) -> None:
    if type(delegations) is not dict or delegations.keys() != {"keys", "roles"}:
        raise _problem(role, "delegations must have keys and roles")
    known = _check_keys(role, delegations["keys"])
    roles = delegations["roles"]
    if type(roles) is not list:
        raise _problem(role, "delegations.roles must be a list")
    seen: set[str] = set()
    for entry in roles:
        if type(entry) is not dict or entry.keys() != {"name", "keyids", "threshold", "terminating", "paths"}:
            raise _problem(role, "a delegation must have name, keyids, threshold, terminating and paths")
        name, paths = entry["name"], entry["paths"]
        if type(name) is not str or not _ROLE_NAME(name) or name in seen:
            raise _problem(role, f"delegation {name!r} must have a name of its own in A-Z, 0-9, _ and -")
        seen.add(name)
        if entry["terminating"] is not True:
            raise _problem(role, f"delegation {name} must be terminating")
        if type(paths) is not list or not paths or not all(type(p) is str and _GLOB(p) for p in paths):
            raise _problem(role, f"delegation {name} must have paths, with * as their only wildcard")
        if len(set(paths)) != len(paths):
            raise _problem(role, f"delegation {name} names a path twice")
        _check_threshold(role, f"delegation {name}", entry, known)


def _check_keys(role: str, keys: object) -> frozenset[str]:
    if type(keys) is not dict:
        raise _problem(role, "keys must be an object")
    for key_id, published in keys.items():
        try:
            key = PublicKey.from_dict(published if type(published) is dict else {})
        except MalformedError as error:
            raise _problem(role, f"key {key_id} is not an ed25519 key in the published form") from error
        if key.key_id != key_id:
            raise _problem(role, f"key {key_id} must be filed under the hash of its fields, {key.key_id}")
    return frozenset(keys)


def _check_threshold(role: str, where: str, entry: Mapping[str, object], known: frozenset[str]) -> None:
    key_ids, threshold = entry["keyids"], entry["threshold"]
    if type(key_ids) is not list or not all(type(k) is str and k in known for k in key_ids):
        raise _problem(role, f"{where} names a key that is not in keys")
    if len(set(key_ids)) != len(key_ids):
        raise _problem(role, f"{where} names a key twice")
    if type(threshold) is not int or not 1 <= threshold <= len(key_ids):
        raise _problem(role, f"{where} must have a threshold from 1 to the number of its keys")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _is_sha256_only(hashes: object) -> bool:
    if type(hashes) is not dict or len(hashes) != 1:
        return False
    digest = hashes.get("sha256")
    return type(digest) is str and _SHA256(digest) is not None


def _is_moment(text: object) -> bool:
    if type(text) is not str or not _EXPIRES(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_base64(text: object) -> bool:
    try:
        return type(text) is str and bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def _problem(role: str, what: str) -> ProfileError:
    return ProfileError(f"The {role} document is outside the signing profile: {what}.".replace("..", "."))
