"""Static files, read once, served under one hash over all of them.

An address with the present hash may be kept for a year. One with another hash (a page of before an update)
gets the present file, to be asked for again. Nothing outside the folder can be named: what is not in the
table does not exist.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    "": "text/plain",
}
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to be sent."""

    content: bytes
    zipped: bytes | None
    media_type: str


@dataclass(frozen=True, slots=True)
class Assets:
    """Every file by its path below ``static``, and the hash over all."""

    digest: str
    files: dict[str, Asset]

    def url(self, path: str) -> str:
        """The address of a file."""
        if path not in self.files:
            raise RuntimeError(f"static file {path} does not exist")
        return f"/static/{self.digest}/{path}"


@cache
def assets() -> Assets:
    """All static files of this installation."""
    digest = hashlib.sha256()
    files: dict[str, Asset] = {}
    for file in sorted(STATIC.rglob("*")):
        if not file.is_file() or file.suffix not in TYPES:
            continue
        path, content = file.relative_to(STATIC).as_posix(), file.read_bytes()
        digest.update(path.encode() + b"\0" + content)
        zipped = None if file.suffix == ".woff2" else gzip.compress(content, mtime=0)
        files[path] = Asset(content, zipped, TYPES[file.suffix])
    return Assets(digest.hexdigest()[:16], files)
