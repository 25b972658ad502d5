"""What ``/proc`` says of a process, read bounded; decoders are functions on bytes.

A process may be gone, or be another one, between any two reads; whoever needs to know compares start times.
Invariants: no content raises, a read takes at most ``MAX_READ_BYTES``, a file that cannot be read is empty.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_READ_BYTES: Final = 256 * 1024
MAX_WORDS: Final = 4_096
MAX_WORD_CHARS: Final = 128 * 1024
KERNEL_THREAD: Final = 0x00200000  # in the flags of a process

# The id of a container within the path of its control group: 64 hexadecimal digits, or as some name them.
_CONTAINER: Final = re.compile(
    r"(?:^|[/:.-])([0-9a-f]{64}|[0-9a-f]{32}-\d{1,10}|[0-9a-f]{8}(?:-[0-9a-f]{4}){4})(?:\.scope|\.service)?(?=/|$)"
)


@dataclass(frozen=True, slots=True)
class Stat:
    """``/proc/<pid>/stat`` as far as it is used; ``started_ticks`` since the machine was started."""

    pid: int
    comm: str
    parent: int
    terminal: int
    flags: int
    started_ticks: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a process is, of ``/proc/<pid>/status``."""

    uid: int = 0
    euid: int = 0
    fsuid: int = 0
    gid: int = 0
    egid: int = 0
    fsgid: int = 0
    group_leader: int = 0
    cap_effective: int = 0
    cap_permitted: int = 0


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """Where a process is kept.

    Attributes:
        container: The id of its container, if it is in one.
        controller: Which of the first version's trees it is in.
    """

    path: str = ""
    version: int = 0
    container: str = ""
    controller: str = ""


def decode_stat(raw: bytes) -> Stat | None:
    """The line of a process; its name may hold anything, blanks and parentheses too."""
    opened, closed = raw.find(b"("), raw.rfind(b")")
    if opened < 0 or closed < opened:
        return None
    rest = raw[closed + 1 :].split()
    if len(rest) < 20:
        return None
    try:
        return Stat(
            pid=int(raw[:opened]),
            comm=raw[opened + 1 : closed][:64].decode("utf-8", "replace"),
            parent=int(rest[1]),
            terminal=int(rest[4]),
            flags=int(rest[6]),
            started_ticks=int(rest[19]),
        )
    except ValueError:
        return None


def decode_status(raw: bytes) -> Credentials:
    """Users, groups and capabilities; what is not there is 0."""
    found: dict[bytes, list[bytes]] = {}
    for line in raw.split(b"\n", 200)[:200]:
        name, _, rest = line.partition(b":")
        found[name] = rest.split()

    def number(name: bytes, at: int = 0, base: int = 10) -> int:
        words = found.get(name, [])
        try:
            return int(words[at], base) if at < len(words) and len(words[at]) < 24 else 0
        except ValueError:
            return 0

    return Credentials(
        uid=number(b"Uid"),
        euid=number(b"Uid", 1),
        fsuid=number(b"Uid", 3),
        gid=number(b"Gid"),
        egid=number(b"Gid", 1),
        fsgid=number(b"Gid", 3),
        group_leader=number(b"Tgid"),
        cap_effective=number(b"CapEff", base=16),
        cap_permitted=number(b"CapPrm", base=16),
    )


def decode_words(raw: bytes) -> tuple[str, ...]:
    """A command line or an environment: texts that end with a zero byte each."""
    if not raw:
        return ()
    words = raw.removesuffix(b"\x00").split(b"\x00", MAX_WORDS)[:MAX_WORDS]
    return tuple(word[:MAX_WORD_CHARS].decode("utf-8", "replace") for word in words)


def decode_cgroup(raw: bytes) -> ControlGroup:
    """The control group that says most: one with a container in it, else the first that is not the top."""
    best = ControlGroup()
    for line in raw.split(b"\n", 64)[:64]:
        parts = line.decode("utf-8", "replace")[:4096].split(":", 2)
        if len(parts) != 3:
            continue
        number, controller, path = parts
        ids = _CONTAINER.findall(path)
        each = ControlGroup(path, 2 if number == "0" else 1, ids[-1] if ids else "", controller)
        if each.container:
            return each
        if not best.path or (best.path == "/" and path != "/"):
            best = each
    return best if best.path != "/" else ControlGroup("", best.version)


def terminal_name(number: int) -> str:
    """A terminal by its device number, as ``pts0`` or ``tty1``; empty for none."""
    if number <= 0:
        return ""
    major, minor = (number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00)
    if 136 <= major <= 143:
        return f"pts{minor + (major - 136) * 256}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return ""


class Proc:
    """The process file system at a folder, which tests put elsewhere."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = str(root)
        self.ticks_per_s = os.sysconf("SC_CLK_TCK")

    def read(self, name: str) -> bytes:
        """A file, cut at ``MAX_READ_BYTES``; empty if it cannot be read."""
        try:
            handle = os.open(f"{self._root}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError):
            return b""
        pieces: list[bytes] = []
        left = MAX_READ_BYTES
        try:
            while left and (piece := os.read(handle, min(left, 65_536))):
                pieces.append(piece)
                left -= len(piece)
        except OSError:
            pass
        finally:
            os.close(handle)
        return b"".join(pieces)

    def link(self, name: str) -> str:
        """Where a link leads; empty if it cannot be read."""
        try:
            return os.readlink(f"{self._root}/{name}")
        except (OSError, ValueError):
            return ""

    def pids(self) -> Iterator[int]:
        """The processes there are now."""
        try:
            names = os.listdir(self._root)
        except OSError:
            return
        for name in names:
            if name.isdigit():
                yield int(name)

    def stat(self, pid: int) -> Stat | None:
        return decode_stat(self.read(f"{pid}/stat"))

    def credentials(self, pid: int) -> Credentials:
        return decode_status(self.read(f"{pid}/status"))

    def arguments(self, pid: int) -> tuple[str, ...]:
        return decode_words(self.read(f"{pid}/cmdline"))

    def environment(self, pid: int) -> tuple[str, ...]:
        return decode_words(self.read(f"{pid}/environ"))

    def control_group(self, pid: int) -> ControlGroup:
        return decode_cgroup(self.read(f"{pid}/cgroup"))

    def made_ns(self, group: ControlGroup) -> int:
        """When the folder of a control group was made or changed last; 0 if that is not known."""
        if not group.path or "/../" in f"{group.path}/":
            return 0
        for top in (f"/sys/fs/cgroup/{group.controller}", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
            try:
                return os.stat(f"{top}{group.path}").st_ctime_ns
            except (OSError, ValueError):
                continue
        return 0

    def login(self, pid: int) -> int:
        """The user who logged in; 4294967295 if nobody did."""
        text = self.read(f"{pid}/loginuid").strip()
        return int(text) if text.isdigit() and len(text) <= 10 else 4294967295

    def program(self, pid: int) -> str:
        """The file a process runs; without the mark of one that was deleted meanwhile."""
        return self.link(f"{pid}/exe").removesuffix(" (deleted)")

    def boot_ns(self) -> int:
        """When the machine was started, in nanoseconds since 1970; 0 if it does not say."""
        if self._root == "/proc":
            return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for line in self.read("stat").splitlines():
            if line.startswith(b"btime "):
                digits = line[6:].strip()
                return int(digits) * 1_000_000_000 if digits.isdigit() and len(digits) < 12 else 0
        return 0
