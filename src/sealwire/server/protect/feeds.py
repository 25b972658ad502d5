"""Blocklists that somebody keeps elsewhere and sends here whole: each replaces what the last one blocked.

A feed has entries of its own beside those of people: an address that both name stays blocked when one of them
lets it go. The same list again changes nothing but how long its entries last, and that only when half of the
time is over, so that a feed that comes each minute does not publish each minute.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import orjson

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.products import PRODUCTS
from sealwire.server.authoring.editing import PUBLISH
from sealwire.server.protect.actions import MAX_SPAN_S, Protect
from sealwire.server.protect.denylist import KINDS, Kind
from sealwire.server.protect.denylists import DATA, Edit, Key, ended, new_entry
from sealwire.server.protect.lines import Parsed
from sealwire.server.protect.targets import in_words, key_of
from sealwire.server.store import protect as store
from sealwire.server.store.protect import EntryRow, FeedRow
from sealwire.server.targeting import Targeting

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sealwire.server.access import Principal
    from sealwire.server.control_plane import ControlPlane
    from sealwire.server.store import rows
    from sealwire.server.tenant import Tenant

MAX_FEEDS = 100
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a list.

    Attributes:
        added, removed: Entries.
        changed: Whether anything is published because of it.
    """

    feed: FeedRow
    added: int
    removed: int
    changed: bool
    config: rows.ConfigRow | None


