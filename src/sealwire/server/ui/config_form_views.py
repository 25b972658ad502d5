"""What the pages of writing a config show, made of drafts, problems and the fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products import ClientFacts, Product
from sealwire.server.access import Principal
from sealwire.server.authoring.editing import PUBLISH
from sealwire.server.authoring.meaning import Change
from sealwire.server.authoring.reach import Clients, Reach, live_reach
from sealwire.server.targeting import SHAPE, Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui import config_draft, render, schema_form
from sealwire.server.ui.config_draft import Draft
from sealwire.server.ui.schema_form import Node
from sealwire.server.ui.views import Moment

MAX_SUGGESTIONS = 200

_FIELD_WORDS: Mapping[str, tuple[str, str, str]] = {
    "service": ("Service", "checkout", "services"),
    "env": ("Environment", "prod", "environments"),
    "language": ("Language", "python", "languages"),
    "app_version": ("Application version", "1.4.2", "application versions"),
    "host_tags": ("Host tag", "role:web", "host tags"),
    "client_id": ("Client", "", "clients"),
}
ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "$.name": ("Name", "in-name"),
    "$.comment": ("Reason", "in-comment"),
    "$.expires_at": ("Ends", "in-expires"),
}


# Views --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedProblem:
    """One mistake, and the element to go to."""

    where: str
    message: str
    href: str


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One field of the targeting: alternatives, the last one empty for another.

    Attributes:
        values: What stands in each input, and what is wrong with it.
        suggestions: What the fleet has of it.
        plural: How several are called.
    """

    field: str
    label: str
    help: str
    example: str
    plural: str
    values: tuple[tuple[str, str], ...]
    suggestions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClientLink:
    """A client by name."""

    href: str
    facts: ClientFacts


@dataclass(frozen=True, slots=True)
class ReachView:
    """Who gets it, for the page.

    Attributes:
        reach: None while the targeting has mistakes.
        named: Whether the viewer may see the fleet: clients by name, and where they are.
        clients, gains, losses: The first of each.
        is_new: Nothing is in force yet, so there is nothing to compare with.
    """

    reach: Reach | None
    named: bool
    clients: tuple[ClientLink, ...]
    gains: tuple[ClientLink, ...]
    losses: tuple[ClientLink, ...]
    is_new: bool


@dataclass(frozen=True, slots=True)
class EditPage:
    """The form.

    Attributes:
        path: Where it is sent.
        root: Fields of the payload; None in JSON mode.
        marks: Problems of the payload as JSON, for the editor.
        limits: What this person may aim at, a sentence each; empty: anything.
        focus: Name of the field to go on at.
        version_bounds: "At least" and "below"; None when the range is said in another way.
        is_unsaved: It holds work that is nowhere else.
    """

    path: str
    back: str
    product: Product
    draft: Draft
    title: str
    notes: tuple[tuple[str, str], ...]
    root: Node | None
    marks: str
    problems: tuple[ListedProblem, ...]
    wrong: Mapping[str, str]
    targeting: tuple[TargetRow, ...]
    version_bounds: tuple[str, str] | None
    version_wrong: str
    reach: ReachView
    periods: tuple[tuple[str, str], ...]
    limits: tuple[str, ...]
    focus: str
    owner: str
    is_unsaved: bool


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """What publishing would do.

    Attributes:
        changes: Of the payload; ``others``: of the rest, in words.
        lines: The text as a diff; ``cut``: it is longer than what is shown.
        nothing: It says what is in force already.
    """

    path: str
    product: Product
    draft: Draft
    title: str
    audience: str
    changes: tuple[Change, ...]
    others: tuple[str, ...]
    warnings: tuple[Problem, ...]
    reach: ReachView
    lines: tuple[tuple[str, str], ...]
    cut: bool
    nothing: bool
    owner: str


@dataclass(frozen=True, slots=True)
class Side:
    """One of two changes of the same revision; of each change whether the other one clashes with it."""

    changes: tuple[tuple[Change, bool], ...]
    others: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]
    text: str


@dataclass(frozen=True, slots=True)
class ConflictPage:
    """Somebody else was first."""

    path: str
    product: Product
    draft: Draft
    title: str
    base_revision: int
    base_text: str
    theirs_revision: int
    theirs_by: str
    theirs_at: Moment
    theirs_comment: str
    retired: bool
    theirs: Side
    mine: Side
    clashes: int
    owner: str


@dataclass(frozen=True, slots=True)
class ChoosePage:
    """What can be configured."""

    products: tuple[Product, ...]


# Problems -----------------------------------------------------------------------------------------------


