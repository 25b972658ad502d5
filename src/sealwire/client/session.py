"""One client of Remote Configuration as pure data: what it asks, and what an answer changes.

A session never does I/O and never reads the clock. ``receive`` verifies the whole answer first, so that an
answer which is refused changes nothing but the error that the next request reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sealwire.errors import MalformedError, MissingError, UntrustedError
from sealwire.trust.canonical import sha256_hex
from sealwire.trust.director import DirectorState
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.codec import ApplyState, decode_client_response, encode_client_request
from sealwire.wire.path import ConfigPath
from sealwire.wire.version import WIRE_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who asks.

    Attributes:
        client_id: Unique per client, never the runtime id.
        runtime_id: One per process.
    """

    client_id: str
    runtime_id: str
    service: str = ""
    env: str = ""
    app_version: str = ""
    language: str = "python"
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """A verified config.

    Attributes:
        raw: Its bytes, as the director signed them.
    """

    path: ConfigPath
    version: int
    raw: bytes
    apply_state: ApplyState = ApplyState.UNACKNOWLEDGED
    apply_error: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an answer changes: removed first, then new and changed configs, by path."""

    removed: Mapping[str, Config] = field(default_factory=dict)
    changed: Mapping[str, Config] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Session:
    """What a client knows between two polls.

    It begins with an identity and ``DirectorState.bootstrap(root)``.
    """

    identity: Identity
    director: DirectorState
    products: frozenset[str] = frozenset()
    capabilities: bytes = b""
    configs: Mapping[str, Config] = field(default_factory=dict)
    error: str = ""

    def request(self) -> bytes:
        """The body of the next poll."""
        who = self.identity
        request = pb.ClientGetConfigsRequest()
        client = request.client
        client.id = who.client_id
        client.products.extend(sorted(self.products))
        client.is_tracer = True
        client.capabilities = self.capabilities
        client.client_tracer.runtime_id = who.runtime_id
        client.client_tracer.language = who.language
        client.client_tracer.tracer_version = WIRE_VERSION
        client.client_tracer.service = who.service
        client.client_tracer.env = who.env
        client.client_tracer.app_version = who.app_version
        client.client_tracer.tags.extend(who.tags)
        client.state.root_version = self.director.root_version
        client.state.targets_version = self.director.version
        client.state.backend_client_state = self.director.opaque_backend_state
        client.state.has_error = bool(self.error)
        client.state.error = self.error
        for text, config in self.configs.items():
            state = client.state.config_states.add()
            state.id, state.product = config.path.config_id, config.path.product
            state.version = config.version
            state.apply_state, state.apply_error = int(config.apply_state), config.apply_error
            held = request.cached_target_files.add(path=text, length=len(config.raw))
            held.hashes.add(algorithm="sha256", hash=sha256_hex(config.raw))
        return encode_client_request(request)

    def receive(self, body: bytes, *, now: datetime) -> tuple[Session, Changes]:
        """Verify an answer and tell what it changes; refused or empty answers change no config.

        Args:
            body: As received from the agent, unverified.
            now: Reference time, UTC.

        Returns:
            The session to go on with, and the changes to apply. After a refusal ``session.error`` says
            why, and the next request reports it.
        """
        try:
            answer = decode_client_response(body)
            if answer.config_status == pb.CONFIG_STATUS_EXPIRED:
                # The agent has not heard of the control plane for so long that nothing counts any more.
                expired = replace(self, configs={}, error="")
                return expired, Changes(removed=self.configs)
            if not answer.targets:
                return replace(self, error=""), Changes()
            director = self.director.update(list(answer.roots), answer.targets, now=now)
            configs = self._configs(director, answer)
        except UntrustedError as error:
            return replace(self, error=f"{error.code}: {error.public}"), Changes()
        removed = {path: config for path, config in self.configs.items() if path not in configs}
        changed = {path: config for path, config in configs.items() if config is not self.configs.get(path)}
        return replace(self, director=director, configs=configs, error=""), Changes(removed, changed)

    def _configs(self, director: DirectorState, answer: pb.ClientGetConfigsResponse) -> dict[str, Config]:
        sent = {file.path: file.raw for file in answer.target_files}
        configs = {}
        for text in answer.client_configs:
            path = ConfigPath.parse(text)
            if path.product not in self.products:
                raise MalformedError(f"The agent sent {path.product}, which was not asked for.")
            held = self.configs.get(text)
            raw = sent.get(text, held.raw if held is not None else None)
            if raw is None:
                raise MissingError(f"The file {text} did not come and is not held.")
            director.check_file(text, raw)
            if held is not None and held.raw == raw:
                configs[text] = held
            else:
                configs[text] = Config(path, director.version_of(text), raw)
        return configs

    def reported(self, path: str, state: ApplyState, error: str = "") -> Session:
        """The session after a handler has answered for a config."""
        config = self.configs.get(path)
        if config is None:
            return self
        answered = replace(config, apply_state=state, apply_error=error)
        return replace(self, configs={**self.configs, path: answered})

    def subscribed(self, product: str) -> Session:
        """The session that also asks for a product."""
        return replace(self, products=self.products | {product})
