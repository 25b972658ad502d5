"""Every event type and field of the language, as data: type, event, what it says.

A field's name begins with the event type or with one of the common parts (``process``,
``container``, ``cgroup``, ``event``), then the rest. ``place`` and ``key`` say where an event holds it: the
fields of a process are kept once per process under the name without its prefix, whether a rule asks for them
as ``process.``, ``process.parent.``, ``process.ancestors.`` or, at an exec, ``exec.``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final


class Type(enum.Enum):
    """What a value is."""

    TEXT = "text"
    INT = "number"
    BOOL = "boolean"
    IP = "address"


class Place(enum.Enum):
    """Where an event holds a value."""

    EVENT = "the event"
    PROCESS = "the process"
    PARENT = "its parent"
    ANCESTORS = "each of its ancestors"
    TARGET = "the process it acts on"
    TARGET_PARENT = "the parent of the process it acts on"
    TARGET_ANCESTORS = "each ancestor of the process it acts on"
    HOST = "the host"


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that rules can ask of an event.

    Attributes:
        event: The event type it belongs to; empty where every event has it.
        array: A value is a tuple of such.
        is_path: Stars in patterns stop at the separator.
        is_time: Nanoseconds since 1970; compared with a duration it is an age.
        folded: Compared without regard to case.
        os: The only system that has it; empty for every one.
        says: What it is, in a few words, for the editor.
        constants: Name of the group of constants that belong to it; empty if none.
        key: Under which name ``place`` holds it.
    """

    name: str
    type: Type
    says: str
    event: str = ""
    array: bool = False
    is_path: bool = False
    is_time: bool = False
    folded: bool = False
    os: str = ""
    constants: str = ""
    place: Place = Place.EVENT
    key: str = ""

    @property
    def iterates(self) -> bool:
        """Whether it stands for one value per ancestor."""
        return self.place in (Place.ANCESTORS, Place.TARGET_ANCESTORS)

    @property
    def separator(self) -> str:
        """What separates components, in a path."""
        return "" if not self.is_path else "\\" if self.os == "windows" else "/"


@dataclass(frozen=True, slots=True)
class EventType:
    """A kind of event.

    Attributes:
        since: The version of the original agent that had it first.
        category: As matches are reported.
    """

    name: str
    says: str
    since: str
    category: str
    os: str = "linux"
    experimental: bool = False


_FILE, _PROCESS, _NETWORK, _KERNEL = (
    "File Activity",
    "Process Activity",
    "Network Activity",
    "Kernel Activity",
)

