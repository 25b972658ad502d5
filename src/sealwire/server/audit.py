"""Who did what: the context of a request as the audit trail keeps it, and refusals, counted.

The context travels with the request, through threads too: whoever writes an audit row gives what was done,
and by whom it was asked, from where and with which request comes from here. What a loop of the program does
by itself is done by a ``SERVICE``; a task that outlives a request must not be started inside of its context
(``outside_requests``).

Refusals are events as well, and anybody can cause them: equal ones are counted for a minute, and there is a
bound on how many rows an hour an organisation may gain by them. The first is written at once.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from sealwire.errors import NotPermittedError

if TYPE_CHECKING:
    from sealwire.server.access.permissions import Principal

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

WINDOW_S = 60.0
MAX_WINDOWS = 200  # of one organisation at a time; what is more is counted together
ROWS_AN_HOUR = 240
MAX_ADDRESSES = 5


@dataclass(frozen=True, slots=True)
class Refused:
    """One kind of refusal, counted."""

    org_id: int
    actor: str
    action: str
    subject: str
    summary: str
    context: Mapping[str, str]
    at_ms: int
    count: int = 1
    first_ms: int = 0
    addresses: tuple[str, ...] = ()


@dataclass(slots=True)
class _Window:
    waiting: Refused | None
    written_s: float | None = None


@dataclass(slots=True)
class _Hour:
    began_s: float
    rows: int = 0


@dataclass(slots=True)
class Refusals:
    """Refusals on their way to the audit trail, from any thread.

    Args:
        write: Writes rows, blocking; what it raises leaves everything waiting.
    """

    write: Callable[[Sequence[Refused]], None]
    clock: Callable[[], float] = time.time
    _windows: dict[tuple[int, str, str, str], _Window] = field(default_factory=dict)
    _hours: dict[int, _Hour] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def note(self, org_id: int, *, actor: str, action: str, subject: str, summary: str) -> None:
        """Count a refusal; costs nothing but memory."""
        now_s = self.clock()
        found = context()
        one = Refused(
            org_id, clean(actor, MAX_ACTOR_CHARS), action, clean(subject, MAX_SUBJECT_CHARS),
            clean(summary, MAX_SUMMARY_CHARS), found.to_dict(), int(now_s * 1000),
            first_ms=int(now_s * 1000), addresses=(found.address,) if found.address else (),
        )  # fmt: skip
        with self._lock:
            key = (org_id, one.actor, one.action, one.subject)
            if key not in self._windows and self._is_full(org_id, now_s):
                key = (org_id, "", action, "")
                one = replace(
                    one, actor="(many)", subject="", summary="Refused more than is listed one by one"
                )
            window = self._windows.setdefault(key, _Window(None))
            window.waiting = one if window.waiting is None else _added(window.waiting, one)

    def _is_full(self, org_id: int, now_s: float) -> bool:
        hour = self._hours.get(org_id)
        if hour is not None and now_s - hour.began_s < 3600 and hour.rows >= ROWS_AN_HOUR:
            return True
        return sum(key[0] == org_id for key in self._windows) >= MAX_WINDOWS

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to do for ``flush``."""
        return bool(self._windows)

    def flush(self, *, everything: bool = False) -> None:
        """Write what is due (blocking): the first of its kind at once, then one row a minute."""
        with self._writing:
            now_s = self.clock()
            with self._lock:
                due: list[tuple[tuple[int, str, str, str], Refused]] = []
                for key, window in list(self._windows.items()):
                    passed = window.written_s is None or now_s - window.written_s >= WINDOW_S
                    if window.waiting is not None and (passed or everything):
                        due.append((key, window.waiting))
                        window.waiting = None
                        window.written_s = now_s
                    elif window.waiting is None and passed:
                        del self._windows[key]
                for key, _ in due:
                    hour = self._hours.get(key[0])
                    if hour is None or now_s - hour.began_s >= 3600:
                        hour = self._hours[key[0]] = _Hour(now_s)
                    hour.rows += 1
            if not due:
                return
            try:
                self.write([one for _, one in due])
            except Exception:
                with self._lock:
                    for key, one in due:
                        window = self._windows.setdefault(key, _Window(None))
                        window.waiting = one if window.waiting is None else _added(one, window.waiting)
                        window.written_s = None
                raise


def _added(held: Refused, one: Refused) -> Refused:
    addresses = held.addresses
    for address in one.addresses:
        if address not in addresses and len(addresses) < MAX_ADDRESSES:
            addresses += (address,)
    return replace(one, count=held.count + one.count, first_ms=held.first_ms, addresses=addresses)


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


def detail_of(one: Refused) -> dict[str, Any]:
    """What a row of refusals says besides."""
    return {"count": one.count, "first_ms": one.first_ms, "addresses": list(one.addresses)}
