"""Who really asks: what proxies of one's own say of it, and nobody else.

A proxy adds the address it was asked from to the end of ``X-Forwarded-For``, and whatever stood there before
it was written by whoever asked. So the header counts only on a connection from a proxy that is trusted
(``trusted_proxies``), and is read from its end: past every trusted proxy to the first address that is none.
``X-Forwarded-Proto`` counts under the same condition. What follows sees the address and the scheme in the
ASGI scope, and need not know of proxies: sign-in throttle, audit trail, sessions, agents, warnings.

IPv4 addresses in an IPv6 socket (``::ffff:192.0.2.1``) are written as what they are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

from sealwire.server.api.remote_config import Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_HOPS = 32  # more than any chain has; what is further left is not read


class Proxies:
    """The proxies that are believed.

    Args:
        networks: Where they are, such as ``10.0.0.0/8``.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(text) for text in networks)
        self._trusts = lru_cache(maxsize=1024)(self._is_in_them)

    def trusts(self, address: _Address) -> bool:
        """Whether there is a trusted proxy at an address."""
        return self._trusts(address)

    def _is_in_them(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)

    def who(self, peer: str, forwarded: Sequence[str], protocols: Sequence[str]) -> tuple[str, str]:
        """The address that counts, and the scheme it asked with; the scheme is empty where nobody said it.

        Args:
            peer: The other end of the connection.
            forwarded: Every ``X-Forwarded-For``, in the order of the request.
            protocols: Every ``X-Forwarded-Proto``.
        """
        address = _parsed(peer)
        if address is None:
            return peer, ""
        if not self.trusts(address):
            return str(address), ""
        hops = 0
        said = [part for value in forwarded for part in value.split(",")]
        for part in reversed(said[-MAX_HOPS:]):
            before = _parsed(_without_port(part.strip()))
            if before is None:
                break  # no proxy writes this: what is left of it is anybody's
            address, hops = before, hops + 1
            if not self.trusts(address):
                break
        schemes = [part.strip().lower() for value in protocols for part in value.split(",")]
        scheme = schemes[-min(max(1, hops), len(schemes))] if schemes else ""
        return str(address), scheme if scheme in ("http", "https") else ""


def behind(application: Application, proxies: Proxies) -> Application:
    """The application, which is told who really asks."""

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] == "http" and client is not None:
            forwarded, protocols = [], []
            for name, value in scope["headers"]:
                if name == b"x-forwarded-for":
                    forwarded.append(value.decode("latin-1"))
                elif name == b"x-forwarded-proto":
                    protocols.append(value.decode("latin-1"))
            address, scheme = proxies.who(client[0], forwarded, protocols)
            if address != client[0]:
                scope["client"] = (address, 0 if forwarded else client[1])
            if scheme:
                scope["scheme"] = scheme
        await application(scope, receive, send)

    return told


@lru_cache(maxsize=1024)
def _parsed(text: str) -> _Address | None:
    if len(text) > 64:
        return None
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return address


def _without_port(text: str) -> str:
    """An address without the port that some write after it: ``192.0.2.1:80``, ``[2001:db8::1]:80``."""
    if text.startswith("["):
        inside, bracket, port = text[1:].partition("]")
        is_port = port == "" or (port[0] == ":" and port[1:].isascii() and port[1:].isdigit())
        return inside if bracket and is_port else text
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host if port.isascii() and port.isdigit() else text
    return text
