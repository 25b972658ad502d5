"""Agents and what they may still hold, for the pages on which something goes off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode

from litestar import Request

from sealwire.server.api.keys import is_same_host
from sealwire.server.ui.render import dom_id, moment
from sealwire.server.ui.views import Moment, Status
from sealwire.server.withdrawal import Holder, Progress

NAMED = 10
LISTED = 200


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent of a key, or one that may still hold configs.

    Attributes:
        until: When what it holds expires, in words; empty when it holds nothing.
        own: Why it is somebody's own, in words; empty when it is just one of many.
    """

    dom_id: str
    hostname: str
    href: str
    status: Status
    clients: int
    holding: int
    seen: Moment
    until: str
    own: str


@dataclass(frozen=True, slots=True)
class ProgressView:
    """How far a withdrawal is; the last two are for whom it waits no longer."""

    since: Moment
    since_ms: int
    agents: int
    fetched: int
    clients: int
    dropped: int
    then: str
    still_holding: tuple[AgentRow, ...]
    more_holding: int


def agent_rows(
    holders: Sequence[Holder], *, now_s: float, address: str, refused: bool = False, most: int = LISTED
) -> tuple[AgentRow, ...]:
    """Agents for a table: one's own first, then those that hold something, then those that ask."""
    ordered = sorted(
        holders,
        key=lambda one: (not own_words(one, address), one.holds_nothing, not one.asks, one.hostname),
    )
    return tuple(
        _agent_row(holder, now_s=now_s, address=address, refused=refused) for holder in ordered[:most]
    )


def _agent_row(holder: Holder, *, now_s: float, address: str, refused: bool) -> AgentRow:
    until = holder.until_s if holder.until_s is not None and holder.until_s > now_s else None
    if refused:
        status = Status("Refused", "mute" if until is None else "wait", "lock")
    elif holder.asks:
        status = Status("Polling", "ok", "circle-check")
    elif until is not None:
        status = Status("Away", "wait", "clock")
    else:
        status = Status("Away", "mute", "circle-dashed")
    query = urlencode({"tab": "agents", "q": f'host:"{holder.hostname}"'})
    return AgentRow(
        dom_id("agent", holder.agent_id), holder.hostname, f"/fleet?{query}", status, holder.clients,
        len(holder.holding), moment(holder.seen_s), "" if until is None else until_words(until, now_s),
        own_words(holder, address),
    )  # fmt: skip


def own_words(holder: Holder, address: str) -> str:
    """Whose agent it is, when it is not just one of many."""
    if is_same_host(holder, address):
        return "talks to us from your address"
    try:
        here = bool(holder.address) and ip_address(holder.address).is_loopback
    except ValueError:
        here = False
    return "runs on the host of this control plane" if here else ""


def until_words(until_s: float, now_s: float) -> str:
    """A time to come, as a date and as the time that is left."""
    left = max(0.0, until_s - now_s)
    if left >= 2 * 86400:
        words = f"in {left // 86400:.0f} days"
    elif left >= 2 * 3600:
        words = f"in {left // 3600:.0f} hours"
    else:
        words = f"in {max(1.0, left // 60):.0f} min"
    iso = moment(until_s).iso
    return f"{iso[:10]} {iso[11:16]} UTC ({words})"


def progress_view(progress: Progress, *, then: str, now_s: float, address: str) -> ProgressView:
    """How far a withdrawal is."""
    holding = progress.still_holding(now_s)
    return ProgressView(
        moment(progress.since_s), round(progress.since_s * 1000), progress.agents, progress.fetched,
        progress.clients, progress.dropped, then,
        agent_rows(holding, now_s=now_s, address=address, most=NAMED), max(0, len(holding) - NAMED),
    )  # fmt: skip


def address_of(request: Request[Any, Any, Any]) -> str:
    """Where somebody asks from."""
    return request.client.host if request.client is not None else ""


def own_sentences(holders: Sequence[Holder], address: str, does: str, do: str) -> tuple[str, ...]:
    """What must be said first: which of these agents are somebody's own, and what it does or they do."""
    said: dict[str, list[str]] = {}
    for holder in holders:
        words = own_words(holder, address)
        if words:
            said.setdefault(words, []).append(holder.hostname)
    return tuple(
        f"The agent that {words} {does}: {names[0]}."
        if len(names) == 1
        else f"{len(names)} agents of which each {words} {do}: {', '.join(names[:3])}"
        f"{' and others' if len(names) > 3 else ''}."
        for words, names in said.items()
    )
