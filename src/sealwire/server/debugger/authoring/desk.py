"""Probes as people handle them: listed, made, changed, paused, removed.

A probe is a config of LIVE_DEBUGGING; what this module hides is everything that a probe has and a config has
not: that one can be paused, how long it shall last, who is meant by a service and its environments. The
switch that stops all at once is ``stops``, that of whole services ``service_switches``. Pages, the admin API
and the command line change probes here and nowhere else.

Invariants: whatever changes a probe goes through an ``Editor``, with its permissions and its history; a
change is audited with what differs in the document.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa
import structlog

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.products import PRODUCTS, ClientFacts, wording
from sealwire.server.access import Principal
from sealwire.server.authoring.author import Also
from sealwire.server.authoring.editing import Editor
from sealwire.server.debugger.authoring import probe_configs, probe_facts, probes
from sealwire.server.debugger.authoring.probe_fields import Draft, config_fields, in_fields, notices, under
from sealwire.server.debugger.authoring.probe_fields import read as read_fields
from sealwire.server.debugger.authoring.probe_rows import (
    MINUTE_MS,
    Known,
    ProbeRow,
    ProbeState,
    changes,
    known,
    probe_row,
)
from sealwire.server.debugger.authoring.probe_wire import PRODUCT
from sealwire.server.debugger.authoring.service_switches import ServiceSwitches, Switched
from sealwire.server.debugger.authoring.stops import Stopped, StopSwitch
from sealwire.server.fleet.overview import ClientLine
from sealwire.server.store import configs, read, rows, write
from sealwire.server.store import probes as store
from sealwire.server.store.database import Database
from sealwire.server.store.probes import NoteRow, Stop
from sealwire.server.targeting import Targeting

if TYPE_CHECKING:
    from sealwire.server.tenant import Tenant

__all__ = [
    "Checked", "Known", "ProbeDesk", "ProbeRevision", "ProbeRow", "ProbeState", "Saved", "Stop", "Stopped",
    "Switched",
]  # fmt: skip

log = structlog.get_logger()

READ: Final = "debugger_read"
WRITES: Final = ("debugger_write", "debugger_write_pre_prod")  # one of them, as far as it reaches
STATES: Final = ("live", "active", "paused", "over", "all")
KNOWN_MS: Final = 10 * MINUTE_MS  # what a program was doing when its probe went still arrives
MAX_HISTORY: Final = 500


class Checked(NamedTuple):
    """What came of trying a probe.

    Attributes:
        problems: Why it cannot be saved; nothing else is known then.
        refusals: Why tracers of the language would not take it; it can be saved.
        matches: Live clients that would get it; none for those who may not see the fleet.
        notices: What keeps clients it is for from getting it, such as Dynamic Instrumentation being off.
        processes: How many live clients would get it.
        permitted: Whether whoever asks may save it.
    """

    problems: tuple[Problem, ...]
    refusals: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    cost: probe_facts.Cost | None = None
    matches: tuple[ClientLine, ...] = ()
    notices: tuple[str, ...] = ()
    processes: int = 0
    permitted: bool = False


class Saved(NamedTuple):
    """A probe that was committed, and what its author should know."""

    probe: ProbeRow
    warnings: tuple[Problem, ...]


class ProbeRevision(NamedTuple):
    """One revision of a probe.

    Attributes:
        changes: Against the one before, as (JSON path of the document, before, after); None: not there.
    """

    revision: int
    version: int
    at_ms: int
    by: str
    comment: str
    state: str
    document: dict[str, object]
    changes: tuple[tuple[str, object, object], ...]


Rows = list[ProbeRow]
Revisions = list[ProbeRevision]
Stops = list[Stop]
Lines = list[ClientLine]


class ProbeDesk:
    """The probes of one organisation (``tenant.probes``)."""

    def __init__(self, tenant: Tenant, database: Database) -> None:
        self._tenant = tenant
        self._database = database
        self._org_id = tenant.organisation.org_id
        self._known: dict[str, Known] = {}
        self._stops = StopSwitch(tenant, database, self._learn)
        self._services = ServiceSwitches(tenant, database)
        tenant.author.gates[PRODUCT] = self._stops.refuse_stopped
        tenant.publisher.on_configs.append(self._learn)

    # Looking ------------------------------------------------------------------------------------------

    async def list(
        self,
        principal: Principal,
        *,
        state: str = "live",
        service: str = "",
        env: str = "",
        kind: str = "",
        text: str = "",
    ) -> Rows:
        """Probes, last changed first.

        Args:
            state: ``live`` (active or paused), ``active``, ``paused``, ``over`` (expired, removed), ``all``.
            text: Anywhere in name, place, message or id.
        """
        principal.require(READ)
        if state not in STATES:
            words = f"one of {', '.join(STATES)}"
            raise InvalidChangeError(f"state is {words}.", problems=(Problem("$.state", words),))
        now_ms = _now_ms()

        def load() -> list[tuple[rows.ConfigRow, NoteRow | None]]:
            with self._database.read() as c:
                return store.probe_configs(
                    c, self._org_id, PRODUCT, live=state != "over", over=state in ("over", "all"),
                    now_ms=now_ms,
                )  # fmt: skip

        found = await asyncio.to_thread(lambda: list_of(load(), now_ms))
        return [
            row
            for row in found
            if (state not in ("active", "paused") or row.state == state)
            and (not service or row.service.casefold() == service.casefold())
            and (not env or not row.envs or env.casefold() in {each.casefold() for each in row.envs})
            and (not kind or row.probe.kind == kind)
            and (not text or text.casefold() in _said(row))
        ]

    async def get(self, principal: Principal, probe_id: str) -> ProbeRow:
        """One probe.

        Raises:
            NotFoundError: There is none.
        """
        principal.require(READ)
        return await asyncio.to_thread(self._row, probe_id)

    def _row(self, probe_id: str) -> ProbeRow:
        config_id = probe_configs.config_id_of(probe_id)
        config, note = None, None
        if config_id is not None:
            with self._database.read() as c:
                config = read.config(c, self._org_id, config_id)
                note = store.notes(c, self._org_id, [config_id]).get(config_id)
        if config is None or config.product != PRODUCT:
            raise NotFoundError(f"There is no probe {probe_id[:40]}.")
        return probe_row(config, note, _now_ms())

    def known(self, probe_id: str) -> Known | None:
        """A probe that programs may speak of, from memory; None for one that is over for ten minutes."""
        found = self._known.get(probe_id)
        if found is None or found.ended_ms is None:
            return found
        now_ms = _now_ms()
        if found.ended_ms > now_ms:
            return found
        if found.ended_ms + KNOWN_MS < now_ms:
            return None
        return found._replace(state=ProbeState.EXPIRED) if found.state is ProbeState.ACTIVE else found

    def decorating(self, service: str, env: str, tag: str) -> str:
        """The probe that puts a tag on spans there, from memory; empty for none or several."""
        found = [
            one.probe_id
            for one in self._known.values()
            if one.service.casefold() == service.casefold()
            and (not one.envs or env.casefold() in {each.casefold() for each in one.envs})
            and any(each.name == tag for put_on in one.probe.decorations for each in put_on.tags)
        ]
        return found[0] if len(found) == 1 else ""

    def _learn(self, changed: Iterable[rows.ConfigRow]) -> None:
        """Take in configs that changed, whoever changed them (blocking)."""
        mine = [row for row in changed if row.product == PRODUCT]
        if not mine:
            return
        with self._database.read() as c:
            notes = store.notes(c, self._org_id, [row.config_id for row in mine if row.state == "retired"])
        now_ms = _now_ms()
        for row in mine:
            try:
                found = known(row, notes.get(row.config_id), now_ms)
            except InvalidChangeError as error:  # made by a newer version; nothing else may suffer from it
                log.warning("probe not understood", config=row.config_id, reason=error.public)
                continue
            if found.ended_ms is None or found.ended_ms + KNOWN_MS >= now_ms:
                self._known[found.probe_id] = found
            else:
                self._known.pop(found.probe_id, None)
        over = [
            probe_id
            for probe_id, one in list(self._known.items())
            if one.ended_ms is not None and one.ended_ms + KNOWN_MS < now_ms
        ]
        for probe_id in over:
            self._known.pop(probe_id, None)

    async def history(self, principal: Principal, probe_id: str) -> Revisions:
        """Every revision, newest first."""
        row = await self.get(principal, probe_id)

        def load() -> list[rows.RevisionRow]:
            with self._database.read() as c:
                return configs.revisions(c, self._org_id, row.config.config_id, limit=MAX_HISTORY)

        found: Revisions = []
        before: dict[str, object] | None = None
        for one in reversed(await asyncio.to_thread(load)):
            probe, version = probe_configs.stored(one.payload)
            document = probes.to_document(probe)
            del document["expires_in_minutes"]  # what it is now, not what it was then
            differs = changes(before, document) if before is not None else ()
            found.append(
                ProbeRevision(
                    one.revision, version, one.at_ms, one.by, one.comment, one.state, document, differs
                )
            )
            before = document
        return found[::-1]

    # Trying -------------------------------------------------------------------------------------------

    async def check(
        self, principal: Principal, fields: Mapping[str, Any], *, probe_id: str | None = None, now: datetime
    ) -> Checked:
        """Try a probe without saving it.

        Args:
            fields: name, service, env (a list), targeting (more of it, optional), document, comment.

        Raises:
            NotFoundError: There is no probe ``probe_id``.
            NotPermittedError: They may not see probes.
        """
        principal.require(READ)
        row = await self.get(principal, probe_id) if probe_id is not None else None
        try:
            draft = read_fields(fields, row)
            editor = Editor(self._tenant, principal, now=now)
            payload = probe_configs.to_payload(draft.probe)
            config_id = None if row is None else row.config.config_id
            tried = await editor.check(config_fields(draft, payload, now), config_id=config_id)
        except InvalidChangeError as error:
            return Checked(in_fields(error.problems) or (Problem("$", error.public),))
        stopped = await asyncio.to_thread(self._stops.why_stopped, draft.targeting)
        if stopped and (row is None or row.state is not ProbeState.PAUSED):
            return Checked((Problem("$", stopped),))
        getting, lacking = await self._clients(draft.targeting)
        return Checked(
            problems=(),
            refusals=under("$.document", probe_facts.refusals(draft.probe)),
            warnings=(
                *under("$.document", probe_facts.warnings(draft.probe)),
                *in_fields(tried.warnings),
            ),
            cost=probe_facts.cost(draft.probe, processes=max(1, len(getting))),
            matches=tuple(getting) if principal.may("fleet_read") else (),
            notices=tuple(notices(draft, getting, lacking, sees_fleet=principal.may("fleet_read"))),
            processes=len(getting),
            permitted=editor.may_write(PRODUCTS[PRODUCT], draft.targeting, payload),
        )

    async def _clients(self, targeting: Targeting) -> tuple[Lines, Lines]:
        """Live clients it is for: those that ask for probes, and those that do not."""
        fleet = await self._tenant.overview.look()
        getting: Lines = []
        lacking: Lines = []
        for line in self._tenant.uptakes.here(fleet):
            facts: ClientFacts = self._tenant.overview.facts_of(line)
            if targeting.matches(facts):
                (getting if PRODUCT in facts.products else lacking).append(line)
        return getting, lacking

    # Changing -----------------------------------------------------------------------------------------

    async def create(self, principal: Principal, fields: Mapping[str, Any], *, now: datetime) -> Saved:
        """Save a new probe and publish it; ``fields`` as in ``check``.

        Raises:
            InvalidChangeError: It makes no sense, or a stop holds there.
            NotPermittedError: It is not theirs to make.
        """
        draft = read_fields(fields, None)
        payload = probe_configs.to_payload(draft.probe)
        editor = Editor(self._tenant, principal, now=now)
        told = self._told("probe.created", None, draft, principal)
        try:
            row, saved = await editor.create(config_fields(draft, payload, now), also=told)
        except InvalidChangeError as error:
            raise InvalidChangeError(error.public, problems=in_fields(error.problems)) from error
        return await self._saved(row, saved.warnings, draft)

    async def change(
        self,
        principal: Principal,
        probe_id: str,
        fields: Mapping[str, Any],
        *,
        expected_revision: int,
        now: datetime,
    ) -> Saved:
        """Save a probe anew: name, document and comment; what is not given stays. Its time begins again.

        A paused probe stays paused; one that is over is in force again.

        Raises:
            ConflictError: Somebody changed it since ``expected_revision``.
            InvalidChangeError, NotFoundError, NotPermittedError: As they say.
        """
        row = await self.get(principal, probe_id)
        draft = read_fields(fields, row)
        payload = probe_configs.to_payload(draft.probe)
        is_paused = row.state is ProbeState.PAUSED
        try:
            config, saved = await Editor(self._tenant, principal, now=now).change(
                row.config.config_id,
                {
                    name: value
                    for name, value in config_fields(draft, payload, now).items()
                    if name != "product"
                },
                expected_revision=expected_revision,
                also=self._told("probe.changed", row, draft, principal),
                in_force=not is_paused,
            )
        except InvalidChangeError as error:
            raise InvalidChangeError(error.public, problems=in_fields(error.problems)) from error
        return await self._saved(config, saved.warnings, draft)

    async def clone(
        self,
        principal: Principal,
        probe_id: str,
        *,
        service: str,
        env: Sequence[str],
        name: str | None = None,
        now: datetime,
    ) -> Saved:
        """The same probe for another service or other environments."""
        row = await self.get(principal, probe_id)
        fields = {
            "name": row.config.name if name is None else name,
            "service": service,
            "env": list(env),
            "document": row.document,
            "comment": f"Like probe {row.probe_id}",
        }
        return await self.create(principal, fields, now=now)

    async def pause(
        self,
        principal: Principal,
        probe_id: str,
        *,
        expected_revision: int | None = None,
        comment: str = "",
        now: datetime,
    ) -> ProbeRow:
        """Take it out of the programs, and keep it.

        Raises:
            ConflictError: Somebody changed it since ``expected_revision``, or it is over.
            NotFoundError, NotPermittedError: As they say.
        """
        row = await self.get(principal, probe_id)
        if row.state is ProbeState.PAUSED:
            return row
        if row.state is not ProbeState.ACTIVE:
            raise ConflictError(f"The probe is {row.state} already: there is nothing to pause.")
        return await self._retired(principal, row, expected_revision, comment, now, paused=True)

    async def remove(
        self,
        principal: Principal,
        probe_id: str,
        *,
        expected_revision: int | None = None,
        comment: str = "",
        now: datetime,
    ) -> ProbeRow:
        """Take it away; its history stays.

        Raises:
            ConflictError: Somebody changed it since ``expected_revision``.
            NotFoundError, NotPermittedError: As they say.
        """
        row = await self.get(principal, probe_id)
        if row.state is ProbeState.REMOVED:
            return row
        return await self._retired(principal, row, expected_revision, comment, now, paused=False)

    async def _retired(
        self,
        principal: Principal,
        row: ProbeRow,
        expected_revision: int | None,
        comment: str,
        now: datetime,
        *,
        paused: bool,
    ) -> ProbeRow:
        now_ms = int(now.timestamp() * 1000)
        done = "paused" if paused else "removed"

        def also(c: sa.Connection, config: rows.ConfigRow) -> None:
            note = NoteRow(config.config_id, row.expires_in_minutes)
            if paused:
                note = note._replace(
                    paused_revision=config.revision, paused_ms=now_ms, paused_by=principal.user
                )
            store.put_note(c, self._org_id, note)
            self._audit(c, f"probe.{done}", row, now_ms, principal.user, {"comment": comment})

        config = await Editor(self._tenant, principal, now=now).retire(
            row.config.config_id, expected_revision=expected_revision, comment=comment, also=also,
            again=row.state is ProbeState.PAUSED,
        )  # fmt: skip
        return await self._learned(config)

    async def resume(
        self, principal: Principal, probe_id: str, *, expected_revision: int | None = None, now: datetime
    ) -> Saved:
        """Put a paused, expired or removed probe back; its time begins again.

        Raises:
            ConflictError: Somebody changed it since ``expected_revision``.
            InvalidChangeError: A stop holds there.
            NotFoundError, NotPermittedError: As they say.
        """
        row = await self.get(principal, probe_id)
        if row.state is ProbeState.ACTIVE:
            return Saved(row, ())
        config, draft = await self._stops.resume(principal, row, expected_revision, now)
        return Saved(await self._learned(config), draft.warnings)

    async def _saved(self, config: rows.ConfigRow, warnings: tuple[Problem, ...], draft: Draft) -> Saved:
        said = (
            *under("$.document", probe_facts.refusals(draft.probe)),
            *under("$.document", probe_facts.warnings(draft.probe)),
            *in_fields(warnings),
        )
        return Saved(await self._learned(config), said)

    async def _learned(self, config: rows.ConfigRow) -> ProbeRow:
        def look() -> ProbeRow:
            self._learn([config])
            return self._row(probe_configs.probe_id(config.config_id))

        return await asyncio.to_thread(look)

    def _told(self, action: str, before: ProbeRow | None, draft: Draft, by: Principal) -> Also:
        """What is written with a config: how long it lasts, and what differs for the audit trail."""
        document = probes.to_document(draft.probe)
        differs = changes(None if before is None else before.document, document)
        minutes = draft.probe.expires_in_minutes

        def also(c: sa.Connection, config: rows.ConfigRow) -> None:
            note = NoteRow(config.config_id, minutes)
            if config.state != "active" and before is not None:  # it is paused, and stays so
                note = note._replace(
                    paused_revision=config.revision, paused_ms=before.paused_ms, paused_by=before.paused_by,
                    stop_id=before.stop_id,
                )  # fmt: skip
            store.put_note(c, self._org_id, note)
            row = probe_row(config, note, config.updated_ms)
            told = {"changes": [list(one) for one in differs], "comment": draft.comment}
            self._audit(c, action, row, config.updated_ms, by.user, told)

        return also

    def _audit(
        self,
        c: sa.Connection,
        action: str,
        row: ProbeRow,
        at_ms: int,
        by: str,
        told: Mapping[str, object],
    ) -> None:
        verb = action.partition(".")[2].capitalize()
        what = f"{row.probe.kind} probe {row.config.name or row.probe.where}"
        write.add_audit(
            c, self._org_id, at_ms=at_ms, actor=by, action=action, subject=f"probe {row.probe_id}",
            summary=f"{verb} the {what} of {where_words(row)}",
            detail={"service": row.service, "env": list(row.envs), "version": row.version, **told},
        )  # fmt: skip

    # All at once --------------------------------------------------------------------------------------

    async def would_stop(self, principal: Principal, *, service: str = "", env: str = "") -> Stopped:
        """What a stop would pause."""
        principal.require(READ)
        return await self._stops.would_stop(service, env)

    async def stop(
        self, principal: Principal, *, service: str = "", env: str = "", reason: str, now: datetime
    ) -> Stopped:
        """Pause every probe of a service, an environment or all, and let no new one in until it is lifted.

        Raises:
            NotPermittedError: The scope, or a probe in it, is not theirs to change; nothing was stopped.
            InvalidChangeError: The scope or the reason is none.
        """
        return await self._stops.stop(principal, service=service, env=env, reason=reason, now=now)

    async def lift(self, principal: Principal, stop_id: str, *, resume: bool, now: datetime) -> Stopped:
        """End a stop; with ``resume`` the probes it paused come back, those that are theirs to put there.

        Raises:
            NotFoundError: No such stop holds.
            NotPermittedError: The scope is not theirs to change.
        """
        return await self._stops.lift(principal, stop_id, resume=resume, now=now)

    async def stops(self, principal: Principal, *, over: bool = False) -> Stops:
        """Stops that hold, newest first; with ``over`` those that were lifted too."""
        principal.require(READ)
        return await self._stops.stops(over=over)

    # Services -----------------------------------------------------------------------------------------

    async def switch_on(
        self,
        principal: Principal,
        *,
        service: str,
        envs: Sequence[str] = (),
        dynamic_instrumentation: bool | None = None,
        symbols: bool | None = None,
        now: datetime,
    ) -> Switched:
        """Switch Dynamic Instrumentation, and the sending of symbols, on or off; None: leave it.

        Args:
            envs: Empty: every environment of the service.

        Raises:
            InvalidChangeError, NotPermittedError: As they say; what came before it is done.
        """
        return await self._services.switch(
            principal, service, tuple(envs), dynamic_instrumentation, symbols, now=now
        )

    def switches(self, service: str, env: str) -> Switched:
        """What configs say of a service in an environment, from memory."""
        return self._services.of(service, env)


def list_of(found: Iterable[tuple[rows.ConfigRow, NoteRow | None]], now_ms: int) -> Rows:
    """Probes of rows; what a newer version made and this one cannot read is left out."""
    listed = []
    for config, note in found:
        try:
            listed.append(probe_row(config, note, now_ms))
        except InvalidChangeError as error:
            log.warning("probe not understood", config=config.config_id, reason=error.public)
    return listed


def _now_ms() -> int:
    return int(time.time() * 1000)


def where_words(row: ProbeRow) -> str:
    """Whom a probe is for: ``shop in prod and staging``."""
    return f"{row.service} in {wording.some(row.envs)}" if row.envs else row.service


def _said(row: ProbeRow) -> str:
    """What a probe is found by."""
    document = row.document
    metric = document.get("metric")
    named = metric.get("name", "") if isinstance(metric, Mapping) else ""
    words = (row.config.name, row.probe_id, row.probe.where, document.get("template", ""), named)
    return "\n".join(map(str, words)).casefold()
