"""What is asked of network addresses, for events."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

MAX_REMEMBERED: Final = 4_096


@lru_cache(maxsize=MAX_REMEMBERED)
def is_public(text: str) -> bool:
    """Whether an address can be anywhere in the world; what is no address cannot."""
    if len(text) > 64:
        return False
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_global and not found.is_multicast
