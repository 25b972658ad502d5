"""One repository: what is trusted of it, and how that grows.

``Repository`` is a value: verified documents and the root chain they hang on. ``Refresh`` takes it through
one update, in the order and with the checks of the TUF client workflow, and ends in a new ``Repository``.
The checks are the reference library's (``TrustedMetadataSet``); this module decides which documents it is
shown, keeps verified ones from being verified twice, and turns every refusal into our error tree.

Invariants: a document in a ``Repository`` was verified by the delegator it is stored with; nothing else
than ``UntrustedError`` is raised on hostile bytes; no I/O (a ``Source`` that does some is the caller's).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast

from tuf.api.exceptions import EqualVersionNumberError, LengthOrHashMismatchError
from tuf.api.metadata import (  # type: ignore[attr-defined] # the library's documented import
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from sealwire.errors import MalformedError, MissingError, UntrustedError
from sealwire.trust.canonical import MAX_INTEGER
from sealwire.trust.delegations import DelegationIndex
from sealwire.trust.refusals import HOSTILE, check_size, claimed_version, expired, missing, refusal, whose

ROOT, TIMESTAMP, SNAPSHOT, TARGETS = "root", "timestamp", "snapshot", "targets"

MAX_ROOTS: Final = 1000  # as many as the Agent follows in one update
MAX_ROLES_VISITED: Final = 32  # per path, the top level included, as the Agent does
BEFORE_ANY_EXPIRY: Final = datetime(1, 1, 1, tzinfo=UTC)
"""A reference time at which nothing has expired: for what was verified on another day."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest document of each kind that is read, in bytes."""

    root: int = 512_000
    timestamp: int = 16_384
    snapshot: int = 2_000_000
    targets: int = 5_000_000
    delegated: int = 5_000_000

    def of(self, role: str) -> int:
        """The limit of a role; every role that is not one of the four is a delegated one."""
        if role in (ROOT, TIMESTAMP, SNAPSHOT, TARGETS):
            return cast("int", getattr(self, role))
        return self.delegated


class Source(Protocol):
    """Where a refresh finds documents that are not trusted yet."""

    def root(self, version: int) -> bytes | None:
        """The root of exactly this version, if there is one."""

    def offered(self, role: str) -> bytes | None:
        """What came for a role, needed or not; nothing if documents are fetched only when needed."""

    def fetch(self, role: str, version: int | None) -> bytes | None:
        """The document of a role; of a timestamp the version is not known beforehand."""


@dataclass(frozen=True, slots=True)
class Document:
    """A verified document.

    Attributes:
        raw: As received.
        signed: As parsed from ``raw``.
        by: The root or targets whose keys it was verified with.
    """

    raw: bytes
    signed: Signed
    by: Root | Targets


@dataclass(frozen=True, slots=True)
class Repository:
    """What is trusted of one repository.

    Attributes:
        name: ``director`` or ``config``; for sentences.
        roots: Every root from the anchor to the present one, raw, versions rising by one.
        root: The present root.
        timestamp: None before the first update, like the two below.
        snapshot: The one that ``timestamp`` pins.
        targets: The top-level targets that ``snapshot`` pins.
        delegated: By role name; only roles that some path needed.
    """

    name: str
    roots: tuple[bytes, ...]
    root: Root
    timestamp: Document | None = None
    snapshot: Document | None = None
    targets: Document | None = None
    delegated: Mapping[str, Document] = field(default_factory=dict)

    @classmethod
    def bootstrap(cls, name: str, anchor: bytes) -> Repository:
        """Trust a first root, which may be expired: it only has to lead to the next.

        Raises:
            MalformedError: It is not a root.
            ThresholdError: It is not signed by its own keys.
        """
        check_size(name, ROOT, anchor, Limits().root)
        try:
            root = TrustedMetadataSet(anchor, EnvelopeType.METADATA).root
        except HOSTILE as error:
            raise refusal(error, name, ROOT, anchor) from error
        return cls(name, (anchor,), root)

    def version(self, role: str) -> int:
        """The trusted version of a role; 0 if there is none."""
        if role == ROOT:
            return self.root.version
        document = self.document(role)
        return document.signed.version if document is not None else 0

    def document(self, role: str) -> Document | None:
        """The trusted document of a role other than root."""
        if role in (TIMESTAMP, SNAPSHOT, TARGETS):
            return cast("Document | None", getattr(self, role))
        return self.delegated.get(role)

    def roots_after(self, version: int) -> list[bytes]:
        """Every trusted root above a version, in order."""
        first = self.root.version - len(self.roots) + 1
        return list(self.roots[max(0, version + 1 - first) :])

    def expiries(self) -> dict[str, datetime]:
        """When each trusted document expires, by role."""
        found = {ROOT: self.root.expires}
        for role in (TIMESTAMP, SNAPSHOT, TARGETS, *self.delegated):
            document = self.document(role)
            if document is not None:
                found[role] = document.signed.expires
        return found

    @property
    def target_files(self) -> Mapping[str, TargetFile]:
        """What the top-level targets list; empty before the first update."""
        return cast("Targets", self.targets.signed).targets if self.targets is not None else {}


