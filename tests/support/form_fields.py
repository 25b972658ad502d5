"""What a browser would send for the form of a page, without a browser."""

from __future__ import annotations

from html.parser import HTMLParser


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.fields: list[tuple[str, str]] = []
        self._area: tuple[str, list[str]] | None = None
        self._select: str | None = None
        self._options: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        if tag == "input" and name:
            kind = given.get("type", "text")
            if kind in ("radio", "checkbox"):
                if "checked" in given:
                    self.fields.append((name, given.get("value", "on")))
            elif kind not in ("submit", "button"):
                value = given.get("value", "")
                self.fields.append(
                    (name, value if kind == "hidden" else value.replace("\n", "").replace("\r", ""))
                )
        elif tag == "textarea":
            self._area = (name, [])
        elif tag == "select":
            self._select, self._options = name, []
        elif tag == "option":
            self._options.append((given["value"], "selected" in given))

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._area[1].append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area is not None:
            name, parts = self._area
            text = "".join(parts)
            text = text.removeprefix("\n").replace("\r\n", "\n").replace("\r", "\n")
            self.fields.append((name, text.replace("\n", "\r\n")))
            self._area = None
        elif tag == "select" and self._select is not None:
            chosen = [value for value, is_chosen in self._options if is_chosen] or [self._options[0][0]]
            self.fields.append((self._select, chosen[-1]))
            self._select = None


def fields_of(html: str) -> dict[str, list[str]]:
    """The fields of all forms of a page, as a submit without a button would send them."""
    parser = _Forms()
    parser.feed(html)
    parser.close()
    found: dict[str, list[str]] = {}
    for name, value in parser.fields:
        found.setdefault(name, []).append(value)
    return found
