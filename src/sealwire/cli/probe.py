"""Probes of Dynamic Instrumentation: listed, made of a file, paused, resumed, removed; stopped at once."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sealwire.cli.answers import Probe, Probes, Stopped, Stops, typed
from sealwire.cli.api import segment
from sealwire.cli.arguments import Groups, Session, confirmed, group, leaf
from sealwire.cli.output import moment, parse_time
from sealwire.errors import SealwireError


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``probe`` into the tree."""
    probe = group(groups, "probe", summary="logs, metrics, spans and snapshots from running programs")

    listed = leaf(probe, "list", run_list, summary="Show the probes.")
    listed.add_argument(
        "--state", default="live", choices=("live", "active", "paused", "over", "all"), help="default: live"
    )
    _scope(listed)

    create = leaf(
        probe,
        "create",
        run_create,
        summary="Make a probe of a JSON document.",
        more="""
example of a document:
  {"kind": "log", "language": "python", "where": {"file": "shop/orders.py", "line": 42},
   "template": "total {order.total}", "when": "order.total > 100"}

A probe with a snapshot is over after an hour, any other after 30 days, unless the document says
expires_in_minutes.""",
    )
    create.add_argument("file", metavar="FILE", help="the document; - reads standard input")
    create.add_argument("--service", required=True, metavar="S", help="the service it is for")
    create.add_argument(
        "--env", action="append", metavar="E", help="environment; repeat for several; none: every one"
    )
    create.add_argument("--name", default="", metavar="NAME")
    create.add_argument("--comment", default="", metavar="TEXT")

    for word, run, summary in (
        ("pause", run_pause, "Take a probe out of the programs, and keep it."),
        ("resume", run_resume, "Put a paused, expired or removed probe back."),
        ("remove", run_remove, "Take a probe away; its history stays."),
    ):
        leaf(probe, word, run, summary=summary).add_argument("id", metavar="ID")

    stop = leaf(
        probe,
        "stop",
        run_stop,
        summary="Pause every probe of a service, an environment or all, and let no new one in.",
        more="It holds until `sealwire probe lift ID`.",
    )
    _scope(stop)
    stop.add_argument("--reason", default="", metavar="TEXT", help="for those who wonder")
    stop.add_argument("--yes", action="store_true", help="do not ask")

    leaf(probe, "stops", run_stops, summary="Show the stops that hold.")
    lift = leaf(probe, "lift", run_lift, summary="End a stop.")
    lift.add_argument("id", metavar="ID")
    lift.add_argument("--resume", action="store_true", help="the probes it paused come back")


def _scope(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service", default="", metavar="S", help="of this service only")
    parser.add_argument("--env", default="", metavar="E", help="of this environment only")


def run_list(arguments: argparse.Namespace, session: Session) -> int:
    query = {"state": arguments.state, "service": arguments.service, "env": arguments.env}
    raw = session.connect().get("/debugger/probes", query)
    session.output.document(raw)
    session.output.table(
        ("ID", "NAME", "KIND", "WHERE", "SERVICE", "ENV", "STATE", "VERSION", "ENDS"),
        [
            (
                probe.id,
                probe.name or "-",
                probe.kind,
                probe.where,
                probe.service,
                ", ".join(probe.env) or "every",
                probe.state,
                str(probe.version),
                moment(parse_time(probe.expires_at)) if probe.expires_at else "-",
            )
            for probe in typed(raw, Probes).probes
        ],
        empty="No probes. Make one: sealwire probe create FILE --service S",
    )
    return 0


def run_create(arguments: argparse.Namespace, session: Session) -> int:
    try:
        text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text()
        document = json.loads(text)
    except (OSError, ValueError) as error:
        raise SealwireError(f"{arguments.file} is no JSON document: {error}.") from error
    body = {
        "service": arguments.service,
        "env": arguments.env or [],
        "name": arguments.name,
        "comment": arguments.comment,
        "document": document,
    }
    raw = session.connect().post("/debugger/probes", body)
    probe = typed(raw, Probe)
    session.output.document(raw)
    for warning in probe.warnings:
        session.output.note(f"{warning.path}: {warning.message}")
    ends = f", until {moment(parse_time(probe.expires_at))}" if probe.expires_at else ""
    session.output.say(f"Made probe {probe.id} at {probe.where} of {probe.service}{ends}.")
    return 0


def run_pause(arguments: argparse.Namespace, session: Session) -> int:
    return _told(session.connect().post(f"/debugger/probes/{segment(arguments.id)}/pause", {}), session)


def run_resume(arguments: argparse.Namespace, session: Session) -> int:
    return _told(session.connect().post(f"/debugger/probes/{segment(arguments.id)}/resume", {}), session)


def run_remove(arguments: argparse.Namespace, session: Session) -> int:
    return _told(session.connect().delete(f"/debugger/probes/{segment(arguments.id)}"), session)


def _told(raw: object, session: Session) -> int:
    probe = typed(raw, Probe)
    session.output.document(raw)
    session.output.say(f"Probe {probe.id} at {probe.where} of {probe.service} is {probe.state}.")
    return 0


def run_stop(arguments: argparse.Namespace, session: Session) -> int:
    api = session.connect()
    body: dict[str, object] = {
        "service": arguments.service, "env": arguments.env, "reason": arguments.reason,
    }  # fmt: skip
    would = typed(api.post("/debugger/stops", {**body, "dry_run": True}), Stopped)
    where = " in ".join(filter(None, (arguments.service, arguments.env))) or "the whole organisation"
    session.output.note(f"This pauses {would.count} probes of {where}, and lets no new one in.")
    if not confirmed(arguments, session, question="Stop them?"):
        raise SealwireError("Nothing was stopped. Add --yes if this is meant.")
    raw = api.post("/debugger/stops", body)
    done = typed(raw, Stopped)
    session.output.document(raw)
    session.output.say(f"Stopped {done.count} probes. To end it: sealwire probe lift {done.stop_id}")
    return 0


def run_stops(_arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().get("/debugger/stops")
    session.output.document(raw)
    session.output.table(
        ("ID", "SERVICE", "ENV", "PROBES", "BY", "SINCE", "REASON"),
        [
            (
                stop.id,
                stop.service or "every",
                stop.env or "every",
                str(stop.count),
                stop.by,
                moment(parse_time(stop.at)),
                stop.reason or "-",
            )
            for stop in typed(raw, Stops).stops
        ],
        empty="No stop holds.",
    )
    return 0


def run_lift(arguments: argparse.Namespace, session: Session) -> int:
    query = {"resume": "true"} if arguments.resume else None
    raw = session.connect().delete(f"/debugger/stops/{segment(arguments.id)}", query)
    session.output.document(raw)
    session.output.say(f"Lifted stop {arguments.id}; {typed(raw, Stopped).count} probes came back.")
    return 0
