"""A control plane small enough to misbehave on purpose: the machine endpoints over a ``Simulator``.

It answers everything to who holds something else than is published, and timestamps with snapshots to who
holds it, holds polls when asked to, and keeps every request. What it does wrong is set by attributes.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web
from aiohttp.web_request import BaseRequest

from sealwire.trust.uptane import RepositoryParts
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.repository import Simulator, prefixed_path

API_KEY = "0123456789abcdef0123456789abcdef"
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Request:
    """One request, as it came. ``message`` is empty but for polls; ``wait_s`` is None without the header."""

    path: str
    api_key: str
    wait_s: int | None
    message: pb.LatestConfigsRequest


class FakeControlPlane:
    """One organisation's control plane.

    Attributes:
        simulator: What is published; call ``publish`` after changing it.
        holds: Whether it holds polls, and says so.
        status: HTTP status of every answer that is not 200.
        clock_ahead_s: How far its ``Date`` is from the real time.
        edit: Changes each full answer before it is sent.
        body: Sent in place of every answer to a poll.
        held_body: Sent, once, to the next poll that ``release`` lets go.
        requests: All so far.
        holding: How many polls are held now.
    """

    def __init__(self, simulator: Simulator | None = None, *, holds: bool = True) -> None:
        self.simulator = simulator if simulator is not None else Simulator()
        self.holds = holds
        self.status = 200
        self.status_text = ""
        self.clock_ahead_s = 0.0
        self.enabled, self.authorized = True, True
        self.edit: Callable[[pb.LatestConfigsResponse], None] | None = None
        self.body: bytes | None = None
        self.held_body: bytes | None = None
        self.requests: list[Request] = []
        self.holding = 0
        self.url = ""
        self._published = 0
        self._released = 0
        self._news = asyncio.Condition()
        self.publish_quietly()

    @property
    def polls(self) -> list[pb.LatestConfigsRequest]:
        """What was asked for so far."""
        return [request.message for request in self.requests if request.path == "/api/v0.1/configurations"]

    def publish_quietly(self) -> None:
        """Sign what the simulator has now; polls that are held stay held."""
        self._published += 1
        echo = base64.b64encode(self._echo).decode()
        self.simulator.director.custom["targets"] = {
            "agent_refresh_interval": 60,
            "opaque_backend_state": echo,
        }
        self.simulator.publish()

    async def publish(self) -> None:
        """Sign what the simulator has now, and answer the polls that are held."""
        self.publish_quietly()
        async with self._news:
            self._news.notify_all()

    async def release(self) -> None:
        """Answer the polls that are held, with ``held_body`` if there is one."""
        async with self._news:
            self._released += 1
            self._news.notify_all()

    async def until(self, claim: Callable[[], bool]) -> None:
        """Wait until a claim about this control plane is true; it is looked at after each request."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(claim)

    async def until_poll(
        self, claim: Callable[[pb.LatestConfigsRequest], bool], *, after: int = 0
    ) -> pb.LatestConfigsRequest:
        """Wait for a poll, after the first so many, of which a claim is true."""

        def find() -> pb.LatestConfigsRequest | None:
            return next((poll for poll in self.polls[after:] if claim(poll)), None)

        await self.until(lambda: find() is not None)
        found = find()
        assert found is not None
        return found

    @asynccontextmanager
    async def serving(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Listen on this machine; the value is the URL. Leaving cuts every connection."""
        server = web.Server(self._handle, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        host, bound = runner.addresses[0][:2]
        self.url = f"{'https' if tls else 'http'}://{host}:{bound}"
        try:
            yield self.url
        finally:
            await _accept_no_more(site)
            await runner.cleanup()

    @property
    def port(self) -> int:
        """Where it listens or last listened."""
        return int(self.url.rpartition(":")[2])

    @property
    def _echo(self) -> bytes:
        return b"published %d" % self._published

    async def _handle(self, request: BaseRequest) -> web.Response:
        wait = request.headers.get("Sealwire-Wait")
        message = pb.LatestConfigsRequest()
        if request.method == "POST":
            message.ParseFromString(await request.read())
        seen = Request(
            request.path, request.headers.get("DD-Api-Key", ""), int(wait) if wait else None, message
        )
        async with self._news:
            self.requests.append(seen)
            self._news.notify_all()
        headers = {
            "Content-Type": "application/x-protobuf",
            "Date": format_datetime(datetime.now(UTC) + timedelta(seconds=self.clock_ahead_s), usegmt=True),
        }
        if self.status != 200:
            return web.Response(status=self.status, text=self.status_text or "no")
        if seen.wait_s is not None and self.holds:
            headers["Sealwire-Wait"] = str(seen.wait_s)
            if await self._hold(seen) and self.held_body is not None:
                body, self.held_body = self.held_body, None
                return web.Response(body=body, headers=headers)
        return web.Response(body=self._answer(seen), headers=headers)

    async def _hold(self, request: Request) -> bool:
        """Hold a poll until something is new for it; whether it was let go by ``release``."""
        before = self._released
        async with self._news:
            self.holding += 1
            self._news.notify_all()
            try:
                async with asyncio.timeout(request.wait_s):
                    await self._news.wait_for(
                        lambda: self._released != before or not self._is_current(request.message)
                    )
            except TimeoutError:
                pass
            finally:
                self.holding -= 1
        return self._released != before

    def _is_current(self, message: pb.LatestConfigsRequest) -> bool:
        return message.backend_client_state == self._echo and not message.has_error

    def _answer(self, request: Request) -> bytes:
        if request.path == "/api/v0.1/org":
            return pb.OrgDataResponse(uuid=self.simulator.org_uuid or "").SerializeToString()
        if request.path == "/api/v0.1/status":
            return pb.OrgStatusResponse(enabled=self.enabled, authorized=self.authorized).SerializeToString()
        if self.body is not None:
            return self.body
        message = full_answer(self.simulator)
        if self._is_current(request.message):
            message = steady_answer(message)
        if self.edit is not None:
            self.edit(message)
        return message.SerializeToString()


async def _accept_no_more(site: web.TCPSite) -> None:
    """Before a listener is closed: asyncio forgets a connection that it is just accepting, and it hangs."""
    loop = asyncio.get_running_loop()
    assert isinstance(site._server, asyncio.Server)
    for listener in site._server.sockets:
        loop.remove_reader(listener.fileno())
    for _ in range(3):
        await asyncio.sleep(0)


def full_answer(simulator: Simulator) -> pb.LatestConfigsResponse:
    """Everything, as to an agent of which nothing is known."""
    director, config = simulator.director, simulator.config
    message = pb.LatestConfigsResponse()
    _fill(message.director_metas, director.parts(), director.versions)
    _fill(message.config_metas, config.parts(), config.versions)
    for role, raw in config.parts().delegated.items():
        message.config_metas.delegatedTargets.add(role=role, version=config.versions[role], raw=raw)
    for path, raw in simulator.files.items():
        message.target_files.add(path=prefixed_path(path, raw), raw=raw)
    return message


def steady_answer(full: pb.LatestConfigsResponse) -> pb.LatestConfigsResponse:
    """What an agent is told that holds all of it: both repositories' timestamp and snapshot."""
    message = pb.LatestConfigsResponse()
    message.director_metas.timestamp.CopyFrom(full.director_metas.timestamp)
    message.director_metas.snapshot.CopyFrom(full.director_metas.snapshot)
    message.config_metas.timestamp.CopyFrom(full.config_metas.timestamp)
    message.config_metas.snapshot.CopyFrom(full.config_metas.snapshot)
    return message


def _fill(metas: pb.DirectorMetas | pb.ConfigMetas, parts: RepositoryParts, versions: dict[str, int]) -> None:
    for number, raw in enumerate(parts.roots, start=1):
        metas.roots.add(version=number, raw=raw)
    metas.timestamp.version, metas.timestamp.raw = versions["timestamp"], parts.timestamp or b""
    metas.snapshot.version, metas.snapshot.raw = versions["snapshot"], parts.snapshot or b""
    targets = metas.topTargets if isinstance(metas, pb.ConfigMetas) else metas.targets
    targets.version, targets.raw = versions["targets"], parts.targets or b""
