"""What several pages say of a config: its state, who it is for, how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sealwire.errors import InvalidChangeError
from sealwire.products import PRODUCTS, wording
from sealwire.server.access import Principal
from sealwire.server.authoring.author import describe
from sealwire.server.authoring.editing import PUBLISH
from sealwire.server.fleet.uptake import Uptake
from sealwire.server.store.configs import ACTIVE, EXPIRED, RETIRED
from sealwire.server.targeting import Targeting
from sealwire.server.ui.views import Status

STATES: Mapping[str, Status] = {
    ACTIVE: Status("Active", "ok", "circle-check"),
    EXPIRED: Status("Expired", "mute", "calendar-clock"),
    RETIRED: Status("Retired", "mute", "circle-x"),
}
_LEAST_SEEN = 4.0  # of a bar's 100: one that failed among thousands is still to be seen


@dataclass(frozen=True, slots=True)
class Bar:
    """How far a config has come, as a picture and in words.

    Attributes:
        acknowledged, failed: Widths out of 100.
        words: Both in a sentence.
    """

    acknowledged: float
    failed: float
    of: Uptake
    words: str


def bar(uptake: Uptake) -> Bar:
    """How far a config has come."""
    if not uptake.wanted:
        return Bar(0, 0, uptake, "No client that is here shall have it")
    failed = max(_LEAST_SEEN, 100 * uptake.failed / uptake.wanted) if uptake.failed else 0.0
    acknowledged = min(100.0 - failed, 100 * uptake.acknowledged / uptake.wanted)
    words = f"{uptake.acknowledged} of {wording.counted(uptake.wanted, 'client')} confirmed it"
    if uptake.failed:
        words += f", {uptake.failed} did not take it"
    return Bar(round(acknowledged, 1), round(failed, 1), uptake, words)


def parsed(targeting: Mapping[str, Any]) -> Targeting:
    """A stored targeting; one that today's program does not understand says nothing."""
    try:
        return Targeting.parse(targeting)
    except InvalidChangeError:
        return Targeting()


def targeting_words(targeting: Mapping[str, Any]) -> str:
    """Who a config is for, in words."""
    return describe(parsed(targeting))


def title(product: str) -> str:
    """What people call a product."""
    return PRODUCTS[product].title if product in PRODUCTS else product


def size_words(size: int) -> str:
    """A size as people read it."""
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def pretty(document: object) -> str:
    """JSON for people to read."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()


def writable_products(principal: Principal) -> tuple[str, ...]:
    """Products of which somebody may make configs, be it for some services only."""
    if not principal.may(PUBLISH):
        return ()
    return tuple(name for name, product in PRODUCTS.items() if principal.may(product.writes))
