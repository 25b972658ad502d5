"""What this agent is and what it sees, told to the control plane once a minute.

Hides when a post is made and what is in it. It goes on while Remote Configuration is off or refused, which is
what makes such an agent visible; it says nothing of a config. A control plane that is away, or too old to
know of posts, is left alone for a while and then asked again, without a word in the log above debug.

Invariants: nothing is posted that looks like a secret; of a runtime's settings only what the control plane
does not have yet; nothing here can stop the agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
import random
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from sealwire import __version__
from sealwire.agent.exchange import ApiError, ControlPlane
from sealwire.agent.pace import Backoff
from sealwire.agent.roster import Roster
from sealwire.agent.settings import AgentSettings, Told
from sealwire.agent.sights import Sights
from sealwire.agent.telemetry import as_text, redacted
from sealwire.agent.upstream import Upstream, host_tags
from sealwire.errors import UntrustedError
from sealwire.wire import inventory as wire
from sealwire.wire.version import WIRE_VERSION

log = structlog.get_logger("sealwire.agent.inventory")

FIRST_AFTER_S = 2.0
EVERY_S = 60.0
SOON_S = 1.0
JITTER = 0.15
RETRY_START_S, RETRY_CAP_S = 10.0, 300.0
# A control plane that does not know of inventories is not replaced every minute.
UNKNOWN_START_S, UNKNOWN_CAP_S = 120.0, 3600.0
UNKNOWN = frozenset({404, 405, 501})
# Of unpacked settings in one post; well below what a control plane takes.
MAX_SETTINGS_CHARS = 1_500_000
_ROOTS = ("remote_configuration.config_root", "remote_configuration.director_root")


class Inventory:
    """What is told.

    Args:
        settings: Of the agent.
        agent_uuid: Who it is.
        sights: What passed.
        roster: Whose clients are here.
        upstream: The conversation with the control plane; None while Remote Configuration is off.
        started: ``time.time()`` of the start.
    """

    def __init__(
        self,
        settings: AgentSettings,
        *,
        agent_uuid: str,
        sights: Sights,
        roster: Roster,
        upstream: Upstream | None,
        started: float,
    ) -> None:
        self.sights = sights
        self._settings = settings
        self._agent_uuid = agent_uuid
        self._roster = roster
        self._upstream = upstream
        self._started = started
        self._shown = tuple(shown_settings(settings))
        self._os = _os_name()

    def post(self, *, token: str) -> tuple[wire.Inventory, list[tuple[str, int]], bool]:
        """The next post.

        Args:
            token: Of the last answer.

        Returns:
            The post; the marks of its runtimes, for ``Sights.told``; whether there is more to tell.
        """
        runtimes: list[wire.Runtime] = []
        marks: list[tuple[str, int]] = []
        room, is_more = MAX_SETTINGS_CHARS, False
        for runtime, mark in self.sights.news():
            room -= _size(runtime)
            if runtimes and (room < 0 or len(runtimes) >= wire.MAX_RUNTIMES):
                is_more = True
                break
            runtimes.append(runtime)
            marks.append((runtime.runtime_id, mark))
        settings = self._settings
        post = wire.Inventory(
            hostname=settings.hostname[: wire.MAX_NAME_CHARS],
            agent_uuid=self._agent_uuid,
            token=token,
            version=__version__,
            wire_version=WIRE_VERSION,
            os=self._os,
            kernel=f"{platform.system()} {platform.release()}"[: wire.MAX_NAME_CHARS],
            architecture=platform.machine(),
            python=platform.python_version(),
            uptime_s=max(0, int(time.time() - self._started)),
            tags=[tag[: wire.MAX_NAME_CHARS] for tag in host_tags(settings)][: wire.MAX_TAGS],
            remote_config=self._remote_config(),
            settings=list(self._shown),
            services=self.sights.services(self._has_client() if settings.rc_on else None)[
                : wire.MAX_SERVICES
            ],
            runtimes=runtimes,
            dropped=dict(self.sights.dropped),
        )
        return post, marks, is_more

    def _remote_config(self) -> wire.RemoteConfig:
        settings, upstream = self._settings, self._upstream
        return wire.RemoteConfig(
            enabled=settings.rc_enabled,
            is_on=settings.rc_on,
            reason=_with_origin(settings)[:1000],
            condition="" if upstream is None else upstream.facts.condition.value,
            error="" if upstream is None else upstream.facts.error[:1000],
        )

    def _has_client(self) -> Callable[[str, str, frozenset[str]], bool]:
        """Tells whether a client of a service is here."""
        runtime_ids: set[str] = set()
        names: set[tuple[str, str]] = set()
        for seen in self._roster:
            tracer = seen.client.client_tracer
            runtime_ids.add(tracer.runtime_id)
            for service in (tracer.service, *tracer.extra_services):
                names.add((service.lower(), tracer.env.lower()))

        def has_client(service: str, env: str, runtimes: frozenset[str]) -> bool:
            return not runtime_ids.isdisjoint(runtimes) or (service.lower(), env.lower()) in names

        return has_client


class Poster:
    """Posts the inventory until cancelled.

    Args:
        inventory: What is told.
        plane: Where to; its owner closes it.
        random: Draws the jitter.
        first_after_s: Before the first post.
    """

    def __init__(
        self,
        inventory: Inventory,
        *,
        plane: ControlPlane,
        random: random.Random | None = None,
        first_after_s: float = FIRST_AFTER_S,
    ) -> None:
        self.posts = self.failures = 0
        self.last_taken: float | None = None
        self.last_error = ""
        self._inventory = inventory
        self._plane = plane
        self._random = _RANDOM if random is None else random
        self._first_after_s = first_after_s
        self._backoff = Backoff()
        self._token = ""

    async def run(self) -> None:
        """Tell for ever."""
        await asyncio.sleep(self._jittered(self._first_after_s))
        while True:
            try:
                pause_s = await self.post()
            except Exception:
                log.exception("an inventory could not be made")
                pause_s = RETRY_CAP_S
            await asyncio.sleep(pause_s)

    async def post(self) -> float:
        """Tell once; returns how long to pause."""
        post, marks, is_more = self._inventory.post(token=self._token)
        # Packing hundreds of kilobytes takes milliseconds in which the others should be answered.
        packed = await asyncio.to_thread(wire.encode, post) if len(marks) > 2 else wire.encode(post)
        self.posts += 1
        try:
            taken = await self._plane.post_inventory(packed)
        except (ApiError, UntrustedError) as error:
            return self._failed(error)
        self._backoff.success()
        self.last_taken, self.last_error = time.time(), ""
        sights = self._inventory.sights
        is_new = bool(self._token) and taken.token != self._token
        if is_new:
            sights.tell_all()
        for runtime_id, mark in marks:
            sights.told(runtime_id, mark)
        self._token = taken.token
        return self._jittered(SOON_S if is_more or is_new else taken.next_s)

    def _failed(self, error: ApiError | UntrustedError) -> float:
        self.failures += 1
        self.last_error = error.public
        log.debug("inventory not taken", error=error.public)
        status, retry_after_s = (
            (error.status, error.retry_after_s) if isinstance(error, ApiError) else (0, 0.0)
        )
        if status in UNKNOWN:
            start_s, cap_s = UNKNOWN_START_S, UNKNOWN_CAP_S
        else:
            start_s, cap_s = RETRY_START_S, RETRY_CAP_S
        return self._backoff.after_failure_s(
            start_s=start_s, cap_s=cap_s, at_least_s=max(SOON_S, retry_after_s)
        )

    def _jittered(self, pause_s: float) -> float:
        return pause_s * self._random.uniform(1 - JITTER, 1 + JITTER)


_RANDOM = random.Random()


def shown_settings(settings: AgentSettings) -> list[wire.Setting]:
    """The agent's settings with where each came from; neither keys nor roots are in it."""
    shown = []
    for name, told in sorted(settings.told.items()):
        first, *others = told
        shown.append(
            wire.Setting(
                name=name,
                value=_shown(name, first),
                source=first.source,
                origin=first.origin[: wire.MAX_VALUE_CHARS],
                hidden=[
                    wire.Layer(layer.source, _shown(name, layer), layer.origin[: wire.MAX_VALUE_CHARS])
                    for layer in others
                    if layer.source != "default"
                ],
            )
        )
    return shown


def _with_origin(settings: AgentSettings) -> str:
    """Why Remote Configuration is off, and where the switch is that says so."""
    origin = settings.origins.get("remote_configuration.enabled", "")
    off_by_hand = origin and not settings.rc_enabled
    return f"{settings.rc_off_reason} ({origin})" if off_by_hand else settings.rc_off_reason


def _shown(name: str, told: Told) -> str:
    value = told.value
    if name in _ROOTS and value:
        return f"set, SHA-256 {hashlib.sha256(str(value).encode()).hexdigest()[:16]}…"
    with suppress(TypeError, ValueError):
        return redacted(name, as_text(value)) or ""
    return str(value)[: wire.MAX_VALUE_CHARS]


def _size(runtime: wire.Runtime) -> int:
    """About how many characters a runtime is."""
    return 200 + sum(
        len(name) + sum(30 + len(one.origin) + len(one.value or "") + len(one.error) for one in values)
        for name, values in runtime.settings.items()
    )


def _os_name() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")[: wire.MAX_NAME_CHARS]
    return platform.system()
