"""Free ports on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from sealwire.errors import SealwireError

TRIES = 200


def free_port(wanted: int, *, taken: Iterable[int] = (), host: str = "127.0.0.1") -> int:
    """The wanted port, or the next one that nobody listens on.

    Args:
        wanted: Where to begin.
        taken: Ports promised to somebody else already.
        host: The address that will be listened on.

    Raises:
        SealwireError: None of the next ``TRIES`` ports is free.
    """
    promised = set(taken)
    for port in range(wanted, min(wanted + TRIES, 65536)):
        if port not in promised and _is_free(host, port):
            return port
    raise SealwireError(f"No free port from {wanted} to {min(wanted + TRIES, 65536) - 1} on {host}.")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections only linger in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True
