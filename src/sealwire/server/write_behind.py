"""The loop behind what is kept in memory and written a little later.

Who keeps it owns the queue and says how to write it: ``flush`` takes what is queued, and puts it back when
the database does not take it (a ``SealwireError``). Here is when: now and then, and once on the way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from sealwire.errors import SealwireError

log = structlog.get_logger()

T = TypeVar("T")


async def keep_written(flush: Callable[[], Awaitable[None]], *, every_s: float, what: str) -> None:
    """Write behind until cancelled; the rest is written on the way out.

    Args:
        flush: Writes what is queued.
        what: Is written, as the log calls it: ``reports``.
    """
    try:
        while True:
            await asyncio.sleep(every_s)
            try:
                await flush()
            except SealwireError as error:
                log.warning(f"{what} not written yet", code=error.code, detail=error.detail)
            except Exception:
                log.exception(f"{what} dropped")
    finally:
        await flush()


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Do something to its end, and be cancelled only then: a thread that writes cannot be stopped."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
