"""The keys of the control plane at rest.

One key-encryption key (KEK) in the configuration folder, mode 0400, not beside the data. Online signing
keys are 32-byte seeds wrapped with it in the database; root keys are wrapped with it in files of a folder
of their own. The wrapping binds key id, purpose and trust domain, so a row or a file cannot be moved.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwire.errors import SettingsError
from sealwire.trust.keys import Ed25519Signer, KeyId, unwrap_seed, wrap_seed

ROOT_KEYS = 3
ROOT_THRESHOLD = 2
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A seed as it is stored."""

    key_id: KeyId
    purpose: str
    wrapped: bytes


class Keyring:
    """Makes, wraps and unwraps keys. Holds the KEK in memory and nothing else."""

    def __init__(self, config_dir: Path) -> None:
        self._folder = config_dir
        self._kek = _load_or_make_kek(config_dir / "kek")

    def make(self, org_uuid: str, purpose: str) -> tuple[Ed25519Signer, WrappedKey]:
        """A new online key, and its form at rest."""
        signer = Ed25519Signer.generate()
        return signer, self._wrap(signer, org_uuid, purpose)

    def open(self, org_uuid: str, key: WrappedKey) -> Ed25519Signer:
        """The signer of a stored online key.

        Raises:
            SettingsError: The KEK is not the one it was wrapped with, or the row was moved.
        """
        try:
            seed = unwrap_seed(
                key.wrapped, kek=self._kek, key_id=key.key_id, role=key.purpose, domain=org_uuid
            )
        except Exception as error:
            raise SettingsError(
                f"The signing key {key.key_id[:12]} ({key.purpose}) does not open with "
                f"{self._folder / 'kek'}: put back the kek file this database was made with.",
                detail=type(error).__name__,
            ) from error
        return Ed25519Signer.from_seed(seed)

    # Other secrets ------------------------------------------------------------------------------------

    def seal(self, secret: bytes, *, domain: str, purpose: str, name: str) -> bytes:
        """Encrypt a secret that must be read again, such as that of a second factor, for its row."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._kek).encrypt(nonce, secret, _binding(domain, purpose, name))

    def unseal(self, sealed: bytes, *, domain: str, purpose: str, name: str) -> bytes:
        """Decrypt what ``seal`` made for the same place.

        Raises:
            SettingsError: The KEK is another one, or the row was moved or damaged.
        """
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return AESGCM(self._kek).decrypt(nonce, rest, _binding(domain, purpose, name))
        except (InvalidTag, ValueError) as error:
            raise SettingsError(
                f"A stored {purpose} does not open with {self._folder / 'kek'}: put back the kek file this "
                "database was made with.",
                detail=type(error).__name__,
            ) from error

    def derived(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, the same on every replica; it tells nothing of the KEK."""
        return HKDF(hashes.SHA256(), 32, salt=None, info=f"sealwire derived\0{purpose}".encode()).derive(
            self._kek
        )

    # Root keys ------------------------------------------------------------------------------------

    def root_folder(self, org_uuid: str) -> Path:
        """Where the root keys of an organisation lie while they are on this server."""
        return self._folder / "root-keys" / org_uuid

    def make_root_keys(self, org_uuid: str, purpose: str) -> list[Ed25519Signer]:
        """Three new keys for ``purpose``, written wrapped to the folder of the organisation."""
        folder = self.root_folder(org_uuid)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        signers = []
        for number in range(1, ROOT_KEYS + 1):
            signer = Ed25519Signer.generate()
            key = self._wrap(signer, org_uuid, f"{purpose}-{number}")
            document = {
                "organisation": org_uuid,
                "purpose": key.purpose,
                "key_id": key.key_id,
                "wrapped": key.wrapped.hex(),
            }
            # The key id keeps a second try apart from the files of one that was never committed.
            file = folder / f"{key.purpose}-{key.key_id[:8]}.json"
            _write_secret(file, json.dumps(document, indent=1).encode())
            signers.append(signer)
        return signers

    def open_root_keys(self, org_uuid: str, key_ids: Collection[str]) -> list[Ed25519Signer]:
        """A threshold of the keys in ``key_ids``, from the folder of the organisation.

        Raises:
            SettingsError: Too few of them lie there.
        """
        signers = []
        for file in sorted(self.root_folder(org_uuid).glob("*.json")):
            document = json.loads(file.read_text())
            if document["key_id"] not in key_ids:
                continue
            key = WrappedKey(
                KeyId(document["key_id"]), document["purpose"], bytes.fromhex(document["wrapped"])
            )
            signers.append(self.open(org_uuid, key))
            if len(signers) == ROOT_THRESHOLD:
                return signers
        raise SettingsError(
            f"{ROOT_THRESHOLD} root keys are needed in {self.root_folder(org_uuid)}, {len(signers)} of the "
            "right ones are there. Bring the folder back, then try again."
        )

    def _wrap(self, signer: Ed25519Signer, org_uuid: str, purpose: str) -> WrappedKey:
        key_id = signer.public_key.key_id
        wrapped = wrap_seed(signer.seed, kek=self._kek, key_id=key_id, role=purpose, domain=org_uuid)
        return WrappedKey(key_id, purpose, wrapped)


def _binding(domain: str, purpose: str, name: str) -> bytes:
    return "\0".join(("sealwire secret", domain, purpose, name)).encode()


def _load_or_make_kek(file: Path) -> bytes:
    if file.exists():
        try:
            kek = bytes.fromhex(file.read_text().strip())
        except ValueError as error:
            raise SettingsError(
                f"{file} must hold 64 hex digits: put back the file that was there."
            ) from error
        if len(kek) != 32:
            raise SettingsError(f"{file} must hold 64 hex digits: put back the file that was there.")
        return kek
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    kek = secrets.token_bytes(32)
    _write_secret(file, kek.hex().encode())
    return kek


def _write_secret(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
