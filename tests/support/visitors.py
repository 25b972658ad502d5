"""People at browsers, without a browser: cookies are kept, redirects looked at, forms say whence they are."""

from __future__ import annotations

import functools
import re
import ssl
from collections.abc import Mapping
from html import unescape

import httpx

from tests.support.stack import ControlPlane

PASSWORD = "purple walrus misses Tuesday"


class Visitor:
    """Somebody at a page.

    Args:
        address: Where they come from, as a proxy on this machine says it.
    """

    def __init__(self, plane: ControlPlane, address: str = "203.0.113.1") -> None:
        self.url = plane.url
        self.http = httpx.Client(
            base_url=plane.url,
            verify=_trusting(str(plane.ca_file)),
            headers={
                "Accept": "text/html", "X-Forwarded-For": address,
                "User-Agent": "Mozilla/5.0 (X11; Linux) Firefox/140.0",
            },
            timeout=30,
            limits=httpx.Limits(max_keepalive_connections=0),  # so that none is left open
        )  # fmt: skip

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers=headers)

    def post(self, path: str, form: Mapping[str, object], **headers: str) -> httpx.Response:
        """Send a form of one of our pages; ``headers`` may say otherwise."""
        given = {"Origin": self.url, **headers}
        return self.http.post(path, data=dict(form), headers={k: v for k, v in given.items() if v})

    def sign_in(self, email: str, password: str = PASSWORD, next_path: str = "/") -> httpx.Response:
        return self.post("/sign-in", {"email": email, "password": password, "next": next_path})

    def join(self, link: str, **fields: str) -> httpx.Response:
        """Use a link up, whole or its path."""
        path = link.removeprefix(self.url)
        return self.post(path, {"password": PASSWORD, "again": PASSWORD, **fields})

    def cookie(self, name: str) -> str:
        return self.http.cookies.get(f"__Host-sealwire_{name}") or ""

    @property
    def is_in(self) -> bool:
        """Whether a page lets them in."""
        return self.get("/account").status_code == 200


@functools.cache
def _trusting(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def first_run_link(plane: ControlPlane) -> str:
    """The newest link the server printed for its first user."""
    links: list[str] = re.findall(r"https://\S+/join/\S+", plane.log())
    return links[-1]


def invite(plane: ControlPlane, email: str, role: str = "standard") -> str:
    """Invite somebody; returns the link."""
    link: str = plane.api.post("/users", {"email": email, "roles": [{"role_id": role}]})["link"]
    return link


def command(plane: ControlPlane, *arguments: str, exit_code: int = 0) -> str:
    """Run `sealwire user` as whoever runs the server; returns what it says."""
    where = ("--data-dir", str(plane.data_dir), "--config-dir", str(plane.config_dir))
    ran = plane.cli("user", arguments[0], *where, *arguments[1:])
    assert ran.returncode == exit_code, ran.said()
    return ran.said().strip()


def fields_of(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of a page."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.text)
    return {unescape(name): unescape(value) for name, value in found}
