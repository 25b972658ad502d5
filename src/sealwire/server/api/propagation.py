"""How long changes take from save to applied, in the admin API."""

from __future__ import annotations

from typing import Annotated, TypedDict

from litestar import get
from litestar.params import FromQuery, QueryParameter
from litestar.types import ControllerRouterHandler

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products import get as get_product
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant
from sealwire.server.authoring.editing import readable_products
from sealwire.server.fleet import pace
from sealwire.server.fleet.explain import FileState
from sealwire.server.fleet.propagation import EDGES_S, Delivery, Step, Tally, Window


class Bucket(TypedDict):
    """How many took at most so long, and longer than the bucket before; null for the last one."""

    up_to_s: float | None
    count: int


class Took(TypedDict):
    """How long a step took.

    Attributes:
        p50_s, p99_s: Quantiles; null when there is nothing to tell.
        buckets: Those with something in them.
    """

    count: int
    p50_s: float | None
    p99_s: float | None
    buckets: list[Bucket]


class ProductSteps(TypedDict):
    """Each step, of one product."""

    product: str
    steps: dict[str, Took]


class DeliverySaid(TypedDict):
    """A delivery.

    Attributes:
        config_id: Null to those who may not read its product.
        path: Of the file on the wire.
        agent: The name of its host.
        began_at: Saved, or the client appeared, if that was later.
        failed: Whether the client said that it could not.
    """

    config_id: str | None
    product: str
    path: str
    client_id: str
    service: str
    env: str
    agent: str
    took_s: float
    began_at: str
    signed_at: str | None
    fetched_at: str | None
    ended_at: str
    failed: bool


class SlowDelivery(DeliverySaid):
    """A delivery that took long.

    Attributes:
        clients: How many took as long for the same reason.
        why: The reason, as a sentence.
    """

    clients: int
    why: str


class WaitingDelivery(TypedDict):
    """A delivery that is on its way.

    Attributes:
        agent: The name of its host.
        age_s: Since it began.
        clients: How many wait for the same reason.
        why: The reason, as a sentence.
    """

    client_id: str
    service: str
    env: str
    agent: str
    age_s: float
    clients: int
    why: str
    file: shapes.File


class PropagationSaid(TypedDict):
    """How long changes take.

    Attributes:
        window: hour, day or week.
        steps: Step, and how long it took.
        all_waiting: How many deliveries are on their way.
    """

    window: str
    steps: dict[str, Took]
    products: list[ProductSteps]
    slowest: list[SlowDelivery]
    waiting: list[WaitingDelivery]
    all_waiting: int


@get("/propagation", opt={"permission": "fleet_read"})
async def show_propagation(
    tenant: OwnTenant,
    principal: Asker,
    window: FromQuery[str] = Window.HOUR.value,
    product: FromQuery[str] = "",
    service: Annotated[str, QueryParameter(max_length=300)] = "",
) -> PropagationSaid:
    """From save to signed, fetched and applied: counts, quantiles, the slowest and what still waits.

    ``window`` is hour, day or week. A bucket is ``{up_to_s, count}``; ``up_to_s`` is null for the last one.
    Ids of configs are told to those who may read their product.
    """
    if window not in list(Window):
        raise InvalidChangeError(
            "window is one of hour, day, week.", problems=(Problem("$.window", "hour, day or week"),)
        )
    if product:
        get_product(product)
    fleet = await tenant.overview.look()
    found = pace.report(tenant, fleet, Window(window), product=product, service=service)
    readable = readable_products(principal)
    return {
        "window": found.window.value,
        "steps": _steps(found.whole),
        "products": [{"product": name, "steps": _steps(tally)} for name, tally in found.products],
        "slowest": [
            {**_delivery(one.delivery, readable), "clients": one.clients, "why": one.why}
            for one in found.slowest
        ],
        "waiting": [
            {
                "client_id": one.line.client_id,
                "service": str(one.line.facts.get("service", "")),
                "env": str(one.line.facts.get("env", "")),
                "agent": one.line.hostname,
                "age_s": round(one.age_s, 1),
                "clients": one.clients,
                "why": one.why,
                "file": _file(one.file, readable),
            }
            for one in found.waiting
        ],
        "all_waiting": found.all_waiting,
    }


def _file(one: FileState, readable: tuple[str, ...]) -> shapes.File:
    file = shapes.file(one)
    if one.product not in readable:
        file["config_ids"], file["provenance"] = [], {}
    return file


def _steps(tally: Tally) -> dict[str, Took]:
    return {
        step.value: {
            "count": tally.total(step),
            "p50_s": _rounded(tally.quantile(step, 0.5)),
            "p99_s": _rounded(tally.quantile(step, 0.99)),
            "buckets": [
                {"up_to_s": EDGES_S[bucket] if bucket < len(EDGES_S) else None, "count": count}
                for bucket, count in sorted(tally.counts.get(step.value, {}).items())
            ],
        }
        for step in Step
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _delivery(one: Delivery, readable: tuple[str, ...]) -> DeliverySaid:
    return {
        "config_id": one.config_id if one.product in readable else None,
        "product": one.product,
        "path": one.path,
        "client_id": one.client_id,
        "service": one.service,
        "env": one.env,
        "agent": one.hostname,
        "took_s": round(one.took_s, 3),
        "began_at": shapes.time(one.began_ms),
        "signed_at": shapes.time_or_none(one.signed_ms),
        "fetched_at": shapes.time_or_none(one.fetched_ms),
        "ended_at": shapes.time(one.ended_ms),
        "failed": one.failed,
    }


HANDLERS: list[ControllerRouterHandler] = [show_propagation]
