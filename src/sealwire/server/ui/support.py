"""The support matrix: what which tracer takes since when, and how many of the fleet do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlencode

from litestar import Request, Response, get
from litestar.response import Stream

from sealwire.products import PRODUCTS
from sealwire.server.api.guard import Asker, OwnTenant
from sealwire.server.fleet import support
from sealwire.server.fleet.overview import Fleet
from sealwire.server.fleet.support import DOCUMENTED, FEATURES, LANGUAGES, SEEN, Feature
from sealwire.server.ui.fleet import href as fleet_href
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import dom_id, macro, page
from sealwire.server.ui.views import Status, Tab

Asked: TypeAlias = Request[Any, Any, Any]

MAX_OLD_VERSIONS = 12  # in the address of those that are too old


@dataclass(frozen=True, slots=True)
class Cell:
    """One feature in one language.

    Attributes:
        version: Since when; empty when it is not there, or nobody knows.
        how: How that is known, as a word and in a sentence.
        meet, of: Clients of the language that take it, and all of them.
        meet_href, old_href: To those clients; None without any.
    """

    language: str
    language_name: str
    status: Status
    version: str
    how: str
    about: str
    note: str
    meet: int
    of: int
    meet_href: str | None
    old_href: str | None


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One feature in every language; ``href`` leads to where it is set, None where it cannot be here."""

    dom_id: str
    title: str
    product: str
    href: str | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class SupportPage:
    """The matrix, all of it or one language."""

    tabs: tuple[Tab, ...]
    languages: tuple[tuple[str, str, int], ...]
    rows: tuple[FeatureRow, ...]
    least_agent: str
    agents: int
    old_agents: int
    agents_href: str
    clients: int
    summary: str
    live_href: str


_HOW = {
    DOCUMENTED: ("documented", "The vendor's documentation names this version."),
    SEEN: ("seen", "The oldest version that was run and took it; nothing older was tried."),
    support.SOURCE: ("in source", "Read in the source of the present release; since when is not known."),
}
_ALL = Status("All take it", "ok", "circle-check")
_SOME = Status("Some are older", "wait", "triangle-alert")
_THERE = Status("Supported", "info", "check")
_ABSENT = Status("Not there", "mute", "minus")


@get("/support", opt={"permission": "fleet_read"}, include_in_schema=False)
async def show_support(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """What which tracer takes."""
    view = _view(await tenant.overview.glance(), request.query_params.get("language", ""))
    return page(
        request, "support/support.html", title="Support matrix", view=view, principal=principal, tenant=tenant
    )


@get("/live/support", opt={"permission": "fleet_read"}, include_in_schema=False)
async def live_support(request: Asked, tenant: OwnTenant, viewers: Watching) -> Stream:
    """How many of the fleet take what, as it changes."""
    language = request.query_params.get("language", "")
    row = macro("support/_parts.html", "row")
    parts = {
        name: macro("support/_parts.html", name)
        for name in ("about", "tabs", "agents", "head", "announcement")
    }

    async def screen() -> Fragments:
        view = _view(await tenant.overview.look(), language)
        rows = {one.dom_id: row(one) for one in view.rows}
        body = Rows('<tbody id="rows" role="rowgroup">', rows, "</tbody>")
        return {"rows": body, **{name: part(view) for name, part in parts.items()}}

    return await viewers.stream(screen)


HANDLERS = [show_support, live_support]


def _view(fleet: Fleet, language: str) -> SupportPage:
    by_language = support.versions_of(line.facts for line in fleet.clients)
    shown = [language] if language in LANGUAGES else list(LANGUAGES)
    counts = {name: sum(versions.values()) for name, versions in by_language.items()}
    tabs = (
        Tab("All", "/support", len(shown) > 1, len(fleet.clients)),
        *(
            Tab(title, f"/support?language={name}", shown == [name], counts[name])
            for name, title in LANGUAGES.items()
        ),
    )
    old_agents = sorted(
        {
            line.version
            for line in fleet.agents
            if line.version.startswith(("6.", "7.")) and support.is_older(line.version, support.LEAST_AGENT)
        }
    )
    return SupportPage(
        tabs=tabs,
        languages=tuple((name, LANGUAGES[name], counts[name]) for name in shown),
        rows=tuple(
            FeatureRow(
                dom_id("feature", feature.title),
                feature.title,
                feature.product,
                f"/configs?q=product:{feature.product}" if feature.product in PRODUCTS else None,
                tuple(_cell(feature, name, by_language[name]) for name in shown),
            )
            for feature in FEATURES
            if len(shown) > 1 or language in feature.minimum
        ),
        least_agent=support.LEAST_AGENT,
        agents=len(fleet.agents),
        old_agents=sum(line.version in old_agents for line in fleet.agents),
        agents_href=fleet_href(tab="agents", q=f"version:{','.join(old_agents)}" if old_agents else ""),
        clients=len(fleet.clients),
        summary=f"Clients that are counted: {len(fleet.clients)}.",
        live_href="/live/support" + (f"?{urlencode({'language': language})}" if len(shown) == 1 else ""),
    )


def _cell(feature: Feature, language: str, versions: Mapping[str, int]) -> Cell:
    name = LANGUAGES[language]
    minimum = feature.minimum.get(language)
    if minimum is None:
        total = sum(versions.values())
        return Cell(language, name, _ABSENT, "", "", f"{name} does not have this.", "", 0, total, None, None)
    count = support.tally(feature, language, versions)
    how, about = _HOW[minimum.source]
    listed = [version for version in count.old if version][:MAX_OLD_VERSIONS]
    return Cell(
        language=language,
        language_name=name,
        status=_THERE if not count.of else _SOME if count.old else _ALL,
        version=minimum.version,
        how=how,
        about=about,
        note=minimum.note,
        meet=count.meet,
        of=count.of,
        meet_href=fleet_href(q=f"language:{language}") if count.of else None,
        old_href=fleet_href(q=f"language:{language} library:{','.join(listed)}") if listed else None,
    )
