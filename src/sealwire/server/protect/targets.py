"""Whom a denylist is for: one key for equal targetings, and the words for it."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

from sealwire.server.store.protect import target_json
from sealwire.server.targeting import Targeting

EVERYWHERE = "everywhere"


@lru_cache(maxsize=1000)
def key_of(target: Targeting) -> str:
    """The same for targetings that mean the same clients in the same words."""
    if not target.fields:
        return EVERYWHERE
    return hashlib.sha256(json.dumps(normal(target), sort_keys=True).encode()).hexdigest()[:16]


@lru_cache(maxsize=1000)
def stored(target: Targeting) -> str:
    """As the tables keep it: one text for equal ones."""
    return target_json(target.to_dict())


def normal(target: Targeting) -> dict[str, object]:
    """One form for equal targetings: names without case where clients have none, lists in order."""
    return {
        field: sorted(
            {one.casefold() if field in ("service", "env", "language") else one for one in map(str, value)}
        )
        if isinstance(value, list)
        else value
        for field, value in target.to_dict().items()
    }


def in_words(target: Targeting) -> str:
    """``the whole organisation``, or ``service shop, env prod``."""
    parts = [
        f"{name.replace('_', ' ')} {' or '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in target.to_dict().items()
    ]
    return ", ".join(parts) or "the whole organisation"
