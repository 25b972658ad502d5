"""A live screen as a browser has it open, without a browser: what the stream brings, as it comes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sealwire.server.app import build
from tests.support.console import Console

_PART = re.compile(r'<template hx type="partial" hx-target="#([^"]+)" hx-swap="(\w+)">(.*?)</template>', re.S)


class Watched:
    """An open stream."""

    def __init__(self) -> None:
        self.status = 0
        self.parts: list[tuple[str, str, str]] = []
        self._unread = ""
        self._came = asyncio.Condition()

    async def take(self, message: Any) -> None:
        """What the application sends."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self._unread += message.get("body", b"").decode()
        *events, self._unread = self._unread.split("\n\n")
        async with self._came:
            for event in events:
                data = [
                    line.removeprefix("data: ") for line in event.split("\n") if line.startswith("data: ")
                ]
                self.parts += [found.groups() for found in _PART.finditer("\n".join(data))]
            self._came.notify_all()

    async def until(self, target: str, text: str, *, how: str = "outerMorph", timeout_s: float = 20) -> str:
        """Wait for a part with ``text`` for the element ``target``; returns it, forgets what came for it."""

        def found() -> str | None:
            return next(
                (html for name, way, html in self.parts if (name, way) == (target, how) and text in html),
                None,
            )

        async with self._came:
            try:
                await asyncio.wait_for(self._came.wait_for(found), timeout_s)
            except TimeoutError:
                came = [(name, way, html[:300]) for name, way, html in self.parts]
                raise AssertionError(f"{how} of {target} with {text!r} did not come: {came}") from None
            html = found()
            self.parts = [part for part in self.parts if part[:2] != (target, how)]
        assert html is not None
        return html


@asynccontextmanager
async def watching(it: Console, path: str) -> AsyncIterator[Watched]:
    """A stream that is open until the block is left."""
    application, _ = build(it.plane)
    watched, over = Watched(), asyncio.Event()
    raw_path, _, query = path.partition("?")
    headers = [(name.lower().encode(), value.encode()) for name, value in it.headers.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": raw_path, "raw_path": raw_path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(b"host", b"sealwire"), *headers],
        "client": ("192.0.2.7", 4711), "server": ("sealwire", 80), "state": {}, "extensions": {},
    }  # fmt: skip
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await over.wait()
        return {"type": "http.disconnect"}

    task = asyncio.create_task(application(scope, receive, watched.take))  # type: ignore[arg-type]  # ASGI's own
    try:
        yield watched
    finally:
        over.set()
        await asyncio.wait({task}, timeout=5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
