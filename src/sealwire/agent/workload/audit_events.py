"""Audit events as events of the rule language: what a system call did, by its arguments and its records.

Hides which argument of which call means what. Paths are given as the program wrote them; they are made whole
and real here, through the file system as it is now, which for a file that is gone leaves them as written.

Invariants: an event of a call that is not known, or whose first record is missing, is none; nothing raises.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sealwire.agent.workload.addresses import is_public
from sealwire.agent.workload.decode_audit import (
    CAPSET,
    KERN_MODULE,
    OPENAT2,
    AuditEvent,
    PathItem,
    number_of,
    socket_address,
    text_of,
)
from sealwire.agent.workload.proc import Proc
from sealwire.agent.workload.processes import FileFields, Processes, facts_of_file
from sealwire.agent.workload.syscalls import BY_ARCH, KIND_OF
from sealwire.secl.event import Event, Process

AT_FDCWD: Final = 0xFFFFFF9C  # minus 100, as 32 bits
AT_REMOVEDIR: Final = 0x200
PR_SET_NAME: Final = 15
_CREATE_FLAGS: Final = 0o1101  # creat: make, write, empty
MAX_PATH_CHARS: Final = 8_192
MAX_FOLDERS: Final = 4_096
FOLDER_S: Final = 1.0
_NOBODY: Final = 4294967295


class Paths:
    """Makes paths whole and real; what a folder really is is kept for ``FOLDER_S``."""

    def __init__(self, proc: Proc) -> None:
        self._proc = proc
        self._folders: dict[str, str] = {}
        self._until_s = 0.0

    def tick(self, now_s: float) -> None:
        """Forget what may have changed meanwhile."""
        if now_s >= self._until_s or len(self._folders) > MAX_FOLDERS:
            self._folders.clear()
            self._until_s = now_s + FOLDER_S

    def whole(self, name: str, *, base: str, pid: int, follow: bool) -> str:
        """A path as the program wrote it, from the top and without links.

        Args:
            base: What it is relative to.
            follow: The call follows a link at the end.
        """
        if not name:
            return ""
        joined = name if name.startswith("/") else posixpath.join(base or "/", name)
        if joined.startswith(("/proc/self/", "/proc/thread-self/")):
            joined = f"/proc/{pid}/" + joined.split("/", 3)[3]
        joined = joined[:MAX_PATH_CHARS]
        if "\x00" in joined:
            return posixpath.normpath(joined.replace("\x00", "?"))
        folder, _, last = joined.rpartition("/")
        if last in ("", ".", ".."):
            return self._real(joined)
        path = f"{self._real(folder or '/').rstrip('/')}/{last}"
        return os.path.realpath(path) if follow and os.path.islink(path) else path

    def _real(self, folder: str) -> str:
        found = self._folders.get(folder)
        if found is None:
            try:
                found = os.path.realpath(folder)
            except (OSError, ValueError):
                found = posixpath.normpath(folder)
            # A folder of a process in a folder of its own leads out of what it sees; keep it as written.
            self._folders[folder] = found
        return found

    def of_descriptor(self, pid: int, number: int) -> str:
        """The file behind an open descriptor, if the process still has it."""
        if number > 0x7FFFFFFF:
            return ""
        path = self._proc.link(f"{pid}/fd/{number}")
        return path.removesuffix(" (deleted)") if path.startswith("/") else ""


@dataclass(slots=True)
class _Call:
    """One system call being read."""

    event: AuditEvent
    name: str
    kind: str
    pid: int
    values: dict[str, Any]
    target: Process | None = None
    files: tuple[str, ...] = ()

    def put(self, name: str, value: Any) -> None:
        self.values[f"{self.kind}.{name}"] = value

    def argument(self, at: int) -> int:
        """An argument as 32 bits without sign, which is what flags and modes are."""
        return self.event.argument(at) & 0xFFFFFFFF


class AuditEvents:
    """Turns audit events into events, and keeps the processes up to date by them.

    Args:
        common: Fields every event gets, such as the host's name.
    """

    def __init__(self, processes: Processes, proc: Proc, *, common: Mapping[str, Any]) -> None:
        self._processes = processes
        self._proc = proc
        self._paths = Paths(proc)
        self._common = {**common, "event.origin": "audit"}

    def tick(self, now_s: float) -> None:
        self._paths.tick(now_s)

    def event(self, audit: AuditEvent) -> Event | None:
        """The event; ``None`` for one that is nothing to rules."""
        machine = BY_ARCH.get(number_of(audit.syscall.get("arch"), base=16))
        name = machine.names.get(audit.number("syscall", otherwise=-1), "") if machine is not None else ""
        kind = KIND_OF.get(name, "")
        if not kind:
            return None
        if name == "unlinkat" and audit.argument(2) & AT_REMOVEDIR:
            kind = "rmdir"
        pid = audit.number("pid")
        if not 0 < pid <= 0x7FFFFFFF:
            return None
        succeeded = audit.syscall.get("success") == b"yes"
        at_ns = audit.at_ms * 1_000_000
        call = _Call(audit, name, kind, pid, dict(self._common))
        if kind == "exec":
            if not succeeded:
                return None
            process = self._executed(call, at_ns)
        else:
            if kind in ("setuid", "setgid", "capset") and not succeeded:
                return None
            process = self._actor(call, at_ns)
            call.put("retval", audit.number("exit"))
            read = _READ.get(kind)
            if read is not None:
                read(self, call)
        values = FileFields(call.values, call.files, self._processes.names)
        return Event(kind, timestamp_ns=at_ns, values=values, process=process, target=call.target)

    # The process --------------------------------------------------------------------------------------------

    def _who(self, call: _Call) -> dict[str, Any]:
        audit = call.event
        found: dict[str, Any] = {
            name: audit.number(name) for name in ("uid", "gid", "euid", "egid", "fsuid", "fsgid")
        }
        found["auid"] = audit.number("auid", otherwise=_NOBODY)
        found["ppid"] = audit.number("ppid")
        found["comm"] = text_of(audit.syscall.get("comm"))
        tty = audit.syscall.get("tty", b"")
        found["tty_name"] = "" if tty in (b"(none)", b"?") else tty.decode("utf-8", "replace")[:64]
        return found

    def _actor(self, call: _Call, at_ns: int) -> Process:
        process = self._processes.of(call.pid, at_ns=at_ns)
        values, who = process.values, self._who(call)
        program = _program(call.event)
        known = values.get("interpreter.file.path") or values.get("file.path")
        if program and known != program:
            # It runs another program than was thought: that start was not seen.
            who["file.path"] = program
            if known is not None or process.parent is None:
                who.update(self._title(call))
                return self._processes.executed(call.pid, who, at_ns=at_ns, parent=who["ppid"])
        for name in _DERIVED_NAMES:
            if name in values and values.get(_DERIVED_NAMES[name]) != who[_DERIVED_NAMES[name]]:
                del values[name]
        values.update(who)
        return process

    def _title(self, call: _Call) -> dict[str, Any]:
        """Arguments from the title of a process, which it may have changed and which is cut at 128 bytes."""
        words = call.event.title.rstrip(b"\x00").decode("utf-8", "replace").split("\x00")
        return {
            "argv0": words[0],
            "argv": tuple(words[1:]),
            "args_truncated": len(call.event.title) >= 127,
        }

    def _executed(self, call: _Call, at_ns: int) -> Process:
        audit = call.event
        values = self._who(call)
        program = _program(audit)
        first = audit.paths[0] if audit.paths else None
        words = audit.arguments
        values.update({"argv0": words[0] if words else "", "argv": words[1:], "args_truncated": audit.cut})
        values["file.path"] = program
        if first is not None:
            call.put("syscall.path", first.name)
            if len(audit.paths) > 1 and self._is_script(first, program):
                values["interpreter.file.path"] = program
                values["file.path"] = self._paths.whole(first.name, base=audit.cwd, pid=call.pid, follow=True)
            values.update(_facts(first, "file"))
        return self._processes.executed(call.pid, values, at_ns=at_ns, parent=values["ppid"])

    @staticmethod
    def _is_script(first: PathItem, program: str) -> bool:
        """Whether the file that was asked for is not the one that runs."""
        if first.name == program:
            return False
        runs = facts_of_file(program)
        return bool(runs) and runs["inode"] != first.inode

    # Files --------------------------------------------------------------------------------------------------

    def _file(self, call: _Call, item: PathItem | None, part: str = "file", *, follow: bool = True) -> None:
        """A file of the event, from its record, or by its descriptor where the record has no name."""
        stem = f"{call.kind}.{part}"
        call.files = (*call.files, stem)
        if item is None:
            return
        if item.name:
            path = self._paths.whole(
                item.name, base=self._base(call, item, part), pid=call.pid, follow=follow
            )
        else:
            path = self._paths.of_descriptor(call.pid, call.argument(0))
        if path:
            call.values[f"{stem}.path"] = path
        call.values.update(_facts(item, stem))

    def _base(self, call: _Call, item: PathItem, part: str) -> str:
        """What a relative path is relative to: a descriptor that was given, else the working directory."""
        if item.name.startswith("/"):
            return "/"
        at = _DIRECTORY_ARGUMENT.get(call.name)
        if at is None:
            return call.event.cwd
        number = call.argument(at if part == "file" else 2)
        if number == AT_FDCWD:
            return call.event.cwd
        return self._paths.of_descriptor(call.pid, number) or call.event.cwd

    def _one_file(self, call: _Call, *, follow: bool = True) -> PathItem | None:
        item = _item(call.event, "NORMAL", "CREATE", "DELETE", "UNKNOWN")
        self._file(call, item, follow=follow)
        if item is not None and item.name:
            call.put("syscall.path", item.name)
        return item

    def open(self, call: _Call) -> None:
        self._one_file(call)
        flags, mode = 0, 0
        if call.name == "open":
            flags, mode = call.argument(1), call.argument(2)
        elif call.name == "creat":
            flags, mode = _CREATE_FLAGS, call.argument(1)
        elif call.name == "openat2":
            how = call.event.extra.get(OPENAT2, {})
            flags = number_of(how.get("oflag"), base=8)
            mode = number_of(how.get("mode"), base=8)
        else:
            flags, mode = call.argument(2), call.argument(3)
        if not flags & 0o20000100:  # the mode means something only where a file may be made
            mode = 0
        for name in ("flags", "syscall.flags"):
            call.put(name, flags)
        call.put("syscall.mode", mode)
        call.put("file.destination.mode", mode & 0o7777)

    def chmod(self, call: _Call) -> None:
        self._one_file(call)
        mode = call.argument(2 if call.name.startswith("fchmodat") else 1) & 0o7777
        for name in ("file.destination.mode", "file.destination.rights", "syscall.mode"):
            call.put(name, mode)

    def chown(self, call: _Call) -> None:
        self._one_file(call, follow=not call.name.startswith("lchown"))
        at = 2 if call.name == "fchownat" else 1
        for name, number in (("uid", call.argument(at)), ("gid", call.argument(at + 1))):
            number = -1 if number == 0xFFFFFFFF else number
            call.put(f"file.destination.{name}", number)
            call.put(f"syscall.{name}", number)

    def changed_file(self, call: _Call) -> None:
        self._one_file(call)

    def unlink(self, call: _Call) -> None:
        self._one_file(call, follow=False)
        if call.kind == "unlink":
            flags = call.argument(2) if call.name == "unlinkat" else 0
            call.put("flags", flags)
            call.put("syscall.flags", flags)

    def mkdir(self, call: _Call) -> None:
        self._one_file(call, follow=False)
        mode = call.argument(2 if call.name == "mkdirat" else 1)
        for name in ("file.destination.mode", "file.destination.rights", "syscall.mode"):
            call.put(name, mode & 0o7777)

    def two_files(self, call: _Call) -> None:
        """rename and link: what it was, and what it is called now."""
        old = _item(call.event, "DELETE" if call.kind == "rename" else "NORMAL")
        new = _item(call.event, "CREATE")
        if old is None and new is None:
            # It failed; the files it was about have roles of no use. The first is the old one.
            rest = [each for each in call.event.paths if each.role != "PARENT"]
            old, new = (rest[0] if rest else None), (rest[1] if len(rest) > 1 else None)
        self._file(call, old, follow=False)
        self._file(call, new, "file.destination", follow=False)
        if old is not None:
            call.put("syscall.path", old.name)
        if new is not None:
            call.put("syscall.destination.path", new.name)

    # The rest -----------------------------------------------------------------------------------------------

    def address(self, call: _Call) -> None:
        found = socket_address(call.event.address)
        if found is None:
            return
        call.put("addr.family", found.family)
        call.put("addr.ip", found.ip)
        call.put("addr.port", found.port)
        call.put("addr.is_public", is_public(found.ip))

    def ptrace(self, call: _Call) -> None:
        call.put("request", call.argument(0))
        self._target(call, call.argument(1))

    def signal(self, call: _Call) -> None:
        call.put("type", call.argument(2 if call.name == "tgkill" else 1))
        self._target(call, call.argument(0))

    def setrlimit(self, call: _Call) -> None:
        is_other = call.name == "prlimit64"
        call.put("resource", call.argument(1 if is_other else 0))
        self._target(call, (call.argument(0) or call.pid) if is_other else call.pid)

    def _target(self, call: _Call, pid: int) -> None:
        if 0 < pid <= 0x7FFFFFFF:
            call.target = self._processes.of(pid, at_ns=call.event.at_ms * 1_000_000)

    def load_module(self, call: _Call) -> None:
        call.put("name", text_of(call.event.extra.get(KERN_MODULE, {}).get("name")))
        call.put("loaded_from_memory", call.name == "init_module")
        if call.name == "finit_module":
            call.files = ("load_module.file",)
            path = self._paths.of_descriptor(call.pid, call.argument(0))
            if path:
                call.put("file.path", path)

    def unload_module(self, call: _Call) -> None:
        call.put("name", text_of(call.event.extra.get(KERN_MODULE, {}).get("name")))

    def bpf(self, call: _Call) -> None:
        call.put("cmd", call.argument(0))

    def mount(self, call: _Call) -> None:
        item = call.event.paths[0] if call.event.paths else None
        if item is None:
            return
        path = self._paths.whole(item.name, base=call.event.cwd, pid=call.pid, follow=True)
        call.put("mountpoint.path", path)
        call.put("syscall.mountpoint.path", item.name)
        found = mount_of(self._proc.read(f"{call.pid}/mountinfo") or self._proc.read("self/mountinfo"), path)
        if found is not None:
            call.put("fs_type", found[0])
            call.put("root.path", found[1])
            call.put("source.path", found[2])

    def prctl(self, call: _Call) -> None:
        call.put("option", call.argument(0))
        if call.argument(0) == PR_SET_NAME:
            call.put("new_name", text_of(call.event.syscall.get("comm")))

    def setuid(self, call: _Call) -> None:
        for name in ("uid", "euid", "fsuid"):
            call.put(name, call.event.number(name))

    def setgid(self, call: _Call) -> None:
        for name in ("gid", "egid", "fsgid"):
            call.put(name, call.event.number(name))

    def capset(self, call: _Call) -> None:
        found = call.event.extra.get(CAPSET, {})
        call.put("cap_effective", number_of(found.get("cap_pe"), base=16))
        call.put("cap_permitted", number_of(found.get("cap_pp"), base=16))

    def mmap(self, call: _Call) -> None:
        call.put("protection", call.argument(2))
        call.put("flags", call.argument(3))

    def mprotect(self, call: _Call) -> None:
        call.put("req_protection", call.argument(2))

    def setsockopt(self, call: _Call) -> None:
        call.put("level", call.argument(1))
        call.put("optname", call.argument(2))


_DERIVED_NAMES: Final = {
    "user": "uid", "group": "gid", "euser": "euid", "egroup": "egid", "fsuser": "fsuid", "fsgroup": "fsgid",
}  # fmt: skip

# Where the descriptor of a directory is that a path is relative to.
_DIRECTORY_ARGUMENT: Final = {
    "openat": 0, "openat2": 0, "unlinkat": 0, "renameat": 0, "renameat2": 0, "linkat": 0, "mkdirat": 0,
    "fchmodat": 0, "fchmodat2": 0, "fchownat": 0, "utimensat": 0, "futimesat": 0, "utimensat_time64": 0,
}  # fmt: skip

_READ: Final[Mapping[str, Callable[[AuditEvents, _Call], None]]] = {
    "open": AuditEvents.open,
    "chmod": AuditEvents.chmod,
    "chown": AuditEvents.chown,
    "utimes": AuditEvents.changed_file,
    "setxattr": AuditEvents.changed_file,
    "removexattr": AuditEvents.changed_file,
    "chdir": AuditEvents.changed_file,
    "unlink": AuditEvents.unlink,
    "rmdir": AuditEvents.unlink,
    "mkdir": AuditEvents.mkdir,
    "rename": AuditEvents.two_files,
    "link": AuditEvents.two_files,
    "connect": AuditEvents.address,
    "bind": AuditEvents.address,
    "accept": AuditEvents.address,
    "ptrace": AuditEvents.ptrace,
    "signal": AuditEvents.signal,
    "setrlimit": AuditEvents.setrlimit,
    "load_module": AuditEvents.load_module,
    "unload_module": AuditEvents.unload_module,
    "bpf": AuditEvents.bpf,
    "mount": AuditEvents.mount,
    "prctl": AuditEvents.prctl,
    "setuid": AuditEvents.setuid,
    "setgid": AuditEvents.setgid,
    "capset": AuditEvents.capset,
    "mmap": AuditEvents.mmap,
    "mprotect": AuditEvents.mprotect,
    "setsockopt": AuditEvents.setsockopt,
}


def _program(audit: AuditEvent) -> str:
    return text_of(audit.syscall.get("exe")).removesuffix(" (deleted)")


def _item(audit: AuditEvent, *roles: str) -> PathItem | None:
    """The first file with the first of some roles that there is."""
    for role in roles:
        for each in audit.paths:
            if each.role == role:
                return each
    return None


def _facts(item: PathItem, stem: str) -> dict[str, Any]:
    if item.role == "UNKNOWN" and not item.inode:
        return {}
    return {
        f"{stem}.inode": item.inode,
        f"{stem}.mode": item.mode,
        f"{stem}.uid": item.uid,
        f"{stem}.gid": item.gid,
    }


def mount_of(raw: bytes, path: str) -> tuple[str, str, str] | None:
    """Kind, root and source of what is mounted at a path, by ``mountinfo``; the last one there counts."""
    found = None
    for line in raw.splitlines()[:16_384]:
        words = line.decode("utf-8", "replace").split(" ")
        if "-" not in words[6:]:
            continue
        dash = words.index("-", 6)
        if len(words) > dash + 2 and _unescaped(words[4]) == path:
            found = (words[dash + 1], _unescaped(words[3]), _unescaped(words[dash + 2]))
    return found


@lru_cache(maxsize=256)
def _unescaped(text: str) -> str:
    for digits, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(digits, char)
    return text
