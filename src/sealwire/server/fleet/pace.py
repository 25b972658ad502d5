"""How fast changes arrive, put together for people: each step, each product, what was slowest and why.

The page and the admin API both show this one report. What is still on its way is part of it: a delivery that
takes long is missing among those that came to their end.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sealwire.server.fleet.explain import DeliveryState, FileState
from sealwire.server.fleet.overview import ClientLine, Fleet
from sealwire.server.fleet.propagation import Delivery, Key, Step, Tally, Window
from sealwire.server.tenant import Tenant

SLOWEST = 10  # changes, each with the client that took longest
WAITING = 10
LONG_S = 5.0  # a delivery that is younger than this is simply on its way


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that clients shall have and have not confirmed, all for the same reason.

    Attributes:
        line, file: Of the one that waits longest.
        age_s: Since it was saved, or since the client appeared.
        clients: How many there are.
    """

    line: ClientLine
    file: FileState
    age_s: float
    why: str
    clients: int


@dataclass(frozen=True, slots=True)
class Slow:
    """A change that took long to arrive.

    Attributes:
        delivery: To the client that it took longest to.
        why: What took so long.
        clients: How many it arrived in, within the window.
    """

    delivery: Delivery
    why: str
    clients: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured.

    Attributes:
        whole: All products and services that were asked for, together.
        products: By product, those with the most deliveries first.
        services: Every service in the window, whatever was asked for.
        all_waiting: How many clients' files wait, those that are not listed included.
    """

    window: Window
    whole: Tally
    products: tuple[tuple[str, Tally], ...]
    services: tuple[str, ...]
    slowest: tuple[Slow, ...]
    waiting: tuple[Waiting, ...]
    all_waiting: int


def report(tenant: Tenant, fleet: Fleet, window: Window, *, product: str = "", service: str = "") -> Report:
    """What was measured over a window that ends now.

    Args:
        product, service: Only of these; empty for all.
    """

    def asked(key: Key) -> bool:
        return product in ("", key[0]) and service.casefold() in ("", key[1].casefold())

    tallies = tenant.propagation.tallies(window)
    whole, products = _together({key: tally for key, tally in tallies.items() if asked(key)})
    changes: dict[tuple[str, int], list[Delivery]] = {}
    for one in tenant.propagation.deliveries(window):
        if not one.is_start and asked((one.product, one.service)):
            changes.setdefault((one.config_id, one.began_ms), []).append(one)
    slowest = heapq.nlargest(
        SLOWEST,
        ((max(some, key=lambda one: one.ended_ms), len(some)) for some in changes.values()),
        key=lambda found: found[0].took_s,
    )
    waiting: dict[tuple[object, ...], list[Waiting]] = {}
    for late in _waiting(tenant, fleet):
        if asked((late.file.product, _service(late.line))):
            waiting.setdefault((late.file.config_ids, late.file.state, late.why), []).append(late)
    longest = [replace(max(some, key=lambda one: one.age_s), clients=len(some)) for some in waiting.values()]
    longest.sort(key=lambda one: -one.age_s)
    return Report(
        window=window,
        whole=whole,
        products=products,
        services=tuple(sorted({key[1] for key in tallies if key[1]})),
        slowest=tuple(Slow(one, why_slow(one), clients) for one, clients in slowest),
        waiting=tuple(longest[:WAITING]),
        all_waiting=sum(one.clients for one in longest),
    )


def _together(tallies: Mapping[Key, Tally]) -> tuple[Tally, tuple[tuple[str, Tally], ...]]:
    whole = Tally()
    products: dict[str, Tally] = {}
    for (product, _), tally in tallies.items():
        whole.merge(tally.counts)
        products.setdefault(product, Tally()).merge(tally.counts)
    ordered = sorted(products.items(), key=lambda item: (-item[1].total(Step.WHOLE), item[0]))
    return whole, tuple(ordered)


def _service(line: ClientLine) -> str:
    return str(line.facts.get("service", ""))


def _waiting(tenant: Tenant, fleet: Fleet) -> Iterator[Waiting]:
    for line in tenant.uptakes.here(fleet):
        if line.in_step + line.failed == len(line.files):
            continue
        for file in line.files:
            if file.state not in (DeliveryState.BEHIND, DeliveryState.APPLYING):
                continue
            age_s = fleet.at_s - max(file.saved_ms / 1000, line.first_seen_s)
            if age_s >= LONG_S:
                yield Waiting(line, file, age_s, _why_waiting(line, file), 1)


def _why_waiting(line: ClientLine, file: FileState) -> str:
    if file.state is DeliveryState.APPLYING:
        return "The client has it and has not said yet whether it could apply it."
    if line.standing.detail and not line.waiting:
        return f"Its agent: {line.standing.detail}."
    if file.reported_version is None:
        return "Its agent is connected; the client has not asked for it yet."
    return f"Its agent is connected; the client still has version {file.reported_version}."


def why_slow(delivery: Delivery) -> str:
    """What took the most of a delivery's time, as a sentence."""
    if delivery.failed:
        return "The client did not take it."
    steps = dict(delivery.steps())
    del steps[Step.WHOLE]
    if not steps:
        return "Its steps are not known: it was given out before this control plane was started."
    step = max(steps, key=lambda one: steps[one])
    took = f"{steps[step]:.1f} s"
    if step is Step.SIGNED:
        return f"It was signed {took} after the save: its agent was not here, or signing was busy."
    if step is Step.FETCHED:
        if delivery.is_waiting_agent:
            return f"Its agent was given it {took} after it was ready: it was not connected in between."
        return f"Its agent was given it {took} after it was ready: it asks at its interval and holds no poll."
    return f"The client confirmed it {took} after its agent had it: tracers ask at their own interval."
