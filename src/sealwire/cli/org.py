"""Organisations: made, listed, switched on and off."""

from __future__ import annotations

import argparse
import time

from sealwire.cli.answers import Org, Orgs, OrgSettings, typed
from sealwire.cli.arguments import Groups, Session, group, leaf
from sealwire.cli.output import moment, parse_time

WATCH_EVERY_S = 0.5


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``org`` into the tree."""
    org = group(groups, "org", summary="Organisations: each has its own keys, configs and trust")
    create = leaf(org, "create", run_create, summary="Make an organisation with a trust domain of its own.")
    create.add_argument("name", metavar="NAME")
    leaf(org, "list", run_list, summary="Show the organisations.")
    leaf(org, "on", run_on, summary="Switch Remote Configuration on for the organisation.")
    off = leaf(
        org,
        "off",
        run_off,
        summary="Switch Remote Configuration off for the organisation.",
        more="""
First every agent that asks is given a signed state without configs; once all have fetched it, polls are
refused. This command waits for that; ended, it goes on without it, and `sealwire org on` calls it off.""",
    )
    off.add_argument("--at-once", action="store_true", help="refuse polls now, whatever agents hold")
    off.add_argument("--no-wait", action="store_true", help="begin, and do not wait for the end")


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


def run_on(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().put("/settings", {"remote_config": True})
    session.output.document(raw)
    session.output.say(f"Remote Configuration is on for {typed(raw, OrgSettings).name}.")
    return 0


def run_off(arguments: argparse.Namespace, session: Session) -> int:
    api, output = session.connect(), session.output
    raw = api.put("/settings", {"remote_config": False, "at_once": arguments.at_once})
    told = ""
    while not arguments.no_wait:
        settings = typed(raw, OrgSettings)
        progress = settings.withdrawal
        if settings.withdrawing_at is None or progress is None:
            break
        line = (
            f"{progress.fetched} of {progress.agents} agents have the empty state, "
            f"{progress.dropped} of {progress.clients} clients dropped what they had."
        )
        if line != told:
            output.note(line)
            told = line
        time.sleep(WATCH_EVERY_S)
        raw = api.get("/settings")
    output.document(raw)
    settings = typed(raw, OrgSettings)
    if settings.withdrawing_at is not None:
        output.say(f"Remote Configuration is going off for {settings.name}.")
    elif settings.remote_config:
        output.say(f"Somebody called it off: Remote Configuration is on for {settings.name}.")
        return 1
    else:
        output.say(f"Remote Configuration is off for {settings.name}.")
    return 0
