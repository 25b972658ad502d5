"""What we sign, the reference library believes; what it signs, we believe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import CanonicalJSONSerializer, JSONSerializer

from sealwire.trust.canonical import canonical_bytes, sha256_hex
from sealwire.trust.keys import Ed25519Signer
from sealwire.trust.profile import DIRECTOR_TARGETS, ProfileError
from sealwire.trust.sign import (
    Delegation,
    MetaEntry,
    RoleKeys,
    TargetEntry,
    expires_text,
    root_signed,
    sign_document,
    snapshot_signed,
    targets_signed,
    timestamp_signed,
)

EXPIRES = datetime(2099, 1, 1, tzinfo=UTC)
ROOT_KEYS = [Ed25519Signer.from_seed(bytes([n]) * 32) for n in (1, 2, 3)]
ONLINE = Ed25519Signer.from_seed(b"\x04" * 32)
PRODUCT = Ed25519Signer.from_seed(b"\x05" * 32)
ROLES = {
    "root": RoleKeys(tuple(key.public_key for key in ROOT_KEYS), 2),
    **{name: RoleKeys((ONLINE.public_key,), 1) for name in ("timestamp", "snapshot", "targets")},
}
PATH = "datadog/2/ASM_DATA/blocked/config"
ENTRY = TargetEntry(2, sha256_hex(b"{}"), {"v": 1})


def a_root() -> Root:
    raw = sign_document(root_signed(version=1, expires=EXPIRES, roles=ROLES), ROOT_KEYS[:2])
    return Metadata[Root].from_bytes(raw).signed


def test_the_reference_library_believes_a_root_signed_by_a_threshold() -> None:
    raw = sign_document(root_signed(version=1, expires=EXPIRES, roles=ROLES), ROOT_KEYS[1:])

    root = Metadata[Root].from_bytes(raw)

    root.signed.verify_delegate("root", root.signed_bytes, root.signatures)


def test_the_reference_library_does_not_believe_a_root_signed_by_fewer() -> None:
    raw = sign_document(root_signed(version=1, expires=EXPIRES, roles=ROLES), ROOT_KEYS[:1])

    root = Metadata[Root].from_bytes(raw)

    with pytest.raises(UnsignedMetadataError):
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)


def test_the_reference_library_believes_every_kind_of_document() -> None:
    delegation = Delegation("ASM_DATA", RoleKeys((PRODUCT.public_key,), 1), ("datadog/*/ASM_DATA/*/*",))
    product = sign_document(
        targets_signed(version=3, expires=EXPIRES, targets={PATH: ENTRY}), [PRODUCT], role="ASM_DATA"
    )
    targets = sign_document(
        targets_signed(version=2, expires=EXPIRES, targets={}, delegations=[delegation]), [ONLINE]
    )
    snapshot = sign_document(
        snapshot_signed(
            version=4,
            expires=EXPIRES,
            meta={"targets": MetaEntry(2), "ASM_DATA": MetaEntry(3, len(product), sha256_hex(product))},
            custom={"org_uuid": "6f1d8b52-4a5e-4c0b-9d55-0d6cf1f4b0aa"},
        ),
        [ONLINE],
    )
    timestamp = sign_document(
        timestamp_signed(version=9, expires=EXPIRES, snapshot_version=4, snapshot_raw=snapshot), [ONLINE]
    )

    root = a_root()
    top = Metadata[Targets].from_bytes(targets)
    for role, raw in (("targets", targets), ("snapshot", snapshot), ("timestamp", timestamp)):
        document = Metadata.from_bytes(raw)
        root.verify_delegate(role, document.signed_bytes, document.signatures)
    delegated = Metadata[Targets].from_bytes(product)
    top.signed.verify_delegate("ASM_DATA", delegated.signed_bytes, delegated.signatures)
    Metadata[Timestamp].from_bytes(timestamp).signed.snapshot_meta.verify_length_and_hashes(snapshot)
    Metadata[Snapshot].from_bytes(snapshot).signed.meta["ASM_DATA.json"].verify_length_and_hashes(product)


custom_text = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), max_size=12)


@given(
    st.dictionaries(
        st.from_regex(r"\Adatadog/[1-9]/[A-Z_]{1,8}Y/[a-f0-9]{1,8}x/[a-z]{1,5}g\Z"),
        st.builds(
            TargetEntry,
            st.integers(1, 2**32 - 1),
            st.binary(min_size=32, max_size=32).map(bytes.hex),
            st.dictionaries(custom_text, custom_text | st.lists(custom_text, max_size=2), max_size=3).map(
                lambda custom: {**custom, "v": 7, "expires": 1}
            ),
        ),
        max_size=5,
    ),
    st.integers(1, 2**53 - 1),
)
def test_any_targets_we_sign_the_reference_library_believes(
    targets: dict[str, TargetEntry], version: int
) -> None:
    raw = sign_document(targets_signed(version=version, expires=EXPIRES, targets=targets), [ONLINE])

    document = Metadata[Targets].from_bytes(raw)

    a_root().verify_delegate("targets", document.signed_bytes, document.signatures)
    assert b'"signed":%b}' % document.signed_bytes in raw
    assert document.signed.version == version
    assert document.signed.targets.keys() == targets.keys()


def test_what_the_reference_library_signs_our_keys_verify() -> None:
    theirs = CryptoSigner(Ed25519PrivateKey.from_private_bytes(ONLINE.seed))
    signed = Targets(version=5, spec_version="1.0.0", expires=EXPIRES)
    signed.targets[PATH] = TargetFile(
        2, {"sha256": sha256_hex(b"{}")}, PATH, {"custom": {"v": 1, "n": "é\\"}}
    )
    metadata = Metadata(signed)
    signature = metadata.sign(theirs)

    message = canonical_bytes(orjson.loads(metadata.to_bytes(JSONSerializer()))["signed"])

    assert message == CanonicalJSONSerializer().serialize(signed)
    assert ONLINE.public_key.verify(bytes.fromhex(signature.signature), message)
    assert ONLINE.sign(message).hex() == signature.signature


def test_a_document_travels_in_canonical_form() -> None:
    raw = sign_document(targets_signed(version=1, expires=EXPIRES, targets={PATH: ENTRY}), [ONLINE, PRODUCT])

    assert raw == canonical_bytes(orjson.loads(raw))


def test_the_same_document_signed_twice_is_the_same_bytes() -> None:
    signed = targets_signed(version=1, expires=EXPIRES, targets={PATH: ENTRY})

    assert sign_document(signed, [ONLINE]) == sign_document(signed, [ONLINE])


def test_one_key_cannot_sign_a_document_twice() -> None:
    with pytest.raises(ValueError, match="each by another key"):
        sign_document(targets_signed(version=1, expires=EXPIRES, targets={}), [ONLINE, ONLINE])


def test_a_document_needs_a_signature() -> None:
    with pytest.raises(ValueError, match="needs signatures"):
        sign_document(targets_signed(version=1, expires=EXPIRES, targets={}), [])


def test_what_the_profile_forbids_is_not_signed() -> None:
    signed = targets_signed(version=1, expires=EXPIRES, targets={"a/b": ENTRY})

    with pytest.raises(ProfileError, match="a/b"):
        sign_document(signed, [ONLINE])


def test_a_director_without_backend_state_is_not_signed() -> None:
    signed = targets_signed(version=1, expires=EXPIRES, targets={})

    with pytest.raises(ProfileError, match="opaque_backend_state"):
        sign_document(signed, [ONLINE], role=DIRECTOR_TARGETS)


def test_a_document_above_its_limit_is_not_handed_out() -> None:
    meta = {"targets": MetaEntry(1)} | {f"ROLE_{n}" + "X" * 200: MetaEntry(1) for n in range(9_000)}

    with pytest.raises(ProfileError, match="the limit is 2000000"):
        sign_document(snapshot_signed(version=1, expires=EXPIRES, meta=meta), [ONLINE])


def test_an_expiry_is_written_in_utc_and_whole_seconds() -> None:
    elsewhere = timezone(timedelta(hours=2))

    assert expires_text(datetime(2030, 1, 2, 1, 4, 5, 999_999, tzinfo=elsewhere)) == "2030-01-01T23:04:05Z"


def test_an_expiry_without_a_zone_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="time zone"):
        expires_text(datetime(2030, 1, 1))