EVENTS: Final[Mapping[str, EventType]] = MappingProxyType(
    {
        name: EventType(name, says, since, category, os, experimental)
        for name, says, since, category, os, experimental in (
            ("accept", "a connection was taken", "7.63", _NETWORK, "linux", False),
            ("bind", "a socket was given an address", "7.37", _NETWORK, "linux", False),
            ("bpf", "a bpf command was run", "7.33", _KERNEL, "linux", False),
            ("capabilities", "a process used capabilities", "7.70", _PROCESS, "linux", True),
            ("capset", "a process changed its capabilities", "7.27", _PROCESS, "linux", False),
            ("cgroup_write", "a process was moved to a control group", "7.68", _KERNEL, "linux", False),
            ("change_permission", "permissions of an object were changed", "7.55", _FILE, "windows", False),
            ("chdir", "a process changed its directory", "7.52", _FILE, "linux", True),
            ("chmod", "permissions of a file were changed", "7.27", _FILE, "linux", False),
            ("chown", "the owner of a file was changed", "7.27", _FILE, "linux", False),
            ("connect", "a connection was made", "7.60", _NETWORK, "linux", False),
            ("create", "a file or registry key was made", "7.52", _FILE, "windows", False),
            ("delete", "a file or registry key was deleted", "7.54", _FILE, "windows", False),
            ("dns", "a name was asked for", "7.36", _NETWORK, "linux", False),
            ("exec", "a program was started", "7.27", _PROCESS, "", False),
            ("exit", "a process ended", "7.38", _PROCESS, "", False),
            ("imds", "the metadata service of a cloud was asked", "7.55", _NETWORK, "linux", False),
            ("link", "a file was given another name", "7.27", _FILE, "linux", False),
            ("load_module", "a kernel module was loaded", "7.35", _KERNEL, "linux", False),
            ("mkdir", "a directory was made", "7.27", _FILE, "linux", False),
            ("mmap", "memory was mapped", "7.35", _KERNEL, "linux", False),
            ("mount", "a file system was mounted", "7.42", _FILE, "linux", True),
            ("mprotect", "protection of memory was changed", "7.35", _KERNEL, "linux", False),
            ("network_flow_monitor", "flows of the network were summed up", "7.63", _NETWORK, "linux", False),
            ("open", "a file was opened", "7.27", _FILE, "", False),
            ("packet", "a packet went by", "7.60", _NETWORK, "linux", False),
            ("prctl", "a process changed something of itself", "7.71", _PROCESS, "linux", False),
            ("ptrace", "a process was traced", "7.35", _KERNEL, "linux", False),
            ("removexattr", "an extended attribute was removed", "7.27", _FILE, "linux", False),
            ("rename", "a file was renamed", "7.27", _FILE, "", False),
            ("rmdir", "a directory was removed", "7.27", _FILE, "linux", False),
            ("selinux", "SELinux was changed", "7.30", _KERNEL, "linux", False),
            ("set", "a value of the registry was set", "7.52", _KERNEL, "windows", False),
            ("setgid", "a process changed its group", "7.27", _PROCESS, "linux", False),
            ("setrlimit", "limits of a process were changed", "7.68", _PROCESS, "linux", False),
            ("setsockopt", "an option of a socket was set", "7.68", _NETWORK, "linux", False),
            ("setuid", "a process changed its user", "7.27", _PROCESS, "linux", False),
            ("setxattr", "an extended attribute was set", "7.27", _FILE, "linux", False),
            ("signal", "a signal was sent", "7.35", _PROCESS, "linux", False),
            ("splice", "data was moved through a pipe", "7.36", _KERNEL, "linux", False),
            ("sysctl", "a kernel parameter was read or written", "7.65", _KERNEL, "linux", False),
            ("unlink", "a file was deleted", "7.27", _FILE, "linux", False),
            ("unload_module", "a kernel module was unloaded", "7.35", _KERNEL, "linux", False),
            ("utimes", "times of a file were changed", "7.27", _FILE, "linux", False),
            ("write", "a file was written", "7.52", _FILE, "windows", False),
        )
    }
)

# Tables: one line per field, "name type[] flags... | what it says". Flags: path, time, fold, windows, and a
# group of constants in angle brackets.

_FILE_FIELDS: Final = """
path text path | path of the file
name text | last component of the path
extension text | extension of the name, with its dot
mode number <file modes> | mode of the file: kind and permissions
rights number <file modes> | permissions of the file
uid number | user id of the owner
gid number | group id of the owner
user text | name of the owner
group text | name of the owning group
inode number | number of the inode
mount_id number | number of the mount
mount_detached boolean | its mount is not reachable by a path
mount_visible boolean | its mount can be seen in the namespace
filesystem text | kind of file system
in_upper_layer boolean | written since the container began
change_time number time | when the inode was changed last
modification_time number time | when the content was changed last
hashes text[] | hashes of the content, as algorithm:hex
package.name text | package it came with
package.version text | version of that package
package.release text | release of that package
package.epoch number | epoch of that package
package.source_version text | version of the source package
package.source_release text | release of the source package
package.source_epoch number | epoch of the source package
device_path text path windows | path of the file by its device
"""

