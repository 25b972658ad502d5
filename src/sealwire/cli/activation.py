"""App and API Protection on and off. What several activations mean together the control plane decides."""

from __future__ import annotations

import argparse

from sealwire.cli import targeting
from sealwire.cli.answers import Note, Outcome, typed
from sealwire.cli.arguments import Session


def run_enable(arguments: argparse.Namespace, session: Session) -> int:
    return _switch("on", arguments, session)


def run_disable(arguments: argparse.Namespace, session: Session) -> int:
    return _switch("off" if arguments.force_off else "not_on", arguments, session)


def _switch(wanted: str, arguments: argparse.Namespace, session: Session) -> int:
    target = targeting.from_arguments(arguments)
    if bool(target) == arguments.everywhere:
        arguments.usage_error(
            "say for whom: --service S, --env E, or --everywhere alone for the whole organisation"
        )
    body = {"wanted": wanted, **target, "reason": arguments.reason or ""}
    return report(session.connect().post("/protect/activation", body), session)


def report(raw: object, session: Session, *, kind: str = "ip") -> int:
    """Tell what was done, and what else is worth knowing; gives the exit code.

    Args:
        kind: Of what was blocked or unblocked.
    """
    outcome = typed(raw, Outcome)
    notes = [_with_a_way_on(note, kind) for note in outcome.notes]
    output = session.output
    if output.as_json:
        config = raw.get("config") if isinstance(raw, dict) else None
        output.document({"changed": outcome.changed, "config": config, "notes": notes})
        return 0
    output.say(outcome.sentence)
    for note in notes:
        output.note(note)
    return 0


def _with_a_way_on(note: Note, kind: str) -> str:
    """What the control plane says, with the command that changes it."""
    match note.kind:
        case "wider_remains":
            return f"{note.words} To be off in spite of it, add --force-off."
        case "nothing_enforces":
            return f"{note.words} Switch it on: sealwire asm enable --service SERVICE"
        case "still_blocked" if note.value and set(note.targeting or {}) <= {"service", "env"}:
            flags = targeting.as_flags(note.targeting)
            what = "ip --suspicious" if kind == "suspicious" else kind
            return f"{note.words} To end that: sealwire asm unblock {what} {note.value}{flags}"
        case _:
            return note.words
