"""Who did what: the context of a request as the audit trail keeps it, and events as others know them.

The context travels with the request, through threads too: whoever writes an audit row gives what was done,
and by whom it was asked, from where and with which request comes from here. What a loop of the program does
by itself is done by a ``SERVICE``; a task that outlives a request must not be started inside of its context
(``outside_requests``).

Actions are ``thing.what_was_done``. ``described`` maps them to the names and asset types of Datadog's Audit
Trail, by one table, so that what reads those reads ours.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from sealwire.errors import NotPermittedError

if TYPE_CHECKING:
    from sealwire.server.access.permissions import Principal
    from sealwire.server.audit.refusals import Refusals

USER, API_KEY, APPLICATION_KEY = "USER", "API_KEY", "APPLICATION_KEY"
SERVICE, COMMAND_LINE, NOBODY = "SERVICE", "COMMAND_LINE", "ANONYMOUS"

MAX_ACTOR_CHARS, MAX_ACTION_CHARS, MAX_SUBJECT_CHARS = 200, 60, 300
MAX_SUMMARY_CHARS = 2000
MAX_USER_AGENT_CHARS = 300
MAX_PATH_CHARS = 300

T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """Where an event comes from. One object per request; the guard fills in who it is.

    Attributes:
        actor_type: One of the words above.
        actor_id: Of the user, or of the key; never a secret.
        user_id: Of the user a key belongs to.
        actor, org_id: Who, for refusals; None while nobody knows.
        path: Of a route that nobody passes without a permission as it was asked for; of the others the first
            part only, because links that work once are in the rest.
        refusals: Where refusals of this request are counted.
    """

    actor_type: str = SERVICE
    actor_id: str = ""
    user_id: str = ""
    address: str = ""
    user_agent: str = ""
    request_id: str = ""
    method: str = ""
    path: str = ""
    actor: str = ""
    org_id: int | None = None
    refusals: Refusals | None = None

    def to_dict(self) -> dict[str, str]:
        """As it is stored: what is known of it."""
        names = (
            "actor_type", "actor_id", "user_id", "address", "user_agent", "request_id", "method", "path",
        )  # fmt: skip
        return {name: value for name in names if (value := getattr(self, name))}

    def identify(self, principal: Principal, *, path: str) -> None:
        """It is known now who asks, for what."""
        self.actor, self.org_id = principal.user, principal.org_id
        self.actor_type = APPLICATION_KEY if principal.key_id else USER
        self.actor_id = principal.key_id or principal.user_id
        self.user_id = principal.user_id
        self.path = clean(path, MAX_PATH_CHARS)


_present: contextvars.ContextVar[Context | None] = contextvars.ContextVar("sealwire_audit", default=None)


def context() -> Context:
    """Of what runs now."""
    return _present.get() or Context()


def enter(entered: Context) -> contextvars.Token[Context | None]:
    """What runs from here on is of this context, until ``leave``."""
    return _present.set(entered)


def leave(token: contextvars.Token[Context | None]) -> None:
    """Back to what was before ``enter``."""
    _present.reset(token)


def on_the_command_line() -> None:
    """This process was started by somebody on the machine itself, for this one thing."""
    _present.set(Context(actor_type=COMMAND_LINE))


def outside_requests(function: Callable[[], T]) -> T:
    """Call something that starts tasks: what they do is not done by whoever asks now."""
    return contextvars.Context().run(function)


def clean(text: str, limit: int) -> str:
    """Text that every database takes: no control characters, no half characters, at most this long."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clean_address(address: str) -> str:
    """An IP address; what is none is not kept, because a header may have said it."""
    try:
        return str(ip_address(address.partition("%")[0]))
    except ValueError:
        return ""


# Refusals ---------------------------------------------------------------------------------------------


