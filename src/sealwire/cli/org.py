"""Organisations, and the record of who did what in one."""

from __future__ import annotations

import argparse

from sealwire.cli.answers import Audit, Org, Orgs, typed
from sealwire.cli.arguments import Groups, Session, group, leaf, number_from
from sealwire.cli.output import moment, parse_time


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``org`` and ``audit`` into the tree."""
    org = group(groups, "org", summary="Organisations: each has its own keys, configs and trust")
    create = leaf(org, "create", run_create, summary="Make an organisation with a trust domain of its own.")
    create.add_argument("name", metavar="NAME")
    leaf(org, "list", run_list, summary="Show the organisations.")

    audit = group(groups, "audit", summary="Who changed what, and when")
    listing = leaf(audit, "list", run_audit, summary="Show what was done, newest first.")
    listing.add_argument(
        "--limit", type=number_from(1), default=50, metavar="N", help="how many (default: 50)"
    )
    listing.add_argument("--before", metavar="ID", help="only events older than this one")


def run_create(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().post("/orgs", {"name": arguments.name})
    org = typed(raw, Org)
    output = session.output
    output.document(raw)
    output.say(f"Made organisation {org.org_id} ({org.name}, {org.uuid or 'no UUID told'}).")
    if org.application_key and not output.as_json:
        output.note("Its administrator's application key is shown this once:")
        output.text(org.application_key)
    return 0


def run_list(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().get("/orgs")
    session.output.document(raw)
    session.output.table(
        ("ID", "NAME", "UUID", "MADE"),
        [
            (
                "-" if org.org_id is None else str(org.org_id),
                org.name or "-",
                org.uuid or "-",
                moment(parse_time(org.created_at)),
            )
            for org in typed(raw, Orgs).orgs
        ],
    )
    return 0


def run_audit(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().get("/audit", {"limit": arguments.limit, "before": arguments.before})
    session.output.document(raw)
    session.output.table(
        ("ID", "WHEN", "WHO", "WHAT", "SUBJECT", "SUMMARY"),
        [
            (
                str(event.id),
                moment(parse_time(event.at)),
                event.actor or "-",
                event.action or "-",
                event.subject or "-",
                event.summary or "-",
            )
            for event in typed(raw, Audit).events
        ],
        empty="Nothing was done yet.",
    )
    return 0
