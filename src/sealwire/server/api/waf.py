"""Rules tried before anybody gets them: what the tracers' engine says of them, and they of pasted requests.

Nothing is changed here. Rules are drafts, configs that are stored, and those that tracers bring along; as in
a tracer, a ruleset of one's own takes the place of the bundled one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from litestar import post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products import get as get_product
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.authoring.editing import Editor
from sealwire.server.waf import engine as waf
from sealwire.server.waf import sample_request
from sealwire.server.waf.box import MAX_BUDGET_MS, MAX_REQUESTS, PRODUCTS, findings
from sealwire.server.waf.sample_request import SampleRequest, Told

MAX_DOCUMENTS = 200
BLOCKING = frozenset({"block_request", "redirect_request"})
_SEE = {"permission": "appsec_event_rule_read"}


class Draft(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A payload that need not be stored."""

    product: Literal["ASM", "ASM_DATA", "ASM_DD"]
    payload: dict[str, Any]


class Drafts(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Rules to look at."""

    drafts: Annotated[list[Draft], msgspec.Meta(max_length=MAX_DOCUMENTS)]


class Trial(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Requests to try on rules.

    Attributes:
        requests: Each raw HTTP/1.1, a curl command line, or a JSON object.
        config_ids: Configs whose rules are there.
        drafts: More rules, that need not be stored.
        client_ip: The peer of requests that do not say.
        user: Who is signed in in requests that do not say.
        budget_ms: For each request.
    """

    requests: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_REQUESTS)]
    config_ids: Annotated[list[str], msgspec.Meta(max_length=MAX_DOCUMENTS)] = []
    drafts: Annotated[list[Draft], msgspec.Meta(max_length=MAX_DOCUMENTS)] = []
    client_ip: Annotated[str, msgspec.Meta(max_length=100)] = ""
    user: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    budget_ms: Annotated[float, msgspec.Meta(ge=0.1, le=MAX_BUDGET_MS)] = MAX_BUDGET_MS


@dataclass(frozen=True, slots=True)
class _Given:
    """A document for the engine, and where it came from."""

    path: str
    product: str
    raw: bytes
    config_id: str | None = None
    draft: int | None = None


class Section(TypedDict):
    """What became of one array of a document.

    Attributes:
        error: Why all of it was refused.
        loaded: How many elements are in force.
        failed, skipped: Ids of elements; index:3 for one without.
        reasons: The engine's words, and the elements they are about.
    """

    name: str
    error: str
    loaded: int
    failed: list[str]
    skipped: list[str]
    reasons: Mapping[str, Sequence[str]]


class Document(TypedDict):
    """What became of a document in the engine.

    Attributes:
        config_id: Of a config; null for a draft and for the bundled rules.
        draft: Which of the drafts, from 0.
        taken: Whether any of it is in force.
        error: Why all of it was refused.
        problems: What was refused, at JSON paths of the payload, in the engine's words.
        warnings: What was left out.
    """

    product: str
    config_id: str | None
    draft: int | None
    taken: bool
    error: str
    rules_version: str
    sections: list[Section]
    problems: list[shapes.ProblemAt]
    warnings: list[shapes.ProblemAt]


class Checked(TypedDict):
    """What the engine says of rules.

    Attributes:
        engine: Its version.
        built_ms: How long a process takes to load them; 0 where they were loaded already.
    """

    engine: str
    documents: list[Document]
    built_ms: float


class Match(TypedDict):
    """Where a condition held.

    Attributes:
        parameter: Of the operator, where it has several.
        key_path: Keys and positions below the address.
        value: What was there, as the engine tells it.
        highlight: What of it matched.
    """

    operator: str
    operator_value: str
    parameter: str
    address: str
    key_path: list[str | int]
    value: str
    highlight: list[str]


class Event(TypedDict):
    """A rule that matched."""

    rule_id: str
    name: str
    type: str
    category: str
    tags: Mapping[str, str]
    on_match: list[str]
    matches: list[Match]


class Action(TypedDict):
    """What a tracer would do, such as block_request."""

    type: str
    parameters: Mapping[str, Any]


class Tried(TypedDict):
    """What the rules say of a request.

    Attributes:
        form: What it was written as: http, curl or json.
        addresses: What the rules were told.
        notes: What they were not told.
        blocked: Whether a tracer would not let it pass.
        attributes: Tags on the trace.
        keep: Whether the trace would be kept.
        timed_out: The budget was spent before all rules were tried.
        problem: Why it was not tried.
    """

    form: str
    method: str
    uri: str
    addresses: Mapping[str, Any]
    notes: list[str]
    blocked: bool
    events: list[Event]
    actions: list[Action]
    attributes: Mapping[str, Any]
    keep: bool
    timed_out: bool
    took_us: int
    problem: str


class Outcome(Checked):
    """What rules say of requests.

    Attributes:
        bundled: Whether the rules that tracers bring along were there.
        results: One for each request.
    """

    bundled: bool
    results: list[Tried]