def refused(org_id: int, *, actor: str, action: str, subject: str, summary: str) -> None:
    """Note in the audit trail that somebody was refused; for use while a request is answered.

    Args:
        actor: Who, as far as is known: an email, a key's holder, ``(unknown key)``. Never a secret.
        action: ``access.refused``, ``sign_in.refused``, ...
        subject: What of: equal refusals of one actor are counted together.
    """
    refusals = context().refusals
    if refusals is not None:
        refusals.note(org_id, actor=actor, action=action, subject=subject, summary=summary)


def refused_access(error: NotPermittedError) -> None:
    """Note that somebody who is signed in asked for what they may not do."""
    found = context()
    if found.org_id is None:
        return
    what = f"permission {error.permission}" if error.permission else f"{found.method} {found.path}"
    refused(
        found.org_id, actor=found.actor, action="access.refused", subject=what,
        summary=f"Refused {found.method} {found.path}: {error.public}",
    )  # fmt: skip


# As others know it ------------------------------------------------------------------------------------

#: First part of an action -> name of the event, type of the asset.
_THINGS: Mapping[str, tuple[str, str]] = {
    "access": ("Access Management", "permission"),
    "agent": ("Datadog Agent", "agent"),
    "api_key": ("Authentication", "api_key"),
    "application_key": ("Authentication", "application_key"),
    "audit": ("Audit Trail", "audit_trail"),
    "binding": ("Access Management", "role"),
    "config": ("Remote Configuration", "remote_configuration"),
    "detection_rule": ("Cloud Security Platform", "security_rule"),
    "identity": ("Access Management", "user"),
    "invitation": ("Access Management", "user"),
    "link": ("Access Management", "user"),
    "organisation": ("Organization Management", "org_settings"),
    "password": ("Authentication", "user"),
    "probe": ("Dynamic Instrumentation", "log_probe"),
    "recovery": ("Authentication", "user"),
    "role": ("Access Management", "role"),
    "role_binding": ("Access Management", "role"),
    "root": ("Remote Configuration", "root_key"),
    "security_traces": ("Application Security", "security_traces"),
    "server": ("Organization Management", "control_plane"),
    "session": ("Authentication", "user"),
    "sign_in": ("Authentication", "user"),
    "signal": ("Cloud Security Platform", "security_signal"),
    "targets": ("Remote Configuration", "targets"),
    "totp": ("Authentication", "user"),
    "user": ("Access Management", "user"),
    "webhook": ("Organization Management", "webhook"),
}

#: Product of a config -> the same.
_PRODUCTS: Mapping[str, tuple[str, str]] = {
    "APM_TRACING": ("APM", "remote_configuration"),
    "APM_SAMPLING": ("APM", "samplerconfig"),
    "ASM": ("Application Security", "blocking_configuration"),
    "ASM_DATA": ("Application Security", "ip_user_denylist"),
    "ASM_DD": ("Application Security", "policy_entry"),
    "ASM_FEATURES": ("Application Security", "compatible_services"),
    "CWS_CUSTOM": ("Cloud Security Platform", "cws_agent_rule"),
    "CWS_DD": ("Cloud Security Platform", "cws_agent_rule"),
    "LIVE_DEBUGGING": ("Dynamic Instrumentation", "log_probe"),
    "LIVE_DEBUGGING_SYMBOL_DB": ("Dynamic Instrumentation", "symbol_database"),
}

_DONE: Mapping[str, str] = {
    "changed": "modified",
    "commented": "modified",
    "made": "created",
    "removed": "deleted",
    "retired": "deleted",
    "revoked": "deleted",
    "rotated": "modified",
    "recovered": "modified",
}


@dataclass(frozen=True, slots=True)
class Described:
    """An action in the words of Datadog's Audit Trail."""

    name: str
    asset_type: str
    action: str


def described(action: str, detail: Mapping[str, Any]) -> Described:
    """An action of ours; what the table does not know keeps its own words."""
    thing, _, done = action.partition(".")
    name, asset_type = _THINGS.get(thing, ("Remote Configuration", thing))
    if thing == "config":
        name, asset_type = _PRODUCTS.get(str(detail.get("product", "")), (name, asset_type))
    return Described(name, asset_type, _DONE.get(done, done or action))
