"""Markdown of the people of an organisation as HTML of ours.

Attack: the message of an imported rule. Raw HTML stays text, there are no pictures (which would tell whoever
serves them that somebody looks), links go to the web or to a path of this server and take nothing along,
and characters that turn the direction of writing are marked.
"""

from __future__ import annotations

import re
from typing import Final

from markdown_it import MarkdownIt
from markupsafe import Markup

from sealwire.server import audit

MAX_CHARS: Final = 10_000
_WEB = re.compile(r"(?:https?://|mailto:|/(?![/\\]))", re.I)
_LEAST_HEADING: Final = 3  # a page has its own first two


def render(text: str) -> Markup:
    """A text as a page may have it, safe whatever is in it."""
    reader = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable("table").disable("image")
    tokens = reader.parse(audit.clean(text, MAX_CHARS))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + _LEAST_HEADING - 1)}"
        for child in token.children or ():
            if child.type == "link_open":
                if not _WEB.match(str(child.attrGet("href") or "")):
                    child.attrs.pop("href", None)
                child.attrSet("rel", "noreferrer nofollow")
                child.attrs.pop("title", None)
    html = str(reader.renderer.render(tokens, reader.options, {}))
    return Markup(html.replace("<pre>", '<pre tabindex="0">'))
