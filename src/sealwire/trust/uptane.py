"""Both repositories together: what an Agent may believe of an answer.

The config repository says which files exist; the director says which of them are meant for this Agent. A
file is accepted only if both vouch for the same length and hashes, each through its own chain of
signatures. ``TrustedState`` is the verdict so far, as a value: an update gives a new state or an error, and
an error leaves nothing behind. No I/O and no clock; documents in, verdict out.

Source: agent-backend.md 5 and 8; trust.md 3.1, of which the Go column is met or beaten.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import (  # type: ignore[attr-defined] # the library's documented import
    Snapshot,
    TargetFile,
)

from sealwire.errors import (
    DigestError,
    DisagreementError,
    MalformedError,
    MissingError,
    OversizeError,
    RollbackError,
    UntrustedError,
)
from sealwire.trust.canonical import sha256_hex
from sealwire.trust.refusals import check_size, claimed_version, whose
from sealwire.trust.verify import (
    BEFORE_ANY_EXPIRY,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Limits,
    Refresh,
    Repository,
)

DIRECTOR: Final = "director"
CONFIG: Final = "config"
MAX_FILE_BYTES: Final = 10_000_000
MAX_FILES_BYTES: Final = 100_000_000
# Tracers echo it with every poll, and a poll with more would not be read.
MAX_BACKEND_STATE_BYTES: Final = 16 * 1024
LIMITS: Final[Mapping[str, Limits]] = {DIRECTOR: Limits(targets=1_000_000), CONFIG: Limits()}


@dataclass(frozen=True, slots=True)
class RepositoryParts:
    """What an answer holds of one repository: as received, unverified, anything may be absent.

    Attributes:
        roots: In any order; those already trusted are passed over.
        timestamp: Absent: the one held.
        snapshot: Absent: the one held, if the timestamp still pins it.
        targets: Top-level; absent: likewise.
        delegated: By role name; only those that a director target needs.
    """

    roots: tuple[bytes, ...] = ()
    timestamp: bytes | None = None
    snapshot: bytes | None = None
    targets: bytes | None = None
    delegated: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an Agent was answered, unverified.

    Attributes:
        director: The director's metadata.
        config: The config repository's.
        files: By path as received: plain, or with ``<hex>.`` before the last component.
    """

    director: RepositoryParts
    config: RepositoryParts
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerifiedTarget:
    """A file that both repositories vouch for.

    Attributes:
        path: As the director lists it.
        length: Of ``raw``.
        sha256: Of ``raw``, lower-case hexadecimal.
        custom: The director's: ``v``, ``tracer-predicates``, ``expires``.
        raw: The contents.
    """

    path: str
    length: int
    sha256: str
    custom: Mapping[str, object]
    raw: bytes


