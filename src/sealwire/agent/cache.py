"""The last good state, on disk.

Hides the file: where it lies, how it is written so that a kill or a power cut leaves the old or the new
one, and when it must not be believed. What it holds is verified again by whoever loads it; here only
damage and belonging are checked. A state belongs to an API key, an upstream and two first roots: with
others it is set aside, never mixed.

Invariants: one agent per folder (a lock held as long as the process lives); the file is 0600; no failure
of the disk stops the agent: it goes on in memory, visibly (``mode``, ``why_memory``, one warning).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from sealwire.errors import SettingsError

log = structlog.get_logger("sealwire.agent.cache")

_MAGIC = b"sealwire agent state 1\n"
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Belonging:
    """Whom a state belongs to; digests, so that the file tells no key.

    Attributes:
        api_key: SHA-256 of the key.
        url: Of the upstream.
        anchors: SHA-256 over both first roots.
    """

    api_key: str
    url: str
    anchors: str

    @classmethod
    def of(cls, *, api_key: str, url: str, director_root: bytes, config_root: bytes) -> Belonging:
        """The belonging of what is fetched with this key, from there, under these roots."""
        anchors = hashlib.sha256(
            hashlib.sha256(director_root).digest() + hashlib.sha256(config_root).digest()
        )
        return cls(hashlib.sha256(api_key.encode()).hexdigest(), url, anchors.hexdigest())

    def differs_in(self, other: Belonging) -> list[str]:
        """What is not the same, in words."""
        named = {"api_key": "the API key", "url": "the control plane's address", "anchors": "the first roots"}
        return [words for name, words in named.items() if getattr(self, name) != getattr(other, name)]


@dataclass(frozen=True, slots=True)
class Held:
    """What is kept.

    Attributes:
        dump: Of the trusted state; opaque here.
        org_uuids: UUID of the organisation by config-root version, as the control plane named it.
    """

    dump: Mapping[str, bytes]
    org_uuids: Mapping[str, str] = field(default_factory=dict)


class Cache:
    """The folder ``<run_path>/remote-config``. Open it with :meth:`open`; methods block on the disk."""

    def __init__(self, folder: Path, lock_fd: int | None, why_memory: str) -> None:
        self._folder = folder
        self._state = folder / "state"
        self._lock_fd = lock_fd
        self.why_memory = why_memory

    @classmethod
    def open(cls, run_path: Path) -> Cache:
        """Take the folder for this process, or go on in memory where it cannot be written.

        Raises:
            SettingsError: Another agent works in this folder.
        """
        folder = run_path / "remote-config"
        lock_fd: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock_fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock_fd, 0)
            os.write(lock_fd, b"%d\n" % os.getpid())
        except BlockingIOError as error:
            holder = _holder(folder / "lock")
            if lock_fd is not None:
                os.close(lock_fd)
            raise SettingsError(
                f"another agent{holder} works in {run_path}: "
                "stop it, or give this one a folder of its own with `run_path:`"
            ) from error
        except OSError as error:
            if lock_fd is not None:
                os.close(lock_fd)
            why = f"{folder} cannot be written: {error.strerror}"
            log.warning("state is kept in memory only", reason=why)
            return cls(folder, None, why)
        return cls(folder, lock_fd, "")

    @property
    def mode(self) -> str:
        """``disk`` or ``memory``."""
        return "memory" if self.why_memory else "disk"

    def load(self, belonging: Belonging) -> Held | None:
        """What was kept last, unless it is damaged or somebody else's: that is set aside.

        Returns:
            Unverified.
        """
        try:
            raw = self._state.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            if not self.why_memory:
                self._fail(error)
            return None
        opened = _unpack(raw)
        if opened is None:
            self.set_aside("it is damaged")
            return None
        owner, held = opened
        if differences := owner.differs_in(belonging):
            self.set_aside(f"{' and '.join(differences)} changed")
            return None
        return held

    def save(self, belonging: Belonging, held: Held) -> None:
        """Replace what is kept; afterwards it survives a power cut. A failing disk changes ``mode``."""
        if self._lock_fd is None:
            return
        raw = _pack(belonging, held)
        new = self._folder / "state.new"
        try:
            # 1. The whole new file, on the disk and not only in its cache.
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                _write_all(fd, raw)
                os.fsync(fd)
            finally:
                os.close(fd)
            # 2. In the place of the old one, at once.
            os.replace(new, self._state)
            # 3. And the folder that says so.
            folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder_fd)
            finally:
                os.close(folder_fd)
        except OSError as error:
            self._fail(error)
            return
        if self.why_memory:
            self.why_memory = ""
            log.info("state is kept on disk again")

    def set_aside(self, reason: str) -> None:
        """Move what is kept out of the way, so that it can be looked at; only the last such is left."""
        try:
            os.replace(self._state, self._folder / "state.set-aside")
        except OSError as error:
            self._fail(error)
        log.warning("kept state was set aside", reason=reason, file=str(self._folder / "state.set-aside"))

    def close(self) -> None:
        """Let another agent have the folder."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _fail(self, error: OSError) -> None:
        why = f"{self._folder}: {error.strerror or error}"
        if why != self.why_memory:
            self.why_memory = why
            log.warning("state is kept in memory only", reason=why)


def _write_all(fd: int, raw: bytes) -> None:
    view = memoryview(raw)
    while view:
        view = view[os.write(fd, view) :]


class _File(msgspec.Struct):
    api_key: str
    url: str
    anchors: str
    org_uuids: dict[str, str]
    dump: dict[str, bytes]


def _pack(belonging: Belonging, held: Held) -> bytes:
    body = msgspec.msgpack.encode(
        _File(belonging.api_key, belonging.url, belonging.anchors, dict(held.org_uuids), dict(held.dump))
    )
    return b"".join((_MAGIC, hashlib.sha256(body).digest(), body))


def _unpack(raw: bytes) -> tuple[Belonging, Held] | None:
    """The parts of a file, or None when it is not whole."""
    body = raw[len(_MAGIC) + _DIGEST_BYTES :]
    digest = raw[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES]
    if not raw.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        return None
    try:
        file = msgspec.msgpack.decode(body, type=_File)
    except msgspec.DecodeError:
        return None
    return Belonging(file.api_key, file.url, file.anchors), Held(file.dump, file.org_uuids)


def _holder(lock: Path) -> str:
    try:
        return f" (pid {int(lock.read_text())})"
    except (OSError, ValueError):
        return ""
