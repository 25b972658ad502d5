"""Probes by the admin API: listed, tried, made, changed, paused, removed; and stopped all at once.

What changes a probe lets in whoever may set any, and asks for more inside, as it
depends on the environments it is for and on what it brings out (``desk``, ``authoring.editing``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, TypedDict

import msgspec
from litestar import delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.debugger.authoring.desk import READ, WRITES, Checked, ProbeRow, Saved, Stop, Stopped

MAY: Final = {"permission": READ}
MAY_CHANGE: Final = {"permission": WRITES}
_MISSING = msgspec.UNSET

Revision = Annotated[int | None, QueryParameter(ge=0, le=shapes.MAX_REVISION)]


class NewProbe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A probe to make.

    Attributes:
        env: Empty: every environment.
        targeting: More of it, such as app_version.
        document: What it asks a program for.
    """

    service: str
    document: Any
    env: list[str] = msgspec.field(default_factory=list)
    name: str = ""
    comment: str = ""
    targeting: dict[str, Any] = msgspec.field(default_factory=dict)


class TriedProbe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A probe to try; with ``probe_id`` as a change of that one, then what is not given stays."""

    document: Any = _MISSING
    service: str | msgspec.UnsetType = _MISSING
    env: list[str] | msgspec.UnsetType = _MISSING
    name: str | msgspec.UnsetType = _MISSING
    comment: str | msgspec.UnsetType = _MISSING
    targeting: dict[str, Any] | msgspec.UnsetType = _MISSING
    probe_id: str | None = None


class ChangedProbe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of a probe: what is not given stays."""

    expected_revision: shapes.RevisionNumber
    document: Any = _MISSING
    name: str | msgspec.UnsetType = _MISSING
    comment: str | msgspec.UnsetType = _MISSING


