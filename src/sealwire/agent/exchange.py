"""One request to the control plane and its answer.

Hides HTTP: connections, TLS, headers, status codes, time limits. What goes wrong comes out as
:class:`ApiError` with one sentence and a kind, or as an ``UntrustedError`` when the answer itself is not
to be read. Nothing is believed here: bytes are bounded and parsed, that is all.

Invariants: the API key goes to the one URL of the settings and follows no redirect; no answer is read
beyond its limit; every call ends, at the latest by its time limit.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from pathlib import Path

import aiohttp
from multidict import CIMultiDictProxy

from sealwire import __version__
from sealwire.clock import utc_now
from sealwire.errors import OversizeError, SealwireError
from sealwire.wire import codec, inventory, probe_batch, security_batch
from sealwire.wire import remoteconfig_pb2 as pb

MAX_ANSWER_BYTES = 110 * 1024 * 1024
MAX_SMALL_ANSWER_BYTES = 4096
CONNECT_TIMEOUT_S = 5.0
# On top of what the control plane may hold an answer: silence for this long is a failure.
READ_SLACK_S = 15.0
# And the whole of an answer, so that one that drips is given up some time.
TOTAL_SLACK_S = 300.0
# What is posted once a minute shall not need a handshake each time; below what our control plane keeps.
KEEP_ALIVE_S = 70.0
# Above this the loop would stand still for milliseconds.
PARSE_IN_THREAD_BYTES = 256 * 1024

_API = "/api/v0.1"
_OK = frozenset({200})
_TAKEN = frozenset({200, 201, 202, 204})  # an upload that is worked on later is taken


class Trouble(Enum):
    """Kinds of failure that are told apart."""

    UNREACHABLE = "unreachable"
    UNAUTHORIZED = "unauthorized"
    BUSY = "busy"
    REFUSED_BY_SERVER = "refused by server"


class ApiError(SealwireError):
    """The control plane could not be asked, or did not answer as it should.

    Args:
        trouble: Which kind.
        retry_after_s: What it asked for, 0 if nothing.
        status: Of its answer; 0 where there was none.
    """

    code = "api"

    def __init__(self, public: str, *, trouble: Trouble, retry_after_s: float = 0.0, status: int = 0) -> None:
        super().__init__(public)
        self.trouble = trouble
        self.retry_after_s = retry_after_s
        self.status = status


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to a poll, parsed and unverified.

    Attributes:
        size: In bytes, as received.
        holds_s: What the control plane says it would hold an answer; None when it does not say.
    """

    message: pb.LatestConfigsResponse
    size: int
    holds_s: float | None


