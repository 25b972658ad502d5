"""How the agent is, for people and for machines: one document, its text, and metrics.

Hides nothing that an operator needs and tells no secret: neither key nor payload is in it. The document
is what ``/sealwire/v1/status`` answers and ``sealwire agent status`` prints.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sealwire import __version__
from sealwire.agent.dogstatsd import DogStatsd
from sealwire.agent.forward import Forwarder
from sealwire.agent.inventory import Poster
from sealwire.agent.pace import skew_words
from sealwire.agent.probes import COUNTED, ProbeReporter
from sealwire.agent.relay import Relay
from sealwire.agent.reporter import Reporter
from sealwire.agent.roster import Roster, Seen
from sealwire.agent.settings import AgentSettings
from sealwire.agent.sights import Sights
from sealwire.agent.trusted import Trusted
from sealwire.agent.uploads import Uploads, status_lines
from sealwire.agent.upstream import Upstream
from sealwire.wire.codec import ApplyState
from sealwire.wire.version import WIRE_VERSION


@dataclass(frozen=True, slots=True)
class Parts:
    """The agent's parts that have something to tell; ``trusted`` and ``upstream`` are missing without Remote
    Configuration, ``poster`` where no inventory is posted, ``reporter`` where nothing of attacks is,
    ``forwarder`` where no upload is passed on, ``uploads`` where none of Dynamic Instrumentation is sent,
    ``probes`` where nothing of metrics and spans is told, and ``dogstatsd`` where nobody listens for metrics.
    """

    settings: AgentSettings
    agent_uuid: str
    roster: Roster
    relay: Relay
    trusted: Trusted | None
    upstream: Upstream | None
    listening: tuple[str, ...]
    started: float
    sights: Sights
    poster: Poster | None
    reporter: Reporter | None = None
    forwarder: Forwarder | None = None
    uploads: Uploads | None = None
    probes: ProbeReporter | None = None
    dogstatsd: DogStatsd | None = None


def status_document(parts: Parts, *, now: datetime) -> dict[str, Any]:
    """Everything about this agent, as JSON values."""
    settings = parts.settings
    return {
        "agent": {
            "hostname": settings.hostname,
            "agent_uuid": parts.agent_uuid,
            "version": __version__,
            "wire_version": WIRE_VERSION,
            "up_s": round(time.time() - parts.started),
            "listening": list(parts.listening),
            "run_path": str(settings.run_path),
        },
        "remote_configuration": _remote_configuration(parts, now),
        "clients": [_client(seen, now) for seen in parts.roster],
        "clients_turned_away": parts.roster.turned_away,
        "uploads": {
            kind: {"requests": count, "bytes": parts.relay.size[kind]}
            for kind, count in sorted(parts.relay.requests.items())
        },
        "forwarding": _forwarding(parts),
        "security": _security(parts),
        "debugger": _debugger(parts),
        "probes": _probes(parts),
        "inventory": _inventory(parts),
        "warnings": list(settings.warnings),
    }


def _security(parts: Parts) -> dict[str, Any]:
    reporter, security = parts.reporter, parts.sights.security
    if reporter is None or security is None:
        return {"on": False}
    spool = reporter.spool
    return {
        "on": True,
        "seen": security.seen,
        "counted_instead_of_sent": security.sampled,
        "told": reporter.told,
        "posts": reporter.posts,
        "failures": reporter.failures,
        "last_taken": _iso(reporter.last_taken),
        "last_error": reporter.last_error or None,
        "is_wanted": security.is_wanted,
        "waiting": reporter.queued,
        "kept": {
            "requests": spool.requests if spool is not None else 0,
            "bytes": spool.size if spool is not None else 0,
            "limit": parts.settings.spool_bytes,
            "why_not": (spool.why_not if spool is not None else "") or None,
        },
        "dropped": {
            name: count
            for name, count in sorted(parts.sights.dropped.items())
            if name.startswith(("security_", "traces_"))
        },
    }


def _forwarding(parts: Parts) -> dict[str, Any]:
    forwarder = parts.forwarder
    if forwarder is None:
        return {"on": False}
    return {
        "on": True,
        "to": forwarder.url,
        "passed_on": dict(sorted(forwarder.passed.items())),
        "failed": dict(sorted(forwarder.failed.items())),
        "last_error": forwarder.last_error or None,
    }


def _probes(parts: Parts) -> dict[str, Any]:
    reporter, dogstatsd = parts.probes, parts.dogstatsd
    if reporter is None:
        return {"on": False}
    gatherer = reporter.gatherer
    listening: dict[str, Any] = {"on": False}
    if dogstatsd is not None:
        listening = {
            "on": True,
            "listening": list(dogstatsd.listening),
            "problems": list(dogstatsd.problems),
            "datagrams": dogstatsd.datagrams,
            "others": dogstatsd.others,
            "forward_to": dogstatsd.forward_to or None,
            "forwarded": dogstatsd.forwarded,
        }
    return {
        "on": True,
        "dogstatsd": listening,
        "values": gatherer.metrics.taken,
        "series": gatherer.metrics.series,
        "spans": gatherer.seen,
        "spans_counted_only": gatherer.sampled,
        "told": reporter.told,
        "posts": reporter.posts,
        "failures": reporter.failures,
        "last_taken": _iso(reporter.last_taken),
        "last_error": reporter.last_error or None,
        "is_wanted": gatherer.is_wanted,
        "waiting": reporter.queued,
        "dropped": {
            name: count for name, count in sorted(gatherer.dropped.items()) if name.startswith(COUNTED)
        },
    }


def _debugger(parts: Parts) -> dict[str, Any]:
    if parts.uploads is None:
        return {"on": False}
    return {**parts.uploads.status(), "last_taken": _iso(parts.uploads.last_taken)}


def _inventory(parts: Parts) -> dict[str, Any]:
    poster, sights = parts.poster, parts.sights
    if poster is None:
        return {"on": False}
    return {
        "on": True,
        "posts": poster.posts,
        "last_taken": _iso(poster.last_taken),
        "last_error": poster.last_error or None,
        "runtimes": sights.runtimes,
        "kept_bytes": sights.kept_bytes,
        "dropped": dict(sights.dropped),
    }


def _remote_configuration(parts: Parts, now: datetime) -> dict[str, Any]:
    settings, trusted, upstream = parts.settings, parts.trusted, parts.upstream
    if trusted is None or upstream is None:
        return {"on": False, "reason": settings.rc_off_reason}
    facts, state = upstream.facts, trusted.state
    expires = state.expires_by_role()
    served = trusted.served
    return {
        "on": True,
        "upstream": settings.upstream_url,
        "condition": facts.condition.value,
        "since": _iso(facts.since),
        "last_success": _iso(facts.last_success),
        "last_error": facts.error or None,
        "organization_enabled": facts.org_enabled,
        "key_authorized": facts.key_authorized,
        "clock_skew_s": None if facts.skew_s is None else round(facts.skew_s),
        "clock_skew": skew_words(facts.skew_s) if facts.skewed and facts.skew_s is not None else None,
        "mode": "waiting" if upstream.holding else "polling",
        "interval_s": upstream.interval_s,
        "requests": facts.requests,
        "failures": facts.failures,
        "reports": facts.reports,
        "refusals": dict(facts.refusals),
        "org_uuid": trusted.org_uuid,
        "versions": {
            "director": state.director_version,
            "director_root": state.director_root_version,
            "config_snapshot": state.config_snapshot_version,
            "config_root": state.config_root_version,
        },
        "configs": len(state.targets),
        "expired": served is not None and served.is_expired(now),
        "expires": {
            role: {"at": _iso(at.timestamp()), "in_words": until_words(at, now)}
            for role, at in sorted(expires.items())
        },
        "cache": {
            "mode": "memory" if trusted.memory_reason else "disk",
            "reason": trusted.memory_reason or None,
            "restored": trusted.restored,
        },
    }


def _client(seen: Seen, now: datetime) -> dict[str, Any]:
    client = seen.client
    tracer = client.client_tracer
    return {
        "client_id": client.id,
        "runtime_id": tracer.runtime_id,
        "service": tracer.service,
        "env": tracer.env,
        "language": tracer.language,
        "tracer_version": tracer.tracer_version,
        "app_version": tracer.app_version,
        "products": sorted(client.products),
        "root_version": client.state.root_version,
        "targets_version": client.state.targets_version,
        "last_seen": _iso(seen.last_seen_ms / 1000),
        "age_s": max(0, round(now.timestamp() - seen.last_seen_ms / 1000)),
        "requests": seen.requests,
        "error": seen.problem or (client.state.error if client.state.has_error else "") or None,
        "configs": [
            {
                "product": state.product,
                "config_id": state.id,
                "version": state.version,
                "state": _state_word(state.apply_state),
                "error": state.apply_error or None,
            }
            for state in client.state.config_states
        ],
    }


def _state_word(number: int) -> str:
    try:
        return ApplyState(number).name.lower()
    except ValueError:
        return f"unknown ({number})"


def _iso(moment_s: float | None) -> str | None:
    if moment_s is None:
        return None
    try:
        return datetime.fromtimestamp(moment_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError):
        return None


def until_words(at: datetime, now: datetime) -> str:
    """How far a moment is away, as people say it: ``in 9 days``, ``expired 3 h ago``."""
    seconds = (at - now).total_seconds()
    amount = abs(seconds)
    for unit, size in (("year", 365 * 86400), ("day", 86400), ("h", 3600), ("min", 60)):
        if amount >= size:
            count = int(amount // size)
            word = f"{unit}s" if count != 1 and unit in ("day", "year") else unit
            return f"in {count} {word}" if seconds > 0 else f"expired {count} {word} ago"
    return f"in {int(amount)} s" if seconds > 0 else "expired just now"


# --- as text --------------------------------------------------------------------------------------


_OFF: Mapping[str, Any] = {"on": False}  # an agent that runs since before there was such a thing


def status_text(document: Mapping[str, Any]) -> str:
    """The document as a person reads it."""
    agent, rc = document["agent"], document["remote_configuration"]
    lines = [
        f"Agent on {agent['hostname']}",
        f"  Version: {agent['version']} (speaks {agent['wire_version']})",
        f"  Id: {agent['agent_uuid']}",
        f"  Listening: {', '.join(agent['listening'])}",
        "",
        "Remote Configuration",
    ]
    if rc["on"]:
        lines += _rc_lines(rc)
    else:
        lines.append(f"  Off: {rc['reason']}")
    lines += ["", f"Clients ({len(document['clients'])})"]
    for client in document["clients"]:
        lines += _client_lines(client)
    if document["uploads"]:
        taken = ", ".join(f"{kind} {each['requests']}" for kind, each in document["uploads"].items())
        lines += ["", f"Uploads taken: {taken}"]
    lines += _forwarding_lines(document.get("forwarding", _OFF))
    lines += _security_lines(document.get("security", _OFF))
    lines += status_lines(document.get("debugger", _OFF))
    lines += _probe_lines(document.get("probes", _OFF))
    lines += [f"Warning: {warning}" for warning in document["warnings"]]
    return "\n".join(_printable(line) for line in lines) + "\n"


def _forwarding_lines(forwarding: Mapping[str, Any]) -> list[str]:
    if not forwarding["on"]:
        return []
    passed, failed = sum(forwarding["passed_on"].values()), sum(forwarding["failed"].values())
    lines = [f"Uploads passed on to {forwarding['to']}: {passed}, failed: {failed}"]
    if forwarding["last_error"]:
        lines.append(f"  Last error: {forwarding['last_error']}")
    return lines


def _security_lines(security: Mapping[str, Any]) -> list[str]:
    if not security["on"]:
        return []
    kept = security["kept"]
    lines = [
        "",
        "App and API Protection",
        (
            f"  Requests of interest: {security['seen']}, told: {security['told']}, "
            f"waiting: {security['waiting'] + kept['requests']} ({kept['bytes']} bytes on disk)"
        ),
        f"  Last taken: {security['last_taken'] or 'never'}",
    ]
    if not security["is_wanted"]:
        lines.append("  The control plane is too old to take them")
    if security["last_error"]:
        lines.append(f"  Last error: {security['last_error']}")
    if kept["why_not"]:
        lines.append(f"  Nothing is kept on disk: {kept['why_not']}")
    if security["dropped"]:
        dropped = ", ".join(f"{name} {count}" for name, count in security["dropped"].items())
        lines.append(f"  Not passed on: {dropped}")
    return lines


def _probe_lines(probes: Mapping[str, Any]) -> list[str]:
    if not probes["on"]:
        return []
    lines = [
        "",
        "Metrics and spans of probes",
        (
            f"  Values: {probes['values']} in {probes['series']} series, spans: {probes['spans']}, "
            f"waiting: {probes['waiting']}"
        ),
        f"  Last taken: {probes['last_taken'] or 'never'}",
    ]
    dogstatsd = probes["dogstatsd"]
    if dogstatsd["on"]:
        lines.append(f"  DogStatsD: {', '.join(dogstatsd['listening']) or 'nowhere'}")
        lines += [f"  {problem}" for problem in dogstatsd["problems"]]
        if dogstatsd["forward_to"]:
            lines.append(f"  Passed on to {dogstatsd['forward_to']}: {dogstatsd['forwarded']} datagrams")
    if not probes["is_wanted"]:
        lines.append("  The control plane is too old to take them")
    if probes["last_error"]:
        lines.append(f"  Last error: {probes['last_error']}")
    if probes["dropped"]:
        dropped = ", ".join(f"{name} {count}" for name, count in probes["dropped"].items())
        lines.append(f"  Not passed on: {dropped}")
    return lines


def _printable(line: str) -> str:
    """Names come from applications, and a terminal obeys what it is sent."""
    return line if line.isprintable() else "".join(char if char.isprintable() else "?" for char in line)


def _rc_lines(rc: Mapping[str, Any]) -> list[str]:
    versions, cache = rc["versions"], rc["cache"]
    how = "waiting" if rc["mode"] == "waiting" else f"polling every {rc['interval_s']:g} s"
    lines = [
        f"  Control plane: {rc['upstream']}",
        f"  Condition: {rc['condition']} since {rc['since']}, {how}",
        f"  Organization enabled: {_yes_no(rc['organization_enabled'])}",
        f"  API key: {_authorized(rc['key_authorized'])}",
        f"  Last error: {rc['last_error'] or 'none'}",
        f"  Last success: {rc['last_success'] or 'never'}",
    ]
    if rc["clock_skew"]:
        lines.append(f"  Clock skew: {rc['clock_skew']}")
    lines += [
        (
            f"  Configs: {rc['configs']}, "
            f"director version {versions['director']} (root {versions['director_root']}), "
            f"config snapshot {versions['config_snapshot']} (root {versions['config_root']})"
        ),
        "  State is kept: on disk"
        if cache["mode"] == "disk"
        else f"  State is kept: in memory only ({cache['reason']})",
    ]
    if rc["expired"]:
        lines.append("  The control plane was silent for too long: clients are told to drop their configs")
    lines.append("  Expires:")
    lines += [f"    {role}: {each['in_words']} ({each['at']})" for role, each in rc["expires"].items()]
    return lines


def _client_lines(client: Mapping[str, Any]) -> list[str]:
    who = f"{client['service'] or '(no service)'}" + (f" in {client['env']}" if client["env"] else "")
    lines = [
        (
            f"  {who}: {client['language']} {client['tracer_version']}, seen {client['age_s']} s ago, "
            f"version {client['targets_version']}, id {client['client_id']}"
        ),
        f"    products: {', '.join(client['products']) or 'none'}",
    ]
    for config in client["configs"]:
        error = f": {config['error']}" if config["error"] else ""
        lines.append(
            f"    {config['product']} {config['config_id']} version {config['version']}: "
            f"{config['state']}{error}"
        )
    if client["error"]:
        lines.append(f"    error: {client['error']}")
    return lines


def _yes_no(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "not known yet"}[value]


def _authorized(value: bool | None) -> str:
    words = {
        True: "authorized",
        False: "not authorized: `sealwire key update --remote-config on` gives it the scope",
        None: "not known yet",
    }
    return words[value]


# --- as metrics -----------------------------------------------------------------------------------


def metrics_text(parts: Parts, *, answered: Mapping[int, int], now: datetime) -> str:
    """The numbers in the Prometheus text format.

    Args:
        parts: Of the agent.
        answered: Polls of clients by HTTP status.
        now: UTC.
    """
    lines: list[str] = []

    def family(name: str, kind: str, samples: Mapping[str, float]) -> None:
        lines.append(f"# TYPE sealwire_agent_{name} {kind}")
        lines.extend(f"sealwire_agent_{name}{labels} {value:g}" for labels, value in samples.items())

    family("clients", "gauge", {"": len(parts.roster)})
    family("clients_turned_away_total", "counter", {"": parts.roster.turned_away})
    family(
        "client_polls_total",
        "counter",
        {f'{{status="{status}"}}': count for status, count in sorted(answered.items())},
    )
    relay = parts.relay
    family("uploads_total", "counter", _by_label("kind", relay.requests))
    family("upload_bytes_total", "counter", _by_label("kind", relay.size))
    family("runtimes", "gauge", {"": parts.sights.runtimes})
    family("sights_dropped_total", "counter", _by_label("kind", parts.sights.dropped))
    if parts.forwarder is not None:
        family("forwarded_total", "counter", _by_label("kind", parts.forwarder.passed))
        family("forward_failures_total", "counter", _by_label("kind", parts.forwarder.failed))
    if parts.reporter is not None and parts.sights.security is not None:
        reporter, spool = parts.reporter, parts.reporter.spool
        family("security_seen_total", "counter", {"": parts.sights.security.seen})
        family("security_told_total", "counter", {"": reporter.told})
        family("security_posts_total", "counter", {"": reporter.posts})
        family("security_failures_total", "counter", {"": reporter.failures})
        family("security_spool_bytes", "gauge", {"": spool.size if spool is not None else 0})
    if parts.probes is not None:
        probes, gatherer = parts.probes, parts.probes.gatherer
        family("probe_values_total", "counter", {"": gatherer.metrics.taken})
        family("probe_series", "gauge", {"": gatherer.metrics.series})
        family("probe_spans_total", "counter", {"": gatherer.seen})
        family("probe_posts_total", "counter", {"": probes.posts})
        family("probe_failures_total", "counter", {"": probes.failures})
    if parts.dogstatsd is not None:
        family("dogstatsd_datagrams_total", "counter", {"": parts.dogstatsd.datagrams})
        family("dogstatsd_others_total", "counter", {"": parts.dogstatsd.others})
        family("dogstatsd_forwarded_total", "counter", {"": parts.dogstatsd.forwarded})
    if parts.uploads is not None:
        uploads = parts.uploads
        family("debugger_taken_total", "counter", _by_label("kind", uploads.taken))
        family("debugger_sent_total", "counter", _by_label("kind", uploads.sent))
        dropped = {
            f'{{kind="{kind}",reason="{reason}"}}': float(count)
            for (kind, reason), count in sorted(uploads.dropped.items())
        }
        family("debugger_dropped_total", "counter", dropped)
        family("debugger_posts_total", "counter", {"": uploads.posts})
        family("debugger_failures_total", "counter", {"": uploads.failures})
        family("debugger_waiting", "gauge", {"": uploads.waiting})
        family("debugger_waiting_bytes", "gauge", {"": uploads.waiting_bytes})
    if parts.poster is not None:
        family("inventory_posts_total", "counter", {"": parts.poster.posts})
        family("inventory_failures_total", "counter", {"": parts.poster.failures})
    trusted, upstream = parts.trusted, parts.upstream
    family("remote_configuration_on", "gauge", {"": float(trusted is not None)})
    if trusted is not None and upstream is not None:
        facts = upstream.facts
        family("requests_total", "counter", {"": facts.requests})
        family("request_failures_total", "counter", {"": facts.failures})
        family("refusals_total", "counter", _by_label("code", facts.refusals))
        family("connected", "gauge", {"": float(facts.condition.value == "connected")})
        family("director_version", "gauge", {"": trusted.state.director_version})
        family("configs", "gauge", {"": len(trusted.state.targets)})
        family("memory_only", "gauge", {"": float(bool(trusted.memory_reason))})
        if facts.skew_s is not None:
            family("clock_skew_seconds", "gauge", {"": facts.skew_s})
        if facts.last_success is not None:
            family("last_success_age_seconds", "gauge", {"": max(0.0, time.time() - facts.last_success)})
        if trusted.state.director_timestamp_expires is not None:
            left = (trusted.state.director_timestamp_expires - now).total_seconds()
            family("timestamp_expires_in_seconds", "gauge", {"": left})
    return "\n".join(lines) + "\n"


def _by_label(label: str, counts: Mapping[str, int]) -> dict[str, float]:
    return {f'{{{label}="{name}"}}': count for name, count in sorted(counts.items())}