@dataclass(frozen=True, slots=True)
class TrustedState:
    """Everything an Agent trusts, and the only way to trust more.

    Attributes:
        director: The director's repository.
        config: The config repository.
        targets: Every file the director sends us, by path, verified. Nothing else is kept.
        opaque_backend_state: The control plane's note to itself, to be echoed; empty if it sent none.
        refresh_interval_s: How often the control plane would like to be asked.
    """

    director: Repository
    config: Repository
    targets: Mapping[str, VerifiedTarget] = field(default_factory=dict)
    opaque_backend_state: bytes = b""
    refresh_interval_s: int | None = None

    @classmethod
    def bootstrap(cls, *, director_root: bytes, config_root: bytes) -> TrustedState:
        """Trust the two roots of version 1, and nothing else yet. They may be expired.

        Raises:
            MalformedError: One of them is not a root.
            ThresholdError: One of them is not signed by its own keys.
        """
        return cls(
            Repository.bootstrap(DIRECTOR, director_root),
            Repository.bootstrap(CONFIG, config_root),
        )

    @property
    def director_version(self) -> int:
        """Version of the director's targets; 0 before the first update."""
        return self.director.version(TARGETS)

    @property
    def director_root_version(self) -> int:
        """Version of the director's root."""
        return self.director.root.version

    @property
    def config_root_version(self) -> int:
        """Version of the config repository's root."""
        return self.config.root.version

    @property
    def config_snapshot_version(self) -> int:
        """Version of the config repository's snapshot; 0 before the first update."""
        return self.config.version(SNAPSHOT)

    @property
    def director_targets_raw(self) -> bytes | None:
        """The director's signed targets, as received: what tracers are handed."""
        document = self.director.document(TARGETS)
        return document.raw if document is not None else None

    @property
    def director_timestamp_expires(self) -> datetime | None:
        """When an Agent without news must stop serving; None before the first update."""
        document = self.director.document(TIMESTAMP)
        return document.signed.expires if document is not None else None

    def director_roots_after(self, version: int) -> list[bytes]:
        """The director's trusted roots above a version, in order: what a tracer needs to follow the chain."""
        return self.director.roots_after(version)

    def org_uuid_for_root(self) -> int:
        """The config root version that an organisation's UUID is pinned to; a new root renews the pin."""
        return self.config.root.version

    def expires_by_role(self) -> dict[str, datetime]:
        """When each trusted document expires, by ``director/<role>`` and ``config/<role>``."""
        return {
            f"{repository.name}/{role}": expires
            for repository in (self.director, self.config)
            for role, expires in repository.expiries().items()
        }

    def update(self, answer: Answer, *, now: datetime, org_uuid: str | None) -> TrustedState:
        """Believe an answer, or refuse all of it and change nothing.

        Args:
            answer: As received.
            now: Reference time, UTC; one reading per update, the caller's.
            org_uuid: The organisation this Agent belongs to; None leaves the check out.

        Returns:
            The new state; ``self`` if the answer brought nothing.

        Raises:
            UntrustedError: One of its kinds, with a sentence that names repository, role and versions.

        Source: agent-backend.md 5.
        """
        # 1. Bounds, before anything is parsed.
        _check_file_sizes(answer.files)
        # 2. Each repository by the TUF workflow, its delegated roles left for step 4.
        director = _refresh(self.director, answer.director, now)
        config = _refresh(self.config, answer.config, now)
        _check_not_rewritten(director, config)
        # 3. Attack: an answer made for another organisation.
        _check_org(config.result(), org_uuid)
        # 4. Every path of the director: found in the config repository, and the same there.
        #    Attack: a director that was taken over sends what nobody published.
        listed = director.result().target_files
        for path, target in listed.items():
            _check_agreement(path, target, config.find(path))
        _check_not_rewritten(director, config)
        # 5. Every file: held with the right hashes, or received and right. What the director no longer
        #    lists is left behind, and what it never listed is not looked at.
        after_director, after_config = director.result(), config.result()
        if after_director == self.director and after_config == self.config:
            return self
        if after_director.targets is not None and after_director.targets is self.director.targets:
            # The same targets: same files, same wishes; only what vouches for them was renewed.
            return TrustedState(
                after_director, after_config, self.targets, self.opaque_backend_state, self.refresh_interval_s
            )
        targets = self._collect(listed, answer.files)
        # 6. Only now there is a new state.
        opaque, interval = _wishes(after_director)
        return TrustedState(after_director, after_config, targets, opaque, interval)

    def dump(self) -> dict[str, bytes]:
        """Everything that ``restore`` needs, as received: for a disk cache.

        Whoever can write the cache cannot make us believe anything that was never signed for us; they can
        bring back an older dump of ours, until the next answer shows newer versions.

        Returns:
            Bytes by name: ``director/root/<version>``, ``director/timestamp``, ``config/snapshot``,
            ``config/delegated/<role>``, ``files/<path>`` and so on. The anchors are not among them.
        """
        dumped: dict[str, bytes] = {}
        for repository in (self.director, self.config):
            first = repository.root.version - len(repository.roots) + 1
            for version, raw in enumerate(repository.roots[1:], start=first + 1):
                dumped[f"{repository.name}/root/{version}"] = raw
            for role in (TIMESTAMP, SNAPSHOT, TARGETS):
                document = repository.document(role)
                if document is not None:
                    dumped[f"{repository.name}/{role}"] = document.raw
            for role, document in repository.delegated.items():
                dumped[f"{repository.name}/delegated/{role}"] = document.raw
        for path, target in self.targets.items():
            dumped[f"files/{path}"] = target.raw
        return dumped

    @classmethod
    def restore(
        cls, dump: Mapping[str, bytes], *, director_root: bytes, config_root: bytes, now: datetime
    ) -> TrustedState:
        """Verify a dump from the anchors on, as if it had just been answered, but for expiry.

        What was trusted and has expired since is restored: ``director_timestamp_expires`` and
        ``expires_by_role`` say so, and the next update refuses to build on it.

        Args:
            dump: From ``dump``; nothing in it is believed for having been saved.
            director_root: The anchor that is configured now.
            config_root: The same for the config repository.
            now: Part of the form of every verification; nothing is judged by it here, since what was saved
                yesterday was judged yesterday.

        Raises:
            UntrustedError: It does not descend from these anchors, or was damaged.
        """
        del now
        state = cls.bootstrap(director_root=director_root, config_root=config_root)
        if not any(name.endswith(f"/{TIMESTAMP}") for name in dump):
            return state  # made before the first update
        prefix = "files/"
        answer = Answer(
            director=_dumped_parts(dump, DIRECTOR),
            config=_dumped_parts(dump, CONFIG),
            files={name.removeprefix(prefix): raw for name, raw in dump.items() if name.startswith(prefix)},
        )
        try:
            return state.update(answer, now=BEFORE_ANY_EXPIRY, org_uuid=None)
        except UntrustedError as error:
            raise type(error)(
                f"The saved state does not follow from the configured roots: {error.public}",
                detail=error.detail,
            ) from error

    def _collect(
        self, listed: Mapping[str, TargetFile], files: Mapping[str, bytes]
    ) -> dict[str, VerifiedTarget]:
        """Every listed file with its contents, from what is held or from what came."""
        received: dict[str, list[bytes]] | None = None
        collected: dict[str, VerifiedTarget] = {}
        for path, target in listed.items():
            held = self.targets.get(path)
            if held is not None and _is_content(target, held.raw, held.sha256):
                raw, digest = held.raw, held.sha256
            else:
                if received is None:
                    received = _by_plain_path(files)
                raw = _verified(path, target, received.get(path, ()))
                digest = target.hashes.get("sha256") or sha256_hex(raw)
            custom = target.unrecognized_fields.get("custom")
            collected[path] = VerifiedTarget(
                path, target.length, digest, custom if type(custom) is dict else {}, raw
            )
        return collected