class ControlPlane:
    """The machine endpoints of one control plane.

    Args:
        url: Without a slash at the end.
        api_key: Sent with every request.
        ca_file: The only authority believed; None is the system's.
        verify_tls: False talks to anybody.
        on_skew: Told after every answer how far this host's clock is ahead, in seconds.
    """

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        ca_file: Path | None = None,
        verify_tls: bool = True,
        on_skew: Callable[[float], None] | None = None,
    ) -> None:
        self._url = url
        self._headers = {
            "DD-Api-Key": api_key.strip(),
            "Content-Type": "application/x-protobuf",
            "Accept-Encoding": "gzip",
            "User-Agent": f"sealwire-agent/{__version__}",
        }
        self._tls: ssl.SSLContext | bool = True
        if url.startswith("https:"):
            self._tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
            if not verify_tls:
                self._tls.check_hostname = False
                self._tls.verify_mode = ssl.CERT_NONE
        self.on_skew = on_skew
        self._session: aiohttp.ClientSession | None = None

    async def org_uuid(self) -> str:
        """The organisation's UUID; "" when it has none to tell."""
        body, _ = await self._call("GET", _API + "/org", limit=MAX_SMALL_ANSWER_BYTES)
        return codec.parse_org_data_response(body).uuid

    async def org_status(self) -> tuple[bool, bool]:
        """Whether the organisation has Remote Configuration, and whether this key may use it."""
        body, _ = await self._call("GET", _API + "/status", limit=MAX_SMALL_ANSWER_BYTES)
        status = codec.parse_org_status_response(body)
        return status.enabled, status.authorized

    async def configurations(self, request: pb.LatestConfigsRequest, *, wait_s: int | None = None) -> Reply:
        """Ask for news.

        Args:
            request: All we hold and who is here.
            wait_s: Let the control plane hold the answer that long until something changes.

        Raises:
            ApiError: It could not be asked or did not answer with 200.
            OversizeError: The answer is larger than any may be.
            MalformedError: It is no such message.
        """
        body, headers = await self._call(
            "POST",
            _API + "/configurations",
            limit=MAX_ANSWER_BYTES,
            data=request.SerializeToString(),
            wait_s=wait_s,
        )
        if len(body) > PARSE_IN_THREAD_BYTES:
            message = await asyncio.to_thread(codec.parse_latest_configs_response, body)
        else:
            message = codec.parse_latest_configs_response(body)
        return Reply(message, len(body), _number(headers.get("Sealwire-Wait")))

    async def post_inventory(self, post: bytes) -> inventory.Taken:
        """Tell what is here; ``post`` is encoded.

        Raises:
            ApiError: It could not be told or was not answered with 200.
            UntrustedError: The answer is not to be read.
        """
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        body, _ = await self._call(
            "POST", inventory.PATH, limit=MAX_SMALL_ANSWER_BYTES, data=post, headers=headers
        )
        return inventory.decode_taken(body)

    async def post_security(self, packed: bytes) -> None:
        """Deliver a batch of what was seen of attacks; it is encoded.

        Raises:
            ApiError: It could not be delivered or was not answered with 200.
            UntrustedError: The answer is not to be read.
        """
        headers = {
            "Content-Type": security_batch.CONTENT_TYPE,
            "Content-Encoding": "gzip",
            security_batch.NOW_HEADER: str(int(utc_now().timestamp() * 1000)),
        }
        await self._call(
            "POST", security_batch.PATH, limit=MAX_SMALL_ANSWER_BYTES, data=packed, headers=headers
        )

    async def post_probes(self, packed: bytes) -> None:
        """Deliver a batch of what probes gave in numbers and in traces; it is encoded.

        Raises:
            ApiError: It could not be delivered or was not answered with 200.
            UntrustedError: The answer is not to be read.
        """
        headers = {
            "Content-Type": probe_batch.CONTENT_TYPE,
            "Content-Encoding": "gzip",
            security_batch.NOW_HEADER: str(int(utc_now().timestamp() * 1000)),
        }
        await self._call("POST", probe_batch.PATH, limit=MAX_SMALL_ANSWER_BYTES, data=packed, headers=headers)

    async def post_upload(self, path_and_query: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Deliver an upload of a tracer as it came.

        Args:
            path_and_query: Of this control plane, whole.
            headers: What is said of the body.

        Raises:
            ApiError: It could not be delivered or was not taken.
            UntrustedError: The answer is not to be read.
        """
        await self._call(
            "POST", path_and_query, limit=MAX_SMALL_ANSWER_BYTES, data=body, headers=headers, taken=_TAKEN
        )

    async def close(self) -> None:
        """Let all connections go."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(
        self,
        method: str,
        path: str,
        *,
        limit: int,
        data: bytes | None = None,
        wait_s: int | None = None,
        headers: Mapping[str, str] | None = None,
        taken: frozenset[int] = _OK,
    ) -> tuple[bytes, CIMultiDictProxy[str]]:
        sent = {**self._headers, **(headers or {})}
        if wait_s is not None:
            sent["Sealwire-Wait"] = str(wait_s)
        for last_try in (False, True):
            try:
                return await self._send(method, path, limit, data, sent, held_s=wait_s or 0, taken=taken)
            except (aiohttp.ClientError, OSError) as error:
                # The other side may have closed a kept connection meanwhile: asking twice is harmless.
                stale = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
                if last_try or not stale or isinstance(error, aiohttp.ClientConnectorError):
                    raise self._unreachable(error) from error
        raise AssertionError("the last try returns or raises")

    async def _send(
        self,
        method: str,
        path: str,
        limit: int,
        data: bytes | None,
        headers: Mapping[str, str],
        *,
        held_s: int,
        taken: frozenset[int],
    ) -> tuple[bytes, CIMultiDictProxy[str]]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, limit=8, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        read_s = held_s + READ_SLACK_S
        timeout = aiohttp.ClientTimeout(
            total=read_s + TOTAL_SLACK_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=read_s
        )
        async with self._session.request(
            method, self._url + path, data=data, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            self._note_clock(response.headers.get("Date"))
            if response.status not in taken:
                said = await _read(response, MAX_SMALL_ANSWER_BYTES, cut=True)
                raise _not_ok(response.status, said, response.headers)
            return await _read(response, limit), response.headers

    def _note_clock(self, date: str | None) -> None:
        if date is None or self.on_skew is None:
            return
        try:
            theirs = parsedate_to_datetime(date)
        except ValueError:
            return
        if theirs.tzinfo is None:
            theirs = theirs.replace(tzinfo=UTC)
        self.on_skew((utc_now() - theirs).total_seconds())

    def _unreachable(self, error: Exception) -> ApiError:
        return ApiError(
            f"{self._url}{_API} cannot be reached: {words_of(error)}", trouble=Trouble.UNREACHABLE
        )


async def _read(response: aiohttp.ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    """Read a body of at most ``limit`` bytes; a longer one is cut or refused, not read.

    Raises:
        OversizeError: It is longer, and ``cut`` is not set.
    """
    if not cut and response.content_length is not None and response.content_length > limit:
        response.close()
        raise OversizeError(f"the answer has {response.content_length} bytes; at most {limit} are taken")
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            # What is left must not be waited for, so the connection goes.
            response.close()
            if cut:
                break
            raise OversizeError(f"the answer has more than the {limit} bytes that are taken")
    return b"".join(chunks)


def _not_ok(status: int, said: bytes, headers: Mapping[str, str]) -> ApiError:
    """What a status other than 200 means."""
    words = " ".join(said.decode("utf-8", "replace").split())[:200]
    said_so = f": {words}" if words.isprintable() and words and not words.startswith("<") else ""
    if status == 401:
        return ApiError(
            f"the API key is not accepted (401){said_so}", trouble=Trouble.UNAUTHORIZED, status=status
        )
    if status in (429, 503, 504):
        after_s = _number(headers.get("Retry-After")) or 0.0
        return ApiError(
            f"the control plane is busy ({status}){said_so}",
            trouble=Trouble.BUSY,
            retry_after_s=min(after_s, 60.0),
            status=status,
        )
    if 300 <= status < 400:
        said_so = ": redirects are not followed, name the final address"
    return ApiError(
        f"the control plane answered {status}{said_so}", trouble=Trouble.REFUSED_BY_SERVER, status=status
    )


def words_of(error: Exception) -> str:
    """The reason of a transport error, without its class names."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        clock = " (or this host's clock is wrong)" if "yet valid" in reason or "expired" in reason else ""
        return f"its certificate is not trusted: {reason}{clock}"
    if isinstance(error, aiohttp.ClientConnectorError) and (error.os_error.errno or 0) > 0:
        return os.strerror(error.os_error.errno or 0)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < 86400 else None
