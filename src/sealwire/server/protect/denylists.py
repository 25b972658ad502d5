"""The denylist of an organisation: rows in the database, and the one file of each target that they become.

A row is somebody who is refused. Rows and the revision of the file that says so are written in one
transaction, so neither is ever without the other; a file holds no duplicate, nothing that lapsed and nothing
that a wider network covers. What lapses is ended when its time is over, whoever looks, in one change for all
that lapse together.

Configs are changed elsewhere too. One that is named ``denylist`` is ours: what somebody wrote into it by hand
becomes rows, and what they took out is unblocked. Other configs that list addresses or users stay as they
are; their entries are rows that are only looked at.

Rows are held in memory and read again when the version in the database is another one, so several control
planes may change them: who was slower does its work again on what the other left.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import orjson
import structlog

from sealwire.errors import ConflictError, InvalidChangeError, Problem, SealwireError, UnavailableError
from sealwire.products import PRODUCTS
from sealwire.server.access.permissions import ADMIN, BUILT_IN_ROLES, Grant, Principal
from sealwire.server.authoring.editing import PUBLISH, Editor
from sealwire.server.protect import denylist
from sealwire.server.protect.denylist import KINDS, Entry, Kind
from sealwire.server.protect.hits import Hits
from sealwire.server.protect.origins import Origin, origins_of
from sealwire.server.protect.targets import in_words, key_of, stored
from sealwire.server.store import protect as store
from sealwire.server.store import read, rows, write
from sealwire.server.store.protect import ConfigHead, EntryRow, FileRow
from sealwire.server.targeting import Targeting

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sealwire.server.store.database import Database
    from sealwire.server.tenant import Tenant

log = structlog.get_logger()

DATA, RULES = "ASM_DATA", "ASM"
DENYLIST, SUSPICIOUS = "denylist", "suspicious"  # names of our configs
SCHEDULE = "schedule"
ATTEMPTS = 5
MAX_ENTRIES = 10_000  # in a file: what the field documents as the most
LOOK_EVERY_S = 1.0
HITS_EVERY_S = 10.0
TIDY_EVERY_S = 3600.0
KEEP_ENDED_S, KEEP_ENDED_OF_FEEDS_S = 400 * 86400, 30 * 86400
KEEP_DRAFTS_S, MAX_DRAFTS = 30 * 86400, 1000
MAX_DRAFTS_EACH = 20  # of one author, so that nobody's go for somebody else's

Key = tuple[str, str, str]
"""Kind, value and feed: what there is one entry of in a target."""


@dataclass(slots=True)
class Edit:
    """What somebody wants of the entries of a target.

    Attributes:
        added, changed: Rows as they shall be; those that are added get their numbers later.
        action: As the audit trail calls it; empty: nothing of it.
        also: Written in the same transaction.
    """

    added: list[EntryRow] = field(default_factory=list)
    changed: list[EntryRow] = field(default_factory=list)
    action: str = ""
    summary: str = ""
    detail: dict[str, object] = field(default_factory=dict)
    comment: str = ""
    also: Callable[[sa.Connection], None] | None = None

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.also)


@dataclass(frozen=True, slots=True)
class Written:
    """What came of an edit.

    Attributes:
        config: The file as it is now; None: there is none.
        covered: What of the target is not in the file, and the wider network that makes it needless.
        in_force: Entries of the target, by number of the row.
    """

    edit: Edit
    config: rows.ConfigRow | None
    changed: bool
    covered: Mapping[tuple[Kind, str], str]
    size: int = 0


@dataclass(slots=True)
class _Plan:
    edit: Edit
    version: int
    last_id: int
    existing: rows.ConfigRow | None
    before: dict[str, object]
    payload: dict[str, object]
    covered: dict[tuple[Kind, str], str]
    entries: int
    raw: bytes


Decide = Callable[[Mapping[Key, EntryRow]], Edit]


class Denylists:
    """Who is refused in one organisation, and what tells the tracers so."""

    def __init__(
        self,
        tenant: Tenant,
        database: Database,
        clock: Callable[[], datetime],
        own_networks: Iterable[str] = (),
    ) -> None:
        self._tenant = tenant
        self.networks = tuple(ipaddress.ip_network(text) for text in own_networks)
        self._database = database
        self._clock = clock
        self._org_id = tenant.organisation.org_id
        self._lock = asyncio.Lock()
        self._version = self._generation = -1
        self._last_id = 0
        self._rows: dict[str, dict[Key, EntryRow]] = {}  # of our files, by target
        self._foreign: dict[str, dict[Key, EntryRow]] = {}  # of other configs, by config
        self._files: dict[str, FileRow] = {}
        self._ours: dict[str, ConfigHead] = {}  # target -> our file
        self._names: dict[str, str] = {}  # of every config that may block somebody
        self._excluding: dict[str, ConfigHead] = {}  # target -> our exclusion
        self._disorder: set[str] = set()  # targets whose file somebody wrote by hand
        self._rest_until = 0.0
        self.hits = Hits(database, self._org_id, self.in_force)

    # Looking ------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Another one whenever an entry changed."""
        return self._version

    async def settle(self) -> None:
        """Take in what others changed."""
        async with self._lock:
            await asyncio.to_thread(self._sync)

    def in_force(self) -> list[EntryRow]:
        """Every entry that is in force, as far as this control plane has heard; thread-safe."""
        now_ms = self._now_ms()
        groups = [*list(self._rows.values()), *list(self._foreign.values())]
        return [
            row
            for group in groups
            for row in list(group.values())
            if row.until_ms is None or row.until_ms > now_ms
        ]

    def config_of(self, row: EntryRow) -> tuple[str, str]:
        """Id and name of the config that an entry is told by; empty ids where there is none."""
        if row.config_id:
            return row.config_id, self._names.get(row.config_id, "")
        ours = self._ours.get(row.target_key)
        return (ours.config_id, ours.name) if ours is not None else ("", DENYLIST)

    def size_of(self, config_id: str) -> tuple[int, int]:
        """How many entries a file has, and its bytes."""
        file = self._files.get(config_id)
        return (file.entries, file.size) if file is not None else (0, 0)

    def of_target(self, key: str) -> list[EntryRow]:
        """Every entry of a target, those that lapsed just now among them."""
        return list(self._rows.get(key, {}).values())

    def targets_of_feed(self, name: str) -> list[Targeting]:
        """Whom a feed blocks for: more than once only where a change of that was cut short."""
        found = {
            row.target for group in self._rows.values() for row in list(group.values()) if row.feed == name
        }
        return [Targeting.parse(orjson.loads(target)) for target in sorted(found)]

    def target_of(self, config_id: str) -> Targeting:
        """Whom a file of ours is for; everywhere, if it is none."""
        for head in self._ours.values():
            if head.config_id == config_id:
                return Targeting.parse(orjson.loads(head.target))
        return Targeting()

    def files(self) -> list[FileRow]:
        """Our files."""
        return [file for file in self._files.values() if file.is_ours]

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)

    # Changing -----------------------------------------------------------------------------------------

    async def apply(self, principal: Principal, target: Targeting, decide: Decide) -> Written:
        """Change the entries of a target, and what the tracers are told.

        Args:
            decide: Given the entries that are there, what shall become of them. It may be asked again.

        Raises:
            ConflictError: Others were faster time and again.
            NotPermittedError, InvalidChangeError: As they say; nothing was changed.
        """
        for permission in (PUBLISH, PRODUCTS[DATA].writes):
            principal.require_change(permission, services=target.service, envs=target.env)
        async with self._lock:
            for attempt in range(ATTEMPTS):
                editor = Editor(self._tenant, principal, now=self._clock())
                try:
                    return await self._apply(editor, principal, target, decide)
                except ConflictError:
                    self._version = self._generation = -1
                    if attempt == ATTEMPTS - 1:
                        raise
        raise AssertionError("unreachable")

    async def _apply(
        self, editor: Editor, principal: Principal, target: Targeting, decide: Decide
    ) -> Written:
        key = key_of(target)
        plan = await asyncio.to_thread(self._plan, target, key, decide)
        if not plan.edit and plan.payload == plan.before:
            return Written(plan.edit, plan.existing, False, plan.covered, len(plan.raw))
        excludes = "exclusion_data" in plan.payload and any(
            element.get("id") == Kind.SUSPICIOUS.list_id for element in _listed(plan.payload)
        )
        if excludes and key not in self._excluding:
            await self._exclude(editor, target, key)

        def also(c: sa.Connection, row: rows.ConfigRow | None) -> None:
            self._write(c, plan, key, row, principal.user)

        existing, config = plan.existing, plan.existing
        comment = (plan.edit.comment or plan.edit.summary)[:2000]
        if plan.payload == plan.before:
            await asyncio.to_thread(self._write_alone, also, existing)
        elif denylist.is_empty(plan.payload):
            assert existing is not None
            config = await editor.retire(
                existing.config_id, expected_revision=existing.revision, comment=comment, also=also
            )
        elif existing is not None:
            written = {"payload": plan.payload, "comment": comment, "expires_at": None}
            config, _ = await editor.change(
                existing.config_id, written, expected_revision=existing.revision, also=also, is_rendered=True
            )
        else:
            made = {"product": DATA, "name": DENYLIST, "targeting": target.to_dict(), "comment": comment}
            config, _ = await editor.create({**made, "payload": plan.payload}, also=also, is_rendered=True)
        self._remember(plan, key, config)
        if not excludes and (ruling := self._excluding.pop(key, None)) is not None:
            try:
                await editor.retire(ruling.config_id, expected_revision=None)
            except SealwireError as error:
                # The change is written, and without a list this does nothing: perhaps it is not theirs.
                log.info("exclusion of nobody stays", config=ruling.config_id, code=error.code)
                self._excluding[key] = ruling
        return Written(plan.edit, config, True, plan.covered, len(plan.raw))

    def _plan(self, target: Targeting, key: str, decide: Decide) -> _Plan:
        """What an edit would come to (blocking)."""
        self._sync()
        now_ms = self._now_ms()
        present = self._rows.get(key, {})
        edit = decide(present)
        added = [
            msgspec.structs.replace(row, id=self._last_id + number)
            for number, row in enumerate(edit.added, 1)
        ]
        after = dict(present)
        for row in (*edit.changed, *added):
            if row.ended_ms is None:
                after[key_of_row(row)] = row
            else:
                after.pop(key_of_row(row), None)
        existing = None
        if (ours := self._ours.get(key)) is not None:
            with self._database.read() as c:
                existing = read.config(c, self._org_id, ours.config_id)
            if existing is None or existing.revision != ours.revision:
                raise ConflictError(f"Config {ours.config_id} was changed meanwhile.")
        before: dict[str, object] = {} if existing is None else orjson.loads(existing.payload)
        payload, covered = self._render(before, after.values(), now_ms)
        entries = sum(len(denylist.entries(payload, kind)) for kind in Kind)
        if entries > MAX_ENTRIES and edit.added:
            words = f"A list holds at most {MAX_ENTRIES:,} entries; this would make {entries:,}."
            raise InvalidChangeError(
                words, problems=(Problem("$.values", f"at most {MAX_ENTRIES:,} in the list"),)
            )
        # What is covered is a matter of all entries, not only of those that somebody touched.
        moved = {row.id: row for row in edit.changed}
        fresh = {row.id: row for row in added}
        for row in after.values():
            wider = covered.get((KINDS[row.kind], row.value), "")
            if row.covered_by == wider:
                continue
            row = msgspec.structs.replace(row, covered_by=wider)
            (fresh if row.id in fresh else moved)[row.id] = row
        edit.added, edit.changed = list(fresh.values()), list(moved.values())
        raw = PRODUCTS[DATA].render(payload)
        return _Plan(edit, self._version, self._last_id, existing, before, payload, covered, entries, raw)

    def _render(
        self, before: Mapping[str, object], entries: Iterable[EntryRow], now_ms: int
    ) -> tuple[dict[str, object], dict[tuple[Kind, str], str]]:
        listed: dict[Kind, list[Entry]] = {kind: [] for kind in Kind}
        for row in entries:
            if row.until_ms is None or row.until_ms > now_ms:
                until_s = None if row.until_ms is None else row.until_ms // 1000
                listed[KINDS[row.kind]].append(Entry(row.value, until_s))
        return denylist.rendered(before, listed)

    def _write(self, c: sa.Connection, plan: _Plan, key: str, config: rows.ConfigRow | None, by: str) -> None:
        """Everything but the config, in the config's transaction and under its lock."""
        if store.head(c, self._org_id) != (plan.version, plan.last_id):
            raise ConflictError("Somebody else changed the denylist first.")
        if plan.existing is None and config is not None:
            for other in store.active_configs(c, self._org_id, DATA):
                if other.config_id != config.config_id and _is_ours(other) and _key(other) == key:
                    raise ConflictError(f"Config {other.config_id} was made meanwhile.")
        store.add_entries(c, plan.edit.added)
        store.change_entries(c, self._org_id, plan.edit.changed)
        last_id = plan.last_id + len(plan.edit.added)
        store.set_head(c, self._org_id, version=plan.version + 1, last_id=last_id)
        if config is not None:
            if config.state == "active":
                file = FileRow(config.config_id, key, True, config.revision, plan.entries, len(plan.raw))
                store.put_file(c, self._org_id, file)
            else:
                store.delete_file(c, self._org_id, config.config_id)
        if plan.edit.action:
            write.add_audit(
                c, self._org_id, at_ms=self._now_ms(), actor=by, action=plan.edit.action,
                subject=f"denylist {key}", summary=plan.edit.summary, detail=plan.edit.detail,
            )  # fmt: skip
        if plan.edit.also is not None:
            plan.edit.also(c)

    def _write_alone(
        self, also: Callable[[sa.Connection, rows.ConfigRow | None], None], config: rows.ConfigRow | None
    ) -> None:
        with self._database.write() as c:
            write.lock_domain(c, self._org_id)
            also(c, config)

    def _remember(self, plan: _Plan, key: str, config: rows.ConfigRow | None) -> None:
        """What was written, so that it need not be read again."""
        self._version, self._last_id = plan.version + 1, plan.last_id + len(plan.edit.added)
        group = self._rows.setdefault(key, {})
        for row in (*plan.edit.added, *plan.edit.changed):
            if row.ended_ms is None:
                group[key_of_row(row)] = row
            else:
                group.pop(key_of_row(row), None)
        if not group:
            del self._rows[key]
        self._disorder.discard(key)
        if config is None:
            return
        if config.state == "active":
            self._files[config.config_id] = FileRow(
                config.config_id, key, True, config.revision, plan.entries, len(plan.raw)
            )
            self._ours[key] = ConfigHead(
                config.config_id, config.name, store.target_json(config.targeting), config.revision,
                config.created_ms, config.expires_ms,
            )  # fmt: skip
        else:
            self._files.pop(config.config_id, None)
            self._ours.pop(key, None)

    async def _exclude(self, editor: Editor, target: Targeting, key: str) -> None:
        """The exclusion that looks at the list of suspicious addresses; it does nothing without one."""
        payload = denylist.exclusion("" if not target.fields else key)
        row, _ = await editor.create(
            {"product": RULES, "name": SUSPICIOUS, "targeting": target.to_dict(), "payload": payload,
             "comment": "Refuses attacks from addresses that are on the list of suspicious ones."},
            is_rendered=True,
        )  # fmt: skip
        self._excluding[key] = ConfigHead(
            row.config_id, row.name, store.target_json(row.targeting), row.revision, row.created_ms, None
        )

    # What others changed ------------------------------------------------------------------------------

    def _sync(self) -> None:
        """Read what is new in the database, and make rows of what was written into configs (blocking)."""
        for _ in range(ATTEMPTS):
            with self._database.read() as c:
                version, last_id = store.head(c, self._org_id)
                generation = read.domain(c, self._org_id).generation
                if version != self._version:
                    self._load(c, version, last_id)
                if generation == self._generation:
                    return
                data = store.active_configs(c, self._org_id, DATA)
                ruling = store.active_configs(c, self._org_id, RULES)
            try:
                self._take_in(data)
            except ConflictError:
                continue
            self._excluding = {
                _key(one): one for one in reversed(ruling) if one.name == SUSPICIOUS and not one.expires_ms
            }
            self._generation = generation
        if self._generation == -1:
            raise ConflictError("The denylist changes all the time; try again.")

    def _load(self, c: sa.Connection, version: int, last_id: int) -> None:
        self._rows, self._foreign = {}, {}
        for row in store.alive(c, self._org_id):
            group = (
                self._foreign.setdefault(row.config_id, {})
                if row.config_id
                else self._rows.setdefault(row.target_key, {})
            )
            group[key_of_row(row)] = row
        self._files = {file.config_id: file for file in store.files(c, self._org_id)}
        self._version, self._last_id = version, last_id

    def _take_in(self, data: list[ConfigHead]) -> None:
        now_ms = self._now_ms()
        active = [one for one in data if one.expires_ms is None or one.expires_ms > now_ms]
        self._names = {one.config_id: one.name for one in active}
        ours: dict[str, ConfigHead] = {}
        for one in active:
            if _is_ours(one):
                ours.setdefault(_key(one), one)
        self._ours = ours
        ids = {one.config_id for one in ours.values()}
        for file in list(self._files.values()):
            if file.config_id not in {one.config_id for one in active}:
                self._absorb(file.config_id, None, file.target_key, is_ours=file.is_ours)
        for one in active:
            known, is_ours = self._files.get(one.config_id), one.config_id in ids
            if known is None or known.revision != one.revision or known.is_ours != is_ours:
                self._absorb(one.config_id, one, _key(one), is_ours=is_ours)

    def _absorb(self, config_id: str, head: ConfigHead | None, key: str, *, is_ours: bool) -> None:
        """Make the rows of a config those it has entries for; none, when it is gone."""
        now_ms = self._now_ms()
        known = self._files.get(config_id)
        with self._database.read() as c:
            config = read.config(c, self._org_id, config_id)
            if config is None:
                raise ConflictError(f"Config {config_id} is gone.")
            since = 0 if known is None else known.revision
            present = self._foreign.get(config_id, {}) if not is_ours else self._rows.get(key, {})
            start = {(KINDS[row.kind], row.value): _origin(row) for row in present.values()}
            origins = origins_of(c, self._org_id, config_id, since, config.revision, start)
        payload = orjson.loads(config.payload) if head is not None else {}
        said = {(kind, entry.value): entry for kind in Kind for entry in denylist.entries(payload, kind)}
        target = Targeting.parse(config.targeting)
        source = f"config:{config_id}" if known is not None or not is_ours else ""
        changed: list[EntryRow] = []
        added: list[EntryRow] = []
        for (kind_word, value, feed), row in present.items():
            entry = said.get((KINDS[kind_word], value))
            if entry is None:
                was_in_it = not row.covered_by and (row.until_ms is None or row.until_ms > now_ms)
                if head is not None and not was_in_it:
                    continue  # the file never had it
                changed.append(ended(row, now_ms=config.updated_ms, by=config.updated_by, how="unblocked"))
            elif not feed and (until_ms := _until_ms(entry, head)) != row.until_ms:
                changed.append(
                    msgspec.structs.replace(
                        row, until_ms=until_ms, changed_ms=config.updated_ms, changed_by=config.updated_by
                    )
                )
        held = {(kind_word, value) for kind_word, value, _ in present}
        for (kind, value), entry in said.items():
            if (kind.word, value) in held or not entry.lives(now_ms // 1000):
                continue
            origin = origins.get((kind, value)) or Origin(
                config.updated_ms, config.updated_by, config.comment, entry.until_s
            )
            self_id = self._last_id + len(added) + 1
            added.append(
                new_entry(
                    self._org_id,
                    kind,
                    value,
                    target,
                    until_ms=_until_ms(entry, head),
                    by=origin.by,
                    reason=origin.reason,
                    source=source,
                    now_ms=origin.created_ms,
                    number=self_id,
                    config_id="" if is_ours else config_id,
                )
            )
        if known is not None and known.is_ours and not is_ours:
            changed += [
                ended(row, now_ms=now_ms, by=SCHEDULE, how="unblocked")
                for row in self._rows.get(key, {}).values()
            ]
        with self._database.write() as c:
            write.lock_domain(c, self._org_id)
            now = read.config(c, self._org_id, config_id)
            if store.head(c, self._org_id) != (self._version, self._last_id) or (
                now is None or now.revision != config.revision
            ):
                raise ConflictError(f"Config {config_id} was changed meanwhile.")
            store.add_entries(c, added)
            store.change_entries(c, self._org_id, changed)
            last_id = self._last_id + len(added)
            store.set_head(c, self._org_id, version=self._version + 1, last_id=last_id)
            if head is None:
                store.delete_file(c, self._org_id, config_id)
            else:
                file = FileRow(config_id, key, is_ours, config.revision, len(said), len(config.payload))
                store.put_file(c, self._org_id, file)
            self._load(c, self._version + 1, last_id)
        if is_ours and head is not None:
            self._disorder.add(key)

    # Time ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """End what lapses and count what is refused, until cancelled."""
        loop = asyncio.get_running_loop()
        tidied = counted = 0.0
        while True:
            try:
                await self.settle()
                if loop.time() >= self._rest_until:
                    await self.lapse()
                if loop.time() - counted >= HITS_EVERY_S:
                    counted = loop.time()
                    await asyncio.to_thread(self.hits.keep)
                if loop.time() - tidied >= TIDY_EVERY_S:
                    tidied = loop.time()
                    await asyncio.to_thread(self._forget_old)
            except SealwireError as error:
                log.warning("denylist not looked after yet", code=error.code, detail=error.detail)
            except Exception:
                log.exception("denylist not looked after")
            await asyncio.sleep(LOOK_EVERY_S)

    async def stop(self) -> None:
        """What was counted is written."""
        try:
            await asyncio.to_thread(self.hits.keep)
        except SealwireError as error:
            log.warning("hits of the denylist not written", code=error.code, detail=error.detail)

    async def lapse(self) -> int:
        """End what lapsed, one change for each target; gives how many did."""
        now_ms = self._now_ms()
        everybody = Principal(SCHEDULE, self._org_id, (Grant(BUILT_IN_ROLES[ADMIN]),))
        count = 0
        for key in {*self._rows} | self._disorder:
            lapsed = sum(_is_over(row, now_ms) for row in self._rows.get(key, {}).values())
            ours = self._ours.get(key)
            if not lapsed and (key not in self._disorder or ours is None):
                self._disorder.discard(key)
                continue
            some_row = next(iter(self._rows.get(key, {}).values()), None)
            target = Targeting.parse(orjson.loads(some_row.target if some_row else ours.target))  # type: ignore[union-attr]
            try:
                await self.apply(everybody, target, self._lapsing(target))
            except UnavailableError:
                raise
            except SealwireError as error:
                # One list that cannot be written must not keep those of others.
                log.warning("blocks not lapsed yet", target=key, code=error.code, detail=error.detail)
                continue
            self._disorder.discard(key)
            count += lapsed
        if over := [
            row for group in self._foreign.values() for row in group.values() if _is_over(row, now_ms)
        ]:
            await asyncio.to_thread(self._end_foreign, over)
        if count:
            # Engines let people in by themselves: files need not follow each of ten thousand at once.
            entries = sum(map(len, self._rows.values()))
            self._rest_until = asyncio.get_running_loop().time() + 1 + entries * 0.003
            log.info("blocks lapsed", org=self._org_id, count=count)
        return count

    def _lapsing(self, target: Targeting) -> Decide:
        def decide(present: Mapping[Key, EntryRow]) -> Edit:
            now_ms = self._now_ms()
            over = [
                ended(row, now_ms=row.until_ms or now_ms, by=SCHEDULE, how="lapsed")
                for row in present.values()
                if _is_over(row, now_ms)
            ]
            if not over:
                return Edit(comment="Put in order")
            values = denylist.some([row.value for row in over])
            word = "block" if len(over) == 1 else "blocks"
            return Edit(
                changed=over,
                action="denylist.lapsed",
                summary=f"{len(over):,} {word} lapsed for {in_words(target)}: {values}",
                detail={"values": [row.value for row in over[:100]], "count": len(over)},
            )

        return decide

    def _end_foreign(self, over: list[EntryRow]) -> None:
        with self._database.write() as c:
            write.lock_domain(c, self._org_id)
            version, last_id = store.head(c, self._org_id)
            store.change_entries(
                c,
                self._org_id,
                [ended(row, now_ms=row.until_ms or 0, by=SCHEDULE, how="lapsed") for row in over],
            )
            store.set_head(c, self._org_id, version=version + 1, last_id=last_id)

    def _forget_old(self) -> None:
        now_ms = self._now_ms()
        with self._database.write() as c:
            store.forget_ended(c, self._org_id, before_ms=now_ms - KEEP_ENDED_S * 1000, of_feeds=False)
            store.forget_ended(
                c, self._org_id, before_ms=now_ms - KEEP_ENDED_OF_FEEDS_S * 1000, of_feeds=True
            )
            store.forget_drafts(
                c, self._org_id, before_ms=now_ms - KEEP_DRAFTS_S * 1000, keep=MAX_DRAFTS_EACH
            )


# Rows -------------------------------------------------------------------------------------------------


def new_entry(
    org_id: int,
    kind: Kind,
    value: str,
    target: Targeting,
    *,
    until_ms: int | None,
    by: str,
    reason: str,
    source: str,
    now_ms: int,
    feed: str = "",
    config_id: str = "",
    number: int = 0,
) -> EntryRow:
    """An entry that was not there before."""
    return EntryRow(
        org_id=org_id, id=number, kind=kind.word, value=value, sort_key=denylist.sort_key(kind, value),
        target_key=key_of(target), target=stored(target), until_ms=until_ms,
        reason=reason, source=source, feed=feed, config_id=config_id, created_ms=now_ms, created_by=by,
        changed_ms=now_ms, changed_by=by,
    )  # fmt: skip


def ended(row: EntryRow, *, now_ms: int, by: str, how: str) -> EntryRow:
    """An entry that is over."""
    return msgspec.structs.replace(row, ended_ms=now_ms, ended_by=by, ended_as=how, covered_by="")


def key_of_row(row: EntryRow) -> Key:
    return row.kind, row.value, row.feed


def until_in_words(until_ms: int | None, now_ms: int) -> str:
    """When a block ends."""
    if until_ms is None:
        return "until unblocked"
    # Minutes are exact enough for people, unless the whole block lasts only a few of them.
    form = "%Y-%m-%d %H:%M:%S UTC" if until_ms - now_ms < 600_000 else "%Y-%m-%d %H:%M UTC"
    return f"until {datetime.fromtimestamp(until_ms / 1000, UTC).strftime(form)}"


def _origin(row: EntryRow) -> Origin:
    return Origin(
        row.created_ms, row.changed_by, row.reason, None if row.until_ms is None else row.until_ms // 1000
    )


def _until_ms(entry: Entry, head: ConfigHead | None) -> int | None:
    until_ms = None if entry.until_s is None else entry.until_s * 1000
    if head is not None and head.expires_ms is not None:
        until_ms = head.expires_ms if until_ms is None else min(until_ms, head.expires_ms)
    return until_ms


def _is_over(row: EntryRow, now_ms: int) -> bool:
    return row.until_ms is not None and row.until_ms <= now_ms


def _is_ours(head: ConfigHead) -> bool:
    return head.name == DENYLIST


def _key(head: ConfigHead) -> str:
    return key_of(Targeting.parse(orjson.loads(head.target)))


def _listed(payload: Mapping[str, object]) -> list[Mapping[str, object]]:
    found = payload.get("exclusion_data")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
