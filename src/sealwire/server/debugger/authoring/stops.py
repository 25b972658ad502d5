"""The kill switch: every probe of a service, an environment or the organisation is paused at once.

Invariants: a stop pauses all it is for in one transaction, or none; while it holds nothing in its scope comes
into force, whoever makes it and whichever way; who lifts it chooses whether the probes it paused come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import orjson
import sqlalchemy as sa

from sealwire.errors import InvalidChangeError, NotFoundError, Problem, SealwireError
from sealwire.products import PRODUCTS, wording
from sealwire.products.live_debugging import MINUTES_WITH_VALUES
from sealwire.server.access import Principal
from sealwire.server.authoring.author import Draft
from sealwire.server.authoring.editing import Editor
from sealwire.server.debugger.authoring import probe_configs
from sealwire.server.debugger.authoring.probe_rows import MINUTE_MS, ProbeRow, probe_row
from sealwire.server.debugger.authoring.probe_wire import PRODUCT
from sealwire.server.store import probes as store
from sealwire.server.store import read, rows, write
from sealwire.server.store.database import Database
from sealwire.server.store.probes import NoteRow, Stop
from sealwire.server.targeting import Targeting

if TYPE_CHECKING:
    from sealwire.server.tenant import Tenant

MAX_REASON: Final = 1_000
MAX_TOLD: Final = 100  # probes that one event of the audit trail names


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stop did, or would do (then without an id), or what its end brought back.

    Attributes:
        probes: Without those that a newer version made, which this one cannot read.
    """

    stop_id: str
    count: int
    probes: tuple[ProbeRow, ...]


def scope_of(service: str, env: str) -> Targeting:
    """What a stop is for."""
    return Targeting(service=(service,) if service else (), env=(env,) if env else ())


def scope_words(service: str, env: str) -> str:
    """``shop in prod``; ``the organisation`` if it is for everything."""
    if not service:
        return f"environment {env}" if env else "the organisation"
    return f"{service} in {env}" if env else service


