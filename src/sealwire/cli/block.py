"""Blocking and unblocking, as ASM_DATA configs named ``denylist``.

One such config per exact targeting, by default the whole organisation's. Each write also drops what
has lapsed; when nobody is left on the list its config is retired.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from sealwire.cli import denylist, targeting
from sealwire.cli.activation import hint
from sealwire.cli.arguments import Session, confirmed
from sealwire.cli.denylist import Entry, Kind
from sealwire.cli.output import moment
from sealwire.cli.revise import Held, Outcome, active, exactly, report, retire, save, until_nobody_interferes
from sealwire.errors import InvalidChangeError, NotFoundError, SealwireError

DENYLIST = "denylist"


def run_block_ip(arguments: argparse.Namespace, session: Session) -> int:
    addresses = _addresses(arguments.values)
    risks = [address.risk for address in addresses if address.risk]
    for risk in risks:
        session.output.note(f"Careful: {risk}")
    if risks and not confirmed(arguments, session, question="Block nevertheless?"):
        raise SealwireError("Nothing was blocked. Add --yes if this is meant.")
    for address, text in zip(addresses, arguments.values, strict=True):
        if address.was_rewritten:
            session.output.note(f"{text} is written {address.value}.")
    return _run_block(
        Kind.IP, list(dict.fromkeys(address.value for address in addresses)), arguments, session
    )


def run_block_user(arguments: argparse.Namespace, session: Session) -> int:
    return _run_block(Kind.USER, _users(arguments.values), arguments, session)


def _run_block(kind: Kind, values: list[str], arguments: argparse.Namespace, session: Session) -> int:
    target = targeting.from_arguments(arguments)
    api = session.connect()
    now = session.now()
    now_s = int(now.timestamp())
    until_s = int((now + arguments.span).timestamp()) if arguments.span else None

    def change() -> Outcome:
        existing = exactly(active(api, "ASM_DATA"), DENYLIST, target)
        before = denylist.tidied(existing[1].payload if existing else {}, now_s=now_s)
        listed = denylist.entries(before, kind)
        notes, blocked = [], []
        for value in values:
            entry = Entry(value, until_s)
            if kind is Kind.IP and (wider := denylist.covering(listed, entry)) is not None:
                notes.append(
                    f"{value} is already blocked: {wider.value} is, {_until(wider.until_s, now_s=now_s)}."
                )
                continue
            listed = denylist.added(listed, entry)
            blocked.append(value)
        if not blocked and existing is not None:
            return Outcome(existing[0], False, "Nothing was changed.", tuple(notes))
        payload = denylist.tidied(denylist.replaced(before, kind, listed), now_s=now_s)
        raw, config = save(api, existing, "ASM_DATA", DENYLIST, target, payload, arguments.reason)
        where = f" for {targeting.in_words(target)}" if target else ""
        sentence = (
            f"Blocked {', '.join(blocked)}{where} {_until(until_s, now_s=now_s)} "
            f"(config {config.id}, revision {config.revision})"
        )
        return Outcome(raw, True, sentence, tuple(notes))

    outcome = until_nobody_interferes(change)
    return report(outcome, session, hint(api, target))


def run_unblock_ip(arguments: argparse.Namespace, session: Session) -> int:
    values = list(dict.fromkeys(address.value for address in _addresses(arguments.values)))
    return _run_unblock(Kind.IP, values, arguments, session)


def run_unblock_user(arguments: argparse.Namespace, session: Session) -> int:
    return _run_unblock(Kind.USER, _users(arguments.values), arguments, session)


def _run_unblock(kind: Kind, values: list[str], arguments: argparse.Namespace, session: Session) -> int:
    target = targeting.from_arguments(arguments)
    api = session.connect()
    now_s = int(session.now().timestamp())

    def change() -> Outcome:
        listed_configs = active(api, "ASM_DATA")
        existing = exactly(listed_configs, DENYLIST, target)
        # By what is written there, before lapsed entries go: unblocking one that just lapsed is no mistake.
        held = denylist.entries(existing[1].payload, kind) if existing else []
        gone = [value for value in values if any(entry.value == value for entry in held)]
        kept = [entry for entry in held if entry.value not in gone]
        notes = [
            *(
                f"{value} was not blocked for {targeting.in_words(target)}."
                for value in values
                if value not in gone
            ),
            *_still_blocked(listed_configs, kind, values, existing, kept, now_s=now_s),
        ]
        if existing is None or not gone:
            raise NotFoundError(" ".join(["Nothing was changed.", *notes]))
        config = existing[1]
        payload = denylist.tidied(denylist.replaced(config.payload, kind, kept), now_s=now_s)
        sentence = f"Unblocked {', '.join(gone)}"
        if denylist.is_empty(payload):
            raw, config = retire(api, config)
            sentence += f"; nobody is left on this list (config {config.id} is retired)"
        else:
            raw, config = save(api, existing, "ASM_DATA", DENYLIST, target, payload, arguments.reason)
            sentence += f" (config {config.id}, revision {config.revision})"
        return Outcome(raw, True, sentence, tuple(notes))

    return report(until_nobody_interferes(change), session)


def _still_blocked(
    listed_configs: list[Held],
    kind: Kind,
    values: list[str],
    existing: Held | None,
    kept: list[Entry],
    *,
    now_s: int,
) -> list[str]:
    """Sentences about what blocks these values even after the change."""
    notes = []
    for _, config in listed_configs:
        is_own = existing is not None and config.id == existing[1].id
        live = denylist.alive(kept if is_own else denylist.entries(config.payload, kind), now_s=now_s)
        for value in values:
            for entry in denylist.still_covering(live, value):
                where = targeting.in_words(config.targeting)
                option = targeting.as_flags(config.targeting)
                notes.append(
                    f"{value} stays blocked for {where} by {entry.value}: "
                    f"sealwire asm unblock {kind.name.lower()} {entry.value}{option}"
                    if config.name == DENYLIST
                    else f"{value} stays blocked for {where} by {entry.value} in config {config.id}."
                )
    return notes


def _addresses(values: list[str]) -> list[denylist.Address]:
    try:
        return [denylist.canonical_address(value) for value in values]
    except ValueError as error:
        raise InvalidChangeError(str(error)) from error


def _users(values: list[str]) -> list[str]:
    if not all(values):
        raise InvalidChangeError("A user id is not empty.")
    return list(dict.fromkeys(values))


def _until(until_s: int | None, *, now_s: int) -> str:
    if until_s is None:
        return "until unblocked"
    when = datetime.fromtimestamp(until_s, UTC)
    # Minutes are exact enough for people, unless the whole block lasts only a few of them.
    is_short = until_s - now_s < 600
    return f"until {when.strftime('%Y-%m-%d %H:%M:%S UTC') if is_short else moment(when)}"
