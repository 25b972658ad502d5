"""Rule sets as they come in: bytes, a file, an archive, a directory; with limits and checks.

What comes in is somebody else's until its checksum and signature have been looked at: nothing is unpacked to
a disk, no name in an archive is followed, and every size is bounded before it is used. Several files become
one policy, in the order of their names. A rule's ``reason`` is for people here and is taken out of what
agents get.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
import stat
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import orjson

from sealwire.errors import (
    DigestError,
    InvalidChangeError,
    MalformedError,
    MissingError,
    OversizeError,
    Problem,
    ThresholdError,
)
from sealwire.secl.document import MAX_VALUES, Entry, read_document
from sealwire.trust.keys import PublicKey

MAX_PACKED_BYTES: Final = 10_000_000
MAX_UNPACKED_BYTES: Final = 20_000_000
MAX_FILES: Final = 200
MANIFEST: Final = "SHA256SUMS"
SIGNATURE_SUFFIX: Final = ".sig"
CHECKSUM_SUFFIX: Final = ".sha256"
SUFFIXES: Final = (".policy", ".yaml", ".yml", ".json")

_TOP: Final = ("version", "description", "type", "replace_policy_id")
_TEXTS: Final = {  # members that are texts, however YAML would read what stands there
    "id", "version", "description", "expression", "agent_version", "group_id", "field", "filter", "message",
    "tag", "reason",
}  # fmt: skip
_SUM: Final = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S.*)")


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A rule set, read.

    Attributes:
        version: As it names itself.
        document: The policy, ready to be a config.
        sha256: Of the document, so that the same rules are known again however they came.
        reasons: Rule id -> why there is such a rule, where the files say so.
        notes: What was left out or joined, at its place.
        signed_by: Id of the key that signed what came in; empty if no signature was asked for.
        came_as: Name of the file or directory, for people.
    """

    version: str
    document: Mapping[str, Any]
    sha256: str
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Problem, ...] = ()
    signed_by: str = ""
    came_as: str = ""


# Coming in --------------------------------------------------------------------------------------------------


def read_bytes(
    raw: bytes,
    *,
    name: str,
    sha256: str = "",
    signature: bytes = b"",
    keys: Sequence[PublicKey] = (),
) -> RuleSet:
    """A rule set of bytes: one policy file, plain or compressed with gzip, or a tar archive of several.

    Args:
        name: What it is called, for messages and for people.
        sha256: What the bytes must hash to, in hexadecimal; empty if it is not known.
        signature: Over the bytes as they came: 64 bytes, or these in hexadecimal or Base64.
        keys: Whose signature is taken. With none, no signature is asked for.

    Raises:
        DigestError: They hash to something else.
        ThresholdError: There are keys, and none of them signed the bytes.
        OversizeError, MalformedError: They are no rule set, or one beyond the limits.
        InvalidChangeError: Its files do not go together.
    """
    if len(raw) > MAX_PACKED_BYTES:
        raise OversizeError(f"{name} has {len(raw):,} bytes; at most {MAX_PACKED_BYTES:,} are read.")
    _check_sum(raw, sha256, name)
    signed_by = _signer(raw, signature, keys, name)
    return _joined(_unpacked(raw, name), signed_by=signed_by, came_as=name)


def read_file(path: Path, *, sha256: str = "", keys: Sequence[PublicKey] = ()) -> RuleSet:
    """A rule set of a file.

    Where a file of the same name with ``.sha256`` lies beside it, its checksum must be that; with keys, one
    with ``.sig`` must lie there and hold a signature.

    Raises:
        MissingError: There is no such file, or no signature beside it though one is asked for.
        As ``read_bytes`` raises.
    """
    beside = Path(f"{path}{CHECKSUM_SUFFIX}")
    wanted = sha256
    if not wanted and beside.exists():
        text = _content(beside, 4_096).decode("utf-8", "replace").strip()
        wanted = (text.split() or [""])[0]
    signature = _content(Path(f"{path}{SIGNATURE_SUFFIX}"), 4_096) if keys else b""
    return read_bytes(
        _content(path, MAX_PACKED_BYTES), name=path.name, sha256=wanted, signature=signature, keys=keys
    )


