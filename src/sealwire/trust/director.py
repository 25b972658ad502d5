"""What a client behind an agent can verify: the director's root chain and its targets.

An agent hands on the director's roots and targets, and no other document. That is enough to know that the
control plane signed what the client is told to apply, whatever stands between them; that both repositories
agree is the agent's to check (``uptane.py``). All or nothing, as there.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tuf.api.metadata import Metadata, TargetFile, Targets  # type: ignore[attr-defined]

from sealwire.errors import DigestError, MissingError, RollbackError
from sealwire.trust.refusals import HOSTILE, check_size, claimed_version, expired, refusal
from sealwire.trust.verify import Limits, Refresh, Repository


@dataclass(frozen=True, slots=True)
class DirectorState:
    """The director as a client trusts it.

    Attributes:
        repository: Its root chain.
        version: Of the targets; 0 before the first.
        targets: By path, as signed.
    """

    repository: Repository
    version: int = 0
    targets: Mapping[str, TargetFile] = field(default_factory=dict)
    opaque_backend_state: bytes = b""  # decoded

    @classmethod
    def bootstrap(cls, root: bytes) -> DirectorState:
        """Trust a first root of the director, which may be expired.

        Raises:
            UntrustedError: It is not a root, or not signed by its own keys.
        """
        return cls(Repository.bootstrap("director", root))

    @property
    def root_version(self) -> int:
        """The version of the present root."""
        return self.repository.root.version

    def update(self, roots: Sequence[bytes], targets: bytes, *, now: datetime) -> DirectorState:
        """Follow the roots, then accept the targets they vouch for; or refuse and change nothing.

        Args:
            roots: As received, in any order; those already trusted are passed over.
            targets: As received, unverified.
            now: Reference time, UTC.

        Raises:
            ExpiredError: The last root or the targets.
            RollbackError: The targets are older than the trusted ones.
            ThresholdError: Too few valid signatures.
            MalformedError, OversizeError: As they say.
        """
        check_size("director", "targets", targets, Limits().targets)
        refresh = Refresh(self.repository, _Roots(roots), now=now)
        refresh.update_roots()
        repository = refresh.result()
        try:
            document = Metadata[Targets].from_bytes(targets)
            repository.root.verify_delegate("targets", document.signed_bytes, document.signatures)
            signed = document.signed
            custom = signed.unrecognized_fields.get("custom") or {}
            echo = base64.b64decode(str(custom.get("opaque_backend_state", "")), validate=True)
        except HOSTILE as error:
            raise refusal(error, "director", "targets", targets, trusted=self.version) from error
        # Attack: rollback. New keys may start anew, which is how a fast-forward is healed.
        same_keys = repository.root.roles["targets"].keyids == self.repository.root.roles["targets"].keyids
        if same_keys and signed.version < self.version:
            raise RollbackError(
                f"The director's targets are version {signed.version}; version {self.version} is trusted."
            )
        if signed.is_expired(now):
            raise expired("director", "targets", signed)
        return DirectorState(repository, signed.version, signed.targets, echo)

    def version_of(self, path: str) -> int:
        """The version of a config as the director counts it."""
        custom = self.targets[path].unrecognized_fields.get("custom") or {}
        version = custom.get("v", 0)
        return version if type(version) is int else 0

    def check_file(self, path: str, raw: bytes) -> None:
        """Refuse a file that is not the one the director signed.

        Raises:
            MissingError: The director does not list the path.
            DigestError: Length or hash differ.
        """
        target = self.targets.get(path)
        if target is None:
            raise MissingError(f"The director does not list {path}.")
        try:
            target.verify_length_and_hashes(raw)
        except HOSTILE as error:
            raise DigestError(f"The file {path} is not the one the director signed.") from error


class _Roots:
    """The roots of an answer by version; nothing else is offered."""

    def __init__(self, roots: Sequence[bytes]) -> None:
        self._by_version = {claimed_version(raw): raw for raw in roots}

    def root(self, version: int) -> bytes | None:
        return self._by_version.get(version)

    def offered(self, role: str) -> bytes | None:
        return None

    def fetch(self, role: str, version: int | None) -> bytes | None:
        return None
