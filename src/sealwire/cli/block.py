"""Blocking and unblocking. What may hurt is asked about first, with the control plane's own words."""

from __future__ import annotations

import argparse
from urllib.parse import urlencode

from sealwire.cli import targeting
from sealwire.cli.activation import report
from sealwire.cli.answers import CheckedBlock, typed
from sealwire.cli.arguments import Session, confirmed
from sealwire.errors import SealwireError


def run_block_ip(arguments: argparse.Namespace, session: Session) -> int:
    return _block("ip", arguments, session)


def run_block_user(arguments: argparse.Namespace, session: Session) -> int:
    return _block("user", arguments, session)


def run_unblock_ip(arguments: argparse.Namespace, session: Session) -> int:
    return _unblock("ip", arguments, session)


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
