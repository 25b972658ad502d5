"""Settings of Dynamic Instrumentation: how long and how many snapshots are kept, which names are masked here.

What tracers redact by themselves is shown beside, and what to set in the environment of an application so
that a value never leaves it: nothing of this page is pushed to anybody.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from litestar import Request, Response, get, post
from litestar.response import Redirect

from sealwire.errors import ConflictError, InvalidChangeError, Problem
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.debugger.authoring import services
from sealwire.server.debugger.snapshots import redaction
from sealwire.server.debugger.snapshots import settings as kept
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.render import moment, page
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import Moment

Asked: TypeAlias = Request[Any, Any, Any]
READ: Final = {"permission": "debugger_read"}
MANAGE: Final = {"permission": kept.WRITE}
PATH: Final = "/debugger/settings"
_FIELDS: Final = ("retention_hours", "snapshots_per_s", "redacted_names")


@dataclass(frozen=True, slots=True)
class Variable:
    """A line for the environment of an application, and what it does."""

    key: str
    line: str
    says: str


@dataclass(frozen=True, slots=True)
class DebuggerSettingsPage:
    """The settings.

    Attributes:
        names: As the form has them, one a line.
        wrong: What is wrong with a field, by its name.
        tracers: Names that tracers redact by themselves.
        seen: What was there when the form was made.
    """

    retention_hours: str
    snapshots_per_s: str
    names: str
    seen: str
    may_change: bool
    changed_by: str
    changed_at: Moment
    max_hours: int
    max_per_s: int
    wrong: dict[str, str]
    problem: str
    tracers: tuple[str, ...]
    variables: tuple[Variable, ...]


@get(PATH, opt=READ, include_in_schema=False)
async def show_settings(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """How snapshots are kept."""
    view = _view(tenant, principal)
    return page(
        request, "debugger_settings/settings.html", title="Dynamic Instrumentation: settings", view=view,
        principal=principal, tenant=tenant,
    )  # fmt: skip


@post(PATH, opt=MANAGE, include_in_schema=False)
async def change_settings(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Change them."""
    form = await forms.read(request)
    problem = ""
    wrong: dict[str, str] = {}
    try:
        hours = _number(form, "retention_hours")
        per_s = _number(form, "snapshots_per_s")
        names = [each.strip() for each in form.raw("redacted_names").splitlines() if each.strip()]
        await asyncio.to_thread(
            tenant.debugger_settings.change, retention_hours=hours, snapshots_per_s=per_s,
            redacted_names=names, expected_revision=_revision(form), by=principal.user,
            now_ms=plane.now_ms(),
        )  # fmt: skip
    except InvalidChangeError as error:
        problem = "Correct what is marked below."
        for one in error.problems:
            name = next((each for each in _FIELDS if one.path.startswith(f"$.{each}")), "")
            wrong.setdefault(name, one.message)
    except ConflictError as error:
        problem = str(error)
    else:
        return forms.went(PATH, "The settings are saved.")
    view = _view(tenant, principal, form=form, wrong=wrong, problem=problem)
    return page(
        request, "debugger_settings/settings.html", title="Dynamic Instrumentation: settings", view=view,
        principal=principal, tenant=tenant, status_code=400 if wrong else 409,
    )  # fmt: skip


HANDLERS = [show_settings, change_settings]


def _number(form: forms.Form, name: str) -> int:
    text = form.text(name)
    if not text.isdecimal() or len(text) > 9:
        raise InvalidChangeError("That is no number.", problems=(Problem(f"$.{name}", "a whole number"),))
    return int(text)


def _revision(form: forms.Form) -> int | None:
    seen = form.text("seen")
    return int(seen) if seen.isdecimal() and len(seen) < 10 else None


def _view(
    tenant: Tenant,
    principal: Principal,
    *,
    form: forms.Form | None = None,
    wrong: dict[str, str] | None = None,
    problem: str = "",
) -> DebuggerSettingsPage:
    now = tenant.debugger_settings.current
    return DebuggerSettingsPage(
        retention_hours=str(now.retention_hours) if form is None else form.text("retention_hours"),
        snapshots_per_s=str(now.snapshots_per_s) if form is None else form.text("snapshots_per_s"),
        names="\n".join(now.redacted_names) if form is None else form.raw("redacted_names"),
        seen=str(now.revision),
        may_change=principal.may(kept.WRITE),
        changed_by=visible(now.changed_by, 100),
        changed_at=moment(now.changed_ms / 1000),
        max_hours=kept.MAX_RETENTION_HOURS,
        max_per_s=kept.MAX_PER_S,
        wrong=wrong or {},
        problem=problem,
        tracers=tuple(sorted(redaction.NAMES)),
        variables=tuple(_variables(now.redacted_names)),
    )


def _variables(names: tuple[str, ...]) -> list[Variable]:
    named = ",".join(each for each in names if "," not in each) or "tax_number,iban"
    return [
        Variable(
            "on", f"{services.VARIABLE}=true",
            "Switches Dynamic Instrumentation on where it cannot be done from here.",
        ),
        Variable(
            "adds", f"{redaction.ADDS}={named}",
            "More names whose values never leave the program."
            + (" These are the ones masked here." if names else " For example these."),
        ),
        Variable(
            "types", f"{redaction.TYPES}=shop.payment.Card,shop.secrets.*",
            "Types whose values never leave it; a star at the end stands for anything.",
        ),
        Variable(
            "takes", f"{redaction.TAKES}=session",
            "Names of the tracers' own list that may leave after all.",
        ),
    ]  # fmt: skip
