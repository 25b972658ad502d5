"""Who gets what: from active configs and the clients of an agent to the files of its view. Pure.

A view is what one agent's director document lists: exactly the files that match a live client of that
agent, each with predicates so that the agent hands it to those clients and no others.

A product whose clients cannot merge gets one file per client, made here of every matching config. Its
id is a hash of what tells clients apart (service, env, language, and whatever else took part in the
decision), not of the content: the same client keeps the same path while its content changes. Replacing
a path makes tracers switch the product off and on again (ADR 3).
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sealwire.products import PRODUCTS, ClientFacts, ConfigId, Source
from sealwire.server.audiences import Audiences, audience_key
from sealwire.server.store.rows import ConfigRow
from sealwire.server.targeting import Targeting
from sealwire.trust.canonical import sha256_hex
from sealwire.wire.path import ConfigPath

Held = Mapping[str, Mapping[str, object]]  # product -> values this client would keep by itself
NOTHING_HELD: Held = {}
Keeping = Mapping[str, frozenset[str]]  # client id -> paths it reports and must lose before it moves


@dataclass(frozen=True, slots=True)
class Content:
    """A file some client shall have."""

    path: str
    raw: bytes
    sha256: str
    sources: Mapping[str, int]
    provenance: Mapping[str, str]
    product: str
    merged: Mapping[str, object] | None = None  # the payload, when it was made of several configs
    released: bool = False  # holds a value for one client alone to give up (ADR 2)

    @property
    def sticky(self) -> bool:
        """Whether some tracer may keep a value of it after it is gone (ADR 2)."""
        return self.merged is not None

    def sticky_for(self, language: str, tracer_version: str) -> dict[str, object]:
        """The values a tracer of this language and version would keep."""
        if self.merged is None:
            return {}
        return PRODUCTS[self.product].sticky_values(self.merged, language, tracer_version)


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """An agent as its poll tells it.

    Attributes:
        host_tags: ``key:value``, lower case as sent.
        clients: The live tracers behind it.
        withdrawn: It is to hold nothing: its view is empty once its clients hold nothing by themselves.
    """

    agent_id: str
    host_tags: frozenset[str]
    clients: tuple[ClientFacts, ...]
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What one agent gets.

    Attributes:
        key: Hash over everything in it, the versions of the files included.
        entries: By path: the file, and the predicates it carries (empty: every client of the product).
        wanted: Client id -> the paths that client shall have.
    """

    key: str
    entries: Mapping[str, tuple[Content, tuple[Mapping[str, str], ...]]]
    wanted: Mapping[str, tuple[str, ...]]


@dataclass(slots=True, eq=False)
class _Active:
    row: ConfigRow
    targeting: Targeting
    payload: Mapping[str, Any]
    content: Content | None  # None when the product is merged


@dataclass(slots=True)
class _OneProduct:
    by_service: dict[str, list[_Active]] = field(default_factory=dict)
    any_service: list[_Active] = field(default_factory=list)
    users: Counter[str] = field(default_factory=Counter)  # configs whose targeting looks at a thing
    outcomes: dict[tuple[object, ...], tuple[Content, ...]] = field(default_factory=dict)

    @property
    def uses_app_version(self) -> bool:
        return self.users["app_version"] > 0

    @property
    def uses_client(self) -> bool:
        """Client id or tracer version: only a client id can tell."""
        return self.users["client"] > 0

    def count(self, item: _Active, step: int) -> None:
        targeting = item.targeting
        self.users["app_version"] += step * bool(targeting.app_version)
        self.users["client"] += step * (bool(targeting.client_id) or targeting.tracer_version is not None)

    def lists_of(self, item: _Active) -> list[list[_Active]]:
        """Where a config stands."""
        services = _services(item)
        if not services:
            return [self.any_service]
        return [self.by_service.setdefault(service, []) for service in services]

    def forget(self, services: set[str]) -> None:
        """Decide anew for clients of these services; the empty one means all."""
        if "" in services:
            self.outcomes.clear()
        else:
            stale = [key for key in self.outcomes if str(key[0]).casefold() in services]
            for key in stale:
                del self.outcomes[key]


def _services(item: _Active) -> set[str]:
    return {service.casefold() for service in item.targeting.service}


_Outcome = tuple[ClientFacts, str, tuple[Content, ...]]  # what one client gets of one product


