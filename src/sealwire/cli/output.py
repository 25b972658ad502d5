"""What people see: sentences, tables, JSON.

Hides terminals. Invariants: with ``--json`` standard output carries JSON and nothing else; text that
came from elsewhere (service names, errors of tracers) is shown with its control characters spelled
out, so it cannot move the cursor or colour a lie.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")

# The colour repeats the word, it never replaces it.
_STYLES = {
    "in_step": "green",
    "in step": "green",
    "acknowledged": "green",
    "active": "green",
    "on": "green",
    "applying": "yellow",
    "behind": "yellow",
    "silent": "dim",
    "retired": "dim",
    "revoked": "dim",
    "failed": "red",
    "error": "red",
    "refused": "red",
}


class Output:
    """Prints for people, or JSON for programs."""

    def __init__(
        self, *, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self._out = out if out is not None else sys.stdout
        self._err = err if err is not None else sys.stderr

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking at standard output."""
        return self._out.isatty()

    def say(self, sentence: str) -> None:
        """Tell a person what was done; nothing with ``--json``."""
        if not self.as_json:
            print(clean(sentence), file=self._out)

    def note(self, sentence: str) -> None:
        """Tell a person something beside the result, on standard error."""
        print(clean(sentence), file=self._err)

    def text(self, block: str) -> None:
        """Print lines that are the result themselves, unchanged."""
        print(block, file=self._out)

    def document(self, value: object) -> None:
        """Print an answer as JSON; only with ``--json``."""
        if self.as_json:
            self.json(value)

    def json(self, value: object, *, compact: bool = False) -> None:
        """Print JSON, whatever the mode."""
        text = json.dumps(value, ensure_ascii=False, indent=None if compact else 2)
        print(text, file=self._out, flush=True)

    def failure(self, value: object) -> None:
        """Print an error as JSON on standard error."""
        print(json.dumps(value, ensure_ascii=False), file=self._err)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str = "Nothing here."
    ) -> None:
        """Show rows under their headings; nothing with ``--json``.

        A terminal gets colours where the package for them is installed; anything else plain
        columns, two spaces apart.
        """
        if self.as_json:
            return
        if not rows:
            print(empty, file=self._out)
            return
        cleaned = [[clean(cell) for cell in row] for row in rows]
        if self.is_terminal and _print_rich(columns, cleaned, self._out):
            return
        print("\n".join(plain_table(columns, cleaned)), file=self._out)

    def clear(self) -> None:
        """Start at the top of the terminal again; nothing elsewhere."""
        if self.is_terminal:
            print("\x1b[H\x1b[2J", end="", file=self._out)

    def flush(self) -> None:
        self._out.flush()


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of an aligned table; no trailing spaces, the last column free."""
    widths = [
        max(len(column), *(len(row[index]) for row in rows)) if rows else len(column)
        for index, column in enumerate(columns)
    ]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(columns), *rows]
    ]


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError:
        return False
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=False)
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(file=out, highlight=False).print(table)
    return True


def clean(text: str) -> str:
    """The text with characters that would steer a terminal spelled out; line ends stay."""
    return _CONTROL.sub(
        lambda found: found[0] if found[0] in "\n\t" else ascii(found[0])[1:-1],
        text,
    )


def parse_time(text: str | None) -> datetime | None:
    """A time of the API, or None where it is missing or unreadable."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def moment(when: datetime | None) -> str:
    """A time for people: ``2026-11-22 18:05 UTC``, or ``-``."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if when else "-"


def age(since: datetime | None, *, now: datetime) -> str:
    """How long ago: ``now``, ``3 s``, ``12 min``, ``4 h``, ``6 d``."""
    if since is None:
        return "-"
    seconds = (now - since).total_seconds()
    if seconds < 1:
        return "now"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86400)} d"


def took(seconds: float | None) -> str:
    """A span for people: ``0.43 s``, or ``-``."""
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"
