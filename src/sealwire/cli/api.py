"""The admin API, as the command line calls it.

Hides HTTP, TLS and problem details: a call gives decoded JSON or raises one of the errors of
``sealwire.errors``. Invariants: redirects are not followed and proxies of the environment not used,
so the application key goes to the host of the profile and nowhere else; plain HTTP is spoken to
this machine only.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from sealwire import __version__
from sealwire.cli.profile import Profile
from sealwire.errors import (
    ConflictError,
    InvalidChangeError,
    NotFoundError,
    NotPermittedError,
    Problem,
    SealwireError,
    SettingsError,
    UnauthenticatedError,
    UnavailableError,
)

BASE = "/api/admin/v1"
# A list of 10,000 configs with their payloads fits; a stream without end does not.
MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_PROBLEM_BYTES = 1024 * 1024
DOWNLOAD_PIECE_BYTES = 65536


class AdminApi:
    """Calls to one control plane with one user's key."""

    def __init__(self, profile: Profile, *, timeout_s: float = 30.0) -> None:
        """Check the address and read the CA; nothing is sent yet.

        Raises:
            SettingsError: The URL or the CA file is unusable.
        """
        parts = urlsplit(profile.url)
        try:
            port = parts.port
        except ValueError as error:
            raise SettingsError(f"The URL {profile.url} is not usable: {error}.") from error
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise SettingsError(f"The URL {profile.url} should look like https://host:8443.")
        if parts.scheme == "http" and not _is_this_machine(parts.hostname):
            raise SettingsError(
                f"{profile.url} is plain HTTP: the application key would travel readable. Use https."
            )
        self.url = profile.url
        self._host = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._key = profile.application_key
        self._timeout_s = timeout_s
        self._tls = _tls_context(profile) if parts.scheme == "https" else None

    def get(self, path: str, query: Mapping[str, str | int | None] | None = None) -> object:
        """Read something; ``query`` values that are None are left out."""
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        return self._call("GET", path + ("?" + urlencode(asked) if asked else ""))

    def post(self, path: str, body: object | None = None) -> object:
        """Make something, or start an action."""
        return self._call("POST", path, {} if body is None else body)

    def put(self, path: str, body: object) -> object:
        """Replace something."""
        return self._call("PUT", path, body)

    def patch(self, path: str, body: object) -> object:
        """Change parts of something."""
        return self._call("PATCH", path, body)

    def delete(self, path: str, query: Mapping[str, str | int | None] | None = None) -> object:
        """Retire or revoke something."""
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        return self._call("DELETE", path + ("?" + urlencode(asked) if asked else ""))

    def download(self, path: str, query: Mapping[str, str | int | None], out: BinaryIO) -> int:
        """Write an answer of any length to a file, piece by piece; its size in bytes.

        Raises:
            SettingsError: The file cannot be written.
        """
        asked = {name: value for name, value in query.items() if value is not None}
        size = 0
        with self._asked("GET", path + ("?" + urlencode(asked) if asked else "")) as response:
            if response.status >= 300:
                raise problem_error(response.status, _decoded(response.read(MAX_PROBLEM_BYTES)))
            while piece := response.read(DOWNLOAD_PIECE_BYTES):
                try:
                    out.write(piece)
                except OSError as error:
                    raise SettingsError(f"The file cannot be written: {error.strerror}.") from error
                size += len(piece)
        return size

    def _call(self, method: str, path: str, body: object | None = None) -> object:
        with self._asked(method, path, body) as response:
            raw = response.read(MAX_ANSWER_BYTES + 1)
            retry_after = response.headers.get("Retry-After", "")
        if len(raw) > MAX_ANSWER_BYTES:
            raise SealwireError(f"{self.url} answered more than {MAX_ANSWER_BYTES} bytes.")
        document = _decoded(raw)
        if response.status >= 300:
            raise problem_error(response.status, document, retry_after=retry_after)
        if document is None and raw:
            raise SealwireError(f"{self.url} answered {response.status}, but not with JSON.")
        return document

    @contextmanager
    def _asked(
        self, method: str, path: str, body: object | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        raw_body = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Accept": "application/json, application/problem+json",
            "User-Agent": f"sealwire-cli/{__version__}",
            "Connection": "close",
        }
        if raw_body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, f"{self._prefix}{BASE}{path}", body=raw_body, headers=headers)
            yield connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise UnavailableError(
                f"{self.url} shows a certificate that the CA of this profile does not vouch for "
                f"({error.verify_message}). Is it the right one? The CA is `ca_file` in the profile."
            ) from error
        except (ssl.SSLError, http.client.HTTPException) as error:
            raise UnavailableError(
                f"{self.url} does not answer as a control plane: {_reason(error)}."
            ) from error
        except (TimeoutError, OSError) as error:
            raise UnavailableError(
                f"Cannot reach the control plane at {self.url}: {_reason(error)}. Is it running?"
            ) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)


def segment(value: str) -> str:
    """One path segment of a URL: an id typed by a person cannot leave its place."""
    return quote(value, safe="") if value not in (".", "..") else value.replace(".", "%2E")


def problem_error(status: int, document: object, *, retry_after: str = "") -> SealwireError:
    """The error that an answer's problem details stand for.

    Args:
        status: HTTP status, 300 or above.
        document: The decoded body; anything at all.
        retry_after: The header of that name, or empty.
    """
    details: Mapping[str, object] = document if isinstance(document, dict) else {}
    title = details.get("title")
    public = details.get("detail") or title
    if not isinstance(public, str) or not public:
        public = f"The control plane answered {status} {http.client.responses.get(status, '')}".rstrip() + "."
    match status:
        case 401:
            return UnauthenticatedError(public)
        case 403:
            return NotPermittedError(public)
        case 404:
            return NotFoundError(public)
        case 409:
            expected, actual = details.get("expected_revision"), details.get("actual_revision")
            return ConflictError(
                public,
                expected_revision=expected if isinstance(expected, int) else None,
                actual_revision=actual if isinstance(actual, int) else None,
            )
        case 400 | 413 | 422:
            return InvalidChangeError(public, problems=_problems(details.get("problems")))
        case 502 | 503 | 504:
            try:
                return UnavailableError(public, retry_after_s=float(retry_after or 1.0))
            except ValueError:
                return UnavailableError(public)
        case 300 | 301 | 302 | 303 | 307 | 308:
            return SealwireError(
                f"The control plane answered {status}, a redirect; the URL in the profile is not its own."
            )
        case _:
            return SealwireError(public)


def _problems(listed: object) -> tuple[Problem, ...]:
    if not isinstance(listed, list):
        return ()
    return tuple(
        Problem(str(item.get("path", "$")), str(item.get("message", "")))
        for item in listed
        if isinstance(item, dict)
    )


def _decoded(raw: bytes) -> object:
    try:
        document: object = json.loads(raw)
    except ValueError:
        return None
    return document


def _tls_context(profile: Profile) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if profile.ca_file is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # our CA alone, not the system's list beside it
        try:
            context.load_verify_locations(cafile=str(profile.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"The CA file {profile.ca_file} cannot be used: {_reason(error)}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error) or type(error).__name__
