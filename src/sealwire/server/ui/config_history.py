"""The history of a config: what each revision changed, first in words, then as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sealwire.products import PRODUCTS
from sealwire.server.authoring import meaning
from sealwire.server.store import rows
from sealwire.server.store.configs import RETIRED
from sealwire.server.ui import text_diff
from sealwire.server.ui.config_words import parsed, pretty
from sealwire.server.ui.render import moment
from sealwire.server.ui.views import Moment

MAX_DIFF_CHARS = 200_000  # of both sides; comparing more takes longer than a page may

DiffLine = tuple[str, str]  # add, del, same or gap; the text


@dataclass(frozen=True, slots=True)
class RevisionView:
    """One revision, and what it changed.

    Attributes:
        words: What it means, a line each.
        diff: The text against the revision before; empty for the first one, and where it is too long.
        too_long: The text is too long to be compared here.
        restore_href: To the page that puts it in force again; None where that makes no sense, or is not the
            visitor's to do.
    """

    dom_id: str
    revision: int
    icon: str
    title: str
    by: str
    at: Moment
    comment: str
    words: tuple[str, ...]
    diff: tuple[DiffLine, ...]
    too_long: bool
    is_present: bool
    restore_href: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """What a revision is made of, as far as people change it."""

    name: str
    targeting: Mapping[str, Any]
    payload: bytes
    expires_ms: int | None


def of_revision(row: rows.RevisionRow) -> Version:
    """The contents of a revision."""
    return Version(row.name, row.targeting, row.payload, row.expires_ms)


def of_config(row: rows.ConfigRow) -> Version:
    """The present contents of a config."""
    return Version(row.name, row.targeting, row.payload, row.expires_ms)


def words(product: str, before: Version | None, after: Version) -> tuple[str, ...]:
    """What is different, in words; for the first one what it says."""
    kind = PRODUCTS.get(product)
    found: list[str] = []
    if before is not None and before.name != after.name:
        found.append(f"Name {before.name or '(none)'} → {after.name or '(none)'}")
    old = None if before is None else parsed(before.targeting)
    found.extend(change.words for change in meaning.targeting_changes(old, parsed(after.targeting)))
    if before is not None and before.expires_ms != after.expires_ms:
        found.append(f"Ends {clock(before.expires_ms)} → {clock(after.expires_ms)}")
    if kind is not None:
        said = None if before is None else orjson.loads(before.payload)
        found.extend(change.words for change in meaning.changes(kind, said, orjson.loads(after.payload)))
    return tuple(found)


def diff(before: Version, after: Version) -> tuple[tuple[DiffLine, ...], bool]:
    """The lines that differ with some around them, and whether it is too long to be compared here."""
    if before == after:
        return (), False
    if len(before.payload) + len(after.payload) > MAX_DIFF_CHARS:
        return (), True
    return text_diff.lines(_document(before), _document(after))[0], False


def _document(version: Version) -> str:
    return pretty(
        {
            "name": version.name,
            "targeting": version.targeting,
            "expires_at": None if version.expires_ms is None else moment(version.expires_ms / 1000).iso,
            "payload": orjson.loads(version.payload),
        }
    )


def clock(at_ms: int | None) -> str:
    """A moment as a clock shows it."""
    if at_ms is None:
        return "never"
    iso = moment(at_ms / 1000).iso
    return f"{iso[:10]} {iso[11:16]} UTC"


def history(
    product: str, config_id: str, found: Sequence[rows.RevisionRow], *, present: int, may_restore: bool
) -> tuple[RevisionView, ...]:
    """Revisions as the page shows them.

    Args:
        found: Newest first; the last one only to compare with, unless it is the very first.
    """
    pairs = list(zip(found, [*found[1:], None], strict=True))
    if pairs and pairs[-1][0].revision != 1:
        pairs.pop()
    return tuple(_revision(product, config_id, row, older, present, may_restore) for row, older in pairs)


def _revision(
    product: str,
    config_id: str,
    row: rows.RevisionRow,
    older: rows.RevisionRow | None,
    present: int,
    may_restore: bool,
) -> RevisionView:
    before = None if older is None else of_revision(older)
    after = of_revision(row)
    said = words(product, before, after)
    lines, too_long = diff(before, after) if before is not None else ((), False)
    if older is None:
        icon, title = "plus", "Made"
    elif row.state == RETIRED:
        icon, title, said, lines = "circle-x", "Retired", ("Its values went back everywhere",), ()
    elif older.state == RETIRED:
        icon, title = "rotate-ccw", "In force again"
    else:
        icon, title = "pencil", "Changed"
    if not said:
        said = ("Nothing that it says is different",)
    can_be = may_restore and row.state != RETIRED and row.revision != present
    return RevisionView(
        dom_id=f"revision-{row.revision}",
        revision=row.revision,
        icon=icon,
        title=title,
        by=row.by,
        at=moment(row.at_ms / 1000),
        comment=row.comment,
        words=said,
        diff=lines,
        too_long=too_long,
        is_present=row.revision == present,
        restore_href=f"/configs/{config_id}/restore?revision={row.revision}" if can_be else None,
    )