class _Parts:
    """An answer's part of one repository, as a source of documents."""

    def __init__(self, repository: str, parts: RepositoryParts) -> None:
        self._repository = repository
        self._parts = parts
        self._roots: dict[int | None, bytes] | None = None

    def root(self, version: int) -> bytes | None:
        if not self._parts.roots:
            return None
        if self._roots is None:
            for raw in self._parts.roots:
                check_size(self._repository, ROOT, raw, LIMITS[self._repository].root)
            self._roots = {claimed_version(raw): raw for raw in self._parts.roots}
            if None in self._roots:
                raise MalformedError(f"{whose(self._repository)} root cannot be read.")
        return self._roots.get(version)

    def offered(self, role: str) -> bytes | None:
        if role == SNAPSHOT:
            return self._parts.snapshot
        if role == TARGETS:
            return self._parts.targets
        return self._parts.delegated.get(role)

    def fetch(self, role: str, version: int | None) -> bytes | None:
        return self._parts.timestamp if role == TIMESTAMP else self.offered(role)


def _refresh(repository: Repository, parts: RepositoryParts, now: datetime) -> Refresh:
    refresh = Refresh(repository, _Parts(repository.name, parts), now=now, limits=LIMITS[repository.name])
    refresh.update_roots()
    refresh.update_timestamp()
    refresh.update_snapshot()
    refresh.update_targets()
    return refresh


def _check_file_sizes(files: Mapping[str, bytes]) -> None:
    total = 0
    for path, raw in files.items():
        total += len(raw)
        if len(raw) > MAX_FILE_BYTES:
            raise OversizeError(f"The file {path} has {len(raw)} bytes; {MAX_FILE_BYTES} are allowed.")
    if total > MAX_FILES_BYTES:
        raise OversizeError(f"The files have {total} bytes together; {MAX_FILES_BYTES} are allowed.")


