"""The support matrix in the admin API."""

from __future__ import annotations

from typing import TypedDict

from litestar import get
from litestar.types import ControllerRouterHandler

from sealwire.server.api.guard import OwnTenant
from sealwire.server.fleet import support


class Cell(TypedDict):
    """A feature in a language.

    Attributes:
        since: The oldest version that takes it; null where that is not known.
        source: How it is known.
        clients: How many of that language are here.
        take_it: How many of them are new enough.
        older: Versions that are here and too old.
    """

    since: str | None
    source: str
    note: str
    clients: int
    take_it: int
    older: list[str]


class FeatureSaid(TypedDict):
    """Something that can be switched on.

    Attributes:
        members: JSON paths of a payload that need it; none: the whole product does.
        languages: By their short names; one that is not there does not have it.
    """

    name: str
    title: str
    product: str
    members: list[str]
    languages: dict[str, Cell]


class SupportMatrix(TypedDict):
    """What which tracer takes.

    Attributes:
        least_agent: The oldest agent that does.
        languages: Short name and title.
    """

    least_agent: str
    languages: dict[str, str]
    features: list[FeatureSaid]


@get("/support", opt={"permission": "fleet_read"})
async def list_features(tenant: OwnTenant) -> SupportMatrix:
    """What which tracer takes since which version, how that is known, and how many clients do."""
    fleet = await tenant.overview.glance()
    versions = support.versions_of(line.facts for line in fleet.clients)
    return {
        "least_agent": support.LEAST_AGENT,
        "languages": dict(support.LANGUAGES),
        "features": [
            {
                "name": feature.name,
                "title": feature.title,
                "product": feature.product,
                "members": [".".join(("$", *member)) for member in feature.members],
                "languages": {
                    language: _cell(feature, language, versions[language]) for language in feature.minimum
                },
            }
            for feature in support.FEATURES
        ],
    }


def _cell(feature: support.Feature, language: str, versions: dict[str, int]) -> Cell:
    minimum = feature.minimum[language]
    count = support.tally(feature, language, versions)
    return {
        "since": minimum.version or None,
        "source": minimum.source,
        "note": minimum.note,
        "clients": count.of,
        "take_it": count.meet,
        "older": list(count.old),
    }


HANDLERS: list[ControllerRouterHandler] = [list_features]
