"""Blocking and unblocking. What may hurt is asked about first, with the control plane's own words."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from urllib.parse import urlencode

from sealwire.cli import targeting
from sealwire.cli.activation import report
from sealwire.cli.answers import CheckedBlock, Draft, typed
from sealwire.cli.arguments import Session, confirmed
from sealwire.errors import SealwireError


def run_block_ip(arguments: argparse.Namespace, session: Session) -> int:
    return _block("suspicious" if arguments.suspicious else "ip", arguments, session)


def run_block_user(arguments: argparse.Namespace, session: Session) -> int:
    return _block("user", arguments, session)


def run_unblock_ip(arguments: argparse.Namespace, session: Session) -> int:
    return _unblock("suspicious" if arguments.suspicious else "ip", arguments, session)


def run_unblock_user(arguments: argparse.Namespace, session: Session) -> int:
    return _unblock("user", arguments, session)


def _block(kind: str, arguments: argparse.Namespace, session: Session) -> int:
    api = session.connect()
    body: dict[str, object] = {
        "kind": kind,
        "values": arguments.values,
        **targeting.from_arguments(arguments),
        "reason": arguments.reason or "",
    }
    if arguments.span is not None:
        body["for_s"] = max(1, int(arguments.span.total_seconds()))
    checked = typed(api.post("/protect/denylist:check", body), CheckedBlock).values
    risks = [risk for one in checked for risk in one.risks]
    for risk in risks:
        session.output.note(f"Careful: {risk}")
    if risks and not confirmed(arguments, session, question="Block nevertheless?"):
        raise SealwireError("Nothing was blocked. Add --yes if this is meant.")
    for one in checked:
        if one.typed.strip() != one.value:
            session.output.note(f"{one.typed} is written {one.value}.")
    return report(api.post("/protect/denylist", {**body, "confirm": True}), session, kind=kind)


def _unblock(kind: str, arguments: argparse.Namespace, session: Session) -> int:
    asked = {
        "kind": kind,
        "value": arguments.values,
        **targeting.from_arguments(arguments),
        "reason": arguments.reason or "",
    }
    raw = session.connect().delete(f"/protect/denylist?{urlencode(asked, doseq=True)}")
    return report(raw, session, kind=kind)


def run_import(arguments: argparse.Namespace, session: Session) -> int:
    """Block a list from a file, after saying what is wrong with it."""
    try:
        text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SealwireError(f"{arguments.file} cannot be read: {error}.") from error
    api, output = session.connect(), session.output
    body: dict[str, object] = {
        "kind": arguments.kind,
        "text": text,
        **targeting.from_arguments(arguments),
        "reason": arguments.reason or "",
    }
    if arguments.span is not None:
        body["for_s"] = max(1, int(arguments.span.total_seconds()))
    raw = api.post("/protect/drafts", body)
    draft = typed(raw, Draft)
    if output.as_json and arguments.dry_run:
        output.document(raw)
    for problem in draft.problems:
        output.note(f"Line {problem.line:,}: {problem.message}")
    for risk in draft.risks:
        output.note(f"Careful, line {risk.line:,}: {risk.message}")
    if not output.as_json:
        output.say(
            f"{draft.good:,} can be blocked: {draft.new:,} new, {draft.extended:,} last otherwise, "
            f"{draft.already:,} there already, {draft.covered:,} covered by a wider network. "
            f"The file would have {draft.file_entries:,} entries, {draft.file_size:,} bytes."
        )
    if arguments.dry_run:
        api.delete(f"/protect/drafts/{draft.id}")
        return 0
    kept = f"The list is kept as /protect/import/{draft.id} on the control plane's pages."
    if draft.bad and not arguments.skip_bad:
        raise SealwireError(
            f"Nothing was blocked: {draft.bad:,} lines cannot be read. {kept} "
            "Add --skip-bad to block the rest."
        )
    if draft.dangerous and not confirmed(arguments, session, question="Block nevertheless?"):
        raise SealwireError(f"Nothing was blocked. {kept} Add --yes if this is meant.")
    done = api.post(f"/protect/drafts/{draft.id}/block", {"confirm": True})
    return report(done, session, kind=arguments.kind)
