"""Live screens: the fragments of a page again, as they change, over server-sent events.

A screen is a function from a request to fragments by element id. Once a second the fragments are made and
compared with what this viewer has; the ones that differ are sent as one event, to be morphed in place. A
new connection gets everything, so a viewer that was away or paused is right again with the first event:
there is no log to replay and nothing to lose.

A stream ends by itself after ``STREAM_S``; the browser comes back and is asked anew who it is. So a session
that was revoked sees nothing a minute later. There are at most ``MAX_VIEWERS``, and ``MAX_OF_ONE`` of one
person, so that nobody takes them all; streams end with the server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

import structlog
from litestar.response import Stream

from sealwire.errors import SealwireError, UnavailableError

log = structlog.get_logger()

EVERY_S = 1.0
BEAT_EVERY_S = 3.0
STREAM_S = 60.0
MAX_VIEWERS = 200
MAX_OF_ONE = 20


@dataclass(frozen=True, slots=True)
class Rows:
    """A fragment that is a container of rows, each with an id of its own.

    While its rows stay the same ones in the same order, only those that differ are sent; new ones on top
    are put there, and old ones taken from the end, without sending the others again.
    """

    opening: str
    rows: Mapping[str, str]
    closing: str

    def html(self) -> str:
        return f"{self.opening}{''.join(self.rows.values())}{self.closing}"


Fragments = Mapping[str, "str | Rows"]
Screen = Callable[[], Awaitable[Fragments]]


class Viewers:
    """Who is watching."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self.count = 0
        self._of: Counter[str] = Counter()
        self._stopping = stopping

    async def stream(self, screen: Screen, whose: str = "") -> Stream:
        """The answer to a viewer, once there is something to show.

        Args:
            whose: Who is watching.

        Raises:
            UnavailableError: There are too many.
            SealwireError: What the screen raised at the first look: there is no such thing here.
        """
        self._require_room(whose)
        first = await screen()
        self._require_room(whose)  # many may have come meanwhile
        return Stream(
            self._events(screen, first, whose),
            media_type="text/event-stream",
            headers={"Cache-Control": "private, no-store", "X-Accel-Buffering": "no"},
        )

    def of(self, whose: str) -> Watcher:
        """The same, for one person."""
        return Watcher(self, whose)

    def _require_room(self, whose: str) -> None:
        # Attack: somebody who may only look opens every stream there is.
        if self.count >= MAX_VIEWERS or self._of[whose] >= MAX_OF_ONE or self._stopping.is_set():
            raise UnavailableError("Too many live pages are open; this one does not update.")

    async def _events(self, screen: Screen, first: Fragments, whose: str = "") -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        self.count += 1
        self._of[whose] += 1
        sent: dict[str, str | Rows] = {}
        ends = loop.time() + STREAM_S
        beat = 0.0
        number = 0
        pending: Fragments | None = first
        try:
            yield b"retry: 1000\n\n"
            while loop.time() < ends and not self._stopping.is_set():
                started = loop.time()
                try:
                    fragments, pending = (await screen() if pending is None else pending), None
                except SealwireError as error:
                    # A thing that is gone, or a database that is away: the page says its data is old.
                    log.debug("live screen not made", code=error.code, detail=error.detail)
                    break
                html = changes(sent, fragments)
                sent = dict(fragments)
                if html:
                    number += 1
                    beat = started
                    yield event(html, number)
                elif started - beat >= BEAT_EVERY_S:
                    beat = started
                    yield b"event: beat\ndata: 1\n\n"
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.1, EVERY_S - (loop.time() - started))):
                        await self._stopping.wait()
        finally:
            self.count -= 1
            self._of[whose] -= 1
            if not self._of[whose]:
                del self._of[whose]


@dataclass(frozen=True, slots=True)
class Watcher:
    """One person who is watching."""

    viewers: Viewers
    whose: str

    async def stream(self, screen: Screen) -> Stream:
        """See ``Viewers.stream``."""
        return await self.viewers.stream(screen, self.whose)


def changes(sent: Mapping[str, str | Rows], fragments: Fragments) -> str:
    """What a viewer lacks, as elements to be put in place by their ids."""
    parts: list[str] = []
    for name, fragment in fragments.items():
        before = sent.get(name)
        if isinstance(fragment, str):
            if fragment != before:
                parts.append(_in_place(name, fragment))
        else:
            added = None if not isinstance(before, Rows) else _added_on_top(before, fragment)
            if added is None or not isinstance(before, Rows):
                parts.append(_in_place(name, fragment.html()))
            else:
                parts.extend(_rows(name, before, fragment, added))
    return "".join(parts)


def _added_on_top(before: Rows, now: Rows) -> int | None:
    """How many rows are new, when those are the first and all others are the first of before, in order."""
    old, new = list(before.rows), list(now.rows)
    added = next((place for place, row_id in enumerate(new) if row_id in before.rows), None)
    if added is None:
        return None if old or new else 0
    return added if new[added:] == old[: len(new) - added] else None


def _rows(name: str, before: Rows, now: Rows, added: int) -> Iterator[str]:
    rows = list(now.rows.items())
    for row_id in before.rows:
        if row_id not in now.rows:
            yield _part(row_id, "", "delete")
    for row_id, row in rows[added:]:
        if before.rows[row_id] != row:
            yield _in_place(row_id, row)
    if added:
        yield _part(name, "".join(row for _, row in rows[:added]), "afterbegin")


def event(html: str, number: int) -> bytes:
    """One event; a line of HTML is a line of data."""
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"id: {number}\n{lines}\n".encode()


def _in_place(name: str, html: str) -> str:
    if f'id="{name}"' not in html:
        raise RuntimeError(f"the fragment {name} has no element with that id")
    return _part(name, html, "outerMorph")


def _part(name: str, html: str, how: str) -> str:
    # Each in a template of its own: beside a paragraph or a section, a row of a table is no HTML and is lost.
    return f'<template hx type="partial" hx-target="#{name}" hx-swap="{how}">{html}</template>'
