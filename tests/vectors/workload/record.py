"""Records what this kernel says of a short, harmless run: ``python -m tests.vectors.workload.record``.

As root, where no audit daemon is. Only what the run itself does is kept; process ids are counted anew from
1000, and times begin at a round second, so that nothing of the machine is in it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sealwire.agent.workload import decode_connector, decode_fanotify, decode_packets, netlink, syscalls
from sealwire.agent.workload.audit_control import AuditControl, AuditRule
from sealwire.agent.workload.connector_source import ConnectorSource
from sealwire.agent.workload.fanotify_source import FanotifySource
from sealwire.agent.workload.packet_source import PacketSource
from sealwire.agent.workload.proc import Proc
from sealwire.agent.workload.processes import Processes

HERE: Final = Path(__file__).parent
KEY: Final = "sealwire-record"
BOX: Final = "/tmp/sealwire box \u00e9"
FIRST_PID: Final = 1000
FIRST_SECOND: Final = 1_700_000_000

SCRIPT: Final = """
cd "$1" || exit 1
echo hi > a
/usr/bin/chmod 4755 a
/usr/bin/mv a b
/usr/bin/ln b c
/usr/bin/touch c
/usr/bin/mkdir d
/usr/bin/rmdir d
/usr/bin/chown 1:1 c
/usr/bin/rm b c
printf '#!/bin/sh\\nexit 3\\n' > script
/usr/bin/chmod 755 script
./script -x --name=value
/usr/bin/printf '%s' 'with blank' 'quote"s' "$(printf 'ctl\\001')" > /dev/null
/usr/bin/perl -e '
  open(my $f, "+>", "made") or die; chmod(0600, $f);
  my $child = fork() || exec("/usr/bin/sleep", "9");
  syscall(101, 16, $child, 0, 0); waitpid($child, 2);
  syscall(101, 17, $child, 0, 0); kill(9, $child); waitpid($child, 0);
  $< = $> = 65534;
  use Socket; socket(my $s, AF_INET, SOCK_STREAM, 0);
  connect($s, sockaddr_in(9, inet_aton("127.0.0.1")));
  kill(0, $$);
'
/usr/bin/perl -e 'exec("/usr/bin/true", map { "argument $_ " . ("x" x 3000) } 1..6)'
/bin/sh -c 'kill -9 $$'
exit 0
"""
FILE_CALLS: Final = (
    "open", "unlink", "rmdir", "rename", "link", "mkdir", "chmod", "chown", "utimes",
)  # fmt: skip
OTHER_CALLS: Final = ("exec", "connect", "ptrace", "setuid", "signal")


def _rules() -> list[AuditRule]:
    machine = syscalls.X86_64

    def numbers(events: tuple[str, ...]) -> frozenset[int]:
        names = [name for event in events for name in syscalls.CALLS[event]]
        return frozenset(machine.numbers[name] for name in names if name in machine.numbers)

    return [
        AuditRule(arch=machine.arch, calls=numbers(FILE_CALLS), path=BOX, below=True),
        AuditRule(arch=machine.arch, calls=numbers(OTHER_CALLS)),
    ]


def _family(records: list[tuple[int, int, str]], top: int) -> set[int]:
    """The run's process and all that came of it, by the records."""
    family = {top}
    for _, _, text in records:
        found = re.search(r" ppid=(\d+) pid=(\d+) ", text)
        if found and int(found[1]) in family:
            family.add(int(found[2]))
    return family


class _Anonymous:
    """Numbers processes anew, in the order they are met."""

    def __init__(self) -> None:
        self._pids: dict[int, int] = {}

    def pid(self, pid: int) -> int:
        return self._pids.setdefault(pid, FIRST_PID + len(self._pids)) if pid > 1 else pid

    def audit(self, text: str) -> str:
        text = re.sub(r"\b(o?p?pid)=(\d+)", lambda m: f"{m[1]}={self.pid(int(m[2]))}", text)
        if " syscall=101 " in text or " syscall=62 " in text:
            at = "a1" if " syscall=101 " in text else "a0"
            text = re.sub(rf" {at}=([0-9a-f]+)", lambda m: f" {at}={self.pid(int(m[1], 16)):x}", text)
        text = re.sub(r"\b(a[0-3])=(?:[0-9a-f]{11,16})\b(?=.* items=)", r"\1=7ffc00000000", text)
        text = re.sub(r"\b(inode)=(\d+)", lambda m: f"inode={int(m[2]) % 100_000}", text)
        text = re.sub(r"\btty=\S+", "tty=(none)", text)
        return re.sub(r"\b(ses|auid)=\d+", r"\1=4294967295", text)


