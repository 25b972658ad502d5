"""One person's work on the configs of an organisation: may they, does it go, then it is published.

The admin API and the pages both change configs through an ``Editor`` and through nothing else, so that what
a page may do and what the API may do are the same thing. Two questions come before every change: the
permission of the product (``Product.writes``) and, for roles restricted to services and environments,
whether the targeting before and after stays within them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from sealwire.errors import InvalidChangeError, NotFoundError, Problem
from sealwire.products import PRODUCTS, Product, get
from sealwire.server.access.permissions import Principal
from sealwire.server.authoring.author import Draft, moved_on
from sealwire.server.fleet.overview import ClientLine
from sealwire.server.store import rows
from sealwire.server.store.configs import ACTIVE, RETIRED, state_of
from sealwire.server.targeting import Targeting
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
        draft = await asyncio.to_thread(self._author.check, **fields, now=self._now, config_id=config_id)
        return self._with_notice(draft)

    def may_write(self, product: Product, targeting: Targeting) -> bool:
        """Whether a config with this targeting is theirs to make and to change."""
        return all(
            self._principal.may_change(permission, services=targeting.service, envs=targeting.env)
            for permission in (PUBLISH, product.writes)
        )

    # Changing -----------------------------------------------------------------------------------------

    async def create(self, fields: Mapping[str, Any]) -> tuple[rows.ConfigRow, Draft]:
        """Commit a new config and publish it.

        Args:
            fields: ``product``, ``payload``, and any of ``targeting``, ``name``, ``comment``, ``expires_at``.

        Raises:
            InvalidChangeError, NotPermittedError: As they say; nothing was made.
        """
        product = get(str(fields.get("product", "")))
        for permission in (PUBLISH, product.writes):
            self._principal.require(permission)

        def commit() -> tuple[rows.ConfigRow, Draft]:
            draft = self._author.check(**fields, now=self._now)
            self._require(product, draft.targeting)
            return self._author.create(draft, by=self._principal.user, now=self._now), draft

        row, draft = await asyncio.to_thread(commit)
        self._tenant.reconciler.nudge()
        return row, self._with_notice(draft)

    async def change(
        self, config_id: str, fields: Mapping[str, Any], *, expected_revision: int
    ) -> tuple[rows.ConfigRow, Draft]:
        """Commit a new revision and publish it; fields that are not given stay.

        Raises:
            ConflictError: Somebody changed it since ``expected_revision``.
            InvalidChangeError, NotFoundError, NotPermittedError: As they say; nothing was changed.
        """
        self._require_of(await self.get(config_id), expected_revision)

        def commit() -> tuple[rows.ConfigRow, Draft]:
            return self._author.change(
                config_id, expected_revision=expected_revision, fields=fields, by=self._principal.user,
                now=self._now, allow=lambda draft: self._require(draft.product, draft.targeting),
            )  # fmt: skip

        row, draft = await asyncio.to_thread(commit)
        self._tenant.reconciler.nudge()
        return row, self._with_notice(draft)

    async def retire(
        self, config_id: str, *, expected_revision: int | None, comment: str = ""
    ) -> rows.ConfigRow:
        """Take a config away; its values go back everywhere, its history stays.

        Raises:
            ConflictError, NotFoundError, NotPermittedError: As they say; nothing was changed.
        """
        seen = await self.get(config_id)
        self._require_of(seen, expected_revision)
        row = await asyncio.to_thread(
            self._author.retire, config_id, expected_revision=seen.revision, by=self._principal.user,
            now=self._now, comment=comment,
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

        def commit() -> tuple[rows.ConfigRow, Draft]:
            return self._author.change(
                config_id, expected_revision=expected_revision, fields=fields, by=self._principal.user,
                now=self._now, allow=lambda draft: self._require(draft.product, draft.targeting),
                action="config.restored",
            )  # fmt: skip

        restored, draft = await asyncio.to_thread(commit)
        self._tenant.reconciler.nudge()
        return restored, self._with_notice(draft)

    def _with_notice(self, draft: Draft) -> Draft:
        organisation = self._tenant.organisation
        if organisation.remote_config and organisation.withdrawing_ms is None:
            return draft
        return replace(draft, warnings=(*draft.warnings, Problem("$", SWITCHED_OFF)))

    def _require_of(self, row: rows.ConfigRow, expected_revision: int | None) -> None:
        self._require(PRODUCTS[row.product], Targeting.parse(row.targeting))
        # Attack: it is widened after this look, and changed by somebody who may not change it any more.
        if expected_revision not in (None, row.revision):
            raise moved_on(row, expected_revision or 0)

    def _require(self, product: Product, targeting: Targeting) -> None:
        for permission in (PUBLISH, product.writes):
            self._principal.require_change(permission, services=targeting.service, envs=targeting.env)


def _not_that_one(text: str) -> InvalidChangeError:
    return InvalidChangeError(text, problems=(Problem("$.revision", text),))
