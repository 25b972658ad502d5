"""The support matrix in the admin API."""

from __future__ import annotations

from typing import Any

from litestar import get
from litestar.types import ControllerRouterHandler

from sealwire.server import support
from sealwire.server.api.guard import OwnTenant


@get("/support", opt={"permission": "fleet_read"})
async def list_features(tenant: OwnTenant) -> dict[str, Any]:
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


def _cell(feature: support.Feature, language: str, versions: dict[str, int]) -> dict[str, Any]:
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
