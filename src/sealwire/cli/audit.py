"""The audit trail: who did what, its head to note elsewhere, and an export to keep.

`sealwire audit verify` is not here: it works where the database is, or on an export without any server.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sealwire.cli.answers import Audit, AuditHead, typed
from sealwire.cli.arguments import Groups, Session, group, leaf, number_from
from sealwire.cli.output import moment, parse_time
from sealwire.errors import SettingsError

_FILTERS = ("actor", "action", "subject", "address", "text", "until")


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``audit`` into the tree."""
    audit = group(groups, "audit", summary="Who changed what, and when")
    listing = leaf(
        audit, "list", run_list, summary="Show what was done, newest first.",
        more="""
examples:
  sealwire audit list --action 'config.*' --actor 'ann*' --from 2026-11-01
  sealwire audit list --text denylist
In a filter a star stands for anything and a comma for or.""",
    )  # fmt: skip
    listing.add_argument(
        "--limit", type=number_from(1), default=50, metavar="N", help="how many (default: 50)"
    )
    listing.add_argument("--before", metavar="ID", help="only events older than this one")
    _declare_filters(listing)
    leaf(
        audit, "head", run_head, summary="Show where the chain of the trail ends, to note it elsewhere.",
        more="""
`sealwire audit verify --expect-head HASH` finds a trail that was written anew after you noted its head.
`sealwire audit verify` alone finds what was changed, is missing or was put in; it runs on the server, or
anywhere on an export: `sealwire audit verify FILE.jsonl`.""",
    )  # fmt: skip
    export = leaf(audit, "export", run_export, summary="Write the trail to a file.")
    export.add_argument("file", type=Path, metavar="FILE")
    export.add_argument(
        "--format", choices=("jsonl", "csv"), default="jsonl",
        help="JSON lines, which can be verified (default), or CSV",
    )  # fmt: skip
    _declare_filters(export)


def _declare_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--actor", metavar="WHO", help="who did it")
    parser.add_argument("--action", metavar="WHAT", help="such as config.changed")
    parser.add_argument("--subject", metavar="OF", help="what it was done to, such as 'config 0123*'")
    parser.add_argument("--address", metavar="IP", help="where it was asked from")
    parser.add_argument("--text", metavar="WORDS", help="anywhere in an event")
    parser.add_argument("--from", dest="begin", metavar="TIME", help="not before this time or day (UTC)")
    parser.add_argument("--until", metavar="TIME", help="before this time or day (UTC)")


def _filters(arguments: argparse.Namespace) -> dict[str, str | int | None]:
    return {**{name: getattr(arguments, name) for name in _FILTERS}, "from": arguments.begin}


def run_list(arguments: argparse.Namespace, session: Session) -> int:
    query = {"limit": arguments.limit, "before": arguments.before, **_filters(arguments)}
    raw = session.connect().get("/audit", query)
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


def run_head(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().get("/audit/head")
    session.output.document(raw)
    head = typed(raw, AuditHead)
    session.output.text(head.sha256 or "-")
    session.output.note(f"{head.events} events; keep this hash somewhere else than on the server.")
    return 0


def run_export(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.file.exists():
        raise SettingsError(f"{arguments.file} exists already; choose another name.")
    partial = arguments.file.with_name(f"{arguments.file.name}.part")
    query = {"format": arguments.format, **_filters(arguments)}
    try:
        with partial.open("xb") as stream:
            size = session.connect().download("/audit/export", query, stream)
        partial.replace(arguments.file)
    except OSError as error:
        raise SettingsError(f"{arguments.file} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    session.output.document({"file": str(arguments.file), "bytes": size})
    session.output.say(f"Wrote {arguments.file}, {size:,} bytes.")
    return 0