_PROCESS_FIELDS: Final = """
pid number | id of the process
tid number | id of the thread
ppid number | id of the parent
uid number | user id
gid number | group id
user text | name of the user
group text | name of the group
euid number | effective user id
egid number | effective group id
euser text | name of the effective user
egroup text | name of the effective group
fsuid number | user id for file access
fsgid number | group id for file access
fsuser text | name of the user for file access
fsgroup text | name of the group for file access
auid number <audit> | user id at login
cap_effective number <capabilities> | capabilities in effect, as bits
cap_permitted number <capabilities> | capabilities that may be taken, as bits
caps_attempted number <capabilities> | capabilities it tried to use, as bits
caps_used number <capabilities> | capabilities it used, as bits
comm text | name of the command, at most 15 characters
argv0 text | the name it was started by
argv text[] | its arguments, without the first
args text | its arguments as one text, without the first
args_flags text[] | arguments that are flags, without dashes
args_options text[] | arguments with a value, as name=value
args_truncated boolean | arguments were cut
cmdline text windows | the whole command line
envs text[] | names of its environment variables; a few, such as LD_PRELOAD, also as NAME=value
envp text[] | its environment, as NAME=value
envs_truncated boolean | the environment was cut
tty_name text | terminal it runs on
created_at number time | when it began
is_exec boolean | it started a program, and did not only fork
is_kworker boolean | it is a thread of the kernel
is_thread boolean | it is a thread
container.id text | id of the container
container.created_at number time | when the container was made
container.tags text[] | tags of the container
cgroup.id text | id of the control group
cgroup.version number | version of control groups
cgroup.created_at number time | when the control group was made
cgroup.file.inode number | inode of the control group
cgroup.file.mount_id number | mount of the control group
user_session.id text | id of the session
user_session.session_type number | kind of session
user_session.k8s_username text | user of the Kubernetes session
user_session.k8s_uid text | user id of the Kubernetes session
user_session.k8s_groups text[] | groups of the Kubernetes session
user_session.ssh_client_ip address | where the SSH session came from
user_session.ssh_client_port number | port the SSH session came from
user_session.ssh_auth_method number | how the SSH session was let in
"""

_EVENT_FIELDS: Final = """
event.timestamp number time | when it happened
event.hostname text | name of the host
event.os text | system of the host
event.origin text | what saw it
event.source text | runtime, or snapshot for what was there before
event.service text | service of the process
event.async boolean | it was asked for asynchronously
event.signature text | signature of process and control group
event.rule.tags text[] | tags of the rule that is evaluated
"""

_ADDRESS: Final = """
addr.family number <address families> | family of the address
addr.ip address | address
addr.port number | port
addr.is_public boolean | the address is not private
protocol number <protocols> | protocol of the transport layer
"""

_ENDPOINTS: Final = """
source.ip address | address it came from
source.port number | port it came from
source.is_public boolean | the address it came from is not private
destination.ip address | address it goes to
destination.port number | port it goes to
destination.is_public boolean | the address it goes to is not private
device.ifname text | network interface
l3_protocol number <layer 3> | protocol of the network layer
l4_protocol number <protocols> | protocol of the transport layer
network_direction number <directions> | which way it went
size number | bytes
type number | kind of the packet
"""

_RETURN: Final = "retval number <errors> | what the system call returned\n"

