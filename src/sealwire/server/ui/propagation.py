"""Propagation: how long changes take from save to signed, fetched and applied, and what was slowest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlencode

from litestar import Request, Response, get
from litestar.response import Stream

from sealwire.products import PRODUCTS
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant
from sealwire.server.authoring.editing import readable_products
from sealwire.server.fleet import pace
from sealwire.server.fleet.overview import Fleet
from sealwire.server.fleet.propagation import Step, Tally, Window
from sealwire.server.tenant import Tenant
from sealwire.server.ui import charts
from sealwire.server.ui.charts import Histogram
from sealwire.server.ui.config_words import title
from sealwire.server.ui.live import Fragments
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import client_href, config_link, dom_id, macro, moment, page
from sealwire.server.ui.views import Link, Moment, Status, Tab, delivery_status

Asked: TypeAlias = Request[Any, Any, Any]
PERMISSION = {"permission": "fleet_read"}
MAX_SERVICES = 200  # offered while typing

_WINDOWS = {Window.HOUR: "Last hour", Window.DAY: "Last day", Window.WEEK: "Last week"}
_STEPS = (
    (Step.SIGNED, "Save to signed", "The control plane checks, merges and signs."),
    (Step.FETCHED, "Signed to fetched", "The agent is given it and verifies it."),
    (Step.APPLIED, "Fetched to applied", "The tracer asks its agent, takes it and says so."),
)
_FAILED = Status("Failed", "bad", "triangle-alert")
_SLOW = Status("Applied", "ok", "circle-check")


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step: how long it takes, and its share of the whole.

    Attributes:
        share: Width out of 100, of the halves within added up.
        x: Where its bar begins.
    """

    label: str
    says: str
    p50: str
    p99: str
    x: float
    share: float


