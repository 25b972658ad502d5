"""Configs in the admin API: list, make, change, retire, restore, their history and who has them.

Whatever changes a config goes through ``Editor``, as the pages do; whatever lists them through ``listing``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
import orjson
from litestar import delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products import PRODUCTS
from sealwire.products import get as get_product
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.authoring import holders, listing, meaning, reach
from sealwire.server.authoring.editing import KEPT, READ, Editor
from sealwire.server.fleet.explain import FileState, Verdict
from sealwire.server.fleet.overview import ClientLine
from sealwire.server.fleet.uptake import NOBODY, Uptake
from sealwire.server.store import configs, rows
from sealwire.server.store.configs import STATES
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui.tables import read_place, write_place

_MISSING = msgspec.UNSET
MAX_PAGE = 1000


class NewConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A config to make, or to try."""

    product: str
    payload: Any
    name: str = ""
    targeting: dict[str, Any] = msgspec.field(default_factory=dict)
    comment: str = ""
    expires_at: str | None = None


class TriedConfig(NewConfig, kw_only=True):
    """A config to try; with ``config_id`` as a change of that one."""

    config_id: str | None = None


class ChangedConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of a config: what is not given stays."""

    expected_revision: shapes.RevisionNumber
    payload: Any = _MISSING
    name: str | msgspec.UnsetType = _MISSING
    targeting: dict[str, Any] | msgspec.UnsetType = _MISSING
    comment: str | msgspec.UnsetType = _MISSING
    expires_at: str | msgspec.UnsetType | None = _MISSING


class RestoredConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An earlier revision to put in force again.

    Attributes:
        expires_at: When its time is over; not given: as that revision said; null: never.
    """

    revision: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    expected_revision: shapes.RevisionNumber
    comment: str = ""
    expires_at: str | msgspec.UnsetType | None = _MISSING


class Configs(TypedDict):
    """Configs, a page of them.

    Attributes:
        total: How many there are on all pages.
        next: The after of the following page; null on the last.
    """

    configs: list[shapes.Config]
    total: int
    next: str | None


class SavedConfig(shapes.Config):
    """A config as it was saved just now.

    Attributes:
        warnings: What is worth knowing of it.
    """

    warnings: list[shapes.ProblemAt]


class Change(TypedDict):
    """What a change means.

    Attributes:
        path: JSON path of what changes.
        before, after: Null where there is nothing.
    """

    path: str
    words: str
    before: Any
    after: Any


class Revision(TypedDict):
    """A config as it once became.

    Attributes:
        by: Who made it so.
        changes: What is not as in the revision before, where that was asked for.
    """

    revision: int
    name: str
    targeting: Mapping[str, Any]
    payload: Any
    state: str
    at: str
    by: str
    comment: str
    expires_at: str | None
    changes: NotRequired[list[Change]]


class History(TypedDict):
    """Revisions, newest first."""

    revisions: list[Revision]


class ConfigFile(TypedDict):
    """A published file that a config is in.

    Attributes:
        path: On the wire.
        size: Bytes.
    """

    path: str
    version: int
    sha256: str
    size: int


class ConfigClient(TypedDict):
    """What a config is to a client.

    Attributes:
        agent: The name of its agent's host.
        state: in_step, behind, applying, failed, silent or refused.
        verdict: has, overridden or not_for_it.
        rules: Every condition, met or not.
        wins: JSON paths whose value is this config's, where a product's configs are merged.
        file: What it has of it.
    """

    client_id: str
    service: str
    env: str
    language: str
    tracer_version: str
    app_version: str
    agent: str
    state: str
    verdict: str
    rules: list[shapes.Rule]
    wins: list[str]
    file: shapes.File | None


class ConfigClients(TypedDict):
    """Clients that have a config or have not, a page of them.

    Attributes:
        total: How many there are on all pages.
        files: The config on the wire.
        next: The after of the following page; null on the last.
    """

    total: int
    files: list[ConfigFile]
    clients: list[ConfigClient]
    next: str | None


class Product(TypedDict):
    name: str
    title: str
    summary: str
    merged: bool
    schema: dict[str, Any]


Product.__doc__ = """Something that can be configured.

Attributes:
    merged: Whether clients take one file, made of all configs that are for them.
    schema: The JSON schema of a payload.
"""


class Products(TypedDict):
    """What can be configured."""

    products: list[Product]


