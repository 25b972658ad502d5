"""What is believed now: the verified state, what is served of it, and its copy on disk.

Hides the order in which an answer becomes the truth: parts sorted out, verified against what is held,
arranged for serving, saved, and only then put in the place of the old. Any failure on the way leaves
everything as it was.

Invariants: one answer at a time; ``served`` is always made of a fully verified state; ``generation``
grows with every change of what clients may be told, so an encoded answer is good as long as it stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

import structlog

from sealwire.agent.answer import Served
from sealwire.agent.cache import Belonging, Cache, Held
from sealwire.errors import MalformedError, UntrustedError
from sealwire.trust.uptane import Answer, RepositoryParts, TrustedState
from sealwire.wire import remoteconfig_pb2 as pb

log = structlog.get_logger("sealwire.agent.trusted")

# Verifying more than this would keep the loop from answering tracers.
VERIFY_IN_THREAD_BYTES = 256 * 1024
# A disk that hangs must not keep a verified change from the applications.
SAVE_PATIENCE_S = 1.0


class Trusted:
    """The verified state of this agent.

    Args:
        director_root: First root of the director, version 1.
        config_root: First root of the config repository, version 1.
        cache: Where the state is kept; the caller closes it.
        belonging: Whom the kept state must belong to.

    Raises:
        UntrustedError: A first root is none.
    """

    def __init__(
        self, *, director_root: bytes, config_root: bytes, cache: Cache, belonging: Belonging
    ) -> None:
        self._anchors = {"director_root": director_root, "config_root": config_root}
        self._cache = cache
        self._belonging = belonging
        self._lock = asyncio.Lock()
        self._unsaved: Held | None = None
        self._saver: asyncio.Task[None] | None = None
        self._turn_s = float("inf")
        self.state = TrustedState.bootstrap(director_root=director_root, config_root=config_root)
        self.served: Served | None = None
        self.org_uuids: dict[str, str] = {}
        # Told, and not yet verified with: config root version and UUID.
        self._org_told: tuple[str, str] | None = None
        self.generation = 0
        self.updates = 0
        self.restored = False

    @property
    def org_uuid(self) -> str | None:
        """The organisation's UUID, if known for the config root that is trusted now."""
        root = str(self.state.config_root_version)
        told = self._org_told[1] if self._org_told is not None and self._org_told[0] == root else None
        return self.org_uuids.get(root, told)

    def learn_org(self, uuid: str) -> None:
        """Take the organisation's UUID for the config root that is trusted now.

        It is kept once an answer was verified with it. After a refusal it has to be asked for again, since it
        may be what was wrong: who tells one wrong UUID must not make this agent refuse its own for ever.
        """
        self._org_told = str(self.state.config_root_version), uuid

    def restore(self, *, now: datetime) -> None:
        """Take up the state kept on disk, verified anew; what does not verify is set aside."""
        held = self._cache.load(self._belonging)
        if held is None:
            return
        try:
            state = TrustedState.restore(held.dump, now=now, **self._anchors)
            served = Served.of(state)
        except UntrustedError as error:
            self._cache.set_aside(f"it does not verify ({error.code}: {error.public})")
            return
        self.org_uuids = dict(held.org_uuids)
        self._put(state, served, now=now)
        self.restored = True

    async def accept(self, message: pb.LatestConfigsResponse, *, size: int, now: datetime) -> bool:
        """Verify an answer and believe it, or refuse it and change nothing.

        Args:
            message: As received, unverified.
            size: Of the message in bytes.
            now: UTC; one reading for the whole update.

        Returns:
            Whether anything is different now.

        Raises:
            UntrustedError: It is refused.
        """
        async with self._lock:
            root, uuid = str(self.state.config_root_version), self.org_uuid
            try:
                if size > VERIFY_IN_THREAD_BYTES:
                    state, served = await asyncio.to_thread(self._verified, message, now, uuid)
                else:
                    state, served = self._verified(message, now, uuid)
            except UntrustedError:
                self._org_told = None
                raise
            if uuid is not None:
                self.org_uuids[root] = uuid
            if state is self.state:
                return False
            await self._save(Held(state.dump(), dict(self.org_uuids)))
            self._put(state, served, now=now)
            self.updates += 1
            return True

    def generation_at(self, now: datetime) -> int:
        """The generation, raised first if a config or the timestamp has expired since it was set."""
        if self.served is not None and now.timestamp() >= self._turn_s:
            self.generation += 1
            self._turn_s = self.served.next_turn_s(now)
        return self.generation

    @property
    def memory_reason(self) -> str:
        """Why the state is kept in memory only; "" when it is on disk."""
        return self._cache.why_memory

    async def finish_saving(self, *, patience_s: float = 5.0) -> None:
        """Wait for what is still on its way to the disk."""
        if self._saver is not None:
            await asyncio.wait({self._saver}, timeout=patience_s)

    def _verified(
        self, message: pb.LatestConfigsResponse, now: datetime, org_uuid: str | None
    ) -> tuple[TrustedState, Served]:
        state = self.state.update(answer_of(message), now=now, org_uuid=org_uuid)
        return state, Served.of(state, before=self.served)

    def _put(self, state: TrustedState, served: Served, *, now: datetime) -> None:
        self.state = state
        self.served = served
        self.generation += 1
        self._turn_s = served.next_turn_s(now)

    async def _save(self, held: Held) -> None:
        self._unsaved = held
        if self._saver is None or self._saver.done():
            self._saver = asyncio.create_task(self._save_all())
        await asyncio.wait({self._saver}, timeout=SAVE_PATIENCE_S)

    async def _save_all(self) -> None:
        while self._unsaved is not None:
            held, self._unsaved = self._unsaved, None
            await asyncio.to_thread(self._cache.save, self._belonging, held)


def answer_of(message: pb.LatestConfigsResponse) -> Answer:
    """The parts of an answer as the verifier takes them; an empty part is an absent one.

    Raises:
        MalformedError: A role or file comes twice.
    """
    config, director = message.config_metas, message.director_metas
    delegated: dict[str, bytes] = {}
    for meta in config.delegatedTargets:
        if delegated.setdefault(meta.role, meta.raw) != meta.raw:
            raise MalformedError(f"The answer has the role {meta.role[:100]} twice.")
    files: dict[str, bytes] = {}
    for file in message.target_files:
        if files.setdefault(file.path, file.raw) != file.raw:
            raise MalformedError(f"The answer has the file {file.path[:200]} twice.")
    return Answer(
        director=RepositoryParts(
            roots=_roots(director.roots),
            timestamp=director.timestamp.raw or None,
            snapshot=director.snapshot.raw or None,
            targets=director.targets.raw or None,
        ),
        config=RepositoryParts(
            roots=_roots(config.roots),
            timestamp=config.timestamp.raw or None,
            snapshot=config.snapshot.raw or None,
            targets=config.topTargets.raw or None,
            delegated=delegated,
        ),
        files=files,
    )


def _roots(metas: Iterable[pb.TopMeta]) -> tuple[bytes, ...]:
    return tuple(meta.raw for meta in sorted(metas, key=lambda meta: meta.version) if meta.raw)
