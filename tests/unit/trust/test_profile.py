"""The linter lets through what every verifier takes, and nothing of what one of them refuses."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from sealwire.trust.canonical import sha256_hex
from sealwire.trust.keys import Ed25519Signer
from sealwire.trust.profile import DIRECTOR_TARGETS, ProfileError, check_signed, check_size, order_warnings
from sealwire.trust.sign import (
    Delegation,
    MetaEntry,
    RoleKeys,
    TargetEntry,
    root_signed,
    snapshot_signed,
    targets_signed,
    timestamp_signed,
)

EXPIRES = datetime(2099, 1, 1, tzinfo=UTC)
KEY = Ed25519Signer.from_seed(b"\x01" * 32).public_key
OTHER = Ed25519Signer.from_seed(b"\x02" * 32).public_key
PATH = "datadog/2/ASM_DATA/blocked/config"
HEX = "ab" * 32

Change = Callable[[dict[str, Any]], object]


def documents() -> dict[str, dict[str, Any]]:
    """One document of each kind that passes."""
    one_key = RoleKeys((KEY,), 1)
    return {
        "root": root_signed(
            version=1,
            expires=EXPIRES,
            roles={
                "root": RoleKeys((KEY, OTHER), 2),
                "timestamp": one_key,
                "snapshot": one_key,
                "targets": one_key,
            },
        ),
        "timestamp": timestamp_signed(version=1, expires=EXPIRES, snapshot_version=1, snapshot_raw=b"{}"),
        "snapshot": snapshot_signed(
            version=1,
            expires=EXPIRES,
            meta={"targets": MetaEntry(1), "ASM_DATA-0F": MetaEntry(1, 100, HEX)},
            custom={"org_uuid": "uuid"},
        ),
        "targets": targets_signed(
            version=1,
            expires=EXPIRES,
            targets={PATH: TargetEntry(2, HEX, {"v": 1})},
            delegations=[Delegation("ASM_DATA", one_key, ("datadog/*/ASM_DATA/*/*",))],
        ),
        DIRECTOR_TARGETS: targets_signed(
            version=1,
            expires=EXPIRES,
            targets={
                PATH: TargetEntry(2, HEX, {"v": 1, "expires": 2_000_000_000}),
                "employee/ASM_DD/rules.v-1_x/config": TargetEntry(2, HEX, {"v": 0}),
            },
            custom={"opaque_backend_state": "eyJ9", "agent_refresh_interval": 5},
        ),
        "ASM_DATA": targets_signed(
            version=1, expires=EXPIRES, targets={PATH: TargetEntry(2, HEX, {"v": 1, "c": ["é<&>"]})}
        ),
    }


@pytest.mark.parametrize("role", documents())
def test_a_document_of_each_kind_passes(role: str) -> None:
    check_signed(role, documents()[role])


def test_the_first_root_may_be_expired_for_ever() -> None:
    signed = documents()["root"]
    signed["expires"] = "1970-01-01T00:00:00Z"

    check_signed("root", signed)


def put(*path: Any) -> Change:
    """Set the last of some names to the value after it: ``put("meta", "x", 1)`` sets ``meta.x``."""

    def change(signed: dict[str, Any]) -> None:
        *parents, name, value = path
        here: Any = signed
        for parent in parents:
            here = here[parent]
        here[name] = value

    return change


def drop(*path: Any) -> Change:
    def change(signed: dict[str, Any]) -> None:
        *parents, name = path
        here: Any = signed
        for parent in parents:
            here = here[parent]
        del here[name]

    return change


def target(path: str) -> Change:
    return lambda signed: signed["targets"].update({path: signed["targets"][PATH]})


ANY_KIND: dict[str, Change] = {
    "the library's own spec version, which one verifier refuses": put("spec_version", "1.0.31"),
    "no spec version": drop("spec_version"),
    "version nought": put("version", 0),
    "a version of 2^53": put("version", 2**53),
    "a version that is a truth value": put("version", True),
    "an expiry with an offset": put("expires", "2099-01-01T00:00:00+00:00"),
    "an expiry with a fraction": put("expires", "2099-01-01T00:00:00.5Z"),
    "an expiry that is no date": put("expires", "2099-13-01T00:00:00Z"),
    "another type": put("_type", "mirrors"),
    "a field nobody knows": put("x", 1),
    "a custom that is no object": put("custom", []),
    "a fraction deep in custom": put("custom", {"a": [{"b": 0.5}]}),
    "a number of 2^53 deep in custom": put("custom", {"a": [{"b": 2**53}]}),
    "a line feed deep in custom": put("custom", {"a": [{"b": "\n"}]}),
}


@pytest.mark.parametrize("what", ANY_KIND)
@pytest.mark.parametrize("role", documents())
def test_no_kind_of_document_passes_with(role: str, what: str) -> None:
    signed = documents()[role]
    ANY_KIND[what](signed)

    with pytest.raises(ProfileError, match=role):
        check_signed(role, signed)


OF_ONE_KIND: list[tuple[str, str, Change]] = [
    ("root", "no consistent snapshots", put("consistent_snapshot", False)),
    ("root", "a threshold above its keys", put("roles", "root", "threshold", 3)),
    ("root", "a threshold of nought", put("roles", "root", "threshold", 0)),
    ("root", "a key named twice in a role", put("roles", "root", "keyids", [KEY.key_id] * 2)),
    ("root", "a role without keys", put("roles", "root", "keyids", [])),
    ("root", "a role of an unknown key", put("roles", "root", "keyids", ["00" * 32])),
    ("root", "a role missing", drop("roles", "snapshot")),
    ("root", "a role too many", put("roles", "mirrors", {"keyids": [KEY.key_id], "threshold": 1})),
    ("root", "a role with another field", put("roles", "root", "x", 1)),
    ("root", "an arbitrary key id", put("keys", "mine", KEY.to_dict())),
    ("root", "a key with another field", put("keys", KEY.key_id, KEY.to_dict() | {"x": 1})),
    ("root", "a key of another type", put("keys", KEY.key_id, KEY.to_dict() | {"keytype": "rsa"})),
    ("timestamp", "no hash of the snapshot", drop("meta", "snapshot.json", "hashes")),
    ("timestamp", "no length of the snapshot", drop("meta", "snapshot.json", "length")),
    ("timestamp", "another document listed", put("meta", "targets.json", {"version": 1})),
    ("snapshot", "no targets listed", drop("meta", "targets.json")),
    ("snapshot", "a role with a dot", put("meta", "A.B.json", {"version": 1})),
    ("snapshot", "a role with a slash", put("meta", "A/B.json", {"version": 1})),
    ("snapshot", "a role in lower case", put("meta", "asm.json", {"version": 1})),
    ("snapshot", "a role without suffix", put("meta", "ASM", {"version": 1})),
    ("snapshot", "a role of version nought", put("meta", "ASM.json", {"version": 0})),
    ("snapshot", "a role of length nought", put("meta", "ASM.json", {"version": 1, "length": 0})),
    ("snapshot", "a role with another hash", put("meta", "ASM.json", {"version": 1, "hashes": {"md5": "0"}})),
    ("snapshot", "an empty organisation", put("custom", "org_uuid", "")),
    ("ASM_DATA", "further delegations", put("delegations", {"keys": {}, "roles": []})),
    ("targets", "a sha512 beside the sha256", put("targets", PATH, "hashes", {"sha256": HEX, "sha512": HEX})),
    ("targets", "no hash", put("targets", PATH, "hashes", {})),
    ("targets", "a hash in upper case", put("targets", PATH, "hashes", "sha256", HEX.upper())),
    ("targets", "a hash with a blank", put("targets", PATH, "hashes", "sha256", HEX[:-3] + " ab")),
    ("targets", "a short hash", put("targets", PATH, "hashes", "sha256", HEX[:-2])),
    ("targets", "an empty file", put("targets", PATH, "length", 0)),
    ("targets", "a file of 2^32 bytes", put("targets", PATH, "length", 2**32)),
    ("targets", "no custom", drop("targets", PATH, "custom")),
    ("targets", "a null custom", put("targets", PATH, "custom", None)),
    ("targets", "no v", put("targets", PATH, "custom", {})),
    ("targets", "a v that is text", put("targets", PATH, "custom", {"v": "1"})),
    ("targets", "an expiry that is text", put("targets", PATH, "custom", {"v": 1, "expires": "2030"})),
    ("targets", "a fraction in a target", put("targets", PATH, "custom", {"v": 1, "p": [{"x": 1.5}]})),
    ("targets", "a line feed in a target", put("targets", PATH, "custom", {"v": 1, "p": [{"x": "\n"}]})),
    ("targets", "a field too many in a target", put("targets", PATH, "x", 1)),
    ("targets", "an endless delegation", put("delegations", "roles", 0, "terminating", False)),
    ("targets", "hash prefixes", put("delegations", "roles", 0, "path_hash_prefixes", ["0"])),
    ("targets", "no paths", put("delegations", "roles", 0, "paths", [])),
    ("targets", "a path twice", put("delegations", "roles", 0, "paths", ["a/*", "a/*"])),
    ("targets", "a wildcard of a kind few know", put("delegations", "roles", 0, "paths", ["a/[bc]/*"])),
    (
        "targets",
        "a role named twice",
        lambda s: s["delegations"]["roles"].append(s["delegations"]["roles"][0]),
    ),
    ("targets", "a role with a dot delegated to", put("delegations", "roles", 0, "name", "A.B")),
    ("targets", "a top-level role delegated to", put("delegations", "roles", 0, "name", "snapshot")),
    (DIRECTOR_TARGETS, "no backend state", drop("custom", "opaque_backend_state")),
    (DIRECTOR_TARGETS, "an empty backend state", put("custom", "opaque_backend_state", "")),
    (DIRECTOR_TARGETS, "a backend state that is not base64", put("custom", "opaque_backend_state", "{}")),
    (DIRECTOR_TARGETS, "an interval that is text", put("custom", "agent_refresh_interval", "5s")),
    *[
        ("targets", f"the path {path!r}", target(path))
        for path in (
            "",
            "config",
            "datadog/2/ASM/x",
            "datadog/2/ASM/x/y/z",
            "datadog//ASM/x/config",
            "datadog/02/ASM/x/config",
            "datadog/a/ASM/x/config",
            "datadog/2/asm/x/config",
            "datadog/2/ASM//config",
            "datadog/2/ASM/x/config.v1",
            "datadog/2/ASM/x/",
            "datadog/2/ASM/./config",
            "datadog/2/ASM/../config",
            "datadog/2/ASM/a b/config",
            "datadog/2/ASM/a:b/config",
            "datadog/2/ASM/a\\b/config",
            'datadog/2/ASM/a"b/config',
            "datadog/2/ASM/é/config",
            "datadog/2/ASM/con/config",
            "datadog/2/ASM/Lpt1.txt/config",
            "datadog/2/ASM/x/AUX",
            "datadog/2/NUL/x/config",
            "employee/ASM/x",
            "employee/2/ASM/x/config",
            "datadog/2/ASM/x/config\n",
            "datadog/2/ASM/x/config\ndatadog/2/ASM/x/config",
            "/datadog/2/ASM/x/config",
        )
    ],
]


@pytest.mark.parametrize(
    ("role", "what", "change"), OF_ONE_KIND, ids=[f"{r}: {w}" for r, w, _ in OF_ONE_KIND]
)
def test_one_kind_of_document_does_not_pass_with(role: str, what: str, change: Change) -> None:
    signed = copy.deepcopy(documents()[role])
    change(signed)

    with pytest.raises(ProfileError, match=role):
        check_signed(role, signed)


@pytest.mark.parametrize(
    "path", ["datadog/2/ASM/conf/config", "datadog/2/ASM/com10/console", "employee/CON_X/a..b/c"]
)
def test_paths_that_only_look_like_device_names_pass(path: str) -> None:
    signed = documents()["targets"]
    target(path)(signed)

    check_signed("targets", signed)


def test_the_sentence_names_the_target_that_is_wrong() -> None:
    signed = documents()["targets"]
    for number in range(50):
        target(f"datadog/2/ASM/{number}/config")(signed)
    target("datadog/2/ASM/x/config.v1")(signed)

    with pytest.raises(ProfileError, match=r"'datadog/2/ASM/x/config\.v1'"):
        check_signed("targets", signed)


def test_a_role_that_is_named_badly_is_not_signed_at_all() -> None:
    with pytest.raises(ProfileError, match="a role's name"):
        check_signed("asm.data", documents()["ASM_DATA"])


def test_a_timestamp_above_sixteen_kibibytes_is_refused() -> None:
    check_size("timestamp", bytes(16_384))

    with pytest.raises(ProfileError, match="16385 bytes, and the limit is 16384"):
        check_size("timestamp", bytes(16_385))


def test_mixed_case_keys_that_one_verifier_would_sort_otherwise_are_pointed_out() -> None:
    signed = documents()["targets"]
    target("datadog/2/ASM_DATA/Zebra/config")(signed)

    assert order_warnings(documents()["targets"]) == ()
    assert order_warnings(signed) == ("$.targets: keys sort differently when case is ignored",)


def test_ten_thousand_targets_are_linted_quickly() -> None:
    """The bound is 30 ms on a quiet machine; ten times that is still proof that nobody made it quadratic."""
    targets = {
        f"datadog/2/ASM_DATA/{n:016x}/config": TargetEntry(n + 1, sha256_hex(b"%d" % n), {"v": n})
        for n in range(10_000)
    }
    signed = targets_signed(version=1, expires=EXPIRES, targets=targets)

    began = time.process_time()
    check_signed("targets", signed)

    assert time.process_time() - began < 0.3
