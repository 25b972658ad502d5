"""What passes this agent and says what runs here: services that send traces, settings that tracers tell.

Hides what is kept and for how long. A body that passes is looked at once and forgotten; of a runtime its
settings are kept, packed, as few ever look at them; of a service its name and when it was last heard.

Invariants: nothing that arrives can make an upload fail or wait for long: what is too large, too much or not
to be read is passed over and counted. Looking takes ``SHARE`` of one core on average at most. At most
``MAX_RUNTIMES`` runtimes in ``MAX_KEPT_BYTES`` bytes and ``MAX_SERVICES`` services are kept, those last
heard. Time is handed in. No I/O.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
import structlog

from sealwire.agent import telemetry, traces
from sealwire.agent.relay import Sight
from sealwire.errors import MalformedError, OversizeError
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

_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(dict[str, list[Known]])
# As the tracer of each language calls the switch.
_SWITCHES = ("DD_REMOTE_CONFIGURATION_ENABLED", "remote_config_enabled", "remote_configuration_enabled")

Look = Callable[[bytes], None]


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
        secrets: Texts that leave this host in no value, such as the API key.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 8)
        self._runtimes: OrderedDict[str, _Seen] = OrderedDict()
        self._services: OrderedDict[tuple[str, str], _Sends] = OrderedDict()
        self._kept_bytes = 0
        self._allowance_s = BURST_S
        self._allowed_at_s = monotonic()

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
            limit, look = telemetry.MAX_BODY_BYTES, self._telemetry_look(headers)
        elif path in traces.PATHS:
            if headers.get("X-Datadog-Trace-Count", "") == "0":
                return None
            limit, look = traces.MAX_BODY_BYTES, self._traces_look(path, headers)
        else:
            return None
        if length is not None and length > limit:
            self.dropped["too_large"] += 1
            return None
        if not self._has_time():
            self.dropped["too_busy"] += 1
            return None
        return Sight(look, limit, self._pass_over)

    def _pass_over(self) -> None:
        self.dropped["too_large"] += 1

    def _has_time(self) -> bool:
        now_s = self._monotonic()
        self._allowance_s = min(BURST_S, self._allowance_s + (now_s - self._allowed_at_s) * SHARE)
        self._allowed_at_s = now_s
        return self._allowance_s > 0

    def _telemetry_look(self, headers: Mapping[str, str]) -> Look:
        is_gzipped = headers.get("Content-Encoding", "").lower() == "gzip"
        return lambda body: self._look(lambda: self._take(telemetry.read(body, is_gzipped=is_gzipped)))

    def _traces_look(self, path: str, headers: Mapping[str, str]) -> Look:
        language = headers.get("Datadog-Meta-Lang", "")[:100]
        version = headers.get("Datadog-Meta-Tracer-Version", "")[:100]

        def look(body: bytes) -> None:
            self._look(lambda: self._note(traces.senders(path, body), language, version))

        return look

    def _look(self, step: Callable[[], None]) -> None:
        started_s = self._monotonic()
        try:
            step()
        except OversizeError:
            self.dropped["too_large"] += 1
        except MalformedError:
            self.dropped["not_readable"] += 1
        except Exception:
            # Our own mistake must not become a failed upload of an application.
            if not self.dropped["failed"]:
                log.exception("an upload could not be looked at")
            self.dropped["failed"] += 1
        finally:
            self._allowance_s -= self._monotonic() - started_s

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

    def _note(self, found: Mapping[traces.Sender, int], language: str, version: str) -> None:
        now_s, now_ms = self._monotonic(), self._wall_ms()
        for sender, count in found.items():
            key = (sender.service, sender.env)
            sends = self._services.get(key)
            if sends is None:
                if len(self._services) >= MAX_SERVICES:
                    self._services.popitem(last=False)
                    self.dropped["services"] += 1
                sends = self._services[key] = _Sends(language, version, "", now_ms, now_ms, now_s)
            self._services.move_to_end(key)
            sends.language, sends.tracer_version = language or sends.language, version or sends.tracer_version
            sends.app_version = sender.app_version or sends.app_version
            sends.seen_s, sends.seen_ms = now_s, now_ms
            sends.traces += count
            if sender.runtime_id:
                sends.runtime_ids[sender.runtime_id] = None
                sends.runtime_ids.move_to_end(sender.runtime_id)
                if len(sends.runtime_ids) > MAX_RUNTIME_IDS:
                    sends.runtime_ids.popitem(last=False)

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


def _unpack(packed: bytes) -> telemetry.Settings:
    return _unpacker.decode(zlib.decompress(packed)) if packed else {}
