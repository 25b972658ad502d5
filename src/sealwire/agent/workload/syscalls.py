"""Numbers of system calls by machine, and which kind of event each makes.

Facts of the kernel's interface, for the machines Sealwire runs on and for programs of 32 bits on the first,
so that an old binary is seen too. A name that is not in a machine's table does not exist there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Machine:
    """System calls of one machine.

    Attributes:
        arch: As audit records and rules name it.
        numbers: By name.
        names: By number.
    """

    name: str
    arch: int
    numbers: Mapping[str, int]
    names: Mapping[int, str]


def _machine(name: str, arch: int, table: str) -> Machine:
    pairs = [each.split("=") for each in table.split()]
    numbers = {key: int(value) for key, value in pairs}
    return Machine(
        name, arch, MappingProxyType(numbers), MappingProxyType({v: k for k, v in numbers.items()})
    )


X86_64: Final = _machine(
    "x86_64",
    0xC000003E,
    """
    execve=59 execveat=322 open=2 openat=257 openat2=437 creat=85 open_by_handle_at=304 unlink=87
    unlinkat=263 rmdir=84 rename=82 renameat=264 renameat2=316 link=86 linkat=265 symlink=88 symlinkat=266
    mkdir=83 mkdirat=258 chmod=90 fchmod=91 fchmodat=268 fchmodat2=452 chown=92 lchown=94 fchown=93
    fchownat=260 utime=132 utimes=235 utimensat=280 futimesat=261 setxattr=188 lsetxattr=189 fsetxattr=190
    removexattr=197 lremovexattr=198 fremovexattr=199 connect=42 bind=49 accept=43 accept4=288 ptrace=101
    init_module=175 finit_module=313 delete_module=176 bpf=321 mount=165 prctl=157 setuid=105 setreuid=113
    setresuid=117 setfsuid=122 setgid=106 setregid=114 setresgid=119 setfsgid=123 capset=126 kill=62 tkill=200
    tgkill=234 mmap=9 mprotect=10 splice=275 chdir=80 fchdir=81 setrlimit=160 prlimit64=302 setsockopt=54
    """,
)
I386: Final = _machine(
    "i386",
    0x40000003,
    """
    execve=11 execveat=358 open=5 openat=295 openat2=437 creat=8 open_by_handle_at=342 unlink=10 unlinkat=301
    rmdir=40 rename=38 renameat=302 renameat2=353 link=9 linkat=303 symlink=83 symlinkat=304 mkdir=39
    mkdirat=296 chmod=15 fchmod=94 fchmodat=306 fchmodat2=452 chown=182 lchown=16 fchown=95 fchownat=298
    chown32=212 lchown32=198 fchown32=207 utime=30 utimes=271 utimensat=320 futimesat=299 utimensat_time64=412
    setxattr=226 lsetxattr=227 fsetxattr=228 removexattr=235 lremovexattr=236 fremovexattr=237 connect=362
    bind=361 accept4=364 ptrace=26 init_module=128 finit_module=350 delete_module=129 bpf=357 mount=21
    prctl=172 setuid=23 setreuid=70 setresuid=164 setfsuid=138 setuid32=213 setreuid32=203 setresuid32=208
    setfsuid32=215 setgid=46 setregid=71 setresgid=170 setfsgid=139 setgid32=214 setregid32=204
    setresgid32=210 setfsgid32=216 capset=185 kill=37 tkill=238 tgkill=270 mmap=90 mmap2=192 mprotect=125
    splice=313 chdir=12 fchdir=133 setrlimit=75 prlimit64=340 setsockopt=366
    """,
)
AARCH64: Final = _machine(
    "aarch64",
    0xC00000B7,
    """
    execve=221 execveat=281 openat=56 openat2=437 open_by_handle_at=265 unlinkat=35 renameat=38 renameat2=276
    linkat=37 symlinkat=36 mkdirat=34 fchmod=52 fchmodat=53 fchmodat2=452 fchown=55 fchownat=54 utimensat=88
    setxattr=5 lsetxattr=6 fsetxattr=7 removexattr=14 lremovexattr=15 fremovexattr=16 connect=203 bind=200
    accept=202 accept4=242 ptrace=117 init_module=105 finit_module=273 delete_module=106 bpf=280 mount=40
    prctl=167 setuid=146 setreuid=145 setresuid=147 setfsuid=151 setgid=144 setregid=143 setresgid=149
    setfsgid=152 capset=91 kill=129 tkill=130 tgkill=131 mmap=222 mprotect=226 splice=76 chdir=49 fchdir=50
    setrlimit=164 prlimit64=261 setsockopt=208
    """,
)

BY_ARCH: Final[Mapping[int, Machine]] = MappingProxyType(
    {each.arch: each for each in (X86_64, I386, AARCH64)}
)
_OF_HOST: Final[Mapping[str, tuple[Machine, ...]]] = MappingProxyType(
    {"x86_64": (X86_64, I386), "aarch64": (AARCH64,), "arm64": (AARCH64,)}
)

# Which calls make an event of each kind. unlinkat with its flag for directories makes rmdir.
CALLS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        kind: tuple(names.split())
        for kind, names in {
            "exec": "execve execveat",
            "open": "open openat openat2 creat open_by_handle_at",
            "unlink": "unlink unlinkat",
            "rmdir": "rmdir unlinkat",
            "rename": "rename renameat renameat2",
            "link": "link linkat",
            "mkdir": "mkdir mkdirat",
            "chmod": "chmod fchmod fchmodat fchmodat2",
            "chown": "chown lchown fchown fchownat chown32 lchown32 fchown32",
            "utimes": "utime utimes utimensat futimesat utimensat_time64",
            "setxattr": "setxattr lsetxattr fsetxattr",
            "removexattr": "removexattr lremovexattr fremovexattr",
            "connect": "connect",
            "bind": "bind",
            "accept": "accept accept4",
            "ptrace": "ptrace",
            "load_module": "init_module finit_module",
            "unload_module": "delete_module",
            "bpf": "bpf",
            "mount": "mount",
            "prctl": "prctl",
            "setuid": "setuid setreuid setresuid setfsuid setuid32 setreuid32 setresuid32 setfsuid32",
            "setgid": "setgid setregid setresgid setfsgid setgid32 setregid32 setresgid32 setfsgid32",
            "capset": "capset",
            "signal": "kill tkill tgkill",
            "mmap": "mmap mmap2",
            "mprotect": "mprotect",
            "splice": "splice",
            "chdir": "chdir fchdir",
            "setrlimit": "setrlimit prlimit64",
            "setsockopt": "setsockopt",
        }.items()
    }
)

KIND_OF: Final[Mapping[str, str]] = MappingProxyType(
    {name: kind for kind, names in CALLS.items() for name in names if (kind, name) != ("rmdir", "unlinkat")}
)


def machines(host: str) -> tuple[Machine, ...]:
    """The machines whose calls a host of this kind runs, its own first; none for one that is not known."""
    return _OF_HOST.get(host, ())
