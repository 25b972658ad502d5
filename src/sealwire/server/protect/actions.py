"""App and API Protection on and off, and who is refused: what somebody asks for, done and told in words.

Per exact targeting there is one ASM_FEATURES config named ``activation``, and the entries of a denylist that
become one file (see ``denylists``). Pages, API and command line all change them here, and so with the
permissions of an ``Editor``.

A change of an activation reads first and carries the revision it read. Those of one process wait for each
other; if somebody elsewhere was faster the whole change is done again on what they left, so nobody undoes
another's work unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import orjson

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.products import PRODUCTS
from sealwire.server.access import Principal
from sealwire.server.authoring.editing import PUBLISH, Editor
from sealwire.server.control_plane import ControlPlane
from sealwire.server.protect import denylist
from sealwire.server.protect.denylist import Checked, Kind, Surroundings, Traffic, some
from sealwire.server.protect.denylists import (
    DATA,
    Edit,
    Key,
    Written,
    ended,
    new_entry,
    until_in_words,
)
from sealwire.server.protect.targets import in_words, key_of, normal
from sealwire.server.store import read, rows
from sealwire.server.store.protect import EntryRow
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant

PROTECTION = "App and API Protection"
FEATURES = "ASM_FEATURES"
ACTIVATION = "activation"
ATTEMPTS = 5
MAX_REASON = 1000
MAX_SPAN_S = 10 * 365 * 86400
SOURCES = ("trace", "signal", "feed", "paste")  # of an entry, before a colon; none: by hand
_FEW = 50  # of more than these nobody reads what else is said of each

_LOCKS: WeakKeyDictionary[Tenant, asyncio.Lock] = WeakKeyDictionary()


class Wanted(StrEnum):
    """What the activation for a targeting shall say.

    Off holds in spite of wider activations. Unset takes back whatever was said; not_on takes back only an
    "on", so that nobody who wants less gets more.
    """

    ON = "on"
    OFF = "off"
    UNSET = "unset"
    NOT_ON = "not_on"


@dataclass(frozen=True, slots=True)
class Note:
    """What else somebody should know of a change.

    Attributes:
        kind: ``stays``, ``counts_as_much``, ``wider_remains``, ``covered``, ``not_blocked``,
            ``stays_longer``, ``still_blocked`` or ``nothing_enforces``.
        config_id: The config it is about; empty when it is about none.
        value: The entry it is about; empty when it is about none, or one on no list of ours.
        targeting: Of that config.
    """

    kind: str
    words: str
    config_id: str = ""
    value: str = ""
    targeting: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change came to.

    Attributes:
        row: The config as it is now; None if there is none.
        changed: Whether something was written.
        sentence: What was done, for people.
    """

    row: rows.ConfigRow | None
    changed: bool
    sentence: str
    notes: tuple[Note, ...] = ()


