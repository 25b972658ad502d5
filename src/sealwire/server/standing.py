"""Where the trust of an organisation stands: repositories, roles, keys, and until when each holds. Pure.

What is said here is read out of the signed documents themselves, not out of what was meant to be signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from sealwire.server.audiences import split_role
from sealwire.server.publish import PRODUCT_ROLE_LIFETIME, TOP_TARGETS_LIFETIME, Publisher
from sealwire.server.settings import ServerSettings

_ONLINE, _ROOT = "on this server, wrapped in the database", "with the root keys"


@dataclass(frozen=True, slots=True)
class Role:
    """One role of a repository.

    Attributes:
        version: Of the newest document; None while there is none.
        expires: None while there is no document.
        lifetime_days: From its signature to its expiry.
        key_ids, threshold: Who signs it, and how many of them must.
        keys_are: Where those keys are, in words.
        renewed: When it is signed again, in words.
        documents: How many there are of the kind: one for each audience of a product.
    """

    name: str
    version: int | None
    signed: datetime | None
    expires: datetime | None
    lifetime_days: float
    key_ids: tuple[str, ...]
    threshold: int
    keys_are: str
    renewed: str
    documents: int = 1


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository.

    Attributes:
        version: The last that was issued.
        first_root: Version 1, as agents are given it; it is the same for ever.
        latest_root: The newest, with the public keys of every role.
        roots_on_server: Whether this server can sign the next root by itself.
        root_keys_are: Where, in words.
    """

    name: str
    version: int
    root_version: int
    root_expires: datetime
    root_days: int
    root_key_ids: tuple[str, ...]
    root_threshold: int
    roots_on_server: bool
    root_keys_are: str
    first_root: str
    first_root_sha256: str
    latest_root: str
    roles: tuple[Role, ...]


def repositories(
    publisher: Publisher, settings: ServerSettings, *, root_folder: str, now: datetime
) -> tuple[Repository, ...]:
    """Both repositories of an organisation."""
    director = _root(publisher.roots.director[-1])
    config = _root(publisher.roots.config[-1])
    return (
        _repository(
            "director", publisher.roots.director, publisher.director_version, publisher, root_folder, now,
            _director_roles(publisher, settings, director),
        ),
        _repository(
            "config", publisher.roots.config, publisher.config_version, publisher, root_folder, now,
            _config_roles(publisher, settings, config),
        ),
    )  # fmt: skip


def _root(raw: bytes) -> dict[str, Any]:
    signed: dict[str, Any] = orjson.loads(raw)["signed"]
    return signed


def _repository(
    name: str,
    chain: tuple[bytes, ...],
    version: int,
    publisher: Publisher,
    root_folder: str,
    now: datetime,
    roles: Iterable[Role],
) -> Repository:
    last = _root(chain[-1])
    expires = datetime.fromisoformat(last["expires"])
    here = publisher.organisation.roots_on_server
    return Repository(
        name=name,
        version=version,
        root_version=int(last["version"]),
        root_expires=expires,
        root_days=(expires - now).days,
        root_key_ids=tuple(last["roles"]["root"]["keyids"]),
        root_threshold=int(last["roles"]["root"]["threshold"]),
        roots_on_server=here,
        root_keys_are=root_folder if here else "not on this server: with those who hold them",
        first_root=chain[0].decode(),
        first_root_sha256=hashlib.sha256(chain[0]).hexdigest(),
        latest_root=chain[-1].decode(),
        roles=tuple(roles),
    )


def _director_roles(
    publisher: Publisher, settings: ServerSettings, root: Mapping[str, Any]
) -> Iterable[Role]:
    newest = max(publisher.bundles.values(), key=lambda bundle: bundle.version, default=None)
    raw = {} if newest is None else {
        "timestamp": newest.timestamp, "snapshot": newest.snapshot, "targets": newest.targets,
    }  # fmt: skip
    often = _often(settings)
    for role in ("timestamp", "snapshot", "targets"):
        yield _role(
            role, root, raw.get(role), None if newest is None else newest.signed_at, _ONLINE,
            f"for every group of agents that get the same: when that changes, and {often}",
            documents=len(publisher.bundles),
        )  # fmt: skip


def _config_roles(publisher: Publisher, settings: ServerSettings, root: Mapping[str, Any]) -> Iterable[Role]:
    config = publisher.config
    signed = None if config is None else config.signed_at
    often = _often(settings)
    here = publisher.organisation.roots_on_server
    for role in ("timestamp", "snapshot"):
        raw = None if config is None else getattr(config, role)
        yield _role(role, root, raw, signed, _ONLINE, f"when a config changes, and {often}")
    documents = {} if config is None else config.roles
    top = documents.get("targets")
    yield _role(
        "targets", root, None if top is None else top.raw, _moment(top), _ROOT if here else "on this server",
        f"when a product or an audience is new, and every {TOP_TARGETS_LIFETIME.days // 2} days",
    )  # fmt: skip
    by_product: dict[str, list[Any]] = {}
    for name, document in documents.items():
        if name != "targets":
            by_product.setdefault(split_role(name)[0], []).append(document)
    delegated = {} if top is None else orjson.loads(top.raw)["signed"].get("delegations", {})
    keys = {one["name"]: one for one in delegated.get("roles", ())}
    for product, found in sorted(by_product.items()):
        oldest = min(found, key=lambda document: document.signed_ms)
        said = orjson.loads(oldest.raw)["signed"]
        delegation = keys.get(oldest.role, {"keyids": (), "threshold": 0})
        yield Role(
            name=product,
            version=max(document.version for document in found),
            signed=_moment(oldest),
            expires=datetime.fromisoformat(said["expires"]),
            lifetime_days=PRODUCT_ROLE_LIFETIME.days,
            key_ids=tuple(delegation["keyids"]),
            threshold=int(delegation["threshold"]),
            keys_are=_ONLINE,
            renewed=f"when a config of it changes, and every {PRODUCT_ROLE_LIFETIME.days // 2} days",
            documents=len(found),
        )


def _role(
    name: str,
    root: Mapping[str, Any],
    raw: bytes | None,
    signed: datetime | None,
    keys_are: str,
    renewed: str,
    *,
    documents: int = 1,
) -> Role:
    keys = root["roles"][name]
    said = {} if raw is None else orjson.loads(raw)["signed"]
    expires = datetime.fromisoformat(said["expires"]) if said else None
    lifetime = (expires - signed).total_seconds() / 86400 if expires and signed else 0.0
    return Role(
        name, said.get("version"), signed, expires, round(lifetime, 2), tuple(keys["keyids"]),
        int(keys["threshold"]), keys_are, renewed, documents,
    )  # fmt: skip


def _moment(document: Any) -> datetime | None:
    if document is None:
        return None
    return datetime.fromtimestamp(document.signed_ms / 1000, UTC)


def _often(settings: ServerSettings) -> str:
    hours = settings.resign_after.total_seconds() / 3600
    return "every day" if hours >= 23 else f"every {hours:.1f} hours"
