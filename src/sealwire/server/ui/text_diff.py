"""Two texts as one list of lines: what stays, what goes, what comes. Bounded, however long they are."""

from __future__ import annotations

from difflib import SequenceMatcher

AROUND = 3  # lines that stay, before and after a change
MAX_LINES = 600
_MAX_WORK = 1_500  # lines on a side that are compared one by one

Lines = tuple[tuple[str, str], ...]


def lines(before: str, after: str) -> tuple[Lines, bool]:
    """``add``, ``del``, ``same`` or ``gap`` and a line each; and whether there are more than are shown."""
    old, new = before.split("\n") if before else [], after.split("\n") if after else []
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    gone, come = old[start : len(old) - end], new[start : len(new) - end]
    found: list[tuple[str, str]] = [("same", line) for line in old[:start]]
    if len(gone) <= _MAX_WORK and len(come) <= _MAX_WORK:
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, gone, come, autojunk=False).get_opcodes():
            if tag == "equal":
                found.extend(("same", line) for line in gone[i1:i2])
            else:
                found.extend(("del", line) for line in gone[i1:i2])
                found.extend(("add", line) for line in come[j1:j2])
    else:
        found.extend(("del", line) for line in gone)
        found.extend(("add", line) for line in come)
    found.extend(("same", line) for line in old[len(old) - end :])
    shown = _folded(found) if before else found
    return tuple(shown[:MAX_LINES]), len(shown) > MAX_LINES


def _folded(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without the lines that are far from any change."""
    changed = [number for number, (kind, _) in enumerate(found) if kind != "same"]
    if not changed:
        return []
    near: set[int] = set()
    for number in changed:
        near.update(range(max(0, number - AROUND), min(len(found), number + AROUND + 1)))
    shown: list[tuple[str, str]] = []
    last = -1
    for number in sorted(near):
        if number != last + 1:
            shown.append(("gap", f"{number - last - 1} lines that stay"))
        shown.append(found[number])
        last = number
    if last < len(found) - 1:
        shown.append(("gap", f"{len(found) - 1 - last} lines that stay"))
    return shown
