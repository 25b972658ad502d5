"""Who sees what a program had in its variables. Pure.

Everything that shows anything of a snapshot passes here: lists, pages, live streams, searches, exports.
Values are captures, the message, what a failed expression says, and the message of what was thrown. Who may
not see them sees where and when, which expressions failed, and what type was thrown.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sealwire.server.access.permissions import Principal
from sealwire.server.debugger.snapshots.keep import Kept, Opened
from sealwire.server.debugger.snapshots.snapshot import Capture, EvaluationError, Snapshot, Thrown

CAPTURE: Final = "debugger_capture_variables"
EXPORT: Final = "debugger_export"


def may_see_values(principal: Principal, *, service: str, env: str) -> bool:
    """Whether somebody may see values of this service in this environment."""
    return principal.may_change(CAPTURE, services=(service,) if service else (), envs=(env,) if env else ())


def may_see(principal: Principal, kept: Kept) -> bool:
    """Whether somebody may see the values of this snapshot."""
    return may_see_values(principal, service=kept.service, env=kept.env)


def line(principal: Principal, kept: Kept, message: str, template: str) -> str:
    """The message of a snapshot as somebody may see it.

    Args:
        template: Of the probe (``known(probe_id).template``), which is shown instead; it has no values.
    """
    return message if may_see(principal, kept) else template


def shown(principal: Principal, opened: Opened, template: str = "") -> Snapshot:
    """A snapshot as somebody may see it.

    Args:
        template: Instead of that of the probe as it was then.
    """
    if may_see(principal, opened.kept):
        return opened.snapshot
    return without_values(opened.snapshot, template or opened.template)


def without_values(snapshot: Snapshot, template: str) -> Snapshot:
    """The same snapshot, with nothing that was in the program's variables."""
    return msgspec.structs.replace(
        snapshot,
        message=template,
        captures=tuple(_moment_only(each) for each in snapshot.captures),
        errors=tuple(dict.fromkeys(EvaluationError(each.expression, "") for each in snapshot.errors)),
        values=0,
    )


def _moment_only(capture: Capture) -> Capture:
    thrown = capture.thrown
    return Capture(
        moment=capture.moment,
        thrown=None if thrown is None else Thrown(type=thrown.type, message="", stack=thrown.stack),
    )
