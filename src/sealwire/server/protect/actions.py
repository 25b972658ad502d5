"""Attack detection on and off, addresses and users blocked: everyday words made into configs.

Per exact targeting there is one ASM_FEATURES config named ``activation`` and one ASM_DATA config named
``denylist``, by default the whole organisation's. Pages, API and command line all change them here, through
the ``Editor`` and so with its permissions. Each write of a denylist also drops what has lapsed; when nobody
is left on it, its config is retired.

A change reads first and carries the revision it read. Those of one process wait for each other; if somebody
elsewhere was faster the whole change is done again on what they left, so nobody undoes another's work unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.server.access import Principal
from sealwire.server.authoring.editing import Editor
from sealwire.server.control_plane import ControlPlane
from sealwire.server.protect import denylist
from sealwire.server.protect.denylist import Checked, Entry, Kind, some
from sealwire.server.store import read, rows
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant

FEATURES, DATA = "ASM_FEATURES", "ASM_DATA"
ACTIVATION, DENYLIST = "activation", "denylist"
ATTEMPTS = 5
MAX_ENTRIES = 10_000  # of one kind in one list: what the field documents as the most

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
            ``still_blocked`` or ``nothing_enforces``.
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
        self._now = plane.clock()
        self._editor = Editor(tenant, principal, now=self._now)

    @property
    def now_s(self) -> int:
        """The moment all of this is about, seconds since 1970."""
        return int(self._now.timestamp())

    # On and off ---------------------------------------------------------------------------------------

    async def activate(self, target: Targeting, wanted: Wanted, *, reason: str = "") -> Outcome:
        """Switch attack detection on or off for exactly this targeting, or say nothing of it any more.

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
                    existing, False, f"Attack detection {already} for {where} ({_named(existing)}).", notes
                )
            payload = {**(_payload(existing) if existing else {}), "asm": {"enabled": is_on}}
            row = await self._save(existing, FEATURES, ACTIVATION, target, payload, reason)
            word = "on" if is_on else "off"
            return Outcome(row, True, f"Attack detection is {word} for {where} ({_named(row)}).", notes)

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

    def check(self, kind: Kind, values: Sequence[str], *, own_address: str = "") -> tuple[Checked, ...]:
        """Read what somebody wants to block, and say what of it may hurt.

        Args:
            own_address: Where this person's request came from.

        Raises:
            InvalidChangeError: With the problem of each value that is none.
        """
        agents = {
            session.address: session.hostname
            for session in self._tenant.distributor.sessions.values()
            if session.address
        }
        return denylist.check(kind, values, own_address=own_address, agents=agents)

    async def block(
        self,
        kind: Kind,
        checked: Sequence[Checked],
        *,
        until_s: int | None,
        target: Targeting,
        reason: str = "",
    ) -> Outcome:
        """Refuse requests of these addresses or users, for ever or until a moment.

        Raises:
            InvalidChangeError: The moment is over, or the list would be too long.
            ConflictError, NotPermittedError: As they say; nothing was changed.
        """
        if until_s is not None and until_s <= self.now_s:
            raise InvalidChangeError(
                "This block would be over already.", problems=(Problem("$.until", "a moment to come"),)
            )

        async def change() -> Outcome:
            existing = _exactly(await self._active(DATA), DENYLIST, target)
            before = denylist.tidied(_payload(existing) if existing else {}, now_s=self.now_s)
            listed = denylist.entries(before, kind)
            notes, blocked = [], []
            for one in checked:
                entry = Entry(one.value, until_s)
                if kind is Kind.IP and (wider := denylist.covering(listed, entry)) is not None:
                    words = f"{one.value} is already blocked: {wider.value} is, {self.until(wider.until_s)}."
                    notes.append(Note("covered", words, value=wider.value))
                    continue
                listed = denylist.added(listed, entry)
                blocked.append(one.value)
            if len(listed) > MAX_ENTRIES:
                raise InvalidChangeError(
                    f"A list holds at most {MAX_ENTRIES:,} entries; this would make {len(listed):,}.",
                    problems=(Problem("$.values", f"at most {MAX_ENTRIES:,} in the list"),),
                )
            if not blocked and existing is not None:
                return Outcome(existing, False, "Nothing was changed.", tuple(notes))
            payload = denylist.tidied(denylist.replaced(before, kind, listed), now_s=self.now_s)
            row = await self._save(existing, DATA, DENYLIST, target, payload, reason)
            where = f" for {in_words(target)}" if target.fields else ""
            sentence = f"Blocked {some(blocked)}{where} {self.until(until_s)} ({_named(row)})."
            return Outcome(row, True, sentence, (*notes, *await self._nothing_enforces(target)))

        return await self._until_nobody_interferes(change)

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

        async def change() -> Outcome:
            listed = await self._active(DATA)
            if config_id:
                existing = next((row for row in listed if row.config_id == config_id), None)
            else:
                existing = _exactly(listed, DENYLIST, target or Targeting())
            # Before lapsed entries go: unblocking one that just lapsed is no mistake.
            held = denylist.entries(_payload(existing), kind) if existing else []
            gone = [value for value in wanted if any(entry.value == value for entry in held)]
            kept = [entry for entry in held if entry.value not in gone]
            where = in_words(target or Targeting())
            notes = [
                Note("not_blocked", f"{value} was not blocked for {where}.", value=value)
                for value in wanted
                if value not in gone
            ]
            notes += self._still_blocked(listed, kind, wanted, existing, kept)
            if existing is None or not gone:
                raise NotFoundError(" ".join(["Nothing was changed.", *(note.words for note in notes)]))
            payload = denylist.tidied(denylist.replaced(_payload(existing), kind, kept), now_s=self.now_s)
            sentence = f"Unblocked {some(gone)}"
            if denylist.is_empty(payload):
                row = await self._retire(existing)
                sentence += f"; nobody is left on this list (config {row.config_id} is retired)."
            else:
                own = Targeting.parse(existing.targeting)
                row = await self._save(existing, DATA, existing.name, own, payload, reason)
                sentence += f" ({_named(row)})."
            return Outcome(row, True, sentence, tuple(notes))

        return await self._until_nobody_interferes(change)

    def _still_blocked(
        self,
        listed: Iterable[rows.ConfigRow],
        kind: Kind,
        values: Iterable[str],
        existing: rows.ConfigRow | None,
        kept: list[Entry],
    ) -> list[Note]:
        """What blocks these values even after the change."""
        notes = []
        for row in listed:
            is_own = existing is not None and row.config_id == existing.config_id
            live = denylist.alive(kept if is_own else denylist.entries(_payload(row), kind), now_s=self.now_s)
            for value in values:
                for entry in denylist.still_covering(live, value):
                    where = in_words(Targeting.parse(row.targeting))
                    place = "" if row.name == DENYLIST else f" in config {row.config_id}"
                    words = f"{value} stays blocked for {where} by {entry.value}{place}."
                    own = entry.value if row.name == DENYLIST else ""
                    notes.append(Note("still_blocked", words, row.config_id, own, row.targeting))
        return notes

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
        return (Note("nothing_enforces", f"{who} has attack detection on, so nothing enforces this yet."),)

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
        if until_s is None:
            return "until unblocked"
        # Minutes are exact enough for people, unless the whole block lasts only a few of them.
        short = until_s - self.now_s < 600
        when = datetime.fromtimestamp(until_s, UTC)
        return f"until {when.strftime('%Y-%m-%d %H:%M:%S UTC' if short else '%Y-%m-%d %H:%M UTC')}"