class Check(TypedDict):
    """What came of trying a config.

    Attributes:
        problems: Why it could not be saved; nothing else is said then.
        warnings: What is worth knowing of it.
        matches: Live clients that its targeting is for.
        meanings: What it changes.
        reach: Who would get it.
        permitted: Whether whoever asks may save it.
    """

    problems: list[shapes.ProblemAt]
    warnings: list[shapes.ProblemAt]
    matches: int
    meanings: list[Change]
    reach: reach.ReachSaid | None
    permitted: bool | None


# Looking ----------------------------------------------------------------------------------------------


@get("/configs", opt={"permission": "rc_config_read"})
async def list_configs(
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    product: FromQuery[str | None] = None,
    config_state: Annotated[str, QueryParameter(name="state")] = "active",
    q: Annotated[str, QueryParameter(max_length=1000)] = "",
    sort: FromQuery[str] = listing.DEFAULT_SORT,
    limit: Annotated[int | None, QueryParameter(ge=1, le=MAX_PAGE)] = None,
    after: Annotated[str, QueryParameter(max_length=1000)] = "",
) -> Configs:
    """Configs, last changed first unless sorted otherwise.

    ``state`` is active, expired, retired or all: an expired config is not an active one. ``q`` is a filter
    as on the page: ``service:shop delivery:failing by:ann``. Without ``limit`` all are listed; with one,
    ``next`` is the ``after`` of the following page.
    """
    if config_state not in (*STATES, listing.ALL):
        words = "active, expired, retired or all"
        raise InvalidChangeError(f"state is one of {words}.", problems=(Problem("$.state", words),))
    if sort.removeprefix("-") not in configs.SORTS:
        words = f"one of {', '.join(configs.SORTS)}, with a minus in front to turn it around"
        raise InvalidChangeError(f"sort is {words}.", problems=(Problem("$.sort", words),))
    if after and read_place(after, configs.SORTS[sort.removeprefix("-")]) is None:
        raise InvalidChangeError(
            "after is not a place of this list.", problems=(Problem("$.after", "the next of a page before"),)
        )
    if product is not None:
        get_product(product)
    query = {"q": q, "state": config_state, "sort": sort, "after": after, "product": product or ""}
    fleet = await tenant.overview.look(fresh_for_s=0)
    now_ms = plane.now_ms()
    found = await listing.find(
        tenant, plane.database, principal, fleet, query, now_ms=now_ms, limit=limit, payloads=True
    )
    if found.problems:
        raise InvalidChangeError(
            "The filter was not understood.",
            problems=tuple(Problem(f"$.q {problem.path}", problem.message) for problem in found.problems),
        )
    return {
        "configs": [
            shapes.config(line.row, now_ms=now_ms, uptake=found.uptakes.get(line.row.config_id, NOBODY))
            for line in found.lines
        ],
        "total": found.matching,
        "next": None if found.following is None else write_place(found.following),
    }


@get("/configs/{config_id:str}", opt={"permission": "rc_config_read"})
async def get_config(
    config_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane
) -> shapes.Config:
    """One config."""
    row = await Editor(tenant, principal, now=plane.clock()).get(config_id)
    return shapes.config(row, now_ms=plane.now_ms(), uptake=await _uptake(tenant, config_id))


async def _uptake(tenant: Tenant, config_id: str) -> Uptake:
    fleet = await tenant.overview.look(fresh_for_s=0)
    return tenant.uptakes.of(fleet).get(config_id, NOBODY)


@get("/configs/{config_id:str}/history", opt={"permission": "rc_config_read"})
async def config_history(
    config_id: FromPath[str],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    changes: FromQuery[bool] = False,
    limit: Annotated[int | None, QueryParameter(ge=1, le=MAX_PAGE)] = None,
    before: Annotated[int | None, QueryParameter(ge=1, le=2**53)] = None,
) -> History:
    """Every revision, newest first; with ``changes`` what each changed, in words."""
    row = await Editor(tenant, principal, now=plane.clock()).get(config_id)
    wanted = 2**31 if limit is None else limit

    def load() -> list[rows.RevisionRow]:
        with plane.database.read() as c:
            return configs.revisions(
                c, tenant.organisation.org_id, config_id, before=before, limit=wanted + 1
            )

    found = await asyncio.to_thread(load)

    def write() -> list[Revision]:
        written: list[Revision] = []
        for one, older in zip(found[:wanted], [*found[1:], None], strict=False):
            revision = _revision(one)
            if changes:
                revision["changes"] = _changes(row.product, older, one)
            written.append(revision)
        return written

    return {"revisions": await asyncio.to_thread(write)}


