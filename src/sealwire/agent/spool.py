"""Batches that could not be delivered yet, on disk.

Hides the folder ``<run_path>/security-spool``: one file for each batch, written so that a kill leaves a whole
one or none, the oldest given up when there is no room. Methods block on the disk.

Invariants: never above its limit of bytes; one process per folder (a lock held as long as it lives); folder
0700, files 0600; what is read back is handed out only if its digest is right, it was written for the same key
and control plane, and it decodes as a batch. A disk that fails, or a folder of somebody else's, means that
nothing is kept (``why_not``), and never an error.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from sealwire.errors import UntrustedError
from sealwire.wire import security_batch

log = structlog.get_logger("sealwire.agent.spool")

MAX_FILES: Final = 10_000
_MAGIC: Final = b"sealwire security batch 1\n"
_DIGEST_BYTES: Final = 32
_HEAD_BYTES: Final = len(_MAGIC) + 2 * _DIGEST_BYTES
_NAME = re.compile(r"(\d{15})-(\d{10})-(\d{1,12})\.batch", re.ASCII)


class Entry(NamedTuple):
    """A batch that is kept; they sort from oldest to newest.

    Attributes:
        started_ms: Of the run it is from.
        number: Within that run.
        requests: How many its spans stand for.
    """

    started_ms: int
    number: int
    requests: int

    @property
    def file(self) -> str:
        return f"{self.started_ms:015d}-{self.number:010d}-{self.requests}.batch"


class Spool:
    """The folder of one agent. Open it with :meth:`open`.

    Attributes:
        why_not: Why nothing is kept; empty when something can be.
        size: Bytes of all files.
        dropped: Requests that were given up, by reason; those of a file that cannot be read as its name says.
    """

    def __init__(self, folder: Path, *, limit: int, owner: bytes, why_not: str = "") -> None:
        self.why_not = why_not
        self.size = 0
        self.dropped: Counter[str] = Counter()
        self._folder = folder
        self._limit = limit
        self._owner = owner
        self._sizes: dict[Entry, int] = {}
        self._lock_fd: int | None = None

    @classmethod
    def open(cls, run_path: Path, *, limit: int, api_key: str, url: str) -> Spool:
        """Take the folder for this process and see what is in it.

        Args:
            run_path: Of the agent.
            limit: The most bytes to keep; 0 keeps nothing.
            api_key: For whom the batches are, as is the next; with others they are given up.
            url: Of the control plane.
        """
        owner = hashlib.sha256(f"{hashlib.sha256(api_key.encode()).hexdigest()} {url}".encode()).digest()
        folder = run_path / "security-spool"
        if limit <= 0:
            return cls(folder, limit=0, owner=owner, why_not="it is switched off")
        spool = cls(folder, limit=limit, owner=owner)
        try:
            spool._take_folder()
        except BlockingIOError:
            spool._fail("another agent keeps its batches there")
        except OSError as error:
            spool._fail(error.strerror or str(error))
        return spool

    @property
    def entries(self) -> int:
        """How many batches are kept."""
        return len(self._sizes)

    @property
    def requests(self) -> int:
        """How many requests they tell of."""
        return sum(entry.requests for entry in self._sizes)

    def put(self, entry: Entry, packed: bytes) -> bool:
        """Keep a batch; false where nothing can be kept now."""
        if self._lock_fd is None:
            return False
        raw = b"".join((_MAGIC, self._owner, hashlib.sha256(packed).digest(), packed))
        self._make_room(len(raw))
        if self.size + len(raw) > self._limit:
            return False
        new = self._folder / "batch.new"
        try:
            # Not synced: a power cut may cost the newest of them, which the digest tells.
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                view = memoryview(raw)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            os.replace(new, self._folder / entry.file)
        except OSError as error:
            self._fail(error.strerror or str(error))
            return False
        self.why_not = ""
        self.size += len(raw) - self._sizes.pop(entry, 0)
        self._sizes[entry] = len(raw)
        return True

    def oldest(self) -> tuple[Entry, bytes] | None:
        """The batch that waits longest; what is not to be believed is given up on the way."""
        while self._sizes:
            entry = min(self._sizes)
            packed, reason = self._read(entry)
            if packed is not None:
                return entry, packed
            self._give_up(entry, reason)
        return None

    def remove(self, entry: Entry) -> None:
        """A batch was delivered, or is not wanted."""
        self.size -= self._sizes.pop(entry, 0)
        try:
            (self._folder / entry.file).unlink(missing_ok=True)
        except OSError as error:
            self._fail(error.strerror or str(error))

    def close(self) -> None:
        """Let another agent have the folder."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _take_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(0, "it is not a folder of this user")
        self._folder.chmod(0o700)
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        self._lock_fd = fd
        (self._folder / "batch.new").unlink(missing_ok=True)
        for file in os.scandir(self._folder):
            named = _NAME.fullmatch(file.name)
            if named is not None and file.is_file(follow_symlinks=False):
                self._sizes[Entry(*map(int, named.groups()))] = file.stat(follow_symlinks=False).st_size
        self.size = sum(self._sizes.values())
        self._make_room(0)

    def _make_room(self, size: int) -> None:
        while self._sizes and (self.size + size > self._limit or len(self._sizes) >= MAX_FILES):
            self._give_up(min(self._sizes), "security_spool_full")

    def _give_up(self, entry: Entry, reason: str) -> None:
        self.dropped[reason] += max(1, entry.requests)
        self.remove(entry)

    def _read(self, entry: Entry) -> tuple[bytes | None, str]:
        """What a file has, or why it is not to be used."""
        try:
            fd = os.open(self._folder / entry.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with os.fdopen(fd, "rb") as file:
                raw = file.read(_HEAD_BYTES + security_batch.MAX_BATCH_BYTES + 1)
        except OSError:
            return None, "security_spool_damaged"
        owner = raw[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES]
        digest, packed = raw[_HEAD_BYTES - _DIGEST_BYTES : _HEAD_BYTES], raw[_HEAD_BYTES:]
        if not raw.startswith(_MAGIC) or hashlib.sha256(packed).digest() != digest:
            return None, "security_spool_damaged"
        if owner != self._owner:
            return None, "security_spool_of_another_key"
        try:
            security_batch.decode(packed, is_gzipped=True)
        except UntrustedError:
            return None, "security_spool_damaged"
        return packed, ""

    def _fail(self, reason: str) -> None:
        why = f"{self._folder}: {reason}"
        if why != self.why_not:
            self.why_not = why
            log.warning("security batches are kept in memory only", reason=why)
