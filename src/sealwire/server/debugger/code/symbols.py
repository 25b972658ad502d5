"""What a program is made of, as its tracer uploads it: files, functions, lines and names to complete from.

Hides the uploads (batches in any order, twice, never ended), what is kept of them and for how long, and which
of several is asked: of a service and an environment the newest version that has functions, of its uploads for
each module the newest; where the environment sent nothing, any other of the service, and
``SymbolsSummary.env`` says which.

A thousand hosts of one program say the same at once: so many of their uploads are read, the others counted.

Invariants: what a tracer sends can fill neither memory nor disk (``symbol_upload``, ``store.symbols``); a
batch counts once, whatever its size claims to be; without symbols every answer is empty, never an error.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import structlog

from sealwire.errors import OversizeError, UnavailableError
from sealwire.server.debugger.authoring.probes import AtLine, OnMethod
from sealwire.server.debugger.code import symbol_upload
from sealwire.server.debugger.code.symbol_index import (
    MAX_FUNCTIONS,
    FileHit,
    FunctionHit,
    Index,
    LineHit,
    Name,
)
from sealwire.server.fleet.inventory import Rate
from sealwire.server.store import symbols as store
from sealwire.server.store.database import Database
from sealwire.server.store.symbols import Upload

__all__ = ["FileHit", "FunctionHit", "LineHit", "Name", "Source", "Symbols", "SymbolsSummary", "Taken"]

log = structlog.get_logger()

MAX_WAITING: Final = 20  # batches; each may have 16 MB
MAX_WAITING_BYTES: Final = 48 * 1024 * 1024
RETRY_AFTER_S: Final = 5.0
LOOK_AGAIN_S: Final = 1.0  # whether there is news of a service; another control plane may have taken it
MAX_HELD: Final = 30  # programs in memory
SUPERSEDED_FOR_MS: Final = 7 * 86_400_000
ADMITTED_AT_ONCE: Final = 10  # uploads of one program
ADMITTED_EVERY_S: Final = 20.0
MAX_PROGRAMS: Final = 2_000
MAX_ADMITTED: Final = 20_000
SILENT_FOR_MS: Final = 90 * 86_400_000
MAX_LIMIT: Final = 200

T = TypeVar("T")


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
    """What became of a batch: what it had, and the modules of it that make no sense.

    Attributes:
        is_left_out: Enough others of the same program upload now.
    """

    modules: int
    functions: int
    is_repeated: bool = False
    skipped: int = 0
    is_left_out: bool = False


class SymbolsSummary(NamedTuple):
    """What is known of a service: of its newest program, counted in the upload that has most of it.

    Attributes:
        env, version: Of that program.
    """

    modules: int
    functions: int
    version: str
    uploaded_ms: int
    env: str = ""
    language: str = ""


class _Held(NamedTuple):
    """A program in memory.

    Attributes:
        news: Of its uploads, so that another batch makes another.
    """

    news: tuple[tuple[str, int], ...]
    program: Index
    looked_s: float


class Symbols:
    """The symbols of one organisation. Lives on the event loop; reads and packs in threads."""

    def __init__(
        self, database: Database, org_id: int, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._org_id = org_id
        self._monotonic = monotonic
        self.left_out = 0
        self._admitted: OrderedDict[str, None] = OrderedDict()
        self._rates: OrderedDict[tuple[str, str, str], Rate] = OrderedDict()
        self._waiting = self._waiting_bytes = 0
        self._taking = asyncio.Semaphore(1)
        self._loading = asyncio.Semaphore(1)
        self._held: OrderedDict[tuple[str, str], _Held | float] = OrderedDict()

    # What arrives -------------------------------------------------------------------------------------

    async def take(self, event: Mapping[str, object], file: bytes, *, source: Source) -> Taken:
        """Take a batch.

        Args:
            event: Its announcement; unverified.
            file: Its attachment, gzip or plain; unverified.

        Raises:
            MalformedError: It is no batch of symbols.
            OversizeError: It is too large, packed or unpacked, or one too many of its upload.
            UnavailableError: Too many at once, or the database does not answer; come back.
        """
        if self._waiting >= MAX_WAITING or self._waiting_bytes + len(file) > MAX_WAITING_BYTES:
            raise UnavailableError("Too many symbols at once.", retry_after_s=RETRY_AFTER_S)
        if not self._admit(event, source):
            self.left_out += 1
            return Taken(0, 0, is_left_out=True)
        self._waiting += 1
        self._waiting_bytes += len(file)
        try:
            async with self._taking:
                batch, taken = await asyncio.to_thread(self._take, event, file, source)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= len(file)
        if not taken.is_repeated:
            key = batch.service.lower()
            for each in [each for each in self._held if each[0] == key]:
                self._look_again(each)
        return taken

    def _admit(self, event: Mapping[str, object], source: Source) -> bool:
        """Whether a batch is read: another of its upload was, or few others of its program come now."""
        service, version, upload = symbol_upload.announced(event)
        known = f"{service}\0{upload}"
        if known not in self._admitted:
            program = (service, version, source.env)
            rate = self._rates.get(program)
            if rate is None:
                rate = self._rates[program] = Rate(ADMITTED_AT_ONCE, 1 / ADMITTED_EVERY_S)
            self._rates.move_to_end(program)
            if not rate.take(self._monotonic()):
                return False
        self._admitted[known] = None
        self._admitted.move_to_end(known)
        while len(self._admitted) > MAX_ADMITTED:
            self._admitted.popitem(last=False)
        while len(self._rates) > MAX_PROGRAMS:
            self._rates.popitem(last=False)
        return True

    def _take(
        self, event: Mapping[str, object], file: bytes, source: Source
    ) -> tuple[symbol_upload.Batch, Taken]:
        batch = symbol_upload.read(event, file, env=source.env, version=source.version)
        packed = symbol_upload.pack(batch.modules)
        upload = Upload(
            upload_key=batch.upload_key,
            service=batch.service,
            env=batch.env,
            version=batch.version,
            language=batch.language,
            first_ms=source.arrived_ms,
            last_ms=source.arrived_ms,
            batches=1,
            modules=len(batch.modules),
            functions=batch.functions,
            size=len(packed),
        )
        with self._database.write() as c:
            became = store.add(c, self._org_id, upload, number=batch.number, packed_modules=packed)
        if became == "full":
            raise OversizeError("This upload of symbols has more than is kept of one.")
        if became == "repeated":
            return batch, Taken(0, 0, is_repeated=True)
        return batch, Taken(len(batch.modules), batch.functions, skipped=batch.skipped)

    # What is asked ------------------------------------------------------------------------------------

    async def complete_files(self, service: str, env: str, text: str, limit: int = 50) -> list[FileHit]:
        """Files whose path or module has ``text`` in it, the likeliest first."""
        return await self._ask(service, env, lambda index: index.complete_files(text, _within(limit)), [])

    async def complete_functions(
        self, service: str, env: str, text: str, file: str = "", limit: int = 50
    ) -> list[FunctionHit]:
        """Functions whose name has each word of ``text`` in it, of ``file`` where given."""
        return await self._ask(
            service, env, lambda index: index.complete_functions(text, file, _within(limit)), []
        )

    async def lines(self, service: str, env: str, file: str) -> list[LineHit]:
        """Lines of the functions of a file, in order; ``file`` may be the end of a path."""
        return await self._ask(service, env, lambda index: index.lines(file), [])

    async def names_at(self, service: str, env: str, where: AtLine | OnMethod) -> list[Name]:
        """Names an expression may use there: arguments, locals, then fields and what the module has."""
        return await self._ask(service, env, lambda index: index.names_at(where), [])

    async def summary(self, service: str, env: str) -> SymbolsSummary | None:
        """What is known of a service; None for nothing."""
        return await asyncio.to_thread(self._summary, service, env)

    def _summary(self, service: str, env: str) -> SymbolsSummary | None:
        # Asked for every service at once, so from rows alone.
        with self._database.read() as c:
            chosen = _choose(store.uploads(c, self._org_id, service), env)
        if not chosen:
            return None
        newest, most = chosen[0], max(chosen, key=lambda each: each.functions)
        uploaded_ms = max(each.last_ms for each in chosen)
        return SymbolsSummary(
            most.modules, most.functions, newest.version, uploaded_ms, newest.env, newest.language
        )

    async def _ask(self, service: str, env: str, question: Callable[[Index], T], nothing: T) -> T:
        held = await self._program(service, env)
        return nothing if held is None else await asyncio.to_thread(question, held.program)

    # Programs in memory -------------------------------------------------------------------------------

    async def _program(self, service: str, env: str) -> _Held | None:
        key = (service.lower(), env)
        found = self._fresh(key)
        if found is None:
            async with self._loading:
                found = self._fresh(key)  # somebody else may have asked meanwhile
                if found is None:
                    found = await self._load(key)
        return found if isinstance(found, _Held) else None

    def _fresh(self, key: tuple[str, str]) -> _Held | float | None:
        """What is held and was looked at just now; a number for nothing, None for not known."""
        held = self._held.get(key)
        if held is None:
            return None
        looked_s = held.looked_s if isinstance(held, _Held) else held
        if self._monotonic() - looked_s >= LOOK_AGAIN_S:
            return None
        self._held.move_to_end(key)
        return held

    def _look_again(self, key: tuple[str, str]) -> None:
        held = self._held[key]
        if isinstance(held, _Held):
            self._held[key] = held._replace(looked_s=float("-inf"))
        else:
            del self._held[key]

    async def _load(self, key: tuple[str, str]) -> _Held | float:
        now_s = self._monotonic()
        before = self._held.get(key)
        loaded = await asyncio.to_thread(self._loaded, key, before if isinstance(before, _Held) else None)
        kept: _Held | float = now_s if loaded is None else loaded._replace(looked_s=now_s)
        self._held[key] = kept
        self._held.move_to_end(key)
        while len(self._held) > MAX_HELD or (len(self._held) > 1 and self._held_functions > MAX_FUNCTIONS):
            self._held.popitem(last=False)
        return kept

    @property
    def _held_functions(self) -> int:
        return sum(held.program.functions for held in self._held.values() if isinstance(held, _Held))

    def _loaded(self, key: tuple[str, str], before: _Held | None) -> _Held | None:
        service, env = key
        with self._database.read() as c:
            chosen = _choose(store.uploads(c, self._org_id, service), env)
            if not chosen:
                return None
            news = tuple((each.upload_key, each.batches) for each in chosen)
            if before is not None and before.news == news:
                return before

            def modules() -> Iterator[symbol_upload.Module]:
                for each in chosen:
                    for packed in store.packed(c, self._org_id, each.upload_key):
                        yield from symbol_upload.unpack(packed)

            return _Held(news, Index(modules(), language=chosen[0].language), 0.0)

    # What goes ----------------------------------------------------------------------------------------

    async def forget_old(self, *, now_ms: int | None = None) -> None:
        """Let go of what newer uploads took the place of, and of services nobody heard of for long."""
        await asyncio.to_thread(self._forget_old, int(time.time() * 1000) if now_ms is None else now_ms)

    def _forget_old(self, now_ms: int) -> None:
        with self._database.read() as c:
            services = store.services(c, self._org_id)
        for service in services:
            with self._database.read() as c:
                gone = [
                    each.upload_key for each in _superseded(store.uploads(c, self._org_id, service), now_ms)
                ]
            if gone:
                with self._database.write() as c:
                    store.remove(c, self._org_id, gone)


def _within(limit: int) -> int:
    return max(1, min(limit, MAX_LIMIT))


def _program_of(upload: Upload) -> tuple[str, str, str]:
    return upload.env, upload.version, upload.language


def _choose(uploads: Sequence[Upload], env: str) -> list[Upload]:
    """Uploads of the program that is asked, the newest first.

    Args:
        uploads: Of a service, the newest first.
        env: Preferred; empty for any.
    """
    full = [each for each in uploads if each.functions] or list(uploads)
    newest = next((each for each in full if each.env == env), None) or next(iter(full), None)
    if newest is None:
        return []
    return [each for each in full if _program_of(each) == _program_of(newest)]


def _superseded(uploads: Sequence[Upload], now_ms: int) -> Iterator[Upload]:
    """Uploads that may go: a newer one of the same program has something, or all of it is long ago."""
    has_newer: set[tuple[str, str, str]] = set()
    for each in uploads:
        program = _program_of(each)
        since_ms = now_ms - (SUPERSEDED_FOR_MS if program in has_newer else SILENT_FOR_MS)
        if each.last_ms < since_ms:
            yield each
        if each.functions:
            has_newer.add(program)