class StopSwitch:
    """Stops of one organisation."""

    def __init__(
        self, tenant: Tenant, database: Database, learn: Callable[[Iterable[rows.ConfigRow]], None]
    ) -> None:
        self._tenant = tenant
        self._database = database
        self._org_id = tenant.organisation.org_id
        self._learn = learn

    # What holds ---------------------------------------------------------------------------------------

    def refuse_stopped(self, c: sa.Connection, row: rows.ConfigRow) -> None:
        """Let a probe be in force, unless a stop holds there (in the transaction that puts it there).

        Raises:
            InvalidChangeError: A stop holds.
        """
        why = _why(store.stops(c, self._org_id), Targeting.parse(row.targeting))
        if why:
            raise InvalidChangeError(why, problems=(Problem("$", why),))

    def why_stopped(self, targeting: Targeting) -> str:
        """Why nothing can be in force there, as a sentence; empty if it can (blocking)."""
        with self._database.read() as c:
            return _why(store.stops(c, self._org_id), targeting)

    async def stops(self, *, over: bool) -> list[Stop]:
        """Stops that hold, newest first; with ``over`` those that were lifted too."""

        def load() -> list[Stop]:
            with self._database.read() as c:
                return store.stops(c, self._org_id, over=over)

        return await asyncio.to_thread(load)

    async def would_stop(self, service: str, env: str) -> Stopped:
        """What a stop would pause."""
        scope = scope_of(service, env)
        now_ms = int(time.time() * 1000)

        def load() -> list[tuple[rows.ConfigRow, NoteRow | None]]:
            with self._database.read() as c:
                found = read.configs(c, self._org_id, product=PRODUCT, state="active")
                mine = [row for row in found if _is_in_force(row, now_ms) and _is_in(row, scope)]
                noted = store.notes(c, self._org_id, [row.config_id for row in mine])
            return [(row, noted.get(row.config_id)) for row in mine]

        loaded = await asyncio.to_thread(load)
        return Stopped("", len(loaded), _readable(loaded, now_ms))

    # Changing -----------------------------------------------------------------------------------------

    async def stop(
        self, principal: Principal, *, service: str, env: str, reason: str, now: datetime
    ) -> Stopped:
        """Pause every probe in a scope, and let no new one in until it is lifted.

        Raises:
            NotPermittedError: The scope, or a probe in it, is not theirs to change; nothing was stopped.
            InvalidChangeError: The scope or the reason is none.
        """
        service, env = service.strip(), env.strip()
        scope = _checked_scope(service, env, reason)
        editor = Editor(self._tenant, principal, now=now)
        editor.require_write(PRODUCTS[PRODUCT], scope)
        now_ms = int(now.timestamp() * 1000)
        stop = Stop(secrets.token_hex(8), service, env, reason, principal.user, now_ms, 0)
        paused: list[tuple[rows.ConfigRow, NoteRow]] = []

        def which(row: rows.ConfigRow) -> bool:
            if not (_is_in_force(row, now_ms) and _is_in(row, scope)):
                return False
            # Attack: who may stop one environment would stop a probe that is in another too.
            editor.require_write(PRODUCTS[PRODUCT], Targeting.parse(row.targeting))
            return True

        def note(c: sa.Connection, row: rows.ConfigRow) -> None:
            before = store.notes(c, self._org_id, [row.config_id]).get(row.config_id)
            of_it = _readable([(row, before)], now_ms)
            minutes = of_it[0].expires_in_minutes if of_it else MINUTES_WITH_VALUES
            written = NoteRow(row.config_id, minutes, row.revision, now_ms, principal.user, stop.stop_id)
            store.put_note(c, self._org_id, written)
            paused.append((row, written))

        def finish(c: sa.Connection, retired: Sequence[rows.ConfigRow]) -> None:
            store.add_stop(c, self._org_id, _with_count(stop, len(retired)))
            found = [probe_configs.probe_id(row.config_id) for row in retired]
            self._audit(c, "probe.stopped", stop, now_ms, principal.user, found, {"reason": reason})

        def commit() -> list[rows.ConfigRow]:
            return self._tenant.author.retire_all(
                PRODUCT, which, by=principal.user, now=now, comment=f"Stopped: {reason}"[:2000], also=note,
                finally_also=finish,
            )  # fmt: skip

        await asyncio.to_thread(commit)
        self._tenant.reconciler.nudge()
        await asyncio.to_thread(self._learn, [row for row, _ in paused])
        return Stopped(stop.stop_id, len(paused), _readable(paused, now_ms))

    async def lift(self, principal: Principal, stop_id: str, *, resume: bool, now: datetime) -> Stopped:
        """End a stop.

        Args:
            resume: Bring back what it paused, where another stop or a missing permission does not forbid it.

        Raises:
            NotFoundError: No such stop holds.
            NotPermittedError: The scope is not theirs to change.
        """
        now_ms = int(now.timestamp() * 1000)
        editor = Editor(self._tenant, principal, now=now)
        found = next((one for one in await self.stops(over=False) if one.stop_id == stop_id), None)
        if found is None:
            raise NotFoundError("No such stop holds.")
        editor.require_write(PRODUCTS[PRODUCT], scope_of(found.service, found.env))

        def commit() -> tuple[ProbeRow, ...]:
            with self._database.write() as c:
                write.lock_domain(c, self._org_id)
                lifted = store.lift_stop(c, self._org_id, stop_id, by=principal.user, now_ms=now_ms)
                if lifted is None:
                    raise NotFoundError("No such stop holds.")
                noted = store.notes(c, self._org_id, stop_id=stop_id)
                configs = [read.config(c, self._org_id, config_id) for config_id in noted]
                paused = _readable(
                    (
                        (row, noted[row.config_id])
                        for row in configs
                        if row is not None and row.revision == noted[row.config_id].paused_revision
                    ),
                    now_ms,
                )
                for note in noted.values():  # from now on they are like any that somebody paused
                    store.put_note(c, self._org_id, note._replace(stop_id=""))
                told = [row.probe_id for row in paused] if resume else []
                self._audit(c, "probe.lifted", lifted, now_ms, principal.user, told, {"resume": resume})
                return paused

        paused = await asyncio.to_thread(commit)
        back = []
        for row in paused if resume else ():
            try:
                config, _ = await self.resume(principal, row, row.config.revision, now)
            except SealwireError:
                continue  # somebody was faster, it is not theirs, or another stop holds: it stays paused
            back.append(config)
        await asyncio.to_thread(self._learn, back)
        minutes = {row.config.config_id: row.expires_in_minutes for row in paused}
        resumed = tuple(
            probe_row(one, NoteRow(one.config_id, minutes[one.config_id]), now_ms) for one in back
        )
        return Stopped(stop_id, len(resumed), resumed)

    async def resume(
        self, principal: Principal, row: ProbeRow, expected_revision: int | None, now: datetime
    ) -> tuple[rows.ConfigRow, Draft]:
        """Put a probe back in force as it was; its time begins again."""
        now_ms = int(now.timestamp() * 1000)

        def also(c: sa.Connection, config: rows.ConfigRow) -> None:
            store.put_note(c, self._org_id, NoteRow(config.config_id, row.expires_in_minutes))
            write.add_audit(
                c, self._org_id, at_ms=now_ms, actor=principal.user, action="probe.resumed",
                subject=f"probe {row.probe_id}",
                summary=f"Resumed the {row.probe.kind} probe {config.name or row.probe.where} of "
                f"{row.service}",
                detail={"service": row.service, "env": list(row.envs), "version": row.version},
            )  # fmt: skip

        fields = {
            "payload": orjson.loads(row.config.payload),
            "comment": "Resumed",
            "expires_at": now_ms + row.expires_in_minutes * MINUTE_MS,
        }
        wanted = row.config.revision if expected_revision is None else expected_revision
        return await Editor(self._tenant, principal, now=now).change(
            row.config.config_id, fields, expected_revision=wanted, also=also
        )

    def _audit(
        self,
        c: sa.Connection,
        action: str,
        stop: Stop,
        now_ms: int,
        by: str,
        probe_ids: Sequence[str],
        told: dict[str, object],
    ) -> None:
        where = scope_words(stop.service, stop.env)
        many = wording.counted(len(probe_ids), "probe")
        words = (
            f"Stopped all probes of {where}: {many}"
            if action == "probe.stopped"
            else f"Lifted the stop of {where}" + (f"; {many} to come back" if told.get("resume") else "")
        )
        write.add_audit(
            c, self._org_id, at_ms=now_ms, actor=by, action=action, subject=f"stop {stop.stop_id}",
            summary=words,
            detail={
                "service": stop.service, "env": stop.env, "count": len(probe_ids),
                "probes": list(probe_ids[:MAX_TOLD]), **told,
            },
        )  # fmt: skip