def is_of_payload(problem: Problem) -> bool:
    elsewhere = ("$.targeting", "$.name", "$.comment", "$.expires_at")
    return not problem.path.startswith(elsewhere)


def within(problem: Problem) -> Problem:
    """The problem at its path within the payload."""
    path = problem.path
    return Problem(
        "$" + path.removeprefix("$.payload") if path.startswith("$.payload") else path, problem.message
    )


def below_payload(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(Problem(f"$.payload{problem.path[1:]}", problem.message) for problem in problems)


def listed(problem: Problem, root: Node | None) -> ListedProblem:
    path = problem.path
    if path in ELSEWHERE:
        words, field = ELSEWHERE[path]
        return ListedProblem(words, problem.message, f"#{field}")
    if path.startswith("$.targeting"):
        field = path.removeprefix("$.targeting").strip(".").partition("[")[0]
        label = (
            _FIELD_WORDS[field][0] if field in _FIELD_WORDS else "Tracer version" if field else "Who gets it"
        )
        return ListedProblem(label, problem.message, f"#row-{field}" if field else "#targeting")
    inner = within(problem).path
    if root is None:
        return ListedProblem(inner, problem.message, "#json")
    return ListedProblem(inner, problem.message, f"#{schema_form.field_of(root, inner)}")


def first_field(root: Node | None, name: str) -> str:
    """The first field in what was just added; the name itself when it is one, or is gone."""
    if root is None or not name:
        return name
    found = _find(root, name)
    while found is not None and found.kind in ("record", "list", "map") and found.members:
        found = found.members[-1] if found.kind != "record" else found.members[0]
        if found.key is not None:
            break
    return found.name if found is not None else name


def _find(node: Node, name: str) -> Node | None:
    for one in (*node.members, *node.rare):
        if one.name == name:
            return one
        if name.startswith(one.name + "."):
            return _find(one, name)
    return None


# Who it is for ------------------------------------------------------------------------------------------


def target_rows(
    targeting: Mapping[str, Any], by_path: Mapping[str, str], clients: Sequence[ClientFacts]
) -> tuple[TargetRow, ...]:
    known: dict[str, set[str]] = {field: set() for field in config_draft.LIST_FIELDS}
    for facts in clients:
        for field in config_draft.LIST_FIELDS:
            if field == "host_tags":
                known[field].update(facts.host_tags)
            elif len(known[field]) < 10 * MAX_SUGGESTIONS:
                known[field].add(str(getattr(facts, field)))
    found = []
    for field, (label, example, plural) in _FIELD_WORDS.items():
        values = list(config_draft.values_of(targeting, field))
        shown = [
            (value, by_path.get(f"$.targeting.{field}[{index}]", "")) for index, value in enumerate(values)
        ]
        says = str(getattr(SHAPE.members[field], "says", ""))
        found.append(
            TargetRow(
                field, label, says, example, plural, (*shown, ("", "")),
                tuple(sorted(known[field] - {"", *values})[:MAX_SUGGESTIONS]),
            )
        )  # fmt: skip
    return tuple(found)


async def current_reach(
    tenant: Tenant,
    principal: Principal,
    product: Product,
    targeting: Mapping[str, Any],
    config_id: str | None,
) -> ReachView:
    try:
        target = Targeting.parse(dict(targeting))
    except InvalidChangeError:
        return ReachView(None, False, (), (), (), config_id is None)
    found = await live_reach(tenant, product, target, config_id=config_id)
    is_new = config_id is None or config_id not in tenant.publisher.catalogue.active
    return reach_view(found, principal, is_new=is_new)


def reach_view(found: Reach, principal: Principal, *, is_new: bool) -> ReachView:
    def links(some: Clients) -> tuple[ClientLink, ...]:
        return tuple(ClientLink(render.client_href(one.client_id), one) for one in some.first)

    if not principal.may("fleet_read"):
        return ReachView(found, False, (), (), (), is_new)
    return ReachView(found, True, links(found.now), links(found.gains), links(found.losses), is_new)


def limits(principal: Principal, product: Product) -> tuple[str, ...]:
    """What somebody may aim configs of a product at, in words; nothing when that is anything."""
    said = []
    for grant in principal.grants:
        if not {PUBLISH, product.writes} <= grant.role.permissions:
            continue
        if not grant.services and not grant.envs:
            return ()
        services = f"service {' or '.join(sorted(grant.services))}" if grant.services else ""
        envs = f"environment {' or '.join(sorted(grant.envs))}" if grant.envs else ""
        said.append(" in ".join(filter(None, (services, envs))))
    return tuple(said)
