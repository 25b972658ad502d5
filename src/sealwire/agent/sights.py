"""What passes this agent and says what runs here: services that send traces, settings that tracers tell.

Hides what is kept and for how long. A body that passes is looked at once and forgotten; of a runtime its
settings are kept, packed, as few ever look at them; of a service its name and when it was last heard. What
traces say of security goes on to ``security``.

Invariants: nothing that arrives can make an upload fail or wait for long: what is too large, too much or not
to be read is passed over and counted. Looking takes ``SHARE`` of one core on average at most, and reading
traces for security ``TRACES_SHARE``; a large body is read in a thread of its own, one at a time, after its
upload was answered. At most ``MAX_HELD_BYTES`` of bodies are held. At most ``MAX_RUNTIMES`` runtimes in
``MAX_KEPT_BYTES`` bytes and ``MAX_SERVICES`` services are kept, those last heard. Time is handed in. No I/O.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import structlog

from sealwire.agent import telemetry
from sealwire.agent.probes import Gatherer
from sealwire.agent.relay import Sight
from sealwire.agent.security import Collector, Kind, kinds_of
from sealwire.errors import MalformedError, OversizeError
from sealwire.wire import traces
from sealwire.wire.inventory import MAX_RUNTIME_IDS, MAX_SERVICES, Known, Runtime, Service

log = structlog.get_logger("sealwire.agent.sights")

TELEMETRY_PATH = "/telemetry/proxy/api/v2/apmtelemetry"
MAX_RUNTIMES = 1000
MAX_RUNTIME_BYTES = 256 * 1024  # of one, unpacked
MAX_KEPT_BYTES = 16 * 1024 * 1024  # of all, packed
RUNTIME_TTL_S = 3 * 3600.0  # tracers send a heartbeat a minute
SERVICE_TTL_S = 3600.0
# A runtime is told anew after a day though nothing changed, so that nobody forgets it while it runs.
TELL_AGAIN_S = 86400.0
SHARE, BURST_S = 0.05, 0.25
# An attack must not be able to blind whoever looks for attacks.
TRACES_SHARE, TRACES_BURST_S = 0.5, 1.0
MAX_HELD_BYTES = 64 * 1024 * 1024  # of bodies that arrive or wait to be read
# Above this the loop would stand still for milliseconds.
READ_ASIDE_BYTES = 256 * 1024

_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(dict[str, list[Known]])
# As the tracer of each language calls the switch.
_SWITCHES = ("DD_REMOTE_CONFIGURATION_ENABLED", "remote_config_enabled", "remote_configuration_enabled")


@dataclass(slots=True)
class Budget:
    """Time that may be spent: a share of what passes, saved up to a burst; a debt is no larger than that."""

    share: float
    burst_s: float
    at_s: float
    allowance_s: float = 0.0

    def has_some(self, now_s: float) -> bool:
        self.allowance_s = min(self.burst_s, self.allowance_s + (now_s - self.at_s) * self.share)
        self.at_s = now_s
        return self.allowance_s > 0

    def spend(self, seconds: float) -> None:
        self.allowance_s = max(-self.burst_s, self.allowance_s - seconds)


@dataclass(slots=True)
class _Seen:
    """A runtime: ``packed`` are its settings; ``told_s`` is when they were last taken upstream, if ever."""

    service: str = ""
    env: str = ""
    language: str = ""
    tracer_version: str = ""
    app_version: str = ""
    seen_s: float = 0.0
    seen_ms: int = 0
    packed: bytes = b""
    changes: int = 0
    told_changes: int = 0
    told_s: float | None = None
    switched_off_by: str = ""


@dataclass(slots=True)
class _Sends:
    """A service that sends traces."""

    language: str
    tracer_version: str
    app_version: str
    first_seen_ms: int
    seen_ms: int
    seen_s: float
    traces: int = 0
    runtime_ids: OrderedDict[str, None] = field(default_factory=OrderedDict)


class Sights:
    """What was seen so far.

    Args:
        monotonic: A clock that only counts up.
        wall_ms: Unix milliseconds.
        cpu_s: What the calling thread has used of a core.
        secrets: Texts that leave this host in no value, such as the API key.
        security: Who takes what traces say of attacks, if anybody.
        probes: Who takes what they say of probes, if anybody.

    Attributes:
        dropped: What was passed over, by kind; that of ``security`` as well.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        cpu_s: Callable[[], float] = time.thread_time,
        secrets: tuple[str, ...] = (),
        security: Collector | None = None,
        probes: Gatherer | None = None,
    ) -> None:
        takes = security or probes
        self.dropped: Counter[str] = Counter() if takes is None else takes.dropped
        self.security = security
        self.probes = probes
        self._cpu_s = cpu_s
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 8)
        self._runtimes: OrderedDict[str, _Seen] = OrderedDict()
        self._services: OrderedDict[tuple[str, str], _Sends] = OrderedDict()
        self._kept_bytes = 0
        now_s = monotonic()
        self._budget = Budget(SHARE, BURST_S, now_s, BURST_S)
        is_asked = security is not None or probes is not None
        share, burst_s = (TRACES_SHARE, TRACES_BURST_S) if is_asked else (SHARE, BURST_S)
        self._traces_budget = Budget(share, burst_s, now_s, burst_s)
        self._held_bytes = 0
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="traces")
        self._reading: set[asyncio.Task[None]] = set()

    # Looking ------------------------------------------------------------------------------------------

    def at(self, path: str, headers: Mapping[str, str], *, length: int | None) -> Sight | None:
        """Who looks at an upload, or None to let it pass.

        Args:
            path: Where it goes.
            headers: Of the request; names in any case.
            length: What it says its body has, None where it does not.
        """
        if path == TELEMETRY_PATH:
            if not telemetry.is_worth_reading(headers.get("DD-Telemetry-Request-Type", "")):
                return None
            limit, prefix, budget = telemetry.MAX_BODY_BYTES, "", self._budget
            is_gzipped = headers.get("Content-Encoding", "").lower() == "gzip"
            read: _Read = partial(_read_telemetry, is_gzipped)
            take: _Take = self._take
        elif path in traces.PATHS:
            if headers.get("X-Datadog-Trace-Count", "") == "0":
                return None
            limit, prefix = traces.MAX_TRACES_BYTES, "traces_"
            budget = self._traces_budget
            read = partial(_read_traces, path)
            language = headers.get("Datadog-Meta-Lang", "")[:100]
            take = partial(self._note, language, headers.get("Datadog-Meta-Tracer-Version", "")[:100])
        else:
            return None
        if length is not None and length > limit:
            self.dropped[prefix + "too_large"] += 1
            return None
        if not budget.has_some(self._monotonic()):
            self.dropped[prefix + "too_busy"] += 1
            return None
        return _Holding(self, limit, prefix, partial(self._look, prefix, budget, read, take))

    def hold(self, size: int) -> bool:
        """Make room for bytes of bodies; false where there is none."""
        if self._held_bytes + size > MAX_HELD_BYTES:
            return False
        self._held_bytes += size
        return True

    def let_go(self, size: int) -> None:
        """Bytes that were held are not any more."""
        self._held_bytes -= size

    async def close(self) -> None:
        """What is being read is read to its end, and nothing else."""
        self._aside.shutdown(wait=False, cancel_futures=True)
        for task in tuple(self._reading):
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    def _look(
        self, prefix: str, budget: Budget, read: _Read, take: _Take, chunks: list[bytes], size: int
    ) -> None:
        """Look at a body that is held: at once, or soon where that takes long."""
        if budget is self._budget or size <= READ_ASIDE_BYTES:
            try:
                self._taken(prefix, budget, take, *self._measured(read, chunks))
            finally:
                self.let_go(size)
            return
        task = asyncio.get_running_loop().create_task(
            self._look_aside(prefix, budget, read, take, chunks, size)
        )
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _look_aside(
        self, prefix: str, budget: Budget, read: _Read, take: _Take, chunks: list[bytes], size: int
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._taken(
                prefix, budget, take, *await loop.run_in_executor(self._aside, self._measured, read, chunks)
            )
        finally:
            self.let_go(size)

    def _measured(self, read: _Read, chunks: list[bytes]) -> tuple[Any, Exception | None, float]:
        """What a body says, or why it does not, and how long that took."""
        started_s = self._cpu_s()
        try:
            said = read(b"".join(chunks))
        except Exception as error:
            return None, error, self._cpu_s() - started_s
        return said, None, self._cpu_s() - started_s

    def _taken(
        self, prefix: str, budget: Budget, take: _Take, said: Any, error: Exception | None, spent_s: float
    ) -> None:
        started_s = self._cpu_s()
        try:
            if error is not None:
                raise error
            take(said)
        except OversizeError:
            self.dropped[prefix + "too_large"] += 1
        except MalformedError:
            self.dropped[prefix + "not_readable"] += 1
        except Exception:
            # Our own mistake must not become a failed upload of an application.
            if not self.dropped["failed"]:
                log.exception("an upload could not be looked at")
            self.dropped["failed"] += 1
        finally:
            budget.spend(spent_s + self._cpu_s() - started_s)

    # Telemetry ----------------------------------------------------------------------------------------

    def _take(self, said: telemetry.Said) -> None:
        seen = self._runtimes.get(said.runtime_id)
        if seen is None:
            if not said.service and not said.settings:
                return
            if len(self._runtimes) >= MAX_RUNTIMES:
                self._drop_oldest()
            seen = self._runtimes[said.runtime_id] = _Seen()
        self._runtimes.move_to_end(said.runtime_id)
        seen.seen_s, seen.seen_ms = self._monotonic(), self._wall_ms()
        facts = (said.service, said.env, said.language, said.tracer_version, said.app_version)
        before = (seen.service, seen.env, seen.language, seen.tracer_version, seen.app_version)
        if said.service and facts != before:
            seen.service, seen.env, seen.language, seen.tracer_version, seen.app_version = facts
            seen.changes += 1
        if said.settings:
            self._merge(seen, said)
        if said.is_closing:
            self._forget(said.runtime_id)

    def _merge(self, seen: _Seen, said: telemetry.Said) -> None:
        known = _unpack(seen.packed)
        after = telemetry.merged(known, said)
        if self._secrets:
            after = {name: self._without_secrets(values) for name, values in after.items()}
        if after == known:
            return
        plain = _packer.encode(after)
        if len(plain) > MAX_RUNTIME_BYTES:
            self.dropped["runtime_too_large"] += 1
            return
        packed = zlib.compress(plain, 1)
        self._kept_bytes += len(packed) - len(seen.packed)
        seen.packed = packed
        seen.changes += 1
        switch = telemetry.in_force(after, *_SWITCHES)
        is_off = switch is not None and (switch.value or "").lower() in ("false", "0")
        seen.switched_off_by = switch.origin if switch is not None and is_off else ""
        while self._kept_bytes > MAX_KEPT_BYTES and len(self._runtimes) > 1:
            self._drop_oldest()

    def _without_secrets(self, values: list[Known]) -> list[Known]:
        if not any(one.value and any(secret in one.value for secret in self._secrets) for one in values):
            return values
        return [
            msgspec.structs.replace(one, value=telemetry.REDACTED)
            if one.value and any(secret in one.value for secret in self._secrets)
            else one
            for one in values
        ]

    def _drop_oldest(self) -> None:
        self._forget(next(iter(self._runtimes)))
        self.dropped["runtimes"] += 1

    def _forget(self, runtime_id: str) -> None:
        self._kept_bytes -= len(self._runtimes.pop(runtime_id).packed)

    # Traces -------------------------------------------------------------------------------------------

    def _note(self, language: str, version: str, read: tuple[traces.Selection, list[Kind]]) -> None:
        found, kinds = read
        now_s, now_ms = self._monotonic(), self._wall_ms()
        for sender, count in found.senders.items():
            key = (sender.service, sender.env)
            sends = self._services.get(key)
            if sends is None:
                if len(self._services) >= MAX_SERVICES:
                    self._services.popitem(last=False)
                    self.dropped["services"] += 1
                sends = self._services[key] = _Sends(language, version, "", now_ms, now_ms, now_s)
            self._services.move_to_end(key)
            sends.language, sends.tracer_version = language or sends.language, version or sends.tracer_version
            sends.app_version = sender.version or sends.app_version
            sends.seen_s, sends.seen_ms = now_s, now_ms
            sends.traces += count
            if sender.runtime_id:
                sends.runtime_ids[sender.runtime_id] = None
                sends.runtime_ids.move_to_end(sender.runtime_id)
                if len(sends.runtime_ids) > MAX_RUNTIME_IDS:
                    sends.runtime_ids.popitem(last=False)
        if self.security is not None:
            self.security.take(found, kinds, lang=language, tracer_version=version)
        if self.probes is not None:
            self.probes.take_spans(found.probes, crowded=found.probes_crowded, lang=language)

    # Telling ------------------------------------------------------------------------------------------

    def services(self, has_client: Callable[[str, str, frozenset[str]], bool] | None) -> list[Service]:
        """Services that sent traces within the hour, those heard last first.

        Args:
            has_client: Whether a Remote Configuration client of this service, env and runtimes is here; None
                where clients are not seen at all.
        """
        self._sweep()
        return [
            Service(
                service=service,
                env=env,
                language=sends.language,
                tracer_version=sends.tracer_version,
                app_version=sends.app_version,
                first_seen_ms=sends.first_seen_ms,
                seen_ms=sends.seen_ms,
                traces=sends.traces,
                client_seen=None
                if has_client is None
                else has_client(service, env, frozenset(sends.runtime_ids)),
                switched_off_by=self._switched_off(service, sends),
                runtime_ids=list(sends.runtime_ids),
            )
            for (service, env), sends in reversed(self._services.items())
        ]

    def _switched_off(self, service: str, sends: _Sends) -> str:
        for runtime_id in reversed(sends.runtime_ids):
            if (seen := self._runtimes.get(runtime_id)) is not None:
                return seen.switched_off_by
        return next(
            (
                seen.switched_off_by
                for seen in self._runtimes.values()
                if seen.switched_off_by and seen.service.lower() == service.lower()
            ),
            "",
        )

    def news(self) -> Iterator[tuple[Runtime, int]]:
        """Runtimes with something the control plane does not know, with a mark for :meth:`told`."""
        self._sweep()
        now_s = self._monotonic()
        for runtime_id, seen in self._runtimes.items():
            again = seen.told_s is None or now_s - seen.told_s > TELL_AGAIN_S
            if seen.packed and (again or seen.told_changes != seen.changes):
                yield (
                    Runtime(
                        runtime_id=runtime_id,
                        service=seen.service,
                        env=seen.env,
                        language=seen.language,
                        tracer_version=seen.tracer_version,
                        app_version=seen.app_version,
                        seen_ms=seen.seen_ms,
                        settings=_unpack(seen.packed),
                    ),
                    seen.changes,
                )

    def told(self, runtime_id: str, mark: int) -> None:
        """The control plane has a runtime as of a mark."""
        seen = self._runtimes.get(runtime_id)
        if seen is not None:
            seen.told_changes, seen.told_s = mark, self._monotonic()

    def tell_all(self) -> None:
        """The control plane may have forgotten everything."""
        for seen in self._runtimes.values():
            seen.told_s = None

    @property
    def runtimes(self) -> int:
        """How many runtimes are known."""
        return len(self._runtimes)

    @property
    def kept_bytes(self) -> int:
        """What their settings take, packed."""
        return self._kept_bytes

    def _sweep(self) -> None:
        now_s = self._monotonic()
        for runtime_id in [
            runtime_id for runtime_id, seen in self._runtimes.items() if now_s - seen.seen_s > RUNTIME_TTL_S
        ]:
            self._forget(runtime_id)
        for key in [key for key, sends in self._services.items() if now_s - sends.seen_s > SERVICE_TTL_S]:
            del self._services[key]


class _Holding:
    """A body that arrives, as long as somebody wants to look at it."""

    __slots__ = ("_chunks", "_limit", "_look", "_prefix", "_sights", "_size")

    def __init__(
        self, sights: Sights, limit: int, prefix: str, look: Callable[[list[bytes], int], None]
    ) -> None:
        self._sights = sights
        self._limit = limit
        self._prefix = prefix
        self._look = look
        self._chunks: list[bytes] | None = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """One more piece."""
        if self._chunks is None:
            return
        if self._size + len(chunk) > self._limit:
            self._sights.dropped[self._prefix + "too_large"] += 1
            self.lost()
        elif not self._sights.hold(len(chunk)):
            self._sights.dropped[self._prefix + "too_busy"] += 1
            self.lost()
        else:
            self._size += len(chunk)
            self._chunks.append(chunk)

    def done(self) -> None:
        """That was all."""
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            self._look(chunks, self._size)

    def lost(self) -> None:
        """The rest will not come, or is not wanted."""
        if self._chunks is not None:
            self._chunks = None
            self._sights.let_go(self._size)


_Read = Callable[[bytes], Any]
_Take = Callable[[Any], None]


def _read_telemetry(is_gzipped: bool, body: bytes) -> telemetry.Said:
    return telemetry.read(body, is_gzipped=is_gzipped)


def _read_traces(path: str, body: bytes) -> tuple[traces.Selection, list[Kind]]:
    found = traces.select(path, body)
    return found, kinds_of(found)


def _unpack(packed: bytes) -> telemetry.Settings:
    return _unpacker.decode(zlib.decompress(packed)) if packed else {}