def _check_org(config: Repository, org_uuid: str | None) -> None:
    snapshot = cast("Snapshot", config.snapshot.signed) if config.snapshot is not None else None
    custom = snapshot.unrecognized_fields.get("custom") if snapshot is not None else None
    signed_for = custom.get("org_uuid") if isinstance(custom, dict) else None
    if org_uuid is not None and signed_for is not None and signed_for != org_uuid:
        raise DisagreementError(
            "The config repository's snapshot is signed for another organisation than this one, "
            f"{org_uuid}. A new config root renews the pin.",
            detail=f"signed for {signed_for!r}",
        )


def _check_agreement(path: str, director: TargetFile, config: TargetFile | None) -> None:
    if config is None:
        raise DisagreementError(f"The director lists {path}, and the config repository does not.")
    if director.length != config.length:
        raise DisagreementError(
            f"The director gives {path} a length of {director.length}, "
            f"and the config repository one of {config.length}."
        )
    if not director.hashes or director.hashes != config.hashes:
        raise DisagreementError(f"The director and the config repository give {path} different hashes.")


def _is_content(target: TargetFile, raw: bytes, sha256: str) -> bool:
    """Whether contents that were verified before are what a target asks for now."""
    if target.length != len(raw):
        return False
    if target.hashes == {"sha256": sha256}:
        return True
    try:
        target.verify_length_and_hashes(raw)
    except (LengthOrHashMismatchError, ValueError, TypeError):
        return False
    return True


def _verified(path: str, target: TargetFile, candidates: Iterator[bytes] | list[bytes] | tuple[()]) -> bytes:
    wrong: Exception | None = None
    for raw in candidates:
        try:
            target.verify_length_and_hashes(raw)
        except (LengthOrHashMismatchError, ValueError, TypeError) as error:
            wrong = error
        else:
            return raw
    if wrong is not None:
        raise DigestError(
            f"The file {path} is not the one both repositories sign.", detail=str(wrong)
        ) from wrong
    raise MissingError(f"The file {path} did not come and is not held.")


def _by_plain_path(files: Mapping[str, bytes]) -> dict[str, list[bytes]]:
    """Received files under every path they may stand for: as it is, and with the hash prefix cut off."""
    found: dict[str, list[bytes]] = {}
    for name, raw in files.items():
        found.setdefault(name, []).append(raw)
        folder, slash, last = name.rpartition("/")
        _, dot, rest = last.partition(".")
        if dot:
            found.setdefault(folder + slash + rest, []).append(raw)
    return found


def _wishes(director: Repository) -> tuple[bytes, int | None]:
    """The director's opaque state, decoded, and its refresh interval."""
    document = director.document(TARGETS)
    custom = document.signed.unrecognized_fields.get("custom") if document is not None else None
    if not isinstance(custom, dict):
        return b"", None
    interval = custom.get("agent_refresh_interval")
    try:
        opaque = base64.b64decode(custom.get("opaque_backend_state", ""), validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise MalformedError("The director's targets carry a backend state that is not base64.") from error
    if len(opaque) > MAX_BACKEND_STATE_BYTES:
        raise OversizeError(
            f"The director's targets carry a backend state of {len(opaque)} bytes; "
            f"{MAX_BACKEND_STATE_BYTES} are allowed."
        )
    return opaque, interval if type(interval) is int and interval > 0 else None


def _check_not_rewritten(*refreshes: Refresh) -> None:
    """Attack, or a control plane that lost its database: other contents under a version that is trusted."""
    for refresh in refreshes:
        for role in refresh.rewritten:
            repository = refresh.result()
            raise RollbackError(
                f"{whose(repository.name)} {role} came again as version {repository.version(role)} with "
                "other contents. A version number must never be used twice."
            )


def _dumped_parts(dump: Mapping[str, bytes], repository: str) -> RepositoryParts:
    roots, delegated = f"{repository}/root/", f"{repository}/delegated/"
    return RepositoryParts(
        roots=tuple(raw for name, raw in dump.items() if name.startswith(roots)),
        timestamp=dump.get(f"{repository}/{TIMESTAMP}"),
        snapshot=dump.get(f"{repository}/{SNAPSHOT}"),
        targets=dump.get(f"{repository}/{TARGETS}"),
        delegated={
            name.removeprefix(delegated): raw for name, raw in dump.items() if name.startswith(delegated)
        },
    )
