"""A probe as it is kept: its config, what it has besides, and what both come to at a moment.

Pure: rows in, values out. Hides that a probe that is paused is a retired config with a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Final, NamedTuple

from sealwire.products.live_debugging import MINUTES_OTHERWISE, MINUTES_WITH_VALUES
from sealwire.server.debugger.authoring import probe_configs, probes
from sealwire.server.debugger.authoring.probes import Probe, ProbeKind
from sealwire.server.debugger.expressions import printer, templates
from sealwire.server.store import rows
from sealwire.server.store.probes import NoteRow

MINUTE_MS: Final = 60_000


class ProbeState(StrEnum):
    """What has become of a probe, as far as the control plane decides."""

    ACTIVE = "active"
    PAUSED = "paused"
    EXPIRED = "expired"
    REMOVED = "removed"


class ProbeRow(NamedTuple):
    """A probe.

    Attributes:
        config: The config it is; ``config.revision`` is what a change names as the one it saw.
        document: What its author asked for, as ``probes.parse`` reads it.
        version: What tracers call this content.
        service: The one it is for.
        envs: Empty: every environment.
        paused_by, paused_ms: Empty and None unless it is paused.
        expires_in_minutes: How long it lasts from each change.
        stop_id: The stop that paused it; empty: somebody did.
    """

    probe_id: str
    config: rows.ConfigRow
    probe: Probe
    document: dict[str, object]
    version: int
    state: ProbeState
    service: str
    envs: tuple[str, ...]
    paused_by: str
    paused_ms: int | None
    expires_in_minutes: int
    stop_id: str


class Known(NamedTuple):
    """A probe as far as what arrives from programs must know it.

    Attributes:
        template: Text of the message of a log; empty for others.
        asked: What it captures by name, with the texts of the expressions.
        ended_ms: When it is or was over; None: it is in force and has no end, or is paused.
    """

    probe_id: str
    service: str
    envs: tuple[str, ...]
    kind: ProbeKind
    state: ProbeState
    version: int
    template: str
    name: str
    probe: Probe
    ended_ms: int | None
    asked: Mapping[str, str]


def state_of(config: rows.ConfigRow, note: NoteRow | None, now_ms: int) -> ProbeState:
    """What has become of a probe at a moment."""
    if config.state == "active":
        is_over = config.expires_ms is not None and config.expires_ms <= now_ms
        return ProbeState.EXPIRED if is_over else ProbeState.ACTIVE
    is_paused = note is not None and note.paused_revision == config.revision
    return ProbeState.PAUSED if is_paused else ProbeState.REMOVED


def probe_row(config: rows.ConfigRow, note: NoteRow | None, now_ms: int) -> ProbeRow:
    """A probe at a moment."""
    probe, version = probe_configs.stored(config.payload)
    minutes = _minutes(config, note, probe)
    probe = replace(probe, expires_in_minutes=minutes)
    state = state_of(config, note, now_ms)
    is_paused = note is not None and state is ProbeState.PAUSED
    return ProbeRow(
        probe_id=probe_configs.probe_id(config.config_id),
        config=config,
        probe=probe,
        document=probes.to_document(probe),
        version=version,
        state=state,
        service=_names(config, "service")[0] if _names(config, "service") else "",
        envs=_names(config, "env"),
        paused_by=note.paused_by if note is not None and is_paused else "",
        paused_ms=note.paused_ms if note is not None and is_paused else None,
        expires_in_minutes=minutes,
        stop_id=note.stop_id if note is not None and is_paused else "",
    )


def known(config: rows.ConfigRow, note: NoteRow | None, now_ms: int) -> Known:
    """A probe as far as what arrives must know it."""
    probe, version = probe_configs.stored(config.payload)
    state = state_of(config, note, now_ms)
    services = _names(config, "service")
    return Known(
        probe_id=probe_configs.probe_id(config.config_id),
        service=services[0] if services else "",
        envs=_names(config, "env"),
        kind=probe.kind,
        state=state,
        version=version,
        template=templates.text_of(probe.template) if probe.template is not None else "",
        name=config.name,
        probe=probe,
        ended_ms=config.expires_ms
        if config.state == "active"
        else None
        if state is ProbeState.PAUSED
        else config.updated_ms,
        asked={each.name: printer.text_of(each.expression) for each in probe.asked},
    )


def _names(config: rows.ConfigRow, field: str) -> tuple[str, ...]:
    return tuple(config.targeting.get(field) or ())


def _minutes(config: rows.ConfigRow, note: NoteRow | None, probe: Probe) -> int:
    """How long it lasts from each change: as its author said, else as its end tells."""
    if note is not None:
        return note.minutes
    if config.expires_ms is not None:
        return min(probes.MAX_MINUTES, max(1, round((config.expires_ms - config.updated_ms) / MINUTE_MS)))
    return MINUTES_WITH_VALUES if probe.takes_values else MINUTES_OTHERWISE


Change = tuple[str, object, object]


def changes(before: Mapping[str, object] | None, after: Mapping[str, object]) -> tuple[Change, ...]:
    """What differs between two documents: JSON path, before, after; None stands for what is not there."""
    return tuple(_changes("$", before or {}, after))


def _changes(path: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[Change]:
    for key in (*after, *(key for key in before if key not in after)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(f"{path}.{key}", old, new)
        else:
            yield f"{path}.{key}", old, new
