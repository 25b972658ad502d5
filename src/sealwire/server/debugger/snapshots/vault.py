"""What a program had in its variables, at rest: packed, then encrypted for its one place.

Hides the form of both. Invariants: what is sealed opens only for the same organisation, snapshot and part, so
a row cannot be moved; no key seals more than a day's worth, so random nonces do not meet; nothing in here
writes to a log.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealwire.errors import SettingsError
from sealwire.server.debugger.snapshots.snapshot import MAX_ENVELOPE_BYTES
from sealwire.server.keyring import Keyring
from sealwire.server.packing import zstd

MESSAGE: Final = "message"
DOCUMENT: Final = "document"
_DAY_MS: Final = 86_400_000
_HEAD: Final = struct.Struct(">BI")  # version, day since 1970
_VERSION: Final = 1
_NONCE_BYTES: Final = 12
_LEVEL: Final = 3
_KEYS_HELD: Final = 64


class Vault:
    """Seals and opens the parts of snapshots of one organisation. Safe in threads."""

    def __init__(self, keyring: Keyring, org_uuid: str) -> None:
        self._keyring = keyring
        self._org_uuid = org_uuid
        self._ciphers: dict[int, AESGCM] = {}

    def seal(self, content: bytes, *, snapshot_id: str, part: str, at_ms: int) -> bytes:
        """Pack and encrypt a part.

        Args:
            at_ms: When this is, which chooses the key.
        """
        day = at_ms // _DAY_MS
        nonce = os.urandom(_NONCE_BYTES)
        packed = zstd.compress(content, level=_LEVEL)
        sealed = self._cipher(day).encrypt(nonce, packed, self._binding(snapshot_id, part))
        return _HEAD.pack(_VERSION, day) + nonce + sealed

    def open(self, sealed: bytes, *, snapshot_id: str, part: str) -> bytes:
        """What ``seal`` was given for the same place.

        Raises:
            SettingsError: It was sealed with another key, or the row was moved or damaged.
        """
        try:
            version, day = _HEAD.unpack_from(sealed)
            if version != _VERSION:
                raise ValueError(version)
            rest = sealed[_HEAD.size :]
            nonce, secret = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
            packed = self._cipher(day).decrypt(nonce, secret, self._binding(snapshot_id, part))
            return zstd.ZstdDecompressor().decompress(packed, max_length=2 * MAX_ENVELOPE_BYTES)
        except (InvalidTag, ValueError, struct.error, zstd.ZstdError) as error:
            raise SettingsError(
                "A stored snapshot does not open: put back the kek file this database was made with.",
                detail=type(error).__name__,
            ) from error

    def _cipher(self, day: int) -> AESGCM:
        cipher = self._ciphers.get(day)
        if cipher is None:
            key = self._keyring.derived(f"snapshots\0{self._org_uuid}\0{day}")
            if len(self._ciphers) >= _KEYS_HELD:
                self._ciphers = {}
            cipher = self._ciphers[day] = AESGCM(key)
        return cipher

    def _binding(self, snapshot_id: str, part: str) -> bytes:
        return "\0".join(("sealwire snapshot", self._org_uuid, snapshot_id, part)).encode()
