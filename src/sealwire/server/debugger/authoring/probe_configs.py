"""A probe as a config is kept: its payload is the canonical one, whichever way it was made.

A payload may come from our form, from the admin API or from another tool. What is kept is what our own
document would have given, so that every probe can be read back as one, and so that a version changes only
when something does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from sealwire.products.live_debugging import config_id_of, probe_id
from sealwire.products.product import Payload
from sealwire.server.debugger.authoring import probe_wire
from sealwire.server.debugger.authoring.probes import Probe

__all__ = ["config_id_of", "from_payload", "normal", "probe_id", "stored", "to_payload"]

_ANY_ID = "00000000-0000-8000-8000-000000000000"  # a payload is kept without an id
_KEPT = 20_000


def to_payload(probe: Probe, *, version: int = 0) -> dict[str, object]:
    """The payload of a probe's config."""
    payload = probe_wire.to_wire(probe, probe_id="", version=version)
    del payload["id"]
    return payload


def from_payload(payload: Payload) -> tuple[Probe, int]:
    """The probe a payload is, and its version.

    Raises:
        InvalidChangeError: It makes no sense as a probe.
    """
    received = probe_wire.from_wire({**payload, "id": _ANY_ID})
    return received.probe, received.version


@lru_cache(maxsize=_KEPT)
def stored(raw: bytes) -> tuple[Probe, int]:
    """``from_payload`` of one that was kept."""
    found: Mapping[str, Any] = orjson.loads(raw)
    return from_payload(found)


def normal(payload: Payload) -> Payload:
    """The canonical payload that says the same.

    Raises:
        InvalidChangeError: It makes no sense as a probe.
    """
    probe, version = from_payload(payload)
    return to_payload(probe, version=version)