def active(plane: ControlPlane, tenant: Tenant, product: str) -> list[rows.ConfigRow]:
    """The configs of a product that are in force, from the database (blocking)."""
    now_ms = plane.now_ms()
    with plane.database.read() as c:
        found = read.configs(c, tenant.organisation.org_id, product=product, state="active")
    return [row for row in found if row.expires_ms is None or row.expires_ms > now_ms]


def says_on(row: rows.ConfigRow) -> bool | None:
    """Whether a config switches on (True) or off (False); None if it does not speak of it."""
    asm = _payload(row).get("asm")
    enabled = asm.get("enabled") if isinstance(asm, dict) else None
    return enabled if isinstance(enabled, bool) else None


def in_words(target: Targeting) -> str:
    """``the whole organisation``, or ``service shop, env prod``."""
    parts = [
        f"{name.replace('_', ' ')} {' or '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in target.to_dict().items()
    ]
    return ", ".join(parts) or "the whole organisation"


def _exactly(listed: Iterable[rows.ConfigRow], name: str, target: Targeting) -> rows.ConfigRow | None:
    """The config of that name for exactly that target; the oldest, should there be several."""
    wanted = _normal(target)
    found = [row for row in listed if row.name == name and _normal(Targeting.parse(row.targeting)) == wanted]
    return min(found, key=lambda row: (row.created_ms, row.config_id)) if found else None


def _normal(target: Targeting) -> dict[str, object]:
    """One form for equal targetings."""
    return {
        field: frozenset(
            one.casefold() if field in ("service", "env", "language") else one for one in map(str, value)
        )
        if isinstance(value, list)
        else value
        for field, value in target.to_dict().items()
    }


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
