"""Who may have configs at all: an organisation's switch, its API keys' scopes, and their way off.

Pages and the admin API change both through ``Switches`` and through nothing else. A change is committed
first and then followed: held polls end that may go on no longer, and agents whose configs are being
withdrawn are given a state without any. What is being withdrawn stands in the database, so that another
process goes on with it after a restart; what decides is in ``withdrawal``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from sealwire.errors import ConflictError, InvalidChangeError, Problem, SealwireError
from sealwire.server.access import Access
from sealwire.server.fleet.connection import HEARD_WITHIN_S
from sealwire.server.settings import ServerSettings
from sealwire.server.store import read, rows, withdrawals, write
from sealwire.server.store.database import Database
from sealwire.server.withdrawal import (
    EMPTY_VIEW,
    EVERYTHING,
    RELEASE_PATIENCE_S,
    Holder,
    Progress,
    Withdrawn,
    asks,
    is_complete,
)

if TYPE_CHECKING:
    from sealwire.server.distribute import Session
    from sealwire.server.tenant import Tenant

log = structlog.get_logger()

TICK_S = 0.5
SETTLE_TIMEOUT_S = 2.0
OTHERS_EVERY_S = 3.0  # when a database is shared, what other control planes changed
AGENTS_FRESH_S = 3.0
MAX_ENVS = 50
MAX_ENV_CHARS = 200


class Switches:
    """The switches of one organisation. Lives on the event loop; what is asked for most is in memory.

    Attributes:
        organisation: As committed; the tenant's is the same.
        heard_within_s: An agent asks as long as it was heard within this time.
    """

    def __init__(
        self,
        tenant: Tenant,
        database: Database,
        access: Access,
        settings: ServerSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self.heard_within_s = max(HEARD_WITHIN_S, 3.0 * settings.refresh_interval_s)
        self._tenant = tenant
        self._database = database
        self._access = access
        self._clock = clock
        self._org_id = tenant.organisation.org_id
        self._lifetime_s = settings.timestamp_lifetime.total_seconds()
        self._started_s = time.time()
        self._is_shared = not database.is_sqlite
        self._wake = asyncio.Event()
        self._all_fetched: dict[tuple[str, float], float] = {}
        self._agents: list[withdrawals.Holding] = []
        self._agents_read_at = 0.0
        self._reading = asyncio.Lock()
        self.organisation = self._load()[0]
        self._followed: object = None
        self._follow()

    @property
    def keys(self) -> tuple[rows.ApiKeyRow, ...]:
        """API keys of the organisation, oldest first, revoked ones too."""
        return tuple(key for key in self._access.api_key_rows if key.org_id == self._org_id)

    # Following what was committed ---------------------------------------------------------------------

    def _load(self) -> tuple[rows.Organisation, tuple[rows.ApiKeyRow, ...]]:
        with self._database.read() as c:
            return withdrawals.organisation(c, self._org_id), tuple(read.api_keys(c, self._org_id))

    async def refresh(self) -> None:
        """Act on what is in the database: after a change here, and on those of others."""
        self.organisation, keys = await asyncio.to_thread(self._load)
        if _without_use(keys) != _without_use(self.keys):
            await asyncio.to_thread(self._access.reload)
        if self._follow():
            # What is answered next is what was decided.
            await self._tenant.reconciler.settle(timeout_s=SETTLE_TIMEOUT_S)
        if self._subjects():
            self._wake.set()

    def _follow(self) -> bool:
        """Let everybody get what was committed; True if some agents are to get something else."""
        self._tenant.organisation = self.organisation
        self._followed = self._access.api_key_rows
        others = self._tenant.distributor.withdraw(self._withdrawn(time.time()))
        self._tenant.distributor.end_polls(self._may_poll)
        return others

    def _may_poll(self, key_id: str) -> bool:
        return self.organisation.remote_config and (not key_id or self._access.may_poll(key_id))

    def _subjects(self) -> dict[str, tuple[int, bool]]:
        """What is being withdrawn: since when (milliseconds), and whether the key is revoked then."""
        found: dict[str, tuple[int, bool]] = {}
        if self.organisation.remote_config and self.organisation.withdrawing_ms is not None:
            found[EVERYTHING] = (self.organisation.withdrawing_ms, False)
        for key in self.keys:
            if key.withdrawing_ms is not None and key.revoked_ms is None and key.remote_config:
                found[key.key_id] = (key.withdrawing_ms, key.then_revoked)
        return found

    def _withdrawn(self, now_s: float) -> Withdrawn:
        """Who is to hold nothing: what is being withdrawn, and all that is off already."""
        subjects = self._subjects()
        off = {key.key_id for key in self.keys if key.revoked_ms is not None or not key.remote_config}
        if not self.organisation.remote_config:
            off.add(EVERYTHING)
        hurried = {
            subject
            for subject, (since_ms, _) in subjects.items()
            if now_s - since_ms / 1000 >= RELEASE_PATIENCE_S
        }
        return Withdrawn(frozenset(off.union(subjects)), frozenset(off | hurried))

    async def run(self) -> None:
        """Bring withdrawals to their end, and follow other control planes, until cancelled."""
        read_at = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if self._is_shared and time.time() - read_at > OTHERS_EVERY_S:
                    read_at = time.time()
                    await self.refresh()
                elif self._subjects() or self._followed is not self._access.api_key_rows:
                    self._follow()
                await self._end_what_is_done()
            except SealwireError as error:
                log.warning("withdrawal not ended yet", code=error.code, detail=error.detail)
                await asyncio.sleep(TICK_S)
            except Exception:
                log.exception("withdrawal failed")
                await asyncio.sleep(TICK_S)

    async def _end_what_is_done(self) -> None:
        if not self._subjects():
            return
        await self._read_agents(within_s=0.0)
        now_s = time.time()
        ended = False
        for one in await self.progress():
            place = (one.subject, one.since_s)
            if not one.all_fetched:
                self._all_fetched.pop(place, None)
                continue
            since_s = self._all_fetched.setdefault(place, now_s)
            if is_complete(one, now_s=now_s, all_fetched_s=since_s):
                del self._all_fetched[place]
                ended |= await asyncio.to_thread(self._end, one)
        if ended:
            await self.refresh()

    def _end(self, done: Progress) -> bool:
        since_ms = round(done.since_s * 1000)
        now_ms = self._now_ms()
        told = {
            "agents": done.agents,
            "fetched": done.fetched,
            "clients": done.clients,
            "dropped": done.dropped,
        }
        with self._database.write() as c:
            if done.subject == EVERYTHING:
                if not withdrawals.switch_off(c, self._org_id, since_ms=since_ms):
                    return False
                self._audit_switch(c, "off", "withdrawal", "every agent that asks has the empty state", told)
                return True
            if not withdrawals.take_scope(c, self._org_id, done.subject, since_ms=since_ms, now_ms=now_ms):
                return False
            key = withdrawals.api_key(c, self._org_id, done.subject)
            what = "Revoked it" if done.then_revoked else "Took its Remote Configuration scope"
            write.add_audit(
                c, self._org_id, at_ms=now_ms, actor="withdrawal",
                action="api_key.revoked" if done.then_revoked else "api_key.changed",
                subject=f"key {key.key_id}",
                summary=f"API key {key.name}: {what[0].lower()}{what[1:]}; its agents have the empty state",
                detail=told,
            )  # fmt: skip
        return True

    # Looking ------------------------------------------------------------------------------------------

    async def progress(self) -> list[Progress]:
        """What is being withdrawn, and how far each is."""
        found = []
        for subject, (since_ms, then_revoked) in self._subjects().items():
            since_s = since_ms / 1000
            holders = await self.holders(subject, since_s=since_s)
            found.append(Progress(subject, since_s, tuple(holders), then_revoked))
        return found

    async def holders(self, subject: str = EVERYTHING, *, since_s: float | None = None) -> list[Holder]:
        """The agents of a key, or all, by host name.

        Args:
            since_s: When the withdrawal began that this is about.
        """
        await self._read_agents(within_s=AGENTS_FRESH_S)
        now_s = time.time()
        clients: dict[str, list[str]] = {}
        for client_id, row in self._tenant.observer.clients.items():
            if row.facts.get("kind") == "tracer":
                clients.setdefault(row.agent_id, []).append(client_id)
        sessions = self._tenant.distributor.sessions
        known = {holding.agent.agent_id: holding for holding in self._agents}
        found = []
        for agent_id in known.keys() | sessions.keys():
            holder = self._holder(
                agent_id,
                known.get(agent_id),
                sessions.get(agent_id),
                clients.get(agent_id, ()),
                now_s,
                since_s,
            )
            if subject in (EVERYTHING, holder.key_id):
                found.append(holder)
        return sorted(found, key=lambda holder: (holder.hostname, holder.agent_id))

    async def _read_agents(self, *, within_s: float) -> None:
        def load() -> list[withdrawals.Holding]:
            with self._database.read() as c:
                return withdrawals.holdings(c, self._org_id)

        async with self._reading:  # nobody decides on rows that are still on their way
            if time.time() - self._agents_read_at <= within_s:
                return
            await self._tenant.observer.flush()
            self._agents = await asyncio.to_thread(load)
            self._agents_read_at = time.time()

    def _holder(
        self,
        agent_id: str,
        stored: withdrawals.Holding | None,
        session: Session | None,
        clients: Iterable[str],
        now_s: float,
        since_s: float | None,
    ) -> Holder:
        row = stored.agent if stored is not None else None
        demand = session.demand if session is not None else None
        until_s: float | None = None
        if session is not None:
            seen_s = now_s if session.waiters else session.last_seen
            hostname, key_id = session.hostname, session.key_id
            mine = [client for client in clients if client in session.reported]
            holding = tuple(client for client in mine if session.reported[client])
        else:
            assert row is not None
            seen_s, hostname, key_id = row.last_seen_ms / 1000, row.hostname, row.api_key_id
            mine = list(clients)
            holding = tuple(client for client in mine if self._tenant.observer.said.get(client))
        if demand is not None:
            holds_nothing = demand.holds_view == EMPTY_VIEW[:16]
        else:
            view_key = stored.view_key if stored is not None else None
            never = row is None or row.director_version == 0
            holds_nothing = view_key == EMPTY_VIEW or (never and not holding)
        if not holds_nothing:
            # Of what this process gave it; else what it has was signed before it asked last.
            given_until = session.given_until if session is not None else 0.0
            until_s = given_until or seen_s + self._lifetime_s
        return Holder(
            agent_id=agent_id,
            hostname=hostname,
            key_id=key_id,
            address=session.address if session is not None else "",
            asks=asks(
                seen_s=seen_s,
                now_s=now_s,
                heard_within_s=self.heard_within_s,
                since_s=since_s,
                started_s=self._started_s,
            ),
            holds_nothing=holds_nothing,
            clients=len(mine),
            holding=holding,
            seen_s=seen_s,
            until_s=until_s,
        )

    def key(self, key_id: str) -> rows.ApiKeyRow | None:
        """An API key of the organisation, None when there is none with this id."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    # API keys -----------------------------------------------------------------------------------------

    async def create_key(self, *, name: str, remote_config: bool, by: str) -> tuple[rows.ApiKeyRow, str]:
        """A new API key: its row, and its secret, which is not kept.

        Raises:
            InvalidChangeError: The name is none.
            ConflictError: It shall have the scope, and the organisation is switched off.
        """
        row, secret = await asyncio.to_thread(
            self._access.create_api_key, self._org_id, name=name, remote_config=remote_config, by=by,
            now_ms=self._now_ms(),
        )  # fmt: skip
        await self.refresh()
        return row, secret

    async def change_key(
        self,
        key_id: str,
        *,
        name: str | None = None,
        remote_config: bool | None = None,
        since_ms: int | None = None,
        by: str,
    ) -> rows.ApiKeyRow:
        """Rename a key, take its scope at once, give it, or end a withdrawal by letting it have its scope.

        Args:
            since_ms: Only while the withdrawal is on that began then.

        Raises:
            InvalidChangeError, NotFoundError: As they say.
            ConflictError: The key is revoked, the organisation is switched off, or the withdrawal is over.
        """
        self._require_withdrawing(self.key(key_id), since_ms)
        await asyncio.to_thread(
            self._access.change_api_key, self._org_id, key_id, name=name, remote_config=remote_config, by=by,
            now_ms=self._now_ms(),
        )  # fmt: skip
        return await self._changed(key_id)

    async def revoke_key(self, key_id: str, *, since_ms: int | None = None, by: str) -> rows.ApiKeyRow:
        """Revoke a key for good, at once."""
        self._require_withdrawing(self.key(key_id), since_ms)
        await asyncio.to_thread(
            self._access.revoke_api_key, self._org_id, key_id, by=by, now_ms=self._now_ms()
        )
        return await self._changed(key_id)

    async def withdraw_key(self, key_id: str, *, then_revoked: bool, by: str) -> rows.ApiKeyRow:
        """Take back what the agents of a key hold; then its scope goes, or the key itself.

        Raises:
            NotFoundError: There is no such key.
            ConflictError: It is revoked, has no scope, or the organisation is switched off: then nothing can
                be withdrawn any more.
        """

        def begin() -> None:
            now_ms = self._now_ms()
            with self._database.write() as c:
                key = withdrawals.live_api_key(c, self._org_id, key_id)
                if not key.remote_config or not withdrawals.organisation(c, self._org_id).remote_config:
                    raise ConflictError(
                        "The agents of this key are refused already: nothing can be sent to them any more."
                    )
                if not withdrawals.begin_for_key(
                    c, self._org_id, key_id, then_revoked=then_revoked, now_ms=now_ms
                ):
                    return
                end = "revoke it" if then_revoked else "take its scope"
                write.add_audit(
                    c, self._org_id, at_ms=now_ms, actor=by, action="api_key.withdrawing",
                    subject=f"key {key_id}",
                    summary=f"API key {key.name}: began to withdraw what its agents hold, then to {end}",
                )  # fmt: skip

        await asyncio.to_thread(begin)
        return await self._changed(key_id)

    async def _changed(self, key_id: str) -> rows.ApiKeyRow:
        await self.refresh()
        key = self.key(key_id)
        assert key is not None
        return key

    def _require_withdrawing(
        self, row: rows.ApiKeyRow | rows.Organisation | None, since_ms: int | None
    ) -> None:
        if since_ms is not None and (row is None or row.withdrawing_ms != since_ms):
            raise ConflictError("Somebody else ended this withdrawal: look at it again.")

    # The organisation ---------------------------------------------------------------------------------

    async def change_settings(
        self,
        *,
        name: str | None = None,
        production_envs: Sequence[str] | None = None,
        seen: Mapping[str, object] | None = None,
        by: str,
    ) -> None:
        """Rename the organisation, say which environments are production.

        Args:
            seen: ``name`` and ``production_envs`` as the author saw them, where they matter.

        Raises:
            InvalidChangeError: A name or an environment is none.
            ConflictError: Another organisation has that name, or somebody changed what was seen.
        """
        problems: list[Problem] = []
        if name is not None:
            name = name.strip()
            if not 1 <= len(name) <= 100 or not name.isprintable():
                problems.append(Problem("$.name", "1 to 100 printable characters"))
        envs = None if production_envs is None else _checked_envs(production_envs, problems)
        if problems:
            raise InvalidChangeError("The settings cannot be used as they are.", problems=tuple(problems))

        def commit() -> None:
            with self._database.write() as c:
                before = withdrawals.organisation(c, self._org_id)
                _require_seen(before, seen or {})
                changed: dict[str, object] = {}
                if name is not None and name != before.name:
                    changed["name"] = {"from": before.name, "to": name}
                if envs is not None and envs != before.production_envs:
                    changed["production_envs"] = {"from": list(before.production_envs), "to": list(envs)}
                if not changed:
                    return
                withdrawals.change_organisation(c, self._org_id, name=name, production_envs=envs)
                words = {"name": "name", "production_envs": "production environments"}
                write.add_audit(
                    c, self._org_id, at_ms=self._now_ms(), actor=by, action="organisation.changed",
                    subject=f"organisation {self._org_id}",
                    summary=f"Changed the organisation's {' and '.join(words[one] for one in changed)}",
                    detail=changed,
                )  # fmt: skip

        await asyncio.to_thread(commit)
        await self.refresh()

    async def switch_on(self, *, by: str) -> None:
        """Switch Remote Configuration on; every agent gets its configs back."""

        def commit() -> None:
            with self._database.write() as c:
                before = withdrawals.organisation(c, self._org_id)
                if withdrawals.switch_on(c, self._org_id):
                    stopped = before.withdrawing_ms is not None
                    note = "before it was off: the withdrawal ended" if stopped else ""
                    self._audit_switch(c, "on", by, note)

        await asyncio.to_thread(commit)
        await self.refresh()

    async def switch_off(self, *, by: str, at_once: bool = False, since_ms: int | None = None) -> None:
        """Switch Remote Configuration off: withdraw everything first, or at once.

        Args:
            at_once: Agents are refused from now on, whatever they hold.
            since_ms: Only while the withdrawal is on that began then.

        Raises:
            ConflictError: That withdrawal is over.
        """
        self._require_withdrawing(self.organisation, since_ms)

        def commit() -> None:
            now_ms = self._now_ms()
            with self._database.write() as c:
                if at_once:
                    if withdrawals.switch_off(c, self._org_id, since_ms=since_ms):
                        self._audit_switch(c, "off", by, "at once")
                elif withdrawals.begin_for_all(c, self._org_id, now_ms=now_ms):
                    write.add_audit(
                        c, self._org_id, at_ms=now_ms, actor=by, action="organisation.withdrawing",
                        subject=f"organisation {self._org_id}",
                        summary="Began to withdraw every config, then to switch Remote Configuration off",
                    )  # fmt: skip

        await asyncio.to_thread(commit)
        await self.refresh()

    def _audit_switch(
        self, c: sa.Connection, to: str, by: str, note: str, told: Mapping[str, object] | None = None
    ) -> None:
        write.add_audit(
            c, self._org_id, at_ms=self._now_ms(), actor=by, action=f"organisation.switched_{to}",
            subject=f"organisation {self._org_id}",
            summary=f"Switched Remote Configuration {to}{f', {note}' if note else ''}",
            detail=told,
        )  # fmt: skip

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)


def _without_use(keys: Iterable[rows.ApiKeyRow]) -> list[rows.ApiKeyRow]:
    return [replace(key, last_used_ms=None) for key in keys]


def _require_seen(now: rows.Organisation, seen: Mapping[str, object]) -> None:
    present = {"name": now.name, "production_envs": list(now.production_envs)}
    for field, value in seen.items():
        if field in present and present[field] != value:
            raise ConflictError("Somebody changed these settings since you saw them: look at them again.")


def _checked_envs(given: Sequence[str], problems: list[Problem]) -> tuple[str, ...]:
    chosen: dict[str, str] = {}
    for number, env in enumerate(given):
        env = env.strip()
        if not 1 <= len(env) <= MAX_ENV_CHARS or not env.isprintable():
            problems.append(
                Problem(f"$.production_envs[{number}]", f"1 to {MAX_ENV_CHARS} printable characters")
            )
        chosen.setdefault(env.casefold(), env)
    if len(given) > MAX_ENVS:
        problems.append(Problem("$.production_envs", f"at most {MAX_ENVS} environments"))
    return tuple(chosen.values())