class ProbeCopy(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the same probe shall be too."""

    service: str
    env: list[str] = msgspec.field(default_factory=list)
    name: str | None = None


class ProbePause(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A probe to pause."""

    expected_revision: shapes.RevisionNumber | None = None
    comment: str = ""


class ProbeResumption(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A probe to put back."""

    expected_revision: shapes.RevisionNumber | None = None


class NewStop(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to stop: without service every one, without env every one.

    Attributes:
        dry_run: Only say what it would pause.
    """

    reason: str
    service: str = ""
    env: str = ""
    dry_run: bool = False


class ProbeSaid(TypedDict):
    """A probe.

    Attributes:
        config_id: The config it is.
        state: active, paused, expired or removed.
        version: What tracers call this content.
        document: What it asks a program for; no value of a program is in it.
        env: Empty: every environment.
        where: Its place, in words.
        shows_values: Whether values of the program come out by it.
        expires_in_minutes: How long it lasts from each change.
        stop_id: The stop that paused it; empty: somebody did.
    """

    id: str
    config_id: str
    name: str
    kind: str
    language: str
    service: str
    env: list[str]
    targeting: dict[str, Any]
    where: str
    document: dict[str, Any]
    version: int
    revision: int
    state: str
    shows_values: bool
    created_at: str
    updated_at: str
    updated_by: str
    comment: str
    expires_at: str | None
    expires_in_minutes: int
    paused_by: str
    paused_at: str | None
    stop_id: str


class SavedProbe(ProbeSaid):
    """A probe that was saved.

    Attributes:
        warnings: What its author should know.
    """

    warnings: list[shapes.ProblemAt]


class Probes(TypedDict):
    """Probes, last changed first."""

    probes: list[ProbeSaid]


class ProbeCost(TypedDict):
    """What a probe takes of a program, in the worst case."""

    per_second: float
    says: list[str]


class ProbeReceiver(TypedDict):
    """A process that would get a probe."""

    client_id: str
    service: str
    env: str
    language: str
    tracer_version: str
    host: str


class ProbeCheck(TypedDict):
    """What came of trying a probe.

    Attributes:
        problems: Why it cannot be saved; nothing else is said then.
        refusals: Why tracers of its language would not take it.
        processes: How many would get it; they are named to those who may see the fleet.
        notices: What keeps processes it is for from getting it.
        permitted: Whether whoever asks may save it.
    """

    problems: list[shapes.ProblemAt]
    refusals: list[shapes.ProblemAt]
    warnings: list[shapes.ProblemAt]
    cost: ProbeCost | None
    processes: int
    matches: list[ProbeReceiver]
    notices: list[str]
    permitted: bool


class ProbeChange(TypedDict):
    """What differs at a JSON path of the document; null: it is not there."""

    path: str
    before: Any
    after: Any


class ProbeRevisionSaid(TypedDict):
    """One revision of a probe.

    Attributes:
        state: active or retired: out of the programs.
        changes: Against the one before.
    """

    revision: int
    version: int
    at: str
    by: str
    comment: str
    state: str
    document: dict[str, Any]
    changes: list[ProbeChange]


class ProbeHistory(TypedDict):
    """Revisions, newest first."""

    revisions: list[ProbeRevisionSaid]


class StopSaid(TypedDict):
    """A stop.

    Attributes:
        count: Probes it paused.
        lifted_at: Null while it holds.
    """

    id: str
    service: str
    env: str
    reason: str
    by: str
    at: str
    count: int
    lifted_by: str
    lifted_at: str | None


class ProbeStops(TypedDict):
    """Stops, newest first."""

    stops: list[StopSaid]


class StoppedSaid(TypedDict):
    """What a stop paused, or what its end brought back.

    Attributes:
        stop_id: Empty: it was a dry run.
    """

    stop_id: str
    count: int
    probes: list[ProbeSaid]


# How it is said -------------------------------------------------------------------------------------------


def probe_said(row: ProbeRow) -> ProbeSaid:
    """A probe as the API says it."""
    config = row.config
    return {
        "id": row.probe_id,
        "config_id": config.config_id,
        "name": config.name,
        "kind": row.probe.kind.value,
        "language": row.probe.language,
        "service": row.service,
        "env": list(row.envs),
        "targeting": dict(config.targeting),
        "where": str(row.probe.where),
        "document": row.document,
        "version": row.version,
        "revision": config.revision,
        "state": row.state.value,
        "shows_values": row.probe.shows_values,
        "created_at": shapes.time(config.created_ms),
        "updated_at": shapes.time(config.updated_ms),
        "updated_by": config.updated_by,
        "comment": config.comment,
        "expires_at": shapes.time_or_none(config.expires_ms),
        "expires_in_minutes": row.expires_in_minutes,
        "paused_by": row.paused_by,
        "paused_at": shapes.time_or_none(row.paused_ms),
        "stop_id": row.stop_id,
    }


def _saved(saved: Saved) -> SavedProbe:
    return {**probe_said(saved.probe), "warnings": shapes.problems(saved.warnings)}


def _checked(found: Checked) -> ProbeCheck:
    return {
        "problems": shapes.problems(found.problems),
        "refusals": shapes.problems(found.refusals),
        "warnings": shapes.problems(found.warnings),
        "cost": None
        if found.cost is None
        else {"per_second": found.cost.per_second, "says": list(found.cost.says)},
        "processes": found.processes,
        "matches": [
            {
                "client_id": line.client_id,
                "service": str(line.facts.get("service", "")),
                "env": str(line.facts.get("env", "")),
                "language": str(line.facts.get("language", "")),
                "tracer_version": str(line.facts.get("tracer_version", "")),
                "host": line.hostname,
            }
            for line in found.matches
        ],
        "notices": list(found.notices),
        "permitted": found.permitted,
    }


def _stop(stop: Stop) -> StopSaid:
    return {
        "id": stop.stop_id,
        "service": stop.service,
        "env": stop.env,
        "reason": stop.reason,
        "by": stop.by,
        "at": shapes.time(stop.at_ms),
        "count": stop.count,
        "lifted_by": stop.lifted_by,
        "lifted_at": shapes.time_or_none(stop.lifted_ms),
    }


def _stopped(found: Stopped) -> StoppedSaid:
    return {
        "stop_id": found.stop_id,
        "count": found.count,
        "probes": [probe_said(row) for row in found.probes],
    }


def _given(data: msgspec.Struct, names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(data, name)) is not _MISSING}


# Looking --------------------------------------------------------------------------------------------------


@get("/debugger/probes", opt=MAY)
async def list_probes(
    tenant: OwnTenant,
    principal: Asker,
    probe_state: Annotated[str, QueryParameter(name="state")] = "live",
    service: FromQuery[str] = "",
    env: FromQuery[str] = "",
    kind: FromQuery[str] = "",
    q: Annotated[str, QueryParameter(max_length=1000)] = "",
) -> Probes:
    """Probes, last changed first, at most 2000.

    ``state`` is live (active or paused), active, paused, over (expired or removed) or all; ``q`` is looked
    for in names, places, messages and ids.
    """
    found = await tenant.probes.list(
        principal, state=probe_state, service=service, env=env, kind=kind, text=q
    )
    return {"probes": [probe_said(row) for row in found]}


@get("/debugger/probes/{probe_id:str}", opt=MAY)
async def get_probe(probe_id: FromPath[str], tenant: OwnTenant, principal: Asker) -> ProbeSaid:
    """One probe."""
    return probe_said(await tenant.probes.get(principal, probe_id))


@get("/debugger/probes/{probe_id:str}/history", opt=MAY)
async def probe_history(probe_id: FromPath[str], tenant: OwnTenant, principal: Asker) -> ProbeHistory:
    """Every revision of a probe and what it changed, newest first."""
    found = await tenant.probes.history(principal, probe_id)
    return {
        "revisions": [
            {
                "revision": one.revision,
                "version": one.version,
                "at": shapes.time(one.at_ms),
                "by": one.by,
                "comment": one.comment,
                "state": one.state,
                "document": one.document,
                "changes": [
                    {"path": path, "before": before, "after": after} for path, before, after in one.changes
                ],
            }
            for one in found
        ]
    }


@post("/debugger/probes:check", status_code=200, opt=MAY)
async def check_probe(
    data: JSONBody[TriedProbe], tenant: OwnTenant, principal: Asker, plane: Plane
) -> ProbeCheck:
    """Try a probe without saving it: its problems, its cost, and who would get it."""
    fields = _given(data, ("document", "service", "env", "name", "comment", "targeting"))
    return _checked(await tenant.probes.check(principal, fields, probe_id=data.probe_id, now=plane.clock()))


# Changing -------------------------------------------------------------------------------------------------


@post("/debugger/probes", opt=MAY_CHANGE)
async def create_probe(
    data: JSONBody[NewProbe], tenant: OwnTenant, principal: Asker, plane: Plane
) -> SavedProbe:
    """Make a probe; it is published at once, and over after a time."""
    return _saved(await tenant.probes.create(principal, msgspec.structs.asdict(data), now=plane.clock()))


@put("/debugger/probes/{probe_id:str}", opt=MAY_CHANGE)
async def change_probe(
    probe_id: FromPath[str], data: JSONBody[ChangedProbe], tenant: OwnTenant, principal: Asker, plane: Plane
) -> SavedProbe:
    """Change a probe; its time begins again. ``expected_revision`` is the one its author saw."""
    saved = await tenant.probes.change(
        principal, probe_id, _given(data, ("document", "name", "comment")),
        expected_revision=data.expected_revision, now=plane.clock(),
    )  # fmt: skip
    return _saved(saved)


@post("/debugger/probes/{probe_id:str}/clone", opt=MAY_CHANGE)
async def clone_probe(
    probe_id: FromPath[str], data: JSONBody[ProbeCopy], tenant: OwnTenant, principal: Asker, plane: Plane
) -> SavedProbe:
    """Make the same probe for another service or other environments."""
    saved = await tenant.probes.clone(
        principal, probe_id, service=data.service, env=data.env, name=data.name, now=plane.clock()
    )
    return _saved(saved)


@post("/debugger/probes/{probe_id:str}/pause", status_code=200, opt=MAY_CHANGE)
async def pause_probe(
    probe_id: FromPath[str], data: JSONBody[ProbePause], tenant: OwnTenant, principal: Asker, plane: Plane
) -> ProbeSaid:
    """Take a probe out of the programs, and keep it."""
    row = await tenant.probes.pause(
        principal, probe_id, expected_revision=data.expected_revision, comment=data.comment,
        now=plane.clock(),
    )  # fmt: skip
    return probe_said(row)


@post("/debugger/probes/{probe_id:str}/resume", status_code=200, opt=MAY_CHANGE)
async def resume_probe(
    probe_id: FromPath[str],
    data: JSONBody[ProbeResumption],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> SavedProbe:
    """Put a paused, expired or removed probe back; its time begins again."""
    saved = await tenant.probes.resume(
        principal, probe_id, expected_revision=data.expected_revision, now=plane.clock()
    )
    return _saved(saved)


@delete("/debugger/probes/{probe_id:str}", status_code=200, opt=MAY_CHANGE)
async def remove_probe(
    probe_id: FromPath[str],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    expected_revision: Revision = None,
    comment: FromQuery[str] = "",
) -> ProbeSaid:
    """Take a probe away; its history stays."""
    row = await tenant.probes.remove(
        principal, probe_id, expected_revision=expected_revision, comment=comment, now=plane.clock()
    )
    return probe_said(row)


# All at once ----------------------------------------------------------------------------------------------


@get("/debugger/stops", opt=MAY)
async def list_stops(tenant: OwnTenant, principal: Asker, over: FromQuery[bool] = False) -> ProbeStops:
    """Stops that hold, newest first; with ``over`` those that were lifted too."""
    return {"stops": [_stop(one) for one in await tenant.probes.stops(principal, over=over)]}


@post("/debugger/stops", opt=MAY_CHANGE)
async def stop_probes(
    data: JSONBody[NewStop], tenant: OwnTenant, principal: Asker, plane: Plane
) -> StoppedSaid:
    """Pause every probe of a service, an environment or all, and let no new one in until it is lifted."""
    if data.dry_run:
        return _stopped(await tenant.probes.would_stop(principal, service=data.service, env=data.env))
    return _stopped(
        await tenant.probes.stop(
            principal, service=data.service, env=data.env, reason=data.reason, now=plane.clock()
        )
    )


@delete("/debugger/stops/{stop_id:str}", status_code=200, opt=MAY_CHANGE)
async def lift_stop(
    stop_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane, resume: FromQuery[bool] = False
) -> StoppedSaid:
    """End a stop; with ``resume`` the probes it paused come back."""
    return _stopped(await tenant.probes.lift(principal, stop_id, resume=resume, now=plane.clock()))


HANDLERS: list[ControllerRouterHandler] = [
    list_probes, get_probe, probe_history, check_probe, create_probe, change_probe, clone_probe, pause_probe,
    resume_probe, remove_probe, list_stops, stop_probes, lift_stop,
]  # fmt: skip
