"""Documents nobody honest would make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from securesystemslib.formats import encode_canonical

from sealwire.trust.keys import Ed25519Signer


def signatures_of(raw: bytes) -> list[dict[str, str]]:
    """The signatures of a document."""
    found: list[dict[str, str]] = json.loads(raw)["signatures"]
    return found


def with_signatures(raw: bytes, signatures: Sequence[Mapping[str, str]]) -> bytes:
    """The same document under other signatures."""
    document = json.loads(raw)
    document["signatures"] = list(signatures)
    return json.dumps(document, ensure_ascii=False).encode()


def signed_of(raw: bytes) -> dict[str, Any]:
    """What a document says."""
    signed: dict[str, Any] = json.loads(raw)["signed"]
    return signed


def signed_whatever(signed: Mapping[str, Any], signers: Sequence[Ed25519Signer]) -> bytes:
    """A document that verifies, whatever it says; our own signer would refuse to sign most of it."""
    message = (encode_canonical(dict(signed)) or "").encode()
    signatures = [
        {"keyid": signer.public_key.key_id, "sig": signer.sign(message).hex()} for signer in signers
    ]
    return json.dumps({"signatures": signatures, "signed": signed}).encode()