_OWN_FIELDS: Final[Mapping[str, str]] = {
    "accept": _RETURN + _ADDRESS + "addr.hostname text[] fold | names of the address\n",
    "bind": _RETURN + _ADDRESS,
    "bpf": _RETURN
    + """
cmd number <bpf commands> | command
map.name text | name of the map
map.type number <bpf maps> | kind of the map
prog.name text | name of the program
prog.tag text | hash of the program
prog.type number <bpf programs> | kind of the program
prog.attach_type number <bpf attachments> | where the program is attached
prog.helpers number[] <bpf helpers> | helpers the program calls
""",
    "capabilities": """
attempted number <capabilities> | capabilities tried, as bits
used number <capabilities> | capabilities used, as bits
""",
    "capset": """
cap_effective number <capabilities> | capabilities in effect, as bits
cap_permitted number <capabilities> | capabilities that may be taken, as bits
""",
    "cgroup_write": "pid number | process that was moved\n",
    "change_permission": """
username text windows | who changed it
user_domain text windows | domain of who changed it
path text windows | what was changed
type text windows | kind of object
old_sd text windows | permissions before
new_sd text windows | permissions after
""",
    "chdir": _RETURN + "syscall.path text | path as given\n",
    "chmod": _RETURN
    + """
file.destination.mode number <file modes> | mode after
file.destination.rights number <file modes> | permissions after
syscall.path text | path as given
syscall.mode number <file modes> | mode as given
""",
    "chown": _RETURN
    + """
file.destination.uid number | owner after
file.destination.gid number | owning group after
file.destination.user text | name of the owner after
file.destination.group text | name of the owning group after
syscall.path text | path as given
syscall.uid number | user as given
syscall.gid number | group as given
""",
    "connect": _RETURN + _ADDRESS + "addr.hostname text[] fold | names that led to the address\n",
    "create": """
registry.key_path text windows fold | path of the registry key
registry.key_name text windows fold | name of the registry key
""",
    "delete": """
registry.key_path text windows fold | path of the registry key
registry.key_name text windows fold | name of the registry key
""",
    "dns": """
id number | number of the question
question.name text fold | name asked for
question.type number <dns types> | type asked for
question.class number <dns classes> | class asked for
question.count number | questions in the packet
question.length number | bytes of the packet
response.code number <dns codes> | answer
""",
    "exec": "syscall.path text | path as given\n",
    "exit": """
cause number <exit causes> | how it ended
code number | exit code, or number of the signal
""",
    "imds": """
type text | request or response
url text | what was asked for
host text | host asked
user_agent text | who asked
server text | who answered
cloud_provider text | cloud
aws.is_imds_v2 boolean | the second version of the protocol
aws.security_credentials.type text | kind of credentials given out
""",
    "link": _RETURN
    + "syscall.path text | path as given\nsyscall.destination.path text | new path as given\n",
    "load_module": _RETURN
    + """
name text | name of the module
args text | its arguments as one text
argv text[] | its arguments
args_truncated boolean | arguments were cut
loaded_from_memory boolean | it did not come from a file
""",
    "mkdir": _RETURN
    + """
file.destination.mode number <file modes> | mode of the directory
file.destination.rights number <file modes> | permissions of the directory
syscall.path text | path as given
syscall.mode number <file modes> | mode as given
""",
    "mmap": _RETURN
    + """
flags number <map flags> | flags
protection number <protections> | protection
""",
    "mount": _RETURN
    + """
fs_type text | kind of file system
mountpoint.path text path | where it was mounted
root.path text path | root of what was mounted
source.path text path | what was mounted
detached boolean | it is not reachable by a path
visible boolean | it can be seen in the namespace
syscall.source.path text | source as given
syscall.mountpoint.path text | place as given
syscall.fs_type text | kind as given
""",
    "mprotect": _RETURN
    + """
req_protection number <protections> | protection asked for
vm_protection number <protections> | protection before
""",
    "network_flow_monitor": """
device.ifname text | network interface
flows.source.ip address[] | addresses flows came from
flows.source.port number[] | ports flows came from
flows.destination.ip address[] | addresses flows went to
flows.destination.port number[] | ports flows went to
flows.l3_protocol number[] <layer 3> | protocols of the network layer
flows.l4_protocol number[] <protocols> | protocols of the transport layer
""",
    "open": _RETURN
    + """
flags number <open flags> | flags
file.destination.mode number <file modes> | mode of a new file
syscall.path text | path as given
syscall.flags number <open flags> | flags as given
syscall.mode number <file modes> | mode as given
""",
    "packet": _ENDPOINTS
    + """
filter text | packets that this filter takes, as tcpdump writes it
tls.version number <tls versions> | version of TLS
""",
    "prctl": _RETURN
    + """
option number <prctl options> | what was changed
new_name text | name after
is_name_truncated boolean | the name was cut
""",
    "ptrace": _RETURN + "request number <ptrace requests> | what was asked for\n",
    "removexattr": _RETURN
    + """
file.destination.name text | name of the attribute
file.destination.namespace text | namespace of the attribute
""",
    "rename": _RETURN
    + """
syscall.path text | path as given
syscall.destination.path text | new path as given
""",
    "rmdir": _RETURN + "syscall.path text | path as given\n",
    "selinux": """
bool.name text | name of the switch
bool.state text | on or off
bool_commit.state boolean | switches were put in force
enforce.status text | enforcing, permissive or disabled
""",
    "set": """
registry.key_path text windows fold | path of the registry key
registry.key_name text windows fold | name of the registry key
registry.value_name text windows fold | name of the value
""",
    "setgid": """
gid number | group id after
egid number | effective group id after
fsgid number | group id for file access after
group text | name of the group after
egroup text | name of the effective group after
fsgroup text | name of the group for file access after
""",
    "setrlimit": _RETURN
    + """
resource number <limits> | which limit
rlim_cur number | limit after
rlim_max number | what it may be raised to
""",
    "setsockopt": _RETURN
    + """
level number <socket levels> | level of the option
optname number <socket options> | option
socket_type number <socket types> | kind of socket
socket_family number <address families> | family of the socket
socket_protocol number <protocols> | protocol of the socket
filter_len number | length of the filter
filter_hash text | hash of the filter
filter_instructions text | filter in words
is_filter_truncated boolean | the filter was cut
used_immediates number[] | constants in the filter
""",
    "setuid": """
uid number | user id after
euid number | effective user id after
fsuid number | user id for file access after
user text | name of the user after
euser text | name of the effective user after
fsuser text | name of the user for file access after
""",
    "setxattr": _RETURN
    + """
file.destination.name text | name of the attribute
file.destination.namespace text | namespace of the attribute
""",
    "signal": _RETURN + "type number <signals> | number of the signal\npid number | process it was sent to\n",
    "splice": _RETURN
    + """
pipe_entry_flag number <pipe flags> | flags of the first buffer of the pipe
pipe_exit_flag number <pipe flags> | flags of the last buffer of the pipe
""",
    "sysctl": """
name text | name of the parameter
name_truncated boolean | the name was cut
action number <sysctl actions> | read or written
value text | value after
value_truncated boolean | the value was cut
old_value text | value before
old_value_truncated boolean | the value before was cut
file_position number | where it was read or written
""",
    "unlink": _RETURN
    + """
flags number <unlink flags> | flags
syscall.path text | path as given
syscall.flags number <unlink flags> | flags as given
""",
    "unload_module": _RETURN + "name text | name of the module\n",
    "utimes": _RETURN + "syscall.path text | path as given\n",
}

