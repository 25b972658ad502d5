"""The variables of a snapshot as pages show them: rows of a tree, one value in full, two snapshots compared.

Pure. What a program had in its variables is anybody's text: it is shown through ``visible``. Who may see it
is decided before (``discretion``): nothing of it comes here for who may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from sealwire.products import wording
from sealwire.server.debugger.snapshots import literals, tree, unfolding
from sealwire.server.debugger.snapshots.captured import Missing, Value, plain_text
from sealwire.server.debugger.snapshots.conditions import condition_of
from sealwire.server.debugger.snapshots.literals import Copied, Language
from sealwire.server.debugger.snapshots.snapshot import Capture, Snapshot
from sealwire.server.debugger.snapshots.tree import Change, Difference, Place, Row
from sealwire.server.debugger.snapshots.unfolding import Branch
from sealwire.server.ui.render import dom_id
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import Link, Status

PATH: Final = "/debugger/snapshots"
MAX_TEXT: Final = 20_000  # characters of one value, or of a literal, on a page
MAX_LITERAL_VALUES: Final = 600  # of more the text is made when somebody asks for the file
SHOWN_CHANGES: Final = 400
SHOWN_UNKNOWN: Final = 100
SHOWN_FOUND: Final = 100

_GROUPS: Final[Mapping[str, str]] = {
    "arguments": "argument", "locals": "local", "static fields": "static", "expressions": "asked for",
}  # fmt: skip
_LANGUAGES: Final[Mapping[str, Language]] = {
    "python": Language.PYTHON, "javascript": Language.JAVASCRIPT, "node": Language.JAVASCRIPT,
    "nodejs": Language.JAVASCRIPT,
}  # fmt: skip
LANGUAGE_WORDS: Final[Mapping[Language, str]] = {
    Language.PYTHON: "Python", Language.JAVASCRIPT: "JavaScript", Language.JSON: "JSON",
}  # fmt: skip
_DIFFERENCES: Final[Mapping[Difference, Status]] = {
    Difference.ADDED: Status("Added", "ok", "plus"),
    Difference.REMOVED: Status("Removed", "bad", "minus"),
    Difference.CHANGED: Status("Changed", "info", "pencil"),
    Difference.UNKNOWN: Status("Not known", "mute", "circle-help", "One of them does not have it whole."),
}
#: What stands for a reason in an address, and on pages.
FLAGS: Final[Mapping[str, tuple[Missing | None, str]]] = {
    "cut-off": (None, "cut off"),
    "redacted-name": (Missing.REDACTED_NAME, "redacted by name"),
    "redacted-type": (Missing.REDACTED_TYPE, "redacted by type"),
    "depth": (Missing.DEPTH, "at the depth limit"),
    "elements": (Missing.COLLECTION_SIZE, "with more elements than captured"),
    "fields": (Missing.FIELD_COUNT, "with more fields than captured"),
    "timeout": (Missing.TIMEOUT, "out of time"),
    "changed": (Missing.CONCURRENT_CHANGE, "changed meanwhile"),
    "pruned": (Missing.PRUNED, "pruned"),
    "other": (Missing.OTHER, "not captured"),
}


@dataclass(frozen=True, slots=True)
class NodeView:
    """A row of the tree.

    Attributes:
        href: The page with this row unfolded and chosen: works without script.
        tone: What kind of value it is: ``text``, ``number``, ``word``, ``none``, ``gone`` or ``many``.
        beneath: How much is in it, where that is more than one sees.
        before, after: To those in it that are not shown.
        is_open: None where nothing is in it.
    """

    key: str
    path: str
    href: str
    name: str
    kind: str
    type: str
    shown: str
    tone: str
    flags: tuple[str, ...]
    beneath: str
    level: int
    position: int
    of: int
    is_open: bool | None
    is_chosen: bool
    inner: tuple[NodeView, ...]
    before: Link | None
    after: Link | None


@dataclass(frozen=True, slots=True)
class LiteralView:
    """A value as text for a test.

    Attributes:
        text: None where it is too long for a page.
        href: As a file.
        gaps: What it does not have, and why.
    """

    language: str
    key: str
    text: str | None
    href: str
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValueView:
    """One value, or all of a moment, in full.

    Attributes:
        text: The whole scalar; empty of others.
        cut: How many characters of it are not on the page.
        notes: What to know before it is trusted.
        expression: Reads it in a probe; empty where nothing does.
        condition: That it has this value; empty where nothing says so.
        condition_href: To a probe with that condition; None for who may write none.
    """

    path: str
    href: str
    name: str
    where: str
    type: str
    shown: str
    text: str
    tone: str
    cut: int
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    expression: str
    condition: str
    condition_href: str | None
    literals: tuple[LiteralView, ...]


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row that a search found: the way to it, and the value in a line; ``where`` if there is a choice."""

    href: str
    path: str
    where: str
    type: str
    shown: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundView:
    """What a search within one snapshot found."""

    what: str
    rows: tuple[FoundRow, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Side:
    """A value on one side of a comparison; empty words where it is not there."""

    shown: str
    type: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A row that differs; ``href`` shows it where it is."""

    dom_id: str
    status: Status
    path: str
    href: str
    before: Side
    after: Side


@dataclass(frozen=True, slots=True)
class CompareView:
    """Two snapshots of a probe, the earlier one first.

    Attributes:
        rows, unknown: Those that differ, and those of which one of them does not have enough to tell.
        counts: How many rows are added, removed, changed, not known.
        more: Rows that are not listed; -1 where nobody counted them.
    """

    before: Link
    after: Link
    rows: tuple[ChangeRow, ...]
    unknown: tuple[ChangeRow, ...]
    counts: tuple[tuple[Status, int], ...]
    same: int
    more: int
    note: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Who looks at which snapshot.

    Attributes:
        probe_id: Where a condition goes to; empty for who may not change it.
        kept: Parameters that every address of the page keeps.
    """

    snapshot: Snapshot
    snapshot_id: str
    probe_id: str
    kept: tuple[tuple[str, str], ...] = ()

    def href(self, path: str, *, first: int = 0, key: str = "") -> str:
        """The page with a row shown."""
        asked = [("show", path), *([("from", str(first))] if first else []), *self.kept]
        return f"{PATH}/{quote(self.snapshot_id, safe='')}?{urlencode(asked)}{f'#v-{key}' if key else ''}"

    def file_href(self, path: str, language: Language) -> str:
        """A value as a file."""
        asked = urlencode({"path": path, "language": language.value})
        return f"{PATH}/{quote(self.snapshot_id, safe='')}/literal?{asked}"

    @property
    def language(self) -> Language | None:
        """Of literals; None where it has none of its own."""
        return _LANGUAGES.get(self.snapshot.language.lower())


# The tree ---------------------------------------------------------------------------------------------------


def nodes(reading: Reading, branches: tuple[Branch, ...], chosen: Branch | None) -> tuple[NodeView, ...]:
    """Branches as rows."""
    return tuple(node(reading, each, chosen) for each in branches)


def node(reading: Reading, branch: Branch, chosen: Branch | None = None) -> NodeView:
    """A branch as a row, with those in it."""
    value = branch.value
    path = branch.place.path
    name = moment_words(branch.moment) if value is None else _name(branch.place)
    shown = "" if value is None else visible(tree.line(value), 200)
    kind = _GROUPS.get(branch.place.group, "") if branch.level == 2 else ""
    return NodeView(
        key=branch.key,
        path=visible(path, 1_000),
        href=reading.href(path, key=branch.key),
        name=name,
        kind=kind,
        type=type_words(value),
        shown=shown,
        tone=tone(value),
        flags=flags(value),
        beneath=_beneath(branch),
        level=branch.level,
        position=branch.position,
        of=branch.of,
        is_open=branch.is_open if branch.total else None,
        is_chosen=chosen is not None and branch.key == chosen.key,
        inner=tuple(node(reading, each, chosen) for each in branch.inner),
        before=_page(reading, branch, max(0, branch.first - unfolding.PAGE), branch.first, "before"),
        after=_page(reading, branch, branch.last, branch.total, "after") if branch.is_open else None,
    )


def _page(reading: Reading, branch: Branch, first: int, until: int, side: str) -> Link | None:
    if first >= until:
        return None
    count = min(until - first, unfolding.PAGE)
    words = f"The {count} before" if side == "before" else f"The next {count} of {branch.total}"
    return Link(words, reading.href(branch.place.path, first=first, key=branch.key))


def _name(place: Place) -> str:
    return visible(place.name, 120) or "(no name)"


def moment_words(moment: str) -> str:
    """When something was seen."""
    if moment == "entry":
        return "On entry"
    return "On return" if moment == "return" else f"At line {visible(moment, 20)}"


def _beneath(branch: Branch) -> str:
    if branch.value is None:
        return wording.counted(branch.weight.values, "value") if branch.total else "no values"
    inner = branch.weight.values - 1
    return wording.counted(inner, "value") if inner > branch.total else ""


def tone(value: Value | None) -> str:
    """What kind of value it is, for its colour; the type says it in words."""
    if value is None or value.elements is not None or value.entries is not None or value.fields is not None:
        return "many"
    if value.is_null:
        return "none"
    if value.text is None:
        return "gone"
    if value.text[:1] in ("'", '"') or value.type in ("string", "String", "java.lang.String", "bytes"):
        return "text"
    return "number" if value.text[:1] in "-0123456789" and value.text[:1] else "word"


def type_words(value: Value | None) -> str:
    """The type, unless the value says it."""
    if value is None or (value.is_null and value.type in ("NoneType", "null", "undefined", "object", "")):
        return ""
    return visible(value.type, 80)


def flags(value: Value | None) -> tuple[str, ...]:
    """What is to be known of it, in words."""
    return () if value is None else tuple(visible(each, 60) for each in tree.flags(value))


# One value --------------------------------------------------------------------------------------------------


def value_view(reading: Reading, branch: Branch) -> ValueView:
    """A value in full, and what can be made of it."""
    value, place = branch.value, branch.place
    capture = reading.snapshot.capture(branch.moment)
    text = (value.text or "") if value is not None else ""
    written = visible(text[:MAX_TEXT], MAX_TEXT)
    condition = "" if value is None else condition_of(place.expression, value)
    return ValueView(
        path=visible(place.path, 2_000),
        href=reading.href(place.path, key=branch.key),
        name=moment_words(branch.moment) if value is None else _name(place),
        where=_where(branch),
        type=type_words(value),
        shown="" if value is None or text else visible(tree.line(value), 200),
        text=written,
        tone=tone(value),
        cut=max(0, len(text) - MAX_TEXT),
        facts=tuple(_facts(branch)),
        notes=tuple(_notes(value)),
        expression=visible(place.expression, 1_000),
        condition=condition if condition.isprintable() and len(condition) < 1_500 else "",
        condition_href=_condition_href(reading, condition),
        literals=_literals(reading, branch, capture),
    )


def _condition_href(reading: Reading, condition: str) -> str | None:
    if not condition or not reading.probe_id or len(condition) >= 1_500 or not condition.isprintable():
        return None
    return f"/debugger/probes/{quote(reading.probe_id, safe='')}/edit?{urlencode({'when': condition})}"


def _where(branch: Branch) -> str:
    if branch.value is None:
        return "All variables of this moment"
    group = _GROUPS.get(branch.place.group, "")
    kind = {"asked for": "what the probe asked for", "static": "static field"}.get(group, group)
    said = f"{kind}, {moment_words(branch.moment).lower()}"
    return said if branch.level == 2 else f"in {'an' if kind[:1] in 'a' else 'a'} {said}"


def _facts(branch: Branch) -> Iterator[tuple[str, str]]:
    value = branch.value
    if value is None:
        yield "Variables", str(branch.total)
        yield "Values in all", f"{branch.weight.values:,}"
        yield "Their texts", bytes_words(branch.weight.bytes)
        return
    if value.type:
        yield "Type", visible(value.type, 300)
    if value.text is not None:
        of = f" of {value.size:,}" if value.truncated and value.size is not None else ""
        said = plain_text(value)
        if said is not None or value.truncated:
            count = len(value.text if said is None else said)
            yield "Length", f"{count:,}{of} {'character' if count == 1 and not of else 'characters'}"
    elif value.elements is not None or value.entries is not None or value.fields is not None:
        what = "element" if value.elements is not None else "entry" if value.entries is not None else "field"
        of = f" of {value.size:,}" if value.size is not None and value.size != value.held else ""
        yield "Holds", f"{value.held:,}{of} {what if value.held == 1 and not of else _PLURAL[what]}"
        if branch.weight.values - 1 > value.held:
            yield "Beneath it", f"{branch.weight.values - 1:,} values"


_PLURAL: Final = {"element": "elements", "entry": "entries", "field": "fields"}


def _notes(value: Value | None) -> Iterator[str]:
    if value is None:
        return
    if value.truncated:
        of = f" of {value.size:,}" if value.size is not None else ""
        yield f"The text is cut off: these are {len(plain_text(value) or value.text or ''):,}{of} characters."
    if value.missing is not None:
        yield value.missing.says + (
            f" ({visible(value.reason, 100)})" if value.missing is Missing.OTHER else ""
        )


def _literals(reading: Reading, branch: Branch, capture: Capture | None) -> tuple[LiteralView, ...]:
    value = branch.value
    if value is not None and not value.is_captured:
        return ()
    found = []
    for language in dict.fromkeys(filter(None, (reading.language, Language.JSON))):
        copied = None
        if branch.weight.values <= MAX_LITERAL_VALUES:
            copied = literal(language, value, capture)
        text = None if copied is None else file_text(copied)
        found.append(
            LiteralView(
                language=LANGUAGE_WORDS[language],
                key=f"{language.value}-{branch.key}",
                text=text if text is not None and len(text) <= MAX_TEXT else None,
                href=reading.file_href(branch.place.path, language),
                gaps=() if copied is None else tuple(visible(gap, 200) for gap in copied.gaps[:20]),
            )
        )
    return tuple(found)


def literal(language: Language, value: Value | None, capture: Capture | None) -> Copied:
    """A value, or all variables of a moment where there is none, as text for a test."""
    if value is not None:
        return literals.copy(value, language)
    if capture is None:
        return Copied("", (), ())
    return literals.copy_all(({**capture.names(), **dict(capture.expressions)}).items(), language)


def file_text(copied: Copied) -> str:
    """A literal with what must stand before it."""
    return "\n\n".join(["\n".join(copied.needs), copied.text]) if copied.needs else copied.text


def bytes_words(size: int) -> str:
    """A size in words."""
    if size < 1_000:
        return f"{size} B"
    return f"{size / 1_000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


# Searching --------------------------------------------------------------------------------------------------


def found_view(reading: Reading, text: str, flag: str) -> FoundView | None:
    """What was looked for in one snapshot; None where nothing was."""
    if text:
        found, what = tree.search(reading.snapshot, text, limit=SHOWN_FOUND), f"with “{visible(text, 100)}”"
    elif flag in FLAGS:
        why, what = FLAGS[flag]
        found = tree.flagged(reading.snapshot, why, limit=SHOWN_FOUND)
    else:
        return None
    return FoundView(what, tuple(_found_row(reading, row) for row in found.rows), found.total)


def _found_row(reading: Reading, row: Row) -> FoundRow:
    moment, _, path = row.path.partition("/")
    return FoundRow(
        href=f"{reading.href(row.path)}#chosen",
        path=visible(path, 200),
        where=moment_words(moment) if len(reading.snapshot.captures) > 1 else "",
        type=type_words(row.value),
        shown=visible(row.shown, 160),
        flags=flags(row.value),
    )


# Two snapshots ----------------------------------------------------------------------------------------------


def compare_view(
    earlier: Snapshot, later: Snapshot, *, before: Link, after: Link, reading: Reading, note: str = ""
) -> CompareView:
    """What is different in the later one; values are shown in the snapshot that is read."""
    compared = tree.compare(earlier, later)
    counts = dict.fromkeys(Difference, 0)
    for change in compared.changes:
        counts[change.difference] += 1
    rows = [each for each in compared.changes if each.difference is not Difference.UNKNOWN]
    unknown = [each for each in compared.changes if each.difference is Difference.UNKNOWN]
    more = max(0, len(rows) - SHOWN_CHANGES) + max(0, len(unknown) - SHOWN_UNKNOWN)
    return CompareView(
        before=before,
        after=after,
        rows=tuple(_change_row(reading, change) for change in rows[:SHOWN_CHANGES]),
        unknown=tuple(_change_row(reading, change) for change in unknown[:SHOWN_UNKNOWN]),
        counts=tuple((_DIFFERENCES[difference], count) for difference, count in counts.items()),
        same=compared.same,
        more=more if compared.is_whole else -1,
        note=note,
    )


def _change_row(reading: Reading, change: Change) -> ChangeRow:
    moment, _, path = change.path.partition("/")
    if moment == "line":
        moment = next(
            (each.moment for each in reading.snapshot.captures if each.moment not in ("entry", "return")),
            moment,
        )
    words = "" if moment.isdigit() else f"{moment_words(moment)}: "
    return ChangeRow(
        dom_id=dom_id("change", change.path),
        status=_DIFFERENCES[change.difference],
        path=visible(words + path, 200),
        href=f"{reading.href(f'{moment}/{path}')}#chosen",
        before=_side(change.before),
        after=_side(change.after),
    )


def _side(value: Value | None) -> Side:
    if value is None:
        return Side("", "", ())
    return Side(visible(tree.line(value), 300), type_words(value), flags(value))
