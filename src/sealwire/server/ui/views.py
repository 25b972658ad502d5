"""Everything the templates may see: one frozen value per page, and the small ones they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sealwire.errors import Problem
from sealwire.server.first_steps import Progress
from sealwire.server.fleet.connection import REMEDIES, Connection, Standing
from sealwire.server.fleet.explain import DeliveryState
from sealwire.server.ui.charts import Histogram
from sealwire.server.ui.tables import Heading


@dataclass(frozen=True, slots=True)
class Status:
    """A state as people see it: icon, word and colour together, never colour alone.

    Attributes:
        tone: ``ok``, ``wait``, ``bad``, ``mute`` or ``info``.
        icon: A symbol of the sprite.
        detail: More about this one case; may be empty.
        remedy: What to do; may be empty.
    """

    word: str
    tone: str
    icon: str
    detail: str = ""
    remedy: str = ""


_CONNECTIONS: Mapping[Connection, tuple[str, str, str]] = {
    Connection.CONNECTED: ("Connected", "ok", "circle-check"),
    Connection.DEGRADED: ("Config error", "bad", "triangle-alert"),
    Connection.PENDING: ("Updating", "wait", "refresh-cw"),
    Connection.ERROR: ("Connection error", "bad", "unplug"),
    Connection.OFFLINE: ("Offline", "mute", "circle-dashed"),
    Connection.UNSUPPORTED: ("Unsupported", "wait", "shield-alert"),
    Connection.UNAUTHORIZED: ("Unauthorized", "bad", "lock"),
    Connection.DISABLED: ("Disabled", "mute", "ban"),
    Connection.REVOKED: ("Revoked", "bad", "key-round"),
    Connection.NOT_DETECTED: ("Not detected", "mute", "eye"),
    Connection.UNKNOWN: ("Unknown", "mute", "circle-help"),
}
_DELIVERIES: Mapping[DeliveryState, tuple[str, str, str]] = {
    DeliveryState.IN_STEP: ("In step", "ok", "circle-check"),
    DeliveryState.BEHIND: ("Behind", "wait", "clock"),
    DeliveryState.APPLYING: ("Applying", "wait", "refresh-cw"),
    DeliveryState.FAILED: ("Failed", "bad", "triangle-alert"),
    DeliveryState.SILENT: ("Silent", "mute", "circle-dashed"),
    DeliveryState.REFUSED: ("Refused", "bad", "shield-off"),
}


def connection_status(standing: Standing) -> Status:
    """A client's or an agent's state."""
    word, tone, icon = _CONNECTIONS[standing.state]
    return Status(word, "bad" if standing.late else tone, icon, standing.detail, REMEDIES[standing.state])


def delivery_status(state: DeliveryState) -> Status:
    """A config's state in a client."""
    return Status(*_DELIVERIES[state])


@dataclass(frozen=True, slots=True)
class Moment:
    """A time, shown as its age by the browser and as a clock where there is no script.

    Attributes:
        iso: ISO 8601 in UTC; empty when it never was.
        now: It is so right now: no age is shown.
    """

    iso: str
    now: bool = False


NEVER = Moment("")


@dataclass(frozen=True, slots=True)
class Link:
    """Words that may lead somewhere; ``href`` is None while no page is there."""

    text: str
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """A number of the summary: what is counted, how many, and the page that lists them."""

    label: str
    number: int
    tone: str
    note: str
    href: str


@dataclass(frozen=True, slots=True)
class Tab:
    """One of a page's tabs."""

    label: str
    href: str
    is_current: bool
    count: int


# Home ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that needs attention."""

    status: Status
    title: str
    detail: str
    href: str | None
    since: Moment = NEVER


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that somebody did."""

    id: int
    summary: str
    actor: str
    at: Moment
    icon: str


@dataclass(frozen=True, slots=True)
class Repository:
    """Where a signed repository stands."""

    name: str
    version: int
    root_version: int
    root_expires: Moment
    root_days: int
    keys: str


@dataclass(frozen=True, slots=True)
class HomePage:
    """What is, what needs attention, what was done; ``first_steps`` for newcomers only.

    Attributes:
        audit_href, trust_href: To the pages with all of it; empty for who may not see them.
        signals: Those that go on, by severity, the worst first; empty for who may not see them.
        probes: Those in programs, by how they are; empty for who may not see them.
    """

    organisation: str
    signals: tuple[Fact, ...]
    probes: tuple[Fact, ...]
    facts: tuple[Fact, ...]
    histogram: Histogram
    concerns: tuple[Concern, ...]
    more_concerns: int
    changes: tuple[Change, ...]
    repositories: tuple[Repository, ...]
    configs: int
    clients: int
    agents: int
    summary: str
    live_href: str
    first_steps: Progress | None
    audit_href: str
    trust_href: str


# Fleet --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientRow:
    """One tracer in the table. ``dom_id`` is made of a hash: client ids are what clients say."""

    dom_id: str
    href: str
    status: Status
    service: str
    env: str
    language: str
    library: str
    host: str
    app_version: str
    in_step: int
    wanted: int
    failed: int
    seen: Moment


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent in the table."""

    dom_id: str
    href: str
    status: Status
    host: str
    version: str
    tags: tuple[str, ...]
    clients: int
    has_version: int
    wanted_version: int | None
    roots: str
    seen: Moment


