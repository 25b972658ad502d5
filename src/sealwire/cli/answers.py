"""What the control plane answers, typed.

The structs name only what a command looks at; fields they do not know are ignored, so that an older
command line works against a newer control plane. ``--json`` prints the answer as it came.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from sealwire.errors import SealwireError

T = TypeVar("T")
JsonObject = dict[str, object]
RepositoryName = Literal["director", "config"]


class Answer(msgspec.Struct, frozen=True):
    """The root of all answers: immutable, tolerant of unknown fields."""


class Deliveries(Answer, frozen=True):
    """How many clients a config is meant for and what became of it there."""

    wanted: int = 0
    acknowledged: int = 0
    applying: int = 0
    failed: int = 0


class CheckProblem(Answer, frozen=True):
    """A mistake, or something worth knowing, at a JSON path."""

    path: str
    message: str


class Config(Answer, frozen=True):
    """One document of one product, as its authors see it."""

    id: str
    product: str
    revision: int
    name: str = ""
    targeting: JsonObject | None = None
    payload: JsonObject = {}
    state: str = "active"
    created_at: str | None = None
    updated_at: str | None = None
    updated_by: str | None = None
    comment: str | None = None
    expires_at: str | None = None
    deliveries: Deliveries | None = None
    warnings: list[CheckProblem] = []


class Configs(Answer, frozen=True):
    configs: list[Config]


class Note(Answer, frozen=True):
    """What else somebody should know of a change."""

    kind: str
    words: str
    value: str | None = None
    targeting: JsonObject | None = None


class Outcome(Answer, frozen=True):
    """What switching App and API Protection, blocking or unblocking came to."""

    changed: bool
    sentence: str
    notes: list[Note] = []


class CheckedValue(Answer, frozen=True):
    """Something to block: as it would be written, and why that may hurt."""

    typed: str
    value: str
    risks: list[str] = []


class CheckedBlock(Answer, frozen=True):
    values: list[CheckedValue]


class Blocked(Answer, frozen=True):
    """Somebody who is blocked."""

    kind: str
    value: str
    config_id: str
    until: str | None = None
    targeting: JsonObject | None = None
    reason: str = ""
    by: str = ""


class Denylist(Answer, frozen=True):
    entries: list[Blocked]
    total: int = 0


class DraftLine(Answer, frozen=True):
    """A line of a list, and what there is to say of it."""

    line: int
    message: str


class Draft(Answer, frozen=True):
    """A list that is kept, and what would happen if it were blocked."""

    id: str
    good: int
    bad: int
    new: int
    extended: int
    already: int
    covered: int
    dangerous: int
    file_entries: int
    file_size: int
    problems: list[DraftLine] = []
    risks: list[DraftLine] = []


class Activation(Answer, frozen=True):
    """A config that switches App and API Protection on or off."""

    config_id: str
    on: bool
    targeting: JsonObject | None = None


class Activations(Answer, frozen=True):
    activations: list[Activation]


class Revision(Answer, frozen=True):
    revision: int
    at: str | None = None
    by: str | None = None
    state: str | None = None
    name: str | None = None
    targeting: JsonObject | None = None
    payload: JsonObject | None = None
    comment: str | None = None


class History(Answer, frozen=True):
    revisions: list[Revision]


class Check(Answer, frozen=True):
    problems: list[CheckProblem] = []
    warnings: list[CheckProblem] = []
    matches: int | None = None


class DeliveredConfig(Answer, frozen=True):
    """One file at one client, with the time from save to acknowledged."""

    product: str = ""
    config_ids: list[str] = []
    path: str | None = None
    version: int | None = None
    state: str = ""
    error: str | None = None
    since: str | None = None
    acknowledged_at: str | None = None
    took_s: float | None = None


class Client(Answer, frozen=True):
    """A tracer in a running application."""

    client_id: str
    runtime_id: str | None = None
    service: str | None = None
    env: str | None = None
    language: str | None = None
    tracer_version: str | None = None
    app_version: str | None = None
    agent: str | None = None
    last_seen: str | None = None
    age_s: float | None = None
    products: list[str] = []
    state: str = ""
    configs: list[DeliveredConfig] = []
    error: str | None = None


class Clients(Answer, frozen=True):
    clients: list[Client]


class Host(Answer, frozen=True):
    """An agent as the control plane sees it."""

    agent_id: str = ""
    hostname: str | None = None
    version: str | None = None
    last_seen: str | None = None
    age_s: float | None = None
    error: str | None = None
    state: str = ""
    director_version: int | None = None
    clients: int | None = None
    waiting: bool = False


class Hosts(Answer, frozen=True):
    agents: list[Host]


class ApiKey(Answer, frozen=True):
    """An agent's key; ``key`` is there once, in the answer that made it."""

    id: str
    name: str = ""
    last4: str = ""
    remote_config: bool = False
    created_at: str | None = None
    created_by: str | None = None
    last_used_at: str | None = None
    revoked_at: str | None = None
    withdrawing_at: str | None = None
    used_by: int | None = None
    held_until: str | None = None
    key: str | None = None


