"""What a program is made of, as its tracer uploads it: files, functions, lines and names to complete from.

Hides the uploads (batches in any order, twice, never ended), what is kept of them and for how long, and which
of several is asked: of a service and an environment the newest version that has functions; where the
environment sent nothing, any other of the service, and ``SymbolsSummary.env`` says which.

Invariants: what a tracer sends can fill neither memory nor disk (``symbol_upload``, ``store.symbols``); a
batch counts once, whatever its size claims to be; without symbols every answer is empty, never an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from sealwire.server.debugger.probes import AtLine, OnMethod
from sealwire.server.store.database import Database


class Source(Protocol):
    """Who sent an upload, as the intake knows it."""

    @property
    def env(self) -> str:
        """Of the tags of the upload."""

    @property
    def version(self) -> str:
        """Of the tags of the upload."""

    @property
    def arrived_ms(self) -> int:
        """When."""


class Taken(NamedTuple):
    """What became of a batch: what it had; nothing where it was there already."""

    modules: int
    functions: int
    is_repeated: bool = False


class FileHit(NamedTuple):
    """A file; ``functions`` are counted."""

    file: str
    module: str
    functions: int


class FunctionHit(NamedTuple):
    """A function; ``type`` and ``method`` are what a probe wants as its place."""

    type: str
    method: str
    file: str
    start_line: int
    end_line: int


class LineHit(NamedTuple):
    """A line of a function; a probe can sit where it ``is_injectible``."""

    line: int
    function: str
    is_injectible: bool


class Name(NamedTuple):
    """A name an expression may use; ``kind`` is ``argument``, ``local``, ``field`` or ``static``."""

    name: str
    kind: str
    type: str


class SymbolsSummary(NamedTuple):
    """What is known of a service; ``env`` and ``version`` say of which of its programs."""

    modules: int
    functions: int
    version: str
    uploaded_ms: int
    env: str = ""
    language: str = ""


class Symbols:
    """The symbols of one organisation. Lives on the event loop; reads and packs in threads."""

    def __init__(self, database: Database, org_id: int) -> None:
        self._database = database
        self._org_id = org_id
        self._reading = asyncio.Semaphore(1)

    async def take(self, event: Mapping[str, object], file: bytes, *, source: Source) -> Taken:
        """Take a batch.

        Args:
            event: Its announcement; unverified.
            file: Its attachment, gzip or plain; unverified.

        Raises:
            MalformedError: It is no batch of symbols.
            OversizeError: It is too large, packed or unpacked.
            UnavailableError: Too many at once; come back.
        """
        return Taken(0, 0)

    async def complete_files(self, service: str, env: str, text: str, limit: int = 50) -> list[FileHit]:
        """Files whose path or module has ``text`` in it, the likeliest first."""
        return []

    async def complete_functions(
        self, service: str, env: str, text: str, file: str = "", limit: int = 50
    ) -> list[FunctionHit]:
        """Functions whose name has ``text`` in it, of ``file`` where given; the likeliest first."""
        return []

    async def lines(self, service: str, env: str, file: str) -> list[LineHit]:
        """Lines of the functions of a file, in order; ``file`` may be the end of a path."""
        return []

    async def names_at(self, service: str, env: str, where: AtLine | OnMethod) -> list[Name]:
        """Names an expression may use there: arguments, locals, then what the module has."""
        return []

    async def summary(self, service: str, env: str) -> SymbolsSummary | None:
        """What is known of a service; None for nothing."""
        return None

    async def forget_old(self) -> None:
        """Let go of what newer uploads took the place of."""
