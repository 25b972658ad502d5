"""A policy of the in-app firewall: what a target is told besides whom to refuse.

Passlist, modes, custom rules, block page and rule set are each written into configs of their own, one per
target where nothing speaks against it. A change is a ``Plan``: made of what is there, shown before it is
done, and done through the ``Editor``. The plan carries the revision it was made of, so that nobody undoes
another's work unseen.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import orjson

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.products import PRODUCTS
from sealwire.server.access import Principal
from sealwire.server.authoring import meaning
from sealwire.server.authoring.editing import Editor
from sealwire.server.authoring.reach import Reach, live_reach
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import configs, read, rows
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant

ASM, RULESET = "ASM", "ASM_DD"
PASSLIST, MODES, CUSTOM_RULES, BLOCK_PAGE, RULE_SET = (
    "passlist", "modes", "custom rule", "block page", "rule set",
)  # fmt: skip
ALL_OF_IT = "the whole organisation"
MAX_HISTORY = 500  # revisions that are looked through for who put something there


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A change of one config that was not made yet.

    Attributes:
        row: The config it changes; None for a new one.
        payload: None: the config is retired.
        expires_at: Of a new config: when it ends by itself, ISO 8601.
        sentence: What it does, for people, in the past tense.
    """

    product: str
    name: str
    target: Targeting
    row: rows.ConfigRow | None
    payload: Mapping[str, Any] | None
    comment: str = ""
    expires_at: str | None = None
    sentence: str = ""

    @property
    def digest(self) -> str:
        """The same for the same change of the same thing: what was shown is what is done."""
        said = [
            self.product, self.name, self.target.to_dict(), self.payload, self.comment, self.expires_at,
            None if self.row is None else (self.row.config_id, self.row.revision),
        ]  # fmt: skip
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def is_idle(self) -> bool:
        """Whether it changes nothing."""
        if self.row is None:
            return self.payload is None
        return self.payload is not None and dict(self.payload) == payload_of(self.row)


