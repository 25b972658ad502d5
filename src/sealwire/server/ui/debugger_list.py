"""The list of probes: what an address asks for, and a row for each, with what it brings just now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import orjson

from sealwire.clock import utc_now
from sealwire.errors import NotFoundError
from sealwire.products import PRODUCTS, wording
from sealwire.server.access import Principal
from sealwire.server.authoring.editing import Editor
from sealwire.server.debugger.authoring.desk import ProbeRow, ProbeState
from sealwire.server.debugger.authoring.probes import ProbeKind
from sealwire.server.debugger.reports.statuses import Headline, Summary
from sealwire.server.fleet.overview import Fleet
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui.debugger_charts import Spark, spark
from sealwire.server.ui.debugger_words import (
    EXPIRED,
    HEADLINES,
    KINDS,
    PATH,
    PAUSED,
    PRODUCT,
    REMOVED,
    STOPPED,
    counts_words,
    kind_words,
    place_words,
)
from sealwire.server.ui.render import dom_id, moment
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import NEVER, Fact, Link, Moment, Status

MAX_ROWS: Final = 200
MAX_TEXT: Final = 200
UNDO_S: Final = 600  # so long it is offered
STATES: Final[Mapping[str, str]] = {
    "": "Here now",
    "active": "Active",
    "emitting": "Emitting",
    "waiting": "Waiting",
    "trouble": "In trouble",
    "ending": "Ending within the hour",
    "paused": "Paused",
    "over": "Expired and removed",
    "all": "All",
}
_OF_ACTIVE: Final = ("emitting", "waiting", "trouble", "ending")
_HOUR_MS: Final = 3_600_000
_KEPT: Final = ("q", "service", "env", "kind", "state")


@dataclass(frozen=True, slots=True)
class Option:
    """A choice of a filter."""

    value: str
    words: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a probe brings.

    Attributes:
        per_s: Over the last seconds.
        over_quota: Left out because there were too many.
        last: When the newest came.
        unit: What is counted: ``message``, ``value`` or ``span``; over how long, in words, is ``over``.
    """

    per_s: float
    kept: int
    over_quota: int
    last: Moment
    unit: str
    over: str = "ten seconds"

    @property
    def rate(self) -> str:
        """How many each second, in words."""
        if not self.per_s:
            return "0" if self.last.iso else "–"
        return (
            f"{self.per_s:,.0f}"
            if self.per_s >= 100
            else f"{self.per_s:.1f}"
            if self.per_s >= 0.05
            else "<0.1"
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A probe in the table.

    Attributes:
        counts: How many instances are in which state.
        detail: The condition, or the template; what tells it from others.
        may_write: Whether it is theirs to take out; ``may_put_in`` to put it in.
    """

    dom_id: str
    probe_id: str
    href: str
    name: str
    kind: Status
    kind_words: str
    place: str
    condition: str
    service: str
    envs: str
    state: Status
    counts: str
    pulse: Pulse
    spark: Spark
    expires: Moment
    author: str
    is_active: bool
    is_paused: bool
    is_over: bool
    may_write: bool
    may_put_in: bool


@dataclass(frozen=True, slots=True)
class Undo:
    """What was just done, and how to take it back; ``action`` is the address of that."""

    words: str
    action: str
    label: str
    href: str


@dataclass(frozen=True, slots=True)
class ProbesPage:
    """All probes that an address asks for.

    Attributes:
        here: The address of these rows, to come back to.
        off: Why nothing can come to any probe: no agent, or no instance that takes them; None where some can.
        stops: What is stopped just now, in words.
    """

    facts: tuple[Fact, ...]
    rows: tuple[Row, ...]
    more: int
    text: str
    service: str
    env: str
    kinds: tuple[Option, ...]
    states: tuple[Option, ...]
    services: tuple[str, ...]
    envs: tuple[str, ...]
    is_filtered: bool
    is_empty: bool
    may_write: bool
    stops: tuple[str, ...]
    undo: Undo | None
    off: Link | None
    here: str
    live_href: str
    clear_href: str
    new_href: str
    summary: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for, understood; what makes no sense asks for everything."""

    state: str
    kind: str
    kept: Mapping[str, str]

    def href(self, **changes: str) -> str:
        """The address of other rows."""
        query = {name: value for name, value in {**self.kept, **changes}.items() if value}
        return f"{PATH}?{urlencode(query)}" if query else PATH


def asked(query: Mapping[str, str]) -> Asked:
    """Understand an address."""
    kept = {
        name: value[:MAX_TEXT] for name in _KEPT if (value := query.get(name, "").replace("\0", "").strip())
    }
    state, kind = kept.get("state", ""), kept.get("kind", "")
    if state not in STATES:
        kept.pop("state", None)
    if kind not in set(ProbeKind):
        kept.pop("kind", None)
    return Asked(kept.get("state", ""), kept.get("kind", ""), kept)


async def view(
    tenant: Tenant, principal: Principal, fleet: Fleet, query: Mapping[str, str], *, now_ms: int
) -> ProbesPage:
    """The page."""
    ask = asked(query)
    found = await tenant.probes.list(
        principal,
        state="active" if ask.state in _OF_ACTIVE else ask.state or "live",
        service=ask.kept.get("service", ""),
        env=ask.kept.get("env", ""),
        kind=ask.kind,
        text=ask.kept.get("q", ""),
    )
    live = found if ask.href() == PATH else await tenant.probes.list(principal)
    states = tenant.statuses.all_summaries({row.probe_id: row.version for row in (*live, *found)})
    if ask.state in _OF_ACTIVE:
        found = [row for row in found if ask.state in standings(row, states[row.probe_id], now_ms)]
    stops = await tenant.probes.stops(principal)
    here = list(tenant.uptakes.here(fleet))
    rows = tuple(_row(tenant, row, states[row.probe_id], principal) for row in found[:MAX_ROWS])
    return ProbesPage(
        facts=_facts(live, states, ask),
        rows=rows,
        more=max(0, len(found) - MAX_ROWS),
        text=ask.kept.get("q", ""),
        service=ask.kept.get("service", ""),
        env=ask.kept.get("env", ""),
        kinds=_options({"": "Every kind", **{kind.value: KINDS[kind].word for kind in ProbeKind}}, ask.kind),
        states=_options(STATES, ask.state),
        services=_names(
            [*(str(one.facts.get("service", "")) for one in here), *(row.service for row in live)]
        ),
        envs=_names(
            [*(str(one.facts.get("env", "")) for one in here), *(env for row in live for env in row.envs)]
        ),
        is_filtered=bool(ask.kept.keys() - {"state"}),
        is_empty=not live,
        may_write=may_make(principal),
        stops=tuple(stop_words(one.service, one.env) for one in stops),
        undo=await _undo(tenant, principal, query, now_ms=now_ms),
        off=None
        if any(one.live for one in states.values())
        else _off(fleet, [one for one in here if PRODUCT in one.facts.get("products", ())]),
        here=ask.href(),
        live_href=f"/live{ask.href()}",
        clear_href=Asked("", "", {"state": ask.state}).href(),
        new_href=f"{PATH}/new?{urlencode(chosen)}"
        if (chosen := {name: ask.kept[name] for name in ("service", "env") if name in ask.kept})
        else f"{PATH}/new",
        summary=_summary(live, states),
    )


def may_make(principal: Principal) -> bool:
    """Whether somebody may make a probe anywhere."""
    return principal.may("debugger_write") or principal.may("debugger_write_pre_prod")


def may_change(tenant: Tenant, principal: Principal, row: ProbeRow, *, puts_in: bool = False) -> bool:
    """Whether this probe is theirs to take out, or to put in, which may need more."""
    editor = Editor(tenant, principal, now=utc_now())
    payload = orjson.loads(row.config.payload) if puts_in else None
    return editor.may_write(PRODUCTS[PRODUCT], Targeting.parse(row.config.targeting), payload)


def stop_words(service: str, env: str) -> str:
    """What a stop is about."""
    if not service and not env:
        return "all services"
    name = f"service {visible(service, 80)}" if service else "every service"
    return f"{name} in {visible(env, 80)}" if env else name


def status_of(row: ProbeRow, summary: Summary) -> Status:
    """The state of a probe as people see it."""
    if row.state is ProbeState.REMOVED:
        return REMOVED
    if row.state is ProbeState.EXPIRED:
        return EXPIRED
    if row.state is ProbeState.PAUSED:
        return STOPPED if row.stop_id else PAUSED
    return HEADLINES[summary.headline]


def standings(row: ProbeRow, summary: Summary, now_ms: int) -> tuple[str, ...]:
    """What an active probe is counted as, by the words of an address."""
    if row.state is not ProbeState.ACTIVE:
        return ()
    match summary.headline:
        case Headline.EMITTING:
            found = "emitting"
        case Headline.ERROR | Headline.BLOCKED | Headline.WARNING:
            found = "trouble"
        case _:
            found = "waiting"
    ends_ms = row.config.expires_ms
    return (found, "ending") if ends_ms is not None and ends_ms - now_ms <= _HOUR_MS else (found,)


def pulse_of(tenant: Tenant, row: ProbeRow) -> Pulse:
    """What a probe brings, from memory."""
    kept = tenant.snapshots.counts(row.probe_id)
    if row.probe.kind is ProbeKind.METRIC:
        latest = tenant.probe_metrics.latest(row.probe_id)
        if latest is None:
            return Pulse(0.0, 0, kept.over_quota, NEVER, "value", "half minute")
        heard = moment(latest.heard_ms / 1000)
        return Pulse(latest.per_s, 0, kept.over_quota, heard, "value", "half minute")
    if row.probe.kind is ProbeKind.LOG:
        return Pulse(kept.per_s, kept.kept, kept.over_quota, _when(kept.last_ms), "message")
    spans = tenant.probe_spans.counts(row.probe_id)
    return Pulse(spans.per_s, spans.kept, spans.seen - spans.kept, _when(spans.last_ms), "span")


def _when(at_ms: int | None) -> Moment:
    return moment(at_ms / 1000 if at_ms else None)


def _row(tenant: Tenant, row: ProbeRow, summary: Summary, principal: Principal) -> Row:
    is_over = row.state in (ProbeState.EXPIRED, ProbeState.REMOVED)
    return Row(
        dom_id=dom_id("probe", row.probe_id),
        probe_id=row.probe_id,
        href=f"{PATH}/probes/{row.probe_id}",
        name=visible(row.config.name, 120) or place_words(row.probe),
        kind=KINDS[row.probe.kind],
        kind_words=kind_words(row.probe),
        place=place_words(row.probe),
        condition=visible(str(row.document.get("when") or ""), 120),
        service=visible(row.service, 80),
        envs=", ".join(visible(env, 60) for env in row.envs) or "every environment",
        state=status_of(row, summary),
        counts=counts_words(summary) if row.state is ProbeState.ACTIVE else "",
        pulse=pulse_of(tenant, row),
        spark=spark(tenant.snapshots.per_minute(row.probe_id))
        if row.probe.kind is ProbeKind.LOG
        else spark(()),
        expires=NEVER if is_over else _when(row.config.expires_ms),
        author=visible(row.config.updated_by, 100),
        is_active=row.state is ProbeState.ACTIVE,
        is_paused=row.state is ProbeState.PAUSED,
        is_over=is_over,
        may_write=may_change(tenant, principal, row),
        may_put_in=row.state is not ProbeState.ACTIVE and may_change(tenant, principal, row, puts_in=True),
    )


def _facts(live: Sequence[ProbeRow], states: Mapping[str, Summary], ask: Asked) -> tuple[Fact, ...]:
    active = [row for row in live if row.state is ProbeState.ACTIVE]
    counts = Counter(name for row in active for name in standings(row, states[row.probe_id], 0))
    emitting, waiting, wrong = (counts[name] for name in ("emitting", "waiting", "trouble"))
    return (
        Fact("Active", len(active), "", "probes", ask.href(state="active")),
        Fact("Emitting", emitting, "ok" if emitting else "", "bring data", ask.href(state="emitting")),
        Fact(
            "Waiting",
            waiting,
            "wait" if waiting else "",
            "have brought nothing yet",
            ask.href(state="waiting"),
        ),
        Fact("In trouble", wrong, "bad" if wrong else "", "with an error", ask.href(state="trouble")),
        Fact("Paused", len(live) - len(active), "mute", "by people or a stop", ask.href(state="paused")),
    )


def _summary(live: Sequence[ProbeRow], states: Mapping[str, Summary]) -> str:
    active = [row for row in live if row.state is ProbeState.ACTIVE]
    emitting = sum(states[row.probe_id].headline is Headline.EMITTING for row in active)
    return f"{wording.counted(len(active), 'active probe')}, {emitting} of them emitting."


def _options(choices: Mapping[str, str], chosen: str) -> tuple[Option, ...]:
    return tuple(Option(value, words, value == chosen) for value, words in choices.items())


def _names(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if name}))[:300]


