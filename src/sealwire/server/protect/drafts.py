"""Lists that were pasted: kept until every line of them can be blocked, or is thrown away.

What is good can be blocked at once; what is not stays, under its line number, to be mended. A draft is the
organisation's: whoever may block may go on with it, after a reload or from another machine.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.products import PRODUCTS
from sealwire.server.authoring.editing import PUBLISH
from sealwire.server.protect import denylist
from sealwire.server.protect.actions import MAX_SPAN_S, Outcome, Protect
from sealwire.server.protect.denylist import KINDS, Entry, Kind
from sealwire.server.protect.denylists import DATA, MAX_DRAFTS, MAX_DRAFTS_EACH, MAX_ENTRIES
from sealwire.server.protect.lines import MAX_TEXT, Line, Parsed, parse
from sealwire.server.protect.targets import key_of
from sealwire.server.store import protect as store
from sealwire.server.store import write
from sealwire.server.store.protect import DraftRow
from sealwire.server.targeting import Targeting

if TYPE_CHECKING:
    from sealwire.server.access import Principal
    from sealwire.server.control_plane import ControlPlane
    from sealwire.server.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Tried:
    """What would happen if the good lines of a draft were blocked.

    Attributes:
        new, extended, already: How many are not there yet, would last longer, last as long or longer.
        covered: How many a wider network blocks for as long, of those in the list or in force.
        dangerous: Lines that may hurt.
        cautions: Lines whose addresses came without harm lately.
        entries, size: Of the file as it would be.
    """

    row: DraftRow
    parsed: Parsed
    new: int
    extended: int
    already: int
    covered: int
    dangerous: tuple[Line, ...]
    cautions: tuple[Line, ...]
    entries: int
    size: int

    @property
    def kind(self) -> Kind:
        return KINDS[self.row.kind]

    @property
    def target(self) -> Targeting:
        return Targeting.parse(orjson.loads(self.row.target))


class Drafts:
    """What ``principal`` does with pasted lists."""

    def __init__(
        self, plane: ControlPlane, tenant: Tenant, principal: Principal, *, own_address: str = ""
    ) -> None:
        self._plane = plane
        self._tenant = tenant
        self._principal = principal
        self._org_id = tenant.organisation.org_id
        self._protect = Protect(plane, tenant, principal)
        self._around = replace(self._protect.around(own_address), traffic=None)

    async def all(self) -> list[DraftRow]:
        """Drafts, those last changed first."""
        return await asyncio.to_thread(self._all)

    def _all(self) -> list[DraftRow]:
        with self._plane.database.read() as c:
            return store.drafts(c, self._org_id, limit=MAX_DRAFTS)

    async def create(
        self,
        text: str,
        kind: Kind,
        target: Targeting,
        *,
        until_s: int | None = None,
        span_s: int | None = None,
        reason: str = "",
    ) -> Tried:
        """Keep a list, good or not.

        Raises:
            InvalidChangeError: It is no list at all, or how long makes no sense.
            NotPermittedError: It is for more than they may block for.
        """
        self._require(text, target, until_s, span_s, reason)
        now_ms = self._plane.now_ms()
        row = DraftRow(
            self._org_id, secrets.token_hex(8), _stored(text), kind.word, store.target_json(target.to_dict()),
            None if until_s is None else until_s * 1000, span_s, reason, now_ms, self._principal.user, now_ms,
        )  # fmt: skip
        await asyncio.to_thread(self._put, row)
        return await self.tried(row)

    async def change(self, draft_id: str, changes: Mapping[str, Any]) -> Tried:
        """Change a draft; what is not given stays.

        Args:
            changes: Any of ``text``; ``mended``, line number -> text; ``kind``, ``target``, ``until_s``,
                ``span_s`` and ``reason``.

        Raises:
            ConflictError: Somebody else changed it meanwhile.
            NotPermittedError: It is, or would be, for more than they may block for.
        """
        row = await self.get(draft_id)
        seen = row
        self._require_of(row)
        lines = row.text.split("\n")
        for number, text in (changes.get("mended") or {}).items():
            if not 1 <= number <= len(lines):
                words = f"The draft has no line {number}."
                raise InvalidChangeError(words, problems=(Problem("$.mended", words),))
            lines[number - 1] = text.replace("\r", "").replace("\n", " ")
        text = changes["text"] if "text" in changes else "\n".join(lines)
        target = changes.get("target") or Targeting.parse(orjson.loads(row.target))
        has_end = "until_s" in changes or "span_s" in changes
        until_ms = row.until_ms if not has_end else _ms(changes.get("until_s"))
        span_s = row.span_s if not has_end else changes.get("span_s")
        reason = changes.get("reason", row.reason)
        self._require(text, target, None if until_ms is None else until_ms // 1000, span_s, reason)
        kind = changes.get("kind", KINDS[row.kind])
        row = row._replace(
            text=_stored(text), kind=kind.word, target=store.target_json(target.to_dict()),
            until_ms=until_ms, span_s=span_s, reason=reason, changed_ms=self._plane.now_ms(),
        )  # fmt: skip
        await asyncio.to_thread(self._put, row, seen)
        return await self.tried(row)

    async def get(self, draft_id: str) -> DraftRow:
        """One draft.

        Raises:
            NotFoundError: There is none.
        """

        def read() -> DraftRow | None:
            with self._plane.database.read() as c:
                return store.draft(c, self._org_id, draft_id)

        row = await asyncio.to_thread(read) if draft_id.isalnum() and draft_id.isascii() else None
        if row is None:
            raise NotFoundError(f"There is no draft {draft_id[:40]}.")
        return row

    async def discard(self, draft_id: str) -> None:
        """Throw a draft away.

        Raises:
            NotFoundError: There is none.
            NotPermittedError: It is for more than they may block for.
        """
        row = await self.get(draft_id)
        self._require_of(row)

        def delete() -> None:
            with self._plane.database.write() as c:
                store.delete_draft(c, self._org_id, row.draft_id)

        await asyncio.to_thread(delete)

    async def tried(self, row: DraftRow) -> Tried:
        """What would happen if it were blocked."""
        await self._tenant.denylists.settle()
        tried = await asyncio.to_thread(self._try, row)
        return replace(tried, cautions=self._cautions(tried))

    def _cautions(self, tried: Tried) -> tuple[Line, ...]:
        """Lines whose addresses came without harm; of very many not each is looked at."""
        if tried.kind is Kind.USER:
            return ()
        traffic = self._protect.around().traffic
        known = self._tenant.detection.traffic.addresses()
        found = []
        for line in tried.parsed.good:
            if line.checked.value in known or (known and "/" in line.checked.value):
                checked = denylist.with_traffic(line.checked, traffic)
                if checked.cautions:
                    found.append(replace(line, checked=checked))
        return tuple(found)

    async def block(self, draft_id: str, *, confirmed: bool = False) -> tuple[Outcome, DraftRow | None]:
        """Block every good line; those that are not stay in the draft.

        Returns:
            What was done, and what is left of the draft.

        Raises:
            InvalidChangeError: There is no good line, or one may hurt and nobody confirmed it.
        """
        row = await self.get(draft_id)
        parsed, kind = await asyncio.to_thread(self._parse, row), KINDS[row.kind]
        if not parsed.good:
            raise InvalidChangeError("No line of this can be blocked.", problems=_problems(parsed))
        dangerous = [line for line in parsed.good if line.checked.risks]
        if dangerous and not confirmed:
            problems = tuple(
                Problem(f"$.lines[{line.number}]", risk) for line in dangerous for risk in line.checked.risks
            )[:50]
            words = f"Line {dangerous[0].number:,}: {problems[0].message} If this is meant, confirm it."
            raise InvalidChangeError(words, problems=problems)
        default_s = self._default_s(row)
        lines = [
            (line.checked.value, default_s if line.until_s is None else line.until_s or None, line.reason)
            for line in parsed.good
        ]
        left = self._left(row, parsed)

        def also(c: Any) -> None:
            self._unchanged(c, row)
            if left is None:
                store.delete_draft(c, self._org_id, row.draft_id)
            else:
                store.put_draft(c, left)

        outcome = await self._protect.block_lines(
            kind, lines, target=Targeting.parse(orjson.loads(row.target)), reason=row.reason,
            source=f"paste:{row.draft_id}", also=also,
        )  # fmt: skip
        return outcome, left

    def _default_s(self, row: DraftRow) -> int | None:
        if row.span_s is not None:
            return self._protect.now_s + row.span_s
        return None if row.until_ms is None else row.until_ms // 1000

    def _left(self, row: DraftRow, parsed: Parsed) -> DraftRow | None:
        """The draft with nothing but its mistakes, each on its own line still."""
        if not parsed.bad:
            return None
        lines = row.text.split("\n")
        kept = {mistake.number: lines[mistake.number - 1] for mistake in parsed.bad}
        text = "\n".join(kept.get(number, "") for number in range(1, max(kept) + 1))
        return row._replace(text=text, changed_ms=self._plane.now_ms())

    def _parse(self, row: DraftRow) -> Parsed:
        return parse(row.text, KINDS[row.kind], now_s=self._protect.now_s, around=self._around)

    def _try(self, row: DraftRow) -> Tried:
        parsed, kind = self._parse(row), KINDS[row.kind]
        target_key = key_of(Targeting.parse(orjson.loads(row.target)))
        present = {
            one.value: one
            for one in self._tenant.denylists.of_target(target_key)
            if one.kind == kind.word and not one.feed
        }
        default_s = self._default_s(row)
        new = extended = already = 0
        wanted: dict[Kind, list[Entry]] = {one: [] for one in Kind}
        for one in self._tenant.denylists.of_target(target_key):
            until_s = None if one.until_ms is None else one.until_ms // 1000
            if until_s is None or until_s > self._protect.now_s:
                wanted[KINDS[one.kind]].append(Entry(one.value, until_s))
        for line in parsed.good:
            until_s = default_s if line.until_s is None else line.until_s or None
            wanted[kind].append(Entry(line.checked.value, until_s))
            known = present.get(line.checked.value)
            if known is None:
                new += 1
            elif known.until_ms is None or (until_s is not None and known.until_ms // 1000 >= until_s):
                already += 1  # or longer: no list cuts a block short
            else:
                extended += 1
        payload, covered = denylist.rendered({}, wanted)
        return Tried(
            row, parsed, new, extended, already,
            covered=sum((kind, line.checked.value) in covered for line in parsed.good),
            dangerous=tuple(line for line in parsed.good if line.checked.risks),
            cautions=(),
            entries=sum(len(denylist.entries(payload, one)) for one in Kind),
            size=len(PRODUCTS[DATA].render(payload)),
        )  # fmt: skip

    def _unchanged(self, c: Any, seen: DraftRow) -> None:
        """Attack: what somebody looked at is exchanged before they block it, or what they mended is undone.

        Raises:
            ConflictError: The draft is not the one that was read.
        """
        if store.draft(c, self._org_id, seen.draft_id) != seen:
            raise ConflictError("Somebody else changed this draft, or blocked it: look at it again.")

    def _put(self, row: DraftRow, seen: DraftRow | None = None) -> None:
        with self._plane.database.write() as c:
            if seen is not None:
                write.lock_domain(c, self._org_id)
                self._unchanged(c, seen)
            store.put_draft(c, row)
            store.forget_drafts(c, self._org_id, before_ms=0, keep=MAX_DRAFTS_EACH)

    def _require_of(self, row: DraftRow) -> None:
        """Whoever may block for what a draft is for may change it, and nobody else."""
        target = Targeting.parse(orjson.loads(row.target))
        for permission in (PUBLISH, PRODUCTS[DATA].writes):
            self._principal.require_change(permission, services=target.service, envs=target.env)

    def _require(
        self, text: str, target: Targeting, until_s: int | None, span_s: int | None, reason: str
    ) -> None:
        for permission in (PUBLISH, PRODUCTS[DATA].writes):
            self._principal.require_change(permission, services=target.service, envs=target.env)
        if not text.strip() or len(text) > MAX_TEXT:
            words = f"Paste a list of up to {MAX_ENTRIES:,} lines and {MAX_TEXT // 1024 // 1024} MB."
            raise InvalidChangeError(words, problems=(Problem("$.text", words),))
        if span_s is not None and not 1 <= span_s <= MAX_SPAN_S:
            words = "A block lasts from a second to ten years, or for ever."
            raise InvalidChangeError(words, problems=(Problem("$.for_s", words),))
        self._protect.require(until_s=until_s, reason=reason, source="")


def _stored(text: str) -> str:
    """One line break a line, and nothing a database cannot hold."""
    return "\n".join(text.replace("\0", "").splitlines())


def _ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1000


def _problems(parsed: Parsed) -> tuple[Problem, ...]:
    return tuple(Problem(f"$.lines[{one.number}]", one.message) for one in parsed.bad[:50])
