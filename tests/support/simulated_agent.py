"""An agent that believes nothing: it asks, verifies with ``TrustedState``, and acts for its clients.

The independent judge of everything a control plane answers. It holds every document against the strict
profile, hands a file to a client only where the signed predicates match, and fails as soon as a version
falls or comes twice with other bytes. How bytes travel is the caller's: a function from request to answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from sealwire.demo.fleet import to_answer
from sealwire.trust.canonical import sha256_hex
from sealwire.trust.profile import DIRECTOR_TARGETS, check_signed
from sealwire.trust.uptane import TrustedState
from sealwire.wire import predicates
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.codec import ApplyState
from sealwire.wire.path import ConfigPath

ALL_PRODUCTS = ("APM_TRACING", "ASM", "ASM_DATA", "ASM_DD", "ASM_FEATURES")


class Sightings:
    """Every signed document anybody ever saw, by repository, role and version; one sight each."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str, int], bytes] = {}

    def note(self, repository: str, role: str, raw: bytes) -> None:
        """Hold a document to the profile, and to what was seen under its version before."""
        signed = orjson.loads(raw)["signed"]
        is_director_targets = (repository, role) == ("director", "targets")
        check_signed(DIRECTOR_TARGETS if is_director_targets else role, signed)
        before = self.seen.setdefault((repository, role, signed["version"]), raw)
        assert before == raw, f"{repository} {role} {signed['version']} was seen with other bytes before"


@dataclass
class SimulatedAgent:
    """One agent.

    Attributes:
        roots: Version 1 of the director's and of the config repository's root.
        org_uuid: What /org said; None leaves that check out.
        clients: Who is behind it, by id; change them freely.
        state: What it trusts.
        error: Reported with the next request when it is not empty.
        answers: How many were taken that were no news.
    """

    roots: tuple[bytes, bytes]
    hostname: str = "host-a"
    agent_uuid: str = "11111111-2222-3333-4444-555555555555"
    org_uuid: str | None = None
    tags: tuple[str, ...] = ()
    sightings: Sightings = field(default_factory=Sightings)
    clients: dict[str, pb.Client] = field(default_factory=dict)
    error: str = ""

    def __post_init__(self) -> None:
        self.state = TrustedState.bootstrap(director_root=self.roots[0], config_root=self.roots[1])
        self.versions: list[int] = []

    # Asking -------------------------------------------------------------------------------------------

    def request(self, **changes: object) -> bytes:
        """What it asks now; ``changes`` are fields that say something else than the truth."""
        fields: dict[str, object] = {
            "hostname": self.hostname,
            "agentVersion": "7.80.0",
            "agent_uuid": self.agent_uuid,
            "tags": list(self.tags),
            "products": sorted({product for client in self.clients.values() for product in client.products}),
            "active_clients": list(self.clients.values()),
            "current_config_snapshot_version": self.state.config_snapshot_version,
            "current_director_root_version": self.state.director_root_version,
            "current_config_root_version": self.state.config_root_version,
            "backend_client_state": self.state.opaque_backend_state,
            "has_error": bool(self.error),
            "error": self.error,
        }
        return pb.LatestConfigsRequest(**{**fields, **changes}).SerializeToString()  # type: ignore[arg-type]

    def take(self, body: bytes, *, now: datetime) -> bool:
        """Verify an answer and believe it; True if it brought news.

        Raises:
            UntrustedError: It is refused; nothing has changed.
        """
        answer = to_answer(pb.LatestConfigsResponse.FromString(body))
        for name, parts in (("director", answer.director), ("config", answer.config)):
            for root in parts.roots:
                self.sightings.note(name, "root", root)
            for role in ("timestamp", "snapshot", "targets"):
                raw = getattr(parts, role)
                if raw is not None:
                    self.sightings.note(name, role, raw)
            for role, raw in parts.delegated.items():
                self.sightings.note(name, role, raw)
        before = self.state
        self.state = before.update(answer, now=now, org_uuid=self.org_uuid)
        assert self.state.director_version >= before.director_version, "the director's version fell"
        assert self.state.config_snapshot_version >= before.config_snapshot_version, "the config version fell"
        self.error = ""
        if self.state is not before:
            self.versions.append(self.state.director_version)
        return self.state is not before

    # Its clients --------------------------------------------------------------------------------------

    def files_of(self, client_id: str, *, now: datetime) -> dict[str, bytes]:
        """What a client is handed: path to contents, by product and by the signed predicates."""
        client = self.clients[client_id]
        return {
            path: target.raw
            for path, target in self.state.targets.items()
            if ConfigPath.parse(path).product in client.products
            and predicates.matches(target.custom, client, now_s=int(now.timestamp()))
        }

    def apply(
        self,
        *,
        now: datetime,
        states: Mapping[str, int] | None = None,
        errors: Mapping[str, str] | None = None,
    ) -> None:
        """Let every client report what it has: acknowledged, or what ``states`` says by product."""
        for client_id, client in self.clients.items():
            del client.state.config_states[:]
            for path in sorted(self.files_of(client_id, now=now)):
                parsed = ConfigPath.parse(path)
                version = self.state.targets[path].custom["v"]
                assert isinstance(version, int)
                client.state.config_states.add(
                    id=parsed.config_id,
                    product=parsed.product,
                    version=version,
                    apply_state=(states or {}).get(parsed.product, ApplyState.ACKNOWLEDGED),
                    apply_error=(errors or {}).get(parsed.product, ""),
                )
            client.state.targets_version = self.state.director_version

    def payload(self, client_id: str, product: str, *, now: datetime) -> object | None:
        """The one file of a product that a client is handed, read; None if it has none."""
        found = [
            raw
            for path, raw in self.files_of(client_id, now=now).items()
            if ConfigPath.parse(path).product == product
        ]
        assert len(found) <= 1, f"{client_id} got {len(found)} files of {product}"
        return orjson.loads(found[0]) if found else None


def tracer(
    client_id: str,
    *,
    service: str = "shop",
    env: str = "prod",
    language: str = "python",
    tracer_version: str = "4.16.0",
    app_version: str = "1.0",
    products: Sequence[str] = ALL_PRODUCTS,
) -> pb.Client:
    """A tracer as its agent sends it."""
    return pb.Client(
        id=client_id,
        is_tracer=True,
        products=list(products),
        client_tracer=pb.ClientTracer(
            runtime_id=f"runtime-{client_id}",
            service=service,
            env=env,
            language=language,
            tracer_version=tracer_version,
            app_version=app_version,
        ),
        state=pb.ClientState(root_version=1),
        capabilities=b"\x02",
    )


def is_steady(body: bytes) -> bool:
    """Whether an answer holds timestamps and snapshots and nothing else."""
    message = pb.LatestConfigsResponse.FromString(body)
    return (
        bool(message.director_metas.timestamp.raw)
        and bool(message.config_metas.snapshot.raw)
        and not message.director_metas.targets.raw
        and not message.config_metas.topTargets.raw
        and not message.target_files
        and not message.director_metas.roots
        and not message.config_metas.roots
    )


def files_in(body: bytes) -> dict[str, bytes]:
    """The files of an answer under their plain paths; fails where a hash prefix is not the file's."""
    found = {}
    for file in pb.LatestConfigsResponse.FromString(body).target_files:
        folder, _, name = file.path.rpartition("/")
        digest, _, plain = name.partition(".")
        assert digest == sha256_hex(file.raw), file.path
        found[f"{folder}/{plain}"] = file.raw
    return found
