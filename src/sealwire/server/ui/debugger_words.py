"""What probes and their states are called on pages: what it means, what it is waiting for, what to do.

Names and paths in it are authors'; what tracers say goes through ``visible`` before it is shown. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from sealwire.products import wording
from sealwire.server.debugger.authoring import probe_words
from sealwire.server.debugger.authoring.probes import AtLine, Probe, ProbeKind
from sealwire.server.debugger.reports import statuses
from sealwire.server.debugger.reports.statuses import Headline, Summary
from sealwire.server.fleet.connection import Connection
from sealwire.server.fleet.overview import ClientLine, Fleet
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import Link, Status

PATH: Final = "/debugger"
PRODUCT: Final = "LIVE_DEBUGGING"
_ASKING: Final = (Connection.CONNECTED, Connection.DEGRADED, Connection.PENDING)

KINDS: Final[Mapping[ProbeKind, Status]] = MappingProxyType(
    {
        ProbeKind.LOG: Status("Log", "info", "file-text"),
        ProbeKind.METRIC: Status("Metric", "info", "gauge"),
        ProbeKind.SPAN: Status("Span", "info", "activity"),
        ProbeKind.DECORATION: Status("Span tags", "info", "flag"),
    }
)
HEADLINES: Final[Mapping[Headline, Status]] = MappingProxyType(
    {
        Headline.WAITING: Status("Waiting", "mute", "circle-dashed"),
        Headline.RECEIVED: Status("Received", "wait", "clock"),
        Headline.INSTALLED: Status("Installed", "info", "circle-check"),
        Headline.EMITTING: Status("Emitting", "ok", "activity"),
        Headline.WARNING: Status("Warning", "wait", "triangle-alert"),
        Headline.BLOCKED: Status("Blocked", "bad", "ban"),
        Headline.ERROR: Status("Error", "bad", "triangle-alert"),
    }
)
INSTANCES: Final[Mapping[statuses.Status, Status]] = MappingProxyType(
    {status: HEADLINES[Headline[status.name]] for status in statuses.Status}
)
STALE: Final = Status("Gone", "mute", "circle-dashed", "Nothing was heard of it for long, or it has ended.")
BEHIND: Final = Status("Older version", "wait", "refresh-cw", "It still has a version before this one.")
PAUSED: Final = Status("Paused", "mute", "pause")
STOPPED: Final = Status("Stopped", "bad", "hand")
EXPIRED: Final = Status("Expired", "mute", "clock")
REMOVED: Final = Status("Removed", "mute", "trash-2")


@dataclass(frozen=True, slots=True)
class Said:
    """What is to be known of a state: words, what to do, and where."""

    title: str
    text: str
    way: Link | None = None


def kind_words(probe: Probe) -> str:
    """What kind it is, with what tells it from others of its kind."""
    if probe.kind is ProbeKind.METRIC and probe.metric is not None:
        return f"{probe.metric.kind.value.capitalize()} metric"
    if probe.kind is ProbeKind.LOG and probe.snapshot:
        return "Log with snapshot"
    if probe.kind is ProbeKind.LOG and probe.asked:
        return "Log with values"
    return KINDS[probe.kind].word


def place_words(probe: Probe) -> str:
    """Where it sits: ``shop/orders.py:41`` or ``shop.orders.total``."""
    return visible(str(probe.where), 200)


# Its state ----------------------------------------------------------------------------------------------


def counts_words(summary: Summary) -> str:
    """``3 of 4 emitting``; of an error how many have it."""
    if not summary.live:
        return f"{summary.stale} gone" if summary.stale else "no instance yet"
    counts = summary.counts
    for status in (statuses.Status.ERROR, statuses.Status.BLOCKED, statuses.Status.WARNING):
        if counts.get(status):
            word = {"ERROR": "with an error", "BLOCKED": "refuse it", "WARNING": "with a warning"}[
                status.name
            ]
            emitting = counts.get(statuses.Status.EMITTING, 0)
            also = f", {emitting} emitting" if emitting else ""
            return f"{counts[status]} of {summary.live} {word}{also}"
    for status in (statuses.Status.EMITTING, statuses.Status.INSTALLED, statuses.Status.RECEIVED):
        if counts.get(status):
            return f"{counts[status]} of {summary.live} {status.value.lower()}"
    return f"{summary.behind} with an older version"


def explained(probe: Probe, summary: Summary, *, means: str = "") -> Said:
    """What the state of a probe means that some instances have.

    Args:
        means: What the failure of the first of them means and what to do, where that is known.
    """
    emitting = summary.counts.get(statuses.Status.EMITTING, 0)
    match summary.headline:
        case Headline.ERROR:
            rest = f" {wording.counted(emitting, 'instance')} with data." if emitting else ""
            return Said(
                counts_words(summary),
                f"{means or 'Each instance says below what went wrong.'} It is not the end: a tracer tries "
                f"again by itself when more code is loaded.{rest}",
                Link("Each instance", "#instances"),
            )
        case Headline.BLOCKED:
            return Said(
                counts_words(summary),
                "The tracer never touches this place: it is on a denylist of its own. Choose another method "
                "or line.",
            )
        case Headline.WARNING:
            return Said(counts_words(summary), "It works, and the tracer says something of it below.")
        case Headline.EMITTING:
            return Said(counts_words(summary), "What it brings is below, as it comes.")
        case Headline.INSTALLED:
            text = "It is in the program and nothing has passed there yet: use what runs this code."
            if probe.when is not None:
                text = (
                    "It is in the program and has given nothing yet: either nothing has passed there, or the "
                    "condition did not hold. Use what runs this code; then try without the condition."
                )
            return Said(counts_words(summary), text)
        case Headline.RECEIVED:
            what = "file" if isinstance(probe.where, AtLine) else "module or class"
            return Said(
                counts_words(summary),
                f"The tracer knows it and waits for the {what}, which the program has not loaded yet. It is "
                "put in by itself when that happens. If it should be loaded by now, look at the path for a "
                "mistake.",
            )
    if summary.behind:
        return Said(counts_words(summary), "They are told of this version; it takes some seconds.")
    return Said("Nothing said yet", "No instance has said anything of it.")


# Nobody has it --------------------------------------------------------------------------------------------


def waiting_for(
    probe: Probe,
    service: str,
    envs: Collection[str],
    config_id: str,
    *,
    here: Sequence[ClientLine],
    fleet: Fleet,
    clone_href: str = "",
) -> Said:
    """Why no instance has said anything of a probe yet, by what the fleet is known to be.

    Args:
        here: Clients that are live.
        clone_href: The page that makes a copy for another environment.
    """
    if not any(agent.state in _ASKING for agent in fleet.agents):
        return Said(
            "No agent is connected",
            "Probes reach programs through an agent. None asks this control plane at the moment.",
            Link("Agents", "/fleet?tab=agents") if fleet.agents else Link("Install an agent", "/start"),
        )
    name, where = visible(service, 80), _in_envs(envs)
    of_it = [one for one in here if _names(one, service)]
    wanted = {env.casefold() for env in envs}
    there = [one for one in of_it if not wanted or str(one.facts.get("env", "")).casefold() in wanted]
    fleet_href = f"/fleet?{urlencode({'q': f'service:{_quoted(service)}'})}"
    if not of_it:
        return _no_client(name, service, wanted, fleet, fleet_href)
    if not there:
        elsewhere = sorted({str(one.facts.get("env", "")) or "no environment" for one in of_it})
        return Said(
            f"{name} does not run{where}",
            f"It runs in {wording.some([visible(env, 60) for env in elsewhere])}. A probe stays in its "
            "environment: make a copy for the other one.",
            Link("Copy it to another environment", clone_href)
            if clone_href
            else Link("Its clients", fleet_href),
        )
    spoken = Counter(_language(one) for one in there)
    if probe.language not in spoken:
        other = spoken.most_common(1)[0][0] or "another language"
        return Said(
            f"{name} is no {probe.language} program",
            f"Its clients speak {other}: edit the probe and choose that language, or check the service.",
            Link("Its clients", fleet_href),
        )
    able = [one for one in there if PRODUCT in one.facts.get("products", ())]
    if not able:
        query = {"service": service, "env": next(iter(envs), "") if len(envs) == 1 else ""}
        return Said(
            "Dynamic Instrumentation is off there",
            f"{wording.counted(len(there), 'client')} of {name}{where} did not ask for probes. Switch it on "
            "for the service, or start the program with DD_DYNAMIC_INSTRUMENTATION_ENABLED=true.",
            Link("Switch it on", f"{PATH}/services?{urlencode({k: v for k, v in query.items() if v})}"),
        )
    having = [one for one in able if any(config_id in file.config_ids for file in one.files)]
    if not having:
        return Said(
            "On its way",
            f"{wording.counted(len(able), 'client')} will get it with the next answer to their agents, in "
            "some seconds.",
            Link("Its clients", fleet_href),
        )
    return Said(
        f"{wording.counted(len(having), 'instance')} will have it",
        "It was sent and nothing was said of it yet. Statuses come some seconds after a tracer took it; if "
        "none comes, look whether the tracer may reach its agent for /debugger/v1/diagnostics.",
        Link("Its clients", fleet_href),
    )


def _no_client(name: str, service: str, wanted: Collection[str], fleet: Fleet, fleet_href: str) -> Said:
    gone = [one for one in fleet.clients if _names(one, service)]
    if gone:
        return Said(
            f"{name} is not here now",
            "Its clients have not been heard of for a while. The probe waits for them until it expires.",
            Link("When they were here", fleet_href),
        )
    silent = [
        one
        for one in fleet.services
        if _names(one, service) and (not wanted or str(one.facts.get("env", "")).casefold() in wanted)
    ]
    if silent:
        return Said(
            f"{name} sends traces and asks for no configuration",
            "Its tracer is too old, or Remote Configuration is off in it: nothing can be sent to it.",
            Link("What to do", fleet_href),
        )
    return Said(
        f"No service {name} is known",
        "The probe waits for it until it expires. Check the name against the fleet: it is the one in "
        "DD_SERVICE.",
        Link("The services there are", "/fleet"),
    )


def _names(line: ClientLine, service: str) -> bool:
    known = (line.facts.get("service", ""), *line.facts.get("extra_services", ()))
    return service.casefold() in {str(name).casefold() for name in known}


def _language(line: ClientLine) -> str:
    said = str(line.facts.get("language", "")).casefold()
    return {"node": "javascript", "nodejs": "javascript", "jvm": "java", "golang": "go"}.get(said, said)


def _in_envs(envs: Collection[str]) -> str:
    return f" in {wording.some([visible(env, 60) for env in envs])}" if envs else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# What it is -----------------------------------------------------------------------------------------------

_CODE: Final = frozenset(
    {"Place", "Condition", "Message", "Captured expressions", "Metric", "Decorations", "Tags"}
)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what a probe is; ``is_code`` where an author typed it."""

    label: str
    text: str
    is_code: bool


def parts(document: Mapping[str, object]) -> tuple[Part, ...]:
    """The document of a probe in words."""
    return tuple(
        Part(label, visible(text, 2_000), label in _CODE)
        for label, text in probe_words.describe(document)
        if label != "Kind"
    )


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[str, ...]:
    """What a document says otherwise than the one before, a line each."""
    return tuple(visible(one, 600) for one in probe_words.changes(before, after))