def read_directory(path: Path, *, keys: Sequence[PublicKey] = ()) -> RuleSet:
    """A rule set of the policy files of a directory, not of those below.

    Where it has a ``SHA256SUMS``, every file must be in there with its checksum, and every file it names must
    be there. With keys, that list must be signed (``SHA256SUMS.sig``).

    Raises:
        MissingError: The directory, a file of the list, or the signed list that is asked for is missing.
        As ``read_bytes`` raises.
    """
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise MissingError(f"The directory {path.name} cannot be read: {error.strerror}.") from error
    files: dict[str, bytes] = {}
    left = MAX_UNPACKED_BYTES
    for name in names:
        if not name.endswith(SUFFIXES) or name.startswith("."):
            continue
        if len(files) >= MAX_FILES:
            raise OversizeError(f"{path.name} has more than {MAX_FILES} files of rules.")
        files[name] = _content(path / name, left)
        left -= len(files[name])
    signed_by = ""
    if keys or MANIFEST in names:
        manifest = _content(path / MANIFEST, 1_000_000)
        if keys:
            signature = _content(path / f"{MANIFEST}{SIGNATURE_SUFFIX}", 4_096)
            signed_by = _signer(manifest, signature, keys, MANIFEST)
        _check_manifest(manifest, files)
    return _joined(files, signed_by=signed_by, came_as=path.name)


