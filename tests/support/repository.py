"""Two signed repositories in memory, which can also misbehave.

``Simulator`` is what a control plane publishes: a director and a config repository, with their keys. Used
well, it publishes configs and gives answers::

    simulator = Simulator()
    simulator.put("datadog/2/ASM_DATA/blocked/config", b"{}")
    simulator.publish()
    state = simulator.bootstrap().update(simulator.answer(), now=simulator.now, org_uuid=simulator.org_uuid)

Used badly, it signs with the wrong keys (``director.sign_with``), sets versions (``director.versions``),
drops roles (``config.hidden_roles``), lists what nobody published (``director.list``) and so on. Everything
follows from the seed: the same calls always give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sealwire.trust.canonical import canonical_bytes, sha256_hex
from sealwire.trust.keys import Ed25519Signer
from sealwire.trust.sign import (
    Delegation,
    MetaEntry,
    RoleKeys,
    TargetEntry,
    envelope,
    root_signed,
    snapshot_signed,
    targets_signed,
    timestamp_signed,
)
from sealwire.trust.uptane import Answer, RepositoryParts, TrustedState

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)
ORG_UUID = "6f1d8b52-4a5e-4c0b-9d55-0d6cf1f4b0aa"
TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")
ONLINE = ("timestamp", "snapshot", "targets")


@dataclass
class ProductRole:
    """A delegated role of the config repository: who signs it, what it may speak for, what it lists."""

    name: str
    signers: list[Ed25519Signer]
    paths: list[str]
    threshold: int = 1
    terminating: bool = True
    parent: str = "targets"
    targets: dict[str, TargetEntry] = field(default_factory=dict)


class SimulatedRepository:
    """One repository. Attributes are plain, so a test can make any of them wrong before it publishes.

    Attributes:
        signers: Who signs, by role; the keys a root of the next version announces.
        thresholds: How many must, by role.
        versions: The last version of each role; ``publish`` counts up from here.
        expires: By role; far away unless a test says otherwise.
        targets: What the top-level targets list.
        roles: Delegated roles by name.
        custom: ``custom`` of a role, by role.
        sign_with: Roles that sign with other keys than announced, from the next document on.
        hidden_roles: Delegated roles that the snapshot no longer lists.
        roots: Every root so far.
        documents: The last signed document of each role but root.
    """

    def __init__(self, name: str, *, seed: str, root_keys: int = 3, root_threshold: int = 2) -> None:
        self.name = name
        self._seed = seed
        self._keys_made = 0
        self.signers: dict[str, list[Ed25519Signer]] = {
            "root": [self.new_key() for _ in range(root_keys)],
            **{role: [self.new_key()] for role in ONLINE},
        }
        self.thresholds = {"root": root_threshold, **dict.fromkeys(ONLINE, 1)}
        self.versions: dict[str, int] = {}
        self.expires: dict[str, datetime] = {}
        self.targets: dict[str, TargetEntry] = {}
        self.roles: dict[str, ProductRole] = {}
        self.custom: dict[str, dict[str, Any]] = {}
        self.sign_with: dict[str, list[Ed25519Signer]] = {}
        self.hidden_roles: set[str] = set()
        self.roots: list[bytes] = []
        self.documents: dict[str, bytes] = {}
        self.publish_root()

    def new_key(self) -> Ed25519Signer:
        """A key that follows from the seed and from how many were made before."""
        self._keys_made += 1
        text = f"{self._seed}/{self.name}/{self._keys_made}"
        return Ed25519Signer.from_seed(hashlib.sha256(text.encode()).digest())

    def delegate(
        self, name: str, paths: Sequence[str], *, threshold: int = 1, keys: int = 1, parent: str = "targets"
    ) -> ProductRole:
        """Make a role that may speak for some paths."""
        role = ProductRole(
            name, [self.new_key() for _ in range(keys)], list(paths), threshold=threshold, parent=parent
        )
        self.roles[name] = role
        return role

    def publish_root(self, *, also_signed_by: Iterable[Ed25519Signer] = ()) -> bytes:
        """The next root, announcing ``signers`` and ``thresholds``; signed by the new root keys and these."""
        version = self._next("root")
        signed = root_signed(
            version=version,
            expires=self.expires.get("root", FAR),
            roles={
                role: RoleKeys(tuple(s.public_key for s in self.signers[role]), self.thresholds[role])
                for role in TOP_LEVEL
            },
        )
        signers = self.sign_with.get("root", self.signers["root"])
        raw = sign_anything(signed, [*signers, *(s for s in also_signed_by if s not in signers)])
        self.roots.append(raw)
        return raw

    def rotate(self, *roles: str) -> bytes:
        """Replace every key of some roles in one new root, signed by old and new root keys."""
        old_root = list(self.signers["root"])
        for role in roles:
            self.signers[role] = [self.new_key() for _ in self.signers[role]]
        return self.publish_root(also_signed_by=old_root)

    def publish(self, *roles: str, version: int | None = None) -> None:
        """Sign new versions: of the roles named, or of all of them; each document pins those below it.

        Args:
            roles: Top-level or delegated. Others keep the document they have.
            version: For the top-level roles that are signed; by default each counts up by one.
        """
        chosen = roles or (*self.roles, "targets", "snapshot", "timestamp")
        for name in sorted(set(chosen) & self.roles.keys()):
            role = self.roles[name]
            self.documents[name] = self._sign(
                name, self._targets_signed(name, role.targets, self._next(name)), role.signers
            )
        for name in ("targets", "snapshot", "timestamp"):
            if name in chosen:
                number = self._next(name, version)
                signed = getattr(self, f"_{name}_now")(number)
                self.documents[name] = self._sign(name, signed, self.signers[name])

    def parts(self, *, delegated: Iterable[str] | None = None) -> RepositoryParts:
        """Everything an answer can hold of this repository."""
        names = self.roles if delegated is None else delegated
        return RepositoryParts(
            roots=tuple(self.roots),
            timestamp=self.documents.get("timestamp"),
            snapshot=self.documents.get("snapshot"),
            targets=self.documents.get("targets"),
            delegated={name: self.documents[name] for name in names if name in self.documents},
        )

    def list(self, path: str, raw: bytes, *, role: str = "targets", **custom: Any) -> None:
        """List a file in a role, whether that role may speak for it or not."""
        entry = TargetEntry(len(raw), sha256_hex(raw), {"v": 1, **custom})
        (self.targets if role == "targets" else self.roles[role].targets)[path] = entry

    def _next(self, role: str, version: int | None = None) -> int:
        self.versions[role] = version if version is not None else self.versions.get(role, 0) + 1
        return self.versions[role]

    def _sign(self, role: str, signed: Mapping[str, Any], signers: Sequence[Ed25519Signer]) -> bytes:
        return sign_anything(signed, self.sign_with.get(role, signers))

    def _targets_now(self, version: int) -> dict[str, Any]:
        return self._targets_signed("targets", self.targets, version)

    def _targets_signed(self, name: str, targets: Mapping[str, TargetEntry], version: int) -> dict[str, Any]:
        children = [role for role in self.roles.values() if role.parent == name]
        signed: dict[str, Any] = targets_signed(
            version=version,
            expires=self.expires.get(name, FAR),
            targets=targets,
            custom=self.custom.get(name),
            delegations=[
                Delegation(
                    role.name,
                    RoleKeys(tuple(s.public_key for s in role.signers), role.threshold),
                    tuple(role.paths),
                )
                for role in children
            ]
            if children
            else None,
        )
        for written, role in zip(signed.get("delegations", {}).get("roles", ()), children, strict=True):
            written["terminating"] = role.terminating
        return signed

    def _snapshot_now(self, version: int) -> dict[str, Any]:
        meta = {
            name: MetaEntry(self.versions[name], len(raw), sha256_hex(raw))
            for name, raw in sorted(self.documents.items())
            if name not in ("timestamp", "snapshot") and name not in self.hidden_roles
        }
        expires = self.expires.get("snapshot", FAR)
        return snapshot_signed(
            version=version, expires=expires, meta=meta, custom=self.custom.get("snapshot")
        )

    def _timestamp_now(self, version: int) -> dict[str, Any]:
        return timestamp_signed(
            version=version,
            expires=self.expires.get("timestamp", FAR),
            snapshot_version=self.versions["snapshot"],
            snapshot_raw=self.documents["snapshot"],
        )


class Simulator:
    """A director, a config repository with one role per product, and the files.

    Attributes:
        now: A time at which nothing has expired.
        director: The director's repository.
        config: The config repository.
        files: Contents by path.
    """

    def __init__(self, *, seed: str = "sealwire", org_uuid: str | None = ORG_UUID) -> None:
        self.now = NOW
        self.org_uuid = org_uuid
        self.director = SimulatedRepository("director", seed=seed)
        self.config = SimulatedRepository("config", seed=seed)
        self.files: dict[str, bytes] = {}
        if org_uuid is not None:
            self.config.custom["snapshot"] = {"org_uuid": org_uuid}
        self.director.custom["targets"] = {
            "agent_refresh_interval": 5,
            "opaque_backend_state": "eyJ2IjoxfQ==",
        }

    def put(self, path: str, raw: bytes, **custom: Any) -> None:
        """A config: in the role of its product, in the director's targets, and as a file. Not signed yet."""
        product = path.split("/")[-3]
        if product not in self.config.roles:
            self.config.delegate(product, [f"datadog/*/{product}/*/*", f"employee/{product}/*/*"])
        self.config.list(path, raw, role=product)
        self.director.list(path, raw, **custom)
        self.files[path] = raw

    def retire(self, path: str) -> None:
        """Take a config out of both repositories."""
        self.config.roles[path.split("/")[-3]].targets.pop(path, None)
        self.director.targets.pop(path, None)
        self.files.pop(path, None)

    def publish(self) -> None:
        """Sign everything anew, each document one version up."""
        self.config.publish()
        self.director.publish()

    def answer(self, *, prefixed: bool = True) -> Answer:
        """Everything, as to an Agent of which nothing is known.

        Args:
            prefixed: Name files by hash, as is recommended; otherwise by their plain path.
        """
        return Answer(
            director=self.director.parts(),
            config=self.config.parts(),
            files={prefixed_path(path, raw) if prefixed else path: raw for path, raw in self.files.items()},
        )

    def bootstrap(self) -> TrustedState:
        """An Agent that was given the two roots of version 1 and has asked for nothing yet."""
        return TrustedState.bootstrap(director_root=self.director.roots[0], config_root=self.config.roots[0])

    def update(self, state: TrustedState, answer: Answer | None = None) -> TrustedState:
        """What that state becomes with an answer, the present one by default."""
        return state.update(
            answer if answer is not None else self.answer(), now=self.now, org_uuid=self.org_uuid
        )

    def fast_forward(self, repository: str, *roles: str, to: int = 10**9) -> None:
        """Attack: whoever holds online keys throws versions far ahead."""
        chosen: SimulatedRepository = getattr(self, repository)
        for role in roles:
            chosen.versions[role] = to
        chosen.publish("targets", "snapshot", "timestamp")


def edited(answer: Answer, *, files: Mapping[str, bytes] | None = None, **repositories: Any) -> Answer:
    """An answer with some parts replaced: ``edited(answer, director={"snapshot": None}, files={})``."""
    parts = {name: replace(getattr(answer, name), **changes) for name, changes in repositories.items()}
    return replace(answer, **parts, **({} if files is None else {"files": files}))


def prefixed_path(path: str, raw: bytes) -> str:
    """The name under which a file travels: its hash and a dot before the last component."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{sha256_hex(raw)}.{name}"


def sign_anything(signed: Mapping[str, Any], signers: Sequence[Ed25519Signer]) -> bytes:
    """Sign without the linter: an attacker does not use it either."""
    message = canonical_bytes(signed)
    return envelope(message, [(signer.public_key.key_id, signer.sign(message)) for signer in signers])
