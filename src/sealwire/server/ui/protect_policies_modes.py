"""What rules do when they match, by kind and by rule, and what that would have blocked yesterday."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from litestar import Response, get, post
from litestar.response import Stream

from sealwire.errors import InvalidChangeError, NotPermittedError
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.fleet.uptake import Uptake
from sealwire.server.protect import catalogue, modes, policy
from sealwire.server.protect.catalogue import Catalogue, RuleInfo
from sealwire.server.protect.modes import Modes
from sealwire.server.protect.policy import Plan, Policies
from sealwire.server.store.rows import ConfigRow
from sealwire.server.targeting import Targeting
from sealwire.server.ui import forms
from sealwire.server.ui.forms import Form
from sealwire.server.ui.live import Fragments
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.protect_policies_review import (
    SEE,
    WRITE,
    Asked,
    Delivered,
    decide,
    delivered,
    deliveries,
    known_targets,
    live,
    may_write,
    query,
    target_of,
    wrong_of,
)
from sealwire.server.ui.render import macro, page

MAX_RULES = 60
#: What a choice says; the first is none.
CHOICES = (("default", "As the rule set says"), ("off", "Off"), ("monitor", "Monitor"), ("block", "Block"))


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A kind of rules.

    Attributes:
        default: What the rule set says, in words.
        chosen: default, off, monitor or block.
        rasp: How many of its rules look at what the application does.
        traces_href: To the traces of the last day in which one matched.
    """

    type: str
    words: str
    rules: int
    rasp: int
    default: str
    chosen: str
    matched: int
    traces_href: str


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule; ``mode`` is what it does with all that is chosen here."""

    id: str
    name: str
    type: str
    mode: str
    chosen: str
    matched: int
    traces_href: str


@dataclass(frozen=True, slots=True)
class OtherTarget:
    """Another target with modes of its own."""

    where: str
    href: str


@dataclass(frozen=True, slots=True)
class ModesPage:
    """The modes of a target.

    Attributes:
        more: Rules that are not listed; a search finds them.
        clashes: What other targets say differently to some of the same tracers.
    """

    where: str
    service: str
    env: str
    source: str
    version: str
    types: tuple[TypeRow, ...]
    rules: tuple[RuleRow, ...]
    more: int
    query: str
    choices: tuple[tuple[str, str], ...]
    others: int
    elsewhere: tuple[OtherTarget, ...]
    clashes: tuple[str, ...]
    services: tuple[str, ...]
    envs: tuple[str, ...]
    config_href: str | None
    delivered: Delivered
    live_href: str
    wrong: Mapping[str, str]
    reason: str
    may_write: bool


@get("/protect/modes", opt=SEE, include_in_schema=False)
async def show_modes(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """The modes of a target, by default of the whole organisation."""
    return await _modes_page(request, Policies(plane, tenant, principal), query(request))


@get("/live/protect/modes", opt=SEE, include_in_schema=False)
async def live_modes(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching
) -> Stream:
    """Who has the modes of a target, as they arrive; what is being chosen stays as it is."""
    work = Policies(plane, tenant, principal)
    target = target_of(query(request))
    arrived = macro("protect_policies/_lists.html", "arrived")

    def shown(row: ConfigRow | None, uptakes: Mapping[str, Uptake]) -> Fragments:
        if row is None:
            return {"arrived": arrived(None, Delivered(0, 0))}
        return {"arrived": arrived(f"/configs/{row.config_id}", delivered(uptakes, row.config_id))}

    return await live(viewers, work, lambda: work.own(policy.MODES, target), shown)


@post("/protect/modes", opt=WRITE, status_code=200, include_in_schema=False)
async def set_modes(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Show what modes would do and would have done, then put them in force."""
    work = Policies(plane, tenant, principal)
    form = await forms.read(request)
    if form.text("do") == "edit":
        return await _modes_page(request, work, form)
    try:
        target = target_of(form)
        rules = await catalogue.of(plane, tenant, target)
        present = await modes.of_target(work, target)
        wanted = modes.merged(present, *_typed(form))
        run = await modes.dry_run(work, present, wanted, rules, target)
        clashing = await modes.clashes(work, wanted, target)

        async def make() -> Plan:
            again = modes.merged(await modes.of_target(work, target), *_typed(form))
            return await modes.setting(work, again, rules, target, reason=form.text("reason"))

        carried = [
            (name, form.text(name))
            for name in form.fields
            if name.startswith(("type:", "rule:")) or name in ("service", "env", "reason", "q")
        ]
        return await decide(
            request, work, form, make, title="What rules do", path="/protect/modes", back=_href(target),
            crumb="Modes", carried=carried, facts=_facts(run),
            cautions=modes.cautions(wanted, rules, clashing),
        )  # fmt: skip
    except InvalidChangeError as error:
        return await _modes_page(request, work, form, wrong=wrong_of(error, ("service", "env"), "all"))
    except NotPermittedError as error:
        return await _modes_page(request, work, form, wrong={"all": error.public})


def _typed(form: Form) -> tuple[dict[str, str], dict[str, str]]:
    types = {name[5:]: form.text(name) for name in form.fields if name.startswith("type:")}
    rules = {name[5:]: form.text(name) for name in form.fields if name.startswith("rule:")}
    return types, rules


