"""Where Dynamic Instrumentation runs: each service of the fleet in each environment, and what switches it.

Pure decisions over what clients say of themselves. A tracer that asks for probes runs it; one that says it
takes the order can be switched from here; any other needs its own environment and a restart. Invariants:
nothing is claimed of a client that it did not say; one service is one row, however many clients it has.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from sealwire.products import wording
from sealwire.server.debugger.authoring.desk import Switched
from sealwire.server.fleet.effective import REMOTE, InForce
from sealwire.server.fleet.overview import ClientLine
from sealwire.server.fleet.support import FEATURES, LANGUAGES, takes
from sealwire.wire.capabilities import Capability

PROBES: Final = "LIVE_DEBUGGING"
SYMBOLS: Final = "LIVE_DEBUGGING_SYMBOL_DB"
VARIABLE: Final = "DD_DYNAMIC_INSTRUMENTATION_ENABLED"
_SETTING: Final = VARIABLE.removeprefix("DD_")
SYMBOLS_VARIABLE: Final = "DD_SYMBOL_DATABASE_UPLOAD_ENABLED"
_TAKES_ORDERS: Final = int(Capability.APM_TRACING_ENABLE_DYNAMIC_INSTRUMENTATION)

#: Tracers that upload symbols at all.
SENDS_SYMBOLS: Final = frozenset({"python", "java", "dotnet", "go"})


class Running(enum.StrEnum):
    """Whether a service takes probes."""

    ON = "on"
    PARTLY = "partly"
    COMING = "coming"  # it was told to, and no client asks for probes yet
    OFF = "off"
    UNABLE = "unable"  # no client can be switched from here


@dataclass(slots=True)
class Service:
    """One service in one environment.

    Attributes:
        clients: Tracers that are here.
        tracers: Language and version -> how many.
        running: Clients that ask for probes.
        switchable: Clients that take the order to from here.
        stuck: Language -> clients that neither run it nor take the order.
        symbols: Clients that send symbols when told to.
        sample: A client to look at the settings of: one that does not run it before one that does.
        switched: What configs say of it.
    """

    service: str
    env: str
    clients: int = 0
    tracers: Counter[tuple[str, str]] = field(default_factory=Counter)
    running: int = 0
    switchable: int = 0
    stuck: Counter[str] = field(default_factory=Counter)
    symbols: int = 0
    sample: ClientLine | None = None
    switched: Switched = field(default_factory=lambda: Switched(None, False, ()))

    @property
    def state(self) -> Running:
        """Whether it takes probes."""
        if self.running == self.clients:
            return Running.ON
        if self.running:
            return Running.PARTLY
        if self.switched.dynamic_instrumentation and self.switchable:
            return Running.COMING
        return Running.OFF if self.switchable else Running.UNABLE

    @property
    def languages(self) -> tuple[str, ...]:
        """Of its tracers, the most used first."""
        counts: Counter[str] = Counter()
        for (language, _), count in self.tracers.items():
            counts[language] += count
        return tuple(language for language, _ in counts.most_common())


def services(
    clients: Iterable[ClientLine],
    switches: Callable[[str, str], Switched],
    capabilities: Callable[[ClientLine], Collection[int]],
) -> list[Service]:
    """Every service of these clients, in each of its environments.

    Args:
        switches: What configs say of a service in an environment.
        capabilities: Of a client; none where they are not known now.
    """
    found: dict[tuple[str, str], Service] = {}
    takers: dict[tuple[str, str], bool] = {}
    for line in clients:
        facts = line.facts
        where = str(facts.get("service", "")), str(facts.get("env", ""))
        service = found.get(where)
        if service is None:
            service = found[where] = Service(*where, switched=switches(*where))
        products = facts.get("products", ())
        language = str(facts.get("language", ""))
        runs = PROBES in products
        tracer = language, str(facts.get("tracer_version", ""))
        if tracer not in takers:
            takers[tracer] = _takes_orders(tracer, capabilities(line))
        takes_orders = takers[tracer]
        service.clients += 1
        service.tracers[tracer] += 1
        service.running += runs
        service.switchable += takes_orders
        service.symbols += SYMBOLS in products
        if not runs and not takes_orders:
            service.stuck[language] += 1
        if service.sample is None or (not runs and PROBES in service.sample.facts.get("products", ())):
            service.sample = line
    return sorted(found.values(), key=attrgetter("service", "env"))


def _takes_orders(tracer: tuple[str, str], capabilities: Collection[int]) -> bool:
    """Whether a tracer can be switched: by what it says, or else by what its version is known to do."""
    if capabilities:
        return _TAKES_ORDERS in capabilities
    minimum = next(one.minimum for one in FEATURES if one.name == "apm_probes").get(tracer[0])
    return takes(minimum, tracer[1])


def by_what(service: Service, settings: Sequence[InForce] | None) -> str:
    """What decides it, as a sentence.

    Args:
        settings: Of the sample client by its own telemetry; None where it told of none.
    """
    told = service.switched.dynamic_instrumentation
    own = next((one for one in settings or () if one.name.removeprefix("DD_").upper() == _SETTING), None)
    if told is not None:
        said = "Switched on here." if told else "Switched off here."
        if told and own is not None and own.origin != REMOTE and _is_false(own.value) and own.is_chosen:
            return f"{said} {VARIABLE}=false of its own environment wins: take that away and restart it."
        return said
    if own is not None and own.is_chosen and own.origin != REMOTE:
        return f"Its own environment: {VARIABLE}={(own.value or '').lower()[:20]}."
    if service.running:
        return "Its own environment or code."
    return "Nothing was said: it is off by itself."


def _is_false(value: str | None) -> bool:
    return (value or "").strip().lower() in ("false", "0")


def needs(service: Service) -> tuple[str, ...]:
    """What somebody must do at the applications that cannot be switched from here, as sentences."""
    return tuple(
        f"{wording.counted(count, LANGUAGES.get(language, language) + ' tracer')} cannot be "
        f"switched from here: set {VARIABLE}=true in the environment of the application and restart it."
        for language, count in service.stuck.most_common()
    )
