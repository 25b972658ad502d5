"""Who asked without harm in the last hour: what somebody looks at before an address or a network is blocked.

Hides the counting: minutes of each address, in memory. Invariant: at most ``max_addresses`` are held; when
there are more, those that are known stay and the rest is a number, so a flood of new addresses does not hide
the people who come every day.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MINUTES: Final = 60
MAX_ADDRESSES: Final = 20_000
MAX_SERVICES: Final = 10  # of one address


class Seen(NamedTuple):
    """Healthy requests of the last hour.

    Attributes:
        last_ms: When the last one came; None when there was none.
        services: That they were for, in the order of names.
    """

    requests: int
    addresses: int
    services: tuple[str, ...]
    last_ms: int | None


class Hour:
    """How many of something came in the last hour, by the minute."""

    __slots__ = ("_minutes", "total")

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, int]] = deque()
        self.total = 0

    def add(self, minute: int, count: int) -> None:
        """Some more; minutes before the newest one count for the newest."""
        newest, held = self._minutes[-1] if self._minutes else (-1, 0)
        if minute > newest:
            self._minutes.append((minute, count))
        else:
            self._minutes[-1] = (newest, held + count)
        self.total += count

    def until(self, minute: int) -> int:
        """How many are no older than an hour; forgets the others."""
        while self._minutes and self._minutes[0][0] <= minute - MINUTES:
            self.total -= self._minutes.popleft()[1]
        return self.total


@dataclass(slots=True)
class _Address:
    number: int
    version: int
    hour: Hour = field(default_factory=Hour)
    services: dict[str, int] = field(default_factory=dict)  # to the minute last seen
    last_ms: int = 0


class Traffic:
    """Healthy requests by address.

    Attributes:
        uncounted: Requests of addresses that found no room.
    """

    def __init__(self, *, max_addresses: int = MAX_ADDRESSES) -> None:
        self.uncounted = 0
        self._max = max_addresses
        self._addresses: dict[str, _Address] = {}
        self._now_ms = 0

    def __len__(self) -> int:
        return len(self._addresses)

    def note(self, ip: str, service: str, *, at_ms: int, count: int = 1) -> None:
        """Requests that nothing was found in."""
        held = self._addresses.get(ip)
        if held is None:
            address = _address(ip)
            key = ip if address is None else str(address)
            held = self._addresses.get(key)
            if held is None and len(self._addresses) >= self._max:
                self.uncounted += count
                return
            if address is None:
                return
            if held is None:
                held = self._addresses[key] = _Address(int(address), address.version)
        minute = at_ms // 60_000
        held.hour.add(minute, count)
        held.last_ms = max(held.last_ms, at_ms)
        if service in held.services or len(held.services) < MAX_SERVICES:
            held.services[service] = minute

    def tick(self, *, now_ms: int) -> None:
        """Forget who has not come for an hour."""
        self._now_ms = now_ms
        minute = now_ms // 60_000
        self._addresses = {ip: held for ip, held in self._addresses.items() if held.hour.until(minute)}

    def addresses(self) -> frozenset[str]:
        """Who is known to have come, lately at least."""
        return frozenset(self._addresses)

    def within(self, value: str, *, now_ms: int | None = None) -> Seen:
        """Requests from an address or a network such as ``198.51.100.0/24``.

        Args:
            value: What is no network is nobody's.
            now_ms: The present; None: as of the last tick.
        """
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            return Seen(0, 0, (), None)
        first, last = int(network.network_address), int(network.broadcast_address)
        minute = (self._now_ms if now_ms is None else now_ms) // 60_000
        requests = addresses = last_ms = 0
        services: set[str] = set()
        only = self._addresses.get(str(network.network_address)) if first == last else None
        looked_at = self._addresses.values() if first != last else () if only is None else (only,)
        for held in looked_at:
            if not first <= held.number <= last or held.version != network.version:
                continue
            count = held.hour.until(minute)
            if count:
                requests += count
                addresses += 1
                last_ms = max(last_ms, held.last_ms)
                services.update(name for name, at in held.services.items() if at > minute - MINUTES)
        return Seen(requests, addresses, tuple(sorted(services)), last_ms or None)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as it is blocked: an IPv4 address is one, however it is written; None for what is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