def _revision(one: rows.RevisionRow) -> Revision:
    return {
        "revision": one.revision,
        "name": one.name,
        "targeting": one.targeting,
        "payload": orjson.loads(one.payload),
        "state": one.state,
        "at": shapes.time(one.at_ms),
        "by": one.by,
        "comment": one.comment,
        "expires_at": shapes.time_or_none(one.expires_ms),
    }


def _changes(product: str, before: rows.RevisionRow | None, after: rows.RevisionRow) -> list[Change]:
    found = meaning.targeting_changes(
        None if before is None else Targeting.parse(before.targeting), Targeting.parse(after.targeting)
    ) + meaning.changes(
        PRODUCTS[product],
        None if before is None else orjson.loads(before.payload),
        orjson.loads(after.payload),
    )
    return [{"path": one.path, "words": one.words, "before": one.before, "after": one.after} for one in found]


@get("/configs/{config_id:str}/clients", opt={"permission": "fleet_read"})
async def config_clients(
    config_id: FromPath[str],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    has: FromQuery[bool] = True,
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50,
    after: Annotated[str, QueryParameter(max_length=400)] = "",
) -> ConfigClients:
    """Who has a config, or with ``has=false`` who has not, and why: every condition, met or not.

    Clients come by their id; ``next`` is the ``after`` of the following page. ``files`` are the paths on the
    wire that the config is in.
    """
    principal.require(READ)
    row = await Editor(tenant, principal, now=plane.clock()).get(config_id)
    fleet = await tenant.overview.look(fresh_for_s=0)
    lines: list[tuple[ClientLine, FileState | None]] = []
    for line in tenant.uptakes.here(fleet):
        file = next((file for file in line.files if config_id in file.config_ids), None)
        if (file is not None) == has:
            lines.append((line, file))
    lines.sort(key=lambda one: one[0].client_id)
    following = [one for one in lines if one[0].client_id > after] if after else lines
    shown = following[:limit]
    return {
        "total": len(lines),
        "files": [
            {"path": file.path, "version": file.version, "sha256": file.sha256, "size": len(file.raw)}
            for file in holders.published_files(tenant, config_id)
        ],
        "clients": [_client(tenant, row, line, file) for line, file in shown],
        "next": shown[-1][0].client_id if len(following) > limit else None,
    }


def _client(tenant: Tenant, row: rows.ConfigRow, line: ClientLine, file: FileState | None) -> ConfigClient:
    found = holders.why(tenant, row, line)
    verdict = found.verdict
    if file is None and verdict is Verdict.HAS:
        verdict = Verdict.NOT_FOR_IT  # not in force, or not published yet
    return {
        "client_id": line.client_id,
        "service": line.facts.get("service", ""),
        "env": line.facts.get("env", ""),
        "language": line.facts.get("language", ""),
        "tracer_version": line.facts.get("tracer_version", ""),
        "app_version": line.facts.get("app_version", ""),
        "agent": line.hostname,
        "state": line.state.value,
        "verdict": verdict.value,
        "rules": [{"holds": rule.holds, "text": rule.text} for rule in found.rules],
        "wins": list(found.wins),
        "file": None if file is None else shapes.file(file),
    }


@get("/products", opt={"permission": "rc_config_read"})
async def list_products() -> Products:
    """What can be configured, with the JSON schema of each."""
    return {
        "products": [
            {
                "name": product.name,
                "title": product.title,
                "summary": product.summary,
                "merged": product.single_file,
                "schema": product.json_schema(),
            }
            for product in PRODUCTS.values()
        ]
    }


# Changing ---------------------------------------------------------------------------------------------


@post("/configs", opt={"permission": "rc_config_publish"})
async def create_config(
    data: JSONBody[NewConfig], tenant: OwnTenant, principal: Asker, plane: Plane
) -> SavedConfig:
    """Make a config; it is published at once."""
    row, draft = await Editor(tenant, principal, now=plane.clock()).create(msgspec.structs.asdict(data))
    return {**shapes.config(row, now_ms=plane.now_ms()), "warnings": shapes.problems(draft.warnings)}


