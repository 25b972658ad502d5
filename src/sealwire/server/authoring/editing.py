"""One person's work on the configs of an organisation: may they, does it go, then it is published.

The admin API and the pages both change configs through an ``Editor`` and through nothing else, so that what
a page may do and what the API may do are the same thing. Two questions come before every change: the
permission of the product (``Product.writes``, the lesser one outside production where the product has one,
and what its payload demands besides) and, for roles restricted to services and environments, whether the
targeting before and after stays within them. What the tracers' firewall will load is tried on
their own engine first, where this server has it: what that refuses is not saved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from sealwire.errors import InvalidChangeError, NotFoundError, NotPermittedError, Problem
from sealwire.products import PRODUCTS, Product, get
from sealwire.products.product import MAX_PAYLOAD_BYTES
from sealwire.server.access.permissions import Principal
from sealwire.server.authoring.author import Also, Draft, moved_on
from sealwire.server.fleet.overview import ClientLine
from sealwire.server.store import rows
from sealwire.server.store.configs import ACTIVE, RETIRED, state_of
from sealwire.server.targeting import Targeting
from sealwire.server.waf.box import PRODUCTS as OF_THE_FIREWALL
from sealwire.server.waf.box import waf_verdict

if TYPE_CHECKING:
    from sealwire.server.tenant import Tenant

READ = "rc_config_read"
PUBLISH = "rc_config_publish"


#: For a field of a restored config: as it was in the revision that is restored.
KEPT = object()


#: Said with every config that is saved while nobody gets it.
SWITCHED_OFF = (
    "Remote Configuration is off for this organisation: this is kept, and no agent gets it before it is on."
)


def readable_products(principal: Principal) -> tuple[str, ...]:
    """Products whose configs somebody may see."""
    if not principal.may(READ):
        return ()
    return tuple(name for name, product in PRODUCTS.items() if principal.may(product.reads))


def as_seen_by(principal: Principal, line: ClientLine) -> ClientLine:
    """A client without what is in its files, where their product is not theirs to see."""
    readable = readable_products(principal)
    if all(file.product in readable for file in line.files):
        return line
    return replace(
        line,
        files=tuple(
            file if file.product in readable else replace(file, config_ids=(), provenance={})
            for file in line.files
        ),
    )


class Editor:
    """What ``principal`` does to configs of ``tenant``, at the moment ``now``."""

    def __init__(self, tenant: Tenant, principal: Principal, *, now: datetime) -> None:
        self._tenant = tenant
        self._author = tenant.author
        self._principal = principal
        self._now = now

    # Looking ------------------------------------------------------------------------------------------

    async def get(self, config_id: str) -> rows.ConfigRow:
        """One config.

        Raises:
            NotFoundError: There is none, or its product is not theirs to see.
        """
        row = await asyncio.to_thread(self._author.get, config_id)
        if not self._principal.may(PRODUCTS[row.product].reads):
            raise NotFoundError(f"There is no config {config_id[:40]}.")
        return row

    async def check(self, fields: Mapping[str, Any], *, config_id: str | None = None) -> Draft:
        """Try a change without committing it; ``fields`` as in ``create``.

        Raises:
            InvalidChangeError: With every problem at its JSON path.
            NotPermittedError: The product is not theirs to see.
        """
        self._principal.require(get(str(fields.get("product", ""))).reads)
        said = await self._tried(get(str(fields.get("product", ""))), fields.get("payload"))
        draft = await asyncio.to_thread(self._author.check, **fields, now=self._now, config_id=config_id)
        return self._with_notice(draft, said)

    def may_write(
        self, product: Product, targeting: Targeting, payload: Mapping[str, Any] | None = None
    ) -> bool:
        """Whether a config with this targeting is theirs to make and to change; to this, if that is known."""
        return all(
            self._principal.may_change(permission, services=targeting.service, envs=targeting.env)
            for permission in self._needed(product, targeting, payload)
        )

    def _needed(
        self, product: Product, targeting: Targeting, payload: Mapping[str, Any] | None
    ) -> tuple[str, ...]:
        """The permissions it takes to write it: of two that are enough the lesser, if they have only that."""
        writes, lesser = product.writes, product.writes_outside_production
        if lesser and self._is_outside_production(targeting):
            where = {"services": targeting.service, "envs": targeting.env}
            if not self._principal.may_change(writes, **where) and self._principal.may(lesser):
                writes = lesser
        return (PUBLISH, writes, *(product.demands(payload) if payload is not None else ()))

    def _is_outside_production(self, targeting: Targeting) -> bool:
        production = {env.strip().casefold() for env in self._tenant.organisation.production_envs}
        # Attack: an environment that is not named is any of them, and one with a space beside it is that one.
        return bool(targeting.env) and not any(env.strip().casefold() in production for env in targeting.env)

    # Changing -----------------------------------------------------------------------------------------

    async def create(
        self, fields: Mapping[str, Any], *, also: Also | None = None, is_rendered: bool = False
    ) -> tuple[rows.ConfigRow, Draft]:
        """Commit a new config and publish it.

        Args:
            fields: ``product``, ``payload``, and any of ``targeting``, ``name``, ``comment``, ``expires_at``.
            also: What else is written in the same transaction.
            is_rendered: The payload was made by this program of parts it checked: the engine is not asked.

        Raises:
            InvalidChangeError, NotPermittedError: As they say; nothing was made.
        """
        product = get(str(fields.get("product", "")))
        self._principal.require(PUBLISH)
        if not self._principal.may(product.writes_outside_production):
            self._principal.require(product.writes)
        said = () if is_rendered else await self._tried(product, fields.get("payload"))

        def commit() -> tuple[rows.ConfigRow, Draft]:
            draft = self._author.check(**fields, now=self._now)
            self._require_draft(draft)
            return self._author.create(draft, by=self._principal.user, now=self._now, also=also), draft

        row, draft = await asyncio.to_thread(commit)
        self._tenant.reconciler.nudge()
        return row, self._with_notice(draft, said)

    async def change(
        self,
        config_id: str,
        fields: Mapping[str, Any],
        *,
        expected_revision: int,
        also: Also | None = None,
        is_rendered: bool = False,
        in_force: bool = True,
    ) -> tuple[rows.ConfigRow, Draft]:
        """Commit a new revision and publish it; fields that are not given stay.

        Args:
            also: What else is written in the same transaction.
            is_rendered: As in ``create``.
            in_force: Whether it is active then; else it is kept retired.

        Raises:
            ConflictError: Somebody changed it since ``expected_revision``.
            InvalidChangeError, NotFoundError, NotPermittedError: As they say; nothing was changed.
        """
        before = await self.get(config_id)
        self._require_of(before, expected_revision)
        said = () if is_rendered else await self._tried(PRODUCTS[before.product], fields.get("payload"))

        def commit() -> tuple[rows.ConfigRow, Draft]:
            return self._author.change(
                config_id, expected_revision=expected_revision, fields=fields, by=self._principal.user,
                now=self._now, allow=self._require_draft, also=also,
                in_force=in_force,
            )  # fmt: skip

        row, draft = await asyncio.to_thread(commit)
        self._tenant.reconciler.nudge()
        return row, self._with_notice(draft, said)

    async def retire(
        self,
        config_id: str,
        *,
        expected_revision: int | None,
        comment: str = "",
        also: Also | None = None,
        again: bool = False,
    ) -> rows.ConfigRow:
        """Take a config away; its values go back everywhere, its history stays.

        Args:
            again: Write a revision though it is retired.

        Raises:
            ConflictError, NotFoundError, NotPermittedError: As they say; nothing was changed.
        """
        seen = await self.get(config_id)
        self._require_of(seen, expected_revision)
        row = await asyncio.to_thread(
            self._author.retire, config_id, expected_revision=seen.revision, by=self._principal.user,
            now=self._now, comment=comment, also=also, again=again,
        )  # fmt: skip
        self._tenant.reconciler.nudge()
        return row

    async def restore(
        self,
        config_id: str,
        revision: int,
        *,
        expected_revision: int,
        comment: str = "",
        expires_at: object = KEPT,
    ) -> tuple[rows.ConfigRow, Draft]:
        """Commit the contents of an earlier revision as a new one, and publish it.

        A retired or expired config is active again then.

        Args:
            expires_at: When its time is over; ``KEPT`` for what that revision said.

        Raises:
            ConflictError: Somebody changed it since ``expected_revision``.
            InvalidChangeError: That revision is in force, it is the one that retired the config, its time is
                over, or what it says would not be taken today.
            NotFoundError, NotPermittedError: As they say; nothing was changed.
        """
        row = await self.get(config_id)
        self._require_of(row, expected_revision)
        old = await asyncio.to_thread(self._author.revision, config_id, revision)
        state = state_of(row.state, row.expires_ms, int(self._now.timestamp() * 1000))
        if old.state == RETIRED:
            raise _not_that_one(f"Revision {revision} retired the config: restore one before it.")
        if revision == row.revision == expected_revision and state == ACTIVE:
            raise _not_that_one(f"Revision {revision} is in force already.")
        fields = {
            "name": old.name,
            "targeting": old.targeting,
            "payload": orjson.loads(old.payload),
            "comment": comment or f"Restored revision {revision}",
            "expires_at": old.expires_ms if expires_at is KEPT else expires_at,
        }
        said = await self._tried(PRODUCTS[row.product], fields["payload"])

        def commit() -> tuple[rows.ConfigRow, Draft]:
            return self._author.change(
                config_id, expected_revision=expected_revision, fields=fields, by=self._principal.user,
                now=self._now, allow=self._require_draft,
                action="config.restored",
            )  # fmt: skip

        restored, draft = await asyncio.to_thread(commit)
        self._tenant.reconciler.nudge()
        return restored, self._with_notice(draft, said)

    async def _tried(self, product: Product, payload: object) -> tuple[Problem, ...]:
        """What the tracers' engine says of a payload that it will load, but does not refuse it for.

        Raises:
            InvalidChangeError: It refuses some of it: in its own words, after ours if there are any.
        """
        if product.name not in OF_THE_FIREWALL or not isinstance(payload, Mapping):
            return ()
        ours = await asyncio.to_thread(product.check, payload)
        try:
            raw = product.render(payload)
        except (TypeError, RecursionError):
            return ()  # ``ours`` says so
        if len(raw) > MAX_PAYLOAD_BYTES:
            return ()
        found = await waf_verdict(self._tenant.waf, product.name, payload, raw=raw)
        if found.problems:
            raise InvalidChangeError(
                f"{found.problems[0].message} Nothing was changed.",
                problems=tuple(_below_payload(problem) for problem in (*ours, *found.problems)),
            )
        return tuple(_below_payload(warning) for warning in found.warnings)

    def _with_notice(self, draft: Draft, said: tuple[Problem, ...]) -> Draft:
        organisation = self._tenant.organisation
        if not (organisation.remote_config and organisation.withdrawing_ms is None):
            said = (*said, Problem("$", SWITCHED_OFF))
        return replace(draft, warnings=(*draft.warnings, *said)) if said else draft

    def _require_of(self, row: rows.ConfigRow, expected_revision: int | None) -> None:
        self._require(PRODUCTS[row.product], Targeting.parse(row.targeting))
        # Attack: it is widened after this look, and changed by somebody who may not change it any more.
        if expected_revision not in (None, row.revision):
            raise moved_on(row, expected_revision or 0)

    def require_write(self, product: Product, targeting: Targeting) -> None:
        """Go on only when what is aimed there is theirs to change.

        Raises:
            NotPermittedError: It is not.
        """
        self._require(product, targeting)

    def _require_draft(self, draft: Draft) -> None:
        self._require(draft.product, draft.targeting, orjson.loads(draft.payload))

    def _require(
        self, product: Product, targeting: Targeting, payload: Mapping[str, Any] | None = None
    ) -> None:
        for permission in self._needed(product, targeting, payload):
            lesser = product.writes_outside_production
            if permission == product.writes and lesser and not self._principal.may(permission):
                self._require_outside_production(permission, lesser)
            self._principal.require_change(permission, services=targeting.service, envs=targeting.env)

    def _require_outside_production(self, permission: str, lesser: str) -> None:
        if self._principal.may(lesser):
            production = ", ".join(self._tenant.organisation.production_envs) or "none"
            raise NotPermittedError(
                f"Your permission {lesser} is for environments that are named and are not production "
                f"({production}); elsewhere this needs {permission}.",
                permission=permission,
            )


def _below_payload(problem: Problem) -> Problem:
    return Problem("$.payload" + problem.path.removeprefix("$"), problem.message)


def _not_that_one(text: str) -> InvalidChangeError:
    return InvalidChangeError(text, problems=(Problem("$.revision", text),))