def _same(some: Sequence[_Outcome], others: Sequence[_Outcome]) -> bool:
    """Whether two decisions for the same clients came to the very same files."""
    return len(some) == len(others) and all(
        mine is his or (len(mine) == len(his) and all(map(operator.is_, mine, his)))
        for (_, _, mine), (_, _, his) in zip(some, others, strict=True)
    )


@dataclass(slots=True, eq=False)
class _Seen:
    """A view, what it was made from, and the state of the catalogue it is known to be right for."""

    agent: AgentFacts
    held: Mapping[str, Held]
    keeping: Keeping
    outcomes: list[_Outcome]
    changes: int
    view: View


class Catalogue:
    """The active configs of an organisation, indexed for matching. Changed only by ``apply``."""

    def __init__(self, org_id: int, audiences: Audiences | None = None) -> None:
        self.org_id = org_id
        self.audiences = Audiences() if audiences is None else audiences
        self.active: dict[str, _Active] = {}
        self._products: dict[str, _OneProduct] = {}
        self._changes = 0
        self._views: dict[str, _Seen] = {}

    def apply(self, changed: Iterable[ConfigRow], *, now_ms: int) -> None:
        """Take in configs that changed, or whose time has come."""
        touched: dict[str, set[str]] = {}  # product -> services
        for row in changed:
            self._changes += 1
            index = self._products.setdefault(row.product, _OneProduct())
            services = touched.setdefault(row.product, set())
            told_apart = index.uses_app_version, index.uses_client
            before, now = self.active.pop(row.config_id, None), self._active(row, now_ms)
            if before is not None:
                index.count(before, -1)
                for found in index.lists_of(before):
                    found.remove(before)
            if now is not None:
                self.active[row.config_id] = now
                index.count(now, 1)
                for found in index.lists_of(now):
                    found.append(now)
            for item in (before, now):
                if item is not None:
                    services |= _services(item) or {""}
            if told_apart != (index.uses_app_version, index.uses_client):
                services.add("")
        for product, services in touched.items():
            self._products[product].forget(services)

    def _active(self, row: ConfigRow, now_ms: int) -> _Active | None:
        if row.state != "active" or (row.expires_ms is not None and row.expires_ms <= now_ms):
            return None
        if row.product not in PRODUCTS:
            return None  # made by a newer version of this program; kept, not published
        kind = PRODUCTS[row.product]
        content, payload = None, orjson.loads(row.payload)
        if not kind.single_file:
            config_id = row.config_id
            if kind.moves:
                # The id as it was made, but for its first characters should it be for others now.
                prefix = self.audiences.prefix(row.product, audience_key(row.targeting))
                config_id = prefix + config_id[2:]
            file = kind.publish(ConfigId(config_id), payload)
            raw = row.payload if file.payload is payload else kind.render(file.payload)
            content = Content(
                path=str(ConfigPath.for_org(self.org_id, row.product, file.file_id, file.name)),
                raw=raw,
                sha256=sha256_hex(raw),
                sources={row.config_id: row.revision},
                provenance={},
                product=row.product,
            )
        return _Active(row, Targeting.parse(row.targeting), payload, content)

    def expire(self, *, now_ms: int) -> bool:
        """Drop configs whose time is over; True if there were any."""
        over = [
            item.row
            for item in self.active.values()
            if item.row.expires_ms is not None and item.row.expires_ms <= now_ms
        ]
        self.apply(over, now_ms=now_ms)
        return bool(over)

    def next_expiry_ms(self) -> int | None:
        """When the next config's time is over."""
        return min(
            (item.row.expires_ms for item in self.active.values() if item.row.expires_ms is not None),
            default=None,
        )

    def plain_contents(self) -> Iterable[Content]:
        """The files of every config whose product is not merged."""
        return (item.content for item in self.active.values() if item.content is not None)

    def matching(self, product: str, facts: ClientFacts) -> list[_Active]:
        """Configs of a product that match a client, lowest priority first."""
        index = self._products.get(product)
        if index is None:
            return []
        candidates = index.any_service + index.by_service.get(facts.service.casefold(), [])
        found = [item for item in candidates if item.targeting.matches(facts)]
        found.sort(key=lambda item: (item.targeting.specificity, item.row.updated_ms, item.row.config_id))
        return found

    # What one client gets ---------------------------------------------------------------------------

    def outcome(self, product: str, facts: ClientFacts, held: Mapping[str, object]) -> tuple[Content, ...]:
        """The files of one product for one client."""
        index = self._products.get(product)
        if index is None and not held:
            return ()
        if index is None:
            index = self._products[product] = _OneProduct()
        key = (
            facts.service,
            facts.env,
            facts.language,
            facts.app_version if index.uses_app_version else "",
            (facts.client_id, facts.tracer_version) if index.uses_client else "",
            facts.host_tags,
            orjson.dumps(held, option=orjson.OPT_SORT_KEYS) if held else b"",
        )
        known = index.outcomes.get(key)
        if known is None:
            if len(index.outcomes) > 50_000:
                index.outcomes.clear()  # clients come and go; it fills again
            known = index.outcomes[key] = self._decide(product, facts, held, self.matching(product, facts))
        return known

    def release(self, product: str, facts: ClientFacts, held: Mapping[str, object]) -> tuple[Content, ...]:
        """What makes a client give up what it holds by itself: the outcome as if there were no config."""
        if not held:
            return ()
        self._products.setdefault(product, _OneProduct())
        return self._decide(product, facts, held, ())

    def _decide(
        self, product: str, facts: ClientFacts, held: Mapping[str, object], matched: Sequence[_Active]
    ) -> tuple[Content, ...]:
        kind = PRODUCTS[product]
        if not kind.single_file:
            return tuple(item.content for item in matched if item.content is not None)
        if not matched and not held:
            return ()
        sources = [
            Source(
                config_id=ConfigId(item.row.config_id),
                revision=item.row.revision,
                priority=item.targeting.specificity,
                payload=item.payload,
            )
            for item in matched
        ]
        merged = kind.merge(sources, facts, held=held)
        if not merged:
            return ()
        raw = kind.render(merged.payload)
        finer = sorted(item.row.config_id for item in matched if not item.targeting.is_coarse)
        # A release is for one client only; its classmates keep their file.
        audience = [facts.service, facts.env, facts.language, finer]
        identity = audience_key([self.org_id, product, audience, merged.released])
        file_id = self.audiences.prefix(product, audience_key(audience)) + identity[:14]
        content = Content(
            path=str(ConfigPath.for_org(self.org_id, product, file_id)),
            raw=raw,
            sha256=sha256_hex(raw),
            sources={item.row.config_id: item.row.revision for item in matched},
            provenance=dict(merged.provenance),
            product=product,
            merged=merged.payload,
            released=bool(merged.released),
        )
        return (content,)

    # What an agent gets -----------------------------------------------------------------------------

    def view(
        self,
        agent: AgentFacts,
        held: Mapping[str, Held],
        keeping: Keeping,
        version_of: Mapping[str, tuple[str, int]],
    ) -> View:
        """The view of an agent.

        Args:
            agent: With its live clients.
            held: Client id -> what that client holds by itself.
            keeping: What ``keeps`` said of the clients that report such a file.
            version_of: Path -> (sha256, version) as published, to foretell the version a file will have.
        """
        return self._view(agent, self._outcomes_of(agent, held), keeping, version_of)

    def view_again(
        self,
        agent: AgentFacts,
        held: Mapping[str, Held],
        keeping: Keeping,
        version_of: Mapping[str, tuple[str, int]],
    ) -> View:
        """``view``, remembered: decided anew only for an agent that the changes since may concern.

        ``version_of`` may differ from one call to the next by nothing but versions that views foretold.
        """
        seen = self._views.get(agent.agent_id)
        if seen is not None and not (
            (seen.agent is agent or seen.agent == agent) and seen.held == held and seen.keeping == keeping
        ):
            seen = None
        if seen is not None and seen.changes == self._changes:
            return seen.view
        outcomes = self._outcomes_of(agent, held)
        if seen is not None and _same(seen.outcomes, outcomes):
            seen.changes = self._changes
            return seen.view
        view = self._view(agent, outcomes, keeping, version_of)
        self._views[agent.agent_id] = _Seen(agent, held, keeping, outcomes, self._changes, view)
        return view

    def forget_views(self, kept: Collection[str]) -> None:
        """Remember no views but those of these agents."""
        self._views = {agent_id: seen for agent_id, seen in self._views.items() if agent_id in kept}

    def _outcomes_of(self, agent: AgentFacts, held: Mapping[str, Held]) -> list[_Outcome]:
        found = []
        for facts in agent.clients:
            if not _can_be_signed(facts.client_id):
                continue  # nothing could be said that is for this client alone
            mine = held.get(facts.client_id, NOTHING_HELD)
            outcome = self.release if agent.withdrawn else self.outcome
            found += [
                (facts, product, outcome(product, facts, mine.get(product, {})))
                for product in PRODUCTS
                if product in facts.products
            ]
        return found

    def _view(
        self,
        agent: AgentFacts,
        outcomes: Iterable[_Outcome],
        keeping: Keeping,
        version_of: Mapping[str, tuple[str, int]],
    ) -> View:
        contents: dict[str, Content] = {}
        receivers: dict[str, list[ClientFacts]] = {}
        subscribers: dict[str, list[ClientFacts]] = {}
        wanted: dict[str, list[str]] = {
            facts.client_id: [] for facts in agent.clients if _can_be_signed(facts.client_id)
        }
        for facts, product, files in outcomes:
            paths = wanted[facts.client_id]
            subscribers.setdefault(product, []).append(facts)
            kept = (
                keeping.get(facts.client_id, frozenset())
                if facts.language in PRODUCTS[product].gives_up_first
                else frozenset()
            )
            for content in files:
                if content.merged is not None and not kept <= {content.path}:
                    continue  # it moves: first without, then at the new path
                contents[content.path] = content
                receivers.setdefault(content.path, []).append(facts)
                paths.append(content.path)
        entries = {}
        digest = hashlib.sha256()
        for path in sorted(contents):
            content = contents[path]
            predicates = self._predicates(content, receivers[path], subscribers[content.product])
            entries[path] = (content, predicates)
            version = next_version(content, version_of.get(path))
            digest.update(orjson.dumps([path, content.sha256, version, predicates]))
        return View(
            digest.hexdigest(),
            entries,
            {client_id: tuple(sorted(paths)) for client_id, paths in wanted.items()},
        )

    def _predicates(
        self,
        content: Content,
        receivers: Sequence[ClientFacts],
        subscribers: Sequence[ClientFacts],
    ) -> tuple[Mapping[str, str], ...]:
        """Predicates that select exactly ``receivers``, as coarse as that allows.

        Coarse ones outlive a restart of the application, and a second process of the same service is
        served at once.
        """
        fields = self._telling_fields(content)
        if fields == () and len(receivers) == len(subscribers):
            return ()
        by_attributes: dict[tuple[str, ...], set[str]] = {}
        if fields:
            for facts in subscribers:
                by_attributes.setdefault(_attributes(fields, facts), set()).add(facts.client_id)
        receiving = {facts.client_id for facts in receivers}
        chosen: set[tuple[tuple[str, str], ...]] = set()
        for facts in receivers:
            attributes = _attributes(fields, facts) if fields else ()
            # An empty predicate field matches everybody: who has an empty attribute is named by id.
            if fields and all(map(_can_be_signed, attributes)) and by_attributes[attributes] <= receiving:
                chosen.add(tuple(zip(fields, attributes, strict=True)))
            else:
                chosen.add((("clientID", facts.client_id),))
        return tuple(dict(predicate) for predicate in sorted(chosen))

    def _telling_fields(self, content: Content) -> tuple[str, ...] | None:
        """The predicate fields that tell who gets a file, now and later; None if only a client id does."""
        if content.released:
            return None
        if content.merged is None:
            targeting = self.active[next(iter(content.sources))].targeting
            if targeting.client_id or targeting.tracer_version is not None:
                return None
            used = (targeting.service, targeting.env, targeting.language, targeting.app_version)
            return tuple(field for field, values in zip(_FIELDS, used, strict=True) if values)
        index = self._products[content.product]
        if index.uses_client:
            return None
        return tuple(_FIELDS) if index.uses_app_version else ("service", "environment", "language")


_FIELDS = {"service": "service", "environment": "env", "language": "language", "appVersion": "app_version"}
_CONTROL = re.compile(r"[\x00-\x1f]")
MAX_PREDICATE_CHARS = 300


def _attributes(fields: Iterable[str], facts: ClientFacts) -> tuple[str, ...]:
    return tuple(getattr(facts, _FIELDS[field]) for field in fields)


def _can_be_signed(text: str) -> bool:
    """Whether what a client says of itself may stand in a predicate; a strange one must not stop the rest."""
    return 0 < len(text) <= MAX_PREDICATE_CHARS and _CONTROL.search(text) is None


def keeps(language: str, reported: Iterable[str]) -> frozenset[str]:
    """Of the paths a client reports, those it must lose before it may get the product at another."""
    return frozenset(
        path
        for path in reported
        if (product := PRODUCTS.get(path.split("/")[2])) is not None and language in product.gives_up_first
    )


def next_version(content: Content, published: tuple[str, int] | None) -> int:
    """The version a file has once published: the same for the same bytes, else one more."""
    if published is None:
        return 1
    sha256, version = published
    return version if sha256 == content.sha256 else version + 1