class Refresh:
    """One update of one repository, under way.

    Call ``update_roots``, ``update_timestamp``, ``update_snapshot``, ``update_targets`` in this order, then
    ``find`` for any paths, then ``result``. After an error only ``result`` makes sense, and it holds what
    was verified before it; who wants all or nothing drops it.

    Attributes:
        rewritten: Roles of which a version that was trusted already came again with other contents. The
            trusted contents stay in force wherever they fit; a caller that cares refuses the update.
    """

    def __init__(
        self, repository: Repository, source: Source, *, now: datetime, limits: Limits | None = None
    ) -> None:
        self._was = repository
        self._name = repository.name
        self._source = source
        self._now = now
        self._limits = limits if limits is not None else Limits()
        self._root = repository.root
        self._roots = list(repository.roots)
        self._held: dict[str, Document] = dict(repository.delegated)
        for role in (TIMESTAMP, SNAPSHOT, TARGETS):
            document = repository.document(role)
            if document is not None:
                self._held[role] = document
        self._fresh: dict[tuple[str, str], Document] = {}  # final in this refresh, by delegator and role
        self._indexes: dict[tuple[str, str], DelegationIndex] = {}
        self._set: TrustedMetadataSet | None = None
        self.rewritten: list[str] = []

    def update_roots(self) -> None:
        """Step 1 (TUF 5.3): follow the root chain as far as it goes, each root signed by the one before it.

        Raises:
            ExpiredError: The last root has expired. Those before it may have.
            ThresholdError: A root is not signed by the last one's keys and by its own.
        """
        rotated: set[str] = set()
        for _ in range(MAX_ROOTS):
            raw = self._source.root(self._root.version + 1)
            if raw is None:
                break
            self._check_size(ROOT, raw)
            before = self._root
            try:
                self._root = self._trusted().update_root(raw)
            except HOSTILE as error:
                raise refusal(error, self._name, ROOT, raw, trusted=before.version) from error
            self._roots.append(raw)
            rotated |= _rotated(before, self._root)
        if rotated:
            self._forget(rotated)
        self._check_expiry(ROOT, self._root)

    def update_timestamp(self) -> None:
        """Step 2 (TUF 5.4): the newest timestamp. One of the version already trusted changes nothing.

        Raises:
            RollbackError: It, or the snapshot it pins, is older than the trusted one.
        """
        held = self._held.get(TIMESTAMP)
        valid = held is not None and self._still_valid(TIMESTAMP, held)
        raw = self._source.fetch(TIMESTAMP, None)
        if raw is not None and (held is None or raw != held.raw or not valid):
            self._check_size(TIMESTAMP, raw)
            trusted = self._trusted()
            # Held, it guards against rollback even if it has expired, or a key of it has gone.
            if held is not None:
                trusted._add(TIMESTAMP, held.signed, ROOT)
            try:
                fresh = Document(raw, trusted.update_timestamp(raw), self._root)
            except EqualVersionNumberError:
                fresh = self._same_version(TIMESTAMP, cast("Document", held), raw, self._root)
                if fresh is held and not valid:
                    raise missing(self._name, TIMESTAMP, None) from None
            except HOSTILE as error:
                version = held.signed.version if held is not None else None
                raise refusal(error, self._name, TIMESTAMP, raw, trusted=version) from error
        elif held is not None and valid:
            fresh = held
        else:
            raise missing(self._name, TIMESTAMP, None)
        self._check_expiry(TIMESTAMP, fresh.signed)
        self._accept(ROOT, TIMESTAMP, fresh)

    def update_snapshot(self) -> None:
        """Step 3 (TUF 5.5): the snapshot that the timestamp pins.

        Raises:
            RollbackError: A listed role lost a version or is missing.
        """
        listed = cast("Timestamp", self._fresh[ROOT, TIMESTAMP].signed).snapshot_meta
        held = self._held.get(SNAPSHOT)
        fresh = self._reuse(SNAPSHOT, ROOT, self._root, listed)
        if fresh is None:
            raw = self._obtain(SNAPSHOT, listed)
            trusted = self._trusted()
            if held is not None:
                trusted._add(SNAPSHOT, held.signed, ROOT)
            try:
                fresh = Document(raw, trusted.update_snapshot(raw), self._root)
            except HOSTILE as error:
                raise self._refused(error, SNAPSHOT, raw, listed) from error
            self._note_rewriting(SNAPSHOT, fresh)
        self._check_expiry(SNAPSHOT, fresh.signed)
        self._accept(ROOT, SNAPSHOT, fresh)

    def update_targets(self) -> None:
        """Step 4 (TUF 5.6): the top-level targets that the snapshot lists."""
        self._load(TARGETS, ROOT, self._root)

    def find(self, path: str) -> TargetFile | None:
        """What this repository says of a path: the first role on the search path that lists it.

        Delegated roles are loaded only when the search reaches them (TUF 5.6.7): preorder, depth first,
        in the order they are listed, ending at a terminating role.

        Raises:
            MissingError: A role on the search path did not come, or the snapshot does not list it.
        """
        to_visit: list[tuple[str, str, Root | Targets]] = [(TARGETS, ROOT, self._root)]
        visited: set[str] = set()
        while to_visit and len(visited) < MAX_ROLES_VISITED:
            role, delegator_name, delegator = to_visit.pop()
            if role in visited:  # Attack: a cycle of delegations.
                continue
            visited.add(role)
            targets = cast("Targets", self._load(role, delegator_name, delegator).signed)
            target = targets.targets.get(path)
            if target is not None:
                return target
            if targets.delegations is None:
                continue
            index = self._indexes.get((delegator_name, role))
            if index is None:
                index = self._indexes[delegator_name, role] = DelegationIndex(targets)
            children: list[tuple[str, str, Root | Targets]] = []
            for child, terminating in index.roles_for(path):
                children.append((child, role, targets))
                if terminating:
                    to_visit.clear()
                    break
            to_visit.extend(reversed(children))
        return None

    def result(self) -> Repository:
        """The repository with everything verified so far."""
        fresh = {role: document for (_, role), document in self._fresh.items()}
        held = self._held | fresh
        snapshot = held.get(SNAPSHOT)
        listed = cast("Snapshot", snapshot.signed).meta if snapshot is not None else {}
        delegated = {
            role: document
            for role, document in held.items()
            if role not in (TIMESTAMP, SNAPSHOT, TARGETS) and _is_listed(document, listed.get(f"{role}.json"))
        }
        if delegated == self._was.delegated:
            delegated = cast("dict[str, Document]", self._was.delegated)
        return replace(
            self._was,
            roots=tuple(self._roots) if len(self._roots) != len(self._was.roots) else self._was.roots,
            root=self._root,
            timestamp=held.get(TIMESTAMP),
            snapshot=snapshot,
            targets=held.get(TARGETS),
            delegated=delegated,
        )

    def _load(self, role: str, delegator_name: str, delegator: Root | Targets) -> Document:
        """The document of targets or of a delegated role, as the snapshot lists it."""
        loaded = self._fresh.get((delegator_name, role))
        if loaded is not None:
            return loaded
        snapshot = cast("Snapshot", self._fresh[ROOT, SNAPSHOT].signed)
        listed = snapshot.meta.get(f"{role}.json")
        if listed is None:
            raise MissingError(f"{whose(self._name)} snapshot does not list the role {role}.")
        fresh = self._reuse(role, delegator_name, delegator, listed)
        if fresh is None:
            # A role with two delegators is one document, verified once for each.
            other = next((d for (_, name), d in self._fresh.items() if name == role), None)
            raw = other.raw if other is not None else self._obtain(role, listed)
            trusted = self._trusted()
            try:
                fresh = Document(raw, trusted.update_delegated_targets(raw, role, delegator_name), delegator)
            except HOSTILE as error:
                raise self._refused(error, role, raw, listed) from error
            self._note_rewriting(role, fresh)
        self._check_expiry(role, fresh.signed)
        self._accept(delegator_name, role, fresh)
        return fresh

    def _reuse(
        self, role: str, delegator_name: str, delegator: Root | Targets, listed: MetaFile
    ) -> Document | None:
        """The trusted document of a role, if it is still the one that is listed.

        We look here before we look at what came, as the Agent does: contents under a version that is
        already trusted are never replaced by others.
        """
        held = self._held.get(role)
        if held is None or not _fits(held, listed):
            return None
        if not _same_authority(held.by, delegator, role):
            try:
                delegator.verify_delegate(role, *_signed_bytes(held.raw))
            except HOSTILE:
                return None
        offered = self._source.offered(role)
        if offered is not None and offered != held.raw and claimed_version(offered) == held.signed.version:
            self._check_size(role, offered)
            return replace(self._same_version(role, held, offered, delegator), by=delegator)
        return held if held.by is delegator else replace(held, by=delegator)

    def _same_version(self, role: str, held: Document, raw: bytes, by: Root | Targets) -> Document:
        """Settle which of two documents of one version is in force: the trusted one, if contents differ."""
        try:
            came = Metadata[Any].from_bytes(raw)
            by.verify_delegate(role, came.signed_bytes, came.signatures)
        except HOSTILE as error:
            raise refusal(error, self._name, role, raw, trusted=held.signed.version) from error
        if came.signed != held.signed:
            self.rewritten.append(role)
        elif not _same_authority(held.by, by, role):
            return Document(raw, held.signed, by)  # the same contents, signed by the present keys
        return held

    def _note_rewriting(self, role: str, fresh: Document) -> None:
        held = self._held.get(role)
        if held is not None and held.signed.version == fresh.signed.version and held.signed != fresh.signed:
            self.rewritten.append(role)

    def _obtain(self, role: str, listed: MetaFile) -> bytes:
        raw = self._source.fetch(role, listed.version)
        if raw is None:
            raise missing(self._name, role, listed.version)
        self._check_size(role, raw)
        return raw

    def _accept(self, delegator_name: str, role: str, document: Document) -> None:
        # Attack: a number that is rightly signed and that no message, and no other client, can carry. Once
        # trusted it could never be told to anybody, nor followed by a higher one.
        if document.signed.version > MAX_INTEGER:
            raise MalformedError(
                f"{whose(self._name)} {role} has a version above {MAX_INTEGER}, which nobody can follow."
            )
        self._fresh[delegator_name, role] = document
        if self._set is not None:
            self._set._add(role, document.signed, delegator_name)

    def _trusted(self) -> TrustedMetadataSet:
        """The reference library's set, made when something new has to be verified, holding what is final."""
        if self._set is None:
            try:
                self._set = TrustedMetadataSet(self._roots[-1], EnvelopeType.METADATA)
            except HOSTILE as error:  # it was verified when it was taken in
                raise refusal(error, self._name, ROOT, self._roots[-1]) from error
            self._set.reference_time = self._now
            # The set keeps no bytes and verifies what it is given; what is final already is put into it as
            # it would do itself (its class is private to the library, hence the bound on the version).
            for (delegator_name, role), document in self._fresh.items():
                self._set._add(role, document.signed, delegator_name)
        return self._set

    def _forget(self, rotated: set[str]) -> None:
        """Recover from a fast-forward attack (TUF 5.3.11): drop what removed keys may have pushed ahead.

        As go-tuf does, and the targets too when the snapshot's keys went: their version was only as
        trustworthy as the snapshot that listed it.
        """
        if TIMESTAMP in rotated:
            self._held.pop(TIMESTAMP, None)
        if SNAPSHOT in rotated:
            for role in (TIMESTAMP, SNAPSHOT, TARGETS):
                self._held.pop(role, None)
        if TARGETS in rotated:
            for role in (SNAPSHOT, TARGETS):
                self._held.pop(role, None)

    def _still_valid(self, role: str, held: Document) -> bool:
        """Whether a trusted document would be trusted today, by the present root."""
        if _same_authority(held.by, self._root, role):
            return True
        try:
            self._root.verify_delegate(role, *_signed_bytes(held.raw))
        except HOSTILE:
            return False
        return True

    def _check_expiry(self, role: str, signed: Signed) -> None:
        if signed.is_expired(self._now):
            raise expired(self._name, role, signed)

    def _check_size(self, role: str, raw: bytes) -> None:
        check_size(self._name, role, raw, self._limits.of(role))

    def _refused(self, error: Exception, role: str, raw: bytes, listed: MetaFile) -> UntrustedError:
        held = self._held.get(role)
        version = held.signed.version if held is not None else None
        return refusal(error, self._name, role, raw, trusted=version, listed=listed.version)


