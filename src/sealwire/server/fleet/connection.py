"""How well a client or an agent is connected, in the words of the fleet page. Pure decisions.

The first condition that holds decides. Each state has its sentence for what to do, so that no page shows a
state without a way out of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sealwire.server.fleet import support
from sealwire.server.fleet.effective import origin_words
from sealwire.server.fleet.explain import DeliveryState, FileState
from sealwire.server.store.rows import ApiKeyRow
from sealwire.wire.inventory import RemoteConfig, Service

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
    Connection.UNSUPPORTED: "It is older than the oldest that takes what is aimed at it: upgrade it.",
    Connection.UNAUTHORIZED: "Its API key may not use Remote Configuration: switch that on for the key, or "
    "for the organisation.",
    Connection.REVOKED: "Its API key was revoked: give the agent another one and restart it.",
    Connection.DISABLED: "Remote Configuration is off in the agent: set remote_configuration.enabled to "
    "true where it is set, and restart the agent.",
    Connection.NOT_DETECTED: "The service sends traces, but its tracer does not ask for configs: check the "
    "tracer's version and DD_REMOTE_CONFIGURATION_ENABLED.",
    Connection.PENDING: "It was told and has not confirmed yet; tracers ask every few seconds. If this "
    "lasts, look at the agent it is behind.",
    Connection.UNKNOWN: "It was only just seen. If this lasts longer than two minutes, look at the log of "
    "its agent.",
    Connection.OFFLINE: "Nothing was heard for ten minutes. It keeps what it has as long as it runs. A "
    "tracer goes away from this list after a day, an agent after a month.",
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
#: A deploy leaves such rows: the agent is well and no longer names the process.
GONE = Standing(Connection.OFFLINE, "its agent hears no more of it: the process has ended")
_OFF_FOR_ALL = "Remote Configuration is off for this organisation"


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
    barred: Standing | None = None,
    known_for_s: float = math.inf,
) -> Standing:
    """The state of one tracer.

    Args:
        barred: What keeps its agent from asking.
        known_for_s: Since it was first seen: what was saved before is not late with one that has just come.
    """
    failed: list[FileState] = []
    pending: list[FileState] = []
    for file in files:
        if file.state is DeliveryState.IN_STEP:
            continue
        (failed if file.state is DeliveryState.FAILED else pending).append(file)
        needed = support.least(file.product, language)
        if needed and support.is_older(tracer_version, needed):
            return Standing(
                Connection.UNSUPPORTED,
                f"{file.product} needs {needed}, this is {tracer_version or 'unknown'}",
            )
    if barred is not None:
        return barred
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
        return Standing(Connection.PENDING, products, late=min(oldest_s, known_for_s) > PENDING_TOO_LONG_S)
    return CONNECTED


def bar(
    *,
    key: ApiKeyRow | None,
    told: RemoteConfig | None,
    told_age_s: float,
    refused_for: str,
    refused_age_s: float,
) -> Standing | None:
    """What keeps an agent from asking for configs at all, or None.

    Args:
        key: The API key it last came with; None when that is not known.
        told: How its own Remote Configuration stands, as it last told.
        told_age_s: How long ago that was.
        refused_for: What it was told when its last poll was refused; empty when that was not refused.
        refused_age_s: How long ago that was.
    """
    if key is not None and key.revoked_ms is not None:
        return Standing(Connection.REVOKED, f"its API key {key.name} was revoked")
    heard = told_age_s <= OFFLINE_AFTER_S
    if heard and told is not None and not told.enabled:
        return Standing(Connection.DISABLED, told.reason)
    if refused_for and refused_age_s <= OFFLINE_AFTER_S:
        return Standing(Connection.UNAUTHORIZED, _of_key(refused_for, key))
    if heard and key is not None and not key.remote_config:
        return Standing(Connection.UNAUTHORIZED, _of_key(_NO_SCOPE, key))
    return None


_NO_SCOPE = "This API key does not carry the Remote Configuration scope."


def _of_key(text: str, key: ApiKeyRow | None) -> str:
    """What an agent was told of its key, with the key's name."""
    if key is None or not text.startswith("This API key "):
        return text
    return f"Its API key {key.name} {text.removeprefix('This API key ')}"


