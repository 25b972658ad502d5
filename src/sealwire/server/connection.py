"""How well a client or an agent is connected, in the words of the fleet page. Pure decisions.

The first condition that holds decides. Each state has its sentence for what to do, so that no page shows a
state without a way out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from sealwire.products import PRODUCTS, ClientFacts
from sealwire.server.explain import DeliveryState, FileState
from sealwire.server.targeting import Targeting

HEARD_WITHIN_S = 90.0  # or three poll intervals, if that is longer
OFFLINE_AFTER_S = 600.0
PENDING_TOO_LONG_S = 300.0


class Connection(StrEnum):
    """The states of a client or an agent; the order is the order of trouble."""

    ERROR = "error"
    DEGRADED = "degraded"
    UNSUPPORTED = "unsupported"
    UNAUTHORIZED = "unauthorized"
    REVOKED = "revoked"
    DISABLED = "disabled"
    NOT_DETECTED = "not_detected"
    PENDING = "pending"
    UNKNOWN = "unknown"
    OFFLINE = "offline"
    CONNECTED = "connected"


#: What people may type for a state.
STATE_WORDS: Mapping[str, Connection] = {
    **{state.value: state for state in Connection},
    "failing": Connection.DEGRADED,
    "failed": Connection.DEGRADED,
    "updating": Connection.PENDING,
    "behind": Connection.PENDING,
    "silent": Connection.OFFLINE,
}

REMEDIES: Mapping[Connection, str] = {
    Connection.ERROR: "Look at the agent's log and at its last error, and whether this address can be "
    "reached from there.",
    Connection.DEGRADED: "Open it to see which config was not taken and what the client said; correct the "
    "config, or take the client out of its targeting.",
    Connection.UNSUPPORTED: "Its tracer is older than the oldest that takes a product aimed at it: "
    "upgrade the tracer.",
    Connection.UNAUTHORIZED: "Its API key may not use Remote Configuration: switch that on for the key, or "
    "for the organisation.",
    Connection.REVOKED: "Its API key was revoked: give the agent another one and restart it.",
    Connection.DISABLED: "Remote Configuration is off in the agent: set remote_configuration.enabled to "
    "true in datadog.yaml and restart it.",
    Connection.NOT_DETECTED: "The service sends traces, but its tracer does not ask for configs: check the "
    "tracer's version and DD_REMOTE_CONFIGURATION_ENABLED.",
    Connection.PENDING: "It was told and has not confirmed yet; tracers ask every few seconds. If this "
    "lasts, look at the agent it is behind.",
    Connection.UNKNOWN: "Nothing but its name is known yet.",
    Connection.OFFLINE: "Nothing was heard for ten minutes. It keeps what it has as long as it runs; the "
    "row goes away after a week.",
    Connection.CONNECTED: "",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """A state, and the sentence that makes it concrete.

    Attributes:
        detail: Why this state: an error, an age; empty when the word says it all.
        late: A pending one that takes too long.
    """

    state: Connection
    detail: str = ""
    late: bool = False


CONNECTED = Standing(Connection.CONNECTED)


def client_standing(
    files: Iterable[FileState],
    *,
    now_s: float,
    age_s: float,
    heard_within_s: float = HEARD_WITHIN_S,
    language: str,
    tracer_version: str,
    agent_error: str,
    client_error: str = "",
    remote_config: bool = True,
) -> Standing:
    """The state of one tracer."""
    failed: list[FileState] = []
    pending: list[FileState] = []
    for file in files:
        if file.state is DeliveryState.IN_STEP:
            continue
        (failed if file.state is DeliveryState.FAILED else pending).append(file)
        needed = PRODUCTS[file.product].minimum_versions.get(language) if file.product in PRODUCTS else None
        if needed and _older_than(tracer_version, needed):
            return Standing(
                Connection.UNSUPPORTED,
                f"{file.product} needs {needed}, this is {tracer_version or 'unknown'}",
            )
    silence = _silence(age_s, heard_within_s, agent_error, remote_config)
    if silence is not None:
        return silence
    if failed:
        return Standing(Connection.DEGRADED, f"{failed[0].product}: {failed[0].error or 'no reason given'}")
    if client_error:
        return Standing(Connection.DEGRADED, client_error)
    if pending:
        oldest_s = now_s - min(file.saved_ms for file in pending) / 1000
        products = ", ".join(sorted({file.product for file in pending}))
        return Standing(Connection.PENDING, products, late=oldest_s > PENDING_TOO_LONG_S)
    return CONNECTED


def agent_standing(
    *,
    age_s: float,
    heard_within_s: float = HEARD_WITHIN_S,
    error: str,
    failing_clients: int,
    has_version: int,
    wanted_version: int | None,
    remote_config: bool = True,
) -> Standing:
    """The state of one agent."""
    silence = _silence(age_s, heard_within_s, error, remote_config)
    if silence is not None:
        return silence
    if failing_clients:
        noun = "client" if failing_clients == 1 else "clients"
        return Standing(Connection.DEGRADED, f"{failing_clients} {noun} behind it did not take a config")
    if wanted_version is not None and has_version < wanted_version:
        return Standing(Connection.PENDING, f"has version {has_version}, shall have {wanted_version}")
    return CONNECTED


def _silence(age_s: float, heard_within_s: float, error: str, remote_config: bool) -> Standing | None:
    if age_s > OFFLINE_AFTER_S:
        return Standing(Connection.OFFLINE)
    if not remote_config:
        return Standing(Connection.UNAUTHORIZED, "Remote Configuration is off for this organisation")
    if error.startswith(("tuf:", "api:")):
        return Standing(Connection.ERROR, error)
    if age_s > heard_within_s:
        return Standing(Connection.ERROR, "it stopped asking for configs")
    return None


@lru_cache(maxsize=4096)
def _older_than(reported: str, minimum: str) -> bool:
    return Targeting(tracer_version=f"<{minimum}").matches(ClientFacts(client_id="", tracer_version=reported))