class Feeds:
    """What ``principal`` does with feeds."""

    def __init__(self, plane: ControlPlane, tenant: Tenant, principal: Principal) -> None:
        self._plane = plane
        self._tenant = tenant
        self._principal = principal
        self._org_id = tenant.organisation.org_id
        self._protect = Protect(plane, tenant, principal)

    async def all(self) -> list[FeedRow]:
        """Every feed, by name."""
        return await asyncio.to_thread(self._all)

    def _all(self) -> list[FeedRow]:
        with self._plane.database.read() as c:
            return store.feeds(c, self._org_id)

    async def get(self, name: str) -> FeedRow:
        """One feed.

        Raises:
            NotFoundError: There is none of that name.
        """
        for feed in await self.all():
            if feed.name == name:
                return feed
        raise NotFoundError(f"There is no feed {name[:60]}.")

    def entries(self, feed: FeedRow) -> list[EntryRow]:
        """What a feed blocks."""
        return [row for row in self._tenant.denylists.of_target(feed.target_key) if row.feed == feed.name]

    async def put(
        self,
        name: str,
        parsed: Parsed,
        *,
        kind: Kind | None = None,
        target: Targeting | None = None,
        span_s: int | None = None,
        reason: str | None = None,
        if_match: str = "",
        confirmed: bool = False,
    ) -> Came:
        """Take the whole list of a feed; what is not given stays as it was said first.

        Args:
            span_s: How long entries last without another list; 0 for ever.
            if_match: The version somebody saw; empty: any.

        Raises:
            InvalidChangeError: A line is none, or may hurt and nobody confirmed it.
            ConflictError: It is at another version.
        """
        before = next((one for one in await self.all() if one.name == name), None)
        self._require(name, parsed, before, span_s, reason, confirmed)
        if if_match and (before is None or before.sha256 != if_match):
            raise ConflictError(f"The feed {name} is at another version: look at it again.")
        now_ms = self._plane.now_ms()
        kind = kind or (KINDS[before.kind] if before else Kind.IP)
        if target is None:
            target = Targeting.parse(orjson.loads(before.target)) if before else Targeting()
        if span_s is None:
            span_s = before.span_s if before else None
        feed = FeedRow(
            self._org_id, name, kind.word, key_of(target), store.target_json(target.to_dict()),
            span_s or None, reason if reason is not None else before.reason if before else "",
            _digest(parsed), len(parsed.good), before.created_ms if before else now_ms,
            before.created_by if before else self._principal.user, now_ms,
            self._principal.user, now_ms,
        )  # fmt: skip
        if before is not None and before.sha256 == feed.sha256:
            feed = feed._replace(changed_ms=before.changed_ms)
        others = await self._elsewhere(name, feed.target_key, before)
        removed = 0

        def decide(present: Mapping[Key, EntryRow]) -> Edit:
            nonlocal removed
            edit = self._replacing(feed, kind, parsed, target, present, if_match)
            removed = sum(row.ended_ms is not None for row in edit.changed)
            return edit

        written = await self._tenant.denylists.apply(self._principal, target, decide)
        for other in others:  # what it blocked for others ends once what it blocks for these holds
            await self._tenant.denylists.apply(self._principal, other, self._ending(name, other, None))
        return Came(feed, len(written.edit.added), removed, bool(written.edit.action), written.config)

    async def _elsewhere(self, name: str, key: str, feed: FeedRow | None) -> list[Targeting]:
        """Other targets that this feed blocks for; each must be theirs to end it for.

        Raises:
            NotPermittedError: One is not.
        """
        await self._tenant.denylists.settle()
        found = [one for one in self._tenant.denylists.targets_of_feed(name) if key_of(one) != key]
        said = [] if feed is None else [Targeting.parse(orjson.loads(feed.target))]
        for permission in (PUBLISH, PRODUCTS[DATA].writes):
            for one in (*found, *said):
                self._principal.require_change(permission, services=one.service, envs=one.env)
        return found

    def _still_at(self, name: str, version: str, c: sa.Connection) -> None:
        """Ask again in the transaction: two who saw the same version must not both replace it.

        Raises:
            ConflictError: Another list came meanwhile.
        """
        if not any(one.name == name and one.sha256 == version for one in store.feeds(c, self._org_id)):
            raise ConflictError(f"The feed {name} is at another version: look at it again.")

    def _replacing(
        self,
        feed: FeedRow,
        kind: Kind,
        parsed: Parsed,
        target: Targeting,
        present: Mapping[Key, EntryRow],
        if_match: str,
    ) -> Edit:
        now_ms, by = feed.updated_ms, self._principal.user
        mine = {(row.kind, row.value): row for row in present.values() if row.feed == feed.name}

        def put(c: sa.Connection) -> None:
            if if_match:
                self._still_at(feed.name, if_match, c)
            store.put_feed(c, feed)

        edit = Edit(also=put)
        wanted = set()
        for line in parsed.good:
            value = line.checked.value
            wanted.add((kind.word, value))
            until_ms = None if feed.span_s is None else now_ms + feed.span_s * 1000
            if line.until_s is not None:
                until_ms = line.until_s * 1000 or None
            known = mine.get((kind.word, value))
            reason = line.reason or feed.reason
            if known is None:
                edit.added.append(
                    new_entry(
                        self._org_id,
                        kind,
                        value,
                        target,
                        until_ms=until_ms,
                        by=by,
                        reason=reason,
                        source=f"feed:{feed.name}",
                        now_ms=now_ms,
                        feed=feed.name,
                    )
                )
            elif (
                _is_due(known, until_ms, now_ms, feed, said=line.until_s is not None)
                or known.reason != reason
            ):
                edit.changed.append(
                    msgspec.structs.replace(
                        known, until_ms=until_ms, reason=reason, changed_ms=now_ms, changed_by=by
                    )
                )
        over = [
            ended(row, now_ms=now_ms, by=by, how="unblocked")
            for key, row in mine.items()
            if key not in wanted
        ]
        extended = len(edit.changed)
        edit.changed += over
        if edit.added or edit.changed:
            edit.action = "denylist.fed"
            edit.summary = (
                f"The feed {feed.name} came with {len(parsed.good):,} entries for {in_words(target)}: "
                f"{len(edit.added):,} new, {len(over):,} gone"
            )
            edit.detail = {
                "feed": feed.name, "added": len(edit.added), "removed": len(over), "extended": extended,
                "sha256": feed.sha256,
            }  # fmt: skip
        return edit

    async def delete(self, name: str) -> tuple[FeedRow, int]:
        """Forget a feed and unblock what it named; how many that were."""
        feed = await self.get(name)
        target = Targeting.parse(orjson.loads(feed.target))
        others = await self._elsewhere(name, feed.target_key, feed)
        for other in others:
            await self._tenant.denylists.apply(self._principal, other, self._ending(name, other, None))
        written = await self._tenant.denylists.apply(
            self._principal, target,
            self._ending(name, target, lambda c: store.delete_feed(c, self._org_id, name)),
        )  # fmt: skip
        return feed, sum(row.ended_ms is not None for row in written.edit.changed)

    def _ending(
        self, name: str, target: Targeting, also: Callable[[sa.Connection], None] | None
    ) -> Callable[[Mapping[Key, EntryRow]], Edit]:
        now_ms, by = self._plane.now_ms(), self._principal.user

        def decide(present: Mapping[Key, EntryRow]) -> Edit:
            over = [
                ended(row, now_ms=now_ms, by=by, how="unblocked")
                for row in present.values()
                if row.feed == name
            ]
            return Edit(
                changed=over, action="denylist.feed_ended", also=also,
                detail={"feed": name, "removed": len(over)},
                summary=f"Ended the feed {name} for {in_words(target)}: {len(over):,} unblocked",
            )  # fmt: skip

        return decide

    def _require(
        self,
        name: str,
        parsed: Parsed,
        before: FeedRow | None,
        span_s: int | None,
        reason: str | None,
        confirmed: bool,
    ) -> None:
        if not _NAME.fullmatch(name):
            words = "A feed's name has up to 60 of a-z, 0-9, dot, dash and underscore."
            raise InvalidChangeError(words, problems=(Problem("$.name", words),))
        if span_s is not None and not 0 <= span_s <= MAX_SPAN_S:
            words = "Entries last up to ten years, or for ever (0)."
            raise InvalidChangeError(words, problems=(Problem("$.for_s", words),))
        self._protect.require(until_s=None, reason=reason or "", source="")
        problems = [Problem(f"$.lines[{one.number}]", one.message) for one in parsed.bad[:50]]
        if problems:
            first = parsed.bad[0]
            words = f"Line {first.number:,}: {first.message} Nothing was changed."
            raise InvalidChangeError(words, problems=tuple(problems))
        risky = [line for line in parsed.good if line.checked.risks]
        if risky and not confirmed:
            problems = [Problem(f"$.lines[{one.number}]", one.checked.risks[0]) for one in risky[:50]]
            words = f"Line {risky[0].number:,}: {problems[0].message} If this is meant, confirm it."
            raise InvalidChangeError(words, problems=tuple(problems))
        if before is None and len(self._all()) >= MAX_FEEDS:
            words = f"There are {MAX_FEEDS} feeds already."
            raise InvalidChangeError(words, problems=(Problem("$", words),))


def _is_due(row: EntryRow, until_ms: int | None, now_ms: int, feed: FeedRow, *, said: bool) -> bool:
    """Whether an entry that is named again shall last otherwise."""
    if row.until_ms is None or until_ms is None or said:
        return row.until_ms != until_ms
    half_ms = (feed.span_s or 0) * 500
    return until_ms < row.until_ms or row.until_ms - now_ms <= half_ms


def _digest(parsed: Parsed) -> str:
    """The same for lists that say the same."""
    lines: Sequence[tuple[str, str, str]] = sorted(
        (line.checked.value, line.until, line.reason) for line in parsed.good
    )
    return hashlib.sha256(orjson.dumps(lines)).hexdigest()