class ApiKeys(Answer, frozen=True):
    keys: list[ApiKey]


class AuditEvent(Answer, frozen=True):
    id: int | str
    at: str | None = None
    actor: str | None = None
    action: str = ""
    subject: str | None = None
    summary: str | None = None


class Audit(Answer, frozen=True):
    events: list[AuditEvent]


class AuditHead(Answer, frozen=True):
    """Where the chain of the audit trail ends."""

    events: int
    sha256: str | None = None


class Org(Answer, frozen=True):
    """An organisation; ``application_key`` is there once, in the answer that made it."""

    name: str = ""
    org_id: int | None = None
    uuid: str | None = None
    created_at: str | None = None
    application_key: str | None = None


class Orgs(Answer, frozen=True):
    orgs: list[Org]


class Holder(Answer, frozen=True):
    """An agent that may still hold configs."""

    hostname: str
    holds_until: str | None = None


class Withdrawal(Answer, frozen=True):
    """How far the agents of an organisation are in giving up what they have."""

    agents: int
    fetched: int
    clients: int
    dropped: int
    still_holding: list[Holder]


class OrgSettings(Answer, frozen=True):
    """An organisation's settings; ``withdrawal`` while Remote Configuration is going off."""

    name: str
    remote_config: bool
    withdrawing_at: str | None = None
    withdrawal: Withdrawal | None = None


class Whoami(Answer, frozen=True):
    user: str
    org_id: int | None = None
    org_name: str | None = None
    org_uuid: str | None = None
    role: str | None = None


class RootState(Answer, frozen=True):
    version: int
    expires: str | None = None
    roots_on_server: bool | None = None
    keys: int | None = None
    threshold: int | None = None
    first_root: str = ""
    latest_root: str = ""


class Roots(Answer, frozen=True):
    repositories: dict[str, RootState]
    ca_pem: str | None = None
    url: str | None = None


def typed(document: object, kind: type[T]) -> T:
    """Read an answer as what it should be.

    Raises:
        SealwireError: The control plane answered something else.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise SealwireError(
            f"The control plane answered something this command line does not understand: {error}"
        ) from error


class Probe(Answer, frozen=True):
    """A probe of Dynamic Instrumentation."""

    id: str
    kind: str
    where: str
    service: str
    state: str
    version: int
    name: str = ""
    env: list[str] = []
    expires_at: str | None = None
    warnings: list[CheckProblem] = []


class Probes(Answer, frozen=True):
    probes: list[Probe]


class Stopped(Answer, frozen=True):
    """What a stop paused, or its end brought back."""

    stop_id: str
    count: int


class Stop(Answer, frozen=True):
    """A stop of all probes in a scope."""

    id: str
    service: str
    env: str
    count: int
    by: str
    at: str
    reason: str = ""


class Stops(Answer, frozen=True):
    stops: list[Stop]
