"""What the audit part of the kernel is told and asked: its status, and rules with our own key.

Only two numbers of its status are ever changed, and only where no audit daemon is: whether it is on, and how
it behaves when records pile up. Bytes in, values out, both ways; ``AuditControl`` holds the socket.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from sealwire.agent.workload.netlink import ACK, REQUEST, error_of, message, messages
from sealwire.agent.workload.syscalls import BY_ARCH

NETLINK_AUDIT: Final = 9
GET, SET, ADD_RULE, DEL_RULE, LIST_RULES = 1000, 1001, 1011, 1012, 1013
KEY: Final = "sealwire"

_ENABLED, _WAIT, _BACKLOG = 0x01, 0x20, 0x10
_F_PID, _F_ARCH, _F_EXIT, _F_SUCCESS = 0, 11, 103, 104
_F_WATCH, _F_PERM, _F_DIR, _F_A0, _F_KEY = 105, 106, 107, 200, 210
_EQUAL, _NOT_EQUAL, _ANY_BIT = 0x40000000, 0x30000000, 0x08000000
_FILTER_EXIT, _ALWAYS = 4, 2
PERM_EXEC, PERM_WRITE, PERM_READ, PERM_ATTRIBUTES = 1, 2, 4, 8
_MASK_WORDS, _MAX_FIELDS = 64, 64
_RULE: Final = struct.Struct("=III64I64I64I64II")
_STATUS: Final = struct.Struct("=11I")
_TEXTUAL: Final = frozenset({_F_WATCH, _F_DIR, _F_KEY, 112, *range(13, 18), *range(19, 24)})
ANSWER_S: Final = 2.0
MAX_PATH_BYTES: Final = 4_000


class AuditError(Exception):
    """The kernel did not do it; ``number`` is its error."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(f"{what}: {os.strerror(number)}")
        self.number = number


@dataclass(frozen=True, slots=True)
class AuditStatus:
    """How the audit part of the kernel stands.

    Attributes:
        enabled: 0 off, 1 on, 2 on and not to be changed until the next start of the machine.
        failure: What it does when records are lost: 0 nothing, 1 a line in the log, 2 stop the machine.
        daemon: The process that gets the records; 0 if there is none.
        lost: Records lost, ever.
    """

    enabled: int
    failure: int
    daemon: int
    rate_limit: int
    backlog_limit: int
    lost: int
    backlog: int
    wait: int


def status(body: bytes) -> AuditStatus | None:
    """A status as the kernel says it, of any version; ``None`` if it is none."""
    if len(body) < 32:
        return None
    _, enabled, failure, daemon, rate, limit, lost, backlog, _, wait, _ = _STATUS.unpack(
        body[: _STATUS.size].ljust(_STATUS.size, b"\x00")
    )
    return AuditStatus(enabled, failure, daemon, rate, limit, lost, backlog, wait)


@dataclass(frozen=True, slots=True)
class AuditRule:
    """One rule of ours: record these calls.

    Attributes:
        arch: Of which machine the numbers are; 0 if they are any machine's (a watch with permissions).
        calls: Numbers of system calls; empty for all.
        path: Only those on this file, if one is named.
        below: The path is a directory, and everything below it is meant.
        permissions: Only those that open, write or change a file so; 0 for all.
        argument_bits: An argument (its position) must have one of these bits.
        not_by: Not those of this process.
    """

    arch: int = 0
    calls: frozenset[int] = frozenset()
    path: str = ""
    below: bool = False
    permissions: int = 0
    argument_bits: tuple[int, int] | None = None
    argument_is: tuple[int, int] | None = None
    not_by: int = 0
    success: bool | None = None