#: Makes the plan anew, of what is there by then.
Make: TypeAlias = Callable[[], Awaitable[Plan]]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a plan would do.

    Attributes:
        changes: In words.
        reach: Who gets it; of one that is retired, who loses it.
        warnings: What is worth knowing, the engine's words among it.
    """

    plan: Plan
    changes: tuple[meaning.Change, ...]
    reach: Reach
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """What a change came to: the config as it is now, and what was done."""

    row: rows.ConfigRow
    sentence: str
    warnings: tuple[Problem, ...] = ()


class Policies:
    """What ``principal`` does to the policies of ``tenant``, at the moment ``now``."""

    def __init__(self, plane: ControlPlane, tenant: Tenant, principal: Principal) -> None:
        self.plane = plane
        self.tenant = tenant
        self.principal = principal
        self.now: datetime = plane.clock()
        self.editor = Editor(tenant, principal, now=self.now)

    async def active(self, product: str = ASM) -> list[rows.ConfigRow]:
        """The configs of a product that are in force, the oldest first."""
        return await asyncio.to_thread(active, self.plane, self.tenant, product)

    async def own(self, name: str, target: Targeting, product: str = ASM) -> rows.ConfigRow | None:
        """The config of that name for exactly that target; the oldest, should there be several."""
        return exactly(await self.active(product), name, target)

    async def one(self, config_id: str, product: str = ASM) -> rows.ConfigRow:
        """One config of a product that is in force.

        Raises:
            NotFoundError: There is none.
        """
        row = next((row for row in await self.active(product) if row.config_id == config_id), None)
        if row is None:
            raise NotFoundError(f"There is no such config of {product} in force: {config_id[:40]}.")
        return row

    async def preview(self, plan: Plan) -> Preview:
        """What a plan would do.

        Raises:
            InvalidChangeError: It would not be taken, every problem at its JSON path.
            NotPermittedError: It is not theirs to do.
        """
        product = PRODUCTS[plan.product]
        before = None if plan.row is None else payload_of(plan.row)
        config_id = None if plan.row is None else plan.row.config_id
        warnings: tuple[Problem, ...] = ()
        if not self.editor.may_write(product, plan.target):
            self.principal.require_change(product.writes, services=plan.target.service, envs=plan.target.env)
            self.principal.require_change(
                "rc_config_publish", services=plan.target.service, envs=plan.target.env
            )
        if plan.payload is not None:
            draft = await self.editor.check(
                {
                    "product": plan.product, "name": plan.name, "targeting": plan.target.to_dict(),
                    "payload": plan.payload, "comment": plan.comment, "expires_at": plan.expires_at,
                },
                config_id=config_id,
            )  # fmt: skip
            warnings = draft.warnings
        found = await live_reach(self.tenant, product, plan.target, payload=plan.payload, config_id=config_id)
        changes = await asyncio.to_thread(meaning.changes, product, before, plan.payload)
        return Preview(plan, changes, found, warnings)

    async def commit(self, plan: Plan) -> Done:
        """Do it.

        Raises:
            ConflictError: Somebody changed that config since the plan was made.
            InvalidChangeError, NotPermittedError: As they say; nothing was changed.
        """
        if plan.payload is None:
            if plan.row is None:
                raise NotFoundError("There is nothing to take back.")
            row = await self.editor.retire(
                plan.row.config_id, expected_revision=plan.row.revision, comment=plan.comment
            )
            return Done(row, plan.sentence)
        if plan.row is not None:
            fields = {"payload": dict(plan.payload), "comment": plan.comment}
            if plan.target != Targeting.parse(plan.row.targeting):
                fields["targeting"] = plan.target.to_dict()
            if plan.name != plan.row.name:
                fields["name"] = plan.name
            row, draft = await self.editor.change(
                plan.row.config_id, fields, expected_revision=plan.row.revision
            )
            return Done(row, plan.sentence, draft.warnings)
        row, draft = await self.editor.create(
            {
                "product": plan.product, "name": plan.name, "targeting": plan.target.to_dict(),
                "payload": dict(plan.payload), "comment": plan.comment, "expires_at": plan.expires_at,
            }
        )  # fmt: skip
        return Done(row, plan.sentence, draft.warnings)

    async def until_nobody_interferes(self, make: Make) -> Done:
        """Plan and commit, again on what others left, should they be faster."""
        for _ in range(4):
            try:
                return await self.commit(await make())
            except ConflictError:
                continue
        return await self.commit(await make())


def active(plane: ControlPlane, tenant: Tenant, product: str) -> list[rows.ConfigRow]:
    """The configs of a product that are in force, from the database (blocking)."""
    now_ms = plane.now_ms()
    with plane.database.read() as c:
        found = read.configs(c, tenant.organisation.org_id, product=product, state="active")
    kept = [row for row in found if row.expires_ms is None or row.expires_ms > now_ms]
    return sorted(kept, key=lambda row: (row.created_ms, row.config_id))


def payload_of(row: rows.ConfigRow | rows.RevisionRow) -> dict[str, Any]:
    """What a config says."""
    payload: dict[str, Any] = orjson.loads(row.payload)
    return payload


def array(payload: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list of a payload."""
    listed = payload.get(name)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def with_array(
    payload: Mapping[str, Any], name: str, elements: Iterable[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The payload with another list; None where nothing is left of it."""
    kept = {key: value for key, value in payload.items() if key != name}
    listed = [dict(one) for one in elements]
    if listed:
        kept[name] = listed
    says_something = any(value for key, value in kept.items() if key != "version")
    return kept if says_something else None


def exactly(listed: Iterable[rows.ConfigRow], name: str, target: Targeting) -> rows.ConfigRow | None:
    """The first config of that name for exactly that target."""
    wanted = _normal(target)
    return next(
        (row for row in listed if row.name == name and _normal(Targeting.parse(row.targeting)) == wanted),
        None,
    )


def _normal(target: Targeting) -> dict[str, object]:
    return {
        name: frozenset(
            str(one).casefold() if name in ("service", "env", "language") else str(one) for one in value
        )
        if isinstance(value, list)
        else value
        for name, value in target.to_dict().items()
    }  # fmt: skip


def where(target: Targeting) -> str:
    """``the whole organisation``, or ``service shop, env prod``."""
    parts = [
        f"{name.replace('_', ' ')} {' or '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in target.to_dict().items()
    ]
    return ", ".join(parts) or ALL_OF_IT


def wrong(path: str, message: str) -> InvalidChangeError:
    """An author's mistake at one place."""
    return InvalidChangeError(message, problems=(Problem(path, message),))


@dataclass(frozen=True, slots=True)
class Origin:
    """Who put something into a config, when and why."""

    by: str
    at_ms: int
    reason: str


def origins(plane: ControlPlane, tenant: Tenant, row: rows.ConfigRow, name: str) -> dict[str, Origin]:
    """Who put each element of a list there, by its id: since when it stands unbroken (blocking)."""
    with plane.database.read() as c:
        found = configs.revisions(c, tenant.organisation.org_id, row.config_id, limit=MAX_HISTORY)
    known: dict[str, Origin] = {}
    before: dict[str, str] = {}
    for one in reversed(found):
        now = {} if one.state != configs.ACTIVE else {
            str(element.get("id", "")): orjson.dumps(element, option=orjson.OPT_SORT_KEYS).decode()
            for element in array(payload_of(one), name)
        }  # fmt: skip
        known = {
            key: known[key] if before.get(key) == text else Origin(one.by, one.at_ms, one.comment)
            for key, text in now.items()
        }
        before = now
    return known
