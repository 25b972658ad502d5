"""Addresses and networks: parsing, and one test for many."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple


class Address(NamedTuple):
    """An address as a number; version 0 is no address."""

    version: int
    number: int


MAX_ADDRESS_CHARS: Final = 64


def address(text: str) -> Address:
    """The address a text says; an IPv4 address within IPv6 is the IPv4 address."""
    return _address(text) if len(text) <= MAX_ADDRESS_CHARS else Address(0, 0)


@lru_cache(maxsize=8_192)
def _address(text: str) -> Address:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return Address(0, 0)
    number = int(found)
    if found.version == 6 and number >> 32 == 0xFFFF:
        return Address(4, number & 0xFFFFFFFF)
    return Address(found.version, number)


class Network(NamedTuple):
    """All addresses that agree in the bits of the mask."""

    version: int
    number: int
    mask: int


def network(text: str) -> Network:
    """The network that ``10.0.0.0/8`` says, or the one address; bits beyond the prefix do not count.

    Raises:
        ValueError: It is neither.
    """
    found = ipaddress.ip_network(text, strict=False)
    number, mask = int(found.network_address), int(found.netmask)
    if found.version == 6 and found.prefixlen >= 96 and number >> 32 == 0xFFFF:
        return Network(4, number & 0xFFFFFFFF, mask & 0xFFFFFFFF)
    return Network(found.version, number, mask)


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """Networks and addresses, as written."""

    texts: tuple[str, ...]

    def test(self) -> Callable[[str], bool]:
        """A function that says whether an address, as a text, is in one of them."""
        by_mask: dict[tuple[int, int], set[int]] = {}
        for text in self.texts:
            each = network(text)
            by_mask.setdefault((each.version, each.mask), set()).add(each.number)
        tables = tuple((version, mask, frozenset(numbers)) for (version, mask), numbers in by_mask.items())

        def is_within(text: str) -> bool:
            version, number = address(text)
            for of_version, mask, numbers in tables:
                if version == of_version and number & mask in numbers:
                    return True
            return False

        return is_within


def networks(texts: Iterable[str]) -> NetworkSet:
    """A set of networks, each once."""
    return NetworkSet(tuple(dict.fromkeys(texts)))
