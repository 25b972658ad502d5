"""What a change of a detection rule means, in words: "Window: 5 min → 10 min", "Query b counts users".

Pure; both documents passed ``rules.check``, or are empty. Equal documents give nothing, every difference is
in some sentence, and the text of an author stays text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sealwire.products import wording

MAX_SENTENCES: Final = 60
_LONG: Final = 120  # characters of a text that is shown in a sentence

Document = Mapping[str, Any]

_OPTIONS: Final[Mapping[str, tuple[str, object]]] = {
    "evaluationWindow": ("Window", 300),
    "keepAlive": ("Ends after", 3_600),
    "maxSignalDuration": ("Lasts at most", 86_400),
    "detectionMethod": ("Method", "threshold"),
    "sigmas": ("Standard deviations above the usual", 4),
}
_SECONDS: Final = ("evaluationWindow", "keepAlive", "maxSignalDuration")


def span(seconds: int) -> str:
    """``90 s``, ``5 min``, ``6 h``: the unit in which it is a whole number."""
    if seconds % 3_600 == 0 and seconds:
        return f"{seconds // 3_600} h"
    if seconds % 60 == 0 and seconds:
        return f"{seconds // 60} min"
    return f"{seconds} s"


def counts(query: Document) -> str:
    """What a query counts, as ``requests`` or ``different values of @usr.id``."""
    fields = query.get("distinctFields") or []
    if query.get("aggregation", "count") == "cardinality" and fields:
        return f"different values of {fields[0]}"
    return "requests"


def changes(before: Document, after: Document) -> tuple[str, ...]:
    """What is different, a sentence each without its full stop; an empty document stands for no rule."""
    found: list[str] = []
    for sentence in _changes(before, after):
        if len(found) == MAX_SENTENCES:
            found.append("And more: see the text")
            break
        found.append(sentence)
    return tuple(found)


def _changes(before: Document, after: Document) -> Iterator[str]:
    if not before or not after:
        if after:
            yield f"A new rule: {_short(str(after.get('name', '')))}"
        elif before:
            yield "The rule is deleted"
        return
    if before.get("isEnabled", True) != after.get("isEnabled", True):
        yield "Switched on" if after.get("isEnabled", True) else "Switched off"
    yield from _value("Name", before.get("name", ""), after.get("name", ""))
    if before.get("message", "") != after.get("message", ""):
        yield "The message says something else"
    yield from _queries(before.get("queries", []), after.get("queries", []))
    yield from _value("Counted for each", _group_by(before), _group_by(after))
    yield from _cases(before.get("cases", []), after.get("cases", []))
    yield from _options(before.get("options", {}), after.get("options", {}))
    yield from _tags(before.get("tags", []), after.get("tags", []))


def _value(label: str, before: object, after: object) -> Iterator[str]:
    if before != after:
        yield f"{label}: {_short(str(before)) or 'none'} → {_short(str(after)) or 'none'}"


def _group_by(document: Document) -> str:
    queries = document.get("queries", [])
    return ", ".join(queries[0].get("groupByFields", [])) if queries else ""


def _named(queries: Sequence[Document]) -> dict[str, Document]:
    return {str(query.get("name", chr(ord("a") + place))): query for place, query in enumerate(queries)}


def _queries(before: Sequence[Document], after: Sequence[Document]) -> Iterator[str]:
    old, new = _named(before), _named(after)
    for name in old:
        if name not in new:
            yield f"Query {name} is gone"
    for name, query in new.items():
        if name not in old:
            yield f"New query {name} counts {counts(query)}: {_short(str(query.get('query', '')))}"
            continue
        yield from _value(f"Query {name}", old[name].get("query", ""), query.get("query", ""))
        if counts(old[name]) != counts(query):
            yield f"Query {name} counts {counts(query)}, not {counts(old[name])}"
    if [name for name in old if name in new] != [name for name in new if name in old]:
        yield "The queries stand in another order"


def _case(case: Document) -> str:
    return f"{str(case.get('status', '')).lower()} when {_short(str(case.get('condition', '')))}"


def _cases(before: Sequence[Document], after: Sequence[Document]) -> Iterator[str]:
    if len(before) == len(after):
        for place, (old, new) in enumerate(zip(before, after, strict=True), start=1):
            if _case(old) != _case(new):
                yield f"Case {place}: {_case(old)} → {_case(new)}"
            elif old.get("name", "") != new.get("name", ""):
                yield from _value(f"Name of case {place}", old.get("name", ""), new.get("name", ""))
        return
    old_cases, new_cases = [_case(case) for case in before], [_case(case) for case in after]
    for text in old_cases:
        if text not in new_cases:
            yield f"No longer {text}"
    for text in new_cases:
        if text not in old_cases:
            yield f"Now {text}"
    if set(old_cases) == set(new_cases):
        yield f"{wording.counted(len(before), 'case')} → {wording.counted(len(after), 'case')}"
    elif [text for text in old_cases if text in new_cases] != [
        text for text in new_cases if text in old_cases
    ]:
        yield "The cases are asked in another order"


def _options(before: Document, after: Document) -> Iterator[str]:
    for name, (label, usual) in _OPTIONS.items():
        old, new = before.get(name, usual), after.get(name, usual)
        if old != new:
            if name in _SECONDS and isinstance(old, int) and isinstance(new, int):
                old, new = span(old), span(new)
            yield f"{label}: {old} → {new}"


def _tags(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    gone = [tag for tag in before if tag not in after]
    come = [tag for tag in after if tag not in before]
    if gone:
        yield f"Without the tag{'s' if len(gone) > 1 else ''} {wording.some(gone)}"
    if come:
        yield f"With the tag{'s' if len(come) > 1 else ''} {wording.some(come)}"
    if not gone and not come and list(before) != list(after):
        yield "The tags stand in another order"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"