def _facts(run: modes.DryRun) -> tuple[str, ...]:
    one = run.would_block == 1
    said = [
        f"Of the last 24 hours, {run.would_block:,} request{'' if one else 's'} that passed would have been "
        f"blocked, {run.answered_2xx:,} of them answered with success (2xx)."
        if run.would_block
        else "Of the last 24 hours, no request that passed would have been blocked."
    ]
    if run.let_pass:
        said.append(f"{run.let_pass:,} that were blocked for these rules would have passed.")
    return tuple(said)


def _href(target: Targeting) -> str:
    given = {
        name: ", ".join(values)
        for name, values in (("service", target.service), ("env", target.env))
        if values
    }
    return f"/protect/modes?{urlencode(given)}" if given else "/protect/modes"


async def _modes_page(
    request: Asked, work: Policies, form: Form, *, wrong: Mapping[str, str] | None = None
) -> Response[Any]:
    wrong = dict(wrong or {})
    try:
        target = target_of(form)
    except InvalidChangeError as error:
        target, wrong = Targeting(), {"service": error.public, **wrong}
    rules = await catalogue.of(work.plane, work.tenant, target)
    present = await modes.of_target(work, target)
    types_typed, rules_typed = _typed(form)
    try:
        shown = modes.merged(present, types_typed, rules_typed)
    except InvalidChangeError:
        shown = present
    by_type, by_rule = await modes.matched(work, target)
    clashes = [
        f"The {one.name or one.config_id} for {one.where} say something else of {', '.join(one.names[:5])}."
        for one in await modes.clashes(work, shown, target)
    ]
    services, envs = await known_targets(work)
    row = await work.own(policy.MODES, target)
    text = form.text("q").casefold()
    rule_rows = _rule_rows(shown, rules, by_rule, text)
    elsewhere = tuple(
        OtherTarget(policy.where(theirs), _href(theirs))
        for one in await work.active()
        if one.name == policy.MODES and (theirs := Targeting.parse(one.targeting)) != target
    )
    view = ModesPage(
        where=policy.where(target),
        service=", ".join(target.service),
        env=", ".join(target.env),
        source=rules.source,
        version=rules.version,
        types=_type_rows(shown, rules, by_type),
        rules=rule_rows[:MAX_RULES],
        more=max(0, len(rule_rows) - MAX_RULES),
        query=form.text("q"),
        choices=CHOICES,
        others=len(present.others),
        elsewhere=elsewhere,
        clashes=tuple(clashes),
        services=services,
        envs=envs,
        config_href=None if row is None else f"/configs/{row.config_id}",
        delivered=delivered(await deliveries(work), row.config_id) if row is not None else Delivered(0, 0),
        live_href=f"/live{_href(target)}",
        wrong=wrong,
        reason=form.text("reason"),
        may_write=may_write(work),
    )
    return page(
        request, "protect_policies/modes.html", title="Modes", view=view, principal=work.principal,
        tenant=work.tenant, status_code=422 if wrong else 200,
    )  # fmt: skip


def _type_rows(shown: Modes, rules: Catalogue, matched: Mapping[str, int]) -> tuple[TypeRow, ...]:
    kinds = rules.types
    names = [*kinds, *sorted((set(shown.types) | set(matched)) - set(kinds))]
    return tuple(
        TypeRow(
            type=name,
            words=name.replace("_", " "),
            rules=len(kinds.get(name, ())),
            rasp=sum(rule.is_rasp for rule in kinds.get(name, ())),
            default=_default(kinds.get(name, ())),
            chosen=str(shown.types.get(name, "default")),
            matched=matched.get(name, 0),
            traces_href=f"/security/traces?q={quote(f'@appsec.type:{name}', safe='')}",
        )
        for name in names
    )


def _default(rules: tuple[RuleInfo, ...]) -> str:
    counts = {mode: sum(rule.mode == mode for rule in rules) for mode in ("block", "monitor", "off")}
    said = [f"{count} {mode}" for mode, count in counts.items() if count]
    return said[0].partition(" ")[2] if len(said) == 1 else ", ".join(said) or "–"


def _rule_rows(shown: Modes, rules: Catalogue, matched: Mapping[str, int], text: str) -> tuple[RuleRow, ...]:
    """Those with a mode of their own, those that matched, and those that are looked for."""
    found = []
    for rule in rules.rules.values():
        is_looked_for = bool(text) and text in f"{rule.id} {rule.name} {rule.type}".casefold()
        if is_looked_for or (not text and (rule.id in shown.rules or rule.id in matched)):
            found.append(_rule_row(rule.id, rule.name, rule.type, str(shown.of(rule)), shown, matched))
    unknown = [name for name in shown.rules if name not in rules.rules and text in name.casefold()]
    found += [_rule_row(name, "", "", str(shown.rules[name]), shown, matched) for name in unknown]
    return tuple(sorted(found, key=lambda row: (row.chosen == "default", -row.matched, row.id)))


def _rule_row(
    rule_id: str, name: str, kind: str, mode: str, shown: Modes, matched: Mapping[str, int]
) -> RuleRow:
    return RuleRow(
        rule_id, name, kind, mode, str(shown.rules.get(rule_id, "default")), matched.get(rule_id, 0),
        f"/security/traces?q={quote(f'@appsec.rule_id:{rule_id}', safe='')}",
    )  # fmt: skip


HANDLERS = [show_modes, live_modes, set_modes]
