"""The guide: the pages of ``docs/guide``, in the order of a first-time user, beside what they explain.

The files are Markdown of our own; raw HTML in them is shown as text. A page starts with its title, and its
number in the file's name is its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from litestar import Request, Response, get
from litestar.params import FromPath
from litestar.response import Redirect
from markdown_it import MarkdownIt
from markupsafe import Markup

from sealwire.errors import NotFoundError
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant
from sealwire.server.ui.render import is_open, page
from sealwire.server.ui.views import Link

Asked: TypeAlias = Request[Any, Any, Any]
SIGNED_IN = {"permission": "signed_in"}

_NAME = re.compile(r"([0-9]{2})-([a-z0-9-]+)\.md")
_TO_A_PAGE = re.compile(r'<a href="(/[a-z/-]+)">(.*?)</a>')
_LINK = re.compile(r"(?:[0-9]{2}-)?([a-z0-9-]+)\.md(#[a-z0-9-]+)?\Z")


@dataclass(frozen=True, slots=True)
class GuidePage:
    """One page of the guide.

    Attributes:
        html: Made of Markdown of ours; nothing in it comes from outside.
        sections: Its headings, for the way around in it.
    """

    name: str
    title: str
    html: Markup
    sections: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class GuideView:
    """A page among the others."""

    page: GuidePage
    pages: tuple[GuidePage, ...]
    before: GuidePage | None
    after: GuidePage | None


def _folder() -> Path:
    """Beside this file in an installed package, in ``docs`` of a checkout."""
    installed = Path(__file__).parent / "guide"
    return installed if installed.is_dir() else Path(__file__).parents[4] / "docs" / "guide"


@cache
def pages() -> Mapping[str, GuidePage]:
    """Every page by its name, in order."""
    found = {}
    for file in sorted(_folder().glob("*.md")):
        name = _NAME.fullmatch(file.name)
        if name is not None:
            found[name[2]] = _read(name[2], file.read_text())
    return MappingProxyType(found)


def _read(name: str, text: str) -> GuidePage:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(text)
    title, sections = name, []
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            words = tokens[place + 1].content.replace("`", "")
            if token.tag == "h1":
                title = words
            else:
                anchor = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
                token.attrSet("id", anchor)
                if token.tag == "h2":
                    sections.append(Link(words, f"#{anchor}"))
        for child in token.children or ():
            target = str(child.attrGet("href") or "") if child.type == "link_open" else ""
            to_page = _LINK.match(target)
            if to_page is not None:
                child.attrSet("href", f"/guide/{to_page[1]}{to_page[2] or ''}")
    first = next((place for place, token in enumerate(tokens) if token.type == "heading_close"), -1)
    body = tokens[first + 1 :] if tokens and tokens[0].tag == "h1" else tokens
    html = str(reader.renderer.render(body, reader.options, {}))
    html = html.replace("<pre>", '<pre tabindex="0">')  # long lines are scrolled to by keyboard as well
    return GuidePage(name, title, Markup(html), tuple(sections))


def _for_them(guide: GuidePage, principal: Principal) -> GuidePage:
    """A page of the guide without links to pages that they may not open."""

    def link(found: re.Match[str]) -> str:
        return found[0] if is_open(found[1], principal) else found[2]

    return replace(guide, html=Markup(_TO_A_PAGE.sub(link, guide.html)))


@get("/guide", opt=SIGNED_IN, include_in_schema=False)
async def show_guide() -> Redirect:
    """The first page."""
    return Redirect(f"/guide/{next(iter(pages()))}")


@get("/guide/{name:str}", opt=SIGNED_IN, include_in_schema=False)
async def show_guide_page(
    request: Asked, name: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """One page."""
    known = {one.name: _for_them(one, principal) for one in pages().values()}
    if name not in known:
        raise NotFoundError("The guide has no such page.")
    order = tuple(known)
    place = order.index(name)
    view = GuideView(
        known[name],
        tuple(known.values()),
        known[order[place - 1]] if place else None,
        known[order[place + 1]] if place + 1 < len(order) else None,
    )
    return page(
        request, "guide/page.html", title=known[name].title, view=view, principal=principal, tenant=tenant
    )


HANDLERS = [show_guide, show_guide_page]