@dataclass(frozen=True, slots=True)
class FleetPage:
    """Both tabs of the fleet; ``rows`` are of the kind the tab shows."""

    tab: str
    tabs: tuple[Tab, ...]
    query: str
    sort: str
    problems: tuple[Problem, ...]
    facts: tuple[Fact, ...]
    headings: tuple[Heading, ...]
    rows: tuple[ClientRow, ...] | tuple[AgentRow, ...]
    shown: int
    total: int
    previous_href: str | None
    next_href: str | None
    fields: tuple[str, ...]
    legend: tuple[Status, ...]
    summary: str
    live_href: str


# One client ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file a client shall have, and what it said of it."""

    dom_id: str
    status: Status
    product: str
    title: str
    configs: tuple[Link, ...]
    version: int
    reported_version: int | None
    saved: Moment
    acknowledged: Moment
    took: str
    error: str


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """One value in force, and the config it comes from."""

    path: str
    value: str
    config: Link


@dataclass(frozen=True, slots=True)
class Effective:
    """What one product says to this client, all configs together."""

    product: str
    title: str
    values: tuple[EffectiveValue, ...]
    document: str


@dataclass(frozen=True, slots=True)
class Other:
    """A value of a setting that is not in force: it would be, or was, from somewhere else."""

    origin: str
    value: str


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting of a tracer, by its own telemetry.

    Attributes:
        origin: Where the value comes from, in words.
        tone: Of the origin: ``info`` for Remote Configuration, ``mute`` for a default, else empty.
        sent: What Remote Configuration sent; empty when nothing.
        sent_key: Which key of which product that is.
        config: Whose value that is; None when nothing was sent.
        differs: Something was sent and is not what is in force.
        error: Why the tracer did not take the value; empty when it did.
    """

    name: str
    value: str
    origin: str
    tone: str
    sent: str
    sent_key: str
    config: Link | None
    differs: bool
    error: str
    others: tuple[Other, ...]


@dataclass(frozen=True, slots=True)
class RuleView:
    """A condition, and whether it holds."""

    holds: bool
    text: str


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """Why a client has or has not a config."""

    config: Link
    product: str
    title: str
    revision: int
    status: Status
    rules: tuple[RuleView, ...]
    note: str


@dataclass(frozen=True, slots=True)
class ClientPage:
    """One tracer: what it is, what it was sent, what it said, and why.

    Attributes:
        host: The host it is on, leading to the agent there.
        settings: In force in it, those that somebody chose or that may be sent.
        defaults: All others it told of.
        told: When it was last heard to tell of settings; never where it did not.
    """

    title: str
    status: Status
    subtitle: str
    host: Link
    identity: tuple[tuple[str, str], ...]
    first_seen: Moment
    seen: Moment
    products: tuple[str, ...]
    capabilities: tuple[str, ...]
    tags: tuple[str, ...]
    files: tuple[FileRow, ...]
    effective: tuple[Effective, ...]
    settings: tuple[SettingRow, ...]
    defaults: tuple[SettingRow, ...]
    told: Moment
    reasons: tuple[ReasonRow, ...]
    more_reasons: int
    live_href: str
    probes_href: str


# Around every page --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NavItem:
    """One line of the navigation."""

    label: str
    href: str
    icon: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """What ``base.html`` shows around a page.

    Attributes:
        sections: Heading (empty for the first) and its lines; none on a page without navigation.
        done: What the page before did, said once; with ``went_wrong`` why nothing came of it.
        switched_off: Why no agent gets configs now; empty while Remote Configuration is on.
        settings_href: Where that can be changed, by whom it can be.
    """

    title: str
    sections: tuple[tuple[str, tuple[NavItem, ...]], ...]
    theme: str
    user: str
    role: str
    organisation: str
    version: str
    done: str = ""
    went_wrong: bool = False
    switched_off: str = ""
    settings_href: str = ""


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """What went wrong, in words, and the way on."""

    status: int
    title: str
    text: str
    problems: tuple[Problem, ...] = field(default=())
