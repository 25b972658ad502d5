"""The admin API as one person uses it, through the real application.

Every answer on the way is held against the OpenAPI document.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from sealwire.clock import utc_now
from sealwire.server.app import build
from sealwire.server.control_plane import ControlPlane
from tests.support.documented import undocumented
from tests.support.parts import NOTED, dump, running
from tests.support.simulated_agent import SimulatedAgent

ADMIN = "/api/admin/v1"


def _json(reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except ValueError:
        return None


class Console:
    """The API as one person uses it."""

    def __init__(self, plane: ControlPlane, client: httpx.AsyncClient, key: str) -> None:
        self.plane = plane
        self.client = client
        self.headers = {"Authorization": f"Bearer {key}"}

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        if body is not None:
            more["json"] = body
        reply = await self.client.request(method, ADMIN + path, **{"headers": self.headers, **more})
        said_nothing_of = undocumented(
            method, reply.request.url.path, reply.status_code, reply.headers.get("content-type", ""),
            _json(reply),
        )  # fmt: skip
        assert not said_nothing_of, f"{method} {path}: not as in the OpenAPI document: {said_nothing_of}"
        return reply

    async def get(self, path: str) -> Any:
        return self._document(await self.ask("GET", path), 200)

    async def post(self, path: str, body: Any = None, *, status: int = 201) -> Any:
        return self._document(await self.ask("POST", path, body), status)

    async def put(self, path: str, body: Any) -> Any:
        return self._document(await self.ask("PUT", path, body), 200)

    async def refused(self, method: str, path: str, body: Any = None, *, status: int, **more: Any) -> Any:
        """The problem document of a request that must not work; nothing may have changed."""
        # What is published, and what agents said, is written behind: nothing of it may be on its way while
        # the tables are compared.
        for tenant in self.plane.tenants.values():
            await tenant.reconciler.settle(timeout_s=10)
            await tenant.observer.flush()
        before = dump(self.plane.database, without=NOTED)
        reply = await self.ask(method, path, body, **more)
        assert dump(self.plane.database, without=NOTED) == before
        return self._document(reply, status)

    def _document(self, reply: httpx.Response, status: int) -> Any:
        assert reply.status_code == status, (reply.status_code, reply.text[:2000])
        document = reply.json()
        if status >= 400:
            assert reply.headers["content-type"] == "application/problem+json"
            assert {"type", "title", "status", "detail", "code"} <= set(document)
            assert document["status"] == status
        return document

    async def put_config(self, product: str, payload: Any, **more: Any) -> Any:
        return await self.post("/configs", {"product": product, "payload": payload, **more})

    async def published(self) -> None:
        await self.plane.tenants[1].reconciler.settle(timeout_s=10)

    def agent(self, *clients: Any, name: str = "host-a") -> SimulatedAgent:
        tenant = self.plane.tenants[1]
        roots = tenant.publisher.roots
        return SimulatedAgent(
            (roots.director[0], roots.config[0]),
            hostname=name,
            org_uuid=tenant.organisation.uuid,
            clients={client.id: client for client in clients},
        )

    async def poll(self, agent: SimulatedAgent, **changes: Any) -> None:
        tenant = self.plane.tenants[1]
        agent.take(await tenant.distributor.poll(agent.request(**changes)), now=utc_now())


@asynccontextmanager
async def console(folder: Path, **settings: Any) -> AsyncIterator[Console]:
    async with running(folder, **settings) as plane:
        application, _ = build(plane)
        key = plane.access.create_application_key(1, user="admin", role="admin", now_ms=plane.now_ms())
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://sealwire") as client:
            yield Console(plane, client, key)


Case = Callable[[Console], Awaitable[None]]


def run(folder: Path, case: Case, **settings: Any) -> None:
    async def with_console() -> None:
        async with console(folder, **settings) as it:
            await case(it)

    asyncio.run(with_console())