# Which parts an event has: FILE under these names, and a process it acts on under that name.
_WITH_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("open", "chmod", "chown", "mkdir", "unlink", "rmdir", "utimes", "chdir"), ("file",)),
    **dict.fromkeys(("setxattr", "removexattr", "load_module", "mmap", "splice", "cgroup_write"), ("file",)),
    **dict.fromkeys(("link", "rename"), ("file", "file.destination")),
    **dict.fromkeys(("create", "delete", "write"), ("file",)),
}
_WITH_TARGET: Final = {"ptrace": "tracee", "signal": "target", "setrlimit": "target"}
NETWORK_EVENTS: Final = frozenset({"dns", "imds", "packet"})

# One name for every way of changing a file; a rule that uses it becomes one rule per event.
FIM_PREFIX: Final = "fim.write.file"
FIM_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "open": ("open.file",),
    "chmod": ("chmod.file",),
    "chown": ("chown.file",),
    "link": ("link.file", "link.file.destination"),
    "rename": ("rename.file", "rename.file.destination"),
    "unlink": ("unlink.file",),
    "utimes": ("utimes.file",),
}

_HOST_FIELDS: Final = """
os text | linux or windows
os.id text | distribution
os.platform_id text | platform of the distribution
os.version_id text | version of the distribution
os.is_amazon_linux boolean | Amazon Linux
os.is_cos boolean | Container-Optimized OS
os.is_debian boolean | Debian, or made from it
os.is_oracle boolean | Oracle Linux
os.is_rhel boolean | Red Hat Enterprise Linux, or made from it
os.is_rhel7 boolean | the seventh version of it
os.is_rhel8 boolean | the eighth version of it
os.is_sles boolean | SUSE Linux Enterprise Server
os.is_sles12 boolean | the twelfth version of it
os.is_sles15 boolean | the fifteenth version of it
os.is_windows boolean | Windows
kernel.version.major number | first number of the kernel's version
kernel.version.minor number | second number
kernel.version.patch number | third number
kernel.version.abi number | number after the dash
kernel.version.flavor text | flavour
kernel.core.enabled boolean | programs for the kernel need no headers
envs text[] | names of the agent's environment variables
origin text | what sees events
hostname text | name of the host
"""


