"""Probes as people handle them: listed, made, changed, paused, removed, and all stopped at once.

A probe is a config of LIVE_DEBUGGING; what this module hides is everything that a probe has and a config has
not: that one can be paused, how long it shall last, the switch that stops all of a service or an environment.
Pages, the admin API and the command line change probes here and nowhere else.

Invariants: whatever changes a probe goes through an ``Editor``, with its permissions and its history; a probe
that is stopped comes back only when somebody lifts the stop, and no new one gets by it, whichever way it is
made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from sealwire.errors import Problem
from sealwire.server.access import Principal
from sealwire.server.debugger import probe_facts
from sealwire.server.debugger.probes import Probe, ProbeKind
from sealwire.server.fleet.overview import ClientLine
from sealwire.server.store import rows
from sealwire.server.store.database import Database

if TYPE_CHECKING:
    from sealwire.server.tenant import Tenant


class ProbeState(StrEnum):
    """What has become of a probe, as far as the control plane decides."""

    ACTIVE = "active"
    PAUSED = "paused"
    EXPIRED = "expired"
    REMOVED = "removed"


class ProbeRow(NamedTuple):
    """A probe.

    Attributes:
        config: The config it is; ``config.revision`` is what a change names as the one it saw.
        document: What its author asked for, as ``probes.parse`` reads it.
        version: What tracers call this content.
        envs: Empty: every environment.
        paused_by, paused_ms: Empty and None unless it is paused.
        expires_in_minutes: How long it lasts from each change.
        stop_id: The stop that paused it; empty: somebody did.
    """

    probe_id: str
    config: rows.ConfigRow
    probe: Probe
    document: dict[str, object]
    version: int
    state: ProbeState
    service: str
    envs: tuple[str, ...]
    paused_by: str
    paused_ms: int | None
    expires_in_minutes: int
    stop_id: str


class Known(NamedTuple):
    """A probe as far as what arrives from programs must know it.

    Attributes:
        template: Text of the message of a log; empty for others.
        ended_ms: Since when it is no more in force; None while it is.
    """

    probe_id: str
    service: str
    envs: tuple[str, ...]
    kind: ProbeKind
    state: ProbeState
    version: int
    template: str
    name: str
    probe: Probe
    ended_ms: int | None


class Checked(NamedTuple):
    """What came of trying a probe.

    Attributes:
        problems: Why it cannot be saved; nothing else is known then.
        refusals: Why tracers of the language would not take it; it can be saved.
        matches: Live clients that would get it.
        notices: What keeps clients it is for from getting it, such as Dynamic Instrumentation being off.
    """

    problems: tuple[Problem, ...]
    refusals: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    cost: probe_facts.Cost | None = None
    matches: tuple[ClientLine, ...] = ()
    notices: tuple[str, ...] = ()


class Saved(NamedTuple):
    """A probe that was committed, and what its author should know."""

    probe: ProbeRow
    warnings: tuple[Problem, ...]


class ProbeRevision(NamedTuple):
    """One revision of a probe.

    Attributes:
        changes: Against the one before, as (JSON path of the document, before, after); None: not there.
    """

    revision: int
    version: int
    at_ms: int
    by: str
    comment: str
    state: str
    document: dict[str, object]
    changes: tuple[tuple[str, object, object], ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop of everything in a scope; no service and no env: of the organisation.

    Attributes:
        count: Probes it paused.
        lifted_ms: None while it holds.
    """

    stop_id: str
    service: str
    env: str
    reason: str
    by: str
    at_ms: int
    count: int
    lifted_by: str = ""
    lifted_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stop did, or would do (then without an id)."""

    stop_id: str
    count: int
    probes: tuple[ProbeRow, ...]


class Switched(NamedTuple):
    """Whether Dynamic Instrumentation and the sending of symbols are on, as configs have it.

    Attributes:
        dynamic_instrumentation: None: no config says anything, programs go by their own settings.
        config_ids: The configs that say so.
    """

    dynamic_instrumentation: bool | None
    symbols: bool
    config_ids: tuple[str, ...]


Rows = list[ProbeRow]
Revisions = list[ProbeRevision]
Stops = list[Stop]


class ProbeDesk:
    """The probes of one organisation (``tenant.probes``)."""

    def __init__(self, tenant: Tenant, database: Database) -> None:
        self._tenant = tenant
        self._database = database

    # Looking ------------------------------------------------------------------------------------------

    async def list(
        self,
        principal: Principal,
        *,
        state: str = "live",
        service: str = "",
        env: str = "",
        kind: str = "",
        text: str = "",
    ) -> Rows:
        """Probes, last changed first.

        Args:
            state: ``live`` (active or paused), ``active``, ``paused``, ``over`` (expired, removed), ``all``.
            text: Anywhere in name, place, message or id.
        """
        raise NotImplementedError

    async def get(self, principal: Principal, probe_id: str) -> ProbeRow:
        """One probe.

        Raises:
            NotFoundError: There is none.
        """
        raise NotImplementedError

    def known(self, probe_id: str) -> Known | None:
        """A probe that programs may speak of, from memory; None for one that is over for ten minutes."""
        raise NotImplementedError

    async def history(self, principal: Principal, probe_id: str) -> Revisions:
        """Every revision, newest first."""
        raise NotImplementedError

    # Changing -----------------------------------------------------------------------------------------

    async def check(
        self, principal: Principal, fields: Mapping[str, Any], *, probe_id: str | None = None, now: datetime
    ) -> Checked:
        """Try a probe without saving it.

        Args:
            fields: name, service, env (a list), targeting (more of it, optional), document, comment.
        """
        raise NotImplementedError

    async def create(self, principal: Principal, fields: Mapping[str, Any], *, now: datetime) -> Saved:
        """Save a new probe and publish it; ``fields`` as in ``check``.

        Raises:
            InvalidChangeError: It makes no sense, or a stop holds there.
            NotPermittedError: It is not theirs to make.
        """
        raise NotImplementedError

    async def change(
        self,
        principal: Principal,
        probe_id: str,
        fields: Mapping[str, Any],
        *,
        expected_revision: int,
        now: datetime,
    ) -> Saved:
        """Save a probe anew: name, document and comment; what is not given stays. Its time begins again.

        Raises:
            ConflictError: Somebody changed it since ``expected_revision``.
            InvalidChangeError, NotFoundError, NotPermittedError: As they say.
        """
        raise NotImplementedError

    async def clone(
        self,
        principal: Principal,
        probe_id: str,
        *,
        service: str,
        env: Sequence[str],
        name: str | None = None,
        now: datetime,
    ) -> Saved:
        """The same probe for another service or other environments."""
        raise NotImplementedError

    async def pause(
        self,
        principal: Principal,
        probe_id: str,
        *,
        expected_revision: int | None = None,
        comment: str = "",
        now: datetime,
    ) -> ProbeRow:
        """Take it out of the programs, and keep it."""
        raise NotImplementedError

    async def resume(
        self, principal: Principal, probe_id: str, *, expected_revision: int | None = None, now: datetime
    ) -> Saved:
        """Put a paused, expired or removed probe back; its time begins again."""
        raise NotImplementedError

    async def remove(
        self,
        principal: Principal,
        probe_id: str,
        *,
        expected_revision: int | None = None,
        comment: str = "",
        now: datetime,
    ) -> ProbeRow:
        """Take it away; its history stays."""
        raise NotImplementedError

    # All at once --------------------------------------------------------------------------------------

    async def would_stop(self, principal: Principal, *, service: str = "", env: str = "") -> Stopped:
        """What a stop would pause."""
        raise NotImplementedError

    async def stop(
        self, principal: Principal, *, service: str = "", env: str = "", reason: str, now: datetime
    ) -> Stopped:
        """Pause every probe of a service, an environment or all, and let no new one in until it is lifted."""
        raise NotImplementedError

    async def lift(self, principal: Principal, stop_id: str, *, resume: bool, now: datetime) -> Stopped:
        """End a stop; with ``resume`` the probes it paused come back."""
        raise NotImplementedError

    async def stops(self, principal: Principal, *, over: bool = False) -> Stops:
        """Stops that hold, newest first; with ``over`` those that were lifted too."""
        raise NotImplementedError

    # Services -----------------------------------------------------------------------------------------

    async def switch_on(
        self,
        principal: Principal,
        *,
        service: str,
        envs: Sequence[str] = (),
        dynamic_instrumentation: bool | None = None,
        symbols: bool | None = None,
        now: datetime,
    ) -> Switched:
        """Switch Dynamic Instrumentation, and the sending of symbols, on or off; None: leave it.

        Args:
            envs: None: for every environment of the service.
        """
        raise NotImplementedError

    def switches(self, service: str, env: str) -> Switched:
        """What configs say of a service in an environment, from memory."""
        raise NotImplementedError