def encode_rule(rule: AuditRule, *, key: str = KEY) -> bytes:
    """A rule as the kernel takes it."""
    mask = [0] * _MASK_WORDS
    if rule.calls:
        for number in rule.calls:
            mask[number // 32] |= 1 << (number % 32)
    else:
        mask = [0xFFFFFFFF] * _MASK_WORDS
    found: list[tuple[int, int, int]] = []
    texts: list[bytes] = []

    def text(field: int, value: bytes) -> None:
        found.append((field, _EQUAL, len(value)))
        texts.append(value)

    if rule.arch:
        found.append((_F_ARCH, _EQUAL, rule.arch))
    if rule.path:
        text(_F_DIR if rule.below else _F_WATCH, os.fsencode(rule.path))
    if rule.permissions:
        found.append((_F_PERM, _EQUAL, rule.permissions))
    if rule.argument_bits is not None:
        found.append((_F_A0 + rule.argument_bits[0], _ANY_BIT, rule.argument_bits[1]))
    if rule.argument_is is not None:
        found.append((_F_A0 + rule.argument_is[0], _EQUAL, rule.argument_is[1]))
    if rule.not_by:
        found.append((_F_PID, _NOT_EQUAL, rule.not_by))
    if rule.success is not None:
        found.append((_F_SUCCESS, _EQUAL, int(rule.success)))
    text(_F_KEY, key.encode())
    padding = [0] * (_MAX_FIELDS - len(found))
    buffer = b"".join(texts)
    return (
        _RULE.pack(
            _FILTER_EXIT,
            _ALWAYS,
            len(found),
            *mask,
            *[each[0] for each in found],
            *padding,
            *[each[2] for each in found],
            *padding,
            *[each[1] for each in found],
            *padding,
            len(buffer),
        )
        + buffer
    )


@dataclass(frozen=True, slots=True)
class ListedRule:
    """A rule that is in the kernel: its key, its paths, and the bytes with which it can be removed."""

    key: str
    path: str
    raw: bytes


def listed_rule(body: bytes) -> ListedRule | None:
    """A rule as the kernel lists it; ``None`` if it is none."""
    if len(body) < _RULE.size:
        return None
    words = _RULE.unpack_from(body)
    count, length = words[2], words[-1]
    if count > _MAX_FIELDS or len(body) < _RULE.size + length:
        return None
    at = _RULE.size
    key = path = ""
    for field, value in zip(words[67 : 67 + count], words[131 : 131 + count], strict=True):
        if field not in _TEXTUAL:
            continue
        text = body[at : at + value].decode("utf-8", "replace")
        at += value
        if field == _F_KEY:
            key = text
        elif field in (_F_WATCH, _F_DIR):
            path = text
    return ListedRule(key, path, body[: _RULE.size + length])


def machine_name(arch: int) -> str:
    """The machine an audit record names, or its number."""
    known = BY_ARCH.get(arch)
    return known.name if known is not None else f"{arch:#x}"


class AuditControl:
    """A socket to the audit part of the kernel, for questions and rules; never for its records."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_AUDIT)
        self._socket.bind((0, 0))
        self._socket.settimeout(ANSWER_S)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> AuditControl:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def status(self) -> AuditStatus:
        """How it stands.

        Raises:
            AuditError: It may not be asked.
        """
        for kind, body in self._ask(GET, b"", "the audit status could not be read", wanted=GET):
            found = status(body) if kind == GET else None
            if found is not None:
                return found
        raise AuditError(errno.ENODATA, "the audit status could not be read")

    def switch(self, *, enabled: bool) -> None:
        """Turn it on or off. Raises AuditError."""
        self._set(_ENABLED, enabled=int(enabled))

    def when_full(self, *, wait: int, backlog_limit: int) -> None:
        """How many records may pile up, and how long a program waits when they do (0: it goes on)."""
        self._set(_WAIT | _BACKLOG, wait=wait, backlog_limit=backlog_limit)

    def _set(self, mask: int, *, enabled: int = 0, wait: int = 0, backlog_limit: int = 0) -> None:
        body = _STATUS.pack(mask, enabled, 0, 0, 0, backlog_limit, 0, 0, 0, wait, 0)
        for _ in self._ask(SET, body, "the audit status could not be changed"):
            pass

    def rules(self) -> list[ListedRule]:
        """All rules that are in the kernel. Raises AuditError."""
        found = []
        for kind, body in self._ask(
            LIST_RULES, b"", "the audit rules could not be listed", wanted=LIST_RULES
        ):
            each = listed_rule(body) if kind == LIST_RULES else None
            if each is not None:
                found.append(each)
        return found

    def add(self, rule: AuditRule, *, key: str = KEY) -> None:
        """Add a rule; one that is there already is well. Raises AuditError."""
        try:
            for _ in self._ask(ADD_RULE, encode_rule(rule, key=key), "the audit rule was not taken"):
                pass
        except AuditError as error:
            if error.number != errno.EEXIST:
                raise

    def remove(self, raw: bytes) -> None:
        """Remove a rule by its bytes; one that is gone is well. Raises AuditError."""
        try:
            for _ in self._ask(DEL_RULE, raw, "the audit rule was not removed"):
                pass
        except AuditError as error:
            if error.number != errno.ENOENT:
                raise

    def remove_ours(self, *, key: str = KEY) -> int:
        """Remove every rule with our key, also those of a run that was killed; how many there were."""
        ours = [each for each in self.rules() if each.key == key]
        for each in ours:
            self.remove(each.raw)
        return len(ours)

    def _ask(self, kind: int, body: bytes, what: str, *, wanted: int = 0) -> Iterator[tuple[int, bytes]]:
        """Send one request; what is answered until it is acknowledged, and for a list until its end."""
        self._sequence += 1
        try:
            self._socket.send(message(kind, body, flags=REQUEST | ACK, sequence=self._sequence))
            acknowledged = False
            answered = not wanted
            while not (acknowledged and answered):
                for each in messages(self._socket.recv(65_536)):
                    if each.sequence != self._sequence:
                        continue
                    number = error_of(each)
                    if number:
                        raise AuditError(number, what)
                    if number == 0:
                        acknowledged = True
                        continue
                    # A list ends with DONE, a status is one answer.
                    answered = answered or each.kind == 3 or wanted == GET
                    yield each.kind, each.body
        except OSError as error:
            raise AuditError(error.errno or errno.ETIMEDOUT, what) from error


def add_all(control: AuditControl, rules: Iterable[AuditRule]) -> list[tuple[AuditRule, AuditError]]:
    """Add rules; those the kernel did not take, with why."""
    refused = []
    for rule in rules:
        try:
            control.add(rule)
        except AuditError as error:
            refused.append((rule, error))
    return refused
