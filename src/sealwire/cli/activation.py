"""Application Security on and off, as ASM_FEATURES configs named ``activation``.

One such config per exact targeting. What several of them mean together for one client is the control
plane's decision; here it is only told where another one has a say.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from sealwire.cli import targeting
from sealwire.cli.answers import Client, Clients, Config, typed
from sealwire.cli.api import AdminApi
from sealwire.cli.arguments import Session
from sealwire.cli.revise import (
    Held,
    Outcome,
    active,
    exactly,
    report,
    retire,
    save,
    sentence_case,
    until_nobody_interferes,
)
from sealwire.errors import SealwireError

ACTIVATION = "activation"


def run_enable(arguments: argparse.Namespace, session: Session) -> int:
    target = _activation_target(arguments)
    api = session.connect()

    def change() -> Outcome:
        listed = active(api, "ASM_FEATURES")
        existing = exactly(listed, ACTIVATION, target)
        notes = tuple(_activation_notes(listed, target, existing, is_on=True))
        where = targeting.in_words(target)
        if existing is not None and says_on(existing[1]) is True:
            config = existing[1]
            sentence = f"Application Security was already on for {where} ({_named(config)})."
            return Outcome(existing[0], False, sentence, notes)
        payload = {**(existing[1].payload if existing else {}), "asm": {"enabled": True}}
        raw, config = save(api, existing, "ASM_FEATURES", ACTIVATION, target, payload, arguments.reason)
        sentence = f"Application Security is on for {where} ({_named(config)})."
        return Outcome(raw, True, sentence, notes)

    return report(until_nobody_interferes(change), session)


def run_disable(arguments: argparse.Namespace, session: Session) -> int:
    target = _activation_target(arguments)
    api = session.connect()

    def change() -> Outcome:
        listed = active(api, "ASM_FEATURES")
        existing = exactly(listed, ACTIVATION, target)
        notes = tuple(_activation_notes(listed, target, existing, is_on=False))
        return _force_off(existing, notes) if arguments.force_off else _take_back(existing, notes)

    def _force_off(existing: Held | None, notes: tuple[str, ...]) -> Outcome:
        where = targeting.in_words(target)
        if existing is not None and says_on(existing[1]) is False:
            config = existing[1]
            sentence = f"Application Security was already told to be off for {where} ({_named(config)})."
            return Outcome(existing[0], False, sentence, notes)
        payload = {**(existing[1].payload if existing else {}), "asm": {"enabled": False}}
        raw, config = save(api, existing, "ASM_FEATURES", ACTIVATION, target, payload, arguments.reason)
        sentence = f"Application Security is off for {where} ({_named(config)})."
        return Outcome(raw, True, sentence, notes)

    def _take_back(existing: Held | None, notes: tuple[str, ...]) -> Outcome:
        where = targeting.in_words(target)
        if existing is None or says_on(existing[1]) is None:
            return Outcome(
                None, False, f"There is no activation for exactly {where}; nothing was changed.", notes
            )
        config = existing[1]
        if says_on(config) is False:
            sentence = (
                f"{sentence_case(where)} is told to be off ({_named(config)}); "
                f"nothing was changed. To take that back: sealwire config retire {config.id}"
            )
            return Outcome(existing[0], False, sentence, notes)
        rest = {key: value for key, value in config.payload.items() if key != "asm"}
        if rest:
            raw, _ = save(api, existing, "ASM_FEATURES", ACTIVATION, target, rest, arguments.reason)
        else:
            raw, _ = retire(api, config)
        sentence = (
            f"The activation for {where} was taken back (config {config.id}); "
            "applications go by their own settings again."
        )
        return Outcome(raw, True, sentence, notes)

    return report(until_nobody_interferes(change), session)


def _named(config: Config) -> str:
    return f"config {config.id}, revision {config.revision}"


def _activation_target(arguments: argparse.Namespace) -> dict[str, object]:
    target = targeting.from_arguments(arguments)
    if bool(target) == arguments.everywhere:
        arguments.usage_error(
            "say for whom: --service S, --env E, or --everywhere alone for the whole organisation"
        )
    return target


def _activation_notes(
    listed: list[Held],
    target: Mapping[str, object],
    own: Held | None,
    *,
    is_on: bool,
) -> list[str]:
    """What other configs still say about clients that this target covers."""
    notes = []
    for _, config in listed:
        says = says_on(config)
        if says is None or says == is_on or (own and own[1].id == config.id):
            continue
        if not targeting.overlap(config.targeting, target):
            continue
        where = targeting.in_words(config.targeting)
        word = "on" if says else "off"
        if targeting.specificity(config.targeting) > targeting.specificity(target):
            notes.append(f"{sentence_case(where)} stays {word}: its config {config.id} is more specific.")
        elif targeting.specificity(config.targeting) == targeting.specificity(target) and targeting.normal(
            target
        ):
            notes.append(
                f"Config {config.id} says {word} for {where} and counts as much: the newer one wins there."
            )
        elif not is_on:
            what = (
                "An organisation-wide activation"
                if not targeting.normal(config.targeting)
                else f"The activation for {where}"
            )
            notes.append(f"{what} remains (config {config.id}); use --force-off to be off in spite of it.")
    return notes


def says_on(config: Config) -> bool | None:
    """Whether the config switches on (True) or off (False); None if it does not speak of it."""
    asm = config.payload.get("asm")
    enabled = asm.get("enabled") if isinstance(asm, dict) else None
    return enabled if isinstance(enabled, bool) else None


def hint(api: AdminApi, target: Mapping[str, object]) -> str:
    """What to do next if nothing would enforce a block yet; empty if something does, or nobody can tell."""
    try:
        activations = [config for _, config in active(api, "ASM_FEATURES")]
        if any(says_on(config) and targeting.overlap(config.targeting, target) for config in activations):
            return ""
        clients = typed(api.get("/clients"), Clients).clients
    except SealwireError:
        return ""  # The block itself succeeded; a hint is not worth a failure.
    if any("ASM_DATA" in client.products and _is_meant(client, target) for client in clients):
        return ""
    who = "No service in this target" if target else "No service"
    return (
        f"{who} has Application Security on, so nothing enforces this yet. "
        "Switch it on: sealwire asm enable --service SERVICE"
    )


def _is_meant(client: Client, target: Mapping[str, object]) -> bool:
    return targeting.overlap({"service": client.service, "env": client.env}, target)
