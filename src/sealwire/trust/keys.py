"""Keys: their identity, who signs with them, and how their seeds lie at rest.

Only ed25519. A key's id is the hash of exactly the four fields that are published, because several
verifiers in the field compute it themselves and drop a key whose id they do not find. A seed at rest is
bound to its key id, its role and its trust domain, so a stored row cannot be moved to another place.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NewType, Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealwire.errors import MalformedError
from sealwire.trust.canonical import canonical_bytes, sha256_hex

KeyId = NewType("KeyId", str)
"""SHA-256 of the canonical published key, 64 lower-case hexadecimal digits."""

SEED_BYTES: Final = 32
_WRAP_MAGIC: Final = b"SWK1"
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An ed25519 public key, 32 bytes.

    Attributes:
        public: The raw key.
        key_id: Its identity in metadata.
    """

    public: bytes
    key_id: KeyId = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.public) != 32:
            raise ValueError("an ed25519 public key has 32 bytes")
        object.__setattr__(self, "key_id", KeyId(sha256_hex(canonical_bytes(self.to_dict()))))

    def to_dict(self) -> dict[str, object]:
        """The published form, and the only one we emit (trust.md 1.3)."""
        return {
            "keyid_hash_algorithms": ["sha256", "sha512"],
            "keytype": "ed25519",
            "keyval": {"public": self.public.hex()},
            "scheme": "ed25519",
        }

    @classmethod
    def from_dict(cls, published: Mapping[str, object]) -> PublicKey:
        """Read a key in the published form.

        Raises:
            MalformedError: It is not exactly that form.
        """
        keyval = published.get("keyval")
        text = keyval.get("public") if isinstance(keyval, dict) else None
        try:
            key = cls(bytes.fromhex(text)) if isinstance(text, str) else None
        except ValueError:
            key = None
        if key is None or key.to_dict() != published:
            raise MalformedError("This is not an ed25519 key in the form Sealwire publishes.")
        return key

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether the holder of this key signed exactly these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """Somebody who signs with one key: in this process, in another one, or on a card."""

    @property
    def public_key(self) -> PublicKey:
        """The key its signatures verify with."""

    def sign(self, message: bytes) -> bytes:
        """Sign these bytes; 64 bytes of ed25519."""


class Ed25519Signer:
    """A signer that holds its seed in this process."""

    __slots__ = ("_private", "_public_key", "_seed")

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public_key = PublicKey(self._private.public_key().public_bytes_raw())
        self._seed = bytes(seed)

    @classmethod
    def generate(cls) -> Ed25519Signer:
        """A new key from the system's randomness."""
        return cls(os.urandom(SEED_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> Ed25519Signer:
        """The key that this 32-byte seed determines."""
        return cls(seed)

    @property
    def public_key(self) -> PublicKey:
        """The key its signatures verify with."""
        return self._public_key

    @property
    def seed(self) -> bytes:
        """The secret; only ``wrap_seed`` should ever see it."""
        return self._seed

    def sign(self, message: bytes) -> bytes:
        """Sign these bytes; the same bytes always give the same signature."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"Ed25519Signer({self._public_key.key_id[:8]})"


def wrap_seed(seed: bytes, *, kek: bytes, key_id: str, role: str, domain: str) -> bytes:
    """Encrypt a seed for storage, bound to where it belongs.

    Args:
        seed: 32 bytes.
        kek: The key that wraps keys, 32 bytes, kept apart from the data.
        key_id: Identity of the seed's public key.
        role: The role it signs for.
        domain: The trust domain it belongs to.

    Returns:
        Magic, nonce, ciphertext and tag: 64 bytes.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError("a seed has 32 bytes")
    nonce = os.urandom(_NONCE_BYTES)
    return (
        _WRAP_MAGIC + nonce + AESGCM(_checked_kek(kek)).encrypt(nonce, seed, _binding(key_id, role, domain))
    )


def unwrap_seed(wrapped: bytes, *, kek: bytes, key_id: str, role: str, domain: str) -> bytes:
    """Decrypt a stored seed.

    Raises:
        MalformedError: Not a wrapped seed, another wrapping key, or a row moved from its place.
    """
    start = len(_WRAP_MAGIC)
    if not wrapped.startswith(_WRAP_MAGIC):
        raise MalformedError("A stored signing key is not in a form this version reads.")
    nonce, sealed = wrapped[start : start + _NONCE_BYTES], wrapped[start + _NONCE_BYTES :]
    try:
        seed = AESGCM(_checked_kek(kek)).decrypt(nonce, sealed, _binding(key_id, role, domain))
    except (InvalidTag, ValueError) as error:
        raise MalformedError(
            f"The stored signing key of role {role} cannot be opened: the wrapping key is another one, "
            "or the row was moved or damaged."
        ) from error
    if Ed25519Signer(seed).public_key.key_id != key_id:
        raise MalformedError(f"The stored signing key of role {role} is not the key it is filed under.")
    return seed


def _checked_kek(kek: bytes) -> bytes:
    if len(kek) != 32:
        raise TypeError("a wrapping key has 32 bytes")
    return kek


def _binding(key_id: str, role: str, domain: str) -> bytes:
    return canonical_bytes({"domain": domain, "key_id": key_id, "role": role})
