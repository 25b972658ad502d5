"""Make the signed repositories of an organisation equal to the intent.

``reconcile`` takes no description of what changed: it compares what authors committed and what live
agents need with what is published, signs the difference, and commits it with its versions in one
transaction. It is safe to run twice and at any time; a crash leaves the old published state or the new.

Versions come from two sequences of the trust domain, one for the director and one for the config
repository. A version is in the ledger, committed, before its bytes can leave. Every document of the
config repository carries the version of the publication that signed it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import orjson
import sqlalchemy as sa

from sealwire.errors import UnavailableError
from sealwire.products import PRODUCTS
from sealwire.server.audiences import LIMIT, Audiences, patterns_of, role_of, split_role
from sealwire.server.keyring import Keyring, WrappedKey
from sealwire.server.organisation import CONFIG_ONLINE, DIRECTOR_ONLINE, ECHO, PUBLISHER
from sealwire.server.settings import ServerSettings
from sealwire.server.store import read, rows, write
from sealwire.server.store.database import Database
from sealwire.server.views import AgentFacts, Catalogue, Content, Held, Keeping, View, next_version
from sealwire.trust.canonical import sha256_hex
from sealwire.trust.keys import Ed25519Signer, KeyId, Signer
from sealwire.trust.profile import DIRECTOR_TARGETS
from sealwire.trust.sign import (
    Delegation,
    MetaEntry,
    RoleKeys,
    TargetEntry,
    sign_document,
    snapshot_signed,
    targets_signed,
    timestamp_signed,
)

TOP_TARGETS_LIFETIME = timedelta(days=365)
PRODUCT_ROLE_LIFETIME = timedelta(days=90)
MAX_RACES = 20  # each one that is lost means that another replica got on
NOBODY = AgentFacts(agent_id="", host_tags=frozenset(), clients=())


@dataclass(frozen=True, slots=True)
class ConfigRepository:
    """One publication of the config repository: every document of it, by role."""

    version: int
    epoch: int
    signed_at: datetime
    timestamp: bytes
    snapshot: bytes
    roles: Mapping[str, rows.DocumentRow]  # "targets" and the product roles


@dataclass(frozen=True, slots=True)
class Roots:
    """The root chains of both repositories, version 1 first, and the epoch that counts their changes."""

    epoch: int
    director: tuple[bytes, ...]
    config: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """What agents with one view get: a director bundle and the publication it was checked against.

    The config repository of the bundle stays the one it was signed with: an agent whose view does not
    change is not told of changes that do not concern it.
    """

    version: int
    view: View
    roots: Roots
    signed_at: datetime
    targets: bytes
    snapshot: bytes
    timestamp: bytes
    config: ConfigRepository
    files: Mapping[str, rows.FileRow]
    delegated: tuple[str, ...]  # the product roles on the way to its files


@dataclass(frozen=True, slots=True)
class Demand:
    """What an agent needs: its view, under a version that is no step back for it.

    Attributes:
        held: Client id -> what that client would keep by itself.
        keeping: Client id -> paths it reports and must lose before it gets them elsewhere.
        holds_version, holds_view: The bundle it has, by its echo; 0 and empty when it has none.
        holds_config: Version of the config repository it has.
    """

    agent: AgentFacts
    held: Mapping[str, Held]
    keeping: Keeping = field(default_factory=dict)
    holds_version: int = 0
    holds_view: str = ""
    holds_config: int = 0

    def can_take(self, bundle: Bundle) -> bool:
        """Whether the bundle is what the agent has, or newer."""
        if bundle.config.version < self.holds_config:
            return False
        if bundle.version == self.holds_version:
            return bundle.view.key[:16] == self.holds_view
        return bundle.version > self.holds_version


@dataclass(slots=True)
class _Plan:
    now: datetime
    outcomes: dict[str, tuple[View, str]] = field(default_factory=dict)  # agent id -> view, bundle slot
    to_sign: dict[str, View] = field(default_factory=dict)  # slot -> view
    reused: dict[str, Bundle] = field(default_factory=dict)
    files: dict[str, rows.FileRow] = field(default_factory=dict)  # new or changed
    saved: dict[str, tuple[int, int, str]] = field(default_factory=dict)  # as in Publisher
    roles: set[str] = field(default_factory=set)  # product roles to sign
    sign_config: bool = False
    sign_top: bool = False


class _StaleError(Exception):
    """Another replica published since this one read."""


class Publisher:
    """The published state of one organisation, in memory, and the one way to change it."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        settings: ServerSettings,
        organisation: rows.Organisation,
    ) -> None:
        self.organisation = organisation
        # Told of every config that changed, at first of all there are, in the thread that publishes.
        self.on_configs: list[Callable[[Sequence[rows.ConfigRow]], None]] = []
        self.resign_after = settings.resign_after
        self.timestamp_lifetime = settings.timestamp_lifetime
        self._database = database
        self._keyring = keyring
        self._settings = settings
        self._load()

    def _load(self) -> None:
        org_id = self.organisation.org_id
        with self._database.read() as c:
            domain = read.domain(c, org_id)
            roots = Roots(
                domain.key_epoch,
                tuple(read.roots(c, org_id, "director")),
                tuple(read.roots(c, org_id, "config")),
            )
            keys = read.online_keys(c, org_id)
            self.files = {row.path: row for row in read.files(c, org_id)}
            self._published = {path: (row.sha256, row.version) for path, row in self.files.items()}
            self._in_place: dict[str, Content] = {}  # files whose row says all that their content does
            # Path -> version, when the config that made it so was saved, and which: since this was started.
            self.saved: dict[str, tuple[int, int, str]] = {}
            documents = {row.role: row for row in read.current_documents(c, org_id)}
            audiences = Audiences(read.audiences(c, org_id))
        self.roots = roots
        self.director_version = domain.director_version
        self.config_version = domain.config_version
        self._role_floor = domain.role_floor
        self._generation = -1
        self.catalogue = Catalogue(org_id, audiences)
        self._signers: dict[str, Ed25519Signer] = {
            purpose: self._keyring.open(self.organisation.uuid, WrappedKey(KeyId(key_id), purpose, wrapped))
            for key_id, purpose, wrapped in keys
        }
        self.bundles: dict[str, Bundle] = {}
        self.config: ConfigRepository | None = None
        timestamp, snapshot = documents.pop("timestamp", None), documents.pop("snapshot", None)
        if timestamp is not None and snapshot is not None:
            self.config = ConfigRepository(
                version=timestamp.version,
                epoch=self._epoch_of(timestamp),
                signed_at=datetime.fromtimestamp(timestamp.signed_ms / 1000, UTC),
                timestamp=timestamp.raw,
                snapshot=snapshot.raw,
                roles=documents,
            )

    def _epoch_of(self, timestamp: rows.DocumentRow) -> int:
        """The key epoch of a stored publication; 0, so that it is replaced, when it is not today's."""
        signed_by = orjson.loads(timestamp.raw)["signatures"][0]["keyid"]
        current = (
            signed_by == self._signers[CONFIG_ONLINE].public_key.key_id
            and timestamp.version == self.config_version
        )
        return self.roots.epoch if current else 0

    # The echo ---------------------------------------------------------------------------------------

    def echo(self, version: int, view_key: str, config_version: int) -> str:
        """What agents send back of a bundle: base64, with a MAC so that nobody can confuse us."""
        body = {"c": config_version, "v": version, "w": view_key[:16]}
        body["m"] = self._mac(body)
        return base64.b64encode(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).decode("ascii")

    def read_echo(self, raw: bytes) -> tuple[int, str, int] | None:
        """Version, view (first 16 hex) and config version of an echo; None if it is not one of ours."""
        if not raw or len(raw) > 500:
            return None
        try:
            body = orjson.loads(raw)
            mac = body.pop("m")
            if not hmac.compare_digest(mac, self._mac(body)):
                return None
            return int(body["v"]), str(body["w"]), int(body["c"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def _mac(self, body: Mapping[str, object]) -> str:
        message = b"echo %d " % self.organisation.org_id + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        return hmac.digest(self._signers[ECHO].seed, message, hashlib.sha256).hex()[:32]

    # Reconciling ------------------------------------------------------------------------------------

    def reconcile(self, demands: Sequence[Demand], *, now: datetime) -> dict[str, tuple[Bundle, View]]:
        """Publish what is missing.

        Args:
            demands: Every live agent. What only an absent agent needs is made when it comes back.
            now: Reference time of everything signed here.

        Returns:
            Agent id -> the bundle it gets, and its view.

        Raises:
            UnavailableError: The database does not answer, or other replicas were always faster.
        """
        for _attempt in range(MAX_RACES):
            try:
                plan = self._plan(demands, now)
                signed = self._commit(plan)
            except _StaleError:
                self._load()
                continue
            return {
                agent_id: (signed.get(slot) or plan.reused[slot], view)
                for agent_id, (view, slot) in plan.outcomes.items()
            }
        raise UnavailableError("Other replicas published all the time; trying again.")

    def _plan(self, demands: Sequence[Demand], now: datetime) -> _Plan:
        plan = _Plan(now)
        org_id = self.organisation.org_id
        now_ms = int(now.timestamp() * 1000)
        ahead = any(demand.holds_config > self.config_version for demand in demands)
        with self._database.read() as c:
            changed = read.configs_since(c, org_id, self._generation)
            if ahead and read.domain(c, org_id).config_version != self.config_version:
                raise _StaleError
            if changed:
                self.catalogue.audiences.learn(read.audiences(c, org_id))
        self.catalogue.apply(changed, now_ms=now_ms)
        for told in self.on_configs:
            told(changed)
        self._generation = max([self._generation, *(row.generation for row in changed)])
        self.catalogue.expire(now_ms=now_ms)

        listed: dict[str, Content] = {content.path: content for content in self.catalogue.plain_contents()}
        by_view: dict[str, list[Demand]] = {}
        views: dict[str, View] = {}
        for demand in [*demands, Demand(NOBODY, {})]:
            if demand.holds_config > self.config_version:
                # Nobody issued that: signing anew at each of its polls would only wake all the others.
                demand = replace(demand, holds_config=self.config_version)
            view = self.catalogue.view_again(demand.agent, demand.held, demand.keeping, self._published)
            views.setdefault(view.key, view)
            by_view.setdefault(view.key, []).append(demand)
            plan.outcomes[demand.agent.agent_id] = (view, view.key)
            for path, (content, _) in view.entries.items():
                listed.setdefault(path, content)

        self.catalogue.forget_views(plan.outcomes)
        self._plan_files(plan, listed)
        self._plan_config(plan)
        for key, view in views.items():
            bundle = self._usable(key, view, by_view[key], plan)
            if bundle is None:
                plan.to_sign[key] = view
            else:
                plan.reused[key] = bundle
        if plan.to_sign and self.config is not None and not plan.sign_config:
            # A director bundle lives as long as its publication does: start both fresh.
            plan.sign_config = now - self.config.signed_at > self._settings.resign_after
        return plan

    def _plan_files(self, plan: _Plan, listed: Mapping[str, Content]) -> None:
        for path, content in listed.items():
            if self._in_place.get(path) is content:
                continue
            role = role_of(path)
            row = self.files.get(path)
            if (
                row is not None
                and row.sha256 == content.sha256
                and row.role == role
                and row.sources == content.sources
                and row.provenance == content.provenance
            ):
                self._in_place[path] = content
                continue
            version = next_version(content, None if row is None else (row.sha256, row.version))
            if row is None or row.version != version:
                plan.saved[path] = version, *self._newest(content.sources)
            plan.files[path] = rows.FileRow(
                path=path,
                version=version,
                sha256=content.sha256,
                raw=content.raw,
                sources=dict(content.sources),
                provenance=dict(content.provenance),
                role=role,
            )
            if row is None or row.sha256 != content.sha256 or row.role != role:
                plan.roles.add(role)
                if row is not None and row.role and row.role != role:
                    plan.roles.add(row.role)
        for path, row in self.files.items():
            if not row.role or path in listed:
                continue
            kind = PRODUCTS.get(path.split("/")[2])
            # A merged file nobody asks for today goes with the next signature of its role; a retired
            # config's file goes now.
            if kind is None or not kind.single_file or row.role in plan.roles:
                plan.files[path] = rows.FileRow(
                    row.path, row.version, row.sha256, row.raw, row.sources, row.provenance, ""
                )
                plan.roles.add(row.role)
                self._in_place.pop(path, None)

    def _newest(self, sources: Iterable[str]) -> tuple[int, str]:
        """When the newest of some configs was saved, and which it is."""
        active = self.catalogue.active
        times = ((active[one].row.updated_ms, one) for one in sources if one in active)
        return max(times, default=(0, ""))

    def _plan_config(self, plan: _Plan) -> None:
        roles = self.config.roles if self.config is not None else {}
        names = set(PRODUCTS) | {name for name in roles if name != "targets"} | plan.roles
        names |= {f"{product}-{number:02X}" for product in PRODUCTS for number in range(self._role_floor)}
        missing = {name for name in names if name not in roles}
        plan.sign_top = bool(missing) or "targets" not in roles
        renew = self.config is None or self.config.epoch != self.roots.epoch
        if renew:
            missing |= names
            plan.sign_top = True
        half = PRODUCT_ROLE_LIFETIME / 2
        for name, document in roles.items():
            age = plan.now - datetime.fromtimestamp(document.signed_ms / 1000, UTC)
            if name == "targets":
                plan.sign_top = plan.sign_top or age > TOP_TARGETS_LIFETIME / 2
            elif age > half:
                missing.add(name)
        plan.roles |= missing
        plan.sign_config = plan.sign_config or plan.sign_top or bool(plan.roles)

    def _usable(self, key: str, view: View, demands: Iterable[Demand], plan: _Plan) -> Bundle | None:
        bundle = self.bundles.get(key)
        if bundle is None and not any(path in plan.files for path in view.entries):
            bundle = self._revive(key, view)
        if bundle is None or bundle.roots.epoch != self.roots.epoch:
            return None
        if plan.now - bundle.signed_at > self._settings.resign_after:
            return None
        return bundle if all(demand.can_take(bundle) for demand in demands) else None

    def _revive(self, key: str, view: View) -> Bundle | None:
        """The bundle of a view as the ledger has it, after a restart, with the publication it is of."""
        if self.config is None or self.config.epoch != self.roots.epoch:
            return None
        with self._database.read() as c:
            row = read.ledger_newest(c, self.organisation.org_id, key)
        if (
            row is None
            or row.targets is None
            or row.snapshot is None
            or row.timestamp is None
            or row.key_epoch != self.roots.epoch
            or sha256_hex(row.targets + row.snapshot + row.timestamp) != row.sha256
        ):
            return None
        config = self._publication(row.config_version)
        if config is None:
            return None
        bundle = self._bundle(row, view, config, row.targets, row.snapshot, row.timestamp)
        self.bundles[key] = bundle
        return bundle

    def _publication(self, version: int) -> ConfigRepository | None:
        """A publication of the config repository under the present keys, None if it is not kept."""
        held = [self.config, *(bundle.config for bundle in self.bundles.values())]
        for config in held:
            if config is not None and config.version == version:
                return config
        with self._database.read() as c:
            org_id = self.organisation.org_id
            ends = read.documents(c, org_id, {"timestamp": version, "snapshot": version})
            if len(ends) < 2:
                return None
            meta = orjson.loads(ends["snapshot"].raw)["signed"]["meta"]
            wanted = {name.removesuffix(".json"): entry["version"] for name, entry in meta.items()}
            roles = read.documents(c, org_id, wanted)
        if roles.keys() != wanted.keys():
            return None
        return ConfigRepository(
            version=version,
            epoch=self.roots.epoch,
            signed_at=datetime.fromtimestamp(ends["timestamp"].signed_ms / 1000, UTC),
            timestamp=ends["timestamp"].raw,
            snapshot=ends["snapshot"].raw,
            roles=roles,
        )

    def _bundle(
        self,
        row: rows.LedgerRow,
        view: View,
        config: ConfigRepository,
        targets: bytes,
        snapshot: bytes,
        timestamp: bytes,
    ) -> Bundle:
        held = {path: self.files[path] for path in view.entries}
        return Bundle(
            version=row.version,
            view=view,
            roots=self.roots,
            signed_at=datetime.fromtimestamp(row.signed_ms / 1000, UTC),
            targets=targets,
            snapshot=snapshot,
            timestamp=timestamp,
            config=config,
            files=held,
            delegated=tuple(sorted({file.role for file in held.values()})),
        )

    # Signing and committing -------------------------------------------------------------------------

    def _commit(self, plan: _Plan) -> dict[str, Bundle]:
        if not plan.sign_config and not plan.to_sign and not plan.files:
            return {}
        org_id = self.organisation.org_id
        now_ms = int(plan.now.timestamp() * 1000)
        files = {**self.files, **plan.files}
        with self._database.write() as c:
            domain = write.lock_domain(c, org_id)
            if domain.key_epoch != self.roots.epoch or domain.config_version != self.config_version:
                raise _StaleError
            config = self.config
            if plan.sign_config or config is None:
                config, documents = self._sign_config(plan, domain.config_version + 1, files)
                write.add_documents(c, org_id, documents)
                if plan.sign_top:
                    self._note_top(c, config, now_ms)
            self._add_audiences(c)
            write.put_files(c, org_id, plan.files.values())
            entries: list[tuple[str, rows.LedgerRow]] = []
            version = domain.director_version
            for key, view in plan.to_sign.items():
                version += 1
                entries.append((key, self._sign_bundle(plan, version, view, files, config)))
            write.add_ledger(c, org_id, [entry for _, entry in entries])
            write.set_domain(c, org_id, director_version=version, config_version=config.version)
        # Committed: from here on the bytes may leave.
        self.files = files
        self.catalogue.audiences.fresh.clear()
        self._published.update({path: (row.sha256, row.version) for path, row in plan.files.items()})
        self.saved.update(plan.saved)
        self.config = config
        self.config_version = config.version
        self.director_version = version
        signed = {}
        for key, entry in entries:
            if entry.targets is None or entry.snapshot is None or entry.timestamp is None:
                raise RuntimeError("a bundle was signed without its documents")
            bundle = self._bundle(
                entry, plan.to_sign[key], config, entry.targets, entry.snapshot, entry.timestamp
            )
            signed[key] = self.bundles[key] = bundle
        self._forget_bundles(plan, now_ms)
        return signed

    def _note_top(self, c: sa.Connection, config: ConfigRepository, now_ms: int) -> None:
        """Keys that sign seldom were used, and the audit trail says so; publications are in the ledger."""
        write.add_audit(
            c, self.organisation.org_id, at_ms=now_ms, actor="publisher", action="targets.signed",
            subject="config repository",
            summary=f"Signed targets {config.version} of the config repository: "
            f"{len(config.roles) - 1} roles may sign",
            detail={"version": config.version, "sha256": sha256_hex(config.roles["targets"].raw)},
        )  # fmt: skip

    def _add_audiences(self, c: sa.Connection) -> None:
        """Store audiences that were met first here; an author may have been faster with the same number."""
        audiences = self.catalogue.audiences
        if not audiences.fresh:
            return
        stored = read.audiences(c, self.organisation.org_id)
        names = {(product, audience) for product, audience, _ in stored}
        taken = {(product, number) for product, _, number in stored}
        for product, audience, number in audiences.fresh:
            some_are_free = sum(other == product for other, _ in taken) < LIMIT
            if (product, audience) in names or ((product, number) in taken and some_are_free):
                raise _StaleError
            write.add_audience(c, self.organisation.org_id, product, audience, number)
            names.add((product, audience))
            taken.add((product, number))

    def _forget_bundles(self, plan: _Plan, now_ms: int) -> None:
        if len(self.bundles) > 2 * (len(plan.outcomes) + 100):
            wanted = {slot for _, slot in plan.outcomes.values()}
            self.bundles = {key: bundle for key, bundle in self.bundles.items() if key in wanted}
            before = now_ms - int(self._settings.targets_lifetime.total_seconds() * 1000)
            with self._database.write() as c:
                write.prune_published(c, self.organisation.org_id, before_ms=before)

    def _sign_config(
        self, plan: _Plan, version: int, files: Mapping[str, rows.FileRow]
    ) -> tuple[ConfigRepository, list[rows.DocumentRow]]:
        now, now_ms = plan.now, int(plan.now.timestamp() * 1000)
        roles = dict(self.config.roles) if self.config is not None else {}
        targets: dict[str, dict[str, TargetEntry]] = {name: {} for name in plan.roles}
        for path, row in files.items():
            if row.role in targets:
                targets[row.role][path] = TargetEntry(len(row.raw), row.sha256, {"v": row.version})
        publisher = self._signers[PUBLISHER]
        documents = []
        for name in sorted(plan.roles):
            signed = targets_signed(
                version=version, expires=now + PRODUCT_ROLE_LIFETIME, targets=targets[name]
            )
            raw = sign_document(signed, [publisher], role=name)
            documents.append(rows.DocumentRow(name, version, raw, now_ms))
        if plan.sign_top:
            names = ({name for name in roles if name != "targets"}) | plan.roles
            documents.append(self._sign_top(version, names, now, now_ms))
        roles.update({document.role: document for document in documents})
        online = self._signers[CONFIG_ONLINE]
        meta = {
            name: MetaEntry(
                document.version,
                len(document.raw) if name == "targets" else None,
                sha256_hex(document.raw) if name == "targets" else None,
            )
            for name, document in roles.items()
        }
        snapshot = sign_document(
            snapshot_signed(
                version=version,
                expires=now + self._settings.targets_lifetime,
                meta=meta,
                custom={"org_uuid": self.organisation.uuid},
            ),
            [online],
        )
        timestamp = sign_document(
            timestamp_signed(
                version=version,
                expires=now + self._settings.timestamp_lifetime,
                snapshot_version=version,
                snapshot_raw=snapshot,
            ),
            [online],
        )
        documents.append(rows.DocumentRow("snapshot", version, snapshot, now_ms))
        documents.append(rows.DocumentRow("timestamp", version, timestamp, now_ms))
        return ConfigRepository(version, self.roots.epoch, now, timestamp, snapshot, roles), documents

    def _sign_top(self, version: int, names: Iterable[str], now: datetime, now_ms: int) -> rows.DocumentRow:
        """The top-level targets: nothing but the delegations, signed with their own keys."""
        publisher = RoleKeys((self._signers[PUBLISHER].public_key,), 1)
        org_id = self.organisation.org_id
        delegations = []
        # A bin stands before the whole product: the first match ends the search.
        for product, start in sorted(
            map(split_role, names), key=lambda role: (role[0], not role[1], role[1])
        ):
            name = f"{product}-{start}" if start else product
            prefixes = PRODUCTS[product].file_prefixes if product in PRODUCTS else ("",)
            delegations.append(Delegation(name, publisher, patterns_of(org_id, name, prefixes)))
        signed = targets_signed(
            version=version, expires=now + TOP_TARGETS_LIFETIME, targets={}, delegations=delegations
        )
        root = orjson.loads(self.roots.config[-1])["signed"]
        signers: Sequence[Signer] = self._keyring.open_root_keys(
            self.organisation.uuid, root["roles"]["targets"]["keyids"]
        )
        return rows.DocumentRow("targets", version, sign_document(signed, signers), now_ms)

    def _sign_bundle(
        self,
        plan: _Plan,
        version: int,
        view: View,
        files: Mapping[str, rows.FileRow],
        config: ConfigRepository,
    ) -> rows.LedgerRow:
        now = plan.now
        signer = [self._signers[DIRECTOR_ONLINE]]
        targets = {}
        for path, (_, predicates) in view.entries.items():
            row = files[path]
            custom: dict[str, object] = {"v": row.version}
            if predicates:
                custom["tracer-predicates"] = {"tracer_predicates_v1": [dict(p) for p in predicates]}
            targets[path] = TargetEntry(len(row.raw), row.sha256, custom)
        raw_targets = sign_document(
            targets_signed(
                version=version,
                expires=now + self._settings.targets_lifetime,
                targets=targets,
                custom={
                    "agent_refresh_interval": self._settings.refresh_interval_s,
                    "opaque_backend_state": self.echo(version, view.key, config.version),
                },
            ),
            signer,
            role=DIRECTOR_TARGETS,
        )
        snapshot = sign_document(
            snapshot_signed(
                version=version,
                expires=now + self._settings.targets_lifetime,
                meta={"targets": MetaEntry(version, len(raw_targets), sha256_hex(raw_targets))},
            ),
            signer,
        )
        expires = now + self._settings.timestamp_lifetime
        timestamp = sign_document(
            timestamp_signed(
                version=version, expires=expires, snapshot_version=version, snapshot_raw=snapshot
            ),
            signer,
        )
        return rows.LedgerRow(
            version=version,
            view_key=view.key,
            config_version=config.version,
            key_epoch=self.roots.epoch,
            signed_ms=int(now.timestamp() * 1000),
            expires_ms=int(expires.timestamp() * 1000),
            sha256=sha256_hex(raw_targets + snapshot + timestamp),
            targets=raw_targets,
            snapshot=snapshot,
            timestamp=timestamp,
        )

    # Sequences --------------------------------------------------------------------------------------

    def jump(self, *, director_above: int, config_above: int) -> None:
        """Move both sequences above versions that agents already hold; all is signed anew."""
        jump_sequences(
            self._database,
            self.organisation.org_id,
            director_above=director_above,
            config_above=config_above,
        )
        self._load()

    def reload(self) -> None:
        """Read everything again: roots or sequences were changed beside this object."""
        self._load()


def jump_sequences(database: Database, org_id: int, *, director_above: int, config_above: int) -> None:
    """Move the sequences of a trust domain forward, never back.

    The publication of the config repository then lags behind its sequence, which is how the next
    reconciliation knows that it must sign every document anew. History may be missing, and with it roles
    that agents know: no snapshot may lack those, so from here on every role there can be is there.
    """
    with database.write() as c:
        domain = write.lock_domain(c, org_id)
        if director_above <= domain.director_version and config_above <= domain.config_version:
            return  # another replica issued them, or jumped
        write.set_domain(
            c,
            org_id,
            director_version=max(domain.director_version, director_above),
            config_version=max(domain.config_version, config_above),
            key_epoch=domain.key_epoch + 1,
            role_floor=LIMIT,
        )
