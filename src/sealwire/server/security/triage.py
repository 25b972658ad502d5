"""What people make of signals: how far they are with one, whose it is, what they said of it.

Triage stands beside what detection knows: a signal that is archived goes on to grow, and one that ended may
wait for somebody. Everything is in the audit trail, and whoever's role is for some services only changes
nothing of the signals of others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from sealwire.errors import InvalidChangeError, NotFoundError, Problem
from sealwire.server.store import people, write
from sealwire.server.store import security as store
from sealwire.server.store.security import Comment, SignalRow

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sealwire.server.access.permissions import Principal
    from sealwire.server.store.database import Database

OPEN, UNDER_REVIEW, ARCHIVED = "open", "under_review", "archived"
STATES: Final = {OPEN: "Open", UNDER_REVIEW: "Under review", ARCHIVED: "Archived"}
REASONS: Final = {
    "remediated": "Dealt with",
    "false_positive": "False positive",
    "testing": "Testing or maintenance",
    "harmless": "True, but harmless",
    "other": "Another reason",
}
MAX_COMMENT_CHARS: Final = 4_000
MAX_COMMENTS: Final = 500  # of one signal
MAX_AT_ONCE: Final = 200
WRITE: Final = "security_monitoring_signals_write"


class Change(msgspec.Struct):
    """What is to become of a signal; None leaves it as it is.

    Attributes:
        triage: One of ``STATES``.
        archive_reason: One of ``REASONS``; with ``archived`` only, and needed there.
        assignee: The email of somebody of the organisation; empty for nobody.
    """

    triage: str | None = None
    archive_reason: str | None = None
    assignee: str | None = None


class Triage:
    """What people do with the signals of one organisation. Everything here blocks."""

    def __init__(self, database: Database, org_id: int) -> None:
        self._database = database
        self._org_id = org_id

    def people(self, by: Principal) -> list[str]:
        """Whom a signal may be given to: who can sign in, and whoever asks."""
        with self._database.read() as c:
            found = {user.email for user in people.users(c, self._org_id) if user.is_active}
        return sorted(found | {by.user})

    def get(self, signal_id: str) -> SignalRow:
        """One signal.

        Raises:
            NotFoundError: There is none.
        """
        with self._database.read() as c:
            row = store.signal(c, self._org_id, signal_id)
        if row is None:
            raise _missing(signal_id)
        return row

    def comments(self, signal_id: str) -> list[Comment]:
        """What was said of a signal, oldest first."""
        with self._database.read() as c:
            return store.comments(c, self._org_id, signal_id)

    def change(
        self, signal_ids: Sequence[str], change: Change, *, by: Principal, now_ms: int
    ) -> list[SignalRow]:
        """Do the same to one signal or several: to all of them, or to none.

        Raises:
            InvalidChangeError: What is to become of them is none of what can.
            NotFoundError: One is not there.
            NotPermittedError: One is of a service that is not theirs to decide on.
        """
        wanted = list(dict.fromkeys(signal_ids))
        if not 1 <= len(wanted) <= MAX_AT_ONCE:
            raise InvalidChangeError(
                "Choose at least one signal." if not wanted else f"Choose at most {MAX_AT_ONCE} signals.",
                problems=(Problem("$.ids", f"1 to {MAX_AT_ONCE} signals"),),
            )
        self._check(change, by)
        with self._database.write() as c:
            found = []
            for signal_id in wanted:
                row = store.signal(c, self._org_id, signal_id)
                if row is None:
                    raise _missing(signal_id)
                _require(by, row)
                found.append(row)
            for row in found:
                self._apply(c, row, change, by=by.user, now_ms=now_ms)
            after = [store.signal(c, self._org_id, row.signal.id) for row in found]
        return [row for row in after if row is not None]

    def comment(self, signal_id: str, text: str, *, by: Principal, now_ms: int) -> Comment:
        """Say something of a signal.

        Raises:
            InvalidChangeError: It is empty or too long, or there are too many.
            NotFoundError, NotPermittedError: As ``change``.
        """
        said = showable(text).strip()
        if not 1 <= len(said) <= MAX_COMMENT_CHARS:
            message = f"1 to {MAX_COMMENT_CHARS} characters"
            raise InvalidChangeError(f"A comment has {message}.", problems=(Problem("$.text", message),))
        with self._database.write() as c:
            row = store.signal(c, self._org_id, signal_id)
            if row is None:
                raise _missing(signal_id)
            _require(by, row)
            if row.comments >= MAX_COMMENTS:
                message = f"at most {MAX_COMMENTS} comments"
                raise InvalidChangeError(f"A signal has {message}.", problems=(Problem("$.text", message),))
            store.add_comment(c, self._org_id, signal_id, by=by.user, at_ms=now_ms, text=said)
            write.add_audit(
                c, self._org_id, at_ms=now_ms, actor=by.user, action="signal.commented",
                subject=f"signal {signal_id}", summary=f"Commented on the signal {row.signal.title}",
                detail={"text": said},
            )  # fmt: skip
            return store.comments(c, self._org_id, signal_id)[-1]

    def _check(self, change: Change, by: Principal) -> None:
        problems = []
        if change.triage is not None and change.triage not in STATES:
            problems.append(Problem("$.triage", f"one of {', '.join(STATES)}"))
        if change.triage == ARCHIVED and change.archive_reason not in REASONS:
            problems.append(Problem("$.archive_reason", f"one of {', '.join(REASONS)}"))
        if change.triage != ARCHIVED and change.archive_reason:
            problems.append(Problem("$.archive_reason", "only with archived"))
        if change.assignee and change.assignee not in self.people(by):
            problems.append(Problem("$.assignee", "the email of somebody of this organisation"))
        if change.triage is None and change.assignee is None and not problems:
            problems.append(Problem("$", "say what shall be different"))
        if problems:
            raise InvalidChangeError("That cannot become of a signal.", problems=tuple(problems))

    def _apply(self, c: sa.Connection, row: SignalRow, change: Change, *, by: str, now_ms: int) -> None:
        triage = row.triage if change.triage is None else change.triage
        reason = row.archive_reason if change.triage is None else change.archive_reason or ""
        assignee = row.assignee if change.assignee is None else change.assignee
        if (triage, reason, assignee) == (row.triage, row.archive_reason, row.assignee):
            return
        store.set_triage(
            c, self._org_id, row.signal.id, triage=triage, archive_reason=reason, assignee=assignee, by=by,
            at_ms=now_ms,
        )  # fmt: skip
        words = []
        if (triage, reason) != (row.triage, row.archive_reason):
            words.append(STATES[triage] + (f": {REASONS[reason]}" if reason else ""))
        if assignee != row.assignee:
            words.append(f"given to {assignee}" if assignee else "given to nobody")
        write.add_audit(
            c, self._org_id, at_ms=now_ms, actor=by, action="signal.changed",
            subject=f"signal {row.signal.id}",
            summary=f"Signal {row.signal.title}: {', '.join(words)}",
            detail={
                "before": {
                    "triage": row.triage, "archive_reason": row.archive_reason, "assignee": row.assignee,
                },
                "after": {"triage": triage, "archive_reason": reason, "assignee": assignee},
            },
        )  # fmt: skip


def may_change(by: Principal, row: SignalRow) -> bool:
    """Whether it is theirs to decide on a signal."""
    return by.may(WRITE) and by.may_change(WRITE, services=_services(row), envs=_envs(row))


def _require(by: Principal, row: SignalRow) -> None:
    by.require_change(WRITE, services=_services(row), envs=_envs(row))


def _services(row: SignalRow) -> list[str]:
    service = row.signal.group.get("service", "")
    return [service] if service else list(row.signal.services)


def _envs(row: SignalRow) -> list[str]:
    env = row.signal.group.get("env", "")
    return [env] if env else []


def showable(text: str) -> str:
    """Text without characters that hide, turn the direction of writing, or that no database takes."""
    text = text.replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(c if is_showable(c) else "\ufffd" for c in text)


def is_showable(c: str) -> bool:
    """Whether a character shows; line breaks, and what joins letters in some scripts, count as well."""
    return c.isprintable() or c in "\n\t\u200c\u200d" or unicodedata.category(c) == "Zs"


def _missing(signal_id: str) -> NotFoundError:
    return NotFoundError(f"There is no signal {showable(signal_id)[:40]}.")
