"""Which addresses stand on a list of bad ones: those that a feed names, or that somebody called suspicious.

Detection rules ask it for each request, so it answers from sets that are made again when an entry changed.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from sealwire.server.protect.denylist import Kind

if TYPE_CHECKING:
    from sealwire.server.protect.denylists import Denylists


class Listed:
    """Says of an address whether it is on a list."""

    def __init__(self, denylists: Denylists) -> None:
        self._denylists = denylists
        self._version: int | None = None
        self._networks: dict[tuple[int, int], set[int]] = {}

    def __call__(self, address: str) -> bool:
        """Whether ``address`` is in a network that is on a list; a text that is no address is on none."""
        if self._version != self._denylists.version:
            self._version = self._denylists.version
            self._networks = self._read()
        if not self._networks:
            return False
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        number, bits = int(ip), ip.max_prefixlen
        return any(
            version == ip.version and number >> (bits - length) in held
            for (version, length), held in self._networks.items()
        )

    def _read(self) -> dict[tuple[int, int], set[int]]:
        found: dict[tuple[int, int], set[int]] = {}
        for row in self._denylists.in_force():
            is_listed = row.kind == Kind.SUSPICIOUS.word or (row.kind == Kind.IP.word and row.feed)
            if not is_listed:
                continue
            try:
                network = ipaddress.ip_network(row.value)
            except ValueError:
                continue
            length = network.prefixlen
            start = int(network.network_address) >> (network.max_prefixlen - length)
            found.setdefault((network.version, length), set()).add(start)
        return found
