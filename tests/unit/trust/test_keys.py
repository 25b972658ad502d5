"""Keys have the identity that the Agent computes, and a seed at rest opens only where it belongs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import SSlibKey

from sealwire.errors import MalformedError
from sealwire.trust.canonical import canonical_bytes, sha256_hex
from sealwire.trust.keys import Ed25519Signer, PublicKey, unwrap_seed, wrap_seed

ONE = Ed25519Signer.from_seed(b"\x01" * 32)
TWO = Ed25519Signer.from_seed(b"\x02" * 32)
KEK = b"k" * 32
PLACE = {"key_id": ONE.public_key.key_id, "role": "director/targets", "domain": "2"}


def test_key_ids_are_the_golden_ones() -> None:
    """Vectors that were checked against the Agent's own library (agent-backend.md 4.3)."""
    assert ONE.public_key.public.hex() == "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
    assert ONE.public_key.key_id == "5e2d627cd203a4d4c575306b6a244bd3a2e85d8401f2f7401a2413cdd92ab718"
    assert TWO.public_key.public.hex() == "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"
    assert TWO.public_key.key_id == "46724ece99e8d190f17469534b058600474c1ae4a923aa7a5903a21be05b5db4"


def test_the_published_form_without_its_hash_algorithms_has_the_other_golden_id() -> None:
    """Shows that the id covers that field, which is why it must never be left out."""
    published = {k: v for k, v in ONE.public_key.to_dict().items() if k != "keyid_hash_algorithms"}

    found = sha256_hex(canonical_bytes(published))

    assert found == "7ab6b86cb2c9684b0ddc10896153aa2595decf4d4327a5ff1a8ab7422c828b12"


def test_the_signature_over_a_timestamp_is_the_golden_one() -> None:
    signed = {
        "_type": "timestamp",
        "expires": "2099-01-01T00:00:00Z",
        "meta": {"snapshot.json": {"version": 7}},
        "spec_version": "1.0",
        "version": 7,
    }

    signature = ONE.sign(canonical_bytes(signed))

    assert signature.hex() == (
        "d096a517c4125ff80460a24037f2eb08297540f84b30a1cee2dfbda1eabafcd3"
        "ba15d4204c546405fc7e6c42a67ef49c5f11f23fac66ef0e9673dd6cb165a608"
    )


def test_the_signature_over_targets_is_the_golden_one() -> None:
    """This vector holds a line feed, which we never sign, so the reference library encodes it here."""
    signed = {
        "_type": "targets",
        "custom": {
            "agent_refresh_interval": 5,
            "note": 'é\n"\\<&>',
            "opaque_backend_state": "YWJj",
        },
        "expires": "2099-01-01T00:00:00Z",
        "spec_version": "1.0",
        "targets": {
            "datadog/2/APM_SAMPLING/dynamic_rates/config": {
                "custom": {"v": 1},
                "hashes": {"sha256": "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"},
                "length": 7,
            }
        },
        "version": 1700000000,
    }
    with pytest.raises(MalformedError, match="control character"):
        canonical_bytes(signed)

    raw = encode_canonical(signed).encode()

    assert (len(raw), sha256_hex(raw)) == (
        357,
        "e5ebdd492e6f018a52ea56c25d03e746fc63a8c57964e9c948bbb2fae93ef5e0",
    )
    assert ONE.sign(raw).hex() == (
        "d5340c85bf1c04c10c1826858351cd4d0be0a3a5b6c134c7c10275cb5787ff91"
        "b241b6ce9584d08c1eeeca79d997771c6281f1e8a776146660569d9847f31509"
    )


def test_the_reference_library_reads_our_key_and_gives_it_back_unchanged() -> None:
    published = ONE.public_key.to_dict()

    key = SSlibKey.from_dict(ONE.public_key.key_id, dict(published))

    assert key.to_dict() == published


def test_a_published_key_reads_back_as_itself() -> None:
    assert PublicKey.from_dict(ONE.public_key.to_dict()) == ONE.public_key


@pytest.mark.parametrize(
    "change",
    [
        {"keytype": "rsa"},
        {"x-owner": "me"},
        {"keyval": {"public": "zz"}},
        {"keyval": {"public": "00"}},
        {"keyval": 1},
    ],
    ids=str,
)
def test_a_key_in_any_other_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        PublicKey.from_dict(ONE.public_key.to_dict() | change)


def test_a_signature_verifies_with_its_key_and_message_only() -> None:
    signature = ONE.sign(b"message")

    assert ONE.public_key.verify(signature, b"message")
    assert not ONE.public_key.verify(signature, b"another")
    assert not TWO.public_key.verify(signature, b"message")


def test_a_generated_key_is_new_and_its_seed_determines_it() -> None:
    first, second = Ed25519Signer.generate(), Ed25519Signer.generate()

    assert first.public_key != second.public_key
    assert Ed25519Signer.from_seed(first.seed).public_key == first.public_key


def test_the_seed_does_not_show_when_a_signer_is_printed() -> None:
    assert repr(ONE) == "Ed25519Signer(5e2d627c)"


def test_a_wrapped_seed_opens_where_it_belongs() -> None:
    wrapped = wrap_seed(ONE.seed, kek=KEK, **PLACE)

    assert unwrap_seed(wrapped, kek=KEK, **PLACE) == ONE.seed
    assert ONE.seed not in wrapped


def test_a_seed_is_wrapped_differently_every_time() -> None:
    assert wrap_seed(ONE.seed, kek=KEK, **PLACE) != wrap_seed(ONE.seed, kek=KEK, **PLACE)


@pytest.mark.parametrize(
    "elsewhere",
    [{"role": "director/timestamp"}, {"domain": "3"}, {"key_id": TWO.public_key.key_id}],
    ids=["role", "domain", "key"],
)
def test_a_wrapped_seed_that_was_moved_does_not_open(elsewhere: dict[str, str]) -> None:
    wrapped = wrap_seed(ONE.seed, kek=KEK, **PLACE)

    with pytest.raises(MalformedError, match="moved or damaged"):
        unwrap_seed(wrapped, kek=KEK, **(PLACE | elsewhere))


def test_a_wrapped_seed_does_not_open_with_another_wrapping_key() -> None:
    with pytest.raises(MalformedError, match="wrapping key is another one"):
        unwrap_seed(wrap_seed(ONE.seed, kek=KEK, **PLACE), kek=b"x" * 32, **PLACE)


def test_a_seed_filed_under_another_key_is_refused() -> None:
    wrapped = wrap_seed(TWO.seed, kek=KEK, **PLACE)

    with pytest.raises(MalformedError, match="not the key it is filed under"):
        unwrap_seed(wrapped, kek=KEK, **PLACE)


@pytest.mark.parametrize(
    "wrapped", [b"", b"SWK1", b"SWK1" + b"\0" * 12, b"\0" * 64], ids=["", "magic", "nonce", "zeros"]
)
def test_bytes_that_are_no_wrapped_seed_are_refused(wrapped: bytes) -> None:
    with pytest.raises(MalformedError):
        unwrap_seed(wrapped, kek=KEK, **PLACE)


def test_key_ids_are_not_part_of_what_makes_keys_equal() -> None:
    assert replace(ONE.public_key) == ONE.public_key
