"""The control plane's numbers in Prometheus' text form."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sealwire.server.api.remote_config import MachineApi
    from sealwire.server.control_plane import ControlPlane


def render(plane: ControlPlane, machine: MachineApi) -> str:
    """All metrics, one organisation a label."""
    lines = [
        "# HELP sealwire_answers_total Answers to agents, by endpoint and status.",
        "# TYPE sealwire_answers_total counter",
    ]
    for (route, status), count in sorted(machine.answers.items()):
        lines.append(f'sealwire_answers_total{{endpoint="{route}",status="{status}"}} {count}')
    families: list[tuple[str, str, str, dict[int, float]]] = [
        ("sealwire_polls_total", "counter", "Polls read.", {}),
        ("sealwire_steady_polls_total", "counter", "Polls that said what the last one said.", {}),
        ("sealwire_agents", "gauge", "Agents that asked in the last minutes.", {}),
        ("sealwire_waiting_agents", "gauge", "Agents with a held poll.", {}),
        ("sealwire_active_configs", "gauge", "Configs that are active.", {}),
        ("sealwire_director_version", "gauge", "Last director version issued.", {}),
        ("sealwire_config_version", "gauge", "Last version of the config repository issued.", {}),
        ("sealwire_publish_seconds", "gauge", "How long the last reconciliation took.", {}),
        ("sealwire_publish_rounds_total", "counter", "Reconciliations.", {}),
    ]
    for org_id, tenant in plane.tenants.items():
        sessions = tenant.distributor.sessions
        values = [
            tenant.distributor.polls,
            tenant.distributor.steady,
            len(sessions),
            sum(bool(session.waiters) for session in sessions.values()),
            len(tenant.publisher.catalogue.active),
            tenant.publisher.director_version,
            tenant.publisher.config_version,
            round(tenant.reconciler.last_took_s, 6),
            tenant.reconciler.rounds,
        ]
        for family, value in zip(families, values, strict=True):
            family[3][org_id] = value
    for name, kind, text, by_org in families:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += [f'{name}{{org="{org_id}"}} {value}' for org_id, value in by_org.items()]
    lines += [
        "# HELP sealwire_security What was made of the security data of agents, by what it is.",
        "# TYPE sealwire_security gauge",
    ]
    for org_id, tenant in plane.tenants.items():
        for name, count in tenant.detection.counters().items():
            lines.append(f'sealwire_security{{org="{org_id}",what="{name}"}} {count}')
        for reason, count in sorted(tenant.detection.agents_dropped().items()):
            label = "".join(each for each in reason if each.isalnum() or each in "_.-")
            lines.append(f'sealwire_security_dropped_by_agents{{org="{org_id}",reason="{label}"}} {count}')
    lines += [
        "# HELP sealwire_debugger What became of what tracers' debuggers sent, by what it is.",
        "# TYPE sealwire_debugger gauge",
    ]
    for org_id, tenant in plane.tenants.items():
        for name, count in {**tenant.arrivals.counters(), **tenant.probe_data.counters()}.items():
            lines.append(f'sealwire_debugger{{org="{org_id}",what="{name}"}} {count}')
    usage = resource.getrusage(resource.RUSAGE_SELF)
    lines += [
        "# HELP process_cpu_seconds_total CPU used by this process.",
        "# TYPE process_cpu_seconds_total counter",
        f"process_cpu_seconds_total {usage.ru_utime + usage.ru_stime:.3f}",
    ]
    return "\n".join(lines) + "\n"