@dataclass(frozen=True, slots=True)
class ProductPace:
    """One product."""

    key: str
    name: str
    title: str
    histogram: Histogram
    failed: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery, ended or not; ``more`` are clients like it."""

    dom_id: str
    status: Status
    took: str
    config: Link
    title: str
    client: Link
    where: str
    more: int
    why: str
    at: Moment


@dataclass(frozen=True, slots=True)
class PropagationPage:
    """The page.

    Attributes:
        started: Deliveries to clients that appeared after the save, counted apart.
        measured_since: When this control plane began to measure, if that is within the window.
        products: What can be chosen; ``services`` likewise.
    """

    tabs: tuple[Tab, ...]
    window_words: str
    window: str
    product: str
    service: str
    choices: tuple[tuple[str, str], ...]
    services: tuple[str, ...]
    histogram: Histogram
    steps: tuple[StepRow, ...]
    failed: int
    started: int
    started_p50: str
    by_product: tuple[ProductPace, ...]
    slowest: tuple[DeliveryRow, ...]
    waiting: tuple[DeliveryRow, ...]
    all_waiting: int
    measured_since: Moment
    live_href: str
    summary: str


@get("/propagation", opt=PERMISSION, include_in_schema=False)
async def show_propagation(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """How long changes take."""
    found = view(tenant, principal, await tenant.overview.glance(), dict(request.query_params))
    return page(
        request, "propagation/propagation.html", title="Propagation", view=found, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@get("/live/propagation", opt=PERMISSION, include_in_schema=False)
async def live_propagation(request: Asked, tenant: OwnTenant, viewers: Watching, principal: Asker) -> Stream:
    """The same, as it changes."""
    query = dict(request.query_params)
    parts = {
        name: macro("propagation/_parts.html", name)
        for name in ("whole", "steps", "products", "waiting", "slowest", "announcement")
    }

    async def screen() -> Fragments:
        found = view(tenant, principal, await tenant.overview.look(), query)
        return {name: part(found) for name, part in parts.items()}

    return await viewers.stream(screen)


def view(tenant: Tenant, principal: Principal, fleet: Fleet, query: Mapping[str, str]) -> PropagationPage:
    """The page for an address; ``query`` is what stands in it."""
    asked = query.get("window", "")
    window = Window(asked) if asked in list(Window) else Window.HOUR
    product = name if (name := query.get("product", "")) in PRODUCTS else ""
    service = query.get("service", "").strip()[:300]
    found = pace.report(tenant, fleet, window, product=product, service=service)
    readable = readable_products(principal)
    kept = {"product": product, "service": service}
    whole = found.whole
    histogram = _histogram(whole, Step.WHOLE)
    began_s = tenant.propagation.began_ms / 1000
    p50 = whole.quantile(Step.STARTED, 0.5)
    return PropagationPage(
        tabs=tuple(
            Tab(label, _href("/propagation", {"window": one.value, **kept}), one is window, -1)
            for one, label in _WINDOWS.items()
        ),
        window_words=_WINDOWS[window].lower(),
        window=window.value,
        product=product,
        service=service,
        choices=tuple((name, one.title) for name, one in PRODUCTS.items()),
        services=found.services[:MAX_SERVICES],
        histogram=histogram,
        steps=_steps(whole),
        failed=whole.total(Step.FAILED),
        started=whole.total(Step.STARTED),
        started_p50="" if p50 is None else words(p50),
        by_product=tuple(
            ProductPace(
                f"product-{number}",
                name,
                title(name),
                _histogram(tally, Step.WHOLE),
                tally.total(Step.FAILED),
            )
            for number, (name, tally) in enumerate(found.products)
            if tally.total(Step.WHOLE) or tally.total(Step.FAILED)
        ),
        slowest=tuple(_slow(tenant, one, readable) for one in found.slowest),
        waiting=tuple(_waiting(tenant, one, readable) for one in found.waiting),
        all_waiting=found.all_waiting,
        measured_since=moment(began_s),
        live_href=_href("/live/propagation", {"window": window.value, **kept}),
        summary=f"{histogram.caption} {found.all_waiting} still on the way.",
    )


def words(seconds: float) -> str:
    """A duration; short ones to the hundredth."""
    return f"{seconds:.2f} s" if seconds < 1 else charts.seconds_words(seconds)


def _href(path: str, parameters: Mapping[str, str]) -> str:
    given = {name: value for name, value in parameters.items() if value and value != Window.HOUR.value}
    return f"{path}?{urlencode(given)}" if given else path


def _histogram(tally: Tally, step: Step) -> Histogram:
    below = [tally.within(step, edge) for edge in charts.EDGES_S]
    counts = [number - before for number, before in zip(below, [0, *below], strict=False)]
    total = tally.total(step)
    return charts.of_counts(
        [*counts, total - below[-1]],
        p50=tally.quantile(step, 0.5),
        p99=tally.quantile(step, 0.99),
        in_time=tally.within(step, charts.TARGET_S),
        nothing="No change was confirmed by a client in this time.",
    )


def _steps(tally: Tally) -> tuple[StepRow, ...]:
    halves = [tally.quantile(step, 0.5) for step, _, _ in _STEPS]
    known = [half for half in halves if half is not None]
    if len(known) < len(_STEPS):
        return ()
    total = sum(known) or 1.0
    found: list[StepRow] = []
    x = 0.0
    for (step, label, says), half in zip(_STEPS, known, strict=True):
        share = max(1.0, 100 * half / total)
        p99 = tally.quantile(step, 0.99) or 0.0
        found.append(StepRow(label, says, words(half), words(p99), round(min(x, 99.0), 1), round(share, 1)))
        x += share
    return tuple(found)


# Deliveries one by one ------------------------------------------------------------------------------------


def _config(tenant: Tenant, product: str, config_id: str, readable: tuple[str, ...]) -> Link:
    """A config by its name, to those who may read its product."""
    if product not in readable:
        return Link("a config")
    item = tenant.publisher.catalogue.active.get(config_id)
    return config_link(config_id, item.row.name if item is not None else "")


def _slow(tenant: Tenant, one: pace.Slow, readable: tuple[str, ...]) -> DeliveryRow:
    delivery = one.delivery
    return DeliveryRow(
        dom_id=dom_id("slow", f"{delivery.client_id} {delivery.path} {delivery.ended_ms}"),
        status=_FAILED if delivery.failed else _SLOW,
        took=words(delivery.took_s),
        config=_config(tenant, delivery.product, delivery.config_id, readable),
        title=title(delivery.product),
        client=Link(delivery.service or delivery.client_id, client_href(delivery.client_id)),
        where=" · ".join(part for part in (delivery.env, delivery.hostname) if part),
        more=one.clients - 1,
        why=one.why,
        at=moment(delivery.ended_ms / 1000),
    )


def _waiting(tenant: Tenant, one: pace.Waiting, readable: tuple[str, ...]) -> DeliveryRow:
    line, file = one.line, one.file
    newest = max(
        file.config_ids,
        key=lambda config_id: (
            item.row.updated_ms
            if (item := tenant.publisher.catalogue.active.get(config_id)) is not None
            else 0
        ),
        default="",
    )
    service, env = str(line.facts.get("service", "")), str(line.facts.get("env", ""))
    return DeliveryRow(
        dom_id=dom_id("waiting", f"{line.client_id} {file.path}"),
        status=delivery_status(file.state),
        took="",
        config=_config(tenant, file.product, newest, readable),
        title=title(file.product),
        client=Link(service or line.client_id, client_href(line.client_id)),
        where=" · ".join(part for part in (env, line.hostname) if part),
        more=one.clients - 1,
        why=one.why,
        at=moment(max(file.saved_ms / 1000, line.first_seen_s)),
    )


HANDLERS = [show_propagation, live_propagation]
