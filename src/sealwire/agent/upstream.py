"""The conversation with the control plane: ask, verify, keep, tell.

Hides when a request is made and what its failure leads to. Four loops share one state: *polls* (one after
the other, held open by a control plane that offers it, else at its interval), *reports* (a second, short
request as soon as a client, its products, its states or our error changed), the organisation's *status*,
and the *sweep* of clients that left.

Invariants. What arrives is believed only through ``Trusted``; a refusal leaves the last good state in
service, is reported with the next request and asks for everything anew. One log line per change of
condition, none per poll. An answer that was overtaken by a newer one while it travelled is dropped, not
reported as an attack.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

import structlog

from sealwire import __version__
from sealwire.agent.exchange import ApiError, ControlPlane, Trouble
from sealwire.agent.pace import (
    POLLING_START_S,
    QUICK_CAP_S,
    QUICK_START_S,
    Backoff,
    Bucket,
    Windows,
    skew_words,
)
from sealwire.agent.roster import Roster
from sealwire.agent.settings import DEFAULT_REFRESH_INTERVAL_S, AgentSettings
from sealwire.agent.trusted import Trusted
from sealwire.clock import utc_now
from sealwire.errors import ExpiredError, UntrustedError
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.version import WIRE_VERSION

log = structlog.get_logger("sealwire.agent.upstream")

# Below the time a client stays in the roster, and the interval the control plane gives to those that poll.
WAIT_S = 25
PROBE_S = 1
COALESCE_S = 0.2
# Several applications that start together share one request.
GATHER_S = 0.02
# Tracers give up after 2 s, so they must be answered well before.
NEWCOMER_PATIENCE_S = 1.5
SKEW_LIMIT_S = 300.0
# Held polls that come back early without news: a control plane in trouble must not be hammered.
EARLY_S = 1.0
EARLY_PAUSE_S, EARLY_PAUSE_CAP_S = 0.25, 5.0
MAX_ERROR_CHARS = 1000


class Condition(Enum):
    """How things stand with the control plane."""

    STARTING = "starting"
    CONNECTED = "connected"
    REFUSED = "refused"
    UNAUTHORIZED = "unauthorized"
    DISABLED = "disabled"
    UNREACHABLE = "unreachable"


class Outcome(Enum):
    """What came of one request."""

    NEWS = "news"
    NO_NEWS = "no news"
    OVERTAKEN = "overtaken"
    FAILED = "failed"


@dataclass(slots=True)
class Facts:
    """What people are shown of the conversation.

    Attributes:
        since: When ``condition`` began, Unix seconds.
        error: Of the last exchange, as reported; "" when it succeeded.
        org_enabled: None before /status answered.
        skew_s: How far this host's clock is ahead; None before the first answer.
        holds: Whether the control plane holds polls; None before it was asked.
        refusals: Refused answers by error code.
    """

    condition: Condition = Condition.STARTING
    since: float = 0.0
    error: str = ""
    last_success: float | None = None
    org_enabled: bool | None = None
    key_authorized: bool | None = None
    skew_s: float | None = None
    holds: bool | None = None
    requests: int = 0
    failures: int = 0
    reports: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def skewed(self) -> bool:
        """Whether this host's clock is too far from the control plane's to be ignored."""
        return self.skew_s is not None and abs(self.skew_s) > SKEW_LIMIT_S


class Upstream:
    """The conversation of one agent with one control plane.

    Args:
        settings: Of the agent.
        plane: Where requests go; closed by :meth:`run`.
        trusted: What is believed.
        roster: Who is here; shared with the local server.
        agent_uuid: Who this agent is.
    """

    def __init__(
        self,
        settings: AgentSettings,
        *,
        plane: ControlPlane,
        trusted: Trusted,
        roster: Roster,
        agent_uuid: str,
    ) -> None:
        self.facts = Facts(since=time.time())
        self._settings = settings
        self._plane = plane
        self._trusted = trusted
        self._roster = roster
        self._agent_uuid = agent_uuid
        self._tags = host_tags(settings)
        self._backoff = Backoff()
        self._bucket = Bucket()
        self._windows = Windows(settings.bypass_limit)
        self._asked_products: set[str] = set()
        self._ask_everything = False
        self._logged: tuple[Condition, str] = (Condition.STARTING, "")
        self._early = 0
        # Changes here, counted; and how many of them had been made when the last request was written.
        self._changes = 0
        self._told_changes = 0
        self._newcomers: list[asyncio.Future[None]] = []
        self._org_lock = asyncio.Lock()
        self._report_wanted = asyncio.Event()
        self._newcomer_came = asyncio.Event()
        self._poll_wanted = asyncio.Event()
        self._status_wanted = asyncio.Event()
        self._held: asyncio.Task[Outcome] | None = None
        self._stopped = False
        self._ever_connected = False
        self._retry_after_s = 0.0

    # --- for the local server ---------------------------------------------------------------------

    def note_change(self) -> None:
        """Something to report: it goes out within the time reports are gathered."""
        self._changes += 1
        self._report_wanted.set()

    async def refresh_for_newcomer(self) -> None:
        """Ask at once for what a new client needs, and wait for it a moment at most."""
        if self._stopped:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._newcomers.append(done)
        self._newcomer_came.set()
        self.note_change()
        with suppress(TimeoutError):
            await asyncio.wait_for(done, NEWCOMER_PATIENCE_S)

    @property
    def interval_s(self) -> float:
        """How often a control plane is polled that does not hold polls."""
        if self._settings.refresh_interval_s is not None:
            return self._settings.refresh_interval_s
        wished = self._trusted.state.refresh_interval_s
        return float(wished) if wished is not None and 1 <= wished <= 60 else DEFAULT_REFRESH_INTERVAL_S

    @property
    def holding(self) -> bool:
        """Whether a poll is held open right now."""
        return self._held is not None and self.facts.holds is True

    def note_skew(self, skew_s: float) -> None:
        """Take the difference of the clocks, as seen with an answer."""
        before = self.facts.skewed
        self.facts.skew_s = skew_s
        if self.facts.skewed and not before:
            log.warning("clock skew found", skew=skew_words(skew_s))
            self.note_change()
        elif before and not self.facts.skewed:
            log.info("clock skew is gone")
            self.note_change()

    # --- the loops --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Talk until cancelled."""
        loops = (self._poll, self._report, self._ask_status, self._sweep)
        try:
            async with asyncio.TaskGroup() as group:
                for each in loops:
                    group.create_task(self._for_ever(each))
        finally:
            self._stopped = True
            for newcomer in self._newcomers:
                if not newcomer.done():
                    newcomer.set_result(None)
            await self._plane.close()
            await self._trusted.finish_saving()

    async def _for_ever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception:
                log.exception("a step failed that should not", step=getattr(step, "__name__", ""))
                await asyncio.sleep(5.0)

    async def _poll(self) -> None:
        """One poll, and the pause after it."""
        connected = self.facts.condition is Condition.CONNECTED
        if not self._settings.wait:
            wait_s = None
        elif connected and self.facts.holds:
            wait_s = WAIT_S
        else:
            # Soon answered, so that a first success is known at once, and with it whether polls are held.
            wait_s = PROBE_S
        started = time.monotonic()
        outcome = await self._exchange_held(wait_s)
        pause_s = self._pause_after(outcome, long=wait_s == WAIT_S, took_s=time.monotonic() - started)
        if pause_s > 0:
            self._poll_wanted.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poll_wanted.wait(), pause_s)

    def _pause_after(self, outcome: Outcome, *, long: bool, took_s: float) -> float:
        if outcome is Outcome.FAILED:
            self._early = 0
            if self.facts.holds is False or self._settings.allow_vendor:
                start_s, cap_s = POLLING_START_S, self._settings.max_backoff_s
            else:
                start_s, cap_s = QUICK_START_S, QUICK_CAP_S
            return self._backoff.after_failure_s(start_s=start_s, cap_s=cap_s, at_least_s=self._retry_after_s)
        self._backoff.success()
        if not (self._settings.wait and self.facts.holds):
            return self.interval_s
        if long and outcome is Outcome.NO_NEWS and took_s < EARLY_S:
            self._early += 1
            return min(EARLY_PAUSE_CAP_S, EARLY_PAUSE_S * 2.0 ** (self._early - 1))
        self._early = 0
        return 0.0

    async def _report(self) -> None:
        """One report, once there is something to tell or somebody who waits."""
        await self._report_wanted.wait()
        if not self._newcomers:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._newcomer_came.wait(), COALESCE_S)
        if self._newcomers:
            await asyncio.sleep(GATHER_S)
        self._report_wanted.clear()
        self._newcomer_came.clear()
        waiting, self._newcomers = self._newcomers, []
        try:
            if self._may_report(newcomers=bool(waiting)):
                await asyncio.sleep(self._bucket.delay_s(now_s=time.monotonic()))
                self.facts.reports += 1
                outcome = await self._exchange()
                if outcome is Outcome.OVERTAKEN:
                    outcome = await self._exchange()
                if outcome is Outcome.FAILED and self._held is not None:
                    # The held poll was sent before the failure and cannot tell of it.
                    self._held.cancel()
                elif outcome is not Outcome.FAILED and self._backoff.failures:
                    # The polls pause after a failure that is over.
                    self._poll_wanted.set()
        finally:
            for newcomer in waiting:
                if not newcomer.done():
                    newcomer.set_result(None)

    def _may_report(self, *, newcomers: bool) -> bool:
        if self.facts.holds:
            # While requests fail, the next attempt tells everything anyway.
            failing = self.facts.condition is not Condition.CONNECTED
            return newcomers or (not failing and self._told_changes < self._changes)
        return newcomers and self._windows.take(now_s=time.time(), window_s=self.interval_s)

    async def _ask_status(self) -> None:
        """Ask what the organisation and the key may; failures are the polls' to tell."""
        self._status_wanted.clear()
        with suppress(ApiError, UntrustedError):
            pair = await self._plane.org_status()
            before = self.facts.org_enabled, self.facts.key_authorized
            self.facts.org_enabled, self.facts.key_authorized = pair
            if pair != before and pair == (True, True) and self.facts.condition is not Condition.CONNECTED:
                self._poll_wanted.set()
            elif pair[0] is False and self.facts.condition is Condition.UNAUTHORIZED:
                self._become(Condition.DISABLED)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._status_wanted.wait(), self._settings.org_status_interval_s)

    async def _sweep(self) -> None:
        """Notice who left."""
        await asyncio.sleep(self._roster.ttl_s / 10)
        if self._roster.sweep(now_s=time.monotonic()):
            self.note_change()

    # --- one request ------------------------------------------------------------------------------

    async def _exchange_held(self, wait_s: int | None) -> Outcome:
        """A poll that may be held, and is given up when a report failed meanwhile."""
        self._held = asyncio.create_task(self._exchange(wait_s=wait_s))
        try:
            await asyncio.wait({self._held})
            return Outcome.FAILED if self._held.cancelled() else self._held.result()
        finally:
            self._held.cancel()
            self._held = None

    async def _exchange(self, *, wait_s: int | None = None) -> Outcome:
        self._retry_after_s = 0.0
        updates = self._trusted.updates
        try:
            await self._learn_org()
            # 1. Tell all we hold and who is here.
            request = self._request()
            self._told_changes = self._changes
            self.facts.requests += 1
            updates = self._trusted.updates
            reply = await self._plane.configurations(request, wait_s=wait_s)
            if wait_s is not None:
                self.facts.holds = reply.holds_s is not None
            # 2. Believe what comes, or refuse it. From here on a held poll is not given up.
            news = await asyncio.shield(self._trusted.accept(reply.message, size=reply.size, now=utc_now()))
        except UntrustedError as error:
            if self._trusted.updates != updates:
                log.debug("an answer was overtaken by a newer one", code=error.code)
                return Outcome.OVERTAKEN
            self._refused(error)
            return Outcome.FAILED
        except ApiError as error:
            self._failed(error)
            return Outcome.FAILED
        # 3. Good: nothing to complain about, and these products are known to be asked for.
        self._asked_products.update(request.products, request.new_products)
        self._ask_everything = False
        self.facts.error = ""
        self.facts.last_success = time.time()
        self._become(Condition.CONNECTED)
        return Outcome.NEWS if news else Outcome.NO_NEWS

    async def _learn_org(self) -> None:
        async with self._org_lock:
            if self._trusted.org_uuid is None and (uuid := await self._plane.org_uuid()):
                self._trusted.learn_org(uuid)

    def _request(self) -> pb.LatestConfigsRequest:
        self._roster.sweep(now_s=time.monotonic())
        state = self._trusted.state
        wanted = self._roster.products()
        error = self.reported_error
        return pb.LatestConfigsRequest(
            hostname=self._settings.hostname,
            agentVersion=WIRE_VERSION,
            products=sorted(self._asked_products),
            new_products=sorted(wanted - self._asked_products),
            active_clients=self._roster.reports(),
            current_config_snapshot_version=0 if self._ask_everything else state.config_snapshot_version,
            current_config_root_version=state.config_root_version,
            current_director_root_version=state.director_root_version,
            backend_client_state=b"" if self._ask_everything else state.opaque_backend_state,
            has_error=bool(self.facts.error),
            error=error[:MAX_ERROR_CHARS],
            trace_agent_env=self._settings.default_env,
            org_uuid=self._trusted.org_uuid or "",
            tags=self._tags,
            agent_uuid=self._agent_uuid,
        )

    @property
    def reported_error(self) -> str:
        """What the control plane is told went wrong; a wrong clock is told even while all goes well."""
        if self.facts.error or not self.facts.skewed:
            return self.facts.error
        return f"clock skew: {skew_words(self.facts.skew_s or 0.0)}"

    # --- what came of it --------------------------------------------------------------------------

    def _refused(self, error: UntrustedError) -> None:
        text = f"tuf: {error.code}: {error.public}"
        if isinstance(error, ExpiredError) and self.facts.skewed:
            text = f"{text} clock skew: {skew_words(self.facts.skew_s or 0.0)}"
        self.facts.failures += 1
        self.facts.refusals[error.code] += 1
        self.facts.error = text
        self._ask_everything = True
        self._become(Condition.REFUSED, error.code, error=text, detail=error.detail)

    def _failed(self, error: ApiError) -> None:
        self.facts.failures += 1
        self.facts.error = f"api: {error.public}"
        self._retry_after_s = error.retry_after_s
        if error.trouble is Trouble.UNAUTHORIZED:
            off = self.facts.org_enabled is False
            self._become(Condition.DISABLED if off else Condition.UNAUTHORIZED, error=self.facts.error)
        else:
            self._become(Condition.UNREACHABLE, error=self.facts.error)

    def _become(self, condition: Condition, kind: str = "", **fields: str) -> None:
        """Change the condition, with one line in the log where it is another one."""
        if (condition, kind) == self._logged:
            return
        since = self.facts.since
        self._logged = (condition, kind)
        self.facts.condition, self.facts.since = condition, time.time()
        fields = {name: value for name, value in fields.items() if value}
        if condition is Condition.CONNECTED:
            if not self._ever_connected:
                self._ever_connected = True
                log.info("control plane connected", url=self._settings.upstream_url)
            else:
                log.info("control plane connected again", after_s=round(time.time() - since, 1))
        else:
            log.warning(_LINES[condition], **fields)
        self._status_wanted.set()


_LINES = {
    Condition.REFUSED: "update refused, the last good state stays in service",
    Condition.UNAUTHORIZED: "API key not accepted for Remote Configuration",
    Condition.DISABLED: "Remote Configuration is off for the organisation",
    Condition.UNREACHABLE: "control plane not reached",
}


def host_tags(settings: AgentSettings) -> list[str]:
    """The tags of this host as the control plane is told them."""
    tags = list(settings.tags)
    if settings.env and not any(tag.startswith("env:") for tag in tags):
        tags.append(f"env:{settings.env}")
    tags.append(f"sealwire_version:{__version__}")
    return tags
