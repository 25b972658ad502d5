"""Rows as the rest of the control plane sees them: frozen values, JSON already read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation and its trust domain.

    Attributes:
        withdrawing_ms: Since when everything is being withdrawn, before Remote Configuration goes off.
        production_envs: Environments that count as production for permissions.
    """

    org_id: int
    uuid: str
    name: str
    remote_config: bool
    roots_on_server: bool
    created_ms: int
    withdrawing_ms: int | None = None
    production_envs: tuple[str, ...] = ("prod", "production")


@dataclass(frozen=True, slots=True)
class Domain:
    """Where the sequences of a trust domain stand."""

    director_version: int
    config_version: int
    key_epoch: int
    generation: int
    role_floor: int


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """An author's config, its present revision."""

    org_id: int
    config_id: str
    product: str
    name: str
    targeting: Mapping[str, Any]
    payload: bytes
    revision: int
    state: str
    created_ms: int
    updated_ms: int
    updated_by: str
    comment: str
    expires_ms: int | None
    generation: int


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """A revision of a config, for ever.

    Attributes:
        expires_ms: When its time was to be over; None for none, and in rows of before it was kept.
    """

    revision: int
    name: str
    targeting: Mapping[str, Any]
    payload: bytes
    state: str
    at_ms: int
    by: str
    comment: str
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FileRow:
    """A published file: the bytes at a path, and which configs they came from."""

    path: str
    version: int
    sha256: str
    raw: bytes
    sources: Mapping[str, int]
    provenance: Mapping[str, str]
    role: str


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A signed document of the config repository."""

    role: str
    version: int
    raw: bytes
    signed_ms: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A director bundle that was issued."""

    version: int
    view_key: str
    config_version: int
    key_epoch: int
    signed_ms: int
    expires_ms: int
    sha256: str
    targets: bytes | None
    snapshot: bytes | None
    timestamp: bytes | None


@dataclass(frozen=True, slots=True)
class ApiKeyRow:
    """An API key without its secret.

    Attributes:
        withdrawing_ms: Since when what its agents hold is being withdrawn, before its scope is taken.
        then_revoked: It is revoked after that, and does not only lose its scope.
    """

    key_id: str
    org_id: int
    name: str
    sha256: str
    last4: str
    remote_config: bool
    created_ms: int
    created_by: str
    last_used_ms: int | None
    revoked_ms: int | None
    withdrawing_ms: int | None = None
    then_revoked: bool = False


@dataclass(frozen=True, slots=True)
class ApplicationKeyRow:
    """An application key without its secret.

    Attributes:
        user: Name of the holder.
        role: Id of the role it has; what a key of a user may is what the user may.
        user_id: Of the user; None when it is nobody's.
        scopes: Permissions it is cut down to; None: not at all.
    """

    key_id: str
    org_id: int
    user: str
    role: str
    sha256: str
    revoked_ms: int | None
    last4: str = ""
    name: str = ""
    user_id: str | None = None
    scopes: tuple[str, ...] | None = None
    created_ms: int = 0
    last_used_ms: int | None = None


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent as last seen; ``api_key_id`` is of the API key it last asked with, empty when not known."""

    agent_id: str
    hostname: str
    version: str
    tags: tuple[str, ...]
    first_seen_ms: int
    last_seen_ms: int
    error: str
    director_version: int
    api_key_id: str = ""


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client as last seen."""

    client_id: str
    agent_id: str
    facts: Mapping[str, Any]
    first_seen_ms: int
    last_seen_ms: int
    error: str
    targets_version: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """What a client last said of a file."""

    client_id: str
    path: str
    version: int
    apply_state: int
    apply_error: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing that somebody did.

    Attributes:
        context: Actor type and id, address, user agent, request.
        prev_sha256, sha256: Its place in the chain; None in an event that is not in it.
    """

    id: int
    at_ms: int
    actor: str
    action: str
    subject: str
    summary: str
    detail: Mapping[str, Any]
    context: Mapping[str, str] = field(default_factory=dict)
    prev_sha256: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """Something a person must look at."""

    id: int
    org_id: int
    at_ms: int
    kind: str
    subject: str
    message: str