@post("/configs:check", status_code=200, opt={"permission": "rc_config_read"})
async def check_config(
    data: JSONBody[TriedConfig], tenant: OwnTenant, principal: Asker, plane: Plane
) -> Check:
    """Try a config without making it: its problems, what it means, and who would get it.

    ``matches`` counts the live clients its targeting is for, whatever they ask for; ``reach`` those that
    would really get it, and with ``config_id`` who would gain and who would lose it. Clients are named to
    those who may see the fleet. ``permitted`` says whether the asker may aim a config so far.
    """
    editor = Editor(tenant, principal, now=plane.clock())
    fields = {key: value for key, value in msgspec.structs.asdict(data).items() if key != "config_id"}
    row = None if data.config_id is None else await editor.get(data.config_id)
    if row is not None and row.product != data.product:
        words = f"That config is one of {row.product}."
        raise InvalidChangeError(words, problems=(Problem("$.config_id", words),))
    try:
        draft = await editor.check(fields, config_id=data.config_id)
    except InvalidChangeError as error:
        problems = shapes.problems(error.problems)
        return {
            "problems": problems,
            "warnings": [],
            "matches": 0,
            "meanings": [],
            "reach": None,
            "permitted": None,
        }
    payload = orjson.loads(draft.payload)
    found = await reach.live_reach(
        tenant, draft.product, draft.targeting, payload=payload, config_id=data.config_id
    )
    changes = meaning.targeting_changes(
        None if row is None else Targeting.parse(row.targeting), draft.targeting
    ) + meaning.changes(draft.product, None if row is None else orjson.loads(row.payload), payload)
    return {
        "problems": [],
        "warnings": [
            *shapes.problems(draft.warnings),
            *(
                shapes.ProblemAt(path="$.targeting", message=caution.words)
                for caution in found.cautions
                if caution.kind == "too_old"
            ),
        ],
        "matches": sum(draft.targeting.matches(facts) for facts in await reach.live_clients(tenant)),
        "meanings": [
            {"path": one.path, "words": one.words, "before": one.before, "after": one.after}
            for one in changes
        ],
        "reach": reach.to_dict(found, named=principal.may("fleet_read")),
        "permitted": editor.may_write(draft.product, draft.targeting, payload),
    }


@put("/configs/{config_id:str}", opt={"permission": "rc_config_publish"})
async def change_config(
    config_id: FromPath[str], data: JSONBody[ChangedConfig], tenant: OwnTenant, principal: Asker, plane: Plane
) -> SavedConfig:
    """Change a config; ``expected_revision`` is the one its author saw."""
    fields = {
        name: value
        for name in ("payload", "name", "targeting", "comment", "expires_at")
        if (value := getattr(data, name)) is not _MISSING
    }
    row, draft = await Editor(tenant, principal, now=plane.clock()).change(
        config_id, fields, expected_revision=data.expected_revision
    )
    # Nothing has become of it yet; to look would compete with its publication.
    return {**shapes.config(row, now_ms=plane.now_ms()), "warnings": shapes.problems(draft.warnings)}


@post("/configs/{config_id:str}/restore", status_code=200, opt={"permission": "rc_config_publish"})
async def restore_config(
    config_id: FromPath[str],
    data: JSONBody[RestoredConfig],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> SavedConfig:
    """Put an earlier revision in force again, as a new one; a retired config is active again."""
    row, draft = await Editor(tenant, principal, now=plane.clock()).restore(
        config_id,
        data.revision,
        expected_revision=data.expected_revision,
        comment=data.comment,
        expires_at=KEPT if data.expires_at is _MISSING else data.expires_at,
    )
    return {**shapes.config(row, now_ms=plane.now_ms()), "warnings": shapes.problems(draft.warnings)}


@delete("/configs/{config_id:str}", status_code=200, opt={"permission": "rc_config_publish"})
async def retire_config(
    config_id: FromPath[str],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    expected_revision: Annotated[int | None, QueryParameter(ge=0, le=shapes.MAX_REVISION)] = None,
    comment: FromQuery[str] = "",
) -> shapes.Config:
    """Retire a config: its values go back everywhere; its history stays."""
    row = await Editor(tenant, principal, now=plane.clock()).retire(
        config_id, expected_revision=expected_revision, comment=comment
    )
    return shapes.config(row, now_ms=plane.now_ms())


HANDLERS: list[ControllerRouterHandler] = [
    list_configs, create_config, check_config, get_config, change_config, retire_config, restore_config,
    config_history, config_clients, list_products,
]  # fmt: skip