@post("/waf:check", status_code=200, opt=_SEE)
async def check_rules(data: JSONBody[Drafts], plane: Plane, principal: Asker) -> Checked:
    """What the tracers' own engine says of rules, without the bundled ones."""
    given = _drafts(data.drafts)
    for draft in data.drafts:
        principal.require(get_product(draft.product).reads)
    answer = await plane.waf.run({one.path: one.raw for one in given}, (), bundled=False)
    return {
        "engine": answer.version,
        "documents": _documents(given, answer.diagnostics),
        "built_ms": answer.built_us / 1000,
    }


@post("/waf:try", status_code=200, opt=_SEE)
async def try_requests(data: JSONBody[Trial], tenant: OwnTenant, plane: Plane, principal: Asker) -> Outcome:
    """What rules say of pasted requests: which match where, and what a tracer would do.

    The rules are the bundled ones, unless a ruleset is among the rest, then the configs, then the drafts.
    """
    for draft in data.drafts:
        principal.require(get_product(draft.product).reads)
    samples = await asyncio.to_thread(_samples, data)
    editor = Editor(tenant, principal, now=plane.clock())
    given = []
    for index, config_id in enumerate(dict.fromkeys(data.config_ids)):
        row = await editor.get(config_id)
        if row.product not in PRODUCTS:
            words = f"Config {config_id} is one of {row.product}, which has no rules of the firewall."
            raise InvalidChangeError(words, problems=(Problem(f"$.config_ids[{index}]", words),))
        given.append(
            _Given(f"{row.product}/{row.config_id}", row.product, row.payload, config_id=row.config_id)
        )
    given += _drafts(data.drafts)
    bundled = plane.waf.has_bundled and all(one.product != "ASM_DD" for one in given)
    answer = await plane.waf.run(
        {one.path: one.raw for one in given},
        [told.addresses for _, told in samples],
        bundled=bundled,
        budget_ms=data.budget_ms,
    )
    if bundled:
        given.insert(0, _Given(waf.BUNDLED, "ASM_DD", b"{}"))
    return {
        "engine": answer.version,
        "documents": _documents(given, answer.diagnostics),
        "built_ms": answer.built_us / 1000,
        "bundled": bundled,
        "results": [
            _tried(sample, told, verdict)
            for (sample, told), verdict in zip(samples, answer.verdicts, strict=True)
        ],
    }


def _drafts(drafts: Sequence[Draft]) -> list[_Given]:
    return [
        _Given(f"{one.product}/draft-{index}", one.product, msgspec.json.encode(one.payload), draft=index)
        for index, one in enumerate(drafts)
    ]


def _samples(data: Trial) -> list[tuple[SampleRequest, Told]]:
    """The requests, or all that is wrong with them."""
    samples: list[tuple[SampleRequest, Told]] = []
    problems: list[Problem] = []
    for index, text in enumerate(data.requests):
        try:
            sample = sample_request.parse(text, path=f"$.requests[{index}]")
        except InvalidChangeError as error:
            problems.extend(error.problems)
        else:
            samples.append((sample, sample_request.tell(sample, peer=data.client_ip, user=data.user)))
    if problems:
        number = len(problems)
        words = problems[0].message if number == 1 else f"{number} of these requests are none."
        raise InvalidChangeError(words, problems=tuple(problems))
    return samples


def _documents(given: Sequence[_Given], said: Sequence[waf.Diagnostics]) -> list[Document]:
    return [_document(one, diagnostics) for one, diagnostics in zip(given, said, strict=True)]


def _document(given: _Given, said: waf.Diagnostics) -> Document:
    found = findings(msgspec.json.decode(given.raw), said)
    return {
        "product": given.product,
        "config_id": given.config_id,
        "draft": given.draft,
        "taken": said.taken,
        "error": said.error,
        "rules_version": said.rules_version,
        "sections": [
            {
                "name": section.name,
                "error": section.error,
                "loaded": len(section.loaded),
                "failed": list(section.failed),
                "skipped": list(section.skipped),
                "reasons": section.reasons,
            }
            for section in said.sections
        ],
        "problems": shapes.problems(found.problems),
        "warnings": shapes.problems(found.warnings),
    }


def _tried(sample: SampleRequest, told: Told, verdict: waf.Verdict) -> Tried:
    return {
        "form": sample.form,
        "method": sample.method,
        "uri": sample.target,
        "addresses": told.addresses,
        "notes": list(told.notes),
        "blocked": any(action.type in BLOCKING for action in verdict.actions),
        "events": [event_said(event) for event in verdict.events],
        "actions": [{"type": one.type, "parameters": one.parameters} for one in verdict.actions],
        "attributes": verdict.attributes,
        "keep": verdict.keep,
        "timed_out": verdict.timed_out,
        "took_us": verdict.took_us,
        "problem": verdict.problem,
    }


def event_said(event: waf.Event) -> Event:
    """A rule that matched, as the API says it."""
    return {
        "rule_id": event.rule_id,
        "name": event.name,
        "type": event.type,
        "category": event.category,
        "tags": event.tags,
        "on_match": list(event.on_match),
        "matches": [
            {
                "operator": match.operator,
                "operator_value": match.operator_value,
                "parameter": match.parameter,
                "address": match.address,
                "key_path": list(match.key_path),
                "value": match.value,
                "highlight": list(match.highlight),
            }
            for match in event.matches
        ],
    }


HANDLERS: list[ControllerRouterHandler] = [check_rules, try_requests]