def _rotated(before: Root, after: Root) -> set[str]:
    """Roles of which a threshold of keys was removed: whoever held those alone may have signed anything."""
    return {
        name
        for name in (TIMESTAMP, SNAPSHOT, TARGETS)
        if len(set(before.roles[name].keyids) - set(after.roles[name].keyids)) >= before.roles[name].threshold
    }


def _same_authority(before: Root | Targets, after: Root | Targets, role: str) -> bool:
    """Whether two delegators ask exactly the same keys for a role."""
    if before is after:
        return True
    try:
        old, new = before.get_delegated_role(role), after.get_delegated_role(role)
        return (
            old.threshold == new.threshold
            and old.keyids == new.keyids
            and all(before.get_key(key_id) == after.get_key(key_id) for key_id in old.keyids)
        )
    except ValueError:
        return False


def _signed_bytes(raw: bytes) -> tuple[bytes, dict[str, Any]]:
    document = Metadata[Any].from_bytes(raw)
    return document.signed_bytes, document.signatures


def _is_listed(document: Document, listed: MetaFile | None) -> bool:
    return listed is not None and document.signed.version == listed.version


def _fits(document: Document, listed: MetaFile) -> bool:
    """Whether a document is the one that is listed."""
    if document.signed.version != listed.version:
        return False
    try:
        listed.verify_length_and_hashes(document.raw)
    except LengthOrHashMismatchError:
        return False
    return True