def main() -> None:
    os.makedirs(BOX, exist_ok=True)
    proc = Proc()
    processes = Processes(proc)
    connector = ConnectorSource(processes, common={})
    fanotify = FanotifySource(processes, paths=(BOX,), common={})
    packets = PacketSource(processes, proc, emits={"dns", "connect", "imds"}, common={})
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)
    listener.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
    listener.bind((0, 1))
    listener.settimeout(0.5)
    for source in (connector, fanotify, packets):
        source.start()
    with AuditControl() as control:
        before = control.status()
        if before.daemon or before.enabled == 2:
            raise SystemExit("An audit daemon is there, or the rules are locked; nothing was done.")
        try:
            control.when_full(wait=0, backlog_limit=8192)
            control.switch(enabled=True)
            for rule in _rules():
                control.add(rule, key=KEY)
            run = subprocess.Popen(["/bin/sh", "-c", SCRIPT, "run", BOX], env={"PATH": "/usr/bin"}, cwd="/")
            run.wait(timeout=20)
            ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ask.sendto(
                struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\x03www\x07example\x03org\x00" + b"\x00\x01" * 2,
                ("127.0.0.1", 53),
            )
            socket.socket(socket.AF_INET6).connect_ex(("::1", 9))
            time.sleep(0.2)
        finally:
            control.remove_ours(key=KEY)
            control.switch(enabled=bool(before.enabled))
            control.when_full(wait=before.wait, backlog_limit=before.backlog_limit)
    names = _Anonymous()
    _write_audit(listener, run.pid, names)
    family = set(names._pids)
    _write_connector(connector, family, names)
    _write_fanotify(fanotify, family, names)
    _write("packets", [raw.hex() for raw in _packets(packets)])
    for source in (connector, fanotify, packets):
        source.stop()
    subprocess.run(["/bin/rm", "-r", BOX], check=True)


def _write_audit(listener: socket.socket, top: int, names: _Anonymous) -> None:
    records: list[tuple[int, int, str]] = []
    try:
        while True:
            for each in netlink.messages(listener.recv(65_536), length_is_body=True):
                text = each.body.rstrip(b"\x00").decode("utf-8", "surrogateescape")
                stamp = re.match(r"audit\((\d+)\.(\d+):(\d+)\)", text)
                if stamp:
                    records.append((int(stamp[3]), each.kind, text))
    except OSError:
        pass
    family = _family(records, top)
    kept = {
        serial
        for serial, kind, text in records
        if kind == 1300 and f'key="{KEY}"' in text and int(re.search(r" pid=(\d+) ", text)[1]) in family  # type: ignore[index]  # it is there
    }
    first = min(int(re.match(r"audit\((\d+)", text)[1]) for s, _, text in records if s in kept)  # type: ignore[index]  # as above
    first_serial = min(kept)
    found = []
    for serial, kind, text in records:
        if serial in kept:
            text = re.sub(
                r"audit\((\d+)\.(\d+):(\d+)\)",
                lambda m: f"audit({int(m[1]) - first + FIRST_SECOND}.{m[2]}:{int(m[3]) - first_serial + 1})",
                text,
                count=1,
            )
            found.append([kind, names.audit(text).replace(KEY, "sealwire")])
    _write("audit", found)


def _write_connector(source: ConnectorSource, family: set[int], names: _Anonymous) -> None:
    assert source._socket is not None
    found = []
    try:
        while True:
            for each in netlink.messages(source._socket.recv(65_536)):
                read = decode_connector.process_message(each.body)
                if read is None or read.process not in family:
                    continue
                body = bytearray(each.body)
                places = range(36, len(body) - 3, 4) if read.what == decode_connector.FORK else (36, 40)
                for at in places:
                    struct.pack_into("=i", body, at, names.pid(struct.unpack_from("=i", body, at)[0]))
                if read.what == decode_connector.EXIT and len(body) >= 60:
                    for at in (52, 56):
                        struct.pack_into("=i", body, at, names.pid(struct.unpack_from("=i", body, at)[0]))
                struct.pack_into("=Q", body, 28, read.since_boot_ns % 10_000_000_000)
                found.append(bytes(body).hex())
    except BlockingIOError:
        pass
    _write("connector", found)


def _write_fanotify(source: FanotifySource, family: set[int], names: _Anonymous) -> None:
    found = []
    try:
        while True:
            raw = os.read(source._group, 65_536)
            at = 0
            while at < len(raw):
                length = struct.unpack_from("=I", raw, at)[0]
                one = bytearray(raw[at : at + length])
                at += length
                event = next(decode_fanotify.file_events(bytes(one)))
                if event.pid in family:
                    struct.pack_into("=i", one, 20, names.pid(event.pid))
                    found.append(bytes(one).hex())
    except BlockingIOError:
        pass
    _write("fanotify", found[:40])


def _packets(source: PacketSource) -> list[bytes]:
    assert source._socket is not None
    found = []
    try:
        while True:
            raw, sender = source._socket.recvfrom(2_048)
            read = decode_packets.packet(raw)
            if sender[2] == 4 and read is not None and read.destination_port in (9, 53):
                found.append(raw)
    except BlockingIOError:
        pass
    return found


def _write(name: str, found: Sequence[object]) -> None:
    (HERE / f"{name}.json").write_text(json.dumps(found, indent=0, ensure_ascii=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
