"""What an organisation chose for snapshots: how long, how many, which names are masked when one is opened.

Invariants: every change is audited with what was before; what another control plane on the same database
changed is followed within seconds (``reload``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sealwire.errors import ConflictError, InvalidChangeError, Problem
from sealwire.server.debugger.snapshots.redaction import normal
from sealwire.server.store import debugger as store
from sealwire.server.store import write
from sealwire.server.store.database import Database

WRITE: Final = "org_management"
MAX_RETENTION_HOURS: Final = 24 * 30
MAX_PER_S: Final = 5_000
MAX_NAMES: Final = 200
MAX_NAME_CHARS: Final = 100


class DebuggerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an organisation chose.

    Attributes:
        snapshots_per_s: How many are kept of all its probes together; what is over it is counted.
        redacted_names: Masked when a snapshot is opened, besides what tracers redact by themselves.
        revision: 0 while nobody changed anything.
    """

    retention_hours: int = 24
    snapshots_per_s: int = 500
    redacted_names: tuple[str, ...] = ()
    revision: int = 0
    changed_by: str = ""
    changed_ms: int = 0


class SettingsDesk:
    """The settings of one organisation, held in memory."""

    def __init__(self, database: Database, org_id: int) -> None:
        self._database = database
        self._org_id = org_id
        self.current = DebuggerSettings()
        self.reload()

    def reload(self) -> None:
        """Read what is stored (blocking)."""
        with self._database.read() as c:
            self.current = _settings(store.load_settings(c, self._org_id))

    def change(
        self,
        *,
        retention_hours: int | None = None,
        snapshots_per_s: int | None = None,
        redacted_names: Sequence[str] | None = None,
        expected_revision: int | None = None,
        by: str,
        now_ms: int,
    ) -> DebuggerSettings:
        """Change what is given (blocking); the rest stays.

        Args:
            expected_revision: As the author saw it, where that matters.

        Raises:
            InvalidChangeError: A number is out of bounds, or a name is none.
            ConflictError: Somebody else changed them since.
        """
        problems: list[Problem] = []
        _bounded(retention_hours, 1, MAX_RETENTION_HOURS, "$.retention_hours", problems)
        _bounded(snapshots_per_s, 1, MAX_PER_S, "$.snapshots_per_s", problems)
        names = None if redacted_names is None else _names(redacted_names, problems)
        if problems:
            raise InvalidChangeError("The settings cannot be used as they are.", problems=tuple(problems))
        given: dict[str, Any] = {
            "retention_hours": retention_hours,
            "snapshots_per_s": snapshots_per_s,
            "redacted_names": names,
        }
        with self._database.write() as c:
            write.lock_domain(c, self._org_id)
            before = _settings(store.load_settings(c, self._org_id))
            if expected_revision is not None and expected_revision != before.revision:
                raise ConflictError(
                    "Somebody changed the settings since you saw them; look again.",
                    expected_revision=expected_revision,
                    actual_revision=before.revision,
                )
            changed = {
                key: value
                for key, value in given.items()
                if value is not None and value != getattr(before, key)
            }
            if changed:
                after = msgspec.structs.replace(
                    before, **changed, revision=before.revision + 1, changed_by=by, changed_ms=now_ms
                )
                document = {key: getattr(after, key) for key in given}
                store.save_settings(
                    c, self._org_id, store.SettingsRow(after.revision, json.dumps(document), by, now_ms)
                )
                write.add_audit(
                    c, self._org_id, at_ms=now_ms, actor=by, action="debugger_settings.changed",
                    subject="settings of Dynamic Instrumentation",
                    summary=f"Changed {' and '.join(key.replace('_', ' ') for key in changed)} of snapshots",
                    detail={key: {"from": _plain(getattr(before, key)), "to": _plain(value)}
                            for key, value in changed.items()},
                )  # fmt: skip
            else:
                after = before
        self.current = after
        return after


def _settings(row: store.SettingsRow | None) -> DebuggerSettings:
    if row is None:
        return DebuggerSettings()
    document = msgspec.json.decode(row.document, type=DebuggerSettings)
    return msgspec.structs.replace(
        document, revision=row.revision, changed_by=row.changed_by, changed_ms=row.changed_ms
    )


def _bounded(value: int | None, least: int, most: int, path: str, problems: list[Problem]) -> None:
    if value is not None and not least <= value <= most:
        problems.append(Problem(path, f"a whole number from {least} to {most}"))


def _names(given: Sequence[str], problems: list[Problem]) -> tuple[str, ...]:
    """Each once, however it is spelled, in the order given."""
    if len(given) > MAX_NAMES:
        problems.append(Problem("$.redacted_names", f"at most {MAX_NAMES} names"))
        return ()
    found: dict[str, str] = {}
    for number, name in enumerate(given):
        name = name.strip()
        if not normal(name) or len(name) > MAX_NAME_CHARS or not name.isprintable():
            problems.append(
                Problem(f"$.redacted_names[{number}]", f"1 to {MAX_NAME_CHARS} printable characters")
            )
        else:
            found.setdefault(normal(name), name)
    return tuple(found.values())


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
