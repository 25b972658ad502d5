"""What a blocked visitor gets: the action ``block`` of a target, an answer or a redirect.

One ASM config per target. Of two configs that reach one tracer with an action of the same id the engine takes
only one, so the second is refused when it is saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products.waf_rules import location_is_wrong
from sealwire.server.protect import policy
from sealwire.server.protect.policy import ASM, BLOCK_PAGE, Plan, Policies
from sealwire.server.store import rows
from sealwire.server.targeting import Targeting

BLOCK = "block"
TYPES = ("auto", "html", "json", "none")
MAX_LOCATION = 2048
REDIRECTS = (301, 302, 303, 307)
#: Those that people want; any from 200 to 599 is taken.
STATUSES: Mapping[int, str] = {
    403: "Forbidden", 404: "Not Found", 401: "Unauthorized", 406: "Not Acceptable", 410: "Gone",
    418: "I'm a teapot", 429: "Too Many Requests", 503: "Service Unavailable",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """What a blocked visitor gets.

    Attributes:
        type: ``auto`` (as the Accept header asks), ``html``, ``json`` or ``none``; ``redirect``.
    """

    status: int = 403
    type: str = "auto"
    location: str = ""

    @property
    def words(self) -> str:
        """In words."""
        if self.type == "redirect":
            return f"{self.status} to {self.location}"
        what = {
            "auto": "HTML or JSON, as the Accept header asks",
            "html": "HTML",
            "json": "JSON",
            "none": "no text",
        }
        return f"{self.status} with {what[self.type]}"


DEFAULT = Page()


@dataclass(frozen=True, slots=True)
class Listed:
    """A block page that is in force."""

    page: Page
    row: rows.ConfigRow
    target: Targeting
    is_ours: bool


def checked(*, status: int, kind: str, location: str = "") -> Page:
    """A page of what somebody typed.

    Raises:
        InvalidChangeError: With the problem of each field.
    """
    problems = []
    if kind == "redirect":
        if status not in REDIRECTS:
            problems.append(Problem("$.status", "A redirect has the status 301, 302, 303 or 307."))
        if why := location_is_wrong(location):
            problems.append(Problem("$.location", why))
        elif len(location) > MAX_LOCATION:
            problems.append(Problem("$.location", f"At most {MAX_LOCATION} characters."))
    elif kind not in TYPES:
        problems.append(Problem("$.type", "auto, html, json, none or redirect"))
    elif not 200 <= status <= 599:
        problems.append(Problem("$.status", "A status from 200 to 599."))
    if problems:
        raise InvalidChangeError(problems[0].message, problems=tuple(problems))
    return Page(status, kind, location if kind == "redirect" else "")


def rendered(page: Page) -> dict[str, Any]:
    """The action."""
    if page.type == "redirect":
        parameters: dict[str, Any] = {"status_code": page.status, "location": page.location}
        return {"id": BLOCK, "type": "redirect_request", "parameters": parameters}
    return {
        "id": BLOCK, "type": "block_request", "parameters": {"status_code": page.status, "type": page.type},
    }  # fmt: skip


def read(action: Mapping[str, Any]) -> Page | None:
    """The page an action says; None for one that is another."""
    parameters = action.get("parameters", {})
    if action.get("id") != BLOCK:
        return None
    if action.get("type") == "redirect_request":
        return Page(int(parameters.get("status_code", 303)), "redirect", str(parameters.get("location", "")))
    if action.get("type") != "block_request":
        return None
    return Page(int(parameters.get("status_code", 403)), str(parameters.get("type", "auto")))


async def listed(work: Policies) -> list[Listed]:
    """Every block page that is in force."""
    found = []
    for row in await work.active():
        for action in policy.array(policy.payload_of(row), "actions"):
            page = read(action)
            if page is not None:
                found.append(Listed(page, row, Targeting.parse(row.targeting), row.name == BLOCK_PAGE))
    return found


async def of_target(work: Policies, target: Targeting) -> Page | None:
    """The page of exactly this target; None where none was made."""
    row = await work.own(BLOCK_PAGE, target)
    if row is None:
        return None
    return next(filter(None, map(read, policy.array(policy.payload_of(row), "actions"))), None)


async def setting(work: Policies, page: Page | None, target: Targeting, *, reason: str) -> Plan:
    """The plan to have this page for exactly this target; None: the tracers' own.

    Raises:
        InvalidChangeError: Another page reaches some of the same tracers.
    """
    row = await work.own(BLOCK_PAGE, target)
    if page is not None:
        for other in await listed(work):
            is_own = row is not None and other.row.config_id == row.config_id
            if not is_own and other.target.may_overlap(target):
                words = (
                    f"There is a block page for {policy.where(other.target)} (config {other.row.config_id}), "
                    "and a tracer takes only one: change that one, or take it back first."
                )
                raise InvalidChangeError(words, problems=(Problem("$.target", words),))
    present = {} if row is None else policy.payload_of(row)
    others = [one for one in policy.array(present, "actions") if one.get("id") != BLOCK]
    payload = policy.with_array(present, "actions", others if page is None else [*others, rendered(page)])
    words = f"Blocked visitors of {policy.where(target)} get "
    words += "what their tracer has again." if page is None else f"{page.words}."
    return Plan(
        product=ASM, name=BLOCK_PAGE, target=target, row=row, payload=payload, comment=reason, sentence=words
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody sees.

    Attributes:
        asks: The Accept header.
        lines: Of the answer's head.
        body: What is in it; ``page``, ``json``, ``none`` or ``away``.
    """

    asks: str
    lines: tuple[str, ...]
    body: str


def seen(page: Page) -> tuple[Seen, ...]:
    """What a browser and a program see."""
    status = f"HTTP/1.1 {page.status} {_reason(page.status)}".strip()
    if page.type == "redirect":
        location = page.location.replace("[security_response_id]", "3f1c0f3e-5b0a-4c55-9a0d-0f6d6ad20c11")
        return (Seen("text/html", (status, f"Location: {location}"), "away"),)
    html = Seen("text/html", (status, "Content-Type: text/html"), "page")
    json = Seen("application/json", (status, "Content-Type: application/json"), "json")
    return {
        "auto": (html, json),
        "html": (html,),
        "json": (json,),
        "none": (Seen("*/*", (status,), "none"),),
    }[page.type]


def _reason(status: int) -> str:
    return {301: "Moved Permanently", 302: "Found", 303: "See Other", 307: "Temporary Redirect"}.get(
        status, STATUSES.get(status, "")
    )