class Protect:
    """What ``principal`` does about attacks on ``tenant``'s services, at the moment ``now``."""

    def __init__(self, plane: ControlPlane, tenant: Tenant, principal: Principal) -> None:
        self._plane = plane
        self._tenant = tenant
        self._principal = principal
        self._asked = 0
        self._now = plane.clock()
        self._editor = Editor(tenant, principal, now=self._now)

    @property
    def now_s(self) -> int:
        """The moment all of this is about, seconds since 1970."""
        return int(self._now.timestamp())

    # On and off ---------------------------------------------------------------------------------------

    async def activate(self, target: Targeting, wanted: Wanted, *, reason: str = "") -> Outcome:
        """Switch App and API Protection on or off for exactly this targeting, or say nothing of it any more.

        Raises:
            ConflictError: Others were faster time and again.
            NotPermittedError, InvalidChangeError: As they say; nothing was changed.
        """
        is_on = wanted is Wanted.ON
        where = in_words(target)

        async def change() -> Outcome:
            listed = await self._active(FEATURES)
            existing = _exactly(listed, ACTIVATION, target)
            notes = tuple(_other_activations(listed, target, existing, is_on=is_on))
            says = says_on(existing) if existing is not None else None
            if wanted is Wanted.NOT_ON and existing is not None and says is False:
                already = f"is told to be off ({_named(existing)}); nothing was changed."
                return Outcome(existing, False, f"{where[:1].upper()}{where[1:]} {already}", notes)
            if wanted in (Wanted.UNSET, Wanted.NOT_ON):
                return await self._take_back(existing, target, says, notes, reason)
            if existing is not None and says is is_on:
                already = "was already on" if is_on else "was already told to be off"
                return Outcome(
                    existing, False, f"{PROTECTION} {already} for {where} ({_named(existing)}).", notes
                )
            payload = {**(_payload(existing) if existing else {}), "asm": {"enabled": is_on}}
            row = await self._save(existing, FEATURES, ACTIVATION, target, payload, reason)
            word = "on" if is_on else "off"
            return Outcome(row, True, f"{PROTECTION} is {word} for {where} ({_named(row)}).", notes)

        return await self._until_nobody_interferes(change)

    async def _take_back(
        self,
        existing: rows.ConfigRow | None,
        target: Targeting,
        says: bool | None,
        notes: tuple[Note, ...],
        reason: str,
    ) -> Outcome:
        where = in_words(target)
        if existing is None or says is None:
            return Outcome(
                None, False, f"There is no activation for exactly {where}; nothing was changed.", notes
            )
        rest = {key: value for key, value in _payload(existing).items() if key != "asm"}
        if rest:
            row = await self._save(existing, FEATURES, ACTIVATION, target, rest, reason)
        else:
            row = await self._retire(existing)
        what = "activation" if says else "order to be off"
        return Outcome(
            row,
            True,
            f"The {what} for {where} was taken back (config {existing.config_id}); "
            "applications go by their own settings again.",
            notes,
        )

    # Blocking -----------------------------------------------------------------------------------------

    def around(self, own_address: str = "") -> Surroundings:
        """What is to be spared when somebody is blocked.

        Args:
            own_address: Where this person's request came from.
        """
        agents = {
            session.address: session.hostname
            for session in self._tenant.distributor.sessions.values()
            if session.address
        }
        return Surroundings(own_address, agents, self._tenant.denylists.networks, self._traffic)

    def _traffic(self, value: str) -> Traffic | None:
        self._asked += 1
        if self._asked > _FEW or denylist.pack(value) is None:
            return None  # each look goes through all who came
        seen = self._tenant.detection.traffic.within(value)
        return Traffic(seen.requests, seen.addresses, tuple(seen.services))

    def check(self, kind: Kind, values: Sequence[str], *, own_address: str = "") -> tuple[Checked, ...]:
        """Read what somebody wants to block, and say what of it may hurt.

        Raises:
            InvalidChangeError: With the problem of each value that is none.
        """
        return denylist.check(kind, values, self.around(own_address))

    async def block(
        self,
        kind: Kind,
        checked: Sequence[Checked],
        *,
        until_s: int | None,
        target: Targeting,
        reason: str = "",
        source: str = "",
    ) -> Outcome:
        """Refuse requests of these addresses or users, for ever or until a moment; again to extend it.

        One that somebody names by hand lasts as they say then, be it shorter. Of several, or from a trace or
        a signal, none that lasts longer already is cut short: nobody looked at each of them.

        Args:
            source: Where this comes from: ``""`` by hand, ``trace:<id>``, ``signal:<id>``.

        Raises:
            InvalidChangeError: The moment is over, or the list would be too long.
            ConflictError, NotPermittedError: As they say; nothing was changed.
        """
        lines = [(one.value, until_s, "") for one in checked]
        self.require(until_s=until_s, reason=reason, source=source)
        written = await self._tenant.denylists.apply(
            self._principal, target,
            self._blocking(
                kind, lines, target, reason=reason, source=source,
                may_shorten=len(lines) == 1 and not source,
            ),
        )  # fmt: skip
        outcome = await self._blocked(written, kind, [one.value for one in checked], until_s, target)
        cautions = tuple(
            Note("healthy_traffic", one.cautions[0], value=one.value) for one in checked if one.cautions
        )
        return Outcome(outcome.row, outcome.changed, outcome.sentence, (*outcome.notes, *cautions[:_FEW]))

    async def block_lines(
        self,
        kind: Kind,
        lines: Sequence[tuple[str, int | None, str]],
        *,
        target: Targeting,
        reason: str,
        source: str,
        also: Callable[[Any], None] | None = None,
    ) -> Outcome:
        """Refuse many at once, each with an end and perhaps a reason of its own; none is cut short.

        Args:
            lines: Value, until when in seconds (None is for ever), reason (empty: that of all).
            also: Written in the same transaction.
        """
        self.require(until_s=None, reason=reason, source=source)
        written = await self._tenant.denylists.apply(
            self._principal, target,
            self._blocking(kind, lines, target, reason=reason, source=source, also=also),
        )  # fmt: skip
        return await self._blocked(written, kind, [value for value, *_ in lines], None, target)

    def require(self, *, until_s: int | None, reason: str, source: str) -> None:
        """Refuse what makes no sense.

        Raises:
            InvalidChangeError: With what that is.
        """
        if until_s is not None and not self.now_s < until_s <= self.now_s + MAX_SPAN_S:
            raise InvalidChangeError(
                "This block would be over already, or last longer than ten years.",
                problems=(Problem("$.until", "a moment to come"),),
            )
        if len(reason) > MAX_REASON or any(ord(one) < 32 and one != "\n" for one in reason):
            words = f"A reason has at most {MAX_REASON} characters, none that nobody can see."
            raise InvalidChangeError(words, problems=(Problem("$.reason", words),))
        word, colon, name = source.partition(":")
        if source and (
            word not in SOURCES or not colon or not name or len(source) > 200 or not source.isprintable()
        ):
            words = f"A source is one of {', '.join(f'{one}:<id>' for one in SOURCES)}, or empty."
            raise InvalidChangeError(words, problems=(Problem("$.source", words),))

    def _blocking(
        self,
        kind: Kind,
        lines: Sequence[tuple[str, int | None, str]],
        target: Targeting,
        *,
        reason: str,
        source: str,
        also: Callable[[Any], None] | None = None,
        may_shorten: bool = False,
    ) -> Callable[[Mapping[Key, EntryRow]], Edit]:
        by, now_ms = self._principal.user, int(self._now.timestamp() * 1000)
        org_id = self._tenant.organisation.org_id

        def decide(present: Mapping[Key, EntryRow]) -> Edit:
            edit = Edit(action="denylist.blocked", comment=reason, also=also)
            seen = set()
            for value, until_s, own_reason in lines:
                if value in seen:
                    continue
                seen.add(value)
                until_ms = None if until_s is None else until_s * 1000
                why = own_reason or reason
                known = present.get((kind.word, value, ""))
                if known is None:
                    edit.added.append(
                        new_entry(
                            org_id,
                            kind,
                            value,
                            target,
                            until_ms=until_ms,
                            by=by,
                            reason=why,
                            source=source,
                            now_ms=now_ms,
                        )
                    )
                elif not may_shorten and _is_longer(known, until_ms):
                    continue
                elif known.until_ms != until_ms or why not in ("", known.reason):
                    edit.changed.append(
                        msgspec.structs.replace(
                            known,
                            until_ms=until_ms,
                            reason=why or known.reason,
                            changed_ms=now_ms,
                            changed_by=by,
                            source=source or known.source,
                        )
                    )
            values = [row.value for row in (*edit.added, *edit.changed)]
            if edit.changed and not edit.added:
                edit.action = "denylist.extended"
            ends = {until for _, until, _ in lines}
            until = f" {self.until(ends.pop())}" if len(ends) == 1 else ""
            number = f"{len(values):,} {_counted(kind, len(values))}: " if len(values) > 1 else ""
            edit.summary = f"Blocked {number}{some(values)} for {in_words(target)}{until}"
            edit.detail = {
                "kind": kind.word, "values": values[:100], "count": len(values), "reason": reason,
                "source": source, "target": target.to_dict(),
            }  # fmt: skip
            return edit

        return decide

    async def _blocked(
        self, written: Written, kind: Kind, values: Sequence[str], until_s: int | None, target: Targeting
    ) -> Outcome:
        notes: list[Note] = []
        for value in values:
            wider = written.covered.get((kind, value))
            if wider is not None and len(notes) < _FEW:
                words = f"{value} is already blocked: {wider} is, for at least as long."
                notes.append(Note("covered", words, value=wider))
        asked = set(values)
        touched = {(row.kind, row.value) for row in (*written.edit.added, *written.edit.changed)}
        for row in self._tenant.denylists.of_target(key_of(target)):
            if row.value in asked and row.kind == kind.word and not row.feed and len(notes) < _FEW:
                wanted_ms = None if until_s is None else until_s * 1000
                if (row.kind, row.value) not in touched and _is_longer(row, wanted_ms):
                    longer = until_in_words(row.until_ms, self.now_s * 1000)
                    notes.append(
                        Note("stays_longer", f"{row.value} stays blocked {longer}.", value=row.value)
                    )
        if not written.changed:
            return Outcome(written.config, False, "Nothing was changed.", tuple(notes))
        done = [row.value for row in (*written.edit.added, *written.edit.changed) if row.value in asked]
        where = f" for {in_words(target)}" if target.fields else ""
        ends = {row.until_ms for row in (*written.edit.added, *written.edit.changed) if row.ended_ms is None}
        until = f" {self.until(until_s)}" if len(ends) <= 1 or until_s is not None else ""
        config = f" ({_named(written.config)})" if written.config is not None else ""
        number = f"{len(done):,} {_counted(kind, len(done))}: " if len(done) > 5 else ""
        what = "attacks of " if kind is Kind.SUSPICIOUS else ""
        sentence = f"Blocked {what}{number}{some(done)}{where}{until}{config}."
        return Outcome(written.config, True, sentence, (*notes, *await self._nothing_enforces(target)))

    async def unblock(
        self,
        kind: Kind,
        values: Sequence[str],
        *,
        target: Targeting | None = None,
        config_id: str = "",
        reason: str = "",
    ) -> Outcome:
        """Let addresses or users in again, on the list for exactly this targeting or in this config.

        Raises:
            NotFoundError: None of them is blocked there.
            ConflictError, InvalidChangeError, NotPermittedError: As they say; nothing was changed.
        """
        wanted = [one.value for one in denylist.check(kind, values)]
        denylists = self._tenant.denylists
        await denylists.settle()
        if config_id:
            ours = [file for file in denylists.files() if file.config_id == config_id]
            if not ours:
                return await self._unblock_elsewhere(kind, wanted, config_id, reason)
            target = denylists.target_of(config_id)
        target = target or Targeting()
        where = in_words(target)
        present = {row.value for row in denylists.of_target(key_of(target)) if row.kind == kind.word}
        missing = [
            Note("not_blocked", f"{value} was not blocked for {where}.", value=value)
            for value in wanted
            if value not in present
        ]
        gone = [value for value in wanted if value in present]
        if not gone:
            notes = [*missing, *self._still_blocked(kind, wanted)]
            raise NotFoundError(" ".join(["Nothing was changed.", *(note.words for note in notes)]))
        written = await denylists.apply(
            self._principal, target, self._unblocking({(kind.word, value) for value in gone}, target, reason)
        )
        return self._unblocked(written, kind, gone, wanted, missing)

    async def unblock_rows(self, ids: Sequence[int], *, reason: str = "") -> Outcome:
        """Let in again whom these entries, by their numbers, refuse.

        Raises:
            NotFoundError: None of them is in force.
        """
        denylists = self._tenant.denylists
        await denylists.settle()
        wanted = set(ids)
        found = [row for row in denylists.in_force() if row.id in wanted]
        if not found:
            raise NotFoundError("Nothing was changed: none of these is blocked any more.")
        outcomes: list[Outcome] = []
        groups: dict[tuple[str, str], list[EntryRow]] = {}
        for row in found:
            groups.setdefault((row.config_id, row.target_key), []).append(row)
        for group in groups.values():  # of all of them, before anything is done to one
            target = Targeting.parse(orjson.loads(group[0].target))
            for permission in (PUBLISH, PRODUCTS[DATA].writes):
                self._principal.require_change(permission, services=target.service, envs=target.env)
        for (config_id, _), group in groups.items():
            if config_id:
                for kind in Kind:
                    if values := [row.value for row in group if row.kind == kind.word]:
                        outcomes.append(await self._unblock_elsewhere(kind, values, config_id, reason))
                continue
            target = Targeting.parse(orjson.loads(group[0].target))
            keys = {(row.kind, row.value) for row in group}
            written = await denylists.apply(self._principal, target, self._unblocking(keys, target, reason))
            gone = [row.value for row in group]
            kind = next(one for one in Kind if one.word == group[0].kind)
            outcomes.append(self._unblocked(written, kind, gone, gone, []))
        notes = tuple(note for outcome in outcomes for note in outcome.notes)
        if len(outcomes) == 1:
            return outcomes[0]
        return Outcome(outcomes[-1].row, True, f"Unblocked {some([row.value for row in found])}.", notes)

    def _unblocking(
        self, keys: set[tuple[str, str]], target: Targeting, reason: str
    ) -> Callable[[Mapping[Key, EntryRow]], Edit]:
        by, now_ms = self._principal.user, int(self._now.timestamp() * 1000)

        def decide(present: Mapping[Key, EntryRow]) -> Edit:
            over = [
                ended(row, now_ms=now_ms, by=by, how="unblocked")
                for (kind, value, _), row in present.items()
                if (kind, value) in keys
            ]
            values = list(dict.fromkeys(row.value for row in over))
            number = f"{len(values):,}: " if len(values) > 1 else ""
            return Edit(
                changed=over, action="denylist.unblocked", comment=reason,
                summary=f"Unblocked {number}{some(values)} for {in_words(target)}",
                detail={
                    "values": values[:100], "count": len(values), "reason": reason,
                    "target": target.to_dict(),
                },
            )  # fmt: skip

        return decide

    def _unblocked(
        self, written: Written, kind: Kind, gone: Sequence[str], wanted: Sequence[str], notes: list[Note]
    ) -> Outcome:
        row = written.config
        feeds = sorted({one.feed for one in written.edit.changed if one.feed})
        if feeds:
            words = f"The feed {some(feeds)} names some of these: it blocks them again when it next comes."
            notes = [*notes, Note("in_a_feed", words)]
        notes = [*notes, *self._still_blocked(kind, wanted)]
        sentence = f"Unblocked {some(gone)}"
        if row is None:
            sentence += "."
        elif row.state != "active":
            sentence = _nobody_left(gone, row)
        else:
            sentence += f" ({_named(row)})."
        return Outcome(row, True, sentence, tuple(notes))

    async def _unblock_elsewhere(
        self, kind: Kind, values: Sequence[str], config_id: str, reason: str
    ) -> Outcome:
        """Take values out of a config that is not ours, and nothing else."""

        async def change() -> Outcome:
            listed = await self._active(DATA)
            existing = next((row for row in listed if row.config_id == config_id), None)
            held = denylist.entries(_payload(existing), kind) if existing else []
            gone = [value for value in values if any(entry.value == value for entry in held)]
            if existing is None or not gone:
                raise NotFoundError(
                    f"Nothing was changed. Config {config_id[:40]} does not block {some(values)}."
                )
            kept = [entry for entry in held if entry.value not in gone]
            payload = denylist.replaced(_payload(existing), kind, kept)
            if denylist.is_empty(payload):
                row = await self._retire(existing)
                sentence = _nobody_left(gone, row)
            else:
                own = Targeting.parse(existing.targeting)
                row = await self._save(existing, DATA, existing.name, own, payload, reason)
                sentence = f"Unblocked {some(gone)} ({_named(row)})."
            await self._tenant.denylists.settle()
            return Outcome(row, True, sentence, tuple(self._still_blocked(kind, values)))

        return await self._until_nobody_interferes(change)

    def _still_blocked(self, kind: Kind, values: Sequence[str]) -> list[Note]:
        """What blocks these values even after the change."""
        notes: list[Note] = []
        if len(values) > _FEW:
            return notes
        denylists = self._tenant.denylists
        live = [row for row in denylists.in_force() if row.kind == kind.word]
        for value in values:
            for row in live:
                if row.value != value and (kind is Kind.USER or not denylist.holds(row.value, value)):
                    continue
                target = Targeting.parse(orjson.loads(row.target))
                config_id, _ = denylists.config_of(row)
                place = f" in config {row.config_id}" if row.config_id else ""
                words = f"{value} stays blocked for {in_words(target)} by {row.value}{place}."
                own = "" if row.config_id else row.value
                notes.append(Note("still_blocked", words, config_id, own, target.to_dict()))
        return notes[:_FEW]

    async def _nothing_enforces(self, target: Targeting) -> tuple[Note, ...]:
        """A word on it when no application would act on a block yet."""
        for row in await self._active(FEATURES):
            if says_on(row) and Targeting.parse(row.targeting).may_overlap(target):
                return ()
        fleet = await self._tenant.overview.glance()
        for line in fleet.clients:
            if DATA in line.facts.get("products", ()) and target.matches(
                self._tenant.overview.facts_of(line)
            ):
                return ()
        who = "No service in this target" if target.fields else "No service"
        return (Note("nothing_enforces", f"{who} has {PROTECTION} on, so nothing enforces this yet."),)

    # Configs ------------------------------------------------------------------------------------------

    async def _until_nobody_interferes(self, change: Callable[[], Awaitable[Outcome]]) -> Outcome:
        async with _LOCKS.setdefault(self._tenant, asyncio.Lock()):
            for _ in range(ATTEMPTS - 1):
                try:
                    return await change()
                except ConflictError:
                    continue
            return await change()

    async def _active(self, product: str) -> list[rows.ConfigRow]:
        return await asyncio.to_thread(active, self._plane, self._tenant, product)

    async def _save(
        self,
        existing: rows.ConfigRow | None,
        product: str,
        name: str,
        target: Targeting,
        payload: Mapping[str, object],
        reason: str,
    ) -> rows.ConfigRow:
        """Change the config that is there, or make one.

        Raises:
            ConflictError: Somebody changed or retired it since it was read.
        """
        written = {"payload": dict(payload), "comment": reason}
        if existing is not None:
            try:
                row, _ = await self._editor.change(
                    existing.config_id, written, expected_revision=existing.revision
                )
            except NotFoundError as error:
                raise ConflictError(f"Config {existing.config_id} was retired meanwhile.") from error
            return row
        made, _ = await self._editor.create(
            {"product": product, "name": name, "targeting": target.to_dict(), **written}
        )
        # Keep one config per name and target: should two control planes make it at once, the older one stays.
        oldest = _exactly(await self._active(product), name, target)
        if oldest is not None and oldest.config_id != made.config_id:
            await self._retire(made)
            raise ConflictError(f"Config {oldest.config_id} was made meanwhile.")
        return made

    async def _retire(self, row: rows.ConfigRow) -> rows.ConfigRow:
        try:
            return await self._editor.retire(row.config_id, expected_revision=row.revision)
        except NotFoundError as error:
            raise ConflictError(f"Config {row.config_id} was retired meanwhile.") from error

    def until(self, until_s: int | None) -> str:
        """When a block ends, in words."""
        return until_in_words(None if until_s is None else until_s * 1000, self.now_s * 1000)