def _off(fleet: Fleet, able: Sequence[object]) -> Link | None:
    if able:
        return None
    if not fleet.agents:
        return Link("No agent is connected: install one", "/start")
    return Link(
        "No instance takes probes now: switch Dynamic Instrumentation on for a service", f"{PATH}/services"
    )


async def _undo(
    tenant: Tenant, principal: Principal, query: Mapping[str, str], *, now_ms: int
) -> Undo | None:
    """What the address says was done, while it is so and fresh."""
    did, probe_id = query.get("did", ""), query.get("probe", "")[:64]
    words = {
        "paused": (ProbeState.PAUSED, "is paused", "resume"),
        "resumed": (ProbeState.ACTIVE, "is active again", "pause"),
        "removed": (ProbeState.REMOVED, "is removed: tracers take it out", "resume"),
    }
    if did not in words or not probe_id:
        return None
    state, said, inverse = words[did]
    try:
        row = await tenant.probes.get(principal, probe_id)
    except NotFoundError:
        return None
    if row.state is not state or now_ms - row.config.updated_ms > UNDO_S * 1000:
        return None
    name = visible(row.config.name, 120) or place_words(row.probe)
    href = f"{PATH}/probes/{probe_id}"
    return Undo(f"{name} {said}.", f"{href}/{inverse}", "Undo", href)
