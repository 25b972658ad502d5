"""Looking for a text in snapshots: quickly past those that cannot have it, then in those that may. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sealwire.server.debugger.snapshots import tree
from sealwire.server.debugger.snapshots.snapshot import Snapshot

MAX_TEXT: Final = 200
MAX_PATHS: Final = 5
# What no encoder of JSON and no ``repr`` writes in another way.
_SAFE: Final = re.compile(r"[0-9A-Za-z _.,:=@-]+")


class Place(NamedTuple):
    """Where a text was found in a snapshot; see ``keep.Hit``."""

    message: str
    paths: tuple[tuple[str, str], ...]
    total: int
    in_message: bool


class Needle:
    """A text that is looked for; case does not matter."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()[:MAX_TEXT].lower()
        self._bytes = self.text.encode() if _SAFE.fullmatch(self.text) else b""

    def may_be_in(self, raw: bytes) -> bool:
        """Whether an envelope is worth reading."""
        return self._bytes in raw.lower()

    def look(self, snapshot: Snapshot) -> Place | None:
        """Where it is; None: nowhere."""
        found = tree.search(snapshot, self.text, limit=MAX_PATHS)
        in_message = self.text in snapshot.message.lower()
        if not found.total and not in_message:
            return None
        paths = tuple((row.path, row.shown) for row in found.rows)
        return Place(snapshot.message, paths, found.total, in_message)
