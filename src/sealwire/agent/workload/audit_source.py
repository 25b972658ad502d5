"""The audit part of the kernel as a source: nearly everything rules ask for, without a compiler.

Records are read from the group every listener may read; who is the audit daemon is never changed. Rules are
added with a key of our own and only those are ever removed, at the end, or at the next start after a run that
was killed. What else was changed (on or off, how records pile up) is written down before and put back.

Where an audit daemon is, or the rules are locked, nothing is changed at all, unless ``beside`` allows rules
beside a daemon's: they would fill its log with records of ours. Where the host is told to stop when records
are lost, no rules are added: a burst of ours could stop it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import socket
import struct
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sealwire.agent.workload.audit_control import (
    KEY,
    NETLINK_AUDIT,
    AuditControl,
    AuditError,
    AuditRule,
    AuditStatus,
    encode_rule,
)
from sealwire.agent.workload.audit_events import AuditEvents
from sealwire.agent.workload.decode_audit import Assembler, AuditEvent, text_of
from sealwire.agent.workload.netlink import messages
from sealwire.agent.workload.proc import Proc
from sealwire.agent.workload.processes import Processes
from sealwire.agent.workload.sources import Offer, SourceError
from sealwire.agent.workload.syscalls import CALLS, machines
from sealwire.secl.event import Event

GROUP_READ: Final = 1
BUFFER_BYTES: Final = 16 * 1024 * 1024
BACKLOG_RECORDS: Final = 8_192
_SO_RCVBUFFORCE, _SO_MEMINFO, _MEMINFO_DROPS = 33, 55, 8
NOTE_NAME: Final = "audit-before.json"
_BEFORE: Final = "as it is after the call, which may be changed again or gone"

OFFER: Final = Offer(
    source="the audit records",
    events=frozenset(CALLS),
    partly={
        "utimes": "not seen where times are changed by a descriptor, as touch does, below a watched path",
        "process.envs": "read from /proc after the program began",
        "process.envp": "read from /proc after the program began",
        "process.cap_effective": "read from /proc after the call",
        "process.cap_permitted": "read from /proc after the call",
        "process.container.created_at": "the time of its control group's folder, which may be younger",
        "process.cgroup.created_at": "the time of its folder, which may be younger",
        "file.change_time": _BEFORE,
        "file.modification_time": _BEFORE,
        "mmap.file.": "found by the descriptor, which may be closed again",
        "load_module.file.": "found by the descriptor, which may be closed again",
        "mount.fs_type": "read from the list of mounts after the call",
        "mount.root.": "read from the list of mounts after the call",
        "mount.source.": "read from the list of mounts after the call",
        "prctl.new_name": "only where a process names itself",
        "splice": "only that it was called, not what was moved",
    },
    missing={
        "accept.addr.": "the other end is not recorded",
        "connect.addr.hostname": "names are not joined to addresses",
        "connect.protocol": "the protocol of a socket is not recorded",
        "bind.protocol": "the protocol of a socket is not recorded",
        "bpf.map.": "maps are not recorded",
        "bpf.prog.": "programs are not recorded",
        "splice.file.": "files are not recorded",
        "splice.pipe_entry_flag": "pipes are not recorded",
        "splice.pipe_exit_flag": "pipes are not recorded",
        "load_module.args": "arguments of modules are not recorded",
        "load_module.argv": "arguments of modules are not recorded",
        "setrlimit.rlim_cur": "limits are not recorded",
        "setrlimit.rlim_max": "limits are not recorded",
        "setsockopt.socket_type": "sockets are not recorded",
        "setsockopt.socket_family": "sockets are not recorded",
        "setsockopt.socket_protocol": "sockets are not recorded",
        "setsockopt.filter_len": "filters are not recorded",
        "setsockopt.filter_hash": "filters are not recorded",
        "setxattr.file.destination.": "names of attributes are not recorded",
        "removexattr.file.destination.": "names of attributes are not recorded",
        "mprotect.vm_protection": "the protection before is not recorded",
        "mount.detached": "mounts are not followed",
        "mount.visible": "mounts are not followed",
        "file.in_upper_layer": "layers of containers are not known",
        "file.hashes": "files are not hashed for conditions",
        "file.package.": "packages are not looked up",
        "file.mount_id": "mounts are not recorded",
        "file.mount_detached": "mounts are not recorded",
        "file.mount_visible": "mounts are not recorded",
        "file.filesystem": "file systems are not recorded",
        "process.caps_attempted": "use of capabilities is not recorded",
        "process.caps_used": "use of capabilities is not recorded",
        "process.user_session.": "sessions are not known",
        "process.container.tags": "tags of containers are not known",
        "process.cgroup.file.": "files of control groups are not looked up",
    },
)


class AuditSource:
    """Reads audit records.

    Args:
        keep_in: A folder for the note of what was changed; it survives a run that is killed.
        beside: Rules are added beside those of an audit daemon too.
    """

    def __init__(
        self,
        processes: Processes,
        proc: Proc,
        *,
        keep_in: Path,
        common: Mapping[str, Any],
        key: str = KEY,
        beside: bool = False,
        emits: Collection[str] = OFFER.events,
    ) -> None:
        self._events = AuditEvents(processes, proc, common=common)
        self._emits = frozenset(emits)
        self._note = keep_in / NOTE_NAME
        self._key = key
        self._beside = beside
        self._control: AuditControl | None = None
        self._socket: socket.socket | None = None
        self._assembler = Assembler()
        self._rules: dict[AuditRule, bytes] = {}
        self._lost_before = 0
        self._lost_in_kernel = 0
        self.may_add_rules = False
        self.says: tuple[str, ...] = ()

    @property
    def offer(self) -> Offer:
        return Offer(OFFER.source, OFFER.events & self._emits, OFFER.partly, OFFER.missing)

    @property
    def due_s(self) -> float:
        return 0.25  # an event that does not end is handed out then

    # Beginning and end --------------------------------------------------------------------------------------

    def start(self) -> None:
        try:
            control = self._control = AuditControl()
            status = control.status()
            self._decide(status)
            self._socket = _listener()
            if self.may_add_rules:
                self._prepare(control, status)
        except (OSError, AuditError) as error:
            self.stop()
            raise SourceError(_why(error)) from error
        except SourceError:
            self.stop()
            raise
        self._lost_before = status.lost

    def start_reading(self) -> None:
        """Begin, and change nothing: only what the rules of others record is read. Raises SourceError."""
        try:
            self._control = AuditControl()
            self._lost_before = self._control.status().lost
            self._socket = _listener()
        except (OSError, AuditError) as error:
            self.stop()
            raise SourceError(_why(error)) from error
        self.may_add_rules = False

    def _decide(self, status: AuditStatus) -> None:
        """Whether anything may be changed, and what to say of it."""
        self.may_add_rules = False
        if status.enabled == 2:
            self.says = ("The audit rules are locked until the next start; those that are there are used.",)
        elif status.daemon and not self._beside:
            self.says = ("An audit daemon is there; nothing is changed, and what its rules record is used.",)
        elif status.failure == 2:
            raise SourceError(
                "The host is told to stop when audit records are lost (failure=2), which rules of ours could"
                " cause; set it to 0 or 1."
            )
        else:
            self.may_add_rules = True
            beside = "; an audit daemon is there, and gets them too" if status.daemon else ""
            self.says = (f"Audit rules with the key {self._key} are added{beside}.",)

    def _prepare(self, control: AuditControl, status: AuditStatus) -> None:
        before = self._noted()
        if before is None:
            before = {"enabled": status.enabled, "wait": status.wait, "backlog_limit": status.backlog_limit}
            self._write_note(before, daemon=bool(status.daemon))
        control.remove_ours(key=self._key)
        if not status.daemon:
            # A program must not wait for us when records pile up; they are dropped and counted.
            control.when_full(wait=0, backlog_limit=max(status.backlog_limit, BACKLOG_RECORDS))
        if not status.enabled:
            control.switch(enabled=True)

    def stop(self) -> None:
        if self._control is not None:
            if self.may_add_rules:
                self._undo(self._control)
            self._control.close()
            self._control = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._rules.clear()

    def _undo(self, control: AuditControl) -> None:
        before = self._noted()
        with contextlib.suppress(AuditError):
            control.remove_ours(key=self._key)
            if before is not None:
                put_back(control, before)
                self._note.unlink(missing_ok=True)

    def _noted(self) -> dict[str, int] | None:
        """What was before a run of this start of the machine changed it; ``None`` if nothing did."""
        try:
            noted = json.loads(self._note.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(noted, dict) or noted.get("boot") != _boot_id():
            return None
        return {name: noted[name] for name in _NOTED if isinstance(noted.get(name), int)}

    def _write_note(self, before: Mapping[str, int], *, daemon: bool) -> None:
        names = ("enabled",) if daemon else _NOTED
        text = json.dumps({"boot": _boot_id(), **{name: before[name] for name in names}})
        self._note.parent.mkdir(parents=True, exist_ok=True)
        self._note.write_text(text, encoding="utf-8")

    # Rules --------------------------------------------------------------------------------------------------

    def put_in_force(self, rules: Iterable[AuditRule]) -> list[tuple[AuditRule, str]]:
        """Make the kernel record by these rules and no others of ours; those it did not take, with why.

        New rules are added before old ones are removed, so that nothing is missed in between.
        """
        wanted = dict.fromkeys(rules)
        if self._control is None or not self.may_add_rules:
            return [(rule, self.says[0] if self.says else "The source is not in use.") for rule in wanted]
        refused = []
        for rule in wanted:
            if rule in self._rules:
                continue
            try:
                self._control.add(rule, key=self._key)
                self._rules[rule] = encode_rule(rule, key=self._key)
            except AuditError as error:
                refused.append((rule, str(error)))
        for rule in [each for each in self._rules if each not in wanted]:
            with contextlib.suppress(AuditError):
                self._control.remove(self._rules[rule])
            del self._rules[rule]
        return refused

    @property
    def rules(self) -> tuple[AuditRule, ...]:
        """The rules that are in force."""
        return tuple(self._rules)

    # Reading ------------------------------------------------------------------------------------------------

    def filenos(self) -> tuple[int, ...]:
        return (self._socket.fileno(),) if self._socket is not None else ()

    def read(self, *, limit: int) -> list[Event]:
        found: list[Event] = []
        now_s = time.monotonic()
        self._events.tick(now_s)
        for _ in range(limit):
            if self._socket is None:
                break
            try:
                datagram, sender = self._socket.recvfrom(65_536)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue
                break
            if sender[0] != 0:
                continue  # Attack: records that another program sent, not the kernel.
            for each in messages(datagram, length_is_body=True):
                done = self._assembler.add(each.kind, each.body, now_s=now_s)
                if done is not None:
                    self._take(done, found)
        for overdue in self._assembler.overdue(now_s=now_s):
            self._take(overdue, found)
        return found

    def _take(self, audit: AuditEvent, found: list[Event]) -> None:
        if self.may_add_rules and self._key not in text_of(audit.syscall.get("key")).split("\x01"):
            return
        event = self._events.event(audit)
        if event is not None and event.type in self._emits:
            found.append(event)

    @property
    def lost(self) -> int:
        """Records the kernel had no room for, and those this program did not read in time."""
        if self._control is not None:
            with contextlib.suppress(AuditError):
                self._lost_in_kernel = max(0, self._control.status().lost - self._lost_before)
        return self._lost_in_kernel + self.dropped

    @property
    def dropped(self) -> int:
        """Records this program did not read in time."""
        if self._socket is None:
            return 0
        try:
            raw = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
        except OSError:
            return 0
        return (
            int(struct.unpack_from("=I", raw, 4 * _MEMINFO_DROPS)[0]) if len(raw) > 4 * _MEMINFO_DROPS else 0
        )


_NOTED: Final = ("enabled", "wait", "backlog_limit")


def put_back(control: AuditControl, before: Mapping[str, int]) -> None:
    """Make the status what it was. Raises AuditError."""
    if "wait" in before and "backlog_limit" in before:
        control.when_full(wait=before["wait"], backlog_limit=before["backlog_limit"])
    if before.get("enabled") == 0:
        control.switch(enabled=False)


def _listener() -> socket.socket:
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_AUDIT
    )
    try:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.bind((0, GROUP_READ))
    except OSError:
        sock.close()
        raise
    return sock


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def machine_known() -> bool:
    """Whether the numbers of system calls of this machine are known."""
    return bool(machines(platform.machine()))


def _why(error: OSError | AuditError) -> str:
    number = error.number if isinstance(error, AuditError) else error.errno
    if number in (errno.EPERM, errno.EACCES):
        return (
            "Audit records may not be read: the agent needs CAP_AUDIT_CONTROL and CAP_AUDIT_READ on the host"
            " itself, not in a container's user namespace."
        )
    if number in (errno.EPROTONOSUPPORT, errno.ECONNREFUSED, errno.EAFNOSUPPORT):
        return "Audit is not in this kernel, or switched off at its start (CONFIG_AUDITSYSCALL, audit=0)."
    return f"Audit records cannot be read: {os.strerror(number) if number else error}."