def _content(path: Path, most: int) -> bytes:
    """A file's bytes; only of a plain file, and never more than is allowed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise MissingError(f"{path.name} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MalformedError(f"{path.name} is no plain file.")
    with open(descriptor, "rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise OversizeError(f"{path.name} is too large: more than {most:,} bytes.")
    return raw


# Trust ------------------------------------------------------------------------------------------------------


def _check_sum(raw: bytes, wanted: str, name: str) -> None:
    if wanted and hashlib.sha256(raw).hexdigest() != wanted.strip().lower():
        raise DigestError(f"{name} is not what its checksum says; nothing of it was used.")


def _signer(raw: bytes, signature: bytes, keys: Sequence[PublicKey], name: str) -> str:
    if not keys:
        return ""
    plain = _plain_signature(signature)
    for key in keys:
        if plain and key.verify(plain, raw):
            return key.key_id
    said = "has no signature" if not signature else "is not signed by any key that is trusted for rule sets"
    raise ThresholdError(f"{name} {said}; nothing of it was used.")


def _plain_signature(signature: bytes) -> bytes:
    if len(signature) == 64:
        return signature
    text = signature.strip()
    try:
        if len(text) == 128:
            return bytes.fromhex(text.decode("ascii"))
        found = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""
    return found if len(found) == 64 else b""


def _check_manifest(manifest: bytes, files: Mapping[str, bytes]) -> None:
    listed: dict[str, str] = {}
    for line in filter(str.strip, manifest.decode("utf-8", "replace").splitlines()):
        found = _SUM.fullmatch(line.strip())
        if found is None or found[2] in listed:
            raise MalformedError(f"{MANIFEST} has a line that is no checksum and name, or a name twice.")
        listed[found[2]] = found[1]
    for name, wanted in listed.items():
        if name not in files:
            if name.endswith(SUFFIXES):
                raise MissingError(f"{MANIFEST} names {name[:200]!r}, which is not there.")
            continue
        _check_sum(files[name], wanted, name)
    for name in files:
        if name not in listed:
            raise DigestError(f"{name} is not in {MANIFEST}; nothing of it was used.")


# Unpacking --------------------------------------------------------------------------------------------------


def _unpacked(raw: bytes, name: str) -> dict[str, bytes]:
    """The files of what came in, by name."""
    if raw[:2] == b"\x1f\x8b":
        raw = _inflated(raw, name)
        name = name.removesuffix(".gz").removesuffix(".tgz")
    return _members(raw, name) if raw[257:262] == b"ustar" else {name: raw}


def _inflated(raw: bytes, name: str) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(raw, MAX_UNPACKED_BYTES + 1)
    except zlib.error as error:
        raise MalformedError(f"{name} cannot be decompressed: {error}.") from error
    if len(plain) > MAX_UNPACKED_BYTES:
        raise OversizeError(f"{name} decompresses to more than {MAX_UNPACKED_BYTES:,} bytes.")
    if not inflater.eof or inflater.unused_data:
        raise MalformedError(f"{name} is cut off, or something follows it.")
    return plain


def _members(raw: bytes, name: str) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            for count, member in enumerate(archive, start=1):
                if count > MAX_FILES * 2:
                    raise OversizeError(f"{name} has more than {MAX_FILES * 2} entries.")
                if member.isdir():
                    continue
                path = PurePosixPath(member.name)
                shown = repr(member.name[:200])
                if not member.isreg() or member.issparse():
                    raise MalformedError(f"{name} holds {shown}, which is no plain file.")
                if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
                    raise MalformedError(f"{name} holds {shown}, which leads out of it.")
                if not path.name.endswith(SUFFIXES) or path.name.startswith("."):
                    continue
                total += member.size
                if total > MAX_UNPACKED_BYTES or len(files) >= MAX_FILES:
                    raise OversizeError(f"{name} holds more than may be read.")
                if str(path) in files:
                    raise MalformedError(f"{name} holds {shown} twice.")
                file = archive.extractfile(member)
                files[str(path)] = file.read() if file is not None else b""
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise MalformedError(f"{name} is no archive that can be read: {error}.") from error
    return dict(sorted(files.items()))


# Joining ----------------------------------------------------------------------------------------------------


def _joined(files: Mapping[str, bytes], *, signed_by: str, came_as: str) -> RuleSet:
    """One policy of several files."""
    if not files:
        raise MalformedError(f"{came_as} holds no file of rules ({', '.join(SUFFIXES)}).")
    top: dict[str, Any] = {}
    parts: dict[str, list[Any]] = {"macros": [], "rules": []}
    reasons: dict[str, str] = {}
    notes: list[Problem] = []
    values = _Plain()
    for name, raw in files.items():
        root = read_document(raw).mapping
        if root is None:
            raise MalformedError(f"{name} is no policy: it is no mapping.")
        for key in _TOP:
            entry = root.get(key)
            if entry is None or entry.value is None:
                continue
            said = entry.text
            if top.setdefault(key, said) != said:
                message = f"{name} says {said!r}, and a file before it {top[key]!r}."
                raise InvalidChangeError(
                    "The files do not go together.", problems=(Problem(f"$.{key}", message),)
                )
        for key, found in parts.items():
            entry = root.get(key)
            for item in (entry.items or ()) if entry is not None else ():
                plain = values.of(item)
                if isinstance(plain, dict) and "reason" in plain:
                    reasons[str(plain.get("id"))] = str(plain.pop("reason"))
                found.append(plain)
        for key in root:
            if key not in (*_TOP, *parts):
                notes.append(Problem(f"$.{key}", f"{key!r} of {name} is not known and is left out."))
    _trim(parts["rules"], notes)
    document = {**top, **{key: found for key, found in parts.items() if found}}
    if not document.get("version"):
        raise InvalidChangeError(
            "The rule set has no version.",
            problems=(Problem("$.version", "A rule set needs a version, such as 1.0.0."),),
        )
    return RuleSet(
        version=document["version"],
        document=document,
        sha256=hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        reasons=reasons,
        notes=tuple(notes),
        signed_by=signed_by,
        came_as=came_as,
    )


_KNOWN: Final = frozenset(
    {
        "id", "version", "expression", "description", "tags", "product_tags", "agent_version", "filters",
        "disabled", "combine", "override_options", "every", "limiter_token", "silent", "group_id", "priority",
        "actions",
    }
)  # fmt: skip


def _trim(rules: list[Any], notes: list[Problem]) -> None:
    """Leave out members of rules that nobody here knows: a set for newer agents is used as far as it goes."""
    for index, rule in enumerate(rules):
        for key in [key for key in rule if key not in _KNOWN] if isinstance(rule, dict) else ():
            del rule[key]
            said = f"{rule.get('id')}: {key!r} is not known and is left out."
            notes.append(Problem(f"$.rules[{index}].{key}", said))


_EMPTY_ACTIONS: Final = ("hash", "kill", "log", "coredump", "network_filter")


class _Plain:
    """Values without their places, counted: one that stands in many places by an alias counts each time."""

    def __init__(self) -> None:
        self.left = MAX_VALUES

    def of(self, entry: Entry, key: str = "") -> Any:
        self.left -= 1
        if self.left < 0:
            raise OversizeError(f"The files hold more than {MAX_VALUES:,} values.")
        if entry.mapping is not None:
            if key == "tags":
                return {name: self.of(each, "tag") for name, each in entry.mapping.items()}
            return {
                name: self.of(each, name)
                for name, each in entry.mapping.items()
                if each.value is not None or name in _EMPTY_ACTIONS
            }
        if entry.items is not None:
            return [self.of(each, "filter" if key == "filters" else "") for each in entry.items]
        if entry.value is None and key in _EMPTY_ACTIONS:
            return {}
        return entry.text if key in _TEXTS else entry.value
