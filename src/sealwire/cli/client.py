"""Who is there: clients (tracers in applications) and hosts (agents)."""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta
from typing import NoReturn

from sealwire.cli.answers import Client, Clients, DeliveredConfig, Host, Hosts, typed
from sealwire.cli.arguments import Groups, Session, group, leaf
from sealwire.cli.output import age, parse_time, took
from sealwire.errors import UnavailableError

WATCH_INTERVAL_S = 1.0

_CLIENT_COLUMNS = ("SERVICE", "ENV", "TRACER", "STATE", "SEEN", "PRODUCT", "CONFIG", "APPLIED", "SAVE TO ACK")


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``client`` and ``host`` into the tree."""
    client = group(groups, "client", summary="Tracers in running applications")
    listing = leaf(
        client,
        "list",
        run_clients,
        summary="Who is there, what they have, and what became of it.",
        more="""
SEEN is the time since the client last asked its agent. SAVE TO ACK is the time from saving a config to
the report that the client applied it.

STATE: in step (has all it should), behind (has not asked since), applying (has it, not said so yet),
failed (could not apply), silent (not seen lately), refused (did not trust what came).""",
    )
    listing.add_argument("--service", metavar="S", help="only clients of this service")
    listing.add_argument("--watch", action="store_true", help="show it again when it changes, until Ctrl-C")

    host = group(groups, "host", summary="Agents, as the control plane sees them")
    leaf(
        host,
        "list",
        run_hosts,
        summary="Which agents ask this control plane, and how they are.",
        more="On the host itself, `sealwire agent status` shows the agent's own view.",
    )


def run_clients(arguments: argparse.Namespace, session: Session) -> int:
    if not arguments.watch:
        raw = _clients(session, arguments.service)
        session.output.document(raw)
        _show_clients(raw, session)
        return 0
    try:
        _watch(arguments.service, session)
    except KeyboardInterrupt:
        return 0


def _watch(service: str | None, session: Session) -> NoReturn:
    """Show the clients again each time something but their age changed; a terminal gets fresh ages too."""
    output = session.output
    shown: object = None
    was_lost = False
    while True:
        try:
            raw = _clients(session, service)
        except UnavailableError as error:
            if not was_lost:
                output.note(f"{error.public} Trying again; what is shown above is old.")
            was_lost = True
            time.sleep(WATCH_INTERVAL_S)
            continue
        telling = _without_ages(raw)
        if output.is_terminal and not output.as_json:
            output.clear()
            output.say(f"Clients at {session.now().strftime('%H:%M:%S')} UTC; Ctrl-C ends.\n")
            _show_clients(raw, session)
        elif telling != shown or was_lost:
            if output.as_json:
                output.json(raw, compact=True)
            else:
                _show_clients(raw, session)
                output.say("")
        output.flush()
        shown, was_lost = telling, False
        time.sleep(WATCH_INTERVAL_S)


def _clients(session: Session, service: str | None) -> dict[str, object]:
    document = session.connect().get("/clients")
    clients = typed(document, Clients).clients
    raws = document["clients"] if isinstance(document, dict) else []
    kept = [
        raw
        for raw, client in zip(raws, clients, strict=True)
        if service is None or (client.service or "").casefold() == service.casefold()
    ]
    return {**document, "clients": kept} if isinstance(document, dict) else {"clients": kept}


def _without_ages(raw: dict[str, object]) -> object:
    listed = raw["clients"]
    return [
        {key: value for key, value in item.items() if key not in ("last_seen", "age_s")}
        for item in (listed if isinstance(listed, list) else [])
    ]


def _show_clients(raw: dict[str, object], session: Session) -> None:
    now = session.now()
    # By service, the freshest first: after a restart the old process is listed for a while.
    clients = sorted(
        typed(raw, Clients).clients,
        key=lambda client: (client.service or "", client.env or "", client.age_s or 0.0, client.client_id),
    )
    rows = [row for client in clients for row in _client_rows(client, now=now)]
    session.output.table(
        _CLIENT_COLUMNS,
        rows,
        empty="No client has asked yet. A tracer asks its agent within seconds: see sealwire host list.",
    )
    for client in clients:
        if client.error:
            session.output.say(f"{client.service or client.client_id}: {client.error}")
        for config in client.configs:
            if config.error:
                session.output.say(f"{client.service or client.client_id}, {config.product}: {config.error}")


def _seen(who: Client | Host, *, now: datetime) -> datetime | None:
    """When it was last seen, by the control plane's measure of its age: clocks here and there differ."""
    return parse_time(who.last_seen) if who.age_s is None else now - timedelta(seconds=who.age_s)


def _client_rows(client: Client, *, now: datetime) -> list[tuple[str, ...]]:
    who = (
        client.service or "-",
        client.env or "-",
        " ".join(part for part in (client.language, client.tracer_version) if part) or "-",
        client.state.replace("_", " ") or "-",
        age(_seen(client, now=now), now=now),
    )
    if not client.configs:
        return [(*who, "-", "no configs", "-", "-")]
    return [
        (
            *(who if index == 0 else ("",) * len(who)),
            config.product or "-",
            " + ".join(config.config_ids) or "-",
            _applied(config),
            took(config.took_s),
        )
        for index, config in enumerate(client.configs)
    ]


def _applied(config: DeliveredConfig) -> str:
    """What became of one file; in step means here that the client acknowledged it."""
    if config.acknowledged_at and config.state == "in_step":
        return "acknowledged"
    return config.state.replace("_", " ") or "-"


def run_hosts(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().get("/agents")
    hosts = typed(raw, Hosts).agents
    session.output.document(raw)
    now = session.now()
    session.output.table(
        ("HOST", "VERSION", "STATE", "SEEN", "CLIENTS", "HAS VERSION", "ASKS"),
        [_host_row(host, now=now) for host in hosts],
        empty="No agent has asked yet. To connect one: sealwire root export --agent",
    )
    for host in hosts:
        if host.error:
            session.output.say(f"{host.hostname or host.agent_id}: {host.error}")
    return 0


def _host_row(host: Host, *, now: datetime) -> tuple[str, ...]:
    return (
        host.hostname or host.agent_id or "-",
        host.version or "-",
        host.state.replace("_", " ") or "-",
        age(_seen(host, now=now), now=now),
        "-" if host.clients is None else str(host.clients),
        "-" if host.director_version is None else str(host.director_version),
        "waits for news" if host.waiting else "at intervals",
    )
