"""What state a client is in, and why. Pure decisions over what is wanted and what was reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sealwire.products import PRODUCTS, ClientFacts
from sealwire.server.store import rows
from sealwire.server.targeting import Targeting
from sealwire.wire.codec import ApplyState

SILENT_AFTER_S = 120.0


class DeliveryState(StrEnum):
    """The six words for a config in a client; the same everywhere."""

    IN_STEP = "in_step"
    BEHIND = "behind"
    APPLYING = "applying"
    FAILED = "failed"
    SILENT = "silent"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class FileState:
    """One file in one client.

    Attributes:
        saved_ms: When its newest source was saved.
        acknowledged_ms: When the client said that it has it.
        took_s: From save, or from the client's appearing if that was later, to acknowledged.
        provenance: JSON path of a value -> the config it came from; empty for a file made of one config.
    """

    path: str
    product: str
    config_ids: tuple[str, ...]
    version: int
    reported_version: int | None
    state: DeliveryState
    error: str
    since_ms: int | None
    saved_ms: int
    acknowledged_ms: int | None
    took_s: float | None
    provenance: Mapping[str, str]


def file_state(
    file: rows.FileRow,
    delivery: rows.DeliveryRow | None,
    *,
    saved_ms: int,
    first_seen_ms: int,
) -> FileState:
    """What became of a wanted file in a client."""
    state = DeliveryState.BEHIND
    error = ""
    acknowledged_ms = None
    if delivery is not None and delivery.version == file.version:
        if delivery.apply_state == ApplyState.ACKNOWLEDGED:
            state, acknowledged_ms = DeliveryState.IN_STEP, delivery.since_ms
        elif delivery.apply_state == ApplyState.ERROR:
            state, error = DeliveryState.FAILED, delivery.apply_error
        else:
            state = DeliveryState.APPLYING
    took_s = None
    if acknowledged_ms is not None:
        took_s = max(0.0, (acknowledged_ms - max(saved_ms, first_seen_ms)) / 1000)
    return FileState(
        path=file.path,
        product=file.path.split("/")[2],
        config_ids=tuple(sorted(file.sources)),
        version=file.version,
        reported_version=None if delivery is None else delivery.version,
        state=state,
        error=error,
        since_ms=None if delivery is None else delivery.since_ms,
        saved_ms=saved_ms,
        acknowledged_ms=acknowledged_ms,
        took_s=took_s,
        provenance=file.provenance,
    )


def client_state(files: Sequence[FileState], *, age_s: float, agent_error: str) -> DeliveryState:
    """The one word for a client: the worst of its files, unless nobody hears of it."""
    if age_s > SILENT_AFTER_S:
        return DeliveryState.SILENT
    if agent_error.startswith("tuf:"):
        return DeliveryState.REFUSED
    states = {file.state for file in files}
    for state in (DeliveryState.FAILED, DeliveryState.BEHIND, DeliveryState.APPLYING):
        if state in states:
            return state
    return DeliveryState.IN_STEP


class Verdict(StrEnum):
    """What a config is to a client."""

    HAS = "has"
    OVERRIDDEN = "overridden"
    NOT_FOR_IT = "not_for_it"


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition between a config and a client.

    Attributes:
        holds: Whether it is met.
        text: The condition and what was found, as a sentence.
    """

    holds: bool
    text: str


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why a client has or has not a config.

    Attributes:
        rules: Every condition, met or not; all are met exactly when the client shall have it.
        file: What became of it, when the client shall have it.
        wins: JSON paths whose value is this config's; empty for a product that is not merged.
    """

    row: rows.ConfigRow
    targeting: Targeting
    verdict: Verdict
    rules: tuple[Rule, ...]
    file: FileState | None
    wins: tuple[str, ...]


_ASKED = {
    "service": "service",
    "env": "env",
    "language": "language",
    "app_version": "application version",
    "client_id": "client id",
    "tracer_version": "tracer version",
}


def rules(product: str, targeting: Targeting, facts: ClientFacts) -> tuple[Rule, ...]:
    """Every condition of a config for this client: that it asks for the product, and each targeting field."""
    asks = product in facts.products
    found = [Rule(asks, f"It asks for {product}." if asks else f"It does not ask for {product}.")]
    for name, value in targeting.to_dict().items():
        alone = Targeting.parse({name: value})
        if not alone.matches(facts):
            found.extend(Rule(False, sentence) for sentence in alone.why_not(facts))
        elif name == "host_tags":
            tag = next(tag for tag in targeting.host_tags if tag in facts.host_tags)
            found.append(Rule(True, f"Its host has the tag {tag}."))
        elif name == "tracer_version":
            found.append(Rule(True, f"Its tracer version {facts.tracer_version} is within {value}."))
        else:
            found.append(Rule(True, f"Its {_ASKED[name]} is {getattr(facts, name)}."))
    if not targeting.fields:
        found.append(Rule(True, "It is for every client of the organisation."))
    return tuple(found)


def reasons(
    row: rows.ConfigRow, targeting: Targeting, facts: ClientFacts, files: Sequence[FileState]
) -> Reasons:
    """Why a client has or has not a config."""
    conditions = rules(row.product, targeting, facts)
    if not all(rule.holds for rule in conditions):
        return Reasons(row, targeting, Verdict.NOT_FOR_IT, conditions, None, ())
    file = next((file for file in files if row.config_id in file.config_ids), None)
    product = PRODUCTS.get(row.product)
    if file is None or product is None or not product.single_file:
        return Reasons(row, targeting, Verdict.HAS, conditions, file, ())
    wins = tuple(path for path, config_id in file.provenance.items() if config_id == row.config_id)
    return Reasons(row, targeting, Verdict.HAS if wins else Verdict.OVERRIDDEN, conditions, file, wins)
