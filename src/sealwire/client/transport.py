"""One HTTP request to the local agent, over TCP or a Unix socket; nothing but the standard library."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

from sealwire.errors import SettingsError, UnavailableError
from sealwire.wire.limits import MAX_CLIENT_RESPONSE_BYTES

TIMEOUT_S = 5.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


class Transport:
    """The way to an agent: ``http://host:port`` or ``unix:///path``.

    Raises:
        SettingsError: The address is neither.
    """

    def __init__(self, agent_url: str) -> None:
        parts = urlsplit(agent_url)
        if parts.scheme not in ("http", "unix") or (parts.scheme == "http" and not parts.hostname):
            raise SettingsError(
                f"The agent's address is http://host:port or unix:///path, not {agent_url!r}."
            )
        self._parts = parts

    def poll(self, body: bytes) -> bytes:
        """Send a request, get the answer.

        Raises:
            UnavailableError: The agent is not there, does not have Remote Configuration, or failed.
        """
        parts = self._parts
        connection = (
            _UnixConnection(parts.path)
            if parts.scheme == "unix"
            else http.client.HTTPConnection(parts.hostname or "", parts.port or 8126, timeout=TIMEOUT_S)
        )
        try:
            connection.request("POST", "/v0.7/config", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read(MAX_CLIENT_RESPONSE_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError("The agent does not answer.", detail=str(error)) from error
        finally:
            connection.close()
        if response.status != 200:
            raise UnavailableError(f"The agent answered {response.status}.")
        return answer
