"""What rules are evaluated against: an event, the process that caused it, and that one's ancestors.

Sources of events put in what they know. What they leave out is derived where it can be (a name from its
path, flags from arguments) and is otherwise the empty value of its type, so a rule never meets a hole. Which
rules a source cannot serve is decided beforehand, from the fields a rule names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from sealwire.secl.catalogue import FIELDS, HOST_FIELDS, Field, Place, Type

Value: TypeAlias = str | int | bool | tuple[str, ...] | tuple[int, ...]

MAX_ANCESTORS: Final = 1_000

_EMPTY: Final[Mapping[Type, Value]] = {Type.TEXT: "", Type.INT: 0, Type.BOOL: False, Type.IP: ""}


def empty_value(field: Field) -> Value:
    """What a field is where nothing is known."""
    return () if field.array else _EMPTY[field.type]


_DEFAULTS: Final[dict[str, Value]] = {
    field.key: empty_value(field) for table in (FIELDS, HOST_FIELDS) for field in table.values()
}


# Nobody knows of a login is not the login of root.
_DEFAULTS["auid"] = 4294967295


class Fields(dict[str, Any]):
    """Values by their names; what is missing is derived or empty, and kept.

    A source that finds some values only on demand (a hash, an owner's name) may subclass it and answer them
    in ``__missing__`` before it asks this one.
    """

    __slots__ = ()

    def __missing__(self, key: str) -> Any:
        derive = _DERIVED.get(key)
        value = derive(self) if derive is not None else _DEFAULTS.get(key, "")
        self[key] = value
        return value


class Process:
    """One process, as it was when the event happened.

    Attributes:
        values: Fields by their names without ``process.``.
        parent: The process that started it; ``None`` at the top.
        variables: Variables of scope ``process``, kept by their store. A source that makes a new ``Process``
            for the same process (at an exec) hands them on.
    """

    __slots__ = ("__weakref__", "parent", "values", "variables")

    def __init__(self, values: Mapping[str, Any] | None = None, parent: Process | None = None) -> None:
        self.values = values if isinstance(values, Fields) else Fields(values or ())
        self.parent = parent
        self.variables: dict[str, Any] | None = None

    def ancestors(self) -> Iterable[Process]:
        """The parent, its parent, and so on; at most ``MAX_ANCESTORS``."""
        process, left = self.parent, MAX_ANCESTORS
        while process is not None and left:
            yield process
            process, left = process.parent, left - 1


NOBODY: Final = Process()  # stands for a parent or target that is not known; never written to


class Event:
    """Something that happened.

    Attributes:
        type: One of the catalogue's event types.
        timestamp_ns: When, in nanoseconds since 1970.
        values: Fields of the event itself, by their whole names.
        process: Who did it.
        target: The process it was done to (tracee, target of a signal).
    """

    __slots__ = ("process", "target", "timestamp_ns", "type", "values")

    def __init__(
        self,
        type_: str,
        *,
        timestamp_ns: int = 0,
        values: Mapping[str, Any] | None = None,
        process: Process | None = None,
        target: Process | None = None,
    ) -> None:
        self.type = type_
        self.timestamp_ns = timestamp_ns
        self.values = values if isinstance(values, Fields) else Fields(values or ())
        self.process = process if process is not None else Process()
        self.target = target if target is not None else NOBODY
        self.values["event.timestamp"] = timestamp_ns

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Event:
        """An event as ``to_document`` wrote it, or as somebody did; wrong types become empty values."""
        stamp = document.get("timestamp")
        kind = document.get("type")
        target = document.get("target")
        return cls(
            kind if isinstance(kind, str) else "",
            timestamp_ns=stamp if isinstance(stamp, int) else 0,
            values=_cleaned(document.get("values"), _EVENT_KEYS),
            process=_process(document.get("process")),
            target=_process(target) if isinstance(target, Mapping) else None,
        )

    def to_document(self) -> dict[str, Any]:
        """The event as plain values, for keeping and for trying rules on it later."""
        document: dict[str, Any] = {
            "type": self.type,
            "timestamp": self.timestamp_ns,
            "values": {key: value for key, value in self.values.items() if key != "event.timestamp"},
            "process": _document_of(self.process),
        }
        if self.target is not NOBODY:
            document["target"] = _document_of(self.target)
        return document


def host_event(facts: Mapping[str, Any]) -> Event:
    """Facts of a host as an event, for rule filters."""
    return Event("host", values=_cleaned(facts, _HOST_KEYS))


# Documents --------------------------------------------------------------------------------------------------

_PROCESS_KEYS: Final = {field.key: field for field in FIELDS.values() if field.place is Place.PROCESS}
_EVENT_KEYS: Final = {field.key: field for field in FIELDS.values() if field.place is Place.EVENT}
_HOST_KEYS: Final = {field.key: field for field in HOST_FIELDS.values()}
_PYTHON: Final[Mapping[Type, type]] = {Type.TEXT: str, Type.INT: int, Type.BOOL: bool, Type.IP: str}


def _cleaned(values: object, keys: Mapping[str, Field]) -> Fields:
    cleaned = Fields()
    for key, value in values.items() if isinstance(values, Mapping) else ():
        field = keys.get(key)
        if field is None:
            continue
        wanted = _PYTHON[field.type]
        if field.array:
            if isinstance(value, list | tuple) and all(type(each) is wanted for each in value):
                cleaned[key] = tuple(value)
        elif type(value) is wanted:
            cleaned[key] = value
    return cleaned


def _process(document: object) -> Process:
    """A process and its ancestors, made from the top down so that a long chain needs no deep calls."""
    chain: list[Mapping[str, Any]] = []
    while isinstance(document, Mapping) and len(chain) <= MAX_ANCESTORS:
        chain.append(document)
        document = document.get("parent")
    process: Process | None = None
    for each in reversed(chain):
        process = Process(_cleaned({k: v for k, v in each.items() if k != "parent"}, _PROCESS_KEYS), process)
    return process if process is not None else Process()


def _document_of(process: Process) -> dict[str, Any]:
    whole: dict[str, Any] = dict(process.values)
    inner = whole
    for each in process.ancestors():
        inner["parent"] = dict(each.values)
        inner = inner["parent"]
    return whole


# What follows from something else ---------------------------------------------------------------------------


def flags_of(argv: Iterable[str]) -> tuple[str, ...]:
    """Arguments that are flags, without dashes: ``-ln`` is ``ln``, ``l`` and ``n``; ``--all`` is ``all``.

    A flag that has its value in the same word (``--width=8``) is none.
    """
    found: dict[str, None] = {}
    for word in argv:
        if word == "--":
            break
        if len(word) < 2 or word[0] != "-" or "=" in word:
            continue
        name = word.lstrip("-")
        if not name:
            continue
        found[name] = None
        if word[1] != "-" and len(name) <= _MAX_JOINED and name.isalnum():
            found.update(dict.fromkeys(name))
    return tuple(found)


_MAX_JOINED: Final = 16  # letters behind one dash; longer words are names, as in -classpath


def options_of(argv: Iterable[str]) -> tuple[str, ...]:
    """Arguments with a value as ``name=value``, from ``--name=value`` as well as from ``-n value``."""
    found: list[str] = []
    waiting = ""
    for word in argv:
        if word == "--":
            break
        if len(word) > 1 and word[0] == "-":
            name = word.lstrip("-")
            if "=" in name:
                found.append(name)
                waiting = ""
            else:
                waiting = name
        else:
            if waiting:
                found.append(f"{waiting}={word}")
            waiting = ""
    return tuple(found)


# Variables of the environment that rules ask for with their values, as the original has them.
_WITH_VALUE: Final = frozenset(
    {"LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "HISTSIZE", "HISTFILESIZE", "GLIBC_TUNABLES", "SSH_CLIENT"}
)


def names_of(envp: Iterable[str]) -> tuple[str, ...]:
    """Names of variables of the environment; for a few that matter also ``NAME=value``."""
    found: list[str] = []
    for each in envp:
        name = each.partition("=")[0]
        found.append(name)
        if name in _WITH_VALUE:
            found.append(each)
    return tuple(found)


def _name_of(path_key: str) -> Callable[[Fields], Value]:
    return lambda fields: fields[path_key].rpartition("/")[2]


def _extension_of(name_key: str) -> Callable[[Fields], Value]:
    def extension(fields: Fields) -> str:
        _, dot, last = fields[name_key].rpartition(".")
        return dot + last if dot else ""

    return extension


def _rights_of(mode_key: str) -> Callable[[Fields], Value]:
    return lambda fields: fields[mode_key] & 0o7777


def _derivations() -> dict[str, Callable[[Fields], Value]]:
    found: dict[str, Callable[[Fields], Value]] = {
        "args": lambda fields: " ".join(fields["argv"]),
        "args_flags": lambda fields: flags_of(fields["argv"]),
        "args_options": lambda fields: options_of(fields["argv"]),
        "envs": lambda fields: names_of(fields["envp"]),
    }
    for key in _DEFAULTS:
        stem, _, last = key.rpartition(".")
        if last == "name" and f"{stem}.path" in _DEFAULTS and f"{stem}.extension" in _DEFAULTS:
            found[key] = _name_of(f"{stem}.path")
        elif last == "extension":
            found[key] = _extension_of(f"{stem}.name")
        elif last == "rights":
            found[key] = _rights_of(f"{stem}.mode")
    return found


_DERIVED: Final = _derivations()
