"""fanotify as a source: which process opened, made, renamed or deleted which file, on whole file systems.

The kernel gives a directory as a handle, which is opened here to learn its path; directories are remembered
for a moment. Flags, modes and what was there before are not given.

Invariant: files of events are never opened for reading, and no program ever waits for this one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from sealwire.agent.workload.decode_fanotify import (
    ATTRIB,
    CLOSE_WRITE,
    CREATE,
    DELETE,
    ON_DIRECTORY,
    OPEN,
    RENAME,
    FileEvent,
    Place,
    file_events,
)
from sealwire.agent.workload.processes import FileFields, Processes
from sealwire.agent.workload.sources import Offer, SourceError
from sealwire.secl.event import Event

_INIT_FLAGS: Final = 0x1 | 0x2 | 0xC00  # close on exec, no waiting, directories by handle with names
_ADD, _FILE_SYSTEM = 0x1, 0x100
_AT_FDCWD: Final = -100
READ_BYTES: Final = 256 * 1024
MAX_FOLDERS: Final = 8_192
FOLDER_S: Final = 2.0
MAX_FILE_SYSTEMS: Final = 64
_UNNAMED: Final = "that the file was written is seen, not with which flags it was opened"
_AFTER: Final = "as it is after the call, which may be changed again or gone"

_EVENTS: Final[Mapping[str, int]] = {
    "open": OPEN | CLOSE_WRITE | CREATE,
    "unlink": DELETE,
    "rmdir": DELETE | ON_DIRECTORY,
    "rename": RENAME,
    "mkdir": CREATE | ON_DIRECTORY,
    "chmod": ATTRIB,
}

OFFER: Final = Offer(
    source="fanotify",
    events=frozenset(_EVENTS),
    partly={
        "chmod": "that an attribute of the file was changed is seen, not which",
        "open.flags": _UNNAMED,
        "open.syscall.flags": _UNNAMED,
        "chmod.file.destination.": _AFTER,
        "open.file.destination.": _AFTER,
        "mkdir.file.destination.": _AFTER,
        "process.args": "read from /proc after the program began",
        "process.argv": "read from /proc after the program began",
        **dict.fromkeys(
            (
                "file.mode", "file.rights", "file.uid", "file.gid", "file.user", "file.group", "file.inode",
                "file.change_time", "file.modification_time",
            ),
            _AFTER,
        ),
    },
    missing={
        **{f"{event}.retval": "calls that failed are not seen" for event in _EVENTS},
        **{f"{event}.syscall.": "arguments of calls are not seen" for event in _EVENTS},
        "unlink.flags": "arguments of calls are not seen",
        "unlink.file.mode": "the file is gone",
        "unlink.file.uid": "the file is gone",
        "unlink.file.inode": "the file is gone",
        "file.in_upper_layer": "layers of containers are not known",
        "file.hashes": "files are not hashed for conditions",
        "file.package.": "packages are not looked up",
        "file.filesystem": "file systems are not recorded",
        "file.mount_id": "mounts are not recorded",
        "process.user_session.": "sessions are not known",
    },
)  # fmt: skip


class FanotifySource:
    """Reads fanotify.

    Args:
        paths: Paths on the file systems that are watched.
        emits: Event types to make.
        wanted: Says of a path whether any rule could want it; what it does not want is left out at once.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        paths: Collection[str] = ("/",),
        emits: Collection[str] = OFFER.events,
        wanted: Callable[[str], bool] = lambda path: True,
        common: Mapping[str, Any],
    ) -> None:
        self._processes = processes
        self._paths = tuple(paths)
        self._emits = frozenset(emits) & OFFER.events
        self.wanted = wanted
        self._common = {**common, "event.origin": "fanotify"}
        self._group = -1
        self._mounts: dict[bytes, int] = {}
        self._folders: dict[tuple[bytes, bytes], str] = {}
        self._until_s = 0.0
        self.lost = 0
        self.says: tuple[str, ...] = ()

    @property
    def offer(self) -> Offer:
        return Offer(OFFER.source, OFFER.events & self._emits, OFFER.partly, OFFER.missing)

    @property
    def due_s(self) -> float:
        return 5.0

    def start(self) -> None:
        self._group = _libc.fanotify_init(_INIT_FLAGS, os.O_RDONLY | os.O_CLOEXEC)
        if self._group < 0:
            raise SourceError(_why(ctypes.get_errno()))
        mask = 0
        for event in self._emits:
            mask |= _EVENTS[event]
        says: list[str] = []
        for path in self._paths[:MAX_FILE_SYSTEMS]:
            number = self._mark(path, mask)
            if number:
                says.append(f"The file system at {path} is not watched: {os.strerror(number)}.")
        self.says = tuple(says)
        if not self._mounts:
            self.stop()
            raise SourceError(says[0] if says else "No file system was named to watch.")

    def _mark(self, path: str, mask: int) -> int:
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            return error.errno or errno.EIO
        file_system = (os.fstatvfs(folder).f_fsid & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
        if file_system in self._mounts:
            os.close(folder)
            return 0
        if _libc.fanotify_mark(
            self._group, _ADD | _FILE_SYSTEM, ctypes.c_uint64(mask), _AT_FDCWD, os.fsencode(path)
        ):
            number = ctypes.get_errno()
            os.close(folder)
            return number
        self._mounts[file_system] = folder
        return 0

    def stop(self) -> None:
        if self._group >= 0:
            os.close(self._group)
            self._group = -1
        for folder in self._mounts.values():
            os.close(folder)
        self._mounts.clear()
        self._folders.clear()

    def filenos(self) -> tuple[int, ...]:
        return (self._group,) if self._group >= 0 else ()

    def read(self, *, limit: int) -> list[Event]:
        found: list[Event] = []
        now_s = time.monotonic()
        if now_s >= self._until_s or len(self._folders) > MAX_FOLDERS:
            self._folders.clear()
            self._until_s = now_s + FOLDER_S
        own = os.getpid()
        while self._group >= 0 and len(found) < limit:
            try:
                raw = os.read(self._group, READ_BYTES)
            except OSError:
                break
            at_ns = time.time_ns()
            for each in file_events(raw):
                if each.descriptor >= 0:
                    os.close(each.descriptor)
                if each.overflowed:
                    self.lost += 1
                elif each.pid != own:
                    self._take(each, at_ns, found)
        return found

    def _take(self, each: FileEvent, at_ns: int, found: list[Event]) -> None:
        path = self._path(each.place)
        new = self._path(each.new) if each.new is not None else ""
        if not path or not (self.wanted(path) or (new and self.wanted(new))):
            return
        is_directory = bool(each.mask & ON_DIRECTORY)
        kinds: list[tuple[str, dict[str, Any]]] = []
        if each.mask & RENAME:
            kinds.append(("rename", {"rename.file.destination.path": new}))
        if each.mask & CREATE:
            kinds.append(
                ("mkdir", {}) if is_directory else ("open", {"open.flags": os.O_CREAT | os.O_WRONLY})
            )
        elif each.mask & CLOSE_WRITE and not is_directory:
            kinds.append(("open", {"open.flags": os.O_WRONLY}))
        elif each.mask & OPEN and not is_directory:
            kinds.append(("open", {}))
        if each.mask & ATTRIB:
            kinds.append(("chmod", {}))
        if each.mask & DELETE:
            kinds.append(("rmdir" if is_directory else "unlink", {}))
        for kind, values in kinds:
            if kind not in self._emits:
                continue
            values = {**self._common, f"{kind}.file.path": path, **values}
            if kind in ("chmod", "mkdir"):
                mode = _mode(path)
                values[f"{kind}.file.destination.mode"] = values[f"{kind}.file.destination.rights"] = mode
            files = (f"{kind}.file", f"{kind}.file.destination") if kind == "rename" else (f"{kind}.file",)
            fields = FileFields(values, files, self._processes.names)
            process = self._processes.of(each.pid, at_ns=at_ns)
            found.append(Event(kind, timestamp_ns=at_ns, values=fields, process=process))

    def _path(self, place: Place | None) -> str:
        if place is None:
            return ""
        key = (place.file_system, place.handle)
        folder = self._folders.get(key)
        if folder is None:
            folder = self._folders[key] = self._open(place)
        if not folder:
            return ""
        return folder if place.name in ("", ".") else f"{folder.rstrip('/')}/{place.name}"

    def _open(self, place: Place) -> str:
        mount = self._mounts.get(place.file_system)
        if mount is None:
            return ""
        handle = _handle(place)
        opened = _libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_PATH | os.O_CLOEXEC)
        if opened < 0:
            return ""
        try:
            return os.readlink(f"/proc/self/fd/{opened}").removesuffix(" (deleted)")
        except OSError:
            return ""
        finally:
            os.close(opened)


def _mode(path: str) -> int:
    try:
        return stat.S_IMODE(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return 0


def _handle(place: Place) -> ctypes.Structure:
    class Handle(ctypes.Structure):
        _fields_ = (
            ("size", ctypes.c_uint),
            ("type", ctypes.c_int),
            ("bytes", ctypes.c_ubyte * max(1, len(place.handle))),
        )

    return Handle(
        len(place.handle), place.handle_type, (ctypes.c_ubyte * max(1, len(place.handle)))(*place.handle)
    )


_libc: Final = ctypes.CDLL(None, use_errno=True)


def _why(number: int) -> str:
    if number in (errno.EPERM, errno.EACCES):
        return "fanotify may not be used: the agent needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH."
    if number in (errno.ENOSYS, errno.EINVAL):
        return "fanotify with names is not in this kernel; it needs 5.9, and 5.17 for renames."
    return f"fanotify cannot be used: {os.strerror(number)}."
