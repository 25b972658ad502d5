"""The agent's face to the applications of its host: ``/info``, ``/v0.7/config``, uploads, health, status.

Hides HTTP, the two listeners and what makes a repeated poll cheap: a request that is byte for byte its
client's last one, at an unchanged state, is answered with the bytes of the last answer.

Invariants: while Remote Configuration is on, ``/v0.7/config`` never answers 404 (tracers drop all they
have then); "nothing new" is exactly ``{}``; no body is read beyond its limit; a page in a browser gets
nothing, though it may reach this port.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import aiohttp
import orjson
import structlog
from aiohttp import web
from aiohttp.web_request import BaseRequest

from sealwire.agent.answer import answer
from sealwire.agent.dogstatsd import DogStatsd
from sealwire.agent.forward import Forwarder, end_to_end
from sealwire.agent.relay import ENDPOINTS, MAX_UPLOAD_BYTES, Relay, Sight, kind_of
from sealwire.agent.roster import Arrival, Roster
from sealwire.agent.settings import AgentSettings
from sealwire.agent.sights import Sights
from sealwire.agent.trusted import Trusted
from sealwire.agent.uploads import Uploads
from sealwire.clock import utc_now
from sealwire.errors import MalformedError, OversizeError, SettingsError, UntrustedError
from sealwire.wire import codec
from sealwire.wire.limits import MAX_CLIENT_REQUEST_BYTES
from sealwire.wire.version import WIRE_VERSION

log = structlog.get_logger("sealwire.agent.local")

CONFIG_PATH = "/v0.7/config"
# Applications of other users must be able to connect, which is writing; listing is nobody's business.
SOCKET_MODE = 0o722
_JSON = "application/json"
_TEXT = "text/plain"


class News(Protocol):
    """What local polls need of the conversation with the control plane (and a fake of the tests is)."""

    def note_change(self) -> None:
        """Something a client reports is different."""

    async def refresh_for_newcomer(self) -> None:
        """Ask for what a new client needs; returns soon, come what may."""


class Polls:
    """Answers to ``/v0.7/config``: bytes in, status and bytes out.

    Args:
        trusted: What is believed.
        roster: Who is here.
        news: Told about changes, asked for newcomers.
        monotonic: A clock that only counts up.
    """

    def __init__(
        self,
        *,
        trusted: Trusted,
        roster: Roster,
        news: News,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.answered: Counter[int] = Counter()
        self._trusted = trusted
        self._roster = roster
        self._news = news
        self._monotonic = monotonic

    async def poll(self, body: bytes) -> tuple[int, bytes]:
        """Answer one poll.

        Args:
            body: As received, unverified; at most ``MAX_CLIENT_REQUEST_BYTES``.

        Returns:
            HTTP status and body: JSON with 200, a sentence with any other.
        """
        status, answered = await self._poll(body)
        self.answered[status] += 1
        return status, answered

    async def _poll(self, body: bytes) -> tuple[int, bytes]:
        now = utc_now()
        wall_ms = int(now.timestamp() * 1000)
        # 1. The same request at the same state has the same answer.
        generation = self._trusted.generation_at(now)
        known = self._roster.same_again(body, answer_of=generation, now_s=self._monotonic(), wall_ms=wall_ms)
        if known is not None:
            return 200, known.answer
        # 2. Read it, tolerantly.
        try:
            request = codec.decode_client_request(body)
        except MalformedError as error:
            return 400, error.public.encode()
        except OversizeError as error:
            return 413, error.public.encode()
        try:
            codec.validate_client_request(request)
        except UntrustedError as error:
            return 500, error.public.encode()
        # 3. Note who asked. Somebody new, or with a new product, waits a moment for what may be there.
        arrival, seen = self._roster.note(request.client, now_s=self._monotonic(), wall_ms=wall_ms, body=body)
        if arrival.wants_news:
            await self._news.refresh_for_newcomer()
            now = utc_now()
        elif arrival is Arrival.CHANGED:
            self._news.note_change()
        if seen is not None and self._monotonic() < seen.settled_s:
            # It named a new product a moment ago. ddtrace 4.16 acknowledges what comes while its engine still
            # starts, and loses it: blocking that is reported and does not happen (docs/adr/0006).
            return 200, b"{}"
        # 4. Tell what applies.
        generation = self._trusted.generation_at(now)
        try:
            response = answer(self._trusted.served, request, now=now)
        except UntrustedError as error:
            if seen is not None and seen.problem != error.public:
                seen.problem = error.public
                log.warning("a client could not be answered", client=seen.client.id, error=error.public)
            return 500, error.public.encode()
        encoded = codec.encode_client_response(response)
        if seen is not None:
            seen.problem = ""
            if seen.body == body:
                seen.answer, seen.answer_of = encoded, generation
        return 200, encoded


def info_document(settings: AgentSettings) -> bytes:
    """The body of ``/info``: what tracers look for before they use a feature."""
    endpoints = [*ENDPOINTS, *([CONFIG_PATH] if settings.rc_on else [])]
    return orjson.dumps(
        {
            "version": WIRE_VERSION,
            "git_commit": "",
            "endpoints": endpoints,
            "client_drop_p0s": True,
            "span_meta_structs": True,
            "long_running_spans": True,
            "evp_proxy_allowed_headers": [
                "Content-Type",
                "Accept-Encoding",
                "Content-Encoding",
                "User-Agent",
            ],
            "peer_tags": ["db.hostname"],
            "config": {
                "default_env": settings.default_env or "none",
                "target_tps": 10,
                "max_eps": 200,
                "receiver_port": settings.receiver_port,
                "receiver_socket": str(settings.receiver_socket or ""),
                "connection_limit": 0,
                "receiver_timeout": 0,
                "max_request_bytes": MAX_UPLOAD_BYTES,
                "statsd_port": settings.dogstatsd.port if settings.dogstatsd is not None else 0,
                "analyzed_spans_by_service": {},
            },
        }
    )


class LocalServer:
    """Listens on a port and a Unix socket.

    Args:
        settings: Of the agent.
        polls: None where Remote Configuration is off.
        relay: Takes uploads.
        sights: Who looks at uploads as they pass; None for nobody.
        forwarder: Who passes them on; None for nobody.
        uploads: Who sends those of Dynamic Instrumentation to the control plane; None for nobody.
        dogstatsd: Who reads metrics that come over HTTP; None for nobody.
        status: Makes the status document, JSON bytes.
        metrics: Makes the metrics text.
        ready: Whether applications get what they should.
    """

    def __init__(
        self,
        settings: AgentSettings,
        *,
        polls: Polls | None,
        relay: Relay,
        status: Callable[[], bytes],
        metrics: Callable[[], str],
        ready: Callable[[], bool],
        sights: Sights | None = None,
        forwarder: Forwarder | None = None,
        uploads: Uploads | None = None,
        dogstatsd: DogStatsd | None = None,
    ) -> None:
        self.listening: tuple[str, ...] = ()
        self._settings = settings
        self._polls = polls
        self._relay = relay
        self._sights = sights
        self._forwarder = forwarder
        self._uploads = uploads
        self._dogstatsd = dogstatsd
        self._status = status
        self._metrics = metrics
        self._ready = ready
        self._info = info_document(settings)
        self._headers = {"Datadog-Agent-State": hashlib.sha256(self._info).hexdigest()}
        self._runner: web.ServerRunner | None = None
        self._stopping = False

    async def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: The port or the socket is somebody else's; says whose.
        """
        server = web.Server(self._handle, access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=2.0)
        await self._runner.setup()
        listening = []
        try:
            if self._settings.receiver_port:
                listening.append(await self._listen_tcp(self._runner))
            path = self._settings.receiver_socket
            if path is not None and (at := await self._listen_unix(self._runner, path)) is not None:
                listening.append(at)
        except BaseException:
            await self.stop()
            raise
        self.listening = tuple(listening)

    async def stop(self) -> None:
        """Let the listeners go; who asks meanwhile is told to come back."""
        self._stopping = True
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _listen_tcp(self, runner: web.ServerRunner) -> str:
        host = "0.0.0.0" if self._settings.listen_everywhere else "127.0.0.1"
        port = self._settings.receiver_port
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"{host}:{port} cannot be listened on: {_strerror(error)}{_port_holder(port)}; stop that "
                "program, or choose another `apm_config.receiver_port:` (0 is none)"
            ) from error
        return f"http://{host}:{port}"

    async def _listen_unix(self, runner: web.ServerRunner, path: Path) -> str | None:
        if _is_answered(path):
            raise SettingsError(
                f"another program listens on {path}: stop it, or choose another "
                "`apm_config.receiver_socket:` (empty is none)"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            await web.UnixSite(runner, path).start()
            os.chmod(path, SOCKET_MODE)
        except OSError as error:
            # Like the state, the socket is given up on a read-only disk, as long as there is the port.
            if not self._settings.receiver_port:
                raise SettingsError(f"{path} cannot be listened on: {_strerror(error)}") from error
            log.warning("not listening on the Unix socket", path=str(path), error=_strerror(error))
            return None
        return f"unix://{path}"

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:
        path = request.path
        try:
            if path == CONFIG_PATH:
                return await self._config(request)
            if path == "/info":
                return self._reply(200, self._info, _JSON)
            if (kind := kind_of(path)) is not None:
                return await self._upload(kind, request)
            return self._people(request, path)
        except OversizeError as error:
            response = self._reply(413, error.public.encode(), _TEXT)
            # What was not read must not be taken for the next request.
            response.force_close()
            return response

    async def _upload(self, kind: str, request: BaseRequest) -> web.StreamResponse:
        sight: Sight | None = None
        passing = None
        if self._sights is not None:
            sight = self._sights.at(request.path, request.headers, length=request.content_length)
        if sight is None and self._uploads is not None:
            sight = self._uploads.taking(
                request.method,
                request.path,
                request.query_string,
                request.headers,
                length=request.content_length,
            )
        if sight is None and self._dogstatsd is not None:
            sight = self._dogstatsd.taking(request.path)
        if self._forwarder is not None:
            passing = self._forwarder.passing(kind, request)
        own = await self._relay.take(kind, request.content, sight=sight, passing=passing)
        said = await passing.answer() if passing is not None else None
        return self._reply(200, own, _JSON) if said is None else await self._pass_back(request, said)

    async def _pass_back(self, request: BaseRequest, said: aiohttp.ClientResponse) -> web.StreamResponse:
        """The answer of the one an upload was passed on to, piece by piece."""
        async with said:
            headers = end_to_end(said.headers)
            # It tells tracers when to read /info again, and that is ours.
            headers.popall("Datadog-Agent-State", None)
            headers.update(self._headers)
            if said.content_length is not None:
                headers["Content-Length"] = str(said.content_length)
            response = web.StreamResponse(status=said.status, reason=said.reason, headers=headers)
            await response.prepare(request)
            if request.method != "HEAD":
                async for chunk in said.content.iter_any():
                    await response.write(chunk)
            await response.write_eof()
            return response

    async def _config(self, request: BaseRequest) -> web.Response:
        if self._polls is None:
            return self._reply(404, b"Remote Configuration is off", _TEXT)
        if self._stopping:
            return self._reply(503, b"the agent stops", _TEXT)
        if "Origin" in request.headers:
            return self._reply(403, b"not for pages in a browser", _TEXT)
        status, body = await self._polls.poll(await _read(request, MAX_CLIENT_REQUEST_BYTES))
        return self._reply(status, body, _JSON if status == 200 else _TEXT)

    def _people(self, request: BaseRequest, path: str) -> web.Response:
        if path == "/healthz":
            return self._reply(200, b"ok\n", _TEXT)
        if path == "/readyz":
            return self._reply(200, b"ready\n", _TEXT) if self._ready() else self._not_ready()
        if path == "/metrics":
            return self._reply(200, self._metrics().encode(), "text/plain; version=0.0.4")
        if path == "/sealwire/v1/status":
            # Names of services and hosts are not for other machines, nor for pages.
            if "Origin" in request.headers or not _is_local(request.remote):
                return self._reply(403, b"only on this host", _TEXT)
            return self._reply(200, self._status(), _JSON)
        return self._reply(404, b"there is nothing here", _TEXT)

    def _not_ready(self) -> web.Response:
        return self._reply(503, b"no configuration was verified yet\n", _TEXT)

    def _reply(self, status: int, body: bytes, content_type: str) -> web.Response:
        return web.Response(body=body, status=status, headers={**self._headers, "Content-Type": content_type})


async def _read(request: BaseRequest, limit: int) -> bytes:
    """A body of at most ``limit`` bytes, of a GET as well; raises OversizeError, and reads no further."""
    if request.content_length is not None and request.content_length > limit:
        raise OversizeError(f"at most {limit} bytes are taken")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise OversizeError(f"at most {limit} bytes are taken")
    return b"".join(chunks)


def _is_local(remote: str | None) -> bool:
    """Whether a peer is this host; a Unix socket has no address."""
    return not remote or remote.startswith("127.") or remote in ("::1", "::ffff:127.0.0.1")


def _is_answered(path: Path) -> bool:
    """Whether somebody listens on a Unix socket; a file left behind by a crash is nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _strerror(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _port_holder(port: int) -> str:
    """Who listens on a port, from /proc, as far as this user may see it: `` (held by x, pid 1)``."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return ""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            for descriptor in (folder / "fd").iterdir():
                if os.readlink(descriptor) in inodes:
                    name = (folder / "comm").read_text().strip()
                    return f" (held by {name}, pid {folder.name})"
        except OSError:
            continue
    return " (held by a program of another user)"