def active(plane: ControlPlane, tenant: Tenant, product: str) -> list[rows.ConfigRow]:
    """The configs of a product that are in force, from the database (blocking)."""
    now_ms = plane.now_ms()
    with plane.database.read() as c:
        found = read.configs(c, tenant.organisation.org_id, product=product, state="active")
    return [row for row in found if row.expires_ms is None or row.expires_ms > now_ms]


def _is_longer(row: EntryRow, until_ms: int | None) -> bool:
    """Whether an entry lasts longer than until then (None: for ever)."""
    return until_ms is not None and (row.until_ms is None or row.until_ms > until_ms)


def says_on(row: rows.ConfigRow) -> bool | None:
    """Whether a config switches on (True) or off (False); None if it does not speak of it."""
    asm = _payload(row).get("asm")
    enabled = asm.get("enabled") if isinstance(asm, dict) else None
    return enabled if isinstance(enabled, bool) else None


def _exactly(listed: Iterable[rows.ConfigRow], name: str, target: Targeting) -> rows.ConfigRow | None:
    """The config of that name for exactly that target; the oldest, should there be several."""
    wanted = normal(target)
    found = [row for row in listed if row.name == name and normal(Targeting.parse(row.targeting)) == wanted]
    return min(found, key=lambda row: (row.created_ms, row.config_id)) if found else None