def _why(holding: Iterable[Stop], targeting: Targeting) -> str:
    for stop in holding:
        if scope_of(stop.service, stop.env).may_overlap(targeting):
            reason = f" ({wording.shown(stop.reason)})" if stop.reason else ""
            return (
                f"Probes of {scope_words(stop.service, stop.env)} were stopped by {stop.by}{reason}: nothing "
                "comes into force there before the stop is lifted."
            )
    return ""


def _readable(found: Iterable[tuple[rows.ConfigRow, NoteRow | None]], now_ms: int) -> tuple[ProbeRow, ...]:
    """Probes of rows. One that a newer version made cannot be read, and keeps no stop from the others."""
    read_: list[ProbeRow] = []
    for row, note in found:
        with contextlib.suppress(InvalidChangeError):
            read_.append(probe_row(row, note, now_ms))
    return tuple(read_)


def _is_in_force(row: rows.ConfigRow, now_ms: int) -> bool:
    return row.expires_ms is None or row.expires_ms > now_ms


def _is_in(row: rows.ConfigRow, scope: Targeting) -> bool:
    return Targeting.parse(row.targeting).may_overlap(scope)


def _with_count(stop: Stop, count: int) -> Stop:
    return Stop(stop.stop_id, stop.service, stop.env, stop.reason, stop.by, stop.at_ms, count)


def _checked_scope(service: str, env: str, reason: str) -> Targeting:
    problems: list[Problem] = []
    if len(reason) > MAX_REASON or any(ord(each) < 32 and each not in "\n\t" for each in reason):
        problems.append(Problem("$.reason", f"At most {MAX_REASON} characters, without control characters."))
    for name, value in (("service", service), ("env", env)):
        if value:
            try:
                Targeting.parse({name: [value]}, "$")
            except InvalidChangeError as error:
                problems.extend(Problem(f"$.{name}", one.message) for one in error.problems)
    if problems:
        raise InvalidChangeError("The stop makes no sense as it is.", problems=tuple(problems))
    return scope_of(service, env)