def agent_standing(
    *,
    age_s: float,
    heard_within_s: float = HEARD_WITHIN_S,
    error: str,
    failing_clients: int,
    has_version: int,
    wanted_version: int | None,
    remote_config: bool = True,
    version: str = "",
    barred: Standing | None = None,
    told: RemoteConfig | None = None,
    told_age_s: float = math.inf,
    known_for_s: float = math.inf,
) -> Standing:
    """The state of one agent.

    Args:
        age_s: Since its last answered poll; infinite when there was none.
        error: What it reports.
        version: Of the open-source Agent it is, or is like.
        barred: What keeps it from asking.
        told: How its Remote Configuration stands, by its inventory.
        told_age_s: Since that inventory.
        known_for_s: Since it was first seen.
    """
    if version.startswith(("6.", "7.")) and support.is_older(version, support.LEAST_AGENT):
        return Standing(Connection.UNSUPPORTED, f"{support.LEAST_AGENT} is needed, this is {version}")
    if barred is not None:
        return barred
    if age_s > heard_within_s and told is not None and told_age_s <= OFFLINE_AFTER_S:
        if not remote_config:
            return Standing(Connection.UNAUTHORIZED, _OFF_FOR_ALL)
        if math.isinf(age_s) and known_for_s <= heard_within_s and not told.error and told.is_on:
            return Standing(Connection.UNKNOWN, "it has told of itself and not asked for configs yet")
        reason = told.reason or told.error or "it tells of itself and does not ask for configs"
        return Standing(Connection.ERROR, reason)
    silence = _silence(age_s, heard_within_s, error, remote_config)
    if silence is not None:
        return silence
    if failing_clients:
        noun = "client" if failing_clients == 1 else "clients"
        return Standing(Connection.DEGRADED, f"{failing_clients} {noun} behind it did not take a config")
    if wanted_version is not None and has_version < wanted_version:
        return Standing(Connection.PENDING, f"has version {has_version}, shall have {wanted_version}")
    return CONNECTED


def service_standing(
    service: Service, *, age_s: float, barred: Standing | None, told: RemoteConfig, remote_config: bool = True
) -> Standing:
    """The state of a service that sends traces and of which no client is known.

    Args:
        age_s: Since its last trace.
        barred: What keeps its agent from asking.
        told: How its agent's Remote Configuration stands.
    """
    if age_s > OFFLINE_AFTER_S:
        return Standing(Connection.OFFLINE)
    if barred is not None:
        return barred
    if not remote_config:
        return Standing(Connection.UNAUTHORIZED, _OFF_FOR_ALL)
    if not told.is_on:
        return Standing(Connection.ERROR, told.reason)
    if service.client_seen:
        return Standing(Connection.UNKNOWN, "its tracer asks its agent, which has not told of it yet")
    if service.switched_off_by:
        where = origin_words(service.switched_off_by)
        return Standing(Connection.NOT_DETECTED, f"Remote Configuration is off in its tracer ({where})")
    return Standing(Connection.NOT_DETECTED)


def _silence(age_s: float, heard_within_s: float, error: str, remote_config: bool) -> Standing | None:
    if age_s > OFFLINE_AFTER_S:
        return Standing(Connection.OFFLINE)
    if not remote_config:
        return Standing(Connection.UNAUTHORIZED, _OFF_FOR_ALL)
    if error.startswith(("tuf:", "api:")):
        return Standing(Connection.ERROR, error)
    if age_s > heard_within_s:
        return Standing(Connection.ERROR, "it stopped asking for configs")
    return None