def _lines(table: str) -> Iterator[Field]:
    for line in filter(None, table.splitlines()):
        words, _, says = line.partition(" | ")
        words, _, group = words.partition(" <")
        name, kind, *flags = words.split()
        yield Field(
            name=name,
            type=Type(kind.removesuffix("[]")),
            says=says,
            array=kind.endswith("[]"),
            is_path="path" in flags,
            is_time="time" in flags,
            folded="fold" in flags,
            os="windows" if "windows" in flags else "",
            constants=group.rstrip(">"),
        )


def _under(prefix: str, fields: Iterator[Field] | tuple[Field, ...], says: str = "") -> Iterator[Field]:
    for field in fields:
        yield replace(field, name=f"{prefix}.{field.name}", says=f"{field.says}{says}")


def _whole_process() -> tuple[Field, ...]:
    files = tuple(_lines(_FILE_FIELDS))
    return (
        *_lines(_PROCESS_FIELDS),
        *_under("file", files, " (of the program)"),
        *_under("interpreter.file", files, " (of the interpreter)"),
    )


def _at(place: Place, prefix: str, fields: tuple[Field, ...], event: str = "") -> Iterator[Field]:
    for field in fields:
        yield replace(field, name=f"{prefix}.{field.name}", event=event, place=place, key=field.name)


def _all_fields() -> Iterator[Field]:
    process = _whole_process()
    files = tuple(_lines(_FILE_FIELDS))
    yield from _at(Place.PROCESS, "process", process)
    yield from _at(Place.PARENT, "process.parent", process)
    yield from _at(Place.ANCESTORS, "process.ancestors", process)
    for part in ("container", "cgroup"):
        inner = tuple(field for field in process if field.name.startswith(f"{part}."))
        yield from (replace(field, place=Place.PROCESS, key=field.name) for field in inner)
    yield from (replace(field, key=field.name) for field in _lines(_EVENT_FIELDS))
    for field in _under("network", tuple(_lines(_ENDPOINTS))):
        yield replace(field, key=field.name)
    for event in EVENTS:
        if event in ("exec", "exit"):
            yield from _at(Place.PROCESS, event, process, event)
        own = [*_lines(_OWN_FIELDS.get(event, ""))]
        for part in _WITH_FILES.get(event, ()):
            own += _under(part, files)
        for field in own:
            name = f"{event}.{field.name}"
            system = EVENTS[event].os if EVENTS[event].os == "windows" else field.os
            yield replace(field, name=name, event=event, key=name, os=system)
        if event in _WITH_TARGET:
            prefix = f"{event}.{_WITH_TARGET[event]}"
            yield from _at(Place.TARGET, prefix, process, event)
            yield from _at(Place.TARGET_PARENT, f"{prefix}.parent", process, event)
            yield from _at(Place.TARGET_ANCESTORS, f"{prefix}.ancestors", process, event)


FIELDS: Final[Mapping[str, Field]] = MappingProxyType({field.name: field for field in _all_fields()})
HOST_FIELDS: Final[Mapping[str, Field]] = MappingProxyType(
    {field.name: replace(field, place=Place.HOST, key=field.name) for field in _lines(_HOST_FIELDS)}
)


def event_types_of(prefix: str) -> frozenset[str]:
    """The event types that have the fields below a first component; empty for those every event has."""
    if prefix in EVENTS:
        return frozenset({prefix})
    return NETWORK_EVENTS if prefix == "network" else frozenset()


def _tree(fields: Mapping[str, Field]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for name in fields:
        parts = name.split(".")
        for at in range(len(parts)):
            found.setdefault(".".join(parts[:at]), {})[parts[at]] = None
    return MappingProxyType({name: tuple(sorted(parts)) for name, parts in found.items()})


_CHILDREN: Final = _tree(FIELDS)
_HOST_CHILDREN: Final = _tree(HOST_FIELDS)


def children(prefix: str, *, of_host: bool = False) -> tuple[str, ...]:
    """The components that may follow a prefix (empty for the first), for completion and for hints."""
    return (_HOST_CHILDREN if of_host else _CHILDREN).get(prefix, ())
