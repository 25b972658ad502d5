"""Before a policy changes: what would be different, for whom, and what to know. Only then it is done.

The form travels in the page; what is done is what was shown, or it is shown again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from litestar import Request, Response
from litestar.response import Stream

from sealwire.errors import ConflictError, InvalidChangeError, Problem
from sealwire.server.authoring.meaning import Change
from sealwire.server.fleet.uptake import NOBODY, Uptake
from sealwire.server.protect.policy import Make, Policies
from sealwire.server.store import read
from sealwire.server.targeting import Targeting
from sealwire.server.ui import forms
from sealwire.server.ui.config_form_views import ReachView, reach_view
from sealwire.server.ui.forms import Form
from sealwire.server.ui.live import Fragments, Watcher
from sealwire.server.ui.render import page

Asked: TypeAlias = Request[Any, Any, Any]
T = TypeVar("T")
SEE, WRITE = {"permission": "appsec_event_rule_read"}, {"permission": "appsec_event_rule_write"}
TO_WRITE = ("appsec_event_rule_write", "rc_config_publish")
POLICIES = "/protect/policies"


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """What a change would do.

    Attributes:
        path: Where it is sent.
        carried: Fields of the form.
        sentence: What will have been done.
        facts: Numbers to know before, such as what would have been blocked.
        is_taking_back: Something goes out of force.
        can_edit: There is a form to go back to.
        moved: Somebody changed the same meanwhile, so that this is shown again.
    """

    title: str
    path: str
    back: str
    crumb: str
    carried: tuple[tuple[str, str], ...]
    digest: str
    sentence: str
    facts: tuple[str, ...]
    cautions: tuple[str, ...]
    changes: tuple[Change, ...]
    warnings: tuple[Problem, ...]
    reach: ReachView
    reason: str
    is_taking_back: bool
    can_edit: bool
    moved: bool


async def decide(
    request: Asked,
    work: Policies,
    form: Form,
    make: Make,
    *,
    title: str,
    path: str,
    back: str,
    crumb: str,
    carried: Sequence[tuple[str, str]],
    facts: Sequence[str] = (),
    cautions: Sequence[str] = (),
    can_edit: bool = True,
) -> Response[Any]:
    """Do what was shown, or show what would be done.

    Raises:
        InvalidChangeError, NotPermittedError: It would not be taken.
    """
    plan = await make()
    if plan.is_idle:
        return forms.did_not(back, "Nothing was changed: it is so already.")
    moved = False
    if form.text("do") == "publish":
        moved = form.text("reviewed") != plan.digest
        if not moved:
            try:
                done = await work.commit(plan)
            except ConflictError:
                plan, moved = await make(), True
            else:
                said = " ".join([done.sentence, *(one.message for one in done.warnings[:1])])
                return forms.went(back, said)
    seen = await work.preview(plan)
    view = ReviewPage(
        title=title,
        path=path,
        back=back,
        crumb=crumb,
        carried=tuple(carried),
        digest=plan.digest,
        sentence=plan.sentence,
        facts=tuple(facts),
        cautions=tuple(cautions),
        changes=seen.changes,
        warnings=seen.warnings,
        reach=reach_view(seen.reach, work.principal, is_new=plan.row is None or plan.payload is None),
        reason=plan.comment,
        is_taking_back=plan.payload is None,
        can_edit=can_edit,
        moved=moved,
    )
    return page(
        request, "protect_policies/review.html", title=title, view=view, principal=work.principal,
        tenant=work.tenant,
    )  # fmt: skip


# Forms ------------------------------------------------------------------------------------------------


def target_of(form: Form) -> Targeting:
    """Services and environments of a form, several with commas.

    Raises:
        InvalidChangeError: They are none.
    """

    def listed(name: str) -> list[str]:
        return [one.strip() for text in form.all(name) for one in text.split(",") if one.strip()]

    given = {name: listed(name) for name in ("service", "env")}
    return Targeting.parse({name: values for name, values in given.items() if values}, "$")


def query(request: Asked) -> Form:
    """The query of an address, read as a form."""
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(str(value))
    return Form(found)


def may_write(work: Policies) -> bool:
    """Whether somebody may change policies of some target."""
    return all(work.principal.may(permission) for permission in TO_WRITE)


def wrong_of(error: InvalidChangeError, names: Sequence[str], rest: str) -> dict[str, str]:
    """What is wrong with each field; ``rest`` is where everything else is said."""
    found: dict[str, str] = {}
    for problem in error.problems:
        name = next(
            (one for one in names if problem.path.startswith((f"$.{one}", f"$.targeting.{one}"))), rest
        )
        name = "reason" if problem.path.startswith("$.comment") else name
        place = f"{problem.path} " if name == rest and problem.path.startswith("$.payload") else ""
        found[name] = f"{found[name]} {problem.message}" if name in found else place + problem.message
    return found or {rest: error.public}


@dataclass(frozen=True, slots=True)
class Delivered:
    """How many of the tracers that shall have it have it."""

    acknowledged: int
    wanted: int


async def deliveries(work: Policies) -> Mapping[str, Uptake]:
    """What became of each config."""
    return work.tenant.uptakes.of(await work.tenant.overview.glance())


async def live(
    viewers: Watcher,
    work: Policies,
    find: Callable[[], Awaitable[T]],
    shown: Callable[[T, Mapping[str, Uptake]], Fragments],
) -> Stream:
    """Policies as they change: found again after a change of configs, with what was delivered meanwhile."""
    seen: int | None = None
    found: T

    def generation() -> int:
        with work.plane.database.read() as c:
            return read.domain(c, work.tenant.organisation.org_id).generation

    async def screen() -> Fragments:
        nonlocal seen, found
        now = await asyncio.to_thread(generation)
        if now != seen:
            found, seen = await find(), now
        return shown(found, work.tenant.uptakes.of(await work.tenant.overview.look()))

    return await viewers.stream(screen)


def delivered(uptakes: Mapping[str, Uptake], *config_ids: str) -> Delivered:
    """Of some configs together."""
    found = [uptakes.get(one, NOBODY) for one in config_ids]
    return Delivered(sum(one.acknowledged for one in found), sum(one.wanted for one in found))


async def known_targets(work: Policies) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Services and environments that are here, for suggestions."""
    if not work.principal.may("fleet_read"):
        return (), ()
    fleet = await work.tenant.overview.glance()
    here = list(work.tenant.uptakes.here(fleet))
    return tuple(
        tuple(sorted({str(line.facts.get(name, "")) for line in here} - {""}))[:500]
        for name in ("service", "env")
    )  # type: ignore[return-value]