def _nobody_left(gone: Sequence[str], row: rows.ConfigRow) -> str:
    return f"Unblocked {some(gone)}; nobody is left on this list (config {row.config_id} is retired)."


def _counted(kind: Kind, count: int) -> str:
    one, many = ("user", "users") if kind is Kind.USER else ("address or network", "addresses and networks")
    return one if count == 1 else many


def _payload(row: rows.ConfigRow) -> dict[str, Any]:
    payload: dict[str, Any] = orjson.loads(row.payload)
    return payload


def _named(row: rows.ConfigRow) -> str:
    return f"config {row.config_id}, revision {row.revision}"


def _other_activations(
    listed: Iterable[rows.ConfigRow], target: Targeting, own: rows.ConfigRow | None, *, is_on: bool
) -> Iterable[Note]:
    """What other configs still say about clients that this target covers."""
    for row in listed:
        says = says_on(row)
        theirs = Targeting.parse(row.targeting)
        if says is None or says == is_on or (own is not None and own.config_id == row.config_id):
            continue
        if not theirs.may_overlap(target):
            continue
        where, word = in_words(theirs), "on" if says else "off"
        if theirs.specificity > target.specificity:
            words = (
                f"{where[:1].upper()}{where[1:]} stays {word}: its config {row.config_id} is more specific."
            )
            yield Note("stays", words, row.config_id, targeting=row.targeting)
        elif theirs.specificity == target.specificity and target.fields:
            words = f"Config {row.config_id} says {word} for {where} and counts as much: the newer one wins."
            yield Note("counts_as_much", words, row.config_id, targeting=row.targeting)
        elif not is_on:
            what = f"The activation for {where}" if theirs.fields else "An organisation-wide activation"
            words = f"{what} remains (config {row.config_id})."
            yield Note("wider_remains", words, row.config_id, targeting=row.targeting)
